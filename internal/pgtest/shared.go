package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"fast-export/internal/pgserver"
)

// shared holds the clusters of this test binary, one a major, that Main stops.
var shared struct {
	mu      sync.Mutex
	main    bool // Main runs, and will stop them
	servers map[pgserver.Install]*sharedServer
}

type sharedServer struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs the tests of a package and exits: call it from TestMain. It stops the clusters that tests have started; after a green run
// it fails the package if a session or replication slot is left in one of them, or a goroutine in the test binary (except those that the
// options name, such as goleak.IgnoreTopFunction).
func Main(m *testing.M, ignore ...goleak.Option) {
	os.Exit(run(m, ignore))
}

func run(m *testing.M, ignore []goleak.Option) (code int) {
	shared.main = true
	code = m.Run()
	for _, s := range shared.servers {
		if s.server == nil {
			continue
		}
		if code == 0 {
			if left := s.server.clusterLeftovers(); left != "" {
				fmt.Fprintf(os.Stderr, "FAIL: left in the cluster after all tests: %s\n", left)
				code = 1
			}
		}
		if err := s.server.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(ignore...); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL: goroutines left after all tests:", err)
			code = 1
		}
	}
	return code
}

// sharedOn returns this test binary's cluster of that installation, and starts it if need be.
func sharedOn(t testing.TB, in pgserver.Install) *Server {
	t.Helper()
	shared.mu.Lock()
	if !shared.main {
		shared.mu.Unlock()
		t.Fatal("pgtest needs `func TestMain(m *testing.M) { pgtest.Main(m) }` in this package")
	}
	s := shared.servers[in]
	if s == nil {
		s = &sharedServer{}
		if shared.servers == nil {
			shared.servers = map[pgserver.Install]*sharedServer{}
		}
		shared.servers[in] = s
	}
	shared.mu.Unlock()
	s.once.Do(func() { s.server, s.err = start(t, Config{Major: in.Major}, pgserver.Config{Install: in}) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// Database makes a database for this test in the binary's own cluster of the default Postgres and returns its key=value DSN (Unix socket,
// superuser). options are further words of CREATE DATABASE, such as "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".
//
// When the test is over the database is dropped, and the test fails if a session, prepared transaction or replication slot was left in it.
func Database(t testing.TB, options ...string) string {
	t.Helper()
	return sharedOn(t, install(t, 0)).Database(t, options...)
}

// EachMajor runs the test on every Postgres that Majors returns, as a subtest named like "postgres-16", with the binary's own cluster of
// that major. The servers are shared with other tests: make databases by srv.Database, and stop none.
func EachMajor(t *testing.T, test func(t *testing.T, srv *Server)) {
	t.Helper()
	for _, in := range Majors(t) {
		t.Run(fmt.Sprintf("postgres-%d", in.Major), func(t *testing.T) { test(t, sharedOn(t, in)) })
	}
}

// Connect returns a connection that is closed when the test is over.
func Connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "pgtest"
	}
	conn, err := pgx.ConnectConfig(live(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = conn.Close(ctx) // the test may have broken or closed it
	})
	return conn
}

// Exec runs statements on a connection of their own, each in a transaction of its own (so VACUUM is possible). It works in a cleanup too.
func Exec(t testing.TB, dsn string, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := psql(live(t), dsn, sql); err != nil {
			t.Fatalf("%v\nin: %s", err, excerpt(sql))
		}
	}
}

// Query runs one or several statements and returns what `psql -XAt` would print: a line a row, fields separated by "|", NULL as "". It works
// in a cleanup too.
func Query(t testing.TB, dsn, sql string) string {
	t.Helper()
	out, err := psql(live(t), dsn, sql)
	if err != nil {
		t.Fatalf("%v\nin: %s", err, excerpt(sql))
	}
	return out
}

// live is the test's context, or in its cleanup, when that is cancelled, one without an end.
func live(t testing.TB) context.Context {
	if t.Context().Err() != nil {
		return context.WithoutCancel(t.Context())
	}
	return t.Context()
}

func excerpt(sql string) string {
	if len(sql) > 500 {
		return sql[:500] + "…"
	}
	return sql
}

func psql(ctx context.Context, dsn, sql string) (_ string, err error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", err
	}
	cfg.RuntimeParams["application_name"] = "pgtest"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			fields := make([]string, len(row))
			for i, f := range row {
				fields[i] = string(f)
			}
			lines = append(lines, strings.Join(fields, "|"))
		}
	}
	return strings.Join(lines, "\n"), nil
}
