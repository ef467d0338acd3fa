package butler

import (
	"fmt"
	"strings"
)

// UsageError says that an option cannot be used as it was given: a --where that does not parse, a pattern together with
// find-first, a dimension that the dataset type does not have. Nothing was read from a dataset.
type UsageError struct {
	Option string // what the user typed it as, without dashes: "where", "columns", "find-first"
	Reason string
}

func (e *UsageError) Error() string { return e.Option + ": " + e.Reason }

// RepoError says that a repository cannot be opened or searched: its configuration, its registry, a manager of an
// unknown version, an unknown dataset type or collection.
type RepoError struct {
	Repo   string // as the user named it
	Reason string // what is wrong and, where there is something to do, what to do
	Err    error  // may be nil
}

func (e *RepoError) Error() string {
	return oneLine("butler repository "+quoteName(e.Repo)+": "+e.Reason, e.Err)
}

// Unwrap gives the error that caused e, or nil.
func (e *RepoError) Unwrap() error { return e.Err }

// ConnectError says that the registry's database server cannot be reached or does not let us in. It is found by
// errors.As inside a *RepoError.
type ConnectError struct {
	Server string   // the address as a URL, the password replaced
	Tried  []string // where credentials were looked for
	// PasswordFrom is the key of the repository's configuration that the password is from, registry.db or
	// registry.password; "" where it is from elsewhere, or there is none.
	PasswordFrom string
	Err          error // its text shows no password
}

func (e *ConnectError) Error() string {
	s := "cannot connect to the registry at " + e.Server
	if len(e.Tried) > 0 {
		s += " (credentials: " + strings.Join(e.Tried, ", ") + ")"
	}
	return oneLine(s, e.Err)
}

// Unwrap gives the error that caused e.
func (e *ConnectError) Unwrap() error { return e.Err }

// DatasetError says that one dataset cannot be read, or does not fit the others.
type DatasetError struct {
	Type   string // dataset type
	DataID string // required dimensions, {instrument: 'Cam1', visit: 4}
	Run    string
	ID     string // dataset id, as a UUID with dashes
	File   string // path or URI, "" when there is none
	Column string // "" when it is not about one column
	// Missing tells that it is not stored or that its file is gone: what SkipMissing passes over.
	Missing bool
	Err     error // what is wrong
}

func (e *DatasetError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dataset %s %s in run %s", quoteName(e.Type), e.DataID, quoteName(e.Run))
	if e.File != "" {
		fmt.Fprintf(&b, ", file %s", quoteName(e.File))
	}
	if e.Column != "" {
		fmt.Fprintf(&b, ", column %s", quoteName(e.Column))
	}
	return oneLine(b.String(), e.Err)
}

// Unwrap gives what is wrong.
func (e *DatasetError) Unwrap() error { return e.Err }

// FilterError says that the file of ids cannot be used.
type FilterError struct {
	File   string
	Column string // "" when the file itself is at fault
	Type   string // Arrow type of the column, "" when unknown
	Row    int64  // row of the offending value, from 0 (the message counts from 1); -1 when it is not about one value
	Value  string // the offending value, shortened
	Reason string
	Err    error // may be nil
}

func (e *FilterError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "filter ids %s", quoteName(e.File))
	if e.Column != "" {
		fmt.Fprintf(&b, ", column %s", quoteName(e.Column))
	}
	if e.Type != "" {
		fmt.Fprintf(&b, " (%s)", e.Type)
	}
	if e.Row >= 0 {
		fmt.Fprintf(&b, ", row %d", e.Row+1)
	}
	b.WriteString(": ")
	b.WriteString(e.Reason)
	return oneLine(b.String(), e.Err)
}

// Unwrap gives the error that caused e, or nil.
func (e *FilterError) Unwrap() error { return e.Err }

// oneLine joins a message and its cause, if there is one, into one line of printable text. Names come from databases and
// files: a line feed in one must not make two lines of an error.
func oneLine(s string, cause error) string {
	if cause != nil {
		s += ": " + cause.Error()
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// quoteName shows a name as it is when it is plain, else in double quotes.
func quoteName(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '\'' || r == 0x7f || r == 0xfffd }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// excerpt shortens text for a message.
func excerpt(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
