package archive

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/backend"
)

// What comes from a file that somebody made by hand is refused, whatever it is, and
// what is read is all there.
func TestNextBatchOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Map(rapid.StringMatching(`[a-z/]{0,3} ?\d{0,3} \d{0,22}\n.{0,20}\n`), func(s string) []byte { return []byte(s) }),
		).Draw(t, "data")
		e, rest, err := nextBatch(data)
		if err == nil {
			assert.Less(t, len(rest), len(data))
			assert.LessOrEqual(t, len(e.Value)+len(rest), len(data))
		}
	})
}

func TestNextBatch(t *testing.T) {
	e, rest, err := nextBatch([]byte("k 7 4\na\nb \nrest"))
	require.NoError(t, err)
	assert.Equal(t, backend.Entry{Key: "k", Revision: 7, Value: []byte("a\nb ")}, e)
	assert.Equal(t, "rest", string(rest))
	for _, bad := range []string{"", "\n", "k 7\n\n", "k 7 x\n\n", "k -1 0\n\n", "k 7 4\nabc\n", "k 7 4\nabcde", "k 7 4", "k 7 4294967296\n\n"} {
		_, _, err := nextBatch([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
}
