package api_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/web/webtest"
)

// The document that is checked in is the one that is served.
func TestDocumentIsCheckedIn(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		a := s.get("/openapi.json", "")
		require.Equal(t, http.StatusOK, a.status)
		webtest.CheckedIn(t, "../../docs/openapi-api.json", a.body)
	})
}

// Whatever the document refers to is in it, and what it has is referred to, if only
// by words: a stream's data has no place of its own.
func TestDocumentIsWhole(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		document := s.get("/openapi.json", "").body
		schemas := s.service.OpenAPI().Components.Schemas.Map()
		referred := map[string]bool{"State": true}
		for _, ref := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(document, -1) {
			name, ours := strings.CutPrefix(ref[1], "#/components/schemas/")
			assert.True(t, ours, ref[1])
			assert.Contains(t, schemas, name)
			referred[name] = true
		}
		for name := range schemas {
			assert.True(t, referred[name], "nothing refers to %s", name)
		}
		for path, item := range s.service.OpenAPI().Paths {
			op := item.Get
			if op == nil {
				op = item.Post
			}
			var inPath []string
			for _, p := range op.Parameters {
				if p.In == "path" {
					inPath = append(inPath, "{"+p.Name+"}")
				}
			}
			assert.Equal(t, regexp.MustCompile(`\{[a-z]+\}`).FindAllString(path, -1), inPath, path)
			assert.NotEmpty(t, op.Summary, path)
		}
	})
}

// The page for people has all that the document has.
func TestPageNamesEveryCode(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		page, err := os.ReadFile("../../docs/api.md")
		require.NoError(t, err)
		for _, answer := range documented(s) {
			if code := answer[strings.LastIndex(answer, " ")+1:]; code != "" {
				assert.Contains(t, string(page), "`"+code+"`", answer)
			}
		}
	})
}
