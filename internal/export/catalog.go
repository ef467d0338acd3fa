package export

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
	pool := newPool(c.Memory*catalogPageShare/100, func() (*os.File, error) {
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
		if rerr := butler.CheckTarget(c.Options, c.Out); rerr != nil { // what is no Parquet file may be what nothing replaces
			err = &parquetw.FileError{Op: "write", Path: c.Out, Err: rerr}
		}
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

// CatalogManifest is what an extraction tells of itself, for whoever reads it later. docs/butler-manifest.schema.json is made of these
// structs, as Manifest's is.
type CatalogManifest struct {
	Version     int                     `json:"manifest_version" doc:"1; fields are added without a new number"`
	FastExport  string                  `json:"fast_export_version" doc:"the program's version"`
	Started     time.Time               `json:"started" doc:"when the run began"`
	Finished    time.Time               `json:"finished" doc:"when the file stood under its name"`
	Elapsed     float64                 `json:"elapsed_seconds" doc:"from the one to the other"`
	Repository  string                  `json:"repository" doc:"as it was asked for: a label, a path or a URI"`
	Collections []string                `json:"collections" doc:"as they were asked for"`
	DatasetType string                  `json:"dataset_type" doc:"its name"`
	Where       string                  `json:"where,omitempty" doc:"the condition on dimensions; absent without one"`
	Settings    CatalogManifestSettings `json:"settings" doc:"how the run was asked to work"`
	Path        string                  `json:"path" doc:"as it was asked for; empty where no dataset gave a schema, so that there is no file"`
	NoSchema    string                  `json:"no_schema,omitempty" doc:"why there is no file; absent where there is one"`
	Rows        int64                   `json:"rows" doc:"of the file"`
	Bytes       int64                   `json:"bytes" doc:"of the file"`
	RowGroups   int64                   `json:"row_groups" doc:"of the file"`
	SHA256      string                  `json:"sha256,omitempty" doc:"of the file, in hexadecimal; absent where there is no file"`
	Columns     []CatalogManifestColumn `json:"columns" doc:"one a column, in order"`
	IDs         int                     `json:"filter_ids" doc:"different ids that rows were selected by; 0 without a file of ids, too"`
	Found       int                     `json:"datasets_found" doc:"by the search, each once unless duplicates were kept"`
	Written     int                     `json:"datasets_written" doc:"that added rows"`
	Empty       int                     `json:"datasets_empty" doc:"without rows"`
	Unmatched   int                     `json:"datasets_without_a_wanted_id" doc:"with rows, none of them wanted"`
	Excluded    int                     `json:"datasets_excluded" doc:"of those without a wanted id: not read, for their statistics exclude every wanted id"`
	Missing     int                     `json:"datasets_missing" doc:"that are not stored or whose file is gone, passed over by --skip-missing"`
	Repeats     int64                   `json:"repeats_left_out" doc:"how often a dataset was found again in another collection"`
	RowsRead    int64                   `json:"rows_read" doc:"rows of the datasets that were read: not of those that statistics excluded"`
	Cut         map[string]int64        `json:"cut_values,omitempty" doc:"by column: texts or bytes cut to the width that their file declares; absent where there are none"`
	Warnings    []string                `json:"warnings" doc:"of the run"`
}

// CatalogManifestSettings are the settings of a CatalogManifest.
type CatalogManifestSettings struct {
	FindFirst      bool     `json:"find_first" doc:"true where of each data ID only what the first collection holds was taken"`
	KeepDuplicates bool     `json:"keep_duplicates" doc:"true where a dataset was taken once for every collection that holds it"`
	SkipMissing    bool     `json:"skip_missing" doc:"true where datasets that are not there were passed over"`
	SchemaMode     string   `json:"schema_mode" doc:"strict, union or intersect"`
	Columns        []string `json:"columns,omitempty" doc:"that were asked for, in order; absent where all were"`
	AddDataID      bool     `json:"add_data_id" doc:"true where the dimensions are columns too"`
	IDFile         string   `json:"filter_ids_file,omitempty" doc:"the file of ids; absent without one"`
	IDColumn       string   `json:"filter_column,omitempty" doc:"its column of ids; absent where that was its first"`
	TargetColumn   string   `json:"target_column,omitempty" doc:"the datasets' column that was compared with the ids; absent without ids"`
	PathMaps       []string `json:"path_maps,omitempty" doc:"each OLD=NEW; absent without any"`
	Compression    string   `json:"compression" doc:"codec and level"`
	Parallel       int      `json:"parallel" doc:"datasets that were to be read at a time"`
	Memory         int64    `json:"memory_bytes" doc:"what rows and pages were to take"`
}

// CatalogManifestColumn is one column of a CatalogManifest.
type CatalogManifestColumn struct {
	Name  string `json:"name" doc:"its name"`
	Arrow string `json:"arrow_type" doc:"as Arrow readers see it"`
}

// NewCatalogManifest tells of an extraction.
func NewCatalogManifest(c Catalog, r *CatalogResult) *CatalogManifest {
	o, s := c.Options, r.Summary
	m := &CatalogManifest{
		Version: ManifestVersion, FastExport: c.Version, Started: r.Started.UTC(), Finished: r.Started.Add(r.Elapsed).UTC(), Elapsed: r.Elapsed.Seconds(),
		Repository: o.Repo, Collections: o.Collections, DatasetType: o.DatasetType, Where: o.Where,
		Settings: CatalogManifestSettings{
			FindFirst: o.FindFirst, KeepDuplicates: o.KeepDuplicates, SkipMissing: o.SkipMissing, SchemaMode: word(o.SchemaMode, butler.ParseSchemaMode, "strict", "union", "intersect"),
			Columns: o.Columns, AddDataID: o.AddDataID, Compression: c.Compression.String(), Parallel: c.Parallel, Memory: c.Memory,
		},
		Path: r.File.Path, NoSchema: s.NoSchema, Rows: r.File.Rows, Bytes: r.File.Bytes, RowGroups: r.File.RowGroups, SHA256: r.File.SHA256,
		Columns: []CatalogManifestColumn{}, IDs: r.IDs, Found: s.Found, Written: s.Written, Empty: s.Empty, Unmatched: s.Unmatched, Excluded: s.Excluded,
		Missing: s.Missing, Repeats: s.Repeats, RowsRead: s.RowsRead, Cut: s.Cut, Warnings: append([]string{}, s.Warnings...),
	}
	if c.IDFile != "" {
		m.Settings.IDFile, m.Settings.IDColumn, m.Settings.TargetColumn = c.IDFile, c.IDColumn, o.TargetColumn
	}
	for _, p := range o.PathMaps {
		m.Settings.PathMaps = append(m.Settings.PathMaps, p.Old+"="+p.New)
	}
	for _, col := range r.File.Columns {
		m.Columns = append(m.Columns, CatalogManifestColumn{col.Name, col.Arrow})
	}
	return m
}
