package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// syntaxError is a text that is no YAML or no JSON.
type syntaxError struct {
	line     int    // from 1
	language string // "YAML" or "JSON"
	reason   string
}

// parseTree reads a batch file's text: JSON where the name ends in .json, else YAML. The result is nil for a file without content. Every
// node has its line, whichever the language. JSON has a parser of its own: not every JSON text is YAML (tabs, surrogate pairs), and one
// of YAML's own is no JSON.
func parseTree(name string, text []byte) (*yaml.Node, *syntaxError) {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return parseJSON(text)
	}
	return parseYAML(text)
}

func parseYAML(text []byte) (*yaml.Node, *syntaxError) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	err := dec.Decode(&doc)
	if err == nil {
		err = dec.Decode(&next)
		if err == nil {
			return nil, &syntaxError{next.Line, "YAML", "a second document begins here: a batch file is one document"}
		}
		if errors.Is(err, io.EOF) {
			return content(&doc), nil
		}
	}
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	line := yamlErrorLine(text, yamlReason(err))
	reason := yamlReason(err)
	if l := bytes.TrimLeft(lineOf(text, line), " "); bytes.HasPrefix(l, []byte("\t")) {
		reason = "a tab indents this line: YAML takes blanks alone"
	}
	return nil, &syntaxError{line, "YAML", reason}
}

// content is a document's value, nil where there is none.
func content(doc *yaml.Node) *yaml.Node {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil
	}
	if n := doc.Content[0]; n.Kind != yaml.ScalarNode || n.ShortTag() != "!!null" {
		return n
	}
	return nil
}

var yamlErrorPrefix = regexp.MustCompile(`^yaml: (line \d+: )?`)

func yamlReason(err error) string { return yamlErrorPrefix.ReplaceAllString(err.Error(), "") }

// yamlErrorLine finds where the text goes wrong. The parser's own number is that of the construct around it, and often one less. But it
// reads from front to back, so the error is there exactly from the line on that causes it.
func yamlErrorLine(text []byte, reason string) int {
	ends := []int{}
	for i, b := range text {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(ends) == 0 || ends[len(ends)-1] < len(text) {
		ends = append(ends, len(text))
	}
	wrong := func(i int) bool {
		dec := yaml.NewDecoder(bytes.NewReader(text[:ends[i]]))
		for {
			var n yaml.Node
			if err := dec.Decode(&n); err != nil {
				return !errors.Is(err, io.EOF) && yamlReason(err) == reason
			}
		}
	}
	return min(sort.Search(len(ends), wrong)+1, len(ends))
}

func lineOf(text []byte, line int) []byte {
	n := 1
	for l := range bytes.Lines(text) {
		if n == line {
			return l
		}
		n++
	}
	return nil
}

// parseJSON makes the tree that the same values in YAML would give.
func parseJSON(text []byte) (*yaml.Node, *syntaxError) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	r := &jsonReader{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	if at := invalidUTF8(text); at >= 0 {
		return nil, &syntaxError{r.line(at), "JSON", "text that is not UTF-8"}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		line := 1
		if se, ok := errors.AsType[*json.SyntaxError](err); ok {
			line = r.line(max(0, int(se.Offset)-1))
		}
		return nil, &syntaxError{line, "JSON", strings.TrimPrefix(err.Error(), "json: ")}
	}
	r.dec.UseNumber()
	n, err := r.value()
	if err != nil {
		return nil, &syntaxError{r.line(int(r.dec.InputOffset())), "JSON", err.Error()}
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil, nil
	}
	return n, nil
}

func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}

type jsonReader struct {
	text     []byte
	dec      *json.Decoder
	at, seen int // lines before the byte seen: offsets only grow
}

// line is the line of the byte at an offset, which must not be before that of the last call.
func (r *jsonReader) line(offset int) int {
	offset = min(offset, len(r.text))
	if offset > r.seen {
		r.at += bytes.Count(r.text[r.seen:offset], []byte("\n"))
		r.seen = offset
	}
	return r.at + 1
}

// halfPair tells that a string lost something: half a surrogate pair is no character, and the decoder makes U+FFFD of it.
func halfPair(s string, raw []byte) bool {
	return strings.ContainsRune(s, utf8.RuneError) && !bytes.Contains(raw, []byte(string(utf8.RuneError))) && !bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`))
}

// next is the next token and its line.
func (r *jsonReader) next() (json.Token, int, error) {
	from := int(r.dec.InputOffset())
	for from < len(r.text) && strings.IndexByte(" \t\r\n:,", r.text[from]) >= 0 {
		from++
	}
	line := r.line(from)
	tok, err := r.dec.Token()
	if s, ok := tok.(string); ok && err == nil && halfPair(s, r.text[from:r.dec.InputOffset()]) {
		err = errors.New(`\u with half a surrogate pair is no character`)
	}
	return tok, line, err
}

func (r *jsonReader) value() (*yaml.Node, error) {
	tok, line, err := r.next()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: line}
	switch v := tok.(type) {
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(v)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case json.Delim:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if v == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for r.dec.More() { // keys and values in turn, in a mapping
			item, err := r.value()
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		if _, _, err := r.next(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// resolved follows an alias to what it stands for. An alias of an alias can't be written.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// pair is one key of a mapping with its value. The line is that of the key.
type pair struct {
	key   string
	line  int
	value *yaml.Node
}

// kindOf says for people what a value is.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return "text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "a date"
	}
	return "of the type " + n.ShortTag()
}

// pairs are the keys of a mapping in the file's order, what it merges (<<) included: its own keys come first, then those of what is
// merged, as YAML has it. Keys that are wrong in themselves are told as problems.
func (r *batchReader) pairs(n *yaml.Node) []pair {
	var all []pair
	first := map[string]int{}
	merged := map[*yaml.Node]bool{n: true} // each once: the second time, and in a circle, it has nothing to add
	var add func(n *yaml.Node)
	add = func(n *yaml.Node) {
		var merges []*yaml.Node
		here := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := resolved(n.Content[i]), n.Content[i+1]
			line := n.Content[i].Line
			if k.Kind != yaml.ScalarNode {
				r.problem(line, "key", "a key is a word, not %s", kindOf(k))
				continue
			}
			if k.ShortTag() == "!!merge" {
				merges = append(merges, v)
				continue
			}
			if before, twice := here[k.Value]; twice {
				r.problem(line, k.Value, "is there already, in line %d", before)
				continue
			}
			here[k.Value] = line
			if _, overridden := first[k.Value]; !overridden {
				first[k.Value] = line
				all = append(all, pair{k.Value, line, v})
			}
		}
		for _, v := range merges {
			list := []*yaml.Node{v}
			if s := resolved(v); s.Kind == yaml.SequenceNode {
				list = s.Content
			}
			for _, m := range list {
				m, line := resolved(m), m.Line
				if m.Kind != yaml.MappingNode {
					r.problem(line, "<<", "is %s: a mapping, or a list of them, can be merged", kindOf(m))
				} else if !merged[m] {
					merged[m] = true
					add(m)
				}
			}
		}
	}
	add(n)
	return all
}

var variable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand puts environment variables in the place of ${NAME}. $${ stands for ${ itself; every other dollar for itself, so that a query's
// $1 and $$ stay. A variable that is empty is like one that is not set, because a path without its directory is another path.
func expand(s string, getenv func(string) string) (text string, expanded bool, err error) {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$${"):
			b.WriteString("${")
			i += 3
		case strings.HasPrefix(s[i:], "${"):
			m := variable.FindStringSubmatch(s[i:])
			if m == nil {
				return "", false, errors.New("${ is not followed by a variable's name and }; $${ stands for ${ itself")
			}
			v := getenv(m[1])
			if v == "" {
				return "", false, fmt.Errorf("the environment variable %s is not set, or empty", m[1])
			}
			b.WriteString(v)
			expanded = true
			i += len(m[0])
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String(), expanded, nil
}

// unknownKey says what a key that is not known may have been meant as.
func unknownKey(key string, known []string) string {
	if near := nearest(key, known); near != "" {
		return "unknown key; did you mean " + near + "?"
	}
	words := slices.Sorted(slices.Values(known))
	return "unknown key; known are " + strings.Join(words, ", ")
}
