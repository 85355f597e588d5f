package console

import (
	"encoding/json"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestEveryReasonHasWords(t *testing.T) {
	for _, reason := range figures.Reasons {
		assert.NotEmpty(t, why[reason], reason)
	}
	assert.Len(t, why, len(figures.Reasons))
}

func TestRefusalsAreShownByReason(t *testing.T) {
	s := salePage{}
	s.Refusals, s.Refused = refusalsOf(map[string]int64{"sold_out": 1_234_567, "window": 2, "busy": 0})
	assert.EqualValues(t, 1_234_569, s.Refused)
	v, err := parse(files)
	require.NoError(t, err)
	html, err := v.part("sale", "sale-refusals", s)
	require.NoError(t, err)
	assert.Contains(t, html, "1,234,567")
	assert.Less(t, strings.Index(html, "window"), strings.Index(html, "sold_out"), "in the order in which they are found out")
	assert.NotContains(t, html, "busy")
	html, err = v.part("sale", "sale-refusals", salePage{})
	require.NoError(t, err)
	assert.Contains(t, html, "None")
}

func TestTheCurveBeginsBeforeThePageWasOpened(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	s := salePage{Total: 10}
	assert.Equal(t, []point{{1_700_000_000_000, 3, 7, 10}, {1_700_000_001_000, 4, 6, 10}},
		s.course([]admin.Moment{{At: at, Held: 3}, {At: at.Add(time.Second), Held: 4}, {At: at.Add(2 * time.Second), Held: 5}}, at.Add(2*time.Second)))
}

// publish has an event of so many units sell in two slots, which nobody owns.
func (o *office) publish(title string, total string) (at string) {
	o.Helper()
	w := o.post("/events/new", "title", title, "sku", "D", "price", "1", "currency", "EUR", "opens", "1999-01-01T20:00:00", "closes", "2096-01-01T21:00:00",
		"total", total, "perUser", "1", "payWithin", "60", "slots", "2")
	require.Equal(o, http.StatusSeeOther, w.Code, w.Body)
	at = w.Header().Get("Location")
	require.Equal(o, http.StatusSeeOther, o.post(at+"/publish", "etag", o.etag(at+"/publish")).Code)
	return at
}

// grant gives units of an event to its slots, whose owners are not heard.
func (o *office) grant(at string, pool record.Pool) {
	o.Helper()
	id := must[ulid.ULID](o)(ulid.ParseStrict(path.Base(at)))
	_, err := o.store.Put(o.Context(), record.PoolKey(id), must[[]byte](o)(json.Marshal(pool)))
	require.NoError(o, err)
}

// What was granted to a slot whose owner was never heard is what may be sold, and is not
// shown as sold.
func TestWhatNobodyHasToldIsNotShownAsSold(t *testing.T) {
	o := open(t)
	at := o.publish("Teapot", "1000")
	shows := func(path string, texts ...string) {
		t.Helper()
		body := ""
		stores.Wait(t, path+" shows "+texts[0], func() bool {
			body = o.get(path).Body.String()
			return strings.Contains(body, texts[0])
		})
		for _, text := range texts {
			assert.Contains(t, body, text, path)
		}
	}
	pool := record.NewPool(1000, 2)
	pool.Granted = []int64{200, 40}
	o.grant(at, pool)
	shows(at, "≤ 240", "at most", "≥ 760", "at least, of 1,000", "Not every slot’s owner has been heard")
	shows("/", "at most 240", "at least 760")
	body := o.get(at).Body.String()
	assert.NotContains(t, body, "24.0 %")
	assert.NotContains(t, body, "a second</small></dd></div>\n<div><dt>Remaining", "how fast it goes is not known")
	assert.NotContains(t, body, `<td class="number">200</td><td class="number">200</td>`, "nor what a slot has sold")

	pool.Granted, pool.Scarce, pool.Empty, pool.SoldOut = []int64{600, 400}, true, []bool{true, true}, true
	o.grant(at, pool)
	shows(at, "<dd>1,000<small>", "100.0 %")
	assert.NotContains(t, o.get(at).Body.String(), "Not every slot", "that all is sold stands in the store")
	shows("/", `class="number">1,000<`)
}

// Of a sale of which nothing was heard at all no number is shown.
func TestWhatIsNotKnownOfASaleIsNoNumber(t *testing.T) {
	v, err := parse(files)
	require.NoError(t, err)
	html, err := v.part("overview", "sales", overview{Sales: []saleRow{{Title: "Teapot", Phase: "open"}}})
	require.NoError(t, err)
	for _, field := range []string{"Sold", "Remaining", "Per second"} {
		assert.Contains(t, html, `<td data-label="`+field+`" class="number">–</td>`)
	}
}
