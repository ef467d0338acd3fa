package chunker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// counting counts what it sends.
type counting struct {
	Querier
	n int
}

func (c *counting) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.n++
	return c.Querier.Query(ctx, sql, args...)
}

// TestManyTables resolves and plans tables together as they are by themselves, and asks few questions more for each further one.
func TestManyTables(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, `CREATE DOMAIN d1 AS numeric(5,2)`, `CREATE DOMAIN d2 AS d1`,
			`CREATE TABLE parent (id int NOT NULL, v d2, w text[][])`, `CREATE TABLE kid (more int) INHERITS (parent)`,
			`CREATE TABLE p (id int, k int NOT NULL) PARTITION BY LIST (k)`, `CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)`,
			`CREATE TABLE "p 2" (k int NOT NULL, id int)`, `ALTER TABLE p ATTACH PARTITION "p 2" DEFAULT`,
			`CREATE TABLE large (id int NOT NULL, s text) WITH (autovacuum_enabled = off)`, // or its statistics could change meanwhile
			`INSERT INTO large SELECT g, repeat('x', 500) FROM generate_series(1, 5000) g`,
			`COMMENT ON COLUMN large.s IS 'what is said of it'`, `CREATE VIEW v AS SELECT id FROM large WHERE id < 9`)
		reqs := []Request{
			{Table: "parent"},
			{Table: "p"},
			{Table: "large"},
			{Table: "large", Columns: []string{"s"}, Where: "id > 5"},
			{Table: "v"},
			{SQL: "SELECT * FROM ONLY parent"},
			{SQL: "SELECT count(*) FROM large"},
			{SQL: "SELECT id FROM large WHERE {chunk}"},
		}
		for i := range 20 {
			pgtest.Exec(t, dsn, fmt.Sprintf(`CREATE TABLE small_%d (id int NOT NULL, v d2, c "char")`, i))
			reqs = append(reqs, Request{Table: fmt.Sprintf("small_%d", i)})
		}
		db := open(t, dsn)
		o := Options{ChunkBytes: 300_000, Parallel: 2}
		targets, errs, err := ResolveAll(t.Context(), db.scout, reqs)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		begin(t, db.coord, "")
		if o.Catalog, err = ReadCatalog(t.Context(), db.coord, targets); err != nil {
			t.Fatal(err)
		}
		var together []*Plan
		for _, target := range targets {
			p, err := NewPlan(t.Context(), db.coord, target, o)
			if err != nil {
				t.Fatal(err)
			}
			together = append(together, p)
		}
		exec(t, db.coord, "ROLLBACK")
		o.Catalog = nil
		for i, req := range reqs {
			alone, err := Resolve(t.Context(), db.scout, req)
			if err != nil {
				t.Fatal(err)
			}
			begin(t, db.coord, "")
			p, err := NewPlan(t.Context(), db.coord, alone, o)
			if err != nil {
				t.Fatal(err)
			}
			exec(t, db.coord, "ROLLBACK")
			if !reflect.DeepEqual(together[i], p) {
				t.Errorf("%+v: together\n%+v\nalone\n%+v", req, together[i], p)
			}
		}

		questions := func(n int) int {
			scout, coord := &counting{Querier: db.scout}, &counting{Querier: db.coord}
			targets, errs, err := ResolveAll(t.Context(), scout, reqs[len(reqs)-n:])
			if err != nil {
				t.Fatal(err)
			}
			begin(t, db.coord, "")
			known, err := ReadCatalog(t.Context(), coord, targets)
			for _, target := range targets {
				_, failed := NewPlan(t.Context(), coord, target, Options{Catalog: known})
				errs = append(errs, failed)
			}
			if err := errors.Join(append(errs, err)...); err != nil {
				t.Fatal(err)
			}
			exec(t, db.coord, "ROLLBACK")
			return scout.n + coord.n
		}
		if few, many := questions(10), questions(20); many-few > 10*8 {
			t.Errorf("10 tables take %d questions, 20 take %d", few, many)
		}
	})
}

// TestManyWithErrors tells of every request what is wrong with it, although one of them spoils the question for all.
func TestManyWithErrors(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE a (id int, secret int)`, `CREATE TABLE b (id int)`, `CREATE SCHEMA closed`, `CREATE TABLE closed.c (id int)`,
		`CREATE TABLE hidden (id int)`, `ALTER TABLE hidden ENABLE ROW LEVEL SECURITY`, `CREATE POLICY own_rows ON hidden USING (id > 3)`,
		`CREATE ROLE guest`, `GRANT SELECT (id) ON a TO guest`, `GRANT SELECT ON b, hidden TO guest`)
	t.Cleanup(func() { pgtest.Exec(t, dsn, `DROP OWNED BY guest`, `DROP ROLE guest`) })
	db := open(t, dsn)
	exec(t, db.scout, "SET ROLE guest")
	reqs := []Request{
		{Table: "b"},
		{Table: "closed.c"},
		{Table: "other.public.b"},
		{Table: "missing"},
		{Table: "a"},
		{Table: "a", Columns: []string{"id"}},
		{Table: "hidden"},
		{Table: "b b"},
		{SQL: "SELECT nothing FROM b"},
	}
	want := []string{"", "permission denied for schema closed", "cross-database", "missing", "secret", "", "own_rows ON public.hidden", "no name of a table", "nothing"}
	check := func(reqs []Request, want []string) {
		t.Helper()
		targets, errs, err := ResolveAll(t.Context(), db.scout, reqs)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			got := ""
			if errs[i] != nil {
				got = errs[i].Error()
				var hidden *RowSecurityError
				if errors.As(errs[i], &hidden) {
					got = strings.ToLower(strings.Join(hidden.Policies, ","))
					w = strings.ToLower(w)
				}
			}
			if !strings.Contains(got, w) || (w == "") != (got == "") {
				t.Errorf("%+v: error %q, want %q", reqs[i], got, w)
			}
			if (targets[i] == nil) != (errs[i] != nil) {
				t.Errorf("%+v: target %v, error %v", reqs[i], targets[i], errs[i])
			}
		}
	}
	check(reqs, want)
	// Without those that no question may be asked of together with others.
	check(append(reqs[:1:1], reqs[3:]...), append(want[:1:1], want[3:]...))
}

// TestCatalogRefused plans by itself what could not be told of all together.
func TestCatalogRefused(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE a (id int)`, `CREATE SCHEMA s`, `CREATE TABLE s.b (id int)`, `CREATE ROLE visitor`,
		`GRANT USAGE ON SCHEMA s TO visitor`, `GRANT SELECT ON a, s.b TO visitor`)
	t.Cleanup(func() { pgtest.Exec(t, dsn, `DROP OWNED BY visitor`, `DROP ROLE visitor`) })
	db := open(t, dsn)
	exec(t, db.scout, "SET ROLE visitor")
	exec(t, db.coord, "SET ROLE visitor")
	targets, errs, err := ResolveAll(t.Context(), db.scout, []Request{{Table: "a"}, {Table: "s.b"}})
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, dsn, `REVOKE USAGE ON SCHEMA s FROM visitor`)
	begin(t, db.coord, "")
	known, err := ReadCatalog(t.Context(), db.coord, targets)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPlan(t.Context(), db.coord, targets[0], Options{Catalog: known}); err != nil {
		t.Errorf("a: %v", err)
	}
	for range 2 { // the first leaves nothing behind
		if _, err := NewPlan(t.Context(), db.coord, targets[1], Options{Catalog: known}); err == nil || !strings.Contains(err.Error(), "permission denied for schema s") {
			t.Errorf("s.b: %v", err)
		}
	}
}
