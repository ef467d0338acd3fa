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
