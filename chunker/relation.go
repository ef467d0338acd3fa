package chunker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// RelationKind is pg_class.relkind.
type RelationKind byte

// The kinds whose rows can be read: pg_class, relkind.
const (
	Table            RelationKind = 'r'
	PartitionedTable RelationKind = 'p'
	View             RelationKind = 'v'
	MaterializedView RelationKind = 'm'
	ForeignTable     RelationKind = 'f'
	Sequence         RelationKind = 'S'
)

// String is the kind in the manual's words.
func (k RelationKind) String() string {
	switch k {
	case Table:
		return "table"
	case PartitionedTable:
		return "partitioned table"
	case View:
		return "view"
	case MaterializedView:
		return "materialized view"
	case ForeignTable:
		return "foreign table"
	case Sequence:
		return "sequence"
	case 'i', 'I':
		return "index"
	case 't':
		return "TOAST table"
	case 'c':
		return "composite type"
	}
	return fmt.Sprintf("relation of kind %q", byte(k))
}

// LockKind says how a relation's ACCESS SHARE lock can be had.
type LockKind uint8

const (
	// LockByTable: LOCK TABLE ident IN ACCESS SHARE MODE takes it, together
	// with everything marked LockByParent under it.
	LockByTable LockKind = iota + 1
	// LockByParent: LOCK TABLE of a partitioned table, inheritance parent or
	// view in the list takes it too.
	LockByParent
	// LockBySelect: LOCK TABLE is refused (a materialized view, a foreign
	// table, a user with column grants only). Target.LockSelect takes it, but
	// it freezes the snapshot: afterwards compare the relation's relfilenode
	// as the snapshot sees it with pg_relation_filenode.
	LockBySelect
)

// RelationRef names one relation.
type RelationRef struct {
	OID          uint32
	Schema, Name string // unquoted
	Kind         RelationKind
	Lock         LockKind
}

// Ident is the qualified name as SQL takes it, always quoted.
func (r RelationRef) Ident() string { return quote(r.Schema) + "." + quote(r.Name) }

// String is the qualified name for people, quoted where SQL needs it.
func (r RelationRef) String() string { return display(r.Schema) + "." + display(r.Name) }

func (r RelationRef) nameIfAny() string {
	if r.OID == 0 {
		return ""
	}
	return r.String()
}

// serverFacts are what a plan needs to know of the server.
type serverFacts struct {
	Version   int // server_version_num
	BlockSize int64
	Buffers   int64 // shared_buffers, bytes
	Standby   bool
	Timescale bool
	Citus     bool
}

const serverQuery = `
SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, pg_catalog.current_setting('block_size')::pg_catalog.int8,
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')), pg_catalog.pg_is_in_recovery(), pg_catalog.to_regclass('_timescaledb_catalog.chunk') IS NOT NULL,
       pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL`

// tidRangeVersion is the first server that has TID range scans.
const tidRangeVersion = 140000

// facts are what the catalog says of one relation of a tree.
type facts struct {
	OID          uint32
	Schema, Name string
	KindText     string
	Persistence  string
	AccessMethod string // "" for kinds without one
	RowSecurity  bool   // policies apply to this user
	MayRead      bool   // SELECT is granted on the whole relation
	Populated    bool
	Now          uint32 // of a root that was measured: the relation that its name stands for now
	HeapBytes    int64
	ToastBytes   int64
}

func (f *facts) ref() RelationRef {
	return RelationRef{OID: f.OID, Schema: f.Schema, Name: f.Name, Kind: f.kind()}
}

// heap reports whether its rows are in blocks of its own, as Postgres itself lays them out.
func (f *facts) heap() bool {
	return f.AccessMethod == "heap" && (f.kind() == Table || f.kind() == MaterializedView)
}

func (f *facts) kind() RelationKind { return RelationKind(f.KindText[0]) }

// treesQuery reads relations and, where $2 says so, everything that inherits from
// them or is a partition of them, as the snapshot sees it; the root comes first
// in each tree. A partition whose concurrent detaching was begun is none any more
// to the server's scans (the column that says so came with 14). Sizes, and what
// a root's name stands for, with $3, are those of this moment: they wait for
// whoever rewrites a relation that is not locked yet. The TOAST table of a table
// without a page is not opened for its size: nothing points into it. The fence
// (OFFSET 0) has pg_class asked by its unique index: the server cannot know how
// many relations there will be. pg_inherits has none: where its statistics know
// of one parent alone, it would be read as a whole for every member.
const treesQuery = `
WITH RECURSIVE tree(root, children, oid) AS (
  SELECT r.o, r.c, r.o
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.text::pg_catalog.bool[])) r(o, c)
  UNION
  SELECT t.root, t.children, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
  WHERE NOT ` + detaching + ` AND t.children
)
SELECT tree.root::pg_catalog.oid, tree.children,
       c.oid::pg_catalog.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text, c.relpersistence::pg_catalog.text, coalesce(am.amname::pg_catalog.text, ''),
       c.relrowsecurity AND pg_catalog.row_security_active(c.oid), coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false), c.relispopulated,
       CASE WHEN $3::pg_catalog.text::pg_catalog.bool AND c.oid = tree.root
            THEN coalesce(pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, c.relname))::pg_catalog.oid, 0) ELSE 0 END::pg_catalog.oid,
       c.heap, CASE WHEN c.heap > 0 AND c.reltoastrelid <> 0 THEN coalesce(pg_catalog.pg_relation_size(c.reltoastrelid), 0) ELSE 0 END
FROM tree CROSS JOIN LATERAL (
       SELECT *, CASE WHEN $3::pg_catalog.text::pg_catalog.bool AND c.relkind IN ('r', 'm', 't') THEN coalesce(pg_catalog.pg_relation_size(c.oid), 0) ELSE 0 END AS heap
       FROM pg_catalog.pg_class c WHERE c.oid = tree.oid OFFSET 0) c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
ORDER BY c.oid <> tree.root, c.oid`

// detaching tells whether row i of pg_inherits is of a partition whose concurrent detaching was begun.
const detaching = `coalesce((pg_catalog.to_jsonb(i) ->> 'inhdetachpending')::pg_catalog.bool, false)`

const detachingQuery = `SELECT DISTINCT i.inhparent::pg_catalog.oid FROM pg_catalog.pg_inherits i WHERE i.inhparent = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND ` + detaching

func readTree(ctx context.Context, q Querier, root uint32, children, sizes bool) ([]facts, error) {
	c, at := newCatalog(), treeRoot{root, children}
	err := c.readTrees(ctx, q, []treeRoot{at}, sizes)
	return c.trees[at], err
}

func temporaryTable(r RelationRef) error {
	return &UnsupportedRelationError{
		Relation: r.String(), Kind: "temporary table", Reason: "only the session that made it can see it",
		Hint: "make it an ordinary table, or export the query that fills it",
	}
}

// check refuses a relation whose rows no other connection can read.
func (f *facts) check(srv serverFacts) error {
	bad := func(kind, reason, hint string) error {
		return &UnsupportedRelationError{Relation: f.ref().String(), Kind: kind, Reason: reason, Hint: hint}
	}
	switch f.kind() {
	case Table, PartitionedTable, View, MaterializedView, ForeignTable, Sequence:
	default:
		return bad(f.kind().String(), "it is no table", "")
	}
	switch {
	case f.Persistence == "t":
		return temporaryTable(f.ref())
	case f.Persistence == "u" && srv.Standby:
		return bad("unlogged table", "a standby has no rows of unlogged tables", "export from the primary")
	case f.kind() == MaterializedView && !f.Populated:
		return bad("materialized view", "it has not been populated", "REFRESH MATERIALIZED VIEW "+f.ref().Ident()+" first")
	}
	return nil
}

// column is one column of a relation, as pg_attribute has it.
type column struct {
	Name    string
	Attnum  int
	Type    uint32
	Element uint32 // of an array type, else 0
	Base    uint32 // of a domain, else 0
	MayRead bool
}

// A column that is in the snapshot and was dropped since has no privileges: the
// statement that names it finds out.
//
// $1 are the relations.
const columnsQuery = `
SELECT a.attrelid::pg_catalog.oid, ` + columnNameSpelt + `, a.attnum::pg_catalog.int4, a.atttypid::pg_catalog.oid, t.typelem::pg_catalog.oid, t.typbasetype::pg_catalog.oid,
       coalesce(pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'), true)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND NOT a.attisdropped
ORDER BY a.attnum < 0, a.attnum`

// columnNameSpelt is the name of column a for columnName. A SQL_ASCII database may
// have names that are no text in any encoding, which the server does not send:
// there they come in hexadecimal. The first letter tells.
const columnNameSpelt = `CASE WHEN pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'
         THEN 'x' || pg_catalog.encode(pg_catalog.replace(a.attname::pg_catalog.text, E'\\', E'\\\\')::pg_catalog.bytea, 'hex')
         ELSE 'n' || a.attname::pg_catalog.text END`

// columnName is the name that columnNameSpelt spells.
func columnName(spelt string) (string, error) {
	if hexed, ok := strings.CutPrefix(spelt, "x"); ok {
		raw, err := hex.DecodeString(hexed)
		return string(raw), err
	}
	return strings.TrimPrefix(spelt, "n"), nil
}

// readColumns reads a relation's columns in order, and then its system columns.
func readColumns(ctx context.Context, q Querier, relation uint32) ([]column, error) {
	c := newCatalog()
	err := c.readColumns(ctx, q, []uint32{relation})
	return c.columns[relation], err
}

// chooseColumns are the columns that a request names, or all without a choice.
func chooseColumns(all []column, names []string, rel RelationRef) ([]column, error) {
	var chosen []column
	if len(names) == 0 {
		for _, c := range all {
			if c.Attnum > 0 {
				chosen = append(chosen, c)
			}
		}
	}
	list := strings.Join(names, ",")
	taken := map[string]bool{}
	for _, text := range names {
		name, ok := parseIdentifier(text)
		if !ok {
			return nil, &StatementError{
				Field: FieldColumns, Reason: fmt.Sprintf("%q is no column name", text), Text: list,
				Hint: "give column names as SQL writes them, separated by commas; expressions go into --sql",
			}
		}
		if taken[name] {
			return nil, &StatementError{Field: FieldColumns, Reason: fmt.Sprintf("column %s is named twice", display(name)), Text: list, Hint: "name each column once"}
		}
		taken[name] = true
		found := false
		for _, c := range all {
			if c.Name == name {
				chosen, found = append(chosen, c), true
				break
			}
		}
		if !found {
			return nil, &NotFoundError{Field: FieldColumns, What: "column", Name: text, Relation: rel.String(), Hint: columnHint(all, name)}
		}
	}
	var denied []string
	for _, c := range chosen {
		if !utf8.ValidString(c.Name) {
			return nil, &NameError{Relation: rel.String(), Attnum: c.Attnum, Name: c.Name}
		}
		if !c.MayRead {
			denied = append(denied, display(c.Name))
		}
	}
	if len(denied) == 0 {
		return chosen, nil
	}
	hint := fmt.Sprintf("GRANT SELECT ON %s TO the role", rel)
	granted := 0
	for _, c := range all {
		if c.Attnum > 0 && c.MayRead {
			granted++
		}
	}
	if granted == 0 {
		return nil, &PermissionError{Relation: rel.String(), Hint: hint}
	}
	if len(names) == 0 {
		hint += ", or choose the columns that are granted with --columns"
	}
	return nil, &PermissionError{Relation: rel.String(), Columns: denied, Hint: hint}
}

// columnHint suggests the column that differs in case only.
func columnHint(all []column, name string) string {
	for _, c := range all {
		if strings.EqualFold(c.Name, name) {
			return fmt.Sprintf("did you mean %s?", display(c.Name))
		}
	}
	return ""
}

const lookupQuery = `SELECT coalesce(pg_catalog.to_regclass($1::pg_catalog.text::pg_catalog.text)::pg_catalog.oid, 0)::pg_catalog.oid`

// lookupAllQuery looks up several names, in their order.
const lookupAllQuery = `
SELECT coalesce(pg_catalog.to_regclass(n.name)::pg_catalog.oid, 0)::pg_catalog.oid
FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.text[]) WITH ORDINALITY n(name, place) ORDER BY n.place`

const similarQuery = `
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid >= 16384 AND pg_catalog.lower(c.relname::pg_catalog.text) = pg_catalog.lower($1::pg_catalog.text)
ORDER BY n.nspname = ANY (pg_catalog.current_schemas(false)) DESC, c.relname <> $1, 1, 2 LIMIT 3`

// lookup finds a relation by its name as the server resolves it.
func lookup(ctx context.Context, q Querier, n relationName, text string) (uint32, error) {
	oid, err := one(ctx, q, lookupQuery, pgx.RowTo[uint32], n.text)
	if err != nil {
		return 0, serverError(err, userText{field: FieldTable, text: text})
	}
	if oid != 0 {
		return oid, nil
	}
	similar, err := collect(ctx, q, similarQuery, func(row pgx.CollectableRow) (string, error) {
		var schema, name string
		err := row.Scan(&schema, &name)
		return display(schema) + "." + display(name), err
	}, n.parts[len(n.parts)-1])
	if err != nil {
		return 0, err
	}
	nf := &NotFoundError{Field: FieldTable, What: "relation", Name: text}
	if len(similar) > 0 {
		nf.Hint = "did you mean " + strings.Join(similar, " or ") + "?"
	} else if len(n.parts) == 1 {
		nf.Hint = "the search_path is looked through: qualify the name with its schema"
	}
	return 0, nf
}

const policiesQuery = `
SELECT pg_catalog.format('%I on %I.%I', p.polname, n.nspname, c.relname)
FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE p.polrelid = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND p.polcmd IN ('r', '*')
  AND (p.polroles = '{0}' OR EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) r WHERE pg_catalog.pg_has_role(r, 'USAGE')))
ORDER BY 1`

// rowSecurityError names relations and the policies on them.
func rowSecurityError(ctx context.Context, q Querier, refs []RelationRef, cause error) error {
	e := &RowSecurityError{Err: cause, Hint: "use a role with BYPASSRLS, or --enable-row-security to export the rows that the policies show"}
	var oids []uint32
	for _, r := range refs {
		e.Relations = append(e.Relations, r.String())
		oids = append(oids, r.OID)
	}
	policies, err := collect(ctx, q, policiesQuery, pgx.RowTo[string], oidArray(oids))
	if err != nil {
		return errors.Join(e, err)
	}
	e.Policies = policies
	return e
}
