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

// session is a connection inside a snapshot, as a coordinator or worker has it.
func session(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	exec(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	for _, s := range []string{"row_security = off", "TimeZone = 'UTC'", "synchronize_seqscans = off", "max_parallel_workers_per_gather = 0", "jit = off"} {
		exec(t, conn, "SET LOCAL "+s)
	}
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// copyOut runs COPY of a statement and returns its text.
func copyOut(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := conn.PgConn().CopyTo(context.Background(), &b, "COPY ("+sql+") TO STDOUT"); err != nil {
		t.Fatalf("COPY (%s): %v", sql, err)
	}
	return b.String()
}

// planned resolves and plans a request, as the program does.
func planned(t testing.TB, dsn string, req Request, o Options) (*Plan, *pgx.Conn, error) {
	t.Helper()
	scout := pgtest.Connect(t, dsn)
	target, err := Resolve(t.Context(), scout, req)
	if err != nil {
		return nil, nil, err
	}
	conn := session(t, dsn)
	if lock := target.LockTable(false); lock != "" {
		exec(t, conn, lock)
	}
	if target.LockSelect != "" {
		exec(t, conn, target.LockSelect)
	}
	p, err := NewPlan(t.Context(), conn, target, o)
	if err == nil {
		if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
			t.Fatalf("after NewPlan the transaction is not usable: %v", err)
		}
	}
	return p, conn, err
}

func mustPlan(t testing.TB, dsn string, req Request, o Options) (*Plan, *pgx.Conn) {
	t.Helper()
	p, conn, err := planned(t, dsn, req, o)
	if err != nil {
		t.Fatalf("%+v: %v", req, err)
	}
	return p, conn
}

// rowsOf reads a plan chunk by chunk.
func rowsOf(t testing.TB, conn *pgx.Conn, p *Plan, exprs []string) string {
	t.Helper()
	var b strings.Builder
	for i := range p.Len() {
		c := p.At(i)
		for _, s := range c.Scan.Settings() {
			exec(t, conn, s)
		}
		b.WriteString(copyOut(t, conn, p.SQL(c, exprs)))
	}
	return b.String()
}

// inScanOrder is the statement's result in the order of a sequential scan.
func inScanOrder(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	for _, s := range Whole.Settings() {
		exec(t, conn, s)
	}
	return copyOut(t, conn, sql)
}

// differ shows where two texts part.
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

// explainText is the plan of a chunk's statement under its settings.
func explainText(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	for _, s := range TIDRange.Settings() {
		exec(t, conn, s)
	}
	rows, err := conn.Query(t.Context(), "EXPLAIN "+sql)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
