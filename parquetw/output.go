package parquetw

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"unicode/utf8"
)

// output is a file on its way to its name. It is not safe for concurrent use.
type output struct {
	path  string // where it shall be
	temp  string // where it is, in the same directory
	over  Overwrite
	f     *os.File
	mode  fs.FileMode     // what it shall have
	owner *syscall.Stat_t // of what it replaces; nil: whoever writes it
	buf   []byte
	at    int64 // bytes written, buffered ones included
	hash  hash.Hash

	written   int64          // bytes in the file
	synced    int64          // of them: their way to the disk has begun
	writeback sync.WaitGroup // of a goroutine that asks the kernel for it, which takes it a while
	asking    atomic.Bool    // there is one

	write func([]byte) (int, error) // f.Write; a seam for tests of a full disk
}

const outputBuffer = 256 << 10

// writebackStep is how many bytes begin their way to the disk together, so that the sync at the end finds little left to do. Smaller
// steps cost the kernel more.
const writebackStep = 32 << 20

var outputBuffers = sync.Pool{New: func() any { return new([outputBuffer]byte) }}

// createOutput makes the temp file. It is called ".NAME.tmp-RANDOM" beside the target, is never an existing file or
// what a link points to, and is readable by its owner alone until it is whole.
func createOutput(path string, over Overwrite, withHash bool) (*output, error) {
	old, err := checkTarget(path, over)
	if err != nil {
		return nil, err
	}
	dir, base := filepath.Split(path)
	if len(base) > 200 { // a name ends at 255 bytes
		base = base[:200]
		for len(base) > 0 && !utf8.ValidString(base) {
			base = base[:len(base)-1]
		}
	}
	o := &output{path: path, over: over}
	for range 100 {
		o.temp = filepath.Join(dir, "."+base+".tmp-"+rand.Text()[:10])
		o.f, err = os.OpenFile(o.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return nil, o.failed("create", err)
	}
	// The mode that the umask gives is known only now.
	st, err := o.f.Stat()
	if err == nil {
		o.mode = st.Mode().Perm()
		if old != nil {
			o.mode = old.Mode().Perm()
			o.owner, _ = old.Sys().(*syscall.Stat_t)
		}
		err = o.f.Chmod(0o600)
	}
	if err != nil {
		return nil, errors.Join(o.failed("create", err), o.discard())
	}
	o.write = o.f.Write
	o.buf = outputBuffers.Get().(*[outputBuffer]byte)[:0]
	if withHash {
		o.hash = sha256.New()
	}
	return o, nil
}

// failed names the target; a full disk is one of the target's directory, whatever the temp file is called.
func (o *output) failed(op string, err error) error {
	return &FileError{Op: op, Path: o.path, Err: bare(err)}
}

// add appends p to the file.
func (o *output) add(p []byte) error {
	o.at += int64(len(p))
	if o.hash != nil {
		o.hash.Write(p)
	}
	for {
		n := min(len(p), cap(o.buf)-len(o.buf))
		o.buf = append(o.buf, p[:n]...)
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		if err := o.flush(); err != nil {
			return err
		}
	}
}

func (o *output) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	n, err := o.write(o.buf)
	o.written += int64(n)
	o.buf = o.buf[:0]
	if err != nil {
		return o.failed("write", err)
	}
	// One step at a time: on a slow disk the kernel keeps whoever asks waiting.
	if f, at, n := o.f, o.synced, o.written-o.synced; n >= writebackStep && o.asking.CompareAndSwap(false, true) {
		o.synced += n
		o.writeback.Go(func() {
			startWriteback(f, at, n)
			o.asking.Store(false)
		})
	}
	return nil
}

// finish makes the file's data durable under the temp name and closes it. After an error the temp file is gone.
func (o *output) finish() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, o.discard())
		}
	}()
	if err := o.flush(); err != nil {
		return err
	}
	if cap(o.buf) == outputBuffer {
		outputBuffers.Put((*[outputBuffer]byte)(o.buf[:outputBuffer]))
	}
	o.buf = nil
	if err := o.chown(); err != nil {
		return o.failed("write", err)
	}
	if err := o.f.Chmod(o.mode); err != nil {
		return o.failed("write", err)
	}
	o.writeback.Wait()
	if err := o.f.Sync(); err != nil {
		return o.failed("sync", err)
	}
	f := o.f
	o.f = nil
	if err := f.Close(); err != nil {
		return o.failed("close", err)
	}
	return nil
}

// chown gives the file the owner and group of the one it replaces, as far as this user may: root may both, others a group of theirs.
func (o *output) chown() error {
	if o.owner == nil {
		return nil
	}
	err := o.f.Chown(int(o.owner.Uid), int(o.owner.Gid))
	if errors.Is(err, syscall.EPERM) {
		err = o.f.Chown(-1, int(o.owner.Gid))
	}
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil // EINVAL: nobody of that id in this user namespace; ENOTSUP: a file system without owners
	}
	return err
}

// publish gives the finished file its name and syncs the directory. Whether it may replace what is there is asked once
// more, because time has passed. After an error the temp file is gone, and the target is what it was before, save where
// only the directory could not be synced.
func (o *output) publish() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, o.discard())
		}
	}()
	if _, err := checkTarget(o.path, o.over); err != nil {
		return err
	}
	if err := o.rename(); err != nil {
		return err
	}
	o.temp = ""
	if err := SyncDir(filepath.Dir(o.path)); err != nil {
		return o.unsynced(err)
	}
	return nil
}

// SyncDir makes the names in a directory last beyond a crash, where its file system knows how.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // not every one does
	}
	return errors.Join(err, d.Close())
}

// unsynced is the error of a directory that holds the file under its name already.
func (o *output) unsynced(err error) error {
	return &FileError{Op: "sync directory", Path: filepath.Dir(o.path), Err: fmt.Errorf("%w; %s is there, whole and in place of what was there before, but a crash may take it away again", bare(err), filepath.Base(o.path))}
}

func (o *output) rename() error {
	if o.over == NoClobber {
		// A link, unlike a rename, fails where the name is taken.
		err := os.Link(o.temp, o.path)
		switch {
		case err == nil:
			if err := os.Remove(o.temp); err != nil {
				return o.failed("rename", err)
			}
			return nil
		case errors.Is(err, fs.ErrExist):
			return &ExistsError{Path: o.path, What: "not to be replaced"}
		}
		// The file system has no links: what checkTarget saw a moment ago must do.
	}
	if err := os.Rename(o.temp, o.path); err != nil {
		return o.failed("rename", err)
	}
	return nil
}

// discard removes the temp file, if there is one still.
func (o *output) discard() error {
	if o.f != nil {
		o.writeback.Wait()
		o.f.Close() // its content does not matter any more
		o.f = nil
	}
	temp := o.temp
	o.temp = ""
	if temp == "" {
		return nil
	}
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o.failed("remove the unfinished", err)
	}
	return nil
}

// sum is the SHA-256 of everything added, in hexadecimal; empty if it was not asked for.
func (o *output) sum() string {
	if o.hash == nil {
		return ""
	}
	return hex.EncodeToString(o.hash.Sum(nil))
}
