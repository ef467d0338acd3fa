package parquetw

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Texts that begin like the one before leave that out, across batches, NULLs, empty and very long ones, and other readers
// find them whole. The bytes do not depend on how the rows came.
func TestTextsThatBeginAlike(t *testing.T) {
	t.Parallel()
	const rows = 6000
	long := strings.Repeat("long", maxLast/4) // may be begun like; one byte more may not
	values := []func(i int) string{
		func(i int) string { return fmt.Sprintf("2016-11-19T15:21:03.411_%08d", i) },
		func(i int) string { return fmt.Sprintf("trk%032x", i/4*2654435761) },
		func(i int) string { return strings.Repeat("x", i%70) + fmt.Sprint(i) },
		func(i int) string { // each the beginning of the one before, or that of the next
			return "the beginning of all of them"[:i%29] + strings.Repeat("é", i%40)
		},
		func(i int) string {
			switch i % 997 {
			case 0, 1:
				return long + fmt.Sprint(i)
			case 2, 3:
				return long[:maxLast]
			}
			return fmt.Sprintf("between the long ones %d", i)
		},
		func(i int) string {
			return fmt.Sprintf("%08x%08x%08x%08x", scattered(i), scattered(i+7), scattered(i+9), scattered(i+77))
		},
	}
	var fields []arrow.Field
	for i := range values {
		fields = append(fields, field(fmt.Sprint("text", i), arrow.BinaryTypes.String, true), field(fmt.Sprint("bytes", i), arrow.BinaryTypes.Binary, false),
			field(fmt.Sprint("list", i), arrow.ListOf(arrow.BinaryTypes.String), true))
	}
	s := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	defer b.Release()
	for r := range rows {
		for i, value := range values {
			v := value(r)
			if texts := b.Field(3 * i).(*array.StringBuilder); r%7 == i {
				texts.AppendNull()
			} else {
				texts.Append(v)
			}
			b.Field(3*i + 1).(*array.BinaryBuilder).AppendString(v)
			list := b.Field(3*i + 2).(*array.ListBuilder)
			list.Append(true)
			for k := range r % 3 {
				list.ValueBuilder().(*array.StringBuilder).Append(value(r + k))
			}
		}
	}
	rec := b.NewRecordBatch()
	dir := t.TempDir()
	digests := map[string]string{}
	for _, lay := range []layout{{pageRows: 512, pageBytes: 8 << 10, dictBytes: 4 << 10}, layoutFor(len(fields))} {
		for _, hint := range []Encoding{Auto, Delta} {
			for _, step := range []int{1, 100, 1777, rows} {
				opt := Options{Schema: s, Encodings: everywhere(t, s, hint), layout: lay, Hash: true, RowGroupRows: 3500}
				path := filepath.Join(dir, fmt.Sprint(lay.pageRows, hint, step)+".parquet")
				res, err := writeTo(t, path, opt, rec, every(rows, step)...)
				if err != nil {
					t.Fatal(err)
				}
				of := fmt.Sprint(lay, hint)
				if was := digests[of]; was != "" && was != res.SHA256 {
					t.Errorf("layout %v, %s: other bytes in batches of %d rows", lay, hint, step)
				}
				digests[of] = res.SHA256
				if step == 100 {
					writeIPC(t, strings.TrimSuffix(path, ".parquet")+".arrow", rec)
					for i := range values {
						if hint == Auto && i == 1 {
							continue // four times each: a dictionary may be as good
						}
						if got, want := encodingsOf(t, path, 3*i+1), "DELTA_BYTE_ARRAY"; strings.Contains(got, want) != (i < 5) {
							t.Errorf("layout %v, %s: %s is %s", lay, hint, fields[3*i+1].Name, got)
						}
					}
				} else if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Log(python(t, "compare.py", dir))
}
