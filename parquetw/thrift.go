package parquetw

import "encoding/binary"

// Types of Thrift's compact protocol.
// Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftI32    = 5
	thriftI64    = 6
	thriftBinary = 8
	thriftList   = 9
	thriftStruct = 12
)

// compact writes Thrift's compact protocol. Fields of a struct must be written in ascending order of their ids.
type compact struct {
	b    []byte
	last int16
	open []int16 // last field ids of the structs around this one
}

func (t *compact) reset() { t.b, t.last, t.open = t.b[:0], 0, t.open[:0] }

func (t *compact) field(id int16, typ byte) {
	if d := id - t.last; d > 0 && d < 16 {
		t.b = append(t.b, byte(d)<<4|typ)
	} else {
		t.b = binary.AppendVarint(append(t.b, typ), int64(id))
	}
	t.last = id
}

func (t *compact) i32(id int16, v int32) {
	t.field(id, thriftI32)
	t.b = binary.AppendVarint(t.b, int64(v))
}

func (t *compact) i64(id int16, v int64) {
	t.field(id, thriftI64)
	t.b = binary.AppendVarint(t.b, v)
}

func (t *compact) bool(id int16, v bool) {
	if v {
		t.field(id, thriftTrue)
	} else {
		t.field(id, thriftFalse)
	}
}

func (t *compact) bytes(id int16, v []byte) {
	t.field(id, thriftBinary)
	t.item(v)
}

func (t *compact) string(id int16, v string) {
	t.field(id, thriftBinary)
	t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...)
}

// item is one element of a list of binaries.
func (t *compact) item(v []byte) {
	t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...)
}

func (t *compact) list(id int16, typ byte, n int) {
	t.field(id, thriftList)
	if n < 15 {
		t.b = append(t.b, byte(n)<<4|typ)
	} else {
		t.b = binary.AppendUvarint(append(t.b, 0xf0|typ), uint64(n))
	}
}

// begin opens a struct: a field, or with id 0 an element of a list.
func (t *compact) begin(id int16) {
	if id > 0 {
		t.field(id, thriftStruct)
	}
	t.open = append(t.open, t.last)
	t.last = 0
}

// end closes the struct that begin opened.
func (t *compact) end() {
	t.b = append(t.b, 0)
	t.last = t.open[len(t.open)-1]
	t.open = t.open[:len(t.open)-1]
}

// stop closes the outermost struct, which nobody opened.
func (t *compact) stop() { t.b = append(t.b, 0) }
