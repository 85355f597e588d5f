package doctor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/conformance/servers"
)

const management = "2f6d3a64-6f0f-4a0c-9a3e-5d1f0c7e8b21"

// Each right that is missing shows where it is needed, with the rule that
// grants it.
func TestRightsOnConsul(t *testing.T) {
	t.Parallel()
	c := server(t, servers.Config{
		Kind: servers.Consul,
		Extra: []string{"-hcl", `acl { enabled = true default_policy = "deny"
			tokens { initial_management = "` + management + `" agent = "` + management + `" } }`},
		Token: management,
	})
	admin := rawConsul(t, c, management)
	_, err := admin.KV().Put(&api.KVPair{Key: "shop/orders/1"}, nil)
	require.NoError(t, err)
	as := func(token credential.Secret) (settings.Settings, findings) {
		set := on(c)
		set.Store.Token = token
		return set, examine(t, open(t, set), set)
	}

	const (
		keys     = `key_prefix "shop/" { policy = "write" } `
		sessions = `session_prefix "" { policy = "write" } `
		agent    = `agent_prefix "" { policy = "read" } `
	)
	noLease := all(unknown, "right-put-with-lease", "lease-bounds", "sessions")
	for i, test := range []struct {
		name, rules string
		want        verdicts
	}{
		{"all", keys + sessions + agent, nil},
		{"no sight of the agent", keys + sessions, all(unknown, "version", "connections")},
		{"no sessions", keys + agent, noLease.and(verdicts{"right-lease": fail})},
		{"no writing", `key_prefix "shop/" { policy = "read" } ` + sessions + agent,
			all(fail, "right-put-with-lease", "right-put-if", "right-delete")},
		{"no reading either", sessions + agent,
			all(fail, "right-put-with-lease", "right-put-if", "right-get", "right-watch", "right-delete").
				and(all(unknown, "round-trip", "foreign-keys"))},
		{"no looking at other keys", keys + `key_prefix "shop/doctor/other-" { policy = "deny" } ` + sessions + agent,
			verdicts{"right-put-if": fail}},
		{"no right to some keys", keys + `key_prefix "shop/orders/" { policy = "deny" } ` + sessions + agent,
			verdicts{"right-watch": fail, "foreign-keys": unknown}},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprintf("policy-%d", i)
			_, _, err := admin.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: test.rules}, nil)
			require.NoError(t, err)
			token, _, err := admin.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: name}}}, nil)
			require.NoError(t, err)
			_, found := as(credential.Secret(token.SecretID))
			found.require(t, test.want)
			assert.NotContains(t, fmt.Sprint(found), token.SecretID)
			for check, v := range test.want {
				rule := "Add to a policy of the token:\n    key_prefix \"shop/\" { policy = \"write\" }"
				if check == "right-lease" {
					rule = "Add to a policy of the token:\n    session_prefix \"\" { policy = \"write\" }"
				}
				if v == fail {
					assert.Equal(t, rule, found[check].Remedy, check)
					assert.Contains(t, found[check].Found, "denied", check)
				}
			}
		})
	}

	t.Log("a policy of nothing but the remedies is enough")
	token, _, err := admin.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: "policy-4"}}}, nil)
	require.NoError(t, err)
	policy, _, err := admin.ACL().PolicyReadByName("policy-4", nil)
	require.NoError(t, err)
	policy.Rules = ""
	_, _, err = admin.ACL().PolicyUpdate(policy, nil)
	require.NoError(t, err)
	_, found := as(credential.Secret(token.SecretID))
	for _, check := range []string{"right-lease", "right-watch", "version"} {
		require.NotEmpty(t, found[check].Remedy, check)
		policy.Rules += typed(found[check].Remedy)[0] + "\n"
	}
	_, _, err = admin.ACL().PolicyUpdate(policy, nil)
	require.NoError(t, err)
	_, found = as(credential.Secret(token.SecretID))
	found.require(t, nil)

	t.Log("a token that Consul does not know, and none")
	const stranger = "3b8d2c1a-0000-0000-0000-000000000000"
	_, found = as(stranger)
	found.require(t, all(unknown, slices.Concat(drivers[settings.Consul], generic)...).and(verdicts{"endpoints": ok, "credentials": fail}))
	assert.Contains(t, found["credentials"].Remedy, "consul acl token create ")
	assert.NotContains(t, fmt.Sprint(found), stranger)
	_, found = as("")
	assert.Equal(t, warn, found["credentials"].Verdict)
	assert.Equal(t, fail, found["right-watch"].Verdict, "an empty list is no answer")
	assert.Contains(t, found["right-watch"].Remedy, "Give a file with the token:\n    --token-file=FILE\n")
}

func TestRightsOnEtcd(t *testing.T) {
	t.Parallel()
	c := server(t, servers.Config{Kind: servers.Etcd})
	client := rawEtcd(t, c, "")
	must := func(_ any, err error) {
		t.Helper()
		require.NoError(t, err)
	}
	ctx := t.Context()
	must(client.Put(ctx, "/shop/k", "v"))
	must(client.Put(ctx, "/shop/k", "w"))
	must(client.Compact(ctx, 2))
	for _, name := range []string{"root", "shop"} {
		must(client.RoleAdd(ctx, name))
		must(client.UserAdd(ctx, name, name))
		must(client.UserGrantRole(ctx, name, name))
	}
	must(client.AuthEnable(ctx))
	root := rawEtcd(t, c, "root")
	as := func(user string, password credential.Secret) findings {
		set := on(c)
		set.Store.User, set.Store.Password = user, password
		return examine(t, open(t, set), set)
	}

	type grant struct {
		prefix string
		kind   clientv3.PermissionType
	}
	const (
		read  = clientv3.PermissionType(clientv3.PermRead)
		write = clientv3.PermissionType(clientv3.PermWrite)
		both  = clientv3.PermissionType(clientv3.PermReadWrite)
	)
	for _, test := range []struct {
		name   string
		grants []grant
		want   verdicts
	}{
		{"all", []grant{{"/shop/", both}}, nil},
		{"no writing", []grant{{"/shop/", read}}, all(fail, "right-put-with-lease", "right-put-if", "right-delete")},
		{"no reading", []grant{{"/shop/", write}}, all(fail, "right-put-if", "right-get", "right-watch").
			and(all(unknown, "compaction", "round-trip", "foreign-keys"))},
		{"no looking at other keys", []grant{{"/shop/", write}, {"/shop/doctor/probe-", both}},
			all(fail, "right-put-if", "right-watch").and(all(unknown, "compaction", "foreign-keys"))},
		{"some keys only", []grant{{"/shop/doctor/", both}}, all(unknown, "compaction", "foreign-keys").and(verdicts{"right-watch": fail})},
		{"nothing", nil, all(fail, "right-put-with-lease", "right-put-if", "right-get", "right-watch", "right-delete").
			and(all(unknown, "compaction", "round-trip", "foreign-keys"))},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, g := range test.grants {
				must(root.RoleGrantPermission(ctx, "shop", g.prefix, clientv3.GetPrefixRangeEnd(g.prefix), g.kind))
			}
			defer func() {
				for _, g := range test.grants {
					must(root.RoleRevokePermission(ctx, "shop", g.prefix, clientv3.GetPrefixRangeEnd(g.prefix)))
				}
			}()
			found := as("shop", "shop")
			found.require(t, test.want)
			for check, v := range test.want {
				if v == fail {
					assert.Contains(t, found[check].Remedy, " --user=root role grant-permission seckill readwrite --prefix /shop/\n", check)
					assert.Contains(t, found[check].Remedy, " user grant-role shop seckill", check)
					assert.Contains(t, found[check].Found, "denied", check)
				}
			}
		})
	}

	t.Log("the remedy helps whoever pastes it")
	for _, command := range typed(as("shop", "shop")["right-watch"].Remedy) {
		paste(t, command)
	}
	as("shop", "shop").require(t, nil)

	refused := all(unknown, slices.Concat(drivers[settings.Etcd], generic)...).and(verdicts{"endpoints": ok, "credentials": fail})
	found := as("shop", "hunter2")
	found.require(t, refused)
	assert.Contains(t, found["credentials"].Remedy, " user passwd shop")
	assert.NotContains(t, fmt.Sprint(found), "hunter2")
	found = as("", "")
	found.require(t, refused)
	assert.Contains(t, found["credentials"].Remedy, "--user=NAME --password-file=FILE")
}

// typed are the lines of a remedy that are to be typed.
func typed(remedy string) (lines []string) {
	for line := range strings.Lines(remedy) {
		if line, ok := strings.CutPrefix(line, "    "); ok {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// paste does to a shell what an operator does who knows the password of root.
func paste(t *testing.T, command string) {
	t.Helper()
	binary, err := servers.Binary(t.Context(), "etcdctl", t.Output())
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(dir, "etcdctl")))
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
	shell.Env = append(os.Environ(), "PATH="+dir, "ETCDCTL_PASSWORD=root")
	out, err := shell.CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, out)
}
