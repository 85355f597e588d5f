package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/ledger"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/verify"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A node is a shop that is reached by TCP, as are its desk's questions.
type node struct {
	*shop
	url    string
	client *http.Client
}

func startNode(t *testing.T, space stores.Space, d door) *node {
	t.Helper()
	s := &shop{T: t, door: d, store: space.Open(t)}
	s.goods = catalogue.New(s.store, silent)
	stores.Start(t, s.goods.Run)
	require.NoError(t, s.goods.AwaitSynced(t.Context()))

	questions, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.service.ServeHTTP(w, r) }))
	desk := s.desk(registry.Config{
		TTL: 15 * time.Second, Node: registry.Node{Addr: server.Listener.Addr().String(), RPC: questions.Addr().String()},
	})
	answering := grpc.NewServer()
	desk.Serve(answering)
	served := make(chan error, 1)
	go func() { served <- answering.Serve(questions) }()
	s.openGate()
	s.service = api.New(s.config(desk))
	server.Start()
	t.Cleanup(func() {
		s.service.Drain()
		server.Close()
		answering.Stop()
		require.NoError(t, <-served)
	})
	return &node{s, server.URL, server.Client()}
}

// do makes a request as clients should: the same one again, for as long as the
// answer is that nothing is known.
func (n *node) do(r request) answer {
	n.Helper()
	var a answer
	stores.Wait(n, r.method+" "+r.path+" is answered", func() bool {
		a = n.once(r)
		return a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests
	})
	return a
}

func (n *node) once(r request) answer {
	n.Helper()
	template := r.make(n, n.door)
	q, err := http.NewRequestWithContext(n.Context(), r.method, n.url+r.path, bytes.NewReader([]byte(r.body)))
	require.NoError(n, err)
	q.Header = template.Header
	resp, err := n.client.Do(q)
	require.NoError(n, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(n, err)
	a := answer{n.T, resp.StatusCode, resp.Header, string(body)}
	n.conforms(template, a)
	return a
}

func (n *node) get(path, as string) answer {
	n.Helper()
	return n.do(request{method: http.MethodGet, path: path, as: as})
}

func (n *node) post(path, as, body string) answer {
	n.Helper()
	return n.do(request{method: http.MethodPost, path: path, as: as, body: body})
}

func (n *node) listenTo(e event.Event) *listener {
	n.Helper()
	return n.listenAt(n.client, n.url, e)
}

// The whole of a sale, by HTTP and on real stores: two processes' worth of services,
// each of which answers whatever the other one has decided.
func TestWalkThroughASale(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		d := newDoor(t)
		first, second := startNode(t, space, d), startNode(t, space, d)
		e := publishOn(t, first)
		path := "/v1/events/" + e.ID.String()
		for _, n := range []*node{first, second} {
			stores.Wait(t, "the event is listed", func() bool {
				var list api.EventList
				n.get("/v1/events", "").read(http.StatusOK, &list)
				return len(list.Events) == 1
			})
			stores.Wait(t, "what remains is known", func() bool {
				var detail api.Detail
				n.get(path, "").read(http.StatusOK, &detail)
				return detail.Remaining != nil && *detail.Remaining == 4 && detail.Phase == catalogue.Open
			})
		}
		var topic api.Topic
		first.put("topics/friday", `{"title":"Friday","events":["`+e.ID.String()+`"]}`)
		stores.Wait(t, "the topic is there", func() bool { return second.get("/v1/topics/friday", "").status == http.StatusOK })
		second.get("/v1/topics/friday", "").read(http.StatusOK, &topic)
		assert.Len(t, topic.Events, 1)

		watching := second.listenTo(e)
		watching.expect("state", 4)

		const twice = `{"quantity":2,"request_id":"r1"}`
		var o, again api.Order
		first.post(path+"/orders", "ann", twice).read(http.StatusCreated, &o)
		second.post(path+"/orders", "ann", twice).read(http.StatusOK, &again)
		assert.Equal(t, o, again, "decided once, whoever is asked")
		second.post(path+"/orders", "ann", `{"quantity":1,"request_id":"r2"}`).refused(http.StatusConflict, "limit_reached")
		second.post(path+"/orders", "bob", twice).read(http.StatusCreated, &again)
		for i := range 8 { // buyers of all slots
			first.post(path+"/orders", fmt.Sprint("late", i), twice).refused(http.StatusConflict, "sold_out")
		}
		watching.until("sold_out")

		second.get("/v1/orders/"+o.ID, "ann").read(http.StatusOK, &o)
		second.get("/v1/orders/"+o.ID, "bob").refused(http.StatusNotFound, "no_such_order")
		payment := fmt.Sprintf(`{"order":%q,"payment":"p1","amount":{"minor":1000,"currency":"EUR"}}`, o.ID)
		for _, n := range []*node{second, first} {
			var said struct{ Status ledger.Status }
			n.do(request{method: http.MethodPost, path: "/v1/payments", body: payment, header: map[string]string{"Seckill-Signature": sign(payment)}}).
				read(http.StatusOK, &said)
			assert.Equal(t, ledger.Paid, said.Status)
		}
		first.post("/v1/orders/"+o.ID+"/cancel", "ann", "").refused(http.StatusConflict, "order_paid")
		first.post("/v1/orders/"+again.ID+"/cancel", "bob", "").read(http.StatusOK, &again)
		assert.Equal(t, ledger.Cancelled, again.Status)
		watching.until("available")
		stores.Wait(t, "the units that came back are sold", func() bool {
			return second.post(path+"/orders", "cem", twice).status == http.StatusCreated
		})
		var mine struct{ Orders []api.Order }
		second.get("/v1/me/orders", "ann").read(http.StatusOK, &mine)
		require.Len(t, mine.Orders, 1)
		assert.Equal(t, ledger.Paid, mine.Orders[0].Status)

		_, err := event.Close(t.Context(), first.store, e.ID)
		require.NoError(t, err)
		watching.until("closes")
		first.post(path+"/orders", "dan", twice).refused(http.StatusConflict, "ended")
		first.get("/v1/orders/"+o.ID, "ann").read(http.StatusOK, &o)
		assert.Equal(t, ledger.Paid, o.Status, "orders outlive their sale")
		assert.Equal(t, http.StatusNoContent, second.once(request{method: http.MethodGet, path: path + "/stream"}).status)

		_, id, err := record.ParsePublicID(o.ID)
		require.NoError(t, err)
		report, err := verify.Check(t.Context(), first.store, e.ID, []ulid.ULID{id})
		require.NoError(t, err)
		assert.Empty(t, report.Violations)
		assert.EqualValues(t, 4, report.Held)
	})
}

// publishOn publishes an event of four units, with more time than the test takes.
func publishOn(t *testing.T, n *node) event.Event {
	t.Helper()
	r := draft()
	r.Total, r.Slots, r.PayWithin = 4, 4, 3600
	r.Window.Closes = r.Window.Opens.Add(time.Hour)
	e, err := event.Create(t.Context(), n.store, r)
	require.NoError(t, err)
	hidden, err := json.Marshal(e.ID)
	require.NoError(t, err)
	assert.NotContains(t, n.get("/v1/events", "").body, string(hidden), "a draft")
	e, err = event.Publish(t.Context(), n.store, e.ID)
	require.NoError(t, err)
	return e
}
