package console

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/jobs"
)

// places are where the console has each operation of the API: requests of its pages.
var places = map[string]string{
	"login": "POST /login", "logout": "POST /logout", "change-password": "POST /password", "get-session": "GET /",
	"get-store": "GET /", "list-events": "GET /events", "create-event": "POST /events/new", "get-event": "GET /events/x",
	"edit-event": "POST /events/x/edit", "delete-event": "POST /events/x/delete", "publish-event": "POST /events/x/publish",
	"suspend-event": "POST /events/x/suspend", "resume-event": "POST /events/x/resume", "close-event": "POST /events/x/close",
	"get-figures": "GET /events/x", "stream-figures": "GET /events/x/live", "verify-event": "POST /events/x/verify",
	"list-goods": "GET /goods", "get-goods": "GET /goods/x", "put-goods": "POST /goods/x", "delete-goods": "POST /goods/x/delete",
	"list-topics": "GET /topics", "get-topic": "GET /topics/x", "put-topic": "POST /topics/x", "delete-topic": "POST /topics/x/delete",
	"find-orders": "GET /orders", "export-orders": "GET /orders",
	"list-nodes": "GET /nodes", "get-node": "GET /nodes/x", "drain-node": "POST /nodes/x/drain", "undrain-node": "POST /nodes/x/undrain",
	"weigh-node": "POST /nodes/x/weight", "unweigh-node": "POST /nodes/x/unweigh", "push-config": "POST /nodes/x/push",
	"clear-config": "POST /nodes/x/clear", "reload-node": "POST /nodes/x/reload", "get-blacklist": "GET /blacklist",
	"get-config": "GET /config", "validate-config": "POST /config/review", "diff-config": "POST /config/review",
	"publish-config": "POST /config/publish", "delete-config": "POST /config/delete", "rollback-config": "POST /config/rollback",
	"list-versions": "GET /config/history", "get-version": "GET /config/history/1", "get-consistency": "GET /config",
	"get-rollout": "GET /config/rollout", "start-rollout": "POST /config/rollout/start", "retarget-rollout": "POST /config/rollout/retarget",
	"promote-rollout": "POST /config/rollout/promote", "abandon-rollout": "POST /config/rollout/abandon",
	"list-keys": "GET /keys", "get-key": "GET /key", "put-key": "POST /key", "delete-key": "POST /key/delete",
	"list-users": "GET /users", "add-user": "POST /users", "set-role": "POST /users/x/role", "reset-password": "POST /users/x/reset",
	"remove-user": "POST /users/x/remove", "list-tokens": "GET /users", "create-token": "POST /tokens", "revoke-token": "POST /tokens/x/revoke",
	"list-audit": "GET /audit", "list-jobs": "GET /jobs",
}

// placeless are the operations that the console does not have, and why.
var placeless = map[string]string{
	"discover-nodes": "it is for monitoring; the page of a node warns if it is not found there",
}

// Whatever the API can do the console has, or it is said here why not.
func TestEveryOperationHasAPlace(t *testing.T) {
	text, err := os.ReadFile("../../../docs/openapi-admin.json")
	require.NoError(t, err)
	var document struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	require.NoError(t, json.Unmarshal(text, &document))
	c := must[*Console](t)(New(Config{}))
	mux := http.NewServeMux()
	c.routes(mux)
	operations := 0
	for _, item := range document.Paths {
		for _, op := range item {
			operations++
			place, ok := places[op.OperationID]
			if !ok {
				assert.NotEmpty(t, placeless[op.OperationID], "%s has no place in the console", op.OperationID)
				continue
			}
			method, path, _ := strings.Cut(place, " ")
			_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
			assert.NotContains(t, []string{"", "/"}, pattern, "%s: %s is no page", op.OperationID, place)
		}
	}
	assert.Equal(t, operations, len(places)+len(placeless), "and nothing else is said to have one")
}

// How jobs stand is told from what their admin has told, and from when it did not.
func TestJobsStand(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	shown := showJobs([]jobs.Status{
		{Name: "audit", By: "old", Term: 1, Started: ago(time.Hour), Ended: ago(time.Hour), Next: ago(2 * time.Minute)},
		{Name: "close", By: "new", Term: 2, Started: ago(time.Minute), Ended: ago(time.Second), Error: "it broke", Failures: 3, Next: now},
		{Name: "history", By: "new", Term: 2, Started: ago(time.Minute), Ended: ago(time.Minute), Result: "1 versions recorded", Next: now.Add(time.Minute)},
		{Name: "windows", By: "new", Term: 2, Started: ago(30 * time.Second), Ended: ago(30 * time.Second), Result: "2 opened", Next: ago(time.Second)},
		{Name: "of another version", By: "new", Term: 2, Ended: now, Next: now},
	}, []string{"jobs/x is none"}, now)
	states := map[string]string{}
	for _, j := range shown.Jobs {
		states[j.Name] = j.State()
	}
	assert.Equal(t, map[string]string{"audit": "late", "close": "failed", "history": "done", "windows": "done", "of another version": "done"}, states)
	assert.True(t, shown.Late)
	assert.Equal(t, "new", shown.Leader)

	v, err := parse(files)
	require.NoError(t, err)
	body := must[string](t)(v.part("jobs", "job-list", shown))
	for _, text := range []string{"it broke", "3 in a row", "2 opened", "jobs/x is none", "deletes old records", "perhaps no admin leads"} {
		assert.Contains(t, body, text)
	}
	assert.Contains(t, must[string](t)(v.part("jobs", "job-list", showJobs(nil, nil, now))), "No job has run yet")
}

// Each state of a node's blacklist is told apart, whatever a node says.
func TestBlacklistsStand(t *testing.T) {
	o := open(t)
	assert.Contains(t, o.get("/blacklist").Body.String(), "No node is listed")
	for id, status := range map[string]string{
		"good":    `{"gate":{"blacklist":{"file":"/etc/banned","mode":"events","ids":1234,"verified":true,"loadedAt":"2026-01-02T03:04:05Z"}}}`,
		"refused": `{"gate":{"blacklist":{"file":"/etc/banned","mode":"events","ids":7,"refusal":{"file":"/etc/banned","line":3,"reason":"no end <b>"},"refusedAt":"2026-01-02T03:04:06Z"}}}`,
		"partly":  `{"gate":{"blacklist":{"file":"/etc/banned","mode":"timer","ids":7,"badLines":2,"firstBad":[{"line":9,"reason":"too long"}]}}}`,
		"none":    `{"gate":{}}`,
		"broken":  `{"gate":{"blacklist":{"ids":"many"}}}`,
	} {
		ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(status))
		}))
		t.Cleanup(ops.Close)
		o.listWith(id, strings.TrimPrefix(ops.URL, "http://"))
	}
	o.list("silent")
	body := o.get("/blacklist").Body.String()
	for id, texts := range map[string][]string{
		"good":    {"in force", "1,234", "checksum holds", "2026-01-02 03:04:05"},
		"refused": {"file refused", "Line 3: no end &lt;b&gt;", "The list of before stays in force"},
		"partly":  {"2 lines left out", "Line 9: too long"},
		"none":    {"no blacklist"},
		"broken":  {"not told", "read"},
		"silent":  {"not told", "no ops address"},
	} {
		at := strings.Index(body, `href="/nodes/`+id+`"`)
		require.GreaterOrEqual(t, at, 0, id)
		row := body[at : at+strings.Index(body[at:], "</tr>")]
		for _, text := range texts {
			assert.Contains(t, row, text, id)
		}
		assert.Equal(t, id != "none", strings.Contains(row, "load again"), id)
	}
	assert.Contains(t, body, "not of the same length")
	assert.NotContains(t, o.do(sent{path: "/blacklist", as: access.Viewer}).Body.String(), "load again")
	assert.Equal(t, http.StatusForbidden, o.do(sent{path: "/blacklist", form: url.Values{"node": {"good"}}, as: access.Viewer}).Code)
	w := o.post("/blacklist", "node", "good")
	assert.Equal(t, http.StatusBadGateway, w.Code, "it tells no address for that")
	assert.Contains(t, w.Body.String(), "That was refused")
}

// Who may not do something is not led to believe it.
func TestPagesOfStepsAreForThoseWhoMayTakeThem(t *testing.T) {
	o := open(t)
	require.Equal(t, http.StatusSeeOther, o.get("/config/delete").Code, "there is none")
	require.Equal(t, http.StatusSeeOther, o.post("/config/publish", "value", `{"logLevel":"warn"}`, "comment", "c").Code)
	require.Equal(t, http.StatusOK, o.get("/config/delete").Code)
	assert.Equal(t, http.StatusForbidden, o.do(sent{path: "/config/delete", as: access.Operator}).Code)
	assert.NotContains(t, o.do(sent{path: "/config", as: access.Operator}).Body.String(), "/config/delete")
	assert.Equal(t, http.StatusForbidden, o.do(sent{path: "/events/x/verify", as: access.Viewer}).Code)
	assert.Equal(t, http.StatusForbidden, o.do(sent{path: "/keys?prefix=sales/", as: access.Viewer}).Code)
	assert.NotContains(t, o.do(sent{path: "/keys", as: access.Viewer}).Body.String(), "prefix=sales%2f")
	assert.Contains(t, o.do(sent{path: "/keys", as: access.Operator}).Body.String(), "prefix=sales%2f")
	assert.Equal(t, http.StatusNotFound, o.get("/events/x/verify").Code)
	require.Equal(t, http.StatusSeeOther, o.post("/config/delete", "etag", o.etag("/config/delete"), "typed", "config", "comment", "c").Code)
	assert.Contains(t, o.get("/config").Body.String(), "Nothing is published")
}
