// Package password keeps passwords as Argon2id hashes, in the PHC string format:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<key>
//
// with salt and key in base64 without padding. The parameters stand in each hash,
// so they can be raised: a [Hasher] says which hashes are weaker than it would make
// them.
package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Params are what computing a hash takes.
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes over the memory
	Threads uint8
}

// Recommended are the parameters of OWASP's Password Storage Cheat Sheet.
func Recommended() Params { return Params{Memory: 19 << 10, Time: 2, Threads: 1} }

// The bounds of what a hash from the store may ask for: a forged one must not
// take the memory or the processors away.
const (
	maxMemory  = 64 << 10 // KiB
	maxTime    = 16
	maxThreads = 4
	minSalt    = 8 // bytes, of both
	maxSalt    = 64
	minKey     = 16
	maxKey     = 64
	maxText    = 256
)

// A hash is what the text of one says.
type hash struct {
	Params
	salt []byte
	key  []byte
}

// prefix is that of all hashes there are: Argon2 is at version 19 since 2015.
const prefix = "$argon2id$v=19$"

// encoding takes one text for some bytes only.
var encoding = base64.RawStdEncoding.Strict()

func (h hash) String() string {
	return fmt.Sprintf("%sm=%d,t=%d,p=%d$%s$%s", prefix, h.Memory, h.Time, h.Threads, encoding.EncodeToString(h.salt), encoding.EncodeToString(h.key))
}

// parse reads a hash. What it takes is what String makes, to the letter. Errors do
// not quote the text.
func parse(text string) (h hash, err error) {
	rest, ok := strings.CutPrefix(text, prefix)
	parts := strings.Split(rest, "$")
	if !ok || len(parts) != 3 || len(text) > maxText {
		return hash{}, errors.New("not a hash of the form " + prefix + "m=…,t=…,p=…$salt$key")
	}
	if h.Params, err = parseParams(parts[0]); err != nil {
		return hash{}, err
	}
	if h.salt, err = parseBytes("salt", parts[1], minSalt, maxSalt); err != nil {
		return hash{}, err
	}
	if h.key, err = parseBytes("key", parts[2], minKey, maxKey); err != nil {
		return hash{}, err
	}
	return h, nil
}

func parseParams(text string) (Params, error) {
	parts := strings.Split(text, ",")
	if len(parts) != 3 {
		return Params{}, errors.New("expected the parameters m, t and p")
	}
	var values [3]uint64
	for i, p := range []struct {
		name string
		most uint64
	}{{"m", maxMemory}, {"t", maxTime}, {"p", maxThreads}} {
		digits, ok := strings.CutPrefix(parts[i], p.name+"=")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n < 1 || n > p.most || strconv.FormatUint(n, 10) != digits {
			return Params{}, fmt.Errorf("parameter %s: expected %[1]s=1 to %[1]s=%d", p.name, p.most)
		}
		values[i] = n
	}
	params := Params{Memory: uint32(values[0]), Time: uint32(values[1]), Threads: uint8(values[2])}
	if least := 8 * uint32(params.Threads); params.Memory < least {
		return Params{}, fmt.Errorf("parameter m: expected %d or more with p=%d", least, params.Threads)
	}
	return params, nil
}

func parseBytes(what, text string, least, most int) ([]byte, error) {
	b, err := encoding.DecodeString(text)
	// The decoder skips line ends.
	if err != nil || len(b) < least || len(b) > most || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%s: expected %d to %d bytes in base64 without padding", what, least, most)
	}
	return b, nil
}
