package chunker

import (
	"slices"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// TestFunctionWarnings: whoever exports is told of the functions that read
// tables which nobody can lock, wherever they are called.
func TestFunctionWarnings(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		const locked = "may read tables that are not locked: rows of one that is truncated or rewritten meanwhile would be missing"
		pgtest.Exec(t, dsn, `CREATE TABLE t (id int)`,
			`CREATE FUNCTION reads() RETURNS SETOF int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN QUERY SELECT id FROM t; END'`,
			`CREATE FUNCTION "Reads ""Too"(i int) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM t); END'`,
			`CREATE FUNCTION thinks(i int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN i + 1; END'`,
			`CREATE FUNCTION inlined() RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM t'`,
			`CREATE FUNCTION not_inlined() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT id FROM t'`,
			`CREATE FUNCTION "Not ""Inlined"(i int) RETURNS SETOF int LANGUAGE sql VOLATILE AS 'SELECT id FROM t'`,
			`CREATE FUNCTION adds(i int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT i + 1'`,
			`CREATE FUNCTION dblink(text, text) RETURNS int LANGUAGE internal STRICT AS 'int4um'`,
			`CREATE VIEW v AS SELECT id FROM reads() id`, `CREATE VIEW nested AS SELECT id FROM v`,
			`CREATE VIEW listed AS SELECT t.id, "Reads ""Too"(t.id) AS n FROM t`, `CREATE VIEW calm AS SELECT thinks(id) AS i FROM t`)
		db := open(t, dsn)
		for _, c := range []struct {
			req  Request
			want []string
		}{
			{Request{SQL: "SELECT * FROM reads() id"}, []string{"function public.reads " + locked}},
			{Request{Table: "v"}, []string{"function public.reads, which view public.v calls, " + locked}},
			{Request{SQL: "SELECT * FROM nested"}, []string{"function public.reads, which view public.v calls, " + locked}},
			{Request{SQL: "SELECT l.id FROM listed l JOIN t ON t.id = l.id + l.n"}, []string{`function public."Reads ""Too", which view public.listed calls, ` + locked}},
			{Request{Table: "t", Where: `"Reads ""Too"(id) > 3`}, []string{`function public."Reads ""Too" ` + locked}},
			{Request{SQL: "SELECT id AS reads, adds(id) AS a, 'reads()' AS s, thinks(id) AS i FROM t"}, nil},
			{Request{Table: "calm"}, nil},
			{Request{SQL: "SELECT * FROM inlined() i"}, nil},
			{Request{SQL: "SELECT * FROM not_inlined() i"}, []string{"function public.not_inlined " + locked}},
			{Request{SQL: `SELECT "Not ""Inlined"(id) AS i FROM t`}, []string{`function public."Not ""Inlined" ` + locked}},
			{Request{SQL: "SELECT query_to_xml('TABLE t', true, true, '')::text AS x"}, []string{"function pg_catalog.query_to_xml " + locked}},
			{Request{SQL: "SELECT table_to_xml('t', true, true, '')::text AS x, schema_to_xml('public', true, true, '')::text AS y, database_to_xml(true, true, '')::text AS z"}, []string{
				"function pg_catalog.database_to_xml " + locked, "function pg_catalog.schema_to_xml " + locked, "function pg_catalog.table_to_xml " + locked,
			}},
			{Request{SQL: "SELECT word FROM ts_stat('SELECT ''a''::tsvector')"}, []string{"function pg_catalog.ts_stat " + locked}},
			{Request{SQL: "SELECT dblink('', '') AS d FROM t"}, []string{"function public.dblink reads by a connection of its own: its rows are not those of the snapshot"}},
		} {
			t.Run(strings.TrimSpace(c.req.Table+" "+c.req.SQL), func(t *testing.T) {
				if e := db.mustPlan(t, c.req, Options{}); !slices.Equal(e.plan.Warnings, c.want) {
					t.Errorf("warnings %q, not %q", e.plan.Warnings, c.want)
				}
			})
		}
	})
}
