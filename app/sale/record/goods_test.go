package record_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

func goods() record.Goods {
	return record.Goods{SKU: "phone-1", Title: "Phone", Description: "Rings.", Images: []string{"/phone.png", "https://cdn.test/phone.png"}}
}

func TestGoods(t *testing.T) {
	require.NoError(t, goods().Validate())
	for field, spoil := range map[string]func(*record.Goods){
		"sku":         func(g *record.Goods) { g.SKU = "" },
		"title":       func(g *record.Goods) { g.Title = strings.Repeat("x", record.MaxTitle+1) },
		"description": func(g *record.Goods) { g.Description = strings.Repeat("x", record.MaxDescription+1) },
		"17 images":   func(g *record.Goods) { g.Images = make([]string, record.MaxImages+1) },
		"images[0] has": func(g *record.Goods) {
			g.Images = []string{"/" + strings.Repeat("x", record.MaxImage)}
		},
		`images[1] "javascript:alert(1)"`: func(g *record.Goods) { g.Images[1] = "javascript:alert(1)" },
		`images[1] "//elsewhere.test/x"`:  func(g *record.Goods) { g.Images[1] = "//elsewhere.test/x" },
		`images[1] "phone.png"`:           func(g *record.Goods) { g.Images[1] = "phone.png" },
		`images[1] "http://%zz"`:          func(g *record.Goods) { g.Images[1] = "http://%zz" },
	} {
		g := goods()
		spoil(&g)
		err := g.Validate()
		require.ErrorIs(t, err, backend.ErrInvalid, field)
		require.ErrorContains(t, err, field)
	}
}

func TestTopic(t *testing.T) {
	a, b := event.String(), order.String()
	topic := record.Topic{Title: "Black Friday", Events: []string{a, b}}
	require.NoError(t, topic.Validate())
	for field, spoil := range map[string]func(*record.Topic){
		"title":                  func(x *record.Topic) { x.Title = "" },
		"description":            func(x *record.Topic) { x.Description = "\xff" },
		"201 events":             func(x *record.Topic) { x.Events = make([]string, record.MaxTopicEvents+1) },
		`events[1] "x"`:          func(x *record.Topic) { x.Events = []string{a, "x"} },
		"in capital letters":     func(x *record.Topic) { x.Events = []string{strings.ToLower(a)} },
		"events[1] " + a + " is": func(x *record.Topic) { x.Events = []string{a, a} },
	} {
		x := topic
		spoil(&x)
		err := x.Validate()
		require.ErrorIs(t, err, backend.ErrInvalid, field)
		require.ErrorContains(t, err, field)
	}
}

func TestNamedRecordsAreReadByTheirKey(t *testing.T) {
	got, err := record.DecodeGoods(backend.Entry{Key: record.GoodsKey("phone"), Value: []byte(`{"sku":"s","title":"t"}`)})
	require.NoError(t, err)
	assert.Equal(t, record.Goods{SKU: "s", Title: "t"}, got)
	topic, err := record.DecodeTopic(backend.Entry{Key: record.TopicKey("1.a_b-c"), Value: []byte(`{"title":"t","events":[]}`)})
	require.NoError(t, err)
	assert.Equal(t, record.Topic{Title: "t", Events: []string{}}, topic)

	for _, id := range []string{"", "-x", "a/b", "a b", strings.Repeat("x", 65)} {
		_, err := record.DecodeTopic(backend.Entry{Key: record.TopicKey(id), Value: []byte(`{"title":"t","events":[]}`)})
		require.ErrorIs(t, err, record.ErrCorrupt, id)
		require.ErrorContains(t, err, "id ")
	}
	for _, value := range []string{"", "null", `{"sku":"s","title":"t","colour":"red"}`, `{"sku":"s"}`} {
		_, err := record.DecodeGoods(backend.Entry{Key: record.GoodsKey("phone"), Value: []byte(value)})
		require.ErrorIs(t, err, record.ErrCorrupt, value)
		require.ErrorContains(t, err, "goods/phone")
	}
}
