package servers

import "context"

// A flavor is what etcd and Consul do differently.
type flavor interface {
	// portsPerNode is how many ports a node needs; the first is the one clients talk to.
	portsPerNode() int

	// args is the command line of a node. Paths in it are relative to the server's own directory.
	args(cfg Config, nodes []*Node, self *Node) []string

	// ready returns nil if the node knows a leader and takes part in linearizable reads, else what is missing.
	ready(ctx context.Context, n *Node) error

	// identify asks the node who it is.
	identify(ctx context.Context, a api) (name, version string, err error)

	// leads tells whether the node takes itself for the leader.
	leads(ctx context.Context, n *Node) (bool, error)
}

func flavorOf(k Kind) flavor {
	if k == Consul {
		return consul{}
	}
	return etcd{}
}
