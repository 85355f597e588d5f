package backend_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/backend"
)

func entry(key string, rev backend.Revision) backend.Entry {
	return backend.Entry{Key: key, Value: []byte(fmt.Sprint(rev)), Revision: rev}
}

func TestStateTellsWhatAnUpdateChanged(t *testing.T) {
	var s backend.State
	a, b, c := entry("a", 1), entry("b", 2), entry("c", 5)
	assert.Equal(t, backend.Update{Revision: 2, Puts: []backend.Entry{a, b}},
		s.Apply(backend.Update{Snapshot: true, Revision: 2, Puts: []backend.Entry{a, b}}))
	assert.Equal(t, backend.Update{Revision: 5, Puts: []backend.Entry{c}, Deletes: []string{"a"}},
		s.Apply(backend.Update{Snapshot: true, Revision: 5, Puts: []backend.Entry{b, c}}), "a snapshot implies deletes")
	assert.Equal(t, backend.Update{Revision: 6, Deletes: []string{"b"}},
		s.Apply(backend.Update{Revision: 6, Deletes: []string{"b", "never there"}}))
	assert.Equal(t, []backend.Entry{c}, s.Entries())
	assert.Equal(t, backend.Revision(6), s.Revision())

	older := entry("c", 3)
	assert.Equal(t, []backend.Entry{older}, s.Apply(backend.Update{Snapshot: true, Revision: 3, Puts: []backend.Entry{older}}).Puts,
		"a restored store may go back")

	other := backend.Entry{Key: "c", Value: []byte("of another store"), Revision: 3}
	assert.Equal(t, []backend.Entry{other}, s.Apply(backend.Update{Snapshot: true, Revision: 3, Puts: []backend.Entry{other}}).Puts,
		"another store may have reached the same revision")
	assert.Empty(t, s.Apply(backend.Update{Snapshot: true, Revision: 3, Puts: []backend.Entry{other}}).Puts)
}

// history draws a run of writes to few keys, told as the updates of a watch with
// snapshots in between.
func history(t *rapid.T) []backend.Update {
	truth := map[string]backend.Entry{}
	var updates []backend.Update
	for i := range rapid.IntRange(1, 40).Draw(t, "length") {
		rev := backend.Revision(i + 1)
		key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
		u := backend.Update{Revision: rev}
		if rapid.Bool().Draw(t, "put") {
			truth[key] = entry(key, rev)
			u.Puts = []backend.Entry{truth[key]}
		} else {
			delete(truth, key)
			u.Deletes = []string{key}
		}
		if i == 0 || rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
			u = backend.Update{Snapshot: true, Revision: rev, Puts: slices.Collect(maps.Values(truth))}
		}
		updates = append(updates, u)
	}
	return updates
}

// A consumer that takes now and then must end with the same state as one that
// takes everything, and be told of no key twice in one update.
func TestFeedMergesToTheSameState(t *testing.T) {
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		var all, merged backend.State
		f := backend.NewFeed()
		take := func() {
			u, err := f.Next(ctx)
			require.NoError(t, err)
			seen := map[string]bool{}
			for _, e := range u.Puts {
				require.False(t, seen[e.Key])
				seen[e.Key] = true
			}
			for _, key := range u.Deletes {
				require.False(t, seen[key])
				require.False(t, u.Snapshot, "a snapshot with deletes")
				_, known := merged.Get(key)
				require.True(t, known, "the deletion of a key that the consumer never knew")
				seen[key] = true
			}
			require.True(t, slices.IsSortedFunc(u.Puts, func(a, b backend.Entry) int { return int(a.Revision) - int(b.Revision) }))
			merged.Apply(u)
		}
		for _, u := range history(t) {
			all.Apply(u)
			f.Send(u)
			if rapid.IntRange(0, 4).Draw(t, "take") == 0 {
				take()
			}
		}
		f.Send(backend.Update{Revision: all.Revision()})
		take()
		require.Equal(t, all.Entries(), merged.Entries())
		require.Equal(t, all.Revision(), merged.Revision())
	})
}

func TestFeedKeepsNoMoreThanThePrefix(t *testing.T) {
	f := backend.NewFeed()
	f.Send(backend.Update{Snapshot: true})
	_, err := f.Next(t.Context())
	require.NoError(t, err)
	for i := range 1000 {
		key := fmt.Sprint(i)
		f.Send(backend.Update{Revision: backend.Revision(2*i + 1), Puts: []backend.Entry{entry(key, backend.Revision(2*i+1))}})
		f.Send(backend.Update{Revision: backend.Revision(2*i + 2), Deletes: []string{key}})
	}
	u, err := f.Next(t.Context())
	require.NoError(t, err)
	assert.Equal(t, backend.Update{Revision: 2000}, u, "keys that came and went unseen left something behind")
}

func TestFeedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := backend.NewFeed()
		u := backend.Update{Snapshot: true, Revision: 1, Puts: []backend.Entry{entry("a", 1)}}
		f.Send(u)
		f.Fail(backend.ErrDenied)
		f.Fail(backend.ErrClosed)
		got, err := f.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, u, got, "what was sent before the failure is not lost")
		for range 2 {
			_, err = f.Next(t.Context())
			require.ErrorIs(t, err, backend.ErrDenied)
		}

		reason := errors.New("the reason")
		ctx, cancel := context.WithCancelCause(t.Context())
		waiting := backend.NewFeed()
		go func() {
			synctest.Wait()
			cancel(reason)
		}()
		_, err = waiting.Next(ctx)
		require.ErrorIs(t, err, reason)
		waiting.Send(u)
		_, err = waiting.Next(ctx)
		require.ErrorIs(t, err, reason)
	})
}
