package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fast-export/internal/export"
	"fast-export/internal/pgtest"
	"fast-export/parquetw"
)

// jobOf is the job that export flags make.
func jobOf(t *testing.T, args ...string) export.Job {
	t.Helper()
	var cfg export.Config
	if got := call(t, capture(&cfg), append([]string{"--table", "t", "--out", "f.parquet", "--quiet"}, args...)...); got.code != 0 {
		t.Fatalf("%q: %d %s", args, got.code, got.stderr)
	}
	return cfg.Jobs[0]
}

func TestEncodingFlags(t *testing.T) {
	t.Parallel()
	j := jobOf(t)
	if j.Encoding != parquetw.Auto || j.Encodings != nil || j.Bloom != nil || j.SortedBy != nil || j.RowGroupBytes != 0 {
		t.Errorf("without flags: %+v", j)
	}
	j = jobOf(t, "--encoding", "plain", "--encoding", "RA=byte_stream_split", "--encoding", `"My=Dec"=delta`, "--encoding", "id=auto", "--encoding", "plain",
		"--bloom", `ID,"A,b"`, "--bloom", "c", "--sorted-by", "Id", "--row-group-bytes", "64MiB")
	want := map[string]parquetw.Encoding{"ra": parquetw.ByteStreamSplit, "My=Dec": parquetw.Delta, "id": parquetw.Auto}
	if j.Encoding != parquetw.Plain || !reflect.DeepEqual(j.Encodings, want) || j.RowGroupBytes != 64<<20 {
		t.Errorf("%v, %v, %d", j.Encoding, j.Encodings, j.RowGroupBytes)
	}
	if !slices.Equal(j.Bloom, []string{"id", "A,b", "c"}) || !slices.Equal(j.SortedBy, []string{"id"}) {
		t.Errorf("%q, %q", j.Bloom, j.SortedBy)
	}
	for _, c := range []struct{ flag, value, want string }{
		{"encoding", "snappy", `encoding "snappy" is none of auto, plain, dictionary`},
		{"encoding", "delta", "encoding delta is for single columns, which can have it: COLUMN=delta"},
		{"encoding", "a=rle", `encoding "rle" is none of auto, plain, dictionary, byte_stream_split, delta`},
		{"encoding", "=plain", "not of the form column=encoding"},
		{"bloom", "a,,b", "a name is empty"},
		{"sorted-by", `"a`, "a double quote is not closed"},
		{"row-group-bytes", "1KiB", "out of range: from 64KiB up"},
	} {
		got := call(t, nil, "--table", "t", "--out", "f.parquet", "--"+c.flag, c.value)
		if got.code != codeUsage || !strings.Contains(got.stderr, c.want) {
			t.Errorf("--%s %s: %d %s", c.flag, c.value, got.code, got.stderr)
		}
	}
	for _, args := range [][]string{{"--encoding", "plain", "--encoding", "auto"}, {"--encoding", "a=plain", "--encoding", "A=delta"}} {
		if got := call(t, nil, append([]string{"--table", "t", "--out", "f.parquet"}, args...)...); got.code != codeUsage || !strings.Contains(got.stderr, "is plain already") {
			t.Errorf("%q: %d %s", args, got.code, got.stderr)
		}
	}
}

// An entry's own key wins over a flag, a flag over defaults: for all columns and for single ones, each by itself.
func TestBatchEncodingPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "b.yaml")
	text := `
defaults: {encoding: dictionary, encodings: {a: plain, b: plain}, row_group_bytes: 1MiB, bloom: [x], sorted_by: [x]}
exports:
- {table: a, out: a.parquet}
- {table: b, out: b.parquet, encoding: auto, encodings: {b: auto, c: plain}, row_group_bytes: 2MiB, bloom: [y], sorted_by: [y, Z]}
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	show := func(args ...string) (all []string) {
		var cfg export.Config
		if got := call(t, capture(&cfg), append([]string{"--config", file, "--quiet"}, args...)...); got.code != 0 {
			t.Fatalf("%q: %s", args, got.stderr)
		}
		for _, j := range cfg.Jobs {
			all = append(all, fmt.Sprint(j.Encoding, j.Encodings, j.CommonEncodings, j.RowGroupBytes>>20, j.Bloom, j.SortedBy))
		}
		return all
	}
	own := "auto map[b:auto c:plain] map[%s] 2 [y] [y z]"
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"dictionary map[] map[a:plain b:plain] 1 [x] [x]", fmt.Sprintf(own, "a:plain b:plain")}},
		{[]string{"--encoding", "b=delta"}, []string{"dictionary map[] map[a:plain b:delta] 1 [x] [x]", fmt.Sprintf(own, "a:plain b:delta")}},
		{
			[]string{"--encoding", "plain", "--row-group-bytes", "3MiB", "--bloom", "z", "--sorted-by", "z"},
			[]string{"plain map[] map[a:plain b:plain] 3 [z] [z]", fmt.Sprintf(own, "a:plain b:plain")},
		},
	} {
		if got := show(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%q: got\n%s\nwant\n%s", c.args, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// What a column cannot have is told with column and type at its place in a batch file, before any row is read.
func TestEncodingErrorsOfServer(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int PRIMARY KEY, x float8, name text)", "INSERT INTO t SELECT k, -k, 'n' || k FROM generate_series(1, 10) k")
	dir := t.TempDir()
	out := filepath.Join(dir, "f.parquet")
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{codeValue, []string{"--encoding", "name=byte_stream_split"}, `column "name" of type utf8 cannot be encoded as byte_stream_split`},
		{codeValue, []string{"--encoding", "x=delta"}, `column "x" of type float64 cannot be encoded as delta`},
		{codeRelation, []string{"--encoding", "y=plain"}, `column "y" does not exist: there are id, x, name`},
		{codeValue, []string{"--bloom", "x"}, `column "x" of type float64 cannot have a bloom filter`},
		{codeRelation, []string{"--sorted-by", "ID2"}, `column "id2" does not exist`},
		{codeValue, []string{"--sorted-by", "x"}, "the rows are not sorted by x: row 2 belongs before the row above it"},
	} {
		for _, dry := range []bool{false, true} {
			args := append([]string{"--dsn", dsn, "--table", "t", "--out", out, "--progress", "none"}, c.args...)
			if dry {
				args = append(args, "--dry-run")
			}
			got := call(t, nil, args...)
			if late := strings.Contains(c.want, "row 2"); late && dry {
				continue // no row is read
			}
			if got.code != c.code || !strings.Contains(got.stderr, c.want) {
				t.Errorf("%q: %d %s", c.args, got.code, got.stderr)
			}
		}
	}
	file := filepath.Join(dir, "b.yaml")
	text := fmt.Sprintf(`- table: t
  out: %[1]s
  encodings:
    x: delta
- {table: t, out: %[1]s2, bloom: [x]}
- {table: t, out: %[1]s3,
   sorted_by: [nope]}
`, out)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got := call(t, nil, "--dsn", dsn, "--config", file, "--progress", "none")
	for _, want := range []string{
		file + `:3: encodings: column "x" of type float64 cannot be encoded as delta`,
		file + `:5: bloom: column "x" of type float64 cannot have a bloom filter`,
		file + `:7: sorted_by: column "nope" does not exist`,
	} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("%s\ndoes not say %s", got.stderr, want)
		}
	}
	pgtest.NoLeftovers(t, dir, "b.yaml")
}
