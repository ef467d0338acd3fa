// Package export composes the parts into a run: it is the only place that knows all of them, and it owns the goroutines
// that copy and merge.
//
// Run takes a Config to a Result; DryRun takes the same Config to a PlanReport and reads no rows. A run has one
// coordinator (snapshot.Snapshot), up to Config.Parallel workers that take chunks from one queue over all files, and for
// each file one merger that hands the chunks' batches, in order, to a parquetw.Writer.
package export
