// Package credential holds what the drivers need to prove who they are: secrets
// that do not print themselves, given directly or in a file that may change,
// and TLS settings read from files.
package credential

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// A Secret is a string that formatting, logs and text encodings do not show;
// Reveal does. Package fmt asks no methods of unexported fields, so a struct
// that keeps a secret in one needs a String or Format of its own.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String tells only whether there is a secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter: with String alone, a verb that does not fit
// a string would print the bytes.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps the secret out of JSON, YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
