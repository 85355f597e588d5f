package audit_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/internal/stores"
)

// kept is what a record has of a value.
func kept(t *testing.T, l *audit.Log, v any) *audit.Value {
	t.Helper()
	require.NoError(t, l.Do(t.Context(), by("a", ""), v, func(context.Context) (any, error) { return v, nil }))
	r := page(t, l, audit.Query{Limit: 1}).Records[0]
	require.Equal(t, r.Before, r.After)
	return r.Before
}

func TestValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := audit.New(stores.NewMemory().Open(t), audit.Options{})
		assert.Nil(t, kept(t, l, nil))
		for want, v := range map[string]any{
			`{"a":12345678901234567890}`: []byte(`{"a":12345678901234567890}`),
			`"plain text"`:               []byte("plain text"),
			`"//4="`:                     []byte{0xff, 0xfe},
			`{"Status":"online"}`:        struct{ Status string }{"online"},
			`"not recorded: json: unsupported type: chan int"`: make(chan int),
		} {
			assert.JSONEq(t, want, string(kept(t, l, v).JSON))
		}
		for _, size := range []int{audit.MaxValue - 2, audit.MaxValue - 1, 10 * audit.MaxValue} {
			text := strings.Repeat("<\"é", size)[:size]
			text = strings.ToValidUTF8(text, "")
			v := kept(t, l, strings.Repeat("x", size))
			assert.Equal(t, size+2 > audit.MaxValue, v.JSON == nil)
			if v.JSON == nil {
				sum := sha256.Sum256([]byte(`"` + strings.Repeat("x", size) + `"`))
				assert.Equal(t, hex.EncodeToString(sum[:]), v.SHA256)
				assert.Equal(t, size+2, v.Bytes)
				assert.LessOrEqual(t, len(v.Cut), 1<<10)
			}
			kept(t, l, text)
		}
	})
}

// What is nested deeper than anybody would look is left out.
func TestDeepValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := audit.New(stores.NewMemory().Open(t), audit.Options{})
		nested := func(depth int, inside string) string {
			return strings.Repeat(`[{"a":`, depth/2) + inside + strings.Repeat(`}]`, depth/2)
		}
		assert.JSONEq(t, nested(32, "1"), string(kept(t, l, []byte(nested(32, "1"))).JSON))
		for _, inside := range []string{"[]", nested(400, `{"password":"hunter2"}`)} {
			assert.JSONEq(t, nested(32, `"(deeper than 32 levels)"`), string(kept(t, l, []byte(nested(32, inside))).JSON))
		}
	})
}

func TestSecretsAreLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory().Open(t)
		l := audit.New(s, audit.Options{})
		for want, v := range map[string]any{
			`{"password":"(secret)","name":"ann"}`:           map[string]string{"password": "hunter2", "name": "ann"},
			`{"users":[{"passwordHash":"(secret)"}]}`:        []byte(`{"users":[{"passwordHash":"hunter2"}]}`),
			`{"API_Token":"(secret)","token_file":"/run/t"}`: []byte(`{"API_Token":"hunter2","token_file":"/run/t"}`),
			`{"tokens":"(secret)","tokenId":7,"secret":""}`:  []byte(`{"tokens":["hunter2"],"tokenId":7,"secret":""}`),
			`{"value":"{\"cookie\":\"(secret)\"}"}`:          map[string]string{"value": `{"cookie": "hunter2"}`},
			`"(secret)"`:                                     "$argon2id$v=19$m=65536,t=3,p=4$hunter2$hunter2",
			`{"p":"(hidden)"}`:                               nil,
		} {
			if v == nil {
				assert.NotContains(t, string(kept(t, l, map[string]credential.Secret{"p": "hunter2"}).JSON), "hunter2")
				continue
			}
			assert.JSONEq(t, want, string(kept(t, l, v).JSON))
		}
		large := kept(t, l, map[string]string{"a": strings.Repeat("x", audit.MaxValue), "Password": "hunter2"})
		assert.NotContains(t, large.Cut, "hunter2")
		for _, key := range keys(t, s) {
			e, err := s.Get(t.Context(), key)
			require.NoError(t, err)
			assert.NotContains(t, string(e.Value), "hunter2")
		}
	})
}

// What a record takes in the store, of an ordinary action and of the largest.
func TestSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := func(a audit.Action, v any) (bytes int) {
			s := stores.NewMemory().Open(t)
			l := audit.New(s, audit.Options{})
			err := l.Do(t.Context(), a, v, func(context.Context) (any, error) { return v, nil })
			require.NoError(t, err)
			for _, key := range keys(t, s) {
				e, err := s.Get(t.Context(), key)
				require.NoError(t, err)
				bytes += len("seckill/") + len(key) + len(e.Value)
			}
			return bytes
		}
		ordinary := size(by("event.publish", "01M7YSEVN4YXS0VPAF7JMTR8BW"), map[string]string{"status": "online"})
		text := strings.Repeat("x", 10_000)
		largest := size(audit.Action{Name: text, Target: text, Actor: text, Remote: text, RequestID: text, Via: audit.ViaToken},
			strings.Repeat("x", audit.MaxValue-2))
		t.Logf("%d bytes, %d at most but for escapes", ordinary, largest)
		assert.Less(t, ordinary, 600)
		assert.Less(t, largest, 20<<10)
	})
}
