package rollout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
	"github.com/seed27495941/seckill/recipe/dynconf/rollout"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

const (
	key        = "config"
	rolloutKey = "config/rollout"
)

type limits struct {
	Low int `json:"low"`
}

func (l limits) validate() error {
	if l.Low < 0 {
		return errors.New("low: expected 0 or more")
	}
	return nil
}

func value(low int) []byte { return fmt.Appendf(nil, `{"low":%d}`, low) }

// A member is a node that is listed, follows the configuration and reports.
type member struct {
	*dynconf.Config[limits]
	node *registry.Registration
	id   string
	stop func() error
}

// join starts a node on a port, in a zone.
func join(t *testing.T, s backend.Store, port int, zone string) *member {
	t.Helper()
	node := registry.Node{Addr: fmt.Sprintf("10.0.0.1:%d", port), Labels: map[string]string{"zone": zone}}
	id, err := registry.ID(node.Addr)
	require.NoError(t, err)
	m := &member{id: id}
	m.node, err = registry.NewRegistration(s, registry.Config{Node: node, TTL: 10 * time.Second})
	require.NoError(t, err)
	m.Config, err = dynconf.New(s, key, dynconf.Options[limits]{
		Defaults: limits{1},
		Validate: limits.validate,
		Node:     dynconf.Node{ID: id, Labels: node.Labels},
		Report:   func(r dynconf.Report) { assert.NoError(t, rollout.Tell(m.node, key, r)) },
	})
	require.NoError(t, err)
	stopConfig := stores.Start(t, m.Config.Run)
	stopNode := stores.Start(t, m.node.Run)
	m.stop = func() error { return errors.Join(stopConfig(), stopNode()) }
	return m
}

func (m *member) await(t *testing.T, low int) {
	t.Helper()
	stores.Wait(t, fmt.Sprintf("%s has %d", m.id, low), func() bool { return m.Load().Low == low })
}

// An operator has a controller that runs, and all it takes.
type operator struct {
	*rollout.Controller
	store   backend.Store
	history *history.History
	nodes   *registry.Directory
	base    backend.Revision // as last published
}

func operate(t *testing.T, s backend.Store) *operator {
	t.Helper()
	o := &operator{store: s}
	var err error
	o.history, err = history.New(s, key, history.Options{})
	require.NoError(t, err)
	o.nodes = registry.NewDirectory(s, "", nil)
	o.Controller, err = rollout.New(rollout.Config{Store: s, Key: key, History: o.history, Nodes: o.nodes})
	require.NoError(t, err)
	stores.Start(t, o.nodes.Run)
	stores.Start(t, o.Run)
	return o
}

func (o *operator) publish(t *testing.T, low int) {
	t.Helper()
	v, err := o.history.Publish(t.Context(), o.base, value(low), history.Change{Author: "alice"})
	require.NoError(t, err)
	o.base = v.Revision
}

func (o *operator) start(t *testing.T, low int, target dynconf.Target) dynconf.Rollout {
	t.Helper()
	r, err := o.Start(t.Context(), o.base, value(low), rollout.Plan{Target: target, Author: "alice", Comment: "faster"})
	require.NoError(t, err)
	return r
}

func (o *operator) state(t *testing.T) dynconf.RolloutState {
	t.Helper()
	r, err := o.Current(t.Context())
	require.NoError(t, err)
	return r.State
}

// awaitConsistency waits until as many nodes are listed, of which so many drift.
func (o *operator) awaitConsistency(t *testing.T, nodes, drift int) rollout.Consistency {
	t.Helper()
	var c rollout.Consistency
	stores.Wait(t, fmt.Sprintf("%d of %d nodes drift", drift, nodes), func() bool {
		var err error
		c, err = o.Consistency(t.Context())
		require.NoError(t, err)
		return c.Nodes == nodes && len(c.Drift) == drift
	})
	return c
}

func all() dynconf.Target { return dynconf.Target{Percent: 100} }

func TestByLabelAndPromoted(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		west, east := join(t, s.Open(t), 1, "west"), join(t, s.Open(t), 2, "east")
		o := operate(t, s.Open(t))
		o.awaitConsistency(t, 2, 0)
		o.publish(t, 10)
		west.await(t, 10)
		east.await(t, 10)

		r := o.start(t, 20, dynconf.Target{Labels: map[string]string{"zone": "west"}, Percent: 100})
		west.await(t, 20)
		c := o.awaitConsistency(t, 2, 0)
		assert.Equal(t, rollout.Consistency{
			Revision: o.base, Hash: dynconf.Hash(value(10)), Rollout: r.ID, Trial: dynconf.Hash(value(20)),
			Nodes: 2, OnTrial: 1, Drift: []rollout.Drift{},
		}, c)
		assert.Equal(t, 10, east.Load().Low)
		e, err := o.store.Get(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, string(value(10)), string(e.Value), "the key has what is published")

		_, err = o.Start(t.Context(), o.base, value(30), rollout.Plan{Target: all(), Author: "bob"})
		require.ErrorIs(t, err, backend.ErrConflict)
		require.ErrorContains(t, err, r.ID)
		_, err = o.Promote(t.Context(), "another", "bob", "")
		require.ErrorIs(t, err, backend.ErrNotFound)

		promoted, err := o.Promote(t.Context(), r.ID, "bob", "looks good")
		require.NoError(t, err)
		assert.Equal(t, dynconf.Promoted, promoted.State)
		v, err := o.history.Version(t.Context(), promoted.Published)
		require.NoError(t, err)
		assert.Equal(t, "bob", v.Author)
		assert.Equal(t, string(value(20)), string(v.Value))
		east.await(t, 20)
		assert.Equal(t, dynconf.Promoted, o.state(t))
		again, err := o.Promote(t.Context(), r.ID, "bob", "once more")
		require.NoError(t, err)
		assert.Equal(t, promoted, again)
		_, err = o.Abandon(t.Context(), r.ID, "too late")
		require.ErrorIs(t, err, backend.ErrConflict)
		stores.Wait(t, "published", func() bool { return west.Status().Source == dynconf.FromStore })
		assert.Equal(t, v.Revision, west.Status().Revision)
		o.awaitConsistency(t, 2, 0)
	})
}

func TestByShareAndAbandoned(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		const nodes = 8
		var members []*member
		for i := range nodes {
			members = append(members, join(t, s.Open(t), i+1, ""))
		}
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		r := o.start(t, 20, dynconf.Target{Percent: 0.01})
		before := map[string]bool{}
		for _, percent := range []float64{25, 50, 100} {
			var err error
			r, err = o.Retarget(t.Context(), r.ID, r.Revision, dynconf.Target{Percent: percent})
			require.NoError(t, err)
			selected := 0
			for _, m := range members {
				want := 10
				if r.Selects(dynconf.Node{ID: m.id}) {
					want = 20
					selected++
				}
				m.await(t, want)
				assert.False(t, before[m.id] && want == 10, "%s fell out", m.id)
				before[m.id] = want == 20
			}
			c := o.awaitConsistency(t, nodes, 0)
			assert.Equal(t, selected, c.OnTrial)
		}
		_, err := o.Retarget(t.Context(), r.ID, r.Revision, dynconf.Target{})
		require.ErrorIs(t, err, backend.ErrInvalid)
		_, err = o.Retarget(t.Context(), r.ID, r.Revision-1, dynconf.Target{Percent: 10})
		var conflict *backend.ConflictError
		require.ErrorAs(t, err, &conflict, "somebody else has changed it since it was seen")
		assert.Equal(t, r.Revision, conflict.Have)
		again, err := o.Retarget(t.Context(), r.ID, r.Revision-1, dynconf.Target{Percent: 100})
		require.NoError(t, err, "it is so already")
		assert.Equal(t, r, again)

		for range 2 {
			_, err = o.Abandon(t.Context(), r.ID, "slower")
			require.NoError(t, err)
		}
		for _, m := range members {
			m.await(t, 10)
		}
		r, err = o.Current(t.Context())
		require.NoError(t, err)
		assert.Equal(t, dynconf.Abandoned, r.State)
		assert.Equal(t, "slower", r.Reason)
		_, err = o.Retarget(t.Context(), r.ID, r.Revision, all())
		require.ErrorIs(t, err, backend.ErrConflict)
		_, err = o.Promote(t.Context(), r.ID, "bob", "")
		require.ErrorIs(t, err, backend.ErrConflict)
		o.start(t, 30, all())
		for _, m := range members {
			m.await(t, 30)
		}
	})
}

func TestAFailureEndsTheTrialForAll(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a, b := join(t, s.Open(t), 1, "west"), join(t, s.Open(t), 2, "west")
		o := operate(t, s.Open(t))
		operate(t, s.Open(t)) // two controllers agree
		o.publish(t, 10)

		r := o.start(t, 20, all())
		a.await(t, 20)
		b.await(t, 20)
		require.True(t, a.ReportFailure(r.ID, errors.New("latency has doubled")))
		a.await(t, 10)
		b.await(t, 10)
		r, err := o.Current(t.Context())
		require.NoError(t, err)
		assert.Equal(t, dynconf.Failed, r.State)
		assert.Equal(t, map[string]string{a.id: "latency has doubled"}, r.Failures)
		assert.Contains(t, r.Reason, "1 of the nodes failed")
		_, err = o.Promote(t.Context(), r.ID, "bob", "")
		require.ErrorIs(t, err, backend.ErrConflict)
		_, err = o.Abandon(t.Context(), r.ID, "over already")
		require.NoError(t, err)

		// A value that nodes refuse, though nobody has checked it before.
		o.start(t, -1, dynconf.Target{Percent: 100})
		stores.Wait(t, "failed", func() bool { return o.state(t) == dynconf.Failed })
		assert.Equal(t, 10, a.Load().Low)
		assert.Equal(t, 10, b.Load().Low)
		o.awaitConsistency(t, 2, 0)
	})
}

// Failures that are borne are kept in the record, also of nodes that are gone.
func TestFailuresAreCounted(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a, b := join(t, s.Open(t), 1, ""), join(t, s.Open(t), 2, "")
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		r, err := o.Start(t.Context(), o.base, value(20), rollout.Plan{Target: all(), Author: "alice", MaxFailures: 1})
		require.NoError(t, err)
		a.await(t, 20)
		b.await(t, 20)
		require.True(t, a.ReportFailure(r.ID, errors.New("no good")))
		a.await(t, 10)
		var drift rollout.Drift
		stores.Wait(t, "the failure is named", func() bool {
			drift = o.awaitConsistency(t, 2, 1).Drift[0]
			return strings.Contains(drift.Why, "the trial failed there: no good")
		})
		assert.Equal(t, a.id, drift.Node)
		assert.True(t, drift.OnTrial)
		stores.Wait(t, "counted", func() bool {
			r, err := o.Current(t.Context())
			require.NoError(t, err)
			return len(r.Failures) == 1
		})
		assert.Equal(t, dynconf.Trial, o.state(t))
		assert.Equal(t, 20, b.Load().Low)

		require.NoError(t, a.stop())
		o.awaitConsistency(t, 1, 0)
		require.True(t, b.ReportFailure(r.ID, errors.New("no good either")))
		stores.Wait(t, "failed", func() bool { return o.state(t) == dynconf.Failed })
	})
}

// More fail, and say more about it, than the record has room for. The rollout
// ends nonetheless.
func TestMoreFailuresThanTheRecordHolds(t *testing.T) {
	for _, c := range []struct{ size, borne int }{{250_000, 0}, {250_000, 2}, {200_000, 100}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := stores.NewMemory().Open(t)
				o := operate(t, store)
				large := append(value(20), bytes.Repeat([]byte(" "), c.size)...)
				r, err := o.Start(t.Context(), 0, large, rollout.Plan{Target: all(), Author: "alice", MaxFailures: c.borne})
				require.NoError(t, err)
				for i := range max(20, c.borne+20) {
					report, err := json.Marshal(dynconf.Report{Failed: r.ID, Failure: strings.Repeat("\x01", 500)})
					require.NoError(t, err)
					node := registry.Node{Addr: fmt.Sprintf("10.0.0.1:%d", i+1), Configs: map[string]json.RawMessage{key: report}}
					registration, err := registry.NewRegistration(store, registry.Config{Node: node, TTL: 10 * time.Second})
					require.NoError(t, err)
					stores.Start(t, registration.Run)
				}
				stores.Wait(t, "failed", func() bool { return o.state(t) == dynconf.Failed })
				now, err := o.Current(t.Context())
				require.NoError(t, err)
				assert.NotEmpty(t, now.Reason)
				assert.LessOrEqual(t, len(now.Failures), c.borne+1, "what has ended it, and no more")
			})
		})
	}
}

// The configuration was changed by somebody while the trial was on.
func TestAPromotionOverAChangeIsAConflict(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		_, err := o.Start(t.Context(), o.base-1, value(20), rollout.Plan{Target: all(), Author: "alice"})
		require.ErrorIs(t, err, backend.ErrConflict)
		_, err = o.Current(t.Context())
		require.ErrorIs(t, err, backend.ErrNotFound)

		r := o.start(t, 20, all())
		s.Put(t, key, `{"low":11}`)
		_, err = o.Promote(t.Context(), r.ID, "bob", "")
		var conflict *backend.ConflictError
		require.ErrorAs(t, err, &conflict)
		assert.Equal(t, key, conflict.Key)
		assert.Equal(t, dynconf.Trial, o.state(t))
		e, err := o.store.Get(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, `{"low":11}`, string(e.Value))
	})
}

// A promotion that died between publishing and the mark is completed by another.
func TestACrashedPromotionIsRepeated(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		r := o.start(t, 20, all())
		f := &stores.Faulty{Store: s.Open(t)}
		dying := operate(t, f)
		f.Set(stores.Hooks{Put: func(k string) error {
			if k == rolloutKey {
				return backend.ErrUnavailable
			}
			return nil
		}})
		_, err := dying.Promote(t.Context(), r.ID, "bob", "")
		require.ErrorIs(t, err, backend.ErrUnknown)
		require.NotErrorIs(t, err, backend.ErrUnavailable, "something was done")
		assert.Equal(t, dynconf.Trial, o.state(t))

		// Somebody has gone on since.
		e, err := o.store.Get(t.Context(), key)
		require.NoError(t, err)
		later, err := o.history.Publish(t.Context(), e.Revision, value(30), history.Change{Author: "alice"})
		require.NoError(t, err)

		promoted, err := o.Promote(t.Context(), r.ID, "carol", "")
		require.NoError(t, err)
		assert.Equal(t, e.Revision, promoted.Published, "published once")
		v, err := o.history.Version(t.Context(), promoted.Published)
		require.NoError(t, err)
		assert.Equal(t, "bob", v.Author)
		assert.Equal(t, dynconf.Promoted, o.state(t))
		now, err := o.store.Get(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, later.Revision, now.Revision)
	})
}

// A failure that is seen while the value is about to be published prevents that.
func TestAFailureInTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		a := join(t, s.Open(t), 1, "")
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		r := o.start(t, 20, all())
		a.await(t, 20)
		f := &stores.Faulty{Store: s.Open(t)}
		hasty := operate(t, f)
		f.Set(stores.Hooks{Put: func(k string) error {
			if k == key {
				a.ReportFailure(r.ID, errors.New("no good"))
				stores.Wait(t, "failed", func() bool { return o.state(t) == dynconf.Failed })
			}
			return nil
		}})
		_, err := hasty.Promote(t.Context(), r.ID, "bob", "")
		var conflict *backend.ConflictError
		require.ErrorAs(t, err, &conflict)
		assert.Equal(t, rolloutKey, conflict.Key)
		assert.Equal(t, 10, a.Load().Low)
	})
}

func TestUnknownOutcomes(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		f := &stores.Faulty{Store: s.Open(t)}
		o := operate(t, f)
		o.publish(t, 10)
		once := func(made bool) {
			hook := func(k string) error {
				if k != rolloutKey {
					return nil
				}
				f.Set(stores.Hooks{})
				return backend.ErrUnknown
			}
			if made {
				f.Set(stores.Hooks{AfterPut: hook})
			} else {
				f.Set(stores.Hooks{Put: hook})
			}
		}
		for _, made := range []bool{true, false} {
			once(made)
			r := o.start(t, 20, all())
			now, err := o.Current(t.Context())
			require.NoError(t, err)
			assert.Equal(t, r.ID, now.ID)
			once(made)
			_, err = o.Abandon(t.Context(), r.ID, "")
			require.NoError(t, err)
			r = o.start(t, 20, all())
			once(made)
			r, err = o.Promote(t.Context(), r.ID, "bob", "")
			require.NoError(t, err)
			assert.Equal(t, dynconf.Promoted, o.state(t))
			o.base = r.Published
		}
	})
}

// Whoever does not have what it should is named, with what is known of why.
func TestDriftIsNamed(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		fine := join(t, s.Open(t), 1, "")
		fine.await(t, 10)
		stale := `{"source":"store","revision":3,"hash":"0123456789ab"}`
		for i, configs := range []string{``, `{}`, `{"config":null}`, `{"config":7}`, `{"config":` + stale + `}`, `{"other":` + stale + `}`, `null`} {
			if configs != "" {
				configs = `,"configs":` + configs
			}
			s.Put(t, fmt.Sprintf("nodes/foreign-%d", i), fmt.Sprintf(`{"addr":"10.0.0.9:%d"%s}`, i+1, configs))
		}
		c := o.awaitConsistency(t, 8, 7)
		for i, d := range c.Drift {
			assert.Equal(t, fmt.Sprintf("foreign-%d", i), d.Node)
			assert.Equal(t, d.Expected, dynconf.Hash(value(10)))
			if i == 4 {
				require.NotNil(t, d.Applied)
				assert.Equal(t, "0123456789ab", d.Applied.Hash)
				continue
			}
			assert.Nil(t, d.Applied)
			assert.Contains(t, d.Why, "report")
		}

		s.Put(t, key, `null`)
		stores.Wait(t, "the refusal is named", func() bool {
			c = o.awaitConsistency(t, 8, 8)
			return strings.Contains(c.Drift[0].Why, "refused: ")
		})
		assert.Equal(t, fine.id, c.Drift[0].Node)
		assert.Contains(t, c.Drift[0].Why, "null")
		s.Delete(t, key)
		c = o.awaitConsistency(t, 8, 7)
		assert.Equal(t, "foreign-0", c.Drift[0].Node)
		assert.Empty(t, c.Drift[0].Expected, "the defaults")
	})
}

func TestRecordsThatAreNoRollout(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		for _, bad := range []string{``, `null`, `[]`, `{`, `{"id":"1"}`} {
			s.Put(t, rolloutKey, bad)
			_, err := o.Current(t.Context())
			require.ErrorContains(t, err, `"config/rollout": `)
			_, err = o.Consistency(t.Context())
			require.ErrorContains(t, err, `"config/rollout": `)
			_, err = o.Promote(t.Context(), "1", "bob", "")
			require.ErrorContains(t, err, `"config/rollout": `)
			_, err = o.Abandon(t.Context(), "1", "")
			require.ErrorIs(t, err, backend.ErrNotFound)
		}
		o.start(t, 20, all()) // takes its place
		assert.Equal(t, dynconf.Trial, o.state(t))
	})
}

func TestRefusals(t *testing.T) {
	store := stores.NewMemory().Open(t)
	nodes := registry.NewDirectory(store, "", nil)
	_, err := rollout.New(rollout.Config{Store: store, Key: "/", Nodes: nodes})
	require.ErrorIs(t, err, backend.ErrInvalid)
	versions, err := history.New(store, key, history.Options{})
	require.NoError(t, err)
	for _, incomplete := range []rollout.Config{
		{Key: key, Nodes: nodes, History: versions}, {Store: store, Key: key, History: versions}, {Store: store, Key: key, Nodes: nodes},
	} {
		_, err = rollout.New(incomplete)
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
	c, err := rollout.New(rollout.Config{Store: store, Key: key, Nodes: nodes, History: versions, Check: func(value []byte) error {
		if string(value) == "bad" {
			return errors.New("not good")
		}
		return nil
	}})
	require.NoError(t, err)
	for _, bad := range []struct {
		value string
		plan  rollout.Plan
	}{
		{"bad", rollout.Plan{Target: all(), Author: "a"}},
		{"\xff", rollout.Plan{Target: all(), Author: "a"}},
		{"{}", rollout.Plan{Target: all()}},
		{"{}", rollout.Plan{Target: all(), Author: history.External}},
		{"{}", rollout.Plan{Author: "a"}},
		{"{}", rollout.Plan{Target: dynconf.Target{Percent: 100.5}, Author: "a"}},
		{"{}", rollout.Plan{Target: all(), Author: "a", MaxFailures: -1}},
	} {
		_, err := c.Start(t.Context(), 0, []byte(bad.value), bad.plan)
		require.ErrorIs(t, err, backend.ErrInvalid, bad)
	}
	_, err = c.Start(t.Context(), 0, make([]byte, backend.MaxValue), rollout.Plan{Target: all(), Author: "a"})
	require.ErrorIs(t, err, backend.ErrTooLarge)
}

// What a base has makes what nodes should have.
func TestConsistencyOverABase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		store := s.Open(t)
		base := []dynconf.Layer{{Store: store, Key: "base"}}
		s.Put(t, "base", `{"low":5}`)
		s.Put(t, key, `{"low":6}`)
		nodes := registry.NewDirectory(store, "", nil)
		versions, err := history.New(store, key, history.Options{})
		require.NoError(t, err)
		c, err := rollout.New(rollout.Config{Store: store, Key: key, History: versions, Nodes: nodes, Base: base})
		require.NoError(t, err)
		conf, err := dynconf.New(store, key, dynconf.Options[limits]{Base: base})
		require.NoError(t, err)
		stores.Start(t, conf.Run)
		<-conf.Synced()
		got, err := c.Consistency(t.Context())
		require.NoError(t, err)
		assert.Equal(t, conf.Status().Hash, got.Hash)
		s.Delete(t, key)
		got, err = c.Consistency(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, conf.Status().Hash, got.Hash)
		assert.Equal(t, 5, conf.Load().Low)
		s.Put(t, "base", `null`)
		_, err = c.Consistency(t.Context())
		require.ErrorContains(t, err, `"base": `)
	})
}

// The controller judges as soon as it can.
func TestAFailureIsSeenAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		a := join(t, s.Open(t), 1, "")
		store := s.Client(t)
		o := operate(t, store)
		o.publish(t, 10)
		r := o.start(t, 20, all())
		a.await(t, 20)
		store.Cut()
		require.True(t, a.ReportFailure(r.ID, errors.New("no good")))
		a.await(t, 10)
		time.Sleep(time.Minute)
		store.Mend()
		stores.Wait(t, "failed", func() bool { return o.state(t) == dynconf.Failed })
	})
}

// Reports hang on the node's own lease, and come back with the node.
func TestReportsComeBackAfterTheLeaseWasLost(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a := join(t, s.Open(t), 1, "")
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		r := o.start(t, 20, all())
		a.await(t, 20)
		before := o.awaitConsistency(t, 1, 0)
		lost := a.node.Status().Lease
		s.Revoke(t, lost)
		stores.Wait(t, "registered with another lease", func() bool {
			return a.node.Registered() && a.node.Status().Lease != lost
		})
		assert.Equal(t, before, o.awaitConsistency(t, 1, 0))
		require.True(t, a.ReportFailure(r.ID, errors.New("no good")))
		stores.Wait(t, "failed", func() bool { return o.state(t) == dynconf.Failed })
	})
}

func TestATrialThroughARestartOfTheStore(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		a, b := join(t, s.Open(t), 1, ""), join(t, s.Open(t), 2, "")
		o := operate(t, s.Open(t))
		o.publish(t, 10)
		r := o.start(t, 20, all())
		a.await(t, 20)
		b.await(t, 20)
		require.NoError(t, c.Restart(t.Context()))
		assert.Equal(t, 20, a.Load().Low)
		require.True(t, a.ReportFailure(r.ID, errors.New("no good")))
		a.await(t, 10)
		b.await(t, 10)
	})
}
