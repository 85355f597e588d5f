package consul

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
)

// A Store is Consul as a [backend.Store]. It is safe for concurrent use.
type Store struct {
	client  *api.Client
	root    string
	timeout time.Duration
	life    *backend.Lifetime
	release func() // what to do with the connections at Close

	transport *transport         // nil: the client's own business
	token     *credential.Source // nil: the client's own business
	toolFlags string             // for what a diagnosis has people type
	followed  chan struct{}      // holds a token for each prefix that is followed
	foreign   foreignKeys

	mu   sync.Mutex
	hubs map[string]*hub // by physical prefix
}

var _ backend.Store = (*Store)(nil)

// Options are what a Store needs beside a client: see the fields of the same
// name in [Config].
type Options struct {
	Root           string
	RequestTimeout time.Duration
}

// Open makes a Store of its own connections. No server needs to be there yet.
// The error says which setting was wrong and what was expected.
func Open(cfg Config) (*Store, error) {
	settings, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	client, transport, err := newClient(settings, cfg.Datacenter)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	s, err := New(client, Options{Root: cfg.Root, RequestTimeout: settings.requestTimeout})
	if err != nil {
		return nil, err
	}
	s.transport = transport
	s.token = settings.token
	s.toolFlags = toolFlags(cfg)
	s.release = transport.base.CloseIdleConnections
	return s, nil
}

// New makes a Store that uses a client. The client stays the caller's: its
// address, token and transport are used as they are, and Close leaves it alone.
func New(client *api.Client, opts Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("consul: client: nil")
	}
	if err := checkRoot(opts.Root); err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	limit, err := timeout("request timeout", opts.RequestTimeout, backend.DefaultTimeout)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	return &Store{
		client:   client,
		root:     opts.Root,
		timeout:  limit,
		life:     backend.NewLifetime(),
		release:  func() {},
		followed: make(chan struct{}, MaxFollowed),
		hubs:     map[string]*hub{},
	}, nil
}

// identified reports whether requests carry a token for certain.
func (s *Store) identified() bool { return s.token != nil && s.token.Get() != "" }

// Close ends all watches with ErrClosed and stops renewing leases, without
// revoking them. It can be repeated, and returns when all is at rest. Calls
// after it are ErrClosed.
func (s *Store) Close() error {
	s.life.Close()
	s.release()
	return nil
}

// ForeignKeys counts the keys, each once per revision, that watches have left
// out because somebody else wrote them against the rules of [backend.CheckKey]
// or [backend.CheckValue].
func (s *Store) ForeignKeys() uint64 { return s.foreign.count.Load() }

// maxForeign bounds the memory of what was counted. Beyond it, keys may be
// counted again.
const maxForeign = 10_000

type foreignKeys struct {
	count atomic.Uint64

	mu   sync.Mutex
	seen map[string]uint64 // revision last counted
}

func (f *foreignKeys) add(key string, revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last, ok := f.seen[key]; ok && last == revision {
		return
	}
	if f.seen == nil || len(f.seen) >= maxForeign {
		f.seen = map[string]uint64{}
	}
	f.seen[key] = revision
	f.count.Add(1)
}

// sleep waits for d. It returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
