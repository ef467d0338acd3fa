package colchunk

import (
	"errors"
	"fmt"
)

// Page types and encodings by their numbers in parquet.thrift.
const (
	pageData       = 0
	pageDictionary = 2
	pageDataV2     = 3

	encPlain           = 0
	encPlainDictionary = 2
	encRLE             = 3
	encDeltaBinary     = 5
	encDeltaLength     = 6
	encDeltaByteArray  = 7
	encRLEDictionary   = 8
	encByteStreamSplit = 9
)

var encodingNames = map[int64]string{0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED", 6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY", 8: "RLE_DICTIONARY", 9: "BYTE_STREAM_SPLIT"}

func encodingName(e int64) string {
	if n, ok := encodingNames[e]; ok {
		return n
	}
	return fmt.Sprintf("number %d", e)
}

// pageHeader is PageHeader of parquet.thrift with its three kinds of pages folded into one. Sizes are bytes.
type pageHeader struct {
	kind         int64
	uncompressed int64
	compressed   int64
	crc          uint32
	hasCRC       bool

	values      int64 // levels, counting nulls
	encoding    int64
	defEncoding int64
	repEncoding int64

	rows         int64 // version 2 only, as are these
	defBytes     int64
	repBytes     int64
	isCompressed bool

	seen uint // bit n: a field of type n in the page's own header was there
}

var (
	errHeaderShort = errors.New("page header is cut short")
	errHeader      = errors.New("page header is damaged")
)

// compactReader reads Thrift's compact protocol. The first failure sticks.
// Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
type compactReader struct {
	b   []byte
	pos int
	err error
}

func (r *compactReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *compactReader) byte() byte {
	if r.err != nil {
		return 0
	}
	if r.pos >= len(r.b) {
		r.fail(errHeaderShort)
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

func (r *compactReader) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.fail(errHeader)
	return 0
}

func (r *compactReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *compactReader) discard(n uint64) {
	if r.err != nil {
		return
	}
	if n > uint64(len(r.b)-r.pos) {
		r.fail(errHeaderShort)
		return
	}
	r.pos += int(n)
}

// Compact type numbers.
const (
	ctTrue   = 1
	ctFalse  = 2
	ctByte   = 3
	ctI16    = 4
	ctI32    = 5
	ctI64    = 6
	ctDouble = 7
	ctBinary = 8
	ctList   = 9
	ctSet    = 10
	ctMap    = 11
	ctStruct = 12
)

// fields calls each for each field of a struct; each must read or skip the value.
func (r *compactReader) fields(depth int, each func(id int64, typ byte)) {
	if depth > 16 {
		r.fail(errHeader)
	}
	id := int64(0)
	for r.err == nil {
		h := r.byte()
		if h == 0 {
			return
		}
		if delta := int64(h >> 4); delta != 0 {
			id += delta
		} else {
			id = r.varint()
		}
		each(id, h&0x0f)
	}
}

func (r *compactReader) skip(typ byte, depth int) {
	switch typ {
	case ctTrue, ctFalse:
	case ctByte:
		r.byte()
	case ctI16, ctI32, ctI64:
		r.uvarint()
	case ctDouble:
		r.discard(8)
	case ctBinary:
		r.discard(r.uvarint())
	case ctList, ctSet:
		h := r.byte()
		n := uint64(h >> 4)
		if n == 15 {
			n = r.uvarint()
		}
		for ; n > 0 && r.err == nil; n-- {
			r.element(h&0x0f, depth)
		}
	case ctMap:
		n := r.uvarint()
		if n == 0 {
			return
		}
		kv := r.byte()
		for ; n > 0 && r.err == nil; n-- {
			r.element(kv>>4, depth)
			r.element(kv&0x0f, depth)
		}
	case ctStruct:
		r.fields(depth+1, func(_ int64, t byte) { r.skip(t, depth+1) })
	default:
		r.fail(errHeader)
	}
}

// element skips a value inside a container, where a boolean takes a byte.
func (r *compactReader) element(typ byte, depth int) {
	if typ == ctTrue || typ == ctFalse {
		typ = ctByte
	}
	if depth > 16 {
		r.fail(errHeader)
		return
	}
	r.skip(typ, depth+1)
}

// number reads an integer field, whatever width it was written with.
func (r *compactReader) number(typ byte) int64 {
	switch typ {
	case ctI16, ctI32, ctI64:
		return r.varint()
	case ctByte:
		return int64(int8(r.byte()))
	}
	r.fail(errHeader)
	return 0
}

// parsePageHeader reads a header at the beginning of b and gives its length. errHeaderShort asks for more bytes.
func parsePageHeader(b []byte) (pageHeader, int, error) {
	r := &compactReader{b: b}
	h := pageHeader{kind: -1, uncompressed: -1, compressed: -1, encoding: -1, isCompressed: true}
	body := map[int64]func(id int64, typ byte) bool{
		5: func(id int64, typ byte) bool { // DataPageHeader
			switch id {
			case 1:
				h.values = r.number(typ)
			case 2:
				h.encoding = r.number(typ)
			case 3:
				h.defEncoding = r.number(typ)
			case 4:
				h.repEncoding = r.number(typ)
			default:
				return false
			}
			return true
		},
		7: func(id int64, typ byte) bool { // DictionaryPageHeader
			switch id {
			case 1:
				h.values = r.number(typ)
			case 2:
				h.encoding = r.number(typ)
			default:
				return false
			}
			return true
		},
		8: func(id int64, typ byte) bool { // DataPageHeaderV2
			switch id {
			case 1:
				h.values = r.number(typ)
			case 3:
				h.rows = r.number(typ)
			case 4:
				h.encoding = r.number(typ)
			case 5:
				h.defBytes = r.number(typ)
			case 6:
				h.repBytes = r.number(typ)
			case 7:
				h.isCompressed = typ == ctTrue
				return typ == ctTrue || typ == ctFalse
			default:
				return false
			}
			return true
		},
	}
	r.fields(0, func(id int64, typ byte) {
		switch {
		case id == 1:
			h.kind = r.number(typ)
		case id == 2:
			h.uncompressed = r.number(typ)
		case id == 3:
			h.compressed = r.number(typ)
		case id == 4:
			h.crc, h.hasCRC = uint32(r.number(typ)), true
		case body[id] != nil && typ == ctStruct:
			h.seen |= 1 << id
			r.fields(1, func(sub int64, t byte) {
				if !body[id](sub, t) {
					r.skip(t, 1)
				}
			})
		default:
			r.skip(typ, 0)
		}
	})
	if r.err != nil {
		return h, 0, r.err
	}
	want := map[int64]uint{pageData: 1 << 5, pageDictionary: 1 << 7, pageDataV2: 1 << 8}[h.kind]
	const most = 1<<31 - 1
	for _, n := range []int64{h.uncompressed, h.compressed, h.values, h.rows, h.defBytes, h.repBytes} {
		if n < 0 || n > most {
			return h, 0, errHeader
		}
	}
	if h.kind < 0 || want != 0 && h.seen&want == 0 {
		return h, 0, errHeader
	}
	return h, r.pos, nil
}
