package queue_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/queue"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	orders, err := queue.New(store, "orders/", queue.Config{Shards: 1, MaxAttempts: 3})
	if err != nil {
		fmt.Println(err)
		return
	}

	// One process puts orders, under IDs that make it safe to try again …
	for _, id := range []string{"order-1", "order-2"} {
		if err := orders.PutID(ctx, id, []byte(`{"goods":1}`)); err != nil {
			fmt.Println(err)
		}
	}

	// … and others work on them, each order at one of them at a time.
	consumer, err := queue.NewConsumer(orders, queue.ConsumerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	running, leave := context.WithCancel(ctx)
	defer leave()
	var run sync.WaitGroup
	run.Go(func() { _ = consumer.Run(running) })
	for range 3 {
		item, err := consumer.Receive(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(item.ID, "attempt", item.Attempt)
		if item.ID == "order-1" && item.Attempt == 1 {
			_ = item.Nack(ctx, 0) // the first time something went wrong
			continue
		}
		// Whoever has lost the item without knowing can't write this any more.
		key := "receipts/" + item.ID
		if _, err := store.Put(ctx, key, item.Value, backend.If(key, 0), item.Guard()); err != nil {
			fmt.Println(err)
		}
		if err := item.Ack(ctx); err != nil {
			fmt.Println(err)
		}
	}
	leave()
	run.Wait()

	// Output:
	// order-1 attempt 1
	// order-1 attempt 2
	// order-2 attempt 1
}
