package colchunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"fast-export/internal/column"
)

// Source says where a column chunk lies and what it holds, as the file's footer tells it.
type Source struct {
	File        io.ReaderAt
	FileBytes   int64
	Offset      int64 // of the first page: the dictionary, if there is one
	Bytes       int64 // of all pages, as the footer says; what is read is bounded by the file alone
	Compression compress.Compression

	Physical column.Physical
	Width    int   // bytes of a value; 0 for ByteArray
	MaxDef   uint8 // definition level of a value that is there
	MaxRep   uint8 // 0 for a flat column, 1 for a list
	List     int   // length of each row's list; 0 for a flat column
	// ElementNullable tells that a list's elements can be null: an optional list of required elements has the same
	// levels as a required list of optional ones.
	ElementNullable bool
	Rows            int64

	// Null is what a list gets in place of a null element, in the PLAIN form of a value; nil makes it an error.
	Null []byte
}

// RowError says that a row of a column has no form in the output.
type RowError struct {
	Row    int64 // in the column chunk, from 0; the message counts from 1
	Reason string
}

func (e *RowError) Error() string { return fmt.Sprintf("row %d: %s", e.Row+1, e.Reason) }

// DamageError says that the bytes of a column chunk are not what they should be.
type DamageError struct {
	Offset int64 // in the file, of the page
	Err    error
}

func (e *DamageError) Error() string {
	if _, large := errors.AsType[*limitError](e.Err); large {
		return fmt.Sprintf("the page at byte %d %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("damaged page at byte %d: %v", e.Offset, e.Err)
}

// Unwrap gives what was found wrong.
func (e *DamageError) Unwrap() error { return e.Err }

// Scratch holds what the readers of one goroutine share: a window on the file and the decompressors. PageLimit bounds
// the bytes of one page, compressed or not.
//
// Pages of more than Large bytes wait until Wait returns: it gives this goroutine leave to hold so much. Memory of that
// size is not kept for other pages. Wait may be called often; nil for leave.
type Scratch struct {
	PageLimit int
	Large     int
	Wait      func() error

	window []byte
	at     int64 // offset of window in the file
	owner  *Reader
	zstd   *zstd.Decoder
	spare  [][]byte // memory of dropped pages, for the next ones
	index  [1024]uint32
	defs   []uint32
	reps   []uint32
}

// readAhead is how much of a column chunk is read at once: most column chunks of one visit are smaller. While pages are
// skipped, only their headers are of interest.
const (
	readAhead   = 1 << 20
	headerAhead = 4 << 10
)

// Close releases the decompressors.
func (s *Scratch) Close() {
	if s.zstd != nil {
		s.zstd.Close()
		s.zstd = nil
	}
	s.owner, s.window, s.spare = nil, nil, nil
}

// maxSpare is how many dropped pages' memory is kept.
const maxSpare = 4

// leave waits for leave to hold n bytes at once.
func (s *Scratch) leave(n int64) error {
	if s.Wait == nil || n <= int64(s.Large) {
		return nil
	}
	return s.Wait()
}

// Trim lets go of the window where a large page has made it large.
func (s *Scratch) Trim() {
	if cap(s.window) > readAhead {
		s.owner, s.window = nil, nil
	}
}

// keep takes memory that a reader does not need any more: the last few pages', half as much as a large page together.
func (s *Scratch) keep(b []byte) {
	if cap(b) == 0 || s.Wait != nil && cap(b) > s.Large/2 {
		return
	}
	s.spare = append(s.spare, b[:0])
	sum := 0
	for i := len(s.spare) - 1; i >= 0; i-- {
		if sum += cap(s.spare[i]); len(s.spare)-i > maxSpare || s.Wait != nil && sum > s.Large/2 {
			s.spare = append(s.spare[:0], s.spare[i+1:]...)
			break
		}
	}
	clear(s.spare[len(s.spare):cap(s.spare)]) // what is not kept is the collector's
}

// grow gives a slice of n bytes: dst's memory if it is large enough, else memory that was kept, else new.
func (s *Scratch) grow(dst []byte, n int) []byte {
	if cap(dst) >= n {
		return dst[:n]
	}
	for i, b := range s.spare {
		if cap(b) >= n {
			s.spare = append(s.spare[:i], s.spare[i+1:]...)
			return b[:n]
		}
	}
	return make([]byte, n)
}

// Bytes is the memory that the scratch holds.
func (s *Scratch) Bytes() int64 {
	n := int64(cap(s.window)) + 4*int64(cap(s.defs)+cap(s.reps)+len(s.index))
	for _, b := range s.spare {
		n += int64(cap(b))
	}
	return n
}

// Reader reads one column chunk from its first row to its last.
type Reader struct {
	src     Source
	scratch *Scratch
	levels  int64 // levels of the column chunk still to come, behind the open page
	row     int64 // rows read or skipped

	next  int64 // offset of the next page's header
	ahead int64 // how much of the file to read at once
	page  page
	dict  dictionary
	buf   []byte // memory of the open page
	aux   []byte // memory for pages that are transcoded
}

// page is the data page that is open, or that was open before it was dropped.
type page struct {
	offset  int64 // of its header
	total   int   // levels
	taken   int   // levels read or skipped
	present bool  // its values are in memory
	defs    hybrid
	reps    hybrid
	plain   []byte // values still to come, unless they are indexes or bits
	bools   []byte // bit-packed booleans
	boolAt  int
	indexed bool
	index   hybrid
}

// dictionary is a column chunk's dictionary page.
type dictionary struct {
	offset  int64 // of its header, -1 when there is none
	end     int64 // behind it
	loaded  bool
	values  int
	data    []byte
	starts  []uint32 // of each byte array in data, and the end
	longest int      // bytes of the longest value in PLAIN form
}

// Reset makes r read src from its start. Memory of an earlier column chunk is used again.
func (r *Reader) Reset(src Source, scratch *Scratch) error {
	if scratch.owner == r {
		scratch.owner = nil
	}
	buf, aux, data, starts := r.buf, r.aux, r.dict.data, r.dict.starts
	*r = Reader{src: src, scratch: scratch, buf: buf, aux: aux, next: src.Offset, ahead: readAhead}
	r.dict = dictionary{offset: -1, data: data[:0], starts: starts[:0]}
	per := int64(1)
	if src.List > 0 {
		per = int64(src.List)
	}
	switch {
	case src.Offset < 4 || src.Offset > src.FileBytes || src.Bytes < 0 || src.Rows < 0 || src.Rows > 1<<40/per:
		return &DamageError{Offset: src.Offset, Err: errors.New("the footer places the column chunk outside of the file")}
	case src.MaxRep > 1 || src.MaxDef > 3 || src.MaxRep == 0 && (src.MaxDef > 1 || src.List > 0) || src.MaxRep == 1 && (src.List < 1 || src.MaxDef < 1):
		return fmt.Errorf("column chunk with levels %d and %d: %w", src.MaxDef, src.MaxRep, errors.ErrUnsupported)
	}
	r.levels = src.Rows * per
	return nil
}

// Drop forgets the memory of the open page and of the dictionary. The next call reads them again.
func (r *Reader) Drop() {
	if r.scratch.owner == r {
		r.scratch.owner = nil
	}
	r.scratch.keep(r.buf)
	r.scratch.keep(r.aux)
	r.scratch.keep(r.dict.data)
	r.buf, r.aux = nil, nil
	r.dict.data, r.dict.starts, r.dict.loaded = nil, nil, false
	r.page.present = false
	r.page.plain, r.page.bools, r.page.defs, r.page.reps, r.page.index = nil, nil, hybrid{}, hybrid{}, hybrid{}
}

// Bytes is the memory that r holds.
func (r *Reader) Bytes() int64 {
	return int64(cap(r.buf) + cap(r.aux) + cap(r.dict.data) + 4*cap(r.dict.starts))
}

// Row is the next row to be read.
func (r *Reader) Row() int64 { return r.row }

// perRow is how many levels a row has.
func (r *Reader) perRow() int { return max(1, r.src.List) }

// Skip passes n rows. A page of which nothing is read is not decompressed.
func (r *Reader) Skip(n int) error {
	levels := int64(n) * int64(r.perRow())
	for levels > 0 {
		if r.page.taken == r.page.total {
			if err := r.nextPage(levels); err != nil {
				return err
			}
			continue
		}
		m := int(min(levels, int64(r.page.total-r.page.taken)))
		if r.page.present {
			if err := r.skipInPage(m); err != nil {
				return r.damaged(err)
			}
		}
		r.page.taken += m
		levels -= int64(m)
	}
	r.row += int64(n)
	return nil
}

// Read appends up to n rows to dst, which holds rows of them already, and says how many it appended. It stops early only
// where dst.Data would grow beyond dataBytes, and reads one row even then.
//
// A flat column comes out with dst.Valid set whether or not it can be null. A list comes out as an optional list of
// optional elements: Def 3 throughout, Rep 0 for the first element of a row and 1 for the others.
func (r *Reader) Read(dst *column.Buffer, rows, n, dataBytes int) (int, error) {
	per := r.perRow()
	done := 0
	for done < n {
		if r.page.taken == r.page.total {
			if err := r.nextPage(0); err != nil {
				return done, err
			}
			continue
		}
		if err := r.load(); err != nil {
			return done, err
		}
		m := min(n-done, (r.page.total-r.page.taken)/per)
		if m == 0 {
			// A list whose elements lie on two pages: one row is put together by hand.
			if err := r.readSplitRow(dst); err != nil {
				return done, err
			}
			done++
			r.row++
			continue
		}
		if r.src.Physical == column.ByteArray {
			m = min(m, r.fitting(dataBytes-len(dst.Data)))
			if done > 0 && len(dst.Data) >= dataBytes {
				return done, nil
			}
		}
		var err error
		if per > 1 || r.src.List > 0 {
			err = r.readLists(dst, m)
		} else {
			err = r.readFlat(dst, rows+done, m)
		}
		if err != nil {
			return done, r.damaged(err)
		}
		r.page.taken += m * per
		r.row += int64(m)
		done += m
	}
	return done, nil
}

// Fit says how many of the next n rows can be read with at most so many bytes of values: at least one, and not beyond the
// end of a page. It reads nothing.
func (r *Reader) Fit(n, dataBytes int) (int, error) {
	for r.page.taken == r.page.total {
		if err := r.nextPage(0); err != nil {
			return 0, err
		}
	}
	if n <= 1 || r.src.Physical != column.ByteArray {
		return n, nil
	}
	if err := r.load(); err != nil {
		return 0, err
	}
	n = min(n, r.page.total-r.page.taken)
	p := &r.page
	values := n
	if r.src.MaxDef > 0 {
		defs := p.defs // a copy, as below: what is looked at here is read again
		var err error
		if values, err = defs.countBits(n); err != nil {
			return 0, r.damaged(err)
		}
	}
	room := dataBytes
	switch {
	case p.indexed && values <= room/max(1, r.dict.longest), !p.indexed && len(p.plain) <= room:
		return n, nil
	case p.indexed:
		index := p.index
		for done := 0; done < values; {
			block := r.scratch.index[:min(values-done, len(r.scratch.index))]
			if err := index.read(block); err != nil {
				return 0, r.damaged(err)
			}
			for _, i := range block {
				if int(i) >= r.dict.values {
					return 0, r.damaged(errIndex)
				}
				if room -= int(r.dict.starts[i+1] - r.dict.starts[i]); room < 0 {
					return max(1, done), nil // a row has one value at most
				}
				done++
			}
		}
		return n, nil
	}
	b := p.plain
	for done := range values {
		size, err := stretch(b, 1)
		if err != nil {
			return 0, r.damaged(err)
		}
		if room -= size; room < 0 {
			return max(1, done), nil
		}
		b = b[size:]
	}
	return n, nil
}

// damaged wraps what was found wrong in the open page; row errors stay as they are.
func (r *Reader) damaged(err error) error {
	var row *RowError
	var damage *DamageError
	if errors.As(err, &row) || errors.As(err, &damage) {
		return err
	}
	return &DamageError{Offset: r.page.offset, Err: err}
}

// fitting says how many byte arrays can be read at once so that room is not much exceeded.
func (r *Reader) fitting(room int) int {
	const block = 1024
	if !r.page.indexed {
		return block // no more than the page itself
	}
	return max(1, min(block, room/max(1, r.dict.longest)))
}

// readFlat reads m rows of a flat column.
func (r *Reader) readFlat(dst *column.Buffer, rows, m int) error {
	for len(dst.Valid) < (rows+m+7)/8 {
		dst.Valid = append(dst.Valid, 0)
	}
	values := m
	if r.src.MaxDef == 0 {
		setBits(dst.Valid, rows, m)
	} else {
		var err error
		if values, err = r.page.defs.readBits(dst.Valid, rows, m); err != nil {
			return err
		}
	}
	return r.readValues(dst, values)
}

// readValues appends n values to dst.
func (r *Reader) readValues(dst *column.Buffer, n int) error {
	dst.Values += n
	p, w := &r.page, r.src.Width
	switch {
	case p.indexed:
		return r.gather(dst, n)
	case r.src.Physical == column.Bool && p.bools != nil:
		if n > len(p.bools)*8-p.boolAt {
			return errValues
		}
		at := len(dst.Data)
		dst.Data = extend(dst.Data, n)
		for i := range dst.Data[at:] {
			k := p.boolAt + i
			dst.Data[at+i] = p.bools[k>>3] >> (k & 7) & 1
		}
		p.boolAt += n
		return nil
	case r.src.Physical == column.ByteArray:
		size, err := stretch(p.plain, n)
		if err != nil {
			return err
		}
		dst.Data = append(dst.Data, p.plain[:size]...)
		p.plain = p.plain[size:]
		return nil
	}
	if len(p.plain)/w < n {
		return errValues
	}
	dst.Data = append(dst.Data, p.plain[:n*w]...)
	p.plain = p.plain[n*w:]
	return nil
}

// stretch gives the size of n PLAIN byte arrays at the beginning of b.
func stretch(b []byte, n int) (int, error) {
	at := 0
	for ; n > 0; n-- {
		if len(b)-at < 4 {
			return 0, errValues
		}
		l := binary.LittleEndian.Uint32(b[at:])
		if uint64(l) > uint64(len(b)-at-4) {
			return 0, errValues
		}
		at += 4 + int(l)
	}
	return at, nil
}

// extend makes b n bytes longer; the new bytes may hold anything.
func extend(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}

var errIndex = errors.New("dictionary index out of range")

// gather appends the n dictionary entries that the next indexes name.
func (r *Reader) gather(dst *column.Buffer, n int) error {
	d, w := &r.dict, r.src.Width
	for n > 0 {
		block := r.scratch.index[:min(n, len(r.scratch.index))]
		if err := r.page.index.read(block); err != nil {
			return err
		}
		n -= len(block)
		at := len(dst.Data)
		switch {
		case r.src.Physical == column.ByteArray:
			for _, i := range block {
				if int(i) >= d.values {
					return errIndex
				}
				dst.Data = append(dst.Data, d.data[d.starts[i]:d.starts[i+1]]...)
			}
		case w == 8:
			dst.Data = extend(dst.Data, 8*len(block))
			out := dst.Data[at:]
			for k, i := range block {
				if int(i) >= d.values {
					return errIndex
				}
				binary.LittleEndian.PutUint64(out[8*k:], binary.LittleEndian.Uint64(d.data[8*int(i):]))
			}
		case w == 4:
			dst.Data = extend(dst.Data, 4*len(block))
			out := dst.Data[at:]
			for k, i := range block {
				if int(i) >= d.values {
					return errIndex
				}
				binary.LittleEndian.PutUint32(out[4*k:], binary.LittleEndian.Uint32(d.data[4*int(i):]))
			}
		default:
			for _, i := range block {
				if int(i) >= d.values {
					return errIndex
				}
				dst.Data = append(dst.Data, d.data[w*int(i):w*int(i)+w]...)
			}
		}
	}
	return nil
}

// skipInPage passes m levels of the open page.
func (r *Reader) skipInPage(m int) error {
	values := m
	if r.src.MaxRep > 0 {
		if err := r.page.reps.skip(m); err != nil {
			return err
		}
	}
	switch {
	case r.src.MaxDef == 1 && r.src.MaxRep == 0:
		var err error
		if values, err = r.page.defs.countBits(m); err != nil {
			return err
		}
	case r.src.MaxDef > 0:
		values = 0
		r.scratch.defs = growWords(r.scratch.defs, min(m, len(r.scratch.index)))
		for left := m; left > 0; {
			block := r.scratch.defs[:min(left, len(r.scratch.defs))]
			if err := r.page.defs.read(block); err != nil {
				return err
			}
			for _, d := range block {
				if d == uint32(r.src.MaxDef) {
					values++
				}
			}
			left -= len(block)
		}
	}
	p := &r.page
	switch {
	case p.indexed:
		return p.index.skip(values)
	case p.bools != nil:
		p.boolAt += values
		return nil
	case r.src.Physical == column.ByteArray:
		size, err := stretch(p.plain, values)
		if err != nil {
			return err
		}
		p.plain = p.plain[size:]
		return nil
	}
	if len(p.plain)/r.src.Width < values {
		return errValues
	}
	p.plain = p.plain[values*r.src.Width:]
	return nil
}

func growWords(w []uint32, n int) []uint32 {
	if cap(w) < n {
		return make([]uint32, n)
	}
	return w[:n]
}

// readLists reads m whole rows of lists. Blocks keep the levels, four bytes each while they are looked at, small.
func (r *Reader) readLists(dst *column.Buffer, m int) error {
	per := r.src.List
	rows := max(1, len(r.scratch.index)/per)
	for m > 0 {
		k := min(m, rows)
		n := k * per
		r.scratch.defs = growWords(r.scratch.defs, n)
		r.scratch.reps = growWords(r.scratch.reps, n)
		if err := r.page.reps.read(r.scratch.reps); err != nil {
			return err
		}
		if err := r.page.defs.read(r.scratch.defs); err != nil {
			return err
		}
		if err := r.appendElements(dst, r.scratch.defs, r.scratch.reps, 0); err != nil {
			return err
		}
		m -= k
	}
	return nil
}

// readSplitRow reads one row whose list continues on the next page.
func (r *Reader) readSplitRow(dst *column.Buffer) error {
	per := r.src.List
	for k := 0; k < per; {
		if r.page.taken == r.page.total {
			if err := r.nextPage(0); err != nil {
				return err
			}
			continue
		}
		if err := r.load(); err != nil {
			return err
		}
		n := min(per-k, r.page.total-r.page.taken)
		r.scratch.defs, r.scratch.reps = growWords(r.scratch.defs, n), growWords(r.scratch.reps, n)
		err := r.page.reps.read(r.scratch.reps)
		if err == nil {
			err = r.page.defs.read(r.scratch.defs)
		}
		if err == nil {
			err = r.appendElements(dst, r.scratch.defs, r.scratch.reps, k)
		}
		if err != nil {
			return r.damaged(err)
		}
		r.page.taken += n
		k += n
	}
	return nil
}

// appendElements appends list elements with the given levels; the first is element number phase of its row.
func (r *Reader) appendElements(dst *column.Buffer, defs, reps []uint32, phase int) error {
	per, full := r.src.List, uint32(r.src.MaxDef)
	run := 0
	flush := func() error {
		err := r.readValues(dst, run)
		run = 0
		return err
	}
	for i, d := range defs {
		want := uint32(1)
		if phase == 0 {
			want = 0
		}
		if reps[i] != want {
			return &RowError{Row: r.row + int64(i/per), Reason: fmt.Sprintf("the list has not %d elements, as its type says", per)}
		}
		if phase++; phase == per {
			phase = 0
		}
		switch {
		case d == full:
			run++
		case r.src.ElementNullable && d == full-1:
			if r.src.Null == nil {
				return &RowError{Row: r.row + int64(i/per), Reason: "a null inside a list"}
			}
			if err := flush(); err != nil {
				return err
			}
			dst.Data = append(dst.Data, r.src.Null...)
			dst.Values++
		default:
			return &RowError{Row: r.row + int64(i/per), Reason: "a list that is null or empty"}
		}
		dst.Def = append(dst.Def, 3)
		dst.Rep = append(dst.Rep, byte(want))
	}
	return flush()
}

// nextPage moves to the next data page. When all of it is among the skip levels that follow, its content is passed over;
// otherwise it is read when it is needed.
func (r *Reader) nextPage(skip int64) error {
	for {
		if r.levels == 0 {
			return &DamageError{Offset: r.next, Err: errors.New("the column chunk has fewer rows than its footer says")}
		}
		at := r.next
		r.ahead = readAhead
		if skip > 0 && r.page.offset > 0 {
			r.ahead = headerAhead // not on the first page: a short column chunk is read at once
		}
		h, size, err := r.header(at)
		r.ahead = readAhead
		if err != nil {
			return &DamageError{Offset: at, Err: err}
		}
		end := at + int64(size) + h.compressed
		if end > r.src.FileBytes {
			return &DamageError{Offset: at, Err: errors.New("the page ends behind the file")}
		}
		r.next = end
		switch h.kind {
		case pageDictionary:
			if r.dict.offset >= 0 {
				return &DamageError{Offset: at, Err: errors.New("a second dictionary")}
			}
			r.dict.offset, r.dict.end = at, end
			continue
		case pageData, pageDataV2:
		default:
			continue // index pages and kinds that are not known yet hold no values
		}
		if h.values == 0 {
			continue
		}
		if h.values > r.levels && r.src.List == 0 {
			return &DamageError{Offset: at, Err: errors.New("the column chunk has more values than its footer says")}
		}
		r.levels -= min(h.values, r.levels) // a list of another length is found when its row is read
		r.page = page{offset: at, total: int(h.values)}
		if skip > 0 && skip >= h.values {
			return nil // Skip takes all of it without loading
		}
		if skip > 0 {
			return r.load()
		}
		return nil
	}
}

// load makes sure that the open page's values are in memory, and passes those that were taken before it was dropped.
func (r *Reader) load() error {
	if r.page.present {
		return nil
	}
	at := r.page.offset
	h, size, err := r.header(at)
	if err == nil {
		err = r.loadData(h, at+int64(size))
	}
	if err == nil && r.page.taken > 0 {
		err = r.skipInPage(r.page.taken)
	}
	if err != nil {
		return r.damaged(err)
	}
	return nil
}

// limitError is a page that is larger than what is read, and may be well.
type limitError struct{ reason string }

func (e *limitError) Error() string { return e.reason }

// header reads the page header at an offset.
func (r *Reader) header(at int64) (pageHeader, int, error) {
	for n := 512; ; n *= 4 {
		if err := r.scratch.leave(int64(n)); err != nil {
			return pageHeader{}, 0, err
		}
		b, err := r.bytes(at, n, true)
		if err != nil {
			return pageHeader{}, 0, err
		}
		h, size, err := parsePageHeader(b)
		if errors.Is(err, errHeaderShort) && len(b) == n && n < 16<<20 {
			continue
		}
		if err == nil && (h.compressed > int64(r.scratch.PageLimit) || h.uncompressed > int64(r.scratch.PageLimit)) {
			err = &limitError{fmt.Sprintf("says that it has %d bytes (%d compressed), with this --memory at most %d are read: give more memory", h.uncompressed, h.compressed, r.scratch.PageLimit)}
		}
		return h, size, err
	}
}

// bytes gives n bytes of the file from an offset on, fewer at its end when short is allowed. They are valid until the
// next call of any reader that shares the scratch.
func (r *Reader) bytes(at int64, n int, short bool) ([]byte, error) {
	s := r.scratch
	if at < 0 || at >= r.src.FileBytes {
		return nil, io.ErrUnexpectedEOF
	}
	if int64(n) > r.src.FileBytes-at {
		if !short {
			return nil, io.ErrUnexpectedEOF
		}
		n = int(r.src.FileBytes - at)
	}
	if s.owner == r && at >= s.at && at+int64(n) <= s.at+int64(len(s.window)) {
		return s.window[at-s.at:][:n], nil
	}
	// Read on to the end of the column chunk, but not much further than what was asked for.
	size := int64(n)
	if rest := r.src.Offset + r.src.Bytes - at; rest > size {
		size = min(rest, max(size, r.ahead))
	}
	size = min(size, r.src.FileBytes-at)
	s.owner = nil
	s.window = grow(s.window, int(size))
	if got, err := r.src.File.ReadAt(s.window, at); got < len(s.window) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	s.owner, s.at = r, at
	return s.window[:n], nil
}

// body reads and decompresses a page's content, of which prefix bytes are not compressed, into dst.
func (r *Reader) body(dst []byte, h pageHeader, at int64, prefix int, compressed bool) ([]byte, error) {
	if err := r.scratch.leave(max(h.compressed, h.uncompressed)); err != nil {
		return nil, err
	}
	raw, err := r.bytes(at, int(h.compressed), false)
	if err != nil {
		return nil, err
	}
	if h.hasCRC && crc32.ChecksumIEEE(raw) != h.crc {
		return nil, errors.New("the page's checksum is wrong")
	}
	if prefix > len(raw) || int64(prefix) > h.uncompressed {
		return nil, errors.New("the page's levels are larger than the page")
	}
	dst = r.scratch.grow(dst, int(h.uncompressed))
	copy(dst, raw[:prefix])
	rest := dst[prefix:]
	if !compressed || r.src.Compression == compress.Codecs.Uncompressed {
		if len(raw)-prefix != len(rest) {
			return nil, fmt.Errorf("the page has %d bytes and says %d", len(raw), len(dst))
		}
		copy(rest, raw[prefix:])
		return dst, nil
	}
	if len(rest) == 0 {
		return dst, nil // nothing but nulls, and whatever an empty block compresses to
	}
	if err := r.scratch.decompress(rest, raw[prefix:], r.src.Compression); err != nil {
		return nil, err
	}
	return dst, nil
}

var errSize = errors.New("the page decompresses to another size than it says")

// decompress fills dst exactly. Nothing is allocated by what src says of itself.
func (s *Scratch) decompress(dst, src []byte, codec compress.Compression) error {
	switch codec {
	case compress.Codecs.Snappy:
		n, err := snappy.DecodedLen(src)
		if err != nil {
			return err
		}
		if n != len(dst) {
			return errSize
		}
		_, err = snappy.Decode(dst, src)
		return err
	case compress.Codecs.Zstd:
		if s.zstd == nil {
			var err error
			if s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true)); err != nil {
				return err
			}
		}
		out, err := s.zstd.DecodeAll(src, dst[:0:len(dst)])
		if err != nil {
			return err
		}
		if len(out) != len(dst) {
			return errSize
		}
		return nil
	case compress.Codecs.Gzip, compress.Codecs.Brotli, compress.Codecs.Lz4Raw:
		c, err := compress.GetCodec(codec)
		if err != nil {
			return err
		}
		out, err := compress.Decode(c, dst, src) // these three stay within dst
		if err != nil {
			return err
		}
		if len(out) != len(dst) {
			return errSize
		}
		return nil
	}
	return fmt.Errorf("compression %s: %w", codec, errors.ErrUnsupported)
}

// loadData reads the data page whose content begins at an offset.
func (r *Reader) loadData(h pageHeader, at int64) error {
	p := &r.page
	var levels []byte
	var err error
	if h.kind == pageDataV2 {
		prefix := h.repBytes + h.defBytes
		if r.buf, err = r.body(r.buf, h, at, int(prefix), h.isCompressed); err != nil {
			return err
		}
		levels = r.buf[prefix:]
		if r.src.MaxRep > 0 {
			p.reps = newHybrid(r.buf[:h.repBytes], bitWidth(r.src.MaxRep))
		}
		if r.src.MaxDef > 0 {
			p.defs = newHybrid(r.buf[h.repBytes:prefix], bitWidth(r.src.MaxDef))
		}
	} else {
		if r.buf, err = r.body(r.buf, h, at, 0, true); err != nil {
			return err
		}
		levels = r.buf
		take := func(max uint8, encoding int64) (hybrid, error) {
			if max == 0 {
				return hybrid{}, nil
			}
			if encoding != encRLE {
				return hybrid{}, fmt.Errorf("levels in the encoding %s: %w", encodingName(encoding), errors.ErrUnsupported)
			}
			if len(levels) < 4 || uint64(binary.LittleEndian.Uint32(levels)) > uint64(len(levels)-4) {
				return hybrid{}, errors.New("the page's levels are larger than the page")
			}
			n := binary.LittleEndian.Uint32(levels)
			runs := levels[4 : 4+n]
			levels = levels[4+n:]
			return newHybrid(runs, bitWidth(max)), nil
		}
		if p.reps, err = take(r.src.MaxRep, h.repEncoding); err != nil {
			return err
		}
		if p.defs, err = take(r.src.MaxDef, h.defEncoding); err != nil {
			return err
		}
	}
	return r.loadValues(h, levels)
}

// loadValues prepares the values of a page for reading.
func (r *Reader) loadValues(h pageHeader, values []byte) error {
	p := &r.page
	p.plain, p.bools, p.boolAt, p.indexed = nil, nil, 0, false
	switch h.encoding {
	case encPlain:
		if r.src.Physical == column.Bool {
			p.bools = values
			if values == nil {
				p.bools = []byte{}
			}
		} else {
			p.plain = values
		}
	case encPlainDictionary, encRLEDictionary:
		if err := r.loadDictionary(); err != nil {
			return err
		}
		p.indexed = true
		width := uint(0)
		if len(values) > 0 {
			width, values = uint(values[0]), values[1:]
		}
		if width > 32 {
			return errIndex
		}
		p.index = newHybrid(values, width)
	default:
		if r.wrongType(h.encoding) {
			return fmt.Errorf("values in the encoding %s: %w", encodingName(h.encoding), errors.ErrUnsupported)
		}
		count, err := r.countValues(h)
		if err != nil {
			return err
		}
		limit := r.scratch.PageLimit
		if r.scratch.Wait != nil {
			limit = min(limit, r.scratch.Large)
		}
		out, err := toPlain(r.aux, values, h.encoding, r.src.Physical, r.src.Width, count, limit)
		if errors.Is(err, errTooLarge) && limit < r.scratch.PageLimit {
			if err := r.scratch.Wait(); err != nil {
				return err
			}
			out, err = toPlain(r.aux, values, h.encoding, r.src.Physical, r.src.Width, count, r.scratch.PageLimit)
		}
		if err != nil {
			return err
		}
		r.aux, p.plain = out, out
	}
	p.present = true
	return nil
}

// wrongType tells that an encoding is unknown or cannot hold the column's physical type.
func (r *Reader) wrongType(encoding int64) bool {
	t := r.src.Physical
	switch encoding {
	case encDeltaBinary:
		return t != column.Int32 && t != column.Int64
	case encDeltaLength:
		return t != column.ByteArray
	case encDeltaByteArray:
		return t != column.ByteArray && t != column.Fixed
	case encRLE:
		return t != column.Bool
	case encByteStreamSplit:
		return t == column.Bool || t == column.ByteArray
	}
	return true
}

// countValues says how many values a page has: its levels without those that stand for nulls.
func (r *Reader) countValues(h pageHeader) (int, error) {
	if r.src.MaxDef == 0 {
		return int(h.values), nil
	}
	defs := r.page.defs
	if r.src.MaxDef == 1 && r.src.MaxRep == 0 {
		return defs.countBits(int(h.values))
	}
	count := 0
	for left := int(h.values); left > 0; {
		block := r.scratch.index[:min(left, len(r.scratch.index))]
		if err := defs.read(block); err != nil {
			return 0, err
		}
		for _, d := range block {
			if d == uint32(r.src.MaxDef) {
				count++
			}
		}
		left -= len(block)
	}
	return count, nil
}

// loadDictionary reads the dictionary page.
func (r *Reader) loadDictionary() error {
	d := &r.dict
	if d.loaded {
		return nil
	}
	if d.offset < 0 {
		return errors.New("dictionary indexes without a dictionary")
	}
	h, size, err := r.header(d.offset)
	if err != nil {
		return err
	}
	if h.encoding != encPlain && h.encoding != encPlainDictionary {
		return fmt.Errorf("a dictionary in the encoding %s: %w", encodingName(h.encoding), errors.ErrUnsupported)
	}
	if d.data, err = r.body(d.data, h, d.offset+int64(size), 0, true); err != nil {
		return err
	}
	d.values = int(h.values)
	switch {
	case r.src.Physical == column.Bool:
		return errors.New("a dictionary of booleans")
	case r.src.Physical == column.ByteArray:
		if d.values > len(d.data)/4 {
			return errValues
		}
		if cap(d.starts) < d.values+1 {
			d.starts = make([]uint32, 0, d.values+1)
		}
		d.starts, d.longest = d.starts[:0], 0
		at := 0
		for range d.values {
			n, err := stretch(d.data[at:], 1)
			if err != nil {
				return err
			}
			d.starts = append(d.starts, uint32(at))
			d.longest = max(d.longest, n)
			at += n
		}
		d.starts = append(d.starts, uint32(at))
	case d.values > len(d.data)/r.src.Width:
		return errValues
	}
	d.loaded = true
	return nil
}
