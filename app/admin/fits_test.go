package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// as is the context of somebody's request, for methods that are called without one.
func (o *office) as(role access.Role) (ctx context.Context) {
	o.Helper()
	keep := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() })
	o.access.Authenticate(admin.Remember(keep)).ServeHTTP(httptest.NewRecorder(), o.make(request{method: http.MethodGet, path: "/", as: role}))
	return ctx
}

// direct calls a method as the console does, with what a request over HTTP would have.
func direct[In, Out any](method func(context.Context, *In) (Out, error), fill func(*In)) func(context.Context) error {
	return func(ctx context.Context) error {
		var in In
		fill(&in)
		_, err := method(ctx, &in)
		return err
	}
}

// What the document says of a field holds for whoever calls, over HTTP or not, and
// nothing has changed after a refusal.
func TestLimitsHoldForAllCallers(t *testing.T) {
	o := open(t, stores.NewMemory())
	s, node := o.service, o.sell("10.0.0.1:8080", `{}`).id
	long := func(n int) string { return strings.Repeat("é", n) }
	const configPath, rollout = "/v1/config", "/v1/config/rollout"
	tests := []struct {
		method, path string
		body         any
		where        string
		call         func(context.Context) error
	}{
		{http.MethodPut, "/v1/nodes/" + node + "/drain", map[string]any{"reason": long(501)}, "body.reason", direct(s.DrainNode, func(in *admin.DrainInput) { in.ID, in.Body.Reason = node, long(501) })},
		{http.MethodPut, "/v1/nodes/" + node + "/weight", map[string]any{"weight": 0}, "body.weight", direct(s.WeighNode, func(in *admin.WeightInput) { in.ID = node })},
		{http.MethodPut, "/v1/nodes/" + node + "/weight", map[string]any{"weight": 1_000_001}, "body.weight", direct(s.WeighNode, func(in *admin.WeightInput) { in.ID, in.Body.Weight = node, 1_000_001 })},
		{http.MethodPut, "/v1/nodes/" + node + "/push", map[string]any{"value": "{}", "comment": ""}, "body.comment", direct(s.PushConfig, func(in *admin.PushInput) { in.ID, in.Body.Value = node, "{}" })},
		{http.MethodPut, "/v1/nodes/" + node + "/push", map[string]any{"value": "{}", "comment": "c", "seconds": -1}, "body.seconds", direct(s.PushConfig, func(in *admin.PushInput) {
			in.ID, in.Body.Value, in.Body.Comment, in.Body.Seconds = node, "{}", "c", -1
		})},
		{http.MethodPost, "/v1/nodes/" + node + "/reload", map[string]any{"source": ""}, "body.source", direct(s.ReloadNode, func(in *admin.ReloadInput) { in.ID = node })},
		{http.MethodPut, configPath, map[string]any{"value": "{}", "comment": long(1001)}, "body.comment", direct(s.PublishConfig, func(in *admin.PublishInput) {
			in.IfNoneMatch, in.Body.Value, in.Body.Comment = "*", "{}", long(1001)
		})},
		{http.MethodPut, configPath, map[string]any{"value": strings.Repeat(" ", 131073), "comment": "c"}, "body.value", direct(s.PublishConfig, func(in *admin.PublishInput) {
			in.IfNoneMatch, in.Body.Value, in.Body.Comment = "*", strings.Repeat(" ", 131073), "c"
		})},
		{http.MethodDelete, configPath + "?comment=" + strings.Repeat("x", 1001), nil, "query.comment", direct(s.DeleteConfig, func(in *admin.DeleteConfigInput) { in.IfMatch, in.Comment = `"1"`, strings.Repeat("x", 1001) })},
		{http.MethodPost, configPath + "/rollback", map[string]any{"revision": 0, "comment": "c"}, "body.revision", direct(s.RollbackConfig, func(in *admin.RollbackInput) { in.IfNoneMatch, in.Body.Comment = "*", "c" })},
		{http.MethodPost, rollout, map[string]any{"value": "{}", "percent": 1, "comment": "c", "maxFailures": -1}, "body.maxFailures", direct(s.StartRollout, func(in *admin.StartInput) {
			in.IfNoneMatch, in.Body.Value, in.Body.Percent, in.Body.Comment, in.Body.MaxFailures = "*", "{}", 1, "c", -1
		})},
		{http.MethodPost, rollout + "/x/promote", map[string]any{"comment": ""}, "body.comment", direct(s.PromoteRollout, func(in *admin.CommentInput) { in.ID = "x" })},
		{http.MethodPost, rollout + "/x/abandon", map[string]any{"comment": ""}, "body.comment", direct(s.AbandonRollout, func(in *admin.CommentInput) { in.ID = "x" })},
		{http.MethodPost, "/v1/users", map[string]any{"name": strings.Repeat("x", 65), "role": "viewer"}, "body.name", direct(s.AddUser, func(in *admin.AddUserInput) {
			in.Body.Name, in.Body.Role = strings.Repeat("x", 65), access.Viewer
		})},
		{http.MethodPost, "/v1/users", map[string]any{"name": "x", "role": "root"}, "body.role", direct(s.AddUser, func(in *admin.AddUserInput) { in.Body.Name, in.Body.Role = "x", "root" })},
		{http.MethodPut, "/v1/users/the-viewer/role", map[string]any{"role": ""}, "body.role", direct(s.SetRole, func(in *admin.RoleInput) { in.Name = "the-viewer" })},
		{http.MethodPost, "/v1/tokens", map[string]any{"name": long(65), "role": "viewer"}, "body.name", direct(s.CreateToken, func(in *admin.TokenInput) { in.Body.Name, in.Body.Role = long(65), access.Viewer })},
		{http.MethodPost, "/v1/login", map[string]any{"name": "x", "password": long(1025)}, "body.password", direct(s.Login, func(in *admin.LoginInput) { in.Body.Name, in.Body.Password = "x", long(1025) })},
		{http.MethodPut, "/v1/password", map[string]any{"from": "x", "to": long(1025)}, "body.to", direct(s.ChangePassword, func(in *admin.PasswordInput) { in.Body.From, in.Body.To = "x", long(1025) })},
		{http.MethodPut, "/v1/key?key=notes/a", map[string]any{"value": strings.Repeat(" ", 262145)}, "body.value", direct(s.PutKey, func(in *admin.KeyInput) {
			in.Key, in.IfNoneMatch, in.Body.Value = "notes/a", "*", strings.Repeat(" ", 262145)
		})},
		{http.MethodGet, "/v1/keys?contains=" + strings.Repeat("x", 201), nil, "query.contains", direct(s.ListKeys, func(in *admin.KeysQuery) { in.Contains = strings.Repeat("x", 201) })},
		{http.MethodGet, "/v1/keys?limit=201", nil, "query.limit", direct(s.ListKeys, func(in *admin.KeysQuery) { in.Limit = 201 })},
		{http.MethodGet, "/v1/goods?limit=201", nil, "query.limit", direct(s.ListGoods, func(in *admin.Page) { in.Limit = 201 })},
		{http.MethodGet, "/v1/topics?after=" + strings.Repeat("x", 201), nil, "query.after", direct(s.ListTopics, func(in *admin.Page) { in.After = strings.Repeat("x", 201) })},
		{http.MethodGet, "/v1/events?status=sold", nil, "query.status", direct(s.ListEvents, func(in *admin.EventsQuery) { in.Status = "sold" })},
		{http.MethodGet, "/v1/config/history?limit=201", nil, "query.limit", direct(s.ListVersions, func(in *admin.Page) { in.Limit = 201 })},
		{http.MethodGet, "/v1/orders?buyer=" + strings.Repeat("x", 129), nil, "query.buyer", direct(s.FindOrders, func(in *admin.OrdersQuery) { in.Buyer = strings.Repeat("x", 129) })},
		{http.MethodGet, "/v1/audit?action=" + strings.Repeat("x", 513), nil, "query.action", direct(s.ListAudit, func(in *admin.AuditQuery) { in.Action = strings.Repeat("x", 513) })},
	}
	before := o.keys("limit=200").Keys
	for _, test := range tests {
		name := test.method + " " + test.path[:min(len(test.path), 60)] + " " + test.where
		r := request{method: test.method, path: test.path, as: access.Admin}
		if test.body != nil {
			r.body = string(must[[]byte](t)(json.Marshal(test.body)))
		}
		var over, called web.Problem
		o.do(r).refused(http.StatusUnprocessableEntity, "invalid").read(http.StatusUnprocessableEntity, &over)
		require.Len(t, over.Faults, 1, name)
		assert.Equal(t, test.where, over.Faults[0].Where, name)

		err := test.call(o.as(access.Admin))
		var p *web.Problem
		require.ErrorAs(t, err, &p, name)
		called = *p
		assert.Equal(t, http.StatusUnprocessableEntity, called.Status, name)
		require.Len(t, called.Faults, 1, name)
		assert.Equal(t, test.where, called.Faults[0].Where, name)
		assert.Contains(t, called.Faults[0].What, "expected ", name)

		if test.path[:len("/v1/login")] != "/v1/login" && test.method != http.MethodGet && !strings.HasPrefix(test.path, "/v1/password") {
			require.ErrorAs(t, test.call(o.as("")), &p)
			assert.Equal(t, http.StatusUnauthorized, p.Status, "%s: strangers are told nothing more", name)
		}
	}
	assert.Equal(t, fmt.Sprint(keysOf(admin.KeyList{Keys: before})), fmt.Sprint(keysOf(o.keys("limit=200"))))

	// At the limit it is taken; what is left out is as it is by default.
	require.NoError(t, direct(s.DrainNode, func(in *admin.DrainInput) { in.ID, in.Body.Reason = node, long(500) })(o.as(access.Operator)))
	require.NoError(t, direct(s.WeighNode, func(in *admin.WeightInput) { in.ID, in.Body.Weight = node, 1_000_000 })(o.as(access.Operator)))
	require.NoError(t, direct(s.ListKeys, func(*admin.KeysQuery) {})(o.as(access.Operator)))
	var drain registry.Drain
	stores.Wait(t, "the drain is known", func() bool {
		var known bool
		drain, known = o.node.Directory().Drain(node)
		return known
	})
	assert.Equal(t, long(500), drain.Reason)
}
