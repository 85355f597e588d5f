package consul_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
)

// A node that is listed while it lives, below a root of its own.
func Example() {
	store, err := consul.Open(consul.Config{
		Endpoints: []string{"10.0.0.1:8500", "10.0.0.2:8500"},
		TokenFile: "/run/secrets/consul-token",
		Root:      "seckill/",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	ctx := context.Background()
	lease, err := store.Lease(ctx, 10*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	rev, err := store.Put(ctx, "nodes/a", []byte("10.0.0.7:8080"), backend.WithLease(lease), backend.If("nodes/a", 0))
	fmt.Println(rev, err) // consul kv get seckill/nodes/a
}
