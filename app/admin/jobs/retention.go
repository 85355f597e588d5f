package jobs

import (
	"context"
	"fmt"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

// history records config versions, and deletes old ones, until ctx ends.
func (d *duty) history(ctx context.Context) (result, error) {
	h, err := history.New(d.store, settings.ConfigKey, history.Options{Keep: d.HistoryKeep, Logger: d.Logger})
	if err != nil {
		return result{}, err
	}
	return result{}, h.Run(ctx)
}

// prune keeps the audit log within its bounds.
func (d *duty) prune(ctx context.Context) (result, error) {
	pruned, err := d.audit.Prune(ctx, d.action("audit.prune", ""), d.Retention)
	return result{text: fmt.Sprintf("%d records deleted", pruned.Records)}, err
}

// sessions deletes those that have expired. They are worth nothing any more, so it is
// not recorded.
func (d *duty) sessions(ctx context.Context) (result, error) {
	return result{}, d.Sessions(ctx, d.guard)
}
