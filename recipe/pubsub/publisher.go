package pubsub

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// DefaultRetention is how long a message can be received at least.
const DefaultRetention = 30 * time.Second

const (
	attempts   = 3       // at a message whose outcome is not known
	mostTopics = 1 << 16 // numbers that a publisher remembers
)

// A PublisherConfig says where to publish.
type PublisherConfig struct {
	Dir string // with a slash at the end

	// Retention is how long a message stays at least: a subscriber that was
	// out of touch for less misses nothing. It stays twice as long at most.
	// DefaultRetention if 0.
	Retention time.Duration

	Logger *slog.Logger // nil: silent
}

// A Publisher publishes messages, one after the other: subscribers get them in
// the order of its calls. It is safe for concurrent use; who wants to publish
// in parallel takes several.
//
// Somebody has to [Publisher.Run] it, or messages stay until it is closed.
type Publisher struct {
	store     backend.Store
	dir       string
	retention time.Duration
	log       *slog.Logger

	turn chan struct{} // holds a token while a message is published

	// Whoever has the turn has these.
	id   string            // ULID
	used map[string]uint64 // the number used last, by topic

	windows windows
}

// NewPublisher prepares a publisher; nothing is sent before the first message.
// Errors: ErrInvalid.
func NewPublisher(s backend.Store, cfg PublisherConfig) (*Publisher, error) {
	if err := checkDir(cfg.Dir); err != nil {
		return nil, err
	}
	if cfg.Retention < 0 {
		return nil, fmt.Errorf("%w: retention %v", backend.ErrInvalid, cfg.Retention)
	}
	return &Publisher{
		store:     s,
		dir:       cfg.Dir,
		retention: cmp.Or(cfg.Retention, DefaultRetention),
		log:       retry.Logger(cfg.Logger).With("dir", cfg.Dir),
		turn:      make(chan struct{}, 1),
		id:        ulid.Make().String(),
		used:      map[string]uint64{},
		windows:   windows{opened: make(chan struct{}, 1)},
	}, nil
}

// Publish puts a message on a topic and returns its revision. A topic is a path
// such as "orders/paid". The payload is stored as it is.
//
// If the outcome is not known (ErrUnknown) the message may have been published.
// The next one on that topic settles it: with the same payload it is the same
// message, and not published twice; with another, either the message is there
// and comes first, or it never will be.
//
// Errors: those of [backend.Store.Put] except ErrConflict.
func (p *Publisher) Publish(ctx context.Context, topic string, payload []byte) (backend.Revision, error) {
	if err := backend.CheckKey(stream{topic, p.id}.key(p.dir, 1)); err != nil {
		return 0, fmt.Errorf("topic %q: %w", topic, err)
	}
	if !p.take(ctx) {
		return 0, backend.Failure(ctx, backend.ErrUnavailable, "publish", topic, nil)
	}
	defer p.release()

	var unknown, err error
	for failed := 0; failed < attempts; failed++ {
		var rev backend.Revision
		rev, err = p.attempt(ctx, topic, payload)
		switch {
		case err == nil:
			return rev, nil
		case errors.Is(err, errTaken):
			unknown, failed = nil, -1 // what could have been there is another: begin anew
		case errors.Is(err, errVanished):
			return 0, err
		case errors.Is(err, backend.ErrUnknown):
			unknown = cmp.Or(unknown, err)
		case !errors.Is(err, backend.ErrLeaseLost):
			return 0, cmp.Or(unknown, err)
		}
	}
	return 0, cmp.Or(unknown, err)
}

// attempt puts a message under the next number of its topic, on the condition
// that nothing is there. So it can be repeated: what is there then is this
// message, or the one before it whose outcome was not known, because nobody
// else has this publisher's keys.
//
// A lost write that arrives late finds the key taken. When the key has vanished
// with its lease, so has the lease of the lost write, which is no younger; and
// should that outlive it after all, subscribers know the number already.
func (p *Publisher) attempt(ctx context.Context, topic string, payload []byte) (backend.Revision, error) {
	lease, err := p.lease(ctx)
	if err != nil {
		return 0, err
	}
	number := p.used[topic] + 1
	key := stream{topic, p.id}.key(p.dir, number)
	rev, err := p.store.Put(ctx, key, payload, backend.If(key, 0), backend.WithLease(lease))
	switch {
	case err == nil:
		p.used[topic] = number
	case errors.Is(err, backend.ErrLeaseLost):
		p.windows.drop(lease)
	case errors.Is(err, backend.ErrConflict):
		return p.resolve(ctx, topic, number, payload)
	}
	return rev, err
}

var (
	// errTaken says that a number is another message's.
	errTaken = errors.New("the number was taken by the message before, whose outcome was not known")
	// errVanished says that it can't be told any more whose it was.
	errVanished = errors.New("the number was taken, and what was there has vanished with its lease")
)

// resolve finds out which message has taken a number.
func (p *Publisher) resolve(ctx context.Context, topic string, number uint64, payload []byte) (backend.Revision, error) {
	key := stream{topic, p.id}.key(p.dir, number)
	e, err := p.store.Get(ctx, key)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return 0, backend.Failure(ctx, backend.ErrUnknown, "publish", key, err)
	}
	p.used[topic] = number
	switch {
	case err != nil:
		return 0, backend.Failure(ctx, backend.ErrUnknown, "publish", key, errVanished)
	case !bytes.Equal(e.Value, payload):
		return 0, errTaken
	}
	return e.Revision, nil
}

// lease is that of the present window, a new one if need be.
func (p *Publisher) lease(ctx context.Context) (backend.Lease, error) {
	lease, err := p.windows.current(p.retention)
	if lease != nil || err != nil {
		return lease, err
	}
	if len(p.used) >= mostTopics {
		p.id = ulid.Make().String() // new streams: memory is bounded
		clear(p.used)
	}
	// Renewed every third of its TTL, it lasts for the retention when nobody
	// renews it any more.
	lease, err = p.store.Lease(ctx, p.retention+p.retention/2)
	if err != nil {
		return nil, err
	}
	p.windows.open(lease)
	return lease, nil
}

// Run takes messages away whose time is over, until ctx ends; then it returns
// nil at once.
//
// What was published stays then, so that a process which ends takes nothing
// from subscribers that are a little behind: it ends by expiry once the store
// is closed (or the process is gone), not before the retention is over, and on
// Consul up to twice as late. A process that goes on with the store calls
// [Publisher.Close], or runs on.
func (p *Publisher) Run(ctx context.Context) error {
	for {
		var over <-chan time.Time
		if oldest, ok := p.windows.oldest(); ok {
			over = time.After(time.Until(oldest.Add(2 * p.retention)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.windows.opened:
		case <-over:
			for _, lease := range p.windows.removeOlder(time.Now().Add(-2 * p.retention)) {
				p.closeWindow(ctx, lease)
			}
		}
	}
}

// Close takes back all that was published and not yet taken away: at once,
// whether anybody has received it or not. It can be repeated after an error;
// what it could not take back expires. Publish returns ErrClosed from now on.
func (p *Publisher) Close(ctx context.Context) error {
	if !p.take(ctx) {
		return backend.Failure(ctx, backend.ErrUnavailable, "close", p.dir, nil)
	}
	defer p.release()
	var errs []error
	for _, lease := range p.windows.close() {
		err := lease.Close(ctx)
		if err == nil {
			p.windows.drop(lease)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// closeWindow ends a lease and with it its messages, in one request. If that
// fails nobody renews it any more.
func (p *Publisher) closeWindow(ctx context.Context, lease backend.Lease) {
	if err := lease.Close(ctx); err != nil {
		p.log.Warn("messages were not taken away, they will expire", "lease", lease.ID(), "error", err)
	}
}

// take takes the turn, or returns false when ctx ends before.
func (p *Publisher) take(ctx context.Context) bool {
	select {
	case p.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *Publisher) release() { <-p.turn }
