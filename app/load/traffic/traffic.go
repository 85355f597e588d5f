// Package traffic asks one address for something at a steady rate, as long as one
// likes: to see what buyers notice when processes change behind it.
//
// Each of many clients asks when its time has come, whether others are answered or not,
// and latency counts from that time: an address that stands still is not spared the
// requests that would have come meanwhile. A client itself waits for one answer before it asks again.
//
// Half of the clients keep their connection, the others make a new one for each request. Nothing
// is sent a second time behind anybody's back, as net/http does with what it takes for idempotent:
// what gets no answer has failed.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Config says what is asked where.
type Config struct {
	Address string // host:port
	Event   string // the event's ID, of which there has to be enough for everybody

	// Token makes the bearer token of a buyer. Each client is one.
	Token func(user string) (string, error)

	Rate     float64       // requests in a second, of all clients
	Interval time.Duration // from one request of a client to its next
	Streams  int           // clients that follow the event besides
	Patience time.Duration // how long one answer is waited for, at most
}

func (c Config) validate() error {
	switch {
	case c.Address == "" || c.Event == "" || c.Token == nil:
		return errors.New("traffic: expected an address, an event, and a way to make tokens")
	case c.Rate <= 0 || c.Interval <= 0 || c.clients() < 1:
		return fmt.Errorf("traffic: rate %v, interval %v, expected at least one client", c.Rate, c.Interval)
	case c.Streams < 0 || c.Patience <= 0:
		return fmt.Errorf("traffic: %d streams, patience %v, expected more than that", c.Streams, c.Patience)
	}
	return nil
}

// clients is how many it takes.
func (c Config) clients() int { return int(c.Rate * c.Interval.Seconds()) }

// A Traffic flows until it is stopped. It is safe for concurrent use.
type Traffic struct {
	cfg   Config
	tally *tally
	began time.Time
	end   context.CancelFunc
	all   sync.WaitGroup
	once  func() Result
}

// Start starts. Stop has to be called. Errors: a Config that makes no sense, and what
// Token says.
func Start(cfg Config) (*Traffic, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := cfg.clients()
	tokens := make([]string, n)
	for i := range tokens {
		var err error
		if tokens[i], err = cfg.Token(name(i)); err != nil {
			return nil, fmt.Errorf("traffic: token of %s: %w", name(i), err)
		}
	}
	ctx, end := context.WithCancel(context.Background())
	t := &Traffic{cfg: cfg, tally: newTally(), began: time.Now(), end: end}
	for i, token := range tokens {
		c := &client{cfg: cfg, tally: t.tally, user: name(i), token: token, keeps: i%2 == 0}
		first := t.began.Add(time.Duration(float64(i) / float64(n) * float64(cfg.Interval)))
		t.all.Go(func() { c.run(ctx, first) })
	}
	for range cfg.Streams {
		t.all.Go(func() { follow(ctx, cfg, t.tally) })
	}
	t.once = sync.OnceValue(t.stop)
	return t, nil
}

func name(client int) string { return fmt.Sprintf("buyer-%d", client) }

// Stop ends it, and returns when every request is answered, or has failed. What is undecided
// is asked again until then.
func (t *Traffic) Stop() Result { return t.once() }

func (t *Traffic) stop() Result {
	took := time.Since(t.began)
	t.end()
	t.all.Wait()
	return t.tally.result(took)
}

// Orders is how many orders buyers have been told to have so far.
func (t *Traffic) Orders() int { return t.tally.orders() }

// Failures is how many requests and streams have failed so far.
func (t *Traffic) Failures() int { return t.tally.failures() }

// During does something, and has the latency of requests that were under way at some time
// meanwhile counted apart. It is for one caller at a time.
func (t *Traffic) During(f func()) {
	t.tally.disturb()
	defer t.tally.calm()
	f()
}
