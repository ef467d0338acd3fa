package typemap

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// TestTextMeansOutput: a column that travels as text has what the type's output function prints, never what a cast to
// text makes of it. Built-in casts show inet's whole mask, cut bpchar's padding and keep xml's encoding; users define
// their own.
func TestTextMeansOutput(t *testing.T) {
	t.Parallel()
	c := session(t, pgtest.Database(t))
	run(t, c, `CREATE TYPE pair AS (a int, b text); CREATE DOMAIN pairs AS pair;
		CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE sql AS $$ SELECT 'cast' $$; CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair);
		CREATE TYPE "we ird" AS ENUM ('x'); CREATE FUNCTION weird_text("we ird") RETURNS text LANGUAGE sql AS $$ SELECT 'cast' $$; CREATE CAST ("we ird" AS text) WITH FUNCTION weird_text("we ird")`)
	const query = `SELECT '1.2.3.4'::inet AS i, 'ab'::char(5) AS c, '<?xml version="1.0" encoding="ISO-8859-1"?><a/>'::xml AS x, t AS b, ROW(1, 'x')::pair AS p, ROW(2, 'y')::pair::pairs AS d, 'x'::"we ird" AS w,
		ARRAY[ROW(3, 'z')::pair] AS a, ARRAY['1.2.3.4'::inet] AS ia FROM (VALUES (true)) v(t)`
	compare(t, c, query, Options{})
	all := map[string]string{}
	for _, name := range []string{"i", "c", "x", "b", "p", "d", "w", "a", "ia"} {
		all[name] = "text"
	}
	compare(t, c, query, Options{Columns: all})
}

// TestPseudoTypes: columns that no table can have come as their text.
func TestPseudoTypes(t *testing.T) {
	t.Parallel()
	c := session(t, pgtest.Database(t))
	compare(t, c, `SELECT ROW(1, 'a,b', NULL) AS r, pg_sleep(0) AS v, NULL AS n, 'x' AS s, ARRAY[ROW(1, 2)] AS ra, textin('c') AS ti`, Options{})
	run(t, c, "CREATE TABLE s AS SELECT n FROM generate_series(1, 100) n; ANALYZE s")
	compare(t, c, "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 's'", Options{})
	compare(t, c, "SELECT stavalues1, stanumbers1 FROM pg_statistic WHERE starelid = 's'::regclass", Options{})
}

// TestEncodings: a database in another encoding is converted by the server; one without an encoding sends what it has.
func TestEncodings(t *testing.T) {
	t.Parallel()
	latin := session(t, pgtest.Database(t, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
	run(t, latin, `CREATE TABLE t (s text, a text[], c char(9), j jsonb); INSERT INTO t VALUES ('grüße', '{ä,"ß x"}', 'ÿ', '"é"')`)
	compare(t, latin, "SELECT * FROM t", Options{})

	ascii := session(t, pgtest.Database(t, "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
	run(t, ascii, `SET client_encoding = 'SQL_ASCII'; CREATE TABLE t (n int, s text, c "char"); INSERT INTO t VALUES (1, 'ok', 'c'), (2, E'a\xffb', E'\xff')`)
	cat, cols := describe(t, ascii, "SELECT n, s, c FROM t")
	for _, tr := range []Transport{CSV, Binary} {
		p, err := NewPlan(cat, cols, Options{}, tr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = collect(p, DecoderOptions{}, copyOut(t, ascii, p, "SELECT * FROM t ORDER BY n"), nil)
		var ve *ValueError
		if !errors.As(err, &ve) || ve.Column != "s" || ve.Row != 1 || ve.Value != `\x61ff62` {
			t.Errorf("%s: %v", tr, err)
		}
	}
	p, b := both(t, ascii, "SELECT * FROM t ORDER BY n", Options{InvalidUTF8: InvalidUTF8Binary})
	r := newUnbatch(p, b[0]).rows()[1]
	if !bytes.Equal(r[1].data, []byte("a\xffb")) || string(r[2].data) != `\377` {
		t.Errorf("as binary: %q %q", r[1].data, r[2].data)
	}
	p, b = both(t, ascii, "SELECT * FROM t ORDER BY n", Options{InvalidUTF8: InvalidUTF8Replace})
	if r := newUnbatch(p, b[0]).rows()[1]; string(r[1].data) != "a\uFFFDb" || b[0].Counts[1].Replaced != 1 {
		t.Errorf("replaced: %q %+v", r[1].data, b[0].Counts)
	}
}

// TestCharsInEncodings: the bytes of "char" that are no ASCII, which a server before 16 converts as if they were text.
func TestCharsInEncodings(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		for _, enc := range []string{"UTF8", "LATIN1", "WIN1251", "EUC_JP", "SQL_ASCII"} {
			c := session(t, srv.Database(t, "ENCODING", enc, "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"))
			if enc == "SQL_ASCII" {
				run(t, c, "SET client_encoding = 'SQL_ASCII'")
			}
			run(t, c, `CREATE DOMAIN dc AS "char"; CREATE DOMAIN ddc AS dc; CREATE TYPE comp AS (a "char", b text, d ddc); CREATE DOMAIN dcomp AS comp;
				CREATE DOMAIN dac AS "char"[]; CREATE TYPE rc AS RANGE (subtype = "char");
				CREATE TABLE t (n int, c "char", d ddc, a "char"[], da dac, r comp, dr dcomp, ra comp[], rg rc, ar ddc[]);
				INSERT INTO t SELECT n, v, v, ARRAY[v, NULL, '\', ''], ARRAY[v], ROW(v, 'x"'::text, v::ddc)::comp, ROW(v, 'x'::text, NULL::ddc)::comp, ARRAY[ROW(v, ''::text, v::ddc)::comp, NULL],
					CASE WHEN n > 0 THEN rc('a', 'b', '[]') END, ARRAY[v::ddc]
				FROM (SELECT n, n::"char" AS v FROM generate_series(-128, 127) n) s;
				INSERT INTO t (n, a, da) VALUES (1000, '{}', '{}'), (1001, NULL, NULL)`)
			p, batches := both(t, c, "SELECT * FROM t ORDER BY n", Options{})
			row := 0
			for _, b := range batches {
				for _, r := range newUnbatch(p, b).rows()[:min(b.Rows, 256-row)] {
					want := string(charText(byte(row - 128)))
					got := []string{string(r[1].data), string(r[2].data), string(r[3].list[0].data), string(r[4].list[0].data), string(r[5].sub[0].data), string(r[5].sub[2].data), string(r[6].sub[0].data), string(r[7].list[0].sub[0].data), string(r[9].list[0].data)}
					for i := range got {
						if got[i] != want {
							t.Fatalf("%s: byte %d, place %d: got %q, want %q", enc, byte(row-128), i, got[i], want)
						}
					}
					row++
				}
			}
			if row != 256 {
				t.Errorf("%s: %d rows", enc, row)
			}
			// As text a "char" is what it is otherwise.
			p, batches = both(t, c, "SELECT c, d FROM t WHERE n = -23", Options{Columns: map[string]string{"c": "text", "d": "text"}})
			if r := newUnbatch(p, batches[0]).rows()[0]; string(r[0].data) != `\351` || string(r[1].data) != `\351` {
				t.Errorf("%s: as text %q, %q", enc, r[0].data, r[1].data)
			}
		}
	})
}

// TestRefusalsAlike: both transports refuse the same values, in the same words.
func TestRefusalsAlike(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		c := session(t, srv.Database(t))
		run(t, c, `CREATE TYPE comp AS (n numeric, i interval, d date, a int[], "x y" text); CREATE DOMAIN da AS int[]; CREATE EXTENSION hstore`)
		for _, tt := range []struct {
			value string
			opt   Options
			want  string // of the message
		}{
			{"1e400::numeric", Options{}, `"1` + strings.Repeat("0", 79) + `"… (401 bytes): beyond the range`},
			{"-1e400::numeric", Options{}, "beyond the range"},
			{"1.23456789012345678::numeric", Options{Strict: true}, `"1.23456789012345678"`},
			{"'NaN'::numeric(5,2)", Options{}, "NaN: no decimal is that"},
			{"1.555::numeric", Options{Numeric: Numeric{NumericDecimal, 5, 2}}, `"1.555": more than 2 decimals`},
			{"1.555::numeric", Options{Numeric: Numeric{NumericDecimal, 5, 2}, Nonfinite: NonfiniteText}, `"1.555": more than 2 decimals`},
			{"12345::numeric", Options{Numeric: Numeric{NumericDecimal, 5, 2}, Nonfinite: NonfiniteText}, `"12345": more digits`},
			{"-12345.5::numeric", Options{Numeric: Numeric{NumericDecimal, 5, 2}}, `"-12345.5": more digits`},
			{"12345::int", Options{Columns: map[string]string{"v": "decimal(3,0)"}}, `"12345": more digits`},
			{"'infinity'::date", Options{}, "infinity: Parquet"},
			{"'-infinity'::timestamptz", Options{}, "-infinity: Parquet"},
			{"'294276-12-31 23:59:59.1'::timestamp", Options{}, `"294276-12-31 23:59:59.1": later`},
			{"'294276-12-31 23:59:59.10+00'::timestamptz", Options{}, `"294276-12-31 23:59:59.1+00": later`},
			{"'24:00'::time", Options{}, "24:00:00: Parquet"},
			{"'24:00+05:30'::timetz", Options{}, "24:00:00: Parquet"},
			{"'1 year -3 days 04:05:06.7'::interval", Options{Interval: IntervalDuration}, `"1 year -3 days +04:05:06.7": 12 months are`},
			{"'2147483647 days'::interval", Options{Interval: IntervalDuration}, `"2147483647 days": longer`},
			{"'[5:6]={1,NULL}'::int[]", Options{}, `"[5:6]={1,NULL}": an array that begins at index 5, not 1`},
			{"'[-5:-4]={a,\"b c\"}'::text[]", Options{}, `"[-5:-4]={a,\"b c\"}": an array that begins at index -5, not 1`},
			{"'{{1,2},{3,4}}'::int[]", Options{}, `"{{1,2},{3,4}}": an array of 2 dimensions in`},
			{"'[2:2][3:4][1:1]={{{1},{2}}}'::int[]", Options{}, `"[2:2][3:4][1:1]={{{1},{2}}}": an array of 3 dimensions in`},
			{"'[1:2][0:0]={{null},{\"NULL\"}}'::text[]", Options{}, `"[1:2][0:0]={{NULL},{\"NULL\"}}": an array of 2`},
			{"ARRAY['{}'::da, '[0:0]={7}'::da]", Options{}, `"[0:0]={7}": an array that begins at index 0, not 1`},
			{"ARRAY[1, 1e400]", Options{}, "(401 bytes): beyond the range"},
			{"numrange(1, 1e400)", Options{}, "(401 bytes): beyond the range"},
			{"daterange('2000-01-01', 'infinity')", Options{}, "infinity: Parquet"},
			{"ROW(1e400, NULL, NULL, NULL, NULL)::comp", Options{}, "(401 bytes): beyond the range"},
			{"ROW(1, '1 mon', NULL, NULL, NULL)::comp", Options{Interval: IntervalDuration}, `"1 mon": 1 months`},
			{"ROW(1, NULL, NULL, '{{1}}', NULL)::comp", Options{}, `"{{1}}": an array of 2`},
			{"'[3:3]={\"(1,\\\"1 day\\\",2000-01-01,,\\\"a b\\\")\"}'::comp[]", Options{}, `an array that begins at index 3, not 1`},
			{"'[0:0]={\"\\\"k\\\"=>NULL\"}'::hstore[]", Options{}, `"[0:0]={\"\\\"k\\\"=>NULL\"}": an array that`},
			{`'[0:1]={t,f}'::bool[]`, Options{}, `"[0:1]={t,f}"`},
			{`'[0:1]={1.5,1e-30}'::float8[]`, Options{}, `"[0:1]={1.5,1e-30}"`},
			{`'[0:1]={12:00,13:00:00.5}'::timetz[]`, Options{}, `"[0:1]={12:00:00+00,13:00:00.5+00}"`},
			{`'[0:0]={"[1,)"}'::int4range[]`, Options{}, `"[0:0]={\"[1,)\"}"`},
			{`'[0:0]={"((1,2),(3,4))"}'::path[]`, Options{}, `"[0:0]={\"((1,2),(3,4))\"}"`},
			{`'[0:0]={"(3,4),(1,2)"}'::box[]`, Options{}, `"[0:0]={(3,4),(1,2)}"`},
			{`'[0:0]={10.0.0.1/8}'::inet[]`, Options{}, `"[0:0]={10.0.0.1/8}"`},
			{`'[0:0]={\\x00ff}'::bytea[]`, Options{}, "an array that begins at index 0"},
		} {
			query := "SELECT " + tt.value + " AS v"
			cat, cols := describe(t, c, query)
			opt := tt.opt
			opt.ServerVersion = version(t, c)
			var got [2]string
			for i, tr := range []Transport{CSV, Binary} {
				p, err := NewPlan(cat, cols, opt, tr)
				if err != nil {
					t.Fatal(err)
				}
				_, err = collect(p, DecoderOptions{}, copyOut(t, c, p, query), nil)
				var ve *ValueError
				if !errors.As(err, &ve) {
					t.Errorf("%s by %s: %v", tt.value, tr, err)
					continue
				}
				got[i] = ve.Error() + " / " + ve.Hint
			}
			if got[0] != got[1] || !strings.Contains(got[0], tt.want) {
				t.Errorf("%s:\ncsv    %s\nbinary %s\nwant   %s", tt.value, got[0], got[1], tt.want)
			}
		}
		compare(t, c, "SELECT indkey[0:0] AS a, indclass[0:1] AS b FROM pg_index WHERE indnatts > 1 LIMIT 3", Options{})
	})
}

// TestChangedTypes: a type that is another one when the rows come than when the plan was made is an error, never a value.
func TestChangedTypes(t *testing.T) {
	t.Parallel()
	c := session(t, pgtest.Database(t))
	run(t, c, `CREATE TYPE pair AS (a int, b text); CREATE TABLE t (p pair); INSERT INTO t VALUES (ROW(1, 'x')); CREATE TABLE n (v int[]); INSERT INTO n VALUES ('{1}')`)
	plan := func(query string, tr Transport) *Plan {
		cat, cols := describe(t, c, query)
		p, err := NewPlan(cat, cols, Options{}, tr)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	fails := func(p *Plan, query, want string) {
		t.Helper()
		_, err := collect(p, DecoderOptions{}, copyOut(t, c, p, query), nil)
		var ve *ValueError
		if !errors.As(err, &ve) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", p.Transport, err, want)
		}
	}
	csv, bin := plan("SELECT p FROM t", CSV), plan("SELECT p FROM t", Binary)
	arr := plan("SELECT v FROM n", Binary)
	run(t, c, "ALTER TYPE pair ADD ATTRIBUTE c int CASCADE; ALTER TABLE n ALTER v TYPE bigint[]")
	fails(csv, "SELECT p FROM t", "type has changed")
	fails(bin, "SELECT p FROM t", "type has changed")
	fails(arr, "SELECT v FROM n", "type has changed")
	// A field that was dropped and one that was added in its place.
	run(t, c, "ALTER TYPE pair DROP ATTRIBUTE c CASCADE; ALTER TYPE pair DROP ATTRIBUTE b CASCADE; ALTER TYPE pair ADD ATTRIBUTE d date CASCADE; UPDATE t SET p = ROW(5, '2000-01-01')")
	fails(bin, "SELECT p FROM t", "type has changed")
	compare(t, c, "SELECT p, t FROM t", Options{})
	// A type that is gone.
	cat, cols := describe(t, c, "SELECT p FROM t")
	delete(cat.types, cols[0].OID)
	if _, err := NewPlan(cat, cols, Options{}, Binary); err == nil {
		t.Error("a type that is gone is no error")
	}
}

// TestComparisonNotices: the comparison with the server's text sees every byte of a batch. It is this package's oracle,
// so it must be able to fail.
func TestComparisonNotices(t *testing.T) {
	t.Parallel()
	values, cat := readValues(t)
	for _, v := range values {
		if v.refused {
			continue
		}
		plans, batches, errs := decodeValue(t, cat, &v, Options{})
		if errs[1] != nil {
			t.Fatal(errs[1])
		}
		p, b := plans[1], batches[1][0]
		want := pgText(p.nodes[0], newUnbatch(p, b).rows()[0][0])
		for l := range b.Leaves {
			data := b.Leaves[l].Data
			for i := range data {
				if p.Leaves[l].Width == 0 && i < 4 || len(data) > 64 && i%17 != 0 || p.nodes[0].anyNode(func(n *node) bool { return !n.scalar() && p.Leaves[l].Width == 0 }) {
					continue // the length of a text
				}
				data[i] ^= 1
				got := ""
				func() {
					defer func() {
						if recover() != nil { // a day that no calendar has
							got = "nothing"
						}
					}()
					got = pgText(p.nodes[0], newUnbatch(p, b).rows()[0][0])
				}()
				data[i] ^= 1
				if got == want && !strings.Contains(want, "NaN") {
					t.Fatalf("%s %.60q: byte %d of leaf %s changed, and the text is still %.60q", v.typ, v.text, i, p.Leaves[l].Path, got)
				}
			}
		}
	}
}

// BenchmarkCatalogQuery is what planning asks the server.
func BenchmarkCatalogQuery(b *testing.B) {
	c := session(b, pgtest.Database(b))
	for b.Loop() {
		rows, err := c.Query(b.Context(), CatalogQuery, []uint32{oidInt4, oidText, oidNumeric, 1009})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := pgx.CollectRows(rows, pgx.RowToStructByPos[CatalogRow]); err != nil {
			b.Fatal(err)
		}
	}
}
