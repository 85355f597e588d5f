package consul

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

const (
	// blockFor is how long Consul may hold a blocking query. It adds up to a
	// sixteenth. A query of a server that lost its leader ends no sooner. With
	// what an answer may take beyond it and the pauses around, it stays below
	// the 30s that a watch may be stale, also when one answer never ends.
	blockFor = 12 * time.Second

	// blockFirst is how long it may hold the first one of a watch. Consul does
	// not notice that a client has left: the connection counts against the
	// client until the query ends, so watches that come and go must not ask
	// for long ones.
	blockFirst = 2 * time.Second

	blockGrace = 4 * time.Second // beyond wait, until the answer of a blocking query begins
	blockBody  = 6 * time.Second // until it is complete

	listTimeout = 10 * time.Second // until a list begins to arrive
	listBody    = 15 * time.Second // until it is complete; up to four times that after failures
)

// A listing is what Consul answered to a recursive read.
type listing struct {
	index   uint64
	entries []*backend.Entry // in key order
}

// list reads a physical prefix; with an index it waits until that may be
// history, at most as long as given. After failures an answer may take longer:
// the line or the server may be slow. Errors: those of the client, and errDenied.
func (s *Store) list(ctx context.Context, prefix string, index uint64, wait time.Duration, failures int) (listing, error) {
	q := &api.QueryOptions{RequireConsistent: true}
	begin, body := max(listTimeout, s.timeout), listBody<<min(failures, 2)
	if index > 0 {
		q.WaitIndex, q.WaitTime = index, wait-rand.N(wait/16)
		begin, body = wait+wait/16+blockGrace, blockBody // not the caller's business: it bounds staleness
	}
	ctx, cancel := answerWithin(ctx, begin, body)
	defer cancel()
	pairs, meta, err := s.client.KV().List(readablePart(prefix), q.WithContext(ctx))
	switch {
	case err != nil:
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return listing{}, err
	case meta.ResultsFilteredByACLs:
		// Also with 404. Without this a token that loses its rights would
		// look like the deletion of everything.
		return listing{}, errFiltered
	case meta.LastIndex == 0:
		return listing{}, errNotConsul
	}
	return listing{index: meta.LastIndex, entries: s.known(prefix, pairs)}, nil
}

var errFiltered = api.StatusError{Code: 403, Body: textDenied + ": the token lacks the right to read all keys under the prefix"}

// mayRead reads the key that a prefix itself would be: 403 instead of 404 tells
// that the rights are missing. A list tells it only where it leaves keys out,
// and to a client without a token not even there. It doubles the time of a list
// of nothing, from half a millisecond to one on a machine's own server; an answer
// that were remembered would make rights that get lost look like deletions.
func (s *Store) mayRead(ctx context.Context, prefix string) error {
	if prefix == "" {
		return nil // there is no such key
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, err := s.read(ctx, prefix)
	return err
}

// readablePart cuts off what Consul's /v1/kv would refuse at the end of a
// prefix. The rest covers more keys, which are left out afterwards.
func readablePart(prefix string) string {
	if strings.HasPrefix(prefix, " ") {
		return ""
	}
	for !readable(prefix) {
		// Dots may not be left at the end: the server would take "a/.." for a path.
		prefix = strings.TrimRight(prefix[:strings.LastIndexAny(prefix, " %")], ".")
	}
	return prefix
}

// known are the pairs that lie under the prefix and obey the rules, in key
// order. The others are counted.
func (s *Store) known(prefix string, pairs api.KVPairs) []*backend.Entry {
	entries := make([]*backend.Entry, 0, len(pairs))
	for _, pair := range pairs {
		if !strings.HasPrefix(pair.Key, prefix) {
			continue
		}
		e := s.entry(pair)
		if backend.CheckKey(e.Key) != nil || backend.CheckValue(e.Key, e.Value) != nil {
			s.foreign.add(pair.Key, pair.ModifyIndex)
			continue
		}
		entries = append(entries, &e)
	}
	slices.SortFunc(entries, func(a, b *backend.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries
}
