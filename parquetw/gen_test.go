package parquetw

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// generator makes random schemas and rows of them.
type generator struct{ *rand.Rand }

// newGenerator gives the same schemas and rows for the same seed.
func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 7))} }

var scalars = []arrow.DataType{
	arrow.FixedWidthTypes.Boolean,
	arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64,
	arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Uint64,
	arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Float16,
	arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Time64us,
	&arrow.TimestampType{Unit: arrow.Microsecond}, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
	arrow.FixedWidthTypes.Duration_us,
	arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.Binary,
	&arrow.FixedSizeBinaryType{ByteWidth: 3}, &arrow.FixedSizeBinaryType{ByteWidth: 8}, &arrow.FixedSizeBinaryType{ByteWidth: 70},
	&arrow.Decimal128Type{Precision: 5, Scale: 2}, &arrow.Decimal128Type{Precision: 38, Scale: 10}, &arrow.Decimal256Type{Precision: 76, Scale: 3},
	extensions.NewUUIDType(),
	&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String},
}

var names = []string{"a", "b.c", `q"uote`, "Ünï", "x y", "list", "element", "?column?", "e,f", "g'h"}

func (g generator) schema() *arrow.Schema {
	n := 1 + g.IntN(7)
	fields := make([]arrow.Field, n)
	for i := range fields {
		fields[i] = g.field(fmt.Sprintf("%s%d", names[g.IntN(len(names))], i), 0)
		fields[i].Metadata = arrow.NewMetadata([]string{"postgres:type"}, []string{fmt.Sprintf("type of %d", i)})
	}
	return arrow.NewSchema(fields, nil)
}

func (g generator) field(name string, depth int) arrow.Field {
	if depth == 0 && g.IntN(12) == 0 {
		// Neither pyarrow nor arrow-go reads fixed-size lists back that are null themselves or lie in something null
		// (apache/arrow#35692), so only those of required columns are judged here.
		return arrow.Field{Name: name, Type: arrow.FixedSizeListOfField(int32(1+g.IntN(4)), g.field("element", 1))}
	}
	return arrow.Field{Name: name, Type: g.datatype(depth), Nullable: g.IntN(4) > 0}
}

func (g generator) datatype(depth int) arrow.DataType {
	if depth < 3 && g.IntN(3) == 0 {
		switch g.IntN(3) {
		case 0:
			fields := make([]arrow.Field, 1+g.IntN(3))
			for i := range fields {
				fields[i] = g.field(fmt.Sprintf("%s%d", names[g.IntN(len(names))], i), depth+1)
			}
			return arrow.StructOf(fields...)
		case 1:
			return arrow.ListOfField(g.field("element", depth+1))
		default:
			return arrow.MapOf(arrow.BinaryTypes.String, g.datatype(depth+1))
		}
	}
	// A nested dictionary, the last one, is not for chance: see TestNestedEnum.
	return scalars[g.IntN(len(scalars)-min(depth, 1))]
}

// shape is how a column's values go.
type shape int

const (
	anyValue   shape = iota
	few              // of a handful
	many             // of some hundreds
	ascending        // every one greater than the last
	constant         // the same
	runs             // the same for a while
	shapeCount       //
)

func (g generator) record(s *arrow.Schema, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	defer b.Release()
	for i, f := range s.Fields() {
		c := &columnGen{generator: g, shape: shape(g.IntN(int(shapeCount))), nulls: []float64{0, 0, .02, .5, .98, 1}[g.IntN(6)]}
		b.Field(i).Reserve(rows)
		for range rows {
			c.append(b.Field(i), f)
		}
	}
	return b.NewRecordBatch()
}

type columnGen struct {
	generator
	shape shape
	nulls float64
	n     int64
	left  int
	held  uint64
}

// number is the next value as a number, from which every type makes its own.
func (c *columnGen) number() uint64 {
	c.n++
	switch c.shape {
	case few:
		return uint64(c.IntN(5))
	case many:
		return uint64(c.IntN(300))
	case ascending:
		return uint64(c.n*3 + c.Int64N(3))
	case constant:
		return 42
	case runs:
		if c.left == 0 {
			c.left, c.held = 1+c.IntN(200), uint64(c.IntN(9))
		}
		c.left--
		return c.held
	}
	if c.IntN(8) == 0 {
		return []uint64{0, 1, math.MaxUint64, 1 << 63, 1<<63 - 1, 0x7ff8000000000001, 0x7ff0000000000000, 0xfff0000000000000, 0x7fc00000, 0xff800000, 0x80000000}[c.IntN(11)]
	}
	return c.Uint64() >> c.IntN(64)
}

func (c *columnGen) append(b array.Builder, f arrow.Field) {
	if f.Nullable && c.Float64() < c.nulls {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.StructBuilder:
		b.Append(true)
		for i, f := range f.Type.(*arrow.StructType).Fields() {
			c.append(b.FieldBuilder(i), f)
		}
		return
	case *array.ListBuilder:
		b.Append(true)
		for range c.IntN(4) {
			c.append(b.ValueBuilder(), f.Type.(*arrow.ListType).ElemField())
		}
		return
	case *array.FixedSizeListBuilder:
		b.Append(true)
		t := f.Type.(*arrow.FixedSizeListType)
		for range t.Len() {
			c.append(b.ValueBuilder(), t.ElemField())
		}
		return
	case *array.MapBuilder:
		b.Append(true)
		t := f.Type.(*arrow.MapType)
		for i := range c.IntN(4) {
			b.KeyBuilder().(*array.StringBuilder).Append(fmt.Sprint("k", i))
			c.append(b.ItemBuilder(), t.ItemField())
		}
		return
	}
	x := c.number()
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(x&1 != 0)
	case *array.Int8Builder:
		b.Append(int8(x))
	case *array.Int16Builder:
		b.Append(int16(x))
	case *array.Int32Builder:
		b.Append(int32(x))
	case *array.Int64Builder:
		b.Append(int64(x))
	case *array.Uint8Builder:
		b.Append(uint8(x))
	case *array.Uint16Builder:
		b.Append(uint16(x))
	case *array.Uint32Builder:
		b.Append(uint32(x))
	case *array.Uint64Builder:
		b.Append(x)
	case *array.Float16Builder:
		b.Append(float16.FromBits(uint16(x)))
	case *array.Float32Builder:
		b.Append(math.Float32frombits(uint32(x)))
	case *array.Float64Builder:
		if c.shape != anyValue {
			b.Append(float64(x) / 8)
			return
		}
		b.Append(math.Float64frombits(x))
	case *array.Date32Builder:
		b.Append(arrow.Date32(int32(x) % 2_000_000))
	case *array.Time64Builder:
		b.Append(arrow.Time64(x % 86_400_000_000))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(int64(x) % 200_000_000_000_000_000))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(int64(x)))
	case *array.StringBuilder:
		b.Append(c.text(x))
	case *array.LargeStringBuilder:
		b.Append(c.text(x))
	case *array.BinaryBuilder:
		b.Append([]byte(c.bytes(x)))
	case *array.FixedSizeBinaryBuilder:
		v := make([]byte, f.Type.(*arrow.FixedSizeBinaryType).ByteWidth)
		for i := range v {
			v[i] = byte(x >> (8 * (i % 8)))
		}
		b.Append(v)
	case *array.Decimal128Builder:
		b.Append(decimal128.FromBigInt(c.decimal(x, f.Type.(*arrow.Decimal128Type).Precision)))
	case *array.Decimal256Builder:
		b.Append(decimal256.FromBigInt(c.decimal(x, f.Type.(*arrow.Decimal256Type).Precision)))
	case *array.BinaryDictionaryBuilder:
		if err := b.AppendString(c.text(x % 50)); err != nil {
			panic(err)
		}
	case *extensions.UUIDBuilder:
		var v [16]byte
		le.PutUint64(v[:], x)
		le.PutUint64(v[8:], x*3)
		b.Append(v)
	default:
		panic(fmt.Sprintf("append: %T", b))
	}
}

func (c *columnGen) text(x uint64) string {
	switch {
	case x%17 == 0:
		return ""
	case x%13 == 0:
		return strings.Repeat("é☄", int(x%60)) + fmt.Sprint(x)
	case x%101 == 0:
		return strings.Repeat("long ", 300) + fmt.Sprint(x)
	case x%29 == 0:
		return strings.Repeat("\U0010ffff", 20)
	}
	return fmt.Sprint(x)
}

func (c *columnGen) bytes(x uint64) string {
	if x%11 == 0 {
		return strings.Repeat("\xff", int(x%90))
	}
	return strings.Repeat(string([]byte{byte(x), byte(x >> 8), 0}), int(x%30))
}

func (c *columnGen) decimal(x uint64, precision int32) *big.Int {
	n := new(big.Int).SetUint64(x)
	n.Mul(n, n)
	n.Mul(n, n)
	n.Mod(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil))
	if x&1 != 0 {
		n.Neg(n)
	}
	return n
}

// render writes a value so that two of them are equal exactly if their renderings are: floats by their bits.
func render(w *strings.Builder, a arrow.Array, i int) {
	if a.IsNull(i) {
		w.WriteString("null")
		return
	}
	switch a := a.(type) {
	case array.ExtensionArray:
		render(w, a.Storage(), i)
	case *array.Dictionary:
		render(w, a.Dictionary(), a.GetValueIndex(i))
	case *array.Struct:
		w.WriteByte('{')
		for k := range a.NumField() {
			render(w, a.Field(k), i)
			w.WriteByte(',')
		}
		w.WriteByte('}')
	case array.ListLike:
		w.WriteByte('[')
		from, to := a.ValueOffsets(i)
		for k := from; k < to; k++ {
			render(w, a.ListValues(), int(k))
			w.WriteByte(',')
		}
		w.WriteByte(']')
	case *array.Float16:
		fmt.Fprintf(w, "%04x", a.Value(i).Uint16())
	case *array.Float32:
		fmt.Fprintf(w, "%08x", math.Float32bits(a.Value(i)))
	case *array.Float64:
		fmt.Fprintf(w, "%016x", math.Float64bits(a.Value(i)))
	case *array.Duration:
		fmt.Fprint(w, int64(a.Value(i)))
	case *array.Timestamp:
		fmt.Fprint(w, int64(a.Value(i)))
	case *array.String:
		fmt.Fprintf(w, "%q", a.Value(i))
	case *array.LargeString:
		fmt.Fprintf(w, "%q", a.Value(i))
	case *array.Binary:
		fmt.Fprintf(w, "%q", a.Value(i))
	default:
		w.WriteString(a.ValueStr(i))
	}
}

// rows renders each row of the columns given.
func renderRows(columns func(yield func(arrow.Array) bool)) []string {
	var rows []strings.Builder
	for a := range columns {
		if rows == nil {
			rows = make([]strings.Builder, a.Len())
		}
		for i := range rows {
			render(&rows[i], a, i)
			rows[i].WriteByte('|')
		}
	}
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = rows[i].String()
	}
	return out
}

func recordRows(rec arrow.RecordBatch) []string {
	return renderRows(func(yield func(arrow.Array) bool) {
		for _, c := range rec.Columns() {
			if !yield(c) {
				return
			}
		}
	})
}

func tableRows(tab arrow.Table) []string {
	return renderRows(func(yield func(arrow.Array) bool) {
		for i := range int(tab.NumCols()) {
			c := tab.Column(i).Data().Chunks()
			all := c[0]
			if len(c) > 1 {
				var err error
				if all, err = array.Concatenate(c, memory.DefaultAllocator); err != nil {
					panic(err)
				}
			}
			if !yield(all) {
				return
			}
		}
	})
}
