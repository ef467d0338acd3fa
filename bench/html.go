package bench

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"sort"
)

// Chart.js draws the charts. It lies in chartjs/ as its npm package chart.js 4.6.1 has it, with its licence (MIT).
//
//go:embed chartjs/chart.umd.min.js
var chartJS string

//go:embed page.html
var pageHTML string

// HTMLStart is how every Report.HTML begins.
const HTMLStart = "<!DOCTYPE html>\n<!-- fast-export bench -->\n"

var page = template.Must(template.New("page").Parse(pageHTML))

// point is one place in a chart.
type point struct {
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
	Label string  `json:"label"`
}

// line is a named row of points.
type line struct {
	Label  string  `json:"label"`
	Points []point `json:"points"`
	Floor  bool    `json:"floor"`
}

// charts are what the page draws.
type charts struct {
	Parallel []line  `json:"parallel"` // x connections, y rows a second
	Stages   []point `json:"stages"`   // x seconds for a million rows
	Sizes    []line  `json:"sizes"`    // x s, y MB
}

// HTML is the report as one page that needs no network.
func (r *Report) HTML() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(HTMLStart)
	err := page.Execute(&b, map[string]any{
		"Report": r, "Charts": r.charts(), "Table": r.rows(), "Sample": r.sampleText(), "Selection": r.selection(), "ChartJS": template.JS(chartJS),
		"Percent": percent, "Cores": plural(r.Machine.Cores, "core"), "Rounds": plural(r.Rounds, "round"), "Started": r.Started.Format("2006-01-02 15:04 MST"),
	})
	return b.Bytes(), err
}

func (r *Report) charts() charts {
	c := charts{Parallel: []line{}, Stages: []point{}, Sizes: []line{}}
	throughput := func(kind, transport, label string) {
		l := line{Label: label, Floor: kind == KindFloor, Points: []point{}}
		for _, s := range r.Series {
			want := r.Base
			want.Parallel, want.Transport = s.Setting.Parallel, transport
			if s.Kind == kind && !s.Confirms && s.Setting == want {
				l.Points = append(l.Points, point{float64(s.Setting.Parallel), s.RowRate.Median, s.Setting.String()})
			}
		}
		sort.Slice(l.Points, func(i, j int) bool { return l.Points[i].X < l.Points[j].X })
		if len(l.Points) > 0 {
			c.Parallel = append(c.Parallel, l)
		}
	}
	throughput(KindExport, r.Base.Transport, "export, "+r.Base.Transport)
	other := map[string]string{"binary": "csv", "csv": "binary"}[r.Base.Transport]
	for _, t := range []string{r.Base.Transport, other} {
		throughput(KindFloor, t, "floor: COPY thrown away, "+t)
	}

	stage := func(label string, seconds float64, rows int64) {
		if seconds > 0 && rows > 0 {
			c.Stages = append(c.Stages, point{seconds / float64(rows) * 1e6, 0, label})
		}
	}
	for _, s := range r.Series {
		of := func(kind string) bool { return s.Kind == kind && s.Setting == r.Base && !s.Confirms }
		switch {
		case of(KindFloor):
			stage("COPY thrown away, wall", s.Wall.Median, s.Rows)
			stage("COPY thrown away, server CPU", s.ServerCPU.Median, s.Rows)
		case of(KindDecode):
			stage("decoding alone, CPU", s.ClientCPU.Median, s.Rows)
		case of(KindEncode):
			stage("encoding alone, CPU", s.ClientCPU.Median, s.Rows)
		case of(KindWrite):
			stage("writing alone, wall", s.Wall.Median, r.Sample.Rows)
		case of(KindExport):
			stage("the whole export, client CPU", s.ClientCPU.Median, s.Rows)
			stage("the whole export, server CPU", s.ServerCPU.Median, s.Rows)
			stage("the whole export, wall", s.Wall.Median, s.Rows)
		}
	}
	for _, f := range factors {
		l := line{Label: "--" + f.flag, Points: []point{}}
		for _, s := range r.Series {
			rest := s.Setting
			for _, g := range factors { // the base but for this factor
				if g.flag != f.flag && g.text(s.Setting) != g.text(r.Base) {
					rest.Parallel = -1
				}
			}
			if s.Kind == KindExport && rest.Parallel > 0 && s.Setting != r.Base {
				l.Points = append(l.Points, point{s.Wall.Median, float64(s.Output) / 1e6, fmt.Sprintf("%s %s", f.flag, f.text(s.Setting))})
			}
		}
		if len(l.Points) > 0 {
			c.Sizes = append(c.Sizes, l)
		}
	}
	for _, s := range r.Series {
		if s.Kind == KindExport && (s.Setting == r.Base && !s.Confirms || s.Confirms && s.Setting != r.Base) {
			label := "base"
			if s.Confirms {
				label = "the best combined"
			}
			c.Sizes = append(c.Sizes, line{Label: label, Points: []point{{s.Wall.Median, float64(s.Output) / 1e6, s.Setting.String()}}})
		}
	}
	return c
}
