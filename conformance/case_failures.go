package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// failures: guarantee 6.
func failures() []Case {
	return slices.Concat(lostOnTheWay(), inTheStore(), closings(), rights())
}

// inTheStore is about what the store does not do.
func inTheStore() []Case {
	return []Case{{
		Name: "errors/refusals", Guarantee: 6,
		Proves: "What the store or the contract refuses is of that class alone, and comes with the zero result.",
		run:    refusals,
	}, {
		Name: "errors/store-full", Guarantee: 6, Needs: []Power{Full},
		Proves: "A full store refuses new writes as such; reads, watches, deletes and leases that exist go on; once there is space all works.",
		run:    storeFull,
	}, {
		Name: "errors/quorum-lost", Guarantee: 6, Needs: []Power{Majority},
		Proves: "Without a majority reads are unavailable and no write is acknowledged; what was called unavailable is not there when it is back.",
		run:    quorumLost,
	}}
}

func refusals(t *proof) {
	s := t.open()
	rev := t.put(s, "k", value("old"))
	lost := t.lease(s)
	require.NoError(t, lost.Close(t.ctx))
	foreign := t.lease(t.open())
	put := func(k string, v []byte, opts ...backend.PutOption) error {
		made, err := s.Put(t.ctx, k, v, opts...)
		require.Zero(t, made)
		return err
	}
	many := make([]backend.PutOption, backend.MaxConditions+1)
	for i := range many {
		many[i] = backend.If(key("many", i), 0)
	}
	large := make([]byte, backend.MaxValue+1)
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"put on a stale condition", put("k", nil, backend.If("k", rev+1)), backend.ErrConflict},
		{"put on another's condition", put("k", nil, backend.If("other", rev)), backend.ErrConflict},
		{"delete on a stale condition", s.Delete(t.ctx, "k", backend.If("k", 0)), backend.ErrConflict},
		{"put with another store's lease", put("k", nil, backend.WithLease(foreign)), backend.ErrInvalid},
		{"put with no lease", put("k", nil, backend.WithLease(nil)), backend.ErrInvalid},
		{"put with two leases", put("k", nil, backend.WithLease(foreign), backend.WithLease(lost)), backend.ErrInvalid},
		{"put with no option", put("k", nil, nil), backend.ErrInvalid},
		{"put under no key", put("", nil), backend.ErrInvalid},
		{"put of a large value", put("k", large), backend.ErrTooLarge},
		{"put on many conditions", put("k", nil, many...), backend.ErrTooLarge},
		{"get of no key", t.reads(s, "")["get"](t.ctx), backend.ErrInvalid},
		{"get of an absent key", t.reads(s, "absent")["get"](t.ctx), backend.ErrNotFound},
		{"delete of no key", s.Delete(t.ctx, ""), backend.ErrInvalid},
		{"list of a wrong prefix", t.reads(s, "/")["list"](t.ctx), backend.ErrInvalid},
		{"watch of a wrong prefix", t.watch(s, "/")(t.ctx), backend.ErrInvalid},
	} {
		t.fails(c.what, c.err, is(c.want))
	}
	// It says why the lease is lost, too.
	t.fails("put with a closed lease", put("k", nil, backend.WithLease(lost)), is(backend.ErrLeaseLost), is(backend.ErrLeaseLost, backend.ErrClosed))
	for _, ttl := range []time.Duration{0, -1} {
		l, err := s.Lease(t.ctx, ttl)
		t.fails("lease", err, is(backend.ErrInvalid))
		require.Nil(t, l)
	}
	require.Equal(t, backend.Entry{Key: "k", Value: value("old"), Revision: rev}, t.get(s, "k"))
}

func storeFull(t *proof) {
	f := power[Filler](t)
	s := t.open()
	kept := t.put(s, "kept", value("kept"))
	t.put(s, "deleted", nil)
	l, err := s.Lease(t.ctx, 12*time.Second)
	require.NoError(t, err)
	leased := t.put(s, "leased", nil, backend.WithLease(l))
	w := t.tap(s, "")
	require.NoError(t, f.Fill(t.ctx))
	filled := time.Now()

	full := []classes{is(backend.ErrFull), is(backend.ErrFull, backend.ErrUnknown)}
	refused := map[string]error{}
	for name, opts := range map[string][]backend.PutOption{
		"put": nil, "put on a condition": {backend.If("kept", kept)}, "create": {backend.If("create", 0)}, "put with a lease": {backend.WithLease(l)},
	} {
		rev, err := s.Put(t.ctx, name, value("refused"), opts...)
		t.fails(name, err, full...)
		require.Zero(t, rev)
		refused[name] = err
	}
	// Some stores count leases as space, others don't.
	if err := t.grant(s)(t.ctx); err != nil {
		t.fails("lease", err, full...)
	}
	require.Equal(t, kept, t.get(s, "kept").Revision)
	require.NoError(t, s.Delete(t.ctx, "deleted"))
	w.waitGone("deleted")
	t.tap(s, "").waitSame(s)
	t.lasts(l, time.Until(filled.Add(l.TTL()+l.TTL()/4)))
	require.Equal(t, leased, t.get(s, "leased").Revision)
	require.NoError(t, l.Close(t.ctx))
	w.waitGone("leased")

	require.NoError(t, f.Free(t.ctx))
	w.waitRevision("after", t.putEventually(s, "after"))
	for k, err := range refused {
		if !errors.Is(err, backend.ErrUnknown) {
			t.absent(s, k)
		}
	}
	l = t.lease(s)
	t.put(s, "leased", nil, backend.WithLease(l), backend.If("leased", 0))
}

// quorumLost: the writes are spread over the time in which the leader notices,
// and over the nodes.
func quorumLost(t *proof) {
	const rounds, writes, limit = 6, 4, time.Second
	m := power[MajorityLoser](t)
	s := t.open()
	kept := map[string]backend.Revision{}
	for i := range rounds * writes {
		k := key("kept", i)
		kept[k] = t.put(s, k, value("old"))
	}
	require.NoError(t, m.PauseFollowers(t.ctx))
	refused := map[string]bool{} // by key: certainly not applied
	for round := range rounds {
		others := t.reads(s, "kept/0")
		others["lease"] = t.grant(s)
		changes := map[string]call{}
		for i := range writes {
			n := round*writes + i
			changes[key("created", n)] = t.writes(s, key("created", n))["create"]
			k := key("kept", n)
			changes[k] = func(ctx context.Context) error { return s.Delete(ctx, k, backend.If(k, kept[k])) }
		}
		calls := maps.Clone(changes)
		maps.Copy(calls, others)
		for name, err := range t.attempt(limit, calls) {
			alternatives := []classes{is(backend.ErrUnavailable)}
			if name != "get" && name != "list" {
				alternatives = append(alternatives, is(backend.ErrUnknown))
			}
			t.fails(fmt.Sprintf("%s, round %d", name, round), err, alternatives...)
			if changes[name] != nil {
				refused[name] = errors.Is(err, backend.ErrUnavailable)
			}
		}
	}
	require.NoError(t, m.Resume(t.ctx))
	t.putEventually(s, "after")
	unavailable := 0
	for k := range refused {
		switch rev := kept[k]; {
		case !refused[k]:
			continue
		case rev == 0:
			t.absent(s, k)
		default:
			require.Equal(t, rev, t.get(s, k).Revision)
		}
		unavailable++
	}
	l := t.lease(s)
	t.put(s, "leased", nil, backend.WithLease(l))
	t.Logf("of %d writes %d were called unavailable, the others unknown", len(refused), unavailable)
}
