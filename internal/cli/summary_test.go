package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fast-export/internal/export"
)

func aResult() *export.Result {
	return &export.Result{
		Files: []export.File{
			{
				Path: "obs.parquet", Source: "public.obs_sbn", Rows: 1_000_000, Bytes: 98_765_432, RowGroups: 1, Plan: "42 chunks by ctid",
				Columns: []export.Column{{Name: "ra", Postgres: "numeric", Arrow: "float64", Parquet: "DOUBLE", Inexact: 12_345, Nonfinite: 1}, {Name: "id", Postgres: "bigint"}},
			},
			{Path: "bad.parquet", Source: "SELECT\n1", Err: errors.New("boom"), Rows: 5},
		},
		Snapshot: export.SnapshotInfo{ID: "00000004-0000001F-1", Fingerprint: "758:758:", Server: "15.18", Held: 11 * time.Second},
		Elapsed:  12500 * time.Millisecond, CopyBytes: 345_678_901, TempBytes: 1 << 20, KeptDir: "/tmp/k", Redone: 2, Workers: 4, Warnings: []string{"w"},
	}
}

func TestSummary(t *testing.T) {
	want := `obs.parquet: 1,000,000 rows, 2 columns, 1 row group, 98,765,432 bytes (94 MiB)
  public.obs_sbn: 42 chunks by ctid
  "ra" (numeric): 12,345 inexact, 1 non-finite
1,000,000 rows and 345,678,901 bytes (330 MiB) from the server in 12s: 80,000 rows/s, 26 MiB/s, over 4 connections
snapshot 00000004-0000001F-1 (758:758:) of PostgreSQL 15.18, held 11s
temporary files took 1,048,576 bytes (1.0 MiB) at most
temporary files kept in /tmp/k
counted: 12,346 values that lost something, 2 redone chunks, 1 warning
`
	if got := summary(aResult(), 1); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPlanText(t *testing.T) {
	p := &export.PlanReport{
		Jobs: []export.JobPlan{{
			Out: "o.parquet", Source: "public.obs", Kind: "table", Split: "by ctid", Pages: 1000, HeapBytes: 8_192_000, ToastBytes: 8_192_000, EstRows: 5000, EstBytes: 16_384_000,
			Columns: []export.Column{{Name: "id", Postgres: "bigint", Arrow: "int64", Parquet: "INT64"}, {Name: "long name", Postgres: "text", Arrow: "utf8", Parquet: "STRING", Note: "n"}},
		}},
		SharedBuffersBytes: 16_384_000, ServerBuffersBytes: 134_217_728, Connections: 5, FreeConnections: 97, Server: "15.18",
	}
	for i := range 25 {
		p.Jobs[0].Chunks = append(p.Jobs[0].Chunks, export.ChunkPlan{Relation: "public.obs", Where: "blocks [0,40)", EstBytes: int64(i) << 20})
	}
	want := `public.obs → o.parquet
  kind      table
  split     by ctid
  size      1,000 pages: heap 8,192,000 bytes (7.8 MiB), TOAST 8,192,000 bytes (7.8 MiB), 50% of both
  estimate  5,000 rows, 16,384,000 bytes (16 MiB)
  chunks    25
    0   public.obs     blocks [0,40)  0 B
    1   public.obs     blocks [0,40)  1.0 MiB
    2   public.obs     blocks [0,40)  2.0 MiB
    3   public.obs     blocks [0,40)  3.0 MiB
    4   public.obs     blocks [0,40)  4.0 MiB
    5   public.obs     blocks [0,40)  5.0 MiB
    6   public.obs     blocks [0,40)  6.0 MiB
    7   public.obs     blocks [0,40)  7.0 MiB
    8   public.obs     blocks [0,40)  8.0 MiB
    9   public.obs     blocks [0,40)  9.0 MiB
    10  public.obs     blocks [0,40)  10 MiB
    11  public.obs     blocks [0,40)  11 MiB
    12  public.obs     blocks [0,40)  12 MiB
    13  public.obs     blocks [0,40)  13 MiB
    14  public.obs     blocks [0,40)  14 MiB
    15  public.obs     blocks [0,40)  15 MiB
    16  public.obs     blocks [0,40)  16 MiB
    17  public.obs     blocks [0,40)  17 MiB
    …   6 more chunks
    24  public.obs     blocks [0,40)  24 MiB
  columns   2
    name       postgres  arrow  parquet  note
    id         bigint    int64  INT64
    long name  text      utf8   STRING   n
cost for the server (PostgreSQL 15.18)
  reads through shared_buffers  16,384,000 bytes (16 MiB); it has 134,217,728 bytes (128 MiB)
  connections                   5 of 97 free
`
	if got := planText(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	for range 2 { // the second time it is replaced
		if err := export.ReportDocument.Check(path, export.Config{}); err != nil {
			t.Fatal(err)
		}
		if err := writeReport(path, aResult()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got lossReport
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != 2 || got.Files[0].Rows != 1_000_000 || got.Files[0].Columns[0].Inexact != 12_345 || got.Files[0].Columns[0].Nonfinite != 1 ||
		got.Files[1].Error != "boom" || got.Snapshot != "758:758:" || got.Server != "15.18" || got.Warnings[0] != "w" {
		t.Errorf("got %s", text)
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}
