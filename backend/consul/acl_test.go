package consul_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/conformance/servers"
)

const management = "2f6d3a64-6f0f-4a0c-9a3e-5d1f0c7e8b21"

// guarded is a cluster that denies what no token allows, and a client that may do everything.
func guarded(t *testing.T, nodes int, more string) (*servers.Cluster, *api.Client) {
	t.Helper()
	c := own(t, servers.Config{
		Nodes: nodes,
		Extra: []string{"-hcl", `acl { enabled = true default_policy = "deny" ` + more + `
			tokens { initial_management = "` + management + `" agent = "` + management + `" } }`},
		Token: management,
	})
	client, err := api.NewClient(&api.Config{Address: c.Node(0).URL(), Token: management})
	require.NoError(t, err)
	return c, client
}

// newToken makes a token with the rights of a policy, and returns the functions that change and read them.
func newToken(t *testing.T, admin *api.Client, rules string) (secret credential.Secret, change func(rules string)) {
	t.Helper()
	name := fmt.Sprintf("p%d", directories.Add(1))
	policy, _, err := admin.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
	require.NoError(t, err)
	token, _, err := admin.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: name}}}, nil)
	require.NoError(t, err)
	return credential.Secret(token.SecretID), func(rules string) {
		policy.Rules = rules
		var err error
		policy, _, err = admin.ACL().PolicyUpdate(policy, nil)
		require.NoError(t, err)
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	c, admin := guarded(t, 1, "")
	secret, change := newToken(t, admin, `key_prefix "mine/" { policy = "write" } key_prefix "shown/" { policy = "read" } session_prefix "" { policy = "write" }`)
	s := open(t, consul.Config{Endpoints: c.Endpoints(), Token: secret})
	all := open(t, consul.Config{Endpoints: c.Endpoints(), Token: management})
	put(t, all, "hidden/k", "")
	shown := put(t, all, "shown/k", "")

	rev := put(t, s, "mine/k", "", backend.If("shown/k", shown))
	l := newLease(t, s, time.Minute)
	put(t, s, "mine/leased", "", backend.WithLease(l))
	require.NoError(t, l.Close(t.Context()))

	for what, err := range map[string]error{
		"put":              second(s.Put(t.Context(), "shown/k", nil)),
		"put, conflicting": second(s.Put(t.Context(), "shown/k", nil, backend.If("mine/k", rev+1))),
		"condition":        second(s.Put(t.Context(), "mine/k", nil, backend.If("hidden/k", 5))),
		"get":              second(s.Get(t.Context(), "hidden/k")),
		"get, odd":         second(s.Get(t.Context(), "hidden/k ")),
		"delete":           s.Delete(t.Context(), "hidden/k"),
		"list":             list(t, s, "hidden/"),
		"list, partly":     list(t, s, ""),
	} {
		require.ErrorIs(t, err, backend.ErrDenied, what)
		require.NotErrorIs(t, err, backend.ErrConflict, what)
	}
	require.NoError(t, list(t, s, "mine/"))

	// A watch does not take the loss of its rights for the deletion of everything.
	f := follow(t, s, "mine/")
	require.NotEmpty(t, f.next().Puts)
	change(`key_prefix "shown/" { policy = "read" }`)
	put(t, all, "mine/k", "2")
	require.ErrorIs(t, f.end(), backend.ErrDenied)
	require.NotZero(t, f.state.Len(), "nothing was told to be deleted")
	_, err := s.Lease(t.Context(), time.Second)
	require.ErrorIs(t, err, backend.ErrDenied)

	unknown := open(t, consul.Config{Endpoints: c.Endpoints(), Token: "3b8d2c1a-0000-0000-0000-000000000000"})
	require.ErrorIs(t, list(t, unknown, ""), backend.ErrDenied)
	require.ErrorIs(t, second(unknown.Put(t.Context(), "k", nil)), backend.ErrDenied)
	for _, key := range []string{"k", "odd "} {
		require.ErrorIs(t, second(unknown.Get(t.Context(), key)), backend.ErrDenied, key)
	}
}

// Without a token Consul hides what it hides, unless it is told not to.
// A list of what an anonymous client may not read looks like a list of nothing, without the header that a token would get.
func TestAnonymousClientIsDenied(t *testing.T) {
	t.Parallel()
	c, admin := guarded(t, 1, "")
	all := open(t, consul.Config{Endpoints: c.Endpoints(), Token: management})
	put(t, all, "hidden/k", "")
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	for _, prefix := range []string{"hidden/", "hidden/k", "absent/"} {
		require.ErrorIs(t, list(t, s, prefix), backend.ErrDenied, prefix)
	}

	// Rights that are lost during the watch.
	policy, _, err := admin.ACL().PolicyCreate(&api.ACLPolicy{Name: "for-everybody", Rules: `key_prefix "hidden/" { policy = "read" }`}, nil)
	require.NoError(t, err)
	anonymous := &api.ACLToken{AccessorID: "00000000-0000-0000-0000-000000000002", Policies: []*api.ACLLink{{ID: policy.ID}}}
	_, _, err = admin.ACL().TokenUpdate(anonymous, nil)
	require.NoError(t, err)
	var f *follower
	eventually(t, "the anonymous token may read", func() bool { return list(t, s, "hidden/") == nil })
	f = follow(t, s, "hidden/")
	require.Equal(t, []string{"hidden/k"}, keys(f.next().Puts))
	anonymous.Policies = nil
	_, _, err = admin.ACL().TokenUpdate(anonymous, nil)
	require.NoError(t, err)
	require.ErrorIs(t, f.end(), backend.ErrDenied)
	require.Equal(t, 1, f.state.Len(), "nothing was deleted")
}

func TestKeyListPolicy(t *testing.T) {
	t.Parallel()
	c, _ := guarded(t, 1, "enable_key_list_policy = true")
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	require.ErrorIs(t, list(t, s, "hidden/"), backend.ErrDenied)
}

// A token is followed in its file.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	c, admin := guarded(t, 1, "")
	first, change := newToken(t, admin, `key_prefix "" { policy = "write" }`)
	second, _ := newToken(t, admin, `key_prefix "" { policy = "write" }`)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(first.Reveal()+"\n"), 0o600))
	s := open(t, consul.Config{Endpoints: c.Endpoints(), TokenFile: file})
	put(t, s, "k", "1")
	change(`key_prefix "" { policy = "read" }`)
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrDenied)
	require.NoError(t, os.WriteFile(file, []byte(second.Reveal()+"\n"), 0o600))
	eventually(t, "the new token is used", func() bool { _, err := s.Put(t.Context(), "k", nil); return err == nil })
}

// What the client library would take from the environment is not taken.
func TestEnvironmentIsNotRead(t *testing.T) {
	c, _ := guarded(t, 1, "")
	for name, value := range map[string]string{
		api.HTTPAddrEnvName:      "127.0.0.1:1",
		api.HTTPTokenEnvName:     management,
		api.HTTPAuthEnvName:      "user:password",
		api.HTTPSSLEnvName:       "true",
		api.HTTPNamespaceEnvName: "other",
		api.HTTPPartitionEnvName: "other",
		api.HTTPCAFile:           "/nowhere",
		api.HTTPClientCert:       "/nowhere",
	} {
		t.Setenv(name, value)
	}
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrDenied, "the token is that of the settings, which is none")
	s = open(t, consul.Config{Endpoints: c.Endpoints(), Token: management})
	put(t, s, "k", "")
	t.Setenv(api.HTTPTokenFileEnvName, "/nowhere")
	s = open(t, consul.Config{Endpoints: c.Endpoints(), Token: management})
	get(t, s, "k")
}

func second[T any](_ T, err error) error { return err }

func list(t *testing.T, s backend.Store, prefix string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), watchdog)
	defer cancel()
	_, _, err := backend.List(ctx, s, prefix)
	return err
}
