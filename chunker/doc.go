// Package chunker answers one question: which disjoint pieces, read in which
// order, are this table's or this statement's rows?
//
// It works in two steps. [Resolve] runs on a scout connection before there is
// a snapshot: it turns names into relations, says what kind of statement it
// was given, and lists every relation to lock ([Target]). [NewPlan] runs inside
// the snapshot, when the locks are held: it measures the relations and cuts
// them into chunks ([Plan], [Chunk]). [Plan.SQL] is the SELECT of one chunk. For
// many relations [ResolveAll] and [ReadCatalog] ask the catalogs once: a plain
// table then costs an EXPLAIN and a description of its result.
//
// A chunk of a heap is a half-open range of blocks, read by a TID range scan
// (Postgres 14 and later). Chunks of one plan are disjoint, together they are
// the relation, and read one after the other they give its rows in the order
// in which the server's own sequential scan gives them. A user's statement is
// cut only when each row's presence and value depend on that row alone; what
// is not certainly so is one chunk, and the plan says why.
//
// On request ([Hint]) the chunks are ranges of a column's values instead, in
// ascending order, the NULLs last, by ctid within each. That works on every
// server version, on views and on foreign tables.
//
// The package reads catalogs and runs EXPLAIN. It creates nothing, and reads no
// row of the user's but to find the bounds of column ranges where there are no
// statistics. Nothing here is safe for concurrent use but the methods of a
// finished [Plan].
package chunker
