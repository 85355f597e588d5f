package outcome_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/internal/outcome"
)

func TestOneWordForEachError(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	failure := func(ctx context.Context, class, cause error) error {
		return backend.Failure(ctx, class, "put", "key", cause)
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, "ok"},
		{fmt.Errorf("get: %w", backend.ErrNotFound), "not_found"},
		{&backend.ConflictError{Key: "key"}, "conflict"},
		{backend.ErrInvalid, "invalid"},
		{backend.ErrTooLarge, "too_large"},
		{backend.ErrDenied, "denied"},
		{backend.ErrFull, "full"},
		{backend.ErrClosed, "closed"},
		{backend.ErrLeaseLost, "lease_lost"},
		{backend.ErrUnknown, "unknown"},
		{backend.ErrUnavailable, "unavailable"},
		{errors.New("wat"), "other"},

		// two classes
		{fmt.Errorf("%w: %w", backend.ErrFull, backend.ErrUnknown), "full"},
		{fmt.Errorf("%w: %w", backend.ErrUnknown, backend.ErrFull), "full"},
		{fmt.Errorf("%w: %w", backend.ErrUnavailable, backend.ErrUnknown), "unknown"},
		{fmt.Errorf("%w: %w", backend.ErrLeaseLost, backend.ErrClosed), "closed"},
		{failure(t.Context(), backend.ErrUnknown, backend.ErrClosed), "closed"},

		// contexts
		{failure(canceled, backend.ErrUnavailable, nil), "canceled"},
		{failure(canceled, backend.ErrUnknown, nil), "canceled"},
		{failure(canceled, backend.ErrDenied, nil), "denied"},
		{failure(expired, backend.ErrUnavailable, nil), "unavailable"},
		{failure(expired, backend.ErrUnknown, nil), "unknown"},
		{context.DeadlineExceeded, "unavailable"},
	} {
		assert.Equal(t, test.want, outcome.Of(test.err).String(), "%v", test.err)
	}
}

// The cause may be of a class, and is still no answer of the store.
func TestAWatchThatEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	assert.Equal(t, outcome.LeaseLost, outcome.OfWatch(ctx, backend.ErrLeaseLost))
	cancel(backend.ErrLeaseLost)
	assert.Equal(t, outcome.Canceled, outcome.OfWatch(ctx, backend.ErrLeaseLost))
	assert.Equal(t, outcome.OK, outcome.OfWatch(ctx, nil))

	expired, stop := context.WithTimeoutCause(t.Context(), 0, backend.ErrDenied)
	defer stop()
	assert.Equal(t, outcome.Unavailable, outcome.OfWatch(expired, backend.ErrDenied))
}

func TestAnswersAreNoFailures(t *testing.T) {
	var answers []string
	for _, o := range outcome.All() {
		if !o.Failed() {
			answers = append(answers, o.String())
		}
	}
	assert.Equal(t, []string{"ok", "not_found", "conflict", "canceled"}, answers)
}
