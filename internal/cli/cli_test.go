package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fast-export/internal/export"
	"fast-export/internal/progress"
	"fast-export/parquetw"
	"fast-export/typemap"
)

// outcome is what a run of the program showed.
type outcome struct {
	code           int
	stdout, stderr string
}

// call runs the program in process. Where do is not nil it stands for export.Run.
func call(t *testing.T, do func(context.Context, export.Config) (*export.Result, error), args ...string) outcome {
	t.Helper()
	return callIn(t, t.Context(), t.TempDir(), "", do, args...)
}

func callIn(t *testing.T, ctx context.Context, home, stdin string, do func(context.Context, export.Config) (*export.Result, error), args ...string) outcome {
	t.Helper()
	var out, errOut bytes.Buffer
	a := &app{Env: Env{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errOut, Getenv: vars(home)}, run: export.Run, dryRun: export.DryRun}
	if do != nil {
		a.run = do
		a.dryRun = func(ctx context.Context, c export.Config) (*export.PlanReport, error) {
			_, err := do(ctx, c)
			return &export.PlanReport{}, err
		}
	}
	code := a.main(ctx, args)
	return outcome{code, out.String(), errOut.String()}
}

// capture stands for a run that succeeds and keeps what it was given.
func capture(got *export.Config) func(context.Context, export.Config) (*export.Result, error) {
	return func(_ context.Context, c export.Config) (*export.Result, error) {
		*got = c
		return &export.Result{Files: []export.File{{Path: c.Jobs[0].Out}}}, nil
	}
}

func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "x.parquet")
	exact := func(extra ...string) []string { return append([]string{"--table", "t", "--out", out}, extra...) }
	for _, c := range []struct {
		args []string
		want string // the whole of stderr
	}{
		{nil, "error: nothing to export: --table, --sql, --sql-file, --config or --schema is missing\nhint: fast-export --table NAME --out FILE, or --help\n"},
		{[]string{"exprot"}, "error: unknown command exprot\nhint: exporting needs no command: fast-export --table NAME --out FILE\n"},
		{[]string{"verson"}, "error: unknown command verson\nhint: did you mean fast-export version?\n"},
		{[]string{"help", "verson"}, "error: unknown command verson\nhint: did you mean fast-export version?\n"},
		{[]string{""}, "error: unexpected argument \"\"\nhint: every setting is a flag: fast-export --help lists them\n"},
		{exact("--tabel", "x"), "error: unknown flag --tabel\nhint: did you mean --table?\n"},
		{exact("--frobnicate"), "error: unknown flag --frobnicate\nhint: fast-export --help lists the flags\n"},
		{exact("-table", "x"), "error: unknown flag -table\nhint: did you mean --table?\n"},
		{exact("-password=hunter2"), "error: unknown flag -password\nhint: did you mean --password?\n"},
		{exact("--passwort=hunter2"), "error: unknown flag --passwort\nhint: did you mean --password?\n"},
		{exact("stray"), "error: unexpected argument stray\nhint: every setting is a flag: fast-export --help lists them\n"},
		{exact("parallel"), "error: unexpected argument parallel\nhint: did you mean --parallel?\n"},
		{exact("postgres://u:hunter2@h/d"), "error: unexpected argument (a connection string)\nhint: every setting is a flag: fast-export --help lists them\n"},
		{[]string{"--table", "t", "--out"}, "error: --out needs a value\n"},
		{[]string{"--table", "t"}, "error: --out is missing: which file to write\n"},
		{[]string{"--table", "t", "--out", ""}, "error: --out is empty\n"},
		{[]string{"--table", " ", "--out", out}, "error: --table is empty\n"},
		{[]string{"--sql", " ", "--out", out}, "error: --sql is empty\n"},
		{exact("--where", ""), "error: --where is empty\n"},
		{exact("--sql", "SELECT 1"), "error: --table and --sql: only one of them at a time\n"},
		{[]string{"--sql", "SELECT 1", "--sql-file", "f", "--out", out}, "error: --sql and --sql-file: only one of them at a time\n"},
		{[]string{"--sql", "SELECT 1", "--columns", "a", "--out", out}, "error: --columns goes with --table alone\nhint: a query names its columns and conditions itself\n"},
		{[]string{"--sql", "SELECT 1", "--where", "a", "--out", out}, "error: --where goes with --table alone\nhint: a query names its columns and conditions itself\n"},
		{[]string{"--sql-file", "/nonesuch", "--out", out}, "error: --sql-file /nonesuch: no such file or directory\n"},
		{[]string{"--sql-file", dir, "--out", out}, "error: --sql-file " + dir + ": is a directory\n"},
		{exact("--columns", "a,,b"), "error: --columns a,,b: a name is empty\n"},
		{exact("--columns", ""), "error: --columns \"\": a name is empty\n"},
		{exact("--parallel", "0"), "error: --parallel 0: out of range: from 1 to 1000\n"},
		{exact("--parallel", "-1"), "error: --parallel -1: out of range: from 1 to 1000\n"},
		{exact("--parallel", "1001"), "error: --parallel 1001: out of range: from 1 to 1000\n"},
		{exact("--parallel", "many"), "error: --parallel many: not a whole number\n"},
		{exact("--parallel", "2.5"), "error: --parallel 2.5: not a whole number\n"},
		{exact("--parallel", "99999999999999999999"), "error: --parallel 99999999999999999999: out of range: from 1 to 1000\n"},
		{exact("--row-group-size", "0"), "error: --row-group-size 0: out of range: from 1 to 2147483647\n"},
		{exact("--row-group-size", "1k"), "error: --row-group-size 1k: not a whole number\n"},
		{exact("--chunk-size", "100"), "error: --chunk-size 100: out of range: from 8KiB up\n"},
		{exact("--memory", "63MB"), "error: --memory 63MB: out of range: from 64MB to 16384GiB\n"},
		{exact("--memory", "1EB"), "error: --memory 1EB: out of range: from 64MB to 16384GiB\n"},
		{exact("--memory", "lots"), "error: --memory lots: not a size\nhint: 512MiB, 1GB, or bytes without a unit\n"},
		{exact("--memory", "99999999999GB"), "error: --memory 99999999999GB: not a size\nhint: 512MiB, 1GB, or bytes without a unit\n"},
		{exact("--temp-limit", "0"), "error: --temp-limit 0: out of range: from 1MiB up\n"},
		{exact("--block-size", "0"), "error: --block-size 0: out of range: from 1 to 2147483647\n"},
		{exact("--block-size", "3GiB"), "error: --block-size 3GiB: out of range: from 1 to 2147483647\n"},
		{exact("--port", "0"), "error: --port 0: out of range: a port is a number from 1 to 65535\n"},
		{exact("--port", "65536"), "error: --port 65536: out of range: a port is a number from 1 to 65535\n"},
		{exact("--port", "5432,x"), "error: --port 5432,x: out of range: a port is a number from 1 to 65535\n"},
		{exact("--lock-timeout", "60"), "error: --lock-timeout 60: not a duration with its unit\nhint: 60s, 5m, 1h30m\n"},
		{exact("--lock-timeout", "-1s"), "error: --lock-timeout -1s: out of range: 0 (wait for ever), or from 1ms to 596h0m0s\n"},
		{exact("--compression", "zstd:23"), "error: --compression: compression \"zstd:23\": the level of zstd is a number from 1 to 22\n"},
		{exact("--compression", "brotli"), "error: --compression: compression \"brotli\" is none of zstd[:1..22], snappy, gzip[:1..9], lz4 or none\n"},
		{exact("--transport", "cvs"), "error: --transport cvs: none of auto, binary, csv\nhint: did you mean csv?\n"},
		{exact("--progress", "fancy"), "error: --progress fancy: none of none, bar, plain, json\n"},
		{exact("--log-level", "loud"), "error: --log-level loud: none of debug, info, warn, error\n"},
		{exact("--numeric", "decimal(80,2)"), "error: --numeric: \"decimal(80,2)\": a decimal is written decimal(p,s) with 1 to 76 digits p and 0 to p decimals s\n"},
		{exact("--infinity", "x"), "error: --infinity: infinity \"x\": allowed are error, null, clamp, text\n"},
		{exact("--type", "ra"), "error: --type ra: not of the form column=type\n"},
		{exact("--type", "ra=potato"), "error: --type ra=potato: \"potato\" is no column type: allowed are text, float64, strict, decimal(p,s), struct, duration\n"},
		{exact("--type", "ra=text", "--type", "ra=float64"), "error: --type ra=float64: the column is text already\n"},
		{exact("--type-map", "ddpp", "--numeric", "text"), "error: --type-map ddpp and --numeric contradict each other\nhint: --type says it for single columns\n"},
		{exact("--interval", "struct", "--type-map", "ddpp"), "error: --type-map ddpp and --interval contradict each other\nhint: --type says it for single columns\n"},
		{exact("--type-map", "ddpp", "--ranges", "struct"), "error: --type-map ddpp and --ranges contradict each other\nhint: --type says it for single columns\n"},
		{exact("--snapshot", "00000003-1", "--restarts", "2"), "error: --snapshot and --restarts contradict each other: a run begins again with a new snapshot\n"},
		{exact("--overwrite", "--no-clobber"), "error: --overwrite and --no-clobber contradict each other\n"},
		{exact("--quiet", "--progress", "json"), "error: --quiet and --progress json contradict each other\n"},
		{exact("--quiet", "--dry-run"), "error: --quiet would hide all that --dry-run prints\n"},
		{exact("--dry-run", "--report", "r.json"), "error: --dry-run reads no rows, so there is nothing to --report\n"},
		{exact("--dsn", "password='hunter2"), "error: --dsn can't be read: the value of its setting number 1 has no closing quote\nhint: two forms are right: \"host=db1 dbname=mpc user=me\" and \"postgresql://me@db1/mpc\"\n"},
		{[]string{"version", "x"}, "error: unexpected argument x\nhint: every setting is a flag: fast-export version --help lists them\n"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got := call(t, func(context.Context, export.Config) (*export.Result, error) {
				t.Error("it ran")
				return nil, errors.New("ran")
			}, c.args...)
			if got.code != codeUsage || got.stderr != c.want || got.stdout != "" {
				t.Errorf("got %d\nstdout %q\nstderr %q\nwant   %q", got.code, got.stdout, got.stderr, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("an output was made")
			}
		})
	}
}

func TestConfigIsComplete(t *testing.T) {
	var got export.Config
	home := t.TempDir()
	o := callIn(t, t.Context(), home, "", capture(&got), "--dsn", "postgres://u:p@h:7/d", "--table", `public."T"`, "--columns", `id,"a,b"`, "--columns", "ra",
		"--where", "x > 1", "--out", "o.parquet", "--row-group-size", "5000", "--compression", "gzip:9", "--overwrite", "--parallel", "3", "--chunk-size", "256MiB",
		"--memory", "128MiB", "--temp-dir", "/tmp", "--temp-limit", "1GB", "--keep-temp", "--block-size", "1MiB", "--transport", "csv", "--snapshot", "00000003-1",
		"--lock-timeout", "5s", "--enable-row-security", "--strict", "--numeric", "decimal(20,4)", "--numeric-nonfinite", "null", "--infinity", "clamp",
		"--invalid-utf8", "replace", "--interval", "duration", "--ranges", "text", "--trim-bpchar", "--type", "RA=text", "--type", `"a,b"=decimal(5,2)`)
	if o.code != 0 {
		t.Fatal(o)
	}
	j := got.Jobs[0]
	if j.Table != `public."T"` || strings.Join(j.Columns, "|") != `id|"a,b"|ra` || j.Where != "x > 1" || j.SQL != "" || j.Out != "o.parquet" ||
		j.RowGroupRows != 5000 || j.Compression != (parquetw.Compression{Codec: parquetw.Gzip, Level: 9}) || j.Overwrite != parquetw.ReplaceAny {
		t.Errorf("the job is %+v", j)
	}
	ty := j.Types
	if ty.Numeric != (typemap.Numeric{Mode: typemap.NumericDecimal, Precision: 20, Scale: 4}) || ty.Nonfinite != typemap.NonfiniteNull || ty.Infinity != typemap.InfinityClamp ||
		ty.InvalidUTF8 != typemap.InvalidUTF8Replace || ty.Interval != typemap.IntervalDuration || ty.Ranges != typemap.RangeText || !ty.TrimBpchar ||
		ty.TypeMap != typemap.Exact || ty.Columns["ra"] != "text" || ty.Columns["a,b"] != "decimal(5,2)" {
		t.Errorf("the types are %+v", ty)
	}
	if got.Parallel != 3 || got.ChunkBytes != 256<<20 || got.Memory != 128<<20 || got.TempDir != "/tmp" || got.TempLimit != 1e9 || !got.KeepTemp || got.BlockSize != 1<<20 ||
		got.Transport != export.CSV || got.SnapshotID != "00000003-1" || got.LockTimeout.Seconds() != 5 || !got.RowSecurity || !got.Strict || got.Version == "" ||
		got.Progress == nil || got.Log == nil {
		t.Errorf("the configuration is %+v", got)
	}
	if got.Conn.Host != "h" || got.Conn.Port != 7 || got.Conn.Database != "d" || got.Conn.Password != "p" {
		t.Errorf("the connection is %+v", got.Conn)
	}
	// It contradicts --numeric, --interval and --ranges.
	if o := call(t, capture(&got), "--table", "t", "--out", "o.parquet", "--type-map", "ddpp"); o.code != 0 || got.Jobs[0].Types.TypeMap != typemap.DDPP {
		t.Errorf("%+v gave %+v", o, got.Jobs[0].Types)
	}
}

func TestDefaults(t *testing.T) {
	var got export.Config
	if o := call(t, capture(&got), "--sql", "SELECT 1", "--out", "o.parquet"); o.code != 0 {
		t.Fatal(o)
	}
	j := got.Jobs[0]
	if j.SQL != "SELECT 1" || j.RowGroupRows != 1_000_000 || j.Compression.String() != "zstd:1" || j.Overwrite != parquetw.ReplaceParquet || j.Types.Columns != nil {
		t.Errorf("the job is %+v", j)
	}
	if got.Parallel < 1 || got.Parallel > 8 || got.ChunkBytes != 0 || got.Memory != 1<<30 || got.TempDir != "" || got.TempLimit != 0 || got.BlockSize != 67_108_864 ||
		got.Transport != export.Auto || got.LockTimeout.Seconds() != 60 || got.RowSecurity || got.Strict || got.KeepTemp {
		t.Errorf("the configuration is %+v", got)
	}
}

func TestNoClobber(t *testing.T) {
	var got export.Config
	if o := call(t, capture(&got), "--sql", "SELECT 1", "--out", "o.parquet", "--no-clobber"); o.code != 0 || got.Jobs[0].Overwrite != parquetw.NoClobber {
		t.Error(o, got.Jobs)
	}
}

func TestQueryFromFileAndStdin(t *testing.T) {
	var got export.Config
	file := write(t, t.TempDir(), "q.sql", "\ufeffSELECT 'é'\n;\n")
	if o := call(t, capture(&got), "--sql-file", file, "--out", "o.parquet"); o.code != 0 || got.Jobs[0].SQL != "SELECT 'é'\n;\n" {
		t.Error(o, got.Jobs)
	}
	if o := callIn(t, t.Context(), t.TempDir(), "TABLE x", capture(&got), "--sql-file", "-", "--out", "o.parquet"); o.code != 0 || got.Jobs[0].SQL != "TABLE x" {
		t.Error(o, got.Jobs)
	}
	o := callIn(t, t.Context(), t.TempDir(), "", capture(&got), "--sql-file", "-", "--out", "o.parquet")
	if o.code != codeStatement || o.stderr != "error: there is no statement\nhint: one SELECT, WITH, VALUES or TABLE is wanted\n" {
		t.Errorf("%+v", o)
	}
	for _, sql := range []string{"", " \n"} {
		if o := call(t, capture(&got), "--sql", sql, "--out", "o.parquet"); o.code != codeUsage || o.stderr != "error: --sql is empty\n" {
			t.Errorf("%q: %+v", sql, o)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"--table", "t", "--help"}} {
		got := call(t, nil, args...)
		if got.code != 0 || got.stderr != "" {
			t.Errorf("%q: %d, %q", args, got.code, got.stderr)
		}
		f := newFlags("")
		exportCommand().new(f)
		for _, name := range append(f.names(), "help") {
			if !strings.Contains(got.stdout, "--"+name) {
				t.Errorf("%q does not list --%s", args, name)
			}
		}
		for _, want := range []string{"usage: fast-export ", "\n   130  stopped by SIGINT", "\nExample:\n  fast-export --service mpc_sbn ", "\n  version "} {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("%q lacks %q", args, want)
			}
		}
		for line := range strings.Lines(got.stdout) {
			if len([]rune(line)) > 112 {
				t.Errorf("too wide: %q", line)
			}
		}
	}
	if got := call(t, nil, "help", "version"); got.code != 0 || !strings.HasPrefix(got.stdout, "usage: fast-export version\n") {
		t.Errorf("help version gave %+v", got)
	}
	if got := call(t, nil, "version", "--help"); got.code != 0 || !strings.HasPrefix(got.stdout, "usage: fast-export version\n") {
		t.Errorf("version --help gave %+v", got)
	}
}

func TestVersion(t *testing.T) {
	short, long := call(t, nil, "--version"), call(t, nil, "version")
	if short.code != 0 || !strings.HasPrefix(short.stdout, "fast-export ") || strings.Count(short.stdout, "\n") != 1 {
		t.Errorf("--version gave %+v", short)
	}
	if long.code != 0 || !strings.HasPrefix(long.stdout, short.stdout) {
		t.Errorf("version gave %+v", long)
	}
}

func TestSignals(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		ctx, cancel := context.WithCancelCause(t.Context())
		got := callIn(t, ctx, t.TempDir(), "", func(ctx context.Context, _ export.Config) (*export.Result, error) {
			cancel(Interrupted{Signal: sig})
			return &export.Result{Files: []export.File{{Path: "o", Err: ctx.Err()}}}, ctx.Err()
		}, "--table", "t", "--out", "o", "--progress", "none")
		if got.code != want || got.stdout != "" || !strings.HasPrefix(got.stderr, "error: stopped by signal ") || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%v: %+v", sig, got)
		}
	}
	// A pipe that nobody writes to keeps nobody from leaving.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--config", pipe}, {"--sql-file", pipe, "--out", "o"}, {"bench", "--sql-file", pipe}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(Interrupted{Signal: syscall.SIGTERM}) })
		if got := callIn(t, ctx, t.TempDir(), "", nil, args...); got.code != 143 || !strings.HasPrefix(got.stderr, "error: stopped by signal ") || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%q: %+v", args, got)
		}
		w, err := os.OpenFile(pipe, os.O_RDWR, 0) // now what waits for it in vain ends too
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		w.Close()
	}
	// What was done before the signal is done, and told.
	dir := t.TempDir()
	report, manifest := filepath.Join(dir, "r.json"), filepath.Join(dir, "m.json")
	for _, c := range []struct {
		name        string
		partial     error
		lost        bool // the directory of report and manifest
		code        int
		want, wrong string // on stderr
	}{
		{"done", nil, false, codeDone, "", "error"},
		{"some failed", &export.PartialError{Failed: 1, Total: 2, First: errors.New("boom")}, false, codeSome, "error: 1 of 2 exports failed, the others are done\n", "signal"},
		{"no report", nil, true, codeTarget, "error: --report " + report + ": no such file or directory\n", "signal"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		got := callIn(t, ctx, t.TempDir(), "", func(context.Context, export.Config) (*export.Result, error) {
			if c.lost {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			}
			cancel(Interrupted{Signal: syscall.SIGINT})
			return &export.Result{Files: []export.File{{Path: "o", Rows: 7}}}, c.partial
		}, "--table", "t", "--out", "o", "--progress", "none", "--report", report, "--manifest", manifest)
		if got.code != c.code || !strings.Contains(got.stderr, c.want) || strings.Contains(got.stderr, c.wrong) || !strings.HasPrefix(got.stdout, "o: 7 rows") {
			t.Errorf("%s gave %+v", c.name, got)
		}
		for _, path := range []string{report, manifest} {
			if err := os.Remove(path); (err != nil) != c.lost {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

func TestWarningsAndProgress(t *testing.T) {
	do := func(_ context.Context, c export.Config) (*export.Result, error) {
		c.Progress.Report(progress.Warning{Text: "rows of f are not in the snapshot"})
		c.Progress.Report(progress.Plan{Files: 1})
		c.Log.Warn("chunk redone", "chunk", 3)
		c.Log.Info("hidden")
		return &export.Result{Files: []export.File{{Path: "o"}}}, nil
	}
	got := call(t, do, "--table", "t", "--out", "o")
	if !strings.Contains(got.stderr, "warning: rows of f are not in the snapshot\n") || !strings.Contains(got.stderr, "progress: ") ||
		!strings.Contains(got.stderr, `msg="chunk redone" chunk=3`) || strings.Contains(got.stderr, "hidden") || !strings.Contains(got.stdout, "1 warning") {
		t.Errorf("got %+v", got)
	}
	got = call(t, do, "--table", "t", "--out", "o", "--quiet", "--log-level", "error")
	if got.stdout != "" || got.stderr != "warning: rows of f are not in the snapshot\n" {
		t.Errorf("--quiet gave %+v", got)
	}
	got = call(t, do, "--table", "t", "--out", "o", "--progress", "json", "--log-level", "info")
	if !strings.Contains(got.stderr, `{"type":"end",`) || !strings.Contains(got.stderr, "hidden") {
		t.Errorf("--progress json gave %+v", got)
	}
}

func TestSomeFailed(t *testing.T) {
	dir := t.TempDir()
	report := filepath.Join(dir, "r.json")
	got := call(t, func(context.Context, export.Config) (*export.Result, error) {
		bad := raised("22012", "division by zero")
		return &export.Result{Files: []export.File{{Path: "good", Rows: 7}, {Path: "bad", Err: bad}}}, &export.PartialError{Failed: 1, Total: 2, First: bad}
	}, "--table", "t", "--out", "o", "--progress", "none", "--report", report)
	want := "error: bad: division by zero (SQLSTATE 22012)\nhint: NULLIF(divisor, 0) gives NULL where the divisor is 0\nerror: 1 of 2 exports failed, the others are done\n"
	if got.code != codeSome || got.stderr != want || !strings.HasPrefix(got.stdout, "good: 7 rows") || strings.Contains(got.stdout, "bad") {
		t.Errorf("got %+v", got)
	}
	if _, err := os.Stat(report); err != nil {
		t.Error(err)
	}
}

func TestABarOnATerminal(t *testing.T) {
	var out, errOut bytes.Buffer
	a := &app{Env: Env{Stdout: &out, Stderr: &errOut, Getenv: vars(t.TempDir()), Terminal: func() int { return 100 }}, run: func(_ context.Context, c export.Config) (*export.Result, error) {
		c.Progress.Report(progress.Plan{Files: 1, Chunks: 1, EstBytes: 100})
		c.Progress.Report(progress.Advance{Rows: 10, HeapBytes: 100})
		c.Progress.Report(progress.FileDone{})
		return &export.Result{Files: []export.File{{Path: "o"}}}, nil
	}}
	if code := a.main(t.Context(), []string{"--table", "t", "--out", "o"}); code != 0 || !strings.Contains(errOut.String(), "100% [") {
		t.Errorf("got %d, %q", code, errOut.String())
	}
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestLostStdout(t *testing.T) {
	var errOut bytes.Buffer
	var got export.Config
	a := &app{Env: Env{Stdout: closed{}, Stderr: &errOut, Getenv: vars(t.TempDir())}, run: capture(&got)}
	if code := a.main(t.Context(), []string{"--table", "t", "--out", "o", "--progress", "none"}); code != codeFailed || errOut.String() != "error: write to standard output: broken pipe\n" {
		t.Errorf("got %d, %q", code, errOut.String())
	}
}
