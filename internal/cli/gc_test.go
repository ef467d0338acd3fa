package cli

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// A small heap may have 10 MiB of garbage, a large one 15 %, and what was set before comes back.
func TestGarbageFollowsTheHeap(t *testing.T) {
	percent := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	becomes := func(what string, yes func(percent uint64) bool) {
		t.Helper()
		for range 100 {
			runtime.GC()
			if yes(percent()) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%s: %d %% of garbage", what, percent())
	}
	before := percent()
	undo := tuneGC(func(string) string { return "" }, 1<<30)
	becomes("a small heap", func(p uint64) bool { return p > garbagePercent })
	heap := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
	becomes("its garbage", func(uint64) bool {
		metrics.Read(heap)
		garbage := heap[0].Value.Uint64() - heap[1].Value.Uint64()
		return garbage > 6<<20 && garbage < 12<<20
	})
	large := make([]*[1 << 20]byte, 200)
	for i := range large {
		large[i] = new([1 << 20]byte)
	}
	becomes("a large heap", func(p uint64) bool { return p == garbagePercent })
	runtime.KeepAlive(large)
	becomes("a small heap again", func(p uint64) bool { return p > garbagePercent })
	undo()
	becomes("undone", func(p uint64) bool { return p == before })
	undo = tuneGC(func(name string) string { return map[string]string{"GOGC": "70"}[name] }, 1<<30)
	if p := percent(); p != before {
		t.Errorf("GOGC does not win: %d", p)
	}
	undo()
}
