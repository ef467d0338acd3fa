package chunker

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// sessions are the connections of a run: a scout that resolves, a coordinator
// that plans in its snapshot, and two workers that adopt the snapshot and read
// in turns, so that what differs from session to session shows. One request is
// under way at a time.
type sessions struct {
	scout, coord *pgx.Conn
	workers      [2]*pgx.Conn
}

func open(t testing.TB, dsn string) *sessions {
	t.Helper()
	s := &sessions{scout: pgtest.Connect(t, dsn), coord: pgtest.Connect(t, dsn)}
	for i := range s.workers {
		s.workers[i] = pgtest.Connect(t, dsn)
	}
	return s
}

// release ends the transactions, and with them their locks.
func (s *sessions) release(t testing.TB) {
	t.Helper()
	for _, conn := range []*pgx.Conn{s.coord, s.workers[0], s.workers[1]} {
		if conn.PgConn().TxStatus() != 'I' {
			exec(t, conn, "ROLLBACK")
		}
	}
}

// exporting is one request on the way that the program takes it.
type exporting struct {
	*sessions
	t    testing.TB
	plan *Plan
	scan [2]ScanKind
}

var sessionSettings = []string{
	"row_security = off", "TimeZone = 'UTC'", "synchronize_seqscans = off", "max_parallel_workers_per_gather = 0", "jit = off",
	"lock_timeout = '10s'",
}

// begin starts a transaction with the settings of the program's sessions, in
// a snapshot if one is given.
func begin(t testing.TB, conn *pgx.Conn, snapshot string) {
	t.Helper()
	if conn.PgConn().TxStatus() != 'I' {
		exec(t, conn, "ROLLBACK")
	}
	exec(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	if snapshot != "" {
		exec(t, conn, "SET TRANSACTION SNAPSHOT "+literal(snapshot))
	}
	set := make([]string, len(sessionSettings))
	for i, s := range sessionSettings {
		set[i] = "SET LOCAL " + s
	}
	exec(t, conn, strings.Join(set, "; "))
}

func exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// copyOut runs COPY of a statement and returns its text.
func copyOut(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := conn.PgConn().CopyTo(context.Background(), &b, "COPY ("+sql+"\n) TO STDOUT"); err != nil {
		t.Fatalf("COPY (%s): %v", sql, err)
	}
	return b.String()
}

// plan resolves and plans a request. between runs after resolving and before
// locking, where others may do what they like.
func (s *sessions) plan(t testing.TB, req Request, o Options, between ...func()) (*exporting, error) {
	t.Helper()
	target, err := Resolve(t.Context(), s.scout, req)
	if status := s.scout.PgConn().TxStatus(); status != 'I' {
		t.Fatalf("after Resolve the scout's transaction status is %c", status)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range between {
		f()
	}
	e := &exporting{sessions: s, t: t}
	begin(t, s.coord, "")
	if req.RowSecurity {
		exec(t, s.coord, "SET LOCAL row_security = on")
	}
	e.lock(s.coord, target)
	var snapshot string
	if err := s.coord.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&snapshot); err != nil {
		t.Fatal(err)
	}
	e.plan, err = NewPlan(t.Context(), s.coord, target, o)
	if status := s.coord.PgConn().TxStatus(); status != 'T' {
		t.Fatalf("after NewPlan the coordinator's transaction status is %c", status)
	}
	if err != nil {
		return nil, err
	}
	for _, w := range s.workers {
		begin(t, w, snapshot)
		if req.RowSecurity {
			exec(t, w, "SET LOCAL row_security = on")
		}
		e.lock(w, target)
	}
	return e, nil
}

func (e *exporting) lock(conn *pgx.Conn, target *Target) {
	e.t.Helper()
	if lock := lockTable(target.Lock); lock != "" {
		exec(e.t, conn, lock)
	}
	if target.LockSelect != "" {
		exec(e.t, conn, target.LockSelect)
	}
}

func (s *sessions) mustPlan(t testing.TB, req Request, o Options) *exporting {
	t.Helper()
	e, err := s.plan(t, req, o)
	if err != nil {
		t.Fatalf("%+v: %v", req, err)
	}
	return e
}

// chunk reads one chunk.
func (e *exporting) chunk(i int, exprs []string) string {
	e.t.Helper()
	c, w := e.plan.At(i), i%len(e.workers)
	if c.Scan != e.scan[w] {
		e.scan[w] = c.Scan
		exec(e.t, e.workers[w], strings.Join(c.Scan.Settings(), "; "))
	}
	return copyOut(e.t, e.workers[w], e.plan.SQL(c, exprs))
}

// rows reads all chunks, in order.
func (e *exporting) rows(exprs []string) string {
	e.t.Helper()
	var b strings.Builder
	for i := range e.plan.Len() {
		b.WriteString(e.chunk(i, exprs))
	}
	return b.String()
}

// asText are expressions that make every result column a text.
func (e *exporting) asText() []string {
	exprs := make([]string, len(e.plan.Columns))
	for i, c := range e.plan.Columns {
		exprs[i] = quote(c.Name) + "::pg_catalog.text"
	}
	return exprs
}

// textOf is a statement that gives the result columns of sql as texts.
func (e *exporting) textOf(sql string) string {
	return "SELECT " + strings.Join(e.asText(), ", ") + " FROM (" + sql + "\n) q"
}

// inScanOrder is a statement's result in the order of a sequential scan, read
// by one connection in the same snapshot.
func (e *exporting) inScanOrder(sql string) string {
	e.t.Helper()
	exec(e.t, e.coord, strings.Join(Whole.Settings(), "; "))
	return copyOut(e.t, e.coord, sql)
}

// explainChunk is the server's plan of a chunk's statement under its settings.
func (e *exporting) explainChunk(i int, exprs []string) string {
	e.t.Helper()
	c := e.plan.At(i)
	exec(e.t, e.coord, strings.Join(c.Scan.Settings(), "; "))
	return queryText(e.t, e.coord, "EXPLAIN "+e.plan.SQL(c, exprs))
}

// queryText is a query's rows of one text each, a line a row.
func queryText(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(lines, "\n")
}

// differ shows where two texts part, "" if they do not.
func differ(got, want string) string {
	if got == want {
		return ""
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d of %d and %d: got %.200q, want %.200q", i+1, len(g)-1, len(w)-1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g)-1, len(w)-1)
}
