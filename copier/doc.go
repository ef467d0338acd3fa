// Package copier answers: how does one chunk travel from the server to this machine?
//
// Copy runs one COPY and hands its bytes to a decoder. A Spool keeps the decoded batches of one file's chunks until
// their turn: in memory while the run's Budget lasts, in one temp file a Spool beyond. The chunk whose turn it is
// always flows, so full budgets cannot lock up.
//
// The caveat: after any error of Copy the connection may be closed, and its snapshot transaction with it.
package copier
