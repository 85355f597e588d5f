package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// clockKey has the time by which the jobs were last done. It is written by clocks that
// nobody doubts only.
const clockKey = "clocks/admin"

const (
	// leap is how much later a clock may be than the one before to be believed at once:
	// less than grace, so that no sale is closed before its deadline.
	leap = grace / 2

	// noting is how old what is noted gets: less than leap by far.
	noting = time.Minute

	// probation is how long a clock that has leapt is in doubt, unless the leap was
	// shorter: time in which it is set, by itself or by people.
	probation = time.Hour

	// uneven is by how much a clock that is just being corrected may differ from one that
	// nobody sets.
	uneven = 10 * time.Second
)

// A clock is this process's, as it compares with those that jobs were done by before. One
// that is late does nothing too early. One that is early by much can't be told from one
// that is right after nobody has done the jobs for long. So it is in doubt for a while.
// What is found rests on what is noted: once somebody else has noted, it is judged anew.
type clock struct {
	asking   chan struct{}    // holds a token while the store is asked; it guards the rest
	seen     backend.Revision // of what was noted when it was judged last
	noted    reading          // by this process last; a write that is lost on its way may have noted it, or not
	believed time.Time        // when it was last; zero: not yet
	doubted  time.Time        // since when it is, zero: it is not
	until    time.Time        // it is
	why      error            // it is
}

func newClock() *clock { return &clock{asking: make(chan struct{}, 1)} }

// A reading is what is noted of a clock that is believed.
type reading struct {
	Time time.Time `json:"time"`
	By   string    `json:"by"`
}

// doubt says why the clock is in doubt, nil if it is not; then that is noted. Errors: those
// of the store, if it can't be known.
func (c *clock) doubt(ctx context.Context, s backend.Store, by string) (doubt, err error) {
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	e, err := s.Get(ctx, clockKey)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return nil, err
	}
	var last reading
	if e.Revision != 0 {
		// What can't be read says nothing, as if there was none.
		_ = json.Unmarshal(e.Value, &last)
	}
	if e.Revision != c.seen && last != c.noted {
		c.believed, c.doubted = time.Time{}, time.Time{}
	}
	c.seen = e.Revision
	now := time.Now()
	if doubt := c.judge(now, last); doubt != nil {
		return doubt, nil
	}
	c.believed, c.doubted = now, time.Time{}
	if age := now.Sub(last.Time); 0 <= age && age < noting {
		return nil, nil
	}
	c.noted = reading{now.UTC().Truncate(time.Millisecond), by}
	_, err = backend.PutJSON(ctx, s, clockKey, c.noted, backend.If(clockKey, e.Revision))
	return nil, err
}

// judge says why a time is in doubt.
func (c *clock) judge(now time.Time, last reading) error {
	leapt := now.Sub(last.Time)
	if last.Time.IsZero() || leapt <= leap || runsEvenly(c.believed, now) {
		return nil
	}
	if !runsEvenly(c.doubted, now) {
		// It is new, or was set in between, to another time that is too late.
		c.doubted, c.until = now, now.Add(min(leapt, probation))
		c.why = fmt.Errorf("this admin's clock said %s when it began, and the jobs were last done at %s, by %s: "+
			"nobody has done them for %s, or the clock is wrong. Nothing that can't be undone is done until %s: set the clock; or, if it is right, delete the key %s",
			now.UTC().Format(time.RFC3339), last.Time.Format(time.RFC3339), last.By, leapt.Truncate(time.Second), c.until.UTC().Format(time.RFC3339), clockKey)
	}
	if now.Before(c.until) {
		return c.why
	}
	return nil
}

// runsEvenly reports whether nobody has set the clock since: so much time has passed by
// it as by the one that nobody sets.
func runsEvenly(since, now time.Time) bool {
	if since.IsZero() {
		return false
	}
	return (now.Round(0).Sub(since.Round(0)) - now.Sub(since)).Abs() < uneven
}
