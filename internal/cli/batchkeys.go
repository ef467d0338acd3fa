package cli

import (
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"fast-export/chunker"
	"fast-export/internal/export"
	"fast-export/parquetw"
	"fast-export/typemap"
)

// key is one key of a mapping in a batch file. What reads a file, docs/batch.schema.json and the tables of docs/batch.md all come from the
// same keys.
type key[T any] struct {
	name  string
	flag  string // the flag that says the same for a whole run, "" for none
	about string // for docs and editors; begins in lower case, ends without a full stop
	form  form[T]
}

// form is what a key's value looks like.
type form[T any] struct {
	schema schema
	read   func(r *batchReader, p pair, into *T)
}

// schema is a JSON Schema.
type schema map[string]any

func textForm[T any](set func(*T, string)) form[T] {
	return form[T]{schema{"type": "string", "minLength": 1}, func(r *batchReader, p pair, into *T) {
		if s, ok := r.text(p, p.value); ok {
			set(into, s)
		}
	}}
}

// wordForm is text that parse reads; its error says what is right.
func wordForm[T, V any](s schema, parse func(string) (V, error), set func(*T, V)) form[T] {
	return form[T]{s, func(r *batchReader, p pair, into *T) {
		n := resolved(p.value)
		word := n.Value
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!null" || word != "null" { // infinity: null, without quotes
			var ok bool
			if word, ok = r.text(p, n); !ok {
				return
			}
		}
		v, err := parse(word)
		if err != nil {
			r.problem(p.line, p.key, "%v", err)
			return
		}
		set(into, v)
	}}
}

// oneOfForm is a word among a few.
func oneOfForm[T, V any](words []string, parse func(string) (V, error), set func(*T, V)) form[T] {
	var enum []any
	for _, w := range words {
		enum = append(enum, w)
		if w == "null" {
			enum = append(enum, nil)
		}
	}
	return wordForm(schema{"anyOf": []schema{{"enum": enum}, variableSchema}}, parse, set)
}

// variableSchema is a value that an environment variable gives.
var variableSchema = schema{"type": "string", "pattern": `\$\{[A-Za-z_][A-Za-z0-9_]*\}`}

func orVariable(s schema) schema { return schema{"anyOf": []schema{s, variableSchema}} }

func numberForm[T any](lo, hi int64, set func(*T, int64)) form[T] {
	return form[T]{orVariable(schema{"type": "integer", "minimum": lo, "maximum": hi}), func(r *batchReader, p pair, into *T) {
		if n, ok := r.number(p, lo, hi); ok {
			set(into, n)
		}
	}}
}

func namesSchema() schema {
	return schema{"type": "array", "items": schema{"type": "string", "minLength": 1}, "minItems": 1}
}

// namesForm is a list of result columns.
func namesForm(set func(*draft, []string)) form[draft] {
	return form[draft]{namesSchema(), func(r *batchReader, p pair, d *draft) {
		if names, ok := r.names(p, foldedNames); ok {
			set(d, names)
		}
	}}
}

func switchForm[T any](set func(*T, bool)) form[T] {
	return form[T]{orVariable(schema{"type": "boolean"}), func(r *batchReader, p pair, into *T) {
		text, kind, ok := r.scalar(p, p.value)
		switch {
		case !ok:
		case kind == "!!bool" || kind == expanded && (text == "true" || text == "false"):
			set(into, strings.EqualFold(text, "true"))
		default:
			r.problem(p.line, p.key, "is %s, not true or false", kindOf(resolved(p.value)))
		}
	}}
}

func sizeForm[T any](least int64, set func(*T, int64)) form[T] {
	s := orVariable(schema{"anyOf": []schema{{"type": "integer", "minimum": least}, {"type": "string", "pattern": `^[0-9]`}}})
	return form[T]{s, func(r *batchReader, p pair, into *T) {
		text, kind, ok := r.scalar(p, p.value)
		if !ok {
			return
		}
		if kind != "!!str" && kind != "!!int" && kind != expanded {
			r.problem(p.line, p.key, "is %s, not a size", kindOf(resolved(p.value)))
			return
		}
		var n int64
		if err := (size{&n, least, 0}).Set(text); err != nil {
			r.problem(p.line, p.key, "%s: %s", quoteArg(text), withHint(err))
			return
		}
		set(into, n)
	}}
}

// withHint is an error with its hint on the same line.
func withHint(err error) string {
	if u, ok := errors.AsType[*usageError](err); ok && u.hint != "" {
		return u.msg + " (" + u.hint + ")"
	}
	return err.Error()
}

// draft is a job in the making: with the keys that say something only together.
type draft struct {
	export.Job
	overwrite, noClobber bool
	columnTypes          map[string]string            // of types, by folded name
	columnEncodings      map[string]parquetw.Encoding // of encodings, by folded name
}

// common tells that an entry's key may stand in defaults: too.
func (k *key[T]) common() bool { return k.flag != "" || k.name == "parallel" }

// entryKeys are the keys of an entry. Those with a flag, and parallel, may stand in defaults: too.
var entryKeys = []key[draft]{
	{
		name:  "table",
		about: "the relation to export, its name as SQL writes it",
		form:  textForm(func(d *draft, s string) { d.Table = s }),
	},
	{
		name:  "columns",
		about: "with table: columns as SQL writes them, in this order (default: all)",
		form:  form[draft]{namesSchema(), readColumns},
	},
	{
		name:  "where",
		about: "with table: what rows must meet, in SQL (default: all rows)",
		form:  textForm(func(d *draft, s string) { d.Where = s }),
	},
	{
		name:  "sql",
		about: "in place of table: one statement that gives rows and changes nothing",
		form:  textForm(func(d *draft, s string) { d.SQL = s }),
	},
	{
		name:  "out",
		about: "the Parquet file to write; relative paths count from the directory that the program is started in",
		form:  textForm(func(d *draft, s string) { d.Out = s }),
	},
	{
		name: "row_group_size", flag: "row-group-size",
		about: "rows of a row group, exactly; the last one has the rest",
		form:  numberForm(1, maxRowGroup, func(d *draft, n int64) { d.RowGroupRows = n }),
	},
	{
		name: "row_group_bytes", flag: "row-group-bytes",
		about: "a row group also ends with the row with which its values reach so much, before encoding and compression (default: no limit)",
		form:  sizeForm(minRowGroup, func(d *draft, n int64) { d.RowGroupBytes = n }),
	},
	{
		name: "compression", flag: "compression",
		about: "zstd[:level], snappy, gzip[:level], lz4 or none",
		form: wordForm(orVariable(schema{"type": "string", "pattern": `^(zstd(:\+?0*([1-9]|1[0-9]|2[0-2]))?|snappy|gzip(:\+?0*[1-9])?|lz4|none)$`}),
			parquetw.ParseCompression, func(d *draft, c parquetw.Compression) { d.Compression = c }),
	},
	{
		name: "encoding", flag: "encoding",
		about: "how values are laid out where encodings says nothing: auto, plain or dictionary",
		form:  oneOfForm(overall, overallEncoding, func(d *draft, e parquetw.Encoding) { d.Encoding = e }),
	},
	{
		name: "encodings", flag: "encoding",
		about: "single columns' own encodings, as a mapping from a column's name (as SQL writes it) to auto, plain, dictionary, byte_stream_split (floats) or " +
			"delta (integers, dates, times, text, bytes); in defaults, as with --encoding, also for entries without such a column",
		form: form[draft]{schema{"type": "object", "minProperties": 1, "additionalProperties": orVariable(schema{
			"enum": []string{"auto", "plain", "dictionary", "byte_stream_split", "delta"},
		})}, readEncodings},
	},
	{
		name: "bloom", flag: "bloom",
		about: "columns that get bloom filters, by which readers pass over row groups without a value; not floats, booleans or bytes",
		form:  namesForm(func(d *draft, names []string) { d.Bloom = names }),
	},
	{
		name: "sorted_by", flag: "sorted-by",
		about: "columns by which the rows ascend, NULLs last: readers are told so; it is checked, and a row out of order is an error",
		form:  namesForm(func(d *draft, names []string) { d.SortedBy = names }),
	},
	{
		name: "types", flag: "type",
		about: "single columns' own types, as a mapping from a column's name (as SQL writes it) to text, float64, strict, decimal(p,s), struct or duration; " +
			"in defaults, as with --type, also for entries without such a column",
		form: form[draft]{schema{"type": "object", "minProperties": 1, "additionalProperties": orVariable(schema{
			"type": "string", "pattern": `^(text|float64|strict|struct|duration|` + decimalPattern + `)$`,
		})}, readTypes},
	},
	{
		name: "numeric", flag: "numeric",
		about: "numeric without precision: float64, strict, text or decimal(p,s)",
		form: wordForm(orVariable(schema{"type": "string", "pattern": `^(float64|strict|text|` + decimalPattern + `)$`}),
			typemap.ParseNumeric, func(d *draft, v typemap.Numeric) { d.Types.Numeric = v }),
	},
	{
		name: "numeric_nonfinite", flag: "numeric-nonfinite",
		about: "NaN and infinities in decimal columns: error, null or text",
		form:  oneOfForm([]string{"error", "null", "text"}, typemap.ParseNonfinite, func(d *draft, v typemap.Nonfinite) { d.Types.Nonfinite = v }),
	},
	{
		name: "infinity", flag: "infinity",
		about: "infinite dates and times: error, null, clamp or text",
		form:  oneOfForm([]string{"error", "null", "clamp", "text"}, typemap.ParseInfinity, func(d *draft, v typemap.Infinity) { d.Types.Infinity = v }),
	},
	{
		name: "invalid_utf8", flag: "invalid-utf8",
		about: "text that is not UTF-8: error, replace or binary",
		form:  oneOfForm([]string{"error", "replace", "binary"}, typemap.ParseInvalidUTF8, func(d *draft, v typemap.InvalidUTF8) { d.Types.InvalidUTF8 = v }),
	},
	{
		name: "interval", flag: "interval",
		about: "intervals: struct or duration",
		form:  oneOfForm([]string{"struct", "duration"}, typemap.ParseInterval, func(d *draft, v typemap.IntervalForm) { d.Types.Interval = v }),
	},
	{
		name: "ranges", flag: "ranges",
		about: "ranges and multiranges: struct or text",
		form:  oneOfForm([]string{"struct", "text"}, typemap.ParseRanges, func(d *draft, v typemap.RangeForm) { d.Types.Ranges = v }),
	},
	{
		name: "trim_bpchar", flag: "trim-bpchar",
		about: "cut the padding off char(n)",
		form:  switchForm(func(d *draft, v bool) { d.Types.TrimBpchar = v }),
	},
	{
		name: "type_map", flag: "type-map",
		about: "exact or ddpp; ddpp gives every column the type that the older tool gave it",
		form:  oneOfForm([]string{"exact", "ddpp"}, typemap.ParseTypeMap, func(d *draft, v typemap.TypeMap) { d.Types.TypeMap = v }),
	},
	{
		name: "overwrite", flag: "overwrite",
		about: "replace what stands at out even if it is no Parquet file",
		form:  switchForm(func(d *draft, v bool) { d.overwrite = v }),
	},
	{
		name: "no_clobber", flag: "no-clobber",
		about: "replace nothing, a Parquet file neither",
		form:  switchForm(func(d *draft, v bool) { d.noClobber = v }),
	},
	{
		name:  "parallel",
		about: "at most so many of the run's connections copy this entry at a time; in defaults: the run's connections, as --parallel says them",
		form:  numberForm(1, maxParallel, func(d *draft, n int64) { d.Parallel = int(n) }),
	},
	{
		name: "chunk", flag: "chunk-size",
		about: "how to split it",
		form:  form[draft]{chunkSchema(), readChunk},
	},
}

// decimalPattern bounds digits and decimals; that there are not more of these than of those is for the program to say.
const decimalPattern = `decimal\(\s*\+?0*([1-9]|[1-6][0-9]|7[0-6])\s*(,\s*\+?0*([0-9]|[1-6][0-9]|7[0-6])\s*)?\)`

// chunkKeys are the keys of chunk:.
var chunkKeys = []key[chunker.Hint]{
	{
		name:  "by",
		about: "ctid: ranges of blocks; a column's name, as SQL writes it: ranges of its values; none: one chunk (default: as is best)",
		form: textForm(func(h *chunker.Hint, s string) {
			switch foldASCII(s) {
			case "ctid":
				h.By = chunker.CutCTID
			case "none":
				h.By = chunker.CutNone
			default: // a column called none has its name in double quotes
				h.By, h.Column = chunker.CutColumn, s
			}
		}),
	},
	{
		name:  "size",
		about: "heap and TOAST bytes of a chunk, 256MiB for example",
		form:  sizeForm(minChunk, func(h *chunker.Hint, n int64) { h.Bytes = n }),
	},
	{
		name:  "count",
		about: "in place of size: the number of chunks",
		form:  numberForm(1, maxCount, func(h *chunker.Hint, n int64) { h.Count = int(n) }),
	},
	{
		name: "bounds",
		about: "in place of both, by a column: ascending cut points, each the first value of the range above it; the first range and the last are open, " +
			"so that no row is left out",
		form: form[chunker.Hint]{schema{"type": "array", "minItems": 1, "items": schema{"type": []string{"string", "number"}}}, readBounds},
	},
}

// maxCount bounds the chunks that one may ask for.
const maxCount = 1_000_000

func chunkSchema() schema {
	s := object(chunkKeys)
	s["minProperties"] = 1
	s["dependencies"] = schema{
		"bounds": schema{"required": []string{"by"}, "not": schema{"anyOf": []schema{{"required": []string{"size"}}, {"required": []string{"count"}}}}},
		"size":   schema{"not": schema{"required": []string{"count"}}},
	}
	by := func(pattern string) schema { return schema{"by": schema{"pattern": pattern}} }
	s["not"] = schema{"anyOf": []schema{
		{"required": []string{"by", "bounds"}, "properties": by(`^([cC][tT][iI][dD]|[nN][oO][nN][eE])$`)},
		{"required": []string{"by"}, "properties": by(`^[nN][oO][nN][eE]$`), "anyOf": []schema{{"required": []string{"size"}}, {"required": []string{"count"}}}},
	}}
	return s
}

// object is the schema of a mapping with these keys and no others.
func object[T any](keys []key[T]) schema {
	properties := schema{}
	for _, k := range keys {
		properties[k.name] = k.described()
	}
	return schema{"type": "object", "properties": properties, "additionalProperties": false}
}

func (k key[T]) described() schema {
	s := schema{"description": k.about}
	for name, v := range k.form.schema {
		s[name] = v
	}
	return s
}

func readColumns(r *batchReader, p pair, d *draft) {
	if names, ok := r.names(p, splitNames); ok {
		d.Columns = names
	}
}

// names reads a list of columns' names, each by split.
func (r *batchReader) names(p pair, split func(string) ([]string, error)) ([]string, bool) {
	items, ok := r.list(p)
	if !ok {
		return nil, false
	}
	var all []string
	for _, n := range items {
		s, ok := r.text(pair{p.key, n.Line, n}, n)
		if !ok {
			continue
		}
		names, err := split(s)
		switch {
		case err != nil:
			r.problem(n.Line, p.key, "%s: %v", quoteArg(s), err)
		case len(names) > 1:
			r.problem(n.Line, p.key, "%s holds several names: each is an item of the list", quoteArg(s))
		default:
			all = append(all, names[0])
		}
	}
	return all, true
}

func readTypes(r *batchReader, p pair, d *draft) {
	d.columnTypes = readByColumn(r, p, "types", d.columnTypes, func(s string) (string, error) { return s, typemap.CheckColumnType(s) })
}

func readEncodings(r *batchReader, p pair, d *draft) {
	d.columnEncodings = readByColumn(r, p, "encodings", d.columnEncodings, parquetw.ParseEncoding)
}

// readByColumn adds to a mapping what the file maps columns to, which are so called.
func readByColumn[V any](r *batchReader, p pair, called string, into map[string]V, parse func(string) (V, error)) map[string]V {
	n := resolved(p.value)
	if n.Kind != yaml.MappingNode {
		r.problem(p.line, p.key, "is %s, not a mapping from columns to %s", kindOf(n), called)
		return into
	}
	pairs := r.pairs(n)
	if len(n.Content) == 0 {
		r.problem(p.line, p.key, "is empty: leave it out")
	}
	here := map[string]int{}
	for _, c := range pairs {
		name, rest, err := cutName(c.key+"=", "type")
		if err != nil || rest != "" {
			r.problem(c.line, c.key, `no column's name; it is as SQL writes it: ra, or '"Mixed Case"' with both kinds of quotes`)
			continue
		}
		if before, twice := here[name]; twice {
			r.problem(c.line, c.key, "is the column that line %d names already", before)
			continue
		}
		here[name] = c.line
		s, ok := r.text(c, c.value)
		if !ok {
			continue
		}
		v, err := parse(s)
		if err != nil {
			r.problem(c.line, c.key, "%v", err)
			continue
		}
		if into == nil {
			into = map[string]V{}
		}
		into[name] = v
	}
	return into
}

func readChunk(r *batchReader, p pair, d *draft) {
	n := resolved(p.value)
	if n.Kind != yaml.MappingNode {
		r.problem(p.line, p.key, "is %s, not a mapping: {by: ctid, size: 256MiB} for example", kindOf(n))
		return
	}
	var h chunker.Hint
	at := map[string]int{}
	for _, c := range r.pairs(n) {
		k := find(chunkKeys, c.key)
		if k == nil {
			r.problem(c.line, c.key, "%s", unknownKey(c.key, names(chunkKeys)))
			continue
		}
		at[c.key] = c.line
		k.form.read(r, c, &h)
	}
	if len(n.Content) == 0 {
		r.problem(p.line, p.key, "is empty: leave it out")
	}
	together := func(a, b string) bool { return at[a] > 0 && at[b] > 0 }
	for _, c := range []struct {
		wrong     bool
		key, text string
	}{
		{together("size", "count"), "count", "size is given too: one of them decides"},
		{together("bounds", "size"), "size", "bounds are given too: they decide"},
		{together("bounds", "count"), "count", "bounds are given too: they decide"},
		{h.By == chunker.CutNone && at["size"] > 0, "size", "by: none makes one chunk, whatever its size"},
		{h.By == chunker.CutNone && at["count"] > 0, "count", "by: none makes one chunk"},
		{at["bounds"] > 0 && (h.By == chunker.CutNone || h.By == chunker.CutCTID || at["by"] == 0), "bounds", "they are values of a column, which by has to name"},
	} {
		if c.wrong {
			r.problem(at[c.key], c.key, "%s", c.text)
		}
	}
	d.Chunk = h
}

// decimalText is a number whose text every server reads, whatever the column's type.
var decimalText = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

func readBounds(r *batchReader, p pair, h *chunker.Hint) {
	items, ok := r.list(p)
	if !ok {
		return
	}
	h.Bounds = nil
	var before *big.Rat
	for _, n := range items {
		at := pair{p.key, n.Line, n}
		text, kind, ok := r.scalar(at, n)
		if !ok {
			continue
		}
		switch kind {
		case "!!str", "!!timestamp", expanded:
		case "!!int", "!!float":
			text = strings.ReplaceAll(text, "_", "")
			if !decimalText.MatchString(text) {
				r.problem(n.Line, p.key, "%s is no decimal number; text has quotes", n.Value)
				continue
			}
		default:
			r.problem(n.Line, p.key, "is %s, not a value of a column", kindOf(resolved(n)))
			continue
		}
		if len(h.Bounds) > 0 && h.Bounds[len(h.Bounds)-1] == text {
			r.problem(n.Line, p.key, "%s is there twice", quoteArg(text))
		}
		h.Bounds = append(h.Bounds, text)
		// Whether other values ascend is for the server to say.
		number := rational(kind, text)
		if number != nil && before != nil && number.Cmp(before) < 0 {
			r.problem(n.Line, p.key, "%s is less than the bound before it: bounds ascend", text)
		}
		before = number
	}
}

// rational is a number's value, nil for what is none, or is one that would take long to write out.
func rational(kind, text string) *big.Rat {
	if kind != "!!int" && kind != "!!float" {
		return nil
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil || e < -1000 || e > 1000 {
			return nil
		}
	}
	v, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil
	}
	return v
}

func find[T any](keys []key[T], name string) *key[T] {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func names[T any](keys []key[T]) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.name)
	}
	return all
}
