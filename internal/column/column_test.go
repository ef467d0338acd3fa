package column

import (
	"bytes"
	"testing"
)

// A batch is given back once, and its buffers are empty when it is used again.
func TestRelease(t *testing.T) {
	given := 0
	b := NewBatch(1, 1, func(*Batch) { given++ })
	b.Rows, b.Counts[0].Inexact = 1, 1
	b.Leaves[0] = Buffer{Valid: []byte{1}, Data: []byte{7}, Values: 1}
	b.Release()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a second Release goes unnoticed")
			}
		}()
		b.Release()
	}()
	b.Reset(func(*Batch) { given += 10 })
	if l := b.Leaves[0]; b.Rows != 0 || l.Values != 0 || b.DataBytes() != 0 || b.Counts[0] != (Counts{}) || !bytes.Equal(append(l.Valid, 0), []byte{0}) {
		t.Errorf("after Reset: %+v", b)
	}
	b.Release()
	if given != 11 {
		t.Errorf("given back %d times", given)
	}
	free := NewBatch(1, 1, nil)
	free.Release()
	free.Release()
}
