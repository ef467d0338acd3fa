package parquetw

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
)

// blockBytes is the unit in which finished pages take memory or temp space: small beside any budget, large beside a
// system call.
const blockBytes = 64 << 10

// store is an append-only run of bytes in blocks, which lie in memory or, when the pool has more in memory than it may,
// in its temp file. Appending is safe from several goroutines, beside one that reads what is there.
type store struct {
	pool *Pool

	mu     sync.Mutex
	blocks []block
	size   int64
}

type block struct {
	mem  []byte // of blockBytes; nil: in the temp file
	slot int64  // the block's place in the temp file, in blocks
}

// append adds the parts, one behind the other, and tells where the first begins.
func (s *store) append(parts ...[]byte) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.size
	for _, p := range parts {
		for len(p) > 0 {
			in := int(s.size % blockBytes)
			if in == 0 {
				if n := len(s.blocks); n > 0 {
					if err := s.pool.seal(&s.blocks[n-1]); err != nil {
						return 0, err
					}
				}
				s.blocks = append(s.blocks, block{mem: s.pool.getBlock()})
			}
			n := copy(s.blocks[len(s.blocks)-1].mem[in:], p)
			p = p[n:]
			s.size += int64(n)
		}
	}
	return at, nil
}

// copyTo hands the bytes [at, at+n), which have been appended, to write, in order and in pieces. buf, of blockBytes, is for those that come
// from the temp file or the last block. Others may go on appending.
func (s *store) copyTo(write func([]byte) error, at, n int64, buf []byte) error {
	for n > 0 {
		in := at % blockBytes
		k := min(n, blockBytes-in)
		p := buf[:k]
		s.mu.Lock()
		i := int(at / blockBytes)
		b := s.blocks[i]
		last := i == len(s.blocks)-1
		if last { // it may be sealed as soon as it is unlocked
			copy(p, b.mem[in:])
		}
		s.mu.Unlock()
		switch {
		case last:
		case b.mem != nil:
			p = b.mem[in : in+k]
		default:
			if err := s.pool.readBlock(b.slot, in, p); err != nil {
				return err
			}
		}
		if err := write(p); err != nil {
			return err
		}
		at += k
		n -= k
	}
	return nil
}

// free gives everything back to the pool. Nothing may use the store any more.
func (s *store) free() {
	for _, b := range s.blocks {
		if b.mem != nil {
			s.pool.putBlock(b.mem)
		} else {
			s.pool.putSlot(b.slot)
		}
	}
	s.blocks, s.size = nil, 0
}

// reader reads a store from its beginning. It is no io.ByteReader: wrap it.
type reader struct {
	s  *store
	at int64
}

func (r *reader) Read(p []byte) (int, error) {
	n := min(int64(len(p)), r.s.size-r.at, blockBytes-r.at%blockBytes)
	if n == 0 {
		return 0, io.EOF
	}
	b, in := r.s.blocks[r.at/blockBytes], r.at%blockBytes
	if b.mem != nil {
		copy(p, b.mem[in:in+n])
	} else if err := r.s.pool.readBlock(b.slot, in, p[:n]); err != nil {
		return 0, err
	}
	r.at += n
	return int(n), nil
}

// seal says that a block is full: it moves to the temp file if there is more in memory than there should be.
func (p *Pool) seal(b *block) error {
	used := p.blocks.Load() * blockBytes
	if used <= p.pageMemory {
		return nil
	}
	err := p.spill(b)
	if used <= p.reserve && (errors.Is(err, ErrTempLimit) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		return nil
	}
	return err
}

func (p *Pool) spill(b *block) error {
	f, slot, err := p.takeSlot()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b.mem, slot*blockBytes); err != nil {
		p.putSlot(slot)
		return &FileError{Op: "write temp file", Path: f.Name(), Err: bare(err)}
	}
	p.putBlock(b.mem)
	b.mem, b.slot = nil, slot
	return nil
}

// ErrTempLimit says that finished pages found room neither in memory nor in the temp space that they may take.
var ErrTempLimit = errors.New("the limit of temp space is reached")

func (p *Pool) takeSlot() (*os.File, int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.temp == nil {
		if p.tempFile == nil {
			return nil, 0, errors.New("page memory is full and there is no temp file")
		}
		f, err := p.tempFile()
		if err != nil {
			return nil, 0, err
		}
		p.temp = f
	}
	p.spilled++
	if n := len(p.slots); n > 0 {
		slot := p.slots[n-1]
		p.slots = p.slots[:n-1]
		return p.temp, slot, nil
	}
	if p.charge != nil && !p.charge(blockBytes) {
		p.spilled--
		return nil, 0, &FileError{Op: "write finished pages to temp file", Path: p.temp.Name(), Err: ErrTempLimit}
	}
	p.nextSlot++
	return p.temp, p.nextSlot - 1, nil
}

func (p *Pool) putSlot(slot int64) {
	p.mu.Lock()
	p.spilled--
	p.slots = append(p.slots, slot)
	p.mu.Unlock()
}

func (p *Pool) readBlock(slot, in int64, dst []byte) error {
	if _, err := p.temp.ReadAt(dst, slot*blockBytes+in); err != nil {
		return &FileError{Op: "read temp file", Path: p.temp.Name(), Err: bare(err)}
	}
	return nil
}

func (p *Pool) getBlock() []byte {
	p.blocks.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return make([]byte, blockBytes)
}

func (p *Pool) putBlock(b []byte) {
	p.blocks.Add(-1)
	p.mu.Lock()
	p.free = append(p.free, b)
	p.mu.Unlock()
}
