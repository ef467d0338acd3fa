package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"fast-export/copier"
	"fast-export/internal/progress"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

// How Config.Memory is shared out, in hundredths: batches on their way, and finished pages of open row groups. The rest
// is for pages being filled, dictionaries, codecs, read buffers and the collector's slack. See ARCHITECTURE.md.
const (
	batchShare = 40
	pageShare  = 25
	openShare  = 25 // further open files of a batch, beyond the one that there always is
)

// maxPageBytes is what finished pages take of their share of memory as long as temp space has room: a temp file, which is to say this
// machine's page cache, holds them as well, and memory does not depend on the size of row groups.
const maxPageBytes = 48 << 20

// newPool is a pool of encoders, one a core, whose finished pages may have so many bytes of memory.
func newPool(memory int64, tempFile func() (*os.File, error)) *parquetw.Pool {
	p := parquetw.NewPool(runtime.GOMAXPROCS(0), min(memory, maxPageBytes), tempFile)
	p.Reserve(memory)
	return p
}

// A batch is small enough that every copier can hold one and big enough that its cost does not count.
const (
	minBatchBytes = 64 << 10
	maxBatchBytes = 2 << 20
	maxBatchRows  = 16 << 10
)

// rateBurst is how many bytes may come at once under Config.Rate.
const rateBurst = 256 << 10

// watchEvery is how often the coordinator proves to be alive and looks who waits behind its locks.
const watchEvery = time.Second

// Run exports every job of cfg from one snapshot. The Result is not nil once the plan is made, also beside an error.
//
// Errors: *ConfigError, *PartialError when some of several jobs failed, *SnapshotAgeError, *YieldError, else the cause
// itself, of the packages below.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	start := time.Now()
	var warnings []string
	var before Result // what the attempts that were given up took
	for left := cfg.Restarts; ; left-- {
		res, said, err := runOnce(ctx, cfg)
		warnings = append(warnings, said...)
		if res != nil {
			res.CopyBytes += before.CopyBytes
			res.Redone += before.Redone
			res.TempBytes, res.Workers = max(res.TempBytes, before.TempBytes), max(res.Workers, before.Workers)
			before = *res
		}
		if left <= 0 || !errors.Is(err, snapshot.ErrLost) || ctx.Err() != nil {
			if res != nil { // of the whole run, not of its last attempt
				res.Warnings, res.Started, res.Elapsed = warnings, start, time.Since(start)
			}
			return res, err
		}
		text := fmt.Sprintf("%v; starting again with a new snapshot, %s", err, timesLeft(left-1))
		warnings = append(warnings, text)
		if cfg.Progress != nil {
			cfg.Progress.Report(progress.Warning{Text: text})
		}
	}
}

// timesLeft says how often a run may start over after this time.
func timesLeft(n int) string {
	switch n {
	case 0:
		return "for the last time"
	case 1:
		return "1 more time at most after that"
	}
	return fmt.Sprintf("%d more times at most after that", n)
}

// runOnce makes one attempt, and tells what it warned of.
func runOnce(ctx context.Context, cfg Config) (res *Result, warnings []string, err error) {
	warnings, err = inSnapshot(ctx, cfg, false, func(r *run, snap *snapshot.Snapshot) error {
		err := r.execute(ctx, snap)
		res = r.result(snap)
		if err == nil {
			res.Snapshot.Slot = snap.SlotName()
		}
		return err
	})
	return res, warnings, err
}

// inSnapshot takes a snapshot, plans cfg's jobs in it and calls do there. dry is as addJobs has it. The warnings are all there were, also
// beside an error.
func inSnapshot(ctx context.Context, cfg Config, dry bool, do func(*run, *snapshot.Snapshot) error) (warnings []string, err error) {
	r, err := newRun(cfg, dry)
	if err != nil {
		return nil, err
	}
	defer func() {
		r.mu.Lock()
		warnings = r.warnings
		r.mu.Unlock()
		// Whatever it was, it is an echo, unless the files that did well have their names: then the signal came too late.
		if _, named := errors.AsType[*PartialError](err); err != nil && ctx.Err() != nil && !named {
			err = context.Cause(ctx)
		}
	}()
	r.report.Report(progress.Phase{Name: "connecting"})
	snap, err := snapshot.Open(ctx, cfg.Conn, r.snapshotOptions())
	if err != nil {
		return nil, err
	}
	defer snap.Close(ctx)
	for _, w := range snap.Risks() {
		r.warn(w)
	}
	if err := r.makePlans(ctx, snap); err != nil {
		return nil, snapshot.Broken(snap.Conn(), err)
	}
	return nil, do(r, snap)
}

// run is one Run under way.
type run struct {
	cfg    Config
	log    *slog.Logger
	report progress.Reporter
	jobs   []*job

	types    *typemap.Catalog // of the types with typeOIDs, while the plans are made
	typeOIDs []uint32

	dir    string // private temp directory
	kept   bool   // it stays
	budget *copier.Budget
	pool   *parquetw.Pool
	batch  int64 // bytes of a batch

	rate    *rate.Limiter // of bytes that arrive; nil: none
	copied  atomic.Int64
	redone  atomic.Int64
	workers int
	alone   bool // the coordinator's connection is the only one, and copies
	held    time.Duration

	mute     bool // plans are made for their errors alone
	mu       sync.Mutex
	warnings []string
	warned   map[string]bool
}

func newRun(cfg Config, dry bool) (*run, error) {
	if (len(cfg.Jobs) == 0) == (cfg.Schema == nil) {
		return nil, &ConfigError{"nothing to export, or both jobs and a schema"}
	}
	cfg.Parallel, cfg.ChunkBytes = cfg.spread()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = progress.Silent()
	}
	if cfg.TempDir != "" {
		if st, err := os.Stat(cfg.TempDir); err != nil {
			return nil, &copier.TempError{Dir: cfg.TempDir, Err: errors.Unwrap(err)}
		} else if !st.IsDir() {
			return nil, &copier.TempError{Dir: cfg.TempDir, Err: syscall.ENOTDIR}
		}
	}
	if cfg.Schema != nil { // once, not for each of its files
		if st, err := os.Stat(cfg.Schema.Dir); err != nil {
			return nil, &parquetw.FileError{Op: "directory", Path: cfg.Schema.Dir, Err: errors.Unwrap(err)}
		} else if !st.IsDir() {
			return nil, &parquetw.FileError{Op: "directory", Path: cfg.Schema.Dir, Err: syscall.ENOTDIR}
		}
	}
	r := &run{cfg: cfg, log: cfg.Log, report: cfg.Progress, warned: map[string]bool{}}
	if cfg.Rate > 0 {
		r.rate = rate.NewLimiter(rate.Limit(cfg.Rate), rateBurst)
	}
	r.batch = min(max(cfg.Memory*batchShare/100/int64(3*cfg.Parallel+6), minBatchBytes), maxBatchBytes)
	if err := r.addJobs(cfg.Jobs, dry); err != nil {
		return nil, err
	}
	return r, nil
}

// spread is how many connections copy, and the bytes of a chunk; 0: to be chosen.
func (c *Config) spread() (parallel int, chunkBytes int64) {
	if c.Gentle {
		return 1, math.MaxInt64
	}
	return max(1, c.Parallel), c.ChunkBytes
}

// addJobs takes the jobs on. All targets that will not do are told together.
func (r *run) addJobs(jobs []Job, dry bool) error {
	r.jobs = make([]*job, len(jobs))
	for i := range jobs {
		r.jobs[i] = &job{Job: &jobs[i], index: i}
	}
	var errs []error
	for _, j := range r.jobs {
		if j.Out != "" || !dry { // a plan needs no target; one that is given must do
			if err := parquetw.CheckTarget(j.Out, j.Overwrite); err != nil {
				errs = append(errs, r.wrap(j, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (r *run) warn(text string) {
	if r.mute {
		return
	}
	r.mu.Lock()
	twice := r.warned[text] // of a table that two files read, say
	if !twice {
		r.warned[text] = true
		r.warnings = append(r.warnings, text)
	}
	r.mu.Unlock()
	if !twice {
		r.report.Report(progress.Warning{Text: text})
	}
}

// warnOf warns of what one file alone has to do with.
func (r *run) warnOf(j *job, text string) {
	j.mu.Lock()
	j.warnings = append(j.warnings, text)
	j.mu.Unlock()
	r.warn(text)
}

func (r *run) transport() typemap.Transport {
	switch {
	case r.cfg.Transport == Binary, r.cfg.Transport == Auto && !r.cfg.KeepTemp:
		return typemap.Binary
	}
	return typemap.CSV
}

// execute copies, merges and writes. Errors of single jobs are in the jobs; what it returns ended the run or, as a
// *PartialError or the only job's own error, sums them up.
func (r *run) execute(ctx context.Context, snap *snapshot.Snapshot) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	r.findLeftovers()
	if err := r.makeTemp(); err != nil {
		return err
	}
	defer func() { r.removeTemp(err != nil) }()
	r.budget = copier.NewBudget(r.cfg.Memory*batchShare/100, r.batch, r.dir, r.cfg.TempLimit)
	r.pool = newPool(r.cfg.Memory*pageShare/100, r.pageFile)
	r.pool.LimitTemp(r.budget.Charge)
	defer func() { err = errors.Join(err, r.pool.Close()) }()

	chunks := 0
	var rows, bytes int64
	for _, j := range r.jobs {
		chunks += j.plan.Len()
		rows += j.plan.EstRows
		bytes += j.plan.HeapBytes + j.plan.ToastBytes
		j.spool = r.budget.NewSpool(r.spoolName(j), len(j.types.Leaves), len(j.types.Schema.Fields()), j.plan.Len())
		defer j.spool.Close()
	}
	r.report.Report(progress.Plan{Files: len(r.jobs), Chunks: chunks, EstRows: rows, EstBytes: bytes})

	workers, err := r.openWorkers(ctx, snap, min(r.cfg.Parallel, chunks))
	if err != nil {
		return err
	}
	r.workers = len(workers)
	if err := snap.Recheck(ctx); err != nil {
		for _, w := range workers {
			w.Close(ctx)
		}
		return err
	}
	r.report.Report(progress.Phase{Name: "copying"})

	// The coordinator watches until the last chunk has arrived.
	watchCtx, stopWatch := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if workers[0].Conn() == snap.Conn() {
			return // there is no other connection to look on
		}
		snap.Watch(watchCtx, watchEvery,
			func(who string) {
				if r.cfg.YieldToDDL {
					cancel(&YieldError{Who: who})
					return
				}
				r.warn(who + "; it waits behind this export, and everybody else's new queries wait behind it")
			},
			func(err error) {
				r.warn("the coordinator's connection was lost; the workers hold the snapshot: " + firstLine(err))
			})
	})

	if r.cfg.MaxSnapshotAge > 0 {
		age := time.AfterFunc(time.Until(snap.Since().Add(r.cfg.MaxSnapshotAge)), func() {
			if watchCtx.Err() == nil { // the copying goes on
				cancel(&SnapshotAgeError{r.cfg.MaxSnapshotAge})
			}
		})
		defer age.Stop()
	}

	q := newQueue(r.jobs, r.cfg.Parallel+2, r.cfg.Memory/100*openShare)
	var merging sync.WaitGroup
	for _, j := range r.jobs {
		merging.Go(func() {
			defer q.jobMerged(j)
			if err := r.merge(ctx, j); err != nil {
				r.fail(j, err, cancel)
			}
		})
	}
	copyErr := r.copyAll(ctx, snap, q, workers, cancel)
	stopWatch()
	watching.Wait()
	if copyErr != nil {
		cancel(r.lastWord(ctx, snap, copyErr))
	} else {
		// Every row is here: the server may forget the snapshot while the rest is encoded.
		r.held = time.Since(snap.Since())
		snap.Release(ctx)
		r.report.Report(progress.Phase{Name: "writing"})
	}
	merging.Wait()
	if r.held == 0 {
		r.held = time.Since(snap.Since())
	}
	// What ended the run as a whole leaves nothing of it. From here on it comes too late.
	if ctx.Err() != nil {
		err := context.Cause(ctx)
		return errors.Join(err, r.discard(err))
	}
	r.publish()
	return r.verdict(snap)
}

// discard removes the files that are finished and have no name yet, because of cause. Its error is that one could not be removed.
func (r *run) discard(cause error) error {
	var errs []error
	for _, j := range r.jobs {
		if j.finished != nil {
			errs = append(errs, j.finished.Discard())
		}
		j.setErr(cause)
	}
	return errors.Join(errs...)
}

// publishers is how many files get their names at a time, so that the waits for their directories overlap.
const publishers = 16

// publish gives all files that are finished their names.
func (r *run) publish() {
	var g errgroup.Group
	g.SetLimit(publishers)
	if r.cfg.FailFast {
		g.SetLimit(1) // so that none comes after the one that fails
	}
	var first error // with FailFast
	for _, j := range r.jobs {
		if j.finished == nil {
			continue
		}
		g.Go(func() error {
			if first != nil {
				j.setErr(errors.Join(first, j.finished.Discard()))
				return nil
			}
			if err := j.finished.Publish(); err != nil {
				j.setErr(err)
				if r.cfg.FailFast {
					first = r.wrap(j, err)
				}
				return nil
			}
			res := j.finished.Result
			r.report.Report(progress.FileDone{Path: j.Out, Rows: res.Rows, Bytes: res.Bytes, RowGroups: res.RowGroups})
			r.log.Info("file done", "file", j.Out, "rows", res.Rows, "bytes", res.Bytes)
			return nil
		})
	}
	_ = g.Wait() // errors are the jobs'
}

// fail ends one job, and the run where it is the only one or the first failure is to end all.
func (r *run) fail(j *job, err error, cancel context.CancelCauseFunc) {
	if !j.setErr(err) {
		return
	}
	j.spool.Close()
	if len(r.jobs) == 1 || r.cfg.FailFast {
		cancel(r.wrap(j, err))
	}
}

func (r *run) verdict(snap *snapshot.Snapshot) error {
	failed := 0
	var first error
	for _, j := range r.jobs {
		if err := j.failure(); err != nil {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	switch {
	case failed == 0:
		snap.KeepSlot()
		return nil
	case len(r.jobs) == 1:
		return r.wrap(r.jobs[0], first)
	}
	if r.cfg.Slot.Name != "" {
		r.warn(fmt.Sprintf("replication slot %s is dropped, since not all files were made: those that were have no changes to follow them", r.cfg.Slot.Name))
	}
	return &PartialError{Failed: failed, Total: len(r.jobs), First: first}
}

// merge writes one job's file, all but its name: its chunks in order, batch by batch.
func (r *run) merge(ctx context.Context, j *job) (err error) {
	// The file is opened when its first rows are here: a batch of hundreds of files has few open at a time.
	b, err := j.spool.Take(ctx)
	if err != nil && err != io.EOF {
		return err
	}
	w, cerr := parquetw.Create(j.Out, j.writerOptions(r))
	if cerr != nil {
		if b != nil {
			b.Release()
		}
		return cerr
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	for ; err != io.EOF; b, err = j.spool.Take(ctx) {
		if err != nil {
			return err
		}
		for i := range b.Counts {
			j.counts[i].Add(b.Counts[i])
		}
		if err := w.Write(ctx, b); err != nil {
			return err
		}
	}
	meta, warnings, err := j.types.FileMetadata()
	if err != nil {
		return err
	}
	for _, text := range warnings {
		r.warnOf(j, text)
	}
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		w.SetMetadata(k, meta[k])
	}
	j.finished, err = w.Finish(ctx)
	return err
}

// findLeftovers warns of what a run that was killed has left where this one writes. It may be another's that is under way, so it stays.
func (r *run) findLeftovers() {
	bases := map[string]map[string]bool{} // by directory
	for _, j := range r.jobs {
		dir, base := filepath.Split(j.Out)
		if bases[dir] == nil {
			bases[dir] = map[string]bool{}
		}
		bases[dir][base] = true
	}
	if dir := cmp.Or(r.cfg.TempDir, filepath.Dir(r.jobs[0].Out)) + "/"; bases[dir] == nil {
		bases[dir] = map[string]bool{}
	}
	var found []string
	for _, dir := range slices.Sorted(maps.Keys(bases)) {
		entries, err := os.ReadDir(cmp.Or(dir, "."))
		if err != nil {
			continue // whether it can be written to is found out by writing
		}
		for _, e := range entries {
			name := e.Name()
			at := strings.LastIndex(name, ".tmp-")
			if strings.HasPrefix(name, tempPrefix) || at > 0 && name[0] == '.' && bases[dir][name[1:at]] {
				if path := filepath.Clean(dir + name); !slices.Contains(found, path) {
					found = append(found, path)
				}
			}
		}
	}
	const most = 5
	switch {
	case len(found) > most:
		r.warn(fmt.Sprintf("left by a run that was killed, if no other is under way: %s and %d more", strings.Join(found[:most], ", "), len(found)-most))
	case len(found) > 0:
		r.warn("left by a run that was killed, if no other is under way: " + strings.Join(found, ", "))
	}
}

// tempPrefix begins the names of runs' private directories.
const tempPrefix = ".fast-export-tmp-"

// makeTemp makes the run's private directory, on the target's file system unless told otherwise.
func (r *run) makeTemp() error {
	parent := r.cfg.TempDir
	if parent == "" {
		parent = filepath.Dir(r.jobs[0].Out)
	}
	dir, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil && r.cfg.TempDir == "" { // nobody has asked for temporary files: it is the output that can't be there
		return &parquetw.FileError{Op: "write in directory", Path: parent, Err: cmp.Or(errors.Unwrap(err), err)}
	}
	if err != nil {
		return &copier.TempError{Dir: parent, Err: err}
	}
	r.dir = dir
	return nil
}

// removeTemp removes it, kept chunks too when the run has failed: then they are no picture of anything.
func (r *run) removeTemp(failed bool) {
	if r.cfg.KeepTemp && !failed {
		r.kept = true
		return
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.warn(fmt.Sprintf("temp directory not removed: %v", err))
	}
}

// pageFile makes the file for finished pages beyond the budget.
func (r *run) pageFile() (*os.File, error) { return copier.TempFile(r.dir, "pages-") }

func (r *run) spoolName(j *job) string {
	if len(r.jobs) == 1 {
		return "chunk"
	}
	return fmt.Sprintf("%s-chunk", filepath.Base(j.Out))
}

func (r *run) result(snap *snapshot.Snapshot) *Result {
	res := &Result{
		Snapshot: SnapshotInfo{
			ID: string(snap.ID()), Fingerprint: snap.Fingerprint(), LSN: snap.LSN(), Timeline: snap.Timeline(), Server: snap.ServerVersion(),
			SystemID: snap.SystemID(), Held: r.held,
		},
		CopyBytes: r.copied.Load(),
		Redone:    int(r.redone.Load()),
		Workers:   r.workers,
	}
	if r.budget != nil {
		res.TempBytes = r.budget.TempPeak()
	}
	if r.kept {
		res.KeptDir = r.dir
	}
	for _, j := range r.jobs {
		var written parquetw.Result
		if j.finished != nil {
			written = j.finished.Result
		}
		f := File{
			Path: j.Out, Source: j.source(), Rows: written.Rows, Bytes: written.Bytes, RowGroups: written.RowGroups,
			SHA256: written.SHA256, Plan: j.plan.Why, Columns: j.columns(), Warnings: j.warned(), Job: j.Job, Err: j.failure(),
		}
		for i := range f.Columns {
			c := j.counts[i]
			f.Columns[i].Inexact, f.Columns[i].Nonfinite, f.Columns[i].Clamped = c.Inexact, c.Nonfinite, c.Clamped
			f.Columns[i].Replaced, f.Columns[i].FellBack = c.Replaced, c.FellBack
		}
		res.Files = append(res.Files, f)
	}
	return res
}
