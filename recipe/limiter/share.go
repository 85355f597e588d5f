package limiter

import (
	"slices"
	"time"

	"github.com/seed27495941/seckill/recipe/registry"
)

// A member is a process that has a part of the rate. Those of one place share its part.
type member struct {
	place, incarnation string
	weight             int
}

// members are the processes that have a part, in the order of the list: those that get
// requests, and those that wait for their address, which must have one when they get it.
func members(nodes []registry.Node) []member {
	having := slices.DeleteFunc(slices.Clone(nodes), func(n registry.Node) bool { return !n.Serves() && !n.Waits() })
	if len(having) == 0 {
		having, _ = registry.Serving(nodes)
	}
	out := make([]member, 0, len(having))
	for _, n := range having {
		out = append(out, member{n.Place(), n.Incarnation, n.EffectiveWeight()})
	}
	return out
}

// part is what the process called self should have of 1.
func part(all []member, self string) float64 {
	own, places := 0, map[string]int{}
	for _, m := range all {
		places[m.place] = max(places[m.place], m.weight)
		if m.incarnation == self {
			own = m.weight
		}
	}
	sum := 0
	for _, weight := range places {
		sum += weight
	}
	if own == 0 {
		return 0
	}
	return float64(own) / float64(sum)
}

// A share is a node's part of the rate, by the rules of the package's
// documentation. It knows no clock: the caller tells the time, which must not go
// back. It is not safe for concurrent use.
type share struct {
	self   string
	settle time.Duration

	value  float64 // the part in force
	seen   []member
	since  time.Time // when seen was first seen
	target float64   // the part of seen
	absent time.Time // since when self is not in seen, zero if it is
}

// see takes in who is there now, and reports whether that is news. That nobody
// is, is not believed.
func (s *share) see(now time.Time, all []member) (news bool) {
	if len(all) == 0 || slices.Equal(all, s.seen) {
		return false
	}
	s.seen, s.since, s.target = all, now, part(all, s.self)
	switch {
	case s.target > 0:
		s.absent = time.Time{}
		s.value = min(s.value, s.target)
	case s.absent.IsZero():
		s.absent = now
	}
	return true
}

// pass takes in the time that has passed: of a node that is not there, the share
// ends.
func (s *share) pass(now time.Time) {
	if !s.absent.IsZero() && now.Sub(s.absent) >= s.settle/2 {
		s.value = 0
	}
}

// mayGrow reports whether the share should grow and has waited for long enough;
// it then takes the store's word that the list is as it was seen.
func (s *share) mayGrow(now time.Time) bool {
	return s.target > s.value && now.Sub(s.since) >= s.settle
}

// grow follows the store's word, asked for after mayGrow was true: who is there. If
// that is not what was seen, the wait begins anew. So it does if the word was long
// in coming, because the process was paused perhaps: it is out of date.
func (s *share) grow(asked, now time.Time, all []member) {
	s.see(now, all)
	switch {
	case !slices.Equal(all, s.seen), now.Sub(asked) > s.settle/2:
		s.since = now
	case s.mayGrow(now):
		s.value = s.target
	}
}

// next is when something is due, zero if nothing is.
func (s *share) next() time.Time {
	switch {
	case s.value > 0 && !s.absent.IsZero():
		return s.absent.Add(s.settle / 2)
	case s.target > s.value:
		return s.since.Add(s.settle)
	}
	return time.Time{}
}
