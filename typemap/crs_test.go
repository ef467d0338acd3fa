package typemap

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// testdata/crs.tsv has reference systems as PostGIS 3.3's spatial_ref_sys defines them, and the PROJJSON that became of
// them, or why none did. All translations of that table's 7,654 systems were compared with PROJ's own reading of the
// same definitions, by projecting points: those that PROJ can project agreed to a millimetre.
func TestReferenceSystems(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/crs.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 15 {
		t.Fatalf("%d systems", len(lines))
	}
	for _, line := range lines {
		f := strings.Split(line, "\t")
		j, err := projJSON(f[1])
		got := string(j)
		if err != nil {
			got = "error: " + err.Error()
		}
		out.WriteString(f[0] + "\t" + f[1] + "\t" + got + "\n")
		if *update {
			continue
		}
		if len(f) != 3 || strings.HasPrefix(got, "error: ") || strings.HasPrefix(f[2], "error: ") {
			if len(f) != 3 || got != f[2] {
				t.Errorf("SRID %s: got %s", f[0], got)
			}
			continue
		}
		var x, y any
		if json.Unmarshal(j, &x) != nil || json.Unmarshal([]byte(f[2]), &y) != nil || !reflect.DeepEqual(x, y) {
			t.Errorf("SRID %s: got %s", f[0], got)
		}
		for n := range f[1] { // a definition that is cut is none
			if _, err := projJSON(f[1][:n]); err == nil {
				t.Fatalf("SRID %s cut at byte %d is no error", f[0], n)
			}
		}
	}
	if *update {
		if err := os.WriteFile("testdata/crs.tsv", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzWKT(f *testing.F) {
	f.Add(`GEOGCS["x",DATUM["d",SPHEROID["s",1,2]],UNIT["degree",0.0174532925199433]]`)
	f.Add(`A["b""c",1e5,D[EAST],]`)
	f.Fuzz(func(t *testing.T, s string) {
		j, err := projJSON(s)
		if err == nil && !json.Valid(j) {
			t.Errorf("%q became %s", s, j)
		}
	})
}
