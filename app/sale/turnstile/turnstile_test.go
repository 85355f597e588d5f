package turnstile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/sale/slot"
	"github.com/seed27495941/seckill/app/sale/turnstile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var event, other = ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ1"), ulid.MustParse("01K9ZZZZZZZZZZZZZZZZZZZZZ2")

// An owner of one slot has the answers that a test gives it.
type owner struct {
	mu     sync.Mutex
	tenure ulid.ULID
	open   bool // there is something left
	buyers []uint64
	err    error
	page   int // hashes in an answer, 0: all
	asked  int
	told   int           // hashes, all in all
	takes  time.Duration // from the question to the answer
}

func (o *owner) Buyers(ctx context.Context, _ ulid.ULID, _ int, tenure ulid.ULID, since int) (slot.Buyers, error) {
	o.mu.Lock()
	o.asked++
	if tenure != o.tenure {
		since = 0
	}
	page := o.page
	if page == 0 {
		page = len(o.buyers)
	}
	b := slot.Buyers{
		Tenure: o.tenure, SoldOut: !o.open, PerUser: 2, Count: len(o.buyers), From: since,
		Hashes: slices.Clone(o.buyers[since:min(len(o.buyers), since+page)]),
	}
	o.told += len(b.Hashes)
	err, takes := o.err, o.takes
	o.mu.Unlock()
	select {
	case <-ctx.Done():
		return slot.Buyers{}, ctx.Err()
	case <-time.After(takes):
		return b, err
	}
}

func (o *owner) set(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *owner) sell(users ...string) {
	o.set(func() {
		for _, u := range users {
			o.buyers = append(o.buyers, record.HashOf(u))
		}
	})
}

func open(t *testing.T) (*owner, *turnstile.Turnstiles) {
	o := &owner{tenure: ulid.Make(), takes: 10 * time.Millisecond}
	ts := turnstile.New(o.Buyers)
	t.Cleanup(ts.Close)
	return o, ts
}

func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, ts := open(t)
		pass := func(user string, quantity int64) error {
			defer time.Sleep(time.Second)
			return ts.Pass(t.Context(), event, 0, user, quantity)
		}
		o.sell("ann")
		require.ErrorIs(t, pass("bob", 2), slot.ErrSoldOut)
		require.NoError(t, pass("bob", 3), "more than anybody may have")
		asked := o.asked
		require.NoError(t, pass("ann", 1), "it may be a request that was answered")
		assert.Equal(t, asked, o.asked, "that was known")
		require.ErrorIs(t, pass("cid", 1), slot.ErrSoldOut)
		assert.Equal(t, 1, o.told, "no buyer is told of twice")

		o.sell("bob")
		require.NoError(t, pass("bob", 1))
		require.ErrorIs(t, pass("cid", 1), slot.ErrSoldOut)
		o.set(func() { o.open = true })
		require.NoError(t, pass("cid", 1), "there is something left")
		o.set(func() { o.open, o.err = false, errors.New("the owner is gone") })
		require.NoError(t, pass("cid", 1))
		o.set(func() { o.err = nil })
		require.ErrorIs(t, pass("cid", 1), slot.ErrSoldOut)

		// Another owner has another list.
		o.set(func() { o.tenure, o.buyers = ulid.Make(), nil })
		o.sell("bob", "cid", "dan")
		require.NoError(t, pass("cid", 1))
		require.ErrorIs(t, pass("eve", 1), slot.ErrSoldOut)
		require.ErrorIs(t, pass("ann", 1), slot.ErrSoldOut, "the list of the owner before is forgotten")
	})
}

// All who come while a question is under way wait for the next one, which is one for all
// of them: the answer to the first may be from before they came.
func TestOneQuestionForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, ts := open(t)
		begun := time.Now()
		var waiting sync.WaitGroup
		pass := func(user string, want error, after time.Duration) {
			waiting.Go(func() {
				require.ErrorIs(t, ts.Pass(t.Context(), event, 0, user, 1), want, user)
				assert.Equal(t, after, time.Since(begun), user)
			})
		}
		pass("first", slot.ErrSoldOut, 10*time.Millisecond)
		time.Sleep(time.Millisecond)
		o.sell("ann") // after it was asked, and before the answer came
		pass("ann", nil, 60*time.Millisecond)
		for i := range 1000 {
			pass(fmt.Sprint("u", i), slot.ErrSoldOut, 60*time.Millisecond)
		}
		waiting.Wait()
		assert.Equal(t, 2, o.asked)
		time.Sleep(time.Second)
		begun = time.Now()
		pass("late", slot.ErrSoldOut, 10*time.Millisecond)
		waiting.Wait()
	})
}

// A list is asked for in parts, and nobody is refused before all of it is there.
func TestLongList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, ts := open(t)
		o.page = 10
		for i := range 35 {
			o.sell(fmt.Sprint("u", i))
		}
		for range 3 {
			require.NoError(t, ts.Pass(t.Context(), event, 0, "ann", 1))
		}
		require.ErrorIs(t, ts.Pass(t.Context(), event, 0, "ann", 1), slot.ErrSoldOut)
		require.NoError(t, ts.Pass(t.Context(), event, 0, "u34", 1))
		assert.Equal(t, 35, o.told)
	})
}

// A list that is too long is not kept, nor asked for again.
func TestListThatIsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, ts := open(t)
		o.page = 10
		o.buyers = make([]uint64, 1<<20+1)
		for range 3 {
			require.NoError(t, ts.Pass(t.Context(), event, 0, "ann", 1))
		}
		assert.Equal(t, 1, o.asked)
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, ts := open(t)
		o.takes = time.Hour
		var waiting sync.WaitGroup
		pass := func(patience time.Duration, want error, took time.Duration) {
			waiting.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				begun := time.Now()
				assert.ErrorIs(t, ts.Pass(ctx, event, 0, "ann", 1), want)
				assert.Equal(t, took, time.Since(begun))
			})
		}
		pass(2*time.Second, nil, 500*time.Millisecond)
		synctest.Wait()
		pass(2*time.Second, nil, (500+40+500)*time.Millisecond) // with the next question
		pass(200*time.Millisecond, slot.ErrUndecided, 200*time.Millisecond)
		waiting.Wait()
	})
}

func TestKeepAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, ts := open(t)
		o.sell("ann")
		for _, e := range []ulid.ULID{event, other} {
			require.NoError(t, ts.Pass(t.Context(), e, 0, "ann", 1))
		}
		ts.Keep(func(e ulid.ULID) bool { return e == event })
		for _, e := range []ulid.ULID{event, other} {
			require.NoError(t, ts.Pass(t.Context(), e, 0, "ann", 1))
		}
		assert.Equal(t, 3, o.asked)

		o.set(func() { o.takes = time.Hour })
		var waiting sync.WaitGroup
		waiting.Go(func() { assert.NoError(t, ts.Pass(t.Context(), event, 0, "bob", 1)) })
		synctest.Wait()
		ts.Close()
		waiting.Wait()
		require.NoError(t, ts.Pass(t.Context(), event, 0, "bob", 1))
		assert.Equal(t, 4, o.asked)
	})
}

// BenchmarkPass measures those who wait, 10,000 at a time, without the owner.
func BenchmarkPass(b *testing.B) {
	o := &owner{tenure: ulid.Make()}
	o.sell("ann")
	ts := turnstile.New(o.Buyers)
	defer ts.Close()
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var waiting sync.WaitGroup
	for range 10_000 {
		waiting.Go(func() {
			for left.Add(-1) >= 0 {
				if ts.Pass(ctx, event, 0, "bob", 1) == nil {
					b.Error("expected to hear that it is sold out")
				}
			}
		})
	}
	waiting.Wait()
}
