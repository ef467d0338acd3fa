package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/wire"
)

// Worker is a connection inside the snapshot, with the relations locked, in one transaction that lasts until Close. It
// has one owner.
type Worker struct {
	s       *Snapshot
	conn    *pgx.Conn
	session []parameter // as they are when it begins to read
	closed  bool
}

type parameter struct{ Name, Value string }

// sessionQuery reads what decides how the server writes values, which rows it shows and what names mean. The planner's
// settings are no part of it, each chunk makes its own.
const sessionQuery = `
SELECT name, COALESCE(pg_catalog.current_setting(name, true), '')
FROM pg_catalog.unnest('{extra_float_digits,DateStyle,IntervalStyle,TimeZone,bytea_output,standard_conforming_strings,xmloption,xmlbinary,
	client_encoding,row_security,search_path,role,session_authorization,lc_monetary,lc_numeric,lc_time,quote_all_identifiers,
	timezone_abbreviations,transform_null_equals,array_nulls,statement_timeout,idle_in_transaction_session_timeout}'::pg_catalog.text[]) s(name)`

func readSession(ctx context.Context, conn *pgx.Conn) ([]parameter, error) {
	rows, err := conn.Query(ctx, sessionQuery)
	if err != nil {
		return nil, fmt.Errorf("read the session's settings: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[parameter])
	if err != nil {
		return nil, fmt.Errorf("read the session's settings: %w", err)
	}
	return all, nil
}

// Unchanged checks that what was read has changed no setting of the session on which values depend. Call it after a COPY
// that may have called functions of any kind, before its rows are counted as read.
//
// Errors: *SettingError, after which the worker must not be used, or the connection's.
func (w *Worker) Unchanged(ctx context.Context) error {
	now, err := readSession(ctx, w.conn)
	if err != nil {
		return err
	}
	for i, was := range w.session {
		if now[i] != was {
			return &SettingError{Name: was.Name, Was: was.Value, Now: now[i].Value}
		}
	}
	return nil
}

// Alone makes a worker of the coordinator's own connection, for a server that has no room for another. From then on Conn is
// the worker's, Watch must not run, and the loss of this connection is the loss of the snapshot.
func (s *Snapshot) Alone(ctx context.Context) (*Worker, error) {
	session, err := readSession(ctx, s.conn)
	if err != nil {
		return nil, err
	}
	s.workers.Add(1)
	return &Worker{s: s, conn: s.conn, session: session}, nil
}

// NewWorker opens a connection to the coordinator's server, adopts the snapshot, locks and verifies. When the last known
// export is dead it asks a living worker for a new one, which comes at that worker's next Serve.
//
// Errors: *ConnectError, *NoRoomError and *LockError (go on with fewer workers), *MismatchError, ErrLost, or the server's.
func (s *Snapshot) NewWorker(ctx context.Context) (_ *Worker, err error) {
	var conn *pgx.Conn
	defer func() {
		if err == nil || conn == nil {
			return
		}
		// Whatever statement the connection was lost in.
		if _, told := errors.AsType[*ConnectError](err); conn.IsClosed() && ctx.Err() == nil && !told && !errors.Is(err, ErrLost) && !errors.As(err, new(*NoRoomError)) {
			err = &ConnectError{Err: fmt.Errorf("the connection was lost before it was inside the snapshot: %w", err)}
		}
		closeConn(ctx, conn)
	}()
	var id identity
	err = letIn(ctx, func(ctx context.Context) (err error) {
		if conn, err = wire.Connect(ctx, s.cfg, true); err != nil {
			return &ConnectError{Err: err}
		}
		id, err = identify(ctx, conn)
		return err
	})
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
	session, err := readSession(ctx, conn)
	if err != nil {
		return nil, err
	}
	s.workers.Add(1)
	return &Worker{s: s, conn: conn, session: session}, nil
}

// adopt begins conn's transaction in the snapshot, by the newest export or by a new one from whoever is still inside.
func (s *Snapshot) adopt(ctx context.Context, conn *pgx.Conn) error {
	for {
		s.mu.Lock()
		id, alive := s.id, s.idAlive
		s.mu.Unlock()
		if alive {
			err := letIn(ctx, func(ctx context.Context) error { return s.begin(ctx, conn, id) })
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
