package butler

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"fast-export/internal/column"
)

// bigRegistry adds n datasets of the type tab_arrow to a copy of the plain repository, a hundred detectors a visit, all
// recorded with one and the same file.
func bigRegistry(t testing.TB, n int) string {
	t.Helper()
	repo := filepath.Join(unpack(t, "sqlite_plain"), "sqlite_plain")
	db, err := sql.Open("sqlite", filepath.Join(repo, "gen3.sqlite3"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	exec := func(q string, args ...any) {
		t.Helper()
		if _, err := tx.Exec(q, args...); err != nil {
			t.Fatal(err)
		}
	}
	var path string
	var size int64
	if err := tx.QueryRow("SELECT path, file_size FROM file_datastore_records WHERE path LIKE '%tab_arrow%'").Scan(&path, &size); err != nil {
		t.Fatal(err)
	}
	for d := range 100 {
		exec("INSERT OR IGNORE INTO detector (instrument, id, full_name) VALUES ('Cam1', ?, ?)", d, fmt.Sprintf("big%d", d))
	}
	for v := range (n + 99) / 100 {
		exec("INSERT INTO visit (instrument, id, day_obs, physical_filter, name) VALUES ('Cam1', ?, 20250101, 'g_01', ?)", 1000+v, fmt.Sprintf("big%d", v))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, i := range rng.Perm(n) {
		id := fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64())
		exec("INSERT INTO dataset (id, dataset_type_id, ingest_date, run_id) VALUES (?, 3, 0, 1)", id)
		exec("INSERT INTO dataset_tags_00000002 (dataset_type_id, dataset_id, collection_id, instrument, detector, visit) VALUES (3, ?, 1, 'Cam1', ?, ?)", id, i%100, 1000+i/100)
		exec("INSERT INTO file_datastore_records (dataset_id, path, formatter, storage_class, component, file_size) VALUES (?, ?, 'lsst.daf.butler.formatters.parquet.ParquetFormatter', 'ArrowTable', '__NULL_STRING__', ?)", id, path, size)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return repo
}

// BenchmarkFirstByte measures from nothing to the first batch, over a registry of 100,000 datasets that are all wanted.
func BenchmarkFirstByte(b *testing.B) {
	repo := bigRegistry(b, 100_000)
	for _, c := range []struct {
		name  string
		where string
	}{{"all", ""}, {"implied where", "band = 'g'"}, {"one visit", "visit = 1500"}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				e, err := Open(ctx, Options{Repo: repo, Collections: []string{"u/me/run1"}, DatasetType: "tab_arrow", Where: c.where})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := e.Schema(ctx); err != nil {
					b.Fatal(err)
				}
				first := &stopSink{stop: cancel}
				if _, err := e.Run(ctx, first); err == nil || first.batches == 0 {
					b.Fatal("no batch came")
				}
				if err := e.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// stopSink ends the run at the first batch.
type stopSink struct {
	stop    func()
	batches int
}

func (s *stopSink) Write(_ context.Context, b *column.Batch) error {
	b.Release()
	s.batches++
	s.stop()
	return context.Canceled
}
func (*stopSink) EndRowGroup() error { return nil }

// BenchmarkRecordTable measures a look-up of a record by its dataset's id.
func BenchmarkRecordTable(b *testing.B) {
	const n = 100_000
	rng := rand.New(rand.NewPCG(1, 2))
	table, ids := newRecordTable(n), make([]uuid, n)
	for i := range ids {
		binary.LittleEndian.PutUint64(ids[i][:], rng.Uint64())
		binary.LittleEndian.PutUint64(ids[i][8:], rng.Uint64())
		table.add(ids[i], fileRecord{})
	}
	for i := 0; b.Loop(); i++ {
		if table.find(ids[i%n]) == nil {
			b.Fatal("not there")
		}
	}
}
