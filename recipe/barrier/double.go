package barrier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
	"github.com/seed27495941/seckill/recipe/internal/run"
)

// DefaultTTL is the lease of a participant: one that died counts as having left
// after that, as far as the store goes by it. Consul raises it to 10s and takes up
// to twice as long.
const DefaultTTL = 10 * time.Second

// MaxParticipants is how many there may be: the round's write has a condition for
// each, and another one.
const MaxParticipants = backend.MaxConditions - 1

// A DoubleConfig says what a double barrier is. All participants must say the same.
type DoubleConfig struct {
	Participants int           // 1 to MaxParticipants
	TTL          time.Duration // DefaultTTL if 0

	Logger *slog.Logger // nil: silent
}

// A Double is a double barrier. It is safe for concurrent use, each Enter being a
// participant of its own, and has nothing to close.
type Double struct {
	store backend.Store
	dir   string
	n     int
	ttl   time.Duration
	log   *slog.Logger
}

// NewDouble names the double barrier under a directory, which ends with a slash.
// Nothing is sent before it is used. Errors: ErrInvalid; ErrTooLarge if the
// directory's name is too long for so many participants.
func NewDouble(s backend.Store, dir string, cfg DoubleConfig) (*Double, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	switch {
	case !strings.HasSuffix(dir, "/"):
		return nil, fmt.Errorf("%w: directory %q: expected a slash at the end", backend.ErrInvalid, dir)
	case cfg.Participants < 1 || cfg.Participants > MaxParticipants:
		return nil, fmt.Errorf("%w: %d participants, expected 1 to %d", backend.ErrInvalid, cfg.Participants, MaxParticipants)
	case cfg.TTL < 0:
		return nil, fmt.Errorf("%w: TTL %v", backend.ErrInvalid, cfg.TTL)
	}
	d := &Double{store: s, dir: dir, n: cfg.Participants, ttl: cfg.TTL, log: retry.Logger(cfg.Logger).With("barrier", dir)}
	if _, err := backend.ResolvePut(d.roundKey(), nil, d.conditions(make([]backend.Entry, d.n))...); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Double) roundKey() string           { return d.dir + "round" }
func (d *Double) membersDir() string         { return d.dir + "members/" }
func (d *Double) memberKey(id string) string { return d.membersDir() + id }

// A Round is being in, from [Double.Enter] to [Round.Leave].
type Round struct {
	double   *Double
	member   member
	revision backend.Revision // of the round's key
}

// A member is one who has entered.
type member struct {
	id    string
	lease backend.Lease
}

// A record is the value of the round's key.
type record struct {
	Members []string `json:"members"`
}

// Enter waits until as many are in as the barrier has participants. If a round is
// going on already it waits for the next one.
//
// Trouble with the store is retried until ctx ends, with context.Cause(ctx) as the
// error then; so is the loss of the lease before the round began. Other errors:
// ErrClosed if the store was closed, ErrInvalid for a TTL that it does not take.
// After an error this participant is not in: if the round began in the same
// moment, it counts as having left.
func (d *Double) Enter(ctx context.Context) (*Round, error) {
	loop := retry.New(d.log, "enter the barrier")
	var round *Round
	entering, in := context.WithCancel(ctx)
	defer in()
	err := loop.Keep(entering, func(ctx context.Context) error {
		m, err := d.join(ctx, loop)
		if err == nil {
			round, err = d.stay(ctx, loop, m)
		}
		if err != nil {
			d.abandon(ctx, m)
			return err
		}
		in()
		return nil
	})
	switch {
	case round != nil:
		return round, nil
	case err != nil:
		return nil, err
	}
	return nil, context.Cause(ctx)
}

// join puts the key of a new member: one key for each lease, whatever becomes of
// the first try, so that no participant is counted twice.
func (d *Double) join(ctx context.Context, loop *retry.Loop) (member, error) {
	m := member{id: ulid.Make().String()}
	var err error
	if m.lease, err = d.store.Lease(ctx, d.ttl); err != nil {
		return m, err
	}
	key := d.memberKey(m.id)
	for {
		_, err = d.store.Put(ctx, key, nil, backend.If(key, 0), backend.WithLease(m.lease))
		switch {
		case errors.Is(err, backend.ErrConflict): // an earlier try was applied
			return m, nil
		case !errors.Is(err, backend.ErrUnknown) || ctx.Err() != nil:
			return m, err
		}
		retry.Sleep(ctx, loop.Failed(err))
	}
}

// stay waits until the member is in a round, through any trouble but the loss of
// its key. The end of its lease by the clock is none: a round may count it still.
func (d *Double) stay(ctx context.Context, loop *retry.Loop, m member) (*Round, error) {
	for {
		round, err := d.await(ctx, m)
		if err == nil || ctx.Err() != nil || retry.Final(err) || errors.Is(err, backend.ErrLeaseLost) {
			return round, err
		}
		retry.Sleep(ctx, loop.Failed(err))
	}
}

// abandon takes a member out that will not be in.
func (d *Double) abandon(ctx context.Context, m member) {
	if m.lease == nil {
		return
	}
	ctx, cancel := run.Farewell(ctx)
	defer cancel()
	if err := m.lease.Close(ctx); err != nil {
		d.log.Warn("a lease was not given up and will expire", "lease", m.lease.ID(), "error", err)
	}
}

// await waits until the member is in a round. The watch begins with a state in which
// its key is, or is gone again.
func (d *Double) await(ctx context.Context, m member) (*Round, error) {
	var state backend.State
	for u, err := range d.store.WatchPrefix(ctx, d.dir) {
		if err != nil {
			return nil, err
		}
		state.Apply(u)
		round, current := d.round(&state)
		switch _, there := state.Get(d.memberKey(m.id)); {
		case current != 0 && slices.Contains(round.Members, m.id):
			return &Round{d, m, current}, nil
		case !there:
			return nil, fmt.Errorf("%w: the member's key is gone", backend.ErrLeaseLost)
		case current != 0:
			err = d.finish(ctx, &state)
		default:
			err = d.begin(ctx, &state)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, context.Cause(ctx)
}

// round is the round that is going on, as the watch has it; its revision is 0 if
// there is none. One that can't be read has no members.
func (d *Double) round(state *backend.State) (record, backend.Revision) {
	e, there := state.Get(d.roundKey())
	if !there {
		return record{}, 0
	}
	r, err := lenient.Decode[record](e.Value)
	if err != nil {
		d.log.Warn("not a round, will be deleted", "key", e.Key, "error", err)
	}
	return r, e.Revision
}

// begin begins a round with the first members, if there are enough. That somebody
// else does it, or a member goes away, the watch will tell.
func (d *Double) begin(ctx context.Context, state *backend.State) error {
	var members []backend.Entry
	for _, e := range state.Entries() {
		if id, ok := strings.CutPrefix(e.Key, d.membersDir()); ok && isMember(id, e) {
			members = append(members, e)
		}
	}
	if len(members) < d.n {
		return nil
	}
	slices.SortFunc(members, func(a, b backend.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	members = members[:d.n]
	var r record
	for _, e := range members {
		r.Members = append(r.Members, strings.TrimPrefix(e.Key, d.membersDir()))
	}
	_, err := backend.PutJSON(ctx, d.store, d.roundKey(), r, d.conditions(members)...)
	return unlessConflict(err)
}

// isMember keeps out what somebody else has put there, which would never leave.
func isMember(id string, e backend.Entry) bool {
	_, err := ulid.ParseStrict(id)
	return err == nil && e.Lease != ""
}

// conditions are those of a round with these members.
func (d *Double) conditions(members []backend.Entry) []backend.PutOption {
	conds := []backend.PutOption{backend.If(d.roundKey(), 0)}
	for _, e := range members {
		conds = append(conds, backend.If(cmp.Or(e.Key, d.memberKey(ulid.ULID{}.String())), e.Revision))
	}
	return conds
}

// finish ends the round that is going on if all of its members have left. They
// don't come back: the next time they have other names.
func (d *Double) finish(ctx context.Context, state *backend.State) error {
	round, revision := d.round(state)
	for _, id := range round.Members {
		if _, there := state.Get(d.memberKey(id)); there {
			return nil
		}
	}
	return unlessConflict(d.store.Delete(ctx, d.roundKey(), backend.If(d.roundKey(), revision)))
}

func unlessConflict(err error) error {
	if errors.Is(err, backend.ErrConflict) {
		return nil
	}
	return err
}

// Lost is closed when the lease can't be relied on any more: the others may have
// gone on as if this participant had left.
func (r *Round) Lost() <-chan struct{} { return r.member.lease.Done() }

// Leave leaves the round and waits until all others have, or died. It can be
// called again after an error.
//
// Trouble with the store is retried until ctx ends, with context.Cause(ctx) as the
// error then; ErrClosed if the store was closed.
func (r *Round) Leave(ctx context.Context) error {
	loop := retry.New(r.double.log, "leave the barrier")
	leaving, out := context.WithCancel(ctx)
	defer out()
	err := loop.Keep(leaving, func(ctx context.Context) error {
		if err := r.member.lease.Close(ctx); err != nil {
			return err
		}
		if err := r.awaitEnd(ctx); err != nil {
			return err
		}
		out()
		return nil
	})
	if err != nil {
		return err
	}
	return context.Cause(ctx)
}

// awaitEnd waits until the round is over.
func (r *Round) awaitEnd(ctx context.Context) error {
	var state backend.State
	for u, err := range r.double.store.WatchPrefix(ctx, r.double.dir) {
		if err != nil {
			return err
		}
		state.Apply(u)
		if _, current := r.double.round(&state); current != r.revision {
			return nil
		}
		if err := r.double.finish(ctx, &state); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}
