package chunker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// TestQueryModes runs in each of pgx's ways to send a query: behind a pooler
// the simple protocol may be all there is.
func TestQueryModes(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, append(append(obsTable, measured...), ranged...)...)
	for _, mode := range []string{"simple_protocol", "exec", "describe_exec", "cache_describe", "cache_statement"} {
		db := open(t, dsn+" default_query_exec_mode="+mode)
		for _, req := range []Request{
			{Table: "obs", Where: "id > 5"},
			{Table: "m"},
			{Table: "obs_view"},
			{SQL: `SELECT id, stn || 'it''s' AS s FROM obs WHERE stn = 'X05' OR id IN (1, 2)`},
			{SQL: `SELECT a.id, 1 AS one FROM obs a JOIN other USING (id) WHERE {chunk:a}`},
			{SQL: `SELECT stn, count(*) AS n FROM obs GROUP BY stn ORDER BY stn`},
			{Table: "r", Chunk: Hint{By: CutColumn, Column: "ts", Bounds: []string{"2000-01-02", "2000-01-03"}}},
			{Table: "r", Chunk: Hint{By: CutColumn, Column: "s", Count: 3}},
			{Table: "r", Chunk: Hint{By: CutColumn, Column: "u", Count: 3}},
		} {
			e := db.mustPlan(t, req, Options{ChunkBytes: 100_000, Parallel: 3})
			sql := e.plan.Target.Statement
			if e.plan.Target.stmt != nil {
				sql = e.plan.Target.stmt.neutral()
			}
			if d := differ(sorted(e.rows(nil)), sorted(e.inScanOrder(sql))); d != "" {
				t.Errorf("%s: %+v: %s", mode, req, d)
			}
		}
		_, err := db.plan(t, Request{SQL: "SELECT é, nope FROM obs"}, Options{})
		var bad *StatementError
		if !errors.As(err, &bad) || bad.Position != 8 {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// TestEncodings resolves names that the server folds by its own encoding.
func TestEncodings(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN1", "SQL_ASCII", "UTF8"} {
		dsn := pgtest.Database(t, fmt.Sprintf("ENCODING '%s' LOCALE 'C' TEMPLATE template0", encoding)) + " client_encoding=UTF8"
		pgtest.Exec(t, dsn, `CREATE TABLE "Größe" ("Höhe" int, "we""ird" text)`, `CREATE TABLE übung (é int)`,
			`INSERT INTO "Größe" SELECT g, repeat('ä', 50) FROM generate_series(1, 3000) g`,
			`INSERT INTO übung SELECT g FROM generate_series(1, 9000) g`)
		db := open(t, dsn)
		for _, req := range []Request{
			{Table: `"Größe"`, Columns: []string{`"we""ird"`, `"Höhe"`}, Where: `"Höhe" > 5 AND "we""ird" <> 'é'`},
			{Table: "übung"},
			{SQL: `SELECT "Höhe" AS "Größe" FROM "Größe" AS "x""y" WHERE "x""y"."Höhe" > 7`},
			{SQL: `SELECT é FROM übung WHERE übung.é <> 5`},
			{SQL: `SELECT U&"H\00F6he" FROM U&"Gr\00F6\00DFe"`},
		} {
			if encoding == "SQL_ASCII" && strings.Contains(req.SQL, "U&") {
				continue // has no Unicode
			}
			e := db.mustPlan(t, req, Options{ChunkBytes: 50_000})
			if e.plan.Len() < 2 {
				t.Errorf("%s: %+v: %s", encoding, req, e.plan.Why)
			}
			sql := e.plan.Target.Statement
			if d := differ(e.rows(nil), e.inScanOrder(sql)); d != "" {
				t.Errorf("%s: %+v: %s", encoding, req, d)
			}
		}
	}
}

// TestSearchPath has objects of ours' names in front of the server's own.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE SCHEMA evil`,
		`CREATE FUNCTION evil.never(tid, tid) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false'`,
		`CREATE OPERATOR evil.>= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = evil.never)`,
		`CREATE OPERATOR evil.< (LEFTARG = tid, RIGHTARG = tid, FUNCTION = evil.never)`,
		`CREATE TABLE evil.pg_class (oid int, relname text)`, `CREATE TABLE evil.pg_proc (a int)`, `CREATE TABLE evil.pg_locks (a int)`,
		`CREATE FUNCTION evil.set_config(text, text, bool) RETURNS text LANGUAGE sql AS 'SELECT 1/0; SELECT NULL::text'`,
		`CREATE FUNCTION evil.to_regclass(text) RETURNS regclass LANGUAGE sql AS 'SELECT NULL::regclass'`,
		`CREATE FUNCTION evil.count() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'`,
		`CREATE DOMAIN evil.tid AS int`, `CREATE DOMAIN evil.text AS int`,
		`CREATE TABLE evil.t (a int, b pg_catalog.text)`,
		`CREATE TABLE public.t (a int)`,
		`INSERT INTO evil.t SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g`)
	db := open(t, dsn+" options='-c search_path=evil,pg_catalog,public'")
	for _, req := range []Request{{Table: "t"}, {SQL: "SELECT a, b FROM t WHERE a > 5"}, {Table: "t", Chunk: Hint{By: CutColumn, Column: "a", Count: 3}}} {
		e := db.mustPlan(t, req, Options{ChunkBytes: 50_000})
		if e.plan.Len() < 3 || e.plan.Target.Relation.Schema != "evil" {
			t.Errorf("%+v: %s: %s", req, e.plan.Target.Relation, e.plan.Why)
		}
		if d := differ(e.rows(e.asText()), e.inScanOrder(e.textOf(e.plan.Target.Statement))); d != "" {
			t.Errorf("%+v: %s", req, d)
		}
	}
}

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Config{})
	dsn := primary.Database(t)
	pgtest.Exec(t, dsn, append(measured, `CREATE UNLOGGED TABLE u (a int)`,
		`CREATE TABLE up (a int) PARTITION BY LIST (a)`, `CREATE UNLOGGED TABLE up1 PARTITION OF up DEFAULT`)...)
	standby := primary.Standby(t, pgtest.Config{})
	standby.CatchUp(t, primary)
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := open(t, standby.DSN(cfg.Database))
	e := db.mustPlan(t, Request{Table: "m"}, Options{ChunkBytes: 50_000})
	if e.plan.Len() < 10 {
		t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
	}
	if d := differ(e.rows(nil), e.inScanOrder("SELECT * FROM m")); d != "" {
		t.Error(d)
	}
	_, err = db.plan(t, Request{Table: "u"}, Options{})
	var bad *UnsupportedRelationError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "unlogged table public.u cannot be exported: a standby") {
		t.Errorf("an unlogged table: %v", err)
	}
	_, err = db.plan(t, Request{Table: "up"}, Options{})
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "unlogged table public.up1 cannot be exported") {
		t.Errorf("an unlogged partition: %v", err)
	}
	_, err = db.plan(t, Request{SQL: "SELECT a FROM u"}, Options{})
	if err == nil || !strings.Contains(err.Error(), "recovery") {
		t.Errorf("an unlogged table in a statement: %v", err)
	}
}
