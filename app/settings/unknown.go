package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed27495941/seckill/internal/near"
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
	if near := Nearest(name, keys); near != "" {
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
		if near := Nearest(name, names); near != "" {
			warnings = append(warnings, fmt.Sprintf("%s%s in the environment is not a setting, did you mean %[1]s%[3]s?", envPrefix, name, near))
		}
	}
	return warnings
}

// Nearest finds the name that was probably meant: the same but for its section,
// or not more than two keystrokes away, one if it is short. "" if there is none.
func Nearest(name string, names []string) string {
	best, least := "", 1+min(2, len(name)/3)
	for _, candidate := range names {
		if strings.HasSuffix(candidate, "."+name) {
			return candidate
		}
		if d := near.Distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}
