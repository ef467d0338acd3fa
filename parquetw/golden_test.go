package parquetw

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

var updateFlag = flag.Bool("update", false, "rewrite testdata/golden.txt")

// TestGolden holds a file's structure to a text: what a change of it does to readers shall be seen in review. Sizes and
// offsets are left out, they change with the compression library.
func TestGolden(t *testing.T) {
	t.Parallel()
	described := func(f arrow.Field, comment string) arrow.Field {
		f.Metadata = arrow.NewMetadata([]string{"description"}, []string{comment})
		return f
	}
	s := arrow.NewSchema([]arrow.Field{
		described(field("id", arrow.PrimitiveTypes.Int32, false), "the number"),
		field("small", arrow.PrimitiveTypes.Int16, true),
		field("oid", arrow.PrimitiveTypes.Uint32, true),
		field("ra", arrow.PrimitiveTypes.Float64, true),
		field("flag", arrow.FixedWidthTypes.Boolean, true),
		field("text", arrow.BinaryTypes.String, true),
		field("bytes", arrow.BinaryTypes.Binary, true),
		field("day", arrow.FixedWidthTypes.Date32, true),
		field("at", &arrow.TimestampType{Unit: arrow.Microsecond}, true),
		field("instant", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, true),
		field("price", &arrow.Decimal128Type{Precision: 10, Scale: 2}, true),
		field("uuid", extensions.NewUUIDType(), true),
		field("took", arrow.FixedWidthTypes.Duration_us, true),
		field("kind", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, true),
		field("tags", arrow.ListOfField(field("element", arrow.BinaryTypes.String, true)), true),
		field("range", arrow.StructOf(field("lower", arrow.PrimitiveTypes.Int64, true), field("empty", arrow.FixedWidthTypes.Boolean, false)), true),
		field("pairs", arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String), true),
		field("nothing", arrow.PrimitiveTypes.Float32, true),
	}, nil)
	var j strings.Builder
	for i := range 30 {
		if i%7 == 3 {
			fmt.Fprintf(&j, `{"id":%d},`, i)
			continue
		}
		fmt.Fprintf(&j, `{"id":%d,"small":%d,"oid":%d,"ra":%g,"flag":%v,"text":"name %d","bytes":"AAE%d","day":"2024-02-%02d",
			"at":"2024-02-%02d 12:00:00.000001","instant":"1999-12-31T23:59:%02dZ","price":"%d.25","uuid":"00112233-4455-6677-8899-aabbccddee%02d",
			"took":"%dus","kind":"kind %d","tags":["a",null,"t%d"],"range":{"lower":%d,"empty":false},"pairs":[{"key":"k","value":"v%d"}]},`,
			i, i-5, 4000000000+i, float64(i)-7.5, i%2 == 0, i/3, i%10, 1+i%28, 1+i%28, 10+i, i-9, i, 1000*i, i%2, i%5, 100*i, i)
	}
	rec := record(t, s, "["+strings.TrimSuffix(j.String(), ",")+"]")
	path := write(t, Options{
		RowGroupRows: 20, Metadata: []KeyValue{{"query", "SELECT 1"}}, layout: layout{pageRows: 8, pageBytes: 1 << 10, dictBytes: 1 << 10},
	}, rec, 7)
	got := dump(t, path)
	golden := filepath.Join("testdata", "golden.txt")
	if *updateFlag {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		t.Error(difference(w, g), "\nif it is meant so: go test -run TestGolden -update")
	}
}

// dump writes what there is to say of a file's structure.
func dump(t *testing.T, path string) string {
	t.Helper()
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	m := r.MetaData()
	fmt.Fprintf(&b, "version %v, created by %s, %d rows\n", m.Version(), m.GetCreatedBy(), m.GetNumRows())
	schema.PrintSchema(m.Schema.Root(), &b, 2)
	for _, kv := range m.KeyValueMetadata() {
		v := kv.GetValue()
		if kv.Key == arrowSchemaKey {
			v = fmt.Sprintf("%d bytes", len(v))
		}
		fmt.Fprintf(&b, "metadata %s = %s\n", kv.Key, v)
	}
	for g := range r.NumRowGroups() {
		rg := m.RowGroup(g)
		fmt.Fprintf(&b, "row group %d of %d rows\n", g, rg.NumRows())
		index, err := r.GetPageIndexReader().RowGroup(g)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rg.NumColumns() {
			c, err := rg.ColumnChunk(i)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "  %s: %s, %s, %d values, encodings", c.PathInSchema(), c.Type(), c.Compression(), c.NumValues())
			for _, e := range c.Encodings() {
				fmt.Fprintf(&b, " %s", e)
			}
			st, err := c.Statistics()
			if err != nil {
				t.Fatal(err)
			}
			e, err := st.Encode()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "\n    nulls %d", e.NullCount)
			if e.HasMin {
				fmt.Fprintf(&b, ", min %x, max %x", e.Min, e.Max)
			}
			o, err := index.GetOffsetIndex(i)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(&b, ", pages at rows")
			for _, p := range o.GetPageLocations() {
				fmt.Fprintf(&b, " %d", p.FirstRowIndex)
			}
			fmt.Fprintln(&b)
			x, err := index.GetColumnIndex(i)
			if err != nil {
				t.Fatal(err)
			}
			if x != nil {
				fmt.Fprintf(&b, "    %s:", x.GetBoundaryOrder())
				for k := range x.GetNullPages() {
					fmt.Fprintf(&b, " [%x %x] %d", x.GetMinValues()[k], x.GetMaxValues()[k], x.GetNullCounts()[k])
				}
				fmt.Fprintln(&b)
			}
		}
	}
	return b.String()
}
