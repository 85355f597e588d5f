package barrier_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/barrier"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	stock, err := barrier.New(store, "stock-loaded")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = stock.Hold(ctx)
	var selling sync.WaitGroup
	selling.Go(func() {
		if err := stock.Wait(ctx); err == nil {
			fmt.Println("selling")
		}
	})
	fmt.Println("loading")
	_ = stock.Release(ctx)
	selling.Wait()

	// Output:
	// loading
	// selling
}

// Three load generators begin together, and tell when all of them are through.
func ExampleDouble() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	run, err := barrier.NewDouble(store, "load-test/", barrier.DoubleConfig{Participants: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	var generators sync.WaitGroup
	for range 3 {
		generators.Go(func() {
			round, err := run.Enter(ctx)
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println("load")
			if err := round.Leave(ctx); err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println("report")
		})
	}
	generators.Wait()

	// Output:
	// load
	// load
	// load
	// report
	// report
	// report
}
