package parquetw

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"fast-export/internal/column"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of the first random schema; 0: from the clock")
	roundsFlag = flag.Int("rounds", 60, "random schemas to try")
)

func firstSeed(t testing.TB) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seeds from %d on: repeat one with -seed N -rounds 1", seed)
	return seed
}

// smallPages make a few rows cross every kind of boundary.
var smallPages = layout{pageRows: 64, pageBytes: 1 << 10, dictBytes: 1 << 10}

// randomOptions are options that a file's content depends on.
func randomOptions(g generator, s *arrow.Schema) Options {
	opt := Options{
		RowGroupRows: []int64{0, 0, 1000, 257, 64, 50}[g.IntN(6)],
		Compression:  Compression{Codec: Codec(g.IntN(len(codecs)))},
		Hash:         true,
	}
	if g.IntN(4) > 0 {
		opt.layout = smallPages
	}
	_, leaves, err := column.FromArrow(s)
	if err != nil {
		panic(err)
	}
	if fields := leafFields(nil, s.Fields()); g.IntN(2) == 0 {
		for i := range leaves {
			e := Encoding(g.IntN(len(encodingNames)))
			if !fits(e, &leaves[i], fields[i]) {
				e = Auto
			}
			opt.Encodings = append(opt.Encodings, e)
		}
	}
	if g.IntN(3) == 0 {
		opt.RowGroupBytes = 1 << g.IntN(16)
	}
	if g.IntN(2) == 0 { // whatever is believed, true or not
		for range leaves {
			opt.Priors = append(opt.Priors, Prior{Distinct: []float64{0, -1, -0.2, 5, 200}[g.IntN(5)], Present: g.Float64(), Bytes: 20 * g.Float64()})
		}
	}
	for _, f := range s.Fields() {
		if g.IntN(3) == 0 && Check(Options{Schema: s, Bloom: []string{f.Name}}) == nil {
			opt.Bloom = append(opt.Bloom, f.Name)
		}
	}
	return opt
}

func randomCuts(r *rand.Rand, rows int) []int {
	cuts := make([]int, r.IntN(12))
	for i := range cuts {
		cuts[i] = r.IntN(rows + 1)
	}
	sort.Ints(cuts)
	return cuts
}

// A file is a function of its rows and options: not of how they were cut into batches, nor of the number of encoders,
// nor of the memory for pages or what was said of the number of rows. And arrow-go reads the rows that were written.
func TestSameBytesAndSameRows(t *testing.T) {
	t.Parallel()
	seed := firstSeed(t)
	for round := range *roundsFlag {
		seed := seed + uint64(round)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := newGenerator(seed)
			s := g.schema()
			rows := []int{0, 1, 63, 64, 65, 500, 3000}[g.IntN(7)]
			rec := g.record(s, rows)
			opt := randomOptions(g, s)
			var first []byte
			for i, way := range []struct {
				encoders   int
				pageMemory int64
			}{{1, 1 << 30}, {3, 0}, {2, 100_000}} {
				opt := opt
				opt.Pool = newPool(t, way.encoders, way.pageMemory)
				opt.Rows = []int64{0, int64(rows), 10, 1 << 40}[g.IntN(4)]
				cuts := randomCuts(g.Rand, rows)
				path := write(t, opt, rec, cuts...)
				got, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if i > 0 {
					if !bytes.Equal(got, first) {
						t.Fatalf("cut at %v, %d encoders, %d bytes of page memory, %d rows expected: other bytes than at first\n%s", cuts, way.encoders, way.pageMemory, opt.Rows, s)
					}
					continue
				}
				first = got
				if rows == 0 || !arrowGoReads(s.Fields()) {
					continue
				}
				want, have := recordRows(rec), tableRows(readBack(t, path))
				if !slices.Equal(want, have) {
					t.Fatalf("%s\n%s", s, difference(want, have))
				}
				checkIndexes(t, path, rec)
			}
		})
	}
}

// arrowGoReads tells whether arrow-go reads fields back: not durations. pyarrow, which does, has them to judge in
// TestOtherReadersAgree.
func arrowGoReads(fields []arrow.Field) bool {
	for _, f := range fields {
		if f.Type.ID() == arrow.DURATION || !arrowGoReads(children(f.Type)) {
			return false
		}
	}
	return true
}

func difference(want, have []string) string {
	for i := range min(len(want), len(have)) {
		if want[i] != have[i] {
			return fmt.Sprintf("row %d\nwritten %.2000s\nread    %.2000s", i, want[i], have[i])
		}
	}
	return fmt.Sprintf("%d rows written, %d read", len(want), len(have))
}

// Two readers that are not ours judge the same files: pyarrow compares with the Arrow data they were made of, types and
// field metadata included; DuckDB with what pyarrow read.
func TestOtherReadersAgree(t *testing.T) {
	t.Parallel()
	seed := firstSeed(t)
	dir := t.TempDir()
	for round := range *roundsFlag {
		seed := seed + uint64(round)
		g := newGenerator(seed)
		s := g.schema()
		rows := []int{0, 1, 64, 700, 3000}[g.IntN(5)]
		rec := g.record(s, rows)
		path := filepath.Join(dir, fmt.Sprint(seed)+".parquet")
		if _, err := writeTo(t, path, randomOptions(g, s), rec, randomCuts(g.Rand, rows)...); err != nil {
			t.Fatal(err)
		}
		writeIPC(t, filepath.Join(dir, fmt.Sprint(seed)+".arrow"), rec)
	}
	t.Log(python(t, "compare.py", dir))
}

func writeIPC(t testing.TB, path string, rec arrow.RecordBatch) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(rec.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
