package chunker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Options say how to cut. The zero value is one connection and chunks of a
// size that suits the relation.
type Options struct {
	// ChunkBytes is about how much heap and TOAST a chunk reads; 0 chooses by
	// size and, but for a statement with {chunk}, Parallel. A chunk has at least one page.
	ChunkBytes int64
	// Parallel is the number of connections that will read, at least 1.
	Parallel int
	// Part, if not 0, leaves out all but this part of the blocks of every
	// relation that is cut by blocks, from its first block on: for whoever
	// measures and wants no whole picture. The blocks do not depend on the
	// other options. Plan.Sampled tells whether it could be done.
	Part float64
	// Blocks, beside Part, are how many of its blocks a relation gives, by OID, in
	// place of the part: as many as an earlier plan had, whatever has been added
	// since.
	Blocks map[uint32]int64
	// Catalog is what is known already in the same transaction, nil for nothing.
	// It is added to.
	Catalog *Catalog
}

// Plan says how to read a target: its chunks in the order of the output, and
// what their rows look like. It is immutable and safe for concurrent use.
type Plan struct {
	Target *Target
	// Kind is what is read, in the manual's words: "table", "view", "statement".
	Kind string
	// Why says for people how it is cut, or why it is not.
	Why string
	// Sources are in the order of the output.
	Sources []Source
	// Columns are the result columns.
	Columns []ResultColumn
	// Pages, HeapBytes and ToastBytes are sums over the sources; 0 where the
	// server reads what has no size, as in a view or a join.
	Pages, HeapBytes, ToastBytes int64
	// EstRows and EstBytes are the server's estimate of the result.
	EstRows, EstBytes int64
	// CacheBytes is how much goes through the server's shared_buffers and may
	// push other pages out of them. A sequential scan of a large table does
	// not: it keeps to a small ring.
	CacheBytes int64
	// Warnings are sentences for the user.
	Warnings []string
	// Sampled is true if Options.Part was asked for and every source could be
	// cut down to it; sizes and estimates are those of the part then.
	Sampled bool

	options Options
	server  serverFacts
	list    string // select list of a plain scan, stars expanded
	direct  bool   // expressions can stand in the list itself

	set    bool       // the planner's settings were changed
	column *cutColumn // what ByColumn ranges are of
	bounds []string   // their cut points
	order  string     // ORDER BY within each of them

	called []uint32 // OIDs of users' functions that its rows may depend on
}

// ResultColumn is one column of the result.
type ResultColumn struct {
	Name string
	// Type and Typmod are the column's own: a domain where the server's
	// description of a result has the type under it.
	Type   uint32
	Typmod int32
	// sent and sentTypmod are those of the server's description.
	sent       uint32
	sentTypmod int32
	// Relation and Attnum say which column of a relation it is; 0 for an
	// expression.
	Relation uint32
	Attnum   int16
	// NotNull is true only if no row of the result can hold a NULL: the
	// column of every table that is read has a validated NOT NULL.
	NotNull bool
	// Dims is the declared number of array dimensions (attndims), 0 if unknown.
	Dims    int
	Comment string
}

// NewPlan measures a target's relations and cuts them into chunks. q is inside
// the snapshot's transaction, with every lock of the target held. It works in
// a savepoint, so that an error leaves the transaction usable.
//
// Errors: those of [Resolve], and *ChangedError when a relation is not what it
// was when the target was resolved.
func NewPlan(ctx context.Context, q Querier, t *Target, o Options) (*Plan, error) {
	o.Parallel = max(o.Parallel, 1)
	if o.ChunkBytes < 0 {
		return nil, fmt.Errorf("chunk size %d is negative", o.ChunkBytes)
	}
	if err := run(ctx, q, "SAVEPOINT plan"); err != nil {
		return nil, err
	}
	cat := o.Catalog
	if o.Catalog = nil; cat == nil {
		cat = newCatalog()
	}
	p := &Plan{Target: t, options: o}
	err := p.make(ctx, q, cat)
	for _, sql := range []string{"ROLLBACK TO SAVEPOINT plan", "RELEASE SAVEPOINT plan"} {
		if back := run(ctx, q, sql); back != nil {
			return nil, errors.Join(err, back)
		}
	}
	if err != nil {
		return nil, err
	}
	p.sum()
	return p, nil
}

func (p *Plan) make(ctx context.Context, q Querier, cat *Catalog) (err error) {
	t := p.Target
	// A parallel plan has no order, and not the nodes that we look for.
	if err := set(ctx, q, "standard_conforming_strings", "on", "max_parallel_workers_per_gather", "0"); err != nil {
		return err
	}
	if err := cat.readServer(ctx, q); err != nil {
		return err
	}
	p.server = *cat.server
	for _, r := range t.Lock {
		if r.Kind == ForeignTable {
			p.warn("foreign table %s is not part of the snapshot: its rows are those of the moment they are read", r)
		}
	}
	p.Warnings = append(p.Warnings, t.warnings...)
	if err := p.findCalled(ctx, q); err != nil {
		return err
	}
	switch t.Shape {
	case Opaque:
		p.Kind = "statement"
		err = p.own(ctx, q, RelationRef{}, t.Why)
	case Placeholder:
		err = p.placeholder(ctx, q)
	default:
		err = p.relation(ctx, q, cat)
	}
	if err != nil {
		return err
	}
	return p.describe(ctx, q, cat)
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// own makes the plan of a statement, or of a relation, that the server reads
// in its own way.
func (p *Plan) own(ctx context.Context, q Querier, r RelationRef, why string) error {
	if err := p.settings(ctx, q, Own); err != nil {
		return err
	}
	plan, err := explain(ctx, q, p.statement())
	if err != nil {
		return p.refused(err)
	}
	p.estimate(plan)
	p.Sources = []Source{{Relation: r, Scan: Own, Why: why, EstRows: rows(plan.Rows), chunks: 1}}
	return nil
}

// statement is the target's statement as one.
func (p *Plan) statement() string {
	t := p.Target
	if t.stmt != nil {
		return t.stmt.neutral()
	}
	return selectFrom([]string{p.list}, false, t.Relation, t.alias, t.where)
}

// refused says what it means that the server refuses what it took before.
func (p *Plan) refused(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case codeUndefinedTable, codeUndefinedColumn:
		name := p.Target.Relation.nameIfAny()
		if name == "" {
			name = "a relation of the statement"
		}
		return &ChangedError{Relation: name, Reason: pg.Message, Err: err}
	}
	return serverError(err, userText{field: FieldSQL})
}

func (p *Plan) settings(ctx context.Context, q Querier, k ScanKind) error {
	if k == Own && !p.set {
		return nil
	}
	p.set = true
	if k == Own {
		for _, s := range k.Settings() {
			if err := run(ctx, q, s); err != nil {
				return err
			}
		}
		return nil
	}
	var pairs []string
	for _, name := range scanSettings {
		pairs = append(pairs, name, k.value(name))
	}
	return set(ctx, q, pairs...)
}

func (p *Plan) estimate(plan *planNode) {
	p.EstRows, p.EstBytes = rows(plan.Rows), rows(plan.Rows*plan.Width)
}

func (p *Plan) tooOld() string {
	return fmt.Sprintf("server version %d has no TID range scans: they came with 14", p.server.Version/10000)
}

// rows turns a planner's number into an int64.
func rows(f float64) int64 {
	if f > math.MaxInt64/2 {
		return math.MaxInt64 / 2
	}
	return int64(f)
}

// relation plans a table, a view, a plain scan.
func (p *Plan) relation(ctx context.Context, q Querier, cat *Catalog) error {
	t := p.Target
	at := t.root()
	if err := cat.readTrees(ctx, q, []treeRoot{at}, true); err != nil {
		return err
	}
	tree := cat.trees[at]
	if len(tree) == 0 {
		return &ChangedError{Relation: t.Relation.String(), Reason: "it does not exist in the snapshot"}
	}
	root := &tree[0]
	p.Kind = root.kind().String()
	if err := root.check(p.server); err != nil {
		return err
	}
	if root.Now != root.OID || root.ref().Ident() != t.Relation.Ident() {
		return &ChangedError{Relation: t.Relation.String(), Reason: "the name stands for another relation"}
	}
	if root.kind() == Sequence {
		p.warn("sequence %s is not part of the snapshot: its row is that of the moment it is read", root.ref())
	}
	if root.RowSecurity && !t.req.RowSecurity {
		return rowSecurityError(ctx, q, []RelationRef{t.Relation}, nil)
	}
	if err := cat.readColumns(ctx, q, []uint32{root.OID}); err != nil {
		return err
	}
	columns := cat.columns[root.OID]
	use, err := p.makeList(columns)
	if err != nil {
		return err
	}
	whole := ""
	switch t.req.Chunk.By {
	case CutNone:
		whole = "one chunk was asked for"
	case CutColumn:
		if whole, err = p.byColumn(ctx, q, tree, columns, use); err != nil || whole == "" {
			return err
		}
	}
	if why, err := p.indivisible(ctx, q, tree, columns, use); err != nil {
		return err
	} else if whole == "" {
		whole = why
	}
	switch root.kind() {
	case View, ForeignTable, Sequence:
		return p.own(ctx, q, root.ref(), whole)
	}
	return p.members(ctx, q, tree, columns, use, whole)
}

// makeList writes the select list, and notes what a plain scan uses.
func (p *Plan) makeList(columns []column) (*usage, error) {
	t := p.Target
	types := columnTypes{}
	for _, c := range columns {
		types[c.Name] = c.Type
	}
	use := newUsage()
	if t.scan == nil {
		chosen, err := chooseColumns(columns, t.req.Columns, t.Relation)
		if err != nil {
			return nil, err
		}
		list := make([]string, len(chosen))
		for i, c := range chosen {
			list[i] = quote(t.alias) + "." + quote(c.Name)
		}
		p.list, p.direct = strings.Join(list, ", "), true
		if t.where != "" {
			tokens, err := lex(t.where)
			if err != nil {
				return nil, err
			}
			inspect(use, tokens, t.alias, types, inCondition)
		}
		return use, nil
	}
	var list []string
	tokens := t.scan.stmt.tokens
	for _, it := range t.scan.items {
		if it.star {
			for _, c := range columns {
				if c.Attnum > 0 {
					list = append(list, quote(t.alias)+"."+quote(c.Name))
				}
			}
			continue
		}
		list = append(list, t.scan.text(it.from, it.to))
		inspect(use, tokens[it.from:it.to], t.alias, types, inListItem)
	}
	p.list = strings.Join(list, ", ")
	inspect(use, tokens[t.scan.whereFrom:], t.alias, types, inCondition)
	return use, nil
}

// judgementOf is a judgement over the columns of one relation.
func judgementOf(columns []column) judgement {
	j := judgement{columns: columnTypes{}, types: knownTypes{}}
	j.add(columns)
	return j
}

// indivisible says what forbids to read a relation in pieces, whatever the
// pieces; "" if nothing does.
func (p *Plan) indivisible(ctx context.Context, q Querier, tree []facts, columns []column, use *usage) (string, error) {
	root := &tree[0]
	switch {
	case root.kind() == View:
		return "a view has no blocks of its own", nil
	case root.kind() == ForeignTable:
		return "a foreign table has no blocks here", nil
	case root.kind() == Sequence:
		return "a sequence is one row", nil
	case root.RowSecurity:
		return "row security filters it", nil
	case root.OID < firstUserOID:
		return "it is a system catalog", nil
	}
	if why, err := p.extension(ctx, q, tree); why != "" || err != nil {
		return why, err
	}
	return judge(ctx, q, use, judgementOf(columns))
}

const timescaleQuery = `
SELECT DISTINCT r.relname::pg_catalog.text
FROM _timescaledb_catalog.chunk k JOIN pg_catalog.pg_namespace n ON n.nspname = k.schema_name
     JOIN pg_catalog.pg_class r ON r.relnamespace = n.oid AND r.relname = k.table_name
WHERE k.compressed_chunk_id IS NOT NULL AND r.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[])
ORDER BY 1 LIMIT 1`

const citusQuery = `SELECT pg_catalog.count(*) FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid::pg_catalog.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[])`

// extension recognises tables that look like heaps and hold their rows
// elsewhere, by the catalogs of the extensions that make such tables.
func (p *Plan) extension(ctx context.Context, q Querier, tree []facts) (string, error) {
	oids := make([]uint32, len(tree))
	for i := range tree {
		oids[i] = tree[i].OID
	}
	if p.server.Timescale {
		names, err := collect(ctx, q, timescaleQuery, pgx.RowTo[string], oidArray(oids))
		if err != nil {
			return "", err
		}
		if len(names) > 0 {
			return "TimescaleDB holds some of its rows compressed (in " + names[0] + ")", nil
		}
	}
	if p.server.Citus {
		n, err := one(ctx, q, citusQuery, pgx.RowTo[int64], oidArray(oids))
		if err != nil {
			return "", err
		}
		if n > 0 {
			return "Citus holds its rows on other servers", nil
		}
	}
	return "", nil
}

// pages is a number of pages for people.
func pages(n int64) string {
	if n == 1 {
		return "1 page"
	}
	return fmt.Sprintf("%d pages", n)
}

// sum fills the totals and the explanation.
func (p *Plan) sum() {
	p.sampled()
	cut, small := 0, 0
	first := int64(0)
	for i := range p.Sources {
		s := &p.Sources[i]
		s.first = first
		first += s.chunks
		p.Pages += s.Pages
		p.HeapBytes += s.HeapBytes
		p.ToastBytes += s.ToastBytes
		switch {
		case s.Scan == TIDRange, s.Scan == Placed, s.Scan == ByColumn:
			cut++
			p.CacheBytes += s.HeapBytes + s.ToastBytes
		case s.Scan == Whole && s.HeapBytes > p.server.Buffers/4:
			p.CacheBytes += s.ToastBytes
		case s.Scan != Own:
			p.CacheBytes += s.HeapBytes + s.ToastBytes
		}
		if s.Scan == Whole && s.Why == "" {
			small++
		}
	}
	switch n := p.Len(); {
	case len(p.Sources) == 1 && cut == 1 && p.Sources[0].Scan == ByColumn:
		p.Why = fmt.Sprintf("split by column %s into %d ranges", display(p.column.Name), n)
	case len(p.Sources) == 1 && cut == 1 && p.Sources[0].Scan == Placed:
		p.Why = fmt.Sprintf("split by ctid of %s, where {chunk} stands, into %d chunks, each in the server's own order", display(p.Target.alias), n)
	case len(p.Sources) == 1 && cut == 1:
		p.Why = fmt.Sprintf("split by ctid into %d chunks", n)
	case len(p.Sources) == 1 && small == 1:
		p.Why = "one chunk: it has " + pages(p.Pages)
		if p.options.ChunkBytes > p.HeapBytes+p.ToastBytes && p.HeapBytes > maxChunkBytes {
			p.Why += ", which are no more than a chunk is to have"
		}
	case len(p.Sources) == 1:
		p.Why = "one chunk: " + p.Sources[0].Why
	case cut > 0:
		p.Why = fmt.Sprintf("split by partition and ctid into %d chunks of %d tables", n, len(p.Sources))
	default:
		p.Why = fmt.Sprintf("split by partition into %d chunks", n)
	}
}
