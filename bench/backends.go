package bench

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// How often the server's processes are looked at: their CPU time, which is lost when they end, and what they wait for, which
// costs a query.
const (
	lookEvery = 10 * time.Millisecond
	askEvery  = 50 * time.Millisecond
)

// watcher looks at the server's processes of a run while it goes on.
type watcher struct {
	hooked *pgx.ConnConfig // for the run: its connections become known
	plain  *pgx.ConnConfig // for the question what they wait for
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	procs []*backend
	waits Waits
}

type backend struct {
	pid    uint32
	mine   bool    // on this machine, and seen to be a server's process
	socket bool    // reached by a Unix socket
	cpu    float64 // s, when last looked at
}

// watch begins. close ends it, when the run's connections are closed.
func watch(conn *pgx.ConnConfig) *watcher {
	w := &watcher{hooked: conn.Copy(), plain: conn.Copy()}
	before := conn.AfterConnect
	w.hooked.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error {
		b := &backend{pid: c.PID(), mine: sameHost(c.Conn()) && isBackend(c.PID(), conn.User), socket: c.Conn().RemoteAddr().Network() == "unix"}
		w.mu.Lock()
		w.procs = append(w.procs, b)
		w.mu.Unlock()
		if before != nil {
			return before(ctx, c)
		}
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.done.Go(func() { w.look(ctx) })
	w.done.Go(func() { w.ask(ctx) })
	return w
}

// close notes the CPU time of the processes, whether all of them were seen, and what they were at.
func (w *watcher) close(o *Outcome) {
	w.stop()
	w.done.Wait()
	o.Local, o.Socket, o.Waits = len(w.procs) > 0, len(w.procs) > 0, w.waits
	for _, b := range w.procs {
		o.ServerCPU += b.cpu
		o.Local, o.Socket = o.Local && b.mine, o.Socket && b.socket
	}
	if !o.Local {
		o.ServerCPU = 0
	}
}

// look notes CPU times until ctx ends.
func (w *watcher) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for _, b := range w.procs {
			if !b.mine {
				continue
			}
			if cpu, ok := processCPU(b.pid); ok && cpu > b.cpu {
				b.cpu = cpu
			}
		}
		w.mu.Unlock()
	}
}

// waitsQuery tells what processes that copy or have copied are at. Source: the manual's section "pg_stat_activity".
const waitsQuery = `SELECT pg_catalog.count(*) FILTER (WHERE state = 'active' AND wait_event_type IS NULL),
	pg_catalog.count(*) FILTER (WHERE state = 'active' AND wait_event = 'ClientWrite'),
	pg_catalog.count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'IO'),
	pg_catalog.count(*) FILTER (WHERE state = 'active' AND wait_event_type <> 'IO' AND wait_event <> 'ClientWrite'),
	pg_catalog.count(*) FILTER (WHERE state <> 'active')
FROM pg_catalog.pg_stat_activity WHERE pid = ANY ($1::int[]) AND query LIKE 'COPY (%'`

// ask counts what the processes are at until ctx ends. It is a courtesy: without a connection for it nothing is known.
func (w *watcher) ask(ctx context.Context) {
	w.plain.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may stand between
	conn, err := pgx.ConnectConfig(ctx, w.plain)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing was written
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var pids []int32
		w.mu.Lock()
		for _, b := range w.procs {
			pids = append(pids, int32(b.pid))
		}
		w.mu.Unlock()
		var seen Waits
		if err := conn.QueryRow(ctx, waitsQuery, pids).Scan(&seen.Running, &seen.Sending, &seen.Reading, &seen.Other, &seen.Idle); err != nil {
			return
		}
		w.mu.Lock()
		w.waits.add(seen)
		w.mu.Unlock()
	}
}

// sameHost tells whether a connection seems to lead to this machine. A tunnel or a container does too: isBackend asks further.
func sameHost(c net.Conn) bool {
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return c.RemoteAddr().Network() == "unix"
	}
	local, ok := c.LocalAddr().(*net.TCPAddr)
	return remote.IP.IsLoopback() || ok && local.IP.Equal(remote.IP)
}
