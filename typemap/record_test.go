package typemap

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

var update = flag.Bool("update", false, "rewrite testdata and docs from a server and from the table")

// refused are values that no default of ours can hold. Each is an error, and becomes something under an option.
var refused = []sample{
	{typ: "date", lits: []string{"infinity", "-infinity"}},
	{typ: "time", lits: []string{"24:00:00"}},
	{typ: "timetz", lits: []string{"24:00:00+00", "24:00:00-08"}},
	{typ: "timestamp", lits: []string{"infinity", "-infinity", "294247-01-10 04:00:54.775808", "294276-12-31 23:59:59.999999"}},
	{typ: "timestamptz", lits: []string{"infinity", "-infinity", "294276-12-31 23:59:59.999999+00"}},
	{typ: "interval", lits: []string{"infinity", "-infinity"}},
	{typ: "numeric(10,2)", lits: []string{"NaN"}},
	{typ: "numeric", lits: []string{"1e400", "-1e400", "1e1000"}},
	{typ: "int4[]", lits: []string{"{{1,2},{3,4}}", "[2:3]={1,2}", "[0:0]={5}"}},
	{typ: "daterange", lits: []string{"[2000-01-01,infinity]"}},
}

// more are values beside samples: arrays, and numerics that only a float64's neighbour says.
var moreRecorded = []sample{
	{typ: "numeric", lits: []string{
		"0.1000000000000000055511151231257827021181583404541015625", "9007199254740993", "1.7976931348623157e308", "1e-400", "123456789.123456789123456789", "1e23", "5e-324",
		"0.3000000000000000166", "999999999999999.9", "9999999999999999", "-123456789012345678", "1e22", "1.10", "100", "Infinity", "-Infinity", "4.35", "0.000001234567890123",
		"2.2250738585072011e-308", "1234567890123456789012345678901234567890.5",
	}},
	{typ: "int4[]", lits: []string{"{}", "{NULL}", "{1,NULL,-3}"}},
	{typ: "text[]", lits: []string{"{}", "{NULL}", `{"NULL","",a,"{x}","a\"b","c\\d",",","é"}`}},
	{typ: "numeric[]", lits: []string{"{1.5,NULL,NaN}"}},
	{typ: "box[]", lits: []string{"{(1,2),(3,4);(5,6),(7,8)}"}},
	{typ: "mood[]", lits: []string{`{sad,NULL,"ha ppy"}`}},
	{typ: "money[]", lits: []string{`{"1,234.50",-1,NULL}`}},
	{typ: "interval", lits: []string{"-2147483648 months -2147483648 days -2562047788:00:54.775807"}},
	{typ: "hstore[]", lits: []string{`{"\"a\"=>\"1\"",NULL}`}},
	{typ: "tstzrange[]", lits: []string{`{"[\"2000-01-01 00:00:00+00\",)",NULL,empty}`}},
	{typ: "deep", lits: []string{
		`(1,"{""(1,\\""a b\\"")"",NULL,""(,)""}","[1,5)","{""a""}")`, `(,,,)`, `(-5,{},empty,"{NULL,""x y""}")`,
	}},
}

const deepType = `CREATE DOMAIN label AS text; CREATE DOMAIN labels AS label[]; CREATE TYPE pair AS (n int8, s text); CREATE TYPE deep AS (id int4, pairs pair[], span int4range, names labels)`

// TestRecord writes testdata/values.tsv and catalog.json: what a server sends for every sample. Without -update it does
// nothing; the tests that read the files need no server.
func TestRecord(t *testing.T) {
	if !*update {
		return
	}
	majors := pgtest.Majors(t)
	newest := majors[len(majors)-1].Major
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		if srv.Version() != newest {
			return
		}
		c := session(t, srv.Database(t))
		prepareSamples(t, c)
		run(t, c, deepType)
		var out bytes.Buffer
		oids := map[uint32]bool{}
		record := func(mark string, s *sample) {
			run(t, c, "DROP TABLE IF EXISTS v; CREATE TABLE v (v "+s.typ+")")
			var oid, send uint32
			var typmod int32
			err := c.QueryRow(t.Context(), `SELECT atttypid, atttypmod, typsend::oid FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
				WHERE attrelid = 'v'::regclass AND attnum = 1`).Scan(&oid, &typmod, &send)
			if err != nil {
				t.Fatal(err)
			}
			oids[oid] = true
			for _, lit := range s.lits {
				run(t, c, "TRUNCATE v; INSERT INTO v VALUES ("+quoteLiteral(lit)+")")
				text := texts(t, c, "SELECT v FROM v")[0][0]
				bin := "-"
				if send != 0 {
					var buf bytes.Buffer
					if _, err := c.PgConn().CopyTo(t.Context(), &buf, "COPY v TO STDOUT (FORMAT binary)"); err != nil {
						t.Fatal(err)
					}
					bin = hex.EncodeToString(buf.Bytes()[19+2+4 : buf.Len()-2])
				}
				fmt.Fprintf(&out, "%s\t%s\t%d\t%d\t%s\t%s\n", mark, s.typ, oid, typmod, strconv.Quote(string(text)), bin)
			}
		}
		for _, s := range samples {
			if s.on(srv.Version()) {
				record("=", &s)
			}
		}
		for _, s := range moreRecorded {
			record("=", &s)
		}
		for _, s := range refused {
			record("!", &s)
		}
		if err := os.WriteFile("testdata/values.tsv", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		var list []uint32
		for oid := range oids {
			list = append(list, oid)
		}
		slices.Sort(list)
		rows, err := c.Query(t.Context(), CatalogQuery, list)
		if err != nil {
			t.Fatal(err)
		}
		cat, err := pgx.CollectRows(rows, pgx.RowToStructByPos[CatalogRow])
		if err != nil {
			t.Fatal(err)
		}
		var js bytes.Buffer
		js.WriteString("[\n")
		for i, r := range cat {
			var fields map[string]any
			b, err := json.Marshal(r)
			if err == nil {
				err = json.Unmarshal(b, &fields)
			}
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range fields { // what is nothing needs no room
				if l, ok := v.([]any); v == nil || v == false || v == "" || v == 0.0 || ok && len(l) == 0 {
					delete(fields, k)
				}
			}
			if b, err = json.Marshal(fields); err != nil {
				t.Fatal(err)
			}
			js.Write(b)
			if i < len(cat)-1 {
				js.WriteString(",")
			}
			js.WriteString("\n")
		}
		js.WriteString("]\n")
		if err := os.WriteFile("testdata/catalog.json", js.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// recordedValue is a line of testdata/values.tsv.
type recordedValue struct {
	refused bool
	typ     string
	oid     uint32
	typmod  int32
	text    string
	binary  []byte // nil for a type without a send function
}

func readValues(t testing.TB) ([]recordedValue, *Catalog) {
	t.Helper()
	b, err := os.ReadFile("testdata/values.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out []recordedValue
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		oid, err1 := strconv.ParseUint(f[2], 10, 32)
		typmod, err2 := strconv.ParseInt(f[3], 10, 32)
		text, err3 := strconv.Unquote(f[4])
		v := recordedValue{refused: f[0] == "!", typ: f[1], oid: uint32(oid), typmod: int32(typmod), text: text}
		var err4 error
		if f[5] != "-" {
			v.binary, err4 = hex.DecodeString(f[5])
			v.binary = append([]byte{}, v.binary...)
		}
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			t.Fatal(line)
		}
		out = append(out, v)
	}
	b, err = os.ReadFile("testdata/catalog.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []CatalogRow
	if err := json.Unmarshal(b, &rows); err != nil {
		t.Fatal(err)
	}
	cat, err := NewCatalog(rows)
	if err != nil {
		t.Fatal(err)
	}
	return out, cat
}
