package butler

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// plainRepo gives a fresh copy of the plain repository, and the directory that it was unpacked in.
func plainRepo(t testing.TB) (repo, dir string) {
	t.Helper()
	dir = unpack(t, "sqlite_plain")
	return filepath.Join(dir, "sqlite_plain"), dir
}

// change runs SQL on a repository's registry.
func change(t testing.TB, repo string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(repo, "gen3.sqlite3"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func attribute(kind, version string) string {
	return fmt.Sprintf("UPDATE butler_attributes SET value = '%s' WHERE name = (SELECT 'version:' || value FROM butler_attributes WHERE name = 'config:registry.managers.%s')", version, kind)
}

func manager(kind, class, version string) []string {
	return []string{
		fmt.Sprintf("UPDATE butler_attributes SET value = '%s' WHERE name = 'config:registry.managers.%s'", class, kind),
		fmt.Sprintf("INSERT OR REPLACE INTO butler_attributes VALUES ('version:%s', '%s')", class, version),
	}
}

// TestAcceptedRegistries changes managers and versions by hand.
func TestAcceptedRegistries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		sql  []string
		err  string
	}{
		{"datasets 2.0.9", []string{attribute("datasets", "2.0.9")}, ""},
		{"dimensions 6.0.0", []string{attribute("dimensions", "6.0.0")}, ""},
		{"another module", manager("datasets", "some.where.ByDimensionsDatasetRecordStorageManagerUUID", "1.0.0"), ""},
		{"obscore", []string{"INSERT INTO butler_attributes VALUES ('config:registry.managers.obscore', 'x.Y'), ('version:x.Y', '9.9.9'), ('config:obscore.json', '{}'), ('schema_digest:a', 'b')"}, ""},
		{"alembic", []string{"CREATE TABLE alembic_version (version_num TEXT)"}, ""},

		{"datasets 2.1.0", []string{attribute("datasets", "2.1.0")}, "the manager of datasets (ByDimensionsDatasetRecordStorageManagerUUID) has version 2.1.0, known are 1.0 and 2.0: this program is too old for it"},
		{"datasets 3.0.0", []string{attribute("datasets", "3.0.0")}, "has version 3.0.0, known are 1.0 and 2.0: this program is too old"},
		{"datasets 0.5.0", []string{attribute("datasets", "0.5.0")}, "has version 0.5.0, known are 1.0 and 2.0: migrate"},
		{"dimensions 5.0.0", []string{attribute("dimensions", "5.0.0")}, "(StaticDimensionRecordStorageManager) has version 5.0.0, known are 6.0: migrate the repository with daf_butler_migrate"},
		{"collections 1.0.0", []string{attribute("collections", "1.0.0")}, "known are 2.0: migrate"},
		{"opaque 0.1.0", []string{attribute("opaque", "0.1.0")}, "known are 0.2: migrate"},
		{"opaque 0.3.0", []string{attribute("opaque", "0.3.0")}, "too old for it"},
		{"opaque 1.0.0", []string{attribute("opaque", "1.0.0")}, "too old for it"},
		{"no number", []string{attribute("datasets", "new")}, "has version new, which is none"},
		{"two numbers", []string{attribute("datasets", "2.0")}, "which is none"},
		{"integer ids", manager("datasets", "x.ByDimensionsDatasetRecordStorageManager", "1.0.0"), "numbers datasets by integers"},
		{"unknown class", manager("collections", "x.MyCollections", "2.0.0"), "unknown manager of collections: x.MyCollections"},
		{"no manager", []string{"DELETE FROM butler_attributes WHERE name = 'config:registry.managers.opaque'"}, "names no manager of opaque"},
		{"no version", []string{"DELETE FROM butler_attributes WHERE name LIKE 'version:%Opaque%'"}, `has version "", which is none`},
		{"no universe", []string{"DELETE FROM butler_attributes WHERE name = 'config:dimensions.json'"}, "no dimensions.json"},
		{"broken universe", []string{"UPDATE butler_attributes SET value = '{' WHERE name = 'config:dimensions.json'"}, "dimensions.json: unexpected end"},
		{"empty", []string{"DELETE FROM butler_attributes"}, "butler_attributes is empty"},
		{"no table", []string{"DROP TABLE butler_attributes"}, "no table butler_attributes"},
		{"a blob for text", []string{"UPDATE butler_attributes SET value = x'00'"}, "is a blob of 1 bytes, not text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			repo, _ := plainRepo(t)
			change(t, repo, c.sql...)
			e, err := Open(t.Context(), Options{Repo: repo, Collections: []string{"u/me/run1"}})
			if err == nil {
				defer e.Close()
			}
			var re *RepoError
			switch {
			case c.err == "" && (err != nil || e.Len() != 4):
				t.Errorf("%v", err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !errors.As(err, &re)):
				t.Errorf("%v, want %s", err, c.err)
			}
		})
	}
}

// TestOldUniverses gives the plain repository the universes of older releases: a visit implies other things there.
func TestOldUniverses(t *testing.T) {
	t.Parallel()
	for _, c := range universeCases(t) {
		repo, _ := plainRepo(t)
		change(t, repo, fmt.Sprintf("UPDATE butler_attributes SET value = '%s' WHERE name = 'config:dimensions.json'", strings.ReplaceAll(string(c.JSON), "'", "''")),
			"ALTER TABLE visit ADD COLUMN visit_system INTEGER DEFAULT 7")
		e, err := Open(t.Context(), Options{Repo: repo, Collections: []string{"u/me/run1"}, Where: "visit = 1 AND band = 'g'", FullDataID: true})
		if err != nil {
			t.Errorf("universe %d: %v", c.Version, err)
			continue
		}
		for d := range e.Datasets() {
			want := "[{instrument Cam1} {visit 1} {band g} {physical_filter g_01}"
			if c.Version >= 6 {
				want = "[{instrument Cam1} {visit 1} {band g} {day_obs 20250101} {physical_filter g_01}"
			} else if c.Version < 2 {
				want += " {visit_system 7}"
			}
			if got := fmt.Sprint(d.DataID); got != want+"]" {
				t.Errorf("universe %d: %s, want %s]", c.Version, got, want)
			}
		}
		if e.Len() != 1 {
			t.Errorf("universe %d: %d datasets", c.Version, e.Len())
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDamagedRegistries checks that odd rows are errors or survived, never a panic.
func TestDamagedRegistries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		sql         []string
		collections string
		where       string
		datasets    int
		err         string
	}{
		{"a cycle", []string{"INSERT INTO collection_chain VALUES (6, 9, 7)"}, "u/me/outer", "", 7, ""},
		{"a chain of itself", []string{"INSERT INTO collection_chain VALUES (8, 0, 8)"}, "u/me/nothing", "", 0, ""},
		{"a child that is not there", []string{"PRAGMA foreign_keys = off", "INSERT INTO collection_chain VALUES (8, 0, 99)"}, "u/me/nothing", "", 0, ""},
		{"an unknown type of collection", []string{"UPDATE collection SET type = 9 WHERE name = 'u/me/run1'"}, "u/me/run1", "", 0, "unknown type 9"},
		{"a text for a number", []string{"UPDATE collection SET type = 'x' WHERE name = 'u/me/run1'"}, "u/me/run1", "", 0, "not an integer"},
		{"a bad id", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET dataset_id = 'zz' WHERE visit = 1 AND collection_id = 1 AND dataset_type_id = 1"}, "u/me/run1", "", 0, "no UUID"},
		{"a text for a visit", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET visit = 'zz' WHERE visit = 1"}, "u/me/run1", "", 0, "not of its type"},
		{"half a visit", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET visit = 2.5 WHERE visit = 1"}, "u/me/run1", "", 0, "visit is 2.5, which is not of its type"},
		{"a visit beyond integers", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET visit = 1e300 WHERE visit = 1"}, "u/me/run1", "", 0, "visit is 1e+300, which is not of its type"},
		{"a blob for a visit", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET visit = x'31' WHERE visit = 1"}, "u/me/run1", "", 0, "visit is a blob of 1 bytes, which is not of its type"},
		{"a blob for an instrument", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET instrument = x'ff' WHERE visit = 1"}, "u/me/run1", "", 0, "instrument is a blob of 1 bytes, which is not of its type"},
		{"an instrument that is not UTF-8", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET instrument = CAST(x'41ff' AS TEXT) WHERE visit = 1"}, "u/me/run1", "", 0, "instrument is a text of 2 bytes that is not UTF-8, which is not of its type"},
		{"a blob for an implied value", []string{"PRAGMA foreign_keys = off", "UPDATE visit SET physical_filter = x'ff' WHERE id = 1"}, "u/me/run1", "band = 'g'", 0, "physical_filter is a blob of 1 bytes, which is not of its type"},
		{"a blob for an id", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_tags_00000001 SET dataset_id = CAST(dataset_id AS BLOB) WHERE visit = 1"}, "u/me/run1", "", 0, "a dataset's id is a blob of 32 bytes, not text"},
		{"a blob for a collection's name", []string{"PRAGMA foreign_keys = off", "UPDATE collection SET name = x'ff' WHERE name = 'u/me/empty'"}, "u/*", "", 0, "a collection's name is a blob of 1 bytes, not text"},
		{"a blob in a chain", []string{"PRAGMA foreign_keys = off", "UPDATE collection_chain SET position = x'00' WHERE parent = (SELECT collection_id FROM collection WHERE name = 'u/me/outer') AND position = (SELECT min(position) FROM collection_chain c WHERE c.parent = collection_chain.parent)"}, "u/me/outer", "", 0, "a position in a chain is a blob"},
		{"a blob in a summary", []string{"PRAGMA foreign_keys = off", "UPDATE collection_summary_dataset_type SET collection_id = x'00' WHERE collection_id = 1 AND dataset_type_id = 1"}, "u/me/run1", "", 0, "a collection in the summary of dataset types is a blob of 1 bytes, not an integer"},
		{"a real in a summary", []string{"PRAGMA foreign_keys = off", "UPDATE collection_summary_dataset_type SET collection_id = 2.5 WHERE collection_id = 1 AND dataset_type_id = 1"}, "u/me/run1", "", 0, "is 2.5, not an integer"},
		{"a blob for a table", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_type SET calibration_association_table = x'ff' WHERE id = 1"}, "u/me/run1", "", 0, "the table of validity ranges of the dataset type is a blob"},
		{"a blob for a path", []string{"UPDATE file_datastore_records SET path = x'ff' WHERE path LIKE '%dia_source%'"}, "u/me/run1", "", 0, "a file's path is a blob of 1 bytes, not text"},
		{"a path that is not UTF-8", []string{"UPDATE file_datastore_records SET path = CAST(x'ff' AS TEXT) WHERE path LIKE '%dia_source%'"}, "u/me/run1", "", 0, "a file's path is a text of 1 bytes that is not UTF-8, not text"},
		{"a size with a fraction", []string{"UPDATE file_datastore_records SET file_size = 2.5 WHERE path LIKE '%dia_source%'"}, "u/me/run1", "", 0, "a file's size is 2.5, not an integer"},
		{"a blob for a size", []string{"UPDATE file_datastore_records SET file_size = x'00' WHERE path LIKE '%dia_source%'"}, "u/me/run1", "", 0, "a file's size is a blob of 1 bytes, not an integer"},
		{"a key of dimensions without rows", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_type SET dimensions_key = 777 WHERE id = 1"}, "u/me/run1", "", 0, "the dimensions of dataset type dia_source_visit cannot be told: those of its key 777 in dimension_graph_definition are without instrument, which its table dataset_tags_00000001 has"},
		{"the key of no dimensions", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_type SET dimensions_key = 0 WHERE id = 1"}, "u/me/run1", "", 0, "those of its key 0 in dimension_graph_definition are without instrument"},
		{"too few dimensions", []string{"PRAGMA foreign_keys = off", "DELETE FROM dimension_graph_definition WHERE dimension_name <> 'instrument'"}, "u/me/run1", "", 0, "are without visit, which"},
		{"no visit", []string{"PRAGMA foreign_keys = off", "PRAGMA ignore_check_constraints = on", "DELETE FROM visit WHERE id = 1"}, "u/me/run1", "", 4, ""},
		{"no visit, implied", []string{"PRAGMA foreign_keys = off", "DELETE FROM visit WHERE id = 1"}, "u/me/run1", "band = 'g'", 1, ""},
		{"no visit, not implied", []string{"PRAGMA foreign_keys = off", "DELETE FROM visit WHERE id = 1"}, "u/me/run1", "NOT band = 'g'", 2, ""},
		{"an unknown dimension", []string{"PRAGMA foreign_keys = off", "INSERT INTO dimension_graph_definition VALUES (1, 'zz')"}, "u/me/run1", "", 0, "has no dimension zz"},
		{"no tags table", []string{"PRAGMA foreign_keys = off", "UPDATE dataset_type SET tag_association_table = 'x\"y' WHERE id = 1"}, "u/me/run1", "", 0, "no such table"},
		{"no records table", []string{"DROP TABLE file_datastore_records"}, "u/me/run1", "", 0, "no such table"},
		{"a record without a path", []string{"PRAGMA ignore_check_constraints = on", "UPDATE file_datastore_records SET path = 5.5 WHERE path LIKE '%dia_source%'"}, "u/me/run1", "", 4, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			repo, _ := plainRepo(t)
			change(t, repo, c.sql...)
			e, err := Open(t.Context(), Options{Repo: repo, Collections: []string{c.collections}, Where: c.where})
			if err == nil {
				defer e.Close()
			}
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err == "" && e.Len() != c.datasets:
				t.Errorf("%d datasets, want %d", e.Len(), c.datasets)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("%v, want %s", err, c.err)
			}
		})
	}
}

func TestNotARegistry(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{
		"text/butler.yaml": "{}", "text/gen3.sqlite3": "no database",
		"gone/butler.yaml": "{}",
		"dir/butler.yaml":  "{}", "dir/gen3.sqlite3/x": "",
		"cut/butler.yaml": "{}", "cut/gen3.sqlite3": "SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20",
		"mysql/butler.yaml": "registry: {db: 'mysql://u:secret@h/d'}",
		"mem/butler.yaml":   "registry: {db: 'sqlite://'}",
	})
	for name, want := range map[string]string{
		"text": "is no SQLite database", "gone": "no such file", "dir": "is no regular file", "cut": "", "mysql": "no support for mysql", "mem": "in memory",
	} {
		_, err := Open(t.Context(), Options{Repo: filepath.Join(dir, name), Collections: []string{"x"}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// everything lists a directory with sizes, times and contents.
func everything(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		sum := ""
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		out = append(out, fmt.Sprintf("%s %d %s %s %s", p, info.Size(), info.Mode(), info.ModTime(), sum))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sqliteWriter is another program that has a registry open. Programs have locks against each other, one has none against itself.
type sqliteWriter struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newSQLiteWriter(t testing.TB, repo string, statements ...string) *sqliteWriter {
	t.Helper()
	w := &sqliteWriter{t: t, cmd: exec.CommandContext(t.Context(), pgtest.Python(t), "-c", `
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    print(c.execute(line).fetchall(), flush=True)
c.close()
`, filepath.Join(repo, "gen3.sqlite3"))}
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.exec(statements...)
	return w
}

func (w *sqliteWriter) exec(statements ...string) {
	w.t.Helper()
	for _, s := range statements {
		if _, err := io.WriteString(w.in, s+"\n"); err != nil {
			w.t.Fatal(err)
		}
		if said, err := w.out.ReadString('\n'); err != nil {
			w.t.Fatalf("%s: %q, %v", s, said, err)
		}
	}
}

// close ends the program in order.
func (w *sqliteWriter) close() {
	w.t.Helper()
	if err := errors.Join(w.in.Close(), w.cmd.Wait()); err != nil {
		w.t.Error(err)
	}
}

// kill ends it at once: it leaves its log.
func (w *sqliteWriter) kill() {
	w.t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		w.t.Fatal(err)
	}
	_ = w.cmd.Wait()
}

// late is a collection that a writer adds.
var late = []string{"INSERT INTO collection VALUES (50, 'late', 1, NULL)", "INSERT INTO collection_summary_dataset_type VALUES (50, 1)"}

// TestNothingIsWritten reads repositories that must stay as they are to the last byte: with a rollback journal, and with
// write-ahead logs in all states in which they can be met.
func TestNothingIsWritten(t *testing.T) {
	t.Parallel()
	noCheckpoint := []string{"PRAGMA journal_mode = wal", "PRAGMA wal_autocheckpoint = 0"}
	for _, c := range []struct {
		name        string
		write       []string
		end         func(*sqliteWriter) // nil: the writer has it open meanwhile
		files       string              // what stands beside the registry
		collections string
		err         string
	}{
		{"rollback", []string{"PRAGMA journal_mode = delete"}, (*sqliteWriter).close, "", "u/me/run1", ""},
		{"a journal left by a crash", []string{
			"PRAGMA journal_mode = delete", "PRAGMA cache_size = 1", "BEGIN IMMEDIATE",
			"UPDATE file_datastore_records SET path = hex(randomblob(9000))", "UPDATE dataset SET run_id = run_id + 1",
		}, (*sqliteWriter).kill, "-journal", "u/me/run1", "left its journal"},
		{"no log", []string{"PRAGMA journal_mode = wal"}, (*sqliteWriter).close, "", "u/me/run1", ""},
		{"an empty log", []string{"PRAGMA journal_mode = wal"}, func(w *sqliteWriter) {
			w.close()
			if err := os.WriteFile(w.cmd.Args[3]+"-wal", nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "-wal", "u/me/run1", ""},
		{"a log in use", slices.Concat(noCheckpoint, late), nil, "-shm -wal", "u/me/run1,late", ""},
		{"a log in use, all of it checkpointed", slices.Concat(noCheckpoint, late, []string{"PRAGMA wal_checkpoint(full)"}), nil, "-shm -wal", "u/me/run1,late", ""},
		{"an empty log in use", slices.Concat(noCheckpoint, late, []string{"PRAGMA wal_checkpoint(truncate)"}), nil, "-shm -wal", "u/me/run1,late", ""},
		{"a transaction in the log", slices.Concat(noCheckpoint, late, []string{"BEGIN IMMEDIATE", "DELETE FROM collection_summary_dataset_type"}), nil, "-shm -wal", "u/me/run1,late", ""},
		{"a log left by a crash", slices.Concat(noCheckpoint, late), (*sqliteWriter).kill, "-shm -wal", "u/me/run1,late", ""},
		{"a log left by a crash, all of it checkpointed", slices.Concat(noCheckpoint, late, []string{"PRAGMA wal_checkpoint(full)"}), (*sqliteWriter).kill, "-shm -wal", "u/me/run1,late", ""},
		{"an empty log left by a crash", slices.Concat(noCheckpoint, late, []string{"PRAGMA wal_checkpoint(truncate)"}), (*sqliteWriter).kill, "-shm -wal", "u/me/run1,late", ""},
		{"a log with an empty index", slices.Concat(noCheckpoint, late), func(w *sqliteWriter) {
			w.kill()
			if err := os.Truncate(w.cmd.Args[3]+"-shm", 0); err != nil {
				t.Fatal(err)
			}
		}, "-shm -wal", "u/me/run1,late", "a write-ahead log (-wal) without its index (-shm)"},
		{"a log without its index", slices.Concat(noCheckpoint, late), func(w *sqliteWriter) {
			w.kill()
			if err := os.Remove(w.cmd.Args[3] + "-shm"); err != nil {
				t.Fatal(err)
			}
		}, "-wal", "u/me/run1,late", "a write-ahead log (-wal) without its index (-shm)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			repo, _ := plainRepo(t)
			w := newSQLiteWriter(t, repo, c.write...)
			if c.end != nil {
				c.end(w)
			} else {
				defer w.close()
			}
			var beside []string
			names, err := filepath.Glob(filepath.Join(repo, "gen3.sqlite3-*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				beside = append(beside, strings.TrimPrefix(filepath.Base(n), "gen3.sqlite3"))
			}
			if got := strings.Join(beside, " "); got != c.files {
				t.Fatalf("beside it are %q, not %q", got, c.files)
			}
			for _, perm := range []os.FileMode{0o755, 0o555} {
				if err := os.Chmod(filepath.Join(repo, "gen3.sqlite3"), perm&0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(repo, perm); err != nil {
					t.Fatal(err)
				}
				before := everything(t, repo)
				_, s, err := extract(t, Options{Repo: repo, Collections: []string{c.collections}})
				if after := everything(t, repo); !slices.Equal(before, after) {
					t.Errorf("mode %v: before\n%v\nafter\n%v", perm, before, after)
				}
				if c.err == "" && (err != nil || s.Written != 3) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("%d datasets, %v", s.Written, err)
				}
			}
			if err := os.Chmod(repo, 0o755); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOneState changes a registry while it is read: what is read is of one state, or the run ends.
func TestOneState(t *testing.T) {
	t.Parallel()
	gone := []string{"PRAGMA foreign_keys = off", "DELETE FROM file_datastore_records", "VACUUM"}
	for _, c := range []struct {
		name          string
		before, while []string
		kill, closes  bool
		err           string
	}{
		{"no log, a writer that is still there", nil, append(gone[:len(gone):len(gone)], "PRAGMA wal_checkpoint(passive)"), false, false, "was changed while it was read"},
		{"no log, a writer that came and went", nil, gone, false, true, "was changed while it was read"},
		{"no log, one row in place", nil, []string{"UPDATE dataset_type SET name = 'Tab_arrow' WHERE id = 3"}, false, true, "was changed while it was read"},
		{"no log, a reader that came and went", nil, []string{"SELECT count(*) FROM collection"}, false, true, ""},
		{"no log, a writer that only adds to one", nil, []string{"PRAGMA wal_autocheckpoint = 0", "DELETE FROM file_datastore_records"}, false, false, ""},
		{"a log in use", late, gone, false, false, ""},
		{"a log in use, that is checkpointed", late, append(gone[:len(gone):len(gone)], "PRAGMA busy_timeout = 0", "PRAGMA wal_checkpoint(truncate)"), false, false, ""},
		{"a log left by a crash", late, gone, true, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			repo := bigRegistry(t, fewRefs+500)
			w := newSQLiteWriter(t, repo, slices.Concat([]string{"PRAGMA journal_mode = wal", "PRAGMA wal_autocheckpoint = 0"}, c.before)...)
			switch {
			case c.kill:
				w.kill()
			case c.before == nil:
				w.close()
			default:
				defer w.close()
			}
			cfg, err := testSource(nil).openConfig(repo)
			if err != nil {
				t.Fatal(err)
			}
			r, err := openRegistry(t.Context(), cfg, Options{Getenv: testSource(nil).getenv, Log: testSource(nil).log})
			if err != nil {
				t.Fatal(err)
			}
			if r.second != nil {
				t.Error("a second session, which may see another state")
			}
			if c.before == nil || c.kill {
				w = newSQLiteWriter(t, repo)
				if !c.closes {
					defer w.close()
				}
			}
			w.exec(c.while...)
			if c.closes {
				w.close()
			}
			o, err := Options{Collections: []string{"u/me/run1"}, DatasetType: "tab_arrow"}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			l, err := findDatasets(t.Context(), r, cfg, o)
			err = r.end(err)
			switch {
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("%v", err)
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err == "":
				for i := range l.refs {
					if len(l.refs[i].records) != 1 {
						t.Fatalf("dataset %d of %d has %d records", i, len(l.refs), len(l.refs[i].records))
					}
				}
			}
		})
	}
}

// TestUnknownNames checks what is said of names that are not there.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	for _, c := range []struct {
		o   Options
		err string
	}{
		{Options{Collections: []string{"u/me/run"}}, "there is no collection u/me/run, did you mean u/me/run1, u/me/run2"},
		{Options{Collections: []string{"u/me/run1", "zzz"}}, "there is no collection zzz among its 9 (separate several by commas"},
		{Options{Collections: []string{"u/me/run1,u/me/runn"}}, "there is no collection u/me/runn, did you mean u/me/run1"},
		{Options{Collections: []string{"u/me/run["}}, "there is no collection u/me/run[, did you mean"},
		{Options{Collections: []string{" , "}}, "no collection given"},
		{Options{Collections: nil}, "no collection given"},
		{Options{Collections: []string{"u/me/run1"}, DatasetType: "dia_source"}, "there is no dataset type dia_source, did you mean dia_source_visit?"},
		{Options{Collections: []string{"u/me/run1"}, DatasetType: "zz9"}, "there is no dataset type zz9 (there are: calib_tab, dia_source_visit, legacy_parq"},
		{Options{Collections: []string{"u/me/run1"}, DatasetType: "dia_source_visit.columns"}, "columns is a component, ask for dia_source_visit"},
		{Options{Collections: []string{"u/me/run?"}, FindFirst: true}, "find-first: a pattern gives collections no order"},
		{Options{Collections: []string{"u/me/calib"}, DatasetType: "calib_tab", FindFirst: true}, "ambiguous: 4 validity ranges"},
		{Options{Collections: []string{"u/me/run1"}, Where: "tract = 1"}, "where: unknown dimension tract: the dataset type has instrument, visit, band, day_obs, physical_filter"},
	} {
		c.o.Repo = repo
		_, err := Open(t.Context(), c.o)
		if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v %s: %v, want %s", c.o.Collections, c.o.DatasetType, err, c.err)
		}
		var usage *UsageError
		var re *RepoError
		if errors.As(err, &usage) == errors.As(err, &re) {
			t.Errorf("%v is a usage error: %t, a repository error: %t", err, errors.As(err, &usage), errors.As(err, &re))
		}
	}
}

// TestCollectionOrder checks the order of the search where it matters: what comes first, and in which run it is.
func TestCollectionOrder(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	change(t, repo, "INSERT INTO collection VALUES (20, 'a,b', 1, NULL), (21, 'x*y', 1, NULL)")
	for _, c := range []struct {
		collections []string
		want        string
	}{
		{[]string{"u/me/outer"}, "u/me/empty u/me/tag u/me/run1 u/me/run2"},
		{[]string{"u/me/run2,u/me/inner"}, "u/me/run2 u/me/tag u/me/run1"},
		{[]string{"u/me/run2", "u/me/outer", "u/me/run2"}, "u/me/run2 u/me/empty u/me/tag u/me/run1"},
		{[]string{"a,b"}, "a,b"},
		{[]string{"a,b", "u/me/run1 , u/me/run2"}, "a,b u/me/run1 u/me/run2"},
		{[]string{"x*y"}, "x*y"},
		{[]string{"u/me/run2,u/me/r*"}, "u/me/run1 u/me/run2"},
		{[]string{"u/me/[i]*"}, "u/me/tag u/me/run1"},
		{[]string{"*/nothing"}, ""},
		{[]string{"u/me/odd #name"}, "u/me/odd #name"},
		{[]string{"u/me/[!c-o]*[0-9]"}, "u/me/run1 u/me/run2"},
	} {
		cfg, err := testSource(nil).openConfig(repo)
		if err != nil {
			t.Fatal(err)
		}
		r, err := openRegistry(t.Context(), cfg, Options{Getenv: testSource(nil).getenv, Log: testSource(nil).log})
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.resolveCollections(t.Context(), c.collections)
		if err != nil {
			t.Errorf("%v: %v", c.collections, err)
		} else {
			var got []string
			for _, x := range s.collections {
				got = append(got, x.name)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v: %v, want %s", c.collections, got, c.want)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
	}
}

// TestOverrides reads a dataset type under the name that the configuration gives it.
func TestOverrides(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	text := "datastore: {root: <butlerRoot>}\nregistry: {managers: {datasets: {cls: x.ByDimensionsDatasetRecordStorageManagerUUID, config: {overrides: {dia_source_visit: {rename: sources, storageClass: DataFrame}}}}}}\n"
	if err := os.WriteFile(filepath.Join(repo, "butler.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, s := mustExtract(t, Options{Repo: repo, Collections: []string{"u/me/run1"}, DatasetType: "sources"})
	if s.Written != 3 {
		t.Errorf("%d datasets", s.Written)
	}
	if _, err := Open(t.Context(), Options{Repo: repo, Collections: []string{"u/me/run1"}, DatasetType: "dia_source_visit"}); err == nil || !strings.Contains(err.Error(), "is called sources by the configuration") {
		t.Error(err)
	}
}

// TestScanOfRecords compares records read beside the listing with records looked up behind it, and with those of a
// registry whose second connection cannot be had.
func TestScanOfRecords(t *testing.T) {
	t.Parallel()
	repo := bigRegistry(t, fewRefs+500)
	change(t, repo, "UPDATE file_datastore_records SET formatter = 'x.Other' WHERE rowid % 7 = 0", "DELETE FROM file_datastore_records WHERE rowid % 11 = 0",
		"INSERT INTO file_datastore_records SELECT dataset_id, path, formatter, storage_class, 'part', NULL, NULL FROM file_datastore_records WHERE rowid % 13 = 0")
	var want []string
	for _, mode := range []string{"scan", "no second connection", "second connection fails", "negative row ids", "an odd record elsewhere"} {
		switch mode {
		case "negative row ids":
			change(t, repo, "UPDATE file_datastore_records SET rowid = rowid - 1000000")
		case "an odd record elsewhere":
			change(t, repo, "UPDATE file_datastore_records SET file_size = 'large' WHERE path LIKE '%nodim%'")
		}
		cfg, err := testSource(nil).openConfig(repo)
		if err != nil {
			t.Fatal(err)
		}
		r, err := openRegistry(t.Context(), cfg, Options{Getenv: testSource(nil).getenv, Log: testSource(nil).log})
		if err != nil {
			t.Fatal(err)
		}
		switch mode {
		case "no second connection":
			r.second = nil
		case "second connection fails":
			r.second = func(context.Context) (session, error) { return nil, errors.New("busy") }
		}
		o, err := Options{Collections: []string{"u/me/run1"}, DatasetType: "tab_arrow"}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		l, err := findDatasets(t.Context(), r, cfg, o)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		var got []string
		for _, x := range l.refs {
			s := x.id.String()
			for _, f := range x.records {
				s += fmt.Sprintf(" %s %s %s %s %d", f.path, f.formatter, f.storageClass, f.component, f.size)
			}
			got = append(got, s)
		}
		if want == nil {
			want = got
		}
		if len(got) != fewRefs+501 || !slices.Equal(got, want) {
			t.Errorf("%s: other records", mode)
		}
	}
}

// TestParseUUID reads ids as SQLite and Postgres give them, and nothing else.
func TestParseUUID(t *testing.T) {
	t.Parallel()
	const digits, dashes = "0123456789abcdeffedcba9876543210", "01234567-89ab-cdef-fedc-ba9876543210"
	for _, s := range []string{digits, dashes, strings.ToUpper(dashes)} {
		if u, err := parseUUID(s); err != nil || u.text(false) != digits || u.String() != dashes {
			t.Errorf("%s: %s, %v", s, u, err)
		}
	}
	for _, s := range []string{"", "-", digits[1:], digits + "0", dashes + "0", "g" + digits[1:], digits[1:] + "G", digits[1:] + "/", digits[1:] + ":", digits[1:] + "@", digits[1:] + "`", digits[1:] + "\xff"} {
		if u, err := parseUUID(s); err == nil || u != (uuid{}) || !strings.Contains(err.Error(), "is no UUID") {
			t.Errorf("%q: %s, %v", s, u, err)
		}
	}
}

// TestRecordTable finds what was put in, of ids that differ in few bits, and nothing else.
func TestRecordTable(t *testing.T) {
	t.Parallel()
	const n = 3*recordBlock + 5
	table := newRecordTable(n)
	id := func(i int) (u uuid) {
		u[i%16], u[(i+7)%16], u[(i+3)%16] = byte(i), byte(i>>8), 1
		return u
	}
	want := map[uuid]string{}
	for i := range n {
		_, again := want[id(i)]
		if table.add(id(i), fileRecord{path: fmt.Sprint(i)}) == again {
			t.Fatalf("%d: %s was there: %t", i, id(i), again)
		}
		if !again {
			want[id(i)] = fmt.Sprint(i)
		}
	}
	for i := range 2 * n {
		got := table.find(id(i))
		if path, ok := want[id(i)]; ok && (len(got) != 1 || cap(got) != 1 || got[0].path != path) || !ok && got != nil {
			t.Fatalf("%s: %v", id(i), got)
		}
	}
	if len(want) < n/2 {
		t.Errorf("only %d different ids", len(want))
	}
}

// TestRecordTableSpreads puts in ids as somebody might make them who wants them to meet: they differ in two bytes, whichever.
func TestRecordTableSpreads(t *testing.T) {
	t.Parallel()
	for _, at := range [][2]int{{7, 15}, {0, 8}, {6, 7}, {14, 15}, {3, 11}} {
		table := newRecordTable(1 << 16)
		for i := range 1 << 16 {
			var id uuid
			id[at[0]], id[at[1]] = byte(i), byte(i>>8)
			table.add(id, fileRecord{})
		}
		longest, run := 0, 0
		for _, s := range append(table.slots, table.slots...) { // around the end, too
			if run++; s == 0 {
				run = 0
			}
			longest = max(longest, run)
		}
		if longest > 500 { // what is looked through for one id; chance gives 60 or so
			t.Errorf("bytes %v: %d ids stand together", at, longest)
		}
	}
}

// TestPackedKeys compares the order of packed numbers with that of the values, for data IDs that fit and that do not.
func TestPackedKeys(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 9))
	for trial := range 60 {
		var hits []hit
		for range 200 {
			var dims []value
			for d := range 3 {
				switch {
				case d == 1 && trial%2 == 0:
					dims = append(dims, word([]string{"a", "B", "", "zz", "é"}[rng.IntN(5)]))
				case trial%3 == 0:
					dims = append(dims, number(int64(rng.Uint64())))
				default:
					dims = append(dims, number(int64(rng.IntN(2000))-1000))
				}
			}
			hits = append(hits, hit{dims: dims})
		}
		order := []int{2, 0, 1}
		keys, exact := packKeys(hits, order)
		if exact == (trial%3 == 0) {
			t.Fatalf("trial %d: exact %t", trial, exact)
		}
		sorted := byKey(keys)
		if !slices.IsSortedFunc(sorted, func(a, b int32) int { return cmp.Compare(keys[a], keys[b]) }) {
			t.Fatal("not sorted")
		}
		slices.Sort(sorted)
		for i, at := range sorted {
			if int(at) != i {
				t.Fatalf("%d is not there, or twice", i)
			}
		}
		for i := range hits {
			for j := range hits {
				if want := compareDims(hits[i].dims, hits[j].dims, order); exact && cmp.Compare(keys[i], keys[j]) != want {
					t.Fatalf("%v and %v: keys %d and %d", hits[i].dims, hits[j].dims, keys[i], keys[j])
				}
			}
		}
	}
	if _, exact := packKeys(nil, nil); !exact {
		t.Error("nothing does not fit")
	}
}

// TestLockedRegistry reads while somebody writes: it tells that it waits, and goes on once it can.
func TestLockedRegistry(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	file := filepath.Join(repo, "gen3.sqlite3")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	s, err := beginSQLite(t.Context(), "file:"+file+"?mode=ro&_pragma=busy_timeout(0)")
	if err == nil {
		err = s.each(t.Context(), "SELECT count(*) FROM butler_attributes", nil, func([]any) error { return nil })
		_ = s.close()
	}
	if said := explain(err); said == nil || !strings.Contains(said.Error(), "another program was writing to the registry") || !strings.Contains(said.Error(), "try again") || strings.Contains(said.Error(), "SQLITE") || strings.Contains(said.Error(), "database is locked") {
		t.Errorf("locked: %v", said)
	}
	o := sources(repo, "u/me/run1")
	var lines []string
	o.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		lines = append(lines, string(b))
		if _, err := db.Exec("ROLLBACK"); err != nil {
			t.Error(err)
		}
		return len(b), nil
	}), nil))
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if len(lines) != 1 || !strings.Contains(lines[0], "waiting up to 1m0s for another program that is writing to the registry") || !strings.Contains(lines[0], file) {
		t.Errorf("%q", lines)
	}
}

// TestIncompleteRegistry lacks tables and columns that its managers' versions promise.
func TestIncompleteRegistry(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{"DROP TABLE dataset_type", "DROP TABLE file_datastore_records", "DROP TABLE collection", "ALTER TABLE dataset_type RENAME COLUMN storage_class TO other"} {
		repo, _ := plainRepo(t)
		change(t, repo, "PRAGMA foreign_keys = off", statement)
		var re *RepoError
		if _, err := Open(t.Context(), sources(repo, "u/me/run1")); !errors.As(err, &re) || !strings.Contains(err.Error(), "unsupported registry") || !strings.Contains(err.Error(), "no such ") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
