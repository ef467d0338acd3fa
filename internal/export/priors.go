package export

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"fast-export/chunker"
	"fast-export/internal/column"
	"fast-export/parquetw"
)

// A role may be barred from pg_stats; asking nevertheless would end the snapshot's transaction.
const statsVisible = `SELECT pg_catalog.has_table_privilege('pg_catalog.pg_stats', 'SELECT')`

// statsQuery reads what the last ANALYZE found in a relation: with what inherits from it where that is known. These rows
// are versioned as all others, so that they are the snapshot's; the view leaves out what the role may not read.
const statsQuery = `
SELECT DISTINCT ON (a.attnum) a.attnum, s.n_distinct, s.null_frac, s.avg_width
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
	JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
WHERE c.oid = $1
ORDER BY a.attnum, s.inherited DESC`

// priors are what the server's statistics say of the leaves of columns that are a relation's own; nil where they say nothing.
//
// conn must be inside the snapshot's transaction.
func priors(ctx context.Context, conn *pgx.Conn, cols []chunker.ResultColumn, leaves []column.Leaf) ([]parquetw.Prior, error) {
	var visible bool
	if err := conn.QueryRow(ctx, statsVisible).Scan(&visible); err != nil {
		return nil, fmt.Errorf("read the table's statistics: %w", err)
	}
	if !visible {
		return nil, nil
	}
	parts := make([]int, len(cols)) // leaves of a column
	for _, l := range leaves {
		parts[l.Column]++
	}
	type key struct {
		rel    uint32
		attnum int16
	}
	known := map[key]parquetw.Prior{}
	asked := map[uint32]bool{}
	out := make([]parquetw.Prior, len(leaves))
	for i, l := range leaves {
		c := cols[l.Column]
		if c.Relation == 0 || parts[l.Column] != 1 || !l.Flat() {
			continue
		}
		if !asked[c.Relation] {
			asked[c.Relation] = true
			rows, err := conn.Query(ctx, statsQuery, c.Relation)
			if err != nil {
				return nil, fmt.Errorf("read the table's statistics: %w", err)
			}
			var attnum int16
			var distinct, nulls float32
			var width int32
			if _, err := pgx.ForEachRow(rows, []any{&attnum, &distinct, &nulls, &width}, func() error {
				known[key{c.Relation, attnum}] = prior(float64(distinct), float64(nulls), float64(width))
				return nil
			}); err != nil {
				return nil, fmt.Errorf("read the table's statistics: %w", err)
			}
		}
		out[i] = known[key{c.Relation, c.Attnum}]
	}
	return out, nil
}

// prior is what a row of pg_stats means.
// Source: the manual's "pg_stats": below 0, n_distinct is minus the distinct values divided by the rows, those with NULL too.
func prior(distinct, nulls, width float64) parquetw.Prior {
	p := parquetw.Prior{Distinct: distinct, Present: 1 - nulls, Bytes: max(0, width-1)} // a short value has a byte of header
	if p.Present <= 0 {
		return parquetw.Prior{}
	}
	if distinct < 0 {
		p.Distinct = max(-1, distinct/p.Present)
	}
	return p
}
