package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/seed27495941/seckill/backend"
)

const (
	quotaByDefault = 2 << 30 // of a server that was not told otherwise
	quotaHigh      = 0.8     // a store this full is warned about
	quotaWasted    = 0.25    // likewise one that wastes so much of its quota
)

// A room is the database of the member that has the least left.
type room struct {
	size, inUse, quota int64
	guessed            bool // the member does not tell its quota: before 3.6
}

func (r room) used() float64   { return float64(r.size) / float64(r.quota) }
func (r room) wasted() float64 { return float64(r.size-r.inUse) / float64(r.quota) }

// tightest is the room of the fullest member, false if none tells.
func (d *diagnosis) tightest() (tightest room, ok bool) {
	for _, v := range d.told() {
		r := room{size: v.status.GetDbSize(), inUse: v.status.GetDbSizeInUse(), quota: v.status.GetDbSizeQuota()}
		if r.quota == 0 {
			r.quota, r.guessed = quotaByDefault, true
		}
		if !ok || r.used() > tightest.used() {
			tightest, ok = r, true
		}
	}
	return tightest, ok
}

// revision is the newest that a member told.
func (d *diagnosis) revision() (newest int64) {
	for _, v := range d.told() {
		newest = max(newest, v.status.GetHeader().GetRevision())
	}
	return newest
}

// quota compares the size of the database with what it may have. Beyond it,
// the store takes no writes.
func (d *diagnosis) quota(context.Context) backend.Finding {
	r, ok := d.tightest()
	if !ok {
		return untold()
	}
	if r.quota < 0 {
		return fine("%s, without a quota", size(r.size))
	}
	told := ""
	if r.guessed {
		told = ", the default: servers before 3.6 don't tell theirs"
	}
	f := fine("%s of %s (%.0f%%)%s", size(r.size), size(r.quota), 100*r.used(), told)
	if r.used() >= quotaHigh {
		f.Verdict = backend.VerdictWarn
		f.Remedy = "When it is full nothing is written any more. Drop the history and give the space back:\n" +
			d.ctl("compaction --physical", d.revision()) + "\n" +
			d.ctl("defrag --cluster") + "\n" +
			"If that does not help, start the servers with more than\n" +
			fmt.Sprintf("    --quota-backend-bytes=%d", r.quota)
	}
	return f
}

// fragmentation is the part of the database that holds nothing. It counts for
// the quota all the same.
func (d *diagnosis) fragmentation(context.Context) backend.Finding {
	r, ok := d.tightest()
	if !ok {
		return untold()
	}
	f := fine("%s in use of %s", size(r.inUse), size(r.size))
	if r.quota > 0 && r.wasted() >= quotaWasted {
		f.Verdict = backend.VerdictWarn
		f.Found += fmt.Sprintf(": %.0f%% of the quota holds nothing", 100*r.wasted())
		f.Remedy = "Give the space back, one member after the other, each of which pauses for it:\n" + d.ctl("defrag --cluster")
	}
	return f
}

// compaction finds out how much history is kept. Whether the servers compact
// by themselves is a setting that they don't tell.
func (d *diagnosis) compaction(ctx context.Context) backend.Finding {
	now := d.revision()
	if now == 0 {
		return untold()
	}
	oldest, err := d.oldest(ctx, now)
	switch {
	case errors.Is(refusal(err), backend.ErrDenied):
		return unseen("that takes the right to read under the root")
	case err != nil:
		return unseen(d.reason(err))
	case oldest > 1:
		return fine("%d of %d revisions are kept", now-oldest+1, now)
	}
	return backend.Finding{
		Verdict: backend.VerdictWarn,
		Found:   fmt.Sprintf("never happened: all revisions are kept, %d so far", now),
		Remedy: "Servers keep all history until they are full, unless each is started with\n" +
			"    --auto-compaction-mode=periodic --auto-compaction-retention=1h\n" +
			"If they are, then the first compaction is still to come. For now:\n" + d.ctl("compaction", now),
	}
}

// oldest is the first revision that can still be read.
func (d *diagnosis) oldest(ctx context.Context, newest int64) (int64, error) {
	from, to := int64(1), newest // it is one of these
	for from < to {
		middle := from + (to-from)/2
		f := d.store.try(ctx, func(ctx context.Context) error {
			_, err := d.store.kv.Range(ctx, &pb.RangeRequest{Key: []byte(d.store.root), Revision: middle, CountOnly: true}, callOptions...)
			return err
		})
		switch {
		case f == nil:
			to = middle
		case errors.Is(rpctypes.Error(f.err), rpctypes.ErrCompacted):
			from = middle + 1
		default:
			return 0, f.err
		}
	}
	return from, nil
}

// size is a number of bytes as people read it.
func size(n int64) string {
	const units = "KMGTPE"
	value, unit := float64(n), -1
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit < 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
