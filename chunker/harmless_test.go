package chunker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// TestUserDefined puts functions behind operators, casts and types, where the
// words of a statement do not show them.
func TestUserDefined(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn,
			`CREATE TYPE money2 AS (v int)`,
			`CREATE TYPE mood AS ENUM ('sad', 'glad')`,
			`CREATE FUNCTION eq_volatile(money2, money2) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT $1.v = $2.v'`,
			`CREATE OPERATOR === (LEFTARG = money2, RIGHTARG = money2, FUNCTION = eq_volatile)`,
			`CREATE OPERATOR = (LEFTARG = money2, RIGHTARG = money2, FUNCTION = eq_volatile)`,
			`CREATE FUNCTION near(int, text) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT $1 > 5'`,
			`CREATE OPERATOR ~~ (LEFTARG = int, RIGHTARG = text, FUNCTION = near)`,
			`CREATE OPERATOR ~~~ (LEFTARG = int, RIGHTARG = text, FUNCTION = near)`,
			`CREATE FUNCTION soon(int, int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT now() IS NOT NULL'`,
			`CREATE OPERATOR <<>> (LEFTARG = int, RIGHTARG = int, FUNCTION = soon)`,
			`CREATE FUNCTION safe(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > $2'`,
			`CREATE OPERATOR >>> (LEFTARG = int, RIGHTARG = int, FUNCTION = safe)`,
			`CREATE FUNCTION degree(mood) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT length($1::text)'`,
			`CREATE CAST (mood AS int) WITH FUNCTION degree(mood)`,
			`CREATE TABLE t (a int, m money2, b text)`,
			`INSERT INTO t SELECT g, ROW(g)::money2, repeat('b', 50) FROM generate_series(1, 5000) g`,
			`CREATE TABLE u (a int, l mood, b text)`,
			`INSERT INTO u SELECT g, 'sad', repeat('b', 50) FROM generate_series(1, 5000) g`,
			`CREATE TABLE w (a int, b text)`,
			`INSERT INTO w SELECT g, repeat('b', 50) FROM generate_series(1, 5000) g`,
			`CREATE FUNCTION fine(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'`,
			`CREATE FUNCTION looks(int) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT true'`,
			`CREATE DOMAIN sound AS int CHECK (VALUE > 0 AND fine(VALUE)) CHECK (VALUE::text ~ '^[0-9]+$')`,
			`CREATE DOMAIN loose AS int CHECK (looks(VALUE))`,
			`CREATE DOMAIN lucky AS int CHECK (random() >= 0)`,
			`CREATE DOMAIN late AS int CHECK (now() IS NOT NULL AND VALUE > 0)`,
			`CREATE DOMAIN looser AS loose CHECK (VALUE < 100000)`,
			`CREATE DOMAIN hidden AS int CHECK ((VALUE::loose) > 0)`,
			`CREATE DOMAIN dated AS text CHECK (VALUE::date IS NOT NULL)`,
			`CREATE TYPE pair AS (x int, y loose)`,
			`CREATE FUNCTION takes(loose) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1::int'`,
			`CREATE TABLE v (a int, l looser, s sound, b text)`,
			`INSERT INTO v SELECT g, g, g, repeat('b', 50) FROM generate_series(1, 5000) g`)
		db := open(t, dsn)
		for _, c := range []struct {
			sql  string
			cut  bool
			part string
		}{
			{`SELECT m, a FROM t`, true, ""},
			{`SELECT a + 1 AS a FROM w WHERE b <> 'x' AND a IN (1, 2, 3)`, true, ""},
			{`SELECT a FROM w WHERE b LIKE 'b%'`, false, "operator ~~ could be"},
			{`SELECT a FROM w WHERE NOT b LIKE ('b%')`, false, "operator ~~ could be"},
			{`SELECT a FROM w WHERE b ~~ 'b%'`, false, "operator ~~ could be"},
			{`SELECT a FROM w WHERE b ILIKE 'b%' AND b SIMILAR TO 'b*'`, true, ""},
			{`SELECT a FROM t WHERE m === m`, false, "could be"},
			{`SELECT a FROM t WHERE m = m`, false, "operator = could be"},
			// t has the type that the VOLATILE operator takes, w has not.
			{`SELECT a FROM t WHERE a = 7 OR a > 8`, false, "operator = could be"},
			{`SELECT a FROM w WHERE a = 7 OR a > 8`, true, ""},
			{`SELECT a FROM w WHERE a ~~~ 'x'`, false, "~~~"},
			{`SELECT a FROM w WHERE a <<>> 5`, false, "<<>>"},
			{`SELECT a FROM w WHERE a >>> 5`, true, ""},
			{`SELECT l::int AS m FROM u`, false, "cast from mood to integer"},
			{`SELECT CAST(l AS pg_catalog.int4) AS m FROM u`, false, "cast from mood to integer"},
			{`SELECT l::text AS m FROM u`, false, "cast from mood to integer"},
			{`SELECT a::text AS m FROM w`, true, ""},
			{`SELECT l FROM u`, true, ""},
			{`SELECT a::sound AS m FROM w WHERE a::sound > 3`, true, ""},
			{`SELECT s, a FROM v WHERE a = s`, true, ""},
			{`SELECT l, a FROM v`, true, ""},
			{`SELECT a::loose AS m FROM w`, false, "the CHECK of domain loose: it calls looks(integer), which is VOLATILE"},
			{`SELECT CAST(a AS public.lucky) AS m FROM w`, false, "the CHECK of domain lucky: it calls random(), which is VOLATILE"},
			{`SELECT a FROM w WHERE late '7' < a`, false, "the CHECK of domain late: it calls now()"},
			{`SELECT a::looser AS m FROM w`, false, "the CHECK of domain loose"},
			{`SELECT ARRAY[a]::looser[] AS m FROM w`, false, "the CHECK of domain loose"},
			{`SELECT a::hidden AS m FROM w`, false, "the CHECK of domain hidden: the CHECK of domain loose"},
			{`SELECT a FROM w WHERE '2001-01-01'::dated IS NOT NULL`, false, "the CHECK of domain dated: a text cast to date"},
			{`SELECT '(1,2)'::pair AS m FROM w`, false, "the CHECK of domain loose"},
			{`SELECT takes(a) AS m FROM w`, false, "the CHECK of domain loose"},
		} {
			t.Run(c.sql, func(t *testing.T) {
				if srv.Version() < 14 {
					c.cut = false
				}
				e := db.mustPlan(t, Request{SQL: c.sql}, Options{ChunkBytes: 50_000, Parallel: 64})
				if cut := e.plan.Len() > 1; cut != c.cut || srv.Version() >= 14 && !strings.Contains(e.plan.Why, c.part) {
					t.Errorf("%d chunks: %s, want %q", e.plan.Len(), e.plan.Why, c.part)
				}
				if d := differ(e.rows(nil), e.inScanOrder(c.sql)); d != "" {
					t.Error(d)
				}
			})
		}
		pgtest.Exec(t, dsn, `CREATE CAST (text AS timestamptz) WITH INOUT AS IMPLICIT`)
		e := db.mustPlan(t, Request{SQL: `SELECT a FROM w WHERE b < 'x'`}, Options{ChunkBytes: 50_000, Parallel: 64})
		if e.plan.Len() != 1 || srv.Version() >= 14 && !strings.Contains(e.plan.Why, "cast from text") {
			t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
		}
	})
}

// TestTextCasts finds the casts that could read the clock out of a text. The
// columns have names that make it hard.
func TestTextCasts(t *testing.T) {
	t.Parallel()
	columns := columnTypes{"d": oidDate, "ts": oidTimestamp, "s": 25, "text": oidDate, "precision": oidDate, "year": oidDate, "end": oidDate, "varchar": oidDate}
	for expr, want := range map[string]bool{
		`d::date`: false, `t.ts::date`: false, `(ts)::date`: false, `((t.ts))::date`: false, `CAST(ts AS date)`: false, `CAST((t.ts) AS date)`: false,
		`'2020-01-01'::date`: false, `NULL::date`: false, `date '2020-01-01'`: false, `date(ts)`: false, `text::date`: false, `-d::date`: false,
		`s::date`: true, `t.s::date`: true, `x.ts::date`: true, `t.x.ts::date`: true, `(s)::date`: true, `CAST(s AS date)`: true, `s::text::date`: true,
		`(s::text)::date`: true, `s::varchar(3)::date`: true, `s::double precision::date`: true, `s::interval year::date`: true,
		`CASE WHEN true THEN s END::date`: true, `f(ts)::date`: true, `f(d)::date`: true, `(ts + '1 day')::date`: true, `a[1]::date`: true,
		`date(s)`: true, `"date"(s)`: true, `pg_catalog.date(s)`: true, `(s).date`: true, `(s || '')::date`: true, `CAST(CAST(ts AS text) AS date)`: true,
		`CAST(ts AS text)::date`: true, `ARRAY[s]::date[]`: true, `ROW(d)::date`: true, `coalesce(d, s)::date`: true, `(d, s)::date`: true,
	} {
		tokens, err := lex(expr)
		if err != nil {
			t.Fatal(err)
		}
		u := newUsage()
		inspect(u, tokens, "t", columns, inCondition)
		if got := u.textCasts["date"] || u.why != ""; got != want {
			t.Errorf("%s: %t, want %t (%s)", expr, got, want, u.why)
		}
	}
}

// TestDeparsed judges what the server made of a statement, whatever its words
// were: a function may have come into it from another.
func TestDeparsed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, obsTable...)
	conn := pgtest.Connect(t, dsn)
	columns, err := readColumns(t.Context(), conn, func() uint32 {
		oid, err := one(t.Context(), conn, lookupQuery, pgx.RowTo[uint32], "obs")
		if err != nil {
			t.Fatal(err)
		}
		return oid
	}())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ output, filter, why string }{
		{`o_1.id`, `(o_1.stn = 'X05'::text)`, ""},
		{`(o_1.note)::date`, `((o_1."Dec" > '5'::double precision) AND (date_trunc('day'::text, o_1.created) < '2020-01-01 00:00:00+00'::timestamp with time zone))`, ""},
		{`now()`, ``, "STABLE"},
		{`o_1.id`, `(o_1.created < (CURRENT_DATE)::timestamp with time zone)`, "CURRENT_DATE"},
		{`moody(o_1.id)`, ``, "VOLATILE"},
		{`o_1.id`, `(random() < '0.5'::double precision)`, "VOLATILE"},
		{`$0`, ``, "not understood"},
		{`'unfinished`, ``, "not understood"},
	} {
		why, err := (&Plan{}).deparsed(t.Context(), conn, []string{c.output, c.filter}, "o_1", columns)
		if err != nil || !strings.Contains(strings.ToLower(why), strings.ToLower(c.why)) || c.why == "" && why != "" {
			t.Errorf("%s, %s: %q, %v, want %q", c.output, c.filter, why, err, c.why)
		}
	}
}

// TestBuiltins checks on every major what is taken for granted of Postgres's
// own functions, operators and casts.
func TestBuiltins(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		conn := pgtest.Connect(t, srv.Database(t))
		for what, sql := range map[string]string{
			"VOLATILE operators": `SELECT coalesce(string_agg(o.oid::regoperator::text, ' '), '') FROM pg_operator o JOIN pg_proc p ON p.oid = oprcode
				WHERE provolatile = 'v' AND o.oid < 16384`,
			"VOLATILE casts": `SELECT coalesce(string_agg(castfunc::regprocedure::text, ' '), '') FROM pg_cast c JOIN pg_proc p ON p.oid = castfunc
				WHERE provolatile = 'v' AND c.oid < 16384`,
			// What a STABLE operator of Postgres's own can depend on: settings.
			"STABLE operators of other types": `SELECT coalesce(string_agg(o.oid::regoperator::text, ' '), '') FROM pg_operator o JOIN pg_proc p ON p.oid = oprcode
				WHERE provolatile = 's' AND o.oid < 16384
				AND NOT (oprleft IN (1082, 1114, 1184, 1186) AND oprright IN (1082, 1114, 1184, 1186))
				AND NOT (oprname = '||' AND 25 IN (oprleft, oprright)) AND NOT (oprname = '@@' AND oprleft = 25)`,
			"implicit casts of text to a time": `SELECT coalesce(string_agg(castsource::regtype::text, ' '), '') FROM pg_cast
				WHERE castsource IN (25, 1042, 1043, 18, 19) AND casttarget IN (1082, 1083, 1114, 1184, 1266) AND castcontext = 'i'`,
			"functions taken for harmless that are unknown": `SELECT coalesce(string_agg(x, ' '), '') FROM unnest(` + literal(textArray(keys(stableHarmless))) + `::text[]) x
				WHERE NOT EXISTS (SELECT FROM pg_proc WHERE proname = x AND provolatile = 's') AND x NOT IN ('pg_column_compression', 'extract', 'timezone')`,
			"input functions that are VOLATILE": `SELECT coalesce(string_agg(typname, ' '), '') FROM pg_type y JOIN pg_proc p ON p.oid = typinput
				WHERE provolatile = 'v' AND y.oid < 16384 AND typtype = 'b'`,
		} {
			if got := queryText(t, conn, sql); got != "" {
				t.Errorf("%s: %s", what, got)
			}
		}
	})
}

// pieces are parts of expressions over obs. The second half must keep a
// statement from being split wherever it stands.
var pieces = []string{
	`id`, `obs.id`, `"Dec"`, `mag`, `stn`, `note`, `flag`, `obstime`, `created`, `j`, `arr`, `doubled`, `(p).a`, `"na""me"`,
	`42`, `1.5e3`, `'text'`, `'it''s'`, `E'\n'`, `$q$ now() $q$`, `NULL`, `true`, `'2020-05-05'`,
	`coalesce(%s, %s)`, `(%s)`, `(%s = %s)`, `(%s IS NULL)`, `(%s < %s)`, `(%s || %s)`, `(%s + %s)`, `abs(%s)`, `lower(%s)`, `length(%s)`,
	`CASE WHEN %s IS NOT NULL THEN %s ELSE %s END`, `nullif(%s, %s)`, `greatest(%s, %s)`, `%s::text`, `CAST(%s AS text)`, `(%s)::int`,
	`date_trunc('day', %s)`, `extract(hour FROM %s)`, `to_char(%s, 'YYYY')`, `pure(%s)`, `(%s IN (%s, %s))`, `(%s BETWEEN %s AND %s)`,
	`(%s LIKE %s)`, `(%s AND %s)`, `(NOT %s)`, `ARRAY[%s]`, `row_to_json(obs)`, `to_jsonb(%s)`, `concat(%s, %s)`, `md5(%s)`, `%s::date`,
}

var spoilers = []string{
	`random()`, `now()`, `clock_timestamp()`, `current_date`, `current_user`, `pg_backend_pid()`, `moody(%s)`, `sometimes(%s)`, `obs.stamp`,
	`txid_current_if_assigned()`, `current_setting('application_name')`, `'now'::timestamptz`, `to_char(%s, 'YYYY-MM-DD')::timestamptz`, `generate_series(1, 2)`,
	`count(*)`, `max(%s)`, `(SELECT max(k) FROM other)`, `row_number() OVER ()`, `inet_client_port()`, `pg_my_temp_schema()`, `statement_timestamp()`,
}

// TestRandomStatements makes statements out of pieces. One with a spoiler is
// never split; a split one gives what the whole gives, byte for byte and in
// its order, read by sessions in turns.
func TestRandomStatements(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, obsTable...)
	db := open(t, dsn)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	cut, whole, spoilt := 0, 0, 0
	for cut < 50 || spoilt < 50 {
		bad := false
		var expr func(depth int) string
		expr = func(depth int) string {
			from := pieces
			if r.IntN(10) == 0 {
				from, bad = spoilers, true
			}
			p := from[r.IntN(len(from))]
			for strings.Contains(p, "%s") {
				if depth == 0 {
					p = strings.Replace(p, "%s", pieces[r.IntN(14)], 1)
				} else {
					p = strings.Replace(p, "%s", expr(depth-1), 1)
				}
			}
			return p
		}
		var list []string
		for i := range 1 + r.IntN(3) {
			list = append(list, fmt.Sprintf("%s AS c%d", expr(2), i))
		}
		sql := "SELECT " + strings.Join(list, ", ") + " FROM obs"
		if r.IntN(2) == 0 {
			sql += " WHERE (" + expr(2) + ") IS NOT NULL AND id % 3 = 1"
		}
		e, err := db.plan(t, Request{SQL: sql}, Options{ChunkBytes: 400_000, Parallel: 64})
		if err != nil {
			continue // types that do not fit
		}
		if _, err := db.workers[0].Exec(t.Context(), "SAVEPOINT try; "+e.plan.Target.Statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			continue // values that do not fit
		}
		switch split := e.plan.Len() > 1; {
		case split && bad:
			t.Fatalf("split into %d chunks: %s", e.plan.Len(), sql)
		case split:
			cut++
			if d := differ(e.rows(nil), e.inScanOrder(sql)); d != "" {
				t.Errorf("%s: %s", sql, d)
			}
		case bad:
			spoilt++
		default:
			whole++
		}
	}
	t.Logf("%d split, %d spoilt, %d in one chunk without a spoiler", cut, spoilt, whole)
	if whole > 3*cut {
		t.Errorf("%d statements in one chunk without a spoiler, %d split", whole, cut)
	}
}
