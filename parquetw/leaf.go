package parquetw

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"fast-export/internal/column"
)

const maxPageBytes = math.MaxInt32 // a page's sizes are int32 in its header

// layout is what page and dictionary sizes follow from: the schema alone.
type layout struct {
	pageRows  int // rows of a page at most, counted from the row group's start; a multiple of 8
	pageBytes int // PLAIN bytes of a page at most, unless a single row has more
	dictBytes int // bytes of a dictionary at most
}

// dictEntries is the most entries of a dictionary: numbers find room in any case.
func (l layout) dictEntries() int { return min(maxEntries, l.dictBytes/16) }

// dictRoom is the most that a dictionary takes with all that finds its entries, in bytes.
func (l layout) dictRoom() int { return l.dictBytes/2*3 + 2*minSlots }

// layoutFor keeps the open pages of all leaves together within about 32 MiB, and the entries of their dictionaries too,
// down to pages that are not worth having.
func layoutFor(leaves int) layout {
	bytes := min(max((32<<20)/max(leaves, 1), 32<<10), 1<<20)
	return layout{pageRows: min(max(bytes/8, 4096), 32768) &^ 7, pageBytes: bytes, dictBytes: bytes}
}

// OpenBytes is about the most that the open pages and dictionaries of a file with so many leaves take, in bytes. A page
// of indices takes up to half of what it would as values, of which none are there beside a dictionary in use; byte arrays
// take an eighth for lengths and room.
func OpenBytes(leaves int) int64 {
	l := layoutFor(leaves)
	return int64(leaves) * int64(l.pageBytes/2+l.pageBytes/8+l.dictRoom())
}

// piece is one task: rows [from, to) of a batch for one leaf, or no batch where a row group ends without further rows.
type piece struct {
	batch    *batchRef
	from, to int
	last     bool      // nothing of the batch follows
	group    *rowGroup // where the rows go
	cut      bool      // the row group ends behind them
}

// leafEncoder makes pages of one leaf's values, in the order of the rows. One encoder goroutine at a time has it.
//
// Values gather in the open page either as indices into the row group's dictionary or, PLAIN, in raw; the page is laid
// out when it is full. A page in the first form can turn into the second at any value, which is how a dictionary gives up.
type leafEncoder struct {
	w      *Writer
	index  int
	leaf   *column.Leaf
	hint   Encoding
	isDict bool // of Arrow's dictionary type
	order  order
	expect expectation
	bloom  *bloom // of the open column chunk, nil: none is wanted
	lay    layout

	// guarded by the pool's mutex
	queue  []piece
	queued bool // in the pool's line, or with an encoder goroutine

	// where in the batch at hand the next row begins
	entry, value, at int // entry of the levels, value, byte of Data

	// the open column chunk
	chunk     *columnChunk
	dict      dict
	inDict    bool     // values are indices
	believes  bool     // in expect
	told      bool     // the first values of a page have been looked at
	confirmed bool     // the dictionary has proven itself: it gives up for its size alone
	other     Encoding // what values become that no dictionary holds; Auto while undecided
	front     front    // whether byte arrays among them leave out how they begin
	seen      int      // values of finished pages
	done      int64    // rows of finished pages, of all column chunks

	// the open page
	rows, values, bytes int // bytes: PLAIN, and for nested leaves the levels
	valid               []byte
	def, rep            []byte
	raw                 []byte // room for levels in front, and for lengths
	apart               bool   // raw has byte arrays without their lengths
	lengths, prefixes   []byte // which are here, four bytes each
	last                []byte // the value that the next one may begin like
	body                int    // bytes of values in the last page that had them apart, 0: there was none in the column chunk
	indices             []uint32
	bounds              bounds

	held int64 // memory last reported to the pool
}

// room is what a page of raw leaves free in front for the levels, so that values need not be moved: enough for any flat
// leaf's; and for lengths.
func (e *leafEncoder) room() int {
	n := 0
	if e.leaf.MaxDef > 0 {
		n = 16 + e.lay.pageRows/8
	}
	if e.leaf.Physical == column.ByteArray {
		n += min(e.lay.pageRows, e.lay.pageBytes/16) // a byte for a length and what is shared, which is as much as most take
	}
	return n
}

// run does one task.
func (e *leafEncoder) run(s *scratch, p piece) error {
	if p.group != nil && e.chunk == nil {
		e.chunk = &p.group.chunks[e.index]
		e.startChunk()
	}
	if p.batch != nil {
		b := p.batch.batch
		buf := &b.Leaves[e.index]
		if p.from == 0 {
			e.entry, e.value, e.at = 0, 0, 0
			if err := e.leaf.Check(buf, b.Rows); err != nil {
				return err
			}
		}
		var err error
		if e.leaf.Flat() {
			err = e.flat(s, p.group, buf, b.Rows, p.from, p.to)
		} else {
			err = e.nested(s, p.group, buf, p.to-p.from)
		}
		if err != nil {
			return err
		}
		if p.last && e.at != len(buf.Data) {
			return fmt.Errorf("leaf %s: %d bytes behind the last of %d values", e.leaf.Path, len(buf.Data)-e.at, buf.Values)
		}
	}
	if p.cut {
		return e.endChunk(s, p.group)
	}
	return nil
}

func (e *leafEncoder) startChunk() {
	e.dict.reset()
	e.told, e.confirmed, e.other, e.front, e.seen, e.body = false, false, Auto, undecided, 0, 0
	e.believes = true
	if e.bloom != nil {
		e.bloom.begin()
	}
	switch {
	case e.leaf.Physical == column.Bool:
		e.inDict, e.other = false, Plain
	case e.hint == Auto:
		e.inDict = true
	case e.hint == Dictionary:
		e.inDict, e.confirmed, e.other = true, true, Plain // as other writers have it
	default:
		e.inDict, e.other = false, e.hint
	}
	e.startPage()
}

// longText is how many bytes byte arrays must have, PLAIN and on average, to come into the page apart from their lengths at once.
const longText = 32

func (e *leafEncoder) startPage() {
	values := e.values
	long := e.bytes >= longText*values // of short ones the lengths would take as much again
	e.rows, e.values, e.bytes = 0, 0, 0
	e.valid, e.def, e.rep, e.indices = e.valid[:0], e.def[:0], e.rep[:0], e.indices[:0]
	clear(e.dict.seen)
	e.bounds.reset()
	e.raw, e.lengths, e.prefixes, e.last = e.raw[:0], e.lengths[:0], e.prefixes[:0], e.last[:0]
	if cap(e.lengths) > maxKept {
		e.lengths, e.prefixes = nil, nil // left by many short values
	}
	e.apart = !e.inDict && e.other == Delta && e.front != undecided && long
	if e.apart && cap(e.lengths) == 0 {
		e.lengths = make([]byte, 0, 4*values)
	}
	if e.apart && e.front == shared && cap(e.prefixes) == 0 {
		e.prefixes = make([]byte, 0, 4*values)
	}
	if e.inDict && e.confirmed || cap(e.raw) > 2*e.lay.pageBytes+maxKept {
		e.raw = nil // it will hardly be needed again, or a giant value has left it behind
	}
}

// openRaw begins the open page's PLAIN form, whose next values have so many bytes; none are the page's last.
func (e *leafEncoder) openRaw(more int) {
	if cap(e.raw) == 0 {
		// As much as a whole page will have if it goes on as it began: growing step by step costs more than encoding.
		rows, want := e.lay.pageRows, e.lay.pageBytes
		if left := e.w.opt.Rows - e.done; left > 0 { // the file may well end before the page does
			rows = int(min(int64(rows), left))
			want = int(int64(want) * int64(rows) / int64(e.lay.pageRows))
		}
		switch w := e.leaf.Width; {
		case more == 0:
			want = e.bytes
		case e.rows > 0:
			want = min(e.lay.pageBytes, e.bytes/e.rows*rows*17/16)
		case w > 0:
			want = min(want, w*rows)
		}
		if e.apart {
			want -= min(want, cap(e.lengths))
			if e.body > 0 {
				want, more = min(want, e.body*17/16), 0
			}
		}
		e.raw = make([]byte, 0, e.room()+max(want, more))
	}
	e.raw = grow(e.raw[:0], e.room())
}

// flat takes rows [from, to) of a leaf without levels, the next of its batch.
func (e *leafEncoder) flat(s *scratch, g *rowGroup, buf *column.Buffer, batchRows, from, to int) error {
	for from < to {
		n := min(to-from, e.lay.pageRows-e.rows)
		k := n
		switch {
		case buf.Values == 0:
			k = 0
		case buf.Values < batchRows:
			k = column.PopCount(buf.Valid, from, from+n)
		}
		fit, size, err := e.fit(buf, k)
		if err != nil {
			return err
		}
		if fit < k { // the page ends in front of the row of the value that finds no room
			if buf.Values < batchRows {
				n = bitOf(buf.Valid, from, from+n, fit) - from
			} else {
				n = fit
			}
		}
		if e.leaf.MaxDef > 0 {
			e.valid = appendBits(e.valid, e.rows, buf.Valid, from, from+n)
		}
		want := e.value + fit
		if err := e.take(s, buf, size); err != nil {
			return err
		}
		if e.value != want {
			return fmt.Errorf("leaf %s: %d values where the levels say %d", e.leaf.Path, e.value, want)
		}
		e.bytes += size
		e.rows += n
		from += n
		if fit < k || e.rows == e.lay.pageRows {
			if err := e.endPage(s, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// fit tells how many of the next k values the open page has room for, and their bytes. A page without bytes has room
// for one value of any length.
func (e *leafEncoder) fit(buf *column.Buffer, k int) (n, size int, err error) {
	if w := e.leaf.Width; w > 0 {
		n = k
		if e.bytes+k*w > e.lay.pageBytes {
			n = min(k, max(0, (e.lay.pageBytes-e.bytes)/w))
			if n == 0 && k > 0 && e.bytes == 0 {
				n = 1
			}
		}
		return n, n * w, nil
	}
	if rest := len(buf.Data) - e.at; k == buf.Values-e.value && e.bytes+rest <= e.lay.pageBytes {
		return k, rest, nil
	}
	total := e.bytes
	at := e.at
	for n < k {
		l, err := e.length(buf.Data, at)
		if err != nil {
			return 0, 0, err
		}
		if total > 0 && total+l > e.lay.pageBytes {
			break
		}
		total += l
		at += l
		n++
	}
	return n, at - e.at, nil
}

// length is the length of the byte array at data[at:], with its four bytes of length.
func (e *leafEncoder) length(data []byte, at int) (int, error) { return byteArray(e.leaf, data, at) }

// byteArray is the length of the byte array of a leaf at data[at:], with its four bytes of length.
func byteArray(leaf *column.Leaf, data []byte, at int) (int, error) {
	truncated := func() error {
		return fmt.Errorf("leaf %s: a byte array ends %d bytes behind its beginning, in its middle", leaf.Path, len(data)-at)
	}
	if len(data)-at < 4 {
		return 0, truncated()
	}
	l := int64(le.Uint32(data[at:]))
	if l > maxPageBytes-64 { // a page of this one value must still have a length
		return 0, &ValueError{Leaf: leaf.Path, Reason: fmt.Sprintf("a value of %d bytes: Parquet holds at most 2 GiB - 1 a page", l)}
	}
	if l > int64(len(data)-at-4) {
		return 0, truncated()
	}
	return int(l) + 4, nil
}

// take adds the next values of a batch, of so many bytes, to the open page.
func (e *leafEncoder) take(s *scratch, buf *column.Buffer, size int) error {
	data := buf.Data[e.at : e.at+size]
	e.at += size
	if e.inDict {
		n := len(e.indices)
		done, err := e.lookUp(data)
		if err != nil {
			return err
		}
		n = len(e.indices) - n
		e.values += n
		e.value += n
		if done == len(data) {
			return nil
		}
		e.giveUp(len(data) - done)
		data = data[done:]
	}
	if len(e.raw) == 0 {
		e.openRaw(len(data))
	}
	n, err := e.look(data)
	if err != nil {
		return err
	}
	if e.bloom != nil {
		e.bloom.addAll(data, e.leaf.Width)
	}
	e.values += n
	e.value += n
	if !e.apart {
		e.raw = append(e.raw, data...)
	}
	return nil
}

// look counts values, checks their form and takes them into the page's bounds; byte arrays that are to be apart from their
// lengths it takes into the page, too.
func (e *leafEncoder) look(data []byte) (n int, err error) {
	if w := e.leaf.Width; w > 0 {
		if e.leaf.Physical == column.Bool {
			for _, b := range data {
				if b > 1 {
					return 0, fmt.Errorf("leaf %s: %d is no boolean", e.leaf.Path, b)
				}
			}
		}
		e.bounds.add(e.order, data, w)
		return len(data) / w, nil
	}
	var raw, lengths, prefixes, last []byte
	to, front := len(e.raw), e.apart && e.front == shared
	if e.apart {
		raw, lengths, prefixes, last = e.raw[:cap(e.raw)], e.lengths, e.prefixes, e.last
	}
	b := &e.bounds
	for at := 0; at < len(data); n++ {
		l, within := 0, false
		if len(data)-at >= 12 {
			// Most values lie between the bounds by their first eight bytes alone; bytes of the next value do not count.
			u := uint64(le.Uint32(data[at:]))
			x := binary.BigEndian.Uint64(data[at+4:])
			if u < 8 {
				x &^= math.MaxUint64 >> (8 * u)
			}
			p := int64(x) ^ signBit
			l = int(u) + 4
			within = u <= uint64(len(data)-at-4) && (b.has && p > b.lo && p < b.hi || e.order == orderNone)
		}
		if !within {
			if l, err = e.length(data, at); err != nil {
				return 0, err
			}
			if e.order != orderNone {
				b.addBytes(e.order, data[at+4:at+l])
			}
		}
		if e.apart {
			v := data[at+4 : at+l]
			from, size := at+4, len(v)
			if front {
				p := sharedPrefix(last, v)
				prefixes = le.AppendUint32(prefixes, uint32(p))
				from, size = from+p, size-p
				last = asLast(v)
			}
			lengths = le.AppendUint32(lengths, uint32(size))
			if len(raw)-to < size {
				raw = slices.Grow(raw[:to], size)
				raw = raw[:cap(raw)]
			}
			if size <= 16 && len(data)-from >= 16 && len(raw)-to >= 16 { // whatever lies behind the value: cheaper than a copy of size
				copy(raw[to:to+16], data[from:from+16])
			} else {
				copy(raw[to:], data[from:from+size])
			}
			to += size
		}
		at += l
	}
	if e.apart {
		e.raw, e.lengths, e.prefixes = raw[:to], lengths, prefixes
		if front && n > 0 {
			e.last = append(e.last[:0], last...) // the batch goes
		}
	}
	return n, nil
}

// nested takes the next rows of a leaf with levels. A page ends in front of a row, never in one.
func (e *leafEncoder) nested(s *scratch, g *rowGroup, buf *column.Buffer, rows int) error {
	levels := 1
	if e.leaf.MaxRep > 0 {
		levels = 2
	}
	for rows > 0 {
		from, size, n, full := e.entry, 0, 0, false
		at, value := e.at, e.value
		for n < rows && e.rows+n < e.lay.pageRows {
			end := rowEnd(buf, e.entry)
			values := count(buf.Def[e.entry:end], e.leaf.MaxDef)
			bytes, err := e.span(buf, at, values)
			if err != nil {
				return err
			}
			row := bytes + levels*(end-e.entry)
			if row > maxPageBytes-64 {
				return &ValueError{Leaf: e.leaf.Path, Reason: fmt.Sprintf("a row of %d bytes: Parquet holds at most 2 GiB - 1 a page", row)}
			}
			if e.bytes+size > 0 && e.bytes+size+row > e.lay.pageBytes {
				full = true
				break
			}
			size += row
			at += bytes
			value += values
			e.entry = end
			n++
		}
		e.def = append(e.def, buf.Def[from:e.entry]...)
		if e.leaf.MaxRep > 0 {
			e.rep = append(e.rep, buf.Rep[from:e.entry]...)
		}
		if err := e.take(s, buf, at-e.at); err != nil {
			return err
		}
		if e.value != value {
			return fmt.Errorf("leaf %s: %d values where the levels say %d", e.leaf.Path, e.value, value)
		}
		e.bytes += size
		e.rows += n
		rows -= n
		if full || e.rows == e.lay.pageRows {
			if err := e.endPage(s, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// rowEnd is where the row that begins at an entry ends.
func rowEnd(buf *column.Buffer, entry int) int {
	if len(buf.Rep) == 0 {
		return entry + 1
	}
	if entry+1 < len(buf.Rep) && buf.Rep[entry+1] == 0 {
		return entry + 1
	}
	if i := bytes.IndexByte(buf.Rep[entry+1:], 0); i >= 0 {
		return entry + 1 + i
	}
	return len(buf.Rep)
}

func count(levels []byte, level uint8) int {
	if len(levels) == 1 {
		if levels[0] == level {
			return 1
		}
		return 0
	}
	return bytes.Count(levels, []byte{level})
}

// span is the size of the next n values at an offset of a batch's data.
func (e *leafEncoder) span(buf *column.Buffer, at, n int) (int, error) {
	if w := e.leaf.Width; w > 0 {
		return n * w, nil
	}
	from := at
	for range n {
		l, err := e.length(buf.Data, at)
		if err != nil {
			return 0, err
		}
		at += l
	}
	return at - from, nil
}

// endChunk finishes what the row group gets of this leaf.
func (e *leafEncoder) endChunk(s *scratch, g *rowGroup) error {
	if e.seen == 0 {
		e.believes = false // all values are here
	}
	if e.rows > 0 {
		if err := e.endPage(s, g); err != nil {
			return err
		}
	}
	c := e.chunk
	if c.counts[0] > 0 {
		job := pageJob{leaf: e, group: g, number: -1, body: e.dict.data, values: e.dict.n, encoding: thriftPlain}
		if err := job.finish(s); err != nil {
			return err
		}
	}
	if e.bloom != nil {
		var err error
		if c.bloom, err = e.bloom.store(s, g); err != nil {
			return err
		}
	}
	c.stats = c.bounds.encode(e.order, &c.slab)
	e.dict.rest()
	e.chunk = nil
	return nil
}

// memory is what the leaf holds on to, in bytes.
func (e *leafEncoder) memory() int64 {
	n := int64(cap(e.valid)+cap(e.def)+cap(e.rep)+cap(e.raw)+cap(e.lengths)+cap(e.prefixes)+cap(e.last)+4*cap(e.indices)) + e.dict.held()
	if e.bloom != nil {
		n += int64(4*cap(e.bloom.words) + 8*cap(e.bloom.early))
	}
	return n
}
