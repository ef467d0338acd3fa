package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/chunker"
	"fast-export/copier"
	"fast-export/internal/export"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

func raised(state, message string) *pgconn.PgError {
	return &pgconn.PgError{Severity: "ERROR", Code: state, Message: message}
}

func TestVerdicts(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "x.txt", "x")
	for _, c := range []struct {
		err  error
		code int
		want string // the lines
	}{
		{errors.New("boom"), 1, "error: boom"},
		{errors.New("two\nlines\x1b[31m"), 1, "error: two lines [31m"},
		{usagef("h", "m"), 64, "error: m\nhint: h"},
		{&export.ConfigError{Reason: "r"}, 64, "error: r"},
		{&export.PartialError{Failed: 2, Total: 2, First: raised("42501", "permission denied for table x")}, 3, "error: all 2 exports failed"},
		{
			&export.PartialError{Failed: 1, Total: 2, First: raised("42501", "permission denied for table x")}, 3,
			"error: 1 of 2 exports failed, the others are done",
		},

		{fmt.Errorf("chunk 3: %w", snapshot.ErrLost), 11, "error: chunk 3: the snapshot is lost: no connection is left inside it\nhint: its rows can't be read any more: start again"},
		{
			errors.Join(raised("57P01", "terminating connection"), snapshot.ErrLost), 11,
			"error: terminating connection (SQLSTATE 57P01) the snapshot is lost: no connection is left inside it\nhint: its rows can't be read any more: start again",
		},
		{
			&snapshot.ImportError{ID: "00000003-1", Reason: "nobody has it", Err: raised("22023", "invalid")}, 11,
			"error: adopt snapshot 00000003-1: nobody has it\nhint: the transaction that exported it must be open still, in the same database of the same server",
		},
		{
			&snapshot.ChangedError{Relation: "t", What: "truncated"}, 11,
			"error: t was truncated meanwhile: the snapshot's rows can't be read\nhint: start again: a new snapshot sees it as it is now",
		},
		{&chunker.ChangedError{Relation: "t", Reason: "r"}, 11, "error: t changed meanwhile: r\nhint: start again"},
		{&snapshot.SlotError{Name: "s", Reason: "r"}, 11, "error: create replication slot s: r"},
		{&snapshot.SlotError{Name: "s", Reason: "r", Err: raised("57014", "canceled")}, 11, "error: create replication slot s: r"},
		{
			&snapshot.SlotError{Name: "s", Reason: "not done within 1m0s", Waiting: []string{"pid 7"}}, 11,
			"error: create replication slot s: not done within 1m0s; it waits for pid 7\nhint: end these transactions, or wait longer by --slot-timeout",
		},
		{
			&snapshot.ConnectError{Err: &snapshot.ProtocolError{Address: "h:22", Began: "SSH-2.0", Err: errors.New("x")}}, 10,
			"error: can't connect: h:22 does not speak PostgreSQL's protocol: it answers \"SSH-2.0\"\nhint: are --host and --port right? PostgreSQL listens on port 5432 unless it is told otherwise",
		},
		{
			&snapshot.LockError{Relation: "t", Holders: []string{"pid 7"}, Err: raised("55P03", "timeout")}, 15,
			"error: lock t: not available; in the way: pid 7\nhint: end what is in the way, or wait longer by --lock-timeout",
		},

		{&snapshot.NotPostgresError{Product: "CockroachDB", Version: "v"}, 10, "error: the server is CockroachDB, not PostgreSQL (v)"},
		{
			&snapshot.MismatchError{What: "the server", Want: "a", Got: "b"}, 10,
			"error: a connection is not where the others are: the server is b, not a (is a balancer between?)\nhint: connect to one server directly",
		},
		{raised("28P01", "no"), 10, "error: no (SQLSTATE 28P01)\nhint: --password, PGPASSWORD, or a line of ~/.pgpass that fits host, port, database and user"},
		{raised("3D000", `database "x" does not exist`), 10, "error: database \"x\" does not exist (SQLSTATE 3D000)\nhint: psql -l lists the server's databases"},
		{raised("53300", "too many"), 10, "error: too many (SQLSTATE 53300)\nhint: a smaller --parallel needs fewer connections"},
		{raised("08006", "gone"), 10, "error: gone (SQLSTATE 08006)"},

		{
			&typemap.ValueError{Column: "c", Type: "date", Row: 4, Value: "infinity", Reason: "no date", Hint: "--infinity null"}, 12,
			"error: column \"c\" (date), row 5: infinity: no date\nhint: --infinity null",
		},
		{
			&export.RowError{Relation: "public.t", Place: "ctid (12,3)", Err: &typemap.ValueError{Column: "c", Type: "date", Reason: "no date"}}, 12,
			"error: public.t, ctid (12,3): column \"c\" (date): no date",
		},
		{&typemap.UnsupportedError{Column: "c", Type: "t", Reason: "r", Hint: "h"}, 12, "error: column \"c\" (t): r\nhint: h"},
		{&typemap.StreamError{Row: 3, Reason: "r"}, 12, "error: COPY stream, row 4: r"},
		{&parquetw.ValueError{Leaf: "a.b", Reason: "NULL in a required field"}, 12, "error: leaf a.b: NULL in a required field"},
		{
			&export.RowGroupsError{Path: "o", EstRows: 1e9, GroupRows: 1}, 12,
			"error: o would have about 1000000000 row groups of 1 rows, more than Parquet's 32,767\nhint: a larger --row-group-size makes fewer",
		},

		{&parquetw.ExistsError{Path: file, What: "no Parquet file", Hint: "h"}, 13, "error: " + file + " exists and is no Parquet file\nhint: give another --out, or --overwrite to replace it"},
		{&parquetw.ExistsError{Path: dir, What: "a directory", Hint: "name a file in it"}, 13, "error: " + dir + " exists and is a directory\nhint: name a file in it"},
		{&parquetw.FileError{Op: "write", Path: "o", Err: syscall.ENOSPC}, 13, "error: write o: no space left on device\nhint: free some space, or choose another place by --out and --temp-dir"},
		{&parquetw.FileError{Op: "directory", Path: "d", Err: fs.ErrNotExist}, 13, "error: directory d: file does not exist\nhint: directories are never made: mkdir -p makes one"},
		{&copier.TempError{Dir: "d", Err: syscall.EACCES}, 13, "error: temp directory d: permission denied\nhint: may this user write there?"},
		{&export.DocumentError{Document: export.ReportDocument, Path: "r", Err: fs.ErrPermission}, 13, "error: --report r: permission denied\nhint: may this user write there?"},
		{&fs.PathError{Op: "open", Path: "p", Err: syscall.EROFS}, 13, "error: open p: read-only file system"},
		{copier.ErrDiverged, 14, "error: a repeated copy gave other rows than the first\nhint: the statement does not give the same rows twice: export it as a table, or without volatile functions"},

		{
			&chunker.StatementError{Field: chunker.FieldSQL, Reason: `syntax error at or near "FORM"`, Text: "SELECT 1,\n  2 FORM t", Position: 15, Err: raised("42601", "x")}, 15,
			"error: syntax error at or near \"FORM\"\n    2 FORM t\n      ^",
		},
		{&chunker.StatementError{Reason: "one statement at a time", Hint: "h"}, 15, "error: one statement at a time\nhint: h"},
		{&chunker.StatementError{Reason: "r", Hint: "h", Text: "SELECT x", Position: 8}, 15, "error: r (h)\n  SELECT x\n         ^"},
		{raised("22012", "division by zero"), 15, "error: division by zero (SQLSTATE 22012)\nhint: NULLIF(divisor, 0) gives NULL where the divisor is 0"},
		{raised("57014", "canceling statement due to user request"), 15, "error: canceling statement due to user request (SQLSTATE 57014)\nhint: the server, or someone on it, cancelled the statement"},
		{
			fmt.Errorf("lock x: %w", raised("55P03", "canceling statement due to lock timeout")), 15,
			"error: lock x: canceling statement due to lock timeout (SQLSTATE 55P03)\nhint: another session holds it: wait longer by --lock-timeout",
		},

		{&chunker.StatementError{Reason: `column "x" does not exist`, Text: "SELECT x", Position: 8, Err: raised("42703", "x")}, 16, "error: column \"x\" does not exist\n  SELECT x\n         ^"},
		{&chunker.NameError{Relation: "public.t", Attnum: 2, Name: "a\xff"}, 12, "error: public.t: the name of its column number 2 is not UTF-8: \"a\\xff\"\nhint: --columns names those to export, a query can give it another name"},
		{&export.ServerError{Relation: "public.t", Place: "ctid (0,1)", Hint: "h", Err: raised("XX000", "x")}, 12, "error: public.t, ctid (0,1): x (SQLSTATE XX000)\nhint: h"},
		{raised("22021", "x"), 12, "error: x (SQLSTATE 22021)\nhint: a value, or the name of a column or a type, holds bytes that are no text in the database's encoding"},
		{&chunker.NotFoundError{What: "relation", Name: "t", Hint: "h", Err: raised("42P01", "x")}, 16, "error: relation t does not exist\nhint: h"},
		{
			&chunker.PermissionError{Relation: "t", Columns: []string{"c"}, Err: raised("42501", "x")}, 16,
			"error: no permission to read t: SELECT is not granted on column c\nhint: the user needs SELECT on it, and USAGE on its schema",
		},
		{&chunker.RowSecurityError{Relations: []string{"t"}, Policies: []string{"p on t"}, Hint: "h"}, 16, "error: row security hides rows of t (policy p on t)\nhint: h"},
		{&chunker.UnsupportedRelationError{Relation: "s", Kind: "sequence", Reason: "r"}, 16, "error: sequence s cannot be exported: r"},
		{
			&pgconn.PgError{Severity: "FEHLER", Code: "42501", Message: "Anfrage würde von Policy für Sicherheit auf Zeilenebene betroffen sein", Routine: "check_enable_rls"}, 16,
			"error: Anfrage würde von Policy für Sicherheit auf Zeilenebene betroffen sein (SQLSTATE 42501)\nhint: --enable-row-security exports the rows that the policies let this user see",
		},

		{context.Canceled, 1, "error: cancelled"},
		{Interrupted{syscall.SIGINT}, 130, "error: stopped by signal 2 (interrupt)"},
		{fmt.Errorf("x: %w", Interrupted{syscall.SIGTERM}), 143, "error: stopped by signal 15 (terminated)"},
	} {
		lines := describe(c.err)
		if got := strings.Join(lines, "\n"); exitCode(c.err) != c.code || got != c.want {
			t.Errorf("%#v:\ngot  %d %s\nwant %d %s", c.err, exitCode(c.err), got, c.code, c.want)
		}
		if len(lines) > 3 {
			t.Errorf("%d lines", len(lines))
		}
	}
}

func TestEveryCodeIsInTheTable(t *testing.T) {
	listed := map[int]bool{}
	for i, c := range exitCodes {
		if i > 0 && c.code <= exitCodes[i-1].code {
			t.Errorf("%d is out of order", c.code)
		}
		listed[c.code] = true
	}
	for _, c := range []int{0, 1, 3, 10, 11, 12, 13, 14, 15, 16, 17, 64, 129, 130, 143} {
		if !listed[c] {
			t.Errorf("%d is not listed", c)
		}
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	got := describe(errors.New(strings.Repeat("é", 10_000)))[0]
	if len(got) > maxMessage+20 || !strings.HasSuffix(got, "é…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestConnectErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  connOptions
		want string
	}{
		{
			"nobody listens",
			connOptions{host: "127.0.0.1", port: "1", user: "u", dbname: "d", password: "hunter2"},
			"error: can't connect as user u to database d: 127.0.0.1:1: connect: connection refused\nhint: is the server running there, and are --host and --port right?",
		},
		{
			"no socket",
			connOptions{host: "/nonesuch", user: "u", dbname: "d", password: "hunter2"},
			"error: can't connect as user u to database d: /nonesuch/.s.PGSQL.5432: connect: no such file or directory\nhint: is the server running there, and are --host and --port right?",
		},
		{
			"several hosts",
			connOptions{host: "127.0.0.1,/nonesuch", port: "1", user: "u"},
			"error: can't connect as user u: 127.0.0.1:1: connect: connection refused; /nonesuch/.s.PGSQL.1: connect: no such file or directory\nhint: is the server running there, and are --host and --port right?",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := c.opt.config(vars(t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			_, err = snapshot.Open(t.Context(), cfg, snapshot.Options{})
			if got := strings.Join(describe(err), "\n"); exitCode(err) != 10 || got != c.want {
				t.Errorf("got %d %s\nwant %s", exitCode(err), got, c.want)
			}
		})
	}
}

func TestUnwritableReport(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("x", link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none", "r.json"): "no such file or directory",
		dir:                                  "no regular file",
		link:                                 "no regular file",
	} {
		err := export.ReportDocument.Check(path, export.Config{})
		if exitCode(err) != codeTarget || !strings.Contains(describe(err)[0], want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
