package parquetw

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrExists is what an *ExistsError is.
var ErrExists = errors.New("output exists")

// ExistsError says that what is at the target may not be replaced.
type ExistsError struct {
	Path string
	What string // what it is, for example "a directory", and why it stays
	Hint string // what to do about it; may be empty
}

func (e *ExistsError) Error() string { return e.Path + " exists and is " + e.What }

// Is makes errors.Is(err, ErrExists) true.
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// FileError is a failure of the output, of its directory or of the temp file: full (errors.Is syscall.ENOSPC), not
// there (fs.ErrNotExist), not writable (fs.ErrPermission) and the like.
type FileError struct {
	Op   string // what was tried, for example "write"
	Path string // on which file or directory
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err) }
func (e *FileError) Unwrap() error { return e.Err }

// ValueError is a value that a Parquet file cannot hold.
type ValueError struct {
	Leaf   string // dotted path of the leaf
	Reason string
}

func (e *ValueError) Error() string { return "leaf " + e.Leaf + ": " + e.Reason }

// bare strips the operation and path that package os puts around an error.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// CheckTarget tells, before anything is written, whether a file may be created at path under o. It must be in a
// directory that exists and can be written to; directories are never created. What may be replaced:
//
//   - ReplaceParquet: a regular file that is Parquet (its magic at both ends) and not marked read-only;
//   - ReplaceAny: any regular file;
//   - NoClobber: nothing.
//
// A symbolic link is never followed and never replaced, whatever it points to: the link would silently become a file,
// and what it pointed to would stay as it was. Directories, devices, pipes and sockets are refused always.
//
// Errors: *ExistsError, *FileError.
func CheckTarget(path string, o Overwrite) error {
	_, err := checkTarget(path, o)
	return err
}

// checkTarget also gives what is there now, nil for nothing.
func checkTarget(path string, o Overwrite) (fs.FileInfo, error) {
	if path == "" || path == "-" || strings.HasSuffix(path, "/") {
		return nil, &FileError{Op: "write", Path: fmt.Sprintf("%q", path), Err: errors.New("the output must be named as a file: it is written beside its name and renamed")}
	}
	dir := filepath.Dir(path)
	st, err := os.Stat(dir)
	if err != nil {
		return nil, &FileError{Op: "directory", Path: dir, Err: bare(err)}
	}
	if !st.IsDir() {
		return nil, &FileError{Op: "directory", Path: dir, Err: syscall.ENOTDIR}
	}
	old, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, &FileError{Op: "write", Path: path, Err: bare(err)}
	default:
		if err := replaceable(path, old, o); err != nil {
			return nil, err
		}
	}
	const writeAndSearch = 0o2 | 0o1 // W_OK | X_OK of access(2)
	if err := syscall.Access(dir, writeAndSearch); err != nil {
		return nil, &FileError{Op: "write in directory", Path: dir, Err: err}
	}
	return old, nil
}

const overwriteHint = "give another name, or allow overwriting"

func replaceable(path string, old fs.FileInfo, o Overwrite) error {
	refuse := func(what, hint string) error { return &ExistsError{Path: path, What: what, Hint: hint} }
	switch m := old.Mode(); {
	case m&fs.ModeSymlink != 0:
		if to, err := os.Readlink(path); err == nil {
			return refuse("a symbolic link to "+to+": links are neither followed nor replaced", "name the file itself")
		}
		return refuse("a symbolic link: links are neither followed nor replaced", "name the file itself")
	case m.IsDir():
		return refuse("a directory", "name a file in it")
	case m&fs.ModeNamedPipe != 0:
		return refuse("a named pipe: Parquet needs a file", "")
	case m&fs.ModeDevice != 0:
		return refuse("a device: Parquet needs a file", "")
	case !m.IsRegular():
		return refuse("no regular file", "")
	}
	switch o {
	case ReplaceAny:
		return nil
	case NoClobber:
		return refuse("not to be replaced", "")
	}
	if old.Mode().Perm()&0o200 == 0 {
		return refuse("read-only", overwriteHint)
	}
	parquet, err := isParquet(path, old)
	switch {
	case err != nil:
		return refuse(fmt.Sprintf("unreadable, so perhaps no Parquet file (%v)", bare(err)), overwriteHint)
	case old.Size() == 0:
		return refuse("empty, no Parquet file", overwriteHint)
	case !parquet:
		return refuse("no Parquet file", overwriteHint)
	}
	return nil
}

const magic = "PAR1"

// isParquet tells whether a regular file has Parquet's magic at both ends.
func isParquet(path string, st fs.FileInfo) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if st.Size() < int64(len(magic)+4+len(magic)) {
		return false, nil
	}
	var head, tail [4]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return false, err
	}
	if _, err := f.ReadAt(tail[:], st.Size()-4); err != nil {
		return false, err
	}
	return string(head[:]) == magic && string(tail[:]) == magic, nil
}
