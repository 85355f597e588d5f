// Package faults stands between a store and its server and is unkind: the network part of a
// harness for package conformance. It drives toxiproxy inside the process.
package faults

import (
	"context"
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

// A Proxy forwards TCP connections to a server. It has the methods of
// conformance.NetworkFaulter, so that a harness can embed it. It is safe for concurrent use.
type Proxy struct {
	mu    sync.Mutex
	proxy *toxiproxy.Proxy
}

// Ports are taken from below the range that the kernel gives to outgoing connections, so that
// nobody gets the port by chance while the proxy is cut.
const (
	firstPort = 20000
	lastPort  = 32000
	attempts  = 100
)

// NewProxy starts a proxy in front of target, host:port, that ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	var err error
	for range attempts {
		listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		p := &Proxy{proxy: toxiproxy.NewProxy(server, "server", listen, target)}
		if err = p.proxy.Start(); err == nil {
			t.Cleanup(p.proxy.Stop)
			return p
		}
	}
	t.Fatalf("faults: no free port between %d and %d: %v", firstPort, lastPort, err)
	return nil
}

// Addr is where the proxy listens, host:port. It stays the same.
func (p *Proxy) Addr() string { return p.proxy.Listen }

// Cut breaks all connections and refuses new ones.
func (p *Proxy) Cut(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Stop()
	return nil
}

// DropReplies lets requests through and throws away what comes back. Connections stand.
func (p *Proxy) DropReplies(context.Context) error {
	return p.toxic(`{"name": "mute", "type": "timeout", "stream": "downstream", "attributes": {"timeout": 0}}`)
}

// Delay adds d to every answer.
func (p *Proxy) Delay(_ context.Context, d time.Duration) error {
	const slow = `{"name": "slow", "type": "latency", "stream": "downstream", "attributes": {"latency": %d}}`
	return p.toxic(fmt.Sprintf(slow, d.Milliseconds()))
}

func (p *Proxy) toxic(spec string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(spec))
	return err
}

// Heal ends every fault. Connections whose replies were dropped are broken.
func (p *Proxy) Heal(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Toxics.ResetToxics(ctx)
	if p.proxy.Enabled {
		return nil
	}
	return p.proxy.Start()
}

// Retarget puts another server behind the address and breaks the connections to the old one.
func (p *Proxy) Retarget(_ context.Context, target string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proxy.Update(&toxiproxy.Proxy{Listen: p.proxy.Listen, Upstream: target, Enabled: true})
}
