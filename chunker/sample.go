package chunker

import "math"

// sample cuts the sources down to Options.Part, before chunks are made of them.
func (p *Plan) sample() {
	if p.options.Part <= 0 {
		return
	}
	of := func(n int64, part float64) int64 { return int64(math.Ceil(float64(n) * part)) }
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.Scan != TIDRange && s.Scan != Placed || s.Pages == 0 {
			continue
		}
		pages := of(s.Pages, p.options.Part)
		if known, ok := p.options.Blocks[s.Relation.OID]; ok {
			pages = known
		}
		pages = min(pages, s.Pages)
		part := float64(pages) / float64(s.Pages)
		s.HeapBytes, s.ToastBytes, s.EstRows = of(s.HeapBytes, part), of(s.ToastBytes, part), of(s.EstRows, part)
		s.Pages, s.part = pages, true
	}
}

// sampled finds out, when the scans are decided, whether nothing is read whole, and cuts the estimate down too.
func (p *Plan) sampled() {
	if p.options.Part <= 0 {
		return
	}
	for i := range p.Sources {
		s := &p.Sources[i]
		cut := s.part && (s.Scan == TIDRange || s.Scan == Placed)
		if !cut && (s.Scan != Whole || s.Pages > 0) { // a table without blocks has nothing to leave out
			return
		}
	}
	p.Sampled = true
	p.EstRows = int64(math.Ceil(float64(p.EstRows) * min(p.options.Part, 1)))
	p.EstBytes = int64(math.Ceil(float64(p.EstBytes) * min(p.options.Part, 1)))
}
