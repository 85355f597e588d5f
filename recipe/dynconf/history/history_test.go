package history_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

func TestPublishAndRollBack(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		h := open(t, store)
		one, err := h.Publish(t.Context(), 0, []byte(`{"low":1}`), alice)
		require.NoError(t, err)
		e, err := store.Get(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, `{"low":1}`, string(e.Value), "the key has the bare value")
		assert.Equal(t, e.Revision, one.Revision)

		two, err := h.Publish(t.Context(), one.Revision, []byte(`{"low":2}`), bob)
		require.NoError(t, err)
		three, err := h.Rollback(t.Context(), one.Revision, two.Revision, history.Change{Author: "carol", Comment: "too much"})
		require.NoError(t, err)
		assert.Greater(t, three.Revision, two.Revision, "a rollback is a new version")
		gone, err := h.Delete(t.Context(), three.Revision, alice)
		require.NoError(t, err)
		assert.Zero(t, revision(t, store))

		all := versions(t, open(t, s.Open(t)))
		require.Len(t, all, 4)
		for i, want := range []history.Version{
			{Revision: one.Revision, Author: "alice", Comment: "more", Value: []byte(`{"low":1}`), Hash: dynconf.Hash([]byte(`{"low":1}`))},
			{Revision: two.Revision, Author: "bob", Comment: "less", Value: []byte(`{"low":2}`), Hash: dynconf.Hash([]byte(`{"low":2}`)), Base: one.Revision},
			{Revision: three.Revision, Author: "carol", Comment: fmt.Sprintf("rollback to %d: too much", one.Revision), Value: []byte(`{"low":1}`), Hash: one.Hash, Base: two.Revision},
			{Revision: three.Revision, Author: "alice", Comment: "more", Deleted: true, Base: three.Revision},
		} {
			got := all[i]
			assert.WithinDuration(t, time.Now(), got.Time, time.Minute)
			_, err := ulid.ParseStrict(got.ID)
			require.NoError(t, err)
			want.ID, want.Time = got.ID, got.Time
			assert.Equal(t, want, got)
		}
		assert.Equal(t, all[3], gone)
		assert.Zero(t, left(t, store), "no intent is left")

		again, err := h.Rollback(t.Context(), two.Revision, 0, alice)
		require.NoError(t, err, "also after a deletion")
		assert.Equal(t, two.Hash, again.Hash)
		assert.Len(t, versions(t, h), 5)
	})
}

func TestOfTwoWritersTheLaterIsTold(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		h := open(t, store)
		one, err := h.Publish(t.Context(), 0, []byte(`1`), alice)
		require.NoError(t, err)
		two, err := h.Publish(t.Context(), one.Revision, []byte(`2`), alice)
		require.NoError(t, err)

		var conflict *backend.ConflictError
		for _, base := range []backend.Revision{0, one.Revision, two.Revision + 1000} {
			_, err = h.Publish(t.Context(), base, []byte(`3`), bob)
			require.ErrorAs(t, err, &conflict)
			assert.Equal(t, backend.ConflictError{Key: key, Want: base, Have: two.Revision}, *conflict)
		}
		_, err = h.Delete(t.Context(), one.Revision, bob)
		require.ErrorIs(t, err, backend.ErrConflict)
		_, err = h.Rollback(t.Context(), one.Revision, one.Revision, bob)
		require.ErrorIs(t, err, backend.ErrConflict)
		assert.Len(t, versions(t, h), 2)
		assert.Zero(t, left(t, store))
	})
}

// Many at once: each version is made on the one before it, and recorded with its
// author; a counter in the value shows that no update was lost.
func TestNoUpdateIsLost(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		const writers, each = 4, 4
		keep(t, s.Open(t))
		var all sync.WaitGroup
		var conflicts atomic.Int64
		for w := range writers {
			store := s.Open(t)
			h := open(t, store)
			by := history.Change{Author: fmt.Sprint("writer ", w)}
			all.Go(func() {
				for done := 0; done < each; {
					e, err := store.Get(t.Context(), key)
					if err != nil && !errors.Is(err, backend.ErrNotFound) {
						t.Error(err)
						return
					}
					n := 0
					_, _ = fmt.Sscan(string(e.Value), &n)
					_, err = h.Publish(t.Context(), e.Revision, fmt.Append(nil, n+1), by)
					switch {
					case err == nil:
						done++
					case errors.Is(err, backend.ErrConflict):
						conflicts.Add(1)
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		h := open(t, s.Open(t))
		got := versions(t, h)
		require.Len(t, got, writers*each)
		count := map[string]int{}
		for i, v := range got {
			assert.Equal(t, fmt.Sprint(i+1), string(v.Value))
			count[v.Author]++
		}
		for w := range writers {
			assert.Equal(t, each, count[fmt.Sprint("writer ", w)])
		}
		t.Logf("%d conflicts", conflicts.Load())
	})
}

// Writes by the stores' own clients are versions too, whoever looks.
func TestBareWritesAreRecordedAsExternal(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		h, _ := keep(t, s.Open(t))
		keep(t, s.Open(t)) // two at once make one record each
		s.Put(t, key, `{"low":1}`)
		v := awaitVersions(t, h, 1)[0]
		assert.Equal(t, history.External, v.Author)
		assert.Equal(t, `{"low":1}`, string(v.Value))
		assert.Equal(t, revision(t, s.Open(t)), v.Revision)
		assert.WithinDuration(t, time.Now(), v.Time, time.Minute)

		s.Put(t, key, "not \xff text")
		assert.Equal(t, "not \xff text", string(awaitVersions(t, h, 2)[1].Value), "to the byte")
		s.Put(t, key, "")
		v = awaitVersions(t, h, 3)[2]
		assert.NotNil(t, v.Value)
		assert.Empty(t, v.Value)
		s.Delete(t, key)
		v = awaitVersions(t, h, 4)[3]
		assert.Equal(t, history.External, v.Author)
		assert.True(t, v.Deleted)
		s.Put(t, key, `{"low":2}`)
		awaitVersions(t, h, 5)
		v, err := h.Publish(t.Context(), revision(t, s.Open(t)), []byte(`{"low":3}`), alice)
		require.NoError(t, err)
		assert.Equal(t, v, awaitVersions(t, h, 6)[5])
		s.Delete(t, key)
		awaitVersions(t, h, 7)
	})
}

// The one who publishes over a bare write records it first, if nobody has.
func TestWhatIsPublishedOverIsRecorded(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		s.Put(t, key, `1`)
		store := s.Open(t)
		h := open(t, store)
		_, err := h.Publish(t.Context(), revision(t, store), []byte(`2`), alice)
		require.NoError(t, err)
		s.Delete(t, key)
		_, err = h.Publish(t.Context(), 0, []byte(`3`), alice)
		require.NoError(t, err)
		all := versions(t, h)
		require.Len(t, all, 4)
		for i, author := range []string{history.External, "alice", history.External, "alice"} {
			assert.Equal(t, author, all[i].Author)
		}
		assert.True(t, all[2].Deleted)
	})
}

// A value over the contract's limit is seen by no watch, and is no deletion.
func TestValueTooLargeToKeep(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		h, _ := keep(t, s.Open(t))
		s.Put(t, key, `1`)
		awaitVersions(t, h, 1)
		size := backend.MaxValue
		if _, inside := s.(*stores.Memory); !inside {
			size++ // nobody can write such a value past the memory driver
		}
		value := strings.Repeat(`"`, size)
		s.Put(t, key, value)
		v := awaitVersions(t, h, 2)[1]
		assert.True(t, v.Omitted)
		assert.Nil(t, v.Value)
		assert.Equal(t, dynconf.Hash([]byte(value)), v.Hash)
		_, err := h.Rollback(t.Context(), v.Revision, v.Revision, alice)
		require.ErrorIs(t, err, backend.ErrInvalid)
		_, err = h.Publish(t.Context(), v.Revision, []byte(value[:200_000]), alice)
		require.ErrorIs(t, err, backend.ErrTooLarge, "it could not be recorded")
		_, err = h.Publish(t.Context(), v.Revision, []byte(strings.Repeat(`x`, 240_000)), alice)
		require.NoError(t, err)
	})
}

// Whatever step a writer dies at, the next who looks finds either no change or
// the whole of it, with its author.
func TestACrashBetweenTheStepsIsHealed(t *testing.T) {
	type step struct {
		name      string
		op        string
		prefix    string
		published bool
	}
	for _, deletion := range []bool{false, true} {
		change := "put"
		if deletion {
			change = "delete"
		}
		for _, at := range []step{
			{"before the intent", "put", intents, false},
			{"before the change", change, key, false},
			{"after the change", change, key, true},
			{"after the record", "put", "history/config/0", true},
		} {
			for _, healer := range []string{"recorder", "writer"} {
				t.Run(fmt.Sprintf("%s %s by %s", change, at.name, healer), func(t *testing.T) {
					stores.Each(t, func(t *testing.T, s stores.Space) {
						store := s.Open(t)
						h := open(t, store)
						base, err := h.Publish(t.Context(), 0, []byte(`1`), alice)
						require.NoError(t, err)
						dying := open(t, &mortal{Store: s.Open(t), dies: func(op, k string) (before, after bool) {
							hit := op == at.op && strings.HasPrefix(k, at.prefix) && (at.prefix != key || k == key)
							return hit && strings.HasPrefix(at.name, "before"), hit && strings.HasPrefix(at.name, "after")
						}})
						if deletion {
							_, err = dying.Delete(t.Context(), base.Revision, bob)
						} else {
							_, err = dying.Publish(t.Context(), base.Revision, []byte(`2`), bob)
						}
						if strings.Contains(at.name, "record") {
							require.NoError(t, err, "the change was made")
						} else {
							require.Error(t, err)
							assert.Equal(t, at.prefix == key, errors.Is(err, backend.ErrUnknown), "%v: only the change itself is uncertain", err)
						}

						if healer == "recorder" {
							keep(t, s.Open(t))
						} else {
							_, err := h.Publish(t.Context(), revision(t, store), []byte(`3`), alice)
							require.NoError(t, err)
						}
						want := []string{"alice"}
						if at.published {
							want = append(want, "bob")
						}
						if healer == "writer" {
							want = append(want, "alice")
						}
						all := awaitVersions(t, h, len(want))
						for i, author := range want {
							assert.Equal(t, author, all[i].Author)
						}
						if at.published {
							assert.Equal(t, deletion, all[1].Deleted)
							assert.Equal(t, "less", all[1].Comment)
						}
					})
				})
			}
		}
	}
}

// What crashed writers have left is taken away when it can't come true any more.
func TestIntentsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		store := s.Open(t)
		h, _ := keep(t, store)
		for i := range 5 {
			dying := open(t, &mortal{Store: store, dies: func(op, k string) (before, after bool) { return op == "put" && k == key, false }})
			_, err := dying.Publish(t.Context(), revision(t, store), []byte(`bob's`), bob)
			require.ErrorIs(t, err, backend.ErrUnknown)
			synctest.Wait()
			require.Equal(t, 1, left(t, store), "it may still be written")
			s.Put(t, key, fmt.Sprint(i))
			synctest.Wait()
			require.Zero(t, left(t, store))
		}
		for _, v := range versions(t, h) {
			assert.Equal(t, history.External, v.Author)
		}
	})
}

func TestAnUnknownOutcomeIsFoundOut(t *testing.T) {
	// failing makes the next Put of the key fail with ErrUnknown, before or
	// after it was made, having called then.
	failing := func(f *stores.Faulty, made bool, then func()) {
		hook := func(k string) error {
			if k != key {
				return nil
			}
			f.Set(stores.Hooks{})
			then()
			return backend.ErrUnknown
		}
		if made {
			f.Set(stores.Hooks{AfterPut: hook})
		} else {
			f.Set(stores.Hooks{Put: hook})
		}
	}
	stores.Each(t, func(t *testing.T, s stores.Space) {
		f := &stores.Faulty{Store: s.Open(t)}
		h, other := open(t, f), open(t, s.Open(t))
		last, err := other.Publish(t.Context(), 0, []byte(`0`), alice)
		require.NoError(t, err)

		for _, made := range []bool{true, false} {
			failing(f, made, func() {})
			v, err := h.Publish(t.Context(), last.Revision, []byte(`1`), bob)
			require.NoError(t, err, "made: %v", made)
			assert.Equal(t, revision(t, f), v.Revision)
			assert.Equal(t, "bob", v.Author)
			last = v
		}

		// Made, and overwritten by one who saw it.
		failing(f, true, func() {
			last, err = other.Publish(t.Context(), revision(t, f), []byte(`3`), alice)
			require.NoError(t, err)
		})
		v, err := h.Publish(t.Context(), last.Revision, []byte(`2`), bob)
		require.NoError(t, err)
		assert.Equal(t, "bob", v.Author)
		assert.Less(t, v.Revision, last.Revision)

		// Not made, and somebody else was faster: certain too.
		failing(f, false, func() {
			last, err = other.Publish(t.Context(), last.Revision, []byte(`5`), alice)
			require.NoError(t, err)
		})
		base := last.Revision
		_, err = h.Publish(t.Context(), base, []byte(`4`), bob)
		require.ErrorIs(t, err, backend.ErrConflict)
		require.NotErrorIs(t, err, backend.ErrUnknown)
		var conflict *backend.ConflictError
		require.ErrorAs(t, err, &conflict)
		assert.Equal(t, last.Revision, conflict.Have)

		// The same, by a bare write: whether ours was made before can't be told.
		for _, made := range []bool{true, false} {
			failing(f, made, func() { s.Put(t, key, fmt.Sprint("external, made: ", made)) })
			_, err = h.Publish(t.Context(), revision(t, f), []byte(`6`), bob)
			require.ErrorIs(t, err, backend.ErrUnknown, "made: %v", made)
			require.NotErrorIs(t, err, backend.ErrConflict)
		}
		authors := ""
		for _, v := range versions(t, other) {
			authors += v.Author[:1]
		}
		assert.Equal(t, "abbbaaee", authors)
	})
}

// A change is made once, however often it is repeated with its ID.
func TestRepeatingAChange(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		h := open(t, store)
		by := history.Change{Author: "alice", ID: ulid.Make().String()}
		one, err := h.Publish(t.Context(), 0, []byte(`1`), by)
		require.NoError(t, err)
		for range 2 {
			again, err := h.Publish(t.Context(), 0, []byte(`1`), by)
			require.NoError(t, err)
			assert.Equal(t, one, again)
			_, err = h.Publish(t.Context(), revision(t, store), []byte(`2`), bob)
			require.NoError(t, err)
		}
		by.ID = ulid.Make().String()
		_, err = h.Publish(t.Context(), 0, []byte(`1`), by)
		require.ErrorIs(t, err, backend.ErrConflict)
		assert.Len(t, versions(t, h), 3)

		_, err = h.Publish(t.Context(), revision(t, store), []byte(`4`), alice, backend.If("other", 7))
		var conflict *backend.ConflictError
		require.ErrorAs(t, err, &conflict)
		assert.Equal(t, "other", conflict.Key)
	})
}

// Two that make the same change at the same time, such as a promotion, have both
// made it, and neither takes away what the other still needs.
func TestRepeatingAChangeAtTheSameTime(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		f := &stores.Faulty{Store: s.Open(t)}
		h, other := open(t, f), open(t, s.Open(t))
		for i, twin := range []func(history.Change) error{
			func(by history.Change) error {
				_, err := other.Publish(t.Context(), revision(t, f), []byte(`1`), by)
				return err
			},
			func(by history.Change) error { // dies before it can tell
				dying := open(t, &mortal{Store: s.Open(t), dies: func(op, k string) (before, after bool) { return false, op == "put" && k == key }})
				_, err := dying.Publish(t.Context(), revision(t, f), []byte(`1`), by)
				assert.ErrorIs(t, err, backend.ErrUnknown)
				return nil
			},
		} {
			by := history.Change{Author: "alice", ID: ulid.Make().String()}
			f.Set(stores.Hooks{Put: func(k string) error {
				if k != key {
					return nil
				}
				f.Set(stores.Hooks{})
				return twin(by)
			}})
			v, err := h.Publish(t.Context(), revision(t, f), []byte(`1`), by)
			require.NoError(t, err)
			assert.Equal(t, revision(t, f), v.Revision)
			all := versions(t, other)
			require.Len(t, all, i+1)
			assert.Equal(t, by.ID, all[i].ID)
			assert.Equal(t, "alice", all[i].Author)
			assert.Zero(t, left(t, f))
		}
	})
}

// Who made a change knows it better than who recorded it.
func TestAGuessIsCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		f := &stores.Faulty{Store: s.Open(t)}
		// A twin of the change has left its intent, and a recorder takes the
		// version for that.
		dying := open(t, &mortal{Store: s.Open(t), dies: func(op, k string) (before, after bool) { return op == "put" && k == key, false }})
		_, err := dying.Publish(t.Context(), 0, []byte(`1`), bob)
		require.ErrorIs(t, err, backend.ErrUnknown)
		other, _ := keep(t, s.Open(t))
		f.Set(stores.Hooks{AfterPut: func(k string) error {
			if k == key {
				awaitVersions(t, other, 1)
			}
			return nil
		}})
		_, err = open(t, f).Publish(t.Context(), 0, []byte(`1`), alice)
		require.NoError(t, err)
		assert.Equal(t, "alice", awaitVersions(t, other, 1)[0].Author)
	})
}

func TestOldRecordsAreDeleted(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		h, err := history.New(store, key, history.Options{Keep: 3})
		require.NoError(t, err)
		base := backend.Revision(0)
		for i := range 6 {
			v, err := h.Publish(t.Context(), base, fmt.Append(nil, i), alice)
			require.NoError(t, err)
			base = v.Revision
		}
		s.Put(t, "history/config/about", "who put this here?")
		stores.Start(t, h.Run)
		stores.Wait(t, "trimmed", func() bool {
			all, unreadable, err := h.Versions(t.Context())
			require.NoError(t, err)
			require.Len(t, unreadable, 1, "what is no record is left alone")
			return len(all) == 3 && string(all[0].Value) == "3"
		})
	})
}

// What others have put among the records is named, and nothing breaks.
func TestRecordsThatAreNone(t *testing.T) {
	stores.Each(t, func(t *testing.T, s stores.Space) {
		bad := []string{``, `null`, `[]`, `{`, `{}`, `7`, `{"revision":3}`, `{"revision":-1}`, `{"revision":1,"value":7}`}
		for i, value := range bad {
			s.Put(t, fmt.Sprintf("history/config/%020d", i+1), value)
			s.Put(t, intents+ulid.Make().String(), value)
		}
		s.Put(t, "history/config/00000000000000000001-deleted", `null`)
		s.Put(t, "history/config/x", `null`)
		s.Put(t, "history/config/folder/x", `null`)
		s.Put(t, "history/config2/00000000000000000001", `null`)
		h, _ := keep(t, s.Open(t))
		s.Put(t, key, `1`)
		store := s.Open(t)
		stores.Wait(t, "recorded", func() bool {
			_, err := h.Version(t.Context(), revision(t, store))
			return err == nil
		})
		v, err := h.Publish(t.Context(), revision(t, store), []byte(`2`), alice)
		require.NoError(t, err)
		all, unreadable, err := h.Versions(t.Context())
		require.NoError(t, err)
		assert.Len(t, all, 2)
		assert.Equal(t, v, all[1])
		require.Len(t, unreadable, len(bad)+2)
		for _, err := range unreadable {
			require.ErrorContains(t, err, `"history/config/`)
		}
		_, err = h.Version(t.Context(), 1)
		require.ErrorContains(t, err, `"history/config/00000000000000000001"`)
		_, err = h.Rollback(t.Context(), 999_999_999, v.Revision, alice)
		require.ErrorIs(t, err, backend.ErrNotFound)
	})
}

func TestRefusals(t *testing.T) {
	store := stores.NewMemory().Open(t)
	h, err := history.New(store, key, history.Options{Check: func(value []byte) error {
		if string(value) == "bad" {
			return errors.New("not good")
		}
		return nil
	}})
	require.NoError(t, err)
	_, err = h.Publish(t.Context(), 0, []byte("bad"), alice)
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.ErrorContains(t, err, "not good")
	for _, by := range []history.Change{{}, {Author: history.External}, {Author: "a", ID: "1"}} {
		_, err = h.Publish(t.Context(), 0, []byte("good"), by)
		require.ErrorIs(t, err, backend.ErrInvalid, by)
	}
	_, err = h.Publish(t.Context(), 0, []byte("good"), history.Change{Author: "a", Comment: strings.Repeat("x", 2000)})
	require.ErrorIs(t, err, backend.ErrTooLarge)
	_, err = h.Delete(t.Context(), 0, alice)
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = history.New(store, "/x", history.Options{})
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = history.New(store, key, history.Options{Keep: -1})
	require.ErrorIs(t, err, backend.ErrInvalid)
	assert.Zero(t, revision(t, store))
}

// A version that was seen is recorded when the store is back, though there is
// another by then.
func TestRecordsThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		store := s.Client(t)
		f := &stores.Faulty{Store: store}
		h, stop := keep(t, f)
		f.Set(stores.Hooks{Put: func(string) error { return backend.ErrUnavailable }})
		s.Put(t, key, `1`)
		time.Sleep(time.Minute)
		s.Put(t, key, `2`)
		time.Sleep(time.Minute)
		f.Set(stores.Hooks{})
		all := awaitVersions(t, h, 2)
		assert.Equal(t, "1", string(all[0].Value))

		store.Cut()
		s.Put(t, key, `3`)
		s.Put(t, key, `4`)
		time.Sleep(time.Minute)
		store.Mend()
		time.Sleep(time.Minute)
		assert.Equal(t, "4", string(awaitVersions(t, h, 3)[2].Value), "3 was seen by nobody")
		require.NoError(t, stop())
		go func() { time.Sleep(time.Second); _ = store.Close() }()
		require.ErrorIs(t, h.Run(t.Context()), backend.ErrClosed)
	})
}

func TestDiff(t *testing.T) {
	from := history.Version{Revision: 4, Author: "alice", Value: []byte(`{"logLevel":"info","rateLimit":{"low":10,"middle":100}}`)}
	to := history.Version{Revision: 9, Author: "bob", Value: []byte(`{"logLevel":"info", "rateLimit":{"low":20,"middle":100}}`)}
	diff, err := history.Diff(from, to)
	require.NoError(t, err)
	assert.Equal(t, `--- version 4, by alice
+++ version 9, by bob
@@ -1,7 +1,7 @@
 {
   "logLevel": "info",
   "rateLimit": {
-    "low": 10,
+    "low": 20,
     "middle": 100
   }
 }
`, diff)
	same, err := history.Diff(from, from)
	require.NoError(t, err)
	assert.Empty(t, same)
	gone, err := history.Diff(history.Version{Revision: 4, Author: "alice", Value: []byte("text")}, history.Version{Revision: 4, Author: "bob", Deleted: true})
	require.NoError(t, err)
	assert.Equal(t, "--- version 4, by alice\n+++ version 4, deleted, by bob\n@@ -1 +0,0 @@\n-text\n", gone)
}

// Little that would be much once it is indented is refused, and not indented.
func TestWhatIsTooMuchToCompare(t *testing.T) {
	nested := func(depth int, inside string) []byte {
		return []byte(strings.Repeat(`{"a":[`, depth/2) + inside + strings.Repeat(`]}`, depth/2))
	}
	many := strings.Repeat("1,", 10_000) + "1"
	for _, fine := range [][]byte{
		nested(32, `"\"[[[[[[[[[[[[[[[[[[[["`), nested(30, many), []byte("text " + strings.Repeat("[", 100)),
	} {
		diff, err := history.DiffText("a", nil, "b", fine)
		require.NoError(t, err)
		assert.NotEmpty(t, diff)
	}
	for _, deep := range [][]byte{nested(34, "1"), nested(9_000, many), []byte(" " + strings.Repeat("[", 100_000))} {
		for _, pair := range [][2][]byte{{nil, deep}, {deep, nil}} {
			_, err := history.DiffText("a", pair[0], "b", pair[1])
			require.ErrorIs(t, err, backend.ErrInvalid)
			require.ErrorContains(t, err, "deeper than 32 levels")
		}
	}
	for _, long := range [][]byte{nested(32, many+","+many), []byte(strings.Repeat("x", 1<<20+1))} {
		_, err := history.DiffText("a", nil, "b", long)
		require.ErrorIs(t, err, backend.ErrTooLarge)
		require.ErrorContains(t, err, "b: ")
	}
}

// The recorder looks while the watch has not told yet, and the watch merges what
// it would have told with what followed: absent before, absent after.
func TestWhatComesAndGoesUnseenByTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stores.NewMemory()
		f := &stores.Faulty{Store: s.Open(t)}
		f.Set(stores.Hooks{
			Get: func(k string) error {
				if k != key {
					return nil
				}
				f.Set(stores.Hooks{AfterPut: func(string) error {
					f.Set(stores.Hooks{})
					s.Delete(t, key) // as soon as that is recorded
					return nil
				}})
				s.Put(t, key, `1`) // after the first update, before the look
				return nil
			},
		})
		h, _ := keep(t, f)
		assert.True(t, awaitVersions(t, h, 2)[1].Deleted)
	})
}

// A writer is killed at whatever it does, again and again. Each version that was
// made has one record, with its author, and is made on the one before.
func TestKilledWritersLeaveNothingUnrecorded(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		kills := 5
		if os.Getenv("SECKILL_TEST_FULL") != "" {
			kills = 50
		}
		h, _ := keep(t, s.Open(t))
		for i := range kills {
			p := stores.Spawn(t, s, "publisher", fmt.Sprint("writer ", i))
			p.Await(t, "published")
			p.Await(t, "published")
			time.Sleep(rand.N(20 * time.Millisecond)) // anywhere
			p.Kill()
		}
		store := s.Open(t)
		var all []history.Version
		stores.Wait(t, "all is recorded", func() bool {
			e, err := store.Get(t.Context(), key)
			require.NoError(t, err)
			all = versions(t, h)
			return len(all) == len(e.Value) // a version adds a letter
		})
		for i, v := range all {
			assert.Len(t, v.Value, i+1)
			assert.Contains(t, v.Author, "writer ")
			if i > 0 {
				assert.Equal(t, all[i-1].Revision, v.Base)
			}
		}
		t.Logf("%d versions by %d writers", len(all), kills)
	})
}

// A writer that was paused comes too late.
func TestAPausedWriterIsTold(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		h := open(t, store)
		one, err := h.Publish(t.Context(), 0, []byte(`1`), alice)
		require.NoError(t, err)
		p := stores.Spawn(t, s, "late")
		p.Await(t, "read")
		p.Pause(t)
		p.Tell(t, "now")
		two, err := h.Publish(t.Context(), one.Revision, []byte(`2`), alice)
		require.NoError(t, err)
		p.Resume(t)
		assert.Contains(t, p.Await(t, "outcome"), "conflict")
		assert.Equal(t, two.Revision, revision(t, store))
	})
}

func TestRecordsThroughARestartOfTheStore(t *testing.T) {
	stores.EachOwn(t, func(t *testing.T, s stores.Space, c *servers.Cluster) {
		h, _ := keep(t, s.Open(t))
		one, err := h.Publish(t.Context(), 0, []byte(`1`), alice)
		require.NoError(t, err)
		require.NoError(t, c.Restart(t.Context()))
		stores.Wait(t, "published", func() bool {
			_, err = h.Publish(t.Context(), one.Revision, []byte(`2`), history.Change{Author: "bob", ID: "01JD0000000000000000000000"})
			return err == nil
		})
		s.Put(t, key, `3`)
		var all []history.Version
		stores.Wait(t, "recorded", func() bool {
			all, _, err = h.Versions(t.Context())
			return err == nil && len(all) == 3
		})
		assert.Equal(t, "bob", all[1].Author)
		assert.Equal(t, history.External, all[2].Author)
	})
}

// Whatever lies among the records, nothing breaks, and versions are published.
func FuzzForeignRecords(f *testing.F) {
	f.Add([]byte(`null`), []byte(`{"id":"01JD0000000000000000000000","base":0,"hash":"6b86b273ff34"}`))
	f.Add([]byte(`{"revision":1,"value":null,"deleted":true}`), []byte(`{"deleted":true,"base":1}`))
	f.Add([]byte(`{"revision":1,"time":"yesterday"}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, record, intent []byte) {
		s := stores.NewMemory()
		s.Put(t, "history/config/00000000000000000001", string(record))
		s.Put(t, "history/config/00000000000000000001-deleted", string(record))
		s.Put(t, intents+"01JD0000000000000000000000", string(intent))
		s.Put(t, key, `1`)
		store := s.Open(t)
		h := open(t, store)
		v, err := h.Publish(t.Context(), revision(t, store), []byte(`2`), alice)
		require.NoError(t, err)
		all, _, err := h.Versions(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, all)
		assert.Equal(t, v, all[len(all)-1])
		_, err = h.Delete(t.Context(), v.Revision, bob)
		require.NoError(t, err)
		for _, old := range all {
			_, err = history.Diff(old, v)
			require.NoError(t, err)
		}
	})
}
