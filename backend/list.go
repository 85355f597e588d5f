package backend

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
)

// List reads all keys under a prefix, in the order of their keys, and the
// revision they are complete up to: the first update of a watch. Without a
// deadline it gets [DefaultTimeout].
//
// Errors: ErrInvalid, ErrDenied, ErrUnavailable, ErrClosed.
func List(ctx context.Context, s Store, prefix string) ([]Entry, Revision, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	for u, err := range s.WatchPrefix(ctx, prefix) {
		switch {
		case ctx.Err() != nil:
			return nil, 0, Failure(ctx, ErrUnavailable, "list", prefix, err)
		case err != nil:
			return nil, 0, err
		}
		slices.SortFunc(u.Puts, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
		return u.Puts, u.Revision, nil
	}
	return nil, 0, Failure(ctx, ErrUnavailable, "list", prefix, errors.New("the watch ended without an update"))
}

// WatchKey follows one key: its state at the beginning, then each change of it;
// an absent key is an Entry of revision 0. It is a watch of the prefix that the
// key is, so keys that start with it cost traffic. A deletion and a recreation
// that fell into one update are one change to the new revision. It ends as
// [Store.WatchPrefix] does.
func WatchKey(ctx context.Context, s Store, key string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := CheckKey(key); err != nil {
			yield(Entry{Key: key}, err)
			return
		}
		var last Entry
		begun := false
		for u, err := range s.WatchPrefix(ctx, key) {
			if err != nil {
				yield(Entry{Key: key}, err)
				return
			}
			now := entryAfter(last, key, u)
			if begun && same(now, last) {
				continue
			}
			begun, last = true, now
			last.Value = bytes.Clone(now.Value) // now is the consumer's
			if !yield(now, nil) {
				return
			}
		}
	}
}

// entryAfter is what key has become by an update.
func entryAfter(last Entry, key string, u Update) Entry {
	for _, e := range u.Puts {
		if e.Key == key {
			return e
		}
	}
	if u.Snapshot || slices.Contains(u.Deletes, key) {
		return Entry{Key: key}
	}
	return last
}
