package chunker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"
)

// members plans a relation with rows of its own, table by table: itself, its
// partitions, or the members of its inheritance tree, in the order in which
// the server's own scan reads them. cannot says what forbids ranges of blocks.
func (p *Plan) members(ctx context.Context, q Querier, tree []facts, columns []column, use *usage, cannot string) error {
	t := p.Target
	root := &tree[0]
	only := t.scan != nil && t.scan.only
	if cannot == "" {
		var err error
		if cannot, err = p.computed(ctx, q, tree); err != nil {
			return err
		}
	}
	list := []string{p.list}
	lean := cannot == "" && p.alike(tree)
	if lean {
		list = nil // it would be told of for each of the members
	}
	statement := selectFrom(list, only, t.Relation, t.alias, t.where)

	// What the server does with the statement says which tables it reads, and
	// whether it does anything else.
	if err := p.settings(ctx, q, Whole); err != nil {
		return err
	}
	if t.scan != nil {
		if err := run(ctx, q, "SAVEPOINT whole"); err != nil {
			return err
		}
	}
	plan, err := explain(ctx, q, statement)
	if err != nil && t.scan != nil && !connectionLost(err) {
		// The server took the user's statement, so it is ours that is wrong.
		if back := run(ctx, q, "ROLLBACK TO SAVEPOINT whole"); back != nil {
			return back
		}
		return p.own(ctx, q, root.ref(), "it cannot be written with a range of blocks")
	}
	if err != nil {
		return p.refused(err)
	}
	scans, not := plan.projected().leafScans()
	if plan.Type == "Result" && len(plan.Plans) == 1 && not != "" {
		// A condition on no column decides about all rows at once; the rest is
		// a scan in its order.
		if _, why := plan.Plans[0].leafScans(); why == "" {
			p.estimate(plan)
			return p.wholeRoot(tree, plan, firstOf(cannot, "a condition decides about all rows at once"))
		}
	}
	switch {
	case not == "":
	case cannot != "":
		return p.own(ctx, q, root.ref(), cannot)
	case plan.Type == "Result" && len(plan.Plans) == 0:
		return p.own(ctx, q, root.ref(), "there is nothing to read")
	default:
		return p.own(ctx, q, root.ref(), "the server's plan has "+not)
	}
	p.estimate(plan)

	byName := map[string]*facts{}
	for i := range tree {
		byName[tree[i].ref().Ident()] = &tree[i]
	}
	var leaves []*facts
	var strange []RelationRef
	kept := scans[:0]
	for _, s := range scans {
		ident := RelationRef{Schema: s.Schema, Name: s.Relation}
		if f := byName[ident.Ident()]; f != nil {
			leaves = append(leaves, f)
			kept = append(kept, s)
		} else {
			strange = append(strange, ident)
		}
	}
	scans = kept
	if err := p.lostMembers(ctx, q, tree, leaves, only); err != nil {
		return err
	}
	whole := p.inseparable(tree, leaves, use, cannot)
	for _, r := range strange {
		if whole != "" { // reading the root would read it too
			return &ChangedError{Relation: t.Relation.String(), Reason: r.String() + " became a part of it after the snapshot"}
		}
		p.warn("%s became a part of %s after the snapshot and is left out", r, t.Relation)
	}
	if whole != "" {
		return p.wholeRoot(tree, plan, whole)
	}
	like := scans[0]
	if lean {
		largest := slices.MaxFunc(leaves, func(a, b *facts) int { return cmp.Compare(a.HeapBytes, b.HeapBytes) })
		if like, err = explain(ctx, q, selectFrom([]string{p.list}, true, largest.ref(), t.alias)); err != nil {
			return p.refused(err)
		}
		p.EstBytes = rows(plan.Rows * like.Width)
	}

	// The same plan with a range of blocks: a leaf that is then read by a TID
	// range scan, and by nothing else, can be cut.
	ranged := map[uint32]bool{}
	if cannot == "" && p.server.Version < tidRangeVersion {
		cannot = p.tooOld()
	}
	if cannot == "" && !mayRead(columns, "ctid") {
		cannot = "SELECT is not granted on the whole table, nor on its column ctid"
	}
	if cannot == "" {
		texts := append(append(append([]string(nil), plan.Output...), like.Output...), like.Filter)
		if cannot, err = p.deparsed(ctx, q, texts, like.Alias, columns); err != nil {
			return err
		}
	}
	switch {
	case cannot != "":
	case p.small(leaves):
		ranged[leaves[0].OID] = true // cut will see that it is one chunk, however it would be read
	default:
		if ranged, cannot, err = p.ranged(ctx, q, tree, leaves, byName); err != nil {
			return err
		}
	}
	var found map[uint32]*planNode
	if t.where != "" && mayRead(columns, "ctid") {
		if found, err = p.indexCosts(ctx, q, only, byName); err != nil {
			return err
		}
	}
	for i, f := range leaves {
		src := Source{
			Relation: f.ref(), Scan: Whole, EstRows: rows(scans[i].Rows), chunks: 1, only: true, members: memberOIDs([]facts{*f}),
			Pages: f.HeapBytes / p.server.BlockSize, HeapBytes: f.HeapBytes, ToastBytes: f.ToastBytes,
		}
		switch {
		case f.kind() == ForeignTable:
			src.Scan, src.Why = Own, "a foreign table has no blocks here"
		case f.AccessMethod != "heap":
			src.Why = fmt.Sprintf("its access method is %s, not heap", f.AccessMethod)
		case cannot != "":
			src.Why = cannot
		case !ranged[f.OID]:
			src.Why = "the server does not read it by a TID range scan"
		default:
			src.Scan = TIDRange
		}
		p.Sources = append(p.Sources, src)
	}
	p.cut()
	for i := range p.Sources {
		if leaves[i].AccessMethod == "heap" {
			p.useIndex(&p.Sources[i], scans[i], found[leaves[i].OID])
		}
	}
	return nil
}

// alike reports whether the rows of all of a tree's members are wanted as they are, so that what is true of one that has rows is true
// of every other.
func (p *Plan) alike(tree []facts) bool {
	if p.Target.scan != nil || p.Target.where != "" || len(tree) == 1 {
		return false
	}
	return !slices.ContainsFunc(tree, func(f facts) bool {
		return f.kind() != PartitionedTable && !f.heap() || !f.MayRead || f.RowSecurity
	})
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// mayRead reports whether a column may be read.
func mayRead(columns []column, name string) bool {
	i := slices.IndexFunc(columns, func(c column) bool { return c.Name == name })
	return i >= 0 && columns[i].MayRead
}

// lostMembers checks that the tables of the tree are all read: a partition
// that the snapshot has and the server no longer reads was detached, and its
// rows would be missing.
func (p *Plan) lostMembers(ctx context.Context, q Querier, tree []facts, leaves []*facts, only bool) error {
	if only || len(tree) == 1 {
		return nil
	}
	read := map[string]bool{}
	if p.Target.where == "" {
		for _, f := range leaves {
			read[f.ref().Ident()] = true
		}
	} else {
		// The condition may leave out partitions: look without it.
		all, err := explain(ctx, q, selectFrom(nil, false, p.Target.Relation, p.Target.alias))
		if err != nil {
			return p.refused(err)
		}
		all.walk(func(n *planNode) {
			read[RelationRef{Schema: n.Schema, Name: n.Relation}.Ident()] = true
		})
	}
	for i := range tree {
		// The server leaves out the temporary tables of other sessions.
		if f := &tree[i]; f.kind() != PartitionedTable && f.Persistence != "t" && !read[f.ref().Ident()] {
			return &ChangedError{Relation: p.Target.Relation.String(), Reason: f.ref().String() + " is no longer a part of it"}
		}
	}
	return nil
}

// inseparable says why the members of a tree cannot be read one by one, ""
// if they can: a member by itself asks for grants of its own, and has columns
// in an order of its own.
func (p *Plan) inseparable(tree []facts, leaves []*facts, use *usage, cannot string) string {
	if len(leaves) == 0 {
		return "it has no partitions"
	}
	if len(leaves) == 1 && leaves[0] == &tree[0] {
		return ""
	}
	if use.wholeRow || use.starInner {
		return "it uses whole rows, which differ from partition to partition"
	}
	if cannot != "" {
		return cannot
	}
	for _, f := range leaves {
		if !f.MayRead {
			return fmt.Sprintf("SELECT is not granted on %s itself", f.ref())
		}
		if f.RowSecurity {
			return fmt.Sprintf("%s has row security of its own", f.ref())
		}
	}
	return ""
}

// computedQuery counts the columns of the relations $1 that are computed when they are read.
const computedQuery = `SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND a.attgenerated = 'v' AND NOT a.attisdropped`

// computed says why the members of a tree cannot be read one by one where they have virtual generated columns: a member may compute its own in
// another way than a scan of the parent does. Such columns came with 18.
func (p *Plan) computed(ctx context.Context, q Querier, tree []facts) (string, error) {
	if len(tree) == 1 || p.server.Version < 180000 {
		return "", nil
	}
	n, err := one(ctx, q, computedQuery, pgx.RowTo[int64], oidArray(memberOIDs(tree)))
	if err != nil || n == 0 {
		return "", err
	}
	return "it has virtual generated columns, which a part of it may compute in another way", nil
}

// wholeRoot plans a tree as one chunk.
func (p *Plan) wholeRoot(tree []facts, plan *planNode, why string) error {
	s := Source{Relation: tree[0].ref(), Scan: Whole, Why: why, EstRows: rows(plan.Rows), chunks: 1, members: memberOIDs(tree)}
	for i := range tree {
		s.HeapBytes += tree[i].HeapBytes
		s.ToastBytes += tree[i].ToastBytes
	}
	s.Pages = s.HeapBytes / p.server.BlockSize
	p.Sources = []Source{s}
	return nil
}

// deparsed judges the expressions as the server understood them: functions
// that it has put in the place of others are in them.
func (p *Plan) deparsed(ctx context.Context, q Querier, texts []string, alias string, columns []column) (string, error) {
	j := judgementOf(columns)
	use := newUsage()
	for _, text := range texts {
		tokens, err := lex(text)
		if err != nil {
			return "the server's plan is not understood", nil //nolint:nilerr // what cannot be read is not split
		}
		inspect(use, tokens, alias, j.columns, inPlan)
	}
	return judge(ctx, q, use, j)
}

// ranged finds the members that the server reads by a TID range scan. Where
// nothing but the blocks is asked for, all heaps are read alike, and one of them
// is looked at instead of all. It is a matter of speed alone: a chunk's
// statement chooses its rows by ctid, whatever the server reads them by.
func (p *Plan) ranged(ctx context.Context, q Querier, tree []facts, leaves []*facts, byName map[string]*facts) (map[uint32]bool, string, error) {
	t := p.Target
	from, only := t.Relation, t.scan != nil && t.scan.only
	all := t.scan == nil && t.where == ""
	if all {
		i := slices.IndexFunc(leaves, (*facts).heap)
		if i < 0 {
			return nil, "", nil
		}
		from, only = leaves[i].ref(), true
	}
	if err := p.settings(ctx, q, TIDRange); err != nil {
		return nil, "", err
	}
	plan, err := explain(ctx, q, selectFrom([]string{p.list}, only, from, t.alias, tidPredicate(t.alias, 0, 1), t.where))
	if err != nil {
		return nil, "", p.refused(err)
	}
	scans, not := plan.projected().leafScans()
	if not != "" {
		return nil, "with a range of blocks the server's plan has " + not, nil
	}
	ranged := map[uint32]bool{}
	for _, s := range scans {
		f := byName[RelationRef{Schema: s.Schema, Name: s.Relation}.Ident()]
		if f != nil && s.Type == "Tid Range Scan" && f.heap() {
			ranged[f.OID] = true
		}
	}
	if all && ranged[from.OID] {
		for _, f := range leaves {
			ranged[f.OID] = f.heap()
		}
	}
	if len(tree) == 1 && len(scans) == 1 && !ranged[tree[0].OID] {
		return ranged, fmt.Sprintf("with a range of blocks the server reads it by a %s", scans[0].Type), nil
	}
	return ranged, "", nil
}

// indexCosts are the scans that the server chooses when it may use indexes. The
// rows are sorted by ctid then, which no index alone has.
func (p *Plan) indexCosts(ctx context.Context, q Querier, only bool, byName map[string]*facts) (map[uint32]*planNode, error) {
	if err := p.settings(ctx, q, Sorted); err != nil {
		return nil, err
	}
	t := p.Target
	plan, err := explain(ctx, q, selectFrom([]string{p.list, quote(t.alias) + ".ctid"}, only, t.Relation, t.alias, t.where))
	if err != nil {
		return nil, p.refused(err)
	}
	scans, not := plan.projected().leafScans()
	if not != "" {
		return nil, nil
	}
	found := map[uint32]*planNode{}
	for _, s := range scans {
		if f := byName[RelationRef{Schema: s.Schema, Name: s.Relation}.Ident()]; f != nil && indexScans[s.Type] {
			found[f.OID] = s
		}
	}
	return found, nil
}

// small reports whether a relation is one table that is one chunk.
func (p *Plan) small(leaves []*facts) bool {
	if len(leaves) != 1 || p.options.Part > 0 {
		return false
	}
	s := Source{Pages: leaves[0].HeapBytes / p.server.BlockSize, HeapBytes: leaves[0].HeapBytes, ToastBytes: leaves[0].ToastBytes}
	total := s.HeapBytes + s.ToastBytes
	p.cutSource(&s, total, p.chunkBytes(total, p.options.Parallel))
	return s.chunks == 1
}

// chunkBytes is about how much of a total a chunk is to have.
func (p *Plan) chunkBytes(total int64, parallel int) int64 {
	switch {
	case p.Target.req.Chunk.Bytes > 0:
		return p.Target.req.Chunk.Bytes
	case p.options.ChunkBytes == 0:
		return autoChunkBytes(total, parallel)
	}
	return p.options.ChunkBytes
}

// cutSource sizes the chunks of one source.
func (p *Plan) cutSource(s *Source, total, size int64) {
	bytes := s.HeapBytes + s.ToastBytes
	if h := p.Target.req.Chunk; h.Count > 0 {
		// Each source gets its share of the number, by bytes.
		share := max(int64(float64(h.Count)*float64(bytes)/float64(max(total, 1))+0.5), 1)
		s.blocks = max((s.Pages+share-1)/share, 1)
		s.chunks = max((s.Pages+s.blocks-1)/s.blocks, 1)
		return
	}
	s.blocks, s.chunks = cutBlocks(s.Pages, bytes, size)
}

// cut sizes the chunks.
func (p *Plan) cut() {
	p.sample()
	var total int64
	parallel := p.options.Parallel
	for i := range p.Sources {
		switch s := &p.Sources[i]; s.Scan {
		case Placed:
			// The order of the output goes by the chunks, so that they may
			// depend on the relation alone.
			parallel = 1
			fallthrough
		case TIDRange:
			total += s.HeapBytes + s.ToastBytes
		}
	}
	size := p.chunkBytes(total, parallel)
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.Scan != TIDRange && s.Scan != Placed {
			continue
		}
		p.cutSource(s, total, size)
		if s.chunks > 1 || s.part {
			continue
		}
		if s.Scan == TIDRange {
			s.Scan = Whole
		} else {
			s.Scan, s.Why = Own, fmt.Sprintf("%s has %s", s.Relation, pages(s.Pages))
		}
	}
}

// outputCost is about what the server spends on giving out one value, in the
// planner's units; COPY's output is no part of its costs.
const outputCost = 0.0025

// patience is how much longer finding rows by an index on one connection may
// take than scanning on all of them: it spares the server the other pages.
const patience = 2

// useIndex makes a source one chunk by an index where that is cheap.
func (p *Plan) useIndex(s *Source, scan, index *planNode) {
	if index == nil || s.Scan != TIDRange && s.Scan != Whole {
		return
	}
	out := scan.Rows * outputCost * float64(max(len(scan.Output), 1))
	sort := index.Rows * outputCost * math.Log2(index.Rows+2)
	share := (scan.TotalCost + out) / float64(min(int64(p.options.Parallel), s.chunks))
	if cost := index.TotalCost + sort + out; cost < min(share*patience, scan.TotalCost+out) {
		s.Scan, s.chunks, s.blocks = Sorted, 1, 0
		s.Why = fmt.Sprintf("an index finds its rows at a cost of %.0f, scanning costs %.0f", index.TotalCost, scan.TotalCost)
	}
}
