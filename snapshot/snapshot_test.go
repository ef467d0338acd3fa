package snapshot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"fast-export/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func config(t *testing.T, dsn string) *pgx.ConnConfig {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// of resolves names as the planner of an export would, for Options.Prepare.
func of(noLock bool, names ...string) func(context.Context, *pgx.Conn, int) ([]Relation, error) {
	return func(ctx context.Context, conn *pgx.Conn, _ int) ([]Relation, error) {
		var rels []Relation
		for _, n := range names {
			r := Relation{Name: n}
			if noLock {
				r.Select = "SELECT FROM " + n + " LIMIT 0"
			}
			if err := conn.QueryRow(ctx, "SELECT $1::text::regclass::oid", n).Scan(&r.OID); err != nil {
				return nil, err
			}
			rels = append(rels, r)
		}
		return rels, nil
	}
}

func open(t *testing.T, dsn string, opt Options) *Snapshot {
	t.Helper()
	s, err := Open(t.Context(), config(t, dsn), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func worker(t *testing.T, s *Snapshot) *Worker {
	t.Helper()
	w, err := s.NewWorker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(context.Background()) })
	return w
}

func count(t *testing.T, conn *pgx.Conn, table string) int {
	t.Helper()
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWorkersSeeOneSnapshot(t *testing.T) {
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT generate_series(1, 100) AS i")
		s := open(t, dsn, Options{Prepare: of(false, "public.t")})
		pgtest.Exec(t, dsn, "INSERT INTO t SELECT generate_series(1, 50)", "DELETE FROM t WHERE i < 10")
		for range 3 {
			w := worker(t, s)
			if n := count(t, w.Conn(), "t"); n != 100 {
				t.Errorf("a worker sees %d rows, the snapshot has 100", n)
			}
			if got := setting(t, w.Conn(), "row_security"); got != "off" {
				t.Errorf("row_security is %s in a worker", got)
			}
		}
		if n := count(t, s.Conn(), "t"); n != 100 {
			t.Errorf("the coordinator sees %d rows, the snapshot has 100", n)
		}
		if s.ID() == "" || s.Fingerprint() == "" || s.SystemID() == "" {
			t.Errorf("snapshot %q, fingerprint %q, system %q", s.ID(), s.Fingerprint(), s.SystemID())
		}
	})
}

func setting(t *testing.T, conn *pgx.Conn, name string) string {
	t.Helper()
	var v string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A row committed after our lock and before the snapshot belongs to it; LOCK must not have frozen it earlier. And the
// settings that values and order depend on hold whatever the database says.
func TestSessionSettings(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (i int)",
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET DateStyle = ''SQL, DMY''', current_database());
		EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''1s''', current_database());
		EXECUTE format('ALTER DATABASE %I SET TimeZone = ''Asia/Tokyo''', current_database());
		EXECUTE format('ALTER DATABASE %I SET enable_tidscan = off', current_database());
		EXECUTE format('ALTER DATABASE %I SET quote_all_identifiers = on', current_database());
		EXECUTE format('ALTER DATABASE %I SET idle_in_transaction_session_timeout = ''2s''', current_database()); END $$`)
	w := worker(t, open(t, dsn, Options{Prepare: of(false, "t")}))
	for name, want := range map[string]string{
		"DateStyle": "ISO, YMD", "TimeZone": "UTC", "statement_timeout": "0", "lock_timeout": "0",
		"idle_in_transaction_session_timeout": "0", "extra_float_digits": "3", "bytea_output": "hex", "synchronize_seqscans": "off",
		"max_parallel_workers_per_gather": "0", "jit": "off", "enable_tidscan": "on", "client_encoding": "UTF8",
		"transaction_isolation": "repeatable read", "transaction_read_only": "on", "quote_all_identifiers": "off", "IntervalStyle": "postgres",
	} {
		if got := setting(t, w.Conn(), name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// A timeout that the connection's own settings bring ends none of the queries before the transaction either.
func TestTimeoutsOfTheConnection(t *testing.T) {
	dsn := pgtest.Database(t)
	for _, given := range []map[string]string{
		{"options": "-c statement_timeout=20"}, {"options": "-c search_path=public --statement-timeout=20ms"}, {"statement_timeout": "20"}, {"Statement_Timeout": "20"},
	} {
		cfg := config(t, dsn)
		for k, v := range given {
			cfg.RuntimeParams[k] = v
		}
		s, err := Open(t.Context(), cfg, Options{Prepare: func(ctx context.Context, conn *pgx.Conn, _ int) ([]Relation, error) {
			_, err := conn.Exec(ctx, "SELECT pg_sleep(0.1)")
			return nil, err
		}})
		if err != nil {
			t.Errorf("%v: %v", given, err)
			continue
		}
		s.Close(t.Context())
		if len(given) != 1 || cfg.RuntimeParams["options"] != given["options"] {
			t.Errorf("the caller's config was changed: %v", cfg.RuntimeParams)
		}
	}
	plain := map[string]string{"options": "-c search_path=public"}
	if endless(plain); len(plain) != 1 || plain["options"] != "-c search_path=public" {
		t.Errorf("poolers that know no further parameters would be sent %v", plain)
	}
}

// export opens a transaction of somebody else's whose snapshot is to be adopted.
func export(t *testing.T, dsn string) ID {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	var id ID
	if _, err := conn.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// What happens between a snapshot taken elsewhere and our lock must not go unnoticed: without the check these give 0
// rows, half of them or others, with no error.
func TestChangedBetweenSnapshotAndLock(t *testing.T) {
	for _, c := range []struct {
		name, rel, change, want string
		noLock                  bool
	}{
		{"truncate", "t", "TRUNCATE t", "rewritten or truncated", false},
		{"alter type", "t", "ALTER TABLE t ALTER i TYPE bigint", "rewritten or truncated", false},
		{"vacuum full", "t", "VACUUM FULL t", "rewritten or truncated", false},
		{"cluster", "t", "CLUSTER t USING t_i", "rewritten or truncated", false},
		{"replaced", "t", "DROP TABLE t; CREATE TABLE t AS SELECT 1 AS i", "made", false},
		{"renamed", "t", "ALTER TABLE t RENAME TO u; CREATE TABLE t (LIKE u)", "made", false},
		{"a leaf", "p", "TRUNCATE p1", "rewritten or truncated", false},
		{"a leaf dropped", "p", `DROP TABLE "P 2"`, "dropped", false},
		{"refresh", "m", "REFRESH MATERIALIZED VIEW m", "rewritten or truncated", true},
		{"by a select", "t", "TRUNCATE t", "rewritten or truncated", true},
		{"columns change places", "t", "ALTER TABLE t RENAME i TO x; ALTER TABLE t RENAME j TO i; ALTER TABLE t RENAME x TO j", "altered (column i)", false},
		{"the same by a select", "t", "ALTER TABLE t RENAME i TO x; ALTER TABLE t RENAME j TO i; ALTER TABLE t RENAME x TO j", "altered (column i)", true},
		{"a column anew", "t", "ALTER TABLE t DROP j; ALTER TABLE t ADD j int DEFAULT 7", "altered (column j)", false},
		{"a type without a rewrite", "t", "ALTER TABLE t ALTER s TYPE varchar(20)", "altered (column s)", false},
		{"not null", "t", "ALTER TABLE t ALTER j SET NOT NULL", "altered (column j)", false},
		{"a leaf's column", "p", "ALTER TABLE p DROP j; ALTER TABLE p ADD j int DEFAULT 7", "altered (column j)", false},
		{"a view", "v", "CREATE OR REPLACE VIEW v AS SELECT j AS i FROM w", "defined anew", false},
		{"detached", "p", "ALTER TABLE p DETACH PARTITION p1", "parted from p1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := pgtest.Database(t)
			pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT i, 1 AS j, 'x'::varchar(10) AS s FROM generate_series(1, 1000) AS i", "CREATE INDEX t_i ON t (i)",
				"CREATE MATERIALIZED VIEW m AS SELECT generate_series(1, 1000) AS i", "CREATE TABLE w (i int, j int)", "CREATE VIEW v AS SELECT i FROM w",
				"CREATE TABLE p (i int, j int) PARTITION BY RANGE (i)", "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)", `CREATE TABLE "P 2" PARTITION OF p FOR VALUES FROM (10) TO (20)`)
			id := export(t, dsn)
			for _, stmt := range strings.Split(c.change, ";") {
				pgtest.Exec(t, dsn, stmt)
			}
			_, err := Open(t.Context(), config(t, dsn), Options{Adopt: id, Prepare: of(c.noLock, c.rel)})
			var changed *ChangedError
			if !errors.As(err, &changed) || changed.What != c.want {
				t.Errorf("got %v, want a *ChangedError: %s", err, c.want)
			}
			if c.want == "dropped" && changed.Relation != `public."P 2"` {
				t.Errorf("%s was dropped", changed.Relation)
			}
		})
	}
}

// A table that is attached to one that the server scans by itself would be read too, and our locks do not keep anybody from it.
func TestAttachedUnderTheLock(t *testing.T) {
	for _, whole := range []bool{true, false} {
		dsn := pgtest.Database(t)
		pgtest.Exec(t, dsn, "CREATE TABLE p (i int) PARTITION BY LIST (i)", "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)", "CREATE TABLE p2 AS SELECT 2 AS i")
		s := open(t, dsn, Options{Prepare: func(ctx context.Context, conn *pgx.Conn, version int) ([]Relation, error) {
			rels, err := of(false, "p")(ctx, conn, version)
			for i := range rels {
				rels[i].Whole = whole
			}
			return rels, err
		}})
		pgtest.Exec(t, dsn, "CREATE TABLE p3 (i int)", "ALTER TABLE p ATTACH PARTITION p3 FOR VALUES IN (3)") // the snapshot sees no rows of it
		if err := s.Recheck(t.Context()); err != nil {
			t.Errorf("a new partition: %v", err)
		}
		pgtest.Exec(t, dsn, "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2)")
		var changed *ChangedError
		if err := s.Recheck(t.Context()); whole != (errors.As(err, &changed) && changed.What == "given p2 as a partition") {
			t.Errorf("read whole: %v: got %v", whole, err)
		}
	}
}

// What was altered in vain, or to no effect on rows, must not stop anybody.
func TestHarmlessChangesAfterTheSnapshot(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT 1 AS i, 2 AS j", "CREATE VIEW v AS SELECT i FROM t")
	c := pgtest.Connect(t, dsn)
	if _, err := c.Exec(t.Context(), "BEGIN; ALTER TABLE t RENAME i TO x; CREATE OR REPLACE VIEW v AS SELECT j AS i FROM t; ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	id := export(t, dsn)
	pgtest.Exec(t, dsn, "CREATE INDEX ON t (i)", "ALTER TABLE t ADD k int DEFAULT 3", "ALTER TABLE t ADD CHECK (i > 0)", "UPDATE t SET j = 9", "ANALYZE t")
	w := worker(t, open(t, dsn, Options{Adopt: id, Prepare: of(false, "t", "v")}))
	if n := count(t, w.Conn(), "t WHERE j = 2"); n != 1 {
		t.Errorf("%d rows, the adopted snapshot has 1", n)
	}
}

func TestAdoptsAnotherSnapshot(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
	id := export(t, dsn)
	pgtest.Exec(t, dsn, "INSERT INTO t VALUES (11)")
	w := worker(t, open(t, dsn, Options{Adopt: id, Prepare: of(false, "t")}))
	if n := count(t, w.Conn(), "t"); n != 10 {
		t.Errorf("%d rows, the adopted snapshot has 10", n)
	}
}

func TestSnapshotIdentifiersRefused(t *testing.T) {
	dsn, other := pgtest.Database(t), pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t ()")
	for name, id := range map[string]ID{"unknown": "00000003-0000001B-1", "nonsense": "it's", "another database": export(t, other)} {
		var imp *ImportError
		if _, err := Open(t.Context(), config(t, dsn), Options{Adopt: id, Prepare: of(false, "t")}); !errors.As(err, &imp) {
			t.Errorf("%s: got %v, want an *ImportError", name, err)
		} else if (imp.Reason == "it was exported in another database") != (name == "another database") {
			t.Errorf("%s: %s", name, imp.Reason)
		}
	}
}

// Reasons do not depend on the server's language.
func TestImportErrorOfAGermanServer(t *testing.T) {
	err := importError("1", &pgconn.PgError{Code: "0A000", Message: "kann keinen Snapshot aus einer anderen Datenbank importieren"})
	var imp *ImportError
	if !errors.As(err, &imp) || imp.Reason != "it was exported in another database" {
		t.Errorf("got %v", err)
	}
}

func TestLockTimeoutNamesTheHolder(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE a (i int)", "CREATE TABLE t (i int)", "CREATE TABLE z (i int)")
	holder := pgtest.Connect(t, dsn)
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	for _, noLock := range []bool{false, true} {
		_, err := Open(t.Context(), config(t, dsn), Options{LockTimeout: 100 * time.Millisecond, Prepare: of(noLock, "a", "t", "z")})
		var lock *LockError
		if !errors.As(err, &lock) || lock.Relation != "t" || len(lock.Holders) != 1 || !strings.Contains(lock.Holders[0], fmt.Sprint("pid ", holder.PgConn().PID())) {
			t.Errorf("got %v, want a *LockError of t that names pid %d", err, holder.PgConn().PID())
		}
	}
}

// waitFor polls until the query gives true.
func waitFor(t *testing.T, dsn, query string) {
	t.Helper()
	for range 200 {
		if strings.TrimSpace(pgtest.Query(t, dsn, query)) == "t" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("not in time: %s", query)
}

const someoneWaits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock')"

// Somebody's DDL that waits for the coordinator blocks every new worker: a worker must be refused at once, not hang, and
// the coordinator says who it is.
func TestWaitingDDLRefusesWorkers(t *testing.T) {
	for _, noLock := range []bool{false, true} {
		dsn := pgtest.Database(t)
		pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT 1 AS i")
		s := open(t, dsn, Options{Prepare: of(noLock, "t")})
		first := worker(t, s)
		ddl := make(chan error, 1)
		conn := pgtest.Connect(t, dsn)
		go func() {
			_, err := conn.Exec(context.Background(), "TRUNCATE t")
			ddl <- err
		}()
		waitFor(t, dsn, someoneWaits)
		began := time.Now()
		_, err := s.NewWorker(t.Context())
		var lock *LockError
		if !errors.As(err, &lock) || len(lock.Holders) == 0 || !strings.Contains(lock.Holders[0], "TRUNCATE t") {
			t.Errorf("got %v, want a *LockError that names the TRUNCATE", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("refused after %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var warned []string
		s.Watch(ctx, 10*time.Millisecond, func(text string) { warned = append(warned, text); cancel() }, func(err error) { t.Error(err) })
		if len(warned) != 1 || !strings.Contains(warned[0], "TRUNCATE t") {
			t.Errorf("warned %q, want one line that names the TRUNCATE", warned)
		}
		if n := count(t, first.Conn(), "t"); n != 1 {
			t.Errorf("a worker that is in sees %d rows", n)
		}
		first.Close(t.Context())
		s.Close(t.Context())
		if err := <-ddl; err != nil {
			t.Error(err)
		}
	}
}

func terminate(t *testing.T, dsn string, conn *pgx.Conn) {
	t.Helper()
	pgtest.Query(t, dsn, fmt.Sprintf("SELECT pg_terminate_backend(%d)", conn.PgConn().PID()))
	waitFor(t, dsn, fmt.Sprintf("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d)", conn.PgConn().PID()))
}

// The snapshot lives as long as anybody is inside it.
func TestSurvivorsExportAgain(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
	s := open(t, dsn, Options{Prepare: of(false, "t")})
	first := worker(t, s)
	pgtest.Exec(t, dsn, "DELETE FROM t")
	terminate(t, dsn, s.Conn())
	lost := make(chan error, 1)
	s.Watch(t.Context(), 10*time.Millisecond, func(string) {}, func(err error) { lost <- err })
	if err := <-lost; err == nil {
		t.Error("the coordinator's loss was not noticed")
	}

	joined := make(chan *Worker, 1)
	go func() {
		w, err := s.NewWorker(context.Background())
		if err != nil {
			t.Error(err)
		}
		joined <- w
	}()
	var second *Worker
	for second == nil { // the first worker between two chunks
		if err := first.Serve(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case second = <-joined:
		case <-time.After(5 * time.Millisecond):
		}
	}
	if n := count(t, second.Conn(), "t"); n != 10 {
		t.Errorf("the replacement sees %d rows, the snapshot has 10", n)
	}
	terminate(t, dsn, first.Conn())
	first.Close(t.Context())
	second.Close(t.Context())
	if _, err := s.NewWorker(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("with nobody left: got %v, want ErrLost", err)
	}
}

// A role with grants on some columns may not LOCK, and is refused by the server in so many words.
func TestColumnGrants(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (a int, b int)", "CREATE ROLE reader LOGIN", "GRANT SELECT (a) ON t TO reader")
	reader := strings.Replace(dsn, "user=postgres", "user=reader", 1)
	w := worker(t, open(t, reader, Options{Prepare: of(true, "t")}))
	if _, err := w.Conn().Exec(t.Context(), "SELECT a FROM t"); err != nil {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	dsn := pgtest.Database(t)
	for name, bad := range map[string]string{"no server": "host=" + t.TempDir(), "no database": dsn + " dbname=nowhere"} {
		var ce *ConnectError
		if _, err := Open(t.Context(), config(t, bad), Options{}); !errors.As(err, &ce) {
			t.Errorf("%s: got %v, want a *ConnectError", name, err)
		}
	}
	// The second of two hosts answers; workers find the same one.
	cfg := config(t, dsn)
	host := cfg.Host
	cfg = config(t, strings.Replace(dsn, "host="+host, "host="+t.TempDir()+","+host, 1))
	if len(cfg.Fallbacks) == 0 {
		t.Fatalf("one host in %q", dsn)
	}
	s, err := Open(t.Context(), cfg, Options{Prepare: func(context.Context, *pgx.Conn, int) ([]Relation, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	worker(t, s)
}

// Other servers are named as such, a silent one is given up.
func TestNotPostgresThatListens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		greeting string
		answer   func(request string) string
		want     string // of the answer; "": nobody can tell
	}{
		"SSH":    {greeting: "SSH-2.0-OpenSSH_9.2\r\n", want: "SSH-2.0-OpenSSH_9.2"},
		"MySQL":  {greeting: "J\x00\x00\x00\x0a8.0.36\x00\x01\x02\x03", want: "8.0.36"},
		"HTTP":   {answer: func(string) string { return "HTTP/1.1 400 Bad Request\r\n\r\n" }, want: "HTTP/1.1 400 Bad Request"},
		"Redis":  {answer: lines("-ERR unknown command\r\n"), want: "-ERR unknown command"},
		"silent": {answer: func(string) string { return "" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						_, _ = conn.Write([]byte(c.greeting))
						for buf := make([]byte, 1000); ; {
							n, err := conn.Read(buf)
							if err != nil {
								return
							}
							if c.answer != nil {
								_, _ = conn.Write([]byte(c.answer(string(buf[:n]))))
							}
						}
					}()
				}
			}()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			began := time.Now()
			_, err = Open(t.Context(), config(t, "host=127.0.0.1 user=u connect_timeout=1 port="+port), Options{})
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
			var ce *ConnectError
			var pe *ProtocolError
			switch {
			case !errors.As(err, &ce):
				t.Errorf("got %v, want a *ConnectError", err)
			case c.want == "" && errors.As(err, &pe):
				t.Errorf("got %v of a server that is silent", err)
			case c.want != "" && (!errors.As(err, &pe) || !strings.Contains(pe.Began, c.want) || pe.Address != l.Addr().String()):
				t.Errorf("got %v, want a *ProtocolError that names %s", err, c.want)
			}
		})
	}
}

// lines answers each line that has ended.
func lines(answer string) func(string) string {
	return func(request string) string { return strings.Repeat(answer, strings.Count(request, "\n")) }
}

func TestSlotThroughPooler(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{Settings: []string{"wal_level = logical"}})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (i int)")
	for _, settings := range [][]string{nil, {"ignore_startup_parameters = replication,options"}} {
		for _, slot := range []Slot{{Name: "s"}, {Temporary: true}} {
			b := srv.PgBouncer(t, "session", settings...)
			cfg := config(t, dsn)
			cfg = config(t, b.DSN(cfg.Database))
			var se *SlotError
			if _, err := Open(t.Context(), cfg, Options{Slot: slot, Prepare: of(false, "t")}); !errors.As(err, &se) || !strings.Contains(err.Error(), "connect to the server itself") {
				t.Errorf("%q: got %v, want a *SlotError that names the pooler", settings, err)
			}
		}
	}
}

func slots(t *testing.T, dsn string) string {
	return strings.TrimSpace(pgtest.Query(t, dsn, "SELECT coalesce(string_agg(slot_name, ','), '') FROM pg_replication_slots"))
}

func TestSlot(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Config{Settings: []string{"wal_level = logical"}})
	dsn := srv.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
	prepare := of(false, "t")

	s := open(t, dsn, Options{Slot: Slot{Name: "s1"}, Prepare: prepare})
	pgtest.Exec(t, dsn, "INSERT INTO t VALUES (11)")
	if n := count(t, worker(t, s).Conn(), "t"); n != 10 {
		t.Errorf("%d rows, the slot's snapshot has 10", n)
	}
	if got, want := s.LSN(), strings.TrimSpace(pgtest.Query(t, dsn, "SELECT confirmed_flush_lsn FROM pg_replication_slots")); got != want {
		t.Errorf("LSN %s, the slot's is %s", got, want)
	}

	// One of that name exists: an error, and it stays.
	var se *SlotError
	if _, err := Open(t.Context(), config(t, dsn), Options{Slot: Slot{Name: "s1"}, Prepare: prepare}); !errors.As(err, &se) || !strings.Contains(se.Reason, "exists") {
		t.Errorf("an existing slot: got %v", err)
	}
	if got := slots(t, dsn); got != "s1" {
		t.Errorf("slots %q, want s1", got)
	}
	s.Close(t.Context()) // no KeepSlot: the run failed
	if got := slots(t, dsn); got != "" {
		t.Errorf("slots %q after a failed run", got)
	}

	s = open(t, dsn, Options{Slot: Slot{Name: "s2"}, Prepare: prepare})
	s.KeepSlot()
	s.Close(t.Context())
	if got := slots(t, dsn); got != "s2" {
		t.Errorf("slots %q after a good run, want s2", got)
	}
	pgtest.Query(t, dsn, "SELECT pg_drop_replication_slot('s2')")

	s = open(t, dsn, Options{Slot: Slot{Temporary: true}, Prepare: prepare})
	if s.LSN() == "" {
		t.Error("no LSN")
	}
	s.Close(t.Context())
	waitFor(t, dsn, "SELECT count(*) = 0 FROM pg_replication_slots")

	for _, plugin := range []string{"no_such_plugin", "dict_snowball"} { // a library that is not there, one that is no plugin
		_, err := Open(t.Context(), config(t, dsn), Options{Slot: Slot{Name: "s5", Plugin: plugin}, Prepare: prepare})
		if want := "create replication slot s5: the server has no output plugin " + plugin + " (--plugin)"; !errors.As(err, &se) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if got := slots(t, dsn); got != "" {
			t.Errorf("slots %q behind an unknown plugin", got)
		}
	}

	// Creation waits for a write transaction; our deadline names it, and nothing is left.
	writer := pgtest.Connect(t, dsn)
	if _, err := writer.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (0)"); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), config(t, dsn), Options{Slot: Slot{Name: "s3", Timeout: 300 * time.Millisecond}, Prepare: prepare})
	if !errors.As(err, &se) || len(se.Waiting) != 1 || !strings.Contains(se.Waiting[0], "INSERT INTO t") {
		t.Errorf("an open write transaction: got %v, want a *SlotError that names it", err)
	}
	if _, err := writer.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, dsn, "SELECT count(*) = 0 FROM pg_replication_slots")

	pgtest.Exec(t, dsn, "CREATE ROLE plain LOGIN", "GRANT SELECT ON t TO plain")
	_, err = Open(t.Context(), config(t, strings.Replace(dsn, "user=postgres", "user=plain", 1)), Options{Slot: Slot{Name: "s4"}, Prepare: prepare})
	if !errors.As(err, &se) || !strings.Contains(se.Reason, "REPLICATION") {
		t.Errorf("no REPLICATION: got %v", err)
	}
}

// What a slot needs and the server lacks is named before anything is tried.
func TestSlotImpossible(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings []string
		use      []string
		want     string
	}{
		{[]string{"wal_level = replica"}, nil, "the server's wal_level is replica, not logical"},
		{[]string{"wal_level = logical", "max_replication_slots = 1"}, []string{"SELECT pg_create_physical_replication_slot('other')"}, "all 1 replication slots are taken (max_replication_slots)"},
		{[]string{"wal_level = logical", "max_wal_senders = 0"}, nil, "all 0 walsenders are taken (max_wal_senders)"},
	} {
		srv := pgtest.Start(t, pgtest.Config{Settings: c.settings})
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, append([]string{"CREATE TABLE t (i int)"}, c.use...)...)
		_, err := Open(t.Context(), config(t, dsn), Options{Slot: Slot{Name: "s"}, Prepare: of(false, "t")})
		var se *SlotError
		if !errors.As(err, &se) || se.Reason != c.want {
			t.Errorf("%v: got %v, want %s", c.settings, err, c.want)
		}
	}
}

// A server that speaks the protocol and is not Postgres is refused by its name, an old Postgres by its version.
func TestOtherServers(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"CockroachDB CCL v23.1.11 (x86_64-pc-linux-gnu)":                             "the server is CockroachDB, not PostgreSQL",
		"PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC, Redshift 1.0.61678": "the server is Amazon Redshift, not PostgreSQL",
		"PostgreSQL 11.2-YB-2.20.1.0-b0 on x86_64-pc-linux-gnu":                      "the server is YugabyteDB, not PostgreSQL",
		"PostgreSQL 9.4.26 (Greenplum Database 6.25.3 build commit:5f)":              "the server is Greenplum, not PostgreSQL",
		"PostgreSQL 14.0 on x86_64-pc-linux-gnu (Materialize 0.84.0)":                "the server is Materialize, not PostgreSQL",
		"Something 1.0": "the server is something else, not PostgreSQL",
		"PostgreSQL 11.22 on x86_64-pc-linux-gnu, compiled by gcc": "the server is PostgreSQL 11.22, older than 12, not PostgreSQL",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			pretend(conn, version)
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_, err = Open(t.Context(), config(t, "host=127.0.0.1 user=u sslmode=disable port="+port), Options{})
		l.Close()
		var other *NotPostgresError
		if !errors.As(err, &other) || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), version) {
			t.Errorf("%s: got %v", version, err)
		}
	}
}

// pretend answers as a server of that version, to the questions of who it is.
func pretend(conn net.Conn, version string) {
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	b.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		msg, err := b.Receive()
		if err != nil {
			return
		}
		q, ok := msg.(*pgproto3.Query)
		if !ok {
			return
		}
		row := []string{version}
		if strings.Contains(q.String, "server_version_num") {
			row = []string{"11.22", "110022", "2026-01-01 00:00:00+00", "f"}
		}
		oids := []uint32{25, 23, 25, 16}
		var fields []pgproto3.FieldDescription
		var values [][]byte
		for i, v := range row {
			fields = append(fields, pgproto3.FieldDescription{Name: []byte("c"), DataTypeOID: oids[i], DataTypeSize: -1, TypeModifier: -1})
			values = append(values, []byte(v))
		}
		b.Send(&pgproto3.RowDescription{Fields: fields})
		b.Send(&pgproto3.DataRow{Values: values})
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// Whatever statement a worker's connection is lost in on its way in, it is a lost connection that is told.
func TestWorkerLostOnItsWayIn(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	s, err := Open(t.Context(), config(t, dsn), Options{Prepare: of(false)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	killer := pgtest.Connect(t, dsn)
	ctx, stop := context.WithCancel(t.Context())
	var killing sync.WaitGroup
	killing.Go(func() {
		for ctx.Err() == nil {
			_, _ = killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid NOT IN (pg_backend_pid(), $1)", int32(s.Conn().PgConn().PID()))
		}
	})
	lost := 0
	for range 40 {
		w, err := s.NewWorker(t.Context())
		if err == nil {
			w.Close(t.Context())
			continue
		}
		lost++
		var ce *ConnectError
		if !errors.As(err, &ce) {
			t.Errorf("got %v, want a *ConnectError", err)
		}
	}
	stop()
	killing.Wait()
	if lost == 0 {
		t.Error("no worker was lost: the test shows nothing")
	}
}
