package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// maxHeader bounds the header, in bytes: a time and a dozen signatures fit.
const maxHeader = 1024

// A signature is the header, taken apart.
type signature struct {
	stamp string // the time as it was written, which is what is signed
	at    time.Time
	macs  [][]byte
}

// parse takes the header apart. The error is ErrSignature.
func parse(header string) (signature, error) {
	var s signature
	switch {
	case header == "":
		return s, errMissing
	case len(header) > maxHeader:
		return s, errMalformed
	}
	for field := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		var ok bool
		switch name {
		case "t":
			ok = s.stamp == "" && s.setTime(value)
		case "v1":
			ok = s.addMAC(value)
		default:
			ok = true
		}
		if !ok {
			return s, errMalformed
		}
	}
	if s.stamp == "" || len(s.macs) == 0 {
		return s, errMalformed
	}
	return s, nil
}

// setTime takes whole seconds as everybody would write them: no sign, no zeros in
// front, and no more than 40 bits, for a time.Time can't count to the end of 64.
func (s *signature) setTime(text string) bool {
	seconds, err := strconv.ParseUint(text, 10, 40)
	if err != nil || strconv.FormatUint(seconds, 10) != text {
		return false
	}
	s.stamp, s.at = text, time.Unix(int64(seconds), 0)
	return true
}

func (s *signature) addMAC(text string) bool {
	mac, err := hex.DecodeString(text)
	s.macs = append(s.macs, mac)
	return err == nil && len(mac) == sha256.Size
}

// isBy reports whether one of the signatures is the secret's. How long it takes
// tells nothing about how near a guess was.
func (s *signature) isBy(secret string, body []byte) bool {
	expected := sum(secret, s.stamp, body)
	for _, mac := range s.macs {
		if hmac.Equal(mac, expected) {
			return true
		}
	}
	return false
}

func sum(secret, stamp string, body []byte) []byte {
	hash := hmac.New(sha256.New, []byte(secret))
	hash.Write([]byte(stamp))
	hash.Write([]byte{'.'})
	hash.Write(body)
	return hash.Sum(nil)
}

// Sign returns the header for a body that is sent now.
func Sign(secret string, body []byte, now time.Time) string {
	stamp := strconv.FormatInt(now.Unix(), 10)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(sum(secret, stamp, body))
}
