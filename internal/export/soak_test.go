package export

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/internal/pgtest"
	"fast-export/snapshot"
)

// TestSoakExports exports one table over and over, by random options, while others write, rewrite and add columns and while
// backends are terminated. Rows come, change and go in pairs, so a file that lacks one or has one twice shows it; every other
// run adopts a snapshot, and there all rows and their order are compared with what another connection inside it reads. A run
// may fail only by a lost or unusable snapshot. It takes FAST_EXPORT_SOAK (make soak: 10m), three seconds without.
func TestSoakExports(t *testing.T) {
	lasts := 3 * time.Second
	if v := os.Getenv("FAST_EXPORT_SOAK"); v != "" {
		var err error
		if lasts, err = time.ParseDuration(v); err != nil {
			t.Fatalf("FAST_EXPORT_SOAK: %v", err)
		}
	}
	rng := newRand(t)
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE soak (id bigserial, pair int, a text, b float8, c timestamptz DEFAULT now(), d int)",
		"INSERT INTO soak (pair, a, b) SELECT k, repeat(md5(k::text), 1 + k % 9), k / 7.0 * s FROM generate_series(1, 10000) k, (VALUES (1), (-1)) v (s)",
		"CREATE INDEX ON soak (pair)", "CREATE SEQUENCE pairs START 10001", "CREATE MATERIALIZED VIEW soaked AS SELECT id, pair, a, b, c FROM soak")

	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	defer busy.Wait()
	defer stop()
	again := func(every time.Duration, statement func(rng *rand.Rand) string) {
		conn := pgtest.Connect(t, dsn)
		rng := rand.New(rand.NewPCG(rng.Uint64(), 2))
		if _, err := conn.Exec(ctx, "SET lock_timeout = '300ms'"); err != nil {
			t.Fatal(err)
		}
		busy.Go(func() {
			for ctx.Err() == nil {
				_, err := conn.Exec(context.Background(), statement(rng))
				// DDL that waits too long for an export gives up: nobody else should wait behind it for ever.
				var pg *pgconn.PgError
				if err != nil && !(errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01")) {
					t.Error(err)
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(every):
				}
			}
		})
	}
	for range 2 {
		again(2*time.Millisecond, func(rng *rand.Rand) string {
			k := rng.IntN(20000)
			return []string{
				fmt.Sprintf("INSERT INTO soak (pair, a, b) SELECT p, repeat(md5(p::text), (p %% 20)::int), p * s / 3.0 FROM (SELECT nextval('pairs') p FROM generate_series(1, %d)) g, (VALUES (1), (-1)) v (s)", 1+rng.IntN(50)),
				fmt.Sprintf("UPDATE soak SET a = left(a || 'é\"', 600), b = -b WHERE pair BETWEEN %d AND %d", k, k+rng.IntN(50)),
				fmt.Sprintf("DELETE FROM soak WHERE pair IN (SELECT pair FROM soak WHERE pair > %d ORDER BY pair LIMIT %d)", k, rng.IntN(40)),
			}[rng.IntN(3)]
		})
	}
	again(150*time.Millisecond, func(rng *rand.Rand) string {
		n := rng.IntN(1000)
		return []string{
			"VACUUM soak", "VACUUM FULL soak", "ANALYZE soak", "REFRESH MATERIALIZED VIEW soaked",
			fmt.Sprintf("ALTER TABLE soak ADD COLUMN x%d int DEFAULT %d; ALTER TABLE soak DROP COLUMN x%d", n, n, n),
			"ALTER TABLE soak ALTER COLUMN d TYPE bigint", "ALTER TABLE soak ALTER COLUMN d TYPE int",
		}[rng.IntN(7)]
	})
	again(700*time.Millisecond, func(rng *rand.Rand) string {
		return `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fast-export' AND datname = current_database()
			AND query LIKE 'COPY%' ORDER BY random() LIMIT 1`
	})

	done, failed, redone := 0, map[string]int{}, 0
	for begun := time.Now(); time.Since(begun) < lasts || done == 0 && time.Since(begun) < time.Minute; {
		table := []string{"soak", "soak", "soaked"}[rng.IntN(3)]
		path := filepath.Join(outDir(t), "o.parquet")
		cfg := config(t, dsn, Job{Table: table, Columns: []string{"id", "pair", "a", "b", "c"}, Out: path, RowGroupRows: int64(1 + rng.IntN(20000))})
		cfg.Parallel, cfg.ChunkBytes, cfg.Memory = 1+rng.IntN(6), int64(8<<10)<<rng.IntN(9), int64(2<<20)<<rng.IntN(6)
		cfg.Transport = []Transport{Auto, CSV, Binary}[rng.IntN(3)]
		holder, want := pgtest.Connect(t, dsn), ""
		adopts := rng.IntN(2) == 0
		if _, err := holder.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL TimeZone = 'UTC'; SET LOCAL extra_float_digits = 3"); err != nil {
			t.Fatal(err)
		}
		if adopts {
			if err := holder.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&cfg.SnapshotID); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(3) > 0 { // what it reads it locks: then only waiting DDL is in the way
				want = soakSums(t, holder, table)
			}
		}
		res, err := Run(ctx, cfg)
		if err != nil {
			var changed *snapshot.ChangedError
			var lock *snapshot.LockError
			switch {
			case errors.As(err, &changed):
				failed["rewritten before the lock"]++
			case errors.As(err, &lock):
				failed["no lock"]++
			case errors.Is(err, snapshot.ErrLost):
				failed["lost"]++
			default:
				t.Errorf("%+v: %v", cfg, err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a failed run left its file: %v", err)
			}
		} else {
			redone += res.Redone
			if got := soakFile(t, path); want != "" && got != want || strings.HasSuffix(got, "bad") {
				t.Fatalf("%s by %d connections, chunks of %d, transport %d: the file has %s, the snapshot %s", table, cfg.Parallel, cfg.ChunkBytes, cfg.Transport, got, want)
			}
			done++
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		holder.Close(context.Background())
	}
	t.Logf("%d exports agree, %d chunks were copied again, failed: %v", done, redone, failed)
	if done == 0 {
		t.Error("no export came through: the test shows nothing")
	}
}

// soakSums are the number of rows, a sum over their texts and one over their places in the order of the table.
func soakSums(t *testing.T, conn *pgx.Conn, table string) string {
	t.Helper()
	var text string
	if err := conn.QueryRow(t.Context(), `SELECT count(*)::text || ' ' || md5(coalesce(string_agg(id::text || '|' || pair::text || '|' || a || '|' || (extract(epoch FROM c) * 1000000)::bigint::text || '|' || (b * 64)::bigint::text, E'\n' ORDER BY ctid), ''))
		FROM `+table).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// soakFile are the same of a file, and "bad" where its rows are not in pairs.
func soakFile(t *testing.T, path string) string {
	t.Helper()
	return strings.TrimSpace(string(pgtest.RunPython(t, `
import hashlib, sys, pyarrow as pa, pyarrow.parquet as pq
t = pq.read_table(sys.argv[1])
rows = list(zip(t["id"].to_pylist(), t["pair"].to_pylist(), t["a"].to_pylist(), t["c"].cast(pa.int64()).to_pylist(), t["b"].to_pylist()))
lines = [f"{i}|{p}|{a}|{c}|{round(b * 64)}" for i, p, a, c, b in rows]
pairs = {}
for i, p, a, c, b in rows:
    pairs.setdefault(p, []).append((a, abs(b), c, b))
good = len({r[0] for r in rows}) == len(rows) and all(len(v) == 2 and v[0][:3] == v[1][:3] and v[0][3] == -v[1][3] for v in pairs.values())
print(len(lines), hashlib.md5("\n".join(lines).encode()).hexdigest(), *([] if good else ["bad"]))`, path)))
}
