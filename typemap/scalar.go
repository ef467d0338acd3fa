package typemap

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"fast-export/internal/pgbin"
)

// infinite is what becomes of an infinite date or time: errNull, an error, or nil with clamp set.
func (d *Decoder) infinite(n *node, value string) (clamp bool, err error) {
	switch {
	case d.plan.inf == InfinityNull && !d.strict:
		d.counts(n).FellBack++
		return false, errNull
	case d.plan.inf == InfinityClamp && !d.strict:
		d.counts(n).Clamped++
		return true, nil
	}
	return false, badHint(value, infinityHint, "Parquet has no such value")
}

// nonfinite is what becomes of a NaN or an infinity in a decimal column.
func (d *Decoder) nonfinite(n *node, value string) error {
	if d.plan.nonfin == NonfiniteNull && !d.strict {
		d.counts(n).Nonfinite++
		return errNull
	}
	return badHint(value, "--numeric-nonfinite null|text says what to write instead", "no decimal is that")
}

func (d *Decoder) inexact(n *node, value func() string) error {
	if n.strict || d.strict {
		return badHint(value(), "--numeric text or --type COLUMN=text carries every digit", "no float64 whose shortest decimal is that number")
	}
	d.counts(n).Inexact++
	return nil
}

// putDate writes days since 1970.
func (c *cursor) putDate(days int64) { c.put32(uint32(int32(days))) }

func (d *Decoder) infiniteDate(n *node, c *cursor, neg bool) error {
	clamp, err := d.infinite(n, infinityText(neg))
	if clamp {
		end := int64(maxDate)
		if neg {
			end = minDate
		}
		c.putDate(end + epochDays)
	}
	return err
}

func (d *Decoder) infiniteStamp(n *node, c *cursor, neg bool) error {
	clamp, err := d.infinite(n, infinityText(neg))
	if clamp {
		end := int64(math.MaxInt64)
		if neg {
			end = minStamp + epochMicros
		}
		c.put64(uint64(end))
	}
	return err
}

// putTime writes a time of day, of which 24:00:00 is none to Parquet.
func (d *Decoder) putTime(n *node, c *cursor, us int64) error {
	if us == dayMicros {
		clamp, err := d.infinite(n, "24:00:00")
		if !clamp {
			return err
		}
		us--
	}
	c.put64(uint64(us))
	return nil
}

func (d *Decoder) putSpan(n *node, c *cursor, s span) error {
	if d.plan.endless(s) {
		clamp, err := d.infinite(n, infinityText(s == spanBegin))
		if clamp {
			c.put64(uint64(s.micros))
		}
		return err
	}
	us, err := s.duration()
	if err == nil {
		c.put64(uint64(us))
	}
	return err
}

// putString writes text to a leaf at any place.
func (d *Decoder) putString(n *node, c *cursor, v []byte) error {
	if !n.raw && !utf8.Valid(v) {
		var err error
		if v, err = d.repair(v, n.col); err != nil {
			return err
		}
	}
	c.putBytes(v)
	return nil
}

// charText is what charout prints from 16 on: a byte that is no ASCII as \ooo. Older servers print the byte itself, which
// is not text in any encoding; the file has one form for both.
func charText(b byte) []byte {
	switch {
	case b == 0:
		return nil
	case b < 0x80:
		return []byte{b}
	}
	return fmt.Appendf(nil, `\%03o`, b)
}

// trimPadding cuts the blanks off the end.
func trimPadding(v []byte) []byte {
	for len(v) > 0 && v[len(v)-1] == ' ' {
		v = v[:len(v)-1]
	}
	return v
}

// putDecimal writes a decimal.
func (n *node) putDecimal(c *cursor, w *wide, neg bool) { w.put(c.fixed(n.width), neg) }

// scalarBinary writes the value of one leaf from its binary form. Nothing of it is written when there is an error;
// errNull is one.
func (d *Decoder) scalarBinary(n *node, c *cursor, v []byte) error {
	need := func(size int) error {
		if len(v) != size {
			return badLength(len(v), size)
		}
		return nil
	}
	switch n.kind {
	case kBool:
		if len(v) != 1 || v[0] > 1 {
			return bad("not a boolean")
		}
		c.putBool(v[0] == 1)
	case kInt16:
		if err := need(2); err != nil {
			return err
		}
		c.put32(uint32(int32(int16(be.Uint16(v)))))
	case kInt32, kUint32:
		if err := need(4); err != nil {
			return err
		}
		c.put32(be.Uint32(v))
	case kInt64, kUint64:
		if err := need(8); err != nil {
			return err
		}
		c.put64(be.Uint64(v))
	case kFloat32:
		if err := need(4); err != nil {
			return err
		}
		c.put32(canon32(be.Uint32(v)))
	case kFloat64:
		if err := need(8); err != nil {
			return err
		}
		c.put64(canon64(be.Uint64(v)))
	case kText:
		return d.putString(n, c, v)
	case kTextTrim:
		return d.putString(n, c, trimPadding(v))
	case kVersioned:
		if len(v) < 1 || v[0] != 1 {
			return bad("a binary form other than version 1")
		}
		return d.putString(n, c, v[1:])
	case kChar:
		if err := need(1); err != nil {
			return err
		}
		c.putBytes(charText(v[0]))
	case kBytes:
		c.putBytes(v)
	case kUUID:
		if err := need(16); err != nil {
			return err
		}
		copy(c.fixed(16), v)
	case kDate:
		if err := need(4); err != nil {
			return err
		}
		x := int32(be.Uint32(v))
		switch {
		case x == math.MaxInt32 || x == math.MinInt32:
			return d.infiniteDate(n, c, x < 0)
		case x < minDate || x > maxDate:
			return bad("outside what Postgres's date holds")
		}
		c.putDate(int64(x) + epochDays)
	case kTime:
		if err := need(8); err != nil {
			return err
		}
		x := int64(be.Uint64(v))
		if x < 0 || x > dayMicros {
			return bad("not a time of day")
		}
		return d.putTime(n, c, x)
	case kStamp, kStampTZ:
		if err := need(8); err != nil {
			return err
		}
		x := int64(be.Uint64(v))
		switch {
		case x == math.MaxInt64 || x == math.MinInt64:
			return d.infiniteStamp(n, c, x < 0)
		case x < minStamp || x > maxStamp:
			return bad("outside what Postgres's timestamp holds")
		case x > maxFit:
			return badHint("", textHint, lateReason)
		}
		c.put64(uint64(x + epochMicros))
	case kDuration:
		s, err := spanBinary(v)
		if err != nil {
			return err
		}
		return d.putSpan(n, c, s)
	case kNumFloat, kNumDecimal, kNumText:
		w, err := readNumeric(v)
		if err != nil {
			return err
		}
		return d.numericBinary(n, c, &w)
	case kMoney:
		if err := need(8); err != nil {
			return err
		}
		x := int64(be.Uint64(v))
		w := wide{uint64(x)}
		if x < 0 {
			w[0] = -w[0]
		}
		n.putDecimal(c, &w, x < 0)
	case kBit:
		return c.build(8*len(v), func(dst []byte) ([]byte, error) { return appendBits(dst, v) })
	case kInet, kCidr:
		return c.build(48, func(dst []byte) ([]byte, error) { return appendInet(dst, v, n.kind == kCidr) })
	case kMAC:
		if err := need(n.width); err != nil {
			return err
		}
		return c.build(24, func(dst []byte) ([]byte, error) { return appendMAC(dst, v), nil })
	case kLSN:
		if err := need(8); err != nil {
			return err
		}
		return c.build(24, func(dst []byte) ([]byte, error) {
			return fmt.Appendf(dst, "%X/%X", be.Uint32(v), be.Uint32(v[4:])), nil
		})
	case kTID:
		if err := need(6); err != nil {
			return err
		}
		return c.build(24, func(dst []byte) ([]byte, error) {
			return fmt.Appendf(dst, "(%d,%d)", be.Uint32(v), be.Uint16(v[4:])), nil
		})
	case kGeo:
		g := &d.geo[d.plan.geo.at[n.col]]
		return c.build(len(v), func(dst []byte) ([]byte, error) { return toWKB(dst, v, g) })
	case kEWKB:
		c.putBytes(v)
	default: // kInfText and kViaText travel as text
		return bad("no binary form is read for this type")
	}
	return nil
}

const lateReason = "later than 294247-01-10 04:00:54.775807, the last that fits 64 bits of microseconds"

// spanBinary reads an interval. Source: interval_send in timestamp.c.
func spanBinary(v []byte) (span, error) {
	r := pgbin.New(v)
	s := span{micros: int64(r.Uint64()), days: r.Int32(), months: r.Int32()}
	if r.Done() != nil {
		return s, badLength(len(v), 16)
	}
	return s, nil
}

func (d *Decoder) numericBinary(n *node, c *cursor, w *numericWire) error {
	switch n.kind {
	case kNumFloat:
		b, exact, err := w.float64()
		if err != nil {
			return err
		}
		if !exact {
			if err := d.inexact(n, func() string { return excerpt(w.appendText(nil), true) }); err != nil {
				return err
			}
		}
		c.put64(b)
	case kNumDecimal:
		if !w.finite() {
			return d.nonfinite(n, w.special())
		}
		x, err := w.decimal(n.precision, n.scale)
		if err != nil {
			return err
		}
		n.putDecimal(c, &x, w.sign == numericNeg && x != wide{})
	default:
		if n.count && !w.finite() {
			if d.strict {
				return badHint(w.special(), "", "not finite, and strict")
			}
			d.counts(n).Nonfinite++
		}
		if n.precision > 0 && w.finite() {
			if _, err := w.decimal(n.precision, n.scale); err != nil {
				return err
			}
		}
		return c.build(64, func(dst []byte) ([]byte, error) { return w.appendText(dst), nil })
	}
	return nil
}

// parseInt reads a decimal integer between lo and hi.
func parseInt(v []byte, lo, hi int64) (int64, error) {
	p, neg := v, false
	if len(p) > 0 && p[0] == '-' {
		neg = true
		p = p[1:]
	}
	if len(p) == 0 || len(p) > 19 {
		return 0, bad("not an integer of the type")
	}
	var x uint64
	for _, c := range p {
		if c -= '0'; c > 9 {
			return 0, bad("not an integer of the type")
		}
		x = x*10 + uint64(c)
	}
	n := int64(x)
	if neg {
		n = -n
	}
	if x > 1<<63 || x == 1<<63 && !neg || n < lo || n > hi {
		return 0, bad("not an integer of the type")
	}
	return n, nil
}

// scalarText is scalarBinary for the text that the type's output function prints.
func (d *Decoder) scalarText(n *node, c *cursor, v []byte) error {
	switch n.kind {
	case kBool:
		if len(v) != 1 || v[0] != 't' && v[0] != 'f' {
			return bad("not a boolean")
		}
		c.putBool(v[0] == 't')
	case kInt16:
		x, err := parseInt(v, math.MinInt16, math.MaxInt16)
		if err != nil {
			return err
		}
		c.put32(uint32(int32(x)))
	case kInt32:
		x, err := parseInt(v, math.MinInt32, math.MaxInt32)
		if err != nil {
			return err
		}
		c.put32(uint32(int32(x)))
	case kUint32:
		x, err := parseInt(v, 0, math.MaxUint32)
		if err != nil {
			return err
		}
		c.put32(uint32(x))
	case kInt64:
		x, err := parseInt(v, math.MinInt64, math.MaxInt64)
		if err != nil {
			return err
		}
		c.put64(uint64(x))
	case kUint64:
		x, err := strconv.ParseUint(str(v), 10, 64)
		if err != nil || v[0] == '+' {
			return bad("not an unsigned integer")
		}
		c.put64(x)
	case kFloat32:
		x, err := parseFloat32(v)
		if err != nil {
			return err
		}
		c.put32(x)
	case kFloat64:
		x, err := parseFloat64(v)
		if err != nil {
			return err
		}
		c.put64(x)
	case kText, kVersioned:
		return d.putString(n, c, v)
	case kTextTrim:
		return d.putString(n, c, trimPadding(v))
	case kChar:
		if len(v) == 1 {
			v = charText(v[0])
		} else if len(v) != 0 && (len(v) != 4 || v[0] != '\\') {
			return bad("not the text of a single byte")
		}
		c.putBytes(v)
	case kBytes:
		return putHex(c, v)
	case kUUID:
		return putUUID(c, v)
	case kDate:
		if neg, ok := isInfinity(v); ok {
			return d.infiniteDate(n, c, neg)
		}
		x, err := parseDate(v)
		if err != nil {
			return err
		}
		c.putDate(x)
	case kTime:
		us, rest, ok := scanTime(v)
		if !ok || len(rest) > 0 || us > dayMicros {
			return bad("not a time of day")
		}
		return d.putTime(n, c, us)
	case kStamp, kStampTZ:
		if neg, ok := isInfinity(v); ok {
			return d.infiniteStamp(n, c, neg)
		}
		x, err := parseStamp(v, n.kind == kStampTZ)
		if err != nil {
			return err
		}
		c.put64(uint64(x))
	case kDuration:
		s, err := parseSpan(v)
		if err != nil {
			return err
		}
		return d.putSpan(n, c, s)
	case kInfText:
		return d.putInfText(n, c, v)
	case kNumFloat:
		b, exact, err := floatFromText(v)
		if err != nil {
			return err
		}
		if !exact {
			if err := d.inexact(n, func() string { return excerpt(v, true) }); err != nil {
				return err
			}
		}
		c.put64(b)
	case kNumDecimal:
		switch string(v) {
		case "NaN", "Infinity", "-Infinity":
			return d.nonfinite(n, string(v))
		}
		w, neg, err := decimalFromText(v, n.precision, n.scale)
		if err != nil {
			return err
		}
		n.putDecimal(c, &w, neg && w != wide{})
	case kNumText:
		return d.putNumText(n, c, v)
	case kMoney:
		return n.putMoney(c, v)
	case kBit:
		for _, b := range v {
			if b != '0' && b != '1' {
				return bad("not a bit string")
			}
		}
		c.putBytes(v)
	case kInet, kCidr, kMAC, kLSN, kTID:
		return d.putString(n, c, v)
	case kGeo:
		w, err := d.unhex(n, v)
		if err != nil {
			return err
		}
		g := &d.geo[d.plan.geo.at[n.col]]
		return c.build(len(w), func(dst []byte) ([]byte, error) { return toWKB(dst, w, g) })
	case kEWKB:
		w, err := d.unhex(n, v)
		if err != nil {
			return err
		}
		c.putBytes(w)
	default:
		return bad("no text form is read for this type")
	}
	return nil
}

func (d *Decoder) unhex(n *node, v []byte) ([]byte, error) {
	buf := append(d.shrink(d.scratch[n.id][:0]), make([]byte, hex.DecodedLen(len(v)))...)
	d.scratch[n.id] = buf
	if _, err := hex.Decode(buf, v); err != nil {
		return nil, errEWKB
	}
	return buf, nil
}

// putHex writes a bytea that was printed with bytea_output hex.
func putHex(c *cursor, v []byte) error {
	if len(v) < 2 || v[0] != '\\' || v[1] != 'x' {
		return badHint("", "the session must have bytea_output hex", "not a bytea in hexadecimal")
	}
	n := hex.DecodedLen(len(v) - 2)
	if c.n+4+n > len(c.buf) {
		c.grow(4 + n)
	}
	if _, err := hex.Decode(c.buf[c.n+4:], v[2:]); err != nil {
		return bad("not a bytea in hexadecimal")
	}
	le.PutUint32(c.buf[c.n:], uint32(n))
	c.n += 4 + n
	return nil
}

func putUUID(c *cursor, v []byte) error {
	if len(v) != 36 || v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
		return bad("not a UUID")
	}
	var digits [32]byte
	n := 0
	for _, b := range v {
		if b == '-' {
			continue
		}
		if n == 32 {
			return bad("not a UUID")
		}
		digits[n] = b
		n++
	}
	var out [16]byte
	if _, err := hex.Decode(out[:], digits[:n]); n != 32 || err != nil {
		return bad("not a UUID")
	}
	copy(c.fixed(16), out[:])
	return nil
}

func (d *Decoder) putInfText(n *node, c *cursor, v []byte) error {
	_, inf := isInfinity(v)
	if n.count && (inf || len(v) >= 8 && string(v[:8]) == "24:00:00") {
		if d.strict {
			return badHint(string(v), "", "Parquet has no such value, and strict")
		}
		d.counts(n).FellBack++
	}
	c.putBytes(v)
	return nil
}

func (d *Decoder) putNumText(n *node, c *cursor, v []byte) error {
	switch string(v) {
	default:
		if n.precision > 0 {
			if _, _, err := decimalFromText(v, n.precision, n.scale); err != nil {
				return err
			}
		}
	case "NaN", "Infinity", "-Infinity":
		if n.count {
			if d.strict {
				return badHint(string(v), "", "not finite, and strict")
			}
			d.counts(n).Nonfinite++
		}
	}
	c.putBytes(v)
	return nil
}

// putMoney reads money in whatever way lc_monetary prints it: all its digits in order are the number of smallest units,
// since the number of decimals never varies; a minus sign or parentheses make it negative. Source: cash_out in cash.c.
func (n *node) putMoney(c *cursor, v []byte) error {
	var x uint64
	digits, neg := 0, false
	for i := 0; i < len(v); i++ {
		switch b := v[i]; {
		case b >= '0' && b <= '9':
			if digits++; digits > 19+n.scale {
				return bad("not an amount of money")
			}
			if x > (math.MaxUint64-9)/10 {
				return bad("not an amount of money")
			}
			x = x*10 + uint64(b-'0')
		case b == '-' || b == '(':
			neg = true
		case b == 0xE2 && i+2 < len(v) && v[i+1] == 0x88 && v[i+2] == 0x92: // U+2212, the minus sign of some locales
			neg = true
		}
	}
	if digits <= n.scale || x > 1<<63 || x == 1<<63 && !neg {
		return bad("not an amount of money")
	}
	w := wide{x}
	n.putDecimal(c, &w, neg && x != 0)
	return nil
}
