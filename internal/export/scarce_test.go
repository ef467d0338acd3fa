package export

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
	"fast-export/snapshot"
)

// A bad value in one file is that file's failure also where the server has room for just this run's connections: the one that is given up
// for it is counted until its process has ended.
func TestBadValueWhereConnectionsAreScarce(t *testing.T) {
	dsn := pgtest.Start(t, pgtest.Config{}).Database(t)
	pgtest.Exec(t, dsn,
		"CREATE TABLE good AS SELECT k AS i, repeat(md5(k::text), 8) AS s FROM generate_series(1, 2000) k",
		"CREATE TABLE bad AS SELECT k AS i, repeat(md5(k::text), 8) AS s, CASE WHEN k = 10 THEN 'infinity'::date ELSE '2020-01-01' END AS d FROM generate_series(1, 200000) k",
		"CREATE ROLE few LOGIN CONNECTION LIMIT 2", "GRANT SELECT ON good, bad TO few")
	for range 8 {
		good, bad := filepath.Join(outDir(t, "good.parquet"), "good.parquet"), filepath.Join(outDir(t), "bad.parquet")
		cfg := config(t, strings.Replace(dsn, "user=postgres", "user=few", 1), Job{Table: "good", Out: good})
		second := cfg.Jobs[0]
		second.Table, second.Out = "bad", bad
		cfg.Jobs = append(cfg.Jobs, second)
		cfg.Parallel = 1
		res, err := Run(t.Context(), cfg)
		var partial *PartialError
		var row *RowError
		if !errors.As(err, &partial) || partial.Failed != 1 || !errors.As(err, &row) || res.Files[0].Rows != 2000 {
			t.Fatalf("got %v, want the failure of one of two", err)
		}
	}
	// With room for one connection the others end with it: by the bad value's own error, which no restart would mend.
	pgtest.Exec(t, dsn, "ALTER ROLE few CONNECTION LIMIT 1")
	cfg := config(t, strings.Replace(dsn, "user=postgres", "user=few", 1), Job{Table: "bad", Out: filepath.Join(outDir(t), "bad.parquet")})
	second := cfg.Jobs[0]
	second.Table, second.Out = "good", filepath.Join(outDir(t), "good.parquet")
	cfg.Jobs = append(cfg.Jobs, second)
	_, err := Run(t.Context(), cfg)
	var row *RowError
	if !errors.As(err, &row) || errors.Is(err, snapshot.ErrLost) || !strings.Contains(err.Error(), "the others ended with it") {
		t.Errorf("with one connection: got %v", err)
	}
}

// The last worker that finds no room has not lost the snapshot while the coordinator is in it; the file that failed first is told either way.
func TestLastWord(t *testing.T) {
	dsn := pgtest.Database(t)
	cfg := config(t, dsn, Job{Table: "t"})
	snap, err := snapshot.Open(t.Context(), cfg.Conn, snapshot.Options{Prepare: func(context.Context, *pgx.Conn, int) ([]snapshot.Relation, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close(t.Context())
	r := &run{jobs: []*job{{Job: &Job{Out: "good"}}, {Job: &Job{Out: "bad"}, err: errors.New("no such date")}}}
	full := &snapshot.ConnectError{Err: errors.New("too many connections")}
	for _, lost := range []bool{false, true} {
		if lost {
			_ = snap.Conn().Close(t.Context())
		}
		err := r.lastWord(t.Context(), snap, full)
		if errors.Is(err, snapshot.ErrLost) != lost || !strings.Contains(err.Error(), "too many connections; before that, bad failed: no such date") {
			t.Errorf("with the coordinator gone %v: %v", lost, err)
		}
	}
}
