package limiter_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/limiter"
	"github.com/seed27495941/seckill/recipe/registry"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup

	node, err := registry.NewRegistration(store, registry.Config{Node: registry.Node{Addr: "10.10.11.12:8080"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	nodes := registry.NewDirectory(store, registry.DefaultDir, nil)
	limit, err := limiter.New(limiter.Config{
		Limit:     limiter.Limit{Rate: 0.1, Burst: 3},
		Directory: nodes,
		Self:      node.Status().Node.Incarnation,
		Settle:    50 * time.Millisecond, // 5s, if it is not for an example
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, run := range []func(context.Context) error{node.Run, nodes.Run, limit.Run} {
		running.Go(func() { _ = run(ctx) })
	}

	<-limit.Ready() // alone, the node has all of it
	for range 4 {
		fmt.Println(limit.Allow("alice"))
	}
	fmt.Println(limit.Allow("bob"))

	stop()
	running.Wait()

	// Output:
	// true
	// true
	// true
	// false
	// true
}
