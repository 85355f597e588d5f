package slot_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// A defect is something that an engine could do wrong, made by a store that does not
// do what the engine asks for. It may be between the engine and the faults that its
// calls meet, or below them.
type defect struct {
	name         string
	above, below func(backend.Store) backend.Store
}

func asItIs(s backend.Store) backend.Store { return s }

var none = defect{"none", asItIs, asItIs}

var defects = []defect{
	{"a grant without its guard", asItIs, func(s backend.Store) backend.Store {
		return &unguarded{s, isPool}
	}},
	{"units released while it is not known whether an order has them", asItIs, func(s backend.Store) backend.Store {
		// The next owner counts on it that what was not in the log then never will be.
		return &unguarded{s, isBatch}
	}},
	{"a grant taken for made when that is not known", func(s backend.Store) backend.Store {
		return &trusting{s, isPool}
	}, asItIs},
	{"an order taken for written when that is not known", func(s backend.Store) backend.Store {
		return &trusting{s, isBatch}
	}, asItIs},
	{"the log read before the takeover", asItIs, func(s backend.Store) backend.Store {
		return &hasty{Store: s, logs: map[string]backend.Update{}}
	}},
	{"buyers' counts lost at takeover", asItIs, func(s backend.Store) backend.Store {
		return &logs{s, anonymous}
	}},
	{"a batch lost at takeover", asItIs, func(s backend.Store) backend.Store {
		return &logs{s, func(puts []backend.Entry) []backend.Entry { return puts[:len(puts)-1] }}
	}},
	{"a purged event sold again", asItIs, func(s backend.Store) backend.Store {
		return &reviving{s}
	}},
	{"sold out said too early", func(s backend.Store) backend.Store {
		return &pessimist{s}
	}, asItIs},
}

func isPool(key string) bool  { return key == record.PoolKey(event) }
func isBatch(key string) bool { return strings.HasPrefix(key, record.SaleDir(event)+"log/") }

// slotOf finds the slot that a key is the record of.
func slotOf(key string) (k int, ok bool) {
	_, err := fmt.Sscanf(strings.TrimPrefix(key, record.SlotsDir(event)), "%d", &k)
	return k, err == nil && key == record.SlotKey(event, k)
}

// unguarded leaves out of some writes that the slot must be as it was.
type unguarded struct {
	backend.Store
	which func(key string) bool
}

func (u *unguarded) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	if u.which(key) {
		opts = slices.DeleteFunc(slices.Clone(opts), func(o backend.PutOption) bool {
			c, ok := o.(backend.Condition)
			return ok && c.Key != key
		})
	}
	return u.Store.Put(ctx, key, value, opts...)
}

// trusting takes some writes with an unknown outcome for made.
type trusting struct {
	backend.Store
	which func(key string) bool
}

func (t *trusting) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := t.Store.Put(ctx, key, value, opts...)
	if !t.which(key) || !errors.Is(err, backend.ErrUnknown) {
		return rev, err
	}
	before, _ := t.Get(ctx, key)
	return before.Revision + 1, nil
}

// hasty reads a log before the takeover, which begins with reading the slot.
type hasty struct {
	backend.Store

	mu   sync.Mutex
	logs map[string]backend.Update
}

func (h *hasty) Get(ctx context.Context, key string) (backend.Entry, error) {
	if k, ok := slotOf(key); ok {
		entries, rev, err := backend.List(ctx, h.Store, record.LogDir(event, k))
		if err != nil {
			return backend.Entry{}, err
		}
		h.mu.Lock()
		h.logs[record.LogDir(event, k)] = backend.Update{Snapshot: true, Revision: rev, Puts: entries}
		h.mu.Unlock()
		time.Sleep(10 * trip)
	}
	return h.Store.Get(ctx, key)
}

func (h *hasty) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	h.mu.Lock()
	u, ok := h.logs[prefix]
	h.mu.Unlock()
	if !ok {
		return h.Store.WatchPrefix(ctx, prefix)
	}
	return func(yield func(backend.Update, error) bool) { yield(u, nil) }
}

// logs are read as change makes them, those with anything in them.
type logs struct {
	backend.Store
	change func([]backend.Entry) []backend.Entry
}

func (l *logs) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for u, err := range l.Store.WatchPrefix(ctx, prefix) {
			if isBatch(prefix) && len(u.Puts) > 0 {
				u.Puts = l.change(u.Puts)
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

// anonymous makes every order one of somebody else.
func anonymous(puts []backend.Entry) []backend.Entry {
	for i, p := range puts {
		var k int
		_, err := fmt.Sscanf(strings.TrimPrefix(p.Key, record.SaleDir(event)+"log/"), "%d/", &k)
		must(err)
		at, err := record.ParseLogKey(event, k, p.Key)
		must(err)
		b, err := record.DecodeBatch(event, k, at, p.Value)
		must(err)
		for j := range b.Entries {
			if e := &b.Entries[j]; e.Kind == record.Ordered {
				e.User = "buyer of " + e.Order.String()
			}
		}
		puts[i].Value, err = b.Encode()
		must(err)
	}
	return puts
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// reviving makes what an owner misses, as if publishing were its business.
type reviving struct{ backend.Store }

func (r *reviving) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := r.Store.Get(ctx, key)
	if !errors.Is(err, backend.ErrNotFound) {
		return e, err
	}
	var missing any
	if _, ok := slotOf(key); ok {
		missing = record.Slot{}
	} else if isPool(key) {
		missing = record.NewPool(10, 3)
	} else {
		return e, err
	}
	if _, err := backend.PutJSON(ctx, r.Store, key, missing, backend.If(key, 0)); err != nil {
		return e, err
	}
	return r.Store.Get(ctx, key)
}

// pessimist sets the mark "sold out" when units are scarce and the pool is empty,
// without asking the other slots.
type pessimist struct{ backend.Store }

func (p *pessimist) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	pool, err := record.DecodePool(backend.Entry{Key: key, Value: value})
	if !isPool(key) || err != nil || !pool.Scarce || pool.Free() > 0 {
		return p.Store.Put(ctx, key, value, opts...)
	}
	for k := range pool.Empty {
		pool.Empty[k] = true
	}
	pool.Settle()
	marked, err := json.Marshal(pool)
	must(err)
	rev, err := p.Store.Put(ctx, key, marked, opts...)
	if err != nil {
		return rev, err
	}
	return 0, &backend.ConflictError{Key: key, Have: rev} // so that the owner reads it
}

// A trial takes down that a property has failed.
type trial struct {
	*testing.T
	failed bool
}

func (*trial) Helper()                 {}
func (*trial) Log(...any)              {}
func (*trial) Logf(string, ...any)     {}
func (t *trial) Fail()                 { t.failed = true }
func (t *trial) FailNow()              { t.failed = true }
func (t *trial) Failed() bool          { return t.failed }
func (t *trial) Error(...any)          { t.failed = true }
func (t *trial) Errorf(string, ...any) { t.failed = true }
func (t *trial) Fatal(...any)          { t.failed = true }
func (t *trial) Fatalf(string, ...any) { t.failed = true }

// set sets a flag until the test ends.
func set(t *testing.T, name, value string) {
	t.Helper()
	before := flag.Lookup(name).Value.String()
	require.NoError(t, flag.Set(name, value))
	t.Cleanup(func() { require.NoError(t, flag.Set(name, before)) })
}

// The property can fail: with each of these defects it does, and a short scenario
// is found that shows why.
func TestEveryDefectIsFound(t *testing.T) {
	set(t, "rapid.checks", "5000") // -short makes a fifth of it
	set(t, "rapid.nofailfile", "true")
	set(t, "rapid.shrinktime", "1s")
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			// Shrinking ends early when a failure hangs on the order in which goroutines run.
			var best example
			for range 10 {
				if best = d.find(t, best); len(best.Steps) <= 10 {
					break
				}
			}
			t.Logf("%+v: %q", best.scenario, best.faults)
			assert.LessOrEqual(t, len(best.Steps), 20)
		})
	}
}

// An example is a scenario with what goes wrong in it.
type example struct {
	scenario
	faults []string
}

// find finds an example that is shorter than the best so far, if there is one.
func (d defect) find(t *testing.T, best example) example {
	found := &trial{T: t}
	rapid.Check(found, func(r *rapid.T) {
		x := example{scenario: scenarios().Draw(r, "scenario")}
		synctest.Test(t, func(t *testing.T) { x.faults = x.run(t, d) })
		if len(x.faults) == 0 {
			return
		}
		if best.faults == nil || len(x.Steps) < len(best.Steps) {
			best = x
		}
		r.Fatal("found")
	})
	require.NotEmpty(t, best.faults, "nothing was found")
	return best
}
