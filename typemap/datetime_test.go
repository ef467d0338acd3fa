package typemap

import (
	"math"
	"testing"
	"time"

	"fast-export/internal/column"
)

// TestCivil compares the calendar with the time package's over all that a date can be.
func TestCivil(t *testing.T) {
	t.Parallel()
	epoch := time.Unix(0, 0).UTC()
	check := func(days int64) {
		d := epoch.AddDate(0, 0, int(days))
		if got := civilDays(int64(d.Year()), int64(d.Month()), int64(d.Day())); got != days {
			t.Fatalf("civilDays of %s: got %d, want %d", d, got, days)
		}
		if y, m, day := civil(days); y != int64(d.Year()) || m != int64(d.Month()) || day != int64(d.Day()) {
			t.Fatalf("civil(%d): got %d-%d-%d, want %s", days, y, m, day, d)
		}
		date, bc := pgDate(d)
		if got, err := parseDate([]byte(date + bc)); days >= minDate+epochDays && days <= maxDate+epochDays && (err != nil || got != days) {
			t.Fatalf("parseDate(%s%s): got %d, %v, want %d", date, bc, got, err, days)
		}
	}
	for days := int64(-150000); days < 150000; days++ {
		check(days)
	}
	for days := int64(minDate + epochDays); days < maxDate+epochDays; days += 99991 {
		check(days)
	}
	check(minDate + epochDays)
	check(maxDate + epochDays)
}

func TestStampTexts(t *testing.T) {
	t.Parallel()
	r := random(t)
	var buf [2 * quickBytes]byte
	quick := 0
	for i := range 200000 {
		us := r.Int64() - r.Int64()
		if i%2 == 0 {
			us = r.Int64N(4e15) - 1e15
		}
		if i%5 == 0 {
			us -= us % 1000000
		}
		if us < minStamp+epochMicros {
			continue
		}
		for _, zone := range []string{"", "+00"} {
			text := pgStamp(us, zone)
			got, err := parseStamp([]byte(text), zone != "")
			if err != nil || got != us {
				t.Fatalf("%s: got %d, %v, want %d", text, got, err, us)
			}
			clear(buf[:])
			copy(buf[:], text+",")
			if q, k := quickStamp(buf[:], ',', zone != ""); k > 0 {
				quick++
				if q != us || k != len(text) {
					t.Fatalf("%s: quickStamp gives %d (%d bytes), want %d", text, q, k, us)
				}
			}
		}
	}
	if quick < 100000 {
		t.Errorf("quickStamp took only %d", quick)
	}
	for text, want := range map[string]int64{
		"2000-01-01 00:00:00+05:30":           946684800000000 - 19800000000,
		"2000-01-01 00:00:00-00:00:30":        946684800000000 + 30000000,
		"294247-01-10 04:00:54.775807+00":     math.MaxInt64,
		"294247-01-10 05:00:54.775807+01":     math.MaxInt64,
		"4714-11-24 00:00:00+00 BC":           minStamp + epochMicros,
		"4714-11-23 23:00:00-01 BC":           minStamp + epochMicros,
		"0001-01-01 00:00:00.000001+00":       -62135596799999999,
		"1883-11-18 12:03:57.123456-07:52:58": time.Date(1883, 11, 18, 12, 3, 57, 123456000, time.FixedZone("", -(7*3600+52*60+58))).UnixMicro(),
	} {
		if got, err := parseStamp([]byte(text), true); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestBadDatesAndTimes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "2000", "2000-01", "2000-1-01", "2000-13-01", "2000-00-01", "2000-01-00", "2000-01-32", "2001-02-29", "1900-02-29", "0000-01-01", "200-01-01", "2000-01-01 ", "2000/01/01", "01-01-2000",
		"5874898-01-01", "4714-11-23 BC", "99999999-01-01", "2000-01-01 AD", "2000-01-01BC", "-2000-01-01", "2000-01-01 00:00:00", "٢٠٠٠-01-01", "infinity ", "Infinity",
	} {
		if n, err := parseDate([]byte(text)); err == nil {
			t.Errorf("%q is taken for the date %d", text, n)
		}
	}
	for _, text := range []string{
		"", "2000-01-01", "2000-01-01T00:00:00", "2000-01-01 24:00:00", "2000-01-01 00:60:00", "2000-01-01 00:00:60", "2000-01-01 00:00:00.", "2000-01-01 00:00:00.1234567", "2000-01-01 00:00:00+00",
		"2000-01-01 0:00:00", "4714-11-23 23:59:59 BC", "294247-01-10 04:00:54.775808", "294276-12-31 23:59:59", "294277-01-01 00:00:00", "2000-01-01 00:00:00 PM", "2001-02-29 00:00:00",
	} {
		if n, err := parseStamp([]byte(text), false); err == nil {
			t.Errorf("%q is taken for the timestamp %d", text, n)
		}
		var buf [2 * quickBytes]byte
		copy(buf[:], text+",")
		if n, k := quickStamp(buf[:], ',', false); k > 0 {
			t.Errorf("%q is taken by quickStamp for %d", text, n)
		}
	}
	for _, text := range []string{"2000-01-01 00:00:00", "2000-01-01 00:00:00+", "2000-01-01 00:00:00+0", "2000-01-01 00:00:00+00:", "2000-01-01 00:00:00+00:60", "2000-01-01 00:00:00+xx", "2000-01-01 00:00:00 UTC"} {
		if n, err := parseStamp([]byte(text), true); err == nil {
			t.Errorf("%q is taken for the timestamp %d", text, n)
		}
	}
	for _, text := range []string{
		"", "1", "day", "1 day ", "1 days 2 days", "1 mon 1 year", "1 week", "00:00", "00:00:60", "00:60:00", "0:00:00.", "00:00:00.1234567", "00:00:00 1 day", "1  day", "P1D", "1 day ago", "@ 1 day", "99999999999 days",
		"2147483648 days", "178956971 years", "9223372036854775807 days", "-", "--1 day", "2562047789:00:00", "-2562047788:00:54.775809", "Infinity", "01:00:00+00",
	} {
		if s, err := parseSpan([]byte(text)); err == nil && text != "" {
			t.Errorf("%q is taken for the interval %+v", text, s)
		}
	}
}

// TestExtremeSpans: what the server before 17 holds as plain intervals is infinity from 17 on.
func TestExtremeSpans(t *testing.T) {
	t.Parallel()
	const text = "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807"
	bin := be.AppendUint32(be.AppendUint32(be.AppendUint64(nil, math.MaxInt64), math.MaxInt32), math.MaxInt32)
	for _, opt := range []Options{{}, {Infinity: InfinityNull}, {Infinity: InfinityClamp}, {Interval: IntervalDuration}} {
		v := recordedValue{typ: "interval", oid: oidInterval, typmod: -1, text: text, binary: bin}
		opt.ServerVersion = 160009
		plans, batches, errs := decodeValue(t, builtin(t), &v, opt)
		if opt.Interval == IntervalDuration {
			want := `column "v" (interval), row 1: "` + text + `": 2147483647 months are no fixed duration`
			for i, err := range errs {
				if err == nil || err.Error() != want {
					t.Errorf("16 by %s: %v, want %s", plans[i].Transport, err, want)
				}
			}
			continue
		}
		if errs[0] != nil || errs[1] != nil {
			t.Errorf("%+v on 16: %v, %v", opt, errs[0], errs[1])
			continue
		}
		sameBatches(t, plans[0], batches[0], batches[1])
		if s := newUnbatch(plans[1], batches[1][0]).rows()[0][0].sub; len(s) != 3 || i32(s[0]) != math.MaxInt32 || i32(s[1]) != math.MaxInt32 || i64(s[2]) != math.MaxInt64 || batches[1][0].Counts[0] != (column.Counts{}) {
			t.Errorf("%+v on 16: %v, %+v", opt, s, batches[1][0].Counts)
		}
	}
	for _, version := range []int{0, 170000} {
		v := recordedValue{typ: "interval", oid: oidInterval, typmod: -1, text: "infinity", binary: bin}
		if _, _, errs := decodeValue(t, builtin(t), &v, Options{ServerVersion: version}); errs[0] == nil || errs[1] == nil || errs[0].Error() != errs[1].Error() {
			t.Errorf("on %d: %v, %v", version, errs[0], errs[1])
		}
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	r := random(t)
	for i := range 200000 {
		s := span{int32(r.Uint32()) >> r.IntN(32), int32(r.Uint32()) >> r.IntN(32), r.Int64() >> r.IntN(64)}
		if i%2 == 0 {
			s.micros = -s.micros
		}
		text := pgInterval(int64(s.months), int64(s.days), s.micros)
		if got, err := parseSpan([]byte(text)); err != nil || got != s {
			t.Fatalf("%s: got %+v, %v, want %+v", text, got, err, s)
		}
		if got := s.String(); got != text {
			t.Fatalf("%+v is printed as %s, want %s", s, got, text)
		}
	}
	for _, tt := range []struct {
		s    span
		want int64
		ok   bool
	}{
		{span{0, 1, 1}, dayMicros + 1, true},
		{span{0, -1, 1}, -dayMicros + 1, true},
		{span{1, 0, 0}, 0, false},
		{span{0, 0, math.MinInt64}, math.MinInt64, true},
		{span{0, -1, math.MinInt64}, 0, false},
		{span{0, 1, math.MaxInt64}, 0, false},
		{span{0, 1, math.MinInt64}, math.MinInt64 + dayMicros, true},
		{span{0, math.MaxInt32, 0}, 0, false},
		{span{0, math.MinInt32, 0}, 0, false},
		{span{0, 106751991, 0}, 106751991 * dayMicros, true},
		{span{0, -106751991, 0}, -106751991 * dayMicros, true},
		{span{0, 106751992, 0}, 0, false},
		{span{0, 106751991, math.MaxInt64 - 106751991*dayMicros}, math.MaxInt64, true},
		{span{0, 106751991, math.MaxInt64 - 106751991*dayMicros + 1}, 0, false},
	} {
		if got, err := tt.s.duration(); (err == nil) != tt.ok || got != tt.want && tt.ok {
			t.Errorf("%+v: got %d, %v, want %d, %v", tt.s, got, err, tt.want, tt.ok)
		}
	}
}
