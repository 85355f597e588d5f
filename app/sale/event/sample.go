package event

import (
	"context"
	"time"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// sampleSKU marks the events that Sample makes.
const sampleSKU = "SAMPLE"

// Sample finds an event that sells at this moment, or makes a small one that does
// for a day, to try things out with. Errors: those of [List], [Create] and
// [Publish]; call it again.
func Sample(ctx context.Context, s backend.Store) (Event, error) {
	now := time.Now().Truncate(time.Millisecond)
	events, _, err := List(ctx, s)
	if err != nil {
		return Event{}, err
	}
	for _, e := range events {
		switch {
		case !e.Window.Contains(now):
		case e.Status == record.StatusOnline:
			return e, nil
		case e.SKU == sampleSKU && (e.Status == record.StatusDraft || e.Status == record.StatusPublishing):
			return Publish(ctx, s, e.ID) // of somebody who did not get to it
		}
	}
	e, err := Create(ctx, s, record.Event{
		Title:       "Sample: a hundred teapots",
		Description: "Made by seckill up, to try things out with.",
		SKU:         sampleSKU,
		Price:       record.Price{Minor: 1999, Currency: "EUR"},
		Window:      record.Window{Opens: now, Closes: now.Add(24 * time.Hour)},
		Total:       100, PerUser: 2, Slots: 4, PayWithin: 15 * 60,
	})
	if err != nil {
		return Event{}, err
	}
	return Publish(ctx, s, e.ID)
}
