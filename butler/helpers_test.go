package butler

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"gopkg.in/yaml.v3"

	"fast-export/internal/column"
	"fast-export/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// unpack extracts testdata/name.tar.gz into a directory of the test and gives it.
func unpack(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(to, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// golden is what Python says of a repository; see testdata/make_repos.py.
type golden struct {
	Base    string
	Queries []struct {
		DatasetType string          `json:"dataset_type"`
		Collections json.RawMessage `json:"collections"`
		FindFirst   bool            `json:"find_first"`
		Rows        [][]any         `json:"rows"` // id, run, data ID
		Error       []string        `json:"error"`
	}
	Tables []goldenTable
}

type goldenTable struct {
	ID          string         `json:"id"`
	DatasetType string         `json:"dataset_type"`
	Run         string         `json:"run"`
	URI         string         `json:"uri"`
	DataID      map[string]any `json:"data_id"`
	Note        string         `json:"note"`
	Error       []string       `json:"error"`
}

func readGolden(t testing.TB, dir, repo string) golden {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, repo+"_golden", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&g); err != nil {
		t.Fatal(err)
	}
	return g
}

// goldenArrow reads a table that Python wrote.
func goldenArrow(t testing.TB, dir, repo, id string) (*arrow.Schema, map[string][]string, int64) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, repo+"_golden", "arrow", id+".arrow"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ipc.NewFileReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cells := map[string][]string{}
	rows := int64(0)
	for i := range r.NumRecords() {
		b, err := r.RecordBatch(i)
		if err != nil {
			t.Fatal(err)
		}
		rows += b.NumRows()
		for c, f := range r.Schema().Fields() {
			for k := range int(b.NumRows()) {
				cells[f.Name] = append(cells[f.Name], arrowCell(b.Column(c), k))
			}
		}
	}
	return r.Schema(), cells, rows
}

// arrowCell writes a value so that two that are the same bit for bit, and only they, are written alike.
func arrowCell(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return "null"
	}
	switch a := a.(type) {
	case *array.Boolean:
		return strconv.FormatBool(a.Value(i))
	case *array.Int8:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Int16:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Int32:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Int64:
		return strconv.FormatInt(a.Value(i), 10)
	case *array.Uint8:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Uint16:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Uint32:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Uint64:
		return strconv.FormatUint(a.Value(i), 10)
	case *array.Float16:
		return fmt.Sprintf("f2:%04x", a.Value(i).Uint16())
	case *array.Float32:
		return fmt.Sprintf("f4:%08x", math.Float32bits(a.Value(i)))
	case *array.Float64:
		return fmt.Sprintf("f8:%016x", math.Float64bits(a.Value(i)))
	case *array.Timestamp:
		return strconv.FormatInt(int64(a.Value(i)), 10)
	case *array.String:
		return strconv.Quote(a.Value(i))
	case *array.Binary:
		return "x" + hex.EncodeToString(a.Value(i))
	case *array.FixedSizeList:
		k := int(a.DataType().(*arrow.FixedSizeListType).Len())
		parts := make([]string, k)
		for j := range k {
			parts[j] = arrowCell(a.ListValues(), i*k+j)
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	panic(fmt.Sprintf("no way to write a %T", a))
}

// collector is a sink that keeps all cells, as text.
type collector struct {
	t         testing.TB
	schema    *arrow.Schema
	leaves    []column.Leaf
	cells     map[string][]string
	groups    []int64 // rows by row group
	open      int64
	batches   int
	largest   int64
	afterRows func(rows int64) error // called by Write
}

func newCollector(t testing.TB, s *arrow.Schema) *collector {
	t.Helper()
	_, leaves, err := column.FromArrow(s)
	if err != nil {
		t.Fatal(err)
	}
	return &collector{t: t, schema: s, leaves: leaves, cells: map[string][]string{}}
}

func (c *collector) Write(_ context.Context, b *column.Batch) error {
	defer b.Release()
	if err := b.Check(c.leaves); err != nil {
		c.t.Error(err)
		return err
	}
	c.batches++
	c.largest = max(c.largest, b.Bytes())
	for i, f := range c.schema.Fields() {
		c.cells[f.Name] = append(c.cells[f.Name], bufferCells(f.Type, &c.leaves[i], &b.Leaves[i], b.Rows)...)
	}
	c.open += int64(b.Rows)
	if c.afterRows != nil {
		return c.afterRows(c.open)
	}
	return nil
}

func (c *collector) EndRowGroup() error {
	c.groups = append(c.groups, c.open)
	c.open = 0
	return nil
}

// bufferCells writes the values of a leaf as arrowCell does.
func bufferCells(t arrow.DataType, l *column.Leaf, b *column.Buffer, rows int) []string {
	data := b.Data
	next := func(t arrow.DataType) string {
		take := func(n int) []byte { v := data[:n]; data = data[n:]; return v }
		switch t.ID() {
		case arrow.BOOL:
			return strconv.FormatBool(take(1)[0] == 1)
		case arrow.INT8, arrow.INT16, arrow.INT32:
			return strconv.Itoa(int(int32(binary.LittleEndian.Uint32(take(4)))))
		case arrow.UINT8, arrow.UINT16, arrow.UINT32:
			return strconv.Itoa(int(binary.LittleEndian.Uint32(take(4))))
		case arrow.INT64, arrow.TIMESTAMP:
			return strconv.FormatInt(int64(binary.LittleEndian.Uint64(take(8))), 10)
		case arrow.UINT64:
			return strconv.FormatUint(binary.LittleEndian.Uint64(take(8)), 10)
		case arrow.FLOAT16:
			return fmt.Sprintf("f2:%04x", binary.LittleEndian.Uint16(take(2)))
		case arrow.FLOAT32:
			return fmt.Sprintf("f4:%08x", binary.LittleEndian.Uint32(take(4)))
		case arrow.FLOAT64:
			return fmt.Sprintf("f8:%016x", binary.LittleEndian.Uint64(take(8)))
		case arrow.STRING:
			return strconv.Quote(string(take(int(binary.LittleEndian.Uint32(take(4))))))
		case arrow.BINARY:
			return "x" + hex.EncodeToString(take(int(binary.LittleEndian.Uint32(take(4)))))
		}
		panic(t.String())
	}
	out := make([]string, 0, rows)
	if list, ok := t.(*arrow.FixedSizeListType); ok {
		for at := 0; at < len(b.Def); {
			if b.Def[at] == 0 {
				out = append(out, "null")
				at++
				continue
			}
			var parts []string
			for k := at; k == at || k < len(b.Def) && b.Rep[k] == 1; k++ {
				if b.Def[k] == l.MaxDef {
					parts = append(parts, next(list.Elem()))
				} else {
					parts = append(parts, "null")
				}
			}
			at += len(parts)
			out = append(out, "["+strings.Join(parts, " ")+"]")
		}
		return out
	}
	for i := range rows {
		if b.Valid[i>>3]>>(i&7)&1 == 0 {
			out = append(out, "null")
			continue
		}
		out = append(out, next(t))
	}
	return out
}

// extract runs a whole extraction into a collector.
func extract(t testing.TB, o Options) (*collector, Summary, error) {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err != nil {
		return nil, Summary{}, err
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	schema, err := e.Schema(t.Context())
	if err != nil {
		return nil, Summary{}, err
	}
	if schema == nil {
		s, err := e.Run(t.Context(), nil)
		return nil, s, err
	}
	c := newCollector(t, schema)
	s, err := e.Run(t.Context(), c)
	return c, s, err
}

// mustExtract is extract where no error is expected.
func mustExtract(t testing.TB, o Options) (*collector, Summary) {
	t.Helper()
	c, s, err := extract(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// sameYAML compares two astropy headers by meaning: tags of ordered maps aside.
func sameYAML(t testing.TB, got, want string) bool {
	t.Helper()
	load := func(s string) any {
		var v any
		if err := yaml.Unmarshal([]byte(s), &v); err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		return v
	}
	return reflect.DeepEqual(load(got), load(want))
}

func lookUp(kv []KeyValue, key string) string {
	for _, e := range kv {
		if e.Key == key {
			return e.Value
		}
	}
	return ""
}
