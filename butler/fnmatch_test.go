package butler

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestGlobs compares patterns with what Python's fnmatch.fnmatchcase matches, recorded in testdata/fnmatch.json.
func TestGlobs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/fnmatch.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Names []string
		Cases []struct {
			Pattern string
			Matches []string
		}
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		glob := parseGlob(c.Pattern)
		for _, n := range g.Names {
			if got, want := glob.match(n), slices.Contains(c.Matches, n); got != want {
				t.Errorf("%q matches %q: %t, want %t", c.Pattern, n, got, want)
			}
		}
	}
	if !parseGlob(strings.Repeat("a*", 50) + "b").match(strings.Repeat("a", 5000) + "b") {
		t.Error("no match")
	}
}

func TestIsPattern(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{"a": false, "*": true, "a?": true, "[ab]": true, "[": false, "]a[": false, "a[": false, "[]": true, "": false} {
		if isPattern(s) != want {
			t.Errorf("%q is a pattern: %t", s, !want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	all := []string{"dia_source_visit", "dia_source_dayobs", "object_patch", "visit_table", "dia_object"}
	for typed, want := range map[string]string{
		"dia_source_vist": "dia_source_visit", "DIA_SOURCE_VISIT": "dia_source_visit", "dia_source": "dia_source_dayobs", "zzzzzz": "", "visit": "",
	} {
		got := nearest(typed, all)
		switch {
		case typed == "visit":
			if !slices.Contains(got, "visit_table") || !slices.Contains(got, "dia_source_visit") {
				t.Errorf("%s: %v", typed, got)
			}
		case want == "" && len(got) > 0, want != "" && !slices.Contains(got, want):
			t.Errorf("%s: %v, want %s", typed, got, want)
		}
	}
}

func TestSplitCommas(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"a,b": {"a", "b"}, " a , b ,, ": {"a", "b"}, "a[,]b,c": {"a[,]b", "c"}, "a[b,c": {"a[b", "c"}, ",": nil, "": nil, "a]b,c": {"a]b", "c"}, "[a,b],[c,d]": {"[a,b]", "[c,d]"},
	} {
		if got := splitCommas(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*[b-c]?", "axbz")
	f.Add("[]", "[!")
	f.Fuzz(func(_ *testing.T, pattern, name string) {
		if len(pattern)*len(name) < 1<<16 {
			parseGlob(pattern).match(name)
		}
		splitCommas(pattern)
		nearest(pattern, []string{name})
	})
}
