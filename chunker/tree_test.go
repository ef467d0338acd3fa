package chunker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// recorder notes the statements that go through it.
type recorder struct {
	Querier
	sent []string
}

func (r *recorder) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.sent = append(r.sent, sql)
	return r.Querier.Query(ctx, sql, args...)
}

// planned are the statements that the server had to plan for the sake of their
// plan or description.
func (r *recorder) planned() []string {
	var out []string
	for _, sql := range r.sent {
		if strings.HasPrefix(sql, "EXPLAIN") || strings.HasSuffix(sql, "LIMIT 0") {
			out = append(out, sql)
		}
	}
	return out
}

// asked resolves a table by asking the server about its SELECT, whatever the
// catalogs say.
func asked(t *testing.T, q *pgx.Conn, req Request) (*Target, error) {
	t.Helper()
	target := &Target{req: req}
	if err := target.parse(); err != nil {
		t.Fatal(err)
	}
	return target, target.find(t.Context(), q, nil)
}

// TestTrees compares the plan of a tree, made by what the catalogs say, with
// that of a SELECT from it, of which the server is asked.
func TestTrees(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		role := "heir"
		loopback(t, srv, dsn)
		pgtest.Exec(t, dsn, append(measured,
			`CREATE ROLE `+role+` LOGIN`,
			`CREATE TABLE base (id int NOT NULL, v text)`,
			`CREATE TABLE kid (extra int) INHERITS (base)`,
			`CREATE TABLE late (v text, gone int, id int NOT NULL, own text)`,
			`ALTER TABLE late DROP gone`,
			`ALTER TABLE late INHERIT base`,
			`CREATE TABLE both_ (more text) INHERITS (kid, late)`,
			`INSERT INTO base SELECT g, repeat('b', 100) FROM generate_series(1, 2000) g`,
			`INSERT INTO both_ SELECT g, repeat('z', 100) FROM generate_series(1, 2000) g`,
			`CREATE TABLE rooted (a int) PARTITION BY LIST (a)`,
			`CREATE TABLE childless (a int)`,
			`CREATE TABLE born () INHERITS (childless)`,
			`DROP TABLE born`,
			`CREATE TABLE far (id int NOT NULL, v text)`,
			`CREATE TABLE foreign_ (id int NOT NULL, v text) PARTITION BY RANGE (id)`,
			`CREATE TABLE foreign_1 PARTITION OF foreign_ FOR VALUES FROM (0) TO (3000)`,
			`CREATE FOREIGN TABLE foreign_2 PARTITION OF foreign_ FOR VALUES FROM (3000) TO (6000) SERVER loop OPTIONS (table_name 'far')`,
			`INSERT INTO foreign_ SELECT g, repeat('x', 100) FROM generate_series(1, 2999) g`,
			`CREATE ACCESS METHOD stack TYPE TABLE HANDLER heap_tableam_handler`,
			`CREATE TABLE stacked (id int NOT NULL) PARTITION BY RANGE (id)`,
			`CREATE TABLE stacked_1 PARTITION OF stacked FOR VALUES FROM (0) TO (3000) USING stack`,
			`CREATE TABLE stacked_2 PARTITION OF stacked FOR VALUES FROM (3000) TO (9000)`,
			`INSERT INTO stacked SELECT g FROM generate_series(1, 8999) g`,
			`CREATE TABLE ruled_ (id int NOT NULL) PARTITION BY RANGE (id)`,
			`CREATE TABLE ruled_1 PARTITION OF ruled_ FOR VALUES FROM (0) TO (3000)`,
			`ALTER TABLE ruled_1 ENABLE ROW LEVEL SECURITY`,
			`CREATE TABLE shut_ (id int NOT NULL) PARTITION BY RANGE (id)`,
			`CREATE TABLE shut_1 PARTITION OF shut_ FOR VALUES FROM (0) TO (3000)`,
			`CREATE TABLE session_ (id int)`,
			`ANALYZE`,
			`GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role,
			`REVOKE SELECT ON shut_1 FROM `+role)...)
		dropRole(t, dsn, role)
		db, other := open(t, dsn), open(t, dsn+" user="+role)
		temporary := pgtest.Connect(t, dsn)
		exec(t, temporary, "CREATE TEMP TABLE of_another () INHERITS (session_)")
		type test struct {
			db       *sessions
			req      Request
			asks     bool // the server is asked about the SELECT before the snapshot
			explains int  // of the plan, of all members; with a condition from 14 on one of a range of blocks more
		}
		tests := []test{
			{db, Request{Table: "m"}, false, 1},
			{other, Request{Table: "m"}, false, 1},
			{db, Request{Table: "m", Columns: []string{"v", "ctid", "tableoid", "id"}}, false, 1},
			{db, Request{Table: "m_2021"}, false, 1},
			{db, Request{Table: "m_2021_rest", Chunk: Hint{By: CutCTID, Count: 9}}, false, 1},
			{db, Request{Table: "m_2021_rest", Chunk: Hint{By: CutNone}}, false, 1},
			{db, Request{Table: "base"}, false, 1},
			{db, Request{Table: "late"}, false, 1},
			{db, Request{Table: "rooted"}, false, 2}, // the second as a whole, when there is nothing to read
			{db, Request{Table: "childless"}, false, 1},
			{db, Request{Table: "foreign_"}, true, 1},
			{db, Request{Table: "stacked"}, true, 1},
			{db, Request{Table: "ruled_"}, false, 1},
			{other, Request{Table: "ruled_"}, true, 1},
			{db, Request{Table: "shut_"}, false, 1},
			{other, Request{Table: "shut_"}, true, 1},
			{db, Request{Table: "session_"}, true, 1},
			{db, Request{Table: "m", Where: "id > 10"}, true, 3}, // without the condition, and by an index
		}
		if srv.Version() >= 14 {
			pgtest.Exec(t, dsn,
				`CREATE TABLE leaving (a int) PARTITION BY RANGE (a)`,
				`CREATE TABLE leaving_1 PARTITION OF leaving FOR VALUES FROM (0) TO (5000)`,
				`CREATE TABLE leaving_2 PARTITION OF leaving FOR VALUES FROM (5000) TO (9000)`,
				`INSERT INTO leaving SELECT g FROM generate_series(1, 8999) g`)
			brokenDetach(t, dsn, "leaving", "leaving_2")
			tests = append(tests, test{db, Request{Table: "leaving"}, true, 1})
		}
		if srv.Version() >= 18 {
			// A scan of the parent computes b by the parent's expression.
			pgtest.Exec(t, dsn,
				`CREATE TABLE virtual_ (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL) PARTITION BY RANGE (a)`,
				`CREATE TABLE virtual_1 (a int, b int GENERATED ALWAYS AS (a * 3) VIRTUAL)`,
				`ALTER TABLE virtual_ ATTACH PARTITION virtual_1 FOR VALUES FROM (0) TO (3000)`,
				`CREATE TABLE virtual_2 PARTITION OF virtual_ FOR VALUES FROM (3000) TO (9000)`,
				`INSERT INTO virtual_ SELECT g FROM generate_series(1, 8999) g`, `ANALYZE virtual_`)
			tests = append(tests, test{db, Request{Table: "virtual_"}, false, 1})
		}
		for _, c := range tests {
			t.Run(fmt.Sprint(c.req, c.db == other), func(t *testing.T) {
				scout := &recorder{Querier: c.db.scout}
				target, err := Resolve(t.Context(), scout, c.req)
				if err != nil {
					t.Fatal(err)
				}
				if got := scout.planned(); len(got) > 0 != c.asks {
					t.Errorf("before the snapshot: %q", got)
				}
				said, err := asked(t, c.db.scout, c.req)
				if err != nil {
					t.Fatal(err)
				}
				said.Relation.Lock = target.Relation.Lock // set only where nobody was asked
				if !reflect.DeepEqual(target, said) {
					t.Errorf("resolved to %+v, the server says %+v", target, said)
				}

				o := Options{ChunkBytes: 50_000, Parallel: 4}
				begin(t, c.db.coord, "")
				defer c.db.release(t)
				(&exporting{t: t}).lock(c.db.coord, target)
				coord := &recorder{Querier: c.db.coord}
				plan, err := NewPlan(t.Context(), coord, target, o)
				if err != nil {
					t.Fatal(err)
				}
				list := "*"
				if len(c.req.Columns) > 0 {
					list = strings.Join(c.req.Columns, ", ")
				}
				sql := "SELECT " + list + " FROM " + c.req.Table
				if c.req.Where != "" {
					sql += " WHERE " + c.req.Where
				}
				scanned := resolve(t, c.db.scout, Request{SQL: sql, Chunk: c.req.Chunk})
				same, err := NewPlan(t.Context(), c.db.coord, scanned, o)
				if err != nil {
					t.Fatal(err)
				}
				if c.req.Table == "virtual_" && plan.Len() != 1 {
					t.Errorf("a table with virtual generated columns in %d chunks", plan.Len())
				}
				if !reflect.DeepEqual(plan.Sources, same.Sources) {
					t.Errorf("sources %+v, of the SELECT %+v", plan.Sources, same.Sources)
				}
				if !reflect.DeepEqual(plan.Columns, same.Columns) {
					t.Errorf("columns %+v, of the SELECT %+v", plan.Columns, same.Columns)
				}
				sums := func(p *Plan) string {
					return fmt.Sprint(p.Kind, p.Why, p.Warnings, p.Pages, p.HeapBytes, p.ToastBytes, p.EstRows, p.CacheBytes)
				}
				if got, want := sums(plan), sums(same); got != want {
					t.Errorf("plan %s, of the SELECT %s", got, want)
				}
				// How wide a row is one member says for all.
				if got, want := plan.EstBytes, same.EstBytes; got < want*9/10 || got > want*11/10 {
					t.Errorf("%d bytes expected, of the SELECT %d", got, want)
				}
				// All members are planned once, or as often as a condition needs.
				explains := 0
				for _, sql := range coord.planned() {
					switch whole := !strings.Contains(sql, " FROM ONLY "); {
					case whole && strings.HasPrefix(sql, "EXPLAIN"):
						explains++
					case whole:
						t.Errorf("it is planned for its columns: %s", sql)
					}
				}
				want := c.explains
				if c.req.Where != "" && srv.Version() >= 14 {
					want++
				}
				if explains != want {
					t.Errorf("%d EXPLAINs of the whole, want %d: %q", explains, want, coord.planned())
				}
			})
		}

		t.Run("temporary", func(t *testing.T) {
			_, err := Resolve(t.Context(), temporary, Request{Table: "session_"})
			_, want := asked(t, temporary, Request{Table: "session_"})
			if err == nil || want == nil || err.Error() != want.Error() {
				t.Errorf("%v, the server says %v", err, want)
			}
		})
		t.Run("no more statements for more partitions", func(t *testing.T) {
			count := func(table string) int {
				scout := &recorder{Querier: db.scout}
				target := resolve(t, scout, Request{Table: table})
				begin(t, db.coord, "")
				defer db.release(t)
				coord := &recorder{Querier: db.coord}
				if _, err := NewPlan(t.Context(), coord, target, Options{ChunkBytes: 50_000}); err != nil {
					t.Fatal(err)
				}
				return len(scout.sent) + len(coord.sent)
			}
			if few, many := count("m_2021_rest"), count("m"); few != many {
				t.Errorf("%d statements for 2 leaves, %d for 8", few, many)
			}
		})
		t.Run("held by an extension", func(t *testing.T) {
			pgtest.Exec(t, dsn, `CREATE SCHEMA _timescaledb_catalog`,
				`CREATE TABLE _timescaledb_catalog.chunk (id int, hypertable_id int, schema_name name, table_name name, compressed_chunk_id int)`)
			scout := &recorder{Querier: db.scout}
			resolve(t, scout, Request{Table: "base"})
			if len(scout.planned()) == 0 {
				t.Error("the server is not asked what an extension's tree reads")
			}
		})
	})
}

func resolve(t *testing.T, q Querier, req Request) *Target {
	t.Helper()
	target, err := Resolve(t.Context(), q, req)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// TestPartedTrees has a member that left its tree between the snapshot and its
// lock: its rows are in the snapshot, and the server reads them no more.
func TestPartedTrees(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		for _, c := range []struct{ table, leave string }{
			{"m", "ALTER TABLE m DETACH PARTITION m_2022"},
			{"m", "ALTER TABLE m_2021 DETACH PARTITION m_2021_b"},
			{"base", "ALTER TABLE kid NO INHERIT base"},
		} {
			dsn := srv.Database(t)
			pgtest.Exec(t, dsn, append(measured,
				`CREATE TABLE base (id int NOT NULL)`, `CREATE TABLE kid () INHERITS (base)`, `CREATE TABLE other () INHERITS (base)`)...)
			db := open(t, dsn)
			target := resolve(t, db.scout, Request{Table: c.table})
			begin(t, db.coord, "")
			exec(t, db.coord, "SELECT 1") // the snapshot
			pgtest.Exec(t, dsn, c.leave)
			(&exporting{t: t}).lock(db.coord, target)
			_, err := NewPlan(t.Context(), db.coord, target, Options{ChunkBytes: 50_000})
			var changed *ChangedError
			if !errors.As(err, &changed) || !strings.Contains(err.Error(), "no longer a part of it") {
				t.Errorf("%s: %v", c.leave, err)
			}
			db.release(t)
		}
	})
}
