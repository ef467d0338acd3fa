package parquetw

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"fast-export/internal/column"
)

// SortError is a row that is not where Options.SortedBy says it is.
type SortError struct {
	Columns []string // Options.SortedBy
	Row     int64    // of the file, from 1
	Reason  string
}

func (e *SortError) Error() string {
	return fmt.Sprintf("the rows are not sorted by %s: row %d %s", strings.Join(e.Columns, ", "), e.Row, e.Reason)
}

// sortCheck holds the rows to Options.SortedBy as they come, in the order of the file. A nil one checks nothing.
type sortCheck struct {
	names []string
	keys  []sortKey
	row   int64 // rows seen
}

// sortKey is one of the columns, and its value in the row seen last.
type sortKey struct {
	leaf  *column.Leaf
	index int // of the leaf
	order order
	last  []byte // PLAIN without a length; nil: NULL
	kept  []byte // room for last when its batch is gone
	at    int    // in the batch's data
}

// newSortCheck makes what Options.SortedBy asks for, nil without it.
func (w *Writer) newSortCheck() (*sortCheck, error) {
	if len(w.opt.SortedBy) == 0 {
		return nil, nil
	}
	c := &sortCheck{names: w.opt.SortedBy}
	for i, name := range c.names {
		leaves, err := columnLeaves(ForOrder, w.opt.Schema, w.leaves, name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(c.names[:i], name) {
			return nil, &ColumnError{Option: ForOrder, Column: name, Reason: "is there twice to sort by"}
		}
		k := sortKey{leaf: &w.leaves[leaves[0]], index: leaves[0], order: w.encoders[leaves[0]].order}
		if len(leaves) > 1 || !k.leaf.Flat() || k.order == orderNone {
			return nil, w.columnError(ForOrder, leaves[0], "has no order to sort by")
		}
		c.keys = append(c.keys, k)
	}
	return c, nil
}

// check takes in the next batch.
func (c *sortCheck) check(b *column.Batch) error {
	if c == nil {
		return nil
	}
	for i := range c.keys {
		k := &c.keys[i]
		k.at = 0
		if err := k.leaf.Check(&b.Leaves[k.index], b.Rows); err != nil {
			return err
		}
	}
	for row := range b.Rows {
		c.row++
		decided := c.row == 1
		for i := range c.keys {
			k := &c.keys[i]
			v, err := k.next(&b.Leaves[k.index], row)
			if err != nil {
				return err
			}
			if k.isNaN(v) {
				return &SortError{c.names, c.row, fmt.Sprintf("has NaN in %s, which has no place in an order", c.names[i])}
			}
			if !decided {
				d := k.compare(k.last, v)
				if d > 0 {
					return &SortError{c.names, c.row, "belongs before the row above it, by " + c.names[i]}
				}
				decided = d < 0
			}
			k.last = v
		}
	}
	for i := range c.keys { // the batch is somebody else's from here on
		if k := &c.keys[i]; k.last != nil && b.Rows > 0 {
			k.kept = append(append(k.kept[:0], k.last...), 0) // not nil for an empty value, which is no NULL
			k.last = k.kept[:len(k.last):len(k.last)]
		}
	}
	return nil
}

// next is the value of a row, nil for NULL; rows are asked for one after the other.
func (k *sortKey) next(buf *column.Buffer, row int) ([]byte, error) {
	if k.leaf.MaxDef > 0 && buf.Valid[row>>3]>>(row&7)&1 == 0 {
		return nil, nil
	}
	n, head := k.leaf.Width, 0
	if n == 0 {
		var err error
		if n, err = byteArray(k.leaf, buf.Data, k.at); err != nil {
			return nil, err
		}
		head = 4
	}
	v := buf.Data[k.at+head : k.at+n : k.at+n]
	k.at += n
	return v, nil
}

func (k *sortKey) isNaN(v []byte) bool {
	if v == nil {
		return false
	}
	switch k.order {
	case orderFloat32:
		f := math.Float32frombits(le.Uint32(v))
		return f != f
	case orderFloat64:
		f := math.Float64frombits(le.Uint64(v))
		return f != f
	case orderFloat16:
		return math.IsNaN(fromHalf(le.Uint16(v)))
	}
	return false
}

// compare orders two values, NULL last.
func (k *sortKey) compare(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return compareEncoded(k.order, a, b)
}
