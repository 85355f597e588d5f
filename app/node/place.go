package node

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/recipe/registry"
)

// A place is what a node is listed as. A process that takes over from another one is
// listed beside it, as "<id>~<incarnation>", until that has gone; then it takes the id.
// It is never off the list in between, for then others would take its slots.
type place struct {
	own     *registry.Registration
	waiting *registry.Registration // nil: there was nobody before
	vacated <-chan struct{}
	current atomic.Pointer[registry.Registration]
}

// newPlace prepares a place. vacated is closed when the process before has gone; nil if
// there was none.
func newPlace(cfg registry.Config, create func(registry.Config) (*registry.Registration, error), vacated <-chan struct{}) (*place, error) {
	own, err := create(cfg)
	if err != nil {
		return nil, err
	}
	p := &place{own: own, vacated: vacated}
	p.current.Store(own)
	if vacated == nil {
		return p, nil
	}
	cfg.ID = p.id() + "~" + cfg.Node.Incarnation
	if p.waiting, err = create(cfg); err != nil {
		return nil, err
	}
	p.current.Store(p.waiting)
	return p, nil
}

// id is the node's, once nobody else has it.
func (p *place) id() string { return p.own.Status().Node.ID }

// run keeps the node listed until ctx ends: see [registry.Registration.Run].
func (p *place) run(ctx context.Context) error {
	if p.waiting == nil {
		return p.own.Run(ctx)
	}
	listed, ctx := errgroup.WithContext(ctx) // one that fails ends the wait for it
	beside, leave := context.WithCancel(ctx)
	defer leave()
	listed.Go(func() error { return p.waiting.Run(beside) })
	if await(ctx, p.waiting.Ready()) && await(ctx, p.vacated) {
		listed.Go(func() error { return p.own.Run(ctx) })
		if await(ctx, p.own.Ready()) {
			p.current.Store(p.own)
			leave()
		}
	}
	return listed.Wait()
}

// await waits for a channel that is closed; false if ctx has ended before.
func await(ctx context.Context, closed <-chan struct{}) bool {
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	}
}

// ready is closed when the node is listed for the first time, as what it may be.
func (p *place) ready() <-chan struct{} {
	if p.waiting != nil {
		return p.waiting.Ready()
	}
	return p.own.Ready()
}

// registered reports whether the node is listed: see [registry.Registration.Registered].
func (p *place) registered() bool {
	return p.own.Registered() || p.waiting != nil && p.waiting.Registered()
}

func (p *place) status() registry.Status { return p.current.Load().Status() }

// each calls f with everything that the node is listed as, or will be.
func (p *place) each(f func(*registry.Registration) error) error {
	if p.waiting != nil {
		if err := f(p.waiting); err != nil {
			return err
		}
	}
	return f(p.own)
}

func (p *place) update(change func(*registry.Node)) error {
	return p.each(func(r *registry.Registration) error { return r.Update(change) })
}
