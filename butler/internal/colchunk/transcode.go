package colchunk

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"fast-export/internal/column"
)

var (
	errValues   = errors.New("page has fewer values than it says")
	errDelta    = errors.New("delta encoding is damaged")
	errTooLarge = errors.New("values take more memory than a page may")
)

// toPlain turns the values of a page in an encoding that is rarely met into PLAIN. limit bounds what comes out.
func toPlain(dst, src []byte, encoding int64, physical column.Physical, width, values, limit int) ([]byte, error) {
	switch encoding {
	case encByteStreamSplit:
		return splitToPlain(dst, src, width, values)
	case encDeltaBinary:
		out, _, err := deltaToPlain(dst, src, width, values, limit)
		return out, err
	case encDeltaLength:
		return deltaLengthToPlain(dst, src, values, limit)
	case encDeltaByteArray:
		return deltaByteArrayToPlain(dst, src, physical, width, values, limit)
	case encRLE:
		return rleBoolToPlain(dst, src, values, limit)
	}
	return nil, errors.ErrUnsupported
}

// splitToPlain undoes BYTE_STREAM_SPLIT: all first bytes, then all second bytes, and so on.
func splitToPlain(dst, src []byte, width, values int) ([]byte, error) {
	if width <= 0 || len(src)/width < values {
		return nil, errValues
	}
	n := len(src) / width // the stream may hold more than the page says it has
	dst = grow(dst, values*width)
	for b := range width {
		s := src[b*n : b*n+values]
		for i, c := range s {
			dst[i*width+b] = c
		}
	}
	return dst, nil
}

// rleBoolToPlain reads booleans that are runs behind a four-byte length. They come out a byte each.
func rleBoolToPlain(dst, src []byte, values, limit int) ([]byte, error) {
	if values > limit { // a run of any length takes ten bytes
		return nil, errTooLarge
	}
	if len(src) < 4 {
		return nil, errValues
	}
	n := binary.LittleEndian.Uint32(src)
	if uint64(n) > uint64(len(src)-4) {
		return nil, errValues
	}
	h := newHybrid(src[4:4+n], 1)
	dst = grow(dst, values)
	var block [256]uint32
	for at := 0; at < values; {
		m := min(values-at, len(block))
		if err := h.read(block[:m]); err != nil {
			return nil, err
		}
		for i, v := range block[:m] {
			dst[at+i] = byte(v)
		}
		at += m
	}
	return dst, nil
}

// grow gives a slice of n bytes, dst's memory if it is large enough.
func grow(dst []byte, n int) []byte {
	if cap(dst) < n {
		return make([]byte, n)
	}
	return dst[:n]
}

// deltaReader reads DELTA_BINARY_PACKED numbers.
type deltaReader struct {
	src       []byte
	perMini   int
	minis     int
	total     int // values that the header promises
	left      int
	last      uint64
	first     bool
	minDelta  uint64
	widths    []byte
	mini      int // miniblocks of the block already opened
	inMini    int // values left in the miniblock
	bits      []byte
	pos       uint
	miniWidth uint
}

func newDelta(src []byte) (*deltaReader, error) {
	d := &deltaReader{src: src, first: true}
	blockSize, ok1 := d.uvarint()
	minis, ok2 := d.uvarint()
	total, ok3 := d.uvarint()
	first, ok4 := d.uvarint()
	if !ok1 || !ok2 || !ok3 || !ok4 || blockSize == 0 || blockSize > 1<<20 || minis == 0 || minis > 1<<12 || blockSize%minis != 0 || blockSize/minis%8 != 0 || total > 1<<31 {
		return nil, errDelta
	}
	d.perMini, d.minis, d.total, d.left = int(blockSize/minis), int(minis), int(total), int(total)
	d.mini = d.minis
	d.last = uint64(int64(first>>1) ^ -int64(first&1))
	return d, nil
}

func (d *deltaReader) uvarint() (uint64, bool) {
	v, n := binary.Uvarint(d.src)
	if n <= 0 {
		return 0, false
	}
	d.src = d.src[n:]
	return v, true
}

// next gives the next value; sums wrap around as the format wants it.
func (d *deltaReader) next() (uint64, error) {
	if d.left == 0 {
		return 0, errValues
	}
	d.left--
	if d.first {
		d.first = false
		return d.last, nil
	}
	for d.inMini == 0 {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	d.inMini--
	d.last += d.minDelta + d.unpack()
	return d.last, nil
}

// open begins the next miniblock, and the next block before it if need be.
func (d *deltaReader) open() error {
	if d.mini == d.minis {
		m, ok := d.uvarint()
		if !ok || len(d.src) < d.minis {
			return errDelta
		}
		d.minDelta = uint64(int64(m>>1) ^ -int64(m&1))
		d.widths, d.src = d.src[:d.minis], d.src[d.minis:]
		d.mini = 0
	}
	d.miniWidth = uint(d.widths[d.mini])
	d.mini++
	if d.miniWidth > 64 {
		return errDelta
	}
	size := d.perMini * int(d.miniWidth) / 8
	if size > len(d.src) {
		// The last miniblock may be cut behind its last value.
		if need := (min(d.left+1, d.perMini)*int(d.miniWidth) + 7) / 8; need > len(d.src) {
			return errDelta
		}
		size = len(d.src)
	}
	d.bits, d.src = d.src[:size], d.src[size:]
	d.inMini, d.pos = d.perMini, 0
	return nil
}

func (d *deltaReader) unpack() uint64 {
	w := d.miniWidth
	if w == 0 {
		return 0
	}
	var window [9]byte
	copy(window[:], d.bits[min(int(d.pos>>3), len(d.bits)):])
	shift := d.pos & 7
	v := binary.LittleEndian.Uint64(window[:]) >> shift
	if shift+w > 64 {
		v |= uint64(window[8]) << (64 - shift)
	}
	d.pos += w
	if w < 64 {
		v &= 1<<w - 1
	}
	return v
}

// rest gives what follows the deltas: the miniblocks opened last are consumed whole.
func (d *deltaReader) rest() []byte { return d.src }

// deltaToPlain reads exactly values numbers of four or eight bytes.
func deltaToPlain(dst, src []byte, width, values, limit int) ([]byte, []byte, error) {
	d, err := newDelta(src)
	if err != nil {
		return nil, nil, err
	}
	if d.total < values {
		return nil, nil, errValues
	}
	if values > limit/width {
		return nil, nil, errTooLarge
	}
	dst = grow(dst, values*width)
	for i := range values {
		v, err := d.next()
		if err != nil {
			return nil, nil, err
		}
		if width == 4 {
			binary.LittleEndian.PutUint32(dst[4*i:], uint32(v))
		} else {
			binary.LittleEndian.PutUint64(dst[8*i:], v)
		}
	}
	return dst, d.rest(), nil
}

// lengths reads the lengths of a DELTA_LENGTH_BYTE_ARRAY and what follows them: all that the header promises are read,
// for the bytes begin behind the last.
func lengths(src []byte, values, limit int) ([]uint32, []byte, error) {
	d, err := newDelta(src)
	if err != nil {
		return nil, nil, err
	}
	// Each value has at least its share of a miniblock's header or a byte of its own; a hostile count is caught by the limit.
	if d.total < values {
		return nil, nil, errValues
	}
	if d.total > limit/4 {
		return nil, nil, errTooLarge
	}
	out := make([]uint32, d.total)
	for i := range out {
		v, err := d.next()
		if err != nil {
			return nil, nil, err
		}
		if v > uint64(limit) {
			return nil, nil, errTooLarge
		}
		out[i] = uint32(v)
	}
	return out, d.rest(), nil
}

func deltaLengthToPlain(dst, src []byte, values, limit int) ([]byte, error) {
	ls, data, err := lengths(src, values, limit)
	if err != nil {
		return nil, err
	}
	dst = dst[:0]
	for _, n := range ls[:values] {
		if uint64(n) > uint64(len(data)) {
			return nil, errValues
		}
		if len(dst)+4+int(n) > limit {
			return nil, errTooLarge
		}
		dst = binary.LittleEndian.AppendUint32(dst, n)
		dst = append(dst, data[:n]...)
		data = data[n:]
	}
	return dst, nil
}

// deltaByteArrayToPlain undoes incremental encoding: each value is a prefix of the one before it and a suffix.
func deltaByteArrayToPlain(dst, src []byte, physical column.Physical, width, values, limit int) ([]byte, error) {
	prefixes, data, err := lengths(src, values, limit)
	if err != nil {
		return nil, err
	}
	suffixes, data, err := lengths(data, values, limit)
	if err != nil {
		return nil, err
	}
	dst = dst[:0]
	from, to := 0, 0 // the previous value inside dst
	for i := range values {
		p, s := int(prefixes[i]), int(suffixes[i])
		if p > to-from || s > len(data) {
			return nil, errDelta
		}
		if len(dst)+4+p+s > limit {
			return nil, errTooLarge
		}
		if physical == column.ByteArray {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(p+s))
		} else if p+s != width {
			return nil, errDelta
		}
		at := len(dst)
		dst = append(dst, dst[from:from+p]...)
		dst = append(dst, data[:s]...)
		data = data[s:]
		from, to = at, len(dst)
	}
	return dst, nil
}

// bitWidth is how many bits a level of at most n takes.
func bitWidth(n uint8) uint { return uint(bits.Len8(n)) }
