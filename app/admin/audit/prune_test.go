package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

func prune() audit.Action {
	return audit.Action{Name: "audit.prune", Actor: "admin-1", Via: audit.ViaJob}
}

// fill makes records, one each hour.
func fill(t *testing.T, l *audit.Log, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, l.Do(t.Context(), by("a", fmt.Sprint(i)), nil, nothing))
		time.Sleep(time.Hour)
	}
}

func TestPrune(t *testing.T) {
	for name, keep := range map[string]audit.Retention{
		"by age":    {Keep: 10*time.Hour + time.Minute, Max: 1000},
		"by number": {Keep: 1000 * time.Hour, Max: 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := stores.NewMemory().Open(t)
				l := audit.New(s, audit.Options{})
				began := time.Now()
				fill(t, l, 30)
				pruned, err := l.Prune(t.Context(), prune(), keep)
				require.NoError(t, err)
				assert.Equal(t, 20, pruned.Records)
				assert.True(t, pruned.First.Equal(began))
				assert.True(t, pruned.Last.Equal(began.Add(19*time.Hour)))

				records := all(t, l, audit.Query{})
				require.Len(t, records, 11)
				assert.Equal(t, prune(), records[0].Action)
				assert.Contains(t, string(records[0].After.JSON), `"records":20`)
				assert.Equal(t, "29", records[1].Target)
				assert.Equal(t, "20", records[10].Target)
				assert.LessOrEqual(t, len(keys(t, s)), 11*2+12, "nothing is left of the others, but the last one's bucket")

				if name == "by age" {
					again, err := l.Prune(t.Context(), prune(), keep)
					require.NoError(t, err)
					assert.Zero(t, again)
					assert.Len(t, all(t, l, audit.Query{}), 11, "what is not done is not recorded")
				}
			})
		})
	}
	for _, bad := range []audit.Retention{{}, {Keep: time.Hour}, {Max: 1}} {
		_, err := audit.New(stores.NewMemory().Open(t), audit.Options{}).Prune(t.Context(), prune(), bad)
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
}

// Whoever is refused all the time displaces nothing of what was done.
func TestRefusalsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory().Open(t)
		l := audit.New(s, audit.Options{})
		flood := func(n int) {
			for i := range n {
				require.NoError(t, l.Note(t.Context(), by("refused", fmt.Sprint(i)), audit.ErrRefused))
				time.Sleep(time.Minute)
			}
		}
		count := func() (deeds, refusals int) {
			for _, r := range all(t, l, audit.Query{}) {
				switch r.Name {
				case "a":
					deeds++
				case "refused":
					refusals++
				}
			}
			return deeds, refusals
		}
		keep := audit.Retention{Keep: 1000 * time.Hour, Max: 40}
		flood(50)
		fill(t, l, 20)
		require.ErrorIs(t, l.Do(t.Context(), by("a", "not so"), nil, func(context.Context) (any, error) { return nil, audit.ErrRefused }), audit.ErrRefused)
		flood(300)
		pruned, err := l.Prune(t.Context(), prune(), keep)
		require.NoError(t, err)
		assert.Equal(t, 346, pruned.Records)
		deeds, refusals := count()
		assert.Equal(t, 21, deeds)
		assert.Equal(t, 4, refusals)
		newest := all(t, l, audit.Query{Action: "refused"})
		assert.Equal(t, []string{"299", "298", "297", "296"}, targets(newest))

		fill(t, l, 60) // so that others have to go, too
		_, err = l.Prune(t.Context(), prune(), keep)
		require.NoError(t, err)
		deeds, refusals = count()
		assert.Equal(t, 40, deeds)
		assert.Zero(t, refusals, "they are older than what had to go")
		_, err = l.Prune(t.Context(), prune(), audit.Retention{Keep: time.Hour, Max: 40})
		require.NoError(t, err)
		flood(1)
		time.Sleep(2 * time.Hour)
		pruned, err = l.Prune(t.Context(), prune(), audit.Retention{Keep: time.Hour, Max: 40})
		require.NoError(t, err)
		assert.Positive(t, pruned.Records)
		_, refusals = count()
		assert.Zero(t, refusals, "by age, too")
	})
}

// A pruning that ends in between, wherever, is finished by the next.
func TestPruningIsResumed(t *testing.T) {
	errCrash := errors.New("crash")
	for crashAt := range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := &stores.Faulty{Store: stores.NewMemory().Open(t)}
			l := audit.New(s, audit.Options{})
			fill(t, l, 30)
			deletes := 0
			crash := func(string) error {
				if deletes++; deletes > crashAt {
					return errCrash
				}
				return nil
			}
			s.Set(stores.Hooks{Del: crash})
			keep := audit.Retention{Keep: 10*time.Hour + time.Minute, Max: 1000}
			_, err := l.Prune(t.Context(), prune(), keep)
			require.ErrorIs(t, err, errCrash)
			s.Set(stores.Hooks{})
			_, err = l.Prune(t.Context(), prune(), keep)
			require.NoError(t, err)
			records := all(t, l, audit.Query{Action: "a", Target: ""})
			var kept []string
			for _, r := range records {
				if r.Name == "a" {
					kept = append(kept, r.Target)
				}
			}
			assert.Equal(t, []string{"29", "28", "27", "26", "25", "24", "23", "22", "21", "20"}, kept)
			for _, key := range keys(t, s) {
				if name, ok := strings.CutPrefix(key, "audit/0"); ok {
					id, err := ulid.ParseStrict("0" + strings.TrimSuffix(name, "-outcome"))
					require.NoError(t, err)
					assert.Less(t, time.Since(id.Timestamp()), keep.Keep)
				}
			}
		})
	}
}

// A record of a bucket that is being pruned at the same time is found afterwards.
func TestPruningLosesNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		space := stores.NewMemory()
		s := &stores.Faulty{Store: space.Open(t)}
		l, other := audit.New(s, audit.Options{}), audit.New(space.Open(t), audit.Options{})
		at := time.Now()
		for n := range 2 { // two buckets: the last one stays on the list
			_, err := other.NoteOnce(t.Context(), by("a", "old"), at.Add(time.Duration(n)*time.Hour))
			require.NoError(t, err)
		}
		time.Sleep(100 * time.Hour)
		fill(t, l, 1)
		late := func(key string) error { // just before the bucket is taken off the list
			if strings.HasPrefix(key, "audit/buckets/") {
				_, err := other.NoteOnce(t.Context(), by("a", "late"), at)
				return err
			}
			return nil
		}
		s.Set(stores.Hooks{Del: late})
		_, err := l.Prune(t.Context(), prune(), audit.Retention{Keep: 50 * time.Hour, Max: 100})
		require.NoError(t, err)
		s.Set(stores.Hooks{})
		_, err = other.NoteOnce(t.Context(), by("a", "later"), at)
		require.NoError(t, err)
		assert.Subset(t, targets(all(t, l, audit.Query{})), []string{"late", "later"})
	})
}

// What a clock that was far ahead has dated in the future takes nobody's place, and goes when
// what was written after it goes.
func TestPruneWhatIsDatedInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory().Open(t)
		l := audit.New(s, audit.Options{})
		for n := range 20 {
			_, err := l.NoteOnce(t.Context(), by("a", "future"), time.Now().Add(10*365*24*time.Hour+time.Duration(n)*time.Hour))
			require.NoError(t, err)
		}
		fill(t, l, 30)
		keep := audit.Retention{Keep: 1000 * time.Hour, Max: 30}
		pruned, err := l.Prune(t.Context(), prune(), keep)
		require.NoError(t, err)
		require.Zero(t, pruned, "30 are rightly dated")

		keep.Max = 10
		pruned, err = l.Prune(t.Context(), prune(), keep)
		require.NoError(t, err)
		assert.Equal(t, 20+20, pruned.Records)
		left := targets(all(t, l, audit.Query{}))
		assert.NotContains(t, left, "future")
		assert.Subset(t, left, []string{"29", "20"})
		assert.NotContains(t, left, "19")
		_, err = l.NoteOnce(t.Context(), by("a", "future"), time.Now().Add(24*time.Hour))
		require.NoError(t, err)
		_, err = l.Prune(t.Context(), prune(), audit.Retention{Keep: 1000 * time.Hour, Max: 5})
		require.NoError(t, err)
		assert.Contains(t, targets(all(t, l, audit.Query{})), "future", "nothing that is newer has gone")
	})
}

// A record of a clock that has stopped goes at once, however new it is: with none of those
// that were written before it.
func TestPruneWhatIsDatedInThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := audit.New(stores.NewMemory().Open(t), audit.Options{})
		fill(t, l, 3)
		for target, at := range map[string]time.Time{"ahead": time.Now().Add(5 * time.Minute), "later": time.Now().Add(6 * time.Minute)} {
			_, err := l.NoteOnce(t.Context(), by("a", target), at)
			require.NoError(t, err)
		}
		_, err := l.NoteOnce(t.Context(), by("a", "1970"), time.Unix(5, 0))
		require.NoError(t, err)
		pruned, err := l.Prune(t.Context(), prune(), audit.Retention{Keep: 1000 * time.Hour, Max: 100})
		require.NoError(t, err)
		assert.Equal(t, 1, pruned.Records)
		left := targets(all(t, l, audit.Query{}))
		assert.NotContains(t, left, "1970")
		assert.Subset(t, left, []string{"ahead", "later", "0", "1", "2"})
	})
}

func TestPruneOnServers(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		l := audit.New(space.Open(t), audit.Options{})
		for n := range 40 {
			_, err := l.NoteOnce(t.Context(), by("a", fmt.Sprint(n)), time.Now().Add(-time.Duration(100-n)*time.Hour))
			require.NoError(t, err)
		}
		pruned, err := l.Prune(t.Context(), prune(), audit.Retention{Keep: 80 * time.Hour, Max: 15})
		require.NoError(t, err)
		assert.Equal(t, 25, pruned.Records)
		assert.Len(t, all(t, l, audit.Query{Limit: 4}), 16)
	})
}
