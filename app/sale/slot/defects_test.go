package slot_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/turnstile"
	"github.com/seed27495941/seckill/backend"
)

// A defect is something that an engine could do wrong, made by a store that does not
// do what the engine asks for. It may be between the engine and the faults that its
// calls meet, or below them. Or by what a turnstile is told when it asks.
type defect struct {
	name         string
	above, below func(backend.Store) backend.Store
	asked        func(turnstile.Ask) turnstile.Ask // nil: as it is
}

func asItIs(s backend.Store) backend.Store { return s }

// ask is how owners are asked for their buyers.
func (d defect) ask(ask turnstile.Ask) turnstile.Ask {
	if d.asked == nil {
		return ask
	}
	return d.asked(ask)
}

var none = defect{name: "none", above: asItIs, below: asItIs}

var defects = []defect{
	{"a grant without its guard", asItIs, func(s backend.Store) backend.Store {
		return &unguarded{s, isPool}
	}, nil},
	{"units released while it is not known whether an order has them", asItIs, func(s backend.Store) backend.Store {
		// The next owner counts on it that what was not in the log then never will be.
		return &unguarded{s, isBatch}
	}, nil},
	{"a grant taken for made when that is not known", func(s backend.Store) backend.Store {
		return &trusting{s, isPool}
	}, asItIs, nil},
	{"an order taken for written when that is not known", func(s backend.Store) backend.Store {
		return &trusting{s, isBatch}
	}, asItIs, nil},
	{"the log read before the takeover", asItIs, func(s backend.Store) backend.Store {
		return &hasty{Store: s, logs: map[string]backend.Update{}}
	}, nil},
	{"buyers' counts lost at takeover", asItIs, func(s backend.Store) backend.Store {
		return &logs{s, anonymous}
	}, nil},
	{"a batch lost at takeover", asItIs, func(s backend.Store) backend.Store {
		return &logs{s, func(puts []backend.Entry) []backend.Entry { return puts[:len(puts)-1] }}
	}, nil},
	{"a purged event sold again", asItIs, func(s backend.Store) backend.Store {
		return &reviving{s}
	}, nil},
	{"sold out said too early", func(s backend.Store) backend.Store {
		return &pessimist{s}
	}, asItIs, nil},
	{"a deposed owner that tells what it knows", func(s backend.Store) backend.Store {
		return &unaware{Store: s, slots: map[string]backend.Entry{}}
	}, asItIs, nil},
	{"buyers told of too late", asItIs, asItIs, behindhand},
	{"buyers asked for before the request came", asItIs, asItIs, beforehand},
	{"the list of one owner continued with another's", asItIs, asItIs, func(ask turnstile.Ask) turnstile.Ask {
		return seamless(backwards(ask))
	}},
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

// unaware does not see that a slot has another owner.
type unaware struct {
	backend.Store

	mu    sync.Mutex
	slots map[string]backend.Entry // as they were left
}

func (u *unaware) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	rev, err := u.Store.Put(ctx, key, value, opts...)
	if _, ok := slotOf(key); ok && err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.slots[key] = backend.Entry{Key: key, Value: value, Revision: rev}
	}
	return rev, err
}

func (u *unaware) Get(ctx context.Context, key string) (backend.Entry, error) {
	u.mu.Lock()
	e, ok := u.slots[key]
	u.mu.Unlock()
	if ok {
		return e, nil
	}
	return u.Store.Get(ctx, key)
}

// behindhand tells the list as it was when it was asked for the last time.
func behindhand(ask turnstile.Ask) turnstile.Ask {
	var mu sync.Mutex
	last := map[ulid.ULID]int{} // by tenure
	return func(ctx context.Context, event ulid.ULID, k int, tenure ulid.ULID, since int) (slot.Buyers, error) {
		b, err := ask(ctx, event, k, tenure, since)
		mu.Lock()
		defer mu.Unlock()
		known := min(max(last[b.Tenure]-b.From, 0), len(b.Hashes))
		last[b.Tenure] = b.Count
		b.Hashes, b.Count = b.Hashes[:known], b.From+known
		return b, err
	}
}

// beforehand answers for some time that it is still sold out, with no new buyers.
func beforehand(ask turnstile.Ask) turnstile.Ask {
	var mu sync.Mutex
	soldOut := map[ulid.ULID]time.Time{} // when it was, by tenure
	return func(ctx context.Context, event ulid.ULID, k int, tenure ulid.ULID, since int) (slot.Buyers, error) {
		mu.Lock()
		at, ok := soldOut[tenure]
		mu.Unlock()
		if ok && time.Since(at) < 2*time.Second {
			return slot.Buyers{Tenure: tenure, SoldOut: true, PerUser: 2, Count: since, From: since}, nil
		}
		b, err := ask(ctx, event, k, tenure, since)
		if err == nil && b.SoldOut {
			mu.Lock()
			defer mu.Unlock()
			soldOut[b.Tenure] = time.Now()
		}
		return b, err
	}
}

// backwards has the buyers of each owner in an order of its own: those that it had when
// it was first asked in reverse.
func backwards(ask turnstile.Ask) turnstile.Ask {
	var mu sync.Mutex
	first := map[ulid.ULID]int{} // how many these were, by tenure
	return func(ctx context.Context, event ulid.ULID, k int, tenure ulid.ULID, since int) (slot.Buyers, error) {
		b, err := ask(ctx, event, k, ulid.ULID{}, 0)
		if err != nil {
			return b, err
		}
		mu.Lock()
		defer mu.Unlock()
		if _, ok := first[b.Tenure]; !ok {
			first[b.Tenure] = b.Count
		}
		b.Hashes = slices.Clone(b.Hashes)
		slices.Reverse(b.Hashes[:first[b.Tenure]])
		if tenure == b.Tenure {
			b.From, b.Hashes = since, b.Hashes[since:]
		}
		return b, nil
	}
}

// seamless goes on where it was, whoever the owner is.
func seamless(ask turnstile.Ask) turnstile.Ask {
	return func(ctx context.Context, event ulid.ULID, k int, tenure ulid.ULID, since int) (slot.Buyers, error) {
		b, err := ask(ctx, event, k, ulid.ULID{}, 0)
		b.Hashes = b.Hashes[min(since, len(b.Hashes)):]
		b.Tenure, b.From, b.Count = tenure, since, since+len(b.Hashes)
		return b, err
	}
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
	checks := 5000
	if testing.Short() {
		checks *= 5 // of which it makes a fifth: some defects are not found by so few
	}
	set(t, "rapid.checks", strconv.Itoa(checks))
	set(t, "rapid.nofailfile", "true")
	set(t, "rapid.shrinktime", "1s")
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			// Shrinking ends early when a failure hangs on the order in which goroutines run.
			var best example
			for range 10 {
				if best = d.find(t, best); len(best.Steps) <= 20 {
					break
				}
			}
			t.Logf("%+v: %q", best.scenario, best.faults)
			assert.LessOrEqual(t, len(best.Steps), 20)
		})
	}
}

// scenarios are those in which the defect may show.
func (d defect) scenarios() *rapid.Generator[scenario] {
	if d.asked != nil {
		return crowded()
	}
	return scenarios()
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
		x := example{scenario: d.scenarios().Draw(r, "scenario")}
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
