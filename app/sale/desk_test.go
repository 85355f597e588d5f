package sale_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"node": node}) }

func dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// node is a process that sells, and has buyers of its own: "buy 10 20" makes those
// from 10 to 19 buy. It says each answer that a buyer gets.
func node(ctx context.Context, s backend.Store, p *stores.Parent) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	e, err := ulid.ParseStrict(p.Args[0])
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	id := ulid.Make()
	r, err := registry.NewRegistration(s, registry.Config{
		TTL: 2 * time.Second, Logger: log,
		Node: registry.Node{Addr: listener.Addr().String(), RPC: listener.Addr().String(), Incarnation: id.String()},
	})
	if err != nil {
		return err
	}
	d := registry.NewDirectory(s, "", log)
	desk := sale.New(sale.Config{Store: s, Directory: d, Incarnation: id, Valid: r.Registered, Dial: dial, Logger: log})
	server := grpc.NewServer()
	desk.Serve(server)

	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(listener) })
	g.Go(func() error { return r.Run(running) })
	g.Go(func() error { return d.Run(running) })
	g.Go(func() error { return desk.Run(running) })
	var buyers sync.WaitGroup
	p.Say("up %s", id)
	for line := range p.Told {
		from, to, _ := strings.Cut(strings.TrimPrefix(line, "buy "), " ")
		first, _ := strconv.Atoi(from)
		last, _ := strconv.Atoi(to)
		for i := first; i < last; i++ {
			buyers.Go(func() { buy(ctx, desk, e, i, p) })
		}
	}
	buyers.Wait()
	server.Stop()
	return g.Wait()
}

// buy is one buyer, who asks until there is an answer.
func buy(ctx context.Context, desk *sale.Desk, e ulid.ULID, number int, p *stores.Parent) {
	demand := ledger.Demand{User: fmt.Sprint("u", number), Request: "1", Quantity: 1 + int64(number%2)}
	for ctx.Err() == nil {
		o, err := patiently(ctx, desk, e, demand)
		switch {
		case err == nil:
			p.Say("sold %d %s", number, o.ID)
			return
		case errors.Is(err, slot.ErrSoldOut):
			p.Say("refused %d", number)
			return
		case !errors.Is(err, slot.ErrUndecided) && !errors.Is(err, slot.ErrBusy) && !errors.Is(err, sale.ErrNoSale):
			p.Say("wrong %d: %v", number, err)
			return
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
}

func patiently(ctx context.Context, desk *sale.Desk, e ulid.ULID, demand ledger.Demand) (ledger.Order, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	o, _, err := desk.Order(ctx, e, demand)
	return o, err
}

// A floor is a sale with processes, as the test sees it.
type floor struct {
	*testing.T
	space stores.Space
	store backend.Store
	event event.Event

	mu       sync.Mutex
	answered map[int]string // by buyer
	acked    []ulid.ULID
	hearing  sync.WaitGroup
}

func open(t *testing.T, s stores.Space, total int64, slots int) *floor {
	t.Helper()
	f := &floor{T: t, space: s, store: s.Open(t), answered: map[int]string{}}
	now := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(t.Context(), f.store, record.Event{
		Title: "t", SKU: "s", Price: record.Price{Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
		Total:  total, PerUser: 2, Slots: slots, PayWithin: 3600,
	})
	require.NoError(t, err)
	f.event, err = event.Publish(t.Context(), f.store, e.ID)
	require.NoError(t, err)
	return f
}

// join starts a process and takes down what it says.
func (f *floor) join() (p *stores.Process, incarnation string) {
	f.Helper()
	p = stores.Spawn(f, f.space, "node", f.event.ID.String())
	incarnation = p.Await(f, "up ")
	stores.Wait(f, incarnation+" is listed", func() bool { return f.lists(incarnation) })
	f.hearing.Go(func() {
		for line := range p.Said {
			f.hear(strings.Fields(line))
		}
	})
	return p, incarnation
}

// lists reports whether a process is registered.
func (f *floor) lists(incarnation string) bool {
	f.Helper()
	nodes, err := registry.NewDirectory(f.store, "", nil).Fetch(f.Context())
	require.NoError(f, err)
	return slices.ContainsFunc(nodes, func(n registry.Node) bool { return n.Incarnation == incarnation })
}

func (f *floor) hear(words []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	number, err := strconv.Atoi(strings.TrimSuffix(words[1], ":"))
	assert.NoError(f, err)
	f.answered[number] = words[0]
	switch words[0] {
	case "sold":
		id, err := ulid.ParseStrict(words[2])
		assert.NoError(f, err)
		f.acked = append(f.acked, id)
	case "wrong":
		assert.Fail(f, strings.Join(words, " "))
	}
}

// unanswered lists the buyers below n who have no answer.
func (f *floor) unanswered(n int) (who []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		if f.answered[i] == "" {
			who = append(who, i)
		}
	}
	return who
}

func (f *floor) count(answer string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.answered {
		if a == answer {
			n++
		}
	}
	return n
}

func (f *floor) verify() verify.Report {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := verify.Check(f.Context(), f.store, f.event.ID, f.acked)
	require.NoError(f, err)
	assert.Empty(f, r.Violations)
	return r
}

// A sale by three processes with three times the demand, of which one is killed and
// one paused past its lease: everything is sold, nothing twice, and whoever was told
// to have an order has it.
func TestSaleWithProcessesThatDie(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		const total, buyers = 1000, 2000
		f := open(t, s, total, 8)
		first, _ := f.join()
		second, _ := f.join()
		third, paused := f.join()
		for i := range buyers / 100 {
			p := []*stores.Process{first, second, third}[i%3]
			p.Tell(t, fmt.Sprintf("buy %d %d", 100*i, 100*i+100))
			if i == 6 {
				third.Pause(t)
			}
			if i == 9 {
				second.Kill()
				second, _ = f.join()
			}
		}
		stores.Wait(t, "the lease of the paused one has run out", func() bool { return !f.lists(paused) })
		third.Resume(t)
		// The killed one's buyers come back, elsewhere.
		stores.Wait(t, "all who can are answered", func() bool {
			return len(f.unanswered(buyers)) < buyers/2
		})
		for _, i := range f.unanswered(buyers) {
			first.Tell(t, fmt.Sprintf("buy %d %d", i, i+1))
		}
		stores.Wait(t, "all are answered", func() bool { return len(f.unanswered(buyers)) == 0 })
		for _, p := range []*stores.Process{first, second, third} {
			p.Stop(t)
		}
		f.hearing.Wait()
		r := f.verify()
		t.Logf("%d of %d units in %d orders, %d batches; %d refused", r.Held, r.Total, r.Orders, r.Batches, f.count("refused"))
		assert.GreaterOrEqual(t, r.Held, int64(total-1), "with demand left over")
		assert.LessOrEqual(t, f.count("sold"), r.Orders)
	})
}
