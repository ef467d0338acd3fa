package parquetw

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"fast-export/internal/column"
)

// shredder turns rows of Arrow arrays into a batch: what a decoder does with rows of the server.
type shredder struct {
	leaves []column.Leaf
	batch  *column.Batch
	leaf   int // next leaf in the walk
}

// shred makes a batch of rows [from, to) of rec.
func shred(t testing.TB, leaves []column.Leaf, rec arrow.RecordBatch, from, to int, release func(*column.Batch)) *column.Batch {
	t.Helper()
	s := &shredder{leaves: leaves, batch: column.NewBatch(len(leaves), int(rec.NumCols()), release)}
	for i := range leaves {
		if leaves[i].MaxDef == 1 && leaves[i].Flat() {
			s.batch.Leaves[i].Valid = make([]byte, (to-from+7)/8)
		}
	}
	for row := from; row < to; row++ {
		s.leaf = 0
		for i, f := range rec.Schema().Fields() {
			s.value(f, rec.Column(i), row, 0, 0, 0)
		}
		s.batch.Rows++
	}
	if err := s.batch.Check(leaves); err != nil {
		t.Fatal(err)
	}
	return s.batch
}

func (s *shredder) value(f arrow.Field, a arrow.Array, i int, def, rep, depth uint8) {
	if f.Nullable {
		if a.IsNull(i) {
			s.nulls(f.Type, def, rep)
			return
		}
		def++
	}
	s.present(f.Type, a, i, def, rep, depth)
}

func (s *shredder) nulls(t arrow.DataType, def, rep uint8) {
	for range leafFields(nil, []arrow.Field{{Type: t}}) {
		l := &s.leaves[s.leaf]
		b := &s.batch.Leaves[s.leaf]
		s.leaf++
		if l.Flat() {
			continue // the bit is 0
		}
		b.Def = append(b.Def, def)
		if l.MaxRep > 0 {
			b.Rep = append(b.Rep, rep)
		}
	}
}

func (s *shredder) present(t arrow.DataType, a arrow.Array, i int, def, rep, depth uint8) {
	switch a := a.(type) {
	case array.ExtensionArray:
		s.present(t.(arrow.ExtensionType).StorageType(), a.Storage(), i, def, rep, depth)
	case *array.Dictionary:
		s.present(t.(*arrow.DictionaryType).ValueType, a.Dictionary(), a.GetValueIndex(i), def, rep, depth)
	case *array.Struct:
		for k, f := range t.(*arrow.StructType).Fields() {
			s.value(f, a.Field(k), i, def, rep, depth)
		}
	case array.ListLike:
		from, to := a.ValueOffsets(i)
		if from == to {
			s.nulls(t, def, rep)
			return
		}
		first := s.leaf
		for k := from; k < to; k++ {
			s.leaf = first
			if m, ok := t.(*arrow.MapType); ok {
				kv := a.ListValues().(*array.Struct)
				s.value(m.KeyField(), kv.Field(0), int(k), def+1, rep, depth+1)
				s.value(m.ItemField(), kv.Field(1), int(k), def+1, rep, depth+1)
			} else {
				s.value(t.(arrow.ListLikeType).ElemField(), a.ListValues(), int(k), def+1, rep, depth+1)
			}
			rep = depth + 1
		}
	default:
		l := &s.leaves[s.leaf]
		b := &s.batch.Leaves[s.leaf]
		s.leaf++
		b.Data = plain(b.Data, a, i, l.Width)
		b.Values++
		switch {
		case !l.Flat():
			b.Def = append(b.Def, def)
			if l.MaxRep > 0 {
				b.Rep = append(b.Rep, rep)
			}
		case l.MaxDef == 1:
			b.Valid[s.batch.Rows>>3] |= 1 << (s.batch.Rows & 7)
		}
	}
}

// plain appends one value in Parquet's PLAIN form, a boolean as a byte.
func plain(dst []byte, a arrow.Array, i, width int) []byte {
	byteArray := func(v []byte) []byte { return append(le.AppendUint32(dst, uint32(len(v))), v...) }
	fixed := func(n *big.Int) []byte { // big-endian two's complement
		v := make([]byte, width)
		if n.Sign() < 0 {
			n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*width)))
		}
		return append(dst, n.FillBytes(v)...)
	}
	switch a := a.(type) {
	case *array.Boolean:
		if a.Value(i) {
			return append(dst, 1)
		}
		return append(dst, 0)
	case *array.Int8:
		return le.AppendUint32(dst, uint32(int32(a.Value(i))))
	case *array.Int16:
		return le.AppendUint32(dst, uint32(int32(a.Value(i))))
	case *array.Int32:
		return le.AppendUint32(dst, uint32(a.Value(i)))
	case *array.Date32:
		return le.AppendUint32(dst, uint32(a.Value(i)))
	case *array.Time32:
		return le.AppendUint32(dst, uint32(a.Value(i)))
	case *array.Uint8:
		return le.AppendUint32(dst, uint32(a.Value(i)))
	case *array.Uint16:
		return le.AppendUint32(dst, uint32(a.Value(i)))
	case *array.Uint32:
		return le.AppendUint32(dst, a.Value(i))
	case *array.Int64:
		return le.AppendUint64(dst, uint64(a.Value(i)))
	case *array.Uint64:
		return le.AppendUint64(dst, a.Value(i))
	case *array.Time64:
		return le.AppendUint64(dst, uint64(a.Value(i)))
	case *array.Timestamp:
		return le.AppendUint64(dst, uint64(a.Value(i)))
	case *array.Duration:
		return le.AppendUint64(dst, uint64(a.Value(i)))
	case *array.Float16:
		return le.AppendUint16(dst, a.Value(i).Uint16())
	case *array.Float32:
		return le.AppendUint32(dst, math.Float32bits(a.Value(i)))
	case *array.Float64:
		return le.AppendUint64(dst, math.Float64bits(a.Value(i)))
	case *array.String:
		return byteArray([]byte(a.Value(i)))
	case *array.LargeString:
		return byteArray([]byte(a.Value(i)))
	case *array.Binary:
		return byteArray(a.Value(i))
	case *array.FixedSizeBinary:
		return append(dst, a.Value(i)...)
	case *array.Decimal128:
		return fixed(a.Value(i).BigInt())
	case *array.Decimal256:
		return fixed(a.Value(i).BigInt())
	}
	panic(fmt.Sprintf("plain: %T", a))
}

// TestShred pins the shredder itself to levels worked out by hand.
func TestShred(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{
		{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
	}, nil)
	rec := record(t, s, `[{"l":[1,null,2]},{"l":null},{"l":[]},{"l":[3]}]`)
	_, leaves, err := column.FromArrow(s)
	if err != nil {
		t.Fatal(err)
	}
	b := shred(t, leaves, rec, 0, 4, nil)
	got := b.Leaves[0]
	if want := []byte{3, 2, 3, 0, 1, 3}; !slices.Equal(got.Def, want) {
		t.Errorf("definition levels %v, want %v", got.Def, want)
	}
	if want := []byte{0, 1, 1, 0, 0, 0}; !slices.Equal(got.Rep, want) {
		t.Errorf("repetition levels %v, want %v", got.Rep, want)
	}
	if want := []byte{1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0}; !slices.Equal(got.Data, want) || got.Values != 3 {
		t.Errorf("values %v, want %v", got.Data, want)
	}
	if w := int(pqarrow.DecimalSize(5)); !slices.Equal(plain(nil, decimals(-2), 0, w), []byte{0xff, 0xff, 0xfe}) {
		t.Error("a decimal is big-endian two's complement")
	}
}
