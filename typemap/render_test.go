package typemap

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"fast-export/internal/column"
)

// This file turns a batch back into what Postgres's output functions print, without any of the decoders' code: the other
// half of every comparison with the server.

// value is one assembled value of a node.
type value struct {
	null bool
	data []byte  // of a scalar
	list []value // of a list or map: elements; a map's are structs of key and value
	sub  []value // of a struct
}

// unbatch reads a batch row by row.
type unbatch struct {
	plan *Plan
	b    *column.Batch
	row  int
	pos  []int // next entry of each leaf
	off  []int // next byte of each leaf's data
}

func newUnbatch(p *Plan, b *column.Batch) *unbatch {
	return &unbatch{plan: p, b: b, pos: make([]int, len(p.Leaves)), off: make([]int, len(p.Leaves))}
}

func (u *unbatch) def(l int) uint8 {
	leaf, buf := &u.plan.Leaves[l], &u.b.Leaves[l]
	switch {
	case leaf.MaxDef == 0:
		return 0
	case leaf.Flat():
		return buf.Valid[u.row>>3] >> (u.row & 7) & 1
	}
	return buf.Def[u.pos[l]]
}

// take consumes one entry of a leaf and, if it has one, its value.
func (u *unbatch) take(l int) []byte {
	leaf, buf := &u.plan.Leaves[l], &u.b.Leaves[l]
	def := u.def(l)
	u.pos[l]++
	if def < leaf.MaxDef {
		return nil
	}
	n := leaf.Width
	if leaf.Physical == column.ByteArray {
		n = int(le.Uint32(buf.Data[u.off[l]:]))
		u.off[l] += 4
	}
	v := buf.Data[u.off[l] : u.off[l]+n]
	u.off[l] += n
	return v
}

func (u *unbatch) read(n *node) value {
	if n.nullable && u.def(n.leafLo) < n.def {
		for l := n.leafLo; l < n.leafHi; l++ {
			u.take(l)
		}
		return value{null: true}
	}
	if n.scalar() {
		return value{data: u.take(n.leafLo)}
	}
	switch n.kind {
	case kList, kVector, kMultirange, kPolygon, kFloatList, kHalfList, kMap:
		var v value
		if u.def(n.leafLo) == n.def {
			for l := n.leafLo; l < n.leafHi; l++ {
				u.take(l)
			}
			return v
		}
		for first := true; first || u.more(n); first = false {
			if n.kind == kMap {
				v.list = append(v.list, value{sub: []value{u.read(n.children[0]), u.read(n.children[1])}})
				continue
			}
			v.list = append(v.list, u.read(n.children[0]))
		}
		return v
	}
	var v value
	for _, c := range n.children {
		v.sub = append(v.sub, u.read(c))
	}
	return v
}

// more tells whether the next entry belongs to the list that was begun.
func (u *unbatch) more(n *node) bool {
	rep := u.b.Leaves[n.leafLo].Rep
	return u.pos[n.leafLo] < len(rep) && rep[u.pos[n.leafLo]] == n.children[0].rep
}

// rows assembles every value of a batch: one slice a row.
func (u *unbatch) rows() [][]value {
	var out [][]value
	for u.row = 0; u.row < u.b.Rows; u.row++ {
		row := make([]value, len(u.plan.nodes))
		for i, n := range u.plan.nodes {
			row[i] = u.read(n)
		}
		out = append(out, row)
	}
	return out
}

func i32(v value) int64 { return int64(int32(le.Uint32(v.data))) }
func i64(v value) int64 { return int64(le.Uint64(v.data)) }

func f64(v value) float64 { return math.Float64frombits(le.Uint64(v.data)) }

// pgFloat prints a float as float8out and float4out do from 12 on.
func pgFloat(f float64, size int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	s := strconv.FormatFloat(f, 'e', -1, size)
	exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:])
	limit := 15
	if size == 32 {
		limit = 6
	}
	if f == 0 || exp >= -4 && exp < limit {
		return strconv.FormatFloat(f, 'f', -1, size)
	}
	return s
}

func bigInt(be []byte) *big.Int {
	x := new(big.Int).SetBytes(be)
	if len(be) > 0 && be[0]&0x80 != 0 {
		x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*len(be))))
	}
	return x
}

func fixedPoint(x *big.Int, scale int) string {
	s := new(big.Int).Abs(x).String()
	if scale > 0 {
		for len(s) <= scale {
			s = "0" + s
		}
		s = s[:len(s)-scale] + "." + s[len(s)-scale:]
	}
	if x.Sign() < 0 {
		s = "-" + s
	}
	return s
}

func pgDate(t time.Time) (string, string) {
	y, bc := t.Year(), ""
	if y <= 0 {
		y, bc = 1-y, " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d", y, t.Month(), t.Day()), bc
}

func pgTime(us int64) string {
	s := fmt.Sprintf("%02d:%02d:%02d", us/3600000000, us/60000000%60, us/1000000%60)
	if f := us % 1000000; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
	}
	return s
}

func pgStamp(us int64, zone string) string {
	t := time.UnixMicro(us).UTC()
	d, bc := pgDate(t)
	return d + " " + pgTime(int64(t.Hour())*3600000000+int64(t.Minute())*60000000+int64(t.Second())*1000000+int64(t.Nanosecond()/1000)) + zone + bc
}

// pgInterval is interval_out with IntervalStyle postgres.
func pgInterval(months, days, us int64) string {
	if months == math.MaxInt32 && days == math.MaxInt32 && us == math.MaxInt64 {
		return "infinity"
	}
	if months == math.MinInt32 && days == math.MinInt32 && us == math.MinInt64 {
		return "-infinity"
	}
	var parts []string
	before := false // the last part was negative
	add := func(n int64, unit string) {
		if n == 0 {
			return
		}
		sign := ""
		if before && n > 0 {
			sign = "+"
		}
		s := "s"
		if n == 1 {
			s = ""
		}
		parts = append(parts, fmt.Sprintf("%s%d %s%s", sign, n, unit, s))
		before = n < 0
	}
	add(months/12, "year")
	add(months%12, "mon")
	add(days, "day")
	if us != 0 || len(parts) == 0 {
		sign, abs := "", new(big.Int).Abs(big.NewInt(us))
		if us < 0 {
			sign = "-"
		} else if before {
			sign = "+"
		}
		sec, f := new(big.Int).DivMod(abs, big.NewInt(1000000), new(big.Int))
		n := sec.Int64()
		s := fmt.Sprintf("%s%02d:%02d:%02d", sign, n/3600, n/60%60, n%60)
		if f.Int64() != 0 {
			s += strings.TrimRight(fmt.Sprintf(".%06d", f.Int64()), "0")
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func pgZone(east int64) string {
	sign := "+"
	if east < 0 {
		sign, east = "-", -east
	}
	s := fmt.Sprintf("%s%02d", sign, east/3600)
	if m := east / 60 % 60; m != 0 || east%60 != 0 {
		s += fmt.Sprintf(":%02d", m)
	}
	if sec := east % 60; sec != 0 {
		s += fmt.Sprintf(":%02d", sec)
	}
	return s
}

// pgMoney is cash_out in the C locale.
func pgMoney(x *big.Int, scale int) string {
	s := fixedPoint(new(big.Int).Abs(x), scale)
	whole, rest, _ := strings.Cut(s, ".")
	var groups []string
	for len(whole) > 3 {
		groups = append([]string{whole[len(whole)-3:]}, groups...)
		whole = whole[:len(whole)-3]
	}
	s = "$" + strings.Join(append([]string{whole}, groups...), ",") + "." + rest
	if x.Sign() < 0 {
		s = "-" + s
	}
	return s
}

const pgSpace = " \t\n\r\v\f"

func quoteItem(s, special string) string {
	if s != "" && !strings.ContainsAny(s, special+`"\`+pgSpace) {
		return s
	}
	return `"` + strings.NewReplacer(`"`, `""`, `\`, `\\`).Replace(s) + `"`
}

func quoteElement(s, delim string) string {
	if s != "" && !strings.EqualFold(s, "NULL") && !strings.ContainsAny(s, `{}"\`+delim+pgSpace) {
		return s
	}
	return quoteBackslash(s)
}

func quoteBackslash(s string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(s) + `"`
}

// pgText is what the type's output function prints for the value. For a numeric that became a float64 it is the shortest
// decimal, which is the server's text only where the test sees to it.
func pgText(n *node, v value) string {
	switch n.kind {
	case kBool:
		return map[byte]string{0: "f", 1: "t"}[v.data[0]]
	case kInt16, kInt32:
		return strconv.FormatInt(i32(v), 10)
	case kUint32:
		return strconv.FormatUint(uint64(le.Uint32(v.data)), 10)
	case kInt64:
		return strconv.FormatInt(i64(v), 10)
	case kUint64:
		return strconv.FormatUint(le.Uint64(v.data), 10)
	case kFloat32:
		return pgFloat(float64(math.Float32frombits(le.Uint32(v.data))), 32)
	case kFloat64:
		return pgFloat(f64(v), 64)
	case kNumFloat:
		if f := f64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return pgFloat(f, 64)
		}
		return strconv.FormatFloat(f64(v), 'f', -1, 64)
	case kNumDecimal:
		return fixedPoint(bigInt(v.data), n.scale)
	case kMoney:
		return pgMoney(bigInt(v.data), n.scale)
	case kBytes:
		return `\x` + hex.EncodeToString(v.data)
	case kEWKB:
		return strings.ToUpper(hex.EncodeToString(v.data))
	case kUUID:
		h := hex.EncodeToString(v.data)
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	case kDate:
		d, bc := pgDate(time.Unix(0, 0).UTC().AddDate(0, 0, int(i32(v))))
		return d + bc
	case kTime:
		return pgTime(i64(v))
	case kStamp:
		return pgStamp(i64(v), "")
	case kStampTZ:
		return pgStamp(i64(v), "+00")
	case kTimetz:
		return pgTime(i64(v.sub[0])) + pgZone(i32(v.sub[1]))
	case kInterval:
		return pgInterval(i32(v.sub[0]), i32(v.sub[1]), i64(v.sub[2]))
	case kFloats:
		s := ""
		i := 0
		for _, c := range n.pattern {
			if c == 'x' {
				s += pgText(n.children[i], v.sub[i])
				i++
			} else {
				s += string(c)
			}
		}
		return s
	case kPath:
		points := strings.Trim(pgText(n.children[1], v.sub[1]), "()")
		if v.sub[0].data[0] == 1 {
			return "((" + points + "))"
		}
		return "[(" + points + ")]"
	case kStruct:
		parts := make([]string, len(n.children))
		for i, c := range n.children {
			if !v.sub[i].null {
				parts[i] = quoteItem(pgText(c, v.sub[i]), "(),")
			}
		}
		return "(" + strings.Join(parts, ",") + ")"
	case kRange:
		if v.sub[4].data[0] == 1 {
			if !v.sub[0].null || !v.sub[1].null || v.sub[2].data[0] != 0 || v.sub[3].data[0] != 0 {
				return "empty, and with bounds"
			}
			return "empty"
		}
		s := map[byte]string{0: "(", 1: "["}[v.sub[2].data[0]]
		for i := range 2 {
			if i == 1 {
				s += ","
			}
			if !v.sub[i].null {
				s += quoteItem(pgText(n.children[i], v.sub[i]), "()[],")
			}
		}
		return s + map[byte]string{0: ")", 1: "]"}[v.sub[3].data[0]]
	case kSparse:
		var parts []string
		for i, idx := range v.sub[1].list {
			parts = append(parts, strconv.FormatInt(i32(idx), 10)+":"+pgText(n.children[2].children[0], v.sub[2].list[i]))
		}
		return "{" + strings.Join(parts, ",") + "}/" + strconv.FormatInt(i32(v.sub[0]), 10)
	}
	if n.scalar() {
		return string(v.data)
	}
	parts := make([]string, len(v.list))
	for i, e := range v.list {
		switch {
		case n.kind == kMap && e.sub[1].null:
			parts[i] = quoteBackslash(string(e.sub[0].data)) + "=>NULL"
		case n.kind == kMap:
			parts[i] = quoteBackslash(string(e.sub[0].data)) + "=>" + quoteBackslash(string(e.sub[1].data))
		case e.null:
			parts[i] = "NULL"
		default:
			parts[i] = pgText(n.children[0], e)
			if n.kind == kList {
				parts[i] = quoteElement(parts[i], string(n.delim))
			}
		}
	}
	switch n.kind {
	case kList:
		return "{" + strings.Join(parts, string(n.delim)) + "}"
	case kVector:
		return strings.Join(parts, " ")
	case kMap:
		return strings.Join(parts, ", ")
	case kPolygon:
		return "(" + strings.Join(parts, ",") + ")"
	case kFloatList, kHalfList:
		return "[" + strings.Join(parts, ",") + "]"
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// TestShownHostile: what is shown of a value that lies about its lengths takes no longer than the value is.
func TestShownHostile(t *testing.T) {
	t.Parallel()
	list := listNode(kList, leafNode(kInt32, nil, 4))
	v := []byte{0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 23}
	for _, size := range []uint32{1 << 20, 1 << 20, 0} {
		v = be.AppendUint32(be.AppendUint32(v, size), 1)
	}
	v = append(v, make([]byte, 2<<20)...)
	if text, ok := list.appendText(nil, v); ok {
		t.Errorf("shown as %.100s", text)
	}
	if got := list.shown(v, false); !strings.HasPrefix(got, `\x0000000300000000`) || len(got) > 200 {
		t.Errorf("shown as %s", got)
	}
}

// collect decodes a whole stream, handed to Write in the pieces that cut says.
func collect(p *Plan, o DecoderOptions, data []byte, cut func(rest []byte) int) ([]*column.Batch, error) {
	var out []*column.Batch
	o.Next = func(full *column.Batch) (*column.Batch, error) {
		if full != nil {
			out = append(out, full)
		}
		return column.NewBatch(len(p.Leaves), len(p.nodes), nil), nil
	}
	d := p.NewDecoder(o)
	for len(data) > 0 {
		n := len(data)
		if cut != nil {
			n = cut(data)
		}
		if _, err := d.Write(data[:n]); err != nil {
			return out, err
		}
		data = data[n:]
	}
	b, err := d.Finish()
	if err != nil {
		return out, err
	}
	if b != nil {
		out = append(out, b)
	}
	for _, b := range out {
		if err := b.Check(p.Leaves); err != nil {
			return out, err
		}
	}
	return out, nil
}

// sameBatches reports where two decodings differ.
func sameBatches(t testing.TB, p *Plan, got, want []*column.Batch) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d batches, want %d", len(got), len(want))
		return
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Rows != w.Rows {
			t.Errorf("batch %d has %d rows, want %d", i, g.Rows, w.Rows)
		}
		for l := range g.Leaves {
			x, y := &g.Leaves[l], &w.Leaves[l]
			if !bytes.Equal(x.Data, y.Data) || !bytes.Equal(x.Valid, y.Valid) || !bytes.Equal(x.Def, y.Def) || !bytes.Equal(x.Rep, y.Rep) || x.Values != y.Values {
				t.Errorf("batch %d, leaf %s differs:\ngot  %.300q valid %.80x def %.80x rep %.80x\nwant %.300q valid %.80x def %.80x rep %.80x",
					i, p.Leaves[l].Path, x.Data, x.Valid, x.Def, x.Rep, y.Data, y.Valid, y.Def, y.Rep)
			}
		}
		for c := range g.Counts {
			if g.Counts[c] != w.Counts[c] {
				t.Errorf("batch %d, column %s counts %+v, want %+v", i, p.Columns[c].Name, g.Counts[c], w.Counts[c])
			}
		}
	}
}
