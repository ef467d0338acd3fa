// Command gotest runs `go test -json` with the arguments given and shows what matters: a line a package, the whole output of what failed,
// the slowest tests, and how many passed and failed. A skipped test is a failure: what a test needs is installed or fetched by `make test`,
// so that a green run has seen every test.
//
//	go run ./internal/tools/gotest -race ./...
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
)

func main() {
	// Ctrl-C in a terminal reaches go test too, which ends its tests; stay to say what they said. Caught, not ignored: go test would
	// inherit that.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
	r := newReport(os.Stdout)
	readErr := r.read(events)
	runErr := cmd.Wait()
	ok := r.close()
	if readErr != nil {
		fmt.Fprintln(os.Stderr, "gotest:", readErr)
	}
	if runErr != nil || readErr != nil || !ok {
		os.Exit(1)
	}
}

// event is one line of `go test -json`. Source: go doc test2json, and for ImportPath go help buildjson.
type event struct {
	Action     string
	Package    string
	Test       string
	Output     string
	Elapsed    float64 // seconds
	ImportPath string  // of build-output and build-fail
}

type key struct{ pkg, test string }

type timed struct {
	seconds float64
	key
}

type report struct {
	out                     io.Writer
	passed, failed, skipped int
	output                  map[key]*strings.Builder // of tests that have not ended
	took                    []timed
	skips                   []string
	brokenPackages          int // failed without a failed test: did not build, panicked, or TestMain said no
	failedIn                map[string]bool
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[key]*strings.Builder{}, failedIn: map[string]bool{}}
}

func (r *report) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.add(e)
			} else {
				fmt.Fprintf(r.out, "%s", line) // what a test's child wrote past the framework
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if r.output[k] == nil {
			r.output[k] = &strings.Builder{}
		}
		r.output[k].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
			return
		}
		switch e.Action {
		case "pass":
			r.passed++
		case "fail":
			r.failed++
			r.failedIn[e.Package] = true
			r.show(k)
		case "skip":
			r.skipped++
			r.skips = append(r.skips, e.Package+" "+e.Test)
		}
		delete(r.output, k)
		if !strings.Contains(e.Test, "/") {
			r.took = append(r.took, timed{e.Elapsed, k})
		}
	}
}

// show prints what a failed test printed, under its name: a parent's lines and its subtests' come apart in the stream.
func (r *report) show(k key) {
	out := r.output[k]
	if out == nil {
		return
	}
	fmt.Fprintln(r.out, strings.TrimSpace(k.pkg+" "+k.test))
	for line := range strings.Lines(out.String()) {
		// go test's own verdict on the package: ours follows.
		if k.test != "" || line != "FAIL\n" && !strings.HasPrefix(line, "FAIL\t") {
			fmt.Fprint(r.out, line)
		}
	}
}

func (r *report) endPackage(e event) {
	verdict := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "no tests"}[e.Action]
	if e.Action == "fail" {
		if !r.failedIn[e.Package] {
			r.brokenPackages++
		}
		// A panic or a timeout ends the process in the middle of tests: what they said is the clue.
		var open []key
		for k := range r.output {
			if k.pkg == e.Package {
				open = append(open, k)
			}
		}
		slices.SortFunc(open, func(a, b key) int { return strings.Compare(a.test, b.test) })
		for _, k := range open {
			r.show(k)
		}
	}
	for k := range r.output {
		if k.pkg == e.Package {
			delete(r.output, k)
		}
	}
	fmt.Fprintf(r.out, "%-8s %s %.1fs\n", verdict, e.Package, e.Elapsed)
}

// close prints the summary and says whether the run was good.
func (r *report) close() bool {
	slices.SortStableFunc(r.took, func(a, b timed) int { return cmp.Compare(b.seconds, a.seconds) })
	fmt.Fprintln(r.out, "\nslowest tests:")
	for _, t := range r.took[:min(10, len(r.took))] {
		fmt.Fprintf(r.out, "%7.1f s  %s %s\n", t.seconds, t.pkg, t.test)
	}
	for _, s := range r.skips {
		fmt.Fprintf(r.out, "--- SKIP: %s: a skipped test is a failed one here\n", s)
	}
	if r.brokenPackages > 0 {
		fmt.Fprintf(r.out, "%d packages failed outside of their tests\n", r.brokenPackages)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed+r.brokenPackages, r.skipped)
	return r.failed == 0 && r.skipped == 0 && r.brokenPackages == 0
}
