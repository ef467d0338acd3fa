package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/jackc/pgx/v5"

	"fast-export/chunker"
	"fast-export/internal/pgtest"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var seedFlag = flag.Uint64("seed", 0, "seed of the randomised tests; 0: a new one")

func newRand(t *testing.T) *rand.Rand {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 1))
}

// config is a run over dsn with small numbers everywhere, of one job.
func config(t *testing.T, dsn string, j Job) Config {
	t.Helper()
	conn, err := pgx.ParseConfig(dsn + " application_name=fast-export")
	if err != nil {
		t.Fatal(err)
	}
	if j.RowGroupRows == 0 {
		j.RowGroupRows = 1000
	}
	if j.Compression, err = parquetw.ParseCompression("zstd"); err != nil {
		t.Fatal(err)
	}
	return Config{Conn: conn, Jobs: []Job{j}, Parallel: 3, ChunkBytes: 64 << 10, Memory: 64 << 20, LockTimeout: 10 * time.Second, Version: "test"}
}

// outDir is a directory in which nothing but the named files may be left.
func outDir(t *testing.T, want ...string) string {
	t.Helper()
	dir := t.TempDir()
	pgtest.NoLeftovers(t, dir, want...)
	return dir
}

func run1(t *testing.T, cfg Config) *Result {
	t.Helper()
	res, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func digest(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// mixed makes a table of many types, NULLs, TOASTed values, holes and updated rows, in about 200 pages.
const mixed = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy, "very"');
CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE <= 100);
CREATE TABLE mixed (
	id bigint NOT NULL, gone int, b bool, s smallint, i int, r real, d float8, n numeric, nd numeric(12,3), p percent, t text, v varchar(20),
	c char(5), j json, jb jsonb, y bytea, u uuid, da date, ti time, ts timestamp, tz timestamptz, iv interval, o oid, m mood,
	ta text[], ia int[], "Mixed ""Case" text, g int GENERATED ALWAYS AS (i * 2) STORED);
ALTER TABLE mixed DROP COLUMN gone;
INSERT INTO mixed
SELECT k, k % 3 = 0, k % 30000, k * 7, k / 3.0, sqrt(k), (k * 1.1)::numeric, k / 8.0, k % 100, repeat(chr(65 + k % 50), k % 40), 'v' || k, 'c' || k % 9,
	json_build_object('k', k), jsonb_build_object('a', array[k, k+1]), decode(md5(k::text), 'hex'), md5(k::text)::uuid, date '2000-01-01' + k,
	time '00:00' + k * interval '1 second', timestamp '2001-01-01' + k * interval '1 hour', timestamptz '1960-01-01' + k * interval '1 day',
	k * interval '1 hour', k, (array['sad', 'ok', 'happy, "very"'])[1 + k % 3]::mood,
	CASE k % 4 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE array['a', NULL, 'x"y,' || k] END, array[k, k % 5], CASE k % 5 WHEN 0 THEN '' WHEN 1 THEN 'NULL' WHEN 2 THEN E'\\.' END
FROM generate_series(1, 6000) k;
UPDATE mixed SET t = NULL, n = NULL WHERE id % 7 = 0;
UPDATE mixed SET t = (SELECT string_agg(md5((id * x)::text), '') FROM generate_series(1, 300) x) WHERE id % 500 = 3;
DELETE FROM mixed WHERE id % 11 = 0;
ANALYZE mixed`

// The file's bytes are the same for any parallelism, chunk size, memory and transport over one snapshot, and its rows are
// the table's in ctid order.
func TestSameBytes(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, strings.Split(mixed, ";\n")...)
	var want string
	spilled := false
	for p, parallel := range []int{1, 2, 8} {
		for c, chunk := range []int64{8 << 10, 100 << 10, 1 << 30} {
			for m, memory := range []int64{1 << 20, 1 << 30} {
				for x, transport := range []Transport{CSV, Binary} {
					if (p+c+m+x)%2 == 1 && want != "" {
						continue // half of the combinations hold every pair
					}
					dir := outDir(t, "mixed.parquet")
					cfg := config(t, dsn, Job{Table: "mixed", Out: filepath.Join(dir, "mixed.parquet")})
					cfg.Parallel, cfg.ChunkBytes, cfg.Memory, cfg.Transport = parallel, chunk, memory, transport
					res := run1(t, cfg)
					spilled = spilled || res.TempBytes > 0
					got := digest(t, cfg.Jobs[0].Out)
					if want == "" {
						want = got
						checkRows(t, cfg.Jobs[0].Out, pgtest.Connect(t, dsn), "mixed", "SELECT * FROM mixed ORDER BY ctid", true)
					}
					if got != want {
						t.Errorf("parallel %d, chunks of %d, memory %d, transport %d: other bytes", parallel, chunk, memory, transport)
					}
				}
			}
		}
	}
	if !spilled {
		t.Error("no run spilled: the small memory shows nothing")
	}
}

// The rows of a statement with {chunk} come in the order of its chunks, so that these may not depend on the connections.
func TestSameBytesOfPlacedChunks(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE big AS SELECT k AS id, k * 7919 % 100003 AS r, repeat('x', 700) AS fill FROM generate_series(1, 40000) k",
		"CREATE TABLE ids AS SELECT k AS id FROM generate_series(1, 100003) k", "ANALYZE big", "ANALYZE ids")
	want := ""
	for _, parallel := range []int{1, 2, 8} {
		path := filepath.Join(t.TempDir(), "f.parquet")
		// Merge joins give the rows of a chunk in the order of r: each chunk boundary shows.
		cfg := config(t, dsn+" options='-c enable_hashjoin=off -c enable_nestloop=off'", Job{SQL: "SELECT big.id, big.r FROM big JOIN ids ON ids.id = big.r WHERE {chunk:big}", Out: path})
		cfg.Parallel, cfg.ChunkBytes = parallel, 0
		run1(t, cfg)
		if got := digest(t, path); want == "" {
			want = got
		} else if got != want {
			t.Errorf("parallel %d: other bytes", parallel)
		}
	}
}

// checkRows compares the file, as pyarrow and (with duck) DuckDB read it, with the text that the server gives for query's
// rows.
func checkRows(t *testing.T, path string, conn *pgx.Conn, name, query string, duck bool) {
	t.Helper()
	want := serverText(t, conn, query)
	files := map[string]*pgtest.Parquet{"pyarrow": pgtest.ReadParquet(t, path)}
	if duck {
		files["DuckDB"] = pgtest.ReadDuckDB(t, path)
	}
	for reader, file := range files {
		if len(file.Rows) != len(want) {
			t.Errorf("%s reads %d rows of %s, the server has %d", reader, len(file.Rows), name, len(want))
			continue
		}
		bad := 0
		for i := range want {
			for c := range want[i] {
				got, ok := file.Rows[i][c].(string)
				if file.Rows[i][c] != nil && !ok {
					continue // a list or struct: their text is compared in typemap's tests
				}
				if (file.Rows[i][c] == nil) != (want[i][c] == nil) || want[i][c] != nil && !sameText(got, *want[i][c]) {
					if bad++; bad < 10 {
						w := "NULL"
						if want[i][c] != nil {
							w = *want[i][c]
						}
						t.Errorf("%s, row %d, column %s: %v, the server says %s", reader, i, file.Fields[c].Name, file.Rows[i][c], w)
					}
				}
			}
		}
	}
}

// sameText allows for what a file cannot tell: how a number was written.
func sameText(got, want string) bool {
	if got == want || strings.TrimRight(got, " ") == strings.TrimRight(want, " ") {
		return true
	}
	a, err1 := strconv.ParseFloat(got, 64)
	b, err2 := strconv.ParseFloat(want, 64)
	return err1 == nil && err2 == nil && a == b
}

func serverText(t *testing.T, conn *pgx.Conn, query string) [][]*string {
	t.Helper()
	for _, set := range []string{"SET DateStyle = ISO", "SET TimeZone = UTC", "SET extra_float_digits = 3", "SET bytea_output = hex"} {
		if conn.PgConn().TxStatus() == 'I' {
			if _, err := conn.Exec(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		}
	}
	rows, err := conn.Query(t.Context(), query, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]*string
	for rows.Next() {
		raw := rows.RawValues()
		line := make([]*string, len(raw))
		for i, v := range raw {
			if v != nil {
				s := string(v)
				line[i] = &s
			}
		}
		out = append(out, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// writers change the table as fast as they can until the returned function is called.
func writers(t *testing.T, dsn string, statements ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, s := range statements {
		conn := pgtest.Connect(t, dsn)
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := conn.Exec(context.Background(), s); err != nil {
					t.Errorf("%s: %v", s, err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// The union of the chunks is the table as of the snapshot, in order, while others insert, update, delete and vacuum.
func TestUnionUnderWriters(t *testing.T) {
	rng := newRand(t)
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (i int, s text)", "INSERT INTO t SELECT k, repeat('x', k % 200) FROM generate_series(1, 8000) k")
	stop := writers(t, dsn,
		"INSERT INTO t SELECT k, repeat('y', k % 300) FROM generate_series(1, 50) k",
		"WITH gone AS (DELETE FROM t WHERE i % 89 = (random() * 88)::int) UPDATE t SET s = s || 'u' WHERE i % 97 = (random() * 96)::int",
		"VACUUM t")
	defer stop()
	for range 5 {
		holder := pgtest.Connect(t, dsn)
		var id string
		if _, err := holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
			t.Fatal(err)
		}
		if err := holder.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		want := serverText(t, holder, "SELECT i, s FROM t ORDER BY ctid")
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet"), RowGroupRows: 1 + rng.Int64N(5000)})
		cfg.SnapshotID, cfg.Parallel, cfg.ChunkBytes = id, 1+rng.IntN(6), 8<<10+rng.Int64N(300<<10)
		res := run1(t, cfg)
		got := pgtest.ReadParquet(t, cfg.Jobs[0].Out).Rows
		if int64(len(got)) != res.Files[0].Rows || len(got) != len(want) {
			t.Fatalf("%d rows in the file, %d in the result, %d in the snapshot", len(got), res.Files[0].Rows, len(want))
		}
		for i := range want {
			if got[i][0] != *want[i][0] || got[i][1] != *want[i][1] {
				t.Fatalf("row %d: %v, want %s %s", i, got[i], *want[i][0], *want[i][1])
			}
		}
		holder.Close(t.Context())
	}
}

// Others truncate, rewrite, drop and refresh at every stage of runs with and without a snapshot of their own. They wait,
// or the run fails and leaves nothing; a file that is there has all rows of one version of the table.
func TestRewritesAtEveryStage(t *testing.T) {
	rng := newRand(t)
	for _, c := range []struct{ rel, change string }{
		{"t", "TRUNCATE t; INSERT INTO t SELECT k, 'n' FROM generate_series(1, 5000) k"},
		{"t", "ALTER TABLE t ALTER i TYPE bigint; ALTER TABLE t ALTER i TYPE int"},
		{"t", "VACUUM FULL t"},
		{"t", "DROP TABLE t; CREATE TABLE t AS SELECT k AS i, 'n' AS s FROM generate_series(1, 5000) k"},
		{"m", "REFRESH MATERIALIZED VIEW m"},
		{"p", "TRUNCATE p1; INSERT INTO p SELECT k, 'n' FROM generate_series(1, 2500) k"},
	} {
		for _, own := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s own snapshot %v", strings.Fields(c.change)[0]+" "+c.rel, own), func(t *testing.T) {
				dsn := pgtest.Database(t)
				pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, 'o'::text AS s FROM generate_series(1, 5000) k",
					"CREATE MATERIALIZED VIEW m AS SELECT k AS i, 'o'::text AS s FROM generate_series(1, 5000) k",
					"CREATE TABLE p (i int, s text) PARTITION BY RANGE (i)", "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (2501)",
					"CREATE TABLE p2 PARTITION OF p DEFAULT", "INSERT INTO p SELECT k, 'o' FROM generate_series(1, 5000) k")
				done := make(chan struct{})
				ctx, cancel := context.WithCancel(context.Background())
				conn := pgtest.Connect(t, dsn)
				go func() {
					defer close(done)
					for ctx.Err() == nil {
						// Several statements at once are one transaction.
						if _, err := conn.PgConn().Exec(context.Background(), c.change).ReadAll(); err != nil {
							t.Error(err)
							return
						}
						time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
					}
				}()
				good := 0
				for range 6 {
					cfg := config(t, dsn, Job{Table: c.rel, Out: filepath.Join(t.TempDir(), "out.parquet")})
					cfg.ChunkBytes = 8 << 10
					if !own {
						holder := pgtest.Connect(t, dsn)
						if _, err := holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
							t.Fatal(err)
						}
						if err := holder.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&cfg.SnapshotID); err != nil {
							t.Fatal(err)
						}
						defer holder.Close(context.Background())
					}
					res, err := Run(t.Context(), cfg)
					left, _ := filepath.Glob(filepath.Join(filepath.Dir(cfg.Jobs[0].Out), "*"))
					hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(cfg.Jobs[0].Out), ".*"))
					left = append(left, hidden...)
					if err != nil {
						// Which error it is depends on the moment; each of these says what happened.
						var sc *snapshot.ChangedError
						var cc *chunker.ChangedError
						var lock *snapshot.LockError
						var nf *chunker.NotFoundError
						if !errors.As(err, &sc) && !errors.As(err, &cc) && !errors.As(err, &lock) && !errors.As(err, &nf) {
							t.Errorf("an error of another kind: %v", err)
						}
						if len(left) > 0 {
							t.Errorf("a failed run left %v", left)
						}
						continue
					}
					good++
					if got := versions(t, cfg.Jobs[0].Out); res.Files[0].Rows != 5000 || len(got) != 1 && c.rel != "p" {
						t.Errorf("%d rows of 5,000, of versions %v, and no error", res.Files[0].Rows, got)
					}
				}
				cancel()
				<-done
				if own && good == 0 && c.rel == "t" {
					t.Error("no run succeeded: the test shows little")
				}
			})
		}
	}
}

// versions are the distinct values of column s of a file.
func versions(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := pqarrow.ReadTable(t.Context(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	out := map[string]bool{}
	for _, chunk := range table.Column(1).Data().Chunks() {
		a := chunk.(*array.String)
		for i := range a.Len() {
			out[a.Value(i)] = true
		}
	}
	return out
}

// Backends die in the middle of chunks, the coordinator's too: the rows are exact all the same, and the summary counts.
func TestBackendsTerminated(t *testing.T) {
	rng := newRand(t)
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 8) AS s FROM generate_series(1, 60000) k")
	want := digestOf(t, dsn, config(t, dsn, Job{Table: "t", Out: filepath.Join(t.TempDir(), "want.parquet")}))
	redone := 0
	for round := range 6 {
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet")})
		cfg.ChunkBytes, cfg.Parallel, cfg.Memory = 1<<20, 3, 2<<20
		ctx, cancel := context.WithCancel(context.Background())
		killed := make(chan int)
		killer := pgtest.Connect(t, dsn)
		go func() {
			n := 0
			defer func() { killed <- n }()
			for ctx.Err() == nil && n < 4 {
				// One of those that copy or, in odd rounds, the coordinator at first.
				pick := "query LIKE 'COPY%' AND state = 'active'"
				if round%2 == 1 && n == 0 {
					pick = "query NOT LIKE 'COPY%' AND (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fast-export' AND query LIKE 'COPY%') > 1"
				}
				tag, err := killer.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = 'fast-export' AND datname = current_database() AND "+pick+
					" AND (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fast-export' AND backend_xmin IS NOT NULL) > 2 ORDER BY random() LIMIT 1) x")
				if err != nil {
					t.Error(err)
					return
				}
				n += int(tag.RowsAffected())
				time.Sleep(time.Duration(5+rng.IntN(20)) * time.Millisecond)
			}
		}()
		res, err := Run(t.Context(), cfg)
		cancel()
		n := <-killed
		if err != nil {
			t.Errorf("round %d, %d backends killed: %v", round, n, err)
			continue
		}
		redone += res.Redone
		if got := digest(t, cfg.Jobs[0].Out); got != want {
			t.Errorf("round %d, %d backends killed, %d chunks redone: other bytes", round, n, res.Redone)
		}
	}
	if redone == 0 {
		t.Error("no chunk was redone: the test shows nothing")
	}
}

func digestOf(t *testing.T, dsn string, cfg Config) string {
	t.Helper()
	run1(t, cfg)
	return digest(t, cfg.Jobs[0].Out)
}

// Backends end one after the other: one that has got in again before the last is gone saves the run, which then is right to go on.
func TestEverybodyGoneIsLost(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 8) AS s FROM generate_series(1, 100000) k")
	killer := pgtest.Connect(t, dsn)
	for range 20 {
		dir := t.TempDir()
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(dir, "t.parquet")})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 400 {
				tag, err := killer.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fast-export' AND datname = current_database()
				AND (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fast-export' AND query LIKE 'COPY%') > 1`)
				if err != nil || tag.RowsAffected() > 0 {
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		}()
		_, err := Run(t.Context(), cfg)
		<-done
		if err == nil {
			continue
		}
		if !errors.Is(err, snapshot.ErrLost) {
			t.Errorf("got %v, want ErrLost", err)
		}
		pgtest.NoLeftovers(t, dir)
		return
	}
	t.Error("somebody was left in each of 20 runs")
}

// The whole server goes: the snapshot is lost, whatever the last connection's own words are.
func TestServerGoneIsLost(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	cfg := slow(t, dsn, 10*time.Second, filepath.Join(outDir(t), "o.parquet"))
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		time.Sleep(700 * time.Millisecond)
		srv.Kill(t)
	}()
	_, err := Run(t.Context(), cfg)
	<-killed
	if !errors.Is(err, snapshot.ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
	srv.Restart(t)
}

// Waiting DDL keeps a lost worker out, and all budgets are full: another worker takes the chunk over, nothing locks up.
func TestLostWorkerBehindDDL(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 30) AS s FROM generate_series(1, 20000) k")
	cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
	cfg.Memory, cfg.TempLimit, cfg.Rate, cfg.ChunkBytes = 1<<20, 1<<20, 8<<20, 1<<20
	killer, ddl := pgtest.Connect(t, dsn), pgtest.Connect(t, dsn)
	truncated := make(chan error, 1)
	go func() {
		time.Sleep(300 * time.Millisecond)
		go func() {
			_, err := ddl.Exec(context.Background(), "TRUNCATE t")
			truncated <- err
		}()
		time.Sleep(200 * time.Millisecond)
		_, err := killer.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' ORDER BY query_start LIMIT 1) x")
		if err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	res, err := Run(ctx, cfg)
	if err != nil || res.Files[0].Rows != 20000 {
		t.Errorf("got %v", err)
	} else if res.Redone != 1 {
		t.Errorf("%d chunks redone, warnings %q: the test shows nothing", res.Redone, res.Warnings)
	}
	if err := <-truncated; err != nil {
		t.Error(err)
	}
}

// A cancelled run stops within a second and leaves nothing: no file, no session.
func TestCancelled(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 8) AS s FROM generate_series(1, 60000) k")
	for _, after := range []time.Duration{0, 5, 20, 50, 100, 200} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cfg := config(t, dsn, Job{SQL: "SELECT t.*, pg_sleep(0.0005) AS z FROM t", Out: filepath.Join(outDir(t), "t.parquet")})
		why := errors.New("asked to stop")
		var asked time.Time
		timer := time.AfterFunc(after*time.Millisecond, func() { asked = time.Now(); cancel(why) })
		_, err := Run(ctx, cfg)
		took := time.Since(asked)
		timer.Stop()
		if !errors.Is(err, why) {
			t.Errorf("cancelled after %d ms: got %v, want the cause", after, err)
		}
		if took > time.Second {
			t.Errorf("cancelled after %d ms: stopped %s later", after, took)
		}
	}
}

// What can't be represented ends the run with the place of the value and no file.
func TestBadValueIsPlaced(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (i int, d date)", "INSERT INTO t SELECT k, '2020-01-01' FROM generate_series(1, 5000) k",
		"UPDATE t SET d = 'infinity' WHERE i = 4711")
	ctid := strings.TrimSpace(pgtest.Query(t, dsn, "SELECT ctid FROM t WHERE i = 4711"))
	for _, transport := range []Transport{CSV, Binary} {
		for _, chunk := range []int64{8 << 10, 1 << 30} {
			cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "t.parquet")})
			cfg.Transport, cfg.ChunkBytes = transport, chunk
			_, err := Run(t.Context(), cfg)
			var re *RowError
			var ve *typemap.ValueError
			if !errors.As(err, &re) || !errors.As(err, &ve) || re.Relation != "public.t" || re.Place != "ctid "+ctid || ve.Column != "d" || !strings.Contains(ve.Value, "infinity") {
				t.Errorf("got %v, want column d of public.t at ctid %s", err, ctid)
			}
		}
	}
}

func TestOddTables(t *testing.T) {
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		wide := make([]string, 1600)
		for i := range wide {
			wide[i] = fmt.Sprintf("c%d int", i)
		}
		pgtest.Exec(t, dsn,
			"CREATE TABLE empty (a int, b text)", "CREATE TABLE nocolumns ()", "INSERT INTO nocolumns SELECT FROM generate_series(1, 700)",
			"CREATE TABLE onenull (a text)", `INSERT INTO onenull SELECT (array[NULL, '', 'NULL', E'\\.', E'\\N', E'a\nb', E'\r', ',', '"', 'é☄'])[1 + k % 10] FROM generate_series(1, 3000) k`,
			"CREATE TABLE wide ("+strings.Join(wide, ",")+")", "INSERT INTO wide (c0, c1599) SELECT k, -k FROM generate_series(1, 50) k",
			`CREATE SCHEMA "Sch.ema"`, `CREATE TABLE "Sch.ema"."T able" ("A" int, "a b" int, "q""uote" int)`, `INSERT INTO "Sch.ema"."T able" VALUES (1, 2, 3)`,
			"CREATE TABLE p (i int, s text) PARTITION BY RANGE (i)", "CREATE TABLE p3 (s text, i int, extra int)", "ALTER TABLE p3 DROP COLUMN extra",
			"CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (100)", "ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (300) TO (1000)",
			"CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (100) TO (300) PARTITION BY LIST (i)", "CREATE TABLE p1d PARTITION OF p1 DEFAULT", "CREATE TABLE p1a PARTITION OF p1 FOR VALUES IN (200, 201)",
			"CREATE TABLE pd PARTITION OF p DEFAULT", "INSERT INTO p SELECT k % 1500, 'x' || k FROM generate_series(1, 3000) k",
			"CREATE TABLE par (i int)", "CREATE TABLE chi (j int) INHERITS (par)", "INSERT INTO par SELECT generate_series(1, 500)", "INSERT INTO chi SELECT k, k FROM generate_series(1, 700) k",
			"CREATE VIEW v AS SELECT i, s || '!' AS s FROM p WHERE i < 50", "CREATE MATERIALIZED VIEW mv AS SELECT generate_series(1, 2000) AS i")
		for _, c := range []struct{ rel, query string }{
			{"empty", "SELECT * FROM empty"},
			{"onenull", "SELECT * FROM onenull"},
			{"wide", "SELECT * FROM wide"},
			{`"Sch.ema"."T able"`, `SELECT * FROM "Sch.ema"."T able"`},
			{"p", "SELECT * FROM p"},
			{"par", "SELECT * FROM par"},
			{"v", "SELECT * FROM v"},
			{"mv", "SELECT * FROM mv"},
		} {
			var digests []string
			for _, transport := range []Transport{CSV, Binary} {
				cfg := config(t, dsn, Job{Table: c.rel, Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
				cfg.Transport, cfg.ChunkBytes = transport, 8<<10
				run1(t, cfg)
				digests = append(digests, digest(t, cfg.Jobs[0].Out))
				// A reader takes a second to start: on the other majors only what differs between them is read back.
				whole := srv.Version() == pgtest.Version(t)
				if transport == CSV && (whole || c.rel == "p") {
					checkRows(t, cfg.Jobs[0].Out, pgtest.Connect(t, dsn), c.rel, c.query, whole)
				}
			}
			if digests[0] != digests[1] {
				t.Errorf("%s: the transports give other bytes", c.rel)
			}
		}
		cfg := config(t, dsn, Job{Table: "nocolumns", Out: filepath.Join(outDir(t, "o.parquet"), "o.parquet")})
		if res := run1(t, cfg); res.Files[0].Rows != 700 {
			t.Errorf("a table without columns: %d rows of 700", res.Files[0].Rows)
		}
	})
}

// One snapshot over several runs: pgbench's four tables agree about every sum while it runs. The tool itself is there where a
// server's packages have it; its tables and transaction are made here in any case.
func TestPgbenchInvariant(t *testing.T) {
	t.Run("imitated", func(t *testing.T) {
		dsn := pgtest.Database(t)
		pgtest.Exec(t, dsn, "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int)", "CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, tbalance int)",
			"CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, abalance int, filler char(84) DEFAULT '')", "CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int)",
			"INSERT INTO pgbench_branches SELECT k, 0 FROM generate_series(1, 5) k", "INSERT INTO pgbench_tellers SELECT k, 0 FROM generate_series(1, 50) k",
			"INSERT INTO pgbench_accounts SELECT k, 0 FROM generate_series(1, 20000) k",
			`CREATE PROCEDURE pay() LANGUAGE plpgsql AS $$ DECLARE d int := (random() * 10000 - 5000)::int; a int := 1 + (random() * 19999)::int; b int := 1 + (random() * 4)::int; t int := 1 + (random() * 49)::int; BEGIN
			UPDATE pgbench_accounts SET abalance = abalance + d WHERE aid = a; UPDATE pgbench_tellers SET tbalance = tbalance + d WHERE tid = t;
			UPDATE pgbench_branches SET bbalance = bbalance + d WHERE bid = b; INSERT INTO pgbench_history VALUES (t, b, a, d); END $$`)
		defer writers(t, dsn, "CALL pay()", "CALL pay()", "CALL pay()")()
		sumsAgree(t, dsn)
	})
	for _, in := range pgtest.Majors(t) {
		pgbench := filepath.Join(in.Bin, "pgbench")
		if _, err := os.Stat(pgbench); err != nil {
			t.Logf("%s is not there", pgbench)
			continue
		}
		t.Run(fmt.Sprintf("pgbench of %d", in.Major), func(t *testing.T) {
			dsn := pgtest.Database(t)
			if out, err := exec.CommandContext(t.Context(), pgbench, "-i", "-s", "2", "-q", dsn).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			ctx, stop := context.WithCancel(t.Context())
			cmd := exec.CommandContext(ctx, pgbench, "-n", "-c", "4", "-j", "2", "-T", "600", dsn)
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			sumsAgree(t, dsn)
			if ctx.Err() != nil {
				t.Error(ctx.Err())
			}
			stop()
			if err := cmd.Wait(); cmd.ProcessState.Exited() && cmd.ProcessState.ExitCode() != 0 {
				t.Errorf("pgbench ended by itself: %v\n%s", err, &out)
			}
		})
	}
}

// sumsAgree exports pgbench's tables one by one from one snapshot, several times, and compares the sums in the files.
func sumsAgree(t *testing.T, dsn string) {
	t.Helper()
	for begun := time.Now(); strings.TrimSpace(pgtest.Query(t, dsn, "SELECT sum(delta) <> 0 FROM pgbench_history")) != "t"; time.Sleep(50 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("nothing is paid: the test shows nothing")
		}
	}
	for range 4 {
		time.Sleep(100 * time.Millisecond)
		holder := pgtest.Connect(t, dsn)
		var id string
		if _, err := holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
			t.Fatal(err)
		}
		if err := holder.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		dir := outDir(t, "accounts.parquet", "tellers.parquet", "branches.parquet", "history.parquet")
		for _, table := range []string{"accounts", "tellers", "branches", "history"} {
			cfg := config(t, dsn, Job{Table: "pgbench_" + table, Out: filepath.Join(dir, table+".parquet")})
			cfg.SnapshotID, cfg.ChunkBytes = id, 16<<10
			run1(t, cfg)
		}
		sums := map[string]int{}
		out := pgtest.RunPython(t, `
import json, sys, pyarrow.parquet as pq, pyarrow.compute as pc
print(json.dumps({t: pc.sum(pq.read_table(f"{sys.argv[1]}/{t}.parquet")["delta" if t == "history" else t[0] + "balance"]).as_py() for t in ("accounts", "tellers", "branches", "history")}))`, dir)
		if err := json.Unmarshal(out, &sums); err != nil {
			t.Fatal(err)
		}
		if sums["accounts"] != sums["tellers"] || sums["tellers"] != sums["branches"] || sums["branches"] != sums["history"] {
			t.Errorf("the sums disagree: %v", sums)
		}
		holder.Close(t.Context())
	}
}

// A full or unusable temp or target directory is an error of its own and leaves nothing.
func TestNothingLeftOnFailure(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, repeat(md5(k::text), 8) AS s FROM generate_series(1, 30000) k")
	missing := config(t, dsn, Job{Table: "t", Out: filepath.Join(t.TempDir(), "no", "t.parquet")})
	if _, err := Run(t.Context(), missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: got %v", err)
	}
	temp := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "t.parquet")})
	temp.TempDir = filepath.Join(t.TempDir(), "no")
	if _, err := Run(t.Context(), temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing temp directory: got %v", err)
	}
	kept := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "t.parquet")})
	kept.TempDir, kept.KeepTemp, kept.TempLimit = t.TempDir(), true, 1<<20
	pgtest.NoLeftovers(t, kept.TempDir)
	if _, err := Run(t.Context(), kept); !errors.Is(err, errTempLimit) || strings.Contains(err.Error(), "connection") {
		t.Errorf("kept files beyond the limit: got %v", err)
	}
	// Pages count too: 30 MB of random text in one row group, with room for a few.
	pages := config(t, dsn, Job{SQL: "SELECT md5(random()::text) AS a, md5(random()::text) AS b, md5(random()::text) AS c FROM generate_series(1, 300000)", Out: filepath.Join(outDir(t), "t.parquet"), RowGroupRows: 1e6})
	pages.Memory, pages.TempLimit = 4<<20, 2<<20
	if _, err := Run(t.Context(), pages); !errors.Is(err, parquetw.ErrTempLimit) {
		t.Errorf("pages beyond the limit of temp space: got %v", err)
	}
	groups := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "t.parquet"), RowGroupRows: 1})
	pgtest.Exec(t, dsn, "INSERT INTO t SELECT k, '' FROM generate_series(1, 10000) k", "ANALYZE t")
	var rg *RowGroupsError
	if _, err := Run(t.Context(), groups); !errors.As(err, &rg) {
		t.Errorf("40,000 row groups by the estimate: got %v", err)
	}
	groups = config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "t.parquet"), RowGroupBytes: 1})
	if got, err := DryRun(t.Context(), groups); err != nil || !strings.Contains(strings.Join(got.Warnings, "\n"), "in row groups of 1 B may be more than Parquet's 32,767") {
		t.Errorf("row groups of a byte: %v, %v", got, err)
	}
	pgtest.Exec(t, dsn, "CREATE TABLE u AS SELECT k AS i FROM generate_series(1, 33000) k", "UPDATE pg_class SET reltuples = 10 WHERE relname = 'u'")
	exact := config(t, dsn, Job{SQL: "SELECT i FROM u LIMIT 32768", Out: filepath.Join(outDir(t), "u.parquet"), RowGroupRows: 1})
	if _, err := Run(t.Context(), exact); err == nil || !strings.Contains(err.Error(), "32,767") && !strings.Contains(err.Error(), "32767") {
		t.Errorf("32,768 row groups: got %v", err)
	}
}

func TestKeepTemp(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, 'a,b' AS s FROM generate_series(1, 5000) k")
	cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet")})
	cfg.KeepTemp, cfg.TempDir, cfg.ChunkBytes = true, t.TempDir(), 32<<10
	res := run1(t, cfg)
	names, err := filepath.Glob(filepath.Join(res.KeptDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var all strings.Builder
	for i, n := range names {
		if want := fmt.Sprintf("chunk-%05d.csv", i); filepath.Base(n) != want {
			t.Errorf("file %s, want %s", n, want)
		}
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	if len(names) < 2 || strings.Count(all.String(), "\n") != 5000 || !strings.HasPrefix(all.String(), "1,\"a,b\"\n2,") {
		t.Errorf("%d files, %d lines, beginning %.20q", len(names), strings.Count(all.String(), "\n"), all.String())
	}
	if st, err := os.Stat(res.KeptDir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode: %v %v", st.Mode(), err)
	}
}
