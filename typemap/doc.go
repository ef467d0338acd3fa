// Package typemap answers what a Postgres column is in Arrow and Parquet, and turns the rows of a COPY into batches of
// that form. It never talks to a server.
//
// NewCatalog takes what CatalogQuery says about types. NewPlan decides, column by column, from one table of types and a
// few rules for domains, enums, arrays, composites and ranges, under Options. A Decoder of the plan reads one COPY
// stream, CSV or binary, and writes values straight into the buffers of column.Batch; both transports give the same
// batches for the same rows.
//
// No value is changed in silence. What a type in the file cannot say is a *ValueError, or follows an option and is
// counted in Batch.Counts. A corrupt stream is an error, never a panic and never a guess.
//
// The one caveat: the session that sends the rows must have DateStyle ISO, IntervalStyle postgres, bytea_output hex,
// extra_float_digits 1 or more and a client_encoding of UTF8 (or SQL_ASCII for a database of that encoding).
package typemap

//go:generate go test . -run ^TestTypesDoc$ -update
