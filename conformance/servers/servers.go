package servers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Kind is a store's server.
type Kind string

// The kinds there are.
const (
	Etcd   Kind = "etcd"
	Consul Kind = "consul"
)

// A Config says which servers a test needs. Only Kind is required.
type Config struct {
	Kind  Kind
	Nodes int // 0 means 1

	// SessionTTLMin is Consul's session_ttl_min. 0 means 1s, so that tests of leases do not take half a minute: something that
	// production lacks. 10s is what every Consul has that was not told otherwise.
	SessionTTLMin time.Duration

	// Extra goes to the end of the server's command line: flags for etcd, and for Consul usually "-hcl" and a fragment of
	// configuration.
	Extra []string

	// Files are written into the server's directory, to which relative paths in Extra refer.
	Files map[string][]byte

	// TLS makes the nodes listen with TLS, and is how they are asked whether they are ready. The server's side of it is the business
	// of Extra and Files.
	TLS *tls.Config

	// Token is sent to a Consul that wants one, when it is asked whether it is ready.
	Token string

	crowded bool // many tests at once are its clients

	ports func(n int) ([]int, error) // freePorts, but for tests
}

// ErrNotControllable is the answer to faults asked of servers that are not ours to harm: those given by address.
var ErrNotControllable = errors.New("servers: a server given by address can be neither started nor stopped")

const waysEnv = "SECKILL_TEST_SERVERS"

// The ways to come by servers, in order of preference.
const (
	byAddress = "address"
	byDocker  = "docker"
	byProcess = "process"
)

func addressEnv(k Kind) string { return "SECKILL_TEST_" + strings.ToUpper(string(k)) }

// Start starts servers and waits until every node is ready. The caller closes the cluster.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := start(ctx, os.Getenv(waysEnv), cfg)
	if err != nil {
		return nil, fmt.Errorf("servers: start %s: %w", cfg.Kind, err)
	}
	return c, nil
}

func start(ctx context.Context, way string, cfg Config) (*Cluster, error) {
	if cfg.Kind != Etcd && cfg.Kind != Consul {
		return nil, fmt.Errorf("no such kind of server, want %q or %q", Etcd, Consul)
	}
	if cfg.Nodes < 0 {
		return nil, fmt.Errorf("%d nodes", cfg.Nodes)
	}
	cfg.Nodes = max(cfg.Nodes, 1)
	if cfg.SessionTTLMin == 0 {
		cfg.SessionTTLMin = time.Second
	}
	if cfg.ports == nil {
		cfg.ports = freePorts
	}

	switch way {
	case byAddress:
		return useAddress(ctx, cfg)
	case byDocker:
		return startInDocker(ctx, cfg)
	case byProcess:
		return startProcesses(ctx, cfg)
	case "":
		return startAnyhow(ctx, cfg)
	default:
		return nil, fmt.Errorf("%s=%s: want %s, %s, %s or nothing", waysEnv, way, byAddress, byDocker, byProcess)
	}
}

func startAnyhow(ctx context.Context, cfg Config) (*Cluster, error) {
	if os.Getenv(addressEnv(cfg.Kind)) != "" {
		c, err := useAddress(ctx, cfg)
		if !errors.Is(err, errNeedsOwn) {
			return c, err // an address that was given but does not work is the user's to know
		}
		note("%v: trying docker", err)
	}
	c, err := startInDocker(ctx, cfg)
	switch {
	case err == nil || ctx.Err() != nil:
		return c, err
	case errors.Is(err, errExited):
		return nil, err // a server that does not like its settings would not like them elsewhere
	case os.Getenv(imageEnv(cfg.Kind)) != "":
		return nil, err // who names an image wants that version tested and no other
	}
	note("%v; starting child processes", err)
	return startProcesses(ctx, cfg)
}

func startProcesses(ctx context.Context, cfg Config) (*Cluster, error) {
	l, err := newProcesses(ctx, cfg.Kind)
	if err != nil {
		return nil, err
	}
	return launchCluster(ctx, cfg, l)
}

// portAttempts bounds how often new ports are tried. Somebody taking one in the moment between choosing and listening is rare.
const portAttempts = 5

func launchCluster(ctx context.Context, cfg Config, l launcher) (*Cluster, error) {
	var errs []error
	for range portAttempts {
		c, err := tryLaunch(ctx, cfg, l)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

var noted sync.Map

// note tells whoever runs the tests, once per process, why servers come from elsewhere than expected.
func note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if _, again := noted.LoadOrStore(text, true); !again {
		fmt.Fprintln(os.Stderr, "servers:", text)
	}
}

// settings of its own keep a test from using a server that was started by somebody else.
func (cfg Config) needsOwn() bool {
	return cfg.Nodes > 1 || len(cfg.Extra) > 0 || len(cfg.Files) > 0 || cfg.TLS != nil || cfg.Token != "" ||
		!slices.Contains([]time.Duration{0, time.Second}, cfg.SessionTTLMin)
}
