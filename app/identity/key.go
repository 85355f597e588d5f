package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	"github.com/oklog/ulid/v2"
)

// The algorithms there are.
const (
	EdDSA = "EdDSA" // Ed25519: who verifies can't sign
	HS256 = "HS256" // HMAC-SHA256: who verifies can sign
)

const (
	minSecret = 32  // bytes of an HS256 key: RFC 7518, section 3.2
	maxKeyID  = 128 // bytes
)

// A Key is a JSON Web Key that verifies tokens, and signs them unless it is only
// the public part of one. Formatting does not show what is secret.
type Key struct {
	ID  string // kid
	Alg string // EdDSA or HS256

	raw    json.RawMessage // as it is in the file, with what is of no concern here
	sign   any             // as package jwt wants it; nil: a public key
	verify any
}

// jwk has the members of a JSON Web Key that are of concern here.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv,omitempty"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Use string `json:"use,omitempty"`
	X   string `json:"x,omitempty"` // public
	D   string `json:"d,omitempty"` // private
	K   string `json:"k,omitempty"` // secret
}

var b64 = base64.RawURLEncoding.Strict()

// NewKey makes a key for an algorithm, EdDSA or HS256. Without an id it gets a
// ULID, which tells when the key was made. Errors: no such algorithm, a bad id.
func NewKey(alg, id string) (Key, error) {
	if id == "" {
		id = ulid.Make().String()
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	j := jwk{Alg: alg, Kid: id, Use: "sig"}
	switch alg {
	case EdDSA:
		public := ed25519.NewKeyFromSeed(secret)[ed25519.SeedSize:]
		j.Kty, j.Crv, j.X, j.D = "OKP", "Ed25519", b64.EncodeToString(public), b64.EncodeToString(secret)
	case HS256:
		j.Kty, j.K = "oct", b64.EncodeToString(secret)
	default:
		return Key{}, fmt.Errorf("alg %q, expected EdDSA or HS256", alg)
	}
	return j.key()
}

// CanSign reports whether tokens can be made with the key.
func (k Key) CanSign() bool { return k.sign != nil }

// Public returns what of a key is needed to verify. Errors: the key has no public
// part, because its algorithm is HS256.
func (k Key) Public() (Key, error) {
	public, ok := k.verify.(ed25519.PublicKey)
	if !ok {
		return Key{}, fmt.Errorf("the key %q is an %s key, which has no public part: who verifies needs all of it", k.ID, k.Alg)
	}
	return jwk{Kty: "OKP", Crv: "Ed25519", Alg: k.Alg, Kid: k.ID, Use: "sig", X: b64.EncodeToString(public)}.key()
}

// Format implements fmt.Formatter: a key shows its name at most.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s key %q", k.Alg, k.ID) }

func (k Key) method() jwt.SigningMethod {
	if k.Alg == EdDSA {
		return jwt.SigningMethodEdDSA
	}
	return jwt.SigningMethodHS256
}

// parseKey reads one JSON Web Key. Errors quote nothing that may be secret.
func parseKey(raw json.RawMessage) (Key, error) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return Key{}, fmt.Errorf("expected an object whose kty, crv, alg, kid, use, x, d and k are texts%s", member(err))
	}
	k, err := j.key()
	k.raw = raw
	return k, err
}

// member tells which one is of the wrong type.
func member(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return ": " + wrong.Field + " is not"
	}
	return ""
}

func (j jwk) key() (Key, error) {
	k := Key{ID: j.Kid, Alg: j.Alg}
	if fault := j.fault(); fault != "" {
		return k, errors.New(fault)
	}
	var err error
	if j.Alg == EdDSA {
		k.verify, k.sign, err = j.ed25519()
	} else {
		k.verify, err = j.secret()
		k.sign = k.verify
	}
	if err != nil {
		return k, err
	}
	k.raw, err = json.Marshal(j)
	return k, err
}

func (j jwk) fault() string {
	switch {
	case j.Kty != "OKP" && j.Kty != "oct":
		return fmt.Sprintf("kty %q, expected OKP or oct", j.Kty)
	case j.Kty == "OKP" && j.Crv != "Ed25519":
		return fmt.Sprintf("crv %q, expected Ed25519", j.Crv)
	case j.Kty == "OKP" && j.Alg != EdDSA:
		return fmt.Sprintf("alg %q, expected EdDSA for the kty OKP", j.Alg)
	case j.Kty == "oct" && j.Alg != HS256:
		return fmt.Sprintf("alg %q, expected HS256 for the kty oct", j.Alg)
	case j.Kid == "":
		return "no kid: tokens name their key by it"
	case len(j.Kid) > maxKeyID || !utf8.ValidString(j.Kid) || strings.ContainsFunc(j.Kid, unicode.IsControl):
		return fmt.Sprintf("kid: expected 1 to %d bytes of UTF-8 without control characters", maxKeyID)
	case j.Use != "" && j.Use != "sig":
		return fmt.Sprintf("use %q, expected sig", j.Use)
	}
	return ""
}

// ed25519 decodes a pair of keys, the private one nil if there is none.
func (j jwk) ed25519() (public, private any, err error) {
	x, err := decode("x", j.X)
	if err != nil {
		return nil, nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, nil, fmt.Errorf("x has %d bytes, expected %d", len(x), ed25519.PublicKeySize)
	}
	if j.D == "" {
		return ed25519.PublicKey(x), nil, nil
	}
	d, err := decode("d", j.D)
	if err != nil {
		return nil, nil, err
	}
	if len(d) != ed25519.SeedSize {
		return nil, nil, fmt.Errorf("d has %d bytes, expected %d", len(d), ed25519.SeedSize)
	}
	pair := ed25519.NewKeyFromSeed(d)
	if !ed25519.PublicKey(x).Equal(pair.Public()) {
		return nil, nil, errors.New("x is not the public part of d")
	}
	return ed25519.PublicKey(x), pair, nil
}

func (j jwk) secret() (any, error) {
	k, err := decode("k", j.K)
	if err != nil {
		return nil, err
	}
	if len(k) < minSecret {
		return nil, fmt.Errorf("k has %d bytes, expected at least %d", len(k), minSecret)
	}
	return k, nil
}

func decode(name, text string) ([]byte, error) {
	if text == "" {
		return nil, fmt.Errorf("no %s", name)
	}
	data, err := b64.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s: expected base64url without padding", name)
	}
	return data, nil
}
