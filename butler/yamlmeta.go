package butler

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// tableMeta is what an astropy header in a file's metadata (table_meta_yaml) says.
type tableMeta struct {
	columns map[string]columnMeta
	meta    []*yaml.Node // the table's own meta, an ordered map: one-entry mappings
}

// columnMeta is what an astropy header says of one column.
type columnMeta struct {
	unit, description, format string
	meta                      *yaml.Node // nil when there is none
}

// serializedColumns is the key under which astropy keeps how to put together columns that are not plain arrays.
const serializedColumns = "__serialized_columns__"

// parseTableMeta reads an astropy header.
func parseTableMeta(text string) (*tableMeta, error) {
	root, err := parseYAML([]byte(text))
	if err != nil {
		return nil, err
	}
	if root == nil || root.Kind != yaml.MappingNode {
		return nil, errors.New("no mapping")
	}
	t := &tableMeta{columns: map[string]columnMeta{}}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i].Value, root.Content[i+1]
		switch k {
		case "datatype":
			if v.Kind != yaml.SequenceNode {
				return nil, errors.New("datatype is no list")
			}
			for _, c := range v.Content {
				name, m, err := parseColumnMeta(c)
				if err != nil {
					return nil, err
				}
				t.columns[name] = m
			}
		case "meta":
			t.meta = omapEntries(v)
		}
	}
	return t, nil
}

func parseColumnMeta(c *yaml.Node) (string, columnMeta, error) {
	var m columnMeta
	if c.Kind != yaml.MappingNode {
		return "", m, errors.New("datatype has an entry that is no mapping")
	}
	name, named := "", false
	for j := 0; j+1 < len(c.Content); j += 2 {
		v := c.Content[j+1]
		switch c.Content[j].Value {
		case "name":
			name, named = v.Value, true
		case "unit":
			m.unit = v.Value
			for k := 0; k+1 < len(v.Content); k += 2 { // !astropy.units.Unit {unit: m}
				if v.Content[k].Value == "unit" {
					m.unit = v.Content[k+1].Value
				}
			}
		case "description":
			m.description = v.Value
		case "format":
			m.format = v.Value
		case "meta":
			m.meta = plainTree(v)
		}
	}
	if !named {
		return "", m, errors.New("datatype has an entry without a name")
	}
	return name, m, nil
}

// omapEntries gives the entries of an ordered map, or of a plain one.
func omapEntries(n *yaml.Node) []*yaml.Node {
	n = plainTree(n)
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.SequenceNode:
		var out []*yaml.Node
		for _, e := range n.Content {
			if e.Kind == yaml.MappingNode && len(e.Content) == 2 {
				out = append(out, e)
			}
		}
		return out
	case yaml.MappingNode:
		var out []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			out = append(out, &yaml.Node{Kind: yaml.MappingNode, Content: n.Content[i : i+2]})
		}
		return out
	}
	return nil
}

// plainTree gives n without comments, in flow style, ready to be written again; nil for a tree with anchors or aliases,
// which may stand for much more than they are.
func plainTree(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return nil
	}
	c := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style & yaml.TaggedStyle}
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		c.Style |= yaml.FlowStyle
		if strings.HasPrefix(n.Tag, "!") && n.Tag != "!!map" && n.Tag != "!!seq" {
			c.Style |= yaml.TaggedStyle
		}
	case yaml.ScalarNode:
		c.Style = n.Style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.TaggedStyle)
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			c.Style |= yaml.DoubleQuotedStyle
		}
	}
	for _, x := range n.Content {
		p := plainTree(x)
		if p == nil {
			return nil
		}
		c.Content = append(c.Content, p)
	}
	return c
}

// writeTree writes a tree on one line.
func writeTree(n *yaml.Node) (string, error) {
	b, err := yaml.Marshal(n)
	if err != nil {
		return "", err
	}
	s := strings.TrimSuffix(string(b), "\n")
	if strings.Contains(s, "\n") {
		return "", errors.New("not on one line")
	}
	return s, nil
}

// yamlText writes a text so that a YAML 1.1 parser reads it back as that text.
func yamlText(s string) string {
	if yamlPlain(s) {
		return s
	}
	quotable := utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r > '~' })
	if quotable {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r >= ' ' && r <= '~':
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02X`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// yamlPlain tells whether s may stand unquoted: a word of letters, digits and underscores that no YAML 1.1 parser takes
// for something else.
func yamlPlain(s string) bool {
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isNameByte(s[i]) {
			return false
		}
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return true
}

// yamlColumn is one column of a header to be written.
type yamlColumn struct {
	name, unit, datatype, description, subtype string
	columnMeta                                 // format and meta of a file that astropy wrote itself
}

// writeTableMeta writes an astropy header: what Butler and astropy read units and shapes from. It is written on one line
// a column, as astropy writes it where the line is short enough. Source: astropy.table.meta.get_yaml_from_table.
func writeTableMeta(columns []yamlColumn, meta []*yaml.Node) string {
	var b strings.Builder
	b.WriteString("datatype:")
	if len(columns) == 0 {
		b.WriteString(" []")
	}
	for _, c := range columns {
		b.WriteString("\n- {name: " + yamlText(c.name))
		if c.unit != "" {
			b.WriteString(", unit: " + yamlText(c.unit))
		}
		b.WriteString(", datatype: " + yamlText(c.datatype))
		if c.format != "" {
			b.WriteString(", format: " + yamlText(c.format))
		}
		if c.description != "" {
			b.WriteString(", description: " + yamlText(c.description))
		}
		if c.meta != nil {
			if s, err := writeTree(c.meta); err == nil {
				b.WriteString(", meta: " + s)
			}
		}
		if c.subtype != "" {
			b.WriteString(", subtype: " + yamlText(c.subtype))
		}
		b.WriteString("}")
	}
	first := true
	for _, e := range meta {
		s, err := writeTree(e)
		if err != nil {
			continue
		}
		if first {
			b.WriteString("\nmeta: !!omap")
			first = false
		}
		b.WriteString("\n- " + s)
	}
	return b.String()
}
