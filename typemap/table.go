package typemap

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// OIDs that rules ask for by name. Source: pg_type.dat.
const (
	oidBool        = 16
	oidChar        = 18
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidInterval    = 1186
	oidTimetz      = 1266
	oidBit         = 1560
	oidVarbit      = 1562
	oidNumeric     = 1700
	oidJSONB       = 3802
)

// typeRow is one row of the table: a type, and what becomes of it. docs/types.md is written from it.
type typeRow struct {
	oid  uint32 // 0 for a type of an extension
	ext  string // the extension, or empty
	name string // pg_type.typname
	make func(b *builder, s spec) *node
	lost string // what cannot be represented, and what then
	opts string // options that change the row

	// known are the extension's major versions whose binary forms we read. Another's columns travel as text.
	known string
}

// spec is one use of a type.
type spec struct {
	typmod int32
	top    bool // the column itself, not something inside it
	over   override
	money  int
}

const (
	lostText = "bytes that are not UTF-8: error"
	optsText = "--invalid-utf8"
	lostDate = "infinity and -infinity: error"
	optsDate = "--infinity"
)

// typeTable has a row for each type that is more than its text. What is in no row and falls under no rule of
// (*builder).resolve travels as the text that the server prints for it.
var typeTable = []typeRow{
	{oid: oidBool, name: "bool", make: fixed(kBool, arrow.FixedWidthTypes.Boolean, 1)},
	{oid: oidInt2, name: "int2", make: integer(kInt16, arrow.PrimitiveTypes.Int16, 4, 5), opts: "--type float64, decimal"},
	{oid: oidInt4, name: "int4", make: integer(kInt32, arrow.PrimitiveTypes.Int32, 4, 10), opts: "--type float64, decimal"},
	{oid: oidInt8, name: "int8", make: integer(kInt64, arrow.PrimitiveTypes.Int64, 8, 19), opts: "--type float64, decimal"},
	{oid: oidFloat4, name: "float4", make: fixed(kFloat32, arrow.PrimitiveTypes.Float32, 4), lost: "all NaNs become one pattern"},
	{oid: oidFloat8, name: "float8", make: fixed(kFloat64, arrow.PrimitiveTypes.Float64, 8), lost: "all NaNs become one pattern"},
	{
		oid: oidNumeric, name: "numeric", make: (*builder).numeric,
		lost: "without precision: digits beyond a float64's, counted as inexact; beyond its range: error. With precision: NaN and infinities, error",
		opts: "--numeric, --numeric-nonfinite, --type float64, strict, decimal",
	},
	{oid: 790, name: "money", make: (*builder).money},

	{oid: oidText, name: "text", make: (*builder).plainText, lost: lostText, opts: optsText},
	{oid: oidVarchar, name: "varchar", make: (*builder).plainText, lost: lostText, opts: optsText},
	{oid: oidBpchar, name: "bpchar", make: (*builder).bpchar, lost: lostText, opts: "--trim-bpchar, " + optsText},
	{oid: 19, name: "name", make: (*builder).plainText, lost: lostText, opts: optsText},
	{oid: oidChar, name: "char", make: (*builder).char},
	{oid: 142, name: "xml", make: (*builder).textOnly, lost: "the encoding in the XML declaration, which the server leaves out when it prints", opts: optsText},
	{oid: 1790, name: "refcursor", make: (*builder).plainText, lost: lostText, opts: optsText},
	{oid: oidJSON, name: "json", make: jsonText(kText), lost: lostText, opts: optsText},
	{oid: oidJSONB, name: "jsonb", make: jsonText(kVersioned), lost: lostText, opts: optsText},
	{oid: 4072, name: "jsonpath", make: (*builder).versioned, lost: lostText, opts: optsText},
	{oid: 17, name: "bytea", make: fixed(kBytes, arrow.BinaryTypes.Binary, 0)},
	{oid: 2950, name: "uuid", make: fixed(kUUID, arrowUUID, 16)},

	{oid: oidDate, name: "date", make: moment(kDate, arrow.FixedWidthTypes.Date32, 4), lost: lostDate, opts: optsDate},
	{oid: oidTime, name: "time", make: moment(kTime, arrow.FixedWidthTypes.Time64us, 8), lost: "24:00:00: error", opts: optsDate},
	{
		oid: oidTimestamp, name: "timestamp", make: moment(kStamp, arrowStamp, 8),
		lost: lostDate + "; later than 294247-01-10 04:00:54.775807: error", opts: optsDate,
	},
	{
		oid: oidTimestamptz, name: "timestamptz", make: moment(kStampTZ, arrowStampTZ, 8),
		lost: lostDate + "; later than 294247-01-10 04:00:54.775807: error", opts: optsDate,
	},
	{oid: oidTimetz, name: "timetz", make: (*builder).timetz, lost: "24:00:00: error", opts: optsDate},
	{
		oid: oidInterval, name: "interval", make: (*builder).interval,
		lost: lostDate + " (17 and later)", opts: "--interval, --infinity, --type struct, duration",
	},

	{oid: 26, name: "oid", make: fixed(kUint32, arrow.PrimitiveTypes.Uint32, 4)},
	{oid: 28, name: "xid", make: fixed(kUint32, arrow.PrimitiveTypes.Uint32, 4)},
	{oid: 29, name: "cid", make: fixed(kUint32, arrow.PrimitiveTypes.Uint32, 4)},
	{oid: 5069, name: "xid8", make: fixed(kUint64, arrow.PrimitiveTypes.Uint64, 8)},
	{oid: 3220, name: "pg_lsn", make: fixed(kLSN, arrow.BinaryTypes.String, 0)},
	{oid: 27, name: "tid", make: fixed(kTID, arrow.BinaryTypes.String, 0)},
	{oid: 22, name: "int2vector", make: vector(kInt16, arrow.PrimitiveTypes.Int16, oidInt2)},
	{oid: 30, name: "oidvector", make: vector(kUint32, arrow.PrimitiveTypes.Uint32, 26)},

	{oid: oidBit, name: "bit", make: fixed(kBit, arrow.BinaryTypes.String, 0)},
	{oid: oidVarbit, name: "varbit", make: fixed(kBit, arrow.BinaryTypes.String, 0)},
	{oid: 869, name: "inet", make: fixed(kInet, arrow.BinaryTypes.String, 0)},
	{oid: 650, name: "cidr", make: fixed(kCidr, arrow.BinaryTypes.String, 0)},
	{oid: 829, name: "macaddr", make: mac(6)},
	{oid: 774, name: "macaddr8", make: mac(8)},

	{oid: 600, name: "point", make: floats("(x,x)", "x", "y")},
	{oid: 628, name: "line", make: floats("{x,x,x}", "a", "b", "c")},
	{oid: 601, name: "lseg", make: floats("[(x,x),(x,x)]", "x1", "y1", "x2", "y2")},
	{oid: 603, name: "box", make: floats("(x,x),(x,x)", "x1", "y1", "x2", "y2")},
	{oid: 718, name: "circle", make: floats("<(x,x),x>", "x", "y", "r")},
	{oid: 602, name: "path", make: func(*builder, spec) *node {
		return structNode(kPath, []string{"closed", "points"}, leafNode(kBool, arrow.FixedWidthTypes.Boolean, 1), listNode(kPolygon, pointNode()))
	}},
	{oid: 604, name: "polygon", make: func(*builder, spec) *node { return listNode(kPolygon, pointNode()) }},

	{oid: 3614, name: "tsvector", make: (*builder).textOnly, lost: lostText, opts: optsText},
	{oid: 3615, name: "tsquery", make: (*builder).textOnly, lost: lostText, opts: optsText},
	{oid: 2970, name: "txid_snapshot", make: (*builder).textOnly},
	{oid: 5038, name: "pg_snapshot", make: (*builder).textOnly},
	{oid: 1033, name: "aclitem", make: (*builder).textOnly, lost: lostText, opts: optsText},
	{oid: 24, name: "regproc", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 2202, name: "regprocedure", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 2203, name: "regoper", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 2204, name: "regoperator", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 2205, name: "regclass", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 2206, name: "regtype", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 3734, name: "regconfig", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 3769, name: "regdictionary", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 4089, name: "regnamespace", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 4096, name: "regrole", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},
	{oid: 4191, name: "regcollation", make: (*builder).textOnly, lost: "the OID: the name is written", opts: optsText},

	{ext: "citext", name: "citext", make: (*builder).plainText, lost: lostText, opts: optsText, known: "1"},
	{ext: "hstore", name: "hstore", make: (*builder).hstore, lost: lostText, opts: optsText, known: "1"},
	{ext: "ltree", name: "ltree", make: (*builder).versioned, lost: lostText, opts: optsText, known: "1"},
	{ext: "ltree", name: "lquery", make: (*builder).versioned, lost: lostText, opts: optsText, known: "1"},
	{ext: "ltree", name: "ltxtquery", make: (*builder).versioned, lost: lostText, opts: optsText, known: "1"},
	{ext: "cube", name: "cube", make: (*builder).textOnly},
	{ext: "seg", name: "seg", make: (*builder).textOnly},
	{ext: "isn", name: "ean13", make: (*builder).textOnly},
	{ext: "isn", name: "isbn13", make: (*builder).textOnly},
	{ext: "isn", name: "ismn13", make: (*builder).textOnly},
	{ext: "isn", name: "issn13", make: (*builder).textOnly},
	{ext: "isn", name: "isbn", make: (*builder).textOnly},
	{ext: "isn", name: "ismn", make: (*builder).textOnly},
	{ext: "isn", name: "issn", make: (*builder).textOnly},
	{ext: "isn", name: "upc", make: (*builder).textOnly},
	{ext: "vector", name: "vector", make: floatList(kFloatList), known: "0"},
	{ext: "vector", name: "halfvec", make: floatList(kHalfList), known: "0"},
	{ext: "vector", name: "sparsevec", known: "0", make: func(*builder, spec) *node {
		return structNode(kSparse, []string{"dimensions", "indices", "values"},
			leafNode(kInt32, arrow.PrimitiveTypes.Int32, 4),
			listNode(kList, leafNode(kInt32, arrow.PrimitiveTypes.Int32, 4)),
			listNode(kList, leafNode(kFloat32, arrow.PrimitiveTypes.Float32, 4)))
	}},
	{ext: "postgis", name: "geometry", make: geo("planar"), lost: "SRIDs that differ within a column: error", known: "2 3"},
	{ext: "postgis", name: "geography", make: geo("spherical"), lost: "SRIDs that differ within a column: error", known: "2 3"},
	{ext: "postgis", name: "box2d", make: (*builder).textOnly},
	{ext: "postgis", name: "box3d", make: (*builder).textOnly},
}

type extType struct{ ext, name string }

// rowByOID and rowByExt find the row of a type.
var rowByOID, rowByExt = func() (map[uint32]*typeRow, map[extType]*typeRow) {
	oids, exts := map[uint32]*typeRow{}, map[extType]*typeRow{}
	for i := range typeTable {
		r := &typeTable[i]
		if r.oid != 0 {
			oids[r.oid] = r
		} else {
			exts[extType{r.ext, r.name}] = r
		}
	}
	return oids, exts
}()

// builder makes nodes for one plan.
type builder struct {
	cat  *Catalog
	opt  *Options
	took bool // the column's own choice found a type that obeys it
}

func decimalWidth(precision int) int { return int(pqarrow.DecimalSize(int32(precision))) }

func fixed(k kind, t arrow.DataType, width int) func(*builder, spec) *node {
	return func(*builder, spec) *node { return leafNode(k, t, width) }
}

// integer is fixed for the integers, which a column's own choice can make a number of another kind. They travel as text
// then: every decoder of numerics reads that.
func integer(k kind, t arrow.DataType, width, digits int) func(*builder, spec) *node {
	return func(_ *builder, s spec) *node {
		n := leafNode(k, t, width)
		switch s.over.word {
		case "float64", "strict":
			n = leafNode(kNumFloat, arrow.PrimitiveTypes.Float64, 8)
			n.strict, n.textOnly = s.over.word == "strict", true
		case "decimal":
			n = decimalNode(kNumDecimal, s.over.precision, s.over.scale)
			n.textOnly = true
		}
		return n
	}
}

func mac(width int) func(*builder, spec) *node {
	return fixed(kMAC, arrow.BinaryTypes.String, width)
}

func vector(k kind, t arrow.DataType, elem uint32) func(*builder, spec) *node {
	return func(*builder, spec) *node {
		n := listNode(kVector, leafNode(k, t, 4))
		n.oids = []uint32{elem}
		return n
	}
}

func floats(pattern string, names ...string) func(*builder, spec) *node {
	return func(*builder, spec) *node { return floatsNode(pattern, names...) }
}

func floatList(k kind) func(*builder, spec) *node {
	return func(_ *builder, s spec) *node {
		n := listNode(k, leafNode(kFloat32, arrow.PrimitiveTypes.Float32, 4))
		n.width = max(0, int(s.typmod))
		return n
	}
}

func geo(edges string) func(*builder, spec) *node {
	return func(_ *builder, s spec) *node {
		if !s.top {
			n := leafNode(kEWKB, arrow.BinaryTypes.Binary, 0)
			n.note = "inside another type: extended WKB, which keeps the SRID, and no GeoParquet metadata"
			return n
		}
		n := leafNode(kGeo, arrow.BinaryTypes.Binary, 0)
		n.pattern = edges
		n.precision = int(geoTypmodSRID(s.typmod))
		return n
	}
}

func (b *builder) plainText(spec) *node {
	n := leafNode(kText, arrow.BinaryTypes.String, 0)
	if b.opt.InvalidUTF8 == InvalidUTF8Binary {
		n.arrow, n.raw = arrow.BinaryTypes.Binary, true
	}
	return n
}

// textOnly is the text that the server prints, in either transport.
func (b *builder) textOnly(s spec) *node {
	n := b.plainText(s)
	n.textOnly = true
	return n
}

func (b *builder) textWith(s spec, note string) *node {
	n := b.textOnly(s)
	n.note = note
	return n
}

func (b *builder) bpchar(s spec) *node {
	n := b.plainText(s)
	if b.opt.TrimBpchar {
		n.kind = kTextTrim
	}
	return n
}

func (b *builder) char(s spec) *node {
	n := b.plainText(s)
	n.kind, n.raw, n.arrow = kChar, false, arrow.BinaryTypes.String
	return n
}

func (b *builder) versioned(s spec) *node {
	n := b.plainText(s)
	n.kind = kVersioned
	return n
}

func jsonText(k kind) func(*builder, spec) *node {
	return func(b *builder, s spec) *node {
		n := b.plainText(s)
		n.kind = k
		if !n.raw && b.opt.TypeMap != DDPP {
			n.arrow = arrowJSON
		}
		return n
	}
}

func (b *builder) hstore(s spec) *node {
	return &node{kind: kMap, children: []*node{b.plainText(s), optional(b.plainText(s))}}
}

func (b *builder) numeric(s spec) *node {
	float := func(strict bool) *node {
		n := leafNode(kNumFloat, arrow.PrimitiveTypes.Float64, 8)
		n.strict = strict
		return n
	}
	text := func(count bool, note string) *node {
		n := leafNode(kNumText, arrow.BinaryTypes.String, 0)
		n.count, n.note = count, note
		return n
	}
	decimal := func(p, sc int) *node {
		if b.opt.Nonfinite == NonfiniteText {
			n := text(true, "text, so that NaN and infinities have a place")
			n.precision, n.scale = p, sc // what no decimal of these could be is an error all the same
			return n
		}
		n := decimalNode(kNumDecimal, p, sc)
		n.mayNull = b.opt.Nonfinite == NonfiniteNull
		return n
	}
	switch s.over.word {
	case "float64", "strict":
		return float(s.over.word == "strict")
	case "decimal":
		return decimal(s.over.precision, s.over.scale)
	}
	if b.opt.TypeMap == DDPP {
		return float(false)
	}
	if p, sc, ok := numericTypmod(s.typmod); ok {
		if sc < 0 { // 15 and later: rounded left of the point
			p, sc = p-sc, 0
		}
		if p = max(p, sc); p > 76 {
			return text(false, fmt.Sprintf("text: %d digits are more than a decimal has", p))
		}
		return decimal(p, sc)
	}
	switch b.opt.Numeric.Mode {
	case NumericText:
		return text(false, "")
	case NumericDecimal:
		return decimal(b.opt.Numeric.Precision, b.opt.Numeric.Scale)
	}
	return float(b.opt.Numeric.Mode == NumericStrict)
}

func (b *builder) money(s spec) *node { return decimalNode(kMoney, 19, s.money) }

// infText is a date or time as its text.
func (b *builder) infText() *node {
	n := leafNode(kInfText, arrow.BinaryTypes.String, 0)
	n.textOnly, n.count = true, true
	n.note = "text, so that infinity and 24:00:00 have a place"
	return n
}

func moment(k kind, t arrow.DataType, width int) func(*builder, spec) *node {
	return func(b *builder, _ spec) *node {
		if b.opt.Infinity == InfinityText {
			return b.infText()
		}
		n := leafNode(k, t, width)
		n.mayNull = b.opt.Infinity == InfinityNull
		return n
	}
}

func (b *builder) timetz(spec) *node {
	if b.opt.Infinity == InfinityText {
		return b.infText()
	}
	n := structNode(kTimetz, []string{"time", "offset"},
		leafNode(kTime, arrow.FixedWidthTypes.Time64us, 8), leafNode(kInt32, arrow.PrimitiveTypes.Int32, 4))
	n.mayNull = b.opt.Infinity == InfinityNull
	return n
}

func (b *builder) interval(s spec) *node {
	form := b.opt.Interval
	if b.opt.TypeMap == DDPP {
		form = IntervalDuration
	}
	switch s.over.word {
	case "struct":
		form = IntervalStruct
	case "duration":
		form = IntervalDuration
	}
	if b.opt.Infinity == InfinityText {
		return b.infText()
	}
	var n *node
	if form == IntervalDuration {
		n = leafNode(kDuration, arrow.FixedWidthTypes.Duration_us, 8)
	} else {
		n = structNode(kInterval, []string{"months", "days", "microseconds"},
			leafNode(kInt32, arrow.PrimitiveTypes.Int32, 4), leafNode(kInt32, arrow.PrimitiveTypes.Int32, 4), leafNode(kInt64, arrow.PrimitiveTypes.Int64, 8))
	}
	n.mayNull = b.opt.Infinity == InfinityNull
	return n
}
