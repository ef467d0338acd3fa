package chunker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Catalog is what the server's catalogs say of the relations of several
// targets, asked for all at once: the server takes longer to plan such a
// question than to answer it. What is not in it is asked for when it is needed.
// It is true of one transaction alone.
type Catalog struct {
	server     *serverFacts
	trees      map[treeRoot][]facts
	columns    map[uint32][]column
	attributes map[uint32][]attribute
}

func newCatalog() *Catalog {
	return &Catalog{trees: map[treeRoot][]facts{}, columns: map[uint32][]column{}, attributes: map[uint32][]attribute{}}
}

// ReadCatalog reads what the plans of targets need to know. q is as [NewPlan]
// has it. What the server refuses to tell of all at once is left to the plans,
// each of which says what is wrong with it.
//
// Errors: the connection's.
func ReadCatalog(ctx context.Context, q Querier, targets []*Target) (*Catalog, error) {
	var roots []treeRoot
	for _, t := range targets {
		if t.Shape == Relation || t.Shape == PlainScan {
			roots = append(roots, t.root())
		}
	}
	return ask(ctx, q, func(c *Catalog) error {
		if err := c.readServer(ctx, q); err != nil {
			return err
		}
		if err := c.readTrees(ctx, q, roots, true); err != nil {
			return err
		}
		oids := rootOIDs(roots)
		if err := c.readColumns(ctx, q, oids); err != nil {
			return err
		}
		return c.readAttributes(ctx, q, oids)
	})
}

// ask fills a catalog in a savepoint. It stays empty if the server refuses: then each asks for itself, and has its own error. What is no
// verdict on the question, as that somebody ended it or the session, is an error of ask.
func ask(ctx context.Context, q Querier, fill func(*Catalog) error) (*Catalog, error) {
	if err := run(ctx, q, "SAVEPOINT catalog"); err != nil {
		return nil, err
	}
	c := newCatalog()
	err := fill(c)
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return c, run(ctx, q, "RELEASE SAVEPOINT catalog")
	case errors.As(err, &pg) && !slices.Contains([]string{"08", "53", "57", "58", "XX"}, pg.Code[:min(2, len(pg.Code))]):
		return newCatalog(), errors.Join(run(ctx, q, "ROLLBACK TO SAVEPOINT catalog"), run(ctx, q, "RELEASE SAVEPOINT catalog"))
	}
	return nil, err
}

// treeRoot is a relation, with or without what inherits from it.
type treeRoot struct {
	OID      uint32
	Children bool
}

// root is the target's relation, with all that a scan of it reads.
func (t *Target) root() treeRoot {
	return treeRoot{t.Relation.OID, t.scan == nil || !t.scan.only}
}

func rootOIDs(roots []treeRoot) []uint32 {
	oids := make([]uint32, len(roots))
	for i, r := range roots {
		oids[i] = r.OID
	}
	return oids
}

func (c *Catalog) readServer(ctx context.Context, q Querier) error {
	if c.server != nil {
		return nil
	}
	srv, err := one(ctx, q, serverQuery, pgx.RowToStructByPos[serverFacts])
	if err != nil {
		return err
	}
	c.server = &srv
	return nil
}

// readTrees reads the trees that are not there yet.
func (c *Catalog) readTrees(ctx context.Context, q Querier, roots []treeRoot, sizes bool) error {
	missing := map[treeRoot]bool{}
	var oids, children []string
	for _, r := range roots {
		if _, ok := c.trees[r]; !ok && !missing[r] {
			missing[r] = true
			oids, children = append(oids, fmt.Sprint(r.OID)), append(children, fmt.Sprint(r.Children))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	type member struct {
		Root     uint32
		Children bool
		facts
	}
	all, err := collect(ctx, q, treesQuery, pgx.RowToStructByPos[member], textArray(oids), textArray(children), fmt.Sprint(sizes))
	if err != nil {
		return err
	}
	for r := range missing {
		c.trees[r] = nil // also where there is nothing
	}
	for _, m := range all {
		root := treeRoot{m.Root, m.Children}
		c.trees[root] = append(c.trees[root], m.facts)
	}
	return nil
}

// readColumns reads the columns of the relations of which they are not there yet.
func (c *Catalog) readColumns(ctx context.Context, q Querier, relations []uint32) error {
	missing := notIn(c.columns, relations)
	if len(missing) == 0 {
		return nil
	}
	type of struct {
		Relation uint32
		column
	}
	all, err := collect(ctx, q, columnsQuery, pgx.RowToStructByPos[of], oidArray(missing))
	if err != nil {
		return err
	}
	found := map[uint32][]column{}
	for i := range all {
		col, relation := all[i].column, all[i].Relation
		if col.Name, err = columnName(col.Name); err != nil {
			return fmt.Errorf("column %d of relation %d: its name: %w", col.Attnum, relation, err)
		}
		found[relation] = append(found[relation], col)
	}
	for _, relation := range missing {
		c.columns[relation] = found[relation]
	}
	return nil
}

// readAttributes reads the attributes of the relations of which they are not there yet.
func (c *Catalog) readAttributes(ctx context.Context, q Querier, relations []uint32) error {
	missing := notIn(c.attributes, relations)
	if len(missing) == 0 {
		return nil
	}
	all, err := collect(ctx, q, attributesQuery, pgx.RowToStructByPos[attribute], oidArray(missing))
	if err != nil {
		return err
	}
	found := map[uint32][]attribute{}
	for _, a := range all {
		if a.Name, err = columnName(a.Name); err != nil {
			return fmt.Errorf("column %d of relation %d: its name: %w", a.Attnum, a.Relation, err)
		}
		found[a.Relation] = append(found[a.Relation], a)
	}
	for _, relation := range missing {
		c.attributes[relation] = found[relation]
	}
	return nil
}

// notIn are the keys that known has not, each once.
func notIn[V any](known map[uint32][]V, keys []uint32) []uint32 {
	missing := slices.DeleteFunc(slices.Clone(keys), func(k uint32) bool {
		_, ok := known[k]
		return ok
	})
	slices.Sort(missing)
	return slices.Compact(missing)
}

// named is what is known of a relation that was asked for by name.
type named struct {
	tree    []facts // itself and all that inherits from it
	columns []column
	server  serverFacts
	plain   bool // nothing about a SELECT from it is left to ask: see plain
}

// readNamed looks up the tables of several requests at once. What is not there
// under its name, or cannot be told of all together, is left out.
func readNamed(ctx context.Context, q Querier, names []string) (map[string]named, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if err := run(ctx, q, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"); err != nil {
		return nil, err
	}
	defer rollback(ctx, q)
	if err := set(ctx, q, "jit", "off"); err != nil { // it takes longer than any of these questions
		return nil, err
	}
	oids := map[string]uint32{}
	var leaving map[uint32]bool
	c, err := ask(ctx, q, func(c *Catalog) error {
		if err := c.readServer(ctx, q); err != nil {
			return err
		}
		found, err := collect(ctx, q, lookupAllQuery, pgx.RowTo[uint32], textArray(names))
		if err != nil {
			return err
		}
		var roots []treeRoot
		for i, oid := range found {
			if oids[names[i]] = oid; oid != 0 {
				roots = append(roots, treeRoot{oid, true})
			}
		}
		if err := c.readTrees(ctx, q, roots, false); err != nil {
			return err
		}
		if err := c.readColumns(ctx, q, rootOIDs(roots)); err != nil {
			return err
		}
		leaving, err = readDetaching(ctx, q, c.trees)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := map[string]named{}
	for name, oid := range oids {
		if tree := c.trees[treeRoot{oid, true}]; len(tree) > 0 {
			out[name] = named{tree, c.columns[oid], *c.server, plain(tree, *c.server, leaving)}
		}
	}
	return out, nil
}

// readDetaching reads which partitioned tables of the trees have a partition that is being detached.
func readDetaching(ctx context.Context, q Querier, trees map[treeRoot][]facts) (map[uint32]bool, error) {
	var parents []uint32
	for _, tree := range trees {
		for i := range tree {
			if tree[i].kind() == PartitionedTable {
				parents = append(parents, tree[i].OID)
			}
		}
	}
	if len(parents) == 0 {
		return nil, nil
	}
	found, err := collect(ctx, q, detachingQuery, pgx.RowTo[uint32], oidArray(parents))
	leaving := map[uint32]bool{}
	for _, oid := range found {
		leaving[oid] = true
	}
	return leaving, err
}

// plain reports whether a relation is a table of which everything is known
// without asking the server about the SELECT: its rows are its own and those of
// what inherits from it, all by grants on the whole of each, so that LOCK TABLE
// of it locks all that is read. Of a tree with a partition that is being
// detached, or one whose rows an extension may hold elsewhere, the server is asked.
func plain(tree []facts, srv serverFacts, leaving map[uint32]bool) bool {
	if len(tree) > 1 && (srv.Timescale || srv.Citus) {
		return false
	}
	for i := range tree {
		f := &tree[i]
		switch {
		case f.Persistence == "t" || f.OID < firstUserOID || !f.MayRead || f.RowSecurity || leaving[f.OID]:
			return false
		case f.kind() != PartitionedTable && (f.kind() != Table || f.AccessMethod != "heap"):
			return false
		}
	}
	return true
}
