package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

func TestListIsInKeyOrder(t *testing.T) {
	s := memory.New()
	defer s.Close()
	for _, key := range []string{"dir/b", "dir/a", "dir2"} {
		_, err := s.Put(t.Context(), key, nil)
		require.NoError(t, err)
	}
	entries, rev, err := backend.List(t.Context(), s, "dir/")
	require.NoError(t, err)
	require.Len(t, entries, 2)
	assert.Equal(t, "dir/a", entries[0].Key)
	assert.Equal(t, backend.Revision(3), rev)
	_, _, err = backend.List(t.Context(), s, "//")
	require.ErrorIs(t, err, backend.ErrInvalid)
}

func TestListOfAStoreThatIsAwayEndsWithATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		s.Cut()
		start := time.Now()
		_, _, err := backend.List(t.Context(), s, "dir/")
		require.ErrorIs(t, err, backend.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, backend.DefaultTimeout, time.Since(start))
	})
}

func TestWatchKeyFollowsOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		defer s.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		seen := make(chan backend.Entry)
		ended := make(chan error, 1)
		go func() {
			for e, err := range backend.WatchKey(ctx, s, "config") {
				if err != nil {
					ended <- err
					return
				}
				seen <- e
			}
		}()
		assert.Equal(t, backend.Entry{Key: "config"}, <-seen, "an absent key is told at the beginning")
		for _, other := range []string{"config2", "config/sub"} {
			_, err := s.Put(t.Context(), other, nil)
			require.NoError(t, err)
		}
		rev, err := s.Put(t.Context(), "config", []byte("v"))
		require.NoError(t, err)
		assert.Equal(t, backend.Entry{Key: "config", Value: []byte("v"), Revision: rev}, <-seen)
		require.NoError(t, s.Delete(t.Context(), "config2"))
		require.NoError(t, s.Delete(t.Context(), "config"))
		assert.Equal(t, backend.Entry{Key: "config"}, <-seen)
		cancel(errStopped)
		require.ErrorIs(t, <-ended, errStopped)
	})
}

// moved is a store that turns into another one, at the same revision.
type moved struct{ backend.Store }

func (moved) WatchPrefix(context.Context, string) iter.Seq2[backend.Update, error] {
	return func(yield func(backend.Update, error) bool) {
		for _, value := range []string{"here", "there"} {
			e := backend.Entry{Key: "k", Value: []byte(value), Revision: 1}
			if !yield(backend.Update{Snapshot: true, Revision: 1, Puts: []backend.Entry{e}}, nil) {
				return
			}
		}
		yield(backend.Update{}, backend.ErrClosed)
	}
}

func TestWatchKeyTellsAnotherStoreAtTheSameRevision(t *testing.T) {
	var values []string
	for e, err := range backend.WatchKey(t.Context(), moved{}, "k") {
		if err != nil {
			require.ErrorIs(t, err, backend.ErrClosed)
			break
		}
		values = append(values, string(e.Value))
		clear(e.Value)
	}
	assert.Equal(t, []string{"here", "there"}, values)
}

// meddler writes to a key each time it has been read.
type meddler struct {
	backend.Store
	key   string
	times int
}

func (m *meddler) Get(ctx context.Context, key string) (backend.Entry, error) {
	e, err := m.Store.Get(ctx, key)
	if m.times > 0 {
		m.times--
		if _, err := m.Put(ctx, m.key, []byte("meddled")); err != nil {
			return e, err
		}
	}
	return e, err
}

func TestModify(t *testing.T) {
	s := memory.New()
	defer s.Close()
	calls := 0
	appendX := func(e backend.Entry) ([]byte, error) { calls++; return append(e.Value, 'x'), nil }

	first, err := backend.Modify(t.Context(), s, "k", appendX)
	require.NoError(t, err)
	rev, err := backend.Modify(t.Context(), &meddler{s, "k", 3}, "k", appendX)
	require.NoError(t, err)
	assert.Greater(t, rev, first)
	assert.Equal(t, 5, calls, "it begins again after a conflict")
	e, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	assert.Equal(t, "meddledx", string(e.Value))

	refused := errors.New("refused")
	_, err = backend.Modify(t.Context(), s, "k", func(backend.Entry) ([]byte, error) { return nil, refused })
	require.Equal(t, refused, err)

	_, err = backend.Modify(t.Context(), s, "k", appendX, backend.If("guard", 7))
	var conflict *backend.ConflictError
	require.ErrorAs(t, err, &conflict, "a conflict on another key is the caller's")
	assert.Equal(t, "guard", conflict.Key)

	_, err = backend.Modify(t.Context(), s, "k", appendX, backend.If("k", 0))
	require.ErrorAs(t, err, &conflict, "a condition that can't hold must not be tried for ever")
	assert.Zero(t, conflict.Want)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = backend.Modify(ctx, &meddler{s, "k", 1 << 30}, "k", appendX)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestModifyKeepsAKeyOnItsLease(t *testing.T) {
	s := memory.New()
	defer s.Close()
	l, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.NoError(t, err)
	same := func(e backend.Entry) ([]byte, error) { return e.Value, nil }
	_, err = backend.Modify(t.Context(), s, "k", same)
	require.ErrorIs(t, err, backend.ErrInvalid, "a plain Put would take the key off its lease")
	_, err = backend.Modify(t.Context(), s, "k", same, backend.WithLease(l))
	require.NoError(t, err)
	e, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	assert.Equal(t, l.ID(), e.Lease)
}

type limits struct {
	Middle int `json:"middle"`
	Low    int `json:"low"`
}

type config struct {
	LogLevel  string `json:"logLevel"`
	RateLimit limits `json:"rateLimit"`
}

func TestJSON(t *testing.T) {
	s := memory.New()
	defer s.Close()
	want := config{"info", limits{100000, 10000}}
	rev, err := backend.PutJSON(t.Context(), s, "config", want)
	require.NoError(t, err)
	got, e, err := backend.GetJSON[config](t.Context(), s, "config")
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, rev, e.Revision)

	for range 2 {
		_, err = backend.ModifyJSON(t.Context(), s, "counters/a", func(n *int) error { *n++; return nil })
		require.NoError(t, err)
	}
	n, _, err := backend.GetJSON[int](t.Context(), s, "counters/a")
	require.NoError(t, err)
	assert.Equal(t, 2, n)

	_, _, err = backend.GetJSON[int](t.Context(), s, "absent")
	require.ErrorIs(t, err, backend.ErrNotFound)
	_, err = backend.PutJSON(t.Context(), s, "k", func() {})
	require.ErrorIs(t, err, backend.ErrInvalid)
}

func TestDecodeJSONSaysWhereItWentWrong(t *testing.T) {
	for text, want := range map[string]string{
		// The course's own sample has both mistakes.
		"{\n  \"logLevel\": \"info\"\n  \"rateLimit\": {}\n}": `"config": line 3, column 3: invalid character '"' after object key:value pair`,
		"{\n  \"rateLimit\": {\"middle\": 1, \"low\": 2,}\n}": `line 2, column 39: invalid character '}' looking for beginning of object key string`,
		`{"logLevel": "info"`:                    "line 1, column 20: the text ends too soon",
		"":                                       "no text, expected a JSON value",
		" null ":                                 "null, expected a backend_test.config",
		"{} {}":                                  "more text after the end of the value",
		`{"logLevel": 1}`:                        "line 1, column 14: logLevel: got number, expected string",
		"{\n\"rateLimit\": {\"low\": \"much\"}}": "line 2, column 22: rateLimit.low: got string, expected int",
		`{"rateLimit": {"low": 1, "middle": "m"}}`:             "line 1, column 36: rateLimit.middle: got string, expected int",
		"{\"rateLimit\":\n [1, 2]}":                            "line 2, column 2: rateLimit: got array, expected backend_test.limits",
		`{"rateLimit": {"low": 1.5}}`:                          "line 1, column 23: rateLimit.low: got number 1.5, expected int",
		"\n []":                                                "line 2, column 2: got array, expected backend_test.config",
		"{\"logLevel\": \"info\",\n  \"logLevle\": \"debug\"}": `line 2, column 3: unknown field "logLevle"`,
		"\"\xff\xfe":                                           "ends too soon",
		`{"logLevel": "low", "low": 1}`:                        `line 1, column 21: unknown field "low"`,
		`{"logLevel": "", "l\u006fw": 1}`:                      `line 1, column 18: unknown field "low"`,
		`{"rateLimit": {"low": 1}, "low": 1}`:                  `"config": unknown field "low"`, // which of them?
		"{\"logLevel\": \"info\",\n  \"logLevel\": \"debug\"}": `line 2, column 3: "logLevel" is there twice`,
		`{"rateLimit": {"low": 1, "l\u006fw": 2}}`:             `line 1, column 26: "low" is there twice`,
	} {
		v, err := backend.DecodeJSON[config](backend.Entry{Key: "config", Value: []byte(text)})
		require.ErrorContains(t, err, want, "%q", text)
		assert.Zero(t, v, "half-decoded")
	}
	_, err := backend.DecodeJSON[*config](backend.Entry{Key: "k", Value: []byte("null")})
	require.Error(t, err, "a null must not become a nil pointer")
}

func TestDecodeJSONTakesRepeatedNamesOfDifferentObjects(t *testing.T) {
	text := `{"a": [{"n": 1}, {"n": 1e999, "a": {"n": ":"}}], "n": "n", "b": {"n": []}}`
	v, err := backend.DecodeJSON[map[string]json.RawMessage](backend.Entry{Key: "k", Value: []byte(text)})
	require.NoError(t, err)
	assert.Len(t, v, 3)
}

// A null inside counts as a field that is not there: so Go writes a nil slice,
// which has to be readable again.
func TestJSONNulls(t *testing.T) {
	s := memory.New()
	defer s.Close()
	v, err := backend.DecodeJSON[config](backend.Entry{Key: "k", Value: []byte(`{"logLevel": "info", "rateLimit": null}`)})
	require.NoError(t, err)
	assert.Equal(t, config{LogLevel: "info"}, v)

	type list struct{ Items []string }
	_, err = backend.PutJSON(t.Context(), s, "k", list{})
	require.NoError(t, err)
	_, _, err = backend.GetJSON[list](t.Context(), s, "k")
	require.NoError(t, err)

	// What could not be read again is not written.
	_, err = backend.PutJSON[[]string](t.Context(), s, "null", nil)
	require.ErrorIs(t, err, backend.ErrInvalid)
	require.ErrorContains(t, err, `"null"`)
	_, err = s.Get(t.Context(), "null")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"logLevel":"info","rateLimit":{"middle":1,"low":2}}`))
	f.Add([]byte("{\"logLevel\":\"x\"\n,}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := backend.DecodeJSON[config](backend.Entry{Key: "k", Value: data})
		if err != nil && v != (config{}) {
			t.Fatalf("half-decoded %+v with %v", v, err)
		}
	})
}

func TestPrefixTranslates(t *testing.T) {
	inner := memory.New()
	defer inner.Close()
	s := backend.Prefix(inner, "p/")
	require.Equal(t, backend.Store(inner), backend.Prefix(inner, ""))
	l, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)

	rev, err := s.Put(t.Context(), "k", []byte("v"), backend.If("k", 0), backend.If("other", 0), backend.WithLease(l))
	require.NoError(t, err)
	e, err := inner.Get(t.Context(), "p/k")
	require.NoError(t, err)
	assert.Equal(t, backend.Entry{Key: "p/k", Value: []byte("v"), Revision: rev, Lease: l.ID()}, e)
	e, err = s.Get(t.Context(), "k")
	require.NoError(t, err)
	assert.Equal(t, backend.Entry{Key: "k", Value: []byte("v"), Revision: rev, Lease: l.ID()}, e)

	_, err = inner.Put(t.Context(), "k", nil) // a namesake outside
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "k", nil, backend.If("k", rev+1))
	var conflict *backend.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, backend.ConflictError{Key: "k", Want: rev + 1, Have: rev}, *conflict)
	require.ErrorAs(t, s.Delete(t.Context(), "k", backend.If("absent", 1)), &conflict)
	assert.Equal(t, "absent", conflict.Key)

	entries, _, err := backend.List(t.Context(), s, "")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "k", entries[0].Key)

	m := backend.NewMirror(s, "")
	running(t, m)
	<-m.Synced()
	require.NoError(t, s.Delete(t.Context(), "k", backend.If("k", rev)))
	last, err := s.Put(t.Context(), "last", nil)
	require.NoError(t, err)
	require.NoError(t, m.WaitFor(t.Context(), last))
	assert.Equal(t, []string{"last"}, keys(m))
	_, err = inner.Get(t.Context(), "k")
	require.NoError(t, err, "the namesake outside was deleted")
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

// Under the prefix "a" the store's "a/b" would be "/b", which is no key.
func TestPrefixLeavesOutWhatIsNoKeyThere(t *testing.T) {
	inner := memory.New()
	defer inner.Close()
	for _, key := range []string{"a", "a/b", "ab"} {
		_, err := inner.Put(t.Context(), key, nil)
		require.NoError(t, err)
	}
	entries, _, err := backend.List(t.Context(), backend.Prefix(inner, "a"), "")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "b", entries[0].Key)
}

func TestPrefixRefuses(t *testing.T) {
	inner := memory.New()
	defer inner.Close()
	refuses := func(s backend.Store, key string) {
		t.Helper()
		_, err := s.Get(t.Context(), key)
		require.ErrorIs(t, err, backend.ErrInvalid)
		_, err = s.Put(t.Context(), key, nil)
		require.ErrorIs(t, err, backend.ErrInvalid)
		require.ErrorIs(t, s.Delete(t.Context(), key), backend.ErrInvalid)
		_, _, err = backend.List(t.Context(), s, key)
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
	refuses(backend.Prefix(inner, "p/"), "/k")
	// "a/." and the key "b" would make "a/.b", which is a key.
	for _, prefix := range []string{"/p/", "a/.", "a//", "..", strings.Repeat("p", backend.MaxKey+1)} {
		s := backend.Prefix(inner, prefix)
		refuses(s, "b")
		_, err := s.Lease(t.Context(), time.Minute)
		require.ErrorIs(t, err, backend.ErrInvalid, prefix)
	}
	_, err := backend.Prefix(inner, "a").Put(t.Context(), "b", nil)
	require.NoError(t, err, "a prefix need not end with a slash")
}
