package settings

import (
	"fmt"
	"slices"
	"strings"
)

// unknown says what to do about a key that is none.
func unknown(name string) string {
	for prefix, advice := range moved() {
		if name == prefix || strings.HasPrefix(name, prefix+".") {
			return advice
		}
	}
	var keys []string
	for _, k := range known() {
		keys = append(keys, k.key)
	}
	if near := nearest(name, keys); near != "" {
		return fmt.Sprintf("unknown key, did you mean %s?", near)
	}
	return "unknown key"
}

// suspicious warns about names in the environment that are almost settings.
func suspicious(environ []string) []string {
	var names, warnings []string
	for _, k := range known() {
		names = append(names, strings.TrimPrefix(envName(k.key), envPrefix))
	}
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		name, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(names, name) {
			continue
		}
		if near := nearest(name, names); near != "" {
			warnings = append(warnings, fmt.Sprintf("%s%s in the environment is not a setting, did you mean %[1]s%[3]s?", envPrefix, name, near))
		}
	}
	return warnings
}

// nearest finds the name that was probably meant: the same but for its section,
// or not more than two keystrokes away, one if it is short. "" if there is none.
func nearest(name string, names []string) string {
	best, least := "", 1+min(2, len(name)/3)
	for _, candidate := range names {
		if strings.HasSuffix(candidate, "."+name) {
			return candidate
		}
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements between two names
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
