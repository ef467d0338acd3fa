package chunker

import "fmt"

// Locate is a SELECT of the ctid, as text, of one row (from 0) of a chunk, for
// telling people where a value stands. It is false where the rows have no ctid
// of one table, or an order that only the server knows. It is read under the
// settings of the chunk's scan kind, and costs what reading the chunk costs.
func (p *Plan) Locate(c Chunk, row int64) (sql string, ok bool) {
	s := &p.Sources[c.Source]
	switch s.Scan {
	case TIDRange, Whole, Sorted:
	default:
		return "", false
	}
	// A tree that is read as one chunk has rows of several tables.
	if !s.only && !(p.Target.scan != nil && p.Target.scan.only) {
		return "", false
	}
	list := []string{quote(p.Target.alias) + ".ctid::pg_catalog.text"}
	return fmt.Sprintf("%s OFFSET %d LIMIT 1", p.scanOf(s, c, list), row), true
}
