package pubsub_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/pubsub"
)

// TestCost measures what a message costs while others are retained: on Consul
// each change sends all of them to every subscriber. It asserts nothing but that
// all arrive.
func TestCost(t *testing.T) {
	if os.Getenv("SECKILL_TEST_FULL") == "" {
		t.Skip("a measurement; run with SECKILL_TEST_FULL=1")
	}
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		p := newPublisher(t, s.Open(t), time.Hour)
		retained := 0
		for _, n := range []int{0, 100, 1000, 5000} {
			for ; retained < n; retained++ {
				send(t, p, "kept", strings.Repeat("x", 200))
			}
			for _, subscribers := range []int{1, 10} {
				measure(t, s, n, subscribers)
			}
		}
	})
}

// measure publishes messages while so many are retained, and takes back its own.
func measure(t *testing.T, s stores.Space, n, subscribers int) {
	t.Helper()
	const messages = 200
	var inboxes []*inbox
	var stops []func() error
	for range subscribers {
		_, in, stop := subscribe(t, s.Open(t), pubsub.SubscriberConfig{})
		inboxes, stops = append(inboxes, in), append(stops, stop)
	}
	own := newPublisher(t, s.Open(t), time.Hour)
	begun := time.Now()
	for i := range messages {
		send(t, own, "topic", fmt.Sprintf("%0200d", i))
	}
	published := time.Since(begun)
	for _, in := range inboxes {
		in.await(t, messages)
	}
	received := time.Since(begun)
	t.Logf("%d retained, %d subscribers: %.0f messages/s published, %.0f received by each",
		n, subscribers, messages/published.Seconds(), messages/received.Seconds())
	for _, stop := range stops {
		_ = stop()
	}
	if err := own.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
