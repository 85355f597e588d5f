package identity

import (
	"crypto/sha256"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
)

// remembered bounds the tokens that are known to be good. They take some 300 bytes
// each.
const remembered = 1 << 16

// A ring is the keys that are in force, and what they have been found to have
// signed.
type ring struct {
	keys map[string]Key // by id; without what is private
	only *Key           // the only one, or nil
	good *lru.Cache[[sha256.Size]byte, Claims]
}

func parseRing(content []byte) (*ring, error) {
	set, err := ParseSet(content)
	if err != nil {
		return nil, err
	}
	r := &ring{keys: map[string]Key{}}
	for _, k := range set {
		r.keys[k.ID] = Key{ID: k.ID, Alg: k.Alg, verify: k.verify}
	}
	if len(set) == 1 {
		only := r.keys[set[0].ID]
		r.only = &only
	}
	r.good, err = lru.New[[sha256.Size]byte, Claims](remembered)
	return r, err
}

// find is what package jwt asks for the key of a token.
func (r *ring) find(token *jwt.Token) (any, error) {
	if _, ok := token.Header["crit"]; ok {
		return nil, errCritical // RFC 7515, section 4.1.11
	}
	k, err := r.named(token.Header)
	if err != nil {
		return nil, err
	}
	if token.Method.Alg() != k.Alg {
		return nil, errAlgorithm
	}
	return k.verify, nil
}

func (r *ring) named(header map[string]any) (Key, error) {
	value, named := header["kid"]
	if !named {
		if r.only == nil {
			return Key{}, errNoKey
		}
		return *r.only, nil
	}
	id, ok := value.(string)
	if !ok {
		return Key{}, errMalformed
	}
	k, ok := r.keys[id]
	if !ok {
		return Key{}, errKey
	}
	return k, nil
}
