package verify

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// All checks the sales of all events, one after the other, the oldest first. What is
// under the events' directory and is none has a report of its own, as have events
// that acks tells of and that are not there. Errors: those of [backend.List].
func All(ctx context.Context, s backend.Store, acks Acknowledgements) ([]Report, error) {
	entries, _, err := backend.List(ctx, s, record.EventsDir)
	if err != nil {
		return nil, err
	}
	reports := []Report{}
	seen := map[ulid.ULID]bool{}
	for _, e := range entries {
		id, err := ulid.ParseStrict(strings.TrimPrefix(e.Key, record.EventsDir))
		if err != nil {
			reports = append(reports, fault(id, Readable, e.Key, "expected a ULID after "+record.EventsDir))
			continue
		}
		seen[id] = true
		report, err := Check(ctx, s, id, acks[id])
		if errors.Is(err, backend.ErrNotFound) {
			continue // a draft that was deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	for _, id := range slices.SortedFunc(maps.Keys(acks), ulid.ULID.Compare) {
		if !seen[id] {
			reports = append(reports, fault(id, Acks, record.EventKey(id), "orders were acknowledged for an event that is not there"))
		}
	}
	return reports, nil
}

func fault(event ulid.ULID, rule Rule, key, text string) Report {
	return Report{Event: event, Statuses: map[string]int{}, Violations: []Violation{{rule, key, text}}}
}
