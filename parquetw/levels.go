package parquetw

import (
	"encoding/binary"
	"math/bits"
)

var le = binary.LittleEndian

// appendBits appends bits [from, to) of src to dst, which holds n bits so far, least significant bit first. Bits of
// dst's last byte beyond n are 0, and stay so.
func appendBits(dst []byte, n int, src []byte, from, to int) []byte {
	for ; from < to && n&7 != 0; from, n = from+1, n+1 {
		dst[n>>3] |= src[from>>3] >> (from & 7) & 1 << (n & 7)
	}
	if from == to {
		return dst
	}
	// dst is at a byte's start now
	whole := (to - from) / 8
	if shift := from & 7; shift == 0 {
		dst = append(dst, src[from>>3:from>>3+whole]...)
	} else {
		in := src[from>>3:]
		i := 0
		for ; i+8 <= whole && i+9 <= len(in); i += 8 {
			dst = le.AppendUint64(dst, le.Uint64(in[i:])>>shift|uint64(in[i+8])<<(64-shift))
		}
		for ; i < whole; i++ {
			dst = append(dst, in[i]>>shift|in[i+1]<<(8-shift))
		}
	}
	from += whole * 8
	if from < to {
		var last byte
		for i := 0; from+i < to; i++ {
			last |= src[(from+i)>>3] >> ((from + i) & 7) & 1 << i
		}
		dst = append(dst, last)
	}
	return dst
}

// bitOf gives the position of the set bit of rank k (0 is the first) among bits [from, to) of bitmap. There must be one.
func bitOf(bitmap []byte, from, to, k int) int {
	for ; from < to && from&7 != 0; from++ {
		if bitmap[from>>3]>>(from&7)&1 != 0 {
			if k == 0 {
				return from
			}
			k--
		}
	}
	for ; to-from >= 8; from += 8 {
		n := bits.OnesCount8(bitmap[from>>3])
		if n > k {
			break
		}
		k -= n
	}
	for ; from < to; from++ {
		if bitmap[from>>3]>>(from&7)&1 != 0 {
			if k == 0 {
				return from
			}
			k--
		}
	}
	return to
}

// appendFlatLevels appends the definition levels of a flat optional leaf as a version 1 page has them: length, then the
// RLE/bit-packing hybrid of one-bit levels, for which the validity bitmap is the bit-packed run as it stands. Bits of
// bitmap past rows must be 0.
// Source: https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE
func appendFlatLevels(dst, bitmap []byte, rows, values int) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	switch values {
	case rows:
		dst = append(binary.AppendUvarint(dst, uint64(rows)<<1), 1)
	case 0:
		dst = append(binary.AppendUvarint(dst, uint64(rows)<<1), 0)
	default:
		n := (rows + 7) / 8
		dst = append(binary.AppendUvarint(dst, uint64(n)<<1|1), bitmap[:n]...)
	}
	le.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// appendLevels appends levels of at most maxLevel as a version 1 page has them.
func appendLevels(dst, levels []byte, maxLevel uint8) []byte {
	at := len(dst)
	dst = appendHybrid(append(dst, 0, 0, 0, 0), levels, bits.Len8(maxLevel))
	le.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// runFor is the least number of equal values that are written as a run and not packed: a run costs two or three bytes,
// and breaks the packed stretch, which costs as many again.
func runFor(width int) int {
	switch {
	case width <= 2:
		return 64
	case width <= 4:
		return 32
	default:
		return 16
	}
}

// appendHybrid appends v as Parquet's RLE/bit-packing hybrid with so many bits a value, at most 16. No length precedes it.
func appendHybrid[T uint8 | uint32](dst []byte, v []T, width int) []byte {
	least := runFor(width)
	for len(v) > 0 {
		// the packed stretch: groups of eight until one begins a run that is worth it
		n, run := 0, 0
		for n < len(v) {
			if g := v[n:]; len(g) >= least && g[0] == g[7] && g[0] == g[least-1] {
				run = 1
				for run < len(g) && g[run] == g[0] {
					run++
				}
				if run >= least {
					break
				}
				// whatever ends inside the run's groups is packed with them
				n += max(8, run&^7)
				run = 0
				continue
			}
			n += 8
		}
		if n > len(v) {
			n = len(v)
		}
		if n > 0 {
			dst = appendPacked(dst, v[:n], width)
			v = v[n:]
		}
		if run > 0 {
			dst = binary.AppendUvarint(dst, uint64(run)<<1)
			dst = append(dst, byte(v[0]))
			if width > 8 {
				dst = append(dst, byte(uint32(v[0])>>8))
			}
			v = v[run:]
		}
	}
	return dst
}

// appendPacked appends a bit-packed run of the hybrid: v, filled up with zeros to a multiple of eight.
func appendPacked[T uint8 | uint32](dst []byte, v []T, width int) []byte {
	groups := (len(v) + 7) / 8
	dst = binary.AppendUvarint(dst, uint64(groups)<<1|1)
	at, size := len(dst), groups*width
	dst = grow(dst, size+16) // room for the last whole-word store
	out := dst[at:]
	w := uint(width)
	for len(v) >= 8 {
		lo := uint64(v[0]) | uint64(v[1])<<w | uint64(v[2])<<(2*w) | uint64(v[3])<<(3*w)
		hi := uint64(v[4]) | uint64(v[5])<<w | uint64(v[6])<<(2*w) | uint64(v[7])<<(3*w)
		le.PutUint64(out, lo|hi<<(4*w))
		le.PutUint64(out[8:], hi>>(64-4*w))
		out = out[w:]
		v = v[8:]
	}
	if len(v) > 0 {
		var last [8]T
		copy(last[:], v)
		lo := uint64(last[0]) | uint64(last[1])<<w | uint64(last[2])<<(2*w) | uint64(last[3])<<(3*w)
		hi := uint64(last[4]) | uint64(last[5])<<w | uint64(last[6])<<(2*w) | uint64(last[7])<<(3*w)
		le.PutUint64(out, lo|hi<<(4*w))
		le.PutUint64(out[8:], hi>>(64-4*w))
	}
	return dst[:at+size]
}

// grow makes b longer by n bytes of any content.
func grow(b []byte, n int) []byte {
	if want := len(b) + n; want <= cap(b) {
		return b[:want]
	}
	return append(b, make([]byte, n)...)
}
