package parquetw

import (
	"hash/maphash"
	"math/bits"
	"sync"
)

// maxEntries is the most that a dictionary may hold: indices of 16 bits, and a slot without an entry. Beyond that an index
// is worth little beside a value.
const maxEntries = 1<<16 - 1

// dict maps values to their index in order of first sight, so that what it writes does not depend on the hash.
//
// A table of open addressing holds the entries' indices. What an entry is known by lies beside the others' in the order of
// the indices: a table is half empty, and so has the fewer bytes for it.
type dict struct {
	slots []uint16 // index + 1, 0: empty; a power of two, at most half full while there is room for a larger one
	n     int      // entries
	data  []byte   // the entries, PLAIN: the dictionary page
	keys  []uint64 // by index + 1: the value itself where it fits eight bytes, else a hash
	ends  []uint32 // where each entry ends in data, unless all have one width
	seen  []bool   // by index + 1: the open page has it
}

// minSlots is the size of a table at first: room for as many entries as show that values do not repeat.
const minSlots = 2 * tellingValues

// The hashes of a process are its own, so that nobody can make up values that collide.
var (
	hashSeed  = maphash.MakeSeed()
	hashWord0 = maphash.Bytes(hashSeed, []byte{0})
	hashWord1 = maphash.Bytes(hashSeed, []byte{1})
	hashWord2 = maphash.Bytes(hashSeed, []byte{2})
)

// mix spreads keys over a table. Every bit of x counts: floats of few digits have nothing but zeros below, numbers that
// count have nothing but zeros above.
func mix(x uint64) uint64 { return mixWith(x, hashWord0) }

func mixWith(x, word uint64) uint64 {
	hi, lo := bits.Mul64(x^word, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

// reset empties d. The table begins anew, since its size decides how much the next column chunk's dictionary holds, and what
// goes with it, since long and short values want memory of different kinds.
func (d *dict) reset() {
	if cap(d.keys) > 2*tellingValues {
		d.endSearch()
	}
	d.rest()
	d.n, d.data, d.keys, d.ends, d.seen = 0, d.data[:0], d.keys[:0], d.ends[:0], d.seen[:0]
}

// drop empties d and gives the memory back. What little it needs until it gives up the next time it keeps.
func (d *dict) drop() {
	if d.reset(); cap(d.data) > 64*tellingValues {
		d.data = nil
	}
}

// firstTables are tables of the first size, which most columns need for a moment only.
var firstTables = sync.Pool{New: func() any { return new([minSlots]uint16) }}

// endSearch keeps the entries and gives back what finds them.
func (d *dict) endSearch() {
	d.rest()
	d.keys, d.ends, d.seen = nil, nil, nil
}

// rest gives the table back.
func (d *dict) rest() {
	if len(d.slots) == minSlots {
		firstTables.Put((*[minSlots]uint16)(d.slots))
	}
	d.slots = nil
}

// held is the memory that d holds, in bytes.
func (d *dict) held() int64 {
	return int64(2*cap(d.slots) + cap(d.data) + 8*cap(d.keys) + 4*cap(d.ends) + cap(d.seen))
}

// bytes is what d has in use, save the table: it depends on the entries alone.
func (d *dict) bytes() int { return len(d.data) + 8*len(d.keys) + 4*len(d.ends) + len(d.seen) }

// full tells that another entry of so many bytes finds no room.
func (d *dict) full(lay layout, size int) bool {
	return d.n >= lay.dictEntries() || len(d.data)+size > lay.dictBytes ||
		d.n >= len(d.slots)/4*3 || d.bytes()+size+16+2*len(d.slots) > lay.dictRoom()
}

// holds is how many entries of so many bytes a dictionary has room for: what full and ready come to.
func (l layout) holds(size float64, ends bool) float64 {
	each := size + 9 // key, seen
	if ends {
		each += 4
	}
	slots := float64(minSlots)
	for slots/2*each/2*3+4*slots <= float64(l.dictRoom()) && slots/2 < float64(l.dictEntries()) {
		slots *= 2
	}
	return min(float64(l.dictEntries()), float64(l.dictBytes)/max(size, 1), slots/4*3, (float64(l.dictRoom())-2*slots)/each)
}

// ready makes room for one more entry, unless the dictionary is not to have so much.
func (d *dict) ready(lay layout) {
	if 2*d.n < len(d.slots) || d.n >= lay.dictEntries() {
		return
	}
	if len(d.slots) == 0 {
		d.slots = firstTables.Get().(*[minSlots]uint16)[:]
		clear(d.slots)
		d.keys, d.seen = append(d.keys[:0], 0), append(d.seen[:0], false) // what empty slots show
		return
	}
	// As it is the table takes half as many entries again, if slowly. A larger one must leave room for as many, or the
	// dictionary would hold less.
	if d.bytes()/2*3+4*len(d.slots) > lay.dictRoom() {
		return
	}
	slots := make([]uint16, 2*len(d.slots))
	m := uint64(len(slots) - 1)
	for i := 1; i <= d.n; i++ {
		h := mix(d.keys[i]) & m
		for slots[h] != 0 {
			h = (h + 1) & m
		}
		slots[h] = uint16(i)
	}
	d.rest()
	d.slots = slots
}

// insert makes an entry of v, PLAIN, which the table does not hold yet, in the slot that a search for it ended at, and gives
// the entry's index + 1.
func (d *dict) insert(lay layout, slot, key uint64, v []byte) uint16 {
	if n := len(d.data) + len(v); n > cap(d.data) { // half as much again, but never beyond what there may be
		room := min(lay.dictBytes, len(d.data)+lay.dictRoom()-d.bytes()-2*len(d.slots))
		data := make([]byte, len(d.data), max(n, min(n/2*3+1024, room)))
		copy(data, d.data)
		d.data = data
	}
	d.data = append(d.data, v...)
	d.keys = append(d.keys, key)
	d.seen = append(d.seen, false)
	d.n++
	d.slots[slot] = uint16(d.n)
	return uint16(d.n)
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
