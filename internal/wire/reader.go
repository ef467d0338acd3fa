// Package wire receives what a server sends during a COPY with as little work as that takes: rows go from the read buffer
// straight to whoever decodes them, past pgconn, which sees all other messages; and the socket is emptied every few hundred
// microseconds, rather than at every 8 KiB that the server sends.
package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// bufferSize is what one read of a socket may bring. Fewer system calls than with pgconn's own 8 KiB were worth 0.1 to
// 0.2 CPU seconds a million rows.
const bufferSize = 256 << 10

// keepLarge is how many times a buffer that a large row has left behind is filled anew before it is let go: more may come.
const keepLarge = 64

// headerSize is a message's type and length. Source: the manual's Message Formats.
const headerSize = 5

// Connect is pgx.ConnectConfig for a connection whose COPYs can be diverted. If it is only to copy, and seldom to answer
// quickly, let it be quiet: it looks for what came at intervals of its own, 50 µs and more.
func Connect(ctx context.Context, cfg *pgx.ConnConfig, quietly bool) (*pgx.Conn, error) {
	cfg = cfg.Copy()
	if dial := cfg.DialFunc; quietly {
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return quiet(c), nil
		}
	}
	var r *Reader // of the host that answered: they are tried one after the other
	cfg.BuildFrontend = func(src io.Reader, w io.Writer) *pgproto3.Frontend {
		r = newReader(src, w)
		return pgproto3.NewFrontend(r, w)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	conn.PgConn().CustomData()[dataKey] = r
	return conn, nil
}

const dataKey = "fast-export/internal/wire"

// Of gives the reader of a connection that Connect made; nil for another.
func Of(c *pgconn.PgConn) *Reader {
	r, _ := c.CustomData()[dataKey].(*Reader)
	return r
}

// Reader hands a server's messages to pgconn, which owns it, save the rows of a COPY that is diverted. It is used by one
// goroutine at a time, as its connection is.
type Reader struct {
	src  io.Reader
	flow func(bool) // tells a quiet connection whether a COPY is on its way; nil for others
	buf  []byte
	r, w int       // what was read and not yet handed on
	left int       // bytes to come of a message that goes to pgconn
	sink io.Writer // takes the rows; nil: pgconn

	small int // times the buffer was empty since a message needed more than bufferSize
}

func newReader(src io.Reader, conn io.Writer) *Reader {
	r := &Reader{src: src, buf: make([]byte, bufferSize)}
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(interface{ flow(on bool) }); ok {
		r.flow = c.flow
	}
	return r
}

// Divert sends the CopyData messages of the next statement to sink, one a Write, each valid until that returns. pgconn sees
// the others as ever. An error of sink is one of the connection's reader, so pgconn closes the connection. nil ends it:
// call it when the statement is over.
func (r *Reader) Divert(sink io.Writer) {
	r.sink = sink
	if r.flow != nil {
		r.flow(sink != nil)
	}
}

// Read gives pgconn the next bytes that are its own.
func (r *Reader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if err := r.need(headerSize); err != nil {
			return 0, err
		}
		size := int(int32(binary.BigEndian.Uint32(r.buf[r.r+1:]))) // without the type
		if r.sink == nil || r.buf[r.r] != 'd' || size < headerSize-1 {
			r.left = max(1+size, headerSize) // pgconn refuses a length that cannot be
			break
		}
		if err := r.need(1 + size); err != nil {
			return 0, err
		}
		row := r.buf[r.r+headerSize : r.r+1+size]
		r.r += 1 + size
		if _, err := r.sink.Write(row); err != nil {
			return 0, err
		}
	}
	if err := r.need(1); err != nil {
		return 0, err
	}
	n := copy(p, r.buf[r.r:min(r.w, r.r+r.left)])
	r.r += n
	r.left -= n
	return n, nil
}

// need reads until n bytes lie in the buffer. What was read before an error stays there: behind a timeout pgconn reads again.
func (r *Reader) need(n int) error {
	if r.w-r.r >= n {
		return nil
	}
	if r.r == r.w {
		r.r, r.w = 0, 0
		if r.small++; n > bufferSize {
			r.small = 0
		}
		if len(r.buf) > bufferSize && r.small > keepLarge {
			r.buf = make([]byte, bufferSize)
		}
	}
	if n > len(r.buf)-r.r {
		to := r.buf
		if n > len(to) {
			to = make([]byte, n)
		}
		r.w = copy(to, r.buf[r.r:r.w])
		r.r, r.buf = 0, to
	}
	for r.w-r.r < n {
		k, err := r.src.Read(r.buf[r.w:])
		r.w += k
		if err == io.EOF && r.w > r.r && r.w-r.r < n {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && r.w-r.r < n {
			return err
		}
	}
	return nil
}
