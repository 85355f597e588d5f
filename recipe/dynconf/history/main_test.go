package history_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

func TestMain(m *testing.M) {
	stores.Main(m, stores.Roles{"publisher": publisher, "late": late})
}

// publisher publishes one version after the other until it is killed.
func publisher(ctx context.Context, s backend.Store, p *stores.Parent) error {
	h, err := history.New(s, key, history.Options{})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		e, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, backend.ErrNotFound) {
			return err
		}
		v, err := h.Publish(ctx, e.Revision, append(e.Value, 'x'), history.Change{Author: p.Args[0]})
		switch {
		case errors.Is(err, backend.ErrConflict): // the last write of one that was killed
		case err != nil:
			return err
		default:
			p.Say("published %d", v.Revision)
		}
	}
	return nil
}

// late reads the key, and publishes when it is told to.
func late(ctx context.Context, s backend.Store, p *stores.Parent) error {
	h, err := history.New(s, key, history.Options{})
	if err != nil {
		return err
	}
	e, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	p.Say("read")
	<-p.Told
	_, err = h.Publish(ctx, e.Revision, []byte("late"), history.Change{Author: "late"})
	p.Say("outcome %v", err)
	return nil
}

const (
	key     = "config"
	intents = "history/config/intent/"
)

var alice, bob = history.Change{Author: "alice", Comment: "more"}, history.Change{Author: "bob", Comment: "less"}

func open(t *testing.T, s backend.Store) *history.History {
	t.Helper()
	h, err := history.New(s, key, history.Options{})
	require.NoError(t, err)
	return h
}

// keep records what it sees.
func keep(t *testing.T, s backend.Store) (h *history.History, stop func() error) {
	t.Helper()
	h = open(t, s)
	return h, stores.Start(t, h.Run)
}

func versions(t *testing.T, h *history.History) []history.Version {
	t.Helper()
	all, unreadable, err := h.Versions(t.Context())
	require.NoError(t, err)
	require.Empty(t, unreadable)
	return all
}

// awaitVersions waits until there are so many.
func awaitVersions(t *testing.T, h *history.History, n int) []history.Version {
	t.Helper()
	var all []history.Version
	stores.Wait(t, "recorded", func() bool { all = versions(t, h); return len(all) >= n })
	require.Len(t, all, n)
	return all
}

func revision(t *testing.T, s backend.Store) backend.Revision {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil {
		require.ErrorIs(t, err, backend.ErrNotFound)
	}
	return e.Revision
}

func left(t *testing.T, s backend.Store) int {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, intents)
	require.NoError(t, err)
	return len(entries)
}

// mortal is a store whose client dies at a certain step: from then on nothing
// it does reaches the store.
type mortal struct {
	backend.Store

	mu   sync.Mutex
	dies func(op, key string) (before, after bool)
	dead bool
}

var errDead = backend.ErrUnknown

func (m *mortal) call(op, key string, f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	before, after := m.dies(op, key)
	if m.dead = before; m.dead {
		return errDead
	}
	err := f()
	if m.dead = after; m.dead {
		return errDead
	}
	return err
}

func (m *mortal) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (rev backend.Revision, err error) {
	err = m.call("put", key, func() (err error) { rev, err = m.Store.Put(ctx, key, value, opts...); return err })
	return rev, err
}

func (m *mortal) Get(ctx context.Context, key string) (e backend.Entry, err error) {
	err = m.call("get", key, func() (err error) { e, err = m.Store.Get(ctx, key); return err })
	return e, err
}

func (m *mortal) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	return m.call("delete", key, func() error { return m.Store.Delete(ctx, key, conds...) })
}
