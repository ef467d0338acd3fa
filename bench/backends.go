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

	mu     sync.Mutex
	procs  []*backend
	master uint32  // the process that started all of them, 0 where they have none in common
	before float64 // s of CPU: what master's children that had ended by the first connection had used
	waits  Waits
}

type backend struct {
	pid    uint32
	mine   bool    // on this machine, and seen to be a server's process
	socket bool    // reached by a Unix socket
	cpu    float64 // s, when last looked at
	missed float64 // s of its life at most that cpu does not count, from the last look to its end
	seen   time.Time
	gone   bool
}

// watch begins. close ends it, when the run's connections are closed.
func watch(conn *pgx.ConnConfig) *watcher {
	w := &watcher{hooked: conn.Copy(), plain: conn.Copy()}
	before := conn.AfterConnect
	w.hooked.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error {
		b := &backend{pid: c.PID(), mine: sameHost(c.Conn()) && isBackend(c.PID(), conn.User), socket: c.Conn().RemoteAddr().Network() == "unix", seen: time.Now()}
		w.mu.Lock()
		w.know(b)
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

// know adds a process. w.mu is held.
func (w *watcher) know(b *backend) {
	w.procs = append(w.procs, b)
	if !b.mine {
		return
	}
	master := parent(b.pid)
	if len(w.procs) == 1 {
		ended, ok := endedCPU(master)
		if w.before = ended; ok {
			w.master = master
		}
	} else if master != w.master {
		w.master = 0
	}
}

// lastLook is how long after a run its processes may take to end.
const lastLook = time.Second

// close notes the CPU time of the processes, whether all of them were seen, and what they were at.
func (w *watcher) close(o *Outcome) {
	for end := time.Now().Add(lastLook); !w.allGone() && time.Now().Before(end); {
		time.Sleep(lookEvery / 4)
	}
	o.ServerCPU = w.cpu() // before what asks for the waits has ended, which is another one of the server's processes
	w.stop()
	w.done.Wait()
	o.Local, o.Socket, o.Waits = len(w.procs) > 0, len(w.procs) > 0, w.waits
	for _, b := range w.procs {
		o.Local, o.Socket = o.Local && b.mine, o.Socket && b.socket
	}
	if !o.Local {
		o.ServerCPU = 0
	}
}

// allGone looks again, and tells whether all processes of this machine have ended.
func (w *watcher) allGone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.update()
	for _, b := range w.procs {
		if b.mine && !b.gone {
			return false
		}
	}
	return true
}

// cpu is the CPU time of the processes in seconds. A process is looked at every 10 ms, and what it does from the last look to its end
// is missed: with many connections, that is most. Their parent counts its ended children, to the tick, but other sessions' too. So the
// sum of the looks is the least, and with the time that nobody looked the most, between which the parent's count is taken.
func (w *watcher) cpu() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	least, most := 0.0, 0.0
	for _, b := range w.procs {
		least += b.cpu
		most += b.cpu + b.missed
	}
	ended, ok := endedCPU(w.master)
	if w.master == 0 || !ok {
		return least
	}
	for _, b := range w.procs { // what has not ended yet
		if !b.gone {
			ended += b.cpu
		}
	}
	return min(max(ended-w.before, least), most)
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
		w.update()
		w.mu.Unlock()
	}
}

// update looks at every process once. w.mu is held.
func (w *watcher) update() {
	for _, b := range w.procs {
		if !b.mine || b.gone {
			continue
		}
		now := time.Now()
		cpu, ok := processCPU(b.pid)
		if !ok || cpu < b.cpu { // another one has its number
			b.gone = true
			b.missed += now.Sub(b.seen).Seconds()
			continue
		}
		b.cpu, b.seen = cpu, now
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
