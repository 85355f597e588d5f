package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

// recorded is the newest record of an action.
func (o *office) recorded(action string) audit.Record {
	o.Helper()
	var log admin.AuditList
	o.get("/v1/audit?action="+action).read(http.StatusOK, &log)
	require.NotEmpty(o, log.Records, action)
	return log.Records[0]
}

// writes has f called before each write of a key that begins so, from the n-th on.
func (o *office) writes(prefix string, n int, f func() error) {
	hook := func(key string) error {
		if !strings.HasPrefix(key, prefix) {
			return nil
		}
		if n--; n > 0 {
			return nil
		}
		return f()
	}
	o.faulty.Set(stores.Hooks{Put: hook, Del: hook})
}

// A deed of several writes that stops on its way does not say that nothing was done, and
// the same request finishes it.
func TestADeedThatStopsOnItsWayIsFinishedByRepeatingIt(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		step := func(e event.Event, name string) request {
			return request{method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/" + name, as: access.Operator}.with("If-Match", tag(e.Revision))
		}
		for _, test := range []struct {
			name string
			from func() event.Event
			dir  func(event.Event) string
			nth  int
			want record.Status
		}{
			{"publish", o.drafted, func(e event.Event) string { return record.SaleDir(e.ID) }, 1, record.StatusOnline},
			{"publish", o.drafted, func(e event.Event) string { return record.SaleDir(e.ID) }, 3, record.StatusOnline},
			{"publish", o.drafted, func(e event.Event) string { return record.EventKey(e.ID) }, 2, record.StatusOnline},
			{"close", o.published, func(e event.Event) string { return record.SaleDir(e.ID) }, 1, record.StatusClosed},
			{"close", o.published, func(e event.Event) string { return record.EventKey(e.ID) }, 2, record.StatusClosed},
		} {
			e := test.from()
			o.writes(test.dir(e), test.nth, func() error { return backend.ErrUnavailable })
			o.do(step(e, test.name)).refused(http.StatusServiceUnavailable, "unknown")
			o.faulty.Set(stores.Hooks{})
			assert.Equal(t, audit.Unknown, o.recorded("event."+test.name).Outcome)
			for range 2 { // also when it is done
				var now event.Event
				o.do(step(e, test.name)).read(http.StatusOK, &now)
				assert.Equal(t, test.want, now.Status)
			}
			assert.Equal(t, audit.Done, o.recorded("event."+test.name).Outcome)
		}

		e := o.drafted()
		o.writes(record.EventKey(e.ID), 1, func() error { return backend.ErrUnavailable })
		o.do(step(e, "publish")).refused(http.StatusServiceUnavailable, "unavailable")
		o.faulty.Set(stores.Hooks{})
		o.do(step(e, "publish").with("If-Match", tag(e.Revision+1000))).refused(http.StatusPreconditionFailed, "changed")
	})
}

// Whoever is slow, and finds that others have taken the step, has it taken as well.
func TestAStepThatOthersFinishIsTaken(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		for _, test := range []struct {
			name string
			from func() event.Event
			nth  int
			want record.Status
		}{
			{"publish", o.drafted, 1, record.StatusOnline}, {"publish", o.drafted, 2, record.StatusOnline},
			{"close", o.published, 1, record.StatusClosed}, {"close", o.published, 2, record.StatusClosed},
		} {
			e := test.from()
			finish := map[string]func() error{
				"publish": func() error { _, err := event.Publish(t.Context(), o.store, e.ID); return err },
				"close":   func() error { _, err := event.Close(t.Context(), o.store, e.ID); return err },
			}[test.name]
			o.writes(record.EventKey(e.ID), test.nth, func() error {
				o.faulty.Set(stores.Hooks{})
				return finish()
			})
			var now event.Event
			o.send(http.MethodPost, "/v1/events/"+e.ID.String()+"/"+test.name, "", tag(e.Revision)).read(http.StatusOK, &now)
			assert.Equal(t, test.want, now.Status)
			assert.Equal(t, now, must[event.Event](t)(event.Get(t.Context(), o.store, e.ID)))
			assert.Equal(t, audit.Done, o.recorded("event."+test.name).Outcome)
		}

		e := o.drafted()
		o.writes(record.EventKey(e.ID), 1, func() error {
			o.faulty.Set(stores.Hooks{})
			_, err := event.Edit(t.Context(), o.store, e, func(r *record.Event) { r.Total++ })
			return err
		})
		o.send(http.MethodPost, "/v1/events/"+e.ID.String()+"/publish", "", tag(e.Revision)).refused(http.StatusPreconditionFailed, "changed")
	})
}

// A promotion that has published says so, and the same request ends the rollout; what it
// answers is what it has done.
func TestAPromotionThatStopsOnItsWayIsFinishedByRepeatingIt(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		r := request{method: http.MethodPost, path: "/v1/config/rollout/" + o.trial() + "/promote", as: access.Admin, body: `{"comment":"good"}`}
		o.writes("config/rollout", 1, func() error { return backend.ErrUnavailable })
		o.do(r).refused(http.StatusServiceUnavailable, "unknown")
		o.faulty.Set(stores.Hooks{})
		assert.Equal(t, audit.Unknown, o.recorded("rollout.promote").Outcome)
		published := must[backend.Entry](t)(o.store.Get(t.Context(), "config")).Revision
		for range 2 {
			var now dynconf.Rollout
			o.do(r).read(http.StatusOK, &now)
			assert.Equal(t, dynconf.Promoted, now.State)
			assert.Equal(t, published, now.Published, "it is published once")
		}

		id := o.trial()
		gone := false
		o.faulty.Set(stores.Hooks{AfterPut: func(key string) error {
			if key == "config/rollout" && !gone {
				gone = true
				return o.store.Delete(t.Context(), key)
			}
			return nil
		}})
		var now dynconf.Rollout
		o.do(r.at("/v1/config/rollout/"+id+"/promote")).read(http.StatusOK, &now)
		o.faulty.Set(stores.Hooks{})
		assert.Equal(t, dynconf.Promoted, now.State)
		assert.Equal(t, id, now.ID)
	})
}

// Whoever may only look does not get much made of little: of deep texts, and of paths that
// repeat long names.
func TestLittleTextIsNotMadeMuch(t *testing.T) {
	o := open(t, stores.NewMemory())
	diff := func(value string) answer {
		body := must[[]byte](t)(json.Marshal(map[string]string{"value": value}))
		return o.do(request{method: http.MethodPost, path: "/v1/config/diff", as: access.Viewer, body: string(body)})
	}
	many := strings.Repeat("1,", 20_000) + "1"
	for _, depth := range []int{33, 5_000, 40_000} {
		a := diff(strings.Repeat("[", depth)+many+strings.Repeat("]", depth)).refused(http.StatusUnprocessableEntity, "invalid")
		assert.Contains(t, a.body, "deeper than 32 levels")
		assert.Less(t, len(a.body), 1000)
	}
	diff(strings.Repeat("[", 32)+many+strings.Repeat("]", 32)).refused(http.StatusRequestEntityTooLarge, "too_large")
	var members []string
	for i := range 1_000 {
		members = append(members, fmt.Sprintf(`"%d":0`, i))
	}
	inside := `{` + strings.Join(members, ",") + `}`
	a := diff(`{"`+strings.Repeat("x", 60_000)+`":`+inside+`}`).refused(http.StatusRequestEntityTooLarge, "too_large")
	assert.Less(t, len(a.body), 1000)
	var d admin.Difference
	diff(`{"x":`+inside+`}`).read(http.StatusOK, &d)
	assert.Len(t, d.Fields, 1_000)
}

// A draft is JSON and nothing else: YAML would have aliases, which make much of little.
func TestDraftsAreJSON(t *testing.T) {
	o := open(t, stores.NewMemory())
	const yaml = "title: Phone\nsku: phone-1\nprice: {minor: 500, currency: EUR}\nwindow: {opens: 2026-11-11T20:00:00Z, closes: 2026-11-11T21:00:00Z}\ntotal: 10\n"
	a := o.send(http.MethodPost, "/v1/events", yaml, "").refused(http.StatusUnprocessableEntity, "invalid")
	assert.Contains(t, a.body, "expected a JSON object")
}

// A push is recorded with what was in force before it, what was pushed, and what is known
// to have come of it.
func TestWhatNodesAreToldIsRecorded(t *testing.T) {
	o := open(t, stores.NewMemory())
	s := o.sell("10.0.0.1:8080", `{"config":{"override":{"value":"{\"logLevel\":\"error\"}","author":"eve"}}}`)
	at := "/v1/nodes/" + s.id
	push := request{method: http.MethodPut, path: at + "/push", as: access.Admin, body: config}
	o.do(push.by(access.Operator)).refused(http.StatusForbidden, "forbidden")
	o.do(request{method: http.MethodDelete, path: at + "/push", as: access.Operator}).refused(http.StatusForbidden, "forbidden")
	o.do(push.saying(`{"value":"{}","comment":"c","seconds":86401}`)).refused(http.StatusUnprocessableEntity, "invalid")
	o.do(push.saying(`{"value":"{}","comment":"c","seconds":86400}`)).is(http.StatusOK)
	o.do(push).is(http.StatusOK)
	r := o.recorded("node.push")
	assert.Equal(t, audit.Done, r.Outcome)
	asked := `"asked":{"value":"{\"logLevel\":\"warn\"}","comment":"less noise"}}`
	assert.JSONEq(t, `{"override":{"value":"{\"logLevel\":\"error\"}","author":"eve"},`+asked, string(r.Before.JSON))
	assert.Contains(t, string(r.After.JSON), `"hash"`)
	o.send(http.MethodDelete, at+"/push", "", "").is(http.StatusOK)
	assert.Contains(t, string(o.recorded("node.clear").Before.JSON), "eve")
	o.send(http.MethodPost, at+"/reload", `{"source":"settings"}`, "").is(http.StatusNoContent)
	assert.Contains(t, string(o.recorded("node.reload").Before.JSON), `"asked":{"source":"settings"}`)

	for code, want := range map[codes.Code]audit.Outcome{
		codes.Unavailable: audit.Unknown, codes.DeadlineExceeded: audit.Unknown, codes.InvalidArgument: audit.Refused, codes.FailedPrecondition: audit.Failed,
	} {
		s.told.err = status.Error(code, "so it is")
		assert.GreaterOrEqual(t, o.do(push).status, 400)
		r := o.recorded("node.push")
		assert.Equal(t, want, r.Outcome, code)
		assert.Contains(t, string(r.Before.JSON), "less noise", "also if nobody knows what came of it")
	}
	s.told.err = status.Error(codes.Aborted, "there is no such file")
	o.send(http.MethodPost, at+"/reload", `{"source":"settings"}`, "").refused(http.StatusConflict, "refused")
	assert.Equal(t, audit.Refused, o.recorded("node.reload").Outcome)

	// A node that shows nothing has told others that something was pushed to it.
	must2(t)(o.store.Put(t.Context(), "nodes/quiet", []byte(`{"addr":"10.0.0.2:8080","rpc":"127.0.0.1:1","incarnation":"x","configs":{"config/override":{"author":"mallory"}}}`)))
	stores.Wait(t, "it is listed", func() bool { _, ok := o.node.Directory().Node("quiet"); return ok })
	o.do(push.at("/v1/nodes/quiet/push")).refused(http.StatusBadGateway, "unreachable")
	r = o.recorded("node.push")
	assert.JSONEq(t, `{"override":{"author":"mallory"},`+asked, string(r.Before.JSON))
	assert.Equal(t, audit.Unknown, r.Outcome)
}

// What is refused by a rule is recorded as that.
func TestTheLastAdminIsARefusal(t *testing.T) {
	o := open(t, stores.NewMemory())
	o.send(http.MethodDelete, "/v1/users/admin", "", "").is(http.StatusNoContent)
	o.send(http.MethodDelete, "/v1/users/the-admin", "", "").refused(http.StatusConflict, "last_admin")
	assert.Equal(t, audit.Refused, o.recorded("user.remove").Outcome)
	o.send(http.MethodPut, "/v1/users/the-admin/role", `{"role":"viewer"}`, "").refused(http.StatusConflict, "last_admin")
	assert.Equal(t, audit.Refused, o.recorded("user.role").Outcome)
}

// What a node's drain and weight were is what the store had, not what this process has
// heard of.
func TestWordsOnNodesAreRecordedFromTheStore(t *testing.T) {
	o := open(t, stores.NewMemory())
	s := o.sell("10.0.0.1:8080", `{}`)
	at := "/v1/nodes/" + s.id
	deaf := make(chan struct{})
	hear := sync.OnceFunc(func() { close(deaf) })
	defer hear()
	o.faulty.Set(stores.Hooks{Yield: func() { <-deaf }})
	require.NoError(t, registry.DrainNode(t.Context(), o.store, "", s.id, registry.Drain{By: "eve", Reason: "a disk"}))
	require.NoError(t, registry.WeighNode(t.Context(), o.store, "", s.id, registry.Weight{Weight: 5, By: "eve"}))
	o.send(http.MethodPut, at+"/drain", `{"reason":"another"}`, "").is(http.StatusOK)
	o.send(http.MethodPut, at+"/weight", `{"weight":7}`, "").is(http.StatusOK)
	o.send(http.MethodDelete, at+"/drain", "", "").is(http.StatusNoContent)
	o.send(http.MethodDelete, at+"/weight", "", "").is(http.StatusNoContent)
	o.faulty.Set(stores.Hooks{})
	hear()
	for action, want := range map[string]string{
		"node.drain": `"reason":"a disk"`, "node.weigh": `"weight":5`, "node.undrain": `"reason":"another"`, "node.unweigh": `"weight":7`,
	} {
		before := o.recorded(action).Before
		require.NotNil(t, before, action)
		assert.Contains(t, string(before.JSON), want)
	}
	o.send(http.MethodDelete, at+"/drain", "", "").is(http.StatusNoContent)
	assert.Nil(t, o.recorded("node.undrain").Before)
}

// A record says which request it was, and how it came.
func TestRecordsNameTheRequest(t *testing.T) {
	o := open(t, stores.NewMemory())
	put := request{method: http.MethodPut, path: "/v1/goods/g", body: goods, as: access.Operator}.with("If-None-Match", "*")
	a := o.do(put.with("X-Request-Id", "walk-1")).is(http.StatusOK)
	assert.Equal(t, "walk-1", a.header.Get("X-Request-Id"))
	r := o.recorded("goods.put")
	assert.Equal(t, "walk-1", r.RequestID)
	assert.Equal(t, audit.ViaToken, r.Via)
	a = o.do(put.with("X-Request-Id", "not one")).refused(http.StatusPreconditionFailed, "changed")
	given := a.header.Get("X-Request-Id")
	assert.Len(t, given, 26)
	assert.Equal(t, given, o.recorded("goods.put").RequestID)
	a = o.do(put.by(access.Viewer)).refused(http.StatusForbidden, "forbidden")
	assert.Equal(t, a.header.Get("X-Request-Id"), o.recorded("access.refused").RequestID)

	login := request{method: http.MethodPost, path: "/v1/login", body: o.credentials()}
	a = o.do(login).is(http.StatusOK)
	r = o.recorded("session.begin")
	assert.Equal(t, a.header.Get("X-Request-Id"), r.RequestID)
	assert.Equal(t, audit.ViaSession, r.Via)

	server := httptest.NewServer(o.handler)
	t.Cleanup(server.Close)
	typing := must[*client.Client](t)(client.New(client.Config{Base: server.URL, Token: o.tokens[access.Operator]}))
	_, err := typing.Do(t.Context(), client.Request{Method: http.MethodPut, Path: "/v1/goods/h", IfMatch: "*", Body: json.RawMessage(goods)})
	require.NoError(t, err)
	r = o.recorded("goods.put")
	assert.Equal(t, "h", r.Target)
	assert.Equal(t, audit.ViaCLI, r.Via)
	assert.Equal(t, "tests", r.TokenName)
	assert.NotEmpty(t, r.RequestID)
}

// reading calls f while as many read the orders of an event as may.
func (o *office) reading(e event.Event, f func()) {
	o.Helper()
	at := "/v1/events/" + e.ID.String()
	reads := []request{
		{method: http.MethodGet, path: at + "/orders", as: access.Operator}, {method: http.MethodPost, path: at + "/verify", as: access.Admin},
		{method: http.MethodGet, path: "/v1/orders?event=" + e.ID.String(), as: access.Operator}, {method: http.MethodGet, path: at + "/orders?format=ndjson", as: access.Admin},
	}
	begun, release := make(chan struct{}), make(chan struct{})
	left := int64(len(reads))
	o.faulty.Set(stores.Hooks{Watch: func(prefix string) error {
		ofDesk := prefix == record.PoolKey(e.ID) || prefix == record.SlotsDir(e.ID) // which may not have come to it yet
		if strings.HasPrefix(prefix, record.SaleDir(e.ID)) && !ofDesk && atomic.AddInt64(&left, -1) >= 0 {
			begun <- struct{}{}
			<-release
		}
		return nil
	}})
	var all sync.WaitGroup
	defer all.Wait()
	defer o.faulty.Set(stores.Hooks{})
	defer close(release)
	for _, r := range reads {
		q := o.make(r)
		all.Go(func() {
			w := httptest.NewRecorder()
			o.handler.ServeHTTP(w, q)
			assert.Equal(o, http.StatusOK, w.Code, w.Body.String())
		})
		<-begun
	}
	f()
}

// The orders of sales are read by few at once: each costs memory here and the store's time.
func TestFewReadSalesAtOnce(t *testing.T) {
	o := open(t, stores.NewMemory())
	e := o.closed()
	find := request{method: http.MethodGet, path: "/v1/orders?event=" + e.ID.String(), as: access.Operator}
	exports := request{method: http.MethodGet, path: "/v1/events/" + e.ID.String() + "/orders", as: access.Admin}
	o.reading(e, func() {
		for _, r := range []request{find, exports, {method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/verify", as: access.Admin}} {
			a := o.do(r).refused(http.StatusServiceUnavailable, "busy")
			assert.Equal(t, "5", a.header.Get("Retry-After"))
		}
		o.do(find.by(access.Viewer)).refused(http.StatusForbidden, "forbidden")
		o.get("/v1/events").is(http.StatusOK)
	})
	for range 5 { // none of the turns is lost
		o.do(find).is(http.StatusOK)
		o.do(find.at("/v1/orders?order=x")).refused(http.StatusUnprocessableEntity, "invalid")
		o.do(exports).is(http.StatusOK)
	}
}
