package typemap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/pgtest"
)

// sample is a type and literals of it: normal, extreme and hostile ones. A plain numeric has only such as the shortest
// decimal of a float64 prints back, since that is what the comparison goes by; others are in TestNumericFloat64.
type sample struct {
	typ     string
	since   int // first major that has the type or takes the literals
	ext     string
	lits    []string
	noRange bool // no range type over it
}

var hostileText = []string{
	"", "x", "NULL", "null", `\N`, `\.`, "a,b", `"`, `""`, `a"b`, "line\nbreak", "cr\rlf\r\n", "\t", " lead", "trail ", "'", `back\slash`, `\`, `\\`,
	"{}", "{a,b}", "(a,b)", "[1,2)", "=>", "grüße", "日本語", "🦄", "é\u0301", "\u0085", "\u00a0", "\u2028", "; drop table t; --", "1234567890123456", "12345678901234567",
	strings.Repeat("long ", 100),
}

var samples = []sample{
	{typ: "bool", lits: []string{"t", "f"}},
	{typ: "int2", lits: []string{"0", "1", "-1", "32767", "-32768"}},
	{typ: "int4", lits: []string{"0", "1", "-1", "2147483647", "-2147483648"}},
	{typ: "int8", lits: []string{"0", "1", "-1", "9223372036854775807", "-9223372036854775808"}},
	{typ: "float4", lits: []string{"0", "-0", "1.5", "0.1", "3.4028235e38", "-3.4028235e38", "1e-45", "1.1754944e-38", "NaN", "Infinity", "-Infinity", "16777217", "123456", "1e6", "0.0001", "0.00001"}},
	{typ: "float8", lits: []string{
		"0", "-0", "1.5", "0.1", "1.7976931348623157e308", "-1.7976931348623157e308", "5e-324", "2.2250738585072014e-308", "NaN", "Infinity", "-Infinity",
		"9007199254740993", "123456789012345", "1e15", "1e22", "0.0001", "0.00001", "3.141592653589793", "2.718281828459045e-100",
	}},
	{typ: "numeric", lits: []string{"0", "1", "-1", "1.5", "0.1", "-12345.678", "1000000000000000000000", "123456789012345", "0.000001", "NaN"}},
	{typ: "numeric(10,2)", lits: []string{"0", "1", "-1", "1.5", "99999999.99", "-99999999.99", "0.01", "-0.01"}, noRange: true},
	{typ: "numeric(18,6)", lits: []string{"0", "999999999999.999999", "-999999999999.999999", "0.000001"}, noRange: true},
	{typ: "numeric(38,0)", lits: []string{"0", strings.Repeat("9", 38), "-" + strings.Repeat("9", 38), "1" + strings.Repeat("0", 37)}, noRange: true},
	{typ: "numeric(38,10)", lits: []string{"0.0000000001", strings.Repeat("9", 28) + ".9999999999"}, noRange: true},
	{typ: "numeric(39,3)", lits: []string{"0", strings.Repeat("9", 36) + ".999", "-" + strings.Repeat("9", 36) + ".999"}, noRange: true},
	{typ: "numeric(76,38)", lits: []string{"-0." + strings.Repeat("0", 37) + "1", strings.Repeat("9", 38) + "." + strings.Repeat("9", 38)}, noRange: true},
	{typ: "numeric(77,5)", lits: []string{"0", "NaN", strings.Repeat("9", 72) + ".99999", "-0.00001"}, noRange: true},
	{typ: "numeric(5,-3)", since: 15, lits: []string{"0", "99999000", "-1000"}, noRange: true},
	{typ: "numeric(3,6)", since: 15, lits: []string{"0", "0.000999", "-0.000001"}, noRange: true},
	{typ: "money", lits: []string{"0", "0.01", "-0.01", "12.34", "-1234567.89", "92233720368547758.07", "-92233720368547758.08"}},
	{typ: "text", lits: hostileText},
	{typ: "varchar", lits: hostileText},
	{typ: "varchar(7)", lits: []string{"", "abc", "日本語日本語日"}},
	{typ: "bpchar", lits: []string{"", "abc", "abc  "}, noRange: true},
	{typ: "char(5)", lits: []string{"", "a", "ab   ", "日本"}, noRange: true},
	{typ: `"char"`, lits: []string{"", "a", `"`, ",", " ", `\`, "\n"}, noRange: true},
	{typ: "name", lits: []string{"", "pg_class", `we"ird, name`, strings.Repeat("n", 63)}},
	{typ: "json", lits: []string{"null", "{}", `{"a": 1, "a":2 }`, "[1,\n 2]", `"\u00e9\ud83e\udd84"`, "1e400", "  1  "}, noRange: true},
	{typ: "jsonb", lits: []string{"null", "{}", `{"b": [1, 2.50, "x\"y"], "a": null}`, "1e400", "12345678901234567890.123456789", `"日本"`}},
	{typ: "jsonpath", lits: []string{"$", `$.a[*] ? (@.x > 1)`, `strict $."a b"`}, noRange: true},
	{typ: "bytea", lits: []string{`\x`, `\x00`, `\x00ff27225c0a2c`, `\x` + strings.Repeat("ab", 300)}},
	{typ: "uuid", lits: []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "550e8400-e29b-41d4-a716-446655440000"}},
	{typ: "date", lits: []string{"1970-01-01", "1969-12-31", "2000-01-01", "2000-02-29", "1900-02-28", "0001-01-01", "0001-12-31 BC", "0044-03-15 BC", "4714-11-24 BC", "5874897-12-31", "9999-12-31", "10000-01-01"}},
	{typ: "time", lits: []string{"00:00:00", "12:34:56", "12:34:56.789", "23:59:59.999999", "00:00:00.000001"}, noRange: true},
	{typ: "time(0)", lits: []string{"12:34:56"}, noRange: true},
	{typ: "timetz", lits: []string{"00:00:00+00", "12:34:56.789+05:30", "23:59:59.999999-15:59:59", "01:02:03+15:59", "00:00:00.000001-08"}, noRange: true},
	{typ: "timestamp", lits: []string{
		"1970-01-01 00:00:00", "1969-12-31 23:59:59.999999", "2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "2024-02-29 12:34:56.789012", "0001-01-01 00:00:00", "0001-12-31 23:59:59 BC",
		"4714-11-24 00:00:00 BC", "294247-01-10 04:00:54.775807", "9999-12-31 23:59:59.999999", "10000-01-01 00:00:00", "1900-03-01 00:00:00.1",
	}},
	{typ: "timestamp(3)", lits: []string{"2024-02-29 12:34:56.789"}},
	{typ: "timestamptz", lits: []string{"1970-01-01 00:00:00+00", "2024-02-29 12:34:56.789012+05:30", "4714-11-24 00:00:00+00 BC", "294247-01-10 04:00:54.775807+00", "0001-12-31 23:59:59+00 BC"}},
	{typ: "interval", lits: []string{
		"0", "1 day", "-1 day", "1 month", "1 year 2 months 3 days 04:05:06.789", "-1 year -2 months +3 days -04:05:06.789012", "1 mon -1 day +00:00:01", "-00:00:00.000001",
		"178000000 years", "-178000000 years", "2147483647 days", "2147483647 months", "-2147483648 months", "100:00:00", "1 day 23:59:59.999999", "00:00:59.5",
	}, noRange: true},
	{typ: "interval", since: 15, lits: []string{"2562047788:00:54.775807", "-2562047788:00:54.775807"}, noRange: true},
	{typ: "interval year to month", lits: []string{"1 year 2 months"}, noRange: true},
	{typ: "oid", lits: []string{"0", "1", "4294967295"}},
	{typ: "xid", lits: []string{"0", "4294967295"}, noRange: true},
	{typ: "cid", lits: []string{"0", "4294967295"}, noRange: true},
	{typ: "xid8", lits: []string{"0", "18446744073709551615"}},
	{typ: "pg_lsn", lits: []string{"0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"}},
	{typ: "tid", lits: []string{"(0,0)", "(4294967295,65535)"}},
	{typ: "int2vector", lits: []string{"", "1", "1 -2 32767"}, noRange: true},
	{typ: "oidvector", lits: []string{"", "1", "1 4294967295"}, noRange: true},
	{typ: "bit(9)", lits: []string{"000000000", "111111111", "101010101"}},
	{typ: "bit varying", lits: []string{"", "0", "1", "10101010", "101010101"}},
	{typ: "inet", lits: []string{
		"0.0.0.0", "255.255.255.255", "10.1.2.3/24", "10.1.2.3/0", "10.1.2.3/32", "::", "::1", "::/0", "2001:db8::1", "2001:db8:0:1::/64", "1:0:0:2:0:0:0:3", "1:2:3:4:5:6:7:8", "0:0:1::", "::ffff:1.2.3.4",
		"::1.2.3.4", "::ffff:0:0", "::2", "::1:0", "1::", "fe80::1/10", "ff00:0:0:ff:0:0:ff:0",
	}},
	{typ: "cidr", lits: []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/32", "::1/128", "::ffff:1.2.3.0/120"}, noRange: true},
	{typ: "macaddr", lits: []string{"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "08:00:2b:01:02:03"}},
	{typ: "macaddr8", lits: []string{"00:00:00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff:ff:ff"}},
	{typ: "point", lits: []string{"(0,0)", "(-1.5,2e300)", "(NaN,Infinity)"}, noRange: true},
	{typ: "line", lits: []string{"{1,2,3}", "{0,-1,0.5}"}, noRange: true},
	{typ: "lseg", lits: []string{"[(0,0),(1,1)]", "[(-1e-300,2),(3,4)]"}, noRange: true},
	{typ: "box", lits: []string{"(0,0),(1,1)", "(3,4),(1,2)"}, noRange: true},
	{typ: "path", lits: []string{"((0,0),(1,1))", "[(0,0),(1,1),(2,0)]", "((5,5))", "[(5,5)]"}, noRange: true},
	{typ: "polygon", lits: []string{"((0,0),(1,1),(2,0))", "((5,5))"}, noRange: true},
	{typ: "circle", lits: []string{"<(0,0),1>", "<(1.5,-2),0>"}, noRange: true},
	{typ: "tsvector", lits: []string{"", "a b", "'it''s':1A,2B fat:3 'sp ace'"}},
	{typ: "tsquery", lits: []string{"", "a & b | !c", "'it''s':AB* <-> x"}},
	{typ: "txid_snapshot", lits: []string{"1:2:", "10:20:11,15"}, noRange: true},
	{typ: "pg_snapshot", lits: []string{"1:2:", "10:20:11,15"}, noRange: true},
	{typ: "xml", lits: []string{"", "<a/>", `<a b="c">&lt;ü</a>`, `<?xml version="1.0"?><r>x</r>`}, noRange: true},
	{typ: "regclass", lits: []string{"pg_class", "-", "4294967295"}, noRange: true},
	{typ: "regtype", lits: []string{"integer", `"char"`, "timestamp with time zone"}, noRange: true},
	{typ: "regproc", lits: []string{"now", "-"}, noRange: true},
	{typ: "regprocedure", lits: []string{"abs(integer)"}, noRange: true},
	{typ: "regoperator", lits: []string{"+(integer,integer)"}, noRange: true},
	{typ: "regnamespace", lits: []string{"pg_catalog"}, noRange: true},
	{typ: "regrole", lits: []string{"postgres"}, noRange: true},
	{typ: "regconfig", lits: []string{"english"}, noRange: true},
	{typ: "regdictionary", lits: []string{"simple"}, noRange: true},
	{typ: "refcursor", lits: []string{"c", ""}, noRange: true},
	{typ: "aclitem", lits: []string{"postgres=r/postgres", "=arwdDxt/postgres"}, noRange: true},
	{typ: "int4range", lits: []string{"empty", "[1,5)", "(,)", "(,0)", "[2147483646,)"}},
	{typ: "int8range", lits: []string{"empty", "[-9223372036854775808,9223372036854775807)"}},
	{typ: "numrange", lits: []string{"empty", "[1.5,2.5]", "(0,)", "(,-1)", "(,)"}},
	{typ: "daterange", lits: []string{"empty", "[2000-01-01,2000-02-01)", "[4714-11-24 BC,)"}},
	{typ: "tsrange", lits: []string{"empty", `["2000-01-01 00:00:00","2000-01-01 00:00:00.000001"]`, "(,)"}},
	{typ: "tstzrange", lits: []string{"empty", `["2000-01-01 00:00:00+00","2001-01-01 00:00:00+00")`}},
	{typ: "int4multirange", since: 14, lits: []string{"{}", "{[1,2)}", "{(,0),[1,2),[5,)}"}},
	{typ: "nummultirange", since: 14, lits: []string{"{}", "{[1.5,2.5],(3,)}"}},
	{typ: "tstzmultirange", since: 14, lits: []string{"{}", `{["2000-01-01 00:00:00+00","2001-01-01 00:00:00+00"),["2002-01-01 00:00:00+00",)}`}},
	{typ: "datemultirange", since: 14, lits: []string{"{}", "{[2000-01-01,2000-02-01)}"}},
	{typ: "mood", lits: []string{"sad", "ok", "ha ppy", `"quoted"`, "NULL", ""}},
	{typ: "citext", ext: "citext", lits: hostileText},
	{typ: "hstore", ext: "hstore", lits: []string{"", "a=>1", `"a"=>NULL`, `"a b"=>"c\"d", "\\"=>"=>", "k"=>"NULL", ""=>""`, "ü=>日本"}, noRange: true},
	{typ: "ltree", ext: "ltree", lits: []string{"", "Top", "Top.Science.Astronomy"}},
	{typ: "lquery", ext: "ltree", lits: []string{"Top.*", "*.!a|b{1,2}"}, noRange: true},
	{typ: "ltxtquery", ext: "ltree", lits: []string{"a & b*", "!x"}, noRange: true},
	{typ: "isbn", ext: "isn", lits: []string{"0-306-40615-2"}},
	{typ: "isbn13", ext: "isn", lits: []string{"978-0-306-40615-7"}},
	{typ: "ean13", ext: "isn", lits: []string{"978-0-306-40615-7"}},
	{typ: "issn", ext: "isn", lits: []string{"1436-4522"}},
	{typ: "upc", ext: "isn", lits: []string{"220356483481"}},
	{typ: "cube", ext: "cube", lits: []string{"(1)", "(1, 2),(3, 4)", "(0.1, -2e300)"}},
	{typ: "seg", ext: "seg", lits: []string{"1", "1 .. 2", "~5.00", "< 3"}},
}

func (s *sample) on(major int) bool { return s.since == 0 || major >= s.since }

func quoteLiteral(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// prepare makes the enum and the extensions that samples need.
func prepareSamples(t testing.TB, c *pgx.Conn) {
	t.Helper()
	sql := `CREATE TYPE mood AS ENUM ('sad', 'ok', 'ha ppy', '"quoted"', 'NULL', '');`
	for _, e := range []string{"citext", "hstore", "ltree", "isn", "cube", "seg"} {
		sql += "CREATE EXTENSION " + e + ";"
	}
	run(t, c, sql)
}

// TestEveryTypeAgainstTheServer makes, for each sample, a column of the type, of arrays of it, of a domain, of a domain
// over its array, of a composite of these, of arrays of the composite and of a range, fills them with the literals and
// compares both transports with each other and with what the server prints.
func TestEveryTypeAgainstTheServer(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		c := session(t, srv.Database(t))
		prepareSamples(t, c)
		for i, s := range samples {
			if !s.on(srv.Version()) {
				continue
			}
			t.Run(s.typ, func(t *testing.T) {
				sampleTable(t, c, fmt.Sprintf("s%d", i), &s)
				compare(t, c, "SELECT * FROM "+fmt.Sprintf("s%d", i)+" ORDER BY n", Options{})
			})
		}
	})
}

// sampleTable makes the table of a sample.
func sampleTable(t testing.TB, c *pgx.Conn, name string, s *sample) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE DOMAIN %[1]s_d AS %[2]s; CREATE DOMAIN %[1]s_da AS %[2]s[]; CREATE DOMAIN %[1]s_dd AS %[1]s_d;", name, s.typ)
	fmt.Fprintf(&b, `CREATE TYPE %[1]s_c AS (a %[2]s, "b ""c" %[1]s_dd, d %[2]s[], e text); CREATE TYPE %[1]s_cc AS (x %[1]s_c, y %[1]s_c[]);`, name, s.typ)
	fmt.Fprintf(&b, `CREATE TABLE %[1]s (n int, v %[2]s, a %[2]s[], d %[1]s_d, da %[1]s_da, dda %[1]s_dd[], c %[1]s_c, cc %[1]s_cc, ca %[1]s_c[], aa %[2]s[][]`, name, s.typ)
	if !s.noRange {
		fmt.Fprintf(&b, ", r %s_r", name)
	}
	b.WriteString(");")
	if !s.noRange {
		run(t, c, fmt.Sprintf("CREATE TYPE %s_r AS RANGE (subtype = %s)", name, s.typ))
	}
	n := len(s.lits)
	lit := func(i int) string {
		if i %= n + 1; i == n {
			return "NULL"
		}
		return quoteLiteral(s.lits[i])
	}
	fmt.Fprintf(&b, "INSERT INTO %s (n) VALUES (-1);", name)
	for i := range n {
		v := lit(i) + "::" + s.typ
		arr := fmt.Sprintf("ARRAY[%s, %s, %s]::%s[]", lit(i), lit(i+1), lit(n), s.typ)
		comp := fmt.Sprintf("ROW(%s, %s, %s, %s)::%s_c", lit(i), lit(i+1), arr, quoteLiteral(hostileText[i%len(hostileText)]), name)
		fmt.Fprintf(&b, "INSERT INTO %[1]s VALUES (%[2]d, %[3]s, %[4]s, %[3]s, %[4]s, %[4]s, %[5]s, ROW(%[5]s, ARRAY[%[5]s, NULL, ROW(NULL, NULL, NULL, NULL)::%[1]s_c])::%[1]s_cc, ARRAY[%[5]s, NULL]::%[1]s_c[], ARRAY[%[4]s, %[4]s]",
			name, i, v, arr, comp)
		if !s.noRange {
			fmt.Fprintf(&b, ", CASE WHEN %[1]s < %[2]s THEN %[3]s_r(%[1]s, %[2]s, '[]') ELSE %[3]s_r(%[2]s, %[1]s, '(]') END", v, lit((i+1)%n)+"::"+s.typ, name)
		}
		b.WriteString(");")
	}
	fmt.Fprintf(&b, "INSERT INTO %s (n, a, da, aa, ca) VALUES (%d, '{}', '{}', '{}', '{}');", name, n)
	if !s.noRange {
		fmt.Fprintf(&b, "INSERT INTO %s (n, r) VALUES (%d, '(,)'), (%d, 'empty');", name, n+1, n+2)
	}
	run(t, c, b.String())
}
