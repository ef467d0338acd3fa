package cli

import (
	"fmt"
	"strings"

	"fast-export/typemap"
)

// typeOptions say what values become.
type typeOptions struct {
	opt     typemap.Options
	columns []string // "name=type", for help and docs alone
	changed func(flag string) bool
}

func (o *typeOptions) addFlags(f *flags) {
	t := &o.opt
	o.changed = f.Changed
	f.Var(parsed[typemap.Numeric]{&t.Numeric, typemap.ParseNumeric, "float64", "choice"}, "numeric",
		"`float64|strict|text|decimal(p,s)` numeric without precision; strict stops at the first value that float64 changes")
	f.Var(parsed[typemap.Nonfinite]{&t.Nonfinite, typemap.ParseNonfinite, "error", "choice"}, "numeric-nonfinite",
		"`error|null|text` NaN and infinities in decimal columns")
	f.Var(parsed[typemap.Infinity]{&t.Infinity, typemap.ParseInfinity, "error", "choice"}, "infinity",
		"`error|null|clamp|text` infinite dates and times")
	f.Var(parsed[typemap.InvalidUTF8]{&t.InvalidUTF8, typemap.ParseInvalidUTF8, "error", "choice"}, "invalid-utf8",
		"`error|replace|binary` text that is not UTF-8")
	f.Var(parsed[typemap.IntervalForm]{&t.Interval, typemap.ParseInterval, "struct", "choice"}, "interval",
		"`struct|duration` intervals; a duration where it is exact")
	f.Var(parsed[typemap.RangeForm]{&t.Ranges, typemap.ParseRanges, "struct", "choice"}, "ranges",
		"`struct|text` ranges and multiranges")
	f.BoolVar(&t.TrimBpchar, "trim-bpchar", false, "cut the padding off char(n)")
	f.Var(list{&o.columns, o.column, "column=type"}, "type",
		"`COLUMN=TYPE` one column's own choice, its name as SQL writes it: text, float64, strict, decimal(p,s), struct or duration; may be given again")
	f.Var(parsed[typemap.TypeMap]{&t.TypeMap, typemap.ParseTypeMap, "exact", "choice"}, "type-map",
		"`exact|ddpp` ddpp gives every column the type that the older tool gave it")
}

// column takes one --type: a column's name as SQL writes it, and its type.
func (o *typeOptions) column(v string) ([]string, error) {
	name, kind, err := cutName(v, "type")
	if err != nil {
		return nil, err
	}
	if err := typemap.CheckColumnType(kind); err != nil {
		return nil, err
	}
	if before, ok := o.opt.Columns[name]; ok && before != kind {
		return nil, fmt.Errorf("the column is %s already", before)
	}
	if o.opt.Columns == nil {
		o.opt.Columns = map[string]string{}
	}
	o.opt.Columns[name] = kind
	return []string{v}, nil
}

// cutName splits name=what. A name in double quotes is taken as it is, another is folded as SQL folds it.
func cutName(v, what string) (name, kind string, err error) {
	if rest, ok := strings.CutPrefix(v, `"`); ok {
		for i := 0; i < len(rest); i++ {
			if rest[i] != '"' {
				continue
			}
			if i+1 < len(rest) && rest[i+1] == '"' {
				i++
				continue
			}
			name, kind = strings.ReplaceAll(rest[:i], `""`, `"`), rest[i+1:]
			break
		}
		kind, ok = strings.CutPrefix(kind, "=")
		if !ok || name == "" {
			return "", "", usagef("", `not of the form "Column"=%s`, what)
		}
		return name, kind, nil
	}
	name, kind, ok := strings.Cut(v, "=")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return "", "", usagef("", "not of the form column=%s", what)
	}
	return foldASCII(name), strings.TrimSpace(kind), nil
}

// foldASCII folds a name without quotes as the server does: whatever the encoding, A to Z.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// mapped are the settings that a type map decides, by their keys in batch files. ok tells whether the options say the same as ddpp.
var mapped = []struct {
	name string
	ok   func(o *typemap.Options) bool
}{
	{"numeric", func(o *typemap.Options) bool { return o.Numeric == typemap.Numeric{} }},
	{"interval", func(o *typemap.Options) bool { return o.Interval == typemap.IntervalDuration }},
	{"ranges", func(o *typemap.Options) bool { return o.Ranges == typemap.RangeText }},
}

// options are what was asked for, unless it is a contradiction.
func (o *typeOptions) options() (typemap.Options, error) {
	if o.opt.TypeMap == typemap.DDPP {
		for _, m := range mapped {
			if o.changed(m.name) && !m.ok(&o.opt) {
				return o.opt, usagef("--type says it for single columns", "--type-map ddpp and --%s contradict each other", m.name)
			}
		}
	}
	return o.opt, nil
}
