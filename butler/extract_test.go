package butler

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// sources is the everyday extraction of the plain repository.
func sources(repo string, collections ...string) Options {
	return Options{Repo: repo, Collections: collections}
}

// atOnce gives leave to hold what is large.
func atOnce() error { return nil }

func TestWholeRun(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	var progress []string
	o := sources(repo, "u/me/run1,u/me/odd #name")
	o.OnDataset = func(p Progress) {
		progress = append(progress, fmt.Sprintf("%d %d/%d %d", p.Probed, p.Done, p.Total, p.Rows))
	}
	c, s := mustExtract(t, o)
	if !slices.Equal(c.groups, []int64{5, 6, 7, 9}) || s.Rows != 27 || s.RowsRead != 27 || s.Found != 5 || s.Written != 4 || s.Empty != 1 || s.Missing != 0 {
		t.Errorf("row groups %v, %+v", c.groups, s)
	}
	if want := []string{"1 0/5 0", "1 1/5 5", "1 2/5 11", "1 3/5 18", "1 4/5 27", "1 5/5 27"}; !slices.Equal(progress, want) {
		t.Errorf("progress %v, want %v", progress, want)
	}
	// The widest text of all, not of the first.
	if w := lookUp(s.Metadata, "lsst::arrow::len::band"); w != "7" || lookUp(s.Metadata, "table::len::band") != w || lookUp(s.Metadata, keyRowCount) != "27" {
		t.Errorf("metadata %v", s.Metadata)
	}
	ids := c.cells["diaSourceId"]
	if ids[0] != "2000000000000" || ids[26] != "6000000000008" {
		t.Errorf("ids %v", ids)
	}
	if len(s.Warnings) > 0 || s.Cut != nil {
		t.Errorf("warnings %v", s.Warnings)
	}
}

// TestSharedRowGroups lists more datasets than there may be row groups.
func TestSharedRowGroups(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	whole, _ := mustExtract(t, sources(repo, "u/me/run1,u/me/odd #name")) // 0, 5, 6, 7 and 9 rows, in some order
	for _, c := range []struct {
		most   int
		groups []int64
		warns  bool
	}{
		{5, []int64{5, 6, 7, 9}, false},
		{4, []int64{11, 16}, true}, // two datasets each: (5 6) (7 9) (none)
		{2, []int64{18, 9}, true},
		{1, []int64{27}, true},
	} {
		o := sources(repo, "u/me/run1,u/me/odd #name")
		o.MaxRowGroups = c.most
		got, s := mustExtract(t, o)
		if !slices.Equal(got.groups, c.groups) || fmt.Sprint(got.cells) != fmt.Sprint(whole.cells) || s.Written != 4 {
			t.Errorf("at most %d: row groups %v, %+v", c.most, got.groups, s)
		}
		if (len(s.Warnings) == 1) != c.warns || c.warns && !strings.Contains(s.Warnings[0], fmt.Sprintf("5 datasets, more than the %d row groups", c.most)) {
			t.Errorf("at most %d: warnings %v", c.most, s.Warnings)
		}
	}
	o := sources(repo, "u/me/run1,u/me/odd #name")
	o.MaxRowGroups, o.IDs = 2, NewIDSet([]int64{6000000000008}) // of the last dataset with rows
	if got, s := mustExtract(t, o); !slices.Equal(got.groups, []int64{1}) || len(s.Warnings) != 1 {
		t.Errorf("one row: row groups %v, %+v", got.groups, s)
	}
}

// TestSameForAllParallelisms runs everything with different numbers of workers and amounts of memory.
func TestSameForAllParallelisms(t *testing.T) {
	t.Parallel()
	repo, dir := plainRepo(t)
	var first string
	for _, parallel := range []int{1, 2, 8} {
		for _, mem := range []int64{0, MinMemory} {
			for range 3 {
				o := Options{Repo: repo, Collections: []string{"*"}, SkipMissing: true, AddDataID: true, Columns: []string{"m_str", "ra", "mat"}, Parallel: parallel, Memory: mem, KeepDuplicates: true, PathMaps: []PathMap{{"/x", dir}}}
				c, s := mustExtract(t, o)
				got := fmt.Sprint(c.groups, c.cells, s)
				if first == "" {
					first = got
				}
				if got != first {
					t.Fatalf("%d workers, %d bytes: %s\nfirst %s", parallel, mem, got, first)
				}
			}
		}
	}
}

// TestOddRoots reads a repository in a directory whose name has everything that URLs give a meaning.
func TestOddRoots(t *testing.T) {
	t.Parallel()
	repo, dir := plainRepo(t)
	odd := filepath.Join(dir, "a b#c %41 'd\" é;$HOME~")
	if err := os.Rename(repo, odd); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{odd, odd + "/", odd + "/butler.yaml"} {
		e, err := Open(t.Context(), sources(name, "u/me/outer"))
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Collections(); !slices.Equal(got, []string{"u/me/empty", "u/me/tag", "u/me/run1", "u/me/run2"}) {
			t.Errorf("collections %v", got)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if _, s := mustExtract(t, sources(name, "u/me/run1")); s.Written != 3 {
			t.Errorf("%+v", s)
		}
	}
}

func TestDuplicates(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	for _, c := range []struct {
		o       Options
		found   int
		repeats int64
	}{
		{Options{Collections: []string{"u/me/tag", "u/me/run1", "u/me/run2"}}, 7, 2},
		{Options{Collections: []string{"u/me/tag", "u/me/run1", "u/me/run2"}, KeepDuplicates: true}, 9, 0},
		{Options{Collections: []string{"u/me/tag", "u/me/run1", "u/me/run2"}, FindFirst: true}, 5, 0},
		{Options{Collections: []string{"u/me/run1", "u/me/run2"}}, 7, 0},
		{Options{Collections: []string{"u/me/calib"}, DatasetType: "calib_tab"}, 2, 2},
		{Options{Collections: []string{"u/me/calib"}, DatasetType: "calib_tab", KeepDuplicates: true}, 4, 0},
		{Options{Collections: []string{"u/me/calib", "u/me/run1"}, DatasetType: "calib_tab", KeepDuplicates: true}, 2, 3}, // Python's UNION
	} {
		c.o.Repo, c.o.SkipMissing = repo, true
		got, s := mustExtract(t, c.o)
		if s.Found != c.found || s.Repeats != c.repeats || len(got.groups) != s.Written {
			t.Errorf("%+v: %+v", c.o.Collections, s)
		}
	}
}

// TestKeptDuplicatesHaveRecords keeps a dataset twice, once in the last place of a chunk of look-ups and once in the next, and looks
// at what each of the two may be read from.
func TestKeptDuplicatesHaveRecords(t *testing.T) {
	t.Parallel()
	repo := bigRegistry(t, 6000)
	change(t, repo,
		"INSERT INTO collection_summary_dataset_type VALUES (5, 3)",
		"INSERT INTO dataset_tags_00000002 SELECT dataset_type_id, dataset_id, 5, instrument, detector, visit FROM dataset_tags_00000002 WHERE dataset_type_id = 3 AND collection_id = 1 AND visit = 1004 AND detector = 99")
	for where, n := range map[string]int{
		"visit >= 1000 AND visit < 1005":    inChunk + 1, // looked up in chunks
		"visit = 1004":                      101,
		"visit >= 1000":                     6001, // read by a scan
		"visit >= 1000 AND visit < 1010":    1001, // read as a whole table
		"visit = 1004 AND detector IN (99)": 2,
	} {
		o := Options{Repo: repo, Collections: []string{"u/me/run1", "u/me/tag"}, DatasetType: "tab_arrow", Where: where, KeepDuplicates: true}
		e, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		twice := 0
		for d := range e.Datasets() {
			if d.Problem != nil || d.Location == "" {
				t.Errorf("%s: %v %q", where, d.Problem, d.Location)
			}
			if d.DataID[1].Value == int64(99) && d.DataID[2].Value == int64(1004) {
				twice++
			}
		}
		if e.Len() != n || twice != 2 {
			t.Errorf("%s: %d datasets, the duplicate %d times", where, e.Len(), twice)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	// Each of the two gives its rows; none may be passed over.
	once, _ := mustExtract(t, Options{Repo: repo, Collections: []string{"u/me/run1"}, DatasetType: "tab_arrow", Where: "visit = 1004 AND detector = 99"})
	both, s := mustExtract(t, Options{Repo: repo, Collections: []string{"u/me/run1", "u/me/tag"}, DatasetType: "tab_arrow", Where: "visit = 1004 AND detector = 99", KeepDuplicates: true})
	if s.Written != 2 || len(once.groups) != 1 || !slices.Equal(both.groups, []int64{once.groups[0], once.groups[0]}) {
		t.Errorf("%+v: row groups %v, of one %v", s, both.groups, once.groups)
	}
}

func TestFirstOfCalibrations(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	// One dataset with two ranges: to Python ambiguous by itself, and not in a search with others, which lists it once.
	change(t, repo, "DELETE FROM dataset_calibs_00000003 WHERE dataset_id IN (SELECT id FROM dataset WHERE run_id = 2)")
	for collections, want := range map[string]string{"u/me/calib": "ambiguous: 2 validity ranges", "u/me/calib,u/me/run2": "", "u/me/run2,u/me/calib": ""} {
		e, err := Open(t.Context(), Options{Repo: repo, Collections: []string{collections}, DatasetType: "calib_tab", FindFirst: true})
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", collections, err)
			}
			continue
		}
		if err != nil || e.Len() != 1 {
			t.Errorf("%s: %v", collections, err)
			continue
		}
		for d := range e.Datasets() {
			if wantRun := map[bool]string{true: "u/me/run1", false: "u/me/run2"}[strings.HasPrefix(collections, "u/me/calib")]; d.Run != wantRun {
				t.Errorf("%s: in run %s", collections, d.Run)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	var gone string
	e, err := Open(t.Context(), sources(repo, "u/me/run1"))
	if err != nil {
		t.Fatal(err)
	}
	for d := range e.Datasets() {
		if d.DataID[1].Value == int64(2) {
			gone = d.Location
		}
	}
	if err := errors.Join(e.Close(), os.Remove(gone)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		collection, want string
		file             string
	}{
		{"u/me/run2", "dataset dia_source_visit {instrument: 'Cam1', visit: 4} in run u/me/run2: not stored: no datastore has a file for it", ""},
		{"u/me/run1", "dataset dia_source_visit {instrument: 'Cam1', visit: 2} in run u/me/run1, file " + gone + ": no such file", gone},
	} {
		_, _, err := extract(t, sources(repo, c.collection))
		var d *DatasetError
		if !errors.As(err, &d) || !d.Missing || err.Error() != c.want || d.File != c.file || d.Type != "dia_source_visit" || len(d.ID) != 36 || d.DataID == "" || d.Run != c.collection {
			t.Errorf("%s: %v, want %s", c.collection, err, c.want)
		}
	}
	o := sources(repo, "u/me/run1", "u/me/run2")
	o.SkipMissing = true
	c, s := mustExtract(t, o)
	if s.Missing != 2 || s.Written != 4 || len(c.groups) != 4 {
		t.Errorf("%+v", s)
	}
	// Everything missing: what the condition leaves out gives the schema.
	o.Collections, o.Where = []string{"u/me/run2"}, "visit = 4"
	if c, s := mustExtract(t, o); c == nil || c.schema.NumFields() != 21 || s.Missing != 1 || s.Rows != 0 {
		t.Errorf("%v %+v", c, s)
	}
}

// TestDamagedFiles checks that damage is an error that names the file, whether or not missing ones are passed over.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, repo, file string)
		err    string
	}{
		{"longer than recorded", func(t *testing.T, repo, file string) {
			change(t, repo, "UPDATE file_datastore_records SET file_size = file_size + 1 WHERE path LIKE '%dia_source_visit_Cam1_r_r_01_2_u_me_run1%'")
		}, "bytes and its record says"},
		{"cut", func(t *testing.T, _, file string) { rewrite(t, file, func(b []byte) []byte { return b[:len(b)-9] }) }, "bytes and its record says"},
		{"cut, size unknown", func(t *testing.T, repo, file string) {
			change(t, repo, "UPDATE file_datastore_records SET file_size = -1")
			rewrite(t, file, func(b []byte) []byte { return b[:len(b)-9] })
		}, "not a readable Parquet file"},
		{"empty", func(t *testing.T, repo, file string) {
			change(t, repo, "UPDATE file_datastore_records SET file_size = NULL")
			rewrite(t, file, func([]byte) []byte { return nil })
		}, "not a readable Parquet file"},
		{"text", func(t *testing.T, _, file string) {
			rewrite(t, file, func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) })
		}, "not a readable Parquet file"},
		{"zeros in the middle", func(t *testing.T, _, file string) {
			rewrite(t, file, func(b []byte) []byte { clear(b[4:200]); return b })
		}, "damaged page at byte 4"},
		{"zeros in the footer", func(t *testing.T, _, file string) {
			rewrite(t, file, func(b []byte) []byte { clear(b[len(b)/2 : len(b)-8]); return b })
		}, "not a readable Parquet file"},
		{"a directory", func(t *testing.T, _, file string) {
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"a path out of the root", func(t *testing.T, repo, _ string) {
			change(t, repo, "UPDATE file_datastore_records SET path = '../sqlite_plain/' || path WHERE path LIKE '%dia_source_visit_Cam1_r_r_01_2_u_me_run1%'")
		}, "leaves the datastore root"},
		{"an object store", func(t *testing.T, repo, _ string) {
			change(t, repo, "UPDATE file_datastore_records SET path = 's3://bucket/x y' WHERE path LIKE '%dia_source_visit_Cam1_r_r_01_2_u_me_run1%'")
		}, `file "s3://bucket/x y": not a local file`},
		{"another formatter", func(t *testing.T, repo, _ string) {
			change(t, repo, "UPDATE file_datastore_records SET formatter = 'lsst.obs.base.formatters.fitsTable.FitsCatalogFormatter' WHERE path LIKE '%dia_source_visit_Cam1_r_r_01_2_u_me_run1%'")
		}, "stored as ArrowAstropy by lsst.obs.base.formatters.fitsTable.FitsCatalogFormatter: only Parquet can be read"},
		{"a component", func(t *testing.T, repo, _ string) {
			change(t, repo, "UPDATE file_datastore_records SET component = 'wcs' WHERE path LIKE '%dia_source_visit_Cam1_r_r_01_2_u_me_run1%'")
		}, "stored in parts (component wcs)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			repo, _ := plainRepo(t)
			file := filepath.Join(repo, "u/me/run1/dia_source_visit/20250101/r/r_01/2/dia_source_visit_Cam1_r_r_01_2_u_me_run1.parq")
			c.damage(t, repo, file)
			for _, skip := range []bool{false, true} {
				o := sources(repo, "u/me/run1")
				o.SkipMissing = skip
				_, _, err := extract(t, o)
				var d *DatasetError
				if !errors.As(err, &d) || d.Missing || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "{instrument: 'Cam1', visit: 2} in run u/me/run1, file ") {
					t.Errorf("%v, want %s", err, c.err)
				}
			}
		})
	}
}

func rewrite(t testing.TB, file string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, f(b), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFirstErrorInOrder checks that the error is that of the first dataset that has one, however many read at once.
func TestFirstErrorInOrder(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	for _, v := range []string{"r/r_01/2/dia_source_visit_Cam1_r_r_01_2_u_me_run1.parq", "g/g_01/3/dia_source_visit_Cam1_g_g_01_3_u_me_run1.parq"} {
		rewrite(t, filepath.Join(repo, "u/me/run1/dia_source_visit/20250101", v), func(b []byte) []byte { clear(b[4:40]); return b })
	}
	for _, parallel := range []int{1, 2, 8} {
		for range 5 {
			o := sources(repo, "u/me/run1")
			o.Parallel = parallel
			if _, _, err := extract(t, o); err == nil || !strings.Contains(err.Error(), "visit: 2}") {
				t.Errorf("%d workers: %v", parallel, err)
			}
		}
	}
}

func TestSinkErrors(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	boom := errors.New("disk full")
	for _, at := range []string{"write", "end"} {
		e, err := Open(t.Context(), sources(repo, "u/me/run1"))
		if err != nil {
			t.Fatal(err)
		}
		schema, err := e.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := newCollector(t, schema)
		sink := Sink(c)
		if at == "write" {
			c.afterRows = func(int64) error { return boom }
		} else {
			sink = endFails{c, boom}
		}
		if _, err := e.Run(t.Context(), sink); !errors.Is(err, boom) {
			t.Errorf("%s: %v", at, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

type endFails struct {
	*collector
	err error
}

func (e endFails) EndRowGroup() error { return e.err }

func TestCancel(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	cause := errors.New("stopped by the user")
	ctx, cancel := context.WithCancelCause(t.Context())
	e, err := Open(ctx, sources(repo, "u/me/run1"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	schema, err := e.Schema(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := newCollector(t, schema)
	c.afterRows = func(int64) error { cancel(cause); return nil }
	if _, err := e.Run(ctx, c); !errors.Is(err, cause) {
		t.Error(err)
	}
	if _, err := Open(ctx, sources(repo, "u/me/run1")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNothingFound(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	for _, c := range []struct {
		name   string
		o      Options
		schema bool
		width  string
	}{
		{"no dataset", sources(repo, "u/me/empty"), false, ""},
		{"where", Options{Repo: repo, Collections: []string{"u/me/run1"}, Where: "visit = 99"}, true, "3"},
		{"where, in a collection without datasets", Options{Repo: repo, Collections: []string{"u/me/empty"}, Where: "visit = 99"}, false, ""},
		{"where, find first, data ID", Options{Repo: repo, Collections: []string{"u/me/run1"}, Where: "visit = 99", FindFirst: true, SchemaMode: Union}, true, "3"},
		{"where what is not stored", Options{Repo: repo, Collections: []string{"u/me/run1"}, Where: "visit = 4", SkipMissing: true}, true, "3"},
		{"no collection", sources(repo, "zz*"), false, ""},
		{"no rows", Options{Repo: repo, Collections: []string{"u/me/run1"}, Where: "visit = 6"}, true, "3"},
		{"no row left", Options{Repo: repo, Collections: []string{"u/me/run1"}, IDs: NewIDSet([]int64{5})}, true, "3"},
		{"no ids", Options{Repo: repo, Collections: []string{"u/me/run1"}, IDs: NewIDSet(nil)}, true, "3"},
	} {
		got, s := mustExtract(t, c.o)
		switch {
		case !c.schema && (got != nil || s.Metadata != nil):
			t.Errorf("%s: %v", c.name, s)
		case c.schema && (got == nil || len(got.groups) != 0 || got.schema.NumFields() != 21 || lookUp(s.Metadata, keyRowCount) != "0" || lookUp(s.Metadata, keyWidth+"band") != c.width):
			t.Errorf("%s: %v", c.name, s)
		case s.Rows != 0 || s.Written != 0 || s.Empty+s.Unmatched+s.Missing != s.Found || c.schema != (s.NoSchema == ""):
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// TestNoSchema looks for the true reason in every case.
func TestNoSchema(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	odd := array.NewTime64Builder(memory.DefaultAllocator, &arrow.Time64Type{Unit: arrow.Microsecond})
	odd.Append(5)
	cat := newCatalog(t)
	cat.add(t, record(t, nil, "diaSourceId", []int64{1}, "time", odd.NewArray()))
	for _, c := range []struct {
		o    Options
		says string
	}{
		{sources(repo, "u/me/empty"), "no dataset of type dia_source_visit was found"},
		{Options{Repo: repo, Collections: []string{"u/me/empty"}, Where: "visit = 99"}, "with the condition or without"},
		{Options{Repo: cat.repo, Collections: []string{"u/me/run1"}, IDs: NewIDSet([]int64{7})}, "column time: of type time64[us]"},
		{Options{Repo: cat.repo, Collections: []string{"u/me/run1"}, Where: "visit = 99"}, "column time: of type time64[us]"},
		{Options{Repo: cat.repo, Collections: []string{"u/me/run1"}, SkipMissing: true, PathMaps: []PathMap{{cat.repo, cat.repo + "/gone"}}}, "is stored and there"},
	} {
		if got, s := mustExtract(t, c.o); got != nil || !strings.Contains(s.NoSchema, c.says) {
			t.Errorf("%q, want %q", s.NoSchema, c.says)
		}
	}
}

// TestRowsAreCountedFromOne reads a date that numpy has no place for.
func TestRowsAreCountedFromOne(t *testing.T) {
	t.Parallel()
	dates := array.NewDate32Builder(memory.DefaultAllocator)
	dates.Append(math.MaxInt32)
	cat := newCatalog(t)
	cat.add(t, record(t, nil, "diaSourceId", []int64{1}, "day", dates.NewArray()))
	if _, _, err := extract(t, cat.options()); err == nil || !strings.Contains(err.Error(), "column day: row 1 or after: the date") {
		t.Error(err)
	}
}

// TestUnknownColumns asks for columns that no dataset has, where no row is found: the schema tells as much as with rows.
func TestUnknownColumns(t *testing.T) {
	t.Parallel()
	repo, _ := plainRepo(t)
	cat := newCatalog(t)
	cat.add(t, record(t, nil, "diaSourceId", []int64{}, "a", []int64{}))
	cat.add(t, record(t, nil, "diaSourceId", []int64{}, "b", []int64{}))
	bare := newCatalog(t)
	bare.add(t, record(t, nil))
	none := NewIDSet([]int64{7})
	for _, c := range []struct {
		name   string
		o      Options
		column string // that is reported, "" for a schema
	}{
		{"columns, a condition", Options{Repo: repo, Where: "visit = 99", Columns: []string{"ra", "zz"}}, "zz"},
		{"columns, ids", Options{Repo: repo, IDs: none, Columns: []string{"zz"}}, "zz"},
		{"columns, datasets without rows", Options{Repo: cat.repo, Columns: []string{"zz"}}, "zz"},
		{"columns of different datasets", Options{Repo: cat.repo, Columns: []string{"a", "b"}}, "b"},
		{"a column that one dataset has", Options{Repo: cat.repo, Columns: []string{"b"}}, ""},
		{"target, a condition", Options{Repo: repo, Where: "visit = 99", IDs: none, TargetColumn: "zz"}, "zz"},
		{"target, datasets without rows", Options{Repo: cat.repo, IDs: none, TargetColumn: "zz"}, "zz"},
		{"a target that one dataset has", Options{Repo: cat.repo, IDs: none, TargetColumn: "b"}, ""},
		{"no ids", Options{Repo: cat.repo, TargetColumn: "zz"}, ""},
		{"union", Options{Repo: cat.repo, Columns: []string{"zz"}, SchemaMode: Union}, "zz"},
	} {
		c.o.Collections = []string{"u/me/run1"}
		got, s, err := extract(t, c.o)
		var d *DatasetError
		switch {
		case c.column == "" && (err != nil || s.NoSchema != "" || got == nil):
			t.Errorf("%s: %v, %+v", c.name, err, s)
		case c.column != "" && (!errors.As(err, &d) || d.Column != c.column || !strings.Contains(err.Error(), "no such column")):
			t.Errorf("%s: %v", c.name, err)
		}
	}
	o := bare.options()
	o.Columns, o.IDs = []string{"zz"}, none
	if _, s, err := extract(t, o); err != nil || !strings.Contains(s.NoSchema, "it has no columns") {
		t.Errorf("a table without columns: %v, %+v", err, s)
	}
}

func TestChained(t *testing.T) {
	t.Parallel()
	dir := unpack(t, "chained")
	repo := filepath.Join(dir, "chained")
	locations := func(collection string) (out []string) {
		e, err := Open(t.Context(), Options{Repo: repo, Collections: []string{collection}, DatasetType: "nodim_tab"})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		for d := range e.Datasets() {
			tab, _, err := e.open(0, atOnce)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, strings.TrimPrefix(d.Location, repo), strings.TrimPrefix(tab.file.shown, repo))
			if err := tab.Close(); err != nil {
				t.Error(err)
			}
		}
		return out
	}
	for collection, want := range map[string][]string{
		"both":        {"/FileDatastore_1/both/nodim_tab/nodim_tab_both.parq", "/FileDatastore_1/both/nodim_tab/nodim_tab_both.parq"},
		"second_only": {"/FileDatastore_1/second_only/nodim_tab/nodim_tab_second_only.parq", "/FileDatastore_2/second_only/nodim_tab/nodim_tab_second_only.parq"},
	} {
		if got := locations(collection); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", collection, got, want)
		}
	}
	// A store that cannot be reached, before one that can.
	text, err := os.ReadFile(filepath.Join(repo, "butler.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, "butler.yaml"), bytes.ReplaceAll(text, []byte("<butlerRoot>/FileDatastore_1"), []byte("s3://bucket/one")), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := locations("both"); !slices.Equal(got, []string{"s3://bucket/one/both/nodim_tab/nodim_tab_both.parq", "/FileDatastore_2/both/nodim_tab/nodim_tab_both.parq"}) {
		t.Error(got)
	}
}

// TestZip reads members of zip files, stored and compressed, and damaged ones.
func TestZip(t *testing.T) {
	t.Parallel()
	dir := unpack(t, "zip")
	repo := filepath.Join(dir, "zip")
	want, _ := mustExtract(t, sources(repo, "u/me/run2"))
	if len(want.groups) != 2 {
		t.Fatalf("row groups %v", want.groups)
	}
	archives, err := filepath.Glob(filepath.Join(repo, "zips/*/*.zip"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	original, err := os.ReadFile(archives[0])
	if err != nil {
		t.Fatal(err)
	}
	repack := func(method uint16, keep func(name string) bool) []byte {
		in, err := zip.NewReader(bytes.NewReader(original), int64(len(original)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		for _, m := range in.File {
			if !keep(m.Name) {
				continue
			}
			b := readAll(t, m)
			to, err := w.CreateHeader(&zip.FileHeader{Name: m.Name, Method: method})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := to.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	all := func(string) bool { return true }
	for _, c := range []struct {
		name string
		raw  []byte
		err  string
	}{
		{"stored", repack(zip.Store, all), ""},
		{"compressed", repack(zip.Deflate, all), ""},
		{"members gone", repack(zip.Store, func(n string) bool { return strings.HasPrefix(n, "_") }), "the zip file has no member"},
		{"no zip", []byte("PK"), "not a zip file"},
		{"damaged", func() []byte { b := repack(zip.Deflate, all); clear(b[len(b)/3 : len(b)/3+300]); return b }(), "cannot be unpacked"},
	} {
		if err := os.WriteFile(archives[0], c.raw, 0o644); err != nil {
			t.Fatal(err)
		}
		got, _, err := extract(t, sources(repo, "u/me/run2"))
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.err == "" && fmt.Sprint(got.cells) != fmt.Sprint(want.cells):
			t.Errorf("%s: other cells", c.name)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), ".zip#zip-path=")):
			t.Errorf("%s: %v, want %s", c.name, err, c.err)
		}
	}
	if err := os.Remove(archives[0]); err != nil {
		t.Fatal(err)
	}
	o := sources(repo, "u/me/run2")
	o.SkipMissing = true
	if _, s := mustExtract(t, o); s.Missing != 2 {
		t.Errorf("%+v", s)
	}
}

// TestZipChecksums flips a bit of a column's values in a zip member, where only the zip file's checksum tells: pyarrow writes
// none into pages. The zip file's directory must be believed also where it says 0.
func TestZipChecksums(t *testing.T) {
	t.Parallel()
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		repo := filepath.Join(unpack(t, "zip"), "zip")
		want, _ := mustExtract(t, sources(repo, "u/me/run2"))
		archives, err := filepath.Glob(filepath.Join(repo, "zips/*/*.zip"))
		if err != nil || len(archives) != 1 {
			t.Fatal(archives, err)
		}
		original, err := os.ReadFile(archives[0])
		if err != nil {
			t.Fatal(err)
		}
		in, err := zip.NewReader(bytes.NewReader(original), int64(len(original)))
		if err != nil {
			t.Fatal(err)
		}
		// pack writes the zip file anew; the content of its Parquet files is other than their checksums say.
		pack := func(damage func([]byte), sum func(uint32) uint32) {
			t.Helper()
			var out bytes.Buffer
			w := zip.NewWriter(&out)
			for _, m := range in.File {
				b := readAll(t, m)
				h := &zip.FileHeader{Name: m.Name, Method: method, CRC32: crc32.ChecksumIEEE(b), UncompressedSize64: uint64(len(b))}
				if strings.HasSuffix(m.Name, ".parq") {
					damage(b)
					h.CRC32 = sum(h.CRC32)
				}
				if method == zip.Deflate {
					var packed bytes.Buffer
					d, err := flate.NewWriter(&packed, flate.BestSpeed)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := d.Write(b); err != nil {
						t.Fatal(err)
					}
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
					b = packed.Bytes()
				}
				h.CompressedSize64 = uint64(len(b))
				to, err := w.CreateRaw(h)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := to.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(w.Close(), os.WriteFile(archives[0], out.Bytes(), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		same := func(sum uint32) uint32 { return sum }
		pack(func([]byte) {}, same)
		if got, _ := mustExtract(t, sources(repo, "u/me/run2")); fmt.Sprint(got.cells) != fmt.Sprint(want.cells) {
			t.Errorf("method %d: other cells", method)
		}
		for _, c := range []struct {
			name   string
			damage func([]byte)
			sum    func(uint32) uint32
		}{
			{"a flipped bit", func(b []byte) { b[1700] ^= 1 }, same},
			{"a directory with the sum 0", func([]byte) {}, func(uint32) uint32 { return 0 }},
			{"a directory with another sum", func([]byte) {}, func(sum uint32) uint32 { return sum + 1 }},
		} {
			pack(c.damage, c.sum)
			o := sources(repo, "u/me/run2")
			o.SkipMissing = true
			_, _, err := extract(t, o)
			var de *DatasetError
			if !errors.As(err, &de) || de.Missing || de.Run != "u/me/run2" || de.DataID == "" || !strings.Contains(de.File, ".zip#zip-path=") || !strings.Contains(err.Error(), "checksum (CRC-32)") {
				t.Errorf("method %d, %s: %v", method, c.name, err)
			}
		}
	}
}

// readAll gives the content of a zip file's member.
func readAll(t testing.TB, m *zip.File) []byte {
	t.Helper()
	r, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestManyZips opens more zip files than are kept open.
func TestManyZips(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := &opener{memory: 1 << 20}
	var open []*datasetFile
	for i := range 2 * maxOpenZips {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		m, err := w.CreateHeader(&zip.FileHeader{Name: "m", Method: zip.Store})
		if err == nil {
			_, err = fmt.Fprintf(m, "content %d", i)
		}
		name := filepath.Join(dir, fmt.Sprintf("%d.zip", i))
		if err := errors.Join(err, w.Close(), os.WriteFile(name, b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		f, err := o.openLocation(location{path: name, uri: name, member: "m"}, -1, atOnce)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	for i, f := range open {
		b := make([]byte, f.size)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != fmt.Sprintf("content %d", i) {
			t.Errorf("%d: %s, %v", i, b, err)
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if n := openFilesIn(t, dir); n != 0 {
		t.Errorf("%d files left open", n)
	}
}

// TestZipLimits unpacks members that are small, that are large, and that are larger than may be.
func TestZipLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "x.zip")
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for method, name := range map[uint16]string{zip.Store: "stored", zip.Deflate: "deflated"} {
		m, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = m.Write(make([]byte, 10_000))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile(name, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	none := errors.New("no leave")
	for _, c := range []struct {
		member        string
		memory, large int64
		leave         error
		waits         int
		err           string
	}{
		{"deflated", 10_000, 10_000, none, 0, ""},
		{"deflated", 10_000, 9_999, nil, 1, ""},
		{"deflated", 10_000, 9_999, none, 1, "no leave"},
		{"deflated", 9_999, 9_999, nil, 0, "a compressed member of 10000 bytes does not fit into memory: give more"},
		{"stored", 1, 1, none, 0, ""},
	} {
		waits := 0
		o := &opener{memory: c.memory, large: c.large}
		f, err := o.openLocation(location{path: name, uri: name, member: c.member}, -1, func() error { waits++; return c.leave })
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || waits != c.waits {
			t.Errorf("%+v: %v after %d waits", c, err, waits)
		}
		if err == nil {
			err = f.close()
		} else {
			err = nil
		}
		if err = errors.Join(err, o.Close()); err != nil {
			t.Error(err)
		}
	}
	if n := openFilesIn(t, dir); n != 0 {
		t.Errorf("%d files left open", n)
	}
}

// openFilesIn counts this process's open files below a directory.
func openFilesIn(t testing.TB, dir string) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

func TestNoFileLeftOpen(t *testing.T) {
	t.Parallel()
	repo, dir := plainRepo(t)
	for _, o := range []Options{
		sources(repo, "u/me/run1"),
		{Repo: repo, Collections: []string{"u/me/run1"}, DatasetType: "tab_odd"},
		{Repo: repo, Collections: []string{"u/me/run1"}, IDs: NewIDSet([]int64{2000000000001})},
		{Repo: repo, Collections: []string{"u/me/run1"}, SchemaMode: Union},
	} {
		_, _, _ = extract(t, o)
		if n := openFilesIn(t, dir); n != 0 {
			t.Errorf("%+v: %d files left open", o, n)
		}
	}
}

// catalog is a repository whose datasets of one type are made here: each a Parquet file of one visit.
type catalog struct {
	repo   string
	visits int
}

func newCatalog(t testing.TB) *catalog {
	t.Helper()
	repo, _ := plainRepo(t)
	change(t, repo, "DELETE FROM file_datastore_records WHERE dataset_id IN (SELECT id FROM dataset WHERE dataset_type_id = 1)", "DELETE FROM dataset_tags_00000001 WHERE dataset_type_id = 1", "DELETE FROM dataset WHERE dataset_type_id = 1")
	return &catalog{repo: repo}
}

// add adds a dataset. rec's schema is written with its metadata.
func (c *catalog) add(t testing.TB, rec arrow.RecordBatch, props ...parquet.WriterProperty) string {
	t.Helper()
	c.visits++
	v := c.visits
	file := filepath.Join(c.repo, fmt.Sprintf("made/%d.parq", v))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &b, parquet.NewWriterProperties(props...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err == nil {
		err = errors.Join(w.Write(rec), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%032x", v)
	change(t, c.repo,
		fmt.Sprintf("INSERT OR IGNORE INTO visit (instrument, id, day_obs, physical_filter, name) VALUES ('Cam1', %d, 20250101, 'g_01', 'made%d')", v, v),
		fmt.Sprintf("INSERT INTO dataset (id, dataset_type_id, ingest_date, run_id) VALUES ('%s', 1, 0, 1)", id),
		fmt.Sprintf("INSERT INTO dataset_tags_00000001 (dataset_type_id, dataset_id, collection_id, instrument, visit) VALUES (1, '%s', 1, 'Cam1', %d)", id, v),
		fmt.Sprintf("INSERT INTO file_datastore_records VALUES ('%s', 'made/%d.parq', '%s', 'ArrowTable', '%s', NULL, %d)", id, v, parquetFormatter, wholeDataset, b.Len()))
	return file
}

func (c *catalog) options() Options { return sources(c.repo, "u/me/run1") }

// record makes a batch of columns given as name, values pairs.
func record(t testing.TB, meta map[string]string, columns ...any) arrow.RecordBatch {
	t.Helper()
	var fields []arrow.Field
	var arrays []arrow.Array
	rows := 0
	for i := 0; i < len(columns); i += 2 {
		a := makeArray(t, columns[i+1])
		name, unit, _ := strings.Cut(columns[i].(string), "|")
		f := arrow.Field{Name: name, Type: a.DataType(), Nullable: true}
		if unit != "" {
			f.Metadata = arrow.MetadataFrom(map[string]string{"unit": unit})
		}
		fields = append(fields, f)
		arrays = append(arrays, a)
		rows = a.Len()
	}
	md := arrow.MetadataFrom(meta)
	return array.NewRecordBatch(arrow.NewSchema(fields, &md), arrays, int64(rows))
}

func makeArray(t testing.TB, v any) arrow.Array {
	t.Helper()
	mem := memory.DefaultAllocator
	switch v := v.(type) {
	case []int64:
		b := array.NewInt64Builder(mem)
		b.AppendValues(v, nil)
		return b.NewArray()
	case []int32:
		b := array.NewInt32Builder(mem)
		b.AppendValues(v, nil)
		return b.NewArray()
	case []float64:
		b := array.NewFloat64Builder(mem)
		b.AppendValues(v, nil)
		return b.NewArray()
	case []string:
		b := array.NewStringBuilder(mem)
		b.AppendValues(v, nil)
		return b.NewArray()
	case [][]int32:
		b := array.NewFixedSizeListBuilder(mem, int32(len(v[0])), arrow.PrimitiveTypes.Int32)
		for _, l := range v {
			b.Append(true)
			b.ValueBuilder().(*array.Int32Builder).AppendValues(l, nil)
		}
		return b.NewArray()
	case arrow.Array:
		return v
	}
	t.Fatalf("no array of %T", v)
	return nil
}

func TestSchemaModes(t *testing.T) {
	t.Parallel()
	ab := func(t *testing.T) arrow.RecordBatch {
		return record(t, nil, "a", []int64{1, 2}, "b", []string{"x", "yy"})
	}
	for _, c := range []struct {
		name      string
		second    func(t *testing.T) arrow.RecordBatch
		strict    string // part of the error, "" for none
		union     string // columns, or part of the error behind a !
		intersect string
	}{
		{"the same", ab, "", "a b", "a b"},
		{"another order", func(t *testing.T) arrow.RecordBatch { return record(t, nil, "b", []string{"x"}, "a", []int64{3}) }, "column b: its schema differs from that of {instrument: 'Cam1', visit: 1} (run u/me/run1): there column 1 is a", "a b", "a b"},
		{"a column more", func(t *testing.T) arrow.RecordBatch {
			return record(t, nil, "a", []int64{3}, "c", [][]int32{{1, 2}}, "b", []string{"x"})
		}, "column c: its schema differs from that of {instrument: 'Cam1', visit: 1} (run u/me/run1), which does not have this column", "a b c", "a b"},
		{"a column more at the end", func(t *testing.T) arrow.RecordBatch {
			return record(t, nil, "a", []int64{3}, "b", []string{"x"}, "c", []float64{1})
		}, "column c: its schema differs from that of {instrument: 'Cam1', visit: 1} (run u/me/run1), which does not have this column", "a b c", "a b"},
		{"a column less", func(t *testing.T) arrow.RecordBatch { return record(t, nil, "a", []int64{3}) }, "column b: its schema differs from that of {instrument: 'Cam1', visit: 1} (run u/me/run1), which has this column", "a b", "a"},
		{"the first column less", func(t *testing.T) arrow.RecordBatch { return record(t, nil, "b", []string{"z"}) }, "column a: its schema differs", "a b", "b"},
		{"another type", func(t *testing.T) arrow.RecordBatch { return record(t, nil, "a", []float64{3}, "b", []string{"x"}) }, "column a: its schema differs from that of {instrument: 'Cam1', visit: 1} (run u/me/run1): float64 here and int64 there", "!column a: float64 here and int64 in {instrument: 'Cam1', visit: 1} (run u/me/run1): a union cannot have both", "b"},
		{"nothing in common", func(t *testing.T) arrow.RecordBatch { return record(t, nil, "z", []float64{3}) }, "column z: its schema differs", "a b z", "!no column in common"},
		{"a type that cannot be read", func(t *testing.T) arrow.RecordBatch {
			b := array.NewTime64Builder(memory.DefaultAllocator, &arrow.Time64Type{Unit: arrow.Microsecond})
			b.Append(5)
			return record(t, nil, "a", b.NewArray())
		}, "column a: of type time64[us]: it cannot be read", "!column a: of type time64[us]: it cannot be read", "!column a: of type time64[us]: it cannot be read"},
		{"no rows", func(t *testing.T) arrow.RecordBatch { return record(t, nil, "z", []float64{}) }, "", "a b", "a b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cat := newCatalog(t)
			cat.add(t, ab(t))
			cat.add(t, c.second(t))
			for mode, want := range map[SchemaMode]string{Strict: c.strict, Union: c.union, Intersect: c.intersect} {
				o := cat.options()
				o.SchemaMode = mode
				got, s, err := extract(t, o)
				fails := mode == Strict && want != "" || strings.HasPrefix(want, "!")
				if fails {
					if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "!")) {
						t.Errorf("mode %d: %v, want %s", mode, err, want)
					}
					continue
				}
				if err != nil {
					t.Errorf("mode %d: %v", mode, err)
					continue
				}
				if mode == Strict {
					want = "a b"
				}
				var names []string
				for _, f := range got.schema.Fields() {
					names = append(names, f.Name)
					if len(got.cells[f.Name]) != int(s.Rows) {
						t.Errorf("mode %d: column %s has %d cells of %d", mode, f.Name, len(got.cells[f.Name]), s.Rows)
					}
				}
				if strings.Join(names, " ") != want {
					t.Errorf("mode %d: columns %v, want %s", mode, names, want)
				}
				if mode == Union && c.name == "a column more" && (fmt.Sprint(got.cells["c"]) != "[null null [1 2]]" || fmt.Sprint(got.cells["a"]) != "[1 2 3]" || fmt.Sprint(got.cells["b"]) != `["x" "yy" "x"]`) {
					t.Errorf("union: %v", got.cells)
				}
				if mode == Intersect && want != "a b" && (len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "left out")) {
					t.Errorf("intersect: warnings %v", s.Warnings)
				}
			}
		})
	}
}

// TestParticipation checks that datasets that add no row have no say, in any mode, and that ids decide what adds a row.
func TestParticipation(t *testing.T) {
	t.Parallel()
	cat := newCatalog(t)
	cat.add(t, record(t, nil, "diaSourceId", []int64{1, 2}, "zz", []float64{1, 2}))
	cat.add(t, record(t, nil, "diaSourceId", []int64{5, 6}, "a", []string{"x", "y"}))
	cat.add(t, record(t, nil, "diaSourceId", []int64{7}, "a", []string{"z"}))
	for _, mode := range []SchemaMode{Strict, Union, Intersect} {
		o := cat.options()
		o.SchemaMode, o.IDs = mode, NewIDSet([]int64{7, 6})
		got, s := mustExtract(t, o)
		if got.schema.NumFields() != 2 || fmt.Sprint(got.cells) != `map[a:["y" "z"] diaSourceId:[6 7]]` || s.Unmatched != 1 || s.Excluded != 1 || s.Written != 2 {
			t.Errorf("mode %d: %v %+v", mode, got.cells, s)
		}
	}
	o := cat.options()
	o.IDs = NewIDSet([]int64{1, 7})
	if _, _, err := extract(t, o); err == nil || !strings.Contains(err.Error(), "visit: 3}") || !strings.Contains(err.Error(), "column a: its schema differs") {
		t.Error(err)
	}
}

// TestLinkedFiles reads a dataset that Butler took in by a link, and one in a linked directory.
func TestLinkedFiles(t *testing.T) {
	t.Parallel()
	cat := newCatalog(t)
	cat.add(t, record(t, nil, "a", []int64{5}))
	cat.add(t, record(t, nil, "a", []int64{6}))
	outside := t.TempDir()
	made := filepath.Join(cat.repo, "made")
	if err := errors.Join(
		os.Rename(filepath.Join(made, "1.parq"), filepath.Join(outside, "elsewhere")), os.Symlink(filepath.Join(outside, "elsewhere"), filepath.Join(made, "1.parq")),
		os.Rename(made, filepath.Join(outside, "made")), os.Symlink(filepath.Join(outside, "made"), made),
	); err != nil {
		t.Fatal(err)
	}
	if got, _ := mustExtract(t, cat.options()); fmt.Sprint(got.cells) != "map[a:[5 6]]" {
		t.Errorf("%v", got.cells)
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	cat := newCatalog(t)
	odd := array.NewTime64Builder(memory.DefaultAllocator, &arrow.Time64Type{Unit: arrow.Microsecond})
	odd.Append(5)
	cat.add(t, record(t, map[string]string{keyIndex: "b"}, "diaSourceId", []int64{1}, "a", []string{"x"}, "b", []float64{1.5}, "time", odd.NewArray()))
	cat.add(t, record(t, nil, "b", []float64{2.5}, "other", []string{"q"}, "a", []string{"yy"}, "diaSourceId", []int64{2}))
	o := cat.options()
	o.Columns = []string{"b", "a"}
	got, s := mustExtract(t, o)
	if fmt.Sprintf("%s %s %v", got.schema.Field(0).Name, got.schema.Field(1).Name, got.cells) != `b a map[a:["x" "yy"] b:[f8:3ff8000000000000 f8:4004000000000000]]` {
		t.Errorf("%v", got.cells)
	}
	if lookUp(s.Metadata, keyIndex) != "b" || !sameYAML(t, lookUp(s.Metadata, keyTableMeta), "datatype:\n- {name: b, datatype: float64}\n- {name: a, datatype: string}\nmeta: !!omap\n- {'lsst::arrow::astropy_pandas_index': b}") {
		t.Errorf("%v", s.Metadata)
	}
	o.Columns, o.IDs = []string{"a"}, NewIDSet([]int64{2})
	if got, s := mustExtract(t, o); fmt.Sprint(got.cells) != `map[a:["yy"]]` || lookUp(s.Metadata, keyIndex) != "" {
		t.Errorf("%v", got.cells)
	}
	o.IDs = nil
	for _, c := range []struct {
		columns []string
		mode    SchemaMode
		err     string
	}{
		{[]string{"A"}, Strict, "visit: 1} in run u/me/run1, file " + cat.repo + "/made/1.parq, column A: no such column (there are: diaSourceId, a, b, time)"},
		{[]string{"a", "other"}, Strict, "column other: no such column"},
		{[]string{"zz"}, Union, "visit: 1} in run u/me/run1, file " + cat.repo + "/made/1.parq, column zz: none of the 2 datasets with rows has such a column (here there are: diaSourceId, a, b, time)"},
		{[]string{"zz", "a"}, Intersect, "made/1.parq, column zz: none of the 2 datasets"},
		{[]string{"zz"}, Intersect, "made/1.parq: it has none of the columns that were asked for"},
		{[]string{"time"}, Union, "column time: of type time64[us]"},
		{[]string{"a", "a"}, Strict, "columns: a is named twice"},
		{[]string{""}, Strict, "columns: a column without a name"},
		{[]string{"other"}, Intersect, "made/1.parq: it has none of the columns that were asked for"},
	} {
		o.Columns, o.SchemaMode = c.columns, c.mode
		if _, _, err := extract(t, o); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v, want %s", c.columns, err, c.err)
		}
	}
	o.Columns, o.SchemaMode = []string{"other", "a"}, Union
	if got, _ := mustExtract(t, o); got.schema.Field(0).Name != "other" || fmt.Sprint(got.cells) != `map[a:["x" "yy"] other:[null "q"]]` {
		t.Errorf("%v", got.cells)
	}
}

func TestAddDataID(t *testing.T) {
	t.Parallel()
	cat := newCatalog(t)
	cat.add(t, record(t, nil, "a", []int64{1, 2}))
	cat.add(t, record(t, nil, "a", []int64{3}))
	o := cat.options()
	o.AddDataID = true
	got, s := mustExtract(t, o)
	var fields []string
	for _, f := range got.schema.Fields() {
		fields = append(fields, f.Name+":"+f.Type.String())
	}
	if strings.Join(fields, " ") != "a:int64 instrument:utf8 visit:int64 band:utf8 day_obs:int64 physical_filter:utf8" {
		t.Errorf("%v", fields)
	}
	if fmt.Sprint(got.cells) != `map[a:[1 2 3] band:["g" "g" "r"] day_obs:[20250101 20250101 20250101] instrument:["Cam1" "Cam1" "Cam1"] physical_filter:["g_01" "g_01" "r_01"] visit:[1 1 2]]` {
		t.Errorf("%v", got.cells)
	}
	if lookUp(s.Metadata, keyWidth+"physical_filter") != "4" || !strings.Contains(lookUp(s.Metadata, keyTableMeta), "day_obs") {
		t.Errorf("%v", s.Metadata)
	}
	change(t, cat.repo, "PRAGMA foreign_keys = off", "DELETE FROM visit WHERE id = 2")
	if got, _ := mustExtract(t, o); fmt.Sprint(got.cells["band"]) != `["g" "g" null]` {
		t.Errorf("%v", got.cells)
	}
	cat.add(t, record(t, nil, "a", []int64{3}, "visit", []int64{7}))
	o.Where = "visit = 3"
	for _, mode := range []SchemaMode{Strict, Union, Intersect} {
		o.SchemaMode = mode
		var de *DatasetError
		if _, _, err := extract(t, o); !errors.As(err, &de) || de.Column != "visit" || de.DataID != "{instrument: 'Cam1', visit: 3}" || de.File == "" || !strings.Contains(err.Error(), "the table has a column of this name already") {
			t.Error(err)
		}
	}
	o.SchemaMode = Strict
	o.Columns = []string{"a"}
	if got, _ := mustExtract(t, o); fmt.Sprint(got.cells["visit"]) != "[3]" {
		t.Errorf("%v", got.cells)
	}
}

// TestNotes checks what people are told of units, shapes and widths that do not agree.
func TestNotes(t *testing.T) {
	t.Parallel()
	cat := newCatalog(t)
	cat.add(t, record(t, map[string]string{keyRowCount: "1", keyShape + "v": "(2, 2)", keyWidth + "s": "4"}, "f|nJy", []float64{1}, "v", [][]int32{{1, 2, 3, 4}}, "s", []string{"abcdef"}))
	cat.add(t, record(t, map[string]string{keyRowCount: "1", keyShape + "v": "(2, 2)", keyWidth + "s": "9"}, "f|nJy", []float64{1}, "v", [][]int32{{1, 2, 3, 4}}, "s", []string{"abcdef"}))
	got, s := mustExtract(t, cat.options())
	if fmt.Sprint(got.cells["s"]) != `["abcd" "abcdef"]` || s.Cut["s"] != 1 || len(s.Warnings) != 1 || lookUp(s.Metadata, keyShape+"v") != "(2, 2)" || lookUp(s.Metadata, keyWidth+"s") != "9" {
		t.Errorf("%v %+v", got.cells, s)
	}
	cat.add(t, record(t, map[string]string{keyRowCount: "1"}, "f|mJy", []float64{1}, "v", [][]int32{{1, 2, 3, 4}}, "s", []string{"b"}))
	_, s = mustExtract(t, cat.options())
	if lookUp(s.Metadata, keyShape+"v") != "" || !strings.Contains(lookUp(s.Metadata, keyTableMeta), "subtype: 'int32[4]'") {
		t.Errorf("%v", s.Metadata)
	}
	if all := strings.Join(s.Warnings, "\n"); len(s.Warnings) != 3 || !strings.Contains(all, "column f has the unit mJy in "+cat.repo+"/made/3.parq and nJy in the output") || !strings.Contains(all, "column v has cells of different shapes") || !strings.Contains(all, "column s: 1 values were longer") {
		t.Errorf("%v", s.Warnings)
	}
}

func TestOptionErrors(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{Parallel: -1}, {Memory: 5}, {Memory: -1}, {SchemaMode: 9}} {
		o.Repo, o.Collections = "x", []string{"y"}
		var usage *UsageError
		if _, err := Open(t.Context(), o); !errors.As(err, &usage) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for s, want := range map[string]SchemaMode{"strict": Strict, "union": Union, "intersect": Intersect} {
		if m, err := ParseSchemaMode(s); err != nil || m != want {
			t.Errorf("%s: %d, %v", s, m, err)
		}
	}
	if _, err := ParseSchemaMode("Strict"); err == nil {
		t.Error("no error")
	}
}
