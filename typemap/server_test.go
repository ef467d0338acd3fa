package typemap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/column"
	"fast-export/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// session connects with the settings that an export's sessions have.
func session(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c := pgtest.Connect(t, dsn)
	run(t, c, `SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 3;
		SET bytea_output = 'hex'; SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET client_min_messages = warning`)
	return c
}

func run(t testing.TB, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%v\nin: %.300s", err, sql)
	}
}

// texts runs a query and gives each value as the server's output function prints it; nil is NULL.
func texts(t testing.TB, c *pgx.Conn, sql string) [][][]byte {
	t.Helper()
	res, err := c.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%v\nin: %.300s", err, sql)
	}
	return res[len(res)-1].Rows
}

func version(t testing.TB, c *pgx.Conn) (num int) {
	t.Helper()
	if err := c.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&num); err != nil {
		t.Fatal(err)
	}
	return num
}

// describe asks the server for a query's columns and for what a plan must know of their types.
func describe(t testing.TB, c *pgx.Conn, sql string) (*Catalog, []Column) {
	t.Helper()
	d, err := c.Prepare(t.Context(), "", sql)
	if err != nil {
		t.Fatalf("%v\nin: %.300s", err, sql)
	}
	var cols []Column
	oids := []uint32{}
	for _, f := range d.Fields {
		col := Column{Name: f.Name, OID: f.DataTypeOID, Typmod: f.TypeModifier}
		if f.TableOID != 0 && f.TableAttributeNumber > 0 {
			err := c.QueryRow(t.Context(), "SELECT attndims FROM pg_attribute WHERE attrelid = $1 AND attnum = $2", f.TableOID, f.TableAttributeNumber).Scan(&col.Dims)
			if err != nil {
				t.Fatal(err)
			}
		}
		cols = append(cols, col)
		oids = append(oids, f.DataTypeOID)
	}
	rows, err := c.Query(t.Context(), CatalogQuery, oids)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[CatalogRow])
	if err != nil {
		t.Fatal(err)
	}
	cat, err := NewCatalog(found)
	if err != nil {
		t.Fatal(err)
	}
	return cat, cols
}

// copyOut is the COPY stream of a query for a plan.
func copyOut(t testing.TB, c *pgx.Conn, p *Plan, sql string) []byte {
	t.Helper()
	var exprs []string
	for i := range p.Columns {
		exprs = append(exprs, p.SelectExpr(i, pgx.Identifier{p.Columns[i].Name}.Sanitize()))
	}
	var buf bytes.Buffer
	stmt := fmt.Sprintf("COPY (SELECT %s FROM (%s) AS q) TO STDOUT (FORMAT %s)", strings.Join(exprs, ", "), sql, p.Transport)
	if _, err := c.PgConn().CopyTo(t.Context(), &buf, stmt); err != nil {
		t.Fatalf("%v\nin: %.300s", err, stmt)
	}
	return buf.Bytes()
}

// both decodes a query by both transports, compares the batches and gives the plan and batches of the binary one.
func both(t testing.TB, c *pgx.Conn, sql string, opt Options) (*Plan, []*column.Batch) {
	t.Helper()
	cat, cols := describe(t, c, sql)
	opt.ServerVersion = version(t, c)
	var plans [2]*Plan
	var batches [2][]*column.Batch
	for i, tr := range []Transport{CSV, Binary} {
		p, err := NewPlan(cat, cols, opt, tr)
		if err != nil {
			t.Fatal(err)
		}
		b, err := collect(p, DecoderOptions{BatchRows: 37}, copyOut(t, c, p, sql), nil)
		if err != nil {
			t.Fatalf("%s: %v", tr, err)
		}
		plans[i], batches[i] = p, b
	}
	sameBatches(t, plans[0], batches[0], batches[1])
	if !plans[0].Schema.Equal(plans[1].Schema) {
		t.Errorf("the transports' schemas differ:\n%s\n%s", plans[0].Schema, plans[1].Schema)
	}
	return plans[1], batches[1]
}

// compare decodes a query by both transports and compares every value with the server's own text.
func compare(t testing.TB, c *pgx.Conn, sql string, opt Options) {
	t.Helper()
	p, batches := both(t, c, sql, opt)
	want := texts(t, c, sql)
	row := 0
	for _, b := range batches {
		for _, r := range newUnbatch(p, b).rows() {
			if row >= len(want) {
				t.Fatalf("more rows than the server's %d", len(want))
			}
			for i, v := range r {
				w := want[row][i]
				if v.null != (w == nil) {
					t.Errorf("row %d, column %s (%s): null %v, the server has %q", row, p.Columns[i].Name, p.Columns[i].Postgres, v.null, w)
				} else if w != nil {
					if got := pgText(p.nodes[i], v); got != string(w) {
						t.Errorf("row %d, column %s (%s): got %.500q, the server has %.500q", row, p.Columns[i].Name, p.Columns[i].Postgres, got, w)
					}
				}
			}
			row++
		}
	}
	if row != len(want) {
		t.Errorf("%d rows, the server has %d", row, len(want))
	}
}
