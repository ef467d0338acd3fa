package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgserver"
)

// Config says how a server of a test's own differs from the shared one.
type Config struct {
	Major    int      // 0: the default Postgres
	Settings []string // lines of postgresql.conf
	// HBA are lines of pg_hba.conf; the superuser postgres always comes in by the Unix socket. Empty: everybody by the socket.
	HBA []string
	TCP bool // listen on 127.0.0.1 too, at Server.Port
	// TLS implies TCP: the server has a certificate for the name localhost (not for 127.0.0.1) and takes client certificates of the
	// authority Server.CAFile; Server.CertFile and Server.KeyFile are one for the user postgres.
	TLS bool
	// OwnIdentity makes the cluster by an initdb of its own. Others are copies of one cluster, and so share a system identifier.
	OwnIdentity bool
}

// Server is a Postgres server for tests.
type Server struct {
	Port                      int    // of the socket's name, and of 127.0.0.1 where it listens there
	CAFile, CertFile, KeyFile string // with Config.TLS

	server *pgserver.Server
	cfg    Config
	own    bool // of one test, which may stop it
}

// startTimeout is generous: crash recovery on a machine that is busy with other tests.
const startTimeout = 60 * time.Second

// baseSettings let tests have logical slots, standbys and prepared transactions, and many of the small servers at once.
var baseSettings = []string{
	"wal_level = logical",
	"max_connections = 100",
	"max_wal_senders = 10",
	"max_replication_slots = 10",
	"max_prepared_transactions = 10",
	"shared_buffers = 64MB",
	"log_line_prefix = '%m [%p] %a '",
}

// Start starts a server for this test alone. It is stopped when the test is over.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := start(t, cfg, pgserver.Config{Install: install(t, cfg.Major)})
	if err != nil {
		t.Fatal(err)
	}
	s.own = true
	t.Cleanup(func() {
		if err := s.server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func start(t testing.TB, cfg Config, pg pgserver.Config) (_ *Server, err error) {
	if pg.Data == "" && !cfg.OwnIdentity {
		if pg.Data, err = template(t, pg.Install); err != nil {
			return nil, err
		}
	}
	s := &Server{cfg: cfg}
	pg.Settings = append(append(append([]string{}, baseSettings...), pg.Settings...), cfg.Settings...)
	pg.HBA = cfg.HBA
	pg.TCP = cfg.TCP || cfg.TLS
	if cfg.TLS {
		certs := newCertificates(t)
		s.CAFile, s.CertFile, s.KeyFile = certs.caFile, certs.clientCertFile, certs.clientKeyFile
		pg.Files = map[string]string{"ca.crt": certs.ca, "server.crt": certs.serverCert, "server.key": certs.serverKey}
		pg.Settings = append(pg.Settings, "ssl = on", "ssl_ca_file = 'ca.crt'", "ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTimeout)
	defer cancel()
	s.server, err = pgserver.Start(ctx, pg)
	if err != nil {
		return nil, err
	}
	s.Port = s.server.Port
	return s, nil
}

// Standby starts a hot standby of this server, which must be this test's own; cfg's settings come on top of the primary's. The primary is
// restarted for it (its data directory is copied while it is down), so sessions in it end.
func (s *Server) Standby(t testing.TB, cfg Config) *Server {
	t.Helper()
	s.mustOwn(t)
	if err := s.server.Halt(); err != nil {
		t.Fatal(err)
	}
	conninfo := strings.ReplaceAll(s.server.DSN("postgres"), "'", "''")
	cfg.Major = s.Version()
	cfg.Settings = append(append([]string{}, s.cfg.Settings...), cfg.Settings...)
	pg := pgserver.Config{
		Install:  s.server.Install,
		Data:     s.server.DataDir(),
		Standby:  true,
		Settings: []string{"hot_standby = on", "wal_retrieve_retry_interval = 100ms", "primary_conninfo = '" + conninfo + " application_name=standby'"},
	}
	standby, startErr := s.startStandby(t, cfg, pg)
	if startErr != nil {
		t.Fatal(startErr)
	}
	standby.own = true
	t.Cleanup(func() {
		if err := standby.server.Stop(); err != nil {
			t.Error(err)
		}
	})
	standby.CatchUp(t, s)
	return standby
}

// startStandby copies the halted primary and starts both, the primary whatever happens to the standby.
func (s *Server) startStandby(t testing.TB, cfg Config, pg pgserver.Config) (*Server, error) {
	standby, err := start(t, cfg, pg)
	s.Restart(t)
	return standby, err
}

// CatchUp waits until this standby has replayed all that the primary has written so far.
func (s *Server) CatchUp(t testing.TB, primary *Server) {
	t.Helper()
	lsn := primary.Psql(t, "postgres", "SELECT pg_current_wal_lsn()")
	deadline := time.Now().Add(startTimeout)
	for s.Psql(t, "postgres", "SELECT pg_last_wal_replay_lsn() >= '"+lsn+"'") != "t" {
		if time.Now().After(deadline) {
			t.Fatalf("the standby has not replayed %s after %s", lsn, startTimeout)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// DSN is the key=value DSN of a database by the Unix socket, as the superuser postgres.
func (s *Server) DSN(database string) string { return s.server.DSN(database) }

// Version is the server's major.
func (s *Server) Version() int { return s.server.Install.Major }

// Dir is the server's private directory: the socket's, and by that the host of a DSN.
func (s *Server) Dir() string { return s.server.Dir() }

// Log returns what the server has logged.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	log, err := os.ReadFile(s.server.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// Psql runs statements in a database as the superuser: Query with the server's DSN.
func (s *Server) Psql(t testing.TB, database, sql string) string {
	t.Helper()
	return Query(t, s.DSN(database), sql)
}

// Stop shuts the server down cleanly: sessions are ended. Restart brings it back.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	if err := s.server.Halt(); err != nil {
		t.Fatal(err)
	}
}

// Kill shuts the server down at once, as a crash does. Restart brings it back by crash recovery.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	if err := s.server.Crash(); err != nil {
		t.Fatal(err)
	}
}

// Restart starts the server, after a clean shutdown if it runs.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.mustOwn(t)
	if err := s.server.Halt(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTimeout)
	defer cancel()
	if err := s.server.Launch(ctx); err != nil {
		t.Fatal(err)
	}
}

// Signal sends the server process a signal: SIGSTOP makes it hang, SIGHUP makes it read its configuration.
func (s *Server) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	s.mustOwn(t)
	if err := s.server.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) mustOwn(t testing.TB) {
	t.Helper()
	if !s.own {
		t.Fatal("this server is shared with other tests: pgtest.Start gives one to stop")
	}
}

var databases atomic.Int64

// Database is the package's Database, on this server.
func (s *Server) Database(t testing.TB, options ...string) string {
	t.Helper()
	name := databaseName(t.Name(), databases.Add(1))
	if _, err := psql(t.Context(), s.DSN("postgres"), "CREATE DATABASE "+name+" "+strings.Join(options, " ")); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		if !s.server.Running() {
			return // stopped by its own test: nobody can be in it
		}
		if left := s.drop(name); left != "" {
			t.Errorf("left in the test's database: %s", left)
		}
	})
	return s.DSN(name)
}

// databaseName makes a name of at most 63 bytes that needs no quotes and shows in pg_stat_activity which test it is.
func databaseName(test string, n int64) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
	if len(clean) > 48 {
		clean = clean[:48]
	}
	return fmt.Sprintf("t_%s_%d", clean, n)
}

// leftovers lists, a line each, what a finished test may not leave in the databases that the condition selects.
const leftovers = `
SELECT 'session ' || pid || ' (' || application_name || ', ' || coalesce(backend_type, '') || ', ' || coalesce(state, '') || '): ' || left(query, 100)
  FROM pg_catalog.pg_stat_activity a
 WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender', 'parallel worker') AND %[1]s
UNION ALL
SELECT 'prepared transaction ' || gid FROM (SELECT gid, database AS datname, '' AS application_name FROM pg_catalog.pg_prepared_xacts) a WHERE %[1]s
UNION ALL
SELECT 'replication slot ' || slot_name FROM (SELECT slot_name, database AS datname, '' AS application_name FROM pg_catalog.pg_replication_slots) a WHERE %[1]s
`

// patience is how long after its client has gone a session may take to notice; the client doesn't wait for it. A variable for the tests
// of this package, which leave sessions on purpose.
var patience = 5 * time.Second

// drop drops the database by force and says what was left in it.
func (s *Server) drop(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	left := s.leftovers(ctx, "datname = '"+name+"'")
	if left != "" {
		_, err := psql(ctx, s.DSN("postgres"), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '`+name+`'`)
		if err != nil {
			left += "\n" + err.Error()
		}
		for _, sql := range []string{
			`SELECT format('SELECT pg_drop_replication_slot(%L)', slot_name) FROM pg_replication_slots WHERE database = '` + name + `'`,
			`SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = '` + name + `'`,
		} {
			commands, _ := psql(ctx, s.DSN("postgres"), sql) // an error shows in the DROP below
			for command := range strings.Lines(commands) {
				for try := 0; try < 100; try++ { // until the slot's session has gone
					if _, err := psql(ctx, s.DSN(name), command); err == nil {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		}
	}
	if _, err := psql(ctx, s.DSN("postgres"), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
		left += "\n" + err.Error()
	}
	return left
}

// clusterLeftovers is leftovers of all databases, except a standby's connection and our own.
func (s *Server) clusterLeftovers() string {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return s.leftovers(ctx, "application_name <> 'standby'")
}

func (s *Server) leftovers(ctx context.Context, condition string) string {
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err.Error()
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		rows, err := conn.Query(ctx, fmt.Sprintf(leftovers, condition))
		if err != nil {
			return err.Error()
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err.Error()
		}
		if len(lines) == 0 || time.Now().After(deadline) {
			return strings.Join(lines, "\n")
		}
	}
}

// NoLeftovers asserts, when the test is over, that the directory holds the named entries and nothing else. Call it before the code under
// test gets the directory; for an output directory name the files that are to come out.
func NoLeftovers(t testing.TB, dir string, want ...string) {
	t.Helper()
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
			return
		}
		missing := map[string]bool{}
		for _, name := range want {
			missing[name] = true
		}
		for _, e := range entries {
			if !missing[e.Name()] {
				t.Errorf("left behind: %s", filepath.Join(dir, e.Name()))
			}
			delete(missing, e.Name())
		}
		for name := range missing {
			t.Errorf("not there: %s", filepath.Join(dir, name))
		}
	})
}
