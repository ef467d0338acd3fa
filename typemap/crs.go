package typemap

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// GeoParquet wants a coordinate reference system as PROJJSON; PostGIS's spatial_ref_sys has it as WKT of the first
// generation. projJSON translates the geographic systems in degrees and the projections that maps are drawn in; what it
// does not know it refuses, and the file says that the system is unknown.
// Source: OGC 01-009 (WKT 1), EPSG guidance note 7-2 (methods and parameters), proj.org/specifications/projjson.html.

// wkt is one node: KEYWORD["name", 1.5, CHILD[…], …].
type wkt struct {
	key  string
	args []string // names, numbers and bare words
	kids []*wkt
}

func parseWKT(s string) (*wkt, error) {
	n, rest, err := wktNode(s, 0)
	if err == nil && strings.TrimSpace(rest) != "" {
		err = fmt.Errorf("something behind the end")
	}
	return n, err
}

func wktNode(s string, depth int) (*wkt, string, error) {
	bad := func() (*wkt, string, error) { return nil, "", fmt.Errorf("not WKT at %.20q", s) }
	key, rest, ok := strings.Cut(s, "[")
	key = strings.TrimSpace(key)
	if !ok || key == "" || depth > 20 || strings.ContainsAny(key, `",]`) {
		return bad()
	}
	n := &wkt{key: key}
	s = rest
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		switch {
		case s == "":
			return bad()
		case s[0] == '"':
			var b strings.Builder
			i := 1
			for ; i < len(s); i++ {
				if s[i] == '"' {
					if i+1 < len(s) && s[i+1] == '"' {
						i++
					} else {
						break
					}
				}
				b.WriteByte(s[i])
			}
			if i == len(s) {
				return bad()
			}
			n.args = append(n.args, b.String())
			s = s[i+1:]
		default:
			i := strings.IndexAny(s, ",[]")
			if i <= 0 {
				return bad()
			}
			if s[i] == '[' {
				kid, rest, err := wktNode(s, depth+1)
				if err != nil {
					return nil, "", err
				}
				n.kids = append(n.kids, kid)
				s = rest
			} else {
				n.args = append(n.args, strings.TrimSpace(s[:i]))
				s = s[i:]
			}
		}
		s = strings.TrimLeft(s, " \t\r\n")
		switch {
		case s == "":
			return bad()
		case s[0] == ']':
			return n, s[1:], nil
		case s[0] != ',':
			return bad()
		}
		s = s[1:]
	}
}

func (n *wkt) kid(key string) *wkt {
	for _, k := range n.kids {
		if k.key == key {
			return k
		}
	}
	return nil
}

func (n *wkt) name() string {
	if n == nil || len(n.args) == 0 {
		return ""
	}
	return n.args[0]
}

// number is the i-th argument, kept as it is written where JSON takes it so.
func (n *wkt) number(i int) (float64, bool) {
	if n == nil || i >= len(n.args) {
		return 0, false
	}
	f, err := strconv.ParseFloat(n.args[i], 64)
	return f, err == nil
}

type crsID struct {
	Authority string `json:"authority"`
	Code      int    `json:"code"`
}

func (n *wkt) id() *crsID {
	a := n.kid("AUTHORITY")
	if a == nil || len(a.args) != 2 {
		return nil
	}
	code, err := strconv.Atoi(a.args[1])
	if err != nil {
		return nil
	}
	return &crsID{a.args[0], code}
}

type crsUnit struct {
	Type   string  `json:"type"`
	Name   string  `json:"name"`
	Factor float64 `json:"conversion_factor"`
}

type crsAxis struct {
	Name         string `json:"name"`
	Abbreviation string `json:"abbreviation"`
	Direction    string `json:"direction"`
	Unit         any    `json:"unit"` // "degree", "metre" or a crsUnit
}

type crsSystem struct {
	Subtype string    `json:"subtype"`
	Axes    []crsAxis `json:"axis"`
}

type crsMeridian struct {
	Name      string  `json:"name"`
	Longitude float64 `json:"longitude"`
}

type crsEllipsoid struct {
	Name    string   `json:"name"`
	Major   float64  `json:"semi_major_axis"`
	Inverse *float64 `json:"inverse_flattening,omitempty"`
	Minor   *float64 `json:"semi_minor_axis,omitempty"`
}

type crsDatum struct {
	Type      string       `json:"type"`
	Name      string       `json:"name"`
	Ellipsoid crsEllipsoid `json:"ellipsoid"`
	Meridian  *crsMeridian `json:"prime_meridian,omitempty"`
	ID        *crsID       `json:"id,omitempty"`
}

type crsParameter struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  any     `json:"unit"`
	ID    crsID   `json:"id"`
}

type crsMethod struct {
	Name string `json:"name"`
	ID   crsID  `json:"id"`
}

type crsConversion struct {
	Name       string         `json:"name"`
	Method     crsMethod      `json:"method"`
	Parameters []crsParameter `json:"parameters"`
}

type crs struct {
	Schema     string         `json:"$schema,omitempty"`
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	Base       *crs           `json:"base_crs,omitempty"`
	Conversion *crsConversion `json:"conversion,omitempty"`
	Datum      *crsDatum      `json:"datum,omitempty"`
	System     crsSystem      `json:"coordinate_system"`
	ID         *crsID         `json:"id,omitempty"`
}

// parameter is one of EPSG's, and the name that WKT 1 has for it within a method.
type parameter struct {
	wkt  string
	epsg int
}

var parameterNames = map[int]string{
	8801: "Latitude of natural origin", 8802: "Longitude of natural origin", 8805: "Scale factor at natural origin", 8806: "False easting", 8807: "False northing",
	8811: "Latitude of projection centre", 8812: "Longitude of projection centre", 8813: "Azimuth at projection centre", 8814: "Angle from Rectified to Skew Grid",
	8815: "Scale factor at projection centre", 8816: "Easting at projection centre", 8817: "Northing at projection centre", 8821: "Latitude of false origin", 8822: "Longitude of false origin",
	8823: "Latitude of 1st standard parallel", 8824: "Latitude of 2nd standard parallel", 8826: "Easting at false origin", 8827: "Northing at false origin",
	8832: "Latitude of standard parallel", 8833: "Longitude of origin",
}

type method struct {
	epsg       int
	name       string
	parameters []parameter
}

var (
	natural = []parameter{{"latitude_of_origin", 8801}, {"central_meridian", 8802}, {"scale_factor", 8805}, {"false_easting", 8806}, {"false_northing", 8807}}
	conic   = []parameter{{"latitude_of_origin", 8821}, {"central_meridian", 8822}, {"standard_parallel_1", 8823}, {"standard_parallel_2", 8824}, {"false_easting", 8826}, {"false_northing", 8827}}
	center  = []parameter{{"latitude_of_center", 8801}, {"longitude_of_center", 8802}, {"false_easting", 8806}, {"false_northing", 8807}}
)

var methods = map[string]method{
	"Transverse_Mercator":                    {9807, "Transverse Mercator", natural},
	"Transverse_Mercator_South_Orientated":   {9808, "Transverse Mercator (South Orientated)", natural},
	"Mercator_1SP":                           {9804, "Mercator (variant A)", natural},
	"Mercator_2SP":                           {9805, "Mercator (variant B)", []parameter{{"standard_parallel_1", 8823}, {"central_meridian", 8802}, {"false_easting", 8806}, {"false_northing", 8807}}},
	"Lambert_Conformal_Conic_1SP":            {9801, "Lambert Conic Conformal (1SP)", natural},
	"Lambert_Conformal_Conic_2SP":            {9802, "Lambert Conic Conformal (2SP)", conic},
	"Lambert_Conformal_Conic_2SP_Belgium":    {9803, "Lambert Conic Conformal (2SP Belgium)", conic},
	"Albers_Conic_Equal_Area":                {9822, "Albers Equal Area", []parameter{{"latitude_of_center", 8821}, {"longitude_of_center", 8822}, {"standard_parallel_1", 8823}, {"standard_parallel_2", 8824}, {"false_easting", 8826}, {"false_northing", 8827}}},
	"Lambert_Azimuthal_Equal_Area":           {9820, "Lambert Azimuthal Equal Area", center},
	"Oblique_Stereographic":                  {9809, "Oblique Stereographic", natural},
	"Cassini_Soldner":                        {9806, "Cassini-Soldner", []parameter{{"latitude_of_origin", 8801}, {"central_meridian", 8802}, {"false_easting", 8806}, {"false_northing", 8807}}},
	"Polyconic":                              {9818, "American Polyconic", []parameter{{"latitude_of_origin", 8801}, {"central_meridian", 8802}, {"false_easting", 8806}, {"false_northing", 8807}}},
	"Hotine_Oblique_Mercator":                {9812, "Hotine Oblique Mercator (variant A)", []parameter{{"latitude_of_center", 8811}, {"longitude_of_center", 8812}, {"azimuth", 8813}, {"rectified_grid_angle", 8814}, {"scale_factor", 8815}, {"false_easting", 8806}, {"false_northing", 8807}}},
	"Hotine_Oblique_Mercator_Azimuth_Center": {9815, "Hotine Oblique Mercator (variant B)", []parameter{{"latitude_of_center", 8811}, {"longitude_of_center", 8812}, {"azimuth", 8813}, {"rectified_grid_angle", 8814}, {"scale_factor", 8815}, {"false_easting", 8816}, {"false_northing", 8817}}},
}

// pseudoMercator is what web maps are drawn in. WKT 1 has no name for it: it is Mercator on a sphere, by an extension.
var pseudoMercator = method{1024, "Popular Visualisation Pseudo Mercator", []parameter{{"latitude_of_origin", 8801}, {"central_meridian", 8802}, {"false_easting", 8806}, {"false_northing", 8807}}}

// polarB is the polar stereographic projection by its parallel of true scale, which WKT 1 calls its latitude of origin.
var polarB = method{9829, "Polar Stereographic (variant B)", []parameter{{"latitude_of_origin", 8832}, {"central_meridian", 8833}, {"false_easting", 8806}, {"false_northing", 8807}}}

var polarA = method{9810, "Polar Stereographic (variant A)", natural}

// projJSON translates a WKT of the first generation; the error says what it does not know.
func projJSON(text string) (json.RawMessage, error) {
	n, err := parseWKT(text)
	if err != nil {
		return nil, err
	}
	var c *crs
	switch n.key {
	case "GEOGCS":
		c, err = geographic(n)
	case "PROJCS":
		c, err = projected(n)
	default:
		err = fmt.Errorf("a reference system of the kind %s", n.key)
	}
	if err != nil {
		return nil, err
	}
	c.Schema = "https://proj.org/schemas/v0.5/projjson.schema.json"
	return json.Marshal(c)
}

const degree = 0.0174532925199433 // as WKT writes it

func geographic(n *wkt) (*crs, error) {
	datum, unit := n.kid("DATUM"), n.kid("UNIT")
	if f, ok := unit.number(1); datum == nil || !ok || f < degree-1e-12 || f > degree+1e-12 {
		return nil, fmt.Errorf("a geographic system that is not in degrees")
	}
	sphere := datum.kid("SPHEROID")
	major, ok1 := sphere.number(1)
	inverse, ok2 := sphere.number(2)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("a datum without an ellipsoid")
	}
	d := &crsDatum{Type: "GeodeticReferenceFrame", Name: datum.name(), Ellipsoid: crsEllipsoid{Name: sphere.name(), Major: major}, ID: datum.id()}
	if inverse == 0 { // a sphere
		d.Ellipsoid.Minor = &major
	} else {
		d.Ellipsoid.Inverse = &inverse
	}
	if m, ok := n.kid("PRIMEM").number(1); ok && m != 0 {
		d.Meridian = &crsMeridian{n.kid("PRIMEM").name(), m}
	}
	return &crs{
		Type: "GeographicCRS", Name: n.name(), Datum: d, ID: n.id(),
		System: crsSystem{"ellipsoidal", []crsAxis{{"Geodetic latitude", "Lat", "north", "degree"}, {"Geodetic longitude", "Lon", "east", "degree"}}},
	}, nil
}

func projected(n *wkt) (*crs, error) {
	geog, proj, unit := n.kid("GEOGCS"), n.kid("PROJECTION"), n.kid("UNIT")
	factor, ok := unit.number(1)
	if geog == nil || proj == nil || !ok {
		return nil, fmt.Errorf("a projected system without projection or unit")
	}
	base, err := geographic(geog)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, k := range n.kids {
		if v, ok := k.number(1); k.key == "PARAMETER" && ok {
			values[k.name()] = v
		}
	}
	m, ok := methods[proj.name()]
	ext := n.kid("EXTENSION")
	switch {
	case ext != nil && len(ext.args) == 2 && proj.name() == "Mercator_1SP" && strings.Contains(ext.args[1], "+proj=merc +a=6378137 +b=6378137 ") && values["scale_factor"] == 1:
		m = pseudoMercator
		delete(values, "scale_factor")
	case ext != nil:
		return nil, fmt.Errorf("a projection with an extension")
	case proj.name() == "Polar_Stereographic" && values["scale_factor"] == 1 && values["latitude_of_origin"] != 90 && values["latitude_of_origin"] != -90:
		m = polarB
		delete(values, "scale_factor")
	case proj.name() == "Polar_Stereographic":
		m = polarA
	case !ok:
		return nil, fmt.Errorf("the projection %s", proj.name())
	}
	length := any("metre")
	if factor != 1 {
		length = crsUnit{"LinearUnit", unit.name(), factor}
	}
	conv := &crsConversion{Name: n.name(), Method: crsMethod{m.name, crsID{"EPSG", m.epsg}}}
	for _, p := range m.parameters {
		v, ok := values[p.wkt]
		if !ok && p.wkt != "latitude_of_origin" { // which some leave out where it is the equator
			return nil, fmt.Errorf("the projection %s without %s", proj.name(), p.wkt)
		}
		delete(values, p.wkt)
		u := any("degree")
		switch p.epsg {
		case 8805, 8815:
			u = "unity"
		case 8806, 8807, 8816, 8817, 8826, 8827:
			u = length
		}
		conv.Parameters = append(conv.Parameters, crsParameter{parameterNames[p.epsg], v, u, crsID{"EPSG", p.epsg}})
	}
	if len(values) > 0 {
		return nil, fmt.Errorf("the projection %s with a parameter of its own", proj.name())
	}
	axes := []crsAxis{{"Easting", "E", "east", length}, {"Northing", "N", "north", length}}
	var own []crsAxis
	for _, k := range n.kids {
		if k.key == "AXIS" && len(k.args) == 2 {
			own = append(own, crsAxis{k.args[0], k.args[0], strings.ToLower(k.args[1]), length})
		}
	}
	if len(own) == 2 {
		axes = own
		for i := range axes {
			if a := &axes[i]; a.Name == "Easting" || a.Name == "Northing" {
				a.Abbreviation = a.Name[:1]
			}
		}
	}
	return &crs{Type: "ProjectedCRS", Name: n.name(), Base: base, Conversion: conv, System: crsSystem{"Cartesian", axes}, ID: n.id()}, nil
}
