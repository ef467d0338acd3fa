package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// unpackRepo gives a copy of a recorded repository.
func unpackRepo(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "xzf", "../../butler/testdata/"+name+".tar.gz", "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, name)
}

// TestButlerTargets names files of a repository, and the file of ids, as outputs: under their own names and others.
func TestButlerTargets(t *testing.T) {
	t.Parallel()
	repo, dir := unpackRepo(t, "sqlite_plain"), t.TempDir()
	var dataset string
	contents := func() (all []string) {
		err := filepath.WalkDir(repo, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if strings.Contains(p, "u/me/run1/dia_source_visit/") && strings.HasSuffix(p, ".parq") {
				dataset = p
			}
			data, err := os.ReadFile(p)
			all = append(all, fmt.Sprintf("%s %x", p, data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := contents()
	if dataset == "" {
		t.Fatal("no dataset")
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	registry := filepath.Join(repo, "gen3.sqlite3")
	writeIDs(t, at("ids.parquet"), "2000000000001")
	if err := errors.Join(
		os.Link(dataset, at("hard.parquet")), os.Link(registry, at("registry")), os.Link(filepath.Join(repo, "butler.yaml"), at("config")),
		os.Symlink(filepath.Dir(dataset), at("linked")), os.Link(at("ids.parquet"), at("ids2.parquet")), os.Mkdir(filepath.Join(repo, "tmp"), 0o777),
	); err != nil {
		t.Fatal(err)
	}
	ids, err := os.ReadFile(at("ids.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says string
		args []string
	}{
		{"inside the repository", []string{dataset}},
		{"inside the repository", []string{filepath.Join(at("linked"), filepath.Base(dataset))}},
		{"inside the repository", []string{filepath.Join(repo, "new.parquet")}},
		{"inside the repository", []string{filepath.Join(at("linked"), "new.parquet")}},
		{"dataset {instrument: 'Cam1', visit: ", []string{at("hard.parquet")}},
		{"inside the repository", []string{registry, "--overwrite"}},
		{"a file of the repository", []string{at("registry"), "--overwrite"}},
		{"a file of the repository", []string{at("config"), "--overwrite"}},
		{"the file of ids", []string{at("ids.parquet"), "--filter-ids", at("ids.parquet")}},
		{"the file of ids", []string{at("ids.parquet"), "--filter-ids", at("ids2.parquet")}},
		{"--manifest", []string{at("out.parquet"), "--manifest", filepath.Join(repo, "m.json")}},
		{"inside the repository", []string{at("out.parquet"), "--temp-dir", filepath.Join(repo, "tmp")}},
	} {
		for _, extra := range [][]string{{"--silent"}, {"--dry-run"}} {
			if extra[0] == "--dry-run" && slices.Contains(c.args, "--manifest") {
				continue
			}
			args := slices.Concat([]string{"butler", c.args[0], repo, "u/me/run1"}, c.args[1:], extra)
			if got := call(t, nil, args...); got.code != codeTarget || !strings.Contains(got.stderr, c.says) || got.stdout != "" {
				t.Errorf("%v: %+v", args, got)
			}
		}
	}
	if after := contents(); !slices.Equal(before, after) {
		t.Error("the repository has changed")
	}
	if now, err := os.ReadFile(at("ids.parquet")); err != nil || !bytes.Equal(now, ids) {
		t.Errorf("the ids have changed (%v)", err)
	}
	pgtest.NoLeftovers(t, dir, "ids.parquet", "ids2.parquet", "hard.parquet", "registry", "config", "linked")
}

// TestButlerNothing searches for what is not there, with and without a file of an earlier run at the output.
func TestButlerNothing(t *testing.T) {
	t.Parallel()
	repo, dir := unpackRepo(t, "sqlite_plain"), t.TempDir()
	out := filepath.Join(dir, "out.parquet")
	if got := call(t, nil, "butler", out, repo, "u/me/run1", "--silent", "--where", "visit = 99"); got.code != 0 || !strings.HasPrefix(got.stdout, out+": 0 rows, 21 columns") {
		t.Errorf("a condition that excludes all: %+v", got)
	}
	old, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got := call(t, nil, "butler", out, repo, "u/me/empty", "--silent", "--overwrite")
	if got.code != 0 || got.stderr != "warning: "+out+" is of an earlier run and was not touched: this one made no file\n" || !strings.HasPrefix(got.stdout, "no file: no dataset of type dia_source_visit was found, so there is no schema\n") || strings.Contains(got.stdout, " in 0.") {
		t.Errorf("over an earlier file: %+v", got)
	}
	if now, err := os.ReadFile(out); err != nil || !bytes.Equal(now, old) {
		t.Errorf("the earlier file has changed (%v)", err)
	}
	if got := call(t, nil, "butler", filepath.Join(dir, "new.parquet"), repo, "u/me/empty", "--silent"); got.code != 0 || got.stderr != "" {
		t.Errorf("without one: %+v", got)
	}
}

// TestButlerLogin is refused by a registry's server.
func TestButlerLogin(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Config{TCP: true, HBA: []string{"host all reader 127.0.0.1/32 scram-sha-256", "host all reader_gone 127.0.0.1/32 trust"}})
	srv.Psql(t, "postgres", "CREATE ROLE reader LOGIN PASSWORD 'right one'")
	repo, out := t.TempDir(), filepath.Join(t.TempDir(), "out.parquet")
	port := fmt.Sprint(srv.Port)
	for _, c := range []struct {
		url   string
		says  string
		hints []string
	}{
		{"reader@127.0.0.1:" + port + "/postgres", "password", []string{"tried: /", "/.lsst/db-auth.yaml (not there); ", "no password in the configuration, PGPASSWORD or a service (PGSERVICE is not set)", "/.pgpass (not there). ", "LSST_DB_AUTH", "PGPASSFILE"}},
		{"reader:wrong%20one@127.0.0.1:" + port + "/postgres", "password", []string{"/.lsst/db-auth.yaml (not there); the password in registry.db. PGPASSWORD and ~/.pgpass don't count beside it: correct or remove it there, or give another in db-auth.yaml"}},
		{"reader:wrong%20one@/postgres?host=127.0.0.1&port=" + port, "password", []string{"tried: the password in registry.db. PGPASSWORD and ~/.pgpass don't count beside it: correct or remove it there\n"}},
		{"reader@/postgres?host=127.0.0.1&port=" + port + "&password=wrong%20one", "password", []string{"tried: the password in registry.db. PGPASSWORD and"}},
		{"reader:wrong%20one@127.0.0.1:1/postgres", "refused", []string{"registry.db in the repository's butler.yaml"}},
		// A password's letters in other words are left alone.
		{"reader_gone:x@127.0.0.1:" + port + "/postgres", `role "reader_gone" does not exist`, []string{"the password in registry.db"}},
	} {
		config := "registry: {db: 'postgresql://" + c.url + "'}\n"
		if err := os.WriteFile(filepath.Join(repo, "butler.yaml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		got := call(t, nil, "butler", out, repo, "*", "--progress", "none")
		if got.code != codeConnect || !strings.Contains(got.stderr, c.says) || !strings.HasPrefix(got.stderr, "error: butler repository "+repo+": the registry at postgresql://reader") || strings.Count(got.stderr, "\n") != 2 {
			t.Errorf("%+v", got)
		}
		for _, want := range c.hints {
			if _, hint, _ := strings.Cut(got.stderr, "\nhint: "); !strings.Contains(hint, want) {
				t.Errorf("%s\nis without %q", got.stderr, want)
			}
		}
		for _, not := range []string{"--password", "--host", "wrong one", "wrong%20one"} {
			if strings.Contains(got.stderr, not) {
				t.Errorf("%s\nhas %s", got.stderr, not)
			}
		}
	}
}

// TestButlerListsHostileNames lists what a registry says of runs, dimensions, paths and sizes without letting it steer the terminal.
func TestButlerListsHostileNames(t *testing.T) {
	t.Parallel()
	repo := unpackRepo(t, "sqlite_plain")
	pgtest.RunPython(t, `
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("PRAGMA foreign_keys = off")
c.execute("UPDATE collection SET name = ? WHERE name = 'u/me/run1'", ("run\x1b[31m\nrun",))
c.execute("UPDATE dataset_tags_00000001 SET instrument = ?", ("Cam\r\x9b1",))
c.execute("UPDATE file_datastore_records SET path = replace(path, 'dia_source', ?), file_size = 9223372036854775807", ("dia\x07\tsource",))
c.commit()
`, filepath.Join(repo, "gen3.sqlite3"))
	got := call(t, nil, "butler", filepath.Join(t.TempDir(), "o"), repo, "run*", "--dry-run")
	lines := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
	if got.code != 0 || len(lines) != 5 {
		t.Fatalf("%+v", got)
	}
	for _, line := range lines[:4] {
		for _, want := range []string{`instrument="Cam\r\u009b1" `, `"run\x1b[31m\nrun"`} {
			if !strings.Contains(line, want) || strings.Count(line, "\t") != 3 || strings.ContainsAny(line, "\x1b\r\x07\u009b") {
				t.Errorf("%q lacks %s", line, want)
			}
		}
	}
	if !strings.Contains(got.stdout, `dia\a\tsource`) || strings.Contains(lines[4], "-") {
		t.Errorf("%q", got.stdout)
	}
}

// TestButlerService reaches a registry's server by a service file alone, and gets as far as to see that no registry is there.
func TestButlerService(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Config{TCP: true, HBA: []string{"host all reader 127.0.0.1/32 scram-sha-256"}})
	srv.Psql(t, "postgres", "CREATE ROLE reader LOGIN PASSWORD 'right one'")
	repo, dir := t.TempDir(), t.TempDir()
	write(t, repo, "butler.yaml", "registry: {db: 'postgresql:///postgres'}\n")
	write(t, dir, ".pg_service.conf", fmt.Sprintf("[registry]\nhost=127.0.0.1\nport=%d\nuser=reader\npassword=right one\n", srv.Port))
	var out, errOut bytes.Buffer
	a := &app{Env: Env{Stdout: &out, Stderr: &errOut, Getenv: vars(dir, "PGSERVICE", "registry")}}
	if code := a.main(t.Context(), []string{"butler", filepath.Join(t.TempDir(), "out.parquet"), repo, "*", "--silent"}); code != codeButler || !strings.Contains(errOut.String(), "schema public of postgresql:///postgres has no table butler_attributes") {
		t.Errorf("%d: %s", code, errOut.String())
	}
}

// TestButlerWords looks at what people are told: hints that fit, the program's own name, codecs as pyarrow spells them.
func TestButlerWords(t *testing.T) {
	t.Parallel()
	repo, dir := unpackRepo(t, "sqlite_plain"), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	writeIDs(t, at("ids.parquet"), "2000000000001")
	if err := errors.Join(os.WriteFile(at("junk"), []byte("junk"), 0o666), os.Link(filepath.Join(repo, "gen3.sqlite3"), at("registry"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		says []string
		args []string
	}{
		{codeValue, []string{"gone", "hint: --filter-ids takes a Parquet file"}, []string{at("o"), repo, "u/me/run1", "--filter-ids", at("gone")}},
		{codeValue, []string{"junk", "hint: --filter-ids takes a Parquet file"}, []string{at("o"), repo, "u/me/run1", "--filter-ids", at("junk"), "--dry-run"}},
		{codeValue, []string{"column nope", "hint: --filter-column names"}, []string{at("o"), repo, "u/me/run1", "--filter-ids", at("ids.parquet"), "--filter-column", "nope"}},
		{codeTarget, []string{"hint: give another OUTPUT, or --overwrite"}, []string{at("junk"), repo, "u/me/run1"}},
		{codeTarget, []string{"hint: give another OUTPUT, or --overwrite"}, []string{at("junk"), repo, "u/me/run1", "--dry-run"}},
		{codeButler, []string{"no label, for neither DAF_BUTLER_REPOSITORY_INDEX nor DAF_BUTLER_REPOSITORIES is set", "as a path: there is no /nonexistent/butler.yaml"}, []string{at("o"), "/nonexistent", "u/me/run1"}},
		{codeTarget, []string{"it is inside the repository"}, []string{filepath.Join(repo, "butler.yaml"), repo, "u/me/run1"}},
		{codeTarget, []string{"it is inside the repository"}, []string{filepath.Join(repo, "gen3.sqlite3"), repo, "u/me/run1", "--dry-run"}},
		{codeTarget, []string{"it is a file of the repository"}, []string{at("registry"), repo, "u/me/run1", "--no-clobber"}},
		{codeUsage, []string{"--path-map: \"x\" is not old=new"}, []string{at("o"), repo, "u/me/run1", "--path-map", "x"}},
		{codeUsage, []string{"path-map: x is neither"}, []string{at("o"), repo, "u/me/run1", "--path-map", "x=/y"}},
		{codeUsage, []string{`--schema-mode: "loose" is none of strict`}, []string{at("o"), repo, "u/me/run1", "--schema-mode", "loose"}},
		{codeUsage, []string{`"brotli" is none of zstd`}, []string{at("o"), repo, "u/me/run1", "--compression", "BROTLI"}},
	} {
		got := call(t, nil, append([]string{"butler"}, c.args...)...)
		silent := call(t, nil, append([]string{"butler", "--silent"}, c.args...)...)
		if line, _, _ := strings.Cut(got.stderr, "\n"); c.code != codeUsage && (silent.code != c.code || silent.stderr != line+"\n") {
			t.Errorf("%v --silent: %+v, want %s alone", c.args, silent, line)
		}
		for _, want := range c.says {
			if got.code != c.code || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "--out,") {
				t.Errorf("%v: %+v, want %d and %q", c.args, got, c.code, want)
			}
			if strings.Contains(want, "repository") && strings.Contains(got.stderr, "--overwrite") {
				t.Errorf("%v: %+v: nothing replaces it", c.args, got)
			}
		}
	}
	for _, codec := range []string{"ZSTD", "SNAPPY", "Gzip", "LZ4", "NONE", "ZSTD:3"} {
		if got := call(t, nil, "butler", at("c.parquet"), repo, "u/me/run1", "--silent", "--compression", codec); got.code != 0 {
			t.Errorf("%s: %+v", codec, got)
		}
	}
	got := call(t, nil, "butler", at("p.parquet"), repo, "u/me/run1", "--progress", "json")
	if got.code != 0 || !strings.Contains(got.stderr, `"est_heap_bytes":0,"datasets":`) || !strings.Contains(got.stderr, `"heap_bytes":0,"est_heap_bytes":0,"datasets_done":`) {
		t.Errorf("progress: %+v", got)
	}
	var help bytes.Buffer
	if code := Run(t.Context(), []string{"butler", "--help"}, Env{Stdout: &help, Stderr: &help, Getenv: vars(dir), Alias: "extract-catalog"}); code != 0 ||
		!strings.HasPrefix(help.String(), "usage: extract-catalog OUTPUT REPO COLLECTION") || !strings.Contains(help.String(), "  extract-catalog dia_sources.parquet") || strings.Contains(help.String(), "fast-export butler ") {
		t.Errorf("%d %s", code, help.String())
	}
}
