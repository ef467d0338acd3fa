package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"fast-export/copier"
	"fast-export/internal/column"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

// What stands here is for measuring what a run is made of: what the server can send, and what decoding and encoding cost by
// themselves. None of it makes a file that anybody keeps.

// BenchDir begins the names of benches' private directories: exports tell of one that was left as of their own.
const BenchDir = tempPrefix + "bench-"

// Leftovers are the private directories of exports and benches in a directory, which were killed or are under way.
func Leftovers(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // whether it can be written to is found out by writing
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

// FloorResult is what Floor did.
type FloorResult struct {
	Elapsed   time.Duration // from before the first connection, as Result.Elapsed
	CopyBytes int64         // that the server sent
	Workers   int           // connections that copied
}

// Floor copies all that Run would copy for cfg, over the same connections and in the same chunks, and throws it away: no run
// can take less time. cfg has one job, whose Out is not looked at.
//
// Errors are those of Run, up to its first row, and snapshot.ErrLost of any lost connection after it.
func Floor(ctx context.Context, cfg Config) (_ *FloorResult, err error) {
	start := time.Now()
	res := &FloorResult{}
	err = measured(ctx, cfg, func(ctx context.Context, r *run, snap *snapshot.Snapshot) error {
		plan := r.jobs[0].plan
		workers, err := r.openWorkers(ctx, snap, min(r.cfg.Parallel, plan.Len()))
		if err != nil {
			return err
		}
		res.Workers = len(workers)
		var next, copied atomic.Int64
		g, ctx := errgroup.WithContext(ctx)
		for _, w := range workers {
			c := &copying{r: r, snap: snap, w: w}
			g.Go(func() error {
				defer c.close(ctx)
				for {
					i := next.Add(1) - 1
					if i >= int64(plan.Len()) {
						return nil
					}
					n, err := c.raw(ctx, r.jobs[0], int(i), io.Discard)
					copied.Add(n)
					if err != nil {
						return err
					}
				}
			})
		}
		err = g.Wait()
		res.CopyBytes = copied.Load()
		return err
	})
	res.Elapsed = time.Since(start)
	return res, err
}

// measured plans cfg's one job and calls what measures inside its snapshot.
func measured(ctx context.Context, cfg Config, inside func(context.Context, *run, *snapshot.Snapshot) error) error {
	if len(cfg.Jobs) != 1 {
		return &ConfigError{fmt.Sprintf("one job is measured at a time, not %d", len(cfg.Jobs))}
	}
	job := cfg.Jobs[0]
	job.Out = ""
	cfg.Jobs = []Job{job}
	_, err := inSnapshot(ctx, cfg, true, func(r *run, snap *snapshot.Snapshot) error { return inside(ctx, r, snap) })
	return err
}

// raw copies one chunk as it comes to w and returns its bytes.
func (c *copying) raw(ctx context.Context, j *job, i int, w io.Writer) (int64, error) {
	chunk := j.plan.At(i)
	if err := c.settings(ctx, chunk); err != nil {
		return 0, c.lost(err)
	}
	n, _, err := copier.Copy(ctx, c.w.Conn().PgConn(), j.plan.SQL(chunk, j.exprs), j.types.Transport.String(), w)
	return n, c.lost(err)
}

// lost makes snapshot.ErrLost of a lost connection, in whatever way it was lost: what is measured has no second try.
func (c *copying) lost(err error) error {
	if err == nil || errors.Is(err, errEnough) {
		return err
	}
	if _, lost := errors.AsType[*snapshot.ConnectError](snapshot.Broken(c.w.Conn(), err)); lost {
		return fmt.Errorf("%w: %s", snapshot.ErrLost, firstLine(err))
	}
	return err
}

// Staged are COPY bytes of a job's first chunks in memory, for measuring what is done with them. Not for concurrent use.
type Staged struct {
	r       *run
	j       *job
	streams [][]byte // a chunk's bytes each; the last one may end anywhere
	cut     bool     // it does
	batches []*column.Batch

	CopyBytes int64 // in memory
	Rows      int64 // that Decode found; 0 before
}

// errEnough ends a COPY of which enough is here.
var errEnough = errors.New("enough")

// Stage fetches about maxBytes of what the server sends for cfg's one job, over one connection.
//
// Errors are those of Floor.
func Stage(ctx context.Context, cfg Config, maxBytes int64) (*Staged, error) {
	s := &Staged{}
	err := measured(ctx, cfg, func(ctx context.Context, r *run, snap *snapshot.Snapshot) error {
		s.r, s.j = r, r.jobs[0]
		workers, err := r.openWorkers(ctx, snap, 1)
		if err != nil {
			return err
		}
		c := &copying{r: r, snap: snap, w: workers[0]}
		defer c.close(ctx)
		for i := 0; i < s.j.plan.Len() && s.CopyBytes < maxBytes; i++ {
			keep := &keeper{left: maxBytes - s.CopyBytes}
			_, err := c.raw(ctx, s.j, i, keep)
			if err != nil && !errors.Is(err, errEnough) {
				return err
			}
			s.streams = append(s.streams, keep.data)
			s.CopyBytes += int64(len(keep.data))
			s.cut = err != nil
			if s.cut {
				break
			}
		}
		return nil
	})
	return s, err
}

// keeper keeps what is written to it until it has enough.
type keeper struct {
	data []byte
	left int64
}

func (k *keeper) Write(p []byte) (int, error) {
	if k.left <= 0 {
		return 0, errEnough
	}
	k.data = append(k.data, p...)
	k.left -= int64(len(p))
	return len(p), nil
}

// Decode decodes the bytes on the calling goroutine, as one worker of a run does. With keep the batches are kept for Encode;
// without, one batch is filled again and again.
//
// Errors are those of typemap's decoder.
func (s *Staged) Decode(keep bool) error {
	s.Rows, s.batches = 0, nil
	fresh := func() *column.Batch {
		return column.NewBatch(len(s.j.types.Leaves), len(s.j.types.Schema.Fields()), nil)
	}
	dec := s.j.types.NewDecoder(typemap.DecoderOptions{
		BatchRows: maxBatchRows, BatchBytes: s.r.batch, BlockSize: int(s.r.cfg.BlockSize),
		Next: func(full *column.Batch) (*column.Batch, error) {
			if full == nil {
				return fresh(), nil
			}
			if keep {
				s.batches = append(s.batches, full)
				return fresh(), nil
			}
			full.Reset(nil)
			return full, nil
		},
	})
	for i, stream := range s.streams {
		dec.Reset()
		for len(stream) > 0 { // as the socket brings it
			n := min(len(stream), 256<<10)
			if _, err := dec.Write(stream[:n]); err != nil {
				return err
			}
			stream = stream[n:]
		}
		if s.cut && i == len(s.streams)-1 {
			s.Rows += dec.Rows()
			break // it ends within a row: rows since the last full batch are not kept
		}
		last, err := dec.Finish()
		if err != nil {
			return err
		}
		s.Rows += dec.Rows()
		if keep && last != nil {
			s.batches = append(s.batches, last)
		}
	}
	return nil
}

// Encode writes the batches that Decode kept to a file, with encoders on all cores, and returns its rows and size. The batches
// are gone then. Nothing may stand at out but a Parquet file, which is replaced.
//
// Errors are those of parquetw.
func (s *Staged) Encode(ctx context.Context, out string) (rows, bytes int64, err error) {
	s.r.dir = filepath.Dir(out)
	s.r.pool = newPool(s.r.cfg.Memory*pageShare/100, s.r.pageFile)
	defer func() { err = errors.Join(err, s.r.pool.Close()) }()
	w, err := parquetw.Create(out, s.j.writerOptions(s.r))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	for _, b := range s.batches {
		if err := w.Write(ctx, b); err != nil {
			return 0, 0, err
		}
	}
	s.batches = nil
	res, err := w.Commit(ctx)
	return res.Rows, res.Bytes, err
}
