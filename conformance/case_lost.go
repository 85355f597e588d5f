package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed27495941/seckill/backend"
)

// lostOnTheWay is about requests and replies that do not get through.
func lostOnTheWay() []Case {
	return []Case{{
		Name: "errors/unreachable", Guarantee: 6, Needs: []Power{Network},
		Proves: "A store can be opened while its server is away: every call is unavailable within its deadline, nothing was applied, and all works once the server is back.",
		run:    unreachable,
	}, {
		Name: "errors/cut-off", Guarantee: 6, Needs: []Power{Network, Raw},
		Proves: "A store that loses its server says that it is unavailable, of writes too once none can be sent; watches and leases go on when it is back.",
		run:    cutOff,
	}, {
		Name: "errors/reply-lost", Guarantee: 6, Needs: []Power{Network, Raw},
		Proves: "A write whose reply is lost has an unknown outcome and is made exactly once; a retry on the old revision meets a conflict.",
		run:    replyLost,
	}, {
		Name: "errors/connection-lost-before-the-reply", Guarantee: 6, Needs: []Power{Network, Raw},
		Proves: "A write whose connection breaks before the reply has an unknown outcome, and is not sent again on the next connection.",
		run:    connectionLost,
	}, {
		Name: "errors/deadlines-among-writes", Guarantee: 6,
		Proves: "Wherever the deadline of a write falls, one that was acknowledged is there, and one that was called unavailable is not.",
		run:    deadlinesAmongWrites,
	}, {
		Name: "errors/cuts-among-writes", Guarantee: 6, Needs: []Power{Network},
		Proves: "Wherever a connection breaks, a write that was acknowledged is there, and one that was called unavailable is not.",
		run:    cutsAmongWrites,
	}, {
		Name: "errors/modify-after-a-lost-reply", Guarantee: 6, Needs: []Power{Network, Raw},
		Proves: "A read-modify-write loop whose reply is lost says so, and called again makes a change once that the value tells.",
		run:    modifyAfterLostReply,
	}}
}

func unreachable(t *proof) {
	n := power[NetworkFaulter](t)
	require.NoError(t, n.Cut(t.ctx))
	s := t.open()
	t.unavailable(s)
	w := t.tapLater(s, "dir/")
	require.NoError(t, n.Heal(t.ctx))
	w.waitRevision("dir/k", t.putEventually(s, "dir/k"))
	t.absent(s, "k")
	l := t.lease(s)
	require.True(t, l.Valid())
}

// unavailable requires that no call is answered, or sent.
func (t *proof) unavailable(s backend.Store) {
	t.Helper()
	calls := t.everything(s, "k")
	calls["watch"] = t.watch(s, "k")
	for name, err := range t.within(time.Second, calls) {
		switch name {
		case "watch": // goes on trying: only its context ends it
			t.fails(name, err, is(context.DeadlineExceeded), is(backend.ErrUnavailable, context.DeadlineExceeded))
		case "list":
			t.fails(name, err, is(backend.ErrUnavailable, context.DeadlineExceeded))
		default:
			t.fails(name, err, is(backend.ErrUnavailable))
		}
	}
}

func cutOff(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	t.put(s, "dir/k", value("before"))
	l, err := s.Lease(t.ctx, 10*time.Minute)
	require.NoError(t, err)
	w := t.tap(s, "dir/")
	w.waitRevision("dir/leased", t.put(s, "dir/leased", nil, backend.WithLease(l)))

	require.NoError(t, n.Cut(t.ctx))
	// For a moment the connection may look as if it stood, and take a write.
	t.eventually("a write that was not sent", func() bool {
		ctx, cancel := context.WithTimeout(t.ctx, time.Second)
		defer cancel()
		err := t.writes(s, "k")["put"](ctx)
		require.True(t, t.fails("put", err, is(backend.ErrUnavailable), is(backend.ErrUnknown)))
		return errors.Is(err, backend.ErrUnavailable)
	})
	t.unavailable(s)
	require.NoError(t, t.raw().RawPut(t.ctx, "dir/k", value("meanwhile")))
	require.NoError(t, n.Heal(t.ctx))

	w.wait("what was written meanwhile", func(s *backend.State) bool {
		e, _ := s.Get("dir/k")
		return string(e.Value) == "meanwhile"
	})
	w.waitRevision("dir/after", t.putEventually(s, "dir/after"))
	w.waitSame(s)
	require.True(t, l.Valid())
	t.eventually("the lease to be closed", func() bool { return l.Close(t.ctx) == nil })
	w.waitGone("dir/leased")
}

// inTime is a deadline for calls that are to be sent before it and to wait for
// their replies after.
const inTime = 4 * time.Second

func replyLost(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	old := map[string]backend.Condition{"created": backend.If("created", 0)}
	for _, k := range []string{"put", "conditioned", "deleted", "deleted conditionally"} {
		old[k] = backend.If(k, t.put(s, k, value("old")))
	}
	put := func(k string, opts ...backend.PutOption) call {
		return func(ctx context.Context) error {
			rev, err := s.Put(ctx, k, value("new"), opts...)
			assert.Zero(t, rev)
			return err
		}
	}
	del := func(k string, conds ...backend.Condition) call {
		return func(ctx context.Context) error { return s.Delete(ctx, k, conds...) }
	}
	require.NoError(t, n.DropReplies(t.ctx))
	ctx, cancel := context.WithTimeout(t.ctx, inTime)
	defer cancel()
	calls := t.reads(s, "put")
	maps.Copy(calls, map[string]call{
		"put":                   put("put"),
		"conditioned":           put("conditioned", old["conditioned"]),
		"created":               put("created", old["created"]),
		"deleted":               del("deleted"),
		"deleted conditionally": del("deleted conditionally", old["deleted conditionally"]),
		"lease":                 t.grant(s),
	})
	all := t.begin(ctx, calls)
	t.rawSees(map[string]string{"put": "new", "conditioned": "new", "created": "new", "deleted": "", "deleted conditionally": ""})
	// What others do now must not be undone by the same write once more.
	require.NoError(t, t.raw().RawPut(t.ctx, "put", value("theirs")))
	require.NoError(t, t.raw().RawPut(t.ctx, "deleted", value("theirs")))
	for name, err := range all.end() {
		t.fails(name, err, is(unanswered(name), context.DeadlineExceeded))
	}
	require.NoError(t, n.Heal(t.ctx))

	other := t.open()
	t.eventually("the store to work again", func() bool { _, err := other.Get(t.ctx, "put"); return err == nil })
	require.Equal(t, "theirs", string(t.get(other, "put").Value))
	require.Equal(t, "theirs", string(t.get(other, "deleted").Value))
	for _, k := range []string{"conditioned", "created", "deleted conditionally"} {
		have, err := other.Get(t.ctx, k)
		if k == "deleted conditionally" {
			t.fails(k, err, is(backend.ErrNotFound))
		} else {
			require.NoError(t, err, k)
			require.Equal(t, "new", string(have.Value), k)
			require.Greater(t, have.Revision, old[k].Revision, k)
		}
		_, err = s.Put(t.ctx, k, value("again"), old[k])
		t.conflict(err, old[k], have.Revision)
		t.conflict(s.Delete(t.ctx, k, old[k]), old[k], have.Revision)
	}
}

// rawSees waits until the store has these values, "" for an absent key.
func (t *proof) rawSees(want map[string]string) {
	t.Helper()
	for k, v := range want {
		t.eventually(fmt.Sprintf("%q to be %q in the store", k, v), func() bool {
			have, found, err := t.raw().RawGet(t.ctx, k)
			require.NoError(t, err)
			return found == (v != "") && string(have) == v
		})
	}
}

func connectionLost(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	t.put(s, "put", value("old"))
	t.put(s, "deleted", value("old"))
	require.NoError(t, n.DropReplies(t.ctx))
	// Without a deadline: not each driver need notice.
	calls := t.begin(context.WithoutCancel(t.ctx), map[string]call{
		"put":    func(ctx context.Context) error { _, err := s.Put(ctx, "put", value("new")); return err },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "deleted") },
	})
	t.rawSees(map[string]string{"put": "new", "deleted": ""})
	require.NoError(t, t.raw().RawPut(t.ctx, "put", value("theirs")))
	require.NoError(t, t.raw().RawPut(t.ctx, "deleted", value("theirs")))
	require.NoError(t, n.Cut(t.ctx))
	require.NoError(t, n.Heal(t.ctx))
	for name, err := range calls.end() {
		t.fails(name, err, is(backend.ErrUnknown))
	}
	t.putEventually(s, "after")
	require.Equal(t, "theirs", string(t.get(s, "put").Value))
	require.Equal(t, "theirs", string(t.get(s, "deleted").Value))
}

func deadlinesAmongWrites(t *proof) {
	const writes = 400
	s := t.open()
	t.put(s, "warm", nil)
	began := time.Now()
	t.put(s, "warm", nil)
	usual := min(max(time.Since(began), time.Millisecond), 100*time.Millisecond)
	ends := t.createMany(s, writes, func(i int) time.Duration { return 4 * usual * time.Duration(i) / writes })
	silent := 0
	for _, e := range ends {
		if e.err != nil && e.late && !errors.Is(e.err, context.DeadlineExceeded) {
			silent++
			t.Logf("after its deadline: %v", e.err)
		}
	}
	// One or another may have failed just before, and been seen to end after.
	require.LessOrEqual(t, silent, writes/50, "their errors do not match the deadline")
	t.tellApart(ends)
}

func cutsAmongWrites(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	var chaos errgroup.Group
	enough := make(chan struct{})
	chaos.Go(func() error {
		for {
			for _, fault := range []func(context.Context) error{n.Cut, n.Heal, n.DropReplies, n.Heal} {
				if err := fault(t.ctx); err != nil {
					return err
				}
				time.Sleep(30 * time.Millisecond)
			}
			select {
			case <-enough:
				return nil
			default:
			}
		}
	})
	ends := t.createMany(s, 400, func(int) time.Duration { return 200 * time.Millisecond })
	close(enough)
	require.NoError(t, chaos.Wait())
	t.tellApart(ends)
}

// An ending is how a write ended, and whether it did so after its deadline.
type ending struct {
	err  error
	late bool
}

// createMany creates keys, a few at a time and each within a time limit.
func (t *proof) createMany(s backend.Store, writes int, limit func(i int) time.Duration) []ending {
	ends := make([]ending, writes)
	var g errgroup.Group
	g.SetLimit(8)
	for i := range writes {
		g.Go(func() error {
			time.Sleep(5 * time.Millisecond) // a fast store would be done before much has happened
			ctx, cancel := context.WithTimeout(t.ctx, limit(i))
			defer cancel()
			err := t.writes(s, key("dir", i))["create"](ctx)
			deadline, _ := ctx.Deadline()
			ends[i] = ending{err: err, late: time.Now().After(deadline)}
			return nil
		})
	}
	_ = g.Wait() // the errors are what is looked at
	return ends
}

// tellApart requires that what createMany was told is what another client sees.
func (t *proof) tellApart(ends []ending) {
	t.Helper()
	other := t.open()
	t.putEventually(other, "after")
	time.Sleep(500 * time.Millisecond) // for what is still on its way
	var entries []backend.Entry
	t.eventually("a list", func() (ok bool) {
		var err error
		entries, _, err = backend.List(t.ctx, other, "dir/")
		return err == nil
	})
	there := map[string]bool{}
	for _, e := range entries {
		there[e.Key] = true
	}
	var made, refused int
	for i, e := range ends {
		switch k, err := key("dir", i), e.err; {
		case err == nil:
			made++
			require.True(t, there[k], "%q was acknowledged and is not there", k)
		case t.fails(k, err, is(backend.ErrUnavailable), is(backend.ErrUnknown)) && errors.Is(err, backend.ErrUnavailable):
			refused++
			require.False(t, there[k], "%q is there: %v", k, err)
		}
	}
	t.Logf("of %d writes %d were acknowledged, %d unavailable, %d unknown", len(ends), made, refused, len(ends)-made-refused)
}

func modifyAfterLostReply(t *proof) {
	n := power[NetworkFaulter](t)
	s := t.open()
	t.put(s, "list", value("a"))
	lose := true
	add := func(ctx context.Context) error {
		_, err := backend.Modify(ctx, s, "list", func(e backend.Entry) ([]byte, error) {
			if strings.Contains(string(e.Value), "b") {
				return e.Value, nil
			}
			if lose {
				if err := n.DropReplies(ctx); err != nil {
					return nil, err
				}
			}
			return append(e.Value, ",b"...), nil
		})
		return err
	}
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	first := t.begin(ctx, map[string]call{"modify": add})
	t.rawSees(map[string]string{"list": "a,b"})
	cancel()
	t.fails("modify", first.end()["modify"], is(backend.ErrUnknown, context.Canceled))
	require.NoError(t, n.Heal(t.ctx))
	lose = false
	t.eventually("modify to work again", func() bool { return add(t.ctx) == nil })
	require.Equal(t, "a,b", string(t.get(s, "list").Value))
}
