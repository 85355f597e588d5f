package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// ConfigKey is where the cluster config is published.
const ConfigKey = "config"

// Cluster is the cluster config: what all nodes follow while they run.
//
// A published one may leave fields out; those are as each node's own settings
// say. It may not have fields that a node does not know: a mistyped limit would
// otherwise be no limit. So nodes are upgraded before a new field is published.
type Cluster struct {
	LogLevel       string         `json:"logLevel"`
	RateLimit      RateLimit      `json:"rateLimit"`
	CircuitBreaker CircuitBreaker `json:"circuitBreaker"`
	Degrade        Degrade        `json:"degrade"`
	Payment        PaymentTerms   `json:"payment"`
	Pools          Pools          `json:"pools"`
}

// RateLimit bounds requests. Middle and Low are of the whole cluster, in requests per
// second; each node has its share of them.
type RateLimit struct {
	Middle  int      `json:"middle"` // of buyers, all in all
	Low     int      `json:"low"`    // of those that may reach the store: for orders, in any way, but to order what is sold out
	PerUser UserRate `json:"perUser"`
}

// UserRate bounds the requests of one buyer at each node.
type UserRate struct {
	Requests int `json:"requests"` // in each Seconds
	Seconds  int `json:"seconds"`
	Burst    int `json:"burst"` // at once
}

// CircuitBreaker says when a node stops taking requests.
type CircuitBreaker struct {
	CPU     int `json:"cpu"`     // per cent
	Latency int `json:"latency"` // milliseconds
}

// Degrade switches off what can be done without, so that the rest goes on.
type Degrade struct {
	Switches

	// Events has switches of single events, by ID; what is on for all is on for each
	// of them.
	Events map[string]Switches `json:"events,omitempty"`
}

// Switches are what can be switched.
type Switches struct {
	ReadOnly     bool `json:"readOnly"`     // buyers change nothing; payments are taken
	RefuseOrders bool `json:"refuseOrders"` // no new orders; all else goes on
	Cached       bool `json:"cached"`       // pages are answered as they were some seconds ago
}

// Of are the switches that count for an event.
func (d Degrade) Of(event string) Switches {
	own := d.Events[event]
	return Switches{
		ReadOnly:     d.ReadOnly || own.ReadOnly,
		RefuseOrders: d.RefuseOrders || own.RefuseOrders,
		Cached:       d.Cached || own.Cached,
	}
}

// PaymentTerms are about orders made from now on.
type PaymentTerms struct {
	// Deadline is how long an order waits to be paid, in seconds; 0: as its event says.
	Deadline int `json:"deadline"`
}

// Pools bound what a process keeps waiting.
type Pools struct {
	Streams int `json:"streams"` // of events, to buyers
	Waiting int `json:"waiting"` // requests for one slot of a sale
}

// Decode reads a published config; fields it leaves out are as in c, and events that
// it names in degrade are in place of c's. Nothing is half-decoded: on error the
// result is the zero value.
func (c Cluster) Decode(e backend.Entry) (Cluster, error) {
	if _, err := backend.DecodeJSON[Cluster](e); err != nil {
		return Cluster{}, err
	}
	events := c.Degrade.Events
	c.Degrade.Events = nil // what is decoded into a map is added to what it has, and the map is shared
	if err := json.Unmarshal(e.Value, &c); err != nil {
		return Cluster{}, err
	}
	if c.Degrade.Events == nil {
		c.Degrade.Events = events
	}
	return c, nil
}

// What values may be at most. Nobody has reason to come near.
const (
	maxRate           = 1_000_000_000
	maxPerUserSeconds = 24 * 60 * 60
	maxBurstSeconds   = 9_000_000_000 // burst × seconds: what a bucket can count
	maxLatency        = 60 * 60 * 1000
	maxDeadline       = 30 * 24 * 60 * 60
	maxStreams        = 1_000_000
	maxWaiting        = 65_536
)

// Validate names every field that can't be used, and what was expected.
func (c Cluster) Validate() error {
	var texts []string
	for _, f := range c.faults() {
		texts = append(texts, f.Field+": "+f.What)
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

// faults are those of the fields.
func (c Cluster) faults() (faults []ConfigFault) {
	expect := func(ok bool, field, expected string, got any) {
		if !ok {
			faults = append(faults, ConfigFault{Field: field, What: fmt.Sprintf("expected %s, got %v", expected, got)})
		}
	}
	within := func(n, most int, field, what string) {
		expect(n >= 1 && n <= most, field, fmt.Sprintf("1 to %d %s", most, what), n)
	}
	expect(slices.Contains(logLevels(), c.LogLevel), "logLevel", "one of "+strings.Join(logLevels(), ", "), fmt.Sprintf("%q", c.LogLevel))
	within(c.RateLimit.Middle, maxRate, "rateLimit.middle", "requests per second")
	within(c.RateLimit.Low, maxRate, "rateLimit.low", "requests per second")
	within(c.RateLimit.PerUser.Requests, maxRate, "rateLimit.perUser.requests", "requests")
	within(c.RateLimit.PerUser.Seconds, maxPerUserSeconds, "rateLimit.perUser.seconds", "seconds")
	within(c.RateLimit.PerUser.Burst, min(maxRate, maxBurstSeconds/max(c.RateLimit.PerUser.Seconds, 1)), "rateLimit.perUser.burst", "requests")
	within(c.CircuitBreaker.CPU, 100, "circuitBreaker.cpu", "per cent")
	within(c.CircuitBreaker.Latency, maxLatency, "circuitBreaker.latency", "milliseconds")
	for _, id := range slices.Sorted(maps.Keys(c.Degrade.Events)) {
		_, err := ulid.ParseStrict(id)
		expect(err == nil, "degrade.events", "ids of events", fmt.Sprintf("%q", id))
	}
	expect(c.Payment.Deadline >= 0 && c.Payment.Deadline <= maxDeadline, "payment.deadline",
		fmt.Sprintf("1 to %d seconds, or 0 for what each event says", maxDeadline), c.Payment.Deadline)
	within(c.Pools.Streams, maxStreams, "pools.streams", "streams")
	within(c.Pools.Waiting, maxWaiting, "pools.waiting", "requests")
	return faults
}

// Level is LogLevel as log/slog has it.
func (c Cluster) Level() slog.Level {
	var level slog.Level
	// Validate has seen the name.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	return level
}

func logLevels() []string { return []string{"debug", "info", "warn", "error"} }
