package app_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/app/peer"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend/credential"
)

// startWithFile starts a process with a settings file, and returns its path.
func startWithFile(t *testing.T, text string, changes ...func(*app.Options)) (*running, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seckill.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return startWith(t, func(o *app.Options) {
		loaded, err := settings.Open(settings.Sources{File: path})
		require.NoError(t, err)
		o.Loaded, o.Settings.Config = loaded, loaded.Settings.Config
		for _, change := range changes {
			change(o)
		}
	}), path
}

func TestASettingsFileIsFollowed(t *testing.T) {
	r, path := startWithFile(t, "[config.rateLimit]\nmiddle = 7\n")
	before := r.status()
	assert.Equal(t, path, before.Settings.File)
	assert.InDelta(t, 0, r.metric("seckill_settings_refused"), 0)

	r.publish(`{"rateLimit":{"low":5}}`)
	require.NoError(t, os.WriteFile(path, []byte("[log]\nlevel = 'warn'\n[config.rateLimit]\nmiddle = 8\n"), 0o600))
	require.Eventually(t, func() bool { return r.status().Settings.Loads == 2 }, time.Minute, 5*time.Millisecond)
	now := r.status().Config
	assert.Equal(t, "warn", now.InForce.LogLevel)
	assert.Equal(t, 8, now.InForce.RateLimit.Middle)
	assert.Equal(t, 5, now.InForce.RateLimit.Low, "the store is stronger")
	assert.NotEqual(t, before.Config.InForceHash, now.InForceHash)
	require.Eventually(t, func() bool { // the node's own listing follows
		c := r.config()
		return len(c.Nodes) == 1 && c.Nodes[0].InForceHash == now.InForceHash
	}, time.Minute, 5*time.Millisecond)

	require.NoError(t, os.WriteFile(path, []byte("[log]\nlevel = 'debug'\nformat = 'json'\n"), 0o600))
	require.Eventually(t, func() bool { return r.status().Settings.Refusal != nil }, time.Minute, 5*time.Millisecond)
	assert.Contains(t, r.status().Settings.Refusal.Error, `log.format: "text" → "json": fixed while the process runs`)
	assert.Equal(t, now.InForce, r.status().Config.InForce)
	assert.InDelta(t, 1, r.metric("seckill_settings_refused"), 0)
	assert.InDelta(t, 1, r.metric("seckill_settings_refusals_total"), 0)
	assert.InDelta(t, 2, r.metric("seckill_settings_loads_total"), 0)
}

func TestAProcessIsToldOnItsAddressForOtherNodes(t *testing.T) {
	r, path := startWithFile(t, "")
	dial, err := peer.NewDialer(credential.TLS{})
	require.NoError(t, err)
	to, err := control.Dial(dial, r.at.RPC.String(), r.status().Node.Incarnation)
	require.NoError(t, err)
	defer to.Close()

	assert.InDelta(t, 0, r.metric("seckill_config_override"), 0)
	_, _, err = to.Push(t.Context(), []byte(`{"rateLimit":{"low":1}}`), time.Hour, "ann@desk", "")
	require.NoError(t, err)
	assert.InDelta(t, 1, r.metric("seckill_config_override"), 0)
	assert.Equal(t, "ann@desk", r.config().Here.Override.Author, "operators see it too")

	require.NoError(t, os.WriteFile(path, []byte("[log]\nlevel = 'loud'\n"), 0o600))
	require.ErrorContains(t, to.Reload(t.Context(), "settings"), `log.level: expected one of`)
}
