package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Makes a Parquet file by pyarrow of a text file with "type|number|…" lines, one a row, whose values Postgres gave as numbers.
const makeParquet = `
import sys, pyarrow as pa, pyarrow.parquet as pq
rows = [line.rstrip("\n").split("|") for line in open(sys.argv[1])]
f8, f4, day, us = zip(*rows)
ints = lambda column, kind: pa.array([None if v == "" else int(v) for v in column], kind)
us = ints(us, pa.int64())
pq.write_table(pa.table({
    "f8": pa.array([None if v == "" else float(v) for v in f8], pa.float64()),
    "f4": pa.array([None if v == "" else float(v) for v in f4], pa.float32()),
    "day": ints(day, pa.int32()).view(pa.date32()),
    "ts": us.view(pa.timestamp("us")),
    "list": pa.array([None if v is None else [v, None][: v % 3] for v in us.to_pylist()], pa.list_(pa.timestamp("us", tz="UTC"))),
    "struct": pa.StructArray.from_arrays([us.view(pa.timestamp("us"))], names=["ts"], mask=us.is_null()),
}), sys.argv[2], row_group_size=33000)
`

// The canonical texts are the server's own, by both readers: else they could not be compared with a table.
func TestReadersGiveTheServersText(t *testing.T) {
	t.Parallel()
	dsn := Database(t)
	// More rows than a batch and a row group hold; floats over all magnitudes; days from 4713 BC to 200000, microseconds likewise.
	Exec(t, dsn, `
CREATE TABLE v AS
SELECT g, CASE WHEN g % 50 <> 0 THEN (random() - 0.5) * pow(10.0::float8, (g % 600) - 300) END AS f8,
       CASE WHEN g % 51 <> 0 THEN ((random() - 0.5) * pow(10.0::float8, (g % 70) - 35))::float4 END AS f4,
       CASE WHEN g % 52 <> 0 THEN (random() * 75000000)::int - 2440000 END AS day,
       CASE WHEN g % 53 <> 0 THEN ((random() * 6e18)::int8 - 200000000000000000) END AS us
FROM generate_series(1, 40000) g`,
		`INSERT INTO v SELECT -g, pow(2::float8, g - 1000), pow(2::float8, g % 250 - 125)::float4, NULL, NULL FROM generate_series(100, 1900) g`,
		`INSERT INTO v VALUES (0, 'NaN', '-Infinity', 0, 0), (-1, '-0', '-0', -719162, -1), (-2, 1e15, 1e6, -719529, 1), (-3, 999999999999999, 999999, 1, 2),
		(-4, 0.0001, 0.0001, 2932896, 253402300800000000), (-5, 5e-324, 1e-45, 2932897, -62135596800000001), (-6, 123456789.123456789, 0.1, 0, 3)`)
	const order = " FROM v ORDER BY g"
	dir := t.TempDir()
	numbers, file := filepath.Join(dir, "numbers"), filepath.Join(dir, "file.parquet")
	if err := os.WriteFile(numbers, []byte(Query(t, dsn, "SELECT f8, f4, day, us"+order)), 0o600); err != nil {
		t.Fatal(err)
	}
	RunPython(t, makeParquet, numbers, file)
	// Timestamps beyond the server's range are of no interest, and interval arithmetic would round: so seconds and rest apart.
	const ts = `('1970-01-01'::timestamp + make_interval(secs => 0) + (us / 86400000000)::int * interval '1 day' + (us % 86400000000) * interval '1 microsecond')`
	want := strings.Split(Query(t, dsn, `SET timezone = 'UTC'; SET extra_float_digits = 3;
SELECT coalesce(f8::text, 'null'), coalesce(f4::text, 'null'), coalesce(('1970-01-01'::date + day)::text, 'null'), coalesce(`+ts+`::text, 'null'),
  coalesce(to_jsonb(us % 3)::text, 'null')`+order), "\n")

	for _, read := range []func(testing.TB, string) *Parquet{ReadParquet, ReadDuckDB} {
		p := read(t, file)
		if len(p.Rows) != len(want) {
			t.Fatalf("%d rows, want %d", len(p.Rows), len(want))
		}
		if !reflect.DeepEqual(p.RowGroups, []int64{33000, 8808}) {
			t.Errorf("row groups %v", p.RowGroups)
		}
		for i, row := range p.Rows {
			fields := strings.Split(want[i], "|")
			for c, f := range fields[:4] {
				if got := orNull(row[c]); got != f {
					t.Fatalf("row %d column %d: got %s, want %s", i, c, got, f)
				}
			}
			tz := strings.Replace(fields[3]+"+00", " BC+00", "+00 BC", 1)
			list, wantStruct := "null", any(map[string]any{"ts": fields[3]})
			switch {
			case fields[3] == "null":
				wantStruct = nil
			case fields[4] == "0":
				list = "[]"
			case fields[4] == "1" || fields[4] == "-2": // Python's % is never negative
				list = "[" + tz + "]"
			default:
				list = "[" + tz + " <nil>]"
			}
			if got := fmt.Sprint(orNull(row[4])); got != list || !reflect.DeepEqual(row[5], wantStruct) {
				t.Fatalf("row %d: got %s and %v, want %s and %v", i, got, row[5], list, wantStruct)
			}
		}
	}
}

func orNull(v any) any {
	if v == nil {
		return "null"
	}
	if list, ok := v.([]any); ok {
		return fmt.Sprint(list)
	}
	return v
}

func TestReadersSeeTheSchema(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file.parquet")
	RunPython(t, `
import sys, decimal, uuid, pyarrow as pa, pyarrow.parquet as pq
schema = pa.schema([
    pa.field("d", pa.decimal128(10, 2), metadata={"description": "é"}),
    pa.field("u", pa.uuid(), nullable=False),
    pa.field("y", pa.binary()),
    pa.field("b", pa.bool_()),
    pa.field("t", pa.time64("us")),
    pa.field("e", pa.dictionary(pa.int32(), pa.string())),
], metadata={"query": "SELECT 1"})
pq.write_table(pa.table([
    pa.array([decimal.Decimal("-0.50"), None]),
    pa.array([uuid.UUID(int=5).bytes, uuid.UUID(int=6).bytes], pa.uuid()),
    pa.array([b"\x00\xff", None]),
    pa.array([True, None]),
    pa.array([86400000000, 1500000], pa.int64()).view(pa.time64("us")),
    pa.array(["é\n\"|", None]).dictionary_encode(),
], schema=schema), sys.argv[1], compression="zstd")
`, file)
	rows := [][]any{
		{"-0.50", "00000000-0000-0000-0000-000000000005", `\x00ff`, "t", "24:00:00", "é\n\"|"},
		{nil, "00000000-0000-0000-0000-000000000006", nil, nil, "00:00:01.5", nil},
	}
	for name, read := range map[string]func(testing.TB, string) *Parquet{"pyarrow": ReadParquet, "duckdb": ReadDuckDB} {
		p := read(t, file)
		if !reflect.DeepEqual(p.Rows, rows) {
			t.Errorf("%s: got %v", name, p.Rows)
		}
		if p.Metadata["query"] != "SELECT 1" {
			t.Errorf("%s: metadata %v", name, p.Metadata)
		}
	}
	p := ReadParquet(t, file)
	if want := (ParquetField{Name: "d", Type: "decimal128(10, 2)", Nullable: true, Metadata: map[string]string{"description": "é"}}); !reflect.DeepEqual(p.Fields[0], want) {
		t.Errorf("got %+v", p.Fields[0])
	}
	if p.Fields[1].Nullable || p.Leaves[1].Logical != "UUID" || p.Leaves[1].Definition != 0 || p.Leaves[0].Compression != "ZSTD" {
		t.Errorf("got %+v, %+v, %+v", p.Fields[1], p.Leaves[0], p.Leaves[1])
	}
	if f := ReadDuckDB(t, file).Fields[1]; f.Type != "UUID" {
		t.Errorf("got %+v", f)
	}
}
