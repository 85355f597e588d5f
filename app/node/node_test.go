package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

const key = "nodes/10-10-11-12-8080"

// A bench is a node under test: its store can be cut off, the operator's can't.
type bench struct {
	*testing.T
	server   *memory.Server
	store    *memory.Store // the node's
	operator *memory.Store
	node     *node.Node
	level    slog.LevelVar
	log      strings.Builder // complete once stop has returned
	stop     func()

	unlisted bool            // no buyers come to the node
	vacated  <-chan struct{} // when the process before has gone, if there is one
}

// run tests a registered node that knows the others, in a bubble of time.
func run(t *testing.T, prepare func(b *bench), test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := memory.NewServer()
		b := &bench{T: t, server: server, store: server.Open(), operator: server.Open()}
		prepare(b)
		b.begin()
		test(b)
		b.stop()
		require.NoError(t, b.store.Close())
		require.NoError(t, b.operator.Close())
	})
}

func (b *bench) begin() {
	var err error
	loaded, err := settings.Load(settings.Sources{})
	require.NoError(b, err)
	b.node, err = node.New(node.Config{
		Store: b.store, Backend: "memory", Version: "v1", Defaults: loaded.Config,
		Log: slog.New(slog.NewTextHandler(&b.log, nil)), Level: &b.level,
	})
	require.NoError(b, err)
	tasks := []func(context.Context) error{b.node.Run}
	if !b.unlisted {
		require.NoError(b, b.node.Register(node.Listing{
			Addr: "10.10.11.12:8080", RPC: "10.10.11.12:8082", Incarnation: ulid.Make(), TTL: 6 * time.Second, Vacated: b.vacated,
		}))
		tasks = append(tasks, b.node.Announce)
	}
	require.NoError(b, b.node.Supervise())

	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	for _, task := range tasks {
		running.Go(func() { assert.NoError(b, task(ctx)) })
	}
	b.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	synctest.Wait()
}

func (b *bench) publish(text string) {
	b.Helper()
	_, err := b.operator.Put(b.Context(), settings.ConfigKey, []byte(text))
	require.NoError(b, err)
	time.Sleep(time.Second)
	synctest.Wait()
}

// listed reports whether the node is in the store.
func (b *bench) listed() bool {
	b.Helper()
	_, err := b.operator.Get(b.Context(), key)
	if err != nil {
		require.ErrorIs(b, err, backend.ErrNotFound)
	}
	return err == nil
}

func (b *bench) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func asIs(*bench) {}

func TestANodeIsListedWhileItRuns(t *testing.T) {
	run(t, asIs, func(b *bench) {
		require.NoError(b, b.node.AwaitReady(b.Context()))
		s := b.node.Status()
		assert.True(b, s.Ready)
		assert.True(b, s.Store.Reachable)
		assert.True(b, s.Node.Registered)
		assert.Equal(b, "10-10-11-12-8080", s.Node.ID)
		assert.InDelta(b, 6, s.Node.TTLSeconds, 0)
		assert.Equal(b, 1, s.Nodes.Listed)
		assert.True(b, b.listed())

		b.stop()
		assert.False(b, b.listed())
	})
}

func TestAConfigIsAppliedAtOnceAndToldToOthers(t *testing.T) {
	run(t, asIs, func(b *bench) {
		before := b.node.Status().Config
		assert.Equal(b, dynconf.FromDefaults, before.Source)

		b.publish(`{"logLevel":"error","rateLimit":{"low":5}}`)
		now := b.node.Status().Config
		assert.Equal(b, dynconf.FromStore, now.Source)
		assert.Equal(b, slog.LevelError, b.level.Level())
		want := before.InForce.RateLimit
		want.Low = 5
		assert.Equal(b, want, now.InForce.RateLimit)
		assert.NotEqual(b, before.InForceHash, now.InForceHash)

		e, err := b.operator.Get(b.Context(), key)
		require.NoError(b, err)
		assert.Contains(b, string(e.Value), `"config":"`+now.InForceHash+`"`)
	})
}

func TestABadConfigIsRefusedAndTheLastGoodOneStays(t *testing.T) {
	run(t, asIs, func(b *bench) {
		b.publish(`{"logLevel":"warn"}`)
		good := b.node.Status().Config

		b.publish("{\n  \"logLevel\": \"info\"\n  \"rateLimit\": {}\n}")
		s := b.node.Status().Config
		require.NotNil(b, s.Refusal)
		assert.Contains(b, s.Refusal.Error, "line 3, column 3")
		assert.Equal(b, uint64(1), s.Refused)
		assert.Equal(b, good.InForce, s.InForce)
		assert.Equal(b, slog.LevelWarn, b.level.Level())

		b.publish(`{"rateLimit":{"low":0}}`)
		s = b.node.Status().Config
		assert.Contains(b, s.Refusal.Error, "rateLimit.low: expected 1 to 1000000000 requests per second, got 0")
		assert.Equal(b, good.InForce, s.InForce)

		b.publish(`{"logLevel":"error"}`)
		assert.Nil(b, b.node.Status().Config.Refusal)
		assert.Equal(b, slog.LevelError, b.level.Level())

		b.stop()
		assert.Contains(b, b.log.String(), "configuration refused")
	})
}

func TestADeletedConfigBringsTheSettingsBack(t *testing.T) {
	run(t, asIs, func(b *bench) {
		before := b.node.Status().Config
		b.publish(`{"logLevel":"error"}`)
		require.NoError(b, b.operator.Delete(b.Context(), settings.ConfigKey))
		b.wait(time.Second)
		s := b.node.Status().Config
		assert.Equal(b, before.InForce, s.InForce)
		assert.Equal(b, before.InForceHash, s.InForceHash)
		assert.Equal(b, dynconf.FromDefaults, s.Source)
		assert.Equal(b, slog.LevelInfo, b.level.Level())
	})
}

func TestANodeStartsWithoutTheStore(t *testing.T) {
	run(t, func(b *bench) { b.store.Cut() }, func(b *bench) {
		b.wait(time.Minute)
		s := b.node.Status()
		assert.False(b, s.Ready)
		assert.Equal(b, "starting: the cluster config has not been read yet", s.NotReady)
		assert.False(b, s.Store.Reachable)
		assert.False(b, s.Node.Registered)
		assert.Equal(b, slog.LevelInfo, b.level.Level())

		b.store.Mend()
		b.wait(10 * time.Second)
		s = b.node.Status()
		assert.True(b, s.Ready)
		assert.True(b, s.Store.Reachable)
		assert.True(b, s.Node.Registered)
		assert.True(b, b.listed())
	})
}

func TestAnOutageIsServedThroughAndTold(t *testing.T) {
	run(t, asIs, func(b *bench) {
		b.publish(`{"logLevel":"warn"}`)
		good := b.node.Status().Config

		b.store.Cut()
		b.wait(time.Minute)
		s := b.node.Status()
		assert.True(b, s.Ready, "it serves from what it knows")
		assert.Equal(b, good.InForce, s.Config.InForce)
		assert.Equal(b, 1, s.Nodes.Listed)
		assert.GreaterOrEqual(b, s.Nodes.StalenessSeconds, 50.0)
		assert.False(b, s.Store.Reachable)
		assert.False(b, s.Node.Registered)
		assert.NotEmpty(b, s.Node.LastError)
		assert.False(b, b.listed())

		_, err := b.operator.Put(b.Context(), settings.ConfigKey, []byte(`{"logLevel":"error"}`))
		require.NoError(b, err)
		b.store.Mend()
		b.wait(10 * time.Second)
		s = b.node.Status()
		assert.True(b, s.Store.Reachable)
		assert.True(b, s.Node.Registered)
		assert.Equal(b, slog.LevelError, b.level.Level())
		assert.True(b, b.listed())

		b.stop()
		assert.Equal(b, 1, strings.Count(b.log.String(), "the store does not answer, going on with what is known"))
		assert.Equal(b, 1, strings.Count(b.log.String(), "the store answers again"))
	})
}

// An operators' process asks the store nothing by itself.
func TestAnIdleProcessNoticesAnOutage(t *testing.T) {
	run(t, func(b *bench) { b.unlisted = true }, func(b *bench) {
		b.wait(time.Minute)
		require.True(b, b.node.Status().Store.Reachable)
		b.store.Cut()
		b.wait(15 * time.Second)
		assert.False(b, b.node.Status().Store.Reachable)
		b.store.Mend()
		b.wait(5 * time.Second)
		assert.True(b, b.node.Status().Store.Reachable)
	})
}

func TestAReplacedNodeIsNotReady(t *testing.T) {
	run(t, asIs, func(b *bench) {
		later := `{"addr":"10.10.11.12:8080","proto":"http","version":"v2","incarnation":"7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}`
		_, err := b.operator.Put(b.Context(), key, []byte(later))
		require.NoError(b, err)
		b.wait(time.Second)
		require.ErrorContains(b, b.node.Ready(), "replaced by another process at the same address")
		assert.False(b, b.node.Status().Ready)
		b.stop()
		e, err := b.operator.Get(b.Context(), key)
		require.NoError(b, err)
		assert.Equal(b, later, string(e.Value), "the key of the later process was touched")
		assert.NotContains(b, b.log.String(), "msg=deregistered")
	})
}

func TestARestoredKeyAndLease(t *testing.T) {
	run(t, asIs, func(b *bench) {
		require.NoError(b, b.operator.Delete(b.Context(), key))
		b.wait(2 * time.Second)
		assert.True(b, b.listed(), "a key deleted by hand comes back")

		require.True(b, b.server.ExpireLease(b.node.Status().Node.Lease))
		b.wait(10 * time.Second)
		assert.True(b, b.listed(), "so does one whose lease was lost")
	})
}

func TestADrainingNodeIsNotReady(t *testing.T) {
	run(t, asIs, func(b *bench) {
		b.node.Drain()
		require.EqualError(b, b.node.Ready(), "stopping")
		assert.False(b, b.node.Status().Ready)
		b.wait(time.Second)
		listed, err := b.operator.Get(b.Context(), key)
		require.NoError(b, err)
		assert.Contains(b, string(listed.Value), `"draining":true`, "others are told")
	})
}

func TestAnAddressThatNobodyReachesIsNotRegistered(t *testing.T) {
	loaded, err := settings.Load(settings.Sources{})
	require.NoError(t, err)
	store := memory.New()
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	n, err := node.New(node.Config{Store: store, Defaults: loaded.Config, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	require.NoError(t, err)
	require.ErrorIs(t, n.Register(node.Listing{Addr: "0.0.0.0:8080", Incarnation: ulid.Make()}), backend.ErrInvalid)
}

func TestARolloutIsTriedAndReported(t *testing.T) {
	run(t, asIs, func(b *bench) {
		b.publish(`{"logLevel":"warn"}`)
		_, err := b.operator.Get(b.Context(), fmt.Sprintf("history/config/%020d", b.node.Status().Config.Revision))
		require.ErrorIs(b, err, backend.ErrNotFound, "one admin records it, under its term")

		trial := func(id, value string) {
			r := dynconf.Rollout{ID: id, Value: value, Target: dynconf.Target{Percent: 100}, State: dynconf.Trial}
			_, err := backend.PutJSON(b.Context(), b.operator, dynconf.RolloutKey(settings.ConfigKey), r)
			require.NoError(b, err)
			b.wait(time.Second)
		}
		trial("1", `{"logLevel":"error"}`)
		s := b.node.Status().Config
		assert.Equal(b, "1", s.Rollout)
		assert.Equal(b, slog.LevelError, b.level.Level())
		listed, err := b.operator.Get(b.Context(), key)
		require.NoError(b, err)
		assert.Contains(b, string(listed.Value), `"configs":{"config":{"source":"rollout","rollout":"1"`)

		trial("2", `{"logLevel":"loud"}`)
		assert.Equal(b, slog.LevelWarn, b.level.Level())
		r, err := b.operator.Get(b.Context(), dynconf.RolloutKey(settings.ConfigKey))
		require.NoError(b, err)
		assert.Contains(b, string(r.Value), `"state":"failed"`)
		assert.Contains(b, string(r.Value), "logLevel: expected one of")
	})
}
