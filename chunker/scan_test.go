package chunker

import (
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// obsTable is a heap of some hundred pages with everything that a scan could
// trip over: versions and HOT chains, holes, TOAST, dropped and generated
// columns, names that need quotes.
var obsTable = []string{
	`CREATE TYPE pair AS (a int, d text)`,
	`CREATE TABLE obs (
		id int NOT NULL, gone text, stn text, "Dec" float8, mag numeric(6,2), obstime timestamp, created timestamptz,
		note text, "na""me" text, j jsonb, arr int[], flag bool, shift timetz, at time, "user" text, p pair,
		doubled int8 GENERATED ALWAYS AS (id * 2) STORED
	) WITH (fillfactor = 70)`,
	`ALTER TABLE obs ALTER note SET STORAGE EXTERNAL`,
	`INSERT INTO obs SELECT g, 'x', CASE WHEN g % 1000 = 5 THEN 'X05' WHEN g % 7 = 0 THEN NULL ELSE 'F' || g % 50 END, g * 0.25, g % 30,
		timestamp '2020-01-01' + g * interval '1 hour', timestamptz '2020-01-01 00:00Z' + g * interval '1 hour',
		CASE WHEN g % 500 = 0 THEN repeat('long ' || g, 2000) ELSE 'n' || g END, 'q', jsonb_build_object('k', g, 't', '2020-01-01'), ARRAY[g, g+1],
		g % 3 = 0, '10:00+02', '11:00', 'u', row(g, 'p'::text)::pair
		FROM generate_series(1, 8000) g`,
	`ALTER TABLE obs DROP gone`,
	`CREATE INDEX obs_stn ON obs (stn)`,
	`CREATE UNIQUE INDEX obs_id ON obs (id)`,
	`DELETE FROM obs WHERE id BETWEEN 3000 AND 4000`,
	`VACUUM ANALYZE obs`,
	`UPDATE obs SET mag = mag + 1 WHERE id % 11 = 0`,
	`UPDATE obs SET mag = mag + 1 WHERE id % 1000 = 5`,
	`COMMENT ON COLUMN obs."Dec" IS 'Declination'`,
	`CREATE FUNCTION pure(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 1'`,
	`CREATE FUNCTION moody(i int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT i + 1'`,
	`CREATE FUNCTION sometimes(i int) RETURNS int LANGUAGE sql STABLE AS 'SELECT i + 1'`,
	`CREATE FUNCTION stamp(o obs) RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()'`,
	`CREATE FUNCTION fixed(o obs) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT o.id'`,
	`CREATE FUNCTION asks(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT max(id) + i FROM obs'`,
	`CREATE DOMAIN moment AS timestamptz`,
	`CREATE DOMAIN positive AS int CHECK (VALUE > 0)`,
	`CREATE TYPE colour AS ENUM ('red', 'blue')`,
	`CREATE VIEW obs_view AS SELECT id, stn FROM obs WHERE flag`,
	`CREATE TABLE other (id int PRIMARY KEY, k int)`,
	`INSERT INTO other SELECT g, g % 5 FROM generate_series(1, 100) g`,
	`ANALYZE obs`,
}

// Statements that are split, and whose pieces together must be what the server
// gives for the whole, in its order.
var split = []string{
	`SELECT * FROM obs`,
	`select id from only obs`,
	`SELECT id FROM obs *`,
	`SELECT "Dec", "na""me" AS x, id i FROM public.obs o`,
	`SELECT o.*, o.id AS again FROM obs AS o WHERE o.id > 100;`,
	`SELECT *, id AS again FROM "obs" WHERE id<>7`,
	`SELECT doubled, ctid, xmin, tableoid FROM obs`,
	`SELECT tableoid::oid AS t, cmin, cmax, xmax FROM obs WHERE ctid > '(3,0)'`,
	"SELECT id -- FROM other, LIMIT 1\n, stn /* ORDER BY /* nested */ now() */ FROM obs WHERE id > 5 -- the end",
	`SELECT $$a ; b$$ AS a, $x$ LIMIT 1 $x$ AS b, 'it''s; UNION' AS c, E'\'; DISTINCT' AS d, id FROM obs`,
	`SELECT 'FROM other' AS "from", id AS "order by" FROM obs WHERE stn <> 'LIMIT 5'`,
	`SELECT U&'d\0061t' AS u, B'101' AS b, X'1F' AS x, N'n' AS n, id FROM obs`,
	`SELECT id, arr[1] AS first, arr[1:2] AS two, ARRAY[id, 2] AS both FROM obs`,
	`SELECT id, mag + 1 AS m, -mag AS neg, id * 2 ^ 2 / 7 AS calc, id # 3 AS xored, @ -5 AS abs FROM obs`,
	`SELECT id, stn || '-' || coalesce(note, 'none') AS s FROM obs`,
	`SELECT upper(stn) AS u, pg_catalog.lower(stn) AS l, length(note) AS n, md5(note) AS m, substr(note, 2, 3) AS s FROM obs`,
	`SELECT substring(note FROM 1 FOR 2) AS s, overlay(stn PLACING 'z' FROM 1) AS o, position('n' IN note) AS p, trim(both 'n' from note) AS t FROM obs`,
	`SELECT extract(year FROM obstime) AS y, date_trunc('day', created) AS d, to_char(created, 'YYYY') AS c FROM obs`,
	`SELECT obstime::date AS d, o.created::date AS e, CAST(obstime AS date) AS f, (created)::timestamp AS g, date(obstime) AS h FROM obs o`,
	`SELECT obstime::date::text AS d, id::text::varchar(3)::char AS e, mag::numeric(10, 3) AS n, id::double precision AS dp FROM obs`,
	`SELECT id::bigint AS a, '1 day'::interval AS b, '2020-01-01'::date AS c, date '2020-01-01' AS d, timestamp with time zone '2020-01-01 00:00+00' AS e FROM obs`,
	`SELECT age(created, '2020-01-01 00:00Z') AS a, greatest(id, 5) AS g, least(id, 5) AS l, nullif(id, 5) AS n FROM obs`,
	`SELECT j ->> 'k' AS k, (j -> 'k')::int AS n, j @> '{"k": 1}' AS c, jsonb_build_object('a', id) AS o, to_jsonb(stn) AS t FROM obs`,
	`SELECT CASE WHEN id > 5 THEN 'a' WHEN flag THEN 'b' ELSE stn END AS c, CASE id WHEN 1 THEN 2 END AS d FROM obs`,
	`SELECT id FROM obs WHERE stn LIKE 'F%' AND note NOT ILIKE '%1' OR stn SIMILAR TO 'F(1|2)' AND stn ~ '^F' AND NOT note !~* 'x'`,
	`SELECT id FROM obs WHERE id BETWEEN 10 AND 7500 AND id NOT IN (11, 12) AND stn IS NOT NULL AND flag IS NOT TRUE`,
	`SELECT id FROM obs WHERE stn IS DISTINCT FROM 'F1' AND id = ANY (ARRAY[1, 2, 3]) OR id > ALL ('{5,6}') AND id NOTNULL`,
	`SELECT id FROM obs WHERE obstime >= '2020-02-01' AND created < '2021-01-01 00:00Z' AND obstime + interval '1 day' > timestamp '2020-01-05'`,
	`SELECT id FROM obs WHERE (id, mag) > (5, 3) AND (stn COLLATE "C") > 'A' AND row(id, 1) < row(9999, 1)`,
	`SELECT pure(id) AS p, public.pure(2) AS q FROM obs WHERE pure(id) > 3`,
	`SELECT id::positive AS p, 'red'::colour AS c, (p).a AS pa FROM obs`,
	`SELECT fixed(obs) AS f, obs.fixed AS g FROM obs`,
	`SELECT obs FROM obs`,
	`SELECT row_to_json(o) AS r, o IS NULL AS n, (o).id AS i FROM obs o`,
	`SELECT id AS now, "user" AS "current_user", stn AS random FROM obs WHERE obs."user" = 'u'`,
	`SELECT id AS select, stn AS from, mag AS limit FROM obs`,
	`SELECT id, 'unknown knowledge, nowhere' = note AS k FROM obs WHERE id > 0`,
	`SELECT pg_typeof(id)::text AS t, pg_column_size(note) AS s, concat(stn, note) AS c, format('%s', stn) AS f FROM obs`,
	`SELECT id FROM obs WHERE true`,
	`SELECT public.obs.id, "obs"."note" AS n, PUBLIC . obs /* x */ . stn FROM obs WHERE public.obs.id > 5`,
	`SELECT left(stn, 1) AS l, right(stn, 1) AS r FROM obs`,
	"SELECT\tid\r\nFROM\fobs\nWHERE\n(((id > 1)))",
}

// Statements that are one chunk: their meaning, or their result, would not
// survive being cut. why is a part of the reason.
var unsplit = []struct{ sql, why string }{
	{`SELECT count(*) FROM obs`, "aggregate"},
	{`SELECT max(id) AS m FROM obs WHERE id > 5`, "aggregate"},
	{`SELECT sum(id) FILTER (WHERE flag) AS s FROM obs`, ""},
	{`SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY id) AS p FROM obs`, "an aggregate WITHIN GROUP"},
	{`SELECT DISTINCT stn FROM obs`, "DISTINCT"},
	{`SELECT DISTINCT ON (stn) stn, id FROM obs`, "DISTINCT"},
	{`SELECT ALL id FROM obs`, "ALL"},
	{`SELECT id FROM obs LIMIT 10`, "LIMIT"},
	{`SELECT id FROM obs OFFSET 10`, "OFFSET"},
	{`SELECT id FROM obs FETCH FIRST 3 ROWS ONLY`, "FETCH"},
	{`SELECT id FROM obs WHERE id > 3 LIMIT 10`, "LIMIT"},
	{`SELECT id FROM obs ORDER BY id`, "ORDER BY"},
	{`SELECT id FROM obs WHERE id > 4 ORDER BY id DESC`, "ORDER BY"},
	{`SELECT stn FROM obs GROUP BY stn`, "GROUP BY"},
	{`SELECT 1 AS one FROM obs HAVING true`, "HAVING"},
	{`SELECT row_number() OVER () AS n, id FROM obs`, "window"},
	{`SELECT rank() OVER w AS r FROM obs WINDOW w AS (ORDER BY id)`, "WINDOW"},
	{`SELECT lag(id) OVER (ORDER BY id) AS l FROM obs`, "window"},
	{`SELECT id FROM obs UNION SELECT id FROM other`, "UNION"},
	{`SELECT id FROM obs WHERE id < 9 UNION ALL SELECT id FROM other`, "UNION"},
	{`SELECT id FROM obs INTERSECT SELECT id FROM other`, "INTERSECT"},
	{`SELECT id FROM obs EXCEPT ALL SELECT id FROM other`, "EXCEPT"},
	{`SELECT generate_series(1, 2) AS g FROM obs WHERE id < 9`, "set-returning"},
	{`SELECT unnest(arr) AS u FROM obs`, "set-returning"},
	{`SELECT id, jsonb_object_keys(j) AS k FROM obs`, "set-returning"},
	{`SELECT id, (SELECT max(k) FROM other) AS m FROM obs`, "subquery"},
	{`SELECT id FROM obs WHERE id IN (SELECT id FROM other)`, "subquery"},
	{`SELECT id FROM obs WHERE EXISTS (SELECT FROM other WHERE other.id = obs.id)`, "subquery"},
	{`SELECT id FROM obs WHERE id = ANY (VALUES (1), (2))`, ""},
	{`SELECT ARRAY(SELECT k FROM other) AS a FROM obs`, "subquery"},
	{`SELECT random() AS r FROM obs`, "VOLATILE"},
	{`SELECT id FROM obs WHERE random() < 0.5`, "VOLATILE"},
	{`SELECT clock_timestamp() AS c FROM obs`, "VOLATILE"},
	{`SELECT gen_random_uuid() AS u FROM obs`, "VOLATILE"},
	{`SELECT moody(id) AS m FROM obs`, "VOLATILE"},
	{`SELECT public.moody(id) AS m FROM obs`, "VOLATILE"},
	{`SELECT "moody"(id) AS m FROM obs`, "VOLATILE"},
	{`SELECT MOODY /* call */ (id) AS m FROM obs`, "VOLATILE"},
	{`SELECT sometimes(id) AS m FROM obs`, "STABLE"},
	{`SELECT now() AS n FROM obs`, "STABLE"},
	{`SELECT pg_catalog."now"() AS n FROM obs`, "STABLE"},
	{`SELECT id FROM obs WHERE created > now() - interval '1 day'`, "STABLE"},
	{`SELECT statement_timestamp() AS s, id FROM obs`, "STABLE"},
	{`SELECT transaction_timestamp() AS s, id FROM obs`, "STABLE"},
	{`SELECT timeofday() AS s, id FROM obs`, "VOLATILE"},
	{`SELECT age(obstime) AS a FROM obs`, "STABLE"},
	{`SELECT current_date AS d, id FROM obs`, "CURRENT_DATE"},
	{`SELECT id FROM obs WHERE obstime < CURRENT_TIMESTAMP`, "CURRENT_TIMESTAMP"},
	{`SELECT id FROM obs WHERE obstime < localtimestamp(3)`, "LOCALTIMESTAMP"},
	{`SELECT current_time AS t, id FROM obs`, "CURRENT_TIME"},
	{`SELECT user AS u, id FROM obs`, "USER"},
	{`SELECT current_user AS u, id FROM obs`, "CURRENT_USER"},
	{`SELECT session_user AS u, current_catalog AS c, id FROM obs`, "SESSION_USER"},
	{`SELECT current_schema AS c, id FROM obs`, "CURRENT_SCHEMA"},
	{`SELECT current_schema() AS c, id FROM obs`, ""},
	{`SELECT current_setting('application_name') AS c, id FROM obs`, "STABLE"},
	{`SELECT txid_current_if_assigned() AS c, id FROM obs`, "STABLE"},
	{`SELECT txid_current_snapshot() AS c, id FROM obs`, "STABLE"},
	{`SELECT pg_backend_pid() AS c, id FROM obs`, "STABLE"},
	{`SELECT inet_client_port() AS c, id FROM obs`, "STABLE"},
	{`SELECT pg_relation_size('obs') AS c, id FROM obs`, "VOLATILE"},
	{`SELECT 'now'::timestamptz AS n, id FROM obs`, "present time"},
	{`SELECT timestamp 'today' AS n, id FROM obs`, "present time"},
	{`SELECT E'\x6eow'::timestamptz AS n, id FROM obs`, "present time"},
	{`SELECT U&'\006eow'::timestamptz AS n, id FROM obs`, "present time"},
	{"SELECT 'n'\n'ow'::timestamptz AS n, id FROM obs", "present time"},
	{`SELECT ('n' || 'ow')::timestamptz AS n, id FROM obs`, "present time"},
	{`SELECT $$Yesterday$$::date AS n, id FROM obs`, "present time"},
	{`SELECT id FROM obs WHERE created > 'tomorrow'`, "present time"},
	{`SELECT 'now'::moment AS m, id FROM obs`, "present time"},
	{`SELECT note::timestamptz AS m, id FROM obs WHERE mag < -1`, "present time"},
	{`SELECT (j ->> 't')::date AS m, id FROM obs`, "present time"},
	{`SELECT CAST(j ->> 't' AS date) AS m, id FROM obs`, "present time"},
	{`SELECT (j ->> 't')::text::date AS m, id FROM obs`, "present time"},
	{`SELECT (j ->> 't')::moment AS m, id FROM obs`, "present time"},
	{`SELECT date(j ->> 't') AS m, id FROM obs`, "present time"},
	{`SELECT (j ->> 't').date AS m, id FROM obs`, "present time"},
	{`SELECT (ARRAY[j ->> 't'])::date[] AS m, id FROM obs`, "present time"},
	{`SELECT ('[' || (j ->> 't') || ',]')::daterange AS m, id FROM obs`, "present time"},
	{`SELECT shift AT TIME ZONE 'Europe/Vienna' AS s, id FROM obs`, "time zone"},
	{`SELECT at AT TIME ZONE 'Europe/Vienna' AS s, id FROM obs`, "time zone"},
	{`SELECT timezone('Europe/Vienna', shift) AS s, id FROM obs`, "time zone"},
	{`SELECT obs.stamp AS s, id FROM obs`, "STABLE"},
	{`SELECT (obs).stamp AS s, id FROM obs`, "STABLE"},
	{`SELECT stamp(obs) AS s, id FROM obs`, "STABLE"},
	{`SELECT asks(id) AS a FROM obs WHERE id < 50`, ""},
	{`SELECT 'obs'::regclass AS r, id FROM obs`, "catalog"},
	{`SELECT stn::regclass AS r, id FROM obs WHERE mag < -1`, "catalog"},
	{`SELECT to_regclass(stn) AS r, id FROM obs`, "STABLE"},
	{`SELECT obj_description(tableoid, 'pg_class') AS o, id FROM obs`, "STABLE"},
	{`WITH x AS (SELECT 1) SELECT id FROM obs`, "WITH"},
	{`WITH obs AS (SELECT 7 AS id) SELECT id FROM obs`, "WITH"},
	{`TABLE obs`, "TABLE"},
	{`VALUES (1, 'a'), (2, 'b')`, "VALUES"},
	{`(SELECT id FROM obs)`, "parentheses"},
	{`((SELECT id FROM obs))`, "parentheses"},
	{`SELECT id FROM obs TABLESAMPLE SYSTEM (50)`, "TABLESAMPLE"},
	{`SELECT id FROM obs o TABLESAMPLE BERNOULLI (50) REPEATABLE (1)`, "TABLESAMPLE"},
	{`SELECT o.id FROM obs o, other`, "join"},
	{`SELECT o.id FROM obs o JOIN other USING (id)`, "join"},
	{`SELECT o.id FROM obs o LEFT JOIN other x ON x.id = o.id`, "join"},
	{`SELECT o.id FROM obs o NATURAL JOIN other`, "join"},
	{`SELECT o.id FROM obs o CROSS JOIN other`, "join"},
	{`SELECT id FROM (SELECT id FROM obs) q`, "one table"},
	{`SELECT id FROM LATERAL (SELECT id FROM obs) q`, "one table"},
	{`SELECT g FROM generate_series(1, 5) g`, "function"},
	{`SELECT x.a FROM ROWS FROM (generate_series(1, 5)) x(a)`, ""},
	{`SELECT a FROM other AS o(a, b)`, "other names"},
	{`SELECT FROM obs`, "no columns"},
	{`SELECT 1 AS one`, "no FROM"},
	{`SELECT id FROM obs_view`, "view"},
	{`SELECT relname FROM pg_class`, "system catalog"},
	{`SELECT xmlelement(name a, id) AS x FROM obs WHERE id < 5`, ""},
	{`SELECT id FROM obs WHERE false`, "nothing to read"},
	{`SELECT id FROM obs WHERE ctid = '(1,1)'`, "Tid Scan"},
	{`SELECT set_config('a.b', stn, false) AS n, id FROM obs`, "VOLATILE"},
	{`SELECT id OPERATOR(pg_catalog.+) 1 AS o FROM obs`, ""},
	{`SELECT concat(VARIADIC ARRAY[stn]) AS o FROM obs`, "VARIADIC"},
	{`SELECT make_interval(days => id) AS o FROM obs`, "arguments"},
	{`SELECT query_to_xml('select 1', true, true, '') AS x, id FROM obs`, "VOLATILE"},
	{`SELECT id FROM obs WHERE (obstime, obstime) OVERLAPS (obstime, interval '1 day')`, ""},
}

func TestSplit(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, obsTable...)
		db := open(t, dsn)
		for _, sql := range split {
			t.Run(sql, func(t *testing.T) {
				if srv.Version() < 14 {
					db.tooOld(t, sql)
					return
				}
				db.splits(t, sql, Options{ChunkBytes: 300_000, Parallel: 4})
			})
		}
	})
}

// tooOld checks that a server without TID range scans gets one chunk, with the
// same rows in the same order.
func (s *sessions) tooOld(t *testing.T, sql string) {
	t.Helper()
	e := s.mustPlan(t, Request{SQL: sql}, Options{ChunkBytes: 300_000, Parallel: 4})
	if p := e.plan; p.Len() != 1 || !strings.Contains(p.Why, "TID range scans") {
		t.Errorf("%d chunks: %s", p.Len(), p.Why)
	}
	if d := differ(e.rows(nil), e.inScanOrder(strings.TrimSuffix(sql, ";"))); d != "" {
		t.Error(d)
	}
}

// splits checks that a statement is split, and that its chunks are together
// what the server gives for the whole, in its order.
func (s *sessions) splits(t *testing.T, sql string, o Options) {
	t.Helper()
	e := s.mustPlan(t, Request{SQL: sql}, o)
	if p := e.plan; p.Len() < 10 || p.Sources[0].Scan != TIDRange {
		t.Errorf("%d chunks by %s: %s", p.Len(), p.Sources[0].Scan, p.Why)
	}
	whole := strings.TrimSuffix(sql, ";")
	if d := differ(e.rows(nil), e.inScanOrder(whole)); d != "" {
		t.Error(d)
	}
	exprs := e.asText()
	if d := differ(e.rows(exprs), e.inScanOrder(e.textOf(whole))); d != "" {
		t.Errorf("as text: %s", d)
	}
	if plan := e.explainChunk(3, exprs); !strings.HasPrefix(plan, "Tid Range Scan on") {
		t.Errorf("as text, a chunk is read by %s", plan)
	}
}

func TestUnsplit(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, obsTable...)
		db := open(t, dsn)
		for _, c := range unsplit {
			t.Run(c.sql, func(t *testing.T) {
				p := db.mustPlan(t, Request{SQL: c.sql}, Options{ChunkBytes: 8192, Parallel: 4}).plan
				if p.Len() != 1 {
					t.Fatalf("split into %d chunks", p.Len())
				}
				if srv.Version() >= 14 && !strings.Contains(p.Why, c.why) {
					t.Errorf("why: %s, want %q in it", p.Why, c.why)
				}
			})
		}
	})
}

// TestOpaque runs statements that are not split: as they are, and wrapped
// where columns travel as text, in their own order.
func TestOpaque(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, obsTable...)
	db := open(t, dsn)
	for _, sql := range []string{
		`SELECT stn, count(*) AS n FROM obs GROUP BY stn ORDER BY n DESC, stn;`,
		`SELECT DISTINCT ON (stn) stn, id FROM obs ORDER BY stn, id DESC -- the last`,
		`SELECT id, lag(id) OVER (ORDER BY id) AS l FROM obs WHERE id < 500 ORDER BY id DESC LIMIT 100 OFFSET 3`,
		`WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 50) SELECT n, n * 2 AS "N ""2""" FROM r`,
		`VALUES (1, 'a'), (2, NULL), (3, '')`,
		`TABLE other`,
		`(SELECT id FROM other WHERE id < 5) UNION ALL (SELECT id FROM other WHERE id > 95) ORDER BY 1 DESC`,
		`((SELECT 1 AS a))`,
		`SELECT ROW(1, 'x') AS r, ARRAY[ROW(1, 2)] AS ra, NULL AS n, 'u' AS u, pg_sleep(0) AS v`,
		`SELECT o.id, x.k FROM obs o LEFT JOIN other x ON x.id = o.id WHERE o.id < 200 ORDER BY o.id DESC`,
		`SELECT g FROM generate_series(1, 1000) g`,
		`SELECT unnest(arr) AS u, id FROM obs WHERE id < 100 ORDER BY id, u`,
		`SELECT`,
		`SELECT /* nothing */ FROM other`,
	} {
		e := db.mustPlan(t, Request{SQL: sql}, Options{ChunkBytes: 8192})
		p := e.plan
		if p.Len() != 1 || p.Sources[0].Scan != Own || p.Why == "" || p.Kind == "" {
			t.Errorf("%s: %d chunks by %s: %s", sql, p.Len(), p.Sources[0].Scan, p.Why)
		}
		whole := strings.TrimSuffix(sql, ";")
		if got := p.SQL(p.At(0), nil); !strings.HasPrefix(sql, got) {
			t.Errorf("%s is run as %s", sql, got)
		}
		exec(t, e.coord, strings.Join(Own.Settings(), "; "))
		if d := differ(e.rows(nil), copyOut(t, e.coord, whole)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
		if len(p.Columns) > 0 {
			if d := differ(e.rows(e.asText()), copyOut(t, e.coord, e.textOf(whole))); d != "" {
				t.Errorf("%s: as text: %s", sql, d)
			}
		}
	}
}

// TestExpressionsOverTrees: the server computes expressions over the members of
// a tree above all of them.
func TestExpressionsOverTrees(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, `CREATE TABLE top (id int, v text)`, `CREATE TABLE kid (more int) INHERITS (top)`,
			`INSERT INTO top SELECT g, repeat('x', 200) FROM generate_series(1, 3000) g`,
			`INSERT INTO kid SELECT g, repeat('y', 200) FROM generate_series(1, 3000) g`, `CREATE INDEX ON kid (id)`, `ANALYZE top`, `ANALYZE kid`)
		db := open(t, dsn)
		for _, c := range []struct {
			sql string
			cut bool
			why string
		}{
			{`SELECT id + 1 AS x FROM top`, true, ""},
			{`SELECT id, v || 'z' AS x FROM top t WHERE t.id % 3 = 0`, true, ""},
			{`SELECT upper(v) AS x, id FROM top WHERE id > 2000`, true, ""},
			{`SELECT id + random() * 0 AS x FROM top`, false, "VOLATILE"},
			{`SELECT id + 1 AS x FROM top WHERE length(current_user) > 0`, false, "CURRENT_USER"},
		} {
			e := db.mustPlan(t, Request{SQL: c.sql}, Options{ChunkBytes: 100_000, Parallel: 4})
			if srv.Version() >= 14 && c.cut != (e.plan.Len() > 4) || !strings.Contains(e.plan.Why, c.why) {
				t.Errorf("%s: %s", c.sql, e.plan.Why)
			}
			if d := differ(e.rows(nil), copyOut(t, db.coord, c.sql)); d != "" && c.cut {
				t.Errorf("%s: %s", c.sql, d)
			}
		}
	})
}
