package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connOptions are the connection flags as typed.
type connOptions struct {
	service, dsn, host, port, dbname, user, password string
	file                                             settings     // what a batch file says
	warn                                             func(string) // told of what is passed over; may be nil
}

func (o *connOptions) addFlags(f *flags) {
	f.group("Connection")
	f.StringVar(&o.service, "service", "", "`NAME` a service of ~/.pg_service.conf or $PGSERVICEFILE")
	f.StringVar(&o.dsn, "dsn", "", "`STRING` a whole connection string, key=value or URL, over the other connection flags")
	f.StringVar(&o.host, "host", "", "`HOST` a server, the directory of a Unix socket, or several with commas")
	f.Var(ports{&o.port}, "port", "`PORT` the server's, or one a host with commas")
	f.StringVar(&o.dbname, "dbname", "", "`NAME` the database")
	f.StringVar(&o.user, "user", "", "`NAME` the user")
	f.StringVar(&o.password, "password", "", "`PASSWORD` better in ~/.pgpass, where no process list shows it")
}

// connVars are the environment variables of libpq and the keywords that they stand for. Source: the manual's section
// "Environment Variables" of libpq. PGSERVICE and PGSERVICEFILE are read apart.
var connVars = map[string]string{
	"PGHOST": "host", "PGHOSTADDR": "hostaddr", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user",
	"PGPASSWORD": "password", "PGPASSFILE": "passfile", "PGREQUIREAUTH": "require_auth", "PGCHANNELBINDING": "channel_binding",
	"PGOPTIONS": "options", "PGAPPNAME": "application_name", "PGSSLMODE": "sslmode", "PGSSLNEGOTIATION": "sslnegotiation",
	"PGSSLCOMPRESSION": "sslcompression", "PGSSLCERT": "sslcert", "PGSSLKEY": "sslkey", "PGSSLCERTMODE": "sslcertmode",
	"PGSSLPASSWORD": "sslpassword", "PGSSLROOTCERT": "sslrootcert", "PGSSLCRL": "sslcrl", "PGSSLCRLDIR": "sslcrldir",
	"PGSSLSNI": "sslsni", "PGREQUIREPEER": "requirepeer", "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
	"PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version", "PGGSSENCMODE": "gssencmode", "PGKRBSRVNAME": "krbsrvname",
	"PGGSSLIB": "gsslib", "PGGSSDELEGATION": "gssdelegation", "PGCONNECT_TIMEOUT": "connect_timeout",
	"PGCLIENTENCODING": "client_encoding", "PGTARGETSESSIONATTRS": "target_session_attrs", "PGLOADBALANCEHOSTS": "load_balance_hosts",
	"PGMINPROTOCOLVERSION": "min_protocol_version", "PGMAXPROTOCOLVERSION": "max_protocol_version",
	"PGTZ": "timezone", "PGDATESTYLE": "datestyle", "PGGEQO": "geqo",
}

// handling is what becomes of a libpq keyword.
type handling uint8

const (
	byPgx    handling = iota + 1 // pgx understands it
	byUs                         // handled in pgxConfig
	needless                     // has no bearing on an export, or what it asks for is always so
	refused                      // asks for something that would silently not happen
)

// keywords are libpq's, as of 18. Source: the manual's section "Parameter Key Words". What is none of them goes to the server as a
// run-time parameter, which pgx's own connection strings allow.
var keywords = map[string]handling{
	"host": byPgx, "port": byPgx, "dbname": byPgx, "user": byPgx, "password": byPgx, "passfile": byPgx, "require_auth": byPgx,
	"channel_binding": byPgx, "connect_timeout": byPgx, "options": byPgx, "sslmode": byPgx, "sslnegotiation": byPgx, "sslcert": byPgx,
	"sslkey": byPgx, "sslpassword": byPgx, "sslcertmode": byPgx, "sslrootcert": byPgx, "sslsni": byPgx, "krbsrvname": byPgx,
	"target_session_attrs": byPgx, "min_protocol_version": byPgx, "max_protocol_version": byPgx,

	"service": byUs, "servicefile": byUs, "hostaddr": byUs, "ssl_min_protocol_version": byUs, "ssl_max_protocol_version": byUs,
	"load_balance_hosts": byUs, "gssencmode": byUs, "application_name": byUs,

	"fallback_application_name": needless, "client_encoding": needless, "sslcompression": needless, "keepalives": needless,
	"keepalives_idle": needless, "keepalives_interval": needless, "keepalives_count": needless, "tcp_user_timeout": needless,
	"gsslib": needless, "gssdelegation": needless,

	"sslcrl": refused, "sslcrldir": refused, "requirepeer": refused, "replication": refused, "sslkeylogfile": refused,
	"scram_client_key": refused, "scram_server_key": refused, "oauth_issuer": refused, "oauth_client_id": refused,
	"oauth_client_secret": refused, "oauth_scope": refused,
}

// applicationName is what pg_stat_activity shows for every connection of ours.
const applicationName = "fast-export"

// config finds out whom to connect to and how. Later ones win, key by key, as in libpq: environment, service file, batch file, flags,
// then --dsn. A --service or --dsn means another place than the batch file does, so that nothing of the latter stays. pgx finds the
// password in the password file where nothing else gives one.
func (o connOptions) config(getenv func(string) string) (*pgx.ConnConfig, error) {
	all, err := o.all(getenv)
	if err != nil {
		return nil, err
	}
	return pgxConfig(all)
}

// all are the settings that have won, in libpq's words.
func (o connOptions) all(getenv func(string) string) (settings, error) {
	flagged := settings{}
	for _, f := range []struct{ flag, key, value string }{
		{"--service", "service", o.service},
		{"--host", "host", o.host},
		{"--port", "port", o.port},
		{"--dbname", "dbname", o.dbname},
		{"--user", "user", o.user},
		{"--password", "password", o.password},
	} {
		if f.value == "" {
			continue
		}
		if f.key != "password" && isDSN(f.value) {
			return nil, usagef("give it to --dsn instead", "%s got a whole connection string", f.flag)
		}
		flagged[f.key] = f.value
	}
	explicit := flagged
	if o.service == "" && o.dsn == "" {
		explicit = o.file.over(flagged)
	}
	if o.dsn != "" {
		parsed, err := parseDSN(o.dsn)
		if err != nil {
			return nil, usagef(`two forms are right: "host=db1 dbname=mpc user=me" and "postgresql://me@db1/mpc"`, "--dsn can't be read: %v", err)
		}
		explicit = flagged.over(parsed)
	}
	all := settings{}
	for name, key := range connVars {
		if v := getenv(name); v != "" {
			all[key] = v
		}
	}
	if service := cmp.Or(explicit["service"], getenv("PGSERVICE")); service != "" {
		found, err := readService(service, explicit["servicefile"], getenv)
		if err != nil {
			return nil, err
		}
		all = all.over(found)
	}
	all = all.over(explicit)
	if all["passfile"] == "" {
		if home := getenv("HOME"); home != "" {
			all["passfile"] = filepath.Join(home, ".pgpass")
		}
	}
	if all["password"] == "" {
		if why := checkPassfile(all["passfile"]); why != "" {
			all["passfile"] = os.DevNull
			if o.warn != nil {
				o.warn(why)
			}
		}
	}
	return all, nil
}

// isDSN tells whether a value looks like a whole connection string, which may hold a password.
func isDSN(s string) bool {
	return strings.Contains(s, "://") || strings.Contains(strings.ReplaceAll(s, " ", ""), "password=")
}

// readService finds a service where libpq looks for it: the file named, or ~/.pg_service.conf, then the system's.
func readService(name, file string, getenv func(string) string) (settings, error) {
	file = cmp.Or(file, getenv("PGSERVICEFILE"))
	named := file != ""
	if !named {
		file = filepath.Join(getenv("HOME"), ".pg_service.conf")
	}
	shown := name
	if isDSN(name) {
		shown = "…"
	}
	system := filepath.Join(cmp.Or(getenv("PGSYSCONFDIR"), "/etc/postgresql-common"), "pg_service.conf") // Debian's directory
	for _, path := range []string{file, system} {
		found, err := readSection(path, name)
		if errors.Is(err, fs.ErrNotExist) && !(named && path == file) {
			continue
		}
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, &connError{msg: fmt.Sprintf("service %q: %s: %v", shown, path, err)}
		}
		if found == nil {
			continue
		}
		if v, ok := found["database"]; ok && found["dbname"] == "" { // pgx takes both
			found["dbname"] = v
			delete(found, "database")
		}
		return found, nil
	}
	return nil, &connError{
		msg:  fmt.Sprintf("no service %q in %s", shown, file),
		hint: "a service is a section of that file: [" + shown + "], then lines such as host=…, dbname=…",
	}
}

// readSection reads the first section of that name, nil where there is none. What stands in others may be anything, and of a key that is
// there twice the first counts. Source: parseServiceFile in fe-connect.c.
func readSection(path, name string) (settings, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found settings
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			if found != nil {
				return found, nil
			}
			if strings.HasPrefix(line, "["+name+"]") {
				found = settings{}
			}
		case found != nil:
			key, value, ok := strings.Cut(line, "=")
			key = strings.TrimSpace(key)
			switch {
			case !ok || key == "": // the line is not shown: it may hold the password
				return nil, fmt.Errorf("line %d is not of the form key=value", n)
			case key == "service":
				return nil, fmt.Errorf("line %d names another service: that is not supported", n)
			}
			if _, ok := found[key]; !ok {
				found[key] = strings.TrimSpace(value)
			}
		}
	}
	return found, nil
}

// checkPassfile tells why a password file is not to be used, as libpq does: "" where it is fine or not there.
// Source: passwordFromFile in fe-connect.c.
func checkPassfile(path string) string {
	info, err := os.Stat(path)
	switch {
	case err != nil, path == os.DevNull:
		return ""
	case !info.Mode().IsRegular():
		return fmt.Sprintf("password file %s is not used: it is no regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Sprintf("password file %s is not used: group or others may read or write it (chmod 600 takes that away)", path)
	}
	return ""
}

// checkKey refuses the client's private key where libpq would, and where pgx could not read it. Source of the modes:
// initialize_SSL in fe-secure-openssl.c.
func checkKey(all settings) error {
	if all["sslmode"] == "disable" || all["sslcertmode"] == "disable" {
		return nil
	}
	path := all["sslkey"]
	if path == "" { // pgx takes these two where both are there
		home, err := os.UserHomeDir()
		if err != nil {
			return nil
		}
		if _, err := os.Stat(filepath.Join(home, ".postgresql", "postgresql.crt")); err != nil {
			return nil
		}
		path = filepath.Join(home, ".postgresql", "postgresql.key")
	}
	info, err := os.Stat(path)
	if err != nil { // pgx says so, or does without
		return nil
	}
	forbidden := fs.FileMode(0o077)
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && sys.Uid == 0 {
		forbidden = 0o037 // the system's keys, which a group may read
	}
	switch {
	case !info.Mode().IsRegular():
		return usagef("", "sslkey %s is no regular file", path)
	case info.Mode().Perm()&forbidden != 0:
		return usagef("chmod 600, or 640 where root owns it", "sslkey %s has mode %04o: others may read or write it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	if block, _ := pem.Decode(text); block != nil && block.Type == "ENCRYPTED PRIVATE KEY" {
		return usagef("openssl pkey -aes256 -traditional -in KEY -out NEW writes it in the older form, which can be read",
			"sslkey %s is encrypted in PKCS#8 form, which can't be read", path)
	}
	return nil
}

// connectTimeout bounds an attempt to connect where nobody says how long: a server that takes the connection and never speaks must not
// hold up a run for ever.
const connectTimeout = 30 * time.Second

// pgxConfig turns settings into what pgx dials by.
func pgxConfig(all settings) (*pgx.ConnConfig, error) {
	pass := settings{"application_name": applicationName}
	for _, k := range sorted(all) {
		switch keywords[k] {
		case byPgx:
			pass[k] = all[k]
		case byUs, needless:
		case refused:
			return nil, usagef("take it out of the service file, DSN or environment", "connection parameter %s is not supported", k)
		default:
			if !validKey(k) { // a service file's; it would read as several settings
				return nil, usagef("", "unknown connection parameter %q", k)
			}
			if near := nearest(k, sorted(keywords)); near != "" {
				return nil, usagef("did you mean "+near+"?", "unknown connection parameter %s", k)
			}
			pass[k] = all[k]
		}
	}
	switch all["gssencmode"] {
	case "", "disable", "prefer":
	default:
		return nil, usagef("use TLS: sslmode=verify-full", "connection parameter gssencmode=%s is not supported", all["gssencmode"])
	}
	if v := all["connect_timeout"]; v != "" {
		if _, err := strconv.ParseUint(strings.TrimSpace(v), 10, 31); err != nil {
			return nil, usagef("a whole number of seconds, 0 for no limit", "connection parameter connect_timeout is %s", quoteArg(v))
		}
	}
	hosts := strings.Split(all["host"], ",")
	names, addrs, err := hostAddrs(hosts, all["hostaddr"])
	if err != nil {
		return nil, err
	}
	if all["hostaddr"] != "" {
		pass["host"] = strings.Join(names, ",")
	}
	if err := checkKey(all); err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(pass.String())
	if err != nil {
		return nil, parseError(err)
	}
	if all["connect_timeout"] == "" {
		cfg.ConnectTimeout = connectTimeout
	}
	if len(addrs) > 0 {
		lookup := cfg.LookupFunc
		cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
			if a := addrs[host]; len(a) > 0 {
				return a, nil
			}
			return lookup(ctx, host)
		}
	}
	if err := tlsVersions(cfg, all["ssl_min_protocol_version"], all["ssl_max_protocol_version"]); err != nil {
		return nil, err
	}
	switch all["load_balance_hosts"] {
	case "", "disable":
	case "random":
		shuffleHosts(cfg)
	default:
		return nil, usagef("", "connection parameter load_balance_hosts is neither disable nor random")
	}
	return cfg, nil
}

// hostAddrs pairs hosts with the addresses to dial for them: names are for certificates and password files alone then.
func hostAddrs(hosts []string, hostaddr string) (names []string, addrs map[string][]string, err error) {
	if hostaddr == "" {
		return hosts, nil, nil
	}
	list := strings.Split(hostaddr, ",")
	if len(hosts) == 1 && hosts[0] == "" {
		return list, nil, nil
	}
	if len(list) != len(hosts) {
		return nil, nil, usagef("each host has one address", "connection parameters host and hostaddr have %d and %d parts", len(hosts), len(list))
	}
	addrs = map[string][]string{}
	for i, h := range hosts {
		if h == "" {
			hosts[i] = list[i]
		} else if list[i] != "" {
			addrs[h] = append(addrs[h], list[i])
		}
	}
	return hosts, addrs, nil
}

var tlsVersion = map[string]uint16{"tlsv1": tls.VersionTLS10, "tlsv1.1": tls.VersionTLS11, "tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13}

func tlsVersions(cfg *pgx.ConnConfig, least, most string) error {
	for _, v := range []struct {
		key, value string
		set        func(*tls.Config, uint16)
	}{
		{"ssl_min_protocol_version", least, func(c *tls.Config, v uint16) { c.MinVersion = v }},
		{"ssl_max_protocol_version", most, func(c *tls.Config, v uint16) { c.MaxVersion = v }},
	} {
		if v.value == "" {
			continue
		}
		version, ok := tlsVersion[strings.ToLower(v.value)]
		if !ok {
			return usagef("", "connection parameter %s is none of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", v.key)
		}
		for _, c := range tlsConfigs(cfg) {
			v.set(c, version)
		}
	}
	return nil
}

func tlsConfigs(cfg *pgx.ConnConfig) []*tls.Config {
	var all []*tls.Config
	if cfg.TLSConfig != nil {
		all = append(all, cfg.TLSConfig)
	}
	for _, f := range cfg.Fallbacks {
		if f.TLSConfig != nil {
			all = append(all, f.TLSConfig)
		}
	}
	return all
}

// shuffleHosts tries the hosts in random order; what stands for one host (with and without TLS) stays together.
func shuffleHosts(cfg *pgx.ConnConfig) {
	all := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
	place := map[string]int{}
	key := func(f *pgconn.FallbackConfig) string { return fmt.Sprint(f.Host, ":", f.Port) }
	for _, f := range all {
		if _, ok := place[key(f)]; !ok {
			place[key(f)] = rand.Int()
		}
	}
	slices.SortStableFunc(all, func(a, b *pgconn.FallbackConfig) int { return cmp.Compare(place[key(a)], place[key(b)]) })
	cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = all[0].Host, all[0].Port, all[0].TLSConfig, all[1:]
}

// parseError keeps pgx's reason and drops the connection string that it quotes, whose password pgx masks as best it can.
func parseError(err error) error {
	var pe *pgconn.ParseConfigError
	if !errors.As(err, &pe) {
		return &connError{msg: "connection settings: " + err.Error(), err: err}
	}
	text := pe.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+3:]
	}
	hint := ""
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		hint = "is the path in sslrootcert, sslcert or sslkey right?"
	case strings.Contains(text, "unable to add CA"):
		hint = "sslrootcert names a file of certificates in PEM form"
	case strings.Contains(text, "unable to load cert"):
		hint = "sslcert and sslkey name files in PEM form, of one pair"
	case text == "invalid port":
		hint = "a port is a number from 1 to 65535; several hosts have one each, or one for all"
	}
	text, _, _ = strings.Cut(text, " (strconv.") // words for programmers
	return usagef(hint, "connection settings: %s", text)
}

// connError is something wrong with the connection settings, found before dialling.
type connError struct {
	msg, hint string
	err       error
}

func (e *connError) Error() string { return e.msg }
func (e *connError) Unwrap() error { return e.err }
