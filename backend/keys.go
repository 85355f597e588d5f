package backend

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of every store, chosen so that each driver's largest request
// passes through each store with its default settings.
const (
	MaxKey           = 512       // bytes of a key or a prefix
	MaxValue         = 256 << 10 // bytes of a value
	MaxConditions    = 64        // conditions of one write
	MaxConditionKeys = 16 << 10  // bytes of their keys together
)

// CheckKey reports whether a key is one that every driver takes: 1 to
// [MaxKey] bytes of valid UTF-8, every character printable (unicode.IsPrint),
// no slash in front, no "//", and no segment "." or "..". (Consul would store
// others, and then redirect or refuse a read of them.) Errors: ErrInvalid.
func CheckKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: the key is empty", ErrInvalid)
	}
	return checkPath("key", key)
}

// CheckPrefix is [CheckKey] for a prefix, which may be empty.
func CheckPrefix(prefix string) error { return checkPath("prefix", prefix) }

// CheckValue reports whether a value is within [MaxValue]. The key is for the
// message. Errors: ErrTooLarge.
func CheckValue(key string, value []byte) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%w: the value of %q has %d bytes, at most %d are allowed", ErrTooLarge, key, len(value), MaxValue)
	}
	return nil
}

func checkPath(what, s string) error {
	fault := pathFault(s)
	if fault == "" {
		return nil
	}
	const shown = 80
	if len(s) > shown {
		s = strings.ToValidUTF8(s[:shown], "") + "…"
	}
	return fmt.Errorf("%w: %s %s %s", ErrInvalid, what, strconv.Quote(s), fault)
}

// pathFault says what is wrong with a key or prefix, "" if nothing is.
func pathFault(s string) string {
	switch {
	case len(s) > MaxKey:
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(s), MaxKey)
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.HasPrefix(s, "/"):
		return "starts with a slash"
	case strings.Contains(s, "//"):
		return "has an empty segment (//)"
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Sprintf("has the character %U, which is not printable", r)
		}
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "." || segment == ".." {
			return fmt.Sprintf("has the segment %q", segment)
		}
	}
	return ""
}

func checkConditions(conds []Condition) error {
	if len(conds) > MaxConditions {
		return fmt.Errorf("%w: %d conditions, at most %d are allowed", ErrTooLarge, len(conds), MaxConditions)
	}
	size := 0
	for _, c := range conds {
		if err := CheckKey(c.Key); err != nil {
			return fmt.Errorf("condition: %w", err)
		}
		size += len(c.Key)
	}
	if size > MaxConditionKeys {
		return fmt.Errorf("%w: the keys of the conditions have %d bytes together, at most %d are allowed", ErrTooLarge, size, MaxConditionKeys)
	}
	return nil
}
