// Command fast-export copies Postgres tables and queries to Parquet files, in parallel, from one snapshot.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"fast-export/internal/cli"
)

// settle is how long after a signal further ones are taken for the same: GNU timeout signals its child, and microseconds later its group.
const settle = 300 * time.Millisecond

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // nohup, or a shell's background job
			signal.Notify(signals, s)
		}
	}
	go func() {
		s := <-signals
		cancel(cli.Interrupted{Signal: s.(syscall.Signal)})
		// The first one ends the run in order. From a moment later on a second one kills, as if nobody had asked to be told.
		time.Sleep(settle)
		signal.Stop(signals)
	}()
	// A reader that goes away (fast-export … | head) makes writes fail in place of killing the process with its temp files left.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Ignore(syscall.SIGXFSZ) // a file beyond ulimit -f: the write fails, and says which

	args, alias := os.Args[1:], ""
	if filepath.Base(os.Args[0]) == "extract-catalog" { // a link to the program, for those who type the old tool's name
		args, alias = append([]string{"butler"}, args...), "extract-catalog"
	}
	return cli.Run(ctx, args, cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: takePG(), Terminal: terminal(os.Stderr), Alias: alias,
	})
}

// takePG takes libpq's variables out of the process's environment and returns what looks them up: pgx reads them by itself,
// and cli alone is to decide which setting wins.
func takePG() func(string) string {
	taken := map[string]string{}
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			taken[name] = value
			os.Unsetenv(name)
		}
	}
	return func(name string) string {
		if v, ok := taken[name]; ok {
			return v
		}
		return os.Getenv(name)
	}
}

// terminal returns the columns of the terminal that f is, 0 where it is none.
func terminal(f *os.File) func() int {
	return func() int {
		if os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
			return 0
		}
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 {
			return 80
		}
		return width
	}
}
