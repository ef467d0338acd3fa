package butler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"gopkg.in/yaml.v3"

	"fast-export/internal/column"
)

// Sink takes the rows of an extraction. parquetw.Writer is one.
type Sink interface {
	// Write takes over one reference of a batch of the Extraction's schema, and releases it once its rows are encoded,
	// also when it returns an error. It may block.
	Write(ctx context.Context, b *column.Batch) error
	// EndRowGroup ends the row group of a dataset, or of several (see Options.MaxRowGroups).
	EndRowGroup() error
}

// Extraction is a listing of datasets, and the means to read them. It is not for concurrent use.
type Extraction struct {
	opt     Options
	stores  []datastoreConfig
	listing *listing
	opener  *opener
	guarded guarded

	prepared bool
	probed   int // datasets looked at
	out      *outSchema
	noSchema string          // why there is no output, where there is none
	first    string          // the dataset that gave the schema, for messages
	known    []known         // by dataset: what is known before it is read
	leftOut  map[string]bool // columns that Intersect dropped
	peak     int64           // the most bytes that batches held during the last run
}

// known is what Schema has learnt of a dataset.
type known struct {
	sure bool // the rest is valid
	kind outcomeKind
	rows int64 // in the dataset
}

// Open finds the repository and lists the datasets. No dataset is opened. The caller closes the Extraction.
//
// Errors are a *UsageError for what the options ask, and a *RepoError (with a *ConnectError inside where a server cannot
// be reached) for what the repository cannot give.
func Open(ctx context.Context, o Options) (*Extraction, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	src := source{getenv: o.Getenv, log: o.Log}
	cfg, err := src.openConfig(o.Repo)
	if err != nil {
		return nil, err
	}
	r, err := openRegistry(ctx, cfg, o)
	if err != nil {
		return nil, err
	}
	l, err := findDatasets(ctx, r, cfg, o)
	if err = r.end(err); err != nil {
		var usage *UsageError
		if errors.As(err, &usage) || ctx.Err() != nil {
			return nil, err
		}
		return nil, &RepoError{Repo: o.Repo, Reason: "cannot list datasets", Err: explain(err)}
	}
	return &Extraction{guarded: cfg.guard(r.file), opt: o, stores: cfg.datastores, listing: l, opener: &opener{maps: o.PathMaps, memory: o.Memory / 4, large: o.pageShare()}, known: make([]known, len(l.refs))}, nil
}

// findDatasets runs all queries of a listing, in the one transaction of r.
func findDatasets(ctx context.Context, r *registry, cfg *repoConfig, o Options) (*listing, error) {
	t, err := r.findDatasetType(ctx, o.DatasetType, cfg.overrides)
	if err != nil {
		return nil, err
	}
	scan := r.startScan(ctx, cfg.datastores, t.storageClass)
	defer scan.stop()
	lo := listOptions{findFirst: o.FindFirst, keepDuplicates: o.KeepDuplicates, implied: o.AddDataID || o.FullDataID}
	if o.Where != "" {
		if lo.where, err = parseWhere(o.Where, t.group); err != nil {
			return nil, err
		}
		lo.implied = lo.implied || uses(lo.where, len(t.group.required))
	}
	s, err := r.resolveCollections(ctx, o.Collections)
	if err != nil {
		return nil, err
	}
	l, err := r.list(ctx, t, s, lo)
	if err != nil {
		return nil, err
	}
	for _, c := range s.collections {
		l.collections = append(l.collections, c.name)
	}
	o.Log.Debug("datasets listed", "dataset_type", t.name, "collections", len(s.collections), "datasets", len(l.refs))
	return l, r.loadRecords(ctx, l, cfg.datastores, scan)
}

// Close closes what was kept open.
func (e *Extraction) Close() error { return e.opener.Close() }

// Dimension is one value of a data ID: an int64, a string, or nil where the registry has none.
type Dimension struct {
	Name  string
	Value any
}

// Dataset is one entry of a listing.
type Dataset struct {
	ID           string // UUID with dashes
	Type         string
	Run          string
	DataID       []Dimension // required dimensions in the universe's order, then implied ones where they were asked for
	Location     string      // path or URI of its file, "" when it is not stored
	Bytes        int64       // size by the registry, -1 when unknown
	Formatter    string      // class that wrote it
	StorageClass string      // as written
	Problem      error       // why it cannot be read as far as that is known without opening it; a *DatasetError or nil
}

// Len is the number of datasets in the listing, counting those that cannot be read.
func (e *Extraction) Len() int { return len(e.listing.refs) }

// Repeats is how often a dataset was found in a further collection, and left out.
func (e *Extraction) Repeats() int64 { return e.listing.repeats }

// Collections are the names of the collections that were searched, in order: chains by what they hold.
func (e *Extraction) Collections() []string { return slices.Clone(e.listing.collections) }

// Datasets lists what would be read, in the order of the output. Nothing is opened; where a chain of datastores has
// several places for a dataset, the first is shown.
func (e *Extraction) Datasets() iter.Seq[Dataset] {
	return func(yield func(Dataset) bool) {
		for i := range e.listing.refs {
			if !yield(e.dataset(i)) {
				return
			}
		}
	}
}

func (e *Extraction) dataset(i int) Dataset {
	r := &e.listing.refs[i]
	d := Dataset{ID: r.id.String(), Type: e.listing.datasetType.name, Run: r.run, Bytes: -1}
	for k, dim := range e.listing.datasetType.group.all()[:len(r.dims)] {
		v := Dimension{Name: dim.name}
		switch r.dims[k].kind {
		case intValue:
			v.Value = r.dims[k].n
		case textValue:
			v.Value = r.dims[k].s
		}
		d.DataID = append(d.DataID, v)
	}
	cs := e.listing.candidates(r, e.stores)
	err := checkRecords(cs)
	if len(cs) > 0 {
		f := cs[0].record
		d.Bytes, d.Formatter, d.StorageClass = f.size, f.formatter, f.storageClass
		loc, lerr := resolveLocation(cs[0].root, f.path, e.opt.PathMaps)
		if d.Location = loc.show(); lerr != nil {
			d.Location = f.path
			err = errors.Join(err, lerr)
		}
	}
	if err != nil {
		d.Problem = e.fail(i, d.Location, err)
	}
	return d
}

// fail makes a *DatasetError of what went wrong with a dataset.
func (e *Extraction) fail(i int, shown string, err error) error {
	var have *DatasetError
	if errors.As(err, &have) {
		return err
	}
	r := &e.listing.refs[i]
	d := &DatasetError{
		Type: e.listing.datasetType.name, DataID: formatDataID(e.listing.datasetType.group.required, r.dims), Run: r.run, ID: r.id.String(),
		File: shown, Err: err,
	}
	var c *columnError
	if errors.As(err, &c) {
		d.Column, d.Err = c.column, c.err
	}
	d.Missing = isMissing(err)
	return d
}

// open opens a dataset. missing is true instead of an error where it is not there and that is to be passed over. wait gives leave to hold
// what is large.
func (e *Extraction) open(i int, wait func() error) (t *table, missing bool, err error) {
	cs := e.listing.candidates(&e.listing.refs[i], e.stores)
	err = checkRecords(cs)
	shown := ""
	if err == nil {
		var f *datasetFile
		if f, shown, err = e.opener.open(cs, wait); err == nil {
			t, err = openTable(f)
		}
	}
	switch {
	case err == nil:
		return t, false, nil
	case isMissing(err) && e.opt.SkipMissing:
		return nil, true, nil
	}
	return nil, false, e.fail(i, shown, err)
}

// newReader makes a reader of rows for one goroutine. first names the dataset whose columns the others must have; while
// that is being looked for it is "".
func (e *Extraction) newReader(first string) *rowReader {
	r := &rowReader{
		ids: e.opt.IDs, target: e.opt.TargetColumn, out: e.out, strict: e.opt.SchemaMode == Strict, wanted: e.opt.Columns, first: first,
		memory: e.batchMemory(), pages: e.opt.pageShare(),
	}
	r.scratch.PageLimit, r.scratch.Large = int(e.opt.Memory/4), largePage
	return r
}

// pageShare is what each of the datasets that are read at once may hold of pages between two batches, or of a compressed
// zip member: an eighth of the memory together, but room for a large page.
func (o Options) pageShare() int64 { return max(largePage, o.Memory/8/int64(o.Parallel)) }

// largePage is more bytes than pages and dictionaries have as most programs write them (1 MiB). A page that has more is held
// only by the dataset whose turn it is.
const largePage = 4 << 20

// batchMemory is what batches may take. The rest is for open pages (an eighth) and empty batches that are kept.
func (e *Extraction) batchMemory() int64 { return e.opt.Memory / 4 * 3 }

// Schema gives the schema of the output, nil when no dataset gives one. The first call opens as many datasets as it takes:
// all of them for Union and Intersect, else up to the first that adds a row. The schema has no metadata of its own: a
// file's metadata is known at the end, and part of the Summary.
func (e *Extraction) Schema(ctx context.Context) (*arrow.Schema, error) {
	if err := e.prepare(ctx); err != nil {
		return nil, err
	}
	if e.out == nil {
		return nil, nil
	}
	return e.out.schema, nil
}

// probe is what Schema finds out of one dataset.
type probe struct {
	known   known
	columns []tableColumn // usable columns that were asked for
	absent  []string      // columns that were asked for and are not there
	err     error
	table   *table // closed; its index, extra and columns count
	fail    func(error) error
}

func (e *Extraction) prepare(ctx context.Context) error {
	if e.prepared {
		return nil
	}
	// What the registry already tells needs no file to be opened.
	var cs []candidate
	var fine *recordKind // one record of this kind is all that a dataset needs
	for i := range e.listing.refs {
		r := &e.listing.refs[i]
		if len(r.records) == 1 && r.records[0].recordKind == fine {
			continue
		}
		cs = e.listing.appendCandidates(cs[:0], r, e.stores)
		err := checkRecords(cs)
		if err != nil && !(isMissing(err) && e.opt.SkipMissing) {
			return e.dataset(i).Problem
		}
		if err == nil && len(r.records) == 1 {
			fine = r.records[0].recordKind
		}
	}
	var dims []*element
	if e.opt.AddDataID {
		dims = e.listing.datasetType.group.all()
	}
	if err := e.merge(ctx, dims); err != nil {
		return err
	}
	e.prepared = true
	return nil
}

// merge looks at datasets, several at once and their results in order, until the output's columns are known.
func (e *Extraction) merge(ctx context.Context, dims []*element) error {
	m := &merger{mode: e.opt.SchemaMode}
	var fallback *probe // a dataset that adds nothing, but has a schema
	fallbackName, done := "", false
	reason := ""   // why the first dataset that might have been a fallback is none
	var typo error // a column that was asked for is not among those of such a dataset
	take := func(i int, p *probe) (more bool, err error) {
		if p.err != nil {
			return false, p.err
		}
		e.known[i] = p.known
		e.probed = i + 1
		e.report(0, 0)
		name := e.name(i)
		switch {
		case p.known.kind == missing:
		case p.known.kind != written:
			err, unknown := p.describes(e.target())
			if err == nil && fallback == nil {
				fallback, fallbackName = p, name
			} else if err != nil && reason == "" {
				reason = "no dataset has a row left, and the schema of the first cannot be had: " + p.fail(err).Error()
			}
			if unknown && typo == nil {
				typo = p.fail(err)
			}
		default:
			if err := e.admissible(i, p); err != nil {
				return false, err
			}
			if err := m.add(p.columns, p.table, name, p.fail); err != nil {
				return false, err
			}
			if m.tables == 1 {
				e.first = name
			}
			done = e.opt.SchemaMode == Strict
		}
		return !done, nil
	}
	if err := e.probeAll(ctx, take); err != nil {
		return err
	}
	if m.tables == 0 && fallback == nil && typo != nil {
		return typo
	}
	if m.tables == 0 && fallback == nil && reason == "" && e.opt.Where != "" {
		var err error
		if fallback, fallbackName, reason, err = e.beyondWhere(ctx); err != nil {
			return err
		}
	}
	if m.tables == 0 && fallback != nil {
		e.first = fallbackName
		if err := m.add(fallback.columns, fallback.table, fallbackName, fallback.fail); err != nil {
			return err
		}
	}
	if m.tables == 0 {
		switch {
		case reason != "":
			e.noSchema = reason
		case len(e.listing.refs) > 0:
			e.noSchema = fmt.Sprintf("none of the %d datasets of type %s that were found is stored and there, so there is no schema", len(e.listing.refs), e.opt.DatasetType)
		case e.opt.Where != "":
			e.noSchema = fmt.Sprintf("no dataset of type %s was found, with the condition or without, so there is no schema", e.opt.DatasetType)
		default:
			e.noSchema = fmt.Sprintf("no dataset of type %s was found, so there is no schema", e.opt.DatasetType)
		}
		return nil
	}
	cs, leftOut := m.result()
	for _, n := range e.opt.Columns {
		if !slices.ContainsFunc(m.columns, func(c mergedColumn) bool { return c.name == n }) {
			err := errMissingColumn(n, m.firstTable)
			if m.tables > 1 {
				err = &columnError{n, fmt.Errorf("none of the %d datasets with rows has such a column (here there are: %s)", m.tables, columnNames(m.firstTable.columns))}
			}
			return m.failFirst(err)
		}
	}
	if len(e.opt.Columns) > 0 { // a union may have found them in another order
		slices.SortStableFunc(cs, func(a, b tableColumn) int {
			return slices.Index(e.opt.Columns, a.name) - slices.Index(e.opt.Columns, b.name)
		})
	}
	e.leftOut = map[string]bool{}
	for _, n := range leftOut {
		e.leftOut[n] = true
	}
	extra := m.extra
	if len(e.opt.Columns) > 0 || e.opt.SchemaMode != Strict {
		// How columns are put together by astropy may name columns that are not there any more.
		extra = slices.DeleteFunc(slices.Clone(extra), func(n *yaml.Node) bool { return n.Content[0].Value == serializedColumns })
	}
	var err error
	e.out, err = newOutSchema(cs, m.index, extra, dims)
	if clash, ok := errors.AsType[*columnError](err); ok {
		for _, c := range m.columns {
			if c.name == clash.column {
				return c.fail(err)
			}
		}
	}
	return err
}

// target is the column that ids are compared with, "" without ids.
func (e *Extraction) target() string {
	if e.opt.IDs == nil {
		return ""
	}
	return e.opt.TargetColumn
}

// describes tells whether a dataset that adds no row can give the output's columns. unknown says that it has columns, but not one that
// was asked for or that ids are to be compared with: an error, if no other dataset has it.
func (p *probe) describes(target string) (err error, unknown bool) {
	switch {
	case len(p.table.columns) == 0:
		return errors.New("it has no columns"), false
	case len(p.absent) > 0:
		return errMissingColumn(p.absent[0], p.table), true
	case target != "" && !slices.ContainsFunc(p.table.columns, func(c tableColumn) bool { return c.name == target }):
		_, err := p.table.target(target)
		return &columnError{target, err}, true
	}
	return usable(p.columns), false
}

// beyondWhere looks for a dataset that gives the columns among those that the condition on data IDs leaves out: the first that can be
// read. nil when there is none; reason says what is wrong with the first of them then, "" where there are none.
func (e *Extraction) beyondWhere(ctx context.Context) (_ *probe, name, reason string, err error) {
	o := e.opt
	// Each dataset will do, so what may be an error of the search without the condition is left out with it.
	o.Where, o.IDs, o.FindFirst, o.SkipMissing, o.OnDataset = "", nil, false, true, nil
	all, err := Open(ctx, o)
	if err != nil {
		return nil, "", "", err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	r := all.newReader("")
	defer r.close()
	var typo error
	for i := range all.listing.refs {
		if ctx.Err() != nil {
			return nil, "", "", context.Cause(ctx)
		}
		p := all.probe(ctx, r, i, func() error { return nil })
		wrong := p.err
		switch {
		case wrong != nil:
		case p.known.kind == missing:
			wrong = all.fail(i, "", errGone)
		default:
			unknown := false
			if wrong, unknown = p.describes(e.target()); wrong == nil {
				return p, all.name(i), "", nil
			}
			if wrong = p.fail(wrong); unknown && typo == nil {
				typo = wrong
			}
		}
		if reason == "" {
			reason = "no dataset that was wanted is there, and the schema of the first of the others cannot be had: " + wrong.Error()
		}
	}
	return nil, "", reason, typo
}

// admissible checks a dataset that takes part: its columns must have a form, and be there where they must.
func (e *Extraction) admissible(i int, p *probe) error {
	err := usable(p.columns)
	if err == nil && len(p.absent) > 0 && e.opt.SchemaMode == Strict {
		err = errMissingColumn(p.absent[0], p.table)
	}
	if err != nil {
		return e.fail(i, p.table.file.shown, err)
	}
	return nil
}

// name gives a dataset's short name for messages about others.
func (e *Extraction) name(i int) string {
	r := &e.listing.refs[i]
	return fmt.Sprintf("%s (run %s)", formatDataID(e.listing.datasetType.group.required, r.dims), quoteName(r.run))
}

// probeAll calls take for dataset after dataset, in order, until it says no more.
func (e *Extraction) probeAll(ctx context.Context, take func(i int, p *probe) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type job struct {
		dataset int
		result  chan *probe
	}
	turn := newBudget(0)
	jobs := make(chan job)
	results := make(chan chan *probe, 2*e.opt.Parallel) // in order; so many are looked at ahead
	var workers sync.WaitGroup
	workers.Go(func() {
		defer close(results)
		defer close(jobs)
		for i := range e.listing.refs {
			j := job{i, make(chan *probe, 1)}
			select {
			case results <- j.result:
			case <-ctx.Done():
				return
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				return
			}
		}
	})
	for range min(e.opt.Parallel, len(e.listing.refs)) {
		workers.Go(func() {
			r := e.newReader("")
			defer r.close()
			for j := range jobs {
				j.result <- e.probe(ctx, r, j.dataset, func() error { return turn.await(ctx, j.dataset) })
			}
		})
	}
	err := func() error {
		i := 0
		for c := range results {
			turn.setTurn(i)
			select {
			case p := <-c:
				if more, err := take(i, p); err != nil || !more {
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			i++
		}
		return ctx.Err()
	}()
	cancel()
	workers.Wait()
	return err
}

// probe looks at one dataset: its footer, and its ids where rows are selected. wait gives leave to hold what is large.
func (e *Extraction) probe(ctx context.Context, r *rowReader, i int, wait func() error) *probe {
	defer r.allow(wait)()
	t, gone, err := e.open(i, wait)
	switch {
	case err != nil:
		return &probe{err: err}
	case gone:
		return &probe{known: known{sure: true, kind: missing}}
	}
	p := &probe{table: t, fail: func(err error) error { return e.fail(i, t.file.shown, err) }, known: known{sure: true, rows: t.rows}}
	t.recallUnits()
	p.known.kind, err = r.hasHit(ctx, t)
	p.columns, p.absent = t.selectColumns(e.opt.Columns)
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		p.err = p.fail(err)
	}
	return p
}

// Summary is what a run did.
type Summary struct {
	Rows     int64 // rows handed over
	RowsRead int64 // rows in the datasets that were read: not of those that statistics exclude
	Found    int   // datasets in the listing
	Written  int   // datasets that added rows: each a row group, unless there are too many (see Options.MaxRowGroups)
	Empty    int   // datasets without rows
	// Unmatched is how many datasets have no row with a wanted id; Excluded of them were not read, by their statistics.
	Unmatched, Excluded int
	Missing             int   // datasets passed over because they are not stored or their file is gone
	Repeats             int64 // how often a dataset was found in a further collection, and left out
	// Cut says how many texts or bytes of a column were longer than the width that their file declares, and were cut to
	// it as Butler does. nil when there are none.
	Cut map[string]int64
	// NoSchema says why no dataset gave a schema, so that there can be no file; "" where one did.
	NoSchema string
	// Warnings are for people: one line each.
	Warnings []string
	// Metadata is the file's metadata, in order: row count, widths, shapes, astropy's header. nil without a schema.
	Metadata []KeyValue
}

// Run reads the datasets and hands their rows to sink, batch by batch, in the order of the listing. After the last batch
// of each dataset that has rows it ends the row group, or of each few datasets with Options.MaxRowGroups. Without any row nothing is written, and the caller has an empty
// file to finish if Schema gave a schema.
//
// What is wrong with a dataset is a *DatasetError: always that of the first one in order, whatever the parallelism.
func (e *Extraction) Run(ctx context.Context, sink Sink) (Summary, error) {
	if err := e.prepare(ctx); err != nil {
		return Summary{}, err
	}
	s := Summary{Found: len(e.listing.refs), Repeats: e.listing.repeats, NoSchema: e.noSchema}
	if e.out == nil {
		for i := range e.known {
			s.count(e.known[i].kind)
			e.report(i+1, s.Rows)
		}
		return s, nil
	}
	run := &run{e: e, sink: sink, summary: s, facts: make([]columnFacts, len(e.out.columns)), cut: make([]int64, len(e.out.columns))}
	for i, c := range e.out.columns {
		if c.dim < 0 && c.declared > 0 { // a table without rows still declares a width
			run.facts[i] = columnFacts{known: true, width: c.declared}
		}
	}
	if err := run.all(ctx); err != nil {
		return Summary{}, err
	}
	return run.finish(), nil
}

func (e *Extraction) report(done int, rows int64) {
	if e.opt.OnDataset != nil {
		e.opt.OnDataset(Progress{Probed: e.probed, Done: done, Total: len(e.listing.refs), Rows: rows})
	}
}

func (s *Summary) count(kind outcomeKind) {
	switch kind {
	case written:
		s.Written++
	case empty:
		s.Empty++
	case excluded:
		s.Excluded++
		s.Unmatched++
	case unmatched:
		s.Unmatched++
	case missing:
		s.Missing++
	}
}

// run is one Run under way.
type run struct {
	e       *Extraction
	sink    Sink
	pool    *batches
	summary Summary
	facts   []columnFacts
	cut     []int64
	notes   map[string]bool

	mu    sync.Mutex
	next  int // the dataset that is read next
	slots map[int]*slot
}

// slot is where a dataset's batches wait for their turn.
type slot struct {
	batches chan *loan
	outcome outcome
	err     error // valid, like outcome, once batches is closed
}

// ahead is how many datasets may be read before their turn, for each worker.
const ahead = 2

func (r *run) slot(i int) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.slots[i]
	if !ok {
		// The budget bounds what waits; the channel must only be deep enough that a reader rarely waits for nothing else.
		s = &slot{batches: make(chan *loan, 64)}
		r.slots[i] = s
	}
	return s
}

// all reads everything: workers fill the slots, this goroutine empties them in order.
func (r *run) all(ctx context.Context) error {
	e := r.e
	b := newBudget(e.batchMemory())
	r.pool = &batches{budget: b, leaves: len(e.out.leaves), columns: len(e.out.columns), largest: min(3*batchBytes, e.opt.Memory/8/maxFreeBatches)}
	r.slots, r.notes = map[int]*slot{}, map[string]bool{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n := len(e.listing.refs)
	window := make(chan struct{}, ahead*e.opt.Parallel) // datasets that are being read or wait
	var workers sync.WaitGroup
	for range min(e.opt.Parallel, n) {
		workers.Go(func() {
			reader := e.newReader(e.first)
			defer reader.close()
			for {
				select {
				case window <- struct{}{}:
				case <-ctx.Done():
					return
				}
				r.mu.Lock()
				i := r.next
				r.next++
				r.mu.Unlock()
				if i >= n {
					return
				}
				s := r.slot(i)
				s.outcome, s.err = r.read(ctx, reader, i, s)
				close(s.batches)
			}
		})
	}
	err := r.deliver(ctx, b, window)
	cancel(err)
	workers.Wait()
	e.peak = b.most()
	for _, s := range r.slots { // after an error: what still waits
		for {
			select {
			case l, ok := <-s.batches:
				if ok {
					l.batch.Release()
					continue
				}
			default:
			}
			break
		}
	}
	return err
}

// read reads one dataset into its slot.
func (r *run) read(ctx context.Context, reader *rowReader, i int, s *slot) (outcome, error) {
	if k := r.e.known[i]; k.sure && k.kind != written {
		o := outcome{kind: k.kind, read: k.rows}
		if k.kind == excluded {
			o.read = 0
		}
		return o, nil
	}
	wait := func() error { return r.pool.budget.await(ctx, i) }
	defer reader.allow(wait)()
	t, gone, err := r.e.open(i, wait)
	switch {
	case err != nil:
		return outcome{}, err
	case gone:
		return outcome{kind: missing}, nil
	}
	get := func(bytes int64) (*loan, error) { return r.pool.get(ctx, i, bytes) }
	emit := func(l *loan) error {
		select {
		case s.batches <- l:
			return nil
		case <-ctx.Done():
			l.batch.Release()
			return context.Cause(ctx)
		}
	}
	o, err := reader.read(ctx, t, r.e.listing.refs[i].dims, get, emit)
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	if err != nil && ctx.Err() == nil {
		err = r.e.fail(i, t.file.shown, err)
	}
	return o, err
}

// deliver hands the batches to the sink in order.
func (r *run) deliver(ctx context.Context, b *budget, window chan struct{}) error {
	n := len(r.e.listing.refs)
	share, open := r.e.share(), false
	for i := range n {
		b.setTurn(i)
		s := r.slot(i)
		for more := true; more; {
			var l *loan
			select {
			case l, more = <-s.batches:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if !more {
				break
			}
			rows := int64(l.batch.Rows) // the batch is not ours any more after Write
			if err := r.sink.Write(ctx, l.batch); err != nil {
				return err
			}
			r.summary.Rows += rows
		}
		if s.err != nil {
			return s.err
		}
		open = open || s.outcome.kind == written
		if open && ((i+1)%share == 0 || i+1 == n) {
			if err := r.sink.EndRowGroup(); err != nil {
				return err
			}
			open = false
		}
		r.add(s.outcome)
		r.mu.Lock()
		delete(r.slots, i)
		r.mu.Unlock()
		<-window
		r.e.report(i+1, r.summary.Rows)
	}
	return nil
}

// share is how many neighbouring datasets of the listing have one row group together. It depends on the listing alone: which
// of them have rows is known too late.
func (e *Extraction) share() int {
	n, most := len(e.listing.refs), e.opt.MaxRowGroups
	if most == 0 || n <= most {
		return 1
	}
	return (n + most - 1) / most
}

// add takes a dataset's outcome into the summary.
func (r *run) add(o outcome) {
	r.summary.count(o.kind)
	r.summary.RowsRead += o.read
	for i, f := range o.facts {
		have := &r.facts[i]
		have.width = max(have.width, f.width)
		have.known = have.known || f.known
		have.flat = have.flat || f.flat
		r.cut[i] += o.cut[i]
	}
	for _, n := range o.notes {
		// One note a column is enough: it begins with the column's name.
		key, _, _ := strings.Cut(n, " has the unit")
		if !r.notes[key] {
			r.notes[key] = true
			r.summary.Warnings = append(r.summary.Warnings, n)
		}
	}
}

// finish completes the summary.
func (r *run) finish() Summary {
	s, o := &r.summary, r.e.out
	if share := r.e.share(); share > 1 && s.Written > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d datasets, more than the %d row groups that a file may have: each %d neighbours share one", s.Found, r.e.opt.MaxRowGroups, share))
	}
	s.Metadata = o.metadata(s.Rows, r.facts)
	for i, c := range o.columns {
		if r.facts[i].flat {
			s.Warnings = append(s.Warnings, fmt.Sprintf("column %s has cells of different shapes in different datasets: they are written flat, as lists of %d", quoteName(c.name), c.list))
		}
		if r.cut[i] > 0 {
			if s.Cut == nil {
				s.Cut = map[string]int64{}
			}
			s.Cut[c.name] = r.cut[i]
			s.Warnings = append(s.Warnings, fmt.Sprintf("column %s: %d values were longer than the width that their file declares and were cut to it, as Butler does", quoteName(c.name), r.cut[i]))
		}
	}
	var left []string
	for n := range r.e.leftOut {
		left = append(left, n)
	}
	if len(left) > 0 {
		slices.Sort(left)
		s.Warnings = append(s.Warnings, "left out, for not all datasets have them with one type: "+strings.Join(left, ", "))
	}
	return *s
}
