package butler

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"

	"github.com/jackc/pgx/v5"
)

// DefaultDatasetType is the dataset type that is extracted when none is named.
const DefaultDatasetType = "dia_source_visit"

// DefaultMemory is the memory that reading may take when nothing is said, in bytes; MinMemory is the least that works.
const (
	DefaultMemory = 1 << 30
	MinMemory     = 16 << 20
)

// Options says what to extract. The zero value of every field but Repo and Collections is a sensible default.
type Options struct {
	// Repo is a label of the repository index (also one that looks like a path), a directory, a butler.yaml or another
	// .yaml or .json file, or a file: URI of any of these.
	Repo string
	// Collections are what is searched, in this order. Each is the name of a collection; where there is none of that
	// name, a list separated by commas; and what of that is not there, a pattern (*, ?, [abc], [!abc]).
	Collections []string
	// DatasetType is the name of the type; "" for DefaultDatasetType.
	DatasetType string
	// Where restricts the data IDs, over required and implied dimensions: visit > 100 AND band IN ('g', 'r'). "" for all.
	Where string
	// FindFirst keeps of each data ID only what the first collection holds. It is an error with patterns, and where a
	// calibration collection has several validity ranges for a data ID.
	FindFirst bool
	// KeepDuplicates gives a dataset as often as Python's queryDatasets does: once for every collection of the search
	// that holds it. Otherwise each comes once. It makes no difference with FindFirst.
	KeepDuplicates bool
	// SkipMissing passes over datasets that are not stored or whose file is gone, and counts them. Damage is an error all
	// the same.
	SkipMissing bool
	// SchemaMode says what to do with tables of different columns; the zero value is Strict.
	SchemaMode SchemaMode
	// Columns are the columns wanted, in the order of the output; nil for all. Case counts.
	Columns []string
	// AddDataID adds the dimensions' values, implied ones too, as further columns under the dimensions' names.
	AddDataID bool
	// IDs selects rows: those whose TargetColumn has one of these ids. nil for all rows.
	IDs *IDSet
	// TargetColumn is compared with IDs; "" for DefaultTargetColumn. It need not be among Columns.
	TargetColumn string
	// PathMaps rewrites the beginnings of locations.
	PathMaps []PathMap
	// FullDataID makes Datasets give the implied dimensions too, where Where and AddDataID do not need them anyway.
	FullDataID bool

	// MaxRowGroups is the most row groups that the sink takes; 0 for no limit. When more datasets than that are listed,
	// neighbours in the output share row groups, as many each as it takes.
	MaxRowGroups int

	// Parallel is how many datasets are read at once; 0 for as many as there are cores. It does not change the output.
	Parallel int
	// Memory bounds what reading holds, in bytes: batches that the sink has not released, and open pages; a page of more
	// than a quarter of it is an error. 0 for DefaultMemory; less than MinMemory is an error. The IDs come on top.
	Memory int64

	// Getenv gives environment variables (DAF_BUTLER_REPOSITORY_INDEX, DAF_BUTLER_REPOSITORIES, LSST_DB_AUTH,
	// LSST_DB_AUTH_CREDENTIALS, HOME, and those that paths name). nil for an empty environment.
	Getenv func(string) string
	// Postgres makes a connection's configuration of what the repository says of its registry's server, in libpq's
	// words (host, dbname, password, …; what it does not say is not there), and tells where it looked for a password
	// that the repository does not have, for the error of a refused login. nil leaves it to pgx, which reads libpq's
	// variables, password file and service file by itself.
	Postgres func(settings map[string]string) (cfg *pgx.ConnConfig, tried []string, err error)
	// Log gets what is worth knowing while it happens; nil for none.
	Log *slog.Logger
	// OnDataset is called after each dataset that was looked at for the schema, and after each that was handed over or
	// passed by, in order, from the goroutine of Schema or Run. It must not block. nil for no calls.
	OnDataset func(Progress)
}

// Progress says how far an extraction is.
type Progress struct {
	Probed int   // datasets looked at for the schema: all of them for Union and Intersect, few otherwise
	Done   int   // datasets dealt with
	Total  int   // datasets in the listing
	Rows   int64 // rows handed over
}

// withDefaults returns a copy in which everything is filled in, or a *UsageError.
func (o Options) withDefaults() (Options, error) {
	if o.DatasetType == "" {
		o.DatasetType = DefaultDatasetType
	}
	if o.TargetColumn == "" {
		o.TargetColumn = DefaultTargetColumn
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Parallel < 0:
		return o, &UsageError{Option: "parallel", Reason: fmt.Sprintf("%d datasets at once cannot be", o.Parallel)}
	case o.Parallel == 0:
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	switch {
	case o.Memory == 0:
		o.Memory = DefaultMemory
	case o.Memory < MinMemory:
		return o, &UsageError{Option: "memory", Reason: fmt.Sprintf("%d bytes are too few, at least %d are needed", o.Memory, MinMemory)}
	}
	if o.MaxRowGroups < 0 {
		return o, &UsageError{Option: "row groups", Reason: fmt.Sprintf("at most %d cannot be", o.MaxRowGroups)}
	}
	if o.SchemaMode > Intersect {
		return o, &UsageError{Option: "schema-mode", Reason: "unknown mode"}
	}
	seen := map[string]bool{}
	for _, c := range o.Columns {
		if c == "" {
			return o, &UsageError{Option: "columns", Reason: "a column without a name"}
		}
		if seen[c] {
			return o, &UsageError{Option: "columns", Reason: fmt.Sprintf("%s is named twice", quoteName(c))}
		}
		seen[c] = true
	}
	if err := checkPathMaps(o.PathMaps); err != nil {
		return o, err
	}
	o.Collections, o.Columns, o.PathMaps = slices.Clone(o.Collections), slices.Clone(o.Columns), slices.Clone(o.PathMaps)
	return o, nil
}
