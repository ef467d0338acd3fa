package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
	"fast-export/internal/progress"
	"fast-export/parquetw"
	"fast-export/snapshot"
)

// slow makes a run over dsn last about that long, by --rate.
func slow(t *testing.T, dsn string, d time.Duration, out string) Config {
	t.Helper()
	pgtest.Exec(t, dsn, "DROP TABLE IF EXISTS slow", "CREATE TABLE slow AS SELECT k AS i, repeat(md5(k::text), 16) AS s FROM generate_series(1, 4000) k")
	cfg := config(t, dsn, Job{Table: "slow", Out: out})
	cfg.Rate = int64(4000 * 540 / d.Seconds())
	return cfg
}

func TestRate(t *testing.T) {
	dsn := pgtest.Database(t)
	cfg := slow(t, dsn, time.Second, filepath.Join(outDir(t, "o.parquet"), "o.parquet"))
	began := time.Now()
	run1(t, cfg)
	if took := time.Since(began); took < 700*time.Millisecond {
		t.Errorf("2 MB at 2 MB/s took %s", took)
	}
}

func TestMaxSnapshotAge(t *testing.T) {
	dsn := pgtest.Database(t)
	cfg := slow(t, dsn, 20*time.Second, filepath.Join(outDir(t), "o.parquet"))
	cfg.MaxSnapshotAge = 300 * time.Millisecond
	began := time.Now()
	var age *SnapshotAgeError
	if _, err := Run(t.Context(), cfg); !errors.As(err, &age) {
		t.Errorf("got %v, want a *SnapshotAgeError", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopped after %s", took)
	}
}

func TestYieldToDDL(t *testing.T) {
	for _, yield := range []bool{true, false} {
		dsn := pgtest.Database(t)
		want := []string{"o.parquet"}
		if yield {
			want = nil
		}
		cfg := slow(t, dsn, 8*time.Second, filepath.Join(outDir(t, want...), "o.parquet"))
		cfg.YieldToDDL = yield
		conn := pgtest.Connect(t, dsn)
		ddl := make(chan error, 1)
		go func() {
			time.Sleep(700 * time.Millisecond)
			_, err := conn.Exec(t.Context(), "TRUNCATE slow")
			ddl <- err
		}()
		res, err := Run(t.Context(), cfg)
		var y *YieldError
		if yield && (!errors.As(err, &y) || !strings.Contains(err.Error(), "TRUNCATE slow")) {
			t.Errorf("got %v, want a *YieldError that names the TRUNCATE", err)
		}
		if !yield && (err != nil || res.Files[0].Rows != 4000 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "TRUNCATE slow")) {
			t.Errorf("got %v, %+v, want 4,000 rows and a warning that names the TRUNCATE", err, res)
		}
		if err := <-ddl; err != nil {
			t.Error(err)
		}
	}
}

// DDL that comes between the coordinator's lock and the workers' keeps these out, not the run from going on; with YieldToDDL it ends.
func TestDDLBeforeTheWorkers(t *testing.T) {
	for _, yield := range []bool{false, true} {
		dsn := pgtest.Database(t)
		pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i FROM generate_series(1, 5000) k")
		want := []string{"o.parquet"}
		if yield {
			want = nil
		}
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, want...), "o.parquet")})
		cfg.YieldToDDL, cfg.ChunkBytes = yield, 32<<10
		conn, look := pgtest.Connect(t, dsn), pgtest.Connect(t, dsn)
		ddl := make(chan error, 1)
		cfg.Progress = told(func(e progress.Event) {
			if _, planned := e.(progress.Plan); !planned {
				return
			}
			go func() {
				_, err := conn.Exec(context.Background(), "ALTER TABLE t ADD COLUMN j int")
				ddl <- err
			}()
			for waits := false; !waits; time.Sleep(5 * time.Millisecond) {
				if err := look.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 't'::regclass AND NOT granted)").Scan(&waits); err != nil {
					t.Error(err)
					return
				}
			}
		})
		res, err := Run(t.Context(), cfg)
		var y *YieldError
		if yield && (!errors.As(err, &y) || !strings.Contains(err.Error(), "ADD COLUMN j")) {
			t.Errorf("yielding: got %v", err)
		}
		if !yield && (err != nil || res.Files[0].Rows != 5000 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "wait behind this export's locks") || !strings.Contains(res.Warnings[0], "ADD COLUMN j")) {
			t.Errorf("got %v, %+v", err, res)
		}
		if err := <-ddl; err != nil {
			t.Error(err)
		}
	}
}

// A REINDEX that waits for one worker's lock on an index, and that another worker waits behind, holds up nothing for longer than the lock
// timeout; and somebody tells of it.
func TestReindexBetweenWorkers(t *testing.T) {
	dsn := pgtest.Database(t)
	cfg := slow(t, dsn, 6*time.Second, filepath.Join(outDir(t, "o.parquet"), "o.parquet"))
	pgtest.Exec(t, dsn, "CREATE INDEX slow_i ON slow (i)")
	cfg.Parallel, cfg.ChunkBytes, cfg.LockTimeout = 2, 64<<10, time.Second
	conn, look := pgtest.Connect(t, dsn), pgtest.Connect(t, dsn)
	const copying = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
	ended := make(chan error, 1)
	go func() {
		ended <- func() error {
			for n := 0; n < 2; time.Sleep(10 * time.Millisecond) {
				if err := look.QueryRow(context.Background(), copying).Scan(&n); err != nil {
					return err
				}
			}
			reindex := make(chan error, 1)
			go func() {
				_, err := conn.Exec(context.Background(), "REINDEX INDEX slow_i")
				reindex <- err
			}()
			for waits := false; !waits; time.Sleep(10 * time.Millisecond) {
				if err := look.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'slow_i'::regclass AND NOT granted)").Scan(&waits); err != nil {
					return err
				}
			}
			_, err := look.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' LIMIT 1")
			return errors.Join(err, <-reindex)
		}()
	}()
	res, err := Run(t.Context(), cfg)
	if err != nil || res.Files[0].Rows != 4000 || !strings.Contains(strings.Join(res.Warnings, "\n"), "goes to another") || !strings.Contains(strings.Join(res.Warnings, "\n"), "REINDEX INDEX slow_i") {
		t.Errorf("got %v, %+v", err, res)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What ends a run of several files as a whole leaves none of them, those that were whole neither, and replaces nothing.
func TestEndedRunLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		sql  string // of the second file, which is slow
		end  func(cfg *Config, finished <-chan struct{}, cancel context.CancelCauseFunc)
	}{
		{"interrupted", "SELECT pg_sleep(0.02), i FROM slow", func(_ *Config, finished <-chan struct{}, cancel context.CancelCauseFunc) {
			go func() {
				<-finished
				cancel(errors.New("stopped"))
			}()
		}},
		{"fail-fast", "SELECT pg_sleep(0.01), 1 / (i - 150) AS x FROM slow", func(cfg *Config, _ <-chan struct{}, _ context.CancelCauseFunc) { cfg.FailFast = true }},
		{"age", "SELECT pg_sleep(0.02), i FROM slow", func(cfg *Config, _ <-chan struct{}, _ context.CancelCauseFunc) {
			cfg.MaxSnapshotAge = 1500 * time.Millisecond
		}},
		{"yielding", "SELECT pg_sleep(0.02), i FROM slow", func(cfg *Config, finished <-chan struct{}, _ context.CancelCauseFunc) {
			cfg.YieldToDDL = true
			go func() {
				<-finished
				if conn, err := pgx.ConnectConfig(context.Background(), cfg.Conn); err == nil {
					_, _ = conn.Exec(context.Background(), "TRUNCATE slow") // that the run has ended shows that it waited
					_ = conn.Close(context.Background())
				}
			}()
		}},
		{"lost", "SELECT pg_sleep(0.02), i FROM slow", func(cfg *Config, finished <-chan struct{}, _ context.CancelCauseFunc) {
			go func() {
				<-finished
				if conn, err := pgx.ConnectConfig(context.Background(), cfg.Conn); err == nil {
					_, _ = conn.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
					_ = conn.Close(context.Background())
				}
			}()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := pgtest.Database(t)
			dir := outDir(t, "old.parquet")
			cfg := slow(t, dsn, time.Second, filepath.Join(dir, "old.parquet"))
			cfg.Rate, cfg.Parallel = 0, 3
			cfg.Jobs[0].Where = "i < 10"
			run1(t, cfg)
			before := digest(t, cfg.Jobs[0].Out)
			cfg.Jobs[0].Where = ""
			second := cfg.Jobs[0]
			second.Table, second.SQL, second.Out = "", c.sql, filepath.Join(dir, "slow.parquet")
			third := cfg.Jobs[0]
			third.Out = filepath.Join(dir, "new.parquet")
			cfg.Jobs = append(cfg.Jobs, second, third)

			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			finished := make(chan struct{})
			go func() { // a file that is whole has the mode that it is to have
				defer close(finished)
				for whole := 0; whole < 2 && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
					whole = 0
					for _, name := range []string{"old", "new"} {
						names, _ := filepath.Glob(filepath.Join(dir, "."+name+".parquet.tmp-*"))
						for _, n := range names {
							if st, err := os.Stat(n); err == nil && st.Mode().Perm() != 0o600 {
								whole++
							}
						}
					}
				}
			}()
			c.end(&cfg, finished, cancel)
			res, err := Run(ctx, cfg)
			var partial *PartialError
			if err == nil || errors.As(err, &partial) {
				t.Fatalf("got %v, want what ended the run", err)
			}
			select {
			case <-finished:
			default:
				t.Error("no file was whole before the end: the test shows nothing")
			}
			for _, f := range res.Files {
				if f.Err == nil {
					t.Errorf("%s is said to be there", f.Path)
				}
			}
			if c.name == "fail-fast" {
				var job *JobError
				if !errors.As(err, &job) || job.Out != second.Out {
					t.Errorf("got %v, want a *JobError that names %s", err, second.Out)
				}
			}
			if digest(t, cfg.Jobs[0].Out) != before {
				t.Error("what stood there was replaced")
			}
		})
	}
}

// What a killed run has left is named and stays; what is said of two files is said once.
func TestLeftoversAreNamed(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE SEQUENCE s")
	left := []string{".fast-export-tmp-123", ".o.parquet.tmp-ABC"}
	dir := outDir(t, append([]string{"o.parquet", "p.parquet", ".other.tmp-ABC"}, left...)...)
	for _, name := range append([]string{".other.tmp-ABC"}, left...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	cfg := config(t, dsn, Job{Table: "s", Out: filepath.Join(dir, "o.parquet")})
	second := cfg.Jobs[0]
	second.Out = filepath.Join(dir, "p.parquet")
	cfg.Jobs = append(cfg.Jobs, second)
	res := run1(t, cfg)
	if len(res.Warnings) != 2 || !strings.Contains(res.Warnings[0], "sequence") ||
		res.Warnings[1] != "left by a run that was killed, if no other is under way: "+filepath.Join(dir, left[0])+", "+filepath.Join(dir, left[1]) {
		t.Errorf("warnings %q", res.Warnings)
	}
	if len(res.Files[1].Warnings) != 1 {
		t.Errorf("the second file's warnings are %q", res.Files[1].Warnings)
	}
}

// A run that started again tells of itself as a whole.
func TestRestartedRunIsOne(t *testing.T) {
	dsn := pgtest.Database(t)
	cfg := slow(t, dsn, time.Second, filepath.Join(outDir(t, "o.parquet"), "o.parquet"))
	cfg.Rate, cfg.Restarts = 0, 1
	first := cfg.Jobs[0] // whole before the first attempt ends, and in its own second attempt's way if it were there
	first.Overwrite = parquetw.NoClobber
	second := first
	second.Table, second.SQL, second.Out = "", "SELECT pg_sleep(0.001), i FROM slow", filepath.Join(outDir(t, "p.parquet"), "p.parquet")
	cfg.Jobs = []Job{first, second}
	pgtest.Exec(t, dsn, "CREATE SEQUENCE s")
	third := first
	third.Table, third.Out = "s", filepath.Join(outDir(t, "s.parquet"), "s.parquet") // warns in each attempt
	cfg.Jobs = append(cfg.Jobs, third)
	killer := pgtest.Connect(t, dsn)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		time.Sleep(1500 * time.Millisecond)
		_, _ = killer.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	}()
	sent := &sentBytes{}
	cfg.Progress = sent
	began := time.Now()
	res := run1(t, cfg)
	<-killed
	if got := sent.n.Load(); res.CopyBytes < got || got == 0 {
		t.Errorf("%d bytes sent, whole chunks in all attempts %d", res.CopyBytes, got)
	}
	if res.Started.Sub(began) > time.Second || res.Elapsed < 5*time.Second {
		t.Errorf("it began after %s and took %s: those of the last attempt", res.Started.Sub(began), res.Elapsed)
	}
	sequences, again := 0, 0
	for _, w := range res.Warnings {
		if strings.Contains(w, "sequence") {
			sequences++
		}
		if strings.Contains(w, "starting again with a new snapshot, "+timesLeft(cfg.Restarts-1)) {
			again++
		}
	}
	if sequences != 2 || again != 1 {
		t.Errorf("warnings %q, want those of both attempts", res.Warnings)
	}
}

func TestTimesLeft(t *testing.T) {
	for n, want := range []string{"for the last time", "1 more time at most after that", "2 more times at most after that"} {
		if got := timesLeft(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// sentBytes counts what the server sent in whole chunks.
type sentBytes struct{ n atomic.Int64 }

func (s *sentBytes) Report(e progress.Event) {
	if a, ok := e.(progress.Advance); ok {
		s.n.Add(a.CopyBytes)
	}
}

// A gentle export of a table larger than the server's cache leaves the cache to others.
func TestGentleKeepsTheCache(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{Settings: []string{"shared_buffers = 16MB"}})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, "CREATE EXTENSION pg_buffercache", "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 30) AS s FROM generate_series(1, 40000) k", "VACUUM t")
	buffers := func(gentle bool) int {
		pgtest.Exec(t, dsn, "CHECKPOINT", "DROP TABLE IF EXISTS hot", "CREATE TABLE hot AS SELECT k AS i, repeat('x', 1000) AS s FROM generate_series(1, 9000) k", "VACUUM hot", "SELECT count(*) FROM hot")
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
		cfg.Gentle, cfg.ChunkBytes = gentle, 1<<20
		run1(t, cfg)
		var n int
		if err := pgtest.Connect(t, dsn).QueryRow(t.Context(), "SELECT count(*) FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('t')").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	gentle, ordinary := buffers(true), buffers(false)
	t.Logf("of 2,048 buffers a gentle export left %d of its own, an ordinary one %d", gentle, ordinary)
	if gentle > 600 || ordinary < 1200 {
		t.Errorf("of 2,048 buffers a gentle export left %d of its own, an ordinary one %d", gentle, ordinary)
	}
}

// A recovery conflict on a standby ends the run with its name; with Restarts it begins again.
func TestStandbyConflict(t *testing.T) {
	primary := pgtest.Start(t, pgtest.Config{Settings: []string{"wal_level = logical"}})
	dsn := primary.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 16) AS s FROM generate_series(1, 4000) k")
	standby := primary.Standby(t, pgtest.Config{Settings: []string{"max_standby_streaming_delay = 50ms", "hot_standby_feedback = off"}})
	name := config(t, dsn, Job{}).Conn.Database
	conflict := func(restarts int) (*Result, error) {
		cfg := config(t, standby.DSN(name), Job{Table: "t", Out: filepath.Join(t.TempDir(), "o.parquet")})
		cfg.Rate, cfg.Restarts = 4000*540/3, restarts
		var vacuum sync.WaitGroup
		defer vacuum.Wait()
		vacuum.Go(func() {
			time.Sleep(800 * time.Millisecond)
			pgtest.Exec(t, dsn, "UPDATE t SET s = s || 'x'", "VACUUM t")
		})
		return Run(t.Context(), cfg)
	}
	if _, err := conflict(0); !errors.Is(err, snapshot.ErrLost) || !strings.Contains(err.Error(), "conflict with recovery") {
		t.Errorf("got %v, want ErrLost and the conflict's name", err)
	}
	standby.CatchUp(t, primary)
	both := fmt.Sprintf("host=%s,%s port=%d,%d dbname=%s user=postgres", primary.Dir(), standby.Dir(), primary.Port, standby.Port, name)
	for attrs, want := range map[string]bool{"prefer-standby": true, "any": false} {
		res := run1(t, config(t, both+" target_session_attrs="+attrs, Job{Table: "t", Out: filepath.Join(t.TempDir(), "o.parquet")}))
		if got := len(res.Warnings) == 1 && strings.Contains(res.Warnings[0], "is a standby"); got != want {
			t.Errorf("target_session_attrs=%s: on the standby %v, want %v", attrs, got, want)
		}
	}
	res, err := conflict(2)
	if err != nil || res.Files[0].Rows != 4000 {
		t.Fatalf("with restarts: %v", err)
	}
	all := strings.Join(res.Warnings, "\n")
	if !strings.Contains(all, "starting again") || !strings.Contains(all, "hot_standby_feedback") {
		t.Errorf("warnings %q", all)
	}
}

// Fewer connections than asked for: the run goes on with those, and says so.
func TestConnectionLimit(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 16) AS s FROM generate_series(1, 4000) k", "CREATE ROLE few LOGIN CONNECTION LIMIT 3", "GRANT SELECT ON t TO few")
	cfg := config(t, strings.Replace(dsn, "user=postgres", "user=few", 1), Job{Table: "t", Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
	cfg.Parallel = 8
	res := run1(t, cfg)
	if res.Workers != 2 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "2 of 8 connections") {
		t.Errorf("%d workers, warnings %q", res.Workers, res.Warnings)
	}
}

// Where the server has room for one connection, that one does everything; its loss ends the run.
func TestOneConnection(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, append(strings.Split(mixed, ";\n"), "CREATE ROLE one LOGIN CONNECTION LIMIT 1", "GRANT SELECT ON mixed TO one")...)
	want := digestOf(t, dsn, config(t, dsn, Job{Table: "mixed", Out: filepath.Join(t.TempDir(), "o.parquet")}))
	as := strings.Replace(dsn, "user=postgres", "user=one", 1)
	cfg := config(t, as, Job{Table: "mixed", Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
	cfg.Parallel = 8
	res := run1(t, cfg)
	if res.Workers != 1 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "room for one connection") {
		t.Errorf("%d workers, warnings %q", res.Workers, res.Warnings)
	}
	if got := digest(t, cfg.Jobs[0].Out); got != want {
		t.Error("other bytes")
	}

	cfg = config(t, as, Job{SQL: "SELECT mixed.*, pg_sleep(0.001) AS z FROM mixed", Out: filepath.Join(outDir(t), "o.parquet")})
	killer := pgtest.Connect(t, dsn)
	var killing sync.WaitGroup
	killing.Go(func() {
		for range 1000 {
			tag, err := killer.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'one' AND query LIKE 'COPY%'")
			if err != nil || tag.RowsAffected() > 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	_, err := Run(t.Context(), cfg)
	killing.Wait()
	if !errors.Is(err, snapshot.ErrLost) {
		t.Errorf("the one connection was lost: got %v, want ErrLost", err)
	}
}

// A function that changes how the session writes values spoils neither the file that called it, which fails, nor others.
func TestChangedSession(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, k / 3.0::float8 AS f, timestamp '2001-02-03' + k * interval '1 hour' AS ts FROM generate_series(1, 5000) k",
		"CREATE FUNCTION sets(name text, value text) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM set_config(name, value, true); RETURN 1; END$$",
		"CREATE FUNCTION lies(name text, value text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM set_config(name, value, true); RETURN 1; END$$",
		"CREATE VIEW v AS SELECT i, f, sets('extra_float_digits', '0') AS z FROM t")
	for _, transport := range []Transport{CSV, Binary} {
		for _, j := range []Job{
			{SQL: "SELECT f, sets('extra_float_digits', '0') AS z FROM t"},
			{SQL: "SELECT i, sets('search_path', 'pg_catalog') AS z FROM t"},
			{SQL: "SELECT i FROM t WHERE lies('search_path', i::text) = 2"},
			{Table: "t", Where: "sets('extra_float_digits', '-1') > 0"},
			{Table: "v"},
		} {
			dir := outDir(t, "good.parquet")
			j.Out = filepath.Join(dir, "bad.parquet")
			cfg := config(t, dsn, j)
			good := Job{SQL: "SELECT f, ts, pg_sleep(0) AS z FROM t", Out: filepath.Join(dir, "good.parquet"), RowGroupRows: 1000, Compression: cfg.Jobs[0].Compression}
			cfg.Jobs = append(cfg.Jobs, good)
			cfg.Parallel, cfg.Transport = 1, transport
			res, err := Run(t.Context(), cfg)
			var partial *PartialError
			if !errors.As(err, &partial) || partial.Failed != 1 {
				t.Errorf("%+v: got %v, want one failure of two", j, err)
				continue
			}
			var set *snapshot.SettingError
			if !errors.As(res.Files[0].Err, &set) || set.Name != "extra_float_digits" && set.Name != "search_path" {
				t.Errorf("%+v: got %v, want a *SettingError", j, res.Files[0].Err)
			}
			checkRows(t, good.Out, pgtest.Connect(t, dsn), "t", "SELECT f, ts, '' FROM t", false)
		}
	}
}

func TestPgBouncer(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, strings.Split(mixed, ";\n")...)
	direct := config(t, dsn, Job{Table: "mixed", Out: filepath.Join(t.TempDir(), "o.parquet")})
	want := digestOf(t, dsn, direct)
	for _, mode := range []string{"session", "transaction"} {
		for _, pool := range []int{20, 2, 1} {
			b := srv.PgBouncer(t, mode, fmt.Sprintf("default_pool_size = %d", pool), "query_wait_timeout = 2")
			cfg := config(t, b.DSN(direct.Conn.Database), Job{Table: "mixed", Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
			cfg.Parallel = 4
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err := Run(ctx, cfg)
			cancel()
			if err != nil {
				t.Errorf("%s pooling over %d connections: %v", mode, pool, err)
			} else if got := digest(t, cfg.Jobs[0].Out); got != want {
				t.Errorf("%s pooling over %d connections: other bytes", mode, pool)
			}
		}
	}
}

// A pooler that lets a connection wait for ever does not hold up the run: it goes on with the sessions that it was given.
func TestFullPool(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, strings.Split(mixed, ";\n")...)
	direct := config(t, dsn, Job{Table: "mixed", Out: filepath.Join(t.TempDir(), "o.parquet")})
	want := digestOf(t, dsn, direct)
	for _, c := range []struct {
		mode    string
		pool    int
		workers int
		warning string
	}{
		{"session", 3, 2, "2 of 4 connections"},
		{"transaction", 3, 2, "2 of 4 connections"},
		{"session", 1, 1, "room for one connection"},
		{"transaction", 1, 1, "room for one connection"},
	} {
		t.Run(fmt.Sprint(c.mode, c.pool), func(t *testing.T) {
			t.Parallel()
			b := srv.PgBouncer(t, c.mode, fmt.Sprintf("default_pool_size = %d", c.pool), "query_wait_timeout = 0")
			cfg := config(t, b.DSN(direct.Conn.Database), Job{Table: "mixed", Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
			cfg.Parallel = 4
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			res, err := Run(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if res.Workers != c.workers || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], c.warning) || !strings.Contains(res.Warnings[0], "pooler") {
				t.Errorf("%d workers, warnings %q", res.Workers, res.Warnings)
			}
			if got := digest(t, cfg.Jobs[0].Out); got != want {
				t.Error("other bytes")
			}
		})
	}
}

// A connection that is lost before the first row is one, not a fault of the statement.
func TestLostWhilePlanning(t *testing.T) {
	for _, c := range []struct{ name, locked, end, want string }{
		{"waiting for a lock", "t", "pg_terminate_backend", "lost before the first row: FATAL: terminating connection"},
		{"asking for all tables", "pg_catalog.pg_inherits", "pg_terminate_backend", "lost before the first row: FATAL: terminating connection"},
		{"cancelled while asking for all tables", "pg_catalog.pg_inherits", "pg_cancel_backend", "canceling statement due to user request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := pgtest.Database(t)
			pgtest.Exec(t, dsn, "CREATE TABLE t (i int)")
			holder, killer := pgtest.Connect(t, dsn), pgtest.Connect(t, dsn)
			if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE "+c.locked+" IN ACCESS EXCLUSIVE MODE"); err != nil {
				t.Fatal(err)
			}
			var killing sync.WaitGroup
			defer killing.Wait()
			killing.Go(func() {
				for range 1000 {
					tag, err := killer.Exec(context.Background(), "SELECT "+c.end+"(pid) FROM pg_stat_activity WHERE application_name = 'fast-export' AND wait_event_type = 'Lock' AND datname = current_database()")
					if err != nil || tag.RowsAffected() > 0 {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
			dir := outDir(t)
			cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(dir, "a.parquet")})
			sql, wrong := cfg.Jobs[0], cfg.Jobs[0]
			sql.Table, sql.SQL, sql.Out = "", "SELECT 1", filepath.Join(dir, "b.parquet")
			wrong.Columns, wrong.Out = []string{"no"}, filepath.Join(dir, "c.parquet")
			cfg.Jobs = append(cfg.Jobs, sql, wrong)
			_, err := Run(t.Context(), cfg)
			var ce *snapshot.ConnectError
			var je *JobError
			if err == nil || errors.As(err, &ce) != (c.end == "pg_terminate_backend") || errors.As(err, &je) || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("got %v", err)
			}
		})
	}
}

type told func(progress.Event)

func (f told) Report(e progress.Event) { f(e) }

// What comes when the files get their names comes too late, also when one of them failed before.
func TestCancelledTooLate(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i FROM generate_series(1, 10) k")
	for _, failing := range []bool{false, true} {
		dir := outDir(t, "good.parquet")
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(dir, "good.parquet")})
		if failing {
			bad := cfg.Jobs[0]
			bad.Table, bad.SQL, bad.Out = "", "SELECT 1 / (i - 5) AS x FROM t", filepath.Join(dir, "bad.parquet")
			cfg.Jobs = append(cfg.Jobs, bad)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		signal := errors.New("a signal")
		cfg.Progress = told(func(e progress.Event) {
			if _, done := e.(progress.FileDone); done {
				cancel(signal)
			}
		})
		res, err := Run(ctx, cfg)
		_, partial := errors.AsType[*PartialError](err)
		if partial != failing || err != nil && !partial || errors.Is(err, signal) || res.Files[0].Err != nil {
			t.Errorf("got %v, %+v", err, res)
		}
		if context.Cause(ctx) != signal {
			t.Error("no file was told of: the test shows nothing")
		}
	}
}
