package chunker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Request is what a user asks for: a table (with columns and a condition), or
// a statement. Exactly one of Table and SQL is set.
type Request struct {
	Table   string   // as SQL writes it: quotes, folding, search_path
	Columns []string // as SQL writes them, in the order wanted; nil for all
	Where   string   // a condition, "" for every row
	SQL     string
	// RowSecurity exports the rows that policies show to this user, instead
	// of refusing with a *RowSecurityError. The caller's sessions must then
	// have row_security on, and off otherwise.
	RowSecurity bool
	Chunk       Hint // how to cut it
}

// Shape is what a request is, as far as its words tell.
type Shape uint8

const (
	// Relation is a table, view or other relation asked for by name.
	Relation Shape = iota + 1
	// PlainScan is a statement that reads one relation and does nothing else.
	PlainScan
	// Placeholder is a statement whose author placed {chunk}.
	Placeholder
	// Opaque is any other statement.
	Opaque
)

func (s Shape) String() string {
	switch s {
	case Relation:
		return "relation"
	case PlainScan:
		return "plain scan"
	case Placeholder:
		return "statement with {chunk}"
	case Opaque:
		return "statement"
	}
	return fmt.Sprintf("shape %d", uint8(s))
}

// Target is a request whose names are resolved and whose statement is known to
// the server. It is immutable.
type Target struct {
	// Relation is the one relation that is read: the table asked for, the one
	// of a plain scan, the one that {chunk} cuts. OID 0 for Opaque.
	Relation RelationRef
	// Lock are all relations that the rows come from, those behind views and
	// the partitions included, without the server's own catalogs, which nobody
	// can truncate. In the order in which to lock them.
	Lock []RelationRef
	// LockSelect is a statement without rows that takes the locks which LOCK
	// TABLE cannot take; "" if there is none of those.
	LockSelect string
	// Statement is the user's statement without semicolon or surrounding
	// comments, or the SELECT that the table stands for.
	Statement string
	Shape     Shape
	// Why says for an Opaque statement what kept it from being a plain scan.
	Why string

	req      Request
	stmt     *statement // nil for a relation
	scan     *scan      // for a plain scan
	where    string     // condition of a relation or plain scan
	alias    string     // the relation's alias in it
	warnings []string   // of functions whose own queries nobody can see into
	named    *named     // while it is resolved: what is known of the table already
}

// lockTable is the statement that takes all locks which LOCK TABLE can take, ""
// if there are none.
func lockTable(refs []RelationRef) string {
	var idents []string
	for _, r := range refs {
		if r.Lock == LockByTable {
			idents = append(idents, r.Ident())
		}
	}
	if len(idents) == 0 {
		return ""
	}
	return "LOCK TABLE " + strings.Join(idents, ", ") + " IN ACCESS SHARE MODE"
}

// Resolve turns a request into a target. q is a scout connection outside any
// transaction, with the search_path and role of the workers: Resolve opens a
// read-only transaction of its own and rolls it back, so that it holds no lock
// when it returns. It waits for locks as long as the session's lock_timeout
// says.
//
// Errors: *StatementError, *NotFoundError, *PermissionError,
// *RowSecurityError, *UnsupportedRelationError; anything else is the
// connection's or the server's own.
func Resolve(ctx context.Context, q Querier, req Request) (*Target, error) {
	targets, errs, err := ResolveAll(ctx, q, []Request{req})
	if err != nil {
		return nil, err
	}
	return targets[0], errs[0]
}

// ResolveAll resolves several requests. Of each it gives a target, or an error as
// [Resolve] has it. err is no request's own: the question for all was not answered.
func ResolveAll(ctx context.Context, q Querier, reqs []Request) (targets []*Target, errs []error, err error) {
	targets, errs = make([]*Target, len(reqs)), make([]error, len(reqs))
	var names []string
	for i, req := range reqs {
		targets[i] = &Target{req: req}
		if errs[i] = targets[i].parse(); errs[i] == nil && targets[i].Shape == Relation {
			name, _ := parseName(req.Table)
			names = append(names, name.text)
		}
	}
	known, err := readNamed(ctx, q, names)
	if err != nil {
		return nil, nil, err
	}
	for i, t := range targets {
		if errs[i] == nil {
			errs[i] = t.find(ctx, q, known)
		}
		if errs[i] != nil {
			targets[i] = nil
		}
	}
	return targets, errs, nil
}

// find asks the server about a target. known are tables that it was asked about before.
func (t *Target) find(ctx context.Context, q Querier, known map[string]named) error {
	name, _ := parseName(t.req.Table)
	if n, ok := known[name.text]; ok && t.Shape == Relation {
		t.named = &n
		if n.plain && t.where == "" && t.req.Chunk.By != CutColumn {
			statement, err := t.resolveTable(ctx, q, n.server)
			t.Statement, t.named = statement, nil
			t.Relation.Lock = LockByTable
			t.Lock = []RelationRef{t.Relation}
			for i := range n.tree[1:] {
				member := n.tree[1+i].ref()
				member.Lock = LockByParent
				t.Lock = append(t.Lock, member)
			}
			return err
		}
	}
	if err := run(ctx, q, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"); err != nil {
		return err
	}
	defer rollback(ctx, q)
	err := t.resolve(ctx, q)
	t.named = nil
	return err
}

// rollback ends a transaction, also when ctx is cancelled.
func rollback(ctx context.Context, q Querier) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = run(end, q, "ROLLBACK")
}

// parse looks at what needs no server.
func (t *Target) parse() error {
	if t.req.Table != "" && t.req.SQL != "" {
		return &StatementError{Field: FieldSQL, Reason: "a table and a statement cannot both be exported to one file", Hint: "choose one"}
	}
	if t.req.Table == "" && t.req.SQL == "" {
		return &StatementError{Field: FieldSQL, Reason: "there is no statement", Hint: onlySelects}
	}
	if err := t.req.Chunk.check(); err != nil {
		return err
	}
	if t.req.SQL != "" {
		if len(t.req.Columns) > 0 || t.req.Where != "" {
			return &StatementError{Field: FieldSQL, Reason: "columns and a condition belong to a table, not to a statement", Hint: "write them in the statement"}
		}
		stmt, err := parseStatement(t.req.SQL)
		if err != nil {
			return err
		}
		t.stmt, t.Statement, t.Shape = stmt, stmt.text, Opaque
		switch {
		case stmt.chunk >= 0:
			t.Shape = Placeholder
		default:
			if t.scan, t.Why = recognise(stmt); t.scan != nil {
				t.Shape = PlainScan
			}
		}
		return nil
	}
	t.Shape = Relation
	if _, ok := parseName(t.req.Table); !ok {
		return &StatementError{
			Field: FieldTable, Reason: fmt.Sprintf("%q is no name of a table", t.req.Table), Text: t.req.Table,
			Hint: "write it as SQL does: obs, public.obs, \"Obs\"; a statement goes into --sql",
		}
	}
	if t.req.Where == "" {
		return nil
	}
	where, err := parseCondition(t.req.Where)
	t.where = where
	return err
}

// parseCondition checks that text can stand in parentheses after WHERE.
func parseCondition(text string) (string, error) {
	fail := func(pos int, reason string) (string, error) {
		return "", &StatementError{Field: FieldWhere, Reason: reason, Text: text, Position: runePosition(text, pos)}
	}
	tokens, err := lex(text)
	if err != nil {
		return fail(err.(*lexError).pos, err.Error())
	}
	if len(tokens) == 0 {
		return fail(-1, "the condition is empty")
	}
	s := statement{tokens: tokens}
	if pos := s.nest(); pos >= 0 {
		return fail(pos, "unbalanced parentheses")
	}
	if i := sessionChange(tokens); i >= 0 {
		return fail(tokens[i].pos, changesSession)
	}
	for _, k := range tokens {
		switch {
		case k.is(";"):
			return fail(k.pos, "a condition cannot hold a semicolon")
		case k.kind == tokParam:
			return fail(k.pos, "the parameter "+k.val+" has no value")
		case k.kind == tokChunk:
			return fail(k.pos, "{chunk} belongs into a statement; a table is cut without it")
		}
	}
	return text[tokens[0].pos:tokens[len(tokens)-1].end], nil
}

func (t *Target) resolve(ctx context.Context, q Querier) error {
	// The lexer reads strings by standard_conforming_strings; row security is
	// off, so that the server refuses where it would hide rows.
	if err := set(ctx, q, "standard_conforming_strings", "on", "row_security", onOff(t.req.RowSecurity), "max_parallel_workers_per_gather", "0", "jit", "off"); err != nil {
		return err
	}
	srv, err := one(ctx, q, serverQuery, pgx.RowToStructByPos[serverFacts])
	if err != nil {
		return err
	}
	user := userText{field: FieldSQL, text: t.req.SQL}
	statement := ""
	if t.Shape == Relation {
		if statement, err = t.resolveTable(ctx, q, srv); err != nil {
			return err
		}
		user = userText{field: FieldWhere, text: t.req.Where}
		if t.where != "" {
			before := utf8.RuneCountInString(t.req.Where[:strings.Index(t.req.Where, t.where)])
			user.end = before + utf8.RuneCountInString(t.where)
			user.lead = utf8.RuneCountInString(statement) - 1 - user.end
		}
		t.Statement = statement
	} else {
		statement = t.stmt.neutral()
	}
	plan, err := t.validate(ctx, q, statement, user)
	if err != nil {
		return err
	}
	if err := t.findLocks(ctx, q, statement); err != nil {
		return err
	}
	if err := t.findFunctions(ctx, q, plan); err != nil {
		return err
	}
	switch t.Shape {
	case PlainScan:
		err = t.resolveScan(ctx, q)
	case Placeholder:
		err = t.resolvePlaceholder(ctx, q)
	}
	if err != nil {
		return err
	}
	return t.resolveHint(ctx, q)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// set sets parameters, given with their values, until the end of the
// transaction or savepoint.
func set(ctx context.Context, q Querier, pairs ...string) error {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "pg_catalog.set_config(%s, %s, true)", literal(pairs[i]), literal(pairs[i+1]))
	}
	return run(ctx, q, "SELECT "+b.String())
}

// resolveTable finds the relation asked for and returns the SELECT it stands for.
func (t *Target) resolveTable(ctx context.Context, q Querier, srv serverFacts) (string, error) {
	known := t.named
	if known == nil {
		n, err := t.look(ctx, q)
		if err != nil {
			return "", err
		}
		known = n
	}
	root := &known.tree[0]
	if err := root.check(srv); err != nil {
		return "", err
	}
	t.Relation, t.alias = root.ref(), root.Name
	if srv.Standby {
		for i := range known.tree {
			if f := &known.tree[i]; f.Persistence == "u" {
				return "", f.check(srv)
			}
		}
	}
	columns, err := chooseColumns(known.columns, t.req.Columns, t.Relation)
	if err != nil {
		return "", err
	}
	if root.RowSecurity && !t.req.RowSecurity {
		return "", rowSecurityError(ctx, q, []RelationRef{t.Relation}, nil)
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = quote(c.Name)
	}
	return selectFrom(list, false, t.Relation, t.alias, t.where), nil
}

// look finds the relation asked for.
func (t *Target) look(ctx context.Context, q Querier) (*named, error) {
	name, _ := parseName(t.req.Table)
	oid, err := lookup(ctx, q, name, t.req.Table)
	if err != nil {
		return nil, err
	}
	tree, err := readTree(ctx, q, oid, true, false)
	if err != nil {
		return nil, err
	}
	if len(tree) == 0 {
		return nil, &ChangedError{Relation: t.req.Table, Reason: "it was dropped"}
	}
	columns, err := readColumns(ctx, q, oid)
	return &named{tree: tree, columns: columns}, err
}

// selectFrom writes SELECT list FROM [ONLY] relation AS alias [WHERE (a) AND (b) …].
func selectFrom(list []string, only bool, r RelationRef, alias string, conditions ...string) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	b.WriteString(strings.Join(list, ", "))
	b.WriteString(" FROM ")
	if only {
		b.WriteString("ONLY ")
	}
	b.WriteString(r.Ident())
	b.WriteString(" AS ")
	b.WriteString(quote(alias))
	word := " WHERE ("
	for _, c := range conditions {
		if c == "" {
			continue
		}
		b.WriteString(word)
		b.WriteString(c)
		b.WriteString(")")
		word = " AND ("
	}
	return b.String()
}

// limitZero is a statement that plans another one, locks what it reads and
// returns the description of its result, without a row.
func limitZero(statement string) (sql string, lead int) {
	const before = "SELECT * FROM ("
	return before + statement + "\n) AS q LIMIT 0", len(before)
}

// validate lets the server judge the statement, and returns its plan.
func (t *Target) validate(ctx context.Context, q Querier, statement string, user userText) (*planNode, error) {
	if err := run(ctx, q, "SAVEPOINT validate"); err != nil {
		return nil, err
	}
	at := user
	at.lead += utf8.RuneCountInString(explainPrefix)
	plan, err := explain(ctx, q, statement)
	if err == nil {
		kind := ""
		plan.walk(func(n *planNode) {
			switch n.Type {
			case "ModifyTable":
				kind = "a statement that changes rows"
			case "LockRows":
				kind = "SELECT FOR UPDATE or SHARE"
			}
		})
		if kind != "" {
			return nil, &StatementError{Field: FieldSQL, Kind: kind, Reason: kind + " cannot be exported", Hint: onlySelects, Text: t.req.SQL}
		}
		var fields []pgconn.FieldDescription
		sql, lead := limitZero(statement)
		at = user
		at.lead += lead
		if fields, err = describe(ctx, q, sql); err == nil {
			return plan, uniqueNames(fields, t.req.SQL)
		}
	}
	if connectionLost(err) {
		return nil, err
	}
	if back := run(ctx, q, "ROLLBACK TO SAVEPOINT validate"); back != nil {
		return nil, errors.Join(err, back)
	}
	return nil, t.explainError(ctx, q, statement, err, at)
}

// connectionLost reports that an error is not the server's answer to a
// statement, so that nothing more can be asked.
func connectionLost(err error) bool {
	var pg *pgconn.PgError
	return !errors.As(err, &pg)
}

// explainError finds out why the server refused a statement.
func (t *Target) explainError(ctx context.Context, q Querier, statement string, cause error, at userText) error {
	var pg *pgconn.PgError
	if !errors.As(cause, &pg) {
		return cause
	}
	switch {
	case pg.Code == codeNoPrivilege && !t.req.RowSecurity:
		// Row security or a grant: with row_security on only the grant counts.
		// The text of the message depends on the server's language.
		if err := set(ctx, q, "row_security", "on"); err != nil {
			return err
		}
		if _, err := explain(ctx, q, statement); err != nil {
			return t.denied(ctx, q, cause, at)
		}
		locked, err := lockedRelations(ctx, q)
		if err != nil {
			return err
		}
		return t.hidden(ctx, q, locked, cause)
	case pg.Code == codeNoPrivilege:
		return t.denied(ctx, q, cause, at)
	case pg.Code == codeUndefinedTable, pg.Code == codeUndefinedColumn, pg.Code == codeInvalidSchema:
		missing := NotFoundError{Field: at.field, What: "relation", Name: excerptName(pg, at), Hint: pg.Hint, Err: cause}
		switch pg.Code {
		case codeUndefinedColumn:
			missing.What, missing.Relation = "column", t.Relation.nameIfAny()
		case codeInvalidSchema:
			missing.What = "schema"
		}
		return &missingError{missing, serverError(cause, at).(*StatementError)}
	}
	return serverError(cause, at)
}

// denied names the columns that a table's condition, or a plain scan, may not
// read. The server's own message names the table alone.
func (t *Target) denied(ctx context.Context, q Querier, cause error, at userText) error {
	plain := serverError(cause, at)
	if err := run(ctx, q, "ROLLBACK TO SAVEPOINT validate"); err != nil {
		return errors.Join(plain, err)
	}
	rel, text := t.Relation, t.where
	if t.scan != nil {
		oid, err := one(ctx, q, lookupQuery, pgx.RowTo[uint32], t.scan.name.text)
		if err != nil || oid == 0 {
			return plain // a schema that may not be used, for one
		}
		tree, err := readTree(ctx, q, oid, false, false)
		if err != nil || len(tree) == 0 {
			return plain
		}
		rel, text = tree[0].ref(), t.stmt.text
	}
	if rel.OID == 0 {
		return plain
	}
	all, err := readColumns(ctx, q, rel.OID)
	if err != nil {
		return errors.Join(plain, err)
	}
	tokens, err := lex(text)
	if err != nil {
		return plain
	}
	granted, every := 0, t.scan != nil && slices.ContainsFunc(t.scan.items, func(it scanItem) bool { return it.star })
	var denied []string
	for _, c := range all {
		if c.Attnum > 0 && c.MayRead {
			granted++
		}
		named := every && c.Attnum > 0 || slices.ContainsFunc(tokens, func(k token) bool { return k.name() && k.val == c.Name })
		if named && !c.MayRead {
			denied = append(denied, display(c.Name))
		}
	}
	if granted == 0 {
		denied = nil // the whole table
	} else if len(denied) == 0 {
		return plain
	}
	return &PermissionError{Relation: rel.String(), Columns: denied, Hint: fmt.Sprintf("GRANT SELECT ON %s TO the role", rel), Err: cause}
}

// hidden names the relations whose rows row security hides.
func (t *Target) hidden(ctx context.Context, q Querier, locked []RelationRef, cause error) error {
	var active, enabled []RelationRef
	for _, r := range locked {
		tree, err := readTree(ctx, q, r.OID, false, false)
		if err != nil {
			return err
		}
		if len(tree) == 1 && tree[0].RowSecurity {
			active = append(active, r)
		}
	}
	if len(active) == 0 { // policies that apply to the owner of a view
		has, err := collect(ctx, q, "SELECT oid::pg_catalog.oid FROM pg_catalog.pg_class WHERE relrowsecurity AND oid = ANY ($1::pg_catalog.text::pg_catalog.oid[])",
			pgx.RowTo[uint32], oidArray(oidsOf(locked)))
		if err != nil {
			return err
		}
		for _, r := range locked {
			for _, oid := range has {
				if r.OID == oid {
					enabled = append(enabled, r)
				}
			}
		}
		active = enabled
	}
	return rowSecurityError(ctx, q, active, cause)
}

// missingError is a name in a statement that the server does not know: for
// errors.As both a *NotFoundError and a *StatementError with its place.
type missingError struct {
	NotFoundError
	statement *StatementError
}

func (e *missingError) Error() string { return e.statement.Error() }

func (e *missingError) Unwrap() []error { return []error{&e.NotFoundError, e.statement} }

// excerptName is the name that an error's position points to.
func excerptName(pg *pgconn.PgError, u userText) string {
	pos := int(pg.Position) - u.lead - 1
	runes := []rune(u.text)
	if pg.Position == 0 || pos < 0 || pos >= len(runes) {
		return ""
	}
	rest := string(runes[pos:])
	// The rest may end inside a token: only its head matters.
	l := lexer{src: rest}
	for l.pos < len(rest) {
		if l.next() != nil {
			break
		}
		last := l.out[len(l.out)-1]
		if !last.name() && !last.is(".") || len(l.out) > 1 && last.name() == l.out[len(l.out)-2].name() || !last.glued && len(l.out) > 1 {
			l.out = l.out[:len(l.out)-1]
			break
		}
	}
	if len(l.out) == 0 {
		return ""
	}
	return rest[:l.out[len(l.out)-1].end]
}

// describe gives the result columns of a statement that yields no rows.
func describe(ctx context.Context, q Querier, sql string) ([]pgconn.FieldDescription, error) {
	rows, err := q.Query(ctx, sql, unprepared)
	if err != nil {
		return nil, err
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return append([]pgconn.FieldDescription(nil), rows.FieldDescriptions()...), nil
}

// uniqueNames refuses two result columns of one name.
func uniqueNames(fields []pgconn.FieldDescription, text string) error {
	seen := map[string]bool{}
	for _, f := range fields {
		if seen[f.Name] {
			return &StatementError{
				Field: FieldSQL, Reason: fmt.Sprintf("two result columns are named %s", display(f.Name)), Text: text,
				Hint: "give one of them another name with AS",
			}
		}
		seen[f.Name] = true
	}
	return nil
}

func oidsOf(refs []RelationRef) []uint32 {
	oids := make([]uint32, len(refs))
	for i, r := range refs {
		oids[i] = r.OID
	}
	return oids
}

// lockedRelationsQuery reads which relations this transaction holds locks on:
// what a statement that was planned in it reads, views and what is behind
// them included. Our own queries lock nothing but catalogs.
const lockedRelationsQuery = `
SELECT DISTINCT c.oid::pg_catalog.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
       c.relpersistence = 't'
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY 1`

func refRow(row pgx.CollectableRow) (RelationRef, error) {
	var r RelationRef
	var kind string
	if err := row.Scan(&r.OID, &r.Schema, &r.Name, &kind); err != nil {
		return r, err
	}
	r.Kind = RelationKind(kind[0])
	return r, nil
}

func lockedRelations(ctx context.Context, q Querier) ([]RelationRef, error) {
	return collect(ctx, q, lockedRelationsQuery, func(row pgx.CollectableRow) (RelationRef, error) {
		var r RelationRef
		var kind string
		var temporary bool
		if err := row.Scan(&r.OID, &r.Schema, &r.Name, &kind, &temporary); err != nil {
			return r, err
		}
		r.Kind = RelationKind(kind[0])
		if temporary {
			return r, temporaryTable(r)
		}
		return r, nil
	})
}

// descendantsQuery reads what inherits from the given relations or is a
// partition of them, with the relation at the top.
const descendantsQuery = `
WITH RECURSIVE tree(oid) AS (
  SELECT i.inhrelid FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[]) r(o) JOIN pg_catalog.pg_inherits i ON i.inhparent = r.o
  UNION
  SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
)
SELECT c.oid::pg_catalog.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text
FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1`

// viewedQuery reads the relations that the given views read: LOCK TABLE of a
// view goes on through views, but not into materialized views.
const viewedQuery = `
WITH RECURSIVE seen(oid, viewed) AS (
  SELECT v, false FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[]) v
  UNION
  SELECT d.refobjid, true
  FROM seen s JOIN pg_catalog.pg_class c ON c.oid = s.oid AND c.relkind = 'v'
       JOIN pg_catalog.pg_rewrite r ON r.ev_class = s.oid AND r.rulename = '_RETURN'
       JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> s.oid
)
SELECT DISTINCT seen.oid::pg_catalog.oid FROM seen JOIN pg_catalog.pg_class c ON c.oid = seen.oid WHERE seen.viewed AND c.relkind IN ('r', 'p', 'v')`

// findLocks lists the relations that the planned statement reads, and how each
// is to be locked.
func (t *Target) findLocks(ctx context.Context, q Querier, statement string) error {
	refs, err := lockedRelations(ctx, q)
	if err != nil {
		return err
	}
	under, err := beneath(ctx, q, refs)
	if err != nil {
		return err
	}
	var tops []RelationRef
	for _, r := range refs {
		if !under[r.OID].found && r.Kind != MaterializedView && r.Kind != ForeignTable {
			r.Lock = LockByTable
			tops = append(tops, r)
		}
	}
	good, err := lockable(ctx, q, tops)
	if err != nil {
		return err
	}
	if len(good) < len(refs) { // not everything is locked by itself: what is by another?
		if under, err = beneath(ctx, q, good); err != nil {
			return err
		}
	}
	known := map[uint32]bool{}
	t.Lock = good
	for _, r := range good {
		known[r.OID] = true
	}
	bySelect := false
	for _, r := range refs {
		if known[r.OID] {
			continue
		}
		known[r.OID] = true
		if r.Lock = LockByParent; !under[r.OID].found {
			r.Lock, bySelect = LockBySelect, true
		}
		t.Lock = append(t.Lock, r)
	}
	var rest []RelationRef // partitions that the statement does not read
	for oid, u := range under {
		if !known[oid] && u.ref.OID != 0 {
			u.ref.Lock = LockByParent
			rest = append(rest, u.ref)
		}
	}
	slices.SortFunc(rest, func(a, b RelationRef) int { return cmp.Compare(a.OID, b.OID) })
	t.Lock = append(t.Lock, rest...)
	if bySelect {
		t.LockSelect, _ = limitZero(statement)
	}
	return nil
}

// lockedWith is a relation that LOCK TABLE of another locks too.
type lockedWith struct {
	found bool
	ref   RelationRef // set for descendants
}

// beneath finds what LOCK TABLE of refs locks besides them: descendants of
// tables, and what views read.
func beneath(ctx context.Context, q Querier, refs []RelationRef) (map[uint32]lockedWith, error) {
	under := map[uint32]lockedWith{}
	var views []uint32
	for _, r := range refs {
		if r.Kind == View {
			views = append(views, r.OID)
		}
	}
	parents := oidsOf(refs)
	if len(views) > 0 {
		viewed, err := collect(ctx, q, viewedQuery, pgx.RowTo[uint32], oidArray(views))
		if err != nil {
			return nil, err
		}
		for _, oid := range viewed {
			under[oid] = lockedWith{found: true}
		}
		parents = append(parents, viewed...)
	}
	if len(parents) == 0 {
		return under, nil
	}
	descendants, err := collect(ctx, q, descendantsQuery, refRow, oidArray(parents))
	for _, r := range descendants {
		under[r.OID] = lockedWith{found: true, ref: r}
	}
	return under, err
}

// lockable tries LOCK TABLE and returns those of refs that it accepts.
func lockable(ctx context.Context, q Querier, refs []RelationRef) ([]RelationRef, error) {
	try := func(refs []RelationRef) (bool, error) {
		if len(refs) == 0 {
			return true, nil
		}
		if err := run(ctx, q, "SAVEPOINT lock"); err != nil {
			return false, err
		}
		err := run(ctx, q, lockTable(refs))
		var pg *pgconn.PgError
		switch {
		case err == nil:
			return true, run(ctx, q, "RELEASE SAVEPOINT lock")
		case errors.As(err, &pg) && (pg.Code == codeNoPrivilege || pg.Code == codeInvalidObjectUse || pg.Code == codeFeature):
			return false, run(ctx, q, "ROLLBACK TO SAVEPOINT lock")
		}
		return false, err
	}
	ok, err := try(refs)
	if ok || err != nil {
		return refs, err
	}
	var good []RelationRef
	for _, r := range refs {
		if ok, err = try([]RelationRef{r}); err != nil {
			return nil, err
		} else if ok {
			good = append(good, r)
		}
	}
	return good, nil
}

// resolveScan finds the relation of a plain scan.
func (t *Target) resolveScan(ctx context.Context, q Querier) error {
	opaque := func(why string) error {
		t.Shape, t.Why, t.scan, t.Relation = Opaque, why, nil, RelationRef{}
		return nil
	}
	oid, err := lookup(ctx, q, t.scan.name, t.scan.name.text)
	if err != nil {
		var missing *NotFoundError
		if errors.As(err, &missing) {
			return opaque("FROM is not one table") // a common table expression, a row variable
		}
		return err
	}
	tree, err := readTree(ctx, q, oid, false, false)
	if err != nil || len(tree) == 0 {
		return err
	}
	t.Relation = tree[0].ref()
	for _, r := range t.Lock {
		if r.OID == oid {
			t.Relation.Lock = r.Lock
		}
	}
	if t.scan.alias == "" {
		if short, _ := recognise(t.stmt.unqualify(t.Relation)); short != nil {
			t.scan = short
		}
	}
	t.where = t.scan.where()
	if t.alias = t.scan.alias; t.alias == "" {
		t.alias = t.Relation.Name
	}
	return nil
}

// Functions with queries in them that the server runs by themselves. What SQL
// functions read is locked too where the server puts them in place.
const readingFunctionsQuery = `
SELECT DISTINCT p.proname::pg_catalog.text, n.nspname::pg_catalog.text, COALESCE(l.lanname = 'sql' AND p.oid >= 16384, false)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.proname = ANY ($1::pg_catalog.text::pg_catalog.name[])
  AND (p.oid >= 16384 AND p.provolatile <> 'i' AND l.lanname NOT IN ('c', 'internal')
      AND CASE WHEN l.lanname = 'sql' THEN p.prosrc = '' OR p.prosrc ~* '\m(from|join|table)\M'
               ELSE p.prosrc ~* '\m(from|join|table|execute|perform|select)\M' END
    OR l.lanname IN ('c', 'internal') AND p.proname = ANY ($2::pg_catalog.text::pg_catalog.name[]))
ORDER BY 1, 2`

// queryRunners are functions written in C that run a query which they are
// given, or read a table of which they are given the name: those of Postgres
// and of the extensions that come with it. Those of remoteRunners run it on a
// connection of their own.
var (
	queryRunners = words(`query_to_xml query_to_xml_and_xmlschema cursor_to_xml table_to_xml table_to_xml_and_xmlschema
		schema_to_xml schema_to_xml_and_xmlschema database_to_xml database_to_xml_and_xmlschema ts_stat ts_rewrite
		crosstab crosstab2 crosstab3 crosstab4 crosstabn connectby xpath_table`)
	remoteRunners = words(`dblink dblink_fetch dblink_get_result dblink_exec`)
)

// callsIn are the names before a parenthesis.
func callsIn(tokens []token) map[string]bool {
	called := map[string]bool{}
	for i := 1; i < len(tokens); i++ {
		if tokens[i].is("(") && tokens[i-1].name() {
			called[tokens[i-1].val] = true
		}
	}
	return called
}

// findFunctions warns of the functions that the user's text, or a view that it
// reads, calls and that may read tables of which the statement says nothing.
func (t *Target) findFunctions(ctx context.Context, q Querier, plan *planNode) error {
	tokens, err := lex(t.where)
	if t.stmt != nil {
		tokens = t.stmt.tokens
	}
	if err != nil {
		return err
	}
	by := map[string]string{} // what calls it: the first view, "" for the text itself
	for name := range callsIn(tokens) {
		by[name] = ""
	}
	var views []uint32
	for _, r := range t.Lock {
		if r.Kind == View {
			views = append(views, r.OID)
		}
	}
	if len(views) > 0 {
		texts, err := collect(ctx, q, viewTextQuery, refText, oidArray(views))
		if err != nil {
			return err
		}
		for _, v := range texts {
			tokens, err := lex(v.text)
			if err != nil {
				continue // the server's own text, in words that are not known here
			}
			for name := range callsIn(tokens) {
				if _, ok := by[name]; !ok {
					by[name] = v.name
				}
			}
		}
	}
	if len(by) == 0 {
		return nil
	}
	var names, runners []string
	for name := range by {
		names = append(names, name)
		if queryRunners[name] || remoteRunners[name] {
			runners = append(runners, name)
		}
	}
	type reader struct {
		Name, Schema string
		SQL          bool
	}
	found, err := collect(ctx, q, readingFunctionsQuery, pgx.RowToStructByPos[reader], textArray(names), textArray(runners))
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.SQL && !plan.calls(f.Name) {
			continue
		}
		name := display(f.Schema) + "." + display(f.Name)
		if view := by[f.Name]; view != "" {
			name += ", which view " + view + " calls,"
		}
		if remoteRunners[f.Name] {
			t.warnings = append(t.warnings, fmt.Sprintf("function %s reads by a connection of its own: its rows are not those of the snapshot", name))
		} else {
			t.warnings = append(t.warnings, fmt.Sprintf("function %s may read tables that are not locked: rows of one that is truncated or rewritten meanwhile would be missing", name))
		}
	}
	return nil
}
