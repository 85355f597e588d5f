package figures

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/oklog/ulid/v2"
)

// Reasons are why requests for an order are refused, in the order in which that is found
// out: the name of the gate's check, if one refused; else the code of the problem that the
// buyer got. There are no others.
var Reasons = []string{
	"identity", "blacklist", "breaker", "node_limit", "switches", "window", "user_limit", "store_limit",
	"unsupported_media_type", "too_large", "invalid", "busy",
	"not_started", "suspended", "ended", "limit_reached", "sold_out", "request_reused", "undecided",
	Other,
}

// Other is a reason that this version does not know: processes of a newer one may tell some.
const Other = "other"

// Known is a reason as this version counts it.
func Known(reason string) string {
	if slices.Contains(Reasons, reason) {
		return reason
	}
	return Other
}

// Refusals are how many requests for an order of an event a process has refused since it
// has known the event to be open.
type Refusals struct {
	Event ulid.ULID
	By    map[string]int64 // by reason, none of 0; shared, and not to be modified
}

// A Counter counts the refusals of this process, of events that are open. It is safe for
// concurrent use, and loses none.
type Counter struct {
	isOpen func(event ulid.ULID) bool

	mu     sync.Mutex                           // held to change which events there are
	events atomic.Pointer[map[ulid.ULID]counts] // never modified
}

// counts are those of one event, for each reason.
type counts map[string]*atomic.Int64

// NewCounter makes a counter. isOpen tells which events it counts for.
func NewCounter(isOpen func(event ulid.ULID) bool) *Counter {
	c := &Counter{isOpen: isOpen}
	c.events.Store(&map[ulid.ULID]counts{})
	return c
}

// Add counts a refusal, if the event is open. It takes no lock, but for an event's first.
func (c *Counter) Add(event ulid.ULID, reason string) {
	by, ok := (*c.events.Load())[event]
	if !ok {
		by, ok = c.begin(event)
	}
	if !ok {
		return
	}
	n, ok := by[reason]
	if !ok {
		n = by[Other]
	}
	n.Add(1)
}

// begin begins to count for an event, if it is open.
func (c *Counter) begin(event ulid.ULID) (counts, bool) {
	if !c.isOpen(event) {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	events := *c.events.Load()
	if by, ok := events[event]; ok {
		return by, true
	}
	by := make(counts, len(Reasons))
	for _, reason := range Reasons {
		by[reason] = &atomic.Int64{}
	}
	events = maps.Clone(events)
	events[event] = by
	c.events.Store(&events)
	return by, true
}

// All are the refusals so far of all events that have any.
func (c *Counter) All() (all []Refusals) {
	for event, by := range *c.events.Load() {
		r := Refusals{event, map[string]int64{}}
		for reason, n := range by {
			if n := n.Load(); n > 0 {
				r.By[reason] = n
			}
		}
		if len(r.By) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// Forget forgets the events that are open no more.
func (c *Counter) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	events := maps.Clone(*c.events.Load())
	maps.DeleteFunc(events, func(event ulid.ULID, _ counts) bool { return !c.isOpen(event) })
	c.events.Store(&events)
}
