package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fast-export/internal/pgtest"
)

// TestBinary drives the built program: what main does beyond Run.
func TestBinary(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "fast-export")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "fast-export").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(env []string, args ...string) (string, string, int) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), env...)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
	}

	// Under nohup SIGHUP is ignored, and the program leaves it so: what we are told of, our children are not deaf to.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)

	t.Run("version", func(t *testing.T) {
		out, errOut, code := run(nil, "version")
		if code != 0 || errOut != "" || !strings.HasPrefix(out, "fast-export ") || !strings.Contains(out, "\ngithub.com/jackc/pgx/v5 v5.") {
			t.Errorf("got %d, %q, %q", code, out, errOut)
		}
	})
	t.Run("usage", func(t *testing.T) {
		out, errOut, code := run(nil, "--table")
		if code != 64 || out != "" || errOut != "error: --table needs a value\n" {
			t.Errorf("got %d, %q, %q", code, out, errOut)
		}
	})
	t.Run("libpq's environment", func(t *testing.T) {
		dsn := pgtest.Database(t)
		s, err := parseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		pgtest.NoLeftovers(t, dir, "o.parquet")
		env := []string{"PGHOST=" + s["host"], "PGPORT=" + s["port"], "PGDATABASE=" + s["dbname"], "PGUSER=" + s["user"], "PGOPTIONS=-c search_path=pg_catalog"}
		out, errOut, code := run(env, "--sql", "SELECT current_setting('search_path') AS path", "--out", filepath.Join(dir, "o.parquet"))
		if code != 0 || !strings.Contains(out, "1 row,") || !strings.Contains(errOut, "progress: ") {
			t.Errorf("got %d, %q, %q", code, out, errOut)
		}
		if got := pgtest.ReadParquet(t, filepath.Join(dir, "o.parquet")).Rows[0][0]; got != "pg_catalog" {
			t.Errorf("the session has search_path %v", got)
		}
	})
	t.Run("a summary that nobody reads", func(t *testing.T) {
		dsn := pgtest.Database(t)
		dir := t.TempDir()
		pgtest.NoLeftovers(t, dir, "o.parquet")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		read.Close()
		defer write.Close()
		cmd := exec.CommandContext(t.Context(), program, "--dsn", dsn, "--sql", "SELECT 1 AS x", "--out", filepath.Join(dir, "o.parquet"))
		var errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = write, &errOut
		_ = cmd.Run()
		if cmd.ProcessState.ExitCode() != codeFailed || !strings.Contains(errOut.String(), "error: write to standard output: broken pipe\n") {
			t.Errorf("got %v, %q", cmd.ProcessState, errOut.String())
		}
	})
	for _, c := range []struct {
		name    string
		signals []syscall.Signal
		code    int
	}{
		{"SIGINT", []syscall.Signal{syscall.SIGINT}, 130},
		{"SIGTERM", []syscall.Signal{syscall.SIGTERM}, 143},
		{"SIGHUP", []syscall.Signal{syscall.SIGHUP}, 129},
		{"twice in a row, as by GNU timeout", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, 143},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := pgtest.Database(t)
			pgtest.Exec(t, dsn, "CREATE TABLE slow (x int)", "INSERT INTO slow SELECT generate_series(1, 1000)")
			dir := t.TempDir()
			pgtest.NoLeftovers(t, dir)
			cmd := exec.CommandContext(t.Context(), program, "--dsn", dsn, "--sql", "SELECT x, pg_sleep(0.1)::text AS s FROM slow", "--out", filepath.Join(dir, "o.parquet"))
			var errOut bytes.Buffer
			cmd.Stdout, cmd.Stderr = io.Discard, &errOut
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			copying(t, dsn, 1)
			start := time.Now()
			for _, s := range c.signals {
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond) // else the kernel makes one of two
			}
			_ = cmd.Wait()
			took := time.Since(start)
			if cmd.ProcessState.ExitCode() != c.code || took > 2*time.Second {
				t.Errorf("%v after %v, want %d within a second", cmd.ProcessState, took, c.code)
			}
			if !strings.Contains(errOut.String(), "error: stopped by signal ") || strings.Count(errOut.String(), "error:") != 1 {
				t.Errorf("got %q", errOut.String())
			}
			copying(t, dsn, 0)
		})
	}
}

// copying waits until so many connections of the program run a COPY.
func copying(t *testing.T, dsn string, want int) {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		var got int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fast-export'
			AND state = 'active' AND query LIKE '%COPY%'`).Scan(&got)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%d connections copy, want %d", got, want)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
