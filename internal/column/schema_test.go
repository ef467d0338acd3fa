package column

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

func TestFromArrowLeaves(t *testing.T) {
	point := arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Float64}, arrow.Field{Name: "y", Type: arrow.PrimitiveTypes.Float64, Nullable: true})
	s := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int16},
		{Name: "a.b", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "d", Type: &arrow.Decimal256Type{Precision: 76, Scale: 3}, Nullable: true},
		{Name: "dur", Type: arrow.FixedWidthTypes.Duration_us, Nullable: true},
		{Name: "u", Type: extensions.NewUUIDType(), Nullable: true},
		{Name: "l", Type: arrow.ListOf(point), Nullable: true},
		{Name: "p", Type: point, Nullable: true},
		{Name: "e", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, Nullable: true},
		{Name: "v", Type: arrow.FixedSizeListOfField(3, arrow.Field{Name: "element", Type: arrow.PrimitiveTypes.Float32}), Nullable: true},
		{Name: "m", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String), Nullable: true},
		{Name: "md", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.FixedWidthTypes.Duration_us), Nullable: true},
		{Name: "h", Type: arrow.FixedWidthTypes.Float16, Nullable: true},
		{Name: "t", Type: arrow.FixedWidthTypes.Time64us, Nullable: true},
	}, nil)
	ps, got, err := FromArrow(s)
	if err != nil {
		t.Fatal(err)
	}
	want := []Leaf{
		{"id", 0, Int32, 4, 0, 0},
		{"a.b", 1, ByteArray, 0, 1, 0},
		{"d", 2, Fixed, int(pqarrow.DecimalSize(76)), 1, 0},
		{"dur", 3, Int64, 8, 1, 0},
		{"u", 4, Fixed, 16, 1, 0},
		{"l.list.element.x", 5, Float64, 8, 3, 1},
		{"l.list.element.y", 5, Float64, 8, 4, 1},
		{"p.x", 6, Float64, 8, 1, 0},
		{"p.y", 6, Float64, 8, 2, 0},
		{"e", 7, ByteArray, 0, 1, 0},
		{"v.list.element", 8, Float32, 4, 2, 1},
		{"m.key_value.key", 9, ByteArray, 0, 2, 1},
		{"m.key_value.value", 9, ByteArray, 0, 3, 1},
		{"md.key_value.key", 10, ByteArray, 0, 2, 1},
		{"md.key_value.value", 10, Int64, 8, 3, 1},
		{"h", 11, Fixed, 2, 1, 0},
		{"t", 12, Int64, 8, 1, 0},
	}
	if len(got) != len(want) {
		t.Fatalf("%d leaves, want %d: %v\n%s", len(got), len(want), got, ps)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("leaf %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}
