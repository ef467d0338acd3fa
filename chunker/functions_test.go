package chunker

import (
	"errors"
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

// TestReplacedFunctions: a function that changes while a run reads ends it.
func TestReplacedFunctions(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, `CREATE TABLE t AS SELECT 1 AS id`, `CREATE TABLE u AS SELECT 1 AS id`,
			`CREATE FUNCTION base(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i'`,
			`CREATE FUNCTION "Over It"(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN base(i); END'`,
			`CREATE FUNCTION outer_of(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT "Over It"(i)'`,
			`CREATE FUNCTION less(a int, b text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'`,
			`CREATE OPERATOR <<< (LEFTARG = int, RIGHTARG = text, FUNCTION = less)`,
			`CREATE FUNCTION step(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b'`,
			`CREATE AGGREGATE total(int) (SFUNC = step, STYPE = int, INITCOND = 0)`,
			`CREATE FUNCTION good(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'`, `CREATE DOMAIN fine AS int CHECK (good(VALUE))`,
			`CREATE FUNCTION unused() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
			`CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
			`CREATE VIEW v AS SELECT base(id) AS id FROM t`, `CREATE VIEW w AS SELECT id FROM v`)
		db := open(t, dsn)
		for _, c := range []struct {
			req          Request
			change, name string
		}{
			{Request{SQL: "SELECT base(id) AS b FROM t"}, `CREATE OR REPLACE FUNCTION base(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 1'`, "function public.base changed meanwhile"},
			{Request{SQL: "SELECT outer_of(id) AS b FROM t"}, `CREATE OR REPLACE FUNCTION base(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 2'`, "function public.base changed meanwhile"},
			{Request{SQL: "SELECT outer_of(id) AS b FROM t"}, `ALTER FUNCTION "Over It" SET work_mem = '1MB'`, `function public."Over It" changed meanwhile`},
			{Request{Table: "w"}, `CREATE OR REPLACE FUNCTION base(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 3'`, "function public.base changed meanwhile"},
			{Request{Table: "t", Where: "id <<< 'x'"}, `CREATE OR REPLACE FUNCTION less(a int, b text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false'`, "function public.less changed meanwhile"},
			{Request{SQL: "SELECT total(id) AS s FROM t"}, `CREATE OR REPLACE FUNCTION step(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a - b'`, "function public.step changed meanwhile"},
			{Request{SQL: "SELECT id::fine AS f FROM t"}, `CREATE OR REPLACE FUNCTION good(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0'`, "function public.good changed meanwhile"},
			{Request{SQL: "SELECT gone() AS g FROM t"}, `DROP FUNCTION gone()`, "function public.gone changed meanwhile"},
			{Request{SQL: "SELECT base(id) AS b FROM t"}, `CREATE OR REPLACE FUNCTION unused() RETURNS int LANGUAGE sql AS 'SELECT 2'`, ""},
			{Request{SQL: "SELECT base(id) AS b FROM t"}, `BEGIN; CREATE OR REPLACE FUNCTION base(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i'; ROLLBACK`, ""},
			{Request{Table: "t"}, `CREATE OR REPLACE FUNCTION base(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 4'`, ""},
		} {
			t.Run(strings.TrimSpace(c.req.Table+c.req.SQL+" "+c.change), func(t *testing.T) {
				e := db.mustPlan(t, c.req, Options{})
				if err := e.plan.Unchanged(t.Context(), db.workers[0]); err != nil {
					t.Fatal(err)
				}
				exec(t, pgtest.Connect(t, dsn), c.change)
				err := e.plan.Unchanged(t.Context(), db.workers[0])
				var changed *ChangedError
				if c.name == "" && err != nil || c.name != "" && (!errors.As(err, &changed) || !strings.HasPrefix(err.Error(), c.name)) {
					t.Errorf("%v, want %q", err, c.name)
				}
			})
		}
	})
}
