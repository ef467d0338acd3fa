package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed plays half a run of 10 s: 1,000,000 rows of 1 GiB in 4 s of fake time.
func feed(d *Display) {
	d.Report(Phase{"connecting"})
	time.Sleep(time.Second)
	d.Report(Plan{Files: 1, Chunks: 4, EstRows: 2_000_000, EstBytes: 2 << 30})
	d.Report(Phase{"copying"})
	for range 4 {
		time.Sleep(time.Second)
		d.Report(Advance{Rows: 250_000, CopyBytes: 100 << 20, HeapBytes: 256 << 20})
	}
	d.Report(ChunkDone{File: "f", Chunk: 0, Rows: 500_000})
	d.Report(ChunkDone{File: "f", Chunk: 1, Rows: 500_000})
	d.Report(Warning{"first\nsecond \x1b[2Jline"})
	time.Sleep(time.Second)
}

func TestPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: Plain, Out: &out})
		feed(d)
		d.Report(FileDone{Path: "f", Rows: 1_000_000})
		d.Close()
		d.Close()
		// Two things happen at the third and sixth second; the rows of either order are right.
		got := out.String()
		lines := strings.Split(strings.TrimSpace(got), "\n")
		if len(lines) < 3 || !strings.HasPrefix(lines[0], "progress: 3.0s, copying, ") || lines[1] != "warning: first second  [2Jline" {
			t.Fatalf("got\n%s", got)
		}
		last := lines[len(lines)-1]
		if last != "progress: 6.0s, copying, 50%, 1,000,000 rows, 400 MiB copied, 166,666 rows/s, 5.0s left" {
			t.Errorf("last line %q", last)
		}
		for _, l := range lines {
			if strings.HasPrefix(l, "progress: ") && !strings.Contains(l, " rows/s") {
				t.Errorf("no rate in %q", l)
			}
		}
	})
}

func TestPresentRateIsOfTheLastSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: Plain, Out: &out, Every: time.Second})
		d.Report(Advance{Rows: 1_000_000})
		time.Sleep(60*time.Second + time.Millisecond)
		d.out.Lock()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		d.out.Unlock()
		if got := lines[len(lines)-1]; !strings.Contains(got, " 0 rows/s") {
			t.Errorf("a run that stands still shows %q", got)
		}
		d.Close()
		lines = strings.Split(strings.TrimSpace(out.String()), "\n")
		if got := lines[len(lines)-1]; !strings.Contains(got, "16,666 rows/s") {
			t.Errorf("the last line shows another rate than the whole run's: %q", got)
		}
	})
}

// A run that begins again, with a Plan of its own, counts what came since, save the bytes that were sent.
// Of a run that failed before its plan there is nothing to show, on a terminal either.
func TestNothingBeforeThePlan(t *testing.T) {
	for _, mode := range []Mode{Plain, Bar} {
		var out bytes.Buffer
		d := New(Options{Mode: mode, Out: &out, Width: 80, Every: time.Hour})
		d.Report(Phase{Name: "connecting"})
		d.Close()
		seen := out.String()
		if at := strings.LastIndex(seen, overBar); at >= 0 {
			seen = seen[at+len(overBar):]
		}
		if strings.TrimSpace(seen) != "" {
			t.Errorf("mode %v: %q", mode, out.String())
		}
	}
}

func TestSecondPlanCountsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: JSON, Out: &out})
		feed(d)
		d.Report(Plan{Files: 1, Chunks: 4, EstRows: 2_000_000, EstBytes: 2 << 30})
		time.Sleep(2 * time.Second)
		d.Report(Advance{Rows: 1000, CopyBytes: 1 << 20, HeapBytes: 2 << 20})
		d.Report(ChunkDone{File: "f", Chunk: 0, Rows: 1000})
		d.Close()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		for _, l := range lines {
			if strings.Contains(l, `"rows_per_second":-`) {
				t.Errorf("a rate below zero: %s", l)
			}
		}
		var end jsonProgress
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil || end.Type != "end" {
			t.Fatalf("%s: %v", lines[len(lines)-1], err)
		}
		if end.Rows != 1000 || end.HeapBytes != 2<<20 || end.ChunksDone != 1 || end.CopyBytes != 401<<20 {
			t.Errorf("got %+v", end)
		}
	})
}

func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: JSON, Out: &out})
		feed(d)
		d.Report(FileDone{Path: "a<b>.parquet", Rows: 1_000_000, Bytes: 77, RowGroups: 1})
		d.Close()
		types := map[string]int{}
		var end map[string]any
		for line := range strings.Lines(out.String()) {
			if !strings.HasPrefix(line, "{") {
				if line != "warning: first second  [2Jline\n" {
					t.Errorf("neither JSON nor a warning: %q", line)
				}
				continue
			}
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			types[v["type"].(string)]++
			end = v
		}
		for _, want := range []string{"phase", "plan", "progress", "file", "warning", "end"} {
			if types[want] == 0 {
				t.Errorf("no %q line in\n%s", want, out.String())
			}
		}
		if end["type"] != "end" || end["rows"] != 1e6 || end["copy_bytes"] != 400.*(1<<20) || end["heap_bytes"] != 1024.*(1<<20) ||
			end["est_heap_bytes"] != 2048.*(1<<20) || end["seconds_left"] != 5. || end["chunks_done"] != 2. || end["elapsed_seconds"] != 6. ||
			end["rows_per_second"] != 166666. || end["phase"] != "copying" || end["files_done"] != 1. {
			t.Errorf("the last line is %v", end)
		}
	})
}

// screen plays what a terminal would show in the end, line by line.
func screen(s string) []string {
	s = regexp.MustCompile("\x1b\\[0?K").ReplaceAllString(s, "\x02")
	s = strings.ReplaceAll(s, "\x1b[2K", "\x03")
	lines := []string{""}
	col := 0
	for _, r := range s {
		cur := []rune(lines[len(lines)-1])
		switch r {
		case '\n':
			lines, col = append(lines, ""), 0
			continue
		case '\r':
			col = 0
			continue
		case '\x02':
			cur = cur[:min(col, len(cur))]
		case '\x03':
			cur = nil
		default:
			for len(cur) < col+1 {
				cur = append(cur, ' ')
			}
			cur[col] = r
			col++
		}
		lines[len(lines)-1] = string(cur)
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

func TestBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: Bar, Out: &out, Width: 120})
		feed(d)
		d.out.Lock()
		half := screen(out.String())
		d.out.Unlock()
		if half[0] != "warning: first second  [2Jline" {
			t.Errorf("the warning's line shows %q", half[0])
		}
		for _, want := range []string{"50%", "1,000,000 rows", "/s", " left", "400 MiB"} {
			if !strings.Contains(half[1], want) {
				t.Errorf("half-way the bar lacks %q: %q", want, half[1])
			}
		}
		if len([]rune(half[1])) >= 120 {
			t.Errorf("too wide: %q", half[1])
		}
		d.Report(Advance{Rows: 1, HeapBytes: 5 << 30}) // more than was thought
		time.Sleep(time.Second)
		d.out.Lock()
		most := screen(out.String())
		d.out.Unlock()
		if !strings.Contains(most[1], "99%") {
			t.Errorf("before the file stands the bar shows %q", most[1])
		}
		if n, err := d.Write([]byte("log line\n")); n != 9 || err != nil {
			t.Errorf("Write gave %d, %v", n, err)
		}
		d.Report(FileDone{Path: "f"})
		d.Close()
		end := screen(out.String())
		if end[1] != "log line" {
			t.Errorf("the log's line shows %q", end[1])
		}
		end = append(end[:1], end[2:]...)
		if len(end) != 3 || end[2] != "" || !strings.Contains(end[1], "100%") || !strings.Contains(end[1], "1,000,001 rows") {
			t.Errorf("the end shows %q", end)
		}
		d.Report(Warning{"late"})
		if end := screen(out.String()); end[3] != "warning: late" {
			t.Errorf("a late warning shows %q", end)
		}
	})
}

func TestBarOfAFailedRunKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: Bar, Out: &out, Width: 60})
		feed(d)
		d.Close()
		end := screen(out.String())
		if !strings.Contains(end[1], "50%") || strings.Contains(end[1], "MiB") || len(end[1]) > 60 {
			t.Errorf("got %q", end)
		}
	})
}

// On the usual 80 columns rows, rate, time left and bytes stand side by side, however large the table.
func TestBarOn80Columns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: Bar, Out: &out, Width: 80})
		d.Report(Phase{"copying"})
		d.Report(Plan{Files: 1, Chunks: 4, EstBytes: 9 << 40})
		d.Report(Advance{Rows: 12_345_678, CopyBytes: 400 << 30, HeapBytes: 2 << 30})
		time.Sleep(9 * time.Second)
		d.Report(Advance{Rows: 1_234_567_890, CopyBytes: 123 << 30, HeapBytes: 2 << 30})
		time.Sleep(1050 * time.Millisecond)
		d.out.Lock()
		defer func() { d.out.Unlock(); d.Close() }()
		got := screen(out.String())[0]
		for _, want := range []string{`1,246,913,568 rows`, `  12\d,\d{3},\d{3}/s`, `  6h\d\dm left`, `  523 GiB`} {
			if !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("it lacks %s: %q", want, got)
			}
		}
		if len(got) > 79 {
			t.Errorf("%d columns: %q", len(got), got)
		}
	})
}

func TestBarWithoutEstimateSpins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: Bar, Out: &out})
		d.Report(Phase{"waiting for locks"})
		time.Sleep(time.Second)
		d.out.Lock()
		if s := screen(out.String()); !strings.Contains(s[0], "waiting for locks") {
			t.Errorf("got %q", s)
		}
		d.out.Unlock()
		d.Report(Plan{Files: 1, Chunks: 1})
		d.Report(Advance{Rows: 12})
		time.Sleep(time.Second)
		d.Report(FileDone{})
		d.Close()
		if s := screen(out.String()); len(s) != 2 || !strings.Contains(s[0], "12 rows") || strings.Contains(s[0], "%") || strings.Contains(s[0], "left") {
			t.Errorf("got %q", s)
		}
	})
}

func TestNoneShowsWarningsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Mode: None, Out: &out})
		feed(d)
		d.Close()
		if got := out.String(); got != "warning: first second  [2Jline\n" {
			t.Errorf("got %q", got)
		}
		if d.Warnings() != 1 {
			t.Errorf("counted %d warnings", d.Warnings())
		}
	})
}

type deaf struct{}

func (deaf) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestOutputThatFailsDoesNotMatter(t *testing.T) {
	for _, m := range []Mode{None, Bar, Plain, JSON} {
		synctest.Test(t, func(t *testing.T) {
			d := New(Options{Mode: m, Out: deaf{}})
			feed(d)
			d.Close()
		})
	}
}

// stuck is a terminal that someone stopped with Ctrl-S.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.release; return len(p), nil }

func TestReportDoesNotBlock(t *testing.T) {
	s := stuck{make(chan struct{})}
	d := New(Options{Mode: Plain, Out: s, Every: time.Millisecond})
	time.Sleep(20 * time.Millisecond)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				d.Report(Advance{Rows: 1})
				d.Report(Warning{"w"})
			}
		})
	}
	wg.Wait() // hangs where Report waits for the writer
	close(s.release)
	d.Close()
	if got := d.rows.Load(); got != 8000 {
		t.Errorf("got %d rows", got)
	}
}

func TestParseMode(t *testing.T) {
	for _, name := range []string{"none", "bar", "plain", "json"} {
		m, err := ParseMode(name)
		if err != nil || m.String() != name {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if _, err := ParseMode("fancy"); err == nil || !strings.Contains(err.Error(), "none, bar, plain, json") {
		t.Errorf("got %v", err)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 300 * time.Millisecond: "0.3s", 9960 * time.Millisecond: "10s", 59700 * time.Millisecond: "1m00s",
		185 * time.Second: "3m05s", 130 * time.Minute: "2h10m", time.Hour - time.Millisecond: "1h00m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
