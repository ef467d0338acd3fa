package butler

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// datasetType is a row of dataset_type, with its dimensions.
type datasetType struct {
	id           int64
	name         string // as the user knows it
	storageClass string // as the user knows it
	tags         string // table of memberships
	calibs       string // table of validity ranges, "" where the type is no calibration
	group        dimensionGroup
}

// ref is one dataset of a listing.
type ref struct {
	id      uuid
	run     string
	dims    []value // of the type's group: required, and implied behind them where they were asked for
	records []fileRecord
}

// fileRecord says where a datastore keeps a dataset.
type fileRecord struct {
	*recordKind
	table int32 // index into listing.tables
	path  string
	size  int64 // bytes, -1 when unknown
}

// recordKind is what records have in common: a table of a million records has a few kinds.
type recordKind struct{ formatter, storageClass, component string }

// listing is what a search found, in the order of the output.
type listing struct {
	datasetType *datasetType
	refs        []ref
	repeats     int64    // how often a dataset was found again and left out
	collections []string // that were searched
	tables      []string // tables of records, each once, in the order of the datastores
}

// listOptions says what to list.
type listOptions struct {
	where          whereExpr // nil for all
	findFirst      bool
	keepDuplicates bool
	implied        bool // fetch the implied dimensions' values too
}

// findDatasetType looks a type up by the name that the configuration gives it.
func (r *registry) findDatasetType(ctx context.Context, name string, overrides map[string]datasetTypeOverride) (*datasetType, error) {
	dbName := name
	for db, o := range overrides {
		if o.rename == name {
			dbName = db
		}
	}
	if o, ok := overrides[name]; ok && dbName == name && o.rename != "" && o.rename != name {
		return nil, fmt.Errorf("dataset type %s is called %s by the configuration", quoteName(name), quoteName(o.rename))
	}
	if !storable(dbName) {
		return nil, r.unknownDatasetType(ctx, name, overrides)
	}
	var found *datasetType
	var key int64
	err := r.statement().add("SELECT id, storage_class, dimensions_key, tag_association_table, calibration_association_table FROM ", r.table("dataset_type"), " WHERE name = ").arg(dbName).
		each(ctx, func(v []any) error {
			t := &datasetType{name: name}
			var err error
			if t.id, err = integer(v[0], "the id of the dataset type"); err != nil {
				return err
			}
			if t.storageClass, err = str(v[1], "the storage class of the dataset type"); err != nil {
				return err
			}
			if key, err = integer(v[2], "the dimensions of the dataset type"); err != nil {
				return err
			}
			if t.tags, err = str(v[3], "the table of the dataset type"); err != nil {
				return err
			}
			if v[4] != nil {
				if t.calibs, err = str(v[4], "the table of validity ranges of the dataset type"); err != nil {
					return err
				}
			}
			found = t
			return nil
		})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, r.unknownDatasetType(ctx, name, overrides)
	}
	if o := overrides[dbName].storageClass; o != "" {
		found.storageClass = o
	}
	var names []string
	err = r.statement().add("SELECT dimension_name FROM ", r.table("dimension_graph_definition"), " WHERE dimension_graph_id = ").arg(key).each(ctx, func(v []any) error {
		n, err := str(v[0], "a dimension's name")
		names = append(names, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	if found.group, err = r.universe.group(names); err != nil {
		return nil, fmt.Errorf("dataset type %s: %w", quoteName(name), err)
	}
	return found, r.checkDimensions(ctx, found, key)
}

// checkDimensions compares the dimensions that a type has by its key with the columns of its table of memberships: a key
// without dimensions is that of none at all, or a damaged one.
func (r *registry) checkDimensions(ctx context.Context, t *datasetType, key int64) error {
	q := r.statement()
	if r.postgres {
		q.add("SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = pg_catalog.to_regclass(").
			arg(r.table(t.tags)).add("::text) ORDER BY a.attnum")
	} else {
		q.add("SELECT name FROM pragma_table_info(").arg(t.tags).add(") ORDER BY cid")
	}
	return q.each(ctx, func(v []any) error {
		column, err := str(v[0], "a column's name")
		if err != nil || r.universe.elements[column] == nil || slices.ContainsFunc(t.group.required, func(e *element) bool { return e.name == column }) {
			return err // a column that lacks is an error of the query that asks for it
		}
		return fmt.Errorf("the dimensions of dataset type %s cannot be told: those of its key %d in dimension_graph_definition are without %s, which its table %s has", quoteName(t.name), key, column, quoteName(t.tags))
	})
}

func (r *registry) unknownDatasetType(ctx context.Context, name string, overrides map[string]datasetTypeOverride) error {
	var names []string
	err := r.statement().add("SELECT name FROM ", r.table("dataset_type")).each(ctx, func(v []any) error {
		n, err := str(v[0], "a dataset type's name")
		if o := overrides[n]; o.rename != "" {
			n = o.rename
		}
		names = append(names, n)
		return err
	})
	if err != nil {
		return err
	}
	reason := "there is no dataset type " + quoteName(name)
	if parent, component, ok := strings.Cut(name, "."); ok && slices.Contains(names, parent) {
		return fmt.Errorf("%s: %s is a component, ask for %s", reason, quoteName(component), parent)
	}
	if close := nearest(name, names); len(close) > 0 {
		return fmt.Errorf("%s, did you mean %s?", reason, strings.Join(close, ", "))
	}
	slices.Sort(names)
	known := strings.Join(names[:min(len(names), 20)], ", ")
	if len(names) > 20 {
		known += fmt.Sprintf(" and %d more", len(names)-20)
	}
	return fmt.Errorf("%s (there are: %s)", reason, known)
}

// hit is one membership of a dataset in a collection of the search. There may be millions: it is kept small.
type hit struct {
	id   uuid
	dims []value
	run  int32 // index into hitReader.runs
	rank int32 // position of the collection in the search
}

// list finds the datasets of a type. Each comes once, unless duplicates are to be kept: then as often as Python's
// queryDatasets gives it.
func (r *registry) list(ctx context.Context, t *datasetType, s *search, o listOptions) (*listing, error) {
	if o.findFirst && s.pattern {
		return nil, &UsageError{Option: "find-first", Reason: "a pattern gives collections no order to find the first in: name them"}
	}
	l := &listing{datasetType: t}
	cs, err := r.prune(ctx, s.collections, t.id)
	if err != nil {
		return nil, err
	}
	var inTags, inCalibs []collection
	for _, c := range cs {
		switch {
		case c.kind == calibrationCollection && t.calibs == "":
			// The type is no calibration: such a collection holds none of it.
		case c.kind == calibrationCollection:
			inCalibs = append(inCalibs, c)
		default:
			inTags = append(inTags, c)
		}
	}
	rank := make(map[any]int32, len(cs))
	for i, c := range cs {
		rank[c.key] = int32(i)
	}
	reader := &hitReader{r: r, t: t, o: o, rank: rank, collections: cs}
	if err := reader.memberships(ctx, inTags); err != nil {
		return nil, err
	}
	if err := reader.validityRanges(ctx, inCalibs); err != nil {
		return nil, err
	}
	hits := reader.hits
	onlyRuns := len(inCalibs) == 0 && !slices.ContainsFunc(inTags, func(c collection) bool { return c.kind != runCollection })
	// With calibrations and others together Python takes the UNION of both, which leaves each dataset once.
	mixed := len(inTags) > 0 && len(inCalibs) > 0
	required := t.group.required
	switch {
	case o.findFirst:
		if hits, err = firstHits(hits, required, mixed, len(cs), t.name); err != nil {
			return nil, err
		}
	case o.keepDuplicates && !mixed, onlyRuns: // a dataset is in one run
	default:
		seen := make(map[uuid]struct{}, len(hits))
		kept := hits[:0]
		for _, h := range hits {
			if _, again := seen[h.id]; !again {
				seen[h.id] = struct{}{}
				kept = append(kept, h)
			}
		}
		l.repeats = int64(len(hits) - len(kept))
		hits = kept
	}
	l.refs = make([]ref, len(hits))
	for i, k := range reader.sort(hits) {
		l.refs[i] = ref{id: hits[k].id, run: reader.runs[hits[k].run], dims: hits[k].dims}
	}
	return l, nil
}

// sort gives the indexes of hits in the order of the output.
func (h *hitReader) sort(hits []hit) []int32 {
	order := outputOrder(h.t.group.required)
	keys, exact := packKeys(hits, order)
	sorted := byKey(keys)
	for lo := 0; lo < len(sorted); { // hits of one key
		hi := lo + 1
		for hi < len(sorted) && keys[sorted[hi]] == keys[sorted[lo]] {
			hi++
		}
		if hi-lo > 1 {
			slices.SortFunc(sorted[lo:hi], func(x, y int32) int {
				a, b := &hits[x], &hits[y]
				if !exact {
					if c := compareDims(a.dims, b.dims, order); c != 0 {
						return c
					}
				}
				if a.run != b.run {
					return strings.Compare(h.runs[a.run], h.runs[b.run])
				}
				return bytes.Compare(a.id[:], b.id[:])
			})
		}
		lo = hi
	}
	return sorted
}

// byKey gives the indexes of keys in ascending order. It is a radix sort by as many digits as the largest key has: data
// IDs give keys of about three, and comparing takes five times as long.
func byKey(keys []uint64) []int32 {
	sorted, next := make([]int32, len(keys)), make([]int32, len(keys))
	var most uint64
	for i, k := range keys {
		sorted[i] = int32(i)
		most = max(most, k)
	}
	for shift := 0; shift < bits.Len64(most); shift += 8 {
		var at [257]int
		for _, k := range keys {
			at[k>>shift&255+1]++
		}
		for d := range 256 {
			at[d+1] += at[d]
		}
		for _, i := range sorted {
			d := keys[i] >> shift & 255
			next[at[d]] = i
			at[d]++
		}
		sorted, next = next, sorted
	}
	return sorted
}

// packKeys gives each hit a number that sorts like its dims: those are few different texts and integers in a narrow
// range, which fit into 64 bits together. exact is false where they do not; then all numbers are 0.
func packKeys(hits []hit, order []int) (keys []uint64, exact bool) {
	keys = make([]uint64, len(hits))
	if len(hits) == 0 {
		return keys, true
	}
	used := 0
	for _, d := range slices.Backward(order) {
		var width int
		if hits[0].dims[d].kind == textValue {
			place := map[string]uint64{}
			last := ""
			for i := range hits {
				if s := hits[i].dims[d].s; i == 0 || s != last { // one text, as a rule
					place[s], last = 0, s
				}
			}
			texts := make([]string, 0, len(place))
			for s := range place {
				texts = append(texts, s)
			}
			slices.Sort(texts)
			for i, s := range texts {
				place[s] = uint64(i)
			}
			width = bits.Len(uint(len(texts) - 1))
			if used+width > 64 {
				clear(keys)
				return keys, false
			}
			if width > 0 {
				for i := range hits {
					keys[i] |= place[hits[i].dims[d].s] << used
				}
			}
		} else {
			lo, hi := hits[0].dims[d].n, hits[0].dims[d].n
			for i := range hits {
				lo, hi = min(lo, hits[i].dims[d].n), max(hi, hits[i].dims[d].n)
			}
			width = bits.Len64(uint64(hi) - uint64(lo))
			if used+width > 64 {
				clear(keys)
				return keys, false
			}
			for i := range hits {
				keys[i] |= (uint64(hits[i].dims[d].n) - uint64(lo)) << used
			}
		}
		used += width
	}
	return keys, true
}

// outputOrder gives the order in which required dimensions are compared: the universe's, but detector last, so that the
// detectors of a visit stand together.
func outputOrder(required []*element) []int {
	var order []int
	last := -1
	for i, e := range required {
		if e.name == "detector" {
			last = i
			continue
		}
		order = append(order, i)
	}
	if last >= 0 {
		order = append(order, last)
	}
	return order
}

func compareDims(a, b []value, order []int) int {
	for _, i := range order {
		x, y := &a[i], &b[i]
		if x.n != y.n {
			return cmp.Compare(x.n, y.n)
		}
		if x.kind == textValue {
			if c := strings.Compare(x.s, y.s); c != 0 {
				return c
			}
		}
	}
	return 0
}

// firstHits keeps for each required data ID what the first collection of the search holds. A calibration collection that
// holds several validity ranges for it is ambiguous, for there is no date to choose by.
func firstHits(hits []hit, required []*element, mixed bool, collections int, typeName string) ([]hit, error) {
	order := make([]int, len(required))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		if c := compareDims(a.dims, b.dims, order); c != 0 {
			return c
		}
		if c := cmp.Compare(a.rank, b.rank); c != 0 {
			return c
		}
		return bytes.Compare(a.id[:], b.id[:])
	})
	var first []hit
	for i := 0; i < len(hits); {
		n := 1
		for i+n < len(hits) && compareDims(hits[i].dims, hits[i+n].dims, order) == 0 {
			n++
		}
		ranges := 1
		for j := i + 1; j < i+n && hits[j].rank == hits[i].rank; j++ {
			// The UNION over both kinds of collections counts a dataset once, however many ranges it has.
			if !mixed || hits[j].id != hits[j-1].id {
				ranges++
			}
		}
		if ranges > 1 {
			return nil, fmt.Errorf("the first dataset %s %s is ambiguous: %d validity ranges in its calibration collection (of %d collections searched), and no date to choose by",
				quoteName(typeName), formatDataID(required, hits[i].dims), ranges, collections)
		}
		first = append(first, hits[i])
		i += n
	}
	return first, nil
}

// formatDataID writes the values of dims as Python does: {instrument: 'Cam1', visit: 4}.
func formatDataID(dims []*element, id []value) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range dims {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(e.name + ": " + id[i].String())
	}
	b.WriteByte('}')
	return b.String()
}

// hitReader runs the queries of one listing.
type hitReader struct {
	r           *registry
	t           *datasetType
	o           listOptions
	rank        map[any]int32
	collections []collection
	dims        []*element // of the rows: required, and implied if they are fetched
	hits        []hit
	values      []value // arena for the hits' dims
	texts       map[string]string
	runs        []string // names of runs
	runOf       map[string]int32
}

// memberships reads the tags table. A dataset found in a RUN collection is in no other run, so that only for TAGGED ones
// the run must be looked up.
func (h *hitReader) memberships(ctx context.Context, cs []collection) error {
	var runs, tagged []any
	for _, c := range cs {
		if c.kind == runCollection {
			runs = append(runs, c.key)
		} else {
			tagged = append(tagged, c.key)
		}
	}
	for _, chunk := range h.r.chunks(runs) {
		if err := h.query(ctx, h.t.tags, chunk, false); err != nil {
			return err
		}
	}
	for _, chunk := range h.r.chunks(tagged) {
		if err := h.query(ctx, h.t.tags, chunk, true); err != nil {
			return err
		}
	}
	return nil
}

func (h *hitReader) validityRanges(ctx context.Context, cs []collection) error {
	var keys []any
	for _, c := range cs {
		keys = append(keys, c.key)
	}
	for _, chunk := range h.r.chunks(keys) {
		if err := h.query(ctx, h.t.calibs, chunk, true); err != nil {
			return err
		}
	}
	return nil
}

// query lists the rows of a tags or calibs table for some collections.
func (h *hitReader) query(ctx context.Context, table string, keys []any, lookUpRun bool) error {
	r, required := h.r, h.t.group.required
	collectionColumn, runColumn := "collection_id", "run_id"
	if r.nameKey {
		collectionColumn, runColumn = "collection_name", "run_name"
	}
	q := r.statement().add("SELECT ")
	if r.postgres {
		q.add("t.dataset_id::text")
	} else {
		q.add("t.dataset_id")
	}
	// Each column costs time in a row that there may be a million of: what is the same in all rows is not asked for.
	lay := hitColumns{collection: -1, run: -1, dims: 1}
	if len(keys) > 1 {
		q.add(", t.", collectionColumn)
		lay.collection = lay.dims
		lay.dims++
	}
	if lookUpRun {
		if r.nameKey {
			q.add(", d.run_name")
		} else {
			q.add(", rc.name")
		}
		lay.run = lay.dims
		lay.dims++
	}
	columns := map[string]string{} // dimension to the expression that gives it
	for _, e := range required {
		columns[e.name] = "t." + quoteIdent(e.name)
		q.add(", ", columns[e.name])
	}
	var joins []dimensionJoin
	mandatory := r.universe.mandatoryJoins(h.t.group)
	h.dims = required
	if h.o.implied || len(mandatory) > 0 {
		var err error
		if joins, err = r.universe.impliedJoins(h.t.group); err != nil {
			return err
		}
	}
	from := r.statement()
	for i, j := range joins {
		alias := fmt.Sprintf("j%d", i)
		from.add(" LEFT JOIN ", r.table(j.table.name), " ", alias, " ON ")
		for _, d := range j.table.requires {
			from.add(alias, ".", quoteIdent(d), " = ", columns[d], " AND ")
		}
		from.add(alias, ".", quoteIdent(j.table.key), " = ", columns[j.table.name])
		for _, d := range j.gives {
			columns[d] = alias + "." + quoteIdent(d)
		}
	}
	for i, e := range mandatory {
		alias := fmt.Sprintf("m%d", i)
		from.add(" JOIN ", r.table(e.name), " ", alias, " ON ")
		for k, d := range e.requires {
			if k > 0 {
				from.add(" AND ")
			}
			from.add(alias, ".", quoteIdent(d), " = ", columns[d])
		}
	}
	if h.o.implied {
		for _, e := range h.t.group.implied {
			q.add(", ", columns[e.name])
		}
		h.dims = h.t.group.all()
	}
	q.add(" FROM ", r.table(table), " t")
	if lookUpRun {
		q.add(" JOIN ", r.table("dataset"), " d ON d.id = t.dataset_id AND d.dataset_type_id = t.dataset_type_id")
		if !r.nameKey {
			q.add(" JOIN ", r.table("collection"), " rc ON rc.collection_id = d.", runColumn)
		}
	}
	q.add(from.sql.String(), " WHERE t.dataset_type_id = ").arg(h.t.id).add(" AND ").in("t."+collectionColumn, keys)
	pushDown(q, h.o.where, required, maxPushed)
	return q.each(ctx, func(v []any) error {
		collection := keys[0]
		if lay.collection >= 0 {
			collection = v[lay.collection]
		}
		return h.row(v, collection, lay)
	})
}

// hitColumns says where a row of a listing has what; the dataset's id comes first, dims last.
type hitColumns struct{ collection, run, dims int } // -1: nowhere

// row takes one row of a listing.
func (h *hitReader) row(v []any, collection any, lay hitColumns) error {
	idText, err := str(v[0], "a dataset's id")
	if err != nil {
		return err
	}
	var x hit
	if x.id, err = parseUUID(idText); err != nil {
		return err
	}
	var ok bool
	if x.rank, ok = h.rank[collection]; !ok {
		return fmt.Errorf("dataset %s is in a collection (%v) that was not asked for", x.id, collection)
	}
	run := h.collections[x.rank].name
	if lay.run >= 0 {
		if run, err = str(v[lay.run], "the run of a dataset"); err != nil {
			return err
		}
	}
	if len(h.hits) > 0 && h.runs[h.hits[len(h.hits)-1].run] == run { // neighbours are mostly of one run
		x.run = h.hits[len(h.hits)-1].run
	} else if x.run, ok = h.runOf[run]; !ok {
		if h.runOf == nil {
			h.runOf = map[string]int32{}
		}
		x.run = int32(len(h.runs))
		h.runs, h.runOf[run] = append(h.runs, run), x.run
	}
	if cap(h.values)-len(h.values) < len(h.dims) {
		h.values = make([]value, 0, max(8192, len(h.dims)))
	}
	at := len(h.values)
	for i, e := range h.dims {
		d := value{}
		switch y := v[lay.dims+i]; {
		case y == nil && i < len(h.t.group.required):
			return fmt.Errorf("dataset %s has no %s", x.id, e.name)
		case y == nil: // a damaged registry may lack an implied value
		case e.isInt:
			n, ok := y.(int64)
			if !ok {
				return h.notOfType(x.id, e, y)
			}
			d = value{kind: intValue, n: n}
		default:
			text, ok := y.(string)
			if ok {
				text, ok = h.intern(text)
			}
			if !ok {
				return h.notOfType(x.id, e, y)
			}
			d = value{kind: textValue, s: text}
		}
		h.values = append(h.values, d)
	}
	x.dims = h.values[at:len(h.values):len(h.values)]
	if h.o.where != nil && h.o.where.eval(x.dims) != isTrue {
		h.values = h.values[:at]
		return nil
	}
	if len(h.hits) == cap(h.hits) { // append alone would grow by a quarter, and copy each of many hits four times
		h.hits = slices.Grow(h.hits, len(h.hits)+1024)
	}
	h.hits = append(h.hits, x)
	return nil
}

func (h *hitReader) notOfType(id uuid, e *element, v any) error {
	return fmt.Errorf("dataset %s: %s is %s, which is not of its type", id, e.name, showValue(v))
}

// intern keeps one copy of each text: thousands of datasets share few. It gives false for one that is not UTF-8.
func (h *hitReader) intern(s string) (string, bool) {
	if have, ok := h.texts[s]; ok {
		return have, true
	}
	if !utf8.ValidString(s) {
		return "", false
	}
	if h.texts == nil {
		h.texts = map[string]string{}
	}
	h.texts[s] = s
	return s, true
}

// maxPushed is how many parameters a --where may add to a query: each comes with a level of SQLite's expression tree, which has
// 1,000 at most.
const maxPushed = 600

// pushDown adds the parts of a --where that the database can test on the columns of the tags table with the same
// meaning: comparisons of integers, and equality of texts, that are joined by AND at the top, as long as room lasts. The
// whole expression is evaluated here all the same (see hitReader.row). It gives the room that is left.
func pushDown(q *statement, e whereExpr, required []*element, room int) int {
	switch e := e.(type) {
	case andExpr:
		return pushDown(q, e.y, required, pushDown(q, e.x, required, room))
	case compareExpr:
		if e.dim >= len(required) || e.other >= 0 || e.lit.exact != nil || room < 1 {
			return room
		}
		column := "t." + quoteIdent(required[e.dim].name)
		switch {
		case !e.lit.isText:
			q.add(" AND ", column, " ", e.op, " ").arg(e.lit.n)
		case e.op == "=" && storable(e.lit.s):
			q.add(" AND ", column, " = ").arg(e.lit.s)
		default:
			return room
		}
		return room - 1
	case inExpr:
		if e.dim >= len(required) || len(e.ints) == 0 || len(e.ints) > min(inChunk, room) {
			return room
		}
		var keys []any
		for n := range e.ints {
			keys = append(keys, n)
		}
		slices.SortFunc(keys, func(a, b any) int { return cmp.Compare(a.(int64), b.(int64)) })
		q.add(" AND ").in("t."+quoteIdent(required[e.dim].name), keys)
		return room - len(keys)
	}
	return room
}

// parquetFormatter is the class that reads and writes tables.
const parquetFormatter = "lsst.daf.butler.formatters.parquet.ParquetFormatter"

// recordSeparator stands between the parts of a record's kind: the control character "unit separator".
const recordSeparator = "\x1f"

// recordChunk is how many datasets' records Postgres is asked for at a time.
const recordChunk = 10000

// loadRecords fetches the file records of all datasets of a listing. scan, if not nil, has been reading them meanwhile.
func (r *registry) loadRecords(ctx context.Context, l *listing, stores []datastoreConfig, scan *recordScan) error {
	l.tables = recordTables(stores)
	if len(l.refs) == 0 {
		return nil
	}
	if len(l.refs) >= fewRefs && scan.wait() {
		for i := range l.refs {
			x := &l.refs[i]
			if x.records = scan.first.find(x.id); x.records != nil && len(scan.more) > 0 {
				x.records = append(x.records, scan.more[x.id]...)
			}
		}
		return nil
	}
	byID := make(map[uuid]int32, len(l.refs)) // to the first of the refs with that id
	ids := make([]uuid, 0, len(l.refs))       // each once, however many duplicates are kept: they may be asked for in several queries
	for i := range l.refs {
		if _, again := byID[l.refs[i].id]; !again {
			byID[l.refs[i].id] = int32(i)
			ids = append(ids, l.refs[i].id)
		}
	}
	arena := make([]fileRecord, 0, len(l.refs)) // a slice of its own for each dataset would be 100,000 allocations
	parse := newRecordParser(l.datasetType.storageClass)
	for ti, table := range l.tables {
		err := r.records(ctx, ids, table, l.datasetType.storageClass, func(v []any) error {
			id, err := recordID(v)
			at, ok := byID[id]
			if !ok || err != nil {
				return err // a look at the whole table gives others too
			}
			f, err := parse.record(v, int32(ti))
			if to := &l.refs[at].records; *to != nil {
				*to = append(*to, f)
			} else {
				arena = append(arena, f)
				*to = arena[len(arena)-1 : len(arena) : len(arena)]
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for i := range l.refs {
		if at := byID[l.refs[i].id]; at != int32(i) {
			l.refs[i].records = l.refs[at].records
		}
	}
	return nil
}

// recordTables gives the tables with records, each once, in the order of the datastores.
func recordTables(stores []datastoreConfig) (tables []string) {
	for _, d := range stores {
		if !slices.Contains(tables, d.table) {
			tables = append(tables, d.table)
		}
	}
	return tables
}

// recordParser reads rows of a records table: id, path, kind (NULL for the ordinary one) and size.
type recordParser struct {
	ordinary *recordKind
	kinds    map[string]*recordKind
}

func newRecordParser(storageClass string) *recordParser {
	return &recordParser{&recordKind{parquetFormatter, storageClass, wholeDataset}, map[string]*recordKind{}}
}

func recordID(v []any) (uuid, error) {
	text, err := str(v[0], "a dataset's id")
	if err != nil {
		return uuid{}, err
	}
	return parseUUID(text)
}

func (p *recordParser) record(v []any, table int32) (f fileRecord, err error) {
	f = fileRecord{table: table, size: -1, recordKind: p.ordinary}
	if f.path, err = str(v[1], "a file's path"); err != nil {
		return f, err
	}
	if v[2] != nil {
		text, err := str(v[2], "a file's formatter, storage class and component")
		if err != nil {
			return f, err
		}
		if f.recordKind = p.kinds[text]; f.recordKind == nil {
			parts := append(strings.Split(text, recordSeparator), "", "")
			f.recordKind = &recordKind{parts[0], parts[1], parts[2]}
			p.kinds[text] = f.recordKind
		}
	}
	if v[3] != nil {
		f.size, err = integer(v[3], "a file's size")
	}
	return f, err
}

// fewRefs is how many datasets are looked up one by one rather than by a scan that is under way; a table of more than
// maxScan records is not scanned beforehand.
const (
	fewRefs = 2000
	maxScan = 400_000
)

// recordScan reads a whole table of records on a connection of its own while datasets are listed on the other.
type recordScan struct {
	first *recordTable          // a dataset's first record
	more  map[uuid][]fileRecord // what else it has, for the few that have
	err   error

	cancel context.CancelFunc
	done   chan struct{}
}

// startScan begins a scan if it can help: in SQLite with a rollback journal, with one table of records that is not too
// large. Both connections see the same state of the database: the first holds its shared lock, so that nobody can have
// committed when the second gets its own (which it does at once or not at all: a writer may be waiting in between).
// Without that lock (WAL mode) there is no second connection.
func (r *registry) startScan(ctx context.Context, stores []datastoreConfig, storageClass string) *recordScan {
	tables := recordTables(stores)
	if r.second == nil || len(tables) != 1 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &recordScan{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = s.run(ctx, r, tables[0], storageClass)
	}()
	return s
}

var errNoScan = errors.New("the records are not scanned beforehand")

func (s *recordScan) run(ctx context.Context, r *registry, table, storageClass string) (err error) {
	session, err := r.second(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.close()) }()
	other := &registry{session: session}
	last, err := other.count(ctx, "SELECT coalesce(max(rowid), 0) FROM "+other.table(table))
	if err == nil && last > maxScan {
		err = errNoScan
	}
	if err != nil {
		return err
	}
	rows := int(max(0, last)) // as a row id may be negative, there can be more
	s.first, s.more = newRecordTable(rows), map[uuid][]fileRecord{}
	parse := newRecordParser(storageClass)
	return other.selectRecords(table, storageClass).each(ctx, func(v []any) error {
		id, err := recordID(v)
		if err != nil {
			return err
		}
		f, err := parse.record(v, 0)
		switch {
		case err != nil:
		case len(s.first.ids) == rows:
			err = errNoScan
		case !s.first.add(id, f):
			s.more[id] = append(s.more[id], f)
		}
		return err
	})
}

// recordTable finds one record by a dataset's id: a hash table by open addressing, with a third of a map's memory and time. Records stand
// in blocks, since the collector would read through, and so make the system provide, what a slice has in reserve.
type recordTable struct {
	seed  maphash.Seed // so that nobody can make ids that meet in one slot
	slots []uint32     // a record's place + 1, 0 for none; at least half of them are 0
	ids   []uuid
	at    [][]fileRecord
}

// recordBlock is how many records a block has.
const recordBlock = 1024

func newRecordTable(most int) *recordTable {
	return &recordTable{seed: maphash.MakeSeed(), slots: make([]uint32, 2<<bits.Len(uint(most))), ids: make([]uuid, 0, most)}
}

// slot gives the slot that has an id, or that is free for it.
func (t *recordTable) slot(id *uuid) *uint32 {
	for i := maphash.Bytes(t.seed, id[:]); ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if *s == 0 || t.ids[*s-1] == *id {
			return s
		}
	}
}

// add takes a record in; false says that there is one with that id.
func (t *recordTable) add(id uuid, f fileRecord) bool {
	s := t.slot(&id)
	if *s != 0 {
		return false
	}
	if len(t.ids)%recordBlock == 0 {
		t.at = append(t.at, make([]fileRecord, 0, recordBlock))
	}
	block := &t.at[len(t.at)-1]
	*block = append(*block, f)
	t.ids = append(t.ids, id)
	*s = uint32(len(t.ids))
	return true
}

// find gives the record with an id as a slice without room for more, nil where there is none.
func (t *recordTable) find(id uuid) []fileRecord {
	s := *t.slot(&id)
	if s == 0 {
		return nil
	}
	i := (s - 1) % recordBlock
	return t.at[(s-1)/recordBlock][i : i+1 : i+1]
}

// wait tells whether the scan came to its end; what went wrong is found again by whoever looks without it.
func (s *recordScan) wait() bool {
	if s == nil {
		return false
	}
	<-s.done
	return s.err == nil
}

// stop ends the scan, if it is still under way, and waits for it.
func (s *recordScan) stop() {
	if s != nil {
		s.cancel()
		<-s.done
	}
}

// selectRecords begins a query of records. What is the same in almost all rows is fetched as one NULL and not as three
// texts.
func (r *registry) selectRecords(table, storageClass string) *statement {
	id, separator := "f.dataset_id", "char(31)"
	if r.postgres {
		id, separator = "f.dataset_id::text", "chr(31)"
	}
	return r.statement().add("SELECT ", id, ", f.path, CASE WHEN f.formatter = '"+parquetFormatter+"' AND f.component = '"+wholeDataset+"' AND f.storage_class = ").arg(storageClass).
		add(" THEN NULL ELSE f.formatter || ", separator, " || f.storage_class || ", separator, " || f.component END, f.file_size FROM ", r.table(table), " f")
}

// records runs the queries of loadRecords over one table. ids has none twice.
func (r *registry) records(ctx context.Context, ids []uuid, table, storageClass string, take func(v []any) error) error {
	selectRecords := func() *statement { return r.selectRecords(table, storageClass) }
	if r.postgres {
		for part := range slices.Chunk(ids, recordChunk) {
			keys := make([]string, len(part))
			for i := range part {
				keys[i] = part[i].String()
			}
			if err := selectRecords().add(" WHERE f.dataset_id = ANY (").arg(keys).add("::uuid[])").each(ctx, take); err != nil {
				return err
			}
		}
		return nil
	}
	// A scan costs a tenth of as many look-ups by id (0.5 against 5 µs a row, 100,000 rows, measured 2026-11).
	last, err := r.count(ctx, "SELECT coalesce(max(rowid), 0) FROM "+r.table(table))
	if err != nil {
		return err
	}
	if last <= 8*int64(len(ids)) {
		return selectRecords().each(ctx, take)
	}
	for part := range slices.Chunk(ids, inChunk) {
		keys := make([]any, len(part))
		for i := range part {
			keys[i] = part[i].text(false)
		}
		if err := selectRecords().add(" WHERE ").in("f.dataset_id", keys).each(ctx, take); err != nil {
			return err
		}
	}
	return nil
}
