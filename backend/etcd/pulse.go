package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/seed27495941/seckill/backend"
)

// beat looks after the followers of the line until it ends. It begins at a
// random moment, so that many clients of a server do not keep in step.
func (l *line) beat(ctx context.Context) {
	pulse := l.hub.store.pulse
	for wait := rand.N(pulse); ; wait = pulse {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			l.pulse(ctx)
		}
	}
}

// pulse asks the server for its progress, once for all followers, and makes up
// for what its answer does not tell.
func (l *line) pulse(ctx context.Context) {
	followers := l.concerned(everybody)
	var quiet []*follower
	for _, f := range followers {
		news, silence := f.ask()
		if silence > l.hub.store.silence {
			f.fail(errSilent)
		}
		if !news {
			quiet = append(quiet, f)
		}
	}
	l.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: &pb.WatchProgressRequest{},
	}})
	if l.hub.store.secured {
		l.look(ctx, followers, distinct(followers))
	} else if len(quiet) > 0 {
		// Any read tells the store's revision.
		l.look(ctx, followers, distinct(quiet[:1]))
	}
}

// look reads a little of some prefixes, for two reasons. etcd checks rights
// when a watch is created and never again, so a client that may have lost them
// has to ask. And the server does not report progress before the revision that
// a watch starts from, so while nobody writes to the store at all a read is
// what confirms that nothing has changed.
func (l *line) look(ctx context.Context, followers []*follower, prefixes []string) {
	s := l.hub.store
	for _, prefix := range prefixes {
		sc := newScan(s.physical(prefix))
		sc.limit = 1
		page, err := s.page(ctx, prefix, sc)
		switch {
		case err == nil:
			for _, f := range followers {
				f.confirm(page.GetHeader())
			}
		case !errors.Is(err, backend.ErrDenied), s.login.rotating():
			return // if it is bad, the silence will tell
		default:
			for _, f := range followers {
				if f.watch.prefix == prefix {
					f.fail(err)
				}
			}
		}
	}
}

func distinct(followers []*follower) (prefixes []string) {
	seen := map[string]bool{}
	for _, f := range followers {
		if p := f.watch.prefix; !seen[p] {
			seen[p] = true
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}
