package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"fast-export/internal/pgtest"
)

// TestButler drives the command over a recorded repository; what it makes of every kind of one is the butler package's.
func TestButler(t *testing.T) {
	t.Parallel()
	repos := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "xzf", "../../butler/testdata/sqlite_plain.tar.gz", "-C", repos).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	repo := filepath.Join(repos, "sqlite_plain")
	dir := t.TempDir()
	pgtest.NoLeftovers(t, dir, "all.parquet", "some.parquet", "ids.parquet", "m.json", "text")
	run := func(args ...string) outcome { return call(t, nil, append([]string{"butler"}, args...)...) }
	all := filepath.Join(dir, "all.parquet")

	if got := run(all, repo, "*"); got.code != codeButler || !strings.Contains(got.stderr, "visit: 4") || !strings.Contains(got.stderr, "--skip-missing") {
		t.Errorf("a dataset that is not stored: %+v", got)
	}
	if _, err := os.Stat(all); err == nil {
		t.Error("a failed run left its output")
	}
	got := run(all, repo, "*", "--skip-missing", "--manifest", filepath.Join(dir, "m.json"))
	if got.code != 0 || !strings.Contains(got.stdout, "8 datasets found") || !strings.Contains(got.stdout, "1 missing") {
		t.Errorf("all datasets: %+v", got)
	}
	file := pgtest.ReadParquet(t, all)
	// pyarrow, and with it Butler and astropy, takes them from the Arrow schema alone.
	keys := string(pgtest.RunPython(t, "import sys, pyarrow.parquet as pq; print(sorted(k.decode() for k in pq.read_schema(sys.argv[1]).metadata or {}))", all))
	for _, want := range []string{"lsst::arrow::shape::mat", "table_meta_yaml"} {
		if !strings.Contains(keys, want) {
			t.Errorf("pyarrow sees no %s among the schema's metadata: %s", want, keys)
		}
	}
	var m struct {
		Rows, RowGroups int64
		SHA256          string
		Missing         int `json:"datasets_missing"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "m.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Rows != int64(len(file.Rows)) || len(m.SHA256) != 64 || m.Missing != 1 {
		t.Errorf("manifest %s (%v), %d rows in the file", text, err, len(file.Rows))
	}

	// The ids of the file's own first two rows, as text, select these two.
	id := -1
	for i, f := range file.Fields {
		if f.Name == "diaSourceId" {
			id = i
		}
	}
	writeIDs(t, filepath.Join(dir, "ids.parquet"), file.Rows[0][id].(string), file.Rows[1][id].(string))
	some := filepath.Join(dir, "some.parquet")
	got = run(some, repo, "*", "--skip-missing", "--filter-ids", filepath.Join(dir, "ids.parquet"), "--filter-column", "obssubid", "--add-data-id", "--columns", "ra,rate", "--silent")
	if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "2 rows, ") {
		t.Errorf("two ids: %+v", got)
	}
	picked := pgtest.ReadParquet(t, some)
	if len(picked.Rows) != 2 || picked.Fields[0].Name != "ra" || len(picked.Fields) < 3 {
		t.Errorf("two ids gave %d rows of %+v", len(picked.Rows), picked.Fields)
	}
	writeIDs(t, filepath.Join(dir, "ids.parquet"), "12", "x12")
	if got = run(some, repo, "*", "--filter-ids", filepath.Join(dir, "ids.parquet")); got.code != codeValue || !strings.Contains(got.stderr, "x12") || !strings.Contains(got.stderr, "obssubid") {
		t.Errorf("a bad id: %+v", got)
	}

	if got = run(filepath.Join(dir, "none"), repo, "*", "--dry-run"); got.code != 0 || strings.Count(got.stdout, "\n") != 9 || !strings.Contains(got.stdout, "visit=3") {
		t.Errorf("dry run: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{codeUsage, "COLLECTION is missing", []string{all, repo}},
		{codeUsage, "unexpected argument four", []string{all, repo, "*", "four"}},
		{codeButler, "nope", []string{all, repo, "nope"}},
		{codeButler, "nowhere", []string{all, filepath.Join(dir, "nowhere"), "*"}},
		{codeButler, "dia_source_visit", []string{all, repo, "*", "--dataset-type", "dia_sourse_visit"}},
		{codeUsage, "nonesuch", []string{all, repo, "*", "--where", "nonesuch = 1"}},
		{codeUsage, "--filter-ids", []string{all, repo, "*", "--target-column", "id"}},
		{codeTarget, "text", []string{filepath.Join(dir, "text"), repo, "*"}},
		{codeTarget, "all.parquet", []string{all, repo, "*", "--no-clobber"}},
		{codeUsage, "--schema-mode", []string{all, repo, "*", "--schema-mode", "loose"}},
		{codeUsage, "--path-map", []string{all, repo, "*", "--path-map", "x"}},
	} {
		if got := run(c.args...); got.code != c.code || !strings.Contains(got.stderr, c.says) {
			t.Errorf("%v: got %+v, want code %d and %q", c.args, got, c.code, c.says)
		}
	}
}

// writeIDs makes a Parquet file with a text column obssubid.
func writeIDs(t *testing.T, path string, ids ...string) {
	t.Helper()
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.AppendValues(ids, nil)
	schema := arrow.NewSchema([]arrow.Field{{Name: "obssubid", Type: arrow.BinaryTypes.String}}, nil)
	rec := array.NewRecordBatch(schema, []arrow.Array{b.NewArray()}, int64(len(ids)))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
