package chunker

import "testing"

// A part is the same blocks from the first on, however it is cut, and ends where it ends.
func TestSample(t *testing.T) {
	for _, c := range []struct {
		pages int64
		part  float64
		want  int64
	}{{1000, 0.05, 50}, {1000, 0.0001, 1}, {1001, 0.5, 501}, {10, 1, 10}, {10, 7, 10}, {1, 0.3, 1}} {
		for _, size := range []int64{0, 8192, 100_000, 1 << 40} {
			p := made(Options{ChunkBytes: size, Parallel: 3, Part: c.part}, Source{Scan: TIDRange, Pages: c.pages, HeapBytes: c.pages * 8192, ToastBytes: 500})
			next := int64(0)
			for i := range p.Len() {
				chunk := p.At(i)
				if chunk.Lo != next || chunk.Hi <= chunk.Lo || chunk.Scan != TIDRange {
					t.Fatalf("%+v, chunks of %d: chunk %d is %+v after block %d", c, size, i, chunk, next)
				}
				next = chunk.Hi
			}
			if next != c.want || p.Pages != c.want || !p.Sampled {
				t.Errorf("%+v, chunks of %d: got blocks [0,%d), %d pages, sampled %v", c, size, next, p.Pages, p.Sampled)
			}
		}
	}
}

func TestSampleWholeSources(t *testing.T) {
	ranged, empty := Source{Scan: TIDRange, Pages: 100, HeapBytes: 819200}, Source{Scan: Whole}
	for _, c := range []struct {
		name    string
		sources []Source
		want    bool
	}{
		{"by blocks", []Source{ranged, ranged}, true},
		{"with an empty member", []Source{ranged, empty}, true},
		{"a statement", []Source{{Scan: Own}}, false},
		{"one member that is read whole", []Source{ranged, {Scan: Whole, Pages: 3, HeapBytes: 24576, Why: "cannot"}}, false},
	} {
		if p := made(Options{Parallel: 2, Part: 0.1}, c.sources...); p.Sampled != c.want {
			t.Errorf("%s: sampled %v", c.name, p.Sampled)
		}
	}
	if p := made(Options{Parallel: 2}, ranged); p.Sampled || p.Pages != 100 {
		t.Errorf("nothing was asked for: %+v", p)
	}
}

// Blocks that are known go before the part.
func TestSampleBlocks(t *testing.T) {
	for known, want := range map[int64]int64{40: 40, 500: 100, 0: 0} {
		source := Source{Scan: TIDRange, Pages: 100, HeapBytes: 100 * 8192, Relation: RelationRef{OID: 7}}
		p := made(Options{Parallel: 2, Part: 1, Blocks: map[uint32]int64{7: known, 8: 3}}, source)
		if p.Pages != want || !p.Sampled {
			t.Errorf("%d blocks: got %d pages, sampled %v", known, p.Pages, p.Sampled)
		}
	}
}
