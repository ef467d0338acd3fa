package chunker

import (
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// obsTable is a heap of some hundred pages with everything that a scan could
// trip over: versions and HOT chains, holes, TOAST, dropped and generated
// columns, names that need quotes.
var obsTable = []string{
	`CREATE TABLE obs (
		id int NOT NULL, gone text, stn text, "Dec" float8, mag numeric(6,2), obstime timestamp, created timestamptz,
		note text, "na""me" text, j jsonb, arr int[], flag bool, shift timetz, at time, doubled int8 GENERATED ALWAYS AS (id * 2) STORED
	) WITH (fillfactor = 70)`,
	`ALTER TABLE obs ALTER note SET STORAGE EXTERNAL`,
	`INSERT INTO obs SELECT g, 'x', CASE WHEN g % 1000 = 5 THEN 'X05' WHEN g % 7 = 0 THEN NULL ELSE 'F' || g % 50 END, g * 0.25, g % 30,
		timestamp '2020-01-01' + g * interval '1 hour', timestamptz '2020-01-01 00:00Z' + g * interval '1 hour',
		CASE WHEN g % 500 = 0 THEN repeat('long ' || g, 2000) ELSE 'n' || g END, 'q', jsonb_build_object('k', g, 't', '2020-01-01'), ARRAY[g, g+1],
		g % 3 = 0, '10:00+02', '11:00'
		FROM generate_series(1, 20000) g`,
	`ALTER TABLE obs DROP gone`,
	`CREATE INDEX obs_stn ON obs (stn)`,
	`CREATE UNIQUE INDEX obs_id ON obs (id)`,
	`DELETE FROM obs WHERE id BETWEEN 3000 AND 5000`,
	`VACUUM ANALYZE obs`,
	`UPDATE obs SET mag = mag + 1 WHERE id % 11 = 0`,
	`UPDATE obs SET mag = mag + 1 WHERE id % 1000 = 5`,
	`COMMENT ON COLUMN obs."Dec" IS 'Declination'`,
	`ANALYZE obs`,
}

func TestScans(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, obsTable...)
	for _, sql := range []string{
		`SELECT * FROM obs`,
		`select id from only obs`,
		`SELECT "Dec", "na""me" AS x, id i FROM public.obs o`,
		`SELECT o.*, o.id AS again FROM obs AS o WHERE o.id > 100;`,
		`SELECT doubled, ctid, xmin, tableoid FROM obs`,
	} {
		t.Run(sql, func(t *testing.T) {
			p, conn := mustPlan(t, dsn, Request{SQL: sql}, Options{ChunkBytes: 100_000, Parallel: 4})
			if p.Len() < 10 || p.Sources[0].Scan != TIDRange {
				t.Errorf("%d chunks by %s: %s", p.Len(), p.Sources[0].Scan, p.Why)
			}
			want := inScanOrder(t, conn, strings.TrimSuffix(sql, ";"))
			if d := differ(rowsOf(t, conn, p, nil), want); d != "" {
				t.Error(d)
			}
		})
	}
}
