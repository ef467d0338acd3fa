package parquetw

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// appendBools packs bytes of 0 or 1 into bits, least significant bit first.
func appendBools(dst, v []byte) []byte {
	for ; len(v) >= 8; v = v[8:] {
		// the product gathers the lowest bit of each byte in the topmost byte
		dst = append(dst, byte(le.Uint64(v)*0x0102040810204080>>56))
	}
	if len(v) > 0 {
		var x byte
		for i, b := range v {
			x |= b << i
		}
		dst = append(dst, x)
	}
	return dst
}

// appendSplit appends BYTE_STREAM_SPLIT of v, values of 4 or 8 bytes: first all first bytes, then all second ones, …
// Source: https://parquet.apache.org/docs/file-format/data-pages/encodings/#BYTESTREAMSPLIT
func appendSplit(dst, v []byte, width int) []byte {
	at := len(dst)
	dst = grow(dst, len(v))
	if width == 4 {
		split4(dst[at:], v, len(v)/4)
	} else {
		split8(dst[at:], v, len(v)/8)
	}
	return dst
}

// split8 transposes eight values at a time as an 8x8 matrix of bytes in eight words: a store a stream for eight values
// in place of one a byte.
func split8(out, v []byte, n int) {
	const (
		m32 = 0x00000000ffffffff
		m16 = 0x0000ffff0000ffff
		m8  = 0x00ff00ff00ff00ff
	)
	s0, s1, s2, s3 := out[:n], out[n:2*n], out[2*n:3*n], out[3*n:4*n]
	s4, s5, s6, s7 := out[4*n:5*n], out[5*n:6*n], out[6*n:7*n], out[7*n:8*n]
	i := 0
	for ; i+8 <= n; i += 8 {
		p := v[8*i : 8*i+64 : 8*i+64]
		a, b, c, d := le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[24:])
		e, f, g, h := le.Uint64(p[32:]), le.Uint64(p[40:]), le.Uint64(p[48:]), le.Uint64(p[56:])
		a, e = a&m32|e<<32, a>>32|e&^m32
		b, f = b&m32|f<<32, b>>32|f&^m32
		c, g = c&m32|g<<32, c>>32|g&^m32
		d, h = d&m32|h<<32, d>>32|h&^m32

		a, c = a&m16|(c&m16)<<16, a>>16&m16|c&^m16
		b, d = b&m16|(d&m16)<<16, b>>16&m16|d&^m16
		e, g = e&m16|(g&m16)<<16, e>>16&m16|g&^m16
		f, h = f&m16|(h&m16)<<16, f>>16&m16|h&^m16

		le.PutUint64(s0[i:], a&m8|(b&m8)<<8)
		le.PutUint64(s1[i:], a>>8&m8|b&^m8)
		le.PutUint64(s2[i:], c&m8|(d&m8)<<8)
		le.PutUint64(s3[i:], c>>8&m8|d&^m8)
		le.PutUint64(s4[i:], e&m8|(f&m8)<<8)
		le.PutUint64(s5[i:], e>>8&m8|f&^m8)
		le.PutUint64(s6[i:], g&m8|(h&m8)<<8)
		le.PutUint64(s7[i:], g>>8&m8|h&^m8)
	}
	for ; i < n; i++ {
		x := le.Uint64(v[8*i:])
		s0[i], s1[i], s2[i], s3[i] = byte(x), byte(x>>8), byte(x>>16), byte(x>>24)
		s4[i], s5[i], s6[i], s7[i] = byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56)
	}
}

// split4 is split8 for values of four bytes, two 4x4 matrices side by side in four words.
func split4(out, v []byte, n int) {
	const (
		m16 = 0x0000ffff0000ffff
		m8  = 0x00ff00ff00ff00ff
	)
	s0, s1, s2, s3 := out[:n], out[n:2*n], out[2*n:3*n], out[3*n:4*n]
	i := 0
	for ; i+8 <= n; i += 8 {
		p := v[4*i : 4*i+32 : 4*i+32]
		a := uint64(le.Uint32(p)) | uint64(le.Uint32(p[16:]))<<32
		b := uint64(le.Uint32(p[4:])) | uint64(le.Uint32(p[20:]))<<32
		c := uint64(le.Uint32(p[8:])) | uint64(le.Uint32(p[24:]))<<32
		d := uint64(le.Uint32(p[12:])) | uint64(le.Uint32(p[28:]))<<32

		a, c = a&m16|(c&m16)<<16, a>>16&m16|c&^m16
		b, d = b&m16|(d&m16)<<16, b>>16&m16|d&^m16

		le.PutUint64(s0[i:], a&m8|(b&m8)<<8)
		le.PutUint64(s1[i:], a>>8&m8|b&^m8)
		le.PutUint64(s2[i:], c&m8|(d&m8)<<8)
		le.PutUint64(s3[i:], c>>8&m8|d&^m8)
	}
	for ; i < n; i++ {
		x := le.Uint32(v[4*i:])
		s0[i], s1[i], s2[i], s3[i] = byte(x), byte(x>>8), byte(x>>16), byte(x>>24)
	}
}

const (
	deltaBlock = 128 // values of a block of DELTA_BINARY_PACKED
	deltaMini  = 32  // values of a miniblock
)

// appendDelta appends DELTA_BINARY_PACKED of v, integers of 4 or 8 bytes. Differences wrap around in the value's width.
// Source: https://parquet.apache.org/docs/file-format/data-pages/encodings/#DELTAENC
func appendDelta(dst, v []byte, width int) []byte {
	dst = binary.AppendUvarint(dst, deltaBlock)
	dst = binary.AppendUvarint(dst, deltaBlock/deltaMini)
	dst = binary.AppendUvarint(dst, uint64(len(v)/width))
	if len(v) == 0 {
		return append(dst, 0)
	}
	var ds [deltaBlock]int64
	if width == 4 {
		prev := int32(le.Uint32(v))
		dst = binary.AppendVarint(dst, int64(prev))
		for v = v[4:]; len(v) > 0; {
			n := min(deltaBlock, len(v)/4)
			lo := int32(math.MaxInt32)
			in := v[:4*n]
			for i := range ds[:n] {
				x := int32(le.Uint32(in[4*i:]))
				d := x - prev
				ds[i] = int64(d)
				prev = x
				lo = min(lo, d)
			}
			dst = appendDeltaBlock(dst, &ds, n, int64(lo), math.MaxUint32)
			v = v[4*n:]
		}
		return dst
	}
	prev := int64(le.Uint64(v))
	dst = binary.AppendVarint(dst, prev)
	for v = v[8:]; len(v) > 0; {
		n := min(deltaBlock, len(v)/8)
		lo := int64(math.MaxInt64)
		in := v[:8*n]
		for i := range ds[:n] {
			x := int64(le.Uint64(in[8*i:]))
			d := x - prev
			ds[i] = d
			prev = x
			lo = min(lo, d)
		}
		dst = appendDeltaBlock(dst, &ds, n, lo, math.MaxUint64)
		v = v[8*n:]
	}
	return dst
}

// appendDeltaBlock writes one block of n differences, of which lo is the least. mask is as wide as the values are. What
// lies behind the last difference is packed as zeros up to the end of its miniblock; a miniblock without any has width 0
// and no bytes.
func appendDeltaBlock(dst []byte, ds *[deltaBlock]int64, n int, lo int64, mask uint64) []byte {
	dst = binary.AppendVarint(dst, lo)
	for i := n; i < deltaBlock; i++ {
		ds[i] = lo
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for k := 0; k*deltaMini < n; k++ {
		mini := (*[deltaMini]int64)(ds[k*deltaMini:])
		var all uint64
		for i, d := range mini {
			u := uint64(d-lo) & mask
			mini[i] = int64(u)
			all |= u
		}
		w := bits.Len64(all)
		dst[at+k] = byte(w)
		dst = append32(dst, mini, w)
	}
	return dst
}

// appendTexts appends v, PLAIN byte arrays, as DELTA_LENGTH_BYTE_ARRAY: their lengths by appendDelta, then the bytes; or with front as
// DELTA_BYTE_ARRAY: how many bytes each has in common with the beginning of the one before it, by appendDelta, then what is
// left of each in that form.
// Source: https://parquet.apache.org/docs/file-format/data-pages/encodings/#DELTALENGTHBYTEARRAY and #DELTABYTEARRAY
func appendTexts(dst, v []byte, front bool, s *scratch) []byte {
	ls, ps := s.trial[:0], s.prefixes[:0]
	var last []byte
	for at := 0; at < len(v); {
		l := int(le.Uint32(v[at:]))
		value := v[at+4 : at+4+l]
		p := 0
		if front {
			p = sharedPrefix(last, value)
			ps = le.AppendUint32(ps, uint32(p))
			last = asLast(value)
		}
		ls = le.AppendUint32(ls, uint32(l-p))
		at += 4 + l
	}
	s.trial, s.prefixes = ls, ps
	if front {
		dst = appendDelta(dst, ps, 4)
	}
	dst = appendDelta(dst, ls, 4)
	for at := 0; at < len(v); ls = ls[4:] {
		end := at + 4 + int(le.Uint32(v[at:]))
		dst = append(dst, v[end-int(le.Uint32(ls)):end]...)
		at = end
	}
	return dst
}

// front tells whether the byte arrays of a column chunk leave out what they have in common with the beginning of the one before.
type front uint8

const (
	undecided front = iota
	shared
	distinct
)

// maxLast is the longest value that the next one may be compared with.
const maxLast = 64 << 10

// asLast is a value as the next one may begin like it: not at all like a long one, which nobody is to keep.
func asLast(v []byte) []byte {
	if len(v) > maxLast {
		return nil
	}
	return v
}

// sharedPrefix is how many bytes two values have in common at their beginning.
func sharedPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := le.Uint64(a[i:]) ^ le.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// beginAlike tells whether it is worth leaving out how PLAIN byte arrays begin: what they have in common with the one before is more
// than a sixteenth of them.
func beginAlike(v []byte) front {
	var last []byte
	common := 0
	for at := 0; at < len(v); {
		end := at + 4 + int(le.Uint32(v[at:]))
		common += sharedPrefix(last, v[at+4:end])
		last = asLast(v[at+4 : end])
		at = end
	}
	if common > len(v)/16 {
		return shared
	}
	return distinct
}

// append32 appends 32 values of so many bits each.
func append32(dst []byte, v *[deltaMini]int64, width int) []byte {
	if width == 0 {
		return dst
	}
	at := len(dst)
	dst = grow(dst, 4*width+8)
	out := dst[at:]
	var acc uint64
	var n uint
	w := uint(width)
	for _, x := range v {
		acc |= uint64(x) << n
		if n += w; n >= 64 {
			le.PutUint64(out, acc)
			out = out[8:]
			n -= 64
			acc = uint64(x) >> (w - n) // a shift by 64, where nothing is left over, gives 0
		}
	}
	le.PutUint64(out, acc)
	return dst[:at+4*width]
}
