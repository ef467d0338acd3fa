package parquetw

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
)

// Pool is a number of encoder goroutines, and the memory and temp space for the pages that they finish. Any number of
// Writers may share one; it is safe for concurrent use.
type Pool struct {
	pageMemory int64
	reserve    int64 // of memory too, where temp space has no room
	tempFile   func() (*os.File, error)
	charge     func(int64) bool // books temp space; nil: no limit
	encoders   int
	wg         sync.WaitGroup
	blocks     atomic.Int64 // blocks of finished pages in memory
	open       atomic.Int64 // bytes of open pages and dictionaries

	mu       sync.Mutex
	more     sync.Cond // the line is longer, or the pool is closed
	line     []*leafEncoder
	pages    []pageJob // handed off; never more than goroutines are idle
	idle     int       // goroutines that wait
	closed   bool
	free     [][]byte // blocks for reuse
	temp     *os.File
	slots    []int64 // free places in temp, in blocks
	nextSlot int64
	spilled  int64 // blocks in temp
}

// NewPool starts so many encoder goroutines, at least one. Of the pages that they finish, about pageMemory bytes stay in
// memory, over all Writers; what is beyond goes to the file that tempFile makes, which is called once, at the first need,
// from any goroutine. Close closes that file, and removes it if it still has a name.
func NewPool(encoders int, pageMemory int64, tempFile func() (*os.File, error)) *Pool {
	p := &Pool{pageMemory: pageMemory, tempFile: tempFile, encoders: max(encoders, 1)}
	p.more.L = &p.mu
	p.wg.Add(p.encoders)
	for range p.encoders {
		go p.encode()
	}
	return p
}

// LimitTemp has every growth of the temp file booked: where charge refuses so many bytes, the Writer that needed them
// fails with ErrTempLimit. Call it before the first Writer is made. charge is called by one goroutine at a time, with the
// Pool locked: it must not call the Pool.
func (p *Pool) LimitTemp(charge func(bytes int64) bool) { p.charge = charge }

// Reserve lets finished pages take so many bytes of memory, in place of pageMemory, where temp space has no room: where the disk is full
// or LimitTemp's charge refuses. Call it before the first Writer is made.
func (p *Pool) Reserve(bytes int64) { p.reserve = bytes }

// Close waits for what is in line, ends the goroutines and closes the temp file. The Writers must have been committed or
// aborted. A second call does nothing.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.more.Broadcast()
	p.mu.Unlock()
	p.wg.Wait()
	p.free = nil
	if p.temp == nil {
		return nil
	}
	return errors.Join(removeOpen(p.temp), p.temp.Close())
}

// removeOpen removes the name of an open file, unless it has none any more or the name is another file's.
func removeOpen(f *os.File) error {
	named, err := os.Lstat(f.Name())
	if err != nil {
		return nil
	}
	if st, err := f.Stat(); err != nil || !os.SameFile(named, st) {
		return err
	}
	return os.Remove(f.Name())
}

var errPoolClosed = errors.New("the encoder pool is closed")

// enqueue gives each leaf encoder its pieces. Those that were idle get in line.
func (p *Pool) enqueue(leaves []*leafEncoder, pieces []piece) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errPoolClosed
	}
	for _, e := range leaves {
		e.queue = append(e.queue, pieces...)
		if !e.queued {
			e.queued = true
			p.line = append(p.line, e)
			p.more.Signal()
		}
	}
	return nil
}

// handOff gives a page to an idle encoder goroutine, if there is one.
func (p *Pool) handOff(j pageJob) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle <= len(p.pages)+len(p.line) {
		return false
	}
	p.pages = append(p.pages, j)
	p.more.Signal()
	return true
}

// encode is an encoder goroutine: it takes the leaf that is first in line, does one piece and puts the leaf back at the
// end if there are more. So a leaf is with one goroutine at a time, in order, and nobody waits for a slow leaf but the
// rows behind it.
func (p *Pool) encode() {
	defer p.wg.Done()
	s := newScratch()
	defer s.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.line)+len(p.pages) == 0 && !p.closed {
			p.idle++
			p.more.Wait()
			p.idle--
		}
		switch {
		case len(p.pages) > 0:
			j := p.pages[0]
			p.pages = p.pages[1:]
			p.mu.Unlock()
			j.leaf.w.doPage(s, j)
			p.mu.Lock()
		case len(p.line) > 0:
			e := p.line[0]
			p.line = p.line[1:]
			next := e.queue[0]
			e.queue[0] = piece{}
			e.queue = e.queue[1:]
			p.mu.Unlock()
			e.w.do(e, s, next)
			p.mu.Lock()
			if len(e.queue) > 0 {
				p.line = append(p.line, e)
				p.more.Signal()
			} else {
				e.queued = false
				e.queue = nil
			}
		default:
			return
		}
	}
}
