// Package web is what the HTTP services have in common: an OpenAPI document of
// what they offer, problems as RFC 9457 has them, and two questions that load
// balancers ask.
package web

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// A Service is an HTTP service to add operations to.
type Service struct {
	huma.API
	mux *http.ServeMux
}

// New makes a service that has /openapi.json, /livez and /readyz. ready says
// why it should not get requests at present, in words for strangers.
func New(title, version string, ready func() error) *Service {
	config := huma.DefaultConfig(title, version)
	config.DocsPath = ""     // its page would load scripts from elsewhere
	config.SchemasPath = ""  // they are in the document
	config.CreateHooks = nil // no link to a schema in every answer
	config.Transformers = append(config.Transformers, translate)
	config.OnAddOperation = append(config.OnAddOperation, describe)
	mux := http.NewServeMux()
	s := &Service{API: humago.New(mux, config), mux: mux}
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

// Handle adds an operation that answers by itself, without the library's
// reflection. op describes it in the document.
func (s *Service) Handle(op *huma.Operation, h http.Handler) {
	s.OpenAPI().AddOperation(op)
	s.mux.Handle(op.Method+" "+op.Path, h)
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := s.mux.Handler(r); pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
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
