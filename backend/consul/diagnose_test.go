package consul_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/conformance/servers"
)

var diagnosed = []string{"endpoints", "credentials", "version", "members", "leader", "sessions", "connections"}

// A diagnosis is what a store found out, by check.
type diagnosis map[string]backend.Finding

func diagnose(t *testing.T, s *consul.Store) diagnosis {
	t.Helper()
	d := diagnosis{}
	var checks []string
	for _, f := range s.Diagnose(t.Context()) {
		d[f.Check] = f
		checks = append(checks, f.Check)
		assert.NotEmpty(t, f.Found, f.Check)
	}
	require.Equal(t, diagnosed, checks, "always the same checks in the same order")
	return d
}

// requireBut requires all verdicts to be ok but for some.
func (d diagnosis) requireBut(t *testing.T, others map[string]backend.Verdict) {
	t.Helper()
	for check, f := range d {
		want, ok := others[check]
		if !ok {
			want = backend.VerdictOK
		}
		assert.Equal(t, want, f.Verdict, "%s: %s", check, f.Found)
	}
}

// unlooked are the verdicts where nothing was looked at but some checks.
func unlooked(looked map[string]backend.Verdict) map[string]backend.Verdict {
	all := map[string]backend.Verdict{}
	for _, check := range diagnosed {
		all[check] = backend.VerdictUnknown
	}
	for check, v := range looked {
		all[check] = v
	}
	return all
}

// nowhere is an address at which nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func TestDiagnoseEndpoints(t *testing.T) {
	t.Parallel()
	srv := own(t, servers.Config{}) // the shared one takes more connections than the default
	live, dead := srv.Node(0).Endpoint(), nowhere(t)
	s := open(t, consul.Config{Endpoints: []string{live}})
	d := diagnose(t, s)
	d.requireBut(t, nil)
	assert.Equal(t, "Consul "+srv.Version(), d["version"].Found)
	assert.Contains(t, d["credentials"].Found, "ACLs are off")
	assert.Contains(t, d["sessions"].Found, "a TTL may be 1s to 24h0m0s; ")
	assert.Equal(t, "a client address may have 200; a process uses one for each prefix it watches and at most 184", d["connections"].Found)
	sessions, _, err := raw(t, srv).Session().List(nil)
	require.NoError(t, err)
	for _, session := range sessions {
		assert.NotEqual(t, "1000h0m0s", session.TTL)
	}

	d = diagnose(t, open(t, consul.Config{Endpoints: []string{dead, live}}))
	d.requireBut(t, map[string]backend.Verdict{"endpoints": backend.VerdictWarn})
	assert.Contains(t, d["endpoints"].Found, "1 of 2 answer: "+dead+": dial tcp "+dead+": connect: connection refused; "+live+" in ")

	d = diagnose(t, open(t, consul.Config{Endpoints: []string{dead}}))
	d.requireBut(t, unlooked(map[string]backend.Verdict{"endpoints": backend.VerdictFail}))

	stranger := own(t, servers.Config{}).Node(0).Endpoint()
	d = diagnose(t, open(t, consul.Config{Endpoints: []string{live, stranger}}))
	d.requireBut(t, map[string]backend.Verdict{"leader": backend.VerdictWarn})
	assert.Contains(t, d["leader"].Found, "2 servers are named: ")

	require.NoError(t, s.Close())
	d = diagnose(t, s)
	d.requireBut(t, unlooked(nil))
	assert.Contains(t, d["endpoints"].Found, "closed")
}

// A client of somebody else's is used as it is.
func TestDiagnoseThroughAClient(t *testing.T) {
	t.Parallel()
	s, err := consul.New(raw(t, shared(t)), consul.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	diagnose(t, s).requireBut(t, nil)
}

func TestDiagnoseAPausedServer(t *testing.T) {
	t.Parallel()
	srv := own(t, servers.Config{})
	s := open(t, consul.Config{Endpoints: srv.Endpoints(), RequestTimeout: 200 * time.Millisecond})
	require.NoError(t, srv.Node(0).Pause(t.Context()))
	d := diagnose(t, s)
	d.requireBut(t, unlooked(map[string]backend.Verdict{"endpoints": backend.VerdictFail}))
	assert.Contains(t, d["endpoints"].Found, "no answer within 200ms")
}

func TestDiagnoseTLS(t *testing.T) {
	t.Parallel()
	plain := shared(t).Node(0).Endpoint()
	ca := servers.NewAuthority(t)
	srv := own(t, ca.Secure(t, servers.Config{Kind: servers.Consul}))
	trusted := credential.TLS{CAFile: pemFile(t, ca.PEM)}
	misnamed := trusted
	misnamed.ServerName = "another.test"
	stranger := credential.TLS{CAFile: pemFile(t, servers.NewAuthority(t).PEM)}
	for _, test := range []struct {
		cfg  consul.Config
		want string
	}{
		{consul.Config{Endpoints: srv.Endpoints(), TLS: trusted}, "1 of 1 answer"},
		{consul.Config{Endpoints: srv.Endpoints(), TLS: stranger}, "certificate signed by unknown authority"},
		{consul.Config{Endpoints: srv.Endpoints(), TLS: misnamed}, "x509: certificate is valid for consul.test, not another.test"},
		{consul.Config{Endpoints: srv.Endpoints()}, "Client sent an HTTP request to an HTTPS server"},
		{consul.Config{Endpoints: []string{plain}, TLS: trusted}, "server gave HTTP response to HTTPS client"},
	} {
		f := diagnose(t, open(t, test.cfg))["endpoints"]
		assert.Contains(t, f.Found, test.want)
		assert.Equal(t, test.want == "1 of 1 answer", f.Verdict == backend.VerdictOK, f.Found)
	}
}

func pemFile(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(name, content, 0o600))
	return name
}

func TestDiagnoseCredentials(t *testing.T) {
	t.Parallel()
	c, admin := guarded(t, 1, "")
	as := func(token credential.Secret) *consul.Store {
		return open(t, consul.Config{Endpoints: c.Endpoints(), Token: token})
	}

	d := diagnose(t, as(management))
	d.requireBut(t, nil)
	assert.Contains(t, d["credentials"].Found, "policies global-management")
	assert.NotContains(t, fmt.Sprint(d), management)

	unknown := "3b8d2c1a-0000-0000-0000-000000000000"
	d = diagnose(t, as(credential.Secret(unknown)))
	d.requireBut(t, unlooked(map[string]backend.Verdict{"endpoints": backend.VerdictOK, "credentials": backend.VerdictFail}))
	assert.Contains(t, d["credentials"].Found, "ACL not found")
	assert.NotContains(t, fmt.Sprint(d), unknown)

	// Who may do what this program needs need not see the agent.
	secret, change := newToken(t, admin, `key_prefix "" { policy = "write" } session_prefix "" { policy = "write" }`)
	d = diagnose(t, as(secret))
	d.requireBut(t, map[string]backend.Verdict{"version": backend.VerdictUnknown, "connections": backend.VerdictUnknown})
	assert.Contains(t, d["version"].Remedy, "\n    agent_prefix \"\" { policy = \"read\" }")
	change(`agent_prefix "" { policy = "read" }`)
	diagnose(t, as(secret)).requireBut(t, map[string]backend.Verdict{"sessions": backend.VerdictUnknown})

	// Nobody in particular is not told what is kept from him.
	d = diagnose(t, as(""))
	assert.Equal(t, backend.VerdictWarn, d["credentials"].Verdict)
	assert.Contains(t, d["credentials"].Remedy, "enable_key_list_policy = true")

	ends := time.Now().Add(time.Hour)
	token, _, err := admin.ACL().TokenCreate(&api.ACLToken{ExpirationTime: &ends}, nil)
	require.NoError(t, err)
	f := diagnose(t, as(credential.Secret(token.SecretID)))["credentials"]
	assert.Equal(t, backend.VerdictWarn, f.Verdict, f.Found)
	assert.Contains(t, f.Remedy, "consul acl token clone -accessor-id "+token.AccessorID)
	_, command, _ := strings.Cut(f.Remedy, "\n")
	paste(t, command)
}

// paste does to a shell what an operator does who may do everything.
func paste(t *testing.T, command string) {
	t.Helper()
	binary, err := servers.Binary(t.Context(), "consul", t.Output())
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(dir, "consul")))
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
	shell.Env = append(os.Environ(), "PATH="+dir, "CONSUL_HTTP_TOKEN="+management)
	out, err := shell.CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, out)
}

// Without a token the agent's own may stand in.
func TestDiagnoseWithoutAToken(t *testing.T) {
	t.Parallel()
	lenient := own(t, servers.Config{Extra: []string{"-hcl", `acl { enabled = true default_policy = "allow" tokens { initial_management = "` + management + `" } }`}})
	d := diagnose(t, open(t, consul.Config{Endpoints: lenient.Endpoints()}))
	assert.Equal(t, backend.VerdictOK, d["credentials"].Verdict, d["credentials"].Found)

	c, admin := guarded(t, 1, "enable_key_list_policy = true")
	d = diagnose(t, open(t, consul.Config{Endpoints: c.Endpoints()}))
	assert.Equal(t, backend.VerdictOK, d["credentials"].Verdict)
	assert.Contains(t, d["credentials"].Found, "refused openly")

	_, err := admin.Agent().UpdateDefaultACLToken(management, nil)
	require.NoError(t, err)
	d = diagnose(t, open(t, consul.Config{Endpoints: c.Endpoints()}))
	d.requireBut(t, nil)
	assert.Contains(t, d["credentials"].Found, "the agent uses its default token")
}

func TestDiagnoseConnections(t *testing.T) {
	t.Parallel()
	srv := own(t, servers.Config{Extra: []string{"-hcl", `limits { http_max_conns_per_client = 100 }`}})
	d := diagnose(t, open(t, consul.Config{Endpoints: srv.Endpoints()}))
	d.requireBut(t, map[string]backend.Verdict{"connections": backend.VerdictWarn})
	assert.Contains(t, d["connections"].Remedy, "\n    limits { http_max_conns_per_client = 184 }")
}

func TestDiagnoseThreeServers(t *testing.T) {
	t.Parallel()
	if !everything() {
		t.Skip("needs three nodes; run with SECKILL_TEST_FULL=1")
	}
	srv := own(t, servers.Config{Nodes: 3})
	s := open(t, consul.Config{Endpoints: srv.Endpoints()})
	d := diagnose(t, s)
	d.requireBut(t, nil)
	assert.Equal(t, "servers: 3, may fail: 1", d["members"].Found)

	require.NoError(t, srv.Node(1).Kill(t.Context()))
	require.NoError(t, srv.WaitReady(t.Context()))
	d = diagnose(t, s)
	d.requireBut(t, map[string]backend.Verdict{"endpoints": backend.VerdictWarn})
	assert.Contains(t, d["endpoints"].Found, "2 of 3 answer: "+srv.Node(1).Endpoint()+": ")

	require.NoError(t, srv.Node(2).Kill(t.Context()))
	eventually(t, "the leader steps down", func() bool {
		d = diagnose(t, s)
		return d["leader"].Verdict == backend.VerdictFail
	})
	assert.Equal(t, "no endpoint knows one", d["leader"].Found)
}
