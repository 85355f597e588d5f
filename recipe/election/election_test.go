package election_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/election"
	"github.com/seed27495941/seckill/recipe/lock"
)

func TestTerms(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a, b := s.Open(t), s.Open(t)
		follower := observe(t, newElection(t, b, election.Config{}))
		assert.Equal(t, election.Leader{}, <-follower.told, "at first: nobody leads")

		first := campaign(t, newElection(t, a, election.Config{ID: "first"}), "one")
		told := follower.await(t, is("first", "one"))
		assert.Equal(t, first.Token(), told.Term)
		assert.WithinDuration(t, time.Now(), told.Since, time.Minute)
		assert.Equal(t, told, <-observe(t, newElection(t, a, election.Config{})).told, "the leader comes first")

		require.NoError(t, first.Proclaim(t.Context(), "two"))
		again := follower.await(t, is("first", "two"))
		assert.Equal(t, told.Since, again.Since)
		assert.Equal(t, told.Term, again.Term)

		require.NoError(t, first.Resign(t.Context()))
		require.NoError(t, first.Resign(t.Context()))
		follower.await(t, is("", ""))
		_, err := a.Get(t.Context(), record)
		require.ErrorIs(t, err, backend.ErrNotFound, "the record goes with the term")
		require.Error(t, first.Proclaim(t.Context(), "three"))
		require.ErrorIs(t, first.Err(), backend.ErrClosed)

		second := campaign(t, newElection(t, b, election.Config{ID: "second"}), "four")
		assert.Greater(t, second.Token(), first.Token())
		follower.await(t, is("second", "four"))
		require.ErrorIs(t, note(t.Context(), a, first, 1), backend.ErrConflict)
		require.NoError(t, note(t.Context(), b, second, 1))
	})
}

func TestCampaignEndsWithItsContext(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		campaign(t, newElection(t, store, election.Config{ID: "first"}), "")
		var seen atomic.Int64
		waiting := &stores.Faulty{Store: s.Open(t)}
		waiting.Set(stores.Hooks{Yield: func() { seen.Add(1) }})
		stop := stores.Start(t, func(ctx context.Context) error {
			_, err := newElection(t, waiting, election.Config{}).Campaign(ctx, "")
			return err
		})
		stores.Wait(t, "it has seen the line and the key before its own", func() bool { return seen.Load() >= 2 })
		err := stop()
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, lock.ErrLocked)
		assert.Contains(t, err.Error(), `by "first"`)
		entries, _, err := backend.List(t.Context(), store, name+"/")
		require.NoError(t, err)
		assert.Len(t, entries, 2, "one candidate and the record")
	})
}

func TestRecordsThatNoLeaderWrote(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		for _, garbage := range []string{"null", "{", `{"id":"x"}`, `{"id":"x","term":1,"value":"","since":"2026-11-21T00:00:00Z"}`} {
			s.Put(t, record, garbage)
			assert.Equal(t, election.Leader{}, <-observe(t, newElection(t, s.Open(t), election.Config{})).told, garbage)
		}
		store := s.Open(t)
		e := newElection(t, store, election.Config{ID: "me"})
		follower := observe(t, e)
		term := campaign(t, e, "mine")
		follower.await(t, is("me", "mine"))
		s.Delete(t, record)
		follower.await(t, is("", ""))
		assert.NoError(t, term.Err(), "the candidate's key counts")
		require.NoError(t, term.Proclaim(t.Context(), "back"))
		follower.await(t, is("me", "back"))
	})
}

// Leaders of a later version of the program may tell more than this one knows.
func TestRecordWithMoreFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Open(t)
		lease, err := store.Lease(t.Context(), time.Minute)
		require.NoError(t, err)
		_, err = store.Put(t.Context(), record, []byte(`{"id":"x","term":1,"value":"v","since":"2026-11-21T00:00:00Z","region":"eu"}`), backend.WithLease(lease))
		require.NoError(t, err)
		leader := <-observe(t, newElection(t, store, election.Config{})).told
		assert.Equal(t, "x", leader.ID)
		assert.Equal(t, "v", leader.Value)
		require.NoError(t, lease.Close(t.Context()))
	})
}

func TestRefuses(t *testing.T) {
	s := stores.NewMemory().Open(t)
	for _, bad := range []string{"", "/a", "a/", strings.Repeat("x", backend.MaxKey)} {
		_, err := election.New(s, bad, election.Config{})
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
	}
	_, err := election.New(s, "a", election.Config{ID: "\xff"})
	require.ErrorIs(t, err, backend.ErrInvalid)
	e := newElection(t, s, election.Config{})
	_, err = e.Campaign(t.Context(), "\xff")
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = e.Campaign(t.Context(), strings.Repeat("x", backend.MaxValue))
	require.ErrorIs(t, err, backend.ErrTooLarge)
	term := campaign(t, e, "")
	require.ErrorIs(t, term.Proclaim(t.Context(), "\xff"), backend.ErrInvalid)
	require.NoError(t, term.Err())
}

// An outcome that is not known is found out.
func TestUnknownOutcome(t *testing.T) {
	for _, applied := range []bool{true, false} {
		t.Run(fmt.Sprint("applied ", applied), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
				var failed atomic.Int64
				fail := func(key string) error {
					if key == record && failed.Add(1) <= 2 {
						return backend.ErrUnknown
					}
					return nil
				}
				hooks := stores.Hooks{Put: fail}
				if applied {
					hooks = stores.Hooks{AfterPut: fail}
				}
				store.Set(hooks)
				e := newElection(t, store, election.Config{ID: "me"})
				follower := observe(t, e)
				term := campaign(t, e, "one")
				assert.Equal(t, int64(3), failed.Load())
				follower.await(t, is("me", "one"))
				failed.Store(0)
				require.NoError(t, term.Proclaim(t.Context(), "two"))
				follower.await(t, is("me", "two"))

				store.Set(stores.Hooks{Put: func(string) error { return backend.ErrUnknown }})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.ErrorIs(t, term.Proclaim(ctx, "three"), backend.ErrUnknown)
			})
		})
	}
}

// A term that is over before it could begin is followed by another try; a store
// that refuses ends the campaign and leaves nothing.
func TestCampaignThatStumbles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		store, other := &stores.Faulty{Store: space.Open(t)}, space.Open(t)
		e := newElection(t, store, election.Config{ID: "me"})
		store.Set(stores.Hooks{Put: func(key string) error {
			if key == record {
				return backend.ErrDenied
			}
			return nil
		}})
		_, err := e.Campaign(t.Context(), "")
		require.ErrorIs(t, err, backend.ErrDenied)
		entries, _, err := backend.List(t.Context(), other, name+"/")
		require.NoError(t, err)
		assert.Empty(t, entries)

		var stumbled atomic.Bool
		store.Set(stores.Hooks{Put: func(key string) error {
			if key == record && !stumbled.Swap(true) {
				candidates, _, err := backend.List(t.Context(), other, name+"/candidates/")
				assert.NoError(t, err)
				space.Delete(t, candidates[0].Key)
			}
			return nil
		}})
		term := campaign(t, e, "at last")
		require.NoError(t, note(t.Context(), other, term, 1))
	})
}

// Two hundred terms, the leaders of some of them paused past their lease. By the
// store's own record no two interleave, and each was observed by all in one order.
func TestFailovers(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		failovers, pauses := 20, 1
		if everything() {
			failovers, pauses = 200, 5
		}
		store := s.Open(t)
		follower := observe(t, newElection(t, store, election.Config{}))
		terms := 0
		for p := range pauses {
			terms += reign(t, s, (failovers-pauses)/pauses)
			terms += pausedLeader(t, s, store, fmt.Sprint("paused-", p))
		}
		t.Logf("%d failovers, %d of them of a paused leader", terms, pauses)
		assert.GreaterOrEqual(t, terms, failovers)
		checkJournal(t, store, terms)
		last := backend.Revision(0)
		for range len(follower.told) {
			if l := <-follower.told; l.Term != 0 {
				assert.GreaterOrEqual(t, l.Term, last, "observed terms never go back")
				last = l.Term
			}
		}
	})
}

// reign lets candidates follow each other, who resign or have their lease revoked
// while they write.
func reign(t *testing.T, s stores.Space, n int) int {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var candidates sync.WaitGroup
	for id := range 5 {
		store := s.Open(t)
		e := newElection(t, store, election.Config{ID: strconv.Itoa(id), TTL: 20 * time.Second})
		candidates.Go(func() {
			for {
				term, err := e.Campaign(t.Context(), "")
				if !assert.NoError(t, err) {
					return
				}
				if left.Add(-1) < 0 {
					assert.NoError(t, term.Resign(t.Context()))
					return
				}
				serve(t, s, store, term)
			}
		})
	}
	candidates.Wait()
	return n
}

// serve is one term: it writes while it is ended, and after that in vain.
func serve(t *testing.T, s stores.Space, store backend.Store, term *election.Term) {
	assert.NoError(t, note(t.Context(), store, term, 0))
	var ending sync.WaitGroup
	lease := leaseOf(t, store, term)
	if rand.N(2) == 0 {
		ending.Go(func() { assert.NoError(t, term.Resign(t.Context())) })
	} else {
		ending.Go(func() { s.Revoke(t, lease) })
	}
	var err error
	for n := 1; err == nil; n++ {
		err = note(t.Context(), store, term, n)
	}
	for range 3 { // others lead meanwhile
		assert.ErrorIs(t, err, backend.ErrConflict)
		err = note(t.Context(), store, term, 999_999)
	}
	ending.Wait()
	assert.NoError(t, term.Resign(t.Context()))
}

func leaseOf(t *testing.T, s backend.Store, term *election.Term) string {
	e, err := s.Get(t.Context(), term.Guard().Key)
	assert.NoError(t, err)
	return e.Lease
}

// pausedLeader has a process lead, pauses it past its lease, and lets it go on
// writing in the next leader's term.
func pausedLeader(t *testing.T, s stores.Space, store backend.Store, id string) int {
	t.Helper()
	child := stores.Spawn(t, s, "leader", id)
	child.Await(t, "term")
	child.Tell(t, "note")
	require.Equal(t, "<nil>", child.Await(t, "note:"))
	child.Pause(t)
	child.Tell(t, "note") // what it does first when it goes on
	child.Tell(t, "proclaim")
	next := campaign(t, newElection(t, store, election.Config{ID: "next"}), "new")
	require.NoError(t, note(t.Context(), store, next, 1))
	child.Resume(t)
	assert.Contains(t, child.Await(t, "note:"), "conflict")
	refused := child.Await(t, "proclaim:")
	assert.True(t, strings.Contains(refused, "conflict") || strings.Contains(refused, "lease lost"), refused)
	require.NoError(t, note(t.Context(), store, next, 2))
	leader, _, err := backend.GetJSON[election.Leader](t.Context(), store, record)
	require.NoError(t, err)
	assert.Equal(t, "new", leader.Value)
	child.Stop(t)
	require.NoError(t, next.Resign(t.Context()))
	return 2
}

// checkJournal reads all that was written, in the order in which the store made it.
func checkJournal(t *testing.T, s backend.Store, terms int) {
	t.Helper()
	journal, _, err := backend.List(t.Context(), s, "journal/")
	require.NoError(t, err)
	slices.SortFunc(journal, func(a, b backend.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	seen := map[uint64]bool{}
	last := uint64(0)
	for _, e := range journal {
		term, err := strconv.ParseUint(string(e.Value), 10, 64)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, term, last, "a write of term %d after one of term %d", term, last)
		last = max(last, term)
		seen[term] = true
	}
	t.Logf("%d writes of %d terms", len(journal), len(seen))
	assert.Len(t, seen, terms)
}
