package butler

import (
	"context"
	"sync"

	"fast-export/internal/column"
)

// budget bounds the bytes of batches that are filled, waiting for their turn, or with the sink.
//
// Datasets that are read ahead may use half of it, so that the one whose turn it is always finds room; if even that is
// gone, it goes on once all that it handed over has been given back, for then nothing else could free memory.
type budget struct {
	mu    sync.Mutex
	freed *sync.Cond
	limit int64
	used  int64
	turn  int
	own   map[int]int64 // bytes by dataset
	peak  int64
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit, own: map[int]int64{}}
	b.freed = sync.NewCond(&b.mu)
	return b
}

// acquire takes n bytes for a dataset; it waits until there is room.
func (b *budget) acquire(ctx context.Context, dataset int, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.wait(ctx, func() bool {
		return b.used+n <= b.limit/2 || dataset == b.turn && (b.used+n <= b.limit || b.own[dataset] == 0)
	})
	if err == nil {
		b.change(dataset, n)
	}
	return err
}

// await waits until it is a dataset's turn: what is too large to be held by several at once is held by that one alone.
func (b *budget) await(ctx context.Context, dataset int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wait(ctx, func() bool { return dataset == b.turn })
}

// wait returns when ready is true, or with the cause of ctx's end. mu is held by the caller, save while it sleeps.
func (b *budget) wait(ctx context.Context, ready func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.freed.Broadcast()
	})
	defer stop()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ready() {
			return nil
		}
		b.freed.Wait()
	}
}

// adjust takes what a batch came to need beyond what was acquired for it, or gives back what it did not.
func (b *budget) adjust(dataset int, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.change(dataset, n)
	if n < 0 {
		b.freed.Broadcast()
	}
}

// most is the most bytes that were in use at once.
func (b *budget) most() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peak
}

func (b *budget) change(dataset int, n int64) {
	b.used += n
	b.peak = max(b.peak, b.used)
	if b.own[dataset] += n; b.own[dataset] == 0 {
		delete(b.own, dataset)
	}
}

// setTurn says which dataset's batches are being handed over.
func (b *budget) setTurn(dataset int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn = dataset
	b.freed.Broadcast()
}

// batches hands out empty batches and takes them back for reuse.
type batches struct {
	budget  *budget
	leaves  int
	columns int
	largest int64 // a batch that holds more is not kept

	mu   sync.Mutex
	free []*column.Batch
}

// maxFreeBatches bounds how many empty batches are kept.
const maxFreeBatches = 8

// get gives an empty batch of about n bytes for a dataset, once there is room for it.
func (p *batches) get(ctx context.Context, dataset int, n int64) (*loan, error) {
	if err := p.budget.acquire(ctx, dataset, n); err != nil {
		return nil, err
	}
	l := &loan{pool: p, dataset: dataset, bytes: n}
	p.mu.Lock()
	if k := len(p.free); k > 0 {
		l.batch, p.free = p.free[k-1], p.free[:k-1]
	}
	p.mu.Unlock()
	if l.batch == nil {
		l.batch = column.NewBatch(p.leaves, p.columns, nil)
	}
	l.batch.Reset(l.giveBack)
	return l, nil
}

// loan is a batch that memory has been taken for.
type loan struct {
	pool    *batches
	dataset int
	bytes   int64
	batch   *column.Batch
}

// settle takes as much memory as the batch has come to hold.
func (l *loan) settle() {
	n := l.batch.Bytes()
	l.pool.budget.adjust(l.dataset, n-l.bytes)
	l.bytes = n
}

// giveBack is called by the last Release of the batch, from any goroutine.
func (l *loan) giveBack(b *column.Batch) {
	p := l.pool
	p.mu.Lock()
	if b.Bytes() <= p.largest && len(p.free) < maxFreeBatches {
		p.free = append(p.free, b)
	}
	p.mu.Unlock()
	p.budget.adjust(l.dataset, -l.bytes)
}
