package access

import (
	"fmt"

	"github.com/seed27495941/seckill/backend"
)

// A Role is what somebody may do. Each includes those before it; what is none of
// them may do nothing.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // sees everything but secrets
	Operator Role = "operator" // runs sales, drains and weighs nodes
	Admin    Role = "admin"    // changes configs, of the cluster and of single nodes, users, tokens and keys
)

// Includes reports whether r may do whatever needs the role other.
func (r Role) Includes(other Role) bool { return other.rank() > 0 && r.rank() >= other.rank() }

func (r Role) rank() int {
	switch r {
	case Viewer:
		return 1
	case Operator:
		return 2
	case Admin:
		return 3
	}
	return 0
}

func (r Role) check() error {
	if r.rank() == 0 {
		return fmt.Errorf("%w: role %.40q, expected %s, %s or %s", backend.ErrInvalid, string(r), Viewer, Operator, Admin)
	}
	return nil
}

// lesser is the role that includes no more than either does.
func lesser(a, b Role) Role {
	if a.rank() < b.rank() {
		return a
	}
	return b
}
