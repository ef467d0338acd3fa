package cli

import (
	"encoding/json"
	"fmt"
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
	manifestOf := func() (m map[string]any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, "m.json"))
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		if wrong := validate(t, jsonText(t, butlerManifestSchema(t)), m); wrong != "" {
			t.Errorf("%s\nis not what its schema says: %s", text, wrong)
		}
		return m
	}
	manifestOf()

	// The ids of the file's own first two rows, as text, select these two.
	id := -1
	for i, f := range file.Fields {
		if f.Name == "diaSourceId" {
			id = i
		}
	}
	writeIDs(t, filepath.Join(dir, "ids.parquet"), file.Rows[0][id].(string), file.Rows[1][id].(string))
	some := filepath.Join(dir, "some.parquet")
	got = run(some, repo, "*", "--skip-missing", "--filter-ids", filepath.Join(dir, "ids.parquet"), "--filter-column", "obssubid", "--add-data-id", "--columns", "ra,rate", "--silent", "--manifest", filepath.Join(dir, "m.json"), "--where", "visit < 100", "--schema-mode", "union")
	if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "2 rows, ") {
		t.Errorf("two ids: %+v", got)
	}
	m2 := manifestOf()
	if set := fmt.Sprint(m2["where"], " ", m2["filter_ids"], m2["settings"]); !strings.HasPrefix(set, "visit < 100 2 map[add_data_id:true columns:[ra rate] compression:zstd:1 filter_column:obssubid filter_ids_file:"+dir+"/ids.parquet find_first:false keep_duplicates:false memory_bytes:") ||
		!strings.Contains(set, "schema_mode:union skip_missing:true target_column:diaSourceId") {
		t.Errorf("%v", set)
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

// TestButlerIsReadBack lets Butler and astropy read what the command wrote: the same rows bit for bit, units, descriptions, shapes and
// widths as butler.get gives them for the datasets, and a Butler that takes the file in as a dataset gives them again.
func TestButlerIsReadBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"sqlite_plain", "zip"} {
		if out, err := exec.CommandContext(t.Context(), "tar", "xzf", "../../butler/testdata/"+name+".tar.gz", "-C", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	ids, none := filepath.Join(dir, "ids.parquet"), filepath.Join(dir, "none.parquet")
	writeIDs(t, ids, "2000000000001", "2000000000004", "4000000000000")
	writeIDs(t, none, "5")
	for repo, outputs := range map[string][][]string{
		"sqlite_plain": {
			{`{"collections": ["u/me/run1"]}`, "u/me/run1"},
			{`{"collections": ["u/me/run1"], "ids": [2000000000001, 2000000000004, 4000000000000]}`, "u/me/run1", "--filter-ids", ids, "--filter-column", "obssubid"},
			{`{"collections": ["u/me/run1"], "columns": ["band", "mat", "ra"]}`, "u/me/run1", "--columns", "band,mat,ra"},
			{`{"collections": ["u/me/run1"], "columns": ["ra"], "data_id": true}`, "u/me/run1", "--columns", "ra", "--add-data-id"},
			{`{"collections": ["u/me/outer"], "find_first": true, "where": "instrument = 'Cam1' AND visit < 4"}`, "u/me/outer", "--find-first", "--where", "visit < 4"},
			{`{"collections": ["u/me/run1"], "type": "source_df"}`, "u/me/run1", "--dataset-type", "source_df"},
			{`{"collections": ["u/me/run1"], "type": "tab_numpy"}`, "u/me/run1", "--dataset-type", "tab_numpy"},
			{`{"collections": ["u/me/run1"], "type": "object_patch"}`, "u/me/run1", "--dataset-type", "object_patch"},
			{`{"collections": ["u/me/calib"], "type": "calib_tab"}`, "u/me/calib", "--dataset-type", "calib_tab"},
			{`{"collections": ["u/me/run1"], "ids": [5]}`, "u/me/run1", "--filter-ids", none},
		},
		"zip": {{`{"collections": ["u/me/run2"]}`, "u/me/run2"}},
	} {
		t.Run(repo, func(t *testing.T) {
			t.Parallel()
			args := []string{"../../butler/testdata/judge.py", filepath.Join(dir, repo)}
			for i, o := range outputs {
				file := filepath.Join(dir, fmt.Sprintf("%s%d.parquet", repo, i))
				if got := call(t, nil, append([]string{"butler", file, filepath.Join(dir, repo), o[1], "--silent"}, o[2:]...)...); got.code != 0 || got.stderr != "" {
					t.Fatalf("%v: %+v", o, got)
				}
				args = append(args, file, o[0])
			}
			said, err := exec.CommandContext(t.Context(), pgtest.Python(t), args...).CombinedOutput()
			if n := strings.Count(string(said), "same\n"); err != nil || n != len(outputs) {
				t.Errorf("%d of %d are the same (%v):\n%s", n, len(outputs), err, said)
			}
			if repo == "sqlite_plain" {
				pgtest.RunPython(t, takeIn, filepath.Join(dir, "taken"), filepath.Join(dir, "sqlite_plain0.parquet"), filepath.Join(dir, repo))
			}
		})
	}
}

// takeIn ingests the file argv[2] into a new repository argv[1], and compares what it gives with the first dataset of argv[3].
const takeIn = `
import shutil, sys
import numpy as np
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
new, path, old = sys.argv[1:]
with Butler.from_config(old) as b:
    refs = b.registry.queryDatasets("dia_source_visit", collections="u/me/run1")
    model = [b.get(r) for r in sorted(refs, key=lambda r: r.dataId["visit"])]
model = [t for t in model if len(t)]
Butler.makeRepo(new)
with Butler.from_config(new, writeable=True, run="u/taken") as b:
    t = DatasetType("catalog", (), "ArrowAstropy", universe=b.dimensions)
    b.registry.registerDatasetType(t)
    ref = DatasetRef(t, b.registry.expandDataId({}), run="u/taken")
    shutil.copy(path, path + ".parq")  # the one ending that ParquetFormatter takes
    b.ingest(FileDataset(path + ".parq", [ref], formatter="lsst.daf.butler.formatters.parquet.ParquetFormatter"), transfer="move")
    got = b.get(ref)
    frame = b.get(ref, storageClass="ArrowTable")
    assert len(got) == sum(len(t) for t in model) == frame.num_rows, len(got)
    assert b.get(ref.makeComponentRef("rowcount")) == len(got)
    for name in model[0].colnames:
        c, m = got[name], model[0][name]
        assert (c.unit, c.description, c.shape[1:], c.dtype.kind) == (m.unit, m.description, m.shape[1:], m.dtype.kind), (name, c.info, m.info)
    assert str(got["ra"].unit) == "deg" and got["ra"].description == "Right ascension, ICRS" and got["mat"].shape[1:] == (2, 3)
    assert np.array_equal(got["diaSourceId"], np.concatenate([t["diaSourceId"] for t in model]))
`

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

// TestRegistryConnection holds the connection to a registry to libpq's rules: what the repository says wins, then the service, then the
// environment.
func TestRegistryConnection(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	services := write(t, dir, "services", "[reg]\nhost=from-service\nport=5555\nuser=su\npassword=sp\n[bare]\nhost=bare-service\n")
	pass := write(t, dir, "pgpass", "*:*:*:*:filed\n")
	loose := write(t, dir, "loose", "*:*:*:*:filed\n")
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		own     map[string]string
		env     []string
		want    string // user:password@host:port/dbname
		tried   string
		warning string
		err     string
		code    int
	}{
		{"a service fills what is not there", map[string]string{"dbname": "d"}, []string{"PGSERVICE", "reg", "PGSERVICEFILE", services, "PGHOST", "h", "PGUSER", "u", "PGPASSWORD", "p"}, "su:sp@from-service:5555/d", "a password from the service reg", "", "", 0},
		{"the repository wins", map[string]string{"dbname": "d", "host": "own", "user": "me", "password": "pw"}, []string{"PGSERVICE", "reg", "PGSERVICEFILE", services}, "me:pw@own:5555/d", "", "", "", 0},
		{"a service that the repository names", map[string]string{"dbname": "d", "service": "reg"}, []string{"PGSERVICEFILE", services}, "su:sp@from-service:5555/d", "a password from the service reg", "", "", 0},
		{"the environment", map[string]string{"dbname": "d"}, []string{"PGHOST", "h", "PGPORT", "7", "PGUSER", "u", "PGPASSWORD", "p"}, "u:p@h:7/d", "a password from PGPASSWORD", "", "", 0},
		{"the environment's password with a service", map[string]string{"dbname": "d", "user": "me"}, []string{"PGSERVICE", "bare", "PGSERVICEFILE", services, "PGPASSWORD", "p"}, "me:p@bare-service:5432/d", "a password from PGPASSWORD", "", "", 0},
		{"a password file", map[string]string{"dbname": "d", "host": "h", "user": "me"}, []string{"PGPASSFILE", pass}, "me:filed@h:5432/d", "a password from " + pass, "", "", 0},
		{"one that others may read", map[string]string{"dbname": "d", "host": "h", "user": "me"}, []string{"PGPASSFILE", loose}, "me:@h:5432/d", "no password in the configuration, PGPASSWORD or a service (PGSERVICE is not set); no password file that may be used", "is not used", "", 0},
		{"no password", map[string]string{"dbname": "d", "host": "h", "user": "me"}, nil, "me:@h:5432/d", "no password in the configuration, PGPASSWORD or a service (PGSERVICE is not set); " + dir + "/.pgpass (not there)", "", "", 0},
		{"no such service", map[string]string{"dbname": "d"}, []string{"PGSERVICE", "none", "PGSERVICEFILE", services}, "", "", "", `the registry's connection: no service "none" in ` + services, codeConnect},
		{"what is not supported is said", map[string]string{"dbname": "d", "host": "h"}, []string{"PGREQUIREPEER", "x"}, "", "", "", "the registry's connection: connection parameter requirepeer is not supported", codeUsage},
		{"a bad value", map[string]string{"dbname": "d", "host": "h"}, []string{"PGTARGETSESSIONATTRS", "often"}, "", "", "", "the registry's connection: ", codeUsage},
	} {
		var warned []string
		connect := registryConn(vars(dir, c.env...), func(text string) { warned = append(warned, text) })
		var tried []string
		for range 2 { // a run may list twice
			cfg, where, err := connect(c.own)
			if c.err != "" {
				if v := judge(err); err == nil || !strings.Contains(v.message, c.err) || v.code != c.code {
					t.Errorf("%s: %v", c.name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if got := fmt.Sprintf("%s:%s@%s:%d/%s", cfg.User, cfg.Password, cfg.Host, cfg.Port, cfg.Database); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
			tried = where
		}
		if got := strings.Join(tried, "; "); got != c.tried {
			t.Errorf("%s: tried %s, want %s", c.name, got, c.tried)
		}
		if len(warned) > 1 || (len(warned) == 1) != (c.warning != "") || c.warning != "" && !strings.Contains(warned[0], c.warning) {
			t.Errorf("%s: warned of %q", c.name, warned)
		}
	}
	cfg, _, err := registryConn(vars(dir, "PGOPTIONS", "-c geqo=off", "PGTARGETSESSIONATTRS", "read-write", "PGAPPNAME", "x"), nil)(map[string]string{"host": "h", "user": "me"})
	if err != nil || cfg.RuntimeParams["options"] != "-c geqo=off" || cfg.ValidateConnect == nil || cfg.RuntimeParams["application_name"] != applicationName {
		t.Errorf("%v %v", cfg.RuntimeParams, err)
	}
}
