package admin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
)

const (
	// probeEvery is how old a measured latency may be, however many look.
	probeEvery = time.Second

	// examineEvery is how old findings may be, which cost the store more.
	examineEvery = 15 * time.Second

	// examinePatience is how long the servers may take to be examined.
	examinePatience = 3 * time.Second
)

// A StoreHealth is how the store is, as seen from this process.
type StoreHealth struct {
	Backend   string    `json:"backend"`
	Reachable bool      `json:"reachable"`
	Answered  time.Time `json:"answered,omitzero" doc:"When it last did"`

	LatencySeconds float64           `json:"latencySeconds,omitempty" doc:"Of one linearizable read; left out if it failed"`
	Error          string            `json:"error,omitempty" doc:"Why it did"`
	Findings       []backend.Finding `json:"findings,omitempty" nullable:"false" doc:"What 'seckill doctor' says of the servers, as of some seconds ago"`
}

// Health looks at the store, though not at each call: however many ask, it is read once
// a second at most, and its servers are examined every quarter of a minute.
func (s *Service) Health(ctx context.Context, _ *struct{}) (*Answer[StoreHealth], error) {
	if err := s.allow(ctx, access.Viewer); err != nil {
		return nil, err
	}
	h := s.examiner.look(ctx, s.cfg.Store, s.cfg.Diagnoser)
	kind, status := s.StoreStatus()
	h.Backend, h.Reachable, h.Answered = kind, status.Reachable, status.Answered
	return answer(h), nil
}

// StoreStatus is how this process and the store get on, without asking.
func (s *Service) StoreStatus() (backend string, status node.StoreStatus) {
	all := s.cfg.Node.Status()
	return all.Backend, all.Store
}

// An examiner remembers how the store was. The zero value has not looked yet.
type examiner struct {
	mu       sync.Mutex // held while it looks: others wait for the answer
	known    StoreHealth
	probed   time.Time
	examined time.Time
}

// look goes on when who asks goes away: what it sees is shown to others too.
func (x *examiner) look(ctx context.Context, s backend.Store, d backend.Diagnoser) StoreHealth {
	ctx = context.WithoutCancel(ctx)
	x.mu.Lock()
	defer x.mu.Unlock()
	if time.Since(x.probed) > probeEvery {
		x.known.LatencySeconds, x.known.Error = probe(ctx, s)
		x.probed = time.Now()
	}
	if d != nil && x.known.Error == "" && time.Since(x.examined) > examineEvery {
		x.known.Findings = examine(ctx, d)
		x.examined = time.Now()
	}
	return x.known
}

// probe measures one read.
func probe(ctx context.Context, s backend.Store) (seconds float64, trouble string) {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	began := time.Now()
	if _, err := s.Get(ctx, settings.ConfigKey); err != nil && !errors.Is(err, backend.ErrNotFound) {
		return 0, err.Error()
	}
	return time.Since(began).Seconds(), ""
}

// examine has a driver look at the servers, but not for long.
func examine(ctx context.Context, d backend.Diagnoser) []backend.Finding {
	ctx, cancel := context.WithTimeout(ctx, examinePatience)
	defer cancel()
	return d.Diagnose(ctx)
}
