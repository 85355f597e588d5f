package etcd

import (
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/backend"
)

var (
	errSilent    = errors.New("the server has gone silent")
	errCompacted = errors.New("the history was compacted")
	errHistory   = errors.New("the history is not the one the watch began with")
)

// A follower is a watch while it hangs on a line: it turns responses into
// updates.
type follower struct {
	watch  *watch
	id     int64      // on its line
	failed chan error // has room for the one error that ends it

	mu      sync.Mutex         // orders what the line's two goroutines send to the feed
	changes *changes           // heard, but their revision is not complete yet
	last    *pb.ResponseHeader // the newest
	rev     backend.Revision   // all up to here has been sent to the feed
	begun   bool               // the server knows it
	asked   bool               // a report of progress may be taken for it
	news    bool               // something was heard since the last question
	heard   time.Time          // when
}

// newFollower goes on after the snapshot that came with header.
func newFollower(w *watch, header *pb.ResponseHeader) *follower {
	return &follower{
		watch:   w,
		failed:  make(chan error, 1),
		changes: newChanges(w.store),
		last:    header,
		rev:     backend.Revision(header.GetRevision()),
		heard:   time.Now(),
	}
}

// request asks for all that comes after the snapshot.
func (f *follower) request() *pb.WatchRequest {
	prefix := f.watch.store.physical(f.watch.prefix)
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		WatchId:       f.id,
		Key:           prefix,
		RangeEnd:      rangeEnd(prefix),
		StartRevision: int64(f.rev) + 1,
		Fragment:      true,
	}}}
}

// fail ends the follower, if nothing has ended it before.
func (f *follower) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

// accept sends one response to the feed.
func (f *follower) accept(resp *pb.WatchResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hear()
	switch {
	case resp.GetCompactRevision() != 0:
		f.fail(errCompacted)
	case resp.GetCanceled():
		f.fail(canceled(resp.GetCancelReason()))
	case !f.continues(resp.GetHeader()):
		f.fail(errHistory)
	case resp.GetCreated():
		f.begun = true // if it is the one
	case len(resp.GetEvents()) > 0:
		f.take(resp)
	case f.asked:
		f.advance(backend.Revision(resp.GetHeader().GetRevision()))
	}
}

// take sends events on when their last revision is complete. That, and not the
// header's, is how far they reach: there may be more on the way.
func (f *follower) take(resp *pb.WatchResponse) {
	for _, event := range resp.GetEvents() {
		f.changes.add(event)
	}
	if !resp.GetFragment() {
		f.advance(f.changes.last)
	}
}

func (f *follower) advance(rev backend.Revision) {
	f.rev = max(f.rev, rev)
	f.watch.feed.Send(f.changes.flush(f.rev))
}

// continues reports whether a response comes from the history that the last
// one came from. A server can't change under a connection, but behind a proxy
// it can.
func (f *follower) continues(header *pb.ResponseHeader) bool {
	if header.GetRevision() == 0 {
		return true // gRPC proxies leave it out at times
	}
	before := f.last
	f.last = header
	return header.GetClusterId() == before.GetClusterId() && header.GetRevision() >= before.GetRevision()
}

// confirm takes in that the store was at the revision in header, which a
// linearizable read has told: if the follower is there, nothing has changed.
func (f *follower) confirm(header *pb.ResponseHeader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if backend.Revision(header.GetRevision()) != f.rev || header.GetClusterId() != f.last.GetClusterId() {
		return
	}
	f.hear()
	f.watch.feed.Send(f.changes.flush(f.rev))
}

// ask notes that the server is about to be asked for its progress. It tells
// whether anything was heard since the last time, and for how long nothing was.
// Reports before the first question since the follower began are not for it:
// they may be of a time when the server did not know it yet, and so be ahead of
// its events.
func (f *follower) ask() (news bool, silence time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news, f.news = f.news, false
	f.asked = f.begun
	return news, time.Since(f.heard)
}

func (f *follower) hear() { f.news, f.heard = true, time.Now() }

// canceled is the error of a watch that the server ended or did not begin. Its
// reasons are texts; those that concern the login are what a call would get.
func canceled(reason string) error {
	for _, err := range loginErrors {
		if reason == err.Error() {
			return err
		}
	}
	return status.Error(codes.Aborted, fmt.Sprintf("the server canceled the watch: %s", reason))
}

// changes collects events until their revision is complete: of each key the
// newest.
type changes struct {
	store   *Store
	puts    map[string]backend.Entry
	deletes map[string]struct{}
	last    backend.Revision
}

func newChanges(s *Store) *changes {
	return &changes{store: s, puts: map[string]backend.Entry{}, deletes: map[string]struct{}{}}
}

func (c *changes) add(event *mvccpb.Event) {
	kv := event.GetKv()
	c.last = max(c.last, backend.Revision(kv.GetModRevision()))
	if key := c.store.admit(kv); key != "" && event.GetType() == mvccpb.Event_PUT {
		delete(c.deletes, key)
		c.puts[key] = entry(key, kv)
		return
	}
	// A value that the contract does not know takes the place of one that it
	// may know: that one is gone.
	if key := c.store.logical(kv.GetKey()); key != "" {
		delete(c.puts, key)
		c.deletes[key] = struct{}{}
	}
}

// flush makes an update of what was collected.
func (c *changes) flush(rev backend.Revision) backend.Update {
	u := backend.Update{Revision: rev}
	for _, e := range c.puts {
		u.Puts = append(u.Puts, e)
	}
	for key := range c.deletes {
		u.Deletes = append(u.Deletes, key)
	}
	clear(c.puts)
	clear(c.deletes)
	return u
}
