package butler

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"gopkg.in/yaml.v3"

	"fast-export/butler/internal/colchunk"
	"fast-export/internal/column"
)

// Keys of a file's metadata. Source: lsst/daf/butler/formatters/parquet.py.
const (
	keyRowCount    = "lsst::arrow::rowcount"
	keyIndex       = "lsst::arrow::astropy_pandas_index"
	keyWidth       = "lsst::arrow::len::"
	keyTableWidth  = "table::len::"
	keyShape       = "lsst::arrow::shape::"
	keyTableMeta   = "table_meta_yaml"
	keyArrowSchema = "ARROW:schema"
)

// conversion is how the values of a column in a file become those of the output.
type conversion uint8

const (
	asIs         conversion = iota
	timestamps              // int64: numpy's NaT (the least integer) becomes null
	milliseconds            // int64 milliseconds to microseconds, NaT as above
	days                    // int32 days to int64 microseconds at midnight
	int96                   // Julian day and nanoseconds to int64 nanoseconds
	texts                   // UTF-8, cut to the declared width
	binaries                // bytes, cut to the declared width
)

// tableColumn is one column of a dataset, as it comes out.
type tableColumn struct {
	name    string
	out     arrow.DataType
	numpy   string // numpy's name of the column's type, for the astropy header
	convert conversion
	isView  bool  // a view type: Python cannot read a null in one
	leaf    int   // index of the Parquet leaf
	list    int   // elements of a cell, 0 when it is one value
	shape   []int // of a cell with more than one axis, else nil
	null    []byte
	refused string // why the column cannot be read, "" when it can

	dictionary bool // refused for being a dictionary of texts

	physical column.Physical
	width    int // bytes of a value in the file
	maxDef   uint8
	maxRep   uint8
	nullable bool // elements of a list

	declared    int // width of texts and bytes as the file declares it, -1 when it does not
	unit        string
	description string
	foreign     columnMeta // what astropy's own writer said besides
}

// hasWidth tells whether the output declares a width for the column.
func (c *tableColumn) hasWidth() bool { return c.convert == texts || c.convert == binaries }

// inFile names the type that the column has in the file, for messages.
func (c *tableColumn) inFile() string {
	switch c.convert {
	case days:
		return "date32"
	case milliseconds:
		return "timestamp[ms]"
	case int96:
		return "int96"
	}
	return c.out.String()
}

// table is an open dataset: a Parquet file and its columns in the file's order.
type table struct {
	file    *datasetFile
	meta    *metadata.FileMetaData
	rows    int64
	columns []tableColumn
	index   string // the column that is the pandas index, "" when none is
	header  string // the astropy header of a file that Butler wrote
	extra   []*yaml.Node
}

// Close closes the dataset's file.
func (t *table) Close() error { return t.file.close() }

// maxRows bounds what a footer may say, so that nothing that is computed from it overflows.
const maxRows = 1 << 40

// damaged marks an error that says the bytes of a file are not what they should be.
func damaged(err error) error { return fmt.Errorf("not a readable Parquet file: %w", err) }

// openTable reads the footer of a dataset and plans how its columns come out: as
// astropy_to_arrow(butler.get(ref, storageClass="ArrowAstropy")) gives them. The table takes over f, also on an error.
func openTable(f *datasetFile) (t *table, err error) {
	defer func() {
		// arrow-go still panics on some malformed footers. That is bad input and no bug of ours.
		if r := recover(); r != nil {
			err = damaged(fmt.Errorf("the footer is damaged: %v", r))
		}
		if err != nil {
			t = nil
			err = errors.Join(err, f.close())
		}
	}()
	r, err := file.NewParquetReader(readSeeker{io.NewSectionReader(f, 0, f.size)})
	if err != nil {
		return nil, damaged(err)
	}
	t = &table{file: f, meta: r.MetaData()}
	for i := range t.meta.RowGroups {
		if have, want := t.meta.RowGroup(i).NumColumns(), t.meta.Schema.NumColumns(); have != want {
			return nil, damaged(fmt.Errorf("a row group has %d columns, the file %d", have, want))
		}
		n := t.meta.RowGroup(i).NumRows()
		if t.rows += n; n < 0 || n > maxRows || t.rows > maxRows {
			return nil, damaged(errors.New("it says that it has more rows than can be"))
		}
	}
	if t.rows != t.meta.GetNumRows() {
		return nil, damaged(fmt.Errorf("its row groups have %d rows and the footer says %d", t.rows, t.meta.GetNumRows()))
	}
	kv := map[string]string{}
	for _, p := range t.meta.GetKeyValueMetadata() {
		kv[p.GetKey()] = p.GetValue()
	}
	root := t.meta.Schema.Root()
	var origin []arrowField
	if encoded, ok := kv[keyArrowSchema]; ok {
		if origin, err = arrowSchema(encoded); err != nil {
			return nil, damaged(err)
		}
		if len(origin) != root.NumFields() {
			return nil, damaged(fmt.Errorf("%s has %d columns, the file %d", keyArrowSchema, len(origin), root.NumFields()))
		}
	}
	if root.NumFields() == 0 {
		t.rows = 0 // rows of nothing: Python reads none either
	}
	leaf := 0
	names := map[string]bool{}
	for i := range root.NumFields() {
		var field *arrowField
		if origin != nil {
			field = &origin[i]
		}
		node := root.Field(i)
		c := planColumn(t.meta.Schema, node, field, leaf, kv)
		leaf += countLeaves(node)
		if c.name == "" {
			c.name = "col" + strconv.Itoa(i) // astropy's name for a column without one
		}
		if names[c.name] {
			return nil, fmt.Errorf("two columns are called %s", quoteName(c.name))
		}
		names[c.name] = true
		t.columns = append(t.columns, c)
	}
	if err := t.describe(kv); err != nil {
		return nil, err
	}
	if index := kv[keyIndex]; names[index] {
		t.index = index
	}
	return t, nil
}

// readSeeker is what arrow-go wants to read a footer from: no Close, so that the file stays open.
type readSeeker struct{ *io.SectionReader }

func countLeaves(n schema.Node) int {
	g, ok := n.(*schema.GroupNode)
	if !ok {
		return 1
	}
	leaves := 0
	for i := range g.NumFields() {
		leaves += countLeaves(g.Field(i))
	}
	return leaves
}

// planColumn decides what a column comes out as. The Parquet schema says what the values are; the Arrow schema only what
// Parquet cannot say: that a list has one fixed length, and which types Python refuses although their bytes could be
// read. Source: ApplyOriginalMetadata in Arrow C++, arrow_to_numpy_dict and _numpy_dtype_to_arrow_types in Butler.
func planColumn(sc *schema.Schema, node schema.Node, origin *arrowField, leaf int, kv map[string]string) tableColumn {
	c := tableColumn{name: node.Name(), leaf: leaf, declared: -1}
	if origin != nil {
		c.name = origin.name
		if c.refused = refusedExtension(origin); c.refused != "" {
			return c
		}
		c.description, c.unit = origin.metadata["description"], origin.metadata["unit"]
	}
	if !utf8.ValidString(c.name) {
		c.refused = "its name is not UTF-8"
		return c
	}
	element := node
	if g, ok := node.(*schema.GroupNode); ok {
		if element = c.planList(g, origin, kv); element == nil {
			return c
		}
	} else if node.RepetitionType() == parquet.Repetitions.Repeated {
		c.refused = "a list of any length"
		return c
	}
	col := sc.Column(leaf)
	c.maxDef, c.maxRep = uint8(col.MaxDefinitionLevel()), uint8(col.MaxRepetitionLevel())
	c.nullable = element.RepetitionType() == parquet.Repetitions.Optional
	c.planValues(element.(*schema.PrimitiveNode), origin)
	if c.refused != "" {
		if origin != nil && c.list == 0 { // Arrow's name for the type says more than Parquet's
			c.refused = "of type " + origin.text
		}
		return c
	}
	if c.list > 0 {
		switch {
		case c.convert != asIs:
			c.refused = fmt.Sprintf("a list of %s: only lists of numbers and booleans can be read", c.out)
			return c
		case c.numpy == "float16":
			c.null = []byte{0xff, 0x7f} // pyarrow's NaN of this width
		case c.numpy == "float32":
			c.null = []byte{0, 0, 0xc0, 0x7f}
		case c.numpy == "float64":
			c.null = []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}
		}
		c.out = arrow.FixedSizeListOfField(int32(c.list), arrow.Field{Name: "item", Type: c.out, Nullable: true})
		return c
	}
	if c.hasWidth() {
		if s, ok := kv[keyWidth+node.Name()]; ok {
			n, ok := pythonInt(s)
			if !ok || n < 0 || n > math.MaxInt32/4 {
				c.refused = fmt.Sprintf("its width is given as %q (%s)", excerpt(s), keyWidth+c.name)
			}
			c.declared = n
		}
	}
	return c
}

// refusedExtension gives the reason why a column of an extension type cannot be read. Types that pyarrow does not know
// either are read as what they are stored as.
func refusedExtension(f *arrowField) string {
	name := f.metadata["ARROW:extension:name"]
	if strings.HasPrefix(name, "arrow.") && name != "arrow.bool8" || strings.HasPrefix(name, "pandas.") {
		return "of extension type " + name
	}
	return ""
}

// planList checks that a group is a list of one fixed length, and gives its element; nil when it is refused.
func (c *tableColumn) planList(g *schema.GroupNode, origin *arrowField, kv map[string]string) schema.Node {
	if _, isList := g.LogicalType().(schema.ListLogicalType); !isList && g.ConvertedType() != schema.ConvertedTypes.List {
		c.refused = "a struct or a map"
		return nil
	}
	if origin == nil || origin.kind != fbFixedSizeList {
		c.refused = "a list of any length"
		return nil
	}
	var element schema.Node
	if g.NumFields() == 1 && g.RepetitionType() != parquet.Repetitions.Repeated {
		if inner, ok := g.Field(0).(*schema.GroupNode); ok && inner.RepetitionType() == parquet.Repetitions.Repeated && inner.NumFields() == 1 {
			element = inner.Field(0)
		}
	}
	if p, ok := element.(*schema.PrimitiveNode); !ok || p.RepetitionType() == parquet.Repetitions.Repeated {
		c.refused = "a list of lists or of structs"
		return nil
	}
	c.list = origin.list
	if c.list < 1 || c.list > 1<<24 {
		c.refused = fmt.Sprintf("a list of %d elements", c.list)
		return nil
	}
	if s, ok := kv[keyShape+g.Name()]; ok {
		shape, err := parseShape(s, c.list)
		if err != nil {
			c.refused = fmt.Sprintf("%s is %q: %v", keyShape+c.name, excerpt(s), err)
			return nil
		}
		if len(shape) > 1 {
			c.shape = shape
		}
	}
	return element
}

// parseShape reads a Python tuple as Butler does: what stands between the first ( and the last ), split at commas. One
// axis may be -1 and takes what is left, as numpy has it.
func parseShape(s string, cells int) ([]int, error) {
	from, to := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if from < 0 || to < from {
		return nil, errors.New("no shape")
	}
	var shape []int
	product, open := 1, -1
	for _, part := range strings.Split(s[from+1:to], ",") {
		if part == "" {
			continue
		}
		n, ok := pythonInt(part)
		if !ok || n > cells || n < -1 || n == -1 && open >= 0 {
			return nil, errors.New("no shape")
		}
		if n == -1 {
			open = len(shape)
			shape = append(shape, 1)
			continue
		}
		shape = append(shape, n)
		if product *= n; product > cells {
			return nil, fmt.Errorf("a cell has %d values", cells)
		}
	}
	if open >= 0 && product > 0 {
		shape[open] = cells / product
		product *= shape[open]
	}
	if len(shape) == 0 || product != cells {
		return nil, fmt.Errorf("a cell has %d values", cells)
	}
	return shape, nil
}

// pythonInt reads what Python's int() reads: blanks around, a sign, digits with single underscores between them.
func pythonInt(s string) (int, bool) {
	s = strings.TrimFunc(s, unicode.IsSpace)
	digits := strings.TrimLeft(s, "+-")
	if digits == "" || len(s)-len(digits) > 1 || strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") {
		return 0, false
	}
	n, err := strconv.ParseInt(s[:len(s)-len(digits)]+strings.ReplaceAll(digits, "_", ""), 10, 32)
	return int(n), err == nil
}

// planValues decides the type of a leaf's values.
func (c *tableColumn) planValues(p *schema.PrimitiveNode, origin *arrowField) {
	set := func(out arrow.DataType, numpy string, convert conversion) {
		c.out, c.numpy, c.convert = out, numpy, convert
	}
	refuse := func(format string, args ...any) { c.refused = fmt.Sprintf(format, args...) }
	if origin != nil && (origin.kind == fbDuration || origin.kind == fbNull || origin.kind == fbInterval) {
		refuse("of type %s", origin.text)
		return
	}
	switch p.PhysicalType() {
	case parquet.Types.Boolean:
		c.physical, c.width = column.Bool, 1
		set(arrow.FixedWidthTypes.Boolean, "bool", asIs)
	case parquet.Types.Int32:
		c.physical, c.width = column.Int32, 4
	case parquet.Types.Int64:
		c.physical, c.width = column.Int64, 8
	case parquet.Types.Int96:
		c.physical, c.width = column.Fixed, 12
		set(arrow.FixedWidthTypes.Timestamp_ns, "datetime64[ns]", int96)
		c.out = &arrow.TimestampType{Unit: arrow.Nanosecond}
	case parquet.Types.Float:
		c.physical, c.width = column.Float32, 4
		set(arrow.PrimitiveTypes.Float32, "float32", asIs)
	case parquet.Types.Double:
		c.physical, c.width = column.Float64, 8
		set(arrow.PrimitiveTypes.Float64, "float64", asIs)
	case parquet.Types.ByteArray:
		c.physical = column.ByteArray
		c.planBytes(p, origin)
		return
	case parquet.Types.FixedLenByteArray:
		c.physical, c.width = column.Fixed, p.TypeLength()
		if _, ok := p.LogicalType().(schema.Float16LogicalType); ok && c.width == 2 {
			set(arrow.FixedWidthTypes.Float16, "float16", asIs)
			return
		}
		refuse("of type %s", logicalName(p))
		return
	default:
		refuse("of physical type %s", p.PhysicalType())
		return
	}
	if c.physical == column.Int32 || c.physical == column.Int64 {
		c.planInteger(p, set, refuse)
	}
}

// logicalName describes a leaf's Parquet type for messages.
func logicalName(p *schema.PrimitiveNode) string {
	if l := p.LogicalType(); l != nil && !l.IsNone() {
		return strings.ToLower(l.String())
	}
	s := strings.ToLower(p.PhysicalType().String())
	if p.PhysicalType() == parquet.Types.FixedLenByteArray {
		s += fmt.Sprintf("(%d)", p.TypeLength())
	}
	return s
}

func (c *tableColumn) planInteger(p *schema.PrimitiveNode, set func(arrow.DataType, string, conversion), refuse func(string, ...any)) {
	timestamp := func(unit arrow.TimeUnit) *arrow.TimestampType { return &arrow.TimestampType{Unit: unit} }
	switch l := p.LogicalType().(type) {
	case schema.IntLogicalType:
		c.setInteger(int(l.BitWidth()), l.IsSigned(), set, refuse)
	case schema.DateLogicalType:
		if c.physical != column.Int32 {
			refuse("a date of 8 bytes")
			return
		}
		set(timestamp(arrow.Microsecond), "datetime64[us]", days)
	case schema.TimestampLogicalType:
		if c.physical != column.Int64 {
			refuse("a timestamp of 4 bytes")
			return
		}
		switch l.TimeUnit() {
		case schema.TimeUnitMillis:
			set(timestamp(arrow.Microsecond), "datetime64[ms]", milliseconds)
		case schema.TimeUnitMicros:
			set(timestamp(arrow.Microsecond), "datetime64[us]", timestamps)
		case schema.TimeUnitNanos:
			set(timestamp(arrow.Nanosecond), "datetime64[ns]", timestamps)
		default:
			refuse("of type %s", logicalName(p))
		}
	default:
		if l != nil && !l.IsNone() {
			refuse("of type %s", logicalName(p))
			return
		}
		c.setInteger(c.width*8, true, set, refuse)
	}
}

var integers = map[string]arrow.DataType{
	"int8": arrow.PrimitiveTypes.Int8, "int16": arrow.PrimitiveTypes.Int16, "int32": arrow.PrimitiveTypes.Int32, "int64": arrow.PrimitiveTypes.Int64,
	"uint8": arrow.PrimitiveTypes.Uint8, "uint16": arrow.PrimitiveTypes.Uint16, "uint32": arrow.PrimitiveTypes.Uint32, "uint64": arrow.PrimitiveTypes.Uint64,
}

func (c *tableColumn) setInteger(bits int, signed bool, set func(arrow.DataType, string, conversion), refuse func(string, ...any)) {
	name := "int" + strconv.Itoa(bits)
	if !signed {
		name = "u" + name
	}
	out, ok := integers[name]
	if !ok || (bits == 64) != (c.width == 8) {
		refuse("an integer of %d bits in %d bytes", bits, c.width)
		return
	}
	set(out, name, asIs)
}

func (c *tableColumn) planBytes(p *schema.PrimitiveNode, origin *arrowField) {
	isText := false
	switch l := p.LogicalType().(type) {
	case schema.StringLogicalType:
		isText = true
	case schema.EnumLogicalType, schema.BSONLogicalType:
	default:
		if l != nil && !l.IsNone() {
			c.refused = "of type " + logicalName(p)
			return
		}
	}
	if origin != nil {
		if origin.dictionary {
			c.refused = "a dictionary"
			c.dictionary = isText
			return
		}
		c.isView = origin.kind == fbUtf8View || origin.kind == fbBinaryView
	}
	if isText {
		c.out, c.numpy, c.convert = arrow.BinaryTypes.String, "string", texts
		return
	}
	c.out, c.numpy, c.convert = arrow.BinaryTypes.Binary, "string", binaries
}

// describe takes units and descriptions from the header of a file that astropy's own writer made (it has no row count):
// there, the header alone counts. Source: _read_parquet and _apply_astropy_metadata.
func (t *table) describe(kv map[string]string) error {
	text := kv[keyTableMeta]
	if text == "" {
		return nil
	}
	if _, butlers := kv[keyRowCount]; butlers {
		t.header = text
		return nil
	}
	m, err := parseTableMeta(text)
	if err != nil {
		return fmt.Errorf("its astropy header (%s) cannot be read: %w", keyTableMeta, err)
	}
	for i := range t.columns {
		c := &t.columns[i]
		x, ok := m.columns[c.name]
		if !ok {
			return fmt.Errorf("its astropy header (%s) does not have the column %s", keyTableMeta, quoteName(c.name))
		}
		c.unit, c.description = x.unit, x.description
		c.foreign = columnMeta{format: x.format, meta: x.meta}
	}
	t.extra = m.meta
	return nil
}

// recallUnits takes units and descriptions from the header of a file that a Butler before release 27 wrote: later ones
// have them on the fields too, and forget the header when they read.
func (t *table) recallUnits() {
	if t.header == "" || slices.ContainsFunc(t.columns, func(c tableColumn) bool { return c.unit != "" || c.description != "" }) {
		return
	}
	m, err := parseTableMeta(t.header)
	if err != nil {
		return // Butler does not look at it
	}
	for i := range t.columns {
		x := m.columns[t.columns[i].name]
		t.columns[i].unit, t.columns[i].description = x.unit, x.description
	}
}

// subtype is what the astropy header says of a column whose cells are arrays, "" for others.
func (c *tableColumn) subtype() string {
	if c.list == 0 {
		return ""
	}
	shape := c.shape
	if shape == nil {
		shape = []int{c.list}
	}
	parts := make([]string, len(shape))
	for i, n := range shape {
		parts[i] = strconv.Itoa(n)
	}
	return c.numpy + "[" + strings.Join(parts, ",") + "]"
}

// columnSource gives where a column's values lie in a row group. The footer's numbers are checked by the reader.
func (t *table) columnSource(rowGroup int, c *tableColumn) (src colchunk.Source, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged(fmt.Errorf("the footer is damaged: %v", r))
		}
	}()
	rg := t.meta.RowGroup(rowGroup)
	md, err := rg.ColumnChunk(c.leaf)
	if err != nil {
		return src, damaged(err)
	}
	if md.FilePath() != "" {
		return src, damaged(errors.New("its values are in another file"))
	}
	if want := t.meta.Schema.Column(c.leaf); md.Type() != want.PhysicalType() || md.PathInSchema().String() != want.Path() {
		return src, damaged(errors.New("a row group's columns are not those of the file"))
	}
	src = colchunk.Source{
		File: t.file, FileBytes: t.file.size, Offset: md.DataPageOffset(), Bytes: md.TotalCompressedSize(), Compression: md.Compression(),
		Physical: c.physical, Width: c.width, MaxDef: c.maxDef, MaxRep: c.maxRep, List: c.list, ElementNullable: c.nullable, Null: c.null,
		Rows: rg.NumRows(),
	}
	if d := md.DictionaryPageOffset(); md.HasDictionaryPage() && d > 0 && d < src.Offset {
		src.Offset = d
	}
	return src, nil
}
