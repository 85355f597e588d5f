package registry_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/registry"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup

	// One process registers …
	node, err := registry.NewRegistration(store, registry.Config{
		Node: registry.Node{Addr: "10.10.11.12:8080", Proto: "http", Version: "v1.0.0"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	running.Go(func() { _ = node.Run(ctx) })
	<-node.Ready()

	// … and another finds it.
	nodes := registry.NewDirectory(store, registry.DefaultDir, nil)
	running.Go(func() { _ = nodes.Run(ctx) })
	<-nodes.Synced()
	for _, n := range nodes.Nodes() {
		fmt.Println(n.ID, n.Addr, n.Version)
	}

	stop() // deregisters
	running.Wait()
	_, err = store.Get(context.Background(), "nodes/10-10-11-12-8080")
	fmt.Println(err)

	// Output:
	// 10-10-11-12-8080 10.10.11.12:8080 v1.0.0
	// "nodes/10-10-11-12-8080": not found
}

func ExampleID() {
	fmt.Println(registry.ID("10.10.11.12:8080"))
	// Output: 10-10-11-12-8080 <nil>
}
