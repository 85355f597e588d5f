package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestAnOrderIsPlacedOnce(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(asItIs)
		var o, again api.Order
		a := s.order(e, "ann", `{"quantity":2,"request_id":"r1"}`).read(http.StatusCreated, &o)
		assert.Equal(t, "/v1/orders/"+o.ID, a.header.Get("Location"))
		assert.Equal(t, "no-store", a.header.Get("Cache-Control"))
		assert.Len(t, o.ID, 53)
		assert.Equal(t, api.Order{
			ID: o.ID, Event: e.ID.String(), RequestID: "r1", Quantity: 2, Status: ledger.Pending,
			Total: api.Money{Minor: 1000, Currency: "EUR"}, PlacedAt: o.PlacedAt, PayBy: o.PlacedAt.Add(time.Minute), ChangedAt: o.PlacedAt,
		}, o)
		assert.WithinDuration(t, time.Now(), o.PlacedAt, time.Second)

		s.order(e, "ann", `{"quantity":2,"request_id":"r1"}`).read(http.StatusOK, &again)
		assert.Equal(t, o, again)
		keyed := request{method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/orders", as: "ann", body: `{"quantity":2}`}
		for _, key := range []string{"r1", `"r1"`} {
			keyed.header = map[string]string{"Idempotency-Key": key}
			s.do(keyed).read(http.StatusOK, &again)
			assert.Equal(t, o, again)
		}
		keyed.body = `{"quantity":2,"request_id":"r2"}`
		s.do(keyed).refused(http.StatusUnprocessableEntity, "invalid")

		s.order(e, "ann", `{"quantity":1,"request_id":"r1"}`).refused(http.StatusUnprocessableEntity, "request_reused")
		s.order(e, "ann", `{"quantity":1,"request_id":"r2"}`).refused(http.StatusConflict, "limit_reached")
		s.order(e, "bob", `{"quantity":2,"request_id":"r1"}`).read(http.StatusCreated, &again)
		assert.NotEqual(t, o.ID, again.ID, "request ids are the buyer's own")

		var got api.Order
		s.get("/v1/orders/"+o.ID, "ann").read(http.StatusOK, &got)
		assert.Equal(t, o, got)
		s.get("/v1/orders/"+o.ID, "bob").refused(http.StatusNotFound, "no_such_order")
	})
}

func TestSoldOutAndWhatComesBack(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(func(e *record.Event) { e.Total = 4 })
		orders := map[string]api.Order{}
		for _, who := range []string{"ann", "bob"} {
			var o api.Order
			s.order(e, who, `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &o)
			orders[who] = o
		}
		s.order(e, "cem", `{"quantity":1,"request_id":"r"}`).refused(http.StatusConflict, "sold_out")

		s.post("/v1/orders/"+orders["ann"].ID+"/cancel", "bob", "").refused(http.StatusNotFound, "no_such_order")
		var o api.Order
		for range 2 {
			s.post("/v1/orders/"+orders["ann"].ID+"/cancel", "ann", "").read(http.StatusOK, &o)
			assert.Equal(t, ledger.Cancelled, o.Status)
		}
		stores.Wait(t, "the units are back", func() bool {
			return s.order(e, "cem", `{"quantity":1,"request_id":"r"}`).status == http.StatusCreated
		})
	})
}

func TestTheWindowAndTheOperatorsWord(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(func(e *record.Event) { e.Window.Opens = e.Window.Opens.Add(time.Minute) })
		const body = `{"quantity":1,"request_id":"r"}`
		s.order(e, "ann", body).refused(http.StatusConflict, "not_started")
		time.Sleep(time.Minute)
		var o api.Order
		s.order(e, "ann", body).read(http.StatusCreated, &o)
		_, err := event.Suspend(t.Context(), s.store, e.ID)
		require.NoError(t, err)
		time.Sleep(time.Second)
		s.order(e, "bob", body).refused(http.StatusConflict, "suspended")
		_, err = event.Resume(t.Context(), s.store, e.ID)
		require.NoError(t, err)
		time.Sleep(5 * time.Minute)
		s.order(e, "bob", body).refused(http.StatusConflict, "ended")
		s.order(e, "ann", body).read(http.StatusOK, &o)
		assert.Equal(t, ledger.Expired, o.Status, "a repeated request is answered, whatever the time")
		s.post("/v1/orders/"+o.ID+"/cancel", "ann", "").refused(http.StatusConflict, "order_over")

		_, err = event.Close(t.Context(), s.store, e.ID)
		require.NoError(t, err)
		time.Sleep(time.Second)
		s.order(e, "bob", body).refused(http.StatusConflict, "ended")
		s.order(e, "ann", body).read(http.StatusOK, &o)
		s.get("/v1/orders/"+o.ID, "ann").read(http.StatusOK, &o)
		s.post("/v1/orders/"+o.ID+"/cancel", "ann", "").refused(http.StatusConflict, "ended")
		s.pay(fmt.Sprintf(`{"order":%q,"payment":"p","amount":{"minor":500,"currency":"EUR"}}`, o.ID)).refused(http.StatusConflict, "ended")
	})
}

func TestMyOrders(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		first, second := s.publish(asItIs), s.publish(asItIs)
		var orders struct{ Orders []api.Order }
		s.get("/v1/me/orders", "ann").read(http.StatusOK, &orders)
		assert.NotNil(t, orders.Orders)
		assert.Empty(t, orders.Orders)
		var o1, o2 api.Order
		s.order(first, "ann", `{"quantity":1,"request_id":"r"}`).read(http.StatusCreated, &o1)
		time.Sleep(time.Second)
		s.order(second, "ann", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &o2)
		s.order(second, "bob", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &api.Order{})
		s.get("/v1/me/orders", "ann").read(http.StatusOK, &orders)
		assert.Equal(t, []api.Order{o2, o1}, orders.Orders, "the latest first, nobody else's")
	})
}

func TestPayments(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(func(e *record.Event) { e.Total = 2 })
		var o api.Order
		s.order(e, "ann", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &o)
		paid := func(order, name string, amount int, currency string) string {
			return fmt.Sprintf(`{"order":%q,"payment":%q,"amount":{"minor":%d,"currency":%q}}`, order, name, amount, currency)
		}
		s.pay(paid(o.ID, "p1", 999, "EUR")).refused(http.StatusUnprocessableEntity, "wrong_amount")
		s.pay(paid(o.ID, "p1", 1000, "USD")).refused(http.StatusUnprocessableEntity, "wrong_amount")
		a := s.do(request{method: http.MethodPost, path: "/v1/payments", body: paid(o.ID, "p1", 1000, "EUR"), header: map[string]string{"Seckill-Signature": "x"}})
		a.refused(http.StatusUnauthorized, "unauthenticated")
		assert.NotEmpty(t, a.header.Get("WWW-Authenticate"))
		s.get("/v1/orders/"+o.ID, "ann").read(http.StatusOK, &o)
		assert.Equal(t, ledger.Pending, o.Status, "none of these was taken")

		var said struct{ Order, Payment, Status string }
		for range 2 {
			s.pay(paid(o.ID, "p1", 1000, "EUR")).read(http.StatusOK, &said)
			assert.Equal(t, "paid", said.Status)
		}
		s.pay(paid(o.ID, "p2", 1000, "EUR")).refused(http.StatusConflict, "other_payment")
		s.post("/v1/orders/"+o.ID+"/cancel", "ann", "").refused(http.StatusConflict, "order_paid")
		s.pay(paid("x", "p1", 1000, "EUR")).refused(http.StatusNotFound, "no_such_order")
		s.pay(paid(e.ID.String()+"-"+e.ID.String(), "p1", 1000, "EUR")).refused(http.StatusNotFound, "no_such_order")
		s.pay(`{"order":"x","payment":"","amount":{"minor":1,"currency":"EUR"}}`).refused(http.StatusUnprocessableEntity, "invalid")
	})
}

// A payment that comes too late revives the order while there are units, and is to be
// given back when somebody else has them.
func TestLatePayments(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(func(e *record.Event) { e.Total = 2 })
		place := func(who string) (o api.Order) {
			s.order(e, who, `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &o)
			return o
		}
		pay := func(o api.Order) string {
			var said struct{ Status string }
			s.pay(fmt.Sprintf(`{"order":%q,"payment":"p","amount":{"minor":1000,"currency":"EUR"}}`, o.ID)).read(http.StatusOK, &said)
			return said.Status
		}
		first := place("ann")
		time.Sleep(2 * time.Minute)
		second := place("bob")
		assert.Equal(t, "refund_due", pay(first))
		time.Sleep(2 * time.Minute)
		assert.Equal(t, "paid", pay(second))
		assert.Equal(t, "paid", pay(second), "told again")
	})
}
