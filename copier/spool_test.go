package copier

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"fast-export/internal/column"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var seedFlag = flag.Uint64("seed", 0, "seed of the property tests; 0: a new one")

func newRand(t *testing.T) *rand.Rand {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 1))
}

// fill writes rows [lo, hi) into b: one required int64 leaf and one byte-array leaf.
func fill(b *column.Batch, lo, hi int) {
	for i := lo; i < hi; i++ {
		b.Rows++
		b.Leaves[0].Data = binary.LittleEndian.AppendUint64(b.Leaves[0].Data, uint64(i))
		b.Leaves[0].Values++
		s := fmt.Sprint("row ", i)
		b.Leaves[1].Data = binary.LittleEndian.AppendUint32(b.Leaves[1].Data, uint32(len(s)))
		b.Leaves[1].Data = append(b.Leaves[1].Data, s...)
		b.Leaves[1].Values++
	}
	b.Counts[0].Inexact = int64(hi - lo)
}

// copyChunk plays a copier: rows [lo, hi) in batches of per, dying before batch number die (-1: never).
func copyChunk(ctx context.Context, c *Chunk, lo, hi, per, die int) error {
	if err := c.Begin(); err != nil {
		return err
	}
	b, err := c.Next(ctx, nil)
	if err != nil {
		return err
	}
	for n := 0; lo < hi; n++ {
		if n == die {
			b.Release()
			return errDied
		}
		end := min(lo+per, hi)
		fill(b, lo, end)
		lo = end
		if lo == hi {
			break
		}
		if b, err = c.Next(ctx, b); err != nil {
			return err
		}
	}
	return c.Finish(ctx, b)
}

var errDied = errors.New("died")

// drain plays the merger and a slow encoder, and checks that rows come out 0, 1, 2, …
func drain(ctx context.Context, s *Spool, rng *rand.Rand) (int, int64, error) {
	next, counted := 0, int64(0)
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 2)
	for {
		b, err := s.Take(ctx)
		if err == io.EOF {
			return next, counted, nil
		}
		if err != nil {
			return next, counted, err
		}
		d := b.Leaves[0].Data
		for range b.Rows {
			if got := int(binary.LittleEndian.Uint64(d)); got != next {
				return next, counted, fmt.Errorf("row %d where %d was due", got, next)
			}
			d = d[8:]
			next++
		}
		counted += b.Counts[0].Inexact
		pause := time.Duration(rng.IntN(300)) * time.Microsecond
		slots <- struct{}{}
		wg.Go(func() {
			time.Sleep(pause)
			b.Release()
			<-slots
		})
	}
}

// Any budget, any number of copiers that die now and then, any chunk sizes: the rows come out once each and in order,
// and nothing is held at the end. A lock-up fails by the deadline.
func TestSpoolKeepsOrder(t *testing.T) {
	rng := newRand(t)
	for round := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		chunks, workers := 1+rng.IntN(20), 1+rng.IntN(6)
		memory := int64(rng.IntN(64 << 10))
		limit := int64(0)
		if rng.IntN(2) == 0 {
			limit = 1 + int64(rng.IntN(20<<10))
		}
		dir := t.TempDir()
		b := NewBudget(memory, 2<<10, dir, limit)
		s := b.NewSpool("chunk", 2, 1, chunks)
		bounds := []int{0}
		for range chunks {
			bounds = append(bounds, bounds[len(bounds)-1]+rng.IntN(400))
		}
		per, dying, source := 1+rng.IntN(60), rng.IntN(3) == 0, rng.Uint64()
		next := make(chan int)
		errs := make(chan error, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(source, uint64(w)))
				for i := range next {
					for attempt := 0; ; attempt++ {
						die := -1
						if dying && attempt < 3 && rng.IntN(2) == 0 {
							die = rng.IntN(6)
						}
						err := copyChunk(ctx, s.Chunk(i), bounds[i], bounds[i+1], per, die)
						if err == nil {
							break
						}
						if err != errDied {
							errs <- err
							return
						}
					}
				}
			})
		}
		go func() {
			defer close(next)
			for i := range chunks {
				select {
				case next <- i:
				case <-ctx.Done():
					return
				}
			}
		}()
		got, counted, err := drain(ctx, s, rng)
		cancelled := ctx.Err()
		s.Close()
		wg.Wait()
		cancel()
		if err != nil || cancelled != nil || len(errs) > 0 {
			t.Fatalf("round %d (memory %d, temp %d, %d chunks, %d workers): %v after %d rows (%v)", round, memory, limit, chunks, workers, err, got, cancelled)
		}
		if want := bounds[chunks]; got != want || counted != int64(want) {
			t.Fatalf("round %d: %d rows, %d counted, want %d", round, got, counted, want)
		}
		b.mu.Lock()
		if b.used != 0 || b.temp != 0 || limit > 0 && b.peak > limit/2 {
			t.Errorf("round %d: %d bytes of memory and %d of temp space still booked, peak %d of %d", round, b.used, b.temp, b.peak, limit)
		}
		b.mu.Unlock()
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("round %d: left behind %v", round, left)
		}
	}
}

// With many chunks ahead of the merger the memory beyond the budget stays bounded: one batch a copier and the flow's few.
func TestSpoolStaysWithinBudget(t *testing.T) {
	const batch, memory, workers, chunks, rows = 4 << 10, 32 << 10, 1, 200, 300
	b := NewBudget(memory, batch, t.TempDir(), 0)
	s := b.NewSpool("chunk", 2, 1, chunks)
	peak := int64(0)
	watch := func() {
		b.mu.Lock()
		peak = max(peak, b.used)
		b.mu.Unlock()
	}
	ctx := t.Context()
	for i := chunks - 1; i > 0; i-- { // the merger waits for chunk 0
		if err := copyChunk(ctx, s.Chunk(i), i*rows, (i+1)*rows, 50, -1); err != nil {
			t.Fatal(err)
		}
		watch()
	}
	done := make(chan error, 1)
	go func() {
		n, _, err := drain(ctx, s, rand.New(rand.NewPCG(1, 1)))
		if n != chunks*rows && err == nil {
			err = fmt.Errorf("%d rows", n)
		}
		done <- err
	}()
	if err := copyChunk(ctx, s.Chunk(0), 0, rows, 50, -1); err != nil {
		t.Fatal(err)
	}
	for waiting := true; waiting; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			waiting = false
		default:
			watch()
			time.Sleep(100 * time.Microsecond)
		}
	}
	if limit := int64(memory + (workers+maxFlowing+maxReading)*batch); peak > limit {
		t.Errorf("%d bytes of batches, the budget and its grants allow %d", peak, limit)
	}
	if b.TempPeak() == 0 {
		t.Error("nothing was spilled: the test shows nothing")
	}
	s.Close()
}

// A copier that is ahead must not heap up rows just because --memory has room: what the process takes would follow the
// size of the table.
func TestAheadStaysNearSoftLimit(t *testing.T) {
	const batch = 1 << 20
	s := NewBudget(1<<30, batch, t.TempDir(), 0).NewSpool("chunk", 2, 1, 2)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	c := s.Chunk(1) // chunk 0 has the turn, and nobody takes anything
	if err := c.Begin(); err != nil {
		t.Fatal(err)
	}
	b, err := c.Next(ctx, nil)
	n := 0
	for err == nil {
		b.Leaves[1].Data = make([]byte, batch)
		b.Rows = 1
		n++
		b, err = c.Next(ctx, b)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if limit := int(soft/batch) + 20; n > limit {
		t.Errorf("%d MiB ahead within a second and a half; more than %d are in nobody's interest", n, limit)
	}
	if n <= int(soft/batch) {
		t.Errorf("%d MiB: below the soft limit nobody is to wait", n)
	}
}

func TestRepeatedCopyMustAgree(t *testing.T) {
	ctx := t.Context()
	b := NewBudget(1<<20, 1<<10, t.TempDir(), 0)
	s := b.NewSpool("chunk", 2, 1, 1)
	defer s.Close()
	if err := copyChunk(ctx, s.Chunk(0), 0, 100, 10, 3); err != errDied {
		t.Fatal(err)
	}
	taken, err := s.Take(ctx)
	if err != nil {
		t.Fatal(err)
	}
	taken.Release()
	if err := copyChunk(ctx, s.Chunk(0), 1, 101, 10, -1); !errors.Is(err, ErrDiverged) {
		t.Fatalf("other rows in the repeated copy: got %v, want ErrDiverged", err)
	}
	if err := copyChunk(ctx, s.Chunk(0), 0, 5, 10, -1); !errors.Is(err, ErrDiverged) {
		t.Fatalf("fewer rows than were taken: got %v, want ErrDiverged", err)
	}
	if err := copyChunk(ctx, s.Chunk(0), 0, 100, 10, -1); err != nil {
		t.Fatalf("the same rows: %v", err)
	}
}

func TestWaitersEndWithTheirContext(t *testing.T) {
	b := NewBudget(0, 1<<10, t.TempDir(), 1)
	s := b.NewSpool("chunk", 2, 1, 2)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := copyChunk(ctx, s.Chunk(1), 0, 1000, 10, -1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a copier without memory or temp space before its turn: got %v, want its deadline", err)
	}
	if _, err := s.Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a merger without rows: got %v, want its deadline", err)
	}
}

// A finished chunk must not be begun again: its rows would come out twice.
func TestFinishedChunkIsNotBegunAgain(t *testing.T) {
	b := NewBudget(1<<20, 1<<10, t.TempDir(), 0)
	s := b.NewSpool("chunk", 2, 1, 2)
	defer s.Close()
	if err := copyChunk(t.Context(), s.Chunk(0), 0, 30, 10, -1); err != nil {
		t.Fatal(err)
	}
	if err := s.Chunk(0).Begin(); err == nil {
		t.Error("a finished chunk was begun again")
	}
	for range 3 {
		taken, err := s.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken.Release()
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		s.Close()
	}()
	if _, err := s.Take(t.Context()); err == nil {
		t.Error("rows behind the last one")
	}
	if err := s.Chunk(0).Begin(); err == nil {
		t.Error("a chunk that was passed was begun again")
	}
}

// With memory and temp space spent and the copier of the chunk whose turn it is gone for good, the others finish what they
// have begun, so that one of them can take that chunk over.
func TestOrphanIsTakenOver(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b := NewBudget(0, 1<<10, t.TempDir(), 1)
	s := b.NewSpool("chunk", 2, 1, 10)
	defer s.Close()
	if err := copyChunk(ctx, s.Chunk(0), 0, 100, 10, 3); err != errDied {
		t.Fatal(err)
	}
	s.Chunk(0).Orphan()
	for i := 1; i < 10; i++ {
		if err := copyChunk(ctx, s.Chunk(i), i*100, i*100+100, 10, -1); err != nil {
			t.Fatalf("the other copiers: %v", err)
		}
	}
	s.Chunk(0).Adopt()
	done := make(chan error, 1)
	go func() { done <- copyChunk(ctx, s.Chunk(0), 0, 100, 10, -1) }()
	n, _, err := drain(ctx, s, rand.New(rand.NewPCG(1, 1)))
	if err != nil || n != 1000 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Files, and values that read like a broken connection, are no broken connection.
func TestRetryable(t *testing.T) {
	lost := &pgconn.PgError{Code: "57P01"}
	for _, c := range []struct {
		err    error
		closed bool
		want   bool
	}{
		{&SinkError{&TempError{Dir: "x", Err: syscall.ENOSPC}}, true, false},
		{&SinkError{errors.New("value \"connection reset\"")}, true, false},
		{io.ErrUnexpectedEOF, true, true},
		{errors.New("write failed: broken pipe"), true, true},
		{errors.New("anything, with the connection alive"), false, false},
		{lost, true, true},
		{fmt.Errorf("chunk: %w", lost), false, true},
		{&pgconn.PgError{Code: "22012"}, true, false},
		{&pgconn.PgError{Code: "40001", Message: "storniere Anfrage wegen Konflikt mit der Wiederherstellung"}, false, true},
		{context.Canceled, true, false},
		{nil, false, false},
	} {
		if got := Retryable(c.err, c.closed); got != c.want {
			t.Errorf("Retryable(%v, %v) = %v", c.err, c.closed, got)
		}
	}
}

func TestTempDirectoryGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sub")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := NewBudget(0, 1<<10, dir, 0)
	s := b.NewSpool("chunk", 2, 1, 2)
	defer s.Close()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	var te *TempError
	if err := copyChunk(t.Context(), s.Chunk(1), 0, 1000, 10, -1); !errors.As(err, &te) {
		t.Errorf("got %v, want a *TempError", err)
	}
}

// Files one after the other share their batches: what hundreds of small ones hold is what one does.
func TestSpoolsShareBatches(t *testing.T) {
	const files, rows = 100, 30
	b := NewBudget(1<<30, 4<<10, t.TempDir(), 0)
	for i := range files {
		s := b.NewSpool("chunk", 2, 1, 1)
		defer s.Close()
		if err := copyChunk(t.Context(), s.Chunk(0), 0, rows, 50, -1); err != nil {
			t.Fatal(err)
		}
		if n, _, err := drain(t.Context(), s, rand.New(rand.NewPCG(1, 1))); n != rows || err != nil {
			t.Fatalf("file %d: %d rows, %v", i, n, err)
		}
	}
	if limit := 2 * b.batch; b.used > limit {
		t.Errorf("%d bytes are held behind %d files, want %d at most", b.used, files, limit)
	}
	other := b.NewSpool("chunk", 3, 1, 1)
	defer other.Close()
	batch, err := other.Chunk(0).Next(t.Context(), nil)
	if err != nil || len(batch.Leaves) != 3 {
		t.Fatalf("a batch of another schema, %v", err)
	}
	batch.Release()
}
