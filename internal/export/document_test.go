package export

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Neither document takes the place of an output, under whatever name it is given, nor of anything that is not its like.
func TestDocumentsSpareOutputs(t *testing.T) {
	t.Parallel()
	dir, links := t.TempDir(), t.TempDir()
	link := filepath.Join(links, "d")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	jobs := Config{Jobs: []Job{{Out: at("o.parquet")}}}
	schema := Config{Schema: &Schema{Dir: dir}}
	manifest, report := ManifestDocument.start()+"1}", ReportDocument.start()+`"v"}`
	for _, d := range []Document{ManifestDocument, ReportDocument} {
		other := map[Document]string{ManifestDocument: report, ReportDocument: manifest}[d]
		own := map[Document]string{ManifestDocument: manifest, ReportDocument: report}[d]
		for name, text := range map[string]string{"own": own, "other": other, "text": "mine"} {
			if err := os.WriteFile(at(name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			path string
			cfg  Config
			want string
		}{
			{at("new.json"), jobs, ""},
			{at("own"), jobs, ""},
			{at("own"), schema, ""},
			{at("o.parquet"), jobs, "it is an output too"},
			{filepath.Join(link, "o.parquet"), jobs, "it is an output too"},
			{at("t.parquet"), schema, "it may be an output too: name it otherwise than the tables' files"},
			{filepath.Join(link, "t.parquet"), schema, "it may be an output too: name it otherwise than the tables' files"},
			{filepath.Join(links, "t.parquet"), schema, ""},
			{at("other"), jobs, "it is there already and no " + string(d) + ": name another file, or remove it"},
			{at("text"), schema, "it is there already and no " + string(d) + ": name another file, or remove it"},
			{link, jobs, "it is there already and no regular file"},
		} {
			err := d.Check(c.path, c.cfg)
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != string(d)+" "+c.path+": "+c.want) {
				t.Errorf("%s at %s: got %v", d, c.path, err)
			}
		}
		// What became an output meanwhile is not replaced either.
		if err := d.Write(at("text"), map[string]string{}); err == nil || !strings.Contains(err.Error(), "it begins with") {
			t.Errorf("got %v", err)
		}
		v := map[Document]any{ManifestDocument: &CatalogManifest{Version: 1}, ReportDocument: struct {
			V string `json:"fast_export_version"`
		}{"v"}}[d]
		err := d.Write(at("text"), v)
		if e, ok := errors.AsType[*DocumentError](err); !ok || e.Document != d || !strings.Contains(err.Error(), "no "+string(d)) {
			t.Errorf("got %v", err)
		}
		if text, err := os.ReadFile(at("text")); err != nil || string(text) != "mine" {
			t.Errorf("%q, %v", text, err)
		}
		if err := d.Write(at("own"), v); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(at("own")); err != nil || !strings.HasPrefix(string(text), d.start()) {
			t.Errorf("%q, %v", text, err)
		}
	}
	if left, err := filepath.Glob(at(".*")); err != nil || len(left) > 0 {
		t.Errorf("left are %q, %v", left, err)
	}
}

func TestSamePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("d"), 0o777), os.Symlink("d", at("link")), os.WriteFile(at("a"), nil, 0o666), os.Link(at("a"), at("b")), os.WriteFile(at("c"), nil, 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"x", "d/../x", true},
		{"d/x", "link/x", true},
		{"a", "b", true},
		{"a", "c", false},
		{"d/x", "link/y", false},
		{"d/x", "x", false},
		{"none/x", "nowhere/x", false},
	} {
		if got := SamePath(dir+"/"+c.a, dir+"/"+c.b); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}
