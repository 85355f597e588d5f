package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd/embed"
	"github.com/seed27495941/seckill/conformance/faults"
	"github.com/seed27495941/seckill/conformance/servers"
)

func startEtcd(t *testing.T) *embed.Server {
	t.Helper()
	server, err := embed.Start(t.Context(), embed.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

// examined are the verdicts of a run of the doctor, as "check verdict".
func examined(t *testing.T, out string) (verdicts []string) {
	t.Helper()
	var found []backend.Finding
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&found), out)
	for _, f := range found {
		verdicts = append(verdicts, fmt.Sprintf("%s %s", f.Check, f.Verdict))
	}
	return verdicts
}

// What programs go by does not change.
func TestDoctorForPrograms(t *testing.T) {
	server := startEtcd(t)
	rights := []string{
		"reach ok", "right-lease ok", "right-put-with-lease ok", "right-put-if ok", "right-get ok", "right-watch ok", "right-delete ok",
		"round-trip ok", "lease-bounds ok", "foreign-keys ok",
	}
	out, stderr, code := doctorOn(t, server.Endpoint(), "--output=json")
	require.Zero(t, code, stderr)
	assert.Empty(t, stderr)
	assert.Equal(t, append([]string{
		"endpoints ok", "credentials ok", "version ok", "members ok", "leader ok", "alarms ok", "quota ok", "fragmentation ok", "compaction warn",
	}, rights...), examined(t, out))

	if testing.Short() {
		t.Skip("the rest needs a Consul server; run without -short")
	}
	consul := servers.Shared(t, servers.Consul)
	out, stderr, code = doctorOn(t, consul.Endpoints()[0], "--output=json", "--backend=consul", "--token=hunter2", "--root=doctor-test/")
	require.Zero(t, code, stderr)
	assert.NotContains(t, out, "hunter2")
	assert.Equal(t, append([]string{
		"endpoints ok", "credentials ok", "version ok", "members ok", "leader ok", "sessions ok", "connections ok",
	}, rights...), examined(t, out))
}

// doctorOn runs the doctor. No answer is too slow for it.
func doctorOn(t *testing.T, endpoint string, args ...string) (out, stderr string, code int) {
	t.Helper()
	c := newCommand(t, append([]string{"doctor", "--endpoints=" + endpoint}, args...)...)
	c.cmd.Env = append(c.cmd.Env, "SECKILL_NODE_TTL=1h")
	return c.run()
}

func TestDoctorForPeople(t *testing.T) {
	out, stderr, code := doctorOn(t, startEtcd(t).Endpoint())
	require.Zero(t, code, stderr)
	assert.Regexp(t, `(?m)^ok    credentials           no user is given, and none is asked for$`, out)
	assert.Regexp(t, `(?m)^warn  compaction            never happened: all revisions are kept, 1 so far\n`+
		` {28}Servers keep all history until they are full, unless each is started with\n`+
		` {32}--auto-compaction-mode=periodic --auto-compaction-retention=1h\n`, out)
	assert.Regexp(t, `\n\n\d+ ok, \d warn, 0 fail, 0 unknown\n$`, out)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	out, stderr, code = doctorOn(t, l.Addr().String())
	assert.Equal(t, exitFailure, code)
	assert.Equal(t, "seckill: 1 of 19 checks failed\n", stderr)
	assert.Contains(t, out, "\nunknown  right-get             not tried: no endpoint answers\n")
	assert.Contains(t, out, "\n                               Nothing listens there.")
}

func TestDoctorMistakes(t *testing.T) {
	for want, args := range map[string][]string{
		"the backend memory lives and ends with one process": {"--backend=memory"},
		"--output must be one of":                            {"--output=xml"},
		"expected host:port":                                 {"--endpoints=nowhere"},
	} {
		out, stderr, code := seckill(t, append([]string{"doctor"}, args...)...)
		assert.Equal(t, exitUsage, code, stderr)
		assert.Contains(t, stderr, want)
		assert.Empty(t, out)
	}
	help, _, code := seckill(t, "doctor", "--help")
	assert.Zero(t, code)
	assert.Contains(t, help, "Exit code: 0 if nothing fails")
}

// Ctrl-C ends it, with what there is.
func TestDoctorInterrupted(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	c := newCommand(t, "doctor", "--endpoints="+silent.Addr().String(), "--request-timeout=10m", "--output=json")
	require.NoError(t, c.cmd.Start())
	conn, err := silent.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGINT))
	out, stderr, code := c.end()
	assert.Equal(t, exitFailure, code)
	assert.Equal(t, "seckill: received the signal \"interrupt\"\n", stderr)
	assert.Len(t, examined(t, out), 19)
}

// Who kills it finds its key gone a little later.
func TestDoctorKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease to expire; run without -short")
	}
	server := startEtcd(t)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer client.Close()
	written := client.Watch(t.Context(), "/seckill/doctor/", clientv3.WithPrefix(), clientv3.WithFilterDelete())

	network := faults.NewNetwork(t, strings.TrimPrefix(server.Endpoint(), "http://"))
	require.NoError(t, network.Delay(t.Context(), 200*time.Millisecond))
	c := newCommand(t, "doctor", "--endpoints="+network.Addrs()[0])
	require.NoError(t, c.cmd.Start())
	event := <-written
	require.NoError(t, event.Err())
	require.NoError(t, c.cmd.Process.Kill())
	_, _, _ = c.end()
	keys := func() int64 {
		left, err := client.Get(t.Context(), "/seckill/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		return left.Count
	}
	require.NotZero(t, keys(), "it was killed while its key was there")
	leases, err := client.Leases(t.Context())
	require.NoError(t, err)
	for _, lease := range leases.Leases {
		ttl, err := client.TimeToLive(t.Context(), lease.ID)
		require.NoError(t, err)
		assert.LessOrEqual(t, ttl.GrantedTTL, int64(10))
	}
	require.Eventually(t, func() bool { return keys() == 0 }, time.Minute, 100*time.Millisecond)
}
