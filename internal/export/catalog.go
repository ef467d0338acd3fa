package export

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"fast-export/butler"
	"fast-export/copier"
	"fast-export/internal/column"
	"fast-export/internal/progress"
	"fast-export/parquetw"
)

// Catalog is one extraction from a Butler repository: the datasets of one type to one file, a row group a dataset as long as there are
// not more datasets than a file may have row groups.
type Catalog struct {
	Options     butler.Options // OnDataset is ours, Memory, Parallel and MaxRowGroups are set from below
	IDFile      string         // Parquet file of the ids that select rows; "": all rows
	IDColumn    string         // its column; "": the first
	Out         string
	Overwrite   parquetw.Overwrite
	Compression parquetw.Compression
	Memory      int64  // bytes that rows and finished pages may take, at least 64 MB
	Parallel    int    // datasets read at a time
	TempDir     string // for finished pages beyond the budget; "": beside Out
	Manifest    string // where a manifest is to be written by the caller, which must not be in the repository either; "": none
	Version     string
	Progress    progress.Reporter // nil: silent
}

// CatalogResult is what ExtractCatalog did.
type CatalogResult struct {
	File    File // Path "" when no dataset of the type gave a schema, so that there is no file
	Summary butler.Summary
	IDs     int // distinct ids that selected
	Started time.Time
	Elapsed time.Duration
}

// The shares of Catalog.Memory, in hundredths: what reading holds, and finished pages. The rest is for open pages and slack.
const (
	readShare        = 50
	catalogPageShare = 20
)

// ExtractCatalog runs a Catalog. The file appears under its name when it is whole.
//
// Errors are those of butler and parquetw.
func ExtractCatalog(ctx context.Context, c Catalog) (_ *CatalogResult, err error) {
	res := &CatalogResult{Started: time.Now()}
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx) // whatever it was, it is an echo
		}
	}()
	if c.Progress == nil {
		c.Progress = progress.Silent()
	}
	if err := c.checkFiles(); err != nil {
		return nil, err
	}
	o := c.Options
	o.Memory, o.Parallel, o.MaxRowGroups = max(butler.MinMemory, c.Memory*readShare/100), c.Parallel, parquetw.MaxRowGroups
	if c.IDFile != "" {
		c.Progress.Report(progress.Phase{Name: "reading ids"})
		if o.IDs, err = butler.LoadIDs(ctx, c.IDFile, c.IDColumn); err != nil {
			return nil, err
		}
		res.IDs = o.IDs.Len()
	}
	var rows int64
	done := 0
	o.OnDataset = func(p butler.Progress) {
		c.Progress.Report(progress.Advance{Rows: p.Rows - rows, HeapBytes: int64(p.Done - done)})
		rows, done = p.Rows, p.Done
	}
	c.Progress.Report(progress.Phase{Name: "listing datasets"})
	e, err := butler.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := c.checkRepository(e); err != nil {
		return nil, err
	}
	c.Progress.Report(progress.Plan{Files: 1, EstBytes: int64(e.Len()), Unit: "datasets"})
	schema, err := e.Schema(ctx)
	if err != nil {
		return nil, err
	}
	if schema == nil {
		res.Summary, err = e.Run(ctx, noSink{})
		if _, serr := os.Lstat(c.Out); serr == nil {
			res.Summary.Warnings = append(res.Summary.Warnings, c.Out+" is of an earlier run and was not touched: this one made no file")
		}
		res.Elapsed = time.Since(res.Started)
		return res, err
	}
	c.Progress.Report(progress.Phase{Name: "reading"})

	parent := c.TempDir
	if parent == "" {
		parent = filepath.Dir(c.Out)
	}
	pool := parquetw.NewPool(runtime.GOMAXPROCS(0), min(c.Memory*catalogPageShare/100, maxPageBytes), func() (*os.File, error) {
		return copier.TempFile(parent, ".fast-export-tmp-")
	})
	defer func() { err = errors.Join(err, pool.Close()) }()
	w, err := parquetw.Create(c.Out, parquetw.Options{
		Schema: schema, Compression: c.Compression, CreatedBy: "fast-export " + c.Version, Overwrite: c.Overwrite, Hash: c.Manifest != "", Pool: pool,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	if res.Summary, err = e.Run(ctx, w); err != nil {
		return nil, err
	}
	for _, kv := range res.Summary.Metadata {
		w.SetMetadata(kv.Key, kv.Value)
	}
	c.Progress.Report(progress.Phase{Name: "writing"})
	written, err := w.Commit(ctx)
	if err != nil {
		return nil, err
	}
	res.File = File{Path: c.Out, Source: o.DatasetType, Rows: written.Rows, Bytes: written.Bytes, RowGroups: written.RowGroups, SHA256: written.SHA256}
	for _, f := range schema.Fields() {
		res.File.Columns = append(res.File.Columns, Column{Name: f.Name, Arrow: f.Type.String()})
	}
	res.Elapsed = time.Since(res.Started)
	c.Progress.Report(progress.FileDone{Path: c.Out, Rows: written.Rows, Bytes: written.Bytes, RowGroups: written.RowGroups})
	return res, nil
}

// noSink takes what is known to be nothing.
type noSink struct{}

func (noSink) Write(_ context.Context, b *column.Batch) error {
	b.Release()
	return errors.New("rows of a dataset type without a schema")
}

func (noSink) EndRowGroup() error { return nil }

// ListCatalog lists what ExtractCatalog would read, and reads no dataset.
func ListCatalog(ctx context.Context, c Catalog) (*butler.Extraction, error) {
	if err := c.checkFiles(); err != nil {
		return nil, err
	}
	if c.IDFile != "" {
		if _, err := butler.LoadIDs(ctx, c.IDFile, c.IDColumn); err != nil {
			return nil, err
		}
	}
	e, err := butler.Open(ctx, c.Options)
	if err != nil {
		return nil, err
	}
	if err := c.checkRepository(e); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// checkFiles finds out before anything is read whether the output can be written, and is not what is read.
func (c Catalog) checkFiles() error {
	if err := parquetw.CheckTarget(c.Out, c.Overwrite); err != nil {
		return err
	}
	if c.IDFile == "" {
		return nil
	}
	ids, err := os.Stat(c.IDFile)
	if err != nil {
		return nil // reading it tells why
	}
	if out, err := os.Stat(c.Out); err == nil && os.SameFile(ids, out) {
		return &parquetw.FileError{Op: "write", Path: c.Out, Err: errors.New("it is the file of ids too (" + c.IDFile + ")")}
	}
	return nil
}

// checkRepository finds out before a dataset is read that nothing will be written to the repository, and that the manifest can be written.
func (c Catalog) checkRepository(e *butler.Extraction) error {
	for _, path := range []string{c.Out, c.TempDir} {
		if path == "" {
			continue
		}
		if err := e.CheckTarget(path); err != nil {
			return &parquetw.FileError{Op: "write", Path: path, Err: err}
		}
	}
	if c.Manifest == "" {
		return nil
	}
	if err := e.CheckTarget(c.Manifest); err != nil {
		return &DocumentError{ManifestDocument, c.Manifest, err}
	}
	return ManifestDocument.Check(c.Manifest, Config{Jobs: []Job{{Out: c.Out}}})
}

// CatalogManifest is what an extraction tells of itself, for whoever reads it later.
type CatalogManifest struct {
	Version     int       `json:"manifest_version"`
	FastExport  string    `json:"fast_export_version"`
	Started     time.Time `json:"started"`
	Elapsed     float64   `json:"elapsed_seconds"`
	Repository  string    `json:"repository"`
	Collections []string  `json:"collections"`
	DatasetType string    `json:"dataset_type"`
	Where       string    `json:"where,omitempty"`
	Path        string    `json:"path"` // "" when there was nothing to make a file of
	Rows        int64     `json:"rows"`
	Bytes       int64     `json:"bytes"`
	RowGroups   int64     `json:"row_groups"`
	SHA256      string    `json:"sha256,omitempty"`
	Columns     []struct {
		Name  string `json:"name"`
		Arrow string `json:"arrow_type"`
	} `json:"columns"`
	IDs       int      `json:"filter_ids"`
	Found     int      `json:"datasets_found"`
	Written   int      `json:"datasets_written"`
	Empty     int      `json:"datasets_empty"`
	Unmatched int      `json:"datasets_without_a_wanted_id"`
	Missing   int      `json:"datasets_missing"`
	Repeats   int64    `json:"repeats_left_out"`
	Warnings  []string `json:"warnings"`
}

// NewCatalogManifest tells of an extraction.
func NewCatalogManifest(c Catalog, r *CatalogResult) *CatalogManifest {
	m := &CatalogManifest{
		Version: ManifestVersion, FastExport: c.Version, Started: r.Started.UTC(), Elapsed: r.Elapsed.Seconds(), Repository: c.Options.Repo,
		Collections: c.Options.Collections, DatasetType: c.Options.DatasetType, Where: c.Options.Where, Path: r.File.Path, Rows: r.File.Rows, Bytes: r.File.Bytes,
		RowGroups: r.File.RowGroups, SHA256: r.File.SHA256, IDs: r.IDs, Found: r.Summary.Found, Written: r.Summary.Written, Empty: r.Summary.Empty,
		Unmatched: r.Summary.Unmatched, Missing: r.Summary.Missing, Repeats: r.Summary.Repeats, Warnings: append([]string{}, r.Summary.Warnings...),
	}
	for _, col := range r.File.Columns {
		m.Columns = append(m.Columns, struct {
			Name  string `json:"name"`
			Arrow string `json:"arrow_type"`
		}{col.Name, col.Arrow})
	}
	return m
}
