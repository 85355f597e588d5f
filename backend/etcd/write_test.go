package etcd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd"
)

func TestKeysAreWhatPeopleType(t *testing.T) {
	srv := serve(t)
	s := open(t, etcd.Config{Endpoints: []string{srv.Endpoint()}, Root: "shop/"})
	rev := put(t, s, "seckill/config", "{}")
	got, err := rawOn(t, srv.Endpoint()).Get(t.Context(), "/shop/seckill/config")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	assert.EqualValues(t, rev, got.Kvs[0].ModRevision)

	_, err = s.Put(t.Context(), "seckill/config", nil, backend.If("seckill/config", rev+1))
	var conflict *backend.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, backend.ConflictError{Key: "seckill/config", Want: rev + 1, Have: rev}, *conflict)

	_, err = s.Get(t.Context(), "none")
	require.ErrorIs(t, err, backend.ErrNotFound)
	assert.NotContains(t, err.Error(), "shop")
}

// A transaction whose conditions fail is no error to clientv3: whoever does not
// look at Succeeded takes it for a write.
func TestAFailedConditionIsAConflict(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	rev := put(t, s, "k", "old")
	for name, conds := range map[string][]backend.Condition{
		"exists":       {backend.If("k", 0)},
		"revision":     {backend.If("k", rev+7)},
		"absent":       {backend.If("absent", rev)},
		"one of two":   {backend.If("k", rev), backend.If("absent", rev)},
		"contrary":     {backend.If("k", rev), backend.If("k", 0)},
		"out of range": {backend.If("k", 1<<63)},
	} {
		opts := make([]backend.PutOption, len(conds))
		for i, c := range conds {
			opts[i] = c
		}
		_, err := s.Put(t.Context(), "k", []byte("new"), opts...)
		require.ErrorIs(t, err, backend.ErrConflict, name)
		require.ErrorIs(t, s.Delete(t.Context(), "k", conds...), backend.ErrConflict, name)
		got, err := s.Get(t.Context(), "k")
		require.NoError(t, err)
		assert.Equal(t, backend.Entry{Key: "k", Value: []byte("old"), Revision: rev}, got, name)
	}
}

func TestWrongRevisionDeleteIsNoNotFound(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	rev := put(t, s, "k", "v")
	err := s.Delete(t.Context(), "k", backend.If("k", rev-1))
	require.ErrorIs(t, err, backend.ErrConflict)
	require.NotErrorIs(t, err, backend.ErrNotFound)
	require.NoError(t, s.Delete(t.Context(), "k", backend.If("k", rev)))
	require.NoError(t, s.Delete(t.Context(), "k"), "absent, no condition")
	require.NoError(t, s.Delete(t.Context(), "k", backend.If("k", 0)), "absent, as expected")
	require.ErrorIs(t, s.Delete(t.Context(), "k", backend.If("k", rev)), backend.ErrConflict)
}

func TestAsManyConditionsAsTheContractHas(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	var opts []backend.PutOption
	var last backend.Condition
	for i := range backend.MaxConditions {
		key := fmt.Sprintf("%03d/", i) + strings.Repeat("k", backend.MaxConditionKeys/backend.MaxConditions-4)
		last = backend.If(key, put(t, s, key, "v"))
		opts = append(opts, last)
	}
	value := make([]byte, backend.MaxValue)
	_, err := s.Put(t.Context(), "k", value, opts...)
	require.NoError(t, err)

	now := put(t, s, last.Key, "moved")
	_, err = s.Put(t.Context(), "k", value, opts...)
	var conflict *backend.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, backend.ConflictError{Key: last.Key, Want: last.Revision, Have: now}, *conflict)
}

func TestRevisionsGrowWithEqualBytesAndAfterDeletion(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	first := put(t, s, "k", "v")
	second := put(t, s, "k", "v")
	require.Greater(t, second, first)
	require.NoError(t, s.Delete(t.Context(), "k"))
	require.Greater(t, put(t, s, "k", "v"), second)
}

func TestEmptyValueIsNotNil(t *testing.T) {
	s := open(t, on(serve(t).Endpoint()))
	put(t, s, "k", "")
	got, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.NotNil(t, got.Value)
	require.Empty(t, got.Value)
	u := watch(t, s, "k").next()
	require.Len(t, u.Puts, 1)
	require.NotNil(t, u.Puts[0].Value)
}

func TestTheLastPutDecidesTheLease(t *testing.T) {
	srv := serve(t)
	s := open(t, on(srv.Endpoint()))
	first, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)
	second, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)
	put(t, s, "moved", "", backend.WithLease(first))
	put(t, s, "moved", "", backend.WithLease(second))
	put(t, s, "freed", "", backend.WithLease(first))
	rev := put(t, s, "freed", "")
	put(t, s, "freed", "", backend.If("freed", rev))
	put(t, s, "held", "", backend.WithLease(first), backend.If("held", 0))

	for key, want := range map[string]string{"moved": second.ID(), "freed": "", "held": first.ID()} {
		got, err := s.Get(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, want, got.Lease, key)
	}
	leases, err := rawOn(t, srv.Endpoint()).Leases(t.Context())
	require.NoError(t, err)
	ids := make([]string, len(leases.Leases))
	for i, l := range leases.Leases {
		ids[i] = fmt.Sprintf("%016x", l.ID)
	}
	assert.ElementsMatch(t, []string{first.ID(), second.ID()}, ids, "as etcdctl prints them")

	require.NoError(t, first.Close(t.Context()))
	entries, _, err := backend.List(t.Context(), s, "")
	require.NoError(t, err)
	assert.Equal(t, []string{"freed", "moved"}, keys(entries))
}

func TestAClientOfTheCallersOwn(t *testing.T) {
	client := rawOn(t, serve(t).Endpoint())
	_, err := etcd.New(nil, etcd.Config{})
	require.ErrorIs(t, err, backend.ErrInvalid)
	_, err = etcd.New(client, on("localhost:2379"))
	require.ErrorIs(t, err, backend.ErrInvalid)

	s, err := etcd.New(client, etcd.Config{Root: "r/"})
	require.NoError(t, err)
	put(t, s, "k", "v")
	require.Equal(t, []string{"k"}, keys(watch(t, s, "").next().Puts))
	require.NoError(t, s.Close())
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrClosed)
	got, err := client.Get(t.Context(), "/r/k")
	require.NoError(t, err, "the client is still the caller's")
	require.Len(t, got.Kvs, 1)
}

func TestAfterCloseAllIsClosed(t *testing.T) {
	srv := serve(t)
	s := open(t, on(srv.Endpoint()))
	lease, err := s.Lease(t.Context(), time.Minute)
	require.NoError(t, err)
	w := watch(t, s, "")
	w.next()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())

	require.ErrorIs(t, w.err(), backend.ErrClosed)
	<-lease.Done()
	require.ErrorIs(t, lease.Err(), backend.ErrClosed)
	require.ErrorIs(t, lease.Close(t.Context()), backend.ErrClosed)
	_, err = s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrClosed)
	_, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrClosed)
	require.ErrorIs(t, s.Delete(t.Context(), "k"), backend.ErrClosed)
	_, err = s.Lease(t.Context(), time.Minute)
	require.ErrorIs(t, err, backend.ErrClosed)
	require.ErrorIs(t, watch(t, s, "").err(), backend.ErrClosed)

	leases, err := raw(t, clientv3.Config{Endpoints: []string{srv.Endpoint()}}).Leases(t.Context())
	require.NoError(t, err)
	require.Len(t, leases.Leases, 1, "closing a store does not revoke")
}
