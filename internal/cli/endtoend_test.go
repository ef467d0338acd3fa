package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// built is the program, built for this test.
func built(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "fast-export")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "fast-export").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// A second signal kills at once, whatever the first one still waits for: here a server process that does not answer.
func TestSecondSignalKills(t *testing.T) {
	t.Parallel()
	program := built(t)
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t)
	cmd := exec.CommandContext(t.Context(), program, "--dsn", dsn, "--sql", "SELECT pg_sleep(60)::text AS s", "--out", filepath.Join(t.TempDir(), "o.parquet"))
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	copying(t, dsn, 1)
	var pids []int
	rows, err := pgtest.Connect(t, dsn).Query(t.Context(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'fast-export'")
	if err != nil {
		t.Fatal(err)
	}
	if pids, err = pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(pids) != 2 {
		t.Fatalf("%v, %v", pids, err)
	}
	signal := func(sig syscall.Signal) {
		for _, pid := range pids {
			if err := syscall.Kill(pid, sig); err != nil {
				t.Error(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	start := time.Now()
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond) // longer than what is taken for one signal, shorter than the wait for the server
	}
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("%v after %v, want killed by the second signal; %s", cmd.ProcessState, time.Since(start), errOut.String())
	}
}

// A value of 400 MB comes out whole by both transports, within a stated multiple of itself.
func TestHugeValue(t *testing.T) {
	program := built(t)
	dsn := pgtest.Database(t)
	// Quotes, commas, newlines and characters of two bytes: 425 MB as it is, 475 MB as CSV.
	const unit, times = `0123456789é"\n`, 25_000_000
	pgtest.Exec(t, dsn, fmt.Sprintf("CREATE TABLE huge AS SELECT 1 AS id, repeat(E'%s,', %d) AS v", unit, times))
	want := strings.TrimSpace(pgtest.Query(t, dsn, "SELECT md5(v) || ' ' || octet_length(v) FROM huge"))
	for _, transport := range []string{"csv", "binary"} {
		dir := t.TempDir()
		pgtest.NoLeftovers(t, dir, "o.parquet")
		out := filepath.Join(dir, "o.parquet")
		cmd := exec.CommandContext(t.Context(), program, "--dsn", dsn, "--table", "huge", "--out", out, "--transport", transport, "--memory", "64MB", "--quiet")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", transport, err, msg)
		}
		size := int64(len("0123456789é\"\n,") * times)
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
		t.Logf("%s: peak %d MB for a value of %d MB", transport, peak/1e6, size/1e6)
		if allowed := maxRowFactor*size + 64e6 + 100<<20; peak > allowed {
			t.Errorf("%s: peak %d MB for a value of %d MB, allowed are %d", transport, peak/1e6, size/1e6, allowed/1e6)
		}
		got := strings.TrimSpace(string(pgtest.RunPython(t, `
import hashlib, sys, pyarrow.parquet as pq
v = pq.read_table(sys.argv[1])["v"][0].as_py().encode()
print(hashlib.md5(v).hexdigest(), len(v))`, out)))
		if got != want {
			t.Errorf("%s: the file has %s, the server %s", transport, got, want)
		}
	}
}

// maxRowFactor is the multiple of the largest single row that comes on top of --memory.
const maxRowFactor = 5

// The kernel refuses to write: a file system that is full, and a file that may not grow. The target and what was there
// before stay as they are, and no temp file is left.
func TestFullDirectories(t *testing.T) {
	t.Parallel()
	program := built(t)
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS id, md5(k::text) || md5((k + 1)::text) AS a, random() AS r FROM generate_series(1, 150000) k", "ANALYZE t")
	// $D is the directory that fills up, $O another one.
	tmpfs := `mount -t tmpfs -o size=2m tmpfs "$D" && `
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	limit := `ulimit -f 4096; ` // blocks of 512 bytes
	for _, c := range []struct {
		name, before, args string
		want               string
	}{
		{"target", tmpfs, `--out "$D/o.parquet" --temp-dir "$O"`, "no space left on device"},
		{"temp", tmpfs, `--out "$O/o.parquet" --temp-dir "$D" --memory 64MB --keep-temp`, "no space left on device"},
		{"file too large", limit, `--out "$O/o.parquet" --temp-dir "$D"`, "file too large"},
		{"temp file too large", limit, `--out "$O/o.parquet" --temp-dir "$D" --keep-temp --chunk-size 1GB`, "file too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			full, other := t.TempDir(), t.TempDir()
			shell := []string{"sh", "-c", c.before + `"$P" --dsn "$DSN" --table t --quiet ` + c.args + `; code=$?; ls -A "$D" "$O" >&2; exit $code`}
			if c.before == tmpfs {
				// In a mount namespace of its own, which any user may have on most systems.
				if out, err := exec.CommandContext(t.Context(), unshare[0], append(unshare[1:], "mount", "-t", "tmpfs", "tmpfs", full)...).CombinedOutput(); err != nil {
					if os.Getenv("CI") == "true" {
						t.Fatalf("no file system can be mounted here: %v: %s", err, out)
					}
					t.Logf("no file system can be mounted here (%v: %s): only file sizes are limited", err, out)
					return
				}
				shell = slices.Concat(unshare, shell)
			}
			cmd := exec.CommandContext(t.Context(), shell[0], shell[1:]...)
			cmd.Env = append(os.Environ(), "D="+full, "O="+other, "P="+program, "DSN="+dsn)
			out, _ := cmd.CombinedOutput()
			left := full + ":\n\n" + other + ":\n"
			if cmd.ProcessState.ExitCode() != codeTarget || !strings.HasPrefix(string(out), "error: ") || !strings.Contains(string(out), c.want) || !strings.HasSuffix(string(out), left) {
				t.Errorf("code %d\n%s", cmd.ProcessState.ExitCode(), out)
			}
		})
	}
}

// Where no file can be made beside the output, the error is about the output, which was asked for, and not about temporary files.
func TestOutputWhereNoFileCanBeMade(t *testing.T) {
	t.Parallel()
	program := built(t)
	cmd := exec.CommandContext(t.Context(), program, "--dsn", pgtest.Database(t), "--sql", "SELECT 1 AS x", "--out", "/proc/x.parquet", "--quiet")
	out, _ := cmd.CombinedOutput()
	got := string(out)
	if cmd.ProcessState.ExitCode() != codeTarget || !strings.HasPrefix(got, "error: write in directory /proc: ") || strings.Contains(got, "temp") || strings.Contains(got, "mkdir") {
		t.Errorf("code %d\n%s", cmd.ProcessState.ExitCode(), got)
	}
}

// A snapshot exported elsewhere: the file has the rows as they were then, whatever was written since.
func TestAdoptedSnapshot(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
	conn := pgtest.Connect(t, dsn)
	var id string
	if _, err := conn.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, dsn, "DELETE FROM t WHERE x > 10", "INSERT INTO t SELECT generate_series(2001, 2500)")
	dir := t.TempDir()
	pgtest.NoLeftovers(t, dir, "o.parquet")
	out := filepath.Join(dir, "o.parquet")
	if got := live(t, dsn, "--table", "t", "--snapshot", id, "--out", out, "--parallel", "2", "--chunk-size", "8KiB"); got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "1,000 rows") {
		t.Fatalf("got %+v", got)
	}
	if rows := pgtest.ReadParquet(t, out).Rows; len(rows) != 1000 || fmt.Sprint(rows[999][0]) != "1000" {
		t.Errorf("%d rows", len(rows))
	}
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil { // Close would not wait for the server
		t.Fatal(err)
	}
	if got := live(t, dsn, "--table", "t", "--snapshot", id, "--out", out, "--overwrite"); got.code != codeSnapshot || !strings.Contains(got.stderr, "adopt snapshot "+id) {
		t.Errorf("after its transaction has ended: %+v", got)
	}
}

// BenchmarkSmallTable is a table of a few pages from start to finish, process included: docs/performance.md says what it takes.
func BenchmarkSmallTable(b *testing.B) {
	program := built(b)
	dsn := pgtest.Database(b)
	pgtest.Exec(b, dsn, "CREATE TABLE small AS SELECT k AS id, md5(k::text) AS t, k / 3.0 AS f FROM generate_series(1, 500) k", "ANALYZE small")
	out := filepath.Join(b.TempDir(), "o.parquet")
	for b.Loop() {
		if msg, err := exec.CommandContext(b.Context(), program, "--dsn", dsn, "--table", "small", "--out", out, "--quiet").CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, msg)
		}
	}
}
