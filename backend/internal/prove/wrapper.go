// Package prove proves wrappers of stores. Only tests import it.
package prove

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/conformance"
)

// Wrapper runs the conformance suite on memory behind a wrapper that changes
// nothing. wrap is called for each store that is opened.
func Wrapper(t *testing.T, wrap func(backend.Store) backend.Store) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes as long as the driver itself; run without -short")
	}
	conformance.Run(t, func(t *testing.T, _ conformance.Case) conformance.Harness {
		h := &harness{wrap: wrap, server: memory.NewServer()}
		h.raw = h.server.Open()
		t.Cleanup(func() { _ = h.raw.Close() })
		return h
	})
}

// A wrapped store is closed as the driver's is.
type wrapped struct {
	backend.Store
	driver *memory.Store
}

func (w wrapped) Close() error { return w.driver.Close() }

// A harness is a server of its own for each case.
type harness struct {
	wrap   func(backend.Store) backend.Store
	server *memory.Server
	raw    *memory.Store

	mu    sync.Mutex
	fault func(*memory.Store) // what the stores suffer, nil for nothing
	open  []*memory.Store
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "memory, wrapped", Server: "memory", Nodes: 1}
}

func (h *harness) Open() (conformance.Store, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	driver := h.server.Open()
	if h.fault != nil {
		h.fault(driver)
	}
	h.open = append(h.open, driver)
	return wrapped{h.wrap(driver), driver}, nil
}

func (h *harness) Lacks() map[conformance.Power]string {
	lacks := map[conformance.Power]string{}
	for _, p := range []conformance.Power{
		conformance.ForeignKeys, conformance.Requests, conformance.Replace, conformance.Restart,
		conformance.Majority, conformance.Access, conformance.TLS, conformance.Full,
	} {
		lacks[p] = "memory has no such thing: see its own report"
	}
	return lacks
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

func (h *harness) Cut(context.Context) error  { return h.suffer((*memory.Store).Cut) }
func (h *harness) Heal(context.Context) error { return h.suffer((*memory.Store).Mend) }

func (h *harness) DropReplies(ctx context.Context) error { return h.Delay(ctx, memory.Never) }

func (h *harness) Delay(_ context.Context, d time.Duration) error {
	return h.suffer(func(s *memory.Store) { s.Delay(d) })
}

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

func (h *harness) Checkpoint(context.Context) (func(context.Context) error, error) {
	return func(context.Context) error {
		h.server.LoseHistory()
		return nil
	}, nil
}
