package typemap

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

const highBits = 0x8080808080808080

// binaryFields decodes the fields of the current row from d.field on, as far as p has them whole, and gives the rest.
// d.field says where it came to.
//
// The loop is the export's hottest. It knows the kinds that tables are made of, where all is as it nearly always is:
// no call but one for a run of NULLs, no interface, no allocation, and the way to the next field is a constant, which a processor that guesses the
// branches need not wait for. Everything else is binaryField's.
func (d *Decoder) binaryFields(p []byte) ([]byte, error) {
	cols := d.cols
	for i := d.field; i < len(cols); i++ {
		c := &cols[i]
		if len(p) >= 4 {
			l := be.Uint32(p)
			if l == nullLength { // seldom alone
				j := i + 1
				p = p[4:]
				for len(p) >= 8 && j+1 < len(cols) && be.Uint64(p) == math.MaxUint64 {
					p = p[8:]
					j += 2
				}
				if len(p) >= 4 && j < len(cols) && be.Uint32(p) == nullLength {
					p = p[4:]
					j++
				}
				d.setNulls(i, j-i)
				i = j - 1
				continue
			}
			switch c.kind {
			case kFloat64:
				if l == 8 && len(p) >= 12 && c.n+8 <= len(c.buf) {
					le.PutUint64(c.buf[c.n:], canon64(be.Uint64(p[4:])))
					c.n += 8
					p = p[12:]
					continue
				}
			case kFloat32:
				if l == 4 && len(p) >= 8 && c.n+4 <= len(c.buf) {
					le.PutUint32(c.buf[c.n:], canon32(be.Uint32(p[4:])))
					c.n += 4
					p = p[8:]
					continue
				}
			case kInt64:
				if l == 8 && len(p) >= 12 && c.n+8 <= len(c.buf) {
					le.PutUint64(c.buf[c.n:], be.Uint64(p[4:]))
					c.n += 8
					p = p[12:]
					continue
				}
			case kInt32, kUint32:
				if l == 4 && len(p) >= 8 && c.n+4 <= len(c.buf) {
					le.PutUint32(c.buf[c.n:], be.Uint32(p[4:]))
					c.n += 4
					p = p[8:]
					continue
				}
			case kInt16:
				if l == 2 && len(p) >= 6 && c.n+4 <= len(c.buf) {
					le.PutUint32(c.buf[c.n:], uint32(int32(int16(be.Uint16(p[4:])))))
					c.n += 4
					p = p[6:]
					continue
				}
			case kBool:
				if l == 1 && len(p) >= 5 && p[4] <= 1 && c.n < len(c.buf) {
					c.buf[c.n] = p[4]
					c.n++
					p = p[5:]
					continue
				}
			case kText:
				if l > 16 || len(p) < 20 || c.n+20 > len(c.buf) {
					break
				}
				// Sixteen bytes at once, whatever lies behind the value: cheaper than a copy of l.
				a, b := le.Uint64(p[4:]), le.Uint64(p[12:])
				w := c.buf[c.n : c.n+20]
				le.PutUint32(w, l)
				le.PutUint64(w[4:], a)
				le.PutUint64(w[12:], b)
				if l <= 8 {
					a <<= (8 - l) * 8
					b = 0
				} else {
					b <<= (16 - l) * 8
				}
				if (a|b)&highBits != 0 && !c.raw {
					break
				}
				c.n += 4 + int(l)
				p = p[4+l:]
				continue
			case kStamp, kStampTZ:
				if l == 8 && len(p) >= 12 && c.n+8 <= len(c.buf) {
					x := int64(be.Uint64(p[4:]))
					if x < minStamp || x > maxFit {
						break
					}
					le.PutUint64(c.buf[c.n:], uint64(x+epochMicros))
					c.n += 8
					p = p[12:]
					continue
				}
			case kNumFloat:
				if l <= 16 && len(p) >= 4+int(l) && c.n+8 <= len(c.buf) {
					f, ok := quickNumeric(p[4 : 4+l])
					if !ok {
						break
					}
					le.PutUint64(c.buf[c.n:], f)
					c.n += 8
					p = p[4+l:]
					continue
				}
			}
		}
		k, err := d.binaryField(i, p)
		if err != nil || k == 0 {
			d.field = i
			return p, err
		}
		p = p[k:]
	}
	d.field = len(cols)
	return p, nil
}

const nullLength = 0xFFFFFFFF // of a field, in binary

// binaryField decodes a field of any kind and form and tells how many bytes it is, 0 when p ends first.
func (d *Decoder) binaryField(i int, p []byte) (int, error) {
	if len(p) < 4 {
		return 0, nil
	}
	c := &d.cols[i]
	l := int(int32(be.Uint32(p)))
	if l < 0 {
		if l != -1 {
			return 0, d.stream("has a field of %d bytes in column %q", l, d.plan.Columns[i].Name)
		}
		d.setNulls(i, 1)
		return 4, nil
	}
	if l > len(p)-4 {
		return 0, nil
	}
	v := p[4 : 4+l]
	var err error
	if c.kind == kText {
		err = d.putText(c, v, i)
	} else {
		err = d.slowBinary(i, v)
	}
	if err != nil {
		return 0, d.wrap(i, v, err)
	}
	return 4 + l, nil
}

func badLength(have, want int) error { return bad("a value of %d bytes, not %d", have, want) }

// quickNumeric is numericWire.float64 for numbers of at most 15 digits within four digits of base 10,000 and powers of
// ten that a float64 has exactly: their shortest decimal is the same number. Others are not ok.
func quickNumeric(v []byte) (b uint64, ok bool) {
	if len(v) < 10 || len(v) > 16 {
		return 0, false
	}
	nd, w := int(be.Uint16(v)), int(int16(be.Uint16(v[2:])))
	sign := be.Uint16(v[4:])
	if len(v) != 8+2*nd || sign&^numericNeg != 0 {
		return 0, false
	}
	var m, most uint64
	for q := v[8:]; len(q) >= 2; q = q[2:] {
		x := uint64(be.Uint16(q))
		most = max(most, x)
		m = m*10000 + x
	}
	e := 4 * (w - nd + 1)
	if most > 9999 || m >= 1e15 || m == 0 || uint(e+22) > 44 {
		return 0, false
	}
	f := float64(m)
	if e < 0 {
		f /= exact10[-e]
	} else {
		f *= exact10[e]
	}
	return math.Float64bits(f) | uint64(sign)<<49, true
}

// putText writes text, checked to be UTF-8, to a column of one leaf.
func (d *Decoder) putText(c *cursor, v []byte, col int) error {
	d.grown(4 + len(v))
	if n := len(v); n >= 8 && n <= 1024 {
		if c.n+4+n > len(c.buf) {
			c.grow(4 + n)
		}
		if copyASCII(c.buf[c.n+4:c.n+4+n], v) {
			le.PutUint32(c.buf[c.n:], uint32(n))
			c.n += 4 + n
			return nil
		}
	}
	if !c.raw && !utf8.Valid(v) {
		var err error
		if v, err = d.repair(v, col); err != nil {
			return err
		}
	}
	c.putBytes(v)
	return nil
}

// copyASCII copies v, of at least eight bytes, and tells whether it is all ASCII: one pass in place of two.
func copyASCII(dst, v []byte) bool {
	dst = dst[:len(v)]
	var high uint64
	i := 0
	for ; i < len(v)-8; i += 8 {
		x := le.Uint64(v[i:])
		high |= x
		le.PutUint64(dst[i:], x)
	}
	x := le.Uint64(v[len(v)-8:]) // bytes may come twice
	le.PutUint64(dst[len(v)-8:], x)
	return (high|x)&highBits == 0
}

// repair is what becomes of text that is not UTF-8.
func (d *Decoder) repair(v []byte, col int) ([]byte, error) {
	at := 0
	for at < len(v) {
		r, n := utf8.DecodeRune(v[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	if d.plan.utf8 != InvalidUTF8Replace || d.strict {
		return nil, badHint("", "--invalid-utf8 replace|binary says what to write instead", "not UTF-8 from byte %d on", at)
	}
	d.batch.Counts[col].Replaced++
	return bytes.ToValidUTF8(v, []byte("\uFFFD")), nil
}

// slowBinary decodes a value of any kind.
func (d *Decoder) slowBinary(i int, v []byte) error {
	n, c := d.plan.nodes[i], &d.cols[i]
	if c.kind == kViaText {
		return d.slowText(i, v)
	}
	before := d.held(i)
	if c.deep {
		if err := d.nestedBinary(n, v, 0); err != nil {
			return err
		}
	} else if err := d.orNull(n, i, d.scalarBinary(n, c, v)); err != nil {
		return err
	}
	d.grown(d.held(i) - before)
	return nil
}

// slowText is slowBinary for a value's text.
func (d *Decoder) slowText(i int, v []byte) error {
	n, c := d.plan.nodes[i], &d.cols[i]
	if c.kind == kViaBinary {
		if len(v) < 2 || v[0] != '\\' || v[1] != 'x' {
			return bad("not a binary form in hexadecimal")
		}
		var err error
		if d.wire, err = hex.AppendDecode(d.shrink(d.wire[:0]), v[2:]); err != nil {
			return bad("not a binary form in hexadecimal")
		}
		v = d.wire
	}
	before := d.held(i)
	if c.kind == kViaBinary {
		if err := d.nestedBinary(n, v, 0); err != nil {
			return err
		}
	} else if c.deep {
		if err := d.nestedText(n, v, 0); err != nil {
			return err
		}
	} else if err := d.orNull(n, i, d.scalarText(n, c, v)); err != nil {
		return err
	}
	d.grown(d.held(i) - before)
	return nil
}

// orNull lets a value become NULL that an option makes one. err is what became of writing it.
func (d *Decoder) orNull(n *node, i int, err error) error {
	if err == errNull && n.nullable {
		d.setNulls(i, 1)
		d.made[i/64] |= 1 << (i % 64)
		return nil
	}
	return err
}

// grown adds to what large values have brought. Small ones do not count: which of them come by here depends on where the stream is cut
// and on how much room a buffer has, and batches must not.
func (d *Decoder) grown(n int) {
	if n > smallValue {
		d.big += int64(n)
	}
}

const smallValue = 4 + 16 // bytes in a column

// held is the size of a column's content in the batch.
func (d *Decoder) held(i int) int {
	if !d.cols[i].deep {
		return d.cols[i].n
	}
	n, sum := d.plan.nodes[i], 0
	for l := n.leafLo; l < n.leafHi; l++ {
		sum += d.leafs[l].n + len(d.leafs[l].def)
	}
	return sum
}

// csvFields is binaryFields for CSV. Numbers are read where they stand, eight digits at a time, without looking for the
// field's end first; everything that is not the usual form falls through to csvField.
func (d *Decoder) csvFields(p []byte) ([]byte, error) {
	cols := d.cols
	last := len(cols) - 1
	want := byte(',')
	padded := false
	for i := d.field; i < len(cols); i++ {
		if i == last {
			want = '\n'
		}
		if len(p) < quickBytes && !padded {
			p, padded = d.pad(p), true
		}
		c := &cols[i]
		if len(p) > 0 && p[0] == want { // nothing at all is NULL
			k := 1
			for i+k < last && k < len(p) && p[k] == ',' {
				k++
			}
			d.setNulls(i, k)
			i += k - 1
			p = p[k:]
			continue
		}
		if len(p) > 0 {
			var k int
			q := p[:quickBytes]
			switch c.kind {
			case kFloat64:
				var x uint64
				if x, k = quickFloat64(q, want); k > 0 {
					if c.n+8 > len(c.buf) {
						c.grow(8)
					}
					le.PutUint64(c.buf[c.n:], x)
					c.n += 8
				}
			case kFloat32:
				var x uint32
				if x, k = quickFloat32(q, want); k > 0 {
					if c.n+4 > len(c.buf) {
						c.grow(4)
					}
					le.PutUint32(c.buf[c.n:], x)
					c.n += 4
				}
			case kNumFloat:
				var x uint64
				if x, k = quickDecimal(q, want); k > 0 {
					if c.n+8 > len(c.buf) {
						c.grow(8)
					}
					le.PutUint64(c.buf[c.n:], x)
					c.n += 8
				}
			case kInt64:
				var x int64
				if x, k = quickInt(q, want); k > 0 {
					if c.n+8 > len(c.buf) {
						c.grow(8)
					}
					le.PutUint64(c.buf[c.n:], uint64(x))
					c.n += 8
				}
			case kInt32, kInt16, kUint32:
				var x int64
				if x, k = quickInt(q, want); k > 0 && (c.kind == kInt32 && x == int64(int32(x)) || c.kind == kInt16 && x == int64(int16(x)) || c.kind == kUint32 && x == int64(uint32(x))) {
					if c.n+4 > len(c.buf) {
						c.grow(4)
					}
					le.PutUint32(c.buf[c.n:], uint32(x))
					c.n += 4
				} else {
					k = 0
				}
			case kBool:
				if x := q[0] ^ 't'; q[1] == want && (x == 0 || q[0] == 'f') {
					if c.n == len(c.buf) {
						c.grow(1)
					}
					c.buf[c.n] = 0
					if x == 0 {
						c.buf[c.n] = 1
					}
					c.n++
					k = 1
				}
			case kText:
				// Sixteen bytes at once, as in binaryFields.
				a, b := le.Uint64(q), le.Uint64(q[8:])
				n := bits.TrailingZeros64(special(a)) >> 3
				if n == 8 {
					n += bits.TrailingZeros64(special(b)) >> 3
				}
				if n == 16 || q[n] != want {
					break
				}
				high := a
				if n <= 8 {
					high <<= uint(8-n) * 8
				} else {
					high |= b << (uint(16-n) * 8)
				}
				if high&highBits != 0 && !c.raw {
					break
				}
				if c.n+20 > len(c.buf) {
					c.grow(20)
				}
				w := c.buf[c.n : c.n+20]
				le.PutUint32(w, uint32(n))
				le.PutUint64(w[4:], a)
				le.PutUint64(w[12:], b)
				c.n += 4 + n
				k = n
			case kStamp, kStampTZ:
				var x int64
				if x, k = quickStamp(q, want, c.kind == kStampTZ); k > 0 {
					if c.n+8 > len(c.buf) {
						c.grow(8)
					}
					le.PutUint64(c.buf[c.n:], uint64(x))
					c.n += 8
				}
			}
			if k > 0 {
				p = p[k+1:]
				continue
			}
		}
		rest, ok, err := d.csvField(i, p)
		if err != nil {
			return p, err
		}
		if !ok {
			d.field = i
			return p, nil
		}
		p = rest
	}
	d.field = len(cols)
	return p, nil
}

// pad copies what is left of the input, less than quickBytes, to where the quick readers may read words behind its end.
// There are zeros, which no reader takes for a digit or an end.
func (d *Decoder) pad(p []byte) []byte {
	n := copy(d.tail[:], p)
	clear(d.tail[n:])
	return d.tail[:n]
}

// csvField decodes a field of any kind and form and gives what follows the byte behind it; ok is false when p ends first.
func (d *Decoder) csvField(i int, p []byte) (rest []byte, ok bool, err error) {
	if len(p) == 0 {
		return nil, false, nil
	}
	c := &d.cols[i]
	var v []byte
	var end byte
	unquote := false
	if p[0] == '"' {
		k, escaped := quotedEnd(p)
		if k < 0 {
			return nil, false, nil
		}
		v, end, rest = p[1:k-1], p[k], p[k+1:]
		if escaped && c.kind != kText {
			d.unquoted = appendUnquoted(slices.Grow(d.shrink(d.unquoted[:0]), len(v)), v)
			v = d.unquoted
		}
		unquote = escaped && c.kind == kText
	} else {
		k := bareEnd(p)
		if k == len(p) {
			return nil, false, nil
		}
		if p[k] == '"' || p[k] == '\r' {
			return nil, false, d.stream("has the byte %q in a field without quotes, in column %q", p[k], d.plan.Columns[i].Name)
		}
		v, end, rest = p[:k], p[k], p[k+1:]
	}
	if (end == '\n') != (i == len(d.cols)-1) || end != ',' && end != '\n' {
		return nil, false, d.csvShape(i, end)
	}
	if len(v) == 0 && p[0] != '"' {
		d.setNulls(i, 1)
		return rest, true, nil
	}
	switch {
	case unquote:
		v, err = d.putUnquoted(c, v, i)
	case c.kind == kText:
		err = d.putText(c, v, i)
	default:
		err = d.slowText(i, v)
	}
	if err != nil {
		return nil, false, d.wrap(i, v, err)
	}
	return rest, true, nil
}

// putUnquoted is putText for a CSV field with doubled quotes, which it takes out on the way into the column. It gives the text
// that the field stands for.
func (d *Decoder) putUnquoted(c *cursor, v []byte, col int) ([]byte, error) {
	if c.n+4+len(v) > len(c.buf) {
		c.grow(4 + len(v))
	}
	text := appendUnquoted(c.buf[c.n+4:c.n+4], v)
	d.grown(4 + len(text))
	if !c.raw && !utf8.Valid(text) {
		fixed, err := d.repair(text, col)
		if err != nil {
			return text, err
		}
		c.putBytes(fixed)
	} else {
		le.PutUint32(c.buf[c.n:], uint32(len(text)))
		c.n += 4 + len(text)
	}
	return text, nil
}

// bareEnd gives the index of the byte that ends a field without quotes, the length of p when there is none. A quote or a
// carriage return ends it, too: the server writes neither outside quotes.
func bareEnd(p []byte) int {
	i := 0
	for ; i+8 <= len(p); i += 8 {
		if m := special(le.Uint64(p[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(p); i++ {
		if b := p[i]; b == ',' || b == '\n' || b == '"' || b == '\r' {
			break
		}
	}
	return i
}

// csvShape is the error for a field that something else ends than should.
func (d *Decoder) csvShape(i int, end byte) error {
	switch end {
	case ',':
		return d.stream("has more than the row's %d fields", len(d.cols))
	case '\n':
		return d.stream("has a row of %d fields, not %d", i+1, len(d.cols))
	}
	return d.stream("has the byte %q behind a closing quote in column %q", end, d.plan.Columns[i].Name)
}

// quotedEnd gives the index of the byte behind the closing quote of a field, -1 when p does not say yet. escaped tells
// that the field has doubled quotes.
func quotedEnd(p []byte) (end int, escaped bool) {
	for i := 1; ; {
		k := bytes.IndexByte(p[i:], '"')
		if k < 0 || i+k+1 == len(p) {
			return -1, false
		}
		i += k + 1
		if p[i] != '"' {
			return i, escaped
		}
		escaped = true
		i++
	}
}

// appendUnquoted appends v with each doubled quote made one.
func appendUnquoted(dst, v []byte) []byte {
	for {
		k := bytes.IndexByte(v, '"')
		if k < 0 {
			return append(dst, v...)
		}
		dst = append(dst, v[:k+1]...)
		v = v[min(k+2, len(v)):]
	}
}
