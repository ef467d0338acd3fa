package parquetw

import (
	"hash/maphash"
	"math/bits"
	"sync"
)

// maxEntries is the most that a dictionary may hold: indices of 16 bits. Beyond that an index is worth little beside a
// value.
const maxEntries = 1 << 16

// dict maps values to their index in order of first sight, so that what it writes does not depend on the hash.
//
// A table of open addressing holds for each entry a key: the value itself where it fits eight bytes, else a hash.
type dict struct {
	slots []dictSlot // a power of two, at most half full
	n     int        // entries
	data  []byte     // the entries, PLAIN: the dictionary page
	ends  []uint32   // where each entry ends in data, unless all have one width
}

type dictSlot struct {
	key  uint64
	ref  uint32 // index + 1; 0: empty
	page uint32 // the page that saw the entry last
}

// minSlots is the size of a table at first: room for as many entries as show that values do not repeat.
const minSlots = 2 * tellingValues

// The hashes of a process are its own, so that nobody can make up values that collide.
var (
	hashSeed  = maphash.MakeSeed()
	hashWord1 = maphash.Bytes(hashSeed, []byte{1})
	hashWord2 = maphash.Bytes(hashSeed, []byte{2})
)

// mix spreads keys over a table. Every bit of x counts: floats of few digits have nothing but zeros below, numbers that
// count have nothing but zeros above.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x2d358dccaa6c78a5, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

// reset empties d. Memory is kept unless it is much more than the last values needed.
func (d *dict) reset() {
	if len(d.slots) > minSlots && d.n < len(d.slots)/16 {
		d.slots = nil
	}
	clear(d.slots)
	d.n, d.data, d.ends = 0, d.data[:0], d.ends[:0]
}

// drop empties d and gives the memory back. What little it needs until it gives up the next time it keeps.
func (d *dict) drop() {
	d.endSearch()
	if cap(d.data) > 64*tellingValues {
		*d = dict{}
	}
	d.n, d.data, d.ends = 0, d.data[:0], d.ends[:0]
}

// firstTables are tables of the first size, which most columns need for a moment only.
var firstTables = sync.Pool{New: func() any { return new([minSlots]dictSlot) }}

// endSearch keeps the entries and gives back what finds them.
func (d *dict) endSearch() {
	if len(d.slots) == minSlots {
		firstTables.Put((*[minSlots]dictSlot)(d.slots))
	}
	d.slots = nil
}

// rest gives a table of the first size back at the end of a column chunk. A larger one the next chunk will want too.
func (d *dict) rest() {
	if len(d.slots) == minSlots {
		d.endSearch()
	}
}

// held is the memory that d holds, in bytes.
func (d *dict) held() int64 { return int64(cap(d.slots)*16 + cap(d.data) + cap(d.ends)*4) }

// ready makes room for one more entry.
func (d *dict) ready() {
	if 2*d.n < len(d.slots) {
		return
	}
	if len(d.slots) == 0 {
		d.slots = firstTables.Get().(*[minSlots]dictSlot)[:]
		clear(d.slots)
		return
	}
	old := d.slots
	d.slots = make([]dictSlot, 2*len(old))
	m := uint64(len(d.slots) - 1)
	for _, s := range old {
		if s.ref == 0 {
			continue
		}
		h := mix(s.key) & m
		for d.slots[h].ref != 0 {
			h = (h + 1) & m
		}
		d.slots[h] = s
	}
	if len(old) == minSlots {
		firstTables.Put((*[minSlots]dictSlot)(old))
	}
}

// insert makes an entry of v, PLAIN, which the table does not hold yet, in the slot that a search for it ended at.
func (d *dict) insert(s *dictSlot, key uint64, v []byte, ends bool) {
	d.data = append(d.data, v...)
	if ends {
		d.ends = append(d.ends, uint32(len(d.data)))
	}
	d.n++
	s.key, s.ref, s.page = key, uint32(d.n), 0
}

// longKey marks keys that are hashes: shorter values carry their length, at most 7, in the topmost byte.
const longKey = 1 << 63

// keyOf is a value of up to 7 bytes with its length, or a hash of a longer one.
func keyOf(v []byte) uint64 {
	switch n := len(v); {
	case n > 16:
		return maphash.Bytes(hashSeed, v) | longKey
	case n > 7:
		hi, lo := bits.Mul64(le.Uint64(v)^hashWord1, le.Uint64(v[n-8:])^hashWord2^uint64(n))
		return hi ^ lo | longKey
	case n >= 4:
		return uint64(n)<<56 | uint64(le.Uint32(v)) | uint64(le.Uint32(v[n-4:]))<<(8*(n-4))
	case n >= 2:
		return uint64(n)<<56 | uint64(le.Uint16(v)) | uint64(v[n-1])<<(8*(n-1))
	case n == 1:
		return 1<<56 | uint64(v[0])
	}
	return 0
}

// entry is the entry of an index, PLAIN.
func (d *dict) entry(i, width int) []byte {
	if width > 0 {
		return d.data[i*width : (i+1)*width]
	}
	from := uint32(0)
	if i > 0 {
		from = d.ends[i-1]
	}
	return d.data[from:d.ends[i]]
}

// appendEntries appends the values that indices stand for, PLAIN.
func (d *dict) appendEntries(dst []byte, indices []uint32, width int) []byte {
	for _, i := range indices {
		dst = append(dst, d.entry(int(i), width)...)
	}
	return dst
}
