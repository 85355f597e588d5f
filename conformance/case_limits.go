package conformance

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// invalidKeys break guarantee 7, each in one way.
var invalidKeys = map[string]string{
	"leading slash":   "/a",
	"empty segment":   "a//b",
	"dot":             "a/./b",
	"only a dot":      ".",
	"dot dot":         "a/../b",
	"dot dot at end":  "a/..",
	"control":         "a\x01b",
	"newline":         "a\nb",
	"tab":             "a\tb",
	"NUL":             "a\x00",
	"DEL":             "a\x7f",
	"invalid UTF-8":   "a\xff",
	"no-break space":  "a\u00a0b",
	"zero width":      "a\u200bb",
	"right to left":   "a\u202eb",
	"too long":        strings.Repeat("k", backend.MaxKey+1),
	"too long in all": strings.Repeat("é", backend.MaxKey/2+1),
}

// oddKeys are allowed, and easily mangled on the way.
var oddKeys = []string{
	"%", "%2F", "%zz", "?", "a?b=c", "#", "a#b", "+", "a+b", "a b", " ", "a/", "a/b/", "&", "<>", `"`, `\`, "'", "=", ";", ",",
	"*", "[a]", "{b}", "~", "^", "|", "`", "$", "@", ":", "a:b", "...", "a/...", ".a", "a.", "日本語/キー", "naïve", "🛒",
	strings.Repeat("k", backend.MaxKey), strings.Repeat("é", backend.MaxKey/2), strings.Repeat("<", backend.MaxKey),
	"seckill", "session", "kv", "v1/kv/a", "recurse", "a/recurse",
}

// limits: guarantee 7.
func limits() []Case {
	return []Case{{
		Name: "keys/odd-ones-round-trip", Guarantee: 7,
		Proves: "Every key within the rules can be written, read, watched, conditioned on and deleted, whatever characters it has.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "")
			for i, k := range oddKeys {
				rev := t.put(s, k, value(i), backend.If(k, 0))
				require.Equal(t, backend.Entry{Key: k, Value: value(i), Revision: rev}, t.get(s, k))
				w.waitRevision(k, rev)
				entries, _, err := backend.List(t.ctx, s, k)
				require.NoError(t, err)
				require.Contains(t, keysOf(entries), k)
			}
			require.Equal(t, len(oddKeys), w.len(), "two keys became one")
			for _, k := range oddKeys {
				require.NoError(t, s.Delete(t.ctx, k, backend.If(k, t.get(s, k).Revision)))
				t.absent(s, k)
			}
			w.wait("nothing", func(s *backend.State) bool { return s.Len() == 0 })
		},
	}, {
		Name: "keys/as-people-type-them", Guarantee: 7, Needs: []Power{Raw},
		Proves: "A key is found under its own name by the store's own tools.",
		run: func(t *proof) {
			s := t.open()
			for i, k := range []string{"config", "nodes/10-10-11-12-8080", "a b/日本語 %"} {
				t.put(s, k, value(i))
				v, found, err := t.raw().RawGet(t.ctx, k)
				require.NoError(t, err)
				require.True(t, found, k)
				require.Equal(t, value(i), v)
			}
		},
	}, {
		Name: "keys/refused", Guarantee: 7,
		Proves: "Keys outside the rules are refused as invalid by every method, in conditions too.",
		run: func(t *proof) {
			s := t.open()
			t.refuse(s, "empty", "")
			for name, k := range invalidKeys {
				t.refuse(s, name, k)
				t.refusePrefix(s, name, k)
			}
			entries, _, err := backend.List(t.ctx, s, "")
			require.NoError(t, err)
			require.Empty(t, entries)
		},
	}, {
		Name: "keys/refused-before-sending", Guarantee: 7, Needs: []Power{Requests},
		Proves: "What is refused sends no request.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "k", nil)
			c := power[RequestCounter](t)
			before := c.Requests()
			for name, k := range invalidKeys {
				t.refuse(s, name, k)
				t.refusePrefix(s, name, k)
			}
			_, err := s.Put(t.ctx, "k", make([]byte, backend.MaxValue+1))
			require.ErrorIs(t, err, backend.ErrTooLarge)
			require.Equal(t, before, c.Requests())
		},
	}, {
		Name: "values/bytes", Guarantee: 7,
		Proves: "Values are bytes: empty is not absent, every byte survives, 256 KiB pass, one more is ErrTooLarge.",
		run: func(t *proof) {
			s := t.open()
			w := t.tap(s, "")
			every := make([]byte, 256)
			for i := range every {
				every[i] = byte(i)
			}
			for name, v := range map[string][]byte{
				"nil": nil, "empty": {}, "every byte": every, "largest": bytes.Repeat(every, backend.MaxValue/len(every)),
			} {
				w.waitRevision(name, t.put(s, name, v))
				got := t.get(s, name).Value
				require.True(t, bytes.Equal(v, got), name)
				e := w.entry(name)
				require.True(t, bytes.Equal(v, e.Value), name)
				require.NotNil(t, e.Value)
			}
			rev := t.put(s, "k", nil)
			_, err := s.Put(t.ctx, "k", make([]byte, backend.MaxValue+1))
			require.ErrorIs(t, err, backend.ErrTooLarge)
			require.Equal(t, rev, t.get(s, "k").Revision)
		},
	}, {
		Name: "conditions/limits", Guarantee: 7,
		Proves: "The largest write passes (256 KiB beside 64 conditions with 16 KiB of keys); one condition or byte more is refused.",
		run: func(t *proof) {
			s := t.open()
			const each = backend.MaxConditionKeys / backend.MaxConditions
			// The worst for JSON and for URLs alike.
			fill := func(i, n int) string {
				return strings.Repeat("<", n-2) + string(rune('0'+i/10)) + string(rune('0'+i%10))
			}
			var full []backend.PutOption
			for i := range backend.MaxConditions {
				full = append(full, backend.If(fill(i, each), 0))
			}
			t.put(s, "k", bytes.Repeat([]byte{0xff}, backend.MaxValue), full...)

			_, err := s.Put(t.ctx, "k", nil, append(full, backend.If("x", 0))...)
			require.ErrorIs(t, err, backend.ErrTooLarge)
			full[0] = backend.If(fill(0, each+1), 0)
			_, err = s.Put(t.ctx, "k", nil, full...)
			require.ErrorIs(t, err, backend.ErrTooLarge)
			require.Len(t, t.get(s, "k").Value, backend.MaxValue)
		},
	}}
}

// refuse requires that no method takes a key.
func (t *proof) refuse(s backend.Store, name, k string) {
	t.Helper()
	_, err := s.Put(t.ctx, k, nil)
	require.ErrorIs(t, err, backend.ErrInvalid, name)
	_, err = s.Get(t.ctx, k)
	require.ErrorIs(t, err, backend.ErrInvalid, name)
	require.ErrorIs(t, s.Delete(t.ctx, k), backend.ErrInvalid, name)
	_, err = s.Put(t.ctx, "k", nil, backend.If(k, 0))
	require.ErrorIs(t, err, backend.ErrInvalid, name)
	require.ErrorIs(t, s.Delete(t.ctx, "k", backend.If(k, 0)), backend.ErrInvalid, name)
}

// refusePrefix requires that a watch of a prefix yields one error and ends.
func (t *proof) refusePrefix(s backend.Store, name, prefix string) {
	t.Helper()
	yields := 0
	for _, err := range s.WatchPrefix(t.ctx, prefix) {
		yields++
		require.ErrorIs(t, err, backend.ErrInvalid, name)
	}
	require.Equal(t, 1, yields, name)
}

// contexts: guarantee 8.
func contexts() []Case {
	return []Case{{
		Name: "context/ended-before", Guarantee: 8,
		Proves: "A call whose context has ended says so, and that nothing was written.",
		run: func(t *proof) {
			s := t.open()
			cause := errors.New("the reason")
			cancelled, cancel := context.WithCancelCause(t.ctx)
			cancel(cause)
			expired, stop := context.WithDeadline(t.ctx, time.Unix(0, 0))
			defer stop()
			for ctx, want := range map[context.Context][]error{
				cancelled: {backend.ErrUnavailable, context.Canceled, cause},
				expired:   {backend.ErrUnavailable, context.DeadlineExceeded},
			} {
				for name, err := range t.callAll(s, func() (context.Context, context.CancelFunc) { return ctx, func() {} }) {
					for _, w := range want {
						require.ErrorIs(t, err, w, name)
					}
					require.NotErrorIs(t, err, backend.ErrUnknown, name)
				}
			}
			t.absent(s, "k")
		},
	}, {
		Name: "context/deadline-on-the-wire", Guarantee: 8, Needs: []Power{Pause},
		Proves: "A call to a server that does not answer ends with its deadline: a write's outcome is unknown, a read is unavailable.",
		run: func(t *proof) {
			s := t.open()
			t.put(s, "k", nil)
			p := power[Pauser](t)
			require.NoError(t, p.Pause(t.ctx))
			defer func() { require.NoError(t, p.Resume(t.ctx)) }()
			const short, none = 300 * time.Millisecond, 0
			for _, limit := range []time.Duration{short, none} {
				limited := func() (context.Context, context.CancelFunc) {
					if limit == none { // the driver's own request timeout applies
						return context.WithCancel(context.WithoutCancel(t.ctx))
					}
					return context.WithTimeout(t.ctx, limit)
				}
				began := time.Now()
				errs := t.callAll(s, limited)
				// Four calls: the driver's own timeout would be seen with the first.
				if limit == short {
					require.Less(t, time.Since(began), backend.DefaultTimeout)
				}
				for name, err := range errs {
					// Without a deadline the driver may give up sooner: it may find the connection dead.
					if limit == short {
						require.ErrorIs(t, err, context.DeadlineExceeded, name)
					}
					want := backend.ErrUnknown
					if name == "get" {
						want = backend.ErrUnavailable
					}
					require.ErrorIs(t, err, want, name)
				}
			}
		},
	}}
}

// callAll makes each call that can fail, with a context of its own, and returns
// the errors by name.
func (t *proof) callAll(s backend.Store, newContext func() (context.Context, context.CancelFunc)) map[string]error {
	errs := map[string]error{}
	for name, call := range map[string]func(ctx context.Context) error{
		"get": func(ctx context.Context) error { _, err := s.Get(ctx, "k"); return err },
		"put": func(ctx context.Context) error {
			_, err := s.Put(ctx, "k", nil, backend.If("never", 0))
			return err
		},
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "k") },
		"lease":  func(ctx context.Context) error { _, err := s.Lease(ctx, shortTTL); return err },
	} {
		ctx, cancel := newContext()
		ended := make(chan error, 1)
		go func() { ended <- call(ctx) }()
		select {
		case errs[name] = <-ended:
		case <-t.ctx.Done():
			cancel()
			t.Fatalf("%s never ends: %v", name, context.Cause(t.ctx))
		}
		cancel()
	}
	return errs
}
