package consul_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A proxy stands between a client and a server, and can be told to misbehave.
type proxy struct {
	listener net.Listener
	stalled  chan struct{} // gets a token when an answer was stopped, if there is none

	mu          sync.Mutex
	target      string
	dropReplies bool
	stallBodies bool
	conns       map[net.Conn]struct{}
	accepted    int
	hungUp      int // connections that the server ended
	done        sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}, stalled: make(chan struct{}, 1)}
	p.done.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.done.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// to changes where connections lead, the present ones are cut.
func (p *proxy) to(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.cut()
}

// drop says whether connections end when the server answers. The present ones are cut.
func (p *proxy) drop(replies bool) {
	p.mu.Lock()
	p.dropReplies = replies
	p.mu.Unlock()
	p.cut()
}

// stall says whether answers stop in the middle of their bodies, without an end. It holds for the present connections too.
func (p *proxy) stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stallBodies = on
}

// idle counts the connections that are there, and those that the server has ended.
func (p *proxy) idle() (present, hungUp int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns), p.hungUp
}

// connections counts those that clients have made.
func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.forward(client) })
	}
}

func (p *proxy) forward(client net.Conn) {
	p.mu.Lock()
	p.accepted++
	target, drop := p.target, p.dropReplies
	p.mu.Unlock()
	server, err := net.Dial("tcp", target) //nolint:noctx // ends with the test
	if err != nil {
		_ = client.Close()
		return
	}
	defer p.track(client, server)()
	var left atomic.Bool
	p.done.Go(func() {
		_, _ = io.Copy(server, client)
		left.Store(true)
		_ = server.Close()
	})
	if drop {
		_, _ = server.Read(make([]byte, 1))
	} else {
		p.answer(client, server)
	}
	if !left.Load() {
		p.mu.Lock()
		p.hungUp++
		p.mu.Unlock()
	}
	_ = client.Close()
}

func (p *proxy) answer(client, server net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		stall := p.stallBodies
		p.mu.Unlock()
		if body := bytes.Index(buf[:n], []byte("\r\n\r\n")) + 4; stall && body >= 4 {
			_, _ = client.Write(buf[:(body+n)/2])
			select {
			case p.stalled <- struct{}{}:
			default:
			}
			_, _ = io.Copy(io.Discard, server) // until the client has gone
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) track(conns ...net.Conn) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
			delete(p.conns, c)
		}
	}
}
