package parquetw

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"

	"fast-export/internal/column"
)

// Parquet's own numbers for encodings.
// Source: enum Encoding in parquet.thrift
const (
	thriftPlain       = 0
	thriftRLE         = 3
	thriftDelta       = 5
	thriftDeltaLength = 6
	thriftRLEDict     = 8
	thriftByteSplit   = 9
)

const maxPageBytes = math.MaxInt32 // a page's sizes are int32 in its header

// layout is what page and dictionary sizes follow from: the schema alone.
type layout struct {
	pageRows  int // rows of a page at most, counted from the row group's start; a multiple of 8
	pageBytes int // PLAIN bytes of a page at most, unless a single row has more
	dictBytes int // bytes of a dictionary at most
}

// layoutFor keeps the open pages and dictionaries of all leaves together within 32 MiB or so each, down to pages that
// are not worth having.
func layoutFor(leaves int) layout {
	bytes := min(max((32<<20)/max(leaves, 1), 32<<10), 1<<20)
	return layout{pageRows: min(max(bytes/8, 4096), 32768) &^ 7, pageBytes: bytes, dictBytes: bytes}
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
	told      bool     // the first values of a page have been looked at
	confirmed bool     // the dictionary has proven itself: it gives up for its size alone
	other     Encoding // what values become that no dictionary holds; Auto while undecided
	seen      int      // values of finished pages

	// the open page
	rows, values, bytes int // bytes: PLAIN, and for nested leaves the levels
	valid               []byte
	def, rep            []byte
	raw                 []byte // room for levels in front
	indices             []uint32
	bounds              bounds

	held int64 // memory last reported to the pool
}

// room is what a page of raw leaves free in front for the levels, so that values need not be moved: enough for any flat
// leaf's.
func (e *leafEncoder) room() int {
	if e.leaf.MaxDef == 0 {
		return 0
	}
	return 16 + e.lay.pageRows/8
}

// page is one finished page of a column chunk.
type page struct {
	at       int64 // where it lies in the row group's store, header first
	size     int64 // bytes, with the header
	firstRow int64 // counted from the row group's start
	nulls    int64
	allNull  bool
	bounds   encoded
}

// columnChunk is what a leaf has given to a row group.
type columnChunk struct {
	pages    []page
	dict     page    // size 0: none
	rows     int64   // rows of all pages
	entries  int64   // values with nulls
	nulls    int64   // entries without a value
	rawBytes int64   // of all pages, headers included, before compression
	counts   [5]int  // data pages by encoding: see pageEncodings
	bounds   bounds  // of all values
	stats    encoded // bounds as the footer has them
	slab     []byte  // where encoded bounds lie
}

// pageEncodings are the encodings of data pages, in the order in which a chunk's metadata names them.
var pageEncodings = [...]int32{thriftRLEDict, thriftPlain, thriftByteSplit, thriftDelta, thriftDeltaLength}

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
	e.told, e.confirmed, e.other, e.seen = false, false, Auto, 0
	switch {
	case e.leaf.Physical == column.Bool:
		e.inDict, e.other = false, Plain
	case e.hint == Auto:
		e.inDict = true
	case e.hint == Dictionary:
		e.inDict, e.confirmed = true, true
	default:
		e.inDict, e.other = false, e.hint
	}
	e.startPage()
}

func (e *leafEncoder) startPage() {
	e.rows, e.values, e.bytes = 0, 0, 0
	e.valid, e.def, e.rep, e.indices = e.valid[:0], e.def[:0], e.rep[:0], e.indices[:0]
	e.bounds.reset()
	e.startRaw()
}

func (e *leafEncoder) startRaw() {
	if e.inDict {
		if e.confirmed {
			e.raw = nil // it will hardly be needed again
		}
		return
	}
	if cap(e.raw) > 2*e.lay.pageBytes+maxKept {
		e.raw = nil
	}
	if e.raw == nil {
		// As much as a whole page will have if it goes on as it began: growing step by step costs more than encoding.
		want := e.lay.pageBytes
		if e.rows > 0 {
			want = min(want, e.bytes/e.rows*e.lay.pageRows*17/16)
		} else if w := e.leaf.Width; w > 0 {
			want = min(want, w*e.lay.pageRows)
		}
		e.raw = make([]byte, 0, e.room()+want)
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
func (e *leafEncoder) length(data []byte, at int) (int, error) {
	if len(data)-at < 4 {
		return 0, e.truncated(len(data) - at)
	}
	l := int64(le.Uint32(data[at:]))
	if l > maxPageBytes-64 { // a page of this one value must still have a length
		return 0, &ValueError{Leaf: e.leaf.Path, Reason: fmt.Sprintf("a value of %d bytes: Parquet holds at most 2 GiB - 1 a page", l)}
	}
	if l > int64(len(data)-at-4) {
		return 0, e.truncated(len(data) - at)
	}
	return int(l) + 4, nil
}

func (e *leafEncoder) truncated(rest int) error {
	return fmt.Errorf("leaf %s: a byte array ends %d bytes behind its beginning, in its middle", e.leaf.Path, rest)
}

// take adds the next values of a batch, of so many bytes, to the open page.
func (e *leafEncoder) take(s *scratch, buf *column.Buffer, size int) error {
	data := buf.Data[e.at : e.at+size]
	e.at += size
	if e.inDict {
		n := len(e.indices)
		done, err := e.lookUp(data, &s.spare)
		if err != nil {
			return err
		}
		n = len(e.indices) - n
		e.values += n
		e.value += n
		if done == len(data) {
			return nil
		}
		e.giveUp(s)
		data = data[done:]
	}
	n, err := e.look(data)
	if err != nil {
		return err
	}
	e.values += n
	e.value += n
	e.raw = append(e.raw, data...)
	return nil
}

// look counts values, checks their form and takes them into the page's bounds.
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
	b := &e.bounds
	for at := 0; at < len(data); n++ {
		if len(data)-at >= 12 {
			// Most values lie between the bounds by their first eight bytes alone; bytes of the next value do not count.
			l := uint64(le.Uint32(data[at:]))
			x := binary.BigEndian.Uint64(data[at+4:])
			if l < 8 {
				x &^= math.MaxUint64 >> (8 * l)
			}
			p := int64(x) ^ signBit
			if l <= uint64(len(data)-at-4) && (b.has && p > b.lo && p < b.hi || e.order == orderNone) {
				at += int(l) + 4
				continue
			}
		}
		l, err := e.length(data, at)
		if err != nil {
			return 0, err
		}
		if e.order != orderNone {
			b.addBytes(e.order, data[at+4:at+l])
		}
		at += l
	}
	return n, nil
}

// lookUp turns values into indices until one is not admitted to the dictionary, and tells how many bytes it took.
func (e *leafEncoder) lookUp(data []byte, spare *[][]dictSlot) (done int, err error) {
	e.dict.ready(spare)
	if w := e.leaf.Width; w == 4 || w == 8 {
		return e.lookUpWords(data, spare), nil
	}
	return e.lookUpBytes(data, spare)
}

// lookUpWords is lookUp for values of four or eight bytes.
func (e *leafEncoder) lookUpWords(data []byte, spare *[][]dictSlot) (done int) {
	w := e.leaf.Width
	for done < len(data) {
		// Some at a time: most columns whose values do not repeat have given up by then, and need no room for more.
		n := min(len(data)-done, tellingValues*w)
		k := e.lookUpSome(data[done:done+n], spare)
		done += k
		if k < n {
			break
		}
	}
	return done
}

func (e *leafEncoder) lookUpSome(data []byte, spare *[][]dictSlot) (done int) {
	d, w := &e.dict, e.leaf.Width
	number := uint32(len(e.chunk.pages)) + 1
	have := len(e.indices)
	e.indices = slices.Grow(e.indices, len(data)/w)[:have+len(data)/w]
	out := e.indices[have:]
	slots := d.slots
	for i := range out {
		var x uint64
		if w == 8 {
			x = le.Uint64(data[8*i:])
		} else {
			x = uint64(le.Uint32(data[4*i:]))
		}
		h := mix(x)
		s := &slots[h&uint64(len(slots)-1)]
		for s.ref != 0 && s.key != x {
			h++
			s = &slots[h&uint64(len(slots)-1)]
		}
		if s.page != number { // never so in an empty slot
			v := data[w*i : w*i+w]
			if s.ref == 0 {
				if !e.admits(w, e.indices[:have+i]) {
					e.indices = e.indices[:have+i]
					return w * i
				}
				d.insert(s, x, v, false)
			}
			s.page = number
			e.bounds.add(e.order, v, w)
			out[i] = s.ref - 1
			d.ready(spare)
			slots = d.slots
			continue
		}
		out[i] = s.ref - 1
	}
	return len(data)
}

// lookUpBytes is lookUp for byte arrays and fixed-length values of any width.
func (e *leafEncoder) lookUpBytes(data []byte, spare *[][]dictSlot) (done int, err error) {
	d, w := &e.dict, e.leaf.Width
	number := uint32(len(e.chunk.pages)) + 1
	head := 0
	if w == 0 {
		head = 4
	}
	indices, slots := e.indices, d.slots
	for at := 0; at < len(data); {
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
		var key uint64
		if n := len(v); n < 8 && at+head+8 <= len(data) {
			key = le.Uint64(data[at+head:])&(1<<(8*n)-1) | uint64(n)<<56 // keyOf, without its cases
		} else {
			key = keyOf(v)
		}
		h := mix(key)
		s := &slots[h&uint64(len(slots)-1)]
		for s.ref != 0 && (s.key != key || key >= longKey && !bytes.Equal(d.entry(int(s.ref-1), w), plain)) {
			h++
			s = &slots[h&uint64(len(slots)-1)]
		}
		if s.page != number { // never so in an empty slot
			if s.ref == 0 {
				if !e.admits(l, indices) {
					break
				}
				d.insert(s, key, plain, w == 0)
			}
			s.page = number
			switch e.order {
			case orderNone:
			case orderFloat16:
				e.bounds.add(e.order, v, w)
			default:
				e.bounds.addBytes(e.order, v)
			}
			indices = append(indices, s.ref-1)
			d.ready(spare)
			slots = d.slots
		} else {
			indices = append(indices, s.ref-1)
		}
		at += l
		done = at
	}
	e.indices = indices
	return done, nil
}

// tellingValues is how many values show whether a column repeats itself.
const tellingValues = 1024

// admits tells whether the dictionary takes another entry of so many bytes, for the value behind those of the open page
// that have indices. It depends on the values of the row group so far, one by one.
func (e *leafEncoder) admits(size int, indices []uint32) bool {
	n := e.dict.n
	if n >= maxEntries || len(e.dict.data)+size > e.lay.dictBytes {
		return false
	}
	if e.confirmed {
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

// giveUp turns the open page from indices into values; no page of this row group will have indices again.
func (e *leafEncoder) giveUp(s *scratch) {
	e.inDict = false
	e.startRaw()
	e.raw = e.dict.appendEntries(e.raw, e.indices, e.leaf.Width)
	if e.indices = e.indices[:0]; cap(e.indices) > 4*tellingValues {
		e.indices = nil
	}
	if e.seen == 0 {
		e.dict.drop(&s.spare) // no page has an index
	} else {
		e.dict.endSearch(&s.spare) // the entries are still to be written
	}
}

// judge looks at a full page of indices: are they worth it? It may turn the page into values.
func (e *leafEncoder) judge(s *scratch) {
	n, d := e.seen+len(e.indices), e.dict.n
	if d > 8 && d > n/2 {
		e.giveUp(s)
		return
	}
	if n < 4096 {
		return // too few to tell for good
	}
	if p := e.leaf.Physical; p == column.Int32 || p == column.Int64 {
		s.trial = e.dict.appendEntries(s.trial[:0], e.indices, e.leaf.Width)
		s.page = appendDelta(s.page[:0], s.trial, e.leaf.Width)
		delta := s.compressedLen(e.w.compression, s.page)
		s.page = appendHybrid(append(s.page[:0], e.dict.data...), e.indices, indexBits(d))
		if delta < s.compressedLen(e.w.compression, s.page) {
			e.giveUp(s)
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
			return DeltaBinaryPacked
		}
	case column.ByteArray:
		if !e.isDict { // as which pyarrow reads nothing but indices and plain values
			return DeltaLengthByteArray
		}
	}
	return Plain
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

// endPage lays out the open page, compresses it and hands it to the row group.
func (e *leafEncoder) endPage(s *scratch, g *rowGroup) error {
	if e.inDict && !e.confirmed {
		e.judge(s)
	}
	l, c := e.leaf, e.chunk
	entries := e.rows
	s.levels = s.levels[:0]
	if l.Flat() {
		if l.MaxDef > 0 {
			s.levels = appendFlatLevels(s.levels, e.valid, e.rows, e.values)
		}
	} else {
		entries = len(e.def)
		if l.MaxRep > 0 {
			s.levels = appendLevels(s.levels, e.rep, l.MaxRep)
		}
		s.levels = appendLevels(s.levels, e.def, l.MaxDef)
	}

	var body []byte
	encoding := 1
	switch {
	case e.inDict:
		encoding = 0 // also for nothing but nulls, with a dictionary of no entries if need be: so do other writers
		w := indexBits(e.dict.n)
		body = appendHybrid(append(append(s.page[:0], s.levels...), byte(w)), e.indices, w)
		s.page = body
	case e.values == 0: // no encoding has anything to say
		body = append(s.page[:0], s.levels...)
		s.page = body
	default:
		values := e.raw[e.room():]
		if e.other == Auto {
			e.other = e.otherwise(s, values)
		}
		switch {
		case e.other == ByteStreamSplit:
			encoding = 2
			body = appendSplit(append(s.page[:0], s.levels...), values, l.Width)
			s.page = body
		case e.other == DeltaBinaryPacked:
			encoding = 3
			body = appendDelta(append(s.page[:0], s.levels...), values, l.Width)
			s.page = body
		case e.other == DeltaLengthByteArray:
			encoding = 4
			body = appendDeltaLength(append(s.page[:0], s.levels...), values, &s.trial)
			s.page = body
		case l.Physical == column.Bool:
			body = appendBools(append(s.page[:0], s.levels...), values)
			s.page = body
		case len(s.levels) <= e.room():
			body = e.raw[e.room()-len(s.levels):]
			copy(body, s.levels)
		default:
			body = append(append(s.page[:0], s.levels...), values...)
			s.page = body
		}
	}
	// Without lengths between them, and in the constant bytes of decimals, few things match, and all there is to gain is in
	// how often each byte occurs.
	literals := encoding == 4 || encoding == 1 && e.order == orderDecimal
	p, err := e.put(s, g, body, literals, func(h *compact) {
		h.begin(5)
		h.i32(1, int32(entries))
		h.i32(2, pageEncodings[encoding])
		h.i32(3, thriftRLE)
		h.i32(4, thriftRLE)
		h.end()
	}, thriftDataPage)
	if err != nil {
		return err
	}
	p.firstRow = c.rows
	p.nulls = int64(entries - e.values)
	p.allNull = e.values == 0
	p.bounds = e.bounds.encode(e.order, &c.slab)
	c.pages = append(c.pages, p)
	c.counts[encoding]++
	c.rows += int64(e.rows)
	c.entries += int64(entries)
	c.nulls += p.nulls
	c.bounds.merge(e.order, &e.bounds)
	e.seen += e.values
	e.startPage()
	return nil
}

// Source: enum PageType in parquet.thrift
const (
	thriftDataPage = 0
	thriftDictPage = 2
)

// put compresses a page's body and stores it behind its header. literals says that bytes without matches are worth
// compressing; special writes the part of the header that is the page type's own.
// Source: struct PageHeader in parquet.thrift
func (e *leafEncoder) put(s *scratch, g *rowGroup, body []byte, literals bool, special func(*compact), pageType int32) (page, error) {
	if len(body) > maxPageBytes {
		return page{}, e.tooLarge(len(body))
	}
	data := s.compress(e.w.compression, body, literals)
	if len(data) > maxPageBytes {
		return page{}, e.tooLarge(len(data))
	}
	h := &s.header
	h.reset()
	h.i32(1, pageType)
	h.i32(2, int32(len(body)))
	h.i32(3, int32(len(data)))
	h.i32(4, int32(crc32.ChecksumIEEE(data)))
	special(h)
	h.stop()
	at, err := g.store.append(h.b, data)
	if err != nil {
		return page{}, err
	}
	e.chunk.rawBytes += int64(len(h.b) + len(body))
	s.trim()
	return page{at: at, size: int64(len(h.b) + len(data))}, nil
}

func (e *leafEncoder) tooLarge(n int) error {
	return &ValueError{Leaf: e.leaf.Path, Reason: fmt.Sprintf("a page of %d bytes: Parquet holds at most 2 GiB - 1", n)}
}

// endChunk finishes what the row group gets of this leaf.
func (e *leafEncoder) endChunk(s *scratch, g *rowGroup) error {
	if e.rows > 0 {
		if err := e.endPage(s, g); err != nil {
			return err
		}
	}
	c := e.chunk
	if c.counts[0] > 0 {
		var err error
		if c.dict, err = e.put(s, g, e.dict.data, false, func(h *compact) {
			h.begin(7)
			h.i32(1, int32(e.dict.n))
			h.i32(2, thriftPlain)
			h.end()
		}, thriftDictPage); err != nil {
			return err
		}
	}
	c.stats = c.bounds.encode(e.order, &c.slab)
	e.chunk = nil
	e.dict.reset()

	return nil
}

// memory is what the leaf holds on to, in bytes.
func (e *leafEncoder) memory() int64 {
	return int64(cap(e.valid)+cap(e.def)+cap(e.rep)+cap(e.raw)+4*cap(e.indices)) + e.dict.held()
}
