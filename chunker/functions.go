package chunker

import (
	"context"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A function's definition is no part of a snapshot: whatever calls it calls what
// it is at that moment. So a run looks, behind whatever it has read, whether one
// has been replaced since the snapshot.

// functionSourcesQuery reads the functions of users that have one of the names
// $1, that stand behind one of the operators $2, or that the server may call
// without a word for it: those of aggregates, casts and the CHECKs of domains.
const functionSourcesQuery = `
SELECT p.oid::pg_catalog.oid, CASE WHEN p.prosrc = '' AND p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid) ELSE p.prosrc END
FROM pg_catalog.pg_proc p
WHERE p.oid >= 16384 AND (p.proname = ANY ($1::pg_catalog.text::pg_catalog.name[]) OR p.oid IN (
  SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.pg_operator o WHERE o.oprname = ANY ($2::pg_catalog.text::pg_catalog.name[])
  UNION ALL
  SELECT pg_catalog.unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])
  FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc g ON g.oid = a.aggfnoid WHERE g.proname = ANY ($1::pg_catalog.text::pg_catalog.name[])
  UNION ALL
  SELECT c.castfunc FROM pg_catalog.pg_cast c WHERE c.oid >= 16384
  UNION ALL
  SELECT d.refobjid FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_depend d
    ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
  WHERE k.contypid <> 0))`

// Names and operators in a function's text, whatever its language.
var (
	namesInSource     = regexp.MustCompile(`"(?:[^"]|"")+"|[\pL_][\pL\pN_$]*`)
	operatorsInSource = regexp.MustCompile("[-+*/<>=~!@#%^&|`?]+")
)

// findCalled notes the users' functions that a statement calls, or that those
// call: by their names alone, so that there may be more than it does call.
func (p *Plan) findCalled(ctx context.Context, q Querier) error {
	t := p.Target
	text := t.where
	if t.stmt != nil {
		text = t.stmt.text
	}
	var views []uint32
	for _, r := range t.Lock {
		if r.Kind == View {
			views = append(views, r.OID)
		}
	}
	if text == "" && len(views) == 0 {
		return nil
	}
	sources := []string{text}
	if len(views) > 0 {
		texts, err := collect(ctx, q, viewTextQuery, refText, oidArray(views))
		if err != nil {
			return err
		}
		for _, v := range texts {
			sources = append(sources, v.text)
		}
	}
	names, operators := map[string]bool{}, words("~~ !~~ ~~* !~~* = <> < > <= >=") // keywords stand for these
	called := map[uint32]bool{}
	for len(sources) > 0 {
		for _, s := range sources {
			for _, n := range namesInSource.FindAllString(s, -1) {
				if n[0] == '"' {
					names[strings.ReplaceAll(n[1:len(n)-1], `""`, `"`)] = true
				} else {
					names[strings.ToLower(n)] = true
				}
			}
			for _, o := range operatorsInSource.FindAllString(s, -1) {
				operators[o] = true
			}
		}
		type function struct {
			OID  uint32
			Text string
		}
		found, err := collect(ctx, q, functionSourcesQuery, pgx.RowToStructByPos[function], textArray(keys(names)), textArray(keys(operators)))
		if err != nil {
			return err
		}
		sources = nil
		for _, f := range found {
			if !called[f.OID] {
				called[f.OID] = true
				p.called = append(p.called, f.OID)
				sources = append(sources, f.Text)
			}
		}
	}
	return nil
}

// replacedQuery finds a function that was replaced or dropped since the
// snapshot: under it the old row is still there, but with the xmax of a
// transaction that has committed. The upper half of that is the snapshot's own,
// one more or one less.
const replacedQuery = `
SELECT n.nspname::pg_catalog.text, p.proname::pg_catalog.text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     CROSS JOIN (SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) AS now) s
     CROSS JOIN LATERAL (SELECT (s.now & -4294967296) + p.xmax::pg_catalog.text::pg_catalog.int8 AS x) w
WHERE p.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND p.xmax <> '0'
  AND pg_catalog.txid_status(x + CASE WHEN x - now > 2147483648 THEN -4294967296 WHEN now - x > 2147483648 THEN 4294967296 ELSE 0 END) = 'committed'
ORDER BY 1, 2 LIMIT 1`

// sameFunctions checks that no function that the statement may call was
// replaced since the snapshot.
func (p *Plan) sameFunctions(ctx context.Context, q Querier) error {
	if len(p.called) == 0 {
		return nil
	}
	type function struct{ Schema, Name string }
	replaced, err := collect(ctx, q, replacedQuery, pgx.RowToStructByPos[function], oidArray(p.called))
	if err != nil {
		return err
	}
	for _, f := range replaced {
		return &ChangedError{
			Relation: "function " + display(f.Schema) + "." + display(f.Name),
			Reason:   "it was replaced, altered or dropped while rows were read that it may have a part in",
		}
	}
	return nil
}
