package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/seed27495941/seckill/app/payment"
)

// describe says in the document what its operations have in common.
func (s *Service) describe() {
	d := s.OpenAPI()
	d.Info.Description = "Buy units while they last. Every refusal is a problem (RFC 9457) with a `code` that never changes. " +
		"After 429 and 503 send the same request again, with the same request id: it is decided once."
	d.Tags = []*huma.Tag{
		{Name: "events", Description: "What is sold, and when"},
		{Name: "orders", Description: "A buyer's orders"},
		{Name: "payments", Description: "For the payment service"},
	}
	d.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {
			Type: "http", Scheme: "bearer", BearerFormat: "JWT",
			Description: "A JWT (EdDSA or HS256) whose subject is the buyer",
		},
		"signature": {
			Type: "apiKey", In: "header", Name: payment.Header,
			Description: "t=<seconds since 1970>,v1=<HMAC-SHA256 of time, dot and body, as 64 hex digits>",
		},
	}
}

// pathParam describes a part of a path.
func pathParam(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
}
