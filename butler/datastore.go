package butler

import (
	"archive/zip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"
)

// wholeDataset is what the component column holds for a dataset that is stored in one piece.
const wholeDataset = "__NULL_STRING__"

// candidate is one place where a dataset may be: a chain has several.
type candidate struct {
	store  int // index of the datastore
	root   string
	record fileRecord
}

// candidates gives a dataset's places in the order of the datastores. A dataset without any is not stored.
func (l *listing) candidates(r *ref, stores []datastoreConfig) []candidate {
	return l.appendCandidates(nil, r, stores)
}

func (l *listing) appendCandidates(out []candidate, r *ref, stores []datastoreConfig) []candidate {
	for i, d := range stores {
		for _, f := range r.records {
			if l.tables[f.table] == d.table {
				out = append(out, candidate{i, d.root, f})
			}
		}
	}
	return out
}

// The two errors that skip-missing passes over: a dataset that no datastore has a record of, and one whose file is gone.
var (
	errNotStored = errors.New("not stored: no datastore has a file for it")
	errGone      = errors.New("no such file")
)

// isMissing tells the errors that skip-missing passes over from all others.
func isMissing(err error) bool { return errors.Is(err, errNotStored) || errors.Is(err, errGone) }

// checkRecords says what keeps a dataset from being read, as far as its records tell.
func checkRecords(cs []candidate) error {
	if len(cs) == 0 {
		return errNotStored
	}
	for i, c := range cs {
		if c.record.component != wholeDataset {
			return fmt.Errorf("stored in parts (component %s): only whole tables can be read", quoteName(c.record.component))
		}
		if lastComponent(c.record.formatter) != "ParquetFormatter" {
			return fmt.Errorf("stored as %s by %s: only Parquet can be read", quoteName(c.record.storageClass), c.record.formatter)
		}
		if i > 0 && cs[i-1].store == c.store {
			return errors.New("stored in several files: only whole tables can be read")
		}
	}
	return nil
}

// datasetFile is an open dataset: size bytes behind an io.ReaderAt.
type datasetFile struct {
	io.ReaderAt
	size  int64
	shown string // location for messages
	close func() error
}

// opener opens datasets. It is safe for concurrent use.
type opener struct {
	maps   []PathMap
	memory int64 // the most that a compressed zip member may take unpacked
	large  int64 // one that takes more waits for leave to be unpacked

	mu   sync.Mutex
	zips []*openZip // the ones opened last, newest at the end
}

// openZip is a zip file that several datasets may be read from.
type openZip struct {
	path    string
	file    *os.File
	members map[string]*zip.File
	users   int             // datasets open in it
	cached  bool            // among opener.zips
	sound   map[string]bool // stored members whose checksum was compared
}

// maxOpenZips is how many zip files are kept open with their directories: neighbouring datasets share one.
const maxOpenZips = 4

// open opens the first candidate whose file is there, as Python's chained datastore does. shown is where the dataset was
// looked for, also when there is an error. wait gives leave to hold what is large, until the dataset is closed.
func (o *opener) open(cs []candidate, wait func() error) (f *datasetFile, shown string, err error) {
	var remote error
	var missing error
	for _, c := range cs {
		loc, err := resolveLocation(c.root, c.record.path, o.maps)
		if err != nil {
			return nil, c.record.path, err
		}
		if loc.path == "" {
			if remote == nil {
				shown, remote = loc.show(), errors.New("not a local file: datasets in object stores and behind web servers are listed, but cannot be read (mount it, and see --path-map)")
			}
			continue
		}
		f, err := o.openLocation(loc, c.record.size, wait)
		if err == nil {
			return f, f.shown, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, loc.show(), err
		}
		if missing == nil {
			missing = errGone
			if remote == nil {
				shown = loc.show()
			}
		}
	}
	if remote != nil {
		return nil, shown, remote
	}
	return nil, shown, missing
}

// openLocation opens a local file or a member of a local zip file, and checks its size against the record's.
func (o *opener) openLocation(loc location, recorded int64, wait func() error) (*datasetFile, error) {
	if loc.member != "" {
		return o.openMember(loc, recorded, wait)
	}
	info, err := os.Stat(loc.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file") // a FIFO would wait for ever
	}
	if err := checkSize(info.Size(), recorded); err != nil {
		return nil, err
	}
	file, err := os.Open(loc.path)
	if err != nil {
		return nil, err
	}
	return &datasetFile{ReaderAt: file, size: info.Size(), shown: loc.show(), close: file.Close}, nil
}

func checkSize(size, recorded int64) error {
	if recorded >= 0 && size != recorded {
		return fmt.Errorf("the file has %d bytes and its record says %d: it was damaged or replaced", size, recorded)
	}
	return nil
}

func (o *opener) openMember(loc location, recorded int64, wait func() error) (*datasetFile, error) {
	z, err := o.zip(loc.path)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*datasetFile, error) {
		return nil, errors.Join(err, o.releaseZip(z))
	}
	m, ok := z.members[loc.member]
	if !ok {
		return fail(fmt.Errorf("the zip file has no member %s", quoteName(loc.member)))
	}
	if m.UncompressedSize64 > 1<<62 {
		return fail(errors.New("the zip file says that the member is larger than can be"))
	}
	size := int64(m.UncompressedSize64)
	if err := checkSize(size, recorded); err != nil {
		return fail(err)
	}
	f := &datasetFile{size: size, shown: loc.show(), close: func() error { return o.releaseZip(z) }}
	switch m.Method {
	case zip.Store:
		offset, err := m.DataOffset()
		if err != nil {
			return fail(err)
		}
		if m.CompressedSize64 != m.UncompressedSize64 {
			return fail(errors.New("the zip file gives a stored member two sizes"))
		}
		stored := io.NewSectionReader(z.file, offset, size)
		if err := o.checkStored(z, m, stored); err != nil {
			return fail(err)
		}
		f.ReaderAt = stored
	case zip.Deflate:
		if size > o.memory {
			return fail(fmt.Errorf("a compressed member of %d bytes does not fit into memory: give more, or unpack the zip file", size))
		}
		if size > o.large {
			if err := wait(); err != nil {
				return fail(err)
			}
		}
		unpacked, err := unzip(m, size)
		if err != nil {
			return fail(err)
		}
		f.ReaderAt = unpacked
	default:
		return fail(fmt.Errorf("the zip member has compression method %d: only stored and deflated ones can be read", m.Method))
	}
	return f, nil
}

// checkStored reads a stored member through, once while its zip file is open, and compares its checksum: pages are then
// read from it here and there, as Python does only after the same look.
func (o *opener) checkStored(z *openZip, m *zip.File, stored *io.SectionReader) error {
	o.mu.Lock()
	sound := z.sound[m.Name]
	o.mu.Unlock()
	if sound {
		return nil
	}
	h := crc32.NewIEEE()
	if n, err := io.Copy(h, stored); err != nil {
		return fmt.Errorf("cannot read the zip member: %w", err)
	} else if n != stored.Size() {
		return errors.New("the zip file ends within the member: it was damaged")
	}
	if err := checkSum(h.Sum32(), m); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	z.sound[m.Name] = true
	return nil
}

func checkSum(sum uint32, m *zip.File) error {
	if sum != m.CRC32 {
		return fmt.Errorf("the zip member has the checksum (CRC-32) %08x and the zip file's directory says %08x: it was damaged", sum, m.CRC32)
	}
	return nil
}

// unzip reads a whole member and compares its checksum, which archive/zip does not where the directory's is 0.
func unzip(m *zip.File, size int64) (sliceReader, error) {
	r, err := m.Open()
	if err != nil {
		return nil, fmt.Errorf("the zip member cannot be unpacked: %w", err)
	}
	defer func() { _ = r.Close() }()
	unpacked := make(sliceReader, size)
	if _, err := io.ReadFull(r, unpacked); err != nil {
		return nil, fmt.Errorf("the zip member cannot be unpacked: %w", err)
	}
	if err := checkSum(crc32.ChecksumIEEE(unpacked), m); err != nil {
		return nil, err
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return nil, errors.New("the zip member does not end where the zip file says: it was damaged")
	}
	return unpacked, nil
}

// sliceReader is a bytes.Reader without a position, so that goroutines may share it.
type sliceReader []byte

func (s sliceReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(s)) {
		return 0, io.EOF
	}
	n := copy(p, s[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// zip gives an open zip file, one of the last ones if possible; it is given back by releaseZip.
func (o *opener) zip(path string) (*openZip, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, z := range o.zips {
		if z.path == path {
			z.users++
			return z, nil
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	archive, err := zip.NewReader(file, info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // member names are never used as paths
		return nil, errors.Join(fmt.Errorf("not a zip file: %w", err), file.Close())
	}
	z := &openZip{path: path, file: file, members: make(map[string]*zip.File, len(archive.File)), sound: map[string]bool{}, users: 1, cached: true}
	for _, m := range archive.File {
		z.members[m.Name] = m
	}
	o.zips = append(o.zips, z)
	if len(o.zips) > maxOpenZips {
		old := o.zips[0]
		o.zips = append(o.zips[:0], o.zips[1:]...)
		old.cached = false
		if old.users == 0 {
			_ = old.file.Close() // only read from
		}
	}
	return z, nil
}

func (o *opener) releaseZip(z *openZip) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if z.users--; z.users == 0 && !z.cached {
		return z.file.Close()
	}
	return nil
}

// Close closes the zip files that were kept open. No dataset may be open any more.
func (o *opener) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, z := range o.zips {
		z.cached = false
		if z.users == 0 {
			errs = append(errs, z.file.Close())
		}
	}
	o.zips = nil
	return errors.Join(errs...)
}
