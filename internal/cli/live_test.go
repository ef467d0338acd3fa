package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// live runs the program against a database.
func live(t *testing.T, dsn string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // what hangs must not hang the suite
	defer cancel()
	return callIn(t, ctx, t.TempDir(), "", nil, append([]string{"--dsn", dsn, "--progress", "none"}, args...)...)
}

func TestExportOfATable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE obs ("Id" int NOT NULL, ra numeric, note text)`,
		`INSERT INTO obs SELECT i, (i || '.123456789012345678')::numeric, CASE WHEN i % 3 = 0 THEN NULL WHEN i % 3 = 1 THEN '' ELSE 'NULL' END FROM generate_series(1, 5000) i`,
		"ANALYZE obs")
	dir := t.TempDir()
	pgtest.NoLeftovers(t, dir, "obs.parquet", "r.json")
	out, report := filepath.Join(dir, "obs.parquet"), filepath.Join(dir, "r.json")
	got := live(t, dsn, "--table", "obs", "--columns", `ra,"Id"`, "--where", `"Id" <= 4000`, "--out", out, "--row-group-size", "1500", "--parallel", "2",
		"--chunk-size", "64KiB", "--report", report)
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("got %+v", got)
	}
	for _, want := range []string{out + ": 4,000 rows, 2 columns, 3 row groups, ", `"ra" (numeric): 4,000 inexact`, "4,000 rows and ", " rows/s, ", "\nsnapshot ", ", held ", "counted: 4,000 values that lost something, 0 redone chunks, 0 warnings\n"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the summary lacks %q:\n%s", want, got.stdout)
		}
	}
	file := pgtest.ReadParquet(t, out)
	if len(file.Rows) != 4000 || len(file.Fields) != 2 || file.Fields[0].Name != "ra" || file.Fields[1].Name != "Id" {
		t.Errorf("got %+v", file)
	}
	var r lossReport
	if text, err := os.ReadFile(report); err != nil || json.Unmarshal(text, &r) != nil || r.Files[0].Columns[0].Inexact != 4000 || r.Files[0].Rows != 4000 {
		t.Errorf("the report is %+v, %v", r, err)
	}
	// Today's users run daily into the same names.
	if again := live(t, dsn, "--sql", "SELECT 1 AS one", "--out", out, "--quiet"); again.code != 0 || again.stdout != "" || again.stderr != "" {
		t.Errorf("a second time: %+v", again)
	}
	if file := pgtest.ReadParquet(t, out); len(file.Rows) != 1 {
		t.Errorf("not replaced: %d rows", len(file.Rows))
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE obs (id int, big text)", "INSERT INTO obs SELECT i, repeat('x', 100) FROM generate_series(1, 10000) i", "ANALYZE obs")
	got := live(t, dsn, "--table", "obs", "--dry-run", "--chunk-size", "256KiB")
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("got %+v", got)
	}
	for _, want := range []string{"public.obs\n", "kind      table\n", "10,000 rows", "heap 1,", "TOAST ", "id    integer   int32", "blocks [0,", "connections ", "reads through shared_buffers "} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the plan lacks %q:\n%s", want, got.stdout)
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	role := fmt.Sprintf("limited_%d", os.Getpid())
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int, secret text, d date)", "INSERT INTO t VALUES (1, 'x', '2024-01-01'), (2, 'y', 'infinity')",
		"CREATE TABLE locked (x int)", "CREATE TABLE hidden (x int)", "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON hidden USING (x > 1)",
		"CREATE ROLE "+role+" LOGIN", "GRANT SELECT (id) ON t TO "+role, "GRANT SELECT ON hidden TO "+role)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), dsn) // the test's context has ended
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	as := dsn + " user=" + role

	dir := t.TempDir()
	text := write(t, dir, "notes.txt", "mine")
	out := filepath.Join(dir, "o.parquet")
	pgtest.NoLeftovers(t, dir, "notes.txt")
	for _, c := range []struct {
		name string
		dsn  string
		args []string
		code int
		want []string // each is in stderr
	}{
		{"no such table", dsn, []string{"--table", "nonesuch"}, codeRelation, []string{"nonesuch", "does not exist"}},
		{"no such schema", dsn, []string{"--table", "nowhere.t"}, codeRelation, []string{"nowhere"}},
		{"case counts", dsn, []string{"--table", `"T"`}, codeRelation, []string{`"T"`}},
		{"no name of a table", dsn, []string{"--table", "t; DROP TABLE t"}, codeStatement, []string{"DROP"}},
		{"no such column", dsn, []string{"--table", "t", "--columns", "id,nonesuch"}, codeRelation, []string{"nonesuch"}},
		{"no such column in --where", dsn, []string{"--table", "t", "--where", "nonesuch > 1"}, codeRelation, []string{"nonesuch", "\n  nonesuch > 1\n  ^\n"}},
		{"a syntax error in --where", dsn, []string{"--table", "t", "--where", "id >"}, codeStatement, []string{"error: "}},
		{"no such table in --sql", dsn, []string{"--sql", "SELECT 1 FROM nonesuch"}, codeRelation, []string{"nonesuch", "\n  SELECT 1 FROM nonesuch\n                ^\n"}},
		{"a syntax error", dsn, []string{"--sql", "SELECT id\nFORM t"}, codeStatement, []string{"syntax error", "\n  FORM t\n       ^\n"}},
		{"EXPLAIN", dsn, []string{"--sql", "EXPLAIN SELECT 1"}, codeStatement, []string{"EXPLAIN"}},
		{"SHOW", dsn, []string{"--sql", "SHOW work_mem"}, codeStatement, []string{"SHOW"}},
		{"COPY", dsn, []string{"--sql", "COPY t TO STDOUT"}, codeStatement, []string{"COPY"}},
		{"DML", dsn, []string{"--sql", "DELETE FROM t"}, codeStatement, []string{"DELETE"}},
		{"DML in WITH", dsn, []string{"--sql", "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d"}, codeStatement, []string{"DELETE"}},
		{"two statements", dsn, []string{"--sql", "SELECT 1; SELECT 2"}, codeStatement, []string{"error: "}},
		{"a comment", dsn, []string{"--sql", "-- nothing"}, codeStatement, []string{"there is no statement"}},
		{"two columns of a name", dsn, []string{"--sql", "SELECT 1 AS a, 2 AS a"}, codeStatement, []string{"two result columns are named a"}},
		{"a failing statement", dsn, []string{"--sql", "SELECT 1 / (id - 1) FROM t"}, codeStatement, []string{"division by zero"}},
		{"no such database", dsn + " dbname=nonesuch", []string{"--table", "t"}, codeConnect, []string{`database "nonesuch" does not exist`}},
		{"no such user", dsn + " user=nonesuch", []string{"--table", "t"}, codeConnect, []string{`role "nonesuch" does not exist`}},
		{"an unknown parameter", dsn + " foo=bar", []string{"--table", "t"}, codeUsage, []string{`unrecognized configuration parameter "foo"`, "hint: the connection's parameters are libpq's"}},
		{"a bad value of a parameter", dsn + " DateStyle=none", []string{"--table", "t"}, codeUsage, []string{`"DateStyle"`}},
		{"no number of seconds", dsn + " connect_timeout=abc", []string{"--table", "t"}, codeUsage, []string{"error: connection parameter connect_timeout is abc\nhint: "}},
		{"a failure at run time", dsn, []string{"--sql", "SELECT\n  1 / (id - 1) AS x FROM t"}, codeStatement, []string{
			"error: the statement failed while it ran: division by zero (NULLIF(divisor, 0) gives NULL where the divisor is 0)\n  SELECT 1 / (id - 1) AS x FROM t\n",
		}},
		{"a condition that fails at run time", dsn, []string{"--table", "t", "--where", "1 / (id - 1) > 0"}, codeStatement, []string{
			"error: the condition failed while it ran: division by zero (NULLIF(divisor, 0) gives NULL where the divisor is 0)\n  1 / (id - 1) > 0\n",
		}},
		{"a value in a statement", dsn, []string{"--sql", "SELECT d FROM (VALUES (date '2001-01-01'), ('infinity')) v (d)"}, codeValue, []string{`error: the statement, row 2: column "d" (date): infinity: `}},
		{"a changed session", dsn, []string{"--sql", "SELECT set_config('DateStyle', 'German', false), d FROM t"}, codeStatement, []string{"set_config( … ) would change", "\n         ^\n"}},
		{"nobody there", "host=/nonesuch", []string{"--table", "t"}, codeConnect, []string{"/nonesuch/.s.PGSQL.5432", "is the server running there"}},
		{"a grant missing", as, []string{"--table", "locked"}, codeRelation, []string{"locked"}},
		{"a column grant missing", as, []string{"--table", "t"}, codeRelation, []string{"secret", "d"}},
		{"a column grant missing in --sql", as, []string{"--sql", "SELECT secret FROM t"}, codeRelation, []string{"permission", "t"}},
		{"row security", as, []string{"--table", "hidden"}, codeRelation, []string{"hidden", "few", "--enable-row-security"}},
		{"a value", dsn, []string{"--table", "t"}, codeValue, []string{`"d"`, "infinity", "ctid (0,2)", "--infinity"}},
		{"a type for no column", dsn, []string{"--table", "t", "--type", "nonesuch=text"}, codeRelation, []string{"nonesuch"}},
		{"an unsuitable type", dsn, []string{"--table", "t", "--type", "secret=decimal(5,2)"}, codeValue, []string{"secret"}},
		{"no such snapshot", dsn, []string{"--table", "t", "--columns", "id", "--snapshot", "00000003-00000002-1"}, codeSnapshot, []string{"00000003-00000002-1"}},
		{"an odd snapshot", dsn, []string{"--table", "t", "--columns", "id", "--snapshot", "x'y"}, codeSnapshot, []string{"x'y"}},
		{"an existing file", dsn, []string{"--table", "t", "--out", text}, codeTarget, []string{"notes.txt exists", "--overwrite"}},
		{"a directory", dsn, []string{"--table", "t", "--out", dir, "--overwrite"}, codeTarget, []string{"a directory"}},
		{"no such directory", dsn, []string{"--table", "t", "--out", filepath.Join(dir, "none", "o")}, codeTarget, []string{filepath.Join(dir, "none"), "no such file or directory"}},
		{"no such temp directory", dsn, []string{"--table", "t", "--columns", "id", "--temp-dir", filepath.Join(dir, "none")}, codeTarget, []string{filepath.Join(dir, "none"), "no such file or directory"}},
		{"a temp directory that is none", dsn, []string{"--table", "t", "--columns", "id", "--temp-dir", text}, codeTarget, []string{text}},
		{"--no-clobber", dsn, []string{"--table", "t", "--out", text, "--no-clobber"}, codeTarget, []string{"notes.txt exists"}},
		{"a report nowhere", dsn, []string{"--table", "t", "--report", filepath.Join(dir, "none", "r")}, codeTarget, []string{"--report"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args
			if !strings.Contains(strings.Join(args, " "), "--out") {
				args = append(args, "--out", out)
			}
			got := live(t, c.dsn, args...)
			if got.code != c.code || got.stdout != "" {
				t.Errorf("got %d, %q, want %d", got.code, got.stdout, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("lacks %q:\n%s", want, got.stderr)
				}
			}
			if !strings.HasPrefix(got.stderr, "error: ") || strings.Count(got.stderr, "\n") > 3 || strings.Contains(got.stderr, ".go:") {
				t.Errorf("not at most three lines from error: on:\n%s", got.stderr)
			}
			if _, err := os.Lstat(out); err == nil {
				t.Error("there is an output")
				os.Remove(out)
			}
		})
	}
	if kept, err := os.ReadFile(text); err != nil || string(kept) != "mine" {
		t.Errorf("notes.txt is %q, %v", kept, err)
	}
}

func TestLockTimeoutNamesTheHolder(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (x int)")
	holder := pgtest.Connect(t, dsn+" application_name=migration")
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pgtest.NoLeftovers(t, dir)
	got := live(t, dsn, "--table", "t", "--out", filepath.Join(dir, "o"), "--lock-timeout", "200ms")
	if got.code != codeStatement || !strings.Contains(got.stderr, "public.t") || !strings.Contains(got.stderr, "migration") || !strings.Contains(got.stderr, "--lock-timeout") ||
		!strings.Contains(got.stderr, fmt.Sprint(holder.PgConn().PID())) {
		t.Errorf("got %+v", got)
	}
	if _, err := holder.Exec(context.Background(), "ROLLBACK"); err != nil {
		t.Error(err)
	}
}
