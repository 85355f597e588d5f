package dynconf_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

const rolloutKey = "config/rollout"

// onTrial is the record of a rollout to all nodes.
func onTrial(id, value string) dynconf.Rollout {
	return dynconf.Rollout{ID: id, Value: value, Target: dynconf.Target{Percent: 100}, State: dynconf.Trial}
}

func encoded(t *testing.T, r dynconf.Rollout) string {
	t.Helper()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return string(text)
}

// A member is a node that follows the configuration and remembers its reports.
type member struct {
	*dynconf.Config[limits]
	seen *changes
	stop func() error

	mu      sync.Mutex
	reports []dynconf.Report
}

func (m *member) last() dynconf.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.reports) == 0 {
		return dynconf.Report{}
	}
	return m.reports[len(m.reports)-1]
}

func join(t *testing.T, s backend.Store, n dynconf.Node, base ...dynconf.Layer) *member {
	t.Helper()
	m := &member{seen: &changes{}}
	c, err := dynconf.New(s, key, dynconf.Options[limits]{
		Defaults: level("default"), Validate: limits.validate, Node: n, Base: base,
		Report: func(r dynconf.Report) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.reports = append(m.reports, r)
		},
	})
	require.NoError(t, err)
	c.Subscribe(m.seen.add)
	m.Config = c
	m.stop = stores.Start(t, c.Run)
	return m
}

func TestATrialIsForThoseSelected(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, key, good)
		west := join(t, s.Open(t), dynconf.Node{ID: "a", Labels: map[string]string{"zone": "west", "os": "linux"}})
		east := join(t, s.Open(t), dynconf.Node{ID: "b", Labels: map[string]string{"zone": "east"}})
		nobody := join(t, s.Open(t), dynconf.Node{Labels: map[string]string{"zone": "west"}})
		awaitLevel(t, west.Config, "info")
		awaitLevel(t, east.Config, "info")

		r := onTrial("1", `{"logLevel":"trial"}`)
		r.Labels = map[string]string{"zone": "west"}
		s.Put(t, rolloutKey, encoded(t, r))
		awaitLevel(t, west.Config, "trial")
		status := west.Status()
		assert.Equal(t, dynconf.FromRollout, status.Source)
		assert.Equal(t, "1", status.Rollout)
		assert.Zero(t, status.Revision)
		assert.Equal(t, dynconf.Hash([]byte(r.Value)), status.Hash)
		assert.Equal(t, dynconf.Report{Source: dynconf.FromRollout, Rollout: "1", Hash: status.Hash}, west.last())

		s.Put(t, key, other) // published meanwhile: for the others
		awaitLevel(t, east.Config, "debug")
		awaitLevel(t, nobody.Config, "debug")
		assert.Equal(t, "trial", west.Load().LogLevel)

		r.State = dynconf.Abandoned
		s.Put(t, rolloutKey, encoded(t, r))
		awaitLevel(t, west.Config, "debug")
		assert.Equal(t, dynconf.FromStore, west.Status().Source)

		late := onTrial("2", `{"logLevel":"trial 2"}`)
		s.Put(t, rolloutKey, encoded(t, late))
		awaitLevel(t, west.Config, "trial 2")
		awaitLevel(t, east.Config, "trial 2")
		s.Delete(t, key)
		s.Delete(t, rolloutKey)
		awaitLevel(t, west.Config, "default")
		awaitLevel(t, nobody.Config, "default")
		assert.Equal(t, dynconf.Report{Source: dynconf.FromDefaults}, west.last())
	})
}

// A node sees the published value no later than the end of the trial: it never
// falls back in between.
func TestAPromotionIsNoChangeOnTrial(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, key, good)
		store := s.Open(t)
		m := join(t, s.Open(t), dynconf.Node{ID: "a"})
		want, before := []string{"default → info"}, "info"
		awaitLevel(t, m.Config, "info")
		for i := range 20 {
			name := fmt.Sprintf("trial %d", i)
			r := onTrial(name, `{"logLevel":"`+name+`"}`)
			s.Put(t, rolloutKey, encoded(t, r))
			awaitLevel(t, m.Config, name)
			want = append(want, before+" → "+name)
			before = name

			_, err := store.Put(t.Context(), key, []byte(r.Value))
			require.NoError(t, err)
			r.State = dynconf.Promoted
			_, err = store.Put(t.Context(), rolloutKey, []byte(encoded(t, r)))
			require.NoError(t, err)
			stores.Wait(t, "published", func() bool { return m.Status().Source == dynconf.FromStore })
		}
		assert.Equal(t, want, m.seen.get())
	})
}

func TestATrialThatFailsHereIsOverHere(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, key, good)
		a := join(t, s.Open(t), dynconf.Node{ID: "a"})
		b := join(t, s.Open(t), dynconf.Node{ID: "b"})
		awaitLevel(t, a.Config, "info")
		assert.False(t, a.ReportFailure("", errors.New("nothing is on trial")))
		assert.False(t, a.ReportFailure("1", errors.New("nothing is on trial")))

		s.Put(t, rolloutKey, encoded(t, onTrial("1", other)))
		awaitLevel(t, a.Config, "debug")
		awaitLevel(t, b.Config, "debug")
		assert.False(t, a.ReportFailure("0", errors.New("of an earlier one")))
		assert.True(t, a.ReportFailure("1", errors.New("latency has doubled")))
		awaitLevel(t, a.Config, "info")
		assert.False(t, a.ReportFailure("1", errors.New("again")))
		assert.Equal(t, "latency has doubled", a.Status().Failure.Error)
		assert.Equal(t, "1", a.Status().Failure.Rollout)
		stores.Wait(t, "reported", func() bool {
			return a.last() == dynconf.Report{Source: dynconf.FromStore, Revision: a.Status().Revision,
				Hash: dynconf.Hash([]byte(good)), Failed: "1", Failure: "latency has doubled"}
		})

		grown := onTrial("1", other)
		grown.Failures = map[string]string{"a": "latency has doubled"}
		s.Put(t, rolloutKey, encoded(t, grown))
		s.Put(t, key, `{"logLevel":"next"}`)
		awaitLevel(t, a.Config, "next")
		assert.Equal(t, "debug", b.Load().LogLevel)
		require.NoError(t, a.stop())
		again := join(t, s.Open(t), dynconf.Node{ID: "a"})
		awaitLevel(t, again.Config, "next")
		assert.Equal(t, "latency has doubled", again.last().Failure, "it is remembered")
		assert.NotContains(t, again.seen.get(), "default → debug")
		a = again

		s.Put(t, rolloutKey, encoded(t, onTrial("2", `{"logLevel":"better"}`)))
		awaitLevel(t, a.Config, "better")
		assert.Nil(t, a.Status().Failure)
	})
}

// A value that a node can't use is not in force for a moment.
func TestATrialThatIsRefused(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, key, good)
		m := join(t, s.Open(t), dynconf.Node{ID: "a"})
		awaitLevel(t, m.Config, "info")
		for id, bad := range map[string]string{"1": `null`, "2": ``, "3": `{"rateLimit":{"low":1}}`, "4": `{"x":1}`} {
			s.Put(t, rolloutKey, encoded(t, onTrial(id, bad)))
			stores.Wait(t, "failed: "+bad, func() bool { f := m.Status().Failure; return f != nil && f.Rollout == id })
			assert.Equal(t, id, m.last().Failed)
			assert.NotEmpty(t, m.last().Failure)
		}
		assert.Nil(t, m.Status().Refusal, "what is published is good")
		assert.Zero(t, m.Status().Refused)
		assert.Equal(t, []string{"default → info"}, m.seen.get())
	})
}

// The value that was on trial is not the last good one.
func TestAfterATrialABadValueIsStillBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		s.Put(t, key, good)
		s.Put(t, rolloutKey, encoded(t, onTrial("1", other)))
		m := join(t, s.Open(t), dynconf.Node{ID: "a"})
		awaitLevel(t, m.Config, "debug")
		s.Put(t, key, `null`)
		synctest.Wait()
		assert.NotNil(t, m.Status().Refusal)
		assert.NotEmpty(t, m.last().Refusal)
		s.Delete(t, rolloutKey)
		synctest.Wait()
		assert.Equal(t, "info", m.Load().LogLevel, "the last good one that was published")
		assert.NotNil(t, m.Status().Refusal)
	})
}

func TestRecordsThatAreNoRollout(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, key, good)
		m := join(t, s.Open(t), dynconf.Node{ID: "a"})
		for _, bad := range []string{
			``, `null`, `[]`, `7`, `{`, `{}`, `{"id":"1"}`, `"trial"`,
			`{"id":"1","state":"trial","value":"{}","percent":0}`,
			`{"id":"1","state":"trial","value":"{}","percent":101}`,
			`{"id":"1","state":"later","value":"{}","percent":1}`,
			`{"id":"1","state":"trial","value":{},"percent":1}`,
			`{"id":"1","state":"trial","value":"{}","percent":1,"labels":[]}`,
		} {
			s.Put(t, rolloutKey, encoded(t, onTrial("1", other)))
			awaitLevel(t, m.Config, "debug")
			s.Put(t, rolloutKey, bad)
			awaitLevel(t, m.Config, "info")
			require.NotNil(t, m.Status().Failure, bad)
			assert.Contains(t, m.Status().Failure.Error, `"config/rollout": `, bad)
			assert.Empty(t, m.Status().Failure.Rollout)
		}
		s.Delete(t, rolloutKey)
		stores.Wait(t, "settled", func() bool { return m.Status().Failure == nil })
	})
}

func TestANodeMayBecomeAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		r := onTrial("1", other)
		r.Labels = map[string]string{"zone": "west"}
		s.Put(t, rolloutKey, encoded(t, r))
		m := join(t, s.Open(t), dynconf.Node{ID: "a"})
		<-m.Synced()
		assert.Equal(t, "default", m.Load().LogLevel)
		m.SetNode(dynconf.Node{ID: "a", Labels: map[string]string{"zone": "west"}})
		assert.Equal(t, "debug", m.Load().LogLevel)
		require.NoError(t, m.SetDefaults(level("file")))
		assert.Equal(t, "debug", m.Load().LogLevel)
		m.SetNode(dynconf.Node{ID: "a"})
		assert.Equal(t, "file", m.Load().LogLevel)
	})
}

func TestATrialLastsThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		s.Put(t, key, good)
		s.Put(t, rolloutKey, encoded(t, onTrial("1", other)))
		store := s.Client(t)
		m := join(t, store, dynconf.Node{ID: "a"})
		awaitLevel(t, m.Config, "debug")
		store.Cut()
		s.Delete(t, rolloutKey)
		time.Sleep(time.Hour)
		assert.Equal(t, "debug", m.Load().LogLevel)
		assert.True(t, m.ReportFailure("1", errors.New("no good")), "it can go back alone")
		awaitLevel(t, m.Config, "info")
		store.Mend()
		stores.Wait(t, "over", func() bool { return m.Status().Failure == nil })
		s.Server.LoseHistory()
		synctest.Wait()
		assert.Equal(t, "info", m.Load().LogLevel)
	})
}

// Growing the share keeps those who are in it, and shares are about as large as
// they say.
func TestSharesAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := onTrial(rapid.String().Draw(t, "rollout"), "")
		n := dynconf.Node{ID: rapid.StringN(1, -1, -1).Draw(t, "node")}
		r.Percent = rapid.Float64Range(0.01, 100).Draw(t, "percent")
		before := r.Selects(n)
		r.Percent = rapid.Float64Range(r.Percent, 100).Draw(t, "more")
		if before && !r.Selects(n) {
			t.Fatalf("node %q fell out of %q when it grew", n.ID, r.ID)
		}
		r.Percent = 100
		if !r.Selects(n) {
			t.Fatalf("node %q is not among all", n.ID)
		}
	})
	const nodes = 20_000
	for _, percent := range []float64{0.5, 10, 50, 99} {
		r := onTrial("01JD0000000000000000000000", "")
		r.Percent = percent
		selected := 0
		for i := range nodes {
			if r.Selects(dynconf.Node{ID: fmt.Sprintf("10-0-%d-%d-8080", i/250, i%250)}) {
				selected++
			}
		}
		want := nodes * percent / 100
		sigma := math.Sqrt(want * (1 - percent/100))
		assert.InDelta(t, want, selected, 5*sigma, "%v per cent", percent)
	}
}

// Another rollout selects other nodes: the same few do not bear all risks.
func TestSharesDifferByRollout(t *testing.T) {
	both, first := 0, 0
	for i := range 10_000 {
		n := dynconf.Node{ID: fmt.Sprint(i)}
		a, b := onTrial("a", ""), onTrial("b", "")
		a.Percent, b.Percent = 10, 10
		if a.Selects(n) {
			first++
			if b.Selects(n) {
				both++
			}
		}
	}
	assert.InDelta(t, 0.1, float64(both)/float64(first), 0.05)
}

func FuzzDecodeRollout(f *testing.F) {
	f.Add([]byte(`null`))
	f.Add([]byte(`{"id":"1","value":"{}","percent":10,"state":"trial","labels":null,"failures":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := dynconf.DecodeRollout(backend.Entry{Key: rolloutKey, Value: value})
		if err != nil {
			assert.ErrorContains(t, err, rolloutKey)
			return
		}
		require.NoError(t, r.Check())
		r.Selects(dynconf.Node{ID: "a", Labels: map[string]string{"a": "b"}})
	})
}

// fleeting is a store in which the key is there only while it is asked for, once.
type fleeting struct {
	backend.Store
	t     *testing.T
	space stores.Space
	once  sync.Once
}

func (f *fleeting) Get(ctx context.Context, k string) (e backend.Entry, err error) {
	f.once.Do(func() { f.space.Put(f.t, k, good) })
	e, err = f.Store.Get(ctx, k)
	f.space.Delete(f.t, k)
	return e, err
}

// The watch has the key absent, the store does not, and the watch never tells,
// for the key is gone again by then.
func TestWhatComesAndGoesUnseenByTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		m := join(t, &fleeting{Store: s.Open(t), t: t, space: s}, dynconf.Node{ID: "a"})
		begun := time.Now()
		<-m.Synced()
		assert.Less(t, time.Since(begun), time.Minute)
		assert.Equal(t, "default", m.Load().LogLevel)
	})
}
