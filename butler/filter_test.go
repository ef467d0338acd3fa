package butler

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// build makes an array of any integer, text or other type from texts; "null" is null.
func build(t testing.TB, typ arrow.DataType, values ...string) arrow.Array {
	t.Helper()
	b := array.NewBuilder(memory.DefaultAllocator, typ)
	for _, v := range values {
		if v == "null" {
			b.AppendNull()
			continue
		}
		if err := b.AppendValueFromString(v); err != nil {
			t.Fatal(err)
		}
	}
	return b.NewArray()
}

// parquetFile writes a record and gives the file's path.
func parquetFile(t testing.TB, rec arrow.RecordBatch, props ...parquet.WriterProperty) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ids.parquet")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(rec.Schema(), f, parquet.NewWriterProperties(props...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

var integerTypes = []arrow.DataType{
	arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64,
	arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Uint64,
}

// TestNoIDs reads files without a row as pyarrow writes them, and empty row groups between others.
func TestNoIDs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pgtest.RunPython(t, `
import sys
import pyarrow as pa, pyarrow.parquet as pq
dir = sys.argv[1]
for name, typ in ("int64", pa.int64()), ("string", pa.string()):
    t = pa.table({"id": pa.array([], typ)})
    pq.write_table(t, f"{dir}/{name}_0.parquet")
    with pq.ParquetWriter(f"{dir}/{name}_0groups.parquet", t.schema):
        pass
    with pq.ParquetWriter(f"{dir}/{name}_2.parquet", t.schema) as w:
        for part in t, pa.table({"id": pa.array([5], pa.int64()).cast(typ)}), t, pa.table({"id": pa.array([7], pa.int64()).cast(typ)}), t:
            w.write_table(part)
    assert pq.ParquetFile(f"{dir}/{name}_2.parquet").num_row_groups == 5
`, dir)
	for name, want := range map[string]int{"int64_0": 0, "int64_0groups": 0, "int64_2": 2, "string_0": 0, "string_0groups": 0, "string_2": 2} {
		s, err := LoadIDs(t.Context(), filepath.Join(dir, name+".parquet"), "")
		if err != nil || s.Len() != want || want == 2 && !(s.Has(5) && s.Has(7)) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestLoadIDs(t *testing.T) {
	t.Parallel()
	for _, typ := range integerTypes {
		for _, props := range [][]parquet.WriterProperty{nil, {parquet.WithDictionaryDefault(false), parquet.WithMaxRowGroupLength(2)}} {
			s, err := LoadIDs(t.Context(), parquetFile(t, record(t, nil, "id", build(t, typ, "7", "100", "null", "7", "0")), props...), "")
			if err != nil || fmt.Sprint(s.ids) != "[0 7 100]" || s.Nulls() != 1 || s.Len() != 3 {
				t.Errorf("%s: %v, %v", typ, s, err)
			}
		}
	}
	for _, typ := range []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString} {
		s, err := LoadIDs(t.Context(), parquetFile(t, record(t, nil, "x", []int64{1, 2, 3, 4, 5}, "obssubid", build(t, typ, "9223372036854775807", "-9223372036854775808", "007", "null", "-0"))), "obssubid")
		if err != nil || fmt.Sprint(s.ids) != "[-9223372036854775808 0 7 9223372036854775807]" || s.Nulls() != 1 {
			t.Errorf("%s: %v, %v", typ, s, err)
		}
	}
	dictionary := func(typ arrow.DataType, values ...string) arrow.Array {
		indexes := array.NewInt32Builder(memory.DefaultAllocator)
		for i := range values {
			indexes.Append(int32(i))
		}
		indexes.AppendNull()
		indexes.Append(0)
		d := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: typ}
		return array.NewDictionaryArray(d, indexes.NewArray(), build(t, typ, values...))
	}
	for _, typ := range []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.PrimitiveTypes.Int64} {
		s, err := LoadIDs(t.Context(), parquetFile(t, record(t, nil, "id", dictionary(typ, "5", "-7"))), "")
		if err != nil || fmt.Sprint(s.ids) != "[-7 5]" || s.Nulls() != 1 {
			t.Errorf("a dictionary of %s: %v, %v", typ, s, err)
		}
	}
	many := make([]string, 5000)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	bad := slices.Clone(many)
	bad[4321] = "43 21"
	list := array.NewFixedSizeListBuilder(memory.DefaultAllocator, 1, arrow.PrimitiveTypes.Int64)
	list.Append(true)
	list.ValueBuilder().(*array.Int64Builder).Append(1)
	for _, c := range []struct {
		name   string
		values arrow.Array
		column string
		err    string
		row    int64
		value  string
	}{
		{"many", build(t, arrow.BinaryTypes.String, many...), "", "", 0, ""},
		{"a bad one", build(t, arrow.BinaryTypes.String, bad...), "", `column id (utf8), row 4322: "43 21" is no 64-bit integer`, 4321, "43 21"},
		{"plus", build(t, arrow.BinaryTypes.String, "1", "+5"), "", `row 2: "+5"`, 1, "+5"},
		{"blank", build(t, arrow.BinaryTypes.String, " 5"), "", `row 1: " 5"`, 0, " 5"},
		{"point", build(t, arrow.BinaryTypes.String, "5.0"), "", `"5.0"`, 0, "5.0"},
		{"empty", build(t, arrow.BinaryTypes.String, ""), "", `row 1: ""`, 0, ""},
		{"minus", build(t, arrow.BinaryTypes.String, "-"), "", `row 1: "-"`, 0, "-"},
		{"two minus", build(t, arrow.BinaryTypes.String, "--5"), "", `"--5"`, 0, "--5"},
		{"too large", build(t, arrow.BinaryTypes.String, "9223372036854775808"), "", "is no 64-bit integer", 0, "9223372036854775808"},
		{"other digits", build(t, arrow.BinaryTypes.String, "\u0665"), "", "is no 64-bit integer", 0, "\u0665"},
		{"underscore", build(t, arrow.BinaryTypes.LargeString, "1_0"), "", "is no 64-bit integer", 0, "1_0"},
		{"uint64", build(t, arrow.PrimitiveTypes.Uint64, "5", "9223372036854775808"), "", `column id (uint64), row 2: "9223372036854775808" is no 64-bit integer`, 1, "9223372036854775808"},
		{"a dictionary", dictionary(arrow.BinaryTypes.String, "5", "x"), "", `column id (dictionary of string), row 2: "x" is no 64-bit integer`, 1, "x"},
		{"a dictionary of bytes", dictionary(arrow.BinaryTypes.Binary, "NQ=="), "", "dictionary of binary): ids must be integers or texts of digits", -1, ""},
		{"float", build(t, arrow.PrimitiveTypes.Float64, "5"), "", "column id (float64): ids must be integers or texts of digits", -1, ""},
		{"bool", build(t, arrow.FixedWidthTypes.Boolean, "true"), "", "(bool): ids must be", -1, ""},
		{"date", build(t, arrow.FixedWidthTypes.Date32, "2020-01-01"), "", "(date32): ids must be", -1, ""},
		{"timestamp of milliseconds", build(t, arrow.FixedWidthTypes.Timestamp_ms, "2020-01-01T00:00:00Z"), "", "(timestamp[ms]): ids must be", -1, ""},
		{"timestamp", build(t, arrow.FixedWidthTypes.Timestamp_us, "2020-01-01T00:00:00Z"), "", "(timestamp[us]): ids must be", -1, ""},
		{"binary", build(t, arrow.BinaryTypes.Binary, "NQ=="), "", "(binary): ids must be", -1, ""},
		{"list", list.NewArray(), "", "ids must be", -1, ""},
		{"time", build(t, arrow.FixedWidthTypes.Time64us, "00:00:01"), "", "ids must be", -1, ""},
		{"no column", build(t, arrow.PrimitiveTypes.Int64, "5"), "Id", "column Id: no such column (there are: id)", -1, ""},
	} {
		name := parquetFile(t, record(t, nil, "id", c.values))
		s, err := LoadIDs(t.Context(), name, c.column)
		if c.err == "" {
			if err != nil || s.Len() != 5000 {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var f *FilterError
		if !errors.As(err, &f) || !strings.Contains(err.Error(), c.err) || f.File != name || f.Row != c.row || f.Value != c.value || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v (%+v), want %s", c.name, err, f, c.err)
		}
	}
	dir := files(t, map[string]string{"text": "no Parquet", "d/x": ""})
	for name, want := range map[string]string{"text": "not a readable Parquet file", "d": "not a regular file", "none": "no such file"} {
		var f *FilterError
		if _, err := LoadIDs(t.Context(), filepath.Join(dir, name), ""); !errors.As(err, &f) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestIDSet compares look-ups with a map, for ids that are spread in different ways.
func TestIDSet(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 1))
	for name, next := range map[string]func(i int) int64{
		"dense":     func(i int) int64 { return int64(i / 2) },
		"anywhere":  func(int) int64 { return int64(rng.Uint64()) },
		"clustered": func(i int) int64 { return int64(i%5)<<60 + int64(rng.IntN(300)) },
		"extremes":  func(i int) int64 { return []int64{math.MinInt64, math.MaxInt64, 0, -1, math.MinInt64 + 1}[i%5] },
		"one":       func(int) int64 { return 42 },
		"negative":  func(i int) int64 { return -int64(i) * 1000003 },
	} {
		for _, n := range []int{0, 1, 2, 3, 10, 1000} {
			var ids []int64
			in := map[int64]bool{}
			for i := range n {
				id := next(i)
				ids = append(ids, id)
				in[id] = true
			}
			s := NewIDSet(slices.Clone(ids))
			if s.Len() != len(in) {
				t.Fatalf("%s %d: %d ids, want %d", name, n, s.Len(), len(in))
			}
			try := append(slices.Clone(ids), math.MinInt64, math.MaxInt64, 0, 1, -1, 42, 43)
			for _, id := range ids {
				try = append(try, id+1, id-1)
			}
			for _, id := range try {
				if s.Has(id) != in[id] {
					t.Fatalf("%s %d: has %d: %t", name, n, id, s.Has(id))
				}
				hi := id + int64(rng.IntN(1000))
				if hi < id {
					continue
				}
				want := false
				for x := range in {
					want = want || id <= x && x <= hi
				}
				if n <= 10 && s.hasBetween(id, hi) != want {
					t.Fatalf("%s %d: has between %d and %d: %t", name, n, id, hi, !want)
				}
			}
		}
	}
}

func TestTargetTypes(t *testing.T) {
	t.Parallel()
	ids := NewIDSet([]int64{3, 100, -1, math.MaxInt64})
	for _, typ := range integerTypes {
		cat := newCatalog(t)
		cat.add(t, record(t, nil, "n", []int64{0, 1, 2, 3, 4}, "diaSourceId", build(t, typ, "3", "null", "100", "4", "3")))
		o := cat.options()
		o.IDs = ids
		got, s := mustExtract(t, o)
		if fmt.Sprint(got.cells["n"]) != "[0 2 4]" || s.RowsRead != 5 || s.Rows != 3 {
			t.Errorf("%s: %v", typ, got.cells)
		}
	}
	for _, c := range []struct {
		typ    arrow.DataType
		values []string
		want   string
	}{
		{arrow.PrimitiveTypes.Uint64, []string{"18446744073709551615", "9223372036854775807", "9223372036854775808"}, "[1]"}, // -1 is not 2^64-1
		{arrow.PrimitiveTypes.Uint32, []string{"4294967295", "3"}, "[1]"},
		{arrow.PrimitiveTypes.Uint8, []string{"255", "3"}, "[1]"},
		{arrow.PrimitiveTypes.Int8, []string{"-1", "3", "-128"}, "[0 1]"},
		{arrow.PrimitiveTypes.Int64, []string{"null", "null", "-1"}, "[2]"},
	} {
		cat := newCatalog(t)
		var n []int64
		for i := range c.values {
			n = append(n, int64(i))
		}
		cat.add(t, record(t, nil, "n", n, "other", build(t, c.typ, c.values...)))
		o := cat.options()
		o.IDs, o.TargetColumn = ids, "other"
		got, _ := mustExtract(t, o)
		if fmt.Sprint(got.cells["n"]) != c.want {
			t.Errorf("%s %v: %v, want %s", c.typ, c.values, got.cells["n"], c.want)
		}
	}
	for name, a := range map[string]arrow.Array{
		"float64": build(t, arrow.PrimitiveTypes.Float64, "3"), "utf8": build(t, arrow.BinaryTypes.String, "3"), "bool": build(t, arrow.FixedWidthTypes.Boolean, "true"),
		"of type date32:": build(t, arrow.FixedWidthTypes.Date32, "2020-01-01"), "of type timestamp[ms]:": build(t, arrow.FixedWidthTypes.Timestamp_ms, "2020-01-01T00:00:00Z"),
		"timestamp[us]": build(t, arrow.FixedWidthTypes.Timestamp_us, "2020-01-01T00:00:00Z"), "fixed_size_list": makeArray(t, [][]int32{{1, 2}}), "time64[us]": build(t, arrow.FixedWidthTypes.Time64us, "00:00:01"),
	} {
		cat := newCatalog(t)
		cat.add(t, record(t, nil, "diaSourceId", a))
		o := cat.options()
		o.IDs = ids
		var d *DatasetError
		if _, _, err := extract(t, o); !errors.As(err, &d) || d.Column != "diaSourceId" || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "ids can only be compared with a column of integers") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cat := newCatalog(t)
	cat.add(t, record(t, nil, "diasourceid", []int64{3}))
	cat.add(t, record(t, nil, "nothing", []int64{}))
	for _, mode := range []SchemaMode{Strict, Union} {
		o := cat.options()
		o.IDs, o.SchemaMode = ids, mode
		if _, _, err := extract(t, o); err == nil || !strings.Contains(err.Error(), "column diaSourceId: no such column to compare ids with (there are: diasourceid)") {
			t.Error(err)
		}
	}
}

// TestFilterProperty compares selections with a plain loop: any ids, any pages, any columns.
func TestFilterProperty(t *testing.T) {
	t.Parallel()
	seed := uint64(5)
	rng := rand.New(rand.NewPCG(seed, 5))
	for trial := range 12 {
		cat := newCatalog(t)
		var want []string
		pick := map[int64]bool{}
		var ids []int64
		density := []int{1, 2, 50, 3000}[trial%4]
		lists := trial%2 == 0
		for range 2 {
			n := []int{1, 20, 3 * idBlock / 2, 2 * idBlock}[rng.IntN(4)]
			id, txt, few, v := make([]int64, n), make([]string, n), make([]int32, n), make([][]int32, n)
			block := rng.IntN(2) == 0
			hit := false
			for i := range n {
				id[i] = int64(rng.IntN(1 << 40))
				txt[i] = strings.Repeat("x", rng.IntN(9)) + strconv.Itoa(i)
				few[i] = int32(rng.IntN(3))
				v[i] = []int32{int32(i), -int32(i)}
				if !lists {
					v[i] = []int32{0, 0}
				}
				if !block || i%500 == 0 {
					hit = rng.IntN(density) == 0
				}
				if hit {
					pick[id[i]] = true
				}
			}
			for i := range n {
				if pick[id[i]] {
					want = append(want, fmt.Sprintf("%d %q %d [%d %d]", id[i], txt[i], few[i], v[i][0], v[i][1]))
				}
			}
			groupRows := int64(1 + rng.IntN(20000))
			if lists {
				groupRows = math.MaxInt64 // arrow-go writes lists of a fixed length wrongly behind the first row group
			}
			cat.add(t, record(t, nil, "v", v, "diaSourceId", id, "txt", txt, "few", few), parquet.WithMaxRowGroupLength(groupRows), parquet.WithDataPageSize(int64(200+rng.IntN(20000))), parquet.WithBatchSize(128), parquet.WithDictionaryDefault(trial%3 > 0))
		}
		for id := range pick {
			ids = append(ids, id)
		}
		o := cat.options()
		o.IDs, o.Parallel = NewIDSet(ids), 1+trial%3
		got, s := mustExtract(t, o)
		var have []string
		if got != nil {
			for i := range int(s.Rows) {
				have = append(have, fmt.Sprintf("%s %s %s %s", got.cells["diaSourceId"][i], got.cells["txt"][i], got.cells["few"][i], got.cells["v"][i]))
			}
		}
		if !slices.Equal(have, want) {
			for i := range min(len(have), len(want)) {
				if have[i] != want[i] {
					t.Errorf("row %d: %s, want %s", i, have[i], want[i])
					break
				}
			}
			t.Fatalf("seed %d, trial %d: %d rows, want %d", seed, trial, len(have), len(want))
		}
	}
}

// spoil overwrites the pages of a column chunk, so that reading them is an error.
func spoil(t testing.TB, name, col string, rowGroup int) {
	t.Helper()
	rewrite(t, name, func(b []byte) []byte {
		r, err := file.NewParquetReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		at := r.MetaData().Schema.ColumnIndexByName(col)
		md, err := r.MetaData().RowGroup(rowGroup).ColumnChunk(at)
		if err != nil {
			t.Fatal(err)
		}
		from := md.DataPageOffset()
		if md.HasDictionaryPage() {
			from = md.DictionaryPageOffset()
		}
		for i := range md.TotalCompressedSize() {
			b[from+i] = 0xff
		}
		return b
	})
}

// TestNotRead checks what is not read: datasets and row groups that statistics exclude, other columns where no id is
// wanted, and columns that were not asked for.
func TestNotRead(t *testing.T) {
	t.Parallel()
	cat := newCatalog(t)
	excludedFile := cat.add(t, record(t, nil, "diaSourceId", []int64{100, 200}, "a", []int64{1, 2}))
	withoutHit := cat.add(t, record(t, nil, "diaSourceId", []int64{1, 9}, "a", []int64{1, 2}))
	groups := cat.add(t, record(t, nil, "diaSourceId", []int64{100, 200, 5, 6}, "a", []int64{1, 2, 3, 4}, "b", []int64{1, 2, 3, 4}), parquet.WithMaxRowGroupLength(2))
	spoil(t, excludedFile, "diaSourceId", 0)
	spoil(t, excludedFile, "a", 0)
	spoil(t, withoutHit, "a", 0)
	spoil(t, groups, "diaSourceId", 0)
	spoil(t, groups, "a", 0)
	spoil(t, groups, "b", 1)
	o := cat.options()
	o.IDs, o.Columns = NewIDSet([]int64{5, 7, 1000}), []string{"a"}
	got, s := mustExtract(t, o)
	if fmt.Sprint(got.cells) != "map[a:[3]]" || s.Excluded != 1 || s.Unmatched != 2 || s.Written != 1 || s.RowsRead != 6 {
		t.Errorf("%v %+v", got.cells, s)
	}
	o.SchemaMode = Union // looks at all of them before it reads
	if _, s := mustExtract(t, o); s.Excluded != 1 || s.RowsRead != 6 {
		t.Errorf("%+v", s)
	}
	o.SchemaMode = Strict
	o.Columns = nil
	if _, _, err := extract(t, o); err == nil || !strings.Contains(err.Error(), "column b: damaged page") {
		t.Error(err)
	}
	o.IDs = NewIDSet([]int64{9})
	if _, _, err := extract(t, o); err == nil || !strings.Contains(err.Error(), "visit: 2}") || !strings.Contains(err.Error(), "column a: damaged page") {
		t.Error(err)
	}
	// Without statistics everything may hold a wanted id.
	none := newCatalog(t)
	none.add(t, record(t, nil, "diaSourceId", []int64{100, 200}), parquet.WithStats(false))
	o = none.options()
	o.IDs = NewIDSet([]int64{5, 100})
	if got, s := mustExtract(t, o); fmt.Sprint(got.cells) != "map[diaSourceId:[100]]" || s.Excluded != 0 {
		t.Errorf("%v %+v", got.cells, s)
	}
}

func TestStatisticsOfUnsigned(t *testing.T) {
	t.Parallel()
	for _, typ := range []arrow.DataType{arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Uint64} {
		cat := newCatalog(t)
		big := map[arrow.DataType]string{arrow.PrimitiveTypes.Uint32: "4294967295", arrow.PrimitiveTypes.Uint64: "18446744073709551615"}[typ]
		cat.add(t, record(t, nil, "diaSourceId", build(t, typ, "5", big)))
		cat.add(t, record(t, nil, "diaSourceId", build(t, typ, big, big)))
		o := cat.options()
		o.IDs = NewIDSet([]int64{5, 6, -1})
		if got, s := mustExtract(t, o); fmt.Sprint(got.cells) != "map[diaSourceId:[5]]" || s.Excluded != 1 {
			t.Errorf("%s: %v %+v", typ, got.cells, s)
		}
	}
}
