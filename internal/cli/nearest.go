package cli

import (
	"maps"
	"slices"
)

// nearest returns the candidate that a person most likely meant by word, or "": nothing is near.
func nearest(word string, candidates []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	if least >= max(len(word), 1) { // every letter would have to change
		return ""
	}
	return best
}

// distance is the Damerau-Levenshtein distance (its variant of optimal string alignment) of two words: how many letters
// have to be put in, left out, changed or swapped with their neighbour.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	two, one := make([]int, len(t)+1), make([]int, len(t)+1) // the last rows but one and but none
	row := make([]int, len(t)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(t)]
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
