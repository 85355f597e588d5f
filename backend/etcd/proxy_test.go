package etcd_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A proxy stands between a store and a server and can be unkind.
type proxy struct {
	listener net.Listener
	accepted atomic.Int64
	muted    atomic.Bool // replies are thrown away
	stalls   atomic.Bool // the next large reply stops in the middle, and its connection with it
	wg       sync.WaitGroup

	mu     sync.Mutex
	target string
	frozen bool // nothing gets through
	thaw   chan struct{}
	conns  map[net.Conn]struct{}
}

func newProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, thaw: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.retarget(endpoint)
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.freeze(false)
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.wg.Go(func() { p.carry(conn) })
	}
}

func (p *proxy) carry(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.conns[client] = struct{}{}
	p.mu.Unlock()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[server] = struct{}{}
	p.mu.Unlock()
	p.wg.Go(func() { p.pipe(client, server, false) })
	p.pipe(server, client, true)
}

func (p *proxy) pipe(from, to net.Conn, replies bool) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		frozen, thaw := p.frozen, p.thaw
		p.mu.Unlock()
		if frozen {
			<-thaw
		}
		if replies && p.muted.Load() {
			continue
		}
		if replies && n > 10_000 && p.stalls.CompareAndSwap(true, false) {
			_, _ = to.Write(buf[:n/2])
			_, _ = io.Copy(io.Discard, from) // until the client has gone
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// freeze stops all traffic, as a paused server or a black hole does.
func (p *proxy) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen && !on {
		close(p.thaw)
		p.thaw = make(chan struct{})
	}
	p.frozen = on
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
	clear(p.conns)
}

// retarget puts another server behind the address and breaks the connections
// to the old one.
func (p *proxy) retarget(endpoint string) {
	p.mu.Lock()
	p.target = strings.TrimPrefix(endpoint, "http://")
	p.mu.Unlock()
	p.cut()
}
