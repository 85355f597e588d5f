package servers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Cluster is a set of servers that are one store. It is safe for concurrent use.
type Cluster struct {
	cfg     Config
	flavor  flavor
	http    *http.Client
	nodes   []*Node
	source  string
	version string
}

var (
	errPortTaken = errors.New("somebody else listens on a port meant for the server")
	errExited    = errors.New("the server exited by itself")
)

func newCluster(cfg Config, source string) *Cluster {
	return &Cluster{
		cfg:    cfg,
		flavor: flavorOf(cfg.Kind),
		source: source,
		http: &http.Client{Transport: &http.Transport{
			TLSClientConfig:   cfg.TLS,
			DisableKeepAlives: true, // leaves nothing to close
		}},
	}
}

// tryLaunch starts a cluster on one choice of ports.
func tryLaunch(ctx context.Context, cfg Config, l launcher) (_ *Cluster, err error) {
	c := newCluster(cfg, l.source())
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()

	each := c.flavor.portsPerNode()
	ports, err := cfg.ports(cfg.Nodes * each)
	if err != nil {
		return nil, err
	}
	id := make([]byte, 6)
	rand.Read(id)
	for i := range cfg.Nodes {
		c.nodes = append(c.nodes, &Node{
			cluster:  c,
			name:     fmt.Sprintf("seckill-%s-%s-%d", cfg.Kind, hex.EncodeToString(id), i),
			ports:    ports[i*each : (i+1)*each],
			endpoint: loopback(ports[i*each]),
		})
	}
	for _, n := range c.nodes {
		if err := n.launch(ctx, l); err != nil {
			return nil, err
		}
	}
	if err := c.WaitReady(ctx); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		name, version, err := c.flavor.identify(ctx, n.api())
		for errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // it was ready: the machine is busy
			name, version, err = c.flavor.identify(ctx, n.api())
		}
		if err != nil {
			return nil, err
		}
		if name != n.name {
			return nil, fmt.Errorf("%w: at %s answers %q, not %q", errPortTaken, n.endpoint, name, n.name)
		}
		c.version = version
	}
	return c, nil
}

// Endpoints are the addresses for clients, host:port, one for each node.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, n.endpoint)
	}
	return all
}

// Nodes are the cluster's nodes, running or not.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Node is the i-th node, from 0.
func (c *Cluster) Node(i int) *Node { return c.nodes[i] }

// Kind is what the servers are.
func (c *Cluster) Kind() Kind { return c.cfg.Kind }

// Version is what the servers call their version, without a leading v.
func (c *Cluster) Version() string { return c.version }

// Source tells where the servers come from: "address", "docker: official image …", "docker: image built from scratch" or "process".
func (c *Cluster) Source() string { return c.source }

// WaitReady waits until every node that was neither killed nor paused knows a leader and serves linearizable reads.
func (c *Cluster) WaitReady(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		if n.awaited() {
			g.Go(func() error { return n.waitReady(ctx) })
		}
	}
	return g.Wait()
}

// Leader finds the node that leads, among those that were neither killed nor paused, waiting for an election.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	for {
		var errs []error
		for _, n := range c.nodes {
			if !n.awaited() {
				continue
			}
			switch leads, err := c.flavor.leads(ctx, n); {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", n.name, err))
			case leads:
				return n, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(append([]error{fmt.Errorf("servers: no node leads: %w", context.Cause(ctx))}, errs...)...)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Logs is the last part of what each server has printed.
func (c *Cluster) Logs() string {
	var b strings.Builder
	for _, n := range c.nodes {
		fmt.Fprintf(&b, "--- log of %s at %s\n%s\n", n.name, n.endpoint, n.Logs())
	}
	return b.String()
}

// Close ends the servers, removes their data, and returns when that is done.
func (c *Cluster) Close() error {
	var g errgroup.Group
	for _, n := range c.nodes {
		if n.warden != nil {
			g.Go(n.warden.close)
		}
	}
	return g.Wait()
}
