package butler

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"fast-export/butler/internal/colchunk"
	"fast-export/internal/column"
)

// batchBytes is how large a batch is to be: a few MiB, so that encoders get work soon and buffers stay in the cache.
const batchBytes = 4 << 20

// maxBatchRows bounds the rows of a batch of very narrow tables.
const maxBatchRows = 1 << 17

// idBlock is how many ids are compared at a time.
const idBlock = 1 << 13

// outcome is what became of a dataset.
type outcome struct {
	kind    outcomeKind
	read    int64 // rows in the dataset, where they or its ids were read
	written int64 // rows that were handed over
	facts   []columnFacts
	cut     []int64  // values cut to their declared width, by column
	notes   []string // what people should know
}

type outcomeKind uint8

const (
	written   outcomeKind = iota // it added rows
	empty                        // it has no rows
	unmatched                    // no row has a wanted id
	excluded                     // its statistics exclude every wanted id: nothing of it was read
	missing                      // not stored, or its file is gone
)

// rowReader reads the rows of datasets, one after the other. It belongs to one goroutine.
type rowReader struct {
	ids    *IDSet // nil for all rows
	target string
	out    *outSchema
	strict bool
	wanted []string // names of columns, empty for all
	first  string   // the dataset that the output was made from, for messages
	memory int64    // for batches, of all readers together
	pages  int64    // for pages, of this one

	scratch colchunk.Scratch
	columns []boundColumn
	targets struct {
		column *tableColumn
		reader colchunk.Reader
		buf    column.Buffer
	}
	tmp   column.Buffer
	spans []span
	steps []span
}

// boundColumn is an output column together with where its values come from in the dataset at hand.
type boundColumn struct {
	from     *tableColumn // nil where the dataset does not have it
	dim      int          // index into the data ID, -1
	reader   colchunk.Reader
	facts    columnFacts
	cut      int64
	rowWidth int // bytes of a row, 0 for texts and bytes
}

func (r *rowReader) close() { r.scratch.Close() }

// allow says what gives leave to hold large pages of the dataset that is read next. What it returns lets go of them.
func (r *rowReader) allow(wait func() error) (done func()) {
	r.scratch.Wait = wait
	return func() {
		held := r.trim(&r.targets.reader, 0)
		for i := range r.columns {
			held = r.trim(&r.columns[i].reader, held)
		}
		r.scratch.Trim()
	}
}

// trim lets a reader drop its pages if they and what others hold are more than there is for them. It gives what is held then.
func (r *rowReader) trim(reader *colchunk.Reader, held int64) int64 {
	if n := reader.Bytes(); held+n <= r.pages {
		return held + n
	}
	reader.Drop()
	return held
}

// trimLarge lets a reader drop large pages if they and what others hold are more than a page may have. Ordinary ones stay
// until the batch is full: to read them again for every few rows would take most of the time.
func (r *rowReader) trimLarge(reader *colchunk.Reader, held int64) int64 {
	n := reader.Bytes()
	if n <= largePage || held+n <= int64(r.scratch.PageLimit) {
		return held + n
	}
	reader.Drop()
	return held
}

// bind matches a table with the output's columns.
func (r *rowReader) bind(t *table, id []value) error {
	have, missing := t.selectColumns(r.wanted)
	if r.strict {
		if len(missing) > 0 {
			return errMissingColumn(missing[0], t)
		}
		if err := usable(have); err != nil {
			return err
		}
		if err := sameColumns(have, r.out.columns, r.first); err != nil {
			return err
		}
	}
	if len(r.columns) != len(r.out.columns) {
		r.columns = make([]boundColumn, len(r.out.columns))
	}
	for i := range r.out.columns {
		o, b := &r.out.columns[i], &r.columns[i]
		b.from, b.dim, b.facts, b.cut, b.rowWidth = nil, o.dim, columnFacts{}, 0, 0
		if o.dim >= 0 {
			if v := id[o.dim]; v.kind == textValue {
				b.facts = columnFacts{known: true, width: utf8.RuneCountInString(v.s)}
				b.rowWidth = 4 + len(v.s)
			} else {
				b.rowWidth = 8
			}
			continue
		}
		at := slices.IndexFunc(have, func(c tableColumn) bool { return c.name == o.name })
		if at < 0 {
			b.rowWidth = 1
			if o.list > 0 {
				b.rowWidth = 2
			}
			continue
		}
		c := &have[at]
		if c.refused != "" || !arrow.TypeEqual(c.out, o.out) { // the merge has looked at all that take part
			return &columnError{c.name, errors.New("its type changed while it was read")}
		}
		b.from = c
		b.facts = columnFacts{known: c.hasWidth(), width: max(0, c.declared), flat: !slices.Equal(c.shape, o.shape)}
		switch {
		case c.list > 0:
			b.rowWidth = c.list * (c.width + 2)
		case c.convert == days:
			b.rowWidth = 8
		default:
			b.rowWidth = c.width
		}
	}
	return nil
}

// notes says where a table's units are others than the output's: strictness does not look at them, people should.
func (r *rowReader) notes(shown string) []string {
	var out []string
	for i := range r.columns {
		c, o := r.columns[i].from, &r.out.columns[i]
		if c != nil && c.unit != "" && o.unit != "" && c.unit != o.unit {
			out = append(out, fmt.Sprintf("column %s has the unit %s in %s and %s in the output", quoteName(c.name), quoteName(c.unit), shown, quoteName(o.unit)))
		}
	}
	return out
}

// plan decides how large the batches of a table are. Where its pages would take more memory than there is for them, they
// are dropped and read again for every batch; then batches are as large as can be, to make that rare.
func (r *rowReader) plan(t *table) (rows int, bytes int64) {
	width, variable, held := int64(0), int64(0), int64(0)
	const page = 2 << 20 // pyarrow's pages and dictionaries have up to 1 MiB each
	for i := range r.columns {
		b := &r.columns[i]
		width += int64(b.rowWidth)
		if b.from == nil {
			continue
		}
		total := int64(0)
		for g := range t.meta.RowGroups {
			if md, err := t.meta.RowGroup(g).ColumnChunk(b.from.leaf); err == nil {
				total = max(total, md.TotalUncompressedSize())
			}
		}
		held += min(max(total, 0), page)
		if b.from.hasWidth() {
			variable += max(total, 0)
		}
	}
	bytes = batchBytes
	if held > r.pages {
		bytes = min(max(bytes, t.rows*width+2*variable), r.memory/4)
	}
	rows = int(min(maxBatchRows, max(1, bytes/max(1, width))))
	if bytes > batchBytes {
		rows = int(max(1, bytes/max(1, width)))
	}
	// Batches of even size: 20,000 rows are two of 10,000, not one of 16,000 and the rest.
	if int64(rows) < t.rows && r.ids == nil {
		n := (t.rows + int64(rows) - 1) / int64(rows)
		rows = int((t.rows + n - 1) / n)
	}
	return rows, bytes
}

// wantedRowGroups tells which row groups of a table may have a wanted row.
func (r *rowReader) wantedRowGroups(t *table) (groups []int) {
	for g := range t.meta.RowGroups {
		if t.meta.RowGroup(g).NumRows() == 0 || r.ids != nil && !r.ids.mayHold(t, g, r.targets.column) {
			continue
		}
		groups = append(groups, g)
	}
	return groups
}

// hasHit tells whether a table adds a row, reading no more than the ids.
func (r *rowReader) hasHit(ctx context.Context, t *table) (outcomeKind, error) {
	if t.rows == 0 {
		return empty, nil
	}
	if r.ids == nil {
		return written, nil
	}
	var err error
	if r.targets.column, err = t.target(r.target); err != nil {
		return 0, &columnError{r.target, err}
	}
	groups := r.wantedRowGroups(t)
	if len(groups) == 0 {
		return excluded, nil
	}
	for _, g := range groups {
		found := false
		err := r.eachBlock(ctx, t, g, func(spans []span) (bool, error) {
			found = len(spans) > 0
			return !found, nil
		})
		if err != nil {
			return 0, err
		}
		if found {
			return written, nil
		}
	}
	return unmatched, nil
}

// eachBlock calls take with the spans of wanted rows of one row group, block by block, until it says no more. The skips
// of spans count from the last wanted row before, whatever block it was in.
func (r *rowReader) eachBlock(ctx context.Context, t *table, g int, take func(spans []span) (more bool, err error)) error {
	rows := t.meta.RowGroup(g).NumRows()
	if r.ids == nil {
		for left := rows; left > 0; {
			n := min(left, math.MaxInt32)
			if _, err := take(append(r.spans[:0], span{0, int(n)})); err != nil {
				return err
			}
			left -= n
		}
		return nil
	}
	c := r.targets.column
	src, err := t.columnSource(g, c)
	if err != nil {
		return &columnError{c.name, err}
	}
	if err := r.targets.reader.Reset(src, &r.scratch); err != nil {
		return &columnError{c.name, err}
	}
	skipped := 0
	for left := rows; left > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		buf := &r.targets.buf
		clear(buf.Valid)
		*buf = column.Buffer{Valid: buf.Valid[:0], Data: buf.Data[:0]}
		n, err := r.targets.reader.Read(buf, 0, int(min(left, idBlock)), math.MaxInt)
		if err != nil {
			return &columnError{c.name, err}
		}
		r.spans, skipped = r.ids.hits(buf, n, c.out.ID(), c.width, skipped, r.spans[:0])
		left -= int64(n)
		if len(r.spans) == 0 {
			continue
		}
		if more, err := take(r.spans); err != nil || !more {
			return err
		}
	}
	return nil
}

// read hands the wanted rows of a table to emit, batch by batch. get gives batches to fill.
func (r *rowReader) read(ctx context.Context, t *table, id []value, get func(bytes int64) (*loan, error), emit func(*loan) error) (outcome, error) {
	o := outcome{read: t.rows}
	if t.rows == 0 {
		o.kind = empty
		return o, nil
	}
	if r.ids != nil {
		var err error
		if r.targets.column, err = t.target(r.target); err != nil {
			return o, &columnError{r.target, err}
		}
	}
	groups := r.wantedRowGroups(t)
	if len(groups) == 0 {
		o.kind, o.read = excluded, 0
		return o, nil
	}
	f := &filler{r: r, t: t, id: id, get: get, emit: emit}
	defer f.discard()
	for _, g := range groups {
		f.group, f.opened = g, false
		err := r.eachBlock(ctx, t, g, func(spans []span) (bool, error) {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return true, f.take(spans)
		})
		if err != nil {
			return o, err
		}
	}
	if err := f.flush(); err != nil {
		return o, err
	}
	if o.written = f.written; o.written == 0 {
		o.kind = unmatched
		return o, nil
	}
	o.facts, o.cut = make([]columnFacts, len(r.columns)), make([]int64, len(r.columns))
	for i := range r.columns {
		o.facts[i], o.cut[i] = r.columns[i].facts, r.columns[i].cut
	}
	o.notes = r.notes(t.file.shown)
	return o, nil
}

// filler fills batches with rows of one table.
type filler struct {
	r    *rowReader
	t    *table
	id   []value
	get  func(bytes int64) (*loan, error)
	emit func(*loan) error

	bound   bool
	group   int
	opened  bool // the readers are at row group group
	rows    int  // of a batch, at most
	bytes   int64
	loan    *loan
	written int64
}

// discard gives back a batch that was not handed over, after an error.
func (f *filler) discard() {
	if f.loan != nil {
		f.loan.batch.Release()
		f.loan = nil
	}
}

// take reads the rows of spans, which lie behind the rows read before.
func (f *filler) take(spans []span) error {
	r := f.r
	if !f.bound {
		if err := r.bind(f.t, f.id); err != nil {
			return err
		}
		f.rows, f.bytes = r.plan(f.t)
		f.bound = true
	}
	if !f.opened {
		if err := f.open(); err != nil {
			return err
		}
		f.opened = true
	}
	for len(spans) > 0 {
		if f.loan == nil {
			var err error
			if f.loan, err = f.get(f.bytes); err != nil {
				return err
			}
		}
		var err error
		if spans, err = f.fill(spans); err != nil {
			return err
		}
		if f.full() {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *filler) full() bool {
	return f.loan.batch.Rows >= f.rows || f.loan.batch.DataBytes() >= f.bytes
}

func (f *filler) flush() error {
	if f.loan == nil {
		return nil
	}
	l := f.loan
	f.loan = nil
	f.written += int64(l.batch.Rows)
	l.settle()
	return f.emit(l)
}

func (f *filler) open() error {
	for i := range f.r.columns {
		b := &f.r.columns[i]
		if b.from == nil {
			continue
		}
		src, err := f.t.columnSource(f.group, b.from)
		if err == nil {
			err = b.reader.Reset(src, &f.r.scratch)
		}
		if err != nil {
			return &columnError{b.from.name, err}
		}
	}
	return nil
}

// step is how many rows of texts are read before the batch's size is looked at.
const step = 4096

// fill reads rows of spans into the batch until one of them is used up, and gives the spans that are left.
//
// How many rows fit is decided by the columns of texts and bytes, whose values have any length: they are read first, some
// rows at a time. The others follow for the same rows.
func (f *filler) fill(spans []span) ([]span, error) {
	r, batch := f.r, f.loan.batch
	var variable []int
	for i := range r.columns {
		if c := r.columns[i].from; c != nil && c.hasWidth() {
			variable = append(variable, i)
		}
	}
	r.steps = r.steps[:0]
	rows, size := batch.Rows, int64(0)
	for _, i := range variable {
		size += int64(len(batch.Leaves[i].Data))
	}
	for len(spans) > 0 && rows < f.rows && size < f.bytes {
		s := &spans[0]
		n := min(s.n, f.rows-rows)
		if len(variable) > 0 {
			n = min(n, step)
			room := int(f.bytes-size) / len(variable)
			held := int64(0) // of texts' pages, without those that are dropped
			for _, i := range variable {
				b := &r.columns[i]
				err := b.reader.Skip(s.skip)
				if err == nil {
					n, err = b.reader.Fit(n, room)
				}
				if err != nil {
					return nil, &columnError{b.from.name, err}
				}
				held = r.trimLarge(&b.reader, held)
			}
			held = 0
			for _, i := range variable {
				before := len(batch.Leaves[i].Data)
				if err := r.column(&r.columns[i], &batch.Leaves[i], rows, n); err != nil {
					return nil, err
				}
				size += int64(len(batch.Leaves[i].Data) - before)
				held = r.trimLarge(&r.columns[i].reader, held)
			}
		}
		if k := len(r.steps); k > 0 && s.skip == 0 {
			r.steps[k-1].n += n
		} else {
			r.steps = append(r.steps, span{s.skip, n})
		}
		rows += n
		s.skip = 0
		if s.n -= n; s.n == 0 {
			spans = spans[1:]
		}
	}
	held := int64(0)
	for i := range r.columns {
		b, buf := &r.columns[i], &batch.Leaves[i]
		if b.from == nil || !b.from.hasWidth() {
			if err := f.fixed(b, buf, batch.Rows, rows, r.out.columns[i].list); err != nil {
				return nil, err
			}
		}
		held = r.trim(&b.reader, held)
	}
	batch.Rows = rows
	return spans, nil
}

// fixed reads the rows of the steps for a column whose rows are all of one size, or that has no values in the table.
func (f *filler) fixed(b *boundColumn, buf *column.Buffer, at, to, list int) error {
	switch {
	case b.dim >= 0:
		appendDimension(buf, f.id[b.dim], at, to)
		return nil
	case b.from == nil && list > 0:
		for range to - at {
			buf.Def = append(buf.Def, 0)
			buf.Rep = append(buf.Rep, 0)
		}
		return nil
	case b.from == nil:
		growBitmap(buf, to)
		return nil
	}
	for _, s := range f.r.steps {
		if err := b.reader.Skip(s.skip); err != nil {
			return &columnError{b.from.name, err}
		}
		if err := f.r.column(b, buf, at, s.n); err != nil {
			return err
		}
		at += s.n
	}
	return nil
}

func growBitmap(buf *column.Buffer, rows int) {
	for len(buf.Valid) < (rows+7)/8 {
		buf.Valid = append(buf.Valid, 0)
	}
}

// appendDimension repeats a data ID's value for rows [at, to).
func appendDimension(buf *column.Buffer, v value, at, to int) {
	growBitmap(buf, to)
	if v.kind == noValue {
		return
	}
	var one []byte
	if v.kind == textValue {
		one = binary.LittleEndian.AppendUint32(nil, uint32(len(v.s)))
		one = append(one, v.s...)
	} else {
		one = binary.LittleEndian.AppendUint64(nil, uint64(v.n))
	}
	for i := at; i < to; i++ {
		buf.Valid[i>>3] |= 1 << (i & 7)
		buf.Data = append(buf.Data, one...)
	}
	buf.Values += to - at
}

// column reads n rows of a column behind the rows of buf, and turns them into what they are in the output.
func (r *rowReader) column(b *boundColumn, buf *column.Buffer, rows, n int) error {
	c := b.from
	fail := func(err error) error { return &columnError{c.name, err} }
	into, start := buf, rows
	if c.convert == days || c.convert == int96 {
		clear(r.tmp.Valid)
		r.tmp = column.Buffer{Valid: r.tmp.Valid[:0], Data: r.tmp.Data[:0]}
		into, start = &r.tmp, 0
	}
	from := len(into.Data)
	values := into.Values
	first := b.reader.Row()
	got, err := b.reader.Read(into, start, n, math.MaxInt)
	if err != nil {
		return fail(err)
	}
	if got != n {
		return fail(fmt.Errorf("read %d rows of %d", got, n))
	}
	if c.isView && into.Values-values < n {
		return fail(fmt.Errorf("a null in a column of views: it cannot be read as an astropy table"))
	}
	switch c.convert {
	case asIs:
	case timestamps, milliseconds:
		err = convertTimestamps(buf, rows, n, from, c.convert == milliseconds)
	case days, int96:
		err = convertInto(buf, &r.tmp, rows, n, c.convert)
	case texts, binaries:
		err = b.checkTexts(buf, from)
	}
	if err != nil {
		var bad *valueError
		if errors.As(err, &bad) {
			return fail(fmt.Errorf("row %d or after: %w", first+1, err))
		}
		return fail(err)
	}
	return nil
}

// valueError is a value that has no form in the output.
type valueError struct{ reason string }

func (e *valueError) Error() string { return e.reason }

const nat = math.MinInt64 // numpy's "not a time"

// convertTimestamps turns the int64 values of rows [rows, rows+n), which begin at byte from, into microseconds where
// they are milliseconds, and NaT into null.
func convertTimestamps(buf *column.Buffer, rows, n, from int, milli bool) error {
	hasNaT := false
	for at := from; at < len(buf.Data); at += 8 {
		v := int64(binary.LittleEndian.Uint64(buf.Data[at:]))
		if v == nat {
			hasNaT = true
			continue
		}
		if !milli {
			continue
		}
		if v > math.MaxInt64/1000 || v < math.MinInt64/1000 {
			return &valueError{fmt.Sprintf("%d milliseconds since 1970 do not fit into microseconds", v)}
		}
		binary.LittleEndian.PutUint64(buf.Data[at:], uint64(v*1000))
	}
	if !hasNaT {
		return nil
	}
	to := from
	for i, at := rows, from; i < rows+n; i++ {
		if buf.Valid[i>>3]>>(i&7)&1 == 0 {
			continue
		}
		if int64(binary.LittleEndian.Uint64(buf.Data[at:])) == nat {
			buf.Valid[i>>3] &^= 1 << (i & 7)
			buf.Values--
		} else {
			copy(buf.Data[to:to+8], buf.Data[at:])
			to += 8
		}
		at += 8
	}
	buf.Data = buf.Data[:to]
	return nil
}

// unixEpoch is 1970-01-01 as a Julian day.
const unixEpoch = 2440588

const microsecondsADay = 86400 * 1000 * 1000

// convertInto appends n rows of tmp to buf, days or 96-bit timestamps turned into int64 timestamps.
func convertInto(buf, tmp *column.Buffer, rows, n int, c conversion) error {
	growBitmap(buf, rows+n)
	data := tmp.Data
	for i := range n {
		if tmp.Valid[i>>3]>>(i&7)&1 == 0 {
			continue
		}
		var v int64
		if c == days {
			d := int64(int32(binary.LittleEndian.Uint32(data)))
			data = data[4:]
			if d > math.MaxInt64/microsecondsADay || d < math.MinInt64/microsecondsADay {
				return &valueError{fmt.Sprintf("the date %d days from 1970 does not fit into microseconds", d)}
			}
			v = d * microsecondsADay
		} else {
			nanos := int64(binary.LittleEndian.Uint64(data))
			d := int64(binary.LittleEndian.Uint32(data[8:])) - unixEpoch
			data = data[12:]
			const day = microsecondsADay * 1000
			if nanos < 0 || nanos >= 2*day || d > math.MaxInt64/day-2 || d < math.MinInt64/day+2 {
				return &valueError{fmt.Sprintf("a timestamp %d days from 1970 does not fit into nanoseconds", d)}
			}
			v = d*day + nanos
		}
		at := rows + i
		buf.Valid[at>>3] |= 1 << (at & 7)
		buf.Data = binary.LittleEndian.AppendUint64(buf.Data, uint64(v))
		buf.Values++
	}
	return nil
}

// checkTexts looks at the texts or bytes that begin at byte from: texts must be UTF-8; what is longer than the declared
// width is cut to it, as numpy does, and counted; and the longest is remembered.
func (b *boundColumn) checkTexts(buf *column.Buffer, from int) error {
	c := b.from
	limit := c.declared // 0 declares nothing
	if limit < 1 {
		limit = math.MaxInt
	}
	tooLong := false
	for at := from; at < len(buf.Data); {
		n := int(binary.LittleEndian.Uint32(buf.Data[at:]))
		v := buf.Data[at+4 : at+4+n]
		at += 4 + n
		if c.convert == texts && !utf8.Valid(v) {
			return &valueError{"a text that is not UTF-8"}
		}
		if n <= b.facts.width {
			continue
		}
		if c.convert == texts {
			n = utf8.RuneCount(v)
		}
		if n > limit {
			tooLong = true
			n = limit
		}
		b.facts.width = max(b.facts.width, n)
	}
	if tooLong {
		b.cutTexts(buf, from, limit)
	}
	return nil
}

// cutTexts rewrites the values from byte from on, none longer than limit.
func (b *boundColumn) cutTexts(buf *column.Buffer, from, limit int) {
	old := slices.Clone(buf.Data[from:])
	buf.Data = buf.Data[:from]
	for len(old) > 0 {
		n := int(binary.LittleEndian.Uint32(old))
		v := old[4 : 4+n]
		old = old[4+n:]
		keep := len(v)
		if len(v) > limit {
			keep = limit
			if b.from.convert == texts {
				keep = 0
				for range limit {
					if keep == len(v) {
						break
					}
					_, size := utf8.DecodeRune(v[keep:])
					keep += size
				}
			}
		}
		if keep < len(v) {
			b.cut++
		}
		buf.Data = binary.LittleEndian.AppendUint32(buf.Data, uint32(keep))
		buf.Data = append(buf.Data, v[:keep]...)
	}
}
