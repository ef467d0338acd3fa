package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"fast-export/chunker"
	"fast-export/internal/export"
	"fast-export/parquetw"
	"fast-export/typemap"
)

// batch is a batch file that has been read, and checked as far as that goes without a server.
type batch struct {
	file     string
	conn     settings                  // what connection: says; never a password
	parallel int                       // what defaults: says, 0 for nothing
	jobs     []export.Job              // those of which the server can be asked, in the file's order; without Out where the entry is wrong
	places   []place                   // of the jobs' entries
	outs     []out                     // of all entries, right or not
	columns  map[string]map[string]int // lines of the columns that types and encodings of defaults: name
	problems []problem
}

// out is where an entry wants its file.
type out struct {
	path string
	over parquetw.Overwrite
	line int
	job  int // its index, or -1 of an entry of which the server cannot be asked
}

// place is where an entry stands.
type place struct {
	line    int                       // its first
	keys    map[string]int            // lines of its keys
	chunk   map[string]int            // lines of the keys of chunk, where the entry has it itself
	bounds  string                    // the chunk's, as an error has them
	columns map[string]map[string]int // lines of the columns that types and encodings name
	sqlText int                       // the line of the first line of sql, where the file has the query's lines as they are; else 0
}

// problem is one thing wrong with a batch file.
type problem struct {
	line int
	key  string // that stands in the line, or is missing
	text string
	err  error // what is behind it, nil: the file itself
}

// batchError is all that is wrong with a batch file.
type batchError struct {
	file     string
	problems []problem
}

// lines are FILE:LINE: KEY: REASON, one a problem, in the file's order.
func (e *batchError) lines() []string {
	all := make([]string, len(e.problems))
	for i, p := range e.problems {
		key := p.key
		if key == "" {
			key = `""`
		}
		all[i] = oneLine(fmt.Sprintf("%s:%d: %s: %s", e.file, p.line, key, p.text))
	}
	return all
}

func (e *batchError) headline() string {
	return fmt.Sprintf("%s in %s, and nothing was exported", plural(int64(len(e.problems)), "problem"), quoteArg(e.file))
}

func (e *batchError) Error() string { return e.headline() + "\n" + strings.Join(e.lines(), "\n") }

// code is the exit code that all problems share, or that of usage.
func (e *batchError) code() int {
	codes := make([]int, len(e.problems))
	for i, p := range e.problems {
		codes[i] = codeUsage
		if p.err != nil {
			codes[i] = exitCode(p.err)
		}
	}
	return sharedCode(codes)
}

func sharedCode(codes []int) int {
	for _, c := range codes {
		if c != codes[0] {
			return codeUsage
		}
	}
	return codes[0]
}

// maxBatch bounds a batch file: what is larger is no such file but a mistake.
const maxBatch = 16 << 20

// readBatch reads a batch file. base is a Job of how files are written as the flags and, without them, the defaults have it; changed
// tells which flags were given. A key of an entry wins over a flag, and a flag over a key of defaults:.
//
// The error is that of reading the file; what is wrong in it is the batch's problems.
func readBatch(ctx context.Context, file string, base export.Job, changed func(flag string) bool, getenv func(string) string) (*batch, error) {
	text, err := readInput(ctx, func() (io.ReadCloser, error) { return os.Open(file) }, maxBatch)
	if err != nil {
		return nil, inputError(ctx, err, "--config %s: %v", quoteArg(file))
	}
	if len(text) > maxBatch {
		return nil, usagef("", "--config %s holds more than %s", quoteArg(file), sizeText(maxBatch))
	}
	b := parseBatch(file, text, base, changed, getenv)
	b.checkOutputs()
	return b, nil
}

// parseBatch is readBatch without the file system.
func parseBatch(file string, text []byte, base export.Job, changed func(flag string) bool, getenv func(string) string) *batch {
	r := &batchReader{batch: &batch{file: file}, base: base, changed: changed, getenv: getenv}
	root, wrong := parseTree(file, text)
	switch {
	case wrong != nil:
		r.problem(wrong.line, wrong.language, "%s", wrong.reason)
	case root == nil:
		r.problem(1, "exports", "missing: the file is empty")
	default:
		r.top(root)
	}
	return r.batch
}

// err is what is wrong with the file, nil for nothing.
func (b *batch) err() error {
	if len(b.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(b.problems, func(x, y problem) int { return cmp.Compare(x.line, y.line) })
	return &batchError{b.file, b.problems}
}

// locate adds what the planning of the jobs came upon to the file's own problems, each at its place in the file. Errors of other kinds
// it returns as they are, unless the file has problems of its own. Without a batch file, b is nil, every error stays as it is.
func (b *batch) locate(err error) error {
	if b == nil {
		return err
	}
	if e, ok := errors.AsType[*export.CommonColumnError](err); ok {
		if line := b.columns[e.Choice+"s"][e.Column]; line > 0 {
			b.problems = append(b.problems, problem{line, e.Choice + "s", e.Error(), err})
			return b.err()
		}
	}
	failed := findAll[*export.JobError](err)
	if partial := (*export.PartialError)(nil); errors.As(err, &partial) || len(failed) == 0 {
		if err != nil && len(b.problems) == 0 {
			return err
		}
		return b.err()
	}
	for _, f := range failed {
		b.problems = append(b.problems, b.places[f.Index].problem(f.Err))
	}
	return b.err()
}

// problem says which key of the entry an error is about.
func (p place) problem(err error) problem {
	key := "table"
	if p.keys["sql"] > 0 {
		key = "sql"
	}
	extra, column := 0, ""
	if e, ok := errors.AsType[*chunker.StatementError](err); ok {
		key = string(e.Field)
		if e.Field == chunker.FieldChunk {
			if key = "by"; p.bounds != "" && e.Text == p.bounds {
				key = "bounds"
			}
		}
		if text := []rune(e.Text); key == "sql" && p.sqlText > 0 && e.Position > 0 && e.Position <= len(text)+1 {
			extra = p.sqlText - p.keys[key] + strings.Count(string(text[:e.Position-1]), "\n")
		}
	} else if e, ok := errors.AsType[*chunker.NotFoundError](err); ok {
		if key = string(e.Field); e.Field == chunker.FieldChunk {
			key = "by"
		}
	} else if _, ok := errors.AsType[*export.RowGroupsError](err); ok {
		key = "row_group_size"
	} else if e, ok := errors.AsType[*parquetw.ColumnError](err); ok {
		key = map[parquetw.Option]string{parquetw.ForEncoding: "encodings", parquetw.ForBloom: "bloom", parquetw.ForOrder: "sorted_by"}[e.Option]
	} else if e, ok := errors.AsType[*typemap.UnsupportedError](err); ok && p.keys["types"] > 0 {
		key, column = "types", e.Column
	} else if e, ok := errors.AsType[*typemap.NoColumnError](err); ok {
		key = "types"
		if name, err := strconv.Unquote(e.Names[0]); err == nil {
			column = name
		}
	} else if e, ok := errors.AsType[*chunker.PermissionError](err); ok && len(e.Columns) > 0 && p.keys["columns"] > 0 {
		key = "columns"
	} else if fileError(err) || errors.As(err, new(*parquetw.FileError)) || errors.Is(err, parquetw.ErrExists) {
		key = "out"
	}
	line := cmp.Or(p.columns[key][column], p.keys[key], p.chunk[key], p.keys["chunk"])
	if line == 0 || p.keys[key] == 0 && p.chunk[key] == 0 && key != "by" && key != "bounds" {
		line = p.line
	}
	return problem{line + extra, key, reasonOf(err), err}
}

// reasonOf is what one would be told of an error, in one line.
func reasonOf(err error) string {
	v := judge(err)
	if v.hint != "" {
		return v.message + " (" + v.hint + ")"
	}
	return v.message
}

// batchReader makes a batch of a file's tree.
type batchReader struct {
	*batch
	base     export.Job
	changed  func(flag string) bool
	getenv   func(string) string
	defaults map[string]pair
	within   string   // the key of an entry that is being read
	told     []string // the problems' keys, those of the entry for what is within them; also of problems that were told before
}

// problem notes one; an alias can bring the same one several times.
func (r *batchReader) problem(line int, key, format string, args ...any) {
	r.told = append(r.told, cmp.Or(r.within, key))
	p := problem{line: line, key: key, text: fmt.Sprintf(format, args...)}
	if !slices.Contains(r.problems, p) {
		r.problems = append(r.problems, p)
	}
}

// topKeys are the keys of the full form.
var topKeys = []key[batch]{
	{name: "connection", about: "where to connect to; --service or --dsn stand in its place, the other connection flags in that of single keys"},
	{name: "defaults", about: "what holds for every entry that does not say it itself; a flag wins over it"},
	{name: "exports", about: "the files to write, one entry each"},
	{name: "$schema", about: "where an editor finds the schema of this file; not read otherwise"},
}

func (r *batchReader) top(root *yaml.Node) {
	switch root.Kind {
	case yaml.SequenceNode:
		r.entries(pair{"exports", root.Line, root})
		return
	case yaml.MappingNode:
	default:
		r.problem(root.Line, "exports", "missing: the file is %s, not a list of exports, nor a mapping with one under exports", kindOf(root))
		return
	}
	var exports *pair
	for _, p := range r.pairs(root) {
		switch {
		case p.key == "connection":
			r.connection(p)
		case p.key == "defaults":
			r.readDefaults(p)
		case p.key == "exports":
			exports = &p
		case p.key == "$schema":
			r.text(p, p.value)
		case find(entryKeys, p.key) != nil:
			r.problem(p.line, p.key, "belongs to an entry of exports, or to defaults")
		default:
			r.problem(p.line, p.key, "%s", unknownKey(p.key, names(topKeys)))
		}
	}
	if exports == nil {
		r.problem(root.Line, "exports", "missing: the list of what to export")
		return
	}
	r.entries(*exports)
}

// secrets are the connection parameters that do not belong into a file that people share.
var secrets = []string{"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}

// connectionKeys are those of connection:.
func connectionKeys() []string {
	var known []string
	for _, k := range sorted(keywords) {
		if keywords[k] != refused && !slices.Contains(secrets, k) {
			known = append(known, k)
		}
	}
	return known
}

// connection reads connection:. No message quotes a value: it may hold a password after all.
func (r *batchReader) connection(p pair) {
	n := resolved(p.value)
	if n.Kind != yaml.MappingNode {
		r.problem(p.line, p.key, "is %s, not a mapping: {service: mpc_sbn} for example", kindOf(n))
		return
	}
	r.conn = settings{}
	for _, c := range r.pairs(n) {
		switch {
		case slices.Contains(secrets, c.key):
			r.problem(c.line, c.key, "no secrets here: a password comes from ~/.pgpass, PGPASSWORD or --password")
			continue
		case keywords[c.key] == refused:
			r.problem(c.line, c.key, "is not supported")
			continue
		case c.key == "dsn" || c.key == "database":
			instead := map[string]string{"dsn": "a whole connection string is given by --dsn", "database": "the name of this key is dbname"}
			r.problem(c.line, c.key, "unknown key; %s", instead[c.key])
			continue
		case keywords[c.key] == 0:
			r.problem(c.line, c.key, "%s", unknownKey(c.key, connectionKeys()))
			continue
		}
		v, kind, ok := r.scalar(c, c.value)
		switch {
		case !ok:
		case kind != "!!str" && kind != "!!int" && kind != expanded:
			r.problem(c.line, c.key, "is %s, not text", kindOf(resolved(c.value)))
		case v == "":
			r.problem(c.line, c.key, "is empty: leave it out")
		case strings.ContainsRune(v, 0):
			r.problem(c.line, c.key, "holds a zero byte")
		case isDSN(v):
			r.problem(c.line, c.key, "is a whole connection string: that is given by --dsn")
		case c.key == "port" && (ports{new(string)}).Set(v) != nil:
			r.problem(c.line, c.key, "%v", (ports{new(string)}).Set(v))
		default:
			if slices.Contains(alone, c.key) {
				if _, err := pgxConfig(settings{c.key: v, "host": "/"}); err != nil {
					r.problem(c.line, c.key, "%s", withHint(err))
					continue
				}
			}
			r.conn[c.key] = v
		}
	}
}

// alone are connection parameters whose values are right or wrong whatever the others are.
var alone = []string{
	"gssencmode", "connect_timeout", "sslmode", "ssl_min_protocol_version", "ssl_max_protocol_version", "load_balance_hosts", "target_session_attrs",
}

func (r *batchReader) readDefaults(p pair) {
	n := resolved(p.value)
	if n.Kind != yaml.MappingNode {
		r.problem(p.line, p.key, "is %s, not a mapping of keys", kindOf(n))
		return
	}
	r.defaults = map[string]pair{}
	var scratch draft
	for _, c := range r.pairs(n) {
		k := find(entryKeys, c.key)
		switch {
		case k == nil:
			all := slices.DeleteFunc(slices.Clone(entryKeys), func(k key[draft]) bool { return !k.common() })
			r.problem(c.line, c.key, "%s", unknownKey(c.key, names(all)))
			continue
		case !k.common():
			r.problem(c.line, c.key, "belongs to a single entry, not to defaults")
			continue
		}
		k.form.read(r, c, &scratch)
		r.defaults[c.key] = c
		if byColumns(c.key) {
			if r.columns == nil {
				r.columns = map[string]map[string]int{}
			}
			r.columns[c.key] = r.columnLines(c)
		}
	}
	r.contradiction(&scratch, r.defaults)
	if !r.changed("parallel") {
		r.parallel = scratch.Parallel
	}
}

// contradiction tells overwrite and no_clobber apart.
func (r *batchReader) contradiction(d *draft, from map[string]pair) {
	if d.overwrite && d.noClobber {
		r.problem(from["no_clobber"].line, "no_clobber", "overwrite in line %d says the contrary", from["overwrite"].line)
	}
}

func (r *batchReader) entries(p pair) {
	n := resolved(p.value)
	if n.Kind != yaml.SequenceNode {
		r.problem(p.line, p.key, "is %s, not a list of entries", kindOf(n))
		return
	}
	if len(n.Content) == 0 {
		r.problem(p.line, p.key, "the list is empty: there is nothing to export")
	}
	inDefaults := len(r.told)
	for i, e := range n.Content {
		before := len(r.told)
		job, at := r.entry(e, i+1)
		o := out{job.Out, job.Overwrite, at.keys["out"], -1}
		wrong := r.told[before:]
		if inDefaults == 0 && !slices.ContainsFunc(wrong, func(key string) bool { return !slices.Contains(ownAffairs, key) }) {
			if len(wrong) > 0 {
				job.Out = ""
			}
			o.job = len(r.jobs)
			r.jobs, r.places = append(r.jobs, job), append(r.places, at)
		}
		r.outs = append(r.outs, o)
	}
}

// ownAffairs are keys that say nothing of what is read: whatever is wrong with them, the server's answer is the same.
var ownAffairs = []string{"out", "overwrite", "no_clobber", "compression", "row_group_size", "row_group_bytes", "parallel"}

// entry reads one export. Where that told a problem the job lacks what its key says.
func (r *batchReader) entry(n *yaml.Node, number int) (export.Job, place) {
	at := place{line: n.Line, keys: map[string]int{}, chunk: map[string]int{}, columns: map[string]map[string]int{}}
	m := resolved(n)
	if m.Kind != yaml.MappingNode {
		r.problem(at.line, "exports", "entry %d is %s, not a mapping of keys", number, kindOf(m))
		return export.Job{}, at
	}
	own := map[string]pair{}
	for _, p := range r.pairs(m) {
		if find(entryKeys, p.key) == nil {
			r.problem(p.line, p.key, "%s", unknownKey(p.key, names(entryKeys)))
			continue
		}
		own[p.key] = p
		at.keys[p.key] = p.line
		switch n := resolved(p.value); {
		case n.Kind != yaml.MappingNode:
		case byColumns(p.key):
			at.columns[p.key] = r.columnLines(p)
		case p.key == "chunk":
			for _, c := range r.quietPairs(n) {
				at.chunk[c.key] = c.line
			}
		}
	}
	r.complete(own, at)

	d := draft{Job: r.base}
	replacing, levels := r.overwriteLevel(own)
	for _, k := range entryKeys {
		r.within = k.name
		switch p, given := own[k.name]; {
		case k.name == "overwrite" || k.name == "no_clobber":
			if p, given := replacing[k.name]; given {
				k.form.read(r, p, &d)
			}
		case k.name == "types":
			d.Types.Columns, d.CommonTypes = byColumn(r, k, own, &d, &d.columnTypes, r.base.Types.Columns)
		case k.name == "encodings":
			d.Encodings, d.CommonEncodings = byColumn(r, k, own, &d, &d.columnEncodings, r.base.Encodings)
		case given:
			k.form.read(r, p, &d)
		case k.name == "parallel": // in defaults it is the run's
		case k.name == "chunk":
			if p, given := r.defaults[k.name]; given {
				k.form.read(r, p, &d)
				if r.changed(k.flag) || r.changed("gentle") {
					d.Chunk.Bytes, d.Chunk.Count = 0, 0
				}
				if r.changed("gentle") {
					d.Chunk.Bounds = nil
				}
			}
		case k.flag != "" && !r.changed(k.flag):
			if p, given := r.defaults[k.name]; given {
				k.form.read(r, p, &d)
			}
		}
	}
	r.within = ""
	for _, key := range []string{"size", "count", "bounds"} {
		if line := at.chunk[key]; line > 0 && r.changed("gentle") {
			r.problem(line, key, "--gentle is one connection and one scan of a table: it goes with no chunks of a size, a number or bounds")
		}
	}
	if d.Types.TypeMap == typemap.DDPP {
		r.mapContradiction(&d.Types, own)
	}
	if levels {
		r.contradiction(&d, replacing)
		d.Overwrite = parquetw.ReplaceParquet
		switch {
		case d.overwrite:
			d.Overwrite = parquetw.ReplaceAny
		case d.noClobber:
			d.Overwrite = parquetw.NoClobber
		}
	}
	if p, given := own["sql"]; given {
		if v := resolved(p.value); v.Style&yaml.LiteralStyle != 0 && !strings.Contains(v.Value, "${") {
			at.sqlText = v.Line + 1
		}
	}
	at.bounds = strings.Join(d.Chunk.Bounds, ", ")
	return d.Job, at
}

// byColumns tells whether a key maps columns to something.
func byColumns(key string) bool { return key == "types" || key == "encodings" }

// columnLines are the lines of the columns that a mapping names. What is wrong with it is told by who reads it.
func (r *batchReader) columnLines(p pair) map[string]int {
	lines := map[string]int{}
	if n := resolved(p.value); n.Kind == yaml.MappingNode {
		for _, c := range r.quietPairs(n) {
			if name, rest, err := cutName(c.key+"=", "type"); err == nil && rest == "" {
				lines[name] = c.line
			}
		}
	}
	return lines
}

// quietPairs are a mapping's pairs without the problems that they have.
func (r *batchReader) quietPairs(n *yaml.Node) []pair {
	scratch := batchReader{batch: &batch{}, base: r.base, changed: r.changed, getenv: r.getenv}
	return scratch.pairs(n)
}

// mapContradiction finds what contradicts the type map ddpp and is not said in a place over which that of the map wins.
func (r *batchReader) mapContradiction(o *typemap.Options, own map[string]pair) {
	level := func(key, flag string) (int, pair) {
		if p, given := own[key]; given {
			return 3, p
		}
		if r.changed(flag) {
			return 2, pair{}
		}
		if p, given := r.defaults[key]; given {
			return 1, p
		}
		return 0, pair{}
	}
	least, _ := level("type_map", "type-map")
	for _, m := range mapped {
		if l, p := level(m.name, m.name); l >= least && l != 2 && !m.ok(o) { // of flags alone it is told elsewhere
			r.problem(p.line, m.name, "type_map ddpp says the contrary")
		}
	}
}

// overwriteLevel finds where it is said what may be replaced: overwrite and no_clobber are one setting, so that an entry with one of
// them has nothing of the other from elsewhere. It is false where flags, or nobody, say it.
func (r *batchReader) overwriteLevel(own map[string]pair) (map[string]pair, bool) {
	said := func(m map[string]pair) bool {
		_, a := m["overwrite"]
		_, b := m["no_clobber"]
		return a || b
	}
	switch {
	case said(own):
		return own, true
	case r.changed("overwrite") || r.changed("no-clobber"):
		return nil, false
	}
	return r.defaults, said(r.defaults)
}

// byColumn lays what flags say of single columns over what defaults say. Neither means one entry alone, so that not every entry has
// to have such a column; those that the entry's own key names it must have. read is where the key's form puts what it reads.
func byColumn[V any](r *batchReader, k key[draft], own map[string]pair, d *draft, read *map[string]V, flags map[string]V) (theirs, common map[string]V) {
	if p, given := r.defaults[k.name]; given {
		k.form.read(r, p, d)
	}
	if common = *read; len(flags) > 0 {
		if common == nil {
			common = map[string]V{}
		}
		maps.Copy(common, flags)
	}
	*read = nil
	if p, given := own[k.name]; given {
		k.form.read(r, p, d)
	}
	return *read, common
}

// complete checks which keys an entry has.
func (r *batchReader) complete(own map[string]pair, at place) {
	sql, hasSQL := own["sql"]
	_, hasTable := own["table"]
	switch {
	case hasSQL && hasTable:
		r.problem(sql.line, "sql", "table is given too: an entry has one of them")
	case !hasSQL && !hasTable:
		r.problem(at.line, "sql", "missing: an entry has sql or table")
	}
	if _, given := own["out"]; !given {
		r.problem(at.line, "out", "missing: which file to write")
	}
	for _, name := range []string{"columns", "where"} {
		if p, given := own[name]; given && hasSQL && !hasTable {
			r.problem(p.line, name, "goes with table alone: a query names its columns and conditions itself")
		}
	}
}

// expanded is the kind of a scalar that an environment variable made: it is read as whatever is wanted.
const expanded = "${}"

// scalar is the text of a value that is neither a list nor a mapping, with its variables expanded, and its kind: a YAML tag, or
// expanded.
func (r *batchReader) scalar(at pair, n *yaml.Node) (text, kind string, ok bool) {
	n = resolved(n)
	if n.Kind != yaml.ScalarNode {
		r.problem(at.line, at.key, "is %s, not a single value", kindOf(n))
		return "", "", false
	}
	kind = n.ShortTag()
	if kind == "!!null" {
		r.problem(at.line, at.key, "has no value")
		return "", "", false
	}
	text, fromEnv, err := expand(n.Value, r.getenv)
	if err != nil {
		r.problem(at.line, at.key, "%v", err)
		return "", "", false
	}
	if fromEnv && kind == "!!str" {
		kind = expanded
	}
	return text, kind, true
}

// text is a value that has to be text, and not empty.
func (r *batchReader) text(at pair, n *yaml.Node) (string, bool) {
	s, kind, ok := r.scalar(at, n)
	switch {
	case !ok:
	case kind != "!!str" && kind != expanded:
		r.problem(at.line, at.key, "is %s, not text: text has quotes then", kindOf(resolved(n)))
	case strings.TrimSpace(s) == "":
		r.problem(at.line, at.key, "is empty")
	case strings.ContainsRune(s, 0):
		r.problem(at.line, at.key, "holds a zero byte")
	default:
		return s, true
	}
	return "", false
}

func (r *batchReader) number(p pair, lo, hi int64) (int64, bool) {
	text, kind, ok := r.scalar(p, p.value)
	if !ok {
		return 0, false
	}
	if kind != "!!int" && kind != expanded && (kind != "!!float" || strings.Trim(text, "0123456789") != "") { // digits without end are a float to YAML
		r.problem(p.line, p.key, "is %s, not a whole number", kindOf(resolved(p.value)))
		return 0, false
	}
	digits := strings.ReplaceAll(text, "_", "") // 1_000_000
	if len(digits) > 1 && (digits[0] == '0' || digits[0] == '+') {
		r.problem(p.line, p.key, "%s is no decimal number", quoteArg(text))
		return 0, false
	}
	var n int64
	if err := (count{&n, lo, hi}).Set(digits); err != nil {
		r.problem(p.line, p.key, "%s: %v", quoteArg(text), err)
		return 0, false
	}
	return n, true
}

func (r *batchReader) list(p pair) ([]*yaml.Node, bool) {
	n := resolved(p.value)
	switch {
	case n.Kind != yaml.SequenceNode:
		r.problem(p.line, p.key, "is %s, not a list", kindOf(n))
	case len(n.Content) == 0:
		r.problem(p.line, p.key, "the list is empty: leave it out")
	default:
		return n.Content, true
	}
	return nil, false
}

// checkOutputs finds outputs that two entries share, that may not be replaced, or can't be written.
func (b *batch) checkOutputs() {
	config, _ := os.Stat(b.file)
	seen := map[string]int{} // by absolute path
	there := map[string][]output{}
	var jobs []export.Job
	var places []place
	for _, j := range b.outs {
		if j.job >= 0 {
			jobs, places = append(jobs, b.jobs[j.job]), append(places, b.places[j.job])
		}
		if j.path == "" {
			continue // missing, or wrong in itself
		}
		wrong := func(text string, err error) {
			b.problems = append(b.problems, problem{j.line, "out", text, err})
			if j.job >= 0 {
				jobs[len(jobs)-1].Out = ""
			}
		}
		o := look(j.path, j.line)
		twin := seen[o.path]
		if twin == 0 {
			seen[o.path] = o.line
			for _, bucket := range o.buckets() {
				for _, other := range there[bucket] {
					if o.same(other) && (twin == 0 || other.line < twin) {
						twin = other.line
					}
				}
				there[bucket] = append(there[bucket], o)
			}
		}
		switch err := parquetw.CheckTarget(j.path, j.over); {
		case twin > 0:
			wrong(fmt.Sprintf("%s is the file of the entry with line %d too", quoteArg(j.path), twin), nil)
		case o.info != nil && config != nil && os.SameFile(o.info, config):
			wrong(quoteArg(j.path)+" is this batch file", nil)
		case err != nil:
			wrong(reasonOf(err), err)
		}
	}
	b.jobs, b.places = jobs, places
}

// output is where a path leads to.
type output struct {
	line int
	path string      // absolute and clean
	base string      // the name in its directory
	dir  fs.FileInfo // of the directory, nil: there is none
	info fs.FileInfo // of what is there now, nil: nothing
}

func look(path string, line int) output {
	o := output{line: line, path: path, base: filepath.Base(path)}
	if abs, err := filepath.Abs(path); err == nil {
		o.path = abs
	}
	o.dir, _ = os.Stat(filepath.Dir(path))
	o.info, _ = os.Lstat(path)
	return o
}

// buckets are words of which those that are the same have one in common, so that few have to be compared.
func (o output) buckets() []string {
	all := []string{"named " + o.base}
	if o.info != nil {
		all = append(all, fmt.Sprint("since ", o.info.ModTime().UnixNano(), " of ", o.info.Size()))
	}
	return all
}

// same tells whether two paths are one file: by links to directories, or because the file system does not tell their names apart.
func (o output) same(p output) bool {
	if o.info != nil && p.info != nil && os.SameFile(o.info, p.info) {
		return true
	}
	return o.base == p.base && o.dir != nil && p.dir != nil && os.SameFile(o.dir, p.dir)
}
