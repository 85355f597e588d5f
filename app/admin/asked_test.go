package admin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// However many nodes there are, a few are asked at once, and those that do not answer are
// told among the others.
func TestNodesAreAskedAFewAtOnce(t *testing.T) {
	o := open(t, stores.NewMemory())
	var now, most atomic.Int64
	two := make(chan struct{})
	met := sync.OnceFunc(func() { close(two) })
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		if n > 1 {
			met()
		}
		<-two // until then nobody is answered: those that are asked at once meet
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"gate":{"blacklist":{"ids":3}}}`))
	}))
	t.Cleanup(page.Close)
	t.Cleanup(met)
	stop := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(stop) })
	const all = 100
	for i := range all {
		ops := strings.TrimPrefix(page.URL, "http://")
		switch i {
		case 0:
			ops = strings.TrimPrefix(hangs.URL, "http://")
		case 1:
			ops = stores.FreeAddress(t)
		}
		must[backend.Revision](t)(o.store.Put(t.Context(), fmt.Sprintf("nodes/n%03d", i), fmt.Appendf(nil, `{"addr":"10.0.0.%d:8080","ops":%q}`, i, ops)))
	}
	stores.Wait(t, "all are listed", func() bool { return len(o.node.Directory().Nodes()) == all })
	var state admin.BlacklistState
	o.get("/v1/blacklist").read(http.StatusOK, &state)
	require.Len(t, state.Nodes, all)
	failed := 0
	for _, n := range state.Nodes {
		switch {
		case n.Error != "":
			failed++
		default:
			assert.JSONEq(t, `{"ids":3}`, string(n.Blacklist))
		}
	}
	assert.GreaterOrEqual(t, failed, 2)
	assert.Contains(t, state.Nodes[0].Error, "deadline exceeded")
	assert.Contains(t, state.Nodes[1].Error, "refused")
	assert.LessOrEqual(t, most.Load(), int64(16))
	assert.Greater(t, most.Load(), int64(1))
}

// A record says which token acted, also when that was refused; a session has none.
func TestRecordsNameTheToken(t *testing.T) {
	o := open(t, stores.NewMemory())
	o.do(request{method: http.MethodPut, path: "/v1/goods/g", body: goods, as: access.Operator}.with("If-None-Match", "*")).is(http.StatusOK)
	o.do(request{method: http.MethodPut, path: "/v1/goods/g", body: goods, as: access.Viewer}.with("If-None-Match", "*")).refused(http.StatusForbidden, "forbidden")
	o.session()
	last := func(action string) audit.Record {
		var log admin.AuditList
		o.get("/v1/audit?action="+action).read(http.StatusOK, &log)
		require.NotEmpty(t, log.Records, action)
		return log.Records[0]
	}
	for action, role := range map[string]access.Role{"goods.put": access.Operator, "access.refused": access.Viewer} {
		r := last(action)
		assert.Equal(t, "the-"+string(role), r.Actor)
		assert.Equal(t, audit.ViaToken, r.Via)
		assert.Equal(t, "tests", r.TokenName)
		assert.Contains(t, o.tokens[role], "seckill_"+r.Token+"_", "the id, and not the secret")
		assert.Len(t, r.Token, 26)
	}
	assert.Empty(t, last("session.begin").Token)
}

// What a refusal says stands in its record once.
func TestRefusalsAreRecordedOnce(t *testing.T) {
	o := open(t, stores.NewMemory())
	o.do(request{method: http.MethodDelete, path: "/v1/users/admin", as: access.Admin}).is(http.StatusNoContent)
	o.do(request{method: http.MethodDelete, path: "/v1/users/the-admin", as: access.Admin}).refused(http.StatusConflict, "last_admin")
	var log admin.AuditList
	o.get("/v1/audit?action=user.remove&target=the-admin").read(http.StatusOK, &log)
	require.Len(t, log.Records, 1)
	assert.Equal(t, access.ErrLastAdmin.Error(), log.Records[0].Error)
}

// Whoever is told that a password may have been changed can log in with one of the two.
func TestAChangeOfPasswordMayBeUnknown(t *testing.T) {
	o := open(t, stores.NewMemory())
	fail := func(dir string) {
		o.faulty.Set(stores.Hooks{Put: func(key string) error {
			if strings.HasPrefix(key, dir) {
				return backend.ErrUnknown
			}
			return nil
		}})
	}
	r := o.newPassword()
	fail("admin/users/")
	o.do(r).refused(http.StatusServiceUnavailable, "unknown")
	fail("admin/sessions/")
	a := o.do(r).refused(http.StatusServiceUnavailable, "unknown")
	assert.Contains(t, a.body, "the password is changed, but no session has begun")
	o.faulty.Set(stores.Hooks{})
	var log admin.AuditList
	o.get("/v1/audit?action=user.password").read(http.StatusOK, &log)
	require.Len(t, log.Records, 2)
	assert.Equal(t, audit.Done, log.Records[0].Outcome)
	assert.Equal(t, audit.Unknown, log.Records[1].Outcome)
}
