package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/registry"
)

// PushInput is a config for one node and for a while.
type PushInput struct {
	NodePath
	Body struct {
		ConfigText
		Seconds int    `json:"seconds,omitempty" minimum:"0" maximum:"86400" doc:"For how long, a day at most; left out: the node's own choice"`
		Comment string `json:"comment" minLength:"1" maxLength:"1000" doc:"Why"`
	}
}

// A Pushed config is in force at a node, whatever is published.
type Pushed struct {
	Until time.Time `json:"until"`
	Hash  string    `json:"hash" doc:"Of the config"`
}

// A Cleared node goes by what is published.
type Cleared struct {
	Had bool `json:"had" doc:"Whether something was pushed"`
}

// ReloadInput names what a node is to load again.
type ReloadInput struct {
	NodePath
	Body struct {
		Source string `json:"source" minLength:"1" maxLength:"100" doc:"As settings"`
	}
}

// PushConfig puts a config in force at one node, for a while. It counts there whatever is
// published, so it takes who may publish.
func (s *Service) PushConfig(ctx context.Context, in *PushInput) (*Answer[Pushed], error) {
	who, _ := access.FromContext(ctx)
	pushed, err := tell(ctx, s, deed{access.Admin, "node.push", in.ID}, in, in.Body, func(ctx context.Context, p *control.Process) (Pushed, error) {
		until, hash, err := p.Push(ctx, []byte(in.Body.Value), time.Duration(in.Body.Seconds)*time.Second, who.Name, in.Body.Comment)
		return Pushed{until.UTC(), hash}, err
	})
	if err != nil {
		return nil, err
	}
	return answer(pushed), nil
}

// ClearConfig ends what PushConfig began.
func (s *Service) ClearConfig(ctx context.Context, in *NodePath) (*Answer[Cleared], error) {
	cleared, err := tell(ctx, s, deed{access.Admin, "node.clear", in.ID}, in, nil, func(ctx context.Context, p *control.Process) (Cleared, error) {
		had, err := p.Clear(ctx)
		return Cleared{had}, err
	})
	if err != nil {
		return nil, err
	}
	return answer(cleared), nil
}

// override is what was pushed to a node, as the node shows it, or as it tells others if it
// does not answer; nil if nothing was.
func (s *Service) override(ctx context.Context, n registry.Node) json.RawMessage {
	var status struct {
		Config struct {
			Override json.RawMessage `json:"override"`
		} `json:"config"`
	}
	page, err := s.statusOf(ctx, n)
	if err == nil {
		err = json.Unmarshal(page, &status)
	}
	if err != nil {
		return n.Configs[node.OverrideKey]
	}
	return status.Config.Override
}

// ReloadNode has a node load something again, and tells when that is done.
func (s *Service) ReloadNode(ctx context.Context, in *ReloadInput) (*struct{}, error) {
	_, err := tell(ctx, s, deed{access.Operator, "node.reload", in.ID}, in, in.Body, func(ctx context.Context, p *control.Process) (any, error) {
		return nil, p.Reload(ctx, in.Body.Source)
	})
	return nil, err
}

// tellPatience is how long a node may take to do what it is told.
const tellPatience = 10 * time.Second

// toldNode is what the audit log has before a node is told something: what was pushed to
// it, and what it is asked to do, for whether it does may not become known.
type toldNode struct {
	Override json.RawMessage `json:"override,omitempty"`
	Asked    any             `json:"asked,omitempty"`
}

// tell tells one process something, as in says.
func tell[T any](ctx context.Context, s *Service, d deed, in, asked any, f func(context.Context, *control.Process) (T, error)) (told T, err error) {
	if err := s.may(ctx, d.role, in); err != nil {
		return told, err
	}
	n, err := s.node(d.target)
	if err != nil {
		return told, err
	}
	if n.RPC == "" || n.Incarnation == "" {
		return told, problem(unreachable, "The node tells no address at which other nodes reach it")
	}
	return do(ctx, s, d, toldNode{s.override(ctx, n), asked}, "", func(ctx context.Context) (told T, err error) {
		ctx, cancel := context.WithTimeout(ctx, tellPatience)
		defer cancel()
		p, err := control.Dial(s.cfg.Dial, n.RPC, n.Incarnation)
		if err != nil {
			return told, explained{problem(unreachable, err.Error()), err}
		}
		defer func() { _ = p.Close() }() // nothing is sent any more
		told, err = f(ctx, p)
		return told, controlProblem(err)
	})
}

// controlProblem adds what an error of package control means to operators.
func controlProblem(err error) error {
	switch {
	case errors.Is(err, control.ErrRefused):
		return explained{problem(refused, err.Error()), err}
	case errors.Is(err, control.ErrReplaced):
		return explained{problem(unreachable, err.Error()), err}
	case errors.Is(err, control.ErrUnreachable):
		return explained{problem(unreachable, err.Error()), fmt.Errorf("%w: %w", backend.ErrUnknown, err)}
	}
	return err
}

// A BlacklistState is how the blacklists of the nodes stand.
type BlacklistState struct {
	Nodes []NodeBlacklist `json:"nodes" nullable:"false"`
}

// A NodeBlacklist is that of one node.
type NodeBlacklist struct {
	ID        string          `json:"id"`
	Blacklist json.RawMessage `json:"blacklist,omitempty" doc:"As the node's status has it; left out if it has none"`
	Error     string          `json:"error,omitempty" doc:"Why the node could not be asked"`
}

const (
	// askedAtOnce bounds how many nodes are asked at the same time.
	askedAtOnce = 16

	// askPatience bounds how long all of them are asked: servers and browsers wait little
	// longer. Each has pagePatience.
	askPatience = 8 * time.Second
)

// GetBlacklist asks each node how its blacklist stands. Of those that don't answer, or
// that there is no time left for, it says so.
func (s *Service) GetBlacklist(ctx context.Context, _ *struct{}) (*Answer[BlacklistState], error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	nodes := s.directory.Nodes()
	state := BlacklistState{Nodes: make([]NodeBlacklist, len(nodes))}
	var asking errgroup.Group
	asking.SetLimit(askedAtOnce)
	for i, n := range nodes {
		asking.Go(func() error {
			state.Nodes[i] = s.blacklistOf(ctx, n)
			return nil
		})
	}
	_ = asking.Wait() // none fails
	return answer(state), nil
}

func (s *Service) blacklistOf(ctx context.Context, n registry.Node) NodeBlacklist {
	page, err := s.statusOf(ctx, n)
	var status struct {
		Gate struct {
			Blacklist json.RawMessage `json:"blacklist"`
		} `json:"gate"`
	}
	if err == nil {
		err = json.Unmarshal(page, &status)
	}
	b := NodeBlacklist{ID: n.ID, Blacklist: status.Gate.Blacklist}
	if err != nil {
		b.Error = err.Error()
	}
	return b
}
