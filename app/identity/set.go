package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A Set is a JWK Set: one key at least, each with an id of its own.
type Set []Key

// ParseSet reads a JWK Set. What is not understood is refused rather than left
// out: then no key is missing without anybody knowing. Errors name the key by its
// index and say what was expected; they quote nothing that may be secret.
func ParseSet(content []byte) (Set, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf(`%sexpected a JWK Set: {"keys":[…]}`, line(content, offset(err)))
	}
	var set Set
	at := 0
	for i, raw := range document.Keys {
		at += max(0, bytes.Index(content[at:], raw)) // it is there, as it was written
		key, err := parseKey(raw)
		if err == nil {
			set, err = set.With(key)
		}
		if err != nil {
			return nil, fmt.Errorf("%skeys[%d]: %w", line(content, at), i, err)
		}
	}
	if len(set) == 0 {
		return nil, errors.New(`no key, expected a JWK Set: {"keys":[…]}`)
	}
	return set, nil
}

// line names the line of an offset; negative ones have none.
func line(content []byte, offset int) string {
	if offset < 0 {
		return ""
	}
	return fmt.Sprintf("line %d: ", 1+bytes.Count(content[:min(offset, len(content))], []byte("\n")))
}

// offset is where a text stops to be what was expected, negative if that is not known.
func offset(err error) int {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return int(syntax.Offset)
	case errors.As(err, &kind):
		return int(kind.Offset)
	}
	return -1
}

// Encode returns the set as it is kept in a file, with all that is secret.
func (s Set) Encode() ([]byte, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	for _, k := range s {
		document.Keys = append(document.Keys, k.raw)
	}
	text, err := json.MarshalIndent(document, "", "  ")
	return append(text, '\n'), err
}

// With returns the set with one more key, at the end. Errors: the set has a key of
// this id.
func (s Set) With(k Key) (Set, error) {
	if s.index(k.ID) >= 0 {
		return nil, fmt.Errorf("there is another key with the kid %q", k.ID)
	}
	return append(slices.Clip(s), k), nil
}

// Without returns the set without a key. Errors: there is no such key, or no other.
func (s Set) Without(id string) (Set, error) {
	i := s.index(id)
	switch {
	case i < 0:
		return nil, s.unknown(id)
	case len(s) == 1:
		return nil, fmt.Errorf("the key %q is the only one: add another one first, then remove it when the tokens it has signed have expired", id)
	}
	return slices.Delete(slices.Clone(s), i, i+1), nil
}

// Public returns the set with the public parts of its keys: for those who only
// verify. Errors: one has none.
func (s Set) Public() (Set, error) {
	var public Set
	for _, k := range s {
		p, err := k.Public()
		if err != nil {
			return nil, err
		}
		public = append(public, p)
	}
	return public, nil
}

// Signer returns the key to sign with: that of the id, or without an id the only
// one that can. Errors: there is none, it can't sign, or there are several.
func (s Set) Signer(id string) (Key, error) {
	if id != "" {
		i := s.index(id)
		if i < 0 {
			return Key{}, s.unknown(id)
		}
		return s[i], s[i].checkSigns()
	}
	able := slices.DeleteFunc(slices.Clone(s), func(k Key) bool { return !k.CanSign() })
	switch len(able) {
	case 0:
		return Key{}, errors.New("all keys are public ones, none can sign")
	case 1:
		return able[0], nil
	}
	return Key{}, fmt.Errorf("several keys can sign, choose one by its kid: %q", able.ids())
}

func (k Key) checkSigns() error {
	if !k.CanSign() {
		return fmt.Errorf("the key %q is a public one, which can't sign", k.ID)
	}
	return nil
}

func (s Set) index(id string) int {
	return slices.IndexFunc(s, func(k Key) bool { return k.ID == id })
}

func (s Set) unknown(id string) error {
	return fmt.Errorf("there is no key %q, expected one of %q", id, s.ids())
}

func (s Set) ids() []string {
	var ids []string
	for _, k := range s {
		ids = append(ids, k.ID)
	}
	return ids
}
