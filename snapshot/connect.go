package snapshot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"fast-export/internal/wire"
)

// prepare returns a copy of cfg with what every connection of a run needs.
func prepare(cfg *pgx.ConnConfig) *pgx.ConnConfig {
	c := cfg.Copy()
	// Describe and execute unnamed statements: nothing outlives a transaction, so poolers in transaction mode agree.
	c.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
	// As start-up options, before anything a role or database may say: the queries before the transaction need both, and
	// poolers know them.
	c.RuntimeParams["client_encoding"] = "UTF8"
	c.RuntimeParams["standard_conforming_strings"] = "on"
	endless(c.RuntimeParams)
	// A cancelled context asks the server to stop first, so that a COPY ends there too, and closes the socket after.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 500 * time.Millisecond}
	}
	return c
}

// endless takes the timeouts out of start-up parameters, for what comes before the transaction, which has SET LOCAL. Only one that is
// there is replaced: PgBouncer refuses parameters that it does not know, and a SET would stay behind in a pooler's session.
func endless(params map[string]string) {
	given := strings.ToLower(strings.ReplaceAll(params["options"], "-", "_"))
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout"} {
		for k := range params {
			if strings.EqualFold(k, name) {
				params[k] = "0"
			}
		}
		if strings.Contains(given, name) { // the last one of several holds
			params["options"] += " -c " + name + "=0"
		}
	}
}

// dial connects to the first of cfg's hosts that answers and suits, and returns the connection with a config that reaches
// the very same server again: a name may stand for several of them, and a snapshot is known to one. One host at a time, so
// that an error tells of each.
func dial(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, *pgx.ConnConfig, error) {
	hosts := []*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}
	hosts = append(hosts, cfg.Fallbacks...)
	var errs []error
	var second *pgx.ConnConfig    // the first host that would do if no preferred one answers (target_session_attrs=prefer-standby)
	silent := map[hostPort]bool{} // with TLS: not to be waited for again without it
	for _, h := range hosts {
		if silent[hostPort{h.Host, h.Port}] {
			continue
		}
		one := cfg.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = h.Host, h.Port, h.TLSConfig, nil
		if cfg.ValidateConnect != nil {
			one.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
				err := cfg.ValidateConnect(ctx, conn)
				var other *pgconn.NotPreferredError
				if errors.As(err, &other) && second == nil {
					second = cfg.Copy()
					second.Host, second.Port, second.TLSConfig, second.Fallbacks, second.ValidateConnect = h.Host, h.Port, h.TLSConfig, nil, nil
				}
				if other != nil {
					return errors.New(other.Error()) // else pgconn itself would take this host
				}
				return err
			}
		}
		conn, err := wire.Connect(ctx, one, false)
		if err == nil {
			one.ValidateConnect = nil
			return conn, pin(conn, one), nil
		}
		if other := foreign(ctx, one, err); other != nil {
			err = other
		}
		errs = append(errs, err)
		if ctx.Err() != nil || final(err, h.TLSConfig != nil) {
			break
		}
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*ProtocolError)) {
			silent[hostPort{h.Host, h.Port}] = true
		}
	}
	if second != nil && ctx.Err() == nil {
		if conn, err := wire.Connect(ctx, second, false); err == nil {
			return conn, pin(conn, second), nil
		}
	}
	return nil, nil, &ConnectError{Err: errors.Join(errs...)}
}

type hostPort struct {
	host string
	port uint16
}

// ProtocolError is a server that answers, and not as Postgres does.
type ProtocolError struct {
	Address string // host:port
	Began   string // how its answer began
	Err     error  // of the attempt to connect
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("%s does not speak PostgreSQL's protocol: it answers %q", e.Address, e.Began)
}

// foreign looks, where a connection was made and came to nothing, whether it is Postgres that listens there; nil: it is, or nobody knows.
// To a request for TLS Postgres answers one byte, S or N, or with an error, E. Others greet, or complain, with more than
// that; some only when a line has ended.
func foreign(ctx context.Context, cfg *pgx.ConnConfig, err error) error {
	var pg *pgconn.PgError
	var op *net.OpError
	var dns *net.DNSError
	if errors.As(err, &pg) || errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial" || strings.HasPrefix(cfg.Host, "/") || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addresses, lerr := cfg.LookupFunc(ctx, cfg.Host)
	if lerr != nil || len(addresses) == 0 {
		return nil
	}
	port := strconv.Itoa(int(cfg.Port))
	conn, derr := cfg.DialFunc(ctx, "tcp", net.JoinHostPort(addresses[0], port))
	if derr != nil {
		return nil
	}
	defer conn.Close()
	var answer []byte
	for _, request := range []string{"\x00\x00\x00\x08\x04\xd2\x16\x2f", "\r\n"} {
		if _, err := conn.Write([]byte(request)); err != nil {
			break
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // without it ctx's own end, a moment later, does
		for len(answer) < 64 {
			part := make([]byte, 64)
			n, err := conn.Read(part)
			answer = append(answer, part[:n]...)
			if err != nil || len(answer) == 1 && n == 1 {
				break
			}
		}
		if len(answer) > 0 {
			break
		}
	}
	switch {
	case len(answer) == 0, len(answer) == 1 && strings.ContainsRune("SNE", rune(answer[0])), answer[0] == 'E' && len(answer) > 4 && answer[1] == 0:
		return nil
	}
	first, _, _ := strings.Cut(string(answer), "\r\n")
	began := strings.ToValidUTF8(first, "?")
	return &ProtocolError{Address: net.JoinHostPort(cfg.Host, port), Began: began, Err: err}
}

// Unwrap gives what the attempt to connect said.
func (e *ProtocolError) Unwrap() error { return e.Err }

// letInTimeout bounds the wait of a further connection for a session. Where the server has no room it says so at once; a pooler whose
// pool is not larger than --parallel lets it wait, behind connections of ours that wait for it.
const letInTimeout = 10 * time.Second

// NoRoomError is a connection that a pooler, it seems, took and gave no session.
type NoRoomError struct{ Waited time.Duration }

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("no session within %s: is the pool of a pooler in between not larger than --parallel?", e.Waited)
}

// letIn runs a step of a further connection's way into the snapshot that a pooler may let wait.
func letIn(ctx context.Context, step func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, letInTimeout)
	defer cancel()
	err := step(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return &NoRoomError{letInTimeout}
	}
	return err
}

// pin makes cfg, by which conn was made, reach conn's server and no other of that name.
func pin(conn *pgx.Conn, cfg *pgx.ConnConfig) *pgx.ConnConfig {
	addr := conn.PgConn().Conn().RemoteAddr()
	network, address := addr.Network(), addr.String()
	d := &net.Dialer{KeepAlive: 30 * time.Second}
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, network, address) }
	return cfg
}

// final tells that trying the next host or the same one without TLS is no use: the server has answered, and said no.
// The same choice as pgconn's own.
func final(err error, tls bool) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "28P01", "3D000", "42501":
		return true
	case "28000":
		return tls
	}
	return false
}

// ConnectError is a server that could not be reached or that refused us.
type ConnectError struct{ Err error }

func (e *ConnectError) Error() string { return e.Err.Error() }

// Unwrap gives the causes, one a host tried.
func (e *ConnectError) Unwrap() error { return e.Err }

// identity is what tells one running server from another.
type identity struct {
	version string // server_version
	num     int    // server_version_num
	started string // pg_postmaster_start_time()
	system  string // system identifier, "" where it may not be read
	standby bool
}

// products are servers that speak the protocol and are not Postgres, by what their version() holds.
var products = []struct{ mark, name string }{
	{"CockroachDB", "CockroachDB"},
	{"Redshift", "Amazon Redshift"},
	{"-YB-", "YugabyteDB"},
	{"Greenplum", "Greenplum"},
	{"Materialize", "Materialize"},
	{"CrateDB", "CrateDB"},
	{"QuestDB", "QuestDB"},
	{"RisingWave", "RisingWave"},
	{"openGauss", "openGauss"},
	{"H2 ", "H2"},
}

// NotPostgresError is a server of another make, which has no ctid ranges and no exported snapshots as Postgres has them.
type NotPostgresError struct{ Product, Version string }

func (e *NotPostgresError) Error() string {
	return fmt.Sprintf("the server is %s, not PostgreSQL (%s)", e.Product, e.Version)
}

// minVersion is the oldest server that is let in. The tests run on 13 and later.
const minVersion = 120000

func identify(ctx context.Context, conn *pgx.Conn) (identity, error) {
	var id identity
	var version string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.version()", pgx.QueryExecModeSimpleProtocol).Scan(&version); err != nil {
		return id, fmt.Errorf("ask for the server's version: %w", err)
	}
	for _, p := range products {
		if strings.Contains(version, p.mark) {
			return id, &NotPostgresError{Product: p.name, Version: version}
		}
	}
	if !strings.HasPrefix(version, "PostgreSQL ") && !strings.HasPrefix(version, "EnterpriseDB") {
		return id, &NotPostgresError{Product: "something else", Version: version}
	}
	err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int,
		pg_catalog.pg_postmaster_start_time()::text, pg_catalog.pg_is_in_recovery()`, pgx.QueryExecModeSimpleProtocol).
		Scan(&id.version, &id.num, &id.started, &id.standby)
	if err != nil {
		return id, fmt.Errorf("ask for the server's version: %w", err)
	}
	if id.num < minVersion {
		return id, &NotPostgresError{Product: "PostgreSQL " + id.version + ", older than 12", Version: version}
	}
	// Some services keep this from their users; the start time still tells servers apart.
	err = conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()", pgx.QueryExecModeSimpleProtocol).Scan(&id.system)
	if err != nil && conn.IsClosed() {
		return id, fmt.Errorf("ask for the system identifier: %w", err)
	}
	return id, nil
}

func (id identity) same(o identity) bool { return id.started == o.started && id.system == o.system }
