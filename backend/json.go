package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// DecodeJSON decodes the value of an entry: exactly one JSON value, with no
// field that T lacks, and not null. The error names the key and, as far as the
// decoder tells, line and column. Nothing is half-decoded: on error the result
// is T's zero value.
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

// PutJSON encodes v and puts it. Errors: those of [Store.Put] and of encoding.
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
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrInvalid, key, err)
	}
	return value, nil
}

func decodeJSON[T any](data []byte) (T, error) {
	var v, zero T
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return zero, fmt.Errorf("null, expected a %T", zero)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return zero, locate(err, data)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return zero, fmt.Errorf("%s: more text after the end of the value", position(data, dec.InputOffset()))
	}
	return v, nil
}

// locate puts the line and column in front of a decoder's error.
func locate(err error, data []byte) error {
	var (
		syntax *json.SyntaxError
		typed  *json.UnmarshalTypeError
	)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("no text, expected a JSON value")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the text ends too soon", position(data, int64(len(data))))
	case errors.As(err, &syntax):
		// The decoder counts the byte it choked on.
		return fmt.Errorf("%s: %w", position(data, syntax.Offset-1), err)
	case errors.As(err, &typed):
		field := typed.Field
		if field == "" {
			field = "the value"
		}
		return fmt.Errorf("%s: %s is a %s, expected a %s", position(data, typed.Offset), field, typed.Value, typed.Type)
	}
	// The decoder has no type for this one, only the text.
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		// A name is a key where a colon follows. One written with escapes is
		// not found: better no position than a wrong one.
		at := regexp.MustCompile(regexp.QuoteMeta(name) + `\s*:`).FindIndex(data)
		if at == nil {
			return fmt.Errorf("unknown field %s", name)
		}
		return fmt.Errorf("%s: unknown field %s", position(data, int64(at[0])), name)
	}
	return err
}

// position turns an offset into "line L, column C", columns counted in bytes.
func position(data []byte, offset int64) string {
	before := data[:max(0, min(offset, int64(len(data))))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}
