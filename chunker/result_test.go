package chunker

import (
	"fmt"
	"testing"

	"fast-export/internal/pgtest"
)

func TestResultColumns(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		setup := []string{
			`CREATE DOMAIN d1 AS numeric(7,2)`,
			`CREATE DOMAIN d2 AS d1 CHECK (VALUE > 0)`,
			`CREATE TABLE t (a int NOT NULL, gone int, b varchar(20), c d2 NOT NULL, g numeric(5,1)[][], e int GENERATED ALWAYS AS (a + 1) STORED NOT NULL, f timestamp(3))`,
			`ALTER TABLE t DROP gone`,
			`COMMENT ON COLUMN t.b IS 'It''s b'`,
			`CREATE VIEW v AS SELECT a AS va, b FROM t`,
			`COMMENT ON COLUMN v.va IS 'of the view'`,
			`CREATE TABLE p (a int NOT NULL, b int) PARTITION BY LIST (b)`,
			`CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)`,
			`CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)`,
			`ALTER TABLE p1 ALTER b SET NOT NULL`,
			`CREATE TABLE par (a int NOT NULL, b int NOT NULL)`,
			`CREATE TABLE kid () INHERITS (par)`,
		}
		if srv.Version() < 18 {
			setup = append(setup, `ALTER TABLE kid ALTER b DROP NOT NULL`)
		} else {
			setup = append(setup,
				`CREATE TABLE late (a int, b int NOT NULL)`,
				`INSERT INTO late VALUES (NULL, 1)`,
				`ALTER TABLE late ADD CONSTRAINT later NOT NULL a NOT VALID`,
				`CREATE TABLE virt (a int NOT NULL, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)`,
				`INSERT INTO virt SELECT generate_series(1, 9000)`)
		}
		pgtest.Exec(t, dsn, setup...)
		db := open(t, dsn)
		d2 := queryText(t, db.scout, "SELECT 'd2'::regtype::oid::text")
		numeric72, numeric51 := 7<<16|2+4, 5<<16|1+4
		for _, c := range []struct {
			req  Request
			want []string // name type typmod attnum notnull dims comment
		}{
			{Request{Table: "t"}, []string{
				"a 23 -1 1 true 0 ", "b 1043 24 3 false 0 It's b", fmt.Sprintf("c %s -1 4 true 0 ", d2),
				fmt.Sprintf("g 1231 %d 5 false 2 ", numeric51), "e 23 -1 6 true 0 ", "f 1114 3 7 false 0 ",
			}},
			{Request{Table: "t", Columns: []string{"b", "a"}}, []string{"b 1043 24 3 false 0 It's b", "a 23 -1 1 true 0 "}},
			{Request{Table: "t", Columns: []string{"ctid"}}, []string{"ctid 27 -1 -1 false 0 "}},
			{Request{SQL: "SELECT b AS x, a + 1 AS y, c, b || 'x' AS z FROM t"}, []string{
				"x 1043 24 3 false 0 It's b", "y 23 -1 0 false 0 ", fmt.Sprintf("c %s -1 4 true 0 ", d2), "z 25 -1 0 false 0 ",
			}},
			{Request{SQL: "SELECT t.a, l.a AS l, l.c FROM t LEFT JOIN t l ON l.a = t.a"}, []string{
				"a 23 -1 1 false 0 ", "l 23 -1 1 false 0 ", fmt.Sprintf("c %s -1 4 false 0 ", d2),
			}},
			{Request{SQL: "SELECT a FROM t LIMIT 5"}, []string{"a 23 -1 1 false 0 "}},
			{Request{SQL: "SELECT c::d1 AS d, 'x' AS u, NULL AS n, 1.5::numeric(7,2) AS m FROM t"}, []string{
				fmt.Sprintf("d 1700 %d 0 false 0 ", numeric72), "u 25 -1 0 false 0 ", "n 25 -1 0 false 0 ", fmt.Sprintf("m 1700 %d 0 false 0 ", numeric72),
			}},
			{Request{Table: "v"}, []string{"va 23 -1 1 false 0 of the view", "b 1043 24 2 false 0 "}},
			{Request{SQL: "SELECT va FROM v"}, []string{"va 23 -1 1 false 0 of the view"}},
			{Request{Table: "p"}, []string{"a 23 -1 1 true 0 ", "b 23 -1 2 false 0 "}},
			{Request{Table: "p", Where: "b = 1"}, []string{"a 23 -1 1 true 0 ", "b 23 -1 2 true 0 "}},
			{Request{Table: "par"}, []string{"a 23 -1 1 true 0 ", fmt.Sprintf("b 23 -1 2 %t 0 ", srv.Version() >= 18)}},
			{Request{SQL: "SELECT a, b FROM par WHERE length(current_user) > a"}, []string{"a 23 -1 1 true 0 ", fmt.Sprintf("b 23 -1 2 %t 0 ", srv.Version() >= 18)}},
			{Request{Table: "par", Chunk: Hint{By: CutColumn, Column: "a", Bounds: []string{"5"}}}, []string{"a 23 -1 1 true 0 ", fmt.Sprintf("b 23 -1 2 %t 0 ", srv.Version() >= 18)}},
			{Request{SQL: "SELECT * FROM ONLY par"}, []string{"a 23 -1 1 true 0 ", "b 23 -1 2 true 0 "}},
			{Request{SQL: "SELECT ROW(1, 2) AS r, NULL::void AS v"}, []string{"r 2249 -1 0 false 0 ", "v 2278 -1 0 false 0 "}},
		} {
			t.Run(fmt.Sprint(c.req), func(t *testing.T) {
				e := db.mustPlan(t, c.req, Options{})
				check(t, e.plan, c.want)
			})
		}
		if srv.Version() >= 18 {
			check(t, db.mustPlan(t, Request{Table: "late"}, Options{}).plan, []string{"a 23 -1 1 false 0 ", "b 23 -1 2 true 0 "})
			e := db.mustPlan(t, Request{Table: "virt"}, Options{ChunkBytes: 50_000})
			if e.plan.Len() < 4 {
				t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
			}
			if d := differ(e.rows(nil), e.inScanOrder("SELECT a, b FROM virt")); d != "" {
				t.Error(d)
			}
		}
	})
}

func check(t *testing.T, p *Plan, want []string) {
	t.Helper()
	if len(p.Columns) != len(want) {
		t.Errorf("%d columns, want %d", len(p.Columns), len(want))
		return
	}
	for i, c := range p.Columns {
		if got := fmt.Sprintf("%s %d %d %d %t %d %s", c.Name, c.Type, c.Typmod, c.Attnum, c.NotNull, c.Dims, c.Comment); got != want[i] {
			t.Errorf("column %d: %q, want %q", i+1, got, want[i])
		}
	}
}
