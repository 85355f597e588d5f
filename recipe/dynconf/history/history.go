package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

// External is the author of versions that were not written by this package.
const External = "external"

// DefaultKeep is how many records are kept.
const DefaultKeep = 200

// Options are optional.
type Options struct {
	// Check says what is wrong with a value that is to be published:
	// [dynconf.Config.Check] for example. Those who write the key by other means
	// are not asked; nodes refuse what they write.
	Check func(value []byte) error

	Keep   int          // records, 0: DefaultKeep; Run deletes older ones
	Logger *slog.Logger // nil: silent
}

// A History is the versions of one configuration. It is safe for concurrent
// use.
type History struct {
	store backend.Store
	key   string
	check func([]byte) error
	keep  int
	log   *slog.Logger
	loop  *retry.Loop
}

// New prepares the history of a configuration; nothing is sent. Errors:
// ErrInvalid for a bad key or a negative Keep.
func New(s backend.Store, key string, o Options) (*History, error) {
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Keep < 0 {
		return nil, fmt.Errorf("%w: %d versions to keep, expected 1 or more", backend.ErrInvalid, o.Keep)
	}
	log := retry.Logger(o.Logger).With("key", key)
	h := &History{store: s, key: key, check: o.Check, keep: o.Keep, log: log, loop: retry.New(log, "record versions")}
	if err := backend.CheckKey(h.intentKey(ulid.ULID{}.String())); err != nil {
		return nil, err
	}
	return h, backend.CheckKey(key)
}

// A Change is what is known of a change beside the value.
type Change struct {
	Author  string
	Comment string

	// ID names the change, a new ULID if empty. Repeating a change with its ID
	// makes it once: the version it made is the answer.
	ID string
}

// Publish makes value the configuration, on the condition that the key still
// has the revision base, 0 for none, and on others that may be given.
//
// Errors: ErrConflict, with the revision that the key has, if it changed since;
// ErrInvalid for a value that Check refuses or a change without an author;
// ErrTooLarge for a value whose record would be too large; ErrUnknown if it can't
// be found out whether the value was published or will be; and those of
// [backend.Store.Put].
func (h *History) Publish(ctx context.Context, base backend.Revision, value []byte, by Change, conds ...backend.Condition) (Version, error) {
	if err := h.checkValue(value); err != nil {
		return Version{}, err
	}
	opts := []backend.PutOption{backend.If(h.key, base)}
	for _, c := range conds {
		opts = append(opts, c)
	}
	return h.change(ctx, intent{Base: base, Hash: dynconf.Hash(value)}, by, func() (Version, error) {
		rev, err := h.store.Put(ctx, h.key, value, opts...)
		return Version{Revision: rev, Hash: dynconf.Hash(value), Value: value}, err
	})
}

// Delete deletes the configuration, on the condition that the key still has the
// revision base: the nodes' defaults apply then. The version is that which says
// so. Errors: as of Publish.
func (h *History) Delete(ctx context.Context, base backend.Revision, by Change) (Version, error) {
	if base == 0 {
		return Version{}, fmt.Errorf("%w: revision 0 of %q to delete: it does not exist", backend.ErrInvalid, h.key)
	}
	return h.change(ctx, intent{Base: base, Deleted: true}, by, func() (Version, error) {
		return Version{Revision: base, Deleted: true}, h.store.Delete(ctx, h.key, backend.If(h.key, base))
	})
}

// Rollback publishes the value of an earlier version again, on the condition
// that the key still has the revision base. The comment says so in front of by's.
//
// Errors: ErrNotFound if there is no record of the version; ErrInvalid if it does
// not have the value, and if Check refuses it by now; and as of Publish.
func (h *History) Rollback(ctx context.Context, to, base backend.Revision, by Change) (Version, error) {
	v, err := h.Version(ctx, to)
	if err != nil {
		return Version{}, err
	}
	if v.Omitted {
		return Version{}, fmt.Errorf("%w: the value of version %d was too large to be kept", backend.ErrInvalid, to)
	}
	comment := fmt.Sprintf("rollback to %d", to)
	if by.Comment != "" {
		comment += ": " + by.Comment
	}
	by.Comment = comment
	return h.Publish(ctx, base, v.Value, by)
}

func (h *History) checkValue(value []byte) error {
	if h.check != nil {
		if err := h.check(value); err != nil {
			return fmt.Errorf("%w: %w", backend.ErrInvalid, err)
		}
	}
	// As large as records get: a rollback has a longer comment, for example.
	v := Version{Value: value}
	encoded, err := v.encode()
	if err != nil {
		return err
	}
	return backend.CheckValue("record of "+h.key, append(encoded, make([]byte, spare)...))
}

// spare is what a record needs beside the value, at most.
const spare = 8 << 10

func (by *Change) complete() error {
	switch {
	case by.Author == "" || by.Author == External:
		return fmt.Errorf("%w: author %q: expected who makes the change", backend.ErrInvalid, by.Author)
	case len(by.Author)+len(by.Comment) > spare/8: // escaped it may take six times as much
		return fmt.Errorf("%w: author and comment have %d bytes, at most %d are allowed", backend.ErrTooLarge, len(by.Author)+len(by.Comment), spare/8)
	case by.ID == "":
		by.ID = ulid.Make().String()
	}
	if _, err := ulid.ParseStrict(by.ID); err != nil {
		return fmt.Errorf("%w: id %q of a change: %w", backend.ErrInvalid, by.ID, err)
	}
	return nil
}

// change makes a change: see the package documentation for the order.
func (h *History) change(ctx context.Context, in intent, by Change, write func() (Version, error)) (Version, error) {
	repeatable := by.ID != ""
	if err := by.complete(); err != nil {
		return Version{}, err
	}
	in.ID, in.Author, in.Comment, in.Time = by.ID, by.Author, by.Comment, time.Now().UTC()
	err := h.prepare(ctx, in)
	if errors.Is(err, backend.ErrConflict) && repeatable {
		return h.made(ctx, in.ID, err)
	}
	if err != nil {
		return Version{}, h.certain(ctx, err)
	}
	v, err := write()
	switch {
	case errors.Is(err, backend.ErrUnknown):
		return h.settle(ctx, in, write, err)
	case errors.Is(err, backend.ErrConflict) && repeatable:
		if twin, failed := h.find(ctx, in.ID); failed == nil {
			h.withdraw(ctx, in.ID)
			return twin, nil // somebody made the same change meanwhile
		}
		fallthrough
	case err != nil:
		h.withdraw(ctx, in.ID)
		return Version{}, h.withHave(ctx, err)
	}
	return h.done(ctx, in.made(v)), nil
}

// prepare makes sure that what is overwritten has a record, and leaves the
// intent.
func (h *History) prepare(ctx context.Context, in intent) error {
	have, err := h.current(ctx)
	if err != nil {
		return err
	}
	if _, err := h.record(ctx, have); err != nil {
		return err
	}
	if have.Revision != in.Base {
		return &backend.ConflictError{Key: h.key, Want: in.Base, Have: have.Revision}
	}
	return h.announce(ctx, in)
}

// certain is an error of what comes before the change: whatever became of
// that, the change itself was certainly not made.
func (h *History) certain(ctx context.Context, err error) error {
	if errors.Is(err, backend.ErrUnknown) {
		return backend.Failure(ctx, backend.ErrUnavailable, "prepare a change", h.key, errors.New(err.Error()))
	}
	return err
}

// settle finds out what has become of a write whose outcome is unknown. The
// same write again, on the same condition, is made at most once.
func (h *History) settle(ctx context.Context, in intent, write func() (Version, error), unknown error) (Version, error) {
	v, err := write()
	switch {
	case err == nil:
		return h.done(ctx, in.made(v)), nil
	case !errors.Is(err, backend.ErrConflict):
		return Version{}, unknown
	}
	// The first was made, or somebody else was faster.
	v, failed := h.find(ctx, in.ID)
	switch {
	case failed == nil:
		h.withdraw(ctx, in.ID)
		return v, nil
	case h.isOvertaken(ctx, in):
		h.withdraw(ctx, in.ID)
		return Version{}, h.withHave(ctx, err)
	}
	return Version{}, unknown
}

// find is made, of a change that may be what the key has now and has no record.
func (h *History) find(ctx context.Context, id string) (Version, error) {
	have, err := h.current(ctx)
	if err == nil {
		_, err = h.record(ctx, have)
	}
	if err != nil {
		return Version{}, err
	}
	return h.made(ctx, id, backend.ErrNotFound)
}

// made finds the version that a change has made, or returns the error.
func (h *History) made(ctx context.Context, id string, otherwise error) (Version, error) {
	versions, _, err := h.Versions(ctx)
	if err != nil {
		return Version{}, otherwise
	}
	i := slices.IndexFunc(versions, func(v Version) bool { return v.ID == id })
	if i < 0 {
		return Version{}, otherwise
	}
	return versions[i], nil
}

// isOvertaken reports whether another change was made on the revision that this
// one is for, so that this one never will be. On revision 0 there may be more
// than one, and of external versions it is not known.
func (h *History) isOvertaken(ctx context.Context, in intent) bool {
	versions, _, err := h.Versions(ctx)
	return err == nil && in.Base != 0 && slices.ContainsFunc(versions, func(v Version) bool {
		return v.Base == in.Base && v.ID != in.ID
	})
}

// done records a version that was certainly made by us. If that fails others
// will find the intent, and do it.
func (h *History) done(ctx context.Context, v Version) Version {
	err := h.put(ctx, v, 0)
	if errors.Is(err, backend.ErrConflict) {
		err = h.correct(ctx, v)
	}
	if err != nil {
		h.log.Warn("version published, not recorded yet", "revision", uint64(v.Revision), "error", err)
		return v
	}
	h.withdraw(ctx, v.ID)
	return v
}

// withHave makes a conflict say what the key has, if the store did not.
func (h *History) withHave(ctx context.Context, err error) error {
	var conflict *backend.ConflictError
	if !errors.As(err, &conflict) || conflict.Key != h.key || conflict.Have != 0 {
		return err
	}
	have, failed := h.current(ctx)
	if failed != nil {
		return err
	}
	return &backend.ConflictError{Key: h.key, Want: conflict.Want, Have: have.Revision}
}

// current is the key's entry, of revision 0 if it does not exist.
func (h *History) current(ctx context.Context) (backend.Entry, error) {
	e, err := h.store.Get(ctx, h.key)
	if errors.Is(err, backend.ErrNotFound) {
		err = nil
	}
	return e, err
}
