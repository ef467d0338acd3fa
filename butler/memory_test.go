package butler

import (
	"context"
	"fmt"
	"runtime"
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
