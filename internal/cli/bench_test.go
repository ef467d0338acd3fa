package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fast-export/bench"
	"fast-export/internal/pgtest"
)

func benchSchema(t *testing.T) schema {
	t.Helper()
	s := schemaOf(t, reflect.TypeFor[bench.Report]())
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = "fast-export bench"
	s["properties"].(schema)["bench_version"].(schema)["const"] = bench.Version
	return s
}

func TestBenchSchemaDocument(t *testing.T) {
	document(t, "bench.schema.json", jsonText(t, benchSchema(t)))
}

// docs/bench.md lists the report's fields.
func TestBenchDocument(t *testing.T) { fieldTable(t, "bench.md", reflect.TypeFor[bench.Report]()) }

// obs makes a table in a database of the test's own, of some 1,000 pages.
func obs(t *testing.T, rows int) string {
	t.Helper()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE obs (id bigint NOT NULL, ra float8, s text)",
		fmt.Sprintf("INSERT INTO obs SELECT k, sqrt(k), md5(k::text) || repeat('x', 200) FROM generate_series(1, %d) k", rows), "ANALYZE obs")
	return dsn
}

// A bench from the command line: reports that are what they are said to be, hints that work, and nothing left.
func TestBench(t *testing.T) {
	t.Parallel()
	dsn, out, temp := obs(t, 20_000), t.TempDir(), t.TempDir()
	pgtest.NoLeftovers(t, temp)
	pgtest.NoLeftovers(t, out, "r.json", "r.html", "r.txt")
	at := func(name string) string { return filepath.Join(out, name) }
	got := call(t, nil, "bench", "--dsn", dsn, "--table", "public.obs", "--sample", "50%", "--parallel", "1,2", "--transport", "binary", "--chunk-size", "auto,256KiB",
		"--compression", "zstd,snappy", "--row-group-size", "1000000", "--rounds", "2", "--seed", "7", "--temp-dir", temp, "--memory", "64MB",
		"--json", at("r.json"), "--html", at("r.html"), "--go-bench", at("r.txt"))
	if got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	for _, want := range []string{"public.obs (table, 3 columns)", "sample: 50.1 % of the blocks, 358 of 715 pages", "(--seed 7)", "export (base)", "floor ", "decode ", "encode ", "write ", "\nBottleneck: ", "\nRecommended:\n", "  --parallel "} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("lacks %q:\n%s", want, got.stdout)
		}
	}
	if !strings.Contains(got.stderr, "bench: --seed 7\nbench: warming up: parallel=2 ") && !strings.Contains(got.stderr, "bench: --seed 7\nbench: warming up: parallel=1 ") ||
		!strings.Contains(got.stderr, "\nbench: round 2 of 2, run ") {
		t.Errorf("progress:\n%s", got.stderr)
	}
	text, err := os.ReadFile(at("r.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if wrong := validate(t, jsonText(t, benchSchema(t)), v); wrong != "" {
		t.Error(wrong)
	}
	for name, change := range map[string]func(map[string]any){
		"a version": func(v map[string]any) { v["bench_version"] = 2 },
		"series":    func(v map[string]any) { v["series"] = nil },
		"rows":      func(v map[string]any) { v["sample"].(map[string]any)["rows"] = "many" },
		"no name":   func(v map[string]any) { delete(v["bottleneck"].(map[string]any), "name") },
	} {
		var bad map[string]any
		if err := json.Unmarshal(text, &bad); err != nil {
			t.Fatal(err)
		}
		change(bad)
		if validate(t, jsonText(t, benchSchema(t)), bad) == "" {
			t.Errorf("%s: the schema says yes to it", name)
		}
	}
	var r bench.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Seed != 7 || r.Rounds != 2 || r.Sample.Rows < 9_900 || r.Sample.Rows > 10_100 || !r.Server.Local || r.Source.Kind != "table" {
		t.Errorf("got %+v, %+v", r.Sample, r.Server)
	}
	for _, s := range r.Series {
		// Each run is a process: its memory is not what another one has taken.
		if s.Kind == bench.KindWrite && (s.Peak.Median <= 1<<20 || s.Peak.High > 200<<20) {
			t.Errorf("%s: %+v", s.Kind, s.Peak)
		}
	}
	page, err := os.ReadFile(at("r.html"))
	if err != nil || !strings.Contains(string(page), r.Recommendation.Flags) {
		t.Errorf("the page lacks the flags: %v", err)
	}
	lines, err := os.ReadFile(at("r.txt"))
	if err != nil || strings.Count(string(lines), "\nBenchmark") < 2*(4+3+1+2+1) {
		t.Errorf("%v:\n%s", err, lines)
	}

	// The hints are what an export takes.
	dir := t.TempDir()
	file := filepath.Join(dir, "o.parquet")
	exported := call(t, nil, append([]string{"--dsn", dsn, "--table", "obs", "--out", file, "--quiet"}, strings.Fields(r.Recommendation.Flags)...)...)
	if exported.code != 0 {
		t.Errorf("%s: got %+v", r.Recommendation.Flags, exported)
	}
	config := write(t, dir, "b.yaml", r.Recommendation.YAML+"exports:\n  - table: obs\n    out: "+filepath.Join(dir, "p.parquet")+"\n")
	if exported := call(t, nil, "--dsn", dsn, "--config", config, "--quiet"); exported.code != 0 {
		t.Errorf("%s: got %+v", r.Recommendation.YAML, exported)
	}
}

// Lines for benchstat on standard output leave no room for the table there; a statement without blocks is read whole.
func TestBenchToStandardOutput(t *testing.T) {
	t.Parallel()
	dsn := obs(t, 500)
	got := call(t, nil, "bench", "--dsn", dsn, "--sql", "SELECT id % 7 AS k, count(*) AS n FROM obs GROUP BY 1", "--parallel", "1", "--transport", "csv", "--chunk-size", "auto",
		"--compression", "none", "--row-group-size", "5", "--rounds", "1", "--go-bench", "-")
	if got.code != 0 || !strings.HasPrefix(got.stdout, bench.GoBenchStart+"goos: ") || !strings.Contains(got.stdout, "\nBenchmarkExport/parallel=1/transport=csv/chunk-size=auto/compression=none/row-group-size=5-") {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(got.stderr, "\nBottleneck: ") || !strings.Contains(got.stderr, "\nwarning: no sample can be taken of it, every run reads it whole (one chunk: ") {
		t.Errorf("got %s", got.stderr)
	}
}

// What was measured is told although a report can't be written, and every other report is.
func TestBenchReports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	measured := &bench.Report{Version: bench.Version, Recommendation: bench.Recommendation{Flags: "--parallel 3"}}
	var out, errOut strings.Builder
	a := &app{Env: Env{Stdout: &out, Stderr: &errOut}}
	told := func(o *benchOptions) error {
		out.Reset()
		errOut.Reset()
		return o.tell(a, measured)
	}
	o := &benchOptions{json: at("gone/r.json"), html: at("r.html"), goBench: at("gone/r.txt")}
	err := told(o)
	if exitCode(err) != codeTarget || !strings.Contains(strings.Join(describe(err), "\n"), "--json "+dir+"/gone/r.json: ") || !strings.Contains(out.String(), "  --parallel 3\n") {
		t.Errorf("got %v\n%s", err, out.String())
	}
	if !strings.HasPrefix(errOut.String(), "error: --go-bench "+dir+"/gone/r.txt: ") {
		t.Errorf("standard error has %q", errOut.String())
	}
	if page, err := os.ReadFile(at("r.html")); err != nil || !strings.Contains(string(page), "--parallel 3") {
		t.Errorf("the other report: %v", err)
	}

	// A report replaces one of its kind, and nothing else unless it is told to.
	o = &benchOptions{json: at("r.json"), html: at("r.html"), goBench: at("r.txt")}
	for range 2 {
		if err := errors.Join(o.checkReports(), told(o)); err != nil {
			t.Fatal(err)
		}
	}
	for _, swapped := range []*benchOptions{{json: at("r.html")}, {html: at("r.txt")}, {goBench: at("r.json")}, {goBench: write(t, dir, "precious", "p")}, {json: write(t, dir, "empty", "")}} {
		for _, err := range []error{swapped.checkReports(), told(swapped)} {
			if exitCode(err) != codeTarget || !strings.Contains(fmt.Sprint(err), "it is there already and no such report") {
				t.Errorf("%+v: got %v", swapped, err)
			}
		}
	}
	over := &benchOptions{json: at("precious"), overwrite: true}
	if err := errors.Join(over.checkReports(), told(over)); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(at("precious")); err != nil || !strings.HasPrefix(string(text), "{\n  \"bench_version\": 1") {
		t.Errorf("%v: %s", err, text)
	}

	// Standard output has one report, and the table goes to standard error.
	for _, c := range []struct {
		o     *benchOptions
		start string
	}{
		{&benchOptions{json: "-"}, "{\n  \"bench_version\": "}, {&benchOptions{html: "-"}, bench.HTMLStart}, {&benchOptions{goBench: "-"}, bench.GoBenchStart},
	} {
		if err := errors.Join(c.o.checkReports(), told(c.o)); err != nil || !strings.HasPrefix(out.String(), c.start) || !strings.Contains(errOut.String(), "  --parallel 3\n") {
			t.Errorf("%+v: %v\n%s\n%s", c.o, err, out.String(), errOut.String())
		}
	}
	if err := (&benchOptions{json: "-", goBench: "-"}).checkReports(); exitCode(err) != codeUsage {
		t.Errorf("two reports on standard output: %v", err)
	}
	if _, err := os.Lstat("-"); err == nil {
		t.Error("there is a file -")
	}
}

func TestBenchRefusals(t *testing.T) {
	t.Parallel()
	dsn := obs(t, 0)
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, codeUsage, "error: nothing to measure: --table, --sql or --sql-file is missing\nhint: fast-export bench --table NAME, or --help\n"},
		{[]string{"--table", "obs", "--sql", "SELECT 1"}, codeUsage, "error: --table and --sql: only one of them at a time\n"},
		{[]string{"--sql", "SELECT 1", "--where", "true"}, codeUsage, "error: --columns and --where go with --table alone\nhint: a query names its columns and conditions itself\n"},
		{[]string{"--table", "obs", "--parallel", "2,many"}, codeUsage, "error: --parallel 2,many: many: not a whole number\n"},
		{[]string{"--table", "obs", "--parallel", "0"}, codeUsage, "error: --parallel 0: out of range: from 1 to 1000\n"},
		{[]string{"--table", "obs", "--transport", "binary,cvs"}, codeUsage, "error: --transport binary,cvs: cvs: none of binary, csv\nhint: did you mean csv?\n"},
		{[]string{"--table", "obs", "--chunk-size", "auto,big"}, codeUsage, "error: --chunk-size auto,big: big: not a size\nhint: 512MiB, 1GB, or bytes without a unit\n"},
		{[]string{"--table", "obs", "--compression", "zstd:1,zstd:99"}, codeUsage, "error: --compression: compression \"zstd:99\": the level of zstd is a number from 1 to 22\n"},
		{[]string{"--table", "obs", "--chunk-size", "10EiB"}, codeUsage, "error: --chunk-size 10EiB: out of range: less than 8EiB\n"},
		{[]string{"--table", "obs", "--chunk-size", "1kB"}, codeUsage, "error: --chunk-size 1kB: out of range: from 8KiB up\n"},
		{[]string{"--table", "obs", "--encoding", "=plain"}, codeUsage, "error: --encoding =plain: not of the form column=encoding\n"},
		{[]string{"--table", "obs", "--type", "=text"}, codeUsage, "error: --type =text: not of the form column=type\n"},
		{[]string{"--table", "obs", "--numeric", "flota64"}, codeUsage, "error: --numeric: numeric \"flota64\": "},
		{[]string{"--table", "obs", "--frobnicate"}, codeUsage, "error: unknown flag --frobnicate\nhint: fast-export bench --help lists the flags\n"},
		{[]string{"stray"}, codeUsage, "error: unexpected argument stray\nhint: every setting is a flag: fast-export bench --help lists them\n"},
		{[]string{"--table", "obs", "--row-group-size", "1000,"}, codeUsage, "error: --row-group-size 1000,: a value is empty\n"},
		{[]string{"--table", "obs", "--memory", "17TiB"}, codeUsage, "error: --memory 17TiB: out of range: from 64MB to 16384GiB\n"},
		{[]string{"--table", "obs", "--sample", "5"}, codeUsage, "error: --sample 5: not a part in per cent\nhint: 5%, or 0.1%\n"},
		{[]string{"--table", "obs", "--sample", "101%"}, codeUsage, "error: --sample 101%: out of range: more than 0% and at most 100%\n"},
		{[]string{"--table", "obs", "--sample", "NaN%"}, codeUsage, "error: --sample NaN%: out of range: more than 0% and at most 100%\n"},
		{[]string{"--table", "obs", "--sample", "5%", "--rows", "10"}, codeUsage, "error: --sample and --rows: only one of them at a time\n"},
		{[]string{"--table", "obs", "--quiet"}, codeUsage, "error: --quiet would hide all that is measured: it goes with --json, --html or --go-bench\n"},
		{[]string{"--table", "obs", "--json", filepath.Join(dir, "x"), "--html", filepath.Join(dir, "x")}, codeUsage, "error: --html " + dir + "/x is another report too\n"},
		{[]string{"--table", "obs", "--json", filepath.Join(dir, "none", "x")}, codeTarget, "error: --json " + dir + "/none/x: no such file or directory\nhint: directories are never made: mkdir -p makes one\n"},
		{[]string{"--table", "obs", "--html", dir}, codeTarget, "error: --html " + dir + ": it is there already and no regular file\n"},
		{[]string{"--table", "obs", "--temp-dir", filepath.Join(dir, "none")}, codeTarget, "error: --temp-dir " + dir + "/none is no directory\nhint: directories are never made: mkdir -p makes one\n"},
		{[]string{"--table", "none"}, codeRelation, "error: relation none does not exist\n"},
		{[]string{"--table", "obs"}, codeFailed, "error: public.obs has no rows: there is nothing to measure\n"},
		{[]string{"--sql", "DELETE FROM obs"}, codeStatement, "error: "},
		{[]string{"--sql", "SELECT 1 AS x", "--rows", "5"}, 0, ""},
		{[]string{"--sql", "SELECT k FROM generate_series(1, 1000) k", "--rows", "5"}, codeUsage, "error: no sample can be taken of SELECT k FROM generate_series(1, 1000) k, which is read whole (one chunk: "},
	} {
		small := []string{"bench", "--dsn", dsn, "--rounds", "1"}
		if c.code == 0 { // what there is can't be more than asked for
			small = append(small, "--parallel", "1", "--transport", "csv", "--chunk-size", "auto", "--compression", "none", "--row-group-size", "9")
		}
		got := call(t, nil, append(small, c.args...)...)
		if _, progress, ok := strings.Cut(got.stderr, "bench: --seed "); ok { // the seed is another one each time
			_, got.stderr, _ = strings.Cut(progress, "\n")
		}
		if got.code != c.code || !strings.HasPrefix(got.stderr, c.want) || c.code != 0 && got.stdout != "" {
			t.Errorf("%q: got %d\n%s\nwant %d\n%s", c.args, got.code, got.stderr, c.code, c.want)
		}
	}
}

// Interrupted anywhere, a bench leaves no file, no process and no session behind.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "fast-export")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "fast-export").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE slow (x int)", "INSERT INTO slow SELECT generate_series(1, 1000)")
	for name, c := range map[string]struct {
		signal syscall.Signal
		group  bool // as a terminal does
		code   int
	}{
		"SIGINT": {syscall.SIGINT, true, codeInterrupt}, "SIGTERM": {syscall.SIGTERM, false, codeTerminate},
	} {
		t.Run(name, func(t *testing.T) {
			temp, reports := t.TempDir(), t.TempDir()
			pgtest.NoLeftovers(t, temp)
			pgtest.NoLeftovers(t, reports)
			cmd := exec.CommandContext(t.Context(), program, "bench", "--dsn", dsn, "--sql", "SELECT x, pg_sleep(0.1)::text AS s FROM slow", "--temp-dir", temp,
				"--json", filepath.Join(reports, "r.json"), "--html", filepath.Join(reports, "r.html"))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var errOut strings.Builder
			cmd.Stderr = &errOut
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			copying(t, dsn, 1)
			// The run has its directory, and is a process of its own.
			entries, err := os.ReadDir(temp)
			if err != nil || len(entries) != 1 || !strings.HasPrefix(entries[0].Name(), ".fast-export-tmp-bench-") {
				t.Errorf("%v: %v", entries, err)
			} else if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v: %v", info, err)
			}
			children := childrenOf(t, cmd.Process.Pid)
			if len(children) != 1 {
				t.Errorf("children %v", children)
			}
			for _, child := range children {
				if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err != nil || strings.Contains(string(text), "dbname") {
					t.Errorf("the process list shows %q: %v", text, err)
				}
			}
			to := cmd.Process.Pid
			if c.group {
				to = -to
			}
			start := time.Now()
			if err := syscall.Kill(to, c.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if took := time.Since(start); cmd.ProcessState.ExitCode() != c.code || took > 3*time.Second {
				t.Errorf("%v after %v, want %d within a second", cmd.ProcessState, took, c.code)
			}
			if strings.Count(errOut.String(), "error:") != 1 || !strings.Contains(errOut.String(), "error: stopped by signal ") {
				t.Errorf("got %q", errOut.String())
			}
			copying(t, dsn, 0)
			for _, child := range children {
				if err := syscall.Kill(child, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("process %d is there still: %v", child, err)
				}
			}
		})
	}

	// Killed outright, it can remove nothing, but its run ends by itself and takes the directory along.
	temp := t.TempDir()
	pgtest.NoLeftovers(t, temp)
	cmd := exec.CommandContext(t.Context(), program, "bench", "--dsn", dsn, "--sql", "SELECT x, pg_sleep(0.1)::text AS s FROM slow", "--temp-dir", temp)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	copying(t, dsn, 1)
	children := childrenOf(t, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	copying(t, dsn, 0)
	deadline := time.Now().Add(10 * time.Second)
	for _, child := range children {
		for alive(child) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if alive(child) {
			t.Errorf("process %d is there still", child)
		}
	}
}

// alive tells whether a process runs; one that has ended and that nobody has waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// childrenOf lists a process's children.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var children []int
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		var child, parent int
		var state string
		if _, err := fmt.Sscan(rest, &state, &parent); err != nil || parent != pid {
			continue
		}
		if _, err := fmt.Sscan(string(text), &child); err != nil {
			t.Fatal(err)
		}
		children = append(children, child)
	}
	return children
}

// What a run's process says of a failure is what the bench says, with its code.
func TestBenchRunFails(t *testing.T) {
	t.Parallel()
	a := &app{Env: Env{Getenv: vars(t.TempDir())}}
	_, err := a.measure(t.Context(), settings{"host": "/nowhere", "user": "u", "dbname": "d"}, bench.Spec{
		Kind: bench.KindFloor, SQL: "SELECT 1", Memory: 64 << 20, Setting: bench.Setting{Parallel: 1, Transport: "csv", Compression: "none", RowGroupRows: 1},
	})
	if lines := describe(err); exitCode(err) != codeConnect || len(lines) != 2 || !strings.HasPrefix(lines[0], "error: can't connect as user u to database d: /nowhere/.s.PGSQL.5432: ") {
		t.Errorf("got %d, %q", exitCode(err), lines)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := a.measure(ctx, settings{}, bench.Spec{}); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// Values that an export needs flags for can be measured with the same flags, and reports name them.
func TestBenchTypes(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE v (d date, n numeric, c char(5))", "INSERT INTO v SELECT 'infinity', 1.5, 'a' FROM generate_series(1, 100)", "ANALYZE v")
	args := []string{"bench", "--dsn", dsn, "--table", "v", "--rounds", "1", "--parallel", "1", "--transport", "binary", "--chunk-size", "auto", "--compression", "none", "--row-group-size", "9"}
	if got := call(t, nil, args...); got.code != codeValue || !strings.Contains(got.stderr, "--infinity") {
		t.Errorf("got %+v", got)
	}
	out := filepath.Join(t.TempDir(), "r.json")
	more := []string{"--infinity", "null", "--type", "n=text", "--trim-bpchar", "--encoding", "plain", "--encoding", "d=delta", "--json", out}
	if got := call(t, nil, append(args, more...)...); got.code != 0 || !strings.Contains(got.stdout, "public.v (table, 3 columns), --infinity null --type n=text --trim-bpchar --encoding plain --encoding d=delta on ") {
		t.Errorf("got %+v", got)
	}
	if text, err := os.ReadFile(out); err != nil || !strings.Contains(string(text), `"options": "--infinity null --type n=text --trim-bpchar --encoding plain --encoding d=delta"`) {
		t.Errorf("%v: %s", err, text)
	}
}

// A flag whose text says what happens without it has no second default.
func TestBenchHelp(t *testing.T) {
	t.Parallel()
	help := call(t, nil, "bench", "--help").stdout
	if strings.Contains(help, "(default 0)") || strings.Count(help, "1000000)") != 1 || !strings.Contains(help, "--infinity") {
		t.Errorf("got %s", help)
	}
}

func TestBenchDefaults(t *testing.T) {
	t.Parallel()
	o := &benchOptions{}
	o.addFlags(newFlags("bench"))
	if !slices.IsSorted(o.parallel) || o.parallel[0] != 1 || o.parallel[len(o.parallel)-1] > 16 {
		t.Errorf("parallel %v", o.parallel)
	}
	for name, list := range map[string]any{"transport": o.transport, "compression": o.compression} {
		f := newFlags("bench")
		(&benchOptions{}).addFlags(f)
		if got := f.Lookup(name).DefValue; got != strings.Join(list.([]string), ",") {
			t.Errorf("--%s: help says %s, the default is %v", name, got, list)
		}
	}
}
