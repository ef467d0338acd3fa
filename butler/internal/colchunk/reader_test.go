package colchunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"fast-export/internal/column"
)

// model is a column as it was written: one entry a row, nil for null; lists are concatenated elements.
type model struct {
	name     string
	physical column.Physical
	width    int
	optional bool
	list     int
	rows     [][]byte // PLAIN, without the length of a byte array
}

func (m *model) node() schema.Node {
	rep := parquet.Repetitions.Required
	if m.optional {
		rep = parquet.Repetitions.Optional
	}
	leaf := func(name string, rep parquet.Repetition) schema.Node {
		switch m.physical {
		case column.Bool:
			return schema.NewBooleanNode(name, rep, -1)
		case column.Int32:
			return schema.NewInt32Node(name, rep, -1)
		case column.Int64:
			return schema.NewInt64Node(name, rep, -1)
		case column.Float32:
			return schema.NewFloat32Node(name, rep, -1)
		case column.Float64:
			return schema.NewFloat64Node(name, rep, -1)
		case column.ByteArray:
			return schema.NewByteArrayNode(name, rep, -1)
		}
		return schema.NewFixedLenByteArrayNode(name, rep, int32(m.width), -1)
	}
	if m.list == 0 {
		return leaf("c", rep)
	}
	inner := schema.MustGroup(schema.NewGroupNode("list", parquet.Repetitions.Repeated, schema.FieldList{leaf("element", parquet.Repetitions.Optional)}, -1))
	return schema.MustGroup(schema.NewGroupNodeLogical("c", parquet.Repetitions.Optional, schema.FieldList{inner}, schema.NewListLogicalType(), -1))
}

// write makes a Parquet file of one column and one row group.
func (m *model) write(t testing.TB, props ...parquet.WriterProperty) []byte {
	t.Helper()
	root := schema.MustGroup(schema.NewGroupNode("schema", parquet.Repetitions.Required, schema.FieldList{m.node()}, -1))
	var out bytes.Buffer
	w := file.NewParquetWriter(&out, root, file.WithWriterProps(parquet.NewWriterProperties(props...)))
	rg, err := w.AppendRowGroupChecked()
	if err != nil {
		t.Fatal(err)
	}
	cw, err := rg.NextColumn()
	if err != nil {
		t.Fatal(err)
	}
	var defs, reps []int16
	var values [][]byte
	for _, row := range m.rows {
		switch {
		case m.list > 0:
			for k := range m.list {
				defs = append(defs, 3)
				reps = append(reps, int16(min(k, 1)))
				values = append(values, row[k*m.width:(k+1)*m.width])
			}
		case row == nil:
			defs = append(defs, 0)
		default:
			defs = append(defs, 1)
			values = append(values, row)
		}
	}
	if !m.optional && m.list == 0 {
		defs = nil
	}
	step := 700 // pages end between calls; in version 1 in the middle of a list
	if m.list > 0 && parquet.NewWriterProperties(props...).DataPageVersion() == parquet.DataPageV2 {
		step = m.list * max(1, step/m.list)
	}
	total := max(len(defs), len(values))
	for at, v := 0, 0; at < total; at += step {
		n := min(step, total-at)
		var d, r []int16
		k := n
		if defs != nil {
			d = defs[at : at+n]
			k = 0
			for _, x := range d {
				if int(x) == 1 && m.list == 0 || x == 3 {
					k++
				}
			}
		}
		if reps != nil {
			r = reps[at : at+n]
		}
		m.writeBatch(t, cw, values[v:v+k], d, r)
		v += k
	}
	if err := cw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (m *model) writeBatch(t testing.TB, cw file.ColumnChunkWriter, values [][]byte, d, r []int16) {
	t.Helper()
	var err error
	switch w := cw.(type) {
	case *file.BooleanColumnChunkWriter:
		v := make([]bool, len(values))
		for i := range v {
			v[i] = values[i][0] == 1
		}
		_, err = w.WriteBatch(v, d, r)
	case *file.Int32ColumnChunkWriter:
		v := make([]int32, len(values))
		for i := range v {
			v[i] = int32(binary.LittleEndian.Uint32(values[i]))
		}
		_, err = w.WriteBatch(v, d, r)
	case *file.Int64ColumnChunkWriter:
		v := make([]int64, len(values))
		for i := range v {
			v[i] = int64(binary.LittleEndian.Uint64(values[i]))
		}
		_, err = w.WriteBatch(v, d, r)
	case *file.Float32ColumnChunkWriter:
		v := make([]float32, len(values))
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(values[i]))
		}
		_, err = w.WriteBatch(v, d, r)
	case *file.Float64ColumnChunkWriter:
		v := make([]float64, len(values))
		for i := range v {
			v[i] = math.Float64frombits(binary.LittleEndian.Uint64(values[i]))
		}
		_, err = w.WriteBatch(v, d, r)
	case *file.ByteArrayColumnChunkWriter:
		v := make([]parquet.ByteArray, len(values))
		for i := range v {
			v[i] = values[i]
		}
		_, err = w.WriteBatch(v, d, r)
	case *file.FixedLenByteArrayColumnChunkWriter:
		v := make([]parquet.FixedLenByteArray, len(values))
		for i := range v {
			v[i] = values[i]
		}
		_, err = w.WriteBatch(v, d, r)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// open gives the source of the only column chunk of a file.
func (m *model) open(t testing.TB, raw []byte) Source {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	md, err := r.MetaData().RowGroup(0).ColumnChunk(0)
	if err != nil {
		t.Fatal(err)
	}
	offset := md.DataPageOffset()
	if md.HasDictionaryPage() && md.DictionaryPageOffset() > 0 {
		offset = md.DictionaryPageOffset()
	}
	c := r.MetaData().Schema.Column(0)
	return Source{
		File: bytes.NewReader(raw), FileBytes: int64(len(raw)), Offset: offset, Bytes: md.TotalCompressedSize(), Compression: md.Compression(),
		Physical: m.physical, Width: m.width, MaxDef: uint8(c.MaxDefinitionLevel()), MaxRep: uint8(c.MaxRepetitionLevel()),
		List: m.list, ElementNullable: m.list > 0, Rows: int64(len(m.rows)),
	}
}

// models makes columns of every physical type.
func models(rng *rand.Rand, n int) []*model {
	var out []*model
	random := func(width int) func() []byte {
		return func() []byte {
			b := make([]byte, width)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			return b
		}
	}
	add := func(name string, p column.Physical, width int, optional bool, list int, next func() []byte) {
		m := &model{name: name, physical: p, width: width, optional: optional, list: list}
		nulls := 0 // runs of nulls and of values
		for i := range n {
			if nulls == 0 {
				nulls = rng.IntN(40) - 25
			}
			row := []byte{}
			for range max(1, list) {
				row = append(row, next()...)
			}
			if optional && list == 0 && (nulls > 0 || i%7 == 3) {
				row = nil
			}
			if nulls > 0 {
				nulls--
			} else if nulls < 0 {
				nulls++
			}
			m.rows = append(m.rows, row)
		}
		out = append(out, m)
	}
	few := func() []byte { b := make([]byte, 8); b[0] = byte(rng.IntN(9)); return b }
	text := func() []byte { return []byte(strings.Repeat("ab", rng.IntN(12)) + fmt.Sprint(rng.IntN(60))) }
	for _, optional := range []bool{false, true} {
		o := fmt.Sprintf("optional=%t", optional)
		add("bool "+o, column.Bool, 1, optional, 0, func() []byte { return []byte{byte(rng.IntN(2))} })
		add("int32 "+o, column.Int32, 4, optional, 0, random(4))
		add("int64 "+o, column.Int64, 8, optional, 0, random(8))
		add("int64 few "+o, column.Int64, 8, optional, 0, few)
		// No NaN among them: arrow-go's dictionaries make all NaNs one.
		add("float32 "+o, column.Float32, 4, optional, 0, func() []byte {
			return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(rng.NormFloat64())))
		})
		add("float64 "+o, column.Float64, 8, optional, 0, func() []byte {
			return binary.LittleEndian.AppendUint64(nil, math.Float64bits(rng.NormFloat64()))
		})
		add("text "+o, column.ByteArray, 0, optional, 0, text)
		add("fixed "+o, column.Fixed, 5, optional, 0, random(5))
	}
	add("list of int32", column.Int32, 4, false, 3, random(4))
	add("list of one", column.Int64, 8, false, 1, few)
	add("long list", column.Int32, 4, false, 1500, random(4))
	return out
}

// configs are settings of the writer: encodings, page versions and sizes, codecs.
func configs(m *model) map[string][]parquet.WriterProperty {
	small := parquet.WithDataPageSize(900)
	batch := parquet.WithBatchSize(64)
	plain := parquet.WithDictionaryDefault(false)
	v2 := parquet.WithDataPageVersion(parquet.DataPageV2)
	out := map[string][]parquet.WriterProperty{
		"dictionary":          {small, batch},
		"dictionary v2":       {small, batch, v2, parquet.WithCompression(compress.Codecs.Zstd)},
		"dictionary overflow": {small, batch, parquet.WithDictionaryPageSizeLimit(2000), parquet.WithCompression(compress.Codecs.Snappy)},
		"plain":               {plain, small, batch},
		"plain v2 gzip":       {plain, small, batch, v2, parquet.WithCompression(compress.Codecs.Gzip)},
		"one page brotli":     {plain, parquet.WithCompression(compress.Codecs.Brotli)},
		"lz4":                 {plain, parquet.WithCompression(compress.Codecs.Lz4Raw)},
	}
	encodings := map[column.Physical][]parquet.Encoding{
		column.Bool:      {parquet.Encodings.RLE},
		column.Int32:     {parquet.Encodings.DeltaBinaryPacked, parquet.Encodings.ByteStreamSplit},
		column.Int64:     {parquet.Encodings.DeltaBinaryPacked, parquet.Encodings.ByteStreamSplit},
		column.Float32:   {parquet.Encodings.ByteStreamSplit},
		column.Float64:   {parquet.Encodings.ByteStreamSplit},
		column.ByteArray: {parquet.Encodings.DeltaByteArray, parquet.Encodings.DeltaLengthByteArray},
		column.Fixed:     {parquet.Encodings.ByteStreamSplit},
	}
	for _, e := range encodings[m.physical] {
		out[e.String()] = []parquet.WriterProperty{plain, small, batch, parquet.WithEncoding(e)}
		out[e.String()+" v2"] = []parquet.WriterProperty{plain, batch, v2, parquet.WithEncoding(e), parquet.WithCompression(compress.Codecs.Snappy)}
	}
	return out
}

// want builds the buffer that rows of the model must come out as.
func (m *model) want(rows []int) *column.Buffer {
	b := &column.Buffer{}
	for k, i := range rows {
		row := m.rows[i]
		if m.list > 0 {
			for e := range m.list {
				b.Def = append(b.Def, 3)
				b.Rep = append(b.Rep, byte(min(e, 1)))
			}
			b.Data = append(b.Data, row...)
			b.Values += m.list
			continue
		}
		if k%8 == 0 {
			b.Valid = append(b.Valid, 0)
		}
		if row == nil {
			continue
		}
		b.Valid[k/8] |= 1 << (k % 8)
		if m.physical == column.ByteArray {
			b.Data = binary.LittleEndian.AppendUint32(b.Data, uint32(len(row)))
		}
		b.Data = append(b.Data, row...)
		b.Values++
	}
	return b
}

func equal(t *testing.T, got, want *column.Buffer) {
	t.Helper()
	if got.Values != want.Values || !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Valid, want.Valid) || !bytes.Equal(got.Def, want.Def) || !bytes.Equal(got.Rep, want.Rep) {
		t.Fatalf("got %d values, %d bytes, valid %x; want %d, %d, %x", got.Values, len(got.Data), excerpt(got.Valid), want.Values, len(want.Data), excerpt(want.Valid))
	}
}

func excerpt(b []byte) []byte { return b[:min(len(b), 40)] }

// TestReadSkipDrop compares every type under every encoding with what was written, while rows are read, skipped and
// memory is dropped at random.
func TestReadSkipDrop(t *testing.T) {
	t.Parallel()
	seed := uint64(7)
	rng := rand.New(rand.NewPCG(seed, 1))
	scratch := &Scratch{PageLimit: 1 << 24}
	defer scratch.Close()
	var r Reader
	for _, m := range models(rng, 3001) {
		if m.list > 100 {
			m.rows = m.rows[:40]
		}
		for name, props := range configs(m) {
			t.Run(m.name+"/"+name, func(t *testing.T) {
				raw := m.write(t, props...)
				src := m.open(t, raw)
				for trial := range 6 {
					if err := r.Reset(src, scratch); err != nil {
						t.Fatal(err)
					}
					var rows []int
					got := &column.Buffer{}
					for at := 0; at < len(m.rows); {
						n := min(1+rng.IntN(1+len(m.rows)/(1+trial*trial)), len(m.rows)-at)
						switch act := rng.IntN(4); {
						case trial > 0 && act == 0:
							if err := r.Skip(n); err != nil {
								t.Fatal(err)
							}
							at += n
							continue
						case trial > 2 && act == 1:
							r.Drop()
							continue
						}
						room := 1 << 30
						if trial == 5 {
							room = len(got.Data) + rng.IntN(400)
						}
						k, err := r.Read(got, len(rows), n, room)
						if err != nil {
							t.Fatal(err)
						}
						if k == 0 || k < n && m.physical != column.ByteArray {
							t.Fatalf("read %d rows of %d", k, n)
						}
						for i := range k {
							rows = append(rows, at+i)
						}
						at += k
						if r.Row() != int64(at) {
							t.Fatalf("at row %d, says %d", at, r.Row())
						}
					}
					equal(t, got, m.want(rows))
					if _, err := r.Read(got, 0, 1, 1<<30); !isDamage(err) {
						t.Fatalf("reading past the end: %v", err)
					}
				}
			})
		}
	}
}

func isDamage(err error) bool {
	var d *DamageError
	return errors.As(err, &d)
}

// TestByteCap checks that a read of byte arrays stops at its limit, however few bytes they take in the file.
func TestByteCap(t *testing.T) {
	t.Parallel()
	m := &model{physical: column.ByteArray}
	for range 5000 {
		m.rows = append(m.rows, bytes.Repeat([]byte("x"), 10000))
	}
	raw := m.write(t)
	if len(raw) > 30000 {
		t.Fatalf("the file has %d bytes: nothing is shown", len(raw))
	}
	scratch := &Scratch{PageLimit: 1 << 20}
	defer scratch.Close()
	var r Reader
	if err := r.Reset(m.open(t, raw), scratch); err != nil {
		t.Fatal(err)
	}
	buf := &column.Buffer{}
	n, err := r.Read(buf, 0, 5000, 100_000)
	if err != nil || n > 11 || n < 9 {
		t.Fatalf("read %d rows, %v", n, err)
	}
	if n, err = r.Read(&column.Buffer{}, 0, 5000, 10); err != nil || n != 1 {
		t.Fatalf("read %d rows, %v", n, err)
	}
	for _, c := range []struct{ n, bytes, want int }{{5000, 100_060, 10}, {5000, 1, 1}, {7, 1 << 30, 7}, {3, 30_012, 3}} {
		if got, err := r.Fit(c.n, c.bytes); err != nil || got != c.want {
			t.Errorf("%d rows in %d bytes: %d fit, %v, want %d", c.n, c.bytes, got, err, c.want)
		}
	}
}

// dataPage makes a data page of version 1 that is not compressed: its header by hand, in Thrift's compact protocol.
func dataPage(body []byte, values, encoding int64, crc *uint32) []byte {
	var b []byte
	number := func(v int64) { b = binary.AppendUvarint(append(b, 0x15), uint64(v<<1)^uint64(v>>63)) } // an i32 behind the field before it
	number(pageData)
	number(int64(len(body)))
	number(int64(len(body)))
	if crc != nil {
		number(int64(int32(*crc)))
		b = append(b, 0x1c) // the next field is a struct
	} else {
		b = append(b, 0x2c)
	}
	number(values)
	number(encoding)
	number(encRLE)
	number(encRLE)
	return append(append(b, 0, 0), body...)
}

// readPages reads a column chunk of required values to its end.
func readPages(scratch *Scratch, physical column.Physical, width int, rows int64, pages ...[]byte) ([]byte, error) {
	raw := append([]byte("PAR1"), bytes.Join(pages, nil)...)
	var r Reader
	src := Source{File: bytes.NewReader(raw), FileBytes: int64(len(raw)), Offset: 4, Bytes: int64(len(raw)) - 4, Compression: compress.Codecs.Uncompressed, Physical: physical, Width: width, Rows: rows}
	if err := r.Reset(src, scratch); err != nil {
		return nil, err
	}
	buf := &column.Buffer{}
	for at := int64(0); at < rows; {
		n, err := r.Read(buf, int(at), int(min(rows-at, 1<<16)), math.MaxInt)
		if err != nil {
			return nil, err
		}
		at += int64(n)
	}
	return buf.Data, nil
}

// TestChecksums reads pages with checksums, right and wrong.
func TestChecksums(t *testing.T) {
	t.Parallel()
	scratch := &Scratch{PageLimit: 1 << 20}
	defer scratch.Close()
	body := []byte("two-times-eight!")
	right := crc32.ChecksumIEEE(body)
	if got, err := readPages(scratch, column.Int64, 8, 2, dataPage(body, 2, encPlain, &right)); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%q, %v", got, err)
	}
	for _, wrong := range []uint32{right ^ 1, right ^ 1<<31, 0} {
		if _, err := readPages(scratch, column.Int64, 8, 2, dataPage(body, 2, encPlain, &wrong)); !isDamage(err) || !strings.Contains(err.Error(), "checksum is wrong") {
			t.Errorf("%08x: %v", wrong, err)
		}
	}
}

// TestMoreValuesThanRows has a page that goes beyond what the footer says.
func TestMoreValuesThanRows(t *testing.T) {
	t.Parallel()
	scratch := &Scratch{PageLimit: 1 << 20}
	defer scratch.Close()
	one, two := dataPage(make([]byte, 8), 1, encPlain, nil), dataPage(make([]byte, 16), 2, encPlain, nil)
	for _, c := range []struct {
		rows  int64
		pages [][]byte
		err   string
	}{
		{3, [][]byte{one, two}, ""},
		{1, [][]byte{two}, "more values than its footer says"},
		{2, [][]byte{one, two}, "more values than its footer says"},
		{4, [][]byte{one, two}, "unexpected EOF"},
	} {
		if _, err := readPages(scratch, column.Int64, 8, c.rows, c.pages...); c.err == "" && err != nil || c.err != "" && (!isDamage(err) || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%d rows in %d pages: %v", c.rows, len(c.pages), err)
		}
	}
}

// TestPageLimit reads pages that are larger than may be, by what they have in the file or by what becomes of it.
func TestPageLimit(t *testing.T) {
	t.Parallel()
	const limit = 1 << 16
	run := func(values uint64) []byte { // booleans that are all true, in one run
		b := append(binary.AppendUvarint(nil, values<<1), 1)
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	deltas := func(values uint64) []byte { // numbers that are all 0
		b := []byte{0x80, 0x01, 0x04} // blocks of 128, in 4 parts
		b = append(binary.AppendUvarint(b, values), 0)
		for range (values + 126) / 128 {
			b = append(b, 0, 0, 0, 0, 0)
		}
		return b
	}
	for _, c := range []struct {
		name     string
		physical column.Physical
		width    int
		rows     int64
		page     []byte
		err      string
	}{
		{"plain", column.Int64, 8, limit / 8, dataPage(make([]byte, limit), limit/8, encPlain, nil), ""},
		{"plain, too large", column.Int64, 8, limit/8 + 1, dataPage(make([]byte, limit+8), limit/8+1, encPlain, nil), "at most 65536 are read: give more memory"},
		{"a run", column.Bool, 1, limit, dataPage(run(limit), limit, encRLE, nil), ""},
		{"a run, too large", column.Bool, 1, 1 << 30, dataPage(run(1<<30), 1<<30, encRLE, nil), "more memory than a page may"},
		{"deltas", column.Int64, 8, limit / 8, dataPage(deltas(limit/8), limit/8, encDeltaBinary, nil), ""},
		{"deltas, too large", column.Int64, 8, limit, dataPage(deltas(limit), limit, encDeltaBinary, nil), "more memory than a page may"},
		{"lengths, too many", column.ByteArray, 0, limit, dataPage(deltas(limit), limit, encDeltaLength, nil), "more memory than a page may"},
	} {
		for _, large := range []int{limit / 4, limit} {
			waits, none := 0, errors.New("no leave")
			scratch := &Scratch{PageLimit: limit, Large: large, Wait: func() error { waits++; return nil }}
			got, err := readPages(scratch, c.physical, c.width, c.rows, c.page)
			switch {
			case c.err != "" && (!isDamage(err) || !strings.Contains(err.Error(), c.err)), c.err == "" && err != nil:
				t.Errorf("%s: %v", c.name, err)
			case c.err == "" && int64(len(got)) != c.rows*int64(c.width):
				t.Errorf("%s: %d bytes", c.name, len(got))
			case c.err == "" && (waits > 0) != (large < limit):
				t.Errorf("%s: waited %d times for what is over %d bytes", c.name, waits, large)
			}
			scratch.Wait = func() error { return none }
			if _, err := readPages(scratch, c.physical, c.width, c.rows, c.page); c.err == "" && errors.Is(err, none) != (large < limit) {
				t.Errorf("%s: %v without leave to hold more than %d bytes", c.name, err, large)
			}
			scratch.Trim()
			if n := scratch.Bytes(); n > readAhead+64<<10 {
				t.Errorf("%s: keeps %d bytes", c.name, n)
			}
			scratch.Close()
		}
	}
}

// TestFit checks that as many rows as fit take no more than they may.
func TestFit(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 9))
	scratch := &Scratch{PageLimit: 1 << 24}
	defer scratch.Close()
	for _, m := range models(rng, 2000) {
		if m.physical != column.ByteArray {
			continue
		}
		for name, props := range configs(m) {
			t.Run(m.name+"/"+name, func(t *testing.T) {
				var r Reader
				if err := r.Reset(m.open(t, m.write(t, props...)), scratch); err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(m.rows); {
					want, room := min(1+rng.IntN(300), len(m.rows)-at), rng.IntN(3000)
					n, err := r.Fit(want, room)
					if err != nil || n < 1 || n > want {
						t.Fatalf("%d rows of %d fit, %v", n, want, err)
					}
					buf := &column.Buffer{}
					if got, err := r.Read(buf, 0, n, 1<<30); err != nil || got != n {
						t.Fatalf("read %d rows of %d, %v", got, n, err)
					}
					if n > 1 && len(buf.Data) > room {
						t.Fatalf("%d rows take %d bytes of %d", n, len(buf.Data), room)
					}
					at += n
				}
			})
		}
	}
}

// TestDamage changes every byte of small files, and cuts them at every byte: an error or other values may come out, but
// nothing may panic, hang or allocate without bound.
func TestDamage(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for _, m := range models(rng, 24) {
		if m.list > 100 {
			continue
		}
		for name, props := range configs(m) {
			raw := m.write(t, props...)
			src := m.open(t, raw)
			t.Run(m.name+"/"+name, func(t *testing.T) {
				end := int(src.Offset + src.Bytes)
				for at := int(src.Offset); at < end; at++ {
					bad := bytes.Clone(raw)
					bad[at] ^= byte(1 + rng.IntN(255))
					s := src
					s.File = bytes.NewReader(bad)
					readAll(t, s)
					s.File, s.FileBytes = bytes.NewReader(raw[:at]), int64(at)
					if err := readAll(t, s); err == nil {
						t.Fatalf("a file cut at byte %d of %d was read", at, end)
					}
				}
			})
		}
	}
}

func readAll(t testing.TB, s Source) error {
	t.Helper()
	scratch := &Scratch{PageLimit: 1 << 20}
	defer scratch.Close()
	var r Reader
	if err := r.Reset(s, scratch); err != nil {
		return err
	}
	buf := &column.Buffer{}
	rows := 0
	for rows < int(s.Rows) {
		n, err := r.Read(buf, rows, min(17, int(s.Rows)-rows), 1<<22)
		if err != nil {
			return err
		}
		if len(buf.Data) > 1<<23 {
			t.Fatalf("%d bytes of values", len(buf.Data))
		}
		rows += n
	}
	return nil
}

// TestNullElement checks what stands for a null inside a list.
func TestNullElement(t *testing.T) {
	t.Parallel()
	root := schema.MustGroup(schema.NewGroupNode("schema", parquet.Repetitions.Required, schema.FieldList{(&model{physical: column.Int32, list: 2}).node()}, -1))
	write := func(values []int32, defs, reps []int16) []byte {
		var out bytes.Buffer
		w := file.NewParquetWriter(&out, root)
		rg, err := w.AppendRowGroupChecked()
		if err != nil {
			t.Fatal(err)
		}
		cw, err := rg.NextColumn()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cw.(*file.Int32ColumnChunkWriter).WriteBatch(values, defs, reps); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(cw.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for _, c := range []struct {
		name       string
		values     []int32
		defs, reps []int16
		null       []byte
		want       string
	}{
		{"null inside, replaced", []int32{1, 3, 4}, []int16{3, 2, 3, 3}, []int16{0, 1, 0, 1}, []byte{9, 9, 9, 9}, ""},
		{"null inside", []int32{1, 3, 4}, []int16{3, 2, 3, 3}, []int16{0, 1, 0, 1}, nil, "row 1: a null inside a list"},
		{"null list", []int32{1, 2}, []int16{3, 3, 0}, []int16{0, 1, 0}, nil, "row 2: a list that is null or empty"},
		{"empty list", []int32{1, 2}, []int16{1, 3, 3}, []int16{0, 0, 1}, nil, "row 1: a list that is null or empty"},
		{"short list", []int32{1, 2, 3}, []int16{3, 3, 3}, []int16{0, 0, 1}, nil, "row 1: the list has not 2 elements, as its type says"},
		{"long list", []int32{1, 2, 3, 4, 5}, []int16{3, 3, 3, 3, 3}, []int16{0, 1, 1, 0, 1}, nil, "row 2: the list has not 2 elements, as its type says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := write(c.values, c.defs, c.reps)
			m := &model{physical: column.Int32, width: 4, list: 2, rows: make([][]byte, 2)}
			src := m.open(t, raw)
			src.Null = c.null
			scratch := &Scratch{PageLimit: 1 << 20}
			defer scratch.Close()
			var r Reader
			if err := r.Reset(src, scratch); err != nil {
				t.Fatal(err)
			}
			buf := &column.Buffer{}
			_, err := r.Read(buf, 0, 2, 1<<20)
			var row *RowError
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (!errors.As(err, &row) || row.Error() != c.want):
				t.Fatalf("got %v, want %s", err, c.want)
			case c.want == "" && !bytes.Equal(buf.Data, []byte{1, 0, 0, 0, 9, 9, 9, 9, 3, 0, 0, 0, 4, 0, 0, 0}):
				t.Fatalf("got %v", buf.Data)
			}
		})
	}
}

// FuzzPages reads arbitrary bytes as the pages of a column chunk.
func FuzzPages(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, m := range models(rng, 40) {
		if m.list > 100 {
			continue
		}
		for _, props := range configs(m) {
			raw := m.write(f, props...)
			src := m.open(f, raw)
			f.Add(raw[:src.Offset+src.Bytes], uint8(m.physical), uint8(src.MaxDef), uint8(m.list), uint8(src.Compression), uint16(len(m.rows)))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, physical, maxDef, list, codec uint8, rows uint16) {
		s := Source{
			File: bytes.NewReader(raw), FileBytes: int64(len(raw)), Offset: 4, Bytes: int64(len(raw)) - 4, Compression: compress.Compression(codec % 8),
			Physical: column.Physical(physical % 7), MaxDef: maxDef, List: int(list % 5), ElementNullable: true, Rows: int64(rows),
		}
		if len(raw) < 4 {
			return
		}
		s.Width = map[column.Physical]int{column.Bool: 1, column.Int32: 4, column.Int64: 8, column.Float32: 4, column.Float64: 8, column.Fixed: 5}[s.Physical]
		if s.List > 0 {
			s.MaxRep = 1
		}
		_ = readAll(t, s)
	})
}
