package config

import (
	"slices"
	"strings"
)

// suggest returns the end of a message about an unknown name: the nearest valid name, or all of them if they are few.
func suggest(name string, valid []string) string {
	const few = 12
	if best := Nearest(name, valid); best != "" {
		return "; did you mean " + quote(best) + "?"
	}
	if len(valid) == 0 || len(valid) > few {
		return "; see `milterd doc config`"
	}
	return "; use " + oneOf(slices.Sorted(slices.Values(valid)))
}

// oneOf joins alternatives, as in "a, b or c".
func oneOf(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Nearest returns the valid name that a misspelt one most likely stands for, or "" if there is none.
func Nearest(name string, valid []string) string {
	const maxName = 64 // bytes; valid names are shorter, and the time of distance is quadratic
	if len(name) > maxName {
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

// fold removes differences that do not count: case, and underscore or hyphen.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }

// distance returns the number of letters to add, delete, change or swap with their neighbour to turn a into b. It is the
// restricted Damerau-Levenshtein distance.
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
