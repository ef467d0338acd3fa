package typemap

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/extensions"
)

// kind is how a value is decoded, from text and from binary. The kinds before kindCompound write one leaf.
type kind uint8

const (
	kBool      kind = iota
	kInt16          // as INT32
	kInt32          //
	kInt64          //
	kUint32         //
	kUint64         //
	kFloat32        //
	kFloat64        //
	kText           // the bytes of the wire, checked to be UTF-8
	kBytes          // bytea
	kDate           //
	kTime           //
	kStamp          // timestamp
	kStampTZ        // timestamp with time zone
	kNumFloat       // numeric as float64
	kViaText        // by the text decoder, whatever the transport: never in a node, only in a column's fast kind
	kViaBinary      // the same by the binary decoder: CSV carries the binary form in hexadecimal

	kNumDecimal // numeric as a decimal of precision and scale
	kNumText    // numeric as text
	kMoney      // money as a decimal
	kTextTrim   // bpchar without its padding
	kChar       // "char"
	kVersioned  // text that the binary form puts a version byte before: jsonb, jsonpath, ltree …
	kInfText    // dates and times as text, the infinite ones counted
	kUUID
	kDuration // interval as microseconds
	kBit
	kInet
	kCidr
	kMAC  // width bytes
	kLSN  // pg_lsn
	kTID  // tid
	kGeo  // geometry or geography as WKB, gathered for the file's metadata
	kEWKB // the same as the extended form, inside containers

	kindCompound

	kStruct     // composite: oids holds its fields' types
	kList       // array: oids[0] is its element's type, delim what stands between elements in text
	kVector     // int2vector, oidvector
	kMap        // hstore
	kRange      // lower, upper, lower_inc, upper_inc, empty
	kMultirange // list of ranges
	kInterval   // months, days, microseconds
	kTimetz     // time, offset
	kFloats     // point, line, lseg, box, circle: pattern says how text looks
	kPath       // closed, points
	kPolygon    // list of points
	kFloatList  // vector
	kHalfList   // halfvec
	kSparse     // sparsevec
)

// node is one level of a column's type: how its value is decoded and where it goes. Shared by the decoders of a plan.
type node struct {
	kind     kind
	arrow    arrow.DataType // of a scalar; see dataType
	nullable bool           // the field is
	names    []string       // of children that are struct fields
	children []*node

	oids             []uint32
	delim            byte
	precision, scale int
	width            int // bytes of a value of fixed width; of a fixed-size list, its length
	pattern          string
	raw              bool // text goes through as binary: no check
	strict           bool // a float64 must be exact
	count            bool // numeric or date as text because of an option: count what asked for it
	mayNull          bool // an option can turn a value into NULL
	textOnly         bool // no binary form that we read: the column travels as text
	note             string

	// Set by place.
	id             int // in the order of the tree, over all columns
	col            int // top-level column
	def            uint8
	rep            uint8 // repetition level of an element that is not the first of its list
	leafLo, leafHi int
}

func (n *node) scalar() bool { return n.kind < kindCompound }

// dataType is the Arrow type of the node.
func (n *node) dataType() arrow.DataType {
	switch n.kind {
	case kList, kVector, kMultirange, kPolygon:
		return arrow.ListOfField(n.children[0].field("element"))
	case kFloatList, kHalfList:
		if n.width > 0 {
			return arrow.FixedSizeListOfField(int32(n.width), n.children[0].field("element"))
		}
		return arrow.ListOfField(n.children[0].field("element"))
	case kMap:
		return arrow.MapOf(n.children[0].dataType(), n.children[1].dataType())
	}
	if n.scalar() {
		return n.arrow
	}
	fields := make([]arrow.Field, len(n.children))
	for i, c := range n.children {
		fields[i] = c.field(n.names[i])
	}
	return arrow.StructOf(fields...)
}

func (n *node) field(name string) arrow.Field {
	return arrow.Field{Name: name, Type: n.dataType(), Nullable: n.nullable}
}

// placer hands out ids and leaves in depth-first order, which is the order of Parquet's schema.
type placer struct{ id, leaf, col int }

// place sets the levels of n and below. def and rep are those of the place it stands in.
func (p *placer) place(n *node, def, rep uint8) {
	if n.nullable {
		def++
	}
	n.id, n.col, n.def, n.rep, n.leafLo = p.id, p.col, def, rep, p.leaf
	p.id++
	if n.scalar() {
		p.leaf++
	}
	switch n.kind {
	case kList, kVector, kMultirange, kPolygon, kFloatList, kHalfList, kMap:
		def, rep = def+1, rep+1
	}
	for _, c := range n.children {
		p.place(c, def, rep)
	}
	n.leafHi = p.leaf
}

// anyNode tells whether f holds for n or anything below it.
func (n *node) anyNode(f func(*node) bool) bool {
	if f(n) {
		return true
	}
	for _, c := range n.children {
		if c.anyNode(f) {
			return true
		}
	}
	return false
}

var (
	arrowStamp   arrow.DataType = &arrow.TimestampType{Unit: arrow.Microsecond}
	arrowStampTZ arrow.DataType = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	arrowUUID    arrow.DataType = extensions.NewUUIDType()
	arrowJSON    arrow.DataType = func() arrow.DataType {
		t, err := extensions.NewJSONType(arrow.BinaryTypes.String)
		if err != nil {
			panic(err) // a constant argument that the library itself allows
		}
		return t
	}()
)

func leafNode(k kind, t arrow.DataType, width int) *node {
	return &node{kind: k, arrow: t, width: width}
}

func float64Node() *node { return leafNode(kFloat64, arrow.PrimitiveTypes.Float64, 8) }

func optional(n *node) *node {
	n.nullable = true
	return n
}

func decimalNode(k kind, precision, scale int) *node {
	n := &node{kind: k, precision: precision, scale: scale, width: decimalWidth(precision)}
	if precision <= 38 {
		n.arrow = &arrow.Decimal128Type{Precision: int32(precision), Scale: int32(scale)}
	} else {
		n.arrow = &arrow.Decimal256Type{Precision: int32(precision), Scale: int32(scale)}
	}
	return n
}

func structNode(k kind, names []string, children ...*node) *node {
	return &node{kind: k, names: names, children: children}
}

func listNode(k kind, element *node) *node { return &node{kind: k, children: []*node{element}} }

func floatsNode(pattern string, names ...string) *node {
	n := &node{kind: kFloats, pattern: pattern, names: names}
	for range names {
		n.children = append(n.children, float64Node())
	}
	return n
}

func pointNode() *node { return floatsNode("(x,x)", "x", "y") }
