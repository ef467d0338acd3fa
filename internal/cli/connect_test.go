package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
	"fast-export/snapshot"
)

func TestMain(m *testing.M) {
	for _, kv := range os.Environ() { // as main does
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			os.Unsetenv(name)
		}
	}
	if len(os.Args) == 2 && os.Args[1] == measureCommand { // a bench's run: the test binary is the program then
		os.Exit(Run(context.Background(), os.Args[1:], Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}))
	}
	pgtest.Main(m)
}

// reach connects as the program would and returns what query gives, or the lines of the error.
func reach(t *testing.T, opt connOptions, home string, env []string, query string) (string, int) {
	t.Helper()
	cfg, err := opt.config(vars(home, env...))
	if err != nil {
		return strings.Join(describe(err), "\n"), exitCode(err)
	}
	snap, err := snapshot.Open(t.Context(), cfg, snapshot.Options{Prepare: func(context.Context, *pgx.Conn, int) ([]snapshot.Relation, error) { return nil, nil }})
	if err != nil {
		return strings.Join(describe(err), "\n"), exitCode(err)
	}
	defer snap.Close(t.Context())
	var got string
	if err := snap.Conn().QueryRow(t.Context(), query).Scan(&got); err != nil {
		t.Fatal(err)
	}
	return got, 0
}

func TestTLSModes(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Config{TLS: true, HBA: []string{"hostssl all postgres 127.0.0.1/32 cert", "hostssl all postgres ::1/128 cert"}})
	base := fmt.Sprintf("port=%d dbname=postgres user=postgres ", srv.Port)
	cert := fmt.Sprintf(" sslcert=%s sslkey=%s", srv.CertFile, srv.KeyFile)
	const encrypted = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
	for _, c := range []struct {
		name, dsn string
		env       []string
		code      int
		want      string
	}{
		{"verify-full", "host=localhost sslmode=verify-full sslrootcert=" + srv.CAFile + cert, nil, 0, "true"},
		{"verify-full by the environment", "host=localhost", []string{"PGSSLMODE", "verify-full", "PGSSLROOTCERT", srv.CAFile, "PGSSLCERT", srv.CertFile, "PGSSLKEY", srv.KeyFile}, 0, "true"},
		{"another name in the certificate", "host=127.0.0.1 sslmode=verify-full sslrootcert=" + srv.CAFile + cert, nil, codeConnect, ": the server's certificate does not hold: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs\nhint: --host must be a name in the certificate"},
		{"an unknown authority by verify-ca", "host=127.0.0.1 sslmode=verify-ca sslrootcert=" + srv.CertFile + cert, nil, codeConnect, ": the server's certificate does not hold: certificate signed by unknown authority"},
		{"another kind of server", "host=127.0.0.1 sslmode=require target_session_attrs=read-only" + cert, nil, codeConnect, ": target_session_attrs asks for another server: connection is not read only\nhint: name several hosts"},
		{"not the certificate's key", "host=127.0.0.1 sslmode=require sslcert=" + srv.CAFile + " sslkey=" + srv.KeyFile, nil, codeUsage, "unable to load cert"},
		{"the right name for another address", "host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert=" + srv.CAFile + cert, nil, 0, "true"},
		{"verify-ca", "host=127.0.0.1 sslmode=verify-ca sslrootcert=" + srv.CAFile + cert, nil, 0, "true"},
		{"an unknown authority", "host=localhost sslmode=verify-full" + cert, nil, codeConnect, ": the server's certificate does not hold: certificate signed by unknown authority\nhint: sslrootcert names the file"},
		{"require", "host=127.0.0.1 sslmode=require" + cert, nil, 0, "true"},
		{"prefer", "host=127.0.0.1" + cert, nil, 0, "true"},
		{"no client certificate", "host=127.0.0.1 sslmode=require", nil, codeConnect, "client certificate"},
		{"disable", "host=127.0.0.1 sslmode=disable", nil, codeConnect, "no pg_hba.conf entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, code := reach(t, connOptions{dsn: base + c.dsn}, t.TempDir(), c.env, encrypted)
			if code != c.code || !strings.Contains(got, c.want) || strings.Count(got, "\n") > 2 {
				t.Errorf("got %d %s\nwant %d %s", code, got, c.code, c.want)
			}
		})
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Config{TCP: true, HBA: []string{"host all reader 127.0.0.1/32 scram-sha-256"}})
	srv.Psql(t, "postgres", "CREATE ROLE reader LOGIN PASSWORD 'correct horse'")
	at := connOptions{host: "127.0.0.1", port: fmt.Sprint(srv.Port), user: "reader", dbname: "postgres"}
	with := func(change func(*connOptions)) connOptions {
		o := at
		change(&o)
		return o
	}
	home := t.TempDir()
	write(t, home, ".pgpass", fmt.Sprintf("127.0.0.1:%d:postgres:reader:correct horse\n", srv.Port))
	write(t, home, ".pg_service.conf", fmt.Sprintf("[mpc]\nhost=127.0.0.1\nport=%d\nuser=reader\ndbname=postgres\n[wrong]\nhost=127.0.0.1\nport=%d\nuser=reader\ndbname=postgres\npassword=hunter2\n", srv.Port, srv.Port))
	empty := t.TempDir()
	const who = "SELECT current_user || ' by ' || application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
	for _, c := range []struct {
		name string
		opt  connOptions
		home string
		env  []string
		code int
		want string
	}{
		{"flag", with(func(o *connOptions) { o.password = "correct horse" }), empty, nil, 0, "reader by fast-export"},
		{"environment", at, empty, []string{"PGPASSWORD", "correct horse"}, 0, "reader by fast-export"},
		{"password file", at, home, nil, 0, "reader by fast-export"},
		{"DSN", connOptions{dsn: fmt.Sprintf("postgres://reader:correct%%20horse@127.0.0.1:%d/postgres", srv.Port)}, empty, nil, 0, "reader by fast-export"},
		{"service and password file", connOptions{service: "mpc"}, home, nil, 0, "reader by fast-export"},
		{"a dead host first", with(func(o *connOptions) { o.host, o.port = "127.0.0.1,127.0.0.1", "1,"+at.port }), empty, []string{"PGPASSWORD", "correct horse"}, 0, "reader by fast-export"},
		{
			"wrong", with(func(o *connOptions) { o.password = "hunter2" }), home, nil, codeConnect,
			"error: can't connect as user reader to database postgres: 127.0.0.1:" + at.port + ": password authentication failed for user \"reader\"\nhint: --password, PGPASSWORD, or a line of ~/.pgpass that fits host, port, database and user",
		},
		{"wrong in a service", connOptions{service: "wrong"}, home, nil, codeConnect, "password authentication failed for user \"reader\""},
		{"none", at, empty, nil, codeConnect, "hint: no password was given"},
		{
			"no such database", with(func(o *connOptions) { o.dbname, o.password = "nonesuch", "correct horse" }), empty, nil, codeConnect,
			"error: can't connect as user reader to database nonesuch: 127.0.0.1:" + at.port + ": database \"nonesuch\" does not exist\nhint: psql -l lists the server's databases",
		},
		{"no such user", with(func(o *connOptions) { o.user = "nobody" }), empty, nil, codeConnect, "no pg_hba.conf entry for host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, code := reach(t, c.opt, c.home, c.env, who)
			if code != c.code || !strings.Contains(got, c.want) {
				t.Errorf("got %d %s\nwant %d %s", code, got, c.code, c.want)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, "horse") {
				t.Errorf("it tells the password: %s", got)
			}
		})
	}
}
