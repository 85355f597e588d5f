package limit

import (
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// Users has a token bucket for each user, all of one limit, in bounded memory.
// It is safe for concurrent use.
//
// A bucket that is full is the same as one that was never there. So a user who
// has not asked for as long as a bucket takes to fill is forgotten, and nothing
// is lost. If there are more users than there is room for, those who have not
// asked for longest are forgotten earlier, and begin with a full bucket when they
// return. Let n be the number of users there is room for: a user gains at most
// one Burst for each time that about n/2 others have asked between two requests
// of the user.
//
// Users are told apart by 64 bits of a keyed hash of their ids: of a million, two
// share a bucket with a probability of 3·10⁻⁸.
type Users struct {
	began  time.Time
	seed   maphash.Seed
	shards [shards]shard
}

const (
	shards    = 1 << shardBits
	shardBits = 6
)

// A shard has the buckets of some users: the young ones were asked for since the
// last turn, the old ones between the one before and the last. A turn forgets the
// old ones.
type shard struct {
	mu     sync.Mutex
	limit  Limit
	most   int // young
	young  map[uint64]level
	old    map[uint64]level
	turned int64

	_ [64]byte // not on the cache line of the next one's lock
}

// NewUsers makes buckets, with room for about so many users. A user takes about
// 50 bytes. Errors: the limit is not valid, or there is no room at all.
func NewUsers(l Limit, room int) (*Users, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	if room < 1 {
		return nil, fmt.Errorf("limit for %d users: expected room for 1 or more", room)
	}
	u := &Users{began: time.Now(), seed: maphash.MakeSeed()}
	for i := range u.shards {
		u.shards[i] = shard{limit: l, most: (room-1)/(2*shards) + 1, young: map[uint64]level{}, old: map[uint64]level{}}
	}
	return u, nil
}

// Allow takes a token of a user if there is one. Else it says when the next one
// comes.
func (u *Users) Allow(user string) (ok bool, retryAfter time.Duration) {
	hash := maphash.String(u.seed, user)
	s := &u.shards[hash>>(64-shardBits)]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allow(hash, int64(time.Since(u.began)))
}

func (s *shard) allow(hash uint64, now int64) (ok bool, retryAfter time.Duration) {
	if now-s.turned >= int64(s.limit.fillTime()) {
		s.turn(now)
	}
	v, known := s.young[hash]
	if !known {
		if len(s.young) >= s.most {
			s.turn(now)
		}
		v = s.recall(hash, now)
	}
	ok, retryAfter = v.take(s.limit, now)
	s.young[hash] = v
	return ok, retryAfter
}

func (s *shard) turn(now int64) {
	s.old, s.young = s.young, s.old
	clear(s.young)
	s.turned = now
}

// recall returns the level of a user that is not among the young.
func (s *shard) recall(hash uint64, now int64) level {
	v, known := s.old[hash]
	if !known {
		return level{units: s.limit.full(), at: now}
	}
	delete(s.old, hash)
	return v
}

// SetLimit changes the limit of all users, shard after shard. Tokens that are
// there stay, up to the new burst; users who were forgotten begin full. Errors:
// the limit is not valid; then the old one stays.
func (u *Users) SetLimit(l Limit) error {
	if err := l.Validate(); err != nil {
		return err
	}
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		s.change(l, int64(time.Since(u.began)))
		s.mu.Unlock()
	}
	return nil
}

func (s *shard) change(l Limit, now int64) {
	for _, levels := range []map[uint64]level{s.young, s.old} {
		for hash, v := range levels {
			v.change(s.limit, l, now)
			levels[hash] = v
		}
	}
	s.limit = l
	s.turned = now // from here the old ones have to wait for as long as it takes now
}

// Len is how many users there are buckets for.
func (u *Users) Len() int {
	n := 0
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		n += len(s.young) + len(s.old)
		s.mu.Unlock()
	}
	return n
}
