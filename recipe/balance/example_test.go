package balance_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/balance"
	"github.com/seed27495941/seckill/recipe/registry"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup

	// A node serves and is registered …
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello from a node of", r.Host)
	}))
	defer server.Close()
	node, err := registry.NewRegistration(store, registry.Config{Node: registry.Node{Addr: server.Listener.Addr().String()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	running.Go(func() { _ = node.Run(ctx) })

	// … and a client need not know where.
	nodes := registry.NewDirectory(store, registry.DefaultDir, nil)
	api := balance.NewCluster(nodes, balance.Config{})
	running.Go(func() { _ = nodes.Run(ctx) })
	running.Go(func() { _ = api.Run(ctx) })
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	transport, err := balance.NewTransport(base, balance.PeakEWMA, map[string]*balance.Cluster{"api": api})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}

	<-node.Ready()
	for changed := api.Changed(); len(api.Status().Endpoints) == 0; changed = api.Changed() {
		<-changed
	}
	resp, err := client.Get("http://api/v1/hello") //nolint:noctx // an example
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	fmt.Print(string(text), err)

	stop()
	running.Wait()

	// Output:
	// hello from a node of api
	// <nil>
}
