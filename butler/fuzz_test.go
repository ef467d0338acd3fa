package butler

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readRaw reads everything that can be read of a Parquet file in memory, with and without ids.
func readRaw(t testing.TB, raw []byte) error {
	t.Helper()
	open := func() (*table, error) {
		return openTable(&datasetFile{ReaderAt: bytes.NewReader(raw), size: int64(len(raw)), shown: "raw", close: func() error { return nil }})
	}
	tab, err := open()
	if err != nil {
		return err
	}
	tab.recallUnits()
	var cs []tableColumn
	for _, c := range tab.columns {
		if c.refused == "" {
			cs = append(cs, c)
		}
	}
	if len(cs) == 0 {
		return nil
	}
	out, err := newOutSchema(cs, tab.index, tab.extra, nil)
	if err != nil {
		return err
	}
	var wanted []string
	for _, c := range cs {
		wanted = append(wanted, c.name)
	}
	for _, ids := range []*IDSet{nil, NewIDSet([]int64{0, 5, 100})} {
		r := &rowReader{ids: ids, target: cs[0].name, out: out, strict: true, wanted: wanted, memory: 1 << 22, pages: 1 << 16}
		r.scratch.PageLimit = 1 << 20
		pool := &batches{budget: newBudget(1 << 26), leaves: len(out.leaves), columns: len(out.columns), largest: 1 << 20}
		rows := int64(0)
		o, rerr := r.read(t.Context(), tab, nil, func(n int64) (*loan, error) { return pool.get(t.Context(), 0, min(n, 1<<20)) }, func(l *loan) error {
			defer l.batch.Release()
			rows += int64(l.batch.Rows)
			return l.batch.Check(out.leaves)
		})
		r.close()
		if rerr == nil {
			if o.kind == written && o.written != rows {
				t.Errorf("%d rows handed over, %d counted", rows, o.written)
			}
			facts := o.facts
			if facts == nil {
				facts = make([]columnFacts, len(out.columns))
			}
			for _, kv := range out.metadata(rows, facts) {
				if kv.Key == keyTableMeta {
					if _, err := parseTableMeta(kv.Value); err != nil {
						t.Errorf("the header cannot be read back: %v\n%s", err, kv.Value)
					}
				}
			}
		} else {
			err = rerr
		}
	}
	return err
}

// zooFiles gives the recorded Parquet files.
func zooFiles(t testing.TB) map[string][]byte {
	t.Helper()
	dir := unpack(t, "zoo")
	out := map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(dir, "zoo/zoo/zoo/*.parq"))
	if err != nil || len(names) < 100 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(n)] = b
	}
	return out
}

// TestMutatedFiles changes bytes of all recorded files at random: nothing may panic.
func TestMutatedFiles(t *testing.T) {
	t.Parallel()
	seed := uint64(17)
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, raw := range zooFiles(t) {
		for trial := range 6 {
			bad := bytes.Clone(raw)
			for range 1 + rng.IntN(4) {
				at := rng.IntN(len(bad))
				if trial%2 == 0 { // the footer is where most is
					at = len(bad) - 1 - rng.IntN(min(len(bad), 2000))
				}
				bad[at] = byte(rng.Uint32())
			}
			if trial == 5 {
				bad = bad[:rng.IntN(len(bad))]
			}
			if err := readRaw(t, bad); err != nil && strings.TrimSpace(err.Error()) == "" {
				t.Errorf("%s, seed %d: an empty error", name, seed)
			}
		}
	}
}

func FuzzTable(f *testing.F) {
	for _, raw := range zooFiles(f) {
		if len(raw) < 3000 {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) { _ = readRaw(t, raw) })
}

// FuzzHeader reads arbitrary text as an astropy header, and what is written of it again.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"datatype:\n- {name: a, unit: deg, datatype: float64, description: 'x: y'}\nmeta: !!omap\n- {note: n}\n- list: [1, 2]",
		"datatype:\n- name: a\n  meta: !!omap\n  - {k: 1}\n  unit: !astropy.units.Unit {unit: m}\nmeta: {a: b}",
		"datatype: [&a {name: x}, *a]\nmeta: |\n  text\n", "datatype: []\nmeta: !!omap\n- __serialized_columns__:\n    a: !astropy.table.SerializedColumn {name: a}",
	} {
		f.Add(s, "name", "unit")
	}
	f.Fuzz(func(t *testing.T, text, name, unit string) {
		var meta columnMeta
		m, err := parseTableMeta(text)
		if err == nil {
			for _, c := range m.columns {
				meta = c
			}
		} else {
			m = &tableMeta{}
		}
		written := writeTableMeta([]yamlColumn{{name: name, unit: unit, datatype: "int64", description: unit, columnMeta: meta}}, m.meta)
		if name == "" || strings.ToValidUTF8(name+unit+meta.format, "") != name+unit+meta.format {
			return
		}
		back, err := parseTableMeta(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		c, ok := back.columns[name]
		if !ok || c.unit != unit || c.description != unit {
			t.Errorf("%q and %q came back as %v from\n%s", name, unit, back.columns, written)
		}
	})
}
