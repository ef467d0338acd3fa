package cli

import (
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestParseDSN(t *testing.T) {
	for _, c := range []struct {
		dsn  string
		want settings
	}{
		{"", settings{}},
		{"  ", settings{}},
		{"host=db1 dbname=mpc user=me", settings{"host": "db1", "dbname": "mpc", "user": "me"}},
		{" host = db1  port=5433 ", settings{"host": "db1", "port": "5433"}},
		{`password='it''s'`, nil},
		{`password='it\'s' user=a\ b`, settings{"password": "it's", "user": "a b"}},
		{`options='-c search_path=x,y' sslmode=disable`, settings{"options": "-c search_path=x,y", "sslmode": "disable"}},
		{`password= user=x`, settings{"password": "user=x"}}, // as libpq reads it
		{`password='' user=x`, settings{"password": "", "user": "x"}},
		{`host=a\`, settings{"host": "a"}},
		{"postgres://", settings{}},
		{"postgresql:///mpc", settings{"dbname": "mpc"}},
		{"postgres://db1", settings{"host": "db1"}},
		{"postgres://me@db1:5433/mpc", settings{"user": "me", "host": "db1", "port": "5433", "dbname": "mpc"}},
		{"postgres://me:p%40ss%2Fw@db1/mpc", settings{"user": "me", "password": "p@ss/w", "host": "db1", "dbname": "mpc"}},
		{"postgres://me:p:w?x@db1/mpc", settings{"user": "me", "password": "p:w?x", "host": "db1", "dbname": "mpc"}},
		{"postgres://a:1,b:2/d", settings{"host": "a,b", "port": "1,2", "dbname": "d"}},
		{"postgres://a,b:2/d", settings{"host": "a,b", "port": ",2", "dbname": "d"}},
		{"postgres://[::1]:5433/d", settings{"host": "::1", "port": "5433", "dbname": "d"}},
		{"postgres://%2Fvar%2Frun/d", settings{"host": "/var/run", "dbname": "d"}},
		{"postgres:///d?host=/tmp&port=7", settings{"dbname": "d", "host": "/tmp", "port": "7"}},
		{"postgres://h/d?options=-c%20search_path%3Dx&application_name=y", settings{"host": "h", "dbname": "d", "options": "-c search_path=x", "application_name": "y"}},
		{"postgres://h/d?ssl=true", settings{"host": "h", "dbname": "d", "sslmode": "require"}},
		{"postgres://h/d@x?user=u", nil},
		{"postgres://u:p@h/d@x", settings{"user": "u", "password": "p", "host": "h", "dbname": "d@x"}},
	} {
		got, err := parseDSN(c.dsn)
		if c.want == nil {
			if err == nil {
				t.Errorf("%q: got %v, want an error", c.dsn, got)
			}
			continue
		}
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%q: got %v, %v, want %v", c.dsn, got, err, c.want)
		}
	}
}

// What pgx makes of a connection string is what it makes of ours, written out again.
func TestDSNReadsAsPgxReadsIt(t *testing.T) {
	for _, dsn := range []string{
		"host=db1 dbname=mpc user=me password='a b'", `user=u password='it\'s \\ x' host=h`, "user=u password= host=h",
		"host=a,b port=1,2 user=u", "host=a,b port=7 user=u", "postgres://u@a:1,b:2/d", "postgres://u@a,b:2/d", "postgres://u@[::1]:5433/d?sslmode=disable",
		"postgresql://u:p%20w@h/d?sslmode=prefer&connect_timeout=5", "postgres://u@%2Ftmp/d", "postgres://u:x?y@h/d", "postgres://u@h/d?options=-c%20geqo%3Doff",
		"postgres://u@h/d?target_session_attrs=standby", "user=u host=/tmp", "postgres://u@h/a%2Fb", "postgres://u@h/d?user=other&host=else",
	} {
		want, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Errorf("%q: pgx refuses it: %v", dsn, err)
			continue
		}
		s, err := parseDSN(dsn)
		if err != nil {
			t.Errorf("%q: %v", dsn, err)
			continue
		}
		got, err := pgx.ParseConfig(s.String())
		if err != nil {
			t.Errorf("%q as %q: %v", dsn, s, err)
			continue
		}
		if got.Host != want.Host || got.Port != want.Port || got.Database != want.Database || got.User != want.User || got.Password != want.Password ||
			!maps.Equal(got.RuntimeParams, want.RuntimeParams) || len(got.Fallbacks) != len(want.Fallbacks) || got.ConnectTimeout != want.ConnectTimeout ||
			(got.ValidateConnect == nil) != (want.ValidateConnect == nil) {
			t.Errorf("%q: got %+v, want %+v", dsn, got.Config, want.Config)
		}
		for i := range got.Fallbacks {
			if g, w := got.Fallbacks[i], want.Fallbacks[i]; g.Host != w.Host || g.Port != w.Port || (g.TLSConfig == nil) != (w.TLSConfig == nil) {
				t.Errorf("%q: fallback %d is %+v, want %+v", dsn, i, g, w)
			}
		}
	}
}

func TestBadDSNsTellNoSecrets(t *testing.T) {
	for _, dsn := range []string{
		"hunter2", "host=a hunter2", "password='hunter2", "user=x password='hunter2\\'", "=hunter2", "a b=hunter2", "host=a password=x\x00hunter2",
		"postgres://u:hunter2/x@h/d", "postgres://u:%zzhunter2@h/d", "postgres://u@[::1/hunter2", "postgres://u@[::1]hunter2", "postgres://u@h/d?hunter2",
		"postgres://u@h/d?password=%hunter2", "postgres://u:hunter2@x@h/d", "postgres://u@h/d?=hunter2",
		"postgres://u@h/d?host%3D%27evil%27%20x=hunter2", "a'b=hunter2",
	} {
		got, err := parseDSN(dsn)
		if err == nil {
			t.Errorf("%q: got %v, want an error", dsn, got)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error tells: %v", dsn, err)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	for _, s := range []string{"host=a port=1", "postgres://u:p@h:1,i:2/d?a=b", `a='b\'c'`, "postgres://[::1]", "a=\\", "postgres://%41@%/", "=", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		s, err := parseDSN(dsn)
		if err != nil {
			return
		}
		again, err := parseDSN(s.String())
		if err != nil || !maps.Equal(s, again) {
			t.Errorf("%q gives %q, which reads as %q, %v", dsn, s, again, err)
		}
	})
}
