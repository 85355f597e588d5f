package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/settings"
)

// No operation is forgotten: what the gate is not told of it lets pass.
func TestTheGateKnowsEveryOperation(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		known := api.Kinds()
		for path, item := range s.service.OpenAPI().Paths {
			for method, op := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post} {
				if op != nil {
					assert.Contains(t, known, method+" "+path)
					delete(known, method+" "+path)
				}
			}
		}
		assert.Empty(t, known, "there are no others")
	})
}

func TestLoadBalancersAndPaymentsPass(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(asItIs)
		var o api.Order
		s.order(e, "ann", `{"quantity":1,"request_id":"r"}`).read(http.StatusCreated, &o)
		s.gate.SetShare(0)
		s.order(e, "ann", `{"quantity":1,"request_id":"r"}`).refused(http.StatusServiceUnavailable, "unavailable")
		for _, path := range []string{"/livez", "/readyz", "/openapi.json"} {
			assert.Equal(t, http.StatusOK, s.get(path, "").status, path)
		}
		var said struct{ Status string }
		a := s.pay(`{"order":"`+o.ID+`","payment":"p","amount":{"minor":500,"currency":"EUR"}}`).read(http.StatusOK, &said)
		assert.Equal(t, "paid", said.Status)
		assert.NotEmpty(t, a.header.Get("X-Request-Id"))
		assert.NotEmpty(t, s.get("/nowhere", "").refused(http.StatusNotFound, "not_found").header.Get("X-Request-Id"))
	})
}

// The gate refuses what has not opened; the seller, from ten seconds before that on.
func TestTheGateKnowsTheWindow(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		e := s.publish(func(e *record.Event) { e.Window.Opens = e.Window.Opens.Add(time.Minute) })
		a := s.order(e, "ann", `{"quantity":1,"request_id":"r"}`).refused(http.StatusConflict, "not_started")
		assert.NotEmpty(t, a.header.Get("Retry-After"))
		time.Sleep(50*time.Second + 100*time.Millisecond)
		s.order(e, "ann", `{"quantity":1,"request_id":"r"}`).read(http.StatusOK, &api.Order{})
	})
}

func (s *shop) cached(yes bool) {
	c := wide()
	c.Degrade.Switches = settings.Switches{Cached: yes}
	s.gate.SetConfig(c)
}

// What may be some seconds old is, and is as the document says.
func TestCachedPages(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(asItIs)
		time.Sleep(time.Second)
		s.put("topics/friday", `{"title":"Friday","events":["`+e.ID.String()+`"]}`)
		time.Sleep(time.Second)
		s.cached(true)
		paths := []string{"/v1/events", "/v1/events/" + e.ID.String(), "/v1/topics/friday"}
		bodies := map[string]string{}
		for _, path := range paths {
			bodies[path] = s.get(path, "").body
			require.Contains(t, bodies[path], `"remaining":10`)
		}
		s.order(e, "ann", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &api.Order{})
		time.Sleep(4 * time.Second)
		for _, path := range paths {
			a := s.get(path, "")
			assert.Equal(t, bodies[path], a.body)
			assert.Equal(t, "4", a.header.Get("Age"))
			known := s.do(request{method: http.MethodGet, path: path, header: map[string]string{"If-None-Match": a.header.Get("ETag")}})
			assert.Equal(t, http.StatusNotModified, known.status)
			assert.Empty(t, known.body)
		}
		time.Sleep(time.Second)
		for _, path := range paths {
			assert.Contains(t, s.get(path, "").body, `"remaining":8`)
		}
		s.get("/v1/events/x", "").refused(http.StatusNotFound, "no_such_event")
	})
}

// Streams tell figures every five seconds then, and the rest at once.
func TestStreamsAreSlowerWhenOperatorsSaySo(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		client, _ := s.serve()
		e := s.publish(func(e *record.Event) { e.Total, e.PerUser = 60, 60 })
		time.Sleep(time.Second)
		s.cached(true)
		l := s.listen(client, e)
		l.expect("state", 60)
		for i := range 30 {
			s.order(e, "ann", `{"quantity":1,"request_id":"`+strings.Repeat("x", i+1)+`"}`).read(http.StatusCreated, &api.Order{})
			time.Sleep(500 * time.Millisecond)
		}
		count, last := 0, told{after: -time.Hour}
		for last.state.Remaining == nil || *last.state.Remaining > 30 {
			next, ok := l.next()
			require.True(t, ok)
			require.Equal(t, "remaining", next.name)
			require.GreaterOrEqual(t, next.after-last.after, 4900*time.Millisecond)
			count, last = count+1, next
		}
		assert.LessOrEqual(t, count, 5, "in fifteen seconds")
		s.cached(false)
		s.order(e, "bob", `{"quantity":1,"request_id":"r"}`).read(http.StatusCreated, &api.Order{})
		begun := time.Now()
		l.expect("remaining", 29)
		assert.LessOrEqual(t, time.Since(begun), time.Second)
	})
}
