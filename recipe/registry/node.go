package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
)

// DefaultDir is where nodes are, as the keys are seen from the namespace.
const DefaultDir = "nodes/"

// A Node is what the key of a node says about it, as JSON. Fields that this
// version does not know are left alone by readers, so that newer nodes can
// tell more.
type Node struct {
	ID string `json:"-"` // the key's last part; see the function ID

	Addr    string `json:"addr"` // where buyers' requests go, host:port
	Proto   string `json:"proto,omitempty"`
	Version string `json:"version,omitempty"`

	// Incarnation is the ULID of the process: of two processes at one address
	// the one with the greater is the later.
	Incarnation string `json:"incarnation,omitempty"`

	RPC    string            `json:"rpc,omitempty"` // node-to-node address
	Ops    string            `json:"ops,omitempty"` // address of metrics and status
	Labels map[string]string `json:"labels,omitempty"`
	Config string            `json:"config,omitempty"` // hash of the cluster config that is applied

	// Weight is the node's part of the requests, as compared with the others';
	// 0: not said. See [Node.EffectiveWeight].
	Weight int `json:"weight,omitempty"`

	Health   Health `json:"health,omitempty"`
	Draining bool   `json:"draining,omitempty"` // its own word: it is about to stop

	// Drain is an operator's word, nil if there is none. It is no part of the
	// node's value and not the node's to say.
	Drain *Drain `json:"-"`

	// Weighed is an operator's word on the weight, nil if there is none: Weight is then
	// what it says. It is no part of the node's value.
	Weighed *Weight `json:"-"`

	// Configs tells how the node stands with each configuration it follows, by
	// key: reports of package dynconf. What one says does not make a node listed
	// or not, so it is not looked into here.
	Configs map[string]json.RawMessage `json:"configs,omitempty"`
}

// clone is a copy that shares no map with n.
func (n Node) clone() Node {
	n.Labels, n.Configs = maps.Clone(n.Labels), maps.Clone(n.Configs)
	return n
}

// Health is how a node says it is, in Consul's words. A node that says nothing
// or something else is taken as passing.
type Health string

// The states of health.
const (
	Passing  Health = "passing"
	Warning  Health = "warning"  // gets requests, people should look
	Critical Health = "critical" // should get none
)

// MaxWeight is the greatest weight that makes a difference.
const MaxWeight = 1_000_000

// EffectiveWeight is Weight from 1 to [MaxWeight]; what is not said or makes no
// sense is 1. A node that should get nothing is drained.
func (n Node) EffectiveWeight() int { return min(max(n.Weight, 1), MaxWeight) }

// Serves reports whether the node should get requests: it is not critical, not
// about to stop, not drained, and not waiting for its address (see Config.ID).
func (n Node) Serves() bool {
	return n.Health != Critical && !n.Draining && n.isEligible()
}

func (n Node) isEligible() bool { return n.Drain == nil && !strings.Contains(n.ID, waiting) }

// Waits reports whether the node is a process that waits for its address, and will get
// requests there (see Config.ID).
func (n Node) Waits() bool {
	return n.Health != Critical && !n.Draining && n.Drain == nil && strings.Contains(n.ID, waiting)
}

// waiting is in the id of a process that waits for its address.
const waiting = "~"

// Place is the id that stands for the node's address: its own, or the one that it waits
// for. What an operator says of a node is said of its place, whichever process has it.
func (n Node) Place() string {
	place, _, _ := strings.Cut(n.ID, waiting)
	return place
}

// Serving selects the nodes that requests may go to: those that serve. If none
// does they are all that an operator has not drained, since requests to nodes
// that call themselves ill or are about to stop have a chance, and are all the
// chance there is: fallback says so. That is what Envoy does below its panic
// threshold, which is zero here, and Kubernetes with endpoints that are all
// terminating (KEP-1669). An operator's drain is an order and never overridden.
func Serving(nodes []Node) (serving []Node, fallback bool) {
	for _, n := range nodes {
		if n.Serves() {
			serving = append(serving, n)
		}
	}
	if len(serving) > 0 {
		return serving, false
	}
	for _, n := range nodes {
		if n.isEligible() {
			serving = append(serving, n)
		}
	}
	return serving, len(serving) > 0
}

// ID is the name of the node at an address: "10.10.11.12:8080" is
// "10-10-11-12-8080", "[::1]:8080" is "--1-8080". An address that others can't
// connect to is ErrInvalid: one without host or port, or with an unspecified
// host as 0.0.0.0, which must never be registered.
func ID(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%w: address %q: expected host:port: %w", backend.ErrInvalid, addr, err)
	}
	if fault := addrFault(host, port); fault != "" {
		return "", fmt.Errorf("%w: address %q: %s", backend.ErrInvalid, addr, fault)
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(host + ":" + port), nil
}

// addrFault says what is wrong with an address, "" if nothing is.
func addrFault(host, port string) string {
	if host == "" {
		return "the host is missing"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "the port is not a number from 1 to 65535"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Unmap().IsUnspecified() {
			return "the host is unspecified, nobody can connect to it: advertise an address that others can reach"
		}
		return ""
	}
	// The rune of waiting is not among them.
	if strings.ContainsFunc(host, func(r rune) bool { return !isHostRune(r) }) {
		return "the host is neither an IP address nor a name"
	}
	return ""
}

func isHostRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r)
}

// decode reads a node leniently: unknown fields are a newer node's. It refuses
// what is no object and what has no address to connect to.
func decode(value []byte) (Node, error) {
	n, err := lenient.Decode[Node](value)
	if err != nil {
		return Node{}, err
	}
	if _, err := ID(n.Addr); err != nil {
		return Node{}, err
	}
	return n, nil
}

// incarnation is that of the process which wrote a node's value; false if no
// node wrote it.
func incarnation(value []byte) (ulid.ULID, bool) {
	n, err := decode(value)
	if err != nil {
		return ulid.ULID{}, false
	}
	id, err := ulid.ParseStrict(n.Incarnation)
	return id, err == nil
}
