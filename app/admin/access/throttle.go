package access

import (
	"time"

	"github.com/seed27495941/seckill/app/gate/limit"
)

// A throttle slows guessing down. Its buckets are this process's own, and there is
// room for so many that who is forgotten has not asked for long.
type throttle struct {
	users    *limit.Users // attempts to log in, by name
	clients  *limit.Users // attempts to log in, by address
	confirms *limit.Users // questions to the store, by address
}

const room = 10_000

func newThrottle() (*throttle, error) {
	var t throttle
	for _, b := range []struct {
		users **limit.Users
		limit limit.Limit
	}{
		{&t.users, limit.Limit{Tokens: 20, Per: time.Minute, Burst: 20}},
		{&t.clients, limit.Limit{Tokens: 10, Per: time.Minute, Burst: 10}},
		{&t.confirms, limit.Limit{Tokens: 5, Per: time.Second, Burst: 20}},
	} {
		var err error
		if *b.users, err = limit.NewUsers(b.limit, room); err != nil {
			return nil, err
		}
	}
	return &t, nil
}

// mayTry asks the client's bucket first. That of a user is larger, so nobody at one
// address can keep a user out; several could, so it is not asked where the user is at
// home.
func (t *throttle) mayTry(c client, name string, atHome bool) (ok bool, retryAfter time.Duration) {
	if ok, retryAfter = t.clients.Allow(c.address); !ok || atHome {
		return ok, retryAfter
	}
	return t.users.Allow(name)
}

func (t *throttle) mayConfirm(c client) bool {
	ok, _ := t.confirms.Allow(c.address)
	return ok
}
