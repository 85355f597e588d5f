package app_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A buyer has a token that nodes with a file of keys believe.
type buyer struct {
	*testing.T
	keys   string
	client http.Client
}

func newBuyer(t *testing.T) *buyer {
	t.Helper()
	b := &buyer{T: t, keys: filepath.Join(t.TempDir(), "keys.json"), client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	key, err := identity.NewKey("HS256", "k")
	require.NoError(t, err)
	require.NoError(t, identity.ChangeFile(b.keys, func(identity.Set) (identity.Set, error) { return identity.Set{key}, nil }))
	return b
}

// order places an order, and tells the status and what the answer was.
func (b *buyer) order(at net.Addr, e event.Event, as string) (status int, body string) {
	b.Helper()
	set, err := identity.ReadFile(b.keys)
	require.NoError(b, err)
	token, err := identity.Mint(set[0], identity.Claims{Subject: as, Expires: time.Now().Add(time.Hour)})
	require.NoError(b, err)
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, fmt.Sprintf("http://%s/v1/events/%s/orders", at, e.ID),
		strings.NewReader(`{"quantity":1,"request_id":"r"}`))
	require.NoError(b, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(req)
	require.NoError(b, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b, err)
	return resp.StatusCode, string(text)
}

func publish(t *testing.T, s backend.Store) event.Event {
	t.Helper()
	at := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(t.Context(), s, record.Event{
		Title: "A rush", SKU: "RUSH", Price: record.Price{Minor: 100, Currency: "EUR"},
		Window: record.Window{Opens: at, Closes: at.Add(time.Hour)}, Total: 1000, PerUser: 1000, Slots: 2, PayWithin: 3600,
	})
	require.NoError(t, err)
	e, err = event.Publish(t.Context(), s, e.ID)
	require.NoError(t, err)
	return e
}

// Two nodes share the cluster's rates, and follow the operators' word about one event.
func TestTheGateFollowsTheCluster(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		b := newBuyer(t)
		on := func(o *app.Options) { o.Store, o.Settings.Identity.KeysFile, o.Admin = space.Open(t), b.keys, false }
		first := startWith(t, on)
		assert.InDelta(t, 1, first.metric("seckill_gate_share"), 1e-9)
		second := startWith(t, on)
		nodes := []*running{first, second}
		for _, n := range nodes {
			stores.Wait(t, "each has a half", func() bool { return n.metric("seckill_gate_share") == 0.5 })
			assert.Equal(t, "ready\n", n.get(n.at.API, "/readyz"))
		}
		store := space.Open(t)
		one, other := publish(t, store), publish(t, store)
		ordered := func(n *running, e event.Event) func() bool {
			return func() bool {
				status, _ := b.order(n.at.API, e, "ann")
				return status == http.StatusCreated || status == http.StatusOK
			}
		}
		for _, n := range nodes {
			stores.Wait(t, "orders are placed", ordered(n, one))
			stores.Wait(t, "of both events", ordered(n, other))
		}

		space.Put(t, settings.ConfigKey, `{"rateLimit":{"middle":50000},"degrade":{"events":{"`+one.ID.String()+`":{"refuseOrders":true}}}}`)
		for _, n := range nodes {
			stores.Wait(t, "orders of one event are refused", func() bool {
				status, body := b.order(n.at.API, one, "ann")
				return status == http.StatusServiceUnavailable && strings.Contains(body, `"switched_off"`)
			})
			stores.Wait(t, "those of the other one go on", func() bool {
				status, body := b.order(n.at.API, other, "ann")
				require.NotContains(t, body, "switched_off")
				return status == http.StatusOK
			})
			assert.InDelta(t, 25000, n.metric(`seckill_gate_limit_requests_per_second{limit="node"}`), 1e-6)
			assert.Positive(t, n.metric(`seckill_gate_decisions_total{check="switches",decision="refused"}`))
		}
		space.Delete(t, settings.ConfigKey)
		for _, n := range nodes {
			stores.Wait(t, "orders are placed again", ordered(n, one))
		}

		// One that operators drain is not ready, and says so everywhere, until they let it serve again.
		id, err := registry.ID(first.at.API.String())
		require.NoError(t, err)
		require.NoError(t, registry.DrainNode(t.Context(), store, registry.DefaultDir, id, registry.Drain{}))
		stores.Wait(t, "it is not ready", func() bool { return first.metric("seckill_ready") == 0 })
		assert.Contains(t, first.get(first.at.Ops, "/status"), `"notReady": "this node may take no requests yet: it has just started, or was drained"`)
		assert.Zero(t, first.metric("seckill_gate_share"))
		require.NoError(t, registry.UndrainNode(t.Context(), store, registry.DefaultDir, id))
		stores.Wait(t, "it is ready again", func() bool { return first.metric("seckill_ready") == 1 })
	})
}

func TestABlacklistIsInForceFromTheBeginning(t *testing.T) {
	b := newBuyer(t)
	list := filepath.Join(t.TempDir(), "blacklist")
	require.NoError(t, os.WriteFile(list, []byte("mallory\n"), 0o600))
	r := startWith(t, func(o *app.Options) { o.Settings.Identity.KeysFile, o.Settings.Blacklist.File = b.keys, list })
	e := publish(t, r.store)
	status, body := b.order(r.at.API, e, "mallory")
	assert.Equal(t, http.StatusForbidden, status)
	assert.Contains(t, body, `"blacklisted"`)
	stores.Wait(t, "others are served", func() bool { status, _ = b.order(r.at.API, e, "ann"); return status == http.StatusCreated })
	assert.InDelta(t, 1, r.metric("seckill_gate_blacklist_ids"), 0)
	page := r.get(r.at.Ops, "/status")
	assert.Contains(t, page, `"gate": {`)
	assert.Contains(t, page, list)
}

func TestABadBlacklistStartsNothing(t *testing.T) {
	store := memory.New()
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	o := options(t, store)
	o.Settings.Blacklist.File = "nowhere"
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o), "blacklist.file: ")

	// Who is told to stop while the list is loaded stops.
	file := filepath.Join(t.TempDir(), "blacklist")
	require.NoError(t, os.WriteFile(file, []byte("mallory\n"), 0o600))
	o = options(t, store)
	o.Settings.Blacklist.File = file
	stop, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, app.Run(stop, t.Context(), o))
}
