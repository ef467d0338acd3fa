package cli

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for v, want := range map[string]int64{
		"1GiB": 1 << 30, "64MB": 64e6, "64 MB": 64e6, "64MiB": 64 << 20, "1.5GiB": 3 << 29, "8192": 8192, "8kB": 8000, "1kib": 1024, "1,000": 1000, "2g": 2e9,
		"9223372036854775807": 1<<63 - 1,
	} {
		var n int64
		if err := (size{&n, 1, 0}).Set(v); err != nil || n != want {
			t.Errorf("%q: got %d, %v, want %d", v, n, err, want)
		}
	}
	for _, v := range []string{"", "x", "-1", "1e3", "1 potato", "0", "-5MB", "9223372036854775808", "1EiB2", "0x10", "NaN", "Inf", "1..5MB"} {
		var n int64
		if err := (size{&n, 1, 0}).Set(v); err == nil {
			t.Errorf("%q: accepted as %d", v, n)
		}
	}
	for n, want := range map[int64]string{1 << 30: "1GiB", 64e6: "64MB", 64 << 20: "64MiB", 8192: "8KiB", 1: "1", 1000: "1kB", 1001: "1001"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestTimeouts(t *testing.T) {
	for v, want := range map[string]time.Duration{"0": 0, "0s": 0, "60s": time.Minute, "1m30s": 90 * time.Second, "500ms": time.Second / 2} {
		var d time.Duration
		if err := (timeout{&d}).Set(v); err != nil || d != want {
			t.Errorf("%q: got %v, %v", v, d, err)
		}
	}
	for _, v := range []string{"", "60", "-1s", "1us", "600h", "soon"} {
		var d time.Duration
		if err := (timeout{&d}).Set(v); err == nil {
			t.Errorf("%q: accepted as %v", v, d)
		}
	}
}

func TestSplitNames(t *testing.T) {
	for v, want := range map[string][]string{
		"id":             {"id"},
		"id,ra , dec":    {"id", "ra", "dec"},
		`"a,b",c`:        {`"a,b"`, "c"},
		`"a"",b",c`:      {`"a"",b"`, "c"},
		`"Mixed Case",x`: {`"Mixed Case"`, "x"},
		"":               nil, ",": nil, "a,": nil, "a,,b": nil, `"a`: nil,
	} {
		got, err := splitNames(v)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%q: got %q, %v, want %q", v, got, err, want)
		}
	}
}

func TestCutName(t *testing.T) {
	for v, want := range map[string][2]string{
		"ra=text":               {"ra", "text"},
		"RA=text":               {"ra", "text"},
		"É=text":                {"É", "text"},
		`"RA"=text`:             {"RA", "text"},
		`"a""b=c"=decimal(5,2)`: {`a"b=c`, "decimal(5,2)"},
		"ra":                    {}, "=text": {}, `"ra=text`: {}, `""=text`: {}, `"ra" text`: {},
	} {
		name, kind, err := cutName(v, "type")
		if name != want[0] || kind != want[1] || (err != nil) != (want[0] == "") {
			t.Errorf("%q: got %q, %q, %v, want %q", v, name, kind, err, want)
		}
	}
}

func TestNearest(t *testing.T) {
	flags := []string{"table", "columns", "where", "out", "row-group-size", "keep-temp", "parallel", "port"}
	for word, want := range map[string]string{
		"tabel": "table", "tables": "table", "colums": "columns", "row-groupsize": "row-group-size", "paralell": "parallel", "prt": "port",
		"keeptemp": "keep-temp", "rowgroup_size": "row-group-size", "x": "", "": "", "frobnicate": "", "zz": "",
	} {
		if got := nearest(word, flags); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"ca", "abc", 3}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"tabel", "table", 1}, {"é", "e", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestEveryFlagSaysWhatItIs(t *testing.T) {
	for _, c := range append([]command{exportCommand()}, subcommands()...) {
		f := newFlags(c.name)
		c.new(f)
		grouped := 0
		for _, g := range f.grouped() {
			grouped += len(g.flags)
			for _, fl := range g.flags {
				form, text := cutForm(fl)
				if text == "" || (form == "") != (fl.Value.Type() == "bool") {
					t.Errorf("--%s has the form %q and the text %q", fl.Name, form, text)
				}
				if strings.Contains(text, "`") {
					t.Errorf("--%s: a form must come first: %q", fl.Name, fl.Usage)
				}
			}
		}
		if grouped != len(f.names()) {
			t.Errorf("%q: %d flags in groups, of %d", c.name, grouped, len(f.names()))
		}
	}
}
