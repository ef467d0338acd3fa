package chunker

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// attribute is what pg_attribute adds to the description of a result column.
type attribute struct {
	Relation uint32
	Attnum   int16
	Name     string
	Type     uint32
	Base     uint32 // the type under a domain, however deep; else Type
	Typmod   int32
	Dims     int
	Comment  string
	NotNull  bool // and valid
}

// attributesQuery reads the columns of the relations $1. From Postgres 18 on a NOT
// NULL constraint may be one that was never validated.
const attributesQuery = `
SELECT a.attrelid::pg_catalog.oid, a.attnum, ` + columnNameSpelt + `, a.atttypid::pg_catalog.oid,
       CASE WHEN t.typtype = 'd' THEN (
         WITH RECURSIVE base AS (
           SELECT a.atttypid AS oid, 0 AS level
           UNION ALL
           SELECT d.typbasetype, b.level + 1 FROM base b JOIN pg_catalog.pg_type d ON d.oid = b.oid AND d.typtype = 'd'
         )
         SELECT b.oid FROM base b ORDER BY b.level DESC LIMIT 1) ELSE a.atttypid END::pg_catalog.oid,
       a.atttypmod, a.attndims::pg_catalog.int4, coalesce(pg_catalog.col_description(a.attrelid, a.attnum), ''),
       a.attnum > 0 AND a.attnotnull AND NOT EXISTS (` + unvalidated + `)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND NOT a.attisdropped`

// unvalidated finds a NOT NULL of column a that was never validated.
const unvalidated = `
    SELECT FROM pg_catalog.pg_constraint k
    WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated AND a.attnum = ANY (k.conkey)`

// notNullQuery reads which columns can hold no NULL in any of the given tables.
const notNullQuery = `
SELECT a.attname::pg_catalog.text
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped
  AND NOT EXISTS (` + unvalidated + `)
GROUP BY 1
HAVING pg_catalog.count(*) = pg_catalog.cardinality($1::pg_catalog.text::pg_catalog.oid[])`

// describe fills in the result columns, and checks that the chunks' statements
// give the same columns as the user's.
func (p *Plan) describe(ctx context.Context, q Querier, cat *Catalog) error {
	t := p.Target
	fields, err := p.fields(ctx, q)
	if err != nil {
		return p.refused(err)
	}
	if err := uniqueNames(fields, t.req.SQL); err != nil {
		return err
	}
	if err := p.sameColumns(ctx, q, fields); err != nil {
		return err
	}
	var relations []uint32
	for _, f := range fields {
		if f.TableOID != 0 && f.TableAttributeNumber != 0 {
			relations = append(relations, f.TableOID)
		}
	}
	slices.Sort(relations)
	relations = slices.Compact(relations)
	if err := cat.readAttributes(ctx, q, relations); err != nil {
		return err
	}
	known := map[[2]uint32]attribute{}
	for _, r := range relations {
		for _, a := range cat.attributes[r] {
			known[[2]uint32{a.Relation, uint32(uint16(a.Attnum))}] = a
		}
	}
	notNull, err := p.notNull(ctx, q, cat)
	if err != nil {
		return err
	}
	for _, f := range fields {
		c := ResultColumn{Name: f.Name, Type: f.DataTypeOID, Typmod: f.TypeModifier, sent: f.DataTypeOID, sentTypmod: f.TypeModifier}
		if a, ok := known[[2]uint32{f.TableOID, uint32(f.TableAttributeNumber)}]; ok {
			if a.Base != f.DataTypeOID {
				return &ChangedError{
					Relation: p.displayOID(a.Relation),
					Reason:   fmt.Sprintf("column %s is of another type than in the snapshot", display(a.Name)),
				}
			}
			c.Relation, c.Attnum, c.Type, c.Typmod, c.Dims, c.Comment = a.Relation, a.Attnum, a.Type, a.Typmod, a.Dims, a.Comment
			if a.Type == f.DataTypeOID {
				c.Typmod = f.TypeModifier
			}
			c.NotNull = notNull[a.Name] && a.Relation == t.Relation.OID
		}
		p.Columns = append(p.Columns, c)
	}
	return nil
}

// fields is the server's description of the statement's result. The columns of
// a relation are its own whatever inherits from it: that is not opened for them.
func (p *Plan) fields(ctx context.Context, q Querier) ([]pgconn.FieldDescription, error) {
	t := p.Target
	statement := p.statement()
	if t.Shape == Relation {
		statement = selectFrom([]string{p.list}, true, t.Relation, t.alias, t.where)
	}
	sql, _ := limitZero(statement)
	return describe(ctx, q, sql)
}

// RunsUsersCode tells whether reading a chunk may run code that users wrote: only then can session, functions and types be
// others behind it, and Unchanged find something. A scan that the recogniser let pass calls nothing of theirs but functions
// whose names it knows.
func (p *Plan) RunsUsersCode(c Chunk) bool {
	return c.Scan == Own || c.Scan == ByColumn || c.Scan == Placed || len(p.called) > 0
}

// Unchanged asks the server whether the statement's columns still are of the types that the plan says. No lock keeps a
// function from being dropped and made anew with another result, and COPY says nothing of types: a timestamp would be
// read as the number that it was before. Call it behind the COPY, inside the snapshot's transaction.
//
// Nor may a function that the statement calls have been replaced since the snapshot: chunks, and rows, would be of different ones.
//
// Errors: *ChangedError, or the server's.
func (p *Plan) Unchanged(ctx context.Context, q Querier) error {
	if err := p.sameFunctions(ctx, q); err != nil {
		return err
	}
	fields, err := p.fields(ctx, q)
	if err != nil {
		return err
	}
	if len(fields) != len(p.Columns) {
		return &ChangedError{Relation: "the statement", Reason: fmt.Sprintf("it has %d columns and had %d", len(fields), len(p.Columns))}
	}
	for i, f := range fields {
		if c := &p.Columns[i]; f.Name != c.Name || f.DataTypeOID != c.sent || f.TypeModifier != c.sentTypmod {
			return &ChangedError{Relation: "the statement", Reason: fmt.Sprintf("column %s is of another type than when the export was planned", display(c.Name))}
		}
	}
	return nil
}

// displayOID names a relation of the target for people.
func (p *Plan) displayOID(oid uint32) string {
	for _, r := range p.Target.Lock {
		if r.OID == oid {
			return r.String()
		}
	}
	return fmt.Sprintf("the relation with OID %d", oid)
}

// sameColumns compares the columns of a chunk with those of the statement.
func (p *Plan) sameColumns(ctx context.Context, q Querier, want []pgconn.FieldDescription) error {
	i := slices.IndexFunc(p.Sources, func(s Source) bool { return s.Scan != Own && s.Scan != Placed })
	if i < 0 || p.Target.Shape == Relation && p.Sources[i].Relation.OID == p.Target.Relation.OID {
		return nil // there are none, or the chunk names the same columns of the same relation
	}
	sql, _ := limitZero(p.scanOf(&p.Sources[i], Chunk{Lo: 0, Hi: 1, Scan: p.Sources[i].Scan}, []string{p.list}))
	got, err := describe(ctx, q, sql)
	if err != nil {
		return p.refused(err)
	}
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		same = got[i].Name == want[i].Name && got[i].DataTypeOID == want[i].DataTypeOID && got[i].TypeModifier == want[i].TypeModifier
	}
	if same {
		return nil
	}
	if p.Target.Shape == PlainScan {
		p.Sources, p.list = nil, ""
		return p.own(ctx, q, p.Target.Relation, "a chunk would have other columns")
	}
	return &ChangedError{Relation: p.Target.Relation.String(), Reason: "its columns are not those of the snapshot"}
}

// notNull are the columns that hold no NULL in any source. Only rows read
// straight from tables of this server keep that promise: a join can add NULLs,
// a foreign server can have others.
func (p *Plan) notNull(ctx context.Context, q Querier, cat *Catalog) (map[string]bool, error) {
	if p.Target.Shape != Relation && p.Target.Shape != PlainScan {
		return nil, nil
	}
	var oids []uint32
	for i := range p.Sources {
		if len(p.Sources[i].members) == 0 {
			return nil, nil
		}
		oids = append(oids, p.Sources[i].members...)
	}
	if len(oids) == 1 {
		if err := cat.readAttributes(ctx, q, oids); err != nil {
			return nil, err
		}
		out := map[string]bool{}
		for _, a := range cat.attributes[oids[0]] {
			out[a.Name] = a.NotNull
		}
		return out, nil
	}
	names, err := collect(ctx, q, notNullQuery, pgx.RowTo[string], oidArray(oids))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out, nil
}
