package typemap

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"fast-export/internal/column"
)

// outcome is what became of one value: its error's reason, or its text and counts. The text of a NULL is "NULL".
type outcome struct {
	arrow  string
	text   string
	counts column.Counts
	err    string
}

func (o outcome) String() string {
	if o.err != "" {
		return "error: " + o.err
	}
	return o.arrow + " " + o.text
}

// outcomeOf decodes one recorded value by both transports under options; they must agree.
func outcomeOf(t *testing.T, cat *Catalog, v *recordedValue, opt Options) outcome {
	t.Helper()
	plans, batches, errs := decodeValue(t, cat, v, opt)
	var both [2]outcome
	for i, p := range plans {
		o := &both[i]
		o.arrow = p.Schema.Field(0).Type.String()
		if errs[i] != nil {
			var ve *ValueError
			if !errors.As(errs[i], &ve) {
				t.Fatalf("%s %q: %v", v.typ, v.text, errs[i])
			}
			o.err = ve.Reason
			continue
		}
		val := newUnbatch(p, batches[i][0]).rows()[0][0]
		o.counts = batches[i][0].Counts[0]
		switch n := p.nodes[0]; {
		case val.null:
			o.text = "NULL"
		case n.kind == kDuration:
			o.text = "us:" + pgInterval(0, 0, i64(val))
		default:
			o.text = pgText(n, val)
		}
	}
	if both[0] != both[1] {
		t.Errorf("%s %q: csv %+v, binary %+v", v.typ, v.text, both[0], both[1])
	}
	return both[1]
}

func TestOptions(t *testing.T) {
	t.Parallel()
	values, cat := readValues(t)
	find := func(typ, text string) *recordedValue {
		t.Helper()
		for i := range values {
			if values[i].typ == typ && values[i].text == text {
				return &values[i]
			}
		}
		t.Fatalf("no recorded %s %q", typ, text)
		return nil
	}
	null, clamp, inftext := Options{Infinity: InfinityNull}, Options{Infinity: InfinityClamp}, Options{Infinity: InfinityText}
	dur := Options{Interval: IntervalDuration}
	col := func(s string) Options { return Options{Columns: map[string]string{"v": s}} }
	fell, clamped, nonfin, inexact := column.Counts{FellBack: 1}, column.Counts{Clamped: 1}, column.Counts{Nonfinite: 1}, column.Counts{Inexact: 1}
	var none column.Counts
	huge := "0.1000000000000000055511151231257827021181583404541015625"
	for _, tt := range []struct {
		typ, text string
		opt       Options
		arrow     string
		want      string // text, NULL, or "!" and a part of the reason
		counts    column.Counts
	}{
		{"date", "infinity", Options{}, "", "!Parquet has no such value", none},
		{"date", "infinity", null, "date32", "NULL", fell},
		{"date", "-infinity", clamp, "date32", "4714-11-24 BC", clamped},
		{"date", "infinity", clamp, "date32", "5874897-12-31", clamped},
		{"date", "infinity", inftext, "utf8", "infinity", fell},
		{"date", "1970-01-01", inftext, "utf8", "1970-01-01", none},
		{"date", "1970-01-01", null, "date32", "1970-01-01", none},
		{"date", "0044-03-15 BC", inftext, "utf8", "0044-03-15 BC", none},
		{"time", "24:00:00", null, "time64[us]", "NULL", fell},
		{"time", "24:00:00", clamp, "time64[us]", "23:59:59.999999", clamped},
		{"time", "24:00:00", inftext, "utf8", "24:00:00", fell},
		{"timetz", "24:00:00-08", null, "struct<time: time64[us], offset: int32>", "NULL", fell},
		{"timetz", "24:00:00-08", clamp, "struct<time: time64[us], offset: int32>", "23:59:59.999999-08", clamped},
		{"timetz", "24:00:00-08", inftext, "utf8", "24:00:00-08", fell},
		{"timestamp", "-infinity", null, "timestamp[us]", "NULL", fell},
		{"timestamp", "-infinity", clamp, "timestamp[us]", "4714-11-24 00:00:00 BC", clamped},
		{"timestamp", "infinity", clamp, "timestamp[us]", "294247-01-10 04:00:54.775807", clamped},
		{"timestamp", "infinity", inftext, "utf8", "infinity", fell},
		{"timestamp", "294276-12-31 23:59:59.999999", clamp, "", "!later than 294247-01-10", none},
		{"timestamp", "294276-12-31 23:59:59.999999", null, "", "!later than 294247-01-10", none},
		{"timestamp", "294276-12-31 23:59:59.999999", inftext, "utf8", "294276-12-31 23:59:59.999999", none},
		{"timestamp", "294276-12-31 23:59:59.999999", col("text"), "utf8", "294276-12-31 23:59:59.999999", none},
		{"timestamptz", "infinity", null, "timestamp[us, tz=UTC]", "NULL", fell},
		{"interval", "infinity", null, "struct<months: int32, days: int32, microseconds: int64>", "NULL", fell},
		{"interval", "infinity", clamp, "struct<months: int32, days: int32, microseconds: int64>", "infinity", clamped},
		{"interval", "infinity", Options{Infinity: InfinityNull, Interval: IntervalDuration}, "duration[us]", "NULL", fell},
		{"interval", "-infinity", Options{Infinity: InfinityClamp, Interval: IntervalDuration}, "duration[us]", "us:-2562047788:00:54.775808", clamped},
		{"interval", "infinity", dur, "", "!Parquet has no such value", none},
		{"interval", "1 day", dur, "duration[us]", "us:24:00:00", none},
		{"interval", "1 mon", dur, "", "!1 months are no fixed duration", none},
		{"interval", "100:00:00", col("duration"), "duration[us]", "us:100:00:00", none},
		{"interval", "1 day", Options{Interval: IntervalDuration, Columns: map[string]string{"v": "struct"}}, "struct<months: int32, days: int32, microseconds: int64>", "1 day", none},
		{"interval", "1 day", inftext, "utf8", "1 day", none},
		{"daterange", "[2000-01-01,infinity]", null, "struct<lower: date32 nullable, upper: date32 nullable, lower_inc: bool, upper_inc: bool, empty: bool>", "[2000-01-01,]", fell},
		{"daterange", "[2000-01-01,infinity]", Options{Ranges: RangeText}, "utf8", "[2000-01-01,infinity]", none},
		{"daterange", "[2000-01-01,infinity]", inftext, "struct<lower: utf8 nullable, upper: utf8 nullable, lower_inc: bool, upper_inc: bool, empty: bool>", "[2000-01-01,infinity]", fell},
		{"datemultirange", "{[2000-01-01,2000-02-01)}", Options{Ranges: RangeText}, "utf8", "{[2000-01-01,2000-02-01)}", none},
		{"datemultirange", "{[2000-01-01,2000-02-01)}", Options{Ranges: RangeText, Columns: map[string]string{"v": "struct"}}, "list<element: struct<lower: date32 nullable, upper: date32 nullable, lower_inc: bool, upper_inc: bool, empty: bool>>", "{[2000-01-01,2000-02-01)}", none},
		{"int4range", "[1,5)", col("text"), "utf8", "[1,5)", none},

		{"numeric(10,2)", "NaN", Options{}, "", "!no decimal is that", none},
		{"numeric(10,2)", "NaN", Options{Nonfinite: NonfiniteNull}, "decimal(10, 2)", "NULL", nonfin},
		{"numeric(10,2)", "NaN", Options{Nonfinite: NonfiniteText}, "utf8", "NaN", nonfin},
		{"numeric(10,2)", "1.50", Options{Nonfinite: NonfiniteText}, "utf8", "1.50", none},
		{"numeric", "1.5", Options{Numeric: Numeric{NumericDecimal, 10, 2}, Nonfinite: NonfiniteText}, "utf8", "1.5", none},
		{"numeric(10,2)", "1.50", col("float64"), "double", "1.5", none},
		{"numeric(10,2)", "1.50", col("decimal(76,3)"), "decimal256(76, 3)", "1.500", none},
		{"numeric(10,2)", "99999999.99", col("decimal(9,2)"), "", "!more digits than decimal(9,2)", none},
		{"numeric(10,2)", "0.01", col("decimal(9,1)"), "", "!more than 1 decimals", none},
		{"numeric(10,2)", "1.50", col("decimal(9,1)"), "decimal(9, 1)", "1.5", none},
		{"numeric(10,2)", "NaN", col("float64"), "double", "NaN", none},
		{"numeric", huge, Options{}, "double", "0.1", inexact},
		{"numeric", huge, Options{Numeric: Numeric{Mode: NumericText}}, "utf8", huge, none},
		{"numeric", huge, Options{Numeric: Numeric{Mode: NumericStrict}}, "", "!no float64 whose shortest decimal is that number", none},
		{"numeric", huge, col("strict"), "", "!no float64 whose shortest decimal is that number", none},
		{"numeric", huge, Options{Numeric: Numeric{Mode: NumericStrict}, Columns: map[string]string{"v": "float64"}}, "double", "0.1", inexact},
		{"numeric", huge, Options{Numeric: Numeric{NumericDecimal, 76, 60}}, "decimal256(76, 60)", huge + strings.Repeat("0", 5), none},
		{"numeric", huge, Options{Numeric: Numeric{NumericDecimal, 20, 10}}, "", "!more than 10 decimals", none},
		{"numeric", "1.10", Options{Numeric: Numeric{Mode: NumericStrict}}, "double", "1.1", none},
		{"numeric", "NaN", Options{Numeric: Numeric{NumericDecimal, 20, 10}, Nonfinite: NonfiniteNull}, "decimal(20, 10)", "NULL", nonfin},
		{"numeric", "NaN", Options{Numeric: Numeric{NumericDecimal, 20, 10}, Nonfinite: NonfiniteText}, "utf8", "NaN", nonfin},
		{"numeric", "Infinity", Options{}, "double", "Infinity", none},
		{"numeric", "Infinity", Options{Numeric: Numeric{Mode: NumericText}}, "utf8", "Infinity", none},
		{"numeric(77,5)", "NaN", Options{}, "utf8", "NaN", none},
		{"numeric[]", "{1.5,NULL,NaN}", col("decimal(10,2)"), "", "!no decimal is that", none},
		{"numeric[]", "{1.5,NULL,NaN}", Options{Nonfinite: NonfiniteNull, Columns: map[string]string{"v": "decimal(10,2)"}}, "list<element: decimal(10, 2), nullable>", "{1.50,NULL,NULL}", nonfin},
		{"int8", "9223372036854775807", col("float64"), "double", "9223372036854775807", inexact},
		{"int8", "9223372036854775807", col("strict"), "", "!no float64 whose shortest decimal is that number", none},
		{"int8", "-1", col("decimal(3,2)"), "decimal(3, 2)", "-1.00", none},
		{"int2", "32767", col("decimal(4,0)"), "", "!more digits", none},
		{"int4", "2147483647", col("text"), "utf8", "2147483647", none},

		{"char(5)", "ab   ", Options{}, "utf8", "ab   ", none},
		{"char(5)", "ab   ", Options{TrimBpchar: true}, "utf8", "ab", none},
		{"text", "trail ", Options{TrimBpchar: true}, "utf8", "trail ", none},
		{"text", "grüße", Options{InvalidUTF8: InvalidUTF8Binary}, "binary", "grüße", none},
		{"jsonb", "{}", Options{InvalidUTF8: InvalidUTF8Binary}, "binary", "{}", none},
		{"bool", "t", col("text"), "utf8", "t", none},
		{"inet", "10.1.2.3", col("text"), "utf8", "10.1.2.3", none},
		{"int4[]", "{{1,2},{3,4}}", col("text"), "utf8", "{{1,2},{3,4}}", none},
		{"int4[]", "[2:3]={1,2}", col("text"), "utf8", "[2:3]={1,2}", none},
		{"deep", "(,,,)", col("text"), "utf8", "(,,,)", none},
		{"mood", "NULL", col("text"), "utf8", "NULL", none},

		{"interval", "1 day", Options{TypeMap: DDPP}, "duration[us]", "us:24:00:00", none},
		{"numeric(10,2)", "1.50", Options{TypeMap: DDPP}, "double", "1.5", none},
		{"numeric", huge, Options{TypeMap: DDPP}, "double", "0.1", inexact},
		{"uuid", "00000000-0000-0000-0000-000000000000", Options{TypeMap: DDPP}, "utf8", "00000000-0000-0000-0000-000000000000", none},
		{"int4[]", "{1,NULL,-3}", Options{TypeMap: DDPP}, "utf8", "{1,NULL,-3}", none},
		{"jsonb", "{}", Options{TypeMap: DDPP}, "utf8", "{}", none},
		{"bytea", `\x00`, Options{TypeMap: DDPP}, "utf8", `\x00`, none},
		{"time", "12:34:56", Options{TypeMap: DDPP}, "utf8", "12:34:56", none},
		{"mood", "sad", Options{TypeMap: DDPP}, "utf8", "sad", none},
		{"numeric(10,2)", "1.50", Options{TypeMap: DDPP, Columns: map[string]string{"v": "decimal(10,2)"}}, "decimal(10, 2)", "1.50", none},
		{"numeric[]", "{1.5,NULL,NaN}", Options{TypeMap: DDPP, Nonfinite: NonfiniteNull, Columns: map[string]string{"v": "decimal(10,2)"}}, "list<element: decimal(10, 2), nullable>", "{1.50,NULL,NULL}", nonfin},
	} {
		got := outcomeOf(t, cat, find(tt.typ, tt.text), tt.opt)
		name := tt.typ + " " + tt.text
		if reason, ok := strings.CutPrefix(tt.want, "!"); ok {
			if !strings.Contains(got.err, reason) {
				t.Errorf("%s under %+v: %s, want the error %q", name, tt.opt, got, reason)
			}
			continue
		}
		if tt.arrow == "double" {
			tt.arrow = "float64"
		}
		if tt.typ == "int8" && tt.arrow == "float64" {
			tt.want = "9223372036854776000" // the nearest float64, shortest
		}
		if got.err != "" || got.arrow != tt.arrow || got.text != tt.want || got.counts != tt.counts {
			t.Errorf("%s under %+v: %s %+v, want %s %s %+v", name, tt.opt, got, got.counts, tt.arrow, tt.want, tt.counts)
		}
		// Whatever is counted is an error when strict.
		if tt.counts != none {
			tt.opt.Strict = true
			if got := outcomeOf(t, cat, find(tt.typ, tt.text), tt.opt); got.err == "" {
				t.Errorf("%s under %+v: strict gives %s", name, tt.opt, got)
			}
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	t.Parallel()
	cols := []Column{{Name: "n", OID: oidInt4, Typmod: -1}, {Name: "s", OID: oidText, Typmod: -1}, {Name: "l", OID: arrayOIDs["text"], Typmod: -1}, {Name: "c", OID: 18, Typmod: -1}}
	bad := "a\xff\xfeb"
	long := strings.Repeat("ä", 20) + bad
	for _, tr := range []Transport{CSV, Binary} {
		stream := func(s, l string) []byte {
			if tr == CSV {
				return []byte("1," + s + ",{" + l + "}," + "\x80" + "\n")
			}
			return binaryStream([][]byte{{0, 0, 0, 1}, []byte(s), binaryArray(oidText, []byte(l)), {0x80}})
		}
		decode := func(opt Options, s, l string) (*Plan, []*column.Batch, error) {
			p, err := NewPlan(builtin(t), cols, opt, tr)
			if err != nil {
				t.Fatal(err)
			}
			b, err := collect(p, DecoderOptions{}, stream(s, l), nil)
			return p, b, err
		}
		for _, tt := range []struct{ s, l, column, at string }{{bad, "x", "s", "byte 1"}, {long, "x", "s", "byte 41"}, {"x", bad, "l", "byte 1"}} {
			_, _, err := decode(Options{}, tt.s, tt.l)
			var ve *ValueError
			if !errors.As(err, &ve) || ve.Column != tt.column || !strings.Contains(ve.Reason, "not UTF-8 from "+tt.at) || ve.Hint == "" || ve.Value == "" {
				t.Errorf("%s: %v", tr, err)
			}
		}
		p, b, err := decode(Options{InvalidUTF8: InvalidUTF8Replace}, bad, bad)
		if err != nil {
			t.Fatal(err)
		}
		r := newUnbatch(p, b[0]).rows()[0]
		if got := pgText(p.nodes[1], r[1]); got != "a\uFFFDb" || pgText(p.nodes[2], r[2]) != "{a\uFFFDb}" || b[0].Counts[1].Replaced != 1 || b[0].Counts[2].Replaced != 1 || b[0].Counts[0].Replaced != 0 {
			t.Errorf("%s: replaced as %q, %+v", tr, got, b[0].Counts)
		}
		if got := pgText(p.nodes[3], r[3]); got != `\200` {
			t.Errorf("%s: a high \"char\" is %q", tr, got)
		}
		if _, _, err := decode(Options{InvalidUTF8: InvalidUTF8Replace, Strict: true}, bad, "x"); err == nil {
			t.Errorf("%s: strict replaces", tr)
		}
		p, b, err = decode(Options{InvalidUTF8: InvalidUTF8Binary}, long, bad)
		if err != nil {
			t.Fatal(err)
		}
		r = newUnbatch(p, b[0]).rows()[0]
		if string(r[1].data) != long || string(r[2].list[0].data) != bad || p.Schema.Field(1).Type != arrow.BinaryTypes.Binary || b[0].Counts[1] != (column.Counts{}) {
			t.Errorf("%s: as binary %q, %s", tr, r[1].data, p.Schema.Field(1).Type)
		}
	}
}

// TestNaNPatterns: both transports have one NaN, whatever the server's processor made.
func TestNaNPatterns(t *testing.T) {
	t.Parallel()
	arr := binaryArray(oidFloat8, []byte{0xFF, 0xF8, 0, 0, 0, 0, 0, 9}, []byte{0x7F, 0xF0, 0, 0, 0, 0, 0, 0})
	row := [][]byte{{0x7F, 0xF8, 0, 0, 0, 0, 0, 1}, {0xFF, 0xC0, 0, 1}, arr, {0xFF, 0xF0, 0, 0, 0, 0, 0, 0}, {0x7F, 0x80, 0, 0}, append([]byte{0x7F, 0xF0, 0, 0, 0, 0, 0, 1}, make([]byte, 8)...)}
	cols := []Column{
		{Name: "a", OID: oidFloat8, Typmod: -1},
		{Name: "b", OID: oidFloat4, Typmod: -1},
		{Name: "c", OID: arrayOIDs["float8"], Typmod: -1},
		{Name: "d", OID: oidFloat8, Typmod: -1},
		{Name: "e", OID: oidFloat4, Typmod: -1},
		{Name: "f", OID: 600, Typmod: -1},
	}
	var all [2][]*column.Batch
	var p *Plan
	for tr, data := range [][]byte{[]byte("NaN,NaN,\"{NaN,Infinity}\",-Infinity,Infinity,\"(NaN,0)\"\n"), binaryStream(row)} {
		var err error
		if p, err = NewPlan(builtin(t), cols, Options{}, Transport(tr)); err != nil {
			t.Fatal(err)
		}
		if all[tr], err = collect(p, DecoderOptions{}, data, nil); err != nil {
			t.Fatal(err)
		}
	}
	sameBatches(t, p, all[Binary], all[CSV])
	if got := le.Uint64(all[Binary][0].Leaves[0].Data); got != 0x7FF8000000000000 {
		t.Errorf("NaN is %x", got)
	}
	if got := le.Uint32(all[Binary][0].Leaves[1].Data); got != 0x7FC00000 {
		t.Errorf("NaN is %x", got)
	}
}

// TestOddRanges: a bound that is not there is never included, and an empty range has none, whatever the flags say.
func TestOddRanges(t *testing.T) {
	t.Parallel()
	_, cat := readValues(t)
	var oid uint32
	for o, r := range cat.types {
		if r.Name == "int4range" {
			oid = o
		}
	}
	p, err := NewPlan(cat, []Column{{Name: "v", OID: oid, Typmod: -1}}, Options{}, Binary)
	if err != nil {
		t.Fatal(err)
	}
	for flags, want := range map[byte]string{
		rangeLowerInc | rangeUpperInc | rangeLowerInf | rangeUpperInf: "(,)",
		rangeEmpty | rangeLowerInc | rangeUpperInc:                    "empty",
	} {
		b, err := collect(p, DecoderOptions{}, binaryStream([][]byte{{flags}}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := pgText(p.nodes[0], newUnbatch(p, b[0]).rows()[0][0]); got != want {
			t.Errorf("flags %#x: got %s, want %s", flags, got, want)
		}
	}
	if _, err := collect(p, DecoderOptions{}, binaryStream([][]byte{{0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}}), nil); err == nil {
		t.Error("a NULL bound is no error")
	}
}

// TestNullsByOption: a NOT NULL column in which an option can make NULLs is no required field.
func TestNullsByOption(t *testing.T) {
	t.Parallel()
	for _, oid := range []uint32{oidDate, oidTimestamp, oidTime, oidTimetz, oidInterval, oidNumeric} {
		col := Column{Name: "v", OID: oid, Typmod: -1, NotNull: true}
		text := map[uint32]string{oidTime: "24:00:00", oidTimetz: "24:00:00+00", oidNumeric: "NaN"}[oid]
		if text == "" {
			text = "infinity"
		}
		if oid == oidNumeric {
			col.Typmod = 10<<16 | 2 + 4
		}
		p, err := NewPlan(builtin(t), []Column{col}, Options{Infinity: InfinityNull, Nonfinite: NonfiniteNull}, CSV)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Schema.Field(0).Nullable {
			t.Errorf("%s: required", p.Columns[0].Postgres)
		}
		b, err := collect(p, DecoderOptions{}, csvOf(text), nil)
		if err != nil || !newUnbatch(p, b[0]).rows()[0][0].null {
			t.Errorf("%s: %v", p.Columns[0].Postgres, err)
		}
		if _, err := collect(p, DecoderOptions{}, csvOf(""), nil); err == nil {
			t.Errorf("%s: a NULL that the catalog rules out is no error", p.Columns[0].Postgres)
		}
	}
}

// TestWithoutSend: a type whose binary form the server cannot send travels as text, and what holds it, too.
func TestWithoutSend(t *testing.T) {
	t.Parallel()
	row := func(oid uint32, name string, elem uint32) CatalogRow {
		return CatalogRow{OID: oid, Name: name, Schema: "public", Display: name, Kind: "b", Elem: elem, Len: -1, Typmod: -1, Delim: ",", HasSend: elem != 0, Output: "public.out", Extension: "ltree", ExtVersion: "1.1"}
	}
	cat := builtin(t, row(90001, "ltree", 0), row(90002, "_ltree", 90001))
	for _, oid := range []uint32{90001, 90002} {
		p, err := NewPlan(cat, []Column{{Name: "v", OID: oid, Typmod: -1}}, Options{}, Binary)
		if err != nil || !p.Columns[0].AsText {
			t.Errorf("OID %d: %+v, %v", oid, p.Columns, err)
		}
		if p, err = NewPlan(cat, []Column{{Name: "v", OID: oid, Typmod: -1}}, Options{}, CSV); err != nil || p.Columns[0].AsText {
			t.Errorf("OID %d by CSV: %+v, %v", oid, p.Columns, err)
		}
	}
}

func TestParsers(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "decimal", "decimal()", "decimal(0,0)", "decimal(77,0)", "decimal(5,6)", "decimal(5,-1)", "decimal(5,2", "decimal(5;2)", "float32", "decimal(5,2,1)", "decimal(99999999999999999999)"} {
		if _, err := ParseNumeric(s); err == nil {
			t.Errorf("ParseNumeric takes %q", s)
		}
		if CheckColumnType(s) == nil {
			t.Errorf("CheckColumnType takes %q", s)
		}
	}
	for _, s := range []string{"text", "float64", "strict", "decimal(1,1)", "decimal( 76 , 76 )", "decimal(9)"} {
		if _, err := ParseNumeric(s); err != nil {
			t.Errorf("ParseNumeric: %v", err)
		}
		if err := CheckColumnType(s); err != nil {
			t.Errorf("CheckColumnType: %v", err)
		}
	}
	for name, parse := range map[string]func(string) error{
		"error, null, text":          func(s string) error { _, err := ParseNonfinite(s); return err },
		"error, null, clamp, text":   func(s string) error { _, err := ParseInfinity(s); return err },
		"error, replace, binary":     func(s string) error { _, err := ParseInvalidUTF8(s); return err },
		"struct, duration":           func(s string) error { _, err := ParseInterval(s); return err },
		"struct, text":               func(s string) error { _, err := ParseRanges(s); return err },
		"exact, ddpp":                func(s string) error { _, err := ParseTypeMap(s); return err },
		"float64, strict, text, dec": func(s string) error { _, err := ParseNumeric(s); return err },
	} {
		for _, word := range strings.Split(name, ", ") {
			if word != "dec" {
				if err := parse(word); err != nil {
					t.Error(err)
				}
			}
		}
		if err := parse("x"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error names no choices: %v", err)
		}
	}
}

func TestPlanErrors(t *testing.T) {
	t.Parallel()
	cat := builtin(t)
	plan := func(cols []Column, opt Options) error {
		_, err := NewPlan(cat, cols, opt, Binary)
		return err
	}
	one := func(oid uint32) []Column { return []Column{{Name: "v", OID: oid, Typmod: -1}} }
	var ue *UnsupportedError
	if err := plan(one(4711), Options{}); !errors.As(err, &ue) || !strings.Contains(err.Error(), "OID 4711") {
		t.Errorf("an unknown OID: %v", err)
	}
	for _, tt := range []struct {
		oid    uint32
		choice string
		hint   string
	}{
		{oidText, "float64", "allowed are text"},
		{oidText, "struct", "allowed are text"},
		{oidNumeric, "struct", "allowed are text, float64, strict, decimal(p,s)"},
		{oidInterval, "decimal(5,2)", "allowed are text, struct, duration"},
		{arrayOIDs["int4"], "duration", "allowed are text, float64, strict, decimal(p,s)"},
		{oidFloat8, "decimal(5,2)", "allowed are text"},
	} {
		err := plan(one(tt.oid), Options{Columns: map[string]string{"v": tt.choice}})
		if !errors.As(err, &ue) || ue.Hint != tt.hint || !strings.Contains(ue.Reason, tt.choice) {
			t.Errorf("OID %d as %s: %v, hint %q", tt.oid, tt.choice, err, ue.Hint)
		}
	}
	if err := plan(one(oidText), Options{Columns: map[string]string{"w": "text"}}); err == nil || !strings.Contains(err.Error(), `"w"`) {
		t.Errorf("a column that is not there: %v", err)
	}
	if err := plan(one(oidText), Options{Columns: map[string]string{"v": "int9"}}); err == nil || !strings.Contains(err.Error(), "float64, strict, decimal(p,s)") {
		t.Errorf("a type that is none: %v", err)
	}
	if _, err := NewCatalog([]CatalogRow{{OID: 5}, {OID: 5}}); err == nil {
		t.Error("one OID twice is no error")
	}
	if _, err := NewCatalog([]CatalogRow{{OID: 5, FieldNames: []string{"a"}}}); err == nil {
		t.Error("fields without types are no error")
	}
	// An array whose element type is missing, and types that contain themselves.
	broken, err := NewCatalog([]CatalogRow{
		{OID: 1, Display: "a", Kind: "b", Elem: 99, HasSend: true},
		{OID: 2, Display: "d", Kind: "d", Base: 2},
		{OID: 3, Display: "l", Kind: "b", Elem: 3, Delim: ",", HasSend: true},
		{OID: 4, Display: "c", Kind: "c", HasSend: true, FieldNames: []string{"x"}, FieldTypes: []uint32{4}, FieldTypmods: []int32{-1}, FieldDims: []int32{0}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPlan(broken, one(1), Options{}, Binary); !errors.As(err, &ue) {
		t.Errorf("an array of nothing: %v", err)
	}
	for oid := uint32(2); oid <= 4; oid++ {
		if p, err := NewPlan(broken, one(oid), Options{}, Binary); err != nil || !strings.Contains(p.Columns[0].Note, "nested more than") && oid > 2 {
			t.Errorf("a type that contains itself: %v", err)
		}
	}
}

func TestPlanMetadata(t *testing.T) {
	t.Parallel()
	cat := builtin(t, postgis()...)
	p, err := NewPlan(cat, []Column{
		{Name: "a", OID: oidNumeric, Typmod: 10<<16 | 2 + 4, Comment: "what it is"},
		{Name: "b.c", OID: oidText, Typmod: -1},
		{Name: "g", OID: oidGeometry, Typmod: 4326<<8 | 1<<2},
		{Name: "x", OID: 142, Typmod: -1},
		{Name: "r", OID: 2205, Typmod: -1},
		{Name: "m", OID: arrayOIDs["int4"], Typmod: -1, Dims: 2},
	}, Options{}, Binary)
	if err != nil {
		t.Fatal(err)
	}
	f := p.Schema.Field(0)
	if v, _ := f.Metadata.GetValue(MetaType); v != "numeric(10,2)" {
		t.Errorf("type %q", v)
	}
	if v, _ := f.Metadata.GetValue(MetaTypmod); v != "655366" {
		t.Errorf("typmod %q", v)
	}
	if v, _ := f.Metadata.GetValue(MetaComment); v != "what it is" {
		t.Errorf("comment %q", v)
	}
	if p.Schema.Field(1).Metadata.Len() != 1 || p.Leaves[1].Path != "b.c" {
		t.Errorf("field %v, leaf %s", p.Schema.Field(1), p.Leaves[1].Path)
	}
	if got := p.Columns[2].Postgres; got != "geometry(Point,4326)" {
		t.Errorf("shown as %s", got)
	}
	for i, want := range []string{`"a"`, `"b.c"`, `"g"`, `pg_catalog.textin(pg_catalog.xmlout("x"))`, `"r"::pg_catalog.text`, `"m"::pg_catalog.text`} {
		if i == 3 {
			cat.types[142].HasTextCast = true
			if p, err = NewPlan(cat, []Column{{}, {}, {}, {Name: "x", OID: 142, Typmod: -1}}[3:], Options{}, Binary); err != nil {
				t.Fatal(err)
			}
			if got := p.SelectExpr(0, `"x"`); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			cat.types[142].HasTextCast = false
			if p, err = NewPlan(cat, []Column{{Name: "r", OID: 2205, Typmod: -1}, {Name: "m", OID: arrayOIDs["int4"], Typmod: -1, Dims: 2}}, Options{}, Binary); err != nil {
				t.Fatal(err)
			}
			continue
		}
		at := i
		if i > 3 {
			at = i - 4
		}
		if got := p.SelectExpr(at, want[:strings.IndexByte(want[1:], '"')+2]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// pgvector is no part of any package here: these are the text and binary forms that its documentation and its send
// functions define.
func TestPgvector(t *testing.T) {
	t.Parallel()
	row := func(oid uint32, name string) CatalogRow {
		return CatalogRow{OID: oid, Name: name, Schema: "public", Display: name, Kind: "b", Len: -1, Typmod: -1, Delim: ",", HasSend: true, Output: "public.out", Extension: "vector", ExtVersion: "0.8.1"}
	}
	arr := CatalogRow{OID: 90011, Name: "_vector", Schema: "public", Display: "vector[]", Kind: "b", Elem: 90001, Typmod: -1, Delim: ",", HasSend: true}
	cat := builtin(t, row(90001, "vector"), row(90002, "halfvec"), row(90003, "sparsevec"), arr)
	f32 := func(head []byte, fs ...float32) []byte {
		for _, f := range fs {
			head = be.AppendUint32(head, math.Float32bits(f))
		}
		return head
	}
	sparse := func(dims, nnz uint32, rest ...uint32) []byte {
		out := be.AppendUint32(be.AppendUint32(be.AppendUint32(nil, dims), nnz), 0)
		for _, x := range rest {
			out = be.AppendUint32(out, x)
		}
		return out
	}
	for _, tt := range []struct {
		oid    uint32
		typmod int32
		arrow  string
		text   string
		bin    []byte
	}{
		{90001, 3, "fixed_size_list<element: float32>[3]", "[1,2.5,-3e-20]", f32([]byte{0, 3, 0, 0}, 1, 2.5, -3e-20)},
		{90001, -1, "list<element: float32>", "[0.1]", f32([]byte{0, 1, 0, 0}, 0.1)},
		{90002, 2, "fixed_size_list<element: float32>[2]", "[0.5,65504]", []byte{0, 2, 0, 0, 0x38, 0, 0x7B, 0xFF}},
		{90002, -1, "list<element: float32>", "[5.9604645e-08,-0,0.00006097555,-1.5]", []byte{0, 4, 0, 0, 0, 1, 0x80, 0, 3, 0xFF, 0xBE, 0}},
		{90003, 5, "struct<dimensions: int32, indices: list<element: int32>, values: list<element: float32>>", "{1:1.5,5:-2}/5", sparse(5, 2, 0, 4, math.Float32bits(1.5), math.Float32bits(-2))},
		{90003, -1, "struct<dimensions: int32, indices: list<element: int32>, values: list<element: float32>>", "{}/1000", sparse(1000, 0)},
		{90011, -1, "list<element: list<element: float32>, nullable>", `{"[1,2]",NULL,[3]}`, binaryArray(90001, f32([]byte{0, 2, 0, 0}, 1, 2), nil, f32([]byte{0, 1, 0, 0}, 3))},
	} {
		v := recordedValue{typ: tt.arrow, oid: tt.oid, typmod: tt.typmod, text: tt.text, binary: tt.bin}
		plans, batches, errs := decodeValue(t, cat, &v, Options{})
		if errs[0] != nil || errs[1] != nil {
			t.Errorf("%s: %v, %v", tt.text, errs[0], errs[1])
			continue
		}
		sameBatches(t, plans[0], batches[0], batches[1])
		r := newUnbatch(plans[1], batches[1][0]).rows()
		want := tt.text
		if strings.Contains(want, "0.00006097555") {
			want = "[5.9604645e-08,-0,6.097555e-05,-1.5]"
		}
		if got := pgText(plans[1].nodes[0], r[0][0]); got != want || !r[1][0].null {
			t.Errorf("%s: got %s", want, got)
		}
		if got := plans[0].Schema.Field(0).Type.String(); got != tt.arrow {
			t.Errorf("%s: Arrow type %s, want %s", tt.text, got, tt.arrow)
		}
		for n := range tt.bin {
			v.binary = tt.bin[:n]
			if _, _, errs := decodeValue(t, cat, &v, Options{}); errs[1] == nil {
				t.Errorf("%s cut at byte %d is no error", tt.text, n)
			}
		}
	}
	for _, tt := range []struct {
		oid    uint32
		typmod int32
		text   string
		bin    []byte
	}{
		{90001, 3, "[1,2]", f32([]byte{0, 2, 0, 0}, 1, 2)},
		{90001, -1, "1,2", f32([]byte{0, 3, 0, 0}, 1, 2)},
		{90003, -1, "{0:1}/3", sparse(3, 9, 0)},
		{90003, -1, "{1:1}", sparse(3, 0xFFFFFFFF)},
	} {
		v := recordedValue{oid: tt.oid, typmod: tt.typmod, text: tt.text, binary: tt.bin}
		if _, _, errs := decodeValue(t, cat, &v, Options{}); errs[0] == nil || errs[1] == nil {
			t.Errorf("%s: %v, %v", tt.text, errs[0], errs[1])
		}
	}
	// A version of the extension that nobody here knows travels as text.
	next := row(90001, "vector")
	next.ExtVersion = "1.0"
	p, err := NewPlan(builtin(t, next), []Column{{Name: "v", OID: 90001, Typmod: -1}}, Options{}, Binary)
	if err != nil || !p.Columns[0].AsText || p.Schema.Field(0).Type.String() != "list<element: float32>" {
		t.Errorf("an unknown version: %+v, %v", p.Columns, err)
	}
}

// TestMoney reads amounts as servers of several locales print them.
func TestMoney(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text   string
		digits int
		want   string
	}{
		{"$1,234.56", 2, "1234.56"},
		{"-$1,234.56", 2, "-1234.56"},
		{"($1,234.56)", 2, "-1234.56"},
		{"1.234,56 €", 2, "1234.56"},
		{"-1.234,56 €", 2, "-1234.56"},
		{"−1 234,56 kr", 2, "-1234.56"},
		{"￥1,235", 0, "1235"},
		{"-￥1,235", 0, "-1235"},
		{"KWD 1,234.567", 3, "1234.567"},
		{"$0.00", 2, "0.00"},
		{"-$92,233,720,368,547,758.08", 2, "-92233720368547758.08"},
		{"$92,233,720,368,547,758.07", 2, "92233720368547758.07"},
		{"CHF-1'234.50", 2, "-1234.50"},
		{"$92,233,720,368,547,758.08", 2, "!"},
		{"$", 2, "!"},
		{"12", 2, "!"},
		{"", 2, "!"},
		{"$99999999999999999999999999999999", 2, "!"},
	} {
		row := CatalogRow{OID: 790, Name: "money", Display: "money", Kind: "b", Delim: ",", HasSend: true, MoneyDigits: int32(tt.digits)}
		cat, err := NewCatalog([]CatalogRow{row})
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(cat, []Column{{Name: "v", OID: 790, Typmod: -1}}, Options{}, CSV)
		if err != nil {
			t.Fatal(err)
		}
		b, err := collect(p, DecoderOptions{}, []byte(csvField(tt.text)+"\n"), nil)
		if tt.want == "!" {
			if err == nil {
				t.Errorf("%s is taken for money", tt.text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if got := fixedPoint(bigInt(newUnbatch(p, b[0]).rows()[0][0].data), tt.digits); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestTypeFlags(t *testing.T) {
	t.Parallel()
	if got := (&NoColumnError{Names: []string{`"x"`}, Have: []string{"a", "B c"}}).Error(); !strings.HasSuffix(got, `it has a, "B c"`) {
		t.Error(got)
	}
	for _, tt := range []struct{ name, kind, want string }{
		{"a", "text", `--type a=text`},
		{"a_1", "decimal(p,s)", `--type 'a_1=decimal(p,s)'`},
		{"A", "text", `--type '"A"=text'`},
		{"a=b", "struct", `--type '"a=b"=struct'`},
		{`it's "b"`, "text", `--type '"it'\''s ""b"""=text'`},
		{"COLUMN", "text", `--type '"COLUMN"=text'`},
		{"ü", "text", `--type '"ü"=text'`},
		{"1a", "text", `--type '"1a"=text'`},
		{"", "text", `--type '""=text'`},
	} {
		if got := typeFlag(tt.name, tt.kind); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.name, got, tt.want)
		}
		if got := ownHint("x --type COLUMN="+tt.kind+" y", tt.name); got != "x "+tt.want+" y" {
			t.Errorf("%q: the hint is %s", tt.name, got)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	p, err := NewPlan(builtin(t), []Column{{Name: `we"ird`, OID: oidTimestamp, Typmod: 3}}, Options{}, Binary)
	if err != nil {
		t.Fatal(err)
	}
	_, err = collect(p, DecoderOptions{}, binaryStream([][]byte{{0, 0, 0, 0, 0, 0, 0, 0}}, [][]byte{be.AppendUint64(nil, math.MaxInt64)}), nil)
	if err == nil || err.Error() != `column "we\"ird" (timestamp(3)), row 2: infinity: Parquet has no such value` {
		t.Errorf("got %v", err)
	}
	var ve *ValueError
	if !errors.As(err, &ve) || ve.Hint != `--infinity null|clamp|text says what to write instead, --type '"we""ird"=text' keeps one column's text` {
		t.Errorf("hint %q", ve.Hint)
	}
	for _, tt := range []struct {
		v    string
		text bool
		want string
	}{
		{"a\nb", true, `"a\nb"`},
		{"\xff", true, `\xff`},
		{"ab", false, `\x6162`},
		{strings.Repeat("x", 100), true, `"` + strings.Repeat("x", 80) + `"… (100 bytes)`},
		{strings.Repeat("ä", 45), true, `"` + strings.Repeat("ä", 40) + `"… (90 bytes)`},
		{"x" + strings.Repeat("ä", 45), true, `"x` + strings.Repeat("ä", 39) + `"… (91 bytes)`},
	} {
		if got := excerpt([]byte(tt.v), tt.text); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
