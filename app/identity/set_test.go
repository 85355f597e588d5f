package identity_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/identity"
)

func TestKeysGoThroughAFile(t *testing.T) {
	set := identity.Set{newKey(t, identity.EdDSA, ""), newKey(t, identity.HS256, "second")}
	assert.Len(t, set[0].ID, 26, "a ULID")
	text, err := set.Encode()
	require.NoError(t, err)
	again, err := identity.ParseSet(text)
	require.NoError(t, err)
	require.Len(t, again, 2)
	for i, k := range again {
		assert.Equal(t, set[i].ID, k.ID)
		assert.Equal(t, set[i].Alg, k.Alg)
		assert.True(t, k.CanSign())
	}
	rewritten, err := again.Encode()
	require.NoError(t, err)
	assert.Equal(t, string(text), string(rewritten))
	assert.NotEqual(t, newKey(t, identity.HS256, "second"), set[1])
}

// Other programs have members of their own in a key.
func TestWhatIsOfNoConcernStays(t *testing.T) {
	set, err := identity.ParseSet([]byte(`{"comment":1,"keys":[` + strings.Replace(publicJWK, `}`, `,"x5t":"abc","key_ops":["verify"]}`, 1) + `]}`))
	require.NoError(t, err)
	text, err := set.Encode()
	require.NoError(t, err)
	assert.Contains(t, string(text), `"x5t": "abc"`)
}

func TestPublicPartOnly(t *testing.T) {
	key := newKey(t, identity.EdDSA, "a")
	public, err := identity.Set{key}.Public()
	require.NoError(t, err)
	text, err := public.Encode()
	require.NoError(t, err)
	var shown struct{ Keys []map[string]string }
	require.NoError(t, json.Unmarshal(text, &shown))
	x := shown.Keys[0]["x"]
	assert.Equal(t, []map[string]string{{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "a", "use": "sig", "x": x}}, shown.Keys)

	read, err := identity.ParseSet(text)
	require.NoError(t, err)
	assert.False(t, read[0].CanSign())
	_, err = identity.Mint(read[0], soon("buyer"))
	require.EqualError(t, err, `the key "a" is a public one, which can't sign`)
	_, err = verifier(t, identity.Config{}, read...).Verify(mint(t, key, soon("buyer")))
	require.NoError(t, err)

	_, err = identity.Set{key, newKey(t, identity.HS256, "b")}.Public()
	require.ErrorContains(t, err, `the key "b" is an HS256 key, which has no public part`)
}

// The example of RFC 8037, appendix A.
const (
	publicJWK  = `{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"rfc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	privateJWK = `{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"rfc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`
	secretJWK  = `{"kty":"oct","alg":"HS256","kid":"mac","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`
)

func TestBadSetsAreRefused(t *testing.T) {
	for _, good := range []string{publicJWK, privateJWK, secretJWK} {
		_, err := identity.ParseSet([]byte(`{"keys":[` + good + `]}`))
		require.NoError(t, err)
	}
	key := func(change ...string) string {
		return `{"keys":[` + secretJWK + `,` + strings.NewReplacer(change...).Replace(privateJWK) + `]}`
	}
	secret := func(change ...string) string {
		return `{"keys":[` + strings.NewReplacer(change...).Replace(secretJWK) + `]}`
	}
	for _, test := range []struct{ content, want string }{
		{``, "line 1: expected a JWK Set"},
		{"{\n\"keys\":[\n}", "line 3: expected a JWK Set"},
		{`null`, "no key, expected a JWK Set"},
		{`{}`, "no key"},
		{`{"keys":[]}`, "no key"},
		{`{"keys":{}}`, "line 1: expected a JWK Set"},
		{"{\n\"keys\": 1\n}", "line 2: expected a JWK Set"},
		{"{\n\"keys\":[\n" + secretJWK + ",\n" + strings.Replace(publicJWK, "OKP", "RSA", 1) + "]}", `line 4: keys[1]: kty "RSA"`},
		{`[]`, "expected a JWK Set"},
		{secretJWK, "no key, expected a JWK Set"},
		{`{"keys":[1]}`, "keys[0]: expected an object"},
		{`{"keys":[null]}`, `keys[0]: kty "", expected OKP or oct`},
		{key(`"d":"nWGx`, `"d":7,"y":"nWGx`), "keys[1]: expected an object whose kty, crv, alg, kid, use, x, d and k are texts: d is not"},
		{key("OKP", "RSA"), `keys[1]: kty "RSA", expected OKP or oct`},
		{key("Ed25519", "X25519"), `keys[1]: crv "X25519", expected Ed25519`},
		{key("EdDSA", "HS256"), `keys[1]: alg "HS256", expected EdDSA for the kty OKP`},
		{key(`"alg":"EdDSA",`, ``), `keys[1]: alg "", expected EdDSA for the kty OKP`},
		{key(`rfc`, ``), "keys[1]: no kid"},
		{key(`"kid":"rfc",`, ``), "keys[1]: no kid"},
		{key(`rfc`, `mac`), `keys[1]: there is another key with the kid "mac"`},
		{key(`rfc`, strings.Repeat("x", 129)), "keys[1]: kid: expected 1 to 128 bytes"},
		{key(`rfc`, `\u0007`), "keys[1]: kid: expected 1 to 128 bytes of UTF-8 without control characters"},
		{key(`"kid"`, `"use":"enc","kid"`), `keys[1]: use "enc", expected sig`},
		{key(`URo`, ``), "keys[1]: x has 30 bytes, expected 32"},
		{key(`URo`, `URo=`), "keys[1]: x: expected base64url without padding"},
		{key(`11qY`, ``), "keys[1]: x has 29 bytes, expected 32"},
		{key(`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",`, ``), "keys[1]: no x"},
		{key(`nWGx`, `nWGy`), "keys[1]: x is not the public part of d"},
		{key(`nWGx`, ``), "keys[1]: d has 29 bytes, expected 32"},
		{key(`nWGx`, `n+Gx`), "keys[1]: d: expected base64url"},
		{secret(`HS256`, `HS512`), `keys[0]: alg "HS512", expected HS256 for the kty oct`},
		{secret(`"k":"AyM1`, `"y":"AyM1`), "keys[0]: no k"},
		{secret(`r_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow`, `g`), "keys[0]: k has 31 bytes, expected at least 32"},
	} {
		_, err := identity.ParseSet([]byte(test.content))
		require.ErrorContains(t, err, test.want, test.content)
		for _, secret := range []string{"nWGx", "AyM1"} {
			assert.NotContains(t, err.Error(), secret)
		}
	}
}

func TestNewKeyRefuses(t *testing.T) {
	_, err := identity.NewKey("RS256", "")
	require.EqualError(t, err, `alg "RS256", expected EdDSA or HS256`)
	_, err = identity.NewKey(identity.EdDSA, "a\n")
	require.ErrorContains(t, err, "kid: expected 1 to 128 bytes")
}

func TestKeysNeverPrint(t *testing.T) {
	set, err := identity.ParseSet([]byte(`{"keys":[` + privateJWK + `,` + secretJWK + `]}`))
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, text := range []string{fmt.Sprintf(verb, set), fmt.Sprintf(verb, set[0]), fmt.Sprintf(verb, &set[1])} {
			assert.Regexp(t, `(EdDSA key "rfc")|(HS256 key "mac")`, text)
			for _, secret := range []string{"nWGx", "AyM1", "9d61b1", "032335", "157 97"} {
				assert.NotContains(t, text, secret, verb)
			}
		}
	}
	encoded, err := json.Marshal(set)
	require.NoError(t, err)
	assert.JSONEq(t, `[{"ID":"rfc","Alg":"EdDSA"},{"ID":"mac","Alg":"HS256"}]`, string(encoded))
}

func TestSigner(t *testing.T) {
	set, err := identity.ParseSet([]byte(`{"keys":[` + publicJWK + `]}`))
	require.NoError(t, err)
	_, err = set.Signer("")
	require.EqualError(t, err, "all keys are public ones, none can sign")
	_, err = set.Signer("rfc")
	require.EqualError(t, err, `the key "rfc" is a public one, which can't sign`)

	set, err = set.With(newKey(t, identity.EdDSA, "a"))
	require.NoError(t, err)
	only, err := set.Signer("")
	require.NoError(t, err)
	assert.Equal(t, "a", only.ID)

	set, err = set.With(newKey(t, identity.HS256, "b"))
	require.NoError(t, err)
	_, err = set.Signer("")
	require.EqualError(t, err, `several keys can sign, choose one by its kid: ["a" "b"]`)
	b, err := set.Signer("b")
	require.NoError(t, err)
	assert.Equal(t, "b", b.ID)
	_, err = set.Signer("c")
	require.EqualError(t, err, `there is no key "c", expected one of ["rfc" "a" "b"]`)
}

func TestSetChanges(t *testing.T) {
	a, b := newKey(t, identity.EdDSA, "a"), newKey(t, identity.EdDSA, "b")
	set := identity.Set{a}
	_, err := set.With(newKey(t, identity.HS256, "a"))
	require.EqualError(t, err, `there is another key with the kid "a"`)
	_, err = set.Without("a")
	require.ErrorContains(t, err, `the key "a" is the only one`)
	both, err := set.With(b)
	require.NoError(t, err)
	_, err = both.Without("c")
	require.EqualError(t, err, `there is no key "c", expected one of ["a" "b"]`)
	rest, err := both.Without("a")
	require.NoError(t, err)
	assert.Equal(t, identity.Set{b}, rest)
	assert.Equal(t, identity.Set{a, b}, both)
}
