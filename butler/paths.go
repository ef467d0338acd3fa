package butler

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// escapes is what makes Python take a path without a scheme for percent-encoded.
// Source: ESCAPES_RE in lsst/resources/_resourcePath.py.
var escapes = regexp.MustCompile(`%[0-9A-F]{2}`)

// hasScheme tells whether s is a URI rather than a path, by the rule of lsst.resources.
func hasScheme(s string) bool { return strings.Contains(s, "://") || strings.HasPrefix(s, "file:") }

// localFile gives the local path that a path or file: URI stands for. Other schemes are an error.
func localFile(s string) (string, error) {
	if !hasScheme(s) {
		return s, nil
	}
	rest, ok := strings.CutPrefix(s, "file:")
	if !ok {
		return "", fmt.Errorf("%s: only local files can be read", redactURI(s))
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		host, p, found := strings.Cut(after, "/")
		if host != "" && host != "localhost" {
			return "", fmt.Errorf("%s names a file on host %s: only local files can be read", s, host)
		}
		if !found {
			return "", fmt.Errorf("%s names no file", s)
		}
		rest = "/" + p
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	p, err := url.PathUnescape(rest)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s, err)
	}
	if p == "" || strings.IndexByte(p, 0) >= 0 {
		return "", fmt.Errorf("%s names no file", s)
	}
	return p, nil
}

// redactURI replaces the user part's secret of a URI, if there is one, so that it can be shown.
func redactURI(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	auth, tail := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		auth, tail = rest[:i], rest[i:]
	}
	if at := strings.LastIndexByte(auth, '@'); at >= 0 {
		if user, _, secret := strings.Cut(auth[:at], ":"); secret {
			auth = user + ":***" + auth[at:]
		}
	}
	return scheme + "://" + auth + tail
}

// expandVars replaces $NAME and ${NAME} by the environment's values, and leaves those that are not set as they are.
// Source: posixpath.expandvars.
func expandVars(s string, getenv func(string) string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		name, end := "", 1
		if strings.HasPrefix(s, "${") {
			if j := strings.IndexByte(s, '}'); j > 0 {
				name, end = s[2:j], j+1
			}
		} else {
			for end < len(s) && (s[end] == '_' || s[end]|0x20 >= 'a' && s[end]|0x20 <= 'z' || s[end] >= '0' && s[end] <= '9') {
				end++
			}
			name = s[1:end]
		}
		if v := getenv(name); name != "" && v != "" {
			b.WriteString(v)
		} else {
			b.WriteString(s[:end])
		}
		s = s[end:]
	}
}

// expandUser replaces a leading ~ by HOME.
func expandUser(s string, getenv func(string) string) string {
	if home := getenv("HOME"); home != "" && (s == "~" || strings.HasPrefix(s, "~/")) {
		return home + s[1:]
	}
	return s
}

// PathMap rewrites the beginning of a location: where a dataset's path or URI begins with Old, New takes its place. It
// is meant for repositories whose absolute paths were recorded on another machine, and for object stores that are
// mounted.
type PathMap struct{ Old, New string }

// ParsePathMap reads old=new.
func ParsePathMap(s string) (PathMap, error) {
	before, after, ok := strings.Cut(s, "=")
	if !ok || before == "" || after == "" {
		return PathMap{}, &UsageError{Option: "path-map", Reason: fmt.Sprintf("%q is not old=new, the beginning of a path or URI and what to put in its place", s)}
	}
	return PathMap{before, after}, nil
}

// checkPathMaps refuses what can only be a mistake: an Old that no location begins with, and two News for one Old.
func checkPathMaps(maps []PathMap) error {
	plain := func(s string) (string, error) { // a file: URI as a path
		if strings.HasPrefix(s, "file:") {
			return localFile(s)
		}
		return s, nil
	}
	news := map[string]string{}
	for _, m := range maps {
		old, err := plain(m.Old)
		to, terr := plain(m.New)
		if err = errors.Join(err, terr); err != nil {
			return &UsageError{Option: "path-map", Reason: err.Error()}
		}
		shown := quoteName(redactURI(m.Old))
		if !hasScheme(old) {
			switch short := path.Clean(old); {
			case !path.IsAbs(old):
				return &UsageError{Option: "path-map", Reason: shown + " is neither an absolute path nor a URI, so that no location begins with it"}
			case short != old && short+"/" != old:
				return &UsageError{Option: "path-map", Reason: fmt.Sprintf("no location begins with %s: write it as %s", shown, quoteName(short))}
			}
		}
		old, to = strings.TrimSuffix(old, "/"), strings.TrimSuffix(to, "/")
		if have, again := news[old]; again && have != to {
			return &UsageError{Option: "path-map", Reason: fmt.Sprintf("%s is to be read from two places, %s and %s", shown, quoteName(redactURI(have)), quoteName(redactURI(to)))}
		}
		news[old] = to
	}
	return nil
}

// applyPathMap gives the rewritten location: a local path, or a URI other than file:. The longest Old that fits wins; it
// must end where a part of the path ends. A local path fits an Old that is a path or a file: URI, and is compared as a
// path, so that it does not matter how a URI escapes it. What stands behind Old is percent-encoded in URIs and is not in
// paths: it is rewritten with the form.
func applyPathMap(maps []PathMap, location string) (string, bool, error) {
	uri := hasScheme(location)
	best, length := -1, -1
	rest := ""
	for i, m := range maps {
		old := m.Old
		if strings.HasPrefix(old, "file:") {
			var err error
			if old, err = localFile(old); err != nil {
				return "", false, err
			}
		}
		r, ok := strings.CutPrefix(location, old)
		if !ok || r != "" && r[0] != '/' && !strings.HasSuffix(old, "/") || len(old) <= length {
			continue
		}
		best, length, rest = i, len(old), r
	}
	if best < 0 {
		return location, false, nil
	}
	to := maps[best].New
	local := !hasScheme(to)
	if strings.HasPrefix(to, "file:") {
		var err error
		if to, err = localFile(to); err != nil {
			return "", false, err
		}
		local = true
	}
	switch {
	case uri && local:
		var err error
		if rest, err = url.PathUnescape(rest); err != nil {
			return "", false, fmt.Errorf("%s: %w", redactURI(location), err)
		}
		if strings.IndexByte(rest, 0) >= 0 {
			return "", false, fmt.Errorf("%s has a NUL byte", redactURI(location))
		}
		if slices.Contains(strings.Split(rest, "/"), "..") {
			return "", false, fmt.Errorf("%s leaves %s", redactURI(location), redactURI(maps[best].Old))
		}
	case !uri && !local:
		rest = (&url.URL{Path: rest}).EscapedPath()
	}
	if rest != "" && rest[0] != '/' && !strings.HasSuffix(to, "/") {
		to += "/" // Old brought the slash
	}
	return to + rest, true, nil
}

// location is where a dataset's bytes are.
type location struct {
	path   string // local path, "" when the scheme is not a local one
	uri    string // as shown to people: the path, or the URI; a zip member is appended as #zip-path=…
	member string // name inside the zip file at path, "" for a plain file
}

// resolveLocation finds the file for a record's path in a datastore with the given root. root is a local directory
// (absolute) or a URI.
//
// A path with a scheme or a leading slash stands for itself. Any other path is relative to the root and must stay in it:
// Python trusts its records here, we need not. Text after the last # of the last part is a fragment, of which only
// zip-path=MEMBER is known.
// Source: ResourcePath.__new__ and StoredFileInfo.file_location.
func resolveLocation(root, recorded string, maps []PathMap) (location, error) {
	if recorded == "" {
		return location{}, errors.New("the recorded path is empty")
	}
	if strings.IndexByte(recorded, 0) >= 0 {
		return location{}, errors.New("the recorded path has a NUL byte")
	}
	var loc location
	fragment := ""
	switch {
	case hasScheme(recorded):
		base := recorded
		if i := strings.IndexByte(base, '#'); i >= 0 {
			base, fragment = base[:i], base[i+1:]
		}
		loc.uri = base
		if strings.HasPrefix(base, "file:") {
			p, err := localFile(base)
			if err != nil {
				return location{}, err
			}
			if !path.IsAbs(p) {
				return location{}, fmt.Errorf("%s is not absolute", recorded)
			}
			loc.path = path.Clean(p)
		}
	default:
		p := recorded
		if escapes.MatchString(p) {
			if i := strings.IndexByte(p, '#'); i >= 0 {
				p, fragment = p[:i], p[i+1:]
			}
			q, err := url.PathUnescape(p)
			if err != nil {
				return location{}, fmt.Errorf("path %s: %w", quoteName(recorded), err)
			}
			p = q
			if strings.IndexByte(p, 0) >= 0 {
				return location{}, errors.New("the recorded path has a NUL byte")
			}
		} else if slash := strings.LastIndexByte(p, '/'); strings.Contains(p[slash+1:], "#") {
			i := strings.LastIndexByte(p, '#')
			p, fragment = p[:i], p[i+1:]
		}
		switch {
		case path.IsAbs(p):
			loc.path = path.Clean(p)
		case hasScheme(root) && !strings.HasPrefix(root, "file:"):
			inside := path.Clean(p)
			if leavesRoot(inside) {
				return location{}, fmt.Errorf("path %s leaves the datastore root %s", quoteName(recorded), redactURI(root))
			}
			loc.uri = strings.TrimSuffix(root, "/") + "/" + (&url.URL{Path: inside}).EscapedPath()
		default:
			r, err := localFile(root)
			if err != nil {
				return location{}, err
			}
			inside := path.Clean(p)
			if leavesRoot(inside) {
				return location{}, fmt.Errorf("path %s leaves the datastore root %s", quoteName(recorded), quoteName(r))
			}
			loc.path = path.Join(r, inside)
		}
	}
	if err := loc.remap(maps); err != nil {
		return location{}, err
	}
	if fragment != "" {
		key, member, ok := strings.Cut(fragment, "=")
		if !ok || key != "zip-path" {
			return location{}, fmt.Errorf("path %s: only a zip-path can stand after #", quoteName(recorded))
		}
		m, err := url.PathUnescape(member)
		if err != nil || m == "" {
			return location{}, fmt.Errorf("path %s: no member of a zip file", quoteName(recorded))
		}
		loc.member = m
	}
	return loc, nil
}

// remap applies --path-map to the path, or to the URI of what is not local.
func (l *location) remap(maps []PathMap) error {
	if l.path != "" {
		l.uri = l.path
	}
	mapped, ok, err := applyPathMap(maps, l.uri)
	if err != nil || !ok {
		return err
	}
	l.uri, l.path = mapped, ""
	if hasScheme(mapped) {
		return nil
	}
	if l.path, err = filepath.Abs(mapped); err != nil {
		return err
	}
	l.uri = l.path
	return nil
}

// leavesRoot tells whether a cleaned relative path climbs out of where it starts.
func leavesRoot(cleaned string) bool {
	return cleaned == ".." || strings.HasPrefix(cleaned, "../") || cleaned == "." || path.IsAbs(cleaned)
}

// show gives the location for messages and listings.
func (l location) show() string {
	if l.member != "" {
		return redactURI(l.uri) + "#zip-path=" + l.member
	}
	return redactURI(l.uri)
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}
