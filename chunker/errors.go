package chunker

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// Field says which part of a [Request] an error is about.
type Field string

// The parts of a request, by the names that users know them under.
const (
	FieldTable   Field = "table"
	FieldColumns Field = "columns"
	FieldWhere   Field = "where"
	FieldSQL     Field = "sql"
	FieldChunk   Field = "chunk"
)

// StatementError is a text of the user's that cannot be run: not one SELECT,
// refused by the server, or asking for chunks where there can be none.
type StatementError struct {
	Field Field
	// Kind is the kind of statement that was refused, "EXPLAIN", "INSERT
	// inside WITH", …; "" when it is not the kind that is wrong.
	Kind   string
	Reason string // one line, complete without the other fields
	Hint   string // what to do, "" if there is nothing to say
	// Text is the user's text of that field, and Position the place in it,
	// in characters from 1; 0 when no place is known.
	Text     string
	Position int
	Err      error // the server's *pgconn.PgError, if it was the server
}

func (e *StatementError) Error() string { return e.Reason }

// Unwrap gives the server's error, if it was the server that refused.
func (e *StatementError) Unwrap() error { return e.Err }

// Excerpt is the line of Text that holds Position, cut to about width
// characters, and the column in it, from 0. It is "" when no place is known.
func (e *StatementError) Excerpt(width int) (line string, column int) {
	runes := []rune(e.Text)
	if e.Position < 1 || e.Position > len(runes)+1 {
		return "", 0
	}
	at := e.Position - 1
	lo, hi := at, at
	for lo > 0 && runes[lo-1] != '\n' {
		lo--
	}
	for hi < len(runes) && runes[hi] != '\n' {
		hi++
	}
	width = max(width, 20)
	if hi-lo > width {
		lo = max(lo, min(at-width/2, hi-width))
		hi = min(hi, lo+width)
	}
	out := runes[lo:hi]
	for i, r := range out {
		if r == '\t' || r == '\r' {
			out[i] = ' '
		}
	}
	return strings.TrimRight(string(out), " "), at - lo
}

// NotFoundError is a name that the server does not know.
type NotFoundError struct {
	Field    Field
	What     string // "relation", "column", "schema"
	Name     string // as the user wrote it
	Relation string // the relation a column was looked for in, "" otherwise
	Hint     string
	Err      error
}

func (e *NotFoundError) Error() string {
	if e.Relation != "" {
		return fmt.Sprintf("%s %s does not exist in %s", e.What, e.Name, e.Relation)
	}
	return fmt.Sprintf("%s %s does not exist", e.What, e.Name)
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// PermissionError is a grant that is missing.
type PermissionError struct {
	Relation string   // the relation, "" if only the server's text names it
	Columns  []string // the columns without a grant, nil for the whole relation
	Hint     string
	Err      error
}

func (e *PermissionError) Error() string {
	switch {
	case len(e.Columns) > 0:
		return fmt.Sprintf("no permission to read %s: SELECT is not granted on column %s", e.Relation, strings.Join(e.Columns, ", "))
	case e.Relation != "":
		return fmt.Sprintf("no permission to read %s: SELECT is not granted", e.Relation)
	case e.Err != nil:
		return e.Err.Error()
	}
	return "no permission"
}

func (e *PermissionError) Unwrap() error { return e.Err }

// RowSecurityError says that row security would hide rows from this user.
type RowSecurityError struct {
	Relations []string
	Policies  []string // their policies that apply, "policy on relation"
	Hint      string
	Err       error
}

func (e *RowSecurityError) Error() string {
	s := "row security hides rows of " + strings.Join(e.Relations, ", ")
	if len(e.Policies) > 0 {
		s += " (policy " + strings.Join(e.Policies, ", ") + ")"
	}
	return s
}

func (e *RowSecurityError) Unwrap() error { return e.Err }

// UnsupportedRelationError is a relation whose rows cannot be exported.
type UnsupportedRelationError struct {
	Relation string
	Kind     string // "sequence", "index", "temporary table", …
	Reason   string
	Hint     string
}

func (e *UnsupportedRelationError) Error() string {
	return fmt.Sprintf("%s %s cannot be exported: %s", e.Kind, e.Relation, e.Reason)
}

// ChangedError says that a relation was changed by somebody between two steps
// that must agree. Starting over is safe and usually works.
type ChangedError struct {
	Relation string
	Reason   string
	Err      error
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s changed meanwhile: %s", e.Relation, e.Reason)
}

func (e *ChangedError) Unwrap() error { return e.Err }

// SQLSTATEs that say what was wrong with a user's text.
const (
	codeSyntax           = "42601"
	codeUndefinedTable   = "42P01"
	codeUndefinedColumn  = "42703"
	codeInvalidSchema    = "3F000"
	codeNoPrivilege      = "42501"
	codeFeature          = "0A000"
	codeReadOnly         = "25006"
	codeNotReady         = "55000" // a materialized view without rows, among others
	codeInvalidObjectUse = "42809"
)

// userText is a text of the user's inside a statement that was sent.
type userText struct {
	field Field
	text  string
	// lead is how many characters of the sent statement come before it.
	lead int
	// end is where words that are not the user's go on, in characters of text; 0
	// if there are none.
	end int
}

// serverError says what the server's refusal of a statement means to the user
// whose text u it was built from. Errors that are not the server's are
// returned as they are.
func serverError(err error, u userText) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	pos := int(pg.Position) - u.lead
	if pg.Position == 0 || pos < 1 || pos > utf8.RuneCountInString(u.text)+1 {
		pos = 0
	}
	reason := pg.Message
	if pg.Code == codeSyntax && u.end > 0 && pos == u.end+1 {
		reason = "syntax error at the end of the condition"
	}
	switch {
	case pg.Code == codeNoPrivilege:
		return &PermissionError{Err: err}
	case strings.HasPrefix(pg.Code, "42"), strings.HasPrefix(pg.Code, "22"), pg.Code == codeInvalidSchema, pg.Code == codeFeature,
		pg.Code == codeReadOnly, pg.Code == codeNotReady:
		return &StatementError{Field: u.field, Reason: reason, Hint: pg.Hint, Text: u.text, Position: pos, Err: err}
	}
	return err
}

// NameError is a column whose name is not UTF-8, so that no file can have it.
type NameError struct {
	Relation string
	Attnum   int
	Name     string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%s: the name of its column number %d is not UTF-8: %q", e.Relation, e.Attnum, e.Name)
}
