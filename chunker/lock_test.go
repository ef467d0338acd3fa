package chunker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// TestLocks compares what is to be locked with what reading the rows locks,
// and takes the locks.
func TestLocks(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		loopback(t, srv, dsn)
		pgtest.Exec(t, dsn, append(measured,
			`CREATE TABLE a (id int)`, `CREATE TABLE b (id int)`, `CREATE TABLE c (id int)`, `CREATE TABLE kid () INHERITS (c)`,
			`CREATE MATERIALIZED VIEW mv AS SELECT * FROM a`,
			`CREATE FOREIGN TABLE ft (id int) SERVER loop OPTIONS (table_name 'a')`,
			`CREATE FOREIGN TABLE fkid () INHERITS (c) SERVER loop OPTIONS (table_name 'a')`,
			`CREATE VIEW v AS SELECT id FROM b WHERE id IN (SELECT id FROM c)`,
			`CREATE VIEW vv AS SELECT v.id FROM v JOIN mv USING (id) UNION ALL SELECT id FROM ft`,
			`CREATE FUNCTION inlined() RETURNS SETOF a LANGUAGE sql STABLE AS 'SELECT * FROM a'`)...)
		db := open(t, dsn)
		leaves := "odd p, M Empty p, m_2021 p, m_2021_a p, m_2021_b p, m_2021_h0 p, m_2021_h1 p, m_2021_rest p, m_2022 p, m_default p"
		for _, c := range []struct {
			req  Request
			want string // name and t (by table), p (by parent), s (by select)
		}{
			{Request{Table: "a"}, "a t"},
			{Request{SQL: "SELECT id FROM a WHERE id > 1"}, "a t"},
			{Request{SQL: "SELECT a.id FROM a JOIN public.b USING (id) WHERE a.id NOT IN (SELECT id FROM a)"}, "a t, b t"},
			{Request{SQL: "SELECT a.id FROM a WHERE {chunk} AND EXISTS (SELECT FROM b)"}, "a t, b t"},
			{Request{SQL: "SELECT 1 AS x FROM a WHERE false"}, "a t"},
			{Request{SQL: "SELECT 1 AS x"}, ""},
			{Request{SQL: "SELECT relname FROM pg_class"}, ""},
			{Request{Table: "m"}, "m t, " + leaves},
			{Request{Table: "m", Where: "d < '2021-01-01' AND d >= '2020-01-01'"}, "m t, " + leaves},
			{Request{SQL: "SELECT count(*) FROM m JOIN m_2021 x USING (id)"}, "m t, " + leaves},
			{Request{Table: "mv"}, "mv s"},
			{Request{Table: "ft"}, "ft s"},
			{Request{Table: "c"}, "c t, fkid p, kid p"},
			{Request{Table: "v"}, "b p, c p, fkid p, kid p, v t"},
			{Request{SQL: "SELECT id FROM v UNION SELECT id FROM b"}, "b p, c p, fkid p, kid p, v t"},
			{Request{Table: "vv"}, "b p, c p, fkid p, ft s, kid p, mv s, v p, vv t"},
			{Request{SQL: "SELECT * FROM inlined()"}, "a t"},
			{Request{SQL: "WITH x AS (SELECT id FROM a) SELECT * FROM b"}, "b t"},
		} {
			t.Run(fmt.Sprint(c.req), func(t *testing.T) {
				target, err := Resolve(t.Context(), db.scout, c.req)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, r := range target.Lock {
					got = append(got, r.Name+" "+map[LockKind]string{LockByTable: "t", LockByParent: "p", LockBySelect: "s"}[r.Lock])
				}
				slices.Sort(got)
				want := strings.Split(c.want, ", ")
				if c.want == "" {
					want = nil
				}
				slices.Sort(want)
				// The tables of an unused common table expression are locked
				// by some majors only; more locks do no harm.
				if !slices.Equal(got, want) && !strings.Contains(c.req.SQL, "WITH") {
					t.Errorf("locks %q, want %q", got, want)
				}
				if bySelect := target.LockSelect != ""; bySelect != strings.Contains(c.want, " s") {
					t.Errorf("lock select %q", target.LockSelect)
				}
				begin(t, db.coord, "")
				(&exporting{t: t}).lock(db.coord, target)
				held := lockedNames(t, db)
				rows := target.Statement
				if target.stmt != nil {
					rows = target.stmt.neutral()
				}
				copyOut(t, db.coord, rows)
				if after := lockedNames(t, db); after != held {
					t.Errorf("reading locks %s, held before: %s", after, held)
				}
				for _, r := range target.Lock {
					if !strings.Contains(held, "|"+r.Name+"|") {
						t.Errorf("%s is not locked: %s", r, held)
					}
				}
				exec(t, db.coord, "ROLLBACK")
			})
		}
	})
}

// TestReadingFunctions warns of what cannot be locked.
func TestReadingFunctions(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE t (a int)`,
		`CREATE FUNCTION "Peeks"() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM t); END'`,
		`CREATE FUNCTION adds(a int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN a + 1; END'`)
	db := open(t, dsn)
	for _, c := range []struct {
		req  Request
		want string
	}{
		{Request{SQL: `SELECT "Peeks"() AS p`}, `function public."Peeks" may read`},
		{Request{SQL: `SELECT a FROM t WHERE a > public . "Peeks" ()`}, `function public."Peeks" may read`},
		{Request{Table: "t", Where: `a > "Peeks"()`}, `function public."Peeks" may read`},
		{Request{SQL: `SELECT adds(a) AS b FROM t`}, ""},
		{Request{Table: "t"}, ""},
	} {
		got := strings.Join(db.mustPlan(t, c.req, Options{}).plan.Warnings, "; ")
		if !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%+v: warnings %q, want %q", c.req, got, c.want)
		}
	}
}

func lockedNames(t *testing.T, db *sessions) string {
	t.Helper()
	return queryText(t, db.coord, `SELECT coalesce('|' || string_agg(DISTINCT relname::text, '|') || '|', '') FROM pg_locks JOIN pg_class c ON c.oid = relation
		WHERE pid = pg_backend_pid() AND c.oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f')`)
}

// TestChanged changes relations after they were resolved and before they are
// locked: the plan is right or an error.
func TestChanged(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE SCHEMA other`, `CREATE TABLE filler (a int)`)
	db := open(t, dsn)
	fresh := []string{
		`DROP TABLE IF EXISTS t, t2, p, q, other.t CASCADE`,
		`CREATE TABLE t (a int, b text)`,
		`INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g`,
		`CREATE TABLE p (a int, b text) PARTITION BY RANGE (a)`,
		`CREATE TABLE q PARTITION OF p FOR VALUES FROM (0) TO (5000)`,
		`INSERT INTO p SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g`,
	}
	for _, c := range []struct {
		req    Request
		change string
		// want is the statement whose rows come out; "" for an error.
		want string
	}{
		{Request{Table: "t"}, `ALTER TABLE t ADD c int DEFAULT 7`, "SELECT * FROM t"},
		{Request{Table: "t"}, `ALTER TABLE t DROP b`, "SELECT * FROM t"},
		{Request{Table: "t", Columns: []string{"b"}}, `ALTER TABLE t DROP b`, ""},
		{Request{Table: "t", Where: "length(b) > 5"}, `ALTER TABLE t DROP b`, ""},
		{Request{Table: "t"}, `ALTER TABLE t ALTER a TYPE bigint`, "SELECT * FROM t"},
		{Request{Table: "t"}, `TRUNCATE t`, "SELECT * FROM t"},
		{Request{Table: "t"}, `DELETE FROM t WHERE a % 2 = 0; INSERT INTO t SELECT 9, 'x'`, "SELECT * FROM t"},
		{Request{SQL: "SELECT * FROM t"}, `ALTER TABLE t ADD c int DEFAULT 7`, "SELECT * FROM t"},
		{Request{SQL: "SELECT a, b FROM t"}, `ALTER TABLE t DROP b`, ""},
		{Request{SQL: "SELECT count(b) FROM t"}, `ALTER TABLE t DROP b`, ""},
		{Request{SQL: "SELECT b FROM t WHERE {chunk}"}, `ALTER TABLE t ALTER b TYPE varchar(200)`, "SELECT b FROM t"},
		{Request{Table: "p"}, `CREATE TABLE t2 PARTITION OF p FOR VALUES FROM (5000) TO (6000)`, "SELECT * FROM p"},
		{Request{Table: "p"}, `ALTER TABLE p DETACH PARTITION q`, "SELECT * FROM p"},
		{Request{Table: "t"}, `CREATE TABLE t2 () INHERITS (t); INSERT INTO t2 VALUES (1)`, "SELECT * FROM t"},
		{Request{Table: "t"}, `ALTER TABLE t ENABLE ROW LEVEL SECURITY`, "SELECT * FROM t"},
	} {
		t.Run(fmt.Sprint(c.req, c.change), func(t *testing.T) {
			db.release(t)
			pgtest.Exec(t, dsn, fresh...)
			e, err := db.plan(t, c.req, Options{ChunkBytes: 50_000}, func() { pgtest.Exec(t, dsn, c.change) })
			if c.want == "" {
				var changed *ChangedError
				var missing *NotFoundError
				if !errors.As(err, &changed) && !errors.As(err, &missing) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := differ(sorted(e.rows(nil)), sorted(e.inScanOrder(c.want))); d != "" {
				t.Error(d)
			}
		})
	}
	for _, change := range []string{
		`ALTER TABLE t RENAME TO t2; CREATE TABLE t (a int, b text)`,
		`DROP TABLE t; CREATE TABLE t (a int, b text)`,
	} {
		for _, req := range []Request{{Table: "t"}, {SQL: "SELECT a FROM t"}, {SQL: "SELECT a FROM t WHERE {chunk}"}} {
			db.release(t)
			pgtest.Exec(t, dsn, fresh...)
			_, err := db.plan(t, req, Options{ChunkBytes: 50_000}, func() { pgtest.Exec(t, dsn, change) })
			var changed *ChangedError
			if !errors.As(err, &changed) {
				t.Errorf("%+v after %s: %v", req, change, err)
			}
		}
	}
}

// TestAdopted plans in a snapshot that is older than the changes.
func TestAdopted(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := open(t, dsn)
	keeper := pgtest.Connect(t, dsn)
	fresh := []string{
		`DROP TABLE IF EXISTS t, p, q, r CASCADE`,
		`CREATE TABLE t (a int, b text, c date)`,
		`INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g`,
		`CREATE TABLE p (a int) PARTITION BY RANGE (a)`,
		`CREATE TABLE q PARTITION OF p FOR VALUES FROM (0) TO (5000)`,
		`CREATE TABLE r PARTITION OF p FOR VALUES FROM (5000) TO (9000)`,
		`INSERT INTO p SELECT g FROM generate_series(1, 8999) g`,
	}
	for _, c := range []struct {
		req    Request
		change string
		want   string // "" for a *ChangedError
	}{
		{Request{Table: "t"}, `ALTER TABLE t ADD d int DEFAULT 7`, "SELECT a, b, c FROM t"},
		{Request{Table: "t"}, `ALTER TABLE t DROP b`, ""},
		{Request{Table: "t"}, `ALTER TABLE t ALTER b TYPE varchar`, ""},
		{Request{Table: "t"}, `ALTER TABLE t RENAME TO t2`, ""},
		{Request{Table: "t"}, `ALTER TABLE t RENAME b TO bb`, ""},
		{Request{Table: "p"}, `ALTER TABLE p DETACH PARTITION r`, ""},
		{Request{Table: "p", Where: "a < 6000"}, `ALTER TABLE p DETACH PARTITION r`, ""},
		{Request{Table: "p"}, `CREATE TABLE n PARTITION OF p FOR VALUES FROM (10000) TO (20000)`, "SELECT * FROM p"},
		{Request{SQL: "SELECT a, now() AS n FROM p"}, `CREATE TABLE n PARTITION OF p FOR VALUES FROM (10000) TO (20000)`, ""},
		{Request{Table: "t"}, `CREATE TABLE n () INHERITS (t)`, "SELECT * FROM ONLY t"},
		{Request{Table: "t"}, `CREATE TABLE n (a int, b text, c date); INSERT INTO n VALUES (1); ALTER TABLE n INHERIT t`, "SELECT * FROM ONLY t"},
	} {
		t.Run(fmt.Sprint(c.req, c.change), func(t *testing.T) {
			pgtest.Exec(t, dsn, fresh...)
			target, err := Resolve(t.Context(), db.scout, c.req)
			if err != nil {
				t.Fatal(err)
			}
			begin(t, keeper, "")
			snapshot := queryText(t, keeper, "SELECT pg_export_snapshot()")
			pgtest.Exec(t, dsn, c.change)
			begin(t, db.coord, snapshot)
			e := &exporting{sessions: db, t: t}
			// The name may stand for nothing now: what the caller locks is his.
			for _, r := range target.Lock {
				if queryText(t, db.coord, "SELECT coalesce(to_regclass("+literal(r.Ident())+")::text, '')") == "" {
					target.Lock = nil
					break
				}
			}
			e.lock(db.coord, target)
			e.plan, err = NewPlan(t.Context(), db.coord, target, Options{ChunkBytes: 50_000})
			if c.want == "" {
				var changed *ChangedError
				if !errors.As(err, &changed) {
					t.Errorf("error %v", err)
				}
			} else if err != nil {
				t.Error(err)
			} else {
				for i := range e.workers {
					begin(t, e.workers[i], snapshot)
				}
				if d := differ(e.rows(nil), e.inScanOrder(c.want)); d != "" {
					t.Error(d)
				}
			}
			exec(t, keeper, "ROLLBACK")
			db.release(t)
			pgtest.Exec(t, dsn, "DROP TABLE IF EXISTS n, t2")
		})
	}
}
