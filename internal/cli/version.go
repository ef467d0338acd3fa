package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

func versionCommand() command {
	return command{
		name:    "version",
		summary: "name this build and the libraries that it is made of",
		usage:   []string{""},
		about:   "Prints the version, the commit, the Go release and the libraries of this program, one a line.",
		example: "fast-export version",
		new: func(*flags) runFunc {
			return func(_ context.Context, a *app) error {
				b := buildInfo()
				return a.print(b.line() + "\n" + b.details())
			}
		},
	}
}

// build is what the Go toolchain wrote into the program: a plain go build is a release.
type build struct {
	version  string // of the module: v1.2.3, or (devel)
	revision string // commit, "" outside a repository
	time     string // of the commit
	modified bool   // there were changes beside the commit
	golang   string
	modules  []string // "path version"
}

func buildInfo() build {
	b := build{version: "(devel)", golang: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.revision = s.Value
		case "vcs.time":
			b.time = s.Value
		case "vcs.modified":
			b.modified = s.Value == "true"
		}
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.modules = append(b.modules, m.Path+" "+m.Version)
	}
	return b
}

// line is the build in one line, as --version prints it.
func (b build) line() string {
	parts := []string{"fast-export " + b.version}
	if b.revision != "" {
		parts = append(parts, "commit "+b.revision[:min(12, len(b.revision))])
	}
	if b.modified {
		parts = append(parts, "with uncommitted changes")
	}
	return strings.Join(append(parts, b.golang, runtime.GOOS+"/"+runtime.GOARCH), ", ")
}

// details names the commit whole and every library.
func (b build) details() string {
	var s strings.Builder
	if b.revision != "" {
		fmt.Fprintf(&s, "commit %s of %s\n", b.revision, b.time)
	}
	for _, m := range b.modules {
		s.WriteString(m + "\n")
	}
	return s.String()
}
