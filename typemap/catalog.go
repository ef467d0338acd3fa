package typemap

import (
	"fmt"
	"strings"
)

// CatalogQuery asks for everything a Plan must know of the types with the OIDs in $1 (oid[]) and of all types that these
// are made of. One row a type, in the order of CatalogRow's fields; it runs on Postgres 12 and later and needs no more
// than read access to pg_catalog.
//
// pg_range is read through to_jsonb where the column came with 14.
const CatalogQuery = `
WITH RECURSIVE reach(oid) AS (
	SELECT u.o FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS u(o)
	UNION
	SELECT part.oid
	FROM reach
	JOIN pg_catalog.pg_type t ON t.oid = reach.oid
	CROSS JOIN LATERAL (
		SELECT t.typelem AS oid WHERE t.typelem <> 0
		UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
		UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
			WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE g.rngtypid = t.oid
		UNION ALL SELECT g.rngtypid FROM pg_catalog.pg_range g
			WHERE t.typtype = 'm' AND (pg_catalog.to_jsonb(g) ->> 'rngmultitypid')::pg_catalog.oid = t.oid
	) part
)
SELECT
	t.oid,
	t.typname::pg_catalog.text,
	n.nspname::pg_catalog.text,
	pg_catalog.format_type(t.oid, NULL),
	t.typtype::pg_catalog.text,
	t.typlen,
	CASE WHEN t.typelem <> 0 AND e.typarray = t.oid THEN t.typelem ELSE 0::pg_catalog.oid END,
	t.typbasetype,
	t.typtypmod,
	t.typndims,
	t.typdelim::pg_catalog.text,
	t.typsend <> 0::pg_catalog.oid,
	pg_catalog.quote_ident(pn.nspname) || '.' || pg_catalog.quote_ident(p.proname),
	EXISTS (SELECT FROM pg_catalog.pg_cast c
		WHERE c.castsource = t.oid AND c.casttarget = 25 AND c.castmethod <> 'i'),
	COALESCE(x.extname::pg_catalog.text, ''),
	COALESCE(x.extversion, ''),
	COALESCE(r.rngsubtype, 0::pg_catalog.oid),
	COALESCE((SELECT g.rngtypid FROM pg_catalog.pg_range g
		WHERE t.typtype = 'm' AND (pg_catalog.to_jsonb(g) ->> 'rngmultitypid')::pg_catalog.oid = t.oid), 0::pg_catalog.oid),
	COALESCE(f.names, '{}'::pg_catalog.text[]),
	COALESCE(f.types, '{}'::pg_catalog.oid[]),
	COALESCE(f.typmods, '{}'::pg_catalog.int4[]),
	COALESCE(f.dims, '{}'::pg_catalog.int4[]),
	CASE WHEN t.oid = 790 THEN pg_catalog.scale('0'::pg_catalog.money::pg_catalog.numeric) ELSE 0 END
FROM reach
JOIN pg_catalog.pg_type t ON t.oid = reach.oid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
JOIN pg_catalog.pg_proc p ON p.oid = t.typoutput
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
	AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
LEFT JOIN LATERAL (
	SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) AS names,
		pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) AS types,
		pg_catalog.array_agg(a.atttypmod ORDER BY a.attnum) AS typmods,
		pg_catalog.array_agg(a.attndims::pg_catalog.int4 ORDER BY a.attnum) AS dims
	FROM pg_catalog.pg_attribute a
	WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
) f ON true
ORDER BY t.oid`

// CatalogRow is one row of CatalogQuery, its fields in the order of the columns: pgx.RowToStructByPos reads it.
type CatalogRow struct {
	OID          uint32
	Name         string // pg_type.typname
	Schema       string
	Display      string // format_type without typmod
	Kind         string // pg_type.typtype: b base, c composite, d domain, e enum, p pseudo, r range, m multirange
	Len          int16  // pg_type.typlen
	Elem         uint32 // element type of a true array; 0 for point, name, int2vector …, which only look like one
	Base         uint32 // base type of a domain
	Typmod       int32  // pg_type.typtypmod: a domain's
	Dims         int32  // pg_type.typndims: a domain's over an array
	Delim        string // pg_type.typdelim
	HasSend      bool   // there is a binary send function
	Output       string // the output function, quoted and with its schema
	HasTextCast  bool   // a cast to text is defined, so that ::text need not be what the output function gives
	Extension    string // the extension that the type belongs to, or empty
	ExtVersion   string
	Subtype      uint32 // of a range
	Range        uint32 // of a multirange
	FieldNames   []string
	FieldTypes   []uint32
	FieldTypmods []int32
	FieldDims    []int32
	MoneyDigits  int32 // of type money: the decimals that lc_monetary gives it
}

// Catalog is what is known of types. Read-only once made, so any number of plans may share it.
type Catalog struct{ types map[uint32]*CatalogRow }

// NewCatalog indexes rows. It keeps them.
func NewCatalog(rows []CatalogRow) (*Catalog, error) {
	c := &Catalog{types: make(map[uint32]*CatalogRow, len(rows))}
	for i := range rows {
		r := &rows[i]
		if r.OID == 0 || c.types[r.OID] != nil {
			return nil, fmt.Errorf("catalog: type OID %d twice, or none", r.OID)
		}
		if n := len(r.FieldNames); len(r.FieldTypes) != n || len(r.FieldTypmods) != n || len(r.FieldDims) != n {
			return nil, fmt.Errorf("catalog: type %s has %d field names and %d field types", r.Display, n, len(r.FieldTypes))
		}
		c.types[r.OID] = r
	}
	return c, nil
}

// numericTypmod splits a numeric's typmod. The scale has a sign of its own since 15; before, it ended at 1000, so that
// the same reading serves. Source: numeric_typmod_scale in numeric.c.
func numericTypmod(typmod int32) (precision, scale int, ok bool) {
	if typmod < 4 {
		return 0, 0, false
	}
	t := typmod - 4
	return int(t >> 16 & 0xFFFF), int((t&0x7FF)^1024) - 1024, true
}

// display is what format_type says for a type with a typmod. Those of built-in types and of PostGIS and pgvector are
// spelled out; for others the name alone.
func (c *Catalog) display(oid uint32, typmod int32) string {
	t := c.types[oid]
	if t == nil {
		return fmt.Sprintf("OID %d", oid)
	}
	if t.Elem != 0 && typmod >= 0 {
		return c.display(t.Elem, typmod) + "[]"
	}
	if typmod < 0 {
		return t.Display
	}
	switch oid {
	case oidNumeric:
		if p, s, ok := numericTypmod(typmod); ok {
			return fmt.Sprintf("numeric(%d,%d)", p, s)
		}
	case oidBpchar, oidVarchar:
		return fmt.Sprintf("%s(%d)", t.Display, typmod-4)
	case oidBit, oidVarbit:
		return fmt.Sprintf("%s(%d)", t.Display, typmod)
	case oidTime, oidTimetz, oidTimestamp, oidTimestamptz:
		head, tail, _ := strings.Cut(t.Display, " ")
		return strings.TrimSpace(fmt.Sprintf("%s(%d) %s", head, typmod, tail))
	case oidInterval:
		return "interval" + intervalTypmod(typmod)
	}
	switch {
	case t.Extension == "postgis" && (t.Name == "geometry" || t.Name == "geography"):
		return t.Display + geoTypmod(typmod)
	case t.Extension == "vector":
		return fmt.Sprintf("%s(%d)", t.Display, typmod)
	}
	return t.Display
}

// intervalTypmod is what intervaltypmodout prints. Source: timestamp.c.
func intervalTypmod(typmod int32) string {
	const (
		year, month, day     = 1 << 2, 1 << 1, 1 << 3
		hour, minute, second = 1 << 10, 1 << 11, 1 << 12
	)
	fields, precision := typmod>>16&0x7FFF, typmod&0xFFFF
	s := map[int32]string{
		year: " year", month: " month", day: " day", hour: " hour", minute: " minute", second: " second",
		year | month: " year to month", day | hour: " day to hour", day | hour | minute: " day to minute",
		day | hour | minute | second: " day to second", hour | minute: " hour to minute",
		hour | minute | second: " hour to second", minute | second: " minute to second",
	}[fields]
	if precision != 0xFFFF {
		s += fmt.Sprintf("(%d)", precision)
	}
	return s
}
