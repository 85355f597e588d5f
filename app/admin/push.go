package admin

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/recipe/registry"
)

// PushInput is a config for one node and for a while.
type PushInput struct {
	NodePath
	Body struct {
		ConfigText
		Seconds int    `json:"seconds,omitempty" minimum:"0" maximum:"2592000" doc:"For how long; left out: the node's own choice"`
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

// PushConfig puts a config in force at one node, for a while.
func (s *Service) PushConfig(ctx context.Context, in *PushInput) (*Answer[Pushed], error) {
	who, _ := access.FromContext(ctx)
	return tell(ctx, s, "node.push", in.NodePath, in, in.Body, func(ctx context.Context, p *control.Process) (Pushed, error) {
		until, hash, err := p.Push(ctx, []byte(in.Body.Value), time.Duration(in.Body.Seconds)*time.Second, who.Name, in.Body.Comment)
		return Pushed{until.UTC(), hash}, err
	})
}

// ClearConfig ends what PushConfig began.
func (s *Service) ClearConfig(ctx context.Context, in *NodePath) (*Answer[Cleared], error) {
	return tell(ctx, s, "node.clear", *in, in, nil, func(ctx context.Context, p *control.Process) (Cleared, error) {
		had, err := p.Clear(ctx)
		return Cleared{had}, err
	})
}

// ReloadNode has a node load something again, and tells when that is done.
func (s *Service) ReloadNode(ctx context.Context, in *ReloadInput) (*struct{}, error) {
	_, err := tell(ctx, s, "node.reload", in.NodePath, in, in.Body, func(ctx context.Context, p *control.Process) (any, error) {
		return in.Body, p.Reload(ctx, in.Body.Source)
	})
	return nil, err
}

// tellPatience is how long a node may take to do what it is told.
const tellPatience = 10 * time.Second

// tell tells one process something, as in says. before, in the audit log, is what it is
// told.
func tell[T any](ctx context.Context, s *Service, name string, at NodePath, in, what any, f func(context.Context, *control.Process) (T, error)) (*Answer[T], error) {
	if err := s.may(ctx, access.Operator, in); err != nil {
		return nil, err
	}
	n, err := s.node(at.ID)
	if err != nil {
		return nil, err
	}
	if n.RPC == "" || n.Incarnation == "" {
		return nil, problem(unreachable, "The node tells no address at which other nodes reach it")
	}
	told, err := do(ctx, s, deed{access.Operator, name, at.ID}, what, "", func(ctx context.Context) (told T, err error) {
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
	if err != nil {
		return nil, err
	}
	return answer(told), nil
}

// controlProblem adds what an error of package control means to operators.
func controlProblem(err error) error {
	for class, c := range map[error]code{control.ErrRefused: refused, control.ErrReplaced: unreachable, control.ErrUnreachable: unreachable} {
		if errors.Is(err, class) {
			return explained{problem(c, err.Error()), err}
		}
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
