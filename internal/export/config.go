package export

import (
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/chunker"
	"fast-export/internal/progress"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

// Transport is how rows travel from the server.
type Transport uint8

// The transports. Auto is CSV where the chunks' files are kept, because people look into them, and binary otherwise.
const (
	Auto Transport = iota
	CSV
	Binary
)

// Config is one run: some relations or statements of one database, from one snapshot, each to one file. It is complete
// and typed; nothing below reads a flag or the environment. The zero value of a field is its default unless said
// otherwise.
type Config struct {
	Conn *pgx.ConnConfig // whom to dial; not changed
	Jobs []Job           // files come out in this order in Result
	// Schema stands in place of Jobs, which are listed when the server can be asked. Exactly one of the two is given.
	Schema *Schema

	Parallel    int           // connections that COPY, at least 1; fewer when there are fewer chunks
	ChunkBytes  int64         // heap and TOAST bytes of a chunk; 0: chosen so that all connections end together
	Memory      int64         // bytes that rows and finished pages may take
	TempDir     string        // "": beside the first target
	TempLimit   int64         // bytes of temp files; 0: what the file system has
	KeepTemp    bool          // every chunk goes to a file too, and the files stay
	BlockSize   int64         // the most that the CSV reader works on at a time; 0: no limit
	Transport   Transport     //
	SnapshotID  string        // adopt this exported snapshot in place of taking one
	Slot        snapshot.Slot // take the snapshot by creating this replication slot; zero: don't
	LockTimeout time.Duration // for a lock; 0: wait for ever
	RowSecurity bool          // let row security policies filter rows; false: they are an error
	FailFast    bool          // the first job that fails stops the others, and no file is written; one that can't get its name at the end stops those behind it
	NameJobs    bool          // an error about a job is a *JobError also where there is one job

	Gentle         bool          // one connection, and one sequential scan a relation, which keeps to a small ring of the server's cache
	Rate           int64         // bytes a second that the server may send, over all connections; 0: no limit
	MaxSnapshotAge time.Duration // the run stops when the snapshot is held longer; 0: no limit
	YieldToDDL     bool          // the run stops when somebody's statement waits behind its locks
	Restarts       int           // how often the run may begin again with a new snapshot when the snapshot is lost
	Strict         bool          // any counted loss is an error
	Hash           bool          // each file's SHA-256 goes to its File
	// Part, if not 0, reads this part alone of the blocks of what is cut by blocks, always the same ones: for a bench, whose files nobody
	// keeps. JobPlan.Sampled tells whether it could be done.
	Part float64
	// Blocks, beside Part, are how many blocks of a relation are read, by its OID, in place of the part: JobPlan.Blocks of an earlier plan, so
	// that later ones have the same blocks although the relation has grown.
	Blocks map[uint32]int64

	Progress progress.Reporter // nil: silent
	Log      *slog.Logger      // nil: discarded
	Version  string            // fast-export's own version, for files' metadata
}

// Job is one file. Exactly one of SQL and Table is set.
type Job struct {
	SQL     string   // a statement that gives rows and changes nothing
	Table   string   // a relation's name as SQL writes it
	Columns []string // with Table: columns as SQL writes them, in this order; nil: all
	Where   string   // with Table: a condition; "": all rows

	Chunk    chunker.Hint // how to split it
	Parallel int          // at most so many of the run's connections copy it at a time; 0: all of them

	Out          string             // path of the file
	Overwrite    parquetw.Overwrite // what may be replaced
	RowGroupRows int64              // rows of a row group
	// RowGroupBytes is as parquetw.Options has it: what a row group's values may reach before compression; 0: no limit.
	RowGroupBytes int64
	Compression   parquetw.Compression
	Encoding      parquetw.Encoding            // of columns of which Encodings says nothing, where they can have it
	Encodings     map[string]parquetw.Encoding // single columns' own
	Bloom         []string                     // columns with bloom filters
	SortedBy      []string                     // columns by which the rows ascend, which is checked
	Types         typemap.Options              // how values are represented
	// CommonTypes are of the same kind as Types.Columns, which win over them: what is said for several jobs at once. A job need not have
	// such a column; one that no job has is an error.
	CommonTypes map[string]string
	// CommonEncodings are to Encodings what CommonTypes are to Types.Columns.
	CommonEncodings map[string]parquetw.Encoding
}

// Result is what a run did.
type Result struct {
	Files     []File
	Snapshot  SnapshotInfo
	Started   time.Time
	Elapsed   time.Duration
	CopyBytes int64    // bytes that the server sent, in all attempts where the run began again
	TempBytes int64    // the most that temp files took at a time
	KeptDir   string   // where KeepTemp left the chunks' files, "" without
	Redone    int      // chunks started again after a lost connection
	Workers   int      // connections that copied at a time
	Warnings  []string // each a sentence, without "warning:"
}

// SnapshotInfo says what the rows are a picture of.
type SnapshotInfo struct {
	ID          string        // the exported snapshot's name
	Fingerprint string        // pg_current_snapshot(), the same in every worker
	LSN         string        // the exact position, "" where the snapshot has none
	Server      string        // server_version
	SystemID    string        // system identifier of the cluster, "" where it may not be read
	Timeline    int32         // of the cluster when the slot was made, 0 without one
	Slot        string        // the slot that was made and stays, "" without one
	Held        time.Duration // how long it was held
}

// File is one output.
type File struct {
	Path      string
	Source    string // the statement or the qualified table name
	Rows      int64
	Bytes     int64
	RowGroups int64
	SHA256    string // of the file, in hexadecimal; "" unless Config.Hash asked for it
	Plan      string // one line: how it was split, or why not
	Columns   []Column
	Warnings  []string // of this file; Result.Warnings has them too
	Job       *Job     // what asked for it
	Err       error    // what went wrong with this file; nil: it is there
}

// Column is one column of a File.
type Column struct {
	Name                                            string
	Postgres                                        string // as format_type writes it
	Arrow                                           string
	Parquet                                         string
	Note                                            string // what a reader should know, or ""
	Inexact, Nonfinite, Clamped, Replaced, FellBack int64  // values, see column.Counts
}

// PlanReport is what a dry run tells. No row was read.
type PlanReport struct {
	Jobs []JobPlan
	// What the run would cost the server.
	SharedBuffersBytes int64  // what the scans would read through shared_buffers
	ServerBuffersBytes int64  // the size of shared_buffers
	Connections        int    // that the run would open, all kinds
	FreeConnections    int    // that the server has left for this user; -1: not to be known
	Server             string // server_version
	// Warnings are those that the run would give before its first row.
	Warnings []string
}

// JobPlan is the plan of one file.
type JobPlan struct {
	Out                          string
	Source                       string // qualified relation name or the statement
	Kind                         string // "table", "partitioned table", "view", "statement", …
	Split                        string // how it is split or why not
	Pages, HeapBytes, ToastBytes int64
	EstRows, EstBytes            int64
	Sampled                      bool             // Config.Part was done: sizes and estimates are those of the part
	Blocks                       map[uint32]int64 // of each relation that is cut by blocks, by its OID, how many are read
	Chunks                       []ChunkPlan
	Columns                      []Column
}

// ChunkPlan is one chunk of a JobPlan.
type ChunkPlan struct {
	Relation string
	Where    string // "blocks [0,1024)" or "all"
	EstBytes int64
}
