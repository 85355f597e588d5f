package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// Where the records are.
const (
	usersDir    = "admin/users/"
	tokensDir   = "admin/tokens/"
	sessionsDir = "admin/sessions/"
)

// Owns reports whether a key is one of this package's. Nothing else may show its
// value, which may be the hash of a password, or write it, which would pass by the
// rules.
func Owns(key string) bool {
	for _, dir := range []string{usersDir, tokensDir, sessionsDir} {
		if strings.HasPrefix(key, dir) {
			return true
		}
	}
	return false
}

// A reader reads a key as [backend.Store.Get] does: the store's, or a copy's.
type reader func(ctx context.Context, key string) (backend.Entry, error)

// A user is the value of usersDir + name.
type user struct {
	ID         string    `json:"id"` // unlike the name it is never given again
	Role       Role      `json:"role"`
	Password   string    `json:"password"` // its hash
	MustChange bool      `json:"mustChange,omitempty"`
	Generation string    `json:"generation"` // another one with each password and role; sessions of one before have ended
	Created    time.Time `json:"created"`
	Changed    time.Time `json:"changed"` // password or role
	Places     []place   `json:"places,omitempty"`
}

// A place is an address from which a user has logged in, and when that was noted last.
type place struct {
	Address string    `json:"address"`
	Seen    time.Time `json:"seen"`
}

const (
	// placeTime is for how long a place is known after the last login from there.
	placeTime = 14 * 24 * time.Hour

	// placeEvery is how old a note may be that is not written anew.
	placeEvery = 24 * time.Hour

	// mostPlaces are kept of a user, those that were noted last.
	mostPlaces = 8
)

// knows reports whether the user has logged in from an address in the last weeks.
func (u user) knows(address string, at time.Time) bool {
	return slices.ContainsFunc(u.Places, func(p place) bool { return p.Address == address && at.Sub(p.Seen) < placeTime })
}

// note notes that the user has logged in from an address. It reports whether that has
// changed the record, which shares no memory with the one before.
func (u *user) note(address string, at time.Time) bool {
	isThere := func(p place) bool { return p.Address == address }
	if i := slices.IndexFunc(u.Places, isThere); i >= 0 && at.Sub(u.Places[i].Seen) < placeEvery {
		return false
	}
	places := []place{{address, at}}
	for _, p := range u.Places {
		if !isThere(p) && at.Sub(p.Seen) < placeTime && len(places) < mostPlaces {
			places = append(places, p)
		}
	}
	u.Places = places
	return true
}

// newGeneration ends the user's sessions.
func (u *user) newGeneration() {
	u.Generation = ulid.Make().String()
	u.Changed = now()
}

// A token is the value of tokensDir + id.
type token struct {
	Name    string    `json:"name"`
	Owner   string    `json:"owner"`
	OwnerID string    `json:"ownerId"` // of this user, not of the next one of that name
	Role    Role      `json:"role"`
	SHA256  string    `json:"sha256"`   // of the secret
	Last    string    `json:"lastFour"` // characters of the secret
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

// A session is the value of sessionsDir + SHA-256 of the cookie.
type session struct {
	User       string    `json:"user"`
	Generation string    `json:"generation"` // of the user, when it was made
	Created    time.Time `json:"created"`
	Seen       time.Time `json:"seen"` // about when it was used last
}

// How long a session lasts: there is no lease, so it outlives the admin that made
// it.
const (
	sessionTime = 12 * time.Hour
	idleTime    = time.Hour
	seenEvery   = time.Minute // a used session is written no more often
)

func (s session) over(at time.Time) bool {
	return at.Sub(s.Created) >= sessionTime || at.Sub(s.Seen) >= idleTime
}

// now is the time as records have it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// newSecret makes 256 random bits, as 43 characters.
func newSecret() string {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

const secretLength = 43

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: user %.80q, expected 1 to 64 of a-z, 0-9, and after the first also . _ @ -", backend.ErrInvalid, name)
	}
	return nil
}

// readUser reads a user. Errors: those of read, and backend.ErrNotFound for what
// can't be the name of one.
func readUser(ctx context.Context, read reader, name string) (user, backend.Entry, error) {
	if checkName(name) != nil {
		return user{}, backend.Entry{}, fmt.Errorf("user %.80q: %w", name, backend.ErrNotFound)
	}
	return readRecord[user](ctx, read, usersDir+name)
}

func readRecord[T any](ctx context.Context, read reader, key string) (T, backend.Entry, error) {
	var zero T
	e, err := read(ctx, key)
	if err != nil {
		return zero, e, err
	}
	record, err := backend.DecodeJSON[T](e)
	if err != nil {
		return zero, e, errors.Join(errUnreadable, err)
	}
	return record, e, nil
}

// errUnreadable is about a record that something else has written.
var errUnreadable = errors.New("the record can't be read")

const (
	shortestPassword = 12 // characters
	longestPassword  = 256
)

func checkPassword(name, password string) error {
	switch n := len([]rune(password)); {
	case n < shortestPassword || n > longestPassword:
		return fmt.Errorf("%w: new password: expected %d to %d characters, got %d", backend.ErrInvalid, shortestPassword, longestPassword, n)
	case strings.ContainsFunc(password, unicode.IsControl):
		return fmt.Errorf("%w: new password: expected no control characters", backend.ErrInvalid)
	case strings.EqualFold(password, name):
		return fmt.Errorf("%w: new password: expected another one than the name", backend.ErrInvalid)
	}
	return nil
}
