package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
)

// BenchmarkPlaceOrder is what the service adds to an order: the seller answers at
// once, and the buyer's token was seen before.
func BenchmarkPlaceOrder(b *testing.B) {
	store := memory.New()
	b.Cleanup(func() { assert.NoError(b, store.Close()) })
	e, err := event.Create(b.Context(), store, draft())
	require.NoError(b, err)
	_, err = event.Publish(b.Context(), store, e.ID)
	require.NoError(b, err)
	c := catalogue.New(store, silent)
	stores.Start(b, c.Run)
	require.NoError(b, c.AwaitSynced(b.Context()))
	d := newDoor(b)
	admits, err := gate.New(gate.Config{
		Identity: d.identity, Events: c, Cluster: wide(), Log: silent, CPU: func() (all, own float64, err error) { return 0, 0, nil },
	})
	require.NoError(b, err)
	admits.SetShare(1)
	service := api.New(api.Config{
		Version: "v1", Ready: func() error { return nil }, Seller: &scripted{order: aPaidOrder(), created: true}, Catalogue: c,
		Gate: admits, Log: silent,
	})
	const body = `{"quantity":1,"request_id":"01K9ZZZZZZZZZZZZZZZZZZZZZ1"}`
	template := request{method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/orders", as: "ann", body: body}.make(b, d)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := template.Clone(b.Context())
		w := &sink{header: http.Header{}}
		sent := strings.NewReader(body)
		r.Body = reusable{sent}
		for pb.Next() {
			sent.Reset(body)
			clear(w.header)
			service.ServeHTTP(w, r)
			if w.status != http.StatusCreated {
				b.Error(w.status)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
}

// reusable is a body that is not used up.
type reusable struct{ *strings.Reader }

func (reusable) Close() error { return nil }

// A sink keeps nothing of an answer but its status.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
