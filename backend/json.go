package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// DecodeJSON decodes the value of an entry: exactly one JSON value, with no
// field that T lacks, no name twice in an object, and not null. A null inside it
// counts as a field that is not there. The error names the key and, as far as
// the decoder tells, line and column: then it is a *[JSONError]. Nothing is half-decoded: on error the
// result is T's zero value.
func DecodeJSON[T any](e Entry) (T, error) {
	v, err := decodeJSON[T](e.Value)
	if err != nil {
		return v, fmt.Errorf("%q: %w", e.Key, err)
	}
	return v, nil
}

// GetJSON reads a key and decodes it with [DecodeJSON]. Errors: those of
// [Store.Get] and of decoding.
func GetJSON[T any](ctx context.Context, s Store, key string) (T, Entry, error) {
	e, err := s.Get(ctx, key)
	if err != nil {
		var zero T
		return zero, e, err
	}
	v, err := DecodeJSON[T](e)
	return v, e, err
}

// PutJSON encodes v and puts it, unless that is null, which [DecodeJSON] would
// refuse: a nil pointer, slice or map. Errors: those of [Store.Put] and of
// encoding.
func PutJSON[T any](ctx context.Context, s Store, key string, v T, opts ...PutOption) (Revision, error) {
	value, err := encodeJSON(key, v)
	if err != nil {
		return 0, err
	}
	return s.Put(ctx, key, value, opts...)
}

// ModifyJSON is [Modify] on the decoded value, T's zero value for an absent key.
func ModifyJSON[T any](ctx context.Context, s Store, key string, change func(*T) error, opts ...PutOption) (Revision, error) {
	return Modify(ctx, s, key, func(e Entry) ([]byte, error) {
		var v T
		if e.Revision != 0 {
			var err error
			if v, err = DecodeJSON[T](e); err != nil {
				return nil, err
			}
		}
		if err := change(&v); err != nil {
			return nil, err
		}
		return encodeJSON(key, v)
	}, opts...)
}

func encodeJSON(key string, v any) ([]byte, error) {
	value, err := json.Marshal(v)
	if err == nil && isNull(value) {
		err = fmt.Errorf("a null, which could not be read back as a %T", v)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrInvalid, key, err)
	}
	return value, nil
}

func decodeJSON[T any](data []byte) (T, error) {
	var v, zero T
	if isNull(data) {
		return zero, fmt.Errorf("null, expected a %T", zero)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return zero, locate(err, data)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return zero, faultAt(data, dec.InputOffset(), errors.New("more text after the end of the value"))
	}
	if err := checkNames(data); err != nil {
		return zero, err
	}
	return v, nil
}

func isNull(data []byte) bool { return bytes.Equal(bytes.TrimSpace(data), []byte("null")) }
