package sale_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A kiosk is a process that sells, whose parts end one by one.
type kiosk struct {
	*sale.Desk
	leave func() // the list of processes
	end   func() // and with it all that it has not told
}

func openKiosk(t *testing.T, server *memory.Server, addr string) *kiosk {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	id, s := ulid.Make(), server.Open()
	r, err := registry.NewRegistration(s, registry.Config{
		TTL: 10 * time.Second, Node: registry.Node{Addr: addr, RPC: listener.Addr().String(), Incarnation: id.String()},
	})
	require.NoError(t, err)
	d := registry.NewDirectory(s, "", silent)
	k := &kiosk{Desk: sale.New(sale.Config{Store: s, Directory: d, Incarnation: id, Valid: r.Registered, Dial: dial, Logger: silent})}
	g := grpc.NewServer()
	k.Serve(g)
	k.leave = background(t, r.Run)
	end := background(t, d.Run, k.Run, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, g.Stop)()
		return g.Serve(listener)
	})
	k.end = sync.OnceFunc(func() {
		k.leave()
		end()
		assert.NoError(t, s.Close())
	})
	t.Cleanup(k.end)
	return k
}

// background runs something until it is told to stop, or the test ends.
func background(t *testing.T, all ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for _, run := range all {
		running.Go(func() { assert.NoError(t, run(ctx)) })
	}
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}

// onlooker is a process that sells nothing, and nobody knows.
func onlooker(t *testing.T, server *memory.Server) *sale.Desk {
	t.Helper()
	s := server.Open()
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	d := registry.NewDirectory(s, "", silent)
	desk := sale.New(sale.Config{Store: s, Directory: d, Incarnation: ulid.Make(), Valid: func() bool { return true }, Dial: dial, Logger: silent})
	t.Cleanup(background(t, d.Run, desk.Run))
	return desk
}

// settled waits until somebody has heard of all slots of a sale, and knows who has them.
func settled(t *testing.T, d *sale.Desk, e event.Event) {
	t.Helper()
	stores.Wait(t, "all slots are heard of", func() bool {
		f, ok := d.Figures(e.ID)
		return ok && !f.At.IsZero()
	})
}

func refused(t *testing.T, d *sale.Desk, e event.Event, want map[string]int64) {
	t.Helper()
	stores.Wait(t, fmt.Sprint("refusals to be ", want), func() bool {
		f, _ := d.Figures(e.ID)
		return maps.Equal(want, f.Refused)
	})
}

// What processes have refused adds up, whether they own slots or not; of one that is not
// listed any more too, as long as it runs, and when it has ended.
func TestRefusalsOfAllProcesses(t *testing.T) {
	server := memory.NewServer()
	one := openKiosk(t, server, "10.0.0.1:8080")
	e := publish(t, server.Open(), 10, 1)
	looker := onlooker(t, server)
	settled(t, looker, e)
	two := openKiosk(t, server, "10.0.0.2:8080") // at most one of them has the slot
	settled(t, two.Desk, e)
	f, _ := looker.Figures(e.ID)
	assert.NotNil(t, f.Refused)
	assert.Empty(t, f.Refused)

	const crowd, each = 8, 250
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			for range each {
				one.Refused(e.ID, "sold_out")
				two.Refused(e.ID, "sold_out")
				two.Refused(e.ID, "user_limit")
				two.Refused(ulid.Make(), "sold_out") // there is no such sale
			}
		})
	}
	all.Wait()
	want := map[string]int64{"sold_out": 2 * crowd * each, "user_limit": crowd * each}
	for _, d := range []*sale.Desk{looker, one.Desk, two.Desk} {
		refused(t, d, e, want)
	}

	two.leave()
	stores.Wait(t, "it is not listed", func() bool {
		nodes, err := registry.NewDirectory(server.Open(), "", silent).Fetch(t.Context())
		require.NoError(t, err)
		return len(nodes) == 1
	})
	time.Sleep(3 * time.Second) // for the others to see that
	two.Refused(e.ID, "busy")
	want["busy"] = 1
	refused(t, looker, e, want)
	two.end()
	one.Refused(e.ID, "ended")
	want["ended"] = 1
	refused(t, looker, e, want)
	refused(t, one.Desk, e, want)
}

// A crowd that comes too late wakes nobody who looks at what remains.
func TestRefusalsWakeNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShop(t, memory.NewServer(), "10.0.0.1:8080", "")
		e := publish(t, s.store, 10, 2)
		time.Sleep(5 * time.Second)
		var woken atomic.Int64
		defer s.Subscribe(e.ID, func() { woken.Add(1) })()
		for i := range int64(4) {
			s.Refused(e.ID, "sold_out")
			time.Sleep(time.Second)
			f, _ := s.Figures(e.ID)
			assert.Equal(t, map[string]int64{"sold_out": i + 1}, f.Refused)
		}
		assert.Zero(t, woken.Load())
		_, err := order(t, s.Desk, e.ID, "ann", "1")
		require.NoError(t, err)
		time.Sleep(time.Second)
		assert.Positive(t, woken.Load(), "an order does")
		s.stop()
	})
}
