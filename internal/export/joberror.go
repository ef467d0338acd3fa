package export

import "fmt"

// JobError is what the planning of one of several jobs came upon.
type JobError struct {
	Index int    // in Config.Jobs
	Out   string // the job's
	Err   error
}

func (e *JobError) Error() string { return fmt.Sprintf("%s: %v", e.Out, e.Err) }

// Unwrap gives the cause.
func (e *JobError) Unwrap() error { return e.Err }
