package audit

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// Follow tells of records as they come: first of those of the last 17 to 35 minutes, the
// oldest first, then of each new one, and once more of each whose outcome comes. A
// record replaces what was told with its ID before.
//
// It follows what is recent only. What is written with a time more than 17 minutes ago
// or a minute ahead, by a clock that is wrong, is not told of, nor is an outcome that took
// longer; both are on the pages. Keys that are no records are left out.
//
// It ends when ctx does, with context.Cause(ctx), or as [backend.Store.WatchPrefix] does,
// and yields why. Up to three watches are open meanwhile, the same for all who follow.
func (l *Log) Follow(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		watching, cancel := context.WithCancel(ctx)
		f := &follower{log: l, news: make(chan news), open: map[string]context.CancelFunc{}}
		defer f.all.Wait()
		defer cancel()
		for {
			f.turn(watching, time.Now())
			turn := time.NewTimer(ahead)
			select {
			case <-ctx.Done():
				yield(Record{}, context.Cause(ctx))
			case n := <-f.news:
				if yield(n.record, n.err) && n.err == nil {
					turn.Stop()
					continue
				}
			case <-turn.C:
				continue
			}
			turn.Stop()
			return
		}
	}
}

// ahead is how much the clock of somebody who writes may be.
const ahead = time.Minute

type news struct {
	record Record
	err    error
}

// A follower watches the buckets of now.
type follower struct {
	log  *Log
	news chan news
	open map[string]context.CancelFunc // by bucket
	all  sync.WaitGroup
}

// turn opens the watches that are wanted by now, and ends the others.
func (f *follower) turn(ctx context.Context, now time.Time) {
	want := []string{bucketAt(now.Add(-span)), bucketAt(now), bucketAt(now.Add(ahead))}
	for name, end := range f.open {
		if !slices.Contains(want, name) {
			end()
			delete(f.open, name)
		}
	}
	for _, name := range want {
		if f.open[name] == nil {
			watching, end := context.WithCancel(ctx)
			f.open[name] = end
			f.all.Go(func() { f.watch(watching, name) })
		}
	}
}

// watch tells what becomes of a bucket.
func (f *follower) watch(ctx context.Context, name string) {
	var state backend.State
	for u, err := range f.log.store.WatchPrefix(ctx, dir+name) {
		if ctx.Err() != nil {
			return // it is not wanted any more
		}
		if err != nil {
			f.tell(ctx, news{err: err})
			return
		}
		for _, r := range changed(&state, u) {
			if !f.tell(ctx, news{record: r}) {
				return
			}
		}
	}
}

// changed takes an update in, and returns the records it is about.
func changed(state *backend.State, u backend.Update) []Record {
	var entries []backend.Entry
	for _, put := range state.Apply(u).Puts {
		key := strings.TrimSuffix(put.Key, suffix)
		for _, half := range []string{key, key + suffix} {
			if e, ok := state.Get(half); ok {
				entries = append(entries, e)
			}
		}
	}
	sortByKey := func(a, b backend.Entry) int { return strings.Compare(a.Key, b.Key) }
	slices.SortFunc(entries, sortByKey)
	entries = slices.CompactFunc(entries, func(a, b backend.Entry) bool { return a.Key == b.Key })
	records, _ := assemble(entries)
	return records
}

func (f *follower) tell(ctx context.Context, n news) bool {
	select {
	case f.news <- n:
		return true
	case <-ctx.Done():
		return false
	}
}
