package typemap

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

var be = binary.BigEndian

// The sign words of numeric's wire form. Source: NUMERIC_POS and friends in numeric.c.
const (
	numericPos    = 0x0000
	numericNeg    = 0x4000
	numericNaN    = 0xC000
	numericPosInf = 0xD000
	numericNegInf = 0xF000
)

// numericWire is a numeric in binary form: digits of base 10,000, the first of which counts 10000^weight, and the number
// of decimals that it is shown with. Source: numeric_send in numeric.c.
type numericWire struct {
	digits []byte // two bytes each, big-endian
	weight int
	sign   uint16
	dscale int
}

func readNumeric(v []byte) (n numericWire, err error) {
	if len(v) < 8 {
		return n, bad("a numeric of %d bytes", len(v))
	}
	nd := int(be.Uint16(v))
	n = numericWire{digits: v[8:], weight: int(int16(be.Uint16(v[2:]))), sign: be.Uint16(v[4:]), dscale: int(be.Uint16(v[6:]))}
	if len(n.digits) != 2*nd {
		return n, bad("a numeric of %d digits in %d bytes", nd, len(v))
	}
	switch n.sign {
	case numericPos, numericNeg:
	case numericNaN, numericPosInf, numericNegInf:
		if nd != 0 {
			return n, bad("a numeric that is not finite and has digits")
		}
		return n, nil
	default:
		return n, bad("a numeric with the sign word %#x", n.sign)
	}
	if n.dscale > 16383 {
		return n, bad("a numeric with %d decimals", n.dscale)
	}
	for i := 0; i < len(n.digits); i += 2 {
		if d := be.Uint16(n.digits[i:]); d > 9999 {
			return n, bad("a numeric with the base-10000 digit %d", d)
		}
	}
	return n, nil
}

func (n *numericWire) finite() bool { return n.sign == numericPos || n.sign == numericNeg }

// special names a numeric that is not finite, as the server does.
func (n *numericWire) special() string {
	switch n.sign {
	case numericNaN:
		return "NaN"
	case numericPosInf:
		return "Infinity"
	}
	return "-Infinity"
}

// appendText appends what numeric_out prints.
func (n *numericWire) appendText(dst []byte) []byte {
	if !n.finite() {
		return append(dst, n.special()...)
	}
	if n.sign == numericNeg {
		dst = append(dst, '-')
	}
	digit := func(i int) int {
		if i < 0 || 2*i >= len(n.digits) {
			return 0
		}
		return int(be.Uint16(n.digits[2*i:]))
	}
	if n.weight < 0 {
		dst = append(dst, '0')
	} else {
		dst = strconv.AppendInt(dst, int64(digit(0)), 10)
		for i := 1; i <= n.weight; i++ {
			dst = append4(dst, digit(i))
		}
	}
	if n.dscale > 0 {
		dst = append(dst, '.')
		end := len(dst) + n.dscale
		for i := n.weight + 1; len(dst) < end; i++ {
			dst = append4(dst, digit(i))
		}
		dst = dst[:end]
	}
	return dst
}

func append4(dst []byte, d int) []byte {
	return append(dst, byte('0'+d/1000), byte('0'+d/100%10), byte('0'+d/10%10), byte('0'+d%10))
}

// float64 gives the bits of the nearest float64 and whether that float64's shortest decimal is the same number.
func (n *numericWire) float64() (b uint64, exact bool, err error) {
	switch n.sign {
	case numericNaN:
		return nan64, true, nil
	case numericPosInf:
		return math.Float64bits(math.Inf(1)), true, nil
	case numericNegInf:
		return math.Float64bits(math.Inf(-1)), true, nil
	}
	neg := n.sign == numericNeg
	d := n.digits
	for len(d) > 0 && be.Uint16(d[len(d)-2:]) == 0 {
		d = d[:len(d)-2]
	}
	if len(d) == 0 {
		return signed64(0, false), true, nil // numeric has no negative zero
	}
	e := 4 * (n.weight - len(d)/2 + 1)
	var m uint64
	for i := 0; i < len(d); i += 2 {
		if m > (math.MaxUint64-9999)/10000 {
			return floatFromText(n.appendText(nil))
		}
		m = m*10000 + uint64(be.Uint16(d[i:]))
	}
	if m >= 1e15 { // up to 15 digits need no look at the trailing zeros
		for m%10 == 0 {
			m /= 10
			e++
		}
	}
	return numericFloat(m, e, neg, nil)
}

func signed64(b uint64, neg bool) uint64 {
	if neg {
		return b | 1<<63
	}
	return b
}

// numericFloat is float64 for ±m·10^e. text is the number as text where it is at hand.
func numericFloat(m uint64, e int, neg bool, text []byte) (b uint64, exact bool, err error) {
	if m < 1e15 && uint(e+22) <= 44 {
		f, _ := decimalFloat(m, e)
		return signed64(math.Float64bits(f), neg), true, nil
	}
	f, ok := decimalFloat(m, e)
	if !ok {
		if text == nil {
			text = strconv.AppendUint(nil, m, 10)
			text = strconv.AppendInt(append(text, 'e'), int64(e), 10)
		}
		if f, err = strconv.ParseFloat(str(text), 64); err != nil {
			return 0, false, badHint("", "ask for text: --numeric text, or --type COLUMN=text", "beyond the range of a float64")
		}
		f = math.Abs(f)
	}
	return signed64(math.Float64bits(f), neg), shortestIs(f, m, e), nil
}

// shortestIs tells whether the shortest decimal that reads back as f (f ≥ 0) is m·10^e.
func shortestIs(f float64, m uint64, e int) bool {
	for m%10 == 0 && m > 0 {
		m /= 10
		e++
	}
	var buf [32]byte
	sm, se, _, _, _ := scanDecimal(strconv.AppendFloat(buf[:0], f, 'e', -1, 64))
	for sm%10 == 0 && sm > 0 {
		sm /= 10
		se++
	}
	return sm == m && se == e
}

// floatFromText is float64 for a numeric as the server prints it.
func floatFromText(v []byte) (b uint64, exact bool, err error) {
	m, e, neg, many, ok := scanDecimal(v)
	switch {
	case !ok:
		b, err = parseFloat64(v) // NaN and the infinities, which a float64 has
		return b, true, err
	case m == 0:
		return 0, true, nil
	case !many:
		return numericFloat(m, e, neg, v)
	}
	// More than 19 digits. Without the zeros at the end they may still be few.
	if d, x := significant(v); len(d) <= 19 {
		m = 0
		for _, c := range d {
			m = m*10 + uint64(c-'0')
		}
		return numericFloat(m, x, neg, v)
	}
	f, perr := strconv.ParseFloat(str(v), 64)
	if perr != nil {
		return 0, false, badHint("", "ask for text: --numeric text, or --type COLUMN=text", "beyond the range of a float64")
	}
	return math.Float64bits(f), false, nil // a shortest decimal has at most 17 digits
}

// significant gives the digits of a plain decimal without leading and trailing zeros, and the exponent of the last.
func significant(v []byte) (digits []byte, e int) {
	point := false
	for _, c := range v {
		switch {
		case c == '.':
			point = true
		case c >= '0' && c <= '9':
			if point {
				e--
			}
			if len(digits) > 0 || c != '0' {
				digits = append(digits, c)
			}
		}
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
		e++
	}
	return digits, e
}

// wide is an unsigned integer of 256 bits, least significant word first: room for 77 decimal digits.
type wide [4]uint64

// mulAdd sets w to w·mul + add and tells whether it still fits.
func (w *wide) mulAdd(mul, add uint64) bool {
	carry := add
	for i := range w {
		hi, lo := bits.Mul64(w[i], mul)
		var c uint64
		w[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c
	}
	return carry == 0
}

func (w *wide) less(o *wide) bool {
	for i := 3; i >= 0; i-- {
		if w[i] != o[i] {
			return w[i] < o[i]
		}
	}
	return false
}

// pow10 sets w to w·10^n and tells whether it still fits.
func (w *wide) pow10(n int) bool {
	for ; n > 0; n -= 19 {
		k := min(n, 19)
		if !w.mulAdd(uint10[k], 0) {
			return false
		}
	}
	return true
}

var uint10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// limit10 holds 10^p, the first number of p+1 digits.
var limit10 = func() (p [77]wide) {
	p[0] = wide{1}
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1]
		p[i].mulAdd(10, 0)
	}
	return p
}()

// put writes ±w as size bytes of big-endian two's complement, which is what Parquet's DECIMAL wants.
func (w *wide) put(dst []byte, neg bool) {
	v := *w
	if neg {
		c := uint64(1)
		for i := range v {
			v[i], c = bits.Add64(^v[i], 0, c)
		}
	}
	for i := len(dst) - 1; i >= 0; i-- {
		k := len(dst) - 1 - i
		dst[i] = byte(v[k>>3] >> (k & 7 * 8))
	}
}

const decimalHint = "--type COLUMN=text carries any number; --type COLUMN=decimal(p,s) a wider one"

// decimal gives |n|·10^scale when that is a whole number of at most precision digits.
func (n *numericWire) decimal(precision, scale int) (w wide, err error) {
	d := n.digits
	for len(d) > 0 && be.Uint16(d[len(d)-2:]) == 0 {
		d = d[:len(d)-2]
	}
	if len(d) == 0 {
		return w, nil
	}
	e := 4*(n.weight-len(d)/2+1) + scale // power of ten that the digits, read as one whole number, still lack
	last := uint64(be.Uint16(d[len(d)-2:]))
	mul := uint64(10000)
	if e < 0 {
		if e <= -4 || last%uint10[-e] != 0 {
			return w, badHint("", decimalHint, "more than %d decimals", scale)
		}
		last /= uint10[-e]
		mul = uint10[4+e]
	}
	ok := true
	for i := 0; i < len(d)-2 && ok; i += 2 {
		ok = w.mulAdd(10000, uint64(be.Uint16(d[i:])))
	}
	if ok = ok && w.mulAdd(mul, last); ok && e > 0 {
		ok = e <= 77 && w.pow10(e)
	}
	if !ok || !w.less(&limit10[precision]) {
		return w, badHint("", decimalHint, "more digits than decimal(%d,%d) has", precision, scale)
	}
	return w, nil
}

// decimalFromText is decimal for a finite number as the server prints it, without exponent.
func decimalFromText(v []byte, precision, scale int) (w wide, neg bool, err error) {
	i := 0
	if len(v) > 0 && v[0] == '-' {
		neg = true
		i = 1
	}
	var part uint64 // digits not yet in w
	held, decimals, seen := 0, 0, 0
	point, ok := false, true
	for ; i < len(v); i++ {
		c := v[i] - '0'
		if c > 9 {
			if v[i] != '.' || point || i == len(v)-1 {
				return w, false, bad("not a number")
			}
			point = true
			continue
		}
		seen++
		if point {
			if decimals == scale {
				if c != 0 {
					return w, false, badHint("", decimalHint, "more than %d decimals", scale)
				}
				continue
			}
			decimals++
		}
		part = part*10 + uint64(c)
		if held++; held == 19 {
			ok = ok && w.mulAdd(uint10[19], part)
			part, held = 0, 0
		}
	}
	if seen == 0 {
		return w, false, bad("not a number")
	}
	ok = ok && w.mulAdd(uint10[held], part) && w.pow10(scale-decimals)
	if !ok || !w.less(&limit10[precision]) {
		return w, false, badHint("", decimalHint, "more digits than decimal(%d,%d) has", precision, scale)
	}
	return w, neg, nil
}
