package typemap

import (
	"flag"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the property tests; 0 takes a new one, which is printed")

func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed: go test ./typemap -run '^%s$' -seed %d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// numericBytes is the wire form of a plain decimal, made here by long division from the text.
func numericBytes(text string) []byte {
	sign := uint16(numericPos)
	switch text {
	case "NaN":
		return []byte{0, 0, 0, 0, 0xC0, 0, 0, 0}
	case "Infinity":
		return []byte{0, 0, 0, 0, 0xD0, 0, 0, 0}
	case "-Infinity":
		return []byte{0, 0, 0, 0, 0xF0, 0, 0, 0}
	}
	if s, ok := strings.CutPrefix(text, "-"); ok {
		text, sign = s, numericNeg
	}
	whole, frac, _ := strings.Cut(text, ".")
	dscale := len(frac)
	whole = strings.Repeat("0", (4-len(whole)%4)%4) + whole
	frac += strings.Repeat("0", (4-len(frac)%4)%4)
	weight := len(whole)/4 - 1
	var digits []uint16
	for s := whole + frac; s != ""; s = s[4:] {
		d, err := strconv.ParseUint(s[:4], 10, 16)
		if err != nil {
			panic(err)
		}
		digits = append(digits, uint16(d))
	}
	for len(digits) > 0 && digits[0] == 0 {
		digits = digits[1:]
		weight--
	}
	for len(digits) > 0 && digits[len(digits)-1] == 0 {
		digits = digits[:len(digits)-1]
	}
	if len(digits) == 0 {
		weight, sign = 0, numericPos
	}
	out := be.AppendUint16(nil, uint16(len(digits)))
	out = be.AppendUint16(out, uint16(int16(weight)))
	out = be.AppendUint16(be.AppendUint16(out, sign), uint16(dscale))
	for _, d := range digits {
		out = be.AppendUint16(out, d)
	}
	return out
}

// randomDecimal is a decimal as numeric_out prints one.
func randomDecimal(r *rand.Rand) string {
	digits := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('0' + r.IntN(10))
		}
		return string(b)
	}
	s := strings.TrimLeft(digits(r.IntN(1+r.IntN(25))), "0")
	if s == "" {
		s = "0"
	}
	if r.IntN(3) > 0 {
		s += "." + strings.Repeat("0", r.IntN(1+r.IntN(12))) + digits(1+r.IntN(20))
	}
	if r.IntN(8) == 0 && s != "0" {
		s = strings.TrimRight(s, ".") + strings.Repeat("0", r.IntN(30))
	}
	switch r.IntN(10) {
	case 0: // the exact middle between two float64s, and its neighbours
		f := math.Float64frombits(r.Uint64()>>12 | (1023+uint64(r.IntN(40)))<<52)
		mid := new(big.Float).SetPrec(200).Add(big.NewFloat(f), big.NewFloat(math.Nextafter(f, math.Inf(1))))
		mid.Quo(mid, big.NewFloat(2))
		s = mid.Text('f', 70)
		if r.IntN(2) == 0 {
			s += "1"
		}
	case 1: // the shortest decimal of a float64
		s = strconv.FormatFloat(math.Exp(r.NormFloat64()*30), 'f', -1, 64)
	}
	if r.IntN(2) == 0 && strings.Trim(s, "0.") != "" {
		s = "-" + s
	}
	return s
}

// TestNumericFloat64 compares the float64s and their counts with math/big's, from text and from binary.
func TestNumericFloat64(t *testing.T) {
	t.Parallel()
	r := random(t)
	check := func(text string) {
		t.Helper()
		w, err := readNumeric(numericBytes(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := string(w.appendText(nil)); got != text {
			t.Fatalf("%s: printed as %s", text, got)
		}
		fromText, exactText, err1 := floatFromText([]byte(text))
		fromBin, exactBin, err2 := w.float64()
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: text %v, binary %v", text, err1, err2)
		}
		if fromText != fromBin || exactText != exactBin {
			t.Fatalf("%s: text gives %x %v, binary %x %v", text, fromText, exactText, fromBin, exactBin)
		}
		count := int64(1)
		if exactText {
			count = 0
		}
		checkFloat(t, text, math.Float64frombits(fromText), count)
		if q, ok := quickNumeric(numericBytes(text)); ok && (q != fromBin || !exactBin) {
			t.Fatalf("%s: quickNumeric gives %x, the exact way %x (%v)", text, q, fromBin, exactBin)
		}
		var buf [64]byte
		copy(buf[:], text+",")
		if len(text) < quickBytes {
			if q, k := quickDecimal(buf[:], ','); k > 0 && (q != fromText || !exactText || k != len(text)) {
				t.Fatalf("%s: quickDecimal gives %x, the exact way %x (%v)", text, q, fromText, exactText)
			}
		}
	}
	for _, text := range []string{
		"0", "0.00", "1", "-1", "0.1", "999999999999999", "9999999999999999", "999999999999999.9", "0.000000000000001", "123456789012345", "1234567890123456", "9007199254740992",
		"9007199254740993", "9007199254740994", "0." + strings.Repeat("0", 320) + "1", "0." + strings.Repeat("0", 307) + "22250738585072014", "0." + strings.Repeat("0", 323) + "24703282292062327",
		"0." + strings.Repeat("0", 323) + "5", "17976931348623157" + strings.Repeat("0", 292), "1" + strings.Repeat("0", 22), "1" + strings.Repeat("0", 23), "1" + strings.Repeat("0", 300), "4.35", "0.3",
		"100000000000000000000000000000000000000000000001", strings.Repeat("9", 308),
	} {
		check(text)
	}
	n := 300000
	if testing.Short() {
		n = 20000
	}
	for range n {
		check(randomDecimal(r))
		if t.Failed() {
			return
		}
	}
	for _, text := range []string{"1" + strings.Repeat("0", 400), "-1" + strings.Repeat("0", 309), strings.Repeat("9", 400) + ".5"} {
		w, err := readNumeric(numericBytes(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.float64(); err == nil {
			t.Errorf("%.20s… from binary is no error", text)
		}
		if _, _, err := floatFromText([]byte(text)); err == nil {
			t.Errorf("%.20s… from text is no error", text)
		}
	}
}

// TestDecimalFloat compares the conversion with strconv's.
func TestDecimalFloat(t *testing.T) {
	t.Parallel()
	r := random(t)
	ok, n := 0, 400000
	for range n {
		m := r.Uint64() >> r.IntN(64)
		e := r.IntN(230) - 115
		if r.IntN(2) == 0 {
			e = r.IntN(50) - 25
		}
		f, good := decimalFloat(m, e)
		if !good {
			continue
		}
		ok++
		want, err := strconv.ParseFloat(fmt.Sprintf("%de%d", m, e), 64)
		if err != nil || f != want {
			t.Fatalf("%de%d: got %v, want %v (%v)", m, e, f, want, err)
		}
	}
	if ok < n/2 {
		t.Errorf("only %d of %d decided", ok, n)
	}
}

// TestFloatTexts compares both float parsers, exact and quick, with strconv's over every form that the server prints.
func TestFloatTexts(t *testing.T) {
	t.Parallel()
	r := random(t)
	var buf [2 * quickBytes]byte
	for i := range 400000 {
		f := math.Float64frombits(r.Uint64())
		switch i % 4 {
		case 1:
			f = r.NormFloat64() * 1000
		case 2:
			f = float64(r.Int64N(1<<53)) / float64(uint10[r.IntN(16)])
		case 3:
			f = math.Exp(r.NormFloat64() * 20)
		}
		text := pgFloat(f, 64)
		got, err := parseFloat64([]byte(text))
		if err != nil || got != canon64(math.Float64bits(f)) {
			t.Fatalf("%s: got %x, %v, want %x", text, got, err, math.Float64bits(f))
		}
		clear(buf[:])
		copy(buf[:], text+"\n")
		if q, k := quickFloat64(buf[:], '\n'); k > 0 && (q != got || k != len(text)) {
			t.Fatalf("%s: quickFloat64 gives %x (%d bytes), want %x", text, q, k, got)
		}
		g := math.Float32frombits(r.Uint32())
		if i%3 > 0 {
			g = float32(f)
		}
		text = pgFloat(float64(g), 32)
		got32, err := parseFloat32([]byte(text))
		if err != nil || got32 != canon32(math.Float32bits(g)) {
			t.Fatalf("%s: got %x, %v, want %x", text, got32, err, math.Float32bits(g))
		}
		clear(buf[:])
		copy(buf[:], text+",")
		if q, k := quickFloat32(buf[:], ','); k > 0 && (q != got32 || k != len(text)) {
			t.Fatalf("%s: quickFloat32 gives %x (%d bytes), want %x", text, q, k, got32)
		}
	}
	// A decimal beside the middle of two float32s, whose nearest float64 is that middle: narrowing it would round twice.
	for _, text := range []string{"1.00000005960464477540", "1.00000005960464477539062500001", "1.000000059604644775390625", "16777217.0000000001", "16777217"} {
		want, err := strconv.ParseFloat(text, 32)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseFloat32([]byte(text)); err != nil || got != math.Float32bits(float32(want)) {
			t.Errorf("%s: got %x, %v, want %x", text, got, err, math.Float32bits(float32(want)))
		}
	}
	// The float64 in the middle of two float32s, by its shortest decimal, which lies on one side of it.
	for range 100000 {
		f := math.Float64frombits(uint64(1023-60+r.IntN(120))<<52 | r.Uint64N(1<<23)<<29 | 1<<28)
		text := strconv.FormatFloat(f, 'f', -1, 64)
		want, err := strconv.ParseFloat(text, 32)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseFloat32([]byte(text)); err != nil || got != math.Float32bits(float32(want)) {
			t.Fatalf("%s: got %x, %v, want %x", text, got, err, math.Float32bits(float32(want)))
		}
		clear(buf[:])
		copy(buf[:quickBytes], text+",")
		if got, k := quickFloat32(buf[:], ','); k > 0 && got != math.Float32bits(float32(want)) {
			t.Fatalf("%s: quickFloat32 gives %x, want %x", text, got, math.Float32bits(float32(want)))
		}
	}
	// Numbers of more digits than any float has.
	for range 100000 {
		text := strings.TrimPrefix(randomDecimal(r), "-")
		if len(text) >= quickBytes {
			continue
		}
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		clear(buf[:])
		copy(buf[:], text+",")
		if got, k := quickFloat64(buf[:], ','); k > 0 && (got != math.Float64bits(want) || k != len(text)) {
			t.Fatalf("%s: quickFloat64 gives %x (%d bytes), want %x", text, got, k, math.Float64bits(want))
		}
		if got, k := quickInt(buf[:], ','); k > 0 && strconv.FormatInt(got, 10) != text {
			t.Fatalf("%s: quickInt gives %d", text, got)
		}
	}
	for _, text := range []string{"5.", ".5", "-", "", "5..1", "5.1.2", "12345678.", "123456789.", "1234567.x", "1x", "12345678x", "5e3", "--5", "-.5", "99999999999999999999", "9999999999.9999999999", "18446744073709551616", "0.18446744073709551616"} {
		clear(buf[:])
		copy(buf[:], text+",")
		if m, frac, _, k := quickScan(buf[:], ','); k > 0 {
			t.Errorf("%q is taken by quickScan for %d/10^%d", text, m, frac)
		}
	}
	for _, text := range []string{"", "-", ".", "1.", "1e", "1e+", "1e5x", "0x10", "inf", "nan", "+1", "1_0", " 1", "1 ", "--1", "1..2", "1e1.5", "Infinity ", "1e400", "٣"} {
		if _, err := parseFloat64([]byte(text)); err == nil {
			t.Errorf("%q is taken for a float64", text)
		}
		if _, err := parseFloat32([]byte(text)); err == nil {
			t.Errorf("%q is taken for a float32", text)
		}
	}
}

// TestDecimals compares decimals of random precision and scale with math/big, from text and from binary.
func TestDecimals(t *testing.T) {
	t.Parallel()
	r := random(t)
	for range 100000 {
		p := 1 + r.IntN(76)
		scale := r.IntN(p + 1)
		text := randomDecimal(r)
		if r.IntN(2) == 0 { // one that fits
			x := new(big.Int)
			x.SetString(strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return r
				}
				return -1
			}, text), 10)
			x.Mod(x, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(p)), nil))
			if r.IntN(2) == 0 {
				x.Neg(x)
			}
			text = fixedPoint(x, scale)
		}
		exact, _ := new(big.Rat).SetString(text)
		want := new(big.Rat).Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		fits := want.IsInt() && new(big.Int).Abs(want.Num()).Cmp(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(p)), nil)) < 0

		n := decimalNode(kNumDecimal, p, scale)
		w1, neg1, err1 := decimalFromText([]byte(text), p, scale)
		num, err := readNumeric(numericBytes(text))
		if err != nil {
			t.Fatal(err)
		}
		w2, err2 := num.decimal(p, scale)
		if (err1 == nil) != fits || (err2 == nil) != fits {
			t.Fatalf("%s as decimal(%d,%d): fits %v, text says %v, binary %v", text, p, scale, fits, err1, err2)
		}
		if !fits {
			continue
		}
		neg2 := num.sign == numericNeg
		b1, b2 := make([]byte, n.width), make([]byte, n.width)
		w1.put(b1, neg1)
		w2.put(b2, neg2)
		if bigInt(b1).Cmp(want.Num()) != 0 || bigInt(b2).Cmp(want.Num()) != 0 {
			t.Fatalf("%s as decimal(%d,%d): text %s, binary %s, want %s", text, p, scale, bigInt(b1), bigInt(b2), want.Num())
		}
	}
	for _, text := range []string{"", "-", ".", "1.", "1e5", "NaN", "1.2.3", "+1", " 1", "1,5"} {
		if _, _, err := decimalFromText([]byte(text), 10, 2); err == nil {
			t.Errorf("%q is taken for a decimal", text)
		}
	}
}

func TestDecimalFromOddWire(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil},
		{"cut", []byte{0, 1, 0, 0, 0, 0, 0, 0}},
		{"too long", []byte{0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"digit of 10000", []byte{0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10}},
		{"sign", []byte{0, 1, 0, 0, 0x12, 0x34, 0, 0, 0, 1}},
		{"NaN with digits", []byte{0, 1, 0, 0, 0xC0, 0, 0, 0, 0, 1}},
		{"scale", []byte{0, 1, 0, 0, 0, 0, 0xFF, 0xFF, 0, 1}},
		{"digits that lie", []byte{0xFF, 0xFF, 0, 0, 0, 0, 0, 0}},
	} {
		if _, err := readNumeric(tt.b); err == nil {
			t.Errorf("%s is no error", tt.name)
		}
		if _, ok := quickNumeric(tt.b); ok && tt.name != "scale" { // which the value does not depend on
			t.Errorf("%s is taken by quickNumeric", tt.name)
		}
	}
	// Leading and trailing zero digits, which the server never sends, change no value.
	odd := []byte{0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0}
	n, err := readNumeric(odd)
	if err != nil {
		t.Fatal(err)
	}
	if b, exact, err := n.float64(); err != nil || !exact || math.Float64frombits(b) != 7 {
		t.Errorf("got %v, %v, %v", math.Float64frombits(b), exact, err)
	}
	if w, err := n.decimal(5, 2); err != nil || w[0] != 700 {
		t.Errorf("got %v, %v", w, err)
	}
}
