package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/app/gate"
	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/payment"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web/webtest"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

var silent = slog.New(slog.DiscardHandler)

// A door has a key that buyers' tokens are signed with, and a secret that payments
// are.
type door struct {
	key      identity.Key
	identity *identity.Verifier
	payments *payment.Verifier
}

const secret = "the secret of the payment service"

func newDoor(t testing.TB) door {
	t.Helper()
	key, err := identity.NewKey("HS256", "k")
	require.NoError(t, err)
	set, err := identity.Set{key}.Encode()
	require.NoError(t, err)
	keys, secrets := filepath.Join(t.TempDir(), "keys.json"), filepath.Join(t.TempDir(), "secrets")
	require.NoError(t, os.WriteFile(keys, set, 0o600))
	require.NoError(t, os.WriteFile(secrets, []byte(secret), 0o600))
	d := door{key: key}
	d.identity, err = identity.Open(identity.Config{KeysFile: keys})
	require.NoError(t, err)
	d.payments, err = payment.Open(secrets, silent)
	require.NoError(t, err)
	return d
}

// token is a buyer's, for a day.
func (d door) token(t testing.TB, user string) string {
	t.Helper()
	token, err := identity.Mint(d.key, identity.Claims{Subject: user, Expires: time.Now().Add(24 * time.Hour)})
	require.NoError(t, err)
	return token
}

func sign(body string) string { return payment.Sign(secret, []byte(body), time.Now()) }

// A shop is a service on a desk, both in this process.
type shop struct {
	*testing.T
	door
	store   backend.Store
	service *api.Service
	goods   *catalogue.Catalogue
	gate    *gate.Gate
	busy    atomic.Bool // the processors
}

// inShop runs a test in a bubble whose clock is its own, with a shop on the memory
// driver.
func inShop(t *testing.T, f func(t *testing.T, s *shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		t.Cleanup(func() { assert.NoError(t, store.Close()) })
		s := open(t, store, nil)
		f(t, s)
	})
}

// open opens a shop. Without a seller it has a desk of its own.
func open(t *testing.T, store backend.Store, other api.Seller) *shop {
	t.Helper()
	s := &shop{T: t, door: newDoor(t), store: store, goods: catalogue.New(store, silent)}
	if other == nil {
		other = s.desk(registry.Config{TTL: time.Second, Node: registry.Node{Addr: "10.0.0.1:8080"}})
	}
	stores.Start(t, s.goods.Run)
	require.NoError(t, s.goods.AwaitSynced(t.Context()))
	s.openGate()
	s.service = api.New(s.config(other))
	return s
}

// wide is a cluster config that makes a gate refuse nobody for being one too many.
func wide() settings.Cluster {
	c := settings.Defaults().Config
	c.RateLimit = settings.RateLimit{Middle: 1e9, Low: 1e9, PerUser: settings.UserRate{Requests: 1e9, Seconds: 1, Burst: 1e9}}
	c.CircuitBreaker = settings.CircuitBreaker{CPU: 100, Latency: 3_600_000}
	return c
}

// openGate makes a gate that is wide open.
func (s *shop) openGate() {
	s.Helper()
	s.gateFor(s.identity, nil)
}

func (s *shop) gateFor(known gate.Identity, list *blacklist.List) {
	s.Helper()
	var err error
	s.gate, err = gate.New(gate.Config{
		Identity: known, Blacklist: list, Events: s.goods, Cluster: wide(), Log: silent,
		CPU: func() (all, own float64, err error) {
			if s.busy.Load() {
				return 100, 100, nil
			}
			return 0, 0, nil
		},
	})
	require.NoError(s, err)
	s.gate.SetShare(1)
	time.Sleep(100 * time.Millisecond) // buckets fill
}

// blacklistOf has a user on it.
func blacklistOf(t *testing.T, user string) *blacklist.List {
	t.Helper()
	file, text := filepath.Join(t.TempDir(), "blacklist"), []byte(user+"\n")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	list, err := blacklist.Open(t.Context(), follow.Source{File: file, Mode: follow.Push}, silent)
	require.NoError(t, err)
	return list
}

func (s *shop) config(seller api.Seller) api.Config {
	return api.Config{
		Version: "v1", Ready: func() error { return nil }, Seller: seller, Catalogue: s.goods,
		Gate: s.gate, Payments: s.payments, Streams: 10_000, Log: silent,
	}
}

// desk runs a desk that is registered so.
func (s *shop) desk(as registry.Config) *sale.Desk {
	s.Helper()
	id := ulid.Make()
	as.Node.Incarnation = id.String()
	r, err := registry.NewRegistration(s.store, as)
	require.NoError(s, err)
	d := registry.NewDirectory(s.store, "", silent)
	desk := sale.New(sale.Config{
		Store: s.store, Directory: d, Incarnation: id, Valid: r.Registered, Logger: silent,
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		},
	})
	for _, run := range []func(context.Context) error{r.Run, d.Run, desk.Run} {
		stores.Start(s, run)
	}
	select {
	case <-r.Ready():
	case <-s.Context().Done():
	}
	return desk
}

// draft is open for five minutes, with ten units of 5 EUR, to be paid in one.
func draft() record.Event {
	now := time.Now().Truncate(time.Millisecond)
	return record.Event{
		Title: "Phone", Description: "Rings.", SKU: "phone-1", Price: record.Price{Minor: 500, Currency: "EUR"},
		Window: record.Window{Opens: now, Closes: now.Add(5 * time.Minute)},
		Total:  10, PerUser: 2, Slots: 2, PayWithin: 60,
	}
}

// publish publishes an event and waits until it is known here.
func (s *shop) publish(change func(*record.Event)) event.Event {
	s.Helper()
	r := draft()
	change(&r)
	e, err := event.Create(s.Context(), s.store, r)
	require.NoError(s, err)
	e, err = event.Publish(s.Context(), s.store, e.ID)
	require.NoError(s, err)
	stores.Wait(s, "the event is known", func() bool { _, ok := s.goods.Event(e.ID); return ok })
	return e
}

func asItIs(*record.Event) {}

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

// refused checks that it is a problem.
func (a answer) refused(status int, code string) answer {
	a.t.Helper()
	assert.Equal(a.t, status, a.status, a.body)
	assert.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"))
	var p struct {
		Status int
		Code   string
	}
	require.NoError(a.t, json.Unmarshal([]byte(a.body), &p), a.body)
	assert.Equal(a.t, code, p.Code, a.body)
	assert.Equal(a.t, status, p.Status)
	return a
}

// A request is one to be made; as is who makes it.
type request struct {
	method, path, as, body string
	header                 map[string]string
}

func (r request) make(t testing.TB, d door) *http.Request {
	t.Helper()
	q := httptest.NewRequestWithContext(t.Context(), r.method, r.path, strings.NewReader(r.body))
	if r.body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	if r.as != "" {
		q.Header.Set("Authorization", "Bearer "+d.token(t, r.as))
	}
	for name, value := range r.header {
		q.Header.Set(name, value)
	}
	return q
}

// do makes a request. Every answer has to be as the document says.
func (s *shop) do(r request) answer {
	s.Helper()
	w := httptest.NewRecorder()
	q := r.make(s, s.door)
	s.service.ServeHTTP(w, q)
	a := answer{s.T, w.Code, w.Header(), w.Body.String()}
	s.conforms(q, a)
	return a
}

func (s *shop) get(path, as string) answer {
	s.Helper()
	return s.do(request{method: http.MethodGet, path: path, as: as})
}

func (s *shop) post(path, as, body string) answer {
	s.Helper()
	return s.do(request{method: http.MethodPost, path: path, as: as, body: body})
}

func (s *shop) order(e event.Event, as, body string) answer {
	s.Helper()
	return s.post("/v1/events/"+e.ID.String()+"/orders", as, body)
}

func (s *shop) pay(body string) answer {
	s.Helper()
	return s.do(request{method: http.MethodPost, path: "/v1/payments", body: body, header: map[string]string{"Seckill-Signature": sign(body)}})
}

// operation finds what the document says of a request, nil if it has no such path.
func (s *shop) operation(q *http.Request) *huma.Operation {
	return webtest.Operation(s.service.OpenAPI(), q)
}

// conforms holds an answer against the document.
func (s *shop) conforms(q *http.Request, a answer) {
	s.Helper()
	webtest.Conforms(s.T, s.service.OpenAPI(), q, a.status, a.header.Get("Content-Type"), a.body)
}
