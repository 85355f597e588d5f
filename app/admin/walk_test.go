package admin_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

func (o *office) send(method, path, body, ifMatch string) answer {
	o.Helper()
	r := request{method: method, path: path, body: body, as: access.Admin}
	if ifMatch != "" {
		r = r.with("If-Match", ifMatch)
	}
	return o.do(r)
}

// onEach runs a test on the memory driver, in real time since there are sockets, and on
// real servers.
func onEach(t *testing.T, f func(t *testing.T, o *office)) {
	t.Run("memory", func(t *testing.T) { f(t, open(t, stores.NewMemory())) })
	stores.EachServer(t, func(t *testing.T, s stores.Space) { f(t, open(t, s)) })
}

// From a draft to the last order, and what the figures, the search, the export and the
// audit log say of it.
func TestASaleFromItsDraftToItsEnd(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		s := o.sell("10.0.0.1:8080", `{}`)
		body := must[[]byte](t)(json.Marshal(draft()))
		var fields map[string]any
		require.NoError(t, json.Unmarshal(body, &fields))
		delete(fields, "status")
		body = must[[]byte](t)(json.Marshal(fields))

		var e event.Event
		a := o.send(http.MethodPost, "/v1/events", string(body), "").read(http.StatusCreated, &e)
		at := a.header.Get("Location")
		assert.Equal(t, "/v1/events/"+e.ID.String(), at)
		first := a.header.Get("ETag")
		fields["total"] = 5
		a = o.send(http.MethodPut, at, string(must[[]byte](t)(json.Marshal(fields))), first).read(http.StatusOK, &e)
		assert.EqualValues(t, 5, e.Total)
		stale := o.send(http.MethodPost, at+"/publish", "", first).refused(http.StatusPreconditionFailed, "changed")
		assert.Equal(t, a.header.Get("ETag"), stale.header.Get("ETag"))
		o.send(http.MethodPost, at+"/publish", "", a.header.Get("ETag")).read(http.StatusOK, &e)

		order := o.buy(s, e, "ann")
		o.buy(s, e, "bob")
		var live admin.Live
		stores.Wait(t, "the figures tell of two", func() bool {
			a := o.get(at + "/figures")
			return a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &live) == nil && live.Held == 2
		})
		assert.EqualValues(t, 5, live.Total)
		assert.EqualValues(t, 3, live.Remaining)
		require.Len(t, live.Slots, 2)
		for _, slot := range live.Slots {
			assert.Equal(t, s.id, slot.Node)
		}

		public := e.ID.String() + "-" + order.ID.String()
		for query, want := range map[string]int{
			"event=" + e.ID.String(): 2, "event=" + e.ID.String() + "&status=paid": 0, "buyer=ann": 1, "buyer=eve": 0,
			"event=" + e.ID.String() + "&buyer=bob": 1, "order=" + public: 1, "order=" + public + "&status=paid": 0,
		} {
			var found admin.OrderList
			o.get("/v1/orders?"+query).read(http.StatusOK, &found)
			assert.Len(t, found.Orders, want, query)
		}
		rows := must[[][]string](t)(csv.NewReader(strings.NewReader(o.get(at + "/orders").is(http.StatusOK).body)).ReadAll())
		assert.Len(t, rows, 3)
		assert.Equal(t, export.Columns(), rows[0])
		lines := strings.Split(strings.TrimSpace(o.get(at+"/orders?format=ndjson").is(http.StatusOK).body), "\n")
		assert.Len(t, lines, 2)

		a = o.send(http.MethodPost, at+"/suspend", "", o.get(at).header.Get("ETag")).is(http.StatusOK)
		a = o.send(http.MethodPost, at+"/resume", "", a.header.Get("ETag")).is(http.StatusOK)
		o.send(http.MethodPost, at+"/close", "", a.header.Get("ETag")).is(http.StatusOK)
		o.get(at+"/figures").refused(http.StatusConflict, "not_live")
		var report struct {
			Held       int64
			Violations []any
		}
		o.send(http.MethodPost, at+"/verify", "", "").read(http.StatusOK, &report)
		assert.EqualValues(t, 2, report.Held)
		assert.Empty(t, report.Violations)

		var log admin.AuditList
		o.get("/v1/audit?target="+e.ID.String()).read(http.StatusOK, &log)
		var deeds []string
		for _, r := range slices.Backward(log.Records) {
			deeds = append(deeds, r.Name+" "+string(r.Outcome))
			assert.Equal(t, "the-admin", r.Actor)
			assert.Regexp(t, `^10\.1\.`, r.Remote)
		}
		assert.Equal(t, []string{
			"event.create done", "event.edit done", "event.publish done", "orders.export done", "orders.export done",
			"event.suspend done", "event.resume done", "event.close done",
		}, deeds)
		edit := log.Records[len(log.Records)-2]
		assert.Contains(t, string(edit.Before.JSON), `"total":10`)
		assert.Contains(t, string(edit.After.JSON), `"total":5`)
	})
}

// From a bad value to a rollback, and a gray release.
func TestTheConfigFromAValueToItsRollback(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		var v admin.Validation
		o.send(http.MethodPost, "/v1/config/validate", `{"value":"{\n \"rateLimit\": {\"low\": 0}\n}"}`, "").read(http.StatusOK, &v)
		assert.False(t, v.Valid)
		require.Len(t, v.Faults, 1)
		assert.Equal(t, "rateLimit.low", v.Faults[0].Field)
		assert.Equal(t, 2, v.Faults[0].Line)
		assert.Equal(t, 16, v.Faults[0].Column)

		r := request{method: http.MethodPut, path: "/v1/config", as: access.Admin, body: `{"value":"{\"rateLimit\":{\"low\":0}}","comment":"c"}`}
		refusal := o.do(r.with("If-None-Match", "*")).refused(http.StatusUnprocessableEntity, "invalid")
		assert.Contains(t, refusal.body, "rateLimit.low")
		one := o.do(r.saying(`{"value":"{\"rateLimit\":{\"low\":1}}","comment":"first"}`).with("If-None-Match", "*")).is(http.StatusOK)
		o.do(r.saying(config).with("If-None-Match", "*")).refused(http.StatusPreconditionFailed, "changed")

		var d admin.Difference
		o.send(http.MethodPost, "/v1/config/diff", `{"value":"{\"rateLimit\":{\"low\":2},\"logLevel\":\"warn\"}"}`, "").read(http.StatusOK, &d)
		assert.Equal(t, []admin.FieldChange{
			{Field: "logLevel", To: []byte(`"warn"`)}, {Field: "rateLimit.low", From: []byte("1"), To: []byte("2")},
		}, d.Fields)
		assert.Contains(t, d.Unified, "+    \"low\": 2\n")
		two := o.send(http.MethodPut, "/v1/config", `{"value":"{\"rateLimit\":{\"low\":2}}","comment":"second"}`, one.header.Get("ETag")).is(http.StatusOK)
		stores.Wait(t, "it is in force here", func() bool {
			var c admin.ConfigState
			o.get("/v1/config").read(http.StatusOK, &c)
			return c.Here.InForce.RateLimit.Low == 2
		})

		var first, list admin.VersionList
		o.get("/v1/config/history?limit=1").read(http.StatusOK, &first)
		require.Len(t, first.Versions, 1)
		o.get("/v1/config/history?limit=1&after="+first.Next).read(http.StatusOK, &list)
		require.Len(t, list.Versions, 1)
		assert.Equal(t, "first", list.Versions[0].Comment)
		assert.Equal(t, "the-admin", list.Versions[0].Author)
		var version admin.ConfigVersion
		o.get(fmt.Sprintf("/v1/config/history/%d", list.Versions[0].Revision)).read(http.StatusOK, &version)
		assert.JSONEq(t, `{"rateLimit":{"low":1}}`, version.Value)
		back := o.send(http.MethodPost, "/v1/config/rollback", fmt.Sprintf(`{"revision":%d,"comment":"no good"}`, version.Revision), two.header.Get("ETag")).is(http.StatusOK)
		assert.Contains(t, back.body, `"low\":1`)

		var rollout dynconf.Rollout
		begun := o.send(http.MethodPost, "/v1/config/rollout", trial, back.header.Get("ETag")).read(http.StatusCreated, &rollout)
		target := "/v1/config/rollout/" + rollout.ID + "/target"
		o.send(http.MethodPut, target, `{"percent":70}`, "").refused(http.StatusPreconditionRequired, "precondition_required")
		wider := o.send(http.MethodPut, target, `{"percent":70}`, begun.header.Get("ETag")).is(http.StatusOK)
		assert.Equal(t, wider.header.Get("ETag"), o.get("/v1/config/rollout").header.Get("ETag"))
		late := o.send(http.MethodPut, target, `{"percent":30}`, begun.header.Get("ETag")).refused(http.StatusPreconditionFailed, "changed")
		assert.Equal(t, wider.header.Get("ETag"), late.header.Get("ETag"), "somebody else was faster")
		o.send(http.MethodPut, target, `{"percent":100}`, wider.header.Get("ETag")).is(http.StatusOK)
		o.send(http.MethodPost, "/v1/config/rollout/"+rollout.ID+"/promote", `{"comment":"good"}`, "").read(http.StatusOK, &rollout)
		assert.Equal(t, dynconf.Promoted, rollout.State)
		var c admin.ConfigState
		a := o.get("/v1/config").read(http.StatusOK, &c)
		assert.Contains(t, c.Published.Value, "warn")
		o.send(http.MethodDelete, "/v1/config?comment=bye", "", a.header.Get("ETag")).is(http.StatusNoContent)
		o.get("/v1/config").read(http.StatusOK, &c)

		var log admin.AuditList
		o.get("/v1/audit?action=config.").read(http.StatusOK, &log)
		assert.Equal(t, "config.delete", log.Records[0].Name)
		assert.Contains(t, string(log.Records[0].Before.JSON), "warn")
	})
}

func TestGoodsAndTopics(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		for _, id := range []string{"a", "b", "c"} {
			o.do(request{method: http.MethodPut, path: "/v1/goods/" + id, as: access.Operator, body: goods}.with("If-None-Match", "*")).is(http.StatusOK)
		}
		o.do(request{method: http.MethodPut, path: "/v1/goods/a", as: access.Operator, body: goods}.with("If-None-Match", "*")).refused(http.StatusPreconditionFailed, "changed")
		var page admin.GoodsList
		o.get("/v1/goods?limit=2").read(http.StatusOK, &page)
		assert.Len(t, page.Goods, 2)
		after := page.Next
		page = admin.GoodsList{}
		o.get("/v1/goods?limit=2&after="+after).read(http.StatusOK, &page)
		require.Len(t, page.Goods, 1)
		assert.Equal(t, "c", page.Goods[0].ID)
		assert.Empty(t, page.Next)
		o.send(http.MethodPut, "/v1/goods/c", `{"sku":"x","title":"X","images":["javascript:alert(1)"]}`, tag(page.Goods[0].Revision)).refused(http.StatusUnprocessableEntity, "invalid")
		o.send(http.MethodPut, "/v1/goods/c", `{"sku":"x","sku":"y","title":"X"}`, tag(page.Goods[0].Revision)).refused(http.StatusBadRequest, "malformed")

		o.do(request{method: http.MethodPut, path: "/v1/topics/friday", as: access.Operator, body: topic}.with("If-None-Match", "*")).is(http.StatusOK)
		a := o.get("/v1/topics/friday").is(http.StatusOK)
		assert.Contains(t, a.body, `"events":[]`)
		o.send(http.MethodDelete, "/v1/topics/friday", "", a.header.Get("ETag")).is(http.StatusNoContent)
		o.get("/v1/topics/friday").refused(http.StatusNotFound, "no_such_topic")
	})
}

func TestNodesAreDrainedWeighedAndFound(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		s := o.sell("10.0.0.1:8080", `{"ready":true,"gate":{"blacklist":{"ids":3}}}`)
		var detail struct {
			Status   struct{ Ready bool }
			Warnings []string
		}
		o.get("/v1/nodes/"+s.id).read(http.StatusOK, &detail)
		assert.True(t, detail.Status.Ready)
		assert.Len(t, detail.Warnings, 1, "loopback")
		assert.Contains(t, o.get("/v1/blacklist").is(http.StatusOK).body, `"ids":3`)

		o.send(http.MethodPut, "/v1/nodes/"+s.id+"/drain", `{"reason":"new disk"}`, "").is(http.StatusOK)
		stores.Wait(t, "drained", func() bool { return strings.Contains(o.get("/v1/nodes").body, `"by":"the-admin","reason":"new disk"`) })
		o.send(http.MethodDelete, "/v1/nodes/"+s.id+"/drain", "", "").is(http.StatusNoContent)
		o.send(http.MethodPut, "/v1/nodes/"+s.id+"/weight", `{"weight":7}`, "").is(http.StatusOK)
		stores.Wait(t, "weighed", func() bool { return strings.Contains(o.get("/v1/nodes").body, `"weight":7`) })
		o.send(http.MethodDelete, "/v1/nodes/"+s.id+"/weight", "", "").is(http.StatusNoContent)

		a := o.send(http.MethodPut, "/v1/nodes/10-0-0-2-8080/drain", `{}`, "").refused(http.StatusNotFound, "no_such_node")
		assert.Contains(t, a.body, s.id)
		a = o.get("/v1/nodes/10.0.0.1").refused(http.StatusNotFound, "no_such_node")
		assert.Contains(t, a.body, s.id)
	})
}

// What Prometheus reads of HTTP service discovery: a list of objects with targets, each
// of them an address, and labels, by its own types.
func TestPrometheusTakesTheTargets(t *testing.T) {
	o := open(t, stores.NewMemory())
	put := func(id, value string) {
		must2(t)(o.store.Put(t.Context(), "nodes/"+id, []byte(value)))
	}
	put("10-0-0-1-8080", `{"addr":"10.0.0.1:8080","ops":"10.0.0.1:8090","version":"v1.2","incarnation":"01K9ZZZZZZZZZZZZZZZZZZZZZ1","labels":{"zone-a/b":"x","rack":"7"}}`)
	put("10-0-0-2-8080", `{"addr":"10.0.0.2:8080","ops":"127.0.0.1:8090"}`)
	put("10-0-0-3-8080", `{"addr":"10.0.0.3:8080"}`)
	stores.Wait(t, "three nodes", func() bool { return len(o.node.Directory().Nodes()) == 3 })
	var groups []struct {
		Targets []string       `json:"targets"`
		Labels  model.LabelSet `json:"labels"` // which refuses names that are none
	}
	for range 3 {
		a := o.do(request{method: http.MethodGet, path: "/sd/prometheus", as: access.Viewer}).is(http.StatusOK)
		assert.Equal(t, "application/json", a.header.Get("Content-Type"))
		decoder := json.NewDecoder(strings.NewReader(a.body))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&groups))
	}
	require.Len(t, groups, 1)
	assert.Equal(t, []string{"10.0.0.1:8090"}, groups[0].Targets)
	require.NoError(t, groups[0].Labels.Validate())
	for name := range groups[0].Labels {
		assert.Regexp(t, model.LabelNameRE, string(name))
	}
	assert.Equal(t, model.LabelValue("10-0-0-1-8080"), groups[0].Labels["__meta_seckill_id"])
	assert.Equal(t, model.LabelValue("v1.2"), groups[0].Labels["__meta_seckill_version"])
	assert.Equal(t, model.LabelValue("x"), groups[0].Labels["__meta_seckill_label_zone_a_b"])
	for _, id := range []string{"10-0-0-2-8080", "10-0-0-3-8080"} {
		assert.Equal(t, 1, o.log.Count("node="+id), "the log is told once")
		assert.Contains(t, o.get("/v1/nodes/"+id).is(http.StatusOK).body, "monitoring does not find it")
	}
}

func must2(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		require.NoError(t, err)
	}
}

func TestFiguresAreStreamed(t *testing.T) {
	o := open(t, stores.NewMemory())
	s := o.sell("10.0.0.1:8080", `{}`)
	e := o.published()
	at := "/v1/events/" + e.ID.String()
	stores.Wait(t, "figures", func() bool { return o.get(at+"/figures").status == http.StatusOK })
	server := httptest.NewServer(o.handler)
	t.Cleanup(server.Close)
	q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+at+"/live", http.NoBody))
	q.Header.Set("Authorization", "Bearer "+o.tokens[access.Viewer])
	response, err := server.Client().Do(q)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	lines := bufio.NewScanner(response.Body)
	next := func() (name string, live admin.Live) {
		for lines.Scan() {
			if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = n
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				require.NoError(t, json.Unmarshal([]byte(data), &live))
				return name, live
			}
		}
		return "", live
	}
	name, _ := next()
	assert.Equal(t, "figures", name)
	o.buy(s, e, "ann")
	for live := (admin.Live{}); live.Held != 1; {
		name, live = next()
		require.Equal(t, "figures", name)
	}
	seen := false
	must[event.Event](t)(e.Suspend(t.Context(), o.store))
	for !seen {
		name, live := next()
		require.Equal(t, "figures", name)
		seen = live.Status == "offline"
	}
	must[event.Event](t)(event.Close(t.Context(), o.store, e.ID))
	for name == "figures" {
		name, _ = next()
	}
	assert.Equal(t, "ended", name)
}

// Whoever may not see it any more is told nothing more, nor is anybody by a process that
// is about to stop.
func TestAStreamEndsWithItsReadersRights(t *testing.T) {
	o := open(t, stores.NewMemory())
	e := o.published()
	at := "/v1/events/" + e.ID.String()
	stores.Wait(t, "figures", func() bool { return o.get(at+"/figures").status == http.StatusOK })
	server := httptest.NewServer(o.handler)
	t.Cleanup(server.Close)
	for _, reader := range []struct {
		role access.Role
		end  func()
	}{
		{access.Viewer, func() { o.send(http.MethodDelete, "/v1/users/the-viewer", "", "").is(http.StatusNoContent) }},
		{access.Admin, o.service.Drain},
	} {
		q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+at+"/live", http.NoBody))
		q.Header.Set("Authorization", "Bearer "+o.tokens[reader.role])
		response, err := server.Client().Do(q)
		require.NoError(t, err)
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "data: ") { // it has begun
		}
		reader.end()
		for lines.Scan() {
			assert.NotContains(t, lines.Text(), "ended")
		}
		require.NoError(t, lines.Err())
		require.NoError(t, response.Body.Close())
	}
}

// Pages hang together: no order is left out, and none comes twice.
func TestPagesOfOrders(t *testing.T) {
	o := open(t, stores.NewMemory())
	s := o.sell("10.0.0.1:8080", `{}`)
	var all []string
	events := []event.Event{o.published(), o.published()}
	for _, e := range events {
		for i := range 5 {
			o.buy(s, e, fmt.Sprintf("u%d", i))
		}
		o.buy(s, e, "same")
	}
	for _, query := range []string{"event=" + events[0].ID.String(), "buyer=same"} {
		all = nil
		after := ""
		for {
			var page admin.OrderList
			o.get("/v1/orders?limit=1&"+query+"&after="+url.QueryEscape(after)).read(http.StatusOK, &page)
			for _, order := range page.Orders {
				assert.NotContains(t, all, order.ID)
				all = append(all, order.ID)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		assert.Len(t, all, map[bool]int{true: 6, false: 2}[strings.HasPrefix(query, "event")], query)
	}
}

// Who comes, who goes, and who is refused is in the audit log; what was typed as a password
// is not.
func TestWhoComesAndGoesIsRecorded(t *testing.T) {
	onEach(t, func(t *testing.T, o *office) {
		const typed = "correct-horse-battery"
		login := func(body string) answer {
			return o.do(request{method: http.MethodPost, path: "/v1/login", body: body, from: "10.9.0.1:1"})
		}
		credentials := o.credentials()
		var c struct{ Name, Password string }
		require.NoError(t, json.Unmarshal([]byte(credentials), &c))
		cookie, _, _ := strings.Cut(login(credentials).is(http.StatusOK).header.Get("Set-Cookie"), ";")
		for range 3 {
			login(`{"name":"`+c.Name+`","password":"`+typed+`"}`).refused(http.StatusUnauthorized, "unauthenticated")
			login(`{"name":"`+typed+`","password":"x"}`).refused(http.StatusUnauthorized, "unauthenticated")
		}
		change := request{method: http.MethodPut, path: "/v1/password", body: `{"from":"` + c.Password + `","to":"another horse battery"}`}.with("Cookie", cookie)
		cookie, _, _ = strings.Cut(o.do(change).is(http.StatusOK).header.Get("Set-Cookie"), ";")
		r := request{method: http.MethodDelete, path: "/v1/config?comment=gone"}.with("Cookie", cookie)
		for range 20 {
			o.do(r).refused(http.StatusForbidden, "forbidden")
		}
		o.do(request{method: http.MethodPost, path: "/v1/logout"}.with("Cookie", cookie)).is(http.StatusNoContent)

		var log admin.AuditList
		a := o.get("/v1/audit?limit=500").read(http.StatusOK, &log)
		var deeds []string
		for _, r := range slices.Backward(log.Records) {
			if r.Name == "user.add" {
				continue
			}
			deeds = append(deeds, strings.Join([]string{r.Name, string(r.Outcome), r.Actor, r.Target, string(r.Via)}, " "))
		}
		want := []string{
			"session.begin done " + c.Name + " " + c.Name + " session",
			"session.begin refused (stranger) " + c.Name + " session",
			"session.begin refused (stranger)  session",
			"user.password done " + c.Name + " " + c.Name + " session",
		}
		for range 10 {
			want = append(want, "access.refused refused "+c.Name+" DELETE /v1/config session")
		}
		assert.Equal(t, append(want, "session.end done "+c.Name+" "+c.Name+" session"), deeds)
		for _, secret := range []string{typed, c.Password, "another horse"} {
			assert.NotContains(t, a.body, secret)
		}
		assert.Contains(t, a.body, `"remote":"10.9.0.1"`)
	})
}

// Whoever tries many names from many addresses does not fill the audit log.
func TestAFloodOfLoginsIsNotRecorded(t *testing.T) {
	o := open(t, stores.NewMemory())
	for range 200 {
		a := o.do(request{method: http.MethodPost, path: "/v1/login", body: `{"name":"` + fresh("n") + `","password":"x"}`})
		a.refused(http.StatusUnauthorized, "unauthenticated")
	}
	var log admin.AuditList
	o.get("/v1/audit?limit=500&action=session.").read(http.StatusOK, &log)
	assert.GreaterOrEqual(t, len(log.Records), 60)
	assert.Less(t, len(log.Records), 120, "60, and 10 a minute")
}

// What can't be recorded is not done: nobody comes in whom nobody could find later.
func TestNobodyComesInUnrecorded(t *testing.T) {
	o := open(t, stores.NewMemory())
	credentials := o.credentials()
	o.faulty.Set(stores.Hooks{Put: func(key string) error {
		if strings.HasPrefix(key, "audit/") {
			return backend.ErrFull
		}
		return nil
	}})
	login := request{method: http.MethodPost, path: "/v1/login", body: credentials}
	o.do(login).refused(http.StatusServiceUnavailable, "unavailable")
	entries, _, err := backend.List(t.Context(), o.store, "admin/sessions/")
	require.NoError(t, err)
	assert.Empty(t, entries)
	o.faulty.Set(stores.Hooks{})
	o.do(login).is(http.StatusOK)
}
