package parquetw_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow"

	"fast-export/internal/column"
	"fast-export/parquetw"
)

func Example() {
	dir, err := os.MkdirTemp("", "parquetw")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pool := parquetw.NewPool(2, 64<<20, func() (*os.File, error) { return os.CreateTemp(dir, "pages-") })
	defer pool.Close()

	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int32}}, nil)
	w, err := parquetw.Create(filepath.Join(dir, "ids.parquet"), parquetw.Options{Schema: schema, RowGroupRows: 400, Pool: pool})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Abort()

	ctx := context.Background()
	for first := range 10 {
		b := column.NewBatch(1, 1, nil)
		b.Rows, b.Leaves[0].Values = 100, 100
		for i := range 100 {
			b.Leaves[0].Data = binary.LittleEndian.AppendUint32(b.Leaves[0].Data, uint32(100*first+i))
		}
		if err := w.Write(ctx, b); err != nil {
			log.Fatal(err)
		}
	}
	res, err := w.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Rows, "rows in", res.RowGroups, "row groups")
	// Output: 1000 rows in 3 row groups
}
