package typemap

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"fast-export/internal/column"
)

// Column is one result column as the server describes it.
type Column struct {
	Name    string
	OID     uint32 // its type; for a domain the server describes the base type, either is fine
	Typmod  int32  // -1 for none
	NotNull bool   // no row can hold a NULL: becomes a required field, and a NULL all the same is an error
	Dims    int    // pg_attribute.attndims of a table's array column; 0 where unknown
	Comment string
}

// Field metadata keys.
const (
	MetaType    = "postgres:type"   // format_type's text
	MetaTypmod  = "postgres:typmod" // only where there is one
	MetaComment = "description"     // the column's comment, where there is one; the key that astropy shows
)

// ColumnPlan says what becomes of one column.
type ColumnPlan struct {
	Name     string
	Postgres string // the type as format_type writes it
	Arrow    string
	Parquet  string // physical and logical type
	AsText   bool   // travels as text inside a binary stream: see Plan.SelectExpr
	Note     string // what a user should know, or empty

	fromText string // "cast", or the output function to call
	csvForm  string // in CSV: charForm, sendForm or "" for the value as it is
	send     string // with sendForm: the send function to call
}

// Before 16 charout prints the byte of a "char" as it is. That is no text where the byte is not ASCII, and COPY converts it
// from the database's encoding all the same, to something else or to an error. CSV gets it otherwise there.
const (
	charForm = "char" // a column of "char": as charout prints it from 16 on
	sendForm = "send" // a column with a "char" inside: its binary form in hexadecimal
)

// Plan is how the rows of one result become batches. Read-only once made, save for what Decoders tell it about
// geometries at their Finish, which is synchronised: any number of Decoders may run at once.
type Plan struct {
	Schema    *arrow.Schema
	Leaves    []column.Leaf
	Columns   []ColumnPlan
	Transport Transport

	nodes  []*node
	ids    int // nodes in all trees
	strict bool
	utf8   InvalidUTF8
	inf    Infinity
	nonfin Nonfinite
	nnull  []bool // columns that no NULL may be in
	// spanInf tells that intervals can be infinite.
	spanInf bool
	geo     geoSet
}

// NewPlan decides what each column becomes. The error is an *UnsupportedError where one column is the reason.
func NewPlan(cat *Catalog, cols []Column, opt Options, transport Transport) (*Plan, error) {
	p := &Plan{
		Transport: transport, strict: opt.Strict, utf8: opt.InvalidUTF8, inf: opt.Infinity, nonfin: opt.Nonfinite,
		spanInf: opt.ServerVersion == 0 || opt.ServerVersion >= 170000,
	}
	over, err := overrides(cols, opt.Columns)
	if err != nil {
		return nil, err
	}
	b := &builder{cat: cat, opt: &opt}
	fields := make([]arrow.Field, len(cols))
	var pl placer
	for i, c := range cols {
		cp := ColumnPlan{Name: c.Name, Postgres: cat.display(c.OID, c.Typmod)}
		fail := func(reason, hint string) error { return &UnsupportedError{c.Name, cp.Postgres, reason, hint} }
		if cat.types[c.OID] == nil {
			return nil, fail(fmt.Sprintf("the catalog has no type with OID %d: it was dropped or changed meanwhile", c.OID), "run the export again")
		}
		if !utf8.ValidString(c.Name) {
			return nil, fail("its name is not UTF-8", "give it another name in a query")
		}
		b.took = false
		s := spec{typmod: c.Typmod, top: true, over: over[i]}
		n, err := b.resolve(c.OID, c.Dims, s, 0)
		if err != nil {
			return nil, fail(err.Error(), typeFlag(c.Name, "text")+" carries it as text")
		}
		if over[i].word != "" && !b.took {
			return nil, fail(fmt.Sprintf("cannot become %s", opt.Columns[c.Name]), "allowed are "+b.choices(c.OID, 0))
		}
		n.nullable = !c.NotNull || n.mayNull || opt.TypeMap == DDPP
		pl.col = i
		pl.place(n, 0, 0)
		cp.Note = n.allNotes()
		if transport == Binary && n.anyNode(func(n *node) bool { return n.textOnly }) {
			cp.AsText = true
			cp.fromText = "cast"
			base := cat.base(c.OID)
			if base.HasTextCast || base.Kind == "p" {
				cp.fromText = base.Output
			}
		}
		if transport == CSV && opt.ServerVersion != 0 && opt.ServerVersion < 160000 {
			cp.csvForm, cp.send = n.csvForm()
		}
		fields[i] = n.field(c.Name)
		cp.Arrow = fields[i].Type.String()
		fields[i].Metadata = fieldMetadata(c, cp.Postgres)
		p.nodes = append(p.nodes, n)
		p.nnull = append(p.nnull, c.NotNull)
		p.Columns = append(p.Columns, cp)
	}
	p.ids = pl.id
	p.Schema = arrow.NewSchema(fields, nil)
	ps, leaves, err := column.FromArrow(p.Schema)
	if err != nil {
		return nil, err
	}
	p.Leaves = leaves
	for i := range p.Columns {
		p.Columns[i].Parquet = parquetText(ps.Root().Field(i))
	}
	if err := p.checkLevels(); err != nil {
		return nil, err
	}
	p.geo.init(p, cat, cols)
	return p, nil
}

// overrides parses Options.Columns, one entry a column of cols.
func overrides(cols []Column, chosen map[string]string) ([]override, error) {
	out := make([]override, len(cols))
	left := make(map[string]bool, len(chosen))
	for name := range chosen {
		left[name] = true
	}
	for i, c := range cols {
		s, ok := chosen[c.Name]
		if !ok {
			continue
		}
		delete(left, c.Name)
		o, err := parseColumnType(s)
		if err != nil {
			return nil, fmt.Errorf("type of column %s: %w", strconv.Quote(c.Name), err)
		}
		out[i] = o
	}
	if len(left) > 0 {
		var names, have []string
		for n := range left {
			names = append(names, strconv.Quote(n))
		}
		sort.Strings(names)
		for _, c := range cols {
			have = append(have, c.Name)
		}
		return nil, &NoColumnError{Names: names, Have: have}
	}
	return out, nil
}

func fieldMetadata(c Column, display string) arrow.Metadata {
	keys, values := []string{MetaType}, []string{display}
	if c.Typmod >= 0 {
		keys, values = append(keys, MetaTypmod), append(values, strconv.Itoa(int(c.Typmod)))
	}
	if c.Comment != "" {
		keys, values = append(keys, MetaComment), append(values, c.Comment)
	}
	return arrow.NewMetadata(keys, values)
}

// checkLevels compares the levels that the decoders will write with those that the Parquet schema asks for.
func (p *Plan) checkLevels() error {
	var walk func(n *node) error
	walk = func(n *node) error {
		if n.scalar() {
			l := p.Leaves[n.leafLo]
			if l.MaxDef != n.def || l.MaxRep != n.rep || l.Column != n.col {
				return fmt.Errorf("leaf %s: levels %d and %d planned, %d and %d in the schema", l.Path, n.def, n.rep, l.MaxDef, l.MaxRep)
			}
		}
		for _, c := range n.children {
			if err := walk(c); err != nil {
				return err
			}
		}
		return nil
	}
	n := 0
	for _, c := range p.nodes {
		if err := walk(c); err != nil {
			return err
		}
		n = c.leafHi
	}
	if n != len(p.Leaves) {
		return fmt.Errorf("%d leaves planned, %d in the schema", n, len(p.Leaves))
	}
	return nil
}

// SelectExpr is the expression that a COPY in the plan's transport selects for column i, given its name as SQL writes
// it. Where it is more than the name, the expression gives what the type's output function prints, never what a cast to
// text that someone defined makes of it.
func (p *Plan) SelectExpr(i int, quoted string) string {
	switch c := &p.Columns[i]; c.csvForm {
	case charForm:
		const byteOf = `(256 + %[1]s::pg_catalog."char"::pg_catalog.int4)`
		return fmt.Sprintf(`CASE WHEN %[1]s::pg_catalog."char"::pg_catalog.int4 < 0 THEN pg_catalog.concat('\', `+
			byteOf+` / 64, `+byteOf+` / 8 %% 8, `+byteOf+` %% 8) ELSE %[1]s::pg_catalog."char"::pg_catalog.text END`, quoted)
	case sendForm:
		return "pg_catalog." + c.send + "(" + quoted + ")"
	}
	switch f := p.Columns[i].fromText; f {
	case "":
		return quoted
	case "cast":
		return quoted + "::pg_catalog.text"
	default:
		return "pg_catalog.textin(" + f + "(" + quoted + "))"
	}
}

// csvForm is how a CSV gets a column that holds a "char" from a server before 16. What travels as text does so in either
// transport, and is the server's text.
func (n *node) csvForm() (form, send string) {
	has := func(f func(*node) bool) bool { return n.anyNode(f) }
	if !has(func(n *node) bool { return n.kind == kChar }) || has(func(n *node) bool { return n.textOnly }) {
		return "", ""
	}
	switch n.kind {
	case kChar:
		return charForm, ""
	case kList:
		return sendForm, "array_send"
	case kStruct:
		return sendForm, "record_send"
	case kRange:
		return sendForm, "range_send"
	case kMultirange:
		return sendForm, "multirange_send"
	}
	return "", ""
}

// parquetText names a Parquet field's physical and logical type.
func parquetText(n schema.Node) string {
	logical := ""
	if l := n.LogicalType(); l != nil && !l.IsNone() && l.IsValid() {
		logical = logicalText(l)
	}
	if g, ok := n.(*schema.GroupNode); ok {
		if logical == "List" || logical == "Map" {
			g = g.Field(0).(*schema.GroupNode)
		}
		parts := make([]string, g.NumFields())
		for i := range parts {
			parts[i] = parquetText(g.Field(i))
			if logical != "List" {
				parts[i] = g.Field(i).Name() + " " + parts[i]
			}
		}
		if logical == "" {
			logical = "group"
		}
		return logical + "<" + strings.Join(parts, ", ") + ">"
	}
	pn := n.(*schema.PrimitiveNode)
	s := pn.PhysicalType().String()
	if pn.TypeLength() > 0 {
		s += fmt.Sprintf("(%d)", pn.TypeLength())
	}
	if logical != "" {
		s += " " + logical
	}
	return s
}

func logicalText(l schema.LogicalType) string {
	switch l := l.(type) {
	case schema.IntLogicalType:
		if !l.IsSigned() {
			return fmt.Sprintf("UInt(%d)", l.BitWidth())
		}
		return fmt.Sprintf("Int(%d)", l.BitWidth())
	case schema.DecimalLogicalType:
		return fmt.Sprintf("Decimal(%d,%d)", l.Precision(), l.Scale())
	case schema.TimeLogicalType:
		return "Time(micros)"
	case schema.TimestampLogicalType:
		if l.IsAdjustedToUTC() {
			return "Timestamp(micros, UTC)"
		}
		return "Timestamp(micros)"
	}
	return l.String()
}

func (n *node) allNotes() string {
	var notes []string
	n.anyNode(func(n *node) bool {
		if n.note != "" && (len(notes) == 0 || notes[len(notes)-1] != n.note) {
			notes = append(notes, n.note)
		}
		return false
	})
	return strings.Join(notes, "; ")
}

func (c *Catalog) base(oid uint32) *CatalogRow {
	t := c.types[oid]
	for range maxDepth {
		if t == nil || t.Kind != "d" {
			break
		}
		t = c.types[t.Base]
	}
	if t == nil {
		return &CatalogRow{}
	}
	return t
}

// maxDepth keeps a catalog that goes in circles, and definition levels, within bounds.
const maxDepth = 32

// resolve finds what a type becomes: by its row in the table, or by the rule for its kind.
func (b *builder) resolve(oid uint32, dims int, s spec, depth int) (*node, error) {
	t := b.cat.types[oid]
	if t == nil {
		return nil, fmt.Errorf("the catalog has no type with OID %d", oid)
	}
	if depth > maxDepth {
		return b.textWith(s, fmt.Sprintf("nested more than %d deep: its text", maxDepth)), nil
	}
	if t.Kind == "d" {
		if s.typmod < 0 {
			s.typmod = t.Typmod
		}
		if dims == 0 || b.cat.base(t.Base).Elem != 0 {
			dims = max(dims, int(t.Dims))
		}
		return b.resolve(t.Base, dims, s, depth+1)
	}
	if s.over.word == "text" {
		b.took = true
		return b.asText(t, s), nil
	}
	if b.opt.TypeMap == DDPP && s.over.word == "" && !inDDPP(oid) { // a choice of its own wins
		return b.asText(t, s), nil
	}
	n, err := b.build(t, dims, s, depth)
	if err == nil && !t.HasSend {
		n.textOnly = true
	}
	return n, err
}

func inDDPP(oid uint32) bool {
	switch oid {
	case oidBool, oidInt2, oidInt4, oidInt8, oidFloat4, oidFloat8, oidNumeric, oidText, oidVarchar, oidBpchar,
		oidJSON, oidJSONB, oidDate, oidTimestamp, oidTimestamptz, oidInterval:
		return true
	}
	return false
}

// asText is the exact text of any type: bytes off the wire where the binary form is the text.
func (b *builder) asText(t *CatalogRow, s spec) *node {
	switch {
	case t.Kind == "e" || t.Extension == "citext" && t.Name == "citext":
		return b.plainText(s)
	case t.OID == oidText, t.OID == oidVarchar, t.OID == oidBpchar, t.OID == oidJSON, t.OID == 19, t.OID == 1790:
		return b.plainText(s)
	case t.OID == oidChar:
		return b.char(s)
	case t.OID == oidNumeric:
		return leafNode(kNumText, arrow.BinaryTypes.String, 0)
	}
	return b.textOnly(s)
}

func (b *builder) build(t *CatalogRow, dims int, s spec, depth int) (*node, error) {
	inner := spec{typmod: -1, over: s.over}
	switch t.Kind {
	case "p":
		return b.textWith(s, "a pseudo-type: its text"), nil
	case "e":
		n := b.plainText(s)
		if s.top { // readers of Arrow know no dictionaries below the top that differ between row groups
			n.arrow = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: n.arrow}
		}
		return n, nil
	case "c":
		return b.composite(t, s, depth)
	case "r", "m":
		if s.over.word == "struct" {
			b.took = true
		} else if b.opt.Ranges == RangeText {
			return b.textOnly(s), nil
		}
		if t.Kind == "m" {
			r, err := b.resolve(t.Range, 0, inner, depth+1)
			if err != nil {
				return nil, err
			}
			return listNode(kMultirange, r), nil
		}
		inner.over = override{}
		var bounds [2]*node
		for i := range bounds {
			n, err := b.resolve(t.Subtype, 0, inner, depth+1)
			if err != nil {
				return nil, err
			}
			bounds[i] = optional(n)
		}
		flag := func() *node { return leafNode(kBool, arrow.FixedWidthTypes.Boolean, 1) }
		return structNode(kRange, []string{"lower", "upper", "lower_inc", "upper_inc", "empty"}, bounds[0], bounds[1], flag(), flag(), flag()), nil
	}
	if t.Elem != 0 {
		if dims > 1 {
			return b.textWith(s, fmt.Sprintf("declared with %d dimensions: its text", dims)), nil
		}
		inner.typmod = s.typmod
		e, err := b.resolve(t.Elem, 0, inner, depth+1)
		if err != nil {
			return nil, err
		}
		n := listNode(kList, optional(e))
		n.oids, n.delim = []uint32{t.Elem}, ','
		if d := b.cat.types[t.Elem].Delim; len(d) == 1 {
			n.delim = d[0]
		}
		return n, nil
	}
	row := rowByOID[t.OID]
	if row == nil && t.Extension != "" {
		row = rowByExt[extType{t.Extension, t.Name}]
	}
	if row == nil {
		return b.textWith(s, "a type without a rule: its exact text"), nil
	}
	s.money = int(t.MoneyDigits)
	n := row.make(b, s)
	if row.known != "" {
		if major, _, _ := strings.Cut(t.ExtVersion, "."); !strings.Contains(row.known, major) || major == "" {
			n.textOnly = true
		}
	}
	if takes(t.OID, s.over.word) {
		b.took = true
	}
	return n, nil
}

// takes tells whether a type obeys a column's own choice, beside text, which all do, and struct for ranges.
func takes(oid uint32, word string) bool {
	switch word {
	case "float64", "strict", "decimal":
		return oid == oidNumeric || oid == oidInt2 || oid == oidInt4 || oid == oidInt8
	case "struct", "duration":
		return oid == oidInterval
	}
	return false
}

// choices lists what a column of the type can be asked to become.
func (b *builder) choices(oid uint32, depth int) string {
	t := b.cat.base(oid)
	switch {
	case t.Elem != 0 && depth < maxDepth:
		return b.choices(t.Elem, depth+1)
	case takes(t.OID, "float64"):
		return "text, float64, strict, decimal(p,s)"
	case takes(t.OID, "struct"):
		return "text, struct, duration"
	case t.Kind == "r", t.Kind == "m":
		return "text, struct"
	}
	return "text"
}

func (b *builder) composite(t *CatalogRow, s spec, depth int) (*node, error) {
	if len(t.FieldTypes) == 0 {
		return b.textWith(s, "a composite type without fields: its text"), nil
	}
	n := &node{kind: kStruct, names: t.FieldNames, oids: make([]uint32, len(t.FieldTypes))}
	for i, oid := range t.FieldTypes {
		if name := t.FieldNames[i]; !utf8.ValidString(name) {
			return nil, fmt.Errorf("the name of field %d of %s is not UTF-8: %q", i+1, t.Display, name)
		}
		f, err := b.resolve(oid, int(t.FieldDims[i]), spec{typmod: t.FieldTypmods[i], over: s.over}, depth+1)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", t.FieldNames[i], err)
		}
		n.children = append(n.children, optional(f))
		n.oids[i] = oid
	}
	return n, nil
}
