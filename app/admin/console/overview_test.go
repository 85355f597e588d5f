package console

import (
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

// What is to be read is not put in place anew, or spoken again, each time that a latency is
// measured.
func TestWhatIsToBeReadStays(t *testing.T) {
	v, err := parse(files)
	require.NoError(t, err)
	p := &page{Console: &Console{views: v}}
	now := time.Now()
	o := overview{Store: storeHealth{
		storeState: storeState{Backend: "etcd", Answered: now.Add(-10 * time.Second)}, Latency: time.Millisecond,
		Findings: []backend.Finding{{Check: "space", Verdict: backend.VerdictWarn, Found: "nearly full", Remedy: "compact it"}},
	}}
	first := must[news](t)(p.parts("overview", o, overviewParts...))
	o.Store.Latency *= 2
	second := must[news](t)(p.parts("overview", o, overviewParts...))
	assert.Equal(t, map[string]string{"health": second.parts["health"]}, changes(first.parts, second.parts))
	assert.Contains(t, first.parts["store-findings"], "compact it")
	assert.Contains(t, first.parts["store-away"], `role="alert"`)
	for at, html := range first.parts {
		if at != "store-away" {
			assert.NotContains(t, html, "alert", at)
		}
	}
	assert.NotContains(t, first.parts["store-away"], "ago", "or it would be spoken each second")
}

// A process that waits for a node's address serves nobody yet, and is no other node.
func TestAProcessThatWaitsIsNotSaidToServe(t *testing.T) {
	o := open(t)
	for id, value := range map[string]string{
		"a": `{"addr":"10.0.0.1:80"}`, "a~01K9ZZZZZZZZZZZZZZZZZZZZZ1": `{"addr":"10.0.0.1:80"}`,
		"b": `{"addr":"10.0.0.2:80","draining":true}`, "c": `{"addr":"10.0.0.3:80","health":"critical"}`, "d": `{"addr":"10.0.0.4:80","health":"warning"}`,
	} {
		must[backend.Revision](t)(o.store.Put(t.Context(), "nodes/"+id, []byte(value)))
	}
	states := func() (body string, states []string) {
		body = o.get("/").Body.String()
		for _, found := range regexp.MustCompile(`data-label="State"><span class="tag (\w*)">(\w+)<`).FindAllStringSubmatch(body, -1) {
			states = append(states, found[2]+" "+found[1])
		}
		return body, states
	}
	stores.Wait(t, "all are listed", func() bool {
		body, _ := states()
		return strings.Count(body, `data-label="State"`) == 5
	})
	body, shown := states()
	assert.Equal(t, []string{"ready good", "waiting ", "draining care", "critical bad", "warning care"}, shown)
	assert.Contains(t, body, "<dt>Nodes</dt><dd>4<small>")
	assert.Contains(t, body, "<dt>Config</dt><dd>0 of 4<small>")
}

// A sale does not get out of sight because many events were made after it.
func TestAnOldEventIsStillThere(t *testing.T) {
	o := open(t)
	old, paused := o.publish("The old one", "1"), o.publish("The paused one", "1")
	require.Equal(t, http.StatusSeeOther, o.post(paused+"/suspend", "etag", o.etag(paused+"/suspend")).Code)
	for range 201 {
		draft := event.NewDraft(time.Now())
		draft.Title, draft.SKU, draft.Price.Currency, draft.Total, draft.Window.Closes = "A draft", "S", "EUR", 1, draft.Window.Opens.Add(time.Hour)
		must[event.Event](t)(event.Create(t.Context(), o.store, draft))
	}
	body := o.get("/").Body.String()
	require.Contains(t, body, "The old one")
	require.Contains(t, body, "The paused one")
	assert.Less(t, strings.Index(body, "The paused one"), strings.Index(body, "The old one"), "the newest is first")
	id := path.Base(old)
	assert.Contains(t, o.get("/orders?event="+id).Body.String(), `<option value="`+id+`" selected>The old one (online)</option>`)
	gone := ulid.Make().String()
	assert.Contains(t, o.get("/orders?event="+gone).Body.String(), `<option value="`+gone+`" selected>`+gone+`</option>`, "the search stays what it was")
	assert.Equal(t, 1, strings.Count(o.get("/orders?event=nonsense").Body.String(), " selected"))
}
