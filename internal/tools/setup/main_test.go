package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakePython is a script that answers like a Python which fails at one thing. Asked for a venv it makes a fake one, whose pip fails.
func fakePython(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnvironmentSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, python, want string }{
		{"missing", "no-such-python", "no no-such-python: install Python 3.11 or later (apt-get install python3 python3-venv)"},
		{"too old", fakePython(t, "echo 3.9; exit 1"), "is Python 3.9: the tests need 3.11 or later"},
		{"no venv", fakePython(t, `case $1 in -c) echo 3.12;; *) echo "ensurepip is not available"; exit 1;; esac`), "(apt-get install python3-venv)"},
		{"pip fails", fakePython(t, `case $1 in -c) echo 3.12;; *)
mkdir -p "$3/bin"; printf '#!/bin/sh\necho noise; echo no network; exit 1\n' >"$3/bin/python"; chmod +x "$3/bin/python";; esac`), "pip install: exit status 1: no network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "venv")
			err := makeEnvironment(t.Context(), dir, c.python)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "requirements.txt")); err == nil {
				t.Error("a failed environment looks like a finished one")
			}
		})
	}
}

func TestEnvironmentIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "venv")
	log := filepath.Join(t.TempDir(), "log")
	python := fakePython(t, `echo run >>`+log+`; case $1 in -c) echo 3.12;; *)
mkdir -p "$3/bin"; printf '#!/bin/sh\nexit 0\n' >"$3/bin/python"; chmod +x "$3/bin/python";; esac`)
	runs := func() int {
		out, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(out), "run")
	}
	for range 2 {
		if err := makeEnvironment(t.Context(), dir, python); err != nil {
			t.Fatal(err)
		}
		if got := runs(); got != 2 {
			t.Errorf("python ran %d times, want twice in all", got)
		}
	}
	// Other requirements, another environment.
	if err := os.WriteFile(filepath.Join(dir, "requirements.txt"), []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := makeEnvironment(t.Context(), dir, python); err != nil {
		t.Fatal(err)
	}
	if got := runs(); got != 4 {
		t.Errorf("python ran %d times, want 4", got)
	}
}

func TestMajors(t *testing.T) {
	t.Parallel()
	if err := fetchMajors(t.Context(), t.TempDir(), []string{"sixteen"}); err == nil || !strings.Contains(err.Error(), "sixteen") {
		t.Errorf("got %v", err)
	}
	if err := fetchMajors(t.Context(), t.TempDir(), []string{"8"}); err == nil || !strings.Contains(err.Error(), "postgres 8 cannot be fetched") {
		t.Errorf("got %v", err)
	}
	start := time.Now()
	cache := os.Getenv("FAST_EXPORT_CACHE")
	if cache == "" {
		cache = "../../../.cache"
	}
	if err := fetchMajors(t.Context(), cache, strings.Fields("13 14 15 16 17 18")); err != nil {
		t.Fatal(err)
	}
	t.Logf("all majors in %s", time.Since(start))
}

func TestPackagesSayWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, d := range debian {
		d.system = nil
		err := d.unpack(t.Context(), t.TempDir())
		if want := "no " + d.name + ": install it, " + d.why; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	// What is there is left alone.
	for _, d := range debian {
		cache := t.TempDir()
		path := filepath.Join(cache, d.dir, d.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := d.unpack(t.Context(), cache); err != nil {
			t.Error(err)
		}
	}
}
