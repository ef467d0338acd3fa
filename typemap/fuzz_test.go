package typemap

import (
	"errors"
	"testing"

	"fast-export/internal/column"
)

func FuzzCSV(f *testing.F) {
	for _, s := range csvSeeds {
		f.Add([]byte(s.data), uint8(s.columns), []byte{0, 3, 1})
	}
	f.Fuzz(func(t *testing.T, data []byte, columns uint8, cuts []byte) {
		checkCSV(t, data, int(columns%9), cuts)
	})
}

// fuzzTypes are the columns that FuzzBinary and FuzzRow read: one of every kind of cursor, and nested ones.
var fuzzTypes = []Column{
	{Name: "a", OID: oidInt4, Typmod: -1},
	{Name: "b", OID: oidText, Typmod: -1, NotNull: true},
	{Name: "c", OID: oidFloat8, Typmod: -1},
	{Name: "d", OID: oidNumeric, Typmod: -1},
	{Name: "e", OID: oidBool, Typmod: -1},
	{Name: "f", OID: oidTimestamptz, Typmod: -1},
	{Name: "g", OID: 1009, Typmod: -1},
	{Name: "h", OID: oidInterval, Typmod: -1},
	{Name: "i", OID: oidFloat4, Typmod: -1},
	{Name: "j", OID: oidInt2, Typmod: -1},
	{Name: "k", OID: oidInt8, Typmod: -1},
	{Name: "l", OID: oidNumeric, Typmod: 10<<16 | 2 + 4},
}

// alike decodes a stream whole and in pieces: the same error or the same batches.
func alike(t *testing.T, p *Plan, data []byte, cuts []byte) []*column.Batch {
	t.Helper()
	o := DecoderOptions{BatchRows: 5}
	want, err := collect(p, o, data, nil)
	at := 0
	got, err2 := collect(p, o, data, func(rest []byte) int {
		if at++; len(cuts) > 0 {
			return min(len(rest), 1+int(cuts[at%len(cuts)]))
		}
		return 1
	})
	if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
		t.Fatalf("whole: %v, in pieces: %v", err, err2)
	}
	if err != nil {
		var ve *ValueError
		var se *StreamError
		if !errors.As(err, &ve) && !errors.As(err, &se) {
			t.Fatalf("neither a value's nor a stream's error: %v", err)
		}
		return nil
	}
	sameBatches(t, p, got, want)
	return want
}

func FuzzBinary(f *testing.F) {
	row := [][]byte{
		{0, 0, 0, 1},
		[]byte("text"), be.AppendUint64(nil, 0x3FF8000000000000), numericBytes("-12.50"),
		{1},
		be.AppendUint64(nil, 12345), binaryArray(oidText, []byte("x"), nil),
		make([]byte, 16),
		{0x40, 0, 0, 0},
		{0, 7},
		make([]byte, 8), numericBytes("99999999.99"),
	}
	f.Add(binaryStream(row), []byte{0})
	f.Add(binaryStream(row, row, row), []byte{9, 0})
	f.Add(binaryStream(row)[:60], []byte{1})
	f.Add(binaryStream(make([][]byte, len(row))), []byte{})
	p, err := NewPlan(builtin(f), fuzzTypes, Options{}, Binary)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data, cuts []byte) { alike(t, p, data, cuts) })
}

// FuzzRow is FuzzBinary for CSV rows of the same columns.
func FuzzRow(f *testing.F) {
	f.Add([]byte("1,text,1.5,-12.50,t,2000-01-01 00:00:00+00,\"{x,NULL}\",1 day,2,7,0,99999999.99\n"), []byte{0})
	f.Add([]byte(",\"\",,,,,,,,,,\n"), []byte{2})
	f.Add([]byte("-2147483648,\"a\"\"b\",NaN,1e-7,f,0001-12-31 23:59:59.5+00 BC,{},00:00:01,-0,-1,1,0\n"), []byte{7, 1})
	p, err := NewPlan(builtin(f), fuzzTypes, Options{}, CSV)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data, cuts []byte) { alike(t, p, data, cuts) })
}

// FuzzValue gives any bytes to the decoder of any type, as text or as its binary form. What is accepted must be a sound
// batch, whose text, as the server would print it, decodes to the same batch again.
func FuzzValue(f *testing.F) {
	values, cat := readValues(f)
	types := map[string]bool{}
	var kinds []*recordedValue
	for i := range values {
		v := &values[i]
		if !types[v.typ] {
			types[v.typ] = true
			kinds = append(kinds, v)
		}
	}
	at := map[string]uint8{}
	for i, k := range kinds {
		at[k.typ] = uint8(i)
	}
	for _, v := range values {
		f.Add(at[v.typ], true, []byte(v.text))
		if v.binary != nil {
			f.Add(at[v.typ], false, v.binary)
		}
	}
	if len(kinds) > 255 {
		f.Fatal("more types than a byte can name")
	}
	type plans struct{ csv, bin *Plan }
	all := make([]plans, len(kinds))
	for i, k := range kinds {
		for _, tr := range []Transport{CSV, Binary} {
			p, err := NewPlan(cat, []Column{{Name: "v", OID: k.oid, Typmod: k.typmod}}, Options{Infinity: InfinityNull, Nonfinite: NonfiniteNull, InvalidUTF8: InvalidUTF8Replace}, tr)
			if err != nil {
				f.Fatal(err)
			}
			if tr == CSV {
				all[i].csv = p
			} else {
				all[i].bin = p
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, text bool, payload []byte) {
		pl := all[int(which)%len(all)]
		p, stream := pl.csv, []byte(csvField(string(payload))+"\n")
		if !text {
			p, stream = pl.bin, binaryStream([][]byte{append([]byte{}, payload...)})
		}
		b := alike(t, p, stream, []byte{3})
		if b == nil {
			return
		}
		rows := newUnbatch(p, b[0]).rows()
		if len(rows) != 1 {
			t.Fatalf("%d rows", len(rows))
		}
		v, n := rows[0][0], p.nodes[0]
		if v.null || b[0].Counts[0] != (column.Counts{}) { // what was counted is not printed as it was
			return
		}
		again, err := collect(pl.csv, DecoderOptions{}, []byte(csvField(pgText(n, v))+"\n"), nil)
		if err != nil {
			t.Fatalf("%s: %q is accepted, %q is not: %v", p.Columns[0].Postgres, payload, pgText(n, v), err)
		}
		sameBatches(t, p, again, b)
	})
}

// FuzzGeometry gives any bytes to the reader of extended WKB.
func FuzzGeometry(f *testing.F) {
	for _, r := range recordedGeometries(f) {
		b := make([]byte, len(r[1])/2)
		for i := range b {
			b[i] = unhex(r[1][2*i])<<4 | unhex(r[1][2*i+1])
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var g geoStats
		out, err := toWKB(nil, in, &g)
		if err != nil {
			return
		}
		if len(out) > len(in) {
			t.Fatalf("%d bytes became %d", len(in), len(out))
		}
	})
}

func unhex(b byte) byte {
	if b >= 'a' {
		return b - 'a' + 10
	}
	return b - '0'
}
