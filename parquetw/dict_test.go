package parquetw

import (
	"fmt"
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"fast-export/internal/column"
)

// A dictionary that is half full finds the values of a column in few steps, whatever they have in common: floats of few
// digits differ in their uppermost bits alone, counts in their lowest.
func TestDictionarySpreads(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(i int) uint64{
		"counts":        func(i int) uint64 { return uint64(i) },
		"whole floats":  func(i int) uint64 { return math.Float64bits(float64(i)) },
		"decimals":      func(i int) uint64 { return math.Float64bits(float64(i) / 1000) },
		"single floats": func(i int) uint64 { return uint64(math.Float32bits(float32(i))) },
		"days":          func(i int) uint64 { return 1546300800000000 + uint64(i)*86400000000 },
		"short text":    func(i int) uint64 { return keyOf(fmt.Append(nil, "G", i)) },
		"text":          func(i int) uint64 { return keyOf(fmt.Append(nil, "MPS number ", i)) },
		"long text":     func(i int) uint64 { return keyOf(fmt.Append(nil, "a longer text, of number ", i)) },
	} {
		for _, n := range []int{500, 5000, 30000} {
			slots := minSlots
			for slots < 2*n {
				slots *= 2
			}
			taken := make([]bool, slots)
			steps := 0
			for i := range n {
				h := mix(key(i))
				for taken[h&uint64(slots-1)] {
					h++
					steps++
				}
				taken[h&uint64(slots-1)] = true
			}
			if steps > n {
				t.Errorf("%s: %d steps for %d values", name, steps, n)
			}
		}
	}
}

// Values that collide in a process of known hashes are like any others in this one: numbers, and text up to seven bytes.
func TestDictionaryOfChosenValues(t *testing.T) {
	t.Parallel()
	const n, slots = 5000, 1 << 14
	steps := func(keys []uint64, word uint64) (steps int) {
		taken := make([]bool, slots)
		for _, k := range keys {
			h := mixWith(k, word)
			for taken[h&(slots-1)] {
				h++
				steps++
			}
			taken[h&(slots-1)] = true
		}
		return steps
	}
	const known = 0x2d358dccaa6c78a5
	for name, key := range map[string]func(i uint64) uint64{
		"numbers": func(i uint64) uint64 { return i },
		"text":    func(i uint64) uint64 { return keyOf(le.AppendUint64(nil, i)[:7]) },
	} {
		var keys []uint64
		for i := uint64(0); len(keys) < n; i++ {
			if k := key(i); mixWith(k, known)&(slots-1) == 0 {
				keys = append(keys, k)
			}
		}
		if bad := steps(keys, known); bad != n*(n-1)/2 {
			t.Errorf("%s: chosen badly: %d steps", name, bad)
		}
		if got := steps(keys, hashWord0); got > n {
			t.Errorf("%s: %d steps for %d values", name, got, n)
		}
	}
	if mix(1) != mixWith(1, hashWord0) {
		t.Error("mix is not the process's own")
	}
}

// A dictionary stays within its room with all that finds its entries, whatever their size, and takes as many as a Prior is
// told it does.
func TestDictionaryStaysInItsRoom(t *testing.T) {
	t.Parallel()
	for leaves := 1; leaves < 2000; leaves += leaves/6 + 1 {
		lay := layoutFor(leaves)
		for _, size := range []int{4, 8, 9, 12, 16, 33, 100, 4000} {
			ends := size != 4 && size != 8
			var d dict
			d.ready(lay)
			v := make([]byte, size)
			for i := uint64(1); !d.full(lay, size); i++ {
				slot := mix(i) & uint64(len(d.slots)-1)
				for d.slots[slot] != 0 {
					slot = (slot + 1) & uint64(len(d.slots)-1)
				}
				le.PutUint32(v, uint32(i))
				d.insert(lay, slot, i, v)
				if ends {
					d.ends = append(d.ends, uint32(len(d.data)))
				}
				d.ready(lay)
			}
			if want := int(lay.holds(float64(size), ends)); d.n < want-2 || d.n > want {
				t.Errorf("%d leaves, entries of %d bytes: %d, not %d", leaves, size, d.n, want)
			}
			if !ends && d.n != lay.dictEntries() {
				t.Errorf("%d leaves: %d numbers of %d bytes, not %d", leaves, d.n, size, lay.dictEntries())
			}
			if used := d.bytes() + 2*len(d.slots); used > lay.dictRoom() {
				t.Errorf("%d leaves, %d entries of %d bytes: %d bytes of %d", leaves, d.n, size, used, lay.dictRoom())
			}
			if held, limit := d.held(), int64(lay.dictRoom())*5/4; held > limit {
				t.Errorf("%d leaves, %d entries of %d bytes: %d bytes are held", leaves, d.n, size, held)
			}
		}
	}
}

// OpenBytes is what open files take at most, whatever their values are: dictionaries that fill up and give up, or do not.
func TestOpenBytes(t *testing.T) {
	t.Parallel()
	const rows = 8192
	text := func(values, length int) func(i int) []byte {
		return func(i int) []byte {
			v := fmt.Appendf(le.AppendUint32(nil, uint32(length)), "%0*d", length, int(scattered(i))%values)
			return v
		}
	}
	for _, c := range []struct {
		leaves, batches int
		typ             arrow.DataType
		value           func(i int) []byte
	}{
		{86, 5, arrow.BinaryTypes.String, text(20_000, 8)},
		{512, 4, arrow.BinaryTypes.String, text(4096, 6)},
		{512, 2, arrow.BinaryTypes.String, text(1000, 64)},
		{340, 4, arrow.BinaryTypes.String, text(1e9, 9)},
		{86, 5, arrow.PrimitiveTypes.Int64, func(i int) []byte { return le.AppendUint64(nil, uint64(scattered(i)%25_000)) }},
		{340, 4, arrow.PrimitiveTypes.Float64, func(i int) []byte { return le.AppendUint64(nil, math.Float64bits(float64(scattered(i)%6000))) }},
		{20, 10, arrow.PrimitiveTypes.Int32, func(i int) []byte { return le.AppendUint32(nil, uint32(scattered(i)%66_000)) }},
	} {
		fields := make([]arrow.Field, c.leaves)
		for i := range fields {
			fields[i] = field(fmt.Sprint("c", i), c.typ, false)
		}
		s := arrow.NewSchema(fields, nil)
		for _, enc := range []Encoding{Auto, Dictionary} {
			p := newPool(t, 2, 1<<20)
			w := create(t, Options{Schema: s, Pool: p, Compression: Compression{Codec: Snappy}, Encodings: everywhere(t, s, enc), RowGroupRows: int64(rows * c.batches * 2 / 3)})
			most := int64(0)
			for k := range c.batches {
				data := make([]byte, 0, 80*rows)
				for i := range rows {
					data = append(data, c.value(rows*k+i)...)
				}
				b := column.NewBatch(c.leaves, c.leaves, nil)
				b.Rows = rows
				for i := range b.Leaves {
					b.Leaves[i] = column.Buffer{Data: data, Values: rows}
				}
				if err := w.Write(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if err := w.wait(t.Context(), func() bool { return w.tasks == 0 }); err != nil {
					t.Fatal(err)
				}
				most = max(most, p.open.Load())
			}
			if _, err := w.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d leaves, %s of %d bytes, %s: %d kB of %d kB", c.leaves, c.typ, len(c.value(0)), enc, most/1000, OpenBytes(c.leaves)/1000)
			if limit := OpenBytes(c.leaves) * 21 / 20; most > limit {
				t.Errorf("%d leaves, %s of %d bytes, %s: %d bytes, said to be %d", c.leaves, c.typ, len(c.value(0)), enc, most, OpenBytes(c.leaves))
			}
		}
	}
}

// scattered scatters numbers.
func scattered(i int) uint32 { return uint32(uint64(i+1) * 0x9e3779b97f4a7c15 >> 33) }
