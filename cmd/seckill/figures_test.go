package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
)

// What was granted to a slot whose owner was never heard is what may be sold, and is not
// printed as sold.
func TestFiguresThatNobodyHasTold(t *testing.T) {
	shown := func(f admin.Live) string {
		var b strings.Builder
		body, err := json.Marshal(f)
		require.NoError(t, err)
		require.NoError(t, remote{nil, printer{to: &b}}.figures(client.Answer{Body: body}))
		return b.String()
	}
	now := time.Now()
	f := admin.Live{Total: 10, Held: 5, Remaining: 5, Slots: []admin.LiveSlot{{Owner: "a", Granted: 3, Held: 2, At: now}, {Slot: 1, Owner: "b", Granted: 3, Held: 3}}}
	text := shown(f)
	assert.Contains(t, text, "ordered: at most 5 of 10 units, at least 5 left; not every slot's owner has been heard\n")
	assert.Regexp(t, `(?m)^0 +a +0 +3 +2 `, text)
	assert.Regexp(t, `(?m)^1 +b +0 +3 +- `, text)
	f.Slots[1].At, f.At = now, now
	assert.Contains(t, shown(f), "ordered: 5 of 10 units, 5 left, 0.0 a second\n")
	f.At, f.SoldOut, f.Held, f.Remaining = time.Time{}, true, 10, 0
	assert.Contains(t, shown(f), "ordered: 10 of 10 units, 0 left, sold out, 0.0 a second\n", "that stands in the store")
}
