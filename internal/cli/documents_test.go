package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/bench/data"
	"fast-export/internal/pgtest"
)

// elsewhere are the commands of the documents that this test leaves to another, by how they begin.
var elsewhere = map[string]string{
	"make ":              "the targets themselves: CI calls test and lint",
	"fast-export butler": "TestButler…: it needs repositories",
	"fast-export demo":   "TestDemo",
	"fast-export bench":  "the tests of bench: it takes long",
	"benchstat ":         "bench: TestGoBench",
}

// block is one fenced block of a document.
type block struct {
	place, language, text string
}

func blocksOf(t *testing.T, paths ...string) []block {
	t.Helper()
	var all []block
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var open *block
		for i, line := range strings.Split(string(text), "\n") {
			language, fence := strings.CutPrefix(line, "```")
			switch {
			case fence && open == nil:
				open = &block{place: fmt.Sprintf("%s:%d", strings.TrimPrefix(path, "../../"), i+1), language: language}
			case fence:
				all, open = append(all, *open), nil
			case open != nil:
				open.text += line + "\n"
			}
		}
		if open != nil {
			t.Errorf("%s: a block without end", open.place)
		}
	}
	return all
}

var documentedCommand = regexp.MustCompile(`^(bin/)?fast-export |^(export|source|echo) `)

// commands are a block's commands as one script, those left to other tests taken out. A block of usage lines has none.
func (b block) commands(t *testing.T) string {
	t.Helper()
	if b.language != "" || strings.Contains(b.text, " [flags]") || strings.Contains(b.text, "bash|zsh|fish") || strings.Contains(b.text, "[--rows N]") {
		return ""
	}
	var script strings.Builder
	lines := strings.Split(strings.TrimSuffix(b.text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		cmd := lines[i]
		for strings.Count(cmd, `"`)%2 == 1 && i+1 < len(lines) { // a quoted text of several lines
			i++
			cmd += "\n" + lines[i]
		}
		left := false
		for begin := range elsewhere {
			left = left || strings.HasPrefix(strings.TrimPrefix(cmd, "bin/"), begin)
		}
		switch {
		case left, strings.TrimSpace(cmd) == "", strings.HasPrefix(cmd, "#"), strings.HasPrefix(lines[0], "error: "):
		case documentedCommand.MatchString(cmd):
			script.WriteString(cmd + "\n")
		default:
			t.Errorf("%s: %q is no command that this test knows", b.place, cmd)
		}
	}
	return script.String()
}

// Every command in the documents works as it stands, on tables like those that it names.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	program := built(t)
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, data.MPC(2000), "CREATE TABLE obs_archive (id int)", "ANALYZE")
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{"bin", "examples", "mpc"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, filepath.Join(dir, "bin", "fast-export")); err != nil {
		t.Fatal(err)
	}
	// The documents' own service file with this server in the place of theirs.
	service, err := os.ReadFile("../../examples/pg_service.conf")
	if err != nil {
		t.Fatal(err)
	}
	text := string(service)
	for key, value := range map[string]string{"host": cfg.Host, "port": fmt.Sprint(cfg.Port), "dbname": cfg.Database, "user": cfg.User, "sslmode": "disable"} {
		line := regexp.MustCompile(`(?m)^` + key + `=.*$`)
		if !line.MatchString(text) {
			t.Errorf("examples/pg_service.conf has no %s", key)
		}
		text = line.ReplaceAllLiteralString(text, key+"="+value)
	}
	write(t, filepath.Join(dir, "examples"), "pg_service.conf", text)
	for _, name := range []string{"exports.yaml", "exports.json"} {
		example, err := os.ReadFile("../../examples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "examples"), name, string(example))
		write(t, dir, name, string(example))
	}
	sh := func(script string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "PGSERVICEFILE="+filepath.Join(dir, "examples", "pg_service.conf"), "OUT="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, b := range blocksOf(t, append(documents, "../../README.md", "../../examples/commands.md")...) {
		if b.language == "yaml" {
			name := filepath.Base(write(t, dir, fmt.Sprintf("block%d.yaml", ran), b.text))
			if out, err := sh("fast-export --dry-run --service mpc_sbn --config " + name); err != nil {
				t.Errorf("%s: %v\n%s\n%s", b.place, err, b.text, out)
			}
			ran++
			continue
		}
		script := b.commands(t)
		if script == "" {
			continue
		}
		if out, err := sh(script); err != nil {
			t.Errorf("%s: %v\n%s\n%s", b.place, err, script, out)
		}
		ran += strings.Count(script, "fast-export ")
	}
	if ran < 15 {
		t.Errorf("%d commands ran: where are the others?", ran)
	}
	for _, script := range []string{"fast-export --config examples/exports.yaml", "fast-export --service mpc_sbn --config examples/exports.json"} {
		if out, err := sh(script); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}

	// The validation script agrees with a whole file, and sees one value that differs and a row too many.
	validate, err := filepath.Abs("../../examples/validate.py")
	if err != nil {
		t.Fatal(err)
	}
	judge := pgtest.Python(t) + " " + validate + " --dsn service=mpc_sbn --table obs_sbn --file obs_sbn.parquet"
	if out, err := sh(judge); err != nil || !strings.Contains(out, "2000 rows, ") || !strings.Contains(out, " 0 values differ") {
		t.Errorf("validate.py: %v\n%s", err, out)
	}
	pgtest.Exec(t, dsn, "UPDATE obs_sbn SET stn = 'ZZZ' WHERE ctid = (SELECT max(ctid) FROM obs_sbn)")
	if out, err := sh(judge + " --rows 100000"); err == nil || !strings.Contains(out, "row 2000, stn: the file has ") {
		t.Errorf("validate.py of a changed table: %v\n%s", err, out)
	}
	pgtest.Exec(t, dsn, "DELETE FROM obs_sbn WHERE ctid = '(0,1)'")
	if out, err := sh(judge); err == nil || !strings.Contains(out, "has 1999") {
		t.Errorf("validate.py of a table with a row less: %v\n%s", err, out)
	}
}
