package app_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/internal/stores"
)

// Prometheus itself makes targets of what the service says, configured as docs/admin-api.md
// has it, and takes nothing for an answer that a stranger gets.
func TestPrometheusFindsTheNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: Prometheus has to be built")
	}
	prometheus := filepath.Join(t.TempDir(), "promsd")
	build := exec.CommandContext(t.Context(), "go", "-C", filepath.Join("..", "tools", "promsd"), "build", "-o", prometheus, ".")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	discover := func(at net.Addr, token string) (groups []admin.TargetGroup, trouble string) {
		config := fmt.Sprintf("{url: 'http://%s/sd/prometheus', authorization: {credentials: %s}}", at, token)
		command := exec.CommandContext(t.Context(), prometheus)
		var said strings.Builder
		command.Stdin, command.Stderr = strings.NewReader(config), &said
		out, err := command.Output()
		if err != nil {
			return nil, said.String()
		}
		require.NoError(t, json.Unmarshal(out, &groups), "%s", out)
		return groups, ""
	}
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		r := startWith(t, func(o *app.Options) { o.Store, o.Settings.Ops.Advertise = space.Open(t), "10.0.0.7:8090" })
		_, err := r.in.Put(t.Context(), "nodes/other", []byte(
			`{"addr":"10.0.0.8:8080","ops":"[2001:db8::8]:8090","version":"v2","labels":{"rack/row":"a \"quoted\" é","empty":""}}`))
		require.NoError(t, err)
		_, err = r.in.Put(t.Context(), "nodes/lonely", []byte(`{"addr":"10.0.0.9:8080","ops":"127.0.0.1:8090"}`))
		require.NoError(t, err)
		stores.Wait(t, "all are listed", func() bool {
			page := r.get(r.at.Admin, "/v1/nodes")
			return strings.Contains(page, `"other"`) && strings.Contains(page, `"lonely"`)
		})

		groups, trouble := discover(r.at.Admin, r.token)
		require.Empty(t, trouble)
		require.Len(t, groups, 2, "the one on loopback is left out")
		found := map[string]map[string]string{}
		for _, g := range groups {
			require.Len(t, g.Targets, 1)
			assert.Equal(t, "http://"+r.at.Admin.String()+"/sd/prometheus", g.Labels["__meta_url"], "which Prometheus adds")
			found[g.Targets[0]] = g.Labels
		}
		self := found["10.0.0.7:8090"]
		assert.Equal(t, r.at.API.String(), self["__meta_seckill_addr"])
		assert.Equal(t, "v1", self["__meta_seckill_version"])
		assert.NotEmpty(t, self["__meta_seckill_incarnation"])
		assert.Len(t, self["__meta_seckill_config"], len(r.status().Config.InForceHash))
		other := found["[2001:db8::8]:8090"]
		assert.Equal(t, "other", other["__meta_seckill_id"])
		assert.Equal(t, `a "quoted" é`, other["__meta_seckill_label_rack_row"])
		assert.NotContains(t, other, "__meta_seckill_label_empty")

		_, trouble = discover(r.at.Admin, strings.Repeat("x", 80))
		assert.Contains(t, trouble, "401 Unauthorized")
		_, trouble = discover(r.at.API, r.token)
		assert.Contains(t, trouble, "404 Not Found", "it is not on the buyers' port")
	})
}
