package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fast-export/bench/data"
	"fast-export/internal/pgtest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files []string
	for _, table := range data.MPCTables {
		files = append(files, table+".parquet")
	}
	pgtest.NoLeftovers(t, dir, files...)
	got := callIn(t, t.Context(), t.TempDir(), "", nil, "demo", "--rows", "1500", "--out-dir", dir, "--parallel", "2")
	if got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	for _, want := range []string{"obs_sbn.parquet: 1,500 rows, ", "\nsnapshot ", "\nfile ", filepath.Join(dir, "mpc_orbits.parquet"), "\nLook at them"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("lacks %q:\n%s", want, got.stdout)
		}
	}
	// Each way to look at them works.
	_, ways, _ := strings.Cut(got.stdout, "Look at them, for example:\n")
	for way := range strings.Lines(ways) {
		command := strings.Replace(way, "python3", pgtest.Python(t), 1)
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if strings.Count(ways, "\n") != 2 {
		t.Errorf("the ways are %q", ways)
	}
	// The server is gone, with its directory.
	_, server, _ := strings.Cut(got.stderr, " runs in ")
	server, _, _ = strings.Cut(server, "\n")
	if _, err := os.Stat(server); server == "" || !os.IsNotExist(err) {
		t.Errorf("%q: %v", server, err)
	}
}

func TestDemoRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--out-dir", filepath.Join(dir, "none")}, codeTarget, "error: --out-dir " + dir + "/none: no such file or directory\nhint: directories are never made: mkdir -p makes one\n"},
		{[]string{"--out-dir", write(t, dir, "f", "")}, codeTarget, "error: --out-dir " + dir + "/f: not a directory\nhint: directories are never made: mkdir -p makes one\n"},
		{[]string{"--rows", "0"}, codeUsage, "error: --rows 0: out of range: from 1 to 1000000000\n"},
		{[]string{"--row", "5"}, codeUsage, "error: unknown flag --row\nhint: did you mean --rows?\n"},
	} {
		got := call(t, nil, append([]string{"demo"}, c.args...)...)
		if got.code != c.code || got.stderr != c.want || got.stdout != "" {
			t.Errorf("%q: got %+v", c.args, got)
		}
	}
}
