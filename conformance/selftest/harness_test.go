package selftest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

// harness has memory's powers, and stands in for a few that need a server of
// another process. From the suite inwards there are the broken store, who may do
// what, the counter of requests, the line to the server, and memory.
type harness struct {
	breaks   wrap
	requests atomic.Int64
	full     atomic.Bool

	mu     sync.Mutex
	server *memory.Server
	raw    *memory.Store
	lines  []*line
	fault  func(*memory.Store) // what the stores suffer, nil for nothing
}

func newHarness(t *testing.T, b breaks) conformance.Harness {
	h := &harness{server: memory.NewServer()}
	h.breaks = b(h.server)
	h.raw = h.server.Open()
	t.Cleanup(func() { _ = h.tool().Close() })
	return h
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "broken", Server: "memory", Nodes: 1}
}

func (h *harness) Lacks() map[conformance.Power]string {
	const inside = "the store is inside the process: "
	return map[conformance.Power]string{
		conformance.ForeignKeys: inside + "nobody can write past the driver",
		conformance.Majority:    inside + "it has one node",
		conformance.TLS:         inside + "it has no connections",
	}
}

func (h *harness) Open() (conformance.Store, error) {
	s := h.breaks(h.connect())
	if f, ok := s.(interface{ opened() error }); ok {
		return s, f.opened()
	}
	return s, nil
}

// connect opens a store that is not broken yet.
func (h *harness) connect() conformance.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &line{full: &h.full}
	l.lead(h.opened())
	h.lines = append(h.lines, l)
	return counted{l, &h.requests}
}

// opened opens a store that suffers what all do. The caller holds mu.
func (h *harness) opened() *memory.Store {
	s := h.server.Open()
	if h.fault != nil {
		h.fault(s)
	}
	return s
}

func (h *harness) Requests() int64 { return h.requests.Load() }

// suffer does something to all stores, those that are opened later included.
func (h *harness) suffer(f func(*memory.Store)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = f
	for _, l := range h.lines {
		s, _ := l.end()
		f(s)
	}
	return nil
}

func (h *harness) Cut(context.Context) error { return h.suffer((*memory.Store).Cut) }

func (h *harness) DropReplies(ctx context.Context) error { return h.Delay(ctx, memory.Never) }

func (h *harness) Delay(_ context.Context, d time.Duration) error {
	return h.suffer(func(s *memory.Store) { s.Delay(d) })
}

func (h *harness) Heal(context.Context) error { return h.suffer((*memory.Store).Mend) }

// Restart is what a restart looks like from outside.
func (h *harness) Restart(ctx context.Context) error {
	return errors.Join(h.Cut(ctx), h.Heal(ctx))
}

func (h *harness) Replace(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server = memory.NewServer()
	_ = h.raw.Close()
	h.raw = h.server.Open()
	for _, l := range h.lines {
		l.lead(h.opened())
	}
	return nil
}

func (h *harness) Pause(context.Context) error {
	h.server.Pause()
	return nil
}

func (h *harness) Resume(context.Context) error {
	h.server.Resume()
	return nil
}

func (h *harness) Checkpoint(context.Context) (func(context.Context) error, error) {
	return func(context.Context) error {
		h.server.LoseHistory()
		return nil
	}, nil
}

func (h *harness) Fill(context.Context) error {
	h.full.Store(true)
	return nil
}

func (h *harness) Free(context.Context) error {
	h.full.Store(false)
	return nil
}

// tool is the store's own client.
func (h *harness) tool() *memory.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.raw
}

func (h *harness) RawPut(ctx context.Context, key string, value []byte) error {
	_, err := h.tool().Put(ctx, key, value)
	return err
}

func (h *harness) RawGet(ctx context.Context, key string) ([]byte, bool, error) {
	e, err := h.tool().Get(ctx, key)
	if errors.Is(err, backend.ErrNotFound) {
		return nil, false, nil
	}
	return e.Value, err == nil, err
}

func (h *harness) RawDelete(ctx context.Context, key string) error {
	return h.tool().Delete(ctx, key)
}

func (h *harness) RawRevoke(_ context.Context, lease string) error {
	if !h.server.ExpireLease(lease) {
		return backend.ErrNotFound
	}
	return nil
}

// OpenStrangers opens a store of a guest who has no rights any more.
func (h *harness) OpenStrangers() (map[string]conformance.Store, error) {
	rights, strip := context.WithCancel(context.Background())
	strip()
	return map[string]conformance.Store{"nobody": h.breaks(guarded{h.connect(), rights})}, nil
}

func (h *harness) OpenGuest(context.Context) (conformance.Store, func(context.Context) error, error) {
	rights, strip := context.WithCancel(context.Background())
	return h.breaks(guarded{h.connect(), rights}), func(context.Context) error { strip(); return nil }, nil
}
