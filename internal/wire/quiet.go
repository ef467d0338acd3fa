package wire

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	shortNap = 50 * time.Microsecond  // until a COPY flows
	flowNap  = 300 * time.Microsecond // while it does: a server fills its socket, 200 KiB, in twice that at its fastest
	longNap  = 5 * time.Millisecond
	flowing  = 128 << 10 // bytes after which a COPY does
)

// quietConn is a connected socket that the runtime's poller does not know. A server sends 8 KiB at a time, and each of
// them would wake the poller, to be read at once, alone; this one is looked at after a nap, and finds all that came
// meanwhile. The longer nothing has come the longer are the naps, up to an eighth of that time.
type quietConn struct {
	local, remote net.Addr

	mu          sync.Mutex // held while the socket is used, which never blocks
	fd          int        // -1: closed
	read, write time.Time  // deadlines
	copying     bool
	got         int // bytes since copying began
}

// quiet takes c over. Where that cannot be it gives c back as it is.
func quiet(c net.Conn) net.Conn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return c
	}
	fd := -1
	err = raw.Control(func(old uintptr) {
		// The fork lock keeps a child from inheriting the socket in between.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		var e error
		if fd, e = syscall.Dup(int(old)); e != nil {
			fd = -1
			return
		}
		syscall.CloseOnExec(fd)
	})
	if err != nil || fd < 0 {
		return c
	}
	q := &quietConn{local: c.LocalAddr(), remote: c.RemoteAddr(), fd: fd}
	c.Close() // takes its own descriptor from the poller; the socket lives on
	return q
}

func (c *quietConn) flow(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.copying, c.got = on, 0
}

// try makes one attempt at the socket, and says how long to rest before the next if it was in vain after waited.
func (c *quietConn) try(op string, deadline *time.Time, waited time.Duration, f func(fd int) (int, error)) (n int, nap time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, 0, c.failed(op, net.ErrClosed)
	}
	if !deadline.IsZero() && !time.Now().Before(*deadline) {
		return 0, 0, c.failed(op, os.ErrDeadlineExceeded)
	}
	for {
		n, err = f(c.fd)
		switch err {
		case nil:
			return n, 0, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			nap = shortNap
			if c.copying && c.got >= flowing {
				nap = flowNap
			}
			return 0, min(max(nap, waited/8), longNap), nil
		}
		return 0, 0, c.failed(op, os.NewSyscallError(op, err))
	}
}

func (c *quietConn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: err}
}

func (c *quietConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for waited := time.Duration(0); ; {
		n, nap, err := c.try("read", &c.read, waited, func(fd int) (int, error) { return syscall.Read(fd, p) })
		switch {
		case err != nil:
			return 0, err
		case nap > 0:
			time.Sleep(nap)
			waited += nap
			continue
		case n == 0:
			return 0, io.EOF
		}
		c.mu.Lock()
		c.got += n
		c.mu.Unlock()
		return n, nil
	}
}

func (c *quietConn) Write(p []byte) (int, error) {
	sent := 0
	for waited := time.Duration(0); sent < len(p); {
		n, nap, err := c.try("write", &c.write, waited, func(fd int) (int, error) { return syscall.Write(fd, p[sent:]) })
		if err != nil {
			return sent, err
		}
		if n > 0 {
			sent, waited = sent+n, 0
			continue
		}
		time.Sleep(nap)
		waited += nap
	}
	return sent, nil
}

func (c *quietConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return c.failed("close", net.ErrClosed)
	}
	fd := c.fd
	c.fd = -1
	return syscall.Close(fd)
}

func (c *quietConn) LocalAddr() net.Addr  { return c.local }
func (c *quietConn) RemoteAddr() net.Addr { return c.remote }

func (c *quietConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read, c.write = t, t
	return nil
}

func (c *quietConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = t
	return nil
}

func (c *quietConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write = t
	return nil
}
