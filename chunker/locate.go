package chunker

import "fmt"

// Locate is a SELECT of the ctid, as text, of one row (from 0) of a chunk, for telling people where a value stands. False
// where rows have no ctid of one relation, or come in an order that only the server knows. To be read under the settings
// of the chunk's scan kind.
func (p *Plan) Locate(c Chunk, row int64) (string, bool) {
	s := &p.Sources[c.Source]
	if s.Scan == Own || s.Scan == ByColumn || s.Relation.OID == 0 || s.Relation.Kind != Table && s.Relation.Kind != MaterializedView {
		return "", false
	}
	ctid := "ctid"
	if p.Target.alias != "" {
		ctid = quote(p.Target.alias) + ".ctid"
	}
	return fmt.Sprintf("%s OFFSET %d LIMIT 1", p.scanOf(s, c, []string{ctid + "::pg_catalog.text"}), row), true
}
