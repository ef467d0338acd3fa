package typemap

import (
	"fmt"
	"strconv"
	"strings"
)

// Transport is the form in which COPY carries the rows.
type Transport uint8

// The transports. Both give the same batches for the same rows.
const (
	CSV    Transport = iota // COPY … (FORMAT csv), with the defaults for everything else
	Binary                  // COPY … (FORMAT binary)
)

func (t Transport) String() string { return [...]string{"csv", "binary"}[t] }

// TypeMap is the rule by which types are chosen.
type TypeMap uint8

// The type maps.
const (
	Exact TypeMap = iota // the table of docs/types.md
	DDPP                 // the old tool's schema: few types, text for the rest, every field nullable
)

// NumericMode is what a numeric without precision becomes.
type NumericMode uint8

// The numeric modes.
const (
	NumericFloat64 NumericMode = iota // the nearest float64; what its shortest decimal does not give back is counted
	NumericStrict                     // a float64 whose shortest decimal is another number is an error
	NumericText
	NumericDecimal // of Numeric.Precision and Scale; what does not fit is an error
)

// Numeric is the choice for numerics without precision.
type Numeric struct {
	Mode             NumericMode
	Precision, Scale int // of NumericDecimal
}

// Nonfinite is what happens to NaN and the infinities in a decimal column.
type Nonfinite uint8

// The choices for numbers that no decimal can be.
const (
	NonfiniteError Nonfinite = iota
	NonfiniteNull            // NULL, counted
	NonfiniteText            // decimal columns become text; the values are counted
)

// Infinity is what happens to infinite dates, timestamps and intervals, and to the time 24:00:00, none of which Parquet
// can say.
type Infinity uint8

// The choices for infinities.
const (
	InfinityError Infinity = iota
	InfinityNull           // NULL, counted as fallen back
	InfinityClamp          // the last value of the type that Parquet can hold, counted
	InfinityText           // the columns become text; the values are counted as fallen back
)

// InvalidUTF8 is what happens to text that is not UTF-8, which a SQL_ASCII database can hold.
type InvalidUTF8 uint8

// The choices for bytes that are not UTF-8.
const (
	InvalidUTF8Error   InvalidUTF8 = iota
	InvalidUTF8Replace             // each run of bad bytes becomes U+FFFD; values counted
	InvalidUTF8Binary              // text columns become binary, bytes as they are
)

// IntervalForm is what an interval becomes.
type IntervalForm uint8

// The forms of an interval.
const (
	IntervalStruct   IntervalForm = iota // struct of months, days, microseconds
	IntervalDuration                     // duration[us], a day being 24 hours; one with months is an error
)

// RangeForm is what ranges and multiranges become.
type RangeForm uint8

// The forms of a range.
const (
	RangeStruct RangeForm = iota // struct of lower, upper, lower_inc, upper_inc, empty; multiranges lists of these
	RangeText
)

// Options are the choices that decide types and what is done with values which these cannot hold. The zero value is the
// default: nothing is changed but that a numeric without precision becomes the nearest float64.
type Options struct {
	TypeMap     TypeMap
	Numeric     Numeric
	Nonfinite   Nonfinite
	Infinity    Infinity
	InvalidUTF8 InvalidUTF8
	Interval    IntervalForm
	Ranges      RangeForm
	TrimBpchar  bool // cut the padding off char(n)
	Strict      bool // every value that would be counted is an error

	// ServerVersion is server_version_num: what some values mean depends on it. 0: as the newest.
	ServerVersion int

	// Columns chooses for single result columns, by name: text, float64, decimal(p,s), strict, struct, duration. See
	// CheckColumnType. For arrays and other containers the choice goes to their elements, save text.
	Columns map[string]string
}

type choice struct {
	word string
	n    int
}

func parseChoice(s, what string, choices ...choice) (int, error) {
	words := make([]string, len(choices))
	for i, c := range choices {
		if c.word == s {
			return c.n, nil
		}
		words[i] = c.word
	}
	return 0, fmt.Errorf("%s %q: allowed are %s", what, s, quoteList(words))
}

// ParseTypeMap reads exact or ddpp.
func ParseTypeMap(s string) (TypeMap, error) {
	n, err := parseChoice(s, "type map", choice{"exact", int(Exact)}, choice{"ddpp", int(DDPP)})
	return TypeMap(n), err
}

// ParseNumeric reads float64, strict, text or decimal(p,s).
func ParseNumeric(s string) (Numeric, error) {
	switch s {
	case "float64":
		return Numeric{}, nil
	case "strict":
		return Numeric{Mode: NumericStrict}, nil
	case "text":
		return Numeric{Mode: NumericText}, nil
	}
	if p, sc, ok, err := parseDecimal(s); ok || err != nil {
		return Numeric{NumericDecimal, p, sc}, err
	}
	return Numeric{}, fmt.Errorf("numeric %q: allowed are float64, strict, text, decimal(p,s)", s)
}

// parseDecimal reads decimal(p,s) or decimal(p); ok is false for what does not begin like one.
func parseDecimal(s string) (p, scale int, ok bool, err error) {
	in, found := strings.CutPrefix(s, "decimal(")
	if !found {
		return 0, 0, false, nil
	}
	in, found = strings.CutSuffix(in, ")")
	ps, ss, two := strings.Cut(in, ",")
	p, perr := strconv.Atoi(strings.TrimSpace(ps))
	var serr error
	if two {
		scale, serr = strconv.Atoi(strings.TrimSpace(ss))
	}
	if !found || perr != nil || serr != nil || p < 1 || p > 76 || scale < 0 || scale > p {
		return 0, 0, false, fmt.Errorf("%q: a decimal is written decimal(p,s) with 1 to 76 digits p and 0 to p decimals s", s)
	}
	return p, scale, true, nil
}

// ParseNonfinite reads error, null or text.
func ParseNonfinite(s string) (Nonfinite, error) {
	n, err := parseChoice(s, "non-finite numerics", choice{"error", int(NonfiniteError)}, choice{"null", int(NonfiniteNull)}, choice{"text", int(NonfiniteText)})
	return Nonfinite(n), err
}

// ParseInfinity reads error, null, clamp or text.
func ParseInfinity(s string) (Infinity, error) {
	n, err := parseChoice(s, "infinity", choice{"error", int(InfinityError)}, choice{"null", int(InfinityNull)},
		choice{"clamp", int(InfinityClamp)}, choice{"text", int(InfinityText)})
	return Infinity(n), err
}

// ParseInvalidUTF8 reads error, replace or binary.
func ParseInvalidUTF8(s string) (InvalidUTF8, error) {
	n, err := parseChoice(s, "invalid UTF-8", choice{"error", int(InvalidUTF8Error)}, choice{"replace", int(InvalidUTF8Replace)},
		choice{"binary", int(InvalidUTF8Binary)})
	return InvalidUTF8(n), err
}

// ParseInterval reads struct or duration.
func ParseInterval(s string) (IntervalForm, error) {
	n, err := parseChoice(s, "interval", choice{"struct", int(IntervalStruct)}, choice{"duration", int(IntervalDuration)})
	return IntervalForm(n), err
}

// ParseRanges reads struct or text.
func ParseRanges(s string) (RangeForm, error) {
	n, err := parseChoice(s, "ranges", choice{"struct", int(RangeStruct)}, choice{"text", int(RangeText)})
	return RangeForm(n), err
}

// override is one column's own choice, parsed.
type override struct {
	word             string // "" for none
	precision, scale int
}

const columnTypes = "text, float64, strict, decimal(p,s), struct, duration"

func parseColumnType(s string) (override, error) {
	switch s {
	case "text", "float64", "strict", "struct", "duration":
		return override{word: s}, nil
	}
	p, sc, ok, err := parseDecimal(s)
	if err != nil {
		return override{}, err
	}
	if ok {
		return override{"decimal", p, sc}, nil
	}
	return override{}, fmt.Errorf("%q is no column type: allowed are %s", s, columnTypes)
}

// CheckColumnType tells whether s is a type that Options.Columns takes: text for any column; float64, strict (a float64
// that must be exact) and decimal(p,s) for numeric, smallint, integer and bigint; struct and duration for interval;
// struct for ranges. Whether it suits a column is seen by NewPlan.
func CheckColumnType(s string) error {
	_, err := parseColumnType(s)
	return err
}
