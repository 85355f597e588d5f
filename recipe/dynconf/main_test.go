package dynconf_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

const key = "config"

// limits is what the tests configure: the course's cluster config.
type limits struct {
	LogLevel  string `json:"logLevel"`
	RateLimit struct {
		Middle int `json:"middle"`
		Low    int `json:"low"`
	} `json:"rateLimit"`
	CircuitBreaker struct {
		CPU     int `json:"cpu"`
		Latency int `json:"latency"`
	} `json:"circuitBreaker"`
}

func (l limits) validate() error {
	if l.RateLimit.Low > l.RateLimit.Middle {
		return errors.New("rateLimit.low: expected at most rateLimit.middle")
	}
	return nil
}

const (
	good  = `{"logLevel":"info","rateLimit":{"middle":100000,"low":10000},"circuitBreaker":{"cpu":80,"latency":1000}}`
	other = `{"logLevel":"debug","rateLimit":{"middle":2,"low":1}}`
)

func level(name string) limits { return limits{LogLevel: name} }

// prepare makes a configuration whose defaults have the level "default".
func prepare(t *testing.T, s backend.Store) (*dynconf.Config[limits], *changes) {
	t.Helper()
	c, err := dynconf.New(s, key, dynconf.Options[limits]{Defaults: level("default"), Validate: limits.validate})
	require.NoError(t, err)
	seen := &changes{}
	c.Subscribe(seen.add)
	return c, seen
}

// follow makes one and runs it.
func follow(t *testing.T, s backend.Store) (*dynconf.Config[limits], *changes) {
	t.Helper()
	c, seen := prepare(t, s)
	stores.Start(t, c.Run)
	return c, seen
}

// changes is what a subscriber was told: the levels, old and new.
type changes struct {
	mu  sync.Mutex
	all []string
}

func (c *changes) add(before, after limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, before.LogLevel+" → "+after.LogLevel)
}

func (c *changes) get() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.all...)
}

func awaitLevel(t *testing.T, c *dynconf.Config[limits], want string) {
	t.Helper()
	stores.Wait(t, "level "+want, func() bool { return c.Load().LogLevel == want })
}
