package pubsub_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/pubsub"
)

const dir = "events/"

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"publisher": publish}) }

// publish is a process that publishes each line it is told.
func publish(ctx context.Context, s backend.Store, p *stores.Parent) error {
	pub, err := pubsub.NewPublisher(s, pubsub.PublisherConfig{Dir: dir, Retention: stores.ShortestTTL})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { _ = pub.Run(ctx) })
	defer running.Wait()
	for line := range p.Told {
		rev, err := pub.Publish(ctx, "topic", []byte(line))
		if err != nil {
			return err
		}
		p.Say("published %d", rev)
	}
	return nil
}

// newPublisher makes a publisher that runs. A retention of 0 is the default.
func newPublisher(t *testing.T, s backend.Store, retention time.Duration) *pubsub.Publisher {
	t.Helper()
	p, err := pubsub.NewPublisher(s, pubsub.PublisherConfig{Dir: dir, Retention: retention})
	require.NoError(t, err)
	stores.Start(t, p.Run)
	return p
}

func send(t *testing.T, p *pubsub.Publisher, topic, payload string) backend.Revision {
	t.Helper()
	rev, err := p.Publish(t.Context(), topic, []byte(payload))
	require.NoError(t, err)
	return rev
}

// An inbox is what handlers were called with.
type inbox struct {
	mu  sync.Mutex
	all []pubsub.Message
}

func (i *inbox) add(_ context.Context, m pubsub.Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = append(i.all, m)
}

func (i *inbox) get() []pubsub.Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]pubsub.Message{}, i.all...)
}

func (i *inbox) texts() []string {
	texts := []string{}
	for _, m := range i.get() {
		texts = append(texts, string(m.Payload))
	}
	return texts
}

// await waits for n messages, and requires that there are no more.
func (i *inbox) await(t *testing.T, n int) []pubsub.Message {
	t.Helper()
	stores.Wait(t, fmt.Sprint(n, " messages"), func() bool { return len(i.get()) >= n })
	require.Len(t, i.get(), n)
	return i.get()
}

// prepare makes a subscriber of everything.
func prepare(t *testing.T, s backend.Store, cfg pubsub.SubscriberConfig) (*pubsub.Subscriber, *inbox) {
	t.Helper()
	cfg.Dir = dir
	sub, err := pubsub.NewSubscriber(s, cfg)
	require.NoError(t, err)
	in := &inbox{}
	sub.HandlePrefix("", in.add)
	return sub, in
}

// subscribe makes one, runs it and waits until it is synced.
func subscribe(t *testing.T, s backend.Store, cfg pubsub.SubscriberConfig) (sub *pubsub.Subscriber, in *inbox, stop func() error) {
	t.Helper()
	sub, in = prepare(t, s, cfg)
	stop = stores.Start(t, sub.Run)
	<-sub.Synced()
	return sub, in, stop
}

// retained lists the messages in the store.
func retained(t *testing.T, s backend.Store) []backend.Entry {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, dir)
	require.NoError(t, err)
	return entries
}

// inOrder checks what every subscriber is promised.
func inOrder(t *testing.T, messages []pubsub.Message) {
	t.Helper()
	for i := 1; i < len(messages); i++ {
		assert.Greater(t, messages[i].Revision, messages[i-1].Revision)
	}
}
