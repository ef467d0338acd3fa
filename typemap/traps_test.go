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
