package typemap

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ValueError is one value that the column's type in the file cannot hold, or that is not what the server would send.
type ValueError struct {
	Column string // result column
	Type   string // its Postgres type, as format_type writes it
	Row    int64  // 0-based, within this COPY
	Value  string // the value or its beginning; bytes as \x and hexadecimal
	Reason string
	Hint   string // what to do about it, or empty
}

// Error counts rows from 1.
func (e *ValueError) Error() string { return e.text(fmt.Sprintf(", row %d", e.Row+1)) }

// Placeless is Error without the row, for who knows its place better.
func (e *ValueError) Placeless() string { return e.text("") }

func (e *ValueError) text(place string) string {
	s := fmt.Sprintf("column %s (%s)%s: ", strconv.Quote(e.Column), e.Type, place)
	if e.Value != "" {
		s += e.Value + ": "
	}
	return s + e.Reason
}

// StreamError is a COPY stream that breaks the format itself, so that no value in it can be trusted any more.
type StreamError struct {
	Row    int64 // 0-based row that was being read
	Reason string
}

// Error counts rows from 1.
func (e *StreamError) Error() string {
	return fmt.Sprintf("COPY stream, row %d: %s", e.Row+1, e.Reason)
}

// UnsupportedError is a column that cannot be exported as asked.
type UnsupportedError struct {
	Column string
	Type   string
	Reason string
	Hint   string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("column %s (%s): %s", strconv.Quote(e.Column), e.Type, e.Reason)
}

// NoColumnError is a choice of a type for columns that the result does not have.
type NoColumnError struct{ Names, Have []string }

func (e *NoColumnError) Error() string {
	have := make([]string, len(e.Have))
	for i, n := range e.Have {
		have[i] = sqlName(n)
	}
	return fmt.Sprintf("a type is given for column %s, which the result does not have: it has %s", quoteList(e.Names), quoteList(have))
}

// badValue is a ValueError before anyone has said which column and row. A decoder that knows how to write the value
// sets it; else the raw bytes are shown.
type badValue struct{ value, reason, hint string }

func (e *badValue) Error() string { return e.reason }

func bad(format string, a ...any) error { return &badValue{reason: fmt.Sprintf(format, a...)} }

func badHint(value, hint, format string, a ...any) error {
	return &badValue{value: value, hint: hint, reason: fmt.Sprintf(format, a...)}
}

// errNull is no failure: the value becomes NULL, as an option asked, and has been counted.
var errNull = &badValue{reason: "null"}

// typeChoice is a choice of type in a hint, for the column COLUMN.
var typeChoice = regexp.MustCompile(`--type COLUMN=(decimal\(p,s\)|[a-z0-9]+)`)

// ownHint writes a hint for the column of that name.
func ownHint(hint, name string) string {
	return typeChoice.ReplaceAllStringFunc(hint, func(s string) string {
		return typeFlag(name, s[len("--type COLUMN="):])
	})
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// typeFlag is the flag that gives a column a type, fit for SQL's rule about names and for the shell.
func typeFlag(name, kind string) string {
	if plainName.MatchString(name) {
		if kind == "decimal(p,s)" {
			return "--type '" + name + "=" + kind + "'"
		}
		return "--type " + name + "=" + kind
	}
	return "--type '" + strings.ReplaceAll(sqlName(name), "'", `'\''`) + "=" + kind + "'"
}

// sqlName is a name as SQL writes it.
func sqlName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

const excerptBytes = 80

// excerpt shows at most excerptBytes bytes of a value: quoted when it is text, hexadecimal when it is not.
func excerpt(v []byte, text bool) string {
	cut := v
	if len(cut) > excerptBytes {
		cut = cut[:excerptBytes]
		for text && len(cut) > 0 && !utf8.RuneStart(v[len(cut)]) {
			cut = cut[:len(cut)-1]
		}
	}
	more := ""
	switch {
	case text && len(v) > maxText: // of a container's text we know no more
		more = "…"
	case len(cut) < len(v):
		more = fmt.Sprintf("… (%d bytes)", len(v))
	}
	if text && utf8.Valid(cut) {
		return strconv.Quote(string(cut)) + more
	}
	return `\x` + hex.EncodeToString(cut) + more
}

func quoteList(names []string) string { return strings.Join(names, ", ") }
