package admin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web/webtest"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

const (
	goods  = `{"sku":"phone-1","title":"Phone","images":["/phone.png"]}`
	topic  = `{"title":"Friday","events":[]}`
	config = `{"value":"{\"logLevel\":\"warn\"}","comment":"less noise"}`
	trial  = `{"value":"{\"logLevel\":\"warn\"}","percent":50,"comment":"try it"}`
	sku    = `{"title":"Phone","sku":"phone-1","price":{"minor":500,"currency":"EUR"},"window":{"opens":"2026-11-11T20:00:00Z","closes":"2026-11-11T21:00:00Z"},"total":10}`
)

func fresh(name string) string { return strings.ToLower(name + ulid.Make().String()) }

// samples make a request for each operation that is answered as it should be, each in a
// state of its own.
func (o *office) samples(s *shop) map[string]func() request {
	get := func(path string) func() request {
		return func() request { return request{method: http.MethodGet, path: path, as: access.Admin} }
	}
	put := func(key, value string) (revision backend.Revision) {
		return must[backend.Revision](o)(o.store.Put(o.Context(), key, []byte(value)))
	}
	send := func(method, path, body string) request {
		return request{method: method, path: path, body: body, as: access.Admin}
	}
	named := func(dir, value, method, body string) func() request {
		return func() request {
			id := fresh("n")
			revision := put(dir+id, value)
			r := send(method, "/v1/"+dir+id, body)
			if method != http.MethodGet {
				r = r.with("If-Match", tag(revision))
			}
			return r
		}
	}
	step := func(name string, from func() (id ulid.ULID, revision backend.Revision)) func() request {
		return func() request {
			id, revision := from()
			return send(http.MethodPost, "/v1/events/"+id.String()+"/"+name, "").with("If-Match", tag(revision))
		}
	}
	drafted := func() (ulid.ULID, backend.Revision) { e := o.drafted(); return e.ID, e.Revision }
	online := func() (ulid.ULID, backend.Revision) { e := o.published(); return e.ID, e.Revision }
	offline := func() (ulid.ULID, backend.Revision) {
		e, err := o.published().Suspend(o.Context(), o.store)
		require.NoError(o, err)
		return e.ID, e.Revision
	}
	node := "/v1/nodes/" + s.id
	onConfig := func(method, path, body string) func() request {
		return func() request {
			return send(method, path, body).with("If-Match", tag(put("config", `{"logLevel":"info"}`)))
		}
	}
	onTrial := func(method, path, body string) func() request {
		return func() request {
			id := o.trial()
			r := send(method, "/v1/config/rollout/"+id+path, body)
			if method == http.MethodPut {
				r = r.with("If-Match", o.get("/v1/config/rollout").header.Get("ETag"))
			}
			return r
		}
	}
	onKey := func(method, body string) request {
		key := fresh("notes/n")
		revision := put(key, "1")
		r := send(method, "/v1/key?key="+key, body)
		if method != http.MethodGet {
			r = r.with("If-Match", tag(revision))
		}
		return r
	}
	user := func() string {
		name := fresh("u")
		o.do(send(http.MethodPost, "/v1/users", `{"name":"`+name+`","role":"viewer"}`)).is(http.StatusCreated)
		return name
	}
	return map[string]func() request{
		"get-store":  get("/v1/store"),
		"list-keys":  get("/v1/keys?prefix=goods/"),
		"get-key":    func() request { return onKey(http.MethodGet, "") },
		"put-key":    func() request { return onKey(http.MethodPut, `{"value":"2"}`) },
		"delete-key": func() request { return onKey(http.MethodDelete, "") },

		"list-goods":   get("/v1/goods"),
		"get-goods":    named("goods/", goods, http.MethodGet, ""),
		"put-goods":    named("goods/", goods, http.MethodPut, goods),
		"delete-goods": named("goods/", goods, http.MethodDelete, ""),
		"list-topics":  get("/v1/topics"),
		"get-topic":    named("topics/", topic, http.MethodGet, ""),
		"put-topic":    named("topics/", topic, http.MethodPut, topic),
		"delete-topic": named("topics/", topic, http.MethodDelete, ""),

		"list-events":  get("/v1/events?status=draft"),
		"get-event":    func() request { return get("/v1/events/" + o.drafted().ID.String())() },
		"create-event": func() request { return send(http.MethodPost, "/v1/events", sku) },
		"edit-event": func() request {
			e := o.drafted()
			return send(http.MethodPut, "/v1/events/"+e.ID.String(), sku).with("If-Match", tag(e.Revision))
		},
		"delete-event": func() request {
			e := o.drafted()
			return send(http.MethodDelete, "/v1/events/"+e.ID.String(), "").with("If-Match", tag(e.Revision))
		},
		"publish-event": step("publish", drafted),
		"suspend-event": step("suspend", online),
		"resume-event":  step("resume", offline),
		"close-event":   step("close", online),
		"get-figures": func() request {
			e := o.published()
			stores.Wait(o, "figures", func() bool {
				return o.get("/v1/events/"+e.ID.String()+"/figures").status == http.StatusOK
			})
			return get("/v1/events/" + e.ID.String() + "/figures")()
		},
		"verify-event":  func() request { return send(http.MethodPost, "/v1/events/"+o.closed().ID.String()+"/verify", "") },
		"find-orders":   func() request { return get("/v1/orders?event=" + o.closed().ID.String())() },
		"export-orders": func() request { return get("/v1/events/" + o.closed().ID.String() + "/orders")() },

		"list-nodes": get("/v1/nodes"),
		"get-node":   get(node),
		"drain-node": func() request { return send(http.MethodPut, node+"/drain", `{"reason":"new disk"}`) },
		"undrain-node": func() request {
			require.NoError(o, registry.DrainNode(o.Context(), o.store, "", s.id, registry.Drain{}))
			return send(http.MethodDelete, node+"/drain", "")
		},
		"weigh-node": func() request { return send(http.MethodPut, node+"/weight", `{"weight":7}`) },
		"unweigh-node": func() request {
			require.NoError(o, registry.WeighNode(o.Context(), o.store, "", s.id, registry.Weight{Weight: 5}))
			return send(http.MethodDelete, node+"/weight", "")
		},
		"push-config":    func() request { return send(http.MethodPut, node+"/push", config) },
		"clear-config":   func() request { return send(http.MethodDelete, node+"/push", "") },
		"reload-node":    func() request { return send(http.MethodPost, node+"/reload", `{"source":"settings"}`) },
		"get-blacklist":  get("/v1/blacklist"),
		"discover-nodes": get("/sd/prometheus"),

		"get-config":      get("/v1/config"),
		"validate-config": func() request { return send(http.MethodPost, "/v1/config/validate", `{"value":"{}"}`) },
		"diff-config":     func() request { return send(http.MethodPost, "/v1/config/diff", `{"value":"{}"}`) },
		"publish-config":  onConfig(http.MethodPut, "/v1/config", config),
		"delete-config":   onConfig(http.MethodDelete, "/v1/config?comment=gone", ""),
		"rollback-config": func() request {
			v := o.publish(`{"logLevel":"debug"}`)
			return onConfig(http.MethodPost, "/v1/config/rollback", fmt.Sprintf(`{"revision":%d,"comment":"back"}`, v))()
		},
		"list-versions": get("/v1/config/history"),
		"get-version": func() request {
			return get(fmt.Sprintf("/v1/config/history/%d", o.publish(`{"logLevel":"debug"}`)))()
		},
		"get-consistency": get("/v1/config/consistency"),
		"get-rollout":     func() request { o.trial(); return get("/v1/config/rollout")() },
		"start-rollout": func() request {
			o.noTrial()
			return onConfig(http.MethodPost, "/v1/config/rollout", trial)()
		},
		"retarget-rollout": onTrial(http.MethodPut, "/target", `{"percent":100}`),
		"promote-rollout":  onTrial(http.MethodPost, "/promote", `{"comment":"it is good"}`),
		"abandon-rollout":  onTrial(http.MethodPost, "/abandon", `{"comment":"it is not"}`),

		"login":           func() request { return send(http.MethodPost, "/v1/login", o.credentials()).by("") },
		"logout":          func() request { return send(http.MethodPost, "/v1/logout", "").by("") },
		"change-password": o.newPassword,
		"get-session":     get("/v1/session"),
		"list-users":      get("/v1/users"),
		"add-user": func() request {
			return send(http.MethodPost, "/v1/users", `{"name":"`+fresh("u")+`","role":"viewer"}`)
		},
		"set-role":       func() request { return send(http.MethodPut, "/v1/users/"+user()+"/role", `{"role":"operator"}`) },
		"reset-password": func() request { return send(http.MethodPost, "/v1/users/"+user()+"/password", "") },
		"remove-user":    func() request { return send(http.MethodDelete, "/v1/users/"+user(), "") },
		"list-tokens":    get("/v1/tokens"),
		"create-token":   func() request { return send(http.MethodPost, "/v1/tokens", `{"name":"ci","role":"viewer"}`) },
		"revoke-token": func() request {
			var made struct{ ID string }
			o.do(send(http.MethodPost, "/v1/tokens", `{"name":"ci","role":"viewer"}`)).read(http.StatusCreated, &made)
			return send(http.MethodDelete, "/v1/tokens/"+made.ID, "")
		},
		"list-audit": get("/v1/audit?action=event."),
		"list-jobs":  get("/v1/jobs"),
	}
}

// publish publishes a config that is recorded, and returns its revision.
func (o *office) publish(text string) backend.Revision {
	o.Helper()
	e, err := o.store.Get(o.Context(), "config")
	if err != nil {
		require.ErrorIs(o, err, backend.ErrNotFound)
	}
	body := must[[]byte](o)(json.Marshal(map[string]string{"value": text, "comment": "c"}))
	r := request{method: http.MethodPut, path: "/v1/config", as: access.Admin, body: string(body)}
	if e.Revision == 0 {
		r = r.with("If-None-Match", "*")
	} else {
		r = r.with("If-Match", tag(e.Revision))
	}
	var v struct{ Revision backend.Revision }
	o.do(r).read(http.StatusOK, &v)
	return v.Revision
}

// trial begins a new rollout.
func (o *office) trial() string {
	o.Helper()
	o.noTrial()
	base := must[backend.Revision](o)(o.store.Put(o.Context(), "config", []byte(`{"logLevel":"info"}`)))
	var r dynconf.Rollout
	o.do(request{method: http.MethodPost, path: "/v1/config/rollout", as: access.Admin, body: trial}.with("If-Match", tag(base))).read(http.StatusCreated, &r)
	return r.ID
}

func (o *office) noTrial() {
	o.Helper()
	r, err := o.node.Rollouts().Current(o.Context())
	if errors.Is(err, backend.ErrNotFound) {
		return
	}
	require.NoError(o, err)
	if r.State == dynconf.Trial {
		must[dynconf.Rollout](o)(o.node.Rollouts().Abandon(o.Context(), r.ID, "another test"))
	}
}

// credentials are those of a new user, with a password for one use.
func (o *office) credentials() string {
	o.Helper()
	name := fresh("u")
	var made struct{ Password string }
	o.do(request{method: http.MethodPost, path: "/v1/users", as: access.Admin, body: `{"name":"` + name + `","role":"viewer"}`}).read(http.StatusCreated, &made)
	return fmt.Sprintf(`{"name":%q,"password":%q}`, name, made.Password)
}

// session logs a new user in.
func (o *office) session() (cookie, password string) {
	o.Helper()
	credentials := o.credentials()
	a := o.do(request{method: http.MethodPost, path: "/v1/login", body: credentials}).is(http.StatusOK)
	var c struct{ Password string }
	require.NoError(o, json.Unmarshal([]byte(credentials), &c))
	cookie, _, _ = strings.Cut(a.header.Get("Set-Cookie"), ";")
	return cookie, c.Password
}

func (o *office) newPassword() request {
	cookie, password := o.session()
	return request{method: http.MethodPut, path: "/v1/password", body: `{"from":"` + password + `","to":"correct horse battery"}`}.with("Cookie", cookie)
}

// answers takes down which statuses and codes each operation was seen to answer with.
type answers map[string]bool

func (a answers) add(o *office, r request, got answer) {
	op := o.operation(o.make(r))
	require.NotNil(o, op, r.path)
	a[fmt.Sprint(op.OperationID, " ", got.status, " ", got.code())] = true
}

func operations(o *office) map[string]*huma.Operation {
	all := map[string]*huma.Operation{}
	for _, item := range o.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op != nil {
				all[op.OperationID] = op
			}
		}
	}
	return all
}

var codePattern = regexp.MustCompile("`([a-z_]+)`:")

// documented lists what the document says that there may be.
func documented(o *office) (all []string) {
	for _, op := range operations(o) {
		for status, r := range op.Responses {
			found := codePattern.FindAllStringSubmatch(r.Description, -1)
			if len(found) == 0 {
				all = append(all, fmt.Sprint(op.OperationID, " ", status, " "))
			}
			for _, code := range found {
				all = append(all, fmt.Sprint(op.OperationID, " ", status, " ", code[1]))
			}
		}
	}
	slices.Sort(all)
	return all
}

// Nothing is promised that can't happen, and nothing happens that is not promised
// (see conforms).
func TestEveryDocumentedAnswerIsReached(t *testing.T) {
	o := open(t, stores.NewMemory())
	s := o.sell("10.0.0.1:8080", `{"gate":{"blacklist":{"ids":3}}}`)
	samples, seen := o.samples(s), answers{}
	try := func(r request) answer {
		t.Helper()
		a := o.do(r)
		seen.add(o, r, a)
		return a
	}
	mustChange, _ := o.session()
	promises := documented(o)
	has := func(id, code string) bool {
		return slices.ContainsFunc(promises, func(p string) bool {
			return strings.HasPrefix(p, id+" ") && strings.HasSuffix(p, " "+code)
		})
	}
	faults := func(err func(key string) error, f func()) {
		t.Helper()
		all := func(key string) error { return err(key) }
		o.faulty.Set(stores.Hooks{Get: all, Put: all, Del: all, Watch: all})
		defer o.faulty.Set(stores.Hooks{})
		f()
	}
	changes := func(err error) func(string) error {
		return func(key string) error {
			if strings.HasPrefix(key, "audit/") || strings.HasPrefix(key, "history/") {
				return nil
			}
			return err
		}
	}

	for id := range operations(o) {
		if id == "stream-figures" {
			live := request{method: http.MethodGet, path: "/v1/events/" + o.published().ID.String() + "/live", as: access.Admin}
			try(live.by("")).refused(http.StatusUnauthorized, "unauthenticated")
			try(live.by("").with("Cookie", mustChange)).refused(http.StatusForbidden, "must_change_password")
			faults(func(string) error { return backend.ErrDenied }, func() {
				try(live).refused(http.StatusServiceUnavailable, "unavailable")
			})
			continue
		}
		sample := samples[id]
		require.NotNil(t, sample, id)
		good := sample()
		if has(id, "unauthenticated") && id != "login" && id != "change-password" {
			try(good.by("")).refused(http.StatusUnauthorized, "unauthenticated")
		}
		if has(id, "must_change_password") {
			try(good.by("").with("Cookie", mustChange)).refused(http.StatusForbidden, "must_change_password")
		}
		if good.method != http.MethodGet {
			try(good.with("Sec-Fetch-Site", "cross-site")).refused(http.StatusForbidden, "forbidden")
		}
		if slices.Contains(append(roles[access.Operator], roles[access.Admin]...), id) {
			try(good.by(access.Viewer)).refused(http.StatusForbidden, "forbidden")
		}
		if has(id, "unsupported_media_type") {
			try(good.with("Content-Type", "text/plain")).refused(http.StatusUnsupportedMediaType, "unsupported_media_type")
			try(good.saying("{"))
			try(good.saying("")).refused(http.StatusBadRequest, "malformed")
			good = sample()
			try(good.saying(`{"nothing":"known"}`)).refused(http.StatusUnprocessableEntity, "invalid")
			try(good.saying(strings.Repeat(" ", 600<<10))).refused(http.StatusRequestEntityTooLarge, "too_large")
		}
		if has(id, "precondition_required") {
			good := sample()
			try(good.with("If-Match", "")).refused(http.StatusPreconditionRequired, "precondition_required")
			try(good.with("If-Match", `W/"1"`)).refused(http.StatusUnprocessableEntity, "invalid")
			a := try(good.with("If-Match", `"1"`)).refused(http.StatusPreconditionFailed, "changed")
			assert.Equal(t, good.header["If-Match"], a.header.Get("ETag"))
		}
		if has(id, "unavailable") && id != "logout" && id != "discover-nodes" {
			faults(func(string) error { return backend.ErrDenied }, func() {
				if id == "get-figures" || id == "stream-figures" {
					try(good)
					return
				}
				try(good).refused(http.StatusServiceUnavailable, "unavailable")
			})
		}
		if has(id, "full") {
			good := sample()
			o.faulty.Set(stores.Hooks{Put: func(string) error { return backend.ErrFull }})
			try(good).refused(http.StatusInsufficientStorage, "full")
			o.faulty.Set(stores.Hooks{})
		}
		if has(id, "unknown") && id != "logout" {
			good, hook := sample(), changes(backend.ErrUnknown)
			o.faulty.Set(stores.Hooks{Put: hook, Del: hook})
			try(good).refused(http.StatusServiceUnavailable, "unknown")
			o.faulty.Set(stores.Hooks{})
		}
		a := try(sample())
		assert.Less(t, a.status, 300, "%s: %s", id, a.body)
	}

	o.particular(s, samples, try)
	seen["stream-figures 200 "] = true            // TestFiguresAreStreamed does
	seen["stream-figures 429 throttled"] = true   // TestStreamsOfAUserAreBounded
	seen["discover-nodes 503 unavailable"] = true // TestTargetsAreNotTakenAwayUnread
	for _, promised := range promises {
		assert.True(t, seen[promised], "%s was not seen", promised)
	}
}

// particular makes what only some operations answer.
func (o *office) particular(s *shop, samples map[string]func() request, try func(request) answer) {
	o.Helper()
	t := o.T
	none := "/" + ulid.Make().String()
	get := func(path string) request { return request{method: http.MethodGet, path: path, as: access.Admin} }
	for _, path := range []string{
		"/v1/goods?limit=0", "/v1/topics?limit=0", "/v1/events?status=x", "/v1/orders", "/v1/orders?order=x", "/v1/audit?after=x",
		"/v1/goods/%20", "/v1/topics/%20", "/v1/keys?limit=0", "/v1/key?key=%2Fx", "/v1/config/history?after=x", "/v1/config/history/0", "/v1/events/" + o.closed().ID.String() + "/orders?format=xml",
	} {
		try(get(path)).refused(http.StatusUnprocessableEntity, "invalid")
	}
	try(get("/v1/keys").by(access.Viewer)).refused(http.StatusForbidden, "forbidden")
	o.searching(func() { try(samples["list-keys"]()).refused(http.StatusTooManyRequests, "throttled") })
	o.reading(o.closed(), func() {
		for _, id := range []string{"verify-event", "find-orders", "export-orders"} {
			try(samples[id]()).refused(http.StatusServiceUnavailable, "busy")
		}
	})
	missing := map[string]string{
		"goods": "/v1/goods" + none, "topic": "/v1/topics" + none, "event": "/v1/events" + none,
	}
	for _, id := range []string{"get-goods", "put-goods", "delete-goods"} {
		try(samples[id]().at(missing["goods"])).refused(http.StatusNotFound, "no_such_goods")
	}
	for _, id := range []string{"get-key", "put-key", "delete-key"} {
		try(samples[id]().at("/v1/key?key=notes"+none)).refused(http.StatusNotFound, "no_such_key")
	}
	for _, id := range []string{"get-topic", "put-topic", "delete-topic"} {
		try(samples[id]().at(missing["topic"])).refused(http.StatusNotFound, "no_such_topic")
	}
	for _, id := range []string{"get-event", "edit-event", "delete-event"} {
		try(samples[id]().at(missing["event"])).refused(http.StatusNotFound, "no_such_event")
	}
	for _, name := range []string{"publish", "suspend", "resume", "close", "verify"} {
		try(samples[name+"-event"]().at(missing["event"]+"/"+name)).refused(http.StatusNotFound, "no_such_event")
	}
	for _, path := range []string{"/figures", "/live", "/orders"} {
		try(get(missing["event"]+path)).refused(http.StatusNotFound, "no_such_event")
	}
	try(get("/v1/orders?event="+ulid.Make().String())).refused(http.StatusNotFound, "no_such_event")

	// What the store has can't be read.
	for key, value := range map[string]string{"goods/spoilt": "{", "topics/spoilt": "null", record.EventKey(ulid.ULID{1}): "{"} {
		must[backend.Revision](t)(o.store.Put(t.Context(), key, []byte(value)))
		assert.NotEmpty(t, try(get("/v1/"+key)).refused(http.StatusConflict, "unreadable").status)
	}
	spoilt := o.closed()
	must[backend.Revision](t)(o.store.Put(t.Context(), record.LogKey(spoilt.ID, 0, record.Place{Epoch: 1, Seq: 1}), []byte("x")))
	try(get("/v1/orders?event="+spoilt.ID.String())).refused(http.StatusConflict, "unreadable")
	try(get("/v1/events/"+spoilt.ID.String()+"/orders")).refused(http.StatusConflict, "unreadable")

	// Steps that lead nowhere.
	closed, fresh := o.closed(), o.drafted()
	for _, name := range []string{"publish", "suspend", "resume"} {
		try(samples[name+"-event"]().at("/v1/events/"+closed.ID.String()+"/"+name).with("If-Match", tag(closed.Revision))).refused(http.StatusConflict, "wrong_status")
	}
	for _, id := range []string{"edit-event", "delete-event"} {
		try(samples[id]().at("/v1/events/"+closed.ID.String()).with("If-Match", tag(closed.Revision))).refused(http.StatusConflict, "wrong_status")
	}
	try(samples["close-event"]().at("/v1/events/"+fresh.ID.String()+"/close").with("If-Match", tag(fresh.Revision))).refused(http.StatusConflict, "wrong_status")
	for _, path := range []string{"/figures", "/live"} {
		try(get("/v1/events/"+fresh.ID.String()+path)).refused(http.StatusConflict, "not_live")
	}
	try(get("/v1/orders?event="+fresh.ID.String())).refused(http.StatusConflict, "no_orders")
	try(get("/v1/events/"+fresh.ID.String()+"/orders")).refused(http.StatusConflict, "no_orders")

	*o.space = backend.Space{Quota: 1}
	try(samples["publish-event"]()).refused(http.StatusConflict, "no_room")
	*o.space = backend.Space{}

	// Nodes.
	for id := range operations(o) {
		r := samples[id]
		if r == nil || !strings.HasPrefix(r().path, "/v1/nodes/") {
			continue
		}
		a := try(r().at(strings.Replace(r().path, s.id, "10.0.0.1:8080", 1)))
		a.refused(http.StatusNotFound, "no_such_node")
		assert.Contains(t, a.body, s.id, "near names")
	}
	for _, id := range []string{"drain-node", "weigh-node"} {
		o.faulty.Set(stores.Hooks{Put: func(key string) error {
			if strings.HasPrefix(key, "nodes/") {
				return &backend.ConflictError{Key: key, Want: 1, Have: 2}
			}
			return nil
		}})
		try(samples[id]()).refused(http.StatusPreconditionFailed, "changed")
		o.faulty.Set(stores.Hooks{})
		o.do(samples[id]()).is(http.StatusOK)
	}
	for _, id := range []string{"undrain-node", "unweigh-node"} {
		r := samples[id]()
		o.faulty.Set(stores.Hooks{Del: func(key string) error { return &backend.ConflictError{Key: key, Want: 1, Have: 2} }})
		try(r).refused(http.StatusPreconditionFailed, "changed")
		o.faulty.Set(stores.Hooks{})
	}
	s.told.err = status.Error(codes.Unavailable, "gone")
	for _, id := range []string{"push-config", "clear-config", "reload-node"} {
		try(samples[id]()).refused(http.StatusBadGateway, "unreachable")
	}
	s.told.err = status.Error(codes.Aborted, "there is no such file")
	try(samples["reload-node"]()).refused(http.StatusConflict, "refused")

	// Config and rollouts.
	try(request{method: http.MethodPost, path: "/v1/config/rollback", as: access.Admin, body: `{"revision":1,"comment":"c"}`}.
		with("If-Match", samples["publish-config"]().header["If-Match"])).refused(http.StatusNotFound, "no_such_version")
	try(get("/v1/config/history/1")).refused(http.StatusNotFound, "no_such_version")
	o.trial()
	r := samples["publish-config"]()
	start := request{method: http.MethodPost, path: "/v1/config/rollout", as: access.Admin, body: trial, header: r.header}
	try(start).refused(http.StatusConflict, "rollout_conflict")
	for _, name := range []string{"retarget", "promote", "abandon"} {
		r := samples[name+"-rollout"]()
		try(r.at("/v1/config/rollout/x"+r.path[strings.LastIndex(r.path, "/"):])).refused(http.StatusNotFound, "no_such_rollout")
	}
	for name, end := range map[string]string{"retarget": "abandon", "promote": "abandon", "abandon": "promote"} {
		r, over := samples[name+"-rollout"](), samples[end+"-rollout"]()
		id := strings.Split(over.path, "/")[4]
		o.do(over).is(http.StatusOK)
		try(r.at("/v1/config/rollout/"+id+r.path[strings.LastIndex(r.path, "/"):])).refused(http.StatusConflict, "rollout_conflict")
	}
	require.NoError(t, o.store.Delete(t.Context(), "config/rollout"))
	try(get("/v1/config/rollout")).refused(http.StatusNotFound, "no_such_rollout")

	// Users and tokens.
	cookie, _ := o.session()
	o.faulty.Set(stores.Hooks{Del: func(string) error { return backend.ErrDenied }})
	try(samples["logout"]().with("Cookie", cookie)).refused(http.StatusServiceUnavailable, "unavailable")
	o.faulty.Set(stores.Hooks{Del: func(string) error { return backend.ErrUnknown }})
	try(samples["logout"]().with("Cookie", cookie)).refused(http.StatusServiceUnavailable, "unknown")
	o.faulty.Set(stores.Hooks{})
	try(samples["remove-user"]().at("/v1/users/admin")).is(http.StatusNoContent)
	try(samples["remove-user"]().at("/v1/users/the-admin")).refused(http.StatusConflict, "last_admin")
	try(samples["set-role"]().at("/v1/users/the-admin/role")).refused(http.StatusConflict, "last_admin")
	try(samples["login"]().saying(`{"name":"nobody","password":"x"}`)).refused(http.StatusUnauthorized, "unauthenticated")
	for _, id := range []string{"login", "change-password"} {
		r := samples[id]().saying(`{"name":"x","password":"x"}`)
		if id == "change-password" {
			r = r.saying(`{"from":"wrong horse battery","to":"another horse battery"}`)
		}
		r.from = "10.2.0.1:1"
		for a := try(r); a.status != http.StatusTooManyRequests; a = try(r) {
			a.refused(http.StatusUnauthorized, "unauthenticated")
		}
	}
	try(samples["change-password"]().with("Cookie", "")).refused(http.StatusUnauthorized, "unauthenticated")
	try(samples["change-password"]().with("Cookie", "").by(access.Admin)).refused(http.StatusForbidden, "forbidden")
	try(samples["add-user"]().saying(`{"name":"the-viewer","role":"viewer"}`)).refused(http.StatusConflict, "exists")
	for _, id := range []string{"set-role", "reset-password", "remove-user"} {
		r := samples[id]()
		name := strings.Split(r.path, "/")[3]
		try(r.at(strings.Replace(r.path, name, "nobody", 1))).refused(http.StatusNotFound, "not_found")
	}
	try(samples["revoke-token"]().at("/v1/tokens"+none)).refused(http.StatusNotFound, "not_found")
	try(samples["create-token"]().saying(`{"name":"n","role":"viewer","owner":"nobody"}`)).refused(http.StatusNotFound, "not_found")
}

// The document that is checked in is the one that is served.
func TestDocumentIsCheckedIn(t *testing.T) {
	a := open(t, stores.NewMemory()).get("/openapi.json").is(http.StatusOK)
	webtest.CheckedIn(t, "../../docs/openapi-admin.json", a.body)
}
