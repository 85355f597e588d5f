package traffic

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/seed27495941/seckill/app/load"
)

// A Kind is what a request is for.
type Kind string

// The kinds. Of 10 requests 4 are orders, 1 is a repetition, 2 read an order.
const (
	Order  Kind = "order"  // of one unit
	Repeat Kind = "repeat" // of an order that was acknowledged
	Read   Kind = "read"   // of such an order
	Page   Kind = "page"   // an event, or all
)

// An ask is what a buyer wants to know. It may take more than one request.
type ask struct {
	kind  Kind
	ack   load.Ack  // that it is about; for an order, its request
	due   time.Time // when it was to be asked first
	again time.Time // not before that once more; zero: it was not asked yet
}

// A client is one buyer.
type client struct {
	cfg         Config
	tally       *tally
	user, token string
	keeps       bool // its connection

	conn    *connection // nil: none
	wishes  int         // orders that it has asked for
	acks    []load.Ack
	pending []ask // what was undecided, the oldest first
}

// run asks at the client's times until ctx ends, and then for what is undecided.
func (c *client) run(ctx context.Context, due time.Time) {
	defer c.hangUp()
	whole := context.WithoutCancel(ctx) // what was asked is to be answered
	for ; wait(ctx, due); due = due.Add(c.cfg.Interval) {
		c.ask(whole, c.next(due), due)
	}
	for len(c.pending) > 0 {
		a := c.pending[0]
		c.pending = c.pending[1:]
		time.Sleep(time.Until(a.again))
		c.ask(whole, a, a.again)
	}
}

// wait waits for a time; false if ctx ends before.
func wait(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// next is what is asked at a time: what was undecided, as soon as it may be asked
// again, and a page while it may not.
func (c *client) next(due time.Time) ask {
	if len(c.pending) > 0 {
		if a := c.pending[0]; !due.Before(a.again) {
			c.pending = c.pending[1:]
			return a
		}
		return ask{kind: Page, due: due}
	}
	switch n := rand.N(10); {
	case n < 3:
		return ask{kind: Page, due: due}
	case n < 7 || len(c.acks) == 0:
		c.wishes++
		return ask{kind: Order, due: due, ack: load.Ack{User: c.user, Request: strconv.Itoa(c.wishes), Quantity: 1}}
	case n < 9:
		return ask{kind: Read, due: due, ack: c.acks[rand.N(len(c.acks))]}
	default:
		return ask{kind: Repeat, due: due, ack: c.acks[rand.N(len(c.acks))]}
	}
}

// ask sends a request whose time has come, and takes note of the answer.
func (c *client) ask(ctx context.Context, a ask, due time.Time) {
	method, path, body := c.request(a)
	answer, kept, err := c.send(ctx, method, path, body)
	c.tally.asked(a.kind, kept, due, time.Now())
	switch {
	case err != nil:
		c.tally.fail("%s of %s: no answer: %v", a.kind, c.user, err)
	case answer.isUndecided() && time.Since(a.due) > c.cfg.Patience:
		c.tally.fail("%s of %s: undecided for %v", a.kind, c.user, time.Since(a.due))
	case answer.isUndecided():
		c.tally.undecided(a.kind)
		a.again = time.Now().Add(answer.retryAfter)
		c.pending = append(c.pending, a)
	default:
		c.take(a, answer)
	}
}

// take holds an answer against what there is to expect.
func (c *client) take(a ask, answer answer) {
	asked := !a.again.IsZero()
	if asked {
		c.tally.decided(time.Since(a.due))
	}
	status, order := answer.status, answer.body.ID
	ok := status == http.StatusOK && order == a.ack.Order
	switch a.kind {
	case Page:
		ok = status == http.StatusOK && (order == c.cfg.Event || answer.body.lists(c.cfg.Event))
	case Order:
		ok = order != "" && (status == http.StatusCreated || asked && status == http.StatusOK)
	case Repeat, Read:
	}
	if !ok {
		c.tally.fail("%s of %s (request %q, order %q, undecided before: %v): %s", a.kind, c.user, a.ack.Request, a.ack.Order, asked, answer)
		return
	}
	if a.kind == Order {
		a.ack.Order = order
		c.acks = append(c.acks, a.ack)
		c.tally.acknowledge(a.ack)
	}
}

// request is a request's method, path and body.
func (c *client) request(a ask) (method, path, body string) {
	switch a.kind {
	case Order, Repeat:
		return http.MethodPost, "/v1/events/" + c.cfg.Event + "/orders", fmt.Sprintf(`{"quantity":1,"request_id":%q}`, a.ack.Request)
	case Read:
		return http.MethodGet, "/v1/orders/" + a.ack.Order, ""
	case Page:
		if rand.N(2) == 0 {
			return http.MethodGet, "/v1/events", ""
		}
	}
	return http.MethodGet, "/v1/events/" + c.cfg.Event, ""
}

// send sends a request and reads the answer. kept says that the connection had been used
// before.
func (c *client) send(ctx context.Context, method, path, body string) (a answer, kept bool, err error) {
	if kept = c.conn != nil; !kept {
		if c.conn, err = dial(ctx, c.cfg.Address, c.cfg.Patience); err != nil {
			return answer{}, false, err
		}
	}
	a, last, err := c.conn.exchange(ctx, method, path, c.token, body, !c.keeps)
	if err != nil || last {
		c.hangUp()
	}
	return a, kept, err
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.close()
		c.conn = nil
	}
}
