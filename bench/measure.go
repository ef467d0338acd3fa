package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/export"
	"fast-export/parquetw"
	"fast-export/typemap"
)

// Spec is one measured run, in a form that can be sent to another process.
type Spec struct {
	Kind    string  `json:"kind"`
	Setting Setting `json:"setting"`

	Table       string                       `json:"table"`
	Columns     []string                     `json:"columns"`
	Where       string                       `json:"where"`
	SQL         string                       `json:"sql"`
	Types       typemap.Options              `json:"types"`
	Encoding    parquetw.Encoding            `json:"encoding"`
	Encodings   map[string]parquetw.Encoding `json:"encodings"`
	Part        float64                      `json:"part"`
	Blocks      map[uint32]int64             `json:"blocks"` // see export.Config
	Memory      int64                        `json:"memory"`
	LockTimeout time.Duration                `json:"lock_timeout"`
	RowSecurity bool                         `json:"row_security"`
	Version     string                       `json:"version"`

	Dir   string `json:"dir"`   // a private directory for files, which the caller empties
	Bytes int64  `json:"bytes"` // what KindWrite writes
}

// Outcome is what one run measured.
type Outcome struct {
	Rows      int64   `json:"rows"`
	Copied    int64   `json:"copied"`
	Output    int64   `json:"output"`
	Temp      int64   `json:"temp"`
	Workers   int     `json:"workers"`
	Redone    int     `json:"redone"`     // chunks whose rows came twice
	Wall      float64 `json:"wall"`       // s
	ClientCPU float64 `json:"client_cpu"` // s
	ServerCPU float64 `json:"server_cpu"` // s, if Local
	Local     bool    `json:"local"`      // the server's processes were seen
	Socket    bool    `json:"socket"`     // by a socket of this machine
	Peak      int64   `json:"peak"`       // bytes, of this process from its start
	Waits     Waits   `json:"waits"`
}

// stagedBytes is how much of what the server sends is decoded and encoded by itself: enough for a second's work, little enough
// for any machine.
const stagedBytes = 64 << 20

// Measure does one run. Its peak memory is the process's, so that a process should do one run only. What it writes is in
// spec.Dir.
//
// Errors are those of export.Run.
func Measure(ctx context.Context, conn *pgx.ConnConfig, spec Spec) (Outcome, error) {
	var o Outcome
	compression, err := parquetw.ParseCompression(spec.Setting.Compression)
	if err != nil {
		return o, err
	}
	transport, ok := transports[spec.Setting.Transport]
	if !ok {
		return o, fmt.Errorf("transport %q is neither csv nor binary", spec.Setting.Transport)
	}
	cfg := export.Config{
		Conn: conn,
		Jobs: []export.Job{{
			Table: spec.Table, Columns: spec.Columns, Where: spec.Where, SQL: spec.SQL, Out: filepath.Join(spec.Dir, "out.parquet"),
			RowGroupRows: spec.Setting.RowGroupRows, Compression: compression,
			Types: spec.Types, Encoding: spec.Encoding, Encodings: spec.Encodings,
		}},
		Parallel: spec.Setting.Parallel, ChunkBytes: spec.Setting.ChunkBytes, Transport: transport, Part: spec.Part, Blocks: spec.Blocks, Memory: spec.Memory, TempDir: spec.Dir,
		LockTimeout: spec.LockTimeout, RowSecurity: spec.RowSecurity, Version: spec.Version,
	}
	switch spec.Kind {
	case KindExport, KindFloor:
		w := watch(cfg.Conn)
		cfg.Conn = w.hooked
		before := clientCPU()
		if spec.Kind == KindExport {
			var res *export.Result
			if res, err = export.Run(ctx, cfg); err == nil {
				f := res.Files[0]
				o.Rows, o.Output, o.Copied, o.Temp, o.Workers, o.Wall = f.Rows, f.Bytes, res.CopyBytes, res.TempBytes, res.Workers, res.Elapsed.Seconds()
				o.Redone = res.Redone
			}
		} else {
			var res *export.FloorResult
			if res, err = export.Floor(ctx, cfg); err == nil {
				o.Copied, o.Workers, o.Wall = res.CopyBytes, res.Workers, res.Elapsed.Seconds()
			}
		}
		o.ClientCPU = clientCPU() - before
		w.close(&o)
	case KindDecode, KindEncode:
		err = stages(ctx, cfg, spec.Kind, &o)
	case KindWrite:
		before, start := clientCPU(), time.Now()
		err = write(ctx, filepath.Join(spec.Dir, "bytes"), spec.Bytes)
		o.Output, o.Wall, o.ClientCPU = spec.Bytes, time.Since(start).Seconds(), clientCPU()-before
	default:
		err = fmt.Errorf("there is no run of kind %q", spec.Kind)
	}
	o.Peak = peakMemory()
	return o, err
}

var transports = map[string]export.Transport{"csv": export.CSV, "binary": export.Binary}

// stages measures what is done with bytes that are here already.
func stages(ctx context.Context, cfg export.Config, kind string, o *Outcome) error {
	staged, err := export.Stage(ctx, cfg, stagedBytes)
	if err != nil {
		return err
	}
	if kind == KindEncode {
		if err := staged.Decode(true); err != nil {
			return err
		}
	}
	before, start := clientCPU(), time.Now()
	if kind == KindDecode {
		err = staged.Decode(false)
		o.Rows, o.Copied = staged.Rows, staged.CopyBytes
	} else {
		o.Rows, o.Output, err = staged.Encode(ctx, cfg.Jobs[0].Out)
	}
	o.Wall, o.ClientCPU = time.Since(start).Seconds(), clientCPU()-before
	return err
}

// write puts so many bytes, which no file system can compress, into a file and syncs it.
func write(ctx context.Context, path string, bytes int64) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	noise := rand.NewChaCha8([32]byte{})
	block := make([]byte, 1<<20)
	_, _ = noise.Read(block) // never fails
	for bytes > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := f.Write(block[:min(int64(len(block)), bytes)])
		if err != nil {
			return err
		}
		bytes -= int64(n)
	}
	return f.Sync()
}
