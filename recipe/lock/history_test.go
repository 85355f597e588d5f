package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/lock"
)

// everything asks for the long forms.
func everything() bool { return os.Getenv("SECKILL_TEST_FULL") != "" }

type kind string

const (
	acquired kind = "acquire"
	ended    kind = "end" // of an acquisition: released, or taken away
	wrote    kind = "write"
	read     kind = "read"
	over     kind = "over" // all that returned has taken effect
)

// An operation on a lock and on the register that it guards.
type operation struct {
	kind    kind
	token   backend.Revision
	value   string
	refused bool // a write that was not guarded by the holder
	open    bool // its outcome is not known: it may take effect at any time, or never
}

func (o operation) String() string {
	return fmt.Sprintf("%s token=%d value=%q refused=%t open=%t", o.kind, o.token, o.value, o.refused, o.open)
}

// fenced is the state of both.
type fenced struct {
	holder, last backend.Revision
	value        string
	over         bool
}

// step is the model: one holder at a time, each with a greater token; a guarded
// write succeeds if it is the holder's, and is refused if not. An open operation is
// tried only where it has an effect, or when all is over.
func step(s fenced, o operation) (bool, fenced) {
	holds := s.holder == o.token
	if o.open && (s.over || !holds) {
		return s.over, s
	}
	switch o.kind {
	case acquired:
		ok := s.holder == 0 && o.token > s.last
		s.holder, s.last = o.token, o.token
		return ok, s
	case ended:
		if holds {
			s.holder = 0
		}
		return true, s
	case wrote:
		if !o.refused {
			s.value = o.value
		}
		return holds != o.refused, s
	case read:
		return s.value == o.value, s
	default:
		s.over = true
		return true, s
	}
}

func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return fenced{} },
		Step: func(s, in, _ any) (bool, any) {
			return step(s.(fenced), in.(operation)) //nolint:errcheck // what was put in
		},
		DescribeOperation: func(in, _ any) string { return in.(operation).String() },    //nolint:errcheck // what was put in
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s.(fenced)) }, //nolint:errcheck // what was put in
	}
}

// A history is what clients did.
type history struct {
	*testing.T
	ttl   time.Duration
	clock atomic.Int64                               // counts calls and returns: time stands still in a bubble
	take  func(ctx context.Context, held *lock.Held) // ends an acquisition behind its holder's back

	mu  sync.Mutex
	ops []porcupine.Operation
}

// record records an operation. It runs do, which completes it; false leaves it out.
func (h *history) record(client int, o operation, do func(o *operation) bool) {
	call := h.clock.Add(1)
	if !do(&o) {
		return
	}
	returned := h.clock.Add(1)
	if o.open {
		returned = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: o, Call: call, Return: returned})
}

func judge(ops []porcupine.Operation) (porcupine.CheckResult, porcupine.LinearizationInfo) {
	var last int64
	for _, o := range ops {
		if o.Return != math.MaxInt64 {
			last = max(last, o.Return)
		}
	}
	ops = append(slices.Clone(ops), porcupine.Operation{Input: operation{kind: over}, Call: last + 1, Return: last + 1})
	return porcupine.CheckOperationsVerbose(model(), ops, time.Minute)
}

// check requires that one order explains the history. Undecided is a failure.
func (h *history) check() {
	h.Helper()
	counts := map[string]int{}
	for _, o := range h.ops {
		in := o.Input.(operation) //nolint:errcheck // what was put in
		counts[string(in.kind)]++
		if in.refused {
			counts["refused"]++
		}
		if in.open {
			counts["open"]++
		}
	}
	h.Logf("history: %v", counts)
	result, info := judge(h.ops)
	if result != porcupine.Ok {
		path := filepath.Join(h.ArtifactDir(), "history.html")
		h.Errorf("the history is %s; a picture of it: %s %v", result, path, porcupine.VisualizePath(model(), info, path))
	}
}

// class says of the outcome of a write whether it is known.
func class(o *operation, err error) bool {
	switch {
	case err == nil:
	case errors.Is(err, backend.ErrConflict):
		o.refused = true
	case errors.Is(err, backend.ErrUnavailable):
		return false
	default:
		o.open = true
	}
	return true
}

// client acquires the lock, reads and writes the register, and gives it up or has
// it taken away while it goes on writing.
func (h *history) client(ctx context.Context, id, turns int, store backend.Store) {
	l := newLock(h, store, lock.Config{TTL: h.ttl, Holder: fmt.Sprint(id)})
	for turn := range turns {
		var held *lock.Held
		h.record(id, operation{kind: acquired}, func(o *operation) (ok bool) {
			var err error
			if held, err = l.Acquire(ctx); !assert.NoError(h, err) {
				return false
			}
			o.token = held.Token()
			return true
		})
		if held == nil {
			return
		}
		end := operation{kind: ended, token: held.Token()}
		var thief sync.WaitGroup
		taken := rand.N(3) == 0
		if taken {
			thief.Go(func() {
				h.record(100+id, end, func(*operation) bool { h.take(ctx, held); return true })
			})
		}
		for i := range 4 {
			h.record(id, operation{kind: wrote, token: held.Token(), value: fmt.Sprint(id, turn, i)}, func(o *operation) bool {
				_, err := store.Put(ctx, "register", []byte(o.value), held.Guard())
				return class(o, err)
			})
			h.record(id, operation{kind: read}, func(o *operation) bool {
				e, err := store.Get(ctx, "register")
				o.value = string(e.Value)
				return err == nil || errors.Is(err, backend.ErrNotFound)
			})
		}
		thief.Wait()
		if err := held.Err(); err != nil && !taken {
			lost := end
			lost.open = true
			h.record(200+id, lost, func(*operation) bool { return true })
		}
		h.record(id, end, func(*operation) bool {
			h.release(ctx, held)
			return true
		})
	}
}

// release tries until it works: what it does may happen at any attempt.
func (h *history) release(ctx context.Context, held *lock.Held) {
	stores.Wait(h, "released", func() bool { return held.Release(ctx) == nil })
}

func (h *history) run(s stores.Space, strike func()) {
	clients, turns := 4, 6
	if everything() {
		turns = 40
	}
	var working sync.WaitGroup
	for id := range clients {
		store := s.Open(h)
		working.Go(func() { h.client(h.Context(), id, turns, store) })
	}
	strike()
	working.Wait()
	h.check()
}

func TestHistory(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		take := func(_ context.Context, held *lock.Held) { s.Revoke(t, held.Lease().ID()) }
		(&history{T: t, ttl: 30 * time.Second, take: take}).run(s, func() {})
	})
}

func TestHistoryOverARestart(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		h := &history{T: t, ttl: 3 * time.Second} // a place that was abandoned meanwhile takes twice that
		h.take = h.release
		h.run(s, func() {
			stores.Wait(t, "they are at work", func() bool {
				h.mu.Lock()
				defer h.mu.Unlock()
				return len(h.ops) > 20
			})
			assert.NoError(t, c.Restart(t.Context()))
		})
	})
}

// What a lock without fencing does is found.
func TestTheModelCanFail(t *testing.T) {
	op := func(call, end int64, o operation) porcupine.Operation {
		return porcupine.Operation{Input: o, Call: call, Return: end}
	}
	a := op(1, 2, operation{kind: acquired, token: 10})
	gone := op(3, 4, operation{kind: ended, token: 10})
	b := op(5, 6, operation{kind: acquired, token: 20})
	for what, ops := range map[string][]porcupine.Operation{
		"two holders":                  {a, b},
		"a smaller token":              {b, op(7, 8, operation{kind: ended, token: 20}), op(9, 10, operation{kind: acquired, token: 10})},
		"a stale write":                {a, gone, b, op(7, 8, operation{kind: wrote, token: 10, value: "x"})},
		"a holder's write is refused":  {a, op(3, 4, operation{kind: wrote, token: 10, refused: true})},
		"a lost write":                 {a, op(3, 4, operation{kind: wrote, token: 10, value: "x"}), op(5, 6, operation{kind: read})},
		"an open write after the end":  {a, op(3, math.MaxInt64, operation{kind: wrote, token: 10, value: "x", open: true}), gone, op(5, 6, operation{kind: read}), op(7, 8, operation{kind: read, value: "x"})},
		"an open end before a writing": {a, op(3, math.MaxInt64, operation{kind: ended, token: 10, open: true}), b, op(7, 8, operation{kind: wrote, token: 10, value: "x"})},
	} {
		result, _ := judge(ops)
		assert.Equal(t, porcupine.Illegal, result, what)
	}
	for what, ops := range map[string][]porcupine.Operation{
		"one after the other":   {a, gone, b, op(7, 8, operation{kind: wrote, token: 10, refused: true})},
		"an open write is made": {a, op(3, math.MaxInt64, operation{kind: wrote, token: 10, value: "x", open: true}), op(5, 6, operation{kind: read, value: "x"})},
		"or never":              {a, op(3, math.MaxInt64, operation{kind: wrote, token: 10, value: "x", open: true}), op(5, 6, operation{kind: read})},
		"an open end":           {a, op(3, math.MaxInt64, operation{kind: ended, token: 10, open: true}), b},
	} {
		result, _ := judge(ops)
		require.Equal(t, porcupine.Ok, result, what)
	}
}
