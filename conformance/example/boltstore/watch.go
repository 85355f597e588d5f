package boltstore

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// heartbeat is how often an idle watch confirms that nothing has changed.
const heartbeat = 10 * time.Second

// A watch is told of changes while it is in the file's list.
type watch struct {
	prefix string
	feed   *backend.Feed
	behind bool // it needs a snapshot; used by who has the turn
}

// WatchPrefix implements [backend.Store].
func (s *Store) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if err := backend.CheckPrefix(prefix); err != nil {
			yield(backend.Update{}, err)
			return
		}
		ctx, leave, err := s.life.Call(ctx, 0)
		if err != nil {
			yield(backend.Update{}, err)
			return
		}
		defer leave()
		w := &watch{prefix: prefix, feed: backend.NewFeed(), behind: true}
		s.file.list(w, true)
		defer s.file.list(w, false)
		s.refresh(ctx, w)
		for {
			u, err := s.next(ctx, w)
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}

// next waits for what the feed has, and refreshes the watch when it is idle.
func (s *Store) next(ctx context.Context, w *watch) (backend.Update, error) {
	for {
		beat, cancel := context.WithTimeout(ctx, heartbeat)
		u, err := w.feed.Next(beat)
		cancel()
		switch {
		case err == nil:
			return u, nil
		case ctx.Err() != nil:
			return u, context.Cause(ctx) // and not that of the beat
		}
		s.refresh(ctx, w)
	}
}

// refresh feeds a watch what it needs. If it fails, the next beat tries again.
func (s *Store) refresh(ctx context.Context, w *watch) {
	_ = s.do(ctx, s.file.turn, "watch", w.prefix, func() error { return s.file.feed(w) })
}

// feed gives a watch a snapshot if it is behind, and else the news that there
// is none. The caller has the turn: between a commit and its telling the
// revision read here would promise too much.
func (f *File) feed(w *watch) error {
	return f.view(func(t *txn) (err error) {
		u := backend.Update{Snapshot: w.behind, Revision: backend.Revision(t.keys.Sequence())}
		if w.behind {
			u.Puts, err = t.under(w.prefix)
		}
		if err == nil {
			w.feed.Send(u)
			w.behind = false
		}
		return err
	})
}

// tell feeds the watches what a transaction changed. The caller has the turn.
func (f *File) tell(u backend.Update) {
	for _, w := range f.listed() {
		part := backend.Update{Revision: u.Revision}
		for _, e := range u.Puts {
			if strings.HasPrefix(e.Key, w.prefix) {
				e.Value = clone(e.Value) // one for each watch
				part.Puts = append(part.Puts, e)
			}
		}
		for _, key := range u.Deletes {
			if strings.HasPrefix(key, w.prefix) {
				part.Deletes = append(part.Deletes, key)
			}
		}
		if !w.behind && len(part.Puts)+len(part.Deletes) > 0 {
			w.feed.Send(part)
		}
	}
}

// lose makes every watch begin again: after a commit that failed only the file
// can tell what it holds. The caller has the turn.
func (f *File) lose() {
	for _, w := range f.listed() {
		w.behind = true
		_ = f.feed(w) // or with the next beat
	}
}

func (f *File) list(w *watch, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watches, w)
	if on {
		f.watches[w] = struct{}{}
	}
}

// listed copies the list, so that nobody waits for a disk with the lock held.
func (f *File) listed() []*watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.watches))
}
