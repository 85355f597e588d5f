package record

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// A Status is where an event is in its life.
type Status string

// The statuses, in the order of a life. From StatusPublishing on, what the engine
// goes by is fixed: slots, per-user limit, and the total but by its own means.
const (
	StatusDraft      Status = "draft"
	StatusPublishing Status = "publishing" // pool and slots are being made
	StatusOnline     Status = "online"     // sells, within its window
	StatusOffline    Status = "offline"    // does not sell for now; orders are paid and cancelled
	StatusClosing    Status = "closing"    // over; the slots are being taken from their owners
	StatusClosed     Status = "closed"     // over for good: the logs are frozen
	StatusArchived   Status = "archived"   // its sale is being deleted, or is. The event stays as a tombstone
)

// Statuses lists all, in order.
func Statuses() []Status {
	return []Status{StatusDraft, StatusPublishing, StatusOnline, StatusOffline, StatusClosing, StatusClosed, StatusArchived}
}

// IsOver reports whether an event does not sell any more, for good.
func (s Status) IsOver() bool {
	return s == StatusClosing || s == StatusClosed || s == StatusArchived
}

// A Price is an amount of money for one unit.
type Price struct {
	Minor    int64  `json:"minor"`    // in the currency's smallest unit: cents, yen
	Currency string `json:"currency"` // ISO 4217, as EUR
}

// A Window is when units are sold: from Opens on, before Closes.
type Window struct {
	Opens  time.Time `json:"opens"`
	Closes time.Time `json:"closes"`
}

// Contains reports whether the window is open at t.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.Opens) && t.Before(w.Closes) }

// An Event is a sale of one thing.
type Event struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	SKU         string `json:"sku"`
	Price       Price  `json:"price"`
	Window      Window `json:"window"`

	Total   int64 `json:"total"`   // units
	PerUser int64 `json:"perUser"` // units that one buyer may have
	Slots   int   `json:"slots"`   // into which the buyers are divided

	// PayWithin is how long an order waits to be paid, in seconds. After that its
	// units return.
	PayWithin int64 `json:"payWithin"`

	Status Status `json:"status"`
}

// The limits of an event's texts, in bytes.
const (
	MaxTitle       = 200
	MaxDescription = 16 << 10
	MaxSKU         = 64
)

// MaxPrice is the highest price of a unit, in the currency's smallest unit: that
// of MaxQuantity units still fits into an int64.
const MaxPrice = 1_000_000_000_000

// maxPayWithin is 30 days.
const maxPayWithin = 30 * 24 * 60 * 60

var currency = regexp.MustCompile(`^[A-Z]{3}$`)

// Validate says what is wrong with an event: ErrInvalid, naming the field.
func (e Event) Validate() error {
	for _, check := range []func() string{e.textFault, e.moneyFault, e.stockFault, e.timeFault} {
		if fault := check(); fault != "" {
			return fmt.Errorf("%w: event: %s", backend.ErrInvalid, fault)
		}
	}
	if !slices.Contains(Statuses(), e.Status) {
		return fmt.Errorf("%w: event: status %q, expected one of %q", backend.ErrInvalid, e.Status, Statuses())
	}
	return nil
}

func (e Event) textFault() string {
	if fault := textFault("sku", e.SKU, MaxSKU); fault != "" {
		return fault
	}
	return describedFault(e.Title, e.Description)
}

func (e Event) moneyFault() string {
	switch {
	case e.Price.Minor < 0 || e.Price.Minor > MaxPrice:
		return fmt.Sprintf("price.minor %d, expected 0 to %d", e.Price.Minor, int64(MaxPrice))
	case !currency.MatchString(e.Price.Currency):
		return fmt.Sprintf("price.currency %q, expected three capital letters, as EUR", e.Price.Currency)
	}
	return ""
}

func (e Event) stockFault() string {
	switch {
	case e.Total < 1 || e.Total > MaxTotal:
		return fmt.Sprintf("total %d, expected 1 to %d", e.Total, int64(MaxTotal))
	case e.PerUser < 1 || e.PerUser > MaxQuantity:
		return fmt.Sprintf("perUser %d, expected 1 to %d", e.PerUser, MaxQuantity)
	case e.Slots < 1 || e.Slots > MaxSlots:
		return fmt.Sprintf("slots %d, expected 1 to %d", e.Slots, MaxSlots)
	}
	return ""
}

func (e Event) timeFault() string {
	switch {
	case !isTime(e.Window.Opens) || !isTime(e.Window.Closes):
		return fmt.Sprintf("window: opens %v, closes %v, expected %s", e.Window.Opens, e.Window.Closes, times)
	case !e.Window.Opens.Before(e.Window.Closes):
		return fmt.Sprintf("window: opens %v, expected before it closes, %v", e.Window.Opens, e.Window.Closes)
	case e.PayWithin < 1 || e.PayWithin > maxPayWithin:
		return fmt.Sprintf("payWithin %d, expected 1 to %d seconds", e.PayWithin, maxPayWithin)
	}
	return ""
}

// DecodeEvent reads an event. Errors: ErrCorrupt.
func DecodeEvent(e backend.Entry) (Event, error) { return decodeJSON[Event](e) }
