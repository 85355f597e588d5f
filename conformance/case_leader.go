package conformance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// leaderChanges: guarantee 1, when a leader does not know yet that it was
// deposed.
func leaderChanges() []Case {
	return []Case{{
		Name: "linearizable/deposed-leader", Guarantee: 1, Needs: []Power{Majority},
		Proves: "A leader that stood still while another one was elected, and goes on, answers no read with what it knew before.",
		run:    deposedLeader,
	}}
}

// deposedLeader asks every node, so the paused leader too, for what was written
// behind its back, and lets it go on with the questions in its hands.
func deposedLeader(t *proof) {
	const rounds, atOnce = 5, 40 // the old leader has little time to err in
	m := power[MajorityLoser](t)
	var readers, writers []Store
	for range t.Describe().Nodes {
		readers, writers = append(readers, t.open()), append(writers, t.open())
	}
	for round := range rounds {
		k := key("k", round)
		t.putThroughAny(writers, k, []byte("old"), 0)
		var old backend.Revision
		for _, s := range readers {
			old = t.get(s, k).Revision // so that it has a connection
		}
		require.NoError(t, m.PauseLeader(t.ctx))
		now := []byte("new")
		t.putThroughAny(writers, k, now, old)

		var reads sync.WaitGroup
		for _, s := range readers {
			for range atOnce {
				reads.Go(func() {
					e, err := s.Get(t.ctx, k)
					readsNew(t, now, []backend.Entry{e}, err)
				})
			}
			reads.Go(func() {
				entries, _, err := backend.List(t.ctx, s, k)
				readsNew(t, now, entries, err)
			})
		}
		// Time for the reads to get to the old leader. One that does not get
		// there proves nothing, and breaks nothing.
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, m.Resume(t.ctx))
		reads.Wait()
	}
}

// readsNew checks a read that began after now had been written.
func readsNew(t *proof, now []byte, entries []backend.Entry, err error) {
	if errors.Is(err, backend.ErrUnavailable) {
		return
	}
	if assert.NoError(t, err) && assert.Len(t, entries, 1) {
		assert.Equal(t, string(now), string(entries[0].Value))
	}
}

// putThroughAny writes through the first of the stores that gets an answer, to a key
// that is at a revision. What another one sent may arrive later: then the key is not
// at that revision any more. Who is told of a conflict has written with an earlier try.
func (t *proof) putThroughAny(stores []Store, key string, value []byte, at backend.Revision) {
	t.Helper()
	for {
		for _, s := range stores {
			ctx, cancel := context.WithTimeout(t.ctx, 2*time.Second)
			_, err := s.Put(ctx, key, value, backend.If(key, at))
			cancel()
			if err == nil || errors.Is(err, backend.ErrConflict) {
				return
			}
			if t.ctx.Err() != nil {
				t.Fatalf("put %q through any node: %v", key, err)
			}
		}
	}
}
