package pubsub_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/pubsub"
)

func TestHandlersByTopicAndPrefix(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		early := newPublisher(t, s.Open(t), 0)
		send(t, early, "orders/paid", "before")

		sub, all := prepare(t, s.Open(t), pubsub.SubscriberConfig{})
		var paid, orders, other inbox
		sub.Handle("orders/paid", paid.add)
		sub.HandlePrefix("orders/", orders.add)
		sub.Handle("orders", other.add)
		stores.Start(t, sub.Run)
		<-sub.Synced()

		late := newPublisher(t, s.Open(t), 0)
		first := send(t, early, "orders/paid", "1")
		send(t, late, "orders/paid", "2")
		send(t, late, "orders/sent/abroad", "3")
		send(t, late, "orders2", "4")
		send(t, late, "orders", "\x00\xff")
		last := send(t, early, "orders/paid/too", "")

		messages := all.await(t, 6)
		inOrder(t, messages)
		assert.Equal(t, []string{"1", "2", "3", "4", "\x00\xff", ""}, all.texts())
		assert.Equal(t, first, messages[0].Revision)
		assert.Equal(t, last, messages[5].Revision)
		assert.Equal(t, "orders/sent/abroad", messages[2].Topic)
		assert.Equal(t, uint64(2), messages[0].Number, "of its stream")
		assert.Equal(t, uint64(1), messages[1].Number)
		assert.NotEqual(t, messages[0].Publisher, messages[1].Publisher)
		for _, m := range messages {
			assert.Zero(t, m.Missed)
		}
		assert.Equal(t, []string{"1", "2"}, paid.texts())
		assert.Equal(t, []string{"1", "2", "3", ""}, orders.texts())
		assert.Equal(t, []string{"\x00\xff"}, other.texts())
	})
}

// A watch merges versions of a key; messages have keys of their own.
func TestBlockedHandlerLosesNothing(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		sub, all := prepare(t, s.Open(t), pubsub.SubscriberConfig{})
		blocked, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		sub.Handle("burst", func(context.Context, pubsub.Message) {
			once.Do(func() { close(blocked) })
			<-release
		})
		stores.Start(t, sub.Run)
		<-sub.Synced()

		p := newPublisher(t, s.Open(t), time.Minute)
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprint(i))
			send(t, p, "burst", want[i])
		}
		<-blocked
		assert.Equal(t, []string{"0"}, all.texts(), "it is blocked")
		close(release)
		inOrder(t, all.await(t, len(want)))
		assert.Equal(t, want, all.texts())
		for _, m := range all.get() {
			assert.Zero(t, m.Missed)
		}
	})
}

func TestOrderOfConcurrentCalls(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		_, all, _ := subscribe(t, s.Open(t), pubsub.SubscriberConfig{})
		p := newPublisher(t, s.Open(t), 0)
		var calls sync.WaitGroup
		for i := range 50 {
			calls.Go(func() {
				_, err := p.Publish(t.Context(), "topic", fmt.Append(nil, i))
				assert.NoError(t, err)
			})
		}
		calls.Wait()
		messages := all.await(t, 50)
		inOrder(t, messages)
		for i, m := range messages {
			assert.Equal(t, uint64(i+1), m.Number, "numbers follow the order of revisions")
		}
	})
}

// What vanished before it was received is not hidden.
func TestMissedMessagesAreCounted(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		sub, all := prepare(t, s.Open(t), pubsub.SubscriberConfig{})
		blocked, release := make(chan struct{}), make(chan struct{})
		sub.Handle("topic", func(_ context.Context, m pubsub.Message) {
			if m.Number == 1 {
				close(blocked)
				<-release
			}
		})
		stores.Start(t, sub.Run)
		<-sub.Synced()

		store := s.Open(t)
		p := newPublisher(t, store, time.Minute)
		send(t, p, "topic", "first")
		<-blocked
		for range 5 {
			send(t, p, "topic", "lost")
			send(t, p, "other", "lost")
		}
		s.Revoke(t, retained(t, store)[0].Lease) // as expiry does
		send(t, p, "topic", "last")
		close(release)

		// Whether the watch had taken some of them already is the store's business.
		stores.Wait(t, "the last message", func() bool { return slices.Contains(all.texts(), "last") })
		received, missed := 0, uint64(0)
		for _, m := range all.get() {
			if m.Topic == "topic" {
				received++
				missed += m.Missed
			}
		}
		assert.Equal(t, 7, received+int(missed), "each message is received or missed: %+v", all.get())
	})
}

func TestMissedAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store := space.Client(t)
		p := newPublisher(t, space.Open(t), 10*time.Second)
		send(t, p, "old", "")
		time.Sleep(time.Minute)
		_, all, _ := subscribe(t, store, pubsub.SubscriberConfig{})
		send(t, p, "old", "0")
		assert.Zero(t, all.await(t, 1)[0].Missed, "that was before")
		send(t, p, "topic", "1")
		all.await(t, 2)

		// Shorter than the retention: nothing is lost, nothing comes twice.
		store.Cut()
		send(t, p, "topic", "2")
		time.Sleep(9 * time.Second)
		send(t, p, "topic", "3")
		store.Mend()
		all.await(t, 4)

		// Longer.
		store.Cut()
		for range 4 {
			send(t, p, "topic", "lost")
		}
		time.Sleep(time.Minute)
		send(t, p, "topic", "8")
		send(t, p, "new", "1")
		store.Mend()
		messages := all.await(t, 6)
		assert.Equal(t, []string{"0", "1", "2", "3", "8", "1"}, all.texts())
		assert.Equal(t, uint64(4), messages[4].Missed)
		assert.Zero(t, messages[5].Missed)
	})
}

func TestSnapshotsTellNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		_, all, _ := subscribe(t, space.Open(t), pubsub.SubscriberConfig{})
		p := newPublisher(t, space.Open(t), 0)
		for i := range 10 {
			send(t, p, "topic", fmt.Sprint(i))
			space.Server.LoseHistory()
			synctest.Wait()
		}
		all.await(t, 10)
	})
}

func TestRetainedOnRequest(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		p := newPublisher(t, s.Open(t), 0)
		send(t, p, "a/b", "1")
		send(t, p, "a", "2")
		_, all, _ := subscribe(t, s.Open(t), pubsub.SubscriberConfig{Retained: true})
		send(t, p, "a", "3")
		inOrder(t, all.await(t, 3))
		assert.Equal(t, []string{"1", "2", "3"}, all.texts())
	})
}

func TestRunAgainGoesOn(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		p := newPublisher(t, s.Open(t), 0)
		send(t, p, "topic", "before")
		sub, all, stop := subscribe(t, s.Open(t), pubsub.SubscriberConfig{})
		require.ErrorIs(t, sub.Run(t.Context()), backend.ErrInvalid, "twice at once")
		send(t, p, "topic", "1")
		all.await(t, 1)
		require.NoError(t, stop())
		send(t, p, "topic", "2")
		stores.Start(t, sub.Run)
		send(t, p, "topic", "3")
		all.await(t, 3)
		assert.Equal(t, []string{"1", "2", "3"}, all.texts())
	})
}

// A message is never taken away before its time, and not by a request of its
// own.
func TestRetention(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		const retention = stores.ShortestTTL
		store := s.Open(t)
		p := newPublisher(t, store, retention)
		send(t, p, "topic", "1")
		published := time.Now()
		send(t, p, "topic", "2")
		stores.Wait(t, "the messages are gone", func() bool { return len(retained(t, store)) == 0 })
		assert.GreaterOrEqual(t, time.Since(published), retention)

		send(t, p, "topic", "3")
		require.Len(t, retained(t, store), 1)
		assert.True(t, strings.HasSuffix(retained(t, store)[0].Key, "-0000000000000003"), "numbers go on")
	})
}

func TestRetentionToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Open(t)
		p := newPublisher(t, store, 10*time.Second)
		for range 100 { // one each second, for ever
			send(t, p, "topic", "")
			time.Sleep(time.Second)
			n := len(retained(t, store))
			assert.LessOrEqual(t, n, 20)
		}
		assert.GreaterOrEqual(t, len(retained(t, store)), 10)
		time.Sleep(9 * time.Second) // the last one is 10s old
		assert.NotEmpty(t, retained(t, store))
		time.Sleep(10*time.Second + time.Millisecond)
		assert.Empty(t, retained(t, store))
	})
}

// A process that ends takes nothing from subscribers that are behind.
func TestMessagesOutliveTheirPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		other := space.Open(t)
		client := space.Server.Open()
		p, err := pubsub.NewPublisher(client, pubsub.PublisherConfig{Dir: dir, Retention: 10 * time.Second})
		require.NoError(t, err)
		stop := stores.Start(t, p.Run)
		send(t, p, "topic", "first words")
		time.Sleep(3300 * time.Millisecond) // since the lease was renewed last
		send(t, p, "topic", "last words")
		require.NoError(t, stop())
		require.NoError(t, client.Close())
		time.Sleep(10 * time.Second)
		assert.Len(t, retained(t, other), 2)
		time.Sleep(10 * time.Second)
		assert.Empty(t, retained(t, other))
	})
}

func TestCloseTakesMessagesBack(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		p := newPublisher(t, store, time.Minute)
		send(t, p, "topic", "1")
		send(t, p, "topic", "2")
		both := retained(t, store)
		require.Len(t, both, 2)
		assert.Equal(t, both[0].Lease, both[1].Lease, "one request takes them back")
		require.NoError(t, p.Close(t.Context()))
		assert.Empty(t, retained(t, store))
		require.NoError(t, p.Close(t.Context()))
		_, err := p.Publish(t.Context(), "topic", nil)
		require.ErrorIs(t, err, backend.ErrClosed)
	})
}

func TestGoesOnAfterLeaseLoss(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		_, all, _ := subscribe(t, s.Open(t), pubsub.SubscriberConfig{})
		p := newPublisher(t, store, time.Minute)
		send(t, p, "topic", "1")
		all.await(t, 1)
		for i := range 3 {
			s.Revoke(t, retained(t, store)[0].Lease)
			send(t, p, "topic", fmt.Sprint(i+2))
			assert.Len(t, retained(t, store), 1)
			inOrder(t, all.await(t, i+2))
		}
	})
}

// A publisher that stood still for longer than its lease goes on with a new one.
func TestGoesOnAfterAPause(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		_, all, _ := subscribe(t, store, pubsub.SubscriberConfig{})
		p := stores.Spawn(t, s, "publisher")
		p.Tell(t, "1")
		p.Await(t, "published")
		p.Pause(t)
		stores.Wait(t, "its lease is over", func() bool { return len(retained(t, store)) == 0 })
		p.Tell(t, "2")
		p.Resume(t)
		p.Await(t, "published")
		p.Tell(t, "3")
		p.Await(t, "published")
		all.await(t, 3)
		assert.Equal(t, []string{"1", "2", "3"}, all.texts())
		p.Kill()
		stores.Wait(t, "nothing is left of it", func() bool { return len(retained(t, store)) == 0 })
	})
}

func TestSurvivesARestartOfTheStore(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		_, all, _ := subscribe(t, s.Open(t), pubsub.SubscriberConfig{})
		p := newPublisher(t, s.Open(t), time.Minute)
		send(t, p, "topic", "1")
		all.await(t, 1)

		require.NoError(t, c.Node(0).Kill(t.Context()))
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := p.Publish(short, "topic", []byte("2"))
		require.Error(t, err)
		require.NoError(t, c.Node(0).Start(t.Context()))

		stores.Wait(t, "published", func() bool {
			_, err := p.Publish(t.Context(), "topic", []byte("2"))
			return err == nil
		})
		send(t, p, "topic", "3")
		messages := all.await(t, 3)
		assert.Equal(t, []string{"1", "2", "3"}, all.texts(), "repeated until it worked, received once")
		assert.Zero(t, messages[1].Missed)
	})
}

func TestGarbageIsNamed(t *testing.T) {
	const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	stores.Each(t, func(t *testing.T, s stores.Space) {
		var log stores.Logbook
		foreign := []string{
			"stray", "topic/", "topic/x", "topic/" + id, "topic/" + id + "-1", "topic/" + id + "-0000000000000000",
			"topic/" + id + "-00000000000000x1", "topic/" + id + "-+000000000000001", "topic/" + strings.ToLower(id) + "-0000000000000001",
			"topic/" + id + "-99999999999999999", id + "-0000000000000001", "topic/x" + id + "-0000000000000001",
		}
		_, all, _ := subscribe(t, s.Open(t), pubsub.SubscriberConfig{Retained: true, Logger: log.Logger()})
		for _, key := range foreign {
			s.Put(t, dir+key, "null")
		}
		s.Put(t, dir+"topic/"+id+"-0000000000000001", "null") // by hand, and as it should be
		p := newPublisher(t, s.Open(t), 0)
		send(t, p, "topic", "1")
		messages := all.await(t, 2)
		assert.Equal(t, id, messages[0].Publisher)
		assert.Equal(t, []string{"null", "1"}, all.texts())
		for _, key := range foreign {
			assert.Contains(t, log.String(), dir+key)
		}
	})
}

func TestInvalidArguments(t *testing.T) {
	store := stores.NewMemory().Open(t)
	for _, bad := range []string{"", "events", "/", "a//", "../", "a\n/"} {
		_, err := pubsub.NewPublisher(store, pubsub.PublisherConfig{Dir: bad})
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
		_, err = pubsub.NewSubscriber(store, pubsub.SubscriberConfig{Dir: bad})
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
		_, err = pubsub.NewCache(store, bad, nil)
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
	}
	_, err := pubsub.NewPublisher(store, pubsub.PublisherConfig{Dir: dir, Retention: -1})
	require.ErrorIs(t, err, backend.ErrInvalid)

	p := newPublisher(t, store, 0)
	for _, bad := range []string{"", "/", "a/", "/a", "a//b", "..", "a/../b", "a\nb", "\xff", strings.Repeat("x", 500)} {
		_, err := p.Publish(t.Context(), bad, nil)
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
	}
	_, err = p.Publish(t.Context(), "topic", make([]byte, backend.MaxValue+1))
	require.ErrorIs(t, err, backend.ErrTooLarge)
	send(t, p, "topic", strings.Repeat("x", backend.MaxValue))
	assert.True(t, strings.HasSuffix(retained(t, store)[0].Key, "-0000000000000001"), "what was refused has no number")
}
