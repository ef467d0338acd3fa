package typemap

import (
	"bytes"
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"fast-export/internal/pgbin"
)

// This file is for messages alone: it turns a value's binary form into the text that the server's output function prints, so
// that a value is shown alike whatever the transport.

// maxText is about where a container's text ends: a message shows much less. Each level of quotes may double what is
// within, so that a value of some hundred bytes could have a text of gigabytes.
const maxText = 4 << 10

// shown is a value for a message: its text in quotes, shortened; hexadecimal where the binary form has no text that we know.
func (n *node) shown(v []byte, text bool) string {
	if !text {
		t, ok := n.appendText(nil, v)
		if !ok {
			return excerpt(v, false)
		}
		v = t
	}
	return excerpt(v, true)
}

// appendText appends what the type's output function prints for the binary form v. It is false for what is malformed, and for
// money, whose text depends on the server's locale.
func (n *node) appendText(dst, v []byte) ([]byte, bool) {
	r := pgbin.New(v)
	done := func() ([]byte, bool) { return dst, r.Done() == nil }
	switch n.kind {
	case kBool:
		if r.Uint8() == 1 {
			dst = append(dst, 't')
		} else {
			dst = append(dst, 'f')
		}
		return done()
	case kInt16:
		dst = strconv.AppendInt(dst, int64(int16(r.Uint16())), 10)
		return done()
	case kInt32:
		dst = strconv.AppendInt(dst, int64(r.Int32()), 10)
		return done()
	case kInt64:
		dst = strconv.AppendInt(dst, int64(r.Uint64()), 10)
		return done()
	case kUint32:
		dst = strconv.AppendUint(dst, uint64(r.Uint32()), 10)
		return done()
	case kUint64:
		dst = strconv.AppendUint(dst, r.Uint64(), 10)
		return done()
	case kFloat32:
		dst = appendFloat(dst, float64(math.Float32frombits(r.Uint32())), 32)
		return done()
	case kFloat64:
		dst = appendFloat(dst, math.Float64frombits(r.Uint64()), 64)
		return done()
	case kText, kTextTrim, kInfText:
		return append(dst, v...), true
	case kVersioned:
		if r.Uint8() != 1 {
			return dst, false
		}
		return append(dst, v[1:]...), true
	case kChar:
		b := r.Uint8()
		dst = append(dst, charText(b)...)
		return done()
	case kBytes:
		return hex.AppendEncode(append(dst, `\x`...), v), true
	case kGeo, kEWKB:
		return append(dst, bytes.ToUpper(hex.AppendEncode(nil, v))...), true
	case kUUID:
		if len(v) != 16 {
			return dst, false
		}
		for i, b := range v {
			if i == 4 || i == 6 || i == 8 || i == 10 {
				dst = append(dst, '-')
			}
			dst = hex.AppendEncode(dst, []byte{b})
		}
		return dst, true
	case kDate:
		x := r.Int32()
		if x == math.MaxInt32 || x == math.MinInt32 {
			dst = append(dst, infinityText(x < 0)...)
		} else {
			date, era := dateText(int64(x) + epochDays)
			dst = append(append(dst, date...), era...)
		}
		return done()
	case kTime:
		dst = append(dst, timeText(int64(r.Uint64()))...)
		return done()
	case kStamp, kStampTZ:
		zone := ""
		if n.kind == kStampTZ {
			zone = "+00"
		}
		x := int64(r.Uint64())
		if x == math.MaxInt64 || x == math.MinInt64 {
			dst = append(dst, infinityText(x < 0)...)
		} else {
			dst = append(dst, stampText(x, zone)...)
		}
		return done()
	case kTimetz:
		us, west := int64(r.Uint64()), int64(r.Int32())
		dst = append(append(dst, timeText(us)...), zoneText(-west)...)
		return done()
	case kDuration, kInterval:
		s, err := spanBinary(v)
		return append(dst, s.String()...), err == nil
	case kNumFloat, kNumDecimal, kNumText:
		w, err := readNumeric(v)
		if err != nil {
			return dst, false
		}
		return w.appendText(dst), true
	case kBit:
		dst, err := appendBits(dst, v)
		return dst, err == nil
	case kInet, kCidr:
		dst, err := appendInet(dst, v, n.kind == kCidr)
		return dst, err == nil
	case kMAC:
		return appendMAC(dst, v), len(v) == n.width
	case kLSN:
		dst = append(dst, strings.ToUpper(strconv.FormatUint(uint64(r.Uint32()), 16)+"/"+strconv.FormatUint(uint64(r.Uint32()), 16))...)
		return done()
	case kTID:
		dst = strconv.AppendUint(append(dst, '('), uint64(r.Uint32()), 10)
		dst = strconv.AppendUint(append(dst, ','), uint64(r.Uint16()), 10)
		dst = append(dst, ')')
		return done()
	case kFloats:
		dst = n.appendFloats(dst, &r)
		return done()
	case kPath:
		open, end := byte('['), byte(']')
		if r.Uint8() == 1 {
			open, end = '(', ')'
		}
		dst = append(n.children[1].appendPoints(append(dst, open), &r), end)
		return done()
	case kPolygon:
		dst = append(n.appendPoints(append(dst, '('), &r), ')')
		return done()
	case kStruct:
		if int(r.Int32()) != len(n.children) {
			return dst, false
		}
		for i, c := range n.children {
			if len(dst) > maxText {
				return dst, true
			}
			dst = append(dst, "(,"[min(i, 1)])
			r.Uint32()
			f, null := r.Value()
			if r.Err() != nil {
				return dst, false
			}
			if null {
				continue
			}
			t, ok := c.appendText(nil, f)
			if !ok {
				return dst, false
			}
			dst = appendItem(dst, t, "(),")
		}
		dst = append(dst, ')')
		return done()
	case kRange:
		flags := r.Uint8()
		if flags&rangeEmpty != 0 {
			dst = append(dst, "empty"...)
			return done()
		}
		dst = append(dst, "(["[flags&rangeLowerInc/rangeLowerInc])
		for i, inf := range [...]byte{rangeLowerInf, rangeUpperInf} {
			if i == 1 {
				dst = append(dst, ',')
			}
			if flags&inf != 0 {
				continue
			}
			b, null := r.Value()
			t, ok := n.children[i].appendText(nil, b)
			if null || !ok {
				return dst, false
			}
			dst = appendItem(dst, t, "()[],")
		}
		dst = append(dst, ")]"[flags&rangeUpperInc/rangeUpperInc])
		return done()
	case kMultirange:
		dst = append(dst, '{')
		for i := range r.Count(5) {
			if i > 0 {
				dst = append(dst, ',')
			}
			e, null := r.Value()
			var ok bool
			if dst, ok = n.children[0].appendText(dst, e); null || !ok {
				return dst, false
			}
		}
		dst = append(dst, '}')
		return done()
	case kList, kVector:
		return n.appendArray(dst, v)
	case kMap:
		for i := range r.Count(8) {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			k, null := r.Value()
			e, enull := r.Value()
			if r.Err() != nil || null {
				return dst, false
			}
			dst = append(appendEscaped(dst, k), "=>"...)
			if enull {
				dst = append(dst, "NULL"...)
			} else {
				dst = appendEscaped(dst, e)
			}
		}
		return done()
	case kFloatList, kHalfList:
		count := int(r.Uint16())
		r.Uint16()
		dst = append(dst, '[')
		for i := 0; i < count && r.Err() == nil; i++ {
			if i > 0 {
				dst = append(dst, ',')
			}
			var b uint32
			if n.kind == kHalfList {
				b = halfToFloat32(r.Uint16())
			} else {
				b = r.Uint32()
			}
			dst = appendFloat(dst, float64(math.Float32frombits(b)), 32)
		}
		dst = append(dst, ']')
		return done()
	}
	return dst, false
}

// appendArray prints an array of any number of dimensions and any bounds. Source: array_out in arrayfuncs.c.
func (n *node) appendArray(dst, v []byte) ([]byte, bool) {
	r := pgbin.New(v)
	dims := int(r.Int32())
	r.Int32()
	r.Uint32()
	if r.Err() != nil || dims < 0 || dims > 6 { // MAXDIM
		return dst, false
	}
	size, bounds, own := make([]int, dims), "", false
	for i := range size {
		size[i] = int(r.Int32())
		first := int64(r.Int32())
		own = own || first != 1
		bounds += "[" + strconv.FormatInt(first, 10) + ":" + strconv.FormatInt(first+int64(size[i])-1, 10) + "]"
		if r.Err() != nil || size[i] < 0 || size[i] == 0 && n.kind != kVector || size[i] > r.Len() {
			return dst, false
		}
	}
	if n.kind == kVector { // int2vectorout and oidvectorout show no bounds
		for i := 0; r.Err() == nil && r.Len() > 0; i++ {
			if i > 0 {
				dst = append(dst, ' ')
			}
			e, null := r.Value()
			var ok bool
			if dst, ok = n.children[0].appendText(dst, e); null || !ok {
				return dst, false
			}
		}
		return dst, r.Done() == nil
	}
	if dims == 0 {
		return append(dst, "{}"...), r.Done() == nil
	}
	if own {
		dst = append(append(dst, bounds...), '=')
	}
	var level func(int) bool
	level = func(depth int) bool {
		if len(dst) > maxText {
			return true
		}
		if depth == dims {
			e, null := r.Value()
			if r.Err() != nil {
				return false
			}
			if null {
				dst = append(dst, "NULL"...)
				return true
			}
			t, ok := n.children[0].appendText(nil, e)
			if !ok {
				return false
			}
			if len(t) == 0 || bytes.EqualFold(t, []byte("NULL")) || bytes.ContainsAny(t, "{}\"\\ \t\n\r\v\f"+string(n.delim)) {
				dst = appendEscaped(dst, t)
			} else {
				dst = append(dst, t...)
			}
			return true
		}
		dst = append(dst, '{')
		for i := range size[depth] {
			if i > 0 {
				dst = append(dst, n.delim)
			}
			if !level(depth + 1) {
				return false
			}
		}
		dst = append(dst, '}')
		return true
	}
	return dst, level(0) && (len(dst) > maxText || r.Done() == nil)
}

// appendItem appends a field of a record or a bound of a range, in quotes where it holds one of the special bytes.
func appendItem(dst, t []byte, special string) []byte {
	if len(t) > 0 && !bytes.ContainsAny(t, special+"\"\\ \t\n\r\v\f") {
		return append(dst, t...)
	}
	dst = append(dst, '"')
	for _, b := range t[:min(len(t), maxText)] {
		if b == '"' || b == '\\' {
			dst = append(dst, b)
		}
		dst = append(dst, b)
	}
	return append(dst, '"')
}

// appendEscaped appends t in quotes, with a backslash before quotes and backslashes.
func appendEscaped(dst, t []byte) []byte {
	dst = append(dst, '"')
	for _, b := range t[:min(len(t), maxText)] {
		if b == '"' || b == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, b)
	}
	return append(dst, '"')
}

func (n *node) appendFloats(dst []byte, r *pgbin.Reader) []byte {
	for _, b := range []byte(n.pattern) {
		if b == 'x' {
			dst = appendFloat(dst, math.Float64frombits(r.Uint64()), 64)
		} else {
			dst = append(dst, b)
		}
	}
	return dst
}

func (n *node) appendPoints(dst []byte, r *pgbin.Reader) []byte {
	for i := range r.Count(16) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = n.children[0].appendFloats(dst, r)
	}
	return dst
}

// appendFloat prints a float as float8out and float4out do with extra_float_digits above 0.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 0):
		if f < 0 {
			dst = append(dst, '-')
		}
		return append(dst, "Infinity"...)
	}
	last := 15 // the first power of ten that is written with an exponent
	if bits == 32 {
		last = 6
	}
	s := strconv.AppendFloat(nil, f, 'e', -1, bits)
	if exp, _ := strconv.Atoi(string(s[bytes.IndexByte(s, 'e')+1:])); f == 0 || exp >= -4 && exp < last { // AppendFloat's own digits
		return strconv.AppendFloat(dst, f, 'f', -1, bits)
	}
	return append(dst, s...)
}
