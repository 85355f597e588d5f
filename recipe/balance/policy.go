package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Policy is how a picker chooses.
type Policy string

// The policies.
const (
	// RoundRobin takes the endpoints in turn.
	RoundRobin Policy = "round_robin"

	// WeightedRoundRobin takes them in turn, each as often as its weight says
	// and as evenly spread as possible: of weights 5, 1, 1 the order is
	// a a b a c a a, not a a a a a b c. (Igor Sysoev's smooth weighted
	// round-robin, nginx 1.3.1, 2012.)
	WeightedRoundRobin Policy = "weighted_round_robin"

	// Random takes any, WeightedRandom any as likely as its weight says. Many
	// clients that know nothing of each other never fall into step.
	Random         Policy = "random"
	WeightedRandom Policy = "weighted_random"

	// PeakEWMA takes the better of two endpoints chosen at random
	// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
	// 2001), the better being the one with the lower product of response time
	// and requests under way, by weight. Response time is an average that goes
	// up at once and down slowly, and is forgotten in time so that a node that
	// was slow is tried again (Finagle's Peak EWMA). An error counts as a slow
	// answer: a node that fails at once would look like the fastest.
	PeakEWMA Policy = "peak_ewma"
)

// A chooser chooses one of a set that is not empty. It is safe for concurrent
// use.
type chooser func(*set) *target

// choosers are the policies' makers of choosers.
func choosers() map[Policy]func() chooser {
	return map[Policy]func() chooser{
		RoundRobin:         func() chooser { return newRoundRobin().choose },
		WeightedRoundRobin: func() chooser { return (&smoothWeighted{}).choose },
		Random:             func() chooser { return random },
		WeightedRandom:     func() chooser { return weightedRandom },
		PeakEWMA:           func() chooser { return twoChoices },
	}
}

// newChooser is nil for a policy that does not exist.
func newChooser(p Policy) chooser {
	if begin, ok := choosers()[p]; ok {
		return begin()
	}
	return nil
}

// roundRobin begins anywhere, so that clients which start together do not all
// begin with the same endpoint.
type roundRobin struct{ next atomic.Uint64 }

func newRoundRobin() *roundRobin {
	r := &roundRobin{}
	r.next.Store(uint64(rand.Uint32()))
	return r
}

func (r *roundRobin) choose(s *set) *target {
	return s.targets[r.next.Add(1)%uint64(len(s.targets))]
}

// smoothWeighted raises each endpoint's current by its weight, takes the highest
// and lowers that one by the sum of the weights.
type smoothWeighted struct{ mu sync.Mutex }

func (w *smoothWeighted) choose(s *set) *target {
	w.mu.Lock()
	defer w.mu.Unlock()
	var best *target
	for _, t := range s.targets {
		t.current += t.Weight
		if best == nil || t.current > best.current {
			best = t
		}
	}
	best.current -= s.upTo[len(s.upTo)-1]
	return best
}

func random(s *set) *target { return s.targets[rand.IntN(len(s.targets))] }

func weightedRandom(s *set) *target {
	i, _ := slices.BinarySearch(s.upTo, 1+rand.IntN(s.upTo[len(s.upTo)-1]))
	return s.targets[i]
}

func twoChoices(s *set) *target {
	if len(s.targets) == 1 {
		return s.targets[0]
	}
	i, j := rand.IntN(len(s.targets)), rand.IntN(len(s.targets)-1)
	if j >= i {
		j++ // any but i
	}
	a, b := s.targets[i], s.targets[j]
	if now := time.Now(); b.cost(now) < a.cost(now) {
		return b
	}
	return a
}

// cost is what one more request would mean for the endpoint. One of which
// nothing is known is free, so that it is tried; but once it is being tried,
// others wait for what comes of it.
func (t *target) cost(now time.Time) float64 {
	latency, pending := t.latency.at(now), float64(t.pending.Load())
	if latency == 0 && pending > 0 {
		latency = float64(unknown)
	}
	return latency * (pending + 1) / float64(t.Weight)
}

const (
	// forgetting is the time in which all but 1/e of what was known is
	// forgotten: Finagle's default.
	forgetting = 10 * time.Second

	// failure is how long a failed request counts as having taken, at least.
	failure = time.Second

	// unknown is the latency of an endpoint that has not answered yet.
	unknown = time.Second
)

// A latency is a peak-sensitive moving average, exponentially weighted by time
// and not by the number of requests. The zero value knows nothing.
type latency struct {
	mu    sync.Mutex
	value float64 // nanoseconds
	as    time.Time
}

// observe takes in how long a request took, if it was one. Of one that was abandoned it is
// known only that it would have taken longer.
func (l *latency) observe(now time.Time, r Result) {
	if r.Outcome == Unsent {
		return
	}
	took := float64(max(r.Latency, 1))
	if r.Outcome == Failed {
		took = max(took, float64(failure))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.decayed(now)
	switch {
	case took > old:
		l.value = took
	case r.Outcome == Abandoned:
		return
	default:
		kept := l.kept(now)
		l.value = l.value*kept + took*(1-kept)
	}
	l.as = now
}

// at is the average as it counts now: without news it falls.
func (l *latency) at(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.decayed(now)
}

func (l *latency) decayed(now time.Time) float64 { return l.value * l.kept(now) }

func (l *latency) kept(now time.Time) float64 {
	if l.value == 0 {
		return 0
	}
	return math.Exp(-float64(max(now.Sub(l.as), 0)) / float64(forgetting))
}
