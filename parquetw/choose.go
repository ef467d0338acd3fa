package parquetw

import (
	"bytes"
	"math"
	"math/bits"
	"slices"

	"fast-export/internal/column"
)

// The choice of an encoding, value by value and page by page: a leaf starts with a dictionary unless it is told
// otherwise, and leaves it for good as soon as its values turn out not to repeat.

// lookUp turns values into indices until one is not admitted to the dictionary, and tells how many bytes it took.
func (e *leafEncoder) lookUp(data []byte) (done int, err error) {
	e.dict.ready(e.lay)
	if len(e.dict.slots) > minSlots {
		e.raw = nil // left by the last row group, and too much beside a dictionary that grows
	}
	if w := e.leaf.Width; w == 4 || w == 8 {
		return e.lookUpWords(data), nil
	}
	return e.lookUpBytes(data)
}

// lookUpWords is lookUp for values of four or eight bytes.
func (e *leafEncoder) lookUpWords(data []byte) (done int) {
	w := e.leaf.Width
	for done < len(data) {
		// Some at a time: most columns whose values do not repeat have given up by then, and need no room for more.
		n := min(len(data)-done, tellingValues*w)
		k := e.lookUpSome(data[done : done+n])
		done += k
		if k < n {
			break
		}
	}
	return done
}

func (e *leafEncoder) lookUpSome(data []byte) (done int) {
	d, w := &e.dict, e.leaf.Width
	have := len(e.indices)
	e.indices = slices.Grow(e.indices, len(data)/w)[:have+len(data)/w]
	out := e.indices[have:]
	slots, keys, seen := d.slots, d.keys, d.seen
	for i := range out {
		var x uint64
		if w == 8 {
			x = le.Uint64(data[8*i:])
		} else {
			x = uint64(le.Uint32(data[4*i:]))
		}
		at := mix(x) & uint64(len(slots)-1)
		ref := slots[at]
		for keys[ref] != x && ref != 0 {
			at = (at + 1) & uint64(len(slots)-1)
			ref = slots[at]
		}
		if !seen[ref] { // always so of an empty slot
			v := data[w*i : w*i+w]
			if ref == 0 {
				if !e.admits(w, e.indices[:have+i]) {
					e.indices = e.indices[:have+i]
					return w * i
				}
				ref = d.insert(e.lay, at, x, v)
				if e.bloom != nil {
					e.bloom.add(v)
				}
				d.ready(e.lay)
				slots, keys, seen = d.slots, d.keys, d.seen
			}
			seen[ref] = true
			e.bounds.add(e.order, v, w)
		}
		out[i] = uint32(ref) - 1
	}
	return len(data)
}

// lookUpBytes is lookUp for byte arrays and fixed-length values of any width.
func (e *leafEncoder) lookUpBytes(data []byte) (done int, err error) {
	d, w := &e.dict, e.leaf.Width
	head := 0
	if w == 0 {
		head = 4
	}
	indices, slots, keys, seen := e.indices, d.slots, d.keys, d.seen
	for at := 0; at < len(data); {
		// Most values are short, and have been seen in the page.
		for w == 0 && len(data)-at >= 12 {
			n := uint64(le.Uint32(data[at:]))
			if n > 7 {
				break
			}
			key := le.Uint64(data[at+4:])&(1<<(8*n)-1) | n<<56 // keyOf, without its cases
			ref := slots[mix(key)&uint64(len(slots)-1)]
			if keys[ref] != key || !seen[ref] {
				break
			}
			indices = append(indices, uint32(ref)-1)
			at += 4 + int(n)
			done = at
		}
		l := w
		if w == 0 {
			if l = 4; len(data)-at >= 4 {
				l += int(le.Uint32(data[at:]))
			}
			if l > len(data)-at {
				if l, err = e.length(data, at); err != nil {
					return 0, err
				}
			}
		}
		plain := data[at : at+l]
		v := plain[head:]
		key := keyOf(v)
		slot := mix(key) & uint64(len(slots)-1)
		ref := slots[slot]
		for keys[ref] != key && ref != 0 || key >= longKey && ref != 0 && !bytes.Equal(d.entry(int(ref-1), w), plain) {
			slot = (slot + 1) & uint64(len(slots)-1)
			ref = slots[slot]
		}
		if !seen[ref] { // always so of an empty slot
			if ref == 0 {
				if !e.admits(l, indices) {
					break
				}
				ref = d.insert(e.lay, slot, key, plain)
				if w == 0 {
					d.ends = append(d.ends, uint32(len(d.data)))
				}
				if e.bloom != nil {
					e.bloom.add(v)
				}
				d.ready(e.lay)
				slots, keys, seen = d.slots, d.keys, d.seen
			}
			seen[ref] = true
			switch e.order {
			case orderNone:
			case orderFloat16:
				e.bounds.add(e.order, v, w)
			default:
				e.bounds.addBytes(e.order, v)
			}
		}
		indices = append(indices, uint32(ref)-1)
		at += l
		done = at
	}
	e.indices = indices
	return done, nil
}

// expectation is what a Prior says of a dictionary of a whole row group. The zero value says nothing.
type expectation struct {
	values    float64 // that a row group has
	distinct  float64 // of them, where a dictionary holds them and is worth it; else 0
	most      int     // entries of such a dictionary at most, or the prior is wrong
	share     float64 // of the values are distinct, wherever in the file
	overflows bool    // so that no dictionary holds a row group's
}

// expect works out what a prior means for row groups of so many rows.
func expect(p Prior, l *column.Leaf, lay layout, rows float64) expectation {
	if p.Distinct == 0 || !l.Flat() {
		return expectation{}
	}
	width := float64(l.Width)
	if l.Width == 0 {
		width = 4 + p.Bytes
	}
	x := expectation{values: rows * p.Present}
	room := lay.holds(width, l.Width == 0)
	if p.Distinct < 0 {
		x.share = -p.Distinct
		x.overflows = x.share*x.values > room
		return x
	}
	// Of D values that are equally frequent so many are seen among n; of others fewer.
	n := p.Distinct * -math.Expm1(-x.values/p.Distinct)
	if most := 1.2*n + 8; most <= room && n <= x.values/4 {
		x.distinct, x.most = n, int(most)
	}
	return x
}

// tellingValues is how many values show whether a column repeats itself.
const tellingValues = 1024

// admits tells whether the dictionary takes another entry of so many bytes, for the value behind those of the open page
// that have indices. It depends on the values of the row group so far, one by one.
func (e *leafEncoder) admits(size int, indices []uint32) bool {
	n := e.dict.n
	if e.dict.full(e.lay, size) {
		return false
	}
	if e.confirmed || e.believes && n < e.expect.most {
		return true
	}
	if !e.told && len(indices) >= tellingValues {
		e.told = true
		// Of D values that are equally frequent, about 2^19/D are seen twice among the first 2^10. Fewer than 8 say that
		// D is beyond any dictionary. One value that is frequent among unique ones, a NaN or a 0, counts but once.
		if n > tellingValues/2 && repeated(indices[:tellingValues]) < 8 {
			return false
		}
	}
	return n < 2048+(e.seen+len(indices))/4*3
}

// repeated counts the entries below tellingValues that are there more than once.
func repeated(indices []uint32) (n int) {
	var times [tellingValues]uint8
	for _, i := range indices {
		if i < tellingValues {
			if times[i]++; times[i] == 2 {
				n++
			} else if times[i] == 255 {
				times[i] = 3
			}
		}
	}
	return n
}

// giveUp turns the open page from indices into values; no page of this row group will have indices again. So many bytes more are
// at hand for it, 0: it is full.
func (e *leafEncoder) giveUp(more int) {
	e.inDict = false
	e.openRaw(more)
	e.raw = e.dict.appendEntries(e.raw, e.indices, e.leaf.Width)
	if e.indices = e.indices[:0]; cap(e.indices) > 4*tellingValues {
		e.indices = nil
	}
	if e.seen == 0 {
		e.dict.drop() // no page has an index
	} else {
		e.dict.endSearch() // the entries are still to be written
	}
}

// judge looks at a full page of indices: are they worth it? It may turn the page into values.
func (e *leafEncoder) judge(s *scratch) {
	n, d := e.seen+len(e.indices), e.dict.n
	holds := e.believes && d <= e.expect.most
	if d > 8 && d > n/2 && !holds {
		e.giveUp(0)
		return
	}
	if n < 4096 {
		return // too few to tell for good
	}
	if e.believes && float64(d) > e.expect.share/2*float64(n) && e.expect.overflows {
		e.giveUp(0)
		return
	}
	if p := e.leaf.Physical; p == column.Int32 || p == column.Int64 {
		s.trial = e.dict.appendEntries(s.trial[:0], e.indices, e.leaf.Width)
		s.page = appendDelta(s.page[:0], s.trial, e.leaf.Width)
		delta := s.compressedLen(e.w.compression, s.page)
		s.page = s.page[:0]
		entries := 0
		if holds { // the pages to come share the entries
			entries = int(float64(s.compressedLen(e.w.compression, e.dict.data)) * min(1, float64(n)/e.expect.values*e.expect.distinct/float64(d)))
		} else {
			s.page = append(s.page, e.dict.data...)
		}
		s.page = appendHybrid(s.page, e.indices, indexBits(d))
		if delta < entries+s.compressedLen(e.w.compression, s.page) {
			e.giveUp(0)
			return
		}
	}
	e.confirmed = true
}

// indexBits is the width of an index into a dictionary of n entries: at least 1, although one entry would need none,
// which not every reader expects.
func indexBits(n int) int { return max(1, bits.Len(uint(max(n-1, 0)))) }

// otherwise chooses what values become without a dictionary, from the values of a page.
func (e *leafEncoder) otherwise(s *scratch, values []byte) Encoding {
	switch e.leaf.Physical {
	case column.Float32, column.Float64:
		return ByteStreamSplit
	case column.Int32, column.Int64:
		// Numbers without any order have differences as long as they are, or longer.
		if s.page = appendDelta(s.page[:0], values, e.leaf.Width); len(s.page) < len(values)/16*15 {
			return Delta
		}
	case column.ByteArray:
		if !e.isDict { // as which pyarrow reads nothing but indices and plain values
			return Delta
		}
	}
	return Plain
}
