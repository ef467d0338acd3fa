package copier

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/internal/wire"
)

// Copy runs COPY (query) TO STDOUT on conn and writes what comes, as it comes, to w: one row a call with today's
// servers, but no writer should rely on it. format is csv or binary. It returns the bytes received, and the rows that the
// server says it has sent: the caller compares, since a CSV stream that ends early at a row's end looks whole.
//
// An error of w comes back as a *SinkError, any other is the server's or the connection's. After either conn is closed or
// its transaction aborted.
func Copy(ctx context.Context, conn *pgconn.PgConn, query, format string, w io.Writer) (bytes, rows int64, err error) {
	cw := &countingWriter{w: w}
	if r := wire.Of(conn); r != nil {
		r.Divert(cw)
		defer r.Divert(nil)
	}
	// The query stands on lines of its own: it may end in a comment.
	tag, err := conn.CopyTo(ctx, cw, "COPY (\n"+query+"\n) TO STDOUT (FORMAT "+format+")")
	if cw.err != nil {
		return cw.n, 0, &SinkError{cw.err}
	}
	if err != nil && ctx.Err() != nil {
		return cw.n, 0, context.Cause(ctx)
	}
	return cw.n, tag.RowsAffected(), err
}

// SinkError is the error of the writer that Copy wrote to: a bad value, a full disk, …
type SinkError struct{ Err error }

func (e *SinkError) Error() string { return e.Err.Error() }

// Unwrap gives the writer's error.
func (e *SinkError) Unwrap() error { return e.Err }

type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	n, err := c.w.Write(p)
	if err != nil {
		c.err = err
	}
	return n, err
}

// Retryable tells that err, of Copy or of a statement on a worker's connection, is the loss of that connection alone, so
// that the same chunk may be copied again on another one inside the snapshot. closed is whether the connection is. A
// server's verdict on the statement, and a writer's on what came, are final.
func Retryable(err error, closed bool) bool {
	var sink *SinkError
	if err == nil || errors.As(err, &sink) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return closed
	}
	switch {
	case pg.Code == "57P01", pg.Code == "57P02", pg.Code == "57P03", pg.Code == "57P05": // shutdown, crash, starting, idle too long
		return true
	case strings.HasPrefix(pg.Code, "08"): // connection exceptions
		return true
	case pg.Code == "40001", pg.Code == "40P01": // a standby's conflicts: nothing else raises 40001 where nothing is written. Its text is of the server's language
		return true
	}
	return false
}
