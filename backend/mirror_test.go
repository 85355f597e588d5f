package backend_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

// running runs a mirror until the test ends.
func running(t *testing.T, m *backend.Mirror) (stop func() error) {
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	var once sync.Once
	stop = func() (err error) {
		once.Do(func() {
			cancel(errStopped)
			err = <-done
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

var errStopped = errors.New("the test stopped it")

func keys(m *backend.Mirror) []string {
	var keys []string
	for e := range m.All() {
		keys = append(keys, e.Key)
	}
	return keys
}

func TestMirrorFollowsThePrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		put := func(key, value string) backend.Revision {
			rev, err := s.Put(t.Context(), key, []byte(value))
			require.NoError(t, err)
			return rev
		}
		put("dir/b", "1")
		put("dir2", "outside")

		var changes []backend.Update
		m := backend.NewMirror(s, "dir/", func(u backend.Update) { changes = append(changes, u) })
		assert.Negative(t, m.Staleness())
		assert.Empty(t, keys(m))
		stop := running(t, m)
		<-m.Synced()
		assert.Equal(t, []string{"dir/b"}, keys(m))
		assert.Len(t, changes, 1, "Synced before the callback had returned")

		require.NoError(t, m.WaitFor(t.Context(), put("dir/c", "2")))
		require.NoError(t, m.WaitFor(t.Context(), put("dir/a", "3")))
		assert.Equal(t, []string{"dir/a", "dir/b", "dir/c"}, keys(m))
		e, ok := m.Get("dir/a")
		assert.True(t, ok)
		assert.Equal(t, "3", string(e.Value))
		e, ok = m.Get("dir/absent")
		assert.False(t, ok)
		assert.Equal(t, backend.Entry{Key: "dir/absent"}, e)

		require.NoError(t, s.Delete(t.Context(), "dir/b"))
		synctest.Wait()
		assert.Equal(t, []string{"dir/a", "dir/c"}, keys(m))
		assert.Equal(t, []string{"dir/b"}, changes[len(changes)-1].Deletes)
		assert.Equal(t, 2, m.Len())
		require.ErrorIs(t, stop(), errStopped)
		assert.Equal(t, 2, m.Len(), "a mirror keeps its last state")
	})
}

func TestMirrorTellsTheDeletesThatASnapshotImplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		s, other := server.Open(), server.Open()
		defer s.Close()
		defer other.Close()
		for _, key := range []string{"a", "b", "c"} {
			_, err := other.Put(t.Context(), key, nil)
			require.NoError(t, err)
		}
		var changes []backend.Update
		m := backend.NewMirror(s, "", func(u backend.Update) { changes = append(changes, u) })
		running(t, m)
		<-m.Synced()

		s.Cut()
		require.NoError(t, other.Delete(t.Context(), "a"))
		_, err := other.Put(t.Context(), "b", []byte("new"))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		assert.Equal(t, 3, m.Len(), "a mirror that is cut off keeps what it has")
		assert.GreaterOrEqual(t, m.Staleness(), 50*time.Second)

		s.Mend()
		synctest.Wait()
		last := changes[len(changes)-1]
		assert.False(t, last.Snapshot)
		assert.Equal(t, []string{"a"}, last.Deletes)
		require.Len(t, last.Puts, 1)
		assert.Equal(t, "new", string(last.Puts[0].Value))
		assert.Equal(t, []string{"b", "c"}, keys(m))
	})
}

func TestMirrorOfAnIdlePrefixIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		calls := 0
		m := backend.NewMirror(s, "dir/", func(backend.Update) { calls++ })
		running(t, m)
		<-m.Synced()
		for range 100 {
			time.Sleep(time.Second)
			require.Less(t, m.Staleness(), 30*time.Second)
		}
		assert.Zero(t, calls, "a confirmation is no change")
	})
}

func TestMirrorRunsAgainAfterItsWatchHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		s, other := server.Open(), server.Open()
		defer s.Close()
		defer other.Close()
		_, err := other.Put(t.Context(), "a", nil)
		require.NoError(t, err)
		var changes []backend.Update
		m := backend.NewMirror(s, "", func(u backend.Update) { changes = append(changes, u) })
		stop := running(t, m)
		<-m.Synced()
		require.ErrorIs(t, m.Run(t.Context()), backend.ErrInvalid, "two runs at once")
		require.ErrorIs(t, stop(), errStopped)

		require.NoError(t, other.Delete(t.Context(), "a"))
		rev, err := other.Put(t.Context(), "b", nil)
		require.NoError(t, err)
		stop = running(t, m)
		require.NoError(t, m.WaitFor(t.Context(), rev))
		synctest.Wait()
		assert.Equal(t, []string{"a"}, changes[len(changes)-1].Deletes, "what went while nobody looked is told")
		require.NoError(t, s.Close())
		synctest.Wait()
		require.ErrorIs(t, stop(), backend.ErrClosed)
	})
}

func TestMirrorWaitForEndsWithItsContext(t *testing.T) {
	m := backend.NewMirror(memory.New(), "")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopped)
	require.ErrorIs(t, m.WaitFor(ctx, 1), errStopped)
}

// Readers see one version at a time while it is being replaced.
func TestMirrorReadsWhileItChanges(t *testing.T) {
	const n = 200
	s := memory.New()
	defer s.Close()
	m := backend.NewMirror(s, "")
	running(t, m)
	<-m.Synced()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				all := keys(m)
				if !slices.IsSorted(all) {
					t.Errorf("not in key order: %q", all)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var last backend.Revision
	for i := range n {
		var err error
		last, err = s.Put(t.Context(), fmt.Sprint(i*7919%n), nil)
		require.NoError(t, err)
	}
	require.NoError(t, m.WaitFor(t.Context(), last))
	close(stop)
	wg.Wait()
	assert.Equal(t, n, m.Len())
}

func BenchmarkMirrorGet(b *testing.B) {
	s := memory.New()
	defer s.Close()
	for i := range 10_000 {
		if _, err := s.Put(b.Context(), fmt.Sprint(i), nil); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	m := backend.NewMirror(s, "")
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	<-m.Synced()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok := m.Get("4711"); !ok {
				b.Fail()
			}
		}
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		b.Fatal(err)
	}
}
