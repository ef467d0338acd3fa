package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// Slot asks for a snapshot at one exact LSN, by creating a logical replication slot that exports it.
type Slot struct {
	Name      string        // "" with Temporary: a name is made up
	Plugin    string        // output plugin; "": pgoutput
	Temporary bool          // gone with the connection: for the LSN alone
	Timeout   time.Duration // creation waits for every open write transaction; 0: no limit
}

// Enabled tells whether a slot is wanted at all.
func (s Slot) Enabled() bool { return s.Name != "" || s.Temporary }

// SlotError is a slot that could not be made.
type SlotError struct {
	Name    string
	Reason  string
	Waiting []string // one line a transaction that creation waited for
	Err     error
}

func (e *SlotError) Error() string {
	s := fmt.Sprintf("create replication slot %s: %s", e.Name, e.Reason)
	if len(e.Waiting) > 0 {
		s += "; it waits for " + strings.Join(e.Waiting, "; ")
	}
	return s
}

// Unwrap gives the server's error.
func (e *SlotError) Unwrap() error { return e.Err }

// slotHolder owns the replication connection. Its next command would destroy the snapshot: it gets none but the drop.
type slotHolder struct {
	conn     *pgconn.PgConn
	cfg      *pgx.ConnConfig
	name     string
	keep     bool // set on success: the slot stays
	made     bool // a permanent slot that we made and have not dropped
	snapshot ID
	lsn      string
	timeline int32
	log      *slog.Logger
	seen     string // restart_lsn of the slot that our walsender held while it was made; "": not seen
}

const poolerBetween = "a pooler is in between, which carries no replication connection: connect to the server itself"

func createSlot(ctx context.Context, pinned *pgx.ConnConfig, coord *pgx.Conn, server identity, opt Slot, log *slog.Logger) (_ *slotHolder, err error) {
	if opt.Plugin == "" {
		opt.Plugin = "pgoutput"
	}
	if opt.Name == "" {
		opt.Name = fmt.Sprintf("fast_export_%d_%d", coord.PgConn().PID(), time.Now().Unix())
	}
	if err := slotPossible(ctx, coord, server, opt.Name); err != nil {
		return nil, err
	}
	cfg := pinned.Copy()
	cfg.RuntimeParams["replication"] = "database"
	// The walsender is idle inside the transaction while the workers adopt: no timeout may end it. Only as start-up options.
	cfg.RuntimeParams["options"] = strings.TrimSpace(cfg.RuntimeParams["options"] + " -c idle_in_transaction_session_timeout=0 -c statement_timeout=0")
	// A context that ends asks the server to stop, whose answer then says whether there is a slot. A connection that is closed at once
	// would leave a walsender behind that goes on waiting, and makes its slot in the end.
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: answerTime}
	}
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) {
			if pg.Code == "08P01" { // PgBouncer's, of the start-up parameter
				return nil, &SlotError{Name: opt.Name, Reason: poolerBetween, Err: err}
			}
			err = pg
		}
		return nil, &SlotError{Name: opt.Name, Reason: "no replication connection: " + err.Error() + " (the role needs REPLICATION, and pg_hba.conf a line for it)", Err: err}
	}
	h := &slotHolder{conn: conn, cfg: pinned, name: opt.Name, log: log}
	unsure := false
	defer func() {
		if err != nil {
			h.release(ctx)
			if unsure {
				h.reclaim(ctx)
			}
		}
	}()
	// First, because the next command after the creation ends the snapshot.
	sys, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "42601" { // it came to an ordinary session
			return nil, &SlotError{Name: opt.Name, Reason: poolerBetween, Err: err}
		}
		return nil, &SlotError{Name: opt.Name, Reason: "identify the system: " + err.Error(), Err: err}
	}
	h.timeline = sys.Timeline
	wait, cancel := ctx, context.CancelFunc(func() {})
	if opt.Timeout > 0 {
		wait, cancel = context.WithTimeout(ctx, opt.Timeout)
	}
	defer cancel()
	look := h.lookOut(ctx, coord)
	res, err := pglogrepl.CreateReplicationSlot(wait, conn, opt.Name, opt.Plugin, pglogrepl.CreateReplicationSlotOptions{
		Temporary: opt.Temporary, SnapshotAction: "EXPORT_SNAPSHOT", Mode: pglogrepl.LogicalReplication,
	})
	look()
	if err != nil {
		// A refusal is sure. Of a cancellation, of a session's end and of no answer at all nobody knows whether the slot was there by then.
		var pg *pgconn.PgError
		unsure = !errors.As(err, &pg) || pg.Code == "57014" || pg.SeverityUnlocalized != "ERROR"
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e := &SlotError{Name: opt.Name, Reason: err.Error(), Err: err}
		if pg != nil && (pg.Code == "58P01" || strings.Contains(pg.Message, "_PG_output_plugin_init")) {
			e.Reason = fmt.Sprintf("the server has no output plugin %s (--plugin)", opt.Plugin)
		}
		if wait.Err() != nil || pg != nil && pg.Code == "57014" {
			e.Reason = fmt.Sprintf("not done within %s", opt.Timeout)
			e.Waiting = writers(context.WithoutCancel(ctx), coord)
			e.Err = nil // its words are about a cancellation that was ours
		}
		return nil, e
	}
	h.made = !opt.Temporary
	h.snapshot, h.lsn = ID(res.SnapshotName), res.ConsistentPoint
	return h, nil
}

// slotPossible names what is missing before anything is tried.
func slotPossible(ctx context.Context, conn *pgx.Conn, server identity, name string) error {
	var level string
	var slots, used, senders, sending int
	var exists, may bool
	err := conn.QueryRow(ctx, `SELECT current_setting('wal_level'), current_setting('max_replication_slots')::int,
		(SELECT count(*) FROM pg_catalog.pg_replication_slots)::int, current_setting('max_wal_senders')::int,
		(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender')::int,
		EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1),
		(SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)`, name).
		Scan(&level, &slots, &used, &senders, &sending, &exists, &may)
	if err != nil {
		return fmt.Errorf("look whether a slot can be made: %w", err)
	}
	reason := ""
	switch {
	case exists:
		reason = "a slot of that name exists already; it stays as it is"
	case level != "logical":
		reason = "the server's wal_level is " + level + ", not logical"
	case used >= slots:
		reason = fmt.Sprintf("all %d replication slots are taken (max_replication_slots)", slots)
	case sending >= senders:
		reason = fmt.Sprintf("all %d walsenders are taken (max_wal_senders)", senders)
	case server.standby && server.num < 160000:
		reason = "the server is a standby, which can make logical slots from PostgreSQL 16 on"
	case !may:
		reason = "the role lacks REPLICATION"
	default:
		return nil
	}
	return &SlotError{Name: name, Reason: reason}
}

// writers lists the transactions that a slot's creation waits for, oldest first.
func writers(ctx context.Context, conn *pgx.Conn) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rows, err := conn.Query(ctx, `
		SELECT format('pid %s (%s, %s, in transaction for %s s): %s', pid, usename, state, round(extract(epoch FROM now() - xact_start)), left(query, 60))
		FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
		UNION ALL SELECT format('prepared transaction %s of %s', gid, owner) FROM pg_catalog.pg_prepared_xacts LIMIT 5`)
	if err != nil {
		return nil
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil
	}
	return out
}

// release ends the replication connection, and with it the slot's snapshot and a temporary slot.
func (h *slotHolder) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = h.conn.Close(ctx) // a connection that is gone already is as good
}

// drop removes a slot that must not stay: it would hold back WAL for ever.
func (h *slotHolder) drop(ctx context.Context) {
	if !h.made || h.keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, h.cfg)
	if err != nil {
		return
	}
	defer closeConn(ctx, conn)
	// The walsender may need a moment to let go of the slot.
	for ctx.Err() == nil {
		_, err := conn.Exec(ctx, "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", h.name)
		if err == nil {
			h.made = false
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// answerTime is how long the server may take to answer to a cancellation.
const answerTime = 5 * time.Second

// lookOut looks by conn, until the function that it returns is called, which slot our walsender holds: should the answer to its creation
// be lost, that alone tells our slot from one that somebody else made under the name. conn is the caller's again after that.
func (h *slotHolder) lookOut(ctx context.Context, conn *pgx.Conn) (done func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for pause := 2 * time.Millisecond; h.seen == ""; pause = min(2*pause, 250*time.Millisecond) {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-time.After(pause):
				if h.look(ctx, conn) != nil {
					return // reclaim looks by a connection of its own
				}
			}
		}
	}()
	return func() { close(stop); <-ended }
}

// look sees whether our walsender holds the slot.
func (h *slotHolder) look(ctx context.Context, conn *pgx.Conn) error {
	err := conn.QueryRow(ctx, "SELECT restart_lsn::text FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND active_pid = $2 AND restart_lsn IS NOT NULL",
		h.name, int32(h.conn.PID())).Scan(&h.seen)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// reclaim sees to it that nothing is left of a creation whose answer was lost or is not sure: no walsender that goes on waiting, and no
// slot, which would hold back WAL for ever. What may be somebody else's slot stays, and a log line names it.
func (h *slotHolder) reclaim(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, h.cfg)
	if err == nil {
		defer closeConn(ctx, conn)
		if err = h.endWalsender(ctx, conn); err == nil {
			err = h.dropSeen(ctx, conn)
		}
	}
	if err != nil {
		h.log.Error("whether a replication slot was left behind is not known: if there is one and it is nobody's, drop it, it holds back WAL", "slot", h.name, "cause", err)
	}
}

// endWalsender ends our walsender, which does not notice while it waits that its client is gone.
func (h *slotHolder) endWalsender(ctx context.Context, conn *pgx.Conn) error {
	for {
		if h.seen == "" {
			if err := h.look(ctx, conn); err != nil {
				return err
			}
		}
		var ended int
		err := conn.QueryRow(ctx, `SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
			WHERE pid = $1 AND backend_type = 'walsender' AND usename = session_user AND application_name = current_setting('application_name')`,
			int32(h.conn.PID())).Scan(&ended)
		if err != nil || ended == 0 {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// dropSeen drops the slot that our walsender was seen to hold. One of the name that begins elsewhere was made by somebody else since.
func (h *slotHolder) dropSeen(ctx context.Context, conn *pgx.Conn) error {
	for {
		var ours, active bool
		err := conn.QueryRow(ctx, "SELECT coalesce(restart_lsn::text = $2, false), active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", h.name, h.seen).
			Scan(&ours, &active)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil
		case err != nil:
			return err
		case !ours:
			return errors.New("there is a slot of that name, which was not seen in our hands")
		case !active:
			// It may have been taken up just now: then this is an error, and the next look tells.
			_, _ = conn.Exec(ctx, "SELECT pg_catalog.pg_drop_replication_slot($1)", h.name)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// LSN is the exact position of the snapshot, "" without a slot.
func (s *Snapshot) LSN() string {
	if s.slot == nil {
		return ""
	}
	return s.slot.lsn
}

// Timeline is the server's timeline when a slot was made, 0 without one.
func (s *Snapshot) Timeline() int32 {
	if s.slot == nil {
		return 0
	}
	return s.slot.timeline
}

// SlotName is the name of the slot that stays when all goes well, "" without one.
func (s *Snapshot) SlotName() string {
	if s.slot == nil || !s.slot.made {
		return ""
	}
	return s.slot.name
}

// KeepSlot says that the run succeeded: the slot stays when the Snapshot is closed.
func (s *Snapshot) KeepSlot() {
	if s.slot != nil {
		s.slot.keep = true
	}
}
