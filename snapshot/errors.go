package snapshot

import (
	"errors"
	"fmt"
	"strings"
)

// ErrLost says that nobody is left inside the snapshot: its rows can't be read any more, only a new run can.
var ErrLost = errors.New("the snapshot is lost: no connection is left inside it")

// LockError is a relation that could not be locked in time.
type LockError struct {
	Relation string   // as SQL writes it, "" when it is not known which of them
	Holders  []string // one line a session that holds or waits for a conflicting lock
	Err      error    // the server's word
}

func (e *LockError) Error() string {
	s := "lock " + e.Relation + ": "
	if e.Relation == "" {
		s = "lock what is to be read: "
	}
	if len(e.Holders) == 0 {
		return s + e.Err.Error()
	}
	return s + "not available; in the way: " + strings.Join(e.Holders, "; ")
}

// Unwrap gives the server's error.
func (e *LockError) Unwrap() error { return e.Err }

// ChangedError is a relation that was rewritten, renamed, dropped or made between the first look at it, the snapshot and our lock: what it
// holds now is not what the snapshot saw, or not what was asked for.
type ChangedError struct{ Relation, What string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s was %s meanwhile: the snapshot's rows can't be read", e.Relation, e.What)
}

// ImportError is a snapshot identifier that the server does not take.
type ImportError struct {
	ID     ID
	Reason string
	Err    error
}

func (e *ImportError) Error() string { return fmt.Sprintf("adopt snapshot %s: %s", e.ID, e.Reason) }

// Unwrap gives the server's error.
func (e *ImportError) Unwrap() error { return e.Err }

// SettingError is a setting of a worker's session that what it read has changed: its values may have been written otherwise
// than they are read here.
type SettingError struct{ Name, Was, Now string }

func (e *SettingError) Error() string {
	return fmt.Sprintf("a function that was called changed the session's %s from %q to %q: values may be written otherwise than they are read", e.Name, e.Was, e.Now)
}

// MismatchError is a connection that turned out to be outside the snapshot, or on another server.
type MismatchError struct{ What, Want, Got string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("a connection is not where the others are: %s is %s, not %s (is a balancer between?)", e.What, e.Got, e.Want)
}
