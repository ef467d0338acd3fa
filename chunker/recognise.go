package chunker

import (
	"fmt"
	"strings"
)

// scan is a statement that may be a plain scan:
//
//	SELECT list FROM [ONLY] table [*] [[AS] alias] [WHERE condition]
//
// It says what the words look like; whether the rows can be read in pieces is
// decided with the server's help.
type scan struct {
	stmt  *statement
	items []scanItem
	only  bool
	name  relationName
	alias string // "" when the statement gives none
	// whereFrom is the token after WHERE, len(tokens) without a WHERE.
	whereFrom int
}

// scanItem is one item of the select list, tokens [from, to).
type scanItem struct {
	from, to int
	star     bool // * or alias.*
}

const aJoin = "a join"

// clauses end a table reference or a condition: none may follow in a plain scan.
var clauses = map[string]string{
	"group": "GROUP BY", "having": "HAVING", "window": "WINDOW", "order": "ORDER BY", "limit": "LIMIT",
	"offset": "OFFSET", "fetch": "FETCH", "for": "FOR UPDATE or SHARE", "union": "UNION", "intersect": "INTERSECT",
	"except": "EXCEPT", "tablesample": "TABLESAMPLE", "join": aJoin, "cross": aJoin, "natural": aJoin,
	"left": aJoin, "right": aJoin, "full": aJoin, "inner": aJoin, "on": aJoin, "using": aJoin,
}

// recognise reads s as a plain scan. If it is none, why says what it has.
func recognise(s *statement) (sc *scan, why string) {
	tokens := s.tokens
	switch {
	case tokens[0].is("("):
		return nil, "the statement is in parentheses"
	case tokens[0].is("with"):
		return nil, "it has WITH"
	case tokens[0].is("values"):
		return nil, "it is VALUES"
	case tokens[0].is("table"):
		return nil, "it is TABLE"
	}
	if len(tokens) > 1 && (tokens[1].is("distinct") || tokens[1].is("all")) {
		return nil, "it has " + strings.ToUpper(tokens[1].val)
	}
	from := -1
	for i := 1; i < len(tokens); i++ {
		if s.depth[i] != 0 || tokens[i].kind != tokWord {
			continue
		}
		prev := tokens[i-1]
		if prev.is("as") || prev.is(".") {
			continue // a name, whatever it says
		}
		if tokens[i].val == "from" && !prev.is("distinct") {
			from = i
			break
		}
		if c := clauses[tokens[i].val]; c != "" && c != aJoin && !inCall(tokens, i) {
			return nil, "it has " + c
		}
	}
	if from < 0 {
		return nil, "it has no FROM"
	}
	if from == 1 {
		return nil, "it selects no columns"
	}
	sc = &scan{stmt: s, whereFrom: len(tokens)}
	if why := sc.list(1, from); why != "" {
		return nil, why
	}
	if why := sc.table(from + 1); why != "" {
		return nil, why
	}
	return sc, ""
}

// list cuts the select list.
func (sc *scan) list(from, to int) string {
	tokens := sc.stmt.tokens
	start := from
	for i := from; i <= to; i++ {
		if i < to && (sc.stmt.depth[i] != 0 || !tokens[i].is(",")) {
			continue
		}
		if start == i {
			return "its list has an empty item"
		}
		it := scanItem{from: start, to: i}
		n := i - start
		it.star = n == 1 && tokens[start].is("*") ||
			n == 3 && tokens[start].name() && tokens[start+1].is(".") && tokens[start+2].is("*")
		sc.items = append(sc.items, it)
		start = i + 1
	}
	return ""
}

// table reads what follows FROM, from token i on.
func (sc *scan) table(i int) string {
	s := sc.stmt
	at := func(i int) token {
		if i < len(s.tokens) {
			return s.tokens[i]
		}
		return token{kind: tokOther}
	}
	if at(i).is("only") {
		sc.only = true
		i++
	}
	end := i
	for end < len(s.tokens) && (at(end).name() || at(end).is(".")) {
		// Two names in a row: the second is an alias or a clause.
		if end > i && at(end).name() && !at(end-1).is(".") {
			break
		}
		end++
	}
	name, ok := nameOf(s.text, s.tokens[i:end])
	if !ok || at(i).kind == tokWord && (at(i).val == "lateral" || at(i).val == "rows" && at(i+1).is("from")) {
		return "FROM is not one table"
	}
	if at(end).is("(") {
		return "FROM calls a function, or names columns"
	}
	sc.name = name
	i = end
	if at(i).is("*") {
		i++
	}
	switch t := at(i); {
	case t.is("as"):
		if !at(i + 1).name() {
			return "FROM is not one table"
		}
		sc.alias = at(i + 1).val
		i += 2
	case t.kind == tokQuoted:
		sc.alias = t.val
		i++
	case t.kind == tokWord && t.val != "where":
		if c, ok := clauses[t.val]; ok {
			return "it has " + c
		}
		sc.alias = t.val
		i++
	}
	switch t := at(i); {
	case i == len(s.tokens):
		return ""
	case t.is("("):
		return "FROM gives the columns other names"
	case t.is(","):
		return "it has a join"
	case t.kind == tokWord && clauses[t.val] != "":
		return "it has " + clauses[t.val]
	case !t.is("where"):
		return "FROM is not one table"
	}
	sc.whereFrom = i + 1
	if sc.whereFrom == len(s.tokens) {
		return "WHERE has no condition"
	}
	for i = sc.whereFrom; i < len(s.tokens); i++ {
		t := s.tokens[i]
		if s.depth[i] != 0 || t.kind != tokWord || s.tokens[i-1].is(".") {
			continue
		}
		if c := clauses[t.val]; c != "" && c != aJoin && !inCall(s.tokens, i) { // LEFT( … ) is a function
			return "it has " + c
		}
	}
	return ""
}

// collationFor reports whether token i is the FOR of COLLATION FOR ( … ), which
// is a function and no clause.
func collationFor(tokens []token, i int) bool {
	return tokens[i].is("for") && i > 0 && tokens[i-1].is("collation") && i+1 < len(tokens) && tokens[i+1].is("(")
}

// inCall reports whether token i, which looks like a clause, is a part of a
// call: COLLATION FOR ( … ), or f( … ) WITHIN GROUP ( … ).
func inCall(tokens []token, i int) bool {
	return collationFor(tokens, i) || tokens[i].is("group") && i > 1 && tokens[i-1].is("within") && tokens[i-2].is(")")
}

// unqualify is the statement without the schema in schema.table.column: in a
// chunk's statement the table is an alias, which has none.
func (s *statement) unqualify(r RelationRef) *statement {
	var b strings.Builder
	from := 0
	name := func(i int, want string) bool { return s.tokens[i].name() && s.tokens[i].val == want }
	for i := 0; i+3 < len(s.tokens); i++ {
		if name(i, r.Schema) && s.tokens[i+1].is(".") && name(i+2, r.Name) && s.tokens[i+3].is(".") && (i == 0 || !s.tokens[i-1].is(".")) {
			b.WriteString(s.text[from:s.tokens[i].pos])
			from = s.tokens[i+2].pos
		}
	}
	if from == 0 {
		return s
	}
	short, err := parseStatement(b.String() + s.text[from:])
	if err != nil {
		return s
	}
	return short
}

// text is the user's text of tokens [from, to), comments between them included.
func (sc *scan) text(from, to int) string {
	return sc.stmt.text[sc.stmt.tokens[from].pos:sc.stmt.tokens[to-1].end]
}

// where is the text of the condition, "" without one.
func (sc *scan) where() string {
	if sc.whereFrom == len(sc.stmt.tokens) {
		return ""
	}
	return sc.text(sc.whereFrom, len(sc.stmt.tokens))
}

// usage is what an expression uses, as far as its tokens say. It errs on the
// side of more: what it does not understand is in why.
type usage struct {
	// calls are the functions called, by their last name, with the numbers of
	// arguments seen; argsUnknown and argsField are no numbers.
	calls map[string]map[int]bool
	// operators are the operators, without those of keywords.
	operators map[string]bool
	// words are unquoted words that are neither columns nor calls: keywords,
	// types, labels.
	words map[string]bool
	// types are the names of types that values are cast to, or given in.
	types map[string]bool
	// textCasts are types that something is cast to which may be a text read
	// from the table: 'now' in it would be the time of the cast.
	textCasts map[string]bool
	// loose are the functions called with an argument that is not written as a
	// cast to an integer type or numeric; looseNumeric those with numeric too.
	loose, looseNumeric map[string]bool
	wholeRow            bool // the row as a value
	starInner           bool // * anywhere but as an item of the list
	expr                bool // anything but columns and stars
	why                 string
}

const (
	argsUnknown = -1 // the tokens do not tell
	argsField   = -2 // x.name: a field, or a function of one argument
)

func newUsage() *usage {
	return &usage{
		calls: map[string]map[int]bool{}, operators: map[string]bool{}, words: map[string]bool{},
		types: map[string]bool{}, textCasts: map[string]bool{}, loose: map[string]bool{}, looseNumeric: map[string]bool{},
	}
}

func (u *usage) call(name string, args int) {
	if u.calls[name] == nil {
		u.calls[name] = map[int]bool{}
	}
	u.calls[name][args] = true
	if args == argsField {
		u.loose[name], u.looseNumeric[name] = true, true
	}
}

func (u *usage) refuse(format string, args ...any) {
	if u.why == "" {
		u.why = fmt.Sprintf(format, args...)
	}
}

// Names that stand before a parenthesis without being a function's.
var beforeParen = words(`and or not in any some all case when then else between symmetric asymmetric like ilike similar to
	escape from for is distinct isnull notnull coalesce nullif greatest least row cast extract position trim normalize`)

// Reserved words that an expression over one row may hold.
var harmlessWords = words(`and or not null true false case when then else end in is like ilike similar to between symmetric
	asymmetric distinct from as cast any some all array collate isnull notnull at time zone for both leading trailing placing
	with without double precision binary`)

// Words that read the clock or the session, spelled without a parenthesis.
var sessionWords = words(`current_date current_time current_timestamp localtime localtimestamp current_user current_role
	session_user user system_user current_catalog current_schema`)

var queryWords = words(`select values table exists grouping`)

// timeWords are the texts that the input functions of date and time types turn
// into the present.
var timeWords = words(`now today tomorrow yesterday`)

func words(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// readsClock reports whether a date or time type could read the present out
// of text: one of timeWords stands in it as a word of its own.
func readsClock(text string) bool {
	isLetter := func(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' }
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !isLetter(r) }) {
		if timeWords[strings.ToLower(w)] {
			return true
		}
	}
	return false
}

// columnTypes are the columns that an expression may name, system columns
// included, with the OIDs of their types.
type columnTypes map[string]uint32

// OIDs of the types that hold dates and times: pg_type.dat.
const (
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidTimetz      = 1266
)

func dateOrTime(oid uint32) bool {
	switch oid {
	case oidDate, oidTime, oidTimestamp, oidTimestamptz, oidTimetz:
		return true
	}
	return false
}

// inspectMode is where the tokens of an expression come from.
type inspectMode uint8

const (
	inCondition inspectMode = iota // a WHERE condition
	inListItem                     // an item of the select list, with its label
	inPlan                         // the server's EXPLAIN: constants are values, casts were judged before
	inStatement                    // a whole statement, with aliases and subqueries
)

// inspector walks over an expression's tokens.
type inspector struct {
	tokens  []token
	alias   string
	columns columnTypes
	u       *usage
	mode    inspectMode
	castAs  map[int]int // the AS of a CAST → its opening parenthesis
	castEnd int         // the token after the type of the last ::, or CAST
}

// isColumn reports whether t, standing alone, can be a column. An unquoted
// reserved word is none, but the server has refused a statement that means one
// so, and what it means instead is looked at before.
func (in *inspector) isColumn(t token) bool {
	_, ok := in.columns[t.val]
	return ok && t.name()
}

// inspect adds to u what the expression in tokens uses.
func inspect(u *usage, tokens []token, alias string, columns columnTypes, mode inspectMode) {
	in := inspector{tokens: tokens, alias: alias, columns: columns, u: u, mode: mode, castAs: map[int]int{}}
	depth := 0
	for i := 0; i < len(tokens) && u.why == ""; {
		switch {
		case tokens[i].is("("), tokens[i].is("["):
			depth++
		case tokens[i].is(")"), tokens[i].is("]"):
			depth--
		}
		i = in.token(i, depth)
	}
}

func (in *inspector) at(i int) token {
	if i >= 0 && i < len(in.tokens) {
		return in.tokens[i]
	}
	return token{kind: tokOther}
}

// token takes token i and returns the index to go on with.
func (in *inspector) token(i, depth int) int {
	t, u := in.tokens[i], in.u
	switch t.kind {
	case tokString:
		u.expr = true
		if in.mode != inPlan && readsClock(t.val) {
			u.refuse("the text constant %s could be read as the present time", literal(shorten(t.val)))
		}
	case tokNumber:
		u.expr = true
	case tokOp:
		return in.operator(i)
	case tokPunct:
		switch t.val {
		case "::":
			u.expr = true
			return in.cast(i+1, in.textOperand(i))
		case ":=", "=>":
			u.refuse("it names a function's arguments")
		}
	case tokWord, tokQuoted:
		return in.name(i, depth)
	case tokChunk:
	default:
		u.refuse("%s is not understood", t.val)
	}
	return i + 1
}

func (in *inspector) operator(i int) int {
	t := in.tokens[i]
	if prev := in.at(i - 1); t.val == "*" && (i == 0 || prev.is("(") || prev.is(",") || prev.is(".")) {
		// A star that is a list item is never seen here.
		in.u.starInner = true
		if prev.is(".") {
			in.u.wholeRow = true
		}
		return i + 1
	}
	in.u.expr = true
	in.u.operators[t.val] = true
	return i + 1
}

// name takes an identifier or keyword.
func (in *inspector) name(i, depth int) int {
	t, u := in.tokens[i], in.u
	prev, next := in.at(i-1), in.at(i+1)
	word := ""
	if t.kind == tokWord {
		word = t.val
	}
	if prev.is(".") {
		return in.qualified(i)
	}
	if as := word == "as"; as {
		if open, ok := in.castAs[i]; ok {
			return in.cast(i+1, !in.simple(open+1, i))
		}
		switch {
		case in.mode == inStatement && next.name():
			return i + 2 // a label or an alias
		case in.mode == inStatement:
			return i + 1 // WITH x AS (
		case depth == 0 && in.mode == inListItem && next.name() && i+2 == len(in.tokens):
			return i + 2
		}
		u.refuse("AS is not understood")
		return i + 1
	}
	if next.is(".") {
		return i + 1 // the alias, or the schema of what follows
	}
	switch {
	case sessionWords[word]:
		u.refuse("%s reads the time or the session", strings.ToUpper(word))
		return i + 1
	case in.mode == inStatement && (queryWords[word] || word == "with" || word == "over"):
		return i + 1
	case queryWords[word] && !(in.isColumn(t) && !next.is("(")), word == "with" && !next.is("time"):
		u.refuse("it has a subquery or a grouping (%s)", strings.ToUpper(word))
		return i + 1
	case word == "within" && prev.is(")") && in.mode != inStatement:
		u.refuse("it has an aggregate WITHIN GROUP")
		return i + 1
	case word == "over" && prev.is(")"):
		u.refuse("it has a window function")
		return i + 1
	case word == "collate":
		i++
		for in.at(i).name() || in.at(i).is(".") {
			i++
			if !in.at(i).is(".") && !in.at(i-1).is(".") {
				break
			}
		}
		return i
	case word == "collation" && collationFor(in.tokens, min(i+1, len(in.tokens)-1)):
		u.expr = true
		u.call("pg_collation_for", 1)
		return i + 2
	case word == "at" && next.is("time"), word == "at" && next.is("local"):
		u.expr = true
		u.call("timezone", argsUnknown)
		return i + 2
	}
	if patternOperators[word] != nil {
		u.words[word] = true
	}
	if next.is("(") {
		u.expr = true
		if word == "cast" {
			in.noteCast(i + 1)
		}
		if word != "" && (beforeParen[word] || in.mode == inStatement && queryKeywords[word]) {
			return i + 1
		}
		in.called(i)
		return i + 1
	}
	if next.kind == tokString {
		u.types[typeName(t)] = true // date '2001-01-01'
	}
	if word != "" {
		u.words[word] = true
	}
	if !in.isColumn(t) {
		if t.val == in.alias {
			u.wholeRow = true
		}
		u.expr = true
	}
	return i + 1
}

// qualified takes the name at i, which follows a dot.
func (in *inspector) qualified(i int) int {
	t := in.tokens[i]
	switch {
	case in.at(i + 1).is("("):
		in.u.expr = true
		in.called(i)
	case in.at(i+1).is(".") && in.mode == inStatement:
	case in.at(i + 1).is("."):
		// schema.table.column: its table is called otherwise in a chunk.
		in.u.refuse("it names a column by its schema")
	default:
		_, column := in.columns[t.val]
		if owner := in.at(i - 2); column && owner.name() && (owner.val == in.alias || in.mode == inStatement) {
			return i + 1
		}
		// A field of a composite value, or a function in the clothes of one.
		in.u.expr = true
		in.u.call(t.val, argsField)
		if !in.at(i - 2).name() { // (x).date is a cast, row.date is none
			in.u.textCasts[typeName(t)] = true
		}
	}
	return i + 1
}

// called notes the call of the function named at i, the parenthesis at i+1.
func (in *inspector) called(i int) {
	t := in.tokens[i]
	end := in.partner(i + 1)
	args := min(1, end-(i+2))
	depth := 0
	for k := i + 2; k < end; k++ {
		switch x := in.tokens[k]; {
		case x.is("("), x.is("["):
			depth++
		case x.is(")"), x.is("]"):
			depth--
		case depth == 0 && x.is(","):
			args++
		case depth == 0 && x.kind == tokWord && (x.val == "from" || x.val == "for" || x.val == "variadic" || x.val == "placing" ||
			x.val == "similar" || x.val == "order" || x.val == "distinct" || x.val == "as"):
			args = argsUnknown
		case depth == 0 && x.is("*") && end == i+3:
			args = argsUnknown // count(*)
		}
		if args < 0 {
			break
		}
	}
	if in.at(end + 1).is("within") { // WITHIN GROUP ( … ) holds more of them
		args = argsUnknown
	}
	in.u.call(t.val, args)
	switch in.exact(i+2, end) {
	case "":
		in.u.loose[t.val] = true
		fallthrough
	case "numeric", "decimal":
		in.u.looseNumeric[t.val] = true
	}
	if args <= 1 && !in.simple(i+2, end) {
		in.u.textCasts[typeName(t)] = true
	}
}

// exactTypes are types of which the grammar itself knows the names, and whose
// sums are exact.
var exactTypes = words(`smallint int integer bigint numeric decimal`)

// exact is the one of exactTypes that tokens [from, to) are cast to as a whole,
// "" if their words do not say that.
func (in *inspector) exact(from, to int) string {
	last := in.at(to - 1)
	if last.kind != tokWord || !exactTypes[last.val] || !in.at(to-2).is("::") {
		return ""
	}
	operand := to - 2
	if in.at(from).is("(") && in.partner(from) == operand-1 {
		return last.val
	}
	for i := from; i < operand; i++ {
		if name := (i-from)%2 == 0; name && !in.at(i).name() || !name && !in.at(i).is(".") {
			return ""
		}
	}
	if (operand-from)%2 == 1 {
		return last.val
	}
	return ""
}

// partner is the index of the parenthesis that closes the one at i.
func (in *inspector) partner(i int) int {
	depth := 0
	for k := i; k < len(in.tokens); k++ {
		switch {
		case in.tokens[k].is("("), in.tokens[k].is("["):
			depth++
		case in.tokens[k].is(")"), in.tokens[k].is("]"):
			depth--
			if depth == 0 {
				return k
			}
		}
	}
	return len(in.tokens)
}

// noteCast finds the AS of the CAST whose parenthesis is at open.
func (in *inspector) noteCast(open int) {
	end, depth := in.partner(open), 0
	for k := open + 1; k < end; k++ {
		switch x := in.tokens[k]; {
		case x.is("("), x.is("["):
			depth++
		case x.is(")"), x.is("]"):
			depth--
		case depth == 0 && x.is("as"):
			in.castAs[k] = open
		}
	}
}

// simple reports whether tokens [from, to) are a constant or a column of a
// date or time type: casting it to such a type reads no text of the table's.
func (in *inspector) simple(from, to int) bool {
	for to-from > 2 && in.at(from).is("(") && in.partner(from) == to-1 {
		from, to = from+1, to-1
	}
	switch to - from {
	case 1:
		t := in.tokens[from]
		return t.kind == tokString || t.kind == tokNumber || t.is("null") ||
			in.isColumn(t) && !harmlessWords[t.val] && dateOrTime(in.columns[t.val])
	case 3:
		a, dot, c := in.tokens[from], in.tokens[from+1], in.tokens[from+2]
		return a.name() && (a.val == in.alias || in.mode == inStatement) && dot.is(".") && c.name() && dateOrTime(in.columns[c.val])
	}
	return false
}

// textOperand reports whether the operand of the :: at i may be a text that
// comes from the table.
func (in *inspector) textOperand(i int) bool {
	if in.castEnd == i {
		return true // x::text::date
	}
	from := i - 1
	switch t := in.at(from); {
	case t.is(")"):
		depth := 0
		for ; from >= 0; from-- {
			if in.tokens[from].is(")") || in.tokens[from].is("]") {
				depth++
			} else if in.tokens[from].is("(") || in.tokens[from].is("[") {
				if depth--; depth == 0 {
					break
				}
			}
		}
		// f(x)::t and IN (x)::t are no parenthesised operands.
		if p := in.at(from - 1); p.name() && !(p.kind == tokWord && harmlessWords[p.val]) {
			return true
		}
	case t.name() && in.at(from-1).is("."):
		from -= 2
		if in.at(from - 1).is(".") {
			return true
		}
	}
	return from < 0 || !in.simple(from, i)
}

// cast takes the type at i, to which something is cast.
func (in *inspector) cast(i int, text bool) int {
	name, end := in.typeAt(i)
	if name == "" {
		in.u.refuse("a cast is not understood")
		return i + 1
	}
	in.u.expr = true
	in.u.types[name] = true
	if text && in.mode != inPlan {
		in.u.textCasts[name] = true
	}
	in.castEnd = end
	return end
}

// typeAt reads the name of a type at i and returns the index after it.
func (in *inspector) typeAt(i int) (string, int) {
	t := in.at(i)
	if !t.name() || t.kind == tokWord && (t.val == "setof" || queryWords[t.val]) {
		return "", i
	}
	name := typeName(t)
	i++
	skip := func(words ...string) bool {
		for k, w := range words {
			if !in.at(i + k).is(w) {
				return false
			}
		}
		i += len(words)
		return true
	}
	modifier := func() bool {
		if !in.at(i).is("(") {
			return true
		}
		end := in.partner(i)
		for k := i + 1; k < end; k++ {
			if x := in.at(k); !x.name() && x.kind != tokNumber && x.kind != tokString && !x.is(",") && !x.is("-") {
				return false
			}
		}
		i = end + 1
		return true
	}
	if t.kind == tokWord {
		switch t.val {
		case "double":
			skip("precision")
		case "national":
			if !skip("character") {
				skip("char")
			}
			name = "bpchar"
			skip("varying")
		case "character", "char", "nchar", "bit":
			if skip("varying") {
				name = map[string]string{"bit": "varbit"}[t.val]
				if name == "" {
					name = "varchar"
				}
			}
		case "interval":
			for in.at(i).kind == tokWord && intervalFields[in.at(i).val] {
				i++
			}
		}
	}
	for in.at(i).is(".") && in.at(i+1).name() {
		name = in.at(i + 1).val
		i += 2
	}
	if !modifier() {
		return "", i
	}
	if t.kind == tokWord && (t.val == "timestamp" || t.val == "time") {
		if skip("with", "time", "zone") {
			name += "tz"
		} else {
			skip("without", "time", "zone")
		}
	}
	for {
		switch {
		case in.at(i).is("array") && in.at(i+1).is("["), in.at(i).is("["):
			if in.at(i).is("array") {
				i++
			}
			// A number or nothing; anything else is a subscript, which a type
			// cannot have.
			if in.at(i + 1).is("]") {
				i += 2
			} else if in.at(i+1).kind == tokNumber && in.at(i+2).is("]") {
				i += 3
			} else {
				return "", i
			}
		case in.at(i).is("array"):
			i++
		default:
			return name, i
		}
	}
}

var intervalFields = words(`year month day hour minute second to`)

// sqlTypes are the types that the grammar spells otherwise than the catalog.
var sqlTypes = map[string]string{
	"int": "int4", "integer": "int4", "bigint": "int8", "smallint": "int2", "real": "float4", "float": "float8",
	"double": "float8", "decimal": "numeric", "dec": "numeric", "boolean": "bool", "character": "bpchar", "char": "bpchar", "nchar": "bpchar",
}

// typeName is the catalog's name of the type that token t names.
func typeName(t token) string {
	if t.kind == tokWord {
		if n, ok := sqlTypes[t.val]; ok {
			return n
		}
	}
	return t.val
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
