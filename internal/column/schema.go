package column

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// FromArrow gives the Parquet schema that s is written as, and its leaves in depth-first order: what a Batch of s must
// hold. Lists are three-level ("list", "element"), decimals are FIXED_LEN_BYTE_ARRAY of pqarrow.DecimalSize bytes,
// dictionaries are their values, durations are INT64 (arrow-go cannot write them; the Arrow schema in the file's
// metadata says what they are).
func FromArrow(s *arrow.Schema) (*schema.Schema, []Leaf, error) {
	fields := make([]arrow.Field, s.NumFields())
	for i, f := range s.Fields() {
		f.Type = storage(f.Type)
		f.Metadata = arrow.Metadata{}
		fields[i] = f
	}
	ps, err := pqarrow.ToParquet(arrow.NewSchema(fields, nil), parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, nil, fmt.Errorf("parquet schema: %w", err)
	}
	leaves := make([]Leaf, ps.NumColumns())
	for i := range leaves {
		c := ps.Column(i)
		l := Leaf{
			Path:   c.Path(),
			Column: ps.Root().FieldIndexByField(ps.ColumnRoot(i)),
			MaxDef: uint8(c.MaxDefinitionLevel()),
			MaxRep: uint8(c.MaxRepetitionLevel()),
		}
		switch c.PhysicalType() {
		case parquet.Types.Boolean:
			l.Physical, l.Width = Bool, 1
		case parquet.Types.Int32:
			l.Physical, l.Width = Int32, 4
		case parquet.Types.Int64:
			l.Physical, l.Width = Int64, 8
		case parquet.Types.Float:
			l.Physical, l.Width = Float32, 4
		case parquet.Types.Double:
			l.Physical, l.Width = Float64, 8
		case parquet.Types.ByteArray:
			l.Physical = ByteArray
		case parquet.Types.FixedLenByteArray:
			l.Physical, l.Width = Fixed, c.TypeLength()
		default:
			return nil, nil, fmt.Errorf("parquet schema: leaf %s has physical type %s", l.Path, c.PhysicalType())
		}
		leaves[i] = l
	}
	return ps, leaves, nil
}

// storage replaces, at any depth, the types that pqarrow does not write by the type that holds their values.
func storage(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.DurationType:
		return arrow.PrimitiveTypes.Int64
	case *arrow.DictionaryType:
		return storage(t.ValueType)
	case *arrow.StructType:
		fields := t.Fields()
		for i := range fields {
			fields[i].Type = storage(fields[i].Type)
		}
		return arrow.StructOf(fields...)
	case *arrow.ListType:
		f := t.ElemField()
		f.Type = storage(f.Type)
		return arrow.ListOfField(f)
	case *arrow.LargeListType:
		f := t.ElemField()
		f.Type = storage(f.Type)
		return arrow.LargeListOfField(f)
	case *arrow.FixedSizeListType:
		f := t.ElemField()
		f.Type = storage(f.Type)
		return arrow.FixedSizeListOfField(t.Len(), f)
	case *arrow.MapType:
		key, item := t.KeyField(), t.ItemField()
		key.Type, item.Type = storage(key.Type), storage(item.Type)
		return arrow.MapOfFields(key, item)
	}
	return t
}
