// Package column is the shape of rows in memory between the decoders and the encoder: batches of whole rows, kept leaf
// by leaf in the form that Parquet pages are made of.
//
// A Batch holds one Buffer for each leaf of the Parquet schema, in the schema's depth-first order. A Buffer's values
// are compact (a null takes no room) and already PLAIN, so that a plain page is a copy of a stretch of bytes, and
// dictionaries and minima walk it without an allocation. Nothing here knows Postgres or files.
//
// The one caveat: a Batch has one owner at a time. Whoever hands it on must not touch it again.
package column

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
)

// Physical is how one value of a leaf is laid out in Buffer.Data. It follows Parquet's physical types, save that a
// boolean takes a whole byte (0 or 1) until it becomes a page.
type Physical uint8

// The physical layouts.
const (
	Bool      Physical = iota // one byte, 0 or 1
	Int32                     // 4 bytes, little-endian
	Int64                     // 8 bytes, little-endian
	Float32                   // 4 bytes, little-endian IEEE 754
	Float64                   // 8 bytes, little-endian IEEE 754
	ByteArray                 // length as 4 bytes little-endian, then that many bytes
	Fixed                     // Leaf.Width bytes, no length
)

// Leaf describes one leaf column of the Parquet schema.
type Leaf struct {
	Path     string   // dotted path of the leaf in the Parquet schema, for example "tags.list.element"
	Column   int      // index of the top-level field that the leaf belongs to
	Physical Physical // layout of a value
	Width    int      // bytes of a value: 1, 4, 8, n for Fixed, 0 for ByteArray
	MaxDef   uint8    // definition level of a value that is there
	MaxRep   uint8    // 0 outside lists
}

// Flat tells whether presence is kept as a bitmap over rows (or not at all, when MaxDef is 0) and not as levels.
func (l *Leaf) Flat() bool { return l.MaxDef <= 1 && l.MaxRep == 0 }

// Buffer is one leaf of one Batch.
//
//   - MaxDef == 0: every row has a value; Valid, Def and Rep are unused.
//   - Flat with MaxDef == 1: Valid is a bitmap over the batch's rows, least significant bit first, 1 where there is a
//     value. Bits past the last row are 0.
//   - otherwise: Def holds one definition level an entry, Rep (where MaxRep > 0) one repetition level an entry. A row
//     starts at an entry whose Rep is 0; without lists there is one entry a row.
type Buffer struct {
	Valid  []byte
	Def    []byte
	Rep    []byte
	Data   []byte // the values that are there, PLAIN, one behind the other
	Values int    // how many values Data holds
}

func (b *Buffer) reset() {
	b.Valid, b.Def, b.Rep, b.Data, b.Values = b.Valid[:0], b.Def[:0], b.Rep[:0], b.Data[:0], 0
}

// Bytes is the memory that the buffer holds on to.
func (b *Buffer) Bytes() int64 { return int64(cap(b.Valid) + cap(b.Def) + cap(b.Rep) + cap(b.Data)) }

// Counts says how often a column's values were not carried over exactly, by what was done instead. What may be counted
// at all is decided by options: by default only Inexact is ever more than 0, everything else is an error.
type Counts struct {
	Inexact   int64 // a float64 whose shortest decimal is another number than the server's numeric
	Nonfinite int64 // NaN or an infinity that became null or text in a type without it
	Clamped   int64 // an infinite date or timestamp moved to the type's end
	Replaced  int64 // text with bytes that are no UTF-8, replaced
	FellBack  int64 // an infinite date or time written as something else, such as null
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	c.Inexact += o.Inexact
	c.Nonfinite += o.Nonfinite
	c.Clamped += o.Clamped
	c.Replaced += o.Replaced
	c.FellBack += o.FellBack
}

// Batch is a run of whole rows. NewBatch makes one, Release gives it back.
type Batch struct {
	Rows   int
	Leaves []Buffer // one a leaf of the schema
	Counts []Counts // one a top-level column

	released atomic.Bool
	release  func(*Batch)
}

// NewBatch makes an empty batch for a schema of so many leaves and top-level columns. release, if not nil, is called
// by Release; it owns the batch from then on.
func NewBatch(leaves, columns int, release func(*Batch)) *Batch {
	return &Batch{Leaves: make([]Buffer, leaves), Counts: make([]Counts, columns), release: release}
}

// Reset empties the batch for reuse. Memory is kept, with what is in it: buffers are to be filled by appending.
func (b *Batch) Reset(release func(*Batch)) {
	b.Rows = 0
	for i := range b.Leaves {
		b.Leaves[i].reset()
	}
	clear(b.Counts)
	b.release = release
	b.released.Store(false)
}

// Release gives the batch back, once. Safe from any goroutine. A batch without a release is nobody's, and stays as it is.
func (b *Batch) Release() {
	if b.release == nil {
		return
	}
	if b.released.Swap(true) {
		panic("column: batch released twice")
	}
	b.release(b)
}

// Bytes is the memory that the batch holds on to, by capacity.
func (b *Batch) Bytes() int64 {
	n := int64(len(b.Counts)) * 40
	for i := range b.Leaves {
		n += b.Leaves[i].Bytes() + 112
	}
	return n
}

// DataBytes is the size of the batch's content.
func (b *Batch) DataBytes() int64 {
	var n int64
	for i := range b.Leaves {
		l := &b.Leaves[i]
		n += int64(len(l.Valid) + len(l.Def) + len(l.Rep) + len(l.Data))
	}
	return n
}

// Check verifies that the buffers agree with their leaves and with Rows. It reads levels and bitmaps, not values: the
// cost is small beside encoding. An error here is a bug of whoever filled the batch.
func (b *Batch) Check(leaves []Leaf) error {
	if len(leaves) != len(b.Leaves) {
		return fmt.Errorf("batch of %d leaves for a schema of %d", len(b.Leaves), len(leaves))
	}
	for i := range leaves {
		if err := leaves[i].Check(&b.Leaves[i], b.Rows); err != nil {
			return err
		}
	}
	return nil
}

// Check is Batch.Check for one leaf of a batch of so many rows.
func (l *Leaf) Check(buf *Buffer, rows int) error {
	if l.Width > 0 && len(buf.Data) != buf.Values*l.Width {
		return fmt.Errorf("leaf %s: %d bytes for %d values of %d bytes", l.Path, len(buf.Data), buf.Values, l.Width)
	}
	switch {
	case l.MaxDef == 0:
		if buf.Values != rows {
			return fmt.Errorf("leaf %s is required and has %d values for %d rows", l.Path, buf.Values, rows)
		}
	case l.Flat():
		if len(buf.Valid) < (rows+7)/8 {
			return fmt.Errorf("leaf %s: bitmap of %d bytes for %d rows", l.Path, len(buf.Valid), rows)
		}
		if n := PopCount(buf.Valid, 0, rows); n != buf.Values {
			return fmt.Errorf("leaf %s: %d values, the bitmap says %d", l.Path, buf.Values, n)
		}
	default:
		if l.MaxRep > 0 && len(buf.Rep) != len(buf.Def) {
			return fmt.Errorf("leaf %s: %d repetition levels beside %d definition levels", l.Path, len(buf.Rep), len(buf.Def))
		}
		starts, values := 0, 0
		for j, d := range buf.Def {
			if d > l.MaxDef {
				return fmt.Errorf("leaf %s: definition level %d of at most %d", l.Path, d, l.MaxDef)
			}
			if d == l.MaxDef {
				values++
			}
			if l.MaxRep == 0 || buf.Rep[j] == 0 {
				starts++
			} else if r := buf.Rep[j]; r > l.MaxRep || starts == 0 {
				return fmt.Errorf("leaf %s: repetition level %d of at most %d at entry %d", l.Path, r, l.MaxRep, j)
			}
		}
		if starts != rows || values != buf.Values {
			return fmt.Errorf("leaf %s: levels of %d rows and %d values, batch of %d rows and %d values", l.Path, starts, values, rows, buf.Values)
		}
	}
	return nil
}

// PopCount counts the set bits of bitmap in [from, to), least significant bit first.
func PopCount(bitmap []byte, from, to int) int {
	n := 0
	for ; from < to && from&7 != 0; from++ {
		n += int(bitmap[from>>3] >> (from & 7) & 1)
	}
	for ; to-from >= 64; from += 64 {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(bitmap[from>>3:]))
	}
	for ; to-from >= 8; from += 8 {
		n += bits.OnesCount8(bitmap[from>>3])
	}
	for ; from < to; from++ {
		n += int(bitmap[from>>3] >> (from & 7) & 1)
	}
	return n
}
