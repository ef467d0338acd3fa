package export

import (
	"path/filepath"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
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
