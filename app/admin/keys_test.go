package admin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

func (o *office) keys(query string) admin.KeyList {
	o.Helper()
	var list admin.KeyList
	o.get("/v1/keys?"+query).read(http.StatusOK, &list)
	return list
}

func keysOf(list admin.KeyList) (keys []string) {
	for _, k := range list.Keys {
		keys = append(keys, k.Key)
	}
	return keys
}

func TestKeysAreSearchedPageByPage(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		o := open(t, space)
		for i := range 5 {
			must[backend.Revision](t)(o.store.Put(t.Context(), fmt.Sprintf("notes/%d", i), []byte(strings.Repeat("x", i)+" Teapot")))
		}
		must[backend.Revision](t)(o.store.Put(t.Context(), "notes/binary", []byte{0xff, 0}))
		must[backend.Revision](t)(o.store.Put(t.Context(), "notes/long", []byte(strings.Repeat("é", 5000))))

		first := o.keys("prefix=notes/&contains=teapot&limit=3")
		assert.Equal(t, []string{"notes/0", "notes/1", "notes/2"}, keysOf(first))
		second := o.keys("prefix=notes/&contains=teapot&limit=3&after=" + url.QueryEscape(first.Next))
		assert.Equal(t, []string{"notes/3", "notes/4"}, keysOf(second))
		assert.Empty(t, second.Next)
		assert.Equal(t, []string{"notes/binary"}, keysOf(o.keys("contains=BINARY")), "keys are searched too")

		binary := o.keys("prefix=notes/binary").Keys[0]
		assert.True(t, binary.Binary)
		assert.Equal(t, "ff00", binary.Value)
		long := o.keys("prefix=notes/long").Keys[0]
		assert.True(t, long.Cut, "a list has but the beginning")
		assert.Equal(t, 10_000, long.Bytes)
		assert.Less(t, len(long.Value), 5000)
		var whole admin.Key
		o.get("/v1/key?key=notes/long").read(http.StatusOK, &whole)
		assert.False(t, whole.Cut)
		assert.Len(t, whole.Value, 10_000)
	})
}

func TestKeysAreChangedAsTheyWereSeen(t *testing.T) {
	stores.Each(t, func(t *testing.T, space stores.Space) {
		o := open(t, space)
		put := request{method: http.MethodPut, path: "/v1/key?key=notes/a", body: `{"value":"1"}`, as: access.Admin}
		made := o.do(put.with("If-None-Match", "*")).is(http.StatusOK)
		o.do(put.with("If-None-Match", "*")).refused(http.StatusPreconditionFailed, "changed")
		changed := o.do(put.saying(`{"value":"2"}`).with("If-Match", made.header.Get("ETag"))).is(http.StatusOK)
		a := o.do(put.saying(`{"value":"3"}`).with("If-Match", made.header.Get("ETag"))).refused(http.StatusPreconditionFailed, "changed")
		assert.Equal(t, changed.header.Get("ETag"), a.header.Get("ETag"))
		e, err := o.store.Get(t.Context(), "notes/a")
		require.NoError(t, err)
		assert.Equal(t, "2", string(e.Value))
		gone := request{method: http.MethodDelete, path: put.path, as: access.Admin}
		o.do(gone.with("If-Match", changed.header.Get("ETag"))).is(http.StatusNoContent)
		_, err = o.store.Get(t.Context(), "notes/a")
		require.ErrorIs(t, err, backend.ErrNotFound)
		var log admin.AuditList
		o.get("/v1/audit?action=key.").read(http.StatusOK, &log)
		var names []string
		for _, r := range log.Records {
			names = append(names, r.Name)
		}
		assert.Equal(t, []string{"key.delete", "key.put", "key.put", "key.put"}, names, "a write that lost is told too, if it was begun")
	})
}

// searching calls f while the admin's search waits for the store.
func (o *office) searching(f func()) {
	o.Helper()
	reading, answer := make(chan struct{}), make(chan struct{})
	o.faulty.Set(stores.Hooks{Watch: func(prefix string) error {
		if prefix == "goods/slow" {
			close(reading)
			<-answer
		}
		return nil
	}})
	defer o.faulty.Set(stores.Hooks{})
	searched := make(chan struct{})
	r := o.make(request{method: http.MethodGet, path: "/v1/keys?prefix=goods/slow", as: access.Admin})
	go func() {
		defer close(searched)
		o.handler.ServeHTTP(httptest.NewRecorder(), r)
	}()
	<-reading
	f()
	close(answer)
	<-searched
}

// Nobody has the store read through twice at once; others are not kept waiting by that.
func TestSearchesAreOneAtATime(t *testing.T) {
	o := open(t, stores.NewMemory())
	r := request{method: http.MethodGet, path: "/v1/keys?prefix=goods/", as: access.Admin}
	o.searching(func() {
		a := o.do(r).refused(http.StatusTooManyRequests, "throttled")
		assert.Equal(t, "1", a.header.Get("Retry-After"))
		o.do(r.by(access.Viewer)).is(http.StatusOK)
	})
	o.do(r).is(http.StatusOK)
}

// A search does not go through more than it should, says what would do, and what is known
// to be too much is not read again.
func TestSearchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, stores.NewMemory())
		for i := range 50_000 {
			must[backend.Revision](t)(o.store.Put(t.Context(), fmt.Sprintf("vast/%05d", i), []byte("teapot")))
		}
		prefixes := []string{"vast/", "", "v", "vast"}
		reads := 0
		o.faulty.Set(stores.Hooks{Watch: func(prefix string) error {
			if slices.Contains(prefixes, prefix) {
				reads++
			}
			return nil
		}})
		search := func(query string) answer {
			return o.do(request{method: http.MethodGet, path: "/v1/keys?" + query, as: access.Operator})
		}
		a := search("prefix=vast/&contains=teapot").refused(http.StatusUnprocessableEntity, "invalid")
		assert.Contains(t, a.body, "more than 20000 keys or 8 MiB begin so: expected a longer one, such as vast/2")
		assert.Len(t, o.keys("prefix=vast/2&contains=teapot&limit=200").Keys, 200)
		for _, prefix := range prefixes {
			search("prefix="+prefix).refused(http.StatusUnprocessableEntity, "invalid")
		}
		assert.Equal(t, 1, reads, "it is known, and so is what covers it")
		time.Sleep(61 * time.Second)
		search("prefix=vast/").refused(http.StatusUnprocessableEntity, "invalid")
		assert.Equal(t, 2, reads)
		for i := 1000; i < 50_000; i++ {
			require.NoError(t, o.store.Delete(t.Context(), fmt.Sprintf("vast/%05d", i)))
		}
		time.Sleep(61 * time.Second)
		assert.NotEmpty(t, o.keys("prefix=vast/").Keys)
	})
}

func TestSearchesAreBoundedInBytes(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		o := open(t, space)
		value := []byte(strings.Repeat("x", 255<<10))
		for i := range 40 {
			must[backend.Revision](t)(o.store.Put(t.Context(), fmt.Sprintf("vast/%02d", i), value))
		}
		a := o.get("/v1/keys?prefix=vast/").refused(http.StatusUnprocessableEntity, "invalid")
		assert.Contains(t, a.body, "such as vast/2")
		assert.Len(t, o.keys("prefix=vast/2").Keys, 10)
	})
}

// What is secret is shown to nobody, not even by what is found; and what keeps operators
// honest is not theirs to change.
func TestKeysThatAreKept(t *testing.T) {
	o := open(t, stores.NewMemory())
	require.NotEmpty(t, o.keys("prefix=admin/users/").Keys)
	for _, k := range o.keys("prefix=admin/").Keys {
		assert.True(t, k.Secret, k.Key)
		assert.Empty(t, k.Value)
		var one admin.Key
		o.get("/v1/key?key="+url.QueryEscape(k.Key)).read(http.StatusOK, &one)
		assert.Empty(t, one.Value)
	}
	assert.Empty(t, o.keys("contains=argon2id").Keys, "or one could guess letter by letter")
	o.do(request{method: http.MethodPut, path: "/v1/goods/g", body: goods, as: access.Admin}.with("If-None-Match", "*")).is(http.StatusOK)
	audit := o.keys("prefix=audit/").Keys[0].Key
	for _, key := range []string{"admin/users/the-admin", audit, "sales/x/pool"} {
		r := request{method: http.MethodPut, path: "/v1/key?key=" + key, body: `{"value":"x"}`, as: access.Admin}
		o.do(r.with("If-None-Match", "*")).refused(http.StatusForbidden, "forbidden")
		o.do(request{method: http.MethodDelete, path: r.path, as: access.Admin}.with("If-Match", `"1"`)).refused(http.StatusForbidden, "forbidden")
	}
}

// A sale can be larger than what an admin holds, and the store gives a prefix as a whole: who
// sees nothing of it anyway does not have it read, however the prefix is put.
func TestViewersDoNotHaveSalesRead(t *testing.T) {
	o := open(t, stores.NewMemory())
	must[backend.Revision](t)(o.store.Put(t.Context(), "salesmen/bob", []byte("{}")))
	prefixes := []string{"", "s", "sales", "sales/", "sales/x/log/0/"}
	var reads atomic.Int64 // whoever else watches has other prefixes
	o.faulty.Set(stores.Hooks{Watch: func(prefix string) error {
		if slices.Contains(prefixes, prefix) {
			reads.Add(1)
		}
		return nil
	}})
	for _, prefix := range prefixes {
		r := request{method: http.MethodGet, path: "/v1/keys?prefix=" + prefix, as: access.Viewer}
		a := o.do(r).refused(http.StatusForbidden, "forbidden")
		assert.Contains(t, a.body, "such as events/")
		assert.Zero(t, reads.Load(), prefix)
		o.do(r.by(access.Operator)).is(http.StatusOK)
		assert.EqualValues(t, 1, reads.Swap(0), prefix)
	}
	var list admin.KeyList
	o.do(request{method: http.MethodGet, path: "/v1/keys?prefix=salesm", as: access.Viewer}).read(http.StatusOK, &list)
	assert.Equal(t, []string{"salesmen/bob"}, keysOf(list))
}

// A viewer can't see orders, so the records that they are made of neither.
func TestViewersDoNotSeeWhoBuysByKeys(t *testing.T) {
	o := open(t, stores.NewMemory())
	e := o.published()
	o.buy(o.sell("10.0.0.1:8080", `{}`), e, "a-certain-buyer")
	r := request{method: http.MethodGet, path: "/v1/keys?contains=a-certain-buyer", as: access.Operator}
	var list admin.KeyList
	stores.Wait(t, "the order is in the store", func() bool {
		o.do(r).read(http.StatusOK, &list)
		return len(list.Keys) > 0
	})
	require.NotEmpty(t, list.Keys[0].Value)
	one := r.at("/v1/key?key=" + url.QueryEscape(list.Keys[0].Key))
	o.do(r.by(access.Viewer)).refused(http.StatusForbidden, "forbidden")
	var shown admin.Key
	o.do(one.by(access.Viewer)).read(http.StatusOK, &shown)
	assert.True(t, shown.Secret)
	assert.Empty(t, shown.Value)
	o.do(one).read(http.StatusOK, &shown)
	assert.NotEmpty(t, shown.Value)
}

func TestHealthTellsOfTheStore(t *testing.T) {
	o := open(t, stores.NewMemory())
	var h admin.StoreHealth
	o.get("/v1/store").read(http.StatusOK, &h)
	assert.Equal(t, "test", h.Backend)
	assert.True(t, h.Reachable)
	assert.Positive(t, h.LatencySeconds)
	assert.Empty(t, h.Error)
}
