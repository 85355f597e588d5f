package sale

import (
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
)

func TestRoom(t *testing.T) {
	var r room
	event := ulid.Make()
	for _, most := range []int{1, 5, 3} {
		for i := range all * most {
			assert.True(t, r.enter(event, i/most, most))
		}
		assert.False(t, r.enter(event, 100, most), "all places are taken")
		r.leave(event, 0)
		assert.False(t, r.enter(event, 1, most), "all of this slot are")
		assert.True(t, r.enter(event, 0, most))
		assert.False(t, r.enter(event, 100, 1), "there are more than may come now")
		for i := range all * most {
			r.leave(event, i/most)
		}
	}
	assert.Empty(t, r.slots)
	assert.Zero(t, r.all)
}
