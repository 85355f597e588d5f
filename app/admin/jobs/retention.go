package jobs

import (
	"context"
	"fmt"
)

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
