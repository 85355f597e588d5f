package etcd

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
)

// How often a connection is tested, and how long the answer may take. Servers
// refuse clients that test more often than every 5s.
const (
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 5 * time.Second
)

// reconnectMost is the longest pause between two attempts to connect. gRPC's
// own limit of two minutes is how long a store would look dead after its
// server is back.
const reconnectMost = 2 * time.Second

// A server that has nothing to tell a watch is asked for its progress this
// often, and given up after this much silence: well within the contract's 30s.
const (
	watchPulse   = 8 * time.Second
	watchSilence = 20 * time.Second
)

// A Store is a backend.Store on an etcd cluster. It is safe for concurrent
// use.
//
// A write that fails with backend.ErrFull matches backend.ErrUnknown too: while
// a store fills up, etcd answers some writes so that it has applied.
type Store struct {
	client *clientv3.Client // for what is asked of one endpoint
	kv     pb.KVClient
	leases pb.LeaseClient
	events pb.WatchClient
	login  *login // nil: no user of our own
	hub    *hub

	root    string         // physical prefix of all keys
	files   credential.TLS // of the connection, for what a diagnosis has people type
	timeout time.Duration  // of calls without a deadline
	life    *backend.Lifetime
	secured bool        // the cluster may refuse this client's reads
	tracked atomic.Bool // the connection has a send tracker
	foreign atomic.Uint64
	pulse   time.Duration // watchPulse, but for tests
	silence time.Duration // watchSilence, but for tests

	close func() error
}

var _ backend.Store = (*Store)(nil)

// Open makes a store. No server needs to be up: connections are made when they
// are needed, and again when they break. Files that cfg names are read here,
// so that a wrong name is noticed. Errors: backend.ErrInvalid for settings
// that can't be right, those of reading the files.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("%w: etcd: %w", backend.ErrInvalid, err)
	}
	password, err := credential.NewSource("etcd: password", cfg.Password, cfg.PasswordFile)
	if err != nil {
		return nil, err
	}
	client, err := dial(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	s := newStore(client, cfg)
	s.tracked.Store(true)
	s.secured = cfg.User != "" || cfg.TLS.CertFile != ""
	s.close = sync.OnceValue(client.Close)
	if cfg.User != "" {
		s.login = newLogin(cfg.User, password, cfg.PasswordFile != "", connection(client))
	}
	return s, nil
}

// New makes a store on a client that the caller keeps owning: Close leaves it
// open. Of cfg only Root and RequestTimeout may be set, the rest is the
// client's business. The store uses the client's connection and not its
// interfaces, so a client whose KV was wrapped (clientv3/namespace) needs Root
// instead. See [TrackSends] for what such a client should be dialed with.
//
// A client that logs in by itself, with a Username, makes clientv3 repeat calls
// without telling: a write whose answer a proxy dropped by canceling it may then
// be applied twice, or fail on its own condition. Let [Open] have the user
// instead. Errors: backend.ErrInvalid.
func New(client *clientv3.Client, cfg Config) (*Store, error) {
	if client == nil || client.ActiveConnection() == nil {
		return nil, fmt.Errorf("%w: etcd: expected a client with a connection", backend.ErrInvalid)
	}
	if len(cfg.Endpoints) > 0 || cfg.User != "" || cfg.Password != "" || cfg.PasswordFile != "" || cfg.TLS.Enabled() || cfg.DialTimeout != 0 {
		return nil, fmt.Errorf("%w: etcd: with a client only Root and RequestTimeout can be set, not %v", backend.ErrInvalid, cfg)
	}
	cfg = cfg.withDefaults()
	if err := cfg.checkCalls(); err != nil {
		return nil, fmt.Errorf("%w: etcd: %w", backend.ErrInvalid, err)
	}
	s := newStore(client, cfg)
	s.secured = true // for all we know
	s.close = func() error { return nil }
	return s, nil
}

func newStore(client *clientv3.Client, cfg Config) *Store {
	conn := connection(client)
	s := &Store{
		client:  client,
		kv:      pb.NewKVClient(conn),
		leases:  pb.NewLeaseClient(conn),
		events:  pb.NewWatchClient(conn),
		root:    "/" + cfg.Root,
		files:   cfg.TLS,
		timeout: cfg.RequestTimeout,
		life:    backend.NewLifetime(),
		pulse:   watchPulse,
		silence: watchSilence,
	}
	s.hub = newHub(s)
	return s
}

func dial(cfg Config) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints:            cfg.Endpoints,
		DialTimeout:          cfg.DialTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		Logger:               zap.NewNop(), // what goes wrong is in the errors
		DialOptions: []grpc.DialOption{
			TrackSends(),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: grpcbackoff.Config{
					BaseDelay:  backoffFirst,
					Multiplier: 1.6,
					Jitter:     0.2,
					MaxDelay:   reconnectMost,
				},
				MinConnectTimeout: cfg.DialTimeout,
			}),
		},
	}
	if cfg.TLS.Enabled() {
		var err error
		if c.TLS, err = cfg.TLS.Config(); err != nil {
			return nil, err
		}
	}
	if name := cfg.TLS.ServerName; name != "" {
		// The client gives every address the name of its host, and that is
		// what gRPC checks instead of the name in the TLS settings.
		c.DialOptions = append(c.DialOptions, grpc.WithAuthority(name))
	}
	return clientv3.New(c)
}

// Close ends all watches and the renewal of all leases, without revoking them,
// and fails every other call with backend.ErrClosed. It can be repeated.
func (s *Store) Close() error {
	s.life.Close()
	return s.close()
}

// ForeignKeys counts what watches met under their prefix and left out because
// it breaks the contract's rules for keys and values: each time it was met.
func (s *Store) ForeignKeys() uint64 { return s.foreign.Load() }

// physical is the key that etcd knows.
func (s *Store) physical(key string) []byte { return []byte(s.root + key) }

// logical is the caller's name of a physical key, "" if it is none that the
// contract allows.
func (s *Store) logical(physical []byte) string {
	key, ok := strings.CutPrefix(string(physical), s.root)
	if !ok || backend.CheckKey(key) != nil {
		return ""
	}
	return key
}
