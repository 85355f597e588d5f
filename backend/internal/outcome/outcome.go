// Package outcome says in one word how a call of a store ended, for those who
// count and trace calls.
package outcome

import (
	"context"
	"errors"

	"github.com/seed27495941/seckill/backend"
)

// An Outcome is how a call ended.
type Outcome int

// The outcomes, in the order in which they are looked for: an error of several
// classes has the first of them. So what can be acted on comes before what
// merely follows from it: a full store's write whose outcome is unknown is
// Full, and whatever Close of a lease or a store cut short is Closed. Unknown
// comes before Unavailable, which promises more.
const (
	OK Outcome = iota
	NotFound
	Conflict
	Invalid
	TooLarge
	Denied
	Full
	Closed
	LeaseLost
	Canceled // the caller's context was canceled before the store answered
	Unknown
	Unavailable
	Other // an error of no class: the store breaks its contract

	Count int = iota // of outcomes
)

// outcomes has the name of each, and what an error of it matches.
var outcomes = [Count]struct {
	name  string
	class error
}{
	OK:          {"ok", nil},
	NotFound:    {"not_found", backend.ErrNotFound},
	Conflict:    {"conflict", backend.ErrConflict},
	Invalid:     {"invalid", backend.ErrInvalid},
	TooLarge:    {"too_large", backend.ErrTooLarge},
	Denied:      {"denied", backend.ErrDenied},
	Full:        {"full", backend.ErrFull},
	Closed:      {"closed", backend.ErrClosed},
	LeaseLost:   {"lease_lost", backend.ErrLeaseLost},
	Canceled:    {"canceled", context.Canceled},
	Unknown:     {"unknown", backend.ErrUnknown},
	Unavailable: {"unavailable", backend.ErrUnavailable},
	Other:       {"other", nil},
}

// Of is the outcome of a call that returned err.
func Of(err error) Outcome {
	if err == nil {
		return OK
	}
	for o := NotFound; o < Other; o++ {
		if errors.Is(err, outcomes[o].class) {
			return o
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Unavailable
	}
	return Other
}

// OfWatch is [Of] for what a watch yielded. A watch that ends with its context
// yields the context's cause, which may be any error and says nothing of the
// store.
func OfWatch(ctx context.Context, err error) Outcome {
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return Of(err)
}

// All lists the outcomes.
func All() []Outcome {
	all := make([]Outcome, Count)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}

// String is the outcome's word.
func (o Outcome) String() string { return outcomes[o].name }

// Failed reports whether the call did not do what it is for. That a key does
// not exist or that a condition does not hold is an answer, and a caller that
// gave up wanted none.
func (o Outcome) Failed() bool {
	switch o {
	case OK, NotFound, Conflict, Canceled:
		return false
	}
	return true
}
