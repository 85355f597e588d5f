package conformance

import (
	"context"
	"maps"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// rights: guarantee 6, where somebody may not.
func rights() []Case {
	return []Case{{
		Name: "errors/wrong-credentials", Guarantee: 6, Needs: []Power{Access},
		Proves: "With credentials that the store does not know every call is denied, and a watch yields that alone: never an empty snapshot, never \"not found\".",
		run:    wrongCredentials,
	}, {
		Name: "errors/missing-rights", Guarantee: 6, Needs: []Power{Access},
		Proves: "What the rights do not cover is denied, in conditions and in parts of a prefix too, and never shown in part; what they cover works.",
		run:    missingRights,
	}, {
		Name: "errors/rights-lost-during-a-watch", Guarantee: 6, Needs: []Power{Access},
		Proves: "A watch whose rights are taken away ends as denied within 30s (15s more for a slow machine), without a deletion or an empty snapshot before.",
		run:    rightsLost,
	}, {
		Name: "errors/tls-mismatch", Guarantee: 6, Needs: []Power{TLS},
		Proves: "Where the TLS settings do not fit the server's every call is unavailable within its deadline, and nothing was written.",
		run:    tlsMismatch,
	}}
}

// closeLater closes what the harness has opened.
func (t *proof) closeLater(s Store) {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func wrongCredentials(t *proof) {
	all := t.open()
	rev := t.put(all, "k", value("old"))
	strangers, err := power[AccessController](t).OpenStrangers()
	require.NoError(t, err)
	require.NotEmpty(t, strangers)
	for who, s := range strangers {
		t.closeLater(s)
		calls := t.strangeCalls(s, "k", "k/absent")
		for _, prefix := range []string{"", "k", "absent/"} {
			calls["watch of "+prefix] = t.watch(s, prefix)
		}
		for name, err := range t.begin(t.ctx, calls).end() {
			t.fails(who+": "+name, err, is(backend.ErrDenied))
		}
	}
	entries, _, err := backend.List(t.ctx, all, "")
	require.NoError(t, err)
	require.Equal(t, []backend.Entry{{Key: "k", Value: value("old"), Revision: rev}}, entries)
}

// strangeCalls are the calls to several keys.
func (t *proof) strangeCalls(s backend.Store, keys ...string) map[string]call {
	calls := map[string]call{}
	for _, k := range keys {
		for name, c := range t.everything(s, k) {
			calls[name+" "+k] = c
		}
	}
	return calls
}

func missingRights(t *proof) {
	all := t.open()
	before := map[string]backend.Revision{}
	for _, k := range []string{"hidden/k", "shown/k", "guest/k", "gust"} {
		before[k] = t.put(all, k, value("old"))
	}
	guest, _, err := power[AccessController](t).OpenGuest(t.ctx)
	require.NoError(t, err)
	t.closeLater(guest)

	calls := t.strangeCalls(guest, "hidden/k", "hidden/absent", "outside")
	for _, k := range []string{"hidden/k", "hidden/absent", "outside"} {
		delete(calls, "lease "+k) // one may take leases
	}
	shown := t.writes(guest, "shown/k")
	delete(shown, "lease")
	maps.Copy(calls, shown)
	for name, c := range map[string]backend.Condition{
		"that holds": backend.If("hidden/k", before["hidden/k"]), "that does not hold": backend.If("hidden/k", 0),
		"on an absent key": backend.If("hidden/absent", 0), "on an absent key that does not hold": backend.If("hidden/absent", 7),
	} {
		calls["put on a hidden condition "+name] = func(ctx context.Context) error {
			rev, err := guest.Put(ctx, "guest/k", value("new"), c)
			if rev != 0 {
				t.Errorf("revision %d with the error %v", rev, err)
			}
			return err
		}
		calls["delete on a hidden condition "+name] = func(ctx context.Context) error { return guest.Delete(ctx, "guest/k", c) }
	}
	for _, prefix := range []string{"", "gu", "g", "hidden/", "hidden", "hidden/k", "hidden/absent"} {
		calls["watch of "+prefix] = t.watch(guest, prefix)
	}
	for name, err := range t.begin(t.ctx, calls).end() {
		t.fails(name, err, is(backend.ErrDenied))
	}
	for k, rev := range before {
		require.Equal(t, backend.Entry{Key: k, Value: value("old"), Revision: rev}, t.get(all, k))
	}
	t.coveredRights(guest, all)
	t.hiddenLater(guest, all)
}

// hiddenLater: a watch that reaches beyond the rights may go on as long as it
// is told all there is, and not longer.
func (t *proof) hiddenLater(guest, all backend.Store) {
	t.Helper()
	w := t.tapLater(guest, "show")
	w.always("nothing but what is shown", func(s *backend.State) bool { return s.Len() == 0 || s.Len() == 1 && s.Entries()[0].Key == "shown/k" })
	t.eventually("the first word of the watch", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.updates > 0 || w.err != nil
	})
	t.put(all, "showcase", nil)
	t.wait(w.ended, "the end of the watch")
	t.fails("watch", w.end(), is(backend.ErrDenied))
	for name, c := range map[string]call{"watch": t.watch(guest, "show"), "list": t.reads(guest, "show")["list"]} {
		t.fails(name, c(t.ctx), is(backend.ErrDenied))
	}
}

// coveredRights requires that the guest can do what he may.
func (t *proof) coveredRights(guest, all backend.Store) {
	t.Helper()
	shown := t.get(guest, "shown/k")
	entries, _, err := backend.List(t.ctx, guest, "shown/")
	require.NoError(t, err)
	require.Equal(t, []backend.Entry{shown}, entries)
	w := t.tap(guest, "guest/")
	rev := t.put(guest, "guest/k", value("new"), backend.If("shown/k", shown.Revision))
	w.waitRevision("guest/k", rev)
	_, err = guest.Put(t.ctx, "guest/k", nil, backend.If("shown/k", shown.Revision+1))
	t.conflict(err, backend.If("shown/k", shown.Revision+1), shown.Revision)
	l := t.lease(guest)
	w.waitRevision("guest/leased", t.put(guest, "guest/leased", nil, backend.WithLease(l)))
	require.NoError(t, l.Close(t.ctx))
	w.waitGone("guest/leased")
	require.NoError(t, guest.Delete(t.ctx, "guest/k", backend.If("guest/k", rev)))
	w.waitGone("guest/k")
	t.absent(all, "guest/k")
}

func rightsLost(t *proof) {
	all := t.open()
	guest, strip, err := power[AccessController](t).OpenGuest(t.ctx)
	require.NoError(t, err)
	t.closeLater(guest)
	const keys = 3
	for i := range keys {
		t.put(all, key("guest", i), value("old"))
		t.put(all, key("shown", i), value("old"))
	}
	taps := []*tap{t.tap(guest, "guest/"), t.tap(guest, "shown/"), t.tap(guest, "guest/0")}
	for _, w := range taps {
		had := w.len()
		w.always("no key is gone", func(s *backend.State) bool { return s.Len() == had })
	}
	require.NoError(t, strip(t.ctx))
	stripped := time.Now()
	t.put(all, "guest/0", value("new")) // something to tell
	for _, w := range taps {
		t.wait(w.ended, "the end of the watch of "+w.prefix)
		t.fails("watch of "+w.prefix, w.end(), is(backend.ErrDenied))
	}
	require.Less(t, time.Since(stripped), staleness+slack)

	calls := t.strangeCalls(guest, "guest/0", "guest/absent", "shown/0")
	for _, k := range []string{"guest/0", "guest/absent", "shown/0"} {
		delete(calls, "lease "+k) // that right is not everywhere one to take away
		calls["watch of "+k] = t.watch(guest, k)
	}
	for name, err := range t.begin(t.ctx, calls).end() {
		t.fails(name, err, is(backend.ErrDenied))
	}
	require.Equal(t, "new", string(t.get(all, "guest/0").Value))
	t.absent(all, "guest/absent")
}

func tlsMismatch(t *proof) {
	right := t.open()
	rev := t.putEventually(right, "k") // the first handshakes of a server take long on a busy machine
	stores, err := power[TLSMismatcher](t).OpenMismatched()
	require.NoError(t, err)
	require.NotEmpty(t, stores)
	for what, s := range stores {
		t.closeLater(s)
		for name, err := range t.within(2*time.Second, t.everything(s, "other")) {
			t.fails(what+": "+name, err, is(backend.ErrUnavailable))
		}
	}
	t.absent(right, "other")
	require.Equal(t, rev, t.get(right, "k").Revision)
}
