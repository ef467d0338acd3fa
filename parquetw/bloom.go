package parquetw

import (
	"math"
	"math/bits"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cespare/xxhash/v2"

	"fast-export/internal/column"
)

// A bloom filter is made for as many values as a row group may have and folded at its end to what the values that came
// need: about 1 in 100 values that are not there is taken for one that is, or fewer.
const (
	bloomBits     = 10.5     // a distinct value: 1 % of a split-block filter's answers are wrong
	maxBloomBytes = 16 << 20 // of one filter; beyond 12 million distinct values more answers are wrong
	bloomBlock    = 8        // words of a block
	// bloomFull is the share of set bits beyond which a filter is not written. An answer is wrong where eight bits are set, one
	// in each word of a block: 1 of 10 is then, which comes at 23 million distinct values in a filter of maxBloomBytes.
	bloomFull = 0.75
)

// bloom is a split-block bloom filter of 2^n blocks, which therefore folds.
// Source: BloomFilter.md of the Parquet format
type bloom struct {
	most  int64    // values that a row group may have
	words []uint32 // of the size made for them; a folded filter is its beginning
	added int      // values that changed it: about as many as are distinct

	// Where nobody knows how many values will come, their hashes wait here until the filter's size is known, or until there are maxEarly:
	// small row groups of lists must not cost a filter of maxBloomBytes each. Nil otherwise.
	early []uint64
}

const maxEarly = 1 << 20

// bloomSalt are the odd constants of the format.
var bloomSalt = [bloomBlock]uint32{
	0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31,
}

// bloomWords is the length of a filter for so many distinct values.
func bloomWords(values int64) int {
	bytes := min(math.Ceil(float64(values)*bloomBits/8), maxBloomBytes)
	n := uint(max(int(bytes), 4*bloomBlock))
	return 1 << bits.Len(n-1) / 4
}

// bloomValues is the most values that a leaf may have in row groups of so many rows, 0: no limit. Nobody knows how many a list has.
func bloomValues(l *column.Leaf, rows int64) int64 {
	if l.MaxRep > 0 || rows == 0 {
		return math.MaxInt64
	}
	return rows
}

// BloomBytes is what a bloom filter of a leaf takes while a row group of so many rows is open, in bytes; 0: rows without limit.
func BloomBytes(l *column.Leaf, rowGroupRows int64) int64 {
	return int64(4 * bloomWords(bloomValues(l, rowGroupRows)))
}

// addBlooms gives the leaves that Options.Bloom names their filters. fields are the leaves' Arrow fields.
func (w *Writer) addBlooms(fields []arrow.Field) error {
	for _, name := range w.opt.Bloom {
		leaves, err := columnLeaves(ForBloom, w.opt.Schema, w.leaves, name)
		if err != nil {
			return err
		}
		if len(leaves) > 1 {
			return w.columnError(ForBloom, leaves[0], "has several parts: a bloom filter is of one kind of values")
		}
		e, field := w.encoders[leaves[0]], fields[leaves[0]]
		switch {
		case e.leaf.Physical == column.Bool:
			return w.columnError(ForBloom, leaves[0], "has but two values: a bloom filter says nothing")
		case e.leaf.Physical == column.Float32 || e.leaf.Physical == column.Float64 || e.order == orderFloat16:
			// 0 and -0 are equal, and so may NaNs be, but their bytes are not.
			return w.columnError(ForBloom, leaves[0], "cannot have a bloom filter: equal floats need not have equal bytes")
		case slices.Contains([]arrow.Type{arrow.BINARY, arrow.LARGE_BINARY, arrow.FIXED_SIZE_BINARY}, field.Type.ID()):
			// DuckDB (1.5) looks for the hash of the bytes' printed form, \xAA, and so finds nothing: in its own files too.
			return w.columnError(ForBloom, leaves[0], "cannot have a bloom filter: readers that look for the bytes in another form would find no rows")
		case opaque(field):
			return w.columnError(ForBloom, leaves[0], "cannot have a bloom filter: equal geometries need not have equal bytes")
		}
		e.bloom = &bloom{most: bloomValues(e.leaf, w.opt.RowGroupRows)}
	}
	return nil
}

// begin empties the filter and makes it large enough for a row group.
func (b *bloom) begin() {
	b.added = 0
	if b.most == math.MaxInt64 {
		b.words, b.early = nil, make([]uint64, 0, 64)
		return
	}
	b.resize(bloomWords(b.most))
}

// resize empties the filter and gives it so many words.
func (b *bloom) resize(n int) {
	if len(b.words) != n {
		b.words = make([]uint32, n)
		return
	}
	clear(b.words)
}

// settle makes the filter of the hashes that wait, for so many values.
func (b *bloom) settle(values int64) {
	early := b.early
	b.early = nil
	b.resize(bloomWords(values))
	for _, h := range early {
		b.addHash(h)
	}
}

// add takes in a value: PLAIN, without a length.
func (b *bloom) add(v []byte) {
	h := xxhash.Sum64(v)
	if b.early == nil {
		b.addHash(h)
		return
	}
	if b.early = append(b.early, h); len(b.early) == maxEarly {
		b.settle(b.most)
	}
}

func (b *bloom) addHash(h uint64) {
	at := (h >> 32) * uint64(len(b.words)/bloomBlock) >> 32 * bloomBlock
	block := (*[bloomBlock]uint32)(b.words[at:])
	fresh := uint32(0)
	for i := range block {
		bit := uint32(1) << (uint32(h) * bloomSalt[i] >> 27)
		fresh |= ^block[i] & bit
		block[i] |= bit
	}
	if fresh != 0 {
		b.added++
	}
}

// addAll takes in PLAIN values of a fixed width, or byte arrays where it is 0.
func (b *bloom) addAll(data []byte, width int) {
	for len(data) > 0 {
		n, head := width, 0
		if width == 0 {
			n, head = 4+int(le.Uint32(data)), 4
		}
		b.add(data[head:n])
		data = data[n:]
	}
}

// folded is the filter as its values need it. It overwrites the filter.
func (b *bloom) folded() []uint32 {
	words := b.words
	for want := bloomWords(int64(b.added)); len(words) > want; {
		// The block of a value is chosen by the topmost bits of its hash: half as many blocks have one bit less.
		half := len(words) / 2
		for i := 0; i < half; i += bloomBlock {
			for k := range bloomBlock {
				words[i+k] = words[2*i+k] | words[2*i+bloomBlock+k]
			}
		}
		words = words[:half]
	}
	return words
}

// tooFull tells that a filter answers wrongly too often to be worth its place.
func tooFull(words []uint32) bool {
	n := 0
	for _, w := range words {
		n += bits.OnesCount32(w)
	}
	return float64(n) > bloomFull*32*float64(len(words))
}

// store puts the folded filter, behind its header, into a row group's store, unless it is too full.
// Source: struct BloomFilterHeader in parquet.thrift
func (b *bloom) store(s *scratch, g *rowGroup) (page, error) {
	if b.early != nil {
		b.settle(int64(len(b.early)))
	}
	words := b.folded()
	if tooFull(words) {
		return page{}, nil
	}
	h := &s.header
	h.reset()
	h.i32(1, int32(4*len(words)))
	for id := int16(2); id <= 4; id++ { // split block, XXH64, not compressed: each the first of a union
		h.begin(id)
		h.begin(1)
		h.end()
		h.end()
	}
	h.stop()
	body := s.page[:0]
	for _, w := range words {
		body = le.AppendUint32(body, w)
	}
	s.page = body
	at, err := g.store.append(h.b, body)
	s.trim()
	return page{at: at, size: int64(len(h.b) + len(body))}, err
}
