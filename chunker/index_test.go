package chunker

import (
	"fmt"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// TestIndex finds few rows of a large table by an index, and gives them in
// the order of a scan all the same.
func TestIndex(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, append(measured,
			`CREATE TABLE big (id int, stn text, v text, flag bool) WITH (fillfactor = 60)`,
			`INSERT INTO big SELECT g, CASE WHEN g % 400 = 5 THEN 'X05' ELSE 'F' || g % 3 END, repeat('x', 60), true FROM generate_series(1, 40000) g`,
			`CREATE INDEX ON big (stn)`,
			`CREATE INDEX ON big (id)`,
			`VACUUM ANALYZE big`,
			// HOT: the new versions go to the end of their pages, the index
			// points to where the old ones were.
			`UPDATE big SET v = 'new' WHERE id % 800 = 5`,
			`CREATE TABLE wide AS SELECT g AS id, repeat('x', 1000) AS v FROM generate_series(1, 10000) g`,
			`CREATE INDEX ON wide (id)`,
			`VACUUM ANALYZE wide`,
			`CREATE TABLE dense (k int, v int) WITH (fillfactor = 80)`,
			`INSERT INTO dense SELECT g % 40, g FROM generate_series(1, 20000) g`,
			`CREATE INDEX ON dense (k)`,
			`VACUUM ANALYZE dense`,
			`UPDATE dense SET v = -v WHERE v % 120 = 7`)...)
		db := open(t, dsn)
		o := Options{ChunkBytes: 100_000, Parallel: 3}
		for _, c := range []struct {
			req  Request
			sql  string
			want ScanKind
		}{
			{Request{SQL: "SELECT id, v FROM big WHERE stn = 'X05'"}, "", Sorted},
			{Request{Table: "big", Where: "stn = 'X05'"}, "SELECT * FROM big WHERE stn = 'X05'", Sorted},
			{Request{SQL: "SELECT id AS ctid_, v AS id FROM big AS \"B\" WHERE id IN (5, 39205, 17) OR stn = 'X05'"}, "", Sorted},
			{Request{SQL: "SELECT id FROM big WHERE stn = 'F1'"}, "", TIDRange},
			{Request{SQL: "SELECT id FROM big WHERE stn > 'F1' AND flag"}, "", TIDRange},
			{Request{SQL: "SELECT id FROM wide WHERE random() < 2"}, "", Whole}, // an index has all, but not its order
			{Request{SQL: "SELECT k, v FROM dense WHERE k = 7"}, "", Sorted},
			{Request{SQL: "SELECT id FROM big WHERE stn = 'X05' AND v <> upper(v) AND length(current_user) > 0"}, "", Whole},
			{Request{SQL: "SELECT id FROM big WHERE stn = 'X05' AND length(v || current_user) > 0"}, "", Sorted},
		} {
			t.Run(fmt.Sprint(c.req), func(t *testing.T) {
				e := db.mustPlan(t, c.req, o)
				want := c.want
				if srv.Version() < 14 && want == TIDRange {
					want = Whole
				}
				if got := e.plan.Sources[0].Scan; got != want {
					t.Errorf("by %s, want %s: %s", got, want, e.plan.Why)
				}
				sql := c.sql
				if sql == "" {
					sql = c.req.SQL
				}
				if d := differ(e.rows(nil), e.inScanOrder(sql)); d != "" {
					t.Error(d)
				}
				if d := differ(e.rows(e.asText()), e.inScanOrder(e.textOf(sql))); d != "" {
					t.Errorf("as text: %s", d)
				}
			})
		}

		if srv.Version() >= 14 {
			e := db.mustPlan(t, Request{SQL: "SELECT id FROM big WHERE stn = 'X05'"}, Options{ChunkBytes: 100_000, Parallel: 64})
			if e.plan.Sources[0].Scan != TIDRange {
				t.Errorf("64 connections read by %s", e.plan.Sources[0].Scan)
			}
		}
		// Partitions decide one by one.
		e := db.mustPlan(t, Request{Table: "m", Where: "id < 40"}, o)
		kinds := map[ScanKind]int{}
		for i := range e.plan.Sources {
			kinds[e.plan.Sources[i].Scan]++
		}
		if kinds[Sorted] == 0 {
			t.Errorf("sources are read by %v", kinds)
		}
		if d := differ(e.rows(nil), e.inScanOrder("SELECT * FROM m WHERE id < 40")); d != "" {
			t.Error(d)
		}

		// Why the rows are sorted: a bitmap scan has another order.
		begin(t, db.coord, "")
		want := (&exporting{sessions: db, t: t}).inScanOrder("SELECT k, v FROM dense WHERE k = 7")
		exec(t, db.coord, "SET LOCAL enable_bitmapscan = on; SET LOCAL enable_seqscan = off")
		if plan := queryText(t, db.coord, "EXPLAIN SELECT k, v FROM dense WHERE k = 7"); !strings.HasPrefix(plan, "Bitmap Heap Scan") {
			t.Fatalf("no bitmap scan: %s", plan)
		}
		if got := copyOut(t, db.coord, "SELECT k, v FROM dense WHERE k = 7"); got == want {
			t.Error("a bitmap scan gives the order of a scan here: the test shows nothing")
		}
	})
}

// TestFewConnections weighs an index against what the connections scan together.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	s := Source{Scan: TIDRange, chunks: 64}
	scan := planNode{TotalCost: 1000, Rows: 100, Output: []string{"a"}}
	index := planNode{Type: "Bitmap Heap Scan", TotalCost: 200, Rows: 100}
	for parallel, want := range map[int]ScanKind{1: Sorted, 2: Sorted, 8: Sorted, 16: TIDRange, 64: TIDRange} {
		got := s
		(&Plan{options: Options{Parallel: parallel}}).useIndex(&got, &scan, &index)
		if got.Scan != want {
			t.Errorf("parallel %d: %s, want %s", parallel, got.Scan, want)
		}
	}
	whole := Source{Scan: Own, chunks: 1}
	(&Plan{options: Options{Parallel: 1}}).useIndex(&whole, &scan, &index)
	if whole.Scan != Own {
		t.Errorf("a foreign table is read by %s", whole.Scan)
	}
}
