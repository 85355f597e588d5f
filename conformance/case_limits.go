package conformance

import (
	"bytes"
	"slices"
	"strings"

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
func limits() []Case { return slices.Concat(keysAndValues(), foreign()) }

func keysAndValues() []Case {
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
				covered := slices.DeleteFunc(slices.Clone(oddKeys[:i+1]), func(o string) bool { return !strings.HasPrefix(o, k) })
				require.ElementsMatch(t, covered, keysOf(entries), "list of %q", k)
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
		Name: "values/many-large-ones", Guarantee: 7,
		Proves: "A prefix of 20 values of 256 KiB is watched whole: no message of a client library is too small for it.",
		run: func(t *proof) {
			const keys = 20
			s := t.open()
			large := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, backend.MaxValue) }
			for i := range keys {
				t.put(s, key("dir", i), large(i))
			}
			w := t.tap(s, "dir/")
			w.waitRevision("dir/0", t.put(s, "dir/0", large(0)))
			require.Equal(t, keys, w.len())
			for i := range keys {
				require.True(t, bytes.Equal(large(i), w.entry(key("dir", i)).Value), "dir/%d", i)
			}
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
