package servers

import (
	"context"
	"fmt"
	"strings"
)

type etcd struct{}

func (etcd) portsPerNode() int { return 2 } // clients, peers

func (etcd) args(cfg Config, nodes []*Node, self *Node) []string {
	var peers []string
	for _, n := range nodes {
		peers = append(peers, n.name+"=http://"+loopback(n.ports[1]))
	}
	// A single node elects itself, so nothing can disturb it; three need room for the hiccups of a busy machine.
	heartbeat, election := 10, 100
	if len(nodes) > 1 {
		heartbeat, election = 100, 1000
	}
	args := []string{
		"--name=" + self.name,
		"--data-dir=data",
		"--listen-client-urls=" + self.URL(),
		"--advertise-client-urls=" + self.URL(),
		"--listen-peer-urls=http://" + loopback(self.ports[1]),
		"--initial-advertise-peer-urls=http://" + loopback(self.ports[1]),
		"--initial-cluster=" + strings.Join(peers, ","),
		"--initial-cluster-token=" + nodes[0].name, // names are unique, so this is
		"--initial-cluster-state=new",
		fmt.Sprint("--heartbeat-interval=", heartbeat),
		fmt.Sprint("--election-timeout=", election),
		"--log-level=warn",
		// The page cache survives the death of a process, which is all that happens to a server here; what fsync would protect
		// from is the death of the machine.
		"--unsafe-no-fsync",
	}
	return append(args, cfg.Extra...)
}

// ready uses /health, which makes a linearizable read inside the server and so needs no user even when authentication is on. A full
// store is not an unready one.
func (etcd) ready(ctx context.Context, n *Node) error {
	return n.api().call(ctx, "GET", "/health?exclude=NOSPACE", nil, nil)
}

func (etcd) identify(ctx context.Context, a api) (name, version string, err error) {
	var v struct {
		Server string `json:"etcdserver"`
	}
	if err := a.call(ctx, "GET", "/version", nil, &v); err != nil {
		return "", "", err
	}
	var list struct {
		Header struct {
			MemberID string `json:"member_id"`
		} `json:"header"`
		Members []struct{ ID, Name string } `json:"members"`
	}
	if err := a.call(ctx, "POST", "/v3/cluster/member/list", struct{}{}, &list); err != nil {
		return "", "", err
	}
	for _, m := range list.Members {
		if m.ID == list.Header.MemberID {
			return m.Name, v.Server, nil
		}
	}
	return "", "", fmt.Errorf("%s is not in its own list of members", a.url)
}

func (etcd) leads(ctx context.Context, n *Node) (bool, error) {
	var status struct {
		Header struct {
			MemberID string `json:"member_id"`
		} `json:"header"`
		Leader string `json:"leader"`
	}
	err := n.api().call(ctx, "POST", "/v3/maintenance/status", struct{}{}, &status)
	return status.Leader == status.Header.MemberID, err
}
