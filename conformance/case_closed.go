package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// closings is about stores that were closed.
func closings() []Case {
	return []Case{{
		Name: "errors/closed", Guarantee: 6,
		Proves: "Every call to a store that was closed, watches and leases included, is told so and nothing else.",
		run:    closedStore,
	}, {
		Name: "errors/closed-while-replies-are-lost", Guarantee: 6, Needs: []Power{Network, Raw},
		Proves: "Closing a store ends its calls, watches and leases without the server's help, and tells that a write may have been applied.",
		run:    closedInFlight,
	}, {
		Name: "errors/closed-while-the-server-is-paused", Guarantee: 6, Needs: []Power{Pause},
		Proves: "Closing a store ends in bounded time though its server does not answer, and ends all that was waiting for it.",
		run: func(t *proof) {
			p := power[Pauser](t)
			s := t.open()
			t.put(s, "k", nil)
			open := t.hangAround(s)
			require.NoError(t, p.Pause(t.ctx))
			defer func() { require.NoError(t, p.Resume(t.ctx)) }()
			t.closeUnder(s, open)
		},
	}}
}

func closedStore(t *proof) {
	s := t.open()
	t.put(s, "k", nil)
	l, err := s.Lease(t.ctx, 10*time.Minute)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	calls := t.everything(s, "k")
	calls["watch"] = t.watch(s, "k")
	calls["modify"] = func(ctx context.Context) error {
		_, err := backend.Modify(ctx, s, "k", func(backend.Entry) ([]byte, error) { return nil, nil })
		return err
	}
	calls["close lease"] = l.Close
	for name, err := range t.begin(t.ctx, calls).end() {
		t.fails(name, err, is(backend.ErrClosed))
	}
	// The lease is over too, so this one may say either.
	_, err = s.Put(t.ctx, "k", nil, backend.WithLease(l))
	t.fails("put with a lease", err, is(backend.ErrClosed), is(backend.ErrClosed, backend.ErrLeaseLost))
	require.NoError(t, s.Close(), "closing again is no error")
	require.NoError(t, t.open().Delete(t.ctx, "k"))
}

func closedInFlight(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	t.put(s, "k", value("old"))
	open := t.hangAround(s)
	require.NoError(t, n.DropReplies(t.ctx))
	// This one was certainly sent.
	put := t.begin(t.ctx, map[string]call{"put": t.writes(s, "k")["put"]})
	t.rawSees(map[string]string{"k": "written"})
	t.closeUnder(s, open)
	t.fails("the put that was applied", put.end()["put"], is(backend.ErrClosed, backend.ErrUnknown))
}

// around is what hangs on an open store.
type around struct {
	watch *tap
	lease backend.Lease
}

func (t *proof) hangAround(s Store) around {
	t.Helper()
	l, err := s.Lease(t.ctx, 10*time.Minute)
	require.NoError(t, err)
	return around{watch: t.tap(s, "dir/"), lease: l}
}

// closeUnder closes a store whose server does not answer while calls, which
// have no deadline of their own, a watch and a lease wait for it.
func (t *proof) closeUnder(s Store, open around) {
	t.Helper()
	calls := t.everything(s, "other")
	for i := range 20 {
		calls[fmt.Sprint("watch ", i)] = t.watch(s, key("other", i))
		calls[fmt.Sprint("list ", i)] = t.reads(s, key("other", i%2))["list"]
	}
	calls["close lease"] = open.lease.Close
	all := t.begin(t.ctx, calls)
	time.Sleep(200 * time.Millisecond) // on their way, most probably
	w := startStopwatch()
	closing := t.begin(t.ctx, map[string]call{"close": func(context.Context) error { return s.Close() }})
	err, errs, ended := closing.end()["close"], all.end(), open.watch.end()
	ran, _ := w.end()
	require.Less(t, ran, promptly, "the end of all")
	require.NoError(t, err)
	for name, err := range errs {
		t.fails(name, err, is(backend.ErrClosed), is(backend.ErrClosed, backend.ErrUnavailable), is(backend.ErrClosed, backend.ErrUnknown))
	}
	t.fails("watch", ended, is(backend.ErrClosed))
	t.done(open.lease)
	t.fails("lease", open.lease.Err(), is(backend.ErrClosed))
	require.False(t, open.lease.Valid())
}
