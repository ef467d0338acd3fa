// Package pgtest gives tests a real Postgres. A package that uses it has
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// and each test asks for a database of its own, or for a server of its own where it needs other settings, a standby, passwords or TLS:
//
//	dsn := pgtest.Database(t)
//	srv := pgtest.Start(t, pgtest.Config{Settings: []string{"max_connections = 10"}})
//	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) { dsn := srv.Database(t); … })
//
// One private cluster a major serves a test binary; it starts when the first test asks. Every database asserts when its test is over that
// nothing was left in it: no session, prepared transaction or replication slot. Main asserts the same of the whole cluster, and that
// no goroutine was left.
//
// The programs come from FAST_EXPORT_PG_BIN (a directory), else they are Postgres 15's on PATH, in the system's directories or in the cache
// that `make test` fills (FAST_EXPORT_CACHE, by default .cache in the repository), else another major's from there. Without any,
// tests fail: nothing skips.
//
// ReadParquet and ReadDuckDB let two readers that are not ours judge a file.
package pgtest
