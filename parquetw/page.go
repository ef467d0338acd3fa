package parquetw

import (
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"

	"fast-export/internal/column"
)

// Parquet's own numbers for encodings.
// Source: enum Encoding in parquet.thrift
const (
	thriftPlain       = 0
	thriftRLE         = 3
	thriftDelta       = 5
	thriftDeltaLength = 6
	thriftDeltaBytes  = 7
	thriftRLEDict     = 8
	thriftByteSplit   = 9
)

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
	left atomic.Int32 // pages being compressed, and one more until the leaf has finished

	mu       sync.Mutex // guards the pages, whose sizes come from whoever compresses them
	pages    []page
	dict     page  // size 0: none
	rawBytes int64 // of all pages, headers included, before compression

	rows    int64   // rows of all pages
	entries int64   // values with nulls
	nulls   int64   // entries without a value
	counts  [6]int  // data pages by encoding: see pageEncodings
	bounds  bounds  // of all values
	stats   encoded // bounds as the footer has them
	slab    []byte  // where encoded bounds lie
	bloom   page    // the bloom filter as it goes to the file; size 0: none
}

// pageEncodings are the encodings of data pages, in the order in which a chunk's metadata names them.
var pageEncodings = [...]int32{thriftRLEDict, thriftPlain, thriftByteSplit, thriftDelta, thriftDeltaLength, thriftDeltaBytes}

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
	encoding, fromRaw := 1, false
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
		case e.other == Delta && l.Physical != column.ByteArray:
			encoding = 3
			body = appendDelta(append(s.page[:0], s.levels...), values, l.Width)
			s.page = body
		case e.other == Delta:
			encoding = 4
			if e.front == undecided {
				e.front = beginAlike(values)
			}
			if e.front == shared {
				encoding = 5
			}
			if !e.apart {
				body = appendTexts(append(s.page[:0], s.levels...), values, e.front == shared, s)
				s.page = body
				break
			}
			e.body = len(values)
			s.trial = s.trial[:0]
			if e.front == shared {
				s.trial = appendDelta(s.trial, e.prefixes, 4)
			}
			s.trial = appendDelta(s.trial, e.lengths, 4)
			if ahead := len(s.levels) + len(s.trial); ahead <= e.room() {
				body = e.raw[e.room()-ahead:]
				copy(body[copy(body, s.levels):], s.trial)
				fromRaw = true
			} else {
				body = append(append(append(s.page[:0], s.levels...), s.trial...), values...)
				s.page = body
			}
		case l.Physical == column.Bool:
			body = appendBools(append(s.page[:0], s.levels...), values)
			s.page = body
		case len(s.levels) <= e.room():
			body = e.raw[e.room()-len(s.levels):]
			copy(body, s.levels)
			fromRaw = true
		default:
			body = append(append(s.page[:0], s.levels...), values...)
			s.page = body
		}
	}
	p := page{firstRow: c.rows, nulls: int64(entries - e.values), allNull: e.values == 0, bounds: e.bounds.encode(e.order, &c.slab)}
	c.mu.Lock()
	number := len(c.pages)
	c.pages = append(c.pages, p)
	c.mu.Unlock()
	c.counts[encoding]++
	c.rows += int64(e.rows)
	e.done += int64(e.rows)
	c.entries += int64(entries)
	c.nulls += p.nulls
	c.bounds.merge(e.order, &e.bounds)
	e.seen += e.values
	job := pageJob{
		leaf: e, group: g, number: number, body: body, values: entries, encoding: pageEncodings[encoding],
		// Without lengths between them, and in the constant bytes of decimals, few things match, and all there is to gain
		// is in how often each byte occurs.
		literals: encoding >= 4 || encoding == 1 && e.order == orderDecimal,
	}
	if e.w.handOff(job) {
		// the buffer is the other goroutine's now
		if fromRaw {
			e.raw = nil
		} else {
			s.page = nil
		}
	} else if err := job.finish(s); err != nil {
		return err
	}
	e.startPage()
	return nil
}

// pageJob is a page that has been laid out and must be compressed and stored.
type pageJob struct {
	leaf     *leafEncoder // for its name and its Writer
	group    *rowGroup
	number   int // of the column chunk's data pages; -1: the dictionary page
	body     []byte
	values   int // with nulls
	encoding int32
	literals bool // bytes without matches are worth compressing
}

// Source: enum PageType in parquet.thrift
const (
	thriftDataPage = 0
	thriftDictPage = 2
)

// finish compresses the page and stores it behind its header.
// Source: struct PageHeader in parquet.thrift
func (j *pageJob) finish(s *scratch) error {
	w := j.leaf.w
	data := s.compress(w.compression, j.body, j.literals)
	if n := max(len(j.body), len(data)); n > maxPageBytes {
		return &ValueError{Leaf: j.leaf.leaf.Path, Reason: fmt.Sprintf("a page of %d bytes: Parquet holds at most 2 GiB - 1", n)}
	}
	kind, special := int32(thriftDataPage), int16(5)
	if j.number < 0 {
		kind, special = thriftDictPage, 7
	}
	h := &s.header
	h.reset()
	h.i32(1, kind)
	h.i32(2, int32(len(j.body)))
	h.i32(3, int32(len(data)))
	h.i32(4, int32(crc32.ChecksumIEEE(data)))
	h.begin(special)
	h.i32(1, int32(j.values))
	h.i32(2, j.encoding)
	if j.number >= 0 {
		h.i32(3, thriftRLE)
		h.i32(4, thriftRLE)
	}
	h.end()
	h.stop()
	at, err := j.group.store.append(h.b, data)
	if err != nil {
		return err
	}
	c := &j.group.chunks[j.leaf.index]
	c.mu.Lock()
	p := &c.dict
	if j.number >= 0 {
		p = &c.pages[j.number]
	}
	p.at, p.size = at, int64(len(h.b)+len(data))
	c.rawBytes += int64(len(h.b) + len(j.body))
	c.mu.Unlock()
	s.trim()
	return nil
}
