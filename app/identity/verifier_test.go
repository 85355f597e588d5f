package identity_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
)

// soon are claims that hold for an hour.
func soon(subject string) identity.Claims {
	return identity.Claims{Subject: subject, Expires: time.Now().Add(time.Hour)}
}

func refused(t *testing.T, v *identity.Verifier, token, want string) {
	t.Helper()
	claims, err := v.Verify(token)
	require.ErrorIs(t, err, identity.ErrUnauthenticated, token)
	require.ErrorContains(t, err, want, token)
	assert.Zero(t, claims)
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 {
			assert.NotContains(t, err.Error(), part)
		}
	}
}

// member is what a key's JWK has decoded under a name.
func member(t *testing.T, key identity.Key, name string) []byte {
	t.Helper()
	text, err := identity.Set{key}.Encode()
	require.NoError(t, err)
	var set struct{ Keys []map[string]string }
	require.NoError(t, json.Unmarshal(text, &set))
	data, err := base64.RawURLEncoding.DecodeString(set.Keys[0][name])
	require.NoError(t, err)
	require.NotEmpty(t, data)
	return data
}

// forge makes a token that Mint would not.
func forge(t *testing.T, method jwt.SigningMethod, key any, header map[string]any, claims jwt.Claims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

func TestWhatIsMintedVerifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, alg := range []string{identity.EdDSA, identity.HS256} {
			key := newKey(t, alg, "a")
			v := verifier(t, identity.Config{Issuer: "https://login.example", Audience: "seckill"}, key)
			said := identity.Claims{
				Subject: strings.Repeat("ü", 64), Issuer: "https://login.example", Audience: []string{"other", "seckill"},
				IssuedAt: time.Now(), Expires: time.Now().Add(time.Hour),
			}
			token := mint(t, key, said)
			for range 2 { // the second time it is known
				claims, err := v.Verify(token)
				require.NoError(t, err)
				assert.True(t, claims.IssuedAt.Equal(said.IssuedAt))
				assert.True(t, claims.Expires.Equal(said.Expires))
				claims.IssuedAt, claims.Expires = said.IssuedAt, said.Expires
				assert.Equal(t, said, claims)
			}
		}
	})
}

func TestMintRefuses(t *testing.T) {
	key := newKey(t, identity.HS256, "a")
	long := soon("buyer")
	long.Issuer = strings.Repeat("x", identity.MaxToken)
	for want, claims := range map[string]identity.Claims{
		`the subject "" names nobody`:                soon(""),
		`has more than 128 bytes`:                    soon(strings.Repeat("x", 129)),
		`the subject "a\x00" has control characters`: soon("a\x00"),
		`the subject "a\xff" is not valid UTF-8`:     soon("a\xff"),
		`a token needs a time when it expires`:       {Subject: "buyer"},
		`at most 8192 are allowed`:                   long,
	} {
		token, err := identity.Mint(key, claims)
		require.ErrorContains(t, err, want)
		assert.Empty(t, token)
	}
	_, err := identity.Mint(identity.Key{}, soon("buyer"))
	require.ErrorContains(t, err, "can't sign")
}

func TestAlgorithmBelongsToTheKey(t *testing.T) {
	pair, mac := newKey(t, identity.EdDSA, "pair"), newKey(t, identity.HS256, "mac")
	v := verifier(t, identity.Config{}, pair, mac)
	claims := jwt.MapClaims{"sub": "buyer", "exp": time.Now().Add(time.Hour).Unix()}
	private := ed25519.NewKeyFromSeed(member(t, pair, "d"))
	secret, public := member(t, mac, "k"), member(t, pair, "x")
	named := func(id string) map[string]any { return map[string]any{"kid": id} }
	const algorithm = "the token's algorithm is not that of its key"

	for _, test := range []struct {
		method jwt.SigningMethod
		key    any
		header map[string]any
		want   string
	}{
		{jwt.SigningMethodEdDSA, private, named("pair"), ""},
		{jwt.SigningMethodHS256, secret, named("mac"), ""},
		{jwt.SigningMethodHS256, public, named("pair"), algorithm}, // anybody has the public key
		{jwt.SigningMethodEdDSA, private, named("mac"), algorithm},
		{jwt.SigningMethodHS512, secret, named("mac"), algorithm},
		{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, named("mac"), algorithm},
		{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, named("pair"), algorithm},
		{jwt.SigningMethodHS256, secret, map[string]any{"kid": "mac", "alg": "None"}, algorithm},
		{jwt.SigningMethodHS256, secret, map[string]any{"kid": "mac", "alg": 7}, algorithm},
		{jwt.SigningMethodHS256, secret, map[string]any{"kid": "mac", "alg": nil}, algorithm},
		{jwt.SigningMethodHS256, public, named("mac"), "the token's signature is wrong"},
		{jwt.SigningMethodHS256, []byte{}, named("mac"), "the token's signature is wrong"},
		{jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(make([]byte, 32)), named("pair"), "the token's signature is wrong"},
		{jwt.SigningMethodHS256, secret, named("pair2"), "the token's key (kid) is unknown"},
		{jwt.SigningMethodHS256, secret, named(""), "the token's key (kid) is unknown"},
		{jwt.SigningMethodHS256, secret, nil, "the token names no key (kid), and there are several"},
		{jwt.SigningMethodHS256, secret, map[string]any{"kid": 7}, "the token is malformed"},
		{jwt.SigningMethodHS256, secret, map[string]any{"kid": nil}, "the token is malformed"},
		{jwt.SigningMethodHS256, secret, map[string]any{"kid": "mac", "crit": []string{"b64"}, "b64": false}, "critical extensions"},
	} {
		token := forge(t, test.method, test.key, test.header, claims)
		if test.want != "" {
			refused(t, v, token, test.want)
			continue
		}
		_, err := v.Verify(token)
		require.NoError(t, err)
	}

	only := verifier(t, identity.Config{}, mac)
	_, err := only.Verify(forge(t, jwt.SigningMethodHS256, secret, nil, claims))
	require.NoError(t, err, "there is one key only")
	refused(t, only, forge(t, jwt.SigningMethodHS256, secret, named("pair"), claims), "the token's key (kid) is unknown")
	refused(t, only, forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, claims), algorithm)
}

func TestClaimsAreChecked(t *testing.T) {
	key := newKey(t, identity.HS256, "a")
	secret := member(t, key, "k")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(500 * time.Millisecond) // times are in whole seconds, clocks are not
		at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		in, ago := at(time.Hour), at(-time.Hour)
		strict := verifier(t, identity.Config{Issuer: "us", Audience: "shop"}, key)
		lax := verifier(t, identity.Config{}, key)
		const leeway = identity.Leeway
		for _, test := range []struct {
			claims jwt.MapClaims
			want   string // by strict
		}{
			{jwt.MapClaims{}, ""},
			{jwt.MapClaims{"aud": "shop"}, ""},
			{jwt.MapClaims{"iat": ago, "nbf": ago, "other": []any{1}}, ""},
			{jwt.MapClaims{"iat": at(leeway), "nbf": at(leeway)}, ""},
			{jwt.MapClaims{"exp": at(-leeway + time.Second)}, ""},
			{jwt.MapClaims{"exp": at(-leeway)}, "the token has expired"},
			{jwt.MapClaims{"exp": ago}, "the token has expired"},
			{jwt.MapClaims{"exp": -1e300}, "the token has expired"},
			{jwt.MapClaims{"exp": 1e300}, "the token has expired"},
			{jwt.MapClaims{"exp": nil}, "the token is malformed"},
			{jwt.MapClaims{"exp": "tomorrow"}, "the token is malformed"},
			{jwt.MapClaims{"exp": 0}, "the token lacks its expiry (exp)"},
			{jwt.MapClaims{"nbf": at(leeway + 2*time.Second)}, "the token is not valid yet"},
			{jwt.MapClaims{"iat": at(leeway + 2*time.Second)}, "the token is not valid yet"},
			{jwt.MapClaims{"iat": []int{1}}, "the token is malformed"},
			{jwt.MapClaims{"iss": "them"}, "the token is not by the expected issuer"},
			{jwt.MapClaims{"iss": 1}, "the token is malformed"},
			{jwt.MapClaims{"iss": ""}, "an expected issuer (iss)"},
			{jwt.MapClaims{"aud": "bank"}, "the token is not meant for this service"},
			{jwt.MapClaims{"aud": []string{}}, "audience (aud)"},
			{jwt.MapClaims{"aud": []any{"shop", 1}}, "the token is malformed"},
			{jwt.MapClaims{"sub": ""}, "the token's subject (sub) names nobody"},
			{jwt.MapClaims{"sub": nil}, "the token is malformed"},
			{jwt.MapClaims{"sub": 7}, "the token is malformed"},
			{jwt.MapClaims{"sub": strings.Repeat("x", 129)}, "(sub) has more than 128 bytes"},
			{jwt.MapClaims{"sub": "a\nb"}, "(sub) has control characters"},
			{jwt.MapClaims{"sub": "a\u0085"}, "(sub) has control characters"},
			{jwt.MapClaims{"sub": "a\ufffd"}, "(sub) is not valid UTF-8"},
		} {
			claims := jwt.MapClaims{"sub": "buyer", "exp": in, "iss": "us", "aud": []string{"shop"}}
			for name, value := range test.claims {
				claims[name] = value
			}
			token := forge(t, jwt.SigningMethodHS256, secret, map[string]any{"kid": "a"}, claims)
			if test.want != "" {
				refused(t, strict, token, test.want)
				continue
			}
			for _, v := range []*identity.Verifier{strict, lax} {
				said, err := v.Verify(token)
				require.NoError(t, err, test.claims)
				assert.Equal(t, "buyer", said.Subject)
			}
		}
		for _, missing := range []string{"exp", "sub", "iss", "aud"} {
			claims := jwt.MapClaims{"sub": "buyer", "exp": in, "iss": "us", "aud": "shop", strings.ToUpper(missing): "buyer"}
			delete(claims, missing)
			token := forge(t, jwt.SigningMethodHS256, secret, map[string]any{"kid": "a"}, claims)
			refused(t, strict, token, "unauthenticated: the token") // another case is another claim
			_, err := lax.Verify(token)
			assert.Equal(t, missing == "iss" || missing == "aud", err == nil, missing)
		}
		claims := jwt.MapClaims{"sub": "buyer", "SUB": "other", "Sub": "other", "exp": in}
		said, err := lax.Verify(forge(t, jwt.SigningMethodHS256, secret, nil, claims))
		require.NoError(t, err)
		assert.Equal(t, "buyer", said.Subject)
	})
}

func TestJunkIsRefused(t *testing.T) {
	key := newKey(t, identity.HS256, "a")
	secret := member(t, key, "k")
	v := verifier(t, identity.Config{}, key)
	good := mint(t, key, soon("buyer"))
	parts := strings.Split(good, ".")
	signed := func(header, claims string) string {
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		mac, err := jwt.SigningMethodHS256.Sign(text, secret)
		require.NoError(t, err)
		return text + "." + base64.RawURLEncoding.EncodeToString(mac)
	}
	const header = `{"alg":"HS256"}`
	for _, test := range []struct{ token, want string }{
		{"", "there is no token"},
		{"x", "malformed"},
		{"..", "malformed"},
		{good + ".", "malformed"},
		{good + "=", "malformed"},
		{" " + good, "malformed"},
		{"Bearer " + good, "malformed"},
		{parts[0] + "." + parts[1], "malformed"},
		{parts[0] + "." + parts[1] + ".", "signature is wrong"},
		{parts[1] + "." + parts[0] + "." + parts[2], "algorithm"},
		{parts[0] + "." + parts[0] + "." + parts[2], "signature is wrong"},
		{signed(header, `null`), "lacks its expiry"},
		{signed(header, `[]`), "malformed"},
		{signed(header, `{"sub":"buyer"`), "malformed"},
		{signed(`null`, `{}`), "algorithm"},
		{signed(header, "{\"sub\":\"a\xff\",\"exp\":9999999999}"), "(sub) is not valid UTF-8"},
		{signed(header, `{"sub":"a\ud800","exp":9999999999}`), "(sub) is not valid UTF-8"},
		{signed(header, `{"sub":"a","exp":1e999}`), "malformed"},
		{signed(header, strings.Repeat(`[`, 5000)), "malformed"},
		{strings.Repeat("x", identity.MaxToken), "malformed"},
		{strings.Repeat("x", identity.MaxToken+1), "more than 8192 bytes"},
	} {
		refused(t, v, test.token, test.want)
	}
	last := good[len(good)-1]
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if byte(c) != last {
			_, err := v.Verify(good[:len(good)-1] + string(c))
			require.Error(t, err, "one token has one spelling")
		}
	}
	_, err := v.Verify(good)
	require.NoError(t, err)
}

func TestKeysRotate(t *testing.T) {
	a, b := newKey(t, identity.EdDSA, "a"), newKey(t, identity.EdDSA, "b")
	impostor := newKey(t, identity.EdDSA, "a")
	file := filepath.Join(t.TempDir(), "keys.json")
	write(t, file, a)
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		v, err := identity.Open(identity.Config{KeysFile: file, Log: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		byA, byB, byImpostor := mint(t, a, soon("1")), mint(t, b, soon("2")), mint(t, impostor, soon("3"))
		check := func(wants ...string) {
			t.Helper()
			time.Sleep(time.Second)
			for i, token := range []string{byA, byB, byImpostor} {
				if wants[i] != "" {
					refused(t, v, token, wants[i])
					continue
				}
				_, err := v.Verify(token)
				require.NoError(t, err)
			}
		}
		const unknown, wrong = "the token's key (kid) is unknown", "the token's signature is wrong"
		check("", unknown, wrong)
		write(t, file, a, b)
		check("", "", wrong)

		require.NoError(t, os.WriteFile(file, []byte(`{"keys":[{"kty":"RSA"}]}`), 0o600))
		check("", "", wrong)
		check("", "", wrong)
		assert.Equal(t, 1, strings.Count(log.String(), "level=ERROR"))
		assert.Contains(t, log.String(), file+`: line 1: keys[0]: kty \"RSA\", expected OKP or oct`)

		write(t, file, b)
		check(unknown, "", unknown)
		write(t, file, impostor)
		check(wrong, unknown, "") // the token of the key before is not remembered
	})
}

func TestWhatIsRememberedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newKey(t, identity.EdDSA, "a")
		v := verifier(t, identity.Config{}, key)
		token := mint(t, key, identity.Claims{Subject: "buyer", Expires: time.Now().Add(time.Minute)})
		for end := time.Now().Add(time.Minute + identity.Leeway); time.Now().Before(end); time.Sleep(time.Second) {
			_, err := v.Verify(token)
			require.NoError(t, err)
		}
		refused(t, v, token, "the token has expired")
	})
}

// Many verify while the keys change; in the end it is as if they always had been.
func TestManyVerifyWhileKeysRotate(t *testing.T) {
	a, b := newKey(t, identity.EdDSA, "a"), newKey(t, identity.HS256, "b")
	file := filepath.Join(t.TempDir(), "keys.json")
	write(t, file, a)
	synctest.Test(t, func(t *testing.T) {
		v, err := identity.Open(identity.Config{KeysFile: file})
		require.NoError(t, err)
		byA, byB := mint(t, a, soon("a")), mint(t, b, soon("b"))
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				for range 100 {
					for subject, token := range map[string]string{"a": byA, "b": byB} {
						if claims, err := v.Verify(token); err == nil {
							assert.Equal(t, subject, claims.Subject)
						} else {
							assert.ErrorContains(t, err, "(kid) is unknown")
						}
					}
					time.Sleep(time.Duration(100+i) * time.Millisecond)
				}
			})
		}
		for _, keys := range [][]identity.Key{{a, b}, {b}, {a, b}, {a}, {a, b}, {b}} {
			time.Sleep(1500 * time.Millisecond)
			write(t, file, keys...)
		}
		group.Wait()
		refused(t, v, byA, "(kid) is unknown")
		_, err = v.Verify(byB)
		require.NoError(t, err)
	})
}

func TestOpenRefuses(t *testing.T) {
	_, err := identity.Open(identity.Config{})
	require.EqualError(t, err, "buyers' keys: no file is given")
	file := filepath.Join(t.TempDir(), "keys.json")
	_, err = identity.Open(identity.Config{KeysFile: file})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte(`{"keys":[{}]}`), 0o600))
	_, err = identity.Open(identity.Config{KeysFile: file})
	require.EqualError(t, err, "buyers' keys: "+file+`: line 1: keys[0]: kty "", expected OKP or oct`)
}

func FuzzVerify(f *testing.F) {
	pair, err := identity.NewKey(identity.EdDSA, "pair")
	require.NoError(f, err)
	mac, err := identity.NewKey(identity.HS256, "mac")
	require.NoError(f, err)
	several, one := verifier(f, identity.Config{Issuer: "us"}, pair, mac), verifier(f, identity.Config{Audience: "us"}, mac)
	for _, key := range []identity.Key{pair, mac} {
		f.Add(mint(f, key, soon("buyer")))
	}
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6Im1hYyIsImNyaXQiOltdfQ.e30.AA")
	f.Fuzz(func(t *testing.T, token string) {
		for _, v := range []*identity.Verifier{several, one} {
			_, err := v.Verify(token) // nobody has signed what they expect
			require.ErrorIs(t, err, identity.ErrUnauthenticated)
		}
	})
}

func FuzzParseSet(f *testing.F) {
	for _, key := range []string{publicJWK, privateJWK, secretJWK, "null", "1", "{}"} {
		f.Add([]byte(`{"keys":[` + key + `]}`))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		set, err := identity.ParseSet(content)
		if err != nil {
			return
		}
		text, err := set.Encode()
		require.NoError(t, err)
		again, err := identity.ParseSet(text)
		require.NoError(t, err)
		assert.Len(t, again, len(set))
	})
}
