package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/backend"
)

// A consumer whose workers are busy, while others do all the work: what it knows is
// no more than what is there.
func TestAViewForgetsWhatHasLeftTheQueue(t *testing.T) {
	const dir = "shards/0/"
	v := newView(1, "consumers/", func(e backend.Entry) claim {
		made, err := backend.DecodeJSON[claim](e)
		assert.NoError(t, err)
		return made
	})
	s := v.shards[0]
	rev := backend.Revision(0)
	update := func(u backend.Update) {
		rev++
		u.Revision = rev
		for i := range u.Puts {
			u.Puts[i].Revision = rev
		}
		v.applyShard(s, dir, u)
	}
	for i := range 20_000 {
		item, made := dir+itemsDir+fmt.Sprint(i), dir+claimsDir+fmt.Sprint(i)
		update(backend.Update{Puts: []backend.Entry{{Key: item}}})
		returned := fmt.Sprintf(`{"item":%d,"attempt":1,"notBefore":"2999-01-01T00:00:00Z"}`, rev)
		update(backend.Update{Puts: []backend.Entry{{Key: made, Value: []byte(returned)}}})
		update(backend.Update{Deletes: []string{item, made}})
	}
	assert.Empty(t, s.records)
	assert.Less(t, len(s.first), 5000)
	assert.Less(t, len(v.later), 5000)

	update(backend.Update{Puts: []backend.Entry{{Key: dir + itemsDir + "x"}}})
	r, _ := v.next(time.Now(), false)
	assert.Equal(t, "x", r.id)
}
