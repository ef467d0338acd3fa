// Package colchunk answers one question: what are the values of these rows of a Parquet column chunk?
//
// A Reader walks one column chunk page by page and appends the rows that are asked for to a column.Buffer, which is laid
// out as Parquet's own PLAIN encoding: most of reading is copying stretches of bytes. Rows that are not asked for cost
// their page header at most when the whole page is skipped. Two things are its own that arrow-go's column readers do not
// have and that the butler needs: the memory that a reader holds can be dropped between two calls (a table of 1,000
// columns has 1,000 open pages otherwise), and no size in a file is believed before it is checked.
//
// Flat columns and lists of one fixed length are read; their levels need not be nested deeper than that.
//
// The one caveat: a Reader and the Scratch that it was made with belong to one goroutine.
//
// Source: https://parquet.apache.org/docs/file-format/ and parquet.thrift.
package colchunk
