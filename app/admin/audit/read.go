package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// A Query asks for records. What is left out does not matter.
type Query struct {
	Actor  string
	Action string // how its name begins: "event." for all that is done to events
	Target string
	Since  time.Time // when it began: from then on
	Until  time.Time // before then

	Before ulid.ULID // where the last page ended: Page.Next
	Limit  int       // of records; 0: DefaultLimit
}

// DefaultLimit and MaxLimit are how many records are on a page.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// maxScanned bounds what is read for one page: a filter may fit nothing at all.
const maxScanned = 10_000

// A Page is records, the newest first.
type Page struct {
	Records []Record `json:"records"`

	// Next is where the next page begins, to be asked for as Query.Before; zero on the
	// last one. There may be fewer records than were asked for, or none, before that: of
	// many others that do not fit.
	Next ulid.ULID `json:"next,omitzero"`

	// Unreadable are keys among the records that are none.
	Unreadable []error `json:"-"`
}

func (q *Query) complete() error {
	switch {
	case q.Limit < 0 || q.Limit > MaxLimit:
		return fmt.Errorf("%w: audit: a page of %d records, expected 1 to %d", backend.ErrInvalid, q.Limit, MaxLimit)
	case q.Limit == 0:
		q.Limit = DefaultLimit
	}
	return nil
}

// newest is what all records of the query are before.
func (q *Query) newest() ulid.ULID {
	end := q.Before
	if end.IsZero() {
		end = ulid.ULID{0: 0xFF} // above all
	}
	if !q.Until.IsZero() && firstOf(q.Until).Compare(end) < 0 {
		end = firstOf(q.Until)
	}
	return end
}

func (q *Query) fits(r Record) bool {
	return (q.Actor == "" || q.Actor == r.Actor) &&
		(q.Target == "" || q.Target == r.Target) &&
		strings.HasPrefix(r.Name, q.Action)
}

// Page reads records, the newest first. Errors: ErrInvalid, those of [backend.List].
func (l *Log) Page(ctx context.Context, q Query) (Page, error) {
	page := Page{Records: []Record{}}
	if err := q.complete(); err != nil {
		return page, err
	}
	buckets, err := l.buckets(ctx)
	if err != nil {
		return page, err
	}
	end, begin := q.newest(), ulid.ULID{}
	if !q.Since.IsZero() {
		begin = firstOf(q.Since)
	}
	scanned := 0
	for _, b := range slices.Backward(buckets) {
		if b.first.Compare(end) >= 0 || b.name < bucketOf(begin) {
			continue
		}
		records, unreadable, err := l.bucket(ctx, b.name)
		if err != nil {
			return page, err
		}
		page.Unreadable = append(page.Unreadable, unreadable...)
		for _, r := range slices.Backward(records) {
			if r.ID.Compare(end) >= 0 || r.ID.Compare(begin) < 0 {
				continue
			}
			if len(page.Records) == q.Limit || scanned == maxScanned {
				return page, nil
			}
			scanned++
			page.Next = r.ID
			if q.fits(r) {
				page.Records = append(page.Records, r)
			}
		}
	}
	page.Next = ulid.ULID{}
	return page, nil
}

// Get reads one record. Errors: ErrNotFound, those of [backend.List], and what is wrong
// with one that can't be read.
func (l *Log) Get(ctx context.Context, id ulid.ULID) (Record, error) {
	records, unreadable, err := l.read(ctx, recordKey(id))
	switch {
	case err != nil:
		return Record{}, err
	case len(records) == 1:
		return records[0], nil
	case len(unreadable) > 0:
		return Record{}, unreadable[0]
	}
	return Record{}, fmt.Errorf("%w: audit: no record %s", backend.ErrNotFound, id)
}

// A bucket is one that has records, or had some.
type bucket struct {
	name  string
	first ulid.ULID // the least ID that can be in it
	entry backend.Entry
}

// buckets lists them, the oldest first. Keys that are none are left alone.
func (l *Log) buckets(ctx context.Context) ([]bucket, error) {
	entries, _, err := backend.List(ctx, l.store, bucketsDir)
	if err != nil {
		return nil, err
	}
	var buckets []bucket
	for _, e := range entries {
		name := strings.TrimPrefix(e.Key, bucketsDir)
		if first, err := ulid.ParseStrict(name + strings.Repeat("0", max(ulid.EncodedSize-len(name), 0))); err == nil && len(name) == letters {
			buckets = append(buckets, bucket{name, first, e})
		}
	}
	return buckets, nil
}

// bucket reads the records of one, the oldest first.
func (l *Log) bucket(ctx context.Context, name string) ([]Record, []error, error) {
	return l.read(ctx, dir+name)
}

func (l *Log) read(ctx context.Context, prefix string) ([]Record, []error, error) {
	entries, _, err := backend.List(ctx, l.store, prefix)
	if err != nil {
		return nil, nil, err
	}
	records, unreadable := assemble(entries)
	return records, unreadable, nil
}
