package api

import (
	"maps"

	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/web"
)

// Kinds are what the gate is told of the routes.
func Kinds() map[string]gate.Kind { return maps.Clone(kinds) }

// ReadPlain reads a demand the short way, ReadAny the long one.
func ReadPlain(body []byte) (quantity int64, request string, ok bool) {
	d, ok := readPlain(body)
	return d.Quantity, d.RequestID, ok
}

// ReadAny is described at ReadPlain.
func ReadAny(body []byte) (quantity int64, request string, refusal *web.Problem) {
	d, refusal := decode[demand](body)
	return d.Quantity, d.RequestID, refusal
}
