package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"fast-export/internal/export"
)

// Config is one bench. It is complete and typed.
type Config struct {
	// Export says whom to ask and what to export: Conn, Memory, LockTimeout, RowSecurity and Version, and one job's Table, Columns,
	// Where or SQL, Types, Encoding and Encodings. All else in it is the bench's own affair.
	Export  export.Config
	Options []string // flags by which Types, Encoding and Encodings were asked for, for the report
	Sweep   Sweep
	Base    Setting // an export's defaults
	// Part is the part of the blocks that every run reads, if not 0, and else Rows about the number of rows, if not 0. What can't be
	// cut by blocks is read whole: that is an error where Part or Rows was Asked for, else a warning.
	Part   float64
	Rows   int64
	Asked  bool
	Rounds int   // of every run, at least 1
	Seed   int64 // of their order in each round
	// TempDir is an existing directory for the bench's own, in which its files are.
	TempDir string
	// Measure does one run as the function Measure does, in a process of its own.
	Measure func(context.Context, Spec) (Outcome, error)
	Say     func(line string) // what goes on, a line a run
	Commit  string            // for the report
	Go      string
}

// EmptyError is a source without rows, of which nothing can be measured.
type EmptyError struct {
	Source string
	Sample string // the part that was read, "" for all
	Where  string // the condition that none met, "" for none
}

func (e *EmptyError) Error() string {
	rows := "has no rows"
	if e.Where != "" {
		rows = "has no rows that meet " + e.Where
	}
	if e.Sample != "" {
		return fmt.Sprintf("the sample of %s (%s) %s: there is nothing to measure", e.Source, e.Sample, rows)
	}
	return e.Source + " " + rows + ": there is nothing to measure"
}

// SampleError is a sample that was asked for and can't be taken.
type SampleError struct{ Source, Why string }

func (e *SampleError) Error() string {
	return fmt.Sprintf("no sample can be taken of %s, which is read whole (%s)", e.Source, e.Why)
}

// ChangedError is a source that gave runs what can't be compared.
type ChangedError struct {
	Source    string
	Unit      string // of what they had: rows, or bytes
	Was, Came int64
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s changed while it was measured: a run read %s %s, one before it %s, and nothing can be told from them",
		e.Source, humanize.Comma(e.Came), e.Unit, humanize.Comma(e.Was))
}

// changed is how far apart what two runs read may be, as a part of it, for their times to be compared.
const changed = 0.01

// noisy is how far apart the base's runs may be before nothing can be told from them.
const noisy = 1.5

// run is one bench under way.
type run struct {
	cfg     Config
	report  *Report
	spec    Spec // what runs have in common
	dir     string
	blocks  map[uint32]int64  // of the sample
	copied  map[Setting]int64 // what the first export or floor with such COPYs copied from the server, by its floor's setting
	series  []*Series
	split   string // how the sample is cut with the base settings
	stopped error  // what ended the bench before its time
	bytes   int64  // of the base's file
	least   int64  // rows that an export read
	most    int64
	socket  bool // the base's connections were Outcome.Socket
}

// Run does the bench. Nothing is left of its files, whatever happens. A run that fails is left out, with a warning. Where none succeeds any
// more the bench ends with that error and, if the base was measured, the report of what there is.
//
// Errors: *EmptyError, *SampleError, *ChangedError, those of export.DryRun, those of Config.Measure.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	r := &run{cfg: cfg, copied: map[Setting]int64{}, report: &Report{
		Version: Version, FastExport: cfg.Export.Version, Commit: cfg.Commit, Go: cfg.Go, Started: time.Now().UTC(),
		Machine: Machine{runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0)}, Rounds: cfg.Rounds, Seed: cfg.Seed, Cache: "warm", Warnings: []string{},
	}}
	r.report.Base = cfg.Sweep.base(cfg.Base)
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	if left := export.Leftovers(cmp.Or(cfg.TempDir, os.TempDir())); len(left) > 0 {
		r.warn("left by a run that was killed, if no other is under way: %s", strings.Join(left, ", "))
	}
	if r.dir, err = os.MkdirTemp(cfg.TempDir, export.BenchDir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	job := cfg.Export.Jobs[0]
	r.spec = Spec{
		Table: job.Table, Columns: job.Columns, Where: job.Where, SQL: job.SQL, Types: job.Types, Encoding: job.Encoding, Encodings: job.Encodings, Part: r.report.Sample.Part, Blocks: r.blocks, Memory: cfg.Export.Memory,
		LockTimeout: cfg.Export.LockTimeout, RowSecurity: cfg.Export.RowSecurity, Version: cfg.Export.Version, Dir: r.dir,
	}
	if !r.sampled() {
		r.spec.Part = 0
	}
	if err := r.sweep(ctx); err != nil {
		return nil, err
	}
	r.report.Elapsed = time.Since(r.report.Started).Seconds()
	return r.report, r.stopped
}

// sampled tells whether runs read a part.
func (r *run) sampled() bool { return r.report.Sample.Pages > 0 }

// look asks the server what there is, and decides on the sample.
func (r *run) look(ctx context.Context) error {
	cfg := r.cfg.Export
	// With the most connections: a plan may have more chunks for more of them.
	cfg.Parallel, cfg.ChunkBytes, cfg.Transport = slices.Max(r.cfg.Sweep.Parallel), r.report.Base.ChunkBytes, transports[r.report.Base.Transport]
	cfg.Jobs = slices.Clone(cfg.Jobs)
	cfg.Jobs[0].Out, cfg.Jobs[0].RowGroupRows = "", r.report.Base.RowGroupRows
	whole, err := export.DryRun(ctx, cfg)
	if err != nil {
		return err
	}
	j := whole.Jobs[0]
	job := cfg.Jobs[0]
	name := oneLine(j.Source)
	if job.SQL != "" { // although it may be cut by the blocks of one relation
		name = oneLine(job.SQL)
	}
	r.report.Server = Server{Version: whole.Server, Buffers: whole.ServerBuffersBytes}
	r.report.Source = Source{
		Name: name, Selected: job.Columns, Where: oneLine(job.Where), Options: strings.Join(r.cfg.Options, " "), Kind: j.Kind, Columns: len(j.Columns), Pages: j.Pages, HeapBytes: j.HeapBytes, ToastBytes: j.ToastBytes,
		EstRows: j.EstRows, Split: j.Split,
	}
	part := r.cfg.Part
	if part == 0 && r.cfg.Rows > 0 {
		part = float64(r.cfg.Rows) / math.Max(1, float64(j.EstRows))
	}
	if part == 0 {
		part = 1
	}
	part = min(part, 1)
	cfg.Part = part
	sample, err := export.DryRun(ctx, cfg)
	if err != nil {
		return err
	}
	s := sample.Jobs[0]
	if s.Sampled && s.Pages == 0 {
		return &EmptyError{Source: name, Where: r.report.Source.Where}
	}
	if s.Sampled {
		r.blocks = s.Blocks
		r.report.Sample = Sample{Part: part, Pages: s.Pages, Bytes: s.HeapBytes + s.ToastBytes}
	} else {
		if r.cfg.Asked && part < 1 {
			return &SampleError{name, j.Split}
		}
		r.warn("no sample can be taken of it, every run reads it whole (%s)", j.Split)
		r.report.Sample = Sample{Part: 1, Bytes: j.HeapBytes + j.ToastBytes}
	}
	if err := r.narrow(ctx, cfg, s); err != nil {
		return err
	}
	if s.Sampled {
		r.report.Source.Split = r.split
	}
	most := slices.Max(r.cfg.Sweep.Parallel)
	if free := whole.FreeConnections; free >= 0 && free < most+2 {
		r.warn("the server has %s free, fewer than %d connections and those beside them need", plural(free, "connection"), most)
	}
	return nil
}

// narrow leaves out of the sweep what would be the same run as another one: connections without a chunk, and sizes of chunks and of row groups that cut the
// sample in the same way. Of such runs the quickest is so by chance. cfg is that of the plan, which is for the most connections.
func (r *run) narrow(ctx context.Context, cfg export.Config, plan export.JobPlan) error {
	w := &r.cfg.Sweep
	most, out := 0, []string{} // the fewest connections that there is a chunk for each of, or more
	for _, n := range slices.Sorted(slices.Values(w.Parallel)) {
		if most == 0 || most < len(plan.Chunks) {
			most = n
		} else {
			out = append(out, strconv.Itoa(n))
		}
	}
	w.Parallel = slices.DeleteFunc(slices.Clone(w.Parallel), func(n int) bool { return n > most })
	if len(out) > 0 {
		r.warn("--parallel %s left out: the sample has %s", strings.Join(out, ","), plural(len(plan.Chunks), "chunk"))
	}
	if n := max(1, len(plan.Chunks)); n < slices.Min(w.Parallel) { // the others would have nothing to do
		r.warn("--parallel %d in place of %d: the sample has %s", n, most, plural(len(plan.Chunks), "chunk"))
		w.Parallel, most = []int{n}, n
	}
	r.cfg.Base.Parallel = min(r.cfg.Base.Parallel, most)
	r.report.Base = w.base(r.cfg.Base)

	out = nil // row groups that have the whole sample are alike; the base's stay, or the smallest
	whole := r.report.Base.RowGroupRows
	if whole < plan.EstRows {
		whole = slices.Max(w.RowGroupRows)
		for _, n := range w.RowGroupRows {
			if n >= plan.EstRows {
				whole = min(whole, n)
			}
		}
	}
	w.RowGroupRows = slices.DeleteFunc(slices.Clone(w.RowGroupRows), func(n int64) bool {
		alike := n >= plan.EstRows && n != whole
		if alike {
			out = append(out, strconv.FormatInt(n, 10))
		}
		return alike
	})
	if len(out) > 0 {
		r.warn("--row-group-size %s left out: the sample has about %s rows", strings.Join(out, ","), humanize.Comma(plan.EstRows))
	}

	cfg.Parallel, out = r.report.Base.Parallel, nil
	var plans [][]export.ChunkPlan
	var kept []int64
	// The base's first, which stays.
	for _, size := range append([]int64{r.report.Base.ChunkBytes}, w.ChunkBytes...) {
		if slices.Contains(kept, size) {
			continue
		}
		cfg.ChunkBytes = size
		again, err := export.DryRun(ctx, cfg)
		if err != nil {
			return err
		}
		chunks := again.Jobs[0].Chunks
		if slices.ContainsFunc(plans, func(p []export.ChunkPlan) bool { return slices.Equal(p, chunks) }) {
			out = append(out, chunkText(size))
			continue
		}
		if len(plans) == 0 {
			plan, r.split = again.Jobs[0], again.Jobs[0].Split
		}
		plans, kept = append(plans, chunks), append(kept, size)
	}
	w.ChunkBytes = slices.DeleteFunc(slices.Clone(w.ChunkBytes), func(n int64) bool { return !slices.Contains(kept, n) })
	if len(out) > 0 {
		r.warn("--chunk-size %s left out: the sample is cut as by another size", strings.Join(out, ","))
	}
	return nil
}

// oneLine is SQL in one line.
func oneLine(sql string) string { return strings.Join(strings.Fields(sql), " ") }

func (r *run) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.report.Warnings = append(r.report.Warnings, text)
	r.cfg.Say("warning: " + text)
}

// add notes a series that will be run.
func (r *run) add(kind string, s Setting) *Series {
	one := &Series{Kind: kind, Setting: s}
	r.series = append(r.series, one)
	return one
}

// find is the series of an export or floor in the sweep with a setting.
func (r *run) find(kind string, s Setting) *Series {
	for _, one := range r.series {
		if one.Kind == kind && one.Setting == s && !one.Confirms {
			return one
		}
	}
	return nil
}

// sweep does all runs and judges.
func (r *run) sweep(ctx context.Context) error {
	base, w := r.report.Base, &r.cfg.Sweep
	for _, s := range w.around(base) {
		r.add(KindExport, s)
	}
	for _, transport := range w.Transport {
		s := base
		s.Transport = transport
		for _, s.Parallel = range w.Parallel {
			r.add(KindFloor, s)
		}
		s.Parallel = base.Parallel
		r.add(KindDecode, s)
	}
	for _, chunk := range w.ChunkBytes { // the floor of each setting that may be recommended
		s := base
		if s.ChunkBytes = chunk; r.find(KindFloor, s) == nil {
			r.add(KindFloor, s)
		}
	}
	for _, compression := range w.Compression {
		s := base
		s.Compression = compression
		r.add(KindEncode, s)
	}
	r.add(KindWrite, base)

	// Caches warm up, and the size of a file becomes known, before anything counts.
	warm := &Series{Kind: KindExport, Setting: base}
	r.cfg.Say(fmt.Sprintf("warming up: %s", base))
	first, err := r.measure(ctx, warm)
	if err != nil {
		return err
	}
	if first.Rows == 0 {
		empty := &EmptyError{Source: r.report.Source.Name, Where: r.report.Source.Where}
		if s := r.report.Sample; s.Pages < r.report.Source.Pages && r.sampled() {
			empty.Sample = fmt.Sprintf("the first %s of %s", humanize.Comma(s.Pages), plural(r.report.Source.Pages, "page"))
		}
		return empty
	}
	r.report.Sample.Rows, r.bytes = first.Rows, first.Output
	r.least, r.most = first.Rows, first.Rows
	if err := r.rounds(ctx, r.series, 0, r.cfg.Rounds); err != nil {
		return err
	}
	r.series = slices.DeleteFunc(r.series, func(s *Series) bool { return !ran(s) })
	if r.find(KindExport, base) == nil {
		return cmp.Or(r.stopped, errors.New("no run of the base settings succeeded: there is nothing to compare with"))
	}
	if r.find(KindExport, base).Wall.Median < 0.5 {
		r.warn("runs take less than half a second: connecting and planning count for much in that; a larger sample says more")
	}
	if w := r.find(KindExport, base).Wall; w.High > noisy*w.Low {
		r.warn("the same run took from %.2f to %.2f s: this machine, the network or the server is busy with other things, and ratios say little", w.Low, w.High)
	}
	exports := func(s Setting) *Series { return r.find(KindExport, s) }
	var combined Setting
	r.report.Factors, combined = w.judge(base, exports)
	if err := r.recommend(ctx, combined); err != nil {
		return err
	}
	for _, s := range r.series {
		r.report.Series = append(r.report.Series, *s)
	}
	if r.least < r.most {
		r.warn("it changes while it is measured: runs read from %s to %s rows", humanize.Comma(r.least), humanize.Comma(r.most))
	}
	return nil
}

// recommend confirms the combination of what was best, and recommends it or what did better.
func (r *run) recommend(ctx context.Context, combined Setting) error {
	base := r.find(KindExport, r.report.Base)
	best := base // of the sweep
	for _, s := range r.series {
		if s.Kind != KindExport {
			continue
		}
		if v, always, ok := ratio(s, base); ok && always && v.Score < score(best, base)*(1-margin) {
			best = s
		}
	}
	rec := Recommendation{Confirmed: true, Why: []string{}}
	say := func(format string, args ...any) { rec.Why = append(rec.Why, fmt.Sprintf(format, args...)) }
	chosen, against := r.find(KindExport, combined), base
	switch {
	case chosen != nil:
		say("the combination of the best values is one that the sweep has measured")
	case r.stopped != nil:
		chosen = best
		say("the bench ended before the combination of the best values could be confirmed; the best that was measured is recommended")
	default:
		r.cfg.Say(fmt.Sprintf("confirming the combination of the best: %s", combined))
		mine, again := &Series{Kind: KindExport, Setting: combined, Confirms: true}, &Series{Kind: KindExport, Setting: base.Setting, Confirms: true}
		under := &Series{Kind: KindFloor, Setting: r.floor(combined), Confirms: true}
		if err := r.rounds(ctx, []*Series{again, mine, under}, r.cfg.Rounds, r.cfg.Rounds); err != nil {
			return err
		}
		for _, s := range []*Series{again, mine, under} {
			if ran(s) {
				r.series = append(r.series, s)
			}
		}
		chosen, against = mine, again
		if _, _, ok := ratio(mine, again); !ok {
			say("the combination of the best values (%s) could not be confirmed; the best that was measured is recommended", combined.Flags())
			chosen, against = best, base
		} else if score(chosen, against) > score(best, base)*(1+margin) {
			say("the combination of the best values (%s) did worse than one of them alone, which is recommended", combined.Flags())
			chosen, against = best, base
		} else {
			say("the combination of the best values was confirmed in rounds of its own, against the base")
		}
	}
	v, _, _ := ratio(chosen, against)
	rec.Setting, rec.Wall, rec.Size = chosen.Setting, v.Wall, v.Size
	rec.Flags, rec.YAML = chosen.Setting.Flags(), chosen.Setting.YAML()
	if chosen.Setting == base.Setting {
		say("nothing else was better by %.0f %% in time × size", 100*margin)
	} else {
		say("it takes %.2f of the base's time for a file of %.2f of the base's size", v.Wall, v.Size)
	}
	r.report.Recommendation = rec
	r.report.Bottleneck = Judge(r.load(chosen))
	return nil
}

// floor is the setting of the floor of an export with a setting: what has no bearing on it is that of the base.
func (r *run) floor(s Setting) Setting {
	s.Compression, s.RowGroupRows = r.report.Base.Compression, r.report.Base.RowGroupRows
	return s
}

// load is what the verdict on a series rests on.
func (r *run) load(s *Series) Load {
	l := Load{
		Cores: r.report.Machine.Cores, Workers: s.Workers, Wall: s.Wall.Median, ClientCPU: s.ClientCPU.Median,
		ServerCPU: s.ServerCPU.Median, Local: r.report.Server.Local, Socket: r.socket, Waits: s.Waits,
	}
	for _, f := range r.series { // of the same rounds
		if f.Kind == KindFloor && f.Confirms == s.Confirms && f.Setting == r.floor(s.Setting) {
			l.Floor, l.FloorClientCPU, l.FloorWaits = f.Wall.Median, f.ClientCPU.Median, f.Waits
		}
	}
	for _, one := range r.series {
		if one.Kind == KindWrite && r.bytes > 0 {
			l.Write = one.Wall.Median * float64(s.Output) / float64(r.bytes)
		}
	}
	return l
}

// rounds runs all series once a round, each round in an order of its own. Rounds are numbered from done + 1.
func (r *run) rounds(ctx context.Context, all []*Series, done, rounds int) error {
	outcomes := map[*Series][]Outcome{}
	inRow := 0 // runs that failed
	for round := done + 1; round <= done+rounds && r.stopped == nil; round++ {
		order := slices.Clone(all)
		rand.New(rand.NewPCG(uint64(r.cfg.Seed), uint64(round))).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for i, s := range order {
			o, err := r.measure(ctx, s)
			if _, other := errors.AsType[*ChangedError](err); other || err != nil && ctx.Err() != nil {
				return err
			}
			if err != nil {
				r.warn("a run failed and is left out (round %d, %s %s): %v", round-done, s.Kind, s.Setting, err)
				if inRow++; inRow == failures {
					if inRow, r.stopped = 0, r.probe(ctx); r.stopped != nil {
						break
					}
				}
				continue
			}
			inRow = 0
			outcomes[s] = append(outcomes[s], o)
			s.Runs = append(s.Runs, Round{round, i + 1, o.Wall, o.ClientCPU, o.ServerCPU, o.Peak})
			r.cfg.Say(fmt.Sprintf("round %d of %d, run %*d of %d: %-6s %s: %.2f s", round-done, rounds, len(fmt.Sprint(len(order))), i+1, len(order), s.Kind, s.Setting, o.Wall))
		}
	}
	for _, s := range all {
		if len(outcomes[s]) > 0 {
			r.summarise(s, outcomes[s])
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// failures is how many runs may fail in a row before the base is asked whether any can succeed.
const failures = 3

// probe does a run of the base that is not counted, and returns what ends the bench.
func (r *run) probe(ctx context.Context) error {
	_, err := r.measure(ctx, &Series{Kind: KindExport, Setting: r.report.Base})
	if err != nil {
		r.warn("the bench ends before its time: %d runs in a row failed, and then the base: %v", failures, err)
	}
	return err
}

// ran tells whether a series has a run that is counted.
func ran(s *Series) bool { return s != nil && len(s.Runs) > 0 }

// measure does one run and removes its files.
func (r *run) measure(ctx context.Context, s *Series) (Outcome, error) {
	if ctx.Err() != nil {
		return Outcome{}, context.Cause(ctx)
	}
	spec := r.spec
	spec.Kind, spec.Setting, spec.Bytes = s.Kind, s.Setting, r.bytes
	o, err := r.cfg.Measure(ctx, spec)
	if err == nil {
		err = r.same(s, o)
	}
	return o, errors.Join(err, empty(r.dir))
}

// same finds out whether a run read what the others did: an export as many rows as the first one, and exports and floors as many bytes as
// the first one with the same COPYs.
func (r *run) same(s *Series, o Outcome) error {
	differ := func(was, came int64, unit string) error {
		if math.Abs(float64(came-was)) > changed*float64(was) {
			return &ChangedError{r.report.Source.Name, unit, was, came}
		}
		return nil
	}
	switch s.Kind {
	case KindExport:
		if was := r.report.Sample.Rows; was > 0 { // not the first run
			if err := differ(was, o.Rows, "rows"); err != nil {
				return err
			}
			r.least, r.most = min(r.least, o.Rows), max(r.most, o.Rows)
		}
	case KindFloor:
	default:
		return nil
	}
	if o.Redone > 0 { // some came twice
		return nil
	}
	key := r.floor(s.Setting)
	was, ok := r.copied[key]
	if !ok {
		r.copied[key] = o.Copied
		return nil
	}
	return differ(was, o.Copied, "bytes")
}

// empty removes what is in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// summarise fills a series from its runs.
func (r *run) summarise(s *Series, outcomes []Outcome) {
	of := func(f func(Outcome) float64) Spread {
		v := make([]float64, len(outcomes))
		for i, o := range outcomes {
			v[i] = f(o)
		}
		return spread(v)
	}
	first := outcomes[0]
	s.Workers, s.Output, s.Copied, s.Rows = first.Workers, first.Output, first.Copied, first.Rows
	if s.Kind == KindFloor {
		s.Rows = r.report.Sample.Rows
	}
	s.Wall = of(func(o Outcome) float64 { return o.Wall })
	s.ClientCPU = of(func(o Outcome) float64 { return o.ClientCPU })
	s.ServerCPU = of(func(o Outcome) float64 { return o.ServerCPU })
	s.Peak = of(func(o Outcome) float64 { return float64(o.Peak) })
	rate := func(n int64) Spread {
		return of(func(o Outcome) float64 { return float64(n) / math.Max(o.Wall, 1e-9) })
	}
	s.RowRate = rate(s.Rows)
	server := s.Kind == KindExport || s.Kind == KindFloor
	if server {
		s.HeapRate = rate(r.report.Sample.Bytes)
	}
	local, socket := server, server
	for _, o := range outcomes {
		s.Temp = max(s.Temp, o.Temp)
		s.Waits.add(o.Waits)
		local, socket = local && o.Local, socket && o.Socket
	}
	if s.Kind == KindExport && s.Setting == r.report.Base && !s.Confirms {
		r.report.Server.Local, r.socket = local, socket
	}
	if server && s.Workers > 0 && s.Workers < s.Setting.Parallel {
		r.warn("%s of %s had %s, not %d: the server let in no more, or there are no more chunks", s.Kind, s.Setting, plural(s.Workers, "connection"), s.Setting.Parallel)
	}
}
