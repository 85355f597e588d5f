package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// MaxValue is how large a value may be, as JSON and in bytes, to be kept whole.
const MaxValue = 8 << 10

// A Value is something as it was before or after an action: JSON, or the beginning of
// it if that is too large.
type Value struct {
	JSON json.RawMessage `json:"json,omitempty"`

	// Cut is the beginning of a JSON text that is not kept, Bytes its length and
	// SHA256 its hash: whoever has the whole can tell.
	Cut    string `json:"cut,omitempty"`
	Bytes  int    `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// maxCut is how much is kept of what is too large, in bytes.
const maxCut = 1 << 10

// valueOf makes a value of anything: of []byte the JSON in it, or the text. nil is none.
func valueOf(v any) *Value {
	if v == nil {
		return nil
	}
	if data, ok := v.([]byte); ok {
		switch {
		case json.Valid(data):
			v = json.RawMessage(data)
		case utf8.Valid(data):
			v = string(data)
		}
	}
	text, err := marshal(v)
	if err != nil {
		text, _ = marshal("not recorded: " + err.Error()) // a string is always encoded
	}
	text = withoutSecrets(text)
	if len(text) <= MaxValue {
		return &Value{JSON: text}
	}
	sum := sha256.Sum256(text)
	return &Value{Cut: clip(string(text), maxCut), Bytes: len(text), SHA256: hex.EncodeToString(sum[:])}
}

func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // the hash is that of what people would write
	err := enc.Encode(v)
	return bytes.TrimSpace(buf.Bytes()), err
}

// secret is what is shown in place of one.
const secret = "(secret)"

// withoutSecrets replaces secrets in a JSON text, and leaves one that has none as it is.
func withoutSecrets(text []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return text
	}
	v, found := hide(v, 1)
	if !found {
		return text
	}
	hidden, err := marshal(v)
	if err != nil { // can't be: it was decoded from JSON
		return []byte(`"` + secret + `"`)
	}
	return hidden
}

// maxDepth is how deep a value is looked into. What is deeper is left out: whoever shows
// it indented would make much of little.
const (
	maxDepth = 32
	tooDeep  = "(deeper than 32 levels)"
)

// hide replaces secrets in a decoded value that is at a depth, and what is too deep, and
// says whether there were any.
func hide(v any, depth int) (_ any, found bool) {
	switch v := v.(type) {
	case map[string]any:
		if depth > maxDepth {
			return tooDeep, true
		}
		for name, field := range v {
			hidden, has := hide(field, depth+1)
			if isSecret(name) && !isEmpty(field) {
				hidden, has = secret, true
			}
			v[name], found = hidden, found || has
		}
	case []any:
		if depth > maxDepth {
			return tooDeep, true
		}
		for i := range v {
			var has bool
			v[i], has = hide(v[i], depth+1)
			found = found || has
		}
	case string:
		return hideText(v)
	}
	return v, found
}

// hideText looks also into texts that are JSON themselves, as the values of keys are.
func hideText(text string) (any, bool) {
	if strings.HasPrefix(text, "$argon2") {
		return secret, true
	}
	if inner := strings.TrimSpace(text); strings.HasPrefix(inner, "{") || strings.HasPrefix(inner, "[") {
		if hidden := withoutSecrets([]byte(text)); !bytes.Equal(hidden, []byte(text)) {
			return string(hidden), true
		}
	}
	return text, false
}

// isSecret reports whether a field of that name may have a secret. What only points to
// one, its file or its ID, is none.
func isSecret(name string) bool {
	name = strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
	for _, harmless := range []string{"file", "id", "name"} {
		if strings.HasSuffix(name, harmless) {
			return false
		}
	}
	for _, word := range []string{"password", "passwd", "secret", "token", "credential", "cookie", "authorization", "apikey", "privatekey"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// isEmpty reports whether there is nothing to hide: numbers and booleans are none.
func isEmpty(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return true
}
