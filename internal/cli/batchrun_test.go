package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fast-export/bench/data"
	"fast-export/internal/export"
	"fast-export/internal/pgtest"
	"fast-export/parquetw"
)

// batchFile writes a batch file in which DIR stands for its directory.
func batchFile(t *testing.T, text string) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "b.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

func TestSourcesOfManyFiles(t *testing.T) {
	t.Parallel()
	dir, file := batchFile(t, "- {sql: SELECT 1, out: DIR/a.parquet}\n")
	out := filepath.Join(dir, "x.parquet")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--config", file, "--table", "t"}, "error: --table and --config: only one of them at a time\n"},
		{[]string{"--config", file, "--sql", "x"}, "error: --sql and --config: only one of them at a time\n"},
		{[]string{"--config", file, "--schema", "x"}, "error: --config and --schema: only one of them at a time\n"},
		{[]string{"--config", file, "--out", out}, "error: --config and --out: only one of them at a time\nhint: each entry of a batch file has its own out\n"},
		{[]string{"--config", file, "--where", "x"}, "error: --where goes with --table alone\nhint: an entry of a batch file may have them\n"},
		{[]string{"--config", file, "--out-dir", dir}, "error: --out-dir goes with --schema alone\n"},
		{[]string{"--table", "t", "--out", out, "--include", "x"}, "error: --include goes with --schema alone\n"},
		{[]string{"--schema", "public"}, "error: --out-dir is missing: the directory for the tables' files\n"},
		{[]string{"--schema", "public", "--out-dir", ""}, "error: --out-dir is empty\n"},
		{[]string{"--schema", "public", "--out", out}, "error: --schema and --out: only one of them at a time\nhint: --out-dir says where the tables' files go\n"},
		{[]string{"--config", ""}, "error: --config is empty\n"},
		{[]string{"--config", file, "--manifest", ""}, "error: --manifest is empty\n"},
		{[]string{"--config", file, "--manifest", "m.json", "--dry-run"}, "error: --dry-run makes no files, so there is nothing for a --manifest\n"},
		{[]string{"--config", file, "--manifest", out, "--report", dir + "/../" + filepath.Base(dir) + "/x.parquet"}, "error: --report and --manifest are one file\n"},
		{[]string{"--config", file, "--report", file}, "error: --report and --config are one file\n"},
		{[]string{"--config", file, "--overwrite", "--no-clobber"}, "error: --overwrite and --no-clobber contradict each other\n"},
		{[]string{"--config", dir + "/none.yaml"}, "error: --config " + dir + "/none.yaml: no such file or directory\n"},
	} {
		got := call(t, func(context.Context, export.Config) (*export.Result, error) {
			t.Errorf("%q: it ran", c.args)
			return nil, errors.New("ran")
		}, c.args...)
		if got.code != codeUsage || got.stderr != c.want || got.stdout != "" {
			t.Errorf("%q: got %d\nstdout %q\nstderr %q\nwant   %q", c.args, got.code, got.stdout, got.stderr, c.want)
		}
	}
	link := filepath.Join(t.TempDir(), "d")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--manifest", "--report"} {
		for _, path := range []string{dir + "/./batch.yaml", filepath.Join(dir, "a.parquet"), filepath.Join(link, "a.parquet")} {
			path = strings.ReplaceAll(path, "batch.yaml", filepath.Base(file))
			got := call(t, capture(new(export.Config)), "--config", file, flag, path)
			if !strings.HasPrefix(got.stderr, "error: "+flag+" "+path+": it is ") && got.stderr != "error: --report and --config are one file\n" || got.code != codeTarget && got.code != codeUsage {
				t.Errorf("%+v", got)
			}
		}
		got := call(t, capture(new(export.Config)), "--schema", "public", "--out-dir", dir, flag, filepath.Join(link, "t.parquet"))
		if got.code != codeTarget || !strings.Contains(got.stderr, "it may be an output too") {
			t.Errorf("%+v", got)
		}
	}
}

func TestConfigOfABatch(t *testing.T) {
	t.Parallel()
	_, file := batchFile(t, `
connection: {host: filehost, dbname: filedb, user: fileuser}
defaults: {row_group_size: 10, parallel: 6, compression: lz4}
exports:
- {sql: SELECT 1, out: DIR/a.parquet}
- {table: t, out: DIR/b.parquet, row_group_size: 5}
`)
	var cfg export.Config
	got := call(t, capture(&cfg), "--config", file, "--compression", "snappy", "--user", "flaguser", "--fail-fast", "--type", "x=text", "--quiet")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if len(cfg.Jobs) != 2 || cfg.Jobs[0].RowGroupRows != 10 || cfg.Jobs[1].RowGroupRows != 5 || cfg.Jobs[1].Compression.Codec != parquetw.Snappy ||
		cfg.Parallel != 6 || !cfg.FailFast || cfg.Hash || cfg.Jobs[0].CommonTypes["x"] != "text" || cfg.Jobs[0].Types.Columns != nil || cfg.Schema != nil {
		t.Errorf("got %+v", cfg)
	}
	if cfg.Conn.Host != "filehost" || cfg.Conn.Database != "filedb" || cfg.Conn.User != "flaguser" {
		t.Errorf("got %s %s %s", cfg.Conn.Host, cfg.Conn.Database, cfg.Conn.User)
	}
	// Another service or DSN is another place: nothing of the file's stays.
	if got := call(t, capture(&cfg), "--config", file, "--dsn", "host=dsnhost user=u", "--parallel", "2", "--quiet"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if cfg.Conn.Host != "dsnhost" || cfg.Conn.Database == "filedb" || cfg.Parallel != 2 {
		t.Errorf("got %s %s, %d", cfg.Conn.Host, cfg.Conn.Database, cfg.Parallel)
	}
}

func TestConfigOfASchema(t *testing.T) {
	t.Parallel()
	var cfg export.Config
	dir := t.TempDir()
	got := call(t, func(_ context.Context, c export.Config) (*export.Result, error) {
		cfg = c
		return &export.Result{}, nil
	}, "--schema", `"S"`, "--out-dir", dir, "--include", "a,b", "--include", "c*", "--exclude", "d", "--row-group-size", "7", "--type", "x=text", "--manifest",
		filepath.Join(dir, "m.json"), "--host", "h", "--quiet")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	s := cfg.Schema
	if len(cfg.Jobs) != 0 || s == nil || s.Name != `"S"` || s.Dir != dir || !reflect.DeepEqual(s.Include, []string{"a,b", "c*"}) || !reflect.DeepEqual(s.Exclude, []string{"d"}) ||
		s.Base.RowGroupRows != 7 || s.Base.Types.Columns["x"] != "text" || !cfg.Hash {
		t.Errorf("got %+v, %+v", cfg, s)
	}
}

func TestBatchOfManyTables(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE big (id int, x numeric)", "INSERT INTO big SELECT i, i + 0.123456789012345678 FROM generate_series(1, 20000) i",
		"CREATE TABLE small (id int, d date)", "INSERT INTO small VALUES (1, '2024-01-01'), (2, NULL)", "CREATE TABLE bad (d date)", "INSERT INTO bad VALUES ('infinity')", "ANALYZE")
	text := `defaults: {row_group_size: 3000, types: {x: text}}
exports:
- {table: big, out: DIR/big.parquet, parallel: 2, types: {x: float64}}
- {table: small, out: DIR/small.parquet}
- {sql: SELECT x FROM big WHERE id <= 5, out: DIR/few.parquet}
`
	dir, file := batchFile(t, text)
	pgtest.NoLeftovers(t, dir, "b.yaml", "big.parquet", "small.parquet", "few.parquet", "m.json")
	manifest := filepath.Join(dir, "m.json")
	got := live(t, dsn, "--config", file, "--manifest", manifest, "--parallel", "3", "--chunk-size", "64KiB")
	if got.code != 0 || got.stderr != "" || strings.Count(got.stdout, ".parquet: ") != 3 {
		t.Fatalf("got %+v", got)
	}
	if f := pgtest.ReadParquet(t, filepath.Join(dir, "few.parquet")); len(f.Rows) != 5 || !strings.Contains(fmt.Sprint(f.Rows[0]), "1.123456789012345678") {
		t.Errorf("got %+v", f)
	}
	m := readManifest(t, manifest)
	if len(m.Files) != 3 || m.Files[0].Rows != 20000 || m.Files[0].RowGroups != 7 || m.Files[0].RowGroupRows != 3000 || m.Files[0].Columns[1].Inexact == 0 ||
		m.Files[2].Columns[0].Arrow != "utf8" || m.Connections != 3 || m.Snapshot.Current == "" || m.Snapshot.LSN != "" || m.Server.SystemID == "" {
		t.Errorf("got %+v", m)
	}
	for _, f := range m.Files {
		text, err := os.ReadFile(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%x", sha256.Sum256(text)) != f.SHA256 || int64(len(text)) != f.Bytes {
			t.Errorf("%s: the manifest says %s, %d bytes", f.Path, f.SHA256, f.Bytes)
		}
	}

	// One that fails while it is read leaves the others alone, and the manifest says which.
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text+"- {table: bad, out: DIR/bad.parquet}\n", "DIR", dir)), 0o666); err != nil {
		t.Fatal(err)
	}
	got = live(t, dsn, "--config", file, "--manifest", manifest)
	if got.code != codeSome || !strings.Contains(got.stderr, "error: "+dir+"/bad.parquet: ") || !strings.HasSuffix(got.stderr, "error: 1 of 4 exports failed, the others are done\n") {
		t.Errorf("got %+v", got)
	}
	if m := readManifest(t, manifest); len(m.Files) != 4 || m.Files[1].Error != "" || !strings.Contains(m.Files[3].Error, "infinity") || m.Files[3].SHA256 != "" {
		t.Errorf("got %+v", m)
	}
	// A run that fails as a whole leaves the manifest of the one before.
	before, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if got := live(t, dsn, "--table", "bad", "--out", filepath.Join(dir, "bad.parquet"), "--manifest", manifest); got.code != codeValue {
		t.Errorf("got %+v", got)
	}
	if after, err := os.ReadFile(manifest); err != nil || string(after) != string(before) {
		t.Errorf("the manifest is another, %v", err)
	}
}

func readManifest(t *testing.T, path string) export.Manifest {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m export.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if wrong := validate(t, jsonText(t, manifestSchema(t)), v); wrong != "" {
		t.Errorf("against its schema: %s", wrong)
	}
	return m
}

// What the file alone shows and what only the server knows is told together.
func TestBatchProblemsOfServerAndFile(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int)", "CREATE TABLE secret (id int)")
	role := fmt.Sprintf("batch_%d", os.Getpid())
	pgtest.Exec(t, dsn, "CREATE ROLE "+role+" LOGIN", "GRANT SELECT ON t TO "+role)
	t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	text := `- {table: t, out: DIR/fine.parquet}
- table: nonesuch
  out: DIR/a.parquet
- table: t
  columns: [id, nope]
  out: DIR/b.parquet
- out: DIR/c.parquet
  sql: |
    SELECT id
    FORM t
- {table: secret, out: DIR/d.parquet}
- {sql: DELETE FROM t, out: DIR/e.parquet}
- {table: t, where: oops > 1, out: DIR/f.parquet}
`
	server := []string{
		"2: table: relation nonesuch does not exist (the search_path is looked through: qualify the name with its schema)",
		"5: columns: column nope does not exist in public.t",
		"10: sql: syntax error at or near",
		"11: table: no permission to read public.secret: SELECT is not granted (GRANT SELECT ON public.secret TO the role)",
		"12: sql: ",
		`13: where: column "oops" does not exist`,
	}
	check := func(name, text string, want []string, code int) {
		t.Helper()
		dir, file := batchFile(t, text)
		pgtest.NoLeftovers(t, dir, "b.yaml")
		got := live(t, dsn+" user="+role, "--config", file)
		lines := strings.Split(strings.TrimSuffix(got.stderr, "\n"), "\n")
		if got.code != code || got.stdout != "" || lines[0] != fmt.Sprintf("error: %d problems in %s, and nothing was exported", len(want), file) || len(lines) != len(want)+1 {
			t.Fatalf("%s: got %+v", name, got)
		}
		for i, w := range want {
			if !strings.HasPrefix(lines[i+1], file+":"+w) {
				t.Errorf("%s: line %d is\n%s\nwant\n%s:%s", name, i+1, lines[i+1], file, w)
			}
		}
	}
	check("server alone", text, server, codeUsage)
	check("of one kind", "- {table: a, out: DIR/a}\n- {table: b, out: DIR/b}\n", []string{"1: table: relation a does not exist", "2: table: relation b does not exist"}, codeRelation)
	check("both", text+"- {tabel: t, out: DIR/g.parquet}\n", append(slices.Clone(server), "14: tabel: unknown key", "14: sql: missing"), codeUsage)
	check("outputs", "- {table: t, out: DIR/a}\n- {table: t, out: DIR/a}\n- {table: none, out: DIR/b}\n", []string{
		"2: out: ", "3: table: relation none does not exist",
	}, codeUsage)

	// What only a plan finds comes with the rest; the key is the one that is wrong, in its line.
	check("types", `- {table: nonesuch, out: DIR/a}
- table: t
  out: DIR/b
  types:
    id: text
    zz: text
- {table: t, out: DIR/c, types: {yy: text}}
- {table: t, out: DIR/d, bloom: [xx]}
`, []string{"1: table: relation nonesuch", `6: types: a type is given for column "zz"`, `7: types: a type is given for column "yy"`, "8: bloom: "}, codeRelation)
	// The server is asked of an entry too whose own fault has nothing to do with what is read, and of no other.
	check("own affairs", `- {table: one, out: DIR/a, compression: zip}
- {table: two}
- {table: t, where: oops, out: DIR/b, row_group_size: none, overwrite: true, no_clobber: true, parallel: 0}
- {table: t, out: DIR/c}
- {table: t, columns: [nope], out: DIR/c}
- {table: secret, colums: [id], out: DIR/d}
- {table: secret, types: {out: potato}, out: DIR/e}
- {table: secret, out: [1]}
`, []string{
		"1: compression: ", "1: table: relation one", "2: out: missing", "2: table: relation two", "3: row_group_size: ", "3: parallel: ", "3: no_clobber: ",
		"3: where: ", "5: out: ", "5: columns: column nope", "6: colums: unknown key", "7: out: \"potato\"", "8: out: is a list", "8: table: no permission",
	}, codeUsage)
	// The output of an entry that is wrong otherwise counts.
	check("output of a wrong entry", "- {table: t, out: DIR/a, nope: 1}\n- {table: t, out: DIR/a}\n", []string{"1: nope: unknown key", "2: out: "}, codeUsage)
	// One entry has its lines too.
	for _, c := range []struct{ entry, want string }{
		{"table: nonesuch", "2: table: relation nonesuch does not exist"},
		{"sql: SELEC 1", "2: sql: "},
		{"sql: SELECT 1 / id FROM (VALUES (0)) v(id)", ""},
		{"{table: t, chunk: {by: id, bounds: [x]}", "2: bounds: a bound is wrong"},
		{"{table: t, types: {zz: text}", "2: types: a type is given for column"},
		{"{table: t, columns: [zz]", "2: columns: column zz does not exist"},
	} {
		text := "# one\n- " + c.entry + "\n  out: DIR/o\n"
		if strings.HasPrefix(c.entry, "{") {
			text = "# one\n- " + c.entry + ", out: DIR/o}\n"
		}
		if c.want == "" {
			c.want = "2: sql: division by zero"
		}
		dir, file := batchFile(t, text)
		pgtest.NoLeftovers(t, dir, "b.yaml")
		got := live(t, dsn+" user="+role, "--config", file)
		if !strings.HasPrefix(got.stderr, "error: 1 problem in "+file+", and nothing was exported\n"+file+":"+c.want) || got.code == 0 || got.code == codeUsage {
			t.Errorf("%s: got %+v\nwant %s", c.entry, got, c.want)
		}
	}
	for text, want := range map[string]string{
		"defaults:\n  types: {zz: text}\nexports:\n- {table: t, out: DIR/o}\n":     `2: types: a type is chosen for column "zz", which none of the exports has`,
		"connection:\n  gssencmode: require\nexports:\n- {table: t, out: DIR/o}\n": "2: gssencmode: connection parameter gssencmode=require is not supported",
	} {
		_, file := batchFile(t, text)
		if got := live(t, dsn, "--config", file); got.code != codeUsage || !strings.Contains(got.stderr, "\n"+file+":"+want) {
			t.Errorf("got %+v, want %s", got, want)
		}
	}

	// Where the server can't be asked the file's own problems are told all the same.
	_, file := batchFile(t, "- {tabel: t, out: DIR/g.parquet}\n- {table: t, out: DIR/h.parquet}\n")
	got := call(t, nil, "--dsn", "host=/nonesuch", "--config", file)
	if got.code != codeUsage || got.stderr != fmt.Sprintf("error: 2 problems in %s, and nothing was exported\n%s:1: tabel: unknown key; did you mean table?\n%s:1: sql: missing: an entry has sql or table\n", file, file, file) {
		t.Errorf("got %+v", got)
	}
	// The same lines from a plan.
	if got := live(t, dsn, "--config", file, "--dry-run"); got.code != codeUsage || !strings.Contains(got.stderr, ":1: tabel: ") {
		t.Errorf("got %+v", got)
	}
}

// --gentle is said of the run, so it wins over defaults; an entry that asks for chunks contradicts it, and is told its line.
func TestGentleBatch(t *testing.T) {
	t.Parallel()
	_, file := batchFile(t, `
defaults: {parallel: 6, chunk: {count: 8}}
exports:
- {table: t, out: DIR/a.parquet}
- table: t
  out: DIR/b.parquet
  chunk: {by: ctid}
`)
	var cfg export.Config
	if got := call(t, capture(&cfg), "--config", file, "--gentle", "--quiet"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, j := range cfg.Jobs {
		if j.Chunk.Count != 0 || j.Chunk.Bytes != 0 || j.Chunk.Bounds != nil {
			t.Errorf("%s: %+v", j.Out, j.Chunk)
		}
	}
	_, file = batchFile(t, `
- table: t
  out: DIR/a.parquet
  chunk:
    by: id
    bounds: [1, 2]
- {table: t, out: DIR/b.parquet, chunk: {size: 64KiB}}
- {table: t, out: DIR/c.parquet, chunk: {count: 8}}
`)
	got := call(t, nil, "--dsn", "host=/nonesuch", "--config", file, "--gentle")
	if got.code != codeUsage || !strings.Contains(got.stderr, file+":6: bounds: --gentle ") || !strings.Contains(got.stderr, file+":7: size: --gentle ") || !strings.Contains(got.stderr, file+":8: count: --gentle ") {
		t.Errorf("got %+v", got)
	}
	if got := call(t, capture(&cfg), "--config", file, "--gentle=false", "--quiet"); got.code != 0 {
		t.Errorf("got %+v", got)
	}
}

// Hints reach the plan, and what the server says of them comes back to their lines.
func TestBatchChunkHints(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int PRIMARY KEY, p point)", "INSERT INTO t SELECT i FROM generate_series(1, 5000) i", "INSERT INTO t VALUES (0)", "ANALYZE t")
	dir, file := batchFile(t, `
- {table: t, out: DIR/a.parquet, chunk: {by: id, bounds: [1000, 2000, 1_000_000]}}
- {table: t, out: DIR/b.parquet, chunk: {by: none}}
- {table: t, out: DIR/c.parquet, chunk: {by: ctid, count: 4}}
`)
	got := live(t, dsn, "--config", file, "--dry-run")
	var chunks []string
	for line := range strings.Lines(got.stdout) {
		if n, ok := strings.CutPrefix(line, "  chunks "); ok {
			chunks = append(chunks, strings.TrimSpace(n))
		}
	}
	if got.code != 0 || len(chunks) != 3 || chunks[0] != "4" && chunks[0] != "5" || chunks[1] != "1" || chunks[2] != "4" {
		t.Errorf("%q of %+v", chunks, got)
	}
	if got := live(t, dsn, "--config", file, "--quiet"); got.code != 0 {
		t.Errorf("got %+v", got)
	}
	for _, name := range []string{"a", "b", "c"} {
		if f := pgtest.ReadParquet(t, filepath.Join(dir, name+".parquet")); len(f.Rows) != 5001 {
			t.Errorf("%s has %d rows", name, len(f.Rows))
		}
	}
	dir, file = batchFile(t, `
- {table: t, out: DIR/a.parquet, chunk: {by: nope, count: 3}}
- {table: t, out: DIR/b.parquet, chunk: {by: p}}
- {table: t, out: DIR/c.parquet, chunk: {by: id, bounds: [x]}}
- table: t
  out: DIR/d.parquet
  chunk:
    by: id
    bounds: ['10', '9']
`)
	pgtest.NoLeftovers(t, dir, "b.yaml")
	got = live(t, dsn, "--config", file)
	lines := strings.Split(got.stderr, "\n")
	if got.code != codeUsage && got.code != codeStatement || len(lines) != 6 {
		t.Fatalf("got %+v", got)
	}
	for i, want := range []string{"2: by: column nope does not exist in public.t", "3: by: column p is of type point", "4: bounds: ", "9: bounds: "} {
		if !strings.HasPrefix(lines[i+1], file+":"+want) {
			t.Errorf("line %d is %s", i+1, lines[i+1])
		}
	}
}

func TestTypesForManyTables(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE a (x numeric)", "CREATE TABLE b (y int)")
	dir, file := batchFile(t, "- {table: a, out: DIR/a.parquet}\n- {table: b, out: DIR/b.parquet}\n")
	if got := live(t, dsn, "--config", file, "--type", "x=text", "--quiet"); got.code != 0 || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
	if f := pgtest.ReadParquet(t, filepath.Join(dir, "a.parquet")); f.Fields[0].Type != "string" {
		t.Errorf("got %+v", f.Fields)
	}
	if got := live(t, dsn, "--config", file, "--type", "z=text", "--quiet"); got.code != codeUsage || !strings.Contains(got.stderr, `column "z", which none of the exports has`) {
		t.Errorf("got %+v", got)
	}
}

func TestExportOfASchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE SCHEMA s", "CREATE TABLE s.a (id int)", "INSERT INTO s.a VALUES (1)", `CREATE TABLE s."A/b" (id int)`, "CREATE VIEW s.v AS SELECT 1 AS one",
		"CREATE TABLE s.p (k int) PARTITION BY LIST (k)", "CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES IN (1)", "INSERT INTO s.p VALUES (1)")
	dir := t.TempDir()
	pgtest.NoLeftovers(t, dir, "a.parquet", "A%2Fb.parquet", "p.parquet", "m.json")
	m := filepath.Join(dir, "m.json")
	got := live(t, dsn, "--schema", "s", "--out-dir", dir, "--manifest", m)
	if got.code != 0 || got.stderr != "warning: not exported: 1 view: v (--include with its name takes one, --exclude ends this warning)\n" {
		t.Fatalf("got %+v", got)
	}
	if f := pgtest.ReadParquet(t, filepath.Join(dir, "p.parquet")); len(f.Rows) != 1 {
		t.Errorf("got %+v", f)
	}
	if m := readManifest(t, m); len(m.Files) != 3 || m.Files[0].Source != `s."A/b"` || len(m.Warnings) != 1 {
		t.Errorf("got %+v", m)
	}
	if got := live(t, dsn, "--schema", "s", "--out-dir", dir, "--dry-run", "--exclude", "v"); got.code != 0 || got.stderr != "" || strings.Count(got.stdout, "kind ") != 3 {
		t.Errorf("got %+v", got)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--schema", "nonesuch", "--out-dir", dir}, codeRelation, "error: schema nonesuch does not exist\nhint: a name is as SQL writes it: \"Mixed Case\" in double quotes\n"},
		{[]string{"--schema", "s", "--out-dir", dir, "--include", "x"}, codeRelation, "error: --include x: schema s has no such relation\nhint: it has \"A/b\", a, p, p1, v\n"},
		{[]string{"--schema", "s", "--out-dir", dir, "--include", `"x`}, codeUsage, "error: pattern \"x: a double quote is not closed\n"},
		{[]string{"--schema", "s", "--out-dir", dir + "/none", "--include", "a"}, codeTarget, "error: directory " + dir + "/none: no such file or directory\nhint: directories are never made: mkdir -p makes one\n"},
		{[]string{"--schema", "s", "--out-dir", dir + "/none"}, codeTarget, "error: directory " + dir + "/none: no such file or directory\nhint: directories are never made: mkdir -p makes one\n"},
		{[]string{"--schema", "s", "--out-dir", dir, "--no-clobber", "--exclude", "v", "--exclude", "p"}, codeTarget, "error: 2 exports can't be done, and nothing was exported\n" +
			dir + "/A%2Fb.parquet: " + dir + "/A%2Fb.parquet exists and is not to be replaced (give another --out; without --no-clobber it would be replaced)\n" +
			dir + "/a.parquet: " + dir + "/a.parquet exists and is not to be replaced (give another --out; without --no-clobber it would be replaced)\n"},
	} {
		if got := live(t, dsn, c.args...); got.code != c.code || got.stderr != c.want {
			t.Errorf("%q: got %+v", c.args, got)
		}
	}
}

// examples/exports.yaml and .json export the users' own tables.
func TestBatchExamplesRun(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	if _, err := conn.PgConn().Exec(t.Context(), data.MPC(2000)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	outs := regexp.MustCompile(`[a-z_0-9]+\.parquet`)
	for _, name := range []string{"exports.yaml", "exports.json"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if name == "exports.json" { // relative paths count from where one stands, and a test stands elsewhere
			text = outs.ReplaceAll(text, []byte(dir+"/$0"))
		} else {
			text = []byte(strings.ReplaceAll(string(text), "${OUT}", dir))
		}
		if err := os.WriteFile(file, text, 0o666); err != nil {
			t.Fatal(err)
		}
		got := live(t, dsn, "--config", file, "--quiet")
		if got.code != 0 || got.stderr != "" {
			t.Errorf("%s: got %+v", name, got)
		}
		for _, out := range outs.FindAllString(string(text), -1) {
			if f := pgtest.ReadParquet(t, filepath.Join(dir, out)); len(f.Rows) == 0 {
				t.Errorf("%s: %s has no rows", name, out)
			}
		}
	}
}
