// Package progress answers how far a run is: the events that a run reports, and their renderings as a bar, as plain
// lines, as JSON lines or as nothing.
//
// A run reports to a Reporter. A Display is the one that shows something; it must be closed, and renders a last time
// before Close returns. What Displays write goes to stderr: results are not progress.
package progress
