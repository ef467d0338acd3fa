package pgtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fast-export/internal/pgserver"
)

// usualMajor is the major that Database and Start use where it is installed, so that a test sees the same server on every machine. It is
// the users'.
const usualMajor = 15

// defaultInstall is the Postgres that Database and Start use.
var defaultInstall = sync.OnceValues(func() (pgserver.Install, error) {
	cache, err := cacheDir()
	if err != nil {
		return pgserver.Install{}, err
	}
	bin := os.Getenv("FAST_EXPORT_PG_BIN")
	if bin == "" {
		all, err := installs()
		if err != nil {
			return pgserver.Install{}, err
		}
		for _, in := range all {
			if in.Major == usualMajor {
				return in, nil
			}
		}
	}
	in, err := pgserver.Find(bin, filepath.Join(cache, "pg"))
	if err != nil {
		return pgserver.Install{}, fmt.Errorf("%w; `make test` fetches one, `apt-get install postgresql` installs one", err)
	}
	return in, nil
})

// installs are the newest installations of each major, oldest major first.
var installs = sync.OnceValues(func() ([]pgserver.Install, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return pgserver.All(filepath.Join(cache, "pg")), nil
})

// Version is the major of the Postgres that Database uses.
func Version(t testing.TB) int {
	t.Helper()
	in, err := defaultInstall()
	if err != nil {
		t.Fatal(err)
	}
	return in.Major
}

// Majors returns the installations that integration tests run on, one a major, oldest first: those that FAST_EXPORT_PG_MAJORS names
// ("13 14 15 16 17 18", set by make test), of which a missing one fails the test; without it all that are installed.
func Majors(t testing.TB) []pgserver.Install {
	t.Helper()
	all, err := installs()
	if err != nil {
		t.Fatal(err)
	}
	wanted := strings.Fields(os.Getenv("FAST_EXPORT_PG_MAJORS"))
	if len(wanted) == 0 {
		if len(all) == 0 {
			t.Fatal("no Postgres server is installed; `make test` fetches all majors")
		}
		return all
	}
	var some []pgserver.Install
	for _, w := range wanted {
		major, err := strconv.Atoi(w)
		if err != nil {
			t.Fatalf("FAST_EXPORT_PG_MAJORS: %q is no major", w)
		}
		some = append(some, install(t, major))
	}
	return some
}

// install returns the installation of a major, 0 for the default one.
func install(t testing.TB, major int) pgserver.Install {
	t.Helper()
	def, err := defaultInstall()
	if err != nil {
		t.Fatal(err)
	}
	if major == 0 || major == def.Major {
		return def
	}
	all, err := installs()
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range all {
		if in.Major == major {
			return in
		}
	}
	t.Fatalf("Postgres %d is not installed; `make test` fetches all majors", major)
	return pgserver.Install{}
}

// cacheDir is where `make test` puts what tests need: FAST_EXPORT_CACHE, else .cache beside go.mod.
func cacheDir() (string, error) {
	if dir := os.Getenv("FAST_EXPORT_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := repoRoot()
	return filepath.Join(root, ".cache"), err
}

func repoRoot() (string, error) {
	dir, err := os.Getwd() // a test runs in the directory of its package
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// template returns a data directory that initdb made for that installation: made once, kept in the cache, and copied for each cluster,
// which takes a tenth of the time.
func template(t testing.TB, in pgserver.Install) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	// Programs of the same version may be built with other options, and another user could not read it.
	id := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", in.Bin, in.Version, os.Geteuid()))
	dir := filepath.Join(cache, "initdb", fmt.Sprintf("%s-%x", in.Version, id[:4]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := pgserver.InitDB(t.Context(), in, filepath.Join(temp, "data")); err != nil {
		return "", err
	}
	err = os.Rename(filepath.Join(temp, "data"), dir)
	if _, statErr := os.Stat(dir); statErr == nil {
		return dir, nil // another test binary was faster
	}
	return dir, err
}
