package lenient_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/recipe/internal/lenient"
)

type record struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func TestDecode(t *testing.T) {
	r, err := lenient.Decode[record]([]byte(" {\"name\":\"a\",\"count\":2,\"more\":{}}\n"))
	require.NoError(t, err)
	assert.Equal(t, record{"a", 2}, r)
	for _, bad := range []string{"", " ", "null", " null\n", "[]", `"a"`, `{"name":1}`, `{"name":"a"`, `{} {}`, `{"name":"a","count":"x"}`} {
		r, err := lenient.Decode[record]([]byte(bad))
		require.Error(t, err, bad)
		assert.Zero(t, r, "nothing is half-decoded")
	}
}
