package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// again is the pause between attempts to give up a place.
const again = 200 * time.Millisecond

// DefaultTTL is how long a holder that died keeps the lock, as far as the store
// goes by it: Consul takes up to twice as long.
const DefaultTTL = 10 * time.Second

// A Config says how a lock is taken. The zero value is ready.
type Config struct {
	TTL    time.Duration // of the leases; DefaultTTL if 0
	Holder string        // a name for people; "<host>/<process id>" if empty
	Logger *slog.Logger  // nil: silent
}

// A Lock is one process's part in the line for a lock. It holds nothing open
// while nobody waits for or holds it, so it needs no Close. It is safe for
// concurrent use.
//
// All that one Lock has in line share one watch at a time. So use one for all
// goroutines of a process.
type Lock struct {
	store    backend.Store
	name     string
	ttl      time.Duration
	holder   string
	log      *slog.Logger
	reading  *retry.Loop // the follower's, of the line
	watching *retry.Loop // and of the key that matters next

	mu       sync.Mutex
	places   []*place // of this process, by revision
	follower *follower
	head     backend.Entry               // who had the lock when last looked; for people
	foreign  map[string]backend.Revision // keys that have been logged as being none of ours
}

// A ticket is the value of a key in the line, for people.
type ticket struct {
	Holder string    `json:"holder"`
	Since  time.Time `json:"since"` // when it joined the line, by its own clock
}

// New prepares a lock; nothing is sent. The name is the key that the places in
// line are under: "locks/report". Errors: ErrInvalid.
func New(s backend.Store, name string, cfg Config) (*Lock, error) {
	if err := backend.CheckKey(key(name)); err != nil {
		return nil, fmt.Errorf("lock %q: %w", name, err)
	}
	switch {
	case cfg.TTL < 0:
		return nil, fmt.Errorf("%w: lock %q: TTL %v, expected a positive duration", backend.ErrInvalid, name, cfg.TTL)
	case cfg.TTL == 0:
		cfg.TTL = DefaultTTL
	}
	if cfg.Holder == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		cfg.Holder = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	if !utf8.ValidString(cfg.Holder) {
		return nil, fmt.Errorf("%w: lock %q: holder %q, expected valid UTF-8", backend.ErrInvalid, name, cfg.Holder)
	}
	log := retry.Logger(cfg.Logger).With("lock", name)
	return &Lock{
		store:    s,
		name:     name,
		ttl:      cfg.TTL,
		holder:   cfg.Holder,
		log:      log,
		reading:  retry.New(log, "read the line of the lock"),
		watching: retry.New(log, "watch the line of the lock"),
	}, nil
}

// Holder is the name that people see in the line.
func (l *Lock) Holder() string { return l.holder }

// Acquire waits in line until the lock is held. The context bounds the waiting;
// when it ends the place in line is given up, which may take some seconds more
// if the store is away, and the error is a [LockedError], if it is known who has
// the lock.
//
// Trouble that waiting may cure (ErrUnavailable, ErrUnknown, ErrLeaseLost) is
// waited out and logged. A place that was lost by it, or because somebody deleted
// the key, is lost: the next one is at the end of the line. Other errors are
// returned: ErrDenied, ErrFull, ErrInvalid, ErrTooLarge, ErrClosed.
func (l *Lock) Acquire(ctx context.Context) (*Held, error) {
	trouble := retry.New(l.log, "wait for the lock")
	for {
		p, err := l.enqueue(ctx)
		if err == nil {
			l.join(p) //nolint:contextcheck // its follower serves others too
			if err = l.wait(ctx, p); err == nil {
				return l.held(p), nil
			}
			head := l.seen()
			l.abandon(ctx, p)
			if ctx.Err() != nil && head.Revision != 0 && head.Key != p.key {
				return nil, l.locked(head, ended(ctx)...)
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil, backend.Failure(ctx, backend.ErrUnavailable, "acquire", l.name, cmp.Or(trouble.Last().Err, err))
		case !curable(err):
			return nil, err
		}
		retry.Sleep(ctx, trouble.Failed(err))
	}
}

// TryAcquire takes the lock if nobody has it or waits for it, and else fails with
// a [LockedError] at once. Then it has written nothing, unless another one came in
// between. For a try with a time limit give [Lock.Acquire] a context.
//
// Errors: ErrLocked, and those of Lease, Put and List.
func (l *Lock) TryAcquire(ctx context.Context) (*Held, error) {
	line, err := l.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(line) > 0 {
		return nil, l.locked(line[0])
	}
	p, err := l.enqueue(ctx)
	if err != nil {
		return nil, err
	}
	if line, err = l.list(ctx); err == nil {
		switch {
		case !p.in(line):
			err = p.gone()
		case line[0].Key != p.key:
			err = l.locked(line[0])
		}
	}
	if err != nil {
		l.abandon(ctx, p)
		return nil, err
	}
	l.join(p) //nolint:contextcheck // its follower serves others too
	l.grant(p)
	return l.held(p), nil
}

// curable reports whether waiting may help.
func curable(err error) bool {
	if errors.Is(err, backend.ErrFull) || retry.Final(err) {
		return false
	}
	return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrUnknown) || errors.Is(err, backend.ErrLeaseLost)
}

// A place in the line is one key, put once and never rewritten.
type place struct {
	key     string
	rev     backend.Revision
	lease   backend.Lease
	granted chan struct{} // closed when it has the lock
	lost    chan struct{} // closed when it can't be relied on any more

	err error // why; guarded by the lock's mu
}

// in reports whether the place is in a line as it was put.
func (p *place) in(line []backend.Entry) bool {
	return slices.ContainsFunc(line, func(e backend.Entry) bool { return e.Key == p.key && e.Revision == p.rev })
}

func (p *place) gone() error {
	return fmt.Errorf("%w: somebody deleted or overwrote the key %q", backend.ErrLeaseLost, p.key)
}

// key makes the key of a new place.
func key(name string) string { return name + "/" + ulid.Make().String() }

// enqueue puts a new place at the end of the line. On error it leaves none.
func (l *Lock) enqueue(ctx context.Context) (*place, error) {
	lease, err := l.store.Lease(ctx, l.ttl)
	if err != nil {
		return nil, err
	}
	p := &place{key: key(l.name), lease: lease, granted: make(chan struct{}), lost: make(chan struct{})}
	if p.rev, err = l.put(ctx, p); err != nil {
		l.abandon(ctx, p)
		return nil, err
	}
	return p, nil
}

// put puts the key of a place. When the outcome is unknown it looks: if the key
// is there the place is kept. If not, it may come later; but it hangs on the
// lease, which the caller ends now, so it comes to nothing.
func (l *Lock) put(ctx context.Context, p *place) (backend.Revision, error) {
	rev, err := backend.PutJSON(ctx, l.store, p.key, ticket{l.holder, time.Now().UTC().Truncate(time.Millisecond)},
		backend.If(p.key, 0), backend.WithLease(p.lease))
	if !errors.Is(err, backend.ErrUnknown) || ctx.Err() != nil {
		return rev, err
	}
	if e, getErr := l.store.Get(ctx, p.key); getErr == nil && e.Lease == p.lease.ID() {
		return e.Revision, nil
	}
	return 0, err
}

// wait waits until the place has the lock.
func (l *Lock) wait(ctx context.Context, p *place) error {
	select {
	case <-p.granted:
		return nil
	case <-p.lost:
		return l.why(p)
	case <-p.lease.Done():
		return p.lease.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ended is how a context ended.
func ended(ctx context.Context) []error {
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return []error{ctx.Err(), cause}
	}
	return []error{ctx.Err()}
}

// abandon gives up a place, for a caller who can't use it. It tries for a while:
// a key that stays holds up the line until its lease, renewed no more, has passed.
func (l *Lock) abandon(ctx context.Context, p *place) {
	ctx, cancel := run.Farewell(ctx)
	defer cancel()
	for {
		err := l.release(ctx, p)
		switch {
		case err == nil:
			return
		case ctx.Err() != nil || !curable(err):
			l.log.Warn("a place in line was not given up, it will expire", "key", p.key, "ttl", p.lease.TTL(), "error", err)
			return
		}
		retry.Sleep(ctx, again) // a backoff could outlast the time there is
	}
}

// release ends a place. The lease goes first, so that the key is gone when the
// follower looks for who is next.
func (l *Lock) release(ctx context.Context, p *place) error {
	err := p.lease.Close(ctx)
	l.leave(p)
	return err
}

// list reads the line, the head first.
func (l *Lock) list(ctx context.Context) ([]backend.Entry, error) {
	entries, _, err := backend.List(ctx, l.store, l.name+"/")
	if err != nil {
		return nil, err
	}
	var line, foreign []backend.Entry
	for _, e := range entries {
		if l.isPlace(e) {
			line = append(line, e)
		} else {
			foreign = append(foreign, e)
		}
	}
	l.report(foreign)
	slices.SortFunc(line, func(a, b backend.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	return line, nil
}

// isPlace: a key without a lease would block the line until somebody noticed.
// Every process agrees on it, because what a key hangs on can't change without
// its revision.
func (l *Lock) isPlace(e backend.Entry) bool {
	_, err := ulid.ParseStrict(strings.TrimPrefix(e.Key, l.name+"/"))
	return err == nil && e.Lease != ""
}

// report logs keys that are not in the line, each once.
func (l *Lock) report(foreign []backend.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := make(map[string]backend.Revision, len(foreign))
	for _, e := range foreign {
		if l.foreign[e.Key] != e.Revision {
			l.log.Warn("not a place in line: expected a key named by a ULID, on a lease", "key", e.Key, "revision", uint64(e.Revision), "lease", e.Lease)
		}
		seen[e.Key] = e.Revision
	}
	l.foreign = seen
}
