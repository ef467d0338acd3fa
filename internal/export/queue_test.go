package export

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"fast-export/internal/pgtest"
	"fast-export/internal/progress"
)

// chunkOrder notes the chunks in the order in which they are done.
type chunkOrder struct {
	mu   sync.Mutex
	seen []string
}

func (c *chunkOrder) Report(e progress.Event) {
	if d, ok := e.(progress.ChunkDone); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, fmt.Sprint(strings.TrimSuffix(filepath.Base(d.File), ".parquet"), " ", d.Chunk))
	}
}

// The largest table is begun first, wherever in the batch it stands, and each table's chunks come in order. One with a cap of its own leaves
// connections to the others.
func TestLargestFirst(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	var names []string
	for name, rows := range map[string]int{"a": 100, "b": 3000, "c": 300, "d": 10, "e": 40_000} {
		pgtest.Exec(t, dsn, fmt.Sprintf("CREATE TABLE %s AS SELECT i, repeat('x', 90) AS s FROM generate_series(1, %d) i", name, rows))
		names = append(names, name)
	}
	slices.Sort(names)
	dir := outDir(t, "a.parquet", "b.parquet", "c.parquet", "d.parquet", "e.parquet")
	cfg := config(t, dsn, Job{})
	first := cfg.Jobs[0]
	cfg.Jobs = nil
	for _, name := range names {
		j := first
		j.Table, j.Out = name, filepath.Join(dir, name+".parquet")
		cfg.Jobs = append(cfg.Jobs, j)
	}
	order := &chunkOrder{}
	cfg.Progress, cfg.Parallel = order, 1
	run1(t, cfg)
	last := map[string]int{}
	var files []string
	for _, s := range order.seen {
		name, n := s[:1], 0
		if _, err := fmt.Sscan(s[2:], &n); err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 || files[len(files)-1] != name {
			files = append(files, name)
		}
		if n != last[name] {
			t.Fatalf("chunks came as %q", order.seen)
		}
		last[name]++
	}
	if got := strings.Join(files, " "); got != "e b c a d" || last["e"] < 20 || last["b"] < 2 {
		t.Errorf("the tables came as %s, of the largest %d chunks", got, last["e"])
	}

	order = &chunkOrder{}
	cfg.Progress, cfg.Parallel, cfg.Jobs[4].Parallel = order, 2, 1
	run1(t, cfg)
	done := slices.Index(order.seen, fmt.Sprint("e ", last["e"]-1))
	if small := slices.IndexFunc(order.seen, func(s string) bool { return s[0] != 'e' }); small < 0 || small > done {
		t.Errorf("nothing beside the table with a cap: %q", order.seen)
	}
}
