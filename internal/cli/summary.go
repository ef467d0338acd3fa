package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"fast-export/internal/export"
	"fast-export/internal/progress"
)

func anyDone(r *export.Result) bool {
	for _, f := range r.Files {
		if f.Err == nil {
			return true
		}
	}
	return false
}

// summary is what stands on stdout after a run. Counts are in full; a size says its bytes and what they come to.
func summary(r *export.Result, warnings int64) string {
	var b strings.Builder
	var rows, lost int64
	for _, f := range r.Files {
		if f.Err != nil {
			continue
		}
		rows += f.Rows
		fmt.Fprintf(&b, "%s: %s, %s, %s, %s\n", f.Path, plural(f.Rows, "row"), plural(int64(len(f.Columns)), "column"),
			plural(f.RowGroups, "row group"), bytesText(f.Bytes))
		fmt.Fprintf(&b, "  %s: %s\n", oneLine(f.Source), f.Plan)
		for _, c := range f.Columns {
			if n := losses(c); n != "" {
				fmt.Fprintf(&b, "  %s (%s): %s\n", strconv.Quote(c.Name), c.Postgres, n)
			}
			lost += c.Inexact + c.Nonfinite + c.Clamped + c.Replaced + c.FellBack
		}
	}
	seconds := max(r.Elapsed.Seconds(), 1e-9)
	fmt.Fprintf(&b, "%s and %s from the server in %s: %s rows/s, %s/s, over %s\n", plural(rows, "row"), bytesText(r.CopyBytes),
		progress.Duration(r.Elapsed), humanize.Comma(int64(float64(rows)/seconds)), humanize.IBytes(uint64(float64(r.CopyBytes)/seconds)),
		plural(int64(r.Workers), "connection"))
	s := r.Snapshot
	fmt.Fprintf(&b, "snapshot %s (%s)", s.ID, s.Fingerprint)
	if s.LSN != "" {
		fmt.Fprintf(&b, " at LSN %s", s.LSN)
	}
	fmt.Fprintf(&b, " of PostgreSQL %s, held %s\n", s.Server, progress.Duration(s.Held))
	if r.TempBytes > 0 {
		fmt.Fprintf(&b, "temporary files took %s at most\n", bytesText(r.TempBytes))
	}
	if r.KeptDir != "" {
		fmt.Fprintf(&b, "temporary files kept in %s\n", r.KeptDir)
	}
	fmt.Fprintf(&b, "counted: %s that lost something, %s, %s\n", plural(lost, "value"), plural(int64(r.Redone), "redone chunk"), plural(warnings, "warning"))
	return b.String()
}

// losses names what values of a column lost, or "".
func losses(c export.Column) string {
	var parts []string
	for _, l := range []struct {
		n    int64
		what string
	}{
		{c.Inexact, "inexact"}, {c.Nonfinite, "non-finite"}, {c.Clamped, "clamped"}, {c.Replaced, "replaced"}, {c.FellBack, "fallen back"},
	} {
		if l.n > 0 {
			parts = append(parts, humanize.Comma(l.n)+" "+l.what)
		}
	}
	return strings.Join(parts, ", ")
}

// plural is a count in full with its noun.
func plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(n) + " " + noun
}

// bytesText is a size in full and, where that is hard to read, in a larger unit too.
func bytesText(n int64) string {
	s := plural(n, "byte")
	if n >= 10_000 {
		s += " (" + humanize.IBytes(uint64(n)) + ")"
	}
	return s
}

// planText is what --dry-run prints.
func planText(r *export.PlanReport) string {
	var b strings.Builder
	for _, j := range r.Jobs {
		b.WriteString(oneLine(j.Source))
		if j.Out != "" {
			b.WriteString(" → " + j.Out)
		}
		b.WriteString("\n")
		fmt.Fprintf(&b, "  kind      %s\n", j.Kind)
		fmt.Fprintf(&b, "  split     %s\n", j.Split)
		size := fmt.Sprintf("%s: heap %s, TOAST %s", plural(j.Pages, "page"), bytesText(j.HeapBytes), bytesText(j.ToastBytes))
		if all := j.HeapBytes + j.ToastBytes; all > 0 {
			size += fmt.Sprintf(", %.0f%% of both", 100*float64(j.ToastBytes)/float64(all))
		}
		fmt.Fprintf(&b, "  size      %s\n", size)
		fmt.Fprintf(&b, "  estimate  %s, %s\n", plural(j.EstRows, "row"), bytesText(j.EstBytes))
		fmt.Fprintf(&b, "  chunks    %s\n", humanize.Comma(int64(len(j.Chunks))))
		rows := [][]string{}
		for i, c := range j.Chunks {
			if len(j.Chunks) > maxChunkLines && i >= maxChunkLines-2 && i < len(j.Chunks)-1 {
				if i == maxChunkLines-2 {
					rows = append(rows, []string{"…", plural(int64(len(j.Chunks)-maxChunkLines+1), "more chunk"), "", ""})
				}
				continue
			}
			rows = append(rows, []string{strconv.Itoa(i), c.Relation, c.Where, humanize.IBytes(uint64(max(0, c.EstBytes)))})
		}
		b.WriteString(table("    ", nil, rows))
		fmt.Fprintf(&b, "  columns   %s\n", humanize.Comma(int64(len(j.Columns))))
		rows = rows[:0]
		for _, c := range j.Columns {
			rows = append(rows, []string{c.Name, c.Postgres, c.Arrow, c.Parquet, c.Note})
		}
		b.WriteString(table("    ", []string{"name", "postgres", "arrow", "parquet", "note"}, rows))
	}
	fmt.Fprintf(&b, "cost for the server (PostgreSQL %s)\n", r.Server)
	fmt.Fprintf(&b, "  reads through shared_buffers  %s; it has %s\n", bytesText(r.SharedBuffersBytes), bytesText(r.ServerBuffersBytes))
	free := ""
	if r.FreeConnections >= 0 {
		free = " of " + humanize.Comma(int64(r.FreeConnections)) + " free"
	}
	fmt.Fprintf(&b, "  connections                   %s%s\n", humanize.Comma(int64(r.Connections)), free)
	return b.String()
}

// maxChunkLines is how many chunks --dry-run lists one by one.
const maxChunkLines = 20

// table lays rows out in columns, which are as wide as their widest cell.
func table(indent string, head []string, rows [][]string) string {
	if head != nil {
		rows = append([][]string{head}, rows...)
	}
	var width []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(oneLine(cell)))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		line := indent
		for i, cell := range r {
			cell = oneLine(cell)
			line += cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
