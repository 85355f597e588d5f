package api

import (
	"net/http"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/web"
)

// kinds are what the routes are to the gate. Others are the service's own affair: what
// load balancers ask, the document, and paths that there are not.
var kinds = map[string]gate.Kind{
	"GET /v1/time":                gate.Public,
	"GET /v1/events/{id}/stream":  gate.Public,
	"GET /v1/events":              gate.Page,
	"GET /v1/events/{id}":         gate.Page,
	"GET /v1/topics/{id}":         gate.Page,
	"GET /v1/me/orders":           gate.Read,
	"GET /v1/orders/{id}":         gate.Read,
	"POST /v1/events/{id}/orders": gate.Order,
	"POST /v1/orders/{id}/cancel": gate.Cancel,
	"POST /v1/payments":           gate.Exempt,
}

func guard(g *gate.Gate) web.Guard {
	return func(pattern string, next http.Handler) http.Handler {
		return g.Guard(gate.Route{Pattern: pattern, Kind: kinds[pattern]}, next)
	}
}

// bearer is what an operation of buyers needs, as the document says it.
var bearer = []map[string][]string{{"bearer": {}}}
