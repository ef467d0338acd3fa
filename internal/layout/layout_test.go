// Package layout holds the tests that guard how the repository is laid out: which package may import which, what lies at the top, and
// what no file may hold. They are plain tests, so that the rules hold where no linter is installed.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "fast-export"

// rule says what a package may import of this module, and why not more.
type rule struct {
	may []string // packages of this module, "*" for all but those that nothing imports
	// mayNot are packages of others, by prefix, that would give it a second job.
	mayNot []string
	why    string
	// testsMay are what its tests may import on top.
	testsMay []string
}

const pgx = "github.com/jackc/pgx"

// rules has every package; one that ends in "/..." stands for all below it. ARCHITECTURE.md draws them.
var rules = map[string]rule{
	"": {
		may: []string{"internal/cli"}, mayNot: []string{pgx},
		why: "main hands argv, signals and exit to internal/cli and knows nothing else",
	},
	"snapshot": {
		may: []string{"internal/wire"},
		why: "it answers from which point all workers read; it neither plans nor copies", testsMay: []string{"internal/pgtest"},
	},
	"chunker": {
		why: "it plans over a query interface of its own and never runs COPY", testsMay: []string{"internal/pgtest"},
	},
	"copier": {
		may:      []string{"typemap", "internal/column", "internal/pgbin", "internal/wire"},
		why:      "it carries chunks to this machine; what values mean is typemap's affair, files are parquetw's",
		testsMay: []string{"internal/pgtest"},
	},
	"typemap": {
		may: []string{"internal/column", "internal/pgbin"}, mayNot: []string{pgx},
		why:      "it maps types and decodes bytes, and never talks to a server or writes a file",
		testsMay: []string{"internal/pgtest"},
	},
	"parquetw": {
		may: []string{"internal/column"}, mayNot: []string{pgx},
		why: "it makes a file of batches and knows no Postgres; only pyarrow and DuckDB, which read its files back, come from pgtest", testsMay: []string{"internal/pgtest"},
	},
	"butler": {
		may: []string{"internal/column", "butler/internal/colchunk"},
		why: "it reads Butler repositories; writing a file is parquetw's", testsMay: []string{"internal/pgtest"},
	},
	"butler/internal/colchunk": {
		may: []string{"internal/column"}, mayNot: []string{pgx},
		why: "it reads column chunks and knows neither repositories nor registries",
	},
	"internal/column":   {why: "it is what decoders and encoder share, below them all"},
	"internal/pgbin":    {why: "it is a cursor over bytes, below all that decode"},
	"internal/wire":     {why: "it receives bytes and knows messages' frames, neither statements nor values"},
	"internal/progress": {why: "it knows events and how they look, not who sends them"},
	"internal/pgserver": {why: "it starts servers for the demo and the tests, and must not need the program that they try"},
	"internal/export": {
		may:      []string{"snapshot", "chunker", "copier", "typemap", "parquetw", "butler", "internal/column", "internal/progress"},
		why:      "it composes the parts, for any caller",
		testsMay: []string{"internal/pgtest", "bench/data"},
	},
	"internal/cli": {may: []string{"*"}, why: "it sits on top", testsMay: []string{"internal/pgtest"}},
	"internal/pgtest": {
		may: []string{"internal/pgserver"},
		why: "it serves the tests of every package, so it may import none of them",
	},
	"internal/tools/...": {
		may: []string{"*"}, why: "tools of this repository may use all of it", testsMay: []string{"internal/pgtest"},
	},
	"internal/layout": {why: "it reads the others as text"},
	"bench": {
		may:      []string{"internal/export", "parquetw", "typemap"},
		why:      "it measures the one pipeline there is, and has no copy of its own",
		testsMay: []string{"internal/pgtest"},
	},
	"bench/data": {why: "it holds data sets as SQL", mayNot: []string{pgx}, testsMay: []string{"internal/pgtest"}},
	"examples/...": {
		why: "examples show what a user can do, and a user has neither our internals nor our packages", testsMay: []string{"internal/pgtest"},
	},
}

// nobodyImports are packages on top of all; tests of a package may import pgtest where its rule says so.
var nobodyImports = map[string]string{
	"internal/cli":    "only main imports internal/cli: it owns flags, output and exit codes",
	"internal/pgtest": "internal/pgtest is for tests: no other file imports it",
	"internal/layout": "internal/layout is tests alone",
}

type listed struct {
	ImportPath, Dir                    string
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func ruleOf(pkg string) (rule, bool) {
	if r, ok := rules[pkg]; ok {
		return r, true
	}
	for name, r := range rules {
		if prefix, ok := strings.CutSuffix(name, "/..."); ok && (pkg == prefix || strings.HasPrefix(pkg, prefix+"/")) {
			return r, true
		}
	}
	return rule{}, false
}

// violations returns a line for each import of pkg that its rule forbids.
func violations(pkg string, imports []string, tests bool) []string {
	r, known := ruleOf(pkg)
	if !known {
		return []string{fmt.Sprintf("package %s has no rule: say in internal/layout and ARCHITECTURE.md what it may import", pkg)}
	}
	var bad []string
	for _, imp := range imports {
		own, ours := strings.CutPrefix(imp, module)
		own = strings.TrimPrefix(own, "/")
		if !ours || imp != module && !strings.HasPrefix(imp, module+"/") {
			for _, prefix := range r.mayNot {
				if strings.HasPrefix(imp, prefix) && !tests {
					bad = append(bad, fmt.Sprintf("%s imports %s: %s", pkg, imp, r.why))
				}
			}
			continue
		}
		if own == pkg || tests && slices.Contains(r.testsMay, own) || slices.Contains(r.may, own) {
			continue
		}
		if why, closed := nobodyImports[own]; closed {
			bad = append(bad, fmt.Sprintf("%s imports %s: %s", pkg, own, why))
		} else if !slices.Contains(r.may, "*") {
			bad = append(bad, fmt.Sprintf("%s imports %s: %s", pkg, own, r.why))
		}
	}
	return bad
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		pkg := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, bad := range violations(pkg, p.Imports, false) {
			t.Error(bad)
		}
		for _, bad := range violations(pkg, append(p.TestImports, p.XTestImports...), true) {
			t.Error(bad + " (in its tests)")
		}
	}
}

// A rule that can't fail guards nothing.
func TestImportRulesFail(t *testing.T) {
	for _, c := range []struct {
		pkg, imp string
		tests    bool
		bad      bool
	}{
		{"", "internal/cli", false, false},
		{"", "internal/export", false, true},
		{"typemap", "internal/column", false, false},
		{"typemap", "parquetw", false, true},
		{"typemap", "github.com/jackc/pgx/v5", false, true},
		{"typemap", "github.com/jackc/pgx/v5", true, false},
		{"typemap", "internal/pgtest", false, true},
		{"typemap", "internal/pgtest", true, false},
		{"parquetw", "typemap", true, true},
		{"snapshot", "chunker", false, true},
		{"internal/column", "typemap", false, true},
		{"internal/export", "internal/cli", false, true},
		{"internal/cli", "internal/export", false, false},
		{"internal/cli", "internal/pgtest", false, true},
		{"internal/tools/setup", "internal/pgserver", false, false},
		{"examples/anything", "internal/export", false, true},
		{"newcomer", "fmt", false, true},
	} {
		imp := c.imp
		if !strings.Contains(imp, ".") && imp != "fmt" {
			imp = module + "/" + imp
		}
		if bad := violations(c.pkg, []string{imp}, c.tests); (len(bad) > 0) != c.bad {
			t.Errorf("%q imports %s, tests %v: got %q", c.pkg, c.imp, c.tests, bad)
		}
	}
}

// The environment, arguments, signals and exit of the process belong to main and internal/cli, so that a package does the same for every
// caller. Test support and tools are processes of their own.
func TestProcessState(t *testing.T) {
	forbidden := map[string][]string{
		"os":        {"Exit", "Args", "Getenv", "LookupEnv", "Environ", "Setenv", "Stdin", "Stdout", "Stderr"},
		"os/signal": {"Notify", "NotifyContext"},
		"log":       nil, // all of it: what goes out, and where to, is internal/cli's affair
	}
	for _, p := range list(t) {
		pkg := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if pkg == "" || pkg == "internal/cli" || pkg == "internal/pgtest" || strings.HasPrefix(pkg, "internal/tools/") || strings.HasPrefix(pkg, "examples/") {
			continue
		}
		for _, name := range p.GoFiles {
			files := token.NewFileSet()
			f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for local, imp := range importNames(f) {
				names, watched := forbidden[imp]
				if !watched {
					continue
				}
				ast.Inspect(f, func(n ast.Node) bool {
					sel, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					if id, ok := sel.X.(*ast.Ident); ok && id.Name == local && id.Obj == nil && (names == nil || slices.Contains(names, sel.Sel.Name)) {
						t.Errorf("%s/%s:%d uses %s.%s: only main and internal/cli touch the process's own state", pkg, name, files.Position(sel.Pos()).Line, imp, sel.Sel.Name)
					}
					return true
				})
			}
		}
	}
}

func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		imp, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		name := path.Base(imp)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imp
	}
	return names
}

// top is what may lie at the top of the repository, so that it stays readable at a glance.
var top = []string{
	".ci", ".gitattributes", ".gitignore", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile", "README.md",
	"bench", "butler", "chunker", "copier", "docs", "examples", "go.mod", "go.sum", "internal", "main.go", "parquetw", "snapshot", "typemap",
}

// files returns the paths of the repository's files relative to its root, slashes between: what git knows or would add.
func files(t *testing.T) (root string, names []string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil {
		for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
			if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // else deleted, and not yet committed
				names = append(names, name)
			}
		}
		return root, names
	}
	// A source archive: no git, and no other files either than those that make has made.
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".cache" || name == "bin":
			return fs.SkipDir
		case !d.IsDir() && name != "fast-export":
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return root, names
}

func TestTopLevel(t *testing.T) {
	_, names := files(t)
	for _, name := range names {
		first, _, _ := strings.Cut(name, "/")
		if !slices.Contains(top, first) {
			t.Errorf("%s: %s does not belong at the top level; internal/ and docs/ are for what users don't look for there", name, first)
		}
	}
}

// TestContents looks into every file.
func TestContents(t *testing.T) {
	root, names := files(t)
	const maxBytes = 2 << 20
	// Put together here, so that this file does not hold them.
	paths := regexp.MustCompile(`(^|[^\w.])(/` + `work/(main|shared|steering|\.library)|/` + `farm/|\.\./` + `shared\b|/` + `root/(go|\.pyenv))`)
	skip := regexp.MustCompile(`\b(t|b|f|tb)\.` + `Skip(f|Now)?\(`)
	for _, name := range names {
		full := filepath.Join(root, filepath.FromSlash(name))
		info, err := os.Stat(full)
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Size() > maxBytes {
			t.Errorf("%s has %d bytes: tests make or fetch what is larger than %d", name, info.Size(), maxBytes)
			continue
		}
		content, err := os.ReadFile(full)
		if err != nil {
			t.Error(err)
			continue
		}
		for i, line := range bytes.Split(content, []byte("\n")) {
			if found := paths.Find(line); found != nil {
				t.Errorf("%s:%d holds %q: a path of one machine", name, i+1, found)
			}
			if strings.HasSuffix(name, "_test.go") && skip.Match(line) {
				t.Errorf("%s:%d skips a test: what a test needs is installed by make test, and its absence is a failure", name, i+1)
			}
		}
	}
}

// TestLinks follows the relative links of every document.
func TestLinks(t *testing.T) {
	root, names := files(t)
	link := regexp.MustCompile(`\]\(([^)\s#]+)(#[^)\s]*)?\)`)
	for _, name := range names {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(content, -1) {
			target := string(m[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(filepath.FromSlash(name)), filepath.FromSlash(target))); err != nil {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}
