package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// seller is a process that buyers come to, whose keys are in a file.
func seller(ctx context.Context, s backend.Store, p *stores.Parent) error {
	o, err := settings.Load(settings.Sources{})
	if err != nil {
		return err
	}
	o.Identity.KeysFile = p.Args[0]
	o.Config.RateLimit.PerUser = settings.UserRate{Requests: 1e6, Seconds: 1, Burst: 1e6}
	o.Config.CircuitBreaker = settings.CircuitBreaker{CPU: 100, Latency: 3_600_000}
	o.API.Bind, o.Ops.Bind, o.RPC.Bind = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return app.Run(ctx, ctx, app.Options{
		Settings: o, Store: s, Version: "v1", API: true, Level: new(slog.LevelVar),
		Log:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready: func(at app.Addresses) { p.Say("up %s", at.API) },
	})
}

// A tally is what buyers were told in place of an order, at one event.
type tally struct {
	*buyer
	event event.Event

	mu sync.Mutex
	by map[string]int64 // by code
}

// ask asks for a unit, and returns the status. Nobody is told apart without a name.
func (y *tally) ask(at, as, request string) int {
	y.Helper()
	req, err := http.NewRequestWithContext(y.Context(), http.MethodPost, fmt.Sprintf("http://%s/v1/events/%s/orders", at, y.event.ID),
		strings.NewReader(`{"quantity":1,"request_id":"`+request+`"}`))
	require.NoError(y, err)
	req.Header.Set("Content-Type", "application/json")
	if as != "" {
		set, err := identity.ReadFile(y.keys)
		require.NoError(y, err)
		token, err := identity.Mint(set[0], identity.Claims{Subject: as, Expires: time.Now().Add(time.Hour)})
		require.NoError(y, err)
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := y.client.Do(req)
	require.NoError(y, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(y, err)
	if resp.StatusCode >= http.StatusBadRequest {
		var p struct{ Code string }
		require.NoError(y, json.Unmarshal(text, &p), "%s", text)
		y.mu.Lock()
		defer y.mu.Unlock()
		y.by[p.Code]++
	}
	return resp.StatusCode
}

// take takes what was counted of a code under another name.
func (y *tally) take(code string) int64 {
	y.mu.Lock()
	defer y.mu.Unlock()
	n := y.by[code]
	delete(y.by, code)
	return n
}

func (r *running) live(e event.Event) (live admin.Live, ok bool) {
	r.Helper()
	a := r.do(http.MethodGet, r.at.Admin, "/v1/events/"+e.ID.String()+"/figures")
	if a.status != http.StatusOK {
		return live, false
	}
	require.NoError(r, json.Unmarshal([]byte(a.body), &live))
	require.NotNil(r, live.Refusals, a.body)
	return live, true
}

// What buyers are told by two nodes, in place of an order, is in the admin's figures: each
// answer once, and by its reason; and stays there when a node is killed.
func TestOperatorsSeeWhyBuyersAreRefused(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		b := newBuyer(t)
		list := filepath.Join(t.TempDir(), "blacklist")
		require.NoError(t, os.WriteFile(list, []byte("mallory\n"), 0o600))
		first := stores.Spawn(t, space, "seller", b.keys)
		one := first.Await(t, "up ")
		second := startWith(t, func(o *app.Options) {
			o.Store, o.Admin = space.Open(t), false
			o.Settings.Identity.KeysFile, o.Settings.Blacklist.File = b.keys, list
			o.Settings.Config.RateLimit.PerUser = settings.UserRate{Requests: 1, Seconds: 3600, Burst: 3}
		})
		two := second.at.API.String()
		looker := startWith(t, func(o *app.Options) { o.Store, o.API = space.Open(t), false })

		store := space.Open(t)
		sells := func(opens time.Time) *tally {
			opens = opens.Truncate(time.Millisecond)
			e, err := event.Create(t.Context(), store, record.Event{
				Title: "A rush", SKU: "RUSH", Price: record.Price{Minor: 100, Currency: "EUR"},
				Window: record.Window{Opens: opens, Closes: opens.Add(2 * time.Hour)}, Total: 2, PerUser: 1, Slots: 1, PayWithin: 3600,
			})
			require.NoError(t, err)
			e, err = event.Publish(t.Context(), store, e.ID)
			require.NoError(t, err)
			return &tally{buyer: b, event: e, by: map[string]int64{}}
		}
		sale, soon := sells(time.Now()), sells(time.Now().Add(time.Hour))
		for _, y := range []*tally{sale, soon} {
			stores.Wait(t, "figures", func() bool { _, ok := looker.live(y.event); return ok })
			// Refusals count from when a node knows of the sale: these are of no account.
			refused := func(at, as, reason string) {
				stores.Wait(t, "the node to count "+reason, func() bool {
					y.ask(at, as, "r")
					live, _ := looker.live(y.event)
					return live.Refusals[reason] > 0
				})
			}
			refused(one, "", "identity")
			refused(two, "mallory", "blacklist")
			clear(y.by)
		}
		// agree waits until the admin's figures are what buyers were told.
		agree := func(y *tally, want map[string]int64) {
			t.Helper()
			var got map[string]int64
			assert.Eventually(t, func() bool {
				live, _ := looker.live(y.event)
				got = live.Refusals
				delete(got, "identity")
				delete(got, "blacklist")
				return maps.Equal(want, got)
			}, time.Minute, 20*time.Millisecond)
			assert.Equal(t, want, got)
		}

		for i := range 2 {
			stores.Wait(t, "an order", func() bool { return sale.ask(one, fmt.Sprint("u", i), "r") == http.StatusCreated })
		}
		stores.Wait(t, "it to be told again", func() bool { return sale.ask(one, "u0", "r") == http.StatusOK })
		stores.Wait(t, "the limit", func() bool { sale.ask(one, "u0", "again"); return sale.by["limit_reached"] > 0 })
		var crowd sync.WaitGroup
		for i := range 60 {
			crowd.Go(func() { sale.ask(one, fmt.Sprint("late", i/2), "r") })
		}
		crowd.Wait()
		for range 10 {
			sale.ask(two, "bob", "r")
			soon.ask(two, "bob", "r")
			soon.ask(one, "bob", "r")
		}
		want := maps.Clone(sale.by)
		want["user_limit"] = sale.take("rate_limited")
		delete(want, "rate_limited")
		assert.Positive(t, want["sold_out"])
		assert.Positive(t, want["limit_reached"])
		assert.Positive(t, want["user_limit"])
		agree(sale, want)
		before := map[string]int64{"window": soon.take("not_started")}
		assert.EqualValues(t, 20, before["window"])
		assert.Empty(t, soon.by)
		agree(soon, before)
		t.Logf("refused: %v, and before the opening %v", want, before)

		incarnations := func() int {
			nodes, err := registry.NewDirectory(store, "", nil).Fetch(t.Context())
			require.NoError(t, err)
			return len(nodes)
		}
		require.Equal(t, 2, incarnations())
		first.Kill()
		stores.Wait(t, "it is not listed any more", func() bool { return incarnations() == 1 })
		stores.Wait(t, "a rate, of what is refused elsewhere", func() bool {
			soon.ask(two, "bob", "r")
			before["window"]++
			live, ok := looker.live(soon.event)
			require.True(t, ok)
			require.GreaterOrEqual(t, live.Refusals["window"], int64(20))
			return live.RefusalsPerSecond > 0
		})
		agree(sale, want)
		agree(soon, before)
	})
}
