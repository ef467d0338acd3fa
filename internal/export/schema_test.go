package export

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fast-export/chunker"
	"fast-export/internal/pgtest"
	"fast-export/parquetw"
	"fast-export/typemap"
)

var schemaObjects = []string{
	`CREATE SCHEMA parts`, `CREATE SCHEMA "Odd ""Name"""`, `CREATE SCHEMA bare`, `CREATE SCHEMA views`,
	`CREATE TABLE obs (id int)`, `CREATE TABLE "Obs" (id int)`, `CREATE TABLE "OBS" (id int)`, `CREATE TABLE "Mixed Case" (id int)`, `CREATE UNLOGGED TABLE u (id int)`,
	`CREATE TABLE "a/b" (id int)`, `CREATE TABLE "a%2Fb" (id int)`, `CREATE TABLE ".hidden" (id int)`, `CREATE TABLE ".." (id int)`, `CREATE TABLE "q""uote'" (id int)`,
	`CREATE TABLE "-x" (id int)`, `CREATE TABLE "été" (id int)`, `CREATE TABLE "*" (id int)`, "CREATE TABLE \"new\nline\" (id int)",
	`CREATE TABLE part (id int, k int) PARTITION BY LIST (k)`, `CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1)`,
	`CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2) PARTITION BY RANGE (id)`, `CREATE TABLE parts.part_2_lo PARTITION OF part_2 FOR VALUES FROM (0) TO (10)`,
	`CREATE TABLE parts.own (id int)`,
	`CREATE TABLE parent (id int)`, `CREATE TABLE child (more int) INHERITS (parent)`,
	`CREATE MATERIALIZED VIEW mat AS SELECT 1 AS one`, `CREATE VIEW v AS SELECT 1 AS one`, `CREATE VIEW w AS SELECT 1 AS one`, `CREATE VIEW views.v AS SELECT 1 AS one`,
	`CREATE FOREIGN DATA WRAPPER nothing`, `CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing`, `CREATE FOREIGN TABLE far (id int) SERVER nowhere`,
	`CREATE SEQUENCE seq`, `CREATE INDEX obs_i ON obs (id)`, `CREATE TYPE pair AS (a int, b int)`,
	`CREATE TABLE "Odd ""Name"""."T" (id int)`,
}

// tables are the names and files of jobs, "name file".
func tables(jobs []Job) []string {
	var all []string
	for _, j := range jobs {
		all = append(all, j.Table+" "+j.Out)
	}
	return all
}

const (
	viewsOut = "not exported: 2 views: v, w (--include with its name takes one, --exclude ends this warning)"
	farOut   = "not exported: 1 foreign table: far (--include with its name takes one, --exclude ends this warning)"
	childIn  = "the rows of public.child are in the file of public.parent too, because they are its rows as well"
)

func TestSchema(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, schemaObjects...)
		conn := pgtest.Connect(t, dsn)
		everything := []string{
			`public."*" d/%2A.parquet`, `public."-x" d/%2Dx.parquet`, `public.".." d/%2E..parquet`, `public.".hidden" d/%2Ehidden.parquet`,
			`public."Mixed Case" d/Mixed%20Case.parquet`, `public."OBS" d/%4F%42%53.parquet`, `public."Obs" d/%4Fbs.parquet`, `public."a%2Fb" d/a%252Fb.parquet`,
			`public."a/b" d/a%2Fb.parquet`, `public.child d/child.parquet`, `public.mat d/mat.parquet`, "public.\"new\nline\" d/new%0Aline.parquet", `public.obs d/obs.parquet`,
			`public.parent d/parent.parquet`, `public.part d/part.parquet`, `public."q""uote'" d/q%22uote%27.parquet`, `public.u d/u.parquet`, `public."été" d/été.parquet`,
		}
		for _, c := range []struct {
			name     string
			schema   Schema
			want     []string
			warnings []string
		}{
			{"all", Schema{Name: "public"}, everything, []string{viewsOut, farOut, childIn}},
			{"folded", Schema{Name: "PUBLIC"}, everything, []string{viewsOut, farOut, childIn}},
			{"include", Schema{Name: "public", Include: []string{"OB*", "ma?"}}, []string{"public.mat d/mat.parquet", "public.obs d/obs.parquet"}, nil},
			{"quoted", Schema{Name: "public", Include: []string{`"Mixed"*`, `"*"`, `"O"*`, `"q""uote'"`}}, []string{
				`public."*" d/%2A.parquet`, `public."Mixed Case" d/Mixed%20Case.parquet`, `public."OBS" d/%4F%42%53.parquet`, `public."Obs" d/%4Fbs.parquet`,
				`public."q""uote'" d/q%22uote%27.parquet`,
			}, nil},
			{"one of two that differ in case", Schema{Name: "public", Include: []string{`"Obs"`}}, []string{`public."Obs" d/Obs.parquet`}, nil},
			{"by name", Schema{Name: "public", Include: []string{"v", "far", "part_1", "mat"}}, []string{
				"public.far d/far.parquet", "public.mat d/mat.parquet", "public.part_1 d/part_1.parquet", "public.v d/v.parquet",
			}, nil},
			{"by wildcard", Schema{Name: "public", Include: []string{"p*"}}, []string{"public.parent d/parent.parquet", "public.part d/part.parquet"}, nil},
			{"partitions by wildcard", Schema{Name: "public", Include: []string{"part_*", "mat"}}, []string{"public.mat d/mat.parquet"}, []string{
				"not exported: 2 partitions of tables that are not exported either: part_1, part_2 (--include with its name takes one, --exclude ends this warning)",
			}},
			{"a partition and its table", Schema{Name: "public", Include: []string{"part", "part_1"}}, []string{"public.part d/part.parquet", "public.part_1 d/part_1.parquet"}, []string{
				"the rows of public.part_1 are in the file of public.part too, because they are its rows as well",
			}},
			{"exclude", Schema{Name: "public", Include: []string{"*"}, Exclude: []string{`"*"`, `*"/"*`, `*"%"*`, "?", "far", `".*"`, `*x`, `??se*`, "child", `"."*`, `*"O"*`, `"M"*`, "new*", "q*", "é*", "part", "nonesuch", "*b?", "mat"}}, []string{
				"public.parent d/parent.parquet",
			}, []string{`--exclude ".*": schema public has no such relation`, "--exclude ??se*: schema public has no such relation", "--exclude nonesuch: schema public has no such relation"}},
			{"partitions elsewhere", Schema{Name: "parts"}, []string{"parts.own d/own.parquet"}, []string{
				"not exported: 1 partition of tables that are not exported either: part_2_lo (--include with its name takes one, --exclude ends this warning)",
			}},
			{"odd name", Schema{Name: `"Odd ""Name"""`}, []string{`"Odd ""Name"""."T" d/T.parquet`}, nil},
		} {
			t.Run(c.name, func(t *testing.T) {
				c.schema.Dir = "d"
				jobs, warnings, err := c.schema.Jobs(t.Context(), conn)
				if err != nil {
					t.Fatal(err)
				}
				if got := tables(jobs); !slices.Equal(got, c.want) {
					t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
				}
				if !slices.Equal(warnings, c.warnings) {
					t.Errorf("warnings\n  %s\nwant\n  %s", strings.Join(warnings, "\n  "), strings.Join(c.warnings, "\n  "))
				}
			})
		}

		role := fmt.Sprintf("nobody_%d_%d", os.Getpid(), srv.Version())
		pgtest.Exec(t, dsn, "CREATE ROLE "+role)
		t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP ROLE "+role) })
		for _, c := range []struct {
			schema       Schema
			role         string
			reason, hint string
		}{
			{Schema{Name: "nonesuch"}, "", "schema nonesuch does not exist", `a name is as SQL writes it: "Mixed Case" in double quotes`},
			{Schema{Name: "S p"}, "", "schema S p does not exist", `a name is as SQL writes it: "Mixed Case" in double quotes`},
			{Schema{Name: "a.b"}, "", "schema a.b does not exist", `a name is as SQL writes it: "Mixed Case" in double quotes`},
			{Schema{Name: "bare"}, "", "schema bare has nothing to export", ""},
			{Schema{Name: "views"}, "", "schema views has nothing to export", "not exported: 1 view: v (--include with its name takes one, --exclude ends this warning)"},
			{Schema{Name: "parts", Include: []string{"onw"}}, "", "--include onw: schema parts has no such relation", "it has own, part_2_lo"},
			{Schema{Name: "bare", Include: []string{"x*"}}, "", "--include x*: schema bare has no such relation", "it has none at all"},
			{Schema{Name: "public", Include: []string{"x*"}}, "", "--include x*: schema public has no such relation", `it has "*", "-x", "..", ".hidden", "Mixed Case", "OBS", "Obs", "a%2Fb" and 15 more`},
			{Schema{Name: "parts", Exclude: []string{"*"}}, "", "schema parts has nothing to export", ""},
			{Schema{Name: "parts"}, role, "no permission on schema parts", "GRANT USAGE ON SCHEMA parts TO the role"},
		} {
			if c.role != "" {
				if _, err := conn.Exec(t.Context(), "SET ROLE "+c.role); err != nil {
					t.Fatal(err)
				}
			}
			_, _, err := c.schema.Jobs(t.Context(), conn)
			se, ok := errors.AsType[*SchemaError](err)
			if !ok || se.Reason != c.reason || se.Hint != c.hint {
				t.Errorf("%+v: got %#v", c.schema, err)
			}
		}
	})
}

// The table does not have the rows of a partition that is being detached concurrently: it gets a file of its own, and so
// does what has partitions itself.
func TestSchemaWhileDetaching(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		if srv.Version() < 140000 {
			return // it has no such thing
		}
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, "CREATE TABLE rp (i int) PARTITION BY LIST (i)", "CREATE TABLE rp1 PARTITION OF rp FOR VALUES IN (1)",
			"CREATE TABLE rp2 PARTITION OF rp FOR VALUES IN (2) PARTITION BY LIST (i)", "CREATE TABLE rp2a PARTITION OF rp2 FOR VALUES IN (2)", "INSERT INTO rp VALUES (1), (2)")
		holder, conn := pgtest.Connect(t, dsn), pgtest.Connect(t, dsn)
		if _, err := holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM rp"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "SET lock_timeout = '300ms'"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "ALTER TABLE rp DETACH PARTITION rp2 CONCURRENTLY"); err == nil {
			t.Fatal("it was detached: the test shows nothing")
		}
		for _, s := range []Schema{{Name: "public", Dir: "d"}, {Name: "public", Dir: "d", Include: []string{"rp", "rp2"}}} {
			jobs, warnings, err := s.Jobs(t.Context(), conn)
			if err != nil || len(warnings) != 0 || !slices.Equal(tables(jobs), []string{"public.rp d/rp.parquet", "public.rp2 d/rp2.parquet"}) {
				t.Errorf("%v: %q, warnings %q, %v", s.Include, tables(jobs), warnings, err)
			}
		}
		cfg := config(t, dsn, Job{Out: "none"})
		cfg.Schema = &Schema{Name: "public", Dir: outDir(t, "rp.parquet", "rp2.parquet"), Base: cfg.Jobs[0]}
		cfg.Jobs = nil
		res, err := Run(t.Context(), cfg)
		if err != nil || len(res.Files) != 2 || res.Files[0].Rows != 1 || res.Files[1].Rows != 1 {
			t.Errorf("%v, %+v, want a row in each of two files", err, res)
		}
	})
}

func TestSchemaJobsHaveTheirBase(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE a (id int)", "CREATE TABLE b (id int)")
	base := Job{
		RowGroupRows: 7, Compression: parquetw.Compression{Codec: parquetw.LZ4}, Overwrite: parquetw.ReplaceAny, Chunk: chunker.Hint{Count: 3},
		Types: typemap.Options{TrimBpchar: true, Columns: map[string]string{"id": "text"}},
	}
	jobs, _, err := Schema{Name: "public", Dir: "/x", Base: base}.Jobs(t.Context(), pgtest.Connect(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	want := base
	want.Types.Columns, want.CommonTypes = nil, base.Types.Columns // not every table has such a column
	want.Table, want.Out = "public.a", "/x/a.parquet"
	other := want
	other.Table, other.Out = "public.b", "/x/b.parquet"
	if !reflect.DeepEqual(jobs, []Job{want, other}) {
		t.Errorf("got %+v", jobs)
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"obs", []string{"obs"}, []string{"Obs", "obs_sbn", "", "o"}},
		{"OBS", []string{"obs"}, []string{"OBS"}},
		{`"OBS"`, []string{"OBS"}, []string{"obs"}},
		{`"a*"`, []string{"a*"}, []string{"ab"}},
		{`"a"*`, []string{"a", "ab", "a\nb"}, []string{"ba"}},
		{`a"".b`, []string{"a.b"}, []string{"axb"}},
		{`"a""b"`, []string{`a"b`}, []string{"ab"}},
		{"*", []string{"", "x", "x/y"}, nil},
		{"?", []string{"x", "é", "☄"}, []string{"", "xy"}},
		{"a*b*c", []string{"abc", "aXbYbZc", "abbcc"}, []string{"ab", "acb", "abcd"}},
		{"**a?", []string{"ab", "xxab"}, []string{"a", "xxa"}},
		{"[a-z]", []string{"[a-z]"}, []string{"b"}},
		{"É", []string{"É"}, []string{"é"}}, // folded is A to Z alone, as the server does it in UTF-8
	} {
		p, err := patterns([]string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.yes {
			if !p[0].match(name) {
				t.Errorf("%s does not fit %q", c.pattern, name)
			}
		}
		for _, name := range c.no {
			if p[0].match(name) {
				t.Errorf("%s fits %q", c.pattern, name)
			}
		}
	}
	for text, want := range map[string]string{"": "a pattern of relations is empty", `""`: "a pattern of relations is empty", `a"b`: `pattern a"b: a double quote is not closed`} {
		for _, s := range []Schema{{Include: []string{text}}, {Exclude: []string{text}}} {
			_, _, err := s.Jobs(t.Context(), nil)
			if ce, ok := errors.AsType[*ConfigError](err); !ok || ce.Reason != want {
				t.Errorf("%q: got %v", text, err)
			}
		}
	}
}

// Different names have different files, whatever the file system makes of case.
func FuzzFileNames(f *testing.F) {
	for _, s := range [][2]string{{"Obs", "obs"}, {"a/b", "a%2Fb"}, {"ſ", "S"}, {"\xff", "\xfe"}, {".", ".."}, {"é", "É"}, {"İ", "i"}, {"%4F", "O"}, {"ß", "ẞ"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == b || a == "" || b == "" {
			return
		}
		names := fileNames([]listed{{Name: a}, {Name: b}})
		if names[0] == names[1] || strings.EqualFold(names[0], names[1]) {
			t.Errorf("%q and %q are both %q, %q", a, b, names[0], names[1])
		}
		for _, n := range names {
			if strings.ContainsAny(n, "/\x00\"'\\ \n") || strings.HasPrefix(n, ".") || strings.HasPrefix(n, "-") || !strings.HasSuffix(n, ".parquet") {
				t.Errorf("%q", n)
			}
		}
	})
}
