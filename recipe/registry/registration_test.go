package registry_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestRegistersAndDeregisters(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		r, err := registry.NewRegistration(store, registry.Config{Node: node(first), TTL: stores.ShortestTTL})
		require.NoError(t, err)
		assert.False(t, r.Registered(), "nothing is registered before it is")
		stop := stores.Start(t, r.Run)
		<-r.Ready()

		status := await(t, r)
		e := get(t, store, key)
		assert.JSONEq(t, `{"addr":"10.10.11.12:8080","proto":"http","version":"v1.0.0","incarnation":"`+first+`"}`, string(e.Value))
		assert.Equal(t, status.Revision, e.Revision)
		assert.Equal(t, status.Lease, e.Lease)
		assert.Equal(t, key, status.Key)
		assert.Equal(t, "10-10-11-12-8080", status.Node.ID)
		assert.GreaterOrEqual(t, status.TTL, stores.ShortestTTL)
		assert.False(t, status.Replaced)
		assert.Empty(t, status.LastError)

		require.NoError(t, stop())
		absent(t, store, key)
		assert.False(t, r.Registered())
		assert.Empty(t, r.Status().Lease)
	})
}

// Published code deregistered by prefix, so that the node at port 80 took the
// one at port 8080 with it.
func TestDeregistersNobodyElse(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		eighty, stop := run(t, store, registry.Config{Node: registry.Node{Addr: "10.10.11.12:80"}})
		other, _ := register(t, s.Open(t), first)
		<-eighty.Ready()
		<-other.Ready()
		before := get(t, store, key)

		require.NoError(t, stop())
		absent(t, store, "nodes/10-10-11-12-80")
		assert.Equal(t, before, get(t, store, key), "untouched")
		assert.True(t, other.Registered())
	})
}

func TestComesBackAfterLeaseLoss(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		r, stop := register(t, store, first)
		<-r.Ready()
		lost := await(t, r)

		// Until the holder learns of it, it would use the dead lease again.
		s.Revoke(t, lost.Lease)

		stores.Wait(t, "a new lease", func() bool { return r.Registered() && r.Status().Lease != lost.Lease })
		e := awaitListed(t, store, r)
		assert.Greater(t, e.Revision, lost.Revision)
		require.NoError(t, stop())
		absent(t, store, key)
	})
}

func TestComesBackAfterDeletionByHand(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		r, _ := register(t, store, first)
		<-r.Ready()
		for range 3 {
			before := await(t, r)
			s.Delete(t, key)
			stores.Wait(t, "put back", func() bool { return r.Status().Revision > before.Revision })
			awaitListed(t, store, r)
			assert.Equal(t, before.Lease, r.Status().Lease, "the live lease serves on")
		}
	})
}

func TestComesBackAfterOverwritingByHand(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		r, stop := register(t, store, second)
		<-r.Ready()
		own := string(awaitListed(t, store, r).Value)
		for _, value := range []string{
			own,       // the same bytes, but off the lease
			`null`,    // valid JSON, no node
			`{"addr"`, // half
			`{"addr":"10.10.11.12:8080","proto":"http","version":"course"}`,                            // no process of ours
			`{"addr":"10.10.11.12:8080","incarnation":"zzz"}`,                                          // no ULID
			`{"addr":"10.10.11.12:8080","incarnation":"` + first + `"}`,                                // an earlier process
			`{"addr":"10.10.11.12:8080","incarnation":"` + second + `","weight":5,"labels":{"a":"b"}}`, // edited
		} {
			before := await(t, r)
			s.Put(t, key, value)
			stores.Wait(t, "put right: "+value, func() bool { return r.Status().Revision > before.Revision })
			assert.Equal(t, own, string(awaitListed(t, store, r).Value), value)
			assert.Equal(t, before.Lease, r.Status().Lease)
		}
		assert.False(t, r.Status().Replaced)
		require.NoError(t, stop())
		absent(t, store, key)
	})
}

// A restart after kill -9 does not wait for the lease of the dead process.
func TestTakesOverAnEarlierIncarnation(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		dead, err := store.Lease(t.Context(), time.Minute)
		require.NoError(t, err)
		put(t, store, node(first), backend.WithLease(dead))

		r, _ := register(t, s.Open(t), second)
		begun := time.Now()
		<-r.Ready()
		assert.Less(t, time.Since(begun), 30*time.Second)
		awaitListed(t, store, r)

		require.NoError(t, dead.Close(t.Context()))
		assert.Equal(t, r.Status().Revision, get(t, store, key).Revision, "the key has left the dead lease")
	})
}

func TestNeverPutsItselfBackOverALaterIncarnation(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		old, stopOld := register(t, s.Open(t), first)
		<-old.Ready()
		now, stopNow := register(t, s.Open(t), second)
		<-now.Ready()

		stores.Wait(t, "replaced", func() bool { return old.Status().Replaced && old.Status().Lease == "" })
		assert.Equal(t, second, old.Status().ReplacedBy)
		assert.False(t, old.Registered())
		awaitListed(t, store, now)

		// Not even when the later one has left.
		require.NoError(t, stopNow())
		absent(t, store, key)
		require.NoError(t, old.Update(func(n *registry.Node) { n.Weight = 7 }))
		quiet(t, s, key)
		require.NoError(t, stopOld())
	})
}

func TestReplacedNodeDeletesNothing(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		put(t, store, node(second))
		r, stop := register(t, s.Open(t), first)
		stores.Wait(t, "replaced", func() bool { return r.Status().Replaced })
		before := get(t, store, key)
		require.NoError(t, stop())
		assert.Equal(t, before, get(t, store, key))
		select {
		case <-r.Ready():
			t.Error("it was never registered")
		default:
		}
	})
}

// The hand-over of DESIGN: the new process waits under a name of its own.
func TestWaitsUnderItsOwnName(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		old, stopOld := register(t, s.Open(t), first)
		waiting, stopWaiting := run(t, store, registry.Config{Node: node(second), ID: "10-10-11-12-8080~" + second})
		<-old.Ready()
		<-waiting.Ready()
		assert.False(t, old.Status().Replaced)
		get(t, store, key+"~"+second)

		require.NoError(t, stopOld())
		r, _ := register(t, store, second)
		<-r.Ready()
		require.NoError(t, stopWaiting())
		awaitListed(t, store, r)
		absent(t, store, key+"~"+second)
	})
}

func TestUpdatesInPlace(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		r, _ := register(t, store, first)
		<-r.Ready()
		before := await(t, r)

		labels := map[string]string{"zone": "a"}
		require.NoError(t, r.Update(func(n *registry.Node) { n.Weight, n.Labels = 3, labels }))
		labels["zone"] = "the caller's map is not ours"
		require.NoError(t, r.Update(func(n *registry.Node) { n.Config = "c0ffee" }))

		var n registry.Node
		stores.Wait(t, "updated", func() bool {
			e := get(t, store, key)
			n = registry.Node{}
			require.NoError(t, json.Unmarshal(e.Value, &n))
			assert.Equal(t, before.Lease, e.Lease)
			return n.Weight == 3 && n.Config == "c0ffee"
		})
		assert.Equal(t, map[string]string{"zone": "a"}, n.Labels)
		assert.Equal(t, before.Since, r.Status().Since, "it was registered all the time")
	})
}

// An etcd or Consul that is away for longer than the lease lasts.
func TestSurvivesAServerThatStandsStill(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		store := s.Open(t)
		r, stop := register(t, store, first)
		<-r.Ready()
		before := await(t, r)

		require.NoError(t, c.Node(0).Pause(t.Context()))
		stores.Wait(t, "not registered", func() bool { return !r.Registered() })
		require.NoError(t, r.Update(func(n *registry.Node) { n.Weight = 9 }))
		require.NoError(t, c.Node(0).Resume(t.Context()))

		stores.Wait(t, "registered again", func() bool { return r.Registered() && r.Status().Lease != before.Lease })
		assert.Contains(t, string(awaitListed(t, store, r).Value), `"weight":9`)
		require.NoError(t, stop())
		absent(t, store, key)
	})
}

// A process that sleeps past its lease registers anew when it wakes; if another
// one has the address by then, it gives way and writes nothing.
func TestPausedProcess(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		p := stores.Spawn(t, s, "node", first)
		p.Await(t, "ready")
		before := get(t, store, key)
		p.Pause(t)
		stores.Wait(t, "its lease is over", func() bool {
			_, err := store.Get(t.Context(), key)
			return errors.Is(err, backend.ErrNotFound)
		})
		p.Resume(t)
		stores.Wait(t, "listed again", func() bool {
			e, err := store.Get(t.Context(), key)
			return err == nil && e.Lease != before.Lease
		})

		p.Pause(t)
		r, stop := register(t, s.Open(t), second)
		<-r.Ready()
		listed := awaitListed(t, store, r)
		p.Resume(t)
		stores.Wait(t, "it knows", func() bool { p.Tell(t, "?"); return p.Await(t, "replaced") == "true" })
		assert.Equal(t, listed, get(t, store, key), "untouched")
		require.NoError(t, stop())
		quiet(t, s, key)
		p.Stop(t)
	})
}

func TestSurvivesARestartOfTheStore(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		store := s.Open(t)
		r, stop := register(t, store, first)
		<-r.Ready()
		require.NoError(t, c.Node(0).Kill(t.Context()))
		require.NoError(t, r.Update(func(n *registry.Node) { n.Weight = 9 }))
		require.NoError(t, c.Node(0).Start(t.Context()))
		stores.Wait(t, "written", func() bool {
			e, err := store.Get(t.Context(), key)
			return err == nil && strings.Contains(string(e.Value), `"weight":9`)
		})
		before := awaitListed(t, store, r)
		stores.Wait(t, "deleted", func() bool { return store.Delete(t.Context(), key) == nil }) // the watch tells of it
		stores.Wait(t, "put back", func() bool { return r.Status().Revision > before.Revision })
		awaitListed(t, store, r)
		require.NoError(t, stop())
		absent(t, store, key)
	})
}

// quiet checks that a key stays away, for longer than a node that wanted it back
// would take. (Absence has no event to wait for.)
func quiet(t *testing.T, s stores.Space, key string) {
	t.Helper()
	store := s.Open(t)
	timer := time.NewTimer(2 * stores.ShortestTTL)
	defer timer.Stop()
	for {
		absent(t, store, key)
		select {
		case <-timer.C:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
