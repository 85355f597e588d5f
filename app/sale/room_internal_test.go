package sale

import (
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
)

func TestRoom(t *testing.T) {
	var r room
	event := ulid.Make()
	for range 2 {
		for i := range maxWaitingAll {
			assert.True(t, r.enter(event, i/maxWaiting))
		}
		assert.False(t, r.enter(event, 100), "all places are taken")
		r.leave(event, 0)
		assert.False(t, r.enter(event, 1), "all of this slot are")
		assert.True(t, r.enter(event, 0))
		for i := range maxWaitingAll {
			r.leave(event, i/maxWaiting)
		}
	}
	assert.Empty(t, r.slots)
	assert.Zero(t, r.all)
}
