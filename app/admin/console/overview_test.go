package console

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
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
