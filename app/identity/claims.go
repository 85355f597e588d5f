package identity

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed27495941/seckill/app/sale/record"
)

// Claims are what a token says.
type Claims struct {
	// Subject is the buyer: 1 to [record.MaxUser] bytes of UTF-8 without control
	// characters.
	Subject string

	Issuer   string    // who signed it; may be empty
	Audience []string  // whom it is for; may be empty, not to be modified
	IssuedAt time.Time // may be zero
	Expires  time.Time
}

// subjectFault says what is wrong with a subject, without quoting it; "" if it may
// be a buyer.
func subjectFault(subject string) string {
	switch {
	case subject == "":
		return "names nobody"
	case len(subject) > record.MaxUser:
		return fmt.Sprintf("has more than %d bytes", record.MaxUser)
	case strings.ContainsRune(subject, utf8.RuneError):
		// Decoding JSON puts this for whatever is not UTF-8: two such subjects must
		// not be one buyer.
		return "is not valid UTF-8"
	case strings.ContainsFunc(subject, unicode.IsControl):
		return "has control characters"
	}
	return ""
}
