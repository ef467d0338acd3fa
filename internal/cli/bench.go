package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fast-export/bench"
	"fast-export/internal/export"
	"fast-export/parquetw"
)

func benchCommand() command {
	return command{
		name:    "bench",
		summary: "measure exports from a server with different settings, and say what holds them back",
		usage: []string{
			`--table NAME [--columns a,b,…] [--where CONDITION] [flags]`,
			`--sql QUERY | --sql-file FILE [flags]`,
		},
		about: "Exports a sample of a table or query again and again, with one setting at a time changed around the defaults, in rounds that are " +
			"shuffled so that drift cancels, and then with the best values combined. In the same rounds it measures the floors: COPY thrown away, decoding " +
			"alone, encoding alone, writing alone. It prints a table, the bottleneck (server, network, client or disk) with its reasons, and which flags to use.\n\n" +
			"Every run is a process of its own, so that its memory and CPU time are its own. Files are temporary, in a directory that is gone at the end; " +
			"nothing is written to the server.",
		example: "fast-export bench --service mpc_sbn --table public.obs_sbn --sample 5% --html bench.html",
		new: func(f *flags) runFunc {
			o := &benchOptions{}
			o.addFlags(f)
			return func(ctx context.Context, a *app) error { return o.bench(ctx, a, f) }
		},
	}
}

type benchOptions struct {
	source sourceOptions
	conn   connOptions

	types    typeOptions
	encoding encodingOptions

	parallel, chunkBytes, rowGroups []int64
	transport, compression          []string

	part               float64
	rows, rounds, seed int64

	json, html, goBench string
	overwrite           bool

	memory      int64
	tempDir     string
	lockTimeout time.Duration
	rowSecurity bool
	quiet       bool
}

// benchValues is the group of the flags that an export has too and that decide about values.
const benchValues = "Types and encodings, as of an export"

// The bench's defaults where no flag says otherwise.
const (
	benchRows   = 1_000_000
	benchRounds = 3
	maxRounds   = 1000
)

func (o *benchOptions) addFlags(f *flags) {
	f.group("What to measure")
	f.StringVar(&o.source.table, "table", "", "`NAME` the relation, its name as SQL writes it: quotes, folding, search_path")
	f.Var(list{&o.source.columns, splitNames, "names"}, "columns", "`NAME,…` with --table: columns as SQL writes them, in this order (default: all)")
	f.StringVar(&o.source.where, "where", "", "`CONDITION` with --table: what rows must meet, in SQL (default: all rows)")
	f.StringVar(&o.source.sql, "sql", "", "`QUERY` one statement that gives rows and changes nothing; one that can't be split is read whole in every run")
	f.StringVar(&o.source.sqlFile, "sql-file", "", "`FILE` read the query from a file, - for standard input")

	f.group("Sweep")
	base := int64(min(runtime.NumCPU(), 8)) // as --parallel of an export
	for n := int64(1); n <= 2*base; n *= 2 {
		o.parallel = append(o.parallel, n)
	}
	if !slices.Contains(o.parallel, base) {
		o.parallel = append(o.parallel, base)
		slices.Sort(o.parallel)
	}
	f.Var(several[int64]{&o.parallel, func(v string) (n int64, err error) { return n, count{&n, 1, maxParallel}.Set(v) }, ""}, "parallel", "`N,…` connections that copy (default: 1, 2, 4, … to twice the number of cores, at most 16)")
	o.transport = []string{"binary", "csv"}
	f.Var(several[string]{&o.transport, func(v string) (s string, err error) { return s, choice{&s, []string{"binary", "csv"}}.Set(v) }, "binary,csv"}, "transport", "`NAME,…` how rows travel: binary, csv")
	o.chunkBytes = []int64{0, 4 << 20, 64 << 20}
	f.Var(several[int64]{&o.chunkBytes, chunkSize, "auto,4MiB,64MiB"}, "chunk-size", "`SIZE,…` heap and TOAST bytes of a chunk; auto: chosen so that all connections end together")
	o.compression = []string{"zstd:1", "zstd:3", "snappy"}
	f.Var(several[string]{&o.compression, codecName, "zstd:1,zstd:3,snappy"}, "compression", "`CODEC,…` zstd[:level], snappy, gzip[:level], lz4, none")
	o.rowGroups = []int64{1_000_000, 100_000}
	f.Var(several[int64]{&o.rowGroups, func(v string) (n int64, err error) { return n, count{&n, 1, maxRowGroup}.Set(v) }, "1000000,100000"}, "row-group-size", "`ROWS,…` rows of a row group")

	f.group("Sample")
	f.Var(share{&o.part}, "sample", "`PART` the part of the blocks that every run reads, from the first on: 5%")
	f.Var(count{&o.rows, 1, math.MaxInt64}, "rows", "`N` as many blocks as hold about so many rows, by the server's statistics (default: 1000000)")
	f.Lookup("rows").DefValue = "" // the text has it
	o.rounds = benchRounds
	f.Var(count{&o.rounds, 1, maxRounds}, "rounds", "`N` how often every run is done")
	f.Var(count{&o.seed, 0, math.MaxInt64}, "seed", "`N` of the runs' order in each round (default: a new one, which is printed)")
	f.Lookup("seed").DefValue = ""

	f.group("Reports")
	f.StringVar(&o.json, "json", "", "`FILE` everything measured, as JSON; - for standard output, the table then goes to standard error")
	f.StringVar(&o.html, "html", "", "`FILE` one page with charts, which needs no network; - as above")
	f.StringVar(&o.goBench, "go-bench", "", "`FILE` every run in the Go benchmark format, for benchstat; - as above")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace what stands where a report goes even if it is no such report")

	f.group(benchValues)
	o.types.addFlags(f)
	o.encoding.addFlags(f)

	o.conn.addFlags(f)

	f.group("Space and locks")
	o.memory = 1 << 30
	f.Var(size{&o.memory, minMemory, maxMemory}, "memory", "`SIZE` what rows and pages of a run may take of memory")
	f.StringVar(&o.tempDir, "temp-dir", "", "`DIRECTORY` an existing one for the files, on the disk that exports are to go to (default: the system's for temporary files)")
	o.lockTimeout = time.Minute
	f.Var(timeout{&o.lockTimeout}, "lock-timeout", "`DURATION` how long a run waits for its locks; 0: for ever")
	f.BoolVar(&o.rowSecurity, "enable-row-security", false, "measure what row security policies let this user see; without it they are an error")

	f.group("What you see")
	f.BoolVar(&o.quiet, "quiet", false, "no progress and no table: nothing but reports, warnings and errors")
}

// several is a list of values with commas between; the flag given replaces the default.
type several[T any] struct {
	values *[]T
	one    func(string) (T, error)
	def    string
}

func (s several[T]) Set(v string) error {
	var all []T
	for _, word := range strings.Split(v, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			return usagef("", "a value is empty")
		}
		t, err := s.one(word)
		if err != nil {
			if wrong, ok := errors.AsType[*usageError](err); ok && word != v {
				return usagef(wrong.hint, "%s: %s", quoteArg(word), wrong.msg)
			}
			return err
		}
		all = append(all, t)
	}
	*s.values = all
	return nil
}

func (s several[T]) String() string { return s.def }
func (several[T]) Type() string     { return "list" }

func chunkSize(v string) (n int64, err error) {
	if v == "auto" {
		return 0, nil
	}
	return n, size{&n, minChunk, 0}.Set(v)
}

// codecName is a codec with its level, in one form.
func codecName(v string) (string, error) {
	c, err := parquetw.ParseCompression(v)
	if err != nil {
		return "", &ownWords{err}
	}
	return c.String(), nil
}

// share is a part of a whole, in per cent.
type share struct{ part *float64 }

func (s share) Set(v string) error {
	text, ok := strings.CutSuffix(v, "%")
	p, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		return usagef("5%, or 0.1%", "not a part in per cent")
	}
	if !(p > 0 && p <= 100) { // NaN too
		return usagef("", "out of range: more than 0%% and at most 100%%")
	}
	*s.part = p / 100
	return nil
}

func (s share) String() string { return "" }
func (share) Type() string     { return "part" }

func (o *benchOptions) finalize(ctx context.Context, a *app, f *flags) (bench.Config, error) {
	var c bench.Config
	for _, name := range []string{"table", "where", "sql", "sql-file", "json", "html", "go-bench", "temp-dir", "service", "dsn"} {
		if fl := f.Lookup(name); fl.Changed && strings.TrimSpace(fl.Value.String()) == "" {
			return c, usagef("", "--%s is empty", name)
		}
	}
	given, err := f.atMostOne("table", "sql", "sql-file")
	if err != nil {
		return c, err
	}
	switch {
	case !given:
		return c, usagef("fast-export bench --table NAME, or --help", "nothing to measure: --table, --sql or --sql-file is missing")
	case !f.Changed("table") && (f.Changed("columns") || f.Changed("where")):
		return c, usagef("a query names its columns and conditions itself", "--columns and --where go with --table alone")
	case o.quiet && o.json == "" && o.html == "" && o.goBench == "":
		return c, usagef("", "--quiet would hide all that is measured: it goes with --json, --html or --go-bench")
	}
	if _, err := f.atMostOne("sample", "rows"); err != nil {
		return c, err
	}
	if o.tempDir != "" {
		if info, err := os.Stat(o.tempDir); err != nil || !info.IsDir() {
			return c, &hinted{fmt.Errorf("--temp-dir %s is no directory", quoteArg(o.tempDir)), codeTarget, "directories are never made: mkdir -p makes one"}
		}
	}
	job := export.Job{Table: o.source.table, Columns: o.source.columns, Where: o.source.where, SQL: o.source.sql}
	if o.source.sqlFile != "" {
		sql, err := readSQL(ctx, o.source.sqlFile, a.Stdin)
		if err != nil {
			return c, err
		}
		job.SQL = sql
	}
	if job.Table == "" && strings.TrimSpace(job.SQL) == "" {
		return c, &statementError{"there is no statement"}
	}
	if job.Types, err = o.types.options(); err != nil {
		return c, err
	}
	job.Encoding, job.Encodings = o.encoding.all, o.encoding.columns
	if err := o.checkReports(); err != nil {
		return c, err
	}
	o.conn.warn = a.warn
	all, err := o.conn.all(a.Getenv)
	if err != nil {
		return c, err
	}
	conn, err := pgxConfig(all)
	if err != nil {
		return c, err
	}
	if !f.Changed("seed") {
		o.seed = rand.Int64N(1_000_000)
	}
	if !f.Changed("sample") && !f.Changed("rows") {
		o.rows = benchRows
	}
	parallel := make([]int, len(o.parallel))
	for i, n := range o.parallel {
		parallel[i] = int(n)
	}
	info := buildInfo()
	return bench.Config{
		Export:  export.Config{Conn: conn, Jobs: []export.Job{job}, Memory: o.memory, LockTimeout: o.lockTimeout, RowSecurity: o.rowSecurity, Version: info.version},
		Options: f.given(benchValues),
		Sweep: bench.Sweep{
			Parallel: distinct(parallel), Transport: distinct(o.transport), ChunkBytes: distinct(o.chunkBytes), Compression: distinct(o.compression), RowGroupRows: distinct(o.rowGroups),
		},
		Base: bench.Setting{Parallel: min(runtime.NumCPU(), 8), Transport: "binary", Compression: "zstd:1", RowGroupRows: 1_000_000},
		Part: o.part, Rows: o.rows, Asked: f.Changed("sample") || f.Changed("rows"), Rounds: int(o.rounds), Seed: o.seed, TempDir: o.tempDir,
		Measure: func(ctx context.Context, spec bench.Spec) (bench.Outcome, error) { return a.measure(ctx, all, spec) },
		Say:     func(string) {},
		Commit:  info.revision, Go: info.golang,
	}, nil
}

func distinct[T comparable](all []T) []T {
	var out []T
	for _, v := range all {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// benchReport is a kind of report.
type benchReport struct {
	flag, path string
	start      string // how every one begins: what is there already is known by it
	text       func(*bench.Report) ([]byte, error)
}

// standardOutput stands for it where a report's file is named.
const standardOutput = "-"

// reports are those that were asked for.
func (o *benchOptions) reports() []benchReport {
	all := []benchReport{
		{"json", o.json, "{\n  \"bench_version\": ", func(r *bench.Report) ([]byte, error) {
			text, err := json.MarshalIndent(r, "", "  ")
			return append(text, '\n'), err
		}},
		{"html", o.html, bench.HTMLStart, (*bench.Report).HTML},
		{"go-bench", o.goBench, bench.GoBenchStart, func(r *bench.Report) ([]byte, error) { return []byte(r.GoBench()), nil }},
	}
	return slices.DeleteFunc(all, func(r benchReport) bool { return r.path == "" })
}

// replaceable tells what speaks against the report under its path.
func (r benchReport) replaceable(overwrite bool) error {
	info, err := os.Lstat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return reportProblem(r.flag, r.path, err)
	case !info.Mode().IsRegular():
		return reportProblem(r.flag, r.path, errors.New("it is there already and no regular file"))
	case overwrite:
		return nil
	}
	f, err := os.Open(r.path)
	if err != nil {
		return reportProblem(r.flag, r.path, err)
	}
	head, err := io.ReadAll(io.LimitReader(f, int64(len(r.start))))
	if err = errors.Join(err, f.Close()); err != nil {
		return reportProblem(r.flag, r.path, err)
	}
	if string(head) != r.start {
		return &hinted{fmt.Errorf("--%s %s: it is there already and no such report", r.flag, quoteArg(r.path)), codeTarget, "name another file, or --overwrite to replace it"}
	}
	return nil
}

// checkReports finds out before anything is measured whether the reports can be written after it.
func (o *benchOptions) checkReports() error {
	all := o.reports()
	for i, r := range all {
		for _, before := range all[:i] {
			switch {
			case r.path == standardOutput && before.path == standardOutput:
				return usagef("", "--%s -: standard output has another report already", r.flag)
			case export.SamePath(before.path, r.path):
				return usagef("", "--%s %s is another report too", r.flag, quoteArg(r.path))
			}
		}
		if r.path == standardOutput {
			continue
		}
		if err := r.replaceable(o.overwrite); err != nil {
			return err
		}
		// Whether the directory takes files is best asked by making one.
		t, err := os.CreateTemp(filepath.Dir(r.path), "."+filepath.Base(r.path)+".tmp-*")
		if err != nil {
			return reportProblem(r.flag, r.path, err)
		}
		if err := errors.Join(t.Close(), os.Remove(t.Name())); err != nil {
			return reportProblem(r.flag, r.path, err)
		}
	}
	return nil
}

func reportProblem(flag, path string, err error) error {
	return &hinted{fmt.Errorf("--%s %s: %w", flag, quoteArg(path), reason(err)), codeTarget, spaceHint(err, "")}
}

func (o *benchOptions) bench(ctx context.Context, a *app, f *flags) error {
	c, err := o.finalize(ctx, a, f)
	if err != nil {
		return err
	}
	c.Say = func(line string) {
		if warning := strings.HasPrefix(line, "warning: "); warning {
			fmt.Fprintln(a.Stderr, oneLine(line))
		} else if !o.quiet {
			fmt.Fprintln(a.Stderr, "bench: "+oneLine(line))
		}
	}
	if !o.quiet {
		fmt.Fprintf(a.Stderr, "bench: --seed %d\n", c.Seed)
	}
	report, err := bench.Run(ctx, c)
	if empty, ok := errors.AsType[*bench.EmptyError](err); ok {
		hint := ""
		if empty.Sample != "" {
			hint = "a larger --sample or --rows: it begins with the first block"
		}
		return &hinted{empty, codeFailed, hint}
	}
	if whole, ok := errors.AsType[*bench.SampleError](err); ok {
		return &hinted{whole, codeUsage, "without --sample and --rows every run reads it whole"}
	}
	if other, ok := errors.AsType[*bench.ChangedError](err); ok {
		return &hinted{other, codeVerify, "measure what stays as it is for as long: a smaller --sample, an older partition, fewer --rounds"}
	}
	if report == nil {
		return err
	}
	if terr := o.tell(a, report); err == nil {
		err = terr
	} else if terr != nil { // the bench's own error is what it ends with
		fmt.Fprintln(a.Stderr, strings.Join(describe(terr), "\n"))
	}
	return err
}

// tell prints the table and writes the reports, each whatever becomes of the others: what took so long to measure is not to be lost.
func (o *benchOptions) tell(a *app, r *bench.Report) error {
	out := r.Text()
	var errs []error
	fail := func(err error) {
		if err != nil && len(errs) > 0 { // the first is what the bench ends with
			fmt.Fprintln(a.Stderr, strings.Join(describe(err), "\n"))
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	reports := o.reports()
	if slices.ContainsFunc(reports, func(r benchReport) bool { return r.path == standardOutput }) && !o.quiet {
		fmt.Fprint(a.Stderr, out)
	}
	if o.quiet {
		out = ""
	}
	texts := make([][]byte, len(reports))
	for i, one := range reports {
		text, err := one.text(r)
		if err != nil {
			fail(reportProblem(one.flag, one.path, err))
		} else if texts[i] = text; one.path == standardOutput {
			out = string(text)
		}
	}
	fail(a.print(out))
	for i, one := range reports {
		if one.path == standardOutput || texts[i] == nil {
			continue
		}
		err := one.replaceable(o.overwrite)
		if err == nil {
			if err = export.WriteWhole(one.path, texts[i]); err != nil {
				err = reportProblem(one.flag, one.path, err)
			}
		}
		fail(err)
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// measureCommand is the command by which a bench calls its own program for one run. It is no part of what users type.
const measureCommand = "bench-measure"

// measureInput is what the command reads on standard input, which stays open as long as the run is wanted: its end stops it. A
// password is not seen in a process list so.
type measureInput struct {
	Conn settings   `json:"conn"`
	Spec bench.Spec `json:"spec"`
}

// measureOutput is what it prints.
type measureOutput struct {
	Outcome bench.Outcome `json:"outcome"`
	Error   string        `json:"error"` // "" where all went well
	Hint    string        `json:"hint"`
	Code    int           `json:"code"`
}

// measureGrace is how long a run that is no longer wanted may take to end in order.
const measureGrace = 10 * time.Second

// measure does one run in a process of its own.
func (a *app) measure(ctx context.Context, conn settings, spec bench.Spec) (bench.Outcome, error) {
	var out measureOutput
	program, err := os.Executable()
	if err != nil {
		return out.Outcome, fmt.Errorf("find the program itself: %w", err)
	}
	input, err := json.Marshal(measureInput{conn, spec})
	if err != nil {
		return out.Outcome, err
	}
	cmd := exec.CommandContext(ctx, program, measureCommand)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return out.Outcome, err
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = measureGrace
	// A terminal's Ctrl-C goes to a whole group of processes; this one is told by its standard input.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return out.Outcome, context.Cause(ctx)
		}
		return out.Outcome, fmt.Errorf("start a run: %w", err)
	}
	_, werr := stdin.Write(input)
	err = cmd.Wait()
	if ctx.Err() != nil {
		return out.Outcome, context.Cause(ctx)
	}
	if derr := json.Unmarshal(stdout.Bytes(), &out); err != nil || derr != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return out.Outcome, fmt.Errorf("a run ended without a result: %w: %s", errors.Join(err, werr, derr), oneLine(lines[0]))
	}
	if out.Error != "" {
		return out.Outcome, &hinted{errors.New(out.Error), out.Code, out.Hint}
	}
	return out.Outcome, nil
}

// measureOne is the other side of measure.
func measureOne(ctx context.Context, a *app) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var in measureInput
	if err := json.NewDecoder(a.Stdin).Decode(&in); err != nil {
		return fmt.Errorf("read what to measure: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, a.Stdin) // until it ends, in whatever way
		cancel()
	}()
	conn, err := pgxConfig(in.Conn)
	var out measureOutput
	if err == nil {
		defer tuneGC(a.Getenv, in.Spec.Memory)()
		out.Outcome, err = bench.Measure(ctx, conn, in.Spec)
		if ctx.Err() != nil && in.Spec.Dir != "" { // a bench that was killed can't do it
			err = errors.Join(err, os.RemoveAll(in.Spec.Dir))
		}
	}
	if err != nil {
		v := judge(err)
		out.Error, out.Hint, out.Code = oneLine(v.message), v.hint, v.code
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return a.print(string(text))
}
