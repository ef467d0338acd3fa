package butler

import "strings"

// isPattern tells whether Butler takes a collection expression for a glob: it has a *, a ? or a pair of brackets.
// Source: globToRegex in lsst/daf/butler/utils.py.
func isPattern(s string) bool {
	if strings.ContainsAny(s, "*?") {
		return true
	}
	i := strings.IndexByte(s, '[')
	return i >= 0 && strings.IndexByte(s[i:], ']') >= 0
}

// globToken is one position of a glob.
type globToken struct {
	kind   byte // 'c' one given rune, '?' any rune, '*' any run of runes, '[' one of ranges
	r      rune
	negate bool
	ranges []rune // pairs lo, hi
}

// glob is a pattern by the rules of Python's fnmatch.fnmatchcase: * (also across slashes), ?, [seq], [!seq]; no escapes,
// an opening bracket that is never closed stands for itself, the whole name must match.
type glob []globToken

// parseGlob never fails: every text is a pattern.
func parseGlob(pattern string) glob {
	var g glob
	p := []rune(pattern)
	for i := 0; i < len(p); {
		c := p[i]
		i++
		switch c {
		case '*':
			if len(g) == 0 || g[len(g)-1].kind != '*' {
				g = append(g, globToken{kind: '*'})
			}
		case '?':
			g = append(g, globToken{kind: '?'})
		case '[':
			j := i
			if j < len(p) && p[j] == '!' {
				j++
			}
			if j < len(p) && p[j] == ']' { // first in the set: a literal
				j++
			}
			for j < len(p) && p[j] != ']' {
				j++
			}
			if j >= len(p) {
				g = append(g, globToken{kind: 'c', r: '['})
				continue
			}
			set := p[i:j]
			i = j + 1
			t := globToken{kind: '['}
			if set[0] == '!' {
				t.negate, set = true, set[1:]
			}
			for k := 0; k < len(set); k++ {
				lo, hi := set[k], set[k]
				if k+2 < len(set) && set[k+1] == '-' {
					hi = set[k+2]
					k += 2
				}
				if lo <= hi { // a range the wrong way round is empty
					t.ranges = append(t.ranges, lo, hi)
				}
			}
			g = append(g, t)
		default:
			g = append(g, globToken{kind: 'c', r: c})
		}
	}
	return g
}

func (t *globToken) matches(r rune) bool {
	switch t.kind {
	case '?':
		return true
	case 'c':
		return t.r == r
	}
	in := false
	for i := 0; i < len(t.ranges); i += 2 {
		if t.ranges[i] <= r && r <= t.ranges[i+1] {
			in = true
			break
		}
	}
	return in != t.negate
}

// match tells whether the whole of name fits. The time is at most len(g) times len(name).
func (g glob) match(name string) bool {
	n := []rune(name)
	gi, ni := 0, 0
	star, mark := -1, 0 // position of the last *, and how much of name it has taken so far
	for ni < len(n) {
		switch {
		case gi < len(g) && g[gi].kind == '*':
			star, mark = gi, ni
			gi++
		case gi < len(g) && g[gi].matches(n[ni]):
			gi++
			ni++
		case star >= 0:
			mark++
			gi, ni = star+1, mark
		default:
			return false
		}
	}
	for gi < len(g) && g[gi].kind == '*' {
		gi++
	}
	return gi == len(g)
}

// nearest gives up to three names that are close to what was typed, best first, for error messages.
func nearest(typed string, names []string) []string {
	type candidate struct {
		name string
		d    int
	}
	var best []candidate
	limit := 2 + len(typed)/4
	low := strings.ToLower(typed)
	for _, n := range names {
		d := editDistance(low, strings.ToLower(n), limit)
		if d > limit && typed != "" && strings.Contains(strings.ToLower(n), low) {
			d = limit // a part of a name is close enough to be worth showing
		}
		if d > limit {
			continue
		}
		at := len(best)
		for at > 0 && (best[at-1].d > d || best[at-1].d == d && best[at-1].name > n) {
			at--
		}
		if at < 3 {
			best = append(best, candidate{})
			copy(best[at+1:], best[at:])
			best[at] = candidate{n, d}
			best = best[:min(len(best), 3)]
		}
	}
	out := make([]string, len(best))
	for i, c := range best {
		out[i] = c.name
	}
	return out
}

// editDistance is the Levenshtein distance over bytes, or some number beyond limit when it is larger than limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j-1]+cost, prev[j]+1, cur[j-1]+1)
		}
		prev, cur = cur, prev
	}
	return prev[len(b)]
}
