package typemap

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"fast-export/internal/column"
)

// csvField writes a value as COPY … (FORMAT csv) does.
func csvField(v string) string {
	if v == "" || strings.ContainsAny(v, ",\"\n\r") || v == `\.` {
		return `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
	}
	return v
}

// binaryStream is a COPY stream of rows; a nil field is NULL.
func binaryStream(rows ...[][]byte) []byte {
	out := append([]byte(binaryMagic), 0, 0, 0, 0, 0, 0, 0, 0)
	for _, r := range rows {
		out = be.AppendUint16(out, uint16(len(r)))
		for _, f := range r {
			if f == nil {
				out = be.AppendUint32(out, 0xFFFFFFFF)
				continue
			}
			out = append(be.AppendUint32(out, uint32(len(f))), f...)
		}
	}
	return append(out, 0xFF, 0xFF)
}

// decodeValue decodes one recorded value by both transports.
func decodeValue(t testing.TB, cat *Catalog, v *recordedValue, opt Options) (plans [2]*Plan, batches [2][]*column.Batch, errs [2]error) {
	t.Helper()
	for i, tr := range []Transport{CSV, Binary} {
		p, err := NewPlan(cat, []Column{{Name: "v", OID: v.oid, Typmod: v.typmod}}, opt, tr)
		if err != nil {
			t.Fatalf("%s: %v", v.typ, err)
		}
		stream := []byte(csvField(v.text) + "\n\n") // and a NULL
		if tr == Binary {
			f := v.binary
			if p.Columns[0].AsText {
				f = []byte(v.text)
			} else if f == nil {
				t.Fatalf("%s has no binary form and is not sent as text", v.typ)
			}
			stream = binaryStream([][]byte{f}, [][]byte{nil})
		}
		plans[i] = p
		batches[i], errs[i] = collect(p, DecoderOptions{}, stream, nil)
	}
	return plans, batches, errs
}

// checkFloat compares a float64 and its count with the exact number that it stands for, by way of math/big and strconv.
func checkFloat(t testing.TB, text string, got float64, inexact int64) {
	t.Helper()
	want, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	if want == 0 {
		want = 0 // no negative zero in a numeric
	}
	if got != want && (got == got || want == want) {
		t.Errorf("%s: got %v, want %v", text, got, want)
	}
	lossless := true
	if x, ok := new(big.Rat).SetString(text); ok {
		s, _ := new(big.Rat).SetString(strconv.FormatFloat(want, 'g', -1, 64))
		lossless = x.Cmp(s) == 0
	}
	if (inexact == 0) != lossless {
		t.Errorf("%s: counted inexact %d times, and its shortest float64 is the same number: %v", text, inexact, lossless)
	}
}

// TestRecordedValues decodes what a server once sent for each sample, from text and from binary, and turns it back into
// the server's text.
func TestRecordedValues(t *testing.T) {
	t.Parallel()
	values, cat := readValues(t)
	if len(values) < 300 {
		t.Fatalf("only %d recorded values", len(values))
	}
	for _, v := range values {
		plans, batches, errs := decodeValue(t, cat, &v, Options{})
		name := fmt.Sprintf("%s %.60q", v.typ, v.text)
		if v.refused {
			var e [2]*ValueError
			for i, err := range errs {
				if !errors.As(err, &e[i]) || e[i].Column != "v" || e[i].Row != 0 || e[i].Reason == "" || e[i].Value == "" || e[i].Hint == "" || strings.Contains(e[i].Hint, "COLUMN") {
					t.Errorf("%s by %s: %#v", name, plans[i].Transport, err)
				}
			}
			if e[0] != nil && e[1] != nil && e[0].Error() != e[1].Error() {
				t.Errorf("%s: csv says %q, binary %q", name, e[0], e[1])
			}
			continue
		}
		if errs[0] != nil || errs[1] != nil {
			t.Errorf("%s: csv %v, binary %v", name, errs[0], errs[1])
			continue
		}
		sameBatches(t, plans[0], batches[0], batches[1])
		rows := newUnbatch(plans[1], batches[1][0]).rows()
		if len(rows) != 2 || rows[0][0].null || !rows[1][0].null {
			t.Errorf("%s: rows %v", name, rows)
			continue
		}
		if n := plans[1].nodes[0]; !plans[1].Columns[0].AsText && !n.anyNode(func(n *node) bool { return n.kind == kMoney }) {
			if got, ok := n.appendText(nil, v.binary); string(got) != v.text || !ok {
				t.Errorf("%s: in a message it is %q, %v", name, got, ok)
			}
		}
		if n := plans[1].nodes[0]; n.kind == kNumFloat {
			checkFloat(t, v.text, f64(rows[0][0]), batches[1][0].Counts[0].Inexact)
		} else if got := pgText(n, rows[0][0]); got != v.text {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// whole tells that any run of bytes is a value of the node.
func whole(n *node) bool {
	switch n.kind {
	case kText, kTextTrim, kBytes, kVersioned, kEWKB, kInfText:
		return true
	}
	return n.textOnly
}

// TestCutValues shortens and lengthens each recorded binary value: a value of fixed structure must be refused, and none
// may break anything.
func TestCutValues(t *testing.T) {
	t.Parallel()
	values, cat := readValues(t)
	for _, v := range values {
		p, err := NewPlan(cat, []Column{{Name: "v", OID: v.oid, Typmod: v.typmod}}, Options{}, Binary)
		if err != nil {
			t.Fatal(err)
		}
		if p.Columns[0].AsText || v.binary == nil {
			continue
		}
		for n := range len(v.binary) + 2 {
			if n == len(v.binary) {
				continue
			}
			f := append(append([]byte{}, v.binary...), 7)[:n]
			_, err := collect(p, DecoderOptions{}, binaryStream([][]byte{f}), nil)
			if err == nil && !whole(p.nodes[0]) {
				t.Errorf("%s %.60q with %d of %d bytes is accepted", v.typ, v.text, n, len(v.binary))
			}
		}
		// Any single byte changed: an error, or a batch that is sound and that reads back.
		for i := range v.binary {
			for _, x := range []byte{0x01, 0x80, 0xFF} {
				f := bytes.Clone(v.binary)
				f[i] ^= x
				b, err := collect(p, DecoderOptions{}, binaryStream([][]byte{f}), nil)
				if err != nil {
					if _, ok := err.(*ValueError); !ok {
						t.Fatalf("%s %.60q with byte %d changed: %v", v.typ, v.text, i, err)
					}
					continue
				}
				newUnbatch(p, b[0]).rows()
			}
		}
	}
}

// TestCutStreams ends each stream at each of its bytes.
func TestCutStreams(t *testing.T) {
	t.Parallel()
	r := readRecorded(t, "obs_sbn")
	for _, tr := range []Transport{CSV, Binary} {
		p := r.plan(t, tr)
		head, rows := split(t, p, r.data[tr])
		data := append(bytes.Clone(head), bytes.Join(rows[:3], nil)...)
		ends := map[int]bool{}
		if tr == CSV {
			for n := range 4 {
				ends[len(bytes.Join(rows[:n], nil))] = true
			}
		} else {
			data = append(data, 0xFF, 0xFF)
			ends[len(data)] = true
		}
		for n := range len(data) + 1 {
			b, err := collect(p, DecoderOptions{}, data[:n], nil)
			if ends[n] != (err == nil) {
				t.Fatalf("%s cut at byte %d of %d: %v", tr, n, len(data), err)
			}
			if err == nil {
				continue
			}
			if _, ok := err.(*StreamError); !ok {
				t.Fatalf("%s cut at byte %d: %v", tr, n, err)
			}
			_ = b
		}
	}
}

func TestBrokenStreams(t *testing.T) {
	t.Parallel()
	cat := builtin(t)
	cols := []Column{{Name: "a", OID: oidInt4, Typmod: -1}, {Name: "b", OID: oidText, Typmod: -1}}
	good := binaryStream([][]byte{{0, 0, 0, 1}, []byte("x")})
	change := func(at int, b ...byte) []byte {
		d := bytes.Clone(good)
		copy(d[at:], b)
		return d
	}
	for _, tt := range []struct {
		name string
		tr   Transport
		data []byte
		want string
	}{
		{"nothing", Binary, nil, "without its trailer"},
		{"other signature", Binary, change(0, 'X'), "does not begin as a binary COPY"},
		{"text", Binary, []byte("1\tx\n\\.\n and more than nineteen bytes"), "does not begin as a binary COPY"},
		{"flags", Binary, change(11, 0, 1, 0, 0), "header flags"},
		{"negative extension", Binary, change(15, 0xFF), "header extension"},
		{"huge extension", Binary, change(15, 0x7F), "header extension"},
		{"too few fields", Binary, change(19, 0, 1), "a row of 1 fields, not 2"},
		{"too many fields", Binary, change(19, 0, 3), "a row of 3 fields, not 2"},
		{"field count -2", Binary, change(19, 0xFF, 0xFE), "a row of -2 fields"},
		{"length -2", Binary, change(21, 0xFF, 0xFF, 0xFF, 0xFE), "a field of -2 bytes"},
		{"length 2 GiB", Binary, change(21, 0x7F, 0xFF, 0xFF, 0xFF), "ends in the middle"},
		{"length of more than there is", Binary, change(29, 0, 0, 0, 200), "ends in the middle"},
		{"length of an int", Binary, change(21, 0, 0, 0, 3), "3 bytes, not 4"},
		{"behind the trailer", Binary, append(bytes.Clone(good), 0), "goes on behind its trailer"},
		{"no trailer", Binary, good[:len(good)-2], "without its trailer"},
		{"csv: too few fields", CSV, []byte("1\n"), "a row of 1 fields, not 2"},
		{"csv: too many fields", CSV, []byte("1,x,y\n"), "more than the row's 2 fields"},
		{"csv: open quote", CSV, []byte("1,\"x\n"), "ends in the middle"},
		{"csv: after a quote", CSV, []byte("1,\"x\"y\n"), "behind a closing quote"},
		{"csv: a quote in the middle", CSV, []byte("1,x\"y\n"), "in a field without quotes"},
		{"csv: a bare carriage return", CSV, []byte("1,x\r\n"), "in a field without quotes"},
		{"csv: no line feed", CSV, []byte("1,x"), "ends in the middle"},
		{"csv: not a number", CSV, []byte("1x,y\n"), "not an integer"},
		{"csv: a number too large", CSV, []byte("2147483648,y\n"), "not an integer"},
		{"csv: an empty number", CSV, []byte("\"\",y\n"), "not an integer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewPlan(cat, cols, Options{}, tt.tr)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range []int{1, 3, 1 << 20} { // however it is cut
				_, err = collect(p, DecoderOptions{}, tt.data, func(rest []byte) int { return min(step, len(rest)) })
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("in steps of %d: %v, want an error with %q", step, err, tt.want)
				}
			}
		})
	}
}
