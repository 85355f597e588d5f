package selftest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/selftest.md's table")

const (
	pagePath      = "../../docs/selftest.md"
	mutationsPath = "../../docs/mutations.md"
	tableBegin    = "<!-- the table is written by go test ./conformance/selftest -update -->\n"
)

// The page shows the stores as they are here.
func TestPage(t *testing.T) {
	content, err := os.ReadFile(pagePath)
	require.NoError(t, err)
	text, have, found := strings.Cut(string(content), tableBegin)
	require.True(t, found, "%s has no line %q", pagePath, tableBegin)
	if *update {
		require.NoError(t, os.WriteFile(pagePath, []byte(text+tableBegin+table()), 0o644))
		return
	}
	require.Equal(t, table(), have, "run: go test ./conformance/selftest -run TestPage -update")
}

func table() string {
	var b strings.Builder
	b.WriteString("| broken store | what it does wrong | seen in | rejected by |\n|---|---|---|---|\n")
	for _, d := range defects() {
		var cases []string
		for _, c := range d.cases {
			cases = append(cases, "`"+c+"`")
		}
		if d.waits != "" {
			cases = append(cases, "by waiting in vain")
		}
		seen := d.seen
		if seen == "" {
			seen = "–"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, d.wrong, seen, strings.Join(cases, ", "))
	}
	return b.String()
}
