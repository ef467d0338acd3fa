package colchunk

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

var errRuns = errors.New("run lengths are damaged")

// hybrid reads the RLE and bit-packing hybrid of levels and dictionary indexes.
type hybrid struct {
	buf   []byte // runs still to come
	width uint   // bits of a value, at most 32
	rle   int    // values left in the current run of equal values
	value uint32 // and what they are
	bp    int    // values left in the current bit-packed run
	bits  []byte // its bytes
	pos   uint   // bit position in them
}

func newHybrid(buf []byte, width uint) hybrid { return hybrid{buf: buf, width: width} }

// fill makes sure that the current run has a value.
func (h *hybrid) fill() error {
	for h.rle == 0 && h.bp == 0 {
		head, n := binary.Uvarint(h.buf)
		if n <= 0 {
			return errRuns
		}
		h.buf = h.buf[n:]
		count := head >> 1
		if count > 1<<31 {
			return errRuns
		}
		if head&1 == 0 {
			w := int(h.width+7) / 8
			if len(h.buf) < w {
				return errRuns
			}
			h.value = 0
			for i := range w {
				h.value |= uint32(h.buf[i]) << (8 * i)
			}
			if h.width < 32 && h.value>>h.width != 0 {
				return errRuns
			}
			h.buf, h.rle = h.buf[w:], int(count)
			continue
		}
		size := count * uint64(h.width)
		if size > uint64(len(h.buf)) {
			// Some writers leave out the padding of the last group.
			size = uint64(len(h.buf))
			if h.width > 0 {
				count = (size*8/uint64(h.width) + 7) / 8
			}
		}
		h.bits, h.buf = h.buf[:size], h.buf[size:]
		h.bp, h.pos = int(count)*8, 0
		if h.width > 0 {
			h.bp = min(h.bp, int(size*8/uint64(h.width)))
		}
	}
	return nil
}

// skip passes n values.
func (h *hybrid) skip(n int) error {
	for n > 0 {
		if err := h.fill(); err != nil {
			return err
		}
		if m := min(n, h.rle); m > 0 {
			h.rle -= m
			n -= m
			continue
		}
		m := min(n, h.bp)
		h.bp -= m
		h.pos += uint(m) * h.width
		n -= m
	}
	return nil
}

// read fills out.
func (h *hybrid) read(out []uint32) error {
	for len(out) > 0 {
		if err := h.fill(); err != nil {
			return err
		}
		if m := min(len(out), h.rle); m > 0 {
			for i := range out[:m] {
				out[i] = h.value
			}
			h.rle -= m
			out = out[m:]
			continue
		}
		m := min(len(out), h.bp)
		h.unpack(out[:m])
		h.bp -= m
		out = out[m:]
	}
	return nil
}

// unpack reads bit-packed values; fill has made sure that they are there.
func (h *hybrid) unpack(out []uint32) {
	mask := uint64(1)<<h.width - 1
	pos, w, b := h.pos, h.width, h.bits
	i := 0
	for ; i < len(out) && int(pos>>3)+8 <= len(b); i++ {
		out[i] = uint32(binary.LittleEndian.Uint64(b[pos>>3:]) >> (pos & 7) & mask)
		pos += w
	}
	for ; i < len(out); i++ {
		var tail [8]byte
		copy(tail[:], b[min(int(pos>>3), len(b)):])
		out[i] = uint32(binary.LittleEndian.Uint64(tail[:]) >> (pos & 7) & mask)
		pos += w
	}
	h.pos = pos
}

// readBits reads n one-bit values into bitmap from bit at on, where it is clear, and counts the ones.
func (h *hybrid) readBits(bitmap []byte, at, n int) (ones int, err error) {
	for n > 0 {
		if err := h.fill(); err != nil {
			return 0, err
		}
		if m := min(n, h.rle); m > 0 {
			if h.value != 0 {
				setBits(bitmap, at, m)
				ones += m
			}
			h.rle -= m
			at, n = at+m, n-m
			continue
		}
		m := min(n, h.bp)
		ones += copyBits(bitmap, at, h.bits, int(h.pos), m)
		h.pos += uint(m)
		h.bp -= m
		at, n = at+m, n-m
	}
	return ones, nil
}

// countBits passes n one-bit values and counts the ones.
func (h *hybrid) countBits(n int) (ones int, err error) {
	for n > 0 {
		if err := h.fill(); err != nil {
			return 0, err
		}
		if m := min(n, h.rle); m > 0 {
			if h.value != 0 {
				ones += m
			}
			h.rle -= m
			n -= m
			continue
		}
		m := min(n, h.bp)
		ones += popCount(h.bits, int(h.pos), m)
		h.pos += uint(m)
		h.bp -= m
		n -= m
	}
	return ones, nil
}

// setBits sets n bits from bit at on.
func setBits(b []byte, at, n int) {
	for ; n > 0 && at&7 != 0; n-- {
		b[at>>3] |= 1 << (at & 7)
		at++
	}
	for ; n >= 8; n -= 8 {
		b[at>>3] = 0xff
		at += 8
	}
	for ; n > 0; n-- {
		b[at>>3] |= 1 << (at & 7)
		at++
	}
}

// copyBits copies n bits of src from bit from on to dst from bit at on, where dst is clear, and counts the ones.
func copyBits(dst []byte, at int, src []byte, from, n int) (ones int) {
	for n > 0 {
		// Eight bits of the source that begin anywhere, put into at most two bytes.
		m := min(n, 8-at&7)
		v := uint(src[from>>3]) >> (from & 7)
		if from&7+m > 8 {
			v |= uint(src[from>>3+1]) << (8 - from&7)
		}
		v &= 1<<m - 1
		dst[at>>3] |= byte(v << (at & 7))
		ones += bits.OnesCount(v)
		at, from, n = at+m, from+m, n-m
	}
	return ones
}

// popCount counts the ones among n bits of b from bit from on.
func popCount(b []byte, from, n int) (ones int) {
	for ; n > 0 && from&7 != 0; n-- {
		ones += int(b[from>>3] >> (from & 7) & 1)
		from++
	}
	for ; n >= 64; n -= 64 {
		ones += bits.OnesCount64(binary.LittleEndian.Uint64(b[from>>3:]))
		from += 64
	}
	for ; n >= 8; n -= 8 {
		ones += bits.OnesCount8(b[from>>3])
		from += 8
	}
	for ; n > 0; n-- {
		ones += int(b[from>>3] >> (from & 7) & 1)
		from++
	}
	return ones
}
