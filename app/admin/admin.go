// Package admin is the operators' HTTP service.
package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

// New makes the service of a process that is a node.
func New(version string, self *node.Node) http.Handler {
	service := web.New("Flash sale administration", version, self.Ready)
	a := &admin{self: self, directory: self.Directory()}
	huma.Register(service, huma.Operation{
		OperationID: "list-nodes",
		Method:      http.MethodGet,
		Path:        "/v1/nodes",
		Summary:     "The nodes that are listed",
		Description: "From this process's copy of the list, also while the store is away: see synced and stalenessSeconds.",
	}, a.nodes)
	huma.Register(service, huma.Operation{
		OperationID: "get-config",
		Method:      http.MethodGet,
		Path:        "/v1/config",
		Summary:     "The cluster config: what is published, what is in force, and where",
	}, a.config)
	return service
}

type admin struct {
	self      *node.Node
	directory *registry.Directory
}

type nodeList struct {
	Body struct {
		Nodes    []listed `json:"nodes" nullable:"false"`
		Problems []stray  `json:"problems,omitempty" nullable:"false" doc:"Keys among the nodes that are none"`

		Synced           bool    `json:"synced" doc:"Whether the list was read at all"`
		StalenessSeconds float64 `json:"stalenessSeconds" doc:"Time since the store last confirmed the list"`
	}
}

type listed struct {
	ID string `json:"id"`
	registry.Node
}

type stray struct {
	Key      string           `json:"key"`
	Revision backend.Revision `json:"revision"`
	Error    string           `json:"error"`
}

func (a *admin) nodes(context.Context, *struct{}) (*nodeList, error) {
	list := &nodeList{}
	list.Body.Nodes = []listed{}
	for _, n := range a.directory.Nodes() {
		list.Body.Nodes = append(list.Body.Nodes, listed{n.ID, n})
	}
	for _, p := range a.directory.Problems() {
		list.Body.Problems = append(list.Body.Problems, stray{p.Key, p.Revision, p.Err.Error()})
	}
	if staleness := a.directory.Staleness(); staleness >= 0 {
		list.Body.Synced, list.Body.StalenessSeconds = true, staleness.Seconds()
	}
	return list, nil
}

type config struct {
	Body struct {
		Published published         `json:"published" doc:"What the store has"`
		Here      node.ConfigStatus `json:"here" doc:"What this process makes of it"`
		Nodes     []applied         `json:"nodes" nullable:"false" doc:"What the listed nodes have in force"`
	}
}

type published struct {
	Exists   bool             `json:"exists"`
	Revision backend.Revision `json:"revision,omitempty"`
	Hash     string           `json:"hash,omitempty" doc:"Of the value"`
	Value    string           `json:"value,omitempty" doc:"As it was written, whether it can be used or not"`
	Error    string           `json:"error,omitempty" doc:"Why the store could not be asked"`
}

type applied struct {
	ID          string `json:"id"`
	InForceHash string `json:"inForceHash"`
	Same        bool   `json:"same" doc:"Whether that is what this process has in force"`
}

func (a *admin) config(ctx context.Context, _ *struct{}) (*config, error) {
	c := &config{}
	c.Body.Published = a.published(ctx)
	c.Body.Here = a.self.ConfigStatus()
	c.Body.Nodes = []applied{}
	for _, n := range a.directory.Nodes() {
		c.Body.Nodes = append(c.Body.Nodes, applied{n.ID, n.Config, n.Config == c.Body.Here.InForceHash})
	}
	return c, nil
}

// published asks the store, but not for long: a page that shows what is in
// force is of most use while the store is away.
func (a *admin) published(ctx context.Context) published {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	e, err := a.self.Published(ctx)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return published{}
	case err != nil:
		return published{Error: err.Error()}
	}
	return published{Exists: true, Revision: e.Revision, Hash: dynconf.Hash(e.Value), Value: string(e.Value)}
}
