package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// batchSchema is the JSON Schema of batch files, of the tables that read them.
func batchSchema() schema {
	entry := object(entryKeys)
	entry["required"] = []string{"out"}
	entry["oneOf"] = []schema{{"required": []string{"table"}}, {"required": []string{"sql"}}}
	entry["dependencies"] = schema{"columns": []string{"table"}, "where": []string{"table"}}

	inDefaults := slices.DeleteFunc(slices.Clone(entryKeys), func(k key[draft]) bool { return k.flag == "" && k.name != "parallel" })
	defaults := object(inDefaults)
	both := schema{"required": []string{"overwrite", "no_clobber"}, "properties": schema{"overwrite": schema{"const": true}, "no_clobber": schema{"const": true}}}
	entry["not"], defaults["not"] = both, both

	connection := schema{}
	for _, k := range connectionKeys() {
		connection[k] = schema{"type": []string{"string", "integer"}, "minLength": 1, "description": "libpq's connection parameter " + k}
	}
	top := object(topKeys)
	top["required"] = []string{"exports"}
	for name, s := range map[string]schema{
		"connection": {"type": "object", "properties": connection, "additionalProperties": false},
		"defaults":   defaults,
		"exports":    {"type": "array", "minItems": 1, "items": schema{"$ref": "#/definitions/entry"}},
		"$schema":    {"type": "string"},
	} {
		s["description"] = find(topKeys, name).about
		top["properties"].(schema)[name] = s
	}
	return schema{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"title":       "fast-export batch file",
		"oneOf":       []schema{{"type": "array", "minItems": 1, "items": schema{"$ref": "#/definitions/entry"}}, top},
		"definitions": schema{"entry": entry},
	}
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBatchSchemaDocument(t *testing.T) {
	document(t, "batch.schema.json", jsonText(t, batchSchema()))
}

// The generated parts of docs/batch.md stand between <!-- generated: NAME --> and <!-- end -->.
func TestBatchDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "batch.md"))
	if err != nil {
		t.Fatal(err)
	}
	entry := "| key | meaning | flag | defaults |\n|---|---|---|---|\n"
	for _, k := range entryKeys {
		flag, inDefaults := "", ""
		if k.flag != "" {
			flag = "`--" + k.flag + "`"
		}
		if k.flag != "" || k.name == "parallel" {
			inDefaults = "yes"
		}
		entry += fmt.Sprintf("| `%s` | %s | %s | %s |\n", k.name, k.about, flag, inDefaults)
	}
	chunk := "| key | meaning |\n|---|---|\n"
	for _, k := range chunkKeys {
		chunk += fmt.Sprintf("| `%s` | %s |\n", k.name, k.about)
	}
	want := string(text)
	for name, table := range map[string]string{"entry": entry, "chunk": chunk} {
		begin := "<!-- generated: " + name + " -->\n"
		before, rest, ok := strings.Cut(want, begin)
		_, after, ended := strings.Cut(rest, "<!-- end -->")
		if !ok || !ended {
			t.Fatalf("docs/batch.md has no place for %s", name)
		}
		want = before + begin + table + "<!-- end -->" + after
	}
	document(t, "batch.md", want)
}

// Every file in the document and in examples/ is right, for the program and for the schema.
func TestBatchExamples(t *testing.T) {
	t.Parallel()
	examples := map[string]string{}
	for _, name := range []string{"exports.yaml", "exports.json"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		examples[name] = string(text)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "batch.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		examples[fmt.Sprintf("batch.md-%d.yaml", i+1)] = m[1]
	}
	if len(examples) != 6 {
		t.Fatalf("found %d examples", len(examples))
	}
	for name, text := range examples {
		b := parseBatch(name, []byte(text), withDefaults(), flagged(), batchEnv)
		if got := problemLines(b); got != nil {
			t.Errorf("%s: %q", name, got)
		}
		if wrong := batchValid(t, name, text); wrong != "" {
			t.Errorf("%s: the schema says: %s", name, wrong)
		}
	}
}

// batchValid is what the schema holds against a batch file's text, "" for nothing.
func batchValid(t *testing.T, name, text string) string {
	t.Helper()
	var v any
	unmarshal := yaml.Unmarshal
	if strings.HasSuffix(name, ".json") {
		unmarshal = json.Unmarshal
	}
	if err := unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return validate(t, jsonText(t, batchSchema()), v)
}

// Every flag that says how one file is written is a key too, and the other way round.
func TestBatchKeysAreFlags(t *testing.T) {
	t.Parallel()
	f := newFlags("")
	(&jobOptions{}).addFlags(f)
	(&typeOptions{}).addFlags(f)
	missing := f.names()
	for _, k := range entryKeys {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == k.flag })
		if k.flag != "" && k.flag != "chunk-size" && f.Lookup(k.flag) == nil {
			t.Errorf("%s: there is no flag --%s", k.name, k.flag)
		}
		if k.flag != "" && k.flag != "chunk-size" && k.name != "types" && k.name != "encodings" && k.name != strings.ReplaceAll(k.flag, "-", "_") {
			t.Errorf("%s and --%s have different names", k.name, k.flag)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no key says what %q say", missing)
	}
}

// The schema and the program agree on what is right, and the schema refuses what the program refuses for its form alone.
func TestBatchSchemaAgrees(t *testing.T) {
	t.Parallel()
	entry := func(s string) string { return "- table: t\n  out: a\n  " + s + "\n" }
	for _, c := range []struct {
		text   string
		schema bool // whether the schema finds it right
		right  bool // whether the program does
	}{
		{"- {table: t, out: a}", true, true},
		{"- {sql: x, out: a}", true, true},
		{"exports: [{sql: x, out: a}]", true, true},
		{"- {sql: x, table: t, out: a}", false, false},
		{"- {out: a}", false, false},
		{"- {sql: x}", false, false},
		{"- {sql: x, out: a, where: y}", false, false},
		{"- {sql: x, out: a, columns: [y]}", false, false},
		{"- x", false, false},
		{"[]", false, false},
		{"x", false, false},
		{"exports: []", false, false},
		{"exports: {}", false, false},
		{"export: [{sql: x, out: a}]", false, false},
		{entry("columns: [a, '\"B\"']"), true, true},
		{entry("columns: []"), false, false},
		{entry("columns: a"), false, false},
		{entry("columns: [1]"), false, false},
		{entry("columns: ['a,b']"), true, false},
		{entry("where: ''"), false, false},
		{entry("row_group_size: 1"), true, true},
		{entry("row_group_size: ${ROWS}"), true, true},
		{entry("row_group_size: 0"), false, false},
		{entry("row_group_size: '5'"), false, false},
		{entry("row_group_size: 1.5"), false, false},
		{entry("row_group_size: 2147483648"), false, false},
		{entry("compression: zstd:22"), true, true},
		{entry("compression: zstd:23"), false, false},
		{entry("compression: gzip:10"), false, false},
		{entry("compression: zstd:03"), true, true},
		{entry("numeric: decimal(77,3)"), false, false},
		{entry("numeric: decimal(0,0)"), false, false},
		{entry("numeric: decimal(76, 76)"), true, true},
		{entry("numeric: decimal(007,+2)"), true, true},
		{entry("numeric: decimal(5,9)"), true, false},
		{entry("chunk: {by: CTID, bounds: [1]}"), false, false},
		{entry("chunk: {by: none, bounds: [1]}"), false, false},
		{entry("chunk: {by: None, count: 3}"), false, false},
		{entry("chunk: {by: none, size: 1MB}"), false, false},
		{entry("chunk: {by: none}"), true, true},
		{entry("chunk: {by: ctid, count: 3}"), true, true},
		{entry("compression: lz4:1"), false, false},
		{entry("compression: none"), true, true},
		{entry("types: {a: text, '\"B\"': 'decimal(5, 2)'}"), true, true},
		{entry("types: {a: decimal(5)}"), true, true},
		{entry("types: {a: potato}"), false, false},
		{entry("types: {}"), false, false},
		{entry("numeric: strict"), true, true},
		{entry("numeric: decimal(10,2)"), true, true},
		{entry("numeric: float32"), false, false},
		{entry("infinity: null"), true, true},
		{entry("infinity: 'null'"), true, true},
		{entry("infinity: ${OUT}x"), true, false},
		{entry("infinity: none"), false, false},
		{entry("numeric_nonfinite: text"), true, true},
		{entry("invalid_utf8: binary"), true, true},
		{entry("interval: duration"), true, true},
		{entry("ranges: list"), false, false},
		{entry("type_map: ddpp"), true, true},
		{entry("trim_bpchar: true"), true, true},
		{entry("trim_bpchar: yes"), false, false},
		{entry("overwrite: true\n  no_clobber: true"), false, false},
		{entry("overwrite: true\n  no_clobber: false"), true, true},
		{entry("parallel: 1000"), true, true},
		{entry("parallel: 1001"), false, false},
		{entry("chunk: {by: ctid, size: 256MiB}"), true, true},
		{entry("chunk: {size: 8192}"), true, true},
		{entry("chunk: {size: 8191}"), false, false},
		{entry("chunk: {size: lots}"), false, false},
		{entry("chunk: {by: id, count: 64}"), true, true},
		{entry("chunk: {by: id, bounds: [1, b, 2020-01-01]}"), true, true},
		{entry("chunk: {bounds: [1]}"), false, false},
		{entry("chunk: {by: id, bounds: [true]}"), false, false},
		{entry("chunk: {by: id, bounds: [1], count: 3}"), false, false},
		{entry("chunk: {by: id, size: 1MB, count: 3}"), false, false},
		{entry("chunk: {}"), false, false},
		{entry("chunk: ctid"), false, false},
		{"defaults: {numeric: text, parallel: 3, overwrite: true}\nexports: [{sql: x, out: a}]", true, true},
		{"defaults: {out: b}\nexports: [{sql: x, out: a}]", false, false},
		{"defaults: {overwrite: true, no_clobber: true}\nexports: [{sql: x, out: a}]", false, false},
		{"connection: {service: s, port: 5432}\nexports: [{sql: x, out: a}]", true, true},
		{"connection: {password: s}\nexports: [{sql: x, out: a}]", false, false},
		{"connection: {hots: s}\nexports: [{sql: x, out: a}]", false, false},
		{"connection: {host: ''}\nexports: [{sql: x, out: a}]", false, false},
		{"connection: s\nexports: [{sql: x, out: a}]", false, false},
		{"$schema: ../docs/batch.schema.json\nexports: [{sql: x, out: a}]", true, true},
	} {
		wrong := batchValid(t, "b.yaml", c.text)
		if (wrong == "") != c.schema {
			t.Errorf("%s\nthe schema says: %q", c.text, wrong)
		}
		if got := problemLines(parseBatch("b.yaml", []byte(c.text), withDefaults(), flagged(), batchEnv)); (got == nil) != c.right {
			t.Errorf("%s\nthe program says: %q", c.text, got)
		}
	}
}

// validate tells what a value has against a schema, "" for nothing. It knows the part of JSON Schema that ours use, and fails the test for
// any other keyword.
func validate(t *testing.T, schemaText string, v any) string {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(schemaText), &root); err != nil {
		t.Fatal(err)
	}
	var check func(s map[string]any, v any, at string) string
	all := func(list any, v any, at string) (right int, first string) {
		for _, s := range list.([]any) {
			if wrong := check(s.(map[string]any), v, at); wrong == "" {
				right++
			} else if first == "" {
				first = wrong
			}
		}
		return right, first
	}
	check = func(s map[string]any, v any, at string) string {
		if d, ok := v.(time.Time); ok { // YAML's dates are text to JSON
			v = d.Format(time.DateOnly)
		}
		if n, ok := v.(int); ok {
			v = float64(n)
		}
		text, isText := v.(string)
		number, isNumber := v.(float64)
		list, isList := v.([]any)
		object, isObject := v.(map[string]any)
		bad := func(keyword string) string { return fmt.Sprintf("%s: %v is against %s %v", at, v, keyword, s[keyword]) }
		for keyword, want := range s {
			ok := true
			wrong := ""
			switch keyword {
			case "$schema", "title", "description", "definitions", "format":
			case "$ref":
				name := strings.TrimPrefix(want.(string), "#/definitions/")
				wrong = check(root["definitions"].(map[string]any)[name].(map[string]any), v, at)
			case "type":
				types, several := want.([]any)
				if !several {
					types = []any{want}
				}
				ok = false
				for _, name := range types {
					_, isBool := v.(bool)
					ok = ok || map[any]bool{
						"string": isText, "number": isNumber, "integer": isNumber && number == float64(int64(number)), "array": isList, "object": isObject,
						"boolean": isBool, "null": v == nil,
					}[name]
				}
			case "enum":
				ok = slices.Contains(want.([]any), v)
			case "const":
				ok = want == v
			case "pattern":
				ok = !isText || regexp.MustCompile(want.(string)).MatchString(text)
			case "minLength":
				ok = !isText || float64(len(text)) >= want.(float64)
			case "minimum":
				ok = !isNumber || number >= want.(float64)
			case "maximum":
				ok = !isNumber || number <= want.(float64)
			case "minItems":
				ok = !isList || float64(len(list)) >= want.(float64)
			case "minProperties":
				ok = !isObject || float64(len(object)) >= want.(float64)
			case "items":
				for i, item := range list {
					if wrong == "" {
						wrong = check(want.(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))
					}
				}
			case "properties":
				for name, sub := range want.(map[string]any) {
					if value, given := object[name]; given && wrong == "" {
						wrong = check(sub.(map[string]any), value, at+"."+name)
					}
				}
			case "additionalProperties":
				known, _ := s["properties"].(map[string]any)
				for name, value := range object {
					if _, given := known[name]; given || wrong != "" {
						continue
					}
					if sub, isSchema := want.(map[string]any); isSchema {
						wrong = check(sub, value, at+"."+name)
					} else if want == false {
						wrong = at + " has no " + name
					}
				}
			case "required":
				for _, name := range want.([]any) {
					_, given := object[name.(string)]
					ok = ok && (!isObject || given)
				}
			case "dependencies":
				for name, needs := range want.(map[string]any) {
					if _, given := object[name]; !given || wrong != "" {
						continue
					}
					if others, isList := needs.([]any); isList {
						needs = map[string]any{"required": others}
					}
					wrong = check(needs.(map[string]any), v, at)
				}
			case "anyOf":
				if right, first := all(want, v, at); right == 0 {
					wrong = first
				}
			case "oneOf":
				right, first := all(want, v, at)
				if right == 0 {
					wrong = first
				}
				ok = right <= 1
			case "not":
				ok = check(want.(map[string]any), v, at) != ""
			default:
				t.Fatalf("the schema has %s, which this test does not know", keyword)
			}
			if wrong != "" {
				return wrong
			}
			if !ok {
				return bad(keyword)
			}
		}
		return ""
	}
	return check(root, v, "$")
}
