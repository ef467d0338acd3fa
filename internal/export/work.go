package export

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"fast-export/chunker"
	"fast-export/copier"
	"fast-export/internal/column"
	"fast-export/internal/progress"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

// maxAttempts bounds how often one chunk is begun.
const maxAttempts = 5

// item is one chunk on its way to a worker.
type item struct {
	j        *job
	chunk    int // of j.plan
	attempts int
	orphan   bool // it came back: copier.Chunk.Orphan was called for it
}

// queue hands out the chunks of all jobs: the largest job first, each job's chunks in order, a chunk that came back
// before all others. It is one goroutine's (run), reached by channels, so that a worker can wait for work and for
// somebody who needs the snapshot exported at the same time.
type queue struct {
	jobs     []*queued // with chunks left
	returned []item
	active   int   // jobs begun and not merged
	limit    int   // of active
	open     int64 // their cost
	room     int64 // for open, unless there is but one

	work   chan item     // unbuffered: a chunk is handed out when somebody takes it
	back   chan item     // from a worker that could not do it
	done   chan item     // each chunk that is dealt with
	merged chan int64    // the cost of each job that is merged
	gone   chan struct{} // closed when run has ended
}

// queued is what the queue knows of a job.
type queued struct {
	j    *job
	next int // chunk
	out  int // chunks with workers
	cost int64
}

// newQueue queues all chunks. Beyond limit jobs at a time none is begun, nor beyond room bytes for what open files hold
// on to: each has pages and dictionaries of its own, which --memory knows nothing of.
func newQueue(jobs []*job, limit int, room int64) *queue {
	q := &queue{limit: limit, room: room, work: make(chan item), back: make(chan item), done: make(chan item), merged: make(chan int64), gone: make(chan struct{})}
	for _, j := range jobs {
		j.queued = &queued{j: j, cost: j.openBytes()}
		q.jobs = append(q.jobs, j.queued)
	}
	slices.SortStableFunc(q.jobs, func(a, b *queued) int {
		return cmp.Compare(b.j.plan.HeapBytes+b.j.plan.ToastBytes, a.j.plan.HeapBytes+a.j.plan.ToastBytes)
	})
	return q
}

// openBytes is about the most that the job's open file holds on to: that follows from the number of leaves, or from the
// rows where these are few. What a view or a statement reads has no size here. Bloom filters are made large for any rows.
func (j *job) openBytes() int64 {
	most := parquetw.OpenBytes(len(j.types.Leaves))
	if size := j.plan.HeapBytes + j.plan.ToastBytes; size > 0 {
		most = min(most, 3*size+int64(len(j.types.Leaves))*emptyLeaf)
	}
	if len(j.Bloom) > 0 {
		for i := range j.types.Leaves {
			l := &j.types.Leaves[i]
			if slices.Contains(j.Bloom, j.types.Schema.Field(l.Column).Name) {
				most += parquetw.BloomBytes(l, j.RowGroupRows)
			}
		}
	}
	return most
}

// emptyLeaf is what a leaf takes before it has rows.
const emptyLeaf = 4 << 10

// head is the chunk to hand out next, and what notes that it was.
func (q *queue) head() (item, func(), bool) {
	if len(q.returned) > 0 {
		it := q.returned[0]
		return it, func() { q.returned = q.returned[1:]; it.j.queued.out++ }, true
	}
	for i, k := range q.jobs {
		if k.j.Parallel > 0 && k.out >= k.j.Parallel || k.next == 0 && q.active > 0 && (q.active >= q.limit || q.open+k.cost > q.room) {
			continue
		}
		return item{j: k.j, chunk: k.next}, func() {
			if k.next == 0 {
				q.active++
				q.open += k.cost
			}
			k.out++
			if k.next++; k.next == k.j.plan.Len() {
				q.jobs = slices.Delete(q.jobs, i, i+1)
			}
		}, true
	}
	return item{}, nil, false
}

// run serves until every chunk is dealt with, or until ctx ends, and then closes work.
func (q *queue) run(ctx context.Context) {
	defer close(q.gone)
	defer close(q.work)
	for out := 0; out > 0 || len(q.jobs) > 0 || len(q.returned) > 0; {
		var work chan item
		it, taken, ok := q.head()
		if ok {
			work = q.work
		}
		select {
		case work <- it:
			taken()
			out++
		case it := <-q.back:
			q.returned = append(q.returned, it)
			it.j.queued.out--
			out--
		case it := <-q.done:
			it.j.queued.out--
			out--
		case cost := <-q.merged:
			q.active--
			q.open -= cost
		case <-ctx.Done():
			return
		}
	}
}

// jobMerged tells the queue that a job's file is done or failed. Call it once a job.
func (q *queue) jobMerged(j *job) {
	select {
	case q.merged <- j.queued.cost:
	case <-q.gone:
	}
}

// openWorkers brings n workers into the snapshot before the first chunk is handed out. Where the server has no room or
// somebody's DDL is in the way of some, the run goes on with those that got in.
func (r *run) openWorkers(ctx context.Context, snap *snapshot.Snapshot, n int) ([]*snapshot.Worker, error) {
	workers := make([]*snapshot.Worker, n)
	errs := make([]error, n)
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			workers[i], errs[i] = snap.NewWorker(ctx)
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	var in []*snapshot.Worker
	var failed error
	for i, w := range workers {
		if w != nil {
			in = append(in, w)
		} else if failed == nil || !tolerable(errs[i]) {
			failed = errs[i]
		}
	}
	if failed == nil {
		return in, nil
	}
	why := ""
	switch {
	case len(in) > 0 || ctx.Err() != nil:
	case noRoom(failed):
		why = "the server has room for one connection, which now does everything"
	case !tolerable(failed):
	case r.cfg.YieldToDDL:
		lock, _ := errors.AsType[*snapshot.LockError](failed)
		return nil, &YieldError{Who: cmp.Or(strings.Join(lock.Holders, "; "), firstLine(failed))}
	default: // the coordinator has its locks
		why = "no other connection gets past those who wait behind this export's locks, so that one does everything"
	}
	if why != "" {
		w, err := snap.Alone(ctx)
		if err != nil {
			return nil, err
		}
		r.alone = true
		r.warn(why + ": if it is lost or a file fails the run ends, and nobody looks who waits behind its locks: " + firstLine(failed))
		return []*snapshot.Worker{w}, nil
	}
	if len(in) == 0 || !tolerable(failed) || ctx.Err() != nil {
		for _, w := range in {
			w.Close(ctx)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, failed
	}
	r.warn(fmt.Sprintf("%d of %d connections could be opened, the run goes on with them: %s", len(in), n, firstLine(failed)))
	return in, nil
}

// tolerable tells that a worker could not get in for a reason that leaves the others alone.
func tolerable(err error) bool {
	var lock *snapshot.LockError
	return errors.As(err, &lock) || noRoom(err)
}

// noRoom tells that the server, or a pooler before it, takes no further connection.
func noRoom(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, new(*snapshot.NoRoomError)) || errors.As(err, &pg) && slices.Contains([]string{"53300", "53400", "08P01"}, pg.Code)
}

// copyAll runs the workers until every chunk has arrived. Its error ended the copying as a whole: the failure of one job
// among several is that job's own.
func (r *run) copyAll(ctx context.Context, snap *snapshot.Snapshot, q *queue, workers []*snapshot.Worker, cancel context.CancelCauseFunc) error {
	var dispatch sync.WaitGroup
	qctx, stop := context.WithCancel(ctx)
	defer dispatch.Wait()
	defer stop()
	dispatch.Go(func() { q.run(qctx) })

	var mu sync.Mutex
	left := len(workers)
	var lastErr error
	var g sync.WaitGroup
	for _, w := range workers {
		g.Go(func() {
			c := &copying{r: r, snap: snap, q: q, w: w}
			err := c.loop(ctx, cancel)
			c.forget()
			c.close(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			left--
			lastErr = err
			if left > 0 {
				r.warn(fmt.Sprintf("a connection is lost and could not be replaced, the run goes on with %d: %s", left, firstLine(err)))
			}
		})
	}
	g.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if left == 0 {
		return lastErr
	}
	return nil
}

// lastWord is what the user is told when the last worker has ended with err: that the snapshot is lost only if the coordinator, whom
// nobody else may be using, is gone too; and the file that failed before, if one has.
func (r *run) lastWord(ctx context.Context, snap *snapshot.Snapshot, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var unreachable *snapshot.ConnectError
	if errors.As(err, &unreachable) {
		ping, stop := context.WithTimeout(ctx, pingTimeout)
		defer stop()
		if snap.Conn().Ping(ping) != nil {
			err = fmt.Errorf("%w: %s", snapshot.ErrLost, firstLine(err))
		}
	}
	for _, j := range r.jobs {
		if before := j.failure(); before != nil {
			if r.alone { // its connection was the only one: nothing was lost that a new snapshot would bring back
				return fmt.Errorf("%w; one connection did everything, so that the others ended with it", r.wrap(j, before))
			}
			return fmt.Errorf("%w; before that, %s failed: %s", err, j.Out, firstLine(before))
		}
	}
	return err
}

// pingTimeout is how long a coordinator may take to prove that it is there.
const pingTimeout = 5 * time.Second

// copying is one worker goroutine's state.
type copying struct {
	r    *run
	snap *snapshot.Snapshot
	q    *queue
	w    *snapshot.Worker // nil: lost

	decoding *decoding // of the job last worked for, nil: none
	scan     string    // the settings last made for a scan
}

// decoding is a decoder of one job and the chunk that it works for at the time.
type decoding struct {
	j     *job
	dec   *typemap.Decoder
	chunk *copier.Chunk
	pace  func(b *column.Batch)
}

func (c *copying) close(ctx context.Context) {
	if c.w != nil {
		c.w.Close(ctx)
		c.w = nil
	}
}

// giveUp closes the connection and waits, not for ever, until the server has closed it as well: where connections are scarce the next one
// needs its place, and a COPY that is broken off takes a moment to end.
func (c *copying) giveUp(ctx context.Context) {
	if c.w == nil {
		return
	}
	gone := c.w.Conn().PgConn().CleanupDone()
	c.close(ctx)
	select {
	case <-gone:
	case <-time.After(giveUpTimeout):
	case <-ctx.Done():
	}
}

// How long a worker waits for its old connection to end, and for room for a new one. Where a limit lets in just the connections of this
// run the server counts the old one until its process has ended.
const (
	giveUpTimeout  = 5 * time.Second
	replaceTimeout = 10 * time.Second
	replaceEvery   = 50 * time.Millisecond
)

// loop copies chunks until there are none. An error means that this worker can't go on; its chunk has gone back.
func (c *copying) loop(ctx context.Context, cancel context.CancelCauseFunc) error {
	for {
		select {
		case it, ok := <-c.q.work:
			if !ok {
				return nil
			}
			if err := c.do(ctx, it, cancel); err != nil {
				return err
			}
		case reply := <-c.w.Requests():
			if err := c.w.Export(ctx, reply); err != nil {
				// Nobody's chunk is lost with this worker; it takes a new connection like any other that broke.
				if err := c.replace(ctx); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if c.w != nil {
			if err := c.w.Serve(ctx); err != nil {
				if err := c.replace(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// replace opens a new connection inside the snapshot in place of a broken one, as soon as there is room.
func (c *copying) replace(ctx context.Context) error {
	c.giveUp(ctx)
	c.scan = ""
	for began := time.Now(); ; {
		w, err := c.snap.NewWorker(ctx)
		switch {
		case err == nil:
			c.w = w
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !noRoom(err) || time.Since(began) > replaceTimeout:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(replaceEvery):
		}
	}
}

// do copies one chunk, again on a new connection as long as its connection is what failed. It returns an error only
// when the worker itself can't go on.
func (c *copying) do(ctx context.Context, it item, cancel context.CancelCauseFunc) error {
	finished := func() {
		select {
		case c.q.done <- it:
		case <-ctx.Done():
		}
	}
	handBack := func() { // what is an orphan already
		it.orphan = true
		select {
		case c.q.back <- it:
		case <-ctx.Done():
		}
	}
	for {
		if it.j.failure() != nil {
			c.forget()
			finished()
			return nil
		}
		it.attempts++
		err := c.copy(ctx, it)
		it.orphan = false
		if err == nil {
			finished()
			return nil
		}
		rows := int64(0)
		if c.decoding != nil {
			rows = c.decoding.dec.Rows()
		}
		lost := copier.Retryable(err, c.w.Conn().IsClosed())
		stuck := lockTimeout(err)
		c.forget()
		c.giveUp(ctx) // whatever it was, the connection is closed or its transaction aborted
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case it.j.failure() != nil: // its file failed meanwhile: this is an echo
		case stuck && it.attempts < maxAttempts && !c.r.alone:
			// Somebody waits behind another worker, and this one behind him: whoever has the locks already can go on.
			c.r.redone.Add(1)
			c.r.warn(fmt.Sprintf("a connection waited for a lock in vain, chunk %d of %s goes to another: %s", it.chunk, it.j.Out, firstLine(err)))
			it.j.spool.Chunk(it.chunk).Orphan()
			handBack()
			return err
		case !lost:
			c.r.fail(it.j, c.locate(ctx, it, rows, err), cancel)
		case it.attempts >= maxAttempts:
			c.r.fail(it.j, fmt.Errorf("chunk %d was begun %d times, each time the connection was lost: %w", it.chunk, it.attempts, err), cancel)
		default:
			c.r.redone.Add(1)
			c.r.warn(fmt.Sprintf("a connection was lost, chunk %d of %s is copied again: %s", it.chunk, it.j.Out, firstLine(err)))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		chunk := it.j.spool.Chunk(it.chunk)
		chunk.Orphan()
		rerr := c.replace(ctx)
		if rerr == nil {
			chunk.Adopt()
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(rerr, snapshot.ErrLost) {
			rerr = fmt.Errorf("%w; the last one ended with: %s", rerr, firstLine(err))
		}
		handBack()
		return rerr
	}
}

// lockTimeout tells that the server gave up waiting for a lock.
func lockTimeout(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "55P03"
}

// firstLine is an error for a sentence: an error of several connection attempts has many lines.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// forget lets go of the decoder and of the batch that it may hold.
func (c *copying) forget() {
	if c.decoding != nil {
		c.decoding.dec.Reset()
		c.decoding = nil
	}
}

// copy runs one chunk's COPY into its spool.
func (c *copying) copy(ctx context.Context, it item) (err error) {
	j := it.j
	chunk := j.plan.At(it.chunk)
	d := c.decoder(ctx, j)
	d.chunk = j.spool.Chunk(it.chunk)
	d.dec.Reset()
	if it.orphan {
		d.chunk.Adopt()
	}
	if err := d.chunk.Begin(); err != nil {
		return &copier.SinkError{Err: err}
	}
	if err := c.settings(ctx, chunk); err != nil {
		return err
	}
	var w io.Writer = d.dec
	var kept *keptFile
	if c.r.cfg.KeepTemp {
		if kept, err = c.r.keep(j, it.chunk); err != nil {
			return &copier.SinkError{Err: err}
		}
		defer kept.discard() // unless it was finished
		w = io.MultiWriter(kept, d.dec)
	}
	if c.r.rate != nil {
		w = &limited{ctx, c.r.rate, w}
	}
	// Progress by pages where the chunk's rows can be foreseen, the rest when it is done.
	var heap, rows, sent int64
	defer func() {
		if err != nil { // what is copied again is counted again
			c.r.report.Report(progress.Advance{Rows: -rows, HeapBytes: -heap})
		}
	}()
	perRow := int64(0)
	if j.plan.EstRows > 0 {
		perRow = (j.plan.HeapBytes + j.plan.ToastBytes) / j.plan.EstRows
	}
	d.pace = func(b *column.Batch) {
		n := min(int64(b.Rows)*perRow, chunk.EstBytes-heap)
		heap += n
		rows += int64(b.Rows)
		c.r.report.Report(progress.Advance{Rows: int64(b.Rows), HeapBytes: n})
	}
	format := "csv"
	if j.types.Transport == typemap.Binary {
		format = "binary"
	}
	var told int64
	sent, told, err = copier.Copy(ctx, c.w.Conn().PgConn(), j.plan.SQL(chunk, j.exprs), format, w)
	c.r.copied.Add(sent)
	if err != nil {
		return err
	}
	last, err := d.dec.Finish()
	if err != nil {
		return &copier.SinkError{Err: err}
	}
	total := d.dec.Rows()
	if told != total {
		return &copier.SinkError{Err: &typemap.StreamError{
			Row: total, Reason: fmt.Sprintf("the server says that it sent %d rows, and %d arrived: something between it and us loses or repeats them", told, total),
		}}
	}
	if j.plan.RunsUsersCode(chunk) {
		// A function that it called may have changed the session: then values are not what they seem, of this chunk or the next.
		if err := c.w.Unchanged(ctx); err != nil {
			return err
		}
		if err := j.plan.Unchanged(ctx, c.w.Conn()); err != nil {
			return err
		}
		c.scan = "" // nor are the planner's settings
	}
	if kept != nil {
		if err := kept.finish(); err != nil {
			return &copier.SinkError{Err: err}
		}
	}
	if err := c.spatialRefs(ctx, j); err != nil {
		return err
	}
	// Nothing may fail behind this: the chunk's rows are the merger's.
	if err := d.chunk.Finish(ctx, last); err != nil {
		return &copier.SinkError{Err: err}
	}
	c.r.report.Report(progress.Advance{Rows: total - rows, CopyBytes: sent, HeapBytes: chunk.EstBytes - heap})
	c.r.report.Report(progress.ChunkDone{File: j.Out, Chunk: it.chunk, Rows: total})
	c.r.log.Debug("chunk done", "file", j.Out, "chunk", it.chunk, "rows", total, "bytes", sent)
	return nil
}

// refsTimeout bounds the wait for somebody who has spatial_ref_sys locked: no lock of ours keeps it free.
const refsTimeout = "5s"

// spatialRefs asks, before the chunk's rows are given away, for the definitions of the reference systems that the job's geometries have
// turned out to have: on the worker's connection, so that they are the snapshot's and need no room for another. What the server refuses is
// a warning; the file says then that the reference system is unknown.
func (c *copying) spatialRefs(ctx context.Context, j *job) error {
	j.refs.Lock() // one worker asks, others find what it was told
	defer j.refs.Unlock()
	sql, srids := j.types.SpatialRefs()
	if len(srids) == 0 {
		return nil
	}
	conn := c.w.Conn()
	if _, err := conn.PgConn().Exec(ctx, "SAVEPOINT refs; SET LOCAL lock_timeout = '"+refsTimeout+"'").ReadAll(); err != nil {
		return fmt.Errorf("read reference systems: %w", err)
	}
	defs := map[int32]string{}
	rows, err := conn.Query(ctx, sql, srids)
	if err == nil {
		var srid int32
		var srtext string
		_, err = pgx.ForEachRow(rows, []any{&srid, &srtext}, func() error {
			defs[srid] = srtext
			return nil
		})
	}
	var refused *pgconn.PgError
	if err != nil && (ctx.Err() != nil || !errors.As(err, &refused) || copier.Retryable(err, conn.IsClosed())) {
		return fmt.Errorf("read reference systems: %w", err)
	}
	if _, err := conn.PgConn().Exec(ctx, "ROLLBACK TO SAVEPOINT refs; RELEASE SAVEPOINT refs").ReadAll(); err != nil {
		return fmt.Errorf("read reference systems: %w", err)
	}
	if refused != nil {
		c.r.warnOf(j, "the reference systems of its geometries are not described: "+firstLine(refused))
	}
	for _, srid := range srids {
		j.types.AddSpatialRef(srid, defs[srid]) // one without a definition too: it is not asked for again
	}
	return nil
}

func (c *copying) decoder(ctx context.Context, j *job) *decoding {
	if c.decoding != nil && c.decoding.j == j {
		return c.decoding
	}
	c.forget()
	d := &decoding{j: j}
	d.dec = j.types.NewDecoder(typemap.DecoderOptions{
		BatchRows: maxBatchRows, BatchBytes: c.r.batch, BlockSize: int(c.r.cfg.BlockSize),
		Next: func(full *column.Batch) (*column.Batch, error) {
			if full != nil {
				d.pace(full)
			}
			return d.chunk.Next(ctx, full)
		},
	})
	c.decoding = d
	return d
}

// settings makes the planner take the scan that the plan counts on; they last until another kind of scan comes.
func (c *copying) settings(ctx context.Context, chunk chunker.Chunk) error {
	want := ""
	for _, s := range chunk.Scan.Settings() {
		want += s + ";"
	}
	if want == c.scan {
		return nil
	}
	if _, err := c.w.Conn().PgConn().Exec(ctx, want).ReadAll(); err != nil {
		return fmt.Errorf("settings of the scan: %w", err)
	}
	c.scan = want
	return nil
}

// limited holds its writer, and so the connection, to a rate.
type limited struct {
	ctx  context.Context
	rate *rate.Limiter
	w    io.Writer
}

func (l *limited) Write(p []byte) (int, error) {
	for n := len(p); n > 0; n -= rateBurst {
		if err := l.rate.WaitN(l.ctx, min(n, rateBurst)); err != nil {
			return 0, err
		}
	}
	return l.w.Write(p)
}

// keptFile is a chunk's own file under --keep-temp. Its bytes are booked as temp space when they are written out.
type keptFile struct {
	r      *run
	f      *os.File
	w      *bufio.Writer
	booked int64
}

func (r *run) keep(j *job, chunk int) (*keptFile, error) {
	ext := "csv"
	if j.types.Transport == typemap.Binary {
		ext = "bin"
	}
	f, err := os.OpenFile(filepath.Join(r.dir, fmt.Sprintf("%s-%05d.%s", r.spoolName(j), chunk, ext)), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, &copier.TempError{Dir: r.dir, Err: errors.Unwrap(err)}
	}
	k := &keptFile{r: r, f: f}
	k.w = bufio.NewWriterSize(bookedFile{k}, 256<<10)
	return k, nil
}

var errTempLimit = errors.New("the kept files are larger than --temp-limit")

// bookedFile is the file below the buffer.
type bookedFile struct{ k *keptFile }

func (b bookedFile) Write(p []byte) (int, error) {
	if !b.k.r.budget.Charge(int64(len(p))) {
		return 0, &copier.TempError{Dir: b.k.r.dir, Err: errTempLimit}
	}
	b.k.booked += int64(len(p))
	n, err := b.k.f.Write(p)
	if err != nil {
		return n, &copier.TempError{Dir: b.k.r.dir, Err: errors.Unwrap(err)}
	}
	return n, nil
}

func (k *keptFile) Write(p []byte) (int, error) { return k.w.Write(p) }

// finish writes out what is buffered and closes the file, which stays.
func (k *keptFile) finish() error {
	err := k.w.Flush()
	if cerr := k.f.Close(); err == nil && cerr != nil {
		err = &copier.TempError{Dir: k.r.dir, Err: errors.Unwrap(cerr)}
	}
	if err == nil {
		k.f = nil
	}
	return err
}

// discard gives up a file that was not finished; the chunk may be copied again into the same name.
func (k *keptFile) discard() {
	if k.f == nil {
		return
	}
	k.f.Close()
	k.r.budget.Refund(k.booked)
}
