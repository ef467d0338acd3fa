package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Worker is a connection inside the snapshot, with the relations locked, in one transaction that lasts until Close. It
// has one owner.
type Worker struct {
	s      *Snapshot
	conn   *pgx.Conn
	closed bool
}

// NewWorker opens a connection to the coordinator's server, adopts the snapshot, locks and verifies. When the last known
// export is dead it asks a living worker for a new one, which comes at that worker's next Serve.
//
// Errors: *ConnectError, *LockError (go on with fewer workers), *MismatchError, ErrLost, or the server's.
func (s *Snapshot) NewWorker(ctx context.Context) (_ *Worker, err error) {
	conn, err := pgx.ConnectConfig(ctx, s.cfg)
	if err != nil {
		return nil, &ConnectError{Err: err}
	}
	defer func() {
		if err != nil {
			closeConn(ctx, conn)
		}
	}()
	id, err := identify(ctx, conn)
	if err != nil {
		return nil, err
	}
	if !id.same(s.server) {
		return nil, &MismatchError{What: "the server's start and system identifier", Want: s.server.started + "/" + s.server.system, Got: id.started + "/" + id.system}
	}
	if err := s.adopt(ctx, conn); err != nil {
		return nil, err
	}
	if err := s.lock(ctx, conn, true); err != nil {
		return nil, err
	}
	got, err := s.current(ctx, conn)
	if err != nil {
		return nil, err
	}
	if got != s.fingerprint {
		return nil, &MismatchError{What: "its snapshot", Want: s.fingerprint, Got: got}
	}
	s.workers.Add(1)
	return &Worker{s: s, conn: conn}, nil
}

// adopt begins conn's transaction in the snapshot, by the newest export or by a new one from whoever is still inside.
func (s *Snapshot) adopt(ctx context.Context, conn *pgx.Conn) error {
	for {
		s.mu.Lock()
		id, alive := s.id, s.idAlive
		s.mu.Unlock()
		if alive {
			err := s.begin(ctx, conn, id)
			var imp *ImportError
			if !errors.As(err, &imp) {
				return err
			}
			if err := exec(ctx, conn, "ROLLBACK"); err != nil {
				return fmt.Errorf("adopt snapshot %s: %w", id, err)
			}
			s.mu.Lock()
			if s.id == id {
				s.idAlive = false
			}
			s.mu.Unlock()
		}
		if err := s.reexport(ctx, id); err != nil {
			return err
		}
	}
}

// reexport has a living worker export the snapshot, unless somebody got a newer id than old meanwhile.
func (s *Snapshot) reexport(ctx context.Context, old ID) error {
	reply := make(chan exported, 1)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		newer := s.idAlive && s.id != old
		s.mu.Unlock()
		if newer {
			return nil
		}
		if s.workers.Load() == 0 {
			return s.lost(ctx)
		}
		select {
		case s.requests <- reply:
			r := <-reply
			if r.err != nil {
				continue // that worker is gone; ask another
			}
			s.mu.Lock()
			s.id, s.idAlive = r.id, true
			s.mu.Unlock()
			return nil
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Conn is the worker's connection, inside the transaction.
func (w *Worker) Conn() *pgx.Conn { return w.conn }

// Requests is where a worker that has nothing to copy listens: whatever it receives it must hand to Export.
func (w *Worker) Requests() <-chan chan exported { return w.s.requests }

// Export answers a request received from Requests: it exports the snapshot again for a replacement.
func (w *Worker) Export(ctx context.Context, reply chan exported) error {
	var id ID
	err := w.conn.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&id)
	reply <- exported{id, err}
	if err != nil {
		return fmt.Errorf("export the snapshot again: %w", err)
	}
	return nil
}

// Serve answers a waiting request, if there is one, without blocking. Call it between two chunks.
func (w *Worker) Serve(ctx context.Context) error {
	select {
	case reply := <-w.s.requests:
		return w.Export(ctx, reply)
	default:
		return nil
	}
}

// Close ends the worker's transaction and connection. Idempotent.
func (w *Worker) Close(ctx context.Context) {
	if w.closed {
		return
	}
	w.closed = true
	w.s.workers.Add(-1)
	closeConn(ctx, w.conn)
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing was written: a failure to say goodbye loses nothing
}
