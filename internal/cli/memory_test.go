package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"fast-export/internal/pgtest"
)

// The process stays within --memory and 100 MiB at any parallelism, spilling what does not fit: for a table, one five
// times larger, for a wide one of full dictionaries, and for many statements of unknown size, each of whose files has open
// pages of its own.
func TestMemoryStaysBounded(t *testing.T) {
	program := filepath.Join(t.TempDir(), "fast-export")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "fast-export").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dsn := pgtest.Database(t)
	// 20 MB and 100 MB of columns that compress badly, so that pages pile up too.
	columns := ""
	for i := range 30 {
		columns += fmt.Sprintf(", random() * %d AS f%d, md5(random()::text) AS t%d", i+1, i, i)
	}
	pgtest.Exec(t, dsn, "CREATE TABLE small AS SELECT k"+columns+" FROM generate_series(1, 15000) k", "CREATE TABLE large AS SELECT k"+columns+" FROM generate_series(1, 75000) k",
		"ANALYZE small", "ANALYZE large")
	// Dictionaries that just find room, with what finds their entries, in many columns at a time.
	columns = ""
	for i := range 512 {
		columns += fmt.Sprintf(", 'v' || lpad((hashint4(k * 1000 + %d) & 4095)::text, 5, '0') AS t%d", i, i)
	}
	pgtest.Exec(t, dsn, "CREATE TABLE wide AS SELECT k"+columns+" FROM generate_series(1, 60000) k", "ANALYZE wide")
	peak := func(table, parallel string) int64 {
		out := filepath.Join(t.TempDir(), "o.parquet")
		cmd := exec.CommandContext(t.Context(), program, "--dsn", dsn, "--table", table, "--out", out, "--memory", "64MB", "--parallel", parallel, "--chunk-size", "4MiB", "--quiet")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	}
	batch := func() int64 {
		dir := t.TempDir()
		list := ""
		for i := range 8 {
			list += fmt.Sprintf("- {sql: SELECT * FROM large OFFSET 0, out: %s/%d.parquet}\n", dir, i)
		}
		file := filepath.Join(dir, "batch.yaml")
		if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), program, "--dsn", dsn, "--config", file, "--memory", "64MB", "--parallel", "8", "--quiet")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	}
	const limit = 64_000_000 + 100<<20
	for _, parallel := range []string{"1", "32"} {
		small, large := peak("small", parallel), peak("large", parallel)
		t.Logf("--parallel %s: %d MiB, five times the rows %d MiB", parallel, small>>20, large>>20)
		if small > limit || large > limit {
			t.Errorf("--parallel %s: %d and %d bytes, allowed are %d", parallel, small, large, limit)
		}
	}
	if wide := peak("wide", "1"); wide > limit {
		t.Errorf("512 columns of texts: %d bytes, allowed are %d", wide, limit)
	} else {
		t.Logf("512 columns of texts: %d MiB", wide>>20)
	}
	if b := batch(); b > limit {
		t.Errorf("a batch of eight statements: %d bytes, allowed are %d", b, limit)
	} else {
		t.Logf("a batch of eight statements: %d MiB", b>>20)
	}
}
