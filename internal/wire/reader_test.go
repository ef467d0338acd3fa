package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

func message(kind byte, body []byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(m, body...)
}

// pieces gives what it holds in reads of random sizes, with a timeout before some of them.
type pieces struct {
	rest []byte
	rnd  *rand.Rand
	max  int
	end  error
}

var errTimeout = errors.New("timeout")

func (p *pieces) Read(b []byte) (int, error) {
	if p.rnd.IntN(8) == 0 {
		return 0, errTimeout
	}
	if len(p.rest) == 0 {
		return 0, p.end
	}
	n := copy(b, p.rest[:min(len(p.rest), 1+p.rnd.IntN(p.max))])
	p.rest = p.rest[n:]
	if len(p.rest) == 0 && p.rnd.IntN(2) == 0 {
		return n, p.end
	}
	return n, nil
}

// all reads until an error that is no timeout.
func all(r io.Reader, rnd *rand.Rand) ([]byte, error) {
	var out []byte
	b := make([]byte, 8192)
	for {
		n, err := r.Read(b[:1+rnd.IntN(len(b))])
		out = append(out, b[:n]...)
		if err != nil && err != errTimeout {
			return out, err
		}
	}
}

type rows [][]byte

func (r *rows) Write(p []byte) (int, error) {
	*r = append(*r, bytes.Clone(p))
	return len(p), nil
}

func TestReader(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var stream, own []byte
		var want rows
		for range rnd.IntN(60) {
			size := rnd.IntN(300)
			switch rnd.IntN(25) {
			case 0:
				size = 0
			case 1:
				size = bufferSize - headerSize - 2 + rnd.IntN(5)
			case 2:
				size = bufferSize + rnd.IntN(2*bufferSize)
			}
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(rnd.Uint32())
			}
			kind := "ddddddTDZNE"[rnd.IntN(11)]
			m := message(kind, body)
			stream = append(stream, m...)
			if kind == 'd' {
				want = append(want, body)
			} else {
				own = append(own, m...)
			}
		}
		for _, divert := range []bool{true, false} {
			var got rows
			r := newReader(&pieces{stream, rnd, 1 << (3 + rnd.IntN(17)), io.EOF}, nil)
			if divert {
				r.Divert(&got)
			} else {
				own, want = stream, nil
			}
			rest, err := all(r, rnd)
			if err != io.EOF || !bytes.Equal(rest, own) || len(got) != len(want) {
				t.Fatalf("seed %d, diverted %v: %d bytes and %d rows, not %d and %d; %v", seed, divert, len(rest), len(got), len(own), len(want), err)
			}
			for i := range got {
				if !bytes.Equal(got[i], want[i]) {
					t.Fatalf("seed %d: row %d differs", seed, i)
				}
			}
		}
	}
}

// A COPY begins and ends between messages of others, which pgconn may have read in part.
func TestReaderBetweenStatements(t *testing.T) {
	before, row, after := message('T', []byte("before")), message('d', []byte("row")), message('C', []byte("after"))
	stream := bytes.Join([][]byte{before, row, after, row}, nil)
	var got rows
	r := newReader(bytes.NewReader(stream), nil)
	b := make([]byte, len(before)-2)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	r.Divert(&got)
	b = make([]byte, 2+len(after))
	if _, err := io.ReadFull(r, b); err != nil || !bytes.Equal(b, append(before[len(before)-2:], after...)) || len(got) != 1 {
		t.Fatalf("%q and %d rows, %v", b, len(got), err)
	}
	r.Divert(nil)
	if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, row) || len(got) != 1 {
		t.Fatalf("%q and %d rows, %v", rest, len(got), err)
	}
}

func TestReaderErrors(t *testing.T) {
	full := errors.New("the sink is full")
	row := message('d', []byte("row"))
	for name, c := range map[string]struct {
		stream []byte
		sink   io.Writer
		pass   []byte
		err    error
	}{
		"a sink that fails":     {append(row, row...), refusing{full}, nil, full},
		"an end within a row":   {row[:len(row)-1], new(rows), nil, io.ErrUnexpectedEOF},
		"an end within headers": {row[:3], new(rows), nil, io.ErrUnexpectedEOF},
		"no length at all":      {[]byte{'d', 0, 0, 0, 3}, new(rows), []byte{'d', 0, 0, 0, 3}, io.EOF},
		"a negative length":     {[]byte{'d', 255, 255, 255, 255}, new(rows), []byte{'d', 255, 255, 255, 255}, io.EOF},
	} {
		r := newReader(bytes.NewReader(c.stream), nil)
		r.Divert(c.sink)
		rnd := rand.New(rand.NewPCG(1, 1))
		if pass, err := all(r, rnd); err != c.err || !bytes.Equal(pass, c.pass) {
			t.Errorf("%s: %q, %v", name, pass, err)
		}
	}
}

type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }

// Large rows share a buffer, and what they took is let go when small ones have come for a while.
func TestReaderLetsGo(t *testing.T) {
	large, small := message('d', make([]byte, 8*bufferSize)), message('d', []byte("small"))
	stream := bytes.Repeat(large, 10)
	one := &single{rest: append(stream, bytes.Repeat(small, 2*keepLarge)...), size: len(large)}
	r := newReader(one, nil)
	count, buf := 0, []byte(nil)
	r.Divert(writerFunc(func(p []byte) (int, error) {
		if count++; count == 1 {
			buf = r.buf
		}
		if count <= 10 && &r.buf[0] != &buf[0] {
			t.Errorf("row %d has a buffer of its own", count)
		}
		if count == 10 {
			one.size = len(small)
		}
		return len(p), nil
	}))
	if _, err := io.ReadAll(r); err != nil || count != 10+2*keepLarge || len(r.buf) != bufferSize {
		t.Fatalf("%d rows, a buffer of %d bytes, %v", count, len(r.buf), err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// single gives at most size bytes a read.
type single struct {
	rest []byte
	size int
}

func (s *single) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest[:min(len(s.rest), s.size)])
	s.rest = s.rest[n:]
	return n, nil
}

// FuzzReader: whatever comes, cut anywhere, each byte goes to one side, in order, as a plain reading of the frames says.
func FuzzReader(f *testing.F) {
	f.Add(append(message('d', []byte("row")), message('C', []byte("done"))...), uint8(3))
	f.Add([]byte{'d', 0, 0, 0, 3, 'T', 255, 255, 255, 255, 'd', 0, 0, 0, 4}, uint8(1))
	f.Add(append(message('T', []byte("a header of some length")), 'd', 0, 0), uint8(200))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		var want rows
		var own []byte
		rest := stream
		for len(rest) >= headerSize {
			n := int(int32(binary.BigEndian.Uint32(rest[1:])))
			if n > 1<<20 {
				return // a length of which nothing comes is waited for, with the memory for it
			}
			if rest[0] == 'd' && n >= 4 {
				if 1+n > len(rest) {
					break
				}
				want = append(want, rest[headerSize:1+n])
			} else {
				own = append(own, rest[:min(max(1+n, headerSize), len(rest))]...)
			}
			rest = rest[min(max(1+n, headerSize), len(rest)):]
		}
		var got rows
		r := newReader(&single{stream, int(size) + 1}, nil)
		r.Divert(&got)
		pass, err := io.ReadAll(r)
		if len(rest) == 0 && err != nil || len(rest) > 0 && err != io.ErrUnexpectedEOF || !bytes.Equal(pass, own) || len(got) != len(want) {
			t.Fatalf("%q and %d rows, %v; not %q and %d with %d bytes left", pass, len(got), err, own, len(want), len(rest))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("row %d is %q, not %q", i, got[i], want[i])
			}
		}
	})
}
