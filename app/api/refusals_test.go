package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// scripted is a seller that answers what it is told to, at once.
type scripted struct {
	order   ledger.Order
	created bool
	err     error
	paying  error
	hangs   bool
	refused []string
}

func (s *scripted) Order(ctx context.Context, _ ulid.ULID, d ledger.Demand) (ledger.Order, bool, error) {
	if s.hangs {
		<-ctx.Done()
		return ledger.Order{}, false, fmt.Errorf("%w: %w", slot.ErrUndecided, ctx.Err())
	}
	o := s.order
	o.User, o.Request, o.Quantity = d.User, d.Request, d.Quantity
	return o, s.created, s.err
}

func (s *scripted) Cancel(context.Context, ulid.ULID, string, ulid.ULID) (ledger.Order, error) {
	return s.order, s.err
}

func (s *scripted) Pay(context.Context, ulid.ULID, ulid.ULID, string) (ledger.Order, error) {
	return s.order, s.paying
}

func (s *scripted) Find(context.Context, ulid.ULID, string, ulid.ULID) (ledger.Order, error) {
	return s.order, s.err
}

func (s *scripted) Lookup(context.Context, ulid.ULID, ulid.ULID) (ledger.Order, error) {
	return s.order, s.err
}

func (s *scripted) OrdersOfAll(context.Context, string) ([]sale.EventOrders, error) {
	return nil, s.err
}

func (s *scripted) Figures(ulid.ULID) (sale.Figures, bool) { return sale.Figures{}, false }

func (s *scripted) Refused(_ ulid.ULID, reason string) { s.refused = append(s.refused, reason) }

func (s *scripted) Subscribe(ulid.ULID, func()) (stop func()) { return func() {} }

func aPaidOrder() ledger.Order {
	now := time.Now().Truncate(time.Millisecond)
	return ledger.Order{ID: ulid.Make(), User: "ann", Request: "r", Quantity: 1, At: now, PayBy: now.Add(time.Minute), Status: ledger.Paid, Changed: now}
}

// inScript is inShop with a seller that does what it is told.
func inScript(t *testing.T, f func(t *testing.T, s *shop, seller *scripted)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		t.Cleanup(func() { assert.NoError(t, store.Close()) })
		seller := &scripted{order: aPaidOrder()}
		f(t, open(t, store, seller), seller)
	})
}

// answers takes down which statuses and codes each operation was seen to answer
// with.
type answers map[string]bool

func (a answers) add(s *shop, r request, got answer) {
	op := s.operation(r.make(s, s.door))
	require.NotNil(s, op, r.path)
	code := ""
	if _, rest, ok := strings.Cut(got.body, `"code":"`); ok {
		code, _, _ = strings.Cut(rest, `"`)
	}
	a[fmt.Sprint(op.OperationID, " ", got.status, " ", code)] = true
}

// documented lists what the document says that there may be.
func documented(s *shop) (all []string) {
	codes := regexp.MustCompile("`([a-z_]+)`:")
	for _, item := range s.service.OpenAPI().Paths {
		op := item.Get
		if op == nil {
			op = item.Post
		}
		for status, r := range op.Responses {
			found := codes.FindAllStringSubmatch(r.Description, -1)
			if len(found) == 0 && status != "default" {
				all = append(all, fmt.Sprint(op.OperationID, " ", status, " "))
			}
			for _, c := range found {
				all = append(all, fmt.Sprint(op.OperationID, " ", status, " ", c[1]))
			}
		}
	}
	slices.Sort(all)
	return all
}

// Every answer that the document promises is reached, and no other one is given: the
// latter is what shop.conforms checks on each request of every test.
func TestEveryDocumentedAnswerIsReached(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, seller *scripted) {
		e := s.publish(asItIs)
		over := s.publish(func(e *record.Event) { e.Window.Closes = e.Window.Opens.Add(time.Second) })
		time.Sleep(time.Second)
		_, err := s.store.Put(t.Context(), "topics/page", []byte(`{"title":"t","events":[]}`))
		require.NoError(t, err)
		synctest.Wait()

		seen := answers{}
		try := func(r request, script scripted) answer {
			*seller = script
			if seller.order.ID.IsZero() {
				seller.order = aPaidOrder()
			}
			a := s.do(r)
			seen.add(s, r, a)
			return a
		}
		path := "/v1/events/" + e.ID.String()
		id := e.ID.String() + "-" + ulid.Make().String()
		order := request{method: http.MethodPost, path: path + "/orders", as: "ann", body: `{"quantity":1,"request_id":"r"}`}
		find := request{method: http.MethodGet, path: "/v1/orders/" + id, as: "ann"}
		cancel := request{method: http.MethodPost, path: find.path + "/cancel", as: "ann"}
		mine := request{method: http.MethodGet, path: "/v1/me/orders", as: "ann"}
		payment := fmt.Sprintf(`{"order":%q,"payment":"p","amount":{"minor":500,"currency":"EUR"}}`, id)
		pay := request{method: http.MethodPost, path: "/v1/payments", body: payment, header: map[string]string{"Seckill-Signature": sign(payment)}}

		// What a seller says.
		for _, refusal := range []error{
			slot.ErrSoldOut, ledger.ErrLimit, slot.ErrNotStarted, slot.ErrEnded, slot.ErrOffline, slot.ErrBusy,
			fmt.Errorf("%w: the store is slow", slot.ErrUndecided), ledger.ErrOtherUse, backend.ErrInvalid,
		} {
			try(order, scripted{err: refusal})
		}
		for _, err := range []error{sale.ErrNoSale, context.DeadlineExceeded, errors.New("unheard of")} {
			try(order, scripted{err: err}).refused(http.StatusServiceUnavailable, "undecided")
		}
		for _, waiting := range []error{slot.ErrBusy, slot.ErrUndecided} {
			for _, r := range []request{order, find, cancel, mine, pay} {
				assert.Equal(t, "1", try(r, scripted{err: waiting}).header.Get("Retry-After"))
			}
		}
		try(order, scripted{created: true})
		try(order, scripted{})
		try(find, scripted{})
		try(find, scripted{err: ledger.ErrNoOrder})
		try(find, scripted{err: sale.ErrArchived})
		try(cancel, scripted{})
		try(mine, scripted{})
		try(pay, scripted{})
		for _, refusal := range []error{ledger.ErrPaid, ledger.ErrOver, slot.ErrEnded, ledger.ErrNoOrder} {
			try(cancel, scripted{err: refusal})
		}
		for _, refusal := range []error{ledger.ErrOtherPaid, slot.ErrEnded} {
			try(pay, scripted{paying: refusal})
		}
		try(pay, scripted{err: sale.ErrArchived})
		try(pay, scripted{err: ledger.ErrNoOrder})
		costly := aPaidOrder()
		costly.Quantity = 2
		try(pay, scripted{order: costly}).refused(http.StatusUnprocessableEntity, "wrong_amount")

		// What the service itself says.
		with := func(r request, change func(*request)) request {
			r.header = map[string]string{"Seckill-Signature": r.header["Seckill-Signature"]}
			change(&r)
			return r
		}
		for _, r := range []request{order, find, cancel, mine, pay} {
			try(with(r, func(r *request) { r.as, r.header = "", nil }), scripted{}).refused(http.StatusUnauthorized, "unauthenticated")
		}
		for _, r := range []request{order, pay} {
			try(with(r, func(r *request) { r.header["Content-Type"] = "text/plain" }), scripted{})
			try(with(r, func(r *request) { r.body = strings.Repeat(" ", 5000) }), scripted{})
			try(with(r, func(r *request) { r.body = "{"; r.header["Seckill-Signature"] = sign("{") }), scripted{})
		}
		try(with(order, func(r *request) { r.path = "/v1/events/x/orders" }), scripted{})
		get := func(path string) request { return request{method: http.MethodGet, path: path} }
		for _, path := range []string{
			"/v1/time", "/v1/events", "/v1/events?limit=0", path, "/v1/events/x", "/v1/topics/page", "/v1/topics/x",
			"/v1/events/x/stream", "/v1/events/" + over.ID.String() + "/stream",
		} {
			try(get(path), scripted{})
		}
		for _, path := range []string{"/v1/events", path, "/v1/topics/page"} {
			known := get(path)
			known.header = map[string]string{"If-None-Match": s.do(known).header.Get("ETag")}
			try(known, scripted{})
		}
		// What the gate says, of all that it stands before.
		own := []request{order, find, cancel, mine}
		guarded := append([]request{
			get("/v1/time"), get("/v1/events"), get(path), get("/v1/topics/page"), get(path + "/stream"),
		}, own...)
		s.gateFor(s.identity, blacklistOf(t, "ann"))
		s.service = api.New(s.config(seller))
		for _, r := range own {
			try(r, scripted{}).refused(http.StatusForbidden, "blacklisted")
		}
		s.openGate()
		s.service = api.New(s.config(seller))
		stores.Start(t, s.gate.Run)
		waiting := func(a answer) { assert.Regexp(t, "^[1-9][0-9]?$", a.header.Get("Retry-After"), a.body) }
		s.gate.SetShare(0)
		for _, r := range guarded {
			waiting(try(r, scripted{}).refused(http.StatusServiceUnavailable, "unavailable"))
		}
		s.gate.SetShare(1)
		off := wide()
		off.Degrade.ReadOnly = true
		s.gate.SetConfig(off)
		waiting(try(order, scripted{}).refused(http.StatusServiceUnavailable, "switched_off"))
		waiting(try(cancel, scripted{}).refused(http.StatusServiceUnavailable, "switched_off"))
		full := wide()
		full.RateLimit.Middle, full.CircuitBreaker.CPU = 1, 80
		s.gate.SetConfig(full)
		for range 2 {
			s.get("/v1/time", "")
		}
		for _, r := range guarded {
			a := try(r, scripted{}).refused(http.StatusTooManyRequests, "rate_limited")
			waiting(a)
			assert.Contains(t, a.body, "not looked at")
		}
		s.busy.Store(true)
		time.Sleep(10 * time.Second)
		for _, r := range guarded {
			waiting(try(r, scripted{}).refused(http.StatusServiceUnavailable, "overloaded"))
		}
		try(pay, scripted{}).read(http.StatusOK, &struct{}{}) // passes whatever there is
		s.openGate()
		s.service = api.New(s.config(seller))

		s.service.SetStreams(0)
		try(get(path+"/stream"), scripted{})
		seen["stream-event 200 "] = true // TestStream… does

		// One that has read nothing yet.
		config := s.config(seller)
		config.Catalogue = catalogue.New(s.store, silent)
		s.service = api.New(config)
		for _, r := range []request{order, find, cancel, pay, get("/v1/events"), get(path), get("/v1/topics/page"), get(path + "/stream")} {
			try(r, scripted{}).refused(http.StatusServiceUnavailable, "undecided")
		}

		// No seller and no payment service takes part in these.
		config = s.config(seller)
		config.Payments = nil
		s.service = api.New(config)
		try(pay, scripted{}).refused(http.StatusForbidden, "forbidden")

		for _, promised := range documented(s) {
			assert.True(t, seen[promised], "%s was not seen", promised)
			delete(seen, promised)
		}
	})
}

// Whoever asks for an order of a sale and gets none is counted, by the code of the answer.
func TestRefusedOrdersAreCounted(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, seller *scripted) {
		e := s.publish(asItIs)
		const body = `{"quantity":1,"request_id":"r"}`
		counted := func(a answer, codes ...string) {
			t.Helper()
			if len(codes) == 1 {
				assert.Contains(t, a.body, `"code":"`+codes[0]+`"`)
				assert.Contains(t, figures.Reasons, codes[0])
			}
			assert.Equal(t, codes, seller.refused, a.body)
			seller.refused = nil
		}
		for _, v := range []struct {
			err  error
			code string
		}{
			{slot.ErrSoldOut, "sold_out"},
			{ledger.ErrLimit, "limit_reached"},
			{slot.ErrNotStarted, "not_started"},
			{slot.ErrEnded, "ended"},
			{slot.ErrOffline, "suspended"},
			{slot.ErrBusy, "busy"},
			{slot.ErrUndecided, "undecided"},
			{ledger.ErrOtherUse, "request_reused"},
			{backend.ErrInvalid, "invalid"},
			{errors.New("unheard of"), "undecided"},
		} {
			seller.err = v.err
			counted(s.order(e, "ann", body), v.code)
		}
		seller.err = nil
		counted(s.order(e, "ann", body)) // it has its order
		counted(s.order(e, "ann", `{}`), "invalid")
		counted(s.order(e, "ann", strings.Repeat(" ", 5000)), "too_large")
		order := request{method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/orders", as: "ann", body: body}
		order.header = map[string]string{"Content-Type": "text/plain"}
		counted(s.do(order), "unsupported_media_type")
		counted(s.do(request{method: http.MethodPost, path: "/v1/events/" + ulid.Make().String() + "/orders", as: "ann", body: body})) // there is none
		seller.err = ledger.ErrPaid
		counted(s.do(request{method: http.MethodPost, path: "/v1/orders/" + e.ID.String() + "-" + ulid.Make().String() + "/cancel", as: "ann"}))
	})
}

// An owner that is lost is no sign that this node has too much to do: buyers whose slots it
// had wait for another one in vain, whatever they ask for, and nobody else is refused for that.
func TestWhoWaitsForAnOwnerOpensNoBreaker(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		lost, err := registry.NewRegistration(s.store, registry.Config{
			TTL: time.Second, Node: registry.Node{Addr: "10.0.0.2:8080", Incarnation: ulid.Make().String()},
		})
		require.NoError(t, err)
		stores.Start(t, lost.Run)
		<-lost.Ready()
		c := wide()
		c.CircuitBreaker = settings.Defaults().Config.CircuitBreaker
		s.gate.SetConfig(c)
		stores.Start(t, s.gate.Run)
		e := s.publish(func(e *record.Event) { e.Slots, e.Total = 16, 10_000 })
		nobodys := e.ID.String() + "-" + ulid.Make().String()

		var undecided atomic.Int64
		began := time.Now()
		for round := range 3 {
			var asking sync.WaitGroup
			for i := range 200 {
				buyer := fmt.Sprint("buyer", i)
				for _, r := range []request{
					{method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/orders", as: buyer, body: fmt.Sprintf(`{"quantity":1,"request_id":"r%d"}`, round%2)},
					{method: http.MethodGet, path: "/v1/orders/" + nobodys, as: buyer},
					{method: http.MethodPost, path: "/v1/orders/" + nobodys + "/cancel", as: buyer},
					{method: http.MethodGet, path: "/v1/me/orders", as: buyer},
				} {
					asking.Go(func() {
						if a := s.do(r); a.status == http.StatusServiceUnavailable {
							a.refused(http.StatusServiceUnavailable, "undecided")
							undecided.Add(1)
						}
					})
				}
			}
			asking.Wait()
			assert.Equal(t, http.StatusOK, s.get("/v1/events", "").status)
		}
		assert.GreaterOrEqual(t, time.Since(began), 6*time.Second, "they have waited")
		assert.Greater(t, undecided.Load(), int64(200))
		time.Sleep(time.Second)
		b := s.gate.Status().Breaker
		assert.Zero(t, b.Opened, b.Reason)
		assert.Greater(t, b.Requests, 2000)
	})
}

// A buyer waits for two seconds and no longer; who goes away does not wait at all.
func TestTheWaitIsBounded(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, seller *scripted) {
		e := s.publish(asItIs)
		seller.hangs = true
		begun := time.Now()
		s.order(e, "ann", `{"quantity":1,"request_id":"r"}`).refused(http.StatusServiceUnavailable, "undecided")
		assert.Equal(t, 2*time.Second, time.Since(begun))

		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		begun = time.Now()
		q := request{method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/orders", as: "ann", body: `{"quantity":1,"request_id":"r"}`}.make(t, s.door)
		s.service.ServeHTTP(httptest.NewRecorder(), q.WithContext(ctx))
		assert.Equal(t, time.Second, time.Since(begun))
	})
}

func TestBadOrders(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		e := s.publish(asItIs)
		long := strings.Repeat("x", 65)
		for body, says := range map[string]string{
			``:                                      "body",
			`null`:                                  "null",
			`[]`:                                    "array",
			`{"quantity":1,"request_id":`:           "too soon",
			`{"quantity":1} {}`:                     "more text",
			`{"request_id":"r"}`:                    "body.quantity: 0, expected 1 to 1048576",
			`{"quantity":0,"request_id":"r"}`:       "body.quantity: 0, expected",
			`{"quantity":-1,"request_id":"r"}`:      "body.quantity: -1",
			`{"quantity":1048577,"request_id":"r"}`: "body.quantity",
			`{"quantity":1.5,"request_id":"r"}`:     "quantity",
			`{"quantity":"1","request_id":"r"}`:     "quantity",
			`{"quantity":1e30,"request_id":"r"}`:    "quantity",
			`{"quantity":1,"quantity":2,"request_id":"r"}`: "quantity",
			`{"quantity":1}`:                                "Idempotency-Key",
			`{"quantity":1,"request_id":""}`:                "body.request_id: has 0 bytes, expected 1 to 64",
			`{"quantity":1,"request_id":"` + long + `"}`:    "body.request_id: has 65 bytes",
			`{"quantity":1,"request_id":"r","coupon":"x"}`:  "coupon",
			"{\"quantity\":1,\"request_id\":\"\xff\"}":      "not UTF-8",
			`{"quantity":1,"request_id":"r"` + "\x00" + `}`: "invalid character",
			strings.Repeat(`[`, 4000):                       "",
		} {
			a := s.order(e, "ann", body).refused(http.StatusUnprocessableEntity, "invalid")
			assert.Contains(t, a.body, says, body)
		}
		s.do(request{
			method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/orders", as: "ann", body: `{"quantity":1}`,
			header: map[string]string{"Idempotency-Key": long},
		}).refused(http.StatusUnprocessableEntity, "invalid")
	})
}

// What is read the short way is what the long way reads.
func FuzzPlainDemand(f *testing.F) {
	for _, body := range []string{
		`{"quantity":1,"request_id":"r"}`, ` { "quantity" : 9999999 , "request_id" : "A-z_0.9:" } `, `{"quantity":01,"request_id":"r"}`,
		`{"quantity":1,"request_id":"r","quantity":2}`, `{"request_id":"r","quantity":1}`, `{"quantity":1,"request_id":"\u0041"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		quantity, id, plain := api.ReadPlain(body)
		if !plain {
			return
		}
		q, i, refusal := api.ReadAny(body)
		require.Nil(t, refusal, "%q", body)
		assert.Equal(t, q, quantity, "%q", body)
		assert.Equal(t, i, id, "%q", body)
	})
}

// The bodies that documents and benchmarks have are read the short way.
func TestPlainDemands(t *testing.T) {
	for body, plain := range map[string]bool{
		`{"quantity":1,"request_id":"01K9ZZZZZZZZZZZZZZZZZZZZZ1"}`: true,
		"{\n  \"quantity\": 2,\n  \"request_id\": \"a-1\"\n}\n":    true,
		`{"quantity":0,"request_id":"r"}`:                          false,
		`{"quantity":1}`:                                           false,
	} {
		_, _, ok := api.ReadPlain([]byte(body))
		assert.Equal(t, plain, ok, body)
	}
}

func TestWhoIsNobody(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		stranger := newDoor(t)
		for header, challenge := range map[string]string{
			"":                                   `Bearer`,
			"Basic " + s.token(t, "ann"):         `Bearer error="invalid_token"`,
			"Bearer":                             `Bearer error="invalid_token"`,
			"Bearer ":                            `Bearer error="invalid_token"`,
			"Bearer forged":                      `Bearer error="invalid_token"`,
			"Bearer " + stranger.token(t, "ann"): `Bearer error="invalid_token"`,
		} {
			a := s.do(request{method: http.MethodGet, path: "/v1/me/orders", header: map[string]string{"Authorization": header}})
			a.refused(http.StatusUnauthorized, "unauthenticated")
			assert.Equal(t, challenge, a.header.Get("WWW-Authenticate"), "%.40q", header)
			assert.NotContains(t, a.body, "forged")
		}
		s.do(request{method: http.MethodGet, path: "/v1/me/orders", header: map[string]string{"Authorization": "bearer " + s.token(t, "ann")}}).read(http.StatusOK, &struct{}{})

		s.gateFor(nil, nil)
		s.service = api.New(s.config(&scripted{}))
		s.get("/v1/me/orders", "ann").refused(http.StatusUnauthorized, "unauthenticated")
	})
}

// That there is no such order is said only if it is known: a payment would be given
// back.
func TestEventsThatMayBe(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		made := ulid.Make()
		payment := func(e ulid.ULID) string {
			return fmt.Sprintf(`{"order":%q,"payment":"p","amount":{"minor":500,"currency":"EUR"}}`, e.String()+"-"+ulid.Make().String())
		}
		s.pay(payment(made)).refused(http.StatusServiceUnavailable, "undecided")
		s.post("/v1/events/"+made.String()+"/orders", "ann", `{"quantity":1,"request_id":"r"}`).refused(http.StatusServiceUnavailable, "undecided")

		unreadable := s.publish(asItIs)
		_, err := s.store.Put(t.Context(), record.EventKey(unreadable.ID), []byte("{"))
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		s.pay(payment(made)).refused(http.StatusNotFound, "no_such_order")
		s.pay(payment(unreadable.ID)).refused(http.StatusServiceUnavailable, "undecided")
		s.get("/v1/orders/"+unreadable.ID.String()+"-"+made.String(), "ann").refused(http.StatusServiceUnavailable, "undecided")
	})
}

func TestPathsOfNothing(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		e := s.publish(asItIs)
		id, none := e.ID.String(), ulid.Make().String()
		time.Sleep(2 * time.Minute) // by now it would be known
		for path, code := range map[string]string{
			"/v1/events/" + none:                      "no_such_event",
			"/v1/events/%00":                          "no_such_event",
			"/v1/events/8" + strings.Repeat("Z", 25):  "no_such_event",
			"/v1/events/" + strings.Repeat("x", 5000): "no_such_event",
			"/v1/events/" + none + "/stream":          "no_such_event",
			"/v1/topics/%2e%2e":                       "no_such_topic",
			"/v1/orders/" + id:                        "no_such_order",
			"/v1/orders/" + id + "-x":                 "no_such_order",
			"/v1/orders/" + strings.ToLower(id) + "-" + ulid.Make().String(): "no_such_order",
			"/v1/orders/" + none + "-" + ulid.Make().String():                "no_such_order",
			"/v1/orders/" + id + "-" + ulid.Make().String() + "-" + id:       "no_such_order",
			"/v1/nothing": "not_found",
			"/v1/events/" + id + "/orders/" + strconv.Itoa(1) + "/" + "elsewhere": "not_found",
		} {
			s.get(path, "ann").refused(http.StatusNotFound, code)
		}
		s.post("/v1/events", "ann", "{}").refused(http.StatusMethodNotAllowed, "method_not_allowed")
		s.get("/v1/payments", "ann").refused(http.StatusMethodNotAllowed, "method_not_allowed")
	})
}
