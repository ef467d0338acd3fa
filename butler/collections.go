package butler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// collectionType is the number by which the registry tells kinds of collections apart.
type collectionType int64

const (
	runCollection         collectionType = 1
	taggedCollection      collectionType = 2
	chainedCollection     collectionType = 3
	calibrationCollection collectionType = 4
)

// collection is one that can hold datasets or, when it is chained, other collections.
type collection struct {
	key  any // int64, or the name itself (string) where collections are keyed by name
	name string
	kind collectionType
}

// search is a list of collections in the order in which they are looked through; none is chained, none comes twice.
type search struct {
	collections []collection
	pattern     bool // some part of the expression was a pattern
}

// resolveCollections turns what the user typed into the collections to search.
//
// Each expression is looked up literally first. What is not there and has a comma outside brackets is split, and each
// part is looked up literally. What is still not there is a pattern if it has *, ? or a pair of brackets, and an error
// otherwise. Collections that patterns match come first, in the order of their names, then the named ones as given:
// Python's order. Chains are flattened depth first, each collection at its first place.
func (r *registry) resolveCollections(ctx context.Context, expressions []string) (*search, error) {
	var named []string
	var patterns []glob
	var unknown []string
	terms, err := r.splitExpressions(ctx, expressions)
	if err != nil {
		return nil, err
	}
	for _, t := range terms {
		switch {
		case t.known:
			named = append(named, t.text)
		case isPattern(t.text):
			patterns = append(patterns, parseGlob(t.text))
		default:
			unknown = append(unknown, t.text)
		}
	}
	if len(unknown) > 0 {
		return nil, r.unknownCollection(ctx, unknown[0])
	}
	var order []collection
	if len(patterns) > 0 {
		err := r.eachCollection(ctx, func(c collection) {
			if slices.ContainsFunc(patterns, func(g glob) bool { return g.match(c.name) }) {
				order = append(order, c)
			}
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(order, func(a, b collection) int { return strings.Compare(a.name, b.name) })
	}
	// Python appends the children of the chains that a pattern matches behind everything else that it matches, and then
	// the names: first the matches that hold datasets themselves, then the rest.
	var starts, chains []collection
	for _, c := range order {
		if c.kind == chainedCollection {
			chains = append(chains, c)
		} else {
			starts = append(starts, c)
		}
	}
	byName, err := r.collectionsByName(ctx, named)
	if err != nil {
		return nil, err
	}
	for _, n := range named {
		chains = append(chains, byName[n])
	}
	flat, err := r.flatten(ctx, append(starts, chains...))
	if err != nil {
		return nil, err
	}
	return &search{collections: flat, pattern: len(patterns) > 0}, nil
}

// term is a part of a collection expression; known when a collection has exactly this name.
type term struct {
	text  string
	known bool
}

func (r *registry) splitExpressions(ctx context.Context, expressions []string) ([]term, error) {
	whole, err := r.collectionsByName(ctx, expressions)
	if err != nil {
		return nil, err
	}
	var terms []term
	for _, e := range expressions {
		if _, ok := whole[e]; ok {
			terms = append(terms, term{e, true})
			continue
		}
		for _, p := range splitCommas(e) {
			terms = append(terms, term{text: p})
		}
	}
	var parts []string
	for _, t := range terms {
		if !t.known {
			parts = append(parts, t.text)
		}
	}
	found, err := r.collectionsByName(ctx, parts)
	if err != nil {
		return nil, err
	}
	for i := range terms {
		if _, ok := found[terms[i].text]; ok {
			terms[i].known = true
		}
	}
	if len(terms) == 0 {
		return nil, &UsageError{Option: "collection", Reason: "no collection given"}
	}
	return terms, nil
}

// splitCommas splits at commas outside brackets, trims blanks and drops empty parts. Source: split_commas in
// lsst/daf/butler/cli/utils.py.
func splitCommas(s string) []string {
	var parts []string
	depth, from := 0, 0
	cut := func(to int) {
		if p := strings.TrimSpace(s[from:to]); p != "" {
			parts = append(parts, p)
		}
		from = to + 1
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '[':
			// A bracket that is never closed protects nothing.
			if strings.IndexByte(s[i:], ']') >= 0 {
				depth = 1
			}
		case ']':
			depth = 0
		case ',':
			if depth == 0 {
				cut(i)
			}
		}
	}
	cut(len(s))
	return parts
}

// collectionColumns gives the select list for collection records under an alias.
func (r *registry) collectionColumns(alias string) string {
	if r.nameKey {
		return fmt.Sprintf("%[1]s.name, %[1]s.name, %[1]s.type", alias)
	}
	return fmt.Sprintf("%[1]s.collection_id, %[1]s.name, %[1]s.type", alias)
}

func (r *registry) scanCollection(v []any) (collection, error) {
	var c collection
	var err error
	if c.name, err = str(v[1], "a collection's name"); err != nil {
		return c, err
	}
	kind, err := integer(v[2], "the type of collection "+quoteName(c.name))
	if err != nil {
		return c, err
	}
	if kind < 1 || kind > 4 {
		return c, fmt.Errorf("collection %s has the unknown type %d", quoteName(c.name), kind)
	}
	c.kind = collectionType(kind)
	c.key, err = r.collectionKey(v[0], "the key of collection "+quoteName(c.name))
	return c, err
}

func (r *registry) eachCollection(ctx context.Context, visit func(collection)) error {
	return r.statement().add("SELECT ", r.collectionColumns("c"), " FROM ", r.table("collection"), " c").each(ctx, func(v []any) error {
		c, err := r.scanCollection(v)
		if err == nil {
			visit(c)
		}
		return err
	})
}

func (r *registry) collectionsByName(ctx context.Context, names []string) (map[string]collection, error) {
	found := map[string]collection{}
	var keys []any
	for _, n := range names {
		if storable(n) {
			keys = append(keys, n)
		}
	}
	for _, chunk := range r.chunks(keys) {
		err := r.statement().add("SELECT ", r.collectionColumns("c"), " FROM ", r.table("collection"), " c WHERE ").in("c.name", chunk).each(ctx, func(v []any) error {
			c, err := r.scanCollection(v)
			found[c.name] = c
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// storable tells whether a text can be a name in a database: Postgres takes no other, not even in a question.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// unknownCollection says what is wrong and which names are near.
func (r *registry) unknownCollection(ctx context.Context, name string) error {
	var names []string
	if err := r.eachCollection(ctx, func(c collection) { names = append(names, c.name) }); err != nil {
		return err
	}
	reason := "there is no collection " + quoteName(name)
	if close := nearest(name, names); len(close) > 0 {
		reason += ", did you mean " + strings.Join(close, ", ") + "?"
	} else {
		reason += fmt.Sprintf(" among its %d (separate several by commas; *, ? and [abc] make a pattern)", len(names))
	}
	return fmt.Errorf("%s", reason)
}

// flatten replaces chains by what they hold, depth first, each collection at its first place. One statement fetches the
// whole closure; its UNION (not UNION ALL) ends on cycles, and so does the walk.
func (r *registry) flatten(ctx context.Context, starts []collection) ([]collection, error) {
	type link struct {
		position int64
		child    any
	}
	known := map[any]collection{}
	children := map[any][]link{}
	var keys []any
	for _, c := range starts {
		if _, ok := known[c.key]; !ok && c.kind == chainedCollection {
			keys = append(keys, c.key)
		}
		known[c.key] = c
	}
	key := "collection_id"
	if r.nameKey {
		key = "name"
	}
	seen := map[[2]any]bool{} // by parent and position: two chunks may reach the same chain
	for _, chunk := range r.chunks(keys) {
		q := r.statement().add("WITH RECURSIVE walk(parent, position, child) AS (SELECT cc.parent, cc.position, cc.child FROM ", r.table("collection_chain"), " cc WHERE ").
			in("cc.parent", chunk).
			add(" UNION SELECT cc.parent, cc.position, cc.child FROM walk w JOIN ", r.table("collection_chain"), " cc ON cc.parent = w.child) SELECT ",
				r.collectionColumns("c"), ", w.parent, w.position FROM walk w JOIN ", r.table("collection"), " c ON c.", key, " = w.child")
		err := q.each(ctx, func(v []any) error {
			c, err := r.scanCollection(v[:3])
			if err != nil {
				return err
			}
			position, err := integer(v[4], "a position in a chain")
			if err != nil {
				return err
			}
			parent, err := r.collectionKey(v[3], "the parent of collection "+quoteName(c.name)+" in a chain")
			if err != nil {
				return err
			}
			known[c.key] = c
			if id := [2]any{parent, position}; !seen[id] {
				seen[id] = true
				children[parent] = append(children[parent], link{position, c.key})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, l := range children {
		slices.SortFunc(l, func(a, b link) int {
			switch { // positions may be negative and have gaps
			case a.position < b.position:
				return -1
			case a.position > b.position:
				return 1
			}
			return 0
		})
	}
	var flat []collection
	visited := map[any]bool{}
	var todo []any // a stack, so that a chain however deep takes no deep recursion
	for _, c := range slices.Backward(starts) {
		todo = append(todo, c.key)
	}
	for len(todo) > 0 {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if visited[k] {
			continue
		}
		visited[k] = true
		c := known[k]
		if c.kind != chainedCollection {
			flat = append(flat, c)
			continue
		}
		for _, l := range slices.Backward(children[k]) {
			todo = append(todo, l.child)
		}
	}
	return flat, nil
}

// prune keeps the collections that may hold datasets of a type. Summaries may promise too much, never too little.
func (r *registry) prune(ctx context.Context, cs []collection, datasetType int64) ([]collection, error) {
	column := "collection_id"
	if r.nameKey {
		column = "collection_name"
	}
	holds := map[any]bool{}
	err := r.statement().add("SELECT s.", column, " FROM ", r.table("collection_summary_dataset_type"), " s WHERE s.dataset_type_id = ").arg(datasetType).each(ctx, func(v []any) error {
		key, err := r.collectionKey(v[0], "a collection in the summary of dataset types")
		if err == nil {
			holds[key] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var kept []collection
	for _, c := range cs {
		if holds[c.key] {
			kept = append(kept, c)
		}
	}
	return kept, nil
}
