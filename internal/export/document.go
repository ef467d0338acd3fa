package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"fast-export/parquetw"
)

// Document is a kind of JSON file that tells of a run and stands beside the run's own files. Its name is that of the flag that asks for one.
type Document string

// The documents.
const (
	ManifestDocument Document = "manifest"
	ReportDocument   Document = "report"
)

// start is how every document of the kind begins: what is there already is known by it.
func (d Document) start() string {
	first := map[Document]string{ManifestDocument: "manifest_version", ReportDocument: "fast_export_version"}[d]
	return "{\n  \"" + first + "\": "
}

// DocumentError is a document that can't be written where it should be.
type DocumentError struct {
	Document Document
	Path     string
	Err      error
}

func (e *DocumentError) Error() string {
	err := e.Err
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Sprintf("%s %s: %v", e.Document, e.Path, err)
}

// Unwrap gives the cause.
func (e *DocumentError) Unwrap() error { return e.Err }

// Check finds out before a run whether its document can be written after it. One of the kind that is there is replaced; anything else
// there stays as it is and is an error, as is a name that is an output's too, or may become one's in a schema's directory. The directory
// must exist.
//
// Errors: *DocumentError.
func (d Document) Check(path string, cfg Config) error {
	err := outputToo(path, cfg)
	if err == nil {
		err = d.replaceable(path)
	}
	if err == nil {
		// Whether the directory takes files is best asked by making one.
		var f *os.File
		if f, err = createBeside(path); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return &DocumentError{d, path, err}
	}
	return nil
}

// outputToo tells which of the run's outputs path is.
func outputToo(path string, cfg Config) error {
	for _, j := range cfg.Jobs {
		switch {
		case !SamePath(path, j.Out):
		case filepath.Base(path) == filepath.Base(j.Out):
			return errors.New("it is an output too")
		default:
			return errors.New("it is the output " + j.Out + " too")
		}
	}
	// Which files a schema has is not known yet.
	if s := cfg.Schema; s != nil && filepath.Ext(path) == outputExt && SamePath(path, filepath.Join(s.Dir, filepath.Base(path))) {
		return errors.New("it may be an output too: name it otherwise than the tables' files")
	}
	return nil
}

// SamePath tells whether two paths are of one file, also through links to directories and under two names of one file.
func SamePath(a, b string) bool {
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	if errA == nil && errB == nil && absA == absB {
		return true
	}
	one := func(a, b string, stat func(string) (fs.FileInfo, error)) bool {
		infoA, errA := stat(a)
		infoB, errB := stat(b)
		return errA == nil && errB == nil && os.SameFile(infoA, infoB)
	}
	return one(a, b, os.Lstat) || filepath.Base(a) == filepath.Base(b) && one(filepath.Dir(a), filepath.Dir(b), os.Stat)
}

// replaceable tells what speaks against a document under path.
func (d Document) replaceable(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		return errors.New("it is there already and no regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	head := make([]byte, len(d.start()))
	n, err := io.ReadFull(f, head)
	if cerr := f.Close(); cerr != nil {
		return cerr
	}
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if string(head[:n]) != d.start() {
		return fmt.Errorf("it is there already and no %s: name another file, or remove it", d)
	}
	return nil
}

// Write puts v, which must marshal to what such a document is, under path as WriteWhole does. What is no such document is not replaced,
// an output of the run least of all.
//
// Errors: *DocumentError.
func (d Document) Write(path string, v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // statements hold < and >
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	if err == nil && !strings.HasPrefix(text.String(), d.start()) {
		err = fmt.Errorf("it begins with %.40q", text.String())
	}
	if err == nil {
		err = d.replaceable(path)
	}
	if err == nil {
		err = WriteWhole(path, text.Bytes())
	}
	if err != nil {
		return &DocumentError{d, path, err}
	}
	return nil
}

// createBeside makes an empty file beside path, with the mode that a new file has under the umask. Its name is a random one: what a
// killed process has left does not stand in the way.
func createBeside(path string) (*os.File, error) {
	name := fmt.Sprintf(".%s.tmp-%016x", filepath.Base(path), rand.Uint64())
	return os.OpenFile(filepath.Join(filepath.Dir(path), name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

// WriteWhole puts data under path in one step, synced: what stands there is the old file or the new one, never half of either. After an
// error it is the old one, save where only the directory could not be synced.
func WriteWhole(path string, data []byte) error {
	f, err := createBeside(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return parquetw.SyncDir(filepath.Dir(path))
}
