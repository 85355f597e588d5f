package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/seed27495941/seckill/app/doctor"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := errors.Join(servers.CloseShared(), goleak.Find()); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// watchdog is how long something may take that should be over soon. It is no measure, only an end.
const watchdog = time.Minute

// server is one of the test's own.
func server(t *testing.T, cfg servers.Config) *servers.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a server; run without -short")
	}
	return servers.ForTest(t, cfg)
}

// on are the settings for a cluster. Its nodes' leases are so long that no answer is too slow for them.
func on(c *servers.Cluster) settings.Settings {
	set := settings.Defaults()
	set.Backend = string(c.Kind())
	set.Store.Endpoints = c.Endpoints()
	set.Store.Root = "shop/"
	set.Node.TTL = time.Hour
	return set
}

// A driver's store, opened as the program would.
type driver interface {
	backend.Store
	backend.Diagnoser
	Close() error
}

func open(t *testing.T, set settings.Settings) driver {
	t.Helper()
	var s driver
	var err error
	if set.Backend == settings.Etcd {
		s, err = etcd.Open(etcd.Config{
			Endpoints: set.Store.Endpoints, Root: set.Store.Root, RequestTimeout: set.Store.RequestTimeout,
			User: set.Store.User, Password: set.Store.Password,
		})
	} else {
		s, err = consul.Open(consul.Config{
			Endpoints: set.Store.Endpoints, Root: set.Store.Root, RequestTimeout: set.Store.RequestTimeout, Token: set.Store.Token,
		})
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// examine runs the doctor, and checks what holds for every run.
func examine(t *testing.T, s backend.Store, set settings.Settings) findings {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), watchdog)
	defer cancel()
	return examineUntil(ctx, t, s, set)
}

func examineUntil(ctx context.Context, t *testing.T, s backend.Store, set settings.Settings) findings {
	t.Helper()
	found := findings{}
	var checks []string
	for _, f := range doctor.Run(ctx, s, set) {
		assert.NotEmpty(t, f.Found, f.Check)
		found[f.Check] = f
		checks = append(checks, f.Check)
	}
	want := generic
	if _, ok := s.(backend.Diagnoser); ok {
		want = slices.Concat(drivers[set.Backend], generic)
	}
	require.Equal(t, want, checks, "always the same checks in the same order")
	return found
}

// The names of the checks are what programs go by: they don't change.
var (
	drivers = map[string][]string{
		settings.Etcd:   {"endpoints", "credentials", "version", "members", "leader", "alarms", "quota", "fragmentation", "compaction"},
		settings.Consul: {"endpoints", "credentials", "version", "members", "leader", "sessions", "connections"},
	}
	generic = []string{
		"reach", "right-lease", "right-put-with-lease", "right-put-if", "right-get", "right-watch", "right-delete",
		"round-trip", "lease-bounds", "foreign-keys",
	}
)

// findings are by check.
type findings map[string]backend.Finding

type verdicts map[string]backend.Verdict

const (
	ok      = backend.VerdictOK
	warn    = backend.VerdictWarn
	fail    = backend.VerdictFail
	unknown = backend.VerdictUnknown
)

// require requires the verdicts, and ok of all checks that are not named.
func (f findings) require(t *testing.T, want verdicts) {
	t.Helper()
	for check, finding := range f {
		v := ok
		if w, named := want[check]; named {
			v = w
		}
		assert.Equal(t, v, finding.Verdict, "%s: %s", check, finding.Found)
	}
}

// all gives one verdict to some checks.
func all(v backend.Verdict, checks ...string) verdicts {
	vs := verdicts{}
	for _, c := range checks {
		vs[c] = v
	}
	return vs
}

func (v verdicts) and(more verdicts) verdicts {
	sum := maps.Clone(v)
	maps.Copy(sum, more)
	return sum
}

func rawEtcd(t *testing.T, c *servers.Cluster, user string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Username: user, Password: user, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func rawConsul(t *testing.T, c *servers.Cluster, token string) *api.Client {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: c.Node(0).URL(), Token: token})
	require.NoError(t, err)
	return client
}

// onNothing are settings for a store that has no servers.
func onNothing() settings.Settings {
	set := settings.Defaults()
	set.Backend = settings.Memory
	set.Node.TTL = time.Hour
	return set
}
