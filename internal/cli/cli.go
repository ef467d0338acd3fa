package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"fast-export/internal/export"
)

// Env is what a command may touch of the process that it runs in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Alias          string     // the name by which the one command that args begin with was called; "": the program's own
	Terminal       func() int // columns of the terminal behind Stderr, 0 where it is none; nil: none
}

// Interrupted is the cause of the context's end after a signal.
type Interrupted struct{ Signal syscall.Signal }

func (i Interrupted) Error() string {
	return fmt.Sprintf("stopped by signal %d (%s)", int(i.Signal), i.Signal)
}

// command is one subcommand. The root command, which exports, is one too, with an empty name.
type command struct {
	name    string
	summary string   // one line for the list of commands
	usage   []string // how it is called, without the program's name
	about   string   // a paragraph or two
	example string   // shown at the end: something that one would really type
	new     func(f *flags) runFunc
}

// runFunc runs a command whose flags have been parsed.
type runFunc func(ctx context.Context, app *app) error

// app is what commands share.
type app struct {
	Env
	run    func(context.Context, export.Config) (*export.Result, error)
	dryRun func(context.Context, export.Config) (*export.PlanReport, error)
}

// subcommands in the order in which help lists them.
func subcommands() []command {
	return []command{benchCommand(), butlerCommand(), completionCommand(), demoCommand(), versionCommand()}
}

// Run does what args, without the program's name, ask for and returns the exit code. Results go to env.Stdout, everything
// else to env.Stderr. A cancelled ctx ends it within a second or so; the cause Interrupted decides the code then.
func Run(ctx context.Context, args []string, env Env) int {
	return (&app{Env: env, run: export.Run, dryRun: export.DryRun}).main(ctx, args)
}

func (a *app) main(ctx context.Context, args []string) int {
	if a.Terminal == nil {
		a.Terminal = func() int { return 0 }
	}
	err := a.dispatch(ctx, args)
	if err == nil {
		return codeDone
	}
	// After a signal every failure is an echo of it, unless the work was done before.
	_, done := errors.AsType[*settled](err)
	if cause, ok := errors.AsType[Interrupted](context.Cause(ctx)); ok && !done {
		err = cause
	}
	for _, line := range describe(err) {
		fmt.Fprintln(a.Stderr, line)
	}
	return exitCode(err)
}

// dispatch finds the command, parses its flags and runs it.
func (a *app) dispatch(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == measureCommand {
		return measureOne(ctx, a)
	}
	cmd, help := exportCommand(), false
	if len(args) > 0 && args[0] == "help" {
		args, help = args[1:], true
	}
	if len(args) > 0 && args[0] != "" && !strings.HasPrefix(args[0], "-") {
		found, err := findCommand(args[0])
		if err != nil {
			return err
		}
		cmd, args = found, args[1:]
	}
	f := newFlags(cmd.name)
	run := cmd.new(f)
	f.addHelp(&help)
	if err := f.parse(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if help {
		return a.print(aliased(helpText(cmd, f), cmd, a.Alias))
	}
	return run(ctx, a)
}

func findCommand(name string) (command, error) {
	var names []string
	for _, c := range subcommands() {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	hint := "exporting needs no command: fast-export --table NAME --out FILE"
	if near := nearest(name, names); near != "" {
		hint = "did you mean fast-export " + near + "?"
	}
	return command{}, usagef(hint, "unknown command %s", quoteArg(name))
}

// print writes a result to stdout.
func (a *app) print(s string) error {
	if _, err := io.WriteString(a.Stdout, s); err != nil {
		return &hinted{fmt.Errorf("write to standard output: %w", reason(err)), codeFailed, ""}
	}
	return nil
}

// warn tells of something that is done otherwise than was asked for, or not at all.
func (a *app) warn(text string) { fmt.Fprintln(a.Stderr, "warning: "+oneLine(text)) }

// logger writes what is at least of the level to w.
func (a *app) logger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		panic(err) // the flag takes the four names alone
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l}))
}
