// Package example holds docs/drivers.md to the code that it is about. It is a
// test and nothing else.
package example

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/conformance"
)

const page = "../../docs/drivers.md"

func TestExcerptsAreOfTheSource(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"boltstore/*.go", "../../backend/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			source.WriteString("\n")
			source.Write(content)
		}
	}
	excerpts := regexp.MustCompile("(?s)\n```go\n(.*?\n)```\n").FindAllStringSubmatch(read(t), -1)
	require.NotEmpty(t, excerpts)
	for _, e := range excerpts {
		assert.Contains(t, source.String(), "\n"+e[1], "not in the source:\n%s", e[1])
	}
}

func TestCasesExist(t *testing.T) {
	known := map[string]bool{}
	groups := map[string]bool{}
	for _, c := range conformance.Cases() {
		known[c.Name] = true
		group, _, _ := strings.Cut(c.Name, "/")
		groups[group] = true
	}
	named := 0
	for _, name := range regexp.MustCompile("`([a-z]+)/[a-z-]+`").FindAllStringSubmatch(read(t), -1) {
		if groups[name[1]] {
			named++
			assert.True(t, known[strings.Trim(name[0], "`")], "no case %s", name[0])
		}
	}
	require.NotZero(t, named)
}

func TestLinksLeadSomewhere(t *testing.T) {
	text := read(t)
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors["#"+strings.ReplaceAll(plain, " ", "-")] = true
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		switch to := link[1]; {
		case strings.HasPrefix(to, "https://"):
		case strings.HasPrefix(to, "#"):
			assert.True(t, anchors[to], "no heading for %s", to)
		default:
			_, err := os.Stat(filepath.Join(filepath.Dir(page), to))
			assert.NoError(t, err)
		}
	}
}

func read(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	return string(content)
}
