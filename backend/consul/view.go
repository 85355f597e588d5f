package consul

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/seed27495941/seckill/backend"
)

// A view is one state of a prefix. It is never modified. An entry that did not
// change is the same pointer in the view before, so that a watch which lags
// behind costs no second copy of the values, and comparing is cheap.
type view struct {
	index   uint64
	history uint64           // counts the times that history was lost
	serial  uint64           // counts what consumers are to be told of
	entries []*backend.Entry // in key order
}

// after is what a listing makes of the view v, and whether consumers are to be
// told of it. The listing must be the newer of the two.
func (v *view) after(l listing, lost bool) (next *view, news bool) {
	next = &view{index: l.index, history: v.history, serial: v.serial, entries: l.entries}
	var gone bool
	news = v.walk(l.entries, func(was, is *backend.Entry) {
		// What changed must have done so after v; else it is the state of
		// another history, as of a cluster that was set up anew and has
		// already got as far.
		if is != nil && uint64(is.Revision) <= v.index {
			gone = true
		}
	}) > 0
	next.share(v)
	if lost || gone {
		next.history++
		news = true
	}
	// The index of a prefix with keys is one of a write under it, even if
	// nothing is left to be seen of that. That of an absent prefix is the whole
	// store's, and moves with everybody's writes.
	if next.index != v.index && len(next.entries) > 0 {
		news = true
	}
	if news {
		next.serial++
	}
	return next, news
}

// share takes over the entries that did not change from an older view.
func (v *view) share(older *view) {
	old := older.entries
	for i, e := range v.entries {
		for len(old) > 0 && old[0].Key < e.Key {
			old = old[1:]
		}
		if len(old) > 0 && same(old[0], e) {
			v.entries[i] = old[0]
		}
	}
}

// walk calls differ for each key that entries has otherwise than v, with nil
// for an absent one, and counts them.
func (v *view) walk(entries []*backend.Entry, differ func(was, is *backend.Entry)) (count int) {
	old := v.entries
	call := func(was, is *backend.Entry) { count++; differ(was, is) }
	for _, e := range entries {
		for len(old) > 0 && old[0].Key < e.Key {
			call(old[0], nil)
			old = old[1:]
		}
		switch {
		case len(old) == 0 || old[0].Key != e.Key:
			call(nil, e)
		default:
			if !same(old[0], e) {
				call(old[0], e)
			}
			old = old[1:]
		}
	}
	for _, e := range old {
		call(e, nil)
	}
	return count
}

// same compares more than revisions, which repeat in another history.
func same(a, b *backend.Entry) bool {
	return a == b || a.Key == b.Key && a.Revision == b.Revision && a.Lease == b.Lease && bytes.Equal(a.Value, b.Value)
}

// snapshot is the view as an update.
func (v *view) snapshot() backend.Update {
	u := backend.Update{Snapshot: true, Revision: backend.Revision(v.index)}
	for _, e := range v.entries {
		u.Puts = append(u.Puts, copyOf(e))
	}
	return sorted(u)
}

// since is what a consumer that saw the view seen has to be told.
func (v *view) since(seen *view) backend.Update {
	if v.history != seen.history {
		return v.snapshot()
	}
	u := backend.Update{Revision: backend.Revision(v.index)}
	seen.walk(v.entries, func(was, is *backend.Entry) {
		if is == nil {
			u.Deletes = append(u.Deletes, was.Key)
		} else {
			u.Puts = append(u.Puts, copyOf(is))
		}
	})
	return sorted(u)
}

func sorted(u backend.Update) backend.Update {
	slices.SortFunc(u.Puts, func(a, b backend.Entry) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), strings.Compare(a.Key, b.Key))
	})
	return u
}

// copyOf is an entry that its receiver may own.
func copyOf(e *backend.Entry) backend.Entry {
	c := *e
	c.Value = append([]byte{}, e.Value...)
	return c
}
