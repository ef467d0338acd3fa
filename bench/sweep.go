package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Sweep are the values to try of each setting. None of the lists is empty.
type Sweep struct {
	Parallel     []int
	Transport    []string // csv, binary
	ChunkBytes   []int64  // 0: chosen by the program
	Compression  []string // as parquetw.ParseCompression reads them
	RowGroupRows []int64
}

// factor is one setting that can be swept.
type factor struct {
	flag string
	len  func(*Sweep) int
	set  func(*Setting, *Sweep, int) // to the value of that index
	text func(Setting) string        // as the flag takes it
}

var factors = []factor{
	{
		"parallel", func(w *Sweep) int { return len(w.Parallel) },
		func(s *Setting, w *Sweep, i int) { s.Parallel = w.Parallel[i] },
		func(s Setting) string { return strconv.Itoa(s.Parallel) },
	},
	{
		"transport", func(w *Sweep) int { return len(w.Transport) },
		func(s *Setting, w *Sweep, i int) { s.Transport = w.Transport[i] },
		func(s Setting) string { return s.Transport },
	},
	{
		"chunk-size", func(w *Sweep) int { return len(w.ChunkBytes) },
		func(s *Setting, w *Sweep, i int) { s.ChunkBytes = w.ChunkBytes[i] },
		func(s Setting) string { return chunkText(s.ChunkBytes) },
	},
	{
		"compression", func(w *Sweep) int { return len(w.Compression) },
		func(s *Setting, w *Sweep, i int) { s.Compression = w.Compression[i] },
		func(s Setting) string { return s.Compression },
	},
	{
		"row-group-size", func(w *Sweep) int { return len(w.RowGroupRows) },
		func(s *Setting, w *Sweep, i int) { s.RowGroupRows = w.RowGroupRows[i] },
		func(s Setting) string { return strconv.FormatInt(s.RowGroupRows, 10) },
	},
}

// base is the setting around which one value at a time is changed: of each list the default where it is in there, else its
// first value.
func (w *Sweep) base(def Setting) Setting {
	s := def
	for _, f := range factors {
		at := 0
		for i := range f.len(w) {
			one := def
			if f.set(&one, w, i); f.text(one) == f.text(def) {
				at = i
			}
		}
		f.set(&s, w, at)
	}
	return s
}

// around are the base and its neighbours, each once.
func (w *Sweep) around(base Setting) []Setting {
	all := []Setting{base}
	for _, f := range factors {
		for i := range f.len(w) {
			s := base
			if f.set(&s, w, i); !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// chunkText is a chunk size as --chunk-size takes it, or auto.
func chunkText(n int64) string {
	if n == 0 {
		return "auto"
	}
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// String is the setting in one line, as keys and values.
func (s Setting) String() string {
	words := make([]string, len(factors))
	for i, f := range factors {
		words[i] = f.flag + "=" + f.text(s)
	}
	return strings.Join(words, " ")
}

// Flags is the setting as flags of an export.
func (s Setting) Flags() string {
	var words []string
	for _, f := range factors {
		if v := f.text(s); v != "auto" {
			words = append(words, "--"+f.flag+" "+v)
		}
	}
	return strings.Join(words, " ")
}

// YAML is the setting as the defaults of a batch file, which has no key for the transport.
func (s Setting) YAML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "defaults:\n  parallel: %d\n", s.Parallel)
	if s.ChunkBytes > 0 {
		fmt.Fprintf(&b, "  chunk: {size: %s}\n", chunkText(s.ChunkBytes))
	}
	fmt.Fprintf(&b, "  compression: %s\n  row_group_size: %d\n", s.Compression, s.RowGroupRows)
	if s.Transport != "binary" {
		fmt.Fprintf(&b, "# and on the command line: --transport %s\n", s.Transport)
	}
	return b.String()
}

// margin is what counts as a difference: what is better by less is as good.
const margin = 0.03

// ratio compares a series with the base's, round by round; always tells that it was better in each. It can't where they have no round in common.
func ratio(s, base *Series) (_ FactorValue, always, ok bool) {
	if !ran(s) || !ran(base) {
		return FactorValue{}, false, false
	}
	var walls []float64
	for _, r := range s.Runs {
		for _, b := range base.Runs {
			if b.Round == r.Round && b.Wall > 0 {
				walls = append(walls, r.Wall/b.Wall)
			}
		}
	}
	v := FactorValue{Wall: spread(walls).Median, Size: 1}
	if base.Output > 0 {
		v.Size = float64(s.Output) / float64(base.Output)
	}
	v.Score = v.Wall * v.Size
	return v, len(walls) > 0 && slices.Max(walls)*v.Size < 1, len(walls) > 0
}

// score is ratio's, of series that can be compared.
func score(s, base *Series) float64 {
	v, _, _ := ratio(s, base)
	return v.Score
}

// judge finds the best value of each factor among the series of exports, and the combination of them.
func (w *Sweep) judge(base Setting, find func(Setting) *Series) ([]Factor, Setting) {
	combined := base
	var out []Factor
	for _, f := range factors {
		fac := Factor{Flag: f.flag}
		var settings []Setting // of fac.Values: those that were measured
		least := -1
		for i := range f.len(w) {
			s := base
			f.set(&s, w, i)
			v, always, ok := ratio(find(s), find(base))
			if !ok {
				continue
			}
			v.Value = f.text(s)
			fac.Values, settings = append(fac.Values, v), append(settings, s)
			// What is better than the base in some rounds alone is so by chance.
			if (always || s == base) && (least < 0 || v.Score < fac.Values[least].Score) {
				least = len(fac.Values) - 1
			}
		}
		limit := fac.Values[least].Score * (1 + margin)
		best := least
		for i, v := range fac.Values {
			if v.Score > limit {
				continue
			}
			if f.flag == "parallel" { // fewer connections are as good
				if settings[i].Parallel < settings[best].Parallel {
					best = i
				}
			} else if settings[i] == base {
				best = i
			}
		}
		fac.Best = fac.Values[best].Value
		for i := range f.len(w) {
			s := base
			if f.set(&s, w, i); s == settings[best] {
				f.set(&combined, w, i)
			}
		}
		out = append(out, fac)
	}
	return out, combined
}

func spread(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	v = slices.Sorted(slices.Values(v))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return Spread{Median: mid, Low: v[0], High: v[len(v)-1]}
}
