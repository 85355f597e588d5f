// Package lenient reads records that newer programs may have written: during a
// rolling upgrade some processes know fields that others do not.
//
// What people write is read strictly instead, since there an unknown field is a
// mistake: see DecodeJSON in package backend.
package lenient

import (
	"bytes"
	"encoding/json"
	"errors"
)

// Decode reads exactly one JSON value that is not null. Fields that T lacks are
// passed over. On error the result is T's zero value.
func Decode[T any](value []byte) (T, error) {
	var v *T // json.Unmarshal takes null for anything
	var zero T
	text := bytes.TrimSpace(value)
	if len(text) == 0 {
		return zero, errors.New("no text, expected a JSON object")
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return zero, err
	}
	if v == nil {
		return zero, errors.New("null, expected a JSON object")
	}
	return *v, nil
}
