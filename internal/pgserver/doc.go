// Package pgserver starts throwaway Postgres servers: an installed Postgres (Find) or one fetched from Maven Central (Fetch) becomes
// a cluster in a private directory that listens on a Unix socket there and vanishes with Stop. The demo and the tests use it.
//
// Its types are Install, the programs of one Postgres, and Server, a cluster that runs. It works as root too: Postgres refuses to
// run as root, so the server then runs as the user postgres or nobody.
//
// The caveat: a server is for one process. It ends with the process that started it (on Linux even when that is killed), and its data is
// never synced to disk.
package pgserver
