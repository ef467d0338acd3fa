package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
)

// flags is a command's flag set with its flags in groups, as help and docs/cli.md show them.
type flags struct {
	*pflag.FlagSet
	groups []flagGroup
	typed  []typedFlag
	takes  []string // names of the arguments that the command takes, all of them needed
}

// A flag's usage is "`FORM` text", where FORM stands for its value in help; that of a switch is the text alone.

// typedFlag is a flag with what was typed for it.
type typedFlag struct {
	flag  *pflag.Flag
	value string
}

type flagGroup struct {
	title string
	flags []*pflag.Flag
}

func newFlags(name string) *flags {
	f := &flags{FlagSet: pflag.NewFlagSet(name, pflag.ContinueOnError)}
	f.SortFlags = false
	f.FlagSet.Usage = func() {}
	return f
}

// group begins a group: the flags that are added from here on.
func (f *flags) group(title string) { f.groups = append(f.grouped(), flagGroup{title: title}) }

// given are the flags of a group as they were typed.
func (f *flags) given(group string) []string {
	var all []string
	for _, g := range f.grouped() {
		for _, t := range f.typed {
			switch {
			case g.title != group || !slices.Contains(g.flags, t.flag):
			case isSwitch(t.flag) && t.value == "true":
				all = append(all, "--"+t.flag.Name)
			case isSwitch(t.flag):
				all = append(all, "--"+t.flag.Name+"="+t.value)
			default:
				all = append(all, "--"+t.flag.Name+" "+quoteArg(t.value))
			}
		}
	}
	return all
}

// addHelp adds the flag that every command has. It goes last.
func (f *flags) addHelp(help *bool) {
	f.group("Help")
	f.BoolVarP(help, "help", "h", *help, "print this and stop")
}

// grouped returns the groups with their flags, in the order in which they were added.
func (f *flags) grouped() []flagGroup {
	taken := map[string]bool{}
	for _, g := range f.groups {
		for _, fl := range g.flags {
			taken[fl.Name] = true
		}
	}
	f.VisitAll(func(fl *pflag.Flag) {
		if !taken[fl.Name] && len(f.groups) > 0 {
			last := &f.groups[len(f.groups)-1]
			last.flags = append(last.flags, fl)
		}
	})
	return f.groups
}

// parse reads the arguments; none may be left over but those that the command takes. Its errors name the flag and quote nothing that may be a secret.
func (f *flags) parse(args []string) error {
	err := f.ParseAll(args, func(fl *pflag.Flag, value string) error {
		f.typed = append(f.typed, typedFlag{fl, value})
		return f.Set(fl.Name, value)
	})
	var (
		invalid *pflag.InvalidValueError
		unknown *pflag.NotExistError
		lacks   *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &invalid):
		if ue, ok := errors.AsType[*usageError](invalid.Unwrap()); ok {
			return usagef(ue.hint, "--%s %s: %s", invalid.GetFlag().Name, quoteArg(invalid.GetValue()), ue.msg)
		}
		if own, ok := errors.AsType[*ownWords](invalid.Unwrap()); ok {
			return usagef("", "--%s: %v", invalid.GetFlag().Name, own)
		}
		return usagef("", "--%s %s: %v", invalid.GetFlag().Name, quoteArg(invalid.GetValue()), invalid.Unwrap())
	case errors.As(err, &unknown):
		return f.unknown(unknown)
	case errors.As(err, &lacks):
		return usagef("", "--%s needs a value", lacks.GetFlag().Name)
	case err != nil:
		return usagef("", "%v", err)
	}
	if rest := f.Args(); len(rest) > len(f.takes) {
		rest = rest[len(f.takes):]
		hint := "every setting is a flag: " + f.help() + " lists them"
		if near := nearest(rest[0], f.names()); near != "" {
			hint = "did you mean --" + near + "?"
		}
		return usagef(hint, "unexpected argument %s", quoteArg(rest[0]))
	}
	return nil
}

// atMostOne tells whether one of the flags was given, and refuses more.
func (f *flags) atMostOne(names ...string) (given bool, err error) {
	var all []string
	for _, name := range names {
		if f.Changed(name) {
			all = append(all, "--"+name)
		}
	}
	if len(all) > 1 {
		return true, usagef("", "%s: only one of them at a time", strings.Join(all, " and "))
	}
	return len(all) == 1, nil
}

// help is what prints the command's flags.
func (f *flags) help() string {
	return strings.Join(strings.Fields("fast-export "+f.Name()+" --help"), " ")
}

func (f *flags) unknown(e *pflag.NotExistError) error {
	name, shown := e.GetSpecifiedName(), "--"+e.GetSpecifiedName()
	if short := e.GetSpecifiedShortnames(); short != "" { // -table is read as -t -a -b -l -e
		name, shown = short, "-"+short
		if i := strings.IndexByte(short, '='); i >= 0 {
			name, shown = short[:i], "-"+short[:i]
		}
	}
	hint := f.help() + " lists the flags"
	if near := nearest(name, f.names()); near != "" {
		hint = "did you mean --" + near + "?"
	}
	return usagef(hint, "unknown flag %s", shown)
}

func (f *flags) names() []string {
	var names []string
	f.VisitAll(func(fl *pflag.Flag) { names = append(names, fl.Name) })
	return names
}

// quoteArg shows an argument in an error, unless it may hold a password.
func quoteArg(s string) string {
	switch {
	case isDSN(s):
		return "(a connection string)"
	case len(s) > 200:
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
		return strconv.Quote(s)
	}
	return s
}

// usageError is something wrong with what the user typed.
type usageError struct{ msg, hint string }

func (e *usageError) Error() string { return e.msg }

func usagef(hint, format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...), hint: hint}
}

// size is a number of bytes with or without a unit.
type size struct {
	bytes    *int64
	min, max int64
}

func (s size) Set(v string) error {
	n, err := humanize.ParseBytes(v)
	if err != nil || strings.ContainsAny(v, "-+") {
		return usagef("512MiB, 1GB, or bytes without a unit", "not a size")
	}
	switch {
	case n <= math.MaxInt64 && int64(n) >= s.min && (s.max == 0 || int64(n) <= s.max):
	case s.max > 0:
		return usagef("", "out of range: from %s to %s", sizeText(s.min), sizeText(s.max))
	case n > math.MaxInt64:
		return usagef("", "out of range: less than 8EiB")
	default:
		return usagef("", "out of range: from %s up", sizeText(s.min))
	}
	*s.bytes = int64(n)
	return nil
}

func (s size) String() string {
	if s.bytes == nil || *s.bytes == 0 {
		return ""
	}
	return sizeText(*s.bytes)
}

func (size) Type() string { return "size" }

// sizeText writes a size without losing anything: in the largest unit that divides it.
func sizeText(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// count is a whole number within bounds.
type count struct {
	n        *int64
	min, max int64
}

func (c count) Set(v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return usagef("", "not a whole number")
	}
	if err != nil || n < c.min || n > c.max {
		return usagef("", "out of range: from %d to %d", c.min, c.max)
	}
	*c.n = n
	return nil
}

func (c count) String() string {
	if c.n == nil {
		return ""
	}
	return strconv.FormatInt(*c.n, 10)
}

func (count) Type() string { return "n" }

// timeout is a duration within what Postgres takes for its timeouts, or 0.
type timeout struct{ d *time.Duration }

// maxTimeout is the largest of the server's timeouts: milliseconds in an int32.
const maxTimeout = math.MaxInt32 * time.Millisecond

func (t timeout) Set(v string) error {
	d, err := time.ParseDuration(v)
	if err != nil {
		return usagef("60s, 5m, 1h30m", "not a duration with its unit")
	}
	if d < 0 || d > maxTimeout || d > 0 && d < time.Millisecond {
		return usagef("", "out of range: 0 (wait for ever), or from 1ms to %s", maxTimeout.Truncate(time.Hour))
	}
	*t.d = d
	return nil
}

func (t timeout) String() string {
	if t.d == nil {
		return ""
	}
	return shortDuration(*t.d)
}

func (timeout) Type() string { return "duration" }

// shortDuration is d as people write it: 60s, 5m.
func shortDuration(d time.Duration) string {
	if d > 0 && d <= 2*time.Minute && d%time.Second == 0 {
		return strconv.Itoa(int(d.Seconds())) + "s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

// ports is one port, or one a host with commas.
type ports struct{ s *string }

func (p ports) Set(v string) error {
	for _, one := range strings.Split(v, ",") {
		n, err := strconv.ParseUint(one, 10, 16)
		if (err != nil || n == 0) && (one != "" || v == "") {
			return usagef("", "out of range: a port is a number from 1 to 65535")
		}
	}
	*p.s = v
	return nil
}

func (p ports) String() string {
	if p.s == nil {
		return ""
	}
	return *p.s
}

func (ports) Type() string { return "port" }

// choice is one of a few words.
type choice struct {
	s     *string
	among []string
}

func (c choice) Set(v string) error {
	for _, a := range c.among {
		if v == a {
			*c.s = v
			return nil
		}
	}
	hint := ""
	if near := nearest(v, c.among); near != "" {
		hint = "did you mean " + near + "?"
	}
	return usagef(hint, "none of %s", strings.Join(c.among, ", "))
}

func (c choice) String() string {
	if c.s == nil {
		return ""
	}
	return *c.s
}

func (c choice) Type() string { return strings.Join(c.among, "|") }

// parsed is a value that a package of ours reads: what it refuses names what is right.
type parsed[T any] struct {
	value *T
	parse func(string) (T, error)
	def   string // as a user would write the default
	form  string // as help shows it
}

func (p parsed[T]) Set(v string) error {
	t, err := p.parse(v)
	if err != nil {
		return &ownWords{err}
	}
	*p.value = t
	return nil
}

func (p parsed[T]) String() string { return p.def }
func (p parsed[T]) Type() string   { return p.form }

// ownWords is an error that names the value itself.
type ownWords struct{ error }

// list gathers the values of a flag that may stand several times.
type list struct {
	values *[]string
	add    func(string) ([]string, error)
	form   string
}

func (l list) Set(v string) error {
	more, err := l.add(v)
	if err != nil {
		return err
	}
	*l.values = append(*l.values, more...)
	return nil
}

func (l list) String() string { return "" }
func (l list) Type() string   { return l.form }

// splitNames cuts a list of names as SQL writes them at its commas, those within double quotes excepted.
func splitNames(v string) ([]string, error) {
	var names []string
	rest := v
	for {
		end, quoted := 0, false
		for ; end < len(rest) && (quoted || rest[end] != ','); end++ {
			quoted = quoted != (rest[end] == '"') // a doubled quote flips twice
		}
		if quoted {
			return nil, usagef("", "a double quote is not closed")
		}
		name := strings.TrimSpace(rest[:end])
		if name == "" {
			return nil, usagef("", "a name is empty")
		}
		names = append(names, name)
		if end == len(rest) {
			return names, nil
		}
		rest = rest[end+1:]
	}
}
