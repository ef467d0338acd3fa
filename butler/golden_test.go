package butler

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// sqliteRepos are the three main repositories, recorded. The Python tests make them anew, in SQLite and in Postgres.
var sqliteRepos = []string{"sqlite_plain", "sqlite_namekey", "sqlite_v1"}

func TestListingsAgainstPython(t *testing.T) {
	t.Parallel()
	for _, repo := range append(slices.Clone(sqliteRepos), "chained", "zip", "zoo", "release_26", "release_29") {
		t.Run(repo, func(t *testing.T) {
			t.Parallel()
			dir := unpack(t, repo)
			compareListings(t, filepath.Join(dir, repo), readGolden(t, dir, repo))
		})
	}
}

// listKey writes a dataset of a listing: its id, run and full data ID.
func listKey(id, run string, dataID map[string]any) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(dataID)) {
		parts = append(parts, fmt.Sprintf("%s=%v", k, dataID[k]))
	}
	return id + " " + run + " " + strings.Join(parts, ",")
}

// compareListings asks every question of the golden file, with duplicates kept and left out.
func compareListings(t *testing.T, repo string, g golden) {
	t.Helper()
	l := newLister(t, repo)
	asked := 0
	for _, q := range g.Queries {
		var collections []string
		if json.Unmarshal(q.Collections, &collections) != nil {
			var one string
			if err := json.Unmarshal(q.Collections, &one); err != nil {
				t.Fatal(err)
			}
			collections = []string{one}
		}
		name := fmt.Sprintf("%s in %v find-first=%t", q.DatasetType, collections, q.FindFirst)
		var want []string
		for _, r := range q.Rows {
			want = append(want, listKey(r[0].(string), r[1].(string), r[2].(map[string]any)))
		}
		slices.Sort(want)
		for _, keep := range []bool{true, false} {
			got, order, err := l.list(t, Options{Collections: collections, DatasetType: q.DatasetType, FindFirst: q.FindFirst, KeepDuplicates: keep, FullDataID: true})
			asked++
			switch {
			case q.DatasetType == "no_such_type":
				if err == nil {
					t.Errorf("%s: an unknown dataset type is no error", name)
				}
				continue
			case len(q.Error) > 0 && q.Error[0] == "MissingCollectionError" && strings.Contains(collections[0], ","):
				// Python does not split at commas.
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			case len(q.Error) > 0:
				if err == nil {
					t.Errorf("%s: no error, Python has %v", name, q.Error)
				}
				continue
			case err != nil && q.FindFirst && strings.Contains(err.Error(), "ambiguous") && strings.Contains(repo, "pg_"):
				continue // Python on Postgres takes any of several validity ranges
			case err != nil:
				t.Errorf("%s: %v", name, err)
				continue
			}
			sorted := slices.Sorted(slices.Values(got))
			wantHere := want
			if !keep {
				wantHere = slices.Compact(slices.Clone(want))
			}
			if !slices.Equal(sorted, wantHere) {
				t.Errorf("%s keep=%t:\ngot  %v\nwant %v", name, keep, sorted, wantHere)
			}
			if !slices.IsSorted(order) {
				t.Errorf("%s: not in order: %v", name, order)
			}
		}
	}
	if asked < 2*len(g.Queries) || asked == 0 {
		t.Errorf("%d questions asked of %d", asked, len(g.Queries))
	}
}

// lister asks one registry many questions.
type lister struct {
	cfg *repoConfig
	r   *registry
}

func newLister(t *testing.T, repo string) *lister {
	t.Helper()
	src := testSource(nil)
	cfg, err := src.openConfig(repo)
	if err != nil {
		t.Fatal(err)
	}
	r, err := openRegistry(t.Context(), cfg, Options{Getenv: src.getenv, Log: src.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return &lister{cfg, r}
}

// list gives a listing as keys, and as texts that sort in the order that is promised.
func (l *lister) list(t *testing.T, o Options) (keys, order []string, err error) {
	t.Helper()
	if o, err = o.withDefaults(); err != nil {
		return nil, nil, err
	}
	found, err := findDatasets(t.Context(), l.r, l.cfg, o)
	if err != nil {
		return nil, nil, err
	}
	e := &Extraction{opt: o, stores: l.cfg.datastores, listing: found}
	for d := range e.Datasets() {
		id := map[string]any{}
		var sortBy []string
		last := ""
		for i, v := range d.DataID {
			id[v.Name] = v.Value
			if i >= len(e.listing.datasetType.group.required) {
				continue
			}
			s := fmt.Sprint(v.Value)
			if _, isInt := v.Value.(int64); isInt {
				s = fmt.Sprintf("%020d", v.Value)
			}
			if v.Name == "detector" {
				last = s
				continue
			}
			sortBy = append(sortBy, s)
		}
		keys = append(keys, listKey(d.ID, d.Run, id))
		order = append(order, strings.Join(append(sortBy, last, d.Run, d.ID), "\x00"))
	}
	return keys, order, nil
}

func TestTablesAgainstPython(t *testing.T) {
	t.Parallel()
	for _, repo := range append(slices.Clone(sqliteRepos), "chained", "zip", "zoo", "release_26", "release_29") {
		t.Run(repo, func(t *testing.T) {
			t.Parallel()
			dir := unpack(t, repo)
			compareTables(t, dir, repo)
		})
	}
}

// exception is where a table is right and Python's is not, or where a table is refused that Python changes in silence.
type exception struct {
	refused string              // part of the error that is to come
	cells   map[string][]string // right values by column
	units   map[string]string   // units that Python forgets or rewrites
	header  bool                // the header differs for the units
}

// oddTables are the tables of the dataset type tab_odd, in order of visit and detector.
var oddTables = []string{"list", "dictionary", "decimal", "date32", "time64", "duration", "fixed_binary", "null_type", "ts_tz", "null_cell", "null_inside", "no_width", "view_null", "bool_inside", "float16"}

// exceptions by the name of the zoo's detector, or by dataset type.
var exceptions = map[string]exception{
	"date_far":            {refused: "does not fit into microseconds"},
	"str_nul":             {cells: map[string][]string{"c": {`"a\x00b"`, `"\x00x"`, `"tail\x00"`, `""`, `"plain"`, "null"}}},
	"bin_nul":             {cells: map[string][]string{"c": {"x610062", "x0078", "x7461696c00", "x", "x706c61696e", "null"}}},
	"fsl_int_null_inside": {refused: "a null inside a list"},
	"null_inside":         {refused: "a null inside a list"},
	"tab_arrow":           {cells: map[string][]string{"bin": {"x007a", "x007a", "x007a"}}},
	"units":               {units: map[string]string{"u1": "degree", "u2": "pixel**2", "u5": "1/pixel", "u7": "N/A", "u12": " deg ", "u13": "10^-7 nJy"}, header: true},
	// Units that releases before 27 kept in the header alone: Butler 30 forgets them.
	"release_26 dia_source_visit": {units: map[string]string{"ra": "deg", "flux": "nJy"}, header: true},
	"v26_yaml":                    {units: map[string]string{"ra": "deg", "psfFlux": "nJy", "rate": "electron / s"}, header: true},
	"names":                       {header: true}, // the library that reads headers here folds a line feed in another way than Python
}

// compareTables extracts every dataset of the golden file by itself and compares it with what Python gives.
func compareTables(t *testing.T, dir, repo string) {
	t.Helper()
	g := readGolden(t, dir, repo)
	path := filepath.Join(dir, repo)
	var names map[int64]string
	if repo == "zoo" {
		names = detectorNames(t, path)
	}
	compared := 0
	for _, want := range g.Tables {
		name := want.DatasetType
		var where []string
		for _, k := range slices.Sorted(maps.Keys(want.DataID)) {
			switch v := want.DataID[k].(type) {
			case json.Number:
				where = append(where, k+" = "+v.String())
			case string:
				where = append(where, k+" = '"+v+"'")
			}
		}
		if want.DatasetType == "tab_odd" {
			visit, _ := want.DataID["visit"].(json.Number).Int64()
			detector, _ := want.DataID["detector"].(json.Number).Int64()
			name = oddTables[4*(visit-1)+detector]
		}
		if want.DatasetType == "zoo" {
			n, err := want.DataID["detector"].(json.Number).Int64()
			if err != nil {
				t.Fatal(err)
			}
			_, name, _ = strings.Cut(names[n], "_")
		}
		t.Run(name+" "+want.ID, func(t *testing.T) {
			got, s, err := extract(t, Options{
				Repo: path, Collections: []string{want.Run}, DatasetType: want.DatasetType, Where: strings.Join(where, " AND "),
				PathMaps: []PathMap{{g.Base, dir}},
			})
			x, ok := exceptions[repo+" "+name]
			if !ok {
				x = exceptions[name]
			}
			compareTable(t, dir, repo, want, x, got, s, err)
		})
		compared++
	}
	if compared == 0 {
		t.Error("nothing compared")
	}
}

func compareTable(t *testing.T, dir, repo string, want goldenTable, x exception, got *collector, s Summary, err error) {
	t.Helper()
	switch {
	case len(want.Error) > 0:
		if err == nil {
			t.Fatalf("no error, Python has %v", want.Error)
		}
		if e := err.Error(); strings.Contains(e, "\n") || !strings.Contains(e, "dataset ") && !strings.Contains(e, "stored") {
			t.Errorf("not a good error: %s", e)
		}
		t.Log(err)
		return
	case x.refused != "":
		if err == nil || !strings.Contains(err.Error(), x.refused) {
			t.Fatalf("got %v, want a refusal: %s", err, x.refused)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	schema, cells, rows := goldenArrow(t, dir, repo, want.ID)
	if got == nil { // a table without columns is no file
		if schema.NumFields() > 0 {
			t.Fatalf("no schema, want %s", schema)
		}
		return
	}
	if schema.NumFields() != got.schema.NumFields() {
		t.Fatalf("%d columns, want %d", got.schema.NumFields(), schema.NumFields())
	}
	if s.Rows != rows {
		t.Errorf("%d rows, want %d", s.Rows, rows)
	}
	for i, w := range schema.Fields() {
		h := got.schema.Field(i)
		if h.Name != w.Name || !arrow.TypeEqual(h.Type, w.Type, arrow.CheckMetadata()) || h.Nullable != w.Nullable {
			t.Errorf("column %d is %s, want %s", i, h, w)
		}
		unit, hasUnit := w.Metadata.GetValue("unit")
		description, hasDescription := w.Metadata.GetValue("description")
		if u, ok := x.units[w.Name]; ok {
			unit, hasUnit = u, true
		}
		gotUnit, gotHas := h.Metadata.GetValue("unit")
		gotDescription, gotHasDescription := h.Metadata.GetValue("description")
		if gotUnit != unit || gotHas != hasUnit || (gotDescription != description || gotHasDescription != hasDescription) && !x.header {
			t.Errorf("column %s: metadata %v, want %v", w.Name, h.Metadata, w.Metadata)
		}
		wantCells := cells[w.Name]
		if c, ok := x.cells[w.Name]; ok {
			wantCells = c
		}
		for k := range max(len(wantCells), len(got.cells[w.Name])) {
			a, b := "nothing", "nothing"
			if k < len(got.cells[w.Name]) {
				a = got.cells[w.Name][k]
			}
			if k < len(wantCells) {
				b = wantCells[k]
			}
			if a != b {
				t.Errorf("column %s row %d: %s, want %s", w.Name, k, a, b)
				break
			}
		}
	}
	var keys []string
	for i := range s.Metadata {
		keys = append(keys, s.Metadata[i].Key)
	}
	if w := schema.Metadata().Keys(); !slices.Equal(keys, w) {
		t.Errorf("metadata %v, want %v", keys, w)
	}
	for i, k := range schema.Metadata().Keys() {
		w, h := schema.Metadata().Values()[i], lookUp(s.Metadata, k)
		switch {
		case k == keyTableMeta:
			if !x.header && !sameYAML(t, h, w) {
				t.Errorf("header\n%s\nwant\n%s", h, w)
			}
		case h != w && x.cells == nil:
			t.Errorf("%s is %s, want %s", k, h, w)
		}
	}
}

// detectorNames reads the full names of detectors: the zoo's files are named by them.
func detectorNames(t *testing.T, repo string) map[int64]string {
	t.Helper()
	names := map[int64]string{}
	s, err := beginSQLite(t.Context(), "file:"+filepath.Join(repo, "gen3.sqlite3")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	err = s.each(t.Context(), "SELECT id, full_name FROM detector", nil, func(v []any) error {
		names[v[0].(int64)], _ = v[1].(string)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
