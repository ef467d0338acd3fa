package typemap

import (
	"fmt"
	"math"
	"strings"
)

// Postgres counts from 2000-01-01, Arrow and Parquet from 1970-01-01; both in the proleptic Gregorian calendar, where the
// year before 1 is 1 BC. Source: datatype/timestamp.h.
const (
	epochDays   = 10957
	epochMicros = epochDays * dayMicros
	dayMicros   = 86400 * 1000000

	// What the types hold, in their own units since 2000: from 4714-11-24 BC on, dates to 5874897-12-31, timestamps to the
	// end of 294276. The extremes of the integers stand for the infinities.
	minDate  = -2451545
	maxDate  = 2145031948
	minStamp = -211813488000000000
	maxStamp = 9223371331200000000 - 1

	// The last timestamp that fits 64 bits of microseconds since 1970: 294247-01-10 04:00:54.775807.
	maxFit = math.MaxInt64 - epochMicros
)

const (
	infinityHint = "--infinity null|clamp|text says what to write instead, --type COLUMN=text keeps one column's text"
	textHint     = "--type COLUMN=text carries it as text"
)

// civilDays counts days from 1970-01-01. The year is astronomical: 0 is 1 BC.
func civilDays(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + (153*(m-3)+2)/5 + d - 1 - 719468
}

// civil is the inverse of civilDays.
func civil(days int64) (y, m, d int64) {
	z := days + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = doy - (153*mp+2)/5 + 1
	m = mp + 3
	if m > 12 {
		m -= 12
	}
	y = yoe + era*400
	if m <= 2 {
		y++
	}
	return y, m, d
}

var monthDays = [13]int64{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// digits2 reads two digits; the result is over 99 when they are none.
func digits2(a, b byte) int64 {
	a -= '0'
	b -= '0'
	if a > 9 || b > 9 {
		return 1 << 20
	}
	return int64(a)*10 + int64(b)
}

// scanDate reads YYYY-MM-DD with at least four digits of year and gives what follows. An " BC" is for the caller.
func scanDate(v []byte) (y, m, d int64, rest []byte, ok bool) {
	i := 0
	for i < len(v) && v[i]-'0' <= 9 {
		y = y*10 + int64(v[i]-'0')
		if i++; i > 7 {
			return 0, 0, 0, nil, false
		}
	}
	if i < 4 || len(v) < i+6 || v[i] != '-' || v[i+3] != '-' {
		return 0, 0, 0, nil, false
	}
	m, d = digits2(v[i+1], v[i+2]), digits2(v[i+4], v[i+5])
	if y == 0 || m < 1 || m > 12 || d < 1 || d > monthDays[m] {
		return 0, 0, 0, nil, false
	}
	return y, m, d, v[i+6:], true
}

// leapDay tells whether the day exists: only February 29 depends on the year.
func leapDay(y, m, d int64) bool {
	return m != 2 || d < 29 || y&3 == 0 && (y%100 != 0 || y%400 == 0)
}

// cutBC takes the era off the end.
func cutBC(v []byte) ([]byte, bool) {
	if n := len(v); n > 3 && v[n-1] == 'C' && v[n-2] == 'B' && v[n-3] == ' ' {
		return v[:n-3], true
	}
	return v, false
}

// parseDate gives days since 1970 of a date as the server prints it with DateStyle ISO.
func parseDate(v []byte) (int64, error) {
	v, bc := cutBC(v)
	y, m, d, rest, ok := scanDate(v)
	if bc {
		y = 1 - y
	}
	if !ok || len(rest) != 0 || !leapDay(y, m, d) {
		return 0, bad("not a date in ISO style")
	}
	n := civilDays(y, m, d)
	if n < minDate+epochDays || n > maxDate+epochDays {
		return 0, bad("outside what Postgres's date holds")
	}
	return n, nil
}

// scanTime reads HH:MM:SS[.ffffff], up to 24:59:59.999999, and gives what follows.
func scanTime(v []byte) (us int64, rest []byte, ok bool) {
	if len(v) < 8 || v[2] != ':' || v[5] != ':' {
		return 0, nil, false
	}
	h, m, s := digits2(v[0], v[1]), digits2(v[3], v[4]), digits2(v[6], v[7])
	if h > 24 || m > 59 || s > 59 {
		return 0, nil, false
	}
	us = ((h*60+m)*60 + s) * 1000000
	v = v[8:]
	if len(v) > 0 && v[0] == '.' {
		f, rest, ok := scanFraction(v)
		return us + f, rest, ok
	}
	return us, v, true
}

// scanFraction reads a point and one to six digits as microseconds.
func scanFraction(v []byte) (us int64, rest []byte, ok bool) {
	i, k := 1, int64(100000)
	for i < len(v) && v[i]-'0' <= 9 {
		if k == 0 {
			return 0, nil, false
		}
		us += int64(v[i]-'0') * k
		k /= 10
		i++
	}
	return us, v[i:], i > 1
}

// scanZone reads +HH[:MM[:SS]] as seconds east of UTC.
func scanZone(v []byte) (east int64, rest []byte, ok bool) {
	if len(v) < 3 || (v[0] != '+' && v[0] != '-') {
		return 0, nil, false
	}
	east = digits2(v[1], v[2]) * 3600
	neg := v[0] == '-'
	v = v[3:]
	for _, unit := range [...]int64{60, 1} {
		if len(v) >= 3 && v[0] == ':' {
			x := digits2(v[1], v[2])
			if x > 59 {
				return 0, nil, false
			}
			east += x * unit
			v = v[3:]
		}
	}
	if east >= 1<<20 {
		return 0, nil, false
	}
	if neg {
		east = -east
	}
	return east, v, true
}

// parseStamp gives microseconds since 1970 of a timestamp as the server prints it with DateStyle ISO; zoned for one with
// an offset.
func parseStamp(v []byte, zoned bool) (int64, error) {
	t, bc := cutBC(v)
	y, m, d, rest, ok := scanDate(t)
	if bc {
		y = 1 - y
	}
	if !ok || len(rest) < 9 || rest[0] != ' ' || !leapDay(y, m, d) {
		return 0, bad("not a timestamp in ISO style")
	}
	us, rest, ok := scanTime(rest[1:])
	t24 := us >= dayMicros
	if ok && zoned {
		var east int64
		east, rest, ok = scanZone(rest)
		us -= east * 1000000
	}
	if !ok || len(rest) != 0 || t24 {
		return 0, bad("not a timestamp in ISO style")
	}
	days := civilDays(y, m, d)
	if days < minDate+epochDays-1 || days > 106762940 {
		return 0, bad("outside what Postgres's timestamp holds")
	}
	// Split so that the sum cannot pass 64 bits before it is compared.
	if rem := us; days > math.MaxInt64/dayMicros-1 && uint64(days)*dayMicros+uint64(rem) > math.MaxInt64 {
		return 0, badHint("", textHint, "later than 294247-01-10 04:00:54.775807, the last that fits 64 bits of microseconds")
	}
	us += days * dayMicros
	if us < minStamp+epochMicros {
		return 0, bad("outside what Postgres's timestamp holds")
	}
	return us, nil
}

// stampText prints microseconds since 2000 as the server would, with the zone given; for messages.
func stampText(us int64, zone string) string {
	days := us / dayMicros
	us -= days * dayMicros
	if us < 0 {
		us += dayMicros
		days--
	}
	date, era := dateText(days + epochDays)
	return date + " " + timeText(us) + zone + era
}

// dateText prints days since 1970, and the era behind them.
func dateText(days int64) (date, era string) {
	y, m, d := civil(days)
	if y < 1 {
		y, era = 1-y, " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d", y, m, d), era
}

// zoneText prints an offset from UTC in seconds.
func zoneText(east int64) string {
	sign := '+'
	if east < 0 {
		sign, east = '-', -east
	}
	s := fmt.Sprintf("%c%02d", sign, east/3600)
	if east%3600 != 0 {
		s += fmt.Sprintf(":%02d", east/60%60)
	}
	if east%60 != 0 {
		s += fmt.Sprintf(":%02d", east%60)
	}
	return s
}

func timeText(us int64) string {
	s := fmt.Sprintf("%02d:%02d:%02d", us/3600000000, us/60000000%60, us/1000000%60)
	if f := us % 1000000; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
	}
	return s
}

func infinityText(neg bool) string {
	if neg {
		return "-infinity"
	}
	return "infinity"
}

// isInfinity tells whether text is one of the two infinities of dates, timestamps and intervals.
func isInfinity(v []byte) (neg, ok bool) {
	switch string(v) {
	case "infinity":
		return false, true
	case "-infinity":
		return true, true
	}
	return false, false
}

// span is an interval: three numbers that nothing turns into each other.
type span struct {
	months, days int32
	micros       int64
}

// The infinite intervals of Postgres 17 and later are the extremes of all three fields. Source: INTERVAL_NOBEGIN in
// datatype/timestamp.h.
var (
	spanEnd   = span{math.MaxInt32, math.MaxInt32, math.MaxInt64}
	spanBegin = span{math.MinInt32, math.MinInt32, math.MinInt64}
)

// String is what interval_out prints with IntervalStyle postgres for a finite interval.
func (s span) String() string {
	var b strings.Builder
	after := false // a negative part, behind which a positive one shows its sign
	for _, p := range [...]struct {
		n    int32
		unit string
	}{{s.months / 12, "year"}, {s.months % 12, "mon"}, {s.days, "day"}} {
		if p.n == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if after && p.n > 0 {
			b.WriteByte('+')
		}
		fmt.Fprintf(&b, "%d %s", p.n, p.unit)
		if p.n != 1 {
			b.WriteByte('s')
		}
		after = p.n < 0
	}
	if s.micros == 0 && b.Len() > 0 {
		return b.String()
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	us := uint64(s.micros)
	if s.micros < 0 {
		us = -us
		b.WriteByte('-')
	} else if after {
		b.WriteByte('+')
	}
	fmt.Fprintf(&b, "%02d:%02d:%02d", us/3600000000, us/60000000%60, us/1000000%60)
	if f := us % 1000000; f != 0 {
		b.WriteString(strings.TrimRight(fmt.Sprintf(".%06d", f), "0"))
	}
	return b.String()
}

// endless tells whether the server takes s for an infinity. Before 17 there was none, and the extremes were plain values.
func (p *Plan) endless(s span) bool { return p.spanInf && (s == spanEnd || s == spanBegin) }

// parseSpan reads an interval as the server prints it with IntervalStyle postgres: "1 year 2 mons -3 days 04:05:06.789".
func parseSpan(v []byte) (s span, err error) {
	if neg, ok := isInfinity(v); ok {
		if neg {
			return spanBegin, nil
		}
		return spanEnd, nil
	}
	notOne := bad("not an interval in the style of Postgres")
	var months, days int64
	last := 0
	for len(v) > 0 {
		neg := false
		if v[0] == '-' || v[0] == '+' {
			neg = v[0] == '-'
			v = v[1:]
		}
		var n uint64
		i := 0
		for i < len(v) && v[i]-'0' <= 9 && i < 11 {
			n = n*10 + uint64(v[i]-'0')
			i++
		}
		if i == 0 || i == len(v) {
			return s, notOne
		}
		if v[i] == ':' { // hours, and the end
			if len(v) < i+6 || v[i+3] != ':' {
				return s, notOne
			}
			m, sec := digits2(v[i+1], v[i+2]), digits2(v[i+4], v[i+5])
			rest := v[i+6:]
			var f int64
			if len(rest) > 0 {
				var ok bool
				if rest[0] != '.' {
					return s, notOne
				}
				if f, rest, ok = scanFraction(rest); !ok || len(rest) > 0 {
					return s, notOne
				}
			}
			if m > 59 || sec > 59 || n > 2562047788 || last > 3 {
				return s, notOne
			}
			us := ((n*60+uint64(m))*60+uint64(sec))*1000000 + uint64(f)
			switch {
			case us <= math.MaxInt64 && neg:
				s.micros = -int64(us)
			case us <= math.MaxInt64:
				s.micros = int64(us)
			case us == 1<<63 && neg:
				s.micros = math.MinInt64
			default:
				return s, notOne
			}
			break
		}
		if v[i] != ' ' {
			return s, notOne
		}
		x := int64(n)
		if neg {
			x = -x
		}
		v = v[i+1:]
		j := 0
		for j < len(v) && v[j] != ' ' {
			j++
		}
		unit := 0
		switch string(v[:j]) {
		case "year", "years":
			months += x * 12
			unit = 1
		case "mon", "mons":
			months += x
			unit = 2
		case "day", "days":
			days += x
			unit = 3
		}
		if unit <= last {
			return s, notOne
		}
		last = unit
		v = v[j:]
		if len(v) > 0 {
			if v = v[1:]; len(v) == 0 {
				return s, notOne
			}
		}
	}
	if months != int64(int32(months)) || days != int64(int32(days)) {
		return s, notOne
	}
	s.months, s.days = int32(months), int32(days)
	return s, nil
}

// duration gives the interval in microseconds, days as 24 hours each. A month is no fixed number of days: refused.
func (s span) duration() (int64, error) {
	const hint = "--type COLUMN=struct keeps months, days and microseconds apart"
	if s.months != 0 {
		return 0, badHint("", hint, "%d months are no fixed duration", s.months)
	}
	if d := int64(s.days); d >= math.MinInt64/dayMicros && d <= math.MaxInt64/dayMicros {
		d *= dayMicros
		if sum := d + s.micros; d < 0 == (sum < s.micros) || d == 0 { // no overflow: the sum moved the way that d points
			return sum, nil
		}
	}
	return 0, badHint("", hint, "longer than 64 bits of microseconds")
}
