package servers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// A Node is one server of a cluster. Of a cluster given by address nothing can be changed: its methods that would return
// ErrNotControllable.
type Node struct {
	cluster  *Cluster
	name     string
	ports    []int
	endpoint string

	warden *warden // nil for a server given by address
	down   atomic.Bool
	paused atomic.Bool
}

// Name is what the node calls itself, "" for a server given by address.
func (n *Node) Name() string { return n.name }

// Endpoint is the address for clients, host:port.
func (n *Node) Endpoint() string { return n.endpoint }

// URL is the endpoint with http:// or https:// before it. Both kinds of server speak HTTP there; etcd's gRPC shares the port.
func (n *Node) URL() string {
	if n.cluster.cfg.TLS != nil {
		return "https://" + n.endpoint
	}
	return "http://" + n.endpoint
}

// Logs is the last part of what the server has printed.
func (n *Node) Logs() string {
	if n.warden == nil {
		return ""
	}
	return n.warden.log.String()
}

// Kill ends the server with SIGKILL, as a crash does, and returns when it is gone. Its data stays for Start.
func (n *Node) Kill(ctx context.Context) error {
	if n.warden == nil {
		return ErrNotControllable
	}
	n.down.Store(true) // first, lest WaitReady complains of the exit
	return n.command(ctx, "kill")
}

// Terminate ends the server with SIGTERM, as an orderly shutdown does, and returns when it is gone. Its data stays for Start.
func (n *Node) Terminate(ctx context.Context) error {
	if n.warden == nil {
		return ErrNotControllable
	}
	run := n.warden.last()
	if run == nil || !run.alive() {
		return fmt.Errorf("servers: %s is not running", n.name)
	}
	n.down.Store(true)
	if err := n.command(ctx, "term"); err != nil {
		return err
	}
	select {
	case <-run.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("servers: %s still runs after SIGTERM: %w", n.name, context.Cause(ctx))
	}
}

// Start starts the server again after Kill or Terminate, with the same data on the same ports, and waits until it is ready. That takes
// a majority: to bring back one that was lost, start several nodes at the same time.
func (n *Node) Start(ctx context.Context) error {
	if n.warden == nil {
		return ErrNotControllable
	}
	// The ports are fixed now, so if somebody took one we can only wait for it to come free.
	for {
		err := n.startOnce(ctx)
		if !errors.Is(err, errPortTaken) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Pause stops the server with SIGSTOP: connections stay, nothing is answered. When Pause returns, it stands still.
func (n *Node) Pause(ctx context.Context) error {
	if err := n.command(ctx, "stop"); err != nil {
		return err
	}
	n.paused.Store(true)
	return nil
}

// Resume lets a paused server go on. It does not wait for anything; see Cluster.WaitReady.
func (n *Node) Resume(ctx context.Context) error {
	if err := n.command(ctx, "cont"); err != nil {
		return err
	}
	n.paused.Store(false)
	return nil
}

func (n *Node) command(ctx context.Context, c string) error {
	if n.warden == nil {
		return ErrNotControllable
	}
	if _, err := n.warden.do(ctx, c); err != nil {
		return fmt.Errorf("servers: %s %s: %w", c, n.name, err)
	}
	return nil
}

// launch gives the node a guard and starts its server for the first time, without waiting for it.
func (n *Node) launch(ctx context.Context, l launcher) (err error) {
	cfg := n.cluster.cfg
	if n.warden, err = hire(ctx, l, n.name, n.cluster.flavor.args(cfg, n.cluster.nodes, n)); err != nil {
		return err
	}
	for name, content := range cfg.Files {
		if err := n.warden.put(ctx, name, content); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	_, err = n.warden.do(ctx, "start")
	return err
}

func (n *Node) startOnce(ctx context.Context) error {
	if run := n.warden.last(); run == nil || !run.alive() {
		for _, port := range n.ports {
			if !portFree(port) {
				return fmt.Errorf("servers: start %s: %w: %d", n.name, errPortTaken, port)
			}
		}
	}
	if _, err := n.warden.do(ctx, "start"); err != nil {
		return fmt.Errorf("servers: start %s: %w", n.name, err)
	}
	n.down.Store(false)
	n.paused.Store(false)
	if err := n.waitReady(ctx); err != nil {
		return fmt.Errorf("servers: start %s: %w", n.name, err)
	}
	return nil
}

func (n *Node) awaited() bool { return !n.down.Load() && !n.paused.Load() }

// waitReady asks the node until it is ready. The one thing not worth waiting for is a server that has exited.
func (n *Node) waitReady(ctx context.Context) error {
	var run *run
	exited := make(<-chan struct{})
	if n.warden != nil {
		if run = n.warden.last(); run == nil {
			return fmt.Errorf("%s was never started", n.name)
		}
		exited = run.done
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	pause := 10 * time.Millisecond
	for {
		err := n.cluster.flavor.ready(ctx, n)
		select {
		case <-exited:
			return n.exitError(run)
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return n.exitError(run)
		case <-ctx.Done():
			return fmt.Errorf("%s at %s is not ready: %w: %w", n.name, n.endpoint, context.Cause(ctx), err)
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		}
	}
}

func (n *Node) exitError(r *run) error {
	log := n.warden.wholeLog(r)
	err := errExited
	if strings.Contains(log, "address already in use") {
		err = errPortTaken
	}
	return fmt.Errorf("%s: %w (%s):\n%s", n.name, err, r.status, excerpt(log))
}

func (n *Node) api() api {
	return api{http: n.cluster.http, url: n.URL(), token: n.cluster.cfg.Token}
}
