package chunker

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A statement with {chunk} is cut where its author says. That is right only if
// every row of the result comes from one row of the relation that is cut, and
// none comes from the lack of one: then the results of disjoint ranges are
// disjoint, and together they are the whole.

// fromItem is a relation named at the top of a FROM clause.
type fromItem struct {
	name  relationName
	alias string
}

// misplaced is the error for a {chunk} that cannot be where it is.
func (t *Target) misplaced(format string, args ...any) error {
	return t.misplacedBy(t.stmt.chunk, format, args...)
}

// misplacedBy is misplaced where another token shows why.
func (t *Target) misplacedBy(token int, format string, args ...any) error {
	tok := t.stmt.tokens[t.stmt.chunk]
	return &StatementError{
		Field: FieldSQL, Text: t.req.SQL, Position: runePosition(t.req.SQL, t.stmt.tokens[token].pos),
		Reason: t.stmt.text[tok.pos:tok.end] + " cannot be used here: " + fmt.Sprintf(format, args...),
		Hint:   "the chunks together must give the statement's result; without {chunk} it runs as one",
	}
}

// place finds the relation that {chunk} stands for and checks by the words of
// the statement that it is a condition which every row has to meet.
func (t *Target) place() (fromItem, error) {
	s := t.stmt
	var none fromItem
	if s.depth[s.chunk] != 0 {
		return none, t.misplaced("it is in parentheses")
	}
	start, from, where := s.mainSelect(), -1, -1
	if start < 0 {
		return none, t.misplaced("the statement is no SELECT")
	}
	if s.tokens[start+1].is("distinct") {
		return none, t.misplaced("the statement has DISTINCT")
	}
	for i := start + 1; i < len(s.tokens); i++ {
		tok, prev := s.tokens[i], s.tokens[i-1]
		if s.depth[i] != 0 || tok.kind != tokWord || prev.is("as") || prev.is(".") {
			continue
		}
		switch {
		case tok.val == "from" && !prev.is("distinct") && from < 0:
			from = i
		case tok.val == "where" && from >= 0 && where < 0:
			where = i
		case clauses[tok.val] != "" && clauses[tok.val] != aJoin && !inCall(s.tokens, i):
			return none, t.misplaced("the statement has %s", clauses[tok.val])
		}
	}
	if where < 0 || s.chunk < where {
		return none, t.misplaced("it is no condition of the outermost WHERE")
	}
	if why := s.conjunct(where); why != "" {
		return none, t.misplaced("%s", why)
	}
	items := s.fromItems(from, where)
	alias := s.tokens[s.chunk].val
	if alias == "" {
		if len(items) != 1 || items[0].alias == "" {
			return none, t.misplaced("FROM is not one table; name the one to cut, as in {chunk:a}")
		}
		return items[0], nil
	}
	var found []fromItem
	for _, it := range items {
		if it.alias == alias {
			found = append(found, it)
		}
	}
	if len(found) != 1 {
		return none, t.misplaced("%s is no table at the top of FROM", display(alias))
	}
	return found[0], nil
}

// mainSelect is the index of the SELECT that gives the statement's rows, -1 if
// that is in parentheses or something else.
func (s *statement) mainSelect() int {
	if s.tokens[0].is("select") {
		return 0
	}
	if !s.tokens[0].is("with") {
		return -1
	}
	for i := 1; i < len(s.tokens); i++ {
		if s.depth[i] == 0 && s.tokens[i].is("select") && s.tokens[i-1].is(")") {
			return i
		}
	}
	return -1
}

// conjunct says why {chunk} is not one of the conditions that AND joins at the
// top of the WHERE at i, "" if it is.
func (s *statement) conjunct(i int) string {
	cases, between := 0, false
	joined := true // the token before is WHERE, or an AND between conditions
	for i++; i < len(s.tokens); i++ {
		tok := s.tokens[i]
		if i == s.chunk {
			switch {
			case cases > 0:
				return "it is in a CASE"
			case !joined:
				return "it must stand alone between AND and AND"
			case i+1 < len(s.tokens) && !s.tokens[i+1].is("and"):
				return "it must stand alone between AND and AND"
			}
		}
		joined = false
		if s.depth[i] != 0 || tok.kind != tokWord || s.tokens[i-1].is(".") {
			continue
		}
		switch tok.val {
		case "case":
			cases++
		case "end":
			cases--
		case "between":
			between = cases == 0
		case "and":
			joined = cases == 0 && !between
			if cases == 0 {
				between = false
			}
		case "or":
			if cases == 0 {
				return "there is an OR beside it; put parentheses around the rest"
			}
		}
	}
	return ""
}

// fromItems are the relations at the top of FROM, tokens (from, where). Other
// items, subqueries and functions, have no alias here.
func (s *statement) fromItems(from, where int) []fromItem {
	var items []fromItem
	at := func(i int) token {
		if i < where {
			return s.tokens[i]
		}
		return token{kind: tokOther}
	}
	for i := from; i < where; i++ {
		if s.depth[i] != 0 || i != from && !s.tokens[i].is(",") && !s.tokens[i].is("join") {
			continue
		}
		k := i + 1
		for at(k).is("only") || at(k).is("lateral") {
			k++
		}
		end := k
		for at(end).name() && (end == k || at(end-1).is(".")) || at(end).is(".") {
			end++
		}
		it := fromItem{}
		if name, ok := nameOf(s.text, s.tokens[k:end]); ok && !at(end).is("(") {
			it.name, it.alias = name, name.parts[len(name.parts)-1]
			if at(end).is("*") {
				end++
			}
			switch {
			case at(end).is("as") && at(end+1).name():
				it.alias = at(end + 1).val
				end += 2
			case at(end).kind == tokQuoted, at(end).kind == tokWord && clauses[at(end).val] == "":
				it.alias = at(end).val
				end++
			}
			if at(end).is("(") {
				it.alias = "" // column aliases
			}
		}
		items = append(items, it)
	}
	return items
}

// resolvePlaceholder checks a statement with {chunk} against the server's plan.
func (t *Target) resolvePlaceholder(ctx context.Context, q Querier) error {
	item, err := t.place()
	if err != nil {
		return err
	}
	oid, err := one(ctx, q, lookupQuery, pgx.RowTo[uint32], item.name.text)
	if err != nil {
		return err
	}
	if oid == 0 {
		return t.misplaced("%s is no table", item.name.text)
	}
	tree, err := readTree(ctx, q, oid, true, false)
	if err != nil {
		return err
	}
	if len(tree) == 0 {
		return &ChangedError{Relation: item.name.text, Reason: "it was dropped"}
	}
	if why := cuttable(tree); why != "" {
		return t.misplaced("%s %s", tree[0].ref(), why)
	}
	t.Relation, t.alias = tree[0].ref(), item.alias
	for _, r := range t.Lock {
		if r.OID == oid {
			t.Relation.Lock = r.Lock
		}
	}
	plan, err := explain(ctx, q, t.stmt.neutral())
	if err != nil {
		return err
	}
	if why := linear(plan, t.Relation, t.alias); why != "" {
		return t.misplaced("%s", why)
	}
	if i, what := t.stmt.chosen(true); what != "" {
		return t.misplacedBy(i, "the statement has %s: with another plan it may give other rows, and chunks may have different plans", what)
	}
	j, err := judgementOfAll(ctx, q, t.Lock)
	if err != nil {
		return err
	}
	j.steady = true
	use := newUsage()
	inspect(use, t.stmt.tokens, "", j.columns, inStatement)
	why, err := judge(ctx, q, use, j)
	if err == nil && why == "" {
		var views []uint32
		for _, r := range t.Lock {
			if r.Kind == View {
				views = append(views, r.OID)
			}
		}
		why, err = judgeViews(ctx, q, t.Lock, views, true)
	}
	if err != nil {
		return err
	}
	if why != "" {
		return t.misplaced("%s", why)
	}
	return nil
}

// cuttable says why a relation cannot be cut by {chunk}.
func cuttable(tree []facts) string {
	switch root := &tree[0]; {
	case root.kind() != Table && root.kind() != MaterializedView:
		return "is a " + root.kind().String()
	case len(tree) > 1:
		return "has children: its rows are in several tables"
	case root.AccessMethod != "heap":
		return "is stored by the access method " + root.AccessMethod
	case root.OID < firstUserOID:
		return "is a system catalog"
	}
	return ""
}

// linear says why a plan's rows do not each come from one row of the relation,
// "" if they do.
func linear(plan *planNode, r RelationRef, alias string) string {
	path := plan.find(func(n *planNode) bool { return n.Schema == r.Schema && n.Relation == r.Name && n.Alias == alias })
	if path == nil {
		return "the server's plan does not read " + display(alias)
	}
	for i, n := range path[:len(path)-1] {
		child := path[i+1]
		if child.Parent == "SubPlan" || child.Parent == "InitPlan" {
			return display(alias) + " is read in a subquery"
		}
		switch n.Type {
		case "Hash", "Materialize", "Memoize", "Sort", "Incremental Sort", "ProjectSet", "Result":
		case "Nested Loop", "Hash Join", "Merge Join":
			if !keeps(n.JoinType, child.Parent) {
				return fmt.Sprintf("rows without one of %s are in the result too (an outer join)", display(alias))
			}
		case "Aggregate", "Group":
			return "the rows are aggregated"
		case "WindowAgg":
			return "the rows go through a window function"
		default:
			return "the rows go through " + n.Type
		}
	}
	return ""
}

// keeps reports whether each row of a join comes from one row of its child.
func keeps(join, child string) bool {
	switch join {
	case "Inner":
		return true
	case "Left", "Semi", "Anti":
		return child == "Outer"
	case "Right", "Right Anti", "Right Semi":
		return child == "Inner"
	}
	return false
}

// find is the path from n down to the only node that matches, nil if there is
// none or more than one.
func (n *planNode) find(match func(*planNode) bool) []*planNode {
	var found []*planNode
	count := 0
	var down func(n *planNode, path []*planNode)
	down = func(n *planNode, path []*planNode) {
		path = append(path[:len(path):len(path)], n)
		if match(n) {
			found = path
			count++
		}
		for i := range n.Plans {
			down(&n.Plans[i], path)
		}
	}
	down(n, nil)
	if count != 1 {
		return nil
	}
	return found
}

// placeholder plans a statement with {chunk}.
func (p *Plan) placeholder(ctx context.Context, q Querier) error {
	t := p.Target
	p.Kind = "statement"
	tree, err := readTree(ctx, q, t.Relation.OID, true, true)
	if err != nil {
		return err
	}
	if len(tree) == 0 {
		return &ChangedError{Relation: t.Relation.String(), Reason: "it does not exist in the snapshot"}
	}
	root := &tree[0]
	if why := cuttable(tree); why != "" || root.ref().Ident() != t.Relation.Ident() {
		return &ChangedError{Relation: t.Relation.String(), Reason: strings.TrimSpace("it is not what it was: it " + why)}
	}
	cannot, err := p.extension(ctx, q, tree)
	if err != nil {
		return err
	}
	switch {
	case root.RowSecurity:
		cannot = "row security filters " + t.Relation.String()
	case cannot == "" && p.server.Version < tidRangeVersion:
		cannot = p.tooOld()
	}
	if err := p.own(ctx, q, t.Relation, cannot); err != nil || cannot != "" {
		return err
	}
	ranged, err := explain(ctx, q, t.stmt.replaceChunk("("+tidPredicate(t.alias, 0, 1)+")"))
	if err != nil {
		return p.refused(err)
	}
	path := ranged.find(func(n *planNode) bool {
		return n.Alias == t.alias && n.Relation == t.Relation.Name && n.Type == "Tid Range Scan"
	})
	if path == nil {
		p.warn("the server does not read %s by a TID range scan: each chunk may read all of it", t.Relation)
	}
	s := &p.Sources[0]
	s.Pages, s.HeapBytes, s.ToastBytes = root.HeapBytes/p.server.BlockSize, root.HeapBytes, root.ToastBytes
	s.Scan = Placed
	p.cut()
	return nil
}
