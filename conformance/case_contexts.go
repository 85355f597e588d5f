package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// contexts: guarantee 8.
func contexts() []Case {
	return []Case{{
		Name: "context/ended-before", Guarantee: 8,
		Proves: "A call whose context has ended says so, and that nothing was written.",
		run:    endedBefore,
	}, {
		Name: "context/deadline-before-sending", Guarantee: 8, Needs: []Power{Network},
		Proves: "A call that could not be sent until its deadline is unavailable, a write as well as a read.",
		run: func(t *proof) {
			require.NoError(t, power[NetworkFaulter](t).Cut(t.ctx))
			s := t.open()
			t.unavailable(s)
			for i := range 300 { // wherever it falls
				ctx, cancel := context.WithTimeout(t.ctx, time.Duration(i)*3*time.Microsecond)
				t.fails("put", t.writes(s, "k")["put"](ctx), is(backend.ErrUnavailable))
				t.fails("lease", t.grant(s)(ctx), is(backend.ErrUnavailable))
				cancel()
			}
		},
	}, {
		Name: "context/deadline-on-the-wire", Guarantee: 8, Needs: []Power{Pause},
		Proves: "A call to a server that does not answer ends with its deadline: a write's outcome is unknown, a read is unavailable.",
		run: func(t *proof) {
			t.whilePaused(func(s Store) {
				for name, err := range t.within(time.Second, t.everything(s, "k")) {
					t.fails(name, err, is(unanswered(name), context.DeadlineExceeded))
				}
			})
		},
	}, {
		Name: "context/without-a-deadline", Guarantee: 8, Needs: []Power{Pause},
		Proves: "A call without a deadline, to a server that does not answer, ends all the same, with the driver's request timeout.",
		run: func(t *proof) {
			t.whilePaused(func(s Store) {
				for name, err := range t.begin(context.WithoutCancel(t.ctx), t.everything(s, "k")).end() {
					t.fails(name, err, is(unanswered(name)))
				}
			})
		},
	}, {
		Name: "context/cancelled-on-the-wire", Guarantee: 8, Needs: []Power{Network, Raw},
		Proves: "A write that is cancelled after it was sent ends at once, with an unknown outcome and the cause.",
		run:    cancelledOnTheWire,
	}, {
		Name: "context/cancelled-while-the-server-is-paused", Guarantee: 8, Needs: []Power{Pause},
		Proves: "Every call to a server that does not answer ends at once when it is cancelled, with its class and the cause.",
		run: func(t *proof) {
			t.whilePaused(func(s Store) { t.cancelAll(s, errors.New("the caller has lost interest")) })
		},
	}, {
		Name: "context/cause-adds-no-class", Guarantee: 8, Needs: []Power{Network},
		Proves: "A call that was cancelled because of another failure, as of a lease, tells that cause and does not take on its class.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "other", nil)
			require.NoError(t, power[NetworkFaulter](t).DropReplies(t.ctx))
			for _, class := range allClasses {
				if !errors.Is(class, backend.ErrClosed) { // whoever closed what, the call is over for that reason
					t.cancelAll(s, fmt.Errorf("what the call was made for has failed: %w", class))
				}
			}
		},
	}}
}

// unanswered is the class of a call that was sent and got no answer.
func unanswered(name string) error {
	if name == "get" || name == "list" {
		return backend.ErrUnavailable
	}
	return backend.ErrUnknown
}

// whilePaused runs f with a store that has a connection to a server that stands
// still.
func (t *proof) whilePaused(f func(s Store)) {
	t.Helper()
	p := power[Pauser](t)
	s := t.open()
	t.put(s, "other", nil)
	require.NoError(t, p.Pause(t.ctx))
	defer func() { require.NoError(t, p.Resume(t.ctx)) }()
	f(s)
}

func endedBefore(t *proof) {
	s := t.open()
	cause := errors.New("the reason")
	cancelled, cancel := context.WithCancelCause(t.ctx)
	cancel(cause)
	expired, stop := context.WithDeadline(t.ctx, time.Unix(0, 0))
	defer stop()
	calls := t.everything(s, "k")
	calls["watch"] = t.watch(s, "k")
	calls["modify"] = func(ctx context.Context) error {
		_, err := backend.Modify(ctx, s, "k", func(backend.Entry) ([]byte, error) { return nil, nil })
		return err
	}
	for ctx, want := range map[context.Context]error{cancelled: context.Canceled, expired: context.DeadlineExceeded} {
		for name, err := range t.begin(ctx, calls).end() {
			alternatives := []classes{is(backend.ErrUnavailable, want)}
			if name == "watch" {
				alternatives = append(alternatives, is(want), is()) // the cause alone will do
			}
			t.fails(name, err, alternatives...)
			require.ErrorIs(t, err, context.Cause(ctx), name)
		}
	}
	t.absent(s, "k")
}

func cancelledOnTheWire(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	for _, k := range []string{"k", "conditioned", "deleted"} {
		t.put(s, k, value("old"))
	}
	require.NoError(t, n.DropReplies(t.ctx))
	cause := fmt.Errorf("the caller's own: %w", backend.ErrLeaseLost)
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	calls := t.begin(ctx, map[string]call{
		"put":                t.writes(s, "k")["put"],
		"put on a condition": t.writes(s, "conditioned")["put on a condition"],
		"create":             t.writes(s, "created")["create"],
		"delete":             t.writes(s, "deleted")["delete"],
	})
	t.rawSees(map[string]string{"k": "written", "conditioned": "written", "created": "written", "deleted": ""})
	cancel(cause)
	cancelled := startStopwatch()
	errs := calls.end()
	ran, _ := cancelled.end()
	require.Less(t, ran, promptly)
	for name, err := range errs {
		t.fails(name, err, is(backend.ErrUnknown, context.Canceled))
		assert.ErrorIs(t, err, cause, name)
	}
}

// cancelAll cancels every call to a store that gets no answers.
func (t *proof) cancelAll(s backend.Store, cause error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	calls := t.everything(s, "k")
	calls["watch"] = t.watch(s, "k")
	all := t.begin(ctx, calls)
	time.Sleep(100 * time.Millisecond) // sent or not: nothing tells
	cancel(cause)
	cancelled := startStopwatch()
	errs := all.end()
	ran, _ := cancelled.end()
	require.Less(t, ran, promptly)
	for name, err := range errs {
		require.ErrorIs(t, err, cause, name)
		switch {
		case name == "watch":
		case errors.Is(unanswered(name), backend.ErrUnknown):
			t.fails(name, err, is(backend.ErrUnknown, context.Canceled), is(backend.ErrUnavailable, context.Canceled))
		default:
			t.fails(name, err, is(backend.ErrUnavailable, context.Canceled))
		}
	}
}
