package chunker

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/internal/pgtest"
)

// TestRefusedStatements needs no server: the words say it all.
func TestRefusedStatements(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sql, kind, reason string }{
		{``, "", "there is no statement"},
		{` -- nothing
			/* here */ ;`, "", "there is no statement"},
		{`EXPLAIN SELECT 1`, "EXPLAIN", "EXPLAIN cannot be exported"},
		{`EXPLAIN ANALYZE SELECT 1`, "EXPLAIN", ""},
		{`SHOW all`, "SHOW", ""},
		{`COPY t TO STDOUT`, "COPY", ""},
		{`insert into t values (1)`, "INSERT", ""},
		{`UPDATE t SET a = 1`, "UPDATE", ""},
		{`DELETE FROM t RETURNING *`, "DELETE", ""},
		{`MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE`, "MERGE", ""},
		{`CREATE TABLE x AS SELECT 1`, "CREATE", ""},
		{`DROP TABLE t`, "DROP", ""},
		{`TRUNCATE t`, "TRUNCATE", ""},
		{`BEGIN`, "BEGIN", ""},
		{`DECLARE c CURSOR FOR SELECT 1`, "DECLARE", ""},
		{`EXECUTE p`, "EXECUTE", ""},
		{`CALL p()`, "CALL", ""},
		{`DO $$ BEGIN END $$`, "DO", ""},
		{`SET a.b = 1`, "SET", ""},
		{`SELECT 1 INTO x`, "SELECT INTO", ""},
		{`SELECT a INTO TEMP x FROM t`, "SELECT INTO", ""},
		{`WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x`, "DELETE inside WITH", ""},
		{`WITH x AS MATERIALIZED (UPDATE t SET a = 1 RETURNING a) SELECT * FROM x`, "UPDATE inside WITH", ""},
		{`WITH y AS (SELECT 1), x AS NOT MATERIALIZED (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x`, "INSERT inside WITH", ""},
		{`WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x`, "INSERT", ""},
		{`WITH x AS (SELECT 1) DELETE FROM t`, "DELETE", ""},
		{`WITH x(a) AS (SELECT 1) UPDATE t SET a = 1`, "UPDATE", ""},
		{`123`, "this", ""},
		{`"select" 1`, "this", ""},
		{`SELECT 1; SELECT 2`, "", "two statements"},
		{`SELECT 1; -- DROP
			DROP TABLE t`, "", "two statements"},
		{`SELECT (1; 2)`, "", "two statements"},
		{`SELECT (1`, "", "unbalanced"},
		{`SELECT 1)`, "", "unbalanced"},
		{`SELECT a[1)`, "", "unbalanced"},
		{`SELECT 'abc`, "", "string without end"},
		{`SELECT $x$ abc $y$`, "", "string without end"},
		{`SELECT "abc`, "", "quoted identifier without end"},
		{`SELECT ""`, "", "zero-length"},
		{`SELECT 1 /* /* */`, "", "comment without end"},
		{"SELECT '\x00'", "", "NUL"},
		{"SELECT 1\x00", "", "NUL"},
		{`SELECT set_config('DateStyle', 'German', false), d FROM t`, "", "set_config( … ) would change"},
		{`SELECT d FROM t WHERE "set_config" (('extra_float_digits'), '0', true) <> ''`, "", "set_config( … ) would change"},
		{`SELECT pg_catalog.set_config(name, '0', true) FROM t`, "", "set_config( … ) would change"},
		{`;`, "", "there is no statement"},
		{`; SELECT 1`, "", "no statement before the semicolon"},
		{`SELECT 1;; SELECT 2`, "", "two statements"},
		{`SELECT $1`, "", "the parameter $1 has no value"},
		{`SELECT U&'\00zz'`, "", "Unicode"},
	} {
		_, err := parseStatement(c.sql)
		var bad *StatementError
		if !errors.As(err, &bad) {
			t.Errorf("%q: %v", c.sql, err)
			continue
		}
		if bad.Kind != c.kind || !strings.Contains(bad.Reason, c.reason) || bad.Field != FieldSQL {
			t.Errorf("%q: kind %q, %s", c.sql, bad.Kind, bad.Reason)
		}
		if strings.Contains(bad.Error(), "\n") {
			t.Errorf("%q: more than one line: %q", c.sql, bad.Error())
		}
	}
	for _, sql := range []string{
		`SELECT set_config('app.user', 'x', true) AS u, set_config FROM t`, `SELECT 1;`, `SELECT 1;;`, `SELECT 1 ; /* a */ ; -- done`, `SELECT 1 ; -- done`, `SELECT 1 /* ; */ ;/**/`, `select ';'`, `SELECT $$;$$;`, `SELECT ";" FROM t`, `VALUES (1)`, `TABLE t`,
		`((SELECT 1))`, `(VALUES (1)) UNION (TABLE t)`, `WITH RECURSIVE x(a) AS (SELECT 1) SELECT * FROM x`, `WITH insert AS (SELECT 1) TABLE insert`,
		`SELECT a AS into FROM t`, `SELECT t.into FROM t`, `SELECT update, delete FROM insert`, `SELECT E'\'; DROP'`, `SELECT 1 FROM t FOR UPDATE`,
		`WITH x AS (SELECT 1) (SELECT * FROM x)`, `SELECT (update) FROM t`, `WITH x AS (SELECT a FROM t) SELECT (insert) FROM x`,
	} {
		if _, err := parseStatement(sql); err != nil {
			t.Errorf("%q: %v", sql, err)
		}
	}
}

// TestRefusedByServer shows what becomes of the server's own refusals.
func TestRefusedByServer(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, append(obsTable,
		`CREATE TABLE "Mixed" (a int)`, `CREATE SCHEMA far`, `CREATE TABLE far.away (a int)`,
		`CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a WITH NO DATA`, `CREATE INDEX idx ON "Mixed" (a)`)...)
	db := open(t, dsn)
	for _, c := range []struct {
		req        Request
		want       error // its type
		text, hint string
		line       string // the excerpt from its position on
	}{
		{Request{SQL: `SELECT * FORM obs`}, &StatementError{}, `syntax error at or near "FORM"`, "", "FORM obs"},
		{Request{SQL: "SELECT id,\n  wrong, 1 AS é\nFROM obs"}, &NotFoundError{}, `column "wrong" does not exist`, "", "wrong, 1 AS é"},
		{Request{SQL: "/* é */ SELECT 'é', wrong FROM obs"}, &NotFoundError{}, `column "wrong" does not exist`, "", "wrong FROM obs"},
		{Request{SQL: `SELECT * FROM nowhere.obs`}, &NotFoundError{}, `relation "nowhere.obs" does not exist`, "", "nowhere.obs"},
		{Request{SQL: `SELECT id FROM nothing WHERE {chunk}`}, &NotFoundError{}, `relation "nothing" does not exist`, "", "nothing WHERE {chunk}"},
		{Request{SQL: `SELECT lower(id, 2) FROM obs`}, &StatementError{}, `function lower(integer, integer) does not exist`, "", "lower(id, 2) FROM obs"},
		{Request{SQL: `SELECT 1/0 AS x`}, &StatementError{}, `division by zero`, "", ""},
		{Request{SQL: `SELECT id, "Dec" AS id FROM obs`}, &StatementError{}, `two result columns are named id`, "AS", ""},
		{Request{SQL: `SELECT 1, 2`}, &StatementError{}, `two result columns are named "?column?"`, "AS", ""},
		{Request{SQL: `SELECT a.*, b.* FROM obs a JOIN other b USING (id)`}, &StatementError{}, `two result columns are named id`, "AS", ""},
		{Request{SQL: `SELECT id FROM obs FOR UPDATE`}, &StatementError{}, `SELECT FOR UPDATE or SHARE cannot be exported`, "", ""},
		{Request{SQL: `SELECT id FROM (SELECT id FROM obs FOR SHARE) s`}, &StatementError{}, `SELECT FOR UPDATE or SHARE cannot be exported`, "", ""},
		{Request{SQL: `SELECT id FROM obs`, Where: "id > 5"}, &StatementError{}, "belong to a table", "", ""},
		{Request{}, &StatementError{}, "no statement", "", ""},
		{Request{Table: "obs", SQL: "SELECT 1"}, &StatementError{}, "cannot both", "", ""},

		{Request{Table: `nothing`}, &NotFoundError{}, `relation nothing does not exist`, "search_path", ""},
		{Request{Table: `public.nothing`}, &NotFoundError{}, `relation public.nothing does not exist`, "", ""},
		{Request{Table: `nowhere.obs`}, &NotFoundError{}, `relation nowhere.obs does not exist`, "did you mean public.obs?", ""},
		{Request{Table: `Mixed`}, &NotFoundError{}, `relation Mixed does not exist`, `did you mean public."Mixed"?`, ""},
		{Request{Table: `away`}, &NotFoundError{}, `relation away does not exist`, `did you mean far.away?`, ""},
		{Request{Table: `other_db.public.obs`}, &StatementError{}, `cross-database references`, "", ""},
		{Request{Table: `obs o`}, &StatementError{}, `"obs o" is no name of a table`, "", ""},
		{Request{Table: `obs; DROP TABLE obs`}, &StatementError{}, `is no name of a table`, "", ""},
		{Request{Table: `(SELECT 1)`}, &StatementError{}, `is no name of a table`, "--sql", ""},
		{Request{Table: `obs`, Columns: []string{"id", "dec"}}, &NotFoundError{}, `column dec does not exist in public.obs`, `did you mean "Dec"?`, ""},
		{Request{Table: `obs`, Columns: []string{"id", "ID"}}, &StatementError{}, `column id is named twice`, "", ""},
		{Request{Table: `obs`, Columns: []string{"id + 1"}}, &StatementError{}, `"id + 1" is no column name`, "", ""},
		{Request{Table: `obs`, Columns: []string{"*"}}, &StatementError{}, `"*" is no column name`, "", ""},
		{Request{Table: `obs`, Columns: []string{"gone"}}, &NotFoundError{}, `column gone does not exist in public.obs`, "", ""},
		{Request{Table: `idx`}, &UnsupportedRelationError{}, "index public.idx cannot be exported", "", ""},
		{Request{Table: `pair`}, &UnsupportedRelationError{}, "composite type public.pair cannot be exported", "", ""},
		{Request{Table: `mv`}, &UnsupportedRelationError{}, "has not been populated", "REFRESH", ""},

		{Request{SQL: `SELECT a FROM mv`}, &StatementError{}, "has not been populated", "REFRESH", ""},

		{Request{Table: `obs`, Where: "  id >> "}, &StatementError{}, `syntax error at the end of the condition`, "", ""},
		{Request{Table: `obs`, Where: "id = 1 AND wrong = 2"}, &NotFoundError{}, `column "wrong" does not exist`, "", "wrong = 2"},
		{Request{Table: `obs`, Where: "  -- é\n wrong = 2"}, &NotFoundError{}, `column "wrong" does not exist`, "", "wrong = 2"},
		{Request{Table: `obs`, Where: "id"}, &StatementError{}, `argument of WHERE must be type boolean`, "", "id"},
		{Request{Table: `obs`, Where: "id = 1) OR (true"}, &StatementError{}, `unbalanced parentheses`, "", ") OR (true"},
		{Request{Table: `obs`, Where: "true) UNION SELECT (1"}, &StatementError{}, `unbalanced parentheses`, "", ""},
		{Request{Table: `obs`, Where: "id = 1; DROP TABLE obs"}, &StatementError{}, `semicolon`, "", ""},
		{Request{Table: `obs`, Where: "id = 1 ORDER BY id"}, &StatementError{}, `syntax error at or near "ORDER"`, "", "ORDER BY id"},
		{Request{Table: `obs`, Where: " -- "}, &StatementError{}, `condition is empty`, "", ""},
		{Request{Table: `obs`, Where: "id = $1"}, &StatementError{}, `parameter $1`, "", "$1"},
		{Request{Table: `obs`, Where: "set_config('TimeZone', 'CET', false) > ''"}, &StatementError{}, `would change`, "", "set_config('TimeZone', 'CET', false) > ''"},
		{Request{Table: `obs`, Where: "id > "}, &StatementError{}, `syntax error at the end of the condition`, "", ""},
		{Request{Table: `obs`, Where: "/* é */ id > -- nothing"}, &StatementError{}, `syntax error at the end of the condition`, "", " -- nothing"},
		{Request{Table: `obs`, Where: "id > (3 + )"}, &StatementError{}, `syntax error at or near ")"`, "", ")"},
		{Request{Table: `obs`, Where: "{chunk}"}, &StatementError{}, `belongs into a statement`, "", "{chunk}"},
		{Request{Table: `obs`, Where: "count(*) > 1"}, &StatementError{}, `aggregate functions are not allowed in WHERE`, "", "count(*) > 1"},
	} {
		_, err := Resolve(t.Context(), db.scout, c.req)
		if err == nil {
			t.Errorf("%+v: no error", c.req)
			continue
		}
		var ok bool
		hint := ""
		switch c.want.(type) {
		case *StatementError:
			var e *StatementError
			if ok = errors.As(err, &e); ok {
				hint = e.Hint
			}
		case *NotFoundError:
			var e *NotFoundError
			if ok = errors.As(err, &e); ok {
				hint = e.Hint
			}
		case *UnsupportedRelationError:
			var e *UnsupportedRelationError
			if ok = errors.As(err, &e); ok {
				hint = e.Hint
			}
		}
		if !ok || !strings.Contains(err.Error(), c.text) || !strings.Contains(hint, c.hint) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %T %v (hint %q), want %T with %q and %q", c.req, err, err, hint, c.want, c.text, c.hint)
		}
		if c.line != "" {
			var e *StatementError
			if !errors.As(err, &e) {
				t.Errorf("%+v: no place: %T", c.req, err)
				continue
			}
			line, column := e.Excerpt(60)
			if got := string([]rune(line)[column:]); got != c.line {
				t.Errorf("%+v: the excerpt points to %q, want %q", c.req, got, c.line)
			}
		}
		if status := db.scout.PgConn().TxStatus(); status != 'I' {
			t.Fatalf("%+v: transaction status %c", c.req, status)
		}
	}

	_, err := Resolve(t.Context(), db.scout, Request{SQL: "SELECT 1 FROM FROM"})
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42601" {
		t.Errorf("the server's error is out of reach: %v", err)
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("abcdefghi ", 20)
	for _, c := range []struct {
		text     string
		position int
		line     string
		column   int
	}{
		{"SELECT 1", 8, "SELECT 1", 7},
		{"SELECT\n\té x\nFROM", 11, " é x", 3},
		{"SELECT", 7, "SELECT", 6},
		{"SELECT", 0, "", 0},
		{"SELECT", 99, "", 0},
		{long, 101, long[80:119], 20},
		{long, 1, strings.TrimRight(long[:40], " "), 0},
		{long, 199, long[160:199], 38},
	} {
		e := &StatementError{Text: c.text, Position: c.position}
		if line, column := e.Excerpt(40); line != c.line || column != c.column {
			t.Errorf("%.20q at %d: %q, %d", c.text, c.position, line, column)
		}
	}
}
