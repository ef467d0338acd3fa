package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// PgBouncer is a real pooler in front of a server.
type PgBouncer struct {
	srv  *Server
	port int
}

// PgBouncer starts one in front of this server in the given pool mode ("session", "transaction", "statement") until the test is over.
// settings are further lines of pgbouncer.ini, such as "default_pool_size = 3". Everybody comes in and becomes the superuser postgres. Make
// the databases before: the pooler keeps sessions in them until it ends.
func (s *Server) PgBouncer(t testing.TB, mode string, settings ...string) *PgBouncer {
	t.Helper()
	program, env := pgbouncerProgram(t)
	b := &PgBouncer{srv: s, port: 6000 + int(databases.Add(1))%50000} // names a socket in a directory of its own: any number does
	ini := []string{
		"[databases]",
		fmt.Sprintf("* = host=%s port=%d user=postgres", s.Dir(), s.Port),
		"[pgbouncer]",
		"unix_socket_dir = " + s.Dir(),
		fmt.Sprintf("listen_port = %d", b.port),
		"auth_type = any",
		"pool_mode = " + mode,
		"server_lifetime = 3600",
	}
	name := fmt.Sprintf("pgbouncer-%d.ini", b.port)
	stop, err := s.server.Companion(map[string]string{name: strings.Join(append(ini, append(settings, "")...), "\n")}, env, program, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		_, err := psql(t.Context(), b.DSN("postgres"), "SELECT 1")
		if err == nil {
			return b
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.Dir(), "companion.log"))
			t.Fatalf("pgbouncer: %v\n%s", err, log)
		}
	}
}

// DSN is the key=value DSN of a database of the server, through the pooler.
func (b *PgBouncer) DSN(database string) string {
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=%s", b.srv.Dir(), b.port, database)
}

// pgbouncerProgram finds the system's, or the one that `make test` unpacked.
func pgbouncerProgram(t testing.TB) (path string, env []string) {
	t.Helper()
	return unpacked(t, "pgbouncer", []string{"pgbouncer", "/usr/sbin/pgbouncer"}, "deb", "usr/sbin/pgbouncer")
}
