package pubsub

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/backend"
)

// Whatever a topic looks like, also like a message's key, its keys are its own.
func TestKeysAreUnambiguous(t *testing.T) {
	segment := rapid.OneOf(rapid.StringN(1, 8, 12), rapid.Just(ulid.Make().String()+"-0000000000000001"))
	rapid.Check(t, func(t *rapid.T) {
		want := stream{
			topic:     strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "topic"), "/"),
			publisher: ulid.Make().String(),
		}
		number := rapid.Uint64Range(1, 1e16-1).Draw(t, "number")
		key := want.key("dir/", number)
		if backend.CheckKey(key) != nil {
			return
		}
		from, n, err := parse("dir/", key)
		if err != nil || from != want || n != number {
			t.Fatalf("%q is read as %v, %d, %v", key, from, n, err)
		}
	})
}

func TestForeignKeysDoNotPanic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := "dir/" + rapid.String().Draw(t, "key")
		from, number, err := parse("dir/", key)
		if err == nil && from.key("dir/", number) != key {
			t.Fatalf("%q is read as another's", key)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	s, err := NewSubscriber(nil, SubscriberConfig{Dir: "dir/"})
	require.NoError(t, err)
	entry := func(i int) backend.Entry {
		from := stream{fmt.Sprint("topic-", i), ulid.Make().String()}
		return backend.Entry{Key: from.key("dir/", 1), Revision: backend.Revision(i)}
	}
	for i := 1; i <= mostStreams+1; i++ {
		s.receive(t.Context(), []backend.Entry{entry(i)})
		s.forget()
	}
	assert.Len(t, s.heard, mostStreams/2+1)
	for _, h := range s.heard {
		assert.Greater(t, h.revision, backend.Revision(mostStreams/2))
	}
}
