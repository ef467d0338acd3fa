// Command setup puts what the tests need and the system lacks into a cache directory: the Postgres majors, PgBouncer, a browser,
// benchstat, and a Python environment with the packages of requirements.txt. Done once, it takes no time. `make test` runs it.
//
//	go run ./internal/tools/setup [-cache .cache] [-majors "13 14 15 16 17 18"] [-python python3]
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"fast-export/internal/pgserver"
)

//go:embed requirements.txt
var requirements string

func main() {
	cache := flag.String("cache", ".cache", "directory to fill")
	majors := flag.String("majors", "13 14 15 16 17 18", "Postgres majors that must be there")
	python := flag.String("python", "python3", "Python to make the environment from")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *cache, strings.Fields(*majors), *python); err != nil {
		fmt.Fprintln(os.Stderr, "setup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cache string, majors []string, python string) error {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	// Two test runs may begin at the same time; the second then finds all done.
	lock, err := os.OpenFile(filepath.Join(cache, "setup.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return fetchMajors(ctx, cache, majors) })
	group.Go(func() error { return makeEnvironment(ctx, filepath.Join(cache, "venv"), python) })
	group.Go(func() error {
		for _, d := range debian { // one after the other: apt-get locks
			if err := d.unpack(ctx, cache); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error { return installBenchstat(ctx, filepath.Join(cache, "bin")) })
	return group.Wait()
}

func fetchMajors(ctx context.Context, cache string, majors []string) error {
	installed := map[int]bool{}
	for _, in := range pgserver.All("") {
		installed[in.Major] = true
	}
	for _, word := range majors {
		major, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("-majors: %q is no number", word)
		}
		if installed[major] {
			continue
		}
		start := time.Now()
		in, err := pgserver.Fetch(ctx, filepath.Join(cache, "pg"), major)
		if err != nil {
			return err
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			fmt.Printf("setup: Postgres %s in %.1f s\n", in.Version, took.Seconds())
		}
	}
	return nil
}

// makeEnvironment makes a virtual environment at dir. A stamp in it tells by its content which requirements it was made from.
func makeEnvironment(ctx context.Context, dir, python string) error {
	stamp := filepath.Join(dir, "requirements.txt")
	if content, err := os.ReadFile(stamp); err == nil && string(content) == requirements {
		return nil
	}
	start := time.Now()
	// pyarrow and the Butler need it; asking first gives a better message than pip does.
	const version = "import sys; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))"
	switch out, err := exec.CommandContext(ctx, python, "-c", version).Output(); {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("no %s: install Python 3.11 or later (apt-get install python3 python3-venv)", python)
	case err != nil && len(out) > 0:
		return fmt.Errorf("%s is Python %s: the tests need 3.11 or later; name one by `make test PYTHON=python3.12`", python, bytes.TrimSpace(out))
	case err != nil:
		return fmt.Errorf("%s: %w", python, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, python, "-m", "venv", dir).CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("ensurepip")) {
			return fmt.Errorf("%s cannot make virtual environments: install its venv module (apt-get install python3-venv)", python)
		}
		return fmt.Errorf("%s -m venv %s: %w: %s", python, dir, err, lastLine(out))
	}
	list := filepath.Join(dir, "requirements.new")
	if err := os.WriteFile(list, []byte(requirements), 0o644); err != nil {
		return err
	}
	pip := exec.CommandContext(ctx, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-input",
		"--disable-pip-version-check", "--only-binary=:all:", "--requirement", list)
	if out, err := pip.CombinedOutput(); err != nil {
		return fmt.Errorf("pip install: %w: %s", err, lastLine(out))
	}
	if err := os.Rename(list, stamp); err != nil {
		return err
	}
	fmt.Printf("setup: Python environment in %.1f s\n", time.Since(start).Seconds())
	return nil
}

// benchstat, which reads what the bench writes in the Go benchmark format. It is a tool, no part of the program.
const benchstat = "golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da"

// installBenchstat builds it into dir. A stamp tells which version is there.
func installBenchstat(ctx context.Context, dir string) error {
	stamp := filepath.Join(dir, "benchstat.version")
	if content, err := os.ReadFile(stamp); err == nil && string(content) == benchstat {
		return nil
	}
	start := time.Now()
	cmd := exec.CommandContext(ctx, "go", "install", benchstat)
	cmd.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w: %s", benchstat, err, lastLine(out))
	}
	if err := os.WriteFile(stamp, []byte(benchstat), 0o644); err != nil {
		return err
	}
	fmt.Printf("setup: benchstat in %.1f s\n", time.Since(start).Seconds())
	return nil
}

// debPackage is a program of Debian's packages that tests need: the system's, else one that is unpacked into the cache.
type debPackage struct {
	name   string   // of the package
	why    string   // what for
	system []string // as it may be called where it is installed
	dir    string   // in the cache
	path   string   // of the program in there
}

var debian = []debPackage{
	{"pgbouncer", "the tests put one in front of servers", []string{"pgbouncer", "/usr/sbin/pgbouncer"}, "deb", "usr/sbin/pgbouncer"},
	{"chromium", "the tests open pages in it", []string{"chromium", "chromium-browser", "google-chrome"}, "chromium", "usr/lib/chromium/chromium"},
}

// unpack puts the program, and those of its libraries that the system lacks, into its directory of the cache, from the system's own
// package sources and without installing anything: that takes no root.
func (d debPackage) unpack(ctx context.Context, cache string) error {
	dir := filepath.Join(cache, d.dir)
	for _, name := range append(d.system, filepath.Join(dir, d.path)) {
		if _, err := exec.LookPath(name); err == nil {
			return nil
		}
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("no %s: install it, %s", d.name, d.why)
	}
	start := time.Now()
	temp, err := os.MkdirTemp(cache, ".deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	// As root apt-get would download as the user _apt, who may not be able to write here.
	apt := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "-o", "APT::Sandbox::User=root"}, args...)...)
		cmd.Dir = temp
		return cmd.Output()
	}
	advice := fmt.Sprintf("cannot get %[1]s from the system's packages: run `apt-get install %[1]s` as root (before it `apt-get update`)", d.name)
	// What an installation would fetch: lines like 'http://…/pgbouncer_1.18.0-1_amd64.deb' pgbouncer_1.18.0-1_amd64.deb 213380 SHA256:….
	uris, err := apt("--print-uris", "--yes", "--no-install-recommends", "install", d.name)
	if err != nil {
		return errors.New(advice)
	}
	var packages []string
	for line := range strings.Lines(string(uris)) {
		if words := strings.Fields(line); len(words) > 1 && strings.HasSuffix(words[1], ".deb") {
			name, _, _ := strings.Cut(words[1], "_")
			packages = append(packages, name)
		}
	}
	if _, err := apt(append([]string{"download"}, packages...)...); err != nil {
		return errors.New(advice)
	}
	archives, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", archive, filepath.Join(temp, "root")).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(archive), err, lastLine(out))
		}
	}
	if _, err := os.Stat(filepath.Join(temp, "root", d.path)); err != nil {
		return errors.New(advice)
	}
	if err := os.Rename(filepath.Join(temp, "root"), dir); err != nil {
		return err
	}
	fmt.Printf("setup: %s in %.1f s\n", d.name, time.Since(start).Seconds())
	return nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
