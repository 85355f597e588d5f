package access_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

// cheap hashes are for tests that are not about hashing.
func cheap() *password.Hasher {
	return password.New(password.Params{Memory: 16, Time: 1, Threads: 1})
}

const good = "correct horse battery"

// An admin is one process of the admin service.
type admin struct {
	*testing.T
	*access.Access
	hasher  *password.Hasher
	log     stores.Logbook
	handler http.Handler
	first   chan string // passwords of first users
	stop    func() error
}

func start(t *testing.T, s backend.Store) *admin {
	t.Helper()
	a := &admin{T: t, hasher: cheap(), first: make(chan string, 9)}
	var err error
	a.Access, err = access.New(access.Config{
		Store: s, Hasher: a.hasher, Log: a.log.Logger(),
		FirstPassword: func(user, oneTime string) {
			assert.Equal(t, "admin", user)
			a.first <- oneTime
		},
	})
	require.NoError(t, err)
	a.handler = access.CrossOrigin(a.Authenticate(a.mux()))
	a.stop = stores.Start(t, a.Access.Run)
	return a
}

// ready waits until requests are answered.
func (a *admin) ready() *admin {
	a.Helper()
	stores.Wait(a.T, "the admin knows everything", func() bool {
		return (&browser{}).get(a, "/me").code == http.StatusOK && (&browser{token: "seckill_01K9ZZZZZZZZZZZZZZZZZZZZZ1_" + strings.Repeat("A", 43)}).get(a, "/view").code == http.StatusUnauthorized
	})
	return a
}

// mux has what the service will have, in short.
func (a *admin) mux() http.Handler {
	mux := http.NewServeMux()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for path, role := range map[string]access.Role{"/view": access.Viewer, "/operate": access.Operator, "/admin": access.Admin} {
		mux.Handle(path, access.Require(role)(ok))
	}
	mux.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) {
		p, _ := access.FromContext(r.Context())
		_ = json.NewEncoder(w).Encode(p)
	})
	answer := func(w http.ResponseWriter, cookie http.Cookie, err error) {
		if err != nil {
			refuse(a.T, w, err)
			return
		}
		http.SetCookie(w, &cookie)
	}
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		l, err := a.Login(r.Context(), r.FormValue("name"), r.FormValue("password"))
		answer(w, l.Cookie, err)
	})
	mux.HandleFunc("POST /password", func(w http.ResponseWriter, r *http.Request) {
		l, err := a.ChangePassword(r.Context(), r.FormValue("from"), r.FormValue("to"))
		answer(w, l.Cookie, err)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := a.Logout(r.Context())
		answer(w, cookie, err)
	})
	return mux
}

func refuse(t *testing.T, w http.ResponseWriter, err error) {
	t.Helper()
	var p *web.Problem
	if assert.ErrorAs(t, err, &p) {
		p.Write(w)
	}
}

// A browser keeps a cookie, or is a program with a token.
type browser struct {
	cookie *http.Cookie
	token  string
	remote string
	header http.Header
}

// An answer is what is to be looked at of one.
type answer struct {
	code    int
	problem web.Problem
	header  http.Header
	who     access.Principal
}

func (b *browser) do(a *admin, method, path string, form ...string) (got answer) {
	a.Helper()
	var body strings.Builder
	for i := 0; i+1 < len(form); i += 2 {
		body.WriteString(form[i] + "=" + strings.ReplaceAll(form[i+1], " ", "+") + "&")
	}
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body.String()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, values := range b.header {
		r.Header[name] = values
	}
	if b.remote != "" {
		r.RemoteAddr = b.remote
	}
	if b.cookie != nil {
		r.AddCookie(&http.Cookie{Name: b.cookie.Name, Value: b.cookie.Value})
	}
	if b.token != "" {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	got.code, got.header = w.Code, w.Header()
	if w.Code >= http.StatusBadRequest {
		require.Equal(a, web.ProblemType, w.Header().Get("Content-Type"))
		require.NoError(a, json.Unmarshal(w.Body.Bytes(), &got.problem))
	} else if path == "/me" {
		require.NoError(a, json.Unmarshal(w.Body.Bytes(), &got.who))
	}
	for _, c := range w.Result().Cookies() {
		b.cookie = c
	}
	return got
}

func (b *browser) get(a *admin, path string) answer {
	a.Helper()
	return b.do(a, http.MethodGet, path)
}

func (b *browser) login(a *admin, name, secret string) answer {
	a.Helper()
	return b.do(a, http.MethodPost, "/login", "name", name, "password", secret)
}

// isOut waits until somebody is let in no more.
func (b *browser) isOut(a *admin) {
	a.Helper()
	stores.Wait(a.T, "out", func() bool { return b.get(a, "/view").code == http.StatusUnauthorized })
}

// member makes a user who has a password and is logged in.
func (a *admin) member(name string, role access.Role) *browser {
	a.Helper()
	oneTime, err := a.Accounts().Add(a.Context(), name, role)
	require.NoError(a, err)
	b := &browser{remote: nextAddress()}
	require.Equal(a, http.StatusOK, b.login(a, name, oneTime).code)
	require.Equal(a, http.StatusOK, b.do(a, http.MethodPost, "/password", "from", oneTime, "to", good).code)
	return b
}

var addresses atomic.Int64

// nextAddress is one that no throttle knows.
func nextAddress() string {
	n := addresses.Add(1)
	return "10.0." + string(rune('0'+n/100%10)) + string(rune('0'+n/10%10)) + "." + string(rune('0'+n%10)) + ":1"
}
