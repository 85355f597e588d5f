package etcd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A line is one stream.
type line struct {
	hub      *hub
	stream   pb.Watch_WatchClient
	ctx      context.Context // of the stream; its cause says why it ended
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed after ctx, when nothing is received any more
	answers  chan *pb.WatchResponse
	watchdog *time.Timer

	sending sync.Mutex

	users     int // those who joined and did not leave; guarded by hub.mu
	mu        sync.Mutex
	lastID    int64
	followers map[int64]*follower
}

var errUnused = errors.New("no watch is left on the stream")

// run carries the line until it ends.
func (l *line) run(life context.Context) {
	defer close(l.ended)
	defer l.watchdog.Stop()
	defer l.hub.retire(l)
	defer context.AfterFunc(life, func() { l.cancel(context.Cause(life)) })()
	// What the heart asks aside must not carry the login of the stream, which
	// may be void by then.
	ctx, stop := context.WithCancel(life)
	var heart sync.WaitGroup
	defer heart.Wait()
	defer stop()
	heart.Go(func() { l.beat(ctx) })
	for {
		resp, err := l.stream.Recv()
		if err != nil {
			l.cancel(err)
			return
		}
		l.watchdog.Reset(l.hub.store.silence)
		l.dispatch(resp)
	}
}

// begin puts a follower on the line and waits for the server to agree. If it
// fails the follower has left again.
func (l *line) begin(ctx context.Context, f *follower) (err error) {
	l.add(f)
	defer func() {
		if err != nil {
			// Whatever went wrong, an answer that comes later must not be
			// taken for that to another watch.
			l.hub.retire(l)
			l.leave(f)
		}
	}()
	l.send(f.request())
	select {
	case resp := <-l.answers:
		if resp.GetCanceled() {
			return canceled(resp.GetCancelReason())
		}
		return nil
	case <-l.ended:
		return l.reason()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reason is why the line has ended.
func (l *line) reason() error { return context.Cause(l.ctx) }

// add gives a follower its number on the line.
func (l *line) add(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	f.id = l.lastID
	l.followers[f.id] = f
}

// leave takes a follower off the line.
func (l *line) leave(f *follower) {
	l.mu.Lock()
	delete(l.followers, f.id)
	l.mu.Unlock()
	if l.hub.release(l) {
		l.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
			CancelRequest: &pb.WatchCancelRequest{WatchId: f.id},
		}})
	}
}

// send sends a request. If that fails, receiving does too and tells why.
func (l *line) send(req *pb.WatchRequest) {
	l.sending.Lock()
	defer l.sending.Unlock()
	_ = l.stream.Send(req)
}

// everybody is the ID of reports that concern all watches of a stream. The
// server also gives it to a watch that it refuses.
const everybody = -1

// dispatch hands a response to those it is for.
func (l *line) dispatch(resp *pb.WatchResponse) {
	if refused := resp.GetCreated() && resp.GetCanceled(); !refused {
		for _, f := range l.concerned(resp.GetWatchId()) {
			f.accept(resp)
		}
	}
	if resp.GetCreated() {
		select {
		case l.answers <- resp:
		default: // nobody waits for it any more
		}
	}
}

func (l *line) concerned(id int64) []*follower {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id == everybody {
		return slices.Collect(maps.Values(l.followers))
	}
	if f, ok := l.followers[id]; ok {
		return []*follower{f}
	}
	return nil
}
