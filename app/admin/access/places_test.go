package access_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/internal/stores"
)

const home = "203.0.113.7:1"

// siege has three addresses use up all attempts that a name has at an admin.
func (a *admin) siege(name string) {
	a.Helper()
	throttled := 0
	for i := range 10 {
		for host := range 3 {
			got := (&browser{remote: fmt.Sprintf("198.51.100.%d:%d", host, i+1)}).login(a, name, "wrong")
			if got.code == http.StatusTooManyRequests {
				throttled++
			}
		}
	}
	require.Positive(a, throttled, "the name has no attempts left")
}

// Whoever guesses from many addresses keeps a user out only where the user has not been
// before.
func TestNobodyIsLockedOutAtHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, stores.NewMemory().Open(t)).ready()
		<-a.first
		a.member("bob", access.Viewer)
		require.Equal(t, http.StatusOK, (&browser{remote: home}).login(a, "bob", good).code)
		login := func(remote, secret string) int {
			return (&browser{remote: remote}).login(a, "bob", secret).code
		}
		for range 5 {
			time.Sleep(time.Minute)
			a.siege("bob")
			assert.Equal(t, http.StatusOK, login(home, good))
			assert.Equal(t, http.StatusTooManyRequests, login("203.0.113.8:1", good), "where bob has not been before")
		}
		time.Sleep(time.Minute)
		for range 10 {
			assert.Equal(t, http.StatusUnauthorized, login(home, "wrong"))
		}
		assert.Equal(t, http.StatusTooManyRequests, login(home, good), "nor may one guess there at will")

		time.Sleep(14 * 24 * time.Hour)
		a.siege("bob")
		assert.Equal(t, http.StatusTooManyRequests, login(home, good), "it is long ago")
	})
}

// A record does not grow, and is not written with each login.
func TestPlacesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stores.NewMemory()
		a := start(t, m.Open(t)).ready()
		<-a.first
		session := a.member("bob", access.Viewer)
		record := func() string {
			e, err := m.Open(t).Get(t.Context(), "admin/users/bob")
			require.NoError(t, err)
			return fmt.Sprintf("%d %s", e.Revision, e.Value)
		}
		for i := range 30 {
			time.Sleep(time.Minute)
			require.Equal(t, http.StatusOK, (&browser{remote: fmt.Sprintf("192.0.2.%d:1", i)}).login(a, "bob", good).code)
		}
		before := record()
		assert.Equal(t, 8, strings.Count(before, `"address"`))
		assert.Contains(t, before, `"192.0.2.29"`)
		assert.NotContains(t, before, `"192.0.2.21"`)
		time.Sleep(time.Minute)
		require.Equal(t, http.StatusOK, (&browser{remote: "192.0.2.29:1"}).login(a, "bob", good).code)
		assert.Equal(t, before, record())
		assert.Equal(t, http.StatusOK, session.get(a, "/view").code, "sessions go on")
		time.Sleep(25 * time.Hour)
		require.Equal(t, http.StatusOK, (&browser{remote: "192.0.2.29:1"}).login(a, "bob", good).code)
		assert.NotEqual(t, before, record(), "so that it is known for longer")
	})
}

// Where a user is at home is known to all admins.
func TestHomeIsKnownToOtherAdmins(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		a := start(t, space.Open(t)).ready()
		<-a.first
		a.member("bob", access.Viewer)
		b := start(t, space.Open(t)).ready()
		require.Equal(t, http.StatusOK, (&browser{remote: home}).login(a, "bob", good).code)
		session := &browser{remote: home}
		stores.Wait(t, "the other admin has it", func() bool {
			b.siege("bob")
			return session.login(b, "bob", good).code == http.StatusOK
		})
		assert.Equal(t, http.StatusOK, session.get(b, "/view").code)
	})
}
