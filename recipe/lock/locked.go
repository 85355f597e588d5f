package lock

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// ErrLocked says that somebody else has the lock. errors.As finds the
// [LockedError].
var ErrLocked = errors.New("locked")

// A LockedError tells who has the lock, as far as is known. It matches ErrLocked,
// and how the context ended that bounded the waiting.
type LockedError struct {
	Name   string
	Holder string           // "" if its key does not tell
	Since  time.Time        // when the holder joined the line, by its own clock
	Token  backend.Revision // 0 if not known

	causes []error
}

func (e *LockedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q is locked", e.Name)
	if e.Holder != "" {
		fmt.Fprintf(&b, " by %q", e.Holder)
	}
	if !e.Since.IsZero() {
		fmt.Fprintf(&b, ", in line since %s", e.Since.Format(time.RFC3339))
	}
	for _, err := range e.causes {
		fmt.Fprintf(&b, ": %v", err)
	}
	return b.String()
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Unwrap returns how the waiting ended.
func (e *LockedError) Unwrap() []error { return e.causes }

// locked is the error for those who find somebody else at the head of the line. A
// value that does not tell who that is (anybody can write one) is no matter.
func (l *Lock) locked(head backend.Entry, causes ...error) error {
	e := &LockedError{Name: l.name, Token: head.Revision, causes: causes}
	if t, err := backend.DecodeJSON[ticket](head); err == nil {
		e.Holder, e.Since = t.Holder, t.Since
	}
	return e
}
