package payment

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed27495941/seckill/backend/credential"
	"github.com/seed27495941/seckill/internal/reread"
)

// Header is the name of the header with the signature.
const Header = "Seckill-Signature"

// Tolerance is how far a callback's time may be away from now, either way. It
// covers the time on the way, retries and clocks that differ.
const Tolerance = 5 * time.Minute

// MaxBody is how large a callback may be, in bytes: no more needs to be read.
const MaxBody = 16 << 10

// ErrSignature is the class of all errors of [Verifier.Verify]. Their texts say why,
// hold nothing of what was sent, and may be shown to anybody.
var ErrSignature = errors.New("the payment's signature is refused")

var (
	errMissing   = fmt.Errorf("%w: no header %s", ErrSignature, Header)
	errMalformed = fmt.Errorf("%w: expected the header %s: t=<seconds since 1970>,v1=<64 hex digits>", ErrSignature, Header)
	errTooLarge  = fmt.Errorf("%w: the body has more than %d bytes", ErrSignature, MaxBody)
	errTooOld    = fmt.Errorf("%w: it was signed more than %v ago", ErrSignature, Tolerance)
	errTooEarly  = fmt.Errorf("%w: it was signed more than %v in the future", ErrSignature, Tolerance)
	errWrong     = fmt.Errorf("%w: it fits neither the body and time nor any secret known here", ErrSignature)
)

// A Verifier checks callbacks. It is safe for concurrent use.
type Verifier struct {
	secrets *reread.File[[]credential.Secret]
}

// Open reads the secrets from a file, and follows it from then on: a changed file
// counts a second later at most. One that can't be read, or is not as expected,
// changes nothing and is logged, once for each content. Errors: the file can't be
// read; it has no secret; one is shorter than [MinSecret].
func Open(file string, log *slog.Logger) (*Verifier, error) {
	secrets, err := reread.Open(file, parseSecrets, log)
	if err != nil {
		return nil, fmt.Errorf("payment secrets: %w", err)
	}
	return &Verifier{secrets}, nil
}

// Verify checks the header of a callback against its body, byte by byte as it was
// sent, and the time. The error is ErrSignature.
func (v *Verifier) Verify(header string, body []byte, now time.Time) error {
	if len(body) > MaxBody {
		return errTooLarge
	}
	s, err := parse(header)
	if err != nil {
		return err
	}
	switch age := now.Sub(s.at); {
	case age > Tolerance:
		return errTooOld
	case age < -Tolerance:
		return errTooEarly
	}
	for _, secret := range v.secrets.Get() {
		if s.isBy(secret.Reveal(), body) {
			return nil
		}
	}
	return errWrong
}
