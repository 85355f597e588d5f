package pubsub_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/pubsub"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup

	// One process subscribes …
	sub, err := pubsub.NewSubscriber(store, pubsub.SubscriberConfig{Dir: "messages/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	received := make(chan struct{})
	sub.Handle("orders/paid", func(_ context.Context, m pubsub.Message) {
		fmt.Printf("%s %d: %s\n", m.Topic, m.Number, m.Payload)
		if m.Number == 2 {
			close(received)
		}
	})
	running.Go(func() { _ = sub.Run(ctx) })
	<-sub.Synced()

	// … and another publishes.
	pub, err := pubsub.NewPublisher(store, pubsub.PublisherConfig{Dir: "messages/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	running.Go(func() { _ = pub.Run(ctx) })
	for _, payload := range []string{"order 17", "order 18"} {
		if _, err := pub.Publish(ctx, "orders/paid", []byte(payload)); err != nil {
			fmt.Println(err)
		}
	}
	<-received
	stop()
	running.Wait()

	// Output:
	// orders/paid 1: order 17
	// orders/paid 2: order 18
}

func ExampleCache() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup

	prices, err := pubsub.NewCache(store, "prices/", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	prices.HandlePrefix("", func(c pubsub.Change) {
		fmt.Printf("%s %s deleted: %t\n", c.Key, c.Value, c.Deleted)
	})
	running.Go(func() { _ = prices.Run(ctx) })
	<-prices.Synced()

	rev, err := prices.Set(ctx, "tea", []byte("10"))
	if err == nil {
		err = prices.WaitFor(ctx, rev)
	}
	if err != nil {
		fmt.Println(err)
	}
	value, _ := prices.Get("tea")
	fmt.Printf("%s\n", value)
	stop()
	running.Wait()

	// Output:
	// tea 10 deleted: false
	// 10
}
