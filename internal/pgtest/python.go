package pgtest

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

//go:embed dump.py
var dumpScript string

// Python is the interpreter of the environment that `make test` sets up, with pyarrow, duckdb, astropy, psycopg2 and lsst-daf-butler:
// FAST_EXPORT_PYTHON, else the one in the cache. It fails the test if there is none.
func Python(t testing.TB) string {
	t.Helper()
	python := os.Getenv("FAST_EXPORT_PYTHON")
	if python == "" {
		cache, err := cacheDir()
		if err != nil {
			t.Fatal(err)
		}
		python = filepath.Join(cache, "venv", "bin", "python")
	}
	if _, err := exec.LookPath(python); err != nil {
		t.Fatalf("no Python environment: %v; `make test` makes one", err)
	}
	return python
}

// RunPython runs a Python program, given as text, with arguments and returns what it printed on stdout. It fails the test, with what
// it said on stderr, if the program fails.
func RunPython(t testing.TB, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Python(t), append([]string{"-c", program}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("python: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("python: %v", err)
	}
	return out
}

// Parquet is what another reader makes of a Parquet file.
type Parquet struct {
	Fields    []ParquetField    `json:"fields"`
	Metadata  map[string]string `json:"metadata"`   // of the file, without ARROW:schema
	CreatedBy string            `json:"created_by"` // empty from DuckDB
	RowGroups []int64           `json:"row_groups"` // rows of each
	Leaves    []ParquetLeaf     `json:"leaves"`     // nil from DuckDB
	// Rows holds an array a row, a value a top-level column: nil for NULL, else the text that Postgres gives for it (DateStyle ISO, TimeZone
	// UTC, extra_float_digits 3; a bytea in hex), []any for a list, map[string]any for a struct.
	Rows [][]any `json:"-"`
}

// ParquetField is a top-level column; Type is the reader's own word for it, such as "timestamp[us, tz=UTC]" or "TIMESTAMP WITH TIME ZONE".
type ParquetField struct {
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Nullable bool              `json:"nullable"` // always true from DuckDB
	Metadata map[string]string `json:"metadata"` // empty from DuckDB
}

// ParquetLeaf is a column of the Parquet schema, with facts of its first column chunk.
type ParquetLeaf struct {
	Path        string   `json:"path"`
	Physical    string   `json:"physical"`
	Logical     string   `json:"logical"`
	Definition  int      `json:"definition"`
	Repetition  int      `json:"repetition"`
	Compression string   `json:"compression"`
	Encodings   []string `json:"encodings"`
}

// ReadParquet reads a file by pyarrow.
func ReadParquet(t testing.TB, path string) *Parquet {
	t.Helper()
	return readParquet(t, "pyarrow", path)
}

// ReadDuckDB reads a file by DuckDB. DuckDB has no decimal of more than 38 digits and reads those as double.
func ReadDuckDB(t testing.TB, path string) *Parquet {
	t.Helper()
	return readParquet(t, "duckdb", path)
}

func readParquet(t testing.TB, reader, path string) *Parquet {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(RunPython(t, dumpScript, reader, path)))
	decoder := json.NewDecoder(in)
	p := &Parquet{}
	if err := decoder.Decode(p); err != nil {
		t.Fatalf("%s of %s: %v", reader, path, err)
	}
	for {
		var row []any
		err := decoder.Decode(&row)
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatalf("%s of %s, row %d: %v", reader, path, len(p.Rows), err)
		}
		p.Rows = append(p.Rows, row)
	}
}
