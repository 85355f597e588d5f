package backend_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

func TestCheckKeySaysWhatIsWrong(t *testing.T) {
	for key, want := range map[string]string{
		"":                         "the key is empty",
		"/a":                       `key "/a" starts with a slash`,
		"a//b":                     `key "a//b" has an empty segment`,
		"a/../b":                   `key "a/../b" has the segment ".."`,
		".":                        `has the segment "."`,
		"a\nb":                     `key "a\nb" has the character U+000A, which is not printable`,
		"a\u200bb":                 "U+200B",
		"a\xff":                    "is not valid UTF-8",
		strings.Repeat("k", 513):   `…" has 513 bytes, at most 512 are allowed`,
		strings.Repeat("é", 257):   "has 514 bytes",
		strings.Repeat("\xff", 99): "is not valid UTF-8",
	} {
		err := backend.CheckKey(key)
		require.ErrorIs(t, err, backend.ErrInvalid, "%q", key)
		assert.ErrorContains(t, err, want)
	}
	for _, key := range []string{"a", "a/", "a b", "%2F", "...", "日本語", strings.Repeat("k", 512)} {
		assert.NoError(t, backend.CheckKey(key))
	}
	require.NoError(t, backend.CheckPrefix(""))
	require.ErrorIs(t, backend.CheckPrefix("/"), backend.ErrInvalid)
}

func TestResolvePut(t *testing.T) {
	s := memory.New()
	defer func() { require.NoError(t, s.Close()) }()
	l, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)

	o, err := backend.ResolvePut("k", nil, backend.If("a", 1), backend.WithLease(l), backend.If("b", 0))
	require.NoError(t, err)
	assert.Equal(t, l, o.Lease)
	assert.Equal(t, []backend.Condition{{Key: "a", Revision: 1}, {Key: "b"}}, o.Conditions)

	many := make([]backend.PutOption, backend.MaxConditions+1)
	for i := range many {
		many[i] = backend.If("k", 0)
	}
	for name, tc := range map[string]struct {
		key   string
		value []byte
		opts  []backend.PutOption
		want  error
		text  string
	}{
		"key":          {"", nil, nil, backend.ErrInvalid, "empty"},
		"value":        {"k", make([]byte, backend.MaxValue+1), nil, backend.ErrTooLarge, `the value of "k" has 262145 bytes, at most 262144`},
		"nil option":   {"k", nil, []backend.PutOption{nil}, backend.ErrInvalid, "nil option"},
		"nil lease":    {"k", nil, []backend.PutOption{backend.WithLease(nil)}, backend.ErrInvalid, "WithLease(nil)"},
		"no condition": {"k", nil, []backend.PutOption{(*backend.Condition)(nil)}, backend.ErrInvalid, "nil option"},
		"no lease":     {"k", nil, []backend.PutOption{backend.WithLease((*backend.HeldLease)(nil))}, backend.ErrInvalid, "WithLease(nil)"},
		"two leases":   {"k", nil, []backend.PutOption{backend.WithLease(l), backend.WithLease(l)}, backend.ErrInvalid, "given twice"},
		"condition":    {"k", nil, []backend.PutOption{backend.If("a//b", 0)}, backend.ErrInvalid, `condition: invalid: key "a//b"`},
		"conditions":   {"k", nil, many, backend.ErrTooLarge, "65 conditions, at most 64"},
	} {
		_, err := backend.ResolvePut(tc.key, tc.value, tc.opts...)
		require.ErrorIs(t, err, tc.want, name)
		require.ErrorContains(t, err, tc.text, name)
	}
	require.ErrorIs(t, backend.CheckDelete("/", nil), backend.ErrInvalid)
}

func TestConflictErrorSaysWhatWasFound(t *testing.T) {
	for want, err := range map[string]*backend.ConflictError{
		`conflict: "k" exists`:                  {Key: "k", Have: 7},
		`conflict: "k" is not at revision 3`:    {Key: "k", Want: 3},
		`conflict: "k" is at revision 7, not 3`: {Key: "k", Want: 3, Have: 7},
	} {
		assert.EqualError(t, err, want)
		assert.ErrorIs(t, fmt.Errorf("wrapped: %w", err), backend.ErrConflict)
		assert.NotErrorIs(t, err, backend.ErrNotFound)
	}
}

// A context may end because a lease was lost. A write that was cut short by
// that is open, not refused.
func TestFailureTakesNoClassFromTheContext(t *testing.T) {
	lost := fmt.Errorf("term: %w", backend.ErrLeaseLost)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(lost)
	for _, cause := range []error{nil, lost, fmt.Errorf("PUT: %w", lost), errors.New("reset")} {
		err := backend.Failure(ctx, backend.ErrUnknown, "put", "k", cause)
		require.ErrorIs(t, err, backend.ErrUnknown)
		require.ErrorIs(t, err, lost)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, backend.ErrLeaseLost)
	}
	closed, end := context.WithCancelCause(t.Context())
	end(fmt.Errorf("store %w", backend.ErrClosed))
	require.ErrorIs(t, backend.Failure(closed, backend.ErrUnknown, "put", "k", nil), backend.ErrClosed)
}

// A server that was told the deadline, or a client library that looks at the
// clock, may give up before the context's timer has run.
func TestFailureKnowsADeadlineThatHasPassed(t *testing.T) {
	err := backend.Failure(lateTimer{t.Context()}, backend.ErrUnknown, "put", "k", errors.New("request timed out"))
	require.ErrorIs(t, err, backend.ErrUnknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	future, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	require.NotErrorIs(t, backend.Failure(future, backend.ErrUnknown, "put", "k", nil), context.DeadlineExceeded)
}

// lateTimer is a context whose deadline has passed without its notice.
type lateTimer struct{ context.Context }

func (lateTimer) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestFailureMatchesItsClassItsCauseAndTheContext(t *testing.T) {
	reason, cause := errors.New("the reason"), errors.New("connection reset")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := backend.Failure(ctx, backend.ErrUnknown, "put", "k", cause)
	require.EqualError(t, err, `put "k": outcome unknown: connection reset`)
	require.NotErrorIs(t, err, context.Canceled)

	cancel(reason)
	err = backend.Failure(ctx, backend.ErrUnknown, "put", "k", cause)
	for _, want := range []error{backend.ErrUnknown, cause, context.Canceled, reason} {
		require.ErrorIs(t, err, want)
	}
	require.NotErrorIs(t, err, backend.ErrUnavailable)
	require.EqualError(t, backend.Failure(ctx, backend.ErrUnavailable, "get", "", nil), "get: unavailable: context canceled: the reason")
}
