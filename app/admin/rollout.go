package admin

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/dynconf/rollout"
)

// A Consistency tells whether the nodes have in force what they should, node by node.
type Consistency struct {
	rollout.Consistency
	Reports []NodeReport `json:"reports" nullable:"false"`
}

// A NodeReport is what a node says of the cluster config.
type NodeReport struct {
	ID          string          `json:"id"`
	InForceHash string          `json:"inForceHash" doc:"Of all that is in force, the node's own settings included"`
	Same        bool            `json:"same" doc:"Whether it has what it should"`
	Selected    bool            `json:"selected" doc:"Whether the rollout selects it"`
	Report      *dynconf.Report `json:"report,omitempty" doc:"Left out if it told nothing that can be read"`
	Why         string          `json:"why,omitempty" doc:"Why it is not the same, as far as that is known"`
}

// GetConsistency compares what the nodes report with what is published and on trial.
func (s *Service) GetConsistency(ctx context.Context, _ *struct{}) (*Answer[Consistency], error) {
	c, err := s.consistency(ctx)
	if err != nil {
		return nil, err
	}
	return answer(c), nil
}

func (s *Service) consistency(ctx context.Context) (Consistency, error) {
	current, err := s.currentRollout(ctx)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return Consistency{}, s.refuse(err, "")
	}
	found, err := s.cfg.Node.Rollouts().Consistency(ctx)
	if err != nil {
		return Consistency{}, s.refuse(err, "")
	}
	drift := map[string]rollout.Drift{}
	for _, d := range found.Drift {
		drift[d.Node] = d
	}
	c := Consistency{found, []NodeReport{}}
	for _, n := range s.directory.Nodes() {
		d, drifts := drift[n.ID]
		r := NodeReport{ID: n.ID, InForceHash: n.Config, Same: !drifts, Why: d.Why}
		r.Selected = current.State == dynconf.Trial && current.Selects(dynconf.Node{ID: n.ID, Labels: n.Labels})
		var report dynconf.Report
		if raw, ok := n.Configs[settings.ConfigKey]; ok && json.Unmarshal(raw, &report) == nil {
			r.Report = &report
		}
		c.Reports = append(c.Reports, r)
	}
	return c, nil
}

// currentRollout is the present rollout, on trial or over. Errors: backend.ErrNotFound if
// there is none.
func (s *Service) currentRollout(ctx context.Context) (dynconf.Rollout, error) {
	return s.cfg.Node.Rollouts().Current(ctx)
}

// A RolloutState is how far a gray release has come.
type RolloutState struct {
	Rollout     dynconf.Rollout `json:"rollout"`
	Consistency Consistency     `json:"consistency"`
}

// GetRollout tells how the present rollout stands, node by node.
func (s *Service) GetRollout(ctx context.Context, _ *struct{}) (*Versioned[RolloutState], error) {
	r, err := s.currentRollout(ctx)
	if err != nil {
		return nil, s.refuse(err, noSuchRollout)
	}
	c, err := s.consistency(ctx)
	if err != nil {
		return nil, err
	}
	return &Versioned[RolloutState]{etag(r.Revision), RolloutState{r, c}}, nil
}

// StartInput is a config that is to be tried.
type StartInput struct {
	SeenOrNew
	Body struct {
		ConfigText
		dynconf.Target
		MaxFailures int    `json:"maxFailures,omitempty" minimum:"0" doc:"Of nodes that are borne; one more ends the rollout"`
		Comment     string `json:"comment" minLength:"1" maxLength:"1000" doc:"Why"`
	}
}

// StartRollout tries a config on some of the nodes.
func (s *Service) StartRollout(ctx context.Context, in *StartInput) (*Versioned[dynconf.Rollout], error) {
	base, _, err := s.seenConfig(ctx, in.SeenOrNew, in)
	if err != nil {
		return nil, err
	}
	who, _ := access.FromContext(ctx)
	plan := rollout.Plan{Target: in.Body.Target, MaxFailures: in.Body.MaxFailures, Author: who.Name, Comment: in.Body.Comment}
	return s.roll(ctx, "rollout.start", "", nil, func(ctx context.Context) (dynconf.Rollout, error) {
		return s.cfg.Node.Rollouts().Start(ctx, base, []byte(in.Body.Value), plan)
	})
}

// RolloutPath names a rollout.
type RolloutPath struct {
	ID string `path:"id" maxLength:"200"`
}

// RetargetInput says which nodes are to be on trial.
type RetargetInput struct {
	RolloutPath
	Seen
	Body dynconf.Target
}

// RetargetRollout changes which nodes are on trial.
func (s *Service) RetargetRollout(ctx context.Context, in *RetargetInput) (*Versioned[dynconf.Rollout], error) {
	if err := s.may(ctx, access.Admin, in); err != nil {
		return nil, err
	}
	seen, err := in.revision()
	if err != nil {
		return nil, err
	}
	return s.advance(ctx, "rollout.retarget", in.RolloutPath, in, func(ctx context.Context) (dynconf.Rollout, error) {
		r, err := s.cfg.Node.Rollouts().Retarget(ctx, in.ID, seen, in.Body)
		if conflict := (*backend.ConflictError)(nil); errors.As(err, &conflict) {
			err = explained{stale(conflict.Have), err}
		}
		return r, err
	})
}

// CommentInput says why something is done with a rollout.
type CommentInput struct {
	RolloutPath
	Body struct {
		Comment string `json:"comment" minLength:"1" maxLength:"1000" doc:"Why"`
	}
}

// PromoteRollout publishes what is on trial for all nodes. It can be repeated after a
// failure: the value is published once.
func (s *Service) PromoteRollout(ctx context.Context, in *CommentInput) (*Versioned[dynconf.Rollout], error) {
	who, _ := access.FromContext(ctx)
	return s.advance(ctx, "rollout.promote", in.RolloutPath, in, func(ctx context.Context) (dynconf.Rollout, error) {
		return s.cfg.Node.Rollouts().Promote(ctx, in.ID, who.Name, in.Body.Comment)
	})
}

// AbandonRollout takes what is on trial off all nodes.
func (s *Service) AbandonRollout(ctx context.Context, in *CommentInput) (*Versioned[dynconf.Rollout], error) {
	return s.advance(ctx, "rollout.abandon", in.RolloutPath, in, func(ctx context.Context) (dynconf.Rollout, error) {
		return s.cfg.Node.Rollouts().Abandon(ctx, in.ID, in.Body.Comment)
	})
}

// advance does something with the present rollout, which has to be the one meant, as in
// says.
func (s *Service) advance(ctx context.Context, name string, at RolloutPath, in any, f func(context.Context) (dynconf.Rollout, error)) (*Versioned[dynconf.Rollout], error) {
	if err := s.may(ctx, access.Admin, in); err != nil {
		return nil, err
	}
	before, err := s.currentRollout(ctx)
	if err != nil {
		return nil, s.refuse(err, noSuchRollout)
	}
	if before.ID != at.ID {
		return nil, problem(noSuchRollout, "The present rollout is another one, "+before.ID)
	}
	return s.roll(ctx, name, at.ID, before, f)
}

// roll does something with a rollout. That it can't be done any more is no matter of what
// was seen: it is over, or the config has changed since it began.
func (s *Service) roll(ctx context.Context, name, target string, before any, f func(context.Context) (dynconf.Rollout, error)) (*Versioned[dynconf.Rollout], error) {
	r, err := do(ctx, s, deed{access.Admin, name, target}, before, noSuchRollout, func(ctx context.Context) (dynconf.Rollout, error) {
		r, err := f(ctx)
		if p := (*web.Problem)(nil); errors.Is(err, backend.ErrConflict) && !errors.As(err, &p) {
			err = explained{problem(rolloutOver, err.Error()), err}
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return &Versioned[dynconf.Rollout]{etag(r.Revision), r}, nil
}
