package export

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fast-export/internal/pgtest"
	"fast-export/internal/progress"
)

// two are two jobs of a row each, in a directory in which want is left.
func two(t *testing.T, dsn string, want ...string) Config {
	dir := outDir(t, want...)
	cfg := config(t, dsn, Job{SQL: "SELECT 1 AS i", Out: filepath.Join(dir, "a.parquet")})
	second := cfg.Jobs[0]
	second.Out = filepath.Join(dir, "b.parquet")
	cfg.Jobs = append(cfg.Jobs, second)
	return cfg
}

// Where some files failed the chunks' files are removed, and no directory is named.
func TestKeptDirIsThere(t *testing.T) {
	cfg := two(t, pgtest.Database(t), "a.parquet")
	cfg.Jobs[1].SQL = "SELECT 1 / (i - 1) AS i FROM generate_series(1, 2) i"
	cfg.KeepTemp, cfg.TempDir = true, t.TempDir()
	res, err := Run(t.Context(), cfg)
	if !errors.As(err, new(*PartialError)) {
		t.Fatalf("got %v", err)
	}
	left, _ := os.ReadDir(cfg.TempDir)
	if res.KeptDir != "" || len(left) > 0 {
		t.Errorf("named %q, left %v", res.KeptDir, left)
	}
}

// A dry run shows what the run would warn of, what has to do with no single file included.
func TestDryRunWarns(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT 1 AS i")
	cfg := config(t, dsn, Job{Table: "t"})
	job := cfg.Jobs[0]
	cfg.Jobs, cfg.Schema = nil, &Schema{Name: "public", Exclude: []string{"nonesuch"}, Dir: outDir(t), Base: job}
	plan, err := DryRun(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "--exclude nonesuch") {
		t.Errorf("warnings %q", plan.Warnings)
	}
}

// onWriting calls do when all rows are here and no file has its name.
type onWriting struct{ do func() }

func (o onWriting) Report(e progress.Event) {
	if p, ok := e.(progress.Phase); ok && p.Name == "writing" {
		o.do()
	}
}

// The first failure ends all with --fail-fast, also where it is a name that was taken meanwhile.
func TestFailFastWhilePublishing(t *testing.T) {
	dsn := pgtest.Database(t)
	for _, failFast := range []bool{false, true} {
		left := []string{"a.parquet"}
		if !failFast {
			left = append(left, "b.parquet")
		}
		cfg := two(t, dsn, left...)
		cfg.FailFast = failFast
		cfg.Progress = onWriting{func() {
			// The file is begun, after a look at its target, and has yet to get its name.
			for begun := 0; begun == 0; time.Sleep(time.Millisecond) {
				temp, err := filepath.Glob(filepath.Join(filepath.Dir(cfg.Jobs[0].Out), ".a.parquet.tmp-*"))
				if begun = len(temp); err != nil || t.Context().Err() != nil {
					return
				}
			}
			if err := os.WriteFile(cfg.Jobs[0].Out, []byte("somebody's notes"), 0o666); err != nil {
				t.Error(err)
			}
		}}
		res, err := Run(t.Context(), cfg)
		want := 1
		if failFast {
			want = 2
		}
		var partial *PartialError
		if !errors.As(err, &partial) || partial.Failed != want {
			t.Errorf("fail fast %v: got %v", failFast, err)
		}
		if text, err := os.ReadFile(cfg.Jobs[0].Out); err != nil || string(text) != "somebody's notes" {
			t.Errorf("the notes are %q, %v", text, err)
		}
		if failFast && !strings.Contains(res.Files[1].Err.Error(), "a.parquet") {
			t.Errorf("the second file's error is %v", res.Files[1].Err)
		}
	}
}
