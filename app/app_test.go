package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"seller": seller}) }

// A running process, with all services, on a store that can be cut off.
type running struct {
	*testing.T
	client http.Client
	store  *memory.Store
	at     app.Addresses
	token  string        // of an operator
	in     backend.Store // that it is in
	stop   func()        // ends it before the test does
}

func options(t *testing.T, store *memory.Store) app.Options {
	t.Helper()
	s, err := settings.Load(settings.Sources{})
	require.NoError(t, err)
	s.Backend = settings.Memory
	s.Identity.KeysFile = keysFile(t)
	s.Config.RateLimit.PerUser = settings.UserRate{Requests: 1e6, Seconds: 1, Burst: 1e6}
	s.Config.CircuitBreaker = settings.CircuitBreaker{CPU: 100, Latency: 3_600_000} // the machine may be as busy as it is
	s.API.Bind, s.Admin.Bind, s.Ops.Bind, s.RPC.Bind = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return app.Options{
		Settings: s, Store: store, Version: "v1", API: true, Admin: true,
		Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar), FirstPassword: func(_, _ string) {},
	}
}

// keysFile has a key that buyers' tokens are signed with.
func keysFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	key, err := identity.NewKey(identity.EdDSA, "")
	require.NoError(t, err)
	require.NoError(t, identity.ChangeFile(file, func(identity.Set) (identity.Set, error) { return identity.Set{key}, nil }))
	return file
}

func start(t *testing.T) *running {
	t.Helper()
	return startWith(t, func(*app.Options) {})
}

func startWith(t *testing.T, change func(o *app.Options)) *running {
	t.Helper()
	r := &running{T: t, store: memory.New(), client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	t.Cleanup(func() { require.NoError(t, r.store.Close()) })
	o := options(t, r.store)
	ready := make(chan app.Addresses, 1)
	o.Ready = func(at app.Addresses) { ready <- at }
	change(&o)
	r.in = o.Store

	abort := context.WithoutCancel(t.Context()) // that one ends before the test's cleanup
	ctx, cancel := context.WithCancel(abort)
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, abort, o) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(r.stop)
	r.at = <-ready
	if r.at.Admin != nil {
		r.letIn()
	}
	return r
}

// letIn makes a token for the test, once there is an operator.
func (r *running) letIn() {
	r.Helper()
	accounts := access.NewAccounts(r.in, password.New(password.Recommended()))
	require.Eventually(r, func() bool {
		var err error
		r.token, _, err = accounts.CreateToken(r.Context(), "admin", "tests", access.Admin, time.Time{})
		return err == nil
	}, time.Minute, time.Millisecond)
}

// An answer is what a service said.
type answer struct {
	status int
	kind   string
	body   string
}

func (r *running) do(method string, at net.Addr, path string) answer {
	r.Helper()
	return r.send(method, at, path, "")
}

// send is do with a body, of JSON.
func (r *running) send(method string, at net.Addr, path, body string) answer {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, "http://"+at.String()+path, strings.NewReader(body))
	require.NoError(r, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if at == r.at.Admin {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := r.client.Do(req)
	require.NoError(r, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r, err)
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(text)}
}

func (r *running) get(at net.Addr, path string) string {
	r.Helper()
	a := r.do(http.MethodGet, at, path)
	require.Equal(r, http.StatusOK, a.status, a.body)
	return a.body
}

func (r *running) status() (s node.Status) {
	r.Helper()
	require.NoError(r, json.Unmarshal([]byte(r.get(r.at.Ops, "/status")), &s))
	return s
}

func (r *running) publish(text string) {
	r.Helper()
	before := r.status().Config
	_, err := r.store.Put(r.Context(), settings.ConfigKey, []byte(text))
	require.NoError(r, err)
	require.Eventually(r, func() bool {
		now := r.status().Config
		return now.Applied+now.Refused > before.Applied+before.Refused
	}, time.Minute, time.Millisecond)
}

type configPage struct {
	Published struct {
		Exists bool
		Value  string
		Hash   string
		Error  string
	}
	Here  node.ConfigStatus
	Nodes []struct {
		ID          string
		InForceHash string
		Same        bool
	}
}

func (r *running) config() (c configPage) {
	r.Helper()
	require.NoError(r, json.Unmarshal([]byte(r.get(r.at.Admin, "/v1/config")), &c))
	return c
}

func TestEveryServiceAnswers(t *testing.T) {
	r := start(t)
	for _, at := range []net.Addr{r.at.API, r.at.Admin} {
		assert.Equal(t, "ok\n", r.get(at, "/livez"))
		assert.Equal(t, "ready\n", r.get(at, "/readyz"))
		assert.Contains(t, r.get(at, "/openapi.json"), `"openapi":"3.1.0"`)
	}
	assert.Contains(t, r.get(r.at.Admin, "/openapi.json"), `"/v1/nodes"`)
	assert.Contains(t, r.get(r.at.Ops, "/debug/pprof/"), "goroutine")
	assert.Contains(t, r.get(r.at.Ops, "/metrics"), "\nseckill_registered 1\n")

	var clock struct{ Now time.Time }
	require.NoError(t, json.Unmarshal([]byte(r.get(r.at.API, "/v1/time")), &clock))
	assert.WithinDuration(t, time.Now(), clock.Now, time.Minute)
}

func TestRefusalsAreProblems(t *testing.T) {
	r := start(t)
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/v1/nothing", http.StatusNotFound},
		{http.MethodPost, "/v1/nodes", http.StatusMethodNotAllowed},
	} {
		a := r.do(test.method, r.at.Admin, test.path)
		assert.Equal(t, test.status, a.status)
		assert.Equal(t, "application/problem+json", a.kind)
		assert.Contains(t, a.body, http.StatusText(test.status))
	}
}

func TestInternalsAreNotOnTheBuyersPort(t *testing.T) {
	r := start(t)
	for _, path := range []string{"/v1/nodes", "/v1/config", "/status", "/metrics", "/debug/pprof/"} {
		assert.Equal(t, http.StatusNotFound, r.do(http.MethodGet, r.at.API, path).status, path)
	}
	document := r.get(r.at.API, "/openapi.json")
	assert.NotContains(t, document, "nodes")
	assert.NotContains(t, document, "config")
}

// A password may be among the arguments.
func TestNoPageShowsTheCommandLine(t *testing.T) {
	r := start(t)
	assert.Equal(t, http.StatusNotFound, r.do(http.MethodGet, r.at.Ops, "/debug/pprof/cmdline").status)
}

func TestOperatorsSeeNodesAndWhatIsNone(t *testing.T) {
	r := start(t)
	_, err := r.store.Put(t.Context(), "nodes/junk", []byte("null"))
	require.NoError(t, err)
	var page struct {
		Nodes []struct {
			ID, Addr, Proto, Version, Incarnation, Config string
		}
		Problems         []struct{ Key, Error string }
		Synced           bool
		StalenessSeconds float64
	}
	require.Eventually(t, func() bool {
		require.NoError(t, json.Unmarshal([]byte(r.get(r.at.Admin, "/v1/nodes")), &page))
		return len(page.Problems) == 1
	}, time.Minute, time.Millisecond)
	require.Len(t, page.Nodes, 1)
	self := page.Nodes[0]
	assert.Equal(t, strings.NewReplacer(".", "-", ":", "-").Replace(r.at.API.String()), self.ID)
	assert.Equal(t, r.at.API.String(), self.Addr)
	assert.Equal(t, "v1", self.Version)
	assert.NotEmpty(t, self.Incarnation)
	assert.Equal(t, "nodes/junk", page.Problems[0].Key)
	assert.True(t, page.Synced)
}

func TestOperatorsSeeTheConfig(t *testing.T) {
	r := start(t)
	c := r.config()
	assert.False(t, c.Published.Exists)
	assert.Equal(t, "defaults", string(c.Here.Source))

	r.publish(`{"logLevel":"warn"}`)
	require.Eventually(t, func() bool { // the node's own listing follows
		c = r.config()
		return len(c.Nodes) == 1 && c.Nodes[0].Same
	}, time.Minute, time.Millisecond)
	assert.JSONEq(t, `{"logLevel":"warn"}`, c.Published.Value)
	assert.Equal(t, c.Here.Hash, c.Published.Hash)
	assert.Equal(t, "warn", c.Here.InForce.LogLevel)
}

func TestARefusedConfigShowsEverywhere(t *testing.T) {
	r := start(t)
	r.publish(`{"logLevel":"warn"}`)
	r.publish(`{"logLevel":"loud"}`)

	refusal := r.status().Config.Refusal
	require.NotNil(t, refusal)
	assert.Contains(t, refusal.Error, `logLevel: expected one of debug, info, warn, error, got "loud"`)
	metrics := r.get(r.at.Ops, "/metrics")
	assert.Contains(t, metrics, "\nseckill_config_refused 1\n")
	assert.Contains(t, metrics, "\nseckill_config_refusals_total 1\n")
	c := r.config()
	assert.JSONEq(t, `{"logLevel":"loud"}`, c.Published.Value)
	assert.Equal(t, refusal.Error, c.Here.Refusal.Error)
	assert.Equal(t, c.Published.Hash, c.Here.Refusal.Hash)
	assert.Equal(t, "warn", c.Here.InForce.LogLevel)
}

func TestPagesAnswerWithoutTheStore(t *testing.T) {
	r := start(t)
	r.store.Cut()
	defer r.store.Mend() // or deregistering takes its time
	assert.Contains(t, r.get(r.at.Admin, "/v1/nodes"), `"synced":true`)
	c := r.config()
	assert.NotEmpty(t, c.Published.Error)
	assert.Equal(t, "info", c.Here.InForce.LogLevel)
	assert.Equal(t, "ready\n", r.get(r.at.API, "/readyz"))
	assert.False(t, r.status().Store.Reachable)
	assert.Contains(t, r.get(r.at.Ops, "/metrics"), "\nseckill_store_reachable 0\n")
}

func TestNothingStartsHalf(t *testing.T) {
	store := memory.New()
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()

	o := options(t, store)
	o.Settings.Ops.Bind = taken.Addr().String()
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o),
		"ops: "+taken.Addr().String()+" is in use already, choose another address with --ops-bind")

	o = options(t, store)
	o.Settings.API.Bind = "0.0.0.0:0"
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o), "say with --advertise where they reach this one")

	o = options(t, store)
	o.Settings.API.Advertise = "10.10.11.12:8080"
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o),
		"buyers reach this node at 10.10.11.12:8080, but nodes on other machines can't reach it at 127.0.0.1:")

	o = options(t, store)
	o.Settings.Identity.KeysFile = ""
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o), "say where with --identity-keys-file")
	o.Settings.Identity.KeysFile = "nowhere.json"
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o), "identity.keys_file: buyers' keys: open nowhere.json")
	o = options(t, store)
	o.Settings.Payment.SecretFile = "nowhere"
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o), "payment.secret_file: payment secrets: open nowhere")

	o = options(t, store)
	o.Settings.RPC.TLS.CAFile = "ca.pem"
	require.ErrorContains(t, app.Run(t.Context(), t.Context(), o), "rpc: TLS: ")
}

func TestNodesTellEachOtherWhereTheyAre(t *testing.T) {
	r := start(t)
	var page struct {
		Nodes []struct{ RPC, Incarnation string }
	}
	require.NoError(t, json.Unmarshal([]byte(r.get(r.at.Admin, "/v1/nodes")), &page))
	require.Len(t, page.Nodes, 1)
	assert.Equal(t, r.at.RPC.String(), page.Nodes[0].RPC)
}
