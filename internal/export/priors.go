package export

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"fast-export/chunker"
	"fast-export/internal/column"
	"fast-export/parquetw"
)

// A role may be barred from pg_stats; asking nevertheless would end the snapshot's transaction.
const statsVisible = `SELECT pg_catalog.has_table_privilege('pg_catalog.pg_stats', 'SELECT')`

// statsQuery reads what the last ANALYZE found in relations: with what inherits from them where that is known. These rows
// are versioned as all others, so that they are the snapshot's; the view leaves out what the role may not read. The fence
// (OFFSET 0) has the view asked by name, relation by relation: joined, it would be made for the whole database first.
const statsQuery = `
SELECT DISTINCT ON (a.attrelid, a.attnum) a.attrelid, a.attnum, s.n_distinct, s.null_frac, s.avg_width
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	CROSS JOIN LATERAL (
		SELECT * FROM pg_catalog.pg_stats st WHERE st.schemaname = n.nspname AND st.tablename = c.relname OFFSET 0
	) s
	JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname
WHERE c.oid = ANY ($1)
ORDER BY a.attrelid, a.attnum, s.inherited DESC`

// statKey is a column of a relation.
type statKey struct {
	relation uint32
	attnum   int16
}

// readStats gives what the server's statistics say of the columns of relations. conn must be inside the snapshot's transaction.
func readStats(ctx context.Context, conn *pgx.Conn, relations []uint32) (map[statKey]parquetw.Prior, error) {
	known := map[statKey]parquetw.Prior{}
	if len(relations) == 0 {
		return known, nil
	}
	var visible bool
	if err := conn.QueryRow(ctx, statsVisible).Scan(&visible); err != nil {
		return nil, fmt.Errorf("read the tables' statistics: %w", err)
	}
	if !visible {
		return known, nil
	}
	rows, err := conn.Query(ctx, statsQuery, relations)
	if err != nil {
		return nil, fmt.Errorf("read the tables' statistics: %w", err)
	}
	var k statKey
	var distinct, nulls float32
	var width int32
	if _, err := pgx.ForEachRow(rows, []any{&k.relation, &k.attnum, &distinct, &nulls, &width}, func() error {
		known[k] = prior(float64(distinct), float64(nulls), float64(width))
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read the tables' statistics: %w", err)
	}
	return known, nil
}

// statRelations are the relations whose statistics say something of the job's leaves.
func (j *job) statRelations() []uint32 {
	if !slices.Contains(j.encodings, parquetw.Auto) {
		return nil
	}
	var out []uint32
	for _, c := range j.plan.Columns {
		if c.Relation != 0 && !slices.Contains(out, c.Relation) {
			out = append(out, c.Relation)
		}
	}
	return out
}

// priors are what is known of the leaves of columns that are a relation's own; nil where that is nothing.
func priors(known map[statKey]parquetw.Prior, cols []chunker.ResultColumn, leaves []column.Leaf) []parquetw.Prior {
	if len(known) == 0 {
		return nil
	}
	parts := make([]int, len(cols)) // leaves of a column
	for _, l := range leaves {
		parts[l.Column]++
	}
	out := make([]parquetw.Prior, len(leaves))
	for i, l := range leaves {
		if c := cols[l.Column]; c.Relation != 0 && parts[l.Column] == 1 && l.Flat() {
			out[i] = known[statKey{c.Relation, c.Attnum}]
		}
	}
	return out
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
