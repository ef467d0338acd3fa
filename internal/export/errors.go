package export

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/typemap"
)

// PartialError says that some files of a run failed and the others are there. Result.Files has the causes.
type PartialError struct {
	Failed, Total int
	First         error // of the failed, in the order of the files
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d exports failed; the first: %v", e.Failed, e.Total, e.First)
}

// Unwrap gives the first failure.
func (e *PartialError) Unwrap() error { return e.First }

// ConfigError is a Config that makes no sense.
type ConfigError struct{ Reason string }

func (e *ConfigError) Error() string { return e.Reason }

// CommonColumnError is a choice for a column of several jobs, of CommonTypes or CommonEncodings, that no job has.
type CommonColumnError struct{ Choice, Column string } // "type" or "encoding"

func (e *CommonColumnError) Error() string {
	article := "a "
	if e.Choice == "encoding" {
		article = "an "
	}
	return fmt.Sprintf("%s%s is chosen for column %q, which none of the exports has", article, e.Choice, e.Column)
}

// RowGroupsError is a file that would have more row groups than Parquet can number.
type RowGroupsError struct {
	Path      string
	EstRows   int64
	GroupRows int64
}

func (e *RowGroupsError) Error() string {
	path := e.Path
	if path == "" { // of a bench
		path = "the file"
	}
	return fmt.Sprintf("%s would have about %d row groups of %d rows, more than Parquet's 32,767", path, (e.EstRows+e.GroupRows-1)/e.GroupRows, e.GroupRows)
}

// RowError is a value that can't be represented, with the place of its row.
type RowError struct {
	Relation string // qualified, or "the statement"
	Place    string // "ctid (12,3)" or "row 17"
	Err      *typemap.ValueError
}

func (e *RowError) Error() string {
	return fmt.Sprintf("%s, %s: %s", e.Relation, e.Place, e.Err.Placeless())
}

// Unwrap gives the decoder's error.
func (e *RowError) Unwrap() error { return e.Err }

// ServerError is a row that the server can't send as it was asked to.
type ServerError struct {
	Relation string // as in RowError
	Place    string
	Hint     string
	Err      *pgconn.PgError
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("%s, %s: %s (SQLSTATE %s)", e.Relation, e.Place, e.Err.Message, e.Err.Code)
}

// Unwrap gives the server's error.
func (e *ServerError) Unwrap() error { return e.Err }

// SnapshotAgeError ends a run whose snapshot was held too long.
type SnapshotAgeError struct{ Limit time.Duration }

func (e *SnapshotAgeError) Error() string {
	return fmt.Sprintf("the snapshot was held longer than %s", e.Limit)
}

// YieldError ends a run that gives way to somebody whose statement waits behind its locks.
type YieldError struct{ Who string }

func (e *YieldError) Error() string { return "giving way to " + e.Who }
