package conformance

import (
	"iter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// concurrency: guarantee 1, with many clients at once.
func concurrency() []Case {
	return []Case{{
		Name: "concurrency/linearizable", Guarantee: 1,
		Proves: "One order of the calls explains what many clients read, wrote and deleted at the same time, on leases too and on conditions across keys.",
		run: func(t *proof) {
			stores := t.openSome()
			for range t.severalRounds() {
				l := t.gather(stores, 8)
				l.work(100)
				l.settle()
			}
		},
	}, {
		Name: "concurrency/linearizable-under-network-faults", Guarantee: 1, Needs: []Power{Network},
		Proves: "One order still explains it while the network is cut, loses replies or is slow: an unavailable write is never seen; one of unknown outcome happens once, at any time, or never.",
		run: func(t *proof) {
			faults := networkFaults(t)
			t.disturbed(disturbance{
				rounds: 3 * len(faults), unknown: 20,
				strike: func(round int, l *workload) { faults[round%len(faults)](l) },
			})
		},
	}, {
		Name: "concurrency/linearizable-over-restarts", Guarantee: 1, Needs: []Power{Restart},
		Proves: "One order still explains it when the servers are killed and started again with their data, and watches agree: what was acknowledged is still there.",
		run: func(t *proof) {
			t.disturbed(disturbance{
				rounds: 4, unknown: 1, watched: true,
				strike: func(int, *workload) { require.NoError(t, power[Restarter](t).Restart(t.ctx)) },
			})
		},
	}, {
		Name: "concurrency/linearizable-under-leader-pauses", Guarantee: 1, Needs: []Power{Majority},
		Proves: "One order still explains it while one leader after the other stands still and comes back, and watches agree: what the old one still held happens once or never.",
		run: func(t *proof) {
			m := power[MajorityLoser](t)
			t.disturbed(disturbance{
				rounds: 4, unknown: 1, watched: true,
				strike: func(_ int, l *workload) {
					require.NoError(t, m.PauseLeader(t.ctx))
					l.attempt(3)
					require.NoError(t, m.Resume(t.ctx))
				},
			})
		},
	}}
}

// watchedConcurrency: guarantee 5, with many clients at once.
func watchedConcurrency() []Case {
	return []Case{{
		Name: "concurrency/watches-agree", Guarantee: 5,
		Proves: "What each of several watches adds up to was in the store, update after update, in the one order that explains what the writers were told.",
		run: func(t *proof) {
			stores := t.openSome()
			for range t.severalRounds() {
				l := t.gather(stores, 6)
				l.watch(stores...)
				l.work(60)
				l.settle()
			}
		},
	}, {
		Name: "concurrency/watches-agree-under-network-faults", Guarantee: 5, Needs: []Power{Network},
		Proves: "Watches still agree while the network is cut, loses replies or is slow, however they go on.",
		run: func(t *proof) {
			faults := networkFaults(t)
			t.disturbed(disturbance{
				rounds: 2 * len(faults), unknown: 5, watched: true,
				strike: func(round int, l *workload) { faults[round%len(faults)](l) },
			})
		},
	}}
}

// openSome opens stores for clients to share.
func (t *proof) openSome() []Store { return []Store{t.open(), t.open(), t.open()} }

// severalRounds are four, and up to twenty where they take no time: the faster a
// store, the less its clients meet.
func (t *proof) severalRounds() iter.Seq[int] {
	return func(yield func(int) bool) {
		began := time.Now()
		for round := 0; round < 4 || round < 20 && time.Since(began) < 3*time.Second; round++ {
			t.rewind()
			if !yield(round) {
				return
			}
		}
	}
}

// A disturbance is what happens to the store while clients work.
type disturbance struct {
	rounds  int // at least, each with keys of its own
	unknown int // writes of unknown outcome, at least: fewer prove nothing
	watched bool
	strike  func(round int, l *workload)
}

// disturbed checks the histories of disturbed rounds.
func (t *proof) disturbed(d disturbance) {
	stores := t.openSome()
	ok, unknown, unavailable := 0, 0, 0
	for round := 0; !t.Failed() && (round < d.rounds || unknown < d.unknown); round++ {
		if round < d.rounds { // the others are there to end
			t.rewind()
		}
		l := t.gather(stores, 6)
		if d.watched {
			l.watch(stores...)
		}
		l.during(func() { d.strike(round, l) })
		l.settle()
		ok += l.history.writes(nil)
		unknown += l.history.writes(backend.ErrUnknown)
		unavailable += l.history.writes(backend.ErrUnavailable)
	}
	t.Logf("writes: %d made, %d of unknown outcome, %d unavailable", ok, unknown, unavailable)
}

// networkFaults are what can happen to a network. Each lasts until every client
// has met it.
func networkFaults(t *proof) []func(*workload) {
	n := power[NetworkFaulter](t)
	fault := func(begin func() error, calls int64) func(*workload) {
		return func(l *workload) {
			require.NoError(t, begin())
			l.attempt(calls)
			require.NoError(t, n.Heal(t.ctx))
		}
	}
	return []func(*workload){
		fault(func() error { return n.Cut(t.ctx) }, 2),
		fault(func() error { return n.DropReplies(t.ctx) }, 2),
		fault(func() error { return n.Delay(t.ctx, 50*time.Millisecond) }, 4),
	}
}
