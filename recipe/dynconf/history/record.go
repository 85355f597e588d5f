package history

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

// Run records every version of the key that it sees and that has no record, and
// deletes the oldest records when there are too many. It tries until it works;
// it returns nil when ctx ends, and early only if the store was closed
// (ErrClosed). Any number of processes may run it.
func (h *History) Run(ctx context.Context) error {
	return h.loop.Keep(ctx, h.follow)
}

func (h *History) follow(ctx context.Context) error {
	var (
		state backend.State
		last  backend.Revision // that was taken in
		begun bool
	)
	for u, err := range h.store.WatchPrefix(ctx, h.key) {
		if err != nil {
			return err
		}
		u.Puts = slices.DeleteFunc(u.Puts, func(e backend.Entry) bool { return e.Key != h.key })
		state.Apply(u)
		e, ok := state.Get(h.key)
		if !ok {
			// Watches leave out values that break the contract's rules, and merge
			// what comes and goes. So any update is a reason to look.
			if e, err = h.current(ctx); err != nil {
				return err
			}
		}
		if begun && e.Revision == last {
			continue
		}
		if err := h.insist(ctx, e); err != nil {
			return err
		}
		begun, last = true, e.Revision
	}
	return nil
}

// insist takes a version in, however long that takes: a new watch would not tell
// of it any more when there is another by then.
func (h *History) insist(ctx context.Context, e backend.Entry) error {
	for {
		_, err := h.Record(ctx, e)
		switch {
		case err == nil:
			h.loop.Worked()
			return nil
		case ctx.Err() != nil || retry.Final(err):
			return err
		}
		retry.Sleep(ctx, h.loop.Failed(err))
	}
}

// Record is what Run does with a version that it sees, once, for those who follow the
// key themselves: e is what the key has or had, of revision 0 if it did not exist. It
// reports whether the version had no record before. Errors: those of the store.
func (h *History) Record(ctx context.Context, e backend.Entry) (recorded bool, err error) {
	if recorded, err = h.record(ctx, e); err != nil {
		return recorded, err
	}
	if e.Revision != 0 {
		if err := h.clean(ctx, e.Revision); err != nil {
			return recorded, err
		}
	}
	return recorded, h.trim(ctx)
}

// record records what the key has, or that it has nothing, if that is not
// recorded. It reports whether it has.
func (h *History) record(ctx context.Context, e backend.Entry) (bool, error) {
	v := Version{Revision: e.Revision}
	var err error
	if e.Revision == 0 {
		v, err = h.deletion(ctx)
	} else {
		_, err = h.store.Get(ctx, h.versionKey(v))
	}
	if err == nil || !errors.Is(err, backend.ErrNotFound) {
		return false, err
	}
	intents, err := h.intents(ctx)
	if err != nil {
		return false, err
	}
	v = h.attribute(e, v, intents)
	switch err := h.put(ctx, v, 0); {
	case errors.Is(err, backend.ErrConflict):
		return false, nil // another one has, or it is not deleted any more
	case err != nil:
		return false, err
	}
	h.log.Info("version recorded", "revision", uint64(v.Revision), "deleted", v.Deleted, "author", v.Author)
	return true, nil
}

// attribute says whose a version is.
func (h *History) attribute(e backend.Entry, v Version, intents []intent) Version {
	if !v.Deleted {
		v.Hash, v.Value = dynconf.Hash(e.Value), e.Value
	}
	for _, in := range intents {
		if in.explains(v) {
			return in.made(v)
		}
	}
	v.Author, v.Time = External, time.Now().UTC()
	return v
}

// deletion is the version which says that the last recorded one was deleted,
// with ErrNotFound if that has no record. There may be nothing to record.
func (h *History) deletion(ctx context.Context) (Version, error) {
	versions, _, err := h.Versions(ctx)
	if err != nil || len(versions) == 0 {
		return Version{}, err
	}
	last := versions[len(versions)-1]
	if last.Deleted {
		return Version{}, nil
	}
	return Version{Revision: last.Revision, Deleted: true}, backend.ErrNotFound
}

// trim deletes the oldest records.
func (h *History) trim(ctx context.Context) error {
	records, err := h.records(ctx)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(e backend.Entry) bool {
		return !h.isRecord(e.Key)
	})
	for _, e := range records[:max(0, len(records)-h.keep)] {
		err := h.store.Delete(ctx, e.Key, backend.If(e.Key, e.Revision))
		if err != nil && !errors.Is(err, backend.ErrConflict) {
			return err
		}
	}
	return nil
}
