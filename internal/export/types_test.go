package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
	"fast-export/parquetw"
	"fast-export/typemap"
)

// edges are, by type, values that other tools lose: extremes, signs of zero, NaN, BC, quotes, line ends, empty and absent.
// Every type is checked against the server in typemap's own tests; here other readers judge the finished files.
var edges = []struct {
	typ    string
	values []string
}{
	{"bool", []string{"t", "f"}},
	{"int2", []string{"-32768", "32767", "0"}},
	{"int4", []string{"-2147483648", "2147483647"}},
	{"int8", []string{"-9223372036854775808", "9223372036854775807"}},
	{"real", []string{"NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1"}},
	{"float8", []string{"NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308", "0.1", "9007199254740993"}},
	{"numeric", []string{"0", "1e-300", "123456789.125", "NaN", "-0.5"}},
	{"numeric(38,10)", []string{"1234567890123456789012345678.0123456789", "-0.0000000001"}},
	{"numeric(20,0)", []string{"99999999999999999999", "-1"}},
	{"text", []string{"", "NULL", `\N`, `\.`, "a\nb", "\r\n", "\t", ",", `"`, `""`, `'`, `\`, "é☄𝄞", " x "}},
	{"varchar(5)", []string{"", "abcde"}},
	{"char(5)", []string{"ab", ""}},
	{"name", []string{"Weird \"name\""}},
	{"json", []string{`{"a" : 1, "a" : 2}`, "null", `"x"`}},
	{"jsonb", []string{`{"n": 12345678901234567890.123456789}`, "null", "[]"}},
	{"bytea", []string{`\x`, `\x00ff7f0a0d22`}},
	{"uuid", []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
	{"date", []string{"0001-01-01", "9999-12-31", "1969-12-31", "2000-02-29"}},
	{"time", []string{"00:00:00", "23:59:59.999999"}},
	{"timestamp", []string{"1970-01-01 00:00:00", "1969-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999", "0001-01-01 00:00:00"}},
	{"timestamptz", []string{"2024-02-29 12:00:00.000001+05:30", "1900-01-01 00:00:00+00"}},
	{"oid", []string{"0", "4294967295"}},
	{"inet", []string{"10.1.2.3/8", "::1"}},
	{"cidr", []string{"10.0.0.0/8"}},
	{"macaddr", []string{"08:00:2b:01:02:03"}},
	{"bit(5)", []string{"10110"}},
	{"varbit", []string{"", "1"}},
	{"tsvector", []string{"'a' 'b':3A"}},
	{"pg_lsn", []string{"16/B374D848"}},
	{"xml", []string{"<a b=\"c\">d</a>"}},
	{"text[]", []string{"{}", `{NULL,"NULL","",a,"b,c","q\"r"}`}},
	{"int4[]", []string{"{1,NULL,-3}", "{}"}},
	{"float8[]", []string{"{NaN,0.1}"}},
}

// TestFilesReadBack exports tables of edge values by both transports on every major; pyarrow and DuckDB read them back,
// and what they see is what the server says.
func TestFilesReadBack(t *testing.T) {
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		var cols []string
		rows := 0
		for i, e := range edges {
			cols = append(cols, fmt.Sprintf("c%d %s", i, e.typ))
			rows = max(rows, len(e.values))
		}
		pgtest.Exec(t, dsn, "CREATE TABLE t (n int, "+strings.Join(cols, ", ")+")")
		conn := pgtest.Connect(t, dsn)
		for r := range rows + 1 { // the last row is all NULL
			values := []string{fmt.Sprint(r)}
			for _, e := range edges {
				v := "NULL"
				if r < len(e.values) {
					v = "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(e.values[r]) + "'::" + e.typ
				}
				values = append(values, v)
			}
			if _, err := conn.Exec(t.Context(), "INSERT INTO t VALUES ("+strings.Join(values, ", ")+")"); err != nil {
				t.Fatal(err)
			}
		}
		want := serverText(t, conn, "SELECT * FROM t ORDER BY ctid")
		var digests []string
		for _, transport := range []Transport{CSV, Binary} {
			cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet")})
			cfg.Transport = transport
			run1(t, cfg)
			if digests = append(digests, digest(t, cfg.Jobs[0].Out)); transport == CSV {
				continue // the same bytes, or the test fails below
			}
			for reader, file := range map[string]*pgtest.Parquet{"pyarrow": pgtest.ReadParquet(t, cfg.Jobs[0].Out), "DuckDB": pgtest.ReadDuckDB(t, cfg.Jobs[0].Out)} {
				judge(t, reader, file, want)
			}
		}
		if digests[0] != digests[1] {
			t.Error("the transports give other bytes")
		}
	})
}

// judge compares what a reader sees with the server's text, value by value; lists by their elements.
func judge(t *testing.T, reader string, file *pgtest.Parquet, want [][]*string) {
	t.Helper()
	if len(file.Rows) != len(want) {
		t.Fatalf("%s reads %d rows of %d", reader, len(file.Rows), len(want))
	}
	for r := range want {
		for c, w := range want[r] {
			typ := "int"
			if c > 0 {
				typ = edges[c-1].typ
			}
			got := file.Rows[r][c]
			switch v := got.(type) {
			case nil:
				if w != nil {
					t.Errorf("%s, %s: NULL, the server says %s", reader, typ, *w)
				}
				continue
			case []any:
				got = arrayText(v)
			}
			if w == nil || !sameText(fmt.Sprint(got), *w) && !sameText(strings.ToLower(fmt.Sprint(got)), strings.ToLower(*w)) {
				s := "NULL"
				if w != nil {
					s = *w
				}
				t.Errorf("%s, %s: %q, the server says %q", reader, typ, got, s)
			}
		}
	}
}

// arrayText writes a list as Postgres does.
func arrayText(v []any) string {
	out := make([]string, len(v))
	for i, e := range v {
		switch s := e.(type) {
		case nil:
			out[i] = "NULL"
		case string:
			if s == "" || strings.EqualFold(s, "NULL") || strings.ContainsAny(s, `{},"\ `) {
				s = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
			}
			out[i] = s
		}
	}
	return "{" + strings.Join(out, ",") + "}"
}

// The oracle must be able to fail: a file with one value changed is caught.
func TestOracleCatchesAChangedValue(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS n, k % 2 = 0 AS c0 FROM generate_series(1, 3) k")
	cfg := config(t, dsn, Job{SQL: "SELECT n, CASE n WHEN 2 THEN NOT c0 ELSE c0 END AS c0 FROM t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet")})
	run1(t, cfg)
	want := serverText(t, pgtest.Connect(t, dsn), "SELECT n, c0 FROM t")
	file := pgtest.ReadParquet(t, cfg.Jobs[0].Out)
	if sameText(fmt.Sprint(file.Rows[1][1]), *want[1][1]) || !sameText(fmt.Sprint(file.Rows[0][1]), *want[0][1]) {
		t.Errorf("read %v, the server says %s", file.Rows[1][1], *want[1][1])
	}
}

// The old tool's schema, through a file: few types, the losses counted.
func TestOldSchema(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (n numeric(20,5), i interval, u uuid, s text)", "INSERT INTO t VALUES (123456789012345.12345, '1 day 00:00:01', '00000000-0000-0000-0000-000000000001', 'x')")
	cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet"), Types: typemap.Options{TypeMap: typemap.DDPP}})
	res := run1(t, cfg)
	var types []string
	for _, f := range pgtest.ReadParquet(t, cfg.Jobs[0].Out).Fields {
		types = append(types, f.Type)
	}
	if got := strings.Join(types, " "); got != "double duration[us] string string" {
		t.Errorf("types %s", got)
	}
	if res.Files[0].Columns[0].Inexact != 1 {
		t.Errorf("%d inexact values, want 1", res.Files[0].Columns[0].Inexact)
	}
}

// Enums, also inside others, over several row groups: a dictionary may differ between row groups only at the top.
func TestEnumsReadBack(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g')", "CREATE TYPE pair AS (m mood, n int)", "CREATE TYPE span AS RANGE (subtype = mood)",
		`CREATE TABLE t AS SELECT n, m, CASE WHEN n % 3 > 0 THEN ARRAY[m, NULL, 'c'] END AS l, ROW(m, n)::pair AS p, ARRAY[ROW(m, n)::pair] AS lp, span(m, NULL) AS r
		FROM (SELECT n, (enum_range(NULL::mood))[1 + n / 200] AS m FROM generate_series(0, 1399) n) s`)
	for _, tr := range []Transport{CSV, Binary} {
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet"), RowGroupRows: 300})
		cfg.Transport = tr
		run1(t, cfg)
		// The whole file at once is what pyarrow can't read with a dictionary below the top.
		if got := string(pgtest.RunPython(t, "import sys, pyarrow.parquet as pq\nprint(pq.ParquetFile(sys.argv[1]).read().num_rows)", cfg.Jobs[0].Out)); strings.TrimSpace(got) != "1400" {
			t.Errorf("pyarrow reads %s rows", got)
		}
		want := serverText(t, pgtest.Connect(t, dsn), "SELECT n, m FROM t ORDER BY n")
		for name, file := range map[string]*pgtest.Parquet{"pyarrow": pgtest.ReadParquet(t, cfg.Jobs[0].Out), "duckdb": pgtest.ReadDuckDB(t, cfg.Jobs[0].Out)} {
			if len(file.Rows) != 1400 {
				t.Fatalf("%s: %d rows", name, len(file.Rows))
			}
			for i, row := range file.Rows {
				m := *want[i][1]
				if got := fmt.Sprint(row[1], row[3], row[4]); strings.Count(got, m) < 3 || fmt.Sprint(row[1]) != m || i%3 > 0 && !strings.Contains(fmt.Sprint(row[2]), m) {
					t.Fatalf("%s: row %d: %v, want %s", name, i, row, m)
				}
			}
		}
	}
}

// A SQL_ASCII database may have names that no file can have. What does not need them is exported.
func TestNamesThatAreNoText(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t, "ENCODING SQL_ASCII TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	conn := pgtest.Connect(t, dsn)
	for _, sql := range []string{
		"SET client_encoding = 'SQL_ASCII'", "CREATE TABLE t (b int, \"a\xff\\\" int, \"é\" int)", "INSERT INTO t VALUES (1, 2, 3)",
		"CREATE TYPE c AS (x int, \"f\xff\" int)", "CREATE TABLE u AS SELECT 1 AS i, ROW(1, 2)::c AS c",
	} {
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(outDir(t, "t.parquet"), "t.parquet")
	for _, tt := range []struct {
		job  Job
		want string // of the error; "": none
		cols int
	}{
		{Job{Table: "t"}, `public.t: the name of its column number 2 is not UTF-8: "a\xff\\"`, 0},
		{Job{Table: "t", Columns: []string{"b", "é"}}, "", 2},
		{Job{Table: "u"}, `column "c" (c): the name of field 2 of c is not UTF-8: "f\xff"`, 0},
		{Job{Table: "u", Columns: []string{"i"}}, "", 1},
		{Job{Table: "u", Types: typemap.Options{Columns: map[string]string{"c": "text"}}}, "", 2},
	} {
		tt.job.Out, tt.job.Overwrite = out, parquetw.ReplaceAny
		_, err := Run(t.Context(), config(t, dsn, tt.job))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("%+v: %v, want %q", tt.job, err, tt.want)
		} else if err == nil && len(pgtest.ReadParquet(t, out).Fields) != tt.cols {
			t.Errorf("%+v: fields %v", tt.job, pgtest.ReadParquet(t, out).Fields)
		}
	}
}

// What the server can't put into a message is told with its place and what to do.
func TestRowsThatAreNotSent(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT generate_series(0, 9) AS i",
		`CREATE FUNCTION boom(i int, code text, msg text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF i = 7 THEN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = msg; END IF; RETURN i; END $$`,
		"CREATE VIEW large AS SELECT boom(i, 'XX000', 'invalid memory alloc request size 1200000003') FROM t",
		"CREATE VIEW odd AS SELECT boom(i, '22021', 'character with byte sequence 0x8e has no equivalent') FROM t",
		"CREATE VIEW other AS SELECT boom(i, 'XX000', 'out of cheese') FROM t")
	for _, tt := range []struct {
		view string
		tr   Transport
		want string // beginning of the error
		hint string
	}{
		{"large", CSV, "public.large, row 8: invalid memory alloc request size 1200000003 (SQLSTATE XX000)", "--transport binary"},
		{"large", Binary, "public.large, row 8: invalid memory", "leave out the column"},
		{"odd", Binary, "public.odd, row 8: character with", "encoding"},
		{"other", CSV, "read public.other, ", ""},
	} {
		cfg := config(t, dsn, Job{Table: tt.view, Out: filepath.Join(outDir(t), "t.parquet")})
		cfg.Transport = tt.tr
		_, err := Run(t.Context(), cfg)
		var se *ServerError
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || errors.As(err, &se) != (tt.hint != "") || se != nil && !strings.Contains(se.Hint, tt.hint) {
			t.Errorf("%s by %v: %v, %+v", tt.view, tt.tr, err, se)
		}
	}
}

// What a user or a database says of quoting names does not reach the file.
func TestQuotedIdentifiers(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TYPE "pair x" AS (a int)`, "CREATE TYPE kind AS (a int)", `CREATE TABLE t AS SELECT ROW(1)::"pair x" AS p, ROW(1)::kind AS k, 1 AS i`)
	var sums []string
	for _, v := range []string{"off", "on"} {
		pgtest.Exec(t, dsn, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET quote_all_identifiers = "+v+"', current_database()); END $$")
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t, "t.parquet"), "t.parquet")})
		cfg.Hash = true
		sums = append(sums, run1(t, cfg).Files[0].SHA256)
	}
	if sums[0] != sums[1] || sums[0] == "" {
		t.Errorf("the files differ: %s", sums)
	}
}

// Geometries of a reference system that only the server knows come with its definition.
func TestGeometryReferenceSystem(t *testing.T) {
	dsn := pgtest.Database(t)
	if !pgtest.Extension(t, dsn, "postgis") {
		return
	}
	pgtest.Exec(t, dsn, "CREATE TABLE g AS SELECT ST_SetSRID(ST_MakePoint(500000 + k, 5000000), 32632) AS p FROM generate_series(1, 10) k")
	cfg := config(t, dsn, Job{Table: "g", Out: filepath.Join(outDir(t, "g.parquet"), "g.parquet")})
	res := run1(t, cfg)
	var geo struct {
		Columns map[string]struct {
			CRS  map[string]any `json:"crs"`
			BBox []float64      `json:"bbox"`
		} `json:"columns"`
	}
	if err := json.Unmarshal([]byte(pgtest.ReadParquet(t, cfg.Jobs[0].Out).Metadata["geo"]), &geo); err != nil {
		t.Fatal(err)
	}
	if c := geo.Columns["p"]; len(c.CRS) == 0 || len(c.BBox) != 4 || c.BBox[0] != 500001 || len(res.Warnings) != 0 {
		t.Errorf("geo %+v, warnings %q", c, res.Warnings)
	}
}
