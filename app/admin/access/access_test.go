package access_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// Of two admins that start on an empty store one makes the first user, and says the
// password once. With it nothing can be done but to change it.
func TestFirstStart(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a, b := start(t, s.Open(t)), start(t, s.Open(t))
		a.ready()
		b.ready()
		stores.Wait(t, "a password", func() bool { return len(a.first)+len(b.first) > 0 })
		users, problems, err := a.Accounts().Users(t.Context())
		require.NoError(t, err)
		require.Empty(t, problems)
		require.Len(t, users, 1)
		assert.Equal(t, access.Admin, users[0].Role)
		assert.True(t, users[0].MustChange)

		c := start(t, s.Open(t)).ready()
		require.NoError(t, c.stop())
		require.NoError(t, b.stop())
		require.NoError(t, a.stop())
		require.Equal(t, 1, len(a.first)+len(b.first), "each is told what it made when it ends at the latest")
		require.Empty(t, c.first)
		winner := a
		if len(b.first) > 0 {
			winner = b
		}
		oneTime := <-winner.first
		assert.Len(t, oneTime, 26)

		d := start(t, s.Open(t)).ready()
		me := &browser{}
		require.Equal(t, http.StatusOK, me.login(d, "admin", oneTime).code)
		assert.Equal(t, access.Principal{Name: "admin", Role: access.Admin, Via: access.ViaSession, MustChange: true}, me.get(d, "/me").who)
		refused := me.get(d, "/view")
		assert.Equal(t, http.StatusForbidden, refused.code)
		assert.Equal(t, "must_change_password", refused.problem.Code)

		before := *me
		for _, bad := range []struct{ from, to, want string }{
			{oneTime, "short", "invalid"}, {oneTime, oneTime, "invalid"}, {"wrong", good, "unauthenticated"},
		} {
			assert.Equal(t, bad.want, me.do(d, http.MethodPost, "/password", "from", bad.from, "to", bad.to).problem.Code)
		}
		require.Equal(t, http.StatusOK, me.do(d, http.MethodPost, "/password", "from", oneTime, "to", good).code)
		assert.Equal(t, http.StatusOK, me.get(d, "/admin").code)
		assert.Equal(t, http.StatusUnauthorized, before.get(d, "/view").code, "the session of before has ended")
		assert.Equal(t, http.StatusUnauthorized, (&browser{}).login(d, "admin", oneTime).code, "it was for one use")
		assert.Equal(t, http.StatusOK, (&browser{}).login(d, "admin", good).code)
	})
}

// However close they are, one of them says a password.
func TestFirstStartsRace(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		one, other := s.Open(t), s.Open(t)
		for range 5 {
			a, b := start(t, one), start(t, other)
			a.ready()
			b.ready()
			stores.Wait(t, "a password", func() bool { return len(a.first)+len(b.first) > 0 })
			_, err := one.Get(t.Context(), "admin/users/admin")
			require.NoError(t, err)
			require.NoError(t, a.stop())
			require.NoError(t, b.stop())
			require.Equal(t, 1, len(a.first)+len(b.first))
			s.Delete(t, "admin/users/admin")
		}
	})
}

// Another admin makes the first user between the look and the write.
func TestFirstStartIsSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stores.NewMemory()
		store := &stores.Faulty{Store: m.Open(t)}
		store.Set(stores.Hooks{Put: func(string) error {
			store.Set(stores.Hooks{})
			<-start(t, m.Open(t)).first
			return nil
		}})
		a := start(t, store)
		synctest.Wait()
		assert.Empty(t, a.first)
		users, _, err := a.Accounts().Users(t.Context())
		require.NoError(t, err)
		assert.Len(t, users, 1)
	})
}

// A password that is in the store is told, even if the store did not say that it
// took it.
func TestFirstStartWithAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		var failed atomic.Bool
		store.Set(stores.Hooks{AfterPut: func(string) error {
			if failed.Swap(true) {
				return nil
			}
			return backend.ErrUnknown
		}})
		a := start(t, store)
		oneTime := <-a.first
		require.Equal(t, http.StatusOK, (&browser{}).login(a, "admin", oneTime).code)
		assert.Equal(t, 1, a.log.Count("make the first user"))
	})
}

// Nobody is asked to come before it is known who may.
func TestReadyWhenItIsKnownWhoMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		hear := make(chan struct{})
		store.Set(stores.Hooks{Yield: func() { <-hear }})
		a := start(t, store)
		synctest.Wait()
		require.ErrorContains(t, a.Ready(), "has not been heard")
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		require.ErrorIs(t, a.AwaitReady(ctx), context.DeadlineExceeded)
		stranger := &browser{token: "seckill_01K9ZZZZZZZZZZZZZZZZZZZZZ1_" + strings.Repeat("A", 43)}
		assert.Equal(t, http.StatusServiceUnavailable, stranger.get(a, "/view").code)

		close(hear)
		require.NoError(t, a.AwaitReady(t.Context()))
		require.NoError(t, a.Ready())
		assert.Equal(t, http.StatusUnauthorized, stranger.get(a, "/view").code)
	})
}

// What is done on one admin is so on the other.
func TestTwoAdminsAgree(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		a, b := start(t, s.Open(t)).ready(), start(t, s.Open(t)).ready()
		stores.Wait(t, "the first user", func() bool { return len(a.first)+len(b.first) > 0 })

		t.Log("a session counts on both at once, and ends on both by logout")
		bob := a.member("bob", access.Operator)
		assert.Equal(t, http.StatusOK, bob.get(b, "/operate").code)
		copied := *bob
		require.Equal(t, http.StatusOK, bob.do(b, http.MethodPost, "/logout").code)
		assert.Equal(t, http.StatusUnauthorized, copied.get(b, "/view").code)
		copied.isOut(a)
		assert.Equal(t, http.StatusOK, bob.do(b, http.MethodPost, "/logout").code, "without a session it only clears the cookie")

		t.Log("another role and another password end all sessions")
		require.Equal(t, http.StatusOK, bob.login(b, "bob", good).code)
		assert.Equal(t, http.StatusOK, bob.get(a, "/operate").code)
		require.NoError(t, a.Accounts().SetRole(t.Context(), "bob", access.Viewer))
		assert.Equal(t, http.StatusUnauthorized, bob.get(a, "/view").code)
		bob.isOut(b)
		require.Equal(t, http.StatusOK, bob.login(a, "bob", good).code)
		assert.Equal(t, http.StatusForbidden, bob.get(b, "/operate").code)
		require.NoError(t, a.Accounts().SetRole(t.Context(), "bob", access.Viewer))
		assert.Equal(t, http.StatusOK, bob.get(a, "/view").code, "it was the same role")
		oneTime, err := b.Accounts().Reset(t.Context(), "bob")
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, bob.get(b, "/view").code)
		bob.isOut(a)
		assert.Equal(t, http.StatusUnauthorized, bob.login(a, "bob", good).code)
		assert.Equal(t, http.StatusOK, bob.login(a, "bob", oneTime).code)

		t.Log("a token counts on both at once, and is revoked on both")
		text, shown, err := a.Accounts().CreateToken(t.Context(), "bob", "the till", access.Viewer, time.Time{})
		require.NoError(t, err)
		till := &browser{token: text, remote: nextAddress()}
		assert.Equal(t, access.Principal{Name: "bob", Role: access.Viewer, Via: access.ViaToken, Token: shown.ID, TokenName: "the till"}, till.get(b, "/me").who)
		assert.Equal(t, http.StatusOK, till.get(a, "/view").code)
		require.NoError(t, b.Accounts().RevokeToken(t.Context(), shown.ID))
		assert.Equal(t, http.StatusUnauthorized, till.get(b, "/view").code)
		till.isOut(a)
		require.ErrorIs(t, b.Accounts().RevokeToken(t.Context(), shown.ID), backend.ErrNotFound)

		t.Log("a session outlives the admin that made it")
		carol := b.member("carol", access.Admin)
		require.NoError(t, b.stop())
		assert.Equal(t, http.StatusOK, carol.get(a, "/admin").code)
		assert.Equal(t, http.StatusOK, carol.get(start(t, s.Open(t)).ready(), "/admin").code)
		require.NoError(t, a.Accounts().Remove(t.Context(), "carol"))
		assert.Equal(t, http.StatusUnauthorized, carol.get(a, "/view").code)
	})
}

// However they meet, an admin stays.
func TestTheLastAdminStays(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		accounts := []*access.Accounts{access.NewAccounts(s.Open(t), cheap()), access.NewAccounts(s.Open(t), cheap()), access.NewAccounts(s.Open(t), cheap())}
		names := []string{"alice", "bob", "carol"}
		ctx := t.Context()
		add := func(name string) {
			if _, err := accounts[0].Add(ctx, name, access.Admin); !errors.Is(err, access.ErrExists) {
				require.NoError(t, err)
			}
			require.NoError(t, accounts[0].SetRole(ctx, name, access.Admin))
		}
		add("alice")
		_, err := accounts[0].Add(ctx, "viewer", access.Viewer)
		require.NoError(t, err)
		require.ErrorIs(t, accounts[0].Remove(ctx, "alice"), access.ErrLastAdmin)
		require.ErrorIs(t, accounts[0].SetRole(ctx, "alice", access.Operator), access.ErrLastAdmin)
		require.NoError(t, accounts[0].SetRole(ctx, "alice", access.Admin))

		for round := range 12 {
			parties := 2 + round%2
			for _, name := range names[:parties] {
				add(name)
			}
			for _, name := range names[parties:] {
				if err := accounts[0].Remove(ctx, name); !errors.Is(err, backend.ErrNotFound) {
					require.NoError(t, err)
				}
			}
			results := make(chan error)
			for i := range parties {
				victim := names[(i+1)%parties]
				go func() {
					if round%4 < 2 {
						results <- accounts[i].Remove(ctx, victim)
					} else {
						results <- accounts[i].SetRole(ctx, victim, access.Viewer)
					}
				}()
			}
			refused := 0
			for range parties {
				if err := <-results; err != nil {
					require.ErrorIs(t, err, access.ErrLastAdmin)
					refused++
				}
			}
			assert.Equal(t, 1, refused, "round %d", round)
			users, _, err := accounts[0].Users(ctx)
			require.NoError(t, err)
			admins := 0
			for _, u := range users {
				if u.Role == access.Admin {
					admins++
				}
			}
			assert.Equal(t, 1, admins, "round %d", round)
		}
	})
}

// Between looking for another admin and the write, that one is demoted.
func TestTheWitnessGoes(t *testing.T) {
	for what, try := range map[string]func(*access.Accounts, context.Context) error{
		"remove": func(a *access.Accounts, ctx context.Context) error { return a.Remove(ctx, "alice") },
		"demote": func(a *access.Accounts, ctx context.Context) error { return a.SetRole(ctx, "alice", access.Viewer) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
				mine, theirs := access.NewAccounts(store, cheap()), access.NewAccounts(store.Store, cheap())
				for _, name := range []string{"alice", "bob"} {
					_, err := theirs.Add(t.Context(), name, access.Admin)
					require.NoError(t, err)
				}
				between := func(string) error {
					store.Set(stores.Hooks{})
					return theirs.SetRole(t.Context(), "bob", access.Operator)
				}
				store.Set(stores.Hooks{Put: between, Del: between})
				require.ErrorIs(t, try(mine, t.Context()), access.ErrLastAdmin)
				users, _, err := mine.Users(t.Context())
				require.NoError(t, err)
				require.Len(t, users, 2)
				assert.Equal(t, access.Admin, users[0].Role)
			})
		})
	}
}

// A session that is used lasts for half a day, one that is not for an hour. Being
// used is written once a minute at most.
func TestSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		a := start(t, store).ready()
		<-a.first
		me := a.member("bob", access.Viewer)
		synctest.Wait()
		idle := *me
		var writes atomic.Int64
		count := func(string) error {
			writes.Add(1)
			return nil
		}
		store.Set(stores.Hooks{Put: count, Get: count})

		for range 1000 {
			require.Equal(t, http.StatusOK, me.get(a, "/view").code)
		}
		synctest.Wait()
		assert.Zero(t, writes.Load(), "it was seen just now")
		time.Sleep(time.Minute)
		for range 1000 {
			require.Equal(t, http.StatusOK, me.get(a, "/view").code)
		}
		synctest.Wait()
		assert.Equal(t, int64(1), writes.Load())

		begun := time.Now()
		for time.Since(begun) < 11*time.Hour+50*time.Minute {
			require.Equal(t, http.StatusOK, me.get(a, "/view").code, "after %v", time.Since(begun))
			time.Sleep(50 * time.Minute)
			synctest.Wait()
		}
		time.Sleep(10 * time.Minute)
		assert.Equal(t, http.StatusUnauthorized, me.get(a, "/view").code)

		require.Equal(t, http.StatusOK, idle.login(a, "bob", good).code)
		time.Sleep(time.Hour - time.Second)
		require.Equal(t, http.StatusOK, idle.get(a, "/view").code)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, http.StatusUnauthorized, idle.get(a, "/view").code)
	})
}

// Who logs in again leaves no session behind that nobody can end any more; those of other
// browsers go on, and so does this one if the login is refused.
func TestALoginEndsTheSessionOfBefore(t *testing.T) {
	store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
	a := start(t, store).ready()
	<-a.first
	me := a.member("bob", access.Viewer)
	elsewhere := &browser{remote: nextAddress()}
	require.Equal(t, http.StatusOK, elsewhere.login(a, "bob", good).code)
	before := *me
	require.Equal(t, http.StatusUnauthorized, me.login(a, "bob", "wrong").code)
	require.Equal(t, http.StatusOK, before.get(a, "/view").code)
	require.Equal(t, http.StatusOK, me.login(a, "bob", good).code)
	assert.Equal(t, http.StatusOK, me.get(a, "/view").code)
	assert.Equal(t, http.StatusUnauthorized, before.get(a, "/view").code)
	assert.Equal(t, http.StatusOK, elsewhere.get(a, "/view").code)

	before = *me
	store.Set(stores.Hooks{Del: func(string) error { return backend.ErrUnavailable }})
	require.Equal(t, http.StatusOK, me.login(a, "bob", good).code, "the login counts")
	assert.Equal(t, http.StatusOK, before.get(a, "/view").code)
	assert.Equal(t, 1, a.log.Count("the session of before goes on"))
}

// A request that is still on its way does not bring back a session that was ended.
func TestALoggedOutSessionIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		a := start(t, store).ready()
		<-a.first
		me := a.member("bob", access.Viewer)
		time.Sleep(2 * time.Minute)
		renewed := make(chan struct{})
		store.Set(stores.Hooks{Put: func(key string) error {
			defer close(renewed)
			return store.Store.Delete(t.Context(), key) // the other admin
		}})
		require.Equal(t, http.StatusOK, me.get(a, "/view").code)
		<-renewed
		synctest.Wait()
		store.Set(stores.Hooks{})
		assert.Equal(t, http.StatusUnauthorized, me.get(a, "/view").code)
		assert.Zero(t, a.log.Count("could not be renewed"))
	})
}

// While the store is away what is known goes on for a minute.
func TestTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stores.NewMemory().Client(t)
		a := start(t, store).ready()
		<-a.first
		me := a.member("bob", access.Viewer)
		ctx := make(chan context.Context, 1)
		a.handler = a.Authenticate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx <- r.Context()
			access.Require(access.Viewer)(a.mux()).ServeHTTP(w, r)
		}))
		require.Equal(t, http.StatusOK, me.get(a, "/view").code)
		stream := <-ctx
		synctest.Wait()
		assert.True(t, a.Still(stream, access.Viewer))
		assert.False(t, a.Still(stream, access.Operator))

		store.Cut()
		time.Sleep(25 * time.Second)
		assert.Equal(t, http.StatusOK, me.get(a, "/view").code)
		<-ctx
		assert.True(t, a.Still(stream, access.Viewer))
		time.Sleep(time.Minute)
		away := me.get(a, "/view")
		<-ctx
		assert.Equal(t, http.StatusServiceUnavailable, away.code)
		assert.Equal(t, "unavailable", away.problem.Code)
		assert.False(t, a.Still(stream, access.Viewer))

		store.Mend()
		stores.Wait(t, "back", func() bool {
			code := me.get(a, "/view").code
			<-ctx
			return code == http.StatusOK
		})
		require.NoError(t, a.Accounts().Remove(t.Context(), "bob"))
		assert.False(t, a.Still(stream, access.Viewer), "a stream learns of it")
	})
}

// Whether a user is there is seen neither from the answer nor from the work.
func TestWrongAndUnknownAreTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stores.NewMemory()
		a := start(t, m.Open(t)).ready()
		<-a.first
		a.member("bob", access.Viewer)
		m.Put(t, "admin/users/junk", `{"role":`)
		m.Put(t, "admin/users/greedy", `{"id":"x","role":"admin","password":"$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc","generation":"y","created":"2026-01-01T00:00:00Z","changed":"2026-01-01T00:00:00Z"}`)
		var first answer
		for i, name := range []string{"bob", "nobody", "junk", "greedy", "", "../config", "BOB", strings.Repeat("x", 9999), "a\x00b"} {
			before := a.hasher.Computed()
			got := (&browser{remote: nextAddress()}).do(a, http.MethodPost, "/login", "name", strings.ReplaceAll(name, "\x00", "%00"), "password", "wrong")
			assert.Equal(t, before+1, a.hasher.Computed(), name)
			assert.Equal(t, http.StatusUnauthorized, got.code, name)
			assert.Regexp(t, `^[A-Z0-9]{26}$`, got.header.Get("X-Request-Id"), "which has nothing to do with the name")
			got.header.Del("X-Request-Id")
			if i == 0 {
				first = got
			}
			assert.Equal(t, first, got, name)
		}
		assert.Equal(t, 2, a.log.Count("somebody can't log in"))
		assert.Zero(t, a.log.Count("nobody"), "what was typed may be a password")
	})
}

func TestLoginIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, stores.NewMemory().Open(t)).ready()
		<-a.first
		a.member("bob", access.Viewer)
		time.Sleep(time.Hour)
		guess := func(remote, name string) answer {
			return (&browser{remote: remote}).login(a, name, "wrong")
		}
		for i := range 10 {
			require.Equal(t, http.StatusUnauthorized, guess("192.0.2.1:1", "bob").code, i)
		}
		computed := a.hasher.Computed()
		got := guess("192.0.2.1:2", "carol")
		assert.Equal(t, http.StatusTooManyRequests, got.code)
		assert.Equal(t, "throttled", got.problem.Code)
		assert.Equal(t, "6", got.header.Get("Retry-After"))
		assert.Equal(t, computed, a.hasher.Computed(), "it costs nothing")
		assert.Equal(t, http.StatusOK, (&browser{remote: "192.0.2.2:1"}).login(a, "bob", good).code, "one address keeps nobody out")

		for i := range 9 {
			require.Equal(t, http.StatusUnauthorized, guess("192.0.2.3:1", "bob").code, i)
		}
		assert.Equal(t, http.StatusTooManyRequests, guess("192.0.2.4:1", "bob").code, "many addresses, one user")
		assert.Equal(t, http.StatusUnauthorized, guess("192.0.2.4:1", "carol").code)
		time.Sleep(time.Minute)
		assert.Equal(t, http.StatusUnauthorized, guess("192.0.2.1:1", "bob").code)
	})
}

func TestWeakHashesAreReplacedAtLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stores.NewMemory()
		a := start(t, m.Open(t)).ready()
		<-a.first
		session := a.member("bob", access.Viewer)
		value := func() string {
			e, err := m.Open(t).Get(t.Context(), "admin/users/bob")
			require.NoError(t, err)
			return string(e.Value)
		}
		require.Contains(t, value(), "$argon2id$v=19$m=16,t=1,p=1$")

		raised := &admin{T: t, first: make(chan string, 9)}
		var err error
		raised.Access, err = access.New(access.Config{Store: m.Open(t), Hasher: password.New(password.Params{Memory: 32, Time: 2, Threads: 1}), Log: raised.log.Logger()})
		require.NoError(t, err)
		raised.handler = raised.Authenticate(raised.mux())
		stores.Start(t, raised.Access.Run)
		raised.ready()
		require.Equal(t, http.StatusUnauthorized, (&browser{}).login(raised, "bob", "wrong").code)
		require.Contains(t, value(), "$argon2id$v=19$m=16,t=1,p=1$")
		require.Equal(t, http.StatusOK, (&browser{}).login(raised, "bob", good).code)
		require.Contains(t, value(), "$argon2id$v=19$m=32,t=2,p=1$")
		assert.Equal(t, http.StatusOK, session.get(a, "/view").code, "other sessions go on")
		require.Equal(t, http.StatusOK, (&browser{}).login(a, "bob", good).code)
	})
}

// The user is changed between the check of the password and the session.
func TestNoSessionForAPasswordOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		a := start(t, store).ready()
		<-a.first
		a.member("bob", access.Viewer)
		others := access.NewAccounts(store.Store, cheap())
		store.Set(stores.Hooks{Put: func(string) error {
			store.Set(stores.Hooks{})
			_, err := others.Reset(t.Context(), "bob")
			return err
		}})
		assert.Equal(t, http.StatusUnauthorized, (&browser{}).login(a, "bob", good).code)
	})
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stores.NewMemory()
		a := start(t, m.Open(t)).ready()
		<-a.first
		ctx := t.Context()
		session := a.member("bob", access.Operator)
		text, shown, err := a.Accounts().CreateToken(ctx, "bob", "the till", access.Operator, time.Now().Add(time.Hour))
		require.NoError(t, err)
		assert.Regexp(t, `^seckill_[0-9A-Z]{26}_[A-Za-z0-9_-]{43}$`, text)
		assert.Equal(t, text[len(text)-4:], shown.LastFour)
		for _, e := range all(t, m, "admin/") {
			assert.NotContains(t, string(e.Value), text[len(text)-43:], "the secret is not kept")
			assert.NotContains(t, string(e.Value), session.cookie.Value)
			assert.NotContains(t, e.Key, session.cookie.Value)
			assert.True(t, access.Owns(e.Key), e.Key)
		}
		assert.False(t, access.Owns("config"))
		tokens, problems, err := a.Accounts().Tokens(ctx)
		require.NoError(t, err)
		assert.Empty(t, problems)
		assert.Equal(t, []access.Token{shown}, tokens)

		till := &browser{token: text}
		assert.Equal(t, http.StatusOK, till.get(a, "/operate").code)
		assert.Equal(t, http.StatusForbidden, till.do(a, http.MethodPost, "/password", "from", good, "to", good+"!").code)
		assert.Equal(t, http.StatusForbidden, till.get(a, "/admin").code)
		both := &browser{token: "x", cookie: session.cookie}
		assert.Equal(t, http.StatusUnauthorized, both.get(a, "/view").code, "what is sent as a token has to be one")
		for _, bad := range []string{
			"", "x", text[:len(text)-1], text + "A", strings.ToLower(text), text[:len(text)-1] + "!",
			strings.Replace(text, "_", "-", 1), "seckill_" + strings.Repeat("Z", 26) + "_" + text[len(text)-43:], text[:len(text)-43] + strings.Repeat("A", 43),
			"seckill_../users/bob/aaaaaaaaaaaaa_" + strings.Repeat("A", 43),
		} {
			got := (&browser{token: bad}).get(a, "/view")
			assert.Equal(t, http.StatusUnauthorized, got.code, bad)
			assert.Equal(t, "unauthenticated", got.problem.Code)
			assert.Equal(t, "Bearer", got.header.Get("WWW-Authenticate"))
		}

		require.NoError(t, a.Accounts().SetRole(ctx, "bob", access.Viewer))
		assert.Equal(t, http.StatusForbidden, till.get(a, "/operate").code, "no more than its owner may")
		assert.Equal(t, http.StatusOK, till.get(a, "/view").code)
		time.Sleep(time.Hour)
		assert.Equal(t, http.StatusUnauthorized, till.get(a, "/view").code, "it has expired")

		text, _, err = a.Accounts().CreateToken(ctx, "bob", "another", access.Viewer, time.Time{})
		require.NoError(t, err)
		till.token = text
		assert.Equal(t, http.StatusOK, till.get(a, "/view").code)
		require.NoError(t, a.Accounts().Remove(ctx, "bob"))
		assert.Equal(t, http.StatusUnauthorized, till.get(a, "/view").code)
		a.member("bob", access.Admin)
		assert.Equal(t, http.StatusUnauthorized, till.get(a, "/view").code, "it was that of another bob")

		for _, bad := range []struct {
			owner, name string
			role        access.Role
			expires     time.Time
			want        error
		}{
			{"carol", "x", access.Viewer, time.Time{}, backend.ErrNotFound},
			{"bob", "", access.Viewer, time.Time{}, backend.ErrInvalid},
			{"bob", "a\nb", access.Viewer, time.Time{}, backend.ErrInvalid},
			{"bob", strings.Repeat("x", 65), access.Viewer, time.Time{}, backend.ErrInvalid},
			{"bob", "x", "root", time.Time{}, backend.ErrInvalid},
			{"bob", "x", access.Viewer, time.Now(), backend.ErrInvalid},
		} {
			_, _, err := a.Accounts().CreateToken(ctx, bad.owner, bad.name, bad.role, bad.expires)
			require.ErrorIs(t, err, bad.want, bad)
		}
		require.NoError(t, a.Accounts().SetRole(ctx, "bob", access.Operator))
		_, _, err = a.Accounts().CreateToken(ctx, "bob", "x", access.Admin, time.Time{})
		require.ErrorContains(t, err, "a token for admin, but its owner bob is operator")
		require.ErrorIs(t, a.Accounts().RevokeToken(ctx, "../users/bob"), backend.ErrNotFound)
	})
}

func all(t *testing.T, m *stores.Memory, prefix string) []backend.Entry {
	t.Helper()
	entries, _, err := backend.List(t.Context(), m.Open(t), prefix)
	require.NoError(t, err)
	return entries
}

func TestUsersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stores.NewMemory()
		a := access.NewAccounts(m.Open(t), cheap())
		for _, name := range []string{"", "Bob", "a/b", "..", ".a", "-a", "a b", "ä", strings.Repeat("x", 65)} {
			_, err := a.Add(t.Context(), name, access.Viewer)
			require.ErrorIs(t, err, backend.ErrInvalid, name)
			require.ErrorIs(t, a.Remove(t.Context(), name), backend.ErrNotFound, name)
		}
		_, err := a.Add(t.Context(), "bob", "root")
		require.ErrorContains(t, err, `role "root", expected viewer, operator or admin`)
		_, err = a.Add(t.Context(), "bob@example.com", access.Viewer)
		require.NoError(t, err)
		_, err = a.Add(t.Context(), "bob@example.com", access.Viewer)
		require.ErrorIs(t, err, access.ErrExists)
		_, err = a.Reset(t.Context(), "carol")
		require.ErrorIs(t, err, backend.ErrNotFound)
		require.ErrorIs(t, a.SetRole(t.Context(), "carol", access.Viewer), backend.ErrNotFound)
		require.ErrorIs(t, a.SetRole(t.Context(), "bob@example.com", ""), backend.ErrInvalid)

		m.Put(t, "admin/users/junk", `{"role":"admin"`)
		users, problems, err := a.Users(t.Context())
		require.NoError(t, err)
		assert.Len(t, users, 1)
		require.Len(t, problems, 1)
		require.ErrorContains(t, problems[0], "admin/users/junk")
	})
}

func TestSweep(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		a := start(t, store).ready()
		stores.Wait(t, "the first user", func() bool { return len(a.first) > 0 })
		ctx := t.Context()
		bob, carol := a.member("bob", access.Viewer), a.member("carol", access.Viewer)
		for _, owner := range []string{"bob", "carol"} {
			_, _, err := a.Accounts().CreateToken(ctx, owner, "x", access.Viewer, time.Time{})
			require.NoError(t, err)
		}
		s.Put(t, "admin/sessions/junk", "{")
		// That each of them has begun with a password for one use left a session.
		deleted, err := a.Accounts().Sweep(ctx)
		require.NoError(t, err)
		assert.Equal(t, 2, deleted)

		require.NoError(t, a.Accounts().Remove(ctx, "bob"))
		s.Put(t, "admin/sessions/old", `{"user":"carol","generation":"x","created":"2020-01-01T00:00:00Z","seen":"2020-01-01T00:00:00Z"}`)
		rev, err := store.Put(ctx, "term", []byte("mine"))
		require.NoError(t, err)
		_, err = store.Put(ctx, "term", []byte("another's"))
		require.NoError(t, err)
		deleted, err = a.Accounts().Sweep(ctx, backend.If("term", rev))
		require.ErrorIs(t, err, backend.ErrConflict, "a job whose term is over deletes nothing")
		assert.Zero(t, deleted)
		e, err := store.Get(ctx, "term")
		require.NoError(t, err)
		deleted, err = a.Accounts().Sweep(ctx, backend.If("term", e.Revision))
		require.NoError(t, err)
		assert.Equal(t, 3, deleted, "a session and a token of bob's, an old session")
		assert.Equal(t, http.StatusOK, carol.get(a, "/view").code)
		bob.isOut(a)
		deleted, err = a.Accounts().Sweep(ctx)
		require.NoError(t, err)
		assert.Zero(t, deleted)
		_, err = store.Get(ctx, "admin/sessions/junk")
		require.NoError(t, err, "what can't be read stays")
	})
}

func TestCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, stores.NewMemory().Open(t)).ready()
		<-a.first
		a.member("bob", access.Viewer)
		plain := &browser{remote: "127.0.0.1:1"}
		require.Equal(t, http.StatusOK, plain.login(a, "bob", good).code)
		assert.Regexp(t, `^seckill=[A-Za-z0-9_-]{43}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax$`, plain.cookie.Raw)

		proxied := &browser{remote: "127.0.0.1:1", header: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-For": {"198.51.100.1, 192.0.2.1"}}}
		require.Equal(t, http.StatusOK, proxied.login(a, "bob", good).code)
		assert.Regexp(t, `^__Host-seckill=[A-Za-z0-9_-]{43}; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax$`, proxied.cookie.Raw)
		assert.Equal(t, http.StatusOK, proxied.get(a, "/view").code)
		another := &browser{remote: "127.0.0.1:1", header: proxied.header}
		require.Equal(t, http.StatusUnauthorized, another.login(a, "bob", "wrong").code)
		assert.Contains(t, a.log.String(), "client=192.0.2.1 ", "the proxy tells who it is")

		planted := *proxied
		planted.cookie = &http.Cookie{Name: "seckill", Value: proxied.cookie.Value}
		assert.Equal(t, http.StatusUnauthorized, planted.get(a, "/view").code, "over TLS only a cookie that came over TLS")

		require.Equal(t, http.StatusOK, proxied.do(a, http.MethodPost, "/logout").code)
		assert.Equal(t, "__Host-seckill=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax", proxied.cookie.Raw)
	})
}

func TestOtherOriginsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, stores.NewMemory().Open(t)).ready()
		<-a.first
		me := a.member("bob", access.Operator)
		for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
			me.header = http.Header{header: {value}}
			for _, path := range []string{"/operate", "/login", "/logout", "/password"} {
				got := me.do(a, http.MethodPost, path)
				assert.Equal(t, http.StatusForbidden, got.code, path)
				assert.Equal(t, "forbidden", got.problem.Code)
			}
			assert.Equal(t, http.StatusOK, me.get(a, "/view").code, "a link works")
		}
		me.header = http.Header{"Sec-Fetch-Site": {"same-origin"}}
		assert.Equal(t, http.StatusOK, me.do(a, http.MethodPost, "/operate").code)
	})
}

// A stranger asks the store for so much only.
func TestStrangersCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		a := start(t, store).ready()
		<-a.first
		time.Sleep(time.Minute)
		var reads atomic.Int64
		store.Set(stores.Hooks{Get: func(string) error {
			reads.Add(1)
			return nil
		}})
		for range 1000 {
			stranger := browser{cookie: &http.Cookie{Name: "seckill", Value: strings.Repeat("A", 43)}, remote: "192.0.2.1:1"}
			require.Equal(t, http.StatusUnauthorized, stranger.get(a, "/view").code)
			require.Equal(t, http.StatusUnauthorized, (&browser{}).get(a, "/view").code)
		}
		assert.Equal(t, int64(20), reads.Load())
		time.Sleep(time.Minute)
		store.Set(stores.Hooks{Get: func(string) error { return backend.ErrUnavailable }})
		stranger := browser{cookie: &http.Cookie{Name: "seckill", Value: strings.Repeat("A", 43)}, remote: "192.0.2.1:1"}
		assert.Equal(t, http.StatusServiceUnavailable, stranger.get(a, "/view").code, "nobody is told to log in for that")
	})
}

func TestOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, stores.NewMemory().Open(t)).ready()
		<-a.first
		me := a.member("bob", access.Operator)
		service := web.New("t", "v1", func() error { return nil }, nil)
		for path, role := range map[string]access.Role{"/view": access.Viewer, "/operate": access.Operator, "/admin": access.Admin, "/none": ""} {
			huma.Register(service, huma.Operation{
				OperationID: path[1:], Method: http.MethodGet, Path: path,
				Middlewares: huma.Middlewares{access.Operation(role)},
			}, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		}
		a.handler = a.Authenticate(service)
		for path, want := range map[string]int{"/view": http.StatusNoContent, "/operate": http.StatusNoContent, "/admin": http.StatusForbidden, "/none": http.StatusForbidden} {
			assert.Equal(t, want, me.get(a, path).code, path)
			assert.Equal(t, http.StatusUnauthorized, (&browser{}).get(a, path).code, path)
		}

		unwired := httptest.NewRecorder()
		access.Require(access.Viewer)(a.mux()).ServeHTTP(unwired, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/view", http.NoBody))
		assert.Equal(t, http.StatusUnauthorized, unwired.Code, "without Authenticate nobody is let in")
	})
}

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{access.ErrLastAdmin, "last_admin"}, {access.ErrExists, "exists"}, {password.ErrBusy, "throttled"},
		{backend.ErrNotFound, "not_found"}, {backend.ErrInvalid, "invalid"}, {backend.ErrUnavailable, "unavailable"},
		{backend.ErrUnknown, "unknown"}, {backend.ErrConflict, "unavailable"}, {web.NewProblem(418, "tea", ""), "tea"},
	} {
		var p *web.Problem
		require.ErrorAs(t, access.Problem(test.err), &p)
		assert.Equal(t, test.want, p.Code)
	}
	require.NoError(t, access.Problem(nil))
	defect := errors.New("x")
	assert.Equal(t, defect, access.Problem(defect))
}
