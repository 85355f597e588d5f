package web_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/web"
)

type query struct {
	Limit int `query:"limit" minimum:"1"`
}

// service has one operation, that fails.
func service(err error) *web.Service {
	s := web.New("t", "v1", func() error { return errors.New("not yet") }, nil)
	huma.Register(s, huma.Operation{OperationID: "fail", Method: http.MethodGet, Path: "/fail"}, func(context.Context, *query) (*struct{}, error) {
		return nil, err
	})
	return s
}

func get(t *testing.T, s http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	assert.Equal(t, web.ProblemType, w.Header().Get("Content-Type"), path)
	return w
}

func TestProblemsHaveCodes(t *testing.T) {
	s := service(web.NewProblem(http.StatusConflict, "sold_out", "all gone").With("Retry-After", "3"))
	w := get(t, s, "/fail")
	assert.Equal(t, http.StatusConflict, w.Code)
	assert.Equal(t, "3", w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"title":"Conflict","status":409,"code":"sold_out","detail":"all gone"}`, w.Body.String())

	for path, want := range map[string]string{
		"/fail?limit=0": `{"title":"Unprocessable Entity","status":422,"code":"invalid","detail":"validation failed",
			"faults":[{"where":"query.limit","what":"expected number >= 1"}]}`,
		"/nothing":           `{"title":"Not Found","status":404,"code":"not_found"}`,
		"//nothing/../there": `{"title":"Not Found","status":404,"code":"not_found"}`,
		"/readyz":            `{"title":"Service Unavailable","status":503,"code":"unavailable","detail":"not yet"}`,
	} {
		assert.JSONEq(t, want, get(t, s, path).Body.String(), path)
	}
}

// An error that is no problem is a defect, about which strangers learn nothing.
func TestDefectsAreNotTold(t *testing.T) {
	w := get(t, service(errors.New("the password is x")), "/fail")
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.NotContains(t, w.Body.String(), "password")
	assert.Contains(t, w.Body.String(), `"code":"internal"`)
}

func TestDocumentKnowsProblemsOnly(t *testing.T) {
	document, err := service(nil).OpenAPI().MarshalJSON()
	require.NoError(t, err)
	assert.Contains(t, string(document), "#/components/schemas/Problem")
	assert.NotContains(t, string(document), "ErrorModel")
}

// Nothing passes by the guard, which is told the route.
func TestEveryRequestPassesTheGuard(t *testing.T) {
	var passed []string
	s := web.New("t", "v1", func() error { return nil }, func(pattern string, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			passed = append(passed, pattern+" "+r.PathValue("id"))
			next.ServeHTTP(w, r)
		})
	})
	huma.Register(s, huma.Operation{OperationID: "get", Method: http.MethodGet, Path: "/things/{id}"}, func(context.Context, *struct{}) (*struct{}, error) {
		return &struct{}{}, nil
	})
	s.Handle(&huma.Operation{OperationID: "put", Method: http.MethodPut, Path: "/things/{id}"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, asked := range []struct{ method, path, pattern string }{
		{http.MethodGet, "/things/7", "GET /things/{id} 7"},
		{http.MethodHead, "/things/8", "GET /things/{id} 8"},
		{http.MethodPut, "/things/9", "PUT /things/{id} 9"},
		{http.MethodDelete, "/things/9", " "},
		{http.MethodGet, "/nothing", " "},
		{http.MethodGet, "/livez", "GET /livez "},
		{http.MethodGet, "/readyz", "GET /readyz "},
		{http.MethodGet, "/openapi.json", "GET /openapi.json "},
	} {
		passed = nil
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), asked.method, asked.path, http.NoBody))
		assert.Equal(t, []string{asked.pattern}, passed, asked.path)
	}
}
