package cli

import (
	"fmt"
	"strings"

	"fast-export/parquetw"
)

// encodingOptions say how values are laid out.
type encodingOptions struct {
	all     parquetw.Encoding
	said    bool // all was given
	columns map[string]parquetw.Encoding
	typed   []string // what was given, for help and docs alone
}

// overall are the encodings that every column can be asked for at once.
var overall = []string{"auto", "plain", "dictionary"}

func (o *encodingOptions) addFlags(f *flags) {
	f.Var(list{&o.typed, o.add, "encoding"}, "encoding",
		"`[COLUMN=]ENCODING` how values are laid out: auto (default), plain or dictionary; COLUMN=ENCODING is one column's own choice, byte_stream_split (floats) and delta (integers, dates, times, text, bytes) too; may be given again")
}

// add takes one --encoding.
func (o *encodingOptions) add(v string) ([]string, error) {
	if !strings.Contains(v, "=") {
		e, err := overallEncoding(v)
		if err != nil {
			return nil, &ownWords{err}
		}
		if o.said && o.all != e {
			return nil, fmt.Errorf("it is %s already", o.all)
		}
		o.all, o.said = e, true
		return []string{v}, nil
	}
	name, text, err := cutName(v, "encoding")
	if err != nil {
		return nil, err
	}
	e, err := parquetw.ParseEncoding(text)
	if err != nil {
		return nil, err
	}
	if before, ok := o.columns[name]; ok && before != e {
		return nil, fmt.Errorf("the column is %s already", before)
	}
	if o.columns == nil {
		o.columns = map[string]parquetw.Encoding{}
	}
	o.columns[name] = e
	return []string{v}, nil
}

// overallEncoding reads an encoding that is meant for every column.
func overallEncoding(v string) (parquetw.Encoding, error) {
	e, err := parquetw.ParseEncoding(v)
	switch {
	case err != nil:
		return e, fmt.Errorf("encoding %q is none of %s; COLUMN=ENCODING is for one column", v, strings.Join(overall, ", "))
	case e > parquetw.Dictionary:
		return e, fmt.Errorf("encoding %s is for single columns, which can have it: COLUMN=%s; for all there are %s", v, v, strings.Join(overall, ", "))
	}
	return e, nil
}

// foldedNames cuts a list of names as SQL writes them and folds those without quotes.
func foldedNames(v string) ([]string, error) {
	names, err := splitNames(v)
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		name, rest, err := cutName(n+"=", "encoding")
		if err != nil || rest != "" {
			return nil, usagef("", "%s is no column's name as SQL writes it", quoteArg(n))
		}
		names[i] = name
	}
	return names, nil
}
