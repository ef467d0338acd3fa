package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// readBuffer is what one read of a worker's socket may bring: fewer system calls and wake-ups than pgconn's own 8 KiB
// (measured at 0.1 to 0.2 CPU seconds a million rows).
const readBuffer = 256 << 10

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
	c.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, readBuffer), w)
	}
	// A cancelled context asks the server to stop first, so that a COPY ends there too, and closes the socket after.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 500 * time.Millisecond}
	}
	return c
}

// dial connects to the first of cfg's hosts that answers and suits, and returns the connection with a config that reaches
// the very same server again: a name may stand for several of them, and a snapshot is known to one. One host at a time, so
// that an error tells of each.
func dial(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, *pgx.ConnConfig, error) {
	hosts := []*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}
	hosts = append(hosts, cfg.Fallbacks...)
	var errs []error
	var second *pgx.ConnConfig // the first host that would do if no preferred one answers (target_session_attrs=prefer-standby)
	for _, h := range hosts {
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
		conn, err := pgx.ConnectConfig(ctx, one)
		if err == nil {
			one.ValidateConnect = nil
			return conn, pin(conn, one), nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || final(err, h.TLSConfig != nil) {
			break
		}
	}
	if second != nil && ctx.Err() == nil {
		if conn, err := pgx.ConnectConfig(ctx, second); err == nil {
			return conn, pin(conn, second), nil
		}
	}
	return nil, nil, &ConnectError{Err: errors.Join(errs...)}
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

// minVersion is the oldest server that is known to work.
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
