package backend

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// A Feed stands between what a driver hears of a prefix and the consumer of one
// watch: it merges what has not been taken yet, so that it never holds more
// than the prefix does. Send and Fail may be called from any goroutine, Next
// from one at a time. The zero value is not usable: see [NewFeed].
type Feed struct {
	ready chan struct{} // holds a token while something is pending

	mu       sync.Mutex
	waiting  bool // something is pending
	snapshot bool
	revision Revision
	puts     map[string]Entry
	deletes  map[string]struct{}
	err      error

	// told has the keys that exist as far as the consumer was told. The
	// deletion of any other is no news, so deletions can't pile up either.
	told map[string]struct{}
}

// NewFeed makes the feed of one watch. The driver sends a snapshot first, then
// changes in the order of their revisions: the feed merges, it does not sort out
// what came late. An update without puts and deletes confirms its revision.
func NewFeed() *Feed {
	return &Feed{
		ready:   make(chan struct{}, 1),
		puts:    map[string]Entry{},
		deletes: map[string]struct{}{},
		told:    map[string]struct{}{},
	}
}

// Send adds an update; a snapshot replaces what is pending. The feed takes
// over the values in it.
func (f *Feed) Send(u Update) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u.Snapshot {
		f.snapshot = true
		clear(f.puts)
		clear(f.deletes)
	}
	f.revision = u.Revision
	for _, key := range u.Deletes {
		delete(f.puts, key)
		if _, ok := f.told[key]; ok && !f.snapshot {
			f.deletes[key] = struct{}{}
		}
	}
	for _, e := range u.Puts {
		delete(f.deletes, e.Key)
		f.puts[e.Key] = e
	}
	f.waiting = true
	f.wake()
}

// Fail makes Next return err once all that was sent has been taken.
func (f *Feed) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.wake()
}

// Next waits for an update and takes all that is pending as one. When ctx ends
// it returns context.Cause(ctx), at once even if something is pending.
func (f *Feed) Next(ctx context.Context) (Update, error) {
	for {
		if ctx.Err() != nil {
			return Update{}, context.Cause(ctx)
		}
		select {
		case <-ctx.Done():
		case <-f.ready:
			if u, ok, err := f.take(); ok || err != nil {
				return u, err
			}
		}
	}
}

func (f *Feed) wake() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

func (f *Feed) take() (Update, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		f.wake() // for the next call
	}
	if !f.waiting {
		return Update{}, false, f.err
	}
	u := Update{Snapshot: f.snapshot, Revision: f.revision}
	if f.snapshot {
		clear(f.told)
	}
	for key := range f.deletes {
		u.Deletes = append(u.Deletes, key)
		delete(f.told, key)
	}
	for key, e := range f.puts {
		u.Puts = append(u.Puts, e)
		f.told[key] = struct{}{}
	}
	sortByRevision(u.Puts)
	f.waiting, f.snapshot = false, false
	f.puts, f.deletes = map[string]Entry{}, map[string]struct{}{}
	return u, true, nil
}

func sortByRevision(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) })
}
