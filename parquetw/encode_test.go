package parquetw

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
)

// What follows decodes as the format's description says it, one bit at a time, with no regard for speed.

type bitReader struct {
	b  []byte
	at int // bits
}

func (r *bitReader) bits(n int) (v uint64) {
	for i := range n {
		v |= uint64(r.b[r.at/8]>>(r.at%8)&1) << i
		r.at++
	}
	return v
}

func (r *bitReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b[r.at/8:])
	if n <= 0 {
		panic("no varint")
	}
	r.at += 8 * n
	return v
}

func (r *bitReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// readHybrid reads n values of the RLE/bit-packing hybrid.
func readHybrid(b []byte, n, width int) []uint32 {
	r := &bitReader{b: b}
	var out []uint32
	for len(out) < n {
		head := r.uvarint()
		if head&1 != 0 {
			for range head >> 1 * 8 {
				out = append(out, uint32(r.bits(width)))
			}
			continue
		}
		v := uint32(r.bits((width + 7) / 8 * 8))
		for range head >> 1 {
			out = append(out, v)
		}
	}
	if r.at != 8*len(b) {
		panic(fmt.Sprintf("%d bits of %d read", r.at, 8*len(b)))
	}
	if len(out)-n > 7 || slices.ContainsFunc(out[n:], func(x uint32) bool { return x != 0 }) {
		panic("padded with something else than zeros, or too far")
	}
	return out[:n]
}

// readDelta reads DELTA_BINARY_PACKED, as PLAIN values.
func readDelta(b []byte, width int) (out []byte) {
	r := &bitReader{b: b}
	block, minis, n := int(r.uvarint()), int(r.uvarint()), int(r.uvarint())
	x := r.varint()
	put := func() {
		if width == 4 {
			out = le.AppendUint32(out, uint32(x))
		} else {
			out = le.AppendUint64(out, uint64(x))
		}
	}
	if n > 0 {
		put()
	}
	for left := n - 1; left > 0; {
		lo := r.varint()
		widths := make([]int, minis)
		for i := range widths {
			widths[i] = int(r.bits(8))
		}
		for _, w := range widths {
			if left <= 0 {
				if w != 0 {
					panic("a miniblock behind the last value has a width")
				}
				continue
			}
			for range block / minis {
				d := int64(r.bits(w)) + lo
				if left > 0 {
					x += d
					put()
				} else if d != lo {
					panic("padded with something else than zeros")
				}
				left--
			}
		}
	}
	if r.at != 8*len(b) {
		panic(fmt.Sprintf("%d bits of %d read", r.at, 8*len(b)))
	}
	return out
}

// readDeltaLength reads DELTA_LENGTH_BYTE_ARRAY, as PLAIN values.
func readDeltaLength(b []byte, lengths []byte) (out []byte) {
	head := len(appendDelta(nil, lengths, 4)) // what appendDelta writes is under test elsewhere
	if !bytes.Equal(readDelta(b[:head], 4), lengths) {
		panic("other lengths")
	}
	b = b[head:]
	for ; len(lengths) > 0; lengths = lengths[4:] {
		n := le.Uint32(lengths)
		out = append(append(out, lengths[:4]...), b[:n]...)
		b = b[n:]
	}
	if len(b) > 0 {
		panic("bytes behind the last value")
	}
	return out
}

// readDeltaBytes reads DELTA_BYTE_ARRAY of so many values, as PLAIN values.
func readDeltaBytes(b []byte, prefixes, lengths []byte) (out []byte) {
	head := len(appendDelta(nil, prefixes, 4))
	if !bytes.Equal(readDelta(b[:head], 4), prefixes) {
		panic("other prefixes")
	}
	var last []byte
	for rest := readDeltaLength(b[head:], lengths); len(rest) > 0; prefixes = prefixes[4:] {
		n := 4 + le.Uint32(rest)
		last = append(last[:le.Uint32(prefixes):le.Uint32(prefixes)], rest[4:n]...)
		out = append(le.AppendUint32(out, uint32(len(last))), last...)
		rest = rest[n:]
	}
	return out
}

func readSplit(b []byte, width int) []byte {
	out := make([]byte, len(b))
	n := len(b) / width
	for i := range n {
		for k := range width {
			out[i*width+k] = b[k*n+i]
		}
	}
	return out
}

// FuzzEncoders runs the page encoders over any values: what the plain decoders make of their output is the input.
func FuzzEncoders(f *testing.F) {
	f.Add([]byte{}, uint8(0), uint8(0))
	f.Add(bytes.Repeat([]byte{7}, 5000), uint8(3), uint8(1))
	f.Add(bytes.Repeat([]byte("\x00\x00\x00\x80\xff\xff\xff\x7f"), 300), uint8(16), uint8(5))
	f.Add([]byte(strings.Repeat("abcdefgh", 99)), uint8(9), uint8(13))
	g := newGenerator(5)
	for range 20 {
		b := make([]byte, g.IntN(6000))
		for i := 0; i < len(b); {
			c := byte(g.IntN(1 << g.IntN(9)))
			for n := 1 + g.IntN(1+g.IntN(300)); n > 0 && i < len(b); n-- {
				b[i] = c
				i++
			}
		}
		f.Add(b, uint8(g.IntN(20)), uint8(g.IntN(64)))
	}
	f.Fuzz(func(t *testing.T, in []byte, width, from uint8) {
		w := 1 + int(width)%16
		prefix := []byte("what is there already")
		behind := func(b []byte) []byte {
			if !bytes.HasPrefix(b, prefix) {
				t.Fatal("an encoder spoilt what it appends to")
			}
			return b[len(prefix):]
		}

		var indices []uint32
		for i := 0; i+2 <= len(in); i += 2 {
			indices = append(indices, uint32(le.Uint16(in[i:]))&(1<<w-1))
		}
		if got := readHybrid(behind(appendHybrid(bytes.Clone(prefix), indices, w)), len(indices), w); !slices.Equal(got, indices) {
			t.Errorf("hybrid of width %d: %v, want %v", w, got, indices)
		}

		levels := make([]byte, len(in))
		want := make([]uint32, len(in))
		limit := uint8(1<<(w%8+1) - 1)
		for i := range in {
			levels[i] = in[i] & limit
			want[i] = uint32(levels[i])
		}
		b := behind(appendLevels(bytes.Clone(prefix), levels, limit))
		if n := int(le.Uint32(b)); n != len(b)-4 {
			t.Errorf("levels of %d bytes have length %d", len(b)-4, n)
		}
		if got := readHybrid(b[4:], len(levels), bits.Len8(limit)); !slices.Equal(got, want) {
			t.Errorf("levels up to %d: %v, want %v", limit, got, want)
		}

		for _, width := range []int{4, 8} {
			v := in[:len(in)/width*width]
			if got := readDelta(behind(appendDelta(bytes.Clone(prefix), v, width)), width); !bytes.Equal(got, v) {
				t.Errorf("delta of width %d: %x, want %x", width, got, v)
			}
			if got := readSplit(behind(appendSplit(bytes.Clone(prefix), v, width)), width); !bytes.Equal(got, v) {
				t.Errorf("byte stream split of width %d: %x, want %x", width, got, v)
			}
		}

		var texts, lengths, prefixes, suffixes, last []byte
		for rest := in; len(rest) > 0; {
			n := min(int(rest[0])%40, len(rest)-1)
			v := rest[1 : 1+n]
			texts = append(le.AppendUint32(texts, uint32(n)), v...)
			lengths = le.AppendUint32(lengths, uint32(n))
			common := 0
			for common < min(n, len(last)) && v[common] == last[common] {
				common++
			}
			prefixes, suffixes = le.AppendUint32(prefixes, uint32(common)), le.AppendUint32(suffixes, uint32(n-common))
			last, rest = v, rest[1+n:]
		}
		s := &scratch{trial: bytes.Clone(prefix), prefixes: bytes.Clone(prefix)}
		if got := readDeltaLength(behind(appendTexts(bytes.Clone(prefix), texts, false, s)), lengths); !bytes.Equal(got, texts) {
			t.Errorf("byte arrays: %q, want %q", got, texts)
		}
		if got := readDeltaBytes(behind(appendTexts(bytes.Clone(prefix), texts, true, s)), prefixes, suffixes); !bytes.Equal(got, texts) {
			t.Errorf("byte arrays with what they share left out: %q, want %q", got, texts)
		}

		bools := make([]byte, len(in))
		for i := range in {
			bools[i] = in[i] & 1
		}
		r := &bitReader{b: behind(appendBools(bytes.Clone(prefix), bools))}
		for i := range bools {
			if got := byte(r.bits(1)); got != bools[i] {
				t.Errorf("boolean %d is %d", i, got)
			}
		}
		if len(r.b) != (len(bools)+7)/8 {
			t.Errorf("%d booleans in %d bytes", len(bools), len(r.b))
		}

		// bits [lo, len) of in, appended in two pieces
		lo := min(int(from), 8*len(in))
		mid := (lo + 8*len(in)) / 2
		bitmap := appendBits(nil, 0, in, lo, mid)
		bitmap = appendBits(bitmap, mid-lo, in, mid, 8*len(in))
		src, dst := &bitReader{b: in, at: lo}, &bitReader{b: bitmap}
		rank := 0
		for i := lo; i < 8*len(in); i++ {
			a := src.bits(1)
			if a != dst.bits(1) {
				t.Fatalf("bit %d of [%d, %d, %d) went lost", i, lo, mid, 8*len(in))
			}
			if a == 1 {
				if got := bitOf(in, lo, 8*len(in), rank); got != i {
					t.Fatalf("the bit of rank %d is at %d, not %d", rank, i, got)
				}
				rank++
			}
		}
		for ; dst.at < 8*len(bitmap); dst.at++ {
			if bitmap[dst.at/8]>>(dst.at%8)&1 != 0 {
				t.Fatal("a bit is set behind the last")
			}
		}
	})
}

// FuzzFile writes a file of any values, nulls, page sizes and encodings, and has arrow-go read it.
func FuzzFile(f *testing.F) {
	f.Add([]byte("some text, some text, and some more"), uint64(1))
	f.Add([]byte{0, 0xff, 0x80, 0x7f}, uint64(99))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		g := newGenerator(seed)
		types := []arrow.DataType{
			arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64,
			arrow.BinaryTypes.Binary, arrow.FixedWidthTypes.Boolean, &arrow.FixedSizeBinaryType{ByteWidth: 5},
		}
		typ := types[g.IntN(len(types))]
		f := field("v", typ, g.IntN(2) == 0)
		list := g.IntN(3) == 0
		s := arrow.NewSchema([]arrow.Field{f}, nil)
		if list {
			f.Name = "element"
			s = arrow.NewSchema([]arrow.Field{field("v", arrow.ListOfField(f), g.IntN(2) == 0)}, nil)
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, s)
		defer b.Release()
		one := func(b array.Builder, f arrow.Field) {
			if f.Nullable && g.IntN(4) == 0 {
				b.AppendNull()
				return
			}
			k := min(1+g.IntN(9), len(in))
			v := make([]byte, 9)
			copy(v, in[:k])
			in = in[k:]
			switch b := b.(type) {
			case *array.Int32Builder:
				b.Append(int32(le.Uint32(v)))
			case *array.Int64Builder:
				b.Append(int64(le.Uint64(v)))
			case *array.Float32Builder:
				b.Append(math.Float32frombits(le.Uint32(v)))
			case *array.Float64Builder:
				b.Append(math.Float64frombits(le.Uint64(v)))
			case *array.BinaryBuilder:
				b.Append(v[:k])
			case *array.BooleanBuilder:
				b.Append(v[0]&1 != 0)
			case *array.FixedSizeBinaryBuilder:
				b.Append(v[:5])
			}
		}
		for len(in) > 0 {
			if !list {
				one(b.Field(0), f)
				continue
			}
			if s.Field(0).Nullable && g.IntN(8) == 0 {
				b.Field(0).AppendNull()
				continue
			}
			l := b.Field(0).(*array.ListBuilder)
			l.Append(true)
			for range 1 + g.IntN(5) {
				if len(in) > 0 {
					one(l.ValueBuilder(), f)
				}
			}
		}
		rec := b.NewRecordBatch()
		opt := randomOptions(g, s)
		opt.layout = layout{pageRows: 8 * (1 + g.IntN(20)), pageBytes: 1 + g.IntN(300), dictBytes: g.IntN(300)}
		opt.RowGroupRows = max(opt.RowGroupRows, 50)
		path := write(t, opt, rec, randomCuts(g.Rand, int(rec.NumRows()))...)
		if rec.NumRows() == 0 {
			return
		}
		if want, have := recordRows(rec), tableRows(readBack(t, path)); !slices.Equal(want, have) {
			t.Errorf("%s\n%s", s, difference(want, have))
		}
		checkIndexes(t, path, rec)
	})
}

// encodingsOf names the encodings of the data pages of a leaf's column chunks.
func encodingsOf(t testing.TB, path string, leaf int) string {
	t.Helper()
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []string
	for g := range r.NumRowGroups() {
		c, err := r.MetaData().RowGroup(g).ColumnChunk(leaf)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range c.EncodingStats() {
			if s.PageType == parquetDataPage {
				names = append(names, s.Encoding.String())
			}
		}
		out = append(out, strings.Join(names, "+"))
	}
	return strings.Join(out, " ")
}

const parquetDataPage = 0

// What Auto makes of columns of one behaviour each, in two row groups.
func TestAuto(t *testing.T) {
	t.Parallel()
	const rows = 40_000
	g := newGenerator(8)
	text := func(f func(i int) string) func(array.Builder, int) {
		return func(b array.Builder, i int) { b.(*array.StringBuilder).Append(f(i)) }
	}
	i64 := func(f func(i int) int64) func(array.Builder, int) {
		return func(b array.Builder, i int) { b.(*array.Int64Builder).Append(f(i)) }
	}
	f64 := func(f func(i int) float64) func(array.Builder, int) {
		return func(b array.Builder, i int) { b.(*array.Float64Builder).Append(f(i)) }
	}
	null := func(b array.Builder, _ int) { b.AppendNull() }
	const dict, delta, split, plain, lengths = "RLE_DICTIONARY", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "PLAIN", "DELTA_LENGTH_BYTE_ARRAY"
	const alike = "DELTA_BYTE_ARRAY"
	cases := []struct {
		name string
		typ  arrow.DataType
		put  func(b array.Builder, i int)
		want string // in both row groups
	}{
		{"text of a few", arrow.BinaryTypes.String, text(func(int) string { return fmt.Sprint("station ", g.IntN(10)) }), dict},
		{"text of thousands", arrow.BinaryTypes.String, text(func(int) string { return fmt.Sprint("MPS ", g.IntN(4000)) }), dict},
		{"text that never repeats", arrow.BinaryTypes.String, text(func(i int) string { return fmt.Sprintf("%x", g.Uint64()) }), lengths},
		{"text that begins alike", arrow.BinaryTypes.String, text(func(i int) string { return fmt.Sprintf("obs%x", g.Uint64()) }), alike},
		{"text in order", arrow.BinaryTypes.String, text(func(i int) string { return fmt.Sprint("obs", i) }), alike},
		{"an id", arrow.PrimitiveTypes.Int64, i64(func(i int) int64 { return 1e15 + int64(i) }), delta},
		{"an id, four times each", arrow.PrimitiveTypes.Int64, i64(func(i int) int64 { return int64(i / 4) }), delta},
		{"few integers", arrow.PrimitiveTypes.Int64, i64(func(int) int64 { return 1e9 * int64(g.IntN(50)) }), dict},
		{"any integers", arrow.PrimitiveTypes.Int64, i64(func(int) int64 { return int64(g.Uint64()) }), plain},
		{"measurements", arrow.PrimitiveTypes.Float64, f64(func(int) float64 { return g.Float64() }), split},
		{"numbers of two digits", arrow.PrimitiveTypes.Float64, f64(func(int) float64 { return float64(g.IntN(100)) / 10 }), dict},
		{"a constant", arrow.PrimitiveTypes.Float64, f64(func(int) float64 { return 30 }), dict},
		{"nothing", arrow.PrimitiveTypes.Int64, null, dict},
		{"booleans", arrow.FixedWidthTypes.Boolean, func(b array.Builder, i int) { b.(*array.BooleanBuilder).Append(i%3 == 0) }, plain},
		{"an enum that never repeats", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, func(b array.Builder, i int) {
			if err := b.(*array.BinaryDictionaryBuilder).AppendString(fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		}, dict},
	}
	var fields []arrow.Field
	for _, c := range cases {
		fields = append(fields, field(c.name, c.typ, true))
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i := range rows {
		for k, c := range cases {
			c.put(b.Field(k), i)
		}
	}
	path := write(t, Options{RowGroupRows: rows / 2}, b.NewRecordBatch())
	for i, c := range cases {
		if got, want := encodingsOf(t, path, i), c.want+" "+c.want; got != want {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		}
	}
}

// A dictionary gives up at its limit, in the middle of a page, and everything comes back.
func TestDictionaryGivesUp(t *testing.T) {
	t.Parallel()
	s := arrow.NewSchema([]arrow.Field{field("f", arrow.PrimitiveTypes.Float64, true), field("t", arrow.BinaryTypes.String, true), field("i", arrow.PrimitiveTypes.Int32, true)}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	defer b.Release()
	for i := range 3000 {
		v := i % 5
		if i > 1500 {
			v = i
		}
		b.Field(0).(*array.Float64Builder).Append(float64(v))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("value ", v))
		b.Field(2).(*array.Int32Builder).Append(int32(v))
	}
	rec := b.NewRecordBatch()
	for _, hint := range []Encoding{Auto, Dictionary} {
		opt := Options{Encodings: []Encoding{hint, hint, hint}, layout: layout{pageRows: 256, pageBytes: 1 << 20, dictBytes: 1000}}
		path := write(t, opt, rec, 100, 1400, 1401, 1800)
		want := []string{"RLE_DICTIONARY+BYTE_STREAM_SPLIT", "RLE_DICTIONARY+DELTA_BYTE_ARRAY", "RLE_DICTIONARY+DELTA_BINARY_PACKED"}
		if hint == Dictionary {
			want = []string{"RLE_DICTIONARY+PLAIN", "RLE_DICTIONARY+PLAIN", "RLE_DICTIONARY+PLAIN"}
		}
		for i := range want {
			if got := encodingsOf(t, path, i); got != want[i] {
				t.Errorf("%s of leaf %d: %s, want %s", hint, i, got, want[i])
			}
		}
		if want, have := recordRows(rec), tableRows(readBack(t, path)); !slices.Equal(want, have) {
			t.Error(difference(want, have))
		}
		checkIndexes(t, path, rec)
	}
}

// Auto makes smaller files than plain and dictionary encoding everywhere, of floats and of text.
func TestAutoIsSmallest(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]*table{"floats": floatTable(), "text": textTable()} {
		s, batches, _ := table.batches(40_000, 8192)
		size := map[Encoding]int64{}
		for _, enc := range []Encoding{Auto, Plain, Dictionary} {
			w := create(t, Options{Schema: s, Encodings: everywhere(t, s, enc)})
			for _, b := range batches {
				if err := w.Write(t.Context(), b); err != nil {
					t.Fatal(err)
				}
			}
			res, err := w.Commit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			size[enc] = res.Bytes
		}
		t.Logf("%s: %v", name, size)
		if size[Auto]*100 > size[Plain]*90 || size[Auto] > size[Dictionary] {
			t.Errorf("%s: %v", name, size)
		}
	}
}

func TestBoundsEncode(t *testing.T) {
	t.Parallel()
	encode := func(o order, values ...string) encoded {
		var b bounds
		var slab []byte
		for _, v := range values {
			b.addBytes(o, []byte(v))
		}
		return b.encode(o, &slab)
	}
	long := strings.Repeat("x", maxBound)
	for _, c := range []struct {
		name     string
		order    order
		values   []string
		min, max string
		exact    [2]bool
	}{
		{"short", orderText, []string{"b", "", "ü"}, "", "ü", [2]bool{true, true}},
		{"as long as may be", orderText, []string{long}, long, long, [2]bool{true, true}},
		{"longer", orderText, []string{long + "y"}, long, long[1:] + "y", [2]bool{false, false}},
		{"one exact, one not", orderText, []string{long, long + "y"}, long, long[1:] + "y", [2]bool{true, false}},
		{"in the middle of a rune", orderText, []string{long[2:] + "€"}, long[2:], long[3:] + "y", [2]bool{false, false}},
		{"before the surrogates", orderText, []string{long[3:] + "\ud7ff" + "z"}, long[3:] + "\ud7ff", long[3:] + "\ue000", [2]bool{false, false}},
		{"the last rune", orderText, []string{long[4:] + "\U0010ffff" + "z"}, long[4:] + "\U0010ffff", long[5:] + "y", [2]bool{false, false}},
		{"bytes", orderBytes, []string{long[1:] + "\xff\xff"}, long[1:] + "\xff", long[2:] + "y", [2]bool{false, false}},
		{"unsigned bytes", orderBytes, []string{"\x7f", "\x80"}, "\x7f", "\x80", [2]bool{true, true}},
		{"signed decimals", orderDecimal, []string{"\x7f", "\x80", "\xff", "\x00"}, "\x80", "\x7f", [2]bool{true, true}},
		{
			"decimals beyond eight bytes", orderDecimal,
			[]string{"\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\x80"},
			"\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\x80",
			[2]bool{true, true},
		},
	} {
		got := encode(c.order, c.values...)
		if !got.has || string(got.min) != c.min || string(got.max) != c.max || got.minExact != c.exact[0] || got.maxExact != c.exact[1] {
			t.Errorf("%s: got %q %v, %q %v, want %q, %q, %v", c.name, got.min, got.minExact, got.max, got.maxExact, c.min, c.max, c.exact)
		}
	}
	for _, c := range []struct {
		values []float64
		exact  [2]bool
	}{{[]float64{0}, [2]bool{false, true}}, {[]float64{math.Copysign(0, -1)}, [2]bool{true, false}}, {[]float64{0, math.Copysign(0, -1)}, [2]bool{true, true}}, {[]float64{-1, 1}, [2]bool{true, true}}} {
		for _, o := range []order{orderFloat64, orderFloat32, orderFloat16} {
			var b bounds
			var slab []byte
			for _, x := range c.values {
				switch o {
				case orderFloat64:
					b.add(o, le.AppendUint64(nil, math.Float64bits(x)), 8)
				case orderFloat32:
					b.add(o, le.AppendUint32(nil, math.Float32bits(float32(x))), 4)
				case orderFloat16:
					b.add(o, le.AppendUint16(nil, toHalf(x)), 2)
				}
			}
			got := b.encode(o, &slab)
			if got.minExact != c.exact[0] || got.maxExact != c.exact[1] {
				t.Errorf("%v: exact are %v and %v, not %v", c.values, got.minExact, got.maxExact, c.exact)
			}
			if top := len(got.min) - 1; c.values[0] == 0 && (got.min[top] != 0x80 || got.max[top] != 0) {
				t.Errorf("%v: bounds %x and %x, not -0 and +0", c.values, got.min, got.max)
			}
		}
	}
	if got := encode(orderBytes, strings.Repeat("\xff", maxBound+1)); got.has {
		t.Errorf("above 0xff, 0xff, … there is nothing short: %q", got.max)
	}
	if got := encode(orderText, strings.Repeat("\U0010ffff", maxBound)); got.has {
		t.Errorf("above the last runes there is nothing short: %q", got.max)
	}
	for h := range 1 << 16 {
		x := fromHalf(uint16(h))
		if math.IsNaN(x) != (h&0x7c00 == 0x7c00 && h&0x3ff != 0) || !math.IsNaN(x) && toHalf(x) != uint16(h) {
			t.Errorf("half %04x is %v and back %04x", h, x, toHalf(x))
		}
	}
}

// Geometry and intervals have no order that says anything.
func TestNoBounds(t *testing.T) {
	t.Parallel()
	wkb := field("geometry", arrow.BinaryTypes.Binary, true)
	wkb.Metadata = arrow.NewMetadata([]string{"ARROW:extension:name"}, []string{"geoarrow.wkb"})
	s := arrow.NewSchema([]arrow.Field{wkb, field("plain", arrow.BinaryTypes.Binary, true)}, nil)
	path := write(t, Options{}, record(t, s, `[{"geometry":"AAAA","plain":"AAAA"}]`))
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, want := range []bool{false, true} {
		c, err := r.MetaData().RowGroup(0).ColumnChunk(i)
		if err != nil {
			t.Fatal(err)
		}
		st, err := c.Statistics()
		if err != nil {
			t.Fatal(err)
		}
		if st.HasMinMax() != want {
			t.Errorf("%s has bounds: %v", s.Field(i).Name, !want)
		}
	}
}
