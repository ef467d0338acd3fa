package butler

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

type universeCase struct {
	Version int             `json:"version"`
	JSON    json.RawMessage `json:"json"`
	Order   []string        `json:"order"`
	Groups  []struct {
		Names    []string `json:"names"`
		Required []string `json:"required"`
		Implied  []string `json:"implied"`
		Error    string   `json:"error"`
	} `json:"groups"`
}

func universeCases(t testing.TB) []universeCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/universes.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []universeCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func names(es []*element) []string {
	out := []string{}
	for _, e := range es {
		out = append(out, e.name)
	}
	return out
}

// TestUniverses compares the order of all universes that exist, and what groups consist of, with Python.
func TestUniverses(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, c := range universeCases(t) {
		u, err := parseUniverse(c.JSON)
		if err != nil {
			t.Fatalf("universe %d: %v", c.Version, err)
		}
		if u.version != c.Version || !slices.Equal(u.order, c.Order) {
			t.Errorf("universe %d: version %d, order\n%v, want\n%v", c.Version, u.version, u.order, c.Order)
		}
		for _, g := range c.Groups {
			got, err := u.group(g.Names)
			switch {
			case g.Error != "":
				if err == nil {
					t.Errorf("universe %d: no error for %v, Python has %s", c.Version, g.Names, g.Error)
				}
			case err != nil:
				t.Errorf("universe %d: %v", c.Version, err)
			case !slices.Equal(names(got.required), g.Required) || !slices.Equal(names(got.implied), g.Implied):
				t.Errorf("universe %d, %v: %v and %v, want %v and %v", c.Version, g.Names, names(got.required), names(got.implied), g.Required, g.Implied)
			default:
				if _, err := u.impliedJoins(got); err != nil {
					t.Errorf("universe %d, %v: %v", c.Version, g.Names, err)
				}
			}
		}
		seen++
	}
	if seen != 9 {
		t.Errorf("%d universes, want 0 to 8", seen)
	}
}

func TestImpliedJoins(t *testing.T) {
	t.Parallel()
	for _, c := range universeCases(t) {
		u, err := parseUniverse(c.JSON)
		if err != nil {
			t.Fatal(err)
		}
		g, err := u.group([]string{"visit"})
		if err != nil {
			t.Fatal(err)
		}
		joins, err := u.impliedJoins(g)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, j := range joins {
			got = append(got, j.table.name+"("+strings.Join(j.gives, ",")+")")
		}
		gives := "day_obs,physical_filter"
		switch {
		case c.Version < 2:
			gives = "physical_filter,visit_system"
		case c.Version < 6:
			gives = "physical_filter"
		}
		want := "visit(" + gives + ") physical_filter(band)"
		if s := strings.Join(got, " "); s != want {
			t.Errorf("universe %d: %s, want %s", c.Version, s, want)
		}
		both, err := u.group([]string{"visit", "exposure"})
		if err != nil {
			t.Fatal(err)
		}
		if m := u.mandatoryJoins(both); len(m) != 1 || m[0].name != "visit_definition" {
			t.Errorf("universe %d: visit and exposure pass through %v", c.Version, names(m))
		}
		if m := u.mandatoryJoins(g); len(m) != 0 {
			t.Errorf("universe %d: visit passes through %v", c.Version, names(m))
		}
	}
}

func TestBadUniverses(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"nothing":          ``,
		"no version":       `{"elements": {"a": {"keys": [{"name": "id", "type": "int"}]}}}`,
		"no elements":      `{"version": 1}`,
		"unknown requires": `{"version": 1, "elements": {"a": {"keys": [{"name": "id", "type": "int"}], "requires": ["b"]}}}`,
		"circle":           `{"version": 1, "elements": {"a": {"keys": [{"name": "id", "type": "int"}], "requires": ["b"]}, "b": {"keys": [{"name": "id", "type": "int"}], "implies": ["a"]}}}`,
		"key of a float":   `{"version": 1, "elements": {"a": {"keys": [{"name": "id", "type": "float"}]}}}`,
		"view of nothing":  `{"version": 1, "elements": {"a": {"keys": [{"name": "id", "type": "int"}], "implied_union_target": "b"}}}`,
		"many levels":      `{"version": 1, "skypix": {"x": {"class": "y", "max_level": 1000000000}}, "elements": {"a": {"keys": [{"name": "id", "type": "int"}]}}}`,
		"a level twice":    `{"version": 1, "skypix": {"a": {"class": "y", "max_level": 1}}, "elements": {"a1": {"keys": [{"name": "id", "type": "int"}]}}}`,
		"nested for ever":  `{"version": 1, "elements": {"a": {"storage": ` + strings.Repeat(`{"nested": `, 100) + `{}` + strings.Repeat(`}`, 100) + `}}}`,
	} {
		u, err := parseUniverse([]byte(raw))
		if err == nil && name != "nested for ever" {
			t.Errorf("%s: no error, %v", name, u.order)
		}
	}
}

func FuzzUniverse(f *testing.F) {
	for _, c := range universeCases(f) {
		f.Add([]byte(c.JSON))
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		u, err := parseUniverse(raw)
		if err != nil {
			return
		}
		for _, n := range u.order {
			if g, err := u.group([]string{n}); err == nil {
				_, _ = u.impliedJoins(g)
				u.mandatoryJoins(g)
			}
		}
	})
}
