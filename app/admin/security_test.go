package admin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/internal/stores"
)

// roles are what each operation takes. One that is missing fails the test: whoever adds an
// operation says here who may.
var roles = map[access.Role][]string{
	"": {"login", "logout", "change-password"},
	access.Viewer: {
		"list-goods", "get-goods", "list-topics", "get-topic", "list-events", "get-event", "get-figures", "stream-figures",
		"list-nodes", "get-node", "get-blacklist", "discover-nodes", "get-config", "validate-config", "diff-config", "list-versions",
		"get-version", "get-consistency", "get-rollout", "get-session", "list-audit", "list-jobs", "get-store", "list-keys", "get-key",
	},
	access.Operator: {
		"put-goods", "delete-goods", "put-topic", "delete-topic", "create-event", "edit-event", "delete-event", "publish-event",
		"suspend-event", "resume-event", "close-event", "verify-event", "find-orders", "export-orders", "drain-node", "undrain-node",
		"weigh-node", "unweigh-node", "reload-node",
	},
	access.Admin: {
		"push-config", "clear-config", "publish-config", "delete-config", "rollback-config", "start-rollout", "retarget-rollout", "promote-rollout", "abandon-rollout",
		"list-users", "add-user", "set-role", "reset-password", "remove-user", "list-tokens", "create-token", "revoke-token",
		"put-key", "delete-key",
	},
}

var ranks = []access.Role{"", access.Viewer, access.Operator, access.Admin}

// Everybody may do what the role allows, and nothing else.
func TestRoles(t *testing.T) {
	o := open(t, stores.NewMemory())
	samples := o.samples(o.sell("10.0.0.1:8080", `{}`))
	known := 0
	for role, ids := range roles {
		for _, id := range ids {
			known++
			sample := samples[id]
			if id == "stream-figures" || role == "" {
				continue // the others are about them
			}
			require.NotNil(t, sample, id)
			takes := slices.Index(ranks, role)
			for rank, who := range ranks {
				r := sample().by(who)
				a := o.do(r)
				switch {
				case rank >= takes:
					assert.Less(t, a.status, 300, "%s as %q: %s", id, who, a.body)
				case who == "":
					a.refused(http.StatusUnauthorized, "unauthenticated")
					assert.Equal(t, "Bearer", a.header.Get("WWW-Authenticate"))
				default:
					a.refused(http.StatusForbidden, "forbidden")
				}
			}
		}
	}
	assert.Len(t, operations(o), known, "every operation is among roles")
}

// What is refused has changed nothing, and is told before a body is looked at.
func TestStrangersChangeNothing(t *testing.T) {
	o := open(t, stores.NewMemory())
	e := o.drafted()
	for _, who := range []access.Role{"", access.Viewer} {
		r := request{method: http.MethodPost, path: "/v1/events/" + e.ID.String() + "/publish", as: who}.with("If-Match", tag(e.Revision))
		assert.GreaterOrEqual(t, o.do(r).status, 400)
		assert.GreaterOrEqual(t, o.do(request{method: http.MethodPut, path: "/v1/config", as: who, body: config}.with("If-None-Match", "*")).status, 400)
	}
	now := must[event.Event](t)(event.Get(t.Context(), o.store, e.ID))
	assert.Equal(t, e, now)
	for path, status := range map[string]int{
		"/livez": 200, "/readyz": 200, "/openapi.json": 200, "/": 401, "/v1": 401, "/v1/nothing": 401, "/sd/prometheus": 401,
		"/openapi.yaml": 401, "/schemas/Event.json": 401, "/docs": 401,
	} {
		assert.Equal(t, status, o.do(request{method: http.MethodGet, path: path}).status, path)
	}
}

// A browser that is logged in does nothing that a page of another origin wants.
func TestForgedOrigins(t *testing.T) {
	o := open(t, stores.NewMemory())
	cookie, _ := o.session()
	r := request{method: http.MethodPost, path: "/v1/logout"}.with("Cookie", cookie)
	for _, forged := range []request{
		r.with("Sec-Fetch-Site", "cross-site"), r.with("Sec-Fetch-Site", "same-site"), r.with("Origin", "https://evil.example"), r.with("Origin", "null"),
	} {
		assert.Equal(t, http.StatusForbidden, o.do(forged).status)
	}
	o.do(request{method: http.MethodGet, path: "/v1/session"}.with("Cookie", cookie)).is(http.StatusOK)
	a := o.do(r.with("Sec-Fetch-Site", "same-origin")).is(http.StatusNoContent)
	assert.Contains(t, a.header.Get("Set-Cookie"), "Max-Age=0")
	o.do(request{method: http.MethodGet, path: "/v1/session"}.with("Cookie", cookie)).refused(http.StatusUnauthorized, "unauthenticated")
}

// No path leads to another key, nor past the door.
func TestPathTricks(t *testing.T) {
	o := open(t, stores.NewMemory())
	for _, path := range []string{
		"/v1/goods/..%2Fevents", "/v1/goods/%2e%2e", "/v1/goods/a%2Fb", "/v1/goods/%00", "/v1/topics/..%2F..%2Fadmin%2Fusers%2Fadmin",
		"/v1/goods/" + strings.Repeat("x", 300), "/v1/topics/a%20b",
	} {
		a := o.get(path)
		a.refused(http.StatusUnprocessableEntity, "invalid")
	}
	for _, path := range []string{
		"/v1/events/..%2Fconfig", "/v1/events/01K9ZZZZZZZZZZZZZZZZZZZZZZ%00", "/v1/events/" + strings.Repeat("0", 26), "/v1/nodes/..%2Fconfig", "/v1/nodes/..%2F..",
		"/v1/users/..%2F..%2Fconfig", "/v1/tokens/..%2Fx", "/v1/nodes/",
	} {
		method := http.MethodGet
		if strings.HasPrefix(path, "/v1/users") || strings.HasPrefix(path, "/v1/tokens") {
			method = http.MethodDelete
		}
		a := o.do(request{method: method, path: path, as: access.Admin})
		assert.Equal(t, http.StatusNotFound, a.status, path)
		a = o.do(request{method: method, path: path})
		assert.Equal(t, http.StatusUnauthorized, a.status, path)
	}
	for _, path := range []string{"//v1/nodes", "/v1/../v1/nodes"} {
		a := o.get(path).is(http.StatusTemporaryRedirect)
		assert.Equal(t, "/v1/nodes", a.header.Get("Location"))
		assert.Equal(t, http.StatusUnauthorized, o.do(request{method: http.MethodGet, path: path}).status, path)
	}
	for _, path := range []string{"/livez/../v1/nodes", "/livez/..%2fv1/nodes", "/openapi.json/../v1/nodes", "/v1/login/../nodes"} {
		assert.Equal(t, http.StatusUnauthorized, o.do(request{method: http.MethodGet, path: path}).status, path)
	}
}

// A node's page is read within bounds, and only that: a node may be anybody's.
func TestForeignPagesAreNotBelieved(t *testing.T) {
	o := open(t, stores.NewMemory())
	redirecting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/secret", http.StatusFound)
	}))
	t.Cleanup(redirecting.Close)
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`"` + strings.Repeat("x", 2<<20) + `"`))
	}))
	t.Cleanup(large.Close)
	script := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<script>`))
	}))
	t.Cleanup(script.Close)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(elsewhere.Close)
	for id, server := range map[string]string{"f": elsewhere.URL + "/v1/secret?", "g": "http://x@" + strings.TrimPrefix(elsewhere.URL, "http://"), "a": redirecting.URL, "b": large.URL, "c": script.URL, "d": "http://127.0.0.1:1", "e": "http://x/%zz\\n"} {
		must2(t)(o.store.Put(t.Context(), "nodes/"+id, []byte(`{"addr":"10.0.0.1:8080","ops":"`+strings.TrimPrefix(server, "http://")+`"}`)))
		stores.Wait(t, "listed", func() bool { _, ok := o.node.Directory().Node(id); return ok })
		a := o.get("/v1/nodes/" + id).is(http.StatusOK)
		assert.Contains(t, a.body, `"statusError":"`, id)
		assert.NotContains(t, a.body, `"status":`, id)
	}
}

// Neither an answer, nor the audit log, nor the process's log has a secret: see office.do
// for the first.
func TestSecretsAreNotTold(t *testing.T) {
	o := open(t, stores.NewMemory())
	samples := o.samples(o.sell("10.0.0.1:8080", `{}`))
	for _, id := range []string{"login", "change-password", "reset-password"} {
		o.do(samples[id]()).is(http.StatusOK)
	}
	var made struct{ Text, Password string }
	o.do(samples["create-token"]()).read(http.StatusCreated, &made)
	o.do(samples["add-user"]()).read(http.StatusCreated, &made)
	o.secrets = append(o.secrets, made.Text, made.Password)
	var log admin.AuditList
	o.get("/v1/audit?action=user.password").read(http.StatusOK, &log)
	require.Len(t, log.Records, 1, "a password that somebody has changed is told")
	assert.Equal(t, log.Records[0].Target, log.Records[0].Actor)
	for _, path := range []string{"/v1/audit?limit=500", "/v1/users", "/v1/tokens", "/v1/session"} {
		o.get(path).is(http.StatusOK)
	}
	for _, secret := range o.secrets {
		assert.NotContains(t, o.log.String(), secret)
	}
}

// What looks like a script is refused, or kept as the text that it is: nothing that is
// answered is a page, in whatever field it was sent.
func TestScriptsStayText(t *testing.T) {
	o := open(t, stores.NewMemory())
	s := o.sell("10.0.0.1:8080", `{}`)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	quoted := string(must[[]byte](t)(json.Marshal(evil)))
	harmless := func(r request) {
		t.Helper()
		a := o.do(r)
		assert.Less(t, a.status, 500, r.path)
		if a.body != "" {
			assert.Regexp(t, `json|text/csv`, a.header.Get("Content-Type"), r.path)
		}
		assert.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"), r.path)
	}
	text := regexp.MustCompile(`:"[^"\\]*"`)
	for id, sample := range o.samples(s) {
		if id == "login" || id == "change-password" {
			continue // nobody is told what was typed there: TestWhoComesAndGoesIsRecorded
		}
		good := sample()
		for _, at := range text.FindAllStringIndex(good.body, -1) {
			harmless(sample().saying(good.body[:at[0]+1] + quoted + good.body[at[1]:]))
		}
		path, query, _ := strings.Cut(good.path, "?")
		harmless(good.at(path + "?" + query + "&after=" + url.QueryEscape(evil) + "&comment=" + url.QueryEscape(evil)))
		harmless(good.at(path + "/" + url.PathEscape(evil)))
	}
	var log admin.AuditList
	o.get("/v1/audit?limit=500").read(http.StatusOK, &log)
	assert.True(t, slices.ContainsFunc(log.Records, func(r audit.Record) bool { return r.After != nil && strings.Contains(string(r.After.JSON), "onerror") }), "some of it was kept")
	harmless(request{method: http.MethodGet, path: "/v1/audit?limit=500", as: access.Viewer})
	harmless(request{method: http.MethodGet, path: "/v1/" + url.PathEscape(evil)})
}
