package conformance

import (
	"bytes"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
)

// foreignKeys break guarantee 7 in ways that stores allow.
var foreignKeys = []string{
	"", "/a", "dir/a//b", "dir/./b", "dir/..", "dir/\x01", "dir/a\nb", "dir/no\u00a0break", "dir/" + strings.Repeat("k", backend.MaxKey),
}

// foreign is guarantee 7 where others write past it.
func foreign() []Case {
	return []Case{{
		Name: "watch/foreign-keys-are-left-out", Guarantee: 7, Needs: []Power{ForeignKeys},
		Proves: "Keys and values that break the rules, written by other tools, are left out of watches, counted, and hide nothing else.",
		run:    leftOut,
	}, {
		Name: "watch/foreign-value-takes-a-keys-place", Guarantee: 7, Needs: []Power{ForeignKeys},
		Proves: "A key whose value others replace by one that is too large is gone for watches, and is back with its next value; so when watches begin meanwhile.",
		run: func(t *proof) {
			s := t.open()
			large := make([]byte, backend.MaxValue+1)
			stays := t.put(s, "dir/stays", nil)
			w := t.tap(s, "dir/")
			mirror, _ := t.mirror(s, "dir/")
			for i := range 3 {
				rev := t.put(s, "dir/k", value(i))
				w.waitRevision("dir/k", rev)
				require.NoError(t, t.raw().RawPut(t.ctx, "dir/k", large))
				w.waitGone("dir/k")
				during := t.tap(s, "dir/")
				require.Equal(t, []string{"dir/stays"}, keysOf(during.entries()))
				_, err := s.Put(t.ctx, "dir/k", nil, backend.If("dir/k", rev))
				require.ErrorIs(t, err, backend.ErrConflict, "the foreign value is a version of its own")

				require.NoError(t, t.raw().RawPut(t.ctx, "dir/k", value("good", i)))
				for _, w := range []*tap{w, during} {
					w.waitValue("dir/k", string(value("good", i)))
					require.Greater(t, w.entry("dir/k").Revision, rev)
					w.steady()
				}
				t.sameAs(mirror, w)
				during.close()
			}
			require.Equal(t, stays, w.entry("dir/stays").Revision)
			require.False(t, w.everGone("dir/stays"))
		},
	}}
}

func leftOut(t *proof) {
	s := t.open()
	write := func(what byte) { // the same bytes again would be no write for some tools
		for _, k := range foreignKeys {
			require.NoError(t, t.raw().RawPut(t.ctx, k, []byte{what}), "%q", k)
		}
		require.NoError(t, t.raw().RawPut(t.ctx, "dir/large", bytes.Repeat([]byte{what}, backend.MaxValue+1)))
	}
	write('a')
	t.put(s, "dir/own", nil)
	before := counted(t, s)
	taps := []*tap{t.tap(s, "dir/"), t.tap(s, "")}
	for _, w := range taps {
		require.Equal(t, 1, w.len(), "the watch of %q begins with what it should leave out", w.prefix)
	}
	inSnapshot := counted(t, s)
	require.GreaterOrEqual(t, inSnapshot-before, uint64(len(foreignKeys)+1), "those in the snapshot are not counted")

	write('b')
	for _, w := range taps {
		w.waitRevision("dir/last", t.put(s, "dir/last", nil))
	}
	require.GreaterOrEqual(t, counted(t, s)-inSnapshot, uint64(len(foreignKeys)+1), "those in changes are not counted")
	for _, k := range append(foreignKeys, "dir/large") {
		require.NoError(t, t.raw().RawDelete(t.ctx, k), "%q", k)
	}
	for _, w := range taps {
		w.waitRevision("dir/last", t.put(s, "dir/last", nil))
		require.Equal(t, 2, w.len())
		w.steady()
	}
}

// counted is how many foreign keys a store tells it has left out. Where others
// can write past the driver, it has to tell.
func counted(t *proof, s Store) uint64 {
	t.Helper()
	c, ok := s.(interface{ ForeignKeys() uint64 })
	require.True(t, ok, "%T has no ForeignKeys() uint64, which counts what its watches leave out", s)
	return c.ForeignKeys()
}
