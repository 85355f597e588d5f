// Package webtest holds the answers of a service against its OpenAPI document, and that
// against the one which is checked in. It is for tests only.
package webtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/pmezard/go-difflib/difflib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the documents of services that are checked in")

// CheckedIn holds a document that is served against the one in a file, which is written
// anew with -update.
func CheckedIn(t *testing.T, file, served string) {
	t.Helper()
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, []byte(served), "", "  "))
	indented.WriteByte('\n')
	if *update {
		require.NoError(t, os.WriteFile(file, indented.Bytes(), 0o644)) //nolint:gosec // anybody may read it
	}
	checkedIn, err := os.ReadFile(file)
	require.NoError(t, err)
	diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(string(checkedIn)), FromFile: "checked in",
		B: difflib.SplitLines(indented.String()), ToFile: "served", Context: 3,
	})
	require.NoError(t, err)
	assert.Empty(t, diff, "make openapi writes it anew")
}

// Operation finds what a document says of a request, nil if it has no such path. Of several
// that fit it is the one with the fewest parameters.
func Operation(doc *huma.OpenAPI, q *http.Request) *huma.Operation {
	var found *huma.Operation
	literals := -1
	for path, item := range doc.Paths {
		same, fits := match(strings.Split(path, "/"), strings.Split(q.URL.Path, "/"))
		op := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete}[q.Method]
		if fits && op != nil && same > literals {
			found, literals = op, same
		}
	}
	return found
}

// match counts the parts of a path that are as in the pattern.
func match(pattern, asked []string) (same int, fits bool) {
	if len(pattern) != len(asked) {
		return 0, false
	}
	for i := range pattern {
		switch {
		case pattern[i] == asked[i]:
			same++
		case !strings.HasPrefix(pattern[i], "{") || asked[i] == "":
			return 0, false
		}
	}
	return same, true
}

// Conforms holds an answer against a document, and returns what that says of it: nil if it
// says nothing of such requests, or the answer is not in it.
func Conforms(t *testing.T, doc *huma.OpenAPI, q *http.Request, status int, kind, body string) *huma.Response {
	t.Helper()
	op := Operation(doc, q)
	if op == nil {
		return nil
	}
	r := op.Responses[strconv.Itoa(status)]
	if r == nil {
		r = op.Responses["default"]
	}
	if !assert.NotNil(t, r, "%s %s: %d is not in the document: %s", q.Method, q.URL.Path, status, body) || body == "" {
		return r
	}
	media := r.Content[kind]
	if !assert.NotNil(t, media, "%s %s: %d has %q, which is not in the document", q.Method, q.URL.Path, status, kind) {
		return nil
	}
	if base, _, _ := mime.ParseMediaType(kind); !strings.HasSuffix(base, "json") || base == "application/x-ndjson" {
		return r
	}
	var v any
	require.NoError(t, json.Unmarshal([]byte(body), &v))
	found := &huma.ValidateResult{}
	huma.Validate(doc.Components.Schemas, media.Schema, huma.NewPathBuffer([]byte{}, 0), huma.ModeReadFromServer, v, found)
	assert.Empty(t, found.Errors, "%s %s: %s", q.Method, q.URL.Path, body)
	return r
}
