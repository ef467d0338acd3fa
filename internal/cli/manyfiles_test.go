package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fast-export/bench/data"
	"fast-export/internal/pgtest"
)

// BenchmarkManyFiles is a table of 1,000,000 rows alone, in a batch with fifty of 2,000 rows, a schema of 500 tables of 200 rows, and one of
// these alone, processes included. docs/performance.md says how they compare. Run it with -benchtime 3x: the tables take a minute to make.
func BenchmarkManyFiles(b *testing.B) {
	program, dsn, dir := built(b), pgtest.Database(b), b.TempDir()
	pgtest.Exec(b, dsn, data.MPC(1_000_000), "CREATE SCHEMA many")
	batch := strings.Builder{}
	fmt.Fprintf(&batch, "- {sql: SELECT * FROM obs_sbn, out: %q}\n", filepath.Join(dir, "large.parquet"))
	for i := range 50 {
		pgtest.Exec(b, dsn, fmt.Sprintf("CREATE TABLE small_%d AS SELECT * FROM obs_sbn ORDER BY ctid LIMIT 2000", i))
		fmt.Fprintf(&batch, "- {sql: SELECT * FROM small_%d, out: %q}\n", i, filepath.Join(dir, fmt.Sprintf("small_%d.parquet", i)))
	}
	for i := range 500 {
		pgtest.Exec(b, dsn, fmt.Sprintf("CREATE TABLE many.t%d AS SELECT k AS id, md5(k::text) AS t, k / 3.0 AS f FROM generate_series(1, 200) k", i))
	}
	pgtest.Exec(b, dsn, "VACUUM ANALYZE")
	config := filepath.Join(dir, "batch.yaml")
	if err := os.WriteFile(config, []byte(batch.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"large", []string{"--table", "obs_sbn", "--out", filepath.Join(dir, "large.parquet")}},
		{"batch", []string{"--config", config}},
		{"schema", []string{"--schema", "many", "--out-dir", dir}},
		{"single", []string{"--table", "many.t0", "--out", filepath.Join(dir, "single.parquet")}},
	} {
		b.Run(c.name, func(b *testing.B) {
			peak := int64(0)
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), program, append(c.args, "--dsn", dsn, "--parallel", "4", "--memory", "512MiB", "--quiet", "--overwrite")...)
				if msg, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, msg)
				}
				peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
			}
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		})
	}
}

// BenchmarkTree plans a table of 10,000 partitions, a row in every tenth, without and with a primary key: the server opens as many indexes
// then. The tables take minutes to make. The figures are in docs/performance.md:
//
//	go test ./internal/cli -run - -bench Tree -benchtime 3x
func BenchmarkTree(b *testing.B) {
	program, dir := built(b), b.TempDir()
	srv := pgtest.Start(b, pgtest.Config{Settings: []string{"max_locks_per_transaction = 512", "shared_buffers = 512MB"}})
	dsn := srv.DSN("postgres")
	for table, key := range map[string]string{"bare": "", "keyed": ", PRIMARY KEY (id)"} {
		pgtest.Exec(b, dsn, fmt.Sprintf("CREATE TABLE %s (id bigint NOT NULL, k int NOT NULL, t timestamptz NOT NULL, v float8, name text, note text%s) PARTITION BY RANGE (id)", table, key))
		for first := 0; first < 10_000; first += 200 {
			pgtest.Exec(b, dsn, fmt.Sprintf(`DO $$ BEGIN FOR i IN %[2]d..%[3]d LOOP
				EXECUTE format('CREATE TABLE %[1]s_%%s PARTITION OF %[1]s FOR VALUES FROM (%%s) TO (%%s)', i, i, i + 1); END LOOP; END $$`, table, first, first+199))
		}
		pgtest.Exec(b, dsn, fmt.Sprintf("INSERT INTO %s SELECT k, k, now(), k, 'n' || k FROM generate_series(0, 9999, 10) k", table))
	}
	pgtest.Exec(b, dsn, "VACUUM ANALYZE")
	for _, table := range []string{"bare", "keyed"} {
		b.Run(table, func(b *testing.B) {
			peak, cpu := int64(0), time.Duration(0)
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), program, "--dsn", dsn, "--table", table, "--out", filepath.Join(dir, "x.parquet"), "--dry-run")
				if msg, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, msg)
				}
				peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
				cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			}
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
			b.ReportMetric(cpu.Seconds()/float64(b.N), "client-s/op")
		})
	}
}
