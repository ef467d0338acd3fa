package butler

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// arrowField is what a file's ARROW:schema says of a top-level column, as far as it matters here.
type arrowField struct {
	name       string
	kind       uint8 // number of the union Type in Schema.fbs
	text       string
	list       int // elements of a fixed-size list
	dictionary bool
	metadata   map[string]string
}

// Numbers of the union Type in Schema.fbs.
const (
	fbNull          = 1
	fbInterval      = 11
	fbFixedSizeList = 16
	fbDuration      = 18
	fbBinaryView    = 23
	fbUtf8View      = 24
)

var errArrowSchema = errors.New("its bytes make no schema")

// maxArrowFields bounds a schema: the widest tables have some thousand columns.
const maxArrowFields = 1 << 17

// arrowSchema reads the Arrow schema that pyarrow keeps in a Parquet file, as base64 of an IPC message. arrow-go's own
// reader believes every length that it is told, and can be made to ask for more memory than there is.
// Source: format/Message.fbs and format/Schema.fbs of Apache Arrow.
func arrowSchema(encoded string) ([]arrowField, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		if raw, err = base64.RawStdEncoding.DecodeString(encoded); err != nil {
			return nil, fmt.Errorf("%s: %w", keyArrowSchema, err)
		}
	}
	// A message begins with a marker and its length; old ones with the length alone.
	if len(raw) >= 4 && binary.LittleEndian.Uint32(raw) == 0xffffffff {
		raw = raw[4:]
	}
	if len(raw) < 8 {
		return nil, fmt.Errorf("%s: %w", keyArrowSchema, errArrowSchema)
	}
	b := &flat{b: raw[4:]}
	message := b.table(b.root())
	const schemaHeader = 1
	if message.number8(1) != schemaHeader {
		b.fail()
	}
	schema := message.child(2)
	if schema.number16(0) != 0 {
		return nil, fmt.Errorf("%s: big-endian data", keyArrowSchema)
	}
	fields := make([]arrowField, 0, min(schema.count(1), 1024))
	for i := range schema.count(1) {
		if b.err != nil || i > maxArrowFields {
			break
		}
		fields = append(fields, schema.element(1, i).field())
	}
	if b.err != nil {
		return nil, fmt.Errorf("%s: %w", keyArrowSchema, b.err)
	}
	return fields, nil
}

// flat is a bounds-checked reader of flatbuffers. The first failure sticks; everything reads as nothing from then on.
type flat struct {
	b   []byte
	err error
}

func (f *flat) fail() {
	if f.err == nil {
		f.err = errArrowSchema
	}
}

// bytes gives n bytes at a position.
func (f *flat) bytes(at, n int) []byte {
	if f.err != nil || at < 0 || n < 0 || at > len(f.b)-n {
		f.fail()
		return make([]byte, 8)[:min(max(n, 0), 8)]
	}
	return f.b[at : at+n]
}

func (f *flat) uint32(at int) int { return int(binary.LittleEndian.Uint32(f.bytes(at, 4))) }

func (f *flat) root() int { return f.uint32(0) }

// flatTable is a table of a flatbuffer; at is 0 for one that is not there.
type flatTable struct {
	f      *flat
	at     int
	vtable int
	size   int // bytes of the vtable
}

func (f *flat) table(at int) flatTable {
	if at == 0 {
		return flatTable{f: f}
	}
	vtable := at - int(int32(binary.LittleEndian.Uint32(f.bytes(at, 4))))
	return flatTable{f, at, vtable, int(binary.LittleEndian.Uint16(f.bytes(vtable, 2)))}
}

// slot gives the position of a field, 0 when it is not there.
func (t flatTable) slot(field int) int {
	at := 4 + 2*field
	if t.at == 0 || at+2 > t.size {
		return 0
	}
	offset := int(binary.LittleEndian.Uint16(t.f.bytes(t.vtable+at, 2)))
	if offset == 0 {
		return 0
	}
	return t.at + offset
}

func (t flatTable) number8(field int) uint8 {
	if at := t.slot(field); at != 0 {
		return t.f.bytes(at, 1)[0]
	}
	return 0
}

func (t flatTable) number16(field int) int16 {
	if at := t.slot(field); at != 0 {
		return int16(binary.LittleEndian.Uint16(t.f.bytes(at, 2)))
	}
	return 0
}

func (t flatTable) number32(field int, absent int32) int32 {
	if at := t.slot(field); at != 0 {
		return int32(binary.LittleEndian.Uint32(t.f.bytes(at, 4)))
	}
	return absent
}

// pointer follows a field that is an offset, 0 when it is not there.
func (t flatTable) pointer(field int) int {
	at := t.slot(field)
	if at == 0 {
		return 0
	}
	return at + t.f.uint32(at)
}

func (t flatTable) child(field int) flatTable { return t.f.table(t.pointer(field)) }

func (t flatTable) text(field int) string {
	at := t.pointer(field)
	if at == 0 {
		return ""
	}
	return string(t.f.bytes(at+4, t.f.uint32(at)))
}

// count is the length of a vector, which can't have more elements than the buffer has room for.
func (t flatTable) count(field int) int {
	at := t.pointer(field)
	if at == 0 {
		return 0
	}
	n := t.f.uint32(at)
	if n > len(t.f.b)/4 {
		t.f.fail()
		return 0
	}
	return n
}

// element gives a table of a vector of tables.
func (t flatTable) element(field, i int) flatTable {
	at := t.pointer(field) + 4 + 4*i
	return t.f.table(at + t.f.uint32(at))
}

// field reads a Field.
func (t flatTable) field() arrowField {
	x := arrowField{name: t.text(0), kind: t.number8(2), dictionary: t.slot(4) != 0, metadata: map[string]string{}}
	for i := range t.count(6) {
		if t.f.err != nil {
			break
		}
		kv := t.element(6, i)
		x.metadata[kv.text(0)] = kv.text(1)
	}
	typ := t.child(3)
	if x.kind == fbFixedSizeList {
		x.list = int(typ.number32(0, 0))
	}
	x.text = arrowTypeText(x.kind, typ)
	if x.dictionary {
		x.text = "dictionary of " + x.text
	}
	return x
}

// arrowTypeText names a type as Arrow does, for messages.
func arrowTypeText(kind uint8, t flatTable) string {
	unit := func(v int16) string { return [...]string{"s", "ms", "us", "ns"}[v&3] }
	unitField := func(field int, absent int16) string {
		if t.slot(field) == 0 {
			return unit(absent)
		}
		return unit(t.number16(field))
	}
	switch kind {
	case 2:
		s := "int"
		if t.number8(1) == 0 {
			s = "uint"
		}
		return fmt.Sprintf("%s%d", s, t.number32(0, 0))
	case 3:
		return [...]string{"float16", "float32", "float64", "float"}[t.number16(0)&3]
	case 7:
		return fmt.Sprintf("decimal%d(%d, %d)", t.number32(2, 128), t.number32(0, 0), t.number32(1, 0))
	case 8:
		return "date"
	case 9:
		return fmt.Sprintf("time%d[%s]", t.number32(1, 32), unitField(0, 1))
	case 10:
		return "timestamp[" + unitField(0, 0) + "]"
	case 15:
		return fmt.Sprintf("fixed_size_binary[%d]", t.number32(0, 0))
	case fbFixedSizeList:
		return fmt.Sprintf("fixed_size_list[%d]", t.number32(0, 0))
	case fbDuration:
		return "duration[" + unitField(0, 1) + "]"
	}
	names := map[uint8]string{
		fbNull: "null", 4: "binary", 5: "string", 6: "bool", fbInterval: "interval", 12: "list", 13: "struct", 14: "union", 17: "map",
		19: "large_binary", 20: "large_string", 21: "large_list", 22: "run_end_encoded", fbBinaryView: "binary_view", fbUtf8View: "string_view", 25: "list_view", 26: "large_list_view",
	}
	if n, ok := names[kind]; ok {
		return n
	}
	return fmt.Sprintf("number %d", kind)
}
