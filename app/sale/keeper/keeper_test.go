package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/keeper"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

var silent = slog.New(slog.DiscardHandler)

// A cluster is processes that keep slots, on a memory server.
type cluster struct {
	*testing.T
	server *memory.Server
	store  *memory.Store
	hooks  stores.Hooks // of the stores that keepers have
	log    *slog.Logger

	mu    sync.Mutex
	nodes map[string]*node
	acked []ulid.ULID
}

type node struct {
	id     ulid.ULID
	store  *memory.Store
	listed *registry.Registration
	keeper *keeper.Keeper
	stop   context.CancelFunc
	done   chan struct{}
}

func newCluster(t *testing.T) *cluster {
	s := memory.NewServer()
	return &cluster{T: t, server: s, store: s.Open(), log: silent, nodes: map[string]*node{}}
}

// join starts a process.
func (c *cluster) join(number int) *node {
	c.Helper()
	n := &node{id: ulid.Make(), store: c.server.Open(), done: make(chan struct{})}
	r, err := registry.NewRegistration(n.store, registry.Config{
		TTL:  time.Second,
		Node: registry.Node{Addr: fmt.Sprintf("10.0.0.%d:8080", number), Incarnation: n.id.String()},
	})
	require.NoError(c, err)
	n.listed = r
	d := registry.NewDirectory(n.store, "", silent)
	store := &stores.Faulty{Store: n.store}
	store.Set(c.hooks)
	n.keeper = keeper.New(keeper.Config{Store: store, Directory: d, Incarnation: n.id, Logger: c.log})
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{r.Run, d.Run, n.keeper.Run} {
		running.Go(func() { _ = run(ctx) })
	}
	go func() {
		running.Wait()
		close(n.done)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[n.id.String()] = n
	return n
}

func (c *cluster) leave(n *node) {
	n.stop()
	<-n.done
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, n.id.String())
}

func (c *cluster) publish(total int64, slots int) event.Event {
	c.Helper()
	now := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(c.Context(), c.store, record.Event{
		Title: "t", SKU: "s", Price: record.Price{Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(24 * time.Hour)},
		Total:  total, PerUser: 2, Slots: slots, PayWithin: 3600,
	})
	require.NoError(c, err)
	e, err = event.Publish(c.Context(), c.store, e.ID)
	require.NoError(c, err)
	return e
}

// order asks the owner that a process knows of, as forwarding does.
func (c *cluster) order(e event.Event, via *node, d ledger.Demand) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	k := record.SlotOf(d.User, e.Slots)
	at, ok := via.keeper.Find(e.ID, k)
	if !ok {
		return slot.ErrUndecided
	}
	owner := at.Owner
	if at.Remote != "" {
		c.mu.Lock()
		remote := c.nodes[at.Remote]
		c.mu.Unlock()
		if remote == nil {
			return slot.ErrUndecided
		}
		there, _ := remote.keeper.Find(e.ID, k)
		owner = there.Owner
	}
	if owner == nil {
		select {
		case <-at.Moved:
		case <-time.After(100 * time.Millisecond):
		}
		return slot.ErrUndecided
	}
	o, _, err := owner.Order(ctx, d)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = append(c.acked, o.ID)
	return nil
}

func (c *cluster) insist(e event.Event, via *node, d ledger.Demand) error {
	for {
		err := c.order(e, via, d)
		if !errors.Is(err, slot.ErrUndecided) && !errors.Is(err, slot.ErrBusy) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// owners are who has each slot, by its record.
func (c *cluster) owners(e event.Event) (owners []string) {
	for k := range e.Slots {
		entry, err := c.store.Get(context.Background(), record.SlotKey(e.ID, k))
		require.NoError(c, err)
		s, err := record.DecodeSlot(entry)
		require.NoError(c, err)
		owners = append(owners, s.Owner)
	}
	return owners
}

// spread requires that slots are with these processes, each having some.
func (c *cluster) spread(e event.Event, among ...*node) {
	c.Helper()
	count := map[string]int{}
	for _, o := range c.owners(e) {
		count[o]++
	}
	for _, n := range among {
		assert.NotZero(c, count[n.id.String()], "slots of %s", n.id)
		delete(count, n.id.String())
	}
	assert.Empty(c, count, "slots of others")
}

func (c *cluster) verify(e event.Event) verify.Report {
	c.Helper()
	r, err := verify.Check(context.Background(), c.store, e.ID, c.acked)
	require.NoError(c, err)
	assert.Empty(c, r.Violations)
	return r
}

func TestSlotsGoWhereTheyBelong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		e := c.publish(1000, 32)
		a := c.join(1)
		time.Sleep(5 * time.Second)
		c.spread(e, a)
		b, d := c.join(2), c.join(3)
		time.Sleep(5 * time.Second)
		c.spread(e, a, b, d)
		before := c.owners(e)
		time.Sleep(time.Minute)
		assert.Equal(t, before, c.owners(e), "nothing moves without a reason")

		c.leave(b)
		time.Sleep(time.Second)
		c.spread(e, a, d)
		for k, owner := range c.owners(e) {
			if before[k] != b.id.String() {
				assert.Equal(t, before[k], owner, "only the slots of who left have moved")
			}
		}
		d.store.Cut() // it dies without a word
		time.Sleep(10 * time.Second)
		c.spread(e, a)
		c.leave(d)

		_, err := event.Close(t.Context(), c.store, e.ID)
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, ok := a.keeper.Find(e.ID, 0)
		assert.False(t, ok, "it is over")
		c.leave(a)
	})
}

// That two take a slot at the same moment, as in a hand-over, is nobody's failure.
func TestTwoTakeASlotAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		e := c.publish(1000, 1)
		key := record.SlotKey(e.ID, 0)
		var met sync.Once
		c.hooks = stores.Hooks{Put: func(at string) (err error) {
			if at == key {
				met.Do(func() { err = c.rewrite(key) })
			}
			return err
		}}
		var log bytes.Buffer
		c.log = slog.New(slog.NewTextHandler(&log, nil))
		a := c.join(1)
		time.Sleep(10 * time.Second)
		c.spread(e, a)
		c.leave(a)
		assert.Contains(t, log.String(), `level=INFO msg="another one has the slot"`)
		assert.NotContains(t, log.String(), "level=ERROR")
	})
}

// rewrite writes a key as it is, at another revision.
func (c *cluster) rewrite(key string) error {
	e, err := c.store.Get(context.Background(), key)
	if err == nil {
		_, err = c.store.Put(context.Background(), key, e.Value)
	}
	return err
}

// Who is about to stop, or is drained, hands its slots over while it runs on.
func TestDrainingHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		e := c.publish(1000, 32)
		a, b := c.join(1), c.join(2)
		time.Sleep(5 * time.Second)
		c.spread(e, a, b)
		draining := func(n *node, yes bool) {
			require.NoError(t, n.listed.Update(func(n *registry.Node) { n.Draining = yes }))
			time.Sleep(2 * time.Second)
		}
		assert.False(t, a.keeper.Yielded())
		draining(a, true)
		c.spread(e, b)
		assert.True(t, a.keeper.Yielded())
		assert.False(t, a.keeper.OwnsAny())
		assert.True(t, b.keeper.Yielded(), "it has slots, and nobody to have them instead")
		assert.True(t, b.keeper.OwnsAny())

		draining(b, true)
		time.Sleep(20 * time.Second)
		c.spread(e, a, b)
		assert.True(t, a.keeper.Yielded(), "nobody stays")

		draining(a, false)
		draining(b, false)
		require.NoError(t, registry.DrainNode(t.Context(), c.store, "", "10-0-0-1-8080", registry.Drain{Since: time.Now()}))
		time.Sleep(20 * time.Second)
		c.spread(e, b)
		c.leave(a)
		c.leave(b)
		c.verify(e)
	})
}

// A sale that is closed while its slots are being taken ends as well.
func TestClosedWhileSlotsAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join(1)
		time.Sleep(5 * time.Second)
		a.store.Delay(300 * time.Millisecond)
		e := c.publish(10, 4)
		time.Sleep(500 * time.Millisecond) // the takeover is on its way
		_, err := event.Close(t.Context(), c.store, e.ID)
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		_, ok := a.keeper.Find(e.ID, 0)
		assert.False(t, ok)
		a.store.Mend()
		other := c.publish(10, 4)
		time.Sleep(5 * time.Second)
		c.spread(other, a)
		c.leave(a)
	})
}

// An owner that is listed and can't be reached is replaced, by those who can't.
func TestUnreachableOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		e := c.publish(1000, 16)
		a, b := c.join(1), c.join(2)
		time.Sleep(5 * time.Second)
		c.spread(e, a, b)
		a.keeper.Suspect(b.id.String())
		time.Sleep(20 * time.Second)
		c.spread(e, a, b) // nobody has asked it again
		a.keeper.Trust(b.id.String())
		c.suspect(a, b, 2*time.Second)
		c.spread(e, a, b)
		c.suspect(a, b, 2*time.Second)
		c.spread(e, a)
		before := c.epochs(e)
		time.Sleep(time.Minute)
		c.spread(e, a)
		assert.Less(t, c.epochs(e)-before, uint64(16*12), "what they take from each other they take without haste")
		a.keeper.Heard(b.id.String())
		time.Sleep(20 * time.Second)
		c.spread(e, a, b) // it was long ago that it did not answer
		c.suspect(a, b, 4*time.Second)
		a.keeper.Heard(b.id.String())
		time.Sleep(20 * time.Second)
		c.spread(e, a) // it was not
		a.keeper.Trust(b.id.String())
		time.Sleep(20 * time.Second)
		c.spread(e, a, b)
		c.leave(a)
		c.leave(b)
		c.verify(e)
	})
}

// suspect has a process find another one out of reach for some time.
func (c *cluster) suspect(who, whom *node, d time.Duration) {
	for begun := time.Now(); time.Since(begun) < d; time.Sleep(100 * time.Millisecond) {
		who.keeper.Suspect(whom.id.String())
	}
}

func (c *cluster) epochs(e event.Event) (sum uint64) {
	for k := range e.Slots {
		entry, err := c.store.Get(context.Background(), record.SlotKey(e.ID, k))
		require.NoError(c, err)
		s, err := record.DecodeSlot(entry)
		require.NoError(c, err)
		sum += s.Epoch
	}
	return sum
}

// A whole sale while processes come, go, and die: all is sold, nothing twice.
func TestSaleWithProcessesComingAndGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		const total = 300
		e := c.publish(total, 8)
		door := c.join(1) // through which all buyers come
		second, third := c.join(2), c.join(3)
		var buyers sync.WaitGroup
		var mu sync.Mutex
		sold, refused := 0, 0
		for i := range 2 * total {
			buyers.Go(func() {
				time.Sleep(time.Duration(i) * 30 * time.Millisecond)
				err := c.insist(e, door, ledger.Demand{User: fmt.Sprint("u", i), Request: "1", Quantity: 1})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					sold++
				case assert.ErrorIs(t, err, slot.ErrSoldOut):
					refused++
				}
			})
		}
		time.Sleep(2 * time.Second)
		c.leave(second)
		time.Sleep(2 * time.Second)
		third.store.Cut()
		time.Sleep(2 * time.Second)
		fourth := c.join(4)
		buyers.Wait()
		assert.Equal(t, total, sold)
		assert.Equal(t, total, refused)
		c.leave(third)
		c.leave(fourth)
		c.leave(door)
		r := c.verify(e)
		assert.EqualValues(t, total, r.Held)
		assert.True(t, r.SoldOut)
	})
}
