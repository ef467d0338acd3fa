package butler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Bounds on what a configuration may make us do: a real one has some thousand nodes and a handful of files, a hostile
// one has aliases of aliases or includes itself.
const (
	maxConfigFileBytes = 64 << 20
	maxConfigNodes     = 1 << 20
	maxConfigFiles     = 256
	maxConfigDepth     = 64
)

// treeLoader turns YAML and JSON files into trees of map[string]any, []any and scalars, following !include tags and
// includeConfigs keys as lsst/daf/butler/_config.py does.
type treeLoader struct {
	getenv func(string) string
	nodes  int
	files  int
	paths  []string // of all files that were read
	open   []string // the files that are being read, each included by the one before it
}

// fileError says which file an error is about: the innermost of those that include each other.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// load reads one configuration file. Includes are resolved against the file's own directory.
func (l *treeLoader) load(path string, depth int) (any, error) {
	l.files++
	if l.files > maxConfigFiles {
		return nil, fmt.Errorf("more than %d files are included", maxConfigFiles)
	}
	if slices.Contains(l.open, path) {
		return nil, fmt.Errorf("%s includes itself", path)
	}
	l.open = append(l.open, path)
	l.paths = append(l.paths, path)
	defer func() { l.open = l.open[:len(l.open)-1] }()
	text, err := readConfigFile(path)
	if err != nil {
		return nil, err // it names the file
	}
	tree, err := l.parse(text, path, depth)
	if err == nil {
		tree, err = l.includeConfigs(tree, filepath.Dir(path), depth)
	}
	if inner := (*fileError)(nil); err != nil && !errors.As(err, &inner) {
		err = &fileError{path, err}
	}
	return tree, err
}

// readConfigFile reads a regular file of a bounded size: a FIFO would block for ever.
func readConfigFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfigFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxConfigFileBytes)
	}
	return text, nil
}

// parse reads YAML, or JSON when path ends so. path is where includes start from.
func (l *treeLoader) parse(text []byte, path string, depth int) (any, error) {
	if strings.HasSuffix(path, ".json") {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var tree any
		if err := dec.Decode(&tree); err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		return tree, nil
	}
	doc, err := parseYAML(text)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return map[string]any{}, nil
	}
	return l.tree(doc, path, depth, nil)
}

// parseYAML gives the first document's root, or nil for an empty text. The library panics on some malformed input, which
// is not our bug: it is reported as the syntax error that it is.
func parseYAML(text []byte) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("not YAML: %v", r)
		}
	}()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: "))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// tree converts one node. open holds the aliased nodes that are being expanded, so that an alias to its own ancestor is
// an error and not an endless loop.
func (l *treeLoader) tree(n *yaml.Node, path string, depth int, open []*yaml.Node) (any, error) {
	l.nodes++
	if l.nodes > maxConfigNodes {
		return nil, fmt.Errorf("more than %d values", maxConfigNodes)
	}
	if depth > maxConfigDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxConfigDepth)
	}
	if n.Tag == "!include" {
		return l.include(n, path, depth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		for _, o := range open {
			if o == n.Alias {
				return nil, fmt.Errorf("line %d: alias %s contains itself", n.Line, n.Value)
			}
		}
		return l.tree(n.Alias, path, depth+1, append(open, n.Alias))
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		if err := l.mapping(m, n, path, depth, open, true); err != nil {
			return nil, err
		}
		return m, nil
	case yaml.SequenceNode:
		s := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := l.tree(c, path, depth+1, open)
			if err != nil {
				return nil, err
			}
			s[i] = v
		}
		return s, nil
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return nil, nil
		case "!!bool":
			return strings.EqualFold(n.Value, "true"), nil
		}
		// Numbers too stay text: whoever wants a number knows so, and a password made of digits must keep its zeros.
		return n.Value, nil
	}
	return nil, fmt.Errorf("line %d: unexpected YAML node", n.Line)
}

// mapping fills m from n. Keys that n writes itself win over what << merges in.
func (l *treeLoader) mapping(m map[string]any, n *yaml.Node, path string, depth int, open []*yaml.Node, own bool) error {
	if len(n.Content)%2 != 0 {
		return fmt.Errorf("line %d: mapping with a key and no value", n.Line)
	}
	var merges []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a key that is no plain text", k.Line)
		}
		if _, there := m[k.Value]; there && !own {
			continue
		}
		t, err := l.tree(v, path, depth+1, open)
		if err != nil {
			return err
		}
		m[k.Value] = t
	}
	for _, v := range merges {
		if err := l.merge(m, v, path, depth+1, open); err != nil {
			return err
		}
	}
	return nil
}

func (l *treeLoader) merge(m map[string]any, v *yaml.Node, path string, depth int, open []*yaml.Node) error {
	l.nodes++
	if depth > maxConfigDepth || l.nodes > maxConfigNodes {
		return fmt.Errorf("line %d: << nested too deeply", v.Line)
	}
	switch v.Kind {
	case yaml.AliasNode:
		for _, o := range open {
			if o == v.Alias {
				return fmt.Errorf("line %d: alias %s contains itself", v.Line, v.Value)
			}
		}
		return l.merge(m, v.Alias, path, depth, append(open, v.Alias))
	case yaml.MappingNode:
		return l.mapping(m, v, path, depth, open, false)
	case yaml.SequenceNode:
		for _, c := range v.Content {
			if err := l.merge(m, c, path, depth+1, open); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("line %d: << needs a mapping", v.Line)
}

// include replaces an !include tag: the name of a file, a list of names, or a map to names. Names without a scheme are
// relative to the including file.
func (l *treeLoader) include(n *yaml.Node, path string, depth int) (any, error) {
	file := func(name string) (any, error) {
		p, err := localFile(name)
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(p) {
			p = filepath.Join(filepath.Dir(path), p)
		}
		return l.load(p, depth+1)
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return file(n.Value)
	case yaml.SequenceNode:
		s := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := file(c.Value)
			if err != nil {
				return nil, err
			}
			s[i] = v
		}
		return s, nil
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := file(n.Content[i+1].Value)
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = v
		}
		return m, nil
	}
	return nil, fmt.Errorf("line %d: !include needs a file name", n.Line)
}

// includeConfigs replaces the key includeConfigs wherever it stands by the content of the files that it names. They are
// looked for in the current directory and then in dir; later files win over earlier ones, and what is written beside
// the key wins over all of them.
func (l *treeLoader) includeConfigs(tree any, dir string, depth int) (any, error) {
	if depth > maxConfigDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxConfigDepth)
	}
	switch t := tree.(type) {
	case map[string]any:
		for k, v := range t {
			if k == "includeConfigs" {
				continue
			}
			r, err := l.includeConfigs(v, dir, depth+1)
			if err != nil {
				return nil, err
			}
			t[k] = r
		}
		inc, there := t["includeConfigs"]
		if !there {
			return t, nil
		}
		delete(t, "includeConfigs")
		names, ok := inc.([]any)
		if !ok {
			names = []any{inc}
		}
		merged := map[string]any{}
		for _, n := range names {
			name, ok := n.(string)
			if !ok {
				return nil, errors.New("includeConfigs needs names of files")
			}
			p, err := l.findInclude(expandVars(name, l.getenv), dir)
			if err != nil {
				return nil, err
			}
			sub, err := l.load(p, depth+1)
			if err != nil {
				return nil, err
			}
			m, ok := sub.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("%s, included, is no mapping", p)
			}
			update(merged, m)
		}
		update(merged, t)
		return merged, nil
	case []any:
		for i, v := range t {
			r, err := l.includeConfigs(v, dir, depth+1)
			if err != nil {
				return nil, err
			}
			t[i] = r
		}
	}
	return tree, nil
}

func (l *treeLoader) findInclude(name, dir string) (string, error) {
	p, err := localFile(name)
	if err != nil {
		return "", err
	}
	if filepath.IsAbs(p) {
		return p, nil
	}
	for _, d := range []string{".", dir} {
		if at := filepath.Join(d, p); isFile(at) {
			return filepath.Abs(at)
		}
	}
	return "", fmt.Errorf("includeConfigs: no file %s in the current directory or in %s", quoteName(name), dir)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// update merges u into d, maps into maps, as Config.update does.
func update(d, u map[string]any) {
	for k, v := range u {
		if um, ok := v.(map[string]any); ok {
			dm, ok := d[k].(map[string]any)
			if !ok {
				dm = map[string]any{}
			}
			update(dm, um)
			d[k] = dm
			continue
		}
		d[k] = v
	}
}

// text gives a scalar as the text that was written, "" for nothing.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return ""
}

// section gives the map under key, unwrapping repeated nesting such as datastore: {datastore: {…}}.
func section(m map[string]any, key string) (map[string]any, error) {
	v, there := m[key]
	if !there || v == nil {
		return map[string]any{}, nil
	}
	for range maxConfigDepth {
		s, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is no mapping", key)
		}
		inner, there := s[key].(map[string]any)
		if !there {
			return s, nil
		}
		v = inner
	}
	return nil, fmt.Errorf("%s is nested deeper than %d levels", key, maxConfigDepth)
}
