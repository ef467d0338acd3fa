package data

import (
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestScripts(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	// Twice: the same number of rows must give the same rows in the same order, and a second run replaces the first.
	const digest = "SELECT md5(string_agg(r::text, ' ' ORDER BY r.ctid)) FROM %s r"
	tables := append([]string{"dia_source"}, MPCTables...)
	var digests [2][]string
	for i := range digests {
		pgtest.Exec(t, dsn, MPC(5000), DIA(300))
		for _, table := range tables {
			digests[i] = append(digests[i], pgtest.Query(t, dsn, strings.Replace(digest, "%s", table, 1)))
		}
	}
	for i, table := range tables {
		if digests[0][i] != digests[1][i] {
			t.Errorf("%s differs from run to run", table)
		}
	}
	for table, want := range map[string]string{"obs_sbn": "5000|86", "mpc_orbits": "1000|25", "primary_objects": "1000|10", "dia_source": "300|59"} {
		sql := "SELECT count(*), (SELECT count(*) FROM pg_attribute WHERE attrelid = '" + table + "'::regclass AND attnum > 0) FROM " + table
		if got := pgtest.Query(t, dsn, sql); got != want {
			t.Errorf("%s: %s rows and columns, want %s", table, got, want)
		}
	}
	// What makes the tables worth exporting: every kind of value that exporters get wrong.
	for _, has := range []string{
		"obs_sbn WHERE notes = ''", "obs_sbn WHERE notes = 'NULL'", "obs_sbn WHERE notes IS NULL", `obs_sbn WHERE remarks LIKE E'%\n%"%\t\\\\%'`,
		"obs_sbn WHERE all_pub_ref = '{}'::text[] || ARRAY['MPS ' || substr(all_pub_ref[1], 5)]", "obs_sbn WHERE NULL = ANY (all_pub_ref) IS NULL AND all_pub_ref IS NOT NULL",
		"mpc_orbits WHERE a1 = 'NaN'", "mpc_orbits WHERE a2 = '-Infinity'", "dia_source WHERE f0 = 'NaN'",
	} {
		if pgtest.Query(t, dsn, "SELECT EXISTS (SELECT FROM "+has+")") != "t" {
			t.Errorf("none: %s", has)
		}
	}
}

func TestPlainSQL(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{MPC(7), DIA(7)} {
		for line := range strings.Lines(sql) {
			if strings.HasPrefix(line, `\`) || !strings.HasPrefix(line, "--") && strings.Contains(line, ":rows") {
				t.Errorf("left of psql: %s", line)
			}
		}
	}
}
