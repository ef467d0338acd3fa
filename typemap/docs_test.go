package typemap

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// forms says how each kind looks on the wire: in CSV, and in binary where we read it so.
var forms = map[kind][2]string{
	kBool:       {"`t` or `f`", "1 byte"},
	kInt16:      {"decimal", "2 bytes"},
	kInt32:      {"decimal", "4 bytes"},
	kInt64:      {"decimal", "8 bytes"},
	kUint32:     {"decimal", "4 bytes"},
	kUint64:     {"decimal", "8 bytes"},
	kFloat32:    {"shortest decimal", "IEEE 754, 4 bytes"},
	kFloat64:    {"shortest decimal", "IEEE 754, 8 bytes"},
	kText:       {"the text", "the text"},
	kBytes:      {"`\\x` and hexadecimal", "the bytes"},
	kDate:       {"ISO", "days, 4 bytes"},
	kTime:       {"ISO", "microseconds, 8 bytes"},
	kStamp:      {"ISO", "microseconds, 8 bytes"},
	kStampTZ:    {"ISO with offset", "microseconds, 8 bytes"},
	kNumFloat:   {"decimal", "digits of base 10,000"},
	kNumDecimal: {"decimal", "digits of base 10,000"},
	kNumText:    {"the text", "digits of base 10,000"},
	kMoney:      {"by lc_monetary", "8 bytes"},
	kTextTrim:   {"the text", "the text"},
	kChar:       {"the byte", "1 byte"},
	kVersioned:  {"the text", "version 1, the text"},
	kUUID:       {"hexadecimal", "16 bytes"},
	kBit:        {"`0` and `1`", "length, bits"},
	kInet:       {"the text", "family, mask, address"},
	kCidr:       {"the text", "family, mask, address"},
	kMAC:        {"the text", "the bytes"},
	kLSN:        {"the text", "8 bytes"},
	kTID:        {"the text", "block and offset, 6 bytes"},
	kGeo:        {"EWKB in hexadecimal", "EWKB"},
	kStruct:     {"`(…)`", "count; OID, length, value of each field"},
	kList:       {"`{…}`", "dimensions, element OID; length and value of each"},
	kVector:     {"numbers with blanks between", "as an array"},
	kMap:        {"`\"k\"=>\"v\"`", "count; length and bytes of keys and values"},
	kRange:      {"`[a,b)`", "flags, bounds"},
	kMultirange: {"`{[a,b)}`", "count, ranges"},
	kInterval:   {"IntervalStyle postgres", "microseconds, days, months"},
	kTimetz:     {"ISO with offset", "microseconds, seconds west"},
	kFloats:     {"numbers in brackets", "8 bytes each"},
	kPath:       {"`((x,y),…)` or `[(x,y),…]`", "closed, count, points"},
	kPolygon:    {"`((x,y),…)`", "count, points"},
	kFloatList:  {"`[…]`", "count, 4 bytes each"},
	kHalfList:   {"`[…]`", "count, 2 bytes each"},
	kSparse:     {"`{i:v,…}/n`", "sizes, indices, values"},
}

// cell makes text fit a Markdown table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// typesDoc writes docs/types.md from the table and from plans over it.
func typesDoc(t testing.TB) string {
	var b strings.Builder
	next := uint32(80000)
	oids := map[string]uint32{}
	var rows []CatalogRow
	add := func(r CatalogRow) uint32 {
		next++
		r.OID, r.Schema, r.Typmod, r.Delim, r.HasSend, r.Output = next, "public", -1, ",", true, "public.out"
		if r.Name == "" {
			r.Name = r.Display
		}
		rows = append(rows, r)
		oids[r.Display] = next
		return next
	}
	for _, r := range typeTable {
		if r.oid == 0 {
			add(CatalogRow{Display: r.name, Kind: "b", Extension: r.ext, ExtVersion: r.known})
		}
	}
	domain := add(CatalogRow{Display: "a domain over date", Kind: "d", Base: oidDate})
	enum := add(CatalogRow{Display: "an enum", Kind: "e"})
	comp := add(CatalogRow{
		Display: "a composite type (id integer, tags text[])", Kind: "c", FieldNames: []string{"id", "tags"}, FieldTypes: []uint32{oidInt4, arrayOIDs["text"]},
		FieldTypmods: []int32{-1, -1}, FieldDims: []int32{0, 1},
	})
	empty := add(CatalogRow{Display: "a composite type without fields", Kind: "c"})
	rng := add(CatalogRow{Display: "a range of date", Kind: "r", Subtype: oidDate})
	multi := add(CatalogRow{Display: "a multirange of date", Kind: "m", Range: rng})
	record := add(CatalogRow{Display: "record and other pseudo-types", Kind: "p"})
	other := add(CatalogRow{Display: "any other type", Kind: "b"})
	cat := builtin(t, rows...)

	planOf := func(oid uint32, typmod int32, dims int, opt Options, choice string) (*Plan, *Plan) {
		var out [2]*Plan
		for i, tr := range []Transport{CSV, Binary} {
			if choice != "" {
				opt.Columns = map[string]string{"c": choice}
			}
			p, err := NewPlan(cat, []Column{{Name: "c", OID: oid, Typmod: typmod, Dims: dims}}, opt, tr)
			if err != nil {
				t.Fatalf("OID %d: %v", oid, err)
			}
			out[i] = p
		}
		return out[0], out[1]
	}
	line := func(name string, oid uint32, typmod int32, dims int, lost, opts string) {
		_, p := planOf(oid, typmod, dims, Options{}, "")
		c, n := p.Columns[0], p.nodes[0]
		form, ok := forms[n.kind]
		if !ok {
			t.Fatalf("%s: kind %d has no description", name, n.kind)
		}
		if c.AsText {
			form[1] = "as text"
		}
		note := c.Note
		if note != "" && lost != "" {
			lost = note + "; " + lost
		} else if note != "" {
			lost = note
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", cell(name), cell(c.Arrow), cell(c.Parquet), form[0], form[1], cell(lost), cell(opts))
	}

	b.WriteString(`# Types

<!-- Written by go generate ./typemap from the table in typemap/table.go. Do not edit. -->

What each Postgres type becomes. Both transports give the same file. What a type in the file cannot say stops the export with table,
column, row and value, or follows an option, and is then counted in the summary and the report. A column that is NOT NULL becomes a required
field where that is certain; all others are nullable. Every field carries the Postgres type and typmod in its metadata, and the column's
comment under "description".

| Postgres | Arrow | Parquet | CSV | binary | what it cannot say, and what then | options |
|---|---|---|---|---|---|---|
`)
	variants := map[string][]struct {
		name   string
		typmod int32
	}{
		"numeric": {{"numeric(10,2)", 10<<16 | 2 + 4}, {"numeric(50,2)", 50<<16 | 2 + 4}, {"numeric(5,-3)", 5<<16 | (-3&0x7FF + 4)}, {"numeric(2,5)", 2<<16 | 5 + 4}, {"numeric(100,2)", 100<<16 | 2 + 4}},
		"vector":  {{"vector(3)", 3}},
		"halfvec": {{"halfvec(3)", 3}},
	}
	for _, r := range typeTable {
		oid := r.oid
		if oid == 0 {
			oid = oids[r.name]
		}
		name := cat.types[oid].Name
		if r.name == "char" {
			name = `"char"`
		}
		if r.ext != "" && r.ext != r.name {
			name += " (" + r.ext + ")"
		}
		line(name, oid, -1, 0, r.lost, r.opts)
		for _, v := range variants[r.name] {
			line(v.name, oid, v.typmod, 0, "", "")
		}
	}
	b.WriteString("\nTypes that are made of others, by rule:\n\n| Postgres | Arrow | Parquet | CSV | binary | what it cannot say, and what then | options |\n|---|---|---|---|---|---|---|\n")
	line("a domain: as its base type", domain, -1, 0, "as the base type", "of the base type")
	line("an enum", enum, -1, 0, lostText, optsText)
	line("an array, declared with one dimension or none: integer[]", arrayOIDs["int4"], -1, 1, "a value of several dimensions, or that does not begin at index 1: error", "of the element type")
	line("an array declared with several dimensions: integer[][]", arrayOIDs["int4"], -1, 2, "", "")
	line("a composite type, here (id integer, tags text[])", comp, -1, 0, "as the fields' types", "of the fields' types")
	line("a composite type without fields", empty, -1, 0, "", "")
	line("a range, here daterange; an infinite bound is NULL", rng, -1, 0, "as the subtype", "--ranges, --type struct")
	line("a multirange, here datemultirange", multi, -1, 0, "as the subtype", "--ranges, --type struct")
	line("record and other pseudo-types", record, -1, 0, "", "")
	line("any other type", other, -1, 0, lostText, optsText)

	b.WriteString("\n## Options\n\n| option | type | Arrow | |\n|---|---|---|---|\n")
	dec := variants["numeric"][0].typmod
	for _, o := range []struct {
		flag, typ string
		oid       uint32
		typmod    int32
		opt       Options
		choice    string
		what      string
	}{
		{"--numeric text", "numeric", oidNumeric, -1, Options{Numeric: Numeric{Mode: NumericText}}, "", "all digits"},
		{"--numeric decimal(18,6)", "numeric", oidNumeric, -1, Options{Numeric: Numeric{NumericDecimal, 18, 6}}, "", "what does not fit is an error"},
		{"--numeric strict", "numeric", oidNumeric, -1, Options{Numeric: Numeric{Mode: NumericStrict}}, "", "the first inexact value is an error"},
		{"--numeric-nonfinite null", "numeric(10,2)", oidNumeric, dec, Options{Nonfinite: NonfiniteNull}, "", "NaN and infinities are NULL, counted as non-finite"},
		{"--numeric-nonfinite text", "numeric(10,2)", oidNumeric, dec, Options{Nonfinite: NonfiniteText}, "", "NaN and infinities as the text, counted as non-finite; a finite number that the decimal does not have is an error still"},
		{"--infinity null", "date, time, timetz, timestamp, timestamptz, interval", oidTimestamp, -1, Options{Infinity: InfinityNull}, "", "infinities and 24:00:00 are NULL, counted as fallen back"},
		{"--infinity clamp", "date, time, timetz, timestamp, timestamptz, interval", oidTimestamp, -1, Options{Infinity: InfinityClamp}, "", "the last value of the type that Parquet can hold: 5874897-12-31 and 4714-11-24 BC, 294247-01-10 04:00:54.775807 and 4714-11-24 BC 00:00:00, 23:59:59.999999; of an interval the extremes of 32 bits of months and days and of 64 bits of microseconds, the last of which are a duration's too; counted as clamped"},
		{"--infinity text", "date, time, timetz, timestamp, timestamptz, interval", oidTimestamp, -1, Options{Infinity: InfinityText}, "", "all values as the text, infinities and 24:00:00 counted as fallen back"},
		{"--interval duration", "interval", oidInterval, -1, Options{Interval: IntervalDuration}, "", "a day is 24 hours; an interval with months is an error"},
		{"--ranges text", "daterange", rng, -1, Options{Ranges: RangeText}, "", ""},
		{"--trim-bpchar", "char(n)", oidBpchar, -1, Options{TrimBpchar: true}, "", "without the padding"},
		{"--invalid-utf8 replace", "text", oidText, -1, Options{InvalidUTF8: InvalidUTF8Replace}, "", "each run of bad bytes is U+FFFD, the value counted as replaced"},
		{"--invalid-utf8 binary", "text", oidText, -1, Options{InvalidUTF8: InvalidUTF8Binary}, "", "the bytes as they are, in every column of text"},
		{"--type c=text", "any", oidNumeric, -1, Options{}, "text", "what the server prints"},
		{"--type c=float64", "numeric, smallint, integer, bigint", oidInt8, -1, Options{}, "float64", "inexact values counted"},
		{"--type c=strict", "numeric, smallint, integer, bigint", oidInt8, -1, Options{}, "strict", "an inexact value is an error"},
		{"--type c=decimal(18,6)", "numeric, smallint, integer, bigint", oidNumeric, -1, Options{}, "decimal(18,6)", "what does not fit is an error"},
		{"--type c=struct", "interval, ranges", oidInterval, -1, Options{}, "struct", ""},
		{"--type c=duration", "interval", oidInterval, -1, Options{}, "duration", "as --interval duration"},
	} {
		p, _ := planOf(o.oid, o.typmod, 0, o.opt, o.choice)
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", o.flag, o.typ, cell(p.Columns[0].Arrow), o.what)
	}
	b.WriteString("\n`--strict` turns every value that would be counted into an error.\n\n## `--type-map ddpp`\n\nThe old tool's schema. It decides what numerics, intervals and ranges become: `--numeric`, `--interval` and `--ranges` that say something\nelse beside it are an error, `--type` wins over it. Every field is nullable, and\n\n| Postgres | Arrow |\n|---|---|\n")
	for _, r := range typeTable {
		if r.oid == 0 || !inDDPP(r.oid) {
			continue
		}
		p, _ := planOf(r.oid, -1, 0, Options{TypeMap: DDPP}, "")
		fmt.Fprintf(&b, "| %s | %s |\n", r.name, p.Columns[0].Arrow)
	}
	p, _ := planOf(other, -1, 0, Options{TypeMap: DDPP}, "")
	fmt.Fprintf(&b, "| everything else, as its text | %s |\n", p.Columns[0].Arrow)
	b.WriteString(`
## What to know

- A numeric without precision is the nearest float64. It counts as inexact when that float64's shortest decimal is another number: one of
  up to 15 significant digits never is.
- ` + "`money`" + ` has the decimals of the server's lc_monetary. Its currency is not in the file.
- ` + "`inet`" + ` shows its mask where it is not the whole address, ` + "`cidr`" + ` always, as the server prints them.
- A ` + "`\"char\"`" + ` beyond ASCII is written as ` + "`\\ooo`" + `, as servers from 16 on print it. Older ones print the byte as it is and convert it
  as if it were text of the database's encoding; there CSV selects the column by an expression, and an array, composite or range with a
  ` + "`\"char\"`" + ` inside by its send function, in hexadecimal. A container of them as text (` + "`--type c=text`" + `) is what the server prints.
- Servers before 17 have no infinite interval: the extremes of all its fields are a value like any other there.
- An enum is dictionary-encoded where it is the column itself. Inside arrays, composite types and ranges it is a plain string, since
  readers of Arrow know no dictionaries there that differ between row groups.
- Types that are nested more than 32 deep travel as their text.
- An array of a view or a query has no declared dimensions, whatever those of the table's column are: it becomes a list, and a value of
  several dimensions is an error that ` + "`--type c=text`" + ` gets round.
- The server can send a row of at most 1 GB. In CSV a bytea takes twice its bytes: ` + "`--transport binary`" + ` carries larger ones.
- A name that is not UTF-8, which a SQL_ASCII database can have, can't be in a file: ` + "`--columns`" + ` leaves such a column out, and
  ` + "`--type c=text`" + ` carries a composite type with such a field.
- In ` + "`--type COLUMN=TYPE`" + ` the name is as SQL writes it, in the shell's quotes where it needs SQL's: ` + "`--type '\"a=b\"=text'`" + `.
- ` + "`sparsevec`" + ` counts its indices from 1, as its text does. ` + "`halfvec`" + ` widens to float32, which holds each half exactly.
- Columns of PostGIS become ISO WKB with GeoParquet 1.1 metadata: geometry types and bounding box from the rows, the reference system from the
  SRID. Inside arrays and composite types they stay extended WKB. A column with an infinite coordinate has no bounding box, and a warning
  says so.
- A column that travels as text inside a binary stream is selected through the type's output function: the same text as in CSV.
`)
	return b.String()
}

// TestTypesDoc compares docs/types.md with the table; -update writes it.
func TestTypesDoc(t *testing.T) {
	const path = "../docs/types.md"
	want := typesDoc(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/types.md is stale: go generate ./typemap")
	}
}
