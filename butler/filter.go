package butler

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"fast-export/butler/internal/colchunk"
	"fast-export/internal/column"
)

// DefaultTargetColumn is the column that ids are compared with when none is named.
const DefaultTargetColumn = "diaSourceId"

// IDSet is a set of ids to select rows by. It is safe for concurrent use.
type IDSet struct {
	ids    []int64  // ascending, each once
	starts []uint32 // first of ids in each bucket, and the end
	shift  uint
	nulls  int64
}

// NewIDSet makes a set of ids. It takes over the slice.
func NewIDSet(ids []int64) *IDSet {
	slices.Sort(ids)
	s := &IDSet{ids: slices.Compact(ids)}
	if len(s.ids) == 0 {
		return s
	}
	// One bucket an id, or up to two: where ids are spread evenly a look-up reads two or three of them, and where they
	// are not it is a binary search inside a bucket.
	span := uint64(s.ids[len(s.ids)-1]) - uint64(s.ids[0])
	s.shift = uint(max(0, bits.Len64(span)-bits.Len(uint(len(s.ids)))))
	s.starts = make([]uint32, span>>s.shift+2)
	bucket := uint64(0)
	for i, id := range s.ids {
		for b := (uint64(id) - uint64(s.ids[0])) >> s.shift; bucket <= b; bucket++ {
			s.starts[bucket] = uint32(i)
		}
	}
	for ; bucket < uint64(len(s.starts)); bucket++ {
		s.starts[bucket] = uint32(len(s.ids))
	}
	return s
}

// Len is the number of different ids.
func (s *IDSet) Len() int { return len(s.ids) }

// Nulls is how many nulls the file had: they are no ids.
func (s *IDSet) Nulls() int64 { return s.nulls }

// Bytes is the memory that the set holds.
func (s *IDSet) Bytes() int64 { return int64(cap(s.ids))*8 + int64(cap(s.starts))*4 }

// Has tells whether id is in the set.
func (s *IDSet) Has(id int64) bool {
	if len(s.ids) == 0 || id < s.ids[0] || id > s.ids[len(s.ids)-1] {
		return false
	}
	b := (uint64(id) - uint64(s.ids[0])) >> s.shift
	lo, hi := s.starts[b], s.starts[b+1]
	for hi-lo > 8 {
		mid := (lo + hi) / 2
		if s.ids[mid] <= id {
			lo = mid
		} else {
			hi = mid
		}
	}
	for ; lo < hi; lo++ {
		if s.ids[lo] == id {
			return true
		}
	}
	return false
}

// hasBetween tells whether some id is in [lo, hi].
func (s *IDSet) hasBetween(lo, hi int64) bool {
	i, _ := slices.BinarySearch(s.ids, lo)
	return i < len(s.ids) && s.ids[i] <= hi
}

// maxIDs bounds a set: its buckets are counted in 32 bits.
const maxIDs = math.MaxUint32 - 1

// LoadIDs reads a set of ids from a column of a Parquet file, its first column when columnName is empty. Every id must
// convert to int64 exactly: integers of every width, and texts of digits; the first that does not is a *FilterError
// with its row. Nulls are passed over and counted.
func LoadIDs(ctx context.Context, path, columnName string) (*IDSet, error) {
	fail := func(reason string, err error) error {
		return &FilterError{File: path, Column: columnName, Row: -1, Reason: reason, Err: err}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fail("cannot be read", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fail("not a regular file", nil)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail("cannot be read", err)
	}
	t, err := openTable(&datasetFile{ReaderAt: f, size: info.Size(), shown: path, close: f.Close})
	if err != nil {
		return nil, fail("cannot be read", err)
	}
	defer func() { _ = t.Close() }()
	if len(t.columns) == 0 {
		return nil, fail("it has no columns", nil)
	}
	at := 0
	if columnName != "" {
		if at = slices.IndexFunc(t.columns, func(c tableColumn) bool { return c.name == columnName }); at < 0 {
			return nil, fail("no such column (there are: "+columnNames(t.columns)+")", nil)
		}
	}
	c := &t.columns[at]
	l := &idLoader{table: t, column: c, fail: FilterError{File: path, Column: c.name, Row: -1}}
	if err := l.check(); err != nil {
		return nil, err
	}
	if err := l.read(ctx); err != nil {
		return nil, err
	}
	s := NewIDSet(l.ids)
	s.nulls = l.nulls
	return s, nil
}

// columnNames lists names for a message.
func columnNames(cs []tableColumn) string {
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = quoteName(c.name)
	}
	if len(names) > 20 {
		names = append(names[:20], fmt.Sprintf("and %d more", len(names)-20))
	}
	return strings.Join(names, ", ")
}

// idLoader reads the ids of one column.
type idLoader struct {
	table  *table
	column *tableColumn
	fail   FilterError // filled but for the reason
	ids    []int64
	nulls  int64
}

// check refuses columns that are neither integers nor texts.
func (l *idLoader) check() error {
	c := l.column
	switch {
	case c.dictionary:
		l.fail.Type = strings.TrimPrefix(c.refused, "of type ")
		c.convert = texts // they are stored as any others are
		return nil
	case c.refused == "":
		l.fail.Type = c.inFile()
	default:
		l.fail.Type = c.refused
	}
	if c.refused != "" || c.list > 0 || c.convert != texts && !isInteger(c.out) {
		l.fail.Reason = "ids must be integers or texts of digits"
		return &l.fail
	}
	return nil
}

func isInteger(t arrow.DataType) bool { return t != nil && arrow.IsInteger(t.ID()) }

func (l *idLoader) read(ctx context.Context) error {
	scratch := &colchunk.Scratch{PageLimit: 256 << 20}
	defer scratch.Close()
	var r colchunk.Reader
	row := int64(0)
	for g := range l.table.meta.RowGroups {
		if l.table.meta.RowGroup(g).NumRows() == 0 {
			continue // it need not have pages
		}
		src, err := l.table.columnSource(g, l.column)
		if err == nil {
			err = r.Reset(src, scratch)
		}
		for left := src.Rows; err == nil && left > 0; {
			if err = ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			var buf column.Buffer
			var n int
			if n, err = r.Read(&buf, 0, int(min(left, 1<<16)), 4<<20); err != nil {
				break
			}
			if err := l.take(&buf, n, row); err != nil {
				return err
			}
			left -= int64(n)
			row += int64(n)
		}
		if err != nil {
			l.fail.Reason, l.fail.Err = "cannot be read", err
			return &l.fail
		}
	}
	return nil
}

// take converts the values of rows [row, row+n).
func (l *idLoader) take(buf *column.Buffer, n int, row int64) error {
	data := buf.Data
	for i := range n {
		if buf.Valid[i>>3]>>(i&7)&1 == 0 {
			l.nulls++
			continue
		}
		var id int64
		ok := true
		var shown string
		if l.column.convert == texts {
			size := 4 + int(binary.LittleEndian.Uint32(data))
			shown = string(data[4:size])
			data = data[size:]
			id, ok = parseID(shown)
		} else {
			w := l.column.width
			id, ok = integerID(data, l.column.out.ID())
			if !ok {
				shown = strconv.FormatUint(binary.LittleEndian.Uint64(data), 10)
			}
			data = data[w:]
		}
		if !ok {
			l.fail.Row, l.fail.Value = row+int64(i), excerpt(shown)
			l.fail.Reason = fmt.Sprintf("%s is no 64-bit integer", quoteID(excerpt(shown)))
			return &l.fail
		}
		if len(l.ids) >= maxIDs {
			l.fail.Reason = "more ids than can be held"
			return &l.fail
		}
		l.ids = append(l.ids, id)
	}
	return nil
}

func quoteID(s string) string { return strconv.Quote(s) }

// parseID reads a text of digits, with a minus sign at most.
func parseID(s string) (int64, bool) {
	if digits := strings.TrimPrefix(s, "-"); digits == "" || digits[0] < '0' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// integerID takes one PLAIN integer of a column of type t; false when it is no int64.
func integerID(b []byte, t arrow.Type) (int64, bool) {
	switch t {
	case arrow.INT64:
		return int64(binary.LittleEndian.Uint64(b)), true
	case arrow.UINT64:
		v := binary.LittleEndian.Uint64(b)
		return int64(v), v <= math.MaxInt64
	case arrow.UINT32:
		return int64(binary.LittleEndian.Uint32(b)), true
	}
	return int64(int32(binary.LittleEndian.Uint32(b))), true // the narrower ones are stored as int32, unsigned ones too
}

// span is a run of rows of a row group: skip rows that are not wanted, then take n that are.
type span struct{ skip, n int }

// hits appends the spans of the rows among n whose id is in the set. skipped is how many rows not wanted precede them;
// the same is returned for what follows.
func (s *IDSet) hits(buf *column.Buffer, n int, t arrow.Type, width, skipped int, out []span) ([]span, int) {
	data := buf.Data
	open := false
	for i := range n {
		hit := false
		if buf.Valid[i>>3]>>(i&7)&1 != 0 {
			id, ok := integerID(data, t)
			hit = ok && s.Has(id)
			data = data[width:]
		}
		switch {
		case !hit:
			skipped++
			open = false
		case open:
			out[len(out)-1].n++
		default:
			out = append(out, span{skipped, 1})
			skipped, open = 0, true
		}
	}
	return out, skipped
}

// errTarget says that the column to compare ids with is of no use.
var errTarget = errors.New("ids can only be compared with a column of integers")

// target finds the column of a table that ids are compared with.
func (t *table) target(name string) (*tableColumn, error) {
	at := slices.IndexFunc(t.columns, func(c tableColumn) bool { return c.name == name })
	if at < 0 {
		return nil, fmt.Errorf("no such column to compare ids with (there are: %s)", columnNames(t.columns))
	}
	c := &t.columns[at]
	if c.refused != "" {
		return nil, fmt.Errorf("%s: %w", c.refused, errTarget)
	}
	if c.list > 0 || !isInteger(c.out) {
		return nil, fmt.Errorf("of type %s: %w", c.inFile(), errTarget)
	}
	return c, nil
}

// mayHold tells whether a row group's statistics leave room for a wanted id in column c. Without statistics it may.
func (s *IDSet) mayHold(t *table, rowGroup int, c *tableColumn) (may bool) {
	defer func() {
		if recover() != nil { // malformed statistics are as good as none
			may = true
		}
	}()
	md, err := t.meta.RowGroup(rowGroup).ColumnChunk(c.leaf)
	if err != nil {
		return true
	}
	if set, err := md.StatsSet(); err != nil || !set {
		return true
	}
	st, err := md.Statistics()
	if err != nil || !st.HasMinMax() {
		return true
	}
	var lo, hi int64
	switch st := st.(type) {
	case *metadata.Int64Statistics:
		lo, hi = st.Min(), st.Max()
		if c.out.ID() == arrow.UINT64 {
			if lo < 0 { // beyond int64, all of them
				return false
			}
			if hi < 0 {
				hi = math.MaxInt64
			}
		}
	case *metadata.Int32Statistics:
		lo, hi = int64(st.Min()), int64(st.Max())
		if c.out.ID() == arrow.UINT32 {
			lo, hi = int64(uint32(st.Min())), int64(uint32(st.Max()))
		}
	default:
		return true
	}
	return lo > hi || s.hasBetween(lo, hi)
}
