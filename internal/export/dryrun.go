package export

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/chunker"
	"fast-export/snapshot"
)

// DryRun plans every job of cfg as Run would, locks included, and reads no rows.
//
// Errors are those of Run's planning.
func DryRun(ctx context.Context, cfg Config) (*PlanReport, error) {
	rep := &PlanReport{}
	var err error
	rep.Warnings, err = inSnapshot(ctx, cfg, true, func(r *run, snap *snapshot.Snapshot) error {
		rep.Server = snap.ServerVersion()
		if err := resources(ctx, snap.Conn(), rep); err != nil {
			return fmt.Errorf("ask for the server's resources: %w", err)
		}
		chunks := 0
		for _, j := range r.jobs {
			chunks += j.plan.Len()
			jp := JobPlan{
				Out: j.Out, Source: j.source(), Kind: j.plan.Kind, Split: j.plan.Why,
				Pages: j.plan.Pages, HeapBytes: j.plan.HeapBytes, ToastBytes: j.plan.ToastBytes,
				EstRows: j.plan.EstRows, EstBytes: j.plan.EstBytes, Sampled: j.plan.Sampled, Columns: j.columns(),
			}
			jp.Blocks = map[uint32]int64{}
			for _, s := range j.plan.Sources {
				if s.Scan == chunker.TIDRange || s.Scan == chunker.Placed {
					jp.Blocks[s.Relation.OID] = s.Pages
				}
			}
			for i := range j.plan.Len() {
				c := j.plan.At(i)
				jp.Chunks = append(jp.Chunks, ChunkPlan{Relation: j.plan.Sources[c.Source].Relation.String(), Where: j.plan.Extent(c), EstBytes: c.EstBytes})
			}
			rep.SharedBuffersBytes += j.plan.CacheBytes
			rep.Jobs = append(rep.Jobs, jp)
		}
		rep.Connections = 1 + min(r.cfg.Parallel, chunks)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rep, nil
}

// resources asks what the server has. How many connections are free is not known, -1, to whom pg_stat_activity is not shown: a plan does
// not need it.
func resources(ctx context.Context, conn *pgx.Conn, rep *PlanReport) error {
	const settings = `SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')),
		pg_catalog.current_setting('max_connections')::int - pg_catalog.current_setting('superuser_reserved_connections')::int`
	room := 0 // those that are kept for superusers are free for superusers only; count none of them
	if err := conn.QueryRow(ctx, settings).Scan(&rep.ServerBuffersBytes, &room); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SAVEPOINT resources"); err != nil {
		return err
	}
	used := 0
	err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'").Scan(&used)
	rep.FreeConnections = max(0, room-used)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" { // insufficient privilege
		rep.FreeConnections = -1
		_, err = conn.Exec(ctx, "ROLLBACK TO SAVEPOINT resources")
	}
	return err
}
