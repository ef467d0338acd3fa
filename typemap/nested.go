package typemap

import (
	"bytes"
	"math"

	"fast-export/internal/pgbin"
)

// Flags of a range's wire form. Source: rangetypes.h.
const (
	rangeEmpty    = 0x01
	rangeLowerInc = 0x02
	rangeUpperInc = 0x04
	rangeLowerInf = 0x08
	rangeUpperInf = 0x10
)

// inner decodes a value that is there, at any place below a column, from its binary form or from its text.
func (d *Decoder) inner(n *node, v []byte, rep uint8, text bool) error {
	if !n.scalar() {
		var err error
		if text {
			err = d.nestedText(n, v, rep)
		} else {
			err = d.nestedBinary(n, v, rep)
		}
		return n.valued(err, v, text)
	}
	l := &d.leafs[n.leafLo]
	var err error
	if text {
		err = d.scalarText(n, &l.cursor, v)
	} else {
		err = d.scalarBinary(n, &l.cursor, v)
	}
	if err != nil {
		if err == errNull && n.nullable {
			d.level(l, n.def-1, rep)
			return nil
		}
		return n.valued(err, v, text)
	}
	d.level(l, n.def, rep)
	return nil
}

// valued adds to an error the value that it is about: the innermost says more than the column's whole one.
func (n *node) valued(err error, v []byte, text bool) error {
	if b, ok := err.(*badValue); ok && b != errNull && b.value == "" {
		return &badValue{value: n.shown(v, text), reason: b.reason, hint: b.hint}
	}
	return err
}

// maybe is inner for a value that may be NULL.
func (d *Decoder) maybe(n *node, v []byte, null bool, rep uint8, text bool) error {
	if null {
		return d.null(n, rep)
	}
	return d.inner(n, v, rep, text)
}

// The leaves of structs whose fields are always there.

func (d *Decoder) leaf32(n *node, x uint32, rep uint8) {
	l := &d.leafs[n.leafLo]
	l.put32(x)
	d.level(l, n.def, rep)
}

func (d *Decoder) leaf64(n *node, x uint64, rep uint8) {
	l := &d.leafs[n.leafLo]
	l.put64(x)
	d.level(l, n.def, rep)
}

func (d *Decoder) leafBool(n *node, b bool, rep uint8) {
	l := &d.leafs[n.leafLo]
	l.putBool(b)
	d.level(l, n.def, rep)
}

// elements writes a list of so many elements, each by f, which gets the element's node and repetition level.
func (d *Decoder) elements(n *node, count int, rep uint8, f func(i int, rep uint8) error) error {
	if count == 0 {
		d.absent(n, n.def, rep)
		return nil
	}
	for i := range count {
		if err := f(i, rep); err != nil {
			return err
		}
		rep = n.children[0].rep
	}
	return nil
}

// checkArray refuses what a list cannot say: several dimensions, or an index of its own to begin with.
func checkArray(dims int, first int32) error {
	switch {
	case dims != 1:
		return badHint("", textHint, "an array of %d dimensions in a column declared with one", dims)
	case first != 1:
		return badHint("", textHint, "an array that begins at index %d, not 1", first)
	}
	return nil
}

func (d *Decoder) putInterval(n *node, s span, rep uint8) error {
	if d.plan.endless(s) {
		switch clamp, err := d.infinite(n, infinityText(s == spanBegin)); {
		case err == errNull && n.nullable:
			return d.null(n, rep)
		case !clamp:
			return err
		}
	}
	d.leaf32(n.children[0], uint32(s.months), rep)
	d.leaf32(n.children[1], uint32(s.days), rep)
	d.leaf64(n.children[2], uint64(s.micros), rep)
	return nil
}

func (d *Decoder) putTimetz(n *node, us, east int64, rep uint8) error {
	if us == dayMicros {
		switch clamp, err := d.infinite(n, "24:00:00"); {
		case err == errNull && n.nullable:
			return d.null(n, rep)
		case !clamp:
			return err
		}
		us--
	}
	d.leaf64(n.children[0], uint64(us), rep)
	d.leaf32(n.children[1], uint32(int32(east)), rep)
	return nil
}

// putRange writes a range; bounds that are not there are NULL.
func (d *Decoder) putRange(n *node, flags byte, lower, upper []byte, rep uint8, text bool) error {
	if flags&rangeEmpty != 0 {
		flags = rangeEmpty | rangeLowerInf | rangeUpperInf
	}
	if err := d.maybe(n.children[0], lower, flags&rangeLowerInf != 0, rep, text); err != nil {
		return err
	}
	if err := d.maybe(n.children[1], upper, flags&rangeUpperInf != 0, rep, text); err != nil {
		return err
	}
	d.leafBool(n.children[2], flags&(rangeLowerInc|rangeLowerInf) == rangeLowerInc, rep)
	d.leafBool(n.children[3], flags&(rangeUpperInc|rangeUpperInf) == rangeUpperInc, rep)
	d.leafBool(n.children[4], flags&rangeEmpty != 0, rep)
	return nil
}

// nestedBinary writes a value of more than one leaf from its binary form.
func (d *Decoder) nestedBinary(n *node, v []byte, rep uint8) error {
	r := pgbin.New(v)
	switch n.kind {
	case kStruct: // record_send in rowtypes.c
		if k := int(r.Int32()); r.Err() == nil && k != len(n.children) {
			return bad("a record of %d fields, the catalog says %d: the type has changed", k, len(n.children))
		}
		for i, c := range n.children {
			oid := r.Uint32()
			f, null := r.Value()
			if r.Err() != nil {
				break
			}
			if oid != n.oids[i] {
				return bad("field %s has type OID %d, the catalog says %d: the type has changed", n.names[i], oid, n.oids[i])
			}
			if err := d.maybe(c, f, null, rep, false); err != nil {
				return err
			}
		}
	case kList, kVector: // array_send in arrayfuncs.c
		dims, flags, elem := r.Int32(), r.Int32(), r.Uint32()
		if r.Err() != nil {
			break
		}
		if elem != n.oids[0] {
			return bad("elements have type OID %d, the catalog says %d: the type has changed", elem, n.oids[0])
		}
		if flags != 0 && flags != 1 {
			return bad("an array with the flags %#x", flags)
		}
		if dims == 0 {
			if r.Done() == nil {
				d.absent(n, n.def, rep)
			}
			break
		}
		count, first := int(r.Int32()), r.Int32()
		if r.Err() != nil {
			break
		}
		if n.kind == kVector {
			first = 1 // 0 most often, but the text shows none
		}
		if err := checkArray(int(dims), first); err != nil {
			return err
		}
		if count < 0 || count > r.Len()/4 {
			return bad("an array of %d elements in %d bytes", count, r.Len())
		}
		c := n.children[0]
		err := d.elements(n, count, rep, func(_ int, rep uint8) error {
			e, null := r.Value()
			if r.Err() != nil {
				return nil
			}
			return d.maybe(c, e, null, rep, false)
		})
		if err != nil {
			return err
		}
	case kMap: // hstore_send in hstore_io.c
		count := r.Count(8)
		if r.Err() != nil {
			break
		}
		err := d.elements(n, count, rep, func(_ int, rep uint8) error {
			k, null := r.Value()
			e, enull := r.Value()
			if r.Err() != nil {
				return nil
			}
			if null {
				return bad("a NULL key")
			}
			if err := d.inner(n.children[0], k, rep, false); err != nil {
				return err
			}
			return d.maybe(n.children[1], e, enull, rep, false)
		})
		if err != nil {
			return err
		}
	case kRange: // range_send in rangetypes.c
		flags := r.Uint8()
		var lower, upper []byte
		var lnull, unull bool
		if flags&(rangeEmpty|rangeLowerInf) == 0 {
			lower, lnull = r.Value()
		}
		if flags&(rangeEmpty|rangeUpperInf) == 0 {
			upper, unull = r.Value()
		}
		if r.Done() != nil {
			break
		}
		if lnull || unull {
			return bad("a range with a NULL bound")
		}
		return d.putRange(n, flags, lower, upper, rep, false)
	case kMultirange: // multirange_send in multirangetypes.c
		count := r.Count(5)
		if r.Err() != nil {
			break
		}
		err := d.elements(n, count, rep, func(_ int, rep uint8) error {
			e, null := r.Value()
			if r.Err() != nil {
				return nil
			}
			return d.maybe(n.children[0], e, null, rep, false)
		})
		if err != nil {
			return err
		}
	case kInterval:
		s, err := spanBinary(v)
		if err != nil {
			return err
		}
		return d.putInterval(n, s, rep)
	case kTimetz: // timetz_send in date.c: the zone counts west of UTC
		us, west := int64(r.Uint64()), r.Int32()
		if r.Done() != nil {
			break
		}
		if us < 0 || us > dayMicros || west <= -16*3600 || west >= 16*3600 {
			return bad("not a time of day with an offset")
		}
		return d.putTimetz(n, us, -int64(west), rep)
	case kFloats:
		if len(v) != 8*len(n.children) {
			return badLength(len(v), 8*len(n.children))
		}
		d.floats(n, &r, rep)
	case kPath: // path_send in geo_ops.c
		closed := r.Uint8()
		count := r.Count(16)
		if r.Err() != nil {
			break
		}
		if closed > 1 {
			return bad("a path that is neither open nor closed")
		}
		d.leafBool(n.children[0], closed == 1, rep)
		d.points(n.children[1], &r, count, rep)
	case kPolygon:
		count := r.Count(16)
		if r.Err() != nil {
			break
		}
		d.points(n, &r, count, rep)
	case kFloatList, kHalfList: // vector_send and halfvec_send of pgvector
		count := int(int16(r.Uint16()))
		r.Uint16()
		size := 4
		if n.kind == kHalfList {
			size = 2
		}
		if r.Err() == nil && (count < 0 || count*size != r.Len()) {
			return bad("a vector of %d dimensions in %d bytes", count, len(v))
		}
		if r.Err() != nil {
			break
		}
		if err := n.checkDims(count); err != nil {
			return err
		}
		c := n.children[0]
		return d.elements(n, count, rep, func(_ int, rep uint8) error {
			if size == 2 {
				d.leaf32(c, halfToFloat32(r.Uint16()), rep)
			} else {
				d.leaf32(c, canon32(r.Uint32()), rep)
			}
			return nil
		})
	case kSparse: // sparsevec_send of pgvector: indices count from 0, its text's from 1
		dims, count := r.Int32(), int(r.Int32())
		r.Uint32()
		if r.Err() == nil && (count < 0 || 8*count != r.Len()) {
			return bad("a sparse vector of %d values in %d bytes", count, len(v))
		}
		if r.Err() != nil {
			break
		}
		idx, val := n.children[1], n.children[2]
		d.leaf32(n.children[0], uint32(dims), rep)
		for _, l := range [...]*node{idx, val} {
			add := uint32(0)
			if l == idx {
				add = 1
			}
			err := d.elements(l, count, rep, func(_ int, rep uint8) error {
				x := r.Uint32()
				if l == val {
					x = canon32(x)
				}
				d.leaf32(l.children[0], x+add, rep)
				return nil
			})
			if err != nil {
				return err
			}
		}
	default:
		return bad("no binary form is read for this type")
	}
	if r.Done() != nil {
		return bad("a value that is cut or too long: %v", r.Err())
	}
	return nil
}

func (n *node) checkDims(count int) error {
	if n.width > 0 && count != n.width {
		return bad("a vector of %d dimensions in a column of %d", count, n.width)
	}
	return nil
}

func (d *Decoder) floats(n *node, r *pgbin.Reader, rep uint8) {
	for _, c := range n.children {
		d.leaf64(c, canon64(r.Uint64()), rep)
	}
}

func (d *Decoder) points(list *node, r *pgbin.Reader, count int, rep uint8) {
	// elements fails only where its function does.
	_ = d.elements(list, count, rep, func(_ int, rep uint8) error {
		d.floats(list.children[0], r, rep)
		return nil
	})
}

// nestedText is nestedBinary for the text that the type's output function prints.
func (d *Decoder) nestedText(n *node, v []byte, rep uint8) error {
	switch n.kind {
	case kStruct:
		return d.recordText(n, v, rep)
	case kList:
		return d.arrayText(n, v, rep)
	case kVector:
		return d.vectorText(n, v, rep)
	case kMap:
		return d.hstoreText(n, v, rep)
	case kRange:
		rest, err := d.rangeText(n, v, rep)
		if err == nil && len(rest) > 0 {
			err = errRange
		}
		return err
	case kMultirange:
		return d.multirangeText(n, v, rep)
	case kInterval:
		s, err := parseSpan(v)
		if err != nil {
			return err
		}
		return d.putInterval(n, s, rep)
	case kTimetz:
		us, rest, ok := scanTime(v)
		var east int64
		if ok {
			east, rest, ok = scanZone(rest)
		}
		if !ok || len(rest) > 0 || us > dayMicros {
			return bad("not a time of day with an offset")
		}
		return d.putTimetz(n, us, east, rep)
	case kFloats:
		rest, err := d.floatsText(n, v, rep)
		if err == nil && len(rest) > 0 {
			err = errGeometric
		}
		return err
	case kPath:
		if len(v) < 2 || (v[0] != '[' || v[len(v)-1] != ']') && (v[0] != '(' || v[len(v)-1] != ')') {
			return errGeometric
		}
		d.leafBool(n.children[0], v[0] == '(', rep)
		return d.pointsText(n.children[1], v[1:len(v)-1], rep)
	case kPolygon:
		if len(v) < 2 || v[0] != '(' || v[len(v)-1] != ')' {
			return errGeometric
		}
		return d.pointsText(n, v[1:len(v)-1], rep)
	case kFloatList, kHalfList:
		return d.floatListText(n, v, rep)
	case kSparse:
		return d.sparseText(n, v, rep)
	}
	return bad("no text form is read for this type")
}

var (
	errRecord    = bad("not a composite value")
	errArray     = bad("not an array")
	errHstore    = bad("not an hstore")
	errRange     = bad("not a range")
	errGeometric = bad("not a geometric value")
	errVector    = bad("not a vector")
)

// item reads one field of a record or one bound of a range: up to an unquoted byte of stop, which stays in rest. What is
// quoted or escaped is unpacked into the scratch of n. bare tells that no quote was seen, so that nothing means NULL.
// Source: record_in in rowtypes.c, range_parse_bound in rangetypes.c.
func (d *Decoder) item(n *node, v []byte, stop string) (val, rest []byte, bare, ok bool) {
	i := bytes.IndexAny(v, stop)
	if i < 0 {
		return nil, nil, false, false
	}
	if bytes.IndexByte(v[:i], '"') < 0 && bytes.IndexByte(v[:i], '\\') < 0 {
		return v[:i], v[i:], true, true
	}
	buf := d.shrink(d.scratch[n.id][:0])
	quoted := false
	for i = 0; i < len(v); i++ {
		switch b := v[i]; {
		case b == '\\':
			if i++; i == len(v) {
				return nil, nil, false, false
			}
			buf = append(buf, v[i])
		case b == '"' && quoted && i+1 < len(v) && v[i+1] == '"':
			buf = append(buf, '"')
			i++
		case b == '"':
			quoted = !quoted
		case !quoted && (b == stop[0] || b == stop[1] || b == stop[len(stop)-1]):
			d.scratch[n.id] = buf
			return buf, v[i:], false, true
		default:
			buf = append(buf, b)
		}
	}
	return nil, nil, false, false
}

func (d *Decoder) recordText(n *node, v []byte, rep uint8) error {
	if len(v) < 2 || v[0] != '(' {
		return errRecord
	}
	rest := v
	for i, c := range n.children {
		if len(rest) == 0 || (rest[0] != ',') != (i == 0) {
			return bad("a composite value of %d fields, the catalog says %d: the type has changed", i, len(n.children))
		}
		val, after, bare, ok := d.item(c, rest[1:], ",)")
		if !ok {
			return errRecord
		}
		rest = after
		if err := d.maybe(c, val, bare && len(val) == 0, rep, true); err != nil {
			return err
		}
	}
	if len(rest) != 1 || rest[0] != ')' {
		return bad("a composite value of more than %d fields: the type has changed", len(n.children))
	}
	return nil
}

// arrayText reads {…}. Source: array_out in arrayfuncs.c.
func (d *Decoder) arrayText(n *node, v []byte, rep uint8) error {
	if len(v) > 0 && v[0] == '[' {
		bounds, _, ok := bytes.Cut(v, []byte("="))
		lower, _, ok2 := bytes.Cut(bounds[1:], []byte(":"))
		first, err := parseInt(lower, math.MinInt32, math.MaxInt32)
		if !ok || !ok2 || err != nil {
			return errArray
		}
		if err := checkArray(bytes.Count(bounds, []byte("[")), int32(first)); err != nil {
			return err
		}
		return errArray // bounds are not shown that are the usual ones
	}
	if dims := len(v) - len(bytes.TrimLeft(v, "{")); dims > 1 {
		return checkArray(dims, 1)
	}
	if len(v) < 2 || v[0] != '{' || v[len(v)-1] != '}' {
		return errArray
	}
	v = v[1 : len(v)-1]
	if len(v) == 0 {
		d.absent(n, n.def, rep)
		return nil
	}
	c := n.children[0]
	for {
		val, rest, null, err := d.element(c, v, n.delim)
		if err != nil {
			return err
		}
		if err := d.maybe(c, val, null, rep, true); err != nil {
			return err
		}
		rep = c.rep
		if len(rest) == 0 {
			return nil
		}
		v = rest[1:]
	}
}

// element reads one element of an array up to the delimiter, which stays in rest, or to the end.
func (d *Decoder) element(n *node, v []byte, delim byte) (val, rest []byte, null bool, err error) {
	if len(v) == 0 || v[0] == '{' {
		return nil, nil, false, errArray
	}
	if v[0] != '"' {
		i := bytes.IndexByte(v, delim)
		if i < 0 {
			i = len(v)
		}
		if i == 0 || bytes.IndexByte(v[:i], '"') >= 0 || bytes.IndexByte(v[:i], '\\') >= 0 {
			return nil, nil, false, errArray
		}
		return v[:i], v[i:], string(v[:i]) == "NULL", nil
	}
	val, rest, ok := d.quotedText(n, v)
	if !ok || len(rest) > 0 && rest[0] != delim {
		return nil, nil, false, errArray
	}
	return val, rest, false, nil
}

// quotedText reads "…" in which a backslash makes the next byte itself.
func (d *Decoder) quotedText(n *node, v []byte) (val, rest []byte, ok bool) {
	if len(v) < 2 || v[0] != '"' {
		return nil, nil, false
	}
	v = v[1:]
	i := bytes.IndexByte(v, '"')
	if i < 0 {
		return nil, nil, false
	}
	if bytes.IndexByte(v[:i], '\\') < 0 {
		return v[:i], v[i+1:], true
	}
	buf := d.shrink(d.scratch[n.id][:0])
	for i = 0; i < len(v); i++ {
		switch v[i] {
		case '"':
			d.scratch[n.id] = buf
			return buf, v[i+1:], true
		case '\\':
			if i++; i == len(v) {
				return nil, nil, false
			}
		}
		buf = append(buf, v[i])
	}
	return nil, nil, false
}

// vectorText reads int2vector and oidvector: numbers with blanks between them.
func (d *Decoder) vectorText(n *node, v []byte, rep uint8) error {
	if len(v) == 0 {
		d.absent(n, n.def, rep)
		return nil
	}
	c := n.children[0]
	for {
		i := bytes.IndexByte(v, ' ')
		last := i < 0
		if last {
			i = len(v)
		}
		if err := d.inner(c, v[:i], rep, true); err != nil {
			return err
		}
		if last {
			return nil
		}
		rep = c.rep
		v = v[i+1:]
	}
}

// hstoreText reads "key"=>"value", "key"=>NULL. Source: hstore_out in hstore_io.c.
func (d *Decoder) hstoreText(n *node, v []byte, rep uint8) error {
	if len(v) == 0 {
		d.absent(n, n.def, rep)
		return nil
	}
	kn, vn := n.children[0], n.children[1]
	for {
		key, rest, ok := d.quotedText(kn, v)
		if !ok || !bytes.HasPrefix(rest, []byte("=>")) {
			return errHstore
		}
		if err := d.inner(kn, key, rep, true); err != nil {
			return err
		}
		rest = rest[2:]
		var val []byte
		null := bytes.HasPrefix(rest, []byte("NULL"))
		if null {
			rest = rest[4:]
		} else if val, rest, ok = d.quotedText(vn, rest); !ok {
			return errHstore
		}
		if err := d.maybe(vn, val, null, rep, true); err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
		if !bytes.HasPrefix(rest, []byte(", ")) {
			return errHstore
		}
		v, rep = rest[2:], kn.rep
	}
}

// rangeText reads one range and gives what follows. Source: range_deparse in rangetypes.c.
func (d *Decoder) rangeText(n *node, v []byte, rep uint8) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(v, []byte("empty")); ok {
		return rest, d.putRange(n, rangeEmpty, nil, nil, rep, true)
	}
	if len(v) < 3 || v[0] != '[' && v[0] != '(' {
		return nil, errRange
	}
	var flags byte
	if v[0] == '[' {
		flags |= rangeLowerInc
	}
	lower, rest, bare, ok := d.item(n.children[0], v[1:], ",,")
	if !ok {
		return nil, errRange
	}
	if bare && len(lower) == 0 {
		flags |= rangeLowerInf
	}
	upper, rest, bare, ok := d.item(n.children[1], rest[1:], ")]")
	if !ok {
		return nil, errRange
	}
	if bare && len(upper) == 0 {
		flags |= rangeUpperInf
	}
	if rest[0] == ']' {
		flags |= rangeUpperInc
	}
	return rest[1:], d.putRange(n, flags, lower, upper, rep, true)
}

func (d *Decoder) multirangeText(n *node, v []byte, rep uint8) error {
	if len(v) < 2 || v[0] != '{' || v[len(v)-1] != '}' {
		return errRange
	}
	v = v[1 : len(v)-1]
	if len(v) == 0 {
		d.absent(n, n.def, rep)
		return nil
	}
	for {
		rest, err := d.rangeText(n.children[0], v, rep)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
		if rest[0] != ',' {
			return errRange
		}
		v, rep = rest[1:], n.children[0].rep
	}
}

// floatsText reads numbers in the punctuation that the node's pattern shows, in which each x is one, and gives what
// follows.
func (d *Decoder) floatsText(n *node, v []byte, rep uint8) ([]byte, error) {
	child := 0
	for _, b := range []byte(n.pattern) {
		if b != 'x' {
			if len(v) == 0 || v[0] != b {
				return nil, errGeometric
			}
			v = v[1:]
			continue
		}
		i := bytes.IndexAny(v, ",)}>")
		if i < 0 {
			return nil, errGeometric
		}
		x, err := parseFloat64(v[:i])
		if err != nil {
			return nil, errGeometric
		}
		d.leaf64(n.children[child], x, rep)
		child++
		v = v[i:]
	}
	return v, nil
}

func (d *Decoder) pointsText(list *node, v []byte, rep uint8) error {
	if len(v) == 0 {
		d.absent(list, list.def, rep)
		return nil
	}
	for {
		rest, err := d.floatsText(list.children[0], v, rep)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
		if rest[0] != ',' {
			return errGeometric
		}
		v, rep = rest[1:], list.children[0].rep
	}
}

// floatListText reads pgvector's [1,2,3].
func (d *Decoder) floatListText(n *node, v []byte, rep uint8) error {
	if len(v) < 2 || v[0] != '[' || v[len(v)-1] != ']' {
		return errVector
	}
	v = v[1 : len(v)-1]
	count := 0
	if len(v) > 0 {
		count = bytes.Count(v, []byte(",")) + 1
	}
	if err := n.checkDims(count); err != nil {
		return err
	}
	return d.elements(n, count, rep, func(_ int, rep uint8) error {
		e, rest, _ := bytes.Cut(v, []byte(","))
		v = rest
		x, err := parseFloat32(e)
		if err != nil {
			return errVector
		}
		d.leaf32(n.children[0], x, rep)
		return nil
	})
}

// sparseText reads pgvector's {1:0.5,3:2}/5.
func (d *Decoder) sparseText(n *node, v []byte, rep uint8) error {
	body, size, ok := bytes.Cut(v, []byte("}/"))
	if !ok || len(body) == 0 || body[0] != '{' {
		return errVector
	}
	dims, err := parseInt(size, 0, math.MaxInt32)
	if err != nil {
		return errVector
	}
	d.leaf32(n.children[0], uint32(dims), rep)
	body = body[1:]
	count := 0
	if len(body) > 0 {
		count = bytes.Count(body, []byte(",")) + 1
	}
	for which, list := range n.children[1:] {
		left := body
		err := d.elements(list, count, rep, func(_ int, rep uint8) error {
			e, rest, _ := bytes.Cut(left, []byte(","))
			left = rest
			at, val, ok := bytes.Cut(e, []byte(":"))
			if !ok {
				return errVector
			}
			if which == 0 {
				x, err := parseInt(at, 1, math.MaxInt32)
				if err != nil {
					return errVector
				}
				d.leaf32(list.children[0], uint32(x), rep)
				return nil
			}
			x, err := parseFloat32(val)
			if err != nil {
				return errVector
			}
			d.leaf32(list.children[0], x, rep)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
