package chunker

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// tokenKind is what a token is by Postgres's lexical rules.
type tokenKind uint8

const (
	tokWord   tokenKind = iota // unquoted identifier or keyword; val is folded to lower case
	tokQuoted                  // quoted identifier, "…" or U&"…"; val is the name
	tokString                  // any string constant; val is its content
	tokNumber
	tokParam // $1
	tokOp    // operator
	tokPunct // ( ) [ ] , ; . : :: := .. =>
	tokChunk // {chunk} or {chunk:alias}; val is the alias, folded, or ""
	tokOther // a character that begins no token
)

// token is one token of a statement. pos and end are byte offsets into it.
type token struct {
	kind     tokenKind
	pos, end int
	val      string
	// prefix is the letter before a string or quoted identifier: 'e', 'b',
	// 'x', 'n', 'u', or '$' for a dollar quote, or 0.
	prefix byte
	// glued says that the token starts where the one before it ends.
	glued bool
}

// is reports whether t is the keyword or punctuation s. Keywords are given in
// lower case; a quoted identifier is never one.
func (t token) is(s string) bool {
	return (t.kind == tokWord || t.kind == tokPunct || t.kind == tokOp) && t.val == s
}

// name reports whether t can be an identifier.
func (t token) name() bool { return t.kind == tokWord || t.kind == tokQuoted }

// lexError is a text that ends inside a token, or a token that cannot be.
type lexError struct {
	pos int // byte offset
	msg string
}

func (e *lexError) Error() string { return e.msg }

const (
	// maxIdentifier is NAMEDATALEN - 1: the server cuts longer names.
	maxIdentifier = 63
	// opChars are the characters of operators: scan.l, op_chars.
	opChars = "~!@#^&|`?+-*/%<>="
)

func identStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func identCont(c byte) bool { return identStart(c) || digit(c) || c == '$' }

// space is scan.l's space. \v belongs to it from Postgres 16 on; before, the
// server reports it as a syntax error itself.
func space(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

// lex splits s into tokens by the rules of Postgres's scan.l with
// standard_conforming_strings on. White space and comments give no tokens.
// Errors are *lexError.
func lex(s string) ([]token, error) {
	l := lexer{src: s}
	for {
		if err := l.skipSpace(); err != nil {
			return nil, err
		}
		if l.pos >= len(s) {
			return l.out, nil
		}
		if err := l.next(); err != nil {
			return nil, err
		}
	}
}

type lexer struct {
	src string
	pos int
	out []token
}

func (l *lexer) at(i int) byte {
	if i < len(l.src) {
		return l.src[i]
	}
	return 0
}

func (l *lexer) has(prefix string) bool { return strings.HasPrefix(l.src[l.pos:], prefix) }

func (l *lexer) emit(kind tokenKind, start int, val string, prefix byte) {
	glued := len(l.out) > 0 && l.out[len(l.out)-1].end == start
	l.out = append(l.out, token{kind: kind, pos: start, end: l.pos, val: val, prefix: prefix, glued: glued})
}

func (l *lexer) skipSpace() error {
	for l.pos < len(l.src) {
		switch {
		case space(l.src[l.pos]):
			l.pos++
		case l.has("--"):
			l.skipLineComment()
		case l.has("/*"):
			if err := l.skipBlockComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) skipLineComment() {
	for l.pos < len(l.src) && l.src[l.pos] != '\n' && l.src[l.pos] != '\r' {
		l.pos++
	}
}

// skipBlockComment skips a comment with those nested in it.
func (l *lexer) skipBlockComment() error {
	start, depth := l.pos, 0
	for l.pos < len(l.src) {
		switch {
		case l.has("/*"):
			depth++
			l.pos += 2
		case l.has("*/"):
			depth--
			l.pos += 2
			if depth == 0 {
				return nil
			}
		default:
			l.pos++
		}
	}
	return &lexError{start, "comment without end"}
}

func (l *lexer) next() error {
	start, c := l.pos, l.src[l.pos]
	switch {
	case c == 0:
		return &lexError{start, "a NUL byte cannot be part of a statement"}
	case c == '\'':
		return l.quotedString(0)
	case c == '"':
		return l.quotedIdent(0)
	case strings.IndexByte("eEbBxXnN", c) >= 0 && l.at(l.pos+1) == '\'':
		l.pos++
		return l.quotedString(c | 0x20)
	case (c == 'u' || c == 'U') && l.at(l.pos+1) == '&' && l.at(l.pos+2) == '\'':
		l.pos += 2
		return l.quotedString('u')
	case (c == 'u' || c == 'U') && l.at(l.pos+1) == '&' && l.at(l.pos+2) == '"':
		l.pos += 2
		return l.quotedIdent('u')
	case identStart(c):
		for l.pos < len(l.src) && identCont(l.src[l.pos]) {
			l.pos++
		}
		l.emit(tokWord, start, cut(fold(l.src[start:l.pos])), 0)
	case digit(c), c == '.' && digit(l.at(l.pos+1)):
		l.number()
	case c == '$':
		return l.dollar()
	case c == '{':
		l.brace()
	case l.has("::"), l.has(":="), l.has(".."):
		l.pos += 2
		l.emit(tokPunct, start, l.src[start:l.pos], 0)
	case strings.IndexByte("()[],;.:", c) >= 0:
		l.pos++
		l.emit(tokPunct, start, l.src[start:l.pos], 0)
	case strings.IndexByte(opChars, c) >= 0:
		l.operator()
	default:
		l.pos++
		l.emit(tokOther, start, l.src[start:l.pos], 0)
	}
	return nil
}

// fold is downcase_identifier for a multi-byte server encoding: ASCII only. A
// server with a single-byte encoding folds more; a name it would fold
// differently is then unknown to us, which costs a split and never a row.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}

// cut shortens an identifier as the server does (truncate_identifier): to 63
// bytes, at a character's edge.
func cut(s string) string {
	if len(s) <= maxIdentifier {
		return s
	}
	n := maxIdentifier
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (l *lexer) number() {
	start := l.pos
	hex := func(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
	run := func(ok func(byte) bool) {
		for l.pos < len(l.src) && (ok(l.src[l.pos]) || l.src[l.pos] == '_' && l.pos > start) {
			l.pos++
		}
	}
	if l.src[l.pos] == '0' && strings.IndexByte("xXoObB", l.at(l.pos+1)) >= 0 && l.at(l.pos+1) != 0 && hex(l.at(l.pos+2)) {
		l.pos += 2
		run(hex)
	} else {
		run(digit)
		// "1..2" is two numbers with a range between them.
		if l.at(l.pos) == '.' && l.at(l.pos+1) != '.' {
			l.pos++
			run(digit)
		}
		if l.at(l.pos)|0x20 == 'e' {
			i := l.pos + 1
			if c := l.at(i); c == '+' || c == '-' {
				i++
			}
			if digit(l.at(i)) {
				l.pos = i
				run(digit)
			}
		}
	}
	l.emit(tokNumber, start, l.src[start:l.pos], 0)
}

// operator takes the longest operator, which ends before a comment and, if it
// has several characters, not in + or - unless one of ~!@#^&|`?% is in it.
func (l *lexer) operator() {
	start := l.pos
	for l.pos < len(l.src) && strings.IndexByte(opChars, l.src[l.pos]) >= 0 {
		if l.pos > start && (l.has("--") || l.has("/*")) {
			break
		}
		l.pos++
	}
	for l.pos-start > 1 {
		last := l.src[l.pos-1]
		if last != '+' && last != '-' || strings.ContainsAny(l.src[start:l.pos-1], "~!@#^&|`?%") {
			break
		}
		l.pos--
	}
	kind, val := tokOp, l.src[start:l.pos]
	switch val {
	case "!=":
		val = "<>"
	case "=>":
		kind = tokPunct
	}
	l.emit(kind, start, val, 0)
}

// quotedIdent reads from the opening quote.
func (l *lexer) quotedIdent(prefix byte) error {
	start := l.pos
	if prefix != 0 {
		start -= 2
	}
	var b strings.Builder
	for l.pos++; ; l.pos++ {
		if l.pos >= len(l.src) {
			return &lexError{start, "quoted identifier without end"}
		}
		if l.src[l.pos] == 0 {
			return &lexError{l.pos, "a NUL byte cannot be part of a statement"}
		}
		if l.src[l.pos] == '"' {
			if l.at(l.pos+1) != '"' {
				break
			}
			l.pos++
		}
		b.WriteByte(l.src[l.pos])
	}
	l.pos++
	if b.Len() == 0 {
		return &lexError{start, "zero-length quoted identifier"}
	}
	val := b.String()
	if prefix == 'u' {
		decoded, err := l.unicodeEscapes(val, start)
		if err != nil {
			return err
		}
		val = decoded
		if val == "" {
			return &lexError{start, "zero-length quoted identifier"}
		}
	}
	l.emit(tokQuoted, start, cut(val), prefix)
	return nil
}

// quotedString reads from the opening quote, with the parts that SQL joins
// when only white space with a line break stands between them.
func (l *lexer) quotedString(prefix byte) error {
	start := l.pos
	switch prefix {
	case 0:
	case 'u':
		start -= 2
	default:
		start--
	}
	var b strings.Builder
	for {
		for l.pos++; ; l.pos++ {
			if l.pos >= len(l.src) {
				return &lexError{start, "string without end"}
			}
			c := l.src[l.pos]
			if c == 0 {
				return &lexError{l.pos, "a NUL byte cannot be part of a statement"}
			}
			if c == '\'' {
				if l.at(l.pos+1) != '\'' {
					break
				}
				l.pos++
			} else if c == '\\' && prefix == 'e' {
				if l.pos+1 >= len(l.src) {
					return &lexError{start, "string without end"}
				}
				l.escape(&b)
				continue
			}
			b.WriteByte(c)
		}
		l.pos++
		if !l.continued() {
			break
		}
	}
	val := b.String()
	if prefix == 'u' {
		decoded, err := l.unicodeEscapes(val, start)
		if err != nil {
			return err
		}
		val = decoded
	}
	l.emit(tokString, start, val, prefix)
	return nil
}

// continued moves to the opening quote of a string's next part, if there is
// one: white space with at least one line break, line comments included.
func (l *lexer) continued() bool {
	newline := false
	i := l.pos
	for i < len(l.src) {
		c := l.src[i]
		switch {
		case c == '\n' || c == '\r':
			newline = true
			i++
		case space(c):
			i++
		case strings.HasPrefix(l.src[i:], "--"):
			for i < len(l.src) && l.src[i] != '\n' && l.src[i] != '\r' {
				i++
			}
		case c == '\'' && newline:
			l.pos = i
			return true
		default:
			return false
		}
	}
	return false
}

// escape decodes the backslash escape at l.pos and leaves l.pos on its last byte.
func (l *lexer) escape(b *strings.Builder) {
	l.pos++
	c := l.src[l.pos]
	digits := func(from, most, base int) int {
		n, v := 0, 0
		for n < most && from+n < len(l.src) {
			d := hexDigit(l.src[from+n])
			if d < 0 || d >= base {
				break
			}
			v = v*base + d
			n++
		}
		if n == 0 {
			return -1
		}
		l.pos = from + n - 1
		return v
	}
	switch {
	case c == 'b':
		b.WriteByte('\b')
	case c == 'f':
		b.WriteByte('\f')
	case c == 'n':
		b.WriteByte('\n')
	case c == 'r':
		b.WriteByte('\r')
	case c == 't':
		b.WriteByte('\t')
	case c >= '0' && c <= '7':
		b.WriteByte(byte(digits(l.pos, 3, 8)))
	case c == 'x':
		if v := digits(l.pos+1, 2, 16); v >= 0 {
			b.WriteByte(byte(v))
		} else {
			b.WriteByte(c)
		}
	case c == 'u' || c == 'U':
		most := 4
		if c == 'U' {
			most = 8
		}
		if v := digits(l.pos+1, most, 16); v >= 0 {
			b.WriteRune(rune(v))
		} else {
			b.WriteByte(c)
		}
	default:
		b.WriteByte(c)
	}
}

func hexDigit(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// unicodeEscapes decodes the content of a U& string or identifier, and takes
// the UESCAPE clause that may follow.
func (l *lexer) unicodeEscapes(s string, start int) (string, error) {
	esc := byte('\\')
	save := l.pos
	if err := l.skipSpace(); err != nil {
		return "", err
	}
	if len(l.src)-l.pos >= 7 && strings.EqualFold(l.src[l.pos:l.pos+7], "uescape") && !identCont(l.at(l.pos+7)) {
		l.pos += 7
		if err := l.skipSpace(); err != nil {
			return "", err
		}
		if l.at(l.pos) != '\'' || l.at(l.pos+2) != '\'' || strings.IndexByte("+'\"", l.at(l.pos+1)) >= 0 || space(l.at(l.pos+1)) || hexDigit(l.at(l.pos+1)) >= 0 {
			return "", &lexError{l.pos, "UESCAPE must be followed by a one-character string"}
		}
		esc = l.at(l.pos + 1)
		l.pos += 3
	} else {
		l.pos = save
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != esc {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == esc {
			b.WriteByte(esc)
			i++
			continue
		}
		from, n := i+1, 4
		if from < len(s) && s[from] == '+' {
			from, n = i+2, 6
		}
		v := 0
		for k := range n {
			d := -1
			if from+k < len(s) {
				d = hexDigit(s[from+k])
			}
			if d < 0 {
				return "", &lexError{start, "invalid Unicode escape"}
			}
			v = v*16 + d
		}
		b.WriteRune(rune(v))
		i = from + n - 1
	}
	return b.String(), nil
}

// dollar reads a dollar-quoted string, a parameter or a lone dollar sign.
func (l *lexer) dollar() error {
	start := l.pos
	if digit(l.at(l.pos + 1)) {
		l.pos++
		for digit(l.at(l.pos)) {
			l.pos++
		}
		l.emit(tokParam, start, l.src[start:l.pos], 0)
		return nil
	}
	i := l.pos + 1
	if identStart(l.at(i)) {
		for i < len(l.src) && (identStart(l.src[i]) || digit(l.src[i])) {
			i++
		}
	}
	if l.at(i) != '$' {
		l.pos++
		l.emit(tokOther, start, "$", 0)
		return nil
	}
	tag := l.src[start : i+1]
	n := strings.Index(l.src[i+1:], tag)
	if n < 0 {
		return &lexError{start, fmt.Sprintf("string without end (%s)", tag)}
	}
	body := l.src[i+1 : i+1+n]
	if strings.IndexByte(body, 0) >= 0 {
		return &lexError{start, "a NUL byte cannot be part of a statement"}
	}
	l.pos = i + 1 + n + len(tag)
	l.emit(tokString, start, body, '$')
	return nil
}

// brace reads a {chunk} placeholder. Anything else in braces is no SQL.
func (l *lexer) brace() {
	start := l.pos
	i := start + 1
	if strings.HasPrefix(l.src[i:], "chunk") {
		i += len("chunk")
		alias := ""
		if l.at(i) == ':' {
			in := lexer{src: l.src, pos: i + 1}
			if in.pos < len(in.src) && (identStart(in.src[in.pos]) || in.src[in.pos] == '"') && in.next() == nil && len(in.out) == 1 && in.out[0].name() {
				alias, i = in.out[0].val, in.pos
			}
		}
		if l.at(i) == '}' {
			l.pos = i + 1
			l.emit(tokChunk, start, alias, 0)
			return
		}
	}
	l.pos++
	l.emit(tokOther, start, "{", 0)
}
