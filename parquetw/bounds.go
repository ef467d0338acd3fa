package parquetw

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"fast-export/internal/column"
)

// order is how the values of a leaf compare, as the Parquet format defines it for their type.
// Source: ColumnOrder in parquet.thrift
type order uint8

const (
	orderNone    order = iota // no order is defined, or none that says anything: no minimum, no maximum
	orderBool                 // false before true
	orderInt32                // signed
	orderUint32               // unsigned
	orderInt64                // signed
	orderUint64               // unsigned
	orderFloat32              // by number; NaN is left out
	orderFloat64              // by number; NaN is left out
	orderFloat16              // by number; NaN is left out
	orderBytes                // byte by byte, unsigned
	orderText                 // the same, and bounds stay valid UTF-8
	orderDecimal              // big-endian two's complement of a fixed width
)

// maxBound is the length above which a minimum or maximum of bytes is shortened. As other writers have it.
const maxBound = 64

// orderOf tells how the values of a leaf compare. f is the Arrow field whose values they are.
func orderOf(l *column.Leaf, c *schema.Column, f arrow.Field) order {
	if opaque(f) {
		return orderNone
	}
	lt := c.LogicalType()
	if c.ConvertedType() == schema.ConvertedTypes.Interval {
		return orderNone
	}
	switch l.Physical {
	case column.Bool:
		return orderBool
	case column.Int32, column.Int64:
		unsigned := false
		if t, ok := lt.(schema.IntLogicalType); ok {
			unsigned = !t.IsSigned()
		}
		switch {
		case l.Physical == column.Int32 && unsigned:
			return orderUint32
		case l.Physical == column.Int32:
			return orderInt32
		case unsigned:
			return orderUint64
		}
		return orderInt64
	case column.Float32:
		return orderFloat32
	case column.Float64:
		return orderFloat64
	}
	if l.Physical == column.Fixed && l.Width > maxBound {
		return orderNone // a shortened bound would be no value of the type
	}
	switch lt.(type) {
	case schema.StringLogicalType, schema.JSONLogicalType, schema.EnumLogicalType:
		return orderText
	case schema.DecimalLogicalType:
		if c.PhysicalType() == parquet.Types.FixedLenByteArray {
			return orderDecimal
		}
		return orderNone
	case schema.Float16LogicalType:
		return orderFloat16
	case schema.UUIDLogicalType, schema.BSONLogicalType, schema.NoLogicalType, schema.UnknownLogicalType, nil:
		return orderBytes
	}
	return orderNone
}

// opaque tells that a field's bytes have a structure of their own, so that their byte order says nothing: geometry.
func opaque(f arrow.Field) bool {
	name, _ := f.Metadata.GetValue("ARROW:extension:name")
	if t, ok := f.Type.(arrow.ExtensionType); ok {
		name = t.ExtensionName()
	}
	return len(name) > 9 && name[:9] == "geoarrow." || name == "ogc.wkb"
}

// bounds are the least and the greatest of some values, each kept in the form that its order compares fastest.
//
// A NaN takes the bounds away for good. The format says to leave NaN out of them, but then readers go wrong: for x <= 5
// DuckDB 1.5.5 takes every row of a row group whose maximum is 5, the NaN too, and pyarrow 26.0.1 counts it.
type bounds struct {
	has, nan bool
	// The values as numbers whose order is theirs: booleans as 0 and 1, unsigned integers with the topmost bit flipped,
	// floats by sortable, bytes by prefix.
	lo, hi   int64
	blo, bhi []byte // bytes: the first maxBound+1 of them, enough to tell whether more follow
}

func (b *bounds) reset() { b.has, b.nan, b.blo, b.bhi = false, false, b.blo[:0], b.bhi[:0] }

const signBit = math.MinInt64

// sortable turns the bits of a float64 into a number that orders as it does, -0 below 0, and back again. NaN is beyond
// the infinities, at either end.
func sortable(u int64) int64 { return u ^ int64(uint64(u>>63)>>1) }

// sortable32 is sortable for float32.
func sortable32(u int32) int32 { return u ^ int32(uint32(u>>31)>>1) }

const (
	positiveInfinity64 = 0x7ff0000000000000
	positiveInfinity32 = 0x7f800000
	negativeInfinity64 = -positiveInfinity64 - 1 // sortable
	negativeInfinity32 = -positiveInfinity32 - 1
)

func (b *bounds) words(lo, hi int64) {
	if !b.has {
		b.has, b.lo, b.hi = true, lo, hi
		return
	}
	b.lo, b.hi = min(b.lo, lo), max(b.hi, hi)
}

// add takes in PLAIN values of a fixed width.
func (b *bounds) add(o order, v []byte, width int) {
	if len(v) == 0 {
		return
	}
	switch o {
	case orderNone:
	case orderBool:
		lo, hi := int64(1), int64(0)
		if bytes.IndexByte(v, 0) >= 0 {
			lo = 0
		}
		if bytes.IndexByte(v, 1) >= 0 {
			hi = 1
		}
		b.words(lo, hi)
	case orderInt32:
		lo, hi := int32(math.MaxInt32), int32(math.MinInt32)
		for ; len(v) >= 16; v = v[16:] {
			w, x, y, z := int32(le.Uint32(v)), int32(le.Uint32(v[4:])), int32(le.Uint32(v[8:])), int32(le.Uint32(v[12:]))
			lo, hi = min(lo, min(w, x), min(y, z)), max(hi, max(w, x), max(y, z))
		}
		for ; len(v) >= 4; v = v[4:] {
			x := int32(le.Uint32(v))
			lo, hi = min(lo, x), max(hi, x)
		}
		b.words(int64(lo), int64(hi))
	case orderUint32:
		lo, hi := uint32(math.MaxUint32), uint32(0)
		for ; len(v) >= 4; v = v[4:] {
			x := le.Uint32(v)
			lo, hi = min(lo, x), max(hi, x)
		}
		b.words(int64(lo), int64(hi))
	case orderInt64, orderUint64:
		flip := int64(0)
		if o == orderUint64 {
			flip = signBit
		}
		lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
		for ; len(v) >= 32; v = v[32:] {
			w, x := int64(le.Uint64(v))^flip, int64(le.Uint64(v[8:]))^flip
			y, z := int64(le.Uint64(v[16:]))^flip, int64(le.Uint64(v[24:]))^flip
			lo, hi = min(lo, min(w, x), min(y, z)), max(hi, max(w, x), max(y, z))
		}
		for ; len(v) >= 8; v = v[8:] {
			x := int64(le.Uint64(v)) ^ flip
			lo, hi = min(lo, x), max(hi, x)
		}
		b.words(lo, hi)
	case orderFloat32:
		if b.nan {
			return
		}
		lo, hi := int32(math.MaxInt32), int32(math.MinInt32)
		for ; len(v) >= 8; v = v[8:] {
			x, y := sortable32(int32(le.Uint32(v))), sortable32(int32(le.Uint32(v[4:])))
			lo, hi = min(lo, x, y), max(hi, x, y)
		}
		for ; len(v) >= 4; v = v[4:] {
			x := sortable32(int32(le.Uint32(v)))
			lo, hi = min(lo, x), max(hi, x)
		}
		if lo < negativeInfinity32 || hi > positiveInfinity32 {
			b.nan = true
			return
		}
		b.words(int64(lo), int64(hi))
	case orderFloat64:
		if b.nan {
			return
		}
		lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
		for ; len(v) >= 16; v = v[16:] {
			x, y := sortable(int64(le.Uint64(v))), sortable(int64(le.Uint64(v[8:])))
			lo, hi = min(lo, x, y), max(hi, x, y)
		}
		for ; len(v) >= 8; v = v[8:] {
			x := sortable(int64(le.Uint64(v)))
			lo, hi = min(lo, x), max(hi, x)
		}
		if lo < negativeInfinity64 || hi > positiveInfinity64 {
			b.nan = true
			return
		}
		b.words(lo, hi)
	case orderFloat16:
		for ; len(v) >= 2; v = v[2:] {
			x := fromHalf(le.Uint16(v))
			if math.IsNaN(x) {
				b.nan = true
				return
			}
			s := sortable(int64(math.Float64bits(x)))
			b.words(s, s)
		}
	case orderBytes, orderText, orderDecimal:
		for ; len(v) >= width && width > 0; v = v[width:] {
			b.addBytes(o, v[:width])
		}
	}
}

// prefix is the first eight bytes of v as a number that orders as they do.
func prefix(o order, v []byte) int64 {
	var x uint64
	if len(v) >= 8 {
		x = binary.BigEndian.Uint64(v)
	} else {
		for i, c := range v {
			x |= uint64(c) << (56 - 8*i)
		}
	}
	if o == orderDecimal {
		return int64(x)
	}
	return int64(x) ^ signBit
}

// addBytes takes in one value of an order over bytes.
func (b *bounds) addBytes(o order, v []byte) {
	p := prefix(o, v)
	if b.has && p > b.lo && p < b.hi {
		return
	}
	if len(v) > maxBound+1 {
		v = v[:maxBound+1]
	}
	if !b.has {
		b.has, b.lo, b.hi = true, p, p
		b.blo, b.bhi = append(b.blo[:0], v...), append(b.bhi[:0], v...)
		return
	}
	// behind equal prefixes the rest compares byte by byte in every order
	if p < b.lo || p == b.lo && bytes.Compare(v, b.blo) < 0 {
		b.lo, b.blo = p, append(b.blo[:0], v...)
	}
	if p > b.hi || p == b.hi && bytes.Compare(v, b.bhi) > 0 {
		b.hi, b.bhi = p, append(b.bhi[:0], v...)
	}
}

// merge takes in what p has seen.
func (b *bounds) merge(o order, p *bounds) {
	b.nan = b.nan || p.nan
	if !p.has {
		return
	}
	switch o {
	case orderBytes, orderText, orderDecimal:
		b.addBytes(o, p.blo)
		b.addBytes(o, p.bhi)
	default:
		b.words(p.lo, p.hi)
	}
}

// encoded are bounds as a footer or an index holds them: PLAIN, without a length.
type encoded struct {
	has                bool
	min, max           []byte
	minExact, maxExact bool // the bound is a value; else it is one that is less, or greater, than all
}

// encode gives b in its PLAIN form, shortened where it is long; slab is where the bytes go.
func (b *bounds) encode(o order, slab *[]byte) encoded {
	if !b.has || b.nan {
		return encoded{}
	}
	out := encoded{has: true, minExact: true, maxExact: true}
	at := len(*slab)
	s := *slab
	cut := at
	switch o {
	case orderBool:
		s = append(s, byte(b.lo))
		cut = len(s)
		s = append(s, byte(b.hi))
	case orderInt32, orderUint32:
		s = le.AppendUint32(s, uint32(b.lo))
		cut = len(s)
		s = le.AppendUint32(s, uint32(b.hi))
	case orderInt64, orderUint64:
		lo, hi := b.lo, b.hi
		if o == orderUint64 {
			lo, hi = lo^signBit, hi^signBit
		}
		s = le.AppendUint64(s, uint64(lo))
		cut = len(s)
		s = le.AppendUint64(s, uint64(hi))
	case orderFloat32, orderFloat64, orderFloat16:
		lo, hi := b.number(o, b.lo), b.number(o, b.hi)
		// The format wants zeros as -0 and +0, whichever the values have: a bound of the other sign is no value.
		if lo == 0 {
			out.minExact = math.Signbit(lo)
			lo = math.Copysign(0, -1)
		}
		if hi == 0 {
			out.maxExact = !math.Signbit(hi)
			hi = 0
		}
		switch o {
		case orderFloat32:
			s = le.AppendUint32(s, math.Float32bits(float32(lo)))
			cut = len(s)
			s = le.AppendUint32(s, math.Float32bits(float32(hi)))
		case orderFloat64:
			s = le.AppendUint64(s, math.Float64bits(lo))
			cut = len(s)
			s = le.AppendUint64(s, math.Float64bits(hi))
		default:
			s = le.AppendUint16(s, toHalf(lo))
			cut = len(s)
			s = le.AppendUint16(s, toHalf(hi))
		}
	case orderBytes, orderText, orderDecimal:
		lo := b.blo
		if len(lo) > maxBound {
			out.minExact = false
			lo = lo[:maxBound]
			if o == orderText {
				lo = wholeRunes(lo)
			}
		}
		s = append(s, lo...)
		cut = len(s)
		if len(b.bhi) <= maxBound {
			s = append(s, b.bhi...)
			break
		}
		out.maxExact = false
		var ok bool
		if s, ok = appendAbove(s, b.bhi[:maxBound], o == orderText); !ok {
			*slab = s[:at]
			return encoded{} // nothing of this length is above 0xff, 0xff, …
		}
	}
	out.min, out.max = s[at:cut:cut], s[cut:len(s):len(s)]
	*slab = s
	return out
}

// number is the float of a bound.
func (b *bounds) number(o order, bound int64) float64 {
	if o == orderFloat32 {
		return float64(math.Float32frombits(uint32(sortable32(int32(bound)))))
	}
	return math.Float64frombits(uint64(sortable(bound)))
}

// wholeRunes drops the beginning of a rune at the end of v.
func wholeRunes(v []byte) []byte {
	for i := 1; i <= utf8.UTFMax && i <= len(v); i++ {
		if c := v[len(v)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(v[len(v)-i:]) {
				return v[:len(v)-i]
			}
			return v
		}
	}
	return v
}

// appendAbove appends something short that is greater than everything that begins with v; in valid UTF-8 if text.
// There is nothing such for a v of nothing but the greatest byte or rune.
func appendAbove(dst, v []byte, text bool) ([]byte, bool) {
	if text && utf8.Valid(wholeRunes(v)) {
		v = wholeRunes(v)
		for len(v) > 0 {
			r, n := utf8.DecodeLastRune(v)
			v = v[:len(v)-n]
			if r == 0xd7ff {
				r = 0xdfff // the next one that is no surrogate
			}
			if r < utf8.MaxRune {
				return utf8.AppendRune(append(dst, v...), r+1), true
			}
		}
		return dst, false
	}
	for n := len(v); n > 0; n-- {
		if v[n-1] != 0xff {
			dst = append(dst, v[:n]...)
			dst[len(dst)-1]++
			return dst, true
		}
	}
	return dst, false
}

// compareEncoded compares two bounds of one order as encode wrote them.
func compareEncoded(o order, a, b []byte) int {
	switch o {
	case orderBool:
		return int(a[0]) - int(b[0])
	case orderInt32:
		return compare(int32(le.Uint32(a)), int32(le.Uint32(b)))
	case orderUint32:
		return compare(le.Uint32(a), le.Uint32(b))
	case orderInt64:
		return compare(int64(le.Uint64(a)), int64(le.Uint64(b)))
	case orderUint64:
		return compare(le.Uint64(a), le.Uint64(b))
	case orderFloat32:
		return compare(math.Float32frombits(le.Uint32(a)), math.Float32frombits(le.Uint32(b)))
	case orderFloat64:
		return compare(math.Float64frombits(le.Uint64(a)), math.Float64frombits(le.Uint64(b)))
	case orderFloat16:
		return compare(fromHalf(le.Uint16(a)), fromHalf(le.Uint16(b)))
	case orderDecimal:
		if d := compare(int8(a[0]), int8(b[0])); d != 0 {
			return d
		}
	}
	return bytes.Compare(a, b)
}

func compare[T int8 | int32 | uint32 | int64 | uint64 | float32 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// fromHalf is the number that an IEEE 754 binary16 stands for.
func fromHalf(h uint16) float64 {
	exp, frac := int(h>>10&0x1f), float64(h&0x3ff)
	var x float64
	switch exp {
	case 0:
		x = math.Ldexp(frac, -24)
	case 0x1f:
		if frac != 0 {
			return math.NaN()
		}
		x = math.Inf(1)
	default:
		x = math.Ldexp(1024+frac, exp-25)
	}
	if h&0x8000 != 0 {
		return -x
	}
	return x
}

// toHalf is the inverse of fromHalf, for numbers that came from it.
func toHalf(x float64) uint16 {
	var sign uint16
	if math.Signbit(x) {
		sign, x = 0x8000, -x
	}
	switch {
	case math.IsInf(x, 1):
		return sign | 0x7c00
	case x < 0x1p-14:
		return sign | uint16(math.Ldexp(x, 24))
	}
	frac, exp := math.Frexp(x) // frac in [0.5, 1)
	return sign | uint16(exp+14)<<10 | uint16(math.Ldexp(frac, 11))&0x3ff
}
