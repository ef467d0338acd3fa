package chunker

import (
	"strings"
	"unicode/utf8"
)

// statement is one statement of the user's, cut into tokens.
type statement struct {
	text   string // without the trailing semicolon and what follows it
	tokens []token
	depth  []int // parentheses and brackets open before each token
	chunk  int   // index of the {chunk} token, -1 without one
}

const onlySelects = "only a statement that gives rows and changes nothing can be exported: SELECT, WITH, VALUES or TABLE"

// parseStatement checks that text is one statement of a kind that gives rows
// and changes nothing, as far as its words can tell. The error is a
// *StatementError.
func parseStatement(text string) (*statement, error) {
	fail := func(pos int, kind, reason, hint string) (*statement, error) {
		return nil, &StatementError{Field: FieldSQL, Kind: kind, Reason: reason, Hint: hint, Text: text, Position: runePosition(text, pos)}
	}
	tokens, err := lex(text)
	if err != nil {
		return fail(err.(*lexError).pos, "", err.Error(), "")
	}
	// What stands behind the last semicolon may be nothing, several times over.
	for len(tokens) > 0 && tokens[len(tokens)-1].is(";") {
		text, tokens = text[:tokens[len(tokens)-1].pos], tokens[:len(tokens)-1]
	}
	for i, t := range tokens {
		switch {
		case !t.is(";"):
		case i == 0:
			return fail(t.pos, "", "there is no statement before the semicolon", "begin with the statement")
		default:
			return fail(tokens[i+1].pos, "", "there are two statements or more, and only one can be exported", "give each its own export")
		}
	}
	if len(tokens) == 0 {
		return fail(-1, "", "there is no statement", onlySelects)
	}
	s := &statement{text: strings.TrimRight(text[:tokens[len(tokens)-1].end], " \t\r\n"), tokens: tokens, chunk: -1}
	if pos := s.nest(); pos >= 0 {
		return fail(pos, "", "unbalanced parentheses", "")
	}
	if i := sessionChange(tokens); i >= 0 {
		return fail(tokens[i].pos, "", changesSession, changesHint)
	}
	for i, t := range tokens {
		switch {
		case t.kind == tokParam:
			return fail(t.pos, "", "the parameter "+t.val+" has no value", "write the value itself")
		case t.kind == tokChunk && s.chunk >= 0:
			return fail(t.pos, "", "there may be only one {chunk}", "")
		case t.kind == tokChunk:
			s.chunk = i
		}
	}
	if i, kind := s.refusedKind(); kind != "" {
		return fail(tokens[i].pos, kind, kind+" cannot be exported", onlySelects)
	}
	return s, nil
}

const (
	changesSession = "set_config( … ) would change the session in which the server writes the values"
	changesHint    = "only settings of an application, such as 'app.user', may be set"
)

// sessionChange finds a call of set_config, and returns its index, or -1. A
// parameter with a dot in its name is an application's, and none of the
// server's.
func sessionChange(tokens []token) int {
	for i := 0; i+2 < len(tokens); i++ {
		if !tokens[i].name() || tokens[i].val != "set_config" || !tokens[i+1].is("(") {
			continue
		}
		if name := tokens[i+2]; name.kind != tokString || !strings.Contains(name.val, ".") || i+3 < len(tokens) && !tokens[i+3].is(",") {
			return i
		}
	}
	return -1
}

// nest fills depth and returns the byte offset of a parenthesis or bracket
// without partner, or -1.
func (s *statement) nest() int {
	s.depth = make([]int, len(s.tokens))
	var open []int
	for i, t := range s.tokens {
		s.depth[i] = len(open)
		switch {
		case t.is("("), t.is("["):
			open = append(open, i)
		case t.is(")"), t.is("]"):
			want := "("
			if t.val == "]" {
				want = "["
			}
			if len(open) == 0 || s.tokens[open[len(open)-1]].val != want {
				return t.pos
			}
			open = open[:len(open)-1]
			s.depth[i] = len(open)
		}
	}
	if len(open) > 0 {
		return s.tokens[open[len(open)-1]].pos
	}
	return -1
}

// refusedKind names the kind of a statement that gives no rows or changes
// something, and the token that shows it. "" means that no word shows it.
func (s *statement) refusedKind() (int, string) {
	first := 0
	for first < len(s.tokens) && s.tokens[first].is("(") {
		first++
	}
	if first == len(s.tokens) || s.tokens[first].kind != tokWord {
		return 0, "this"
	}
	switch verb := s.tokens[first].val; verb {
	case "select", "values", "table", "with":
	default:
		return first, strings.ToUpper(verb)
	}
	changes := func(i int) bool {
		if s.tokens[i].kind != tokWord {
			return false
		}
		switch s.tokens[i].val {
		case "insert", "update", "delete", "merge":
			return true
		}
		return false
	}
	// WITH … INSERT: the verb that follows the list of common table expressions.
	if s.tokens[first].is("with") {
		for i := first + 1; i < len(s.tokens); i++ {
			if s.depth[i] != s.depth[first] || s.tokens[i].kind != tokWord {
				continue
			}
			switch s.tokens[i].val {
			case "select", "values", "table":
				i = len(s.tokens)
				continue
			}
			if prev := s.tokens[i-1]; changes(i) && prev.is(")") {
				return i, strings.ToUpper(s.tokens[i].val)
			}
		}
	}
	for i, t := range s.tokens {
		if i == 0 {
			continue
		}
		prev := s.tokens[i-1]
		switch {
		// INTO is reserved: it is a name only after AS or a dot.
		case t.kind == tokWord && t.val == "into" && !prev.is("as") && !prev.is("."):
			return i, "SELECT INTO"
		case changes(i) && prev.is("(") && i >= 2 && (s.tokens[i-2].is("as") || s.tokens[i-2].is("materialized")):
			return i, strings.ToUpper(t.val) + " inside WITH"
		}
	}
	return 0, ""
}

// replaceChunk is the statement with its {chunk} replaced by a predicate, or
// the statement itself if it has none.
func (s *statement) replaceChunk(predicate string) string {
	if s.chunk < 0 {
		return s.text
	}
	t := s.tokens[s.chunk]
	return s.text[:t.pos] + predicate + s.text[t.end:]
}

// neutral is the statement as it is meant, with TRUE in the place of {chunk},
// padded so that every position stays what it is.
func (s *statement) neutral() string {
	if s.chunk < 0 {
		return s.text
	}
	t := s.tokens[s.chunk]
	width := utf8.RuneCountInString(s.text[t.pos:t.end])
	return s.replaceChunk("TRUE" + strings.Repeat(" ", width-len("TRUE")))
}

// runePosition turns a byte offset into a position as the server counts, in
// characters from 1; 0 for no position.
func runePosition(text string, offset int) int {
	if offset < 0 || offset > len(text) {
		return 0
	}
	return utf8.RuneCountInString(text[:offset]) + 1
}

// parseIdentifier reads one column name as SQL writes it.
func parseIdentifier(text string) (string, bool) {
	tokens, err := lex(text)
	if err != nil || len(tokens) != 1 || !tokens[0].name() {
		return "", false
	}
	return tokens[0].val, true
}

// relationName is a relation's name as SQL writes it.
type relationName struct {
	parts []string // unquoted: relation, schema.relation or database.schema.relation
	// text is the name for to_regclass. Unquoted parts are left unfolded: the
	// server folds by its own encoding.
	text string
}

// parseName reads a relation's name with its qualifiers.
func parseName(text string) (relationName, bool) {
	tokens, err := lex(text)
	if err != nil {
		return relationName{}, false
	}
	return nameOf(text, tokens)
}

// nameOf reads a relation's name from tokens of text.
func nameOf(text string, tokens []token) (relationName, bool) {
	var n relationName
	if len(tokens)%2 != 1 || len(tokens) > 5 {
		return n, false
	}
	for i, t := range tokens {
		switch {
		case i%2 == 1 && t.is("."):
			n.text += "."
		case i%2 == 0 && t.kind == tokWord:
			n.text += text[t.pos:t.end]
			n.parts = append(n.parts, t.val)
		case i%2 == 0 && t.kind == tokQuoted:
			n.text += quote(t.val)
			n.parts = append(n.parts, t.val)
		default:
			return relationName{}, false
		}
	}
	return n, true
}

// quote writes an identifier so that the server takes it as it is.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// plainName reports whether SQL needs no quotes around name, keywords aside.
func plainName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c == '_' || i > 0 && digit(c)) {
			return false
		}
	}
	return name != ""
}

// display writes an identifier for people: quotes only where they matter.
func display(name string) string {
	if plainName(name) {
		return name
	}
	return quote(name)
}

// literal writes a string constant.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
