package chunker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// loopback makes a foreign server that is the database itself.
func loopback(t testing.TB, srv *pgtest.Server, dsn string) {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, dsn,
		`CREATE EXTENSION postgres_fdw`,
		fmt.Sprintf(`CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %s, port '%d', dbname %s)`,
			literal(cfg.Host), cfg.Port, literal(cfg.Database)),
		fmt.Sprintf(`CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user %s)`, literal(cfg.User)))
}

// measured is a table by range, with what partitioned tables have: a leaf of
// another column order, sub-partitions by list with a default, hash
// partitions, a default, an empty leaf.
var measured = []string{
	`CREATE TABLE m (id int NOT NULL, k text, v text, d date NOT NULL) PARTITION BY RANGE (d)`,
	`CREATE TABLE m_default PARTITION OF m DEFAULT`,
	`CREATE TABLE m_2022 PARTITION OF m FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')`,
	`CREATE TABLE odd (v text, gone int, d date NOT NULL, id int NOT NULL, k text)`,
	`ALTER TABLE odd DROP gone`,
	`ALTER TABLE m ATTACH PARTITION odd FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
	`CREATE TABLE m_2021 PARTITION OF m FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (k)`,
	`CREATE TABLE m_2021_rest PARTITION OF m_2021 DEFAULT PARTITION BY HASH (id)`,
	`CREATE TABLE m_2021_h1 PARTITION OF m_2021_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
	`CREATE TABLE m_2021_h0 PARTITION OF m_2021_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0)`,
	`CREATE TABLE m_2021_b PARTITION OF m_2021 FOR VALUES IN ('b', NULL)`,
	`CREATE TABLE m_2021_a PARTITION OF m_2021 FOR VALUES IN ('a')`,
	`CREATE TABLE "M Empty" PARTITION OF m FOR VALUES FROM ('1999-01-01') TO ('2000-01-01')`,
	`INSERT INTO m SELECT g, CASE g % 5 WHEN 0 THEN 'a' WHEN 1 THEN 'b' WHEN 2 THEN NULL ELSE 'k' || g END, repeat('v', g % 300),
		date '2019-06-01' + g % 1600 FROM generate_series(1, 12000) g`,
	`CREATE INDEX ON m (id)`,
	`DELETE FROM m WHERE id % 17 = 0`,
	`VACUUM ANALYZE m`,
	`UPDATE m SET v = v || '!' WHERE id % 13 = 0`,
}

func sourceNames(p *Plan) []string {
	var names []string
	for i := range p.Sources {
		names = append(names, p.Sources[i].Relation.String())
	}
	return names
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn, measured...)
		db := open(t, dsn)
		all := []string{`public."M Empty"`, "public.odd", "public.m_2021_a", "public.m_2021_b", "public.m_2021_h0", "public.m_2021_h1", "public.m_2022", "public.m_default"}
		for _, c := range []struct {
			req  Request
			sql  string
			want []string // sources; nil for one chunk by the root
		}{
			{Request{Table: "m"}, "SELECT * FROM m", all},
			{Request{Table: "m", Columns: []string{"v", "id"}}, "SELECT v, id FROM m", all},
			{Request{Table: "m", Where: "v <> ''"}, "SELECT * FROM m WHERE v <> ''", all},
			{
				Request{Table: "m", Where: "m.d >= '2021-03-01' AND d < '2022-02-01'"},
				"SELECT * FROM m WHERE d >= '2021-03-01' AND d < '2022-02-01'",
				[]string{"public.m_2021_a", "public.m_2021_b", "public.m_2021_h0", "public.m_2021_h1", "public.m_2022"},
			},
			{Request{Table: "m_2021", Where: "k = 'a'"}, "SELECT * FROM m_2021 WHERE k = 'a'", []string{"public.m_2021_a"}},
			{Request{Table: "odd"}, "SELECT * FROM odd", []string{"public.odd"}},
			{Request{SQL: "SELECT *, tableoid, ctid FROM m x WHERE x.id > 10"}, "", all},
			{Request{SQL: "SELECT x.*, upper(v) AS u FROM public.m x"}, "", all},
			{Request{SQL: "SELECT m FROM m"}, "", nil},
			{Request{SQL: "SELECT row_to_json(m) AS j FROM m"}, "", nil},
			{Request{SQL: "SELECT (m.*)::text AS j FROM m"}, "", nil},
			{Request{SQL: "SELECT id, now() AS n FROM m"}, "", nil},
			{Request{SQL: "SELECT id FROM m WHERE d > current_date"}, "", nil},
			{Request{Table: "m", Where: "d > now()"}, "SELECT * FROM m WHERE d > now()", nil},
			{Request{Table: "m", Where: "d < '1990-01-01'"}, "SELECT * FROM m WHERE d < '1990-01-01'", []string{"public.m_default"}},
		} {
			t.Run(fmt.Sprint(c.req), func(t *testing.T) {
				e := db.mustPlan(t, c.req, Options{ChunkBytes: 50_000, Parallel: 4})
				got := sourceNames(e.plan)
				if c.want != nil && !slices.Equal(got, c.want) {
					t.Errorf("sources %v, want %v: %s", got, c.want, e.plan.Why)
				}
				if c.want == nil && (e.plan.Len() != 1 || got[0] != "public.m") {
					t.Errorf("%d chunks of %v: %s", e.plan.Len(), got, e.plan.Why)
				}
				if e.plan.Len() <= len(c.want) && len(c.want) > 2 && srv.Version() >= 14 {
					t.Errorf("%d chunks of %d tables: %s", e.plan.Len(), len(c.want), e.plan.Why)
				}
				sql := c.sql
				if sql == "" {
					sql = c.req.SQL
				}
				if strings.Contains(sql, "now()") || strings.Contains(sql, "current_date") {
					return // says nothing across sessions
				}
				if d := differ(e.rows(nil), e.inScanOrder(sql)); d != "" {
					t.Error(d)
				}
				if d := differ(e.rows(e.asText()), e.inScanOrder(sql)); d != "" {
					t.Errorf("as text: %s", d)
				}
			})
		}
	})
}

// brokenDetach begins to detach a partition concurrently, and does not end it.
func brokenDetach(t testing.TB, dsn, table, partition string) {
	t.Helper()
	reader, detacher := pgtest.Connect(t, dsn), pgtest.Connect(t, dsn)
	exec(t, reader, "BEGIN; SELECT FROM "+table+" LIMIT 1")
	exec(t, detacher, "SET lock_timeout = '100ms'")
	if _, err := detacher.Exec(t.Context(), "ALTER TABLE "+table+" DETACH PARTITION "+partition+" CONCURRENTLY"); err == nil {
		t.Fatal("the partition was detached")
	}
	exec(t, reader, "ROLLBACK")
}

// TestDetaching has a partition whose concurrent detaching was broken off: it
// is no part of the table to the server, and stays so until somebody goes on.
func TestDetaching(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		if srv.Version() < 14 {
			return // has no such thing
		}
		dsn := srv.Database(t)
		pgtest.Exec(t, dsn,
			`CREATE TABLE p (a int) PARTITION BY RANGE (a)`,
			`CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (5000)`,
			`CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (5000) TO (9000)`,
			`INSERT INTO p SELECT g FROM generate_series(1, 8999) g`)
		brokenDetach(t, dsn, "p", "p2")
		db := open(t, dsn)
		for _, req := range []Request{{Table: "p"}, {Table: "p", Where: "a > 10"}} {
			e := db.mustPlan(t, req, Options{ChunkBytes: 50_000})
			if got := sourceNames(e.plan); !slices.Equal(got, []string{"public.p1"}) {
				t.Errorf("sources %v: %s", got, e.plan.Why)
			}
			if d := differ(e.rows(nil), e.inScanOrder(e.plan.Target.Statement)); d != "" {
				t.Error(d)
			}
		}
	})
}

func TestInheritance(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn,
		`CREATE TABLE base (id int NOT NULL, v text)`,
		`CREATE TABLE kid (extra int) INHERITS (base)`,
		`CREATE TABLE side (w text)`,
		`CREATE TABLE both_ (more text) INHERITS (kid, side)`,
		`CREATE TABLE late (v text, gone int, id int NOT NULL, own text)`,
		`ALTER TABLE late DROP gone`,
		`ALTER TABLE late INHERIT base`,
		`INSERT INTO base SELECT g, repeat('b', 100) FROM generate_series(1, 2000) g`,
		`INSERT INTO kid SELECT g, repeat('k', 100), 1 FROM generate_series(1, 2000) g`,
		`INSERT INTO both_ SELECT g, repeat('z', 100), 1 FROM generate_series(1, 2000) g`,
		`INSERT INTO late (id, v) SELECT g, repeat('l', 100) FROM generate_series(1, 2000) g`)
	db := open(t, dsn)
	for _, c := range []struct {
		req  Request
		sql  string
		want []string
	}{
		{Request{Table: "base"}, "SELECT * FROM base", []string{"public.base", "public.kid", "public.late", "public.both_"}},
		{Request{Table: "kid"}, "SELECT * FROM kid", []string{"public.kid", "public.both_"}},
		{Request{SQL: "SELECT * FROM ONLY base"}, "", []string{"public.base"}},
		{Request{SQL: "SELECT id, tableoid FROM base WHERE id > 7"}, "", []string{"public.base", "public.kid", "public.late", "public.both_"}},
		{Request{SQL: "SELECT b FROM base b"}, "", []string{"public.base"}},
	} {
		t.Run(fmt.Sprint(c.req), func(t *testing.T) {
			e := db.mustPlan(t, c.req, Options{ChunkBytes: 50_000, Parallel: 4})
			if got := sourceNames(e.plan); !slices.Equal(got, c.want) {
				t.Errorf("sources %v, want %v: %s", got, c.want, e.plan.Why)
			}
			sql := c.sql
			if sql == "" {
				sql = c.req.SQL
			}
			if d := differ(e.rows(nil), e.inScanOrder(sql)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestForeignTables(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		dsn := srv.Database(t)
		loopback(t, srv, dsn)
		pgtest.Exec(t, dsn,
			`CREATE TABLE p (id int NOT NULL, v text) PARTITION BY RANGE (id)`,
			`CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (3000)`,
			`CREATE TABLE far (id int NOT NULL, v text)`,
			`CREATE FOREIGN TABLE p2 PARTITION OF p FOR VALUES FROM (3000) TO (6000) SERVER loop OPTIONS (table_name 'far')`,
			`CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (6000) TO (9000)`,
			`CREATE FOREIGN TABLE alone (id int NOT NULL, v text) SERVER loop OPTIONS (table_name 'far')`,
			`INSERT INTO far SELECT g, repeat('x', 100) FROM generate_series(3000, 5999) g`,
			`INSERT INTO p SELECT g, repeat('x', 100) FROM generate_series(1, 2999) g`,
			`INSERT INTO p SELECT g, repeat('x', 100) FROM generate_series(6000, 8999) g`,
			`CREATE VIEW over AS SELECT id FROM alone`,
			`ANALYZE p1, p3`)
		db := open(t, dsn)

		e := db.mustPlan(t, Request{Table: "p"}, Options{ChunkBytes: 50_000, Parallel: 4})
		if got := sourceNames(e.plan); !slices.Equal(got, []string{"public.p1", "public.p2", "public.p3"}) {
			t.Errorf("sources %v: %s", got, e.plan.Why)
		}
		if s := e.plan.Sources[1]; s.Scan != Own || s.Chunks() != 1 || s.Why == "" {
			t.Errorf("the foreign leaf is read by %s in %d chunks: %s", s.Scan, s.Chunks(), s.Why)
		}
		if len(e.plan.Warnings) != 1 || !strings.Contains(e.plan.Warnings[0], "public.p2") {
			t.Errorf("warnings %q", e.plan.Warnings)
		}
		if d := differ(e.rows(nil), e.inScanOrder("SELECT * FROM p")); d != "" {
			t.Error(d)
		}
		if d := differ(e.rows(e.asText()), e.inScanOrder("SELECT * FROM p")); d != "" {
			t.Errorf("as text: %s", d)
		}
		if e.plan.Columns[0].NotNull {
			t.Error("a foreign leaf promises no NOT NULL")
		}

		e = db.mustPlan(t, Request{Table: "alone", Where: "id > 4000"}, Options{})
		if e.plan.Len() != 1 || len(e.plan.Warnings) != 1 || e.plan.Target.LockSelect == "" {
			t.Errorf("foreign table: %d chunks, warnings %q, lock by %q", e.plan.Len(), e.plan.Warnings, e.plan.Target.LockSelect)
		}
		if d := differ(e.rows(nil), e.inScanOrder("SELECT * FROM alone WHERE id > 4000")); d != "" {
			t.Error(d)
		}

		e = db.mustPlan(t, Request{SQL: "SELECT * FROM over"}, Options{})
		if len(e.plan.Warnings) != 1 || !strings.Contains(e.plan.Warnings[0], "public.alone") {
			t.Errorf("a view over a foreign table warns %q", e.plan.Warnings)
		}
	})
}

func TestOtherKinds(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn,
		`CREATE TABLE t (a int NOT NULL, b text)`,
		`INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g`,
		`CREATE MATERIALIZED VIEW mv AS SELECT * FROM t ORDER BY a DESC`,
		`CREATE VIEW v AS SELECT a, b AS "B" FROM t WHERE a > 10`,
		`CREATE VIEW vv AS SELECT v.* FROM v JOIN mv USING (a)`,
		`CREATE TABLE zero ()`,
		`INSERT INTO zero SELECT FROM generate_series(1, 5)`,
		`CREATE TABLE empty (a int, "A" int)`,
		`CREATE UNLOGGED TABLE unlogged AS SELECT * FROM t`,
		`CREATE SEQUENCE seq START 7`,
		`CREATE TABLE rooted (a int) PARTITION BY LIST (a)`)
	db := open(t, dsn)
	for _, c := range []struct {
		req   Request
		sql   string
		kind  string
		split bool
	}{
		{Request{Table: "t"}, "SELECT * FROM t", "table", true},
		{Request{Table: `"public"."t"`, Columns: []string{"B"}, Where: "a % 2 = 0 -- even"}, "SELECT b FROM t WHERE a % 2 = 0", "table", true},
		{Request{Table: "t", Columns: []string{"ctid", "b"}}, "SELECT ctid, b FROM t", "table", true},
		{Request{Table: "t", Where: "a IN (SELECT a FROM v)"}, "SELECT * FROM t WHERE a IN (SELECT a FROM v)", "table", false},
		{Request{Table: "mv"}, "SELECT * FROM mv", "materialized view", true},
		{Request{SQL: "SELECT a FROM mv WHERE a > 5"}, "SELECT a FROM mv WHERE a > 5", "materialized view", true},
		{Request{Table: "v", Columns: []string{`"B"`}}, `SELECT "B" FROM v`, "view", false},
		{Request{Table: "vv"}, `SELECT * FROM vv`, "view", false},
		{Request{Table: "zero"}, `SELECT FROM zero`, "table", false},
		{Request{Table: "empty"}, `SELECT * FROM empty`, "table", false},
		{Request{Table: "unlogged"}, `SELECT * FROM unlogged`, "table", true},
		{Request{Table: "seq", Columns: []string{"log_cnt", "last_value"}}, `SELECT log_cnt, last_value FROM seq`, "sequence", false},
		{Request{SQL: "SELECT last_value, log_cnt FROM seq;"}, `SELECT last_value, log_cnt FROM seq`, "sequence", false},
		{Request{SQL: "SELECT last_value FROM seq WHERE is_called"}, `SELECT last_value FROM seq WHERE is_called`, "sequence", false},
		{Request{Table: "seq", Columns: []string{"last_value"}, Chunk: Hint{By: CutColumn, Column: "last_value", Count: 3}}, `SELECT last_value FROM seq`, "sequence", false},
		{Request{Table: "rooted"}, `SELECT * FROM rooted`, "partitioned table", false},
		{Request{Table: "pg_class", Columns: []string{"relname"}}, `SELECT relname FROM pg_class`, "table", false},
		{Request{Table: "information_schema.tables", Columns: []string{"table_name"}}, `SELECT table_name FROM information_schema.tables`, "view", false},
	} {
		t.Run(fmt.Sprint(c.req), func(t *testing.T) {
			e := db.mustPlan(t, c.req, Options{ChunkBytes: 50_000, Parallel: 4})
			if e.plan.Kind != c.kind {
				t.Errorf("kind %q, want %q", e.plan.Kind, c.kind)
			}
			if split := e.plan.Len() > 1; split != c.split {
				t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
			}
			if warned := len(e.plan.Warnings) > 0; warned != (c.kind == "sequence") {
				t.Errorf("warnings: %q", e.plan.Warnings)
			}
			if strings.HasSuffix(e.plan.Why, ": ") {
				t.Errorf("no reason: %q", e.plan.Why)
			}
			if d := differ(e.rows(nil), e.inScanOrder(c.sql)); d != "" {
				t.Error(d)
			}
			if d := differ(e.rows(e.asText()), e.inScanOrder(c.sql)); d != "" {
				t.Errorf("as text: %s", d)
			}
		})
	}
}

func TestTemporary(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.Database(t))
	exec(t, db.scout, "CREATE TEMP TABLE tt (a int)")
	for _, req := range []Request{{Table: "tt"}, {SQL: "SELECT a FROM tt"}, {SQL: "SELECT count(*) FROM tt"}} {
		_, err := Resolve(t.Context(), db.scout, req)
		var bad *UnsupportedRelationError
		if !errors.As(err, &bad) || bad.Kind != "temporary table" {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

// TestExtensionTables imitates the catalogs by which the extensions' tables
// are recognised.
func TestExtensionTables(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn,
		`CREATE TABLE hyper (t int NOT NULL)`,
		`CREATE SCHEMA _timescaledb_internal`,
		`CREATE TABLE _timescaledb_internal.c1 () INHERITS (hyper)`,
		`CREATE TABLE _timescaledb_internal.c2 () INHERITS (hyper)`,
		`INSERT INTO _timescaledb_internal.c1 SELECT g FROM generate_series(1, 9000) g`,
		`INSERT INTO _timescaledb_internal.c2 SELECT g FROM generate_series(1, 9000) g`,
		`CREATE SCHEMA _timescaledb_catalog`,
		`CREATE TABLE _timescaledb_catalog.chunk (id int, hypertable_id int, schema_name name, table_name name, compressed_chunk_id int)`,
		`INSERT INTO _timescaledb_catalog.chunk VALUES (1, 1, '_timescaledb_internal', 'c1', NULL), (2, 1, '_timescaledb_internal', 'c2', NULL)`)
	db := open(t, dsn)
	plan := func(table string) *Plan {
		return db.mustPlan(t, Request{Table: table}, Options{ChunkBytes: 50_000}).plan
	}
	if p := plan("hyper"); p.Len() < 10 {
		t.Errorf("%d chunks: %s", p.Len(), p.Why)
	}
	pgtest.Exec(t, dsn, `UPDATE _timescaledb_catalog.chunk SET compressed_chunk_id = 7 WHERE id = 2`)
	for table, split := range map[string]bool{"hyper": false, "_timescaledb_internal.c2": false, "_timescaledb_internal.c1": true} {
		if p := plan(table); p.Len() > 1 != split {
			t.Errorf("%s: %d chunks: %s", table, p.Len(), p.Why)
		} else if !split && !strings.Contains(p.Why, "TimescaleDB") {
			t.Errorf("%s: %s", table, p.Why)
		}
	}
	pgtest.Exec(t, dsn, `CREATE TABLE shards (a int)`, `INSERT INTO shards SELECT generate_series(1, 9000)`)
	cluster := pgtest.Connect(t, dsn)
	exec(t, cluster, `SET allow_system_table_mods = on`)
	exec(t, cluster, `CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)`)
	exec(t, cluster, `INSERT INTO pg_dist_partition VALUES ('shards')`)
	if p := plan("shards"); p.Len() != 1 || !strings.Contains(p.Why, "Citus") {
		t.Errorf("%d chunks: %s", p.Len(), p.Why)
	}
}

func TestAccessMethod(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn,
		`CREATE ACCESS METHOD stack TYPE TABLE HANDLER heap_tableam_handler`,
		`CREATE TABLE s (a int) USING stack`,
		`INSERT INTO s SELECT generate_series(1, 9000)`, `CREATE INDEX ON s (a)`, `ANALYZE s`)
	db := open(t, dsn)
	if p := db.mustPlan(t, Request{Table: "s", Where: "a = 5"}, Options{}).plan; p.Sources[0].Scan != Whole {
		t.Errorf("few rows are read by %s", p.Sources[0].Scan)
	}
	e := db.mustPlan(t, Request{Table: "s"}, Options{ChunkBytes: 50_000})
	if e.plan.Len() != 1 || !strings.Contains(e.plan.Why, "stack") {
		t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
	}
	if d := differ(e.rows(nil), e.inScanOrder("SELECT * FROM s")); d != "" {
		t.Error(d)
	}
}

// TestGrants reads with a role that owns nothing.
func TestGrants(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	role := "reader_" + strings.ToLower(strings.NewReplacer("/", "_").Replace(t.Name()))
	pgtest.Exec(t, dsn, append(measured,
		`CREATE ROLE `+role+` LOGIN`,
		`CREATE TABLE open_ (a int, b text, secret text)`,
		`INSERT INTO open_ SELECT g, 'b', 's' FROM generate_series(1, 3000) g`,
		`CREATE TABLE shut (a int)`,
		`CREATE VIEW window_ AS SELECT a FROM shut`,
		`CREATE SCHEMA cellar`,
		`CREATE TABLE cellar.t (a int)`,
		`GRANT SELECT (a, b) ON open_ TO `+role,
		`GRANT SELECT ON m, window_ TO `+role)...)
	dropRole(t, dsn, role)
	db := open(t, dsn+" user="+role)

	// Column grants only: LOCK TABLE is refused, the columns can be read.
	e := db.mustPlan(t, Request{Table: "open_", Columns: []string{"b", "a"}}, Options{ChunkBytes: 50_000})
	if e.plan.Target.LockSelect == "" || lockTable(e.plan.Target.Lock) != "" {
		t.Errorf("lock by %q and %q", lockTable(e.plan.Target.Lock), e.plan.Target.LockSelect)
	}
	if e.plan.Len() != 1 || !strings.Contains(e.plan.Why, "ctid") {
		t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
	}
	if d := differ(e.rows(nil), e.inScanOrder("SELECT b, a FROM open_")); d != "" {
		t.Error(d)
	}
	pgtest.Exec(t, dsn, "GRANT SELECT (ctid) ON open_ TO "+role)
	e = db.mustPlan(t, Request{Table: "open_", Columns: []string{"b", "a"}, Where: "a > 3"}, Options{ChunkBytes: 50_000})
	if e.plan.Len() < 2 {
		t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
	}
	if d := differ(e.rows(nil), e.inScanOrder("SELECT b, a FROM open_ WHERE a > 3")); d != "" {
		t.Error(d)
	}

	// A grant on the root reads all partitions, but none by itself.
	e = db.mustPlan(t, Request{Table: "m"}, Options{ChunkBytes: 50_000})
	if e.plan.Len() != 1 || !strings.Contains(e.plan.Why, "not granted on") {
		t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
	}
	if d := differ(e.rows(nil), e.inScanOrder("SELECT * FROM m")); d != "" {
		t.Error(d)
	}

	// A view is enough to read what its owner may read.
	e = db.mustPlan(t, Request{Table: "window_"}, Options{})
	for _, r := range e.plan.Target.Lock {
		if want := map[string]LockKind{"window_": LockByTable, "shut": LockByParent}[r.Name]; r.Lock != want {
			t.Errorf("%s is locked by %d, want %d", r, r.Lock, want)
		}
	}

	for _, c := range []struct {
		req  Request
		want string
	}{
		{Request{Table: "open_"}, "no permission to read public.open_: SELECT is not granted on column secret"},
		{Request{Table: "open_", Columns: []string{"a", "secret"}}, "no permission to read public.open_: SELECT is not granted on column secret"},
		{Request{Table: "open_", Columns: []string{"a"}, Where: "secret = 's'"}, "no permission to read public.open_: SELECT is not granted on column secret"},
		{Request{Table: "shut"}, "no permission to read public.shut: SELECT is not granted"},
		{Request{Table: "cellar.t"}, "permission denied for schema cellar"},
		{Request{SQL: "SELECT a, secret FROM open_"}, "no permission to read public.open_: SELECT is not granted on column secret"},
		{Request{SQL: "SELECT * FROM public.open_ o"}, "no permission to read public.open_: SELECT is not granted on column secret"},
		{Request{SQL: "SELECT a FROM open_ WHERE upper(secret) = 'S'"}, "no permission to read public.open_: SELECT is not granted on column secret"},
		{Request{SQL: "SELECT secret FROM open_ LIMIT 5"}, "permission denied for table open_"},
		{Request{SQL: "SELECT a FROM shut"}, "no permission to read public.shut: SELECT is not granted"},
		{Request{SQL: "SELECT a FROM cellar.t"}, "permission denied for schema cellar"},
		{Request{SQL: "SELECT count(*) FROM shut"}, "no permission to read public.shut: SELECT is not granted"},
	} {
		_, err := db.plan(t, c.req, Options{})
		var denied *PermissionError
		if !errors.As(err, &denied) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.req, err, c.want)
		}
	}
}

func TestRowSecurity(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, append(measured,
		`CREATE ROLE ruled LOGIN`,
		`CREATE TABLE r (a int NOT NULL, owner text)`,
		`INSERT INTO r SELECT g, CASE WHEN g % 2 = 0 THEN 'ruled' ELSE 'x' END FROM generate_series(1, 3000) g`,
		`ALTER TABLE r ENABLE ROW LEVEL SECURITY`,
		`CREATE POLICY mine ON r FOR SELECT USING (owner = current_user)`,
		`CREATE POLICY others ON r FOR SELECT TO pg_monitor USING (true)`,
		`CREATE TABLE fixed_ AS SELECT * FROM r`,
		`ALTER TABLE fixed_ ENABLE ROW LEVEL SECURITY`,
		`CREATE POLICY even ON fixed_ USING (a % 2 = 0)`,
		`CREATE VIEW rv AS SELECT a FROM r`,
		`ALTER VIEW rv OWNER TO ruled`,
		`ALTER TABLE m_2022 ENABLE ROW LEVEL SECURITY`,
		`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ruled`)...)
	dropRole(t, dsn, "ruled")
	db := open(t, dsn+" user=ruled")
	for _, req := range []Request{
		{Table: "r"},
		{SQL: "SELECT * FROM r"},
		{SQL: "SELECT count(*) FROM r"},
		{Table: "rv"},
	} {
		_, err := db.plan(t, req, Options{})
		var hidden *RowSecurityError
		if !errors.As(err, &hidden) || err.Error() != "row security hides rows of public.r (policy mine on public.r)" {
			t.Errorf("%+v: %v", req, err)
		}
		req.RowSecurity = true
		e := db.mustPlan(t, req, Options{ChunkBytes: 50_000})
		if e.plan.Len() != 1 {
			t.Errorf("%+v: %d chunks", req, e.plan.Len())
		}
		exec(t, e.coord, "SET LOCAL row_security = on")
		want := e.inScanOrder("SELECT * FROM r")
		switch {
		case strings.Contains(req.SQL, "count"):
			want = "1500\n"
		case req.Table == "rv":
			want = e.inScanOrder("SELECT a FROM r")
		}
		if d := differ(e.rows(nil), want); d != "" {
			t.Errorf("%+v: %s", req, d)
		}
	}
	e := db.mustPlan(t, Request{Table: "fixed_", RowSecurity: true}, Options{ChunkBytes: 50_000})
	if e.plan.Len() != 1 || !strings.Contains(e.plan.Why, "row security") {
		t.Errorf("a policy over constants: %d chunks: %s", e.plan.Len(), e.plan.Why)
	}
	// A partition's own policies do not count when it is read by its root.
	e = db.mustPlan(t, Request{Table: "m"}, Options{ChunkBytes: 50_000})
	if e.plan.Len() != 1 || !strings.Contains(e.plan.Why, "m_2022 has row security") {
		t.Errorf("%d chunks: %s", e.plan.Len(), e.plan.Why)
	}
	if d := differ(e.rows(nil), e.inScanOrder("SELECT * FROM m")); d != "" {
		t.Error(d)
	}
	// The owner is not ruled.
	if p := open(t, dsn).mustPlan(t, Request{Table: "r"}, Options{ChunkBytes: 50_000}).plan; p.Len() < 2 {
		t.Errorf("owner: %s", p.Why)
	}
}

// dropRole removes a role, which belongs to the cluster, when the test is over.
func dropRole(t *testing.T, dsn, role string) {
	t.Helper()
	t.Cleanup(func() {
		ctx := context.Background() // the test's own is over
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		for _, sql := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
	})
}
