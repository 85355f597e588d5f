package record

import (
	"fmt"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// PublicID is an order's name outside of its sale: the event's ID, a hyphen and the
// order's.
func PublicID(event, order ulid.ULID) string { return event.String() + "-" + order.String() }

// ParsePublicID takes such a name apart. Errors: ErrInvalid.
func ParsePublicID(id string) (event, order ulid.ULID, err error) {
	first, second, _ := strings.Cut(id, "-")
	event, errEvent := ulid.ParseStrict(first)
	order, errOrder := ulid.ParseStrict(second)
	if errEvent != nil || errOrder != nil || PublicID(event, order) != id {
		return ulid.ULID{}, ulid.ULID{}, fmt.Errorf("%w: order id %.80q, expected <event>-<order>, both ULIDs", backend.ErrInvalid, id)
	}
	return event, order, nil
}
