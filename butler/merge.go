package butler

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"gopkg.in/yaml.v3"

	"fast-export/internal/column"
)

// SchemaMode says what to do where the datasets' tables have different columns.
type SchemaMode uint8

// The modes. Only datasets that add a row take part in the comparison.
const (
	Strict    SchemaMode = iota // names, order, types and nullability must be the same
	Union                       // every column of any dataset; null where a dataset does not have it
	Intersect                   // the columns that all datasets have, with one type
)

// ParseSchemaMode reads strict, union or intersect.
func ParseSchemaMode(s string) (SchemaMode, error) {
	for i, name := range []string{"strict", "union", "intersect"} {
		if s == name {
			return SchemaMode(i), nil
		}
	}
	return 0, &UsageError{Option: "schema-mode", Reason: fmt.Sprintf("%q is none of strict, union, intersect", s)}
}

// outColumn is one column of the output.
type outColumn struct {
	tableColumn     // as the first dataset that has it describes it
	dim         int // index into the data ID, -1 for a column of the tables
}

// outSchema is the output: which columns it has, and what is known of them before rows are read.
type outSchema struct {
	columns []outColumn
	schema  *arrow.Schema
	leaves  []column.Leaf
	index   string // column that is the pandas index
	extra   []*yaml.Node
}

// selectColumns gives the columns of a table that are wanted, in the order of names, all of them when names is empty.
// missing are the names that it does not have.
func (t *table) selectColumns(names []string) (cs []tableColumn, missing []string) {
	if len(names) == 0 {
		return t.columns, nil
	}
	for _, n := range names {
		at := slices.IndexFunc(t.columns, func(c tableColumn) bool { return c.name == n })
		if at < 0 {
			missing = append(missing, n)
			continue
		}
		cs = append(cs, t.columns[at])
	}
	return cs, missing
}

// columnError is an error about one column of a dataset.
type columnError struct {
	column string
	err    error
}

func (e *columnError) Error() string { return quoteName(e.column) + ": " + e.err.Error() }
func (e *columnError) Unwrap() error { return e.err }

// usable refuses columns that have no form in the output.
func usable(cs []tableColumn) error {
	for i := range cs {
		if r := cs[i].refused; r != "" {
			return &columnError{cs[i].name, errors.New(r + ": it cannot be read as an astropy table")}
		}
	}
	return nil
}

// errMissingColumn says that a dataset lacks a column that was asked for.
func errMissingColumn(name string, t *table) error {
	return &columnError{name, fmt.Errorf("no such column (there are: %s)", columnNames(t.columns))}
}

// sameColumns compares a dataset's columns with those of the output, strictly.
func sameColumns(have []tableColumn, want []outColumn, first string) error {
	n := 0
	for n < len(want) && want[n].dim < 0 {
		n++
	}
	for i := range min(len(have), n) {
		switch {
		case have[i].name != want[i].name && slices.ContainsFunc(have, func(c tableColumn) bool { return c.name == want[i].name }) &&
			slices.ContainsFunc(want, func(c outColumn) bool { return c.name == have[i].name }):
			return &columnError{have[i].name, fmt.Errorf("its schema differs from that of %s: there column %d is %s", first, i+1, quoteName(want[i].name))}
		case have[i].name != want[i].name && slices.ContainsFunc(want, func(c outColumn) bool { return c.name == have[i].name }):
			return &columnError{want[i].name, fmt.Errorf("its schema differs from that of %s, which has this column", first)}
		case have[i].name != want[i].name:
			return &columnError{have[i].name, fmt.Errorf("its schema differs from that of %s, which does not have this column", first)}
		case !arrow.TypeEqual(have[i].out, want[i].out):
			return &columnError{have[i].name, fmt.Errorf("its schema differs from that of %s: %s here and %s there", first, have[i].out, want[i].out)}
		}
	}
	switch {
	case len(have) > n:
		return &columnError{have[n].name, fmt.Errorf("its schema differs from that of %s, which does not have this column", first)}
	case len(have) < n:
		return &columnError{want[len(have)].name, fmt.Errorf("its schema differs from that of %s, which has this column", first)}
	}
	return nil
}

// newOutSchema makes the output of the columns of tables, and of the dimensions dims (whose values are found in data IDs
// from index 0 on) when they are to be added.
func newOutSchema(cs []tableColumn, index string, extra []*yaml.Node, dims []*element) (*outSchema, error) {
	o := &outSchema{extra: extra}
	for _, c := range cs {
		o.columns = append(o.columns, outColumn{c, -1})
		if c.name == index {
			o.index = index
		}
	}
	for i, e := range dims {
		if slices.ContainsFunc(cs, func(c tableColumn) bool { return c.name == e.name }) {
			return nil, &columnError{e.name, errors.New("the data ID cannot be added, for the table has a column of this name already (leave it out by naming the columns that are wanted)")}
		}
		c := tableColumn{name: e.name, declared: -1, out: arrow.PrimitiveTypes.Int64, numpy: "int64"}
		if !e.isInt {
			c.out, c.numpy, c.convert = arrow.BinaryTypes.String, "string", texts
		}
		o.columns = append(o.columns, outColumn{c, i})
	}
	fields := make([]arrow.Field, len(o.columns))
	for i, c := range o.columns {
		fields[i] = arrow.Field{Name: c.name, Type: c.out, Nullable: true}
		meta := map[string]string{}
		if c.description != "" {
			meta["description"] = c.description
		}
		if c.unit != "" {
			meta["unit"] = c.unit
		}
		if len(meta) > 0 {
			fields[i].Metadata = arrow.MetadataFrom(meta)
		}
	}
	o.schema = arrow.NewSchema(fields, nil)
	var err error
	if _, o.leaves, err = column.FromArrow(o.schema); err != nil {
		return nil, err
	}
	if len(o.leaves) != len(o.columns) {
		return nil, fmt.Errorf("%d Parquet columns for %d columns", len(o.leaves), len(o.columns))
	}
	return o, nil
}

// merger puts together the columns of all datasets, for Union and Intersect.
type merger struct {
	mode    SchemaMode
	columns []mergedColumn
	tables  int
	// The first table, its dataset's name, and what makes an error about it.
	firstTable *table
	first      string
	failFirst  func(error) error

	index string
	extra []*yaml.Node
}

type mergedColumn struct {
	tableColumn
	seen  int               // in how many tables
	first string            // the first of them, for messages
	fail  func(error) error // makes an error about that first one
	split bool              // it has two types
}

// add takes one table's columns, of a dataset called shown that fail makes errors about; in the mode Union two types of a
// column are an error, and in the mode Intersect it is one when no column is left.
func (m *merger) add(cs []tableColumn, t *table, shown string, fail func(error) error) error {
	m.tables++
	if m.tables == 1 {
		m.index, m.extra, m.first, m.firstTable, m.failFirst = t.index, t.extra, shown, t, fail
	}
	for _, c := range cs {
		at := slices.IndexFunc(m.columns, func(x mergedColumn) bool { return x.name == c.name })
		if at < 0 {
			m.columns = append(m.columns, mergedColumn{tableColumn: c, seen: 1, first: shown, fail: fail})
			continue
		}
		have := &m.columns[at]
		have.seen++
		if arrow.TypeEqual(have.out, c.out) {
			continue
		}
		have.split = true
		if m.mode == Union {
			return fail(&columnError{c.name, fmt.Errorf("%s here and %s in %s: a union cannot have both", c.out, have.out, have.first)})
		}
	}
	if m.mode == Intersect && !slices.ContainsFunc(m.columns, m.common) {
		if m.tables == 1 {
			return fail(errors.New("it has none of the columns that were asked for"))
		}
		return fail(fmt.Errorf("the datasets have no column in common: with this one none is left of those of %s and what follows it", m.first))
	}
	return nil
}

// common tells whether all tables up to now have a column, with one type.
func (m *merger) common(c mergedColumn) bool { return c.seen == m.tables && !c.split }

// result gives the columns of the output, and the names of those that were left out.
func (m *merger) result() (cs []tableColumn, leftOut []string) {
	for _, c := range m.columns {
		if m.mode == Intersect && !m.common(c) {
			leftOut = append(leftOut, c.name)
			continue
		}
		cs = append(cs, c.tableColumn)
	}
	return cs, leftOut
}

// KeyValue is one entry of a file's metadata.
type KeyValue struct{ Key, Value string }

// columnFacts is what reading tells of a column: of one dataset, or of all of them at the end.
type columnFacts struct {
	width int  // longest value or widest declaration, in code points or bytes
	known bool // some dataset with a row had the column, or declared a width
	flat  bool // datasets disagree on the shape of cells: none is declared
}

// metadata gives the file's metadata as astropy_to_arrow would write it for the whole, in its order.
func (o *outSchema) metadata(rows int64, facts []columnFacts) []KeyValue {
	out := []KeyValue{{keyRowCount, strconv.FormatInt(rows, 10)}}
	if o.index != "" {
		out = append(out, KeyValue{keyIndex, o.index})
	}
	header := make([]yamlColumn, len(o.columns))
	for i := range o.columns {
		c := o.columns[i].tableColumn
		if facts[i].flat {
			c.shape = nil
		}
		switch {
		case c.hasWidth():
			n := 10 // numpy's width for a table without rows that declares none
			if facts[i].known {
				n = max(1, facts[i].width)
			}
			out = append(out, KeyValue{keyWidth + c.name, strconv.Itoa(n)}, KeyValue{keyTableWidth + c.name, strconv.Itoa(n)})
		case c.shape != nil:
			parts := make([]string, len(c.shape))
			for k, n := range c.shape {
				parts[k] = strconv.Itoa(n)
			}
			out = append(out, KeyValue{keyShape + c.name, "(" + strings.Join(parts, ", ") + ")"})
		}
		header[i] = yamlColumn{name: c.name, unit: c.unit, datatype: c.numpy, description: c.description, columnMeta: c.foreign}
		if c.list > 0 {
			header[i].datatype, header[i].subtype = "string", c.subtype()
		}
	}
	meta := slices.Clone(o.extra)
	if o.index != "" {
		meta = append(meta, &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{
			{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.SingleQuotedStyle, Value: keyIndex},
			{Kind: yaml.ScalarNode, Tag: "!!str", Value: o.index},
		}})
	}
	return append(out, KeyValue{keyTableMeta, writeTableMeta(header, meta)})
}
