package embed

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	etcd "go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Config of a server. The zero value is one on a free port, with its data in a
// temporary directory.
type Config struct {
	// Dir holds the data. Empty: a temporary directory, without the cost of
	// durable writes and removed by Close.
	Dir string

	// ClientAddr is the host:port to listen on. Empty: a free port of the
	// loopback interface.
	ClientAddr string

	// Logger gets the server's warnings and errors. Nil: nobody does.
	Logger *slog.Logger
}

const (
	// One member has nobody to wait for, so elections can be quick.
	heartbeatMillis = 20
	electionMillis  = 100

	quota     = 2 << 30 // bytes; etcd's default, made explicit
	retention = "1h"    // of old revisions; without it the quota is reached some day
)

// A Server is a running etcd server.
type Server struct {
	dir   string
	addr  string
	etcd  *etcd.Etcd
	close func() error
}

// Start runs a server and returns when it answers. The context bounds the
// start only. Data of an earlier server in the same directory are kept,
// whatever address that had. Errors say when the directory is in use by
// another server ([ErrInUse]) or the address is taken (syscall.EADDRINUSE).
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	dir, release, err := claim(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	closing := new(atomic.Bool)
	e, addr, err := listen(cfg, dir, zapLogger(cfg.Logger, closing))
	if err != nil {
		return nil, err
	}
	if err := ready(ctx, e); err != nil {
		closing.Store(true)
		e.Close()
		return nil, err
	}
	return &Server{
		dir:  dir,
		addr: addr,
		etcd: e,
		close: sync.OnceValue(func() error {
			closing.Store(true)
			e.Close()
			return release()
		}),
	}, nil
}

// Endpoint is the address for clients.
func (s *Server) Endpoint() string { return "http://" + s.addr }

// Dir is the directory of the data.
func (s *Server) Dir() string { return s.dir }

// Close stops the server. Clients should be closed first: it waits some
// seconds for their requests, and a watch is one that does not end. It can be
// repeated.
func (s *Server) Close() error { return s.close() }

// listen starts a server on the address asked for, or on a free one. A free
// one may be taken by somebody else before the server has it.
func listen(cfg Config, dir string, log *zap.Logger) (*etcd.Etcd, string, error) {
	for attempts := 5; ; attempts-- {
		addr := cfg.ClientAddr
		if addr == "" {
			var err error
			if addr, err = freeAddr(); err != nil {
				return nil, "", err
			}
		}
		settings, err := settings(cfg, dir, addr)
		if err != nil {
			return nil, "", err
		}
		settings.ZapLoggerBuilder = etcd.NewZapLoggerBuilder(log)
		e, err := etcd.StartEtcd(settings)
		if err == nil {
			return e, addr, nil
		}
		if cfg.ClientAddr == "" && errors.Is(err, syscall.EADDRINUSE) && attempts > 1 {
			continue
		}
		return nil, "", fmt.Errorf("on %s with the data in %s: %w", addr, dir, err)
	}
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func settings(cfg Config, dir, addr string) (*etcd.Config, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return nil, fmt.Errorf("client address %q: expected host:port", addr)
	}
	c := etcd.NewConfig()
	c.Name = "seckill"
	c.Dir = dir
	c.UnsafeNoFsync = cfg.Dir == "" // the data go with the process anyway

	client := url.URL{Scheme: "http", Host: addr}
	c.ListenClientUrls = []url.URL{client}
	c.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)}}

	// No other member will ever ask for the peer address, so any port does. The
	// token makes this cluster another one than that of the next directory.
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.InitialClusterToken = rand.Text()

	c.TickMs, c.ElectionMs = heartbeatMillis, electionMillis
	c.QuotaBackendBytes = quota
	c.AutoCompactionMode, c.AutoCompactionRetention = etcd.CompactorModePeriodic, retention
	c.EnableGRPCGateway = false
	return c, nil
}

// ready waits until the server answers.
func ready(ctx context.Context, e *etcd.Etcd) error {
	select {
	case <-e.Server.ReadyNotify():
		return nil
	case err := <-e.Err():
		return err
	case <-e.Server.StopNotify():
		return errors.New("the server stopped while it was starting")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// removeAll is the release of a temporary directory.
func removeAll(dir string) func() error {
	return func() error { return os.RemoveAll(dir) }
}
