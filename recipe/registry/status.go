package registry

import (
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
)

// A Status tells how a registration stands.
type Status struct {
	Key  string `json:"key"`
	Node Node   `json:"node"` // as it should be registered

	Registered bool             `json:"registered"`
	Since      time.Time        `json:"since,omitzero"` // without interruption
	Revision   backend.Revision `json:"revision,omitempty"`
	Lease      string           `json:"lease,omitempty"`
	TTL        time.Duration    `json:"ttl,omitempty"` // as granted

	// Replaced says that a later process registered under the same key: this
	// one is out for good. ReplacedBy is its incarnation.
	Replaced   bool   `json:"replaced,omitempty"`
	ReplacedBy string `json:"replacedBy,omitempty"`

	// Drain is an operator's, nil if there is none.
	Drain *Drain `json:"drain,omitempty"`

	// The last trouble there was, over or not.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
}

// Status tells how the registration stands. It does not ask the store.
func (r *Registration) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{
		Key:        r.key,
		Node:       r.node,
		Registered: r.registered(),
		Replaced:   r.replaced != "",
		ReplacedBy: r.replaced,
	}
	if r.drain != nil {
		drain := *r.drain
		s.Drain = &drain
	}
	if s.Registered {
		s.Since, s.Revision = r.since, r.revision
	}
	if r.lease != nil {
		s.Lease, s.TTL = r.lease.ID(), r.lease.TTL()
	}
	for _, loop := range []*retry.Loop{r.writing, r.watching} {
		if last := loop.Last(); last.Err != nil && last.At.After(s.LastErrorAt) {
			s.LastError, s.LastErrorAt = last.Err.Error(), last.At
		}
	}
	return s
}
