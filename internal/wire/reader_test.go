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

// What a large row took is not kept.
func TestReaderLetsGo(t *testing.T) {
	stream := append(message('d', make([]byte, 8*bufferSize)), message('d', []byte("small"))...)
	r := newReader(bytes.NewReader(stream), nil)
	var got rows
	r.Divert(&got)
	if _, err := io.ReadAll(r); err != nil || len(got) != 2 || len(r.buf) != bufferSize {
		t.Fatalf("%d rows, a buffer of %d bytes, %v", len(got), len(r.buf), err)
	}
}
