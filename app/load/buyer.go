package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seed27495941/seckill/internal/retry"
)

// A buyer is one visit.
type buyer struct {
	*crowd
	user, token string
}

// A request is what a buyer wants, and what was answered to it for good.
type request struct {
	ID       string `json:"request_id"`
	Quantity int64  `json:"quantity"`

	mu    sync.Mutex
	final answer // its code is "" if there is none
}

// askTwice sends the same request two times, by chance at once or one after the
// other.
func (b *buyer) askTwice(ctx context.Context, r *request) {
	if rand.N(2) == 0 {
		b.ask(ctx, r)
		b.ask(ctx, r)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { b.ask(ctx, r) })
	both.Go(func() { b.ask(ctx, r) })
	both.Wait()
}

// The pauses of a buyer whom nobody has told how long to wait.
const (
	firstPause   = 20 * time.Millisecond
	longestPause = time.Second
)

// ask sends a request until there is an answer to it, each time to another node.
func (b *buyer) ask(ctx context.Context, r *request) {
	began := time.Now()
	var pause *backoff.ExponentialBackOff // most need none
	for node := rand.N(len(b.cfg.Nodes)); ; node = (node + 1) % len(b.cfg.Nodes) {
		a := b.client.order(ctx, b.cfg.Nodes[node], b.token, r)
		if ctx.Err() != nil {
			b.tally.unanswered()
			return
		}
		b.tally.count(a.code)
		if !a.again {
			b.tally.decided(time.Since(began))
			b.conclude(r, a)
			return
		}
		if pause == nil {
			pause = &backoff.ExponentialBackOff{
				InitialInterval: firstPause, MaxInterval: longestPause, Multiplier: 2, RandomizationFactor: 0.5,
			}
			pause.Reset()
		}
		retry.Sleep(ctx, max(pause.NextBackOff(), a.wait+rand.N(a.wait/2+1)))
	}
}

// conclude holds an answer against what was answered before.
func (b *buyer) conclude(r *request, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.final
	if before.code == "" {
		r.final = a
	}
	switch {
	case before.code != "" && before.order != a.order:
		b.tally.violate("%s, request %s: it was answered %s, and then %s", b.user, r.ID, before, a)
	case a.order.ID != "" && a.order.Quantity != r.Quantity:
		b.tally.violate("%s, request %s: wanted %d units, got %s", b.user, r.ID, r.Quantity, a)
	case a.order.ID == "" && !isRefusal(a.status):
		b.tally.violate("%s, request %s: %s", b.user, r.ID, a)
	}
	if before.order.ID == "" && a.order.ID != "" {
		b.tally.acknowledge(Ack{User: b.user, Request: r.ID, Order: a.order.ID, Quantity: a.order.Quantity})
	}
}

// leave sees that the buyer has not got more than is allowed.
func (b *buyer) leave(requests ...*request) {
	units := int64(0)
	for _, r := range requests {
		units += r.final.order.Quantity
	}
	if units > b.cfg.PerUser {
		b.tally.violate("%s has got %d units, %d are allowed", b.user, units, b.cfg.PerUser)
	}
}

func (a answer) String() string {
	if a.order.ID == "" {
		return fmt.Sprintf("%d %s", a.status, a.code)
	}
	return fmt.Sprintf("%d, order %s of %d units", a.status, a.order.ID, a.order.Quantity)
}
