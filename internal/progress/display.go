package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
)

// Mode is what a Display shows.
type Mode uint8

// The modes. All of them print warnings.
const (
	None  Mode = iota // nothing else
	Bar               // one line that is drawn over and over, for terminals
	Plain             // a line every few seconds
	JSON              // a JSON object a line: docs/json-output.md
)

// ParseMode returns the mode of that name, as --progress takes it.
func ParseMode(name string) (Mode, error) {
	for m, n := range modeNames {
		if n == name {
			return Mode(m), nil
		}
	}
	return None, fmt.Errorf("%q is none of %s", name, strings.Join(modeNames, ", "))
}

var modeNames = []string{None: "none", Bar: "bar", Plain: "plain", JSON: "json"}

func (m Mode) String() string { return modeNames[m] }

// Options are a Display's.
type Options struct {
	Mode  Mode
	Out   io.Writer     // where everything goes; only one goroutine writes to it at a time
	Every time.Duration // between two renderings; 0: what suits the mode
	Width int           // columns of the terminal, for Bar; 0: 80
}

func (o Options) withDefaults() Options {
	if o.Every <= 0 {
		o.Every = map[Mode]time.Duration{None: time.Hour, Bar: 100 * time.Millisecond, Plain: 3 * time.Second, JSON: time.Second}[o.Mode]
	}
	if o.Width <= 0 {
		o.Width = 80
	}
	return o
}

// Display is a Reporter that renders what it is told. Report adds to atomics or queues; one goroutine renders.
type Display struct {
	opt   Options
	began time.Time

	rows, copyBytes, heapBytes, chunks, files, warnings atomic.Int64

	anew atomic.Bool // a second Plan came, since the last sample

	phase   atomic.Pointer[string]
	plan    atomic.Pointer[Plan]
	planned atomic.Pointer[time.Time] // when the plan came, from which time left is reckoned

	mu     sync.Mutex // guards the queue; never held while writing
	queue  []Event    // Plan, Phase, FileDone, Warning: what is rendered as such
	closed bool

	wake chan struct{} // holds one token when the queue has grown
	stop chan struct{}
	done chan struct{}

	out     sync.Mutex // guards what follows, and Out
	bar     *progressbar.ProgressBar
	samples []sample
}

// sample is how far things were at a moment; a few of them give the present rate.
type sample struct {
	at   time.Time
	rows int64
}

// New starts a Display. Close it.
func New(o Options) *Display {
	d := &Display{
		opt:   o.withDefaults(),
		began: time.Now(),
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	d.samples = []sample{{at: d.began}}
	if d.opt.Mode == Bar {
		d.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(struct{ io.Writer }{d.opt.Out}), // hides Sync, which the library calls at each step
			progressbar.OptionSetSpinnerChangeInterval(0),               // else the library renders from a goroutine of its own
			progressbar.OptionSetPredictTime(false),                     // its estimate divides by zero before the first row
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionShowDescriptionAtLineEnd(),
			progressbar.OptionSetWidth(d.opt.barWidth()),
			progressbar.OptionSetTheme(progressbar.ThemeASCII),
		)
	}
	go d.loop()
	return d
}

// Report takes an event. After Close only warnings still appear.
func (d *Display) Report(e Event) {
	switch e := e.(type) {
	case Advance:
		d.rows.Add(e.Rows)
		d.copyBytes.Add(e.CopyBytes)
		d.heapBytes.Add(e.HeapBytes)
		return
	case ChunkDone:
		d.chunks.Add(1)
		return
	case Plan:
		now := time.Now()
		d.plan.Store(&e)
		if d.planned.Swap(&now) != nil { // a new beginning
			d.rows.Store(0)
			d.heapBytes.Store(0)
			d.chunks.Store(0)
			d.anew.Store(true)
		}
	case Phase:
		d.phase.Store(&e.Name)
	case FileDone:
		d.files.Add(1)
	case Warning:
		d.warnings.Add(1)
	}
	d.mu.Lock()
	d.queue = append(d.queue, e)
	closed := d.closed
	d.mu.Unlock()
	if closed {
		d.render(d.drain, nil)
		return
	}
	select {
	case d.wake <- struct{}{}:
	default: // a token is there already
	}
}

// Write puts whole lines of something else, a log say, above the bar. It may block, as writing to Out does.
func (d *Display) Write(lines []byte) (int, error) {
	d.out.Lock()
	defer d.out.Unlock()
	if d.bar != nil {
		if _, err := io.WriteString(d.opt.Out, overBar); err != nil {
			return 0, err
		}
	}
	return d.opt.Out.Write(lines)
}

// overBar goes to the beginning of the bar's line and wipes it.
const overBar = "\r\x1b[2K"

// Warnings returns how many warnings were reported.
func (d *Display) Warnings() int64 { return d.warnings.Load() }

// Close renders a last time and returns when nothing more will be written, save warnings that are still reported. It may
// be called again.
func (d *Display) Close() {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if !closed {
		close(d.stop)
	}
	<-d.done
}

func (d *Display) loop() {
	defer close(d.done)
	tick := time.NewTicker(d.opt.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.render(d.drain, d.step)
		case <-d.wake:
			d.render(d.drain, nil)
		case <-d.stop:
			d.render(d.drain, d.last)
			return
		}
	}
}

// render runs what it is given, each with Out to itself.
func (d *Display) render(steps ...func()) {
	d.out.Lock()
	defer d.out.Unlock()
	for _, step := range steps {
		if step != nil {
			step()
		}
	}
}

// drain renders what was queued.
func (d *Display) drain() {
	d.mu.Lock()
	queue := d.queue
	d.queue = nil
	d.mu.Unlock()
	for _, e := range queue {
		if d.opt.Mode == JSON {
			d.json(e)
		}
		switch e := e.(type) {
		case Warning:
			d.line("warning: " + oneLine(e.Text))
		case Plan:
			if d.bar != nil && e.EstBytes > 0 {
				d.bar.ChangeMax64(e.EstBytes)
			}
		}
	}
}

// line writes a line, over the bar where there is one: the next step draws it again below.
func (d *Display) line(s string) {
	if d.bar != nil {
		s = overBar + s
	}
	fmt.Fprintln(d.opt.Out, s)
}

func (d *Display) step() {
	f := d.figures(time.Now(), false)
	switch d.opt.Mode {
	case Bar:
		d.draw(f)
	case Plain:
		d.line(f.plain())
	case JSON:
		d.json(f.json("progress"))
	}
}

// last shows how far it came. Of a run that did not come to its plan there is nothing to show but the error that follows.
func (d *Display) last() {
	f := d.figures(time.Now(), true)
	begun := d.plan.Load() != nil || f.rows > 0
	switch d.opt.Mode {
	case Bar:
		if !begun {
			_ = d.bar.Exit()
			fmt.Fprint(d.opt.Out, overBar)
			d.bar = nil
			return
		}
		d.draw(f)
		if f.files > 0 && f.files == int64(f.plan.Files) {
			_ = d.bar.Finish()
		}
		_ = d.bar.Exit()
		fmt.Fprintln(d.opt.Out)
		d.bar = nil // what comes after is lines below it
	case Plain:
		if begun {
			d.line(f.plain())
		}
	case JSON:
		d.json(f.json("end"))
	}
}

// barWidth is the width of the bar itself, in columns; what stands beside it takes the rest of the line, and on 80 columns all
// of it must find room.
func (o Options) barWidth() int {
	if o.Width < 100 {
		return 12
	}
	return 24
}

// draw draws the bar. Errors of a terminal that went away must not end the run.
func (d *Display) draw(f figures) {
	if f.plan.EstBytes > 0 {
		// The estimate can be passed, and the end is the file standing under its name, not the last page read.
		_ = d.bar.Set64(min(f.heapBytes, f.plan.EstBytes-1))
	}
	d.bar.Describe(fit(f.parts(), d.opt.Width-d.opt.barWidth()-len(" 100% []   ")))
}

// fit joins as many parts as there is room for, in columns.
func fit(parts []string, width int) string {
	s := parts[0]
	for _, p := range parts[1:] {
		if len(s)+2+len(p) > width {
			break
		}
		s += "  " + p
	}
	return s
}

// figures is a picture of a run.
type figures struct {
	plan                       Plan
	phase                      string
	elapsed                    time.Duration
	rows, copyBytes, heapBytes int64
	chunks, files              int64
	rowsPerSecond              float64
	left                       time.Duration // -1: unknown
}

// rateOver is how far back the present rate looks.
const rateOver = 10 * time.Second

func (d *Display) figures(now time.Time, whole bool) figures {
	f := figures{
		elapsed: now.Sub(d.began), left: -1,
		rows: d.rows.Load(), copyBytes: d.copyBytes.Load(), heapBytes: d.heapBytes.Load(), chunks: d.chunks.Load(), files: d.files.Load(),
	}
	if p := d.plan.Load(); p != nil {
		f.plan = *p
	}
	if p := d.phase.Load(); p != nil {
		f.phase = *p
	}
	since := sample{at: d.began}
	if !whole {
		if d.anew.Swap(false) {
			d.samples = []sample{{at: now}}
		}
		d.samples = append(d.samples, sample{now, f.rows})
		for len(d.samples) > 2 && now.Sub(d.samples[1].at) >= rateOver {
			d.samples = d.samples[1:]
		}
		since = d.samples[0]
	}
	if dt := now.Sub(since.at).Seconds(); dt > 0 {
		f.rowsPerSecond = max(0, float64(f.rows-since.rows)/dt) // what is counted again was taken off
	}
	// What is left to write once all rows are here is not known.
	if t := d.planned.Load(); t != nil && f.phase != "writing" && f.heapBytes > 0 && f.plan.EstBytes > 0 {
		rest := max(0, float64(f.plan.EstBytes-f.heapBytes))
		f.left = time.Duration(float64(now.Sub(*t)) * rest / float64(f.heapBytes))
	}
	return f
}

// parts are what a person wants to know, the most important first, in few words.
func (f figures) parts() []string {
	parts := []string{rows(f.rows), humanize.Comma(int64(f.rowsPerSecond)) + "/s"}
	if f.rows == 0 && f.phase != "" {
		parts = []string{f.phase}
	}
	if f.left >= 0 {
		parts = append(parts, Duration(f.left)+" left")
	}
	return append(parts, strings.TrimSuffix(f.done(), " copied"), Duration(f.elapsed))
}

// done is what was got through, in bytes or in what the plan counts.
func (f figures) done() string {
	if f.plan.Unit != "" {
		return fmt.Sprintf("%s of %s %s", humanize.Comma(f.heapBytes), humanize.Comma(f.plan.EstBytes), f.plan.Unit)
	}
	return humanize.IBytes(uint64(f.copyBytes)) + " copied"
}

func (f figures) plain() string {
	parts := []string{Duration(f.elapsed)}
	if f.phase != "" {
		parts = append(parts, f.phase)
	}
	if f.plan.EstBytes > 0 {
		parts = append(parts, fmt.Sprintf("%d%%", min(100, f.heapBytes*100/f.plan.EstBytes)))
	}
	parts = append(parts, rows(f.rows), f.done(),
		humanize.Comma(int64(f.rowsPerSecond))+" rows/s")
	if f.left >= 0 {
		parts = append(parts, Duration(f.left)+" left")
	}
	return "progress: " + strings.Join(parts, ", ")
}

func rows(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return humanize.Comma(n) + " rows"
}

// Duration is d for people: 0.3s, 12s, 3m05s, 2h10m.
func Duration(d time.Duration) string {
	switch {
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 59500*time.Millisecond:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour-500*time.Millisecond:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// jsonProgress is a "progress" or an "end" line.
type jsonProgress struct {
	Type           string   `json:"type"`
	ElapsedSeconds float64  `json:"elapsed_seconds"`
	Phase          string   `json:"phase"`
	Rows           int64    `json:"rows"`
	RowsPerSecond  float64  `json:"rows_per_second"`
	CopyBytes      int64    `json:"copy_bytes"`
	HeapBytes      int64    `json:"heap_bytes"`
	EstHeapBytes   int64    `json:"est_heap_bytes"`
	DatasetsDone   *int64   `json:"datasets_done,omitempty"`
	Datasets       *int64   `json:"datasets,omitempty"`
	SecondsLeft    *float64 `json:"seconds_left"`
	ChunksDone     int64    `json:"chunks_done"`
	Chunks         int      `json:"chunks"`
	FilesDone      int64    `json:"files_done"`
	Files          int      `json:"files"`
}

func (f figures) json(kind string) jsonProgress {
	j := jsonProgress{
		Type: kind, ElapsedSeconds: seconds(f.elapsed), Phase: f.phase, Rows: f.rows, RowsPerSecond: float64(int64(f.rowsPerSecond)),
		CopyBytes: f.copyBytes, HeapBytes: f.heapBytes, EstHeapBytes: f.plan.EstBytes,
		ChunksDone: f.chunks, Chunks: f.plan.Chunks, FilesDone: f.files, Files: f.plan.Files,
	}
	if f.plan.Unit != "" { // no bytes, and there is no other unit than datasets
		j.HeapBytes, j.EstHeapBytes = 0, 0
		j.DatasetsDone, j.Datasets = &f.heapBytes, &f.plan.EstBytes
	}
	if f.left >= 0 {
		left := seconds(f.left)
		j.SecondsLeft = &left
	}
	return j
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// json writes an event, or a line that is one already, as JSON.
func (d *Display) json(v any) {
	switch e := v.(type) {
	case Plan:
		bytes, datasets := e.EstBytes, (*int64)(nil)
		if e.Unit != "" {
			bytes, datasets = 0, &e.EstBytes
		}
		v = struct {
			Type         string `json:"type"`
			Files        int    `json:"files"`
			Chunks       int    `json:"chunks"`
			EstRows      int64  `json:"est_rows"`
			EstHeapBytes int64  `json:"est_heap_bytes"`
			Datasets     *int64 `json:"datasets,omitempty"`
		}{"plan", e.Files, e.Chunks, e.EstRows, bytes, datasets}
	case Phase:
		v = struct {
			Type           string  `json:"type"`
			Name           string  `json:"name"`
			ElapsedSeconds float64 `json:"elapsed_seconds"`
		}{"phase", e.Name, seconds(time.Since(d.began))}
	case FileDone:
		v = struct {
			Type      string `json:"type"`
			Path      string `json:"path"`
			Rows      int64  `json:"rows"`
			Bytes     int64  `json:"bytes"`
			RowGroups int64  `json:"row_groups"`
		}{"file", e.Path, e.Rows, e.Bytes, e.RowGroups}
	case Warning:
		v = struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}{"warning", e.Text}
	}
	enc := json.NewEncoder(d.opt.Out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a reader that went away must not end the run
}

// oneLine keeps a text, which may hold names from a database, from breaking its line or steering the terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), " ")
}
