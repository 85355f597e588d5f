package memory_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conformance.Save(t, conformance.Run(t, func(t *testing.T, _ conformance.Case) conformance.Harness {
		h := &harness{server: memory.NewServer()}
		h.raw = h.server.Open()
		t.Cleanup(func() { _ = h.raw.Close() })
		return h
	}))
}

// harness gives the suite a server of its own for each case. Past the driver
// there is nothing: the raw client is one more store.
type harness struct {
	server *memory.Server
	raw    *memory.Store

	mu    sync.Mutex
	fault func(*memory.Store) // what the stores suffer, nil for nothing
	open  []*memory.Store
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "memory", Server: "memory", Nodes: 1}
}

func (h *harness) Open() (conformance.Store, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.server.Open()
	if h.fault != nil {
		h.fault(s)
	}
	h.open = append(h.open, s)
	return s, nil
}

func (h *harness) Lacks() map[conformance.Power]string {
	const inside = "the store is inside the process: "
	return map[conformance.Power]string{
		conformance.ForeignKeys: inside + "nobody can write past the driver",
		conformance.Requests:    inside + "it sends no requests",
		conformance.Replace:     inside + "it has no address",
		conformance.Restart:     inside + "it ends with the process",
		conformance.Majority:    inside + "it has one node",
		conformance.Access:      inside + "it asks nobody who he is",
		conformance.TLS:         inside + "it has no connections",
		conformance.Full:        inside + "it has no limit of its own",
	}
}

// suffer does something to all stores, those that are opened later included.
func (h *harness) suffer(f func(*memory.Store)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = f
	for _, s := range h.open {
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

func (h *harness) Pause(context.Context) error {
	h.server.Pause()
	return nil
}

func (h *harness) Resume(context.Context) error {
	h.server.Resume()
	return nil
}

func (h *harness) RawPut(ctx context.Context, key string, value []byte) error {
	_, err := h.raw.Put(ctx, key, value)
	return err
}

func (h *harness) RawGet(ctx context.Context, key string) ([]byte, bool, error) {
	e, err := h.raw.Get(ctx, key)
	if errors.Is(err, backend.ErrNotFound) {
		return nil, false, nil
	}
	return e.Value, err == nil, err
}

func (h *harness) RawDelete(ctx context.Context, key string) error { return h.raw.Delete(ctx, key) }

func (h *harness) RawRevoke(_ context.Context, lease string) error {
	if !h.server.ExpireLease(lease) {
		return backend.ErrNotFound
	}
	return nil
}

// Checkpoint: what happens before history is lost is not heard by anybody.
func (h *harness) Checkpoint(context.Context) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		if err := h.Cut(ctx); err != nil {
			return err
		}
		if err := h.RawPut(ctx, "dir/missed", nil); err != nil {
			return err
		}
		if err := h.RawDelete(ctx, "dir/0"); err != nil {
			return err
		}
		if err := h.Heal(ctx); err != nil {
			return err
		}
		h.server.LoseHistory()
		return nil
	}, nil
}
