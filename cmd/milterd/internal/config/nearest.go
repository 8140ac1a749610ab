package config

import (
	"slices"
	"strings"
)

// didYouMean is the end of a message about an unknown name: the nearest valid one, else all of them if they are few.
func didYouMean(name string, valid []string) string {
	const few = 12
	if best := nearest(name, valid); best != "" {
		return "; did you mean " + quote(best) + "?"
	}
	if len(valid) == 0 || len(valid) > few {
		return ""
	}
	valid = slices.Sorted(slices.Values(valid))
	return "; want " + oneOf(valid)
}

// oneOf joins alternatives for a message: "a, b or c".
func oneOf(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// nearest is the valid name that a mistyped one is most likely meant to be, or empty if none is near.
func nearest(name string, valid []string) string {
	const longest = 64 // no valid name is longer, and the distance takes quadratic time
	if len(name) > longest {
		return ""
	}
	name = fold(name)
	best, least := "", max(1, len(name)/3)+1
	for _, v := range slices.Sorted(slices.Values(valid)) {
		if d := distance(name, fold(v)); d < least {
			best, least = v, d
		}
	}
	return best
}

// fold takes away what people mix up.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }

// distance counts the letters to add, drop, change or swap with their neighbour to get from a to b (Damerau and
// Levenshtein, restricted: no letter is moved twice).
func distance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
