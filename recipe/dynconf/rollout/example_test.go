package rollout_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
	"github.com/seed27495941/seckill/recipe/dynconf/rollout"
	"github.com/seed27495941/seckill/recipe/registry"
)

func Example() {
	type rates struct {
		Low int `json:"low"`
	}
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup

	// A node follows the configuration, and reports in its entry of the
	// registry.
	node, _ := registry.NewRegistration(store, registry.Config{
		Node: registry.Node{Addr: "10.0.0.1:8080", Labels: map[string]string{"zone": "west"}},
	})
	conf, _ := dynconf.New(store, "config", dynconf.Options[rates]{
		Node:   dynconf.Node{ID: "10-0-0-1-8080", Labels: map[string]string{"zone": "west"}},
		Report: func(r dynconf.Report) { _ = rollout.Tell(node, "config", r) },
	})
	changed := make(chan rates)
	conf.Subscribe(func(_, now rates) { changed <- now })
	running.Go(func() { _ = node.Run(ctx) })
	running.Go(func() { _ = conf.Run(ctx) })

	// Operators try a value on some of the nodes.
	nodes := registry.NewDirectory(store, "", nil)
	versions, _ := history.New(store, "config", history.Options{})
	controller, _ := rollout.New(rollout.Config{Store: store, Key: "config", History: versions, Nodes: nodes})
	running.Go(func() { _ = nodes.Run(ctx) })
	running.Go(func() { _ = controller.Run(ctx) })

	published, _ := versions.Publish(ctx, 0, []byte(`{"low":10}`), history.Change{Author: "alice"})
	fmt.Println(<-changed, conf.Status().Source)

	trial, err := controller.Start(ctx, published.Revision, []byte(`{"low":20}`), rollout.Plan{
		Target: dynconf.Target{Labels: map[string]string{"zone": "west"}, Percent: 100},
		Author: "bob",
	})
	fmt.Println(<-changed, conf.Status().Source, err)

	// The node finds that the value does no good: it goes back at once, and so
	// do all others.
	conf.ReportFailure(trial.ID, fmt.Errorf("latency has doubled"))
	fmt.Println(<-changed, conf.Status().Source)

	stop()
	running.Wait()

	// Output:
	// {10} store
	// {20} rollout <nil>
	// {10} store
}
