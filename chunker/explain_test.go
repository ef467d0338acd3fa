package chunker

import (
	"strings"
	"testing"
)

// TestLeafScans accepts the plans that do nothing but read tables one after
// the other.
func TestLeafScans(t *testing.T) {
	t.Parallel()
	scan := func(kind string, under ...planNode) planNode {
		return planNode{Type: kind, Parent: "Member", Relation: "t", Plans: under}
	}
	sub := planNode{Type: "Seq Scan", Parent: "SubPlan"}
	for _, c := range []struct {
		plan planNode
		want int // leaves, -1 for a refusal
	}{
		{scan("Seq Scan"), 1},
		{scan("Tid Range Scan"), 1},
		{scan("Foreign Scan"), 1},
		{scan("Bitmap Heap Scan", planNode{Type: "BitmapOr", Parent: "Outer", Plans: []planNode{{Type: "Bitmap Index Scan"}}}), 1},
		{scan("Append", scan("Seq Scan"), scan("Append", scan("Seq Scan"), scan("Tid Range Scan"))), 3},
		{scan("Append"), 0},
		{scan("Seq Scan", sub), -1},
		{scan("Bitmap Heap Scan", sub), -1},
		{scan("Append", scan("Seq Scan"), planNode{Type: "Seq Scan", Parent: "InitPlan"}), -1},
		{planNode{Type: "Append", Removed: 1, Plans: []planNode{scan("Seq Scan")}}, -1},
		{scan("Append", scan("Seq Scan"), scan("Aggregate", scan("Seq Scan"))), -1},
		{scan("Merge Append", scan("Seq Scan"), scan("Seq Scan")), -1},
		{scan("Gather", scan("Seq Scan")), -1},
		{scan("Limit", scan("Seq Scan")), -1},
		{scan("ProjectSet", scan("Seq Scan")), -1},
		{scan("Result", scan("Seq Scan")), -1},
		{scan("Sort", scan("Seq Scan")), -1},
		{scan("Subquery Scan", scan("Seq Scan")), -1},
		{scan("Sample Scan"), -1},
		{scan("Custom Scan"), -1},
		{scan("CTE Scan"), -1},
		{scan("Function Scan"), -1},
	} {
		leaves, why := c.plan.leafScans()
		if got := len(leaves); (why != "") != (c.want < 0) || c.want >= 0 && got != c.want {
			t.Errorf("%+v: %d leaves, %q", c.plan, got, why)
		}
	}
}

// TestLinear goes through the joins and nodes that a row may pass.
func TestLinear(t *testing.T) {
	t.Parallel()
	a := func(parent string) planNode {
		return planNode{Type: "Tid Range Scan", Parent: parent, Schema: "s", Relation: "t", Alias: "a"}
	}
	other := func(parent string) planNode {
		return planNode{Type: "Seq Scan", Parent: parent, Schema: "s", Relation: "u", Alias: "b"}
	}
	for _, join := range []string{"Hash Join", "Nested Loop", "Merge Join"} {
		for kind, fine := range map[string][2]bool{ // as outer, as inner child
			"Inner": {true, true}, "Left": {true, false}, "Right": {false, true}, "Full": {false, false}, "Semi": {true, false},
			"Anti": {true, false}, "Right Anti": {false, true}, "Right Semi": {false, true}, "Unheard Of": {false, false},
		} {
			for i, children := range [][]planNode{{a("Outer"), other("Inner")}, {other("Outer"), a("Inner")}} {
				plan := planNode{Type: join, JoinType: kind, Plans: children}
				if why := linear(&plan, RelationRef{Schema: "s", Name: "t"}, "a"); (why == "") != fine[i] {
					t.Errorf("%s, %s, child %d: %q", join, kind, i, why)
				}
			}
		}
	}
	for node, fine := range map[string]bool{
		"Hash": true, "Materialize": true, "Memoize": true, "Sort": true, "Incremental Sort": true, "ProjectSet": true, "Result": true,
		"Aggregate": false, "Group": false, "WindowAgg": false, "Limit": false, "Unique": false, "SetOp": false, "Append": false,
		"Merge Append": false, "Recursive Union": false, "LockRows": false, "Gather": false, "Subquery Scan": false, "Custom Scan": false,
	} {
		plan := planNode{Type: node, Plans: []planNode{a("Outer")}}
		if why := linear(&plan, RelationRef{Schema: "s", Name: "t"}, "a"); (why == "") != fine {
			t.Errorf("%s: %q", node, why)
		}
	}
	for what, plan := range map[string]planNode{
		"read in a subquery": {Type: "Nested Loop", JoinType: "Inner", Plans: []planNode{other("Outer"), a("SubPlan")}},
		"does not read":      {Type: "Nested Loop", JoinType: "Inner", Plans: []planNode{other("Outer"), other("Inner")}},
		"does not read a":    {Type: "Nested Loop", JoinType: "Inner", Plans: []planNode{a("Outer"), a("Inner")}}, // which one?
	} {
		if why := linear(&plan, RelationRef{Schema: "s", Name: "t"}, "a"); !strings.Contains(why, what) {
			t.Errorf("%q, want %q", why, what)
		}
	}
}
