package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// at says when an operation was called and when it returned.
func at(called, returned time.Duration, o operation) *operation {
	o.called, o.returned = called, returned
	return &o
}

func put(key, value string, rev backend.Revision, conds ...backend.Condition) operation {
	return operation{kind: opPut, key: key, value: value, revision: rev, conds: conds}
}

func del(key string, conds ...backend.Condition) operation {
	return operation{kind: opDelete, key: key, conds: conds}
}

func unknown(o operation) operation {
	o.class, o.revision = backend.ErrUnknown, 0
	return o
}

func unavailable(o operation) operation {
	o.class, o.revision = backend.ErrUnavailable, 0
	return o
}

func conflicting(o operation, failed backend.Condition, have backend.Revision) operation {
	o.class, o.revision = backend.ErrConflict, 0
	o.conflict = backend.ConflictError{Key: failed.Key, Want: failed.Revision, Have: have}
	return o
}

func leased(o operation, lease string) operation {
	o.lease = lease
	return o
}

func entry(key, value string, rev backend.Revision) backend.Entry {
	return backend.Entry{Key: key, Value: []byte(value), Revision: rev}
}

func get(key, value string, rev backend.Revision) operation {
	return operation{kind: opGet, key: key, entries: []backend.Entry{entry(key, value, rev)}}
}

func notFound(key string) operation {
	return operation{kind: opGet, key: key, class: backend.ErrNotFound}
}

func revoke(lease string) operation { return operation{kind: opRevoke, lease: lease} }

func list(upTo backend.Revision, entries ...backend.Entry) operation {
	return operation{kind: opList, revision: upTo, entries: entries}
}

func told(watch, nth int, upTo backend.Revision, entries ...backend.Entry) operation {
	return operation{kind: opTold, watch: watch, nth: nth, revision: upTo, entries: entries}
}

var histories = map[string]struct {
	possible bool
	history  []*operation
}{
	"one after the other": {true, []*operation{
		at(0, 1, notFound("a")),
		at(2, 3, put("a", "1", 5, backend.If("a", 0))),
		at(4, 5, get("a", "1", 5)),
		at(6, 7, conflicting(put("a", "2", 0), backend.If("a", 0), 0)),
		at(6, 7, conflicting(put("a", "2", 0), backend.If("a", 4), 5)),
		at(8, 9, del("a", backend.If("a", 5))),
		at(10, 11, notFound("a")),
	}},
	"stale read": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, put("a", "2", 6)),
		at(4, 5, get("a", "1", 5)),
	}},
	"old value during a write": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 9, put("a", "2", 6)),
		at(4, 5, get("a", "1", 5)),
	}},
	"old value after the new one was read": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 9, put("a", "2", 6)),
		at(3, 4, get("a", "2", 6)),
		at(5, 6, get("a", "1", 5)),
	}},
	"value at another revision": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, get("a", "1", 6)),
	}},
	"another value at a revision": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, put("a", "2", 6)),
		at(4, 5, get("a", "1", 6)),
	}},
	"value on another lease": {false, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(2, 3, get("a", "1", 5)),
	}},
	"value that nobody wrote": {false, []*operation{
		at(0, 1, get("a", "1", 5)),
	}},
	"lost update": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 5, put("a", "2", 6, backend.If("a", 5))),
		at(3, 6, put("a", "3", 7, backend.If("a", 5))),
	}},
	"two creators": {false, []*operation{
		at(0, 2, put("a", "1", 5, backend.If("a", 0))),
		at(1, 3, put("a", "2", 6, backend.If("a", 0))),
	}},
	"two creators, and a deletion in between": {true, []*operation{
		at(0, 2, put("a", "1", 5, backend.If("a", 0))),
		at(1, 4, del("a")),
		at(1, 3, put("a", "2", 6, backend.If("a", 0))),
	}},
	"deletions of one revision": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 5, del("a", backend.If("a", 5))),
		at(3, 6, del("a", backend.If("a", 5))),
	}},
	"fenced by another key": {true, []*operation{
		at(0, 1, put("guard", "1", 5)),
		at(2, 5, put("guard", "2", 7)),
		at(3, 6, put("a", "1", 6, backend.If("guard", 5))),
	}},
	"after the other key has moved": {false, []*operation{
		at(0, 1, put("guard", "1", 5)),
		at(2, 5, put("guard", "2", 6)),
		at(3, 6, put("a", "1", 7, backend.If("guard", 5))),
	}},
	"revisions in the order of the calls": {false, []*operation{
		at(0, 1, put("a", "1", 6)),
		at(2, 3, put("b", "1", 5)),
	}},
	"revision twice": {false, []*operation{
		at(0, 2, put("a", "1", 5)),
		at(1, 3, put("b", "1", 5)),
	}},
	"conflict about a condition that holds": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, conflicting(put("b", "1", 0), backend.If("a", 5), 0)),
	}},
	"conflict about an absent key that is absent": {false, []*operation{
		at(2, 3, conflicting(put("b", "1", 0), backend.If("a", 0), 0)),
	}},
	"conflict tells another revision": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, conflicting(put("b", "1", 0), backend.If("a", 4), 6)),
	}},
	"conflict tells what was wanted": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, conflicting(put("b", "1", 0), backend.If("a", 5), 5)),
	}},
	"write of a conflict is seen": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, conflicting(put("b", "1", 0), backend.If("a", 4), 5)),
		at(4, 5, get("b", "1", 6)),
	}},
	"unavailable write is seen": {false, []*operation{
		at(0, 1, unavailable(put("a", "1", 0))),
		at(2, 3, get("a", "1", 5)),
	}},
	"unavailable deletion is seen": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unavailable(del("a"))),
		at(4, 5, notFound("a")),
	}},

	"unknown write that appears": {true, []*operation{
		at(0, 1, unknown(put("a", "1", 0))),
		at(2, 3, get("a", "1", 5)),
	}},
	"unknown write that never appears": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(put("a", "2", 0))),
		at(4, 5, get("a", "1", 5)),
	}},
	"unknown write that appears late, over an acknowledged one": {true, []*operation{
		at(0, 1, unknown(put("a", "1", 0))),
		at(2, 3, put("a", "2", 5)),
		at(4, 5, get("a", "2", 5)),
		at(6, 7, get("a", "1", 6)),
	}},
	"unknown write before its call": {false, []*operation{
		at(0, 1, get("a", "1", 5)),
		at(2, 3, unknown(put("a", "1", 0))),
	}},
	"unknown write that appears twice": {false, []*operation{
		at(0, 1, unknown(put("a", "1", 0))),
		at(2, 3, get("a", "1", 5)),
		at(4, 5, put("a", "2", 6)),
		at(6, 7, get("a", "1", 7)),
	}},
	"unknown write that appears again": {false, []*operation{
		at(0, 1, unknown(put("a", "1", 0))),
		at(2, 3, get("a", "1", 5)),
		at(4, 5, put("a", "2", 6)),
		at(6, 7, get("a", "1", 5)),
	}},
	"unknown write at a revision that had passed": {false, []*operation{
		at(0, 1, put("b", "1", 6)),
		at(2, 3, unknown(put("a", "1", 0))),
		at(4, 5, get("a", "1", 5)),
	}},
	"unknown write against its condition": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(put("a", "2", 0, backend.If("a", 0)))),
		at(4, 5, get("a", "2", 6)),
	}},
	"unknown write when its condition came true": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(put("a", "2", 0, backend.If("a", 0)))),
		at(4, 5, del("a")),
		at(6, 7, get("a", "2", 6)),
	}},
	"unknown write that only a conflict tells of": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(put("a", "2", 0))),
		at(4, 5, conflicting(put("a", "3", 0), backend.If("a", 5), 7)),
		at(6, 7, put("a", "4", 8, backend.If("a", 7))),
	}},
	"conflict that no write explains": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(put("b", "2", 0))),
		at(4, 5, conflicting(put("a", "3", 0), backend.If("a", 5), 7)),
	}},
	"two revisions of one unknown write": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(put("a", "2", 0))),
		at(4, 5, conflicting(put("a", "3", 0), backend.If("a", 5), 7)),
		at(6, 7, conflicting(put("a", "3", 0), backend.If("a", 5), 8)),
	}},
	"unknown write below the version it replaced": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(put("a", "2", 0))),
		at(4, 5, conflicting(put("a", "3", 0), backend.If("a", 5), 4)),
	}},
	"revision of another write for an unknown one": {false, []*operation{
		at(0, 1, unknown(put("a", "1", 0))),
		at(2, 3, put("b", "1", 7)),
		at(4, 5, conflicting(put("a", "2", 0), backend.If("a", 0), 7)),
	}},
	"unknown write that only a conflict tells of, beyond a later one": {false, []*operation{
		at(0, 1, unknown(put("a", "1", 0))),
		at(2, 3, conflicting(put("a", "2", 0), backend.If("a", 0), 7)),
		at(4, 5, put("b", "1", 6)),
	}},
	"unknown deletion": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(del("a"))),
		at(4, 5, get("a", "1", 5)),
		at(6, 7, notFound("a")),
	}},
	"unknown deletion that happens twice": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(del("a"))),
		at(4, 5, notFound("a")),
		at(6, 7, put("a", "2", 6)),
		at(8, 9, notFound("a")),
	}},
	"two unknown deletions at once": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(0, 1, put("b", "1", 6)),
		at(2, 3, unknown(del("a"))),
		at(2, 3, unknown(del("b"))),
		at(4, 5, list(6, entry("a", "1", 5), entry("b", "1", 6))),
		at(6, 7, list(8)),
	}},
	"unknown write before what put an end to its condition": {true, []*operation{
		at(0, 1, put("guard", "1", 5)),
		at(2, 3, unknown(del("a", backend.If("guard", 5)))),
		at(2, 3, put("a", "1", 6)),
		at(4, 5, put("guard", "2", 8)),
		at(6, 7, notFound("a")),
	}},
	"unknown write after what put an end to its condition": {false, []*operation{
		at(0, 1, put("guard", "1", 5)),
		at(2, 3, unknown(del("a", backend.If("guard", 5)))),
		at(4, 5, put("guard", "2", 6)),
		at(6, 7, put("a", "1", 7)),
		at(8, 9, notFound("a")),
	}},
	"unknown write that another one needs": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(0, 1, put("b", "1", 6)),
		at(2, 3, unknown(del("a"))),
		at(2, 3, unknown(del("b", backend.If("a", 0)))),
		at(4, 5, put("a", "2", 8)),
		at(6, 7, notFound("b")),
	}},

	"lease takes its keys": {true, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(0, 1, leased(put("b", "1", 6), "lease")),
		at(2, 3, put("b", "2", 7)),
		at(4, 5, revoke("lease")),
		at(6, 7, list(8, entry("b", "2", 7))),
	}},
	"lease leaves a key": {false, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(2, 3, revoke("lease")),
		at(4, 5, conflicting(put("b", "1", 0), backend.If("a", 0), 0)),
	}},
	"lease takes its keys one by one": {false, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(0, 1, leased(put("b", "1", 6), "lease")),
		at(2, 9, revoke("lease")),
		at(3, 4, notFound("a")),
		at(5, 6, conflicting(put("c", "1", 0), backend.If("b", 0), 0)),
	}},
	"unknown write under a lease that ends": {true, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, unknown(leased(put("a", "2", 0), "lease"))),
		at(4, 5, revoke("lease")),
		at(6, 7, notFound("a")),
	}},
	"unknown write that saves a key from its lease": {true, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(2, 3, unknown(put("a", "2", 0, backend.If("a", 5)))),
		at(4, 5, revoke("lease")),
		at(6, 7, conflicting(put("a", "3", 0), backend.If("a", 0), 7)),
	}},
	"unknown end of a lease": {true, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(0, 1, leased(put("b", "1", 6), "lease")),
		at(2, 3, unknown(revoke("lease"))),
		at(4, 5, conflicting(put("a", "2", 0), backend.If("a", 0), 5)),
		at(6, 7, notFound("b")),
	}},
	"unknown end of a lease before it takes another key": {false, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(2, 3, unknown(revoke("lease"))),
		at(4, 5, leased(put("b", "1", 7), "lease")),
		at(6, 7, list(7, backend.Entry{Key: "b", Value: []byte("1"), Revision: 7, Lease: "lease"})),
	}},
	"unknown end of a lease after it took another key": {true, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(2, 3, unknown(revoke("lease"))),
		at(4, 5, leased(put("b", "1", 7), "lease")),
		at(6, 7, list(8)),
	}},
	"put under a lease that has ended": {false, []*operation{
		at(0, 1, revoke("lease")),
		at(2, 3, leased(put("a", "1", 5), "lease")),
	}},
	"unknown write that appears under a lease that has ended": {false, []*operation{
		at(0, 1, unknown(leased(put("a", "1", 0), "lease"))),
		at(2, 3, revoke("lease")),
		at(4, 5, notFound("a")),
		at(6, 7, operation{kind: opGet, key: "a", entries: []backend.Entry{{Key: "a", Value: []byte("1"), Revision: 6, Lease: "lease"}}}),
	}},
	"unknown write under a lease that has ended, of which only a conflict tells": {false, []*operation{
		at(0, 1, unknown(leased(put("a", "1", 0), "lease"))),
		at(2, 3, revoke("lease")),
		at(4, 5, conflicting(put("a", "2", 0), backend.If("a", 0), 6)),
	}},

	"list of two moments": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, put("b", "1", 6)),
		at(2, 9, del("a")),
		at(4, 5, list(6, entry("a", "1", 5))),
	}},
	"list that is not complete up to its revision": {false, []*operation{
		at(0, 9, put("a", "1", 5)),
		at(1, 2, list(5)),
	}},
	"watch that is late": {true, []*operation{
		at(0, 1, told(1, 0, 4)),
		at(2, 3, put("a", "1", 5)),
		at(4, 5, put("a", "2", 6)),
		at(0, 6, told(1, 1, 5, entry("a", "1", 5))),
		at(0, 7, told(1, 2, 6, entry("a", "2", 6))),
	}},
	"watch that merges": {true, []*operation{
		at(0, 1, told(1, 0, 4)),
		at(2, 3, put("a", "1", 5)),
		at(4, 5, put("a", "2", 6)),
		at(0, 7, told(1, 1, 6, entry("a", "2", 6))),
	}},
	"watch that goes back": {false, []*operation{
		at(0, 1, told(1, 0, 4)),
		at(2, 3, put("a", "1", 5)),
		at(4, 5, del("a")),
		at(0, 6, told(1, 1, 6)),
		at(0, 7, told(1, 2, 6, entry("a", "1", 5))),
	}},
	"watch of the future": {false, []*operation{
		at(0, 1, told(1, 0, 5, entry("a", "1", 5))),
		at(2, 3, put("a", "1", 5)),
	}},
	"watch that misses a key": {false, []*operation{
		at(0, 1, told(1, 0, 4)),
		at(2, 3, put("a", "1", 5)),
		at(2, 3, put("b", "1", 6)),
		at(0, 7, told(1, 1, 6, entry("b", "1", 6))),
	}},
	"watch that tears a lease's end apart": {false, []*operation{
		at(0, 1, leased(put("a", "1", 5), "lease")),
		at(0, 1, leased(put("b", "1", 6), "lease")),
		at(2, 3, revoke("lease")),
		at(0, 7, told(1, 0, 7, backend.Entry{Key: "b", Value: []byte("1"), Revision: 6, Lease: "lease"})),
		at(0, 8, told(1, 1, 7)),
	}},
	"watches that saw different orders": {false, []*operation{
		at(0, 1, put("a", "1", 5)),
		at(0, 1, put("b", "1", 6)),
		at(2, 9, del("a")),
		at(2, 9, del("b")),
		at(0, 9, told(1, 0, 7, entry("a", "1", 5))),
		at(0, 9, told(2, 0, 7, entry("b", "1", 6))),
	}},
}

func TestHistories(t *testing.T) {
	for name, h := range histories {
		t.Run(name, func(t *testing.T) {
			v, err := judge(h.history, checkLimit)
			require.NoError(t, err)
			want := porcupine.Illegal
			if h.possible {
				want = porcupine.Ok
			}
			require.Equal(t, want, v.result)
			assert.Equal(t, want, plainly(h.history), "when every moment of an open write is tried")
		})
	}
}

// The order in which open writes are tried is what the checker saves time with.
// It must say the same as one that tries them at every moment. Stores that lie
// are tried too.
func TestVerdictsAreThoseOfTryingEveryMoment(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	results := map[porcupine.CheckResult]int{}
	for n := range 2000 {
		lies := n%2 == 1
		h := randomHistory(random, lies)
		v, err := judge(h, checkLimit)
		require.NoError(t, err)
		require.Equal(t, plainly(h), v.result, "history %d: %v", n, h)
		results[v.result]++
		if !lies {
			require.Equal(t, porcupine.Ok, v.result, "history %d: %v", n, h)
		}
	}
	require.Greater(t, results[porcupine.Illegal], 200, "the lies were too small")
	require.Len(t, results, 2)
}

// plainly judges a history by a model that lets an open write take effect, or
// not, at any moment.
func plainly(recorded []*operation) porcupine.CheckResult {
	ops := prepare(recorded)
	m, err := newModel(ops)
	if err != nil {
		panic(err)
	}
	plain := porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, _ any) (bool, any) {
			before, o := as[state](s), as[*operation](in)
			if o.open == 0 {
				next, ok := m.step(before, o)
				next.ended = false
				return ok, next
			}
			if next, ok := m.apply(before, o); ok {
				return true, next
			}
			return true, before
		},
	}
	return porcupine.CheckOperationsTimeout(plain, ops, checkLimit)
}

// randomHistory is what clients of a store in a few lines could have recorded.
// Each operation has a moment at which the store carries it out; those of some
// writes of unknown outcome are late, or never come. A store that lies tells
// something else now and then.
func randomHistory(random *rand.Rand, lies bool) []*operation {
	type planned struct {
		*operation
		moment time.Duration
	}
	keys := []string{"a", "b", "c"}
	leases := []string{"", "", "x", "y"}
	var plan []planned
	for client := range 3 {
		now := time.Duration(random.IntN(5))
		for range 7 {
			o := &operation{client: client, called: now, key: keys[random.IntN(len(keys))]}
			o.returned = o.called + 1 + time.Duration(random.IntN(30))
			moment := o.called + time.Duration(random.Int64N(int64(o.returned-o.called)+1))
			now = o.returned + 1 + time.Duration(random.IntN(5))
			switch n := random.IntN(10); {
			case n < 2:
				o.kind = opGet
			case n < 3:
				o.kind, o.key = opList, ""
			case n < 7:
				o.kind, o.value, o.lease = opPut, fmt.Sprint(len(plan)), leases[random.IntN(len(leases))]
			case n < 9:
				o.kind = opDelete
			default:
				o.kind, o.key, o.lease = opRevoke, "", leases[2+random.IntN(2)]
			}
			if o.writes() && random.IntN(3) == 0 {
				o.class = backend.ErrUnknown
				moment += time.Duration(random.IntN(100))
			}
			plan = append(plan, planned{o, moment})
		}
	}
	slices.SortStableFunc(plan, func(a, b planned) int { return cmp.Compare(a.moment, b.moment) })
	store := randomStore{random: random, lies: lies, entries: map[string]backend.Entry{}, over: map[string]bool{}}
	var history []*operation
	for _, p := range plan {
		store.do(p.operation)
		history = append(history, p.operation)
	}
	return history
}

type randomStore struct {
	random   *rand.Rand
	lies     bool
	entries  map[string]backend.Entry
	over     map[string]bool // leases that have ended
	revision backend.Revision
	past     []backend.Revision
}

// do carries an operation out, with conditions that it makes up.
func (s *randomStore) do(o *operation) {
	lie := s.lies && s.random.IntN(6) == 0
	open := errors.Is(o.class, backend.ErrUnknown)
	if o.kind == opPut || o.kind == opDelete {
		for _, key := range []string{"a", "b", "c"} {
			if s.random.IntN(3) == 0 {
				o.conds = append(o.conds, backend.If(key, s.guess(key)))
			}
		}
	}
	for _, c := range o.conds {
		have := s.entries[c.Key].Revision
		if have == c.Revision || lie {
			continue
		}
		if !open {
			o.class = backend.ErrConflict
			o.conflict = backend.ConflictError{Key: c.Key, Want: c.Revision}
			if c.Revision != 0 {
				o.conflict.Have = have
			}
		}
		return
	}
	if open && s.random.IntN(3) == 0 {
		return // it got lost
	}
	switch o.kind {
	case opGet:
		e, ok := s.entries[o.key]
		if lie {
			e, ok = backend.Entry{}, false
		}
		if !ok {
			o.class = backend.ErrNotFound
			return
		}
		o.entries = []backend.Entry{e}
	case opList:
		o.revision = s.revision
		for _, e := range s.entries {
			if !lie {
				o.entries = append(o.entries, e)
			}
		}
	case opPut:
		switch {
		case !s.over[o.lease] || lie:
		case open:
			return
		default:
			o.lease = "" // clients use no lease that they have given up
		}
		s.revision++
		s.past = append(s.past, s.revision)
		s.entries[o.key] = backend.Entry{Key: o.key, Value: []byte(o.value), Revision: s.revision, Lease: o.lease}
		if !open {
			o.revision = s.revision
		}
	case opDelete:
		delete(s.entries, o.key)
	default:
		s.over[o.lease] = true
		for key, e := range s.entries {
			if e.Lease == o.lease {
				delete(s.entries, key)
			}
		}
	}
}

// guess is the revision of a key, mostly.
func (s *randomStore) guess(key string) backend.Revision {
	if s.random.IntN(4) > 0 || len(s.past) == 0 {
		return s.entries[key].Revision
	}
	return s.past[s.random.IntN(len(s.past))]
}

func TestWhatCannotBeChecked(t *testing.T) {
	var many []*operation
	for i := range mostKeys + 1 {
		many = append(many, at(0, 1, notFound(fmt.Sprint(i))))
	}
	_, err := judge(many, checkLimit)
	require.ErrorContains(t, err, "7 keys, 0 watches and 0 open writes")
	many = nil
	for range mostOpen + 1 {
		many = append(many, at(0, 1, unknown(del("a"))))
	}
	_, err = judge(many, checkLimit)
	require.ErrorContains(t, err, "1 keys, 0 watches and 65 open writes")
}

func TestComplaintEndsWithWhatCameOut(t *testing.T) {
	h := []*operation{
		at(0, 1, put("a", "1", 5)),
		at(2, 3, put("a", "2", 6)),
		at(2, 9, unknown(put("b", "1", 0))),
		at(4, 5, get("a", "1", 5)),
		at(6, 7, notFound("a")),
	}
	x := shortest(h)
	assert.Equal(t, h[3], x.culprit)
	complaint := x.complaint(t)
	assert.Contains(t, complaint, `client 0: get "a" → "a" = "1" at 5`)
	assert.Contains(t, complaint, `makes {"a" = "2" at 6} up to 6`)
	assert.NotContains(t, complaint, "not found", "that came later")
	assert.Contains(t, complaint, "history.html")
}
