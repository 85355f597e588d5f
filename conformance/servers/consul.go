package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

type consul struct{}

func (consul) portsPerNode() int { return 3 } // HTTP or HTTPS, Raft and RPC, gossip

// fields is a JSON object of Consul's configuration.
type fields map[string]any

func (consul) args(cfg Config, nodes []*Node, self *Node) []string {
	const off = -1
	ports := fields{
		"http": self.ports[0], "https": off,
		"server": self.ports[1], "serf_lan": self.ports[2],
		"serf_wan": off, "dns": off, "grpc": off, "grpc_tls": off,
	}
	if cfg.TLS != nil {
		ports["http"], ports["https"] = off, self.ports[0]
	}
	join := []string{} // not nil: a JSON null is refused
	for _, n := range nodes {
		if n != self {
			join = append(join, loopback(n.ports[2]))
		}
	}
	settings := fields{
		"server":           true,
		"bootstrap_expect": len(nodes),
		"node_name":        self.name,
		"data_dir":         "data",
		"bind_addr":        "127.0.0.1",
		"client_addr":      "127.0.0.1",
		"ports":            ports,
		"retry_join":       join,
		"retry_interval":   "250ms",
		// Elections as fast as Consul allows: its default of 5 is meant for the smallest of machines.
		"performance": fields{"raft_multiplier": 1},
		// Production has 10s here and refuses anything shorter.
		"session_ttl_min": cfg.SessionTTLMin.String(),
		// A node that is paused for long must not come back without a vote: for ten seconds a second pause would stop the cluster.
		"autopilot":               fields{"cleanup_dead_servers": false},
		"leave_on_terminate":      false,
		"skip_leave_on_interrupt": true,
		"connect":                 fields{"enabled": false},
		"ui_config":               fields{"enabled": false},
		"disable_update_check":    true,
		"log_level":               "warn",
	}
	if cfg.crowded {
		settings["limits"] = fields{"http_max_conns_per_client": 5000}
	}
	fragment, err := json.Marshal(settings)
	if err != nil {
		panic(err) // nothing above can fail to encode
	}
	// HCL contains JSON, so the settings need no file.
	return append([]string{"agent", "-hcl", string(fragment)}, cfg.Extra...)
}

// ready is more than having a leader: until the leader has entered the node into the catalog, and the health check of its gossip with
// it, sessions are refused. A node of ours is not asked for its name: that hangs for half a minute while the agent is telling a leader
// that was paused about itself, though the node is ready, or leads.
func (c consul) ready(ctx context.Context, n *Node) (err error) {
	a, name := n.api(), n.name
	if name == "" {
		if name, _, err = c.identify(ctx, a); err != nil {
			return err
		}
	}
	var leader string
	if err := a.call(ctx, "GET", "/v1/status/leader", nil, &leader); err != nil {
		return err
	}
	if leader == "" {
		return errors.New("no leader")
	}
	// A key that is not there is read as well as any other.
	err = a.call(ctx, "GET", "/v1/kv/seckill-test-readiness?consistent", nil, nil)
	if status := (*statusError)(nil); err != nil && !(errors.As(err, &status) && status.code == http.StatusNotFound) {
		return err
	}
	var checks []struct{ CheckID, Status string }
	if err := a.call(ctx, "GET", "/v1/health/node/"+url.PathEscape(name)+"?consistent", nil, &checks); err != nil {
		return err
	}
	for _, check := range checks {
		if check.CheckID == "serfHealth" && check.Status == "passing" {
			return nil
		}
	}
	return fmt.Errorf("%s is not in the catalog as healthy yet", name)
}

func (consul) identify(ctx context.Context, a api) (name, version string, err error) {
	var self struct {
		Config struct{ NodeName, Version string }
	}
	if err := a.call(ctx, "GET", "/v1/agent/self", nil, &self); err != nil {
		return "", "", err
	}
	return self.Config.NodeName, self.Config.Version, nil
}

func (consul) leads(ctx context.Context, n *Node) (bool, error) {
	var leader string
	err := n.api().call(ctx, "GET", "/v1/status/leader", nil, &leader)
	return leader == loopback(n.ports[1]), err
}
