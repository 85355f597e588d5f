package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/gate/breaker"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
)

// A Kind of request says which checks are for it.
type Kind uint8

// The kinds. The zero one, Exempt, meets no check: what load balancers ask, and
// payments. Those are signed, and to refuse them would make paid orders expire.
const (
	Exempt Kind = 0
	Public Kind = 1 << (iota - 1) // what anybody may ask
	Page                          // likewise; its answer may be some seconds old
	Read                          // about a buyer's own orders
	Order                         // places one
	Cancel                        // cancels one
)

const (
	buyers = Read | Order | Cancel
	all    = Public | Page | buyers
)

// A Route is where requests go to.
type Route struct {
	Pattern string // as http.ServeMux has it, "" for what it has no handler for
	Kind    Kind
}

// A Request is one on its way through the gate.
type Request struct {
	*http.Request
	Kind  Kind
	Event ulid.ULID // that its path names, zero if it names none
	User  string    // once the first check has found out

	call breaker.Call
}

// A check lets a request pass, or returns why it does not: an answer that others may
// get as well. It is safe for concurrent use.
type check interface {
	pass(r *Request) *web.Problem
}

// A station is a check at its place in the chain.
type station struct {
	name  string
	kinds Kind
	codes []string // of its refusals
	check

	passed, refused atomic.Uint64
}

// A Config says what a gate works with.
type Config struct {
	Identity  Identity        // nil: nobody can be told from others
	Blacklist *blacklist.List // nil: nobody is on it
	Events    Events
	SoldOut   func(event ulid.ULID) bool           // orders for it take little from the store; nil: none is
	CPU       func() (all, own float64, err error) // as [breaker.Config] has it
	Cluster   settings.Cluster                     // in force at first
	Log       *slog.Logger

	// Refused is told of each order that a check has refused, by its name; nil: nobody is.
	// It must not block.
	Refused func(event ulid.ULID, check string)
}

// A Gate has to be Run; it is safe for concurrent use. Until it is given a share of
// the cluster's rates it refuses whatever is limited.
type Gate struct {
	log       *slog.Logger
	access    *accessLog
	blacklist *blacklist.List
	breaker   *breaker.Breaker
	node      *sharedLimit
	users     *userLimit
	store     *sharedLimit
	switches  *switches
	pages     *pages
	chain     []*station
	counted   func(event ulid.ULID, check string)
	draining  atomic.Bool
}

// New makes a gate. Errors: the config can't be kept.
func New(cfg Config) (*Gate, error) {
	g := &Gate{log: cfg.Log, blacklist: cfg.Blacklist, switches: newSwitches(), counted: cfg.Refused}
	if g.counted == nil {
		g.counted = func(ulid.ULID, string) {}
	}
	g.pages = newPages(g.Switches)
	var errs [5]error
	g.access, errs[0] = newAccessLog(cfg.Log)
	g.breaker, errs[1] = breaker.New(breaker.Config{Thresholds: thresholds(cfg.Cluster.CircuitBreaker), CPU: cfg.CPU, Log: cfg.Log})
	g.node, errs[2] = newSharedLimit(cfg.Cluster.RateLimit.Middle, "Too many requests come to this node.")
	g.users, errs[3] = newUserLimit(cfg.Cluster.RateLimit.PerUser)
	g.store, errs[4] = newSharedLimit(cfg.Cluster.RateLimit.Low, "Too many requests for orders come to this node.")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	// The order of the checks. Who it is comes first, because nothing else may be told to
	// strangers about buyers; what is cheap, and what protects the node, comes before what
	// is about a single event or user; the rate that the store can take comes last, so that nobody
	// uses it up who would be refused anyway.
	g.chain = []*station{
		{name: "identity", kinds: buyers, check: newIdentify(cfg.Identity), codes: []string{Unauthenticated}},
		{name: "blacklist", kinds: buyers, check: &listed{cfg.Blacklist, blacklistedProblem()}, codes: []string{Blacklisted}},
		{name: "breaker", kinds: all, check: &breaking{g.breaker, overloadedProblem()}, codes: []string{Overloaded}},
		{name: "node_limit", kinds: all, check: g.node, codes: []string{RateLimited, Unavailable}},
		{name: "switches", kinds: Order | Cancel, check: g.switches, codes: []string{SwitchedOff}},
		{name: "window", kinds: Order, check: &window{cfg.Events, notStartedProblem()}, codes: []string{NotStarted}},
		{name: "user_limit", kinds: buyers, check: g.users, codes: []string{RateLimited}},
		{name: "store_limit", kinds: buyers, check: &storeLimit{g.store, cfg.SoldOut}, codes: []string{RateLimited, Unavailable}},
	}
	g.SetConfig(cfg.Cluster)
	return g, nil
}

// Codes are those of the problems that requests of a kind may be answered with.
func (g *Gate) Codes(k Kind) (codes []string) {
	for _, s := range g.stations(k) {
		codes = append(codes, s.codes...)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func (g *Gate) stations(k Kind) (stations []*station) {
	for _, s := range g.chain {
		if s.kinds&k != 0 {
			stations = append(stations, s)
		}
	}
	return stations
}

// Guard stands before what answers the requests of a route.
func (g *Gate) Guard(route Route, next http.Handler) http.Handler {
	stations := g.stations(route.Kind)
	if route.Kind == Page {
		next = g.pages.before(next)
	}
	return http.HandlerFunc(func(to http.ResponseWriter, from *http.Request) {
		w := &writer{ResponseWriter: to, began: time.Now()}
		w.id = web.GiveRequestID(to.Header(), from.Header)
		defer g.access.over(w, from, route.Pattern)
		r := &Request{Request: from, Kind: route.Kind, Event: eventOf(route.Kind, from)}
		if refusal := g.pass(stations, r); refusal != nil {
			r.call.Drop()
			w.refused = true
			refusal.Write(w)
			return
		}
		w.call = r.call
		if r.User != "" {
			w.user = r.User
			from = from.WithContext(context.WithValue(from.Context(), writerKey{}, w))
			w.sent = body{from.Body, &w.call}
			from.Body = &w.sent
		}
		next.ServeHTTP(w, from)
		w.end()
	})
}

func (g *Gate) pass(stations []*station, r *Request) *web.Problem {
	for _, s := range stations {
		if refusal := s.pass(r); refusal != nil {
			s.refused.Add(1)
			if r.Kind == Order {
				g.counted(r.Event, s.name)
			}
			return refusal
		}
		s.passed.Add(1)
	}
	return nil
}

// eventOf is the event that a path names. What names none, or is wrong, is zero: the
// operation finds out.
func eventOf(k Kind, r *http.Request) (event ulid.ULID) {
	switch k {
	case Cancel:
		event, _, _ = record.ParsePublicID(r.PathValue("id"))
	case Order, Page:
		event, _ = ulid.ParseStrict(r.PathValue("id"))
	}
	return event
}

// SetConfig makes a cluster config count, at once.
func (g *Gate) SetConfig(c settings.Cluster) {
	g.switches.set(c.Degrade)
	if err := errors.Join(
		g.breaker.SetThresholds(thresholds(c.CircuitBreaker)),
		g.node.setRate(c.RateLimit.Middle),
		g.users.set(c.RateLimit.PerUser),
		g.store.setRate(c.RateLimit.Low),
	); err != nil {
		g.log.Error("a limit can't be kept, the old one stays", "error", err) // the config was validated
	}
}

// SetShare says which part of the cluster's rates is this node's; 0 is none.
func (g *Gate) SetShare(share float64) {
	if g.draining.Load() {
		return
	}
	if err := errors.Join(g.node.setShare(share), g.store.setShare(share)); err != nil {
		g.log.Error("a share can't be kept, the old one stays", "share", share, "error", err) // it is from 0 to 1
	}
}

// Drain keeps the share as it is: the node is about to stop, and the requests that
// are still on their way, one on each connection at most, are to be answered, although
// others have its share by then.
func (g *Gate) Drain() { g.draining.Store(true) }

// Ready says why requests should not come, in words for strangers.
func (g *Gate) Ready() error {
	if g.node.part() > 0 {
		return nil
	}
	return errors.New("this node may take no requests yet: it has just started, or was drained")
}

// Switches are what is switched off for an event.
func (g *Gate) Switches(event ulid.ULID) settings.Switches { return g.switches.of(event) }

// Run opens and closes the breaker until ctx ends; then it returns nil.
func (g *Gate) Run(ctx context.Context) error { return g.breaker.Run(ctx) }
