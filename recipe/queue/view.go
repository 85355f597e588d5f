package queue

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// mostStale bounds the places that are kept of items without one.
const mostStale = 1000

// A view is a consumer's picture of the queue, put together from its watches. It
// is never newer than the store, so what follows from it is tried under
// conditions. It is not safe for concurrent use.
type view struct {
	shards       []*shard
	consumersDir string
	consumers    backend.State
	complete     bool          // consumers is known
	gate         backend.State // of the gate's key
	self         string        // the consumer's own ID, "" while it has none
	later        due
	leftovers    map[*record]struct{} // claims that their makers will not end
	decode       func(backend.Entry) claim
}

// A shard is a part of the queue with an order of its own.
type shard struct {
	number  int
	state   backend.State
	records map[string]*record // by ID
	first   order
	busy    bool      // its first item is being claimed
	aside   []*record // somebody else was faster, as the next update will show
	written []*record // with claims of ours that the watch has not reached yet
}

// A record is what is known about one item.
type record struct {
	shard *shard
	id    string
	item  backend.Entry // of revision 0: there is none

	claim   claim
	claimed backend.Revision // of the claim's key; 0: there is none
	ours    backend.Revision // the claim that an Item of this consumer stands for

	aside   bool
	placed  backend.Revision // as which it is in the order
	delayed backend.Revision // the claim as which it is among the later ones
}

func newView(shards int, consumersDir string, decode func(backend.Entry) claim) *view {
	v := &view{consumersDir: consumersDir, leftovers: map[*record]struct{}{}, decode: decode}
	for i := range shards {
		v.shards = append(v.shards, &shard{number: i, records: map[string]*record{}})
	}
	return v
}

// applyShard takes in an update of the watch of s, whose directory is dir.
func (v *view) applyShard(s *shard, dir string, u backend.Update) {
	change := s.state.Apply(u)
	for _, key := range change.Deletes {
		v.applyEntry(s, strings.TrimPrefix(key, dir), backend.Entry{}, u)
	}
	for _, e := range change.Puts {
		v.applyEntry(s, strings.TrimPrefix(e.Key, dir), e, u)
	}
	v.catchUp(s, dir, u)
	v.reconsiderAside(s)
	v.prune()
}

// prune forgets the places of items that have left the queue. They come out of the
// heaps one by one when something is received, but that may take long.
func (v *view) prune() {
	places, records := len(v.later), 0
	for _, s := range v.shards {
		places, records = places+len(s.first), records+len(s.records)
	}
	if places <= 2*records+mostStale {
		return
	}
	v.later = nil
	for _, s := range v.shards {
		s.first = nil
		for _, r := range s.records {
			r.placed, r.delayed = 0, 0
		}
	}
	v.reconsider()
}

// catchUp goes by the watch again where it has reached our own writes. It need
// not have shown them: a claim may be gone already.
func (v *view) catchUp(s *shard, dir string, u backend.Update) {
	s.written = slices.DeleteFunc(s.written, func(r *record) bool {
		if !u.Snapshot && u.Revision < r.claimed {
			return false
		}
		e, _ := s.state.Get(dir + claimsDir + r.id)
		v.setClaim(r, e)
		v.consider(r)
		return true
	})
}

// applyEntry takes in what has become of a key; an Entry of revision 0 is none.
func (v *view) applyEntry(s *shard, name string, e backend.Entry, u backend.Update) {
	id, isItem := strings.CutPrefix(name, itemsDir)
	isClaim := false
	if !isItem {
		id, isClaim = strings.CutPrefix(name, claimsDir)
	}
	if !isItem && !isClaim || strings.Contains(id, "/") {
		return // foreign
	}
	r := s.records[id]
	if r == nil {
		r = &record{shard: s, id: id}
		s.records[id] = r
	}
	switch {
	case isItem:
		r.item = e
	case !u.Snapshot && u.Revision < r.claimed:
		return // from before our own write
	default:
		v.setClaim(r, e)
	}
	v.consider(r)
}

func (v *view) setClaim(r *record, e backend.Entry) {
	r.claim, r.claimed = claim{}, e.Revision
	if e.Revision != 0 {
		r.claim = v.decode(e)
	}
}

// applyConsumers takes in an update of the watch of the consumers.
func (v *view) applyConsumers(u backend.Update) {
	change := v.consumers.Apply(u)
	if !v.complete || len(change.Deletes) > 0 {
		v.complete = true
		v.reconsider()
	}
	for _, s := range v.shards {
		v.reconsiderAside(s)
	}
}

// applyGate takes in an update of the watch of the gate.
func (v *view) applyGate(u backend.Update) {
	v.gate.Apply(u)
	for _, s := range v.shards {
		v.reconsiderAside(s)
	}
}

// reconsider is for when claims may have become void.
func (v *view) reconsider() {
	for _, s := range v.shards {
		for _, r := range s.records {
			v.consider(r)
		}
	}
}

func (v *view) reconsiderAside(s *shard) {
	aside := s.aside
	s.aside = nil
	for _, r := range aside {
		r.aside = false
		v.consider(r)
	}
}

// consider puts a record where it belongs after it has changed.
func (v *view) consider(r *record) {
	delete(v.leftovers, r)
	if r.shard.records[r.id] != r {
		return // it was gone, another one has its name
	}
	switch {
	case r.item.Revision == 0 && r.claimed == 0:
		delete(r.shard.records, r.id)
	case r.item.Revision == 0:
		if r.claim.By == "" || v.isNobodys(r) || v.isVoid(r) {
			v.leftovers[r] = struct{}{}
		}
	case r.stands() && v.isNobodys(r):
		v.leftovers[r] = struct{}{}
	case r.isReturned():
		if r.delayed != r.claimed {
			r.delayed = r.claimed
			heap.Push(&v.later, delayed{r.claim.NotBefore, r.claimed, r})
		}
	default:
		v.place(r)
	}
}

func (v *view) place(r *record) {
	if r.placed != r.item.Revision && v.isFree(r) {
		r.placed = r.item.Revision
		heap.Push(&r.shard.first, placed{r.placed, r})
	}
}

// stands reports whether the claim is one of this item.
func (r *record) stands() bool { return r.claimed != 0 && r.claim.Item == r.item.Revision }

// isReturned reports whether the claim was given back.
func (r *record) isReturned() bool { return r.stands() && r.claim.By == "" }

// attempts is how often the item was tried.
func (r *record) attempts() int {
	if !r.stands() {
		return 0
	}
	return r.claim.Attempt
}

// isNobodys reports whether a claim is our own, and no Item stands for it: a
// Receive has made it that ended before it could know, or is about to.
func (v *view) isNobodys(r *record) bool {
	return v.self != "" && r.claim.By == v.self && r.claimed != r.ours
}

// isVoid reports whether a claim counts no more, since the consumer is gone.
func (v *view) isVoid(r *record) bool {
	if r.claim.By == v.self {
		return false
	}
	_, alive := v.consumers.Get(v.consumersDir + r.claim.By)
	return !alive
}

// isFree reports whether the item can be claimed, or could if it were time.
func (v *view) isFree(r *record) bool {
	switch {
	case r.item.Revision == 0 || r.aside:
		return false
	case !r.stands() || r.claim.By == "":
		return true
	default:
		return v.isVoid(r)
	}
}

// next picks an item to claim: the earliest of the first ones of the shards, or
// any of these. Without one, due is when there may be, zero if that is not known.
func (v *view) next(now time.Time, anyOf bool) (picked *record, at time.Time) {
	at = v.returnDue(now)
	seen := 0
	for _, s := range v.shards {
		if s.busy {
			continue
		}
		r := v.head(s, now)
		if r == nil {
			continue
		}
		seen++
		if picked == nil || anyOf && rand.N(seen) == 0 || !anyOf && r.item.Revision < picked.item.Revision {
			picked = r
		}
	}
	return picked, at
}

// returnDue gives items back whose delay is over, and returns when the next is.
func (v *view) returnDue(now time.Time) time.Time {
	for len(v.later) > 0 {
		d := v.later[0]
		current := d.record.claimed == d.claimed && d.record.isReturned()
		if current && now.Before(d.at) {
			return d.at
		}
		heap.Pop(&v.later)
		if current {
			d.record.delayed = 0
			v.place(d.record)
		}
	}
	return time.Time{}
}

// head is the first item of a shard that can be claimed, nil if there is none.
func (v *view) head(s *shard, now time.Time) *record {
	for len(s.first) > 0 {
		p := s.first[0]
		r := p.record
		if p.revision == r.item.Revision && v.isFree(r) && !(r.isReturned() && now.Before(r.claim.NotBefore)) {
			return r
		}
		heap.Pop(&s.first)
		if r.placed == p.revision {
			r.placed = 0
		}
	}
	return nil
}

// setAside leaves an item alone until there is news.
func (v *view) setAside(r *record) {
	r.aside = true
	r.shard.aside = append(r.shard.aside, r)
}

// wrote takes in a claim that this consumer has written.
func (v *view) wrote(r *record, c claim, rev backend.Revision) {
	if rev > r.claimed {
		r.claim, r.claimed = c, rev
		r.shard.written = append(r.shard.written, r)
	}
	v.consider(r)
}

// A leftover is a claim that is to be ended: deleted if its item, which is of
// revision 0 then, is gone, given back otherwise. Its maker, if it is named, must be
// gone.
type leftover struct {
	record  *record
	item    backend.Revision
	claimed backend.Revision
	by      string
	attempt int
}

// leftover picks one of them, nil if there is none. While a shard is busy, somebody
// may be about to have the item.
func (v *view) leftover() *leftover {
	for r := range v.leftovers {
		if r.item.Revision != 0 && r.shard.busy {
			continue
		}
		l := &leftover{r, r.item.Revision, r.claimed, r.claim.By, r.claim.Attempt}
		if l.by == v.self {
			l.by = ""
		}
		return l
	}
	return nil
}

// An order is a heap of items by revision. What has changed since it was placed is
// noticed when it comes out.
type order []placed

type placed struct {
	revision backend.Revision
	record   *record
}

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].revision < o[j].revision }
func (o order) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *order) Push(x any)        { p, _ := x.(placed); *o = append(*o, p) }
func (o *order) Pop() any          { return pop((*[]placed)(o)) }

// A due is a heap of items that were given back, by when their delay is over.
type due []delayed

type delayed struct {
	at      time.Time
	claimed backend.Revision
	record  *record
}

func (d due) Len() int           { return len(d) }
func (d due) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d due) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *due) Push(x any)        { e, _ := x.(delayed); *d = append(*d, e) }
func (d *due) Pop() any          { return pop((*[]delayed)(d)) }

func pop[T any](s *[]T) T {
	last := len(*s) - 1
	popped := (*s)[last]
	*s = (*s)[:last]
	return popped
}
