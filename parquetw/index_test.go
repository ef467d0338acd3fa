package parquetw

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"fast-export/internal/column"
)

// checkIndexes compares what a file says of itself, as arrow-go reads it, with the rows it was made of: null counts and
// bounds of column chunks and pages, places of pages, totals.
func checkIndexes(t testing.TB, path string, rec arrow.RecordBatch) {
	t.Helper()
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, leaves, err := column.FromArrow(rec.Schema())
	if err != nil {
		t.Fatal(err)
	}
	fields := leafFields(nil, rec.Schema().Fields())
	rows := int64(0)
	for g := range r.NumRowGroups() {
		rg := r.MetaData().RowGroup(g)
		index, err := r.GetPageIndexReader().RowGroup(g)
		if err != nil {
			t.Fatal(err)
		}
		raw, size := int64(0), int64(0)
		group := shred(t, leaves, rec, int(rows), int(rows+rg.NumRows()), nil)
		for i := range leaves {
			where := fmt.Sprintf("row group %d, leaf %s", g, leaves[i].Path)
			c, err := rg.ColumnChunk(i)
			if err != nil {
				t.Fatal(err)
			}
			raw += c.TotalUncompressedSize()
			size += c.TotalCompressedSize()
			o := newOracle(&leaves[i], r.MetaData().Schema.Column(i), fields[i])
			st, err := c.Statistics()
			if err != nil {
				t.Fatal(err)
			}
			var e metadata.EncodedStatistics
			if st != nil {
				if e, err = st.Encode(); err != nil {
					t.Fatal(err)
				}
			}
			o.check(t, where, &group.Leaves[i], e.HasMin && e.HasMax, e.Min, e.Max, e.NullCount)
			if n := int64(entries(&leaves[i], &group.Leaves[i], group.Rows)); n != c.NumValues() {
				t.Errorf("%s: %d values, not %d", where, c.NumValues(), n)
			}

			offsets, err := index.GetOffsetIndex(i)
			if err != nil || offsets == nil {
				t.Fatalf("%s: offset index: %v", where, err)
			}
			columns, err := index.GetColumnIndex(i)
			if err != nil {
				t.Fatalf("%s: column index: %v", where, err)
			}
			at := c.DataPageOffset()
			locations := offsets.GetPageLocations()
			unbounded := !o.ordered // some page has no bounds
			for k, p := range locations {
				where := fmt.Sprintf("%s, page %d", where, k)
				if p.Offset != at {
					t.Errorf("%s: at %d, not %d", where, p.Offset, at)
				}
				at += int64(p.CompressedPageSize)
				next := rg.NumRows()
				if k+1 < len(locations) {
					next = locations[k+1].FirstRowIndex
				}
				page := shred(t, leaves, rec, int(rows+p.FirstRowIndex), int(rows+next), nil)
				if columns == nil {
					least, greatest := o.extremes(&page.Leaves[i])
					unbounded = unbounded || page.Leaves[i].Values > 0 && (least == nil || !o.boundable(greatest))
					continue
				}
				if null := page.Leaves[i].Values == 0; null != columns.GetNullPages()[k] {
					t.Errorf("%s: null page: %v", where, !null)
				}
				o.check(t, where, &page.Leaves[i], !columns.GetNullPages()[k], columns.GetMinValues()[k], columns.GetMaxValues()[k], columns.GetNullCounts()[k])
				if k > 0 && !columns.GetNullPages()[k] && !columns.GetNullPages()[k-1] {
					up := o.compare(columns.GetMinValues()[k-1], columns.GetMinValues()[k]) <= 0 && o.compare(columns.GetMaxValues()[k-1], columns.GetMaxValues()[k]) <= 0
					if !up && columns.GetBoundaryOrder() == metadata.Ascending {
						t.Errorf("%s: not above the page before", where)
					}
				}
			}
			start := c.DataPageOffset()
			if c.HasDictionaryPage() {
				start = c.DictionaryPageOffset()
			}
			if at != start+c.TotalCompressedSize() {
				t.Errorf("%s: pages end at %d, the chunk at %d", where, at, start+c.TotalCompressedSize())
			}
			if columns == nil && !unbounded {
				t.Errorf("%s: no column index", where)
			}
			pages(t, where, r, g, i, c, len(locations))
		}
		if rg.TotalByteSize() != raw || rg.TotalCompressedSize() != size {
			t.Errorf("row group %d: sizes %d, %d, sums of its columns %d, %d", g, rg.TotalByteSize(), rg.TotalCompressedSize(), raw, size)
		}
		if int(rg.Ordinal()) != g {
			t.Errorf("row group %d has ordinal %d", g, rg.Ordinal())
		}
		rows += rg.NumRows()
	}
	if rows != rec.NumRows() || r.NumRows() != rows {
		t.Errorf("%d rows in the row groups, %d in the footer, want %d", rows, r.NumRows(), rec.NumRows())
	}
}

// pages reads the pages of a column chunk and compares their encodings with what the metadata promise.
func pages(t testing.TB, where string, r *file.Reader, g, i int, c *metadata.ColumnChunkMetaData, dataPages int) {
	t.Helper()
	pr, err := r.RowGroup(g).GetColumnPageReader(i)
	if err != nil {
		t.Fatal(err)
	}
	stats := map[metadata.PageEncodingStats]int{}
	n, values := 0, int64(0)
	for pr.Next() {
		p := pr.Page()
		if _, ok := p.(*file.DictionaryPage); ok {
			if n > 0 {
				t.Errorf("%s: a dictionary behind %d pages", where, n)
			}
		} else {
			n++
			values += int64(p.NumValues())
		}
		stats[metadata.PageEncodingStats{Encoding: encodingOf(p.Encoding()), PageType: p.Type()}]++
	}
	if err := pr.Err(); err != nil {
		t.Fatal(err)
	}
	if n != dataPages || values != c.NumValues() {
		t.Errorf("%s: %d pages of %d values, want %d of %d", where, n, values, dataPages, c.NumValues())
	}
	if len(stats) != len(c.EncodingStats()) {
		t.Errorf("%s: pages %v, encoding statistics %v", where, stats, c.EncodingStats())
	}
	for s := range stats {
		if !slices.Contains(c.EncodingStats(), s) {
			t.Errorf("%s: pages %v, encoding statistics %v", where, stats, c.EncodingStats())
		}
		if !slices.Contains(c.Encodings(), s.Encoding) {
			t.Errorf("%s: pages of encoding %s, the metadata name %v", where, s.Encoding, c.Encodings())
		}
	}
}

func entries(l *column.Leaf, b *column.Buffer, rows int) int {
	if l.Flat() {
		return rows
	}
	return len(b.Def)
}

// oracle knows the order of a leaf's values in the plainest way there is.
type oracle struct {
	leaf    *column.Leaf
	kind    string
	ordered bool
}

func newOracle(l *column.Leaf, c *schema.Column, f arrow.Field) *oracle {
	o := &oracle{leaf: l, ordered: true}
	switch t := f.Type.(type) {
	case *arrow.Decimal128Type, *arrow.Decimal256Type:
		o.kind = "decimal"
	case *arrow.Float16Type:
		o.kind = "float16"
	case *arrow.FixedSizeBinaryType:
		o.kind, o.ordered = "bytes", t.ByteWidth <= maxBound
	default:
		switch l.Physical {
		case column.Float32:
			o.kind = "float32"
		case column.Float64:
			o.kind = "float64"
		case column.Bool:
			o.kind = "unsigned"
		case column.Int32, column.Int64:
			o.kind = "signed"
			if strings.HasPrefix(f.Type.Name(), "uint") {
				o.kind = "unsigned"
			}
		default:
			o.kind = "bytes"
			if _, ok := c.LogicalType().(schema.StringLogicalType); ok {
				o.kind = "text"
			}
		}
	}
	return o
}

// number gives a value of a numeric kind; nil for NaN.
func (o *oracle) number(v []byte) *big.Float {
	n := new(big.Float).SetPrec(300)
	switch o.kind {
	case "float32", "float64", "float16":
		x := 0.0
		switch o.kind {
		case "float32":
			x = float64(math.Float32frombits(le.Uint32(v)))
		case "float64":
			x = math.Float64frombits(le.Uint64(v))
		default:
			x = float64(float16.FromBits(le.Uint16(v)).Float32())
		}
		if math.IsNaN(x) {
			return nil
		}
		return n.SetFloat64(x)
	case "decimal":
		i := new(big.Int).SetBytes(v)
		if v[0]&0x80 != 0 {
			i.Sub(i, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
		}
		return n.SetInt(i)
	}
	v = bytes.Clone(v)
	slices.Reverse(v)
	i := new(big.Int).SetBytes(v)
	if o.kind == "signed" && v[0]&0x80 != 0 {
		i.Sub(i, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
	}
	return n.SetInt(i)
}

func (o *oracle) compare(a, b []byte) int {
	if o.kind == "bytes" || o.kind == "text" {
		return bytes.Compare(a, b)
	}
	return o.number(a).Cmp(o.number(b))
}

// extremes gives the least and the greatest value; nil if there is a NaN among them.
func (o *oracle) extremes(b *column.Buffer) (least, greatest []byte) {
	for data := b.Data; len(data) > 0; {
		w := o.leaf.Width
		v := data
		if w > 0 {
			v, data = data[:w], data[w:]
		} else {
			n := le.Uint32(data)
			v, data = data[4:4+n], data[4+n:]
		}
		if o.kind != "bytes" && o.kind != "text" && o.number(v) == nil {
			return nil, nil
		}
		if least == nil || o.compare(v, least) < 0 {
			least = v
		}
		if greatest == nil || o.compare(v, greatest) > 0 {
			greatest = v
		}
	}
	return least, greatest
}

// boundable tells whether something short is above a value: beyond 64 bytes of 0xff, or as many of the last rune, not.
func (o *oracle) boundable(v []byte) bool {
	if len(v) <= maxBound {
		return true
	}
	if o.kind == "text" {
		return !strings.HasPrefix(string(v), strings.Repeat("\U0010ffff", maxBound/4))
	}
	return !strings.HasPrefix(string(v), strings.Repeat("\xff", maxBound))
}

func (o *oracle) check(t testing.TB, where string, b *column.Buffer, has bool, lo, hi []byte, nulls int64) {
	t.Helper()
	least, greatest := o.extremes(b)
	if want := int64(len(b.Def) - b.Values); len(b.Def) > 0 && nulls != want {
		t.Errorf("%s: %d nulls, want %d", where, nulls, want)
	}
	if least == nil || !o.ordered {
		if has && b.Values > 0 {
			t.Errorf("%s: bounds %x and %x of nothing that has an order", where, lo, hi)
		}
		return
	}
	if !has {
		if o.boundable(greatest) {
			t.Errorf("%s: no bounds", where)
		}
		return
	}
	if o.compare(lo, least) > 0 || o.compare(hi, greatest) < 0 {
		t.Errorf("%s: bounds %x and %x do not hold %x and %x", where, lo, hi, least, greatest)
	}
	if (len(least) <= maxBound) != (o.compare(lo, least) == 0) || (len(greatest) <= maxBound) != (o.compare(hi, greatest) == 0) {
		t.Errorf("%s: bounds %x and %x of %x and %x: exact only where they are short", where, lo, hi, least, greatest)
	}
	if len(lo) > maxBound || len(hi) > maxBound+3 {
		t.Errorf("%s: bounds of %d and %d bytes", where, len(lo), len(hi))
	}
	if o.kind == "text" && (!utf8.Valid(lo) || !utf8.Valid(hi)) {
		t.Errorf("%s: bounds %q and %q are no text", where, lo, hi)
	}
	if strings.HasPrefix(o.kind, "float") {
		if z := o.number(lo); z.Sign() == 0 && !z.Signbit() {
			t.Errorf("%s: the minimum 0 must be -0", where)
		}
		if z := o.number(hi); z.Sign() == 0 && z.Signbit() {
			t.Errorf("%s: the maximum -0 must be 0", where)
		}
	}
}

func encodingOf[T ~int32 | ~int64](e T) (out parquet.Encoding) { return parquet.Encoding(e) }
