// Package chunker answers one question: which disjoint pieces, read in which
// order, are this table's or this statement's rows?
//
// It works in two steps. [Resolve] runs on a scout connection before there is
// a snapshot: it turns names into relations, says what kind of statement it
// was given, and lists every relation to lock ([Target]). [NewPlan] runs inside
// the snapshot, when the locks are held: it measures the relations and cuts
// them into chunks ([Plan], [Chunk]). [Plan.SQL] is the SELECT of one chunk.
//
// A chunk of a heap is a half-open range of blocks, read by a TID range scan
// (Postgres 14 and later). Chunks of one plan are disjoint, together they are
// the relation, and read one after the other they give its rows in the order
// in which the server's own sequential scan gives them. A user's statement is
// cut only when each row's presence and value depend on that row alone; what
// is not certainly so is one chunk, and the plan says why.
//
// The package reads catalogs and runs EXPLAIN; it never reads a user's row and
// never creates anything. Nothing here is safe for concurrent use but the
// methods of a finished [Plan].
package chunker
