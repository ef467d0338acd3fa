// Package cli answers what the user asked for: it reads the command line and the environment, hands a complete
// export.Config to internal/export, and turns what comes back into words and an exit code.
//
// Run is the whole program short of signals. Its types are Env, what it may touch of the process, and Interrupted, the
// cause with which its context is cancelled by a signal. Only this package and main read flags and the environment, print,
// or know exit codes.
package cli
