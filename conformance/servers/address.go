package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// errNeedsOwn is why a given address is of no use to a test.
var errNeedsOwn = errors.New("the test needs servers of its own: several nodes or special settings")

// useAddress makes a cluster of the servers named in the environment.
func useAddress(ctx context.Context, cfg Config) (*Cluster, error) {
	env := addressEnv(cfg.Kind)
	value := os.Getenv(env)
	if value == "" {
		return nil, fmt.Errorf("%s=%s, but %s is not set", waysEnv, byAddress, env)
	}
	if cfg.needsOwn() {
		return nil, fmt.Errorf("%s=%s cannot be used: %w", env, value, errNeedsOwn)
	}
	c := newCluster(cfg, byAddress)
	for _, address := range strings.Split(value, ",") {
		endpoint := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(address), "http://"), "/")
		if _, port, err := net.SplitHostPort(endpoint); err != nil || port == "" || strings.Contains(endpoint, "/") {
			return nil, fmt.Errorf("%s=%s: %q is not host:port, with http:// before it or without", env, value, address)
		}
		c.nodes = append(c.nodes, &Node{cluster: c, endpoint: endpoint})
	}
	if err := c.WaitReady(ctx); err != nil {
		return nil, fmt.Errorf("%s=%s: %w", env, value, err)
	}
	var err error
	_, c.version, err = c.flavor.identify(ctx, c.nodes[0].api())
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", env, value, err)
	}
	return c, nil
}
