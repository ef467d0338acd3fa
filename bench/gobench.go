package bench

import (
	"fmt"
	"strings"
)

// GoBenchStart is how every Report.GoBench begins.
const GoBenchStart = "pkg: fast-export/bench\n"

// GoBench is the report in the Go benchmark format, a line a run, as benchstat reads it. Source: "Go Benchmark Data Format",
// golang.org/design/14313-benchmark-format, and the units of golang.org/x/perf/benchunit.
func (r *Report) GoBench() string {
	var b strings.Builder
	config := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, strings.Join(strings.Fields(value), " "))
		}
	}
	b.WriteString(GoBenchStart)
	config("goos", r.Machine.OS)
	config("goarch", r.Machine.Arch)
	config("fast-export", r.FastExport)
	config("commit", r.Commit)
	config("go", r.Go)
	config("postgres", r.Server.Version)
	config("cores", fmt.Sprint(r.Machine.Cores))
	config("cache", r.Cache)
	config("source", r.Source.Name)
	config("columns", strings.Join(r.Source.Selected, ", "))
	config("where", r.Source.Where)
	config("options", r.Source.Options)
	config("sample", fmt.Sprintf("%d rows, %d heap bytes", r.Sample.Rows, r.Sample.Bytes))
	config("seed", fmt.Sprint(r.Seed))
	b.WriteString("Unit sec/op better=lower\nUnit rows/s better=higher\nUnit heap-B/s better=higher\nUnit client-sec/op better=lower\n" +
		"Unit server-sec/op better=lower\nUnit peak-B better=lower\nUnit output-B better=lower\n")
	for _, s := range r.Series {
		if s.Confirms { // in other rounds than the sweep's
			continue
		}
		name := "Benchmark" + strings.ToUpper(s.Kind[:1]) + s.Kind[1:]
		for _, f := range factors {
			name += "/" + f.flag + "=" + f.text(s.Setting)
		}
		for _, run := range s.Runs {
			fmt.Fprintf(&b, "%s-%d 1 %.6f sec/op", name, r.Machine.Cores, run.Wall)
			if s.Rows > 0 && run.Wall > 0 {
				fmt.Fprintf(&b, " %.0f rows/s", float64(s.Rows)/run.Wall)
			}
			if s.HeapRate.Median > 0 && run.Wall > 0 {
				fmt.Fprintf(&b, " %.0f heap-B/s", float64(r.Sample.Bytes)/run.Wall)
			}
			fmt.Fprintf(&b, " %.6f client-sec/op", run.ClientCPU)
			if run.ServerCPU > 0 {
				fmt.Fprintf(&b, " %.6f server-sec/op", run.ServerCPU)
			}
			fmt.Fprintf(&b, " %d peak-B", run.Peak)
			if s.Output > 0 {
				fmt.Fprintf(&b, " %d output-B", s.Output)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
