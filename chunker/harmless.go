package chunker

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Querier is the one method that this package needs of a connection;
// *pgx.Conn and pgx.Tx satisfy it.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// stableHarmless are built-in functions that are STABLE only because they read
// settings, the same in every worker, or call the output functions of types.
// Every other STABLE function, now() to begin with, could differ between two
// workers.
var stableHarmless = words(`
	array_to_json array_to_string concat concat_ws convert convert_from convert_to date date_part date_trunc extract format
	json_build_array json_build_object jsonb_build_array jsonb_build_object length make_timestamptz numeric
	pg_column_compression pg_column_size pg_typeof quote_literal quote_nullable row_to_json time timestamp timestamptz
	timezone to_char to_date to_json to_jsonb to_number to_timestamp`)

// firstUserOID is FirstNormalObjectId: objects below it come with Postgres.
const firstUserOID = 16384

// knownTypes are the types that a statement can have values of, as far as they
// are not built in.
type knownTypes map[uint32]bool

// function is one overload of a function that an expression may call.
type function struct {
	Name      string
	Signature string
	Volatile  string // i, s or v
	Kind      string // f, p, a or w
	Set       bool
	Args      int
	Defaults  int
	Variadic  bool
	Builtin   bool
	Result    uint32
	Timetz    bool // one of its arguments is a timetz
	Arguments []uint32
}

const functionsQuery = `
SELECT p.proname::pg_catalog.text, p.oid::pg_catalog.regprocedure::pg_catalog.text, p.provolatile::pg_catalog.text, p.prokind::pg_catalog.text, p.proretset,
       p.pronargs::pg_catalog.int4, p.pronargdefaults::pg_catalog.int4, p.provariadic <> 0, p.oid < 16384, p.prorettype::pg_catalog.oid, 1266 = ANY (p.proargtypes::pg_catalog.oid[]), p.proargtypes::pg_catalog.oid[]
FROM pg_catalog.pg_proc p
WHERE p.proname = ANY ($1::pg_catalog.text::pg_catalog.name[])
ORDER BY 1, 2`

// typeFact is what a name in a type's position stands for.
type typeFact struct {
	Name string
	OID  uint32
	// Clock says that its input function may read the clock: dates and times,
	// and whatever can hold one.
	Clock bool
	// Input says that its input function is VOLATILE.
	Input bool
}

const typesQuery = `
WITH RECURSIVE t AS (
  SELECT y.typname::pg_catalog.text AS name, y.oid AS named, y.oid, y.typinput, y.typtype, y.typcategory, y.typbasetype, y.typelem, 0 AS level
  FROM pg_catalog.pg_type y
  WHERE y.typname = ANY ($1::pg_catalog.text::pg_catalog.name[])
  UNION ALL
  SELECT t.name, t.named, b.oid, b.typinput, b.typtype, b.typcategory, b.typbasetype, b.typelem, t.level + 1
  FROM t JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype WHEN t.typcategory = 'A' THEN t.typelem END
  WHERE t.level < 100
)
SELECT name, named::pg_catalog.oid, pg_catalog.bool_or(typtype NOT IN ('b', 'e', 'd') OR typcategory IN ('D', 'R')),
       pg_catalog.bool_or(typtype = 'b' AND oid >= 16384 AND (SELECT p.provolatile = 'v' FROM pg_catalog.pg_proc p WHERE p.oid = typinput))
FROM t GROUP BY 1, 2 ORDER BY 1, 2`

const keywordsQuery = `
SELECT word FROM pg_catalog.pg_get_keywords() WHERE catcode IN ('R', 'T') AND word = ANY ($1::pg_catalog.text::pg_catalog.text[]) ORDER BY 1`

// operatorFact is an operator that is not known to be harmless.
type operatorFact struct {
	Name      string
	Signature string
	Volatile  string
	Left      uint32
	Right     uint32
}

// Operators of Postgres itself are never VOLATILE, and those STABLE depend on
// settings only. The STABLE ones of an extension are taken for the same.
const operatorsQuery = `
SELECT o.oprname::pg_catalog.text, o.oid::pg_catalog.regoperator::pg_catalog.text, p.provolatile::pg_catalog.text, o.oprleft::pg_catalog.oid, o.oprright::pg_catalog.oid
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
WHERE o.oprname = ANY ($1::pg_catalog.text::pg_catalog.name[]) AND p.provolatile <> 'i' AND o.oid >= 16384
  AND (p.provolatile = 'v' OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.objid = o.oid AND d.deptype = 'e'))
ORDER BY 1, 2`

// castFact is a cast that is not known to be harmless.
type castFact struct {
	Source, Target uint32
	Text           string
}

// The casts of Postgres itself are never VOLATILE. An implicit cast through
// text to a date or time can read 'now' out of a row.
const castsQuery = `
SELECT c.castsource::pg_catalog.oid, c.casttarget::pg_catalog.oid,
       pg_catalog.format_type(c.castsource, NULL) || ' to ' || pg_catalog.format_type(c.casttarget, NULL)
FROM pg_catalog.pg_cast c LEFT JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
WHERE c.oid >= 16384
  AND (p.provolatile = 'v'
    OR p.provolatile = 's' AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid = 'pg_catalog.pg_cast'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
    OR c.castmethod = 'i' AND c.castcontext = 'i' AND c.casttarget IN (1082, 1083, 1114, 1184, 1266))
ORDER BY 3`

// judgement is how strict to be about what an expression uses.
type judgement struct {
	columns columnTypes // types of the columns in reach
	types   knownTypes  // user-defined types of the columns in reach
	time    bool        // a column may be a time, with or without zone
	// statement allows what whole statements have: in one whose author placed
	// {chunk}, aggregates, window and set-returning functions may stand in
	// subqueries.
	statement bool
	// steady asks for more: statements with other plans must agree, too, on
	// which rows there are and on every value in them.
	steady  bool
	checked knownTypes // types whose CHECKs are being judged
}

// add brings a relation's columns into reach. A name that two relations have
// with different types is of no known type.
func (j *judgement) add(columns []column) {
	for _, c := range columns {
		if t, ok := j.columns[c.Name]; ok && t != c.Type {
			j.columns[c.Name] = 0
		} else {
			j.columns[c.Name] = c.Type
		}
		for _, oid := range []uint32{c.Type, c.Element, c.Base} {
			if oid >= firstUserOID {
				j.types[oid] = true
			}
		}
		j.time = j.time || c.Type == oidTime || c.Type == oidTimetz || c.Type >= firstUserOID
	}
}

// judge says why rows that u decides about could depend on more than
// themselves: "" when they depend on themselves alone.
func judge(ctx context.Context, q Querier, u *usage, j judgement) (why string, err error) {
	if u.why != "" || !u.expr {
		return u.why, nil
	}
	keywords, err := collect[string](ctx, q, keywordsQuery, pgx.RowTo[string], textArray(keys(u.words)))
	if err != nil {
		return "", err
	}
	for _, w := range keywords {
		if !harmlessWords[w] && !(j.statement && queryKeywords[w]) {
			return "it uses " + strings.ToUpper(w), nil
		}
	}
	names := map[string]bool{}
	for n := range u.types {
		names[n] = true
	}
	for n := range u.textCasts {
		names[n] = true
	}
	types, err := collect(ctx, q, typesQuery, pgx.RowToStructByPos[typeFact], textArray(keys(names)))
	if err != nil {
		return "", err
	}
	isType := map[string]bool{}
	present := knownTypes{}
	for t := range j.types {
		present[t] = true
	}
	for _, t := range types {
		isType[t.Name] = true
		present[t.OID] = true
		if t.Clock && u.textCasts[t.Name] {
			return fmt.Sprintf("a text cast to %s could be read as the present time", t.Name), nil
		}
		if t.Input {
			return fmt.Sprintf("the input function of type %s is VOLATILE", t.Name), nil
		}
		if strings.HasPrefix(t.Name, "reg") && u.types[t.Name] {
			return fmt.Sprintf("a cast to %s reads the catalog as it is at that moment", t.Name), nil
		}
	}
	calls := make(map[string]bool, len(u.calls))
	for n := range u.calls {
		calls[n] = true
	}
	functions, err := collect(ctx, q, functionsQuery, pgx.RowToStructByPos[function], textArray(keys(calls)))
	if err != nil {
		return "", err
	}
	// A time with zone that is moved to another zone takes that zone's offset of
	// today, whatever the function's volatility says. Can there be one, or a
	// time, which is cast to one?
	timetz := j.time || u.words["time"] || u.words["timetz"] || u.types["time"] || u.types["timetz"]
	for _, f := range functions {
		timetz = timetz || f.Name != "timezone" && (f.Result == oidTime || f.Result == oidTimetz || f.Result >= firstUserOID)
	}
	found := map[string]bool{}
	for _, f := range functions {
		if !f.takes(u.calls[f.Name]) {
			continue
		}
		found[f.Name] = true
		if f.Timetz && f.Name == "timezone" {
			if timetz {
				return "a time of day in another time zone depends on the day", nil
			}
			continue
		}
		if why := f.why(j.statement); why != "" {
			return why, nil
		}
		if f.Kind == "a" && j.steady && !f.orderless(u) {
			return fmt.Sprintf("the aggregate %s may depend on the order in which its rows come, which the server chooses", f.Name), nil
		}
		if f.Kind == "w" && j.steady {
			return "it has the window function " + f.Name, nil
		}
		present[f.Result] = true
	}
	for _, n := range keys(calls) {
		// In a whole statement x( may be a list of column names.
		if !found[n] && !isType[n] && !fieldOnly(u.calls[n]) && !j.statement {
			return fmt.Sprintf("it uses %s( … ), which is no plain function", n), nil
		}
	}
	ops := map[string]bool{}
	for _, o := range []string{"=", "<>", "<", ">", "<=", ">=", "||"} { // of IN, CASE, BETWEEN and others
		ops[o] = true
	}
	for word, list := range patternOperators {
		for o := range list {
			ops[o] = ops[o] || u.words[word]
		}
	}
	for o := range u.operators {
		ops[o] = true
	}
	for o, used := range ops {
		if !used {
			delete(ops, o)
		}
	}
	operators, err := collect(ctx, q, operatorsQuery, pgx.RowToStructByPos[operatorFact], textArray(keys(ops)))
	if err != nil {
		return "", err
	}
	for _, o := range operators {
		if present.has(o.Left) || present.has(o.Right) {
			return fmt.Sprintf("the operator %s could be %s, which is %s", o.Name, o.Signature, volatility(o.Volatile)), nil
		}
	}
	// A value from a table is of its domain already.
	castTo := knownTypes{}
	for _, t := range types {
		castTo[t.OID] = true
	}
	for _, f := range functions {
		castTo[f.Result] = true
		for _, oid := range f.Arguments { // a constant becomes of the argument's type
			castTo[oid] = true
		}
	}
	if why, err := judgeChecks(ctx, q, castTo, j); why != "" || err != nil {
		return why, err
	}
	casts, err := collect(ctx, q, castsQuery, pgx.RowToStructByPos[castFact])
	if err != nil {
		return "", err
	}
	for _, c := range casts {
		if present.has(c.Source) && present.has(c.Target) {
			return fmt.Sprintf("the cast from %s could differ from moment to moment", c.Text), nil
		}
	}
	return "", nil
}

// checksQuery reads the CHECK constraints of the given domains, and of those in
// given arrays, ranges and composite types. What a constraint compares with can
// be of such a type too.
const checksQuery = `
WITH RECURSIVE t(oid) AS (
  SELECT o FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[]) o
  UNION
  SELECT x.oid
  FROM t JOIN pg_catalog.pg_type y ON y.oid = t.oid
       CROSS JOIN LATERAL (
         SELECT y.typbasetype AS oid
         UNION ALL SELECT y.typelem
         UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = y.oid
         UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE y.typrelid <> 0 AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
       ) x
  WHERE x.oid >= 16384
)
SELECT pg_catalog.format_type(t.oid, NULL), pg_catalog.pg_get_expr(k.conbin, 0)
FROM t JOIN pg_catalog.pg_constraint k ON k.contypid = t.oid AND k.contype = 'c'
ORDER BY 1, 2`

// judgeChecks says why the CHECK of a domain that values may be cast to could
// decide otherwise the next time.
func judgeChecks(ctx context.Context, q Querier, types knownTypes, j judgement) (string, error) {
	var oids []uint32
	for oid := range types {
		if oid >= firstUserOID && !j.checked[oid] {
			oids = append(oids, oid)
		}
	}
	if len(oids) == 0 {
		return "", nil
	}
	// What a CHECK casts to is looked at once.
	inner := judgement{columns: columnTypes{}, types: knownTypes{}, checked: knownTypes{}}
	for oid := range j.checked {
		inner.checked[oid] = true
	}
	for _, oid := range oids {
		inner.checked[oid] = true
	}
	type check struct{ Domain, Text string }
	checks, err := collect(ctx, q, checksQuery, pgx.RowToStructByPos[check], oidArray(oids))
	if err != nil {
		return "", err
	}
	for _, c := range checks {
		tokens, err := lex(c.Text)
		if err != nil {
			return fmt.Sprintf("the CHECK of domain %s is not understood", c.Domain), nil //nolint:nilerr // what cannot be read is not cut
		}
		use := newUsage()
		inspect(use, tokens, "", inner.columns, inCondition)
		why, err := judge(ctx, q, use, inner)
		if err != nil {
			return "", err
		}
		if why != "" {
			return fmt.Sprintf("the CHECK of domain %s: %s", c.Domain, why), nil
		}
	}
	return "", nil
}

// queryKeywords are reserved words of whole statements; harmless as such.
var queryKeywords = words(`select from where group having order by asc desc limit offset fetch join inner left right full outer
	cross natural on using lateral union intersect except only window with`)

// patternOperators are the operators that keywords stand for, with and without NOT.
var patternOperators = map[string]map[string]bool{"like": words("~~ !~~"), "ilike": words("~~* !~~*"), "similar": words("~ !~")}

// has reports whether values of a type can be there: built-in ones always.
func (k knownTypes) has(oid uint32) bool { return oid != 0 && (oid < firstUserOID || k[oid]) }

// fieldOnly reports whether a name was seen only as what may be a field of a
// composite value.
func fieldOnly(args map[int]bool) bool { return len(args) == 1 && args[argsField] }

// takes reports whether f can be called with one of the numbers of arguments.
func (f function) takes(args map[int]bool) bool {
	for n := range args {
		if n == argsField {
			n = 1
		}
		if n == argsUnknown || f.Variadic && n >= f.Args-1-f.Defaults || n >= f.Args-f.Defaults && n <= f.Args {
			return true
		}
	}
	return false
}

// why says what keeps a statement that calls f from being read in pieces.
func (f function) why(statement bool) string {
	switch {
	case f.Kind == "p":
		return ""
	case f.Kind == "a" && !statement:
		return "it calls the aggregate " + f.Signature
	case f.Kind == "w" && !statement:
		return "it calls the window function " + f.Signature
	case f.Set && !statement:
		return "it calls the set-returning function " + f.Signature
	case f.Volatile == "v", f.Volatile == "s" && !(f.Builtin && stableHarmless[f.Name]):
		return fmt.Sprintf("it calls %s, which is %s", f.Signature, volatility(f.Volatile))
	}
	return ""
}

// Aggregates that give one value in any order: those of anything, and those of
// exact numbers. A least value is no such thing in general: 1.0 and 1.00 are
// equal.
var (
	orderless        = words(`count bool_and bool_or every bit_and bit_or bit_xor regr_count`)
	orderlessNumeric = words(`sum avg`)
	orderlessInteger = words(`min max`)
)

// orderless reports whether the aggregate f, as it is called, gives the same in
// any order of its rows.
func (f function) orderless(u *usage) bool {
	switch {
	case !f.Builtin:
		return false
	case orderlessNumeric[f.Name]:
		return !u.loose[f.Name]
	case orderlessInteger[f.Name]:
		return !u.looseNumeric[f.Name]
	}
	return orderless[f.Name]
}

func volatility(v string) string {
	if v == "v" {
		return "VOLATILE"
	}
	return "STABLE: it may differ between two connections"
}

func keys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// textArray writes an array of texts as one text, which every query mode of
// pgx carries alike.
func textArray(values []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for k := range len(v) {
			if v[k] == '"' || v[k] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(v[k])
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// oidArray writes an array of OIDs as one text.
func oidArray(oids []uint32) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, o := range oids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, o)
	}
	b.WriteByte('}')
	return b.String()
}

// collect runs a query of ours and reads all its rows.
func collect[T any](ctx context.Context, q Querier, sql string, row pgx.RowToFunc[T], args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, append([]any{unprepared}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, row)
}

// one runs a query of ours that gives exactly one row.
func one[T any](ctx context.Context, q Querier, sql string, row pgx.RowToFunc[T], args ...any) (T, error) {
	rows, err := q.Query(ctx, sql, append([]any{unprepared}, args...)...)
	if err != nil {
		var zero T
		return zero, err
	}
	return pgx.CollectExactlyOneRow(rows, row)
}

// run executes a command of ours.
func run(ctx context.Context, q Querier, sql string) error {
	rows, err := q.Query(ctx, sql, unprepared)
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// unrepeatable says why several statements over a relation, with conditions of
// their own, might not see the same rows; "" if they do. Views are judged by
// their definitions.
func (p *Plan) unrepeatable(ctx context.Context, q Querier, root *facts, columns []column, use *usage) (string, error) {
	switch {
	case root.RowSecurity:
		return "row security filters it", nil
	case root.kind() == Sequence:
		return "a sequence is one row", nil
	}
	if why, err := judge(ctx, q, use, judgementOf(columns)); why != "" || err != nil {
		return why, err
	}
	if root.kind() != View {
		return "", nil
	}
	return judgeViews(ctx, q, p.Target.Lock, []uint32{root.OID}, false)
}

// judgeViews says why views, or what is behind them, may not give the same
// rows twice. lock are all relations that they read; steady is
// judgement's.
func judgeViews(ctx context.Context, q Querier, lock []RelationRef, oids []uint32, steady bool) (string, error) {
	if len(oids) == 0 {
		return "", nil
	}
	views, err := collect(ctx, q, viewTextQuery, refText, oidArray(oids))
	if err != nil {
		return "", err
	}
	j, err := judgementOfAll(ctx, q, lock)
	if err != nil {
		return "", err
	}
	j.steady = steady
	for _, v := range views {
		why, err := judgeView(ctx, q, v, j)
		if err != nil {
			return "", err
		}
		if why != "" {
			return fmt.Sprintf("view %s: %s", v.name, why), nil
		}
	}
	return "", nil
}

// judgementOfAll is a judgement over the columns of all given relations, for
// whole statements.
func judgementOfAll(ctx context.Context, q Querier, refs []RelationRef) (judgement, error) {
	j := judgement{columns: columnTypes{}, types: knownTypes{}, statement: true}
	for _, r := range refs {
		columns, err := readColumns(ctx, q, r.OID)
		if err != nil {
			return j, err
		}
		j.add(columns)
	}
	return j, nil
}

// viewText is a view with its definition, as the server writes it.
type viewText struct{ name, text string }

const viewTextQuery = `
WITH RECURSIVE v(oid) AS (
  SELECT o FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[]) o
  UNION
  SELECT d.refobjid
  FROM v JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid AND r.rulename = '_RETURN'
       JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
       JOIN pg_catalog.pg_class k ON k.oid = d.refobjid AND k.relkind = 'v'
)
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, pg_catalog.pg_get_viewdef(c.oid)
FROM v JOIN pg_catalog.pg_class c ON c.oid = v.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2`

func refText(row pgx.CollectableRow) (viewText, error) {
	var schema, name string
	var v viewText
	err := row.Scan(&schema, &name, &v.text)
	v.name = display(schema) + "." + display(name)
	return v, err
}

// judgeView says why a view may not give the same rows twice.
func judgeView(ctx context.Context, q Querier, v viewText, j judgement) (string, error) {
	s, err := parseStatement(v.text)
	if err != nil {
		return "its definition is not understood", nil //nolint:nilerr // what cannot be read is not cut
	}
	if _, what := s.chosen(j.steady); what != "" {
		return "it has " + what, nil
	}
	use := newUsage()
	inspect(use, s.tokens, "", j.columns, inStatement)
	return judge(ctx, q, use, j)
}

// chosen finds by the words of a statement where the server is free to choose
// rows, or their order within a value, and says what that is and which token
// shows it. "" if there is nothing of that kind. Values are looked at only if
// that is asked for.
func (s *statement) chosen(values bool) (token int, what string) {
	for i, t := range s.tokens {
		if t.kind != tokWord || i > 0 && (s.tokens[i-1].is(".") || s.tokens[i-1].is("as")) {
			continue
		}
		open := i+1 < len(s.tokens) && s.tokens[i+1].is("(")
		switch t.val {
		case "limit", "offset", "fetch", "tablesample":
			return i, strings.ToUpper(t.val)
		case "over":
			return i, "a window function"
		case "on":
			if s.tokens[i-1].is("distinct") {
				return i, "DISTINCT ON"
			}
		case "array", "json_array", "json_arrayagg", "json_objectagg":
			if values && open {
				return i, strings.ToUpper(t.val) + "( … ), whose elements come in the order that the server chooses"
			}
		}
	}
	return 0, ""
}
