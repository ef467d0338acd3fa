package typemap

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"fast-export/internal/column"
)

// NULLs are where they were in the stream, whatever the number of columns and of rows, wherever the stream is cut: told by
// the stream's maker, since the two transports share what keeps them.
func TestNullsWhereTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for _, columns := range []int{1, 3, 63, 64, 65, 127, 128, 129, 200} {
		for _, rows := range []int{1, 7, 8, 63, 64, 65, 129, 300} {
			var cols []Column
			for i := range columns {
				c := Column{Name: fmt.Sprint("c", i), OID: 23, Typmod: -1}
				switch i % 9 {
				case 3:
					c.NotNull = true
				case 5:
					c.OID = 1007 // int4[]
				case 7:
					c.OID, c.NotNull = 1082, true // a date, of which infinity becomes NULL
				}
				cols = append(cols, c)
			}
			p, err := NewPlan(builtin(t), cols, Options{Infinity: InfinityNull}, Binary)
			if err != nil {
				t.Fatal(err)
			}
			null := make([][]bool, rows)
			data := append([]byte(binaryMagic), 0, 0, 0, 0, 0, 0, 0, 0)
			for row := range null {
				null[row] = make([]bool, columns)
				data = be.AppendUint16(data, uint16(columns))
				often := r.Float64() // rows of hardly any NULLs, and of runs of them
				for i, c := range cols {
					null[row][i] = r.Float64() < often && (!c.NotNull || c.OID == 1082)
					switch {
					case c.OID == 1082 && null[row][i]:
						data = be.AppendUint32(be.AppendUint32(data, 4), 0x7fffffff)
					case null[row][i]:
						data = be.AppendUint32(data, nullLength)
					case c.OID == 1007:
						data = be.AppendUint32(data, 28)
						for _, x := range []uint32{1, 0, 23, 1, 1, 4} {
							data = be.AppendUint32(data, x)
						}
						data = be.AppendUint32(data, uint32(row))
					default:
						data = be.AppendUint32(be.AppendUint32(data, 4), uint32(row))
					}
				}
			}
			data = be.AppendUint16(data, 0xFFFF)
			batchRows := 1 + r.IntN(150)
			got, err := collect(p, DecoderOptions{BatchRows: batchRows}, data, func(rest []byte) int { return min(len(rest), 1+r.IntN(3000)) })
			if err != nil {
				t.Fatalf("%d columns, %d rows: %v", columns, rows, err)
			}
			at := 0
			for _, b := range got {
				if err := b.Check(p.Leaves); err != nil {
					t.Fatal(err)
				}
				for i, n := range p.nodes {
					leaf, buf := &p.Leaves[n.leafLo], &b.Leaves[n.leafLo]
					for row := range b.Rows {
						is := false
						switch {
						case leaf.MaxRep > 0:
							is = buf.Def[row] == 0 // lists of one element: an entry a row
						case leaf.MaxDef > 0:
							is = column.PopCount(buf.Valid, row, row+1) == 0
						}
						if is != null[at+row][i] {
							t.Fatalf("%d columns, %d rows, batches of %d: row %d, column %d: NULL is %v", columns, rows, batchRows, at+row, i, is)
						}
					}
				}
				at += b.Rows
			}
			if at != rows {
				t.Fatalf("%d rows of %d", at, rows)
			}
		}
	}
}
