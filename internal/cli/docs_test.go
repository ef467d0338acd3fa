package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md, docs/exit-codes.md and docs/man")

// document compares a file of docs/ with what it should be.
func document(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join("..", "..", "docs", name)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/%s is not what the program says; go test ./internal/cli -update rewrites it", name)
	}
}

func TestDocumentOfFlags(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Commands and flags\n\nGenerated from the program's own tables; `fast-export --help` says the same. " +
		"A size is a number of bytes, or has a unit: `64MB` is 64,000,000 bytes, `64MiB` is 67,108,864. " +
		"Exit codes: [exit-codes.md](exit-codes.md). What `--progress json` and `--report` write: [json-output.md](json-output.md). " +
		"The same as man pages: [man/](man) (`man docs/man/fast-export.1`).\n")
	for _, c := range append([]command{exportCommand()}, subcommands()...) {
		f := newFlags(c.name)
		c.new(f)
		name := strings.TrimRight("fast-export "+c.name, " ")
		fmt.Fprintf(&b, "\n## %s\n\n```\n", name)
		for _, u := range c.usage {
			b.WriteString(strings.TrimRight(name+" "+u, " ") + "\n")
		}
		fmt.Fprintf(&b, "```\n\n%s\n", c.about)
		for _, g := range f.grouped() {
			if len(g.flags) == 0 {
				continue
			}
			fmt.Fprintf(&b, "\n### %s\n\n| flag | meaning | default |\n|---|---|---|\n", g.title)
			for _, fl := range g.flags {
				_, text := cutForm(fl)
				def := fl.DefValue
				if fl.Value.Type() == "bool" {
					def = ""
				}
				if i := strings.Index(text, " (default: "); i >= 0 {
					text, def = text[:i], strings.TrimSuffix(text[i+len(" (default: "):], ")")
				}
				cell := strings.NewReplacer("|", `\|`, "<", `\<`, "{", `\{`)
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(flagForm(fl), "|", `\|`), cell.Replace(text), cell.Replace(def))
			}
		}
		fmt.Fprintf(&b, "\n```\n%s\n```\n", c.example)
	}
	b.WriteString(connectionSettings)
	document(t, "cli.md", b.String())
}

const connectionSettings = `
## Connection settings

Each key is taken from the first of these that has it, as in libpq: ` + "`--dsn`" + `, the other connection flags, the service file, the ` + "`PG*`" + ` environment.
A password that none of them gives is looked up in ` + "`~/.pgpass`" + ` or ` + "`$PGPASSFILE`" + ` (for several hosts: by the first one). A service is looked for in
` + "`$PGSERVICEFILE`" + ` or ` + "`~/.pg_service.conf`" + `, then in ` + "`pg_service.conf`" + ` of ` + "`$PGSYSCONFDIR`" + ` or ` + "`/etc/postgresql-common`" + `.

- Several hosts are tried in order; ` + "`hostaddr`" + `, ` + "`load_balance_hosts`" + `, ` + "`target_session_attrs`" + ` and the TLS settings mean what they mean in libpq. All
  connections of a run go to the address that answered the first.
- Of a service file the section asked for must be right, the others may hold anything. A password file that group or others may read is passed over
  with a warning, an ` + "`sslkey`" + ` that they may read is refused, as in libpq; so is a key encrypted in PKCS#8 form, with the command that converts it.
- Without ` + "`connect_timeout`" + ` or ` + "`PGCONNECT_TIMEOUT`" + ` a server has 30 seconds to answer; 0 is no limit.
- ` + "`application_name`" + ` is always ` + "`fast-export`" + `, ` + "`client_encoding`" + ` always UTF8, and TCP keepalives are always on: other wishes are passed over.
- ` + "`sslcrl`" + `, ` + "`sslcrldir`" + `, ` + "`requirepeer`" + `, ` + "`gssencmode=require`" + `, SCRAM keys and OAuth are refused: they would silently not happen.
- A parameter that is none of libpq's is a server setting, sent at the start: ` + "`?search_path=mpc`" + `. ` + "`options=-c search_path=mpc`" + ` does the same everywhere.
- No message shows a password or a connection string.
`

func TestDocumentOfExitCodes(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Exit codes\n\nScripts may rely on them: a code that changes its meaning is a breaking change. " +
		"A code that is not listed means failure too; 2 is never ours (the Go runtime ends a crashed program with it).\n\n" +
		"| code | meaning | more |\n|---|---|---|\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", c.code, c.meaning, c.detail)
	}
	b.WriteString("\nWith every code but 0 and 3 no output was written or replaced, save where the message is about `--report`, `--manifest` or standard output alone, or says that a file is there whose directory could not be synced: all files of a run get their " +
		"names together at its end, and what ends it before (a signal, a lost snapshot, `--fail-fast`, `--max-snapshot-age`, `--yield-to-ddl`) leaves none. The error is at most three lines on standard error, the first of " +
		"which begins `error:`; a hint begins `hint:`. Where many exports were asked for, each that can't be done has a line of its own below the first. Warnings begin `warning:` and change no code.\n")
	document(t, "exit-codes.md", b.String())
}

// Every field that a JSON line or the report can have is explained.
func TestDocumentOfJSON(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "json-output.md"))
	if err != nil {
		t.Fatal(err)
	}
	var fields func(reflect.Type) []string
	fields = func(rt reflect.Type) []string {
		for rt.Kind() == reflect.Slice || rt.Kind() == reflect.Pointer {
			rt = rt.Elem()
		}
		var all []string
		if rt.Kind() == reflect.Struct {
			for i := range rt.NumField() {
				name, _, _ := strings.Cut(rt.Field(i).Tag.Get("json"), ",")
				all = append(append(all, name), fields(rt.Field(i).Type)...)
			}
		}
		return all
	}
	report := fields(reflect.TypeFor[lossReport]())
	if len(report) < 20 {
		t.Fatalf("found only %q", report)
	}
	for _, name := range report {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/json-output.md does not explain %s", name)
		}
	}
}
