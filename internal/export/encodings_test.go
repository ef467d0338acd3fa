package export

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"fast-export/internal/pgtest"
	"fast-export/parquetw"
)

// scattered is a table whose columns look other in 32,768 rows than as a whole: x has few values, most of them new in the
// first page, and run more than any dictionary holds, each five times in a row.
const scattered = `
CREATE TABLE scattered (id int NOT NULL, x float8, run text, list int[]);
INSERT INTO scattered
SELECT k, CASE WHEN k % 5 = 0 THEN sqrt(hashint4(k)::bigint & 8191) END, md5((k / 5)::text), array[k % 3]
FROM generate_series(1, 400000) k;
ANALYZE scattered`

// encodings are the encodings of each leaf in a file's row groups together, without those of levels.
func encodings(t *testing.T, path string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	chunks(t, path, func(c *metadata.ColumnChunkMetaData) {
		for _, s := range c.EncodingStats() {
			name := s.Encoding.String()
			if path := c.PathInSchema().String(); s.PageType.String() == "DATA_PAGE" && !slices.Contains(out[path], name) {
				out[path] = append(out[path], name)
			}
		}
	})
	return out
}

func chunks(t *testing.T, path string, do func(*metadata.ColumnChunkMetaData)) {
	t.Helper()
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for g := range r.NumRowGroups() {
		for i := range r.MetaData().Schema.NumColumns() {
			c, err := r.MetaData().RowGroup(g).ColumnChunk(i)
			if err != nil {
				t.Fatal(err)
			}
			do(c)
		}
	}
}

// The server's statistics make up for a first page that misleads: those of the snapshot, where the role may read them.
func TestEncodingsByStatistics(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, strings.Split(scattered, ";\n")...)
	dir := t.TempDir()
	export := func(name string, change func(*Config)) (string, map[string][]string) {
		path := filepath.Join(dir, name)
		cfg := config(t, dsn, Job{Table: "scattered", Out: path, RowGroupRows: 1_000_000})
		if change != nil {
			change(&cfg)
		}
		run1(t, cfg)
		return digest(t, path), encodings(t, path)
	}
	told := map[string][]string{"id": {"DELTA_BINARY_PACKED"}, "x": {"RLE_DICTIONARY"}, "run": {"DELTA_BYTE_ARRAY"}, "list.list.element": {"RLE_DICTIONARY"}}
	untold := map[string][]string{
		"id": {"DELTA_BINARY_PACKED"}, "x": {"BYTE_STREAM_SPLIT"}, "run": {"RLE_DICTIONARY", "DELTA_BYTE_ARRAY"}, "list.list.element": {"RLE_DICTIONARY"},
	}
	check := func(what string, got, want map[string][]string) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: encodings %v, not %v", what, got, want)
		}
	}
	first, got := export("told", nil)
	check("with statistics", got, told)

	conn := pgtest.Connect(t, dsn)
	var id string
	if _, err := conn.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, dsn, "DELETE FROM pg_statistic WHERE starelid = 'scattered'::regclass")
	again, got := export("snapshot", func(c *Config) { c.SnapshotID = id })
	if check("with the snapshot's statistics", got, told); again != first {
		t.Error("other bytes from the snapshot that the statistics were in")
	}
	_, got = export("untold", nil)
	check("without statistics", got, untold)

	pgtest.Exec(t, dsn, "ANALYZE scattered")
	_, got = export("told again", nil)
	check("with statistics again", got, told)
	pgtest.Exec(t, dsn, "REVOKE SELECT ON pg_stats FROM PUBLIC", "CREATE ROLE stats_reader LOGIN", "GRANT SELECT ON scattered TO stats_reader")
	t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP OWNED BY stats_reader", "DROP ROLE stats_reader") })
	_, got = export("barred", func(c *Config) { c.Conn.User = "stats_reader" })
	check("without the right to read statistics", got, untold)
	pgtest.Exec(t, dsn, "GRANT SELECT ON pg_stats TO PUBLIC")
	_, got = export("granted", func(c *Config) { c.Conn.User = "stats_reader" })
	check("with the right again", got, told)
	pgtest.Exec(t, dsn, "REVOKE SELECT ON scattered FROM stats_reader", "GRANT SELECT (id, x) ON scattered TO stats_reader")
	_, got = export("columns", func(c *Config) { c.Conn.User, c.Jobs[0].Columns = "stats_reader", []string{"x"} })
	check("with rights to single columns", got, map[string][]string{"x": told["x"]})

	// A statement's columns are the table's own, an expression of them is not.
	_, got = export("statement", func(c *Config) { c.Jobs[0].Table, c.Jobs[0].SQL = "", "SELECT x AS y, x + 1 AS z FROM scattered" })
	check("of a statement", got, map[string][]string{"y": told["x"], "z": untold["x"]})
	checkRows(t, filepath.Join(dir, "told"), pgtest.Connect(t, dsn), "scattered", "SELECT * FROM scattered ORDER BY ctid", false)
}

// What the user says of columns holds, and with all of it the bytes are the same for any parallelism, chunk size, memory
// and transport.
func TestSameBytesWithEveryOption(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, append(strings.Split(mixed, ";\n"), "CREATE TABLE ascending AS SELECT * FROM mixed ORDER BY id", "ANALYZE ascending")...)
	want := ""
	for i, c := range []struct {
		parallel      int
		chunk, memory int64
		transport     Transport
	}{{1, 1 << 30, 1 << 30, Binary}, {1, 8 << 10, 1 << 20, CSV}, {4, 8 << 10, 1 << 20, Binary}, {8, 100 << 10, 1 << 30, CSV}, {3, 8 << 10, 1 << 30, Binary}} {
		path := filepath.Join(t.TempDir(), "f.parquet")
		cfg := config(t, dsn, Job{
			Table: "ascending", Out: path, RowGroupRows: 2000, RowGroupBytes: 300_000, Encoding: parquetw.Dictionary,
			Encodings: map[string]parquetw.Encoding{"id": parquetw.Delta, "t": parquetw.Auto, "s": parquetw.Plain},
			Bloom:     []string{"id", "v", "u", "ia", `Mixed "Case`}, SortedBy: []string{"id"},
			CommonEncodings: map[string]parquetw.Encoding{"s": parquetw.Delta, "i": parquetw.Delta, "f8": parquetw.Plain}, // f8 is another job's
		})
		cfg.Jobs = append(cfg.Jobs, Job{SQL: "SELECT 1.5::float8 AS f8", Out: path + "2", RowGroupRows: 1, CommonEncodings: cfg.Jobs[0].CommonEncodings})
		cfg.Parallel, cfg.ChunkBytes, cfg.Memory, cfg.Transport = c.parallel, c.chunk, c.memory, c.transport
		run1(t, cfg)
		if got := digest(t, path); want == "" {
			want = got
		} else if got != want {
			t.Errorf("%+v: other bytes", c)
		}
		if i > 0 {
			continue
		}
		checkRows(t, path, pgtest.Connect(t, dsn), "ascending", "SELECT * FROM ascending ORDER BY id", true)
		got := encodings(t, path)
		for leaf, want := range map[string]string{
			"id": "[DELTA_BINARY_PACKED]", "i": "[DELTA_BINARY_PACKED]", "s": "[PLAIN]", "c": "[RLE_DICTIONARY]", "b": "[PLAIN]",
		} {
			if fmt.Sprint(got[leaf]) != want {
				t.Errorf("%s: encodings %v, not %s", leaf, got[leaf], want)
			}
		}
		if got := encodings(t, path+"2"); fmt.Sprint(got["f8"]) != "[PLAIN]" {
			t.Errorf("f8: %v", got)
		}
		var blooms []string
		chunks(t, path, func(c *metadata.ColumnChunkMetaData) {
			if name := c.PathInSchema().String(); c.BloomFilterOffset() > 0 && !slices.Contains(blooms, name) {
				blooms = append(blooms, name)
			}
		})
		if want := []string{"id", "v", "u", "ia.list.element", `Mixed "Case`}; !slices.Equal(blooms, want) {
			t.Errorf("bloom filters of %q", blooms)
		}
		m := NewManifest(cfg, &Result{Files: []File{{Path: path, Job: &cfg.Jobs[0]}}}, func(err error) string { return err.Error() }).Files[0]
		if m.Encoding != "dictionary" || m.RowGroupBytes != 300_000 || m.Encodings["s"] != "plain" || m.Encodings["i"] != "delta" || len(m.Bloom) != 5 || len(m.SortedBy) != 1 {
			t.Errorf("the manifest says %+v", m)
		}
	}
}

// What columns cannot have is an error before a row is read; rows out of order are one at the row.
func TestColumnOptionErrors(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS id, CASE WHEN k = 70000 THEN 1 ELSE k END AS n, k::float8 AS x FROM generate_series(1, 100000) k")
	dir := outDir(t)
	for _, c := range []struct {
		job  Job
		want string
	}{
		{Job{Encodings: map[string]parquetw.Encoding{"x": parquetw.Delta}}, `column "x" of type float64 cannot be encoded as delta`},
		{Job{Encodings: map[string]parquetw.Encoding{"y": parquetw.Plain}}, `column "y" does not exist: there are id, n, x`},
		{Job{CommonEncodings: map[string]parquetw.Encoding{"y": parquetw.Plain}}, `an encoding is chosen for column "y", which none of the exports has`},
		{Job{CommonEncodings: map[string]parquetw.Encoding{"x": parquetw.Delta}}, `column "x" of type float64 cannot be encoded as delta`},
		{Job{Bloom: []string{"x"}}, `column "x" of type float64 cannot have a bloom filter`},
		{Job{SortedBy: []string{"z"}}, `column "z" does not exist`},
		{Job{SortedBy: []string{"n", "id"}}, "the rows are not sorted by n, id: row 70000 belongs before the row above it, by n"},
	} {
		c.job.Table, c.job.Out, c.job.RowGroupRows = "t", filepath.Join(dir, "f.parquet"), 30_000
		cfg := config(t, dsn, c.job)
		res, err := Run(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v does not say %s", err, c.want)
		}
		if _, late := errors.AsType[*parquetw.SortError](err); late != (res != nil) || res != nil && res.CopyBytes == 0 {
			t.Errorf("%s: %+v", c.want, res)
		}
	}
}
