package export

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/chunker"
)

// Schema asks for the relations of one schema, a file each.
//
// Taken are its tables, partitioned tables (as a whole: a partition is in the file of what it is a partition of) and materialized views. A
// view, a foreign table or a partition is taken only where Include has its name without wildcards: what these give is elsewhere too, costs
// what nobody knows, or is not in the snapshot.
//
// A pattern is a name in which * stands for any characters and ? for one. Outside double quotes it is folded to lower case, within them
// all characters stand for themselves, as SQL has it for names.
type Schema struct {
	Name    string   // as SQL writes it
	Dir     string   // an existing directory for the files
	Include []string // patterns; nil: all
	Exclude []string // patterns; they win over Include
	Base    Job      // what the files have in common; its Types.Columns become CommonTypes, its Encodings CommonEncodings
}

// SchemaError is a schema that can't be exported as it was asked for.
type SchemaError struct{ Reason, Hint string }

func (e *SchemaError) Error() string { return e.Reason }

const schemaQuery = `SELECT pg_catalog.to_regnamespace($1::text::pg_catalog.text)::pg_catalog.oid::text,
	coalesce(pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace($1::text::pg_catalog.text)::pg_catalog.oid, 'USAGE'), false)`

// relationsQuery lists a schema's relations with the topmost table that each is a partition of, and the parents that it inherits from
// otherwise. All names but the first are as SQL writes them. A partition whose concurrent detaching was begun (from 14 on) is none any more:
// scans of its table do not read it.
const relationsQuery = `
WITH RECURSIVE part(oid, parent) AS (
	SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
	WHERE c.relkind IN ('r', 'p', 'f') AND coalesce((pg_catalog.to_jsonb(i) ->> 'inhdetachpending')::pg_catalog.bool, false) IS FALSE
), up(leaf, oid) AS (
	SELECT p.oid, p.oid FROM part p JOIN pg_catalog.pg_class c ON c.oid = p.oid WHERE c.relnamespace = $1::text::pg_catalog.oid
	UNION ALL
	SELECT up.leaf, p.parent FROM up JOIN part p ON p.oid = up.oid
)
SELECT c.relname::text, pg_catalog.quote_ident(c.relname::text), pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind::text,
	c.oid IN (SELECT oid FROM part),
	coalesce((SELECT pg_catalog.format('%I.%I', rn.nspname, r.relname) FROM up JOIN pg_catalog.pg_class r ON r.oid = up.oid
		JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace WHERE up.leaf = c.oid AND r.oid NOT IN (SELECT oid FROM part) LIMIT 1), ''),
	ARRAY(SELECT pg_catalog.format('%I.%I', pn.nspname, p.relname) FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
		JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid AND NOT c.relispartition ORDER BY i.inhseqno)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relnamespace = $1::text::pg_catalog.oid AND c.relkind IN ('r', 'p', 'm', 'v', 'f')
ORDER BY c.relname::text COLLATE "C"`

type listed struct {
	Name      string
	Shown     string // for people
	Qualified string
	Kind      string // pg_class.relkind
	Partition bool
	Root      string   // of a partition, qualified
	Parents   []string // of a child by inheritance, qualified
}

// aside says of which kind a relation is that only its own name takes, "" for others.
func (l *listed) aside() string {
	switch {
	case l.Partition:
		return "partition"
	case l.Kind == "v":
		return "view"
	case l.Kind == "f":
		return "foreign table"
	}
	return ""
}

// Jobs lists the schema as it is now and makes a Job of each relation that is to be exported, in the order of their names. The warnings are
// sentences about what is left out or is in two files.
//
// q is a connection outside the snapshot's transaction, as chunker.Resolve has it. Errors: *SchemaError, or the server's.
func (s Schema) Jobs(ctx context.Context, q chunker.Querier) (jobs []Job, warnings []string, err error) {
	include, err := patterns(s.Include)
	if err != nil {
		return nil, nil, err
	}
	exclude, err := patterns(s.Exclude)
	if err != nil {
		return nil, nil, err
	}
	all, err := s.list(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	var taken, asides []listed
	settled := map[string]bool{} // qualified: taken, or left out on purpose
	for _, l := range all {
		chosen, byName, excluded := len(include) == 0, false, false
		for _, p := range include {
			if p.match(l.Name) {
				chosen, byName, p.used = true, byName || p.exact, true
			}
		}
		for _, p := range exclude {
			if p.match(l.Name) {
				excluded, p.used = true, true
			}
		}
		switch {
		case excluded:
			settled[l.Qualified] = true
		case chosen && (byName || l.aside() == ""):
			settled[l.Qualified] = true
			taken = append(taken, l)
		case chosen:
			asides = append(asides, l)
		}
	}
	for _, p := range include {
		if !p.used {
			return nil, nil, &SchemaError{fmt.Sprintf("--include %s: schema %s has no such relation", p.text, s.Name), "it has " + shortList(all)}
		}
	}
	for _, p := range exclude {
		if !p.used {
			warnings = append(warnings, fmt.Sprintf("--exclude %s: schema %s has no such relation", p.text, s.Name))
		}
	}
	for _, kind := range []string{"view", "foreign table", "partition"} {
		of := slices.DeleteFunc(slices.Clone(asides), func(l listed) bool { return l.aside() != kind || settled[l.Root] })
		if len(of) == 0 {
			continue
		}
		what := kind
		if len(of) > 1 {
			what += "s"
		}
		if kind == "partition" {
			what += " of tables that are not exported either"
		}
		warnings = append(warnings, fmt.Sprintf("not exported: %d %s: %s (--include with its name takes one, --exclude ends this warning)", len(of), what, shortList(of)))
	}
	if len(taken) == 0 {
		return nil, nil, &SchemaError{fmt.Sprintf("schema %s has nothing to export", s.Name), strings.Join(warnings, "; ")}
	}
	isTaken := map[string]bool{}
	for _, l := range taken {
		isTaken[l.Qualified] = true
	}
	for _, l := range taken {
		for _, p := range append(slices.Clone(l.Parents), l.Root) {
			if isTaken[p] {
				warnings = append(warnings, fmt.Sprintf("the rows of %s are in the file of %s too, because they are its rows as well", l.Qualified, p))
			}
		}
	}
	for i, file := range fileNames(taken) {
		j := s.Base
		j.Table, j.SQL, j.Out = taken[i].Qualified, "", filepath.Join(s.Dir, file)
		j.Types.Columns, j.CommonTypes = nil, s.Base.Types.Columns
		j.Encodings, j.CommonEncodings = nil, s.Base.Encodings
		jobs = append(jobs, j)
	}
	return jobs, warnings, nil
}

func (s Schema) list(ctx context.Context, q chunker.Querier) ([]listed, error) {
	type found struct {
		OID   *string
		Usage bool
	}
	rows, err := q.Query(ctx, schemaQuery, s.Name)
	if err != nil {
		return nil, fmt.Errorf("look for schema %s: %w", s.Name, err)
	}
	at, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[found])
	var pg *pgconn.PgError
	noName := errors.As(err, &pg) && (pg.Code == "42602" || pg.Code == "42601") // no name at all, which is nobody's: from 16 on no error
	if err != nil && !noName {
		return nil, fmt.Errorf("look for schema %s: %w", s.Name, err)
	}
	if noName || at.OID == nil {
		return nil, &SchemaError{"schema " + s.Name + " does not exist", `a name is as SQL writes it: "Mixed Case" in double quotes`}
	}
	if !at.Usage {
		return nil, &SchemaError{"no permission on schema " + s.Name, "GRANT USAGE ON SCHEMA " + s.Name + " TO the role"}
	}
	rows, err = q.Query(ctx, relationsQuery, *at.OID)
	if err != nil {
		return nil, fmt.Errorf("list schema %s: %w", s.Name, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[listed])
	if err != nil {
		return nil, fmt.Errorf("list schema %s: %w", s.Name, err)
	}
	return all, nil
}

// shortList names relations, or the first of many.
func shortList(all []listed) string {
	const most = 8
	var names []string
	for _, l := range all {
		if len(names) == most && len(all) > most+1 {
			return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), len(all)-most)
		}
		names = append(names, l.Shown)
	}
	if len(names) == 0 {
		return "none at all"
	}
	return strings.Join(names, ", ")
}

// pattern is a parsed name pattern.
type pattern struct {
	text  string
	runes []rune // anyRun and anyOne stand for * and ?
	exact bool   // without wildcards
	used  bool
}

const (
	anyRun rune = -1
	anyOne rune = -2
)

func patterns(texts []string) ([]*pattern, error) {
	var all []*pattern
	for _, text := range texts {
		p := &pattern{text: text, exact: true}
		quoted := false
		for rest := text; rest != ""; {
			r, size := utf8.DecodeRuneInString(rest)
			rest = rest[size:]
			switch {
			case r == '"' && quoted && strings.HasPrefix(rest, `"`):
				rest = rest[1:]
				p.runes = append(p.runes, '"')
			case r == '"':
				quoted = !quoted
			case quoted:
				p.runes = append(p.runes, r)
			case r == '*' || r == '?':
				p.exact = false
				p.runes = append(p.runes, map[rune]rune{'*': anyRun, '?': anyOne}[r])
			case 'A' <= r && r <= 'Z':
				p.runes = append(p.runes, r+'a'-'A')
			default:
				p.runes = append(p.runes, r)
			}
		}
		switch {
		case quoted:
			return nil, &ConfigError{fmt.Sprintf("pattern %s: a double quote is not closed", text)}
		case len(p.runes) == 0:
			return nil, &ConfigError{"a pattern of relations is empty"}
		}
		all = append(all, p)
	}
	return all, nil
}

// match tells whether the pattern fits a whole name. On a mismatch it goes back to the last * alone, so that it takes no longer than the
// product of both lengths.
func (p *pattern) match(name string) bool {
	n := []rune(name)
	i, k := 0, 0        // in name and pattern
	star, from := -1, 0 // the last *, and where its run ends so far
	for i < len(n) {
		switch {
		case k < len(p.runes) && p.runes[k] == anyRun:
			star, from = k, i
			k++
		case k < len(p.runes) && (p.runes[k] == anyOne || p.runes[k] == n[i]):
			i++
			k++
		case star >= 0:
			from++
			i, k = from, star+1
		default:
			return false
		}
	}
	for k < len(p.runes) && p.runes[k] == anyRun {
		k++
	}
	return k == len(p.runes)
}

// outputExt ends the names of a schema's files.
const outputExt = ".parquet"

// fileNames are the relations' files: NAME.parquet, with what is no letter, digit, _, - or . written as %XX. Where names differ in case
// alone, letters that are not lower case are written so too, because not every file system tells them apart. Different names always have
// different files.
func fileNames(all []listed) []string {
	folded := func(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }
	same := map[string]int{}
	for _, l := range all {
		same[strings.Map(folded, l.Name)]++
	}
	out := make([]string, len(all))
	for i, l := range all {
		var b strings.Builder
		twins := same[strings.Map(folded, l.Name)] > 1
		for at, r := range l.Name {
			_, size := utf8.DecodeRuneInString(l.Name[at:])
			bytes := l.Name[at : at+size]
			plain := unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune("_-.", r)
			if plain && (at > 0 || r != '.' && r != '-') && (!twins || r == folded(r)) {
				b.WriteString(bytes)
				continue
			}
			for _, c := range []byte(bytes) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		out[i] = b.String() + outputExt
	}
	return out
}
