package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/chunker"
	"fast-export/internal/export"
	"fast-export/parquetw"
	"fast-export/typemap"
)

// flagged are the flags that were given.
func flagged(names ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

func batchEnv(name string) string {
	return map[string]string{"OUT": "out", "ROWS": "500", "WHAT": "decimal(5,2)", "SIZE": "64KiB", "YES": "true", "SECRET": "password=hunter2", "DASH": "- a: b"}[name]
}

func withDefaults() export.Job {
	return export.Job{RowGroupRows: 1_000_000, Compression: parquetw.Compression{Codec: parquetw.Zstd, Level: 1}}
}

func problemLines(b *batch) []string {
	err := b.err()
	if err == nil {
		return nil
	}
	var be *batchError
	errors.As(err, &be)
	return be.lines()
}

// Every problem of a file, as people read it. The text's first line is line 1.
func TestBatchProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file, text string
		want             []string
	}{
		{"empty", "b.yaml", "", []string{"b.yaml:1: exports: missing: the file is empty"}},
		{"comments alone", "b.yaml", "# nothing\n\n", []string{"b.yaml:1: exports: missing: the file is empty"}},
		{"null", "b.yaml", "~\n", []string{"b.yaml:1: exports: missing: the file is empty"}},
		{"empty JSON", "b.json", " \n", []string{"b.json:1: exports: missing: the file is empty"}},
		{"null JSON", "b.json", "null", []string{"b.json:1: exports: missing: the file is empty"}},
		{"a word", "b.yaml", "\nhello\n", []string{"b.yaml:2: exports: missing: the file is text, not a list of exports, nor a mapping with one under exports"}},
		{"empty list", "b.yaml", "[]\n", []string{"b.yaml:1: exports: the list is empty: there is nothing to export"}},
		{"empty exports", "b.yaml", "defaults: {}\nexports: []\n", []string{"b.yaml:2: exports: the list is empty: there is nothing to export"}},
		{"exports without value", "b.yaml", "exports:\n", []string{"b.yaml:1: exports: is nothing, not a list of entries"}},
		{"no exports", "b.yaml", "defaults:\n  numeric: text\n", []string{"b.yaml:1: exports: missing: the list of what to export"}},
		{"exports a mapping", "b.yaml", "exports:\n  sql: SELECT 1\n  out: a\n", []string{"b.yaml:1: exports: is a mapping, not a list of entries"}},
		{"one entry without list", "b.yaml", "sql: SELECT 1\nout: a\n", []string{
			"b.yaml:1: sql: belongs to an entry of exports, or to defaults", "b.yaml:1: exports: missing: the list of what to export",
			"b.yaml:2: out: belongs to an entry of exports, or to defaults",
		}},
		{"top key", "b.yaml", "export:\n- {sql: SELECT 1, out: a}\n", []string{
			"b.yaml:1: export: unknown key; did you mean exports?", "b.yaml:1: exports: missing: the list of what to export",
		}},
		{"far top key", "b.yaml", "exports: [{sql: x, out: a}]\nfrobnicate: 1\n", []string{
			"b.yaml:2: frobnicate: unknown key; known are $schema, connection, defaults, exports",
		}},
		{"entry no mapping", "b.yaml", "- SELECT 1\n- [a]\n-\n", []string{
			"b.yaml:1: exports: entry 1 is text, not a mapping of keys", "b.yaml:2: exports: entry 2 is a list, not a mapping of keys",
			"b.yaml:3: exports: entry 3 is nothing, not a mapping of keys",
		}},
		{"missing keys", "b.yaml", "- row_group_size: 5\n\n- where: x\n  numeric: text\n- sql: SELECT 1\n- out: a\n", []string{
			"b.yaml:1: sql: missing: an entry has sql or table", "b.yaml:1: out: missing: which file to write",
			"b.yaml:3: sql: missing: an entry has sql or table", "b.yaml:3: out: missing: which file to write",
			"b.yaml:5: out: missing: which file to write", "b.yaml:6: sql: missing: an entry has sql or table",
		}},
		{"both", "b.yaml", "- table: t\n  sql: SELECT 1\n  out: a\n", []string{"b.yaml:2: sql: table is given too: an entry has one of them"}},
		{"columns of a query", "b.yaml", "- sql: SELECT 1\n  out: a\n  columns: [a]\n  where: b\n", []string{
			"b.yaml:3: columns: goes with table alone: a query names its columns and conditions itself",
			"b.yaml:4: where: goes with table alone: a query names its columns and conditions itself",
		}},
		{"unknown keys", "b.yaml", "- tabel: t\n  out: a\n  sql: x\n  rowgroupsize: 5\n  row-group-size: 5\n  frobnicate: 1\n  ? [a]\n  : 1\n  2: 3\n", []string{
			"b.yaml:1: tabel: unknown key; did you mean table?", "b.yaml:4: rowgroupsize: unknown key; did you mean row_group_size?",
			"b.yaml:5: row-group-size: unknown key; did you mean row_group_size?",
			"b.yaml:6: frobnicate: unknown key; known are bloom, chunk, columns, compression, encoding, encodings, infinity, interval, invalid_utf8, no_clobber, numeric, numeric_nonfinite, " +
				"out, overwrite, parallel, ranges, row_group_bytes, row_group_size, sorted_by, sql, table, trim_bpchar, type_map, types, where",
			"b.yaml:7: key: a key is a word, not a list",
			"b.yaml:9: 2: unknown key; known are bloom, chunk, columns, compression, encoding, encodings, infinity, interval, invalid_utf8, no_clobber, numeric, numeric_nonfinite, " +
				"out, overwrite, parallel, ranges, row_group_bytes, row_group_size, sorted_by, sql, table, trim_bpchar, type_map, types, where",
		}},
		{"twice", "b.yaml", "- out: a\n  sql: x\n  out: b\n", []string{"b.yaml:3: out: is there already, in line 1"}},
		{"twice in JSON", "b.json", "[\n{\"sql\": \"x\",\n\"out\": \"a\",\n\"out\": \"b\"}]", []string{"b.json:4: out: is there already, in line 3"}},
		{"types of values", "b.yaml", `- table: 5
  out: [a]
  columns: id,ra
  where: true
  row_group_size: many
  compression: 3
  types: text
  numeric: 1.5
  overwrite: yes
  no_clobber: 1
  parallel: {}
  chunk: ctid
  trim_bpchar:
- sql: 2024-01-01
  out: !secret x
  row_group_size: 1.5
  columns: {}
  type_map: []
  infinity: ~
  chunk: []
  types: []
`, []string{
			"b.yaml:1: table: is a number, not text: text has quotes then",
			"b.yaml:2: out: is a list, not a single value",
			"b.yaml:3: columns: is text, not a list",
			"b.yaml:4: where: is true or false, not text: text has quotes then",
			"b.yaml:5: row_group_size: is text, not a whole number",
			"b.yaml:6: compression: is a number, not text: text has quotes then",
			"b.yaml:7: types: is text, not a mapping from columns to types",
			"b.yaml:8: numeric: is a number, not text: text has quotes then",
			"b.yaml:9: overwrite: is text, not true or false",
			"b.yaml:10: no_clobber: is a number, not true or false",
			"b.yaml:11: parallel: is a mapping, not a single value",
			"b.yaml:12: chunk: is text, not a mapping: {by: ctid, size: 256MiB} for example",
			"b.yaml:13: trim_bpchar: has no value",
			"b.yaml:14: sql: is a date, not text: text has quotes then",
			"b.yaml:15: out: is of the type !secret, not text: text has quotes then",
			"b.yaml:16: row_group_size: is a number, not a whole number",
			"b.yaml:17: columns: goes with table alone: a query names its columns and conditions itself",
			"b.yaml:17: columns: is a mapping, not a list",
			"b.yaml:18: type_map: is a list, not a single value",
			"b.yaml:19: infinity: has no value",
			"b.yaml:20: chunk: is a list, not a mapping: {by: ctid, size: 256MiB} for example",
			"b.yaml:21: types: is a list, not a mapping from columns to types",
		}},
		{"values", "b.yaml", `- table: ' '
  out: ''
  columns: ['', 'a,b', '"a', 1, [x]]
  where: "a\0b"
  row_group_size: 0
  compression: zstd:23
  types:
    ra: potato
    "a=b": text
    RA: text
    '': text
    x: 1
  numeric: decimal(80,2)
  parallel: 1001
  numeric_nonfinite: clamp
  infinity: none
  invalid_utf8: x
  interval: x
  ranges: x
  type_map: x
- table: t
  out: b
  row_group_size: 0x10
  columns: []
  types: {}
  chunk: {}
- table: t
  out: c
  row_group_size: 007
  parallel: 0
- table: t
  out: d
  row_group_size: "5"
  parallel: 99999999999999999999
`, []string{
			"b.yaml:1: table: is empty",
			"b.yaml:2: out: is empty",
			"b.yaml:3: columns: is empty",
			"b.yaml:3: columns: a,b holds several names: each is an item of the list",
			`b.yaml:3: columns: "\"a": a double quote is not closed`,
			"b.yaml:3: columns: is a number, not text: text has quotes then",
			"b.yaml:3: columns: is a list, not a single value",
			"b.yaml:4: where: holds a zero byte",
			"b.yaml:5: row_group_size: 0: out of range: from 1 to 2147483647",
			`b.yaml:6: compression: compression "zstd:23": the level of zstd is a number from 1 to 22`,
			`b.yaml:8: ra: "potato" is no column type: allowed are text, float64, strict, decimal(p,s), struct, duration`,
			`b.yaml:9: a=b: no column's name; it is as SQL writes it: ra, or '"Mixed Case"' with both kinds of quotes`,
			"b.yaml:10: RA: is the column that line 8 names already",
			`b.yaml:11: "": no column's name; it is as SQL writes it: ra, or '"Mixed Case"' with both kinds of quotes`,
			"b.yaml:12: x: is a number, not text: text has quotes then",
			`b.yaml:13: numeric: "decimal(80,2)": a decimal is written decimal(p,s) with 1 to 76 digits p and 0 to p decimals s`,
			"b.yaml:14: parallel: 1001: out of range: from 1 to 1000",
			`b.yaml:15: numeric_nonfinite: non-finite numerics "clamp": allowed are error, null, text`,
			`b.yaml:16: infinity: infinity "none": allowed are error, null, clamp, text`,
			`b.yaml:17: invalid_utf8: invalid UTF-8 "x": allowed are error, replace, binary`,
			`b.yaml:18: interval: interval "x": allowed are struct, duration`,
			`b.yaml:19: ranges: ranges "x": allowed are struct, text`,
			`b.yaml:20: type_map: type map "x": allowed are exact, ddpp`,
			"b.yaml:23: row_group_size: 0x10 is no decimal number",
			"b.yaml:24: columns: the list is empty: leave it out",
			"b.yaml:25: types: is empty: leave it out",
			"b.yaml:26: chunk: is empty: leave it out",
			"b.yaml:29: row_group_size: 007 is no decimal number",
			"b.yaml:30: parallel: 0: out of range: from 1 to 1000",
			"b.yaml:33: row_group_size: is text, not a whole number",
			"b.yaml:34: parallel: 99999999999999999999: out of range: from 1 to 1000",
		}},
		{"chunk", "b.yaml", `- table: t
  out: a
  chunk: {by: ctid, size: 1, count: 0, bonds: [1]}
- table: t
  out: b
  chunk:
    by: none
    size: 1GiB
    count: 3
- table: t
  out: c
  chunk:
    by: ctid
    bounds: [1]
- table: t
  out: d
  chunk:
    bounds: [1]
    size: 1MB
    count: 5
- table: t
  out: e
  chunk: {by: id, bounds: [1, 3, 2, 2, true, ~, [x], 0x10, 1_000]}
- table: t
  out: f
  chunk: {by: id, bounds: 5}
- table: t
  out: g
  chunk: {by: id, bounds: [], size: lots}
- table: t
  out: h
  chunk: {by: [], size: 1.5, count: "3"}
`, []string{
			"b.yaml:3: size: 1: out of range: from 8KiB up",
			"b.yaml:3: count: 0: out of range: from 1 to 1000000",
			"b.yaml:3: bonds: unknown key; did you mean bounds?",
			"b.yaml:3: count: size is given too: one of them decides",
			"b.yaml:8: size: by: none makes one chunk, whatever its size",
			"b.yaml:9: count: size is given too: one of them decides",
			"b.yaml:9: count: by: none makes one chunk",
			"b.yaml:14: bounds: they are values of a column, which by has to name",
			"b.yaml:18: bounds: they are values of a column, which by has to name",
			"b.yaml:19: size: bounds are given too: they decide",
			"b.yaml:20: count: size is given too: one of them decides",
			"b.yaml:20: count: bounds are given too: they decide",
			"b.yaml:23: bounds: 2 is less than the bound before it: bounds ascend",
			"b.yaml:23: bounds: 2 is there twice",
			"b.yaml:23: bounds: is true or false, not a value of a column",
			"b.yaml:23: bounds: has no value",
			"b.yaml:23: bounds: is a list, not a single value",
			"b.yaml:23: bounds: 0x10 is no decimal number; text has quotes",
			"b.yaml:26: bounds: is a number, not a list",
			"b.yaml:29: bounds: the list is empty: leave it out",
			"b.yaml:29: size: lots: not a size (512MiB, 1GB, or bytes without a unit)",
			"b.yaml:29: size: bounds are given too: they decide",
			"b.yaml:32: by: is a list, not a single value",
			"b.yaml:32: size: is a number, not a size",
			"b.yaml:32: count: is text, not a whole number",
			"b.yaml:32: count: size is given too: one of them decides",
		}},
		{"defaults", "b.yaml", `defaults:
  table: t
  out: x
  where: y
  numerik: text
  compression: brotli
  overwrite: true
  no_clobber: true
  frobnicate: 1
exports:
- {table: a, out: a}
- {table: b, out: b}
`, []string{
			"b.yaml:2: table: belongs to a single entry, not to defaults", "b.yaml:3: out: belongs to a single entry, not to defaults",
			"b.yaml:4: where: belongs to a single entry, not to defaults", "b.yaml:5: numerik: unknown key; did you mean numeric?",
			`b.yaml:6: compression: compression "brotli" is none of zstd[:1..22], snappy, gzip[:1..9], lz4 or none`,
			"b.yaml:8: no_clobber: overwrite in line 7 says the contrary",
			"b.yaml:9: frobnicate: unknown key; known are bloom, chunk, compression, encoding, encodings, infinity, interval, invalid_utf8, no_clobber, numeric, numeric_nonfinite, " +
				"overwrite, parallel, ranges, row_group_bytes, row_group_size, sorted_by, trim_bpchar, type_map, types",
		}},
		{"defaults no mapping", "b.yaml", "defaults: [a]\nexports: [{table: a, out: a}]\n", []string{"b.yaml:1: defaults: is a list, not a mapping of keys"}},
		{"the map's contradictions", "b.yaml", `defaults: {type_map: ddpp, numeric: text}
exports:
  - {table: a, out: a}
  - {table: b, out: b, interval: struct}
  - {table: c, out: c, numeric: float64, ranges: text, interval: duration}
  - {table: d, out: d, type_map: exact, ranges: struct}
  - {table: e, out: e, type_map: ddpp}
`, []string{"b.yaml:1: numeric: type_map ddpp says the contrary", "b.yaml:4: interval: type_map ddpp says the contrary"}},
		{"contradiction", "b.yaml", "- {table: a, out: a, overwrite: true, no_clobber: true}\n", []string{"b.yaml:1: no_clobber: overwrite in line 1 says the contrary"}},
		{"connection", "b.yaml", `connection:
  host: db1
  password: hunter2
  sslpassword: hunter2
  dsn: postgres://u:hunter2@h/d
  database: d
  hots: db2
  service: postgres://u:hunter2@h/d
  user:
  dbname: ''
  port: 0
  sslmode: [require]
  requirepeer: postgres
  options: true
exports: [{table: a, out: a}]
`, []string{
			"b.yaml:3: password: no secrets here: a password comes from ~/.pgpass, PGPASSWORD or --password",
			"b.yaml:4: sslpassword: no secrets here: a password comes from ~/.pgpass, PGPASSWORD or --password",
			"b.yaml:5: dsn: unknown key; a whole connection string is given by --dsn",
			"b.yaml:6: database: unknown key; the name of this key is dbname",
			"b.yaml:7: hots: unknown key; did you mean host?",
			"b.yaml:8: service: is a whole connection string: that is given by --dsn",
			"b.yaml:9: user: has no value",
			"b.yaml:10: dbname: is empty: leave it out",
			"b.yaml:11: port: out of range: a port is a number from 1 to 65535",
			"b.yaml:12: sslmode: is a list, not a single value",
			"b.yaml:13: requirepeer: is not supported",
			"b.yaml:14: options: is true or false, not text",
		}},
		{
			"connection a string", "b.yaml", "connection: postgres://u:hunter2@h/d\nexports: [{table: a, out: a}]\n",
			[]string{"b.yaml:1: connection: is text, not a mapping: {service: mpc_sbn} for example"},
		},
		{
			"a password by the environment", "b.yaml", "connection: {host: \"${SECRET}\"}\nexports: [{table: a, out: a}]\n",
			[]string{"b.yaml:1: host: is a whole connection string: that is given by --dsn"},
		},
		{"variables", "b.yaml", "- table: a\n  out: ${NONESUCH}/a\n- table: ${b\n  out: ${}\n- table: a\n  out: '${1}'\n  row_group_size: ${OUT}\n  overwrite: ${OUT}\n", []string{
			"b.yaml:2: out: the environment variable NONESUCH is not set, or empty",
			"b.yaml:3: table: ${ is not followed by a variable's name and }; $${ stands for ${ itself",
			"b.yaml:4: out: ${ is not followed by a variable's name and }; $${ stands for ${ itself",
			"b.yaml:6: out: ${ is not followed by a variable's name and }; $${ stands for ${ itself",
			"b.yaml:7: row_group_size: out: not a whole number",
			"b.yaml:8: overwrite: is text, not true or false",
		}},
		{"merges", "b.yaml", "- &a {table: a, out: a, <<: [x, *a]}\n- <<: 5\n  table: b\n  out: b\n", []string{
			"b.yaml:1: <<: is text: a mapping, or a list of them, can be merged", "b.yaml:2: <<: is a number: a mapping, or a list of them, can be merged",
		}},
		{
			"an alias brings a problem once", "b.yaml", "defaults: &d {numeric: x}\nexports:\n- {<<: *d, table: a, out: a}\n- {<<: *d, table: b, out: b}\n",
			[]string{`b.yaml:1: numeric: numeric "x": allowed are float64, strict, text, decimal(p,s)`},
		},
		{"YAML", "b.yaml", "- table: a\n  out: a\n bad: b\n", []string{"b.yaml:3: YAML: did not find expected '-' indicator"}},
		{"YAML colon", "b.yaml", "# a comment\n- table: a\n  out: a: b\n- table: c\n", []string{"b.yaml:3: YAML: mapping values are not allowed in this context"}},
		{"YAML tab", "b.yaml", "-\n\ttable: a\n", []string{"b.yaml:2: YAML: a tab indents this line: YAML takes blanks alone"}},
		{"YAML quote", "b.yaml", "- table: a\n  out: \"a\n- table: b\n", []string{"b.yaml:2: YAML: found unexpected end of stream"}},
		{"YAML flow", "b.yaml", "- table: a\n- {out: a\n- table: b\n", []string{"b.yaml:2: YAML: did not find expected ',' or '}'"}},
		{"YAML anchor", "b.yaml", "- table: a\n- *b\n- table: c\n", []string{"b.yaml:2: YAML: unknown anchor 'b' referenced"}},
		{"YAML encoding", "b.yaml", "- table: a\n  out: \xff\n", []string{"b.yaml:2: YAML: invalid leading UTF-8 octet"}},
		{"YAML document", "b.yaml", "- {table: a, out: a}\n---\n- {table: b, out: b}\n", []string{"b.yaml:2: YAML: a second document begins here: a batch file is one document"}},
		{"JSON", "b.json", "[\n {\"sql\": \"x\",\n  'out': 1}]", []string{"b.json:3: JSON: invalid character '\\'' looking for beginning of object key string"}},
		{"JSON comma", "b.JSON", "[\n {\"sql\": \"x\", \"out\": \"a\"},\n]", []string{"b.JSON:3: JSON: invalid character ']' looking for beginning of value"}},
		{"JSON end", "b.json", "[\n {\"sql\": \"x\"\n", []string{"b.json:2: JSON: unexpected end of JSON input"}},
		{"JSON twice", "b.json", "[]\n[]", []string{"b.json:2: JSON: invalid character '[' after top-level value"}},
		{"JSON encoding", "b.json", "[\n\"\xff\"]", []string{"b.json:2: JSON: text that is not UTF-8"}},
		{"JSON surrogate", "b.json", "[{\"sql\":\n\"\\ud83d\\ude00 \\ufffd \ufffd\",\n\"out\": \"\\ud83d\"}]", []string{`b.json:3: JSON: \u with half a surrogate pair is no character`}},
		{"JSON lines", "b.json", "[\n\n  {\n    \"sql\": \"a,\\n:\",\n    \"out\" : 5 ,\n    \"types\": {\"a\"\n:\n3}\n  },\n\"x\"\n]", []string{
			"b.json:5: out: is a number, not text: text has quotes then", "b.json:6: a: is a number, not text: text has quotes then",
			"b.json:10: exports: entry 2 is text, not a mapping of keys",
		}},
		{"JSON is no YAML", "b.json", `[{"<<": {"a": 1}, "sql": "x", "out": "a"}]`, []string{
			"b.json:1: <<: unknown key; known are " + strings.Join(slices.Sorted(slices.Values(names(entryKeys))), ", "),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := parseBatch(c.file, []byte(c.text), withDefaults(), flagged(), batchEnv)
			got := problemLines(b)
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
			if strings.Contains(strings.Join(got, ""), "hunter2") {
				t.Error("a password is shown")
			}
			var err *batchError
			if errors.As(b.err(), &err) && err.code() != codeUsage {
				t.Errorf("code %d", err.code())
			}
		})
	}
}

func TestBatchListForm(t *testing.T) {
	t.Parallel()
	yaml := `
- sql: SELECT * FROM obs_sbn
  out: obs_sbn.parquet
- sql: |
    SELECT $$it's$$, $1
    FROM mpc_orbits
  out: dir/mpc_orbits.parquet
  row_group_size: 50_000
`
	json := "\ufeff[\t{\"sql\": \"SELECT * FROM obs_sbn\", \"out\": \"obs_sbn.parquet\"},\n" +
		`{"sql": "SELECT $$it's$$, $1\nFROM mpc_orbits\n", "out": "dir\/mpc_orbits.parquet", "row_group_size": 50000}]`
	one, two := withDefaults(), withDefaults()
	one.SQL, one.Out = "SELECT * FROM obs_sbn", "obs_sbn.parquet"
	two.SQL, two.Out, two.RowGroupRows = "SELECT $$it's$$, $1\nFROM mpc_orbits\n", "dir/mpc_orbits.parquet", 50_000
	for name, text := range map[string]string{"b.yaml": yaml, "b.yml": yaml, "batch": yaml, "b.json": json, "b.JSON": json} {
		b := parseBatch(name, []byte(text), withDefaults(), flagged(), batchEnv)
		if got := problemLines(b); got != nil {
			t.Errorf("%s: %q", name, got)
		}
		if !reflect.DeepEqual(b.jobs, []export.Job{one, two}) || b.parallel != 0 || b.conn != nil {
			t.Errorf("%s: got %+v", name, b.jobs)
		}
	}
}

func TestBatchFullForm(t *testing.T) {
	t.Parallel()
	b := parseBatch("b.yaml", []byte(`
$schema: batch.schema.json
connection: {service: mpc_sbn, port: 5433, user: "${OUT}"}
defaults: &all
  row_group_size: 10
  compression: gzip:9
  parallel: 6
exports:
- table: public.obs_sbn
  columns: [id, '"Mixed, Case"']
  where: stn = 'X05'
  out: ${OUT}/$${x}$5.parquet
  row_group_size: ${ROWS}
  row_group_bytes: 64MiB
  compression: lz4
  encoding: plain
  encodings: {RA: delta, '"Dec"': auto}
  bloom: [ID, '"Mixed, Case"']
  sorted_by: [id]
  types: {RA: "${WHAT}", '"Dec"': text}
  numeric: float64
  numeric_nonfinite: null
  infinity: "null"
  invalid_utf8: replace
  interval: duration
  ranges: text
  trim_bpchar: ${YES}
  type_map: ddpp
  overwrite: True
  parallel: 2
  chunk: {by: ctid, size: "${SIZE}"}
- {table: a, out: a, no_clobber: true, chunk: {by: '"none"', bounds: [1, 2.5, 1_000, 1e4]}}
- {table: b, out: b, chunk: {by: obstime, bounds: [2020-01-01, '2021-01-01', "${OUT}"]}}
- {table: c, out: c, chunk: {by: None}}
- {table: d, out: d, chunk: {count: 64}}
- &e {table: e, out: e, chunk: {by: id, size: 8192}}
- {<<: [{out: f, sql: x}, *e], table: f}
- {<<: [{out: g}, *e, *all], numeric: text}
`), withDefaults(), flagged(), batchEnv)
	want := []string{"b.yaml:37: sql: table is given too: an entry has one of them"}
	if got := problemLines(b); !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
	base := withDefaults()
	base.RowGroupRows, base.Compression = 10, parquetw.Compression{Codec: parquetw.Gzip, Level: 9}
	job := func(f func(*export.Job)) export.Job {
		j := base
		f(&j)
		return j
	}
	jobs := []export.Job{
		job(func(j *export.Job) {
			j.Table, j.Columns, j.Where, j.Out = "public.obs_sbn", []string{"id", `"Mixed, Case"`}, "stn = 'X05'", "out/${x}$5.parquet"
			j.RowGroupRows, j.Compression, j.Overwrite, j.Parallel = 500, parquetw.Compression{Codec: parquetw.LZ4}, parquetw.ReplaceAny, 2
			j.Types = typemap.Options{
				Nonfinite: typemap.NonfiniteNull, Infinity: typemap.InfinityNull,
				InvalidUTF8: typemap.InvalidUTF8Replace, Interval: typemap.IntervalDuration, Ranges: typemap.RangeText, TrimBpchar: true, TypeMap: typemap.DDPP,
				Columns: map[string]string{"ra": "decimal(5,2)", "Dec": "text"},
			}
			j.Chunk = chunker.Hint{By: chunker.CutCTID, Bytes: 64 << 10}
			j.RowGroupBytes, j.Encoding, j.Encodings = 64<<20, parquetw.Plain, map[string]parquetw.Encoding{"ra": parquetw.Delta, "Dec": parquetw.Auto}
			j.Bloom, j.SortedBy = []string{"id", "Mixed, Case"}, []string{"id"}
		}),
		job(func(j *export.Job) {
			j.Table, j.Out, j.Overwrite = "a", "a", parquetw.NoClobber
			j.Chunk = chunker.Hint{By: chunker.CutColumn, Column: `"none"`, Bounds: []string{"1", "2.5", "1000", "1e4"}}
		}),
		job(func(j *export.Job) {
			j.Table, j.Out = "b", "b"
			j.Chunk = chunker.Hint{By: chunker.CutColumn, Column: "obstime", Bounds: []string{"2020-01-01", "2021-01-01", "out"}}
		}),
		job(func(j *export.Job) { j.Table, j.Out, j.Chunk = "c", "c", chunker.Hint{By: chunker.CutNone} }),
		job(func(j *export.Job) { j.Table, j.Out, j.Chunk = "d", "d", chunker.Hint{Count: 64} }),
		job(func(j *export.Job) {
			j.Table, j.Out, j.Chunk = "e", "e", chunker.Hint{By: chunker.CutColumn, Column: "id", Bytes: 8192}
		}),
		job(func(j *export.Job) { // merged: its own key, then the first of the list that has it; parallel is its own now
			j.Table, j.Out, j.Chunk = "e", "g", chunker.Hint{By: chunker.CutColumn, Column: "id", Bytes: 8192}
			j.Types.Numeric.Mode, j.Parallel = typemap.NumericText, 6
		}),
	}
	if len(b.jobs) != len(jobs) {
		t.Fatalf("got %d jobs", len(b.jobs))
	}
	for i := range jobs {
		if !reflect.DeepEqual(b.jobs[i], jobs[i]) {
			t.Errorf("entry %d: got\n%+v\nwant\n%+v", i+1, b.jobs[i], jobs[i])
		}
	}
	if want := (settings{"service": "mpc_sbn", "port": "5433", "user": "out"}); !reflect.DeepEqual(b.conn, want) || b.parallel != 6 {
		t.Errorf("got %v, %d", b.conn, b.parallel)
	}
}

// An entry's own key wins over a flag, a flag over defaults.
func TestBatchPrecedence(t *testing.T) {
	t.Parallel()
	text := []byte(`
defaults:
  row_group_size: 10
  compression: gzip:9
  types: {a: text, b: text, c: text}
  numeric: text
  infinity: clamp
  trim_bpchar: true
  overwrite: true
  parallel: 3
  chunk: {by: id, count: 7}
exports:
- {table: a, out: a}
- table: b
  out: b
  row_group_size: 30
  compression: lz4
  types: {c: decimal(3), d: strict}
  numeric: strict
  infinity: error
  trim_bpchar: false
  overwrite: false
  parallel: 1
  chunk: {by: ctid, size: 1MiB}
- {table: c, out: c, no_clobber: true}
`)
	base := withDefaults()
	none := parseBatch("b.yaml", text, base, flagged(), batchEnv)
	// What the flags of the same name would make of a Job.
	base.RowGroupRows, base.Compression, base.Overwrite = 20, parquetw.Compression{Codec: parquetw.Snappy}, parquetw.NoClobber
	base.Types = typemap.Options{Infinity: typemap.InfinityText, Columns: map[string]string{"b": "strict", "c": "strict"}}
	all := parseBatch("b.yaml", text, base, flagged("row-group-size", "compression", "no-clobber", "type", "numeric", "infinity", "trim-bpchar", "parallel", "chunk-size"), batchEnv)
	for _, b := range []*batch{none, all} {
		if got := problemLines(b); got != nil || len(b.jobs) != 3 {
			t.Fatalf("%q, %d", got, len(b.jobs))
		}
	}
	type shown struct {
		Rows         int64
		Codec        string
		Own, Common  map[string]string
		Numeric      typemap.NumericMode
		Infinity     typemap.Infinity
		Trim         bool
		Overwrite    parquetw.Overwrite
		Parallel     int
		By           chunker.CutBy
		Bytes, Count int64
	}
	show := func(j export.Job) shown {
		return shown{
			j.RowGroupRows, j.Compression.String(), j.Types.Columns, j.CommonTypes, j.Types.Numeric.Mode, j.Types.Infinity, j.Types.TrimBpchar, j.Overwrite, j.Parallel,
			j.Chunk.By, j.Chunk.Bytes, int64(j.Chunk.Count),
		}
	}
	own := shown{
		30, "lz4",
		map[string]string{"c": "decimal(3)", "d": "strict"},
		map[string]string{"a": "text", "b": "text", "c": "text"},
		typemap.NumericStrict, typemap.InfinityError, false,
		parquetw.ReplaceParquet, 1, chunker.CutCTID, 1 << 20, 0,
	}
	ownOverFlags := own
	ownOverFlags.Common = map[string]string{"a": "text", "b": "strict", "c": "strict"}
	for _, c := range []struct {
		what      string
		got, want shown
	}{
		{"defaults", show(none.jobs[0]), shown{
			10, "gzip:9",
			nil,
			map[string]string{"a": "text", "b": "text", "c": "text"},
			typemap.NumericText, typemap.InfinityClamp, true,
			parquetw.ReplaceAny, 0, chunker.CutColumn, 0, 7,
		}},
		{"flags over defaults", show(all.jobs[0]), shown{
			20, "snappy",
			nil,
			map[string]string{"a": "text", "b": "strict", "c": "strict"},
			typemap.NumericFloat64, typemap.InfinityText, false,
			parquetw.NoClobber, 0, chunker.CutColumn, 0, 0,
		}},
		{"own over defaults", show(none.jobs[1]), own},
		{"own over flags", show(all.jobs[1]), ownOverFlags},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", c.what, c.got, c.want)
		}
	}
	// An entry's no_clobber is not contradicted by the overwrite of defaults.
	if none.jobs[2].Overwrite != parquetw.NoClobber {
		t.Errorf("got %v", none.jobs[2].Overwrite)
	}
	if none.parallel != 3 || all.parallel != 0 {
		t.Errorf("parallel is %d, and %d with the flag", none.parallel, all.parallel)
	}
	if len(base.Types.Columns) != 2 {
		t.Error("the flags' own columns have changed")
	}
}

func TestBatchOutputs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"text.parquet": "hello", "there.parquet": "hello"} {
		if err := os.WriteFile(at(name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.Mkdir(at("sub"), 0o777), os.Symlink("sub", at("link")), os.Link(at("there.parquet"), at("twin.parquet"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	file := at("b.yaml")
	text := ""
	for _, out := range []string{"a.parquet", "./x/../a.parquet", "sub/b.parquet", "link/b.parquet", "text.parquet", "none/c.parquet", "sub", "there.parquet", "twin.parquet", "b.yaml", "fine.parquet"} {
		text += "- {table: t, overwrite: " + fmt.Sprint(out != "text.parquet") + ", out: " + dir + "/" + out + "}\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	b, err := readBatch(t.Context(), file, withDefaults(), flagged(), batchEnv)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, p := range []string{
		"2: out: DIR/./x/../a.parquet is the file of the entry with line 1 too",
		"4: out: DIR/link/b.parquet is the file of the entry with line 3 too",
		"5: out: DIR/text.parquet exists and is no Parquet file (give another --out, or --overwrite to replace it)",
		"6: out: directory DIR/none: no such file or directory (directories are never made: mkdir -p makes one)",
		"7: out: DIR/sub exists and is a directory (name a file in it)",
		"9: out: DIR/twin.parquet is the file of the entry with line 8 too",
		"10: out: DIR/b.yaml is this batch file",
	} {
		want = append(want, file+":"+strings.ReplaceAll(p, "DIR", dir))
	}
	if got := problemLines(b); !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	var outs []string // of the others the server is asked, without an output
	for _, j := range b.jobs {
		if j.Out != "" {
			outs = append(outs, filepath.Base(j.Out))
		}
	}
	if !slices.Equal(outs, []string{"a.parquet", "b.parquet", "there.parquet", "fine.parquet"}) || len(b.jobs) != 11 || len(b.places) != 11 {
		t.Errorf("left are %q of %d", outs, len(b.jobs))
	}

	// What can't be written alone has the code of outputs.
	b = &batch{file: "b.yaml", jobs: []export.Job{{Out: at("sub")}}, places: []place{{line: 1, keys: map[string]int{"out": 1}}}, outs: []out{{path: at("sub"), line: 1}}}
	b.checkOutputs()
	if err := b.err(); err == nil || err.(*batchError).code() != codeTarget {
		t.Errorf("got %v", err)
	}
}

func TestBatchFileUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                         "--config " + dir + ": is a directory",
		filepath.Join(dir, "x.yml"): "--config " + filepath.Join(dir, "x.yml") + ": no such file or directory",
	} {
		_, err := readBatch(t.Context(), path, withDefaults(), flagged(), batchEnv)
		if err == nil || err.Error() != want || exitCode(err) != codeUsage {
			t.Errorf("got %v", err)
		}
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxBatch+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readBatch(t.Context(), big, withDefaults(), flagged(), batchEnv); err == nil || !strings.HasSuffix(err.Error(), " holds more than 16MiB") {
		t.Errorf("got %v", err)
	}
}

// What the server knows of the entries comes to the file's lines too, together with the file's own problems.
func TestBatchLocatesServerErrors(t *testing.T) {
	t.Parallel()
	text := []byte(`- table: a
  out: a
  columns: [x, y]
- sql: |
    SELECT x
      FORM t
  out: b
- table: c
  out: c
  where: oops
- tabel: d
  out: d
- table: e
  out: e
- sql: SELECT 1
  out: f
- table: g
  out: g
  types: {x: text}
`)
	sql := "SELECT x\n  FORM t\n"
	syntax := &chunker.StatementError{Field: chunker.FieldSQL, Reason: `syntax error at or near "FORM"`, Text: sql, Position: strings.Index(sql, "FORM") + 1}
	denied := &chunker.PermissionError{Relation: "public.e", Hint: "GRANT SELECT ON public.e TO the role"}
	failures := errors.Join(
		&export.JobError{Index: 0, Out: "a", Err: &chunker.NotFoundError{Field: chunker.FieldColumns, What: "column", Name: "y", Relation: "public.a", Hint: "did you mean yy?"}},
		&export.JobError{Index: 1, Out: "b", Err: syntax},
		&export.JobError{Index: 2, Out: "c", Err: &chunker.StatementError{Field: chunker.FieldWhere, Reason: "column \"oops\" does not exist"}},
		&export.JobError{Index: 3, Out: "e", Err: denied},
		&export.JobError{Index: 4, Out: "f", Err: &export.RowGroupsError{Path: "f", EstRows: 1e6, GroupRows: 1}},
		&export.JobError{Index: 5, Out: "g", Err: &typemap.UnsupportedError{Column: "x", Type: "point", Reason: "no such type here"}},
	)
	b := parseBatch("b.yaml", text, withDefaults(), flagged(), batchEnv)
	var be *batchError
	if !errors.As(b.locate(failures), &be) {
		t.Fatal("no batchError")
	}
	want := []string{
		"b.yaml:3: columns: column y does not exist in public.a (did you mean yy?)",
		`b.yaml:6: sql: syntax error at or near "FORM"`,
		`b.yaml:10: where: column "oops" does not exist`,
		"b.yaml:11: tabel: unknown key; did you mean table?",
		"b.yaml:11: sql: missing: an entry has sql or table",
		"b.yaml:13: table: no permission to read public.e: SELECT is not granted (GRANT SELECT ON public.e TO the role)",
		"b.yaml:15: row_group_size: f would have about 1000000 row groups of 1 rows, more than Parquet's 32,767 (a larger --row-group-size makes fewer)",
	}
	got := be.lines()
	if len(got) != 8 || !slices.Equal(got[:7], want) || !strings.HasPrefix(got[7], "b.yaml:19: types: ") {
		t.Errorf("got\n  %s", strings.Join(got, "\n  "))
	}
	if be.code() != codeUsage {
		t.Errorf("code %d", be.code())
	}

	// Alone, such an error keeps its code; others are left alone.
	right := parseBatch("b.yaml", []byte("- {table: a, out: a}\n- {table: b, out: b}\n"), withDefaults(), flagged(), batchEnv)
	refused := &pgconn.PgError{Code: "57P01"}
	for _, err := range []error{nil, refused, &export.PartialError{Failed: 1, Total: 2, First: &export.JobError{Err: denied}}} {
		if got := right.locate(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	got1 := right.locate(&export.JobError{Index: 1, Err: denied})
	if !errors.As(got1, &be) || be.code() != codeRelation || be.lines()[0] != "b.yaml:2: table: no permission to read public.e: SELECT is not granted (GRANT SELECT ON public.e TO the role)" {
		t.Errorf("got %v", got1)
	}
}

// A batch file may hold anything: there are problems or there are complete jobs, and never a panic.
func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		"- sql: SELECT 1\n  out: a\n", "defaults: &a {numeric: text}\nexports:\n- <<: *a\n  table: t\n  out: ${OUT}\n", "a: &a [*a]", "&a {<<: *a}", "- &a {<<: [*a, *a]}",
		"exports: [{table: t, out: b, chunk: {by: id, bounds: [1, 2e400, .inf, 0x1]}}]", "%YAML 1.1\n---\n- a", "- ? {a: b}\n  : c", "!!binary x", "- {columns: [!!int x]}",
		"connection: {port: 1,2}", "[{\"sql\": \"\\ud800\", \"out\": \"$${\"}]", "\xff\xfe-\x00", "- |\n a\n  b", "- 'x", "- table: t\n  out: o\n  types: {a: text, A: text}\n",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, json bool) {
		file := "f.yaml"
		if json {
			file = "f.json"
		}
		b := parseBatch(file, []byte(text), withDefaults(), flagged(), batchEnv)
		if len(b.jobs) != len(b.places) || len(b.jobs) == 0 && len(b.problems) == 0 {
			t.Fatalf("%d jobs, %d places, %d problems", len(b.jobs), len(b.places), len(b.problems))
		}
		utf16 := strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff")
		last := 1
		for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // what ends a line for YAML
			last += strings.Count(text, end)
		}
		for _, p := range b.problems {
			if p.line < 1 || !utf16 && p.line > last || p.text == "" {
				t.Errorf("%+v, of %d lines", p, last)
			}
		}
		for _, j := range b.jobs {
			if j.Out == "" && len(b.problems) == 0 || (j.SQL == "") == (j.Table == "") || j.RowGroupRows < 1 {
				t.Errorf("incomplete: %+v", j)
			}
		}
	})
}

// Relative paths are relative to where the user stands, not to where the file is.
func TestBatchRelativePaths(t *testing.T) {
	there, here := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(there, "theirs"), filepath.Join(here, "mine")} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(there, "b.yaml")
	if err := os.WriteFile(file, []byte("- {table: t, out: mine/a.parquet}\n- {table: t, out: theirs/b.parquet}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Chdir(here)
	b, err := readBatch(t.Context(), file, withDefaults(), flagged(), batchEnv)
	if err != nil {
		t.Fatal(err)
	}
	if b.jobs[0].Out != "mine/a.parquet" || len(b.problems) != 1 || b.problems[0].line != 2 || !strings.Contains(b.problems[0].text, "directory theirs: no such file or directory") {
		t.Errorf("got %+v, %+v", b.jobs, b.problems)
	}
}
