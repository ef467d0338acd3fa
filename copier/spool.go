package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"fast-export/internal/column"
)

// Budget is what the batches of a run may take: bytes of memory, by capacity, and bytes of temp files. It is shared by
// the run's Spools and safe from several goroutines.
type Budget struct {
	mu   sync.Mutex
	cond *sync.Cond // of every change that a waiter may wait for

	batch  int64 // bytes that a fresh batch is expected to take
	memory int64
	used   int64

	dir   string
	limit int64 // of temp; 0: what the file system has
	temp  int64
	peak  int64

	spools map[*Spool]struct{} // not closed
}

// NewBudget makes a budget of memory bytes for batches of about batch bytes, and of limit bytes of temp files in dir, a
// directory that exists and is the caller's; 0 means what the file system has.
func NewBudget(memory, batch int64, dir string, limit int64) *Budget {
	b := &Budget{memory: memory, batch: batch, dir: dir, limit: limit, spools: map[*Spool]struct{}{}}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// TempPeak is the most bytes that temp files took at a time.
func (b *Budget) TempPeak() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peak
}

// reserve is what a file system must keep free: a full one harms others on the machine.
const reserve = 64 << 20

// takeTemp books n bytes of temp space for spilled batches if they are there. Half of a limit is left to those who cannot
// wait: pages and kept files. Called with the lock held.
func (b *Budget) takeTemp(n int64) bool {
	if b.limit > 0 && b.temp+n > b.limit/2 {
		return false
	}
	if free, ok := freeBytes(b.dir); ok && free < n+reserve {
		return false
	}
	b.temp += n
	b.peak = max(b.peak, b.temp)
	return true
}

// Charge books n bytes of temp space for a file that must be written; false when the limit does not allow it.
func (b *Budget) Charge(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit > 0 && b.temp+n > b.limit {
		return false
	}
	b.temp += n
	b.peak = max(b.peak, b.temp)
	return true
}

// Refund gives back what Charge booked.
func (b *Budget) Refund(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.temp -= n
	b.cond.Broadcast()
}

func freeBytes(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true // other systems have other widths
}

// A batch beyond the memory limit exists only for one of these reasons, each bounded by itself.
type grant uint8

const (
	normal  grant = iota // within the limit
	filling              // the one that a copier fills: at most one a copier
	flowing              // of the chunk whose turn it is
	reading              // into which the merger reads a spilled batch
)

// maxFlowing and maxReading bound the grants beyond the limit of one Spool: one batch is encoded while another is on its way.
const (
	maxFlowing = 3
	maxReading = 2
)

// Spool holds the chunks of one file between the copiers, which fill them in any order, and the merger, which takes the
// batches of chunk 0, then of chunk 1, and so on.
type Spool struct {
	b       *Budget
	name    string // of its temp files
	leaves  int
	columns int

	// All below is guarded by b.mu.
	idle    []*column.Batch
	live    map[*column.Batch]*held
	granted [4]int
	chunks  map[int]*Chunk
	turn    int
	total   int      // chunks there will be
	orphans int      // chunks whose copier lost its connection and has no other yet
	file    *os.File // of spilled batches, nil: none yet
	end     int64    // of the file
	closed  error
}

type held struct {
	bytes int64
	grant grant
}

// NewSpool makes the spool of a file with so many leaves and columns. Names of its temp files begin with name. chunks is
// how many there will be.
func (b *Budget) NewSpool(name string, leaves, columns, chunks int) *Spool {
	s := &Spool{b: b, name: name, leaves: leaves, columns: columns, total: chunks, live: map[*column.Batch]*held{}, chunks: map[int]*Chunk{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spools[s] = struct{}{}
	return s
}

// reclaim drops idle batches of any file until want bytes came free or none is left. Called with the lock held.
func (b *Budget) reclaim(want int64) {
	before := b.used
	for s := range b.spools {
		for len(s.idle) > 0 {
			if before-b.used >= want {
				return
			}
			n := len(s.idle) - 1
			s.drop(s.idle[n])
			s.idle = s.idle[:n]
		}
	}
}

// allocate makes or reuses an empty batch, or returns nil when neither the limit nor g allows it. Called with the lock held.
func (s *Spool) allocate(g grant) *column.Batch {
	if len(s.idle) == 0 {
		s.borrow()
	}
	if n := len(s.idle); n > 0 {
		b := s.idle[n-1]
		s.idle = s.idle[:n-1]
		b.Reset(s.release)
		return b
	}
	if s.b.used+s.b.batch > s.b.memory {
		s.b.reclaim(s.b.used + s.b.batch - s.b.memory)
	}
	if s.b.used+s.b.batch > s.b.memory {
		switch {
		case g == normal, g == flowing && s.granted[g] >= maxFlowing, g == reading && s.granted[g] >= maxReading:
			return nil
		}
	} else {
		g = normal
	}
	b := column.NewBatch(s.leaves, s.columns, s.release)
	s.live[b] = &held{bytes: s.b.batch, grant: g}
	s.granted[g]++
	s.b.used += s.b.batch
	return b
}

// borrow takes over an idle batch of another file of as many columns: of hundreds of small files each would make its own, and leave
// it behind. Called with the lock held.
func (s *Spool) borrow() {
	for o := range s.b.spools {
		if n := len(o.idle) - 1; n >= 0 && o.leaves == s.leaves && o.columns == s.columns {
			b := o.idle[n]
			o.idle = o.idle[:n]
			h := o.live[b]
			delete(o.live, b)
			o.granted[h.grant]--
			s.live[b], s.idle = h, append(s.idle, b)
			s.granted[h.grant]++
			return
		}
	}
}

// measure books what the batch really holds on to. Called with the lock held.
func (s *Spool) measure(b *column.Batch) *held {
	h := s.live[b]
	n := max(b.Bytes(), s.b.batch)
	s.b.used += n - h.bytes
	h.bytes = n
	return h
}

// release takes an encoded batch back.
func (s *Spool) release(b *column.Batch) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	h := s.measure(b)
	// A batch beyond a limit has served; one swollen by a huge row would hold its memory for nothing.
	if s.closed != nil || h.grant != normal || s.b.used > min(s.b.memory, soft+step) || h.bytes > 4*s.b.batch {
		s.drop(b)
	} else {
		s.idle = append(s.idle, b)
	}
	s.b.cond.Broadcast()
}

func (s *Spool) drop(b *column.Batch) {
	h := s.live[b]
	s.b.used -= h.bytes
	s.granted[h.grant]--
	delete(s.live, b)
}

// wait waits for a change of the budget or the end of ctx. Called with the lock held, which it gives up meanwhile.
func (s *Spool) wait(ctx context.Context) error {
	if s.closed != nil {
		return s.closed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.b.cond.Wait()
	if s.closed != nil {
		return s.closed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// wakeWith wakes the waiters when ctx ends; call the returned function when nobody waits any more.
func (s *Spool) wakeWith(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		s.b.cond.Broadcast()
	})
}

var errClosed = errors.New("the spool is closed")

// Close drops all that is held and removes the temp files. Copiers and merger that wait get an error. Idempotent.
func (s *Spool) Close() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.closed != nil {
		return
	}
	s.closed = errClosed
	for _, c := range s.chunks {
		c.clear()
	}
	for _, b := range s.idle {
		s.drop(b)
	}
	s.idle = nil
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	delete(s.b.spools, s)
	s.b.cond.Broadcast()
}

// Chunk is the copier's end of one chunk. One copier at a time.
type Chunk struct {
	s     *Spool
	index int

	// All below is guarded by the budget's lock, save file's content.
	queue   []entry
	done    bool
	taken   []uint64 // fingerprints of the batches that the merger took while the copy was under way
	skip    int      // how many of taken the copy under way has given again
	attempt int      // copies begun
	spilled int64    // bytes of entries in the file
	extents []extent // where they are
}

// entry is one batch of a chunk: in memory, or in the spool's file.
type entry struct {
	batch *column.Batch
	extent
}

// extent is a stretch of the spool's file.
type extent struct{ at, n int64 }

// Chunk gives chunk i, making it at the first call.
func (s *Spool) Chunk(i int) *Chunk {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	c := s.chunks[i]
	if c == nil {
		c = &Chunk{s: s, index: i}
		s.chunks[i] = c
	}
	return c
}

// errBegunAgain would be a bug of the caller's: rows would come out twice.
var errBegunAgain = errors.New("a chunk was begun again after it had been finished")

// Begin starts the chunk's copy, or starts it again after a lost connection: what an earlier attempt left is dropped, and
// what the merger has already taken of it is compared with the new copy's and then left out.
func (c *Chunk) Begin() error {
	c.s.b.mu.Lock()
	defer c.s.b.mu.Unlock()
	if c.done || c.index < c.s.turn {
		return errBegunAgain
	}
	c.clear()
	c.attempt++
	c.skip = 0
	return nil
}

// Orphan says that the chunk's copier has lost its connection. Until Adopt the other copiers may not have to wait for this
// chunk's rows before they are free to take it over: beyond all limits they finish what they have begun.
func (c *Chunk) Orphan() { c.adopt(+1) }

// Adopt says that somebody copies the chunk again.
func (c *Chunk) Adopt() { c.adopt(-1) }

func (c *Chunk) adopt(n int) {
	c.s.b.mu.Lock()
	defer c.s.b.mu.Unlock()
	c.s.orphans += n
	c.s.b.cond.Broadcast()
}

// clear drops the queue and what the chunk has in the file. Called with the lock held.
func (c *Chunk) clear() {
	for _, e := range c.queue {
		if e.batch != nil {
			c.s.drop(e.batch)
		}
	}
	c.queue = nil
	if c.s.file != nil && c.s.closed == nil {
		for _, x := range c.extents {
			discard(c.s.file, x.at, x.n)
		}
	}
	c.s.b.temp -= c.spilled
	c.spilled, c.extents = 0, nil
	c.s.b.cond.Broadcast()
}

// ErrDiverged says that a chunk copied again did not begin with the rows that the first copy had given.
var ErrDiverged = errors.New("a repeated copy gave other rows than the first")

// Next is the decoder's source of batches: it takes over a full one (nil at first), also when it fails, and returns an
// empty one, which its user releases if it never hands it on. It waits while there is neither memory nor temp space, until
// the chunk's turn comes.
func (c *Chunk) Next(ctx context.Context, full *column.Batch) (_ *column.Batch, err error) {
	s := c.s
	defer s.wakeWith(ctx)()
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	defer func() {
		if err != nil && full != nil {
			s.drop(full)
		}
	}()
	if s.closed != nil {
		return nil, s.closed
	}
	if full == nil {
		return s.allocate(filling), nil
	}
	if c.skip < len(c.taken) {
		if fingerprint(full) != c.taken[c.skip] {
			return nil, ErrDiverged
		}
		c.skip++
		full.Reset(s.release)
		return full, nil
	}
	s.measure(full)
	if err := s.pause(ctx, c); err != nil {
		return nil, err
	}
	for {
		g := normal
		if s.turn == c.index {
			g = flowing
		}
		if b := s.allocate(g); b != nil {
			c.push(entry{batch: full})
			return b, nil
		}
		// The chunk whose turn it is waits for an encoder, which is short; any other makes room for itself.
		if g != flowing {
			if done, err := c.spill(full); err != nil {
				return nil, err
			} else if done {
				full.Reset(s.release)
				return full, nil
			}
			if s.orphans > 0 {
				c.push(entry{batch: full})
				return s.allocate(filling), nil
			}
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// Beyond soft bytes of batches a copier that is ahead lets the encoders catch up for a moment, patience at most for each
// batch and twice as long for each step more of memory: where server, copiers and encoders share the cores, rows would only
// be heaped up, the more the larger the table. A server that is really faster loses next to nothing at first (at 2 MiB a
// batch a connection still carries 400 MB/s); one that stays faster waits for the encoders in the end, with memory or without.
const (
	soft        = 32 << 20
	step        = 2 << 20
	patience    = 5 * time.Millisecond
	maxPatience = 640 * time.Millisecond
)

// patienceAt is how long a copier that is ahead waits for the encoders when batches take used bytes.
func patienceAt(used int64) time.Duration {
	return min(patience<<min(max(used-soft, 0)/step, 10), maxPatience)
}

// pause waits for a batch to come free, or for patience to end. Called with the lock held.
func (s *Spool) pause(ctx context.Context, c *Chunk) error {
	if s.b.used+s.b.batch <= soft || len(s.idle) > 0 || s.turn == c.index {
		return nil
	}
	long := patienceAt(s.b.used + s.b.batch)
	until := time.Now().Add(long)
	timer := time.AfterFunc(long, func() {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		s.b.cond.Broadcast()
	})
	defer timer.Stop()
	for len(s.idle) == 0 && s.turn != c.index && s.b.used+s.b.batch > soft && time.Now().Before(until) {
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *Chunk) push(e entry) {
	c.queue = append(c.queue, e)
	c.s.b.cond.Broadcast()
}

// Finish ends the chunk with its last batch, which may be nil or empty and is taken over, also when it fails.
func (c *Chunk) Finish(ctx context.Context, last *column.Batch) error {
	s := c.s
	defer s.wakeWith(ctx)()
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if last != nil {
		kept, err := c.finish(ctx, last)
		if !kept {
			s.drop(last)
		}
		if err != nil {
			return err
		}
	}
	if s.closed != nil {
		return s.closed
	}
	if c.skip < len(c.taken) {
		return ErrDiverged
	}
	c.done = true
	s.b.cond.Broadcast()
	return nil
}

// finish puts the last batch where the chunk's others are; it tells whether the batch itself is kept. Called with the
// lock held.
func (c *Chunk) finish(ctx context.Context, last *column.Batch) (kept bool, err error) {
	s := c.s
	switch {
	case last.Rows == 0:
		return false, nil
	case c.skip < len(c.taken):
		if fingerprint(last) != c.taken[c.skip] {
			return false, ErrDiverged
		}
		c.skip++
		return false, nil
	}
	for {
		if s.closed != nil {
			return false, s.closed
		}
		// The copier fills another batch next: this one must be within the limit, or in the flow, or in the file.
		h := s.measure(last)
		if s.b.used <= s.b.memory || s.turn == c.index || s.orphans > 0 {
			s.granted[h.grant]--
			switch {
			case s.b.used <= s.b.memory:
				h.grant = normal
			case s.turn == c.index:
				h.grant = flowing
			default: // for an orphan's sake; of the flow's few it must take none, it does not flow
				h.grant = filling
			}
			s.granted[h.grant]++
			c.push(entry{batch: last})
			return true, nil
		}
		if done, err := c.spill(last); done || err != nil {
			return false, err
		}
		if err := s.wait(ctx); err != nil {
			return false, err
		}
	}
}

// spill writes a batch to the spool's file, unless temp space is spent. Called with the lock held, which it gives up while
// it writes.
func (c *Chunk) spill(b *column.Batch) (bool, error) {
	s := c.s
	n := batchSize(b)
	if !s.b.takeTemp(n) {
		return false, nil
	}
	if s.file == nil {
		f, err := TempFile(s.b.dir, s.name+"-*.spool")
		if err != nil {
			s.b.temp -= n
			return false, err
		}
		s.file = f
	}
	x := extent{s.end, n}
	s.end += n
	f := s.file
	s.b.mu.Unlock()
	err := writeBatch(f, x.at, b)
	s.b.mu.Lock()
	switch {
	case s.closed != nil:
		s.b.temp -= n
		return false, s.closed
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		s.b.temp -= n
		discard(f, x.at, x.n)
		return false, nil // wait for the chunk's turn, as with any other limit
	case err != nil:
		s.b.temp -= n
		return false, &TempError{Dir: s.b.dir, Err: err}
	}
	c.spilled += n
	c.extents = append(c.extents, x)
	c.push(entry{extent: x})
	return true, nil
}

// TempFile makes a file in dir, named as os.CreateTemp does, and removes its name at once: whatever happens to the process,
// nothing is left. The caller closes it. The error is a *TempError.
func TempFile(dir, pattern string) (*os.File, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, &TempError{Dir: dir, Err: errors.Unwrap(err)}
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, &TempError{Dir: dir, Err: errors.Unwrap(err)}
	}
	return f, nil
}

// TempError is temp space that can't be used.
type TempError struct {
	Dir string
	Err error
}

func (e *TempError) Error() string { return fmt.Sprintf("temp directory %s: %v", e.Dir, e.Err) }

// Unwrap gives the file system's error.
func (e *TempError) Unwrap() error { return e.Err }

// Take is the merger's end: the next batch in the file's order, the caller's to release, or io.EOF behind the last one
// of the last chunk.
func (s *Spool) Take(ctx context.Context) (*column.Batch, error) {
	defer s.wakeWith(ctx)()
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for {
		if s.closed != nil {
			return nil, s.closed
		}
		if s.turn >= s.total {
			return nil, io.EOF
		}
		c := s.chunks[s.turn]
		switch {
		case c != nil && len(c.queue) > 0:
			if b, err := s.pop(ctx, c); b != nil || err != nil {
				return b, err
			}
			continue
		case c != nil && c.done:
			c.clear()
			delete(s.chunks, s.turn)
			s.turn++
			s.b.cond.Broadcast()
			continue
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// pop takes the first entry of c's queue; nil when the copy began again while it was read. Called with the lock held, which
// it gives up while it reads and looks at the batch.
func (s *Spool) pop(ctx context.Context, c *Chunk) (*column.Batch, error) {
	e, attempt := c.queue[0], c.attempt
	b := e.batch
	for b == nil {
		if b = s.allocate(reading); b == nil {
			if err := s.wait(ctx); err != nil {
				return nil, err
			}
			if c.attempt != attempt {
				return nil, nil
			}
		}
	}
	print, f := !c.done, s.file
	var sum uint64
	var err error
	s.b.mu.Unlock()
	if e.batch == nil {
		err = readBatch(f, e.at, e.n, b)
	}
	if err == nil && print {
		sum = fingerprint(b)
	}
	s.b.mu.Lock()
	if s.closed != nil || c.attempt != attempt || err != nil {
		// A batch that was in the queue went with the queue.
		if e.batch == nil {
			s.drop(b)
		}
		switch {
		case s.closed != nil:
			return nil, s.closed
		case c.attempt != attempt:
			return nil, nil
		}
		return nil, &TempError{Dir: s.b.dir, Err: err}
	}
	s.measure(b)
	c.queue = c.queue[1:]
	if print {
		c.taken = append(c.taken, sum)
	}
	c.skip = len(c.taken)
	return b, nil
}
