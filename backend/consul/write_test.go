package consul_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
)

func TestPutGetDelete(t *testing.T) {
	s, dir := here(t)
	e, err := s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.Equal(t, backend.Entry{Key: "k"}, e)

	first := put(t, s, "k", "v")
	require.Equal(t, backend.Entry{Key: "k", Value: []byte("v"), Revision: first}, get(t, s, "k"))
	pair, _, err := raw(t, shared(t)).KV().Get(dir+"k", nil)
	require.NoError(t, err)
	require.Equal(t, "v", string(pair.Value), "the key is where the root says")

	put(t, s, "k", "")
	e = get(t, s, "k")
	require.NotNil(t, e.Value)
	require.Empty(t, e.Value)

	require.NoError(t, s.Delete(t.Context(), "k"))
	require.NoError(t, s.Delete(t.Context(), "k"), "an absent key")
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.Greater(t, put(t, s, "k", "v", backend.If("k", 0)), e.Revision, "no revision comes back")
}

// Consul takes a set of equal bytes for no write: without the nonce both of two writers with one condition won.
func TestEqualBytesAreAWrite(t *testing.T) {
	s, _ := here(t)
	first := put(t, s, "k", "same")
	second := put(t, s, "k", "same")
	require.Greater(t, second, first)

	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.Put(t.Context(), "k", []byte("same"), backend.If("k", second)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, backend.ErrConflict)
		}
	}
	require.Equal(t, 1, won)
}

func TestConditions(t *testing.T) {
	s, _ := here(t)
	a := put(t, s, "a", "1")
	put(t, s, "b", "1", backend.If("a", a), backend.If("c", 0))

	_, err := s.Put(t.Context(), "b", nil, backend.If("a", a), backend.If("c", 5))
	requireConflict(t, err, backend.ConflictError{Key: "c", Want: 5})
	_, err = s.Put(t.Context(), "b", nil, backend.If("a", a+1000))
	requireConflict(t, err, backend.ConflictError{Key: "a", Want: a + 1000, Have: a})
	_, err = s.Put(t.Context(), "new", nil, backend.If("a", 0))
	requireConflict(t, err, backend.ConflictError{Key: "a"})
	requireConflict(t, s.Delete(t.Context(), "b", backend.If("a", 0)), backend.ConflictError{Key: "a"})
	requireConflict(t, s.Delete(t.Context(), "none", backend.If("none", 3)), backend.ConflictError{Key: "none", Want: 3})

	require.Equal(t, "1", string(get(t, s, "b").Value), "a failed condition changes nothing")
	_, err = s.Get(t.Context(), "new")
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.NoError(t, s.Delete(t.Context(), "b", backend.If("a", a), backend.If("c", 0)))
}

// Each of the most conditions there can be is the one that an error names.
func TestManyConditionsNamed(t *testing.T) {
	s, _ := here(t)
	conds := make([]backend.PutOption, backend.MaxConditions)
	for i := range conds {
		key := fmt.Sprintf("c%02d", i)
		conds[i] = backend.If(key, put(t, s, key, ""))
	}
	put(t, s, "k", "", conds...)
	for i, c := range conds {
		good, ok := c.(backend.Condition)
		require.True(t, ok)
		conds[i] = backend.If(good.Key, good.Revision-1)
		_, err := s.Put(t.Context(), "k", nil, conds...)
		requireConflict(t, err, backend.ConflictError{Key: good.Key, Want: good.Revision - 1, Have: good.Revision})
		conds[i] = good
	}
}

// The most that the contract allows passes Consul's limit of 512 KiB for a transaction, though JSON makes six bytes of some
// characters.
func TestLargestWrite(t *testing.T) {
	shared := shared(t)
	long := strings.Repeat("<", consul.MaxRoot-1) + "/"
	s := open(t, consul.Config{Endpoints: shared.Endpoints(), Root: long})
	value := bytes.Repeat([]byte{0xff}, backend.MaxValue)
	conds := make([]backend.PutOption, backend.MaxConditions)
	for i := range conds {
		name := fmt.Sprintf("%02d", i)
		conds[i] = backend.If(strings.Repeat("<", backend.MaxConditionKeys/backend.MaxConditions-len(name))+name, 0)
	}
	for _, char := range []string{"<", "&", `"`, "界"} {
		key := strings.Repeat(char, backend.MaxKey/len(char))
		l := newLease(t, s, time.Minute)
		put(t, s, key, string(value), conds...)
		put(t, s, key, string(value), slices.Concat(conds, []backend.PutOption{backend.WithLease(l)})...)
		put(t, s, key, string(value), conds...)
		require.Equal(t, value, get(t, s, key).Value)
		require.NoError(t, s.Delete(t.Context(), key))
		require.NoError(t, l.Close(t.Context()))
	}
}

// A server may have smaller limits than the contract: what is refused because of them is told as that (cortex #33), and does not hang.
func TestServersOwnLimit(t *testing.T) {
	t.Parallel()
	const connections = 4
	c := own(t, servers.Config{Extra: []string{"-hcl", fmt.Sprintf(`limits { http_max_conns_per_client = %d kv_max_value_size = 100000 txn_max_req_len = 100000 }`, connections)}})
	s := open(t, consul.Config{Endpoints: c.Endpoints()})
	put(t, s, "small", "")
	_, err := s.Put(t.Context(), "large", make([]byte, 100_000))
	require.ErrorIs(t, err, backend.ErrTooLarge)
	_, err = s.Get(t.Context(), "large")
	require.ErrorIs(t, err, backend.ErrNotFound)

	// Watches that hold all connections there may be.
	var followers []*follower
	for i := range connections {
		f := follow(t, s, fmt.Sprintf("p%d/", i))
		f.next()
		followers = append(followers, f)
	}
	// The end of a connection is all there is to tell of a request that was sent before the server had closed it.
	limit := regexp.MustCompile("too many concurrent connections|http_max_conns_per_client|EOF|connection reset|broken pipe")
	for what, call := range map[string]func(context.Context, backend.Store) error{
		"get":   func(ctx context.Context, s backend.Store) error { return second(s.Get(ctx, "small")) },
		"put":   func(ctx context.Context, s backend.Store) error { return second(s.Put(ctx, "k", nil)) },
		"lease": func(ctx context.Context, s backend.Store) error { return second(s.Lease(ctx, time.Minute)) },
		"list": func(ctx context.Context, s backend.Store) error {
			_, _, err := backend.List(ctx, s, "dir/")
			return err
		},
	} {
		eventually(t, what+": one connection too many", func() bool {
			// A call that succeeds leaves a connection behind, which the next one would
			// use, and a watch wait for.
			other, err := consul.Open(consul.Config{Endpoints: c.Endpoints()})
			if !assert.NoError(t, err) {
				return false
			}
			defer func() { assert.NoError(t, other.Close()) }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err = call(ctx, other)
			if err == nil {
				return false // not all are held yet
			}
			if !errors.Is(err, backend.ErrUnknown) {
				assert.ErrorIs(t, err, backend.ErrUnavailable, what)
			}
			return limit.MatchString(err.Error())
		})
	}
	followers[0].cancel()
	eventually(t, "there is room again", func() bool { return second(s.Put(t.Context(), "k", nil)) == nil })
}

// Keys are kept as they are, also those that mean something in a URL or that Consul's /v1/kv refuses.
func TestOddKeys(t *testing.T) {
	s, dir := here(t)
	for _, key := range []string{
		"100%", "a%20b", "a%2Fb", "%41", "q?a=b&c", "#1", "a+b", "a b", " x", "x ", "dir/", "ünï/码", "a;b,c=d", `"\`,
		"...", "a/...b", "..%41", "x%2e%2e", "~'()*!@$:[]{}|^`",
	} {
		rev := put(t, s, key, key)
		require.Equal(t, backend.Entry{Key: key, Value: []byte(key), Revision: rev}, get(t, s, key))
		entries, _, err := backend.List(t.Context(), s, key)
		require.NoError(t, err)
		require.Contains(t, keys(entries), key)
		for _, e := range entries {
			require.True(t, strings.HasPrefix(e.Key, key), "%q in the list of %q", e.Key, key)
		}
		_, err = s.Put(t.Context(), key, nil, backend.If(key, 0))
		requireConflict(t, err, backend.ConflictError{Key: key})
		require.NoError(t, s.Delete(t.Context(), key, backend.If(key, rev)))
		_, err = s.Get(t.Context(), key)
		require.ErrorIs(t, err, backend.ErrNotFound, key)
	}
	left, _, err := raw(t, shared(t)).KV().List(dir, nil)
	require.NoError(t, err)
	require.Empty(t, left)
}

// What must not be sent is not sent: there is nobody to send it to.
func TestRefusedBeforeSending(t *testing.T) {
	s := open(t, consul.Config{Endpoints: []string{"127.0.0.1:1"}})
	for _, key := range []string{"", "/a", "a//b", "a/../b", ".", "a\n", strings.Repeat("x", backend.MaxKey+1), "\xff"} {
		_, err := s.Put(t.Context(), key, nil)
		assert.ErrorIs(t, err, backend.ErrInvalid, "%q", key)
		_, err = s.Get(t.Context(), key)
		assert.ErrorIs(t, err, backend.ErrInvalid, "%q", key)
		assert.ErrorIs(t, s.Delete(t.Context(), key), backend.ErrInvalid, "%q", key)
	}
	_, err := s.Lease(t.Context(), 0)
	require.ErrorIs(t, err, backend.ErrInvalid)
	for _, err := range s.WatchPrefix(t.Context(), "/") {
		require.ErrorIs(t, err, backend.ErrInvalid)
	}
}

func TestClosed(t *testing.T) {
	s, _ := here(t)
	l := newLease(t, s, time.Minute)
	f := follow(t, s, "")
	f.next()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, f.end(), backend.ErrClosed)
	require.ErrorIs(t, l.Err(), backend.ErrClosed)
	require.ErrorIs(t, l.Close(t.Context()), backend.ErrClosed)
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrClosed)
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrClosed)
	require.ErrorIs(t, s.Delete(t.Context(), "k"), backend.ErrClosed)
	_, err = s.Lease(t.Context(), time.Second)
	require.ErrorIs(t, err, backend.ErrClosed)
	for _, err := range s.WatchPrefix(t.Context(), "") {
		require.ErrorIs(t, err, backend.ErrClosed)
	}
}

// A client that is somebody else's keeps working when the store is closed.
func TestNewKeepsTheClient(t *testing.T) {
	client := raw(t, shared(t))
	s, err := consul.New(client, consul.Options{Root: root()})
	require.NoError(t, err)
	put(t, s, "k", "v")
	require.NoError(t, s.Close())
	_, _, err = client.KV().List("", nil)
	require.NoError(t, err)

	_, err = consul.New(nil, consul.Options{})
	require.ErrorContains(t, err, "client")
	_, err = consul.New(&api.Client{}, consul.Options{Root: "/x"})
	require.ErrorContains(t, err, "root")
	_, err = consul.New(&api.Client{}, consul.Options{RequestTimeout: -1})
	require.ErrorContains(t, err, "request timeout")
}
