package dynconf

import (
	"time"

	"github.com/seed27495941/seckill/backend"
)

// A Source is where the configuration in force comes from.
type Source string

// The sources.
const (
	FromStore    Source = "store"
	FromRollout  Source = "rollout"
	FromDefaults Source = "defaults"
)

// A Status tells what is in force and what was refused.
type Status struct {
	Key string `json:"key"`

	// What is in force, and since when. Defaults have neither revision nor hash;
	// a value on trial has no revision, but a rollout. With bases, the hash is
	// that of the merged value.
	Source   Source           `json:"source"`
	Revision backend.Revision `json:"revision,omitempty"`
	Rollout  string           `json:"rollout,omitempty"` // ID of the rollout that is on trial here
	Hash     string           `json:"hash,omitempty"`    // see the function Hash
	Since    time.Time        `json:"since"`

	// Refusal is about the key's present value, nil if that is good or the key
	// does not exist.
	Refusal *Refusal `json:"refusal,omitempty"`

	// Failure is about the rollout that would be on trial here if it had not
	// failed, nil if there is none.
	Failure *Failure `json:"failure,omitempty"`

	// How many values were put in force, and published ones refused, so far.
	Applied uint64 `json:"applied"`
	Refused uint64 `json:"refused"`

	// Following says that a watch is established; the store's driver may still
	// be out of touch for a while. The error is the last trouble there was with
	// the watch, over or not.
	Following   bool      `json:"following"`
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
}

// A Refusal tells why a value was not put in force.
type Refusal struct {
	Revision backend.Revision `json:"revision"`
	Hash     string           `json:"hash"`
	Error    string           `json:"error"`
	At       time.Time        `json:"at"`
}

// A Report is what a node tells others about a configuration, among what the
// node says about itself: see Node.Configs of package registry. It is what
// package rollout looks at. Two are equal if they say the same.
type Report struct {
	Source   Source           `json:"source"`
	Revision backend.Revision `json:"revision,omitempty"`
	Rollout  string           `json:"rollout,omitempty"`
	Hash     string           `json:"hash,omitempty"`
	Refusal  string           `json:"refusal,omitempty"` // why the published value is not in force
	Failed   string           `json:"failed,omitempty"`  // rollout whose trial failed here
	Failure  string           `json:"failure,omitempty"` // and why; also why there is none to try
}

// report is what is told of a status.
func (s Status) report() Report {
	r := Report{Source: s.Source, Revision: s.Revision, Rollout: s.Rollout, Hash: s.Hash}
	if s.Refusal != nil {
		r.Refusal = short(s.Refusal.Error)
	}
	if s.Failure != nil {
		r.Failed, r.Failure = s.Failure.Rollout, s.Failure.Error
	}
	return r
}

// Status tells how the configuration stands. It does not ask the store.
func (c *Config[T]) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	if s.Refusal != nil {
		refusal := *s.Refusal
		s.Refusal = &refusal
	}
	if s.Failure != nil {
		failure := *s.Failure
		s.Failure = &failure
	}
	s.Following = true
	for _, l := range c.layers {
		s.Following = s.Following && l.following
		if last := l.loop.Last(); last.Err != nil && last.At.After(s.LastErrorAt) {
			s.LastError, s.LastErrorAt = last.Err.Error(), last.At
		}
	}
	return s
}

func (c *Config[T]) setFollowing(l *layer, following bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.following = following
}

// refuse takes note of a published value that can't be used.
func (c *Config[T]) refuse(r Refusal) {
	c.setRefusal(&r)
	c.log.Error("configuration refused, the last good one stays", "revision", uint64(r.Revision), "hash", r.Hash, "error", r.Error)
}

func (c *Config[T]) setRefusal(r *Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Refusal = r
	if r != nil {
		c.status.Refused++
	}
}
