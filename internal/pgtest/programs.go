package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Chromium is a browser: the system's, or the one that `make test` unpacked, with what its environment needs on top.
func Chromium(t testing.TB) (path string, env []string) {
	t.Helper()
	return unpacked(t, "chromium", []string{"chromium", "chromium-browser", "google-chrome"}, "chromium", "usr/lib/chromium/chromium")
}

// Benchstat is the tool that reads the Go benchmark format, which `make test` builds.
func Benchstat(t testing.TB) string {
	t.Helper()
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath(filepath.Join(cache, "bin", "benchstat"))
	if err != nil {
		t.Fatalf("no benchstat: %v; `make test` builds one", err)
	}
	return path
}

// unpacked finds the system's program, or the one of a Debian package that `make test` unpacked into a directory of the cache, with the
// libraries beside it.
func unpacked(t testing.TB, pkg string, system []string, dir, program string) (path string, env []string) {
	t.Helper()
	for _, name := range system {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(cache, dir, program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no %[1]s; `make test` fetches one, `apt-get install %[1]s` installs one", pkg)
	}
	var libraries []string
	for _, pattern := range []string{"lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "usr/lib/*-linux-gnu*/*/"} { // the last: libraries of libraries
		found, err := filepath.Glob(filepath.Join(cache, dir, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		libraries = append(libraries, found...)
	}
	return path, []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}
}
