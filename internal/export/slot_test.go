package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
	"fast-export/snapshot"
)

// The exported rows and the slot's changes on top of them are the table: nothing lost, nothing doubled, with writers at
// work all the while and a TRUNCATE among them.
func TestSlotContinuesTheFile(t *testing.T) {
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint("postgres-", major), func(t *testing.T) {
			srv := pgtest.Start(t, pgtest.Config{Major: major, Settings: []string{"wal_level = logical"}})
			dsn := srv.Database(t)
			pgtest.Exec(t, dsn, "CREATE TABLE t (i int PRIMARY KEY, s text)", "INSERT INTO t SELECT k, 'v' || k FROM generate_series(1, 5000) k",
				"CREATE SEQUENCE n START 10000", "CREATE PUBLICATION p FOR TABLE t")
			stop := writers(t, dsn,
				"INSERT INTO t SELECT nextval('n'), 'new'",
				"UPDATE t SET s = s || 'u' WHERE i = (random() * 5000)::int",
				"DELETE FROM t WHERE i = (random() * 5000)::int",
				"DO $$ BEGIN IF random() < 0.02 THEN TRUNCATE t; END IF; END $$")
			time.Sleep(50 * time.Millisecond)
			cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet")})
			cfg.Slot = snapshot.Slot{Name: "feed", Timeout: 10 * time.Second}
			var res *Result
			for try := 0; ; try++ {
				var err error
				res, err = Run(t.Context(), cfg)
				var changed *snapshot.ChangedError
				var lock *snapshot.LockError
				if errors.As(err, &changed) || errors.As(err, &lock) {
					if try < 20 { // a TRUNCATE came between the slot's snapshot and our lock, or waits behind it
						continue
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			time.Sleep(300 * time.Millisecond)
			pgtest.Exec(t, dsn, "TRUNCATE t", "INSERT INTO t SELECT nextval('n'), 'after'")
			time.Sleep(200 * time.Millisecond)
			stop()

			have := map[string]string{}
			for _, row := range pgtest.ReadParquet(t, cfg.Jobs[0].Out).Rows {
				have[row[0].(string)] = row[1].(string)
			}
			conn := pgtest.Connect(t, dsn)
			var lsn string
			if err := conn.QueryRow(t.Context(), "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'feed'").Scan(&lsn); err != nil || lsn != res.Snapshot.LSN || res.Snapshot.Slot != "feed" {
				t.Errorf("the slot begins at %s, the result says %+v (%v)", lsn, res.Snapshot, err)
			}
			changes := replay(t, conn, have)
			if changes == 0 {
				t.Error("nothing was written meanwhile: the test shows nothing")
			}
			want := map[string]string{}
			for _, row := range serverText(t, conn, "SELECT i, s FROM t") {
				want[*row[0]] = *row[1]
			}
			if !maps.Equal(have, want) {
				t.Errorf("%d rows after %d changes, the table has %d", len(have), changes, len(want))
			}
			pgtest.Query(t, dsn, "SELECT pg_drop_replication_slot('feed')")
		})
	}
}

// replay applies the slot's changes to rows and counts them.
func replay(t *testing.T, conn *pgx.Conn, rows map[string]string) int {
	t.Helper()
	got, err := conn.Query(t.Context(), "SELECT data FROM pg_logical_slot_get_binary_changes('feed', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')")
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(got, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, data := range messages {
		m, err := pglogrepl.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		text := func(tuple *pglogrepl.TupleData, i int) string { return string(tuple.Columns[i].Data) }
		switch m := m.(type) {
		case *pglogrepl.InsertMessage:
			if _, twice := rows[text(m.Tuple, 0)]; twice {
				t.Errorf("row %s comes twice", text(m.Tuple, 0))
			}
			rows[text(m.Tuple, 0)] = text(m.Tuple, 1)
		case *pglogrepl.UpdateMessage:
			if _, there := rows[text(m.NewTuple, 0)]; !there {
				t.Errorf("row %s is updated and not there", text(m.NewTuple, 0))
			}
			rows[text(m.NewTuple, 0)] = text(m.NewTuple, 1)
		case *pglogrepl.DeleteMessage:
			if _, there := rows[text(m.OldTuple, 0)]; !there {
				t.Errorf("row %s is deleted and not there", text(m.OldTuple, 0))
			}
			delete(rows, text(m.OldTuple, 0))
		case *pglogrepl.TruncateMessage:
			clear(rows)
		default:
			continue
		}
		n++
	}
	return n
}

// A failed or interrupted run drops the slot that it made.
func TestSlotGoesWithAFailedRun(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{Settings: []string{"wal_level = logical"}})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i, 'infinity'::date AS d FROM generate_series(1, 10) k")
	cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "o.parquet")})
	cfg.Slot = snapshot.Slot{Name: "feed"}
	if _, err := Run(t.Context(), cfg); err == nil {
		t.Error("an infinite date was exported")
	}
	// Where some files stand the slot goes all the same, and somebody says so.
	some := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "o.parquet")})
	some.Slot = snapshot.Slot{Name: "feed"}
	good := some.Jobs[0]
	good.Columns, good.Out = []string{"i"}, filepath.Join(outDir(t, "good.parquet"), "good.parquet")
	some.Jobs = append(some.Jobs, good)
	var partial *PartialError
	if got, err := Run(t.Context(), some); !errors.As(err, &partial) || got == nil || !strings.Contains(strings.Join(got.Warnings, "\n"), "replication slot feed is dropped") {
		t.Errorf("some files failed: got %+v, %v", got, err)
	}
	slow := slow(t, dsn, 10*time.Second, filepath.Join(outDir(t), "o.parquet"))
	slow.Slot = snapshot.Slot{Name: "feed"}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, slow); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("interrupted: got %v", err)
	}
	if got := strings.TrimSpace(pgtest.Query(t, dsn, "SELECT count(*) FROM pg_replication_slots")); got != "0" {
		t.Errorf("%s slots are left", got)
	}
}
