// Package api is the buyers' HTTP service. Nothing about the system itself is
// told here: that is the business of packages admin and ops.
package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed27495941/seckill/app/web"
)

// New makes the service. ready says why it should not get requests at present.
func New(version string, ready func() error) http.Handler {
	service := web.New("Flash sale", version, ready)
	huma.Register(service, huma.Operation{
		OperationID: "get-time",
		Method:      http.MethodGet,
		Path:        "/v1/time",
		Summary:     "The time that sales go by",
		Description: "Countdowns should go by it, not by the clock of the buyer's device.",
	}, now)
	return service
}

type clock struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Now time.Time `json:"now"`
	}
}

func now(context.Context, *struct{}) (*clock, error) {
	c := &clock{CacheControl: "no-store"}
	c.Body.Now = time.Now().UTC()
	return c, nil
}
