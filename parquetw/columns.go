package parquetw

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"fast-export/internal/column"
)

// ColumnError is something that is asked of a column and that its type cannot have, or that no column can have because
// there is none of that name.
type ColumnError struct {
	Option Option
	Column string // the name of the top-level column
	Type   string // Arrow type of the values in question, "" where there is no such column
	Leaf   string // dotted path in the Parquet schema, where it is not the column itself
	Reason string
}

// Option is a member of Options that names columns.
type Option uint8

const (
	ForEncoding Option = iota // Encodings
	ForBloom                  // Bloom
	ForOrder                  // SortedBy
)

func (e *ColumnError) Error() string {
	text := fmt.Sprintf("column %q", e.Column)
	if e.Leaf != "" {
		text += fmt.Sprintf(" (leaf %s)", e.Leaf)
	}
	if e.Type != "" {
		text += " of type " + e.Type
	}
	return text + " " + e.Reason
}

// columnError is about a leaf.
func (w *Writer) columnError(o Option, leaf int, reason string) *ColumnError {
	return columnError(o, w.opt.Schema, w.leaves, leaf, reason)
}

func columnError(o Option, s *arrow.Schema, leaves []column.Leaf, leaf int, reason string) *ColumnError {
	l := &leaves[leaf]
	e := &ColumnError{Option: o, Column: s.Field(l.Column).Name, Type: leafFields(nil, s.Fields())[leaf].Type.String(), Reason: reason}
	if l.Path != e.Column {
		e.Leaf = l.Path
	}
	return e
}

// columnLeaves are the leaves of the top-level column of a name.
func columnLeaves(o Option, s *arrow.Schema, leaves []column.Leaf, name string) ([]int, error) {
	i := slices.IndexFunc(s.Fields(), func(f arrow.Field) bool { return f.Name == name })
	if i < 0 {
		names := make([]string, s.NumFields())
		for i, f := range s.Fields() {
			names[i] = f.Name
		}
		return nil, &ColumnError{Option: o, Column: name, Reason: "does not exist: there are " + strings.Join(names, ", ")}
	}
	var out []int
	for k := range leaves {
		if leaves[k].Column == i {
			out = append(out, k)
		}
	}
	return out, nil
}

// LeafEncodings gives each leaf of a schema what columns says of its top-level column, and elsewhere what all says, which
// is Auto where a leaf cannot have that: what is said of every column is said of those that can. It is for Options.Encodings.
//
// Errors: *ColumnError where there is no such column, or a leaf of it cannot have what columns says.
func LeafEncodings(s *arrow.Schema, all Encoding, columns map[string]Encoding) ([]Encoding, error) {
	_, leaves, err := fromArrow(s)
	if err != nil {
		return nil, err
	}
	fields := leafFields(nil, s.Fields())
	out := make([]Encoding, len(leaves))
	for i := range leaves {
		nested := fields[i].Type.ID() == arrow.DICTIONARY && !leaves[i].Flat() // pyarrow reads nothing but indices there
		if fits(all, &leaves[i], fields[i]) && !nested {
			out[i] = all
		}
	}
	for name, e := range columns {
		of, err := columnLeaves(ForEncoding, s, leaves, name)
		if err != nil {
			return nil, err
		}
		for _, i := range of {
			if !fits(e, &leaves[i], fields[i]) {
				return nil, columnError(ForEncoding, s, leaves, i, fmt.Sprintf("cannot be encoded as %s", e))
			}
			out[i] = e
		}
	}
	return out, nil
}

// fits tells whether a leaf of an Arrow field can have an encoding.
func fits(e Encoding, l *column.Leaf, f arrow.Field) bool {
	switch e {
	case Auto, Plain:
		return true
	case Dictionary:
		return l.Physical != column.Bool
	case ByteStreamSplit:
		return l.Physical == column.Float32 || l.Physical == column.Float64 // DuckDB reads no other
	case Delta:
		// As Arrow's dictionary type pyarrow reads nothing but indices and plain values.
		return l.Physical == column.Int32 || l.Physical == column.Int64 || l.Physical == column.ByteArray && f.Type.ID() != arrow.DICTIONARY
	}
	return false
}
