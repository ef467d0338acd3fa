// Package parquetw answers how a stream of batches becomes one durable Parquet file.
package parquetw
