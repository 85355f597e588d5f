package balance

import (
	"cmp"
	"slices"

	"github.com/seed27495941/seckill/recipe/registry"
)

// An Endpoint is a node as something to send requests to. Endpoints are
// comparable.
type Endpoint struct {
	ID          string `json:"id"`                    // the node's
	Incarnation string `json:"incarnation,omitempty"` // of its process
	Addr        string `json:"addr"`                  // host:port
	Weight      int    `json:"weight"`                // at least 1
}

// A process is what an endpoint's statistics belong to: another process with the
// same id starts anew, while address and weight may change.
type process struct{ id, incarnation string }

func (e Endpoint) process() process { return process{e.ID, e.Incarnation} }

// endpoints are those of nodes, in the order of their ids. An empty address
// leaves a node out.
func endpoints(nodes []registry.Node, addr func(registry.Node) string) []Endpoint {
	out := make([]Endpoint, 0, len(nodes))
	for _, n := range nodes {
		if at := addr(n); at != "" {
			out = append(out, Endpoint{ID: n.ID, Incarnation: n.Incarnation, Addr: at, Weight: n.EffectiveWeight()})
		}
	}
	slices.SortFunc(out, func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
