package admin_test

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/internal/stores"
)

// Prometheus keeps the targets it has when it gets an error, and drops all for an empty list:
// who has not read which nodes there are does not say that there are none.
func TestTargetsAreNotTakenAwayUnread(t *testing.T) {
	o := open(t, stores.NewMemory())
	must2(t)(o.store.Put(t.Context(), "nodes/n", []byte(`{"addr":"10.0.0.1:8080","ops":"10.0.0.1:8090"}`)))
	loaded := must[settings.Settings](t)(settings.Load(settings.Sources{}))
	restarted := must[*node.Node](t)(node.New(node.Config{
		Store: o.faulty, Backend: "test", Version: "v1", Defaults: loaded.Config, Log: silent, Level: new(slog.LevelVar),
	}))
	require.NoError(t, restarted.Supervise())
	service := must[*admin.Service](t)(admin.New(admin.Config{Store: o.faulty, Node: restarted, Access: o.access, Log: silent}))
	o.handler = admin.NewAPI(service).Handler()
	o.get("/sd/prometheus").refused(http.StatusServiceUnavailable, "unavailable")
	stores.Start(t, restarted.Run)
	stores.Wait(t, "the list is read", func() bool { return restarted.Directory().Staleness() >= 0 })
	assert.Contains(t, o.get("/sd/prometheus").is(http.StatusOK).body, "10.0.0.1:8090")
}

// Two labels of one name to Prometheus are told apart the same way each time, or a target
// would be another one at every look.
func TestLabelsOfOneNameDoNotFlap(t *testing.T) {
	o := open(t, stores.NewMemory())
	must2(t)(o.store.Put(t.Context(), "nodes/n", []byte(
		`{"addr":"10.0.0.1:8080","ops":"10.0.0.1:8090","labels":{"a.b":"dot","a-b":"dash","a+b":"","a/b":"slash","c":"c"}}`)))
	stores.Wait(t, "a node", func() bool { return len(o.node.Directory().Nodes()) == 1 })
	for range 20 {
		body := o.get("/sd/prometheus").is(http.StatusOK).body
		require.Contains(t, body, `"__meta_seckill_label_a_b":"dash"`)
		require.Contains(t, body, `"__meta_seckill_label_c":"c"`)
	}
	assert.Equal(t, 1, o.log.Count(`its labels a.b and a-b are one to Prometheus`), "the log is told once")
	assert.Equal(t, 1, o.log.Count(`its labels a.b and a-b are one to Prometheus`))
}
