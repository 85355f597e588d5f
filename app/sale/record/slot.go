package record

import (
	"encoding/json"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// Owners of a slot that are no process.
const (
	Nobody = ""       // released, or never owned
	Closed = "closed" // the sale is over: nothing is written to this slot's log any more
)

// A Slot says who decides for a part of the buyers.
type Slot struct {
	Owner string `json:"owner"` // an incarnation (ULID), Nobody or Closed
	Epoch uint64 `json:"epoch"` // one more with each owner; 0 before the first

	// Takeover is the ULID of the write that made the owner, which so knows it as
	// its own: a process may try twice.
	Takeover string `json:"takeover,omitempty"`
}

// Validate says what is wrong with a slot: ErrInvalid.
func (s Slot) Validate() error {
	if s.Owner == Nobody {
		return nil
	}
	if s.Epoch == 0 {
		return fmt.Errorf("%w: slot: owner %q in epoch 0, expected none before epoch 1", backend.ErrInvalid, s.Owner)
	}
	if s.Owner == Closed {
		return nil
	}
	if _, err := ulid.ParseStrict(s.Owner); err != nil {
		return fmt.Errorf("%w: slot: owner %q, expected an incarnation, %q or none: %w", backend.ErrInvalid, s.Owner, Closed, err)
	}
	return nil
}

// DecodeSlot reads a slot. Errors: ErrCorrupt.
func DecodeSlot(e backend.Entry) (Slot, error) { return decodeJSON[Slot](e) }

// decodeJSON reads a record that people may look at, and should not touch.
func decodeJSON[T interface{ Validate() error }](e backend.Entry) (T, error) {
	v, err := backend.DecodeJSON[T](e)
	if err == nil {
		err = v.Validate()
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("%w: %s: %w", ErrCorrupt, e.Key, err)
	}
	return v, nil
}

// Encode makes a slot's value.
func (s Slot) Encode() ([]byte, error) { return json.Marshal(s) }
