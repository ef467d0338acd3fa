package parquetw

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"fast-export/internal/column"
)

// table is a made-up table whose columns behave as those of a data set do.
type table struct {
	fields []arrow.Field
	value  []func(r *rand.Rand, row int, b *column.Buffer) bool // appends a value, or says null
}

func (t *table) add(name string, typ arrow.DataType, nullable bool, value func(r *rand.Rand, row int, b *column.Buffer) bool) {
	t.fields = append(t.fields, arrow.Field{Name: name, Type: typ, Nullable: nullable})
	t.value = append(t.value, value)
}

func (t *table) batches(rows, each int) (*arrow.Schema, []*column.Batch, int64) {
	s := arrow.NewSchema(t.fields, nil)
	r := rand.New(rand.NewPCG(1, 2))
	var out []*column.Batch
	size := int64(0)
	for from := 0; from < rows; from += each {
		n := min(each, rows-from)
		b := column.NewBatch(len(t.fields), len(t.fields), nil)
		b.Rows = n
		for i := range t.fields {
			l := &b.Leaves[i]
			if t.fields[i].Nullable {
				l.Valid = make([]byte, (n+7)/8)
			}
			for row := range n {
				if t.value[i](r, from+row, l) {
					l.Values++
					if t.fields[i].Nullable {
						l.Valid[row>>3] |= 1 << (row & 7)
					}
				}
			}
		}
		size += b.DataBytes()
		out = append(out, b)
	}
	return s, out, size
}

func putText(b *column.Buffer, s string) bool {
	b.Data = append(le.AppendUint32(b.Data, uint32(len(s))), s...)
	return true
}

func putFloat(b *column.Buffer, x float64) bool {
	b.Data = le.AppendUint64(b.Data, math.Float64bits(x))
	return true
}

func putInt(b *column.Buffer, x int64) bool {
	b.Data = le.AppendUint64(b.Data, uint64(x))
	return true
}

// floatTable is shaped like a source catalogue: ids, many floats with a few NaN, flags.
func floatTable() *table {
	t := &table{}
	i64, i32, f64, f32, bit := arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Float32, arrow.FixedWidthTypes.Boolean
	t.add("sourceId", i64, false, func(_ *rand.Rand, row int, b *column.Buffer) bool { return putInt(b, 170000000000000000+int64(row)) })
	t.add("visit", i64, false, func(_ *rand.Rand, row int, b *column.Buffer) bool { return putInt(b, 20250000000+int64(row/1000)) })
	t.add("detector", i32, false, func(_ *rand.Rand, row int, b *column.Buffer) bool {
		b.Data = le.AppendUint32(b.Data, uint32(row%189))
		return true
	})
	t.add("objectId", i64, true, func(_ *rand.Rand, row int, b *column.Buffer) bool { return row%7 != 0 && putInt(b, int64(row)*31) })
	for i, span := range []float64{300, 360, 180} {
		t.add(fmt.Sprint("pos", i), f64, true, func(r *rand.Rand, _ int, b *column.Buffer) bool { return putFloat(b, r.Float64()*span) })
	}
	for i := range 40 {
		typ := f64
		if i%2 == 1 {
			typ = f32
		}
		t.add(fmt.Sprint("f", i), typ, true, func(r *rand.Rand, _ int, b *column.Buffer) bool {
			x := r.Float64() * 1000
			if r.IntN(50) == 0 {
				x = math.NaN()
			}
			if typ == f64 {
				return putFloat(b, x)
			}
			b.Data = le.AppendUint32(b.Data, math.Float32bits(float32(x)))
			return true
		})
	}
	for i := range 12 {
		t.add(fmt.Sprint("flag", i), bit, true, func(_ *rand.Rand, row int, b *column.Buffer) bool {
			v := byte(0)
			if row%(i+2) == 0 {
				v = 1
			}
			b.Data = append(b.Data, v)
			return true
		})
	}
	return t
}

// textTable is shaped like a table of observations: text of all cardinalities, decimal numbers as floats, many nulls.
func textTable() *table {
	t := &table{}
	i64, i32, f64, text := arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String
	ts := &arrow.TimestampType{Unit: arrow.Microsecond}
	pick := func(share float64, of ...string) func(*rand.Rand, int, *column.Buffer) bool {
		return func(r *rand.Rand, _ int, b *column.Buffer) bool {
			return r.Float64() < share && putText(b, of[r.IntN(len(of))])
		}
	}
	number := func(share, lo, span, digits float64) func(*rand.Rand, int, *column.Buffer) bool {
		return func(r *rand.Rand, _ int, b *column.Buffer) bool {
			scale := math.Pow(10, digits)
			return r.Float64() < share && putFloat(b, math.Round((lo+r.Float64()*span)*scale)/scale)
		}
	}
	hex := func(n uint64) string {
		r := rand.New(rand.NewPCG(n, 3))
		return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	}
	t.add("id", i32, false, func(_ *rand.Rand, row int, b *column.Buffer) bool {
		b.Data = le.AppendUint32(b.Data, uint32(row))
		return true
	})
	t.add("trksub", text, true, func(r *rand.Rand, _ int, b *column.Buffer) bool {
		return r.Float64() < .93 && putText(b, fmt.Sprintf("T%x", r.Uint32()))
	})
	t.add("trkid", text, true, func(_ *rand.Rand, row int, b *column.Buffer) bool { return putText(b, "trk"+hex(uint64(row/4))) })
	t.add("obsid", text, true, func(_ *rand.Rand, row int, b *column.Buffer) bool { return putText(b, "obs"+hex(uint64(row)<<32)) })
	for i := range 2 {
		t.add(fmt.Sprint("submission", i), text, true, func(_ *rand.Rand, row int, b *column.Buffer) bool {
			d := rand.New(rand.NewPCG(uint64(row/500), 5)).IntN(9000)
			return putText(b, fmt.Sprintf("%04d-%02d-%02dT%02d:11:22.333_0000%c%s", 2001+d/365, 1+d%12, 1+d%28, d%24, 'A'+row%26, []string{"", "_01"}[i]))
		})
	}
	t.add("obs80", text, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		d := r.IntN(9000)
		return putText(b, fmt.Sprintf("%05d         C%04d %02d %02d.%06d 01 23 45.678+12 34 56.78         18.5 GV     X05", row%900000, 2001+d/365, 1+d%12, 1+d%28, r.IntN(1e6)))
	})
	t.add("status", text, true, pick(1, "P", "p", "I", "O"))
	t.add("ref", text, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return r.Float64() < .8 && putText(b, fmt.Sprint("MPS ", rand.New(rand.NewPCG(uint64(row/1000), 7)).IntN(999999)))
	})
	t.add("healpix", i64, true, func(r *rand.Rand, _ int, b *column.Buffer) bool { return putInt(b, r.Int64N(3458764513820540928)) })
	t.add("permid", text, true, func(r *rand.Rand, _ int, b *column.Buffer) bool {
		return r.Float64() < .75 && putText(b, fmt.Sprint(1+r.IntN(860000)))
	})
	t.add("provid", text, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return r.Float64() < .3 && putText(b, fmt.Sprintf("20%02d %c%c%d", row%26, 'A'+row%24, 'A'+row%25, row%400))
	})
	t.add("mode", text, true, pick(1, "CCD"))
	t.add("stn", text, true, pick(1, "F51", "F52", "G96", "703", "T05", "T08", "X05", "I41", "691", "W84"))
	t.add("sys", text, true, pick(.02, "ICRF_KM"))
	for i := range 3 {
		t.add(fmt.Sprint("pos", i), f64, true, number(.02, -7000, 14000, 4))
	}
	t.add("prog", text, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return r.Float64() < .3 && putText(b, fmt.Sprint(row%40))
	})
	t.add("obstime", ts, true, func(r *rand.Rand, _ int, b *column.Buffer) bool {
		return putInt(b, 788918400000000+r.Int64N(1002240000000000))
	})
	t.add("ra", f64, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return number(1, 0, 360, float64(5+row%4))(r, row, b)
	})
	t.add("dec", f64, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return number(1, -90, 180, float64(5+row%4))(r, row, b)
	})
	t.add("rmsra", f64, true, number(.4, 0, .5, 3))
	t.add("rmsdec", f64, true, number(.4, 0, .5, 3))
	t.add("rmscorr", f64, true, number(.2, -1, 2, 4))
	t.add("astcat", text, true, pick(1, "Gaia2", "Gaia3", "Gaia3E", "UCAC4", "2MASS", "PPMXL"))
	t.add("mag", f64, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return number(.92, 14, 10, float64(1+row%3))(r, row, b)
	})
	t.add("rmsmag", f64, true, number(.35, 0, .4, 3))
	t.add("band", text, true, pick(.92, "V", "R", "G", "g", "r", "i", "z", "w", "o", "c"))
	t.add("photcat", text, true, pick(.5, "Gaia2"))
	t.add("logsnr", f64, true, number(.2, 0, 3, 2))
	t.add("seeing", f64, true, number(.2, 0, 3, 2))
	t.add("exp", f64, true, number(.2, 30, 0, 0))
	t.add("disc", text, true, pick(.003, "*"))
	t.add("subfmt", text, true, pick(1, "M92", "M92", "M92", "A", "A"))
	t.add("prectime", i32, true, func(r *rand.Rand, _ int, b *column.Buffer) bool {
		b.Data = le.AppendUint32(b.Data, 10)
		return true
	})
	t.add("notes", text, true, pick(.1, "K", "s", "", "NULL", `"q", r`))
	t.add("remarks", text, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return r.Float64() < .02 && putText(b, fmt.Sprintf("see\nnote, \"%d\"\t\\end", row))
	})
	t.add("created_at", ts, true, func(_ *rand.Rand, row int, b *column.Buffer) bool {
		return putInt(b, 1546300800000000+int64(row)*400000)
	})
	t.add("updated_at", ts, true, func(r *rand.Rand, _ int, b *column.Buffer) bool {
		return putInt(b, 1704067200000000+r.Int64N(25920000000000))
	})
	t.add("trkmpc", text, true, func(_ *rand.Rand, row int, b *column.Buffer) bool { return putText(b, fmt.Sprint("mpc", row/4)) })
	t.add("obssubid", text, true, func(r *rand.Rand, row int, b *column.Buffer) bool {
		return r.IntN(10) == 6 && putText(b, fmt.Sprint(170000000000000000+row))
	})
	for i := range 38 {
		typ := []arrow.DataType{text, f64, f64, i32}[i%4]
		t.add(fmt.Sprint("empty", i), typ, true, func(*rand.Rand, int, *column.Buffer) bool { return false })
	}
	return t
}

// cpuTime is what the process has used, in user and system mode: what counts on a machine that others share.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// everywhere gives every leaf an encoding where it can have it.
func everywhere(t testing.TB, s *arrow.Schema, e Encoding) []Encoding {
	t.Helper()
	out, err := LeafEncodings(s, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// BenchmarkFile writes whole files.
func BenchmarkFile(b *testing.B) {
	for _, shape := range []struct {
		name  string
		table *table
		rows  int
	}{{"floats", floatTable(), 200_000}, {"text", textTable(), 200_000}} {
		s, batches, size := shape.table.batches(shape.rows, 8192)
		for _, enc := range []Encoding{Auto, Plain, Dictionary} {
			encodings := everywhere(b, s, enc)
			for _, group := range []int64{65536, 1_000_000} {
				b.Run(fmt.Sprintf("%s/%s/rowgroup=%d", shape.name, enc, group), func(b *testing.B) {
					p := newPool(b, 1, 1<<30)
					path := filepath.Join(b.TempDir(), "f.parquet")
					b.SetBytes(size)
					var out int64
					best := time.Hour
					for b.Loop() {
						cpu := cpuTime()
						w, err := Create(path, Options{Schema: s, Pool: p, RowGroupRows: group, Encodings: encodings})
						if err != nil {
							b.Fatal(err)
						}
						for _, batch := range batches {
							if err := w.Write(b.Context(), batch); err != nil {
								b.Fatal(err)
							}
						}
						res, err := w.Commit(b.Context())
						if err != nil {
							b.Fatal(err)
						}
						out = res.Bytes
						best = min(best, cpuTime()-cpu)
					}
					b.ReportMetric(float64(best.Nanoseconds())/float64(shape.rows), "best-cpu-ns/row")
					b.ReportMetric(float64(out)/float64(shape.rows), "file-B/row")
				})
			}
		}
	}
}

// BenchmarkPage does what one leaf's values cost, page after page, without compression and file. The best page of a run
// says most on a machine that others use too.
func BenchmarkPage(b *testing.B) {
	const rows = 32768
	r := rand.New(rand.NewPCG(1, 2))
	words := func(f func(i int) uint64) []byte {
		var v []byte
		for i := range rows {
			v = le.AppendUint64(v, f(i))
		}
		return v
	}
	halves := func(f func(i int) uint32) []byte {
		var v []byte
		for i := range rows {
			v = le.AppendUint32(v, f(i))
		}
		return v
	}
	texts := func(f func(i int) string) []byte {
		var buf column.Buffer
		for i := range rows {
			putText(&buf, f(i))
		}
		return buf.Data
	}
	float := words(func(int) uint64 { return math.Float64bits(r.Float64()) })
	for _, c := range []struct {
		name string
		typ  arrow.DataType
		enc  Encoding
		data []byte
	}{
		{"float64/split", arrow.PrimitiveTypes.Float64, ByteStreamSplit, float},
		{"float64/plain", arrow.PrimitiveTypes.Float64, Plain, float},
		{"float64/dictionary-of-500", arrow.PrimitiveTypes.Float64, Dictionary, words(func(int) uint64 { return math.Float64bits(float64(r.IntN(500))) })},
		{"float32/split", arrow.PrimitiveTypes.Float32, ByteStreamSplit, halves(func(int) uint32 { return math.Float32bits(r.Float32()) })},
		{"int64/delta-sorted", arrow.PrimitiveTypes.Int64, Delta, words(func(i int) uint64 { return uint64(i) })},
		{"int64/delta-any", arrow.PrimitiveTypes.Int64, Delta, words(func(int) uint64 { return r.Uint64() >> 10 })},
		{"int32/delta-small", arrow.PrimitiveTypes.Int32, Delta, halves(func(int) uint32 { return uint32(r.IntN(1000)) })},
		{"int32/dictionary-of-10", arrow.PrimitiveTypes.Int32, Dictionary, halves(func(int) uint32 { return uint32(r.IntN(10)) })},
		{"text/plain", arrow.BinaryTypes.String, Plain, texts(func(int) string { return fmt.Sprintf("obs%032x", r.Uint64()) })},
		{"text/dictionary-of-10", arrow.BinaryTypes.String, Dictionary, texts(func(int) string { return fmt.Sprint("G", 10+r.IntN(10)) })},
		{"text/dictionary-of-5000", arrow.BinaryTypes.String, Dictionary, texts(func(int) string { return fmt.Sprint("MPS number ", r.IntN(5000)) })},
		{"bool/plain", arrow.FixedWidthTypes.Boolean, Plain, bytes.Repeat([]byte{1, 0, 0, 1}, rows/4)},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newPool(b, 1, 1<<30)
			w := create(b, Options{Schema: arrow.NewSchema([]arrow.Field{field("v", c.typ, false)}, nil), Pool: p, Compression: Compression{Codec: None}, Encodings: []Encoding{c.enc}})
			e := w.encoders[0]
			e.lay.pageBytes = 4 << 20
			p.mu.Lock()
			p.idle -= 1 << 20 // or a page may be the goroutine's still when the next one comes
			p.mu.Unlock()
			s := newScratch()
			defer s.close()
			batch := column.NewBatch(1, 1, nil)
			batch.Rows = rows
			batch.Leaves[0].Data, batch.Leaves[0].Values = c.data, rows
			g := &rowGroup{chunks: make([]columnChunk, 1), store: store{pool: p}}
			g.chunks[0].left.Store(1)
			task := piece{batch: &batchRef{batch: batch}, to: rows, last: true, group: g}
			b.SetBytes(int64(len(c.data)))
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				if err := e.run(s, task); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(start))
				g.store.free()
			}
			b.ReportMetric(float64(best.Nanoseconds())/rows, "best-ns/value")
			p.open.Add(e.memory())
			e.held = e.memory()
		})
	}
}
