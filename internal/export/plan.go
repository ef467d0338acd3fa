package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/chunker"
	"fast-export/copier"
	"fast-export/internal/column"
	"fast-export/internal/progress"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

// job is one Job under way.
type job struct {
	*Job
	index int

	target    *chunker.Target
	plan      *chunker.Plan
	types     *typemap.Plan
	exprs     []string            // one expression a result column, nil: the columns as they are
	server    string              // server_version
	encodings []parquetw.Encoding // one a leaf
	priors    []parquetw.Prior    // one a leaf, or nil

	queued   *queued // the queue's
	spool    *copier.Spool
	counts   []column.Counts    // the merger's, one a column
	finished *parquetw.Finished // the file, or nil

	refs sync.Mutex // held while reference systems are asked for

	mu       sync.Mutex
	err      error
	warnings []string
}

func (j *job) warned() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.warnings)
}

// setErr notes the job's first error; it tells whether this was it.
func (j *job) setErr(err error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return false
	}
	j.err = err
	return true
}

func (j *job) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// source is the job's input as people name it.
func (j *job) source() string {
	if j.target != nil && j.target.Relation.OID != 0 {
		return j.target.Relation.String()
	}
	return j.SQL
}

func (r *run) snapshotOptions() snapshot.Options {
	return snapshot.Options{
		Adopt:       snapshot.ID(r.cfg.SnapshotID),
		Slot:        r.cfg.Slot,
		LockTimeout: r.cfg.LockTimeout,
		RowSecurity: r.cfg.RowSecurity,
		Log:         r.log,
		Prepare:     r.resolve,
	}
}

// resolve learns what each job reads, before the snapshot's transaction begins. All that is wrong is found before
// anything is locked; with several jobs every one that fails is told.
func (r *run) resolve(ctx context.Context, conn *pgx.Conn, version int) ([]snapshot.Relation, error) {
	if r.cfg.Schema != nil {
		jobs, warnings, err := r.cfg.Schema.Jobs(ctx, conn)
		if err != nil {
			return nil, err
		}
		for _, w := range warnings {
			r.warn(w)
		}
		if err := r.addJobs(jobs, false); err != nil {
			return nil, err
		}
	}
	r.report.Report(progress.Phase{Name: "looking up tables"})
	var rels []snapshot.Relation
	seen := map[uint32]bool{}
	var errs []error
	requests := make([]chunker.Request, len(r.jobs))
	for i, j := range r.jobs {
		requests[i] = chunker.Request{
			Table: j.Table, Columns: j.Columns, Where: j.Where, SQL: j.SQL, RowSecurity: r.cfg.RowSecurity, Chunk: j.Chunk,
		}
	}
	targets, failures, err := chunker.ResolveAll(ctx, conn, requests)
	if err != nil {
		return nil, err
	}
	if err := lossOf(conn, failures); err != nil {
		return nil, err
	}
	for i, j := range r.jobs {
		t := targets[i]
		if failures[i] != nil {
			errs = append(errs, r.wrap(j, failures[i]))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		j.target = t
		for _, l := range t.Lock {
			if !seen[l.OID] {
				seen[l.OID] = true
				rel := snapshot.Relation{OID: l.OID, Name: l.Ident(), Shown: l.String(), Held: l.Lock == chunker.LockByParent, Whole: t.Relation.Kind != chunker.PartitionedTable}
				if l.Lock == chunker.LockBySelect {
					rel.Select = t.LockSelect
				}
				rels = append(rels, rel)
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, r.alsoWrong(ctx, conn, version)...)...)
	}
	phase := progress.Phase{Name: "waiting for locks"}
	if r.cfg.Slot.Enabled() {
		phase.Name = "waiting for the slot and locks"
	}
	r.report.Report(phase)
	return rels, nil
}

// lossOf is the loss of conn among what failed: no job's own failure then, and a reason to try again. nil while the connection stands.
func lossOf(conn *pgx.Conn, failures []error) error {
	if !conn.IsClosed() {
		return nil
	}
	for _, err := range failures {
		var pg *pgconn.PgError
		var op net.Error
		switch {
		case err == nil:
		case errors.As(err, &pg):
			if strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08") {
				return err
			}
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &op), pgconn.SafeToRetry(err): // the last is a closed connection
			return err
		}
	}
	return nil
}

// alsoWrong makes the plans of the jobs that could be resolved, for their errors alone: what is wrong with others must not hide them.
func (r *run) alsoWrong(ctx context.Context, conn *pgx.Conn, version int) []error {
	r.mute = true
	var errs []error
	for _, j := range r.jobs {
		if j.target == nil {
			continue
		}
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
		if err != nil {
			break // what there is to tell is told by then
		}
		if err := r.planJob(ctx, conn, nil, "", version, j, map[string]bool{}); err != nil {
			errs = append(errs, r.wrap(j, err))
		}
		if err := tx.Rollback(ctx); err != nil {
			break
		}
	}
	return errs
}

// wrap names the job in an error where there are several, or where it is asked for.
func (r *run) wrap(j *job, err error) error {
	if len(r.jobs) == 1 && !r.cfg.NameJobs {
		return err
	}
	return &JobError{Index: j.index, Out: j.Out, Err: err}
}

// plan makes every job's plan inside the snapshot.
func (r *run) makePlans(ctx context.Context, snap *snapshot.Snapshot) error {
	var errs, failures []error
	used := map[string]bool{}
	targets := make([]*chunker.Target, len(r.jobs))
	for i, j := range r.jobs {
		targets[i] = j.target
	}
	r.report.Report(progress.Phase{Name: "planning"})
	known, err := chunker.ReadCatalog(ctx, snap.Conn(), targets)
	if err != nil {
		return err
	}
	for _, j := range r.jobs {
		if err := r.planJob(ctx, snap.Conn(), known, snap.ServerVersion(), snap.ServerVersionNum(), j, used); err != nil {
			errs, failures = append(errs, r.wrap(j, err)), append(failures, err)
			if ctx.Err() != nil || snap.Conn().IsClosed() {
				break
			}
		}
	}
	if err := lossOf(snap.Conn(), failures); err != nil {
		return err
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	var relations []uint32
	for _, j := range r.jobs {
		relations = append(relations, j.statRelations()...)
	}
	slices.Sort(relations)
	stats, err := readStats(ctx, snap.Conn(), slices.Compact(relations))
	if err != nil {
		return err
	}
	for _, j := range r.jobs {
		j.priors = priors(stats, j.plan.Columns, j.types.Leaves)
		for _, name := range slices.Sorted(maps.Keys(j.CommonTypes)) {
			if !used[name] {
				return &CommonColumnError{Choice: "type", Column: name}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(j.CommonEncodings)) {
			if !used[name] {
				return &CommonColumnError{Choice: "encoding", Column: name}
			}
		}
	}
	return nil
}

// withCommon adds to a job's own choices for columns those of several jobs whose columns it has.
func withCommon[V any](own, common map[string]V, cols []chunker.ResultColumn) map[string]V {
	out := maps.Clone(own)
	for _, c := range cols {
		choice, ok := common[c.Name]
		if !ok {
			continue
		}
		if _, said := out[c.Name]; !said {
			if out == nil {
				out = map[string]V{}
			}
			out[c.Name] = choice
		}
	}
	return out
}

// planJob makes one job's plan over a server of that version, by what is known of its relations (nil: nothing). It notes in used the names of
// the job's columns.
func (r *run) planJob(ctx context.Context, conn *pgx.Conn, known *chunker.Catalog, server string, version int, j *job, used map[string]bool) error {
	p, err := chunker.NewPlan(ctx, conn, j.target, chunker.Options{ChunkBytes: r.cfg.ChunkBytes, Parallel: r.cfg.Parallel, Part: r.cfg.Part, Blocks: r.cfg.Blocks, Catalog: known})
	if err != nil {
		return err
	}
	j.plan, j.server = p, server
	for _, w := range p.Warnings {
		r.warnOf(j, w)
	}
	if j.RowGroupRows > 0 && (p.EstRows+j.RowGroupRows-1)/j.RowGroupRows > parquetw.MaxRowGroups {
		return &RowGroupsError{Path: j.Out, EstRows: p.EstRows, GroupRows: j.RowGroupRows}
	}
	// Bytes are estimated less well than rows: no reason to refuse.
	if j.RowGroupBytes > 0 && p.EstBytes/j.RowGroupBytes > parquetw.MaxRowGroups {
		r.warnOf(j, fmt.Sprintf("about %s in row groups of %s may be more than Parquet's 32,767, with which the file would fail: let a row group have more bytes",
			humanize.IBytes(uint64(p.EstBytes)), humanize.IBytes(uint64(j.RowGroupBytes))))
	}
	cols := make([]typemap.Column, len(p.Columns))
	for i, c := range p.Columns {
		used[c.Name] = true
		cols[i] = typemap.Column{Name: c.Name, OID: c.Type, Typmod: c.Typmod, NotNull: c.NotNull, Dims: c.Dims, Comment: c.Comment}
	}
	cat, err := r.catalog(ctx, conn, cols)
	if err != nil {
		return err
	}
	opt := j.Types
	opt.Strict = opt.Strict || r.cfg.Strict
	opt.ServerVersion = version
	opt.Columns = withCommon(j.Types.Columns, j.CommonTypes, p.Columns)
	if j.types, err = typemap.NewPlan(cat, cols, opt, r.transport()); err != nil {
		return err
	}
	if j.encodings, err = parquetw.LeafEncodings(j.types.Schema, j.Encoding, withCommon(j.Encodings, j.CommonEncodings, p.Columns)); err != nil {
		return err
	}
	if err := parquetw.Check(j.writerOptions(r)); err != nil {
		return err
	}
	exprs, plain := make([]string, len(cols)), true
	for i := range cols {
		name := pgx.Identifier{cols[i].Name}.Sanitize()
		exprs[i] = j.types.SelectExpr(i, name)
		plain = plain && exprs[i] == name
	}
	if j.exprs = exprs; plain {
		j.exprs = nil
	}
	j.counts = make([]column.Counts, len(cols))
	return nil
}

// catalog is what the snapshot says of the columns' types. Tables share most of theirs, so that a run of hundreds asks a
// few times.
func (r *run) catalog(ctx context.Context, conn *pgx.Conn, cols []typemap.Column) (*typemap.Catalog, error) {
	asked := len(r.typeOIDs)
	for _, c := range cols {
		if !slices.Contains(r.typeOIDs, c.OID) {
			r.typeOIDs = append(r.typeOIDs, c.OID)
		}
	}
	if r.types != nil && len(r.typeOIDs) == asked {
		return r.types, nil
	}
	rows, err := conn.Query(ctx, typemap.CatalogQuery, r.typeOIDs)
	if err != nil {
		return nil, fmt.Errorf("read the types' catalog: %w", err)
	}
	facts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[typemap.CatalogRow])
	if err != nil {
		return nil, fmt.Errorf("read the types' catalog: %w", err)
	}
	r.types, err = typemap.NewCatalog(facts)
	return r.types, err
}

// writerOptions say what the job's file is.
func (j *job) writerOptions(r *run) parquetw.Options {
	source := parquetw.KeyValue{Key: "fast-export:sql", Value: j.SQL}
	if j.SQL == "" {
		source = parquetw.KeyValue{Key: "fast-export:table", Value: j.source()}
	}
	kv := []parquetw.KeyValue{source}
	if j.Where != "" {
		kv = append(kv, parquetw.KeyValue{Key: "fast-export:where", Value: j.Where})
	}
	kv = append(kv, parquetw.KeyValue{Key: "fast-export:server_version", Value: j.server},
		parquetw.KeyValue{Key: "fast-export:version", Value: r.cfg.Version})
	return parquetw.Options{
		Schema: j.types.Schema, Metadata: kv, RowGroupRows: j.RowGroupRows, RowGroupBytes: j.RowGroupBytes, Rows: j.plan.EstRows, Compression: j.Compression,
		Encodings: j.encodings, Priors: j.priors, Bloom: j.Bloom, SortedBy: j.SortedBy,
		CreatedBy: "fast-export " + r.cfg.Version, Overwrite: j.Overwrite, Pool: r.pool, Hash: r.cfg.Hash,
	}
}

// columns is the job's plan of columns as a File shows it.
func (j *job) columns() []Column {
	out := make([]Column, len(j.types.Columns))
	for i, c := range j.types.Columns {
		out[i] = Column{Name: c.Name, Postgres: c.Postgres, Arrow: c.Arrow, Parquet: c.Parquet, Note: c.Note}
	}
	return out
}

// locateTimeout bounds the search for a bad value's ctid, which reads its chunk again up to there.
const locateTimeout = 5 * time.Second

// locate adds the place of a bad value's row: its ctid where the chunk can be asked for it, on a connection of its own. Of what
// the server raised behind so many rows of the chunk it says which text of the user's it was, or which row, or which chunk.
func (c *copying) locate(ctx context.Context, it item, rows int64, err error) error {
	var ve *typemap.ValueError
	if errors.As(err, &ve) {
		rel, place := c.place(ctx, it, ve.Row)
		return &RowError{Relation: rel, Place: place, Err: ve}
	}
	var se *typemap.StreamError
	if errors.As(err, &se) {
		return fmt.Errorf("%s, %s: %w", it.relation(), it.j.plan.At(it.chunk), se)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	if hint := unsent(pg, it.j.types.Transport); hint != "" {
		rel, place := c.place(ctx, it, rows)
		return &ServerError{Relation: rel, Place: place, Hint: hint, Err: pg}
	}
	switch {
	case it.j.SQL != "":
		return &chunker.StatementError{Field: chunker.FieldSQL, Reason: "the statement failed while it ran: " + pg.Message, Hint: pg.Hint, Text: it.j.SQL, Err: err}
	case it.j.Where != "":
		return &chunker.StatementError{Field: chunker.FieldWhere, Reason: "the condition failed while it ran: " + pg.Message, Hint: pg.Hint, Text: it.j.Where, Err: err}
	}
	return fmt.Errorf("read %s, %s: %w", it.j.source(), it.j.plan.At(it.chunk), pg)
}

// unsent is what to do about a row that the server has but can't put into a message, "" for any other error. The server has at
// most 1 GB for a row: MaxAllocSize in memutils.h.
func unsent(pg *pgconn.PgError, tr typemap.Transport) string {
	switch {
	case pg.Code == "XX000" && strings.HasPrefix(pg.Message, "invalid memory alloc request size"), pg.Code == "54000" && pg.Routine == "enlargeStringInfo":
		if tr == typemap.CSV {
			return "--transport binary carries larger values: in CSV a bytea takes twice its bytes, and the server can send 1 GB in a row"
		}
		return "the server can send 1 GB in a row: leave out the column, or take it in parts by a query"
	case pg.Code == "22021", pg.Code == "22P05":
		return "a text holds bytes that the database's encoding does not have: leave out the column, or convert it in a query"
	}
	return ""
}

// relation names for people what the chunk's rows come from.
func (it item) relation() string {
	if src := it.j.plan.Sources[it.j.plan.At(it.chunk).Source].Relation; src.OID != 0 {
		return src.String()
	}
	return "the statement"
}

// place names the relation of a chunk and the place of one of its rows.
func (c *copying) place(ctx context.Context, it item, row int64) (rel, place string) {
	p, chunk := it.j.plan, it.j.plan.At(it.chunk)
	rel, place = it.relation(), fmt.Sprintf("row %d", row+1)
	if p.Len() > 1 {
		place = fmt.Sprintf("row %d of %s", row+1, chunk)
	}
	sql, ok := p.Locate(chunk, row)
	if !ok {
		return rel, place
	}
	// The ctid is a courtesy: it may not take long, nor wait for somebody who is gone.
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	if w, err := c.snap.NewWorker(ctx); err == nil {
		defer w.Close(ctx)
		var ctid string
		for _, set := range chunk.Scan.Settings() {
			_, _ = w.Conn().Exec(ctx, set) // the ctid is a courtesy; without it the row's number stands
		}
		if err := w.Conn().QueryRow(ctx, sql).Scan(&ctid); err == nil {
			place = "ctid " + ctid
		}
	}
	return rel, place
}
