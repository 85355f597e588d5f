package web

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// ProblemType is the media type of a [Problem].
const ProblemType = "application/problem+json"

// A Problem is why a request was not done, as RFC 9457 has it. It is an error that
// operations may return.
type Problem struct { //nolint:errname // RFC 9457 calls it so
	Title  string  `json:"title" doc:"The HTTP status in words"`
	Status int     `json:"status" doc:"The HTTP status"`
	Code   string  `json:"code" doc:"Which problem it is, for programs: it never changes"`
	Detail string  `json:"detail,omitempty" doc:"What happened, for people"`
	Faults []Fault `json:"faults,omitempty" nullable:"false" doc:"What is wrong with the request, part by part"`

	header http.Header
}

// A Fault is one thing wrong with a request.
type Fault struct {
	Where string `json:"where,omitempty" doc:"As query.limit"`
	What  string `json:"what"`
}

// NewProblem makes a problem.
func NewProblem(status int, code, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// With adds a header to the answer, and returns p.
func (p *Problem) With(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return ProblemType }

// Write answers with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	for name := range p.header {
		w.Header().Set(name, p.header.Get(name))
	}
	w.Header().Set("Content-Type", ProblemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// Refuse answers with a problem in place of an operation: it is for middleware.
func Refuse(ctx huma.Context, p *Problem) {
	_, w := humago.Unwrap(ctx)
	p.Write(w)
}

// codes are those of the problems that are found before an operation is reached.
var codes = map[int]string{
	http.StatusBadRequest:            "malformed",
	http.StatusUnprocessableEntity:   "invalid",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusRequestTimeout:        "timeout",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusServiceUnavailable:    "unavailable",
}

// codeOf is "internal" for what should not happen.
func codeOf(status int) string {
	if code, ok := codes[status]; ok {
		return code
	}
	return "internal"
}

// translate makes problems of the library's own.
func translate(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := NewProblem(m.Status, codeOf(m.Status), m.Detail)
	if p.Status >= http.StatusInternalServerError {
		return p, nil // what went wrong inside is not for strangers
	}
	for _, e := range m.Errors {
		p.Faults = append(p.Faults, Fault{Where: e.Location, What: e.Message})
	}
	return p, nil
}

// describe says in the document what translate makes of it.
func describe(document *huma.OpenAPI, op *huma.Operation) {
	schemas := document.Components.Schemas
	for _, r := range op.Responses {
		if _, ok := r.Content[ProblemType]; ok {
			r.Content[ProblemType] = ProblemSchema(schemas)
		}
	}
	delete(schemas.Map(), "ErrorModel")
	delete(schemas.Map(), "ErrorDetail")
}

// ProblemSchema is how a problem is described in a document.
func ProblemSchema(schemas huma.Registry) *huma.MediaType {
	return &huma.MediaType{Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")}
}

// IsJSON reports whether a Content-Type is JSON's, or none is given.
func IsJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	return media == "" || strings.EqualFold(media, "application/json")
}
