package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
)

const (
	saltSize = 16
	keySize  = 32

	atOnce  = 2  // hashes that are computed
	waiting = 32 // hashes that are asked for, those included
)

// ErrBusy says that too many hashes are asked for already.
var ErrBusy = errors.New("too many passwords are being checked")

// ErrRecord says that what is stored is no hash, or asks for too much.
var ErrRecord = errors.New("stored password")

// A Hasher computes hashes, two at once at most: each takes the memory that its
// parameters say, 64 MiB at most. It is safe for concurrent use.
type Hasher struct {
	params   Params
	asked    chan struct{}
	running  chan struct{}
	computed atomic.Uint64
}

// New makes a hasher whose new hashes have the parameters.
func New(p Params) *Hasher {
	return &Hasher{params: p, asked: make(chan struct{}, waiting), running: make(chan struct{}, atOnce)}
}

// Computed is how many hashes were computed.
func (h *Hasher) Computed() uint64 { return h.computed.Load() }

// Hash makes the hash of a password. Errors: ErrBusy, context.Cause(ctx).
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	made := hash{Params: h.params, salt: make([]byte, saltSize)}
	_, _ = rand.Read(made.salt) // it never fails
	var err error
	if made.key, err = h.key(ctx, password, made.Params, made.salt, keySize); err != nil {
		return "", err
	}
	return made.String(), nil
}

// A Verdict is what a password is to a hash.
type Verdict struct {
	Right bool
	Weak  bool // right, but the hash is weaker than the hasher would make it
}

// Verify compares a password with a hash. An empty hash is nobody's: no password is
// right, and finding out takes as long as if there were one. Errors: ErrBusy,
// context.Cause(ctx); ErrRecord, after that same work.
func (h *Hasher) Verify(ctx context.Context, password, text string) (Verdict, error) {
	want, wrong := hash{Params: h.params, salt: make([]byte, saltSize), key: make([]byte, keySize)}, error(nil)
	if text != "" {
		parsed, err := parse(text)
		if err == nil {
			want = parsed
		} else {
			wrong = fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
	key, err := h.key(ctx, password, want.Params, want.salt, len(want.key))
	if err != nil {
		return Verdict{}, err
	}
	right := subtle.ConstantTimeCompare(key, want.key) == 1 && text != "" && wrong == nil
	return Verdict{Right: right, Weak: right && h.isWeak(want)}, wrong
}

func (h *Hasher) isWeak(have hash) bool {
	return have.Memory < h.params.Memory || have.Time < h.params.Time || len(have.salt) < saltSize || len(have.key) < keySize
}

func (h *Hasher) key(ctx context.Context, password string, p Params, salt []byte, size int) ([]byte, error) {
	select {
	case h.asked <- struct{}{}:
		defer func() { <-h.asked }()
	default:
		return nil, ErrBusy
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	h.computed.Add(1)
	return argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, uint32(size)), nil
}
