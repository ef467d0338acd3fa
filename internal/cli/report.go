package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fast-export/internal/export"
)

// lossReport is what --report writes. docs/json-output.md is its contract: fields are only added.
type lossReport struct {
	Version  string       `json:"fast_export_version"`
	Snapshot string       `json:"snapshot"` // pg_current_snapshot()
	Server   string       `json:"server_version"`
	Files    []fileReport `json:"files"`
	Warnings []string     `json:"warnings"`
}

type fileReport struct {
	Path      string         `json:"path"`
	Source    string         `json:"source"`
	Rows      int64          `json:"rows"`
	Bytes     int64          `json:"bytes"`
	RowGroups int64          `json:"row_groups"`
	Error     string         `json:"error,omitempty"`
	Columns   []columnReport `json:"columns"`
}

type columnReport struct {
	Name      string `json:"name"`
	Postgres  string `json:"postgres_type"`
	Arrow     string `json:"arrow_type"`
	Parquet   string `json:"parquet_type"`
	Note      string `json:"note,omitempty"`
	Inexact   int64  `json:"inexact_values"`
	Nonfinite int64  `json:"nonfinite_values"`
	Clamped   int64  `json:"clamped_values"`
	Replaced  int64  `json:"replaced_values"`
	FellBack  int64  `json:"fallen_back_values"`
}

// reportError is a --report file that can't be written.
type reportError struct {
	path string
	err  error
}

func (e *reportError) Error() string { return fmt.Sprintf("--report %s: %v", e.path, reason(e.err)) }
func (e *reportError) Unwrap() error { return e.err }

// checkReport finds out before the run whether the report can be written after it.
func checkReport(path string, jobs []export.Job) error {
	for _, j := range jobs {
		if same(path, j.Out) {
			return usagef("", "--report %s is an output too", quoteArg(path))
		}
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return &reportError{path, errors.New("it is there already and no regular file")}
	}
	// Whether the directory takes files is best asked by making one.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return &reportError{path, err}
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func same(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
}

// writeReport writes the report whole or not at all.
func writeReport(path string, r *export.Result) (err error) {
	defer func() {
		if err != nil {
			err = &reportError{path, err}
		}
	}()
	out := lossReport{
		Version: buildInfo().version, Snapshot: r.Snapshot.Fingerprint, Server: r.Snapshot.Server,
		Files: []fileReport{}, Warnings: append([]string{}, r.Warnings...),
	}
	for _, f := range r.Files {
		fr := fileReport{Path: f.Path, Source: f.Source, Rows: f.Rows, Bytes: f.Bytes, RowGroups: f.RowGroups, Columns: []columnReport{}}
		if f.Err != nil {
			fr.Error = oneLine(judge(f.Err).message)
		}
		for _, c := range f.Columns {
			fr.Columns = append(fr.Columns, columnReport{
				c.Name, c.Postgres, c.Arrow, c.Parquet, c.Note, c.Inexact, c.Nonfinite, c.Clamped, c.Replaced, c.FellBack,
			})
		}
		out.Files = append(out.Files, fr)
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(path, append(text, '\n'))
}

// writeWhole puts data under a name in one step: the file there is the old one or the new one, never half of either.
func writeWhole(path string, data []byte) (err error) {
	mode := fs.FileMode(0o666) // before the umask
	f, err := os.OpenFile(filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.tmp-%d", filepath.Base(path), os.Getpid())), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
