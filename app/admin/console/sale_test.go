package console

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/figures"
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
		s.course([]admin.Moment{{At: at, Held: 3}, {At: at.Add(time.Second), Held: 4}}))
}
