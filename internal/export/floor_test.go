package export

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fast-export/internal/pgtest"
	"fast-export/snapshot"
)

// A part is the first blocks, the same ones however they are cut, and a run's file has their rows.
func TestPart(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, strings.Split(mixed, ";\n")...)
	pages := pgtest.Query(t, dsn, "SELECT ceil(pg_relation_size('mixed') / 8192 * 0.3)::int")
	want := "SELECT * FROM mixed WHERE ctid < '(" + pages + ",0)' ORDER BY ctid"
	for _, chunk := range []int64{8 << 10, 100 << 10, 1 << 30} {
		dir := outDir(t, "mixed.parquet")
		cfg := config(t, dsn, Job{Table: "mixed", Out: filepath.Join(dir, "mixed.parquet")})
		cfg.ChunkBytes, cfg.Part = chunk, 0.3
		run1(t, cfg)
		checkRows(t, cfg.Jobs[0].Out, pgtest.Connect(t, dsn), "mixed", want, true)
	}
}

// The floor copies all that a run copies, and leaves nothing; what is staged decodes and encodes to the same rows.
func TestFloorAndStages(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, strings.Split(mixed, ";\n")...)
	for _, transport := range []Transport{CSV, Binary} {
		dir := outDir(t, "run.parquet", "staged.parquet")
		cfg := config(t, dsn, Job{Table: "mixed", Out: filepath.Join(dir, "run.parquet")})
		cfg.Transport = transport
		res := run1(t, cfg)
		floor, err := Floor(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if floor.CopyBytes != res.CopyBytes || floor.Workers != res.Workers || floor.Elapsed <= 0 {
			t.Errorf("transport %d: the floor is %+v, the run copied %d bytes over %d connections", transport, floor, res.CopyBytes, res.Workers)
		}
		staged, err := Stage(t.Context(), cfg, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		for _, keep := range []bool{false, true} {
			if err := staged.Decode(keep); err != nil {
				t.Fatal(err)
			}
			if staged.Rows != res.Files[0].Rows || staged.CopyBytes != res.CopyBytes {
				t.Errorf("transport %d: %d rows of %d bytes are staged, the run had %d of %d", transport, staged.Rows, staged.CopyBytes, res.Files[0].Rows, res.CopyBytes)
			}
		}
		out := filepath.Join(dir, "staged.parquet")
		rows, bytes, err := staged.Encode(t.Context(), out)
		if err != nil || rows != res.Files[0].Rows || bytes <= 0 {
			t.Errorf("transport %d: %d rows in %d bytes: %v", transport, rows, bytes, err)
		}
		checkRows(t, out, pgtest.Connect(t, dsn), "mixed", "SELECT * FROM mixed ORDER BY ctid", true)

		// A little of it, cut in the middle of a row.
		little, err := Stage(t.Context(), cfg, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if err := little.Decode(false); err != nil || little.Rows == 0 || little.Rows >= 500 || little.CopyBytes < 10_000 || little.CopyBytes > 30_000 {
			t.Errorf("transport %d: %d rows of %d bytes: %v", transport, little.Rows, little.CopyBytes, err)
		}
	}
}

// A connection that is lost while something is measured is a lost snapshot, however the server or the network ended it.
func TestFloorLosesItsConnection(t *testing.T) {
	dsn := pgtest.Database(t)
	slow := Job{SQL: "SELECT k, repeat('x', 10000) AS s, pg_sleep(0.01)::text AS t FROM generate_series(1, 3000) k"}
	for name, measure := range map[string]func(Config) error{
		"floor": func(cfg Config) error { _, err := Floor(t.Context(), cfg); return err },
		"stage": func(cfg Config) error { _, err := Stage(t.Context(), cfg, 1<<40); return err },
	} {
		ended := make(chan error)
		go func() { ended <- measure(config(t, dsn, slow)) }()
		const end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'COPY %' AND state = 'active'"
		for pgtest.Query(t, dsn, end) == "0" {
			time.Sleep(10 * time.Millisecond)
		}
		if err := <-ended; !errors.Is(err, snapshot.ErrLost) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Who may not look at pg_stat_activity can have a plan made.
func TestDryRunWithoutActivity(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int)", "REVOKE SELECT ON pg_catalog.pg_stat_activity FROM public", "CREATE ROLE blind LOGIN", "GRANT SELECT ON t TO blind")
	t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP OWNED BY blind", "DROP ROLE blind") })
	cfg := config(t, dsn, Job{Table: "t"})
	cfg.Conn.User = "blind"
	plan, err := DryRun(t.Context(), cfg)
	if err != nil || plan.FreeConnections != -1 || plan.ServerBuffersBytes <= 0 || len(plan.Jobs) != 1 {
		t.Errorf("got %+v, %v", plan, err)
	}
	cfg.Conn.User = "postgres"
	if plan, err := DryRun(t.Context(), config(t, dsn, Job{Table: "t"})); err != nil || plan.FreeConnections < 1 {
		t.Errorf("got %+v, %v", plan, err)
	}
}
