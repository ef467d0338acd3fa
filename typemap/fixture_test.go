package typemap

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// arrayOIDs are the array types that tests without a server use. Source: pg_type.dat.
var arrayOIDs = map[string]uint32{"text": 1009, "int4": 1007, "numeric": 1231, "float8": 1022, "timestamptz": 1185}

// builtin is the catalog of the built-in types, as far as the table has them, and of a few of their arrays.
func builtin(t testing.TB, more ...CatalogRow) *Catalog {
	t.Helper()
	var rows []CatalogRow
	for _, r := range typeTable {
		if r.oid == 0 {
			continue
		}
		c := CatalogRow{
			OID: r.oid, Name: r.name, Schema: "pg_catalog", Display: r.name, Kind: "b", Typmod: -1, Delim: ",", HasSend: r.name != "aclitem",
			Output: "pg_catalog." + r.name + "out",
		}
		if r.name == "money" {
			c.MoneyDigits = 2
		}
		rows = append(rows, c)
		if oid := arrayOIDs[r.name]; oid != 0 {
			rows = append(rows, CatalogRow{
				OID: oid, Name: "_" + r.name, Schema: "pg_catalog", Display: r.name + "[]", Kind: "b", Elem: r.oid, Typmod: -1, Delim: ",",
				HasSend: true, Output: "pg_catalog.array_out",
			})
		}
	}
	cat, err := NewCatalog(append(rows, more...))
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// recorded is a sample of a table, as a server of major 15 sent it: 32 rows.
type recorded struct {
	cols []Column
	data [2][]byte // by transport
}

func readRecorded(t testing.TB, table string) recorded {
	t.Helper()
	read := func(ext string) []byte {
		b, err := os.ReadFile("testdata/" + table + ext)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := recorded{data: [2][]byte{read(".csv"), read(".bin")}}
	for line := range strings.Lines(string(read(".cols"))) {
		f := strings.Fields(line)
		oid, err1 := strconv.ParseUint(f[1], 10, 32)
		typmod, err2 := strconv.ParseInt(f[2], 10, 32)
		if err1 != nil || err2 != nil {
			t.Fatal(line)
		}
		r.cols = append(r.cols, Column{Name: strings.Trim(f[0], `"`), OID: uint32(oid), Typmod: int32(typmod), NotNull: f[3] == "t"})
	}
	return r
}

func (r *recorded) plan(t testing.TB, tr Transport) *Plan {
	t.Helper()
	p, err := NewPlan(builtin(t), r.cols, Options{}, tr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRecordedTablesDecodeAlike(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"obs_sbn", "dia_source"} {
		t.Run(table, func(t *testing.T) {
			r := readRecorded(t, table)
			csv, bin := r.plan(t, CSV), r.plan(t, Binary)
			want, err := collect(bin, DecoderOptions{BatchRows: 17}, r.data[Binary], nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := collect(csv, DecoderOptions{BatchRows: 17}, r.data[CSV], nil)
			if err != nil {
				t.Fatal(err)
			}
			sameBatches(t, csv, got, want)
			if n := len(want); n != 2 {
				t.Errorf("%d batches of 32 rows at 17 each", n)
			}
		})
	}
}

func ExampleParseNumeric() {
	n, err := ParseNumeric("decimal(18,6)")
	fmt.Println(n.Precision, n.Scale, err)
	// Output: 18 6 <nil>
}
