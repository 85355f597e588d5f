package gate

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/seed27495941/seckill/app/web"
)

// The codes of the gate's refusals.
const (
	Unauthenticated = "unauthenticated" // 401
	Blacklisted     = "blacklisted"     // 403
	NotStarted      = "not_started"     // 409
	RateLimited     = "rate_limited"    // 429
	Overloaded      = "overloaded"      // 503
	SwitchedOff     = "switched_off"    // 503
	Unavailable     = "unavailable"     // 503
)

// unseen is said wherever the request may be a repeated one.
const unseen = " This request was not looked at: if it was made before, what came of that still holds."

// longest bounds, in seconds, when a client is told to come again: by then the answer
// may be another one.
const longest = 60

// A later is a refusal that says when to come again. Its answers are made beforehand,
// for they are given when there is no time to make any.
type later [longest + longest/4 + 2]*web.Problem

func newLater(status int, code, detail string) *later {
	l := &later{}
	for seconds := range l {
		l[seconds] = web.NewProblem(status, code, detail).With("Retry-After", strconv.Itoa(seconds))
	}
	return l
}

// after is the refusal of who should not come again before some time has passed. What
// is added by chance makes a crowd that came at once not return at once.
func (l *later) after(wait time.Duration) *web.Problem {
	seconds := max(1, min(int((wait+time.Second-1)/time.Second), longest))
	return l[seconds+rand.IntN(seconds/4+2)]
}

func blacklistedProblem() *web.Problem {
	return web.NewProblem(http.StatusForbidden, Blacklisted, "This buyer is on a list of those that are refused here."+unseen)
}

func overloadedProblem() *later {
	return newLater(http.StatusServiceUnavailable, Overloaded, "This node has too much to do."+unseen)
}

func notStartedProblem() *later {
	return newLater(http.StatusConflict, NotStarted, "The sale has not started")
}
