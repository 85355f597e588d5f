package rpc_test

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/balance"
	"github.com/seed27495941/seckill/recipe/balance/rpc"
	"github.com/seed27495941/seckill/recipe/registry"
)

// In main: rpc.Register(), and both the directory and the cluster have to run.
func Example() {
	store := memory.New()
	defer store.Close()
	nodes := registry.NewDirectory(store, registry.DefaultDir, nil)
	api := balance.NewCluster(nodes, balance.Config{Addr: func(n registry.Node) string { return n.RPC }})

	conn, err := grpc.NewClient("seckill:///api",
		grpc.WithResolvers(rpc.NewResolver(map[string]*balance.Cluster{"api": api})),
		grpc.WithDefaultServiceConfig(rpc.ServiceConfig(balance.PeakEWMA, "shop.Stock")),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(conn.Target())
	// Output: seckill:///api
}
