package cli

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// settings are connection parameters by libpq's keyword.
type settings map[string]string

// over returns s with what top has in place of its own.
func (s settings) over(top settings) settings {
	all := make(settings, len(s)+len(top))
	for _, m := range []settings{s, top} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// String writes the settings as a connection string that pgx and libpq read back as they are.
func (s settings) String() string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var b strings.Builder
	for _, k := range sorted(s) {
		fmt.Fprintf(&b, "%s='%s' ", k, escape.Replace(s[k]))
	}
	return b.String()
}

// validKey tells whether a keyword can stand in a connection string as it is: libpq's can, and the names of server settings.
func validKey(k string) bool {
	return k != "" && !strings.ContainsFunc(k, func(r rune) bool {
		return r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// parseDSN reads a connection string in either of libpq's forms. Its errors quote no part of the string, for any part may
// be the password. Source: the manual's section "Connection Strings", and conninfo_parse and conninfo_uri_parse_options in
// fe-connect.c.
func parseDSN(dsn string) (settings, error) {
	if strings.ContainsRune(dsn, 0) {
		return nil, errors.New("it holds a zero byte")
	}
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(dsn, scheme); ok {
			return parseURL(rest)
		}
	}
	return parseKeywords(dsn)
}

const spaces = " \t\n\r\v\f"

func parseKeywords(rest string) (settings, error) {
	s := settings{}
	for n := 1; ; n++ {
		rest = strings.TrimLeft(rest, spaces)
		if rest == "" {
			return s, nil
		}
		eq := strings.IndexByte(rest, '=')
		key := rest
		if eq >= 0 {
			key = rest[:eq]
		}
		key = strings.TrimRight(key, spaces)
		if eq < 0 || !validKey(key) {
			return nil, fmt.Errorf("its setting number %d is not of the form key=value (quote values that hold blanks: key='a value')", n)
		}
		value, after, err := keywordValue(strings.TrimLeft(rest[eq+1:], spaces))
		if err != nil {
			return nil, fmt.Errorf("the value of its setting number %d has no closing quote", n)
		}
		s[key], rest = value, after
	}
}

// keywordValue takes a value, quoted or not, from the start of s. A backslash makes the next byte stand for itself.
func keywordValue(s string) (value, rest string, err error) {
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case quoted && c == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(spaces, c) >= 0:
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("no closing quote")
	}
	return b.String(), "", nil
}

// parseURL reads what follows the scheme: [user[:password]@][host[:port],...][/dbname][?key=value&...].
func parseURL(rest string) (settings, error) {
	s := settings{}
	set := func(key, raw string) error {
		value, err := url.PathUnescape(raw)
		if err != nil {
			return errors.New("a percent sign in it is not followed by two hexadecimal digits (write a percent sign itself as %25)")
		}
		if strings.ContainsRune(value, 0) {
			return errors.New("it holds a zero byte")
		}
		s[key] = value
		return nil
	}
	credentials := false
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		credentials = true
		user, password, hasPassword := strings.Cut(rest[:i], ":")
		rest = rest[i+1:]
		if user != "" {
			if err := set("user", user); err != nil {
				return nil, err
			}
		}
		if hasPassword {
			if err := set("password", password); err != nil {
				return nil, err
			}
		}
	}
	netloc, query := rest, ""
	if i := strings.IndexByte(netloc, '?'); i >= 0 {
		netloc, query = netloc[:i], netloc[i+1:]
	}
	netloc, dbname, _ := strings.Cut(netloc, "/")
	if strings.Contains(netloc, "@") || !credentials && strings.Contains(dbname, "@") {
		return nil, errors.New("it has an @ that does not end user and password (write the @, / and : of a password as %40, %2F and %3A)")
	}
	var hosts, ports []string
	anyPort := false
	for _, hp := range strings.Split(netloc, ",") {
		host, port, err := hostPort(hp)
		if err != nil {
			return nil, err
		}
		hosts, ports = append(hosts, host), append(ports, port)
		anyPort = anyPort || port != ""
	}
	if h := strings.Join(hosts, ","); h != "" {
		if err := set("host", h); err != nil {
			return nil, err
		}
	}
	if anyPort {
		if err := set("port", strings.Join(ports, ",")); err != nil {
			return nil, err
		}
	}
	if dbname != "" {
		if err := set("dbname", dbname); err != nil {
			return nil, err
		}
	}
	if query == "" {
		return s, nil
	}
	for _, pair := range strings.Split(query, "&") {
		rawKey, value, ok := strings.Cut(pair, "=")
		key, err := url.PathUnescape(rawKey)
		if !ok || err != nil || !validKey(key) {
			return nil, errors.New("a parameter after its ? is not of the form key=value")
		}
		if key == "ssl" && value == "true" { // the one alias that libpq takes, for JDBC's sake
			key, value = "sslmode", "require"
		}
		if err := set(key, value); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// hostPort splits one host of a URL. An IPv6 address stands in brackets.
func hostPort(s string) (host, port string, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", errors.New("the [ of an IPv6 address has no ]")
		}
		host, s = s[1:end], s[end+1:]
		if s != "" && s[0] != ':' {
			return "", "", errors.New("something else than a port follows the ] of an IPv6 address")
		}
		return host, strings.TrimPrefix(s, ":"), nil
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port, nil
}
