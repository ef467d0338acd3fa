package copier

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"os"

	"fast-export/internal/column"
)

// A spilled batch is, all words 8 bytes little-endian: rows; for each leaf the lengths of Valid, Def, Rep and Data and
// Values; for each column its Counts; then the leaves' bytes in the same order. It never leaves the process that wrote it.

const (
	wordsALeaf   = 5
	wordsACounts = 5
)

func batchSize(b *column.Batch) int64 {
	return 8 + 8*int64(wordsALeaf*len(b.Leaves)+wordsACounts*len(b.Counts)) + b.DataBytes()
}

func writeBatch(f *os.File, at int64, b *column.Batch) error {
	head := make([]byte, 0, 8+8*(wordsALeaf*len(b.Leaves)+wordsACounts*len(b.Counts)))
	put := func(n int64) { head = binary.LittleEndian.AppendUint64(head, uint64(n)) }
	put(int64(b.Rows))
	for i := range b.Leaves {
		l := &b.Leaves[i]
		put(int64(len(l.Valid)))
		put(int64(len(l.Def)))
		put(int64(len(l.Rep)))
		put(int64(len(l.Data)))
		put(int64(l.Values))
	}
	for _, c := range b.Counts {
		put(c.Inexact)
		put(c.Nonfinite)
		put(c.Clamped)
		put(c.Replaced)
		put(c.FellBack)
	}
	w := bufio.NewWriterSize(io.NewOffsetWriter(f, at), 64<<10)
	w.Write(head) // bufio keeps the first error for Flush
	for i := range b.Leaves {
		l := &b.Leaves[i]
		w.Write(l.Valid)
		w.Write(l.Def)
		w.Write(l.Rep)
		w.Write(l.Data)
	}
	return w.Flush()
}

func readBatch(f *os.File, at, n int64, b *column.Batch) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, n), 64<<10)
	head := make([]byte, 8+8*(wordsALeaf*len(b.Leaves)+wordsACounts*len(b.Counts)))
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("read a spilled batch: %w", err)
	}
	get := func() int64 {
		n := int64(binary.LittleEndian.Uint64(head))
		head = head[8:]
		return n
	}
	b.Rows = int(get())
	for i := range b.Leaves {
		l := &b.Leaves[i]
		l.Valid = sized(l.Valid, get())
		l.Def = sized(l.Def, get())
		l.Rep = sized(l.Rep, get())
		l.Data = sized(l.Data, get())
		l.Values = int(get())
	}
	for i := range b.Counts {
		b.Counts[i] = column.Counts{Inexact: get(), Nonfinite: get(), Clamped: get(), Replaced: get(), FellBack: get()}
	}
	for i := range b.Leaves {
		l := &b.Leaves[i]
		for _, p := range [][]byte{l.Valid, l.Def, l.Rep, l.Data} {
			if _, err := io.ReadFull(r, p); err != nil {
				return fmt.Errorf("read a spilled batch: %w", err)
			}
		}
	}
	return nil
}

// sized gives a slice of n bytes, b's memory where it is enough.
func sized(b []byte, n int64) []byte {
	if int64(cap(b)) >= n {
		return b[:n]
	}
	return make([]byte, n)
}

var seed = maphash.MakeSeed()

// fingerprint tells two batches apart, within this process.
func fingerprint(b *column.Batch) uint64 {
	h := uint64(b.Rows)
	mix := func(x uint64) { h = (h ^ x) * 0x9E3779B97F4A7C15; h ^= h >> 29 }
	for i := range b.Leaves {
		l := &b.Leaves[i]
		mix(uint64(l.Values))
		for _, p := range [][]byte{l.Valid, l.Def, l.Rep, l.Data} {
			mix(maphash.Bytes(seed, p))
		}
	}
	return h
}
