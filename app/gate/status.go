package gate

import (
	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/gate/breaker"
	"github.com/seed27495941/seckill/app/settings"
)

// A Status tells what a gate goes by, and what it has decided so far.
type Status struct {
	Checks      []Decisions       `json:"checks"` // in their order
	Breaker     breaker.Status    `json:"breaker"`
	Limits      Limits            `json:"limits"`
	Blacklist   *blacklist.Status `json:"blacklist,omitempty"` // none without a file
	Degrade     settings.Degrade  `json:"degrade"`
	CachedPages uint64            `json:"cachedPages"` // answers that were made some seconds before
}

// Decisions are those of one check.
type Decisions struct {
	Check   string `json:"check"`
	Passed  uint64 `json:"passed"`
	Refused uint64 `json:"refused"`
}

// Limits are those in force at this node.
type Limits struct {
	Share float64 `json:"share"` // of the cluster's rates
	Node  Rate    `json:"node"`
	Store Rate    `json:"store"`
	User  Rate    `json:"user"`
	Users int     `json:"users"` // that have a bucket
}

// A Rate bounds requests.
type Rate struct {
	PerSecond float64 `json:"perSecond"`
	Burst     int64   `json:"burst"`
}

// Status tells how the gate stands.
func (g *Gate) Status() Status {
	s := Status{
		Breaker:     g.breaker.Status(),
		Degrade:     g.switches.board.Load().Degrade,
		CachedPages: g.pages.answered.Load(),
		Limits:      Limits{Node: g.node.inForce(), Store: g.store.inForce(), User: g.users.inForce(), Users: g.users.users.Len()},
	}
	s.Limits.Share = g.node.part()
	for _, c := range g.chain {
		s.Checks = append(s.Checks, Decisions{Check: c.name, Passed: c.passed.Load(), Refused: c.refused.Load()})
	}
	if g.blacklist != nil {
		list := g.blacklist.Status()
		s.Blacklist = &list
	}
	return s
}
