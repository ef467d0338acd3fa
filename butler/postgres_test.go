package butler

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// inPostgres copies the registry of a repository to a schema of a database, and gives the directory of a repository that has the same
// datasets and that registry. Constraints and indexes are left out.
func inPostgres(t testing.TB, repo, dsn, schema string) string {
	t.Helper()
	lite, err := sql.Open("sqlite", "file:"+filepath.Join(repo, "gen3.sqlite3")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	pg, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close(t.Context())
	exec := func(q string) {
		t.Helper()
		if _, err := pg.Exec(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	var tables []string
	rows, err := lite.Query("SELECT name FROM sqlite_master WHERE type = 'table'")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	exec("CREATE SCHEMA " + quoteIdent(schema))
	for _, table := range tables {
		rows, err := lite.Query("SELECT * FROM " + quoteIdent(table))
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.ColumnTypes()
		if err != nil {
			t.Fatal(err)
		}
		var names, definitions []string
		uuids := map[int]bool{}
		for i, c := range columns {
			typ := "text"
			switch declared := strings.ToUpper(c.DatabaseTypeName()); {
			case c.Name() == "dataset_id", table == "dataset" && c.Name() == "id":
				typ, uuids[i] = "uuid", true
			case strings.Contains(declared, "INT"):
				typ = "bigint"
			}
			names = append(names, c.Name())
			definitions = append(definitions, quoteIdent(c.Name())+" "+typ)
		}
		exec("CREATE TABLE " + quoteIdent(schema) + "." + quoteIdent(table) + " (" + strings.Join(definitions, ", ") + ")")
		var all [][]any
		for rows.Next() {
			v, to := make([]any, len(columns)), make([]any, len(columns))
			for i := range v {
				to[i] = &v[i]
			}
			if err := rows.Scan(to...); err != nil {
				t.Fatal(err)
			}
			for i := range v {
				switch x := v[i].(type) {
				case nil:
				case int64:
					if strings.HasSuffix(definitions[i], " text") {
						v[i] = fmt.Sprint(x)
					}
				case string:
					if uuids[i] {
						id, err := parseUUID(x)
						if err != nil {
							t.Fatal(err)
						}
						v[i] = [16]byte(id)
					}
				default:
					v[i] = fmt.Sprint(x)
				}
			}
			all = append(all, v)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := pg.CopyFrom(t.Context(), pgx.Identifier{schema, table}, names, pgx.CopyFromRows(all)); err != nil {
			t.Fatalf("%s: %v", table, err)
		}
	}
	dir := t.TempDir()
	config := fmt.Sprintf("datastore: {cls: lsst.daf.butler.datastores.fileDatastore.FileDatastore, root: %q}\nregistry: {db: %q, namespace: %q}\n", repo, sqlalchemyURL(dsn, ""), schema)
	if err := os.WriteFile(filepath.Join(dir, "butler.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listed gives the datasets of a listing, a line each.
func listed(t testing.TB, o Options) []string {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all []string
	for d := range e.Datasets() {
		all = append(all, fmt.Sprintf("%+v", d))
	}
	return all
}

// TestPostgresNamespaces reads registries in schemas whose names must be quoted, beside others that have the unquoted name.
func TestPostgresNamespaces(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	dsn := pgtest.Database(t)
	options := []Options{
		{Collections: []string{"*"}},
		{Collections: []string{"u/me/outer"}, FindFirst: true, FullDataID: true},
		{Collections: []string{"u/me/calib,u/me/run1"}, DatasetType: "calib_tab"},
		{Collections: []string{"u/me/run1"}, Where: "visit IN (1, 3) AND band != 'r'"},
	}
	empty := fmt.Sprintf("CREATE SCHEMA butler; CREATE TABLE butler.butler_attributes (name text, value text); CREATE SCHEMA %s; CREATE TABLE %[1]s.butler_attributes (name text, value text)", quoteIdent("a; b"))
	pgtest.Exec(t, dsn, empty)
	for _, schema := range []string{"Butler", `a"; b`, "select", "ü.x"} {
		o := inPostgres(t, repo, dsn, schema)
		for _, c := range options {
			c.Repo = repo
			want := listed(t, c)
			c.Repo = o
			if got := listed(t, c); !slices.Equal(got, want) || len(got) == 0 {
				t.Errorf("%s: %v\n%v\nwant\n%v", schema, c.Collections, got, want)
			}
		}
	}
}

// TestPostgresTransaction reads beside a writer: all is of one state, and nothing could be written.
func TestPostgresTransaction(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	dsn := pgtest.Database(t)
	repo = inPostgres(t, repo, dsn, "butler")
	o, err := sources(repo, "u/me/run1").withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := testSource(nil).openConfig(repo)
	if err != nil {
		t.Fatal(err)
	}
	r, err := openRegistry(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pgtest.Exec(t, dsn, "DELETE FROM butler.file_datastore_records; DELETE FROM butler.collection")
	l, err := findDatasets(t.Context(), r, cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for _, x := range l.refs {
		stored += len(x.records)
	}
	if len(l.refs) != 4 || stored != 4 {
		t.Errorf("%d datasets with %d records", len(l.refs), stored)
	}
	err = r.session.each(t.Context(), "CREATE TABLE butler.x ()", nil, func([]any) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "read-only transaction") {
		t.Errorf("written: %v", err)
	}
}

// TestPostgresKeptDuplicates keeps a dataset twice, in the last place of a chunk of look-ups and in the first of the next.
func TestPostgresKeptDuplicates(t *testing.T) {
	t.Parallel()
	repo := bigRegistry(t, recordChunk)
	change(t, repo,
		"INSERT INTO collection_summary_dataset_type VALUES (5, 3)",
		fmt.Sprintf("INSERT INTO dataset_tags_00000002 SELECT dataset_type_id, dataset_id, 5, instrument, detector, visit FROM dataset_tags_00000002 WHERE dataset_type_id = 3 AND collection_id = 1 AND visit = %d AND detector = 99", 1000+recordChunk/100-1))
	o := Options{Collections: []string{"u/me/run1", "u/me/tag"}, DatasetType: "tab_arrow", Where: "visit >= 1000", KeepDuplicates: true, Repo: repo}
	want := listed(t, o)
	o.Repo = inPostgres(t, repo, pgtest.Database(t), "butler")
	if got := listed(t, o); len(got) != recordChunk+1 || !slices.Equal(got, want) {
		t.Errorf("%d datasets, %d in SQLite; the last two are\n%s", len(got), len(want), strings.Join(got[len(got)-2:], "\n"))
	}
}

// TestPostgresOddTexts asks for names that no database can have.
func TestPostgresOddTexts(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	repo = inPostgres(t, repo, pgtest.Database(t), "butler")
	for _, text := range []string{"a\xffb", "a\x00b"} {
		for _, c := range []struct {
			o   Options
			err string
		}{
			{Options{Collections: []string{text}}, "there is no collection"},
			{Options{Collections: []string{"u/me/run1", text}}, "there is no collection"},
			{Options{Collections: []string{"u/me/run1"}, DatasetType: text}, "there is no dataset type"},
			{Options{Collections: []string{"*" + text}}, ""},
			{Options{Collections: []string{"u/me/run1"}, Where: "instrument = '" + text + "'"}, ""},
			{Options{Collections: []string{"u/me/run1"}, Where: "instrument IN ('" + text + "')"}, ""},
		} {
			c.o.Repo = repo
			e, err := Open(t.Context(), c.o)
			switch {
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "SQLSTATE")), c.err == "" && err != nil:
				t.Errorf("%q %q %q: %v", c.o.Collections, c.o.DatasetType, c.o.Where, err)
			case err == nil && e.Len() != 0:
				t.Errorf("%q %q: %d datasets", c.o.Collections, c.o.Where, e.Len())
			}
			if err == nil {
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
