package parquetw

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"fast-export/internal/column"
)

// MaxRowGroups is the most row groups that a file may have: their ordinal is a 16-bit number in the footer.
const MaxRowGroups = 32767

// Writer makes one Parquet file of a stream of batches. Its methods are for one goroutine at a time.
type Writer struct {
	opt         Options
	compression Compression
	parquet     *schema.Schema
	leaves      []column.Leaf
	encoders    []*leafEncoder
	out         *output
	metadata    []KeyValue
	closed      bool // committed or aborted
	rows        int64
	current     *rowGroup  // takes rows; nil: none begun
	groups      int64      // begun
	sorted      *sortCheck // nil: nothing is said of the rows' order

	failed atomic.Bool // err is set: tasks only release what they hold

	mu       sync.Mutex
	change   sync.Cond // any of what follows has changed
	err      error     // the first one
	tasks    int       // pieces in line or being encoded, and pages handed off
	batches  int       // batches not yet released
	waiting  []*rowGroup
	flushing bool // somebody writes row groups

	// what the footer will need, in file order; only the one who writes row groups touches them
	tail     tail
	blockBuf []byte
}

// Result says what was written.
type Result struct {
	Rows, Bytes, RowGroups int64
	SHA256                 string // of the file, in hexadecimal, if Options.Hash asked for it
}

// batchRef is a batch with the number of leaves that still need it.
type batchRef struct {
	batch *column.Batch
	left  atomic.Int32
}

// rowGroup is a row group between its first row and its place in the file.
type rowGroup struct {
	ordinal int64
	rows    int64 // final when the group has been cut
	bytes   int64 // PLAIN, of all values; counted where Options.RowGroupBytes bounds it
	chunks  []columnChunk
	store   store
	file    groupInFile
}

// Create makes a Writer for a new file at path. The file is written under another name beside it and appears at path
// when it is whole: see Commit. Every Writer must be ended by Commit or Abort.
//
// Errors: *ExistsError and *FileError for the target; otherwise those of Check.
func Create(path string, opt Options) (*Writer, error) {
	if opt.Pool == nil {
		return nil, errors.New("parquetw: Options.Pool must be given")
	}
	w, err := newWriter(opt)
	if err != nil {
		return nil, err
	}
	if w.out, err = createOutput(path, opt.Overwrite, opt.Hash); err != nil {
		return nil, err
	}
	w.tail.init(opt.Pool)
	if err := w.out.add([]byte(magic)); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// Check finds out whether Create would take the Options, which need no Pool for that. It touches no file.
//
// Errors: *ColumnError for what is asked of a column; otherwise the schema or an option cannot be.
func Check(opt Options) error {
	_, err := newWriter(opt)
	return err
}

// newWriter is a Writer without a file.
func newWriter(opt Options) (*Writer, error) {
	if opt.Schema == nil {
		return nil, errors.New("parquetw: Options.Schema must be given")
	}
	w := &Writer{opt: opt}
	w.change.L = &w.mu
	var err error
	if w.compression, err = opt.Compression.withDefaults(); err != nil {
		return nil, err
	}
	if opt.RowGroupRows < 0 || opt.RowGroupBytes < 0 {
		return nil, fmt.Errorf("row groups of %d rows and %d bytes", opt.RowGroupRows, opt.RowGroupBytes)
	}
	if int(opt.Overwrite) > int(NoClobber) {
		return nil, fmt.Errorf("Overwrite(%d) does not exist", opt.Overwrite)
	}
	if err := checkNames(opt.Schema.Fields(), ""); err != nil {
		return nil, err
	}
	if w.parquet, w.leaves, err = fromArrow(opt.Schema); err != nil {
		return nil, err
	}
	if opt.Encodings != nil && len(opt.Encodings) != len(w.leaves) {
		return nil, fmt.Errorf("%d encodings for %d leaves", len(opt.Encodings), len(w.leaves))
	}
	if opt.Priors != nil && len(opt.Priors) != len(w.leaves) {
		return nil, fmt.Errorf("%d priors for %d leaves", len(opt.Priors), len(w.leaves))
	}
	lay := opt.layout
	if lay == (layout{}) {
		lay = layoutFor(len(w.leaves))
	}
	fields := leafFields(nil, opt.Schema.Fields())
	if len(fields) != len(w.leaves) {
		return nil, fmt.Errorf("parquet schema: %d leaves of %d Arrow fields", len(w.leaves), len(fields))
	}
	for i := range w.leaves {
		l := &w.leaves[i]
		if l.Physical == column.Fixed && l.Width == 0 {
			return nil, fmt.Errorf("leaf %s has values of no bytes", l.Path)
		}
		hint := Auto
		if opt.Encodings != nil {
			hint = opt.Encodings[i]
			if !fits(hint, l, fields[i]) {
				return nil, w.columnError(ForEncoding, i, "cannot be encoded as "+hint.String())
			}
		}
		isDict := fields[i].Type.ID() == arrow.DICTIONARY
		if isDict && hint == Auto {
			// pyarrow reads such a leaf in a list or struct only if all its pages have indices.
			hint = Dictionary
		}
		w.encoders = append(w.encoders, &leafEncoder{
			w: w, index: i, leaf: l, hint: hint, isDict: isDict, lay: lay,
			order: orderOf(l, w.parquet.Column(i), fields[i]),
		})
		if opt.Priors != nil {
			w.encoders[i].expect = expect(opt.Priors[i], l, lay, float64(w.groupValues()))
		}
	}
	if err := w.addBlooms(fields); err != nil {
		return nil, err
	}
	if w.sorted, err = w.newSortCheck(); err != nil {
		return nil, err
	}
	for _, list := range [][]KeyValue{schemaMetadata(opt.Schema), opt.Metadata} {
		for _, kv := range list {
			if err := w.setMetadata(kv.Key, kv.Value); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// fromArrow is column.FromArrow with its panics, which arrow-go raises for some types that cannot be, as errors.
func fromArrow(s *arrow.Schema) (ps *schema.Schema, leaves []column.Leaf, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("parquet schema: %v", r)
		}
	}()
	return column.FromArrow(s)
}

// checkNames refuses what readers could not tell apart: two fields of one name side by side.
func checkNames(fields []arrow.Field, in string) error {
	seen := make(map[string]bool, len(fields))
	for _, f := range fields {
		name := f.Name
		if in != "" {
			name = in + "." + name
		}
		if !utf8.ValidString(f.Name) {
			return fmt.Errorf("column name %q is no valid UTF-8", name)
		}
		if f.Name == "" {
			return fmt.Errorf("a column in %q has no name", in)
		}
		if seen[f.Name] {
			return fmt.Errorf("two columns are called %q", name)
		}
		seen[f.Name] = true
		if err := checkNames(children(f.Type), name); err != nil {
			return err
		}
	}
	return nil
}

func children(t arrow.DataType) []arrow.Field {
	switch t := t.(type) {
	case *arrow.StructType:
		return t.Fields()
	case *arrow.MapType:
		return []arrow.Field{t.KeyField(), t.ItemField()}
	case arrow.ListLikeType:
		return []arrow.Field{t.ElemField()}
	case arrow.ExtensionType:
		return children(t.StorageType())
	}
	return nil
}

// leafFields appends the fields whose values are leaves of the Parquet schema, in its depth-first order.
func leafFields(dst, fields []arrow.Field) []arrow.Field {
	for _, f := range fields {
		if c := children(f.Type); len(c) > 0 {
			dst = leafFields(dst, c)
		} else {
			dst = append(dst, f)
		}
	}
	return dst
}

func schemaMetadata(s *arrow.Schema) []KeyValue {
	m := s.Metadata()
	out := make([]KeyValue, m.Len())
	for i := range out {
		out[i] = KeyValue{m.Keys()[i], m.Values()[i]}
	}
	return out
}

// SetMetadata sets an entry of the file's key-value metadata, until Commit: an existing key gets the new value, a new one
// is last. A key or value that is no valid UTF-8 makes the Writer fail.
func (w *Writer) SetMetadata(key, value string) {
	if err := w.setMetadata(key, value); err != nil {
		w.fail(err)
	}
}

func (w *Writer) setMetadata(key, value string) error {
	if !utf8.ValidString(key) || !utf8.ValidString(value) {
		return fmt.Errorf("file metadata %q is no valid UTF-8", key)
	}
	if key == arrowSchemaKey {
		return fmt.Errorf("file metadata %q is the schema's", key)
	}
	for i := range w.metadata {
		if w.metadata[i].Key == key {
			w.metadata[i].Value = value
			return nil
		}
	}
	w.metadata = append(w.metadata, KeyValue{key, value})
	return nil
}

// Write takes over b, also when it returns an error: b is released as soon as every leaf has been
// encoded, written or not. It returns the first error of anything done so far, which may concern an earlier batch.
//
// Write blocks while more batches wait than the encoders need at hand.
func (w *Writer) Write(ctx context.Context, b *column.Batch) error {
	if err := w.ready(); err != nil {
		b.Release()
		return err
	}
	if len(b.Leaves) != len(w.leaves) || b.Rows < 0 {
		err := fmt.Errorf("a batch of %d rows and %d leaves for a schema of %d leaves", b.Rows, len(b.Leaves), len(w.leaves))
		b.Release()
		w.fail(err)
		return err
	}
	if err := w.wait(ctx, func() bool { return w.batches < 2*w.opt.Pool.encoders+2 }); err != nil {
		b.Release()
		return err
	}
	var pieces []piece
	err := w.sorted.check(b)
	if err == nil {
		pieces, err = w.cut(b)
	}
	if err != nil {
		b.Release()
		w.fail(err)
		return err
	}
	if len(pieces) == 0 || len(w.leaves) == 0 {
		b.Release()
		return nil
	}
	ref := pieces[0].batch
	ref.left.Store(int32(len(w.leaves)))
	w.mu.Lock()
	w.batches++
	w.mu.Unlock()
	if err := w.enqueue(pieces); err != nil {
		w.released(b)
		return err
	}
	return nil
}

// cut assigns the rows of b to row groups.
func (w *Writer) cut(b *column.Batch) ([]piece, error) {
	var pieces []piece
	ref := &batchRef{batch: b}
	sizes := rowSizes{leaves: w.leaves, batch: b}
	for from := 0; from < b.Rows; {
		if w.current == nil {
			if err := w.beginGroup(); err != nil {
				return nil, err
			}
		}
		g := w.current
		n := b.Rows - from
		full := false
		if r := w.opt.RowGroupRows; r > 0 && int64(n) >= r-g.rows {
			n, full = int(r-g.rows), true
		}
		if limit := w.opt.RowGroupBytes; limit > 0 {
			k, bytes, reached, err := sizes.until(from, n, limit-g.bytes)
			if err != nil {
				return nil, err
			}
			n, full = k, full && k == n || reached
			g.bytes += bytes
		}
		g.rows += int64(n)
		w.rows += int64(n)
		pieces = append(pieces, piece{batch: ref, from: from, to: from + n, last: from+n == b.Rows, group: g, cut: full})
		from += n
		if full {
			w.endGroup()
		}
	}
	return pieces, nil
}

// groupValues is the most values that a leaf that is in no list may have in a row group, or a guess where there is no limit.
func (w *Writer) groupValues() int64 {
	if n := w.opt.RowGroupRows; n > 0 {
		return n
	}
	return 1_000_000
}

func (w *Writer) beginGroup() error {
	if w.groups == MaxRowGroups {
		return fmt.Errorf("more than %d row groups: Parquet has no ordinals for them, give row groups more rows", MaxRowGroups)
	}
	g := &rowGroup{ordinal: w.groups, chunks: make([]columnChunk, len(w.leaves)), store: store{pool: w.opt.Pool}}
	for i := range g.chunks {
		g.chunks[i].left.Store(1)
	}
	w.groups++
	w.current = g
	w.mu.Lock()
	w.waiting = append(w.waiting, g)
	w.mu.Unlock()
	return nil
}

// endGroup says that the current row group gets no more rows. Without leaves nobody else will say that it is finished.
func (w *Writer) endGroup() {
	w.current = nil
	if len(w.leaves) == 0 {
		w.flush()
	}
}

// EndRowGroup ends the current row group behind the rows written so far. Without any rows it does nothing.
func (w *Writer) EndRowGroup() error {
	if err := w.ready(); err != nil {
		return err
	}
	if w.current == nil {
		return nil
	}
	g := w.current
	w.endGroup()
	return w.enqueue([]piece{{group: g, cut: true}})
}

// Commit ends the last row group, waits until everything has been encoded and written, writes the footer, syncs the
// file, gives it its name and syncs the directory. Whatever goes wrong, it returns the first error of the whole file and
// leaves nothing behind: what was at the target before is there still.
func (w *Writer) Commit(ctx context.Context) (Result, error) {
	f, err := w.Finish(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := f.Publish(); err != nil {
		return Result{}, err
	}
	return f.Result, nil
}

// Finished is a file that is whole and synced, under a temp name beside its own. It holds no open file. Either Publish or Discard
// ends it.
type Finished struct {
	Result
	out *output
}

// Publish gives the file its name and syncs the directory. After an error nothing is left behind, and what was at the target before is
// there still, save where only the directory could not be synced.
func (f *Finished) Publish() error { return f.out.publish() }

// Discard removes the file, unless it was published or discarded before.
func (f *Finished) Discard() error { return f.out.discard() }

// Finish does what Commit does, save for the name: several files can so get theirs together, or none.
func (w *Writer) Finish(ctx context.Context) (*Finished, error) {
	if err := w.finish(ctx); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return &Finished{Result{Rows: w.rows, Bytes: w.out.at, RowGroups: w.groups, SHA256: w.out.sum()}, w.out}, nil
}

func (w *Writer) finish(ctx context.Context) error {
	if err := w.EndRowGroup(); err != nil {
		return err
	}
	if err := w.wait(ctx, func() bool { return len(w.waiting) == 0 && w.tasks == 0 && !w.flushing }); err != nil {
		return err
	}
	if err := w.writeFooter(); err != nil {
		w.fail(err)
		return err
	}
	if err := context.Cause(ctx); err != nil {
		w.fail(err)
		return err
	}
	if err := w.out.finish(); err != nil {
		w.fail(err)
		return err
	}
	w.closed = true
	w.letGo()
	return nil
}

// Abort ends the Writer without a file, unless it has been committed or aborted before: then it does nothing. It waits
// until the encoder goroutines have let go of every batch. Its error is that the unfinished file could not be removed.
func (w *Writer) Abort() error {
	if w.closed {
		return nil
	}
	w.closed = true
	w.fail(errAborted)
	w.mu.Lock()
	for w.tasks > 0 || w.flushing {
		w.change.Wait()
	}
	w.mu.Unlock()
	w.letGo()
	return w.out.discard()
}

// letGo gives the pool back what the Writer holds. No task may be left.
func (w *Writer) letGo() {
	for _, g := range w.waiting {
		g.store.free()
	}
	w.waiting = nil
	w.tail.free()
	for _, e := range w.encoders {
		w.opt.Pool.open.Add(-e.held)
	}
	w.encoders = nil
}

var (
	errAborted = errors.New("the file was aborted")
	errClosed  = errors.New("the file was committed or aborted before")
)

// ready gives the reason for which the Writer takes nothing more.
func (w *Writer) ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return errClosed
	}
	return nil
}

// fail records an error; the first one wins.
func (w *Writer) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.failed.Store(true)
	w.change.Broadcast()
	w.mu.Unlock()
}

// wait blocks until done, which is called with the lock held, the Writer has failed or ctx has ended.
func (w *Writer) wait(ctx context.Context, done func() bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || done() {
		return w.err
	}
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock() // or the wake-up could fall between the check and the wait
		w.change.Broadcast()
		w.mu.Unlock()
	})
	defer stop()
	for w.err == nil && !done() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.change.Wait()
	}
	return w.err
}

// enqueue hands pieces to every leaf.
func (w *Writer) enqueue(pieces []piece) error {
	w.mu.Lock()
	w.tasks += len(pieces) * len(w.encoders)
	w.mu.Unlock()
	if err := w.opt.Pool.enqueue(w.encoders, pieces); err != nil {
		w.mu.Lock()
		w.tasks -= len(pieces) * len(w.encoders)
		w.mu.Unlock()
		w.fail(err)
		return err
	}
	return nil
}

// released says that a batch is needed no more.
func (w *Writer) released(b *column.Batch) {
	b.Release()
	w.mu.Lock()
	w.batches--
	w.change.Broadcast()
	w.mu.Unlock()
}

// do is one task of an encoder goroutine. After a failure it only lets go of the batch.
func (w *Writer) do(e *leafEncoder, s *scratch, p piece) {
	if !w.failed.Load() {
		if err := e.run(s, p); err != nil {
			w.fail(err)
		}
		held := e.memory()
		w.opt.Pool.open.Add(held - e.held)
		e.held = held
	}
	if p.last && p.batch.left.Add(-1) == 0 {
		w.released(p.batch.batch)
	}
	if p.cut {
		w.chunkPart(e, p.group)
	}
	w.taskDone()
}

// handOff gives a page to an encoder goroutine that has nothing to do, if there is one: then it owns the body. Who
// compresses a page makes no difference to its bytes, and a table of few columns needs more than a goroutine a column.
func (w *Writer) handOff(j pageJob) bool {
	w.mu.Lock()
	w.tasks++
	w.mu.Unlock()
	j.group.chunks[j.leaf.index].left.Add(1)
	if w.opt.Pool.handOff(j) {
		return true
	}
	j.group.chunks[j.leaf.index].left.Add(-1) // never to 0: the leaf has not finished
	w.taskDone()
	return false
}

// doPage is a page handed off, as a task of an encoder goroutine.
func (w *Writer) doPage(s *scratch, j pageJob) {
	if !w.failed.Load() {
		if err := j.finish(s); err != nil {
			w.fail(err)
		}
	}
	if cap(s.page) < cap(j.body) {
		s.page = j.body[:0]
		s.trim()
	}
	w.chunkPart(j.leaf, j.group)
	w.taskDone()
}

// chunkPart says that a part of a column chunk is done: a page handed off, or all that its leaf does.
func (w *Writer) chunkPart(e *leafEncoder, g *rowGroup) {
	if g.chunks[e.index].left.Add(-1) == 0 && !w.failed.Load() {
		w.flush()
	}
}

func (w *Writer) taskDone() {
	w.mu.Lock()
	w.tasks--
	if w.tasks == 0 {
		w.change.Broadcast()
	}
	w.mu.Unlock()
}

// flush writes the column chunks that are finished and next in the file. Where somebody is at it already, he will see to this one too.
func (w *Writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flushing {
		return
	}
	w.flushing = true
	for w.err == nil && len(w.waiting) > 0 && w.writable(w.waiting[0]) {
		g := w.waiting[0]
		w.mu.Unlock()
		err := w.writeNext(g)
		w.mu.Lock()
		if err != nil {
			if w.err == nil {
				w.err = err
			}
			w.failed.Store(true)
			break // the group stays, to be freed by Abort
		}
		if g.file.next == len(g.chunks) {
			g.store.free()
			w.waiting = w.waiting[1:]
		}
	}
	w.flushing = false
	w.change.Broadcast()
}

// writable tells whether the next column chunk of a row group is complete. Bloom filters stand in front of all chunks, which so wait for
// each other. A row group without leaves is complete when it gets no rows.
func (w *Writer) writable(g *rowGroup) bool {
	if len(w.leaves) == 0 {
		return g != w.current
	}
	need := g.chunks[g.file.next:]
	if len(w.opt.Bloom) == 0 {
		need = need[:1]
	}
	for i := range need {
		if need[i].left.Load() > 0 {
			return false
		}
	}
	return true
}
