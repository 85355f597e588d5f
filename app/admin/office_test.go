package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/peer"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web/webtest"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

var silent = slog.New(slog.DiscardHandler)

// An office is an admin process on a store, with one user and one token for each role.
type office struct {
	*testing.T
	store   backend.Store // not the office's own
	faulty  *stores.Faulty
	space   *backend.Space // that the store tells
	node    *node.Node
	service *admin.Service
	access  *access.Access
	api     *admin.API
	handler http.Handler
	log     stores.Logbook
	tokens  map[access.Role]string
	clients int      // that have come, each from an address of its own
	secrets []string // that no answer may have, but the one that makes them
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// open opens an office.
func open(t *testing.T, space stores.Space) *office {
	t.Helper()
	o := &office{T: t, space: &backend.Space{}, store: space.Open(t), faulty: &stores.Faulty{Store: space.Open(t)}, tokens: map[access.Role]string{}}
	loaded := must[settings.Settings](t)(settings.Load(settings.Sources{}))
	o.node = must[*node.Node](t)(node.New(node.Config{
		Store: o.faulty, Backend: "test", Version: "v1", Defaults: loaded.Config, Log: silent, Level: new(slog.LevelVar),
	}))
	require.NoError(t, o.node.Supervise())
	first := make(chan string, 1)
	record := audit.New(o.faulty, audit.Options{Logger: silent, Refusals: admin.Refusals()})
	who := must[*access.Access](t)(access.New(access.Config{
		Store: o.faulty, Hasher: password.New(password.Params{Memory: 16, Time: 1, Threads: 1}), Log: silent, Audit: record,
		FirstPassword: func(_, oneTime string) { first <- oneTime },
	}))
	dial := must[func(string) (*grpc.ClientConn, error)](t)(peer.NewDialer(credential.TLS{}))
	o.access = who
	desk := sale.New(sale.Config{
		Store: o.faulty, Directory: o.node.Directory(), Incarnation: ulid.Make(), Valid: func() bool { return true }, Dial: dial, Logger: silent,
	})
	o.service = must[*admin.Service](t)(admin.New(admin.Config{
		Version: "v1", Store: spacious{o.faulty, o.space}, Node: o.node, Figures: desk, Access: who, Dial: dial, Log: o.log.Logger(),
		Audit: record,
	}))
	o.api = admin.NewAPI(o.service)
	o.handler = o.api.Handler()
	for _, run := range []func(context.Context) error{who.Run, o.node.Run, desk.Run, o.service.Run} {
		stores.Start(t, run)
	}
	o.secrets = append(o.secrets, <-first)
	require.NoError(t, o.node.AwaitReady(t.Context()))
	for _, role := range []access.Role{access.Viewer, access.Operator, access.Admin} {
		o.secrets = append(o.secrets, must[string](t)(who.Accounts().Add(t.Context(), "the-"+string(role), role)))
		text, _, err := who.Accounts().CreateToken(t.Context(), "the-"+string(role), "tests", role, time.Time{})
		require.NoError(t, err)
		o.tokens[role] = text
	}
	for role := range o.tokens {
		stores.Wait(t, "the "+string(role)+" is known", func() bool {
			return o.do(request{method: http.MethodGet, path: "/v1/goods", as: role}).status == http.StatusOK
		})
	}
	return o
}

// spacious is a store that tells how much room it has.
type spacious struct {
	backend.Store
	space *backend.Space
}

func (s spacious) Space(context.Context) (backend.Space, error) { return *s.space, nil }

// A request is one to be made.
type request struct {
	method, path, body string
	as                 access.Role // "": nobody
	from               string      // an address; "": one of its own
	header             map[string]string
}

func (r request) with(name, value string) request {
	header := map[string]string{name: value}
	for n, v := range r.header {
		if n != name {
			header[n] = v
		}
	}
	r.header = header
	return r
}

func (r request) by(role access.Role) request {
	r.as = role
	return r
}

func (r request) at(path string) request {
	r.path = path
	return r
}

func (r request) saying(body string) request {
	r.body = body
	return r
}

// An answer is what the service said.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// read reads the answer, which has to have a status.
func (a answer) read(status int, v any) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.status, a.body)
	require.NoError(a.t, json.Unmarshal([]byte(a.body), v), a.body)
	return a
}

func (a answer) is(status int) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.status, a.body)
	return a
}

func (a answer) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Code
}

// refused checks that it is a problem.
func (a answer) refused(status int, code string) answer {
	a.t.Helper()
	assert.Equal(a.t, status, a.status, a.body)
	assert.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"))
	assert.Equal(a.t, code, a.code(), a.body)
	return a
}

func (o *office) make(r request) *http.Request {
	q := httptest.NewRequestWithContext(o.Context(), r.method, r.path, strings.NewReader(r.body))
	if r.body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	if r.as != "" {
		q.Header.Set("Authorization", "Bearer "+o.tokens[r.as])
	}
	o.clients++
	q.RemoteAddr = fmt.Sprintf("10.1.%d.%d:1", o.clients/200, o.clients%200)
	if r.from != "" {
		q.RemoteAddr = r.from
	}
	for name, value := range r.header {
		if value == "" {
			q.Header.Del(name)
			continue
		}
		q.Header.Set(name, value)
	}
	return q
}

// do makes a request. Every answer has to be as the document says, and tell no secret.
func (o *office) do(r request) answer {
	o.Helper()
	w := httptest.NewRecorder()
	q := o.make(r)
	o.handler.ServeHTTP(w, q)
	a := answer{o.T, w.Code, w.Header(), w.Body.String()}
	o.conforms(q, a)
	for _, secret := range append(o.secrets, "$argon2id") {
		assert.NotContains(o, a.body, secret, r.path)
	}
	return a
}

func (o *office) get(path string) answer {
	o.Helper()
	return o.do(request{method: http.MethodGet, path: path, as: access.Admin})
}

// operation finds what the document says of a request, nil if it has no such path.
func (o *office) operation(q *http.Request) *huma.Operation {
	return webtest.Operation(o.api.OpenAPI(), q)
}

// conforms holds an answer against the document, which names the codes of refusals.
func (o *office) conforms(q *http.Request, a answer) {
	o.Helper()
	r := webtest.Conforms(o.T, o.api.OpenAPI(), q, a.status, a.header.Get("Content-Type"), a.body)
	if r != nil && a.body != "" && a.status >= http.StatusBadRequest {
		assert.Contains(o, r.Description, "`"+a.code()+"`", "%s %s: %s", q.Method, q.URL.Path, a.body)
	}
}

// A shop is a node that sells, in this process.
type shop struct {
	id   string
	desk *sale.Desk
	reg  *registry.Registration
	told *told
}

// told is a process that is told something, and answers as it is told to.
type told struct {
	control.UnimplementedControlServer
	err error
}

func (c *told) Push(context.Context, *control.PushRequest) (*control.PushReply, error) {
	return &control.PushReply{Until: time.Now().Add(time.Minute).UnixMilli(), Hash: "abc"}, c.err
}

func (c *told) Clear(context.Context, *control.ClearRequest) (*control.ClearReply, error) {
	return &control.ClearReply{Had: true}, c.err
}

func (c *told) Reload(context.Context, *control.ReloadRequest) (*control.ReloadReply, error) {
	return &control.ReloadReply{}, c.err
}

// sell starts a node that sells, with a page at its ops address.
func (o *office) sell(addr, page string) *shop {
	o.Helper()
	s := &shop{told: &told{}}
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(page))
	}))
	o.Cleanup(ops.Close)
	listener, err := (&net.ListenConfig{}).Listen(o.Context(), "tcp", "127.0.0.1:0")
	require.NoError(o, err)
	id := ulid.Make()
	s.reg = must[*registry.Registration](o)(registry.NewRegistration(o.store, registry.Config{Node: registry.Node{
		Addr: addr, RPC: listener.Addr().String(), Ops: strings.TrimPrefix(ops.URL, "http://"), Incarnation: id.String(), Version: "v1",
	}}))
	s.id = s.reg.Status().Node.ID
	directory := registry.NewDirectory(o.store, "", silent)
	dial := must[func(string) (*grpc.ClientConn, error)](o)(peer.NewDialer(credential.TLS{}))
	s.desk = sale.New(sale.Config{Store: o.store, Directory: directory, Incarnation: id, Valid: s.reg.Registered, Dial: dial, Logger: silent})
	server := must[*grpc.Server](o)(peer.NewServer(credential.TLS{}))
	s.desk.Serve(server)
	control.RegisterControlServer(server, s.told)
	stores.Start(o, func(ctx context.Context) error { return peer.Serve(ctx, server, listener) })
	for _, run := range []func(context.Context) error{directory.Run, s.desk.Run, s.reg.Run} {
		stores.Start(o, run)
	}
	stores.Wait(o, "the node is listed", func() bool {
		_, ok := o.node.Directory().Node(s.id)
		return ok
	})
	return s
}

// draft is open for an hour, with ten units, to be paid in a minute.
func draft() record.Event {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return record.Event{
		Title: "Phone", SKU: "phone-1", Price: record.Price{Minor: 500, Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(time.Hour)}, Total: 10, PerUser: 2, Slots: 2, PayWithin: 60,
	}
}

func (o *office) drafted() event.Event {
	o.Helper()
	return must[event.Event](o)(event.Create(o.Context(), o.store, draft()))
}

func (o *office) published() event.Event {
	o.Helper()
	return must[event.Event](o)(o.drafted().Publish(o.Context(), o.store))
}

func (o *office) closed() event.Event {
	o.Helper()
	return must[event.Event](o)(o.published().Close(o.Context(), o.store))
}

func tag(revision backend.Revision) string {
	return `"` + strconv.FormatUint(uint64(revision), 10) + `"`
}

// buy buys a unit.
func (o *office) buy(s *shop, e event.Event, user string) ledger.Order {
	o.Helper()
	var order ledger.Order
	stores.Wait(o, "an order", func() bool {
		var err error
		order, _, err = s.desk.Order(o.Context(), e.ID, ledger.Demand{User: user, Request: "r", Quantity: 1})
		return err == nil
	})
	return order
}
