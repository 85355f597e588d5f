package etcd_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/conformance/servers"
)

// withUsers runs a server that compares passwords quickly: with the cost that is
// the default, tests of logins are tests of bcrypt, and of the machine's patience.
func withUsers(t *testing.T, flags ...string) string {
	t.Helper()
	return server(t, servers.Config{Kind: servers.Etcd, Extra: append(flags, "--bcrypt-cost=4")}).Node(0).URL()
}

// secure switches authentication on, with a user "shop" who may do all below
// /shop/, and returns a client of root.
func secure(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c := rawOn(t, endpoint)
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		require.NoError(t, err)
	}
	must(c.RoleAdd(ctx, "root"))
	must(c.UserAdd(ctx, "root", "root"))
	must(c.UserGrantRole(ctx, "root", "root"))
	must(c.RoleAdd(ctx, "shop"))
	must(c.UserAdd(ctx, "shop", "first"))
	must(c.UserGrantRole(ctx, "shop", "shop"))
	grant(t, c)
	must(c.AuthEnable(ctx))
	return raw(t, clientv3.Config{Endpoints: []string{endpoint}, Username: "root", Password: "root"})
}

func grant(t *testing.T, root *clientv3.Client) {
	t.Helper()
	_, err := root.RoleGrantPermission(t.Context(), "shop", "/shop/", clientv3.GetPrefixRangeEnd("/shop/"), clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
}

func revoke(t *testing.T, root *clientv3.Client) {
	t.Helper()
	_, err := root.RoleRevokePermission(t.Context(), "shop", "/shop/", clientv3.GetPrefixRangeEnd("/shop/"))
	require.NoError(t, err)
}

func as(endpoint, user string, password credential.Secret) etcd.Config {
	return etcd.Config{Endpoints: []string{endpoint}, User: user, Password: password}
}

func TestDenied(t *testing.T) {
	endpoint := withUsers(t)
	secure(t, endpoint)
	for name, cfg := range map[string]etcd.Config{
		"nobody":         on(endpoint),
		"wrong password": as(endpoint, "shop", "wrong"),
		"unknown user":   as(endpoint, "stranger", "first"),
		"other keys":     as(endpoint, "shop", "first"),
	} {
		s := open(t, cfg)
		_, err := s.Get(t.Context(), "k")
		assert.ErrorIs(t, err, backend.ErrDenied, name)
		_, err = s.Put(t.Context(), "k", nil)
		assert.ErrorIs(t, err, backend.ErrDenied, name)
		_, err = s.Put(t.Context(), "k", nil, backend.If("k", 0))
		assert.ErrorIs(t, err, backend.ErrDenied, name)
		assert.ErrorIs(t, s.Delete(t.Context(), "k"), backend.ErrDenied, name)
		assert.ErrorIs(t, watch(t, s, "").err(), backend.ErrDenied, name)
		assert.NotContains(t, err.Error(), "wrong")
		if name != "other keys" {
			_, err = s.Lease(t.Context(), time.Second)
			assert.ErrorIs(t, err, backend.ErrDenied, name)
			continue
		}
		put(t, s, "shop/k", "v")
		require.Equal(t, []string{"shop/k"}, keys(watch(t, s, "shop/").next().Puts))
		_, err = s.Put(t.Context(), "shop/k", nil, backend.If("other", 0))
		assert.ErrorIs(t, err, backend.ErrDenied, "a condition reads")
	}
}

func TestRightsLostDuringAWatch(t *testing.T) {
	endpoint := withUsers(t)
	root := secure(t, endpoint)
	s := open(t, as(endpoint, "shop", "first"))
	s.SetPulse(100*time.Millisecond, time.Minute)
	put(t, s, "shop/k", "v")
	w := watch(t, s, "shop/")
	require.True(t, w.next().Snapshot)
	revoke(t, root)
	require.ErrorIs(t, w.err(), backend.ErrDenied, "and no deletion before it")

	grant(t, root)
	require.Equal(t, []string{"shop/k"}, keys(watch(t, s, "shop/").next().Puts))
}

func TestAuthenticationSwitchedOnAndOff(t *testing.T) {
	endpoint := withUsers(t)
	s := open(t, as(endpoint, "shop", "first"))
	put(t, s, "shop/k", "off")
	w := watch(t, s, "shop/")
	w.next()
	root := secure(t, endpoint)
	put(t, s, "shop/k", "on")
	require.Equal(t, "on", string(w.next().Puts[0].Value))
	fresh := watch(t, s, "shop/") // joins a stream that carries no login
	require.True(t, fresh.next().Snapshot)

	_, err := root.AuthDisable(t.Context())
	require.NoError(t, err)
	put(t, s, "shop/k", "off")
	_, err = root.AuthEnable(t.Context())
	require.NoError(t, err)
	put(t, s, "shop/k", "on again")
	require.Eventually(t, func() bool { return string(w.next().Puts[0].Value) == "on again" }, patience, time.Millisecond)
}

// A stream keeps the login that it was opened with, and the server does not
// mind when that becomes void. Whoever asks for the rights with it is denied.
func TestTheLoginOfAStreamBecomesVoid(t *testing.T) {
	endpoint := withUsers(t)
	root := secure(t, endpoint)
	s := open(t, as(endpoint, "shop", "first"))
	s.SetPulse(100*time.Millisecond, time.Minute)
	w := watch(t, s, "shop/")
	w.next()
	_, err := root.UserChangePassword(t.Context(), "shop", "first")
	require.NoError(t, err)
	begun := time.Now()
	put(t, s, "shop/k", "v")
	login := time.Since(begun)
	for begun = time.Now(); time.Since(begun) < 5*login+time.Second; { // time for some more logins
		w.any()
	}
	put(t, s, "shop/k", "w")
	require.Equal(t, "w", string(w.next().Puts[0].Value))
}

func TestThePasswordFileIsFollowed(t *testing.T) {
	endpoint := withUsers(t)
	root := secure(t, endpoint)
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("first\n"), 0o600))
	s := open(t, etcd.Config{Endpoints: []string{endpoint}, User: "shop", PasswordFile: file})
	s.SetPulse(100*time.Millisecond, time.Minute) // the rights are asked for meanwhile
	lease, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)
	put(t, s, "shop/k", "v", backend.WithLease(lease))
	w := watch(t, s, "shop/")
	w.next()

	_, err = root.UserChangePassword(t.Context(), "shop", "second")
	require.NoError(t, err)
	_, err = s.Get(t.Context(), "shop/k")
	require.ErrorIs(t, err, backend.ErrDenied, "the file still has the old one")
	require.NoError(t, os.WriteFile(file, []byte("second\n"), 0o600))
	require.Eventually(t, func() bool {
		_, err := s.Get(t.Context(), "shop/k")
		return err == nil
	}, patience, 50*time.Millisecond)
	put(t, s, "shop/other", "v")
	// A watch that had to log in anew in between begins with a snapshot.
	require.Contains(t, keys(w.next().Puts), "shop/other")
	require.NoError(t, lease.Close(t.Context()))
}

func TestManyCallsShareALogin(t *testing.T) {
	endpoint := withUsers(t)
	secure(t, endpoint)
	s := open(t, as(endpoint, "shop", "first"))
	begun := time.Now()
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			_, err := s.Put(t.Context(), "shop/k", nil)
			assert.NoError(t, err)
		})
	}
	calls.Wait()
	// Each login is a bcrypt comparison in the server: at its default cost fifty would take seconds.
	t.Logf("%v", time.Since(begun))
}

// A token expires while nobody uses it: also that of a stream which later
// watches join.
func TestATokenExpires(t *testing.T) {
	endpoint := withUsers(t, "--auth-token-ttl=1")
	secure(t, endpoint)
	s := open(t, as(endpoint, "shop", "first"))
	put(t, s, "shop/k", "v")
	first := watch(t, s, "shop/")
	first.next()
	for range 2 {
		time.Sleep(3 * time.Second) // nothing else makes it expire
		put(t, s, "shop/k", "v")
		first.next()
		require.True(t, watch(t, s, "shop/").next().Snapshot)
	}
	time.Sleep(3 * time.Second)
	w := watch(t, s, "shop/")
	require.True(t, w.next().Snapshot)
	put(t, s, "shop/k", "w")
	require.Len(t, w.next().Puts, 1)
}
