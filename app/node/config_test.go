package node_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

// follow collects the rates of each config that the node tells of.
func (b *bench) follow() *[]string {
	seen := &[]string{}
	b.node.FollowConfig(func(c settings.Cluster) {
		*seen = append(*seen, fmt.Sprintf("%s %d %d", c.LogLevel, c.RateLimit.Middle, c.RateLimit.Low))
	})
	return seen
}

// entry is what the store says of the node.
func (b *bench) entry() registry.Node {
	b.Helper()
	e, err := b.operator.Get(b.Context(), key)
	require.NoError(b, err)
	var n registry.Node
	require.NoError(b, json.Unmarshal(e.Value, &n))
	return n
}

func (b *bench) push(value string, lasts time.Duration) node.Override {
	b.Helper()
	o, err := b.node.Push(node.Override{Value: value, Author: "ann@desk", Comment: "why is it slow?"}, lasts)
	require.NoError(b, err)
	return o
}

// What a published config leaves out is as the settings say, also when those change.
func TestNewDefaultsLieBelowWhatIsPublished(t *testing.T) {
	run(t, asIs, func(b *bench) {
		seen := b.follow()
		defaults := b.node.InForce()
		defaults.RateLimit.Middle = 7
		require.NoError(b, b.node.SetDefaults(defaults))
		b.publish(`{"rateLimit":{"low":5}}`)
		before := b.node.Status().Config

		defaults.LogLevel, defaults.RateLimit.Middle, defaults.RateLimit.Low = "warn", 8, 9
		require.NoError(b, b.node.SetDefaults(defaults))
		assert.Equal(b, slog.LevelWarn, b.level.Level())
		now := b.node.Status().Config
		assert.Equal(b, dynconf.FromStore, now.Source)
		assert.NotEqual(b, before.InForceHash, now.InForceHash)
		b.wait(time.Second)
		assert.Equal(b, now.InForceHash, b.entry().Config)

		defaults.RateLimit.Low = 0
		require.ErrorIs(b, b.node.SetDefaults(defaults), backend.ErrInvalid)
		assert.Equal(b, now.InForce, b.node.InForce())
		require.NoError(b, b.operator.Delete(b.Context(), settings.ConfigKey))
		b.wait(time.Second)
		assert.Equal(b, []string{"info 100000 10000", "info 7 10000", "info 7 5", "warn 8 5", "warn 8 9"}, *seen)
	})
}

func TestAPushCountsMoreThanAllElseForAWhile(t *testing.T) {
	run(t, asIs, func(b *bench) {
		seen := b.follow()
		plain := b.node.Status().Config.InForceHash
		o := b.push(`{"logLevel":"debug","rateLimit":{"low":1}}`, 0)
		assert.Equal(b, slog.LevelDebug, b.level.Level(), "at once")
		assert.Equal(b, 15*time.Minute, o.Until.Sub(o.Since))
		s := b.node.Status().Config
		assert.Equal(b, &o, s.Override)
		assert.Equal(b, dynconf.Hash([]byte(o.Value)), o.Hash)
		assert.Equal(b, dynconf.FromDefaults, s.Source, "of what is below")
		assert.NotEqual(b, plain, s.InForceHash)
		b.wait(time.Second)
		assert.Equal(b, s.InForceHash, b.entry().Config, "it is seen to differ")
		assert.Contains(b, string(b.entry().Configs[node.OverrideKey]), `"author":"ann@desk"`)

		b.publish(`{"logLevel":"error","rateLimit":{"middle":2,"low":2}}`)
		defaults := settings.Defaults().Config
		defaults.LogLevel, defaults.CircuitBreaker.CPU = "warn", 50
		require.NoError(b, b.node.SetDefaults(defaults))
		now := b.node.InForce()
		assert.Equal(b, "debug", now.LogLevel)
		assert.Equal(b, 2, now.RateLimit.Middle, "it does not say")
		assert.Equal(b, 50, now.CircuitBreaker.CPU, "neither of them does")

		b.wait(time.Until(o.Until) - time.Second)
		assert.NotNil(b, b.node.Status().Config.Override)
		b.wait(2 * time.Second)
		s = b.node.Status().Config
		assert.Nil(b, s.Override)
		assert.Equal(b, "error", s.InForce.LogLevel)
		assert.Equal(b, s.InForceHash, b.entry().Config)
		assert.NotContains(b, b.entry().Configs, node.OverrideKey)
		assert.Contains(b, b.entry().Configs, settings.ConfigKey, "the report")
		assert.Equal(b, []string{"info 100000 10000", "debug 100000 1", "debug 2 1", "debug 2 1", "error 2 2"}, *seen)

		b.stop()
		assert.Equal(b, 1, strings.Count(b.log.String(), "config overridden by a push"))
		assert.Contains(b, b.log.String(), `author=ann@desk from="" comment="why is it slow?"`)
	})
}

func TestAPushIsReplacedAndCleared(t *testing.T) {
	run(t, asIs, func(b *bench) {
		assert.False(b, b.node.Clear())
		b.push(`{"logLevel":"debug"}`, time.Minute)
		b.push(`{"rateLimit":{"low":1}}`, time.Hour)
		assert.Equal(b, "info", b.node.InForce().LogLevel, "nothing is left of the first one")
		b.wait(2 * time.Minute)
		assert.Equal(b, 1, b.node.InForce().RateLimit.Low, "nor of its end")
		assert.True(b, b.node.Clear())
		assert.Equal(b, 10_000, b.node.InForce().RateLimit.Low)
		assert.Nil(b, b.node.Status().Config.Override)
		assert.False(b, b.node.Clear())

		b.push(`{"rateLimit":{"low":2}}`, 24*time.Hour)
		b.push(`{"rateLimit":{"low":3}}`, time.Minute)
		b.wait(time.Minute + time.Second)
		assert.Equal(b, 10_000, b.node.InForce().RateLimit.Low)
	})
}

func TestABadPushChangesNothing(t *testing.T) {
	run(t, asIs, func(b *bench) {
		good := b.push(`{"logLevel":"warn"}`, time.Minute)
		for _, bad := range []struct {
			value, author, comment string
			lasts                  time.Duration
			want                   string
		}{
			{"{\n  \"logLevel\": \"info\"\n  \"rateLimit\": {}\n}", "a", "", 0, `"config": line 3, column 3: invalid character`},
			{`{"rateLimt":{}}`, "a", "", 0, `"config": line 1, column 2: unknown field "rateLimt"`},
			{`{"rateLimit":{"low":0}}`, "a", "", 0, `rateLimit.low: expected 1 to`},
			{``, "a", "", 0, `"config": no text`},
			{`null`, "a", "", 0, `"config": null`},
			{`{}`, "a", "", 25 * time.Hour, "expected a time from 1s to 24h0m0s, got 25h0m0s"},
			{`{}`, "a", "", -time.Second, "expected a time from 1s to 24h0m0s, got -1s"},
			{`{}`, "", "", 0, "author: expected 1 to 500 bytes, got 0"},
			{`{}`, "a", strings.Repeat("x", 501), 0, "comment: expected at most 500 bytes, got 501"},
			{`{"logLevel":"` + strings.Repeat("x", backend.MaxValue) + `"}`, "a", "", 0, "262144"},
		} {
			_, err := b.node.Push(node.Override{Value: bad.value, Author: bad.author, Comment: bad.comment}, bad.lasts)
			require.ErrorIs(b, err, backend.ErrInvalid, bad.want)
			require.ErrorContains(b, err, bad.want)
			assert.Equal(b, &good, b.node.Status().Config.Override)
			assert.Equal(b, slog.LevelWarn, b.level.Level())
		}
	})
}

// What a push covers up is good without it: it is what will be in force when the push has ended.
func TestNothingBadIsCoveredUpByAPush(t *testing.T) {
	run(t, asIs, func(b *bench) {
		defaults := b.node.InForce()
		b.publish(`{"rateLimit":{"perUser":{"burst":1000000000}}}`)
		b.push(`{"rateLimit":{"perUser":{"burst":1}}}`, time.Minute)
		defaults.RateLimit.PerUser.Seconds = 3600 // with the published burst it is more than can be counted
		require.ErrorIs(b, b.node.SetDefaults(defaults), backend.ErrInvalid)
		b.wait(2 * time.Minute)
		assert.Nil(b, b.node.Status().Config.Override)
		assert.Equal(b, 1_000_000_000, b.node.InForce().RateLimit.PerUser.Burst)
		assert.NotContains(b, b.log.String(), "can't end the override")
	})
}

// What is published is for all nodes: it does not wait for the end of a push that it does
// not go with.
func TestAPushDoesNotKeepALaterConfigOut(t *testing.T) {
	run(t, asIs, func(b *bench) {
		b.push(`{"rateLimit":{"perUser":{"burst":1000000000}}}`, time.Hour)
		b.publish(`{"rateLimit":{"perUser":{"seconds":3600}},"logLevel":"debug"}`) // together more than can be counted
		assert.Equal(b, "debug", b.node.InForce().LogLevel)
		assert.Equal(b, 3600, b.node.InForce().RateLimit.PerUser.Seconds)
		assert.Nil(b, b.node.Status().Config.Override)
		assert.Contains(b, b.log.String(), "override of the config ended")
	})
}
