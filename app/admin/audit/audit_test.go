package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestAnActionIsRecordedWithItsOutcome(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		s := space.Open(t)
		l := audit.New(s, audit.Options{})
		began := time.Now()
		err := l.Do(t.Context(), by("config.publish", "config"), map[string]int{"low": 1}, func(context.Context) (any, error) {
			at := page(t, l, audit.Query{}).Records //nolint:contextcheck // the test has its own
			require.Len(t, at, 1, "it is recorded before it is done")
			assert.Equal(t, audit.Begun, at[0].Outcome)
			assert.JSONEq(t, `{"low":1}`, string(at[0].Before.JSON))
			return []byte(`{"low":2}`), nil
		})
		require.NoError(t, err)
		r := page(t, audit.New(space.Open(t), audit.Options{}), audit.Query{}).Records[0]
		assert.Equal(t, by("config.publish", "config"), r.Action)
		assert.Equal(t, audit.Done, r.Outcome)
		assert.Empty(t, r.Error)
		assert.JSONEq(t, `{"low":2}`, string(r.After.JSON))
		assert.WithinDuration(t, began, r.Time, time.Minute)
		assert.False(t, r.Ended.Before(r.Time))
		again, err := l.Get(t.Context(), r.ID)
		require.NoError(t, err)
		assert.Equal(t, r, again)
		_, err = l.Get(t.Context(), ulid.Make())
		require.ErrorIs(t, err, backend.ErrNotFound)
	})
}

// What would have been there after is not said of a change that was not made.
func TestAfterAChangeThatFailedIsNotRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := audit.New(stores.NewMemory().Open(t), audit.Options{})
		for _, came := range []error{audit.ErrRefused, backend.ErrFull, backend.ErrUnknown} {
			require.Equal(t, came, l.Do(t.Context(), by("a", ""), map[string]string{"is": "open"}, func(context.Context) (any, error) {
				return map[string]string{"is": "closed"}, came
			}))
			r := page(t, l, audit.Query{}).Records[0]
			assert.JSONEq(t, `{"is":"open"}`, string(r.Before.JSON))
			assert.Nil(t, r.After, "%v", came)
		}
	})
}

// Whoever asks is told whether something was noted, also by another.
func TestNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory().Open(t)
		l, at := audit.New(s, audit.Options{}), time.Now()
		noted := func(action audit.Action, at time.Time) bool {
			noted, err := audit.New(s, audit.Options{}).Noted(t.Context(), action, at)
			require.NoError(t, err)
			return noted
		}
		assert.False(t, noted(by("a", "x"), at))
		_, err := l.NoteOnce(t.Context(), by("a", "x"), at)
		require.NoError(t, err)
		assert.True(t, noted(by("a", "x"), at))
		assert.False(t, noted(by("a", "x"), at.Add(time.Second)))
		assert.False(t, noted(by("a", "y"), at))
	})
}

var errWrongStatus = errors.New("wrong status")

func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := audit.New(stores.NewMemory().Open(t), audit.Options{Refusals: []error{errWrongStatus}})
		for i, test := range []struct {
			came error
			want audit.Outcome
		}{
			{nil, audit.Done},
			{&backend.ConflictError{Key: "k"}, audit.Refused},
			{fmt.Errorf("no: %w", errWrongStatus), audit.Refused},
			{backend.ErrUnavailable, audit.Failed},
			{errors.Join(backend.ErrUnavailable, context.DeadlineExceeded), audit.Failed},
			{backend.ErrFull, audit.Failed},
			{backend.ErrUnknown, audit.Unknown},
			{context.DeadlineExceeded, audit.Unknown},
		} {
			require.Equal(t, test.came, l.Do(t.Context(), by("a", ""), nil, func(context.Context) (any, error) { return nil, test.came }))
			require.NoError(t, l.Note(t.Context(), by("b", ""), test.came))
			records := page(t, l, audit.Query{}).Records
			require.Len(t, records, 2*i+2)
			for _, r := range records[:2] {
				assert.Equal(t, test.want, r.Outcome, "%v", test.came)
				assert.Equal(t, test.came != nil, r.Error != "")
			}
		}
	})
}

// Whatever the first write does, an action is done only if its record is there.
func TestNothingIsDoneThatIsNotRecorded(t *testing.T) {
	for name, hooks := range map[string]stores.Hooks{
		"refused":              {Put: func(string) error { return backend.ErrDenied }},
		"unavailable":          {Put: func(string) error { return backend.ErrUnavailable }},
		"lost on its way":      {Put: func(string) error { return backend.ErrUnknown }},
		"lost on its way back": {AfterPut: func(string) error { return backend.ErrUnknown }},
		"full from the record on": {Put: func(key string) error {
			if strings.HasPrefix(key, "audit/buckets/") {
				return nil
			}
			return backend.ErrFull
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stores.Faulty{Store: stores.NewMemory().Open(t)}
				l := audit.New(s, audit.Options{})
				s.Set(hooks)
				did := false
				err := l.Do(t.Context(), by("a", ""), nil, func(context.Context) (any, error) { did = true; return nil, nil })
				s.Set(stores.Hooks{})
				if hooks.AfterPut != nil {
					require.NoError(t, err, "the record is there, which is found out")
					assert.True(t, did)
					require.Equal(t, audit.Done, page(t, l, audit.Query{}).Records[0].Outcome)
					return
				}
				assert.False(t, did)
				require.ErrorContains(t, err, "a was not done")
				assert.NotErrorIs(t, err, backend.ErrUnknown)
				assert.Empty(t, page(t, l, audit.Query{}).Records)
			})
		})
	}
}

func TestAnOutcomeThatCannotBeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stores.Faulty{Store: stores.NewMemory().Open(t)}
		logbook := &stores.Logbook{}
		l := audit.New(s, audit.Options{Logger: logbook.Logger()})
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, l.Do(ctx, by("a", "first"), nil, func(context.Context) (any, error) {
			cancel()
			return nil, nil
		}))
		assert.Equal(t, audit.Done, page(t, l, audit.Query{}).Records[0].Outcome, "also for a caller who has gone")

		require.NoError(t, l.Do(t.Context(), by("a", "second"), nil, func(context.Context) (any, error) {
			s.Set(stores.Hooks{Put: func(string) error { return backend.ErrUnavailable }})
			return nil, nil
		}))
		assert.Equal(t, audit.Begun, page(t, l, audit.Query{}).Records[0].Outcome)
		assert.Equal(t, 1, logbook.Count("the outcome of an action is not in the audit log"))
		s.Set(stores.Hooks{})
		require.NoError(t, l.Do(t.Context(), by("a", "third"), nil, func(context.Context) (any, error) {
			s.Set(stores.Hooks{Put: func(string) error { return backend.ErrUnavailable }})
			time.AfterFunc(time.Second, func() { s.Set(stores.Hooks{}) })
			return nil, nil
		}))
		assert.Equal(t, audit.Done, page(t, l, audit.Query{}).Records[0].Outcome, "it is written when the store is back")
	})
}

func TestBadActionsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := audit.New(stores.NewMemory().Open(t), audit.Options{})
		for want, a := range map[string]audit.Action{
			"without a name":   {Actor: "x", Via: audit.ViaCLI},
			"without an actor": {Name: "a", Via: audit.ViaCLI},
			`via "mail"`:       {Name: "a", Actor: "x", Via: "mail"},
		} {
			err := l.Do(t.Context(), a, nil, func(context.Context) (any, error) { panic("done") })
			require.ErrorIs(t, err, backend.ErrInvalid)
			require.ErrorContains(t, err, want)
			require.ErrorIs(t, l.Note(t.Context(), a, nil), backend.ErrInvalid)
		}
		for _, limit := range []int{-1, audit.MaxLimit + 1} {
			_, err := l.Page(t.Context(), audit.Query{Limit: limit})
			require.ErrorIs(t, err, backend.ErrInvalid)
		}
		long := by(strings.Repeat("a", 1000), strings.Repeat("é", 1000)+"\xff")
		errLong := errors.New(strings.Repeat("x", 10_000))
		require.Equal(t, errLong, l.Do(t.Context(), long, nil, func(context.Context) (any, error) { return nil, errLong }))
		r := page(t, l, audit.Query{}).Records[0]
		assert.LessOrEqual(t, len(r.Target), 512)
		assert.Equal(t, strings.Repeat("é", 254)+"…", r.Target)
		assert.Less(t, len(r.Error), 5000)
	})
}

func TestNoteOnce(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		a, b := audit.New(space.Open(t), audit.Options{}), audit.New(space.Open(t), audit.Options{})
		at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		var all sync.WaitGroup
		var wrote [8]bool
		for i := range wrote {
			all.Go(func() {
				var err error
				wrote[i], err = []*audit.Log{a, b}[i%2].NoteOnce(t.Context(), by("event.opened", "e1"), at)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		n := 0
		for _, w := range wrote {
			if w {
				n++
			}
		}
		assert.Equal(t, 1, n)
		other, err := a.NoteOnce(t.Context(), by("event.opened", "e2"), at)
		require.NoError(t, err)
		assert.True(t, other, "another target is something else")
		records := page(t, b, audit.Query{}).Records
		require.Len(t, records, 2)
		for _, r := range records {
			assert.True(t, r.Time.Equal(at))
			assert.Equal(t, audit.Done, r.Outcome)
		}
	})
}

func TestRecordsOfOneProcessAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which the clock stands still
		l := audit.New(stores.NewMemory().Open(t), audit.Options{})
		var want []string
		for n := range 200 {
			name := fmt.Sprint(n)
			require.NoError(t, l.Do(t.Context(), by("a", name), nil, nothing))
			want = append([]string{name}, want...)
		}
		assert.Equal(t, want, targets(all(t, l, audit.Query{Limit: 7})))
	})
}

func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory().Open(t)
		l := audit.New(s, audit.Options{})
		began := time.Now()
		for n := range 30 { // a record each five hours: many buckets
			a := by([]string{"event.publish", "event.close", "config.publish"}[n%3], fmt.Sprint("t", n))
			a.Actor = []string{"ann", "bob"}[n%2]
			require.NoError(t, l.Do(t.Context(), a, nil, nothing))
			time.Sleep(5 * time.Hour)
		}
		everything := all(t, l, audit.Query{})
		require.Len(t, everything, 30)
		assert.Equal(t, everything, all(t, l, audit.Query{Limit: 4}), "pages are parts of one list")
		for name, test := range map[string]struct {
			query audit.Query
			fits  func(n int) bool
		}{
			"actor":  {audit.Query{Actor: "bob"}, func(n int) bool { return n%2 == 1 }},
			"action": {audit.Query{Action: "event."}, func(n int) bool { return n%3 != 2 }},
			"target": {audit.Query{Target: "t7"}, func(n int) bool { return n == 7 }},
			"since":  {audit.Query{Since: began.Add(50 * time.Hour)}, func(n int) bool { return n >= 10 }},
			"until":  {audit.Query{Until: began.Add(50 * time.Hour)}, func(n int) bool { return n < 10 }},
			"range":  {audit.Query{Since: began.Add(50 * time.Hour), Until: began.Add(51 * time.Hour), Actor: "ann"}, func(n int) bool { return n == 10 }},
			"none":   {audit.Query{Actor: "eve"}, func(int) bool { return false }},
		} {
			var want []string
			for n := 29; n >= 0; n-- {
				if test.fits(n) {
					want = append(want, fmt.Sprint("t", n))
				}
			}
			assert.Equal(t, want, targets(all(t, l, test.query)), name)
			test.query.Limit = 1
			assert.Equal(t, want, targets(all(t, l, test.query)), name)
		}
	})
}

func TestWhatIsNoRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory().Open(t)
		l := audit.New(s, audit.Options{})
		require.NoError(t, l.Do(t.Context(), by("a", "good"), nil, nothing))
		id := page(t, l, audit.Query{}).Records[0].ID.String()
		for key, value := range map[string]string{
			"audit/" + id[:6] + "x":                           "{}",
			"audit/" + id[:6] + strings.Repeat("0", 20):       "null",
			"audit/" + id[:6] + strings.Repeat("0", 19) + "1": "[",
			"audit/buckets/x":                                 "{}",
			"audit/buckets/!!!!!!":                            "{}",
			"audit/" + ulid.Make().String() + "-outcome":      "{}",
		} {
			_, err := s.Put(t.Context(), key, []byte(value))
			require.NoError(t, err)
		}
		p := page(t, l, audit.Query{})
		assert.Equal(t, []string{"good"}, targets(p.Records))
		assert.Len(t, p.Unreadable, 3)
	})
}

func TestFollow(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		l := audit.New(space.Open(t), audit.Options{})
		require.NoError(t, l.Do(t.Context(), by("a", "before"), nil, nothing))
		told := make(chan audit.Record, 100)
		f := audit.New(space.Open(t), audit.Options{})
		stop := stores.Start(t, func(ctx context.Context) error {
			for r, err := range f.Follow(ctx) {
				if err != nil {
					return err
				}
				told <- r
			}
			return nil
		})
		assert.Equal(t, "before", (<-told).Target)
		require.NoError(t, l.Do(t.Context(), by("a", "after"), nil, func(context.Context) (any, error) {
			r := <-told
			assert.Equal(t, "after", r.Target)
			assert.Equal(t, audit.Begun, r.Outcome)
			return nil, nil
		}))
		r := <-told
		assert.Equal(t, "after", r.Target)
		assert.Equal(t, audit.Done, r.Outcome)
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

// The watches move on with the time, and a consumer may stop whenever it likes.
func TestFollowForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory().Open(t)
		l := audit.New(s, audit.Options{})
		var told []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for r, err := range l.Follow(t.Context()) {
				if !assert.NoError(t, err) {
					return
				}
				if r.Outcome == audit.Done {
					told = append(told, r.Target)
				}
				if len(told) == 300 {
					return
				}
			}
		}()
		var want []string
		for n := range 300 {
			time.Sleep(7*time.Minute + time.Duration(n)*time.Second)
			want = append(want, fmt.Sprint(n))
			require.NoError(t, l.Do(t.Context(), by("a", fmt.Sprint(n)), nil, func(context.Context) (any, error) {
				time.Sleep(time.Duration(n%17) * time.Minute)
				return nil, nil
			}))
		}
		<-done
		assert.Equal(t, want, told)
	})
}
