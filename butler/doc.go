// Package butler answers two questions: which catalogs does an LSST Butler collection hold, and what rows are in them?
//
// Open finds a repository, reads its registry in one read-only transaction and lists the datasets of one type; an
// Extraction then reads their Parquet files, as many at once as it is allowed, and hands their rows to a Sink in the
// order of the listing, one row group a dataset. The rows are those of astropy_to_arrow(butler.get(ref,
// storageClass="ArrowAstropy")) in Python, bit for bit, but for what is wrong there: dates, bytes behind a NUL, nulls
// inside lists of integers. No Python is needed, nothing is ever written to a repository, and nothing is written at all:
// that is the sink's affair.
//
// The one caveat: sizes and paths in a repository are not trusted, but its text is. Whoever can write to a registry
// decides which rows come out.
//
// Source: lsst/daf_butler, release 30.
package butler
