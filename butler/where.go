package butler

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// value is a dimension's value in a data ID: an integer, a text, or nothing where a damaged registry has no row that
// would give an implied value.
type value struct {
	kind valueKind
	n    int64
	s    string
}

type valueKind uint8

const (
	noValue valueKind = iota
	intValue
	textValue
)

// String writes the value as Python writes a data ID.
func (v value) String() string {
	switch v.kind {
	case intValue:
		return strconv.FormatInt(v.n, 10)
	case textValue:
		return "'" + v.s + "'"
	}
	return "None"
}

// truth is SQL's: a comparison with a value that is not there is neither true nor false.
type truth uint8

const (
	isFalse truth = iota
	isUnknown
	isTrue
)

// whereExpr is a parsed --where, to be evaluated over data IDs.
type whereExpr interface {
	eval(id []value) truth
}

type (
	notExpr struct{ x whereExpr }
	andExpr struct{ x, y whereExpr }
	orExpr  struct{ x, y whereExpr }
	// compareExpr compares a dimension with a literal, or with another dimension.
	compareExpr struct {
		dim   int // index into the data ID
		op    string
		lit   literal
		other int // index of the other dimension, -1 for a literal
	}
	// inExpr looks a dimension up in a list: in ints or in texts, by its type.
	inExpr struct {
		dim   int
		ints  map[int64]bool
		texts map[string]bool
	}
)

// literal is a constant of an expression.
type literal struct {
	isText bool
	s      string
	n      int64
	exact  *big.Rat // set where the number is no int64
}

func (l literal) compare(v value) int {
	switch {
	case l.isText:
		return strings.Compare(v.s, l.s)
	case l.exact != nil:
		return new(big.Rat).SetInt64(v.n).Cmp(l.exact)
	case v.n < l.n:
		return -1
	case v.n > l.n:
		return 1
	}
	return 0
}

func (e notExpr) eval(id []value) truth { return isTrue - e.x.eval(id) }
func (e andExpr) eval(id []value) truth { return min(e.x.eval(id), e.y.eval(id)) }
func (e orExpr) eval(id []value) truth  { return max(e.x.eval(id), e.y.eval(id)) }

func (e compareExpr) eval(id []value) truth {
	v := id[e.dim]
	if v.kind == noValue {
		return isUnknown
	}
	var c int
	if e.other >= 0 {
		w := id[e.other]
		if w.kind == noValue {
			return isUnknown
		}
		c = literal{isText: w.kind == textValue, s: w.s, n: w.n}.compare(v)
	} else {
		c = e.lit.compare(v)
	}
	ok := false
	switch e.op {
	case "=":
		ok = c == 0
	case "!=":
		ok = c != 0
	case "<":
		ok = c < 0
	case "<=":
		ok = c <= 0
	case ">":
		ok = c > 0
	case ">=":
		ok = c >= 0
	}
	if ok {
		return isTrue
	}
	return isFalse
}

func (e inExpr) eval(id []value) truth {
	v := id[e.dim]
	switch {
	case v.kind == noValue:
		return isUnknown
	case e.ints[v.n] && v.kind == intValue, e.texts[v.s] && v.kind == textValue:
		return isTrue
	}
	return isFalse
}

// parseWhere reads an expression over the dimensions of g:
//
//	expr    = and { OR and }
//	and     = not { AND not }
//	not     = NOT not | "(" expr ")" | test
//	test    = operand op operand | dimension [NOT] IN "(" literal { "," literal } ")"
//	op      = "=" | "!=" | "<" | "<=" | ">" | ">="
//	operand = dimension | literal
//
// Literals are numbers and quoted texts ('it”s', "it's"); the words in capitals may be in any case. The indexes of the
// result count g.all(). The error is a *UsageError.
func parseWhere(text string, g dimensionGroup) (whereExpr, error) {
	p := &whereParser{text: text, dims: map[string]int{}, all: g.all()}
	for i, e := range p.all {
		p.dims[e.name] = i
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	e, err := p.expr(0)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != endToken {
		return nil, p.unexpected("AND, OR or the end")
	}
	return e, nil
}

type tokenKind uint8

const (
	endToken tokenKind = iota
	nameToken
	wordToken // AND, OR, NOT, IN
	numberToken
	textToken
	opToken // comparison, parenthesis or comma
)

type token struct {
	kind tokenKind
	text string // as compared: words in capitals, texts without quotes
	at   int    // byte offset
}

type whereParser struct {
	text string
	pos  int
	tok  token
	dims map[string]int
	all  []*element
}

// maxWhereDepth bounds parentheses and NOTs: the parser and the evaluation are recursive.
const maxWhereDepth = 1000

func (p *whereParser) fail(at int, format string, args ...any) error {
	where := fmt.Sprintf(" at character %d", utf8.RuneCountInString(p.text[:at])+1)
	if at >= len(p.text) {
		where = " at the end"
	}
	return &UsageError{Option: "where", Reason: fmt.Sprintf(format, args...) + where}
}

func (p *whereParser) unexpected(want string) error {
	if p.tok.kind == endToken {
		return p.fail(p.tok.at, "expected %s", want)
	}
	return p.fail(p.tok.at, "expected %s, found %s", want, excerpt(p.text[p.tok.at:p.pos]))
}

func isNameByte(c byte) bool {
	return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}

// next reads one token.
func (p *whereParser) next() error {
	s := p.text
	for p.pos < len(s) && strings.IndexByte(" \t\r\n", s[p.pos]) >= 0 {
		p.pos++
	}
	at := p.pos
	p.tok = token{at: at}
	if at == len(s) {
		return nil
	}
	c := s[at]
	switch {
	case c == '\'' || c == '"':
		var b strings.Builder
		i := at + 1
		for {
			j := strings.IndexByte(s[i:], c)
			if j < 0 {
				return p.fail(at, "a quoted text is not closed")
			}
			b.WriteString(s[i : i+j])
			i += j + 1
			if i >= len(s) || s[i] != c {
				break
			}
			b.WriteByte(c) // doubled: stands for itself
			i++
		}
		p.tok.kind, p.tok.text, p.pos = textToken, b.String(), i
	case c >= '0' && c <= '9' || c == '.' || (c == '-' || c == '+') && at+1 < len(s) && (s[at+1] >= '0' && s[at+1] <= '9' || s[at+1] == '.'):
		i := at + 1
		for i < len(s) && (isNameByte(s[i]) || s[i] == '.' || (s[i] == '-' || s[i] == '+') && s[i-1]|0x20 == 'e') {
			i++
		}
		p.tok.kind, p.tok.text, p.pos = numberToken, s[at:i], i
	case isNameByte(c):
		i := at + 1
		for i < len(s) && (isNameByte(s[i]) || s[i] == '.') {
			i++
		}
		p.tok.kind, p.tok.text, p.pos = nameToken, s[at:i], i
		switch u := strings.ToUpper(p.tok.text); u {
		case "AND", "OR", "NOT", "IN":
			p.tok.kind, p.tok.text = wordToken, u
		}
	default:
		for _, op := range []string{"!=", "<=", ">=", "<>", "==", "=", "<", ">", "(", ")", ","} {
			if strings.HasPrefix(s[at:], op) {
				p.pos += len(op)
				switch op {
				case "<>":
					return p.fail(at, "write != for <>")
				case "==":
					return p.fail(at, "write = for ==")
				}
				p.tok.kind, p.tok.text = opToken, op
				return nil
			}
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		return p.fail(at, "unexpected %s", strconv.Quote(s[at:at+n]))
	}
	return nil
}

func (p *whereParser) is(kind tokenKind, text string) bool {
	return p.tok.kind == kind && p.tok.text == text
}

func (p *whereParser) expr(depth int) (whereExpr, error) {
	x, err := p.and(depth)
	for n := 0; err == nil && p.is(wordToken, "OR"); n++ {
		var y whereExpr
		if err = p.chain(n); err == nil {
			if err = p.next(); err == nil {
				y, err = p.and(depth)
			}
		}
		x = orExpr{x, y}
	}
	return x, err
}

func (p *whereParser) and(depth int) (whereExpr, error) {
	x, err := p.not(depth)
	for n := 0; err == nil && p.is(wordToken, "AND"); n++ {
		var y whereExpr
		if err = p.chain(n); err == nil {
			if err = p.next(); err == nil {
				y, err = p.not(depth)
			}
		}
		x = andExpr{x, y}
	}
	return x, err
}

// chain bounds how many tests are joined, for the evaluation nests as deep as they are many.
func (p *whereParser) chain(n int) error {
	if n > 100*maxWhereDepth {
		return p.fail(p.tok.at, "too many tests (use IN)")
	}
	return nil
}

func (p *whereParser) not(depth int) (whereExpr, error) {
	if depth > maxWhereDepth {
		return nil, p.fail(p.tok.at, "nested too deeply")
	}
	switch {
	case p.is(wordToken, "NOT"):
		if err := p.next(); err != nil {
			return nil, err
		}
		x, err := p.not(depth + 1)
		return notExpr{x}, err
	case p.is(opToken, "("):
		if err := p.next(); err != nil {
			return nil, err
		}
		x, err := p.expr(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.is(opToken, ")") {
			return nil, p.unexpected("a closing parenthesis")
		}
		return x, p.next()
	}
	return p.test()
}

// operand is one side of a comparison.
type operand struct {
	isDim bool
	dim   int
	lit   literal
	at    int
}

func (p *whereParser) operand() (operand, error) {
	o := operand{at: p.tok.at}
	switch p.tok.kind {
	case nameToken:
		i, ok := p.dims[p.tok.text]
		if !ok {
			return o, p.unknownDimension()
		}
		o.isDim, o.dim = true, i
	case numberToken, textToken:
		var err error
		if o.lit, err = p.literal(); err != nil {
			return o, err
		}
	default:
		return o, p.unexpected("a dimension, a number or a quoted text")
	}
	return o, p.next()
}

func (p *whereParser) unknownDimension() error {
	names := make([]string, len(p.all))
	for i, e := range p.all {
		names[i] = e.name
	}
	has := "the dataset type has no dimensions"
	if len(names) > 0 {
		has = "the dataset type has " + strings.Join(names, ", ")
	}
	if strings.Contains(p.tok.text, ".") {
		return p.fail(p.tok.at, "%s is no dimension: only dimensions themselves can be tested, and %s", p.tok.text, has)
	}
	return p.fail(p.tok.at, "unknown dimension %s: %s", p.tok.text, has)
}

// literal reads the current token; it does not move on.
func (p *whereParser) literal() (literal, error) {
	if p.tok.kind == textToken {
		return literal{isText: true, s: p.tok.text}, nil
	}
	if n, err := strconv.ParseInt(p.tok.text, 10, 64); err == nil {
		return literal{n: n}, nil
	}
	// big.Rat would take fractions, bases and underscores, and any exponent: it must be bounded before it is computed.
	if strings.ContainsFunc(p.tok.text, func(r rune) bool { return (r < '0' || r > '9') && !strings.ContainsRune("+-.eE", r) }) {
		return literal{}, p.fail(p.tok.at, "%s is no number", excerpt(p.tok.text))
	}
	f, err := strconv.ParseFloat(p.tok.text, 64)
	if err != nil || len(p.tok.text) > 400 || f > 1e300 || f < -1e300 || f != 0 && f < 1e-300 && f > -1e-300 {
		return literal{}, p.fail(p.tok.at, "%s is no number that can be compared", excerpt(p.tok.text))
	}
	if _, exp, ok := strings.Cut(strings.ToLower(p.tok.text), "e"); ok {
		if n, err := strconv.Atoi(exp); err != nil || n > 400 || n < -400 {
			return literal{}, p.fail(p.tok.at, "%s is no number that can be compared", excerpt(p.tok.text))
		}
	}
	r, ok := new(big.Rat).SetString(p.tok.text)
	if !ok {
		return literal{}, p.fail(p.tok.at, "%s is no number", excerpt(p.tok.text))
	}
	if r.IsInt() && r.Num().IsInt64() {
		return literal{n: r.Num().Int64()}, nil
	}
	return literal{exact: r}, nil
}

// fits checks that a constant has the type of the dimension that it is compared with.
func (p *whereParser) fits(dim int, o operand) error {
	e := p.all[dim]
	switch {
	case e.isInt && o.lit.isText:
		return p.fail(o.at, "dimension %s is an integer, compared with the text '%s'", e.name, excerpt(o.lit.s))
	case !e.isInt && !o.lit.isText:
		return p.fail(o.at, "dimension %s is a text, compared with a number (put it in quotes)", e.name)
	}
	return nil
}

var mirrored = map[string]string{"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

func (p *whereParser) test() (whereExpr, error) {
	x, err := p.operand()
	if err != nil {
		return nil, err
	}
	negate := false
	if p.is(wordToken, "NOT") {
		negate = true
		if err := p.next(); err != nil {
			return nil, err
		}
		if !p.is(wordToken, "IN") {
			return nil, p.unexpected("IN")
		}
	}
	if p.is(wordToken, "IN") {
		if !x.isDim {
			return nil, p.fail(x.at, "a dimension must stand before IN")
		}
		e, err := p.list(x.dim)
		if err == nil && negate {
			e = notExpr{e}
		}
		return e, err
	}
	if _, isOp := mirrored[p.tok.text]; p.tok.kind != opToken || !isOp {
		return nil, p.unexpected("=, !=, <, <=, >, >= or IN")
	}
	op, opAt := p.tok.text, p.tok.at
	if err := p.next(); err != nil {
		return nil, err
	}
	y, err := p.operand()
	if err != nil {
		return nil, err
	}
	switch {
	case x.isDim && y.isDim:
		if p.all[x.dim].isInt != p.all[y.dim].isInt {
			return nil, p.fail(opAt, "%s and %s have different types", p.all[x.dim].name, p.all[y.dim].name)
		}
		return compareExpr{dim: x.dim, op: op, other: y.dim}, nil
	case x.isDim:
		return compareExpr{dim: x.dim, op: op, lit: y.lit, other: -1}, p.fits(x.dim, y)
	case y.isDim:
		return compareExpr{dim: y.dim, op: mirrored[op], lit: x.lit, other: -1}, p.fits(y.dim, x)
	}
	return nil, p.fail(x.at, "no dimension in the comparison")
}

func (p *whereParser) list(dim int) (whereExpr, error) {
	e := inExpr{dim: dim, ints: map[int64]bool{}, texts: map[string]bool{}}
	if err := p.next(); err != nil {
		return nil, err
	}
	if !p.is(opToken, "(") {
		return nil, p.unexpected("an opening parenthesis")
	}
	for {
		if err := p.next(); err != nil {
			return nil, err
		}
		if p.tok.kind != numberToken && p.tok.kind != textToken {
			return nil, p.unexpected("a number or a quoted text")
		}
		o := operand{at: p.tok.at}
		var err error
		if o.lit, err = p.literal(); err != nil {
			return nil, err
		}
		if err := p.fits(dim, o); err != nil {
			return nil, err
		}
		switch {
		case o.lit.isText:
			e.texts[o.lit.s] = true
		case o.lit.exact == nil:
			e.ints[o.lit.n] = true
		} // a fraction, or a number beyond int64, is no dimension's value
		if err := p.next(); err != nil {
			return nil, err
		}
		if p.is(opToken, ",") {
			continue
		}
		if !p.is(opToken, ")") {
			return nil, p.unexpected("a comma or a closing parenthesis")
		}
		return e, p.next()
	}
}

// uses tells whether an expression looks at any dimension from index on.
func uses(e whereExpr, from int) bool {
	switch e := e.(type) {
	case notExpr:
		return uses(e.x, from)
	case andExpr:
		return uses(e.x, from) || uses(e.y, from)
	case orExpr:
		return uses(e.x, from) || uses(e.y, from)
	case compareExpr:
		return e.dim >= from || e.other >= from
	case inExpr:
		return e.dim >= from
	}
	return false
}
