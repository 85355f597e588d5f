package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// DefaultTTL is the lease of a consumer: what it held when it died is with others
// after that, as far as the store goes by it. Consul raises it to 10s and takes
// up to twice as long.
const DefaultTTL = 10 * time.Second

// A ConsumerConfig says how a consumer works.
type ConsumerConfig struct {
	TTL    time.Duration // of its lease; DefaultTTL if 0
	Logger *slog.Logger  // nil: silent
}

// A Consumer hands out the items of a queue, to any number of goroutines. Somebody
// has to [Consumer.Run] it.
type Consumer struct {
	queue *Queue
	ttl   time.Duration
	log   *slog.Logger

	claiming, leasing, tidying *retry.Loop

	ended chan struct{} // closed when Run has returned
	tidy  chan struct{} // holds a token while there may be leftovers

	mu      sync.Mutex
	running bool
	moved   chan struct{} // closed and replaced when there may be something to receive
	self    *incarnation  // nil while there is none
	view    *view
}

// An incarnation is the life of a consumer under one lease. A new one has a new
// name, so that nobody takes the claims of the old one for good.
type incarnation struct {
	id       string
	key      string
	revision backend.Revision
	lost     chan struct{} // closed when the lease can't be relied on any more

	gone chan struct{} // closed when the key was seen to be gone
}

// NewConsumer prepares a consumer; nothing is sent before Run. Errors: ErrInvalid.
func NewConsumer(q *Queue, cfg ConsumerConfig) (*Consumer, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.TTL < 0 {
		return nil, fmt.Errorf("%w: TTL %v", backend.ErrInvalid, cfg.TTL)
	}
	log := retry.Logger(cfg.Logger).With("queue", q.dir)
	c := &Consumer{
		queue:    q,
		ttl:      cfg.TTL,
		log:      log,
		claiming: retry.New(log, "claim an item, or end it"),
		leasing:  retry.New(log, "join the queue"),
		tidying:  retry.New(log, "delete a claim that is left over"),
		ended:    make(chan struct{}),
		tidy:     make(chan struct{}, 1),
		moved:    make(chan struct{}),
	}
	c.view = newView(q.settings.Shards, q.consumersDir(), c.decode)
	return c, nil
}

// decode reads a claim. What is none counts as if it were not there.
func (c *Consumer) decode(e backend.Entry) claim {
	made, err := lenient.Decode[claim](e.Value)
	if err != nil {
		c.log.Warn("not a claim, will be overwritten", "key", e.Key, "error", err)
	}
	return made
}

// Run follows the queue and keeps the consumer's lease until ctx ends; then it
// gives the lease up, so that whatever is still held returns to the queue, and
// returns nil. So let the workers finish first. It returns early only for what no
// retry can cure: a store that was closed (ErrClosed), a queue with another Config
// or a TTL that the store does not take (ErrInvalid). It can't be run again.
//
// A consumer that lost its lease comes back with a new one. What it held is lost
// then: see [Item.Lost].
func (c *Consumer) Run(ctx context.Context) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer close(c.ended)
	q := c.queue
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range c.view.shards {
		dir := q.shardDir(s.number)
		g.Go(c.follow(ctx, dir, func(u backend.Update) { c.view.applyShard(s, dir, u) }))
	}
	g.Go(c.follow(ctx, q.consumersDir(), c.applyConsumers))
	if q.settings.Gated {
		g.Go(c.follow(ctx, q.gateKey(), c.view.applyGate))
	}
	g.Go(func() error { return c.leasing.Keep(ctx, c.live) })
	g.Go(func() error { return c.tidying.Keep(ctx, c.tidyUp) })
	return g.Wait()
}

func (c *Consumer) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		return fmt.Errorf("%w: a consumer runs once", backend.ErrInvalid)
	}
	c.running = true
	return nil
}

// follow has the updates of a prefix applied to the view.
func (c *Consumer) follow(ctx context.Context, prefix string, apply func(backend.Update)) func() error {
	loop := retry.New(c.log, "follow "+prefix)
	watch := func(ctx context.Context) error {
		for u, err := range c.queue.store.WatchPrefix(ctx, prefix) {
			if err != nil {
				return err
			}
			loop.Worked()
			c.change(func() { apply(u) })
		}
		return nil
	}
	return func() error { return loop.Keep(ctx, watch) }
}

// change changes what is known, and wakes those who wait for that.
func (c *Consumer) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.moved)
	c.moved = make(chan struct{})
	if c.view.leftover() == nil {
		return
	}
	select {
	case c.tidy <- struct{}{}:
	default:
	}
}

func (c *Consumer) applyConsumers(u backend.Update) {
	c.view.applyConsumers(u)
	if c.self == nil || u.Revision < c.self.revision {
		return
	}
	if _, there := c.view.consumers.Get(c.self.key); !there {
		c.lose(c.self)
	}
}

// lose ends an incarnation whose key is gone. The caller holds mu.
func (c *Consumer) lose(self *incarnation) {
	if c.self == self {
		c.self = nil
		close(self.gone)
	}
}

// errGone ends an incarnation whose key somebody has deleted.
var errGone = errors.New("the consumer's key is gone")

// live is one incarnation.
func (c *Consumer) live(ctx context.Context) error {
	if _, err := c.queue.settle(ctx); err != nil {
		return err
	}
	lease, err := c.queue.store.Lease(ctx, c.ttl)
	if err != nil {
		return err
	}
	defer c.leave(ctx, lease)
	id := ulid.Make().String()
	self := &incarnation{id: id, key: c.queue.consumerKey(id), lost: make(chan struct{}), gone: make(chan struct{})}
	self.revision, err = c.queue.store.Put(ctx, self.key, nil, backend.If(self.key, 0), backend.WithLease(lease))
	if err != nil {
		return err // if it is there nevertheless, it goes with the lease
	}
	c.leasing.Worked()
	c.log.Info("joined the queue", "consumer", id, "lease", lease.ID(), "ttl", lease.TTL())
	c.become(self)
	defer c.become(nil)
	defer close(self.lost)
	select {
	case <-ctx.Done():
		return nil
	case <-self.gone:
		return errGone
	case <-lease.Done():
		return lease.Err()
	}
}

// leave gives the lease up: the consumer's key vanishes, and its claims with it.
func (c *Consumer) leave(ctx context.Context, lease backend.Lease) {
	ctx, cancel := run.Farewell(ctx)
	defer cancel()
	if err := lease.Close(ctx); err != nil {
		c.log.Warn("the lease was not given up and will expire", "lease", lease.ID(), "error", err)
	}
}

// become takes note of the incarnation there is now, nil for none.
func (c *Consumer) become(self *incarnation) {
	c.change(func() {
		c.self, c.view.self = self, ""
		if self != nil {
			c.view.self = self.id
		}
		c.view.reconsider()
	})
}

// tidyUp ends claims that are left over: of items that are gone, by a consumer that
// died between the two steps of an acknowledgement, and our own that nobody was told
// of, because a Receive had ended before they were made.
func (c *Consumer) tidyUp(ctx context.Context) error {
	for {
		for l := c.leftover(); l != nil; l = c.leftover() {
			if err := c.end(ctx, *l); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.tidy:
		}
	}
}

// release takes note that nobody stands for a claim of ours any more.
func (c *Consumer) release(i *Item) {
	c.change(func() {
		if i.record.ours == i.claimed {
			i.record.ours = 0
		}
		c.view.consider(i.record)
	})
}

// leftover is one of those that the view has, nil if there is none. If its item is
// there the shard is busy until it has ended.
func (c *Consumer) leftover() *leftover {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.view.leftover()
	if l != nil && l.item != 0 {
		l.record.shard.busy = true
	}
	return l
}

// end ends a claim if it still is one that nobody needs.
func (c *Consumer) end(ctx context.Context, l leftover) error {
	err := c.tryEnd(ctx, l)
	settled := err == nil || errors.Is(err, backend.ErrConflict)
	c.change(func() {
		if l.item != 0 {
			l.record.shard.busy = false
		}
		if r := l.record; settled && r.claimed == l.claimed && r.item.Revision == l.item {
			delete(c.view.leftovers, r)
		}
	})
	if !settled {
		return err
	}
	c.tidying.Worked()
	return nil
}

func (c *Consumer) tryEnd(ctx context.Context, l leftover) error {
	q, shard, id := c.queue, l.record.shard.number, l.record.id
	conds := []backend.Condition{backend.If(q.claimKey(shard, id), l.claimed), backend.If(q.itemKey(shard, id), l.item)}
	if l.item != 0 {
		// The item was not handed out, so this was no attempt.
		_, err := q.putClaim(ctx, shard, id, claim{Item: l.item, Attempt: l.attempt - 1}, conds)
		return err
	}
	if l.by != "" {
		conds = append(conds, backend.If(q.consumerKey(l.by), 0))
	}
	return q.store.Delete(ctx, q.claimKey(shard, id), conds...)
}
