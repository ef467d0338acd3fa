package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"

	"fast-export/bench/data"
	"fast-export/internal/export"
	"fast-export/internal/pgserver"
	"fast-export/internal/progress"
)

func demoCommand() command {
	return command{
		name:    "demo",
		summary: "show it at work on a throwaway Postgres of its own",
		usage:   []string{"[--rows N] [--out-dir DIRECTORY]"},
		about: "Starts a throwaway Postgres (an installed one, or one that is fetched once into the user's cache directory), makes tables shaped like " +
			"those of the Minor Planet Center, exports them all in parallel from one snapshot, and stops the server. The files stay.\n\n" +
			"FAST_EXPORT_PG_BIN names the directory of the Postgres programs to use, FAST_EXPORT_CACHE another cache directory.",
		example: "fast-export demo --rows 1000000",
		new: func(f *flags) runFunc {
			o := &demoOptions{rows: 100_000, parallel: int64(min(runtime.NumCPU(), 8))}
			f.group("Demo")
			f.Var(count{&o.rows, 1, 1e9}, "rows", "`N` rows of the largest table, about 500 bytes each")
			f.StringVar(&o.outDir, "out-dir", "", "`DIRECTORY` an existing one for the files (default: a new one for temporary files)")
			f.Var(count{&o.parallel, 1, 64}, "parallel", "`N` connections that copy")
			f.Lookup("parallel").DefValue = "the number of cores, at most 8"
			return o.demo
		},
	}
}

type demoOptions struct {
	rows, parallel int64
	outDir         string
}

func (o *demoOptions) demo(ctx context.Context, a *app) (err error) {
	say := func(format string, args ...any) { fmt.Fprintf(a.Stderr, "demo: "+format+"\n", args...) }
	dir, err := o.directory()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && o.outDir == "" {
			_ = os.Remove(dir) // ours, and empty if nothing was exported
		}
	}()
	install, err := findPostgres(ctx, a.Getenv, say)
	if err != nil {
		return err
	}
	server, err := pgserver.Start(ctx, pgserver.Config{Install: install, Settings: []string{"autovacuum = off", "max_wal_size = 4GB"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	say("Postgres %s of %s runs in %s", install.Version, install.Bin, server.Dir())

	conn, err := connOptions{dsn: server.DSN("postgres")}.config(func(string) string { return "" })
	if err != nil {
		return err
	}
	start := time.Now()
	say("making %s …", strings.Join(data.MPCTables, ", "))
	if err := execute(ctx, conn, data.MPC(o.rows)); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	say("made in %s", progress.Duration(time.Since(start)))

	const memory = 512 << 20
	defer tuneGC(a.Getenv, memory)()
	cfg := export.Config{Conn: conn, Parallel: int(o.parallel), Memory: memory, LockTimeout: time.Minute, Version: buildInfo().version}
	for _, table := range data.MPCTables {
		cfg.Jobs = append(cfg.Jobs, export.Job{Table: table, Out: filepath.Join(dir, table+".parquet"), RowGroupRows: 1_000_000})
	}
	show := a.display("", false)
	cfg.Progress, cfg.Log = show, a.logger(show, "warn")
	result, err := a.run(ctx, cfg)
	show.Close()
	if err != nil {
		return err
	}
	return a.print(summary(result, show.Warnings()) + lookAt(result))
}

// directory is where the files go: never into the directory where the user stands, which may be a repository.
func (o *demoOptions) directory() (string, error) {
	if o.outDir == "" {
		return os.MkdirTemp("", "fast-export-demo-")
	}
	info, err := os.Stat(o.outDir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return "", &hinted{fmt.Errorf("--out-dir %s: %w", quoteArg(o.outDir), reason(err)), codeTarget, "directories are never made: mkdir -p makes one"}
	}
	return filepath.Abs(o.outDir)
}

// findPostgres returns an installed Postgres, or one in the cache, or fetches one there.
func findPostgres(ctx context.Context, getenv func(string) string, say func(string, ...any)) (pgserver.Install, error) {
	cache := getenv("FAST_EXPORT_CACHE")
	if cache == "" {
		base := cmp.Or(getenv("XDG_CACHE_HOME"), filepath.Join(getenv("HOME"), ".cache")) // as os.UserCacheDir, from Env
		cache = filepath.Join(base, "fast-export")
	}
	cache = filepath.Join(cache, "pg")
	in, err := pgserver.Find(getenv("FAST_EXPORT_PG_BIN"), cache)
	if !errors.Is(err, pgserver.ErrNotFound) || getenv("FAST_EXPORT_PG_BIN") != "" {
		return in, err
	}
	say("no Postgres is installed: fetching version %d into %s, once", pgserver.NewestMajor, cache)
	in, err = pgserver.Fetch(ctx, cache, pgserver.NewestMajor)
	if err != nil {
		return in, &hinted{err, codeFailed, "apt-get install postgresql installs one"}
	}
	return in, nil
}

func execute(ctx context.Context, cfg *pgx.ConnConfig, sql string) (err error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// lookAt lists the files with their rows, and ways to look into them.
func lookAt(r *export.Result) string {
	var rows [][]string
	for _, f := range r.Files {
		rows = append(rows, []string{f.Path, humanize.Comma(f.Rows), humanize.IBytes(uint64(f.Bytes))})
	}
	first := r.Files[0].Path
	return "\n" + table("", []string{"file", "rows", "size"}, rows) + fmt.Sprintf(`
Look at them, for example:
  python3 -c "import duckdb; duckdb.sql('SELECT stn, count(*) FROM \\'%[1]s\\' GROUP BY stn ORDER BY 2 DESC LIMIT 5').show()"
  python3 -c "import pyarrow.parquet as pq; print(pq.read_table('%[1]s').slice(0, 3).to_pylist())"
`, first)
}
