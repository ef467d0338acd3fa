package parquetw

import (
	"math/bits"

	"fast-export/internal/column"
)

// rowSizes tells how many PLAIN bytes the rows of a batch have. What a row has is found out only for a batch in which a
// row group ends.
type rowSizes struct {
	leaves []column.Leaf
	batch  *column.Batch
	rows   []int64 // bytes of each row; nil: not known yet
}

// until counts the bytes of rows from `from` on, up to n of them or until they reach limit: then it is true, and the last
// of the k rows is the one that reaches it.
func (s *rowSizes) until(from, n int, limit int64) (k int, bytes int64, reached bool, err error) {
	if s.rows == nil {
		if from == 0 && n == s.batch.Rows {
			for i := range s.batch.Leaves {
				bytes += int64(len(s.batch.Leaves[i].Data))
			}
			if bytes < limit {
				return n, bytes, false, nil
			}
			bytes = 0
		}
		if err := s.count(); err != nil {
			return 0, 0, false, err
		}
	}
	for k < n && bytes < limit {
		bytes += s.rows[from+k]
		k++
	}
	return k, bytes, bytes >= limit, nil
}

// count finds out the bytes of each row.
func (s *rowSizes) count() error {
	s.rows = make([]int64, s.batch.Rows)
	for i := range s.leaves {
		l, buf := &s.leaves[i], &s.batch.Leaves[i]
		if err := l.Check(buf, s.batch.Rows); err != nil {
			return err
		}
		at := 0
		size := func() (int64, error) { // of the next value
			n := l.Width
			if n == 0 {
				var err error
				if n, err = byteArray(l, buf.Data, at); err != nil {
					return 0, err
				}
			}
			at += n
			return int64(n), nil
		}
		add := func(row int) error {
			n, err := size()
			s.rows[row] += n
			return err
		}
		var err error
		switch {
		case l.Flat() && l.MaxDef == 0:
			for row := 0; row < s.batch.Rows && err == nil; row++ {
				err = add(row)
			}
		case l.Flat():
			for k, b := range buf.Valid[:(s.batch.Rows+7)/8] { // bits past the last row are 0
				for ; b != 0 && err == nil; b &= b - 1 {
					err = add(8*k + bits.TrailingZeros8(b))
				}
			}
		default:
			row := -1
			for k, d := range buf.Def {
				if len(buf.Rep) == 0 || buf.Rep[k] == 0 {
					row++
				}
				if d == l.MaxDef && err == nil {
					err = add(row)
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
