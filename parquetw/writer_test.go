package parquetw

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/file"

	"fast-export/internal/column"
)

func field(name string, t arrow.DataType, nullable bool) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: nullable}
}

// int64s is a batch of one required int64 leaf.
func int64s(values ...int64) *column.Batch {
	b := column.NewBatch(1, 1, nil)
	b.Rows = len(values)
	b.Leaves[0].Values = len(values)
	for _, v := range values {
		b.Leaves[0].Data = le.AppendUint64(b.Leaves[0].Data, uint64(v))
	}
	return b
}

var oneInt64 = arrow.NewSchema([]arrow.Field{field("n", arrow.PrimitiveTypes.Int64, false)}, nil)

func create(t testing.TB, opt Options) *Writer {
	t.Helper()
	if opt.Pool == nil {
		opt.Pool = newPool(t, 2, 1<<30)
	}
	w, err := Create(filepath.Join(t.TempDir(), "f.parquet"), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestResultAndMetadata(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 2, 0)
	m := arrow.NewMetadata([]string{"from the schema", "both"}, []string{"1", "2"})
	s := arrow.NewSchema(oneInt64.Fields(), &m)
	w := create(t, Options{
		Schema: s, Pool: pool, RowGroupRows: 3, Hash: true, CreatedBy: "made by a test",
		Metadata: []KeyValue{{"a", "ü"}, {"both", "3"}, {"late", "no"}},
	})
	w.SetMetadata("late", "yes")
	w.SetMetadata("last", "")
	for _, b := range []*column.Batch{int64s(1, 2, 3, 4), int64s(), int64s(5, 6, 7)} {
		if err := w.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	res, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(w.out.path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if want := (Result{Rows: 7, Bytes: int64(len(content)), RowGroups: 3, SHA256: hex.EncodeToString(sum[:])}); res != want {
		t.Errorf("got %+v, want %+v", res, want)
	}
	leftovers(t, filepath.Dir(w.out.path), "f.parquet")
	r, err := file.OpenParquetFile(w.out.path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	kv := r.MetaData().KeyValueMetadata()
	if got, want := fmt.Sprint(kv.Keys()), "[from the schema both a late last ARROW:schema]"; got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(kv.Values()[:5]), "[1 3 ü yes ]"; got != want {
		t.Errorf("values %s, want %s", got, want)
	}
	if got := r.MetaData().GetCreatedBy(); got != "made by a test" {
		t.Errorf("created by %q", got)
	}
	var sizes []int64
	for i := range r.NumRowGroups() {
		sizes = append(sizes, r.MetaData().RowGroup(i).NumRows())
	}
	if !slices.Equal(sizes, []int64{3, 3, 1}) {
		t.Errorf("row groups of %v rows", sizes)
	}
	if err := w.Write(t.Context(), int64s(1)); !errors.Is(err, errClosed) {
		t.Errorf("a write after the commit: %v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("a second commit: %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("an abort after the commit: %v", err)
	}
	leftovers(t, filepath.Dir(w.out.path), "f.parquet")
}

func TestEndRowGroup(t *testing.T) {
	t.Parallel()
	w := create(t, Options{Schema: oneInt64})
	end := func() {
		if err := w.EndRowGroup(); err != nil {
			t.Fatal(err)
		}
	}
	end() // of nothing
	for _, b := range []*column.Batch{int64s(1), int64s(2, 3)} {
		if err := w.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	end()
	end()
	if err := w.Write(t.Context(), int64s(4)); err != nil {
		t.Fatal(err)
	}
	end()
	res, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res.RowGroups != 2 || res.Rows != 4 {
		t.Errorf("%+v, want 2 row groups of 4 rows", res)
	}
	if got, want := tableRows(readBack(t, w.out.path)), []string{"1|", "2|", "3|", "4|"}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
}

// No rows give a valid file with the whole schema; no columns give one that still knows how many rows it has.
func TestNothing(t *testing.T) {
	t.Parallel()
	w := create(t, Options{Schema: oneInt64})
	if res, err := w.Commit(t.Context()); err != nil || res.Rows != 0 || res.RowGroups != 0 {
		t.Errorf("no rows: %+v, %v", res, err)
	}
	if tab := readBack(t, w.out.path); tab.NumRows() != 0 || tab.NumCols() != 1 || tab.Schema().Field(0).Name != "n" {
		t.Errorf("no rows: read %v", tab)
	}

	w = create(t, Options{Schema: arrow.NewSchema(nil, nil), RowGroupRows: 100})
	b := column.NewBatch(0, 0, nil)
	b.Rows = 250
	if err := w.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if res, err := w.Commit(t.Context()); err != nil || res.Rows != 250 || res.RowGroups != 3 {
		t.Errorf("no columns: %+v, %v", res, err)
	}
	r, err := file.OpenParquetFile(w.out.path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.NumRows() != 250 || r.MetaData().NumColumns() != 0 {
		t.Errorf("no columns: %d rows of %d columns", r.NumRows(), r.MetaData().NumColumns())
	}
}

// As many columns as a Postgres table can have, in several row groups that are open at once, within the memory that a
// page may take.
func TestWide(t *testing.T) {
	t.Parallel()
	const columns, rows = 1600, 300
	fields := make([]arrow.Field, columns)
	for i := range fields {
		fields[i] = field(fmt.Sprint("c", i), []arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String}[i%2], i%3 > 0)
	}
	s := arrow.NewSchema(fields, nil)
	rec := newGenerator(3).record(s, rows)
	path := write(t, Options{RowGroupRows: 100, Pool: newPool(t, 3, 1<<20)}, rec, 50, 120, 130)
	if want, have := recordRows(rec), tableRows(readBack(t, path)); !slices.Equal(want, have) {
		t.Error(difference(want, have))
	}
	if lay := layoutFor(columns); columns*(lay.pageBytes+lay.dictBytes) > 128<<20 || lay.pageRows%8 != 0 {
		t.Errorf("%d columns: %+v", columns, lay)
	}
}

func TestTooManyRowGroups(t *testing.T) {
	t.Parallel()
	w := create(t, Options{Schema: oneInt64, RowGroupRows: 1, Compression: Compression{Codec: None}})
	w.groups = MaxRowGroups // as if they had been
	err := w.Write(t.Context(), int64s(1))
	if err == nil || !strings.Contains(err.Error(), "32767 row groups") {
		t.Errorf("row group 32768: %v", err)
	}
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("committed all the same")
	}
	leftovers(t, filepath.Dir(w.out.path))

	w = create(t, Options{Schema: oneInt64, RowGroupRows: 1, Compression: Compression{Codec: None}})
	if err := w.Write(t.Context(), int64s(make([]int64, MaxRowGroups)...)); err != nil {
		t.Fatal(err)
	}
	if res, err := w.Commit(t.Context()); err != nil || res.RowGroups != MaxRowGroups {
		t.Errorf("%d row groups: %+v, %v", MaxRowGroups, res, err)
	}
	if got := readBack(t, w.out.path).NumRows(); got != MaxRowGroups {
		t.Errorf("read %d rows", got)
	}
}

// What a batch must not be is an error that names the leaf, and no file.
func TestBadBatches(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{
		field("required", arrow.PrimitiveTypes.Int64, false),
		field("text", arrow.BinaryTypes.String, true),
		field("bool", arrow.FixedWidthTypes.Boolean, true),
		field("list", arrow.ListOf(arrow.BinaryTypes.String), true),
	}, nil)
	good := func() *column.Batch {
		rec := record(t, s, `[{"required":1,"text":"abc","bool":true,"list":["x",null]},{"required":2,"text":"defg","bool":false,"list":[]}]`)
		_, leaves, err := column.FromArrow(s)
		if err != nil {
			t.Fatal(err)
		}
		return shred(t, leaves, rec, 0, 2, nil)
	}
	for _, c := range []struct {
		name  string
		spoil func(b *column.Batch)
		want  string
	}{
		{"null in a required leaf", func(b *column.Batch) {
			b.Leaves[0].Data, b.Leaves[0].Values = b.Leaves[0].Data[:8], 1
		}, "leaf required is required and has 1 values for 2 rows"},
		{"half a value", func(b *column.Batch) { b.Leaves[0].Data = b.Leaves[0].Data[:12] }, "leaf required: 12 bytes"},
		{"bitmap too short", func(b *column.Batch) { b.Leaves[1].Valid = nil }, "leaf text: bitmap"},
		{"bitmap of other values", func(b *column.Batch) { b.Leaves[1].Valid[0] = 1 }, "leaf text: 2 values, the bitmap says 1"},
		{"length beyond the data", func(b *column.Batch) { b.Leaves[1].Data[7] = 200 }, "leaf text"},
		{"length beyond int32", func(b *column.Batch) { le.PutUint32(b.Leaves[1].Data, math.MaxUint32) }, "leaf text: a value of 4294967295 bytes"},
		{"data behind the values", func(b *column.Batch) { b.Leaves[1].Data = append(b.Leaves[1].Data, 0, 0, 0, 0) }, "leaf text"},
		{"values behind the data", func(b *column.Batch) { b.Leaves[1].Data = b.Leaves[1].Data[:7] }, "leaf text"},
		{"a boolean of 2", func(b *column.Batch) { b.Leaves[2].Data[1] = 2 }, "leaf bool: 2 is no boolean"},
		{"a level too high", func(b *column.Batch) { b.Leaves[3].Def[0] = 9 }, "leaf list.list.element: definition level 9"},
		{"a repetition level too high", func(b *column.Batch) { b.Leaves[3].Rep[1] = 2 }, "leaf list.list.element: repetition level 2"},
		{"a row that begins in a row", func(b *column.Batch) { b.Leaves[3].Rep[0] = 1 }, "leaf list.list.element: repetition level 1"},
		{"levels of another length", func(b *column.Batch) { b.Leaves[3].Rep = b.Leaves[3].Rep[:2] }, "leaf list.list.element: 2 repetition levels"},
		{"levels of other rows", func(b *column.Batch) { b.Leaves[3].Rep[2] = 1 }, "leaf list.list.element: levels of 1 rows"},
		{"a list's text cut off", func(b *column.Batch) { b.Leaves[3].Data = b.Leaves[3].Data[:3] }, "leaf list.list.element"},
		{"too few leaves", func(b *column.Batch) { b.Leaves = b.Leaves[:2] }, "2 leaves for a schema of 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, enc := range []Encoding{Auto, Plain} {
				w := create(t, Options{Schema: s, Encodings: []Encoding{enc, enc, Auto, enc}})
				if err := w.Write(t.Context(), good()); err != nil {
					t.Fatal(err)
				}
				b := good()
				c.spoil(b)
				err := w.Write(t.Context(), b)
				_, commitErr := w.Commit(t.Context())
				if commitErr == nil {
					t.Fatal("committed all the same")
				}
				if err == nil {
					err = commitErr
				}
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %q does not say %q", err, c.want)
				}
				if !strings.Contains(commitErr.Error(), err.Error()) {
					t.Errorf("write said %q, commit %q", err, commitErr)
				}
				if err := w.Write(t.Context(), good()); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the first error is forgotten: %v", err)
				}
				leftovers(t, filepath.Dir(w.out.path))
			}
		})
	}
}

func TestValueError(t *testing.T) {
	t.Parallel()
	w := create(t, Options{Schema: arrow.NewSchema([]arrow.Field{field("doc", arrow.BinaryTypes.Binary, false)}, nil)})
	b := column.NewBatch(1, 1, nil)
	b.Rows, b.Leaves[0].Values = 1, 1
	b.Leaves[0].Data = le.AppendUint32(nil, math.MaxInt32) // the rest does not matter any more
	err := w.Write(t.Context(), b)
	if err == nil {
		_, err = w.Commit(t.Context())
	}
	var v *ValueError
	if !errors.As(err, &v) || v.Leaf != "doc" {
		t.Errorf("got %v, want a *ValueError of doc", err)
	}
}

// A page whose size is no int32 is refused before anything is made of it.
func TestPageTooLarge(t *testing.T) {
	t.Parallel()
	w := create(t, Options{Schema: oneInt64, Compression: Compression{Codec: None}})
	s := newScratch()
	defer s.close()
	j := pageJob{leaf: w.encoders[0], body: make([]byte, maxPageBytes+1)} // never touched, so it takes no memory
	var v *ValueError
	if err := j.finish(s); !errors.As(err, &v) || v.Leaf != "n" {
		t.Errorf("got %v", err)
	}
}

// A value longer than any page has one of its own, between others.
func TestLongValue(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{field("t", arrow.BinaryTypes.String, true), field("l", arrow.ListOf(arrow.BinaryTypes.String), true)}, nil)
	long := strings.Repeat("0123456789abcdef", 1<<19) // 8 MiB
	rec := record(t, s, `[{"t":"a","l":["b"]},{"t":"`+long+`","l":["c","`+long+`"]},{"t":null,"l":null},{"t":"d","l":[]}]`)
	path := write(t, Options{Pool: newPool(t, 2, 1<<20)}, rec, 1, 2)
	if want, have := recordRows(rec), tableRows(readBack(t, path)); !slices.Equal(want, have) {
		t.Error(difference(want, have))
	}
	checkIndexes(t, path, rec)
}

func TestBadSchemas(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, 0)
	i32 := arrow.PrimitiveTypes.Int32
	for _, c := range []struct {
		name   string
		fields []arrow.Field
		want   string
	}{
		{"two of one name", []arrow.Field{field("a", i32, true), field("b", i32, true), field("a", i32, true)}, `two columns are called "a"`},
		{"two of one name in a struct", []arrow.Field{field("s", arrow.ListOf(arrow.StructOf(field("x", i32, true), field("x", i32, true))), true)}, `"s.item.x"`},
		{"no name", []arrow.Field{field("", i32, true)}, "no name"},
		{"a name that is no text", []arrow.Field{field("\xff", i32, true)}, "UTF-8"},
		{"a decimal of negative scale", []arrow.Field{field("d", &arrow.Decimal128Type{Precision: 5, Scale: -2}, true)}, "parquet schema"},
		{"an interval", []arrow.Field{field("i", arrow.FixedWidthTypes.MonthDayNanoInterval, true)}, "parquet schema"},
		{"a struct of nothing", []arrow.Field{field("s", arrow.StructOf(), true)}, ""},
		{"values of no bytes", []arrow.Field{field("f", &arrow.FixedSizeBinaryType{}, true)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := Create(filepath.Join(dir, "f.parquet"), Options{Schema: arrow.NewSchema(c.fields, nil), Pool: pool})
			if err == nil {
				t.Fatal(errors.Join(errors.New("created all the same"), w.Abort()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			leftovers(t, dir)
		})
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, 0)
	s := arrow.NewSchema([]arrow.Field{field("i", arrow.PrimitiveTypes.Int32, true), field("t", arrow.BinaryTypes.String, true), field("b", arrow.FixedWidthTypes.Boolean, true)}, nil)
	for _, c := range []struct {
		name string
		opt  Options
		want string
	}{
		{"no pool", Options{Schema: s}, "Pool"},
		{"no schema", Options{Pool: pool}, "Schema"},
		{"negative row groups", Options{Schema: s, Pool: pool, RowGroupRows: -1}, "-1 rows"},
		{"a codec that is none", Options{Schema: s, Pool: pool, Compression: Compression{Codec: 9}}, "codec 9"},
		{"a level that is none", Options{Schema: s, Pool: pool, Compression: Compression{Codec: Gzip, Level: 10}}, "gzip has no level 10"},
		{"an overwrite that is none", Options{Schema: s, Pool: pool, Overwrite: 7}, "Overwrite(7)"},
		{"two encodings", Options{Schema: s, Pool: pool, Encodings: []Encoding{Auto, Auto}}, "2 encodings for 3 leaves"},
		{"split text", Options{Schema: s, Pool: pool, Encodings: []Encoding{Auto, ByteStreamSplit, Auto}}, `column "t" of type utf8 cannot be encoded as byte_stream_split`},
		{"split integers", Options{Schema: s, Pool: pool, Encodings: []Encoding{ByteStreamSplit, Auto, Auto}}, `column "i" of type int32 cannot`},
		{"delta of booleans", Options{Schema: s, Pool: pool, Encodings: []Encoding{Auto, Auto, Delta}}, `column "b" of type bool cannot`},
		{"a dictionary of booleans", Options{Schema: s, Pool: pool, Encodings: []Encoding{Auto, Auto, Dictionary}}, `column "b" of type bool cannot`},
		{"an encoding that is none", Options{Schema: s, Pool: pool, Encodings: []Encoding{9, Auto, Auto}}, "Encoding(9)"},
		{"metadata that are no text", Options{Schema: s, Pool: pool, Metadata: []KeyValue{{"k", "\xff"}}}, "UTF-8"},
		{"metadata of the schema", Options{Schema: s, Pool: pool, Metadata: []KeyValue{{"ARROW:schema", ""}}}, "ARROW:schema"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := Create(filepath.Join(dir, "f.parquet"), c.opt)
			if err == nil {
				t.Fatal(errors.Join(errors.New("created all the same"), w.Abort()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			leftovers(t, dir)
		})
	}
	w := create(t, Options{Schema: oneInt64})
	w.SetMetadata("k", "\xff")
	if _, err := w.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("metadata that are no text, set late: %v", err)
	}
}

func TestParseCompression(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Compression{
		"zstd": {Zstd, 1}, "zstd:3": {Zstd, 3}, "zstd:22": {Zstd, 22}, "snappy": {Snappy, 0}, "gzip": {Gzip, 6}, "gzip:9": {Gzip, 9},
		"lz4": {LZ4, 0}, "none": {None, 0},
	} {
		got, err := ParseCompression(in)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
		if again, err := ParseCompression(got.String()); err != nil || again != got {
			t.Errorf("%s: %q reads as %v, %v", in, got, again, err)
		}
	}
	if got := (Compression{}).String(); got != "zstd:1" {
		t.Errorf("the zero value is %s", got)
	}
	for in, want := range map[string]string{
		"": "zstd[:1..22], snappy, gzip[:1..9], lz4 or none", "brotli": "snappy", "ZSTD": "zstd", "zstd:": "from 1 to 22", "zstd:0": "from 1 to 22",
		"zstd:23": "from 1 to 22", "zstd:x": "from 1 to 22", "gzip:0": "from 1 to 9", "gzip:10": "from 1 to 9", "snappy:1": "no levels", "none:0": "no levels",
	} {
		if got, err := ParseCompression(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v does not say %q", in, got, err, want)
		}
	}
}

func TestParseEncoding(t *testing.T) {
	t.Parallel()
	for e := Auto; int(e) < len(encodingNames); e++ {
		if got, err := ParseEncoding(e.String()); err != nil || got != e {
			t.Errorf("%s: %v, %v", e, got, err)
		}
	}
	if _, err := ParseEncoding("rle"); err == nil || !strings.Contains(err.Error(), "auto, plain, dictionary, byte_stream_split, delta") {
		t.Errorf("rle: %v", err)
	}
}

// Many files at once, on one pool with hardly any memory for pages, have the bytes that each has alone.
func TestSharedPool(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 3, 1<<16)
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 8 {
		g := newGenerator(uint64(i))
		s := g.schema()
		rec := g.record(s, 2000)
		opt := Options{Schema: s, RowGroupRows: 300, layout: smallPages, Hash: true}
		alone := opt
		alone.Pool = newPool(t, 1, 1<<30)
		want, err := writeTo(t, filepath.Join(dir, fmt.Sprint("alone", i)), alone, rec)
		if err != nil {
			t.Fatal(err)
		}
		opt.Pool = pool
		all.Go(func() {
			got, err := writeTo(t, filepath.Join(dir, fmt.Sprint("shared", i)), opt, rec, 100, 1000, 1001)
			if err != nil || got != want {
				t.Errorf("file %d: %+v, %v, alone %+v", i, got, err, want)
			}
		})
	}
	all.Wait()
}

// The pages of a row group that is far larger than the memory for pages go to the temp file and come back.
func TestPageMemory(t *testing.T) {
	t.Parallel()
	const memory = 1 << 20
	pool := newPool(t, 2, memory)
	s := arrow.NewSchema([]arrow.Field{field("x", arrow.PrimitiveTypes.Float64, false), field("y", arrow.PrimitiveTypes.Float64, false)}, nil)
	w := create(t, Options{Schema: s, Pool: pool, Compression: Compression{Codec: None}, RowGroupRows: 500_000})
	g := newGenerator(1)
	most, spilled := int64(0), int64(0)
	for range 100 {
		b := column.NewBatch(2, 2, nil)
		b.Rows = 10000
		for i := range b.Leaves {
			b.Leaves[i].Values = b.Rows
			for range b.Rows {
				b.Leaves[i].Data = le.AppendUint64(b.Leaves[i].Data, g.Uint64())
			}
		}
		if err := w.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		most, spilled = max(most, pool.Used()), max(spilled, pool.Spilled())
	}
	res, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// open pages: two of 256 KiB, and what they were before they turned out to be no dictionaries
	if limit := int64(memory + 2<<20); most > limit {
		t.Errorf("%d bytes of memory, want at most %d", most, limit)
	}
	if spilled < res.Bytes/3 {
		t.Errorf("%d bytes of a file of %d were ever in the temp file", spilled, res.Bytes)
	}
	if st, err := pool.temp.Stat(); err != nil || st.Size() > res.Bytes*3/4 {
		t.Errorf("a temp file of %d bytes for two row groups, %d bytes together, one after the other: %v", st.Size(), res.Bytes, err)
	}
	if got := readBack(t, w.out.path).NumRows(); got != 1_000_000 {
		t.Errorf("read %d rows", got)
	}
}

// Whoever books temp space is asked for each growth of the temp file, and can refuse: then pages stay in memory, as far as they may.
func TestLimitTemp(t *testing.T) {
	t.Parallel()
	rec, opt := faultRecord()
	opt.RowGroupRows = 0
	for _, c := range []struct {
		limit, reserve int64
		fails          bool
	}{{0, 0, true}, {0, 1, true}, {0, 1 << 30, false}, {100 * blockBytes, 0, false}} {
		limit := c.limit
		opt.Pool = newPool(t, 2, 0)
		opt.Pool.Reserve(c.reserve)
		booked, refused := int64(0), false
		opt.Pool.LimitTemp(func(n int64) bool {
			refused = booked+n > limit
			if !refused {
				booked += n
			}
			return !refused
		})
		dir := t.TempDir()
		_, err := writeTo(t, filepath.Join(dir, "f.parquet"), opt, rec)
		if c.fails != errors.Is(err, ErrTempLimit) || limit < 100*blockBytes && !refused || booked == 0 && limit > 0 || !c.fails && err != nil {
			t.Errorf("limit %d, reserve %d: %d booked, refused: %v, error: %v", limit, c.reserve, booked, refused, err)
		}
		if err != nil {
			leftovers(t, dir)
		}
	}
}

// A blocked Write ends with its context, and the batch is released all the same.
func TestWriteCancelled(t *testing.T) {
	t.Parallel()
	pool := newPool(t, 1, 1<<30)
	w := create(t, Options{Schema: oneInt64, Pool: pool})
	// an encoder goroutine that is held up in another file's write
	hold, held := make(chan struct{}), make(chan struct{})
	other := create(t, Options{Schema: oneInt64, Pool: pool, RowGroupRows: 1})
	write := other.out.write
	other.out.buf = make([]byte, 0, 1) // the first row group reaches the file at once
	other.out.write = func(p []byte) (int, error) {
		held <- struct{}{}
		<-hold
		other.out.write = write
		return write(p)
	}
	if err := other.Write(t.Context(), int64s(1)); err != nil {
		t.Fatal(err)
	}
	<-held
	ctx, cancel := context.WithCancelCause(t.Context())
	l := newLedger(t)
	blocked := make(chan error)
	go func() {
		for {
			l.mu <- struct{}{}
			l.open++
			<-l.mu
			b := int64s(1)
			b.Reset(l.release)
			b.Rows, b.Leaves[0].Values, b.Leaves[0].Data = 1, 1, append(b.Leaves[0].Data, make([]byte, 8)...)
			if err := w.Write(ctx, b); err != nil {
				blocked <- err
				return
			}
		}
	}()
	cancel(errBoom)
	if err := <-blocked; !errors.Is(err, errBoom) {
		t.Errorf("got %v, want the context's cause", err)
	}
	close(hold) // Commit aborts, and waits for the encoder to let go of the batches
	if _, err := w.Commit(ctx); !errors.Is(err, errBoom) {
		t.Errorf("commit: %v", err)
	}
	if _, err := other.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}
