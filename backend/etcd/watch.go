package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/seed27495941/seckill/backend"
)

// WatchPrefix implements backend.Store. All watches of a store share one
// stream. When that breaks each prefix is read anew and yielded as a snapshot:
// a server may have been restored from a backup meanwhile, and neither its
// cluster ID nor its revision need betray that.
func (s *Store) WatchPrefix(ctx context.Context, prefix string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		if err := backend.CheckPrefix(prefix); err != nil {
			yield(backend.Update{}, err)
			return
		}
		ctx, cancel, err := s.life.Call(ctx, 0)
		if err != nil {
			yield(backend.Update{}, err)
			return
		}
		w := &watch{store: s, prefix: prefix, feed: backend.NewFeed()}
		ended := make(chan struct{})
		err = s.life.Go(func(context.Context) {
			defer close(ended)
			w.run(ctx)
		})
		if err != nil {
			cancel()
			yield(backend.Update{}, err)
			return
		}
		end := func() {
			cancel()
			<-ended
		}
		defer end()
		for {
			u, err := w.feed.Next(ctx)
			if err != nil && ctx.Err() != nil {
				end()
				err = w.explain(err)
			}
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}

// A watch fills the feed of one range over WatchPrefix.
type watch struct {
	store   *Store
	prefix  string
	feed    *backend.Feed
	trouble error // why the prefix could not be read at last; not to be read before run has returned
}

// explain adds to the error of a context that ended what it was waiting for.
func (w *watch) explain(err error) error {
	if w.trouble == nil {
		return err
	}
	return fmt.Errorf("%w: %s", err, w.trouble.Error())
}

// steady is how long a watch must have gone well for the next failure to be
// followed by the shortest pause again.
const steady = 5 * time.Second

// run follows the prefix until ctx ends or the rights are gone. All other
// trouble may pass.
func (w *watch) run(ctx context.Context) {
	for b := (backoff{}); ; {
		begun := time.Now()
		err := w.follow(ctx)
		if errors.Is(err, backend.ErrDenied) && !w.store.login.rotating() {
			w.feed.Fail(err)
			return
		}
		if time.Since(begun) >= steady {
			b = backoff{}
		}
		if !b.wait(ctx) {
			return
		}
	}
}

// follow reads the prefix and then listens to its changes until that fails.
func (w *watch) follow(ctx context.Context) error {
	header, err := w.snapshot(ctx)
	w.trouble = err
	if err != nil {
		return err
	}
	f := newFollower(w, header)
	l, err := w.store.hub.join(ctx, f)
	if err != nil {
		return err
	}
	defer l.leave(f)
	select {
	case err := <-f.failed:
		return err
	case <-l.ended:
		return l.reason()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// snapshot sends the state of the prefix and returns the header of the read.
func (w *watch) snapshot(ctx context.Context) (*pb.ResponseHeader, error) {
	u := backend.Update{Snapshot: true}
	sc := newScan(w.store.physical(w.prefix))
	for !sc.done {
		page, err := w.store.page(ctx, w.prefix, sc)
		if err != nil {
			return nil, err
		}
		for _, kv := range page.GetKvs() {
			if key := w.store.admit(kv); key != "" {
				u.Puts = append(u.Puts, entry(key, kv))
			}
		}
		sc.take(page)
	}
	u.Revision = backend.Revision(sc.header.GetRevision())
	w.feed.Send(u)
	return sc.header, nil
}

// page reads the next page of a scan of prefix.
func (s *Store) page(ctx context.Context, prefix string, sc *scan) (page *pb.RangeResponse, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.read(ctx, "watch", prefix, func(ctx context.Context) (err error) {
		page, err = s.kv.Range(ctx, sc.request(), callOptions...)
		return err
	})
	return page, err
}
