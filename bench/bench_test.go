package bench

import (
	"context"
	"errors"
	"fmt"
	"html"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/export"
	"fast-export/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// The bottleneck is named from figures as they come about where one resource is the limit.
func TestJudge(t *testing.T) {
	working, sending := Waits{Running: 95, Sending: 3, Idle: 2}, Waits{Running: 10, Sending: 85, Idle: 5}
	reading, waiting := Waits{Running: 20, Reading: 70, Idle: 10}, Waits{Running: 8, Sending: 4, Idle: 88}
	idle := Waits{Running: 1, Idle: 125}
	for _, c := range []struct {
		name string
		load Load
		want string
		says string
	}{
		{"one connection to a server elsewhere", Load{Cores: 8, Workers: 1, Wall: 10, Floor: 9.8, ClientCPU: 6, Waits: working, FloorWaits: working, Write: 0.2}, "server", "server is what is busy"},
		{"a thin network", Load{Cores: 8, Workers: 4, Wall: 10, Floor: 9.8, ClientCPU: 6, Waits: sending, FloorWaits: sending, Write: 0.2}, "network", "until the network takes more"},
		{"a slow client: the server waits, but not where all is thrown away", Load{Cores: 2, Workers: 4, Wall: 10, Floor: 3, ClientCPU: 19, Waits: sending, FloorWaits: working, Write: 0.2}, "client", ""},
		{"the server's disk", Load{Cores: 8, Workers: 4, Wall: 10, Floor: 9.8, ClientCPU: 6, Waits: reading, FloorWaits: reading, Write: 0.2}, "disk", "70 % waiting for their disk"},
		{"the disk here", Load{Cores: 8, Workers: 4, Wall: 10, Floor: 3, ClientCPU: 6, Waits: sending, FloorWaits: working, Write: 9}, "disk", "90 % of the time"},
		{"one machine, the server needs more", Load{Cores: 2, Workers: 4, Wall: 10, Floor: 7, ClientCPU: 7, ServerCPU: 12, Local: true, Waits: working, FloorWaits: working, Write: 0.2}, "server", "cores are what is busy"},
		{"one machine, we need more", Load{Cores: 2, Workers: 4, Wall: 10, Floor: 4, ClientCPU: 13, ServerCPU: 6, Local: true, Waits: sending, FloorWaits: working, Write: 0.2}, "client", "cores are what is busy"},
		{"one connection on one machine of many cores", Load{Cores: 16, Workers: 1, Wall: 10, Floor: 9.8, ClientCPU: 6, ServerCPU: 9.7, Local: true, Waits: working, FloorWaits: working, Write: 0.2}, "server", "97 % of what 1 backend"},
		{"one machine, its disk", Load{Cores: 8, Workers: 4, Wall: 10, Floor: 9.8, ClientCPU: 6, ServerCPU: 7, Local: true, Waits: reading, FloorWaits: reading, Write: 0.2}, "disk", ""},
		{"nothing known of the server, rows come no faster", Load{Cores: 8, Workers: 4, Wall: 10, Floor: 9.5, ClientCPU: 20, Write: 0.2}, "server or network", "not visible"},
		{"nothing known of the server, we are slow", Load{Cores: 2, Workers: 4, Wall: 10, Floor: 4, ClientCPU: 19, Write: 0.2}, "client", "client is what is busy"},
		{"too few looks", Load{Cores: 8, Workers: 4, Wall: 10, Floor: 9.5, ClientCPU: 20, Waits: Waits{Running: 3}, Write: 0.2}, "server or network", "not visible"},
		{"a thin network behind buffers that hold a chunk", Load{Cores: 2, Workers: 2, Wall: 3.29, Floor: 3.25, ClientCPU: 0.36, FloorClientCPU: 0.05, Waits: idle, FloorWaits: idle, Write: 0.05}, "network", "or for the next chunk"},
		{"the same behind a proxy, with the server's processes visible", Load{Cores: 2, Workers: 2, Wall: 3.29, Floor: 3.25, ClientCPU: 0.36, FloorClientCPU: 0.05, ServerCPU: 0.2, Local: true, Waits: idle, FloorWaits: idle, Write: 0.05}, "network", "no faster"},
		{"a client that is busy, but no longer than the floor takes", Load{Cores: 2, Workers: 2, Wall: 10, Floor: 9.9, ClientCPU: 19, ServerCPU: 12, Local: true, Socket: true, Waits: working, FloorWaits: working, Write: 9.8}, "server", "no faster"},
		{"little of everything, by a socket", Load{Cores: 2, Workers: 1, Wall: 0.05, Floor: 0.049, ClientCPU: 0.011, ServerCPU: 0.002, Local: true, Socket: true}, "server", "connecting, planning"},
		{"little of everything, by a network that may lead anywhere", Load{Cores: 2, Workers: 1, Wall: 0.05, Floor: 0.051, ClientCPU: 0.011, ServerCPU: 0.002, Local: true}, "server or network", "connecting, planning"},
		{"little of everything, with the floor in the way", Load{Cores: 4, Workers: 1, Wall: 10, Floor: 7, ClientCPU: 8, ServerCPU: 3.8, Local: true, Socket: true, Waits: waiting, FloorWaits: waiting}, "server", "no part of it is known to be busy"},
		{"no floor", Load{Cores: 2, Workers: 4, Wall: 10, ClientCPU: 19, Write: 0.2}, "client", "was not measured"},
		{"everybody waits", Load{Cores: 8, Workers: 4, Wall: 10, Floor: 4, ClientCPU: 8, Waits: waiting, FloorWaits: waiting, Write: 0.2}, "client", "not even half"},
	} {
		got := Judge(c.load)
		if got.Name != c.want || !strings.Contains(strings.Join(got.Why, "\n"), c.says) || len(got.Why) < 4 {
			t.Errorf("%s: got %s, want %s:\n%s", c.name, got.Name, c.want, strings.Join(got.Why, "\n"))
		}
		if got.Floor != c.load.Floor/c.load.Wall || got.Client != c.load.ClientCPU/c.load.Wall/float64(c.load.Cores) {
			t.Errorf("%s: shares %+v", c.name, got)
		}
	}
}

var sweep = Sweep{
	Parallel: []int{1, 2, 4}, Transport: []string{"binary", "csv"}, ChunkBytes: []int64{0, 8 << 20}, Compression: []string{"zstd:1", "snappy"}, RowGroupRows: []int64{1_000_000, 100_000},
}

var defaults = Setting{Parallel: 2, Transport: "binary", Compression: "zstd:1", RowGroupRows: 1_000_000}

func TestAround(t *testing.T) {
	if got := sweep.base(defaults); got != defaults {
		t.Errorf("the base is %v", got)
	}
	other := Sweep{Parallel: []int{8, 16}, Transport: []string{"csv"}, ChunkBytes: []int64{1 << 20}, Compression: []string{"none", "zstd:1"}, RowGroupRows: []int64{5}}
	if got, want := other.base(defaults), (Setting{8, "csv", 1 << 20, "zstd:1", 5}); got != want {
		t.Errorf("the base is %v, want %v", got, want)
	}
	all := sweep.around(defaults)
	if len(all) != 1+2+1+1+1+1 || all[0] != defaults {
		t.Fatalf("got %v", all)
	}
	for _, s := range all[1:] {
		differs := 0
		for _, f := range factors {
			if f.text(s) != f.text(defaults) {
				differs++
			}
		}
		if differs != 1 {
			t.Errorf("%v differs from the base in %d settings", s, differs)
		}
	}
}

func TestSettingForms(t *testing.T) {
	s := Setting{4, "csv", 12 << 20, "zstd:3", 500}
	if got, want := s.Flags(), "--parallel 4 --transport csv --chunk-size 12MiB --compression zstd:3 --row-group-size 500"; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := s.YAML(), "defaults:\n  parallel: 4\n  chunk: {size: 12MiB}\n  compression: zstd:3\n  row_group_size: 500\n# and on the command line: --transport csv\n"; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := defaults.Flags(), "--parallel 2 --transport binary --compression zstd:1 --row-group-size 1000000"; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := defaults.YAML(), "defaults:\n  parallel: 2\n  compression: zstd:1\n  row_group_size: 1000000\n"; got != want {
		t.Errorf("got %s", got)
	}
	for n, want := range map[int64]string{0: "auto", 1000: "1000", 8192: "8KiB", 3 << 30: "3GiB"} {
		if got := chunkText(n); got != want {
			t.Errorf("%d: got %s", n, got)
		}
	}
}

// model makes up what a run of a setting measures, with a drift that shuffling and ratios by rounds must cancel.
type model struct {
	wall func(Setting) float64
	size func(Setting) int64
	runs int
	seen []Setting
	fail func(run int, spec Spec) bool // nil: none fails
}

var errModel = errors.New("no room")

func (m *model) measure(_ context.Context, spec Spec) (Outcome, error) {
	m.runs++
	m.seen = append(m.seen, spec.Setting)
	if m.fail != nil && m.fail(m.runs, spec) {
		return Outcome{}, errors.Join(errModel, os.WriteFile(filepath.Join(spec.Dir, "half"), nil, 0o600))
	}
	drift := 1 + 0.002*float64(m.runs)
	o := Outcome{Rows: 1000, Copied: 1e6, Output: m.size(spec.Setting), Workers: spec.Setting.Parallel, Wall: m.wall(spec.Setting) * drift, ClientCPU: 0.5, Peak: 1 << 20}
	if spec.Kind == KindFloor {
		o.Wall *= 0.7
	}
	return o, os.WriteFile(filepath.Join(spec.Dir, "out.parquet"), nil, 0o600)
}

// swept runs the sweep on a model, without a server.
func swept(t *testing.T, m *model) *Report {
	t.Helper()
	r, err := trySweep(t, m)
	if err != nil || r.stopped != nil {
		t.Fatal(err, r.stopped)
	}
	return r.report
}

func trySweep(t *testing.T, m *model) (*run, error) {
	t.Helper()
	dir := t.TempDir()
	r := &run{
		copied: map[Setting]int64{},
		cfg:    Config{Sweep: sweep, Rounds: 5, Seed: 7, Measure: m.measure, Say: func(string) {}},
		report: &Report{Base: defaults, Machine: Machine{Cores: 4}, Rounds: 5, Seed: 7, Sample: Sample{Part: 0.1, Pages: 5, Bytes: 40960}, Warnings: []string{}}, dir: dir, spec: Spec{Dir: dir},
	}
	err := r.sweep(t.Context())
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v: %v", left, err)
	}
	return r, err
}

// A run that fails takes nothing along but itself; where none succeeds any more, what there is is reported.
func TestFailedRuns(t *testing.T) {
	warned := func(r *Report, text string) int { return strings.Count(strings.Join(r.Warnings, "\n"), text) }
	plain := func(Setting) int64 { return 1000 }
	faster := func(s Setting) float64 { return 4 / float64(s.Parallel) }
	const failed = "a run failed and is left out (round "

	r, err := trySweep(t, &model{wall: faster, size: plain, fail: func(_ int, s Spec) bool { return s.Setting.Parallel == 4 }})
	if err != nil || r.stopped != nil || r.report.Recommendation.Setting.Parallel != 2 || warned(r.report, failed) < 5 || r.find(KindExport, Setting{4, "binary", 0, "zstd:1", 1_000_000}) != nil {
		t.Errorf("one setting: %v, %v, %+v, %q", err, r.stopped, r.report.Recommendation, r.report.Warnings)
	}
	r, err = trySweep(t, &model{wall: faster, size: plain, fail: func(run int, _ Spec) bool { return run == 7 }})
	if err != nil || r.stopped != nil || r.report.Recommendation.Setting.Parallel != 4 || warned(r.report, failed) != 1 || warned(r.report, "no room") != 1 {
		t.Errorf("one run: %v, %v, %+v, %q", err, r.stopped, r.report.Recommendation, r.report.Warnings)
	}
	m := &model{wall: faster, size: plain, fail: func(run int, _ Spec) bool { return run > 40 }}
	r, err = trySweep(t, m)
	if err != nil || !errors.Is(r.stopped, errModel) || r.report.Recommendation.Setting.Parallel != 4 || warned(r.report, "the bench ends before its time") != 1 || m.runs != 40+failures+1 {
		t.Errorf("a server that is gone: %v, %v, %d runs, %+v, %q", err, r.stopped, m.runs, r.report.Recommendation, r.report.Warnings)
	}
	if r.report.Text() == "" || r.report.GoBench() == "" {
		t.Error("no report")
	}
	if _, err := r.report.HTML(); err != nil {
		t.Error(err)
	}
	for _, from := range []int{1, 2} {
		if r, err = trySweep(t, &model{wall: faster, size: plain, fail: func(run int, _ Spec) bool { return run >= from }}); !errors.Is(err, errModel) {
			t.Errorf("nothing from run %d on: %v, %v", from, err, r.stopped)
		}
	}
	// What is confirmed fails: the best of the sweep is recommended.
	r, err = trySweep(t, &model{wall: func(s Setting) float64 {
		if s.Transport == "csv" {
			return faster(s) * 0.5
		}
		return faster(s)
	}, size: plain, fail: func(_ int, s Spec) bool {
		return s.Setting.Parallel == 4 && s.Setting.Transport == "csv" && s.Kind == KindExport
	}})
	if err != nil || r.stopped != nil || r.report.Recommendation.Setting != (Setting{4, "binary", 0, "zstd:1", 1_000_000}) && r.report.Recommendation.Setting.Transport != "csv" {
		t.Errorf("a combination: %v, %+v", err, r.report.Recommendation)
	}
	// Short runs are warned of wherever the server is.
	if r := swept(t, &model{wall: func(Setting) float64 { return 0.2 }, size: plain}); warned(r, "runs take less than half a second") != 1 || r.Server.Local {
		t.Errorf("short runs: %q", r.Warnings)
	}
}

func TestRecommendation(t *testing.T) {
	plain := func(Setting) int64 { return 1000 }
	pick := func(s Setting, yes bool, v float64) float64 {
		if yes {
			return v
		}
		return 1
	}
	for _, c := range []struct {
		name      string
		wall      func(Setting) float64
		size      func(Setting) int64
		want      Setting
		confirmed bool // in rounds of its own
	}{
		{"nothing matters: the base, with fewer connections", func(Setting) float64 { return 1 }, plain, Setting{1, "binary", 0, "zstd:1", 1_000_000}, false},
		{"more connections", func(s Setting) float64 { return 4 / float64(s.Parallel) }, plain, Setting{4, "binary", 0, "zstd:1", 1_000_000}, false},
		{"a little less is no reason", func(s Setting) float64 {
			return 4 / float64(min(s.Parallel, 2)) * pick(s, s.Parallel == 4, 0.98) * pick(s, s.Transport == "csv", 0.98)
		}, plain, defaults, false},
		{"several together", func(s Setting) float64 {
			return 4 / float64(s.Parallel) * pick(s, s.Transport == "csv", 0.8) * pick(s, s.ChunkBytes > 0, 0.9)
		}, plain, Setting{4, "csv", 8 << 20, "zstd:1", 1_000_000}, true},
		{"quicker but much larger", func(s Setting) float64 {
			return 4 / float64(min(s.Parallel, 2)) * pick(s, s.Compression == "snappy", 0.9)
		}, func(s Setting) int64 {
			return int64(1000 * pick(s, s.Compression == "snappy", 1.4))
		}, defaults, false},
		{"one chunk size alone", func(s Setting) float64 { return 4 / float64(min(s.Parallel, 2)) * pick(s, s.ChunkBytes > 0, 0.3) }, plain, Setting{2, "binary", 8 << 20, "zstd:1", 1_000_000}, false},
		{"the combination is worse than one alone", func(s Setting) float64 {
			if s.Parallel == 4 && s.Transport == "csv" {
				return 9
			}
			return 4 / float64(s.Parallel) * pick(s, s.Transport == "csv", 0.9)
		}, plain, Setting{4, "binary", 0, "zstd:1", 1_000_000}, true},
	} {
		m := &model{wall: c.wall, size: c.size}
		r := swept(t, m)
		if r.Recommendation.Setting != c.want || !r.Recommendation.Confirmed || r.Recommendation.Flags != c.want.Flags() {
			t.Errorf("%s: got %v, want %v", c.name, r.Recommendation.Setting, c.want)
		}
		// The floor is that of the same settings.
		if r.Bottleneck.Floor < 0.66 || r.Bottleneck.Floor > 0.74 {
			t.Errorf("%s: the floor is %.2f of the export's time, want 0.70", c.name, r.Bottleneck.Floor)
		}
		confirmed := slices.ContainsFunc(r.Series, func(s Series) bool { return s.Confirms })
		if confirmed != c.confirmed {
			t.Errorf("%s: rounds of its own: %v", c.name, confirmed)
		}
		for _, s := range r.Series {
			if len(s.Runs) != 5 {
				t.Errorf("%s: %s %v ran %d times", c.name, s.Kind, s.Setting, len(s.Runs))
			}
		}
	}
}

// Runs that are far apart are warned of, and those of a steady machine are not.
func TestNoise(t *testing.T) {
	calls := 0
	for name, wall := range map[string]func(Setting) float64{
		"steady": func(Setting) float64 { return 1 },
		"noisy":  func(Setting) float64 { calls++; return 1 + float64(calls)/20 },
	} {
		r := swept(t, &model{wall: wall, size: func(Setting) int64 { return 1 }})
		if got := strings.Contains(strings.Join(r.Warnings, "\n"), "busy with other things"); got != (name == "noisy") {
			t.Errorf("%s: warnings %q", name, r.Warnings)
		}
	}
}

// Each round has every run once, in an order that the seed alone decides and that differs from round to round.
func TestOrders(t *testing.T) {
	orders := func() [][]int {
		r := swept(t, &model{wall: func(Setting) float64 { return 1 }, size: func(Setting) int64 { return 1 }})
		out := make([][]int, 5)
		for _, s := range r.Series {
			for _, run := range s.Runs {
				out[run.Round-1] = append(out[run.Round-1], run.Order)
			}
		}
		return out
	}
	first, again := orders(), orders()
	for i, o := range first {
		if !slices.Equal(o, again[i]) {
			t.Errorf("round %d: %v, and with the same seed %v", i+1, o, again[i])
		}
		if i > 0 && slices.Equal(o, first[0]) {
			t.Errorf("rounds 1 and %d have the same order", i+1)
		}
		for k, place := range slices.Sorted(slices.Values(o)) {
			if place != k+1 {
				t.Fatalf("round %d has the places %v", i+1, o)
			}
		}
	}
}

func TestSpread(t *testing.T) {
	if got := spread([]float64{3, 1, 2}); got != (Spread{2, 1, 3}) {
		t.Errorf("got %v", got)
	}
	if got := spread([]float64{4, 1, 2, 3}); got != (Spread{2.5, 1, 4}) {
		t.Errorf("got %v", got)
	}
	if got := spread(nil); got != (Spread{}) {
		t.Errorf("got %v", got)
	}
}

// table makes a table t of so many rows in a database of the test's own.
func database(t *testing.T, rows int) *pgx.ConnConfig {
	t.Helper()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (id bigint NOT NULL, x float8, s text)",
		fmt.Sprintf("INSERT INTO t SELECT k, sqrt(k), md5(k::text) || repeat('x', 100) FROM generate_series(1, %d) k", rows), "ANALYZE t",
		"CREATE VIEW v AS SELECT id, sum(x) AS x FROM t GROUP BY id")
	conn, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn.RuntimeParams["application_name"] = "fast-export"
	return conn
}

func benchConfig(t *testing.T, conn *pgx.ConnConfig, job export.Job) Config {
	t.Helper()
	dir := t.TempDir()
	pgtest.NoLeftovers(t, dir)
	return Config{
		Export: export.Config{Conn: conn, Jobs: []export.Job{job}, Memory: 64 << 20, LockTimeout: time.Minute, Version: "test"},
		Sweep:  Sweep{[]int{1, 2}, []string{"binary", "csv"}, []int64{0, 256 << 10}, []string{"zstd:1", "snappy"}, []int64{1_000_000, 1000}},
		Base:   defaults, Rounds: 2, Seed: rand.Int64N(1000), TempDir: dir, Say: func(string) {},
		Measure: func(ctx context.Context, s Spec) (Outcome, error) { return Measure(ctx, conn, s) },
	}
}

// A whole bench against a server: every run reads the same sample, and the figures are such.
func TestRun(t *testing.T) {
	conn := database(t, 30_000)
	cfg := benchConfig(t, conn, export.Job{Table: "t"})
	cfg.Part, cfg.Asked = 0.25, true
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sample.Part != 0.25 || r.Sample.Rows < 7000 || r.Sample.Rows > 8000 || r.Sample.Pages != (r.Source.Pages+3)/4 || r.Sample.Bytes < r.Sample.Pages*8192 {
		t.Errorf("sample %+v of %+v", r.Sample, r.Source)
	}
	kinds := map[string]int{}
	for _, s := range r.Series {
		kinds[s.Kind]++
		if s.Wall.Low <= 0 || s.Wall.Low > s.Wall.Median || s.Wall.Median > s.Wall.High || len(s.Runs) != 2 {
			t.Errorf("%s %v: %+v", s.Kind, s.Setting, s)
		}
		if s.Kind == KindExport && (s.Rows != r.Sample.Rows || s.Output <= 0 || s.Copied <= 0 || s.ClientCPU.Median <= 0 || s.Peak.Median < 1<<20 || s.RowRate.Median <= 0 || s.HeapRate.Median <= 0) {
			t.Errorf("%v: %+v", s.Setting, s)
		}
		if s.Kind == KindFloor {
			if export := find(r, KindExport, s.Setting); export != nil && export.Copied != s.Copied {
				t.Errorf("%v: the export copied %d bytes, the floor %d", s.Setting, export.Copied, s.Copied)
			}
		}
		if (s.Kind == KindEncode || s.Kind == KindDecode) && s.Rows != r.Sample.Rows {
			t.Errorf("%s dealt with %d rows", s.Kind, s.Rows)
		}
	}
	if kinds[KindExport] < 6 || kinds[KindFloor] < 4 || kinds[KindDecode] != 2 || kinds[KindEncode] != 2 || kinds[KindWrite] != 1 {
		t.Errorf("got %v", kinds)
	}
	if !r.Server.Local {
		t.Error("the server's processes are on this machine, and were not seen")
	}
	if r.Bottleneck.Name == "" || r.Recommendation.Flags == "" || len(r.Factors) != 5 {
		t.Errorf("got %+v, %+v", r.Bottleneck, r.Recommendation)
	}
	text := r.Text()
	for _, want := range []string{"public.t (table, 3 columns)", "export (base)", "floor ", "Bottleneck: " + r.Bottleneck.Name, r.Recommendation.Flags, fmt.Sprintf("--seed %d", cfg.Seed)} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

func find(r *Report, kind string, s Setting) *Series {
	for i := range r.Series {
		if r.Series[i].Kind == kind && r.Series[i].Setting == s {
			return &r.Series[i]
		}
	}
	return nil
}

// What has no blocks is read whole, which is said; asked for a sample of it, the bench refuses.
func TestWhole(t *testing.T) {
	conn := database(t, 300)
	for _, job := range []export.Job{{Table: "v"}, {SQL: "SELECT id, count(*) AS n FROM t GROUP BY id"}} {
		cfg := benchConfig(t, conn, job)
		cfg.Sweep = Sweep{[]int{1}, []string{"binary"}, []int64{0}, []string{"snappy"}, []int64{1000}}
		cfg.Rows, cfg.Rounds = 100, 1
		r, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if r.Sample.Rows != 300 || r.Sample.Part != 1 || len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "no sample can be taken of it, every run reads it whole (one chunk: ") {
			t.Errorf("%+v: sample %+v, warnings %q", job, r.Sample, r.Warnings)
		}
		cfg.Asked = true
		if _, err := Run(t.Context(), cfg); !errors.As(err, new(*SampleError)) {
			t.Errorf("%+v: got %v", job, err)
		}
	}
}

func TestEmpty(t *testing.T) {
	// The rows are behind the sample.
	behind := benchConfig(t, database(t, 10_000), export.Job{Table: "t", Where: "id > 9000"})
	behind.Part, behind.Asked = 0.01, true
	if _, err := Run(t.Context(), behind); !strings.HasPrefix(fmt.Sprint(err), "the sample of public.t (the first 3 of ") || !strings.HasSuffix(fmt.Sprint(err), " pages) has no rows that meet id > 9000: there is nothing to measure") {
		t.Errorf("got %v", err)
	}
	conn := database(t, 0)
	for _, job := range []export.Job{{Table: "t"}, {Table: "v"}, {SQL: "SELECT 1 AS x WHERE false"}} {
		if _, err := Run(t.Context(), benchConfig(t, conn, job)); !errors.As(err, new(*EmptyError)) {
			t.Errorf("%+v: got %v", job, err)
		}
	}
}

// Where every run fails or one is cancelled the bench ends, with nothing left (benchConfig looks).
func TestFailure(t *testing.T) {
	conn := database(t, 3000)
	cfg := benchConfig(t, conn, export.Job{Table: "t"})
	broken, runs := errors.New("broken"), 0
	cfg.Measure = func(ctx context.Context, s Spec) (Outcome, error) {
		if runs++; runs >= 5 {
			if err := os.WriteFile(filepath.Join(s.Dir, "half"), nil, 0o600); err != nil {
				t.Error(err)
			}
			return Outcome{}, broken
		}
		return Measure(ctx, conn, s)
	}
	if _, err := Run(t.Context(), cfg); !errors.Is(err, broken) || runs > 4+failures+1 {
		t.Errorf("got %v after %d runs", err, runs)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cfg.Measure = func(ctx context.Context, s Spec) (Outcome, error) {
		cancel(broken)
		return Measure(ctx, conn, s)
	}
	if _, err := Run(ctx, cfg); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestOutcomeOfKinds(t *testing.T) {
	conn := database(t, 3000)
	spec := Spec{Setting: defaults, Table: "t", Memory: 64 << 20, Dir: t.TempDir(), Bytes: 3 << 20}
	spec.Kind = KindWrite
	if o, err := Measure(t.Context(), conn, spec); err != nil || o.Output != 3<<20 || o.Wall <= 0 {
		t.Errorf("got %+v, %v", o, err)
	}
	if info, err := os.Stat(filepath.Join(spec.Dir, "bytes")); err != nil || info.Size() != 3<<20 {
		t.Errorf("wrote %v: %v", info, err)
	}
	for _, bad := range []Spec{{Kind: "else", Setting: defaults}, {Kind: KindExport, Setting: Setting{Transport: "text", Compression: "none"}}, {Kind: KindExport, Setting: Setting{Transport: "csv", Compression: "zip"}}} {
		if _, err := Measure(t.Context(), conn, bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

// The server's CPU time and its waits are those of the run's processes. A pooler's or a stranger's number is no process of the server.
func TestWatch(t *testing.T) {
	conn := database(t, 10)
	spec := Spec{
		Kind: KindFloor, Setting: defaults, Memory: 64 << 20, Dir: t.TempDir(),
		SQL: "SELECT k, sum(sqrt(k + j)) AS s FROM generate_series(1, 300) k, generate_series(1, 10000) j GROUP BY k",
	}
	o, err := Measure(t.Context(), conn, spec)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Local || o.ServerCPU < 0.3*o.Wall*0.5 || o.ServerCPU > 2*o.Wall || o.Waits.Running == 0 {
		t.Errorf("got %+v", o)
	}
	if isBackend(uint32(os.Getpid()), conn.User) || isBackend(1<<30, conn.User) {
		t.Error("what is no server's process is taken for one")
	}
}

// Many connections of which each does little are counted as the postmaster counts them, without what other sessions used.
func TestServerCPU(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // nobody else shows other processes' times
	}
	conn := database(t, 20_000)
	other, err := pgx.ConnectConfig(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	var master uint32
	if master = parent(other.PgConn().PID()); master == 0 {
		t.Fatal("the server's process has no parent")
	}
	if _, err := other.Exec(t.Context(), "SELECT sum(sqrt(k)) FROM generate_series(1, 5000000) k"); err != nil { // a second, which counts for nothing
		t.Fatal(err)
	}
	setting := defaults
	setting.Parallel, setting.ChunkBytes = 40, 8<<10
	spec := Spec{Kind: KindFloor, Setting: setting, Table: "t", Memory: 64 << 20, Dir: t.TempDir()}
	want, _ := endedCPU(master)
	o, err := Measure(t.Context(), conn, spec)
	if err != nil {
		t.Fatal(err)
	}
	now, _ := endedCPU(master)
	want = now - want
	if !o.Local || !o.Socket || o.Workers != 40 || o.ServerCPU < 0.8*want || o.ServerCPU > want+0.02 {
		t.Errorf("got %+v, the postmaster counts %.2f s", o, want)
	}

	// A session that ends meanwhile is not counted with its whole life.
	setting.Parallel, setting.ChunkBytes = 1, 0
	spec.SQL, spec.Table, spec.Setting = "SELECT k, pg_sleep(0.3)::text AS s FROM generate_series(1, 2) k", "", setting
	go func() {
		time.Sleep(300 * time.Millisecond)
		_ = other.Close(context.Background()) // the other side sees it, or not
	}()
	if o, err = Measure(t.Context(), conn, spec); err != nil || o.ServerCPU > 0.2 {
		t.Errorf("got %+v, %v", o, err)
	}
	if !other.IsClosed() {
		t.Error("the other session is open still")
	}
}

// What is added to a relation while it is measured is not read: the blocks are those of the first look. What is taken away ends the bench,
// since runs that read other rows can't be compared.
func TestChanged(t *testing.T) {
	for _, c := range []struct {
		name, change string
		part         float64
		want         string // of the error, "" for none
	}{
		{"rows are added to all of it", "INSERT INTO t SELECT id + 100000, x, s FROM t", 1, ""},
		{"rows are added to a sample", "INSERT INTO t SELECT id + 100000, x, s FROM t", 0.5, ""},
		{"rows are taken away", "TRUNCATE t", 0.5, "public.t changed while it was measured: a run read 0 "},
		{"some rows are taken away", "DELETE FROM t WHERE id % 10 = 0", 1, "public.t changed while it was measured: a run read "},
	} {
		conn := database(t, 10_000)
		cfg := benchConfig(t, conn, export.Job{Table: "t"})
		cfg.Part, cfg.Seed = c.part, 3
		runs := 0
		cfg.Measure = func(ctx context.Context, s Spec) (Outcome, error) {
			if runs++; runs == 8 {
				own, err := pgx.ConnectConfig(ctx, conn)
				if err != nil {
					return Outcome{}, err
				}
				defer own.Close(ctx)
				if _, err := own.Exec(ctx, c.change); err != nil {
					return Outcome{}, err
				}
			}
			return Measure(ctx, conn, s)
		}
		r, err := Run(t.Context(), cfg)
		switch {
		case c.want != "":
			if _, ok := errors.AsType[*ChangedError](err); !ok || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: got %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.part < 1 && strings.Contains(strings.Join(r.Warnings, "\n"), "it changes while"): // at 1 the last block may have had room
			t.Errorf("%s: warnings %q", c.name, r.Warnings)
		}
	}
}

// A change that floors alone see ends the bench too, also where each is measured once.
func TestChangedForAFloor(t *testing.T) {
	conn := database(t, 10_000)
	cfg := benchConfig(t, conn, export.Job{Table: "t"})
	cfg.Sweep, cfg.Rounds = Sweep{[]int{1}, []string{"binary"}, []int64{0}, []string{"zstd:1"}, []int64{1_000_000}}, 1
	cfg.Measure = func(ctx context.Context, s Spec) (Outcome, error) {
		if s.Kind == KindFloor {
			own, err := pgx.ConnectConfig(ctx, conn)
			if err != nil {
				return Outcome{}, err
			}
			defer own.Close(ctx)
			if _, err := own.Exec(ctx, "DELETE FROM t WHERE id > 1000"); err != nil {
				return Outcome{}, err
			}
		}
		return Measure(ctx, conn, s)
	}
	_, err := Run(t.Context(), cfg)
	if c, ok := errors.AsType[*ChangedError](err); !ok || c.Came > c.Was/5 {
		t.Errorf("got %v", err)
	}
}

// Reports say what was measured.
func TestSourceIsNamed(t *testing.T) {
	conn := database(t, 3000)
	for _, c := range []struct {
		job     export.Job
		heading string
		config  []string
	}{
		{export.Job{Table: "t", Columns: []string{"id", `"s"`}, Where: "id >\n 5"}, `public.t (table, 2 columns), columns id, "s", where id > 5 on`, []string{"source: public.t\n", "columns: id, \"s\"\n", "where: id > 5\n"}},
		{export.Job{SQL: "SELECT id, s FROM t\nWHERE {chunk}"}, "SELECT id, s FROM t WHERE {chunk} (statement, 2 columns) on", []string{"source: SELECT id, s FROM t WHERE {chunk}\n"}},
		{export.Job{SQL: "SELECT id, x FROM t WHERE {chunk}"}, "SELECT id, x FROM t WHERE {chunk} (statement, 2 columns) on", []string{"source: SELECT id, x FROM t WHERE {chunk}\n"}},
	} {
		cfg := benchConfig(t, conn, c.job)
		cfg.Sweep, cfg.Rounds = Sweep{[]int{1}, []string{"binary"}, []int64{0}, []string{"snappy"}, []int64{1000}}, 1
		r, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		page, err := r.HTML()
		if err != nil {
			t.Fatal(err)
		}
		heading, _, _ := strings.Cut(c.heading, " on")
		_, of, _ := strings.Cut(heading, ")")
		if !strings.HasPrefix(r.Text(), c.heading) || !strings.Contains(html.UnescapeString(string(page)), "<h1>fast-export bench: "+r.Source.Name+of+"</h1>") {
			t.Errorf("%+v:\n%s", c.job, r.Text())
		}
		for _, line := range c.config {
			if !strings.Contains(r.GoBench(), line) {
				t.Errorf("%+v: lacks %q:\n%s", c.job, line, r.GoBench())
			}
		}
	}
}

// What a killed bench or export has left is told.
func TestLeftovers(t *testing.T) {
	cfg := benchConfig(t, database(t, 10), export.Job{Table: "t"})
	cfg.TempDir = t.TempDir()
	cfg.Measure = func(context.Context, Spec) (Outcome, error) { return Outcome{}, errors.New("enough") }
	var said []string
	cfg.Say = func(line string) { said = append(said, line) }
	left := filepath.Join(cfg.TempDir, export.BenchDir+"123")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), cfg); err == nil || !slices.Contains(said, "warning: left by a run that was killed, if no other is under way: "+left) {
		t.Errorf("%v: %q", err, said)
	}
}

// Who may not look at pg_stat_activity can measure all the same.
func TestWithoutActivity(t *testing.T) {
	conn := database(t, 1000)
	dsn := conn.ConnString()
	pgtest.Exec(t, dsn, "REVOKE SELECT ON pg_catalog.pg_stat_activity FROM public", "CREATE ROLE unseeing LOGIN", "GRANT SELECT ON t TO unseeing")
	t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP OWNED BY unseeing", "DROP ROLE unseeing") })
	conn = conn.Copy()
	conn.User = "unseeing"
	cfg := benchConfig(t, conn, export.Job{Table: "t"})
	cfg.Sweep, cfg.Rounds = Sweep{[]int{1}, []string{"binary"}, []int64{0}, []string{"snappy"}, []int64{1000}}, 1
	r, err := Run(t.Context(), cfg)
	if err != nil || r.Sample.Rows != 1000 || r.Series[0].Waits.seen() != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// What would be the same run as another one is not measured: connections without chunks, and chunk sizes that cut in the same way.
func TestNarrowed(t *testing.T) {
	conn := database(t, 3000)
	for _, c := range []struct {
		job      export.Job
		parallel []int
		chunks   []int64
		want     Setting
		warned   []string
		only     []int // connections that are asked for
	}{
		{export.Job{Table: "v"}, []int{1}, []int64{0}, Setting{1, "binary", 0, "zstd:1", 1_000_000}, []string{"--parallel 2,64 left out: the sample has 1 chunk", "--chunk-size 8KiB,1GiB left out: the sample is cut as by another size"}, nil},
		// Nine chunks: two connections have enough to do, and of more it is those that are as many or more.
		{export.Job{Table: "t"}, []int{1, 2, 64}, []int64{8 << 10, 64 << 10, 1 << 30}, Setting{2, "binary", 64 << 10, "zstd:1", 1_000_000}, []string{"--parallel 128 left out: the sample has 9 chunks", "--chunk-size 2GiB left out: the sample is cut as by another size", "--row-group-size 500000,2000000 left out: the sample has about 3,000 rows"}, nil},
		{export.Job{Table: "v"}, []int{1}, []int64{0}, Setting{1, "binary", 0, "zstd:1", 1_000_000}, []string{"--parallel 1 in place of 64: the sample has 1 chunk"}, []int{64, 128}},
	} {
		cfg := benchConfig(t, conn, c.job)
		cfg.Sweep.Parallel, cfg.Sweep.ChunkBytes, cfg.Rounds = []int{1, 2, 64}, []int64{0, 8 << 10, 1 << 30}, 1
		if c.job.Table == "t" {
			cfg.Sweep.Parallel, cfg.Sweep.ChunkBytes = []int{1, 2, 64, 128}, []int64{64 << 10, 8 << 10, 1 << 30, 2 << 30}
		}
		if c.only != nil {
			cfg.Sweep.Parallel = c.only
		}
		cfg.Sweep.RowGroupRows = []int64{1_000_000, 500_000, 2_000_000, 1000}
		cfg.Measure = func(_ context.Context, s Spec) (Outcome, error) {
			return Outcome{Rows: 3000, Output: 1, Workers: 1, Wall: 1 / float64(s.Setting.Parallel), ClientCPU: 0.1}, nil
		}
		r, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var parallel []int
		var chunks []int64
		for _, s := range r.Series {
			if s.Kind == KindExport && !s.Confirms {
				parallel, chunks = append(parallel, s.Setting.Parallel), append(chunks, s.Setting.ChunkBytes)
			}
		}
		slices.Sort(parallel)
		slices.Sort(chunks)
		parallel, chunks = slices.Compact(parallel), slices.Compact(chunks)
		if !slices.Equal(parallel, c.parallel) || !slices.Equal(chunks, c.chunks) || r.Base != c.want || c.job.Table == "v" && r.Recommendation.Setting != c.want {
			t.Errorf("%+v: parallel %v, chunks %v, base %v", c.job, parallel, chunks, r.Base)
		}
		for _, w := range c.warned {
			if !slices.Contains(r.Warnings, w) {
				t.Errorf("%+v: lacks %q: %q", c.job, w, r.Warnings)
			}
		}
	}
}

func TestSampleText(t *testing.T) {
	r := &Report{Sample: Sample{Part: 1e-6, Pages: 1, Bytes: 8192, Rows: 1}, Source: Source{Pages: 2273}}
	if got := r.sampleText(); got != "0.044 % of the blocks, 1 of 2,273 pages, 8.2 kB, 1 row" {
		t.Errorf("got %s", got)
	}
	if got := (&Report{Sample: Sample{Rows: 1}}).sampleText(); got != "all of it, 1 row" {
		t.Errorf("got %s", got)
	}
	page, err := (&Report{Rounds: 1, Machine: Machine{Cores: 1}}).HTML()
	if err != nil || !strings.Contains(string(page), "1 core,") || !strings.Contains(string(page), "1 round,") {
		t.Errorf("%v: %s", err, page[:2000])
	}
}

// What is quicker than the base in some rounds alone is not called better.
func TestBetterInEveryRound(t *testing.T) {
	series := func(walls ...float64) *Series {
		s := &Series{Output: 1}
		for i, w := range walls {
			s.Runs = append(s.Runs, Round{Round: i + 1, Wall: w})
		}
		return s
	}
	w := &Sweep{[]int{1}, []string{"binary"}, []int64{0, 1 << 20}, []string{"zstd:1"}, []int64{1000}}
	base := w.base(Setting{1, "binary", 0, "zstd:1", 1000})
	for _, c := range []struct {
		other *Series
		best  string
	}{
		{series(0.5, 0.5, 1.01), "auto"},
		{series(0.5, 0.5, 0.99), "1MiB"},
	} {
		factors, _ := w.judge(base, func(s Setting) *Series {
			if s == base {
				return series(1, 1, 1)
			}
			return c.other
		})
		for _, f := range factors {
			if f.Flag == "chunk-size" && f.Best != c.best {
				t.Errorf("%v: %s is called best, not %s", c.other.Runs, f.Best, c.best)
			}
		}
	}
}
