package bench

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// Text is the report for a terminal.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s, %s)%s on PostgreSQL %s, %s here\n", r.Source.Name, r.Source.Kind, plural(r.Source.Columns, "column"), r.selection(), r.Server.Version, plural(r.Machine.Cores, "core"))
	b.WriteString("sample: " + r.sampleText() + "\n")
	fmt.Fprintf(&b, "each run %s, in an order of its own each (--seed %d); caches warm; medians, and lowest to highest\n\n", plural(r.Rounds, "time"), r.Seed)
	b.WriteString(table(r.rows()))
	b.WriteString("\nOne setting changed at a time; ratios to the base, round by round:\n")
	rows := [][]string{{"flag", "value", "time", "size", "time × size", ""}}
	for _, f := range r.Factors {
		for _, v := range f.Values {
			best := ""
			if v.Value == f.Best {
				best = "best"
			}
			rows = append(rows, []string{"--" + f.Flag, v.Value, fmt.Sprintf("%.2f", v.Wall), fmt.Sprintf("%.2f", v.Size), fmt.Sprintf("%.2f", v.Score), best})
		}
	}
	b.WriteString(table(rows))
	fmt.Fprintf(&b, "\nBottleneck: %s\n", r.Bottleneck.Name)
	for _, w := range r.Bottleneck.Why {
		b.WriteString("  " + w + "\n")
	}
	b.WriteString("\nRecommended:\n")
	for _, w := range r.Recommendation.Why {
		b.WriteString("  " + w + "\n")
	}
	fmt.Fprintf(&b, "flags:\n  %s\nbatch file:\n", r.Recommendation.Flags)
	for line := range strings.Lines(r.Recommendation.YAML) {
		b.WriteString("  " + line)
	}
	for _, w := range r.Warnings {
		b.WriteString("warning: " + w + "\n")
	}
	return b.String()
}

// selection is what of the source was read, behind its name.
func (r *Report) selection() string {
	var text string
	if len(r.Source.Selected) > 0 {
		text = ", columns " + strings.Join(r.Source.Selected, ", ")
	}
	if r.Source.Where != "" {
		text += ", where " + r.Source.Where
	}
	if r.Source.Options != "" {
		text += ", " + r.Source.Options
	}
	return text
}

func (r *Report) sampleText() string {
	if r.Sample.Pages == 0 {
		return "all of it, " + plural(r.Sample.Rows, "row")
	}
	return fmt.Sprintf("%.3g %% of the blocks, %s of %s, %s, %s", 100*float64(r.Sample.Pages)/float64(max(r.Source.Pages, 1)), humanize.Comma(r.Sample.Pages), plural(r.Source.Pages, "page"),
		humanize.Bytes(uint64(r.Sample.Bytes)), plural(r.Sample.Rows, "row"))
}

// rows are the series as a table, with its head.
func (r *Report) rows() [][]string {
	rows := [][]string{{"run", "parallel", "transport", "chunk", "compression", "row group", "wall s", "", "rows/s", "heap MB/s", "client CPU s", "server CPU s", "peak MiB", "file MB"}}
	for _, s := range r.Series {
		kind := s.Kind
		if s.Confirms {
			kind += ", confirming"
		}
		if s.Kind == KindExport && s.Setting == r.Base {
			kind += " (base)"
		}
		row := []string{kind}
		for _, f := range factors {
			cell := f.text(s.Setting)
			if !bears(s.Kind, f.flag) {
				cell = "–"
			}
			row = append(row, cell)
		}
		row = append(row, fmt.Sprintf("%.2f", s.Wall.Median), fmt.Sprintf("%.2f–%.2f", s.Wall.Low, s.Wall.High))
		known := func(have bool, format string, v float64) {
			if !have {
				row = append(row, "–")
				return
			}
			row = append(row, fmt.Sprintf(format, v))
		}
		if s.RowRate.Median > 0 {
			row = append(row, humanize.Comma(int64(s.RowRate.Median)))
		} else {
			row = append(row, "–")
		}
		known(s.HeapRate.Median > 0, "%.1f", s.HeapRate.Median/1e6)
		known(true, "%.2f", s.ClientCPU.Median)
		switch {
		case s.Kind != KindExport && s.Kind != KindFloor:
			row = append(row, "–")
		case !r.Server.Local:
			row = append(row, "not visible")
		default:
			known(true, "%.2f", s.ServerCPU.Median)
		}
		known(s.Peak.Median > 0, "%.0f", s.Peak.Median/(1<<20))
		known(s.Output > 0, "%.1f", float64(s.Output)/1e6)
		rows = append(rows, row)
	}
	return rows
}

// bears tells whether a setting has a bearing on a kind of run.
func bears(kind, flag string) bool {
	switch kind {
	case KindFloor:
		return flag == "parallel" || flag == "transport" || flag == "chunk-size"
	case KindDecode:
		return flag == "transport"
	case KindEncode:
		return flag == "compression" || flag == "row-group-size"
	case KindWrite:
		return false
	}
	return true
}

// table lays rows out in columns as wide as their widest cell.
func table(rows [][]string) string {
	var width []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		line := ""
		for i, cell := range r {
			line += cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
