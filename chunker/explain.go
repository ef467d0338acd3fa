package chunker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// planNode is a node of EXPLAIN (VERBOSE, FORMAT JSON).
type planNode struct {
	Type      string     `json:"Node Type"`
	Parent    string     `json:"Parent Relationship"`
	Schema    string     `json:"Schema"`
	Relation  string     `json:"Relation Name"`
	Alias     string     `json:"Alias"`
	JoinType  string     `json:"Join Type"`
	Strategy  string     `json:"Strategy"`
	TotalCost float64    `json:"Total Cost"`
	Rows      float64    `json:"Plan Rows"`
	Width     float64    `json:"Plan Width"`
	Output    []string   `json:"Output"`
	Filter    string     `json:"Filter"`
	TIDCond   string     `json:"TID Cond"`
	Removed   int        `json:"Subplans Removed"`
	OneTime   string     `json:"One-Time Filter"`
	Plans     []planNode `json:"Plans"`

	text string // of the whole plan, in its topmost node
}

// unprepared sends a statement in one round trip, and keeps it out of pgx's
// cache of prepared statements: what is made of a user's text is sent once or
// twice, and a relation may change in between, which a prepared statement does
// not survive. Parameters of such a statement are texts.
const unprepared = pgx.QueryExecModeExec

const explainPrefix = "EXPLAIN (VERBOSE, FORMAT JSON) "

// explain plans a statement without running it. The plan takes the locks that
// the statement would take.
func explain(ctx context.Context, q Querier, sql string) (*planNode, error) {
	text, err := one(ctx, q, explainPrefix+sql, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		return nil, fmt.Errorf("the server's EXPLAIN is no plan of one statement: %.200s", text)
	}
	plans[0].Plan.text = text
	return &plans[0].Plan, nil
}

// calls reports whether a function of that name is still called in a plan of
// which n is the topmost node, not replaced by what is in it.
func (n *planNode) calls(name string) bool {
	return strings.Contains(n.text, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(display(name))+"(")
}

// walk calls visit for n and every node under it.
func (n *planNode) walk(visit func(*planNode)) {
	visit(n)
	for i := range n.Plans {
		n.Plans[i].walk(visit)
	}
}

// projected is the node under one that does nothing but compute the result's
// columns, as the server puts on top of an Append; n itself if it is none.
func (n *planNode) projected() *planNode {
	if n.Type == "Result" && len(n.Plans) == 1 && n.Plans[0].Parent == "Outer" && n.OneTime == "" && n.Filter == "" {
		return &n.Plans[0]
	}
	return n
}

// Node types that read a relation's own rows and do nothing else.
var (
	indexScans = map[string]bool{"Bitmap Heap Scan": true, "Index Scan": true, "Index Only Scan": true}
	rowScans   = map[string]bool{
		"Seq Scan": true, "Tid Range Scan": true, "Tid Scan": true, "Foreign Scan": true,
		"Bitmap Heap Scan": true, "Index Scan": true, "Index Only Scan": true,
	}
)

// leafScans are the scans of a plan that reads relations one after the other
// and does nothing else: a scan, or an Append of such. If it is none, why
// names what else it does.
func (n *planNode) leafScans() (leaves []*planNode, why string) {
	switch {
	case n.Parent == "InitPlan" || n.Parent == "SubPlan":
		return nil, "a subquery"
	case rowScans[n.Type]:
		for i := range n.Plans {
			if n.Type != "Bitmap Heap Scan" || n.Plans[i].Parent != "Outer" {
				return nil, "a subquery"
			}
		}
		return []*planNode{n}, ""
	case n.Type == "Append" && n.Removed == 0:
		for i := range n.Plans {
			some, why := n.Plans[i].leafScans()
			if why != "" {
				return nil, why
			}
			leaves = append(leaves, some...)
		}
		return leaves, ""
	case n.Type == "Append":
		return nil, "partitions left out at run time"
	}
	return nil, "a node " + n.Type
}

// jsonTexts reads a JSON array of texts.
func jsonTexts(text string) ([]string, error) {
	var out []string
	err := json.Unmarshal([]byte(text), &out)
	return out, err
}
