package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/export"
)

// schemaOf is the JSON Schema of a struct: what has no omitempty is required, and the doc tags are descriptions.
func schemaOf(t *testing.T, rt reflect.Type) schema {
	t.Helper()
	switch {
	case rt == reflect.TypeFor[time.Time]():
		return schema{"type": "string", "format": "date-time"}
	case rt.Kind() == reflect.Struct:
		properties, required := schema{}, []string{}
		for i := range rt.NumField() {
			f := rt.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			about := f.Tag.Get("doc")
			if name == "" || about == "" {
				t.Fatalf("%s.%s lacks a json or a doc tag", rt, f.Name)
			}
			s := schemaOf(t, f.Type)
			s["description"] = about
			properties[name] = s
			if options != "omitempty" {
				required = append(required, name)
			}
		}
		return schema{"type": "object", "properties": properties, "required": required}
	}
	switch rt.Kind() {
	case reflect.Slice:
		return schema{"type": "array", "items": schemaOf(t, rt.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": schemaOf(t, rt.Elem())}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Float64:
		return schema{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return schema{"type": "integer", "minimum": 0}
	}
	t.Fatalf("a schema of %s is not known", rt)
	return nil
}

func manifestSchema(t *testing.T) schema {
	return manifestSchemaOf(t, reflect.TypeFor[export.Manifest](), "fast-export manifest")
}

func butlerManifestSchema(t *testing.T) schema {
	return manifestSchemaOf(t, reflect.TypeFor[export.CatalogManifest](), "fast-export butler manifest")
}

func manifestSchemaOf(t *testing.T, rt reflect.Type, title string) schema {
	t.Helper()
	s := schemaOf(t, rt)
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = title
	s["properties"].(schema)["manifest_version"].(schema)["const"] = export.ManifestVersion
	return s
}

func TestManifestSchemaDocument(t *testing.T) {
	document(t, "manifest.schema.json", jsonText(t, manifestSchema(t)))
	document(t, "butler-manifest.schema.json", jsonText(t, butlerManifestSchema(t)))
}

// docs/manifest.md lists the fields under the JSON paths by which jq finds them.
func TestManifestDocument(t *testing.T) {
	fieldTable(t, "manifest.md", reflect.TypeFor[export.Manifest]())
	fieldTableAt(t, "manifest.md", "<!-- generated: butler -->", reflect.TypeFor[export.CatalogManifest]())
}

// fieldTable keeps the table of a struct's fields in a document.
func fieldTable(t *testing.T, doc string, rt reflect.Type) {
	t.Helper()
	fieldTableAt(t, doc, "<!-- generated -->", rt)
}

// fieldTableAt is for a document with several tables, each behind its own mark.
func fieldTableAt(t *testing.T, doc, mark string, rt reflect.Type) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", doc))
	if err != nil {
		t.Fatal(err)
	}
	table := "| field | meaning |\n|---|---|\n"
	var list func(rt reflect.Type, prefix string)
	list = func(rt reflect.Type, prefix string) {
		for i := range rt.NumField() {
			f := rt.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			inner, path := f.Type, prefix+"."+name
			if inner.Kind() == reflect.Slice {
				inner, path = inner.Elem(), path+"[]"
			}
			table += fmt.Sprintf("| `%s` | %s |\n", path, strings.ReplaceAll(f.Tag.Get("doc"), "|", `\|`))
			if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
				list(inner, path)
			}
		}
	}
	list(rt, "")
	before, rest, ok := strings.Cut(string(text), mark+"\n")
	_, after, ended := strings.Cut(rest, "<!-- end -->")
	if !ok || !ended {
		t.Fatalf("docs/%s has no place for the fields", doc)
	}
	document(t, doc, before+mark+"\n"+table+"<!-- end -->"+after)
}

// A manifest is what its schema says, and the schema does not say yes to everything.
func TestManifestSchemaAgrees(t *testing.T) {
	t.Parallel()
	conn, err := pgx.ParseConfig("host=h dbname=d user=u")
	if err != nil {
		t.Fatal(err)
	}
	m := export.NewManifest(export.Config{Conn: conn}, &export.Result{Started: time.Now(), Files: []export.File{
		{Path: "a", SHA256: "00", Columns: []export.Column{{Name: "x"}}, Job: &export.Job{CommonTypes: map[string]string{"x": "text"}}},
		{Path: "b", Err: errors.New("failed")},
	}}, reasonOf)
	text := jsonText(t, manifestSchema(t))
	check := func(change func(map[string]any)) string {
		var v map[string]any
		if err := json.Unmarshal([]byte(jsonText(t, m)), &v); err != nil {
			t.Fatal(err)
		}
		change(v)
		return validate(t, text, v)
	}
	if wrong := check(func(map[string]any) {}); wrong != "" {
		t.Error(wrong)
	}
	for name, change := range map[string]func(map[string]any){
		"a version": func(v map[string]any) { v["manifest_version"] = 2 },
		"no files":  func(v map[string]any) { delete(v, "files") },
		"rows": func(v map[string]any) {
			v["files"].([]any)[0].(map[string]any)["rows"] = -1
		},
		"warnings": func(v map[string]any) { v["warnings"] = nil },
		"types":    func(v map[string]any) { v["files"].([]any)[0].(map[string]any)["types"] = "exact" },
		"snapshot": func(v map[string]any) { delete(v["snapshot"].(map[string]any), "pg_current_snapshot") },
	} {
		if check(change) == "" {
			t.Errorf("%s: the schema says yes to it", name)
		}
	}
}
