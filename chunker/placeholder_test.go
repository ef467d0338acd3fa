package chunker

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// Statements whose {chunk} is right, with what they give without it.
var placed = []string{
	`SELECT a.id, b.k FROM obs a JOIN other b ON b.id = a.id WHERE {chunk:a} AND a.id < 5000`,
	`SELECT a.id, b.k FROM obs a, other b WHERE b.id = a.id AND {chunk:a}`,
	`SELECT a.id, b.k FROM obs a LEFT JOIN other b ON b.id = a.id WHERE a.flag AND {chunk:a} AND a.id > 3`,
	`SELECT a.id, b.k FROM other b RIGHT JOIN obs a ON b.id = a.id WHERE {chunk:a}`,
	`SELECT "A".id FROM public.obs AS "A" NATURAL JOIN other WHERE {chunk:"A"}`,
	`SELECT obs.id FROM obs WHERE {chunk} AND obs.stn IS NOT NULL`,
	`SELECT id FROM public.obs o WHERE id > 5 AND {chunk}`,
	`SELECT a.id, unnest(a.arr) AS u FROM obs a WHERE {chunk:a}`,
	`SELECT a.id FROM obs a WHERE {chunk:a} AND EXISTS (SELECT FROM other b WHERE b.id = a.id ORDER BY k)`,
	`SELECT a.id FROM obs a WHERE NOT EXISTS (SELECT 1 FROM other b WHERE b.id = a.id) AND {chunk:a}`,
	`SELECT a.id, (SELECT count(*) FROM obs b WHERE b.mag = a.mag AND b.id < 50) AS n FROM obs a WHERE a.id < 90 AND {chunk:a}`,
	`SELECT a.id, s.n FROM obs a JOIN (SELECT k, count(*) AS n FROM other GROUP BY k) s ON s.k = a.mag::int WHERE {chunk:a}`,
	`WITH s AS (SELECT DISTINCT k FROM other) SELECT a.id, s.k FROM obs a JOIN s ON s.k = a.id WHERE {chunk:a}`,
	`SELECT a.id, l.k FROM obs a CROSS JOIN LATERAL (SELECT max(k::int) AS k, sum((o.k * 2)::numeric) AS s FROM other o WHERE o.id = a.id) l WHERE {chunk:a}`,
	`SELECT a.id, ARRAY[a.id] AS "limit", 'LIMIT 1' AS l, a.id AS offset FROM obs a JOIN other ON other.k = a.id WHERE {chunk:a} /* OVER () */`,
	`SELECT a.id, s.n FROM obs a CROSS JOIN (SELECT count(*) FILTER (WHERE k > 2) AS n, bool_or(k = 3) AS b FROM other) s WHERE {chunk:a}`,
	`SELECT CASE WHEN a.flag AND a.id > 3 THEN 'x{chunk}' ELSE $$ {chunk:b} $$ END AS c, a.id FROM obs a WHERE {chunk:a} AND a.id BETWEEN 2 AND 9 -- {chunk}`,
	`SELECT a.id FROM obs a JOIN obs_view v ON v.id = a.id + 1 WHERE {chunk:a}`,
	`SELECT a.id FROM obs a WHERE a.id BETWEEN 1 AND 100 AND {chunk:a} AND (a.flag OR a.id > 5)`,
}

// Statements in which the chunks together would not be the result.
var misplaced = []struct{ sql, why string }{
	{`SELECT count(*) FROM obs a WHERE {chunk:a}`, "aggregated"},
	{`SELECT stn, count(*) FROM obs a WHERE {chunk:a} GROUP BY stn`, "GROUP BY"},
	{`SELECT stn FROM obs a WHERE {chunk:a} GROUP BY stn`, "GROUP BY"},
	{`SELECT max(id) AS m FROM obs a WHERE {chunk:a} HAVING true`, "HAVING"},
	{`SELECT DISTINCT stn FROM obs a WHERE {chunk:a}`, "DISTINCT"},
	{`SELECT id FROM obs a WHERE {chunk:a} ORDER BY id`, "ORDER BY"},
	{`SELECT id FROM obs a WHERE {chunk:a} LIMIT 5`, "LIMIT"},
	{`SELECT id FROM obs a WHERE {chunk:a} OFFSET 5`, "OFFSET"},
	{`SELECT id FROM obs a WHERE {chunk:a} FETCH FIRST ROW ONLY`, "FETCH"},
	{`SELECT row_number() OVER () AS n FROM obs a WHERE {chunk:a}`, "window"},
	{`SELECT rank() OVER w AS n FROM obs a WHERE {chunk:a} WINDOW w AS (ORDER BY id)`, "WINDOW"},
	{`SELECT id FROM obs a WHERE {chunk:a} UNION SELECT id FROM other`, "UNION"},
	{`SELECT id FROM other UNION ALL SELECT id FROM obs a WHERE {chunk:a}`, "UNION"},
	{`SELECT id FROM other EXCEPT SELECT id FROM obs a WHERE {chunk:a}`, "EXCEPT"},
	{`(SELECT id FROM obs a WHERE {chunk:a})`, "parentheses"},
	{`SELECT id FROM (SELECT id FROM obs a WHERE {chunk:a}) s`, "parentheses"},
	{`SELECT count(*) FROM (SELECT id FROM obs a WHERE {chunk:a}) s`, "parentheses"},
	{`WITH x AS (SELECT id FROM obs a WHERE {chunk:a}) SELECT id FROM x`, "parentheses"},
	{`SELECT id FROM obs a WHERE ({chunk:a})`, "parentheses"},
	{`SELECT id FROM obs a WHERE NOT {chunk:a}`, "alone"},
	{`SELECT id FROM obs a WHERE {chunk:a} OR id < 5`, "AND"},
	{`SELECT id FROM obs a WHERE id < 5 OR flag AND {chunk:a}`, "OR"},
	{`SELECT id FROM obs a WHERE flag = {chunk:a}`, "alone"},
	{`SELECT id FROM obs a WHERE {chunk:a} IS TRUE`, "alone"},
	{`SELECT id FROM obs a WHERE flag BETWEEN false AND {chunk:a}`, "alone"},
	{`SELECT id FROM obs a WHERE CASE WHEN flag AND {chunk:a} THEN true END`, "CASE"},
	{`SELECT {chunk:a} AS c, id FROM obs a`, "WHERE"},
	{`SELECT {chunk:a} AS c, id FROM obs a WHERE id > 5`, "WHERE"},
	{`SELECT a.id FROM obs a JOIN other b ON {chunk:a} AND a.id = b.id`, "WHERE"},
	{`SELECT a.id FROM other b LEFT JOIN obs a ON a.id = b.id WHERE {chunk:a}`, "outer join"},
	{`SELECT a.id FROM obs a RIGHT JOIN other b ON a.id = b.id WHERE {chunk:a}`, "outer join"},
	{`SELECT a.id FROM obs a FULL JOIN other b ON a.id = b.id WHERE {chunk:a}`, "outer join"},
	{`SELECT o.id FROM obs o JOIN other USING (id) WHERE {chunk}`, "not one table"},
	{`SELECT o.id FROM obs o WHERE {chunk:x}`, "x is no table"},
	{`SELECT o.id FROM obs o JOIN (SELECT 1 AS id) s USING (id) WHERE {chunk:s}`, "s is no table"},
	{`SELECT o.id FROM (obs a JOIN other b USING (id)) o WHERE {chunk:a}`, "a is no table"},
	{`SELECT g FROM generate_series(1, 5) g WHERE {chunk:g}`, "g is no table"},
	{`SELECT a.id FROM obs_view a WHERE {chunk:a}`, "view"},
	{`SELECT c.relname FROM pg_class c WHERE {chunk:c}`, "system catalog"},
	{`WITH w AS (SELECT 1 AS id) SELECT w.id FROM w WHERE {chunk:w}`, "no table"},
	{`WITH obs AS (SELECT 1 AS id) SELECT o.id FROM obs o WHERE {chunk:o}`, "does not read"},
	{`SELECT a.id FROM obs a WHERE {chunk:a} AND random() < 0.5`, "VOLATILE"},
	{`SELECT a.id, now() AS n FROM obs a WHERE {chunk:a}`, "STABLE"},
	{`SELECT a.id FROM obs a JOIN (SELECT now() AS t) s ON s.t > a.created WHERE {chunk:a}`, "STABLE"},
	{`SELECT a.id FROM obs a WHERE {chunk:a} AND a.created > 'yesterday'`, "present time"},
	{`SELECT a.id FROM obs a WHERE {chunk:a} AND a.obstime < current_date`, "CURRENT_DATE"},
	{`SELECT a.id FROM obs a, other b TABLESAMPLE SYSTEM (50) WHERE {chunk:a}`, "TABLESAMPLE"},
	{`SELECT a.id FROM obs a, obs b WHERE a.id = b.id AND {chunk:a} AND {chunk:b}`, "only one"},
	{`SELECT a.id FROM obs a JOIN v_random r ON r.id = a.id + 1 WHERE {chunk:a}`, "view public.v_random"},
	{`SELECT a.id FROM obs a JOIN (SELECT id FROM v_limit) r USING (id) WHERE {chunk:a}`, "view public.v_limit"},
	{`SELECT a.id, v.id AS v FROM obs a CROSS JOIN (SELECT id FROM other WHERE k = 3 LIMIT 1) v WHERE {chunk:a}`, "has LIMIT"},
	{`SELECT a.id, (SELECT id FROM other ORDER BY k LIMIT 1) AS v FROM obs a WHERE {chunk:a}`, "has LIMIT"},
	{`SELECT a.id FROM obs a WHERE a.id IN (SELECT id FROM other OFFSET 3) AND {chunk:a}`, "has OFFSET"},
	{`SELECT a.id FROM obs a WHERE a.id = (SELECT id FROM other FETCH FIRST ROW ONLY) AND {chunk:a}`, "has FETCH"},
	{`WITH v AS (SELECT id FROM other LIMIT 1) SELECT a.id, v.id AS v FROM obs a, v WHERE {chunk:a}`, "has LIMIT"},
	{`SELECT a.id FROM obs a JOIN (SELECT DISTINCT ON (k) k, id FROM other) v ON v.id = a.id WHERE {chunk:a}`, "has DISTINCT ON"},
	{`SELECT a.id FROM obs a JOIN (SELECT id, row_number() OVER () AS r FROM other) v ON v.id = a.id WHERE v.r = 1 AND {chunk:a}`, "has a window function"},
	{`SELECT a.id, v.l FROM obs a CROSS JOIN (SELECT array_agg(id) AS l FROM other) v WHERE {chunk:a}`, "aggregate array_agg"},
	{`SELECT a.id, v.l FROM obs a CROSS JOIN (SELECT string_agg(id::text, ',' ORDER BY k) AS l FROM other) v WHERE {chunk:a}`, "aggregate string_agg"},
	{`SELECT a.id, (SELECT sum("Dec") FROM obs) AS s FROM obs a WHERE {chunk:a}`, "aggregate sum"},
	{`SELECT a.id, (SELECT sum(k + "Dec"::int) FROM other, obs) AS s FROM obs a WHERE {chunk:a}`, "aggregate sum"},
	{`SELECT a.id, (SELECT max(mag::numeric) FROM obs) AS s FROM obs a WHERE {chunk:a}`, "aggregate max"},
	{`SELECT a.id, (SELECT mode() WITHIN GROUP (ORDER BY k) FROM other) AS s FROM obs a WHERE {chunk:a}`, "aggregate mode"},
	{`SELECT a.id, (SELECT x.array_agg FROM other x) AS s FROM obs a WHERE {chunk:a}`, "aggregate array_agg"},
	{`SELECT a.id, ARRAY(SELECT id FROM other) AS l FROM obs a WHERE {chunk:a}`, "has ARRAY( … )"},
	{`SELECT a.id, v.l FROM obs a CROSS JOIN v_list v WHERE {chunk:a}`, "view public.v_list"},
	{`VALUES ({chunk})`, "parentheses"},
	{`SELECT a.id FROM obs a WHERE false AND {chunk:a}`, "does not read"},
	{`SELECT b.id FROM other b LEFT JOIN obs a ON a.id = b.id WHERE {chunk:a}`, ""},
}

func TestPlaced(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, append(obsTable, `CREATE VIEW v_random AS SELECT id FROM obs WHERE random() < 0.5`,
			`CREATE VIEW v_list AS SELECT array_agg(id) AS l FROM other`, `CREATE VIEW v_limit AS SELECT id FROM other LIMIT 5`)...)
		db := open(t, dsn)
		for _, sql := range placed {
			t.Run(sql, func(t *testing.T) {
				e := db.mustPlan(t, Request{SQL: sql}, Options{ChunkBytes: 300_000, Parallel: 4})
				if e.plan.Target.Shape != Placeholder || srv.Version() >= 14 && e.plan.Len() < 10 {
					t.Errorf("%s, %d chunks: %s", e.plan.Target.Shape, e.plan.Len(), e.plan.Why)
				}
				// A join has no order of its own: compare sorted.
				whole := e.plan.Target.stmt.replaceChunk("true")
				for _, exprs := range [][]string{nil, e.asText()} {
					if d := differ(sorted(e.rows(exprs)), sorted(e.inScanOrder(whole))); d != "" {
						t.Error(d)
					}
				}
			})
		}
		for _, c := range misplaced {
			t.Run(c.sql, func(t *testing.T) {
				e, err := db.plan(t, Request{SQL: c.sql}, Options{ChunkBytes: 300_000})
				var bad *StatementError
				switch {
				case err == nil:
					t.Fatalf("%d chunks: %s", e.plan.Len(), e.plan.Why)
				case !errors.As(err, &bad) || !strings.Contains(err.Error(), c.why):
					t.Errorf("%v, want %q in it", err, c.why)
				}
			})
		}
	})
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
