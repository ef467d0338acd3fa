// Package data holds the data sets of the demo, the benchmark and the tests as SQL. Each script also runs by psql:
//
//	psql -X -v rows=1000000 -f bench/data/mpc_sbn.sql "service=..."
package data

import (
	"embed"
	"fmt"
	"strconv"
	"strings"
)

//go:embed *.sql
var scripts embed.FS

// MPC is SQL that makes tables shaped like those of the Minor Planet Center's replicated database mpc_sbn, with invented values:
// obs_sbn with that many rows (about 500 bytes each), and MPCTables' others with some hundred times fewer, at least 1,000. The same rows
// number gives the same rows in the same order. Existing tables of these names are dropped.
//
// The text holds several statements: send it by the simple query protocol, such as pgx's conn.PgConn().Exec.
func MPC(rows int64) string { return script("mpc_sbn.sql", rows) }

// MPCTables are the tables that MPC makes, the large one first.
var MPCTables = []string{"obs_sbn", "mpc_orbits", "current_identifications", "numbered_identifications", "primary_objects"}

// DIA is SQL that makes the table dia_source with that many rows, shaped like a difference-image source catalog: ids, 40 floats (2 % NaN)
// and 12 flags, no text. Like MPC otherwise.
func DIA(rows int64) string { return script("dia_source.sql", rows) }

// script makes plain SQL of a psql script: without psql's own commands, which stand on lines of their own, and with the number put in.
func script(name string, rows int64) string {
	text, err := scripts.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("bench/data lacks %s", name)) // it is compiled in
	}
	var sql strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, `\`) {
			sql.WriteString(line)
		}
	}
	return strings.ReplaceAll(sql.String(), ":rows", strconv.FormatInt(rows, 10))
}
