package export

import (
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/parquetw"
	"fast-export/typemap"
)

// ManifestVersion is the version of the manifest's form. Fields are added without a new one.
const ManifestVersion = 1

// Manifest is what a run tells about its files, for whoever reads them later. docs/manifest.schema.json is made of these structs: the doc
// tags are its descriptions. A field that is left out where it has no value is one without required in the schema.
type Manifest struct {
	Version     int              `json:"manifest_version" doc:"1; fields are added without a new number"`
	FastExport  string           `json:"fast_export_version" doc:"the program's version"`
	Started     time.Time        `json:"started" doc:"when the run began"`
	Finished    time.Time        `json:"finished" doc:"when the last file stood under its name"`
	Elapsed     float64          `json:"elapsed_seconds" doc:"from the one to the other"`
	Server      ManifestServer   `json:"server" doc:"where the rows come from"`
	Snapshot    ManifestSnapshot `json:"snapshot" doc:"what the rows are a picture of; the same for all files"`
	Settings    ManifestSettings `json:"settings" doc:"how the run was asked to work; what is said of single files is with them"`
	CopyBytes   int64            `json:"copy_bytes" doc:"bytes that the server sent"`
	TempBytes   int64            `json:"temp_bytes" doc:"the most that temporary files took at a time"`
	Connections int              `json:"connections" doc:"that copied"`
	Redone      int              `json:"redone_chunks" doc:"chunks that were started again after a lost connection"`
	Files       []ManifestFile   `json:"files" doc:"one a file, in the order asked for"`
	Warnings    []string         `json:"warnings" doc:"of the whole run, those of its files included"`
}

// ManifestServer is the server of a Manifest.
type ManifestServer struct {
	Version  string `json:"version" doc:"server_version"`
	SystemID string `json:"system_identifier,omitempty" doc:"of the cluster; absent where it may not be read"`
	Host     string `json:"host,omitempty" doc:"as it was asked for; absent where several were"`
	Port     int    `json:"port,omitempty" doc:"with host"`
	Database string `json:"database" doc:"its name"`
	User     string `json:"user" doc:"the role whose rights decided what could be read"`
}

// ManifestSnapshot is the snapshot of a Manifest.
type ManifestSnapshot struct {
	Current  string  `json:"pg_current_snapshot" doc:"pg_current_snapshot(), the same in every connection"`
	ID       string  `json:"id" doc:"the exported snapshot's name, of no use when the run is over"`
	LSN      string  `json:"lsn,omitempty" doc:"the exact position, as the server writes it; absent where the snapshot has none: only a slot's has"`
	Timeline int32   `json:"timeline,omitempty" doc:"with lsn"`
	Slot     string  `json:"slot,omitempty" doc:"the replication slot that was made, and that change capture can go on from"`
	Adopted  bool    `json:"adopted,omitempty" doc:"true where it was exported elsewhere and adopted by --snapshot"`
	Held     float64 `json:"held_seconds" doc:"how long it was held, and vacuum held back by it"`
}

// ManifestSettings are the settings of a Manifest.
type ManifestSettings struct {
	Parallel    int     `json:"parallel" doc:"connections that were to copy"`
	ChunkBytes  int64   `json:"chunk_bytes,omitempty" doc:"heap and TOAST bytes of a chunk; absent where it was chosen, or with gentle"`
	Memory      int64   `json:"memory_bytes" doc:"what rows and pages were to take"`
	TempLimit   int64   `json:"temp_limit_bytes,omitempty" doc:"what temporary files were to take; absent without a limit"`
	Transport   string  `json:"transport" doc:"how rows travelled: csv or binary"`
	LockTimeout float64 `json:"lock_timeout_seconds" doc:"how long to wait for a lock; 0: for ever"`
	RowSecurity bool    `json:"row_security" doc:"true where policies may have filtered rows"`
	Strict      bool    `json:"strict" doc:"true where any loss was to be an error"`
	Gentle      bool    `json:"gentle,omitempty" doc:"true where one connection made one scan of each table"`
	Rate        int64   `json:"rate_bytes_per_second,omitempty" doc:"what the server was to send at most; absent without a limit"`
	MaxAge      float64 `json:"max_snapshot_age_seconds,omitempty" doc:"how long the snapshot was to be held at most; absent without a limit"`
	YieldToDDL  bool    `json:"yield_to_ddl,omitempty" doc:"true where the run was to give way to statements that wait for its locks"`
	Restarts    int     `json:"restarts,omitempty" doc:"how often the run might have begun again; absent where it might not"`
}

// ManifestFile is one file of a Manifest.
type ManifestFile struct {
	Path          string            `json:"path" doc:"as it was asked for: a relative one counts from where the program was started"`
	Source        string            `json:"source" doc:"the qualified relation, or the statement"`
	Where         string            `json:"where,omitempty" doc:"the condition on the relation's rows; absent without one"`
	Error         string            `json:"error,omitempty" doc:"why there is no file; absent where there is one"`
	Rows          int64             `json:"rows" doc:"of the file"`
	Bytes         int64             `json:"bytes" doc:"of the file"`
	RowGroups     int64             `json:"row_groups" doc:"of the file"`
	SHA256        string            `json:"sha256,omitempty" doc:"of the file, in hexadecimal; absent where there is no file"`
	RowGroupRows  int64             `json:"row_group_rows" doc:"rows of each row group but the last"`
	RowGroupBytes int64             `json:"row_group_bytes,omitempty" doc:"what a row group's values were to reach before compression at most; absent without a limit"`
	Compression   string            `json:"compression" doc:"codec and level"`
	Encoding      string            `json:"encoding" doc:"of columns of which encodings says nothing, where their type has it: auto, plain or dictionary"`
	Encodings     map[string]string `json:"encodings,omitempty" doc:"single columns' own encodings"`
	Bloom         []string          `json:"bloom,omitempty" doc:"columns with bloom filters"`
	SortedBy      []string          `json:"sorted_by,omitempty" doc:"columns by which the rows ascend, which was checked"`
	Types         ManifestTypes     `json:"types" doc:"how values were to be represented"`
	Plan          string            `json:"plan" doc:"how it was split into chunks, or why not"`
	Columns       []ManifestColumn  `json:"columns" doc:"one a column, in order"`
	Warnings      []string          `json:"warnings" doc:"of this file"`
}

// ManifestTypes are the type options of a file.
type ManifestTypes struct {
	TypeMap     string            `json:"type_map" doc:"exact or ddpp"`
	Numeric     string            `json:"numeric" doc:"float64, strict, text or decimal(p,s)"`
	Nonfinite   string            `json:"numeric_nonfinite" doc:"error, null or text"`
	Infinity    string            `json:"infinity" doc:"error, null, clamp or text"`
	InvalidUTF8 string            `json:"invalid_utf8" doc:"error, replace or binary"`
	Interval    string            `json:"interval" doc:"struct or duration"`
	Ranges      string            `json:"ranges" doc:"struct or text"`
	TrimBpchar  bool              `json:"trim_bpchar" doc:"true where the padding of char(n) was cut off"`
	Columns     map[string]string `json:"columns,omitempty" doc:"single columns' own types"`
}

// ManifestColumn is one column of a file, with what its values lost.
type ManifestColumn struct {
	Name      string `json:"name" doc:"its name"`
	Postgres  string `json:"postgres_type" doc:"as format_type writes it"`
	Arrow     string `json:"arrow_type" doc:"as Arrow readers see it"`
	Parquet   string `json:"parquet_type" doc:"physical and logical type"`
	Note      string `json:"note,omitempty" doc:"what a reader should know; absent where there is nothing"`
	Inexact   int64  `json:"inexact_values" doc:"values that became a float64 whose shortest decimal is another number"`
	Nonfinite int64  `json:"nonfinite_values" doc:"values that were NaN or infinite in a column that has no such value"`
	Clamped   int64  `json:"clamped_values" doc:"values that became the nearest value that fits"`
	Replaced  int64  `json:"replaced_values" doc:"values that held bytes that are not UTF-8, which U+FFFD replaced"`
	FellBack  int64  `json:"fallen_back_values" doc:"values that became NULL or text by an option"`
}

// NewManifest tells of a run: cfg is what Run was called with, and res what it gave. reason says in a line what an error is.
func NewManifest(cfg Config, res *Result, reason func(error) string) *Manifest {
	parallel, chunkBytes := cfg.spread()
	m := &Manifest{
		Version: ManifestVersion, FastExport: cfg.Version,
		Started: res.Started.UTC(), Finished: res.Started.Add(res.Elapsed).UTC(), Elapsed: res.Elapsed.Seconds(),
		Server: ManifestServer{Version: res.Snapshot.Server, SystemID: res.Snapshot.SystemID, Database: cfg.Conn.Database, User: cfg.Conn.User},
		Snapshot: ManifestSnapshot{
			Current: res.Snapshot.Fingerprint, ID: res.Snapshot.ID, LSN: res.Snapshot.LSN, Timeline: res.Snapshot.Timeline, Slot: res.Snapshot.Slot,
			Adopted: cfg.SnapshotID != "", Held: res.Snapshot.Held.Seconds(),
		},
		Settings: ManifestSettings{
			Parallel: parallel, ChunkBytes: chunkBytes, Memory: cfg.Memory, TempLimit: cfg.TempLimit, Transport: (&run{cfg: cfg}).transport().String(),
			LockTimeout: cfg.LockTimeout.Seconds(), RowSecurity: cfg.RowSecurity, Strict: cfg.Strict,
			Gentle: cfg.Gentle, Rate: cfg.Rate, MaxAge: cfg.MaxSnapshotAge.Seconds(), YieldToDDL: cfg.YieldToDDL, Restarts: cfg.Restarts,
		},
		CopyBytes: res.CopyBytes, TempBytes: res.TempBytes, Connections: res.Workers, Redone: res.Redone,
		Files: []ManifestFile{}, Warnings: append([]string{}, res.Warnings...),
	}
	if m.Settings.ChunkBytes == math.MaxInt64 {
		m.Settings.ChunkBytes = 0
	}
	if m.Server.Database == "" { // libpq's rule
		m.Server.Database = cfg.Conn.User
	}
	m.Server.Host, m.Server.Port = onlyHost(cfg.Conn)
	for _, f := range res.Files {
		m.Files = append(m.Files, manifestFile(f, reason))
	}
	return m
}

// onlyHost is the one host that was to be dialled, "" where there are several.
func onlyHost(c *pgx.ConnConfig) (string, int) {
	for _, f := range c.Fallbacks { // those that differ in TLS alone are no other host
		if f.Host != c.Host || f.Port != c.Port {
			return "", 0
		}
	}
	return c.Host, int(c.Port)
}

func manifestFile(f File, reason func(error) string) ManifestFile {
	out := ManifestFile{
		Path: f.Path, Source: f.Source, Rows: f.Rows, Bytes: f.Bytes, RowGroups: f.RowGroups, SHA256: f.SHA256, Plan: f.Plan,
		Columns: []ManifestColumn{}, Warnings: append([]string{}, f.Warnings...),
	}
	if f.Err != nil {
		out.Error, out.SHA256 = reason(f.Err), ""
	}
	if j := f.Job; j != nil {
		out.Where, out.RowGroupRows, out.Compression, out.Types = j.Where, j.RowGroupRows, j.Compression.String(), manifestTypes(j)
		out.RowGroupBytes, out.Encoding, out.Bloom, out.SortedBy = j.RowGroupBytes, j.Encoding.String(), j.Bloom, j.SortedBy
		for _, m := range []map[string]parquetw.Encoding{j.CommonEncodings, j.Encodings} {
			for name, e := range m {
				if out.Encodings == nil {
					out.Encodings = map[string]string{}
				}
				out.Encodings[name] = e.String()
			}
		}
	}
	for _, c := range f.Columns {
		out.Columns = append(out.Columns, ManifestColumn(c))
	}
	return out
}

func manifestTypes(j *Job) ManifestTypes {
	o := j.Types
	t := ManifestTypes{
		TypeMap:     word(o.TypeMap, typemap.ParseTypeMap, "exact", "ddpp"),
		Numeric:     word(o.Numeric.Mode, modeOf, "float64", "strict", "text"),
		Nonfinite:   word(o.Nonfinite, typemap.ParseNonfinite, "error", "null", "text"),
		Infinity:    word(o.Infinity, typemap.ParseInfinity, "error", "null", "clamp", "text"),
		InvalidUTF8: word(o.InvalidUTF8, typemap.ParseInvalidUTF8, "error", "replace", "binary"),
		Interval:    word(o.Interval, typemap.ParseInterval, "struct", "duration"),
		Ranges:      word(o.Ranges, typemap.ParseRanges, "struct", "text"),
		TrimBpchar:  o.TrimBpchar,
		Columns:     map[string]string{},
	}
	if o.Numeric.Mode == typemap.NumericDecimal {
		t.Numeric = fmt.Sprintf("decimal(%d,%d)", o.Numeric.Precision, o.Numeric.Scale)
	}
	if o.TypeMap == typemap.DDPP { // which decides these
		t.Numeric, t.Interval, t.Ranges = "float64", "duration", "text"
	}
	for _, m := range []map[string]string{j.CommonTypes, o.Columns} {
		for name, kind := range m {
			t.Columns[name] = kind
		}
	}
	return t
}

func modeOf(s string) (typemap.NumericMode, error) {
	n, err := typemap.ParseNumeric(s)
	return n.Mode, err
}

// word is the one of the words that parse reads as v.
func word[V comparable](v V, parse func(string) (V, error), words ...string) string {
	for _, w := range words {
		if p, err := parse(w); err == nil && p == v {
			return w
		}
	}
	return fmt.Sprint(v)
}
