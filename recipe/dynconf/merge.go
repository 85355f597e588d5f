package dynconf

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/seed27495941/seckill/backend"
)

// Overlay is the value that own makes on its bases, the lowest first: each
// is merged over those before it as RFC 7396 (JSON Merge Patch) says. Members
// replace those of the same name, objects are merged in turn, arrays are
// replaced as a whole, and null takes a member away. Numbers keep their
// digits; names are sorted, so that nodes get the same bytes from the same
// values.
//
// Entries of revision 0 do not exist and count for nothing; if none exists the
// result is nil. Without any base the result is own's value as it is. A value
// that is no JSON object, or has a name twice, is an error that names its key.
func Overlay(base []backend.Entry, own backend.Entry) ([]byte, error) {
	if len(base) == 0 {
		return own.Value, nil
	}
	var merged any
	for _, e := range append(base[:len(base):len(base)], own) {
		if e.Revision == 0 {
			continue
		}
		patch, err := decodeObject(e)
		if err != nil {
			return nil, err
		}
		merged = mergePatch(merged, patch)
	}
	if merged == nil {
		return nil, nil
	}
	return json.Marshal(merged)
}

func decodeObject(e backend.Entry) (map[string]any, error) {
	// For its errors, which say where; numbers would lose digits.
	if _, err := backend.DecodeJSON[map[string]json.RawMessage](e); err != nil {
		return nil, err
	}
	var object map[string]any
	dec := json.NewDecoder(bytes.NewReader(e.Value))
	dec.UseNumber()
	if err := dec.Decode(&object); err != nil {
		return nil, fmt.Errorf("%q: %w", e.Key, err)
	}
	return object, nil
}

// mergePatch is RFC 7396, section 2. It may reuse target.
func mergePatch(target, patch any) any {
	members, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	result, ok := target.(map[string]any)
	if !ok {
		result = map[string]any{}
	}
	for name, value := range members {
		if value == nil {
			delete(result, name)
		} else {
			result[name] = mergePatch(result[name], value)
		}
	}
	return result
}
