package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ID is the name of an exported snapshot, such as 00000003-0000001B-1.
type ID string

// Relation is one relation to lock.
type Relation struct {
	OID    uint32
	Name   string // qualified and quoted, as SQL writes it
	Shown  string // the same for people; "": Name
	Select string // locks it where LOCK TABLE would be refused (a materialized view, a user with column grants only, …);
	// several relations may share one
	// Whole says that the server's own scan of a partitioned table reads it: one that was attached after the snapshot would be read too.
	Whole bool
	Held  bool // the LOCK TABLE of another one in the list, its parent or a view, takes it too
}

// Options say how a snapshot is taken. Durations of 0 mean no limit.
type Options struct {
	Adopt       ID            // this exported snapshot in place of an own one
	Slot        Slot          // take the snapshot by creating this slot; the zero Slot: don't
	LockTimeout time.Duration // for the coordinator's locks
	RowSecurity bool          // policies may filter; false: the server raises an error where they would
	Log         *slog.Logger  // nil: discarded

	// Prepare is called with the coordinator's connection before its transaction begins, to learn what is to be read: a
	// query inside the transaction would freeze the snapshot before the locks are held. It returns what to lock.
	Prepare func(ctx context.Context, conn *pgx.Conn, version int) ([]Relation, error)
}

// Snapshot is the coordinator: one transaction with the relations locked and its snapshot exported. Close ends it. Its
// methods are safe from several goroutines, save Conn, whose one user at a time is the caller's affair.
type Snapshot struct {
	cfg         *pgx.ConnConfig // reaches the very server that conn is on
	conn        *pgx.Conn
	server      identity
	opt         Options
	rels        []Relation
	risks       []string
	conflicts   int64 // recovery conflicts of the database when the snapshot was taken; on a standby
	fingerprint string
	slot        *slotHolder
	since       time.Time

	mu      sync.Mutex
	id      ID   // the newest export
	idAlive bool // as far as is known

	workers  atomic.Int64       // inside the snapshot and able to export it again
	requests chan chan exported // to any worker between two chunks
}

type exported struct {
	id  ID
	err error
}

// Open connects, prepares, locks, takes the snapshot (or adopts one) and exports it, in the order that leaves no window
// for a rewrite. Source of the order: docs/consistency.md.
//
// Errors: *ConnectError, *NotPostgresError, *LockError, *ImportError, *ChangedError, what Prepare returned, or the server's.
func Open(ctx context.Context, cfg *pgx.ConnConfig, opt Options) (_ *Snapshot, err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	conn, pinned, err := dial(ctx, prepare(cfg))
	if err != nil {
		return nil, err
	}
	s := &Snapshot{cfg: pinned, conn: conn, opt: opt, requests: make(chan chan exported)}
	defer func() {
		if err != nil {
			err = Broken(conn, err)
			s.Close(ctx)
		}
	}()
	first, cancel := ctx, context.CancelFunc(func() {})
	if pinned.ConnectTimeout > 0 { // a pooler takes any connection, and lets its first query wait
		first, cancel = context.WithTimeout(ctx, pinned.ConnectTimeout)
	}
	s.server, err = identify(first, conn)
	waited := first.Err() != nil && ctx.Err() == nil
	cancel()
	if err != nil && waited {
		return nil, &ConnectError{Err: fmt.Errorf("connected, but no answer within %s: a pooler in between has no session left", pinned.ConnectTimeout)}
	}
	if err != nil {
		return nil, err
	}
	if s.risks, err = risks(ctx, conn, s.server); err != nil {
		return nil, err
	}
	if s.conflicts, err = conflicts(ctx, conn, s.server); err != nil {
		return nil, err
	}
	if s.rels, err = s.prepare(ctx); err != nil {
		return nil, err
	}
	adopt := opt.Adopt
	if opt.Slot.Enabled() {
		if s.slot, err = createSlot(ctx, pinned, conn, s.server, opt.Slot, s.opt.Log); err != nil {
			return nil, err
		}
		adopt = s.slot.snapshot
	}
	if err := s.begin(ctx, conn, adopt); err != nil {
		return nil, err
	}
	s.since = time.Now()
	if err := s.lock(ctx, conn, false); err != nil {
		return nil, err
	}
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&s.id); err != nil {
		return nil, fmt.Errorf("export the snapshot: %w", err)
	}
	s.idAlive = true
	if s.fingerprint, err = s.current(ctx, conn); err != nil {
		return nil, err
	}
	if err := s.unchanged(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Broken makes a *ConnectError of an error on conn that is the loss of the connection and nothing else.
func Broken(conn *pgx.Conn, err error) error {
	var pg *pgconn.PgError
	var lock *LockError
	var slot *SlotError
	switch {
	case err == nil, errors.As(err, &lock), errors.As(err, &slot), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &pg):
		if !strings.HasPrefix(pg.Code, "57P") && !strings.HasPrefix(pg.Code, "08") {
			return err
		}
		err = pg // without what is said of it at every level above
	case !conn.IsClosed():
		return err
	}
	return &ConnectError{Err: fmt.Errorf("the connection was lost before the first row: %w", err)}
}

// prepare calls Options.Prepare. The planner too waits for locks; a lock_timeout would need a transaction around, or would
// stay behind in a pooler's session. So when the time is up somebody else looks whether, and by whom, we are blocked.
func (s *Snapshot) prepare(ctx context.Context) ([]Relation, error) {
	if s.opt.LockTimeout <= 0 {
		return s.opt.Prepare(ctx, s.conn, s.server.num)
	}
	prepare, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pid := s.conn.PgConn().PID()
	looked := make(chan struct{})
	timer := time.AfterFunc(s.opt.LockTimeout, func() {
		defer close(looked)
		for blocked := false; prepare.Err() == nil; {
			// Blocked at two looks, a second apart: a moment's wait is no reason to give up.
			holders := s.blockers(prepare, pid)
			if len(holders) > 0 && (blocked || s.opt.LockTimeout < time.Second) {
				cancel(&LockError{Holders: holders, Err: context.DeadlineExceeded})
				return
			}
			blocked = len(holders) > 0
			select {
			case <-prepare.Done():
			case <-time.After(time.Second):
			}
		}
	})
	rels, err := s.opt.Prepare(prepare, s.conn, s.server.num)
	cause := context.Cause(prepare)
	cancel(nil)
	if !timer.Stop() {
		<-looked
	}
	var lock *LockError
	if err != nil && errors.As(cause, &lock) {
		return nil, lock
	}
	return rels, err
}

// blockers describes the sessions that backend pid waits for.
func (s *Snapshot) blockers(ctx context.Context, pid uint32) []string {
	return s.aside(ctx, `SELECT pid, true, COALESCE((SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_locks l
				JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE l.pid = $1 AND NOT l.granted AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
			LIMIT 1), 'what is to be read'), COALESCE(usename, '')::text, COALESCE(application_name, ''), COALESCE(state, ''),
		COALESCE(left(regexp_replace(query, '\s+', ' ', 'g'), 80), ''), COALESCE(extract(epoch FROM clock_timestamp() - COALESCE(xact_start, query_start)), 0)::float8
		FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids($1)) LIMIT 3`, int32(pid))
}

// ID is the snapshot's newest name.
func (s *Snapshot) ID() ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Risks are settings of the server that may end the snapshot early, a sentence each.
func (s *Snapshot) Risks() []string { return s.risks }

// risks reads them. A standby ends whoever is in the way of its replay: the snapshot then is lost for all at once.
func risks(ctx context.Context, conn *pgx.Conn, server identity) ([]string, error) {
	var out []string
	var feedback, delay, threshold string
	err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('hot_standby_feedback'), pg_catalog.current_setting('max_standby_streaming_delay'),
		COALESCE(pg_catalog.current_setting('old_snapshot_threshold', true), '-1')`, pgx.QueryExecModeSimpleProtocol).Scan(&feedback, &delay, &threshold)
	if err != nil {
		return nil, fmt.Errorf("read the server's settings: %w", err)
	}
	if server.standby && feedback != "on" && delay != "-1" {
		out = append(out, fmt.Sprintf("the server is a standby with hot_standby_feedback %s and max_standby_streaming_delay %s: vacuum on the primary can end this export", feedback, delay))
	}
	if threshold != "-1" {
		out = append(out, fmt.Sprintf("the server's old_snapshot_threshold is %s: an export that takes longer fails", threshold))
	}
	return out, nil
}

// conflicts counts the sessions of this database that a standby's replay has ended or cancelled so far.
func conflicts(ctx context.Context, conn *pgx.Conn, server identity) (n int64, err error) {
	if !server.standby {
		return 0, nil
	}
	err = conn.QueryRow(ctx, "SELECT confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock FROM pg_catalog.pg_stat_database_conflicts WHERE datname = pg_catalog.current_database()",
		pgx.QueryExecModeSimpleProtocol).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count recovery conflicts: %w", err)
	}
	return n, nil
}

// lost is ErrLost, with the reason where the server knows it: a session that is ended in the middle of sending cannot
// always be told why.
func (s *Snapshot) lost(ctx context.Context) error {
	if !s.server.standby {
		return ErrLost
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.cfg)
	if err != nil {
		return ErrLost
	}
	defer closeConn(ctx, conn)
	for range 20 { // the counters are written a moment later
		if n, err := conflicts(ctx, conn, s.server); err != nil {
			return ErrLost
		} else if n > s.conflicts {
			return fmt.Errorf("%w: the standby ended its sessions because of a conflict with recovery (hot_standby_feedback, max_standby_streaming_delay)", ErrLost)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return ErrLost
}

// Fingerprint is pg_current_snapshot(), the same text in every worker.
func (s *Snapshot) Fingerprint() string { return s.fingerprint }

// Since is when the transaction began.
func (s *Snapshot) Since() time.Time { return s.since }

// ServerVersion is server_version, ServerVersionNum server_version_num.
func (s *Snapshot) ServerVersion() string { return s.server.version }

// ServerVersionNum is for example 150018.
func (s *Snapshot) ServerVersionNum() int { return s.server.num }

// SystemID is the cluster's system identifier, "" where it may not be read.
func (s *Snapshot) SystemID() string { return s.server.system }

// Conn is the coordinator's connection, inside the transaction.
func (s *Snapshot) Conn() *pgx.Conn { return s.conn }

// begin opens conn's transaction, adopting a snapshot if there is one to adopt, and pins the session's settings.
func (s *Snapshot) begin(ctx context.Context, conn *pgx.Conn, adopt ID) error {
	if err := exec(ctx, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if adopt != "" {
		if err := exec(ctx, conn, "SET TRANSACTION SNAPSHOT "+literal(string(adopt))); err != nil {
			return importError(adopt, err)
		}
	}
	set := settings(s.server.num, s.opt.RowSecurity)
	if conn.PgConn().ParameterStatus("server_encoding") == "SQL_ASCII" {
		// Such a database holds bytes, not characters; asked for UTF8 the server refuses the first odd one without a place.
		set = append(set, "SET LOCAL client_encoding = 'SQL_ASCII'")
	} else {
		set = append(set, "SET LOCAL client_encoding = 'UTF8'")
	}
	if err := exec(ctx, conn, strings.Join(set, "; ")); err != nil {
		return fmt.Errorf("session settings: %w", err)
	}
	return nil
}

// settings pins all that a value's text or a scan's order depends on. SET LOCAL, inside the transaction: a pooler hands
// on no setting of ours, and it works on standbys. lc_monetary is read, never set.
func settings(version int, rowSecurity bool) []string {
	set := []string{
		"extra_float_digits = 3", "DateStyle = 'ISO, YMD'", "IntervalStyle = 'postgres'", "TimeZone = 'UTC'",
		"bytea_output = 'hex'", "standard_conforming_strings = on", "xmloption = content", "xmlbinary = base64", "quote_all_identifiers = off",
		"synchronize_seqscans = off", "max_parallel_workers_per_gather = 0", "jit = off", "enable_tidscan = on",
		"statement_timeout = 0", "lock_timeout = 0", "idle_in_transaction_session_timeout = 0",
	}
	if rowSecurity {
		set = append(set, "row_security = on")
	} else {
		set = append(set, "row_security = off")
	}
	if version >= 140000 {
		set = append(set, "idle_session_timeout = 0")
	}
	if version >= 160000 {
		set = append(set, "debug_parallel_query = off")
	} else {
		set = append(set, "force_parallel_mode = off")
	}
	if version >= 170000 {
		set = append(set, "transaction_timeout = 0")
	}
	for i := range set {
		set[i] = "SET LOCAL " + set[i]
	}
	return set
}

// lock takes ACCESS SHARE on every relation. The coordinator waits as long as it may; a worker does not: the coordinator
// holds the same locks, so all that can be in a worker's way is somebody's waiting ACCESS EXCLUSIVE, which itself waits
// for the coordinator. The server cannot see that deadlock.
func (s *Snapshot) lock(ctx context.Context, conn *pgx.Conn, worker bool) error {
	if len(s.rels) == 0 {
		return nil
	}
	timeout, later := "0", "0"
	if s.opt.LockTimeout > 0 {
		timeout = fmt.Sprintf("%dms", max(1, s.opt.LockTimeout.Milliseconds()))
	}
	if worker {
		// What a worker reads later locks indexes too. A REINDEX may wait for them behind another worker, which waits for work: no deadlock
		// that the server could see.
		timeout, later = "100ms", timeout // 100 ms for the selects, which know no NOWAIT
	}
	// All in one message: the server runs them one after the other and stops at the first that fails.
	statements := []string{"SET LOCAL lock_timeout = '" + timeout + "'"}
	by := []Relation{{}} // of each statement
	// LOCK first, then the selects: a select freezes the snapshot.
	done := map[string]bool{}
	for _, bySelect := range []bool{false, true} {
		for _, r := range s.rels {
			if r.Held || (r.Select != "") != bySelect || bySelect && done[r.Select] {
				continue
			}
			done[r.Select] = true
			sql := "LOCK TABLE " + r.Name + " IN ACCESS SHARE MODE"
			if worker {
				sql += " NOWAIT"
			}
			if bySelect {
				sql = r.Select
			}
			by, statements = append(by, r), append(statements, sql)
		}
	}
	statements, by = append(statements, "SET LOCAL lock_timeout = '"+later+"'"), append(by, Relation{})
	results, err := conn.PgConn().Exec(ctx, strings.Join(statements, ";")).ReadAll()
	if err != nil {
		results = slices.DeleteFunc(results, func(res *pgconn.Result) bool { return res.Err != nil })
		r := by[min(len(results), len(by)-1)]
		if r.Name == "" { // no lock's own error: the message never ran, or all its locks are there
			return fmt.Errorf("lock the relations: %w", err)
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "55P03" {
			return &LockError{Relation: cmp.Or(r.Shown, r.Name), Holders: s.holders(context.WithoutCancel(ctx), r), Err: err}
		}
		return fmt.Errorf("lock %s: %w", cmp.Or(r.Shown, r.Name), err)
	}
	return nil
}

// holders describes the sessions whose locks are in our way.
func (s *Snapshot) holders(ctx context.Context, r Relation) []string {
	return s.aside(ctx, conflicting, []uint32{r.OID})
}

// aside asks, on a connection of its own, for sessions in the form of scanWaiter. What cannot be had is left out: an error
// is on its way already.
func (s *Snapshot) aside(ctx context.Context, query string, args ...any) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.cfg)
	if err != nil {
		return nil
	}
	defer closeConn(ctx, conn)
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		_, text, err := scanWaiter(row)
		return text, err
	})
	if err != nil {
		return nil
	}
	return out
}

// conflicting lists who holds or waits for ACCESS EXCLUSIVE on the relations $1, a partition of them, or one of their indexes.
const conflicting = `
WITH RECURSIVE tree(oid) AS (
	SELECT unnest($1::oid[]) UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON i.inhparent = t.oid)
SELECT COALESCE(l.pid, 0), l.granted, l.relation::pg_catalog.regclass::text, COALESCE(a.usename, '')::text, COALESCE(a.application_name, ''),
	COALESCE(a.state, ''), COALESCE(left(regexp_replace(a.query, '\s+', ' ', 'g'), 80), ''),
	COALESCE(extract(epoch FROM clock_timestamp() - COALESCE(a.xact_start, a.query_start)), 0)::float8
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation IN (
		SELECT oid FROM tree UNION ALL SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid IN (SELECT oid FROM tree))
	AND (NOT l.granted OR l.relation IN (SELECT oid FROM tree)) -- who has an index waits for nobody
	AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
ORDER BY l.granted DESC, l.pid LIMIT 3`

func scanWaiter(row pgx.CollectableRow) (pid int, text string, err error) {
	var granted bool
	var rel, user, app, state, query string
	var age float64
	if err := row.Scan(&pid, &granted, &rel, &user, &app, &state, &query, &age); err != nil {
		return 0, "", err
	}
	how := "waits for"
	if granted {
		how = "holds"
	}
	if pid == 0 {
		return pid, fmt.Sprintf("a prepared transaction %s ACCESS EXCLUSIVE on %s", how, rel), nil
	}
	if user == "" && query == "" { // on a standby, the process that replays
		return pid, fmt.Sprintf("a process of the server, pid %d, %s ACCESS EXCLUSIVE on %s", pid, how, rel), nil
	}
	return pid, fmt.Sprintf("pid %d (%s, %s, %s) %s ACCESS EXCLUSIVE on %s since %.0f s: %s", pid, user, app, state, how, rel, age, query), nil
}

// current is pg_current_snapshot() as conn's transaction sees it.
func (s *Snapshot) current(ctx context.Context, conn *pgx.Conn) (string, error) {
	fn := "pg_current_snapshot"
	if s.server.num < 130000 {
		fn = "txid_current_snapshot"
	}
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog."+fn+"()::text").Scan(&text); err != nil {
		return "", fmt.Errorf("compare snapshots: %w", err)
	}
	return text, nil
}

// unchanged compares every relation's file as the snapshot sees it with its file now. They differ exactly when it was
// rewritten in between, which the locks rule out only where they came before the snapshot. relfilenode in pg_class is
// read under the snapshot, pg_relation_filenode reads the present; 0 is a relation without a file of its own.
func (s *Snapshot) unchanged(ctx context.Context) error {
	if len(s.rels) == 0 {
		return nil
	}
	oids, names := make([]uint32, len(s.rels)), make([]string, len(s.rels))
	late := s.slot != nil || s.opt.Adopt != ""
	for i, r := range s.rels {
		oids[i], names[i] = r.OID, r.Name
		late = late || r.Select != ""
	}
	if err := s.changed(ctx, `
		SELECT r.name, CASE WHEN c.oid IS NULL THEN 'made' ELSE 'renamed or replaced' END
		FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::text[])) WITH ORDINALITY r(oid, name, place) LEFT JOIN pg_catalog.pg_class c ON c.oid = r.oid
		WHERE c.oid IS NULL OR pg_catalog.to_regclass(r.name)::oid IS DISTINCT FROM r.oid ORDER BY place LIMIT 1`, oids, names); err != nil {
		return err
	}
	if err := s.changed(ctx, treeOf+`
		SELECT CASE WHEN gone THEN pg_catalog.format('%I.%I', n.nspname, c.relname) ELSE c.oid::pg_catalog.regclass::text END,
			CASE WHEN gone THEN 'dropped' ELSE 'rewritten or truncated' END
		FROM tree JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			CROSS JOIN LATERAL (SELECT pg_catalog.pg_relation_filenode(c.oid) IS NULL AS gone) g
		WHERE c.relkind IN ('r', 'm', 't') AND c.relfilenode <> 0
			AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode LIMIT 1`, oids); err != nil {
		return err
	}
	if late {
		if err := s.changed(ctx, alteredQuery, oids); err != nil {
			return err
		}
	}
	var whole []uint32
	for _, r := range s.rels {
		if r.Whole {
			whole = append(whole, r.OID)
		}
	}
	if len(whole) == 0 {
		return nil
	}
	// No lock of ours keeps anybody from attaching one. pg_partition_tree is of this moment. What was made after the snapshot has no rows in it.
	return s.changed(ctx, treeOf+`
		SELECT c.oid::pg_catalog.regclass::text, 'given ' || p.relid::text || ' as a partition'
		FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class seen ON seen.oid = p.relid
		WHERE c.oid IN (SELECT oid FROM tree) AND c.relkind = 'p' AND p.relid NOT IN (SELECT oid FROM tree) ORDER BY 1 LIMIT 1`, whole)
}

// treeOf is the relations $1 and all their members as the snapshot has them.
const treeOf = `
WITH RECURSIVE tree(oid) AS (
	SELECT pg_catalog.unnest($1::oid[]) UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON i.inhparent = t.oid)`

// alteredQuery finds what a statement would mean something else by now than it meant to the snapshot, although no file was rewritten:
// names of columns, their types and NOT NULL (which the planner relies on), a view's query, a computed column's expression, partitions.
// The server plans by the catalog of this moment, which a query under the snapshot cannot see. It does see that a row of the catalog was
// replaced or deleted since: by xmax, which counts where that transaction has committed. Its upper half is that of the
// snapshot's own, one more or one less.
const alteredQuery = treeOf + `,
altered(oid, what, x) AS (
	SELECT a.attrelid, 'altered (column ' || pg_catalog.quote_ident(a.attname) || ')', a.xmax FROM pg_catalog.pg_attribute a
		JOIN tree ON a.attrelid = tree.oid WHERE a.attnum > 0 AND NOT a.attisdropped AND a.xmax <> '0'
	UNION ALL SELECT r.ev_class, 'defined anew', r.xmax FROM pg_catalog.pg_rewrite r JOIN tree ON r.ev_class = tree.oid WHERE r.xmax <> '0'
	UNION ALL SELECT d.adrelid, 'altered (column ' || pg_catalog.quote_ident(a.attname) || ')', d.xmax FROM pg_catalog.pg_attrdef d JOIN tree ON d.adrelid = tree.oid
		JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attgenerated <> '' AND d.xmax <> '0'
	UNION ALL SELECT i.inhparent, 'parted from ' || i.inhrelid::pg_catalog.regclass::text, i.xmax FROM pg_catalog.pg_inherits i
		JOIN tree ON i.inhparent = tree.oid WHERE i.xmax <> '0'
), now(x) AS (SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())
), whole AS (
	SELECT a.oid, a.what, (n.x & -4294967296) + a.x::text::bigint AS x, n.x AS now FROM altered a, now n
)
SELECT oid::pg_catalog.regclass::text, what FROM whole
WHERE pg_catalog.txid_status(x + CASE WHEN x - now > 2147483648 THEN -4294967296 WHEN now - x > 2147483648 THEN 4294967296 ELSE 0 END) = 'committed'
ORDER BY what LIKE 'altered%', what LIMIT 1`

// changed makes a *ChangedError of the first row, a relation and what became of it, that the query gives.
func (s *Snapshot) changed(ctx context.Context, query string, args ...any) error {
	var e ChangedError
	err := s.conn.QueryRow(ctx, query, args...).Scan(&e.Relation, &e.What)
	switch {
	case err == nil:
		return &e
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	}
	return fmt.Errorf("look whether what is to be read has changed: %w", err)
}

// Recheck repeats the check that no relation changed under the snapshot. Call it once the workers are in: whoever locked
// by a select only has then read under the lock.
func (s *Snapshot) Recheck(ctx context.Context) error { return s.unchanged(ctx) }

// probeGrace is what a probe under way has left when the watch is to end.
const probeGrace = 200 * time.Millisecond

// Watch keeps the coordinator's connection alive and looks who waits behind its locks, every interval, until ctx ends.
// It has Conn to itself from then on. waiting is called once for each session seen; lost once, if the connection is
// lost, after which Watch returns: the snapshot lives on in the workers.
func (s *Snapshot) Watch(ctx context.Context, interval time.Duration, waiting func(string), lost func(error)) {
	seen := map[int]bool{}
	oids := make([]uint32, len(s.rels))
	for i, r := range s.rels {
		oids[i] = r.OID
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A probe takes milliseconds, and to break it off closes the connection: the end of ctx lets it finish if it can.
		probe, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		hurry := context.AfterFunc(ctx, func() { time.AfterFunc(probeGrace, cancel) })
		rows, err := s.conn.Query(probe, conflicting, oids)
		if err == nil {
			_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
				pid, text, err := scanWaiter(row)
				if err == nil && !seen[pid] {
					seen[pid] = true
					waiting(text)
				}
				return struct{}{}, err
			})
		}
		hurry()
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				lost(err)
			}
			return
		}
	}
}

// Release ends the transaction and the connections, so that the server may forget the snapshot. What was learned of it
// stays, and so does a slot. Idempotent.
func (s *Snapshot) Release(ctx context.Context) {
	closeConn(ctx, s.conn) // ends the transaction; nothing was written
	if s.slot != nil {
		s.slot.release(ctx)
	}
}

// Close releases, and drops the slot that Open made unless KeepSlot was called. Workers are closed before by their owners.
// Idempotent.
func (s *Snapshot) Close(ctx context.Context) {
	s.Release(ctx)
	if s.slot == nil {
		return
	}
	if s.slot.drop(ctx); s.slot.made && !s.slot.keep {
		s.opt.Log.Error("the replication slot could not be dropped: drop it, it holds back WAL", "slot", s.slot.name)
	}
}

func exec(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// literal writes a string constant. standard_conforming_strings may be off at this point, hence E”.
func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// importError says what the server's refusal of a snapshot identifier means.
func importError(id ID, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("adopt snapshot %s: %w", id, err)
	}
	reason := pg.Message
	switch {
	case pg.Code == "0A000": // of a transaction as ours the server has no other use for it here; its text is of the server's language
		reason = "it was exported in another database"
	case pg.Code == "22023" || pg.Code == "42704" || pg.Code == "58P01":
		reason = "the server does not know it: the transaction that exported it has ended, or it is another server's"
	}
	return &ImportError{ID: id, Reason: reason, Err: err}
}
