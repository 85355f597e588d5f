package identity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
)

// A new token is verified, one that was seen before is known.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{identity.EdDSA, identity.HS256} {
		key, err := identity.NewKey(alg, "")
		require.NoError(b, err)
		v := verifier(b, identity.Config{}, key)
		b.Run(alg+"/new", func(b *testing.B) {
			tokens := make([]string, b.N)
			for i := range tokens {
				tokens[i] = mint(b, key, identity.Claims{Subject: fmt.Sprintf("buyer-%d-%d", b.N, i), Expires: time.Now().Add(time.Hour)})
			}
			b.ResetTimer()
			for _, token := range tokens {
				verifies(b, v, token)
			}
		})
		b.Run(alg+"/known", func(b *testing.B) {
			token := mint(b, key, identity.Claims{Subject: "buyer-1", Expires: time.Now().Add(time.Hour)})
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					verifies(b, v, token)
				}
			})
		})
	}
}

func verifies(b *testing.B, v *identity.Verifier, token string) {
	b.Helper()
	if _, err := v.Verify(token); err != nil {
		b.Error(err)
	}
}
