package balance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// ErrNoEndpoint is the answer of a picker that has nobody to choose.
var ErrNoEndpoint = errors.New("no endpoint to send the request to")

// An Outcome is how a request went, as far as it tells of the endpoint.
type Outcome int

// The outcomes.
const (
	Answered  Outcome = iota // the endpoint did its part, whatever the answer
	Failed                   // the endpoint could not
	Abandoned                // the caller gave up waiting
	Unsent                   // it did not go there after all: nothing was learnt
)

// A Result tells a picker how a request went.
type Result struct {
	Outcome Outcome
	Latency time.Duration // 0: from Pick until now
}

// A Picker chooses an endpoint for each request. It is safe for concurrent use.
type Picker struct {
	choose  chooser
	current atomic.Pointer[set]

	updating sync.Mutex
}

// A set is the endpoints that are there to choose from; it does not change.
type set struct {
	targets []*target
	upTo    []int // the weights of all targets up to this one
}

// A target is an endpoint in a set. The statistics are those of its process, in
// every set that has it.
type target struct {
	Endpoint
	*stats
}

type stats struct {
	pending atomic.Int64
	current int // smoothWeighted's, under its lock
	latency latency
}

// NewPicker makes a picker with nothing to choose from yet: see
// [Picker.Update], and [Cluster.Picker] for one that follows a cluster. Errors:
// ErrInvalid for a policy that does not exist.
func NewPicker(policy Policy) (*Picker, error) {
	choose := newChooser(policy)
	if choose == nil {
		return nil, fmt.Errorf("%w: policy %q: expected one of %q", backend.ErrInvalid, policy, Policies())
	}
	p := &Picker{choose: choose}
	p.current.Store(&set{})
	return p, nil
}

// Update replaces the endpoints. What is known of one that stays, by id and
// incarnation, stays.
func (p *Picker) Update(to []Endpoint) {
	p.updating.Lock()
	defer p.updating.Unlock()
	before := map[process]*stats{}
	for _, t := range p.current.Load().targets {
		before[t.process()] = t.stats
	}
	targets := make([]*target, 0, len(to))
	for _, e := range to {
		known := before[e.process()]
		if known == nil {
			known = &stats{}
		}
		e.Weight = max(e.Weight, 1)
		targets = append(targets, &target{e, known})
	}
	p.current.Store(newSet(targets))
}

func newSet(targets []*target) *set {
	s := &set{targets: targets, upTo: make([]int, len(targets))}
	sum := 0
	for i, t := range targets {
		sum += t.Weight
		s.upTo[i] = sum
	}
	return s
}

// without is a set that lacks some endpoints, unless that would leave nobody.
func (s *set) without(avoid []Endpoint) *set {
	rest := slices.DeleteFunc(slices.Clone(s.targets), func(t *target) bool {
		return slices.ContainsFunc(avoid, func(e Endpoint) bool { return e.process() == t.process() })
	})
	if len(rest) == 0 {
		return s
	}
	return newSet(rest)
}

// Pick chooses an endpoint, if possible none of those to avoid, as where a
// request has failed already. done must be called once when the request is
// over; until then it counts as under way. Errors: ErrNoEndpoint.
func (p *Picker) Pick(avoid ...Endpoint) (e Endpoint, done func(Result), err error) {
	s := p.current.Load()
	if len(avoid) > 0 {
		s = s.without(avoid)
	}
	if len(s.targets) == 0 {
		return Endpoint{}, nil, ErrNoEndpoint
	}
	t := p.choose(s)
	t.pending.Add(1)
	begun := time.Now()
	return t.Endpoint, func(r Result) {
		t.pending.Add(-1)
		now := time.Now()
		if r.Latency == 0 {
			r.Latency = now.Sub(begun)
		}
		t.latency.observe(now, r)
	}, nil
}

// Load is what a picker knows of an endpoint.
type Load struct {
	Endpoint Endpoint      `json:"endpoint"`
	Pending  int64         `json:"pending"` // requests under way
	Latency  time.Duration `json:"latency"` // peak-sensitive average, 0: not known
}

// Loads lists what the picker knows, in the order of its endpoints.
func (p *Picker) Loads() []Load {
	now := time.Now()
	var loads []Load
	for _, t := range p.current.Load().targets {
		loads = append(loads, Load{t.Endpoint, t.pending.Load(), time.Duration(t.latency.at(now))})
	}
	return loads
}

// Policies lists the policies that there are, in order.
func Policies() []Policy { return slices.Sorted(maps.Keys(choosers())) }
