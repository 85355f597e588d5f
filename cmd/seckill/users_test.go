package main

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
)

// Who is locked out is let in by whoever may write to the store.
func TestUsersReset(t *testing.T) {
	eachStore(t, func(t *testing.T, at server) {
		const root = "users-test/"
		reset := func(name string) (out, stderr string, code int) {
			return newCommand(t, append([]string{"users", "reset", name}, at.flags(root)...)...).run()
		}
		_, stderr, code := reset("alice")
		assert.Equal(t, exitFailure, code)
		assert.Contains(t, stderr, `there is no user "alice", and no other one`)

		accounts := access.NewAccounts(at.open(t, root), password.New(password.Recommended()))
		before, err := accounts.Add(t.Context(), "alice", access.Admin)
		require.NoError(t, err)
		_, stderr, code = reset("bob")
		assert.Equal(t, exitFailure, code)
		assert.Contains(t, stderr, `there is no user "bob": there are alice`)

		out, stderr, code := reset("alice")
		require.Zero(t, code, stderr)
		assert.Empty(t, stderr)
		oneTime := strings.TrimSpace(out)
		assert.NotEqual(t, before, oneTime)
		a, err := access.New(access.Config{Store: at.open(t, root), Hasher: password.New(password.Recommended()), Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		_, err = a.Login(t.Context(), "alice", before)
		require.ErrorContains(t, err, "unauthenticated")
		login, err := a.Login(t.Context(), "alice", oneTime)
		require.NoError(t, err)
		assert.Equal(t, access.Principal{Name: "alice", Role: access.Admin, Via: access.ViaSession, MustChange: true}, login.Principal)
		assert.Equal(t, http.SameSiteLaxMode, login.Cookie.SameSite)
	})
}
