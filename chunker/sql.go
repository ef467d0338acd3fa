package chunker

import "strings"

// SQL is the SELECT of one chunk, to be read under the settings of its scan
// kind. With exprs nil it gives the result columns as they are; otherwise
// exprs has one expression for each, made of that column's quoted name alone,
// as in "a" or "a"::pg_catalog.text.
func (p *Plan) SQL(c Chunk, exprs []string) string {
	if p.plain(exprs) {
		exprs = nil
	}
	s := &p.Sources[c.Source]
	var sql string
	switch {
	case s.Scan == Own:
		sql = p.statementOf(s)
	case s.Scan == Placed:
		sql = p.Target.stmt.replaceChunk("(" + tidPredicate(p.Target.alias, c.Lo, c.Hi) + ")")
	case p.direct && exprs != nil:
		return p.scanOf(s, c, exprs)
	default:
		sql = p.scanOf(s, c, []string{p.list})
	}
	if exprs == nil {
		return sql
	}
	// The server pulls such a subquery up: the plan stays the same scan.
	return "SELECT " + strings.Join(exprs, ", ") + " FROM (" + sql + "\n) AS q"
}

// plain reports whether exprs are the result columns as they are.
func (p *Plan) plain(exprs []string) bool {
	for i, e := range exprs {
		if i >= len(p.Columns) || e != quote(p.Columns[i].Name) {
			return false
		}
	}
	return len(exprs) == 0 || len(exprs) == len(p.Columns)
}

// statementOf is the statement of a source that the server plans in its own way.
func (p *Plan) statementOf(s *Source) string {
	t := p.Target
	switch {
	case s.Relation.OID != t.Relation.OID:
		return selectFrom([]string{p.list}, s.only, s.Relation, t.alias, t.where)
	case t.stmt == nil:
		return p.statement()
	}
	return t.stmt.replaceChunk("TRUE")
}

// scanOf is the scan of one chunk of a relation.
func (p *Plan) scanOf(s *Source, c Chunk, list []string) string {
	t := p.Target
	only := s.only || t.scan != nil && t.scan.only
	conditions := []string{"", t.where}
	order := ""
	switch s.Scan {
	case TIDRange:
		conditions[0] = tidPredicate(t.alias, c.Lo, c.Hi)
	case Sorted:
		order = " ORDER BY " + quote(t.alias) + ".ctid"
	case ByColumn:
		conditions[0] = p.column.within(t.alias, p.bounds, int64(c.Index)-s.first)
		order = p.order
	}
	return selectFrom(list, only, s.Relation, t.alias, conditions...) + order
}
