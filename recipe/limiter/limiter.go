package limiter

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
	"github.com/seed27495941/seckill/recipe/registry"
)

// Defaults of a [Config].
const (
	DefaultSettle = 5 * time.Second
	DefaultKeys   = 1 << 16
)

// A Limit is what the whole cluster grants each key.
type Limit struct {
	Rate  float64 `json:"rate"`  // tokens a second
	Burst int     `json:"burst"` // tokens at once, at least 1
}

// Validate says what is wrong with a limit: ErrInvalid.
func (l Limit) Validate() error {
	if math.IsNaN(l.Rate) || math.IsInf(l.Rate, 0) || l.Rate < 0 {
		return fmt.Errorf("%w: rate %v: expected tokens a second, 0 or more", backend.ErrInvalid, l.Rate)
	}
	if l.Burst < 1 {
		return fmt.Errorf("%w: burst %d: expected at least 1 token", backend.ErrInvalid, l.Burst)
	}
	return nil
}

// split is a node's part of a limit.
func (l Limit) split(share float64) (rate float64, burst int) {
	if share == 0 {
		return 0, 0
	}
	const rounding = 1e-9 // three thirds are one
	return l.Rate * share, max(1, int(float64(l.Burst)*share+rounding))
}

// A Config says what to limit and with whom to share.
type Config struct {
	Limit Limit

	// Directory lists the nodes that share. Somebody has to run it, on a store of
	// whose changes it learns.
	Directory *registry.Directory

	// Self is the incarnation under which this process is registered:
	// Registration.Status().Node.Incarnation.
	Self string

	// Settle is how long the list has to be as it is before a share grows:
	// DefaultSettle if 0. See the package's documentation.
	Settle time.Duration

	// Keys is how many buckets there are at most, DefaultKeys if 0. Buckets that
	// are full are forgotten to make room: a new one is the same. While none is
	// full, keys that have no bucket share a common one, so that memory is bounded
	// and nobody gets more than the limit by inventing keys. (A key that finds room
	// later begins with a full bucket of its own, whatever it had of the common.)
	Keys int

	Logger *slog.Logger // nil: silent
}

// A Limiter is this node's share of a cluster's limit. Somebody has to
// [Limiter.Run] it. It is safe for concurrent use.
type Limiter struct {
	directory *registry.Directory
	settle    time.Duration
	log       *slog.Logger
	growing   *retry.Loop
	buckets   *buckets
	dirty     chan struct{} // holds a token while the share may have something due
	ready     chan struct{}

	turn run.Turn // of Run

	mu          sync.Mutex
	limit       Limit
	share       share
	applied     float64 // the share that the buckets go by
	subscribers []func(share float64)
}

// New prepares a limiter, which has no share before Run has found it. It is told
// of the directory's changes for as long as that runs, so it should live as
// long. Errors: ErrInvalid.
func New(cfg Config) (*Limiter, error) {
	if cfg.Settle == 0 {
		cfg.Settle = DefaultSettle
	}
	if cfg.Keys == 0 {
		cfg.Keys = DefaultKeys
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	log := retry.Logger(cfg.Logger)
	l := &Limiter{
		directory: cfg.Directory,
		settle:    cfg.Settle,
		log:       log,
		growing:   retry.New(log, "confirm the nodes that share a rate"),
		buckets:   newBuckets(cfg.Keys),
		dirty:     make(chan struct{}, 1),
		ready:     make(chan struct{}),
		limit:     cfg.Limit,
		share:     share{self: cfg.Self, settle: cfg.Settle},
	}
	l.directory.Subscribe(func(registry.Change) { l.look() })
	return l, nil
}

func (c Config) validate() error {
	switch {
	case c.Directory == nil:
		return fmt.Errorf("%w: no directory of nodes to share with", backend.ErrInvalid)
	case c.Self == "":
		return fmt.Errorf("%w: no incarnation of this node", backend.ErrInvalid)
	case c.Settle < 0:
		return fmt.Errorf("%w: settle time %v", backend.ErrInvalid, c.Settle)
	case c.Keys < 0:
		return fmt.Errorf("%w: %d keys", backend.ErrInvalid, c.Keys)
	}
	return c.Limit.Validate()
}

// Allow reports whether a key may have a token now, and takes it.
func (l *Limiter) Allow(key string) bool { return l.AllowN(key, 1) }

// AllowN is [Limiter.Allow] for n tokens, all or none. More than the node's
// share of the burst it never allows, nor less than none.
func (l *Limiter) AllowN(key string, n int) (allowed bool) {
	l.buckets.use(key, func(b *bucket) { allowed = n >= 0 && b.allow(n) })
	return allowed
}

// Wait takes a token for a key as soon as there is one. While the node has no
// share it waits for that. Errors: context.Cause(ctx) when ctx ends, and
// context.DeadlineExceeded at once if the token would come after its deadline.
func (l *Limiter) Wait(ctx context.Context, key string) error {
	for {
		changed := l.buckets.changes()
		var wait time.Duration
		var cancel func()
		l.buckets.use(key, func(b *bucket) { wait, cancel = b.reserve() })
		if deadline, ok := ctx.Deadline(); ok && wait != never && time.Until(deadline) < wait {
			cancel()
			return fmt.Errorf("the next token comes in %v: %w", wait, context.DeadlineExceeded)
		}
		over, err := await(ctx, wait, changed)
		if err != nil {
			cancel()
			return err
		}
		if over {
			return nil
		}
		cancel() // the share is another, and so is the wait
	}
}

// await waits for a time to be over, false if there was a change before.
func await(ctx context.Context, wait time.Duration, changed <-chan struct{}) (over bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	if wait == 0 {
		return true, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-timer.C:
		return true, nil
	case <-changed:
		return false, nil
	}
}

// SetLimit changes the limit at once, here: each node of the cluster has to be
// told, and until the last one has been, some go by the old one. Tokens that a
// key has left stay, up to the new burst. Errors: ErrInvalid; then the limit
// stays.
func (l *Limiter) SetLimit(limit Limit) error {
	if err := limit.Validate(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = limit
	l.buckets.set(l.limit.split(l.share.value))
	return nil
}

// Ready is closed when the node has a share for the first time, at the earliest
// a settle time after it was listed. A node that accepts connections only from
// then on refuses nobody: balancers find that it does not, and go elsewhere.
func (l *Limiter) Ready() <-chan struct{} { return l.ready }

// Subscribe has f called with the share in force, 0 before there is one, and with
// each that follows it, one call at a time and in order: for those who have buckets of
// their own. f must not block, nor call the limiter.
func (l *Limiter) Subscribe(f func(share float64)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribers = append(l.subscribers, f)
	f(l.applied)
}

// A Status tells what a limiter goes by.
type Status struct {
	Limit  Limit   `json:"limit"`
	Share  float64 `json:"share"`  // in force: this node's part of 1
	Target float64 `json:"target"` // what it is to become, by the list as it is
	Nodes  int     `json:"nodes"`  // that share
	Rate   float64 `json:"rate"`   // of this node
	Burst  int     `json:"burst"`  // of this node
	Keys   int     `json:"keys"`   // that have a bucket

	// Why the share could not grow, over or not.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
}

// Status tells what the limiter goes by now.
func (l *Limiter) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Limit: l.limit, Share: l.share.value, Target: l.share.target, Nodes: len(l.share.seen), Keys: l.buckets.len()}
	s.Rate, s.Burst = l.limit.split(l.share.value)
	if last := l.growing.Last(); last.Err != nil {
		s.LastError, s.LastErrorAt = last.Err.Error(), last.At
	}
	return s
}

// Run lets the share follow the list of nodes until ctx ends; then it returns
// nil, and the share stays. It may not run twice at once: that is ErrInvalid.
func (l *Limiter) Run(ctx context.Context) error {
	if err := l.turn.Begin("the limiter"); err != nil {
		return err
	}
	defer l.turn.End()
	select {
	case <-ctx.Done():
		return nil
	case <-l.directory.Synced():
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.dirty:
		case <-timer.C:
		}
		mayGrow, wait := l.look()
		if mayGrow {
			wait = l.grow(ctx)
		}
		timer.Reset(wait)
	}
}

// look takes in the list as it is, and says whether the share may grow, and
// when to look again at the latest.
func (l *Limiter) look() (mayGrow bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.share.see(now, members(l.directory.Nodes())) {
		select {
		case l.dirty <- struct{}{}:
		default:
		}
	}
	l.share.pass(now)
	l.apply()
	return l.share.mayGrow(now), l.wait(now)
}

// grow lets the share grow if the store confirms the list, and says when to look
// again.
func (l *Limiter) grow(ctx context.Context) (wait time.Duration) {
	asked := time.Now()
	asking, cancel := context.WithTimeout(ctx, l.settle/2)
	defer cancel()
	nodes, err := l.directory.Fetch(asking)
	switch {
	case ctx.Err() != nil:
		return never
	case err != nil:
		return l.growing.Failed(err)
	}
	l.growing.Worked()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.share.grow(asked, now, members(nodes))
	l.apply()
	return l.wait(now)
}

// wait is how long nothing is due. The caller holds mu.
func (l *Limiter) wait(now time.Time) time.Duration {
	next := l.share.next()
	if next.IsZero() {
		return never
	}
	return max(next.Sub(now), 0)
}

// apply makes the share count. The caller holds mu.
func (l *Limiter) apply() {
	if l.applied == l.share.value {
		return
	}
	l.log.Info("share of the rate", "share", l.share.value, "before", l.applied, "nodes", len(l.share.seen))
	l.applied = l.share.value
	l.buckets.set(l.limit.split(l.share.value))
	for _, f := range l.subscribers {
		f(l.applied)
	}
	select {
	case <-l.ready:
	default:
		close(l.ready) // the first share is more than none
	}
}
