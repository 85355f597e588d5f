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
	FromDefaults Source = "defaults"
)

// A Status tells what is in force and what was refused.
type Status struct {
	Key string `json:"key"`

	// What is in force, and since when. Defaults have neither revision nor hash.
	Source   Source           `json:"source"`
	Revision backend.Revision `json:"revision,omitempty"`
	Hash     string           `json:"hash,omitempty"` // see the function Hash
	Since    time.Time        `json:"since"`

	// Refusal is about the key's present value, nil if that is in force or the
	// key does not exist.
	Refusal *Refusal `json:"refusal,omitempty"`

	// How many values of the key were put in force, and refused, so far.
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

// Status tells how the configuration stands. It does not ask the store.
func (c *Config[T]) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	if s.Refusal != nil {
		refusal := *s.Refusal
		s.Refusal = &refusal
	}
	if last := c.loop.Last(); last.Err != nil {
		s.LastError, s.LastErrorAt = last.Err.Error(), last.At
	}
	return s
}

func (c *Config[T]) setFollowing(following bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Following = following
}

// isKnown reports whether a value has been applied or refused already.
func (c *Config[T]) isKnown(rev backend.Revision, hash string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if refusal := c.status.Refusal; refusal != nil {
		return refusal.Revision == rev && refusal.Hash == hash
	}
	return c.status.Revision == rev && c.status.Hash == hash
}

// apply puts a value of the key in force and returns the one before.
func (c *Config[T]) apply(value T, rev backend.Revision, hash string) (old T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Source, c.status.Revision, c.status.Hash, c.status.Since = FromStore, rev, hash, time.Now()
	c.status.Refusal = nil
	c.status.Applied++
	c.log.Info("configuration applied", "revision", uint64(rev), "hash", hash)
	return *c.current.Swap(&value)
}

// refuse takes note of a value that is not.
func (c *Config[T]) refuse(rev backend.Revision, hash string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Refusal = &Refusal{Revision: rev, Hash: hash, Error: err.Error(), At: time.Now()}
	c.status.Refused++
	c.log.Error("configuration refused, the last good one stays", "revision", uint64(rev), "hash", hash, "error", err)
}

// revert puts the defaults in force, because the key does not exist; false if
// they are already.
func (c *Config[T]) revert() (old, defaults T, reverted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Refusal = nil
	if c.status.Source == FromDefaults {
		return old, defaults, false
	}
	c.log.Warn("configuration deleted, defaults apply")
	return c.useDefaults(), c.defaults, true
}

// replaceDefaults changes the defaults; false if they are not in force.
func (c *Config[T]) replaceDefaults(defaults T) (old T, inForce bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.defaults = defaults
	if c.status.Source != FromDefaults {
		return old, false
	}
	return c.useDefaults(), true
}

// useDefaults puts the defaults in force and returns the value before. The
// caller holds mu.
func (c *Config[T]) useDefaults() (old T) {
	c.status.Source, c.status.Revision, c.status.Hash, c.status.Since = FromDefaults, 0, "", time.Now()
	defaults := c.defaults
	return *c.current.Swap(&defaults)
}
