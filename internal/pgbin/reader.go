// Package pgbin reads Postgres's binary wire forms with one rule: nothing in a payload is believed.
//
// A Reader walks a payload from front to back. Its first failure sticks, so a decoder reads a whole structure straight
// down and asks once, at the end, with Err or Done. After a failure every read gives zero.
//
// The one caveat: slices returned by Bytes are parts of the payload and live as long as it does.
package pgbin

import (
	"encoding/binary"
	"fmt"
)

// Reader is a bounds-checked cursor over one payload. The zero value is an empty payload.
type Reader struct {
	p   []byte
	off int
	err error
}

// New gives a Reader over p, which it does not copy.
func New(p []byte) Reader { return Reader{p: p} }

// Len is the number of bytes not read yet; 0 after a failure.
func (r *Reader) Len() int {
	if r.err != nil {
		return 0
	}
	return len(r.p) - r.off
}

// Err is the first failure, or nil.
func (r *Reader) Err() error { return r.err }

// Done is Err, and an error when bytes are left over: a payload longer than its own structure says.
func (r *Reader) Done() error {
	if r.err == nil && r.off != len(r.p) {
		r.fail("%d bytes left over after %d", len(r.p)-r.off, r.off)
	}
	return r.err
}

func (r *Reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, a...)
	}
}

// Bytes reads n bytes.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.p)-r.off {
		r.fail("%d bytes wanted at %d, %d there", n, r.off, len(r.p)-r.off)
		return nil
	}
	b := r.p[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// Rest reads all that is left.
func (r *Reader) Rest() []byte { return r.Bytes(r.Len()) }

// Uint8 reads one byte.
func (r *Reader) Uint8() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads two bytes, big-endian as all of Postgres's.
func (r *Reader) Uint16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Int32 reads four bytes as a signed number.
func (r *Reader) Int32() int32 { return int32(r.Uint32()) }

// Count reads an element count of four bytes. Each element takes at least size bytes, so that a count which the bytes
// left cannot hold is a failure here and sizes nothing.
func (r *Reader) Count(size int) int {
	n := int(r.Int32())
	if r.err == nil && (n < 0 || n > r.Len()/size) {
		r.fail("%d elements of at least %d bytes in %d bytes", n, size, r.Len())
	}
	if r.err != nil {
		return 0
	}
	return n
}

// Value reads a length word and that many bytes. null is true, and the value nil, for a length of -1.
func (r *Reader) Value() (v []byte, null bool) {
	n := r.Int32()
	switch {
	case r.err != nil:
		return nil, false
	case n == -1:
		return nil, true
	case n < 0:
		r.fail("a length of %d", n)
		return nil, false
	}
	return r.Bytes(int(n)), false
}
