package butler

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// dbURL is a parsed SQLAlchemy URL. Empty strings are parts that are not there.
type dbURL struct {
	dialect  string // sqlite, postgresql
	username string
	password string
	host     string
	port     string
	database string
	query    url.Values

	passwordFrom string // the key of the configuration that the password is from, "" for another source
}

// Source: sqlalchemy.engine.url._parse_url.
var dbURLPattern = regexp.MustCompile(`^([\w+]+)://(?:([^:/]*)(?::([^@]*))?@)?(?:(?:\[([^/?]+)\]|([^/:?]+))?(?::([^/?]*))?)?(?:/([^?]*))?(?:\?(.*))?$`)

// parseDBURL reads dialect[+driver]://[user[:password]@][host][:port]/database[?options]. Errors never show the text, it
// may hold a password.
func parseDBURL(s string) (dbURL, error) {
	m := dbURLPattern.FindStringSubmatch(s)
	if m == nil {
		return dbURL{}, errors.New("registry.db is no database URL (dialect://user@host:port/database)")
	}
	dialect, driver, _ := strings.Cut(m[1], "+")
	switch {
	case dialect == "sqlite" && (driver == "" || driver == "pysqlite"):
	case dialect == "postgresql" && (driver == "" || driver == "psycopg2" || driver == "psycopg"):
	default:
		return dbURL{}, fmt.Errorf("registry.db: no support for %s: a registry is in sqlite or postgresql", quoteName(m[1]))
	}
	u := dbURL{dialect: dialect, host: m[4] + m[5], port: m[6], database: m[7]}
	var err error
	if u.username, err = url.PathUnescape(m[2]); err != nil {
		return dbURL{}, errors.New("registry.db: the user name is badly percent-encoded")
	}
	if u.password, err = url.PathUnescape(m[3]); err != nil {
		return dbURL{}, errors.New("registry.db: the password is badly percent-encoded")
	}
	if u.query, err = url.ParseQuery(m[8]); err != nil {
		return dbURL{}, errors.New("registry.db: the options behind ? are badly encoded")
	}
	return u, nil
}

// String shows the URL without its password.
func (u dbURL) String() string {
	var b strings.Builder
	b.WriteString(u.dialect + "://")
	if u.username != "" {
		b.WriteString(url.PathEscape(u.username))
		if u.password != "" {
			b.WriteString(":***")
		}
		b.WriteString("@")
	}
	if strings.Contains(u.host, ":") {
		b.WriteString("[" + u.host + "]")
	} else {
		b.WriteString(u.host)
	}
	if u.port != "" {
		b.WriteString(":" + u.port)
	}
	b.WriteString("/" + u.database)
	return b.String()
}

// dbURL gives the registry's URL with the registry keys and the LSST auth list applied, and where credentials were
// looked for. Source: ConnectionStringFactory.fromConfig.
func (c *repoConfig) dbURL(getenv func(string) string) (dbURL, []string, error) {
	u, err := parseDBURL(c.db)
	if err != nil {
		return u, nil, err
	}
	from := "registry.db"
	if u.password == "" {
		from = "registry.password"
	}
	for _, part := range []struct {
		have *string
		fill string
	}{{&u.username, c.username}, {&u.password, c.password}, {&u.host, c.host}, {&u.port, c.port}, {&u.database, c.database}} {
		if *part.have == "" {
			*part.have = part.fill
		}
	}
	if u.password != "" {
		u.passwordFrom = from
	}
	var tried []string
	if u.dialect != "sqlite" && u.host != "" && u.database != "" {
		tried, err = u.applyAuthList(getenv)
	}
	if u.query.Get("password") != "" { // as in Python it wins over all else
		u.passwordFrom = "registry.db"
	}
	if u.passwordFrom != "" {
		tried = append(tried, "the password in "+u.passwordFrom)
	}
	return u, tried, err
}

// applyAuthList looks for u in the LSST list of database credentials. A match wins even over a password in the URL; no
// list and no match change nothing. Source: lsst/utils/db_auth.py.
func (u *dbURL) applyAuthList(getenv func(string) string) (tried []string, err error) {
	var list []map[string]string
	where := "LSST_DB_AUTH_CREDENTIALS"
	if inline := getenv(where); inline != "" {
		if json.Unmarshal([]byte(inline), &list) != nil { // its error would quote the text
			return nil, errors.New("LSST_DB_AUTH_CREDENTIALS is no JSON list of credentials")
		}
	} else {
		where = getenv("LSST_DB_AUTH")
		if where == "" {
			where = "~/.lsst/db-auth.yaml"
		}
		where = expandUser(where, getenv)
		info, err := os.Stat(where)
		if err != nil || !info.Mode().IsRegular() {
			return []string{where + " (not there)"}, nil
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("%s has permissions %04o: it holds passwords, and only its owner may have any (chmod 600)", where, info.Mode().Perm())
		}
		raw, err := readConfigFile(where)
		if err != nil {
			return nil, err
		}
		if yaml.Unmarshal(raw, &list) != nil {
			return nil, fmt.Errorf("%s is no YAML list of credentials", where)
		}
	}
	for i, entry := range list {
		ok, err := u.matchesAuth(entry)
		if err != nil {
			return nil, fmt.Errorf("%s, entry %d: %w", where, i+1, err)
		}
		if !ok {
			continue
		}
		password, ok := entry["password"]
		if !ok {
			return nil, fmt.Errorf("%s, entry %d: no password", where, i+1)
		}
		u.password, u.passwordFrom = password, ""
		if u.username == "" {
			u.username = entry["username"]
		}
		return []string{fmt.Sprintf("%s, entry %d", where, i+1)}, nil
	}
	return []string{where + " (no entry fits)"}, nil
}

// matchesAuth tells whether an entry's URL pattern covers u.
func (u *dbURL) matchesAuth(entry map[string]string) (bool, error) {
	pattern, ok := entry["url"]
	if !ok {
		return false, errors.New("no url")
	}
	scheme, rest, ok := strings.Cut(pattern, "://")
	if !ok || scheme == "" {
		return false, errors.New("its url has no database dialect")
	}
	if strings.Contains(scheme, "+") {
		return false, fmt.Errorf("its url names a driver (%s): only the dialect may stand there", scheme)
	}
	if strings.ToLower(scheme) != u.dialect {
		return false, nil
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	authority, database, _ := strings.Cut(rest, "/")
	if database = strings.TrimLeft(database, "/"); database != "" && !parseGlob(database).match(u.database) {
		return false, nil
	}
	hostPort := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, _, _ := strings.Cut(authority[:at], ":")
		hostPort = authority[at+1:]
		if u.username != user {
			return false, nil
		}
	}
	host, port := hostPort, ""
	if inner, after, ok := strings.Cut(strings.TrimPrefix(hostPort, "["), "]"); ok && strings.HasPrefix(hostPort, "[") {
		host, port = inner, strings.TrimPrefix(after, ":")
	} else if h, p, ok := strings.Cut(hostPort, ":"); ok {
		host, port = h, p
	}
	if host == "" {
		return false, errors.New("its url has no host")
	}
	if !parseGlob(strings.ToLower(host)).match(strings.ToLower(u.host)) {
		return false, nil
	}
	return port == "" || port == u.port, nil
}

// sqlitePath gives the file of a SQLite registry.
func (u dbURL) sqlitePath() (string, error) {
	switch {
	case u.host != "":
		return "", errors.New("registry.db: a sqlite URL has three slashes before a relative and four before an absolute path")
	case u.database == "" || u.database == ":memory:":
		return "", errors.New("registry.db: a registry in memory cannot be read by another process")
	}
	return filepath.Abs(u.database)
}
