package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fast-export/internal/pgtest"
)

// TestButlerProgram drives the built program by its other name, as a user without any rights on the repository.
func TestButlerProgram(t *testing.T) {
	t.Parallel()
	// Not t.TempDir: only its owner may enter that.
	base, err := os.MkdirTemp("", "butler-program-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(p, 0o755)
			}
			return err
		})
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	outputs := filepath.Join(base, "out")
	program := filepath.Join(base, "fast-export")
	if err := errors.Join(os.Mkdir(outputs, 0o755), os.Chmod(base, 0o755), os.Chmod(outputs, 0o777), os.Symlink("fast-export", filepath.Join(base, "extract-catalog"))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "fast-export").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "xzf", "../../butler/testdata/sqlite_plain.tar.gz", "-C", base, "--no-same-owner").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	repo := filepath.Join(base, "sqlite_plain")
	command := func(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
		cmd := exec.CommandContext(ctx, filepath.Join(base, "extract-catalog"), args...)
		cmd.Dir = outputs
		cmd.Env = append(os.Environ(), "DAF_BUTLER_REPOSITORIES={/repo/main: "+repo+"}")
		if os.Geteuid() == 0 { // root may write anywhere
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		return cmd, &out, &errOut
	}
	run := func(args ...string) outcome {
		cmd, out, errOut := command(t.Context(), args...)
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return outcome{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
	}
	files := func(dir string) (all []string) {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			all = append(all, fmt.Sprint(p, info.Size(), info.ModTime()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	permissions := func(dir, file os.FileMode) {
		err := filepath.WalkDir(repo, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(p, dir)
			} else if err == nil {
				return os.Chmod(p, file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	target := filepath.Join(outputs, "out.parquet")
	for _, mode := range []string{"delete", "wal"} {
		pgtest.RunPython(t, "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = "+mode+"'); c.close()", filepath.Join(repo, "gen3.sqlite3"))
		permissions(0o555, 0o444)
		before := files(repo)
		if got := run("out.parquet", "/repo/main", "u/me/run1", "--silent"); got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "out.parquet: 18 rows, 21 columns, 3 row groups") {
			t.Errorf("journal_mode %s: %+v", mode, got)
		}
		if after := files(repo); !slices.Equal(before, after) {
			t.Errorf("journal_mode %s: before\n%v\nafter\n%v", mode, before, after)
		}
		permissions(0o755, 0o644)
	}

	whole, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	untouched := func(what string) {
		t.Helper()
		if have, err := os.ReadFile(target); err != nil || !bytes.Equal(have, whole) {
			t.Errorf("%s: what stood at the target has changed (%v)", what, err)
		}
		if names := files(outputs); len(names) != 2 {
			t.Errorf("%s: left %v", what, names)
		}
	}
	// Alone with an error, --silent or not, the target stays.
	for _, args := range [][]string{{"u/me/run2", "--silent"}, {"no/such", "--silent"}, {"u/me/run1", "--dataset-type", "not_parquet", "--silent"}, {"u/me/calib", "--dataset-type", "calib_tab", "--find-first", "--silent"}} {
		got := run(append([]string{"out.parquet", "/repo/main"}, args...)...)
		if got.code != codeButler || got.stdout != "" || !strings.HasPrefix(got.stderr, "error: ") || strings.Count(got.stderr, "error:") != 1 || strings.Contains(got.stderr, "progress") {
			t.Errorf("%v: %+v", args, got)
		}
		untouched(fmt.Sprint(args))
	}
	// A signal at any time ends it soon, with all or nothing.
	for i := range 25 {
		cmd, out, errOut := command(t.Context(), "out.parquet", "/repo/main", "u/me/run1", "--silent")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i*i) * 200 * time.Microsecond)
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		early := cmd.ProcessState.String() == "signal: interrupt" && errOut.Len() == 0 // before it could listen
		stopped := cmd.ProcessState.ExitCode() == 130 && strings.HasPrefix(errOut.String(), "error: stopped by signal 2")
		if !early && !stopped && cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("signal %d: %v, %s%s", i, cmd.ProcessState, out, errOut)
		}
		untouched(fmt.Sprintf("signal %d", i)) // a run that came to its end wrote the same bytes
	}
	// Waiting for a writer, too.
	lock := exec.CommandContext(t.Context(), pgtest.Python(t), "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('PRAGMA journal_mode = delete'); c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); sys.stdin.read()", filepath.Join(repo, "gen3.sqlite3"))
	hold, err := lock.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := lock.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cmd, _, errOut := command(t.Context(), "out.parquet", "/repo/main", "u/me/run1", "--silent")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if took := time.Since(start); cmd.ProcessState.ExitCode() != 130 || took > 2*time.Second {
		t.Errorf("while a writer holds the registry: %v after %v, %s", cmd.ProcessState, took, errOut)
	}
	if err := errors.Join(hold.Close(), lock.Wait()); err != nil {
		t.Error(err)
	}
	untouched("waiting")

	// Nothing to write: no file, or one without rows.
	if got := run("nothing.parquet", "/repo/main", "u/me/empty", "--silent"); got.code != 0 || !strings.HasPrefix(got.stdout, "no file: no dataset of type dia_source_visit was found") {
		t.Errorf("an empty collection: %+v", got)
	}
	untouched("an empty collection")

	// An object store: listed, not read, and read where it is mounted. Listing opens nothing.
	config, err := os.ReadFile(filepath.Join(repo, "butler.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	remote := strings.Replace(string(config), "root: <butlerRoot>", "root: s3://bucket/data", 1)
	if remote == string(config) {
		t.Fatalf("no root in %s", config)
	}
	if err := os.WriteFile(filepath.Join(repo, "remote.yaml"), []byte(remote), 0o644); err != nil {
		t.Fatal(err)
	}
	yaml := filepath.Join(repo, "remote.yaml")
	if got := run("out.parquet", yaml, "u/me/run1", "--dry-run"); got.code != 0 || strings.Count(got.stdout, "\ts3://bucket/data/u/me/run1/dia_source_visit/") != 4 {
		t.Errorf("listing an object store: %+v", got)
	}
	if got := run("out.parquet", yaml, "u/me/run1", "--silent"); got.code != codeButler || !strings.Contains(got.stderr, "file s3://bucket/data/u/me/run1/dia_source_visit/") || strings.Count(got.stderr, "\n") > 2 {
		t.Errorf("reading an object store: %+v", got)
	}
	if got := run("out.parquet", yaml, "u/me/run1", "--silent", "--path-map", "s3://bucket/data="+repo); got.code != 0 {
		t.Errorf("a mounted object store: %+v", got)
	}
	untouched("an object store")
	if err := os.RemoveAll(filepath.Join(repo, "u")); err != nil {
		t.Fatal(err)
	}
	if got := run("out.parquet", "/repo/main", "u/me/run1", "--dry-run"); got.code != 0 || strings.Count(got.stdout, "visit=") != 4 || !strings.Contains(got.stdout, "4 datasets of type dia_source_visit, ") {
		t.Errorf("listing without files: %+v", got)
	}
	untouched("listing")
}
