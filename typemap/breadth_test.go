package typemap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// withoutValues are the types of pg_catalog whose input functions take nothing and which no statement gives a value of.
var withoutValues = []string{"gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}

// selected are the types of pg_catalog whose input functions take nothing, and where values of them are.
var selected = map[string]string{
	"pg_node_tree":    "SELECT ev_action AS v FROM pg_rewrite ORDER BY oid LIMIT 3",
	"pg_ndistinct":    "SELECT stxdndistinct AS v FROM pg_statistic_ext_data",
	"pg_dependencies": "SELECT stxddependencies AS v FROM pg_statistic_ext_data",
	"pg_mcv_list":     "SELECT stxdmcv AS v FROM pg_statistic_ext_data",
}

// TestEveryTypeOfTheCatalog walks pg_type of each major: every type that a column can hold a value of goes through both
// transports, alone and inside arrays, domains, composites and, where it has an order, ranges.
func TestEveryTypeOfTheCatalog(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		c := session(t, srv.Database(t))
		prepareSamples(t, c)
		run(t, c, `CREATE FUNCTION try(v text, typ text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN
				EXECUTE format('SELECT pg_typeof(%L::%s)::text', v, typ) INTO r; RETURN r; EXCEPTION WHEN others THEN RETURN NULL; END $$;
			CREATE TABLE stats AS SELECT n / 10 AS a, n / 20 AS b FROM generate_series(1, 1000) n;
			CREATE STATISTICS s (ndistinct, dependencies, mcv) ON a, b FROM stats; ANALYZE stats`)
		covered := map[string]bool{}
		candidates := []string{"0", "1", "", "{}", "[]", "a", "YES"}
		for _, s := range samples {
			if !s.on(srv.Version()) {
				continue
			}
			name := texts(t, c, "SELECT "+quoteLiteral(s.typ)+"::regtype::oid")[0][0]
			covered[string(name)] = true
			candidates = append(candidates, s.lits[:min(3, len(s.lits))]...)
		}
		types := texts(t, c, `SELECT t.oid, t.typname, format_type(t.oid, -1), EXISTS (SELECT FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod WHERE a.amname = 'btree' AND o.opcdefault AND o.opcintype = t.oid)
			FROM pg_type t WHERE t.typtype IN ('b', 'd', 'e', 'r', 'm') AND t.typname !~ '^_' AND t.typnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
			AND (t.typelem = 0 OR t.typcategory <> 'A' OR t.typname ~ 'vector$') ORDER BY t.oid`)
		if len(types) < 70 {
			t.Fatalf("only %d types", len(types))
		}
		n := 0
		for _, row := range types {
			oid, name, typ := string(row[0]), string(row[1]), string(row[2])
			switch {
			case covered[oid]:
				n++
				continue
			case slices.Contains(withoutValues, name):
				cat, cols := describe(t, c, "SELECT NULL::"+typ+" AS v")
				for _, tr := range []Transport{CSV, Binary} {
					if _, err := NewPlan(cat, cols, Options{}, tr); err != nil {
						t.Errorf("%s: %v", typ, err)
					}
				}
				continue
			case selected[name] != "":
				if len(texts(t, c, selected[name])) == 0 {
					t.Errorf("no value of %s found", name)
				}
				compare(t, c, selected[name], Options{})
				n++
				continue
			}
			s := sample{typ: typ, noRange: string(row[3]) != "t"}
			for _, lit := range candidates {
				if texts(t, c, "SELECT try("+quoteLiteral(lit)+", "+quoteLiteral(typ)+")")[0][0] != nil && len(s.lits) < 4 {
					s.lits = append(s.lits, lit)
				}
			}
			if len(s.lits) == 0 {
				t.Errorf("no value of %s: it needs a sample", typ)
				continue
			}
			n++
			t.Run(typ, func(t *testing.T) {
				table := "t" + oid
				sampleTable(t, c, table, &s)
				compare(t, c, "SELECT * FROM "+table+" ORDER BY n", Options{})
			})
		}
		t.Logf("%d types", n)

		// Whole rows of the server's own tables and views: composites of everything, some with fields of pseudo-types.
		for _, row := range texts(t, c, "SELECT oid::regclass::text FROM pg_class WHERE relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND relkind IN ('r', 'v') ORDER BY oid") {
			rel := string(row[0])
			query := fmt.Sprintf("SELECT t, ARRAY[t] AS a FROM %s t LIMIT 3", rel)
			if srv.Version() < 14 { // where these rows have no array type
				query = fmt.Sprintf("SELECT t, 1 AS a FROM %s t LIMIT 3", rel)
			}
			if _, err := c.PgConn().Exec(t.Context(), "SELECT FROM "+rel+" LIMIT 3").ReadAll(); err != nil {
				t.Logf("%s cannot be read here: %v", rel, err) // what the view asks for, such as NUMA, is not on this machine
				continue
			}
			if _, err := c.PgConn().Exec(t.Context(), "DROP TABLE IF EXISTS whole; CREATE TABLE whole AS "+query).ReadAll(); err == nil {
				query = "SELECT * FROM whole"
			} else if rel != "pg_statistic" && rel != "pg_stats" && !strings.Contains(err.Error(), "pseudo-type") {
				t.Errorf("%s: %v", rel, err)
				continue
			}
			opt := Options{}
			if rel == "pg_stats_ext" { // whose text[] has values of two dimensions, for which there is only text
				opt.Columns = map[string]string{"t": "text"}
				if srv.Version() >= 14 {
					opt.Columns["a"] = "text"
				}
			}
			t.Run(rel, func(t *testing.T) { compare(t, c, query, opt) })
		}
	})
}

// grown is a type that the property test made, and how to make values of it.
type grown struct {
	name  string
	array bool
	order bool // it can carry a range
	value func(r *rand.Rand) string
}

// grow makes a random type, nested at most so deep.
func grow(t testing.TB, c *pgx.Conn, r *rand.Rand, major, depth int, next *int) grown {
	name := func(kind string) string {
		*next++
		return fmt.Sprintf("%s%d", kind, *next)
	}
	kind := r.IntN(7)
	if depth == 0 {
		kind = 0
	}
	switch kind {
	case 1: // array
		of := grow(t, c, r, major, depth-1, next)
		if of.array {
			return of
		}
		return grown{name: of.name + "[]", array: true, value: func(r *rand.Rand) string {
			parts := make([]string, r.IntN(4))
			for i := range parts {
				if parts[i] = of.value(r); r.IntN(4) == 0 {
					parts[i] = "NULL"
				}
			}
			return "ARRAY[" + strings.Join(parts, ", ") + "]::" + of.name + "[]"
		}}
	case 2: // domain
		of := grow(t, c, r, major, depth-1, next)
		d := name("d")
		run(t, c, "CREATE DOMAIN "+d+" AS "+of.name)
		return grown{name: d, array: of.array, value: func(r *rand.Rand) string { return "(" + of.value(r) + ")::" + d }}
	case 3, 4: // composite
		fields := make([]grown, 1+r.IntN(4))
		var parts []string
		for i := range fields {
			fields[i] = grow(t, c, r, major, depth-1, next)
			parts = append(parts, fmt.Sprintf(`"f %d" %s`, i, fields[i].name))
		}
		ct := name("c")
		run(t, c, "CREATE TYPE "+ct+" AS ("+strings.Join(parts, ", ")+")")
		return grown{name: ct, value: func(r *rand.Rand) string {
			vals := make([]string, len(fields))
			for i, f := range fields {
				if vals[i] = f.value(r); r.IntN(4) == 0 {
					vals[i] = "NULL"
				}
			}
			return "ROW(" + strings.Join(vals, ", ") + ")::" + ct
		}}
	case 5, 6: // range or multirange
		of := grow(t, c, r, major, 0, next)
		if !of.order {
			return of
		}
		rt := name("r")
		sql := "CREATE TYPE " + rt + " AS RANGE (subtype = " + of.name
		multi := major >= 14 && kind == 6
		if multi {
			sql += ", multirange_type_name = m" + rt
		}
		run(t, c, sql+")")
		one := func(r *rand.Rand) string {
			bounds := []string{"[]", "[)", "(]", "()"}[r.IntN(4)]
			a, b := of.value(r), of.value(r)
			switch r.IntN(6) {
			case 0:
				return "'empty'::" + rt
			case 1:
				return fmt.Sprintf("%s(%s, NULL, '%s')", rt, a, bounds)
			case 2:
				return fmt.Sprintf("%s(NULL, %s, '%s')", rt, a, bounds)
			}
			return fmt.Sprintf("CASE WHEN %[1]s <= %[2]s THEN %[3]s(%[1]s, %[2]s, '%[4]s') ELSE %[3]s(%[2]s, %[1]s, '%[4]s') END", a, b, rt, bounds)
		}
		if !multi {
			return grown{name: rt, value: one}
		}
		return grown{name: "m" + rt, value: func(r *rand.Rand) string {
			parts := make([]string, r.IntN(4))
			for i := range parts {
				parts[i] = one(r)
			}
			return "m" + rt + "(" + strings.Join(parts, ", ") + ")"
		}}
	}
	for {
		s := samples[r.IntN(len(samples))]
		if !s.on(major) || strings.HasPrefix(s.typ, "interval year") {
			continue
		}
		return grown{name: s.typ, order: !s.noRange, value: func(r *rand.Rand) string { return quoteLiteral(s.lits[r.IntN(len(s.lits))]) + "::" + s.typ }}
	}
}

// TestRandomSchemas makes tables of random types, nested at random, fills them with random values and NULLs, and
// compares both transports with each other and with the server's text.
func TestRandomSchemas(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		r := random(t)
		c := session(t, srv.Database(t))
		prepareSamples(t, c)
		tables := 12
		if testing.Short() {
			tables = 3
		}
		next := 0
		for i := range tables {
			cols := make([]grown, 1+r.IntN(6))
			var parts []string
			for j := range cols {
				cols[j] = grow(t, c, r, srv.Version(), 3, &next)
				parts = append(parts, fmt.Sprintf(`"C %d" %s`, j, cols[j].name))
			}
			table := fmt.Sprintf("t%d", i)
			def := strings.Join(parts, ", ")
			run(t, c, "CREATE TABLE "+table+" ("+def+")")
			var sql strings.Builder
			for range 20 {
				vals := make([]string, len(cols))
				for j := range cols {
					if vals[j] = cols[j].value(r); r.IntN(5) == 0 {
						vals[j] = "NULL"
					}
				}
				fmt.Fprintf(&sql, "INSERT INTO %s VALUES (%s);", table, strings.Join(vals, ", "))
			}
			run(t, c, sql.String())
			compare(t, c, "SELECT * FROM "+table+" ORDER BY ctid", Options{})
			if t.Failed() {
				t.Fatalf("table %s", def)
			}
		}
	})
}
