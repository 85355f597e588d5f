package servers

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Settings that make no sense are refused with what would make sense.
func TestSettingsRefused(t *testing.T) {
	for _, c := range []struct {
		name, way, etcd string
		cfg             Config
		want            []string
	}{
		{"unknown way", "podman", "", Config{Kind: Etcd}, []string{"SECKILL_TEST_SERVERS=podman", "address", "docker", "process"}},
		{"unknown kind", "", "", Config{Kind: "zookeeper"}, []string{"zookeeper", `"etcd" or "consul"`}},
		{"negative nodes", "", "", Config{Kind: Etcd, Nodes: -1}, []string{"-1 nodes"}},
		{"no address", "address", "", Config{Kind: Etcd}, []string{"SECKILL_TEST_ETCD is not set"}},
		{"no port", "", "localhost", Config{Kind: Etcd}, []string{"SECKILL_TEST_ETCD=localhost", "host:port"}},
		{"https", "", "https://localhost:1", Config{Kind: Etcd}, []string{"host:port"}},
		{"path", "", "http://localhost:1/v1", Config{Kind: Etcd}, []string{"host:port"}},
		{"address for several nodes", "address", "localhost:1", Config{Kind: Etcd, Nodes: 3}, []string{"several nodes"}},
		{"address for special settings", "address", "localhost:1", Config{Kind: Etcd, Extra: []string{"--quota-backend-bytes=1"}}, []string{"special settings"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SECKILL_TEST_SERVERS", c.way)
			t.Setenv("SECKILL_TEST_ETCD", c.etcd)
			_, err := Start(t.Context(), c.cfg)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// A server given by address is used as it is and can't be harmed.
func TestAddress(t *testing.T) {
	needServers(t)
	for _, kind := range []Kind{Etcd, Consul} {
		t.Run(string(kind), func(t *testing.T) {
			given := begin(t, byProcess, Config{Kind: kind})
			t.Setenv("SECKILL_TEST_SERVERS", "")
			t.Setenv(addressEnv(kind), "http://"+given.Endpoints()[0])
			c := ForTest(t, Config{Kind: kind})
			require.Equal(t, "address", c.Source())
			require.Equal(t, given.Endpoints(), c.Endpoints())
			require.Equal(t, given.Version(), c.Version())
			n := c.Node(0)
			require.NoError(t, put(t.Context(), n, "key", "value"))
			for _, fault := range []func(context.Context) error{n.Kill, n.Terminate, n.Start, n.Pause, n.Resume} {
				require.ErrorIs(t, fault(t.Context()), ErrNotControllable)
			}
			require.NoError(t, c.WaitReady(t.Context()))
			require.NoError(t, c.Close())
			requireValue(t, given.Node(0), "key", "value")
		})
	}
}

// An address where nobody answers is an error, not a reason to test something else.
func TestDeadAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("SECKILL_TEST_SERVERS", "")
	t.Setenv("SECKILL_TEST_CONSUL", l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Start(ctx, Config{Kind: Consul})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "SECKILL_TEST_CONSUL="+l.Addr().String())
}

// A server that refuses its settings is reported with what it said, at once and wherever it runs.
func TestServerRefusesSettings(t *testing.T) {
	everywhere(t, func(t *testing.T, way string, kind Kind) {
		_, err := start(testContext(t), way, Config{Kind: kind, Extra: []string{"-no-such-flag"}})
		require.ErrorIs(t, err, errExited)
		require.ErrorContains(t, err, "no-such-flag")
	})
}

// Files and TLS reach the server, in a container as well.
func TestTLS(t *testing.T) {
	authority := NewAuthority(t)
	everywhere(t, func(t *testing.T, way string, kind Kind) {
		c := begin(t, way, authority.Secure(t, Config{Kind: kind}))
		n := c.Node(0)
		require.True(t, strings.HasPrefix(n.URL(), "https://"))
		require.NoError(t, put(t.Context(), n, "key", "value"))
		plain := n.api()
		plain.url = "http://" + n.Endpoint()
		require.Error(t, plain.call(t.Context(), "GET", "/metrics", nil, nil), "plain HTTP was served")
	})
}

// A Consul with ACLs is ready when its token works.
func TestToken(t *testing.T) {
	needServers(t)
	t.Parallel()
	const token = "7e0c6c0e-26b1-4a0a-9a3c-0f6b6d0a1c55"
	c := begin(t, byProcess, Config{
		Kind: Consul,
		Extra: []string{"-hcl", `acl { enabled = true default_policy = "deny"
			tokens { initial_management = "` + token + `" agent = "` + token + `" } }`},
		Token: token,
	})
	require.NoError(t, put(t.Context(), c.Node(0), "key", "value"))
	stranger := c.Node(0).api()
	stranger.token = ""
	require.ErrorContains(t, stranger.call(t.Context(), "PUT", "/v1/kv/key", "", nil), "Permission denied")
}

// The shortest session is what the test says, and 1s by default.
func TestSessionTTLMin(t *testing.T) {
	needServers(t)
	for want, cfg := range map[string]Config{
		"1s":  {Kind: Consul},
		"10s": {Kind: Consul, SessionTTLMin: 10 * time.Second},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			n := begin(t, byProcess, cfg).Node(0)
			err := n.api().call(t.Context(), "PUT", "/v1/session/create", map[string]string{"TTL": "2s"}, nil)
			if want == "1s" {
				require.NoError(t, err, "a ready Consul takes sessions")
			} else {
				require.ErrorContains(t, err, "TTL")
			}
		})
	}
}

// An etcd that is full and asks for passwords is as ready as any.
func TestFullAndAuthenticated(t *testing.T) {
	needServers(t)
	t.Parallel()
	n := begin(t, byProcess, Config{Kind: Etcd, Extra: []string{"--quota-backend-bytes=1000000"}}).Node(0)
	var err error
	for i := 0; err == nil; i++ {
		err = put(t.Context(), n, "key", strings.Repeat("x", 100_000))
	}
	require.ErrorContains(t, err, "space exceeded")
	for _, step := range []struct {
		path string
		body map[string]string
	}{
		{"/v3/auth/user/add", map[string]string{"name": "root", "password": "secret"}},
		{"/v3/auth/user/grant", map[string]string{"user": "root", "role": "root"}},
		{"/v3/auth/enable", map[string]string{}},
	} {
		require.NoError(t, n.api().call(t.Context(), "POST", step.path, step.body, nil))
	}
	require.NoError(t, n.Kill(t.Context()))
	require.NoError(t, n.Start(t.Context()))
	_, err = get(t.Context(), n, "key")
	require.ErrorContains(t, err, "user name is empty")
}
