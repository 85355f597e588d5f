package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/backend"
)

func entryAt(key string, rev int, value string) *backend.Entry {
	return &backend.Entry{Key: key, Revision: backend.Revision(rev), Value: []byte(value)}
}

func listed(index uint64, entries ...*backend.Entry) listing {
	return listing{index: index, entries: entries}
}

func newHub() *hub { return &hub{view: &view{}, moved: make(chan struct{})} }

// Queries overlap: an answer that is older than the view is no history lost, one that is older than when it was asked for is.
func TestOffer(t *testing.T) {
	h := newHub()
	start := h.current()
	require.Equal(t, news, h.offer(start, listed(10, entryAt("a", 10, "1"))))
	begun := h.current()
	require.Equal(t, news, h.offer(begun, listed(12, entryAt("a", 12, "3"))))
	require.Equal(t, nothing, h.offer(begun, listed(11, entryAt("a", 11, "2"))), "it was overtaken")
	require.Equal(t, "3", string(h.current().entries[0].Value))
	require.Equal(t, nothing, h.offer(h.current(), listed(12, entryAt("a", 12, "3"))))

	begun = h.current()
	require.Equal(t, lost, h.offer(begun, listed(5, entryAt("a", 5, "0"))))
	require.Equal(t, worthless, h.offer(begun, listed(13, entryAt("a", 13, "4"))), "from the history that was lost")
	require.EqualValues(t, 5, h.current().index)
}

// Another history is noticed too when it has got as far as the one known: what changed in it did so too early.
func TestAnotherHistoryAtTheSameIndex(t *testing.T) {
	for what, l := range map[string]listing{
		"other value":    listed(10, entryAt("a", 10, "other")),
		"other revision": listed(11, entryAt("a", 9, "1")),
		"other key":      listed(20, entryAt("a", 10, "1"), entryAt("b", 7, "")),
	} {
		h := newHub()
		h.offer(h.current(), listed(10, entryAt("a", 10, "1")))
		seen := h.current()
		require.Equal(t, lost, h.offer(seen, l), what)
		u := h.current().since(seen)
		require.True(t, u.Snapshot)
		require.Len(t, u.Puts, len(l.entries))
	}
}

// The index of an absent prefix moves with everybody's writes, and that is no news.
func TestIndexOfAnAbsentPrefix(t *testing.T) {
	h := newHub()
	h.offer(h.current(), listed(10))
	before := h.current()
	require.Equal(t, nothing, h.offer(before, listed(99)))
	require.Equal(t, before.serial, h.current().serial)
	require.EqualValues(t, 99, h.current().index)
	require.Equal(t, news, h.offer(h.current(), listed(100, entryAt("a", 100, ""))))
	require.Equal(t, news, h.offer(h.current(), listed(101, entryAt("a", 100, ""))), "a key came and went")
	require.Equal(t, backend.Update{Revision: 101}, h.current().since(&view{index: 100, entries: h.current().entries}))
}

// Whatever a watch misses in between, what it is told adds up to the last state.
func TestSinceAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, seen := &view{}, &view{}
		var state backend.State
		content := map[string]*backend.Entry{}
		rev := 0
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			rev++
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key")
			if rapid.Bool().Draw(t, "put") {
				content[key] = entryAt(key, rev, fmt.Sprint(rev))
			} else {
				delete(content, key)
			}
			entries := make([]*backend.Entry, 0, len(content))
			for _, e := range content {
				c := *e
				entries = append(entries, &c)
			}
			slices.SortFunc(entries, func(a, b *backend.Entry) int { return strings.Compare(a.Key, b.Key) })
			v, _ = v.after(listing{index: uint64(rev), entries: entries}, false)
			if rapid.Bool().Draw(t, "look") {
				u := v.since(seen)
				for _, key := range u.Deletes {
					if _, ok := state.Get(key); !ok {
						t.Fatalf("the deletion of %q, which was not known, was told", key)
					}
				}
				change := state.Apply(u)
				if len(change.Puts) != len(u.Puts) {
					t.Fatalf("%v were told, of which %v are news", u.Puts, change.Puts)
				}
				seen = v
				have := map[string]string{}
				for _, e := range state.Entries() {
					have[e.Key] = string(e.Value)
				}
				want := map[string]string{}
				for key, e := range content {
					want[key] = string(e.Value)
				}
				if !maps.Equal(have, want) {
					t.Fatalf("have %v, want %v", have, want)
				}
			}
		}
	})
}

func TestReadablePart(t *testing.T) {
	for prefix, want := range map[string]string{
		"": "", "dir/": "dir/", "a b": "a b", "100%": "100%", "a+b?c#d": "a+b?c#d",
		" x": "", "x ": "x", "x  ": "x", "a%20b": "a", "%41": "%41", "a%2e%2e": "a%2e", "a..%41": "a", "d/..%41": "d/", "a b%41": "a b",
	} {
		part := readablePart(prefix)
		require.Equal(t, want, part, prefix)
		require.True(t, strings.HasPrefix(prefix, part))
		require.True(t, readable(part) || part == "")
	}
}
