package cli

import (
	"bytes"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"fast-export/internal/export"
)

// collectorAt notes the collector's percentage when certain lines come by.
type collectorAt struct {
	lines []string
	seen  map[string]uint64
}

func (c *collectorAt) Write(p []byte) (int, error) {
	for _, l := range c.lines {
		if _, have := c.seen[l]; !have && bytes.Contains(p, []byte(l)) {
			c.seen[l] = collector()
		}
	}
	return len(p), nil
}

func collector() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// A listing only grows: the collector that is set for the reading would go through it over and over. Not parallel: the percentage is
// the process's.
func TestListingCollector(t *testing.T) {
	repo, before := unpackRepo(t, "sqlite_plain"), collector()
	for _, c := range []struct {
		gogc          string
		listing, then uint64
	}{{"", 100, 15}, {"77", before, before}} {
		e := &collectorAt{lines: []string{"datasets listed", `"type":"end"`}, seen: map[string]uint64{}}
		getenv := func(name string) string {
			if name == "GOGC" {
				return c.gogc
			}
			return ""
		}
		a := &app{Env: Env{Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: e, Getenv: getenv}, run: export.Run, dryRun: export.DryRun}
		args := []string{"butler", filepath.Join(t.TempDir(), "o.parquet"), repo, "u/me/run1", "--where", "visit < 4", "--log-level", "debug", "--progress", "json"}
		if code := a.main(t.Context(), args); code != 0 || len(e.seen) != 2 || e.seen[e.lines[0]] != c.listing || e.seen[e.lines[1]] != c.then || collector() != before {
			t.Errorf("GOGC %q: code %d, %v, want %d and %d, and %d afterwards, not %d", c.gogc, code, e.seen, c.listing, c.then, before, collector())
		}
	}
}
