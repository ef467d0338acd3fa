package parquetw

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// pyarrow refuses a nested column of Arrow's dictionary type, an enum in an array for example, unless every page of a row
// group is a dictionary page: nulls and few repetitions must not change that. (By ParquetFile.read it refuses more than
// one row group of them whoever wrote the file.)
func TestNestedEnum(t *testing.T) {
	t.Parallel()
	enum := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	s := arrow.NewSchema([]arrow.Field{
		{Name: "l", Type: arrow.ListOfField(arrow.Field{Name: "element", Type: enum, Nullable: true}), Nullable: true},
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "e", Type: enum, Nullable: true}), Nullable: true},
	}, nil)
	var j strings.Builder
	for i := range 1000 {
		switch {
		case i < 200 || i > 800:
			j.WriteString(`{"l":null,"s":null},`)
		case i < 300:
			fmt.Fprintf(&j, `{"l":[],"s":{"e":null}},`)
		default:
			fmt.Fprintf(&j, `{"l":["v%d",null],"s":{"e":"w%d"}},`, i, i)
		}
	}
	rec := record(t, s, "["+strings.TrimSuffix(j.String(), ",")+"]")
	dir := t.TempDir()
	for i, opt := range []Options{{}, {RowGroupRows: 130}, {RowGroupRows: 500, layout: layout{pageRows: 64, pageBytes: 1 << 20, dictBytes: 1 << 20}}} {
		name := filepath.Join(dir, fmt.Sprint(i))
		if _, err := writeTo(t, name+".parquet", opt, rec); err != nil {
			t.Fatal(err)
		}
		writeIPC(t, name+".arrow", rec)
	}
	t.Log(python(t, "compare.py", dir))
}
