package butler

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestDatabaseURLs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"sqlite:////a b/x#y.sqlite3":                            "sqlite||||/a b/x#y.sqlite3|",
		"sqlite:///rel/x":                                       "sqlite|||||rel/x",
		"postgresql://u:p%40ss@Host:5433/db":                    "postgresql|u|p@ss|Host|5433|db",
		"postgresql+psycopg2://h/d":                             "postgresql|||h||d",
		"postgresql+psycopg://h":                                "postgresql|||h||",
		"postgresql://u@[::1]:5432/d":                           "postgresql|u||::1|5432|d",
		"postgresql://u@/d?host=/var/run&port=7&sslmode=prefer": "postgresql|u||||d",
		"postgresql:///d":                                       "postgresql|||||d",
	} {
		u, err := parseDBURL(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		want := strings.Split(want, "|")
		if got := []string{u.dialect, u.username, u.password, u.host, u.port, u.database}; strings.Join(got, "|") != strings.Join(want[:5], "|")+"|"+strings.Join(want[5:], "") && strings.Join(got, "|") != strings.Join([]string{want[0], want[1], want[2], want[3], "", want[4]}, "|") {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
		if s := u.String(); strings.Contains(s, "p@ss") {
			t.Errorf("%s shows its password: %s", in, s)
		}
	}
	for in, want := range map[string]string{
		"":                           "no database URL",
		"/a/path":                    "no database URL",
		"mysql://h/d":                "no support for mysql",
		"postgresql+asyncpg://h/d":   "no support for postgresql+asyncpg",
		"sqlite+x:///d":              "no support for sqlite+x",
		"postgresql://u:sec%ret@h/d": "badly percent-encoded",
		"postgresql://u%zz:p@h/d":    "badly percent-encoded",
		"postgresql://h/d?a=%zz":     "badly encoded",
	} {
		_, err := parseDBURL(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	for in, want := range map[string]string{
		"sqlite://":          "in memory",
		"sqlite:///:memory:": "in memory",
		"sqlite://host/file": "three slashes",
	} {
		u, err := parseDBURL(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.sqlitePath(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	u, err := parseDBURL(`postgresql://us'er:p\w@h:1/d?sslmode=require&options=-c%20x%3Dy`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := conninfo(u.settings()), `dbname='d' host='h' options='-c x=y' password='p\\w' port='1' sslmode='require' user='us\'er' `; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAuthList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	lists := 0
	list := func(entries ...string) map[string]string {
		lists++
		return map[string]string{"LSST_DB_AUTH": write(fmt.Sprintf("list%d.yaml", lists), strings.Join(entries, "\n"), 0o600)}
	}
	home := map[string]string{"HOME": dir}
	write(".lsst/db-auth.yaml", "- {url: 'postgresql://home*/', username: homer, password: donut}\n", 0o600)
	for _, c := range []struct {
		name string
		db   string
		env  map[string]string
		want string // user:password
		err  string
	}{
		{"no list", "postgresql://h/d", map[string]string{"LSST_DB_AUTH": dir + "/none"}, ":", ""},
		{"home", "postgresql://home1/d", home, "homer:donut", ""},
		{"no match", "postgresql://h/d", home, ":", ""},
		{"overrides the URL's password", "postgresql://u:old@h/d", list("- {url: 'postgresql://*', username: x, password: new}"), "u:new", ""},
		{"first match", "postgresql://h.example.org:5432/my_db", list("- {url: 'postgresql://other', password: a}", "- {url: 'postgresql://*.EXAMPLE.org/my_*', username: u, password: b}", "- {url: 'postgresql://*', password: c}"), "u:b", ""},
		{"host in capitals", "postgresql://H.Example.ORG/d", list("- {url: 'postgresql://h.example.org', password: a}"), ":a", ""},
		{"database", "postgresql://h/d", list("- {url: 'postgresql://h/e', password: a}"), ":", ""},
		{"database of any name", "postgresql://h/d", list("- {url: 'postgresql://h/', password: a}"), ":a", ""},
		{"port", "postgresql://h:5432/d", list("- {url: 'postgresql://h:5432', password: a}"), ":a", ""},
		{"another port", "postgresql://h:5433/d", list("- {url: 'postgresql://h:5432', password: a}"), ":", ""},
		{"no port is not 5432", "postgresql://h/d", list("- {url: 'postgresql://h:5432', password: a}"), ":", ""},
		{"user", "postgresql://u@h/d", list("- {url: 'postgresql://u@h', password: a}"), "u:a", ""},
		{"another user", "postgresql://v@h/d", list("- {url: 'postgresql://u@h', password: a}"), "v:", ""},
		{"no user", "postgresql://h/d", list("- {url: 'postgresql://u@h', password: a}"), ":", ""},
		{"driver", "postgresql+psycopg2://h/d", list("- {url: 'postgresql://h', password: a}"), ":a", ""},
		{"dialect", "postgresql://h/d", list("- {url: 'sqlite://h', password: a}"), ":", ""},
		{"digits", "postgresql://h/d", list("- {url: 'postgresql://h', password: '0123'}"), ":0123", ""},
		{"inline wins", "postgresql://h/d", map[string]string{"LSST_DB_AUTH_CREDENTIALS": `[{"url": "postgresql://h", "password": "j"}]`, "HOME": dir}, ":j", ""},
		{"no host", "postgresql:///d", list("- {url: 'postgresql://*', password: a}"), ":", ""},
		{"IPv6", "postgresql://[::1]:5/d", list("- {url: 'postgresql://[::1]:5/d', password: a}"), ":a", ""},

		{"driver in an entry", "postgresql://h/d", list("- {url: 'postgresql+psycopg2://h', password: a}"), "", "entry 1: its url names a driver"},
		{"no url", "postgresql://h/d", list("- {password: a}"), "", "entry 1: no url"},
		{"no dialect", "postgresql://h/d", list("- {url: h, password: a}"), "", "no database dialect"},
		{"no host in an entry", "postgresql://h/d", list("- {url: 'postgresql:///d', password: a}"), "", "no host"},
		{"no password", "postgresql://h/d", list("- {url: 'postgresql://h'}"), "", "entry 1: no password"},
		{"no list of maps", "postgresql://h/d", list("secret"), "", "no YAML list"},
		{"bad inline", "postgresql://h/d", map[string]string{"LSST_DB_AUTH_CREDENTIALS": `secret`}, "", "no JSON list"},
		{"readable by others", "postgresql://h/d", map[string]string{"LSST_DB_AUTH": write("open.yaml", "[]", 0o640)}, "", "permissions 0640"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &repoConfig{db: c.db}
			u, _, err := cfg.dbURL(func(k string) string { return c.env[k] })
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := u.username + ":" + u.password; got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	filled := &repoConfig{db: "postgresql://", username: "u", password: "p", host: "h", port: "1", database: "d"}
	u, _, err := filled.dbURL(func(string) string { return "" })
	if err != nil || u.String() != "postgresql://u:***@h:1/d" || u.password != "p" {
		t.Errorf("%s, %v", u, err)
	}
}

// TestMaskedErrors masks passwords where they can stand, and nothing else.
func TestMaskedErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`role "x" does not exist`:                                           `role "x" does not exist`,
		`cannot reach postgresql://me:s3:cret@h:5432/d?a=b@c`:               `cannot reach postgresql://me:***@h:5432/d?a=b@c`,
		`cannot reach postgresql://me@h:5432/d`:                             `cannot reach postgresql://me@h:5432/d`,
		`in user='u' password='s3\'c ret' host='h'`:                         `in user='u' password=*** host='h'`,
		`in user=u password=s3cret host=h`:                                  `in user=u password=*** host=h`,
		`in postgresql://h/d?password=s3cret&sslmode=disable`:               `in postgresql://h/d?password=***&sslmode=disable`,
		`password authentication failed for user "password"`:                `password authentication failed for user "password"`,
		`failed to connect to ` + "`user=me database=d`" + `: h:1 (h): why`: `failed to connect to ` + "`user=me database=d`" + `: h:1 (h): why`,
	} {
		cause := errors.New(text)
		if got := (&maskedError{cause}); got.Error() != want || !errors.Is(got, cause) {
			t.Errorf("%s, want %s", got, want)
		}
	}
	// pgx itself would show what stands behind a quote.
	_, err := pgx.ParseConfig(conninfo(dbURL{username: "u", password: "a'b s3cret", host: "h", query: url.Values{"sslmode": {"none"}}}.settings()))
	if got := (&maskedError{err}).Error(); err == nil || got != "the connection's parameters cannot be used: failed to configure TLS (sslmode is invalid)" {
		t.Error(got)
	}
}

// TestPasswordFrom tells where a password is from, so that people correct it there.
func TestPasswordFrom(t *testing.T) {
	t.Parallel()
	list := `[{"url": "postgresql://h", "password": "p"}]`
	for _, c := range []struct{ db, password, list, from, tried string }{
		{"postgresql://u:p@h/d", "", "", "registry.db", "/none (not there); the password in registry.db"},
		{"postgresql://u:p@/d?host=/run", "q", "", "registry.db", "the password in registry.db"},
		{"postgresql://u@/d?host=/run&password=p", "", "", "registry.db", "the password in registry.db"},
		{"postgresql://u@/d?host=/run", "p", "", "registry.password", "the password in registry.password"},
		{"postgresql://u@/d?host=/run", "", "", "", ""},
		{"postgresql://u:p@h/d", "", list, "", "LSST_DB_AUTH_CREDENTIALS, entry 1"},
	} {
		cfg := &repoConfig{db: c.db, password: c.password}
		u, tried, err := cfg.dbURL(func(k string) string {
			return map[string]string{"LSST_DB_AUTH": "/none", "LSST_DB_AUTH_CREDENTIALS": c.list}[k]
		})
		if got := strings.Join(tried, "; "); err != nil || u.passwordFrom != c.from || got != c.tried {
			t.Errorf("%s: %q, %s, %v", c.db, u.passwordFrom, got, err)
		}
	}
}
