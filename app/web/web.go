// Package web is what the HTTP services have in common: an OpenAPI document of
// what they offer, problems as RFC 9457 has them, and two questions that load
// balancers ask.
package web

import (
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/seed27495941/seckill/backend"
)

// A Guard stands before what answers the requests of a route. The pattern is the
// route's, as [http.ServeMux] has it; "" is for requests that have none.
type Guard func(pattern string, next http.Handler) http.Handler

// A Service is an HTTP service to add operations to.
type Service struct {
	huma.API
	mux     *guarded
	nowhere http.Handler
}

// guarded is a mux whose routes have a guard.
type guarded struct {
	http.ServeMux
	guard Guard
}

// HandleFunc is what the library adds routes with.
func (m *guarded) HandleFunc(pattern string, f func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, m.guard(pattern, http.HandlerFunc(f)))
}

// New makes a service that has /openapi.json, /livez and /readyz. ready says
// why it should not get requests at present, in words for strangers. No request
// passes by the guard; nil: there is none.
func New(title, version string, ready func() error, guard Guard) *Service {
	if guard == nil {
		guard = func(_ string, next http.Handler) http.Handler { return next }
	}
	config := huma.DefaultConfig(title, version)
	config.DocsPath = ""     // its page would load scripts from elsewhere
	config.SchemasPath = ""  // they are in the document
	config.CreateHooks = nil // no link to a schema in every answer
	config.Formats = map[string]huma.Format{"application/json": strictJSON, "json": strictJSON}
	config.Transformers = append(config.Transformers, translate)
	config.OnAddOperation = append(config.OnAddOperation, describe)
	mux := &guarded{guard: guard}
	s := &Service{API: humago.New(mux, config), mux: mux}
	s.nowhere = guard("", http.HandlerFunc(s.refuse))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			problem(http.StatusServiceUnavailable, err.Error()).Write(w)
			return
		}
		answer(w, "ready")
	})
	return s
}

// strictJSON reads one value that has no name twice.
var strictJSON = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		if _, err := backend.DecodeJSON[any](backend.Entry{Key: "body", Value: data}); err != nil {
			return err
		}
		return json.Unmarshal(data, v)
	},
}

// Handle adds an operation that answers by itself, without the library's
// reflection. op describes it in the document.
func (s *Service) Handle(op *huma.Operation, h http.Handler) {
	s.OpenAPI().AddOperation(op)
	s.mux.HandleFunc(op.Method+" "+op.Path, h.ServeHTTP)
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := s.mux.Handler(r); pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	s.nowhere.ServeHTTP(w, r)
}

// refuse answers requests that have no route.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request) {
	// The mux knows whether it is the path or the method that does not exist,
	// but says so in plain text.
	refusal := &statusOnly{header: w.Header()}
	s.mux.ServeHTTP(refusal, r)
	if refusal.status < http.StatusBadRequest {
		// A redirect, to a tidier path that does not exist either.
		w.Header().Del("Location")
		refusal.status = http.StatusNotFound
	}
	problem(refusal.status, "").Write(w)
}

// statusOnly keeps the headers and the status of an answer.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }

func problem(status int, detail string) *Problem { return NewProblem(status, codeOf(status), detail) }

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text + "\n"))
}
