package backend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The classes of errors: see the package documentation.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict")
	ErrLeaseLost   = errors.New("lease lost")
	ErrInvalid     = errors.New("invalid")
	ErrTooLarge    = errors.New("too large")
	ErrDenied      = errors.New("denied")
	ErrFull        = errors.New("store full")
	ErrUnavailable = errors.New("unavailable")
	ErrUnknown     = errors.New("outcome unknown")
	ErrClosed      = errors.New("closed")
)

// A ConflictError tells which condition of a write failed; when several did,
// one of them. errors.Is(err, ErrConflict) matches it.
type ConflictError struct {
	Key  string
	Want Revision
	Have Revision // what the store had; 0 if the key is absent or the store did not tell
}

func (e *ConflictError) Error() string {
	switch {
	case e.Want == 0:
		return fmt.Sprintf("conflict: %q exists", e.Key)
	case e.Have == 0:
		return fmt.Sprintf("conflict: %q is not at revision %d", e.Key, e.Want)
	default:
		return fmt.Sprintf("conflict: %q is at revision %d, not %d", e.Key, e.Have, e.Want)
	}
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Failure builds the error of a call that failed with cause, for drivers. op
// and key say what was tried; the class is one of the package's errors; cause
// may be nil. If the call's context has ended, the error matches its Err and its
// Cause too, whatever the client library made of it. But the context's cause
// never adds a class, except ErrClosed: a call that was cut short because some
// lease was lost must not look like one that the store refused for that reason.
func Failure(ctx context.Context, class error, op, key string, cause error) error {
	f := &failure{class: class, op: op, key: key}
	reason := context.Cause(ctx)
	if reason != nil && errors.Is(cause, reason) {
		cause = classless{cause} // client libraries return the context's cause
	}
	for _, err := range []error{cause, ended(ctx)} {
		if err != nil && !f.covers(err) {
			f.causes = append(f.causes, err)
		}
	}
	if reason != nil && !f.covers(reason) {
		f.causes = append(f.causes, classless{reason})
	}
	return f
}

// ended is how a context has ended, nil if it has not. It goes by the clock too,
// as servers and client libraries do: a context learns of its deadline from a
// timer, which is late when the machine is busy.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// classless is an error that belongs to no class but ErrClosed.
type classless struct{ error }

func (c classless) Is(target error) bool {
	switch target {
	case ErrNotFound, ErrConflict, ErrLeaseLost, ErrInvalid, ErrTooLarge, ErrDenied, ErrFull, ErrUnavailable, ErrUnknown:
		return false
	}
	return errors.Is(c.error, target)
}

type failure struct {
	class   error
	op, key string
	causes  []error
}

// covers reports whether err says nothing that the failure does not say yet.
func (f *failure) covers(err error) bool {
	for _, have := range append([]error{f.class}, f.causes...) {
		if errors.Is(have, err) {
			return true
		}
	}
	return false
}

func (f *failure) Error() string {
	s := f.op
	if f.key != "" {
		s += fmt.Sprintf(" %q", f.key)
	}
	s += ": " + f.class.Error()
	for _, err := range f.causes {
		s += ": " + err.Error()
	}
	return s
}

func (f *failure) Unwrap() []error { return append([]error{f.class}, f.causes...) }
