package etcd_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/conformance/servers"
)

var diagnosed = []string{"endpoints", "credentials", "version", "members", "leader", "alarms", "quota", "fragmentation", "compaction"}

// A diagnosis is what a store found out, by check.
type diagnosis map[string]backend.Finding

func diagnose(t *testing.T, s *etcd.Store) diagnosis {
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

func TestSpaceIsUnknownWhereNothingAnswers(t *testing.T) {
	cfg := on(nowhere(t))
	cfg.RequestTimeout = 100 * time.Millisecond
	s := open(t, cfg)
	_, err := s.Space(t.Context())
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorContains(t, err, "connection refused")
	require.NoError(t, s.Close())
	_, err = s.Space(t.Context())
	require.ErrorIs(t, err, backend.ErrClosed)
}

// nowhere is an address at which nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func TestDiagnoseHistoryAndEndpoints(t *testing.T) {
	srv := server(t, servers.Config{Kind: servers.Etcd})
	live, dead := srv.Node(0).Endpoint(), nowhere(t)
	s := open(t, on(live))
	for range 4 {
		put(t, s, "k", "v")
	}
	d := diagnose(t, s)
	d.requireBut(t, map[string]backend.Verdict{"compaction": backend.VerdictWarn})
	assert.Equal(t, "never happened: all revisions are kept, 5 so far", d["compaction"].Found)
	assert.Contains(t, d["compaction"].Remedy, "\n    --auto-compaction-mode=periodic --auto-compaction-retention=1h\n")
	assert.Contains(t, d["compaction"].Remedy, "\n    etcdctl --endpoints="+live+" compaction 5")
	assert.Equal(t, "etcd "+srv.Version(), d["version"].Found)

	_, err := rawOn(t, live).Compact(t.Context(), 3)
	require.NoError(t, err)
	d = diagnose(t, s)
	d.requireBut(t, nil)
	assert.Equal(t, "3 of 5 revisions are kept", d["compaction"].Found)

	d = diagnose(t, open(t, on(live, dead)))
	d.requireBut(t, map[string]backend.Verdict{"endpoints": backend.VerdictWarn})
	assert.Contains(t, d["endpoints"].Found, "1 of 2 answer: "+dead+": dial tcp "+dead+": connect: connection refused; "+live+" in ")

	_, err = rawOn(t, live).MemberAddAsLearner(t.Context(), []string{"http://" + dead})
	require.NoError(t, err)
	d = diagnose(t, open(t, on(dead, live)))
	d.requireBut(t, map[string]backend.Verdict{"endpoints": backend.VerdictWarn, "members": backend.VerdictWarn})
	assert.Contains(t, d["members"].Found, "voting: 1, may fail: 0;")
	assert.Regexp(t, "etcdctl --endpoints="+live+" member promote [0-9a-f]+$", d["members"].Remedy, "the tool is sent to who answers")

	d = diagnose(t, open(t, on(dead)))
	d.requireBut(t, unlooked(map[string]backend.Verdict{"endpoints": backend.VerdictFail}))

	require.NoError(t, s.Close())
	d = diagnose(t, s)
	d.requireBut(t, unlooked(nil))
	assert.Contains(t, d["endpoints"].Found, "closed")
}

func TestDiagnoseAPausedServer(t *testing.T) {
	srv := server(t, servers.Config{Kind: servers.Etcd})
	cfg := on(srv.Endpoints()...)
	cfg.RequestTimeout = 200 * time.Millisecond
	s := open(t, cfg)
	require.NoError(t, srv.Node(0).Pause(t.Context()))
	d := diagnose(t, s)
	d.requireBut(t, unlooked(map[string]backend.Verdict{"endpoints": backend.VerdictFail}))
	assert.Contains(t, d["endpoints"].Found, "no answer within 200ms")
}

func TestDiagnoseTLS(t *testing.T) {
	ca := servers.NewAuthority(t)
	srv := server(t, ca.Secure(t, servers.Config{Kind: servers.Etcd}))
	plain := serve(t)
	trusted := credential.TLS{CAFile: file(t, "ca.pem", ca.PEM)}
	misnamed := trusted
	misnamed.ServerName = "another.test"
	stranger := credential.TLS{CAFile: file(t, "ca.pem", servers.NewAuthority(t).PEM)}
	for _, test := range []struct {
		cfg  etcd.Config
		want string
	}{
		{etcd.Config{Endpoints: []string{srv.Node(0).URL()}, TLS: trusted}, "1 of 1 answer"},
		{etcd.Config{Endpoints: []string{srv.Node(0).URL()}, TLS: stranger}, "certificate signed by unknown authority"},
		{etcd.Config{Endpoints: []string{srv.Node(0).URL()}, TLS: misnamed}, "x509: certificate is valid for etcd.test, not another.test"},
		{etcd.Config{Endpoints: []string{srv.Node(0).Endpoint()}}, "error reading server preface"},
		{etcd.Config{Endpoints: []string{strings.Replace(plain.Endpoint(), "http:", "https:", 1)}, TLS: trusted}, "authentication handshake failed"},
	} {
		f := diagnose(t, open(t, test.cfg))["endpoints"]
		assert.Contains(t, f.Found, test.want)
		assert.Equal(t, test.want == "1 of 1 answer", f.Verdict == backend.VerdictOK, f.Found)
	}

	t.Log("a remedy can be pasted there too")
	s := open(t, etcd.Config{Endpoints: srv.Endpoints(), TLS: trusted})
	put(t, s, "k", "v")
	commands := commandsIn(diagnose(t, s)["compaction"].Remedy)
	require.Len(t, commands, 1)
	paste(t, commands[0])
}

func TestDiagnoseCredentials(t *testing.T) {
	endpoint := withUsers(t)
	d := diagnose(t, open(t, as(endpoint, "shop", "first")))
	assert.Equal(t, "the user shop is given, but authentication is off", d["credentials"].Found)

	root := secure(t, endpoint)
	for range 2 {
		_, err := root.Put(t.Context(), "/k", "v")
		require.NoError(t, err)
	}
	refused := unlooked(map[string]backend.Verdict{"endpoints": backend.VerdictOK, "credentials": backend.VerdictFail})
	for want, cfg := range map[string]etcd.Config{
		"authentication is on, and no user is given":      on(endpoint),
		"authentication failed, invalid user ID or passw": as(endpoint, "shop", "hunter2"),
		"authentication failed, invalid user":             as(endpoint, "stranger", "hunter2"),
	} {
		d := diagnose(t, open(t, cfg))
		d.requireBut(t, refused)
		assert.Contains(t, d["credentials"].Found, want)
		assert.NotContains(t, fmt.Sprint(d), "hunter2")
	}

	cfg := as(endpoint, "shop", "first")
	d = diagnose(t, open(t, cfg))
	d.requireBut(t, map[string]backend.Verdict{"compaction": backend.VerdictUnknown}) // the root is not the user's
	assert.Equal(t, "logged in as shop", d["credentials"].Found)
	cfg.Root = "shop/"
	d = diagnose(t, open(t, cfg))
	d.requireBut(t, map[string]backend.Verdict{"compaction": backend.VerdictWarn})
	assert.Contains(t, d["compaction"].Remedy, " --user=root compaction ")
}

func TestDiagnoseSpace(t *testing.T) {
	srv := server(t, servers.Config{Kind: servers.Etcd, Extra: []string{"--quota-backend-bytes=4194304"}})
	s := open(t, on(srv.Endpoints()...))
	value := bytes.Repeat([]byte("v"), 128<<10)
	for range 27 {
		_, err := s.Put(t.Context(), "fill", value)
		require.NoError(t, err)
	}
	var d diagnosis
	require.Eventually(t, func() bool { // the size grows when it is written out
		d = diagnose(t, s)
		return d["quota"].Verdict == backend.VerdictWarn
	}, patience, 10*time.Millisecond)
	assert.Regexp(t, `^\d\.\d MiB of 4\.0 MiB \(([89]|1\d)\d%\)$`, d["quota"].Found)
	assert.Contains(t, d["quota"].Remedy, " defrag --cluster\n")
	space, err := s.Space(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 4<<20, space.Quota)
	assert.Greater(t, space.Used, int64(27*128<<10))
	assert.LessOrEqual(t, space.InUse, space.Used)

	var full error
	for full == nil {
		_, full = s.Put(t.Context(), "fill", value)
	}
	require.ErrorIs(t, full, backend.ErrFull)
	d = diagnose(t, s)
	space, err = s.Space(t.Context())
	require.NoError(t, err)
	// It grows in pages, and what is refused need not fill the last ones.
	assert.Less(t, space.Left(), int64(len(value)), "%+v", space)
	assert.Equal(t, backend.VerdictFail, d["alarms"].Verdict)
	assert.Regexp(t, `^NOSPACE at member [0-9a-f]+$`, d["alarms"].Found)

	t.Log("each line of the remedy can be pasted")
	commands := commandsIn(d["alarms"].Remedy)
	require.Len(t, commands, 3)
	paste(t, commands[0])
	f := diagnose(t, s)["fragmentation"]
	assert.Equal(t, backend.VerdictWarn, f.Verdict, f.Found)
	assert.Equal(t, commands[1:2], commandsIn(f.Remedy))
	paste(t, commands[1])
	paste(t, commands[2])
	diagnose(t, s).requireBut(t, nil)
	put(t, s, "fill", "v")
}

// commandsIn are the lines of a remedy that are to be typed.
func commandsIn(remedy string) (commands []string) {
	for line := range strings.Lines(remedy) {
		if command, ok := strings.CutPrefix(line, "    etcdctl "); ok {
			commands = append(commands, "etcdctl "+strings.TrimSuffix(command, "\n"))
		}
	}
	return commands
}

// paste does to a shell what an operator does.
func paste(t *testing.T, command string) {
	t.Helper()
	binary, err := servers.Binary(t.Context(), "etcdctl", t.Output())
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(dir, "etcdctl")))
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
	shell.Env = append(os.Environ(), "PATH="+dir)
	out, err := shell.CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, out)
}

func TestDiagnoseThreeMembers(t *testing.T) {
	full(t)
	srv := server(t, servers.Config{Kind: servers.Etcd, Nodes: 3})
	never := map[string]backend.Verdict{"compaction": backend.VerdictWarn}
	s := open(t, on(srv.Endpoints()...))
	d := diagnose(t, s)
	d.requireBut(t, never)
	assert.Equal(t, "voting: 3, may fail: 1", d["members"].Found)

	d = diagnose(t, open(t, on(srv.Endpoints()[0])))
	assert.Equal(t, backend.VerdictWarn, d["members"].Verdict)
	for _, endpoint := range srv.Endpoints() {
		assert.Contains(t, d["members"].Remedy, "http://"+endpoint)
	}

	require.NoError(t, srv.Node(1).Kill(t.Context()))
	var dead diagnosis
	require.Eventually(t, func() bool { // it may have led
		dead = diagnose(t, s)
		return dead["leader"].Verdict == backend.VerdictOK
	}, patience, 50*time.Millisecond)
	assert.Equal(t, backend.VerdictWarn, dead["endpoints"].Verdict)
	assert.Contains(t, dead["endpoints"].Found, "2 of 3 answer: "+srv.Node(1).Endpoint()+": ")

	require.NoError(t, srv.Node(2).Kill(t.Context()))
	require.Eventually(t, func() bool {
		dead = diagnose(t, s)
		return dead["leader"].Verdict == backend.VerdictFail
	}, patience, 50*time.Millisecond)
	assert.Equal(t, "no member knows one", dead["leader"].Found)
	assert.Equal(t, backend.VerdictWarn, dead["endpoints"].Verdict)
}
