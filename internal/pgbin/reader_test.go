package pgbin

import (
	"bytes"
	"strings"
	"testing"
)

func TestReadsInOrder(t *testing.T) {
	t.Parallel()
	p := []byte{
		1,
		0, 2,
		0, 0, 0, 3,
		0, 0, 0, 0, 0, 0, 0, 4,
		0xFF, 0xFF, 0xFF, 0xFB,
		0, 0, 0, 2, 'a', 'b',
		0xFF, 0xFF, 0xFF, 0xFF,
		0, 0, 0, 1, 'r',
	}
	r := New(p)
	if a, b, c, d, e := r.Uint8(), r.Uint16(), r.Uint32(), r.Uint64(), r.Int32(); a != 1 || b != 2 || c != 3 || d != 4 || e != -5 {
		t.Errorf("got %d %d %d %d %d", a, b, c, d, e)
	}
	if v, null := r.Value(); string(v) != "ab" || null {
		t.Errorf("got %q, %v", v, null)
	}
	if v, null := r.Value(); v != nil || !null {
		t.Errorf("got %q, %v", v, null)
	}
	if n := r.Count(1); n != 1 {
		t.Errorf("count %d", n)
	}
	if r.Len() != 1 || string(r.Rest()) != "r" || r.Done() != nil {
		t.Errorf("%d left, %v", r.Len(), r.Err())
	}
}

// TestFirstFailureSticks: whatever is read past the end, at every length, gives zeros and the first error.
func TestFirstFailureSticks(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		r := New(bytes.Repeat([]byte{0xFF}, n))
		if r.Uint64() != 0 {
			t.Errorf("%d bytes: a value past the end", n)
		}
		first := r.Err()
		if first == nil || !strings.Contains(first.Error(), "8 bytes wanted") {
			t.Fatalf("%d bytes: %v", n, first)
		}
		v, null := r.Value()
		if r.Uint8() != 0 || r.Uint16() != 0 || r.Uint32() != 0 || r.Int32() != 0 || r.Bytes(0) != nil || r.Count(1) != 0 || v != nil || null || r.Len() != 0 || r.Rest() != nil {
			t.Errorf("%d bytes: something is read behind a failure", n)
		}
		if r.Err() != first || r.Done() != first {
			t.Errorf("%d bytes: %v replaced %v", n, r.Done(), first)
		}
	}
}

func TestLies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		p    []byte
		read func(r *Reader)
		want string
	}{
		{"negative size", []byte{1}, func(r *Reader) { r.Bytes(-1) }, "-1 bytes wanted"},
		{"huge length", []byte{0x7F, 0xFF, 0xFF, 0xFF, 1}, func(r *Reader) { r.Value() }, "2147483647 bytes wanted at 4, 1 there"},
		{"length of -2", []byte{0xFF, 0xFF, 0xFF, 0xFE}, func(r *Reader) { r.Value() }, "a length of -2"},
		{"huge count", []byte{0x10, 0, 0, 0, 1, 2, 3, 4}, func(r *Reader) { r.Count(4) }, "268435456 elements of at least 4 bytes in 4 bytes"},
		{"negative count", []byte{0xFF, 0, 0, 0}, func(r *Reader) { r.Count(4) }, "elements of at least"},
		{"left over", []byte{1, 2, 3}, func(r *Reader) { r.Uint8() }, "2 bytes left over after 1"},
	} {
		r := New(tt.p)
		tt.read(&r)
		if err := r.Done(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
	// A slice that is handed out cannot grow into what follows it.
	r := New([]byte("abcdef"))
	if b := r.Bytes(2); cap(b) != 2 {
		t.Errorf("capacity %d", cap(b))
	}
}
