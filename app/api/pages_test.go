package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend/memory"
)

func (s *shop) put(key, value string) {
	s.Helper()
	_, err := s.store.Put(s.Context(), key, []byte(value))
	require.NoError(s, err)
}

func titles(events []api.Event) (titles []string) {
	for _, e := range events {
		titles = append(titles, e.Title)
	}
	return titles
}

func TestEventsArePaged(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		var none api.EventList
		s.get("/v1/events", "").read(http.StatusOK, &none)
		assert.NotNil(t, none.Events)
		for i, title := range []string{"c", "a", "b", "d"} {
			s.publish(func(e *record.Event) {
				e.Title = title
				e.Window.Opens = e.Window.Opens.Add(time.Duration(i%3) * time.Second) // c and d at the same time
			})
			time.Sleep(time.Millisecond) // ids differ by their time
		}
		_, err := event.Create(t.Context(), s.store, draft())
		require.NoError(t, err)

		var all, first, second api.EventList
		s.get("/v1/events", "").read(http.StatusOK, &all)
		assert.Equal(t, []string{"c", "d", "a", "b"}, titles(all.Events))
		assert.Empty(t, all.Next)
		s.get("/v1/events?limit=3", "").read(http.StatusOK, &first)
		assert.Equal(t, []string{"c", "d", "a"}, titles(first.Events))
		s.get("/v1/events?limit=3&after="+first.Next, "").read(http.StatusOK, &second)
		assert.Equal(t, []string{"b"}, titles(second.Events))
		assert.Empty(t, second.Next)
		s.get("/v1/events?limit=1&after="+second.Events[0].ID, "").read(http.StatusOK, &none)
		assert.Empty(t, none.Events)

		for _, query := range []string{"limit=0", "limit=101", "limit=x", "after=x", "after=00000ZZZZZZZZZZZZZZZZZZZZ1"} {
			s.get("/v1/events?"+query, "").refused(http.StatusUnprocessableEntity, "invalid")
		}
	})
}

func TestAnEventAndItsGoods(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(asItIs)
		var d api.Detail
		a := s.get("/v1/events/"+e.ID.String(), "").read(http.StatusOK, &d)
		assert.Equal(t, "public, max-age=1", a.header.Get("Cache-Control"))
		assert.Equal(t, "Rings.", d.Description)
		assert.Nil(t, d.Goods)
		assert.True(t, d.Approximate)
		assert.Equal(t, api.Money{Minor: 500, Currency: "EUR"}, d.Price)

		s.put("goods/phone", `{"sku":"phone-1","title":"The phone","images":["/phone.png"]}`)
		time.Sleep(time.Second)
		now := s.get("/v1/events/"+e.ID.String(), "").read(http.StatusOK, &d)
		assert.NotEqual(t, a.header.Get("ETag"), now.header.Get("ETag"))
		assert.Equal(t, &api.Goods{SKU: "phone-1", Title: "The phone", Images: []string{"/phone.png"}}, d.Goods)
		require.NotNil(t, d.Remaining)
		assert.EqualValues(t, 10, *d.Remaining)

		s.order(e, "ann", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &api.Order{})
		time.Sleep(time.Second)
		s.get("/v1/events/"+e.ID.String(), "").read(http.StatusOK, &d)
		assert.EqualValues(t, 8, *d.Remaining)
	})
}

func TestPhasesAsTheyGo(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		e := s.publish(func(e *record.Event) { e.Total = 2; e.Window.Opens = e.Window.Opens.Add(time.Minute) })
		phase := func() string {
			time.Sleep(time.Second)
			var d api.Detail
			s.get("/v1/events/"+e.ID.String(), "").read(http.StatusOK, &d)
			return string(d.Phase)
		}
		assert.Equal(t, "scheduled", phase())
		time.Sleep(time.Minute)
		assert.Equal(t, "open", phase())
		s.order(e, "ann", `{"quantity":2,"request_id":"r"}`).read(http.StatusCreated, &api.Order{})
		s.order(e, "bob", `{"quantity":2,"request_id":"r"}`).refused(http.StatusConflict, "sold_out")
		assert.Equal(t, "sold_out", phase())
		_, err := event.Suspend(t.Context(), s.store, e.ID)
		require.NoError(t, err)
		assert.Equal(t, "suspended", phase())
		_, err = event.Close(t.Context(), s.store, e.ID)
		require.NoError(t, err)
		assert.Equal(t, "ended", phase())
	})
}

func TestATopicShowsTheEventsThereAre(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		first := s.publish(func(e *record.Event) { e.Title = "first" })
		second := s.publish(func(e *record.Event) { e.Title = "second" })
		draft, err := event.Create(t.Context(), s.store, draft())
		require.NoError(t, err)
		s.put("topics/friday", `{"title":"Friday","description":"Black.","events":["`+
			second.ID.String()+`","`+draft.ID.String()+`","`+first.ID.String()+`"]}`)
		time.Sleep(time.Second)
		var topic api.Topic
		s.get("/v1/topics/friday", "").read(http.StatusOK, &topic)
		assert.Equal(t, "Friday", topic.Title)
		assert.Equal(t, "Black.", topic.Description)
		assert.Equal(t, []string{"second", "first"}, titles(topic.Events), "in the page's order, without the draft")
	})
}

// Pages and streams need no store once they had one.
func TestPagesGoOnWithoutTheStore(t *testing.T) {
	inScript(t, func(t *testing.T, s *shop, _ *scripted) {
		e := s.publish(asItIs)
		store, ok := s.store.(*memory.Store)
		require.True(t, ok)
		store.Cut()
		defer store.Mend()
		time.Sleep(time.Minute)
		var list api.EventList
		s.get("/v1/events", "").read(http.StatusOK, &list)
		assert.Len(t, list.Events, 1)
		s.get("/v1/events/"+e.ID.String(), "").read(http.StatusOK, &api.Detail{})
	})
}
