package typemap

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

// geometries are what the PostGIS test puts into a table and what testdata/postgis.tsv has recorded.
var geometries = []string{
	"POINT(1 2)", "POINT Z (1 2 3)", "POINT EMPTY", "POINT Z EMPTY", "LINESTRING(0 0,1 1,2 -5)", "LINESTRING EMPTY", "LINESTRING Z (0 0 1,1 1 2)",
	"POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 2,1 1))", "POLYGON EMPTY", "MULTIPOINT(1 2,3 4)", "MULTILINESTRING((0 0,1 1),(2 2,3 3))",
	"MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))", "MULTIPOLYGON Z (((0 0 7,1 0 7,1 1 7,0 0 7)))",
	"GEOMETRYCOLLECTION(POINT(100 -50),LINESTRING(0 0,1 1),GEOMETRYCOLLECTION(POINT(-7 8)))", "GEOMETRYCOLLECTION EMPTY", "POINT(-1e300 1e-300)",
}

// curious are geometries that GeoParquet does not know.
var curious = []string{
	"POINT M (1 2 3)", "POINT ZM (1 2 3 4)", "LINESTRING M (0 0 1,1 1 2)", "CIRCULARSTRING(0 0,1 1,2 0)", "COMPOUNDCURVE(CIRCULARSTRING(0 0,1 1,2 0),(2 0,3 0))",
	"CURVEPOLYGON(CIRCULARSTRING(0 0,4 0,4 4,0 4,0 0))", "MULTICURVE((0 0,5 5),CIRCULARSTRING(4 0,4 4,8 4))", "MULTISURFACE(CURVEPOLYGON(CIRCULARSTRING(0 0,4 0,4 4,0 4,0 0)))",
	"POLYHEDRALSURFACE Z (((0 0 0,0 1 0,1 1 0,0 0 0)))", "TIN(((0 0,0 1,1 1,0 0)))", "TRIANGLE((0 0,0 9,9 0,0 0))",
}

// TestPostGIS compares WKB and metadata with PostGIS's own. Where PostGIS is not installed, TestRecordedGeometries does
// as much with what it once said.
func TestPostGIS(t *testing.T) {
	t.Parallel()
	c := session(t, pgtest.Database(t))
	if len(texts(t, c, "SELECT FROM pg_available_extensions WHERE name = 'postgis'")) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("no PostGIS here")
		}
		t.Log("no PostGIS here: only the recorded samples are checked")
		return
	}
	run(t, c, "CREATE EXTENSION postgis; CREATE TABLE g (n serial, g geometry, p geometry(Geometry,4326), z geometry(PointZ,3857), m geometry(PointM), w geography, a geometry[], b box2d, b3 box3d)")
	for _, wkt := range append(geometries, curious...) {
		run(t, c, fmt.Sprintf("INSERT INTO g (g, p, a, b, b3) SELECT s, ST_SetSRID(ST_Force2D(s), 4326), ARRAY[s, NULL, ST_SetSRID(s, 4326)], s, s FROM (SELECT ST_GeomFromEWKT('%s') AS s) x", wkt))
	}
	run(t, c, "INSERT INTO g (z, m, w) VALUES ('SRID=3857;POINT Z (1 2 3)', 'POINT M (1 2 3)', 'POINT(10 20)'), (NULL, NULL, NULL), ('SRID=3857;POINT Z (4 1 9)', NULL, 'LINESTRING(-170 5,170 6)')")

	p, batches := both(t, c, "SELECT n, g, p, z, m, w, a, b, b3 FROM g ORDER BY n", Options{})
	want := texts(t, c, `SELECT n, encode(ST_AsBinary(g), 'hex'), encode(ST_AsBinary(p), 'hex'), encode(ST_AsBinary(z), 'hex'), encode(ST_AsBinary(m), 'hex'),
		encode(ST_AsBinary(w), 'hex'), a, b, b3 FROM g ORDER BY n`)
	row := 0
	for _, b := range batches {
		for _, r := range newUnbatch(p, b).rows() {
			for i, v := range r {
				w := want[row][i]
				if v.null != (w == nil) {
					t.Fatalf("row %d, column %s: null %v, the server has %q", row, p.Columns[i].Name, v.null, w)
				}
				if v.null {
					continue
				}
				got := pgText(p.nodes[i], v)
				if p.nodes[i].kind == kGeo {
					got = hex.EncodeToString(v.data)
				}
				if got != string(w) {
					t.Errorf("row %d, column %s: got %s, PostGIS says %s", row, p.Columns[i].Name, got, w)
				}
			}
			row++
		}
	}
	if row != len(want) {
		t.Errorf("%d rows of %d", row, len(want))
	}
	for i, name := range []string{"geometry", "geometry(Geometry,4326)", "geometry(PointZ,3857)", "geometry(PointM)", "geography"} {
		if got := p.Columns[i+1].Postgres; got != name {
			t.Errorf("column %d is shown as %s, want %s", i+1, got, name)
		}
		var server string
		if err := c.QueryRow(t.Context(), "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'g'::regclass AND attname = $1", p.Columns[i+1].Name).Scan(&server); err != nil || server != name {
			t.Errorf("the server shows %s as %s: %v", name, server, err)
		}
	}

	sql, srids := p.SpatialRefs()
	if len(srids) != 1 || srids[0] != 3857 {
		t.Errorf("reference systems %v", srids)
	}
	rows, err := c.Query(t.Context(), sql, srids)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var srid int32
		var text string
		if err := rows.Scan(&srid, &text); err != nil {
			t.Fatal(err)
		}
		p.AddSpatialRef(srid, text)
	}
	if _, srids := p.SpatialRefs(); rows.Err() != nil || len(srids) != 0 {
		t.Errorf("still missing %v, %v", srids, rows.Err())
	}
	meta, warnings, err := p.FileMetadata()
	if err != nil || len(warnings) != 3 || !strings.Contains(warnings[0], `"g" holds`) || !strings.Contains(warnings[1], `"p" holds`) || !strings.Contains(warnings[2], `"m" holds`) {
		t.Errorf("warnings %q, %v", warnings, err)
	}
	var geo struct {
		Columns map[string]struct {
			CRS *struct {
				Name string
				ID   struct{ Code int }
			}
			BBox  []float64
			Edges string
		}
	}
	if err := json.Unmarshal([]byte(meta["geo"]), &geo); err != nil {
		t.Fatal(err)
	}
	if z := geo.Columns["z"]; z.CRS == nil || z.CRS.Name != "WGS 84 / Pseudo-Mercator" || z.CRS.ID.Code != 3857 || !reflect.DeepEqual(z.BBox, []float64{1, 1, 3, 4, 2, 9}) {
		t.Errorf("geo of z: %s", meta["geo"])
	}
	if w := geo.Columns["w"]; w.CRS != nil || w.Edges != "spherical" || !reflect.DeepEqual(w.BBox, []float64{-170, 5, 170, 20}) || len(geo.Columns) != 2 {
		t.Errorf("geo of w: %s", meta["geo"])
	}

	// Two SRIDs in one column have no place in GeoParquet.
	cat, cols := describe(t, c, "SELECT g FROM g")
	for _, tr := range []Transport{CSV, Binary} {
		p, err := NewPlan(cat, cols, Options{}, tr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = collect(p, DecoderOptions{}, copyOut(t, c, p, "SELECT 'SRID=1;POINT(1 2)'::geometry AS g UNION ALL SELECT 'SRID=2;POINT(1 2)'"), nil)
		if err == nil || !strings.Contains(err.Error(), "SRID 2 beside SRID 1") {
			t.Errorf("%s: two SRIDs: %v", tr, err)
		}
	}
}

// recordedGeometries reads testdata/postgis.tsv: a geometry's text, its extended WKB and its ISO WKB, as PostGIS 3.3 gave
// them.
func recordedGeometries(t testing.TB) [][3]string {
	t.Helper()
	b, err := os.ReadFile("testdata/postgis.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out [][3]string
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			t.Fatal(line)
		}
		out = append(out, [3]string(f))
	}
	return out
}

func TestRecordedGeometries(t *testing.T) {
	t.Parallel()
	for _, r := range recordedGeometries(t) {
		in, err := hex.DecodeString(r[1])
		if err != nil {
			t.Fatal(err)
		}
		var g geoStats
		got, err := toWKB(nil, in, &g)
		if err != nil || hex.EncodeToString(got) != r[2] {
			t.Errorf("%s: got %x, %v, want %s", r[0], got, err, r[2])
		}
		for n := range in {
			if _, err := toWKB(nil, in[:n], &g); err == nil {
				t.Errorf("%s cut at byte %d of %d is no error", r[0], n, len(in))
			}
		}
	}
}

const (
	oidGeometry  = 70001
	oidGeography = 70002
)

// postgis are the catalog's rows of PostGIS's types.
func postgis() []CatalogRow {
	row := func(oid uint32, name string) CatalogRow {
		return CatalogRow{OID: oid, Name: name, Schema: "public", Display: name, Kind: "b", Len: -1, Typmod: -1, Delim: ":", HasSend: true, HasTextCast: true, Output: "public." + name + "_out", Extension: "postgis", ExtVersion: "3.3.2"}
	}
	return []CatalogRow{row(oidGeometry, "geometry"), row(oidGeography, "geography")}
}

// csvOf is a one-column CSV stream.
func csvOf(values ...string) []byte { return []byte(strings.Join(values, "\n") + "\n") }

func TestGeoParquetMetadata(t *testing.T) {
	t.Parallel()
	byText := map[string]string{}
	for _, r := range recordedGeometries(t) {
		byText[r[0]] = r[1]
	}
	srid := func(hexEWKB string, n uint32) string { // little-endian, as every server on this planet sends
		return fmt.Sprintf("%s%08x%s", hexEWKB[:2], swap(unswap(hexEWKB[2:10])|ewkbSRID), fmt.Sprintf("%08x", swap(n))+hexEWKB[10:])
	}
	point4326 := int32(4326<<8 | 1<<2)
	for _, tt := range []struct {
		name   string
		oid    uint32
		typmod int32
		values []string
		want   string
		warn   string
	}{
		{"nothing", oidGeometry, -1, nil, `{"encoding":"WKB","geometry_types":[],"crs":null}`, ""},
		{"nothing, typmod", oidGeometry, point4326, nil, `{"encoding":"WKB","geometry_types":[]}`, ""},
		{"no SRID", oidGeometry, -1, []string{byText["POINT(1 2)"], "", byText["LINESTRING(0 0,1 1,2 -5)"], byText["POINT EMPTY"]}, `{"encoding":"WKB","geometry_types":["Point","LineString"],"crs":null,"bbox":[0,-5,2,2]}`, ""},
		{"4326", oidGeometry, point4326, []string{srid(byText["POINT(1 2)"], 4326)}, `{"encoding":"WKB","geometry_types":["Point"],"bbox":[1,2,1,2]}`, ""},
		{"3D", oidGeometry, -1, []string{srid(byText["POINT Z (1 2 3)"], 4326), srid(byText["LINESTRING Z (0 0 1,1 1 2)"], 4326)}, `{"encoding":"WKB","geometry_types":["Point Z","LineString Z"],"bbox":[0,0,1,1,2,3]}`, ""},
		{"2D and 3D", oidGeometry, -1, []string{byText["POINT Z (1 2 3)"], byText["POINT(1 2)"]}, `{"encoding":"WKB","geometry_types":["Point","Point Z"],"crs":null,"bbox":[1,2,1,2]}`, ""},
		{"geography", oidGeography, -1, []string{srid(byText["POINT(1 2)"], 4326)}, `{"encoding":"WKB","geometry_types":["Point"],"edges":"spherical","bbox":[1,2,1,2]}`, ""},
		{"collection", oidGeometry, -1, []string{byText["GEOMETRYCOLLECTION(POINT(100 -50),LINESTRING(0 0,1 1),GEOMETRYCOLLECTION(POINT(-7 8)))"]}, `{"encoding":"WKB","geometry_types":["GeometryCollection"],"crs":null,"bbox":[-7,-50,100,8]}`, ""},
		{"no definition at hand", oidGeometry, -1, []string{srid(byText["POINT(1 2)"], 3857)}, `{"encoding":"WKB","geometry_types":["Point"],"crs":null,"bbox":[1,2,1,2]}`, "SRID 3857"},
		{"infinite", oidGeometry, -1, []string{"0101000000000000000000F07F000000000000F03F", byText["POINT(1 2)"]}, `{"encoding":"WKB","geometry_types":["Point"],"crs":null}`, "infinite coordinates"},
		{"M", oidGeometry, -1, []string{byText["POINT M (1 2 3)"]}, "", "M values or curves"},
		{"curve", oidGeometry, -1, []string{byText["POINT(1 2)"], byText["CIRCULARSTRING(0 0,1 1,2 0)"]}, "", "M values or curves"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewPlan(builtin(t, postgis()...), []Column{{Name: "geom", OID: tt.oid, Typmod: tt.typmod}}, Options{}, CSV)
			if err != nil {
				t.Fatal(err)
			}
			// Each value by a decoder of its own, in both orders: the metadata may not notice.
			for range 2 {
				for i := range tt.values {
					if _, err := collect(p, DecoderOptions{}, csvOf(tt.values[len(tt.values)-1-i]), nil); err != nil {
						t.Fatal(err)
					}
				}
				if len(tt.values) > 0 {
					if _, err := collect(p, DecoderOptions{}, csvOf(tt.values...), nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			meta, warnings, err := p.FileMetadata()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(warnings, "|"); (tt.warn == "") != (got == "") || !strings.Contains(got, tt.warn) {
				t.Errorf("warnings %q, want one with %q", got, tt.warn)
			}
			if tt.want == "" {
				if len(meta) != 0 {
					t.Errorf("metadata %v for a column that GeoParquet does not know", meta)
				}
				return
			}
			var got, want any
			if err := json.Unmarshal([]byte(meta["geo"]), &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(`{"version":"1.1.0","primary_column":"geom","columns":{"geom":`+tt.want+`}}`), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %s, want the column %s", meta["geo"], tt.want)
			}
		})
	}
}

func swap(x uint32) uint32 { return x>>24 | x>>8&0xFF00 | x<<8&0xFF0000 | x<<24 }

func unswap(h string) uint32 {
	var x uint32
	fmt.Sscanf(h, "%08x", &x)
	return swap(x)
}
