package butler

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"fast-export/internal/column"
	"fast-export/internal/pgtest"
)

// makeRepos runs the generator, testdata/make_repos.py.
func makeRepos(t testing.TB, args ...string) {
	t.Helper()
	python(t, append([]string{"testdata/make_repos.py"}, args...)...)
}

func python(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pgtest.Python(t), args...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("python: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return string(out)
}

// TestFreshRepositories makes all repositories anew with Python and compares every listing and every table.
func TestFreshRepositories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeRepos(t, dir)
	for _, repo := range []string{"sqlite_plain", "sqlite_namekey", "sqlite_v1", "chained", "zip", "zoo"} {
		t.Run(repo, func(t *testing.T) {
			compareListings(t, filepath.Join(dir, repo), readGolden(t, dir, repo))
			compareTables(t, dir, repo)
		})
	}
	t.Run("judge", func(t *testing.T) {
		judge(t, slices.Concat(outputs(t, filepath.Join(dir, "sqlite_plain")), []string{"--"}, zooOutputs(t, filepath.Join(dir, "zoo"))))
	})
}

// TestPostgresRepositories does the same with registries in Postgres, one of them behind a pooler that gives each
// transaction another connection, and compares what comes out with the same repositories in SQLite.
func TestPostgresRepositories(t *testing.T) {
	t.Parallel()
	// A collation that sorts otherwise than bytes: the order must not come from the server.
	srv := pgtest.Start(t, pgtest.Config{})
	dsn := srv.Database(t, "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C' TEMPLATE template0")
	pgtest.Exec(t, dsn, "CREATE EXTENSION btree_gist")
	dir := t.TempDir()
	makeRepos(t, dir, "--pg", sqlalchemyURL(dsn, ""))
	sqlite := unpack(t, "sqlite_plain")
	for _, repo := range []string{"pg_plain", "pg_namekey", "pg_v1"} {
		t.Run(repo, func(t *testing.T) {
			compareListings(t, filepath.Join(dir, repo), readGolden(t, dir, repo))
			compareTables(t, dir, repo)
			for _, o := range []Options{
				{Collections: []string{"*"}, SkipMissing: true},
				{Collections: []string{"u/me/outer"}, FindFirst: true, SkipMissing: true, AddDataID: true, Columns: []string{"ra", "m_str"}},
				{Collections: []string{"u/me/calib"}, DatasetType: "calib_tab"},
				{Collections: []string{"u/me/run1"}, Where: "visit IN (1, 3) AND instrument = 'Cam1' AND band != 'r'"},
				{Collections: []string{"u/me/run1"}, DatasetType: "nodim_tab"},
				{Collections: []string{"u/me/run1"}, DatasetType: "object_patch"},
			} {
				o.Repo = filepath.Join(sqlite, "sqlite_plain")
				want, ws := mustExtract(t, o)
				o.Repo = filepath.Join(dir, repo)
				got, gs := mustExtract(t, o)
				if fmt.Sprint(got.groups, got.cells, gs) != fmt.Sprint(want.groups, want.cells, ws) {
					t.Errorf("%v %s: other rows than in SQLite", o.Collections, o.DatasetType)
				}
			}
		})
	}
	t.Run("judge", func(t *testing.T) { judge(t, outputs(t, filepath.Join(dir, "pg_namekey"))) })
	repo := filepath.Join(dir, "pg_plain")
	original, err := os.ReadFile(filepath.Join(repo, "butler.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	configure := func(t *testing.T, from, to string) {
		t.Helper()
		if !bytes.Contains(original, []byte(from)) {
			t.Fatalf("no %s in\n%s", from, original)
		}
		if err := os.WriteFile(filepath.Join(repo, "butler.yaml"), bytes.ReplaceAll(original, []byte(from), []byte(to)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	db := sqlalchemyURL(dsn, "")
	t.Run("errors", func(t *testing.T) {
		pgtest.Exec(t, dsn, "CREATE ROLE nobody_here LOGIN")
		defer pgtest.Exec(t, dsn, "DROP ROLE nobody_here")
		for _, c := range []struct {
			name, from, to, err string
			connect             bool
		}{
			{"another schema", "namespace: fixture_plain", "namespace: fixture_other", "schema fixture_other of postgresql://", false},
			{"no schema", "namespace: fixture_plain", "", "schema public of postgresql://", false},
			{"no server", db, "postgresql://me:secret@127.0.0.1:1/db?connect_timeout=2", "cannot connect to the registry at postgresql://me:***@127.0.0.1:1/db", true},
			{"no database", db, sqlalchemyURL(dsn, "nothing"), "database \"nothing\" does not exist", true},
			{"no permission", db, strings.Replace(db, "postgres@", "nobody_here@", 1), "permission denied", false},
		} {
			configure(t, c.from, c.to)
			_, err := Open(t.Context(), sources(repo, "u/me/run1"))
			var re *RepoError
			var ce *ConnectError
			if err == nil || !strings.Contains(err.Error(), c.err) || !errors.As(err, &re) || errors.As(err, &ce) != c.connect || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %s", c.name, err, c.err)
			}
		}
	})
	t.Run("credentials", func(t *testing.T) {
		list := filepath.Join(t.TempDir(), "auth.yaml")
		if err := os.WriteFile(list, []byte("- {url: 'postgresql://*/nothing', username: nobody, password: x}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		configure(t, db, "postgresql://localhost/nothing")
		o := sources(repo, "u/me/run1")
		o.Getenv = func(k string) string { return map[string]string{"LSST_DB_AUTH": list}[k] }
		var ce *ConnectError
		if _, err := Open(t.Context(), o); !errors.As(err, &ce) || len(ce.Tried) == 0 || ce.Tried[0] != list+", entry 1" || !strings.Contains(err.Error(), "nobody:***@") {
			t.Error(err)
		}
	})
	t.Run("pooler", func(t *testing.T) {
		pool := srv.PgBouncer(t, "transaction", "default_pool_size = 2")
		configure(t, db, sqlalchemyURL(pool.DSN(databaseOf(dsn)), ""))
		for range 4 {
			o := sources(repo, "u/me/outer")
			o.SkipMissing = true
			if c, s := mustExtract(t, o); s.Missing != 1 || len(c.groups) != 5 {
				t.Errorf("%+v", s)
			}
		}
	})
	t.Run("too few dimensions", func(t *testing.T) {
		configure(t, db, db)
		pgtest.Exec(t, dsn, "DELETE FROM fixture_plain.dimension_graph_definition WHERE dimension_name = 'visit'")
		if _, err := Open(t.Context(), sources(repo, "u/me/run1")); err == nil || !strings.Contains(err.Error(), "are without visit, which its table dataset_tags_") {
			t.Error(err)
		}
	})
}

func databaseOf(dsn string) string {
	_, after, _ := strings.Cut(dsn, "dbname=")
	name, _, _ := strings.Cut(after, " ")
	return name
}

// sqlalchemyURL writes a key=value DSN as SQLAlchemy wants it, with another database if one is named.
func sqlalchemyURL(dsn, database string) string {
	kv := map[string]string{}
	for _, p := range strings.Fields(dsn) {
		k, v, _ := strings.Cut(p, "=")
		kv[k] = v
	}
	if database == "" {
		database = kv["dbname"]
	}
	return fmt.Sprintf("postgresql+psycopg2://%s@/%s?host=%s&port=%s", kv["user"], database, url.QueryEscape(kv["host"]), kv["port"])
}

// judge lets Python do the same with Butler as extracted files claim to be: the same datasets in the same row groups, the
// same rows bit for bit, and a file that Butler and astropy read back. The arguments are those of testdata/judge.py, which
// takes longer to start than to compare.
func judge(t *testing.T, args []string) {
	t.Helper()
	files := 0
	for _, a := range args {
		if strings.HasSuffix(a, ".parquet") {
			files++
		}
	}
	said := python(t, append([]string{"testdata/judge.py"}, args...)...)
	if n := strings.Count(said, "same\n"); n != files {
		t.Errorf("%d of %d are the same:\n%s", n, files, said)
	}
}

// outputs extracts in several ways and gives the judge's arguments.
func outputs(t *testing.T, repo string) []string {
	t.Helper()
	args := []string{repo}
	out := t.TempDir()
	for i, c := range []struct {
		o    Options
		spec string
	}{
		{Options{Collections: []string{"u/me/run1"}}, `{"collections": ["u/me/run1"]}`},
		{Options{Collections: []string{"u/me/run1", "u/me/run2"}, Where: "visit < 4"}, `{"collections": ["u/me/run1", "u/me/run2"], "where": "instrument = 'Cam1' AND visit < 4"}`},
		{Options{Collections: []string{"u/me/outer"}, FindFirst: true, Where: "visit < 4"}, `{"collections": ["u/me/outer"], "find_first": true, "where": "instrument = 'Cam1' AND visit < 4"}`},
		{Options{Collections: []string{"u/me/run1"}, IDs: NewIDSet([]int64{2000000000001, 2000000000004, 4000000000000})}, `{"collections": ["u/me/run1"], "ids": [2000000000001, 2000000000004, 4000000000000]}`},
		{Options{Collections: []string{"u/me/run1"}, IDs: NewIDSet([]int64{1, 3}), TargetColumn: "detector"}, `{"collections": ["u/me/run1"], "ids": [1, 3], "target": "detector"}`},
		{Options{Collections: []string{"u/me/run1"}, Columns: []string{"band", "mat", "ra"}}, `{"collections": ["u/me/run1"], "columns": ["band", "mat", "ra"]}`},
		{Options{Collections: []string{"u/me/run1"}, Columns: []string{"ra"}, AddDataID: true}, `{"collections": ["u/me/run1"], "columns": ["ra"], "data_id": true}`},
		{Options{Collections: []string{"u/me/run1"}, DatasetType: "source_df"}, `{"collections": ["u/me/run1"], "type": "source_df"}`},
		{Options{Collections: []string{"u/me/run1"}, DatasetType: "tab_numpy"}, `{"collections": ["u/me/run1"], "type": "tab_numpy"}`},
		{Options{Collections: []string{"u/me/calib"}, DatasetType: "calib_tab"}, `{"collections": ["u/me/calib"], "type": "calib_tab"}`},
		{Options{Collections: []string{"u/me/run1"}, IDs: NewIDSet([]int64{5})}, `{"collections": ["u/me/run1"], "ids": [5]}`},
	} {
		c.o.Repo = repo
		file := filepath.Join(out, fmt.Sprintf("%d.parquet", i))
		writeParquet(t, c.o, file)
		args = append(args, file, c.spec)
	}
	return args
}

// zooOutputs makes files of odd names, units and headers, and gives the judge's arguments.
func zooOutputs(t *testing.T, repo string) []string {
	t.Helper()
	args := []string{repo}
	out := t.TempDir()
	for id, name := range detectorNames(t, repo) {
		_, name, _ := strings.Cut(name, "_")
		switch name {
		case "names", "astropy", "units", "pandas", "pandas_multiindex", "index_kept", "yaml_no_count", "shape_0", "no_rows", "float_f2":
		default:
			continue
		}
		file := filepath.Join(out, name+".parquet")
		where := fmt.Sprintf("detector = %d", id)
		writeParquet(t, Options{Repo: repo, Collections: []string{"zoo"}, DatasetType: "zoo", Where: where}, file)
		args = append(args, file, fmt.Sprintf(`{"collections": ["zoo"], "type": "zoo", "where": "instrument = 'Cam1' AND %s", "units_differ": %t}`, where, name == "units"))
	}
	if len(args) != 21 {
		t.Fatalf("%d files", len(args)/2)
	}
	return args
}

// writeParquet extracts into a Parquet file, by arrow-go: what the program's own writer makes of batches is tested with it.
func writeParquet(t *testing.T, o Options, name string) {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	schema, err := e.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sink := &recordSink{schema: schema}
	s, err := e.Run(t.Context(), sink)
	if err != nil {
		t.Fatal(err)
	}
	// The file's metadata is part of the Arrow schema in it: that is where pyarrow, and so Butler, looks for it.
	var keys, values []string
	for _, kv := range s.Metadata {
		keys, values = append(keys, kv.Key), append(values, kv.Value)
	}
	md := arrow.NewMetadata(keys, values)
	schema = arrow.NewSchema(schema.Fields(), &md)
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range sink.records {
		if err := w.Write(array.NewRecordBatch(schema, rec.Columns(), rec.NumRows())); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// recordSink gathers each dataset's batches into one record.
type recordSink struct {
	schema  *arrow.Schema
	parts   []arrow.RecordBatch
	records []arrow.RecordBatch
}

func (s *recordSink) Write(_ context.Context, b *column.Batch) error {
	defer b.Release()
	arrays := make([]arrow.Array, s.schema.NumFields())
	for i, f := range s.schema.Fields() {
		arrays[i] = bufferArray(f.Type, &b.Leaves[i], b.Rows)
	}
	s.parts = append(s.parts, array.NewRecordBatch(s.schema, arrays, int64(b.Rows)))
	return nil
}

func (s *recordSink) EndRowGroup() error {
	arrays := make([]arrow.Array, s.schema.NumFields())
	rows := int64(0)
	for _, p := range s.parts {
		rows += p.NumRows()
	}
	for i := range arrays {
		var chunks []arrow.Array
		for _, p := range s.parts {
			chunks = append(chunks, p.Column(i))
		}
		a, err := array.Concatenate(chunks, memory.DefaultAllocator)
		if err != nil {
			return err
		}
		arrays[i] = a
	}
	s.parts = nil
	s.records = append(s.records, array.NewRecordBatch(s.schema, arrays, rows))
	return nil
}

// bufferArray makes an Arrow array of a leaf.
func bufferArray(t arrow.DataType, b *column.Buffer, rows int) arrow.Array {
	if list, ok := t.(*arrow.FixedSizeListType); ok {
		k := int(list.Len())
		inner := &column.Buffer{Data: b.Data, Values: b.Values, Valid: bytes.Repeat([]byte{0xff}, (rows*k+7)/8)}
		child := bufferArray(list.Elem(), inner, rows*k)
		return array.NewFixedSizeListData(array.NewData(t, rows, []*memory.Buffer{nil}, []arrow.ArrayData{child.Data()}, 0, 0))
	}
	builder := array.NewBuilder(memory.DefaultAllocator, t)
	data := b.Data
	for i := range rows {
		if !bitutil.BitIsSet(b.Valid, i) {
			builder.AppendNull()
			continue
		}
		take := func(n int) []byte { v := data[:n]; data = data[n:]; return v }
		appendPlain(builder, t, take)
	}
	return builder.NewArray()
}

// appendPlain appends one PLAIN value.
func appendPlain(b array.Builder, t arrow.DataType, take func(n int) []byte) {
	le := binary.LittleEndian
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(take(1)[0] == 1)
	case *array.Int8Builder:
		b.Append(int8(le.Uint32(take(4))))
	case *array.Int16Builder:
		b.Append(int16(le.Uint32(take(4))))
	case *array.Int32Builder:
		b.Append(int32(le.Uint32(take(4))))
	case *array.Uint8Builder:
		b.Append(uint8(le.Uint32(take(4))))
	case *array.Uint16Builder:
		b.Append(uint16(le.Uint32(take(4))))
	case *array.Uint32Builder:
		b.Append(le.Uint32(take(4)))
	case *array.Int64Builder:
		b.Append(int64(le.Uint64(take(8))))
	case *array.Uint64Builder:
		b.Append(le.Uint64(take(8)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(le.Uint64(take(8))))
	case *array.Float16Builder:
		b.Append(float16.FromBits(le.Uint16(take(2))))
	case *array.Float32Builder:
		b.Append(math.Float32frombits(le.Uint32(take(4))))
	case *array.Float64Builder:
		b.Append(math.Float64frombits(le.Uint64(take(8))))
	case *array.StringBuilder:
		b.Append(string(take(int(le.Uint32(take(4))))))
	case *array.BinaryBuilder:
		b.Append(take(int(le.Uint32(take(4)))))
	default:
		panic(t.String())
	}
}
