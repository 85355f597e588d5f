package rush_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/load"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/faults"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

const (
	ttl     = 2 * time.Second // of nodes: how long one is listed that went silent
	perUser = 2
	slots   = 8
)

// A shop is an event that three nodes sell.
type shop struct {
	*testing.T
	kind, root string
	cluster    *servers.Cluster
	store      backend.Store
	event      event.Event

	binary   string
	key      identity.Key
	keysFile string
	settings string // a file
	http     *http.Client

	nodes []*node
	mute  *faults.Network // between the first node and the store
	lead  sync.Mutex      // held by whoever does something to the store's leader

	came int           // buyers so far
	told []load.Result // what they were told
}

func open(t *testing.T, binary string, space stores.Space, c *servers.Cluster, total int64) *shop {
	t.Helper()
	s := &shop{
		T: t, kind: string(c.Kind()), root: stores.Root(t, space), cluster: c, store: space.Open(t),
		binary: binary, keysFile: t.TempDir() + "/keys.json",
		http: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		mute: faults.NewNetwork(t, c.Endpoints()...),
	}
	s.makeKey()
	s.liftLimits()
	s.publish(total)
	s.nodes = []*node{s.newNode(s.mute.Addrs()), s.newNode(c.Endpoints()), s.newNode(c.Endpoints())}
	return s
}

func (s *shop) makeKey() {
	var err error
	s.key, err = identity.NewKey("HS256", "rush")
	require.NoError(s, err)
	text, err := identity.Set{s.key}.Encode()
	require.NoError(s, err)
	require.NoError(s, os.WriteFile(s.keysFile, text, 0o600))
}

// liftLimits has nodes take whatever comes: what is tried out here is the sale. The breaker
// goes by the latency that it has by default, and must not open, for nobody may be told
// "overloaded"; but not by the processors: crowd, nodes and stores have the same ones, and as busy as
// they are.
func (s *shop) liftLimits() {
	s.settings = s.TempDir() + "/settings.toml"
	require.NoError(s, os.WriteFile(s.settings, []byte(`
[config.circuitBreaker]
cpu = 100

[config.rateLimit]
middle = 1000000000
low = 1000000000

[config.rateLimit.perUser]
requests = 1000000000
seconds = 1
burst = 1000000000
`), 0o600))
}

func (s *shop) token(user string) (string, error) {
	return identity.Mint(s.key, identity.Claims{Subject: user, Expires: time.Now().Add(time.Hour)})
}

func (s *shop) publish(total int64) {
	now := time.Now().Truncate(time.Millisecond)
	e, err := event.Create(s.Context(), s.store, record.Event{
		Title: "A rush", SKU: "RUSH", Price: record.Price{Minor: 1999, Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(time.Hour)},
		Total:  total, PerUser: perUser, Slots: slots, PayWithin: 3600,
	})
	require.NoError(s, err)
	s.event, err = event.Publish(s.Context(), s.store, e.ID)
	require.NoError(s, err)
}

// A crowd is so many buyers, all different from those before, of whom so many come
// in a second.
func (s *shop) crowd(buyers int, rate float64, concurrency int) load.Config {
	cfg := load.Config{
		Event: s.event.ID.String(), Token: s.token,
		First: s.came, Buyers: buyers, PerUser: perUser, Doubles: 0.2, Greedy: 0.1,
		Rate: rate, Concurrency: concurrency, Patience: 4 * time.Second,
	}
	for _, n := range s.nodes {
		cfg.Nodes = append(cfg.Nodes, n.url())
	}
	return cfg
}

// serve lets a crowd buy until all are answered.
func (s *shop) serve(cfg load.Config) load.Result {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), drained(cfg))
	defer cancel()
	r, err := load.Run(ctx, cfg)
	require.NoError(s, err)
	s.came += cfg.Buyers
	s.told = append(s.told, r)
	return r
}

// drained bounds how long a crowd may take: ten minutes more than it needs to
// come.
func drained(cfg load.Config) time.Duration {
	coming := time.Duration(0)
	if cfg.Rate > 0 {
		coming = time.Duration(float64(cfg.Buyers) / cfg.Rate * float64(time.Second))
	}
	return coming + time.Duration(cfg.Buyers)*time.Millisecond + 10*time.Minute
}

// expected are the answers that there may be. Above all: nobody is told that there
// is no such event, or that something is broken.
var expected = []string{"created", "repeated", "sold_out", "limit_reached", "busy", "undecided", "unavailable", "timeout", "unreachable"}

// audit holds what buyers were told against the store, and against what the nodes
// tell now: all is sold, nothing twice, nothing to anybody who does not know.
func (s *shop) audit() {
	s.Helper()
	var acks []load.Ack
	units := int64(0)
	for _, r := range s.told {
		assert.Empty(s, firstFew(r.Violations), "what buyers were told does not fit together")
		assert.Zero(s, r.Unanswered, "requests without an answer")
		assert.Subset(s, expected, slices.Collect(maps.Keys(r.Answers)))
		acks = append(acks, r.Acks...)
		units += r.Units()
	}
	r := s.verify(acks)
	assert.Empty(s, firstFew(r.Violations))
	assert.Equal(s, s.event.Total, r.Held, "all is sold, and no more")
	assert.True(s, r.SoldOut)
	assert.Equal(s, r.Held, units, "units that buyers were told of")
	assert.Len(s, acks, r.Orders, "orders that buyers were told of")

	reading := time.Now()
	cfg := s.crowd(1, 0, 1000)
	violations, err := load.ReadBack(s.Context(), cfg, acks)
	require.NoError(s, err)
	assert.Empty(s, firstFew(violations), "orders do not read as they were acknowledged")
	s.say("%d units held in %d orders of %d buyers, %d batches; each order read at each of %d nodes in %v",
		r.Held, r.Orders, r.Buyers, r.Batches, len(cfg.Nodes), time.Since(reading).Round(100*time.Millisecond))
}

// verify has the program check the sale by what is in the store, as an operator
// does.
func (s *shop) verify(acks []load.Ack) (r verify.Report) {
	s.Helper()
	var file, log bytes.Buffer
	for _, a := range acks {
		fmt.Fprintln(&file, a.Order)
	}
	path := s.TempDir() + "/acknowledged"
	require.NoError(s, os.WriteFile(path, file.Bytes(), 0o600))
	check := exec.CommandContext(s.Context(), s.binary, append([]string{
		"verify", "--event=" + s.event.ID.String(), "--acks=" + path, "--output=json"}, s.storeFlags(s.cluster.Endpoints())...)...)
	check.Stderr = &log
	out, failed := check.Output()
	require.NoError(s, json.Unmarshal(out, &r), "%s", &log)
	assert.NoError(s, failed, "%s", &log)
	return r
}

func (s *shop) storeFlags(endpoints []string) []string {
	return []string{"--backend=" + s.kind, "--endpoints=" + strings.Join(endpoints, ","), "--root=" + s.root}
}

// firstFew is enough to see what is wrong.
func firstFew[T any](all []T) []T { return all[:min(len(all), 20)] }

// report prints figures.
func (s *shop) report(crowd string, r load.Result) {
	s.say("%-14s %7s %9s %9s %8s %8s %8s %8s %8s", "", "time", "decided", "a second", "p50", "p99", "longest", "orders", "units")
	s.say("%-14s %6.1fs %9d %9.0f %8v %8v %8v %8d %8d", crowd, r.Took.Seconds(), r.Decided, r.Throughput(),
		round(r.Percentile(50)), round(r.Percentile(99)), round(r.Percentile(100)), len(r.Acks), r.Units())
	s.say("%-14s %v", "", r.Answers)
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// say prints a line, also if the test succeeds and is run with -v.
func (s *shop) say(format string, args ...any) {
	fmt.Fprintf(s.Output(), "%-6s %s\n", s.kind, fmt.Sprintf(format, args...))
}
