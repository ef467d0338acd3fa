package parquetw

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"

	"fast-export/internal/column"
)

// facts are what facts.py prints.
type facts struct {
	Rows    []int64
	Sorting [][][3]any
	Columns map[string]struct {
		Encodings            [][]string
		Offset, Index, Stats []bool
	}
	Probes []struct {
		Excluded    []bool
		Found, Read int
	}
}

func readFacts(t testing.TB, path string, probes ...string) facts {
	t.Helper()
	var f facts
	if err := json.Unmarshal([]byte(python(t, "facts.py", append([]string{path}, probes...)...)), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// rowsOf makes a record of n rows by a function of the row, in JSON.
func rowsOf(t testing.TB, s *arrow.Schema, n int, row func(i int) string) arrow.RecordBatch {
	t.Helper()
	var j strings.Builder
	for i := range n {
		j.WriteByte(",["[min(i, 1)^1])
		j.WriteString(row(i))
	}
	return record(t, s, j.String()+"]")
}

func every(n, step int) (cuts []int) {
	for at := step; at < n; at += step {
		cuts = append(cuts, at)
	}
	return cuts
}

// DuckDB passes over the row groups that a bloom filter excludes, and over none that has the value, of each type; the
// filters of few values are small; and arrow-go reads them too.
func TestBloomFilters(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{
		field("id", arrow.PrimitiveTypes.Int64, false), // values that do not repeat
		field("few", arrow.PrimitiveTypes.Int32, true), // a dictionary, and NULLs
		field("small", arrow.PrimitiveTypes.Int16, true),
		field("name", arrow.BinaryTypes.String, true),
		field("blob", arrow.BinaryTypes.Binary, true),
		field("uuid", extensions.NewUUIDType(), true),
		field("tags", arrow.ListOfField(field("element", arrow.BinaryTypes.String, true)), true),
		field("none", arrow.BinaryTypes.String, true), // nothing but NULL
		field("other", arrow.PrimitiveTypes.Int64, true),
		field("some", arrow.PrimitiveTypes.Int64, true), // folded, but not to a single block
	}, nil)
	rec := rowsOf(t, s, 9000, func(i int) string {
		few := fmt.Sprint(i / 3000 * 1000)
		if i%2 == 1 {
			few = "null"
		}
		// What is asked for lies within the bounds of every row group, so that statistics exclude nothing.
		return fmt.Sprintf(`{"id":%d,"few":%s,"small":%d,"name":"name %d","blob":"%08d","uuid":"00112233-4455-6677-8899-%012x","tags":["t%d",null],"other":1,"some":%d}`,
			(i*7919)%9000*10, few, i%3000, i, i, i, i, i%300*1000)
	})
	path := write(t, Options{RowGroupRows: 3000, Bloom: []string{"id", "few", "small", "name", "uuid", "tags", "none", "some"}}, rec, every(9000, 777)...)
	checkIndexes(t, path, rec)

	probes := []string{"id=70", "id=71", "few=1000", "few=1", "small=7::SMALLINT", "name='name 4000'", "name='name x'", "none='x'", "none=''", "other=2", "some=7000", "some=7001"}
	f := readFacts(t, path, probes...)
	group := func(excluded []bool) (in []int) {
		for g, e := range excluded {
			if !e {
				in = append(in, g)
			}
		}
		return in
	}
	where := -1
	for i := range 9000 {
		if (i*7919)%9000*10 == 70 {
			where = i / 3000
		}
	}
	for i, want := range [][]int{{where}, nil, {1}, nil, {0, 1, 2}, {1}, nil, nil, nil, {0, 1, 2}, {0, 1, 2}, nil} {
		p := f.Probes[i]
		if got := group(p.Excluded); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: row groups %v are read, not %v", probes[i], got, want)
		}
		if p.Found != p.Read {
			t.Errorf("%s: %d rows found, there are %d", probes[i], p.Found, p.Read)
		}
	}

	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wrong := 0
	for g := range r.NumRowGroups() {
		filters, err := r.GetBloomFilterReader().RowGroup(g)
		if err != nil {
			t.Fatal(err)
		}
		leaves := shred(t, mustLeaves(t, s), rec, 3000*g, 3000*g+3000, nil).Leaves
		for i := range leaves {
			b, err := filters.GetColumnBloomFilter(i)
			if err != nil {
				t.Fatal(err)
			}
			if (b == nil) != (s.Field(i).Name == "other" || s.Field(i).Name == "blob") {
				t.Fatalf("row group %d, %s: filter %v", g, s.Field(i).Name, b)
			}
			if b == nil {
				continue
			}
			for _, v := range values(&mustLeaves(t, s)[i], &leaves[i]) {
				if !b.CheckHash(b.Hasher().Sum64(v)) {
					t.Fatalf("row group %d, %s: the filter denies %q, which is there", g, s.Field(i).Name, v)
				}
			}
			switch name := s.Field(i).Name; {
			case name == "few" && b.Size() != 32, name == "none" && b.Size() != 32, name == "id" && b.Size() != 4096, name == "some" && b.Size() != 512:
				t.Errorf("row group %d, %s: a filter of %d bytes", g, name, b.Size())
			case name == "id":
				for k := range 30000 {
					if b.CheckHash(b.Hasher().Sum64(le.AppendUint64(nil, uint64(k*10+1)))) {
						wrong++
					}
				}
			}
		}
	}
	if wrong > 900 || wrong == 0 {
		t.Errorf("%d of 90000 wrong answers: less than 1 in 100 should be", wrong)
	}
}

// A filter of lists is made for more elements than the row group has rows, and one that is too full for its answers to be
// worth anything is not written.
func TestBloomFiltersOfLists(t *testing.T) {
	t.Parallel()
	const rows, each = 30_000, 10
	s := arrow.NewSchema([]arrow.Field{field("tags", arrow.ListOfField(field("element", arrow.PrimitiveTypes.Int64, false)), false)}, nil)
	batch := func() *column.Batch {
		b := column.NewBatch(1, 1, nil)
		b.Rows = rows
		l := &b.Leaves[0]
		for i := range rows * each {
			l.Rep = append(l.Rep, uint8(min(i%each, 1)))
			l.Def = append(l.Def, 1)
			l.Data = le.AppendUint64(l.Data, uint64(2*i))
		}
		l.Values = rows * each
		return b
	}
	for _, most := range []int64{0, rows * each, rows * each / 2, rows} { // 0: what a list gets
		path := filepath.Join(t.TempDir(), "f.parquet")
		w, err := Create(path, Options{Schema: s, Pool: newPool(t, 1, 1<<30), RowGroupRows: rows, Bloom: []string{"tags"}})
		if err != nil {
			t.Fatal(err)
		}
		if most > 0 {
			w.encoders[0].bloom.most = most
		}
		if err := w.Write(t.Context(), batch()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := file.OpenParquetFile(path, false)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		filters, err := r.GetBloomFilterReader().RowGroup(0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := filters.GetColumnBloomFilter(0)
		if err != nil {
			t.Fatal(err)
		}
		if most == rows { // 2.6 to 5 bits a value
			if b != nil {
				t.Errorf("made for %d values: a filter of %d bytes", most, b.Size())
			}
			continue
		}
		if b == nil {
			t.Fatalf("made for %d values: no filter", most)
		}
		wrong := 0
		for i := range rows * each {
			if !b.CheckHash(b.Hasher().Sum64(le.AppendUint64(nil, uint64(2*i)))) {
				t.Fatalf("made for %d values: it denies one that is there", most)
			}
			if b.CheckHash(b.Hasher().Sum64(le.AppendUint64(nil, uint64(2*i+1)))) {
				wrong++
			}
		}
		t.Logf("made for %d values: %d bytes, %d of %d answers are wrong", most, b.Size(), wrong, rows*each)
		if limit := map[int64]int{0: 1, rows * each: 1, rows * each / 2: 10}[most]; wrong > rows*each*limit/100 {
			t.Errorf("made for %d values: %d of %d answers are wrong", most, wrong, rows*each)
		}
	}
}

func mustLeaves(t testing.TB, s *arrow.Schema) []column.Leaf {
	t.Helper()
	_, leaves, err := column.FromArrow(s)
	if err != nil {
		t.Fatal(err)
	}
	return leaves
}

// values are a buffer's values, without lengths.
func values(l *column.Leaf, b *column.Buffer) (out [][]byte) {
	for data := b.Data; len(data) > 0; {
		n, head := l.Width, 0
		if n == 0 {
			n, head = 4+int(le.Uint32(data)), 4
		}
		out = append(out, data[head:n])
		data = data[n:]
	}
	return out
}

// A filter's memory is that of one row group's bound, counted by the pool, and does not grow with what comes.
func TestBloomMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values int64
		bytes  int
	}{{0, 32}, {1, 32}, {24, 32}, {25, 64}, {1_000_000, 2 << 20}, {math.MaxInt64 / 16, maxBloomBytes}} {
		if got := 4 * bloomWords(c.values); got != c.bytes {
			t.Errorf("%d values: %d bytes, not %d", c.values, got, c.bytes)
		}
	}
	s := arrow.NewSchema([]arrow.Field{field("v", arrow.PrimitiveTypes.Int64, false)}, nil)
	p := newPool(t, 1, 1<<30)
	w := create(t, Options{Schema: s, Pool: p, RowGroupRows: 1_000_000, Bloom: []string{"v"}})
	b := rowsOf(t, s, 10, func(i int) string { return fmt.Sprintf(`{"v":%d}`, i) })
	if err := w.Write(t.Context(), newLedger(t).batch(w.leaves, b, 0, 10)); err != nil {
		t.Fatal(err)
	}
	if err := w.wait(t.Context(), func() bool { return w.tasks == 0 }); err != nil {
		t.Fatal(err)
	}
	if got := p.Used(); got < 2<<20 || got > 3<<20 {
		t.Errorf("the pool counts %d bytes with a filter of 2 MiB", got)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Readers see the order that was asked for, in every row group, and a row that is out of it is found wherever it stands.
func TestSortedBy(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{
		field("z", arrow.PrimitiveTypes.Int32, true),
		field("day", arrow.FixedWidthTypes.Date32, true),
		field("name", arrow.BinaryTypes.String, true),
		field("x", arrow.PrimitiveTypes.Float64, true),
		field("tags", arrow.ListOfField(field("element", arrow.BinaryTypes.String, true)), true),
	}, nil)
	rows := []string{
		`{"day":"2024-01-01","name":"","x":-1}`, `{"day":"2024-01-01","name":"a","x":-0.0}`, `{"day":"2024-01-01","name":"a","x":0}`,
		`{"day":"2024-01-01","name":"a","x":-0.0}`, `{"day":"2024-01-01","name":"b","x":1}`, `{"day":"2024-01-01","name":null,"x":2}`,
		`{"day":"2024-01-01","name":null,"x":3}`, `{"day":"2024-01-02","name":"Z","x":3.5}`, `{"day":"2024-01-02","name":"\u00e9","x":null}`, `{"day":null,"name":"a","x":null}`,
	}
	rec := record(t, s, "["+strings.Join(rows, ",")+"]")
	for _, cuts := range [][]int{nil, {1, 2, 3, 4, 5, 6, 7, 8, 9}, {5, 5}} {
		path := write(t, Options{RowGroupRows: 4, SortedBy: []string{"day", "name"}}, rec, cuts...)
		f := readFacts(t, path)
		want := [][3]any{{1.0, false, false}, {2.0, false, false}}
		if !reflect.DeepEqual(f.Sorting, [][][3]any{want, want, want}) {
			t.Errorf("pyarrow says %v", f.Sorting)
		}
		write(t, Options{SortedBy: []string{"x"}}, rec, cuts...)
	}
	if f := readFacts(t, write(t, Options{}, rec)); len(f.Sorting[0]) != 0 {
		t.Errorf("unasked: %v", f.Sorting)
	}
	for i := range rows[1:] {
		swapped := slices.Clone(rows)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		rec := record(t, s, "["+strings.Join(swapped, ",")+"]")
		for _, cuts := range [][]int{nil, {i + 1}} {
			_, err := writeTo(t, filepath.Join(t.TempDir(), "f"), Options{RowGroupRows: 4, SortedBy: []string{"day", "name"}}, rec, cuts...)
			se, ok := errors.AsType[*SortError](err)
			if same := i == 1 || i == 2 || i == 5; same != (err == nil) || !same && (!ok || se.Row != int64(i+2)) {
				t.Errorf("rows %d and %d swapped, cut at %v: %v", i+1, i+2, cuts, err)
			}
		}
	}
	nan := array.NewFloat64Builder(memory.DefaultAllocator)
	nan.AppendValues([]float64{1, math.NaN()}, nil)
	one := arrow.NewSchema([]arrow.Field{field("x", arrow.PrimitiveTypes.Float64, true)}, nil)
	_, err := writeTo(t, filepath.Join(t.TempDir(), "f"), Options{SortedBy: []string{"x"}}, array.NewRecordBatch(one, []arrow.Array{nan.NewArray()}, 2))
	if err == nil || !strings.Contains(err.Error(), "row 2 has NaN in x") {
		t.Errorf("NaN: %v", err)
	}
}

// What is asked of columns that they cannot have is an error that names column and type, and no file is begun.
func TestColumnErrors(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{
		field("b", arrow.FixedWidthTypes.Boolean, true), field("x", arrow.PrimitiveTypes.Float64, true), field("t", arrow.BinaryTypes.String, true),
		field("s", arrow.StructOf(field("lo", arrow.PrimitiveTypes.Int64, true), field("hi", arrow.BinaryTypes.String, true)), true),
		field("tags", arrow.ListOfField(field("element", arrow.BinaryTypes.String, true)), true),
		field("raw", arrow.BinaryTypes.Binary, true),
		field("d", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, true),
	}, nil)
	for want, opt := range map[string]Options{
		`column "b" of type bool has but two values`:                                  {Bloom: []string{"b"}},
		`column "x" of type float64 cannot have a bloom filter: equal floats`:         {Bloom: []string{"x"}},
		`column "s" (leaf s.lo) of type int64 has several parts`:                      {Bloom: []string{"s"}},
		`column "raw" of type binary cannot have a bloom filter: readers`:             {Bloom: []string{"raw"}},
		`column "nope" does not exist: there are b, x, t, s, tags, raw, d`:            {Bloom: []string{"t", "nope"}},
		`column "tags" (leaf tags.list.element) of type utf8 has no order to sort by`: {SortedBy: []string{"tags"}},
		`column "s" (leaf s.lo) of type int64 has no order to sort by`:                {SortedBy: []string{"x", "s"}},
		`column "x" is there twice to sort by`:                                        {SortedBy: []string{"x", "t", "x"}},
		`column "n" does not exist`:                                                   {SortedBy: []string{"n"}},
		`column "x" of type float64 cannot be encoded as delta`:                       {Encodings: []Encoding{Auto, Delta, Auto, Auto, Auto, Auto, Auto, Auto}},
		"1 priors for 8 leaves":                                                       {Priors: []Prior{{}}},
		"row groups of 0 rows and -1 bytes":                                           {RowGroupBytes: -1},
	} {
		opt.Schema = s
		if err := Check(opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	for want, columns := range map[string]map[string]Encoding{
		`column "t" of type utf8 cannot be encoded as byte_stream_split`:          {"x": ByteStreamSplit, "t": ByteStreamSplit},
		`column "b" of type bool cannot be encoded as dictionary`:                 {"b": Dictionary},
		`column "s" (leaf s.hi) of type utf8 cannot be encoded as byte_stream`:    {"s": ByteStreamSplit, "x": Plain},
		`of type dictionary<values=utf8, indices=int32, ordered=false> cannot be`: {"d": Delta},
		`column "X" does not exist: there are b, x, t, s, tags, raw, d`:           {"X": Plain},
	} {
		_, err := LeafEncodings(s, Auto, columns)
		if err == nil || !(strings.Contains(err.Error(), want) || want[:10] == `column "s"` && strings.Contains(err.Error(), `column "s" (leaf s.lo) of type int64`)) {
			t.Errorf("%v does not say %s", err, want)
		}
		if _, ok := errors.AsType[*ColumnError](err); !ok {
			t.Errorf("%T", err)
		}
	}
	got, err := LeafEncodings(s, Dictionary, map[string]Encoding{"s": Delta, "x": ByteStreamSplit})
	if want := []Encoding{Auto, ByteStreamSplit, Dictionary, Delta, Delta, Dictionary, Dictionary, Dictionary}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// A row group ends behind the row with which its values reach so many bytes, whatever the batches, and at its rows if
// they come first.
func TestRowGroupBytes(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{
		field("i", arrow.PrimitiveTypes.Int32, false), field("n", arrow.PrimitiveTypes.Int64, true), field("t", arrow.BinaryTypes.String, true),
		field("tags", arrow.ListOfField(field("element", arrow.BinaryTypes.String, true)), true), field("b", arrow.FixedWidthTypes.Boolean, true),
	}, nil)
	const rows = 500
	size := func(i int) (n int64) {
		n = 4
		if i%3 > 0 {
			n += 8
		}
		if i%5 > 0 {
			n += 4 + int64(i%37)
		}
		if i%4 > 0 {
			n += int64(i%4) * 6
		}
		if i%2 > 0 {
			n++
		}
		return n
	}
	rec := rowsOf(t, s, rows, func(i int) string {
		n, text, tags, b := "null", "null", "null", "null"
		if i%3 > 0 {
			n = fmt.Sprint(i)
		}
		if i%5 > 0 {
			text = `"` + strings.Repeat("x", i%37) + `"`
		}
		if i%4 > 0 {
			tags = "[null," + strings.Repeat(`"ab",`, i%4) + "null]"
		}
		if i%2 > 0 {
			b = "true"
		}
		return fmt.Sprintf(`{"i":%d,"n":%s,"t":%s,"tags":%s,"b":%s}`, i, n, text, tags, b)
	})
	for _, c := range []struct{ bytes, rows int64 }{{1, 0}, {100, 0}, {1000, 0}, {1000, 30}, {1 << 20, 0}, {700, 17}} {
		var want []int64
		sum, n := int64(0), int64(0)
		for i := range rows {
			sum += size(i)
			n++
			if sum >= c.bytes || n == c.rows || i == rows-1 {
				want = append(want, n)
				sum, n = 0, 0
			}
		}
		digest := ""
		for _, step := range []int{1, 7, 64, rows} {
			path := filepath.Join(t.TempDir(), "f.parquet")
			res, err := writeTo(t, path, Options{RowGroupBytes: c.bytes, RowGroupRows: c.rows, Hash: true}, rec, every(rows, step)...)
			if err != nil {
				t.Fatal(err)
			}
			if digest == "" {
				digest = res.SHA256
				if f := readFacts(t, path); !slices.Equal(f.Rows, want) {
					t.Errorf("%d bytes or %d rows: row groups of %v rows, not %v", c.bytes, c.rows, f.Rows, want)
				}
			}
			if res.SHA256 != digest {
				t.Errorf("%d bytes or %d rows, batches of %d: other bytes", c.bytes, c.rows, step)
			}
		}
	}
}

// What is believed of the values makes up for a first page that misleads, does nothing where the values contradict it,
// and nothing in a row group of a single page.
func TestPriors(t *testing.T) {
	t.Parallel()
	float, text, whole := arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32
	quoted := func(f func(i int) int) func(i int) string {
		return func(i int) string { return fmt.Sprintf(`"value %d"`, f(i)) }
	}
	plain := func(f func(i int) int) func(i int) string { return func(i int) string { return fmt.Sprint(f(i)) } }
	scatter := func(i int) int { return int(rand.New(rand.NewPCG(uint64(i), 1)).Int32()) }
	scattered := func(i int) int { return scatter(i) % 3000 }
	runs := func(i int) int { return scatter(i / 5) }
	unique := scatter
	for _, c := range []struct {
		name          string
		typ           arrow.DataType
		value         func(i int) string
		rows          int
		prior         Prior
		without, with string // whether the values get a dictionary: "yes", "no", or "given up" on the way
	}{
		{"few values, many of a page", float, plain(scattered), 40_000, Prior{Distinct: 3000, Present: 1}, "no", "yes"},
		{"few texts, many of a page", text, quoted(scattered), 40_000, Prior{Distinct: 3000, Present: 1, Bytes: 10}, "no", "yes"},
		{"few numbers, many of a page", whole, plain(func(i int) int { return scattered(i) * 700_001 }), 40_000, Prior{Distinct: 3000, Present: 1}, "no", "yes"},
		{"a share that no dictionary holds", text, quoted(runs), 40_000, Prior{Distinct: -0.2, Present: 1, Bytes: 14}, "given up", "no"},
		{"said to be unique, but few", text, quoted(func(i int) int { return i % 10 }), 40_000, Prior{Distinct: -1, Present: 1, Bytes: 10}, "yes", "yes"},
		{"said to be few, but unique", float, plain(unique), 40_000, Prior{Distinct: 3000, Present: 1}, "no", "no"},
		{"said to be few, in a single page", float, plain(unique), 2000, Prior{Distinct: 3000, Present: 1}, "no", "no"},
		{"few, but not in a row group", float, plain(scattered), 40_000, Prior{Distinct: 3000, Present: 0.1}, "no", "no"},
		{"too many for a dictionary", float, plain(scattered), 40_000, Prior{Distinct: 100_000, Present: 1}, "no", "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := arrow.NewSchema([]arrow.Field{field("v", c.typ, true)}, nil)
			rec := rowsOf(t, s, c.rows, func(i int) string { return `{"v":` + c.value(i) + `}` })
			lay := layout{pageRows: 4096, pageBytes: 1 << 20, dictBytes: 80 << 10}
			for _, k := range []struct {
				priors []Prior
				want   string
			}{{nil, c.without}, {[]Prior{{}}, c.without}, {[]Prior{c.prior}, c.with}} {
				digest := ""
				for _, step := range []int{999, 16 << 10} {
					path := filepath.Join(t.TempDir(), "f.parquet")
					res, err := writeTo(t, path, Options{RowGroupRows: 40_000, Priors: k.priors, Hash: true, layout: lay}, rec, every(c.rows, step)...)
					if err != nil {
						t.Fatal(err)
					}
					if digest != "" {
						if res.SHA256 != digest {
							t.Error("other bytes with other batches")
						}
						continue
					}
					digest = res.SHA256
					e := namesOfEncodings(t, path)
					got := "no"
					if slices.Contains(e, "RLE_DICTIONARY") {
						got = "yes"
						if slices.Contains(e, "BYTE_STREAM_SPLIT") || slices.Contains(e, "DELTA_LENGTH_BYTE_ARRAY") || slices.Contains(e, "DELTA_BYTE_ARRAY") || slices.Contains(e, "DELTA_BINARY_PACKED") {
							got = "given up"
						}
					}
					if got != k.want {
						t.Errorf("prior %v: a dictionary: %s, not %s (%v)", k.priors, got, k.want, e)
					}
					checkIndexes(t, path, rec)
				}
			}
		})
	}
}

// namesOfEncodings are the encodings of a file's first column chunk.
func namesOfEncodings(t testing.TB, path string) (names []string) {
	t.Helper()
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := r.MetaData().RowGroup(0).ColumnChunk(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Encodings() {
		names = append(names, e.String())
	}
	return names
}

// Every column chunk has an offset index, a column index and statistics for pyarrow, and DuckDB reads by them.
func TestReadersSeeThePageIndex(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{field("id", arrow.PrimitiveTypes.Int64, false), field("t", arrow.BinaryTypes.String, true)}, nil)
	rec := rowsOf(t, s, 3000, func(i int) string { return fmt.Sprintf(`{"id":%d,"t":"t%d"}`, i, i%7) })
	f := readFacts(t, write(t, Options{RowGroupRows: 1000, layout: layout{pageRows: 64, pageBytes: 1 << 20, dictBytes: 1 << 10}}, rec), "id=2500", "t='t3'")
	for name, c := range f.Columns {
		for g := range f.Rows {
			if !c.Offset[g] || !c.Index[g] || !c.Stats[g] {
				t.Errorf("%s, row group %d: offset index %v, column index %v, statistics %v", name, g, c.Offset[g], c.Index[g], c.Stats[g])
			}
		}
	}
	for i, want := range []int{1, 429} {
		if p := f.Probes[i]; p.Found != want || p.Read != want {
			t.Errorf("probe %d: found %d, read %d", i, p.Found, p.Read)
		}
	}
}
