package typemap

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"fast-export/internal/column"
)

// DecoderOptions are how a Decoder cuts and where it gets its batches.
type DecoderOptions struct {
	// A batch is full when it has BatchRows rows, or as soon as a row has brought its content to BatchBytes, looked at
	// every few rows and after large values. Both depend on the rows alone, so a COPY that is done again is cut at the
	// same places. Zero means 65,536 rows and 8 MiB.
	BatchRows  int
	BatchBytes int64

	// BlockSize is the most bytes that the CSV scanner works on at a time, save for a single field that is larger; 0 is all that
	// a Write brings.
	BlockSize int

	// Next is called with nil for the first batch and with each full one, and returns an empty batch to fill. It may
	// block. It is not called with the last batch: Finish returns that. An error ends the decoding.
	Next func(full *column.Batch) (*column.Batch, error)
}

// cursor is the writing end of one leaf. It is small so that those of a wide row stay in the first-level cache.
type cursor struct {
	buf  []byte // the leaf's data, as long as there is room
	n    int    // bytes used
	kind kind
	need bool // a NULL is an error
	deep bool // the column is more than one leaf
	raw  bool // text needs no check
}

// grow makes room for n more bytes.
func (c *cursor) grow(n int) {
	b := make([]byte, max(4096, len(c.buf)*3/2, c.n+n))
	copy(b, c.buf[:c.n])
	c.buf = b
}

// leafBuf is the writing end of a leaf that belongs to a nested column.
type leafBuf struct {
	cursor
	bits     byte // of a flat leaf: which of the current eight rows have a value
	def, rep []byte
	maxDef   uint8
	maxRep   uint8
	flat     bool
}

// Decoder turns one COPY stream after another into batches. Not for concurrent use.
type Decoder struct {
	plan *Plan
	opt  DecoderOptions

	cols  []cursor // one a top-level column; in use for those of one leaf
	leafs []leafBuf
	valid [][]byte // validity bitmaps of the columns in cols
	slim  []int    // columns that are one leaf
	deep  []int    // leaves of the other columns
	nulls []uint64 // a bit a field of the current 64 rows, row by row in whole words: it is NULL
	words int      // of nulls a row
	sizes []int    // bytes that each leaf had in the last full batch of usual size
	looks []uint64 // a bit a column, in one row's words: a NULL needs a look
	made  []uint64 // likewise: an option has made the current row's value NULL

	batch    *column.Batch
	rows     int   // in the batch
	total    int64 // in this COPY
	bit      byte  // of the current row in its validity byte
	big      int64 // bytes of large values since the content was last added up
	field    int   // next column of the current row; -1 between rows
	carry    []byte
	scan     scanState
	header   bool // the binary header has been read
	done     bool // the binary trailer has
	err      error
	strict   bool
	geo      []geoStats
	scratch  [][]byte // one a node, for a value's unescaped text
	tail     [2 * quickBytes]byte
	unquoted []byte // a CSV field without its doubled quotes
	wire     []byte // the binary form that a CSV field spells out in hexadecimal
}

// NewDecoder gives a Decoder for streams of the plan's transport.
func (p *Plan) NewDecoder(o DecoderOptions) *Decoder {
	if o.BatchRows <= 0 {
		o.BatchRows = 65536
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = 8 << 20
	}
	d := &Decoder{
		plan: p, opt: o, strict: p.strict,
		cols: make([]cursor, len(p.nodes)), leafs: make([]leafBuf, len(p.Leaves)), valid: make([][]byte, len(p.nodes)),
		scratch: make([][]byte, p.ids), geo: make([]geoStats, len(p.geo.cols)), words: (len(p.nodes) + 63) / 64,
		sizes: make([]int, len(p.Leaves)),
	}
	d.nulls, d.looks, d.made = make([]uint64, 64*d.words), make([]uint64, d.words), make([]uint64, d.words)
	for i, n := range p.nodes {
		c := &d.cols[i]
		c.kind, c.need, c.raw = n.kind, p.nnull[i], n.raw
		if p.Columns[i].AsText && n.kind != kText {
			c.kind = kViaText
		}
		if p.Columns[i].csvForm == sendForm {
			c.kind = kViaBinary
		}
		if c.need || !n.scalar() {
			d.looks[i/64] |= 1 << (i % 64)
		}
		if n.scalar() {
			d.slim = append(d.slim, i)
			continue
		}
		c.deep = true
		for l := n.leafLo; l < n.leafHi; l++ {
			b := &d.leafs[l]
			b.maxDef, b.maxRep, b.flat = p.Leaves[l].MaxDef, p.Leaves[l].MaxRep, p.Leaves[l].Flat()
			d.deep = append(d.deep, l)
		}
	}
	d.Reset()
	return d
}

// Reset makes the Decoder ready for another stream from its beginning. A batch that was not handed over is released.
func (d *Decoder) Reset() {
	if d.batch != nil {
		d.detach().Release()
	}
	d.rows, d.total, d.bit, d.big, d.field = 0, 0, 1, 0, -1
	d.carry, d.scan, d.header, d.done, d.err = d.carry[:0], scanState{}, false, false, nil
	clear(d.geo)
}

// Rows is the number of whole rows decoded since the stream's beginning.
func (d *Decoder) Rows() int64 { return d.total }

// Write decodes the next piece of the stream, cut anywhere. It reads p only until it returns. The error is a
// *ValueError, a *StreamError or one of Next's, and ends the stream: it comes back from every later call.
func (d *Decoder) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n := len(p)
	if d.plan.Transport == Binary {
		d.err = d.writeBinary(p)
	} else {
		d.err = d.writeCSV(p)
	}
	if d.err != nil {
		return 0, d.err
	}
	return n, nil
}

// Finish ends the stream, which must be whole, and gives the last batch: nil if there was no row, empty if the row before
// filled one. The Decoder needs a Reset before it can be used again.
func (d *Decoder) Finish() (*column.Batch, error) {
	if d.err != nil {
		return nil, d.err
	}
	switch {
	case d.field >= 0 || len(d.carry) > 0:
		d.err = d.stream("ends in the middle of a row")
	case d.plan.Transport == Binary && !d.done:
		d.err = d.stream("ends without its trailer")
	default:
		d.err = d.plan.geo.add(d.plan, d.geo)
	}
	if d.err != nil {
		return nil, d.err
	}
	d.err = errFinished
	if d.batch == nil {
		return nil, nil
	}
	return d.detach(), nil
}

var errFinished = errors.New("the stream has been finished")

func (d *Decoder) stream(format string, a ...any) error {
	return &StreamError{Row: d.total, Reason: fmt.Sprintf(format, a...)}
}

// wrap says where an error came up. v is the column's value as it was on the wire.
func (d *Decoder) wrap(col int, v []byte, err error) error {
	var b *badValue
	if !errors.As(err, &b) {
		return err
	}
	c := &d.plan.Columns[col]
	e := &ValueError{Column: c.Name, Type: c.Postgres, Row: d.total, Value: b.value, Reason: b.reason, Hint: ownHint(b.hint, c.Name)}
	if e.Value == "" && v != nil {
		text := d.plan.Transport == CSV || c.AsText
		if d.cols[col].kind == kViaBinary {
			v, text = d.wire, false
		}
		e.Value = d.plan.nodes[col].shown(v, text)
	}
	return e
}

func (d *Decoder) nullError(col int) error {
	c := &d.plan.Columns[col]
	return &ValueError{
		Column: c.Name, Type: c.Postgres, Row: d.total, Value: "NULL",
		Reason: "the column is NOT NULL in the catalog, and its field in the file is required",
	}
}

// attach begins to fill b.
func (d *Decoder) attach(b *column.Batch) error {
	if b == nil || len(b.Leaves) != len(d.plan.Leaves) || len(b.Counts) != len(d.plan.nodes) {
		return errors.New("typemap: Next gave a batch for another schema")
	}
	d.batch, d.rows, d.bit, d.big = b, 0, 1, 0
	clear(d.nulls)
	clear(d.made)
	for l := range b.Leaves {
		if buf := &b.Leaves[l]; cap(buf.Data) == 0 && d.sizes[l] > 0 { // growing step by step would take more, and time
			buf.Data = make([]byte, 0, d.sizes[l]+d.sizes[l]/16+20)
		}
	}
	for _, i := range d.slim {
		buf := &b.Leaves[d.plan.nodes[i].leafLo]
		c := &d.cols[i]
		c.buf, c.n = buf.Data[:cap(buf.Data)], 0
		d.valid[i] = buf.Valid[:0]
	}
	for _, l := range d.deep {
		buf, c := &b.Leaves[l], &d.leafs[l]
		c.buf, c.n, c.bits = buf.Data[:cap(buf.Data)], 0, 0
		c.def, c.rep = buf.Def[:0], buf.Rep[:0]
		if c.flat {
			c.def = buf.Valid[:0]
		}
	}
	return nil
}

// detach closes the batch's buffers and lets go of it.
func (d *Decoder) detach() *column.Batch {
	b := d.batch
	if d.rows%8 != 0 {
		d.flushBits()
	}
	if d.rows%64 != 0 {
		d.flushNulls()
	}
	b.Rows = d.rows
	finish := func(l int, c *cursor, valid []byte) {
		buf, leaf := &b.Leaves[l], &d.plan.Leaves[l]
		buf.Data = c.buf[:c.n]
		if leaf.MaxDef > 0 {
			buf.Valid = valid
			buf.Values = column.PopCount(valid, 0, d.rows)
		} else {
			buf.Values = d.rows
		}
	}
	for _, i := range d.slim {
		finish(d.plan.nodes[i].leafLo, &d.cols[i], d.valid[i])
	}
	for _, l := range d.deep {
		c := &d.leafs[l]
		if c.flat {
			finish(l, &c.cursor, c.def)
			continue
		}
		buf := &b.Leaves[l]
		buf.Data, buf.Def, buf.Rep, buf.Values = c.buf[:c.n], c.def, c.rep, 0
		for _, def := range c.def {
			if def == c.maxDef {
				buf.Values++
			}
		}
	}
	d.batch, d.rows, d.bit = nil, 0, 1
	return b
}

// setNulls makes the current row's fields from i on, n of them, NULL. What that means for some of them endRow looks at.
func (d *Decoder) setNulls(i, n int) {
	row := d.nulls[d.rows%64*d.words:]
	for n > 0 {
		k := min(n, 64-i%64)
		row[i/64] |= math.MaxUint64 >> (64 - k) << (i % 64)
		i += k
		n -= k
	}
}

// lookAtNulls deals with the row's NULLs that are more than a bit.
func (d *Decoder) lookAtNulls() error {
	row := d.nulls[d.rows%64*d.words:]
	for w, looks := range d.looks {
		m := row[w] & looks
		if m == 0 {
			continue
		}
		m &^= d.made[w]
		for d.made[w] = 0; m != 0; m &= m - 1 {
			i := w*64 + bits.TrailingZeros64(m)
			if d.cols[i].need {
				return d.nullError(i)
			}
			n := d.plan.nodes[i]
			d.absent(n, n.def-1, 0)
		}
	}
	return nil
}

// flushNulls moves the validity of up to 64 rows, the batch's last, into the bitmaps.
func (d *Decoder) flushNulls() {
	rows := (d.rows-1)%64 + 1
	var m [64]uint64
	for w := range d.words {
		for r := range m {
			m[r] = d.nulls[r*d.words+w]
		}
		transpose(&m)
		for i := w * 64; i < min(w*64+64, len(d.cols)); i++ {
			if d.cols[i].deep {
				continue
			}
			present := ^m[i%64] & (math.MaxUint64 >> (64 - rows)) // past the rows bits are 0
			valid := le.AppendUint64(d.valid[i], present)
			d.valid[i] = valid[:len(valid)-(64-rows)/8]
		}
	}
	clear(d.nulls)
}

// transpose makes bit j of word i bit i of word j. Source: Warren, Hacker's Delight, section 7-3.
func transpose(m *[64]uint64) {
	mask := uint64(math.MaxUint32)
	for j := 32; j != 0; j, mask = j/2, mask^mask<<(j/2) {
		for k := 0; k < 64; k = (k + j + 1) &^ j {
			t := (m[k]>>j ^ m[k+j]) & mask
			m[k+j] ^= t
			m[k] ^= t << j
		}
	}
}

// flushBits moves up to eight rows' validity, the batch's last, into the bitmaps of flat leaves of nested columns.
func (d *Decoder) flushBits() {
	for _, l := range d.deep {
		if c := &d.leafs[l]; c.flat {
			c.def = append(c.def, c.bits)
			c.bits = 0
		}
	}
}

// startRow makes sure that there is a batch.
func (d *Decoder) startRow() error {
	d.field = 0
	if d.batch != nil {
		return nil
	}
	b, err := d.opt.Next(nil)
	if err != nil {
		return err
	}
	return d.attach(b)
}

const (
	lookEvery = 32       // rows between two looks at the batch's content
	bigValue  = 64 << 10 // bytes of a value after which one look is due at once
)

// endRow counts the row and hands over a full batch.
func (d *Decoder) endRow() error {
	if err := d.lookAtNulls(); err != nil {
		return err
	}
	d.field = -1
	d.rows++
	d.total++
	if d.bit <<= 1; d.bit == 0 {
		d.flushBits()
		d.bit = 1
	}
	if d.rows%64 == 0 {
		d.flushNulls()
	}
	if d.rows < d.opt.BatchRows {
		if d.rows&(lookEvery-1) != 0 && d.big < bigValue {
			return nil
		}
		if d.content() < d.opt.BatchBytes {
			return nil
		}
	}
	full := d.detach()
	if full.DataBytes() < d.opt.BatchBytes/8*9 { // large values are no measure for the next ones
		for l := range full.Leaves {
			d.sizes[l] = len(full.Leaves[l].Data)
		}
	}
	b, err := d.opt.Next(full)
	if err != nil {
		return err
	}
	return d.attach(b)
}

// content adds up what the batch holds.
func (d *Decoder) content() int64 {
	d.big = 0
	n := 0
	for _, i := range d.slim {
		n += d.cols[i].n
	}
	for _, l := range d.deep {
		n += d.leafs[l].n + len(d.leafs[l].def) + len(d.leafs[l].rep)
	}
	return int64(n) + int64(len(d.slim)*d.rows>>3)
}

func (d *Decoder) counts(n *node) *column.Counts { return &d.batch.Counts[n.col] }

// level writes the definition and repetition level of one entry of a nested leaf.
func (d *Decoder) level(l *leafBuf, def, rep uint8) {
	if l.flat {
		if def == l.maxDef {
			l.bits |= d.bit
		}
		return
	}
	l.def = append(l.def, def)
	if l.maxRep > 0 {
		l.rep = append(l.rep, rep)
	}
}

// absent writes, for every leaf below n, an entry that ends at level def.
func (d *Decoder) absent(n *node, def, rep uint8) {
	for l := n.leafLo; l < n.leafHi; l++ {
		d.level(&d.leafs[l], def, rep)
	}
}

// null writes a NULL of a nested node.
func (d *Decoder) null(n *node, rep uint8) error {
	if !n.nullable {
		return bad("a NULL where none can be")
	}
	d.absent(n, n.def-1, rep)
	return nil
}

// put32 and put64 write a value of fixed width to a cursor.
func (c *cursor) put32(x uint32) {
	if c.n+4 > len(c.buf) {
		c.grow(4)
	}
	le.PutUint32(c.buf[c.n:], x)
	c.n += 4
}

func (c *cursor) put64(x uint64) {
	if c.n+8 > len(c.buf) {
		c.grow(8)
	}
	le.PutUint64(c.buf[c.n:], x)
	c.n += 8
}

func (c *cursor) putBool(b bool) {
	if c.n == len(c.buf) {
		c.grow(1)
	}
	c.buf[c.n] = 0
	if b {
		c.buf[c.n] = 1
	}
	c.n++
}

// putBytes writes a byte array.
func (c *cursor) putBytes(v []byte) {
	if c.n+4+len(v) > len(c.buf) {
		c.grow(4 + len(v))
	}
	le.PutUint32(c.buf[c.n:], uint32(len(v)))
	c.n += 4 + copy(c.buf[c.n+4:], v)
}

// fixed gives n bytes to fill.
func (c *cursor) fixed(n int) []byte {
	if c.n+n > len(c.buf) {
		c.grow(n)
	}
	c.n += n
	return c.buf[c.n-n : c.n : c.n]
}

// build lets f append a byte array's bytes.
func (c *cursor) build(room int, f func(dst []byte) ([]byte, error)) error {
	room = max(room, 16)
	if c.n+4+room > len(c.buf) {
		c.grow(4 + room)
	}
	out, err := f(c.buf[c.n+4 : c.n+4])
	if err != nil {
		return err
	}
	if len(out) > 0 && &out[0] != &c.buf[c.n+4] {
		c.putBytes(out) // it outgrew the room
		return nil
	}
	le.PutUint32(c.buf[c.n:], uint32(len(out)))
	c.n += 4 + len(out)
	return nil
}
