// Package load is a crowd of buyers. They buy over HTTP at several nodes, as
// impatient people and their programs do: they ask again when a node is busy, is
// slow or is gone, at another one, and some send everything twice. What they are
// told is written down and held against what they were told before.
//
// Nothing counts as an order but 201 or 200 with an order in the body, and nothing
// as a refusal but a problem that says which. Whoever gets neither asks again.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// A Config is a crowd, and where it buys.
type Config struct {
	Event string   // its ID
	Nodes []string // base URLs, as http://127.0.0.1:8080

	// Token makes the bearer token of a buyer. It must be safe for concurrent use.
	Token func(user string) (string, error)

	Buyers  int
	First   int   // number of the first one: a second crowd of the same event begins where the first ended
	PerUser int64 // buyers want 1 to so many units, each number as often as any other

	// Doubles is the fraction of buyers who send their request twice, at the same
	// time or one after the other, and Greedy of those who, once they are answered,
	// make another request: for all that a buyer may have.
	Doubles, Greedy float64

	Rate        float64       // buyers who come in a second; 0: whenever another one has left
	Concurrency int           // buyers who are there at the same time, at most
	Patience    time.Duration // how long one answer is waited for
}

func (c Config) validate() error {
	switch {
	case c.Event == "":
		return errors.New("load: no event")
	case c.Token == nil:
		return errors.New("load: no way to make tokens")
	case c.Buyers < 1 || c.First < 0:
		return fmt.Errorf("load: %d buyers from number %d on, expected at least one, from 0 on", c.Buyers, c.First)
	case c.PerUser < 1:
		return fmt.Errorf("load: buyers want up to %d units, expected 1 or more", c.PerUser)
	case !isFraction(c.Doubles) || !isFraction(c.Greedy):
		return fmt.Errorf("load: doubles %v, greedy %v, expected fractions between 0 and 1", c.Doubles, c.Greedy)
	case c.Rate < 0 || c.Concurrency < 1 || c.Patience <= 0:
		return fmt.Errorf("load: rate %v, concurrency %d, patience %v, expected more than that", c.Rate, c.Concurrency, c.Patience)
	}
	return checkNodes(c.Nodes)
}

func isFraction(f float64) bool { return f >= 0 && f <= 1 }

func checkNodes(nodes []string) error {
	if len(nodes) == 0 {
		return errors.New("load: no nodes")
	}
	for _, n := range nodes {
		if u, err := url.Parse(n); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("load: node %q, expected a URL as http://127.0.0.1:8080", n)
		}
	}
	return nil
}

// Run lets the crowd buy until everybody has an answer, or ctx ends. Errors: a
// Config that makes no sense, and what Token says; then there is no Result.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.validate(); err != nil {
		return Result{}, err
	}
	client := newClient(cfg)
	defer client.close()
	began := time.Now()
	c := &crowd{cfg: cfg, client: client, tally: newTally()}
	if err := c.buy(ctx); err != nil {
		return Result{}, err
	}
	return c.tally.result(time.Since(began)), nil
}

// A crowd is a run.
type crowd struct {
	cfg    Config
	client *client
	tally  *tally
}

// buy has the buyers come one after the other, to as many places as there are.
func (c *crowd) buy(ctx context.Context) error {
	door := rate.NewLimiter(rate.Inf, 1)
	if c.cfg.Rate > 0 {
		door = rate.NewLimiter(rate.Limit(c.cfg.Rate), 1)
	}
	places, ctx := errgroup.WithContext(ctx)
	var came atomic.Int64
	next := func() (number int, ok bool) {
		number = int(came.Add(1)) - 1
		return c.cfg.First + number, number < c.cfg.Buyers && door.Wait(ctx) == nil
	}
	for range min(c.cfg.Concurrency, c.cfg.Buyers) {
		places.Go(func() error {
			for number, ok := next(); ok; number, ok = next() {
				if err := c.serve(ctx, number); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return places.Wait()
}

// serve is one buyer's visit.
func (c *crowd) serve(ctx context.Context, number int) error {
	user := fmt.Sprintf("buyer-%d", number)
	token, err := c.cfg.Token(user)
	if err != nil {
		return fmt.Errorf("load: token of %s: %w", user, err)
	}
	b := &buyer{crowd: c, user: user, token: token}
	first := &request{ID: "1", Quantity: 1 + int64(number)%c.cfg.PerUser}
	if rand.Float64() < c.cfg.Doubles {
		b.askTwice(ctx, first)
	} else {
		b.ask(ctx, first)
	}
	second := &request{ID: "2", Quantity: c.cfg.PerUser}
	if rand.Float64() < c.cfg.Greedy {
		b.ask(ctx, second)
	}
	b.leave(first, second)
	return nil
}
