package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pair gives a quiet connection and its other end.
func pair(t *testing.T, network string) (net.Conn, net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	plain, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := quiet(plain)
	if _, ok := c.(*quietConn); !ok {
		t.Fatalf("%T", c)
	}
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c, peer
}

func each(t *testing.T, f func(t *testing.T, c, peer net.Conn)) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			c, peer := pair(t, network)
			f(t, c, peer)
		})
	}
}

// More than sockets hold goes both ways at once, and comes whole, with and without a COPY.
func TestQuietBothWays(t *testing.T) {
	each(t, func(t *testing.T, c, peer net.Conn) {
		c.(*quietConn).flow(true)
		data := make([]byte, 20<<20)
		for i := range data {
			data[i] = byte(i * i >> 8)
		}
		done := make(chan error, 2)
		go func() {
			_, err := c.Write(data)
			done <- err
		}()
		go func() {
			h := sha256.New()
			if _, err := io.Copy(h, io.LimitReader(peer, int64(len(data)))); err != nil {
				done <- err
				return
			}
			_, err := peer.Write(append(h.Sum(nil), data...))
			done <- errors.Join(err, peer.Close())
		}()
		all, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		sum := sha256.Sum256(data)
		if !bytes.Equal(all[:len(sum)], sum[:]) || !bytes.Equal(all[len(sum):], data) {
			t.Error("other bytes came than were sent")
		}
	})
}

func TestQuietDeadlines(t *testing.T) {
	each(t, func(t *testing.T, c, peer net.Conn) {
		b := make([]byte, 100)
		c.SetReadDeadline(time.Now().Add(-time.Second))
		_, err := c.Read(b)
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline that is past: %v", err)
		}
		c.SetReadDeadline(time.Time{})
		time.AfterFunc(20*time.Millisecond, func() { c.SetDeadline(time.Now()) })
		if _, err = c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline set while reading: %v", err)
		}
		if _, err = c.Write(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing behind the deadline: %v", err)
		}
		c.SetDeadline(time.Time{})
		if _, err = peer.Write([]byte("after all")); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(b); err != nil || string(b[:n]) != "after all" {
			t.Errorf("behind deadlines: %q, %v", b[:n], err)
		}
		much := make([]byte, 64<<20)
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := c.Write(much) // nobody reads it
		if n == 0 || n == 64<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a full socket: %d bytes, %v", n, err)
		}
	})
}

func TestQuietEnds(t *testing.T) {
	each(t, func(t *testing.T, c, peer net.Conn) {
		peer.Close()
		b := make([]byte, 10)
		if _, err := c.Read(b); err != io.EOF {
			t.Errorf("the other end is closed: %v", err)
		}
		var op *net.OpError
		var err error
		for range 100 {
			if _, err = c.Write(b); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if !errors.As(err, &op) || op.Op != "write" || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("writing to nobody: %v", err)
		}
	})
	each(t, func(t *testing.T, c, _ net.Conn) {
		time.AfterFunc(20*time.Millisecond, func() { c.Close() })
		if _, err := c.Read(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed while reading: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed again: %v", err)
		}
		if _, err := c.Write(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing when closed: %v", err)
		}
	})
}

// A read finds what a server sent in several pieces meanwhile.
func TestQuietReadsAreLarge(t *testing.T) {
	each(t, func(t *testing.T, c, peer net.Conn) {
		c.(*quietConn).flow(true)
		const total = 16 << 20
		go func() {
			piece := make([]byte, 8<<10)
			for sent := 0; sent < total; sent += len(piece) {
				if _, err := peer.Write(piece); err != nil {
					return
				}
			}
			peer.Close()
		}()
		b := make([]byte, bufferSize)
		reads := 0
		for {
			_, err := c.Read(b)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			reads++
		}
		if mean := total / reads; mean < 24<<10 {
			t.Errorf("%d bytes a read", mean)
		}
	})
}

// Taking a connection over leaves one descriptor, and closing it none.
func TestQuietDescriptors(t *testing.T) {
	count := func() int {
		all, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	c, peer := pair(t, "unix")
	fd := c.(*quietConn).fd
	if flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0); errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
		t.Errorf("a child would inherit the socket: %#x, %v", flags, errno)
	}
	with := count()
	c.Close()
	if n := count(); n != with-1 {
		t.Errorf("%d descriptors, then %d", with, n)
	}
	peer.Close()
	before := count()
	if c, peer = pair(t, "tcp"); count() != before+2 {
		t.Errorf("%d descriptors, and with a pair %d", before, count())
	}
	c.Close()
	peer.Close()
}
