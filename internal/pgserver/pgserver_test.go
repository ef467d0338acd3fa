package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("PGSERVER_DIE_IN"); dir != "" {
		startAndDie(dir)
	}
	goleak.VerifyTestMain(m)
}

// cache is the one that `make test` fills.
func cache() string {
	if dir := os.Getenv("FAST_EXPORT_CACHE"); dir != "" {
		return filepath.Join(dir, "pg")
	}
	return "../../.cache/pg"
}

func anyInstall(t *testing.T) Install {
	t.Helper()
	in, err := Find(os.Getenv("FAST_EXPORT_PG_BIN"), cache())
	if err != nil {
		t.Fatalf("%v; `make test` fetches one", err)
	}
	return in
}

func query(t *testing.T, s *Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestStart(t *testing.T) {
	t.Parallel()
	in := anyInstall(t)
	s, err := Start(t.Context(), Config{Install: in, Settings: []string{"work_mem = '5MB'"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if got := query(t, s, "SHOW server_version"); got != in.Version && !strings.HasPrefix(got, in.Version+" ") {
		t.Errorf("version %s, want %s", got, in.Version)
	}
	for name, want := range map[string]string{
		"work_mem": "5MB", "listen_addresses": "", "server_encoding": "UTF8", "TimeZone": "UTC", "fsync": "off", "lc_messages": "C",
	} {
		if got := query(t, s, "SHOW "+name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	info, err := os.Stat(s.Dir())
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("private directory: %v, %v", info.Mode(), err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; os.Geteuid() == 0 && uid == 0 || os.Geteuid() != 0 && int(uid) != os.Geteuid() {
		t.Errorf("private directory belongs to %d", uid)
	}
	if err := s.Launch(t.Context()); err == nil {
		t.Error("launched twice")
	}
	if err := s.Crash(); err != nil {
		t.Fatal(err)
	}
	if s.Running() {
		t.Error("runs after a crash")
	}
	if err := s.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(t, s, "SELECT 'recovered'")
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

func TestStartFromData(t *testing.T) {
	t.Parallel()
	in := anyInstall(t)
	data := filepath.Join(t.TempDir(), "data")
	if err := InitDB(t.Context(), in, data); err != nil {
		t.Fatal(err)
	}
	const identifier = "SELECT system_identifier::text FROM pg_control_system()"
	var seen []string
	for range 2 {
		s, err := Start(t.Context(), Config{Install: in, Data: data, TCP: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		seen = append(seen, query(t, s, identifier))
		tcp, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.Port))
		if err != nil {
			t.Fatal(err)
		}
		tcp.Close()
	}
	if seen[0] != seen[1] {
		t.Errorf("copies of one cluster are %v", seen)
	}
}

func TestStartFails(t *testing.T) {
	in := anyInstall(t)
	nothing := t.TempDir()
	temp := reachableTemp(t)
	t.Setenv("TMPDIR", temp)
	_, err := Start(t.Context(), Config{Install: in, Settings: []string{"no_such_setting = 1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("got %v, want what the server said", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := Start(ctx, Config{Install: in}); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("got %v, want the cause", err)
	}
	if _, err := Start(t.Context(), Config{Install: Install{Bin: nothing}}); err == nil {
		t.Error("started nothing")
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// reachableTemp is a temporary directory that the server's user can get into; testing's own has the mode 0700.
func reachableTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fe-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startAndDie starts a server, says where, and waits to be killed.
func startAndDie(temp string) {
	os.Setenv("TMPDIR", temp)
	in, err := Find(os.Getenv("FAST_EXPORT_PG_BIN"), cache())
	if err == nil {
		var s *Server
		if s, err = Start(context.Background(), Config{Install: in}); err == nil {
			fmt.Println(s.process.Pid, s.Dir())
		}
	}
	if err != nil {
		fmt.Println(err)
	}
	time.Sleep(time.Hour)
}

// A killed demo or test leaves no server running, and its directory goes with the next start.
func TestKilledParent(t *testing.T) {
	temp := reachableTemp(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PGSERVER_DIE_IN="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	if _, err := fmt.Fscanln(out, &pid, &dir); err != nil {
		_ = cmd.Process.Kill()
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("server %d outlives its parent", pid)
		}
	}
	if filepath.Dir(dir) != temp {
		t.Fatalf("the server was in %s, want %s", dir, temp)
	}
	live, err := makeOwnedDir(temp, dirPrefix)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, path := range []string{dir, live.path} {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	sweep(temp, dirPrefix)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead process's directory is left: %v", err)
	}
	if _, err := os.Stat(live.path); err != nil {
		t.Errorf("a living process's directory is gone: %v", err)
	}
	if err := live.remove(); err != nil {
		t.Error(err)
	}
}

// Programs in root's home are out of reach for the user that the server runs as; the server must start all the same.
func TestUnreachablePrograms(t *testing.T) {
	t.Parallel()
	in, err := Fetch(t.Context(), cache(), NewestMajor)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "pg") // testing makes a directory of mode 0700 above it
	if err := copyTree(filepath.Dir(in.Bin), dir, nil); err != nil {
		t.Fatal(err)
	}
	in.Bin = filepath.Join(dir, "bin")
	s, err := Start(t.Context(), Config{Install: in})
	if err != nil {
		t.Fatal(err)
	}
	query(t, s, "SHOW server_version")
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func TestInspectAndFind(t *testing.T) {
	fake := func(version string) string {
		dir := filepath.Join(t.TempDir(), "bin")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, script := range map[string]string{"initdb": "", "postgres": "echo '" + version + "'", "pg_config": "echo " + dir} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, c := range []struct {
		says, version string
		major         int
	}{
		{"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18", 15},
		{"postgres (PostgreSQL) 19beta2", "19beta2", 19},
		{"postgres (PostgreSQL) 9.6.24", "9.6.24", 9},
	} {
		dir := fake(c.says)
		in, err := Inspect(dir)
		if err != nil || in != (Install{dir, c.major, c.version}) {
			t.Errorf("%s: got %+v, %v", c.says, in, err)
		}
	}
	for _, says := range []string{"", "postgres", "postgres (PostgreSQL) devel"} {
		if in, err := Inspect(fake(says)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %+v, %v", says, in, err)
		}
	}

	// PATH goes before what is cached; an explicit directory before everything, and without falling back.
	path := fake("postgres (PostgreSQL) 12.3")
	t.Setenv("PATH", path)
	if in, err := Find("", cache()); err != nil || in.Major != 12 {
		t.Errorf("by PATH: got %+v, %v", in, err)
	}
	explicit := fake("postgres (PostgreSQL) 11.4")
	if in, err := Find(explicit, cache()); err != nil || in.Major != 11 {
		t.Errorf("explicit: got %+v, %v", in, err)
	}
	if _, err := Find(t.TempDir(), cache()); !errors.Is(err, ErrNotFound) {
		t.Errorf("an empty directory: got %v", err)
	}
	// A client package: pg_config, and no server.
	if err := os.Remove(filepath.Join(path, "postgres")); err != nil {
		t.Fatal(err)
	}
	if in, ok := onPath(); ok {
		t.Errorf("found %+v where there is no server", in)
	}

	// The newest first, by number and not by text.
	t.Setenv("PATH", "")
	root := t.TempDir()
	for _, v := range []string{"14.9", "14.18", "13.23"} {
		if err := os.Rename(filepath.Dir(fakeAt(t, fake("postgres (PostgreSQL) "+v))), filepath.Join(root, v)); err != nil {
			t.Fatal(err)
		}
	}
	found := newestFirst(cachePatterns(root))
	if len(found) != 3 || found[0].Version != "14.18" || found[1].Version != "14.9" || found[2].Version != "13.23" {
		t.Errorf("got %+v", found)
	}
}

// fakeAt moves a bin directory into one of its own that can be renamed as a whole.
func fakeAt(t *testing.T, bin string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pg")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "bin")
	if err := os.Rename(bin, to); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestFetch(t *testing.T) {
	t.Parallel()
	if _, err := Fetch(t.Context(), t.TempDir(), 9); err == nil || !strings.Contains(err.Error(), "13 to 18") {
		t.Errorf("got %v, want which can be fetched", err)
	}
	in, err := Fetch(t.Context(), cache(), NewestMajor) // there already after `make test`
	if err != nil || in.Major != NewestMajor {
		t.Errorf("got %+v, %v", in, err)
	}
	if fetchable[NewestMajor] == "" || fetchable[NewestMajor+1] != "" {
		t.Errorf("%d is not the newest", NewestMajor)
	}
}

func TestDSN(t *testing.T) {
	t.Parallel()
	s := &Server{dir: &ownedDir{path: `/tmp/a b`}, Port: 5433}
	for _, database := range []string{"plain", "sp ace", `quo'te`, `back\slash`, ""} {
		cfg, err := pgx.ParseConfig(s.DSN(database) + " sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Host != "/tmp/a b" || cfg.Port != 5433 || cfg.User != Superuser || cfg.Database != database {
			t.Errorf("got %s %d %s %s", cfg.Host, cfg.Port, cfg.User, cfg.Database)
		}
	}
}
