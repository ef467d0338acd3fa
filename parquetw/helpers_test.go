package parquetw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"fast-export/internal/column"
)

// record makes a record batch of JSON.
func record(t testing.TB, s *arrow.Schema, json string) arrow.RecordBatch {
	t.Helper()
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, s, strings.NewReader(json))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func decimals(v ...int64) *array.Decimal128 {
	b := array.NewDecimal128Builder(memory.DefaultAllocator, &arrow.Decimal128Type{Precision: 5, Scale: 0})
	for _, x := range v {
		b.Append(decimal128.FromI64(x))
	}
	return b.NewDecimal128Array()
}

// tempIn makes the pool's temp file in a directory of the test.
func tempIn(t testing.TB) func() (*os.File, error) {
	dir := t.TempDir()
	return func() (*os.File, error) { return os.CreateTemp(dir, "pages-") }
}

// Used is the memory now held by finished pages, open pages and dictionaries, in bytes. Safe from any goroutine.
func (p *Pool) Used() int64 { return p.blocks.Load()*blockBytes + p.open.Load() }

// Spilled is how much of the temp file is in use, in bytes. Safe from any goroutine.
func (p *Pool) Spilled() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spilled * blockBytes
}

// newPool is a pool that must be empty when the test ends.
func newPool(t testing.TB, encoders int, pageMemory int64) *Pool {
	t.Helper()
	p := NewPool(encoders, pageMemory, tempIn(t))
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if n := p.Used(); n != 0 {
			t.Errorf("the pool still counts %d bytes", n)
		}
		if n := p.Spilled(); n != 0 {
			t.Errorf("%d bytes of the temp file are still taken", n)
		}
	})
	return p
}

// ledger counts batches that were given out and not given back.
type ledger struct {
	t    testing.TB
	open int
	mu   chan struct{}
}

func newLedger(t testing.TB) *ledger {
	l := &ledger{t: t, mu: make(chan struct{}, 1)}
	t.Cleanup(func() {
		l.mu <- struct{}{}
		if l.open != 0 {
			t.Errorf("%d batches were never released", l.open)
		}
	})
	return l
}

func (l *ledger) release(b *column.Batch) {
	l.mu <- struct{}{}
	l.open--
	<-l.mu
	// whoever still reads it shall notice
	for i := range b.Leaves {
		for _, p := range [][]byte{b.Leaves[i].Data, b.Leaves[i].Def, b.Leaves[i].Rep, b.Leaves[i].Valid} {
			for j := range p {
				p[j] = 0xa5
			}
		}
	}
}

func (l *ledger) batch(leaves []column.Leaf, rec arrow.RecordBatch, from, to int) *column.Batch {
	l.mu <- struct{}{}
	l.open++
	<-l.mu
	return shred(l.t, leaves, rec, from, to, l.release)
}

// write writes rec as a file, cut into batches at the rows given, and returns its path.
func write(t testing.TB, opt Options, rec arrow.RecordBatch, cuts ...int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.parquet")
	if _, err := writeTo(t, path, opt, rec, cuts...); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeTo(t testing.TB, path string, opt Options, rec arrow.RecordBatch, cuts ...int) (Result, error) {
	t.Helper()
	opt.Schema = rec.Schema()
	if opt.Pool == nil {
		opt.Pool = newPool(t, 2, 1<<30)
	}
	w, err := Create(path, opt)
	if err != nil {
		return Result{}, err
	}
	defer w.Abort()
	l := newLedger(t)
	from := 0
	for _, to := range append(cuts, int(rec.NumRows())) {
		if err := w.Write(t.Context(), l.batch(w.leaves, rec, from, to)); err != nil {
			return Result{}, err
		}
		from = to
	}
	return w.Commit(t.Context())
}

// readBack reads a file by arrow-go.
func readBack(t testing.TB, path string) arrow.Table {
	t.Helper()
	f, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := r.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// python runs a script of testdata with the interpreter that has pyarrow and duckdb.
func python(t testing.TB, script string, args ...string) string {
	t.Helper()
	py := os.Getenv("FAST_EXPORT_PYTHON")
	if py == "" {
		root, err := filepath.Abs("..")
		if err != nil {
			t.Fatal(err)
		}
		py = filepath.Join(root, ".cache", "venv", "bin", "python")
	}
	if _, err := os.Stat(py); err != nil {
		t.Fatalf("no Python with pyarrow and duckdb at %s: `make test` installs one, or set FAST_EXPORT_PYTHON", py)
	}
	cmd := exec.CommandContext(t.Context(), py, append([]string{filepath.Join("testdata", script)}, args...)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out.String(), stderr.String())
	}
	return out.String()
}

// leftovers fails if a directory holds anything but the names given.
func leftovers(t testing.TB, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("the directory holds %v, want %v", got, names)
	}
}

var errBoom = errors.New("boom")
