package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
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

	RPC    string            `json:"rpc,omitempty"`    // node-to-node address
	Ops    string            `json:"ops,omitempty"`    // address of metrics and status
	Weight int               `json:"weight,omitempty"` // 0: not said
	Labels map[string]string `json:"labels,omitempty"`
	Config string            `json:"config,omitempty"` // hash of the cluster config that is applied
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
	// "~" is for the names of processes that wait for an address: see Config.ID.
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
	var n Node
	text := bytes.TrimSpace(value)
	if len(text) == 0 {
		return Node{}, errors.New("no text, expected a JSON object")
	}
	// json.Unmarshal takes null for anything.
	if bytes.Equal(text, []byte("null")) {
		return Node{}, errors.New("null, expected a JSON object")
	}
	if err := json.Unmarshal(text, &n); err != nil {
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
