package butler

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// visitGroup is the group of visit and detector in the newest universe: instrument, detector, visit; band, day_obs, physical_filter.
func visitGroup(t testing.TB) dimensionGroup {
	t.Helper()
	cases := universeCases(t)
	u, err := parseUniverse(cases[len(cases)-1].JSON)
	if err != nil {
		t.Fatal(err)
	}
	g, err := u.group([]string{"visit", "detector"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func number(n int64) value { return value{kind: intValue, n: n} }
func word(s string) value  { return value{kind: textValue, s: s} }

func TestWhere(t *testing.T) {
	t.Parallel()
	g := visitGroup(t)
	id := []value{word("Cam1"), number(3), number(105), word("g"), number(20250101), word("g_01")}
	unknown := []value{word("Cam1"), number(3), number(105), {}, {}, {}}
	for _, c := range []struct {
		text string
		want truth
		// with band, day_obs and physical_filter not there
		damaged truth
	}{
		{"visit > 100", isTrue, isTrue},
		{"visit > 105", isFalse, isFalse},
		{"visit >= 105 and visit <= 105", isTrue, isTrue},
		{"visit = 105 AND band IN ('g','r')", isTrue, isUnknown},
		{"visit = 104 AND band IN ('g','r')", isFalse, isFalse},
		{"band in ('r', \"z\")", isFalse, isUnknown},
		{"band not in ('r')", isTrue, isUnknown},
		{"not band in ('r')", isTrue, isUnknown},
		{"NOT visit = 105 OR detector = 3", isTrue, isTrue},
		{"NOT (visit = 105 OR detector = 3)", isFalse, isFalse},
		{"visit = 1 OR visit = 105 AND detector = 4", isFalse, isFalse},
		{"(visit = 1 OR visit = 105) AND detector = 3", isTrue, isTrue},
		{"band = 'g' OR visit = 105", isTrue, isTrue},
		{"band = 'g' OR visit = 1", isTrue, isUnknown},
		{"instrument = 'Cam1'", isTrue, isTrue},
		{"instrument != 'Cam1'", isFalse, isFalse},
		{"instrument < 'Cam2'", isTrue, isTrue},
		{"instrument = 'cam1'", isFalse, isFalse},
		{"100 < visit", isTrue, isTrue},
		{"'r' > band", isTrue, isUnknown},
		{"visit > 104.5", isTrue, isTrue},
		{"visit < 105.5 AND visit > -1e3", isTrue, isTrue},
		{"visit = 105.0", isTrue, isTrue},
		{"visit = 1.05e2", isTrue, isTrue},
		{"visit = 105.00000000000000001", isFalse, isFalse},
		{"visit < 99999999999999999999", isTrue, isTrue},
		{"visit > -99999999999999999999", isTrue, isTrue},
		{"visit IN (1, 105.5, 99999999999999999999)", isFalse, isFalse},
		{"visit IN (1, 105)", isTrue, isTrue},
		{"visit IN (1, 105.0)", isTrue, isTrue},
		{"day_obs=20250101", isTrue, isUnknown},
		{"physical_filter='g_01'AND visit=105", isTrue, isUnknown},
		{"visit=+105", isTrue, isTrue},
		{"detector != visit", isTrue, isTrue},
		{"visit > day_obs", isFalse, isUnknown},
		{"band < physical_filter", isTrue, isUnknown},
		{"instrument = 'it''s'", isFalse, isFalse},
		{"not not visit = 105", isTrue, isTrue},
		{"\tvisit\n=\r105 ", isTrue, isTrue},
	} {
		e, err := parseWhere(c.text, g)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := e.eval(id); got != c.want {
			t.Errorf("%s: %d, want %d", c.text, got, c.want)
		}
		if got := e.eval(unknown); got != c.damaged {
			t.Errorf("%s without implied values: %d, want %d", c.text, got, c.damaged)
		}
	}
}

func TestWhereErrors(t *testing.T) {
	t.Parallel()
	g := visitGroup(t)
	for text, want := range map[string]string{
		" ":                         "expected a dimension, a number or a quoted text at the end",
		"visit":                     "expected =, !=, <, <=, >, >= or IN at the end",
		"visit >":                   "expected a dimension, a number or a quoted text at the end",
		"visit > 100 band = 'g'":    "expected AND, OR or the end, found band at character 13",
		"(visit > 100":              "expected a closing parenthesis at the end",
		"visit > 100)":              "expected AND, OR or the end, found ) at character 12",
		"visit IN 5":                "expected an opening parenthesis, found 5 at character 10",
		"visit IN ()":               "expected a number or a quoted text, found ) at character 11",
		"visit IN (1 2)":            "expected a comma or a closing parenthesis, found 2 at character 13",
		"visit IN (1,":              "expected a number or a quoted text at the end",
		"visit IN (visit)":          "expected a number or a quoted text, found visit at character 11",
		"visit NOT 5":               "expected IN, found 5 at character 11",
		"5 IN (5)":                  "a dimension must stand before IN at character 1",
		"5 = 5":                     "no dimension in the comparison at character 1",
		"tract = 5":                 "unknown dimension tract: the dataset type has instrument, detector, visit, band, day_obs, physical_filter at character 1",
		"Visit = 5":                 "unknown dimension Visit: the dataset type has instrument, detector, visit, band, day_obs, physical_filter at character 1",
		"visit.exposure_time > 5":   "visit.exposure_time is no dimension: only dimensions themselves can be tested, and the dataset type has instrument, detector, visit, band, day_obs, physical_filter at character 1",
		"visit = '105'":             "dimension visit is an integer, compared with the text '105' at character 9",
		"band = 5":                  "dimension band is a text, compared with a number (put it in quotes) at character 8",
		"band IN ('g', 5)":          "dimension band is a text, compared with a number (put it in quotes) at character 15",
		"band = visit":              "band and visit have different types at character 6",
		"band = 'g":                 "a quoted text is not closed at character 8",
		"visit == 5":                "write = for == at character 7",
		"visit <> 5":                "write != for <> at character 7",
		"visit ; 5":                 `unexpected ";" at character 7`,
		"visit = µ":                 `unexpected "µ" at character 9`,
		"visit = 5x":                "5x is no number at character 9",
		"visit = 1e999999999":       "1e999999999 is no number that can be compared at character 9",
		"visit = 1..5":              "1..5 is no number that can be compared at character 9",
		"visit = 0x10":              "0x10 is no number at character 9",
		"visit = 1_000":             "1_000 is no number at character 9",
		strings.Repeat("(", 100000): "nested too deeply",
		strings.Repeat("not ", 5000) + "visit = 1": "nested too deeply",
	} {
		_, err := parseWhere(text, g)
		var usage *UsageError
		if !errors.As(err, &usage) || usage.Option != "where" || !strings.Contains(usage.Reason, want) {
			t.Errorf("%s: %v, want %s", excerpt(text), err, want)
		}
	}
	if _, err := parseWhere("visit = 1", dimensionGroup{}); err == nil || !strings.Contains(err.Error(), "the dataset type has no dimensions") {
		t.Error(err)
	}
	if _, err := parseWhere("visit = 0"+strings.Repeat(" or visit = 1", 50000), g); err != nil {
		t.Errorf("many tests: %v", err)
	}
}

// TestWhereProperty compares random expressions with a plain evaluation of their pieces.
func TestWhereProperty(t *testing.T) {
	t.Parallel()
	g := visitGroup(t)
	seed := uint64(11)
	rng := rand.New(rand.NewPCG(seed, 0))
	var id []value
	var build func(depth int) (string, bool)
	build = func(depth int) (string, bool) {
		if depth == 0 || rng.IntN(4) == 0 {
			d := []int{1, 2, 4}[rng.IntN(3)]
			k := id[d].n + int64(rng.IntN(3)) - 1
			op := []string{"=", "!=", "<", "<=", ">", ">="}[rng.IntN(6)]
			v := id[d].n
			want := map[string]bool{"=": v == k, "!=": v != k, "<": v < k, "<=": v <= k, ">": v > k, ">=": v >= k}[op]
			return fmt.Sprintf("%s %s %d", g.all()[d].name, op, k), want
		}
		a, x := build(depth - 1)
		switch rng.IntN(3) {
		case 0:
			return "NOT (" + a + ")", !x
		case 1:
			b, y := build(depth - 1)
			return "(" + a + ") and (" + b + ")", x && y
		}
		b, y := build(depth - 1)
		return "(" + a + ") Or (" + b + ")", x || y
	}
	for range 2000 {
		id = []value{word("Cam1"), number(int64(rng.IntN(5))), number(int64(rng.IntN(5))), word("g"), number(int64(rng.IntN(5))), word("f")}
		text, want := build(4)
		e, err := parseWhere(text, g)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, text, err)
		}
		if got := e.eval(id) == isTrue; got != want {
			t.Fatalf("seed %d: %s over %v is %t, want %t", seed, text, id, got, want)
		}
	}
}

// TestLongWhere has more tests than a database takes: the rest are done here.
func TestLongWhere(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	list := func(n int) string {
		b := strings.Builder{}
		for i := range n - 2 {
			fmt.Fprintf(&b, "%d, ", 1000+i)
		}
		return "visit IN (" + b.String() + "3, 6) AND "
	}
	for name, c := range map[string]struct{ where, want string }{
		"comparisons": {strings.Repeat("visit != 100 AND ", 1100) + "visit != 1", "[2 3 6]"},
		"lists":       {strings.Repeat(list(inChunk), 3) + "visit != 6", "[3]"},
		"long lists":  {list(inChunk+1) + list(3000) + "visit > 3", "[6]"},
		"texts":       {strings.Repeat("instrument = 'Cam1' AND ", 1100) + "instrument = 'Cam2'", "[]"},
		"not UTF-8":   {"instrument = 'Cam1\xff'", "[]"},
	} {
		e, err := Open(t.Context(), Options{Repo: repo, Collections: []string{"u/me/run1"}, Where: c.where})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := []any{}
		for d := range e.Datasets() {
			got = append(got, d.DataID[1].Value)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: visits %v, want %s", name, got, c.want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzWhere(f *testing.F) {
	for _, s := range []string{"visit > 100 AND band IN ('g','r')", "not (a = 'it''s')", "visit NOT IN (1, 2.5, -3e2)", `band = "x" or 1 < visit`, "((((", "visit..x = 1e400"} {
		f.Add(s)
	}
	g := visitGroup(f)
	id := []value{word("Cam1"), number(3), number(105), word("g"), {}, word("g_01")}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseWhere(text, g)
		if err != nil {
			if strings.Contains(err.Error(), "\n") && !strings.Contains(text, "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		e.eval(id)
		uses(e, 3)
		q := (&registry{}).statement()
		pushDown(q, e, g.required, maxPushed)
		if strings.Count(q.sql.String(), "?") != len(q.args) {
			t.Errorf("%s: %d arguments for %s", text, len(q.args), q.sql.String())
		}
	})
}
