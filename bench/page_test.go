package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fast-export/internal/pgtest"
)

// browser is a headless Chromium, driven by its DevTools protocol over a pair of pipes: a JSON message and a zero byte each way.
// Source: chromedevtools.github.io/devtools-protocol, "--remote-debugging-pipe".
type browser struct {
	t       *testing.T
	out     *os.File
	in      *bufio.Reader
	id      int
	session string
	said    []string // errors on the console, exceptions, failed requests
	asked   []string // URLs of requests
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	program, env := pgtest.Chromium(t)
	toRead, toWrite, err := os.Pipe() // the browser reads what we write
	if err != nil {
		t.Fatal(err)
	}
	fromRead, fromWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.Env = append(os.Environ(), env...)
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // descriptors 3 and 4
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toRead.Close()
	fromWrite.Close()
	b := &browser{t: t, out: toWrite, in: bufio.NewReaderSize(fromRead, 1<<20)}
	if err := fromRead.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		toWrite.Close() // which closes the browser
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%s: %v\n%s", program, err, stderr.Bytes())
		}
		fromRead.Close()
	})
	var target struct {
		ID string `json:"targetId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		ID string `json:"sessionId"`
	}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	b.session = attached.ID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// next reads one message, and notes what the page says.
func (b *browser) next() message {
	b.t.Helper()
	text, err := b.in.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("the browser: %v", err)
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		b.t.Fatal(err)
	}
	switch m.Method {
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Network.loadingFailed":
		b.said = append(b.said, m.Method+" "+string(m.Params))
	case "Network.requestWillBeSent":
		var p struct {
			Request struct {
				URL string `json:"url"`
			} `json:"request"`
		}
		if err := json.Unmarshal(m.Params, &p); err != nil {
			b.t.Fatal(err)
		}
		b.asked = append(b.asked, p.Request.URL)
	}
	return m
}

func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.id++
	m := map[string]any{"id": b.id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if b.session != "" {
		m["sessionId"] = b.session
	}
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.out.Write(append(text, 0)); err != nil {
		b.t.Fatal(err)
	}
	for {
		got := b.next()
		if got.ID != b.id {
			continue
		}
		if got.Error != nil {
			b.t.Fatalf("%s: %s", method, got.Error)
		}
		if result != nil {
			if err := json.Unmarshal(got.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// open loads a file at a width and waits until it is loaded.
func (b *browser) open(path string, width int) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	for b.next().Method != "Page.loadEventFired" {
	}
}

// eval runs JavaScript in the page and decodes what it gives.
func (b *browser) eval(script string, into any) {
	b.t.Helper()
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}, &r)
	if r.Exception != nil {
		b.t.Fatalf("%s: %s", script, r.Exception)
	}
	if err := json.Unmarshal(r.Result.Value, into); err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
}

// The colours of a chart's pixels, white and transparent ones left out, and where its box lies.
const look = `(id => {
	const c = document.getElementById(id), p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, seen = {};
	for (let i = 0; i < p.length; i += 4) {
		if (p[i+3] < 255 || p[i] + p[i+1] + p[i+2] > 750) continue;
		const k = [p[i], p[i+1], p[i+2]].join(",");
		seen[k] = (seen[k] || 0) + 1;
	}
	const box = c.getBoundingClientRect();
	return { seen, width: box.width, height: box.height, right: box.right };
})`

// report is a report like one of a server, made up.
func report(t *testing.T) *Report {
	t.Helper()
	r := swept(t, &model{
		wall: func(s Setting) float64 {
			return 4 / float64(s.Parallel) * map[string]float64{"csv": 0.8, "binary": 1}[s.Transport]
		},
		size: func(s Setting) int64 {
			return int64(1e7 * map[string]float64{"zstd:1": 1, "snappy": 1.3}[s.Compression])
		},
	})
	r.Source.Name, r.FastExport, r.Server.Version, r.Go = `public."</script><script>document.title='broken'</script>"`, "v1", "17.2", "go1.26"
	r.Machine.OS, r.Machine.Arch, r.Cache = "linux", "amd64", "warm"
	r.Started = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.Sample.Rows = 1000
	return r
}

func TestPage(t *testing.T) {
	r := report(t)
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bench.html")
	if err := os.WriteFile(path, page, 0o644); err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t)
	for _, width := range []int{400, 1600} {
		b.open(path, width)
		var wide struct{ Page, Window float64 }
		b.eval(`({ Page: document.documentElement.scrollWidth, Window: document.documentElement.clientWidth })`, &wide)
		if wide.Window != float64(width) || wide.Page > wide.Window {
			t.Errorf("at %d pixels the page is %v wide in a window of %v", width, wide.Page, wide.Window)
		}
		var cut []string
		b.eval(`[...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + " " + e.id)`, &cut)
		if len(cut) > 0 {
			t.Errorf("at %d pixels these lie beyond the edge: %q", width, cut)
		}
		var small []string
		b.eval(`[...document.querySelectorAll("main p, main li, main pre, td, th")].filter(e => parseFloat(getComputedStyle(e).fontSize) < 13).map(e => e.tagName)`, &small)
		if len(small) > 0 {
			t.Errorf("at %d pixels these are too small to read: %q", width, small)
		}
		for id, colours := range map[string][]string{
			"parallel": {"11,92,173", "191,57,137", "26,127,55"}, // the export and two floors
			"stages":   {"11,92,173", "154,103,0"},               // the whole, and its stages
			"sizes":    {"11,92,173", "191,57,137", "26,127,55", "154,103,0", "130,80,223"},
		} {
			var got struct {
				Seen                 map[string]int
				Width, Height, Right float64
			}
			b.eval(look+"("+strconv.Quote(id)+")", &got)
			if got.Width < math.Min(float64(width)*0.25, 350) || got.Height < 200 || got.Right > float64(width) {
				t.Errorf("at %d pixels chart %s is %v × %v, to %v", width, id, got.Width, got.Height, got.Right)
			}
			for _, c := range colours {
				if got.Seen[c] < 20 {
					t.Errorf("at %d pixels chart %s has %d pixels of %s", width, id, got.Seen[c], c)
				}
			}
		}
		var text, heading string
		b.eval(`document.body.innerText`, &text)
		b.eval(`document.title`, &heading)
		for _, want := range []string{r.Source.Name, r.Recommendation.Flags, "Bottleneck: " + r.Bottleneck.Name, "17.2", r.Recommendation.Why[0]} {
			if !strings.Contains(text, want) {
				t.Errorf("at %d pixels the page lacks %q", width, want)
			}
		}
		if heading != "fast-export bench: "+r.Source.Name {
			t.Errorf("the title is %q", heading)
		}
	}
	for _, s := range b.said {
		t.Errorf("the page says: %s", s)
	}
	for _, url := range b.asked {
		if url != "file://"+path && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asks for %.200s", url)
		}
	}
	// What the watching would miss, it would miss above too.
	broken := bytes.Replace(page, []byte(`new Chart("sizes"`), []byte(`console.error("x"); fetch("http://localhost:9/"); new Missing("sizes"`), 1)
	if err := os.WriteFile(path, broken, 0o644); err != nil {
		t.Fatal(err)
	}
	b.open(path, 1600)
	var empty struct{ Seen map[string]int }
	b.eval(look+`("sizes")`, &empty)
	all := strings.Join(b.said, "\n")
	if len(empty.Seen) > 0 || !strings.Contains(all, "Missing is not defined") || !strings.Contains(all, "consoleAPICalled") || !strings.Contains(all, "Content Security Policy") {
		t.Errorf("a broken page: %d colours, and it says %s", len(empty.Seen), all)
	}
}

// The charts hold every series that they are to show, with the right figures.
func TestCharts(t *testing.T) {
	r := report(t)
	c := r.charts()
	if len(c.Parallel) != 3 || c.Parallel[0].Floor || !c.Parallel[1].Floor || !c.Parallel[2].Floor {
		t.Fatalf("got %+v", c.Parallel)
	}
	for _, l := range c.Parallel {
		if len(l.Points) != 3 || l.Points[0].X != 1 || l.Points[1].X != 2 || l.Points[2].X != 4 || l.Points[0].Y >= l.Points[2].Y {
			t.Errorf("%s: %+v", l.Label, l.Points)
		}
	}
	want := find(r, KindExport, defaults)
	if got := c.Parallel[0].Points[1].Y; got != want.RowRate.Median {
		t.Errorf("got %v, want %v", got, want.RowRate.Median)
	}
	points := 0
	for _, l := range c.Sizes {
		points += len(l.Points)
	}
	if points != len(sweep.around(defaults))+1 { // and the combination
		t.Errorf("%d points of size against time: %+v", points, c.Sizes)
	}
	if len(c.Stages) != 6 { // the model has no server's CPU
		t.Errorf("stages %+v", c.Stages)
	}
}

// benchstat reads the lines, their units and their configuration.
func TestGoBench(t *testing.T) {
	r := report(t)
	r.Series[0].Runs[0].ServerCPU = 0.25
	path := filepath.Join(t.TempDir(), "bench.txt")
	if err := os.WriteFile(path, []byte(r.GoBench()), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), pgtest.Benchstat(t), append(args, path)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr.Bytes())
		}
		if strings.Contains(stderr.String(), path) { // a line that it does not understand
			t.Errorf("benchstat says %s", stderr.Bytes())
		}
		return string(out)
	}
	out := run("-format", "csv", "-filter", ".name:Export", "-row", "/parallel", "-col", "/transport")
	for _, want := range []string{
		"goos: linux", "pkg: fast-export/bench", "postgres: 17.2", "go: go1.26", "cores: 4", "cache: warm", "seed: 7", "sample: 1000 rows, 40960 heap bytes",
		"sec/op", "rows/s", "heap-B/s", "client-sec/op", "server-sec/op", "peak-B", "output-B", ",binary,", ",csv,",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	base := find(r, KindExport, defaults)
	only := run("-format", "csv", "-filter", "/parallel:4 .name:Export .unit:sec/op")
	four := defaults
	four.Parallel = 4
	if want := fmt.Sprintf("%.4g", find(r, KindExport, four).Wall.Median); !strings.Contains(only, want[:4]) {
		t.Errorf("lacks %s (the base has %v):\n%s", want, base.Wall.Median, only)
	}
	// What docs/bench.md says: two files of two days side by side, and one setting alone.
	other := filepath.Join(t.TempDir(), "new.txt")
	r.Seed, r.FastExport, r.Sample.Rows = 8, "v2", 1001
	if err := os.WriteFile(other, []byte(r.GoBench()), 0o644); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	both, one := "benchstat -filter '.name:Export' -table source,columns,where,options -ignore .config OLD NEW",
		`benchstat -filter '.name:Export /transport:binary /chunk-size:auto /compression:"zstd:1" /row-group-size:1000000' -row .name -col /parallel FILE`
	for _, command := range []string{both, one} {
		if !strings.Contains(string(doc), "\n"+command+"\n") {
			t.Errorf("docs/bench.md lacks %s", command)
		}
	}
	out = run("-format", "csv", "-filter", ".name:Export", "-table", "source,columns,where,options", "-ignore", ".config", other)
	if strings.Count(out, ",vs base,") != 7 /* units */ || strings.Contains(out, "Floor/") || strings.Count(out, "\nExport/") == 0 {
		t.Errorf("two files:\n%s", out)
	}
	out = run("-format", "csv", "-filter", `.name:Export .unit:sec/op /transport:binary /chunk-size:auto /compression:"zstd:1" /row-group-size:1000000`, "-row", ".name", "-col", "/parallel")
	if strings.Count(out, "\nExport,") != 1 || strings.Count(out, "vs base") != 2 || strings.Contains(out, "vary") {
		t.Errorf("one setting:\n%s", out)
	}
	if n := strings.Count(r.GoBench(), "\nBenchmark"); n != 5*(len(sweep.around(defaults))+7+2+2+1) {
		t.Errorf("%d lines", n)
	}
}
