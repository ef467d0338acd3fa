package typemap

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"fast-export/internal/column"
)

// textPlan is a plan of so many text columns.
func textPlan(t testing.TB, columns int, tr Transport) *Plan {
	t.Helper()
	cols := make([]Column, columns)
	for i := range cols {
		cols[i] = Column{Name: fmt.Sprintf("c%d", i), OID: oidText, Typmod: -1}
	}
	p, err := NewPlan(builtin(t), cols, Options{InvalidUTF8: InvalidUTF8Binary}, tr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// referenceCSV reads CSV a byte at a time. A nil field is NULL. It is what COPY's manual page says and no more.
func referenceCSV(data []byte, columns int) (rows [][][]byte, ok bool) {
	if columns == 0 {
		for _, b := range data {
			if b != '\n' {
				return nil, false
			}
			rows = append(rows, nil)
		}
		return rows, true
	}
	var row [][]byte
	field, quoted, inside := []byte(nil), false, false
	begun := false // of the field
	for i := 0; i < len(data); i++ {
		b := data[i]
		switch {
		case inside && b == '"' && i+1 < len(data) && data[i+1] == '"':
			field = append(field, '"')
			i++
		case inside && b == '"':
			inside = false
			if i+1 < len(data) && data[i+1] != ',' && data[i+1] != '\n' {
				return nil, false
			}
		case inside:
			field = append(field, b)
		case b == '"' && !begun:
			quoted, inside, field = true, true, []byte{}
		case b == ',' || b == '\n':
			if !quoted && len(field) == 0 {
				field = nil
			}
			row = append(row, field)
			field, quoted, begun = nil, false, false
			if (b == '\n') != (len(row) == columns) {
				return nil, false
			}
			if b == '\n' {
				rows = append(rows, row)
				row = nil
			}
			continue
		case b == '"' || b == '\r': // which the server writes within quotes only
			return nil, false
		default:
			field = append(field, b)
		}
		begun = true
	}
	return rows, !inside && !begun && len(row) == 0
}

// fieldsOf takes text batches apart.
func fieldsOf(p *Plan, batches []*column.Batch) (rows [][][]byte) {
	for _, b := range batches {
		for _, r := range newUnbatch(p, b).rows() {
			row := make([][]byte, len(r))
			for i, v := range r {
				if !v.null {
					row[i] = append([]byte{}, v.data...)
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func sameRows(a, b [][][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return false
		}
		for j := range a[i] {
			if (a[i][j] == nil) != (b[i][j] == nil) || !bytes.Equal(a[i][j], b[i][j]) {
				return false
			}
		}
	}
	return true
}

// checkCSV compares the scanner with the reference, in one Write and cut in many ways.
func checkCSV(t *testing.T, data []byte, columns int, cuts []byte) {
	t.Helper()
	p := textPlan(t, columns, CSV)
	want, ok := referenceCSV(data, columns)
	at := 0
	for name, cut := range map[string]func([]byte) int{
		"whole": nil,
		"bytes": func([]byte) int { return 1 },
		"cuts": func(rest []byte) int {
			if len(cuts) == 0 {
				return len(rest)
			}
			at++
			return min(len(rest), 1+int(cuts[at%len(cuts)]))
		},
	} {
		for _, block := range []int{0, 7} {
			got, err := collect(p, DecoderOptions{BatchRows: 3, BlockSize: block}, data, cut)
			if (err == nil) != ok {
				t.Fatalf("%q, %s, blocks of %d: error %v, the reference reads it: %v", data, name, block, err, ok)
			}
			var se *StreamError
			if err != nil && !errors.As(err, &se) {
				t.Fatalf("%q, %s: %v", data, name, err)
			}
			if rows := fieldsOf(p, got); err == nil && !sameRows(rows, want) {
				t.Fatalf("%q, %s, blocks of %d: got %q, want %q", data, name, block, rows, want)
			}
		}
	}
}

var csvSeeds = []struct {
	data    string
	columns int
}{
	{"", 1},
	{"\n", 1},
	{"\n\n\n", 1},
	{"\"\"\n\n", 1},
	{"\\.\n\"\\.\"\na\n", 1},
	{"NULL,\"NULL\",,\"\"\n", 4},
	{"a,b\n", 2},
	{"a,\"b\nc\"\n", 2},
	{"\"a\r\nb\",\"\"\"\"\n", 2},
	{"\"\"\"\",\"a\"\"b\",\"\"\"\"\"\"\n", 3},
	{"a\n", 2},
	{"a,b,c\n", 2},
	{"\"a\"b,c\n", 2},
	{"\"a", 1},
	{"a", 1},
	{"a,\"b", 2},
	{"\n\n", 0},
	{"x\n", 0},
	{"a b\tc,\\N\n", 2},
	{"0123456789abcdef,0123456789abcde\n", 2},
	{"0123456,01234567\n012345678,\n", 2},
	{"ünïcödé,日本語日本語日本語\n", 2},
	{"\xff,\xfe\n", 2},
	{strings.Repeat("x", 100) + "," + strings.Repeat("\"", 2) + "\n", 2},
	{",,,\n,,,\n", 4},
	{"a\rb\n", 1},
}

func TestCSVScanner(t *testing.T) {
	t.Parallel()
	for _, s := range csvSeeds {
		checkCSV(t, []byte(s.data), s.columns, []byte{0, 3, 1})
	}
	// Random streams of the bytes that matter.
	r := random(t)
	for range 20000 {
		n := r.IntN(60)
		b := make([]byte, n)
		for i := range b {
			b[i] = `",,ab`[r.IntN(5)]
			if r.IntN(6) == 0 {
				b[i] = '\n'
			}
		}
		checkCSV(t, b, 1+r.IntN(3), []byte{byte(r.IntN(5)), byte(r.IntN(20))})
	}
}

// TestFraming cuts the streams of every recorded value and table at random places: the batches must not notice.
func TestFraming(t *testing.T) {
	t.Parallel()
	r := random(t)
	try := func(name string, p *Plan, data []byte) {
		t.Helper()
		o := DecoderOptions{BatchRows: 7}
		want, err := collect(p, o, data, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, cut := range []func(rest []byte) int{
			func([]byte) int { return 1 },
			func(rest []byte) int { return min(len(rest), 1+r.IntN(5)) },
			func(rest []byte) int { return min(len(rest), r.IntN(200)) },
			func(rest []byte) int { return min(len(rest), 1+r.IntN(3000)) },
		} {
			got, err := collect(p, o, data, cut)
			if err != nil {
				t.Fatalf("%s, cut: %v", name, err)
			}
			sameBatches(t, p, got, want)
		}
		o.BlockSize = 1 + r.IntN(50)
		got, err := collect(p, o, data, nil)
		if err != nil {
			t.Fatalf("%s, in blocks: %v", name, err)
		}
		sameBatches(t, p, got, want)
	}
	for _, table := range []string{"obs_sbn", "dia_source"} {
		rec := readRecorded(t, table)
		for _, tr := range []Transport{CSV, Binary} {
			try(table, rec.plan(t, tr), rec.data[tr])
		}
	}
	values, cat := readValues(t)
	byType := map[string][]recordedValue{}
	for _, v := range values {
		if !v.refused {
			byType[v.typ] = append(byType[v.typ], v)
		}
	}
	for typ, vs := range byType {
		for _, tr := range []Transport{CSV, Binary} {
			// Beside each other in a row and below each other in a column, with NULLs between.
			p, err := NewPlan(cat, []Column{{Name: "a", OID: vs[0].oid, Typmod: vs[0].typmod}, {Name: "b", OID: oidInt4, Typmod: -1}, {Name: "c", OID: vs[0].oid, Typmod: vs[0].typmod}}, Options{}, tr)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			var rows [][][]byte
			for i := range vs {
				a, c := vs[i], vs[(i+1)%len(vs)]
				fmt.Fprintf(&text, "%s,%d,%s\n,,\n", csvField(a.text), i, csvField(c.text))
				av, cv := a.binary, c.binary
				if p.Columns[0].AsText {
					av, cv = []byte(a.text), []byte(c.text)
				}
				rows = append(rows, [][]byte{av, be.AppendUint32(nil, uint32(i)), cv}, [][]byte{nil, nil, nil})
			}
			data := []byte(text.String())
			if tr == Binary {
				data = binaryStream(rows...)
			}
			try(typ+" by "+tr.String(), p, data)
		}
	}
}

func TestRequiredColumns(t *testing.T) {
	t.Parallel()
	cols := []Column{{Name: "a", OID: oidInt4, Typmod: -1}, {Name: "b", OID: oidText, Typmod: -1, NotNull: true}, {Name: "c", OID: arrayOIDs["int4"], Typmod: -1, NotNull: true}}
	for _, tr := range []Transport{CSV, Binary} {
		p, err := NewPlan(builtin(t), cols, Options{}, tr)
		if err != nil {
			t.Fatal(err)
		}
		if f := p.Schema.Field(1); f.Nullable || p.Schema.Field(2).Nullable || p.Leaves[1].MaxDef != 0 || p.Leaves[2].MaxDef != 2 {
			t.Fatalf("a NOT NULL column is %v, leaf %+v", f, p.Leaves[1])
		}
		empty := make([]byte, 12) // an array of no dimensions
		empty[11] = oidInt4
		good, nullB, nullC := "1,\"\",{}\n", "1,,{}\n", "1,x,\n"
		streams := [][]byte{[]byte(good), []byte(good + nullB), []byte(good + nullC)}
		if tr == Binary {
			row := [][]byte{{0, 0, 0, 1}, {}, empty}
			streams = [][]byte{binaryStream(row), binaryStream(row, [][]byte{nil, nil, empty}), binaryStream(row, [][]byte{nil, {'x'}, nil})}
		}
		if _, err := collect(p, DecoderOptions{}, streams[0], nil); err != nil {
			t.Errorf("%s: %v", tr, err)
		}
		for i, name := range []string{"", "b", "c"} {
			if i == 0 {
				continue
			}
			_, err := collect(p, DecoderOptions{}, streams[i], nil)
			var ve *ValueError
			if !errors.As(err, &ve) || ve.Column != name || ve.Row != 1 || ve.Value != "NULL" {
				t.Errorf("%s: a NULL in %s: %v", tr, name, err)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	// No columns at all: rows are counted.
	for tr, data := range map[Transport][]byte{CSV: []byte("\n\n\n"), Binary: binaryStream(nil, nil, nil)} {
		p := textPlan(t, 0, tr)
		b, err := collect(p, DecoderOptions{}, data, nil)
		if err != nil || len(b) != 1 || b[0].Rows != 3 {
			t.Errorf("%s without columns: %d batches, %v", tr, len(b), err)
		}
	}
	// No rows: no batch.
	for tr, data := range map[Transport][]byte{CSV: nil, Binary: binaryStream()} {
		b, err := collect(textPlan(t, 2, tr), DecoderOptions{}, data, nil)
		if err != nil || len(b) != 0 {
			t.Errorf("%s without rows: %d batches, %v", tr, len(b), err)
		}
	}
	// Very many columns.
	p := textPlan(t, 1600, CSV)
	b, err := collect(p, DecoderOptions{}, []byte(strings.Repeat("x,", 1599)+"\n"), nil)
	if err != nil || len(b) != 1 || b[0].Leaves[1598].Values != 1 || b[0].Leaves[1599].Values != 0 {
		t.Errorf("1600 columns: %v", err)
	}
}

// TestBatchCuts: batches are cut by rows and by content, at the same places whatever the transport and the framing.
func TestBatchCuts(t *testing.T) {
	t.Parallel()
	r := random(t)
	var text strings.Builder
	var rows [][][]byte
	for i := range 500 {
		s := strings.Repeat("x", r.IntN(200))
		if i%97 == 0 {
			s = strings.Repeat("y", 100000)
		}
		list := fmt.Sprintf("{%d,NULL}", i)
		arr := binaryArray(oidInt4, be.AppendUint32(nil, uint32(i)), nil)
		fmt.Fprintf(&text, "%s,\"%s\",\\x%s\n", csvField(s), list, strings.Repeat("ab", i))
		rows = append(rows, [][]byte{[]byte(s), arr, bytes.Repeat([]byte{0xab}, i)})
	}
	cols := []Column{{Name: "s", OID: oidText, Typmod: -1}, {Name: "l", OID: arrayOIDs["int4"], Typmod: -1}, {Name: "b", OID: 17, Typmod: -1}}
	for _, o := range []DecoderOptions{{BatchRows: 1}, {BatchRows: 64}, {BatchRows: 1000, BatchBytes: 20000}, {BatchBytes: 1}, {BatchBytes: 1 << 20}} {
		var all [2][]*column.Batch
		for _, tr := range []Transport{CSV, Binary} {
			p, err := NewPlan(builtin(t), cols, Options{}, tr)
			if err != nil {
				t.Fatal(err)
			}
			data := []byte(text.String())
			if tr == Binary {
				data = binaryStream(rows...)
			}
			b, err := collect(p, o, data, func(rest []byte) int { return min(len(rest), 1+r.IntN(5000)) })
			if err != nil {
				t.Fatal(err)
			}
			all[tr] = b
			total := 0
			for i, b := range b {
				total += b.Rows
				if o.BatchRows > 0 && b.Rows > o.BatchRows {
					t.Errorf("%+v: a batch of %d rows", o, b.Rows)
				}
				// A batch may pass its bytes by the rows between two looks: 31 small ones, or one large value.
				if o.BatchBytes > 1 && b.DataBytes() > o.BatchBytes+200000+lookEvery*1000 {
					t.Errorf("%+v: batch %d has %d bytes", o, i, b.DataBytes())
				}
			}
			if total != 500 {
				t.Errorf("%+v: %d rows", o, total)
			}
			if tr == Binary {
				sameBatches(t, p, all[CSV], all[Binary])
			}
		}
	}
}

// TestLargeValuesCut: large values do not wait for the next look at a batch's content.
func TestLargeValuesCut(t *testing.T) {
	t.Parallel()
	for name, col := range map[string]struct {
		oid  uint32
		text string
		bin  []byte
	}{
		"text":  {oidText, strings.Repeat("x", bigValue), []byte(strings.Repeat("x", bigValue))},
		"bytea": {17, `\x` + strings.Repeat("61", bigValue), []byte(strings.Repeat("a", bigValue))},
		"array": {arrayOIDs["text"], "{" + strings.Repeat("y", bigValue) + "}", binaryArray(oidText, []byte(strings.Repeat("y", bigValue)))},
	} {
		for _, tr := range []Transport{CSV, Binary} {
			p, err := NewPlan(builtin(t), []Column{{Name: "v", OID: col.oid, Typmod: -1}}, Options{}, tr)
			if err != nil {
				t.Fatal(err)
			}
			data := []byte(strings.Repeat(csvField(col.text)+"\n", 5))
			if tr == Binary {
				row := [][]byte{col.bin}
				data = binaryStream(row, row, row, row, row)
			}
			b, err := collect(p, DecoderOptions{BatchBytes: 1}, data, nil)
			if err != nil || len(b) != 6 || b[0].Rows != 1 || b[5].Rows != 0 {
				t.Errorf("%s by %s: %d batches, %v", name, tr, len(b), err)
			}
		}
	}
}

// binaryArray is the wire form of a list; a nil element is NULL.
func binaryArray(elem uint32, elements ...[]byte) []byte {
	out := be.AppendUint32(nil, 1)
	out = be.AppendUint32(be.AppendUint32(out, 1), elem)
	out = be.AppendUint32(be.AppendUint32(out, uint32(len(elements))), 1)
	for _, e := range elements {
		if e == nil {
			out = be.AppendUint32(out, 0xFFFFFFFF)
			continue
		}
		out = append(be.AppendUint32(out, uint32(len(e))), e...)
	}
	return out
}

func TestReuse(t *testing.T) {
	t.Parallel()
	p := textPlan(t, 2, CSV)
	released, given := 0, 0
	d := p.NewDecoder(DecoderOptions{BatchRows: 2, Next: func(full *column.Batch) (*column.Batch, error) {
		if full != nil {
			full.Release()
		}
		given++
		return column.NewBatch(2, 2, func(*column.Batch) { released++ }), nil
	}})
	if _, err := d.Write([]byte("a,b\nc,d\ne,\"f")); err != nil {
		t.Fatal(err)
	}
	if d.Rows() != 2 {
		t.Errorf("%d rows", d.Rows())
	}
	d.Reset() // in the middle of a record
	if released != given {
		t.Errorf("%d of %d batches released", released, given)
	}
	if _, err := d.Write([]byte("g,h\n")); err != nil {
		t.Fatal(err)
	}
	b, err := d.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if rows := fieldsOf(p, []*column.Batch{b}); len(rows) != 1 || string(rows[0][0]) != "g" {
		t.Errorf("after a reset: %q", rows)
	}
	b.Release()
	if _, err := d.Write([]byte("x,y\n")); err == nil {
		t.Error("a Write behind Finish is no error")
	}
	d.Reset()
	if _, err := d.Write([]byte("x\n")); err == nil {
		t.Fatal("a short row is no error")
	}
	if _, err := d.Finish(); err == nil {
		t.Error("Finish forgets the error of a Write")
	}
	d.Reset()
	if released != given {
		t.Errorf("%d of %d batches released", released, given)
	}
	// An error of Next ends the decoding.
	stop := errors.New("stop")
	d = p.NewDecoder(DecoderOptions{Next: func(*column.Batch) (*column.Batch, error) { return nil, stop }})
	if _, err := d.Write([]byte("x,y\n")); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	// A pooled batch that held other rows comes back clean.
	pool := column.NewBatch(2, 2, nil)
	decode := func(data string) [][][]byte {
		pool.Reset(nil)
		d := p.NewDecoder(DecoderOptions{Next: func(*column.Batch) (*column.Batch, error) { return pool, nil }})
		if _, err := d.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		b, err := d.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return fieldsOf(p, []*column.Batch{b})
	}
	decode(strings.Repeat("full,full\n", 100))
	if rows := decode(",\n,z\n"); len(rows) != 2 || rows[0][0] != nil || rows[0][1] != nil || rows[1][0] != nil || string(rows[1][1]) != "z" {
		t.Errorf("a used batch: %q", rows)
	}
}

// TestDirtyMemory: no decoder reads or leaves anything behind a value's end.
func TestDirtyMemory(t *testing.T) {
	t.Parallel()
	rec := readRecorded(t, "obs_sbn")
	for _, tr := range []Transport{CSV, Binary} {
		p := rec.plan(t, tr)
		want, err := collect(p, DecoderOptions{}, rec.data[tr], nil)
		if err != nil {
			t.Fatal(err)
		}
		// Each piece lies in a buffer of its own that is overwritten when Write is back.
		r := rand.New(rand.NewPCG(1, 2))
		var got []*column.Batch
		d := p.NewDecoder(DecoderOptions{Next: func(full *column.Batch) (*column.Batch, error) {
			return column.NewBatch(len(p.Leaves), len(p.nodes), nil), nil
		}})
		for data := rec.data[tr]; len(data) > 0; {
			n := min(len(data), 1+r.IntN(900))
			buf := append(bytes.Clone(data[:n]), bytes.Repeat([]byte{'9'}, 64)...)[:n]
			if _, err := d.Write(buf); err != nil {
				t.Fatal(err)
			}
			buf = buf[:cap(buf)]
			for i := range buf {
				buf[i] = '7'
			}
			data = data[n:]
		}
		b, err := d.Finish()
		if err != nil {
			t.Fatal(err)
		}
		sameBatches(t, p, append(got, b), want)
	}
}

// A value that is larger than the scanner's blocks is copied once, into its column: not in parallel, since it counts what the
// process allocates.
func TestLargeValueIsCopiedOnce(t *testing.T) {
	const size = 32 << 20
	text := bytes.Repeat([]byte(`a"é,`+"\n"), size/6)
	stream := []byte(csvField(string(text)) + ",x\n")
	p, err := NewPlan(builtin(t), []Column{{Name: "v", OID: oidText, Typmod: -1}, {Name: "w", OID: oidText, Typmod: -1}}, Options{}, CSV)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := collect(p, DecoderOptions{BlockSize: 1 << 20}, stream, nil)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if r := newUnbatch(p, got[0]).rows()[0]; !bytes.Equal(r[0].data, text) || string(r[1].data) != "x" {
		t.Error("the value is another")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(stream))*3/2 {
		t.Errorf("%d bytes allocated for a field of %d", n, len(stream))
	}
}
