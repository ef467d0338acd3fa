package butler

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"

	"fast-export/internal/column"
)

// lateSink gives batches back late, as an encoder that has much to do, and looks at the heap.
type lateSink struct {
	done    sync.WaitGroup
	rows    int64
	groups  int
	largest int64
	heap    uint64
	delay   time.Duration
}

func (s *lateSink) Write(_ context.Context, b *column.Batch) error {
	s.rows += int64(b.Rows)
	s.largest = max(s.largest, b.DataBytes())
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	s.heap = max(s.heap, m.HeapAlloc)
	s.done.Go(func() {
		time.Sleep(s.delay)
		b.Release()
	})
	return nil
}

func (s *lateSink) EndRowGroup() error { s.groups++; return nil }

// wide makes a table of many columns, each with a dictionary and a page of its own.
func wide(t testing.TB, columns, rows int) arrow.RecordBatch {
	t.Helper()
	var cols []any
	for c := range columns {
		v := make([]int64, rows)
		for i := range v {
			v[i] = int64(i*c) * 7919
		}
		cols = append(cols, fmt.Sprintf("c%d", c), v)
	}
	return record(t, nil, cols...)
}

// TestMemory reads tables that are much larger than the memory allowed: long ones, wide ones, and one whose dictionary
// stands for far more than it is.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(t *testing.T) arrow.RecordBatch
		props  []parquet.WriterProperty
		memory int64
		heap   uint64 // that the run may take on top of the memory, and of what was there
	}{
		{"1.3 million rows", func(t *testing.T) arrow.RecordBatch { return wide(t, 6, 1_300_000) }, nil, 32 << 20, 24 << 20},
		{"a thousand columns", func(t *testing.T) arrow.RecordBatch { return wide(t, 1000, 6000) }, []parquet.WriterProperty{parquet.WithDictionaryDefault(false)}, MinMemory, 24 << 20},
		{"a large dictionary", func(t *testing.T) arrow.RecordBatch {
			long := []string{strings.Repeat("x", 200_000), strings.Repeat("y", 100_000)}
			v, w := make([]string, 700), make([]int64, 700)
			for i := range v {
				v[i] = long[i%2]
			}
			return record(t, nil, "s", v, "i", w)
		}, nil, MinMemory, 24 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			cat := newCatalog(t)
			rows := int64(0)
			func() { // the record itself must be gone before the run
				rec := c.make(t)
				rows = rec.NumRows()
				cat.add(t, rec, c.props...)
				cat.add(t, rec.NewSlice(0, min(rows, 1000)), c.props...)
			}()
			var before runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			o := cat.options()
			o.Memory, o.Parallel = c.memory, 2
			e, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			sink := &lateSink{delay: 2 * time.Millisecond}
			s, err := e.Run(t.Context(), sink)
			sink.done.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if sink.rows != rows+min(rows, 1000) || s.Rows != sink.rows || sink.groups != 2 {
				t.Errorf("%d rows in %d row groups", sink.rows, sink.groups)
			}
			if e.peak > c.memory {
				t.Errorf("batches held %d bytes of %d", e.peak, c.memory)
			}
			if sink.largest > c.memory/2 {
				t.Errorf("a batch of %d bytes", sink.largest)
			}
			if over := int64(sink.heap) - int64(before.HeapAlloc); over > c.memory+int64(c.heap) {
				t.Errorf("the heap grew by %d bytes, %d allowed", over, c.memory+int64(c.heap))
			}
			t.Logf("batches held %d bytes, the largest %d; heap %d over %d", e.peak, sink.largest, int64(sink.heap)-int64(before.HeapAlloc), before.HeapAlloc)
		})
	}
}

// heapGrowth gives by how many bytes the heap grows at most while f runs.
func heapGrowth(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is not held is not counted
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		peak := uint64(0)
		for {
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(2 * time.Millisecond):
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}()
	f()
	close(stop)
	return int64(<-most) - int64(before.HeapAlloc)
}

// TestLargeTexts reads tables of many columns of texts, whose pages are wanted together for each row and do not fit together.
func TestLargeTexts(t *testing.T) {
	const columns, rows, memory = 12, 3000, 64 << 20
	cat := newCatalog(t)
	func() {
		var cols []any
		for c := range columns {
			v := make([]string, rows)
			for i := range v {
				v[i] = strings.Repeat(fmt.Sprintf("%d of %d ", i, c), 500)[:3000]
			}
			cols = append(cols, fmt.Sprintf("s%d", c), v)
		}
		for range 2 {
			cat.add(t, record(t, nil, cols...), parquet.WithDictionaryDefault(false), parquet.WithDataPageSize(64<<20), parquet.WithStats(false))
		}
	}()
	o := cat.options()
	o.Memory, o.Parallel = memory, 2
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var s Summary
	over := heapGrowth(func() {
		sink := &lateSink{}
		s, err = e.Run(t.Context(), sink)
		sink.done.Wait()
	})
	if err != nil || s.Rows != 2*rows {
		t.Errorf("%+v, %v", s, err)
	}
	if over > memory+24<<20 {
		t.Errorf("the heap grew by %d bytes", over)
	}
	t.Logf("the heap grew by %d bytes", over)
}

// TestLargePages reads several datasets at once of which each has pages that no two may hold together, for the schema by their ids and
// for the rows.
func TestLargePages(t *testing.T) {
	const datasets, size, memory = 8, 12 << 20, 64 << 20
	cat := newCatalog(t)
	func() {
		for i := range datasets {
			id := make([]int64, size/8)
			for k := range id {
				id[k] = int64(k*datasets + i)
			}
			cat.add(t, record(t, nil, "diaSourceId", id, "s", id), parquet.WithDictionaryDefault(false), parquet.WithDataPageSize(2*size), parquet.WithStats(false), parquet.WithBatchSize(size/8))
		}
	}()
	o := cat.options()
	o.Memory, o.Parallel = memory, datasets
	o.IDs = NewIDSet([]int64{datasets * (size/8 - 1), datasets*(size/8-1) + datasets - 1}) // in the first dataset and the last
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var s Summary
	over := heapGrowth(func() {
		sink := &lateSink{}
		s, err = e.Run(t.Context(), sink)
		sink.done.Wait()
	})
	if err != nil || s.Rows != 2 || s.Unmatched != datasets-2 {
		t.Errorf("%+v, %v", s, err)
	}
	if over > memory+16<<20 {
		t.Errorf("the heap grew by %d bytes", over)
	}
	t.Logf("the heap grew by %d bytes", over)
	o.Memory = 32 << 20 // pages of 8 MiB at most
	if _, _, err := extract(t, o); err == nil || !strings.Contains(err.Error(), "give more memory") || !strings.Contains(err.Error(), "{instrument: 'Cam1', visit: 1}") {
		t.Errorf("pages that do not fit: %v", err)
	}
}

// TestAwait lets datasets wait for their turn.
func TestAwait(t *testing.T) {
	t.Parallel()
	b := newBudget(0)
	if err := b.await(t.Context(), 0); err != nil {
		t.Error(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- b.await(t.Context(), 2) }()
	b.setTurn(1)
	select {
	case err := <-waited:
		t.Errorf("did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	b.setTurn(2)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { waited <- b.await(ctx, 3) }()
	cancel(errCause)
	if err := <-waited; err != errCause {
		t.Error(err)
	}
}

// TestBudget checks who may go on when memory is used up.
func TestBudget(t *testing.T) {
	t.Parallel()
	b := newBudget(100)
	ctx := t.Context()
	take := func(dataset int, n int64) bool {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		return b.acquire(short, dataset, n) == nil
	}
	for i, c := range []struct {
		dataset int
		n       int64
		want    bool
	}{
		{1, 30, true}, // ahead of its turn, within half
		{1, 30, false},
		{2, 20, true},
		{0, 40, true}, // its turn, within the whole
		{0, 40, false},
	} {
		if take(c.dataset, c.n) != c.want {
			t.Errorf("%d: dataset %d takes %d: %t", i, c.dataset, c.n, !c.want)
		}
	}
	b.adjust(0, -40)
	if !take(0, 90) { // nothing else could free memory
		t.Error("the dataset whose turn it is waits for ever")
	}
	waited := make(chan error, 1)
	go func() { waited <- b.acquire(ctx, 3, 10) }()
	b.adjust(0, -90)
	b.setTurn(3)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	cancelled, cancel := context.WithCancelCause(ctx)
	cancel(errCause)
	if err := b.acquire(cancelled, 9, 1000); err != errCause {
		t.Error(err)
	}
}

var errCause = fmt.Errorf("cause")
