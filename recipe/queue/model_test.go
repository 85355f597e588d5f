package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/queue"
)

// A history is small enough for every order of its operations to be tried.
const mostItems = 12

// queued is the state of a queue with one shard, at one moment.
type queued struct {
	items [mostItems]modelItem
	puts  int
}

type modelItem struct {
	place    int // in the order of the puts, from 1; 0: never put
	attempts int
	holder   int  // of the last attempt, from 1; 0: nobody
	void     bool // the holder's lease is over: anybody may claim it, but until then it can acknowledge
	acked    bool
	silent   bool // the last attempt is by a Receive that has ended: nobody was told
}

// An operation is what somebody did, and what came out.
type operation struct {
	kind    string // put, receive, ack, nack, revoke, end
	client  int    // the consumer of receive and revoke
	item    int
	attempt int    // of receive, and that which ack and nack are about
	outcome string // done, lost, unknown
}

func (o operation) String() string {
	return fmt.Sprintf("%s item %d attempt %d by %d: %s", o.kind, o.item, o.attempt, o.client, o.outcome)
}

// step returns the states that an operation may lead to.
func step(s queued, o operation) []queued {
	next := s
	i := &next.items[o.item]
	holds := i.holder != 0 && i.attempts == o.attempt && !i.acked
	switch o.kind {
	case "put":
		if i.place != 0 {
			return nil
		}
		next.puts++
		i.place = next.puts
	case "receive":
		if o.outcome == "unknown" {
			return s.anyClaim(o)
		}
		if !next.claim(o.item, o.client, o.attempt) {
			return nil
		}
	case "ack", "nack":
		switch {
		case o.outcome == "lost" && holds:
			return nil
		case o.outcome == "lost":
			return []queued{s}
		case !holds && o.outcome == "unknown":
			return []queued{s}
		case !holds:
			return nil
		case o.kind == "ack":
			i.acked = true
		default:
			i.holder, i.void = 0, false
		}
	case "revoke":
		for n := range next.items {
			if next.items[n].holder == o.client {
				next.items[n].void = true
			}
		}
	case "end": // the store has no items
		for _, i := range s.items {
			if i.place != 0 && !i.acked {
				return nil
			}
		}
	}
	if o.outcome == "unknown" {
		return []queued{s, next}
	}
	return []queued{next}
}

// claim has an item claimed, if it can be. One that nobody was told of may have been
// given back before, and was no attempt then.
func (s *queued) claim(item, client, attempt int) bool {
	i := &s.items[item]
	if i.silent && attempt == i.attempts {
		i.attempts--
		i.holder, i.void = 0, false
	}
	free := i.place != 0 && !i.acked && (i.holder == 0 || i.void)
	if !free || attempt != i.attempts+1 || i.attempts == 0 && s.overtakes(i.place) {
		return false
	}
	i.attempts++
	i.holder, i.void, i.silent = client, false, false
	return true
}

// anyClaim is what a Receive that ended in doubt may have done.
func (s queued) anyClaim(o operation) []queued {
	states := []queued{s}
	for item := range s.items {
		for attempt := s.items[item].attempts; attempt <= s.items[item].attempts+1; attempt++ {
			if next := s; next.claim(item, o.client, attempt) {
				next.items[item].silent = true
				states = append(states, next)
			}
		}
	}
	return states
}

// overtakes reports whether an earlier item was never handed out.
func (s queued) overtakes(place int) bool {
	for _, i := range s.items {
		if i.place != 0 && i.place < place && i.attempts == 0 {
			return true
		}
	}
	return false
}

func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{queued{}} },
		Step: func(s, in, _ any) []any {
			before, _ := s.(queued)
			o, _ := in.(operation)
			var after []any
			for _, next := range step(before, o) {
				after = append(after, next)
			}
			return after
		},
		DescribeOperation: func(in, _ any) string { return fmt.Sprint(in) },
	}
	return m.ToModel()
}

// A recorder keeps a history. Its clock ticks with each call and each return.
type recorder struct {
	mu   sync.Mutex
	now  int64
	done []porcupine.Operation
}

func (r *recorder) tick() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	return r.now
}

func (r *recorder) add(client int, called int64, o operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	returned := r.now
	// A Put of unknown outcome is over all the same: that is what its fence is for.
	if o.outcome == "unknown" && o.kind != "put" {
		returned = math.MaxInt64
	}
	r.done = append(r.done, porcupine.Operation{ClientId: client, Input: o, Call: called, Return: returned})
}

func (r *recorder) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[string]int{}
	for _, p := range r.done {
		o, _ := p.Input.(operation)
		counts[o.kind+" "+o.outcome]++
	}
	t.Logf("%d operations: %v", len(r.done), counts)
	switch result := porcupine.CheckOperationsTimeout(model(), r.done, time.Minute); result {
	case porcupine.Ok:
	case porcupine.Unknown:
		t.Error("undecided: nothing is proven")
	default:
		slices.SortFunc(r.done, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		var lines []string
		for _, p := range r.done {
			lines = append(lines, fmt.Sprintf("%4d %4d  %v", p.Call, p.Return, p.Input))
		}
		t.Errorf("the history is not that of a queue:\n%s", strings.Join(lines, "\n"))
	}
}

// A player is a consumer whose doings are recorded.
type player struct {
	*recorder
	number   int // from 1
	store    *fickle
	consumer *queue.Consumer
	space    stores.Space
}

// play receives items and ends them one way or another, or leaves them to whoever
// comes after the end of the lease.
func (p *player) play(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		called := p.tick()
		item, err := p.consumer.Receive(ctx)
		if err != nil {
			p.add(p.number, called, operation{kind: "receive", client: p.number, outcome: "unknown"})
			return
		}
		n := number(t, item)
		p.add(p.number, called, operation{"receive", p.number, n, item.Attempt, "done"})
		switch dice := rand.N(10); {
		case dice < 6:
			p.end(ctx, "ack", item, n, item.Ack)
		case dice < 9:
			p.end(ctx, "nack", item, n, func(ctx context.Context) error { return item.Nack(ctx, 0) })
		}
		if rand.N(3) == 0 {
			p.store.release()
		}
		if rand.N(6) == 0 {
			p.revoke(ctx, t)
		}
	}
}

func (p *player) end(ctx context.Context, kind string, item *queue.Item, n int, end func(context.Context) error) {
	called := p.tick()
	o := operation{kind, p.number, n, item.Attempt, "done"}
	switch err := end(ctx); {
	case errors.Is(err, queue.ErrLost):
		o.outcome = "lost"
	case err != nil:
		o.outcome = "unknown"
	}
	p.add(p.number, called, o)
}

// revoke ends the lease that the consumer has, as the store's operator can.
func (p *player) revoke(ctx context.Context, t *testing.T) {
	called := p.tick()
	e, err := p.store.Get(ctx, p.store.joined())
	if err != nil {
		return // it has none at the moment
	}
	p.space.Revoke(t, e.Lease)
	p.add(p.number, called, operation{kind: "revoke", client: p.number, outcome: "done"})
}

func number(t *testing.T, item *queue.Item) (n int) {
	_, err := fmt.Sscan(item.ID, &n)
	assert.NoError(t, err)
	return n
}

// joined is the last key of a consumer that was put.
func (f *fickle) joined() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.consumer
}

// Consumers that lose their leases, writes whose answers get lost, and writes that
// come late: to its users it is one queue.
func TestHistoriesAreThoseOfAQueue(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		t.Run(fmt.Sprint(n), func(t *testing.T) { stores.Each(t, testHistory) })
	}
}

func testHistory(t *testing.T, s stores.Space) {
	r := &recorder{}
	trouble := func(key string) fate {
		if !strings.Contains(key, "shards/") || rand.N(4) != 0 {
			return through
		}
		return applied + rand.N(dropped)
	}
	var players []*player
	var stops []func() error
	var playing sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for n := range 3 {
		store := &fickle{Store: s.Open(t)}
		c, err := queue.NewConsumer(open(t, store, oneShard), queue.ConsumerConfig{TTL: time.Minute}) // never by itself
		require.NoError(t, err)
		stops = append(stops, stores.Start(t, c.Run))
		p := &player{recorder: r, number: n + 1, store: store, consumer: c, space: s}
		store.set(trouble)
		players = append(players, p)
		playing.Go(func() { p.play(ctx, t) })
	}
	var producing sync.WaitGroup
	for n := range 2 {
		producing.Go(func() {
			store := &fickle{Store: s.Open(t)}
			store.set(trouble)
			q := open(t, store, oneShard)
			for i := n; i < mostItems; i += 2 {
				called := r.tick()
				o := operation{kind: "put", item: i, outcome: "done"}
				if err := q.PutID(t.Context(), fmt.Sprint(i), nil); err != nil {
					assert.ErrorIs(t, err, backend.ErrUnknown)
					o.outcome = "unknown"
				}
				r.add(10+n, called, o)
				store.release()
			}
		})
	}
	producing.Wait()
	store := s.Open(t)
	lately := time.Now()
	stores.Wait(t, "most of it is done", func() bool { return len(left(t, store)) < 4 || time.Since(lately) > 3*time.Second })
	cancel()
	playing.Wait()
	for i, p := range players {
		called := r.tick()
		p.store.set(nil)
		require.NoError(t, stops[i]())
		r.add(p.number, called, operation{kind: "revoke", client: p.number, outcome: "done"})
		p.store.release()
	}
	drain(t, r, store)
	r.check(t)
}

// drain acknowledges what there is, until there is nothing.
func drain(t *testing.T, r *recorder, store backend.Store) {
	t.Helper()
	const client = 9
	c, _ := consume(t, open(t, store, oneShard))
	for len(left(t, store)) > 0 {
		called := r.tick()
		item := receive(t, c)
		n := number(t, item)
		r.add(client, called, operation{"receive", client, n, item.Attempt, "done"})
		called = r.tick()
		require.NoError(t, item.Ack(t.Context()))
		r.add(client, called, operation{"ack", client, n, item.Attempt, "done"})
	}
	r.add(client, r.tick(), operation{kind: "end", outcome: "done"})
}
