package export

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/parquetw"
	"fast-export/typemap"
)

func sample(t *testing.T) (Config, *Result) {
	t.Helper()
	conn, err := pgx.ParseConfig("host=db1 port=5433 dbname=mpc user=me password=hunter2 sslmode=prefer")
	if err != nil {
		t.Fatal(err)
	}
	job := &Job{
		Table: "obs", Where: "ra < 5", Out: "obs.parquet", RowGroupRows: 1000, Compression: parquetw.Compression{Codec: parquetw.Gzip, Level: 9},
		Types: typemap.Options{
			TypeMap: typemap.DDPP, Numeric: typemap.Numeric{Mode: typemap.NumericDecimal, Precision: 20, Scale: 4}, Nonfinite: typemap.NonfiniteText,
			Infinity: typemap.InfinityClamp, InvalidUTF8: typemap.InvalidUTF8Binary, Interval: typemap.IntervalDuration, Ranges: typemap.RangeText, TrimBpchar: true,
			Columns: map[string]string{"ra": "text"},
		},
		CommonTypes: map[string]string{"ra": "strict", "dec": "strict"},
	}
	cfg := Config{Conn: conn, Parallel: 4, ChunkBytes: 1 << 20, Memory: 1 << 30, LockTimeout: time.Minute, Strict: true, Version: "v1.2.3"}
	started := time.Date(2024, 5, 6, 7, 8, 9, 500_000_000, time.FixedZone("", 3600))
	return cfg, &Result{
		Started: started, Elapsed: 1500 * time.Millisecond, CopyBytes: 12345, TempBytes: 678, Workers: 3, Redone: 1, Warnings: []string{"a", "b"},
		Snapshot: SnapshotInfo{ID: "00000003-1", Fingerprint: "752:752:", LSN: "0/1A2B3C4D", Server: "15.6", SystemID: "7", Timeline: 1, Slot: "s", Held: time.Second},
		Files: []File{
			{
				Path: "obs.parquet", Source: "public.obs", Rows: 10, Bytes: 1000, RowGroups: 1, SHA256: strings.Repeat("0f", 32), Plan: "one chunk: it is small", Job: job,
				Warnings: []string{"a"}, Columns: []Column{{"ra", "numeric", "double", "DOUBLE", "a note", 1, 2, 3, 4, 5}},
			},
			{Path: "bad.parquet", Source: "SELECT 1 < 2", SHA256: "stale", Err: errors.New("it failed"), Job: &Job{SQL: "SELECT 1 < 2"}},
		},
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	cfg, res := sample(t)
	m := NewManifest(cfg, res, func(err error) string { return "because " + err.Error() })
	path := filepath.Join(t.TempDir(), "m.json")
	if err := ManifestDocument.Write(path, m); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "manifest_version": 1,
  "fast_export_version": "v1.2.3",
  "started": "2024-05-06T06:08:09.5Z",
  "finished": "2024-05-06T06:08:11Z",
  "elapsed_seconds": 1.5,
  "server": {
    "version": "15.6",
    "system_identifier": "7",
    "host": "db1",
    "port": 5433,
    "database": "mpc",
    "user": "me"
  },
  "snapshot": {
    "pg_current_snapshot": "752:752:",
    "id": "00000003-1",
    "lsn": "0/1A2B3C4D",
    "timeline": 1,
    "slot": "s",
    "held_seconds": 1
  },
  "settings": {
    "parallel": 4,
    "chunk_bytes": 1048576,
    "memory_bytes": 1073741824,
    "transport": "binary",
    "lock_timeout_seconds": 60,
    "row_security": false,
    "strict": true
  },
  "copy_bytes": 12345,
  "temp_bytes": 678,
  "connections": 3,
  "redone_chunks": 1,
  "files": [
    {
      "path": "obs.parquet",
      "source": "public.obs",
      "where": "ra < 5",
      "rows": 10,
      "bytes": 1000,
      "row_groups": 1,
      "sha256": "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
      "row_group_rows": 1000,
      "compression": "gzip:9",
      "encoding": "auto",
      "types": {
        "type_map": "ddpp",
        "numeric": "float64",
        "numeric_nonfinite": "text",
        "infinity": "clamp",
        "invalid_utf8": "binary",
        "interval": "duration",
        "ranges": "text",
        "trim_bpchar": true,
        "columns": {
          "dec": "strict",
          "ra": "text"
        }
      },
      "plan": "one chunk: it is small",
      "columns": [
        {
          "name": "ra",
          "postgres_type": "numeric",
          "arrow_type": "double",
          "parquet_type": "DOUBLE",
          "note": "a note",
          "inexact_values": 1,
          "nonfinite_values": 2,
          "clamped_values": 3,
          "replaced_values": 4,
          "fallen_back_values": 5
        }
      ],
      "warnings": [
        "a"
      ]
    },
    {
      "path": "bad.parquet",
      "source": "SELECT 1 < 2",
      "error": "because it failed",
      "rows": 0,
      "bytes": 0,
      "row_groups": 0,
      "row_group_rows": 0,
      "compression": "zstd:1",
      "encoding": "auto",
      "types": {
        "type_map": "exact",
        "numeric": "float64",
        "numeric_nonfinite": "error",
        "infinity": "error",
        "invalid_utf8": "error",
        "interval": "struct",
        "ranges": "struct",
        "trim_bpchar": false
      },
      "plan": "",
      "columns": [],
      "warnings": []
    }
  ],
  "warnings": [
    "a",
    "b"
  ]
}
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
	var back Manifest
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	m.Files[1].Types.Columns = nil // empty and absent are one in JSON
	if !reflect.DeepEqual(&back, m) {
		t.Errorf("read back\n%+v\nof\n%+v", back, *m)
	}
	if strings.Contains(string(got), "hunter2") {
		t.Error("the password is in it")
	}
}

// The manifest tells what a gentle run did, not what it would have done otherwise.
func TestManifestOfAGuest(t *testing.T) {
	t.Parallel()
	cfg, res := sample(t)
	cfg.Gentle, cfg.Rate, cfg.MaxSnapshotAge, cfg.YieldToDDL, cfg.Restarts = true, 1000, time.Hour, true, 2
	got := NewManifest(cfg, res, error.Error).Settings
	want := ManifestSettings{
		Parallel: 1, Memory: 1 << 30, Transport: "binary", LockTimeout: 60, Strict: true,
		Gentle: true, Rate: 1000, MaxAge: 3600, YieldToDDL: true, Restarts: 2,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestManifestOfOtherRuns(t *testing.T) {
	t.Parallel()
	cfg, res := sample(t)
	cfg.KeepTemp, cfg.SnapshotID, cfg.Conn.Database = true, "00000003-1", ""
	cfg.Conn.Fallbacks[0].Host = "db2"
	m := NewManifest(cfg, res, error.Error)
	if m.Settings.Transport != "csv" || !m.Snapshot.Adopted || m.Server.Host != "" || m.Server.Port != 0 || m.Server.Database != "me" {
		t.Errorf("got %+v", m)
	}
}

func TestManifestIsReplacedWhole(t *testing.T) {
	t.Parallel()
	cfg, res := sample(t)
	m := NewManifest(cfg, res, error.Error)
	dir := t.TempDir()
	path := filepath.Join(dir, "m.json")
	for range 2 {
		if err := ManifestDocument.Check(path, Config{}); err != nil {
			t.Fatal(err)
		}
		if err := ManifestDocument.Write(path, m); err != nil {
			t.Fatal(err)
		}
	}
	// Where it can't be written nothing is left, and the old one stands.
	wrong := *m
	wrong.Elapsed = 1 / zero
	if err := ManifestDocument.Write(path, &wrong); err == nil {
		t.Error("a manifest that is no JSON was written")
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o777); err != nil {
		t.Fatal(err)
	}
	err := ManifestDocument.Write(filepath.Join(dir, "d"), m)
	if me, ok := errors.AsType[*DocumentError](err); !ok || me.Path != filepath.Join(dir, "d") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "out"), []byte("PAR1"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := ManifestDocument.Write(filepath.Join(dir, "out"), m); err == nil || !strings.HasSuffix(err.Error(), "no manifest: name another file, or remove it") {
		t.Errorf("got %v", err)
	}
	if err := ManifestDocument.Write(filepath.Join(dir, "none", "m.json"), m); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != "d m.json out" {
		t.Errorf("left are %q", names)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o600 != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

var zero float64

func TestCheckManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"text": "hello", "empty": "", "config.yaml": "exports: []", "other.json": `{"manifest_version": 1}`, "out.parquet": "PAR1"} {
		if err := os.WriteFile(at(name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.Mkdir(at("dir"), 0o777), os.Symlink("text", at("link")), os.Link(at("out.parquet"), at("hard"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	jobs := []Job{{Out: at("new.parquet")}, {Out: at("out.parquet")}}
	for name, want := range map[string]string{
		"fine.json":         "",
		"x/../new.parquet":  "it is an output too",
		"out.parquet":       "it is an output too",
		"hard":              "it is the output " + at("out.parquet") + " too",
		"text":              "it is there already and no manifest: name another file, or remove it",
		"empty":             "it is there already and no manifest: name another file, or remove it",
		"config.yaml":       "it is there already and no manifest: name another file, or remove it",
		"other.json":        "it is there already and no manifest: name another file, or remove it",
		"dir":               "it is there already and no regular file",
		"link":              "it is there already and no regular file",
		"none/m.json":       "no such file or directory",
		"text/m.json":       "not a directory",
		"dir/../fine2.json": "",
	} {
		path := dir + "/" + name
		err := ManifestDocument.Check(path, Config{Jobs: jobs})
		switch {
		case want == "" && err != nil, want != "" && (err == nil || err.Error() != "manifest "+path+": "+want):
			t.Errorf("%s: got %v", name, err)
		}
	}
	if left, err := filepath.Glob(at(".*")); err != nil || len(left) > 0 {
		t.Errorf("left are %q, %v", left, err)
	}
}
