package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"time"

	"fast-export/internal/export"
	"fast-export/internal/progress"
	"fast-export/parquetw"
	"fast-export/snapshot"
)

func exportCommand() command {
	return command{
		usage: []string{
			`--table NAME [--columns a,b,…] [--where CONDITION] --out FILE [flags]`,
			`--sql QUERY | --sql-file FILE --out FILE [flags]`,
			`--config FILE [flags]`,
			`--schema NAME --out-dir DIRECTORY [--include PATTERN] [--exclude PATTERN] [flags]`,
			`COMMAND`,
		},
		about: "Copies a table or the result of a query from Postgres to one Parquet file, over several connections that share one snapshot. " +
			"The file stands under its name only when it is whole; an existing Parquet file is replaced in one step by one of its mode and, where this user may give it, its owner. " +
			"A batch file (--config) or a whole schema (--schema) gives many files of that one snapshot.",
		example: `fast-export --service mpc_sbn --table public.obs_sbn --where "stn = 'X05'" --out x05.parquet --parallel 8`,
		new: func(f *flags) runFunc {
			o := &exportOptions{}
			o.addFlags(f)
			return func(ctx context.Context, a *app) error { return o.export(ctx, a, f) }
		},
	}
}

// exportOptions are what the user typed. finalize makes an export.Config of them.
type exportOptions struct {
	source sourceOptions
	job    jobOptions
	conn   connOptions

	failFast bool
	manifest string

	parallel, blockSize, chunkBytes, memory, tempLimit int64
	tempDir, transport                                 string
	keepTemp                                           bool

	snapshotID  string
	slot        snapshot.Slot
	lockTimeout time.Duration
	rowSecurity bool

	gentle, yield  bool
	rate, restarts int64
	maxAge         time.Duration

	strict             bool
	report             string
	dryRun, quiet      bool
	progress, logLevel string
	version            bool
}

// sourceOptions say what is exported, where to.
type sourceOptions struct {
	sql, sqlFile, table, where, out string
	columns                         []string
	config                          string
	schema, outDir                  string
	include, exclude                []string
}

// jobOptions say how one file is written.
type jobOptions struct {
	rowGroupRows         int64
	rowGroupBytes        int64
	compression          parquetw.Compression
	encoding             encodingOptions
	bloom, sortedBy      []string
	overwrite, noClobber bool
	types                typeOptions
}

// The bounds of flags.
const (
	maxParallel  = 1000
	maxRowGroup  = 1<<31 - 1 // what readers hold in an int32
	minRowGroup  = 64 << 10  // bytes: many row groups are nothing but footer
	minChunk     = 8 << 10   // a page
	minMemory    = 64e6
	minTempLimit = 1 << 20
	maxBlock     = 1<<31 - 1 // of ddpp's CSV reader too
)

// maxMemory leaves room to compute shares of it in 64 bits.
const maxMemory = 1 << 44

func (o *exportOptions) addFlags(f *flags) {
	f.group("What to export")
	f.StringVar(&o.source.table, "table", "", "`NAME` the relation, its name as SQL writes it: quotes, folding, search_path")
	f.Var(list{&o.source.columns, splitNames, "names"}, "columns", "`NAME,…` with --table: columns as SQL writes them, in this order (default: all)")
	f.StringVar(&o.source.where, "where", "", "`CONDITION` with --table: what rows must meet, in SQL (default: all rows)")
	f.StringVar(&o.source.sql, "sql", "", "`QUERY` one statement that gives rows and changes nothing; WHERE {chunk} or {chunk:alias} says where it may be split: docs/consistency.md")
	f.StringVar(&o.source.sqlFile, "sql-file", "", "`FILE` read the query from a file, - for standard input")
	f.StringVar(&o.source.config, "config", "", "`FILE` a batch file, YAML or, named .json, JSON: many tables and queries, each to its file, from one snapshot")
	f.StringVar(&o.source.schema, "schema", "", "`NAME` every table of a schema, each to its file in --out-dir, from one snapshot")
	f.Var(list{&o.source.include, onePattern, "pattern"}, "include", "`PATTERN` with --schema: only relations that it fits, * and ? being wildcards; may be given again")
	f.Var(list{&o.source.exclude, onePattern, "pattern"}, "exclude", "`PATTERN` with --schema: not the relations that it fits; may be given again")
	f.BoolVar(&o.failFast, "fail-fast", false, "of several files the first that fails stops the others, and none is written")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and what it costs the server, read no rows, write nothing")

	f.group("Output")
	f.StringVar(&o.source.out, "out", "", "`FILE` the Parquet file to write; its directory must exist")
	f.StringVar(&o.source.outDir, "out-dir", "", "`DIRECTORY` with --schema: an existing one for the files")
	o.job.addFlags(f)
	f.StringVar(&o.manifest, "manifest", "", "`FILE` write what the run made, of which snapshot, with each file's SHA-256, as JSON")
	f.StringVar(&o.report, "report", "", "`FILE` write what values lost, column by column, as JSON")

	f.group("Types")
	o.job.types.addFlags(f)
	f.BoolVar(&o.strict, "strict", false, "any value that would not come out as it is stops the export")

	o.conn.addFlags(f)

	f.group("Snapshot")
	f.StringVar(&o.snapshotID, "snapshot", "", "`ID` read the snapshot that pg_export_snapshot() named elsewhere")
	f.StringVar(&o.slot.Name, "slot", "", "`NAME` take the snapshot by creating this logical replication slot, which stays when all files were made: they are the database at its LSN, and change capture goes on from there")
	f.StringVar(&o.slot.Plugin, "plugin", "pgoutput", "`NAME` with --slot: its output plugin")
	f.BoolVar(&o.slot.Temporary, "temporary-slot", false, "a slot that is gone when the export ends, for the snapshot's exact LSN alone")
	o.slot.Timeout = time.Minute
	f.Var(timeout{&o.slot.Timeout}, "slot-timeout", "`DURATION` how long to wait for the write transactions that a new slot waits for; 0: for ever")
	o.lockTimeout = time.Minute
	f.Var(timeout{&o.lockTimeout}, "lock-timeout", "`DURATION` how long to wait for a lock; 0: for ever")
	f.BoolVar(&o.rowSecurity, "enable-row-security", false, "export what row security policies let this user see; without it they are an error")

	f.group("Speed and space")
	o.parallel = int64(min(runtime.NumCPU(), 8))
	f.Var(count{&o.parallel, 1, maxParallel}, "parallel", "`N` connections that copy; never more than there are chunks")
	f.Lookup("parallel").DefValue = "the number of cores, at most 8"
	f.Var(size{&o.chunkBytes, minChunk, 0}, "chunk-size", "`SIZE` heap and TOAST bytes of a chunk (default: chosen so that all connections end together)")
	o.memory = 1 << 30
	f.Var(size{&o.memory, minMemory, maxMemory}, "memory", "`SIZE` what rows and pages may take of memory; 2.5 times the largest single row comes on top for each connection, 5 times for one alone")
	f.StringVar(&o.tempDir, "temp-dir", "", "`DIRECTORY` an existing one, for what memory does not hold (default: beside the output)")
	f.Var(size{&o.tempLimit, minTempLimit, 0}, "temp-limit", "`SIZE` what temporary files may take (default: what the file system has)")
	f.BoolVar(&o.keepTemp, "keep-temp", false, "write every chunk to a file, chunk-00042.csv, and keep it")
	o.transport = "auto"
	f.Var(choice{&o.transport, sorted(transports)}, "transport", "`auto|csv|binary` how rows travel; auto is csv with --keep-temp, else binary")
	o.blockSize = 64 << 20
	f.Var(size{&o.blockSize, 1, maxBlock}, "block-size", "`SIZE` the most that the CSV reader takes at a time")

	f.group("A good guest")
	f.BoolVar(&o.gentle, "gentle", false, "one connection and one sequential scan a table, which leaves the server's cache as it is")
	f.Var(size{&o.rate, 1 << 10, 0}, "rate", "`SIZE` what the server may send in a second, over all connections (default: no limit)")
	f.Var(timeout{&o.maxAge}, "max-snapshot-age", "`DURATION` stop when the snapshot is held longer, since vacuum waits for it; 0: no limit")
	f.BoolVar(&o.yield, "yield-to-ddl", false, "stop when somebody's ALTER, TRUNCATE or the like waits behind this export (default: warn)")
	f.Var(count{&o.restarts, 0, 1000}, "restarts", "`N` begin again with a new snapshot, so often at most, when a standby or a failover ended it")

	f.group("What you see")
	f.Var(choice{&o.progress, []string{"none", "bar", "plain", "json"}}, "progress", "`none|bar|plain|json` how it is shown, on standard error (default: bar on a terminal, else plain)")
	f.BoolVar(&o.quiet, "quiet", false, "no progress and no summary: nothing but warnings and errors")
	o.logLevel = "warn"
	f.Var(choice{&o.logLevel, []string{"debug", "info", "warn", "error"}}, "log-level", "`debug|info|warn|error` what is logged, on standard error")
	f.BoolVar(&o.version, "version", false, "print the version and stop")
}

func (o *jobOptions) addFlags(f *flags) {
	o.rowGroupRows = 1_000_000
	f.Var(count{&o.rowGroupRows, 1, maxRowGroup}, "row-group-size", "`ROWS` rows of a row group, exactly; the last one has the rest")
	f.Var(size{&o.rowGroupBytes, minRowGroup, 0}, "row-group-bytes", "`SIZE` a row group also ends with the row with which its values reach so much, before encoding and compression (default: no limit)")
	f.Var(parsed[parquetw.Compression]{&o.compression, parquetw.ParseCompression, "zstd:1", "codec"}, "compression", "`CODEC` zstd[:level], snappy, gzip[:level], lz4 or none")
	o.encoding.addFlags(f)
	f.Var(list{&o.bloom, foldedNames, "names"}, "bloom", "`COLUMN,…` columns that get bloom filters, by which readers pass over row groups without a value; not floats, booleans or bytes")
	f.Var(list{&o.sortedBy, foldedNames, "names"}, "sorted-by", "`COLUMN,…` columns by which the rows ascend, NULLs last: readers are told so; it is checked, and a row out of order stops the export")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace what stands at --out even if it is no Parquet file")
	f.BoolVar(&o.noClobber, "no-clobber", false, "replace nothing, a Parquet file neither")
}

var slotName = regexp.MustCompile("^[a-z0-9_]{1,63}$")

var transports = map[string]export.Transport{"auto": export.Auto, "csv": export.CSV, "binary": export.Binary}

// onePattern takes a pattern as it is; export.Schema knows its form.
func onePattern(v string) ([]string, error) { return []string{v}, nil }

// finalize checks what was typed as a whole and makes a complete configuration of it, save what is wrong in a batch file: its problems
// are told together with what the server has to say of its entries.
func (o *exportOptions) finalize(ctx context.Context, a *app, f *flags) (export.Config, *batch, error) {
	var b *batch
	var schema *export.Schema
	var jobs []export.Job
	err := o.checkSource(f)
	switch {
	case err != nil:
	case f.Changed("config"):
		var base export.Job
		if err = o.job.apply(&base); err == nil {
			changed := func(flag string) bool {
				if flag == "gentle" {
					return o.gentle
				}
				return f.Changed(flag) && (flag != "encoding" || o.job.encoding.said) // COLUMN=ENCODING says nothing of other columns
			}
			b, err = readBatch(ctx, o.source.config, base, changed, a.Getenv)
		}
		if err == nil {
			jobs, o.conn.file = b.jobs, b.conn
			o.parallel = cmp.Or(int64(b.parallel), o.parallel)
		}
	case f.Changed("schema"):
		schema = &export.Schema{Name: o.source.schema, Dir: o.source.outDir, Include: o.source.include, Exclude: o.source.exclude}
		err = o.job.apply(&schema.Base)
	default:
		var job export.Job
		job, err = o.oneJob(ctx, a.Stdin)
		jobs = []export.Job{job}
	}
	if err != nil {
		return export.Config{}, nil, err
	}
	switch {
	case o.quiet && f.Changed("progress") && o.progress != "none":
		return export.Config{}, nil, usagef("", "--quiet and --progress %s contradict each other", o.progress)
	case o.quiet && o.dryRun:
		return export.Config{}, nil, usagef("", "--quiet would hide all that --dry-run prints")
	case o.snapshotID != "" && o.slot.Enabled():
		return export.Config{}, nil, usagef("", "--snapshot and a slot contradict each other: each is where the snapshot comes from")
	case o.snapshotID != "" && o.restarts > 0:
		return export.Config{}, nil, usagef("", "--snapshot and --restarts contradict each other: a run begins again with a new snapshot")
	case o.slot.Name != "" && !slotName.MatchString(o.slot.Name):
		return export.Config{}, nil, usagef("", "--slot %s: a slot's name has 1 to 63 of a-z, 0-9 and _", quoteArg(o.slot.Name))
	case f.Changed("plugin") && !o.slot.Enabled(), f.Changed("slot-timeout") && !o.slot.Enabled():
		return export.Config{}, nil, usagef("", "--plugin and --slot-timeout go with --slot or --temporary-slot")
	case o.slot.Enabled() && o.dryRun:
		return export.Config{}, nil, usagef("", "--dry-run makes no slot")
	case o.gentle && f.Changed("parallel") && o.parallel > 1, o.gentle && f.Changed("chunk-size"):
		return export.Config{}, nil, usagef("", "--gentle is one connection and one scan: it goes with neither --parallel nor --chunk-size")
	case o.report != "" && o.dryRun:
		return export.Config{}, nil, usagef("", "--dry-run reads no rows, so there is nothing to --report")
	case o.manifest != "" && o.dryRun:
		return export.Config{}, nil, usagef("", "--dry-run makes no files, so there is nothing for a --manifest")
	}
	o.conn.warn = a.warn
	conn, err := o.conn.config(a.Getenv)
	if err != nil {
		if b != nil && len(b.problems) > 0 { // which may be the reason
			err = b.err()
		}
		return export.Config{}, nil, err
	}
	return export.Config{
		Conn:        conn,
		Jobs:        jobs,
		Schema:      schema,
		Parallel:    int(o.parallel),
		ChunkBytes:  o.chunkBytes,
		Memory:      o.memory,
		TempDir:     o.tempDir,
		TempLimit:   o.tempLimit,
		KeepTemp:    o.keepTemp,
		BlockSize:   o.blockSize,
		Transport:   transports[o.transport],
		SnapshotID:  o.snapshotID,
		Slot:        o.slot,
		LockTimeout: o.lockTimeout,
		RowSecurity: o.rowSecurity,
		FailFast:    o.failFast,
		NameJobs:    b != nil,
		Strict:      o.strict,
		Hash:        o.manifest != "",

		Gentle: o.gentle, Rate: o.rate, MaxSnapshotAge: o.maxAge, YieldToDDL: o.yield, Restarts: int(o.restarts),

		Version: buildInfo().version,
	}, b, nil
}

// checkSource finds out whether it is said once, and in full, what to export where.
func (o *exportOptions) checkSource(f *flags) error {
	given, err := f.atMostOne("table", "sql", "sql-file", "config", "schema")
	if err != nil {
		return err
	}
	if !given {
		return usagef("fast-export --table NAME --out FILE, or --help", "nothing to export: --table, --sql, --sql-file, --config or --schema is missing")
	}
	for _, name := range []string{"columns", "where"} {
		if f.Changed(name) && !f.Changed("table") {
			hint := "a query names its columns and conditions itself"
			if f.Changed("config") || f.Changed("schema") {
				hint = "an entry of a batch file may have them"
			}
			return usagef(hint, "--%s goes with --table alone", name)
		}
	}
	for _, name := range []string{"out-dir", "include", "exclude"} {
		if f.Changed(name) && !f.Changed("schema") {
			return usagef("", "--%s goes with --schema alone", name)
		}
	}
	for _, name := range []string{"table", "where", "sql", "out", "sql-file", "config", "schema", "out-dir", "temp-dir", "report", "manifest", "snapshot", "slot", "plugin", "service", "dsn"} {
		if fl := f.Lookup(name); fl.Changed && strings.TrimSpace(fl.Value.String()) == "" {
			return usagef("", "--%s is empty", name)
		}
	}
	switch {
	case f.Changed("config") && f.Changed("out"):
		return usagef("each entry of a batch file has its own out", "--config and --out: only one of them at a time")
	case f.Changed("schema") && f.Changed("out"):
		return usagef("--out-dir says where the tables' files go", "--schema and --out: only one of them at a time")
	case f.Changed("schema") && o.source.outDir == "":
		return usagef("", "--out-dir is missing: the directory for the tables' files")
	case !f.Changed("schema") && !f.Changed("config") && o.source.out == "" && !o.dryRun:
		return usagef("", "--out is missing: which file to write")
	}
	return nil
}

// oneJob is the export that the flags describe.
func (o *exportOptions) oneJob(ctx context.Context, stdin io.Reader) (export.Job, error) {
	job := export.Job{Table: o.source.table, Columns: o.source.columns, Where: o.source.where, SQL: o.source.sql, Out: o.source.out}
	if o.source.sqlFile != "" {
		sql, err := readSQL(ctx, o.source.sqlFile, stdin)
		if err != nil {
			return job, err
		}
		job.SQL = sql
	}
	if job.Table == "" && strings.TrimSpace(job.SQL) == "" {
		return job, &statementError{"there is no statement"}
	}
	return job, o.job.apply(&job)
}

// apply sets how the job's file is written.
func (o *jobOptions) apply(job *export.Job) error {
	if o.overwrite && o.noClobber {
		return usagef("", "--overwrite and --no-clobber contradict each other")
	}
	switch {
	case o.overwrite:
		job.Overwrite = parquetw.ReplaceAny
	case o.noClobber:
		job.Overwrite = parquetw.NoClobber
	}
	job.RowGroupRows, job.RowGroupBytes = o.rowGroupRows, o.rowGroupBytes
	job.Compression = o.compression
	job.Encoding, job.Encodings = o.encoding.all, o.encoding.columns
	job.Bloom, job.SortedBy = o.bloom, o.sortedBy
	var err error
	job.Types, err = o.types.options()
	return err
}

// maxSQL bounds a query file: what is larger is no query but a mistake.
const maxSQL = 64 << 20

func readSQL(ctx context.Context, file string, stdin io.Reader) (string, error) {
	open, name := func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil }, "standard input"
	if file != "-" {
		open, name = func() (io.ReadCloser, error) { return os.Open(file) }, quoteArg(file)
	}
	text, err := readInput(ctx, open, maxSQL)
	if err != nil {
		return "", inputError(ctx, err, "--sql-file %s: %v", name)
	}
	if len(text) > maxSQL {
		return "", usagef("", "--sql-file %s holds more than %s", name, sizeText(maxSQL))
	}
	return strings.TrimPrefix(string(text), "\ufeff"), nil
}

// readInput reads what a user named, up to a byte more than limit. It may be a pipe that nobody writes to: when ctx ends so does the
// waiting, and what reads stays behind until the process ends.
func readInput(ctx context.Context, open func() (io.ReadCloser, error), limit int64) ([]byte, error) {
	type input struct {
		text []byte
		err  error
	}
	read := make(chan input, 1)
	go func() {
		in, err := open()
		if err != nil {
			read <- input{nil, err}
			return
		}
		text, err := io.ReadAll(io.LimitReader(in, limit+1))
		read <- input{text, errors.Join(err, in.Close())}
	}()
	select {
	case got := <-read:
		return got.text, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// inputError is a wrong call, unless what ended the reading was a signal.
func inputError(ctx context.Context, err error, format, name string) error {
	if ctx.Err() != nil {
		return err
	}
	return usagef("", format, name, reason(err))
}

// reason is what an operation on a file failed of, without the path, which the caller names.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func (o *exportOptions) export(ctx context.Context, a *app, f *flags) error {
	if o.version {
		return a.print(buildInfo().line() + "\n")
	}
	cfg, b, err := o.finalize(ctx, a, f)
	if err != nil {
		return err
	}
	defer tuneGC(a.Getenv, o.memory)()
	if b != nil && len(b.problems) > 0 {
		return o.allProblems(ctx, a, cfg, b)
	}
	if o.dryRun {
		cfg.Log = a.logger(a.Stderr, o.logLevel)
		plan, err := a.dryRun(ctx, cfg)
		if err != nil {
			return b.locate(err)
		}
		for _, w := range plan.Warnings {
			fmt.Fprintln(a.Stderr, "warning: "+oneLine(w))
		}
		return a.print(planText(plan))
	}
	if o.report != "" {
		if o.source.config != "" && export.SamePath(o.report, o.source.config) {
			return usagef("", "--report and --config are one file")
		}
		if err := export.ReportDocument.Check(o.report, cfg); err != nil {
			return err
		}
	}
	if o.manifest != "" {
		if o.report != "" && export.SamePath(o.report, o.manifest) {
			return usagef("", "--report and --manifest are one file")
		}
		if err := export.ManifestDocument.Check(o.manifest, cfg); err != nil {
			return err
		}
	}
	return b.locate(o.runAndTell(ctx, a, cfg))
}

// allProblems tells what is wrong in a batch file, and beside it what the server finds wrong in the entries of which it can be asked.
func (o *exportOptions) allProblems(ctx context.Context, a *app, cfg export.Config, b *batch) error {
	if len(cfg.Jobs) == 0 {
		return b.err()
	}
	cfg.Slot = snapshot.Slot{} // nothing is to be made
	_, err := a.dryRun(ctx, cfg)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return b.locate(err)
}

func (o *exportOptions) runAndTell(ctx context.Context, a *app, cfg export.Config) error {
	show := a.display(o.progress, o.quiet)
	cfg.Progress = show
	cfg.Log = a.logger(show, o.logLevel)
	result, err := a.run(ctx, cfg)
	show.Close()
	_, partial := errors.AsType[*export.PartialError](err)
	if err != nil && !partial {
		return err
	}
	// The files have their names: a signal from here on comes too late.
	for _, f := range result.Files {
		if f.Err != nil {
			text := strings.Join(describe(f.Err), "\n")
			fmt.Fprintln(a.Stderr, "error: "+f.Path+": "+strings.TrimPrefix(text, "error: "))
		}
	}
	// Some files may stand although others failed.
	if o.report != "" {
		if rerr := writeReport(o.report, result); err == nil {
			err = rerr
		}
	}
	if o.manifest != "" {
		if merr := export.ManifestDocument.Write(o.manifest, export.NewManifest(cfg, result, reasonOf)); err == nil {
			err = merr
		}
	}
	if !o.quiet && anyDone(result) {
		if perr := a.print(summary(result, show.Warnings())); err == nil {
			err = perr
		}
	}
	if err != nil {
		return &settled{err}
	}
	return nil
}

// settled is an error of a run whose files have their names: a signal that came since is not its cause.
type settled struct{ error }

func (e *settled) Unwrap() error { return e.error }

// display starts what --progress asks for.
func (a *app) display(mode string, quiet bool) *progress.Display {
	width := a.Terminal()
	opt := progress.Options{Out: a.Stderr, Width: width}
	switch {
	case quiet:
	case mode != "":
		m, err := progress.ParseMode(mode)
		if err != nil {
			panic(err) // the flag takes the four names alone
		}
		opt.Mode = m
	case width > 0:
		opt.Mode = progress.Bar
	default:
		opt.Mode = progress.Plain
	}
	return progress.New(opt)
}

// tuneGC makes the collector work for a small heap rather than for little work, and returns what undoes it: most of what
// is allocated lives as long as a batch, and what --memory promises is the process's size. GOGC and GOMEMLIMIT win.
func tuneGC(getenv func(string) string, memory int64) (undo func()) {
	undos := []func(){}
	if getenv("GOGC") == "" {
		old := debug.SetGCPercent(garbagePercent)
		stop := followHeap()
		undos = append(undos, func() {
			stop()
			debug.SetGCPercent(old)
		})
	}
	if getenv("GOMEMLIMIT") == "" {
		// A soft limit: nearing it, the collector runs more often.
		old := debug.SetMemoryLimit(memory + runtimeBytes)
		undos = append(undos, func() { debug.SetMemoryLimit(old) })
	}
	return func() {
		for _, u := range undos {
			u()
		}
	}
}

// How much garbage there may be: a share of the heap, and so much in any case. There is little, since buffers are used again. A heap of a
// few MiB would else be gone through every few hundred KiB, which cost a batch of small files a third of its CPU.
const (
	garbagePercent = 8
	garbageBytes   = 10 << 20
	leastHeap      = 4 << 20 // of which the runtime takes the share, however small the heap. Source: runtime/mgcpacer.go, defaultHeapMinimum
)

// followHeap sets, whenever the collector has run, the share of garbage that a heap of the present size may have, until stop is called.
func followHeap() (stop func()) {
	var mu sync.Mutex
	stopped := false
	scanned := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"}} // as the last run found them
	type dead struct{ _ *int }
	var next func(*dead)
	next = func(*dead) {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		metrics.Read(scanned)
		all := uint64(0)
		for _, s := range scanned {
			all += s.Value.Uint64()
		}
		debug.SetGCPercent(max(garbagePercent, int(garbageBytes*100/max(all, leastHeap))))
		runtime.SetFinalizer(&dead{}, next) // which the next run finds
	}
	next(nil)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
}

// runtimeBytes is what connections, goroutines and encoders take beside the rows and pages that --memory counts.
const runtimeBytes = 64 << 20
