package gate

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate/limit"
	"github.com/seed27495941/seckill/app/web"
)

// A sharedLimit is this node's part of a rate that the cluster has. While it has none
// it refuses all.
type sharedLimit struct {
	tooMany, noShare *later
	bucket           *limit.Bucket
	shut             atomic.Bool // there is no share

	mu    sync.Mutex
	rate  int // of the cluster, a second
	share float64
}

func newSharedLimit(rate int, tooMany string) (*sharedLimit, error) {
	bucket, err := limit.NewBucket(limit.PerSecond(rate, 1))
	s := &sharedLimit{
		tooMany: newLater(http.StatusTooManyRequests, RateLimited, tooMany+unseen),
		noShare: newLater(http.StatusServiceUnavailable, Unavailable, "This node may take no requests at present."+unseen),
		bucket:  bucket,
		rate:    rate,
	}
	s.shut.Store(true)
	return s, err
}

func (s *sharedLimit) pass(*Request) *web.Problem {
	if s.shut.Load() {
		return s.noShare.after(time.Second)
	}
	if ok, wait := s.bucket.Allow(); !ok {
		return s.tooMany.after(wait)
	}
	return nil
}

// A storeLimit is for what may reach the store. Orders for what is sold out do not count:
// nearly all are told so without the store, and in a rush the rate would be used up by
// them, for all others; but who has an order hears of it again, so they are not refused here.
type storeLimit struct {
	*sharedLimit
	soldOut func(event ulid.ULID) bool // nil: nothing is
}

func (s *storeLimit) pass(r *Request) *web.Problem {
	if r.Kind == Order && s.soldOut != nil && s.soldOut(r.Event) {
		return nil
	}
	return s.sharedLimit.pass(r)
}

func (s *sharedLimit) setRate(rate int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change(rate, s.share)
}

func (s *sharedLimit) setShare(share float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change(s.rate, share)
}

// change makes a rate and a share count. The caller holds mu.
func (s *sharedLimit) change(rate int, share float64) error {
	if share > 0 {
		if err := s.bucket.SetLimit(partOf(rate, share)); err != nil {
			return err
		}
	}
	s.rate, s.share = rate, share
	s.shut.Store(share == 0)
	return nil
}

// part is the share in force.
func (s *sharedLimit) part() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.share
}

// inForce is what the node may take.
func (s *sharedLimit) inForce() Rate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.share == 0 {
		return Rate{}
	}
	return rateOf(s.bucket.Limit())
}

func rateOf(l limit.Limit) Rate {
	return Rate{PerSecond: float64(l.Tokens) / l.Per.Seconds(), Burst: l.Burst}
}

// partOf is a node's part of a rate, and how much may come at once.
//
// Requests that would come evenly do not: a pause of the garbage collector, a full
// queue in a network card or a browser that was asleep holds some back, and then they are
// there at once. A tenth of a second's worth takes that up, and nobody notices a tenth of a second of
// waiting. More would let a crowd through, which is what the limit is there to hold: of
// 100,000 a second at ten nodes, each takes 1,000 at once, and the 50,000 who come when a sale opens wait their turn.
//
// Of a small rate a tenth of a second's worth is one request, or two, and people who come one by one,
// but not evenly, would be refused while most of the rate is left. So there is room for
// ten, or for as many as come in a second.
func partOf(rate int, share float64) limit.Limit {
	own := float64(rate) * share
	l := limit.PerSecond(rate, 1).Share(share)
	l.Burst = int64(max(1, own/10, min(own, 10)))
	return l
}
