// Package parquetw answers how a stream of batches becomes one durable Parquet file.
//
// A Pool is a number of encoder goroutines with memory for the pages that they finish; a Writer makes one file and may
// share its Pool with others. Create, Write batch after batch, Commit: only then is there a file of that name, whole and
// synced. Abort, at any time, leaves nothing behind.
//
//	pool := parquetw.NewPool(4, 256<<20, tempFile)
//	defer pool.Close()
//	w, err := parquetw.Create("obs.parquet", parquetw.Options{Schema: s, RowGroupRows: 1_000_000, Pool: pool})
//	…
//	defer w.Abort()
//	for batch := range batches {
//		if err := w.Write(ctx, batch); err != nil { … }
//	}
//	res, err := w.Commit(ctx)
//
// # The way of a value
//
// A batch is cut at the row groups' ends; each leaf gets a task for each piece, and one encoder goroutine at a time has a
// leaf, so a leaf's values come in order while leaves run side by side, those of the next row group too. Values gather in
// the leaf's open page. A full page is laid out, compressed and stored, in memory or in the Pool's temp file; what is open
// of a row group is therefore small, however many rows it has. When the last leaf has finished a row group and the one
// before it is in the file, whoever finished it copies its pages there.
//
// # What the bytes depend on
//
// On the rows, their order, the row groups' ends and the Options: not on how the rows came in batches, nor on the number
// of goroutines, nor on memory. So a page is cut where its row number, counted from the row group's start, or its own
// bytes say so; an encoding is chosen from the values of the row group; and neither ever from what happens to be at hand.
//
// # What readers see
//
// Version 1 data pages with checksums; dictionary, BYTE_STREAM_SPLIT (floats), DELTA_BINARY_PACKED (integers),
// DELTA_LENGTH_BYTE_ARRAY or DELTA_BYTE_ARRAY (text) or PLAIN encoding; null counts, and bounds where they mean something: none for floats
// with a NaN among them, for geometry, or for what has no order; a page index; the Arrow schema. Files of no rows are
// valid. A file of rows without columns is valid too and pyarrow counts its rows, but DuckDB refuses it.
//
// The one caveat: a Batch that Write has taken belongs to the Pool until it is released, and must not be touched.
package parquetw
