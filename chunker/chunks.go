package chunker

import (
	"fmt"
	"sort"
	"strings"
)

// ScanKind is how the server reads one chunk. It decides the settings that the
// worker has to make before.
type ScanKind uint8

const (
	// TIDRange reads a range of blocks by a TID range scan.
	TIDRange ScanKind = iota + 1
	// Whole reads all of a relation by a sequential scan.
	Whole
	// Sorted finds rows by an index and sorts them by ctid, which is the order
	// of a sequential scan. A bitmap scan alone is not: within a page it goes
	// by the heads of HOT chains.
	Sorted
	// ByColumn reads a range of a column's values, the rows of one relation
	// sorted by ctid within it.
	ByColumn
	// Placed is a statement whose author placed {chunk}: a range of blocks of
	// one of its relations.
	Placed
	// Own is a statement or relation that the server plans as it likes.
	Own
)

func (k ScanKind) String() string {
	switch k {
	case TIDRange:
		return "TID range scan"
	case Whole:
		return "sequential scan"
	case Sorted:
		return "index scan, sorted by ctid"
	case ByColumn:
		return "column range"
	case Placed:
		return "range of blocks in a statement"
	case Own:
		return "the server's own plan"
	}
	return fmt.Sprintf("scan kind %d", uint8(k))
}

// scanSettings are the planner's settings that a scan kind decides.
var scanSettings = []string{"enable_tidscan", "enable_seqscan", "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"}

// Settings are the statements that a worker runs in its transaction before a
// chunk of this kind. Each kind sets the same parameters, so that a worker
// may go from one kind to another. Without them a condition could turn a
// range of blocks into an index scan, with another order of rows, or every
// range into a scan of the whole table.
func (k ScanKind) Settings() []string {
	out := make([]string, len(scanSettings))
	for i, name := range scanSettings {
		out[i] = "SET LOCAL " + name + " TO " + k.value(name)
	}
	return out
}

// value is what a scan kind sets a parameter to.
func (k ScanKind) value(name string) string {
	switch k {
	case TIDRange:
		return onOff(name == "enable_tidscan")
	case Whole:
		return onOff(name == "enable_tidscan" || name == "enable_seqscan")
	case Sorted, ByColumn:
		return "on"
	}
	return "DEFAULT"
}

// Chunk is one piece of a plan: its rows come from one SELECT.
type Chunk struct {
	// Index is the place of its rows in the output, from 0.
	Index int
	// Source is the index in Plan.Sources.
	Source int
	// Lo and Hi are the blocks [Lo, Hi) of a TIDRange or Placed chunk; Hi is
	// -1 for the last one of a relation, which is open-ended. Both are -1 for
	// other kinds.
	Lo, Hi int64
	// EstBytes is about how much of heap and TOAST it reads.
	EstBytes int64
	Scan     ScanKind
}

// String names the chunk in errors and logs, without the relation.
func (c Chunk) String() string {
	switch {
	case c.Lo < 0:
		return fmt.Sprintf("chunk %d", c.Index)
	case c.Hi < 0:
		return fmt.Sprintf("chunk %d blocks [%d,end)", c.Index, c.Lo)
	}
	return fmt.Sprintf("chunk %d blocks [%d,%d)", c.Index, c.Lo, c.Hi)
}

// Sizes of chunks when none is asked for.
const (
	minChunkBytes = 1 << 20
	maxChunkBytes = 8 << 20
	// chunksPerWorker is how many chunks each connection gets of a relation of
	// middling size: enough that all end together although rows are not spread
	// evenly, few enough that starting one costs nothing.
	chunksPerWorker = 16
)

// autoChunkBytes is the chunk size for total bytes read by parallel connections.
func autoChunkBytes(total int64, parallel int) int64 {
	return min(max(total/int64(chunksPerWorker*max(parallel, 1)), minChunkBytes), maxChunkBytes)
}

// cutBlocks says how many blocks a chunk of about chunkBytes has, and how many
// such chunks cover pages blocks that hold bytes in all (heap and TOAST). Pages
// of 0 is one chunk.
func cutBlocks(pages, bytes, chunkBytes int64) (blocks, chunks int64) {
	if pages <= 0 {
		return 1, 1
	}
	perPage := max(float64(bytes)/float64(pages), 1)
	blocks = min(max(int64(float64(chunkBytes)/perPage), 1), pages)
	return blocks, (pages + blocks - 1) / blocks
}

// Source is one relation that a plan reads, or its one statement, with the
// chunks that it is cut into.
type Source struct {
	// Relation is the table, partition or member of an inheritance tree; OID
	// 0 for a statement that is no plain scan.
	Relation RelationRef
	Scan     ScanKind
	// Why says why it is one chunk, "" when it is cut or small.
	Why string
	// Pages, HeapBytes and ToastBytes are its size at the time of planning.
	Pages, HeapBytes, ToastBytes int64
	EstRows                      int64

	only    bool     // without what inherits from it: those are other sources
	members []uint32 // the tables that its rows are in; nil if that is not known
	first   int64    // index of the first chunk
	chunks  int64
	blocks  int64 // of a chunk, for TIDRange and Placed
	part    bool  // Pages are not all that it has: the last chunk ends there
}

// Chunks is how many chunks the source is cut into.
func (s *Source) Chunks() int { return int(s.chunks) }

// Len is how many chunks the plan has, at least one.
func (p *Plan) Len() int {
	last := &p.Sources[len(p.Sources)-1]
	return int(last.first + last.chunks)
}

// At is chunk i. Chunks are made when they are asked for: a table of 30
// million pages may have as many.
func (p *Plan) At(i int) Chunk {
	k := sort.Search(len(p.Sources), func(k int) bool { return p.Sources[k].first > int64(i) }) - 1
	s := &p.Sources[k]
	c := Chunk{Index: i, Source: k, Lo: -1, Hi: -1, EstBytes: s.HeapBytes + s.ToastBytes, Scan: s.Scan}
	n := int64(i) - s.first
	if s.Scan != TIDRange && s.Scan != Placed {
		c.EstBytes /= s.chunks
		return c
	}
	c.Lo = n * s.blocks
	blocks := s.Pages - c.Lo
	if n < s.chunks-1 {
		c.Hi = c.Lo + s.blocks
		blocks = s.blocks
	} else if s.part {
		c.Hi = s.Pages
	}
	c.EstBytes = int64(float64(c.EstBytes) * float64(blocks) / float64(s.Pages))
	return c
}

// Extent says for people what a chunk of the plan holds: its blocks, its range
// of a column's values, or how its rows are found.
func (p *Plan) Extent(c Chunk) string {
	switch {
	case c.Lo >= 0 && c.Hi < 0:
		return fmt.Sprintf("blocks [%d,end)", c.Lo)
	case c.Lo >= 0:
		return fmt.Sprintf("blocks [%d,%d)", c.Lo, c.Hi)
	case c.Scan != ByColumn:
		return c.Scan.String()
	}
	name, i := display(p.column.Name), int64(c.Index)-p.Sources[c.Source].first
	switch n := int64(len(p.bounds)); {
	case i > n:
		return name + " is NULL"
	case i == 0:
		return fmt.Sprintf("%s < %s", name, literal(p.bounds[0]))
	case i == n:
		return fmt.Sprintf("%s >= %s", name, literal(p.bounds[n-1]))
	}
	return fmt.Sprintf("%s >= %s and < %s", name, literal(p.bounds[i-1]), literal(p.bounds[i]))
}

// tidPredicate is the condition for blocks [lo, hi) of a relation, without an
// upper end if hi is negative. Line pointers count from 1, so (n,0) is never a
// row. The operators are named by their schema: a search_path cannot change
// them.
func tidPredicate(alias string, lo, hi int64) string {
	ctid := "ctid"
	if alias != "" {
		ctid = quote(alias) + ".ctid"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s OPERATOR(pg_catalog.>=) '(%d,0)'::pg_catalog.tid", ctid, lo)
	if hi >= 0 {
		fmt.Fprintf(&b, " AND %s OPERATOR(pg_catalog.<) '(%d,0)'::pg_catalog.tid", ctid, hi)
	}
	return b.String()
}
