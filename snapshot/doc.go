// Package snapshot answers: from which consistent point do all workers read?
//
// A Snapshot is a coordinator's REPEATABLE READ transaction that holds its relations locked and its snapshot exported. A
// Worker is another connection that adopted the snapshot, locked the same relations and stays in that one transaction
// to its end. The order of the protocol (lock, export, only then the catalog) is what makes it safe: see
// docs/consistency.md.
//
// The caveat: the snapshot lives as long as somebody is inside it. When the coordinator's connection is lost a worker
// exports the snapshot again, so a Worker's owner must call Worker.Serve between chunks; when nobody is left the error
// is ErrLost.
package snapshot
