package chunker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// ranged has columns of every type that chunks can be ranges of, with NULLs
// and extremes in them.
var ranged = []string{
	`CREATE DOMAIN weight AS numeric(8,2)`,
	`CREATE TABLE r (
		id int NOT NULL, i2 int2, i8 int8, n numeric, f4 float4, f8 float8, d date, ts timestamp, tz timestamptz, u uuid,
		s text, c text COLLATE "C", v varchar(20), b char(8), nm name, w weight, o oid, box box
	) WITH (fillfactor = 60, autovacuum_enabled = false)`,
	`INSERT INTO r SELECT g, g % 100 - 50, CASE g % 50 WHEN 0 THEN 9223372036854775807 WHEN 1 THEN -9223372036854775808 ELSE g::int8 * 1000000007 END,
		CASE g % 90 WHEN 0 THEN 'NaN'::numeric WHEN 1 THEN 1e30 ELSE g * 0.37 END,
		CASE g % 90 WHEN 0 THEN 'NaN'::float4 WHEN 1 THEN '-Infinity' ELSE g * 0.5 END,
		CASE g % 90 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN 'Infinity' WHEN 2 THEN 1e308 WHEN 3 THEN -1e308 ELSE g * 0.25 END,
		CASE g % 90 WHEN 0 THEN 'infinity'::date WHEN 1 THEN '-infinity' ELSE date '1999-01-01' + g END,
		CASE g % 90 WHEN 0 THEN 'infinity'::timestamp WHEN 1 THEN '0044-03-15 BC' ELSE timestamp '2000-01-01' + g * interval '1 minute' END,
		CASE g % 90 WHEN 0 THEN '-infinity'::timestamptz ELSE timestamptz '2000-01-01 00:00Z' + g * interval '1 minute' END,
		md5(g::text)::uuid, 'S' || md5(g::text), CASE WHEN g % 2 = 0 THEN 'a' ELSE 'B' END || md5(g::text), left(md5(g::text), 4), left(md5(g::text), 3),
		left(md5(g::text), 5), g % 300, g, '(1,2),(3,4)'
		FROM generate_series(1, 2000) g`,
	`UPDATE r SET i2 = NULL, i8 = NULL, n = NULL, f4 = NULL, f8 = NULL, d = NULL, ts = NULL, tz = NULL, u = NULL, s = NULL, c = NULL, v = NULL,
		b = NULL, nm = NULL, w = NULL, o = NULL WHERE id % 41 = 0`,
	`CREATE INDEX ON r (i8)`,
}

func TestColumnRanges(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		loopback(t, srv, dsn)
		pgtest.Exec(t, dsn, append(append(ranged, measured...),
			`CREATE VIEW rv AS SELECT id, i8, s, d::text AS t FROM r WHERE id % 2 = 0`,
			`CREATE MATERIALIZED VIEW rm AS SELECT id, i8 FROM r`,
			`CREATE FOREIGN TABLE rf (id int, i8 int8, s text) SERVER loop OPTIONS (table_name 'r')`,
			`CREATE TABLE nothing (a int)`, `CREATE TABLE nulls (a int)`, `INSERT INTO nulls VALUES (NULL), (NULL)`)...)
		db := open(t, dsn)
		read := func(t *testing.T, req Request, o Options) *exporting {
			t.Helper()
			e := db.mustPlan(t, req, o)
			sql := req.SQL
			if sql == "" {
				list := "*"
				if req.Columns != nil {
					list = strings.Join(req.Columns, ", ")
				}
				sql = "SELECT " + list + " FROM " + req.Table
				if req.Where != "" {
					sql += " WHERE " + req.Where
				}
			}
			for _, exprs := range [][]string{nil, e.asText()} {
				want := sql
				if exprs != nil {
					want = e.textOf(sql)
				}
				if d := differ(sorted(e.rows(exprs)), sorted(e.inScanOrder(want))); d != "" {
					t.Errorf("%+v: %s", req, d)
				}
			}
			return e
		}
		columns := []string{"id", "i8", "n", "ts", "u", "s"}
		if srv.Version() == pgtest.Version(t) {
			columns = append(columns, "i2", "f4", "f8", "d", "tz", "c", "v", "b", "nm", "w", "o")
		}
		for _, analyzed := range []bool{false, true} {
			if analyzed {
				pgtest.Exec(t, dsn, "ANALYZE")
			}
			for _, column := range columns {
				t.Run(fmt.Sprint(column, analyzed), func(t *testing.T) {
					req := Request{Table: "r", Columns: []string{"id", column, "box"}, Chunk: Hint{By: CutColumn, Column: column, Count: 7}}
					if column == "id" {
						req.Columns = nil
					}
					e := read(t, req, Options{Parallel: 3})
					// n has most of its values at one end of its range.
					if n := e.plan.Len(); n < 2 || n > 8 || n < 6 && (analyzed || column != "n" && column != "f8" && column != "ts") {
						t.Errorf("%d chunks: %s", n, e.plan.Why)
					}
					if warned := len(e.plan.Warnings) > 0; !warned && column != "i8" {
						t.Errorf("no warning that no index supports %s", column)
					}
					// The ranges ascend, within each the order is by ctid, the
					// NULLs come last.
					order := queryText(t, e.workers[0], fmt.Sprintf("SELECT string_agg(id::text, ',' ORDER BY w, ctid) FROM (SELECT id, ctid, %s AS w FROM r) x", rangeNumber(e.plan)))
					var got []string
					for _, line := range strings.Split(strings.TrimSuffix(e.rows(nil), "\n"), "\n") {
						got = append(got, strings.SplitN(line, "\t", 2)[0])
					}
					if strings.Join(got, ",") != order {
						t.Errorf("the rows are not in the order of ranges and ctids")
					}
					if notNull := column == "id"; notNull != (e.plan.bounds != nil && int64(e.plan.Len()) == int64(len(e.plan.bounds))+1) {
						t.Errorf("%d chunks by %d bounds", e.plan.Len(), len(e.plan.bounds))
					}
					again := db.mustPlan(t, req, Options{Parallel: 8, ChunkBytes: 1})
					if again.plan.Len() != e.plan.Len() || again.plan.SQL(again.plan.At(1), nil) != e.plan.SQL(e.plan.At(1), nil) {
						t.Error("the ranges depend on the number of connections")
					}
				})
			}
		}
		for _, c := range []struct {
			req    Request
			chunks int // -1: several
			why    string
		}{
			{Request{Table: "r", Where: "i8 > 0", Chunk: Hint{By: CutColumn, Column: "i8", Bounds: []string{"5", "10000000000", "9000000000000000000"}}}, 5, "column i8"},
			{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "ts", Bounds: []string{"2000-01-01 12:00", "2000-01-02"}}}, 4, ""},
			{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "s", Bounds: []string{"S4'; --", "Sa", "Sf"}}}, 5, ""},
			{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "f8", Bounds: []string{"-Infinity", "0.1", "Infinity", "NaN"}}}, 6, ""},
			{Request{SQL: "SELECT x.id, upper(s) AS up FROM r AS x WHERE x.id > 100", Chunk: Hint{By: CutColumn, Column: "ID", Count: 5}}, 5, ""},
			{Request{SQL: "SELECT * FROM m", Chunk: Hint{By: CutColumn, Column: "d", Count: 5}}, 5, ""},
			{Request{Table: "m", Chunk: Hint{By: CutColumn, Column: "k", Bounds: []string{"b", "k"}}}, 4, ""},
			{Request{Table: "rv", Chunk: Hint{By: CutColumn, Column: "i8", Count: 4}}, 5, ""},
			{Request{Table: "rv", Chunk: Hint{By: CutColumn, Column: "t", Count: 4}}, 5, ""},
			{Request{SQL: "SELECT id FROM rv WHERE i8 > 5", Chunk: Hint{By: CutColumn, Column: "id", Count: 4}}, 5, ""},
			{Request{Table: "rm", Chunk: Hint{By: CutColumn, Column: "id", Bytes: 8192}}, -1, ""},
			{Request{Table: "rf", Chunk: Hint{By: CutColumn, Column: "id", Count: 4}}, 5, ""},
			{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "id"}}, 16, ""},
			{Request{Table: "rf", Chunk: Hint{By: CutColumn, Column: "id"}}, 17, ""},
			{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "id", Count: 1}}, 1, "too few values"},
			{Request{Table: "nothing", Chunk: Hint{By: CutColumn, Column: "a", Count: 4}}, 1, "too few values"},
			{Request{Table: "nulls", Chunk: Hint{By: CutColumn, Column: "a", Count: 4}}, 1, "too few values"},
			{Request{Table: "r", Chunk: Hint{By: CutNone}}, 1, "asked for"},
			{Request{Table: "m", Chunk: Hint{By: CutNone}}, 1, "asked for"},
		} {
			t.Run(fmt.Sprint(c.req), func(t *testing.T) {
				e := read(t, c.req, Options{Parallel: 3, ChunkBytes: 8192})
				if n := e.plan.Len(); n != c.chunks && (c.chunks >= 0 || n < 2) || !strings.Contains(e.plan.Why, c.why) {
					t.Errorf("%d chunks: %s", n, e.plan.Why)
				}
			})
		}
		if srv.Version() < 14 {
			return
		}
		for count, want := range map[int]int{1: 1, 2: 2, 9: 9, 5000: 0} {
			p := db.mustPlan(t, Request{Table: "r", Chunk: Hint{By: CutCTID, Count: count}}, Options{Parallel: 3}).plan
			if want == 0 {
				want = int(p.Pages)
			}
			if p.Len() > want || p.Len() < want*8/10 {
				t.Errorf("%d chunks for a count of %d: %s", p.Len(), count, p.Why)
			}
		}
		if p := db.mustPlan(t, Request{Table: "r", Chunk: Hint{Bytes: 81920}}, Options{ChunkBytes: 1}).plan; p.At(0).Hi != 10 {
			t.Errorf("the first chunk is %s", p.At(0))
		}
	})
}

// rangeNumber is an expression for the range that a row of r belongs to.
func rangeNumber(p *Plan) string {
	var b strings.Builder
	b.WriteString("CASE")
	for i := range p.bounds {
		fmt.Fprintf(&b, " WHEN %s < %s THEN %d", quote(p.column.Name), p.column.typed(p.bounds[i]), i)
	}
	fmt.Fprintf(&b, " WHEN %s IS NULL THEN %d ELSE %d END", quote(p.column.Name), len(p.bounds)+1, len(p.bounds))
	return b.String()
}

// TestUnrepeatable has views and conditions that could give other rows to
// every statement: they are not cut by a column either.
func TestUnrepeatable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, append(obsTable,
		`CREATE VIEW v_random AS SELECT id FROM obs WHERE random() < 0.5`,
		`CREATE VIEW v_limit AS SELECT id FROM obs LIMIT 10`,
		`CREATE VIEW v_now AS SELECT id FROM obs WHERE created < now()`,
		`CREATE VIEW v_nested AS SELECT * FROM v_now`,
		`CREATE VIEW v_sample AS SELECT id FROM obs TABLESAMPLE SYSTEM (50)`,
		`CREATE VIEW v_window AS SELECT row_number() OVER () AS id FROM obs`,
		`CREATE VIEW v_on AS SELECT DISTINCT ON (stn) id FROM obs`,
		`CREATE VIEW v_user AS SELECT id FROM obs WHERE stn = current_user`,
		`CREATE VIEW v_moody AS SELECT moody(id) AS id FROM obs`,
		`CREATE VIEW v_fine AS SELECT a.id, count(*) AS n, max(a.obstime::date) AS d FROM obs a JOIN other USING (id) WHERE a.stn LIKE 'F%' GROUP BY a.id`)...)
	db := open(t, dsn)
	hint := Hint{By: CutColumn, Column: "id", Count: 4}
	for _, v := range []string{"v_random", "v_limit", "v_now", "v_nested", "v_sample", "v_window", "v_on", "v_user", "v_moody"} {
		if p := db.mustPlan(t, Request{Table: v, Chunk: hint}, Options{}).plan; p.Len() != 1 {
			t.Errorf("%s is cut into %d chunks", v, p.Len())
		}
	}
	e := db.mustPlan(t, Request{Table: "v_fine", Chunk: hint}, Options{})
	if e.plan.Len() != 5 {
		t.Errorf("v_fine: %s", e.plan.Why)
	}
	if d := differ(sorted(e.rows(nil)), sorted(e.inScanOrder("SELECT * FROM v_fine"))); d != "" {
		t.Error(d)
	}
	for _, where := range []string{"created < now()", "random() < 0.5", "id IN (SELECT id FROM other)"} {
		if p := db.mustPlan(t, Request{Table: "obs", Where: where, Chunk: hint}, Options{}).plan; p.Len() != 1 {
			t.Errorf("%s: %d chunks", where, p.Len())
		}
	}
}

func TestExtent(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, append(ranged, `CREATE VIEW rv AS SELECT id FROM r`)...)
	db := open(t, dsn)
	for _, c := range []struct {
		req  Request
		want string
	}{
		{
			Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "ts", Bounds: []string{"2000-01-02", "2000-01-03"}}},
			"ts < '2000-01-02 00:00:00'; ts >= '2000-01-02 00:00:00' and < '2000-01-03 00:00:00'; ts >= '2000-01-03 00:00:00'; ts is NULL",
		},
		{Request{Table: "r", Chunk: Hint{Count: 2}}, "blocks [0,"},
		{Request{Table: "r", Chunk: Hint{By: CutNone}}, "sequential scan"},
		{Request{Table: "rv"}, "the server's own plan"},
	} {
		p := db.mustPlan(t, c.req, Options{}).plan
		var got []string
		for i := range p.Len() {
			got = append(got, p.Extent(p.At(i)))
		}
		if g := strings.Join(got, "; "); !strings.HasPrefix(g, c.want) || c.req.Chunk.Count == 2 && !strings.HasSuffix(g, ",end)") {
			t.Errorf("%+v: %s", c.req, g)
		}
	}
}

func TestRefusedHints(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, ranged...)
	db := open(t, dsn)
	for _, c := range []struct {
		req  Request
		text string
	}{
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "nope"}}, "column nope does not exist in public.r"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "ctid"}}, "column ctid does not exist"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "box"}}, "column box is of type box"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "id, n"}}, "is no column name"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn}}, "is no column name"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "id", Bounds: []string{"1", "x"}}}, "a bound is wrong: invalid input syntax for type integer"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "i2", Bounds: []string{"1", "99999"}}}, "a bound is wrong"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "id", Bounds: []string{"9", "10", "10"}}}, "'10' is not above"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "id", Bounds: []string{"9", "8"}}}, "'8' is not above"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "c", Bounds: []string{"a", "B"}}}, "'B' is not above"},
		{Request{Table: "r", Chunk: Hint{By: CutColumn, Column: "id", Count: 3, Bytes: 5}}, "one of size, count and bounds"},
		{Request{Table: "r", Chunk: Hint{By: CutCTID, Bounds: []string{"1"}}}, "none is named"},
		{Request{Table: "r", Chunk: Hint{By: CutCTID, Column: "id"}}, "not by column"},
		{Request{Table: "r", Chunk: Hint{By: CutNone, Count: 4}}, "neither size"},
		{Request{Table: "r", Chunk: Hint{Count: -4}}, "negative"},
		{Request{SQL: "SELECT count(*) FROM r", Chunk: Hint{By: CutColumn, Column: "id", Count: 4}}, ""},
		{Request{SQL: "SELECT id FROM r LIMIT 5", Chunk: Hint{By: CutColumn, Column: "id", Count: 4}}, "it has LIMIT"},
		{Request{SQL: "SELECT id FROM r WHERE {chunk}", Chunk: Hint{By: CutColumn, Column: "id", Count: 4}}, "it has {chunk}"},
	} {
		e, err := db.plan(t, c.req, Options{})
		if c.text == "" { // a plain scan by its words, an aggregate for the server
			if err != nil || e.plan.Len() != 1 {
				t.Errorf("%+v: %v", c.req, err)
			}
			continue
		}
		var bad *StatementError
		var missing *NotFoundError
		if !errors.As(err, &bad) && !errors.As(err, &missing) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want %q", c.req, err, c.text)
		}
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	var h []string
	for i := range 101 {
		h = append(h, fmt.Sprint(i))
	}
	for n, want := range map[int64][]string{2: {"50"}, 4: {"25", "50", "75"}, 3: {"33", "66"}} {
		if got := pick(h, n); !slices.Equal(got, want) {
			t.Errorf("%d ranges: %v", n, got)
		}
	}
	if got := pick(h, 1000); len(got) != 99 {
		t.Errorf("1000 ranges of 100: %d bounds", len(got))
	}
	if got := pick([]string{"1", "2"}, 8); got != nil {
		t.Errorf("two values: %v", got)
	}
}
