package export

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"fast-export/chunker"
	"fast-export/internal/column"
	"fast-export/parquetw"
	"fast-export/typemap"
)

// What an open file holds on to follows from its leaves or its rows, and bloom filters come on top, of lists the largest.
func TestOpenBytes(t *testing.T) {
	s := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String)}}, nil)
	_, leaves, err := column.FromArrow(s)
	if err != nil {
		t.Fatal(err)
	}
	const small = 3*1000 + 2*emptyLeaf
	for _, c := range []struct {
		heap  int64
		bloom []string
		want  int64
	}{
		{0, nil, parquetw.OpenBytes(2)},
		{1 << 40, nil, parquetw.OpenBytes(2)},
		{1000, nil, small},
		{1000, []string{"id"}, small + 2<<20},
		{1000, []string{"tags"}, small + 16<<20},
		{1 << 40, []string{"id", "tags"}, parquetw.OpenBytes(2) + 18<<20},
	} {
		j := &job{Job: &Job{Bloom: c.bloom, RowGroupRows: 1_000_000}, plan: &chunker.Plan{HeapBytes: c.heap}, types: &typemap.Plan{Schema: s, Leaves: leaves}}
		if got := j.openBytes(); got != c.want {
			t.Errorf("%d bytes of rows, filters of %v: %d, not %d", c.heap, c.bloom, got, c.want)
		}
	}
}
