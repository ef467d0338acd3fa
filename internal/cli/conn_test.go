package cli

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/export"
)

// vars makes a getenv of pairs; HOME is a directory of the test's.
func vars(home string, pairs ...string) func(string) string {
	m := map[string]string{"HOME": home}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const serviceFile = `# the users' own
[mpc_sbn]
host=db1
port = 5433
dbname=mpc
user=reader
options=-c extra_float_digits=3
keepalives_idle=30
gssencmode=prefer

[bad]
host=db1
sslcrl=/x
[nested]
service=mpc_sbn
[typo]
hots=db1
[smuggled]
user='x' sslmode=disable application_name=hunter2
y' sslmode=disable
`

func TestConnectionSettings(t *testing.T) {
	home := t.TempDir()
	write(t, home, ".pg_service.conf", serviceFile)
	write(t, home, ".pgpass", "db1:5433:mpc:reader:from pgpass\n*:*:*:other:other's\n")
	elsewhere := write(t, home, "services", "[mpc_sbn]\nhost=db9\nuser=reader\ndbname=d\n")
	system := t.TempDir()
	write(t, system, "pg_service.conf", "[sys]\nhost=sys1\n")

	for _, c := range []struct {
		name string
		opt  connOptions
		env  []string
		want string // host port database user password options
	}{
		{"a service", connOptions{service: "mpc_sbn"}, nil, "db1 5433 mpc reader from pgpass|-c extra_float_digits=3"},
		{"PGSERVICE", connOptions{}, []string{"PGSERVICE", "mpc_sbn"}, "db1 5433 mpc reader from pgpass|-c extra_float_digits=3"},
		{"the flag over PGSERVICE", connOptions{service: "mpc_sbn"}, []string{"PGSERVICE", "nonesuch"}, "db1 5433 mpc reader from pgpass|-c extra_float_digits=3"},
		{"PGSERVICEFILE", connOptions{service: "mpc_sbn"}, []string{"PGSERVICEFILE", elsewhere}, "db9 5432 d reader |"},
		{"the system's services", connOptions{service: "sys", user: "u"}, []string{"PGSYSCONFDIR", system}, "sys1 5432  u |"},
		{"flags over the service", connOptions{service: "mpc_sbn", host: "db2", user: "other"}, nil, "db2 5433 mpc other other's|-c extra_float_digits=3"},
		{"the service over the environment, as in libpq", connOptions{service: "mpc_sbn"}, []string{"PGHOST", "x", "PGCONNECT_TIMEOUT", "3"}, "db1 5433 mpc reader from pgpass|-c extra_float_digits=3"},
		{"the environment", connOptions{}, []string{"PGHOST", "h", "PGPORT", "7", "PGDATABASE", "d", "PGUSER", "u", "PGPASSWORD", "p", "PGOPTIONS", "-c a=b"}, "h 7 d u p|-c a=b"},
		{"flags over the environment", connOptions{host: "H", port: "8", dbname: "D", user: "U", password: "P"}, []string{"PGHOST", "h", "PGPORT", "7", "PGDATABASE", "d", "PGUSER", "u", "PGPASSWORD", "p"}, "H 8 D U P|"},
		{"the DSN over flags", connOptions{dsn: "host=d1 user=du", host: "H", port: "8", dbname: "D"}, nil, "d1 8 D du |"},
		{"a URL over flags and environment", connOptions{dsn: "postgresql://du:dp@d1:9/dd?options=-c%20x%3Dy", host: "H", user: "U", password: "P"}, []string{"PGHOST", "h"}, "d1 9 dd du dp|-c x=y"},
		{"a service in the DSN, under flags", connOptions{dsn: "service=mpc_sbn", host: "H"}, nil, "H 5433 mpc reader |-c extra_float_digits=3"},
		{"PGPASSFILE", connOptions{host: "h", user: "u"}, []string{"PGPASSFILE", write(t, home, "pass", "h:*:*:u:secret\n")}, "h 5432  u secret|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := c.opt.config(vars(home, c.env...))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join([]string{cfg.Host, portText(cfg), cfg.Database, cfg.User, cfg.Password}, " ") + "|" + cfg.RuntimeParams["options"]
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if app := cfg.RuntimeParams["application_name"]; app != "fast-export" {
				t.Errorf("application_name is %q", app)
			}
			for k := range cfg.RuntimeParams {
				if k != "options" && k != "application_name" {
					t.Errorf("the server would be sent %s", k)
				}
			}
		})
	}
}

func portText(cfg *pgx.ConnConfig) string {
	return strings.TrimPrefix(addr("", cfg.Port), ":")
}

func TestConnectionSettingsThatAreRefused(t *testing.T) {
	home := t.TempDir()
	write(t, home, ".pg_service.conf", serviceFile)
	broken := write(t, home, "broken", "host=x\n[other]\n[mpc_sbn]\nhost=x\npassword hunter2\n")
	badKey := write(t, home, "open.key", "x")
	if err := os.Chmod(badKey, 0o644); err != nil {
		t.Fatal(err)
	}
	pkcs8 := write(t, home, "pkcs8.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, c := range []struct {
		name string
		opt  connOptions
		env  []string
		code int
		want string
	}{
		{"no such service", connOptions{service: "mpc"}, nil, codeConnect, `no service "mpc" in ` + home + "/.pg_service.conf"},
		{"no such service file", connOptions{service: "mpc_sbn"}, []string{"PGSERVICEFILE", "/nonesuch"}, codeConnect, "/nonesuch: no such file"},
		{"a broken service file", connOptions{service: "mpc_sbn"}, []string{"PGSERVICEFILE", broken}, codeConnect, broken + ": line 5 is not of the form key=value"},
		{"a nested service", connOptions{service: "nested"}, nil, codeConnect, "names another service"},
		{"what would silently not happen", connOptions{service: "bad"}, nil, codeUsage, "parameter sslcrl is not supported"},
		{"a misspelt parameter", connOptions{service: "typo"}, nil, codeUsage, "unknown connection parameter hots"},
		{"a setting within a key", connOptions{service: "smuggled"}, nil, codeUsage, `unknown connection parameter "y' sslmode"`},
		{"GSS encryption", connOptions{dsn: "gssencmode=require"}, nil, codeUsage, "gssencmode=require is not supported"},
		{"a DSN in --service", connOptions{service: "postgres://u:hunter2@h/d"}, nil, codeUsage, "--service got a whole connection string"},
		{"a DSN in --dbname", connOptions{dbname: "host=x password=hunter2"}, nil, codeUsage, "--dbname got a whole connection string"},
		{"a DSN in PGSERVICE", connOptions{}, []string{"PGSERVICE", "postgres://u:hunter2@h/d"}, codeConnect, `no service "…"`},
		{"a broken DSN", connOptions{dsn: "hunter2"}, nil, codeUsage, "--dsn can't be read"},
		{"a port in the DSN", connOptions{dsn: "postgres://u:hunter2@h:99999/d"}, nil, codeUsage, "invalid port"},
		{"too few ports", connOptions{dsn: "host=a,b,c port=1,2 user=u password=hunter2"}, nil, codeUsage, "could not match 2 port numbers to 3 hosts"},
		{"sslmode", connOptions{dsn: "host=h sslmode=verify", password: "x' hunter2"}, nil, codeUsage, "sslmode is invalid"},
		{"no such CA", connOptions{dsn: "host=h sslmode=verify-full sslrootcert=/nonesuch password='`: hunter2'"}, nil, codeUsage, "/nonesuch"},
		{"a CA that is none", connOptions{dsn: "host=h sslmode=verify-full sslrootcert=" + broken}, nil, codeUsage, "hint: sslrootcert names a file of certificates in PEM form"},
		{"a key that others may read", connOptions{dsn: "host=h sslcert=x sslkey=" + badKey}, nil, codeUsage, badKey + " has mode 0644: others may read or write it\nhint: chmod 600"},
		{"a key in a place that is none", connOptions{dsn: "host=h sslcert=x sslkey=" + home}, nil, codeUsage, home + " is no regular file"},
		{"a key encrypted as openssl 3 does", connOptions{dsn: "host=h sslcert=x sslkey=" + pkcs8 + " sslpassword=hunter2"}, nil, codeUsage, pkcs8 + " is encrypted in PKCS#8 form, which can't be read\nhint: openssl pkey -aes256 -traditional"},
		{"TLS versions", connOptions{dsn: "host=h ssl_min_protocol_version=TLSv9"}, nil, codeUsage, "ssl_min_protocol_version"},
		{"load balancing", connOptions{dsn: "host=h load_balance_hosts=yes"}, nil, codeUsage, "load_balance_hosts"},
		{"addresses without hosts", connOptions{dsn: "host=a,b hostaddr=1.2.3.4"}, nil, codeUsage, "host and hostaddr have 2 and 1 parts"},
		{"session attributes", connOptions{dsn: "host=a target_session_attrs=x password=hunter2"}, nil, codeUsage, "target_session_attrs"},
		{"no number of seconds", connOptions{dsn: "host=a connect_timeout=abc"}, nil, codeUsage, "connection parameter connect_timeout is abc"},
		{"less than no time", connOptions{dsn: "host=a connect_timeout=-1"}, nil, codeUsage, "connect_timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.opt.config(vars(home, c.env...))
			if err == nil {
				t.Fatal("accepted")
			}
			text := strings.Join(describe(err), "\n")
			if exitCode(err) != c.code || !strings.Contains(text, c.want) {
				t.Errorf("got %d, %s\nwant %d, %s", exitCode(err), text, c.code, c.want)
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("it tells the password: %s", text)
			}
		})
	}
}

// A line that is wrong is the problem of whoever asks for its section, as in libpq.
func TestServiceFileWithBadLinesElsewhere(t *testing.T) {
	home := t.TempDir()
	write(t, home, ".pg_service.conf", "stray\n[old]\nhost db0\nservice=x\n[mpc] # the good one\nhost=db1\n host = db2\nuser=a=b\n\n[mpc]\nhost=db3\nnonsense\n")
	cfg, err := connOptions{service: "mpc"}.config(vars(home))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "db1" || cfg.User != "a=b" {
		t.Errorf("got %s, %s", cfg.Host, cfg.User)
	}
	if _, err := (connOptions{service: "old"}).config(vars(home)); err == nil || !strings.Contains(err.Error(), home+"/.pg_service.conf: line 3 ") {
		t.Errorf("got %v", err)
	}
}

// A password file that others may read, or that is none, is passed over with a warning, unless nobody needs it.
func TestPasswordFileThatOthersMayRead(t *testing.T) {
	home := t.TempDir()
	path := write(t, home, ".pgpass", "*:*:*:*:secret\n")
	for _, c := range []struct {
		mode           os.FileMode
		password, want string
		warns          bool
	}{
		{0o600, "", "secret", false},
		{0o400, "", "secret", false},
		{0o640, "", "", true},
		{0o604, "", "", true},
		{0o644, "given", "given", false},
	} {
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		var warned []string
		cfg, err := connOptions{host: "h", user: "u", password: c.password, warn: func(s string) { warned = append(warned, s) }}.config(vars(home))
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Password != c.want || (len(warned) == 1 && strings.Contains(warned[0], path)) != c.warns || len(warned) > 1 {
			t.Errorf("%v: password %q, warnings %q", c.mode, cfg.Password, warned)
		}
	}
	var warned []string
	cfg, err := connOptions{host: "h", user: "u", warn: func(s string) { warned = append(warned, s) }}.config(vars(home, "PGPASSFILE", home))
	if err != nil || cfg.Password != "" || len(warned) != 1 || !strings.Contains(warned[0], "no regular file") {
		t.Errorf("a directory: %v, %q", err, warned)
	}
}

func TestWarningOfThePasswordFile(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(write(t, home, ".pgpass", "*:*:*:*:secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var cfg export.Config
	got := callIn(t, t.Context(), home, "", capture(&cfg), "--table", "t", "--out", "o", "--quiet")
	if got.code != 0 || cfg.Conn.Password != "" || !strings.HasPrefix(got.stderr, "warning: password file "+home+"/.pgpass is not used: ") || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("got %+v", got)
	}
}

// A key of root's may be read by a group, as Debian's are; nobody else's.
func TestModesOfClientKeys(t *testing.T) {
	home := t.TempDir()
	path := write(t, home, "k", "x")
	rootOwns := os.Geteuid() == 0
	for mode, fine := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: rootOwns, 0o660: false, 0o650: false, 0o604: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := checkKey(settings{"sslkey": path}); (err == nil) != fine {
			t.Errorf("%04o: %v", mode, err)
		}
	}
	if rootOwns {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 1234, -1); err != nil {
			t.Fatal(err)
		}
		if checkKey(settings{"sslkey": path}) == nil {
			t.Error("a key of another user's that a group may read is taken")
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, unused := range []settings{{"sslkey": path, "sslmode": "disable"}, {"sslkey": path, "sslcertmode": "disable"}} {
		if err := checkKey(unused); err != nil {
			t.Errorf("a key that nobody reads: %v", err)
		}
	}
}

func TestSeveralHosts(t *testing.T) {
	cfg, err := connOptions{dsn: "host=a,b,c port=1,2,3 user=u sslmode=disable"}.config(vars(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if got := hostsOf(cfg); !slices.Equal(got, []string{"a:1", "b:2", "c:3"}) {
		t.Errorf("got %q", got)
	}
	orders := map[string]bool{}
	for range 50 {
		cfg, err := connOptions{dsn: "host=a,b,c port=1 user=u sslmode=prefer load_balance_hosts=random"}.config(vars(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		got := hostsOf(cfg)
		for i := 0; i < len(got); i += 2 {
			if len(got) != 6 || got[i] != got[i+1] {
				t.Fatalf("the attempts with and without TLS are apart: %q", got)
			}
		}
		orders[strings.Join(got, " ")] = true
	}
	if len(orders) < 2 {
		t.Error("fifty times the same order")
	}
}

func hostsOf(cfg *pgx.ConnConfig) []string {
	all := []string{addr(cfg.Host, cfg.Port)}
	for _, f := range cfg.Fallbacks {
		all = append(all, addr(f.Host, f.Port))
	}
	return all
}

func TestHostAddr(t *testing.T) {
	cfg, err := connOptions{dsn: "host=a.example,b.example hostaddr=10.0.0.1,10.0.0.2 user=u sslmode=verify-full"}.config(vars(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "a.example" || cfg.TLSConfig.ServerName != "a.example" {
		t.Errorf("the certificate would be checked against %q", cfg.TLSConfig.ServerName)
	}
	if got, err := cfg.LookupFunc(t.Context(), "b.example"); err != nil || !slices.Equal(got, []string{"10.0.0.2"}) {
		t.Errorf("b.example is %q, %v", got, err)
	}
	cfg, err = connOptions{dsn: "hostaddr=10.0.0.1 user=u"}.config(vars(t.TempDir()))
	if err != nil || cfg.Host != "10.0.0.1" {
		t.Errorf("an address alone gives host %q, %v", cfg.Host, err)
	}
}

func TestTLSVersions(t *testing.T) {
	cfg, err := connOptions{host: "h", user: "u"}.config(vars(t.TempDir(), "PGSSLMINPROTOCOLVERSION", "TLSv1.3", "PGSSLMODE", "require"))
	if err != nil || cfg.TLSConfig.MinVersion != tls.VersionTLS13 {
		t.Errorf("got %v, %v", cfg.TLSConfig, err)
	}
}

func TestRunTimeParametersGoToTheServer(t *testing.T) {
	cfg, err := connOptions{dsn: "postgres://u@h/d?search_path=mpc&application_name=other"}.config(vars(t.TempDir()))
	if err != nil || cfg.RuntimeParams["search_path"] != "mpc" || cfg.RuntimeParams["application_name"] != "fast-export" {
		t.Errorf("got %v, %v", cfg, err)
	}
}

func TestErrorsOfPgxAreMasked(t *testing.T) {
	_, err := pgx.ParseConfig(`host=h password='x\' hunter2' sslmode=nonesuch`)
	if !strings.Contains(err.Error(), "hunter2") {
		t.Fatal("pgx masks this by itself now: the test needs another password")
	}
	if got := parseError(err).Error(); strings.Contains(got, "hunter2") || !strings.Contains(got, "sslmode is invalid") {
		t.Errorf("got %q", got)
	}
	if got := parseError(errors.New("x")).Error(); got != "connection settings: x" {
		t.Errorf("got %q", got)
	}
}

// Nobody waits for ever for a server that takes the connection and never speaks, unless they say so.
func TestConnectTimeout(t *testing.T) {
	for _, c := range []struct {
		opt  connOptions
		env  []string
		want time.Duration
	}{
		{connOptions{}, nil, 30 * time.Second},
		{connOptions{}, []string{"PGCONNECT_TIMEOUT", "7"}, 7 * time.Second},
		{connOptions{dsn: "connect_timeout=0"}, []string{"PGCONNECT_TIMEOUT", "7"}, 0},
		{connOptions{dsn: "connect_timeout=90"}, nil, 90 * time.Second},
	} {
		cfg, err := c.opt.config(vars(t.TempDir(), c.env...))
		if err != nil || cfg.ConnectTimeout != c.want {
			t.Errorf("%+v %v: %v, %v; want %s", c.opt, c.env, cfg.ConnectTimeout, err, c.want)
		}
	}
}
