package pgtest

import (
	"context"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) {
	if os.Getenv(careless) != "" {
		patience = 100 * time.Millisecond
	}
	Main(m)
}

func TestDatabaseIsFreshAndPrivate(t *testing.T) {
	t.Parallel()
	a, b := Database(t), Database(t)
	Exec(t, a, "CREATE TABLE here (i int)", "VACUUM here")
	if got := Query(t, b, "SELECT count(*), NULL, 'x' FROM pg_class WHERE relname = 'here'"); got != "0||x" {
		t.Errorf("got %q", got)
	}
	if got, want := Query(t, a, "SHOW server_encoding"), "UTF8"; got != want {
		t.Errorf("encoding %s, want %s", got, want)
	}
	latin := Database(t, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	if got, want := Query(t, latin, "SHOW server_encoding"), "LATIN1"; got != want {
		t.Errorf("encoding %s, want %s", got, want)
	}
}

func TestEachMajor(t *testing.T) {
	seen := map[int]bool{}
	EachMajor(t, func(t *testing.T, srv *Server) {
		dsn := srv.Database(t)
		if got := Query(t, dsn, "SELECT current_setting('server_version_num')::int / 10000"); got != Query(t, dsn, "SELECT "+strconv.Itoa(srv.Version())) {
			t.Errorf("server says %s, want %d", got, srv.Version())
		}
		// The extensions that tests of types use.
		Exec(t, dsn, "CREATE EXTENSION hstore", "CREATE EXTENSION citext", "CREATE EXTENSION postgres_fdw", "CREATE EXTENSION ltree")
		seen[srv.Version()] = true
	})
	for _, in := range Majors(t) {
		if !seen[in.Major] {
			t.Errorf("not run on %d", in.Major)
		}
	}
}

func TestCleanupCanQuery(t *testing.T) {
	dsn := Database(t)
	t.Cleanup(func() {
		if t.Context().Err() == nil {
			t.Error("the context lives in a cleanup")
		}
		Exec(t, dsn, "SELECT 1")
		if got := Query(t, dsn, "SELECT 7"); got != "7" {
			t.Errorf("got %s", got)
		}
		Connect(t, dsn)
	})
}

func TestStopKillRestart(t *testing.T) {
	t.Parallel()
	srv := Start(t, Config{Settings: []string{"max_connections = 7", "wal_level = replica", "max_wal_senders = 1"}})
	if got := srv.Psql(t, "postgres", "SELECT current_setting('max_connections'), current_setting('wal_level')"); got != "7|replica" {
		t.Errorf("settings %s", got)
	}
	dsn := srv.Database(t)
	Exec(t, dsn, "CREATE TABLE kept (i int)")
	conn := Connect(t, dsn)
	srv.Kill(t)
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a session outlived the server")
	}
	srv.Restart(t)
	Exec(t, dsn, "TABLE kept")
	srv.Stop(t)
	if _, err := psql(t.Context(), dsn, "SELECT 1"); err == nil {
		t.Error("a stopped server answers")
	}
	srv.Restart(t)
	Exec(t, dsn, "TABLE kept")
}

func TestOwnIdentity(t *testing.T) {
	t.Parallel()
	const identifier = "SELECT system_identifier FROM pg_control_system()"
	copied, own := Query(t, Database(t), identifier), Start(t, Config{OwnIdentity: true}).Psql(t, "postgres", identifier)
	if copied == own {
		t.Errorf("both are %s", own)
	}
}

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := Start(t, Config{})
	standby := primary.Standby(t, Config{Settings: []string{"max_standby_streaming_delay = 0"}})
	primary.Psql(t, "postgres", "CREATE TABLE sent AS SELECT 7 AS i")
	standby.CatchUp(t, primary)
	if got := standby.Psql(t, "postgres", "SELECT i, pg_is_in_recovery(), current_setting('max_standby_streaming_delay') FROM sent"); got != "7|t|0" {
		t.Errorf("got %s", got)
	}
}

func TestPasswordsAndTLS(t *testing.T) {
	t.Parallel()
	srv := Start(t, Config{TLS: true, HBA: []string{
		"hostssl all postgres 127.0.0.1/32 cert",
		"hostssl all reader 127.0.0.1/32 scram-sha-256",
	}})
	srv.Psql(t, "postgres", "CREATE ROLE reader LOGIN PASSWORD 'secret'")
	dsn := func(user, host, more string) string {
		return "host=" + host + " port=" + strconv.Itoa(srv.Port) + " dbname=postgres user=" + user + " sslrootcert=" + srv.CAFile + " " + more
	}
	for _, c := range []struct {
		name, dsn string
		fails     bool
	}{
		{"password", dsn("reader", "localhost", "sslmode=verify-full password=secret"), false},
		{"wrong password", dsn("reader", "localhost", "sslmode=verify-full password=wrong"), true},
		{"another name", dsn("reader", "127.0.0.1", "sslmode=verify-full password=secret"), true},
		{"the authority alone", dsn("reader", "127.0.0.1", "sslmode=verify-ca password=secret"), false},
		{"no TLS", dsn("reader", "localhost", "sslmode=disable password=secret"), true},
		{"certificate", dsn("postgres", "localhost", "sslmode=verify-full sslcert="+srv.CertFile+" sslkey="+srv.KeyFile), false},
		{"no certificate", dsn("postgres", "localhost", "sslmode=verify-full"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := psql(t.Context(), c.dsn, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
			if (err != nil) != c.fails || !c.fails && out != "t" {
				t.Errorf("got %q, %v", out, err)
			}
		})
	}
	if _, err := tls.LoadX509KeyPair(srv.CertFile, srv.KeyFile); err != nil {
		t.Error(err)
	}
}

// The tests below play a careless test in a second process, to see that it fails and why. Without the variable they do nothing.

const careless = "PGTEST_CARELESS"

func TestCarelessSession(t *testing.T) {
	if os.Getenv(careless) == "" {
		return
	}
	if _, err := pgx.Connect(t.Context(), Database(t)+" application_name=fast-export"); err != nil {
		t.Fatal(err)
	}
}

func TestCarelessSlot(t *testing.T) {
	if os.Getenv(careless) == "" {
		return
	}
	Exec(t, Database(t), "SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")
}

func TestCarelessPrepared(t *testing.T) {
	if os.Getenv(careless) == "" {
		return
	}
	Exec(t, Database(t), "BEGIN; LOCK TABLE pg_class IN ACCESS SHARE MODE; PREPARE TRANSACTION 'pending'")
}

func TestCarelessElsewhere(t *testing.T) {
	if os.Getenv(careless) == "" {
		return
	}
	Database(t)
	if _, err := pgx.Connect(t.Context(), sharedOn(t, install(t, 0)).DSN("template1")); err != nil {
		t.Fatal(err)
	}
}

func TestCarelessGoroutine(t *testing.T) {
	if os.Getenv(careless) == "" {
		return
	}
	go func() { time.Sleep(time.Hour) }()
}

func TestCarelessFile(t *testing.T) {
	if os.Getenv(careless) == "" {
		return
	}
	dir := t.TempDir()
	NoLeftovers(t, dir, "result")
	if err := os.WriteFile(filepath.Join(dir, "spool"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLeftoversFail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ test, want string }{
		{"TestCarelessSession", "(fast-export, client backend, idle)"},
		{"TestCarelessSlot", "replication slot forgotten"},
		{"TestCarelessPrepared", "prepared transaction pending"},
		{"TestCarelessElsewhere", "left in the cluster after all tests: session"},
		{"TestCarelessGoroutine", "goroutines left after all tests"},
		{"TestCarelessFile", "not there: "},
		{"TestCarelessFile", "spool"},
	} {
		t.Run(c.test, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^"+c.test+"$")
			cmd.Env = append(os.Environ(), careless+"=1")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("got %v and\n%s\nwant a failure that says %q", err, out, c.want)
			}
		})
	}
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	srv := Start(t, Config{})
	dsn := srv.Database(t)
	database := Query(t, dsn, "SELECT current_database()")
	for _, mode := range []string{"session", "transaction"} {
		b := srv.PgBouncer(t, mode, "default_pool_size = 1")
		first, second := Connect(t, b.DSN(database)), Connect(t, b.DSN(database))
		var pids [2]int
		for i, conn := range []*pgx.Conn{first, second} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pids[i])
			cancel()
			// In session mode the only server connection belongs to the first client.
			if waits := mode == "session" && i == 1; (err != nil) != waits {
				t.Errorf("%s: client %d: %v", mode, i, err)
			}
		}
		if mode == "transaction" && pids[0] != pids[1] {
			t.Errorf("%s: server processes %v, want one", mode, pids)
		}
	}
}

func TestExtensionAndSoakTime(t *testing.T) {
	dsn := Database(t)
	if !Extension(t, dsn, "hstore") || Query(t, dsn, "SELECT 'a=>1'::hstore") != `"a"=>"1"` {
		t.Error("no hstore")
	}
	t.Setenv("CI", "")
	if Extension(t, dsn, "no_such_extension") {
		t.Error("has what there is not")
	}
	t.Setenv("FAST_EXPORT_SOAK", "")
	if got := SoakTime(t, time.Second); got != time.Second {
		t.Errorf("got %s", got)
	}
	t.Setenv("FAST_EXPORT_SOAK", "1h30m")
	if got := SoakTime(t, time.Second); got != 90*time.Minute {
		t.Errorf("got %s", got)
	}
}
