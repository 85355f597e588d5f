package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

// A historian records the config's versions, as they come.
type historian struct {
	*duty
	woken chan struct{} // holds a token while there is news

	mu   sync.Mutex
	seen []backend.Entry // versions that are not recorded yet, the oldest first
}

// maxSeen bounds how many versions wait while none can be recorded. The oldest go.
const maxSeen = 16

func (d *duty) history() job {
	h := &historian{duty: d, woken: make(chan struct{}, 1)}
	return job{name: "history", every: 10 * time.Minute, longest: patient, run: h.run, woken: h.woken, follow: h.follow}
}

// follow has each version recorded at once: the next one may be there soon.
func (h *historian) follow(ctx context.Context, log *slog.Logger) {
	loop := retry.New(log, "follow the config")
	// A store that was closed ends it: the term is over then, too.
	_ = loop.Keep(ctx, func(ctx context.Context) error {
		for e, err := range backend.WatchKey(ctx, h.store, settings.ConfigKey) {
			if err != nil {
				return err
			}
			loop.Worked()
			h.mu.Lock()
			h.seen = append(h.seen, e)
			h.seen = h.seen[max(0, len(h.seen)-maxSeen):]
			h.mu.Unlock()
			select {
			case h.woken <- struct{}{}:
			default:
			}
		}
		return nil
	})
}

// run records what was seen, and what is there now.
func (h *historian) run(ctx context.Context) (came result, err error) {
	versions, err := history.New(h.store, settings.ConfigKey, history.Options{Keep: h.HistoryKeep, Logger: h.Logger})
	if err != nil {
		return came, err
	}
	recorded := 0
	take := func(e backend.Entry) error {
		did, err := versions.Record(ctx, e)
		if did {
			recorded++
		}
		return err
	}
	for e, ok := h.oldest(); ok; e, ok = h.oldest() {
		if err := take(e); err != nil {
			return came, err
		}
		h.forget(e)
	}
	e, err := h.store.Get(ctx, settings.ConfigKey)
	if err == nil || errors.Is(err, backend.ErrNotFound) {
		err = take(e)
	}
	return result{text: fmt.Sprintf("%d versions recorded", recorded)}, err
}

func (h *historian) oldest() (e backend.Entry, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.seen) == 0 {
		return e, false
	}
	return h.seen[0], true
}

// forget removes a version that is recorded, unless it had to make room meanwhile.
func (h *historian) forget(e backend.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.seen) > 0 && h.seen[0].Revision == e.Revision {
		h.seen = h.seen[1:]
	}
}
