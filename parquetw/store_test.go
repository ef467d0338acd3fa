package parquetw

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

// What has been appended is read rightly while others append, also as its block goes to the temp file and the block's memory to the next.
func TestStoreIsReadWhileItGrows(t *testing.T) {
	t.Parallel()
	p := newPool(t, 1, 4*blockBytes)
	s := &store{pool: p}
	defer s.free()
	type piece struct {
		at   int64
		data []byte
	}
	pieces := make(chan piece, 8)
	var appending sync.WaitGroup
	for g := range 3 {
		appending.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for range 400 {
				data := bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(blockBytes/4))
				at, err := s.append(data)
				if err != nil {
					t.Error(err)
					return
				}
				pieces <- piece{at, data}
			}
		})
	}
	go func() {
		appending.Wait()
		close(pieces)
	}()
	buf := make([]byte, blockBytes)
	for p := range pieces {
		var got []byte
		if err := s.copyTo(func(b []byte) error { got = append(got, b...); return nil }, p.at, int64(len(p.data)), buf); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, p.data) {
			t.Fatalf("%d bytes at %d are not what was appended", len(p.data), p.at)
		}
	}
	if p.Spilled() == 0 {
		t.Error("nothing went to the temp file")
	}
}
