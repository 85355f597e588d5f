package election

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
	"github.com/seed27495941/seckill/recipe/lock"
)

// A Config says how a process takes part. The zero value is ready.
type Config struct {
	TTL    time.Duration // of the leases; lock.DefaultTTL if 0
	ID     string        // who this is; "<host>/<process id>" if empty
	Logger *slog.Logger  // nil: silent
}

// An Election is one process's part in an election. It holds nothing open while
// it neither stands, leads nor observes. It is safe for concurrent use.
type Election struct {
	store  backend.Store
	name   string
	id     string
	log    *slog.Logger
	leader string // key of the record
	line   *lock.Lock
}

// A Leader is what the record says: who leads, and what was proclaimed last.
type Leader struct {
	ID    string           `json:"id"`
	Term  backend.Revision `json:"term"` // 0: nobody leads
	Value string           `json:"value"`
	Since time.Time        `json:"since"` // of the term, by the leader's clock
}

// New prepares to take part; nothing is sent. The name is the key that the
// election is under: "elections/seller". Errors: ErrInvalid.
func New(s backend.Store, name string, cfg Config) (*Election, error) {
	line, err := lock.New(s, name+"/candidates", lock.Config{TTL: cfg.TTL, Holder: cfg.ID, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("election %q: %w", name, err)
	}
	return &Election{
		store:  s,
		name:   name,
		id:     line.Holder(),
		log:    retry.Logger(cfg.Logger).With("election", name),
		leader: name + "/leader",
		line:   line,
	}, nil
}

// ID is who this is.
func (e *Election) ID() string { return e.id }

// Campaign stands for election, waits until this process leads, and puts the
// record with the value. The context bounds the waiting, as that of
// [lock.Lock.Acquire] does, and the errors are the same; ErrInvalid and ErrTooLarge
// are about the value.
func (e *Election) Campaign(ctx context.Context, value string) (*Term, error) {
	if err := e.check(value); err != nil {
		return nil, err
	}
	trouble := retry.New(e.log, "begin a term")
	for {
		held, err := e.line.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		t := &Term{election: e, held: held, since: time.Now().UTC().Truncate(time.Millisecond), proclaiming: make(chan struct{}, 1)}
		if err = t.Proclaim(ctx, value); err == nil {
			e.log.Info("elected", "id", e.id, "term", uint64(t.Token()))
			return t, nil
		}
		t.giveUp(ctx)
		if ctx.Err() != nil || !transient(err) {
			return nil, err
		}
		retry.Sleep(ctx, trouble.Failed(err))
	}
}

// transient reports whether a term that could not begin is no reason not to
// stand again.
func transient(err error) bool {
	return !errors.Is(err, backend.ErrFull) &&
		(errors.Is(err, backend.ErrConflict) || errors.Is(err, backend.ErrLeaseLost) ||
			errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrUnknown))
}

// Observe tells who leads: at the beginning, then whenever that or the value
// changes. While nobody leads that is the zero [Leader]. Changes in between may be
// merged; terms never go back. It takes no part in the election. It ends as
// [backend.WatchKey] does.
//
// What is told may be over already. A record that no leader wrote (one that does
// not decode, or hangs on no lease) is logged and counts as none.
func (e *Election) Observe(ctx context.Context) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		var last Leader
		begun := false
		for entry, err := range backend.WatchKey(ctx, e.store, e.leader) {
			if err != nil {
				yield(Leader{}, err)
				return
			}
			now := e.read(entry)
			if begun && now == last {
				continue
			}
			begun, last = true, now
			if !yield(now, nil) {
				return
			}
		}
	}
}

// read is what a record says; the zero Leader if it is not one.
func (e *Election) read(entry backend.Entry) Leader {
	if entry.Revision == 0 {
		return Leader{}
	}
	leader, err := lenient.Decode[Leader](entry.Value)
	switch {
	case err != nil:
	case entry.Lease == "":
		err = errors.New("hangs on no lease")
	case leader.Term == 0:
		err = errors.New("names no term")
	}
	if err != nil {
		e.log.Warn("not the record of a leader", "key", e.leader, "revision", uint64(entry.Revision), "error", err)
		return Leader{}
	}
	return leader
}

// check refuses what could not be read back.
func (e *Election) check(value string) error {
	if !utf8.ValidString(value) {
		return fmt.Errorf("%w: election %q: value %q: expected valid UTF-8", backend.ErrInvalid, e.name, value)
	}
	record, err := json.Marshal(Leader{ID: e.id, Term: ^backend.Revision(0), Value: value, Since: time.Now()})
	if err != nil {
		return fmt.Errorf("%w: election %q: %w", backend.ErrInvalid, e.name, err)
	}
	return backend.CheckValue(e.leader, record)
}
