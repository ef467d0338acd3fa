package parquetw

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// put makes a file of a test.
func put(t testing.TB, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

const someParquet = "PAR1 whatever PAR1"

func TestCheckTarget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("parquet"), someParquet, 0o644)
	put(t, at("read-only"), someParquet, 0o444)
	put(t, at("text"), "hello, this is no Parquet file", 0o644)
	put(t, at("half"), "PAR1 was cut off", 0o644)
	put(t, at("magic only"), "PAR1PAR1", 0o644)
	put(t, at("empty"), "", 0o644)
	for _, err := range []error{
		os.Mkdir(at("dir"), 0o755),
		syscall.Mkfifo(at("fifo"), 0o644),
		os.Symlink("parquet", at("link")),
		os.Symlink("nowhere", at("dangling")),
		os.Symlink(dir, at("dirlink")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	const (
		fine   = "" // no error
		exists = "exists"
	)
	for _, c := range []struct {
		path                       string
		parquet, any, none         string // by ReplaceParquet, ReplaceAny, NoClobber: fine, or what the error says
		isExists, isNone, isDenied bool
	}{
		{path: at("new")},
		{path: at("dirlink/new")},
		{path: at("parquet"), none: "not to be replaced", isExists: true},
		{path: at("read-only"), parquet: "is read-only", none: "not to be replaced", isExists: true},
		{path: at("text"), parquet: "no Parquet file", none: "not to be replaced", isExists: true},
		{path: at("half"), parquet: "no Parquet file", none: "not to be replaced", isExists: true},
		{path: at("magic only"), parquet: "no Parquet file", none: "not to be replaced", isExists: true},
		{path: at("empty"), parquet: "is empty", none: "not to be replaced", isExists: true},
		{path: at("dir"), parquet: "a directory", any: "a directory", none: "a directory", isExists: true},
		{path: at("fifo"), parquet: "a named pipe", any: "a named pipe", none: "a named pipe", isExists: true},
		{path: at("socket"), parquet: "no regular file", any: "no regular file", none: "no regular file", isExists: true},
		{path: at("link"), parquet: "link to parquet", any: "link to parquet", none: "link to parquet", isExists: true},
		{path: at("dangling"), parquet: "link to nowhere", any: "link to nowhere", none: "link to nowhere", isExists: true},
		{path: at("dirlink"), parquet: "a symbolic link", any: "a symbolic link", none: "a symbolic link", isExists: true},
		{path: "/dev/null", parquet: "a device", any: "a device", none: "a device", isExists: true},
		{path: "/dev/stdout", parquet: "a symbolic link", any: "a symbolic link", none: "a symbolic link", isExists: true},
		{path: at("nodir/f"), parquet: "no such file", any: "no such file", none: "no such file", isNone: true},
		{path: at("text/f"), parquet: "not a directory", any: "not a directory", none: "not a directory"},
		{path: "", parquet: "must be named", any: "must be named", none: "must be named"},
		{path: "-", parquet: "must be named", any: "must be named", none: "must be named"},
		{path: dir + "/", parquet: "must be named", any: "must be named", none: "must be named"},
		{path: dir + "/..", parquet: "a directory", any: "a directory", none: "a directory", isExists: true},
		{path: at(strings.Repeat("n", 300)), parquet: "too long", any: "too long", none: "too long"},
	} {
		for o, want := range map[Overwrite]string{ReplaceParquet: c.parquet, ReplaceAny: c.any, NoClobber: c.none} {
			err := CheckTarget(c.path, o)
			if (err == nil) != (want == fine) || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s by %d: %v, want %q", c.path, o, err, want)
				continue
			}
			if err == nil {
				continue
			}
			var e *ExistsError
			if errors.As(err, &e) != c.isExists || errors.Is(err, ErrExists) != c.isExists || errors.Is(err, fs.ErrNotExist) != c.isNone {
				t.Errorf("%s by %d: %#v is of another kind", c.path, o, err)
			}
			var f *FileError
			if !c.isExists && !errors.As(err, &f) {
				t.Errorf("%s by %d: %#v is no *FileError", c.path, o, err)
			}
			if c.path != "" && !strings.Contains(err.Error(), strings.TrimSuffix(c.path, "/..")) && !c.isNone && !strings.Contains(err.Error(), filepath.Dir(c.path)) {
				t.Errorf("%s by %d: %q does not name it", c.path, o, err)
			}
		}
	}
	if _, err := os.Stat(at("nodir")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

// A file takes the mode of the one it replaces, or the one that the umask leaves; while it is written nobody else reads it.
func TestModeAndReplacement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f.parquet")
	commit := func(o Overwrite) fs.FileMode {
		t.Helper()
		w, err := Create(path, Options{Schema: oneInt64, Pool: newPool(t, 1, 0), Overwrite: o})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if st, err := os.Stat(w.out.temp); err != nil || st.Mode() != 0o600 {
			t.Errorf("while it is written: %v, %v", st.Mode(), err)
		}
		if _, err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Mode()
	}
	probe := filepath.Join(dir, "probe")
	if err := os.WriteFile(probe, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(probe)
	if err != nil {
		t.Fatal(err)
	}
	if got := commit(NoClobber); got != st.Mode() {
		t.Errorf("a new file has mode %v, others %v", got, st.Mode())
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if got := commit(ReplaceParquet); got != 0o640 {
		t.Errorf("a replaced file has mode %v, had %v", got, fs.FileMode(0o640))
	}
	owner := func() (uid, gid uint32) {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sys := st.Sys().(*syscall.Stat_t)
		return sys.Uid, sys.Gid
	}
	_ = os.Chown(path, 1234, 2345) // as root; whoever is not sees that nothing fails
	uid, gid := owner()
	commit(ReplaceParquet)
	if u, g := owner(); u != uid || g != gid {
		t.Errorf("a replaced file is %d:%d's, was %d:%d's", u, g, uid, gid)
	}
	put(t, path, "no Parquet", 0o444)
	if got := commit(ReplaceAny); got != 0o444 {
		t.Errorf("a replaced file has mode %v, had %v", got, fs.FileMode(0o444))
	}
	leftovers(t, dir, "f.parquet", "probe")
}

// What comes to the target's place while the file is written stays, if it may not be replaced.
func TestTargetChangesMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		over Overwrite
		come func(path string) error
		want string // the error's, if it is one
	}{
		{"no file", ReplaceParquet, func(string) error { return nil }, ""},
		{"another export", ReplaceParquet, func(p string) error { return os.WriteFile(p, []byte(someParquet), 0o600) }, ""},
		{"a text", ReplaceParquet, func(p string) error { return os.WriteFile(p, []byte("text"), 0o600) }, "no Parquet file"},
		{"a directory", ReplaceAny, func(p string) error { return os.Mkdir(p, 0o700) }, "a directory"},
		{"anything at all", NoClobber, func(p string) error { return os.WriteFile(p, []byte(someParquet), 0o600) }, "not to be replaced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := create(t, Options{Schema: oneInt64, Overwrite: c.over})
			if err := c.come(w.out.path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(w.out.path)
			_, err := w.Commit(t.Context())
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after, err := os.Lstat(w.out.path); err != nil || !os.SameFile(before, after) {
				t.Errorf("what came is gone: %v, %v", after, err)
			}
			leftovers(t, filepath.Dir(w.out.path), "f.parquet")
		})
	}
	// the last moment, behind the check
	w := create(t, Options{Schema: oneInt64, Overwrite: NoClobber})
	if err := w.out.f.Sync(); err != nil {
		t.Fatal(err)
	}
	put(t, w.out.path, someParquet, 0o600)
	if err := w.out.rename(); !errors.Is(err, ErrExists) {
		t.Errorf("no-clobber renamed over a file: %v", err)
	}
}

func TestTempName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"f.parquet", strings.Repeat("ü", 127), strings.Repeat("n", 255)} {
		w, err := Create(filepath.Join(dir, name), Options{Schema: oneInt64, Pool: newPool(t, 1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(w.out.temp)
		if !strings.HasPrefix(base, ".") || !strings.Contains(base, ".tmp-") || filepath.Dir(w.out.temp) != dir {
			t.Errorf("%s is written as %s", name, w.out.temp)
		}
		if _, err := w.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
