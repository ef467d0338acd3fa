package butler

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestLocations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		root, recorded string
		path           string // or URI for what is not local
		member         string
		err            string
	}{
		{"/data", "a/b.parq", "/data/a/b.parq", "", ""},
		{"/data/", "a/b.parq", "/data/a/b.parq", "", ""},
		{"file:///data%20x", "a/b.parq", "/data x/a/b.parq", "", ""},
		{"/data", "a//./b.parq", "/data/a/b.parq", "", ""},
		{"/data", "a/../b.parq", "/data/b.parq", "", ""},
		{"/data", "u/me/odd_#name/x_HASH.parq", "/data/u/me/odd_#name/x_HASH.parq", "", ""},
		{"/data", "a b/$HOME/~/µ.parq", "/data/a b/$HOME/~/µ.parq", "", ""},
		{"/data", "a?b;c.parq", "/data/a?b;c.parq", "", ""},
		{"/data", "a%20b.parq", "/data/a b.parq", "", ""},
		{"/data", "a%2fb.parq", "/data/a%2fb.parq", "", ""}, // lower case: no escape to Python
		{"/data", "100%.parq", "/data/100%.parq", "", ""},
		{"/data", "zips/a.zip#zip-path=x/y%20z.parq", "/data/zips/a.zip", "x/y z.parq", ""},
		{"/data", "zips/a.zip#zip-path=a=b", "/data/zips/a.zip", "a=b", ""},
		{"/data", "file:///ext%20dir/f%201.parq", "/ext dir/f 1.parq", "", ""},
		{"/data", "file:///x/a%2Bb%25%C3%A9.parq", "/x/a+b%é.parq", "", ""},
		{"/data", "file://localhost/x.parq", "/x.parq", "", ""},
		{"/data", "file:/x.parq", "/x.parq", "", ""},
		{"/data", "file:///z.zip#zip-path=m", "/z.zip", "m", ""},
		{"/data", "/abs/x y.parq", "/abs/x y.parq", "", ""},
		{"/data", "s3://bucket/a%20b", "s3://bucket/a%20b", "", ""},
		{"s3://bucket/root/", "a b/c#d/e.parq", "s3://bucket/root/a%20b/c%23d/e.parq", "", ""},
		{"s3://bucket/root", "z.zip#zip-path=m", "s3://bucket/root/z.zip", "m", ""},
		{"https://u:p@h/x", "a", "https://u:***@h/x/a", "", ""},

		{"/data", "../x", "", "", "leaves the datastore root"},
		{"/data", "a/../../x", "", "", "leaves the datastore root"},
		{"/data", "%2E%2E/x", "", "", "leaves the datastore root"},
		{"/data", "..", "", "", "leaves the datastore root"},
		{"/data", ".", "", "", "leaves the datastore root"},
		{"s3://b/r", "../x", "", "", "leaves the datastore root"},
		{"/data", "", "", "", "empty"},
		{"/data", "a\x00b", "", "", "NUL"},
		{"/data", "a%00b", "", "", "NUL"},
		{"/data", "a%20%zz", "", "", "invalid URL escape"},
		{"/data", "x.fits#hdu=3", "", "", "only a zip-path"},
		{"/data", "x.zip#zip-path=", "", "", "no member"},
		{"/data", "x#y", "", "", "only a zip-path"},
		{"/data", "file:rel/x", "", "", "is not absolute"},
		{"/data", "file://host/x", "", "", "on host host"},
	} {
		loc, err := resolveLocation(c.root, c.recorded, nil)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s in %s: %v, want %s", c.recorded, c.root, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s in %s: %v", c.recorded, c.root, err)
			continue
		}
		want := c.path
		if c.member != "" {
			want += "#zip-path=" + c.member
		}
		if loc.show() != want || loc.member != c.member || (loc.path != "") == strings.Contains(c.path, "://") {
			t.Errorf("%s in %s: %+v, want %s", c.recorded, c.root, loc, want)
		}
	}
}

func TestPathMaps(t *testing.T) {
	t.Parallel()
	maps := []PathMap{{"/old", "/new"}, {"/old/deep", "/deeper"}, {"s3://bucket/", "/mnt/bucket/"}, {"file:///uri%20x", "/y"}, {"https://h", "s3://b"}, {"/loc", "s3://b2/"}, {"/f", "file:///g%20h"}, {"file:///k%C3%A9%7e", "/k"}, {"/slash/", "/bare"}}
	for recorded, want := range map[string]string{
		"/old/x":            "/new/x",
		"/old":              "/new",
		"/older/x":          "/older/x",
		"/old/deep/x":       "/deeper/x",
		"file:///old/x%20y": "/new/x y",
		"file:///uri%20x/z": "/y/z",
		"s3://bucket/a/b":   "/mnt/bucket/a/b",
		"https://h/x":       "s3://b/x",
		"rel/x":             "/root/rel/x",
		// What is percent-encoded in URIs is not in paths.
		"file:///uri%20x/a%20b%25%2B": "/y/a b%+",
		"s3://bucket/a%20b%25/c%2B":   "/mnt/bucket/a b%/c+",
		"s3://bucket/a+b":             "/mnt/bucket/a+b",
		"/loc/a b":                    "s3://b2//a%20b",
		"/f/a b":                      "/g h/a b",
		"/ké~/a b":                    "/k/a b",
		"s3://bucket2/a":              "s3://bucket2/a",
		"/slash/x y":                  "/bare/x y", // the slash that OLD alone has stays
	} {
		loc, err := resolveLocation("/root", recorded, maps)
		if err != nil || loc.show() != want {
			t.Errorf("%s: %s, %v, want %s", recorded, loc.show(), err, want)
		}
	}
	if loc, err := resolveLocation("s3://bucket/d", "rel#/a b%?.parq", maps); err != nil || loc.path != "/mnt/bucket/d/rel#/a b%?.parq" {
		t.Errorf("a relative path in a mapped store: %+v, %v", loc, err)
	}
	for _, recorded := range []string{"s3://bucket/%2E%2E/x", "s3://bucket/a/../../x", "s3://bucket/%zz", "s3://bucket/a%00"} {
		if loc, err := resolveLocation("/root", recorded, maps); err == nil {
			t.Errorf("%s: %+v", recorded, loc)
		}
	}
	loc, err := resolveLocation("/old", "rel/x", maps)
	if err != nil || loc.path != "/new/rel/x" {
		t.Errorf("a mapped root: %+v, %v", loc, err)
	}
	for _, s := range []string{"", "a", "=b", "a="} {
		if m, err := ParsePathMap(s); err == nil {
			t.Errorf("%q is %v", s, m)
		}
	}
	if m, err := ParsePathMap("/a=/b=c"); err != nil || m != (PathMap{"/a", "/b=c"}) {
		t.Errorf("%v, %v", m, err)
	}
}

// TestSensiblePathMaps refuses what can have no effect, or two.
func TestSensiblePathMaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		maps []PathMap
		says string // "" where they are taken
	}{
		{[]PathMap{{"/a", "/b"}, {"/a/c", "/b"}, {"s3://a", "/b"}, {"/", "/b"}, {"/d/", "rel"}, {"file:///e%20f", "s3://g"}}, ""},
		{[]PathMap{{"/a", "/b"}, {"/a", "/b"}, {"/a/", "/b/"}, {"file:///a", "file:///b"}}, ""},
		{[]PathMap{{"/a", "/b"}, {"/a", "/c"}}, "/a is to be read from two places, /b and /c"},
		{[]PathMap{{"/a", "/b"}, {"/a/", "/c"}}, "/a/ is to be read from two places, /b and /c"},
		{[]PathMap{{"/a b", "/b"}, {"file:///a%20b", "/c"}}, "is to be read from two places, /b and /c"},
		{[]PathMap{{"s3://u:secret@a/", "/b"}, {"s3://u:secret@a", "/c"}}, "s3://u:***@a is to be read from two places"},
		{[]PathMap{{"a", "/b"}}, "a is neither an absolute path nor a URI"},
		{[]PathMap{{"s3:/a", "/b"}}, "s3:/a is neither"},
		{[]PathMap{{"file:a", "/b"}}, "file:a is neither"},
		{[]PathMap{{"/a/../b", "/c"}}, "no location begins with /a/../b: write it as /b"},
		{[]PathMap{{"/a//b", "/c"}}, "write it as /a/b"},
		{[]PathMap{{"file://far/a", "/c"}}, "names a file on host far"},
		{[]PathMap{{"/a", "file://far/a"}}, "names a file on host far"},
	} {
		var u *UsageError
		_, err := Options{PathMaps: c.maps}.withDefaults()
		if c.says == "" && err != nil || c.says != "" && (!errors.As(err, &u) || u.Option != "path-map" || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%v: %v, want %s", c.maps, err, c.says)
		}
	}
}

func TestExpandVars(t *testing.T) {
	t.Parallel()
	env := func(k string) string { return map[string]string{"A": "x", "A_1": "y"}[k] }
	for in, want := range map[string]string{"$A/b": "x/b", "${A}b": "xb", "$A_1": "y", "$B": "$B", "${B}": "${B}", "$": "$", "${A": "${A", "a$A$A": "axx", "$$A": "$x", "${}": "${}"} {
		if got := expandVars(in, env); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzPaths checks that no relative path leads out of its root, whatever is recorded.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"a/b.parq", "../x", "a/%2E%2E/%2E%2E/x", "file:///x", "z.zip#zip-path=../x", "s3://b/../x", "a#b/c", "/abs", "..", "%2e%2e/%2E./x", "a\\..\\b", "#", "%", "//x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, recorded string) {
		for _, root := range []string{"/data/root", "s3://bucket/root", "file:///data/root"} {
			loc, err := resolveLocation(root, recorded, nil)
			if err != nil || hasScheme(recorded) || path.IsAbs(recorded) || strings.HasPrefix(recorded, "%2F") {
				continue
			}
			if loc.path != "" && !strings.HasPrefix(loc.path, "/data/root/") || loc.path == "" && !strings.HasPrefix(loc.uri, "s3://bucket/root/") || strings.Contains(loc.uri, "/../") {
				t.Errorf("%q in %s leads to %+v", recorded, root, loc)
			}
		}
	})
}
