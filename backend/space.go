package backend

import (
	"context"
	"errors"
	"fmt"
)

// Space is how much of its disk a store may use for keys, and uses.
type Space struct {
	// Quota is what the database may grow to, in bytes. Beyond it every write
	// is ErrFull. 0 means that there is no limit.
	Quota int64 `json:"quota"`

	// Used is what counts against it, of which InUse is what holds anything:
	// what lies between is filled first.
	Used  int64 `json:"used"`
	InUse int64 `json:"inUse"`
}

// Left is what can still be written, in bytes. It is 0 for a store that is full
// as well as for one without a quota.
func (s Space) Left() int64 {
	if s.Used >= s.Quota {
		return 0
	}
	return max(s.Quota-s.InUse, 0)
}

// A Spacious is a Store whose driver can tell how much room there is. Wrappers
// pass it on with [SpaceOf].
type Spacious interface {
	// Space asks the servers for the room of the fullest one that answers.
	// Errors: ErrUnsupported of package errors for a store that has no quota to
	// tell of; any other means that it has one, and it is not known.
	Space(ctx context.Context) (Space, error)
}

// SpaceOf asks a store how much room there is. Errors: those of
// [Spacious], whose ErrUnsupported is also the answer of a driver that is none.
func SpaceOf(ctx context.Context, s Store) (Space, error) {
	if told, ok := s.(Spacious); ok {
		return told.Space(ctx)
	}
	return Space{}, fmt.Errorf("the store has no quota: %w", errors.ErrUnsupported)
}
