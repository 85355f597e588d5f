package conformance

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/seed27495941/seckill/backend"
)

// A history is about few keys and watches, and has few open writes, so that a
// state is small: a check keeps many.
const (
	mostKeys    = 6
	mostWatches = 4
	mostOpen    = 64
	mostLeases  = 64 // given up; of those beyond it is not checked that they take no more keys
)

// state is the whole store at one moment: conditions tie its keys together.
type state struct {
	keys     [mostKeys]version
	greatest backend.Revision // that is known to have been made
	told     [mostWatches]int // updates that each watch was told so far
	due      uint64           // open writes that the next operations have to depend on
	over     uint64           // leases that have ended: they take no more keys
	ended    bool             // all that returned has taken effect
}

// A version is what a key holds.
type version struct {
	exists       bool
	value, lease string
	revision     backend.Revision // 0: of an open write, not known yet, but greater than after
	after        backend.Revision
}

// A model knows what a store may do. It tells, for a state and an operation,
// whether the operation could end as it did, and the state that it leaves.
//
// A write of unknown outcome may have taken effect at any time since its call,
// or never. All the moments that there are for several such writes can't be
// tried. But if it does not matter whether one comes before or after the
// operation that follows, it may as well come after, and so on. So it is enough
// to try it where that matters: directly before operations that depend on it.
// For those that never matter that is the end.
type model struct {
	keys   map[string]int    // places in a state
	leases map[string]uint64 // bits of those that are given up; 0: it is not, or is one too many
	open   []*operation      // by their bits
	made   map[backend.Revision]bool
	seed   maphash.Seed
}

// newModel makes the model for prepared operations.
func newModel(ops []porcupine.Operation) (*model, error) {
	m := &model{keys: map[string]int{}, leases: map[string]uint64{}, made: map[backend.Revision]bool{}, seed: maphash.MakeSeed()}
	watches := 0
	for _, p := range ops {
		o := input(p)
		m.add(o.key)
		for _, c := range o.conds {
			m.add(c.Key)
		}
		for _, e := range o.entries {
			m.add(e.Key)
		}
		watches = max(watches, o.watch)
		switch {
		case errors.Is(o.class, backend.ErrUnknown):
			m.open = append(m.open, o)
		case o.kind == opPut:
			m.made[o.revision] = true
		}
		if _, ok := m.leases[o.lease]; !ok && o.kind == opRevoke && len(m.leases) < mostLeases {
			m.leases[o.lease] = 1 << len(m.leases)
		}
	}
	if len(m.keys) > mostKeys || watches > mostWatches || len(m.open) > mostOpen {
		return nil, fmt.Errorf("%d keys, %d watches and %d open writes, at most %d, %d and %d can be checked",
			len(m.keys), watches, len(m.open), mostKeys, mostWatches, mostOpen)
	}
	return m, nil
}

func (m *model) add(key string) {
	if _, ok := m.keys[key]; !ok && key != "" {
		m.keys[key] = len(m.keys)
	}
}

// porcupine is the model in the checker's terms. What an operation returned is
// part of its input.
func (m *model) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, _ any) (bool, any) {
			next, ok := m.step(as[state](s), as[*operation](in))
			if !ok {
				return false, nil // most steps fail: this saves the allocation
			}
			return true, next
		},
		Hash:              func(s any) uint64 { return maphash.Comparable(m.seed, as[state](s)) },
		DescribeOperation: func(in, _ any) string { return as[*operation](in).String() },
		DescribeState:     func(s any) string { return m.describe(as[state](s)) },
	}
}

func input(p porcupine.Operation) *operation { return as[*operation](p.Input) }

// as is what the checker was given and gives back.
func as[T any](v any) T {
	t, _ := v.(T)
	return t
}

func (m *model) step(s state, o *operation) (state, bool) {
	switch {
	case s.ended: // only open writes are left, and nobody sees what they do
		return s, true
	case o.kind == opEnd:
		s.ended = true
		return s, s.due == 0
	case s.due != 0:
		for _, w := range m.open {
			if s.due&w.open != 0 && o.dependsOn(w) {
				s.due &^= w.open
			}
		}
	}
	if o.open != 0 {
		next, ok := m.apply(s, o)
		if !ok || next.keys == s.keys {
			return s, false // the end of a lease without keys explains nothing
		}
		next.due |= o.open
		return next, true
	}
	if s.due != 0 {
		return s, false
	}
	switch {
	case errors.Is(o.class, backend.ErrNotFound):
		return s, !s.keys[m.keys[o.key]].exists
	case errors.Is(o.class, backend.ErrConflict):
		return m.conflict(s, o.conflict)
	case o.kind == opGet:
		return s, s.keys[m.keys[o.key]].shownAs(o.entries[0])
	case o.kind == opList || o.kind == opTold:
		return m.tell(s, o)
	default:
		return m.apply(s, o)
	}
}

// dependsOn reports whether it may matter that an open write took effect before
// this operation and not after it. It does not where this one overwrites it.
func (o *operation) dependsOn(w *operation) bool {
	wrote := func(key string) bool { return w.kind == opRevoke || w.key == key }
	switch {
	case o.kind == opList || o.kind == opTold:
		return true
	case o.kind == opGet:
		return wrote(o.key)
	case errors.Is(o.class, backend.ErrConflict):
		return wrote(o.conflict.Key)
	case slices.ContainsFunc(o.conds, func(c backend.Condition) bool { return wrote(c.Key) }):
		return true
	case w.lease != "" && w.lease == o.lease && (w.kind == opRevoke || o.kind == opRevoke):
		return true
	case o.kind == opRevoke:
		return len(w.conds) > 0
	default: // it may put an end to what w is conditioned on
		return slices.ContainsFunc(w.conds, func(c backend.Condition) bool { return c.Key == o.key && c.Key != w.key })
	}
}

// apply makes the changes of a write if its conditions hold.
func (m *model) apply(s state, o *operation) (state, bool) {
	for _, c := range o.conds {
		var ok bool
		if s, ok = m.hold(s, c); !ok {
			return s, false
		}
	}
	switch o.kind {
	case opPut:
		if s.over&m.leases[o.lease] != 0 || o.open == 0 && o.revision <= s.greatest {
			return s, false
		}
		v := &s.keys[m.keys[o.key]]
		*v = version{exists: true, value: o.value, lease: o.lease, revision: o.revision, after: v.revision}
		if v.revision != 0 {
			v.after, s.greatest = 0, v.revision
		}
	case opDelete:
		s.keys[m.keys[o.key]] = version{}
	default: // opRevoke
		s.over |= m.leases[o.lease]
		for i, v := range s.keys {
			if v.lease == o.lease {
				s.keys[i] = version{}
			}
		}
	}
	return s, true
}

// hold reports whether a condition holds.
func (m *model) hold(s state, c backend.Condition) (state, bool) {
	if c.Revision == 0 {
		return s, !s.keys[m.keys[c.Key]].exists
	}
	return m.reveal(s, c.Key, c.Revision)
}

// conflict reports whether a condition failed, and with what the store had, if
// it told.
func (m *model) conflict(s state, c backend.ConflictError) (state, bool) {
	v := s.keys[m.keys[c.Key]]
	switch {
	case c.Have != 0 && c.Have == c.Want:
		return s, false
	case c.Have != 0:
		return m.reveal(s, c.Key, c.Have)
	case c.Want == 0:
		return s, v.exists
	default:
		return s, !v.exists || v.revision != c.Want
	}
}

// reveal reports whether a key exists at a revision. That of an open write is
// known from then on.
func (m *model) reveal(s state, key string, rev backend.Revision) (state, bool) {
	v := &s.keys[m.keys[key]]
	switch {
	case !v.exists:
		return s, false
	case v.revision != 0:
		return s, v.revision == rev
	case rev <= v.after || m.made[rev]:
		return s, false
	}
	v.revision, v.after = rev, 0
	s.greatest = max(s.greatest, rev)
	return s, true
}

// tell reports whether the store as a whole could be shown so. What is complete
// up to a revision has all puts up to it: later ones are greater.
func (m *model) tell(s state, o *operation) (state, bool) {
	if o.kind == opTold {
		told := &s.told[o.watch-1]
		if *told != o.nth {
			return s, false
		}
		*told++
	}
	exist := 0
	for _, v := range s.keys {
		if v.exists {
			exist++
		}
	}
	if exist != len(o.entries) {
		return s, false
	}
	for _, e := range o.entries {
		if !s.keys[m.keys[e.Key]].shownAs(e) {
			return s, false
		}
	}
	s.greatest = max(s.greatest, o.revision)
	return s, true
}

// shownAs reports whether a read could show a version so. None could show an
// open write: it would not be open then.
func (v version) shownAs(e backend.Entry) bool {
	return v.exists && v.revision == e.Revision && v.value == string(e.Value) && v.lease == e.Lease
}

func (m *model) describe(s state) string {
	var parts []string
	for key, i := range m.keys {
		switch v := s.keys[i]; {
		case !v.exists:
		case v.revision == 0:
			parts = append(parts, describe(key, v.value, v.after, v.lease)+" or later")
		default:
			parts = append(parts, describe(key, v.value, v.revision, v.lease))
		}
	}
	slices.Sort(parts)
	return fmt.Sprintf("{%s} up to %d", strings.Join(parts, ", "), s.greatest)
}
