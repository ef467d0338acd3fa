package chunker

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// CutBy is what a user wants the chunks to be ranges of.
type CutBy uint8

const (
	// CutAny leaves it to the planner: by blocks where that is possible.
	CutAny CutBy = iota
	// CutCTID is by blocks.
	CutCTID
	// CutColumn is by the values of a column.
	CutColumn
	// CutNone is one chunk.
	CutNone
)

// Hint says how a request is to be cut. The zero value leaves it to the
// planner. At most one of Bytes, Count and Bounds is set; CutNone has none of
// them, and only CutColumn has Bounds.
type Hint struct {
	By     CutBy
	Column string // for CutColumn, as SQL writes it
	Bytes  int64  // heap and TOAST of a chunk, in place of Options.ChunkBytes
	Count  int    // number of chunks, about
	// Bounds are ascending cut points, in the text form of the column's type.
	// A bound belongs to the range above it; the first and the last range are
	// open, so that no row is left out.
	Bounds []string
}

// check looks at what needs no server.
func (h Hint) check() error {
	bad := func(reason string) error { return &StatementError{Field: FieldChunk, Reason: reason} }
	given := 0
	for _, yes := range []bool{h.Bytes != 0, h.Count != 0, h.Bounds != nil} {
		if yes {
			given++
		}
	}
	switch {
	case h.Bytes < 0 || h.Count < 0:
		return bad("the size or number of chunks is negative")
	case given > 1:
		return bad("choose one of size, count and bounds")
	case h.By == CutNone && given > 0:
		return bad("one chunk has neither size, count nor bounds")
	case h.Bounds != nil && h.By != CutColumn:
		return bad("bounds are values of a column, and none is named")
	case h.By != CutColumn && h.Column != "":
		return bad("a column is named, but the chunks are not by column")
	case h.By == CutColumn:
		if _, ok := parseIdentifier(h.Column); !ok {
			return bad(fmt.Sprintf("%q is no column name", h.Column))
		}
	}
	return nil
}

// chunkable are the types whose ranges can be chunks, by their names in
// pg_catalog: those with a total order that comparison operators follow.
// interpolate says whether values between two others can be computed.
var chunkable = map[string]struct{ interpolate bool }{
	"int2": {true}, "int4": {true}, "int8": {true}, "oid": {true}, "numeric": {true}, "float4": {true}, "float8": {true},
	"date": {true}, "timestamp": {true}, "timestamptz": {true}, "uuid": {true},
	"text": {}, "varchar": {}, "bpchar": {}, "name": {},
}

// cutColumn is the column that chunks are ranges of.
type cutColumn struct {
	Name      string
	Type      string // of the values compared: the type under a domain, in pg_catalog or not at all
	Collation string // qualified and quoted, "" for a type without
	Attnum    int
	NotNull   bool // as the catalog says of this relation alone
}

const cutColumnQuery = `
WITH RECURSIVE base AS (
  SELECT a.attname, a.attnum, a.attnotnull, a.attcollation, a.atttypid AS oid, 0 AS level
  FROM pg_catalog.pg_attribute a
  WHERE a.attrelid = $1::pg_catalog.text::pg_catalog.oid AND a.attname = $2::pg_catalog.text::pg_catalog.name AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attname, b.attnum, b.attnotnull, b.attcollation, t.typbasetype, b.level + 1
  FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid AND t.typtype = 'd'
)
SELECT b.attname::pg_catalog.text, CASE WHEN t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace THEN t.typname::pg_catalog.text ELSE pg_catalog.format_type(t.oid, NULL) END,
       coalesce((SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname)
                 FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = b.attcollation), ''),
       b.attnum::pg_catalog.int4, b.attnotnull
FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid
ORDER BY b.level DESC LIMIT 1`

// typed is v as a constant of the column's type.
func (c *cutColumn) typed(v string) string { return literal(v) + "::pg_catalog." + quote(c.Type) }

// within is the condition of range i of those that bounds make, where alias is
// the relation's. The range after the last is that of the NULLs.
func (c *cutColumn) within(alias string, bounds []string, i int64) string {
	col := quote(alias) + "." + quote(c.Name)
	if i > int64(len(bounds)) {
		return col + " IS NULL"
	}
	var parts []string
	if i > 0 {
		parts = append(parts, col+" OPERATOR(pg_catalog.>=) "+c.typed(bounds[i-1]))
	}
	if i < int64(len(bounds)) {
		parts = append(parts, col+" OPERATOR(pg_catalog.<) "+c.typed(bounds[i]))
	}
	return strings.Join(parts, " AND ")
}

// resolveHint checks a hint against the relation.
func (t *Target) resolveHint(ctx context.Context, q Querier) error {
	h := t.req.Chunk
	if h.By != CutColumn {
		return nil
	}
	if t.Shape != Relation && t.Shape != PlainScan {
		why := t.Why
		if why == "" {
			why = "it has {chunk}"
		}
		return &StatementError{
			Field: FieldChunk, Text: h.Column, Reason: "only a table, a view or a plain scan of one can be cut by a column: " + why,
			Hint: "make the statement a view and cut that",
		}
	}
	all, err := readColumns(ctx, q, t.Relation.OID)
	if err != nil {
		return err
	}
	name, _ := parseIdentifier(h.Column)
	i := slices.IndexFunc(all, func(c column) bool { return c.Name == name && c.Attnum > 0 })
	if i < 0 {
		return &NotFoundError{Field: FieldChunk, What: "column", Name: h.Column, Relation: t.Relation.String(), Hint: columnHint(all, name)}
	}
	if !all[i].MayRead {
		return &PermissionError{Relation: t.Relation.String(), Columns: []string{display(name)}, Hint: "chunks by a column need a grant on it"}
	}
	c, err := readCutColumn(ctx, q, t.Relation, name)
	if err != nil || len(h.Bounds) == 0 {
		return err
	}
	_, err = canonicalBounds(ctx, q, c, h.Bounds)
	return err
}

func readCutColumn(ctx context.Context, q Querier, r RelationRef, name string) (*cutColumn, error) {
	found, err := collect(ctx, q, cutColumnQuery, pgx.RowToStructByPos[cutColumn], fmt.Sprint(r.OID), name)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &ChangedError{Relation: r.String(), Reason: fmt.Sprintf("column %s was dropped", display(name))}
	}
	if _, ok := chunkable[found[0].Type]; !ok {
		return nil, &StatementError{
			Field: FieldChunk, Text: name, Reason: fmt.Sprintf("column %s is of type %s, which chunks cannot be ranges of", display(name), found[0].Type),
			Hint: "choose a column of an integer, numeric, float, date, timestamp, uuid, text or oid type",
		}
	}
	return &found[0], nil
}

// canonicalBounds lets the server read the bounds, check that they ascend by
// its own comparison, and write them in a form that every session reads alike.
func canonicalBounds(ctx context.Context, q Querier, c *cutColumn, bounds []string) ([]string, error) {
	bad := func(reason string, err error) error {
		return &StatementError{Field: FieldChunk, Text: strings.Join(bounds, ", "), Reason: reason, Err: err}
	}
	collate := ""
	if c.Collation != "" {
		collate = " COLLATE " + c.Collation
	}
	sql := fmt.Sprintf(`SELECT v::pg_catalog.text, coalesce(pg_catalog.lag(v) OVER (ORDER BY n) OPERATOR(pg_catalog.<) v%s, true)
		FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.%s[]) WITH ORDINALITY u(v, n) ORDER BY n`, collate, quote(c.Type))
	var out []string
	after := ""
	_, err := collect(ctx, q, sql, func(row pgx.CollectableRow) (struct{}, error) {
		var v string
		var ascends bool
		if err := row.Scan(&v, &ascends); err != nil {
			return struct{}{}, err
		}
		if !ascends && after == "" {
			after = v
		}
		out = append(out, v)
		return struct{}{}, nil
	}, textArray(bounds))
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "42")):
		return nil, bad("a bound is wrong: "+pg.Message, err)
	case err != nil:
		return nil, err
	case after != "":
		return nil, bad(fmt.Sprintf("bounds must ascend, and %s is not above the one before it", literal(after)), nil)
	}
	return out, nil
}

// byColumn plans a relation in ranges of a column's values. If that cannot be,
// whole says why, and nothing is planned.
func (p *Plan) byColumn(ctx context.Context, q Querier, tree []facts, columns []column, use *usage) (whole string, err error) {
	t := p.Target
	h := t.req.Chunk
	root := &tree[0]
	if whole, err = p.unrepeatable(ctx, q, root, columns, use); err != nil || whole != "" {
		return whole, err
	}
	name, _ := parseIdentifier(h.Column)
	c, err := readCutColumn(ctx, q, t.Relation, name)
	if err != nil {
		return "", err
	}
	// Bounds travel as text: in a form that every session reads alike.
	if err := set(ctx, q, "DateStyle", "ISO", "TimeZone", "UTC", "extra_float_digits", "3"); err != nil {
		return "", err
	}
	if err := p.settings(ctx, q, ByColumn); err != nil {
		return "", err
	}
	statement := selectFrom([]string{p.list}, t.scan != nil && t.scan.only, t.Relation, t.alias, t.where)
	plan, err := explain(ctx, q, statement)
	if err != nil {
		return "", p.refused(err)
	}
	p.estimate(plan)
	src := Source{Relation: root.ref(), Scan: ByColumn, EstRows: rows(plan.Rows), members: memberOIDs(tree)}
	for i := range tree {
		src.HeapBytes += tree[i].HeapBytes
		src.ToastBytes += tree[i].ToastBytes
	}
	src.Pages = src.HeapBytes / p.server.BlockSize
	bounds := h.Bounds
	if bounds == nil {
		if bounds, err = p.findBounds(ctx, q, c, columnChunks(h, src.HeapBytes+src.ToastBytes)); err != nil {
			return "", err
		}
	}
	if bounds, err = canonicalBounds(ctx, q, c, bounds); err != nil {
		return "", err
	}
	if len(bounds) == 0 {
		return fmt.Sprintf("column %s has too few values to cut by", display(name)), nil
	}
	notNull, err := collect(ctx, q, notNullQuery, pgx.RowTo[string], oidArray(src.members))
	if err != nil {
		return "", err
	}
	p.column, p.bounds = c, bounds
	src.chunks = int64(len(bounds)) + 1
	if len(src.members) == 0 || !slices.Contains(notNull, c.Name) {
		src.chunks++ // that of the NULLs
	}
	if why, err := p.extension(ctx, q, tree); err != nil {
		return "", err
	} else if why == "" {
		p.order = ctidOrder(tree, columns, t.alias)
	}
	if root.kind() == ForeignTable {
		p.warn("a row of %s whose %s changes while it is read may be missing or there twice", root.ref(), display(name))
	}
	p.Sources = []Source{src}
	return "", p.warnIndex(ctx, q, tree, c)
}

// columnChunks is the number of ranges to make. It depends on the hint and the
// relation alone, not on how many connections read or how large their chunks
// are elsewhere: the order of the output goes by the ranges.
func columnChunks(h Hint, bytes int64) int64 {
	switch {
	case h.Count > 0:
		return int64(h.Count)
	case bytes == 0:
		return minColumnChunks // of what has no size here
	case h.Bytes > 0:
		return min(max((bytes+h.Bytes-1)/h.Bytes, 1), maxColumnChunks)
	}
	return min(max(bytes/maxChunkBytes, minColumnChunks), maxColumnChunks)
}

// minColumnChunks is how many ranges there are when nothing else tells.
const minColumnChunks = 16

// maxColumnChunks bounds the number of ranges that a size asks for: each has a
// bound in memory.
const maxColumnChunks = 100_000

// memberOIDs are the tables that a tree's rows are in, nil if they are not all
// tables of this server.
func memberOIDs(tree []facts) []uint32 {
	var oids []uint32
	for i := range tree {
		switch tree[i].kind() {
		case PartitionedTable:
		case Table:
			if tree[i].Persistence != "t" {
				oids = append(oids, tree[i].OID)
			}
		default:
			return nil
		}
	}
	return oids
}

// ctidOrder is an ORDER BY that makes the order of a range's rows that of a
// scan of each table, whatever plan finds them. "" if they have none.
func ctidOrder(tree []facts, columns []column, alias string) string {
	for i := range tree {
		f := &tree[i]
		switch {
		case f.kind() == PartitionedTable:
		case (f.kind() == Table || f.kind() == MaterializedView) && f.AccessMethod == "heap":
		default:
			return ""
		}
	}
	if !mayRead(columns, "ctid") {
		return ""
	}
	order := " ORDER BY "
	if len(tree) > 1 {
		if !mayRead(columns, "tableoid") {
			return ""
		}
		order += quote(alias) + ".tableoid, "
	}
	return order + quote(alias) + ".ctid"
}

const indexedQuery = `
SELECT pg_catalog.count(*) FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[]) r(oid)
WHERE NOT EXISTS (
  SELECT FROM pg_catalog.pg_index i
       JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
       JOIN pg_catalog.pg_class k ON k.oid = i.indexrelid
       JOIN pg_catalog.pg_am m ON m.oid = k.relam
  WHERE i.indrelid = r.oid AND i.indisvalid AND i.indpred IS NULL AND m.amname IN ('btree', 'brin') AND a.attname = $2::pg_catalog.text::pg_catalog.name)`

// warnIndex warns when no index finds a range's rows.
func (p *Plan) warnIndex(ctx context.Context, q Querier, tree []facts, c *cutColumn) error {
	var oids []uint32
	for i := range tree {
		if k := tree[i].kind(); k == Table || k == MaterializedView {
			oids = append(oids, tree[i].OID)
		}
	}
	n, err := one(ctx, q, indexedQuery, pgx.RowTo[int64], oidArray(oids), c.Name)
	if err == nil && n > 0 {
		p.warn("no index of %s begins with column %s: each range may read all of it", p.Target.Relation, display(c.Name))
	}
	return err
}

const histogramQuery = `
SELECT s.histogram_bounds::pg_catalog.text FROM pg_catalog.pg_stats s
WHERE s.schemaname = $1::pg_catalog.text AND s.tablename = $2::pg_catalog.text AND s.attname = $3::pg_catalog.text AND s.histogram_bounds IS NOT NULL
ORDER BY s.inherited DESC LIMIT 1`

// findBounds chooses cut points for about n ranges: from the histogram of the
// column's statistics if there is one, else between its least and greatest
// value, else, for a type that cannot be computed with, from its values.
func (p *Plan) findBounds(ctx context.Context, q Querier, c *cutColumn, n int64) ([]string, error) {
	if n < 2 {
		return nil, nil
	}
	t := p.Target
	found, err := collect(ctx, q, histogramQuery, pgx.RowTo[string], t.Relation.Schema, t.Relation.Name, c.Name)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 {
		values, err := collect(ctx, q, "SELECT v::pg_catalog.text FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog."+quote(c.Type)+"[]) WITH ORDINALITY u(v, n) ORDER BY n",
			pgx.RowTo[string], found[0])
		if err != nil {
			return nil, err
		}
		return p.distinct(ctx, q, c, pick(values, n))
	}
	from := "FROM "
	if t.scan != nil && t.scan.only {
		from += "ONLY "
	}
	from += t.Relation.Ident() + " AS " + quote(t.alias)
	where := t.where
	if where == "" {
		where = "true"
	}
	col := quote(t.alias) + "." + quote(c.Name)
	var fractions []string
	for i := int64(1); i < n; i++ {
		fractions = append(fractions, fmt.Sprintf("%d", i))
	}
	if !chunkable[c.Type].interpolate {
		sql := fmt.Sprintf("SELECT pg_catalog.percentile_disc(ARRAY(SELECT f::pg_catalog.float8 / %d FROM pg_catalog.generate_series(1, %d) f)) WITHIN GROUP (ORDER BY %s)::pg_catalog.text[] %s WHERE (%s) AND %s IS NOT NULL",
			n, n-1, col, from, where, col)
		p.warn("column %s has no histogram: its values were read to cut by; ANALYZE makes one", display(c.Name))
		values, err := one(ctx, q, "SELECT coalesce(pg_catalog.array_to_json(v), '[]')::pg_catalog.text FROM ("+sql+") s(v)", pgx.RowTo[string])
		if err != nil {
			return nil, p.refused(err)
		}
		list, err := jsonTexts(values)
		if err != nil {
			return nil, err
		}
		return p.distinct(ctx, q, c, list)
	}
	lo, hi, err := p.extremes(ctx, q, c, col, from, where)
	if err != nil || lo == "" {
		return nil, err
	}
	if c.Type == "uuid" {
		return betweenUUIDs(lo, hi, n)
	}
	return p.distinct(ctx, q, c, nil, between(c, lo, hi, strings.Join(fractions, ","), n))
}

// pick takes n-1 values that divide a histogram evenly, its ends left out.
func pick(values []string, n int64) []string {
	var out []string
	last := int64(len(values) - 1)
	for i := int64(1); i < n; i++ {
		if k := i * last / n; k > 0 && k < last && (len(out) == 0 || k != (i-1)*last/n) {
			out = append(out, values[k])
		}
	}
	return out
}

// distinct sorts cut points by the server's comparison and drops doubles. They
// are values, or what the expression in from gives.
func (p *Plan) distinct(ctx context.Context, q Querier, c *cutColumn, values []string, from ...string) ([]string, error) {
	source := "pg_catalog.unnest($1::pg_catalog.text::pg_catalog." + quote(c.Type) + "[])"
	args := []any{textArray(values)}
	if len(from) == 1 {
		source, args = from[0], nil
	}
	collate := ""
	if c.Collation != "" {
		collate = " COLLATE " + c.Collation
	}
	// DISTINCT by the order's own equality: a collation may take different
	// texts for equal. The text must not be called v too, or ORDER BY means it.
	sql := fmt.Sprintf("SELECT s.v::pg_catalog.text AS bound FROM (SELECT DISTINCT ON (u.v%s) u.v FROM %s u(v) WHERE u.v IS NOT NULL ORDER BY u.v%s) s ORDER BY s.v%s", collate, source, collate, collate)
	return collect(ctx, q, sql, pgx.RowTo[string], args...)
}

// extremes reads the column's least and greatest finite value, as text; "" if
// there is none.
func (p *Plan) extremes(ctx context.Context, q Querier, c *cutColumn, col, from, where string) (lo, hi string, err error) {
	finite := col + " IS NOT NULL"
	switch c.Type {
	case "date", "timestamp", "timestamptz":
		finite = "pg_catalog.isfinite(" + col + ")"
	case "float4", "float8":
		finite = fmt.Sprintf("%s > '-Infinity' AND %s < 'Infinity'", col, col)
	case "numeric": // the infinities came with 14; NaN is above all
		finite = col + " < 'NaN'"
		if p.server.Version >= 140000 {
			finite = fmt.Sprintf("%s > '-Infinity' AND %s < 'Infinity'", col, col)
		}
	}
	end := func(direction string) (string, error) {
		sql := fmt.Sprintf("SELECT %s::pg_catalog.text %s WHERE (%s) AND %s ORDER BY %s %s LIMIT 1", col, from, where, finite, col, direction)
		found, err := collect(ctx, q, sql, pgx.RowTo[string])
		if err != nil || len(found) == 0 {
			return "", err
		}
		return found[0], nil
	}
	if lo, err = end("ASC"); err == nil && lo != "" {
		hi, err = end("DESC")
	}
	if err != nil {
		err = p.refused(err)
	}
	return lo, hi, err
}

// between is a subquery of the cut points between two values.
func between(c *cutColumn, lo, hi, fractions string, n int64) string {
	a, b := c.typed(lo), c.typed(hi)
	f := fmt.Sprintf("pg_catalog.unnest('{%s}'::pg_catalog.int8[]) f", fractions)
	switch c.Type {
	case "int2", "int4", "int8", "oid":
		// As numeric: the distance of two int8 may be too large for one.
		return fmt.Sprintf("(SELECT pg_catalog.ceil(%s::pg_catalog.text::pg_catalog.numeric + (%s::pg_catalog.text::pg_catalog.numeric - %s::pg_catalog.text::pg_catalog.numeric) * f / %d)::pg_catalog.text::pg_catalog.%s FROM %s)",
			a, b, a, n, quote(c.Type), f)
	case "numeric":
		return fmt.Sprintf("(SELECT %s + (%s - %s) * f / %d FROM %s)", a, b, a, n, f)
	case "float4", "float8":
		return fmt.Sprintf("(SELECT (%s::pg_catalog.float8 * (1 - f::pg_catalog.float8 / %d) + %s::pg_catalog.float8 * (f::pg_catalog.float8 / %d))::pg_catalog.%s FROM %s)", a, n, b, n, quote(c.Type), f)
	case "date":
		return fmt.Sprintf("(SELECT %s + ((%s - %s)::pg_catalog.int8 * f / %d)::pg_catalog.int4 FROM %s)", a, b, a, n, f)
	}
	return fmt.Sprintf("(SELECT %s + (%s - %s) * (f::pg_catalog.float8 / %d) FROM %s)", a, b, a, n, f)
}

// betweenUUIDs are the cut points between two uuids, compared as the server
// does, byte by byte.
func betweenUUIDs(lo, hi string, n int64) ([]string, error) {
	number := func(s string) (*big.Int, error) {
		v, ok := new(big.Int).SetString(strings.ReplaceAll(s, "-", ""), 16)
		if !ok {
			return nil, fmt.Errorf("uuid %q", s)
		}
		return v, nil
	}
	a, err := number(lo)
	if err != nil {
		return nil, err
	}
	b, err := number(hi)
	if err != nil {
		return nil, err
	}
	b.Sub(b, a)
	var out []string
	for i := int64(1); i < n; i++ {
		v := new(big.Int).Mul(b, big.NewInt(i))
		v.Add(v.Quo(v, big.NewInt(n)), a)
		s := fmt.Sprintf("%032x", v)
		s = s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
		if s != lo && (len(out) == 0 || out[len(out)-1] != s) {
			out = append(out, s)
		}
	}
	return out, nil
}
