package parquetw

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"github.com/apache/thrift/lib/go/thrift"

	"fast-export/internal/column"
)

const arrowSchemaKey = "ARROW:schema"

// tail gathers, row group by row group, what is written behind the last one. The indexes lie in it as they will lie in
// the file. A wide table of hundreds of row groups has tens of megabytes of it, so it counts and spills as pages do.
type tail struct {
	columnIndex store
	offsetIndex store
	groups      store // see addGroup
	header      compact
}

func (t *tail) init(p *Pool) { t.columnIndex.pool, t.offsetIndex.pool, t.groups.pool = p, p, p }

func (t *tail) free() {
	t.columnIndex.free()
	t.offsetIndex.free()
	t.groups.free()
}

// groupInFile is how far a row group has come on its way to the file. Only the one who writes has it.
type groupInFile struct {
	next    int     // column chunk to write
	start   int64   // where the first one lies
	bloomAt []int64 // where each leaf's bloom filter lies
	raw     int64   // bytes of the chunks written, before compression
	notes   []byte  // see addGroup
}

// writeNext copies the next column chunk of a row group, which is finished, to the file and notes what the footer has to say of it.
func (w *Writer) writeNext(g *rowGroup) error {
	f := &g.file
	if f.next == 0 {
		if err := w.writeBlooms(g); err != nil {
			return err
		}
		f.start = w.out.at
	}
	if f.next < len(g.chunks) {
		if err := w.writeChunk(g, f.next); err != nil {
			return err
		}
		f.next++
	}
	if f.next < len(g.chunks) {
		return nil
	}
	return w.tail.addGroup(g.rows, f.start, f.raw, w.out.at-f.start, f.notes)
}

// writeBlooms writes a row group's bloom filters, which stand in front of it: what is known of a column chunk is complete when it is written.
func (w *Writer) writeBlooms(g *rowGroup) error {
	g.file.bloomAt = make([]int64, len(g.chunks))
	for i := range g.chunks {
		if b := &g.chunks[i].bloom; b.size > 0 {
			g.file.bloomAt[i] = w.out.at
			if err := g.store.copyTo(w.out.add, b.at, b.size, w.block()); err != nil {
				return err
			}
		}
	}
	return nil
}

// block is a buffer of blockBytes for the one who writes.
func (w *Writer) block() []byte {
	if w.blockBuf == nil {
		w.blockBuf = make([]byte, blockBytes)
	}
	return w.blockBuf
}

func (w *Writer) writeChunk(g *rowGroup, i int) error {
	c, f := &g.chunks[i], &g.file
	if c.rows != g.rows {
		return fmt.Errorf("leaf %s: %d rows in a row group of %d", w.leaves[i].Path, c.rows, g.rows)
	}
	buf := w.block()
	at := w.out.at
	dictAt := int64(-1)
	if c.dict.size > 0 {
		dictAt = at
		if err := g.store.copyTo(w.out.add, c.dict.at, c.dict.size, buf); err != nil {
			return err
		}
	}
	firstPage := w.out.at
	h := &w.tail.header
	h.reset()
	h.list(1, thriftStruct, len(c.pages)) // the pages' places, as an OffsetIndex
	for _, p := range c.pages {
		h.begin(0)
		h.i64(1, w.out.at)
		h.i32(2, int32(p.size))
		h.i64(3, p.firstRow)
		h.end()
		if err := g.store.copyTo(w.out.add, p.at, p.size, buf); err != nil {
			return err
		}
	}
	h.stop()
	if _, err := w.tail.offsetIndex.append(h.b); err != nil {
		return err
	}
	offsetBytes := len(h.b)
	h.reset()
	columnBytes := 0
	if appendColumnIndex(h, w.encoders[i].order, c.pages) {
		if _, err := w.tail.columnIndex.append(h.b); err != nil {
			return err
		}
		columnBytes = len(h.b)
	}
	h.reset()
	w.appendColumnMetadata(h, i, c, dictAt, firstPage, w.out.at-at, f.bloomAt[i])
	f.notes = binary.AppendUvarint(f.notes, uint64(len(h.b)))
	f.notes = append(f.notes, h.b...)
	f.notes = binary.AppendUvarint(f.notes, uint64(offsetBytes))
	f.notes = binary.AppendUvarint(f.notes, uint64(columnBytes))
	f.raw += c.rawBytes
	return nil
}

// addGroup notes a row group: its rows, place, size before compression and size as numbers, then for each column chunk
// the length of its ColumnMetaData, that, and the lengths of its two indexes.
func (t *tail) addGroup(rows, at, raw, size int64, notes []byte) error {
	var head []byte
	for _, n := range []int64{rows, at, raw, size} {
		head = binary.AppendUvarint(head, uint64(n))
	}
	_, err := t.groups.append(head, notes)
	return err
}

// appendColumnIndex writes a ColumnIndex, unless one of the pages has values without bounds.
// Source: struct ColumnIndex in parquet.thrift
func appendColumnIndex(h *compact, o order, pages []page) bool {
	for i := range pages {
		if !pages[i].allNull && !pages[i].bounds.has {
			return false
		}
	}
	if o == orderNone {
		return false
	}
	h.list(1, thriftTrue, len(pages)) // a list of booleans
	for _, p := range pages {
		if p.allNull {
			h.b = append(h.b, thriftTrue)
		} else {
			h.b = append(h.b, thriftFalse)
		}
	}
	h.list(2, thriftBinary, len(pages))
	for _, p := range pages {
		h.item(p.bounds.min)
	}
	h.list(3, thriftBinary, len(pages))
	for _, p := range pages {
		h.item(p.bounds.max)
	}
	h.i32(4, boundaryOrder(o, pages))
	h.list(5, thriftI64, len(pages))
	for _, p := range pages {
		h.b = binary.AppendVarint(h.b, p.nulls)
	}
	h.stop()
	return true
}

// boundaryOrder is 1 where both bounds of the pages only ascend, 2 where they only descend, 0 otherwise. Pages of nulls
// do not count.
// Source: enum BoundaryOrder in parquet.thrift
func boundaryOrder(o order, pages []page) int32 {
	up, down := true, true
	var last *encoded
	for i := range pages {
		b := &pages[i].bounds
		if pages[i].allNull {
			continue
		}
		if last != nil {
			lo, hi := compareEncoded(o, last.min, b.min), compareEncoded(o, last.max, b.max)
			up = up && lo <= 0 && hi <= 0
			down = down && lo >= 0 && hi >= 0
		}
		last = b
	}
	switch {
	case last == nil:
		return 0
	case up:
		return 1
	case down:
		return 2
	}
	return 0
}

// physicalTypes are Parquet's own numbers.
// Source: enum Type in parquet.thrift
var physicalTypes = [...]int32{
	column.Bool: 0, column.Int32: 1, column.Int64: 2, column.Float32: 4, column.Float64: 5, column.ByteArray: 6, column.Fixed: 7,
}

// appendColumnMetadata writes the ColumnMetaData of a column chunk.
// Source: struct ColumnMetaData in parquet.thrift
func (w *Writer) appendColumnMetadata(h *compact, i int, c *columnChunk, dictAt, pagesAt, size, bloomAt int64) {
	var encodings []int32
	for k, n := range c.counts {
		if n > 0 {
			encodings = append(encodings, pageEncodings[k])
		}
	}
	hasPlain := c.counts[1] > 0
	pages := len(encodings)
	if c.dict.size > 0 && !hasPlain {
		encodings = append(encodings, thriftPlain) // the dictionary page
	}
	encodings = append(encodings, thriftRLE) // levels
	h.i32(1, physicalTypes[w.leaves[i].Physical])
	h.list(2, thriftI32, len(encodings))
	for _, e := range encodings {
		h.b = binary.AppendVarint(h.b, int64(e))
	}
	path := w.parquet.Column(i).ColumnPath()
	h.list(3, thriftBinary, len(path))
	for _, name := range path {
		h.item([]byte(name))
	}
	h.i32(4, codecs[w.compression.Codec].thrift)
	h.i64(5, c.entries)
	h.i64(6, c.rawBytes)
	h.i64(7, size)
	h.i64(9, pagesAt)
	if dictAt >= 0 {
		h.i64(11, dictAt)
	}
	h.begin(12)
	h.i64(3, c.nulls)
	if c.stats.has {
		h.bytes(5, c.stats.max)
		h.bytes(6, c.stats.min)
		h.bool(7, c.stats.maxExact)
		h.bool(8, c.stats.minExact)
	}
	h.end()
	stats := pages
	if c.dict.size > 0 {
		stats++
	}
	h.list(13, thriftStruct, stats)
	pageStat := func(kind, encoding int32, n int) {
		h.begin(0)
		h.i32(1, kind)
		h.i32(2, encoding)
		h.i32(3, int32(n))
		h.end()
	}
	if c.dict.size > 0 {
		pageStat(thriftDictPage, thriftPlain, 1)
	}
	for k, n := range c.counts {
		if n > 0 {
			pageStat(thriftDataPage, pageEncodings[k], n)
		}
	}
	if c.bloom.size > 0 {
		h.i64(14, bloomAt)
		h.i32(15, int32(c.bloom.size))
	}
	h.stop()
}

// writeFooter writes the indexes and the footer: everything behind the last row group. The footer goes out row group by
// row group, so that it takes no memory to speak of.
// Source: struct FileMetaData in parquet.thrift
func (w *Writer) writeFooter() error {
	t := &w.tail
	buf := w.block()
	columnIndexAt := w.out.at
	if err := t.columnIndex.copyTo(w.out.add, 0, t.columnIndex.size, buf); err != nil {
		return err
	}
	offsetIndexAt := w.out.at
	if err := t.offsetIndex.copyTo(w.out.add, 0, t.offsetIndex.size, buf); err != nil {
		return err
	}
	footerAt := w.out.at
	h := &t.header
	h.reset()
	flush := func() error {
		err := w.out.add(h.b)
		h.b = h.b[:0]
		return err
	}
	h.i32(1, 2) // format version: encodings and logical types of Parquet 2
	elements := schema.ToThrift(w.parquet.Root())
	h.list(2, thriftStruct, len(elements))
	for _, e := range elements {
		b, err := serialize(e)
		if err != nil {
			return fmt.Errorf("parquet schema: %w", err)
		}
		h.b = append(h.b, b...)
	}
	h.i64(3, w.rows)
	h.list(4, thriftStruct, int(w.groups))
	notes := &noteReader{r: bufio.NewReaderSize(&reader{s: &t.groups}, 32<<10)}
	for g := range w.groups {
		rows, at, raw, size := notes.number(), notes.number(), notes.number(), notes.number()
		h.begin(0)
		h.list(1, thriftStruct, len(w.leaves))
		for range w.leaves {
			h.begin(0)
			h.i64(2, 0) // no copy of the metadata beside the chunk
			h.field(3, thriftStruct)
			h.b = notes.bytes(h.b)
			offsetBytes, columnBytes := notes.number(), notes.number()
			h.i64(4, offsetIndexAt)
			h.i32(5, int32(offsetBytes))
			if columnBytes > 0 {
				h.i64(6, columnIndexAt)
				h.i32(7, int32(columnBytes))
			}
			offsetIndexAt += offsetBytes
			columnIndexAt += columnBytes
			h.end()
			if len(h.b) > 32<<10 {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		h.i64(2, raw)
		h.i64(3, rows)
		if w.sorted != nil {
			h.list(4, thriftStruct, len(w.sorted.keys))
			for _, k := range w.sorted.keys {
				h.begin(0)
				h.i32(1, int32(k.index))
				h.bool(2, false) // ascending
				h.bool(3, false) // NULLs last
				h.end()
			}
		}
		h.i64(5, at)
		h.i64(6, size)
		h.field(7, 4) // i16
		h.b = binary.AppendVarint(h.b, g)
		h.end()
		if notes.err != nil {
			return notes.err
		}
	}
	encoded, err := w.arrowSchema()
	if err != nil {
		return err
	}
	h.list(5, thriftStruct, len(w.metadata)+1)
	for _, kv := range append(w.metadata[:len(w.metadata):len(w.metadata)], KeyValue{arrowSchemaKey, encoded}) {
		h.begin(0)
		h.string(1, kv.Key)
		h.string(2, kv.Value)
		h.end()
	}
	createdBy := w.opt.CreatedBy
	if createdBy == "" {
		createdBy = "fast-export"
	}
	h.string(6, createdBy)
	// Every leaf's bounds follow the order that its type defines: TypeDefinedOrder.
	h.list(7, thriftStruct, len(w.leaves))
	for range w.leaves {
		h.begin(0)
		h.begin(1)
		h.end()
		h.end()
	}
	h.stop()
	if err := flush(); err != nil {
		return err
	}
	size := w.out.at - footerAt
	if size > math.MaxInt32 {
		return fmt.Errorf("a footer of %d bytes: Parquet holds at most 2 GiB - 1, give row groups more rows", size)
	}
	end := le.AppendUint32(nil, uint32(size))
	return w.out.add(append(end, magic...))
}

// serialize writes a structure of arrow-go's generated code.
func serialize(e thrift.TStruct) ([]byte, error) {
	s := thrift.NewTSerializer()
	s.Protocol = thrift.NewTCompactProtocolFactoryConf(nil).GetProtocol(s.Transport)
	return s.Write(context.Background(), e)
}

// arrowSchema is the Arrow schema as other writers store it: an IPC stream without batches, in base64. Its own metadata
// are the file's, as they are at Commit: pyarrow takes a schema's metadata from here alone (ARROW-8980).
func (w *Writer) arrowSchema() (string, error) {
	var b bytes.Buffer
	keys, values := make([]string, len(w.metadata)), make([]string, len(w.metadata))
	for i, kv := range w.metadata {
		keys[i], values[i] = kv.Key, kv.Value
	}
	md := arrow.NewMetadata(keys, values)
	iw := ipc.NewWriter(&b, ipc.WithSchema(arrow.NewSchema(w.opt.Schema.Fields(), &md)))
	if err := iw.Close(); err != nil {
		return "", fmt.Errorf("arrow schema: %w", err)
	}
	var out strings.Builder
	enc := base64.NewEncoder(base64.StdEncoding, &out)
	_, err := enc.Write(b.Bytes())
	return out.String(), errors.Join(err, enc.Close())
}

// noteReader reads what addGroup wrote. Its first error sticks.
type noteReader struct {
	r   *bufio.Reader
	err error
}

func (n *noteReader) number() int64 {
	if n.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(n.r)
	if err != nil {
		n.err = noEOF(err)
	}
	return int64(v)
}

// bytes appends a number's worth of bytes to dst.
func (n *noteReader) bytes(dst []byte) []byte {
	size := int(n.number())
	if n.err != nil {
		return dst
	}
	at := len(dst)
	dst = grow(dst, size)
	if _, err := io.ReadFull(n.r, dst[at:]); err != nil {
		n.err = noEOF(err)
	}
	return dst
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
