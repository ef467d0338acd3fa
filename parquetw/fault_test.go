package parquetw

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// faultRecord is written in the tests below: several row groups, several pages each.
func faultRecord() (arrow.RecordBatch, Options) {
	g := newGenerator(11)
	s := arrow.NewSchema([]arrow.Field{
		field("i", arrow.PrimitiveTypes.Int64, true), field("t", arrow.BinaryTypes.String, true),
		field("l", arrow.ListOf(arrow.PrimitiveTypes.Float64), true),
	}, nil)
	return g.record(s, 3000), Options{Schema: s, RowGroupRows: 700, layout: smallPages, Compression: Compression{Codec: None}}
}

// fullAfter lets n bytes through to the file and then finds the disk full, as write(2) does: part of the last write
// gets there.
func fullAfter(w *Writer, n int64) {
	write := w.out.write
	w.out.write = func(p []byte) (int, error) {
		if int64(len(p)) <= n {
			n -= int64(len(p))
			return write(p)
		}
		k, err := write(p[:n])
		n = 0
		if err == nil {
			err = &fs.PathError{Op: "write", Path: w.out.temp, Err: syscall.ENOSPC}
		}
		return k, err
	}
}

// A disk that is full at any byte is an error that names the target, and leaves nothing behind but what was there.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	rec, opt := faultRecord()
	whole, err := writeTo(t, filepath.Join(t.TempDir(), "f"), opt, rec)
	if err != nil {
		t.Fatal(err)
	}
	step := whole.Bytes/97 + 1
	for at := int64(0); at < whole.Bytes; at += step {
		dir := t.TempDir()
		path := filepath.Join(dir, "f.parquet")
		put(t, path, someParquet, 0o644)
		opt.Pool = newPool(t, 2, 1<<14)
		w, err := Create(path, opt)
		if err != nil {
			t.Fatal(err)
		}
		w.out.buf = make([]byte, 0, 1000)
		w.out.buf = append(w.out.buf, magic...)
		fullAfter(w, at)
		l := newLedger(t)
		for from := 0; from < 3000; from += 500 {
			if err = w.Write(t.Context(), l.batch(w.leaves, rec, from, from+500)); err != nil {
				break
			}
		}
		_, commitErr := w.Commit(t.Context())
		var f *FileError
		if !errors.Is(commitErr, syscall.ENOSPC) || !errors.As(commitErr, &f) || f.Path != path {
			t.Fatalf("full after %d of %d bytes: commit said %v", at, whole.Bytes, commitErr)
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("full after %d of %d bytes: write said %v", at, whole.Bytes, err)
		}
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
		leftovers(t, dir, "f.parquet")
		if got, err := os.ReadFile(path); err != nil || string(got) != someParquet {
			t.Errorf("what was there before is %q, %v", got, err)
		}
	}
}

// The kernel's own refusal: a file size limit, in a process of its own.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	if path := os.Getenv("PARQUETW_TEST_LIMITED"); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 100_000, Max: 100_000}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		rec, opt := faultRecord()
		_, err := writeTo(t, path, opt, rec)
		fmt.Printf("limited: %v; EFBIG: %v\n", err, errors.Is(err, syscall.EFBIG))
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "f.parquet")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFileSizeLimit$")
	cmd.Env = append(os.Environ(), "PARQUETW_TEST_LIMITED="+path)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "limited: write "+path) || !strings.Contains(string(out), "EFBIG: true") {
		t.Errorf("%v\n%s", err, out)
	}
	leftovers(t, dir)
}

// Temp space that fails is an error that names the temp file.
func TestTempFileFails(t *testing.T) {
	t.Parallel()
	rec, opt := faultRecord()
	readOnly := func() (*os.File, error) {
		path := filepath.Join(t.TempDir(), "pages")
		put(t, path, "", 0o600)
		return os.Open(path)
	}
	writeOnly := func() (*os.File, error) {
		return os.OpenFile(filepath.Join(t.TempDir(), "pages"), os.O_WRONLY|os.O_CREATE, 0o600)
	}
	for _, c := range []struct {
		name     string
		tempFile func() (*os.File, error)
		want     string
	}{
		{"none to be had", func() (*os.File, error) { return nil, errBoom }, "boom"},
		{"none wanted", nil, "there is no temp file"},
		{"not writable", readOnly, "write temp file"},
		{"not readable", writeOnly, "read temp file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			opt := opt
			opt.RowGroupRows = 0
			opt.Pool = NewPool(2, 0, c.tempFile)
			_, err := writeTo(t, filepath.Join(dir, "f.parquet"), opt, rec, 500, 1000)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err := opt.Pool.Close(); err != nil {
				t.Error(err)
			}
			if n := opt.Pool.Used() + opt.Pool.Spilled(); n != 0 {
				t.Errorf("%d bytes are still counted", n)
			}
			leftovers(t, dir)
		})
	}
}

// The temp file is gone when the pool is closed, whether or not whoever made it removed its name.
func TestTempFileRemoved(t *testing.T) {
	t.Parallel()
	rec, opt := faultRecord()
	for _, unlinked := range []bool{false, true} {
		dir := t.TempDir()
		made := 0
		pool := NewPool(1, 0, func() (*os.File, error) {
			made++
			f, err := os.CreateTemp(dir, "pages")
			if err == nil && unlinked {
				err = os.Remove(f.Name())
				put(t, f.Name(), "another file of that name", 0o600)
			}
			return f, err
		})
		opt.Pool, opt.RowGroupRows = pool, 0
		write(t, opt, rec)
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
		if made != 1 {
			t.Errorf("%d temp files were made", made)
		}
		if left, err := os.ReadDir(dir); err != nil || (len(left) == 1) != unlinked {
			t.Errorf("unlinked: %v, left: %v, %v", unlinked, left, err)
		}
	}
}

// Abort at any point waits for the tasks in flight, releases every batch and removes the file.
func TestAbort(t *testing.T) {
	t.Parallel()
	rec, opt := faultRecord()
	for stage := range 9 {
		for _, group := range []int64{0, 100, 700} {
			dir := t.TempDir()
			opt := opt
			opt.RowGroupRows = group
			opt.Pool = newPool(t, 2, 1<<14)
			w, err := Create(filepath.Join(dir, "f.parquet"), opt)
			if err != nil {
				t.Fatal(err)
			}
			l := newLedger(t)
			for i := range min(stage, 6) {
				if err := w.Write(t.Context(), l.batch(w.leaves, rec, 500*i, 500*i+500)); err != nil {
					t.Fatal(err)
				}
			}
			if stage == 7 {
				if err := w.EndRowGroup(); err != nil {
					t.Fatal(err)
				}
			}
			if stage == 8 { // everything but the name
				if err := w.EndRowGroup(); err != nil {
					t.Fatal(err)
				}
				if err := w.wait(t.Context(), func() bool { return len(w.waiting) == 0 && w.tasks == 0 && !w.flushing }); err != nil {
					t.Fatal(err)
				}
				if err := w.writeFooter(); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Abort(); err != nil {
				t.Error(err)
			}
			if err := w.Abort(); err != nil {
				t.Errorf("a second abort: %v", err)
			}
			if l.open != 0 {
				t.Errorf("stage %d: %d batches are still held", stage, l.open)
			}
			if err := w.Write(t.Context(), l.batch(w.leaves, rec, 0, 1)); !errors.Is(err, errAborted) {
				t.Errorf("a write after the abort: %v", err)
			}
			if _, err := w.Commit(t.Context()); !errors.Is(err, errAborted) {
				t.Errorf("a commit after the abort: %v", err)
			}
			leftovers(t, dir)
		}
	}
}

func TestClosedPool(t *testing.T) {
	t.Parallel()
	pool := NewPool(1, 0, nil)
	w := create(t, Options{Schema: oneInt64, Pool: pool})
	for range 2 {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.Write(t.Context(), int64s(1)); !errors.Is(err, errPoolClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, errPoolClosed) {
		t.Errorf("commit: %v", err)
	}
}

// A directory that goes away, or in which nothing can be renamed, is an error of the target.
func TestDirectoryGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := Create(filepath.Join(dir, "f.parquet"), Options{Schema: oneInt64, Pool: newPool(t, 1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var f *FileError
	if _, err := w.Commit(t.Context()); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &f) {
		t.Errorf("got %v", err)
	}
}
