package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestManPages keeps docs/man: a page for the program and one for each command that has flags of its own.
func TestManPages(t *testing.T) {
	pages := manPages()
	for name, text := range pages {
		checkRoff(t, name, text)
		document(t, filepath.Join("man", name), text)
	}
	dir, err := os.ReadDir(filepath.Join("..", "..", "docs", "man"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range dir {
		if _, ok := pages[e.Name()]; !ok {
			t.Errorf("docs/man/%s is no page of the program's", e.Name())
		}
	}
	for _, name := range []string{"fast-export.1", "fast-export-demo.1", "fast-export-butler.1"} {
		if pages[name] == "" {
			t.Errorf("no page %s", name)
		}
	}
	root := pages["fast-export.1"]
	for _, c := range completable() {
		page, own := pages[manName(c.name)+".1"]
		if !own {
			page = root
		}
		for _, fl := range c.flags {
			if want := `\-\-` + roff(fl.Name); !strings.Contains(page, want) {
				t.Errorf("the page of %q lacks --%s", c.name, fl.Name)
			}
		}
	}
	for _, c := range exitCodes {
		if !strings.Contains(root, fmt.Sprintf(".B %d\n%s", c.code, roff(c.meaning))) {
			t.Errorf("the page lacks exit code %d", c.code)
		}
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"--out 'a\\b'":  `\-\-out \(aqa\eb\(aq`,
		".pgpass":       `\&.pgpass`,
		"a,… ~/x ^ `y`": `a,\[u2026] \(ti/x \(ha \(gay\(ga`,
		`say "x"`:       `say \(dqx\(dq`,
	} {
		if got := roff(in); got != want {
			t.Errorf("%s became %s, not %s", in, got, want)
		}
	}
}

// checkRoff finds what troff would take for something else than text.
func checkRoff(t *testing.T, name, text string) {
	t.Helper()
	known := []string{".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".nf", ".fi"}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		word, _, _ := strings.Cut(line, " ")
		switch {
		case line == "":
			t.Errorf("%s: an empty line is a request for space", name)
		case line[0] == '\'' || line[0] == '.' && !strings.HasPrefix(line, `.\"`) && !slices.Contains(known, word):
			t.Errorf("%s: %q is no request of man", name, line)
		case strings.ContainsFunc(line, func(r rune) bool { return r > '~' || r < ' ' }):
			t.Errorf("%s: %q is not ASCII, which not every troff reads", name, line)
		}
	}
}

// manPages are the pages by their file names.
func manPages() map[string]string {
	pages := map[string]string{}
	var related []string
	for _, c := range subcommands() {
		f := newFlags(c.name)
		c.new(f)
		if len(f.grouped()) == 0 {
			continue
		}
		pages[manName(c.name)+".1"] = manPage(c, f, []string{"fast-export"})
		related = append(related, manName(c.name))
	}
	c := exportCommand()
	c.summary = "extract tables and query results from PostgreSQL to Parquet files, in parallel, from one snapshot"
	f := newFlags("")
	c.new(f)
	pages["fast-export.1"] = manPage(c, f, related)
	return pages
}

// manName is what man knows a command as.
func manName(command string) string { return strings.TrimRight("fast-export-"+command, "-") }

// manPage writes one page with the macros of man(7).
func manPage(c command, f *flags, related []string) string {
	f.addHelp(new(bool))
	called := strings.TrimRight("fast-export "+c.name, " ")
	sized := false
	var b strings.Builder
	b.WriteString(".\\\" Generated from the program's own tables: go test ./internal/cli -update\n")
	// Neither a date nor a version, so that a page changes with what it says alone.
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"fast\\-export\" \"User Commands\"\n", strings.ToUpper(roff(manName(c.name))))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(c.name)), roff(c.summary))
	b.WriteString(".SH SYNOPSIS\n.nf\n")
	for _, u := range c.usage {
		fmt.Fprintf(&b, "\\fB%s\\fR %s\n", roff(called), roff(u))
	}
	b.WriteString(".fi\n.SH DESCRIPTION\n" + manText(c.about))
	if c.name == "" {
		b.WriteString(".SH COMMANDS\n")
		for _, s := range subcommands() {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR %s\n%s\n", roff(called+" "+s.name), roff(s.usage[0]), roff(s.summary))
		}
		fmt.Fprintf(&b, ".TP\n.B %s\ntell more of a command\n", roff(called+" help COMMAND"))
	}
	b.WriteString(".SH OPTIONS\n")
	f.VisitAll(func(fl *pflag.Flag) {
		if _, ok := fl.Value.(size); ok && !sized {
			sized = true
			b.WriteString("A size is a number of bytes, or has a unit: 64MB is 64,000,000 bytes, 64MiB is 67,108,864.\n")
		}
	})
	for _, g := range f.grouped() {
		if len(g.flags) == 0 {
			continue
		}
		fmt.Fprintf(&b, ".SS %s\n", roff(g.title))
		for _, fl := range g.flags {
			form, _ := cutForm(fl)
			name := roff("--" + fl.Name)
			if fl.Shorthand != "" {
				name = roff("-"+fl.Shorthand) + "\\fR, \\fB" + name
			}
			head := "\\fB" + name + "\\fR"
			switch {
			case strings.Contains(form, "|"):
				head += " " + roff(form)
			case form != "":
				head += " \\fI" + roff(form) + "\\fR"
			}
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", head, roff(flagText(fl)))
		}
	}
	b.WriteString(".SH \"EXIT STATUS\"\n")
	for _, code := range exitCodes {
		fmt.Fprintf(&b, ".TP\n.B %d\n%s\n", code.code, roff(code.meaning))
	}
	if c.name == "" {
		b.WriteString(manConnection)
	}
	b.WriteString(".SH EXAMPLES\n.nf\n")
	for line := range strings.Lines(c.example) {
		b.WriteString(roff(strings.TrimSuffix(line, "\n")) + "\n")
	}
	b.WriteString(".fi\n")
	if len(related) > 0 {
		b.WriteString(".SH \"SEE ALSO\"\n")
		for i, r := range related {
			comma := ","
			if i == len(related)-1 {
				comma = ""
			}
			fmt.Fprintf(&b, "\\fB%s\\fR(1)%s\n", roff(r), comma)
		}
	}
	return b.String()
}

const manConnection = `.SH ENVIRONMENT
.TP
\fBPGHOST\fR, \fBPGPORT\fR, \fBPGDATABASE\fR, \fBPGUSER\fR, \fBPGPASSWORD\fR, \fBPGSERVICE\fR, \fBPGSSLMODE\fR and the rest of libpq\(aqs
connection settings that neither \fB\-\-dsn\fR, nor another connection flag, nor the service file has
.TP
\fBPGSERVICEFILE\fR, \fBPGPASSFILE\fR
where the files below are instead
.SH FILES
.TP
\fB\(ti/.pg_service.conf\fR
services; then pg_service.conf of $PGSYSCONFDIR or /etc/postgresql\-common
.TP
\fB\(ti/.pgpass\fR
passwords that nothing else gives
`

// manText writes paragraphs.
func manText(s string) string {
	var b strings.Builder
	for i, p := range strings.Split(s, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(roff(p) + "\n")
	}
	return b.String()
}

// roff makes text of s that troff prints as it is, in ASCII, also where a line begins. Source: groff_char(7), groff_man_style(7).
func roff(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, ".") {
		b.WriteString(`\&`)
	}
	for _, r := range s {
		switch r {
		case '\\':
			b.WriteString(`\e`)
		case '-':
			b.WriteString(`\-`)
		case '\'':
			b.WriteString(`\(aq`)
		case '"':
			b.WriteString(`\(dq`)
		case '`':
			b.WriteString(`\(ga`)
		case '^':
			b.WriteString(`\(ha`)
		case '~':
			b.WriteString(`\(ti`)
		default:
			if r > '~' {
				fmt.Fprintf(&b, `\[u%04X]`, r)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}
