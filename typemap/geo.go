package typemap

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Flags and limits of PostGIS's extended WKB. Source: liblwgeom.h.in, lwin_wkb.c.
const (
	ewkbZ    = 0x80000000
	ewkbM    = 0x40000000
	ewkbSRID = 0x20000000

	geoMaxDepth = 200 // LW_PARSER_MAX_DEPTH
)

// geoNames are the type names by WKB code. GeoParquet 1.1 knows those up to GeometryCollection.
var geoNames = [...]string{
	"Geometry", "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection",
	"CircularString", "CompoundCurve", "CurvePolygon", "MultiCurve", "MultiSurface", "Curve", "Surface",
	"PolyhedralSurface", "Tin", "Triangle",
}

const geoLastKnown = 7

// geoTypmodSRID takes the SRID out of a typmod of PostGIS; 0 where there is none.
func geoTypmodSRID(typmod int32) int32 {
	if typmod < 0 {
		return 0
	}
	return (typmod&0x0FFFFF00 - typmod&0x10000000) >> 8
}

// geoTypmod is what postgis_typmod_out prints.
func geoTypmod(typmod int32) string {
	srid, code := geoTypmodSRID(typmod), int(typmod&0xFC)>>2
	z, m := typmod&2 != 0, typmod&1 != 0
	if srid == 0 && code == 0 && !z && !m || code >= len(geoNames) {
		return ""
	}
	s := "(" + geoNames[code]
	if z {
		s += "Z"
	}
	if m {
		s += "M"
	}
	if srid != 0 {
		s += "," + strconv.Itoa(int(srid))
	}
	return s + ")"
}

// geoStats is what GeoParquet's metadata must say of a column, gathered from its values. Adding a value twice changes
// nothing, so a chunk that is read again does no harm.
type geoStats struct {
	types         [2]uint32 // bit per WKB code that was seen, without and with Z
	beyond        bool      // a value with M, or of a type that GeoParquet does not have
	flat          bool      // a value without Z that has a coordinate
	srid          int32
	hasSRID       bool
	lo, hi        [3]float64
	boxed, boxed3 bool // lo and hi hold something, in Z too
}

func (g *geoStats) point(c [3]float64, z bool) {
	if math.IsNaN(c[0]) || math.IsNaN(c[1]) { // how an empty point is written
		return
	}
	if !g.boxed {
		g.boxed = true
		g.lo[0], g.hi[0], g.lo[1], g.hi[1] = c[0], c[0], c[1], c[1]
	}
	for i := range 2 {
		g.lo[i], g.hi[i] = min(g.lo[i], c[i]), max(g.hi[i], c[i])
	}
	if !z {
		g.flat = true
		return
	}
	if math.IsNaN(c[2]) {
		return
	}
	if !g.boxed3 {
		g.boxed3 = true
		g.lo[2], g.hi[2] = c[2], c[2]
	}
	g.lo[2], g.hi[2] = min(g.lo[2], c[2]), max(g.hi[2], c[2])
}

func (g *geoStats) merge(o *geoStats) error {
	if g.hasSRID && o.hasSRID && g.srid != o.srid {
		return fmt.Errorf("SRID %d beside SRID %d, and a GeoParquet column has one", o.srid, g.srid)
	}
	if o.hasSRID {
		g.srid, g.hasSRID = o.srid, true
	}
	g.types[0] |= o.types[0]
	g.types[1] |= o.types[1]
	g.beyond = g.beyond || o.beyond
	g.flat = g.flat || o.flat
	if o.boxed {
		if !g.boxed {
			g.boxed = true
			copy(g.lo[:2], o.lo[:2])
			copy(g.hi[:2], o.hi[:2])
		}
		for i := range 2 {
			g.lo[i], g.hi[i] = min(g.lo[i], o.lo[i]), max(g.hi[i], o.hi[i])
		}
	}
	if o.boxed3 {
		if !g.boxed3 {
			g.boxed3 = true
			g.lo[2], g.hi[2] = o.lo[2], o.hi[2]
		}
		g.lo[2], g.hi[2] = min(g.lo[2], o.lo[2]), max(g.hi[2], o.hi[2])
	}
	return nil
}

// ewkb walks one extended WKB and writes it as ISO WKB: the SRID taken out, dimensions in the type's thousands. The byte
// order stays. Source: lwgeom_wkb.c; OGC 06-103r4, 8.2.
type ewkb struct {
	in  []byte
	out []byte
	g   *geoStats
}

var errEWKB = bad("not an extended WKB")

// toWKB appends the ISO WKB of v to dst and gathers into g.
func toWKB(dst, v []byte, g *geoStats) ([]byte, error) {
	w := ewkb{in: v, out: dst, g: g}
	if err := w.geometry(0); err != nil {
		return dst, err
	}
	if len(w.in) != 0 {
		return dst, errEWKB
	}
	return w.out, nil
}

func (w *ewkb) geometry(depth int) error {
	if len(w.in) < 5 || w.in[0] > 1 || depth > geoMaxDepth {
		return errEWKB
	}
	var order binary.AppendByteOrder = binary.BigEndian
	u32, u64 := binary.BigEndian.Uint32, binary.BigEndian.Uint64
	if w.in[0] == 1 {
		order, u32, u64 = binary.LittleEndian, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	}
	t := u32(w.in[1:])
	w.out = append(w.out, w.in[0])
	w.in = w.in[5:]
	z, m, code := t&ewkbZ != 0, t&ewkbM != 0, t&0x0FFFFFFF
	if code == 0 || int(code) >= len(geoNames) {
		return errEWKB
	}
	srid := int32(0)
	if t&ewkbSRID != 0 {
		if len(w.in) < 4 {
			return errEWKB
		}
		srid = int32(u32(w.in))
		w.in = w.in[4:]
	}
	if depth == 0 {
		if w.g.hasSRID && w.g.srid != srid {
			return badHint("", "--type COLUMN=text keeps each value's SRID", "SRID %d beside SRID %d: a GeoParquet column has one", srid, w.g.srid)
		}
		w.g.srid, w.g.hasSRID = srid, true
		i := 0
		if z {
			i = 1
		}
		w.g.types[i] |= 1 << code
		if m || code > geoLastKnown {
			w.g.beyond = true
		}
	}
	iso, dims := code, 2
	if z {
		iso += 1000
		dims++
	}
	if m {
		iso += 2000
		dims++
	}
	w.out = order.AppendUint32(w.out, iso)

	count := func(size int) (int, error) {
		if len(w.in) < 4 {
			return 0, errEWKB
		}
		n := u32(w.in)
		w.out = order.AppendUint32(w.out, n)
		w.in = w.in[4:]
		if uint64(n)*uint64(size) > uint64(len(w.in)) {
			return 0, errEWKB
		}
		return int(n), nil
	}
	points := func(n int) error {
		size := 8 * dims
		if n > len(w.in)/size {
			return errEWKB
		}
		w.out = append(w.out, w.in[:n*size]...)
		for i := range n {
			p := w.in[i*size:]
			c := [3]float64{math.Float64frombits(u64(p)), math.Float64frombits(u64(p[8:]))}
			if z {
				c[2] = math.Float64frombits(u64(p[16:]))
			}
			w.g.point(c, z)
		}
		w.in = w.in[n*size:]
		return nil
	}
	switch code {
	case 1: // Point
		return points(1)
	case 2, 8: // LineString, CircularString
		n, err := count(8 * dims)
		if err != nil {
			return err
		}
		return points(n)
	case 3, 17: // Polygon, Triangle
		rings, err := count(4)
		for range rings {
			var n int
			if err == nil {
				n, err = count(8 * dims)
			}
			if err == nil {
				err = points(n)
			}
			if err != nil {
				break
			}
		}
		return err
	}
	n, err := count(5)
	for range n {
		if err != nil {
			break
		}
		err = w.geometry(depth + 1)
	}
	return err
}

// geoSet gathers what the decoders of a plan saw of its geometry columns.
type geoSet struct {
	mu    sync.Mutex
	cols  []int // top-level columns
	stats []geoStats
	at    map[int]int      // column to index
	refs  map[int32]string // WKT of reference systems, by SRID
	query string           // where the server has them
}

func (s *geoSet) init(p *Plan, cat *Catalog, cols []Column) {
	s.at, s.refs = map[int]int{}, map[int32]string{}
	for i, n := range p.nodes {
		if n.kind == kGeo {
			s.query = `SELECT srid, COALESCE(srtext, '') FROM "` + strings.ReplaceAll(cat.base(cols[i].OID).Schema, `"`, `""`) + `".spatial_ref_sys WHERE srid = ANY ($1)`
			s.at[i] = len(s.cols)
			s.cols = append(s.cols, i)
		}
	}
	s.stats = make([]geoStats, len(s.cols))
}

func (s *geoSet) add(p *Plan, stats []geoStats) error {
	if len(stats) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range stats {
		if err := s.stats[i].merge(&stats[i]); err != nil {
			c := &p.Columns[s.cols[i]]
			return &UnsupportedError{c.Name, c.Postgres, err.Error(), typeFlag(c.Name, "text") + " keeps each value's SRID"}
		}
	}
	return nil
}

// srid is the reference system of a geometry column: its values', else its typmod's.
func (p *Plan) srid(i int) int32 {
	n, g := p.nodes[p.geo.cols[i]], &p.geo.stats[i]
	srid := int32(n.precision)
	if g.hasSRID {
		srid = g.srid
	}
	if srid == 0 && n.pattern == "spherical" {
		srid = lonLat // PostGIS's default for a geography
	}
	return srid
}

// lonLat is WGS 84. PostGIS has longitude before latitude, which is GeoParquet's default, OGC:CRS84.
const lonLat = 4326

// SpatialRefs says what FileMetadata lacks to describe the geometry columns' reference systems: a statement that gives
// SRID and definition, and the SRIDs (int4[]) to run it with. Hand each row to AddSpatialRef. There is nothing to run
// when srids is empty. Call it after each Finish, or after the last: only the values know their SRIDs.
func (p *Plan) SpatialRefs() (sql string, srids []int32) {
	p.geo.mu.Lock()
	defer p.geo.mu.Unlock()
	for i := range p.geo.cols {
		srid := p.srid(i)
		if _, ok := p.geo.refs[srid]; !ok && srid != 0 && srid != lonLat && !slices.Contains(srids, srid) {
			srids = append(srids, srid)
		}
	}
	return p.geo.query, srids
}

// AddSpatialRef gives the definition of a reference system, as spatial_ref_sys.srtext has it.
func (p *Plan) AddSpatialRef(srid int32, srtext string) {
	p.geo.mu.Lock()
	defer p.geo.mu.Unlock()
	p.geo.refs[srid] = srtext
}

type geoColumn struct {
	Encoding string          `json:"encoding"`
	Types    []string        `json:"geometry_types"`
	CRS      json.RawMessage `json:"crs,omitempty"`
	Edges    string          `json:"edges,omitempty"`
	BBox     []float64       `json:"bbox,omitempty"`
}

type geoFile struct {
	Version string               `json:"version"`
	Primary string               `json:"primary_column"`
	Columns map[string]geoColumn `json:"columns"`
}

// definition is a reference system as PROJJSON.
func (p *Plan) definition(srid int32) (json.RawMessage, error) {
	text := p.geo.refs[srid]
	if text == "" {
		return nil, errors.New("no definition in spatial_ref_sys")
	}
	return projJSON(text)
}

// FileMetadata is what belongs into the file's key-value metadata because of the rows: "geo", the GeoParquet 1.1
// description, for PostGIS columns. Call it after the last Finish, and after AddSpatialRef. It depends on the rows alone, not on how many decoders
// read them or in which order. Warnings say what the metadata had to leave out.
func (p *Plan) FileMetadata() (meta map[string]string, warnings []string, err error) {
	p.geo.mu.Lock()
	defer p.geo.mu.Unlock()
	f := geoFile{Version: "1.1.0", Columns: map[string]geoColumn{}}
	for i, col := range p.geo.cols {
		g, n, c := &p.geo.stats[i], p.nodes[col], &p.Columns[col]
		if g.beyond {
			warnings = append(warnings, fmt.Sprintf("column %s holds geometries with M values or curves, which GeoParquet does not know: it is plain WKB, without GeoParquet metadata", strconv.Quote(c.Name)))
			continue
		}
		gc := geoColumn{Encoding: "WKB", Types: []string{}}
		for code := 1; code <= geoLastKnown; code++ {
			if g.types[0]&(1<<code) != 0 {
				gc.Types = append(gc.Types, geoNames[code])
			}
		}
		for code := 1; code <= geoLastKnown; code++ {
			if g.types[1]&(1<<code) != 0 {
				gc.Types = append(gc.Types, geoNames[code]+" Z")
			}
		}
		if n.pattern == "spherical" {
			gc.Edges = n.pattern
		}
		if srid := p.srid(i); srid != lonLat {
			gc.CRS = json.RawMessage("null")
			if srid != 0 {
				j, err := p.definition(srid)
				if err != nil {
					warnings = append(warnings, fmt.Sprintf("column %s has SRID %d, which GeoParquet cannot be told (%v): its metadata says that the reference system is unknown", strconv.Quote(c.Name), srid, err))
				} else {
					gc.CRS = j
				}
			}
		}
		switch {
		case g.boxed && g.boxed3 && !g.flat:
			gc.BBox = []float64{g.lo[0], g.lo[1], g.lo[2], g.hi[0], g.hi[1], g.hi[2]}
		case g.boxed:
			gc.BBox = []float64{g.lo[0], g.lo[1], g.hi[0], g.hi[1]}
		}
		for _, x := range gc.BBox {
			if math.IsInf(x, 0) { // JSON has no infinity, and a box without these points would be wrong
				gc.BBox = nil
			}
		}
		if g.boxed && gc.BBox == nil {
			warnings = append(warnings, fmt.Sprintf("column %s holds infinite coordinates: its GeoParquet metadata has no bounding box", strconv.Quote(c.Name)))
		}
		if f.Primary == "" {
			f.Primary = c.Name
		}
		f.Columns[c.Name] = gc
	}
	if f.Primary == "" {
		return nil, warnings, nil
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, warnings, fmt.Errorf("geo metadata: %w", err)
	}
	return map[string]string{"geo": string(b)}, warnings, nil
}
