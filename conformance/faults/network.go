// Package faults stands between a store and its servers and is unkind: the
// network part of a harness for package conformance. It drives toxiproxy inside
// the process.
package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A Network forwards TCP connections to servers, each at an address of its own
// that stays the same. Faults concern all of them. It has the methods of
// conformance.NetworkFaulter, so that a harness can embed it. It is safe for
// concurrent use.
type Network struct {
	mu      sync.Mutex
	proxies []*toxiproxy.Proxy
}

// NewNetwork stands in front of servers, given as host:port, until the test
// ends.
func NewNetwork(t testing.TB, servers ...string) *Network {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &Network{}
	for _, server := range servers {
		p, err := listen(api, server)
		if err != nil {
			t.Fatalf("faults: %v", err)
		}
		t.Cleanup(p.Stop)
		n.proxies = append(n.proxies, p)
	}
	return n
}

// Ports are taken from below the range that the kernel gives to outgoing
// connections, and from below that of the test servers, so that nobody gets one
// by chance while it is cut.
const (
	firstPort = 10000
	lastPort  = 20000
	attempts  = 100
)

func listen(api *toxiproxy.ApiServer, server string) (*toxiproxy.Proxy, error) {
	var errs []error
	for range attempts {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		p := toxiproxy.NewProxy(api, server, address, server)
		err := p.Start()
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no free port between %d and %d: %w", firstPort, lastPort, errs[0])
}

// Addrs are the addresses for clients, host:port, one for each server.
func (n *Network) Addrs() []string {
	var all []string
	for _, p := range n.proxies {
		all = append(all, p.Listen)
	}
	return all
}

// Cut breaks all connections and refuses new ones.
func (n *Network) Cut(context.Context) error {
	return n.each(func(p *toxiproxy.Proxy) error {
		p.Stop()
		return nil
	})
}

// DropReplies lets requests through and throws away what comes back.
// Connections stand, and are broken by Heal.
func (n *Network) DropReplies(context.Context) error {
	return n.toxic(`{"name": "mute", "type": "timeout", "stream": "downstream", "attributes": {"timeout": 0}}`)
}

// Delay adds d to every answer.
func (n *Network) Delay(_ context.Context, d time.Duration) error {
	const slow = `{"name": "slow", "type": "latency", "stream": "downstream", "attributes": {"latency": %d}}`
	return n.toxic(fmt.Sprintf(slow, d.Milliseconds()))
}

func (n *Network) toxic(spec string) error {
	return n.each(func(p *toxiproxy.Proxy) error {
		_, err := p.Toxics.AddToxicJson(strings.NewReader(spec))
		return err
	})
}

// Heal ends every fault.
func (n *Network) Heal(ctx context.Context) error {
	return n.each(func(p *toxiproxy.Proxy) error {
		p.Toxics.ResetToxics(ctx)
		if p.Enabled {
			return nil
		}
		return p.Start()
	})
}

// Retarget puts other servers behind the addresses, as many as there are, and
// breaks the connections to the old ones. What is cut stays so.
func (n *Network) Retarget(_ context.Context, servers ...string) error {
	if len(servers) != len(n.proxies) {
		return fmt.Errorf("faults: %d servers for %d addresses", len(servers), len(n.proxies))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, p := range n.proxies {
		if err := p.Update(&toxiproxy.Proxy{Listen: p.Listen, Upstream: servers[i], Enabled: p.Enabled}); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) each(f func(*toxiproxy.Proxy) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, p := range n.proxies {
		errs = append(errs, f(p))
	}
	return errors.Join(errs...)
}
