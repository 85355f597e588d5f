package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsRememberedIsBounded(t *testing.T) {
	key, err := NewKey(EdDSA, "")
	require.NoError(t, err)
	text, err := Set{key}.Encode()
	require.NoError(t, err)
	r, err := parseRing(text)
	require.NoError(t, err)
	for i := range uint64(remembered + 1000) {
		var id [sha256.Size]byte
		binary.BigEndian.PutUint64(id[:], i)
		r.good.Add(id, Claims{})
	}
	assert.Equal(t, remembered, r.good.Len())
	assert.False(t, r.keys[key.ID].CanSign(), "private keys are not kept")
	assert.Nil(t, r.keys[key.ID].raw)
}
