// Peers measures fast-export beside other tools: it starts a throwaway Postgres with the benchmark's tables and runs
// bench/peers/peers.py on it, a table at a time, and then fast-export's own bench.
//
//	go run ./internal/tools/peers -python .cache/venv-bench/bin/python -rows 1000000 -rounds 5 -- --only fast-export duckdb
//
// What stands behind -- goes to peers.py.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"fast-export/bench/data"
	"fast-export/internal/pgserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	python := flag.String("python", "python3", "interpreter with the peers installed (bench/peers/requirements.txt)")
	binary := flag.String("fast-export", "bin/fast-export", "the program to measure")
	rows := flag.Int64("rows", 1_000_000, "rows of obs_sbn; dia_source has half as many again")
	tables := flag.String("tables", "obs_sbn,dia_source", "tables to measure")
	dsn := flag.String("dsn", "", "a server that has the tables, in place of a throwaway one")
	rounds := flag.Int("rounds", 5, "how often each way and each run of the bench is done")
	flag.Parse()

	if *dsn == "" {
		in, err := pgserver.Find(os.Getenv("FAST_EXPORT_PG_BIN"), "")
		if err != nil {
			return fmt.Errorf("%w: install one (apt-get install postgresql) or give -dsn", err)
		}
		// As a server with room for the tables would be set up: the measurement is not of its disk.
		srv, err := pgserver.Start(ctx, pgserver.Config{Install: in, Settings: []string{"shared_buffers = 2GB", "max_wal_size = 8GB", "autovacuum = off"}})
		if err != nil {
			return err
		}
		defer func() {
			if serr := srv.Stop(); err == nil {
				err = serr
			}
		}()
		*dsn = srv.DSN("postgres")
		fmt.Fprintf(os.Stderr, "Postgres %s; making %d rows of obs_sbn and %d of dia_source\n", in.Version, *rows, *rows*3/2)
		if err := load(ctx, *dsn, data.MPC(*rows), data.DIA(*rows*3/2), "VACUUM ANALYZE"); err != nil {
			return err
		}
	}
	var failed error
	for _, table := range strings.Split(*tables, ",") {
		key := "id"
		if table == "dia_source" {
			key = `"diaSourceId"`
		}
		args := append([]string{"bench/peers/peers.py", "--dsn", *dsn, "--table", table, "--key", key, "--fast-export", *binary, "--rounds", fmt.Sprint(*rounds)}, flag.Args()...)
		if perr := call(ctx, *python, args...); ctx.Err() != nil {
			return context.Cause(ctx)
		} else if perr != nil { // a way failed: the other tables and the bench go on
			failed = errors.Join(failed, fmt.Errorf("bench/peers/peers.py --table %s: %w", table, perr))
		}
	}
	for _, table := range strings.Split(*tables, ",") {
		if err := call(ctx, *binary, "bench", "--dsn", *dsn, "--table", table, "--rounds", fmt.Sprint(*rounds)); err != nil {
			return errors.Join(failed, fmt.Errorf("%s bench: %w", *binary, err))
		}
	}
	return failed
}

// call runs a program, which a signal ends in order.
func call(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd.Run()
}

func load(ctx context.Context, dsn string, scripts ...string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range scripts {
		if _, err := conn.PgConn().Exec(ctx, s).ReadAll(); err != nil {
			return err
		}
	}
	return nil
}
