package chunker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"fast-export/internal/pgtest"
)

// made is a plan over sources of so many pages and bytes, cut as NewPlan cuts.
func made(o Options, sources ...Source) *Plan { return hinted(Hint{}, o, sources...) }

func hinted(h Hint, o Options, sources ...Source) *Plan {
	p := &Plan{Target: &Target{alias: "t", req: Request{Chunk: h}}, Sources: sources, options: o, server: serverFacts{BlockSize: 8192}}
	for i := range p.Sources {
		p.Sources[i].chunks = 1
	}
	p.cut()
	p.sum()
	return p
}

// covers checks that the chunks of a plan are numbered in order, and that
// those of every source are disjoint and cover it, to beyond its end.
func covers(t *testing.T, p *Plan) {
	t.Helper()
	next, source := int64(0), 0
	var bytes int64
	for i := range p.Len() {
		c := p.At(i)
		if c.Index != i {
			t.Fatalf("chunk %d says it is %d", i, c.Index)
		}
		if c.Source != source {
			if c.Source != source+1 || next != -1 {
				t.Fatalf("chunk %d is of source %d after %d, which ends at %d", i, c.Source, source, next)
			}
			source, next = c.Source, 0
		}
		s := &p.Sources[c.Source]
		if c.Scan != s.Scan {
			t.Fatalf("chunk %d is read by %s, its source by %s", i, c.Scan, s.Scan)
		}
		bytes += c.EstBytes
		if c.EstBytes < 0 {
			t.Fatalf("chunk %d has %d bytes", i, c.EstBytes)
		}
		if c.Scan != TIDRange && c.Scan != Placed {
			if c.Lo != -1 || c.Hi != -1 || s.chunks != 1 {
				t.Fatalf("chunk %d is %+v of %+v", i, c, s)
			}
			next = -1
			continue
		}
		if c.Lo != next || c.Hi != -1 && c.Hi <= c.Lo || c.Lo >= s.Pages {
			t.Fatalf("chunk %d is [%d,%d) after %d, of %d pages", i, c.Lo, c.Hi, next, s.Pages)
		}
		next = c.Hi
	}
	if next != -1 || source != len(p.Sources)-1 {
		t.Fatalf("the last chunk ends at %d, in source %d of %d", next, source, len(p.Sources))
	}
	if total := p.HeapBytes + p.ToastBytes; bytes > total || float64(bytes) < 0.98*float64(total)-float64(2*p.Len()) {
		t.Fatalf("chunks of %d bytes in all, the sources have %d", bytes, total)
	}
}

func TestChunksCover(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(rand.Uint64(), 2))
	for range 3000 {
		var sources []Source
		for range 1 + r.IntN(8) {
			pages := int64(math.Exp(r.Float64() * 12))
			if r.IntN(5) == 0 {
				pages = int64(r.IntN(3))
			}
			s := Source{Scan: []ScanKind{TIDRange, TIDRange, TIDRange, Placed, Whole, Own, Sorted}[r.IntN(7)], Pages: pages, HeapBytes: pages * 8192}
			if r.IntN(2) == 0 {
				s.ToastBytes = int64(r.IntN(1 << 40))
			}
			sources = append(sources, s)
		}
		o := Options{Parallel: 1 + r.IntN(32)}
		if r.IntN(2) == 0 {
			o.ChunkBytes = 1 + int64(math.Exp(r.Float64()*24))
		}
		hint := Hint{}
		if r.IntN(4) == 0 {
			hint.Count = 1 + r.IntN(5000)
		}
		total := int64(0)
		for _, s := range sources {
			total += s.Pages
		}
		if total > 200_000 {
			continue
		}
		covers(t, hinted(hint, o, sources...))
	}
}

func TestChunkSize(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct {
		pages, toast, size int64
		parallel           int
		chunks             int
		first              string
	}{
		{0, 0, 0, 8, 1, "chunk 0"},
		{1, 0, 0, 8, 1, "chunk 0"},
		{1, 0, 1, 8, 1, "chunk 0"},
		{128, 0, 0, 8, 1, "chunk 0"},
		{129, 0, 0, 8, 2, "chunk 0 blocks [0,128)"},
		{100, 0, 8192, 1, 100, "chunk 0 blocks [0,1)"},
		{100, 0, 1, 1, 100, "chunk 0 blocks [0,1)"},
		{100, 0, 20000, 1, 50, "chunk 0 blocks [0,2)"},
		{100, 0, 1 << 62, 1, 1, "chunk 0"},
		{64_000, 0, 0, 4, 64, "chunk 0 blocks [0,1000)"},                 // 500 MiB by 16 times 4
		{30_000_000, 0, 0, 8, 29297, "chunk 0 blocks [0,1024)"},          // 229 GiB, 8 MiB each
		{1000, 992 * 8192 * 1000, 0, 8, 1000, "chunk 0 blocks [0,1)"},    // TOAST a thousand times the heap
		{10, 100 * mib, mib, 8, 10, "chunk 0 blocks [0,1)"},              // a chunk is a page at least
		{math.MaxUint32, 0, 0, 8, 4194304, "chunk 0 blocks [0,1024)"},    // 32 TiB
		{math.MaxUint32, 0, 8192, 8, 4294967295, "chunk 0 blocks [0,1)"}, // as many chunks as blocks
	} {
		p := made(Options{ChunkBytes: c.size, Parallel: c.parallel}, Source{Scan: TIDRange, Pages: c.pages, HeapBytes: c.pages * 8192, ToastBytes: c.toast})
		if p.Len() != c.chunks || p.At(0).String() != c.first {
			t.Errorf("%d pages, chunks of %d: %d chunks, the first %s; want %d, %s", c.pages, c.size, p.Len(), p.At(0), c.chunks, c.first)
		}
		if last := p.At(p.Len() - 1); p.Len() > 1 && (last.Hi != -1 || last.Lo >= c.pages) {
			t.Errorf("%d pages: the last chunk is %s", c.pages, last)
		}
	}
}

// TestHugePlan has as many chunks as a table of 230 GB has pages, and as many
// partitions as anybody has.
func TestHugePlan(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	sources := make([]Source, 10_000)
	for i := range sources {
		sources[i] = Source{Scan: TIDRange, Pages: 3000, HeapBytes: 3000 * 8192}
	}
	p := made(Options{ChunkBytes: 1, Parallel: 8}, sources...)
	if p.Len() != 30_000_000 {
		t.Fatalf("%d chunks", p.Len())
	}
	for _, i := range []int{0, 2999, 3000, 15_000_000, 29_999_999} {
		c := p.At(i)
		if c.Source != i/3000 || c.Lo != int64(i%3000) || (c.Hi < 0) != (i%3000 == 2999) {
			t.Errorf("chunk %d is %+v", i, c)
		}
		if sql := p.SQL(c, nil); !strings.Contains(sql, fmt.Sprintf("'(%d,0)'", i%3000)) {
			t.Error(sql)
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if held := after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc); took > time.Second || held > 16<<20 {
		t.Errorf("%s and %d bytes", took, held)
	}
	runtime.KeepAlive(p)
}

// TestWriters reads a table in chunks of several sizes while others insert,
// update, delete and vacuum: the chunks are disjoint, and their union is the
// table as of the snapshot.
func TestWriters(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn,
		`CREATE TABLE w (id int PRIMARY KEY, v text, n int) WITH (fillfactor = 60)`,
		`INSERT INTO w SELECT g, repeat('v', g % 200), 0 FROM generate_series(1, 8000) g`)
	done, stopped := make(chan struct{}), make(chan error, 2)
	for k := range 2 {
		conn := pgtest.Connect(t, dsn)
		go func() {
			r := rand.New(rand.NewPCG(uint64(k), 3))
			for i := 0; ; i++ {
				select {
				case <-done:
					stopped <- nil
					return
				default:
				}
				from := r.IntN(8000)
				for _, sql := range []string{
					fmt.Sprintf("UPDATE w SET n = n + 1, v = v || 'x' WHERE id BETWEEN %d AND %d AND id %% 2 = %d", from, from+200, k),
					fmt.Sprintf("DELETE FROM w WHERE id BETWEEN %d AND %d AND id %% 2 = %d", from, from+20, k),
					fmt.Sprintf("INSERT INTO w SELECT g, repeat('n', g %% 300), 9 FROM generate_series(%d, %d) g WHERE g %% 2 = %d ON CONFLICT DO NOTHING", from, from+40, k),
					"VACUUM w",
				} {
					if _, err := conn.Exec(t.Context(), sql); err != nil {
						stopped <- err
						return
					}
				}
			}
		}()
	}
	db := open(t, dsn)
	for _, size := range []int64{1, 20_000, 100_000, 0} {
		for _, req := range []Request{{Table: "w"}, {SQL: "SELECT ctid, xmin, id, v, n FROM w WHERE n < 50"}} {
			e := db.mustPlan(t, req, Options{ChunkBytes: size, Parallel: 4})
			sql := req.SQL
			if sql == "" {
				sql = "SELECT * FROM w"
			}
			if d := differ(e.rows(nil), e.inScanOrder(sql)); d != "" {
				t.Errorf("chunks of %d, %s: %s", size, sql, d)
			}
			db.release(t)
		}
	}
	close(done)
	for range 2 {
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, append(measured,
		`CREATE TABLE t (a int, b text)`, `CREATE INDEX ON t (a)`,
		`INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g`, `DELETE FROM t WHERE a % 3 = 0`, `ANALYZE t`,
		`CREATE VIEW v AS SELECT a FROM t`)...)
	db := open(t, dsn)
	for _, c := range []struct {
		req Request
		sql string // gives ctids in the order of the output; "" if no row can be located
	}{
		{Request{Table: "t"}, "SELECT ctid FROM t"},
		{Request{Table: "t", Where: "a > 100"}, "SELECT ctid FROM t WHERE a > 100"},
		{Request{SQL: "SELECT b AS ctid_ FROM t x WHERE x.a IN (5, 4000, 8)"}, "SELECT ctid FROM t WHERE a IN (5, 4000, 8)"},
		{Request{SQL: "SELECT b, now() AS n FROM t"}, "SELECT ctid FROM t"},
		{Request{Table: "m"}, "SELECT ctid FROM m"},
		{Request{SQL: "SELECT id, now() AS n FROM m"}, ""},
		{Request{Table: "v"}, ""},
		{Request{SQL: "SELECT a FROM t ORDER BY a"}, ""},
		{Request{SQL: "SELECT a FROM t WHERE {chunk}"}, ""},
	} {
		e := db.mustPlan(t, c.req, Options{ChunkBytes: 50_000})
		if c.sql == "" {
			if sql, ok := e.plan.Locate(e.plan.At(0), 3); ok {
				t.Errorf("%+v is located by %s", c.req, sql)
			}
			continue
		}
		want := strings.Split(e.inScanOrder(c.sql), "\n")
		row := 0
		for i := range e.plan.Len() {
			n := strings.Count(e.chunk(i, nil), "\n")
			if n > 0 {
				sql, ok := e.plan.Locate(e.plan.At(i), int64(n-1))
				if !ok {
					t.Fatalf("%+v cannot be located", c.req)
				}
				row += n
				if got := queryText(t, e.workers[i%2], sql); got != want[row-1] {
					t.Errorf("%+v chunk %d row %d: ctid %s, want %s", c.req, i, n-1, got, want[row-1])
				}
			}
		}
	}
}
