package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/peer"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

// An office is a console with a service behind it, on a store in memory, and a token for
// each role.
type office struct {
	*testing.T
	store   backend.Store
	node    *node.Node
	console *Console
	access  *access.Access
	desk    *sale.Desk
	self    ulid.ULID // the desk's incarnation, which is not listed
	handler http.Handler
	tokens  map[access.Role]string
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

func open(t *testing.T) *office {
	t.Helper()
	memory := stores.NewMemory()
	silent := slog.New(slog.DiscardHandler)
	o := &office{T: t, store: memory.Open(t), self: ulid.Make(), tokens: map[access.Role]string{}}
	loaded := must[settings.Settings](t)(settings.Load(settings.Sources{}))
	o.node = must[*node.Node](t)(node.New(node.Config{
		Store: o.store, Backend: "memory", Version: "v1", Defaults: loaded.Config, Log: silent, Level: new(slog.LevelVar),
	}))
	require.NoError(t, o.node.Supervise())
	first := make(chan string, 1)
	record := audit.New(o.store, audit.Options{Logger: silent})
	who := must[*access.Access](t)(access.New(access.Config{
		Store: o.store, Hasher: password.New(password.Params{Memory: 16, Time: 1, Threads: 1}), Log: silent, Audit: record,
		FirstPassword: func(_, oneTime string) { first <- oneTime },
	}))
	dial := must[func(string) (*grpc.ClientConn, error)](t)(peer.NewDialer(credential.TLS{}))
	desk := sale.New(sale.Config{
		Store: o.store, Directory: o.node.Directory(), Incarnation: o.self, Valid: func() bool { return true }, Dial: dial, Logger: silent,
	})
	service := must[*admin.Service](t)(admin.New(admin.Config{
		Version: "v1", Store: o.store, Node: o.node, Figures: desk, Access: who, Dial: dial, Log: silent, Audit: record,
	}))
	o.console = must[*Console](t)(New(Config{Service: service, Access: who, Log: silent}))
	o.access, o.desk = who, desk
	o.handler = who.Authenticate(admin.Remember(o.console))
	for _, run := range []func(context.Context) error{who.Run, o.node.Run, desk.Run, service.Run} {
		stores.Start(t, run)
	}
	<-first
	require.NoError(t, o.node.AwaitReady(t.Context()))
	for _, role := range []access.Role{access.Viewer, access.Operator, access.Admin} {
		must[string](t)(who.Accounts().Add(t.Context(), "the-"+string(role), role))
		text, _, err := who.Accounts().CreateToken(t.Context(), "the-"+string(role), "tests", role, time.Time{})
		require.NoError(t, err)
		o.tokens[role] = text
	}
	for role := range o.tokens {
		stores.Wait(t, "the "+string(role)+" is known", func() bool { return o.do(sent{path: "/audit", as: role}).Code == http.StatusOK })
	}
	return o
}

// list has a node listed that says no more than its address.
func (o *office) list(id string) {
	o.Helper()
	o.listWith(id, "")
}

// listWith has a node listed that has an ops address.
func (o *office) listWith(id, ops string) {
	o.Helper()
	_, err := o.store.Put(o.Context(), "nodes/"+id, []byte(`{"addr":"10.0.0.1:8080","ops":"`+ops+`"}`))
	require.NoError(o, err)
	stores.Wait(o, "the node is listed", func() bool {
		_, ok := o.node.Directory().Node(id)
		return ok
	})
}

func (o *office) drained(id string) (registry.Drain, bool) { return o.node.Directory().Drain(id) }

// A sent is a request to be made; a form makes it a POST.
type sent struct {
	path   string
	form   url.Values
	as     access.Role // "": nobody
	header map[string]string
	remote string // "": some other machine
}

func (o *office) do(s sent) *httptest.ResponseRecorder {
	o.Helper()
	method, body := http.MethodGet, ""
	if s.form != nil {
		method, body = http.MethodPost, s.form.Encode()
	}
	r := httptest.NewRequestWithContext(o.Context(), method, s.path, strings.NewReader(body))
	r.RemoteAddr = "10.1.0.1:1"
	if s.remote != "" {
		r.RemoteAddr = s.remote
	}
	if s.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if s.as != "" {
		r.Header.Set("Authorization", "Bearer "+o.tokens[s.as])
	}
	for name, value := range s.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	return w
}

func (o *office) get(path string) *httptest.ResponseRecorder {
	o.Helper()
	return o.do(sent{path: path, as: access.Admin})
}

// post sends a form, as pairs of names and values.
func (o *office) post(path string, pairs ...string) *httptest.ResponseRecorder {
	o.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return o.do(sent{path: path, form: form, as: access.Admin})
}
