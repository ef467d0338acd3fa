package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// printed is the script for a shell, as the program prints it.
func printed(t *testing.T, shell string) string {
	t.Helper()
	o := call(t, nil, "completion", shell)
	if o.code != 0 || o.stderr != "" {
		t.Fatal(o)
	}
	return o.stdout
}

func commandNamed(t *testing.T, name string) completed {
	t.Helper()
	for _, c := range completable() {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("no command %q", name)
	return completed{}
}

func TestCompletionUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"completion"}, "error: the shell is missing: one of bash, zsh, fish\nhint: fast-export completion bash\n"},
		{[]string{"completion", "bahs"}, "error: shell bahs: none of bash, zsh, fish\nhint: did you mean bash?\n"},
		{[]string{"completion", "bash", "zsh"}, "error: unexpected argument zsh\nhint: every setting is a flag: fast-export completion --help lists them\n"},
	} {
		if o := call(t, nil, c.args...); o.code != codeUsage || o.stderr != c.want || o.stdout != "" {
			t.Errorf("%q: %d %q, stdout %q", c.args, o.code, o.stderr, o.stdout)
		}
	}
}

// What is offered for a flag is what the flag takes, of its own mouth, and stands in scripts without quotes.
func TestOfferedWordsAreTaken(t *testing.T) {
	plain := regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	offered := map[string]string{}
	for _, c := range completable() {
		for _, fl := range c.flags {
			words := offerFlag(fl).words
			offered[c.name+" --"+fl.Name] = strings.Join(words, " ")
			for _, w := range words {
				if err := fl.Value.Set(w); err != nil || !plain.MatchString(w) {
					t.Errorf("%s --%s is offered %q: %v", c.name, fl.Name, w, err)
				}
			}
			if fl.Value.Type() == "choice" && len(words) < 2 {
				t.Errorf("%s --%s: found the words %q alone", c.name, fl.Name, words)
			}
		}
	}
	for at, want := range map[string]string{
		" --transport": "auto binary csv", " --progress": "none bar plain json", " --numeric": "float64 strict text", " --type-map": "exact ddpp",
		" --compression": "zstd snappy gzip lz4 none", " --where": "", " --out": "", " --columns": "", "butler --schema-mode": "strict union intersect",
	} {
		if got, ok := offered[at]; !ok || got != want {
			t.Errorf("%s is offered %q, not %q", at, got, want)
		}
	}
}

func TestOfferedNames(t *testing.T) {
	for at, want := range map[string]nameKind{
		"sql-file": files, "config": files, "out": files, "manifest": files, "report": files, "out-dir": directories, "temp-dir": directories,
		"table": noNames, "transport": noNames, "parallel": noNames,
	} {
		var found *pflag.Flag
		for _, fl := range commandNamed(t, "").flags {
			if fl.Name == at {
				found = fl
			}
		}
		if found == nil || offerFlag(found).names != want {
			t.Errorf("--%s: %v", at, found)
		}
	}
	if got := commandNamed(t, "completion").operand; got.names != noNames || !slices.Equal(got.words, shells) {
		t.Errorf("completion is offered %v", got)
	}
	if got := commandNamed(t, "butler").operand; got.names != files {
		t.Errorf("butler is offered %v", got)
	}
}

// bash runs lines in a bash of its own, interactive with readline where keys are among them, and returns standard output.
func bash(t *testing.T, dir, lines string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{"--norc", "--noprofile"}, args...)...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(lines)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "INPUTRC=/dev/null", "LC_ALL=C", "PS1=", "TERM=dumb"}
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bash: %v\n%s%s", err, out, errOut.String())
	}
	if len(args) == 0 && errOut.Len() > 0 {
		t.Errorf("bash says %s", errOut.String())
	}
	return string(out)
}

// The replies of the function for words as bash hands them over: the last one is under the cursor.
func TestBashReplies(t *testing.T) {
	dir := t.TempDir()
	script := write(t, dir, "script", printed(t, "bash"))
	var lines, want strings.Builder
	lines.WriteString("source " + script + "\ncomplete -p fast-export\ncompopt() { echo \"compopt $*\"; }\n" +
		"ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _fast_export; echo \"${COMPREPLY[*]}\"; }\n")
	want.WriteString("complete -F _fast_export fast-export\n")
	all := func(name string) string { return strings.Join(dashed(commandNamed(t, name).flags), " ") }
	var names []string
	for _, c := range subcommands() {
		names = append(names, c.name)
	}
	words := strings.Join(names, " ")
	for _, c := range []struct{ typed, want string }{
		{"''", words + " help"},
		{"de", "demo"},
		{"he", "help"},
		{"help ''", words},
		{"help he", ""},
		{"help ver", "version"},
		{"nonesuch ''", ""},
		{"-", all("")},
		{"--tab", "--table"},
		{"--no-c", "--no-clobber"},
		{"--temp", "--temporary-slot --temp-dir --temp-limit"},
		{"--quiet ''", all("")},
		{"--quiet de", ""},
		{"--table ''", ""},
		{"--where -", ""},
		{"--table demo --tab", "--table"},
		{"--transport ''", "auto binary csv"},
		{"--transport b", "binary"},
		{"--transport =", "auto binary csv"},
		{"--transport = c", "csv"},
		{"--quiet --log-level = w", "warn"},
		{"--out ''", "compopt -o default\n"},
		{"--out = x", "compopt -o default\n"},
		{"--sql-file ''", "compopt -o default\n"},
		{"--temp-dir ''", "compopt -o dirnames\n"},
		{"demo ''", all("demo")},
		{"demo --out", "--out-dir"},
		{"demo --out-dir = ''", "compopt -o dirnames\n"},
		{"demo --tab", ""},
		{"help demo --r", "--rows"},
		{"version ''", "-h --help"},
		{"completion ''", "bash zsh fish"},
		{"completion z", "zsh"},
		{"completion --", "--help"},
		{"butler ''", "compopt -o default\n"},
		{"butler x.parquet repo --schema-mode u", "union"},
	} {
		lines.WriteString("ask fast-export " + c.typed + "\n")
		want.WriteString(c.want + "\n")
	}
	got := strings.Split(bash(t, dir, lines.String()), "\n")
	for i, w := range strings.Split(want.String(), "\n") {
		if i >= len(got) || got[i] != w {
			t.Fatalf("reply line %d is not %q:\n%s", i, w, strings.Join(got, "\n"))
		}
	}
}

// An interactive bash completes what is typed: a tab is the key.
func TestBashCompletes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "script", printed(t, "bash"))
	write(t, dir, "my query.sql", "")
	if err := os.Mkdir(filepath.Join(dir, "many files"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ typed, want string }{
		{"fast-export comp\tb\t", "<completion> <bash>"},
		{"fast-export --table t --transp\tb\t", "<--table> <t> <--transport> <binary>"},
		{"fast-export --transport=b\t", "<--transport=binary>"},
		{"fast-export --sql-file my\t", "<--sql-file> <my query.sql>"},
		{"fast-export --sql-file=my\t", "<--sql-file=my query.sql>"},
		{"fast-export --out \"my\t", "<--out> <my query.sql>"},
		{"fast-export --temp-dir m\t", "<--temp-dir> <many files/>"},
		{"fast-export --table my\t", "<--table> <my>"},
	} {
		got := bash(t, dir, "source ./script\nfast-export() { printf '<%s> ' \"$@\"; echo; }\n"+c.typed+"\n", "-i")
		if got != c.want+" \n" {
			t.Errorf("%q became %q, not %q", c.typed, got, c.want)
		}
	}
}

// shellWords cuts a script into commands and those into words: single quotes quote, as in the two shells, with \' within them where
// inside is true (fish); a backslash outside quotes quotes what follows, so that a line goes on after it.
func shellWords(t *testing.T, script string, inside bool) [][]string {
	t.Helper()
	var all [][]string
	var line []string
	var word strings.Builder
	started, quoted := false, false
	end := func() {
		if started {
			line = append(line, word.String())
		}
		word.Reset()
		started = false
	}
	for i := 0; i < len(script); i++ {
		ch := script[i]
		switch {
		case quoted && inside && ch == '\\':
			if i++; script[i] != '\'' && script[i] != '\\' {
				t.Fatalf("a stray backslash before %q", script[i:min(len(script), i+40)])
			}
			word.WriteByte(script[i])
		case ch == '\'':
			quoted, started = !quoted, true
		case quoted:
			if ch == '\n' {
				t.Fatalf("a quote is open at the end of the line before %q", script[i:min(len(script), i+80)])
			}
			word.WriteByte(ch)
		case ch == '\\':
			if i++; script[i] != '\n' {
				word.WriteByte(script[i])
				started = true
			}
		case ch == '\n':
			end()
			if len(line) > 0 {
				all = append(all, line)
			}
			line = nil
		case ch == ' ':
			end()
		case ch == '#' && !started:
			for i+1 < len(script) && script[i+1] != '\n' {
				i++
			}
		default:
			word.WriteByte(ch)
			started = true
		}
	}
	if quoted || started || len(line) > 0 {
		t.Fatal("the script ends within a line")
	}
	return all
}

// Every command, flag, word and kind of file is in the script for fish, and nothing else.
func TestFishScript(t *testing.T) {
	want := map[string]bool{}
	add := func(words ...string) { want[strings.Join(words, "\x00")] = true }
	const complete = "complete\x00-c\x00fast-export"
	add(complete, "-e")
	add(complete, "-f")
	add(complete, "-n", "test (count (commandline -opc)) -eq 1", "-a", "help", "-d", "tell more of a command")
	for _, c := range completable() {
		if c.name != "" {
			add(complete, "-n", "__fast_export_first", "-a", c.name, "-d", c.summary)
		}
		lead := complete + "\x00-n\x00__fast_export_is '" + c.name + "'"
		for _, fl := range c.flags {
			_, text := cutForm(fl)
			words := []string{lead}
			if fl.Shorthand != "" {
				words = append(words, "-s", fl.Shorthand)
			}
			words = append(words, "-l", fl.Name)
			switch o := offerFlag(fl); {
			case fl.Value.Type() == "bool":
			case o.names == files:
				words = append(words, "-r", "-F")
			case o.names == directories:
				words = append(words, "-x", "-a", "(__fish_complete_directories)")
			case len(o.words) > 0:
				words = append(words, "-x", "-a", strings.Join(o.words, " "))
			default:
				words = append(words, "-x")
			}
			add(append(words, "-d", text)...)
		}
	}
	add(complete, "-n", "__fast_export_is 'completion'", "-a", "bash zsh fish")
	add(complete, "-n", "__fast_export_is 'butler'", "-F")

	depth := 0
	for _, line := range shellWords(t, printed(t, "fish"), true) {
		switch line[0] {
		case "function", "if":
			depth++
		case "end":
			depth--
		case "complete":
			got := strings.Join(line, "\x00")
			if !want[got] {
				t.Errorf("unexpected: %q", line)
			}
			delete(want, got)
		}
	}
	for missing := range want {
		t.Errorf("missing: %q", strings.Split(missing, "\x00"))
	}
	if depth != 0 {
		t.Errorf("%d blocks more begin than end", depth)
	}
}

// Every command, flag, word and kind of file is in the script for zsh, and nothing else.
func TestZshScript(t *testing.T) {
	script := printed(t, "zsh")
	if !strings.HasPrefix(script, "#compdef fast-export\n") {
		t.Error("compinit finds it by its first line alone")
	}
	// A spec without its explanation, and the explanation.
	spec := regexp.MustCompile(`^([^\[]*)\[((?:[^\]\\]|\\.)*)\](.*)$`)
	unescape := regexp.MustCompile(`\\(.)`)
	found := map[string][]string{} // of a command: specs with their explanations
	listed := map[string]string{}
	at, depth := "", 0
	for _, line := range shellWords(t, script, false) {
		switch name, isCase := strings.CutSuffix(line[0], ")"); {
		case line[0] == "if" || line[0] == "case" || strings.HasSuffix(line[0], "()"):
			depth++
		case line[0] == "fi" || line[0] == "esac" || line[0] == "}":
			depth--
		case len(line) == 1 && strings.Contains(line[0], ":"):
			name, summary, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line[0], "commands+=("), ")"), ":")
			listed[name] = summary
		case isCase && len(line) == 1:
			at = name
		case line[0] == "_arguments":
			found[at] = line[1:]
		}
	}
	if depth != 0 {
		t.Errorf("%d blocks more begin than end", depth)
	}
	for _, c := range completable() {
		if c.name != "" && listed[c.name] != c.summary {
			t.Errorf("%s is listed as %q", c.name, listed[c.name])
		}
		got := map[string]string{}
		for _, s := range found[c.name] {
			m := spec.FindStringSubmatch(s)
			if m == nil {
				got[s] = ""
				continue
			}
			got[m[1]+m[3]] = unescape.ReplaceAllString(m[2], "$1")
		}
		want := map[string]string{}
		for _, fl := range c.flags {
			form, text := cutForm(fl)
			head := "--" + fl.Name
			if fl.Value.Type() != "bool" {
				head += "="
			}
			if fl.Name == "help" {
				want["(-h --help)-h"] = text
				head = "(-h --help)--help"
			}
			if strings.Contains(text, "may be given again") || slices.Contains([]string{"columns", "bloom", "sorted-by"}, fl.Name) {
				head = "*" + head
			}
			switch o := offerFlag(fl); {
			case fl.Value.Type() == "bool":
			case o.names == files:
				head += ":" + form + ":_files"
			case o.names == directories:
				head += ":" + form + ":_files -/"
			case len(o.words) > 0:
				head += ":value:(" + strings.Join(o.words, " ") + ")"
			default:
				head += ":" + form + ":"
			}
			want[head] = text
		}
		switch c.name {
		case "completion":
			want["*:argument:(bash zsh fish)"] = ""
		case "butler":
			want["*:argument:_files"] = ""
		}
		for s, text := range want {
			if have, ok := got[s]; !ok || have != text {
				t.Errorf("%s: %q is explained by %q, not %q (there: %v)", c.name, s, have, text, ok)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d specs, not %d", c.name, len(got), len(want))
		}
	}
	if len(listed) != len(subcommands())+1 {
		t.Errorf("listed are %v", listed)
	}
}
