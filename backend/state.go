package backend

import (
	"bytes"
	"maps"
	"slices"
)

// A State is the content of a prefix put together from updates. The zero value
// is empty and ready. It is not safe for concurrent use; [Mirror] is.
type State struct {
	entries  map[string]Entry
	revision Revision
}

// Apply takes an update in and returns what it changed: the puts that were not
// known like this, and the deletes, those that a snapshot implies
// included. The change is never a snapshot itself. Values are shared with the
// update.
func (s *State) Apply(u Update) (change Update) {
	change.Revision = u.Revision
	s.revision = u.Revision
	if s.entries == nil {
		s.entries = make(map[string]Entry, len(u.Puts))
	}
	for _, key := range s.gone(u) {
		delete(s.entries, key)
		change.Deletes = append(change.Deletes, key)
	}
	for _, e := range u.Puts {
		if have, ok := s.entries[e.Key]; !ok || !same(have, e) {
			change.Puts = append(change.Puts, e)
		}
		s.entries[e.Key] = e
	}
	sortByRevision(change.Puts)
	return change
}

// same compares values too: behind the same address there may be another store
// by now, which has reached the same revision with other writes.
func same(a, b Entry) bool {
	return a.Revision == b.Revision && a.Lease == b.Lease && bytes.Equal(a.Value, b.Value)
}

// gone lists the known keys that are no more after u.
func (s *State) gone(u Update) []string {
	var gone []string
	if !u.Snapshot {
		for _, key := range u.Deletes {
			if _, ok := s.entries[key]; ok {
				gone = append(gone, key)
			}
		}
		return gone
	}
	still := make(map[string]struct{}, len(u.Puts))
	for _, e := range u.Puts {
		still[e.Key] = struct{}{}
	}
	for key := range s.entries {
		if _, ok := still[key]; !ok {
			gone = append(gone, key)
		}
	}
	return gone
}

// Get finds an entry.
func (s *State) Get(key string) (Entry, bool) {
	e, ok := s.entries[key]
	return e, ok
}

// Len counts the entries.
func (s *State) Len() int { return len(s.entries) }

// Revision is that of the last update.
func (s *State) Revision() Revision { return s.revision }

// Entries lists the entries in the order of their keys.
func (s *State) Entries() []Entry {
	entries := make([]Entry, 0, len(s.entries))
	for _, key := range slices.Sorted(maps.Keys(s.entries)) {
		entries = append(entries, s.entries[key])
	}
	return entries
}
