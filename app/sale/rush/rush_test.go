// Package rush holds real processes to what a sale promises: exactly what there is
// is sold, and whoever was told to have an order has it, whatever happens to
// processes, connections and the store's leader meanwhile.
package rush_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

// A proxy may leave a goroutine behind whose connection breaks while it is healed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}

func isFull() bool { return os.Getenv("SECKILL_TEST_FULL") != "" }

// TestSale is the sale as it is meant to be: 80,000 buyers, 50,000 units.
func TestSale(t *testing.T) {
	if !isFull() {
		t.Skip("a long run: make sale")
	}
	binary := built(t)
	stores.EachCluster(t, 1, func(t *testing.T, space stores.Space, c *servers.Cluster) {
		s := open(t, binary, space, c, 50_000)
		s.report("80,000 buyers", s.serve(s.crowd(80_000, 0, 1000)))
		s.audit()
	})
}

// TestFaults is a sale during which everything goes wrong. What the first crowd
// wants is a little less than there is: there are units for buyers as long as the
// faults last.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this needs servers")
	}
	binary := built(t)
	if isFull() {
		stores.EachCluster(t, 3, func(t *testing.T, space stores.Space, c *servers.Cluster) {
			s := open(t, binary, space, c, 50_000)
			s.weather(30_000, 150, kill, faint, deaf, deafKilled, deafStopped, pauseLeader, killLeader)
		})
		return
	}
	stores.EachCluster(t, 1, func(t *testing.T, space stores.Space, c *servers.Cluster) {
		s := open(t, binary, space, c, 6000)
		s.weather(3600, 150, kill, faint, deaf, deafKilled, deafStopped)
	})
}

// weather has a first crowd, of which so many come in a second, buy while there are
// faults, and another one, which wants all the rest, when they are over.
func (s *shop) weather(buyers int, rate float64, all ...fault) {
	stop := s.storm(all...)
	r := s.serve(s.crowd(buyers, rate, 2000))
	stop()
	s.report("with faults", r)
	assert.NotZero(s, r.Answers["undecided"]+r.Answers["timeout"]+r.Answers["unreachable"], "buyers noticed the faults")
	s.report("after them", s.serve(s.crowd(buyers/3, 0, 200)))
	s.audit()
}
