package dynconf_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

func entry(value string) backend.Entry {
	return backend.Entry{Key: key, Value: []byte(value), Revision: 1}
}

func TestOverlay(t *testing.T) {
	// The objects among the cases of RFC 7396, appendix A, and some more.
	for _, c := range []struct{ base, own, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"a":"foo"}`, `{"a":{}}`, `{"a":{}}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1}`},
		{`{"n":12345678901234567890,"f":1.10}`, `{}`, `{"f":1.10,"n":12345678901234567890}`},
		{` { } `, `{"z":1,"a":{"y":2,"b":3}}`, `{"a":{"b":3,"y":2},"z":1}`},
	} {
		got, err := dynconf.Overlay([]backend.Entry{entry(c.base)}, entry(c.own))
		require.NoError(t, err, c)
		assert.Equal(t, c.want, string(got), c)
	}
	for _, bad := range []string{``, `null`, `[]`, `1`, `{`, `{"a":1,"a":2}`, `{} {}`} {
		_, err := dynconf.Overlay([]backend.Entry{entry(`{}`)}, entry(bad))
		require.ErrorContains(t, err, `"config": `, bad)
		_, err = dynconf.Overlay([]backend.Entry{entry(bad)}, entry(`{}`))
		require.Error(t, err, bad)
	}
	absent := backend.Entry{Key: key}
	for _, base := range [][]backend.Entry{nil, {absent}, {absent, absent}} {
		got, err := dynconf.Overlay(base, absent)
		require.NoError(t, err)
		assert.Nil(t, got)
	}
	got, err := dynconf.Overlay([]backend.Entry{absent, entry(`{"a":1}`), entry(`{"b":{"c":2}}`)}, absent)
	require.NoError(t, err)
	assert.JSONEq(t, `{"a":1,"b":{"c":2}}`, string(got))
	got, err = dynconf.Overlay(nil, entry("anything: at all"))
	require.NoError(t, err)
	assert.Equal(t, "anything: at all", string(got))
}

func TestEnvironmentsOverABase(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		base := dynconf.Layer{Store: backend.Prefix(store, "shared/"), Key: key}
		production := backend.Prefix(store, "production/")
		m := join(t, production, dynconf.Node{ID: "a"}, base)
		staging := join(t, backend.Prefix(store, "staging/"), dynconf.Node{ID: "b"}, base)
		<-m.Synced()
		assert.Equal(t, dynconf.FromDefaults, m.Status().Source)

		s.Put(t, "shared/config", `{"logLevel":"info","rateLimit":{"middle":100,"low":10}}`)
		awaitLevel(t, m.Config, "info")
		awaitLevel(t, staging.Config, "info")
		assert.Equal(t, m.Status().Hash, staging.Status().Hash)

		s.Put(t, "staging/config", `{"logLevel":"debug","rateLimit":{"low":1}}`)
		awaitLevel(t, staging.Config, "debug")
		assert.Equal(t, 100, staging.Load().RateLimit.Middle)
		assert.Equal(t, 1, staging.Load().RateLimit.Low)
		assert.NotEqual(t, m.Status().Hash, staging.Status().Hash)
		assert.Equal(t, "info", m.Load().LogLevel, "environments are apart")

		s.Put(t, "shared/config", `{"logLevel":"info","rateLimit":{"middle":50,"low":10}}`)
		stores.Wait(t, "the base reaches both", func() bool {
			return m.Load().RateLimit.Middle == 50 && staging.Load().RateLimit.Middle == 50
		})

		// A bad layer is refused with all that rests on it.
		for _, bad := range []string{`null`, `[1]`, `{"rateLimit":{"low":5}}`, `{`, `{"logLevel":"a","logLevel":"b"}`} {
			s.Put(t, "shared/config", bad)
			stores.Wait(t, "refused: "+bad, func() bool { return m.Status().Refusal != nil && staging.Status().Refusal != nil })
			assert.Equal(t, 50, m.Load().RateLimit.Middle)
			assert.Equal(t, "debug", staging.Load().LogLevel)
			s.Put(t, "shared/config", `{"logLevel":"info","rateLimit":{"middle":50,"low":10}}`)
			stores.Wait(t, "good again", func() bool { return m.Status().Refusal == nil && staging.Status().Refusal == nil })
		}

		// A trial is of the environment's own value.
		s.Put(t, "production/config/rollout", encoded(t, onTrial("1", `{"logLevel":"trial"}`)))
		awaitLevel(t, m.Config, "trial")
		assert.Equal(t, 50, m.Load().RateLimit.Middle)
		s.Put(t, "shared/config", `{"logLevel":"info","rateLimit":{"middle":60,"low":10}}`)
		stores.Wait(t, "the base reaches the trial", func() bool { return m.Load().RateLimit.Middle == 60 })
		assert.Equal(t, "trial", m.Load().LogLevel)
		require.NoError(t, m.Check([]byte(`{"rateLimit":{"low":60}}`)))
		require.ErrorContains(t, m.Check([]byte(`{"rateLimit":{"low":61}}`)), "rateLimit.low")
		require.Error(t, m.Check([]byte(`null`)))
	})
}

// Half of the layers are no configuration: the first that is in force is whole.
func TestNothingIsMergedBeforeAllWasHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		s.Put(t, key, `{"logLevel":"own"}`)
		s.Put(t, "base", `{"logLevel":"base","rateLimit":{"middle":7}}`)
		away := &stores.Faulty{Store: s.Open(t)}
		away.Set(stores.Hooks{Watch: func(string) error { return errors.New("away") }})
		m := join(t, s.Open(t), dynconf.Node{ID: "a"}, dynconf.Layer{Store: away, Key: "base"})
		synctest.Wait()
		assert.Equal(t, "default", m.Load().LogLevel)
		assert.False(t, m.Status().Following)
		assert.Contains(t, m.Status().LastError, "away")
		assert.Empty(t, m.reports)
		away.Set(stores.Hooks{})
		<-m.Synced()
		assert.Equal(t, []string{"default → own"}, m.seen.get())
		assert.Equal(t, 7, m.Load().RateLimit.Middle)
	})
}

func FuzzOverlay(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":{"b":null}}`))
	f.Fuzz(func(t *testing.T, base, own []byte) {
		merged, err := dynconf.Overlay([]backend.Entry{{Key: key, Value: base, Revision: 1}}, backend.Entry{Key: key, Value: own, Revision: 2})
		if err != nil {
			return
		}
		again, err := dynconf.Overlay([]backend.Entry{{Key: key, Value: merged, Revision: 1}}, backend.Entry{Key: key, Value: own, Revision: 2})
		require.NoError(t, err)
		assert.Equal(t, string(merged), string(again), "merging twice is merging once")
	})
}
