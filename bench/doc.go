// Package bench answers: how fast is an export from this server, with which settings, and what holds it back?
//
// Run sweeps the settings of a Config over a part of a relation and makes a Report; Measure is one measured run, which the caller
// of Run starts in a process of its own. Judge names the bottleneck from figures alone.
//
// The caveat: what is measured is internal/export itself, in chunks of a part of the blocks. bench has no copy of the pipeline.
package bench
