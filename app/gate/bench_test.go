package gate

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/settings"
)

// refusing is a house that refuses ann's orders, for one reason.
func refusing(b *testing.B, check string) (*house, *http.Request) {
	b.Helper()
	h := build(b, nil)
	r := h.request(Order, now)
	rare := settings.UserRate{Requests: 1, Seconds: 86400, Burst: 1}
	switch check {
	case "identity":
		r.Header.Del("Authorization")
	case "blacklist":
		h = build(b, func(c *Config) { c.Blacklist = blacklistOf(b, "ann") })
	case "breaker":
		trip(b, h)
	case "node_limit":
		h.change(func(c *settings.Cluster) { c.RateLimit.Middle = 1 })
	case "switches":
		h.change(func(c *settings.Cluster) { c.Degrade.RefuseOrders = true })
	case "window":
		r = h.request(Order, unopened)
	case "user_limit":
		h.change(func(c *settings.Cluster) { c.RateLimit.PerUser = rare })
	case "store_limit":
		h.change(func(c *settings.Cluster) { c.RateLimit.Low = 1 })
	}
	time.Sleep(10 * time.Millisecond) // the other buckets fill
	h.do(r)
	h.do(r)
	return h, r
}

// trip opens a house's breaker, which needs some seconds.
func trip(b *testing.B, h *house) {
	b.Helper()
	h.busy(100)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	b.Cleanup(func() { stop(); require.NoError(b, <-ended) })
	for h.passes(Public, now) {
		time.Sleep(10 * time.Millisecond)
	}
}

// BenchmarkCheck is what a check's refusal costs.
func BenchmarkCheck(b *testing.B) {
	for _, s := range build(b, nil).chain {
		b.Run(s.name, func(b *testing.B) {
			h, r := refusing(b, s.name)
			request := &Request{Request: r, Kind: Order, Event: now, User: "ann"}
			if s.name == "window" {
				request.Event = unopened
			}
			check := h.station(s.name)
			b.ReportAllocs()
			for b.Loop() {
				if check.pass(request) == nil && s.name != "node_limit" && s.name != "store_limit" {
					b.Fatal("it passed") // of those two one may, a second
				}
			}
		})
	}
}

func (h *house) station(name string) *station {
	for _, s := range h.chain {
		if s.name == name {
			return s
		}
	}
	return nil
}

// BenchmarkRefusal is all that the gate does for a request that a check refuses: the
// checks before it, the answer and the log.
func BenchmarkRefusal(b *testing.B) {
	for _, s := range build(b, nil).chain {
		b.Run(s.name, func(b *testing.B) {
			h, r := refusing(b, s.name)
			h.counted = figures.NewCounter(func(ulid.ULID) bool { return true }).Add
			serve(b, h, r)
		})
	}
}

// BenchmarkPass is all that it does for one that passes.
func BenchmarkPass(b *testing.B) {
	for kind, route := range routes {
		b.Run(route, func(b *testing.B) {
			h := build(b, nil)
			h.handler = func(http.ResponseWriter, *http.Request) {}
			time.Sleep(10 * time.Millisecond)
			serve(b, h, h.request(kind, now))
		})
	}
}

func serve(b *testing.B, h *house, r *http.Request) {
	b.Helper()
	w := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.mux.ServeHTTP(w, r)
	}
}

// A sink keeps nothing of an answer.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
